"""Accuracy, divergence and losses on logits whose answers are known."""

import numpy as np
import pytest

from edgelab.errors import BadInput
from edgelab.measure import quality
from edgelab.reading import Reading


def logits_for(answers, classes=3):
    return np.eye(classes, dtype=np.float32)[answers] * 4


def test_accuracy_by_class_and_group():
    y = np.array([0, 0, 1, 1, 2, 2])
    answers = np.array([0, 1, 1, 1, 2, 0])
    groups = {"light": np.array(["day", "night"] * 3)}
    result = quality.evaluate(logits_for(answers), None, y, groups, ["a", "b", "c"])
    assert result.accuracy.value == pytest.approx(100 * 4 / 6)
    assert {s.name: s.accuracy.value for s in result.by_class} == {"a": 50, "b": 100, "c": 50}
    shares = {s.name: s.accuracy.value for s in result.by_group}
    assert shares == {"day": pytest.approx(100.0), "night": pytest.approx(100 / 3)}
    assert result.worst_group is None, "three items can tell nothing"


def test_divergence_of_a_copy_and_of_a_known_error():
    a = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    same = quality.divergence(a, a.copy())
    assert (same.agreement.value, same.max_abs, same.sqnr_db) == (100, 0, None)
    b = a.copy()
    b[7, 2] += 10
    off = quality.divergence(a, b)
    assert off.worst_item == 7
    assert off.max_abs == pytest.approx(10, rel=1e-6)
    assert off.sqnr_db == pytest.approx(10 * np.log10(np.mean(a.astype(float) ** 2) / (100 / a.size)), rel=1e-4)
    p, q = (np.exp(v) / np.exp(v).sum(axis=1, keepdims=True) for v in (a.astype(float), b.astype(float)))
    assert off.kl == pytest.approx(np.mean(np.sum(p * np.log(p / q), axis=1)), rel=1e-4)


def test_the_verdict_knows_the_noise():
    before = np.ones(400, bool)
    few, many = before.copy(), before.copy()
    few[:3] = False
    many[:40] = False
    assert not quality.difference(before, few).verdict.different
    clear = quality.difference(before, many)
    assert clear.verdict.different
    assert clear.loss.value == pytest.approx(10)
    assert clear.loss.low < 10 < clear.loss.high


def test_the_worst_group_is_large_enough_and_loses_most():
    groups = {"g": np.array(["big"] * 500 + ["small"] * 60 + ["tiny"] * 5)}
    before = np.ones(565, bool)
    after = before.copy()
    after[:20] = after[500:520] = after[560:565] = False
    losses = quality.group_differences(before, after, groups)
    assert losses.worst.name == "small"
    assert losses.worst.loss.value == pytest.approx(100 * 20 / 60)
    told = {row[1]: row[4] for row in losses.table().rows}
    assert told["tiny"] == "too few items to tell"
    assert told["small"] == "yes"


def test_loss_gap_keeps_the_sides_of_the_intervals():
    gap = quality.loss_gap(Reading(10, "points", "measured", "a", 7, 12), Reading(2, "points", "measured", "b", 1, 6))
    assert (gap.value, gap.low, gap.high) == (8, pytest.approx(8 - 5), pytest.approx(8 + 5**0.5))


@pytest.mark.parametrize(
    ("logits", "y"),
    [
        (np.zeros((3, 2), np.float32), np.array([0, 1])),
        (np.zeros((2, 2), np.float32), np.array([0, 2])),
        (np.full((2, 2), np.nan, np.float32), np.array([0, 1])),
        (np.zeros((2, 2), np.float32), np.array([0.5, 1.0])),
        (np.zeros((2,), np.float32), np.array([0, 1])),
    ],
)
def test_bad_input_is_one_sentence(logits, y):
    with pytest.raises(BadInput) as caught:
        quality.evaluate(logits, None, y)
    assert "\n" not in str(caught.value)
