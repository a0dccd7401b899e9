"""Whole rounds: who takes part, what is refused, what goes over the air, and that it learns."""

import json

import numpy as np
import pytest
import torch

from edgelab import nets
from edgelab.data import Dataset, Split
from edgelab.errors import BadInput
from edgelab.federated import by_hand
from edgelab.federated.aggregate import federated_average
from edgelab.federated.client import Batches, ClientConfig, client_round, initial_weights
from edgelab.federated.engines import flatten
from edgelab.federated.evaluate import evaluate_clients, evaluate_groups, network_with
from edgelab.federated.fleet import Fleet, draw_fleet
from edgelab.federated.messages import Float32, Int8, TopK
from edgelab.federated.partition import Partition, dirichlet_labels, iid
from edgelab.federated.schedule import schedule_round
from edgelab.federated.simulation import simulate


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((10, 64))

    def split(items):
        y = np.arange(items) % 10
        x = centres[y] + 2.5 * rng.standard_normal((items, 64))
        return Split(x.astype(np.float32) / 3, y, {"hand": rng.choice(["left", "right"], items)})

    names = tuple("0123456789")
    return Dataset("clouds", split(1257), split(180), split(360), names, "made here", "none", "none", "none")


def mlp(hidden=(16,), seed=0):
    torch.manual_seed(seed)
    return nets.mlp(64, 10, hidden)


QUICK = {"rounds": 3, "sample": 5, "engine": "numpy", "config": ClientConfig(batch_size=None)}


def quick(data, **settings):
    return simulate(mlp(), data.train, iid(data.train, 20), **{**QUICK, **settings})


def test_it_learns_and_every_engine_ends_at_the_same_weights(data):
    partition = dirichlet_labels(data.train, 20, 0.5)
    found = {}
    for engine, rounds in (("loop", 2), ("vmap", 2), ("numpy", 2)):
        found[engine] = simulate(mlp(), data.train, partition, rounds=rounds, sample=8, engine=engine).weights
    for engine in ("vmap", "numpy"):
        np.testing.assert_allclose(flatten(found[engine]), flatten(found["loop"]), atol=1e-5)
    config = ClientConfig(epochs=3, learning_rate=0.3)
    run = simulate(mlp(), data.train, partition, rounds=25, config=config, engine="numpy", evaluate_on=data.validation)
    assert run.accuracy[-1] > 0.85 > run.accuracy[0]
    assert run.rounds[-1].loss < run.rounds[0].loss / 2


