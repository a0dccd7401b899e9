"""The digits: real, fixed, and with groups that mean something."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgelab.data import digits
from edgelab.data.digits import ink, slant


def test_it_is_the_whole_set_once_and_scaled():
    data = digits()
    assert [len(split) for split in data.splits.values()] == [1257, 180, 360]
    x = np.concatenate([split.x for split in data.splits.values()])
    y = np.concatenate([split.y for split in data.splits.values()])
    published = load_digits()
    assert (x.min(), x.max()) == (0, 1)
    mine = sorted((int(label), (image * 16).astype(int).tobytes()) for image, label in zip(x[:, 0], y, strict=True))
    theirs = sorted(
        (int(t), image.astype(int).tobytes()) for image, t in zip(published.images, published.target, strict=True)
    )
    assert mine == theirs


def test_splits_are_fixed_and_depend_on_the_seed():
    np.testing.assert_array_equal(digits().test.x, digits().test.x)
    assert not np.array_equal(digits(1).test.y, digits(0).test.y)


def test_each_split_holds_the_classes_in_proportion():
    data = digits()
    shares = [np.bincount(split.y) / len(split) for split in data.splits.values()]
    assert np.ptp(shares, axis=0).max() < 0.02


def test_groups_are_thirds_of_each_digit_in_training():
    data = digits()
    for name in ("stroke", "slant"):
        for digit in range(10):
            _, counts = np.unique(data.train.groups[name][data.train.y == digit], return_counts=True)
            assert len(counts) == 3
            assert np.ptp(counts) < 25  # ties of ink values at the limits


def test_thick_is_more_ink_than_thin_and_right_leans_right_of_left():
    data = digits()
    x, groups = data.test.x[:, 0], data.test.groups
    for digit in range(10):
        of = data.test.y == digit
        assert ink(x[of & (groups["stroke"] == "thick")]).min() >= ink(x[of & (groups["stroke"] == "thin")]).max()
        assert slant(x[of & (groups["slant"] == "right")]).min() >= slant(x[of & (groups["slant"] == "left")]).max()


def test_slant_of_known_strokes():
    upright = np.zeros((8, 8), np.float32)
    upright[:, 3] = 1
    leaning_left = np.eye(8, dtype=np.float32)
    np.testing.assert_allclose(slant(np.stack([upright, leaning_left, leaning_left[::-1]])), [0, -1, 1], atol=1e-6)
    assert np.isfinite(slant(np.zeros((1, 8, 8), np.float32))).all()


def test_scikit_learn_is_asked_only_where_its_file_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys; from edgelab import data; data.digits(); print('sklearn' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["False"]
    usual = digits()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    asked = digits()
    for part, split in usual.splits.items():
        assert split.x.dtype == asked.splits[part].x.dtype
        np.testing.assert_array_equal(split.x, asked.splits[part].x)
        np.testing.assert_array_equal(split.y, asked.splits[part].y)
