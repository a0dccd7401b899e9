"""How well one order of networks agrees with another: Kendall's tau, and differences, each with an interval."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.reading import Reading
from edgelab.toolbox.search_plain import rank_correlation

_DRAWS = 400
_FEWEST = 5


def rank_reading(scores: ArrayLike, truth: ArrayLike, by: str) -> Reading:
    """Kendall's tau-b of scores with the truth, its interval from networks drawn anew (bootstrap percentiles).

    Raises
    ------
    BadInput
        If the two differ in length, or all values of one are the same.
    """
    found, true = _checked(scores, truth)
    value = rank_correlation(found, true)
    if not np.isfinite(value):
        raise BadInput("There is no order among values that are all the same.")
    by = f"{by}, {len(found)} networks"
    if len(found) < _FEWEST:
        return Reading(value, "", "measured", by, doubt=f"{len(found)} networks cannot tell: it takes {_FEWEST}.")
    drawn = [rank_correlation(found[i], true[i]) for i in _drawn(len(found))]
    return Reading(value, "", "measured", by, *_ends(drawn, value))


def rank_gain(scores: ArrayLike, against: ArrayLike, truth: ArrayLike, by: str) -> Reading:
    """By how much the tau of ``scores`` is above that of ``against``, on the same networks."""
    found, true = _checked(scores, truth)
    other, _ = _checked(against, truth)
    value = rank_correlation(found, true) - rank_correlation(other, true)
    drawn = [rank_correlation(found[i], true[i]) - rank_correlation(other[i], true[i]) for i in _drawn(len(found))]
    return Reading(value, "", "measured", f"{by}, {len(found)} networks", *_ends(drawn, value))


def median_gain(before: ArrayLike, after: ArrayLike) -> Reading:
    """Points by which the median of errors in percent falls, on the same networks, with a bootstrap interval."""
    old, new = _checked(before, after)
    value = float(np.median(old) - np.median(new))
    by = f"median error before minus after, {len(old)} networks"
    if len(old) < _FEWEST:
        return Reading(value, "points", "measured", by, doubt=f"{len(old)} networks cannot tell: it takes {_FEWEST}.")
    drawn = [float(np.median(old[i]) - np.median(new[i])) for i in _drawn(len(old))]
    return Reading(value, "points", "measured", by, *_ends(drawn, value))


def _checked(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise BadInput(f"Two rows of finite numbers of one length are wanted, not {a.shape} and {b.shape}.")
    return a, b


def _drawn(n: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(n, size=(_DRAWS, n))


def _ends(drawn: list[float], value: float) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return min(float(low), value), max(float(high), value)
