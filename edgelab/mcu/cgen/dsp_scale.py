"""Requantization in three or four instructions, exact.

The interpreter rounds twice: ``v = (a * M + 2**30) >> 31``, then ``(v + 2**(n-1) - (v < 0)) >> n``, ties away from
zero. Floors of floors are one floor, so that both are ``(a * 2**j * M + R) >> (32 + m)`` with ``j = m + 1 - n`` and
``R = 2**(30 + j) + 2**(31 + m)``; for ``j >= 2`` that ``R`` has no bits below 2**32, and with the output's zero point
in it, too, LSL, SMMLA (high word of a product, plus a word) and SSAT (shift and saturate) are all there is. ``m`` is
the same for all channels of a layer, ``j`` absorbs their different shifts. The ``- (v < 0)`` only matters where a
negative result is not cut off by the activation: then ``2**(j - 1)`` is subtracted for negative sums.
"""

from __future__ import annotations

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
    rights = [max(-m.shift, 0) for m in multipliers]
    right = max(right, max(rights) + 1)
    cut = low >= zero_out
    factors, adds, shifts, negatives = [], [], [], []
    for m, n, bound in zip(multipliers, rights, bounds.tolist(), strict=True):
        j = right + 1 - n
        shift = j + max(m.shift, 0)
        add = (1 << (j - 2)) + (zero_out << right) + ((1 << (right - 1)) if n else 0)
        if right > 30 or (max(bound, 1) << shift) >= 2**31 or abs(add) >= 2**30:
            return None
        factors.append(m.value)
        adds.append(add)
        shifts.append(shift)
        negatives.append(0 if cut or not n else -(1 << (j - 1)))
    return Scale(tuple(factors), tuple(adds), tuple(shifts), tuple(negatives), right, low, high)