def test_the_same_seed_is_the_same_run_and_sampling_is_even(data):
    first, again, other = (quick(data, rounds=40, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(flatten(first.weights), flatten(again.weights))
    assert [log.selected for log in first.rounds] != [log.selected for log in other.rounds]
    counts = np.bincount(np.concatenate([log.selected for log in first.rounds]), minlength=20)
    assert counts.sum() == 200
    assert counts.min() >= 2
    assert counts.max() <= 22
    assert all(len(set(log.selected)) == 5 for log in first.rounds)


@pytest.mark.parametrize("call", [1, 3])
def test_an_interrupted_run_keeps_the_rounds_that_were_done(data, call):
    calls = []

    def rule(weights, updates, sizes):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return federated_average(weights, updates, sizes)

    if call == 1:
        with pytest.raises(KeyboardInterrupt):
            quick(data, rounds=5, aggregate=rule)
        return
    stopped, shorter = quick(data, rounds=5, aggregate=rule), quick(data, rounds=call - 1)
    assert stopped.interrupted
    assert not shorter.interrupted
    assert [log.number for log in stopped.rounds] == list(range(call - 1))
    np.testing.assert_array_equal(flatten(stopped.weights), flatten(shorter.weights))
    assert "Interrupted after 2 of 5 rounds." in stopped._repr_markdown_()
    assert stopped.to_dict()["interrupted"] is True


def test_drop_outs_cost_a_download_and_no_upload(data):
    fleet = draw_fleet(20, drop_out=0.4)
    run = quick(data, rounds=40, fleet=fleet)
    parameters = len(flatten(run.weights))
    assert 0.5 < np.mean([len(log.used) / 5 for log in run.rounds]) < 0.7
    for log in run.rounds:
        assert set(log.used) | set(log.missing) == set(log.selected)
        assert set(log.missing.values()) <= {"dropped out"}
        assert log.down_bytes == 5 * Float32().length(parameters)
        assert log.up_bytes == len(log.used) * Float32().length(parameters)
    nobody = quick(data, fleet=draw_fleet(20, drop_out=1.0))
    assert np.array_equal(flatten(nobody.weights), flatten(dict(mlp().named_parameters())))


def test_devices_are_reached_by_the_hour_of_the_day(data):
    starts = np.where(np.arange(20) < 10, 22.0, 10.0)
    fleet = Fleet(np.full(20, 500.0), np.full(20, 5e4), starts, window_h=8)
    run = quick(data, rounds=24, sample=20, fleet=fleet)
    for log in run.rounds:
        night, noon = log.hour >= 22 or log.hour < 6, 10 <= log.hour < 18
        assert set(log.selected) == (set(range(10)) if night else set(range(10, 20)) if noon else set())
    asleep = next(log for log in run.rounds if log.hour == 8)
    assert (asleep.used, asleep.loss, asleep.down_bytes) == ((), None, 0)


def test_stragglers_are_left_out_or_send_what_they_have(data):
    speed = np.full(20, 1000.0)
    speed[3] = 20.0
    fleet = Fleet(speed, np.full(20, 1e9), np.zeros(20))
    config = ClientConfig(epochs=4, batch_size=8)
    settings = {"rounds": 1, "sample": 20, "fleet": fleet, "config": config}
    waits, drops, partial = (
        quick(data, **settings, **more) for more in ({}, {"deadline_s": 2.0}, {"deadline_s": 2.0, "late": "partial"})
    )
    assert waits.rounds[0].seconds == pytest.approx(4 * 63 / 20, rel=0.02)
    assert list(drops.rounds[0].missing) == [3]
    assert "late: 12." in drops.rounds[0].missing[3]
    assert drops.rounds[0].seconds == 2
    assert len(partial.rounds[0].used) == 20
    assert not np.array_equal(flatten(partial.weights), flatten(drops.weights))
    assert not np.array_equal(flatten(partial.weights), flatten(waits.weights))
    hopeless = quick(data, **{**settings, "deadline_s": 0.05, "late": "partial"})
    assert 3 in hopeless.rounds[0].missing, "not even one step in time"


def test_rounds_by_hand_are_the_simulation(data):
    """What an app of another framework does: calls the function on one client's batches, and averages."""
    net, config, partition = mlp(), ClientConfig(epochs=2), iid(data.train, 3)
    weights, function = initial_weights(net), client_round(net)
    for number in range(2):
        total = {name: torch.zeros_like(value) for name, value in weights.items()}
        for client in range(3):
            index, mask = schedule_round(partition, [client], config, number=number).batches([0])
            arrays = (data.train.x[index[0]], data.train.y[index[0]], mask[0])
            new, _, _ = function(weights, {}, Batches(*map(torch.from_numpy, arrays)), config)
            for name in total:
                total[name] += new[name] * len(partition.indices[client]) / len(data.train)
        weights = total
    run = simulate(net, data.train, partition, rounds=2, config=config, engine="numpy")
    np.testing.assert_allclose(flatten(run.weights), flatten(weights), atol=1e-5)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e20])
def test_a_client_that_sends_nonsense_is_named_and_leaves_no_trace(data, wrong):
    inner = client_round(mlp())

    def function(weights, state, batches, config):
        new, _, metrics = inner(weights, {}, batches, config)
        return {name: value * state["factor"] for name, value in new.items()}, state, metrics

    def run(factor, clients):
        states = {c: {"factor": torch.tensor(1.0 if c != 4 else factor)} for c in range(8)}
        partition = iid(data.train, 8)
        fleet = Fleet(np.where(np.isin(np.arange(8), clients), 1e3, 1e-3), np.full(8, 1e9), np.zeros(8))
        return simulate(
            mlp(), data.train, partition, rounds=2, function=function, states=states, fleet=fleet, deadline_s=100
        )

    poisoned, without = run(wrong, range(8)), run(1.0, [c for c in range(8) if c != 4])
    for log in poisoned.rounds:
        assert list(log.missing) == [4]
        assert log.missing[4].startswith("refused: ")
        assert len(log.used) == 7
    np.testing.assert_array_equal(flatten(poisoned.weights), flatten(without.weights))


