"""Partitions: by what must hold of any of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelab.data import Split, vibration
from edgelab.errors import BadInput
from edgelab.federated.partition import (
    Partition,
    dirichlet_labels,
    feature_skew,
    iid,
    quantity_skew,
    sensor_bias,
)


def split_of(items, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(items) % classes
    groups = {"sensor": rng.choice(["a", "b", "c"], items, p=[0.6, 0.3, 0.1])}
    return Split(rng.standard_normal((items, 3)).astype(np.float32), y, groups)


MAKERS = {
    "iid": lambda split, clients, alpha, seed: iid(split, clients, seed),
    "labels": dirichlet_labels,
    "quantity": quantity_skew,
    "feature": lambda split, clients, alpha, seed: feature_skew(split, clients, "sensor", seed),
}


@given(
    kind=st.sampled_from(sorted(MAKERS)),
    items=st.integers(60, 200),
    clients=st.integers(3, 12),
    alpha=st.sampled_from([1e-6, 0.05, 1.0, 1e4]),
    seed=st.integers(0, 50),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_item_goes_to_exactly_one_client_and_none_is_empty(kind, items, clients, alpha, seed):
    split = split_of(items)
    found = MAKERS[kind](split, clients, alpha, seed)
    assert sorted(np.concatenate(found.indices).tolist()) == list(range(items))
    assert found.clients == clients
    assert found.sizes.min() >= 1
    assert (found.by_class.sum(axis=0) == np.bincount(split.y)).all()
    again = MAKERS[kind](split, clients, alpha, seed)
    assert all(np.array_equal(a, b) for a, b in zip(found.indices, again.indices, strict=True))


def test_iid_shares_are_equal_and_the_dial_turns():
    split = split_of(1000)
    assert set(iid(split, 30).sizes.tolist()) == {33, 34}
    skews = [np.mean([dirichlet_labels(split, 10, a, seed).skew() for seed in range(5)]) for a in (0.05, 0.5, 100)]
    assert skews[0] > skews[1] + 0.1 > skews[2] + 0.2
    spread = [quantity_skew(split, 10, a).sizes.std() for a in (0.2, 1000)]
    assert spread[0] > 10 * spread[1]
    assert quantity_skew(split, 10, 100).skew() < 0.15


def test_a_client_may_be_empty_when_asked():
    split = split_of(60)
    assert dirichlet_labels(split, 20, 0.01, min_items=0).sizes.min() == 0
    assert dirichlet_labels(split, 20, 0.01, min_items=3).sizes.min() == 3


def test_each_client_has_one_sensor_and_its_own_bias():
    split = vibration(items=200).train
    found = feature_skew(split, 7)
    assert all(len(set(split.groups["sensor"][index])) == 1 for index in found.indices)
    biased = sensor_bias(split, found, gain=0.3, offset=0.2, seed=1)
    ratios = []
    for index in found.indices:
        slope, shift = np.polyfit(split.x[index].ravel(), biased.x[index].ravel(), 1)
        np.testing.assert_allclose(biased.x[index], slope * split.x[index] + shift, atol=1e-4)
        ratios.append(slope)
    assert np.std(ratios) > 0.05
    assert np.array_equal(sensor_bias(split, found, 0, 0).x, split.x)


def test_items_are_held_out_by_client():
    found = dirichlet_labels(split_of(200), 12, 0.1)
    kept, held = found.hold_out(0.25, seed=3)
    for whole, a, b in zip(found.indices, kept.indices, held.indices, strict=True):
        assert sorted([*a, *b]) == whole.tolist()
        assert len(a) >= 1
    assert 0.2 < held.sizes.sum() / 200 < 0.35


def test_who_holds_what_is_a_table_and_a_heat_map():
    from edgelab.ui import heatmap

    found = dirichlet_labels(split_of(300), 25, 0.2)
    assert "5 more clients" in found._repr_markdown_()
    data = found.to_dict()
    assert sum(map(sum, data["by_class"])) == 300
    assert data["recipe"]["kind"] == "dirichlet_labels"
    figure = heatmap(found.by_class.T, "A few classes a client", "client", "class", unit="items")
    assert np.array_equal(figure.data[0].z, found.by_class.T)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: dirichlet_labels(s, 3, 0), "alpha=0"),
        (lambda s: dirichlet_labels(s, 3, float("nan")), "alpha=nan"),
        (lambda s: quantity_skew(s, 3, -1), "alpha=-1"),
        (lambda s: dirichlet_labels(s.take(s.y == 0), 3), "two classes"),
        (lambda s: iid(s, 0), "clients=0"),
        (lambda s: iid(s, 61), "too few for 61"),
        (lambda s: quantity_skew(s, 10, min_items=7), "at least 7"),
        (lambda s: feature_skew(s, 9, "light"), "no group 'light'"),
        (lambda s: feature_skew(s, 2), "2 clients cannot"),
        (lambda s: Partition((np.array([1, 2]), np.array([2])), s.y, {}), "Item 2 was dealt out twice"),
        (lambda s: Partition((np.array([60]),), s.y, {}), "outside"),
        (lambda s: Partition((np.zeros(0, np.int64),), s.y, {}), "at least one client"),
        (lambda s: iid(s, 60).hold_out(0.5), "two items"),
        (lambda s: iid(s, 6).hold_out(1), "share=1"),
        (lambda s: sensor_bias(s.take(np.arange(9)), iid(s, 3)), "not made of this split"),
        (lambda s: sensor_bias(s, iid(s, 3), gain=-1), "gain=-1"),
    ],
)
def test_bad_input_is_one_sentence(call, said):
    with pytest.raises(BadInput, match=said) as caught:
        call(split_of(60))
    assert str(caught.value).endswith(".")
