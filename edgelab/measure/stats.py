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
Interval = tuple[float, float, float]


def percentile_interval(values: ArrayLike, q: float, confidence: float = CONFIDENCE) -> Interval:
    """The q-th percentile and its distribution-free interval: (value, low, high), in the unit of ``values``.

    The interval's ends are order statistics whose ranks are binomial quantiles (Conover, *Practical
    Nonparametric Statistics*, section 3.2). With too few values for the confidence asked for, the ends are the
    smallest and the largest value.

    Examples
    --------
    >>> percentile_interval(range(1, 102), 50)
    (51.0, 41.0, 61.0)
    """
    ordered = np.sort(finite(values, "values").ravel())
    if not 0 <= q <= 100:
        raise BadInput(f"A percentile lies between 0 and 100, not at {q}.")
    n = len(ordered)
    cumulative = np.cumsum(_binomial_pmf(n, q / 100))
    tail = (1 - confidence) / 2
    # ranks counted from 1: P(rank low < quantile < rank high) >= confidence
    low = int(np.searchsorted(cumulative, tail, side="right"))
    high = int(np.searchsorted(cumulative, 1 - tail - 1e-12)) + 1
    ends = ordered[max(low, 1) - 1], ordered[min(high, n) - 1]
    value = float(np.percentile(ordered, q))
    return value, float(min(ends[0], value)), float(max(ends[1], value))


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


def median_ratio_interval(numerator: ArrayLike, denominator: ArrayLike, seed: int = 0) -> Interval:
    """The ratio of the medians of two interleaved series, with a block bootstrap interval: (ratio, low, high).

    Parameters
    ----------
    numerator, denominator
        Arrays (blocks, runs): row i of both was measured in the same round, so that what the machine did
        during a round hit both. Whole rounds are drawn (Kuensch 1989), because neighbouring runs resemble each other.
    seed
        Of the resampling.
    """
    a, b = finite(numerator, "numerator"), finite(denominator, "denominator")
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise BadInput(f"Two arrays (blocks, runs) with as many blocks are wanted, not {a.shape} and {b.shape}.")
    if b.min() <= 0 or a.min() <= 0:
        raise BadInput("A ratio of times needs times above zero.")
    drawn = np.random.default_rng(seed).integers(0, len(a), (BOOTSTRAP_DRAWS, len(a)))
    ratios = _medians(a, drawn) / _medians(b, drawn)
    value = float(np.median(a) / np.median(b))
    tail = 100 * (1 - CONFIDENCE) / 2
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


def _medians(blocks: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.median(blocks[drawn].reshape(len(drawn), -1), axis=1))


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
