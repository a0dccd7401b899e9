"""Intervals and tests for measurements: short, vectorised, with no assumption that times never meet.

Times are skewed, have spikes and drift; accuracies are counts; two networks are judged on the same items.
Each function below is the textbook answer to one of these, and the docstring names the textbook.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput

CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 1000
FEWEST_ROUNDS = 6
"""Fewer rounds than this can be drawn in too few ways for an interval."""
Interval = tuple[float, float, float]
OpenInterval = tuple[float, float | None, float | None]
_DRAWN_AT_ONCE = 2_000_000


def percentile_interval(values: ArrayLike, q: float, confidence: float = CONFIDENCE) -> OpenInterval:
    """The q-th percentile and its distribution-free interval: (value, low, high), in the unit of ``values``.

    The interval's ends are order statistics whose ranks are binomial quantiles (Conover, *Practical
    Nonparametric Statistics*, section 3.2). Both are None with fewer than `fewest_values`: no two of the
    values then bracket the percentile with that confidence.

    Parameters
    ----------
    values
        Independent values (n,), or rounds of them (rounds, values). What rounds have in common
        widens the interval: the ranks are those of n divided by the design effect of the rounds (Woodruff 1952).
    q
        Between 0 and 100.

    Examples
    --------
    >>> percentile_interval(range(1, 102), 50)
    (51.0, 41.0, 61.0)
    >>> percentile_interval([3.0, 1.0, 2.0], 50)
    (2.0, None, None)
    """
    given = finite(values, "values")
    if not 0 <= q <= 100:
        raise BadInput(f"A percentile lies between 0 and 100, not at {q}.")
    ordered = np.sort(given.ravel())
    n = len(ordered)
    value = float(np.percentile(ordered, q))
    if n < fewest_values(q, confidence):
        return value, None, None
    effective = max(1, math.floor(n / _design_effect(given, value)))
    cumulative = np.cumsum(_binomial_pmf(effective, q / 100))
    tail = (1 - confidence) / 2
    # ranks counted from 1: P(rank low < quantile < rank high) >= confidence
    low = int(np.searchsorted(cumulative, tail, side="right")) * n / effective
    high = (int(np.searchsorted(cumulative, 1 - tail - 1e-12)) + 1) * n / effective
    ends = ordered[max(math.floor(low), 1) - 1], ordered[min(math.ceil(high), n) - 1]
    return value, float(min(ends[0], value)), float(max(ends[1], value))


def fewest_values(q: float, confidence: float = CONFIDENCE) -> int:
    """How many values it takes for an interval of the q-th percentile: the smallest and the largest bracket it then.

    Examples
    --------
    >>> [fewest_values(q) for q in (50, 95, 99)]
    [6, 72, 368]
    """
    rarer = min(q, 100 - q) / 100
    if rarer == 0:
        return 1
    # each end is missed with at most half of what the confidence leaves
    return max(1, math.ceil(math.log((1 - confidence) / 2) / math.log1p(-rarer)))


def mean_interval(rounds: ArrayLike, confidence: float = CONFIDENCE) -> OpenInterval:
    """The mean of rounds of values (rounds, values) and Student's interval over the means of the rounds.

    Values of one round resemble each other, so a round counts as one observation. The ends are None with one round.

    Examples
    --------
    >>> [round(v, 2) for v in mean_interval([[1.0, 3.0], [2.0, 4.0], [3.0, 5.0]])]
    [3.0, 0.52, 5.48]
    """
    means = _rounds(rounds, "rounds").mean(axis=1)
    value = float(means.mean())
    if len(means) < 2:
        return value, None, None
    half = _student(0.5 + confidence / 2, len(means) - 1) * float(means.std(ddof=1)) / math.sqrt(len(means))
    return value, value - half, value + half


def wilson_interval(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """A proportion and its interval by Wilson's score method (Wilson 1927): (p, low, high).

    Examples
    --------
    >>> [round(v, 3) for v in wilson_interval(90, 100)]
    [0.9, 0.826, 0.945]
    """
    if not 0 <= successes <= n or n < 1:
        raise BadInput(f"{successes} of {n} is not a proportion.")
    z = _z(confidence)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))


def median_ratio_interval(
    numerator: ArrayLike, denominator: ArrayLike, seed: int = 0, confidence: float = CONFIDENCE
) -> OpenInterval:
    """The ratio of the medians of two interleaved series, with a block bootstrap interval: (ratio, low, high).

    Parameters
    ----------
    numerator, denominator
        Arrays (rounds, runs): row i of both was measured in the same round, so that what the machine did
        during a round hit both. Whole rounds are drawn (Kuensch 1989), because neighbouring runs resemble each
        other, and the percentiles of the draws are taken further out the fewer rounds there are (the
        expanded interval of Hesterberg, *What Teachers Should Know About the Bootstrap*, 2015). The ends are
        None with fewer than `FEWEST_ROUNDS`.
    seed
        Of the resampling.

    Examples
    --------
    >>> median_ratio_interval([[2.0, 2.2]] * 9, [[1.0, 1.1]] * 9)
    (2.0, 2.0, 2.0)
    """
    a, b = _rounds(numerator, "numerator"), _rounds(denominator, "denominator")
    if len(a) != len(b):
        raise BadInput(f"Two arrays (rounds, runs) with as many rounds are wanted, not {a.shape} and {b.shape}.")
    if b.min() <= 0 or a.min() <= 0:
        raise BadInput("A ratio of times needs times above zero.")
    value, n = float(np.median(a) / np.median(b)), len(a)
    if n < FEWEST_ROUNDS:
        return value, None, None
    drawn = np.random.default_rng(seed).integers(0, n, (BOOTSTRAP_DRAWS, n))
    ratios = _medians(a, drawn) / _medians(b, drawn)
    further_out = math.sqrt(n / (n - 1)) * _student(0.5 + confidence / 2, n - 1)
    tail = 100 * NormalDist().cdf(-further_out)
    low, high = np.percentile(ratios, [tail, 100 - tail])
    return value, float(min(low, value)), float(max(high, value))


def paired_difference(before: ArrayLike, after: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Accuracy lost between two classifiers on the same items: (before - after, low, high), as a fraction.

    Parameters
    ----------
    before, after
        Which items each gets right, boolean (N,). The interval is Bonett and Price's adjusted one (2012), which
        keeps its coverage with few disagreements.

    Examples
    --------
    >>> paired_difference([True] * 10, [True] * 9 + [False])[0]
    0.1
    """
    lost, won, n = _disagreements(before, after)
    p_lost, p_won = (lost + 1) / (n + 2), (won + 1) / (n + 2)
    half = _z(confidence) * math.sqrt((p_lost + p_won - (p_lost - p_won) ** 2) / (n + 2))
    value = (lost - won) / n
    return value, max(-1.0, min(p_lost - p_won - half, value)), min(1.0, max(p_lost - p_won + half, value))


