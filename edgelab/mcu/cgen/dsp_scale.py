"""Requantization in three or four instructions, exact.

The interpreter rounds twice: ``v = (a * M + 2**30) >> 31``, then ``(v + 2**(n-1) - (v < 0)) >> n``, ties away from
zero. Floors of floors are one floor, so that both are ``(a * 2**j * M + R) >> (32 + m)`` with ``j = m + 1 - n`` and
``R = 2**(30 + j) + 2**(31 + m)``; for ``j >= 2`` that ``R`` has no bits below 2**32, and with the output's zero point
in it, too, LSL, SMMLA (high word of a product, plus a word) and SSAT (shift and saturate) are all there is. ``m`` is
the same for all channels of a layer, ``j`` absorbs their different shifts. The ``- (v < 0)`` only matters where a
negative result is not cut off by the activation: then ``2**(j - 1)`` is subtracted for negative sums.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from edgelab.mcu.cgen.fixed import Multiplier
from edgelab.mcu.cgen.lowering import Ints


@dataclass(frozen=True)
class Scale:
    """What brings every channel's sums to the output.

    ``ssat8((add + (negative if a < 0) + ((a << shift) * factor >> 32)) >> right)``
    """

    factors: tuple[int, ...]
    adds: tuple[int, ...]
    shifts: tuple[int, ...]
    negatives: tuple[int, ...]
    """Added for negative sums, all 0 where that makes no difference."""
    right: int
    low: int
    high: int

    @property
    def linear(self) -> bool:
        """Whether negative sums need their own rounding."""
        return any(self.negatives)

    @property
    def uniform(self) -> bool:
        """Whether all channels have the same parameters."""
        return len(set(zip(self.factors, self.adds, self.shifts, self.negatives, strict=True))) == 1

    def base(self) -> int | None:
        """What every channel's add is beyond ``2**(shift - 2)``, if that is the same for all of them."""
        if min(self.shifts) < 2:
            return None
        bases = {add - (1 << (shift - 2)) for add, shift in zip(self.adds, self.shifts, strict=True)}
        negatives = {-n >> (shift - 1) for n, shift in zip(self.negatives, self.shifts, strict=True)}
        return bases.pop() if len(bases) == 1 and negatives in ({0}, {1}) else None

    def apply(self, channel: int, a: int) -> int:
        """What the instructions compute, for the tests."""
        wide = a << self.shifts[channel]
        add = self.adds[channel] + (self.negatives[channel] if wide < 0 else 0)
        value = (add + (wide * self.factors[channel] >> 32)) >> self.right
        return min(max(value, self.low), self.high)

    def words(self, channel: int) -> list[int]:
        """The parameters of a channel in the order in which the kernels load them."""
        words = [self.factors[channel], self.adds[channel], self.shifts[channel]]
        return [*words, self.negatives[channel]] if self.linear else words


def make_scale(
    multipliers: Sequence[Multiplier], bounds: Ints, zero_out: int, low: int, high: int, *, right: int = 0
) -> Scale | None:
    """The parameters of a layer, or None where some channel's sum has no room for the shift.

    Parameters
    ----------
    bounds
        The largest absolute value that each channel's sum can have.
    right
        The least shift to the right. Layers that have it in common share their kernels.
    """
    return _made(tuple(multipliers), tuple(bounds.tolist()), zero_out, low, high, right)


@functools.lru_cache(maxsize=256)  # a layer's scale is asked for by every arrangement that is tried
def _made(
    multipliers: tuple[Multiplier, ...], bounds: tuple[int, ...], zero_out: int, low: int, high: int, right: int
) -> Scale | None:
    right = max(right, *(1 - m.shift for m in multipliers), 1)
    pairs = zip(multipliers, bounds, strict=True)
    return _of([_exact(m, b, zero_out, low, right) for m, b in pairs], right, low, high)


def fitted_scale(
    multipliers: Sequence[Multiplier], lowest: Ints, highest: Ints, zero_out: int, low: int, high: int
) -> Scale | None:
    """The parameters of a layer whose channels' multipliers are too far apart for `make_scale`.

    One shift to the right is too large for the sums of some channels, or too small for the multipliers of others. For
    these a factor is searched for that gives the same result for every sum from ``lowest`` to ``highest``.
    """
    for right in range(_MOST_FITTED, _LEAST_FITTED - 1, -1):
        found: list[_Channel | None] = []
        for m, first, last in zip(multipliers, lowest.tolist(), highest.tolist(), strict=True):
            own = _exact(m, max(abs(first), abs(last)), zero_out, low, right)
            found.append(own or _fitted(m, (first, last), zero_out, (low, high), right))
            if found[-1] is None:
                break
        if (scale := _of(found, right, low, high)) is not None:
            return scale
    return None


_Channel = tuple[int, int, int, int]
_MOST_FITTED, _LEAST_FITTED = 15, 6
_NEIGHBOURS = 8


def _of(channels: Sequence[_Channel | None], right: int, low: int, high: int) -> Scale | None:
    known = [channel for channel in channels if channel is not None]
    if right > 30 or len(known) < len(channels):
        return None
    factors, adds, shifts, negatives = zip(*known, strict=True)
    return Scale(factors, adds, shifts, negatives, right, low, high)


def _exact(m: Multiplier, bound: int, zero_out: int, low: int, right: int) -> _Channel | None:
    """Factor, add, shift and negative of a channel, None where they have no room."""
    n = max(-m.shift, 0)
    j = right + 1 - n
    shift = j + max(m.shift, 0)
    if j < 2 or (max(bound, 1) << shift) >= 2**31:
        return None
    add = (1 << (j - 2)) + (zero_out << right) + ((1 << (right - 1)) if n else 0)
    negative = 0 if low >= zero_out or not n else -(1 << (j - 1))
    return (m.value, add, shift, negative) if abs(add) < 2**30 else None


def _fitted(
    m: Multiplier, sums: tuple[int, int], zero_out: int, limits: tuple[int, int], right: int
) -> _Channel | None:
    """The same for a multiplier that is too small: sums are shifted less, the factor may have fewer bits.

    Results ascend with the sum, so that they are the same everywhere if each begins at the same sum.
    """
    (start, end), (low, high) = sums, limits
    shift, fewer = max(right + 1 + m.shift, 0), max(-m.shift - right - 1, 0)
    if m.shift > 0 or max(abs(start), abs(end)) << shift >= 2**31:
        return None
    first, last = (min(max(m.apply(a) + zero_out, low), high) for a in (start, end))
    begins = [(result, _begin(m, start, end, result - zero_out)) for result in range(first + 1, last + 1)]
    above = begins + ([(first, start)] if first > low else [])
    below = [(result, a - 1) for result, a in begins] + ([(last + 1, end)] if last < high else [])
    centre = m.value >> fewer
    for factor in range(max(centre - _NEIGHBOURS, 0), min(centre + _NEIGHBOURS, 2**31 - 1)):
        least = max([(result << right) - ((a << shift) * factor >> 32) for result, a in above], default=-(2**29))
        most = min([(result << right) - ((a << shift) * factor >> 32) - 1 for result, a in below], default=2**29)
        if least <= most and abs(least + most) < 2**30:
            return factor, (least + most) // 2, shift, 0
    return None


def _begin(m: Multiplier, low: int, high: int, result: int) -> int:
    """The smallest sum that gives this result or more."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if m.apply(middle) >= result else (middle + 1, high)
    return low
