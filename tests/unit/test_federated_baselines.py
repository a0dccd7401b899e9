"""What federated learning is held against, its steps by hand, a learner's own clients, and the figures made ahead."""

import json

import numpy as np
import pytest
import torch

from edgelab import federated as fed
from edgelab import nets
from edgelab.data import Split
from edgelab.errors import BadFile, BadInput
from edgelab.federated import ahead, by_hand
from edgelab.federated.baselines import centralised, local_only
from edgelab.federated.engines import flatten
from edgelab.federated.own import read_clients
from edgelab.federated.tasks import SETTINGS, TASKS, spectra


def task(items=120):
    rng = np.random.default_rng(0)
    y = np.arange(items) % 3
    x = (rng.standard_normal((3, 6))[y] + rng.standard_normal((items, 6))).astype(np.float32)
    torch.manual_seed(0)
    return nets.mlp(6, 3, (5,)), Split(x, y)


def test_one_client_of_all_items_is_centralised_training():
    net, split = task()
    config = fed.ClientConfig(epochs=3, proximal=0.7)
    together = centralised(net, split, config, passes=4, seed=1)
    plain = fed.ClientConfig(epochs=1)
    run = fed.simulate(net, split, fed.iid(split, 1, 1), rounds=4, config=plain, engine="loop", seed=1)
    np.testing.assert_allclose(flatten(together.weights), flatten(run.weights), atol=1e-5)


def test_local_only_is_each_client_by_itself():
    net, split = task()
    partition = fed.dirichlet_labels(split, 4, 0.5, min_items=2)
    ends = local_only(net, split, partition, fed.ClientConfig(), passes=3, seed=2)
    for client, end in enumerate(ends):
        config = fed.ClientConfig(epochs=3)
        data = by_hand.batches_of(split, partition, client, config, 2)
        alone, _, _ = fed.client_round(net)(fed.initial_weights(net), {}, data, config)
        np.testing.assert_allclose(flatten(end), flatten(alone), atol=1e-5)


def test_the_steps_by_hand_are_the_simulation():
    net, split = task()
    partition, config = fed.dirichlet_labels(split, 5, 0.5, min_items=2), fed.ClientConfig(epochs=2)
    function, weights = fed.client_round(net), fed.initial_weights(net)
    local = [dict(weights) for _ in range(5)]
    kept = dict(weights)
    for number in range(2):

        def train(now, client, number=number):
            data = by_hand.batches_of(split, partition, client, config, 0, number)
            return function(now, {}, data, config)[0]

        sizes = partition.sizes.tolist()
        weights = by_hand.one_round(weights, range(5), train, sizes)
        kept = by_hand.keeping_round(kept, local, range(5), train, sizes)
    run = fed.simulate(net, split, partition, rounds=2, config=config, engine="loop")
    np.testing.assert_allclose(flatten(weights), flatten(run.weights), atol=1e-6)
    np.testing.assert_array_equal(flatten(weights), flatten(kept))
    with pytest.raises(BadInput, match="2 models and 1 sizes"):
        by_hand.average([weights, weights], [1])


def test_what_top_k_sends_and_keeps_is_everything():
    rng = np.random.default_rng(0)
    kept, total, arrived = np.zeros(50), np.zeros(50), np.zeros(50)
    for _ in range(30):
        update = rng.standard_normal(50)
        sent, kept = by_hand.top_k(update, kept, 0.1)
        assert np.count_nonzero(sent) == 5
        total += update
        arrived += sent
    np.testing.assert_allclose(arrived + kept, total)


def test_vibration_becomes_spectra_that_are_scaled_by_the_training_items():
    from edgelab import data

    found = spectra(data.vibration(items=300))
    assert found.train.x.shape == (180, 128)
    np.testing.assert_allclose(found.train.x.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.train.x.std(axis=0), 1, atol=1e-3)
    assert set(found.test.groups) == {"sensor", "load", "speed"}


def test_a_learners_clients_are_read(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"x": rng.random((60, 4)).astype(np.float32), "y": np.arange(60) % 3}

    def written(**more):
        np.savez(tmp_path / "own.npz", **arrays, **more)
        return tmp_path / "own.npz"

    dataset, name = read_clients(written(client=np.arange(60) % 4, group=np.array(["day", "night"])[np.arange(60) % 2]))
    assert (name, set(dataset.train.groups), len(np.unique(dataset.train.groups[name]))) == (
        "client",
        {"client", "group"},
        4,
    )
    assert read_clients(written(group=np.arange(60) % 5))[1] == "group"
    with pytest.raises(BadInput, match="All items"):
        read_clients(written(client=np.zeros(60, int)))
    with pytest.raises(BadInput, match="lacks a client"):
        read_clients(written(client=np.arange(59)))
    with pytest.raises(BadFile, match="does not say whose"):
        read_clients(written())


def test_the_figures_made_ahead_hold_every_run_and_what_they_decide():
    made = ahead.MadeAhead.load()
    assert set(made.content["runs"]) == {run.key for run in ahead.plan()}
    assert made.content["held"] == made.held()
    for name, recipe in made.content["recipe"].items():
        assert recipe["passes"] == TASKS[name].passes
    for name, settings in SETTINGS.items():
        for setting in settings:
            gap = made.gap(name, setting)
            assert gap.made_on == (made.content["date"], made.content["machine"])
            assert gap.low < gap.value < gap.high
            assert made.accuracy(name, setting, "local").value < made.accuracy(name, setting, "FedAvg").value
    with pytest.raises(BadInput, match="no run"):
        made.accuracy("digits", "IID", "magic")
    with pytest.raises(BadInput, match="no seed in common"):
        made.gap("digits", "IID", "magic")


def test_a_run_made_again_is_the_one_in_the_file(tmp_path):
    run = ahead.Run("digits", "IID", "FedAvg", 0)
    told = []
    again = ahead.make(tmp_path / "again.json", runs=[run], say=lambda which, found: told.append((which, found)))
    kept = ahead.MadeAhead.load().content["runs"][run.key]
    assert again["runs"][run.key]["test"] == pytest.approx(kept["test"], abs=1.0)
    assert told[0][0] == run
    assert ahead.make(tmp_path / "again.json", runs=[run]) == json.loads((tmp_path / "again.json").read_text())
    alone = ahead.MadeAhead(again).accuracy("digits", "IID", "FedAvg")
    assert "1 seed cannot tell" in alone.doubt
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(BadFile, match="does not hold figures"):
        ahead.MadeAhead.load(tmp_path / "other.json")
    with pytest.raises(BadInput, match="not known"):
        ahead.train(ahead.Run("digits", "IID", "magic", 0), TASKS["digits"].load())
