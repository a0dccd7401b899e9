"""Aggregation by its closed form, and updates as bytes."""

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgelab import nets
from edgelab.data import Split
from edgelab.errors import BadFile, BadInput
from edgelab.federated.aggregate import federated_average, refusals
from edgelab.federated.client import ClientConfig, client_round, initial_weights
from edgelab.federated.engines import flatten, run_clients
from edgelab.federated.messages import Float32, Int8, TopK, decode
from edgelab.federated.partition import dirichlet_labels
from edgelab.federated.schedule import schedule_round

FORMS = [Float32(), Int8(), TopK(0.1), TopK(1.0), TopK(1e-9)]


def gradient_step_of_all(net, split, rate):
    net.zero_grad()
    nn.functional.cross_entropy(net(torch.from_numpy(split.x)), torch.from_numpy(split.y)).backward()
    return np.concatenate([(w - rate * w.grad).detach().numpy().ravel() for w in net.parameters()])


@pytest.mark.parametrize("engine", ["loop", "vmap", "numpy"])
def test_one_step_of_every_client_is_one_gradient_step_on_all_items(engine):
    rng = np.random.default_rng(0)
    split = Split(rng.standard_normal((97, 6)).astype(np.float32), rng.integers(0, 3, 97))
    torch.manual_seed(0)
    net = nets.mlp(6, 3, (7,))
    partition = dirichlet_labels(split, 8, 0.2)
    config = ClientConfig(learning_rate=0.7, batch_size=None)
    weights = initial_weights(net)
    plan = schedule_round(partition, range(8), config)
    updates = run_clients(split, plan, weights, config, client_round(net), engine=engine, net=net).updates
    wanted = gradient_step_of_all(net, split, 0.7)
    np.testing.assert_allclose(federated_average(flatten(weights), updates, partition.sizes), wanted, atol=1e-6)
    unweighted = federated_average(flatten(weights), updates, np.ones(8, int))
    assert np.abs(unweighted - wanted).max() > 1e-3, "a mean that forgets the sizes must not pass for the right one"


def test_what_a_server_must_not_use():
    updates = np.zeros((5, 3), np.float32)
    updates[1, 2], updates[2, 0], updates[4, 1] = np.nan, -np.inf, 50
    assert refusals(updates, 10) == {1: "NaN or infinite", 2: "NaN or infinite", 4: "norm 50 above 10"}
    assert set(refusals(updates)) == {1, 2}
    with pytest.raises(BadInput, match="norm_limit=0"):
        refusals(updates, 0)


@pytest.mark.parametrize(
    ("updates", "sizes", "said"),
    [
        ([[1, 2], [np.nan, 0]], [1, 1], "row 1 holds a NaN"),
        ([[1, 2], [1, 0]], [1, 0], "row 1 has no items"),
        ([[1, 2], [1, 0]], [1], "do not fit 2 weights"),
        ([[1, 2, 3]], [1], "do not fit 2 weights"),
        (np.zeros((0, 2)), [], "do not fit 2 weights"),
    ],
)
def test_bad_updates_are_one_sentence(updates, sizes, said):
    with pytest.raises(BadInput, match=said):
        federated_average(np.zeros(2, np.float32), np.array(updates, np.float32), np.array(sizes, int))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("parameters", [1, 255, 256, 257, 2410, 70_000])
def test_bytes_are_the_length_of_the_real_message(form, parameters):
    update = np.random.default_rng(parameters).standard_normal(parameters).astype(np.float32)
    message = form.encode(update, 33)
    assert len(message) == form.length(parameters)
    back, items = decode(message, parameters)
    assert items == 33
    np.testing.assert_array_equal(back, form.lossy(update[None])[0])


def test_what_each_form_loses():
    update = np.random.default_rng(0).standard_normal((3, 1000)).astype(np.float32)
    assert np.array_equal(Float32().lossy(update), update)
    found = Int8().lossy(update)
    assert np.abs(found - update).max() <= np.abs(update).max() / 127 / 2 * 1.001
    found = TopK(0.05).lossy(update)
    assert (np.count_nonzero(found, axis=1) == 50).all()
    assert np.abs(found).sum() == pytest.approx(np.sort(np.abs(update), axis=1)[:, -50:].sum(), rel=1e-6)
    assert Int8().length(100_000) < 0.26 * Float32().length(100_000)
    assert np.array_equal(Int8().lossy(np.zeros((1, 5), np.float32)), np.zeros((1, 5)))


def test_a_nan_does_not_vanish_in_a_compressed_update():
    update = np.zeros((1, 300), np.float32)
    update[0, 7] = np.nan
    for form in FORMS[:4]:
        assert not np.isfinite(form.lossy(update)).all(), form


@given(st.binary(max_size=80), st.integers(0, 2), st.integers(1, 12))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_message_from_outside_is_decoded_or_refused(body, kind, parameters):
    message = bytes([kind, 1, 0, 0, 0, parameters, 0, 0, 0]) + body
    found = None
    with contextlib.suppress(BadFile):
        found, _ = decode(message, parameters)
    assert found is None or found.shape == (parameters,)


def test_malformed_messages_are_refused():
    good = TopK(0.5).encode(np.arange(1, 9, dtype=np.float32), 1)
    for form in FORMS[:3]:
        message = form.encode(np.ones(300, np.float32), 1)
        with pytest.raises(BadFile, match="malformed"):
            decode(message[:-1], 300)
        with pytest.raises(BadFile, match="carries 300"):
            decode(message, 299)
    outside = good[:13] + b"\xff\xff" + good[15:]
    for bad in (outside, b"\x07" + good[1:], good[:3]):
        with pytest.raises(BadFile):
            decode(bad, 8)
    with pytest.raises(BadInput, match="share=0"):
        TopK(0)
