"""Whether an array looks like real inputs: noise and constants calibrate nothing.

The range of an activation is taken from what flows through the network. Random numbers make other ranges than images
do, often far narrower ones, and nothing in the resulting file tells. Real inputs show themselves: neighbours resemble
each other, places differ from each other, items differ in their level.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ITEMS = 256
FEWEST_VALUES = 256
"""With fewer values noise cannot be told from data."""
FEWEST_PLACES = 16
DEVIATIONS = 5.0
"""So many standard errors from what noise would give count as structure."""


def looks_unreal(array: NDArray[Any]) -> str | None:
    """Why an input (N, ...) is nothing to calibrate on, as part of a sentence; None where nothing speaks against it.

    Examples
    --------
    >>> looks_unreal(np.zeros((8, 3, 4, 4), np.float32))
    'it holds nothing but 0'
    >>> looks_unreal(np.random.default_rng(0).normal(size=(64, 1, 8, 8)).astype(np.float32))
    'its values are noise: independent of each other, of their place and of the item'
    >>> looks_unreal(np.add.outer(np.arange(32.0), np.arange(16.0)).astype(np.float32)) is None
    True
    """
    found = None
    if array.dtype.kind not in "fiub" or array.size == 0:
        return found
    if (array == array.reshape(-1)[0]).all():
        found = f"it holds nothing but {array.reshape(-1)[0]:g}"
    elif len(array) > 1 and array[0].size > 1 and (array == array[:1]).all():
        found = "all of its items are the same"
    elif array.dtype.kind == "f" and np.isfinite(array).all() and _is_noise(np.asarray(array[:ITEMS], np.float64)):
        found = "its values are noise: independent of each other, of their place and of the item"
    return found


def _is_noise(x: NDArray[np.float64]) -> bool:
    if x.ndim < 2 or x.size < FEWEST_VALUES or x[0].size < FEWEST_PLACES or len(x) < 2:
        return False
    rows = x.reshape(len(x), -1)
    return _neighbours_differ(x) and _alike(rows) and _alike(rows.T)


def _neighbours_differ(x: NDArray[np.float64]) -> bool:
    """Whether no axis shows a correlation of neighbours."""
    centred = x - x.mean()
    power = float(np.square(centred).mean())
    for axis in range(x.ndim):
        if x.shape[axis] < 2:
            continue
        one = np.take(centred, range(x.shape[axis] - 1), axis)
        other = np.take(centred, range(1, x.shape[axis]), axis)
        if abs(float((one * other).mean())) / power > DEVIATIONS / np.sqrt(one.size):
            return False
    return True


def _alike(rows: NDArray[np.float64]) -> bool:
    """Whether all rows have the mean and the spread that independent draws from one distribution would have."""
    count, width = rows.shape
    if count < 2 or width < 2:
        return True
    for values in (rows, np.square(rows - rows.mean())):
        expected = float(values.var()) / width
        found = float(values.mean(axis=1).var(ddof=1))
        if expected and abs(found / expected - 1) > DEVIATIONS * np.sqrt(2 / (count - 1)) + 0.05:
            return False
    return True
