"""Intervals against known values, and their coverage by simulation."""

import numpy as np
import pytest
from scipy import stats as reference

from edgelab.errors import BadInput
from edgelab.measure import stats


def test_percentile_interval_has_the_ranks_of_the_binomial():
    values = np.arange(1.0, 201.0)
    value, low, high = stats.percentile_interval(values, 95)
    assert value == np.percentile(values, 95)
    # low is the largest rank with P(B < rank) <= 2.5 percent, high the smallest with P(B < rank) >= 97.5 percent
    below = reference.binom.cdf(np.arange(0, 201), 200, 0.95)
    assert below[int(low) - 1] <= 0.025 < below[int(low)]
    assert below[int(high) - 2] < 0.975 <= below[int(high) - 1]


@pytest.mark.parametrize(("q", "n"), [(50, 40), (95, 200), (99, 600)])
def test_percentile_interval_covers(q, n):
    draw = np.random.default_rng(1)
    truth = reference.gamma.ppf(q / 100, 4.0)
    hits = 0
    for _ in range(600):
        _, low, high = stats.percentile_interval(draw.gamma(4.0, size=n), q)
        hits += low <= truth <= high
    assert 0.93 <= hits / 600 <= 0.995  # an interval of 68 or of 99.9 percent fails


def test_wilson_interval_agrees_with_scipy():
    for successes, n in [(0, 10), (7, 10), (10, 10), (930, 1000)]:
        interval = reference.binomtest(successes, n).proportion_ci(method="wilson")
        _, low, high = stats.wilson_interval(successes, n)
        assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_mcnemar_agrees_with_the_binomial_test():
    before = np.array([True] * 30 + [False] * 20)
    after = np.array([True] * 22 + [False] * 8 + [True] * 2 + [False] * 18)
    assert stats.mcnemar_p(before, after) == pytest.approx(reference.binomtest(2, 10).pvalue)
    assert stats.mcnemar_p(before, before) == 1.0


def test_paired_difference_covers():
    draw = np.random.default_rng(2)
    hits = 0
    for _ in range(800):
        before = draw.random(300) < 0.9
        after = np.where(draw.random(300) < 0.05, ~before, before)  # 4.5 percent lost, 0.5 percent won
        _, low, high = stats.paired_difference(before, after)
        hits += low <= 0.04 <= high
    assert 0.93 <= hits / 800 <= 0.99


def test_ratio_interval_covers_under_drift_and_within_block_correlation():
    draw = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        mood = 1 + 0.1 * draw.standard_normal((20, 1))  # what the machine did in each round hits both
        a = 2.0 * mood * draw.gamma(50, 1 / 50, (20, 10))
        b = 1.0 * mood * draw.gamma(50, 1 / 50, (20, 10))
        _, low, high = stats.median_ratio_interval(a, b)
        hits += low <= 2.0 <= high
    assert 0.90 <= hits / 200 <= 0.995


def test_holm_agrees_with_the_definition():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.percentile_interval([], 50),
        lambda: stats.percentile_interval([1.0, np.nan], 50),
        lambda: stats.percentile_interval([1.0], 101),
        lambda: stats.wilson_interval(3, 2),
        lambda: stats.median_ratio_interval(np.ones((2, 3)), np.ones((3, 3))),
        lambda: stats.median_ratio_interval(np.zeros((2, 3)), np.ones((2, 3))),
        lambda: stats.paired_difference([1, 0], [1, 1]),
    ],
)
def test_bad_input_is_one_sentence(call):
    with pytest.raises(BadInput) as caught:
        call()
    assert str(caught.value).count("\n") == 0
