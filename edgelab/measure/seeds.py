"""Means over seeds as readings, with Student's interval: what a figure that was made ahead is worth."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from edgelab.reading import Reading

FEWEST_SEEDS = 3
"""Fewer seeds than this cannot tell anything of the noise between them."""


def half_width(values: ArrayLike, confidence: float = 0.95) -> float:
    """Half of Student's interval of the mean of values (n,), n from 2 on.

    Examples
    --------
    >>> round(half_width([89.0, 90.0, 91.0]), 3)
    2.484
    """
    found = np.asarray(values, dtype=np.float64)
    n = len(found)
    return float(stdtrit(n - 1, 0.5 + confidence / 2)) * float(found.std(ddof=1)) / math.sqrt(n)


def mean_over_seeds(values: ArrayLike, unit: str, by: str, made_on: tuple[str, str]) -> Reading:
    """The mean of one value a seed with its interval; in doubt with fewer than `FEWEST_SEEDS` of them.

    Parameters
    ----------
    values
        One of each seed, (n,), or the difference of two that share a seed.
    unit, by
        As `Reading` takes them.
    made_on
        Date and machine.

    Examples
    --------
    >>> mean_over_seeds([1.0, 2.0], "points", "2 seeds", ("2026-11-29", "a board")).doubt
    '2 seeds cannot tell: it takes 3.'
    """
    found = np.asarray(values, dtype=np.float64)
    n, value = len(found), float(found.mean())
    if n < FEWEST_SEEDS:
        doubt = f"{n} seed{'s' if n > 1 else ''} cannot tell: it takes {FEWEST_SEEDS}."
        return Reading(value, unit, "measured", by, doubt=doubt, made_on=made_on)
    half = half_width(found)
    return Reading(value, unit, "measured", by, value - half, value + half, made_on=made_on)


def shown(gain: Reading) -> bool:
    """Whether the whole interval lies above 0."""
    return gain.low is not None and gain.low > 0
