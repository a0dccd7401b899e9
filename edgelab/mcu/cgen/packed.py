"""Bias, multiplier and shift of a channel in six bytes.

A multiplier is the input's scale times the weights' scale over the output's. Of these only the weights' scale differs
from channel to channel, and it is a float32: 23 bits tell its fraction, and the product is made anew where the channel
begins. With three bits for the shift, 22 are left for the bias. Every channel is unpacked here, too, and a layer that
does not come out exactly is not packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from edgelab.mcu.cgen.ctext import Program

_FRACTION_BITS = 23
_BIAS_LOW_BITS = 6
_BIAS_BITS = 16 + _BIAS_LOW_BITS
_SHIFTS = 8


@dataclass(frozen=True)
class Packed:
    """Three 16-bit words a channel, and what all channels have in common."""

    words: tuple[int, ...]
    ratio: int
    """The input's scale over the output's, as 64 bits of which the highest is set."""
    shift: int
    """The smallest shift; those of the channels are stored beyond it."""

    @property
    def high(self) -> int:
        """The upper half of the ratio."""
        return self.ratio >> 32

    @property
    def low(self) -> int:
        """The lower half of the ratio."""
        return self.ratio & 0xFFFFFFFF

    def unpacked(self, channel: int) -> tuple[int, int, int]:
        """Bias, multiplier and shift, as `HELPER` computes them."""
        first, second, third = self.words[3 * channel : 3 * channel + 3]
        word = first | second << 16
        bias = (third - (third >> 15 << 16)) * 2**_BIAS_LOW_BITS + (word >> _FRACTION_BITS & 63)
        return bias, product((word << 8) & 0x7FFFFFFF, self.ratio), self.shift + (word >> 29)


def pack(
    scales: Sequence[float],
    ratio: float | Fraction,
    biases: Sequence[int],
    factors: Sequence[int],
    shifts: Sequence[int],
) -> Packed | None:
    """Pack channels, or None where six bytes do not hold them.

    Parameters
    ----------
    scales
        Of the weights, float32, one a channel.
    ratio
        The input's scale over the output's.
    biases, factors, shifts
        What has to come out, one a channel.
    """
    base = min(shifts)
    if not scales or min(scales) <= 0 or ratio <= 0 or max(shifts) - base >= _SHIFTS:
        return None
    if max(abs(int(b)) for b in biases) >= 2 ** (_BIAS_BITS - 1):
        return None
    words: list[int] = []
    for scale, bias, shift in zip(scales, biases, shifts, strict=True):
        word = fraction_of(scale) | (int(bias) & 63) << _FRACTION_BITS | (shift - base) << 29
        words += [word & 0xFFFF, word >> 16, int(bias) >> _BIAS_LOW_BITS & 0xFFFF]
    packed = Packed(tuple(words), normal(Fraction(ratio)), base)
    wanted = zip(map(int, biases), factors, shifts, strict=True)
    return packed if all(packed.unpacked(c) == channel for c, channel in enumerate(wanted)) else None


def fraction_of(scale: float) -> int:
    """The 23 bits of a float32 behind its leading one."""
    bits = int(np.float32(scale).view(np.uint32))
    return bits & (1 << _FRACTION_BITS) - 1


def product(fraction: int, ratio: int) -> int:
    """A multiplier: 1.fraction, 31 bits of it, times a ratio of 64 bits, as 31 bits."""
    m = fraction | 2**31
    whole: int = m * (ratio >> 32) + (m * (ratio & 0xFFFFFFFF) >> 32)
    if whole >> 63:
        whole >>= 1
    return (whole + 2**31) >> 32


def normal(ratio: Fraction) -> int:
    """The highest 64 bits of a positive number."""
    bits = 64 - (ratio.numerator.bit_length() - ratio.denominator.bit_length())
    scaled = ratio * Fraction(2) ** bits
    while scaled >= 2**64:
        scaled /= 2
    return int(scaled)


def helper(p: Program) -> None:
    """Add `HELPER` once."""
    p.helper("unpacked", HELPER)


HELPER = """
/* Bias, multiplier and shift of a channel from six bytes. The multiplier is the fraction of the weights' scale times
   the scale of the input over that of the output, to 31 bits. */
static inline void unpacked(int32_t *to, const uint16_t *from, uint32_t high, uint32_t low) {
  const uint32_t word = from[0] | (uint32_t)from[1] << 16;
  const uint32_t m = (word << 8) | 0x80000000u;
  uint64_t product = (uint64_t)m * high + ((uint64_t)m * low >> 32);
  if (product >> 63) product >>= 1;
  to[0] = (int32_t)((uint32_t)(int16_t)from[2] << 6 | (word >> 23 & 63u));
  to[1] = (int32_t)((product + 0x80000000u) >> 32);
  to[2] = (int32_t)(word >> 29);
}
"""