@pytest.mark.parametrize("fault", ["another shape", "a name too few", "no weights", "it raises"])
def test_a_client_whose_update_is_malformed_is_named_and_ends_no_round(data, fault):
    inner = client_round(mlp())

    def function(weights, state, batches, config):
        new, _, metrics = inner(weights, {}, batches, config)
        if not state["faulty"]:
            return new, state, metrics
        if fault == "it raises":
            raise ZeroDivisionError("a client of glass")
        first = next(iter(new))
        faulty = {
            "another shape": {**new, first: new[first][:-1]},
            "a name too few": {name: value for name, value in new.items() if name != first},
            "no weights": None,
        }
        return faulty[fault], state, metrics

    def run(faulty, clients):
        states = {c: {"faulty": torch.tensor(c in faulty)} for c in range(8)}
        fleet = Fleet(np.where(np.isin(np.arange(8), clients), 1e3, 1e-3), np.full(8, 1e9), np.zeros(8))
        settings = {"states": states, "fleet": fleet, "deadline_s": 100, "function": function, "engine": "loop"}
        return simulate(mlp(), data.train, iid(data.train, 8), rounds=2, **settings)

    broken, without = run([4], range(8)), run([], [c for c in range(8) if c != 4])
    for log in broken.rounds:
        assert list(log.missing) == [4]
        assert log.missing[4].startswith("refused: malformed, ")
        assert len(log.used) == 7
    np.testing.assert_array_equal(flatten(broken.weights), flatten(without.weights))
    with pytest.raises((BadInput, ZeroDivisionError, AttributeError)):
        run(range(8), range(8))


def test_compressed_updates_learn_with_fewer_bytes(data):
    config = ClientConfig(epochs=3, learning_rate=0.3)
    runs = {}
    for form in (Float32(), Int8(), TopK(0.05), TopK(0.05, feeds_back=False)):
        runs[form] = quick(data, rounds=20, sample=20, config=config, compression=form, evaluate_on=data.validation)
    up = {form: sum(log.up_bytes for log in run.rounds) for form, run in runs.items()}
    whole, int8, fed_back, forgotten = runs
    assert up[int8] < 0.3 * up[whole]
    assert up[fed_back] < 0.1 * up[whole]
    assert abs(runs[int8].accuracy[-1] - runs[whole].accuracy[-1]) < 0.03
    assert runs[fed_back].accuracy[-1] > 0.8
    assert runs[fed_back].rounds[-1].loss < runs[forgotten].rounds[-1].loss, "what was not sent is not lost"


def test_fedprox_keeps_clients_near(data):
    moved = []
    for mu in (0.0, 1.0):
        run = quick(data, rounds=1, config=ClientConfig(epochs=5, learning_rate=0.3, proximal=mu))
        moved.append(np.linalg.norm(flatten(run.weights) - flatten(dict(mlp().named_parameters()))))
    assert moved[1] < 0.8 * moved[0]


def test_another_rule_takes_the_place_of_the_mean(data):
    run = quick(data, rounds=1, aggregate=lambda weights, updates, sizes: weights + np.median(updates, axis=0))
    assert len(run.rounds[0].used) == 5
    with pytest.raises(BadInput, match="finite weights"):
        quick(data, aggregate=lambda weights, updates, sizes: updates)


def test_each_client_and_each_group_is_evaluated(data):
    kept, held = dirichlet_labels(data.train, 15, 0.1).hold_out(0.3)
    net = mlp()
    run = simulate(net, data.train, kept, rounds=3, engine="numpy")
    found = evaluate_clients(net, run.weights, data.train, held)
    net = run.network(net)
    for client in (0, found.worst_client):
        items = held.indices[client]
        logits = nets.predict_logits(net, data.train.x[items])
        assert found.accuracy[client] == pytest.approx(100 * (logits.argmax(axis=1) == data.train.y[items]).mean())
    assert found.accuracy[found.worst_client] <= found.tenth <= 100
    json.dumps(found.to_dict())
    assert "worst: client" in found._repr_markdown_()
    groups = evaluate_groups(net, run.weights, data.test, data.class_names)
    assert {share.grouping for share in groups.by_group} == {"hand"}
    gaps = Partition((np.arange(3), np.zeros(0, np.int64)), data.train.y, {})
    assert np.isnan(evaluate_clients(net, run.weights, data.train, gaps).accuracy[1])
    with pytest.raises(BadInput, match="not made of this split"):
        evaluate_clients(net, run.weights, data.test, held)


