"""Biases and scale parameters of the layers that share DSP kernels, in as few bits as a layer needs."""

from __future__ import annotations

import numpy as np

from edgelab.mcu.cgen import channels, dsp_pack
from edgelab.mcu.cgen.channels import Channels
from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.dsp_scale import Scale
from edgelab.mcu.cgen.lowering import Convolution, Ints

_BEYOND = (0, 0, 0)
"""Bytes that the word of the last bits may reach into."""


def folded(step: Convolution) -> Ints:
    """The bias with the zero point's share of the sums in it."""
    axes = (0, 1) if step.depthwise else (1, 2, 3)
    return np.asarray(step.bias - step.zero_in * step.weights.sum(axis=axes), np.int64)


def scale_of(step: Convolution) -> Scale:
    """The layer's scale parameters; weights stay as they are, sums are shifted."""
    scale = dsp_pack.scale_of(step, ahead=False)
    if scale is None:
        raise AssertionError(step.function)
    return scale


def channels_of(step: Convolution) -> Channels | None:
    """Biases and scale parameters of all channels; None where the shared kernels do not take them."""
    scale = dsp_pack.scale_of(step, ahead=False)
    if scale is None or scale.base() is None:
        return None
    return channels.pack(step.scales, step.ratio, folded(step).tolist(), scale.factors, scale.shifts)


def scales(p: Program, step: Convolution) -> str:
    """Declare a layer's scale parameters; the C initializer of its ``struct scales``."""
    scale, found = scale_of(step), channels_of(step)
    if found is None:
        raise AssertionError(step.function)
    p.helper("bits_at", channels.HELPER)
    p.helper("scales", _SCALES)
    bits = p.constant("uint8_t", (*found.data, *_BEYOND), f"channels_{step.index:02d}")
    numbers = (found.shift, found.shift_bits, found.fraction_bits, found.bias_bits, scale.right, int(scale.linear))
    ratio = f"{found.ratio >> 32}u, {found.ratio & 0xFFFFFFFF}u"
    return f"{{{bits}, {ratio}, {scale.base()}, {', '.join(map(str, numbers))}}}"


_SCALES = """
/* What brings a layer's sums to its output; each channel has some bits for its shift, its scale and its bias. */
struct scales {
  const uint8_t *bits;
  uint32_t high, low;
  int32_t base;
  uint32_t shift : 6, shift_bits : 5, fraction_bits : 5, bias_bits : 6, right : 6, linear : 1;
};
/* Up to 25 bits are in one word that may begin at any byte. */
typedef struct {
  uint32_t value;
} __attribute__((packed, may_alias)) loose;
static inline uint32_t field_at(const uint8_t *from, int at, int bits) {
  if (bits > 25) return bits_at(from, at, bits);
  return ((const loose *)(const void *)(from + (at >> 3)))->value >> (at & 7) & ((1u << bits) - 1u);
}
/* A channel's bias, factor, what is added, shift, and what is added to negative sums. */
SMALL void channel_of(int32_t *to, const struct scales *s, int c) {
  int at = c * (int)(s->shift_bits + s->fraction_bits + s->bias_bits);
  const int shift = (int)(field_at(s->bits, at, (int)s->shift_bits) + s->shift), unused = 32 - (int)s->bias_bits;
  at += (int)s->shift_bits;
  const uint32_t fraction = field_at(s->bits, at, (int)s->fraction_bits);
  at += (int)s->fraction_bits;
  to[0] = (int32_t)(field_at(s->bits, at, (int)s->bias_bits) << unused) >> unused;
  to[1] = multiplier(fraction << (31 - s->fraction_bits), s->high, s->low);
  to[2] = s->base + (1 << (shift - 2));
  to[3] = shift;
  to[4] = s->linear ? -(1 << (shift - 1)) : 0;
}
"""