def mcnemar_p(before: ArrayLike, after: ArrayLike) -> float:
    """Two-sided exact McNemar test: how surprising the disagreements are if both were as good (McNemar 1947).

    Examples
    --------
    >>> round(mcnemar_p([True] * 20, [False] * 8 + [True] * 12), 4)
    0.0078
    """
    lost, won, _ = _disagreements(before, after)
    total = lost + won
    if total == 0:
        return 1.0
    return float(min(1.0, 2 * _binomial_pmf(total, 0.5)[: min(lost, won) + 1].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for being several, by Holm's step-down method (Holm 1979).

    Examples
    --------
    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    order = np.argsort(p_values)
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """``values`` as float64, at least one of them and all finite, else BadInput naming ``name``."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise BadInput(f"{name} is empty.")
    if not np.isfinite(array).all():
        raise BadInput(f"{name} holds NaN or infinity.")
    return array


def _disagreements(before: ArrayLike, after: ArrayLike) -> tuple[int, int, int]:
    a, b = np.asarray(before), np.asarray(after)
    if a.dtype != bool or b.dtype != bool or a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise BadInput("Two boolean arrays of one length are wanted: which items each network gets right.")
    return int((a & ~b).sum()), int((~a & b).sum()), a.size


def _rounds(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = finite(values, name)
    if array.ndim != 2:
        raise BadInput(f"{name} must be an array (rounds, values), not of shape {array.shape}.")
    return array


def _design_effect(values: NDArray[np.float64], percentile: float) -> float:
    """By how much the rounds' shares below a percentile vary more than independent values' would; at least 1."""
    if values.ndim != 2 or len(values) < 2:
        return 1.0
    below = (values <= percentile).mean(axis=1)
    share = below.mean()
    by_chance = share * (1 - share) / values.shape[1]
    return 1.0 if by_chance == 0 else max(1.0, float(below.var(ddof=1) / by_chance))


def _medians(rounds: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    parts = max(1, math.ceil(drawn.size * rounds.shape[1] / _DRAWN_AT_ONCE))
    return np.concatenate(
        [np.median(rounds[part].reshape(len(part), -1), axis=1) for part in np.array_split(drawn, parts) if len(part)]
    )


def _binomial_pmf(n: int, p: float) -> NDArray[np.float64]:
    if p in (0.0, 1.0):
        pmf = np.zeros(n + 1)
        pmf[round(n * p)] = 1.0
        return pmf
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    return np.asarray(np.exp(logs[n] - logs[k] - logs[n - k] + k * math.log(p) + (n - k) * math.log1p(-p)))


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _student(p: float, freedom: int) -> float:
    """Student's t quantile from the normal one (Abramowitz and Stegun 26.7.5); exact at 1 and 2 degrees of freedom."""
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom == 2:
        return (2 * p - 1) * math.sqrt(2 / (1 - (2 * p - 1) ** 2))
    z, v = NormalDist().inv_cdf(p), freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
