"""Latencies of a fleet as counts in 256 logarithmic bins: what a device posts, and what adds up without loss.

A mean of percentiles is no percentile. Counts in bins that are the same everywhere can be added, in any order, and give
the percentiles of all devices together, each within 1.8 percent, as in DDSketch (Masson, Rim and Lee, VLDB 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.reading import Reading

BINS = 256
FLOOR_MS, CEILING_MS = 0.1, 1000.0
"""Ends of the bins: four decades. What lies beyond them is counted in the first or the last bin."""
_RATIO = (CEILING_MS / FLOOR_MS) ** (1 / BINS)
RELATIVE_ERROR = (_RATIO - 1) / (_RATIO + 1)
"""Largest relative error of a percentile: 0.018."""
MOST = 2**53
"""The largest count: what a reader of JSON in any language still holds exactly."""


def bin_of(values_ms: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """The bins of positive latencies in milliseconds, of the same shape; float32 stays float32 inside."""
    scale = values_ms.dtype.type(1 / math.log(_RATIO))
    place = np.log(values_ms * values_ms.dtype.type(1 / FLOOR_MS)) * scale
    bins: NDArray[np.intp] = np.clip(place, 0, BINS - 1).astype(np.intp)
    return bins


def middle_ms(bins: ArrayLike) -> NDArray[np.float64]:
    """The value that stands for a bin: as far, in percent, from its lower end as from its upper one."""
    low = FLOOR_MS * _RATIO ** np.asarray(bins, np.float64)
    middle: NDArray[np.float64] = low * (2 * _RATIO / (1 + _RATIO))
    return middle


@dataclass(frozen=True, eq=False)
class LogHistogram:
    """Counts of latencies, (256,) whole numbers.

    Raises
    ------
    BadInput
        If there are not 256 counts, or one is negative, no whole number, or above 2**53.

    Examples
    --------
    >>> first, second = LogHistogram.of([1.0, 2.0, 3.0]), LogHistogram.of([100.0])
    >>> (first + second).total, round((first + second).percentile(100))
    (4, 98)
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", _checked(self.counts))

    @classmethod
    def of(cls, latencies_ms: ArrayLike) -> LogHistogram:
        """Count latencies in milliseconds, any shape.

        Raises
        ------
        BadInput
            If one is not a number above 0.
        """
        try:
            values = np.asarray(latencies_ms, np.float64).ravel()
        except (TypeError, ValueError):
            raise BadInput("Latencies must be numbers of milliseconds.") from None
        if not (np.isfinite(values) & (values > 0)).all():
            raise BadInput("Latencies must be finite numbers of milliseconds above 0.")
        return cls(np.bincount(bin_of(values), minlength=BINS))

    @classmethod
    def merged(cls, parts: Iterable[LogHistogram]) -> LogHistogram:
        """The histogram of everything that any of ``parts`` counted; of none an empty one."""
        total = cls()
        for part in parts:
            total = total + part
        return total

    @classmethod
    def from_dict(cls, data: Any) -> LogHistogram:
        """Read what `to_dict` gave, from wherever it came.

        Raises
        ------
        BadInput
            If it is anything else.
        """
        if not isinstance(data, Mapping) or set(data) != {"floor_ms", "ceiling_ms", "counts"}:
            raise BadInput("A latency histogram is an object of floor_ms, ceiling_ms and counts.")
        if (data["floor_ms"], data["ceiling_ms"]) != (FLOOR_MS, CEILING_MS):
            raise BadInput(
                f"A latency histogram must reach from {FLOOR_MS:g} to {CEILING_MS:g} ms, or its bins cannot be added."
            )
        listed = data["counts"]
        if not isinstance(listed, list) or any(isinstance(n, bool) or not isinstance(n, int) for n in listed):
            raise BadInput(f"The counts of a latency histogram must be a list of {BINS} whole numbers.")
        if any(not 0 <= n <= MOST for n in listed):
            raise BadInput("A count of a latency histogram is negative or above 2**53.")
        return cls(np.array(listed, np.int64))

    @property
    def total(self) -> int:
        """How many latencies were counted."""
        return int(self.counts.sum())

    def __add__(self, other: LogHistogram) -> LogHistogram:
        return LogHistogram(self.counts + other.counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogHistogram) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    def percentile(self, q: float) -> float:
        """The latency in ms that ``q`` percent of those counted do not exceed, within 1.8 percent.

        It is the smallest value of which at least q percent are no larger (``numpy``'s ``inverted_cdf``). In the first
        and the last bin it is a bound: everything below 0.1 ms and above 1 s is there.

        Raises
        ------
        BadInput
            If nothing was counted, or q is not between 0 and 100.
        """
        if not 0 <= q <= 100:
            raise BadInput(f"q={q} must be a percentage between 0 and 100.")
        if not self.total:
            raise BadInput("An empty histogram has no percentiles.")
        rank = max(1, math.ceil(round(q / 100 * self.total, 9)))
        return float(middle_ms(np.searchsorted(np.cumsum(self.counts), rank)))

    def reading(self, q: float, how: str, by: str) -> Reading:
        """A percentile as a `Reading` with the interval that the width of its bin leaves.

        Parameters
        ----------
        how
            ``measured`` on real devices, ``modelled`` in a simulated fleet.
        by
            By what.
        """
        value = self.percentile(q)
        low, high = value / (1 + RELATIVE_ERROR), value / (1 - RELATIVE_ERROR)
        return Reading(value, "ms", how, f"{by}, p{q:g} of {self.total} inferences", low, high)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data; `from_dict` reads it."""
        return {"floor_ms": FLOOR_MS, "ceiling_ms": CEILING_MS, "counts": self.counts.tolist()}

    def _repr_markdown_(self) -> str:
        if not self.total:
            return "No latencies yet."
        named = ", ".join(f"p{q} {self.percentile(q):.3g} ms" for q in (50, 95, 99))
        return f"{self.total} latencies: {named}"


def _checked(counts: Any) -> NDArray[np.int64]:
    try:
        given = np.asarray(counts)
        plain = given.astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        raise BadInput(f"A latency histogram needs {BINS} whole numbers.") from None
    if given.shape != (BINS,) or given.dtype.kind not in "iu" or (plain < 0).any() or (plain > MOST).any():
        raise BadInput(f"A latency histogram needs {BINS} whole numbers from 0 to 2**53.")
    return plain
