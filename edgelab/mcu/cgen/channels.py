"""Bias, multiplier and shift of a layer's channels in as few bits as the layer needs.

A multiplier is the input's scale times the weights' scale over the output's. Of these only the weights' scale differs
from channel to channel, and it is a float32: 23 bits tell its fraction, and the product is made anew where the channel
begins. Where multipliers do not follow from the scales, their own 30 bits are stored; where all are the same, none.
Shifts and biases take the bits that the layer's largest ones need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from edgelab.mcu.cgen.packed import fraction_of, normal, product

_SCALE_BITS, _FACTOR_BITS = 23, 30


@dataclass(frozen=True)
class Channels:
    """The bits of all channels one after the other, and what they have in common."""

    data: tuple[int, ...]
    """Bytes; the lowest bit comes first."""
    ratio: int
    """64 bits of which the highest is set; times a channel's fraction they give its multiplier."""
    shift: int
    """The smallest shift; those of the channels are stored beyond it."""
    shift_bits: int
    fraction_bits: int
    bias_bits: int

    def unpacked(self, channel: int) -> tuple[int, int, int]:
        """Bias, multiplier and shift, as `HELPER` computes them."""
        at = channel * (self.shift_bits + self.fraction_bits + self.bias_bits)
        whole = int.from_bytes(self.data, "little") >> at
        shift, whole = whole & (1 << self.shift_bits) - 1, whole >> self.shift_bits
        fraction, whole = whole & (1 << self.fraction_bits) - 1, whole >> self.fraction_bits
        bias = whole & (1 << self.bias_bits) - 1
        bias -= bias >> (self.bias_bits - 1) << self.bias_bits
        return bias, product(fraction << (31 - self.fraction_bits), self.ratio), self.shift + shift


def pack(
    scales: Sequence[float], ratio: Fraction, biases: Sequence[int], factors: Sequence[int], shifts: Sequence[int]
) -> Channels | None:
    """Pack channels, or None where a multiplier is 0 or a bias has more than 32 bits.

    Parameters
    ----------
    scales
        Of the weights, float32, one a channel; empty where multipliers do not follow from them.
    ratio
        The input's scale over the output's.
    biases, factors, shifts
        What has to come out, one a channel.
    """
    bias_bits = max(int(b).bit_length() for b in biases) + 1
    if min(factors) < 2**30 or bias_bits > 32:
        return None
    if len(set(factors)) == 1:
        bits, fractions, common = 0, [0] * len(factors), factors[0] << 33
    else:
        bits, fractions, common = _SCALE_BITS, [fraction_of(s) for s in scales], normal(ratio) if ratio > 0 else 0
        products = [product(f << (31 - bits), common) for f in fractions]
        if products != list(factors):
            bits, fractions, common = _FACTOR_BITS, [f - 2**30 for f in factors], 2**63
    least = min(shifts)
    shift_bits = (max(shifts) - least).bit_length()
    whole, at = 0, 0
    for fraction, bias, shift in zip(fractions, biases, shifts, strict=True):
        for value, width in ((shift - least, shift_bits), (fraction, bits), (int(bias), bias_bits)):
            whole |= (value & (1 << width) - 1) << at
            at += width
    return Channels(tuple(whole.to_bytes(-(-at // 8), "little")), common, least, shift_bits, bits, bias_bits)


HELPER = """
/* Some bits of many, the lowest first. */
SMALL uint32_t bits_at(const uint8_t *from, int at, int bits) {
  from += at >> 3;
  uint32_t value = (uint32_t)*from++ >> (at & 7);
  for (int have = 8 - (at & 7); have < bits; have += 8) value |= (uint32_t)*from++ << have;
  return bits < 32 ? value & ((1u << bits) - 1u) : value;
}
/* 1.fraction times a ratio, to 31 bits. */
static inline int32_t multiplier(uint32_t fraction, uint32_t high, uint32_t low) {
  const uint32_t m = fraction | 0x80000000u;
  uint64_t product = (uint64_t)m * high + ((uint64_t)m * low >> 32);
  if (product >> 63) product >>= 1;
  return (int32_t)((product + 0x80000000u) >> 32);
}
"""