def test_a_run_can_be_shown_and_stored(data):
    run = quick(data, fleet=draw_fleet(20, drop_out=0.5, spread=1.0), evaluate_on=data.validation)
    stored = json.loads(json.dumps(run.to_dict()))
    assert len(stored["rounds"]) == 3
    assert stored["bytes_on_air"] == run.bytes_on_air == sum(r["down_bytes"] + r["up_bytes"] for r in stored["rounds"])
    assert "dropped out" in run._repr_markdown_()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sample": 21}, "21 clients cannot be sampled from 20"),
        ({"sample": 0}, "0 clients cannot"),
        ({"rounds": 0}, "rounds=0"),
        ({"deadline_s": 0}, "deadline_s=0"),
        ({"late": "wait"}, "late='wait'"),
        ({"fleet": draw_fleet(3)}, "3 devices for 20 clients"),
        ({"function": lambda *_: None}, "own round alone"),
        ({"norm_limit": -1}, "norm_limit=-1"),
    ],
)
def test_bad_settings_are_one_sentence(data, settings, said):
    with pytest.raises(BadInput, match=said) as caught:
        quick(data, **settings)
    assert str(caught.value).endswith(".")


def test_bad_data_are_one_sentence(data):
    one = data.train.take(data.train.y == 3)
    with pytest.raises(BadInput, match="one class"):
        simulate(mlp(), one, iid(one, 5))
    empty = dirichlet_labels(data.train, 200, 0.01, min_items=0)
    with pytest.raises(BadInput, match=r"Client \d+ holds no items"):
        simulate(mlp(), data.train, empty)
    with pytest.raises(BadInput, match="not made of this split"):
        simulate(mlp(), data.test, iid(data.train, 5))
    with pytest.raises(BadInput, match="must be above 0"):
        Fleet(np.zeros(2), np.ones(2), np.zeros(2))
    with pytest.raises(BadInput, match="drop_out=2"):
        draw_fleet(3, drop_out=2)
    with pytest.raises(BadInput, match="one speed"):
        Fleet(np.ones(2), np.ones(3), np.zeros(2))
    with pytest.raises(BadInput, match="clients=0"):
        draw_fleet(0)


@pytest.mark.parametrize("engine", ["numpy", "vmap", "loop"])
@pytest.mark.parametrize(
    ("net", "words"),
    [(nets.mlp(9, 3, (5,)), "does not take inputs of shape"), (nets.mlp(4, 2, (5,)), "3 classes need one each")],
)
def test_a_network_that_does_not_fit_the_items_is_one_sentence(engine, net, words):
    y = np.arange(30) % 3
    split = Split(np.random.default_rng(0).random((30, 4)).astype(np.float32), y)
    with pytest.raises(BadInput, match=words):
        simulate(net, split, iid(split, 3), rounds=1, engine=engine)


def test_counts_are_whole_numbers_and_an_average_needs_items_and_the_same_names():
    y = np.arange(30) % 3
    split = Split(np.random.default_rng(0).random((30, 4)).astype(np.float32), y)
    net = nets.mlp(4, 3, (5,))
    for wrong in ({"rounds": 1.5}, {"rounds": "3"}, {"sample": 1.5}):
        with pytest.raises(BadInput, match="whole numbers"):
            simulate(net, split, iid(split, 3), **wrong)
    for wrong in ({"epochs": 1.5}, {"batch_size": 2.5}):
        with pytest.raises(BadInput, match="whole numbers"):
            ClientConfig(**wrong)
    with pytest.raises(BadInput, match="row 1 has no items"):
        federated_average(np.zeros(2, "float32"), np.ones((2, 2), "float32"), np.array([1, np.nan]))
    with pytest.raises(BadInput, match="no items"):
        by_hand.average([{"w": torch.ones(1)}], [0])
    with pytest.raises(BadInput, match="same names"):
        by_hand.average([{"w": torch.ones(1)}, {"v": torch.ones(1)}], [1, 2])
    with pytest.raises(BadInput, match="another network"):
        network_with(net, {"w": torch.ones(1)})
