"""A client's round: the closed form, and the three engines held to each other."""

import numpy as np
import pytest
import torch
from torch import nn

from edgelab import nets
from edgelab.data import Split
from edgelab.errors import BadInput
from edgelab.federated.client import Batches, ClientConfig, client_round, initial_weights
from edgelab.federated.engines import flatten, run_clients, unflatten
from edgelab.federated.partition import Partition, quantity_skew
from edgelab.federated.schedule import schedule_round

CLASSES, FEATURES = 4, 6


def split_of(items=150, shape=(FEATURES,), seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.standard_normal((items, *shape)).astype(np.float32), rng.integers(0, CLASSES, items))


def mlp(seed=0):
    torch.manual_seed(seed)
    return nets.mlp(FEATURES, CLASSES, (8, 5))


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, CLASSES))


def run(net, split, config, engine, work=None, **settings):
    partition = quantity_skew(split, 9, 0.7, seed=2, min_items=3)
    plan = schedule_round(partition, [7, 1, 0, 4, 5, 8], config, seed=5, number=3, work=work)
    function = client_round(net)
    return run_clients(split, plan, initial_weights(net), config, function, engine=engine, net=net, **settings)


CONFIGS = {
    "one step": ClientConfig(batch_size=None),
    "epochs": ClientConfig(epochs=3, batch_size=4, learning_rate=0.3),
    "proximal": ClientConfig(epochs=2, batch_size=5, proximal=0.5, learning_rate=0.2),
    "all at once, proximal": ClientConfig(epochs=3, batch_size=None, proximal=1.0),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("work", [None, np.array([0.1, 0.5, 1, 0.7, 1, 0.34])], ids=["whole", "stragglers"])
def test_vmap_and_numpy_give_the_updates_of_the_loop(config, work):
    split, net = split_of(), mlp()
    loop = run(net, split, config, "loop", work)
    assert np.abs(loop.updates).max() > 1e-3
    others = [
        ("vmap", {}),
        ("vmap", {"pad_steps": True}),
        ("vmap", {"bucket": 2}),
        ("numpy", {}),
        ("numpy", {"bucket": 1}),
    ]
    for engine, settings in others:
        found = run(net, split, config, engine, work, **settings)
        np.testing.assert_allclose(found.updates, loop.updates, atol=2e-6, err_msg=f"{engine} {settings}")
        np.testing.assert_allclose(found.metrics["loss"], loop.metrics["loss"], rtol=1e-5)


def test_a_cnn_by_vmap_gives_the_updates_of_the_loop():
    split, net = split_of(60, (1, 8, 8)), cnn()
    loop, vmap = (run(net, split, CONFIGS["proximal"], engine).updates for engine in ("loop", "vmap"))
    np.testing.assert_allclose(vmap, loop, atol=2e-6)


def test_one_client_alone_does_what_pytorch_does():
    split, net = split_of(12), mlp()
    config = ClientConfig(learning_rate=0.5, epochs=2, batch_size=5)
    plan = schedule_round(Partition((np.arange(12),), split.y, {}), [0], config, seed=1)
    index, mask = plan.batches([0])
    found = run_clients(split, plan, initial_weights(net), config, client_round(net), engine="loop").updates[0]
    begin = flatten(initial_weights(net))
    stepper = torch.optim.SGD(net.parameters(), 0.5)
    for items, held in zip(index[0], mask[0], strict=True):
        real = items[held > 0]
        stepper.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(split.x[real])), torch.from_numpy(split.y[real])).backward()
        stepper.step()
    np.testing.assert_allclose(found, flatten(initial_weights(net)) - begin, atol=1e-6)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_each_item_is_met_once_an_epoch(batch_size):
    split = split_of()
    partition = quantity_skew(split, 9, 0.7, min_items=1)
    config = ClientConfig(epochs=3, batch_size=batch_size)
    plan = schedule_round(partition, range(9), config, seed=1)
    again = schedule_round(partition, [6], config, seed=1, number=1)
    assert not np.array_equal(again.order[0], again.order[1]) or len(partition.indices[6]) < 3
    seen = 0
    for pad in (False, True):
        rows = np.concatenate(list(plan.buckets(4, pad)))
        assert sorted(rows) == list(range(9))
    for bucket in plan.buckets(4, True):
        index, mask = plan.batches(bucket)
        for row, items, held in zip(bucket, index, mask, strict=True):
            met = np.bincount(items[held > 0], minlength=150)
            assert (met[partition.indices[row]] == 3).all()
            assert met.sum() == 3 * len(partition.indices[row])
            seen += 1
    assert seen == 9


