"""The Dataset and Split classes: what they refuse, what they keep, and what they write."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelab.data import Dataset, Split, load
from edgelab.data.splitting import stratified_order, thirds, three_way
from edgelab.errors import BadFile, BadInput


def make_split(n=12, classes=3, shape=(1, 4, 4), seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return Split(
        rng.random((n, *shape), np.float32), y, {"sensor": np.where(y == 0, "a", "b"), "run": np.arange(n) % 2}
    )


def make_dataset(**changes):
    fields = {
        "name": "toy",
        "train": make_split(30),
        "validation": make_split(6),
        "test": make_split(12),
        "class_names": ("x", "y", "z"),
        "source": "a test",
        "licence": "none",
        "card": "none",
        "scaling": "none",
    }
    return Dataset(**{**fields, **changes})


class TestSplit:
    def test_types_are_those_of_the_contract(self):
        split = Split(np.zeros((2, 3)), [0, 1], {"day": [1, 2]})
        assert (split.x.dtype, split.y.dtype) == (np.float32, np.int64)
        assert split.groups["day"].tolist() == ["1", "2"]

    @pytest.mark.parametrize(
        ("x", "y", "groups", "words"),
        [
            (np.zeros((2, 3)), [0], {}, "one label per item"),
            (np.zeros((2, 3)), [0, -1], {}, "labels count from 0"),
            (np.zeros((2, 3)), [0.0, 1.0], {}, "must be integers"),
            (np.zeros((2, 3)), [[0], [1]], {}, "must be integers of shape"),
            (np.zeros(2), [0, 1], {}, "channels first"),
            (np.zeros((2, 1, 1, 1, 1)), [0, 1], {}, "channels first"),
            (np.zeros((2, 3), np.uint8), [0, 1], {}, "scale it"),
            (np.array([[0.0], [np.nan]]), [0, 1], {}, "item 1"),
            (np.array([[np.inf], [0.0]]), [0, 1], {}, "item 0"),
            (np.zeros((2, 3)), [0, 1], {"g": ["a"]}, "one label for each of 2"),
            (np.zeros((2, 3)), [0, 1], {"g": ["a", ""]}, "no label for item 1"),
        ],
    )
    def test_refuses_in_one_sentence(self, x, y, groups, words):
        with pytest.raises(BadInput, match=words) as caught:
            Split(x, y, groups)
        assert "\n" not in str(caught.value)

    def test_a_nan_far_in_is_found(self):
        x = np.zeros((5000, 2), np.float32)
        x[4500, 1] = np.nan
        with pytest.raises(BadInput, match="item 4500"):
            Split(x, np.zeros(5000, int))

    def test_groups_and_fields_cannot_be_changed(self):
        split = make_split()
        with pytest.raises(TypeError):
            split.groups["new"] = []
        with pytest.raises(AttributeError):
            split.x = None

    def test_take_keeps_items_labels_and_groups_together(self):
        split = make_split()
        taken = split.take([5, 2])
        np.testing.assert_array_equal(taken.x, split.x[[5, 2]])
        assert taken.groups["run"].tolist() == ["1", "0"]

    @pytest.mark.parametrize("n", [0, 13, -1])
    def test_subset_refuses_sizes_it_does_not_have(self, n):
        with pytest.raises(BadInput, match="1 to 12"):
            make_split().subset(n)

    def test_uniform_subset_is_not_stratified(self):
        split = Split(np.zeros((300, 1)), np.repeat([0, 1, 2], 100))
        counts = {tuple(np.bincount(split.subset(30, seed, stratified=False).y, minlength=3)) for seed in range(5)}
        assert len(counts) > 1
        assert {tuple(np.bincount(split.subset(30, seed).y)) for seed in range(5)} == {(10, 10, 10)}

    def test_npz_is_what_compare_reads(self, tmp_path):
        split = make_split()
        with np.load(split.to_npz(tmp_path / "a.npz", group="sensor"), allow_pickle=False) as bundle:
            assert sorted(bundle.files) == ["group", "x", "y"]
            assert (bundle["x"].dtype, bundle["y"].dtype, bundle["group"].dtype.kind) == (np.float32, np.int64, "U")
            np.testing.assert_array_equal(bundle["x"], split.x)
        with np.load(split.to_npz(tmp_path / "b.npz")) as bundle:
            assert sorted(bundle.files) == ["x", "y"]
        with pytest.raises(BadInput, match="sensor, run"):
            split.to_npz(tmp_path / "c.npz", group="lighting")
        with pytest.raises(BadFile):
            split.to_npz(tmp_path / "a.npz" / "not a folder.npz")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


class TestDataset:
    def test_shape_classes_and_description(self):
        data = make_dataset()
        assert (data.input_shape, data.classes) == ((1, 4, 4), 3)
        described = json.loads(json.dumps(data.to_dict()))
        assert described["splits"]["test"]["by_class"] == {"x": 4, "y": 4, "z": 4}
        assert described["splits"]["test"]["by_group"]["sensor"] == {"a": 4, "b": 8}
        shown = data._repr_markdown_()
        assert "| x | 10 | 2 | 4 |" in shown
        assert "sensor: a, b" in shown

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"validation": make_split(6, shape=(1, 4, 5))}, "must agree"),
            ({"class_names": ("x", "y")}, "has no name"),
            ({"class_names": ("x", "y", "y")}, "different class names"),
            ({"class_names": ("x",)}, "at least two"),
            ({"test": Split(np.zeros((0, 1, 4, 4)), np.zeros(0, int))}, "test split of 'toy' is empty"),
            ({"test": Split(np.zeros((3, 1, 4, 4)), [0, 1, 2])}, "lacks the group"),
        ],
    )
    def test_refuses_in_one_sentence(self, changes, words):
        with pytest.raises(BadInput, match=words) as caught:
            make_dataset(**changes)
        assert "\n" not in str(caught.value)

    def test_subset_leaves_validation_and_test_whole(self):
        data = make_dataset()
        small = data.subset(9, seed=1)
        assert (len(small.train), len(small.validation), len(small.test)) == (9, 6, 12)
        assert np.bincount(small.train.y).tolist() == [3, 3, 3]

    def test_golden_items_are_fixed_and_even(self):
        data = make_dataset()
        golden = data.golden(6)
        assert golden.y.tolist() == [0, 1, 2, 0, 1, 2]
        np.testing.assert_array_equal(golden.x, data.test.x[[0, 1, 2, 3, 4, 5]])
        with pytest.raises(BadInput, match="13 golden items"):
            data.golden(13)

    def test_to_npz_names_the_splits(self, tmp_path):
        data = make_dataset()
        with np.load(data.to_npz(tmp_path / "v.npz", split="validation")) as bundle:
            assert len(bundle["x"]) == 6
        with pytest.raises(BadInput, match="train, validation, test"):
            data.to_npz(tmp_path / "w.npz", split="dev")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(0, 1000), st.data())
def test_every_prefix_of_a_stratified_order_is_in_proportion(labels, seed, data):
    y = np.array(labels)
    order = stratified_order(y, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(y)))
    n = data.draw(st.integers(1, len(y)))
    counts = np.bincount(y[order[:n]], minlength=5)
    # Rounding one class up or down moves the others' places: off by less than the number of classes, and by
    # at most one for each class but in crowded ties.
    assert abs(counts - n * np.bincount(y, minlength=5) / len(y)).max() <= 2.5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=120), st.floats(0.05, 0.45), st.floats(0.05, 0.45))
def test_three_way_puts_each_item_once_and_each_class_everywhere(labels, validation, test):
    y = np.array(labels)
    if np.bincount(y)[np.unique(y)].min() < 3:
        with pytest.raises(BadInput, match="at least 3"):
            three_way(y, validation, test, 0)
        return
    parts = three_way(y, validation, test, 0)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(y)))
    for index in parts.values():
        assert set(y[index]) == set(y)


@pytest.mark.parametrize(("validation", "test"), [(0, 0.2), (0.5, 0.5), (-0.1, 0.2), (0.2, float("nan"))])
def test_three_way_refuses_shares_without_room(validation, test):
    with pytest.raises(BadInput, match="leave no room"):
        three_way(np.repeat([0, 1], 10), validation, test, 0)


def test_thirds_are_within_the_class():
    y = np.repeat([0, 1], 30)
    values = np.concatenate([np.arange(30.0), 1000 + np.arange(30.0)])
    labels = thirds(values, y, np.arange(60), ("low", "mid", "high"))
    for label in (0, 1):
        assert [int((labels[y == label] == name).sum()) for name in ("low", "mid", "high")] == [10, 10, 10]


def test_load_finds_by_name_and_says_what_there_is():
    assert load("vibration", items=100).name == "vibration"
    with pytest.raises(BadInput, match="digits, signs, vibration, fashion_mnist, cifar10, speech_commands"):
        load("mnist")


@pytest.mark.parametrize(("name", "settings"), [("digits", {}), ("vibration", {"items": 200})])
def test_bundled_sets_give_every_test_item_its_groups_and_have_a_card(name, settings, request):
    data = load(name, **settings)
    assert data.test.groups
    assert all(len(values) == len(data.test) for values in data.test.groups.values())
    assert (request.config.rootpath / data.card).is_file()
    assert data.name == name
