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
from scipy.special import bdtr, chdtrc, stdtrit

from edgelab.errors import BadInput

CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 1000
FEWEST_ROUNDS = 6
"""Fewer rounds than this can be drawn in too few ways for an interval."""
Interval = tuple[float, float, float]
OpenInterval = tuple[float, float | None, float | None]
_DRAWN_AT_ONCE = 2_000_000
_BY_CHANCE = 0.01
_LARGEST_LOG = 50.0  # wider than any interval of use, and its exponential is finite


def percentile_interval(values: ArrayLike, q: float, confidence: float = CONFIDENCE) -> OpenInterval:
    """The q-th percentile and its distribution-free interval: (value, low, high), in the unit of ``values``.

    The ends lie between two order statistics, where Nyblom's interpolation puts them (*Note on interpolated order
    statistics*, 1992): whole ranks alone would cover too much. Both are None where the values cannot tell: with fewer
    than `fewest_values` no two of them bracket the percentile with that confidence (`why_open` says it in words).

    Parameters
    ----------
    values
        Independent values (n,), or rounds of them (rounds, values). What rounds have in common beyond chance
        widens the interval: the ranks are those of n divided by the design effect of the rounds (Woodruff 1952).
    q
        Between 0 and 100.

    Examples
    --------
    >>> value, low, high = percentile_interval(range(1, 102), 50)
    >>> value, round(low, 1), round(high, 1)
    (51.0, 41.2, 60.8)
    >>> percentile_interval([3.0, 1.0, 2.0], 50)
    (2.0, None, None)
    """
    given = finite(values, "values")
    if not 0 <= q <= 100:
        raise BadInput(f"A percentile lies between 0 and 100, not at {q}.")
    ordered = np.sort(given.ravel())
    n = len(ordered)
    value = float(np.percentile(ordered, q))
    effective = _independent(given, value)
    tail = (1 - confidence) / 2
    below, above = _lower_rank(effective, q / 100, tail), _lower_rank(effective, 1 - q / 100, tail)
    if below is None or above is None:
        return value, None, None
    stretch = (n + 1) / (effective + 1)
    ranks = np.array([below, effective + 1 - above]) * stretch
    low, high = np.interp(ranks, np.arange(1, n + 1), ordered)
    return value, float(min(low, value)), float(max(high, value))


def why_open(values: ArrayLike, q: float, confidence: float = CONFIDENCE) -> str:
    """One sentence that says why the q-th percentile of these values has no interval, else nothing.

    Examples
    --------
    >>> why_open([1.0, 2.0, 3.0], 99)
    'The p99 of 3 runs cannot be told: it takes at least 368.'
    """
    given = finite(values, "values")
    fewest = fewest_values(q, confidence)
    if given.size < fewest:
        return f"The p{q:g} of {given.size} runs cannot be told: it takes at least {fewest}."
    counted = _independent(given, float(np.percentile(given, q)))
    if counted < fewest:
        return (
            f"The p{q:g} cannot be told: runs of one round resemble each other so much that {given.size} of them "
            f"count as {counted}, and it takes {fewest}."
        )
    return ""


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
    """The mean of rounds of times (rounds, values), above 0, and its interval by Student's t over the rounds' means.

    Values of one round resemble each other, so a round counts as one observation. The interval is taken on the
    scale of the logarithm (delta method), so that no time below 0 lies in it. The ends are None with one round.

    Examples
    --------
    >>> [round(v, 2) for v in mean_interval([[1.0, 3.0], [2.0, 4.0], [3.0, 5.0]])]
    [3.0, 1.31, 6.87]
    """
    means = _rounds(rounds, "rounds").mean(axis=1)
    if means.min() <= 0:
        raise BadInput("The mean of times needs times above zero.")
    value = float(means.mean())
    if len(means) < 2:
        return value, None, None
    error = float(means.std(ddof=1)) / math.sqrt(len(means))
    factor = math.exp(min(_student(0.5 + confidence / 2, len(means) - 1) * error / value, _LARGEST_LOG))
    return value, value / factor, value * factor


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
    return float(min(1.0, 2 * bdtr(float(min(lost, won)), total, 0.5)))


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


def _independent(values: NDArray[np.float64], percentile: float) -> int:
    """How many independent values these count for, when it comes to a percentile: n over the design effect.

    The effect is by how much the rounds' shares below the percentile vary more than independent values' would. What
    chance alone explains (the index of dispersion is within the 99th percentile of its chi-square) is no effect.
    """
    n = values.size
    if values.ndim != 2 or len(values) < 2:
        return n
    below = (values <= percentile).mean(axis=1)
    share = float(below.mean())
    by_chance = share * (1 - share) / values.shape[1]
    if by_chance == 0:
        return n
    effect, freedom = float(below.var(ddof=1)) / by_chance, len(values) - 1
    return n if chdtrc(freedom, freedom * effect) > _BY_CHANCE else max(1, math.floor(n / max(1.0, effect)))


def _lower_rank(n: int, p: float, tail: float) -> float | None:
    """The rank, counted from 1 and with a fraction, that lies above the p-quantile with probability ``tail``.

    None where even the smallest value lies above it more often.
    """
    if p in (0.0, 1.0):
        return 1.0 if p == 0 else float(n)
    # the value of rank r is above the quantile if at most r - 1 of the values are below it
    beyond = np.asarray(bdtr(np.arange(n, dtype=float), n, p))
    rank = int(np.searchsorted(beyond, tail, side="right"))
    if rank == 0:
        return None
    if rank == n:
        return float(n)
    share = (tail - beyond[rank - 1]) / (beyond[rank] - beyond[rank - 1])
    odds = (n - rank) * p / (rank * (1 - p)) * share
    return float(rank + odds / (odds + 1 - share))


def _medians(rounds: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    parts = max(1, math.ceil(drawn.size * rounds.shape[1] / _DRAWN_AT_ONCE))
    return np.concatenate(
        [np.median(rounds[part].reshape(len(part), -1), axis=1) for part in np.array_split(drawn, parts) if len(part)]
    )


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _student(p: float, freedom: int) -> float:
    return float(stdtrit(freedom, p))