def test_the_function_is_pure_and_keeps_the_callers_threads():
    net = mlp()
    weights = initial_weights(net)
    before = {name: value.clone() for name, value in weights.items()}
    data = Batches(torch.ones(2, 3, FEATURES), torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3))
    first, second = (client_round(net)(weights, {}, data, ClientConfig())[0] for _ in range(2))
    assert all(torch.equal(first[n], second[n]) and torch.equal(weights[n], before[n]) for n in weights)
    threads = torch.get_num_threads()
    run(net, split_of(), ClientConfig(), "vmap")
    assert torch.get_num_threads() == threads


def test_a_learners_own_function_with_a_state_runs_by_both_engines():
    net, split = mlp(), split_of()
    inner = client_round(net)

    def counting(weights, state, data, config):
        new, _, metrics = inner(weights, {}, data, config)
        rounds = state["rounds"] + 1
        return dict(reversed(new.items())), {"rounds": rounds}, {**metrics, "items": data.mask.sum()}

    partition = quantity_skew(split, 5, 1.0, min_items=2)
    found = {}
    for engine in ("loop", "vmap"):
        states = {client: {"rounds": torch.zeros(())} for client in range(5)}
        for number, clients in enumerate(([0, 1, 2], [2, 4])):
            plan = schedule_round(partition, clients, ClientConfig(), number=number)
            result = run_clients(
                split, plan, initial_weights(net), ClientConfig(), counting, engine=engine, states=states
            )
        assert [int(states[c]["rounds"]) for c in range(5)] == [1, 1, 2, 0, 1]
        assert result.metrics["items"].tolist() == partition.sizes[[2, 4]].tolist()
        found[engine] = result.updates
    np.testing.assert_allclose(found["loop"], found["vmap"], atol=2e-6)


def test_weights_are_flattened_and_back():
    weights = initial_weights(mlp())
    back = unflatten(flatten(weights), weights)
    assert list(back) == list(weights)
    assert all(torch.equal(back[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: run(mlp(), s, ClientConfig(), "ray"), "engine='ray'"),
        (lambda s: run(cnn(), split_of(60, (1, 8, 8)), ClientConfig(), "numpy"), "use engine='vmap'"),
        (lambda s: client_round(nets.cnn1d(3)), "running averages"),
        (lambda s: ClientConfig(learning_rate=0), "learning_rate=0"),
        (lambda s: ClientConfig(epochs=0), "epochs=0"),
        (lambda s: ClientConfig(proximal=-1), "proximal=-1"),
        (lambda s: run(mlp(), s, ClientConfig(), "loop", np.zeros(6)), "share of its steps"),
        (
            lambda s: schedule_round(Partition((np.arange(5), np.zeros(0, np.int64)), s.y, {}), [0, 1], ClientConfig()),
            "Client 1 holds no items",
        ),
        (lambda s: schedule_round(Partition((np.arange(5),), s.y, {}), [1], ClientConfig()), "clients from 0 to 0"),
    ],
)
def test_bad_input_is_one_sentence(call, said):
    with pytest.raises(BadInput, match=said) as caught:
        call(split_of())
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_a_function_that_returns_other_weights_is_refused(engine):
    net, split = mlp(), split_of()
    plan = schedule_round(Partition((np.arange(5),), split.y, {}), [0], ClientConfig())

    def wrong(weights, state, data, config):
        return {name: value * data.mask.sum() for name, value in list(weights.items())[:-1]}, state, {}

    with pytest.raises(BadInput, match="names and shapes"):
        run_clients(split, plan, initial_weights(net), ClientConfig(), wrong, engine=engine)
