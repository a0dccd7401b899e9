"""The drawn signs: shares, groups, repeatability."""

import numpy as np
import pytest

from edgelab.data.signs import CLASSES, RARE_CLASS, signs
from edgelab.errors import BadInput


@pytest.fixture(scope="module")
def data():
    return signs(train=2000, validation=500, test=1000)


def test_shapes_scaling_and_groups(data):
    assert data.train.x.shape == (2000, 3, 32, 32)
    assert data.train.x.dtype == np.float32
    assert 0.0 <= data.train.x.min() < data.train.x.max() <= 1.0
    assert set(data.test.groups) == {"lighting", "size", "occlusion", "rarity"}
    assert all(len(labels) == 1000 for labels in data.test.groups.values())


def test_the_rare_class_is_rare_in_training_alone(data):
    rare = CLASSES.index(RARE_CLASS)
    assert np.mean(data.train.y == rare) == pytest.approx(0.02)
    assert np.mean(data.test.y == rare) == pytest.approx(0.10)
    assert set(data.test.groups["rarity"][data.test.y == rare]) == {"rare"}


def test_the_same_seed_draws_the_same_and_a_longer_split_begins_alike(data):
    again = signs(train=1000, validation=500, test=500)
    assert np.array_equal(again.train.x, data.train.x[:1000])
    other = signs(train=500, validation=500, test=500, seed=1)
    assert not np.array_equal(other.train.x, data.train.x[:500])


def test_no_image_is_in_two_splits(data):
    prints = [{image.tobytes() for image in split.x} for split in data.splits.values()]
    assert sum(map(len, prints)) == len(set.union(*prints)) == 3500


def test_groups_are_what_they_say(data):
    light = data.test.groups["lighting"]
    mean = data.test.x.mean(axis=(1, 2, 3))
    assert mean[light == "night"].mean() < mean[light == "dusk"].mean() < mean[light == "day"].mean()


def test_too_few_items_are_refused():
    with pytest.raises(BadInput, match="at least 500"):
        signs(test=100)
