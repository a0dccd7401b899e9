"""Intervals against known values, and their coverage by simulation."""

import numpy as np
import pytest
from scipy import stats as reference

from edgelab.errors import BadInput
from edgelab.measure import stats


def test_the_ends_lie_between_the_ranks_of_the_binomial():
    values = np.arange(1.0, 201.0)
    value, low, high = stats.percentile_interval(values, 95)
    assert value == np.percentile(values, 95)
    # the value of a rank is above the percentile if fewer than so many are below it
    above = reference.binom.cdf(np.arange(-1, 200), 200, 0.95)
    assert above[int(low)] <= 0.025 < above[int(low) + 1]
    assert above[int(high)] < 0.975 <= above[int(high) + 1]


SIZES = (5, 6, 7, 8, 10, 20, 70, 72, 80, 100, 150, 280, 367, 368, 400, 500, 900)
SAMPLES = {
    "exponential": (lambda draw, n: draw.exponential(size=n), reference.expon),
    "lognormal": (lambda draw, n: draw.lognormal(size=n), reference.lognorm(1)),
    "normal": (lambda draw, n: draw.normal(size=n), reference.norm),
}


@pytest.mark.parametrize("q", [50, 95, 99])
@pytest.mark.parametrize("sample", SAMPLES)
def test_coverage_is_95_percent_or_it_cannot_tell(sample, q):
    make, distribution = SAMPLES[sample]
    truth, draw, told = distribution.ppf(q / 100), np.random.default_rng(1), []
    for n in SIZES:
        _, *ranks = stats.percentile_interval(np.arange(1.0, n + 1), q)  # of these values, they are the ranks
        values = np.sort(make(draw, (4000, n)))
        _, *ends = stats.percentile_interval(values[0], q)
        if ranks == [None, None]:
            assert ends == ranks
            continue
        told.append(n)
        whole = np.minimum(np.floor(ranks), n - 1).astype(int)
        low, high = (
            values[:, r - 1] + (s - r) * (values[:, r] - values[:, r - 1]) for s, r in zip(ranks, whole, strict=True)
        )
        assert ends == pytest.approx([low[0], high[0]])
        covered = np.mean((low <= truth) & (truth <= high))
        assert 0.93 <= covered <= 0.97, f"p{q} of {n} {sample} values: {100 * covered:.1f} percent"
        assert (low < high).all(), "an interval of zero width says more than the values do"
    assert told == [n for n in SIZES if n >= stats.fewest_values(q)]


def test_rounds_that_resemble_each_other_widen_the_interval_or_cannot_tell():
    draw = np.random.default_rng(5)
    hits = told = 0
    for _ in range(400):
        rounds = draw.gamma(50, 1 / 50, (40, 1)) * draw.gamma(50, 1 / 50, (40, 10))
        _, low, high = stats.percentile_interval(rounds, 50)
        truth = 0.9835  # of the product of the two, by simulation of ten million
        told += low is not None
        hits += low is not None and low <= truth <= high
    assert told == 400
    assert hits / 400 >= 0.92
    bursts = np.ones((40, 10))
    bursts += draw.random((40, 10)) / 100
    bursts[7] += 5.0  # one round of ten slow runs is one disturbance, not ten
    assert stats.percentile_interval(bursts, 99)[1:] == (None, None)
    assert "count as" in stats.why_open(bursts, 99)
    assert stats.percentile_interval(bursts.ravel(), 99)[1] is not None


def test_independent_rounds_are_not_punished():
    draw = np.random.default_rng(6)
    told = sum(stats.percentile_interval(draw.gamma(4, size=(40, 10)), 99)[1] is not None for _ in range(200))
    assert told >= 0.9 * 200


def test_no_time_interval_reaches_below_zero():
    spiky = np.full((4, 10), 1.0)
    spiky[0] = 40.0
    value, low, high = stats.mean_interval(spiky)
    assert 0 < low < value < high
    assert np.isfinite(high)
    with pytest.raises(BadInput, match="above zero"):
        stats.mean_interval(np.zeros((3, 2)))


def test_mean_interval_covers():
    draw = np.random.default_rng(7)
    hits = 0
    for _ in range(1500):
        _, low, high = stats.mean_interval(draw.gamma(4.0, size=(20, 10)))
        hits += low <= 4.0 <= high
    assert 0.93 <= hits / 1500 <= 0.97


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
