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


def test_top_k_counts_the_highest_logits_and_breaks_ties_as_argmax_does():
    draw = np.random.default_rng(0)
    logits = draw.integers(0, 4, (200, 10)).astype(np.float32)  # many ties
    y = draw.integers(0, 10, 200)
    order = np.argsort(-logits, axis=1, kind="stable")
    for k in (1, 2, 5, 10):
        wanted = 100 * np.mean([y[i] in order[i, :k] for i in range(200)])
        assert quality.top_k(logits, y, k).value == pytest.approx(wanted)
    assert quality.top_k(logits, y, 1).value == quality.evaluate(logits, None, y).accuracy.value
    result = quality.evaluate(logits, None, y)
    assert result.top_5.value == quality.top_k(logits, y, 5).value
    assert "in the top 5" in str(result.table())
    assert quality.evaluate(logits[:, :4], None, y % 4).top_5 is None
    for k in (0, 11):
        with pytest.raises(BadInput, match="the number of classes"):
            quality.top_k(logits, y, k)


def test_rare_is_compared_with_common_and_not_the_worst_with_the_mean():
    draw = np.random.default_rng(1)
    hits = shown = 0
    for _ in range(300):
        rare = np.arange(2000) < 200
        before = draw.random(2000) < 0.9
        after = before & (draw.random(2000) > 0.05)  # every group loses the same: there is nothing to see
        gap = quality.loss_contrast(before, after, rare)
        hits += gap.low <= 0 <= gap.high
        shown += gap.low > 0
    assert hits / 300 >= 0.93
    assert shown / 300 <= 0.05
    after = before & ~(rare & (draw.random(2000) < 0.4))
    gap = quality.loss_contrast(before, after, rare)
    assert gap.value == pytest.approx(100 * ((before & ~after)[rare].mean() - (before & ~after)[~rare].mean()))
    assert gap.low > 20
    wider = quality.loss_contrast(before, after, rare, looks=4)
    assert wider.low < gap.low < gap.high < wider.high
    assert "4 looks" in wider.by
    few = quality.loss_contrast(before, after, np.arange(2000) < 12)
    assert few.doubt == "12 items on one side cannot tell: it takes 30."
    with pytest.raises(BadInput, match="at least one of each"):
        quality.loss_contrast(before, after, np.zeros(2000, bool))


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
