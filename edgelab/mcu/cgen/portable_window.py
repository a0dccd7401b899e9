"""Plain C99 that layers share: one function for all convolutions, one for all depthwise ones.

Each layer is a structure of numbers and a call. A channel's parameters are unpacked once for the picture, or once for a
row where a chain runs row by row. Where the window reaches over the picture's edge, only the taps inside count, each
less the zero point; elsewhere the zero point is folded into the bias.
"""

from __future__ import annotations

import math

import numpy as np

from edgelab.mcu.cgen import channels
from edgelab.mcu.cgen.channels import Channels
from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.dsp_pack import scale_of
from edgelab.mcu.cgen.dsp_scale import Scale
from edgelab.mcu.cgen.lowering import Convolution, Ints

STRUCTURE_BYTES = 56
_MOST_ROWS = 16


def packed(step: Convolution) -> tuple[Scale, Channels] | None:
    """How the shared functions bring a layer's sums to the output, and its channels; None where they do not take it."""
    w = step.window
    if w.batch > 1 or max(*w.kernel, *w.dilation, *w.stride, *map(abs, w.pad), *map(abs, w.pad_after)) >= 2**7:
        return None
    if w.kernel[0] > _MOST_ROWS:
        return None
    if max(w.height * w.width, w.out_height * w.out_width, w.channels, w.out_channels) >= 2**15:
        return None
    scale = scale_of(step)
    if scale is None or scale.base() != _base(step, scale):
        return None
    bias = step.bias
    if _folds(step):
        bias = step.bias - step.zero_in * step.weights.reshape(w.out_channels, -1).sum(axis=1)
    made = channels.pack(step.scales, step.ratio, bias.tolist(), scale.factors, scale.shifts)
    return None if made is None else (scale, made)


def _folds(step: Convolution) -> bool:
    """Whether every window lies inside of the picture, so that the zero point is in the bias from the beginning."""
    return not (step.depthwise or step.window.padded) and step.window.dilation[1] == 1


def _in_turns(weights: Ints) -> Ints:
    """Those of four channels in turns, then those of single channels."""
    whole = len(weights) // 4 * 4
    fours = [weights[c : c + 4].T.ravel() for c in range(0, whole, 4)]
    return np.concatenate([*fours, weights[whole:].ravel()])


def _base(step: Convolution, scale: Scale) -> int:
    """What the shared functions add to every channel's sum, beside the first rounding."""
    return (step.zero_out << scale.right) + (1 << (scale.right - 1))


def convolution(p: Program, step: Convolution) -> None:
    """Add a layer's structure and its function."""
    w, found = step.window, packed(step)
    if found is None:
        raise AssertionError(step.function)
    scale, made = found
    p.helper("bits_at", channels.HELPER)
    p.helper("window", _WINDOW)
    if step.depthwise:
        p.helper("depthwise_rows", _DEPTHWISE)
        ordered = step.weights.reshape(-1, w.out_channels).T
    else:
        p.helper("convolution_rows", _CONVOLUTION)
        ordered = _in_turns(step.weights.reshape(w.out_channels, -1))
    weights = p.constant("int8_t", ordered, f"weights_{step.index:02d}")
    bits = p.constant("uint8_t", made.data, f"channels_{step.index:02d}")
    height, width, out_height, out_width = w.height, w.width, w.out_height, w.out_width
    ring_in = ring_out = 0
    source, target = p.addresses[step.inputs[0]], p.addresses[step.outputs[0]]
    streamed = step.index in p.streams
    if streamed:
        rows_in, rows_out = p.streams[step.index]
        source, target, ring_in, ring_out = rows_in.base, rows_out.base, rows_in.ring or 0, rows_out.ring or 0
    elif w.kernel == w.stride == (1, 1) and not w.padded:  # All pixels are one row.
        height, width, out_height, out_width = 1, math.prod((height, width)), 1, math.prod((out_height, out_width))
    numbers = (
        *(height, width, w.channels, out_width, w.out_channels, ring_in, ring_out),
        *(step.zero_in, step.zero_out, step.low, step.high, *w.kernel, *w.stride, *w.pad, *w.dilation),
        *(
            int(_folds(step)),
            scale.right,
            int(scale.linear),
            made.shift,
            made.shift_bits,
            made.fraction_bits,
            made.bias_bits,
        ),
    )
    fields = f"{source}, {target}, {weights}, {bits}, {made.ratio >> 32}u, {made.ratio & 0xFFFFFFFF}u, "
    name = p.structure("window", f"window_{step.index:02d}", fields + ", ".join(map(str, numbers)))
    rows = "depthwise_rows" if step.depthwise else "convolution_rows"
    if streamed:
        p.function(step.function, f"{rows}(&{name}, oy, oy + 1);", "int oy", small=True)
    else:
        p.function(step.function, f"{rows}(&{name}, 0, {out_height});", small=True)


_WINDOW = """
/* A layer whose window moves over a picture; of its rows, the last ring stand in memory, all of them if 0. */
struct window {
  const int8_t *in;
  int8_t *out;
  const int8_t *weights;
  const uint8_t *bits;
  uint32_t high, low;
  int16_t height, width, channels, out_width, out_channels;
  uint16_t ring_in, ring_out;
  int8_t zero_in, zero_out, lowest, highest;
  int8_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int8_t folded, right, linear, shift, shift_bits, fraction_bits, bias_bits;
};
/* What brings a channel's sums to the output: both roundings of TFLM and the zero point are in what is added. */
struct channel {
  int32_t bias, folded, factor, add, negative;
  int shift;
};
SMALL void prepare(struct channel *to, const struct window *l, int c, const int8_t *k, int taps, int step) {
  int at = c * (l->shift_bits + l->fraction_bits + l->bias_bits);
  to->shift = (int)bits_at(l->bits, at, l->shift_bits) + l->shift;
  at += l->shift_bits;
  to->factor = multiplier(bits_at(l->bits, at, l->fraction_bits) << (31 - l->fraction_bits), l->high, l->low);
  at += l->fraction_bits;
  const int unused = 32 - l->bias_bits;
  to->bias = (int32_t)(bits_at(l->bits, at, l->bias_bits) << unused) >> unused;
  int32_t sum = 0;
  for (; taps > 0; --taps, k += step) sum += *k;
  to->folded = to->bias - l->zero_in * sum;
  to->add = (l->zero_out << l->right) + (1 << (l->right - 1)) + (1 << (to->shift - 2));
  to->negative = l->linear ? -(1 << (to->shift - 1)) : 0;
}
static inline int8_t finished(int32_t a, const struct channel *c, int right, int32_t lowest, int32_t highest) {
  const int32_t wide = (int32_t)((uint32_t)a << c->shift);
  const int32_t v = (int32_t)((int64_t)wide * c->factor >> 32) + c->add + (wide >> 31 & c->negative);
  return (int8_t)clamp(v >> right, lowest, highest);
}
#define TAP(x, k) { const int32_t v = x; a0 += v * k[0]; a1 += v * k[1]; a2 += v * k[2]; a3 += v * k[3]; }
/* The taps inside of the picture, from and to, of a window that begins at a place. */
static inline void taps_inside(int *from, int *to, int at, int step, int size) {
  ROLLED while (*from < *to && at + *from * step < 0) ++*from;
  ROLLED while (*to > *from && at + (*to - 1) * step >= size) --*to;
}
static inline int row_at(int row, int ring) { return ring ? row % ring : row; }
"""
_CONVOLUTION = """
/* Output rows from first to last: four channels at a time, their weights in turns, then one at a time. */
LAYER void convolution_rows(const struct window *l, int first, int last) {
  const int depth = l->channels, span = l->kernel_w * depth, taps = l->kernel_h * span;
  const int right = l->right, lowest = l->lowest, highest = l->highest;
  const int sums = l->folded ? 0 : taps;
  const int8_t *row[16];
  for (int c = 0, n = 4; c < l->out_channels; c += n) {
    struct channel channel[4];
    if (l->out_channels - c < 4) n = 1;
    const int8_t *const weights = l->weights + c * taps;
    ROLLED for (int i = 0; i < n; ++i) prepare(&channel[i], l, c + i, weights + i, sums, n);
    for (int oy = first; oy < last; ++oy) {
      int8_t *o = l->out + row_at(oy, l->ring_out) * l->out_width * l->out_channels + c;
      int whole = l->dilation_w == 1;
      ROLLED for (int ky = 0, iy = oy * l->stride_h - l->pad_h; ky < l->kernel_h; ++ky, iy += l->dilation_h) {
        row[ky] = (unsigned)iy < (unsigned)l->height ? l->in + row_at(iy, l->ring_in) * l->width * depth : 0;
        whole &= row[ky] != 0;
      }
      int ix = -l->pad_w;
      for (int ox = l->out_width; ox > 0; --ox, o += l->out_channels, ix += l->stride_w) {
        const int8_t *restrict k = weights;
        const int inside = whole && ix >= 0 && ix + l->kernel_w <= l->width;
        int32_t a0 = channel[0].folded, a1 = channel[1].folded, a2 = channel[2].folded, a3 = channel[3].folded;
        if (inside && n == 4) {
          ROLLED for (int ky = 0; ky < l->kernel_h; ++ky) {
            const int8_t *restrict x = row[ky] + ix * depth;
            int i = span;
            ROLLED for (; i >= 4; i -= 4, x += 4, k += 16) {
              TAP(x[0], k)
              TAP(x[1], (k + 4))
              TAP(x[2], (k + 8))
              TAP(x[3], (k + 12))
            }
            ROLLED for (; i > 0; --i, ++x, k += 4) TAP(x[0], k)
          }
        } else {
          const int zero = inside ? 0 : l->zero_in;
          if (!inside) a0 = channel[0].bias, a1 = channel[1].bias, a2 = channel[2].bias, a3 = channel[3].bias;
          int x0 = 0, x1 = l->kernel_w;
          taps_inside(&x0, &x1, ix, l->dilation_w, l->width);
          const int wide = l->dilation_w == 1 ? x1 - x0 : 1;
          ROLLED for (int ky = 0; ky < l->kernel_h; ++ky) {
            if (!row[ky]) continue;
            ROLLED for (int kx = x0; kx < x1; kx += wide) {
              const int8_t *restrict x = row[ky] + (ix + kx * l->dilation_w) * depth;
              int i = wide * depth;
              k = weights + (ky * span + kx * depth) * n;
              if (n == 4) {
                ROLLED for (; i > 0; --i, ++x, k += 4) TAP(x[0] - zero, k)
              } else {
                ROLLED for (; i > 0; --i) a0 += (*x++ - zero) * *k++;
              }
            }
          }
        }
        o[0] = finished(a0, &channel[0], right, lowest, highest);
        if (n < 4) continue;
        o[1] = finished(a1, &channel[1], right, lowest, highest);
        o[2] = finished(a2, &channel[2], right, lowest, highest);
        o[3] = finished(a3, &channel[3], right, lowest, highest);
      }
    }
  }
}
"""
_DEPTHWISE = """
/* Output rows from first to last of a layer whose channels have a window each: one channel after the other. */
LAYER void depthwise_rows(const struct window *l, int first, int last) {
  const int pixel = l->channels, width = l->width, times = l->out_channels / pixel, out_step = l->out_channels;
  const int right = l->right, lowest = l->lowest, highest = l->highest, kernel_h = l->kernel_h, kernel_w = l->kernel_w;
  const int step = l->stride_w * pixel, beside = l->dilation_w * pixel, far = (kernel_w - 1) * l->dilation_w;
  const int8_t *k = l->weights, *row[16];
  ROLLED for (int c = 0; c < l->out_channels; ++c, k += kernel_h * kernel_w) {
    struct channel channel;
    prepare(&channel, l, c, k, kernel_h * kernel_w, 1);
    const int8_t *in = l->in + c / times;
    ROLLED for (int oy = first; oy < last; ++oy) {
      int8_t *o = l->out + row_at(oy, l->ring_out) * l->out_width * out_step + c;
      int y0 = 0, y1 = kernel_h, ix = -l->pad_w;
      const int iy = oy * l->stride_h - l->pad_h;
      taps_inside(&y0, &y1, iy, l->dilation_h, l->height);
      ROLLED for (int ky = y0; ky < y1; ++ky)
        row[ky] = in + row_at(iy + ky * l->dilation_h, l->ring_in) * width * pixel;
      ROLLED for (int ox = 0; ox < l->out_width;) {
        int x0 = 0, x1 = kernel_w, count = 1, zero = l->zero_in;
        int32_t bias = channel.bias;
        if (ix < 0 || ix + far >= width) {
          taps_inside(&x0, &x1, ix, l->dilation_w, width);
        } else {
          count = (width - 1 - far - ix) / l->stride_w + 1;
          if (count > l->out_width - ox) count = l->out_width - ox;
          if (y1 - y0 == kernel_h) bias = channel.folded, zero = 0;
        }
        int at = (ix + x0 * l->dilation_w) * pixel;
        ox += count, ix += count * l->stride_w;
        if (!zero && kernel_h == 3 && kernel_w == 3 && y1 - y0 == 3 && x1 - x0 == 3) {
          const int8_t *x = row[0] + at, *y = row[1] + at, *z = row[2] + at;
          ROLLED for (; count > 0; --count, x += step, y += step, z += step, o += out_step) {
            int32_t a = bias;
            a += x[0] * k[0] + x[beside] * k[1] + x[2 * beside] * k[2];
            a += y[0] * k[3] + y[beside] * k[4] + y[2 * beside] * k[5];
            a += z[0] * k[6] + z[beside] * k[7] + z[2 * beside] * k[8];
            *o = finished(a, &channel, right, lowest, highest);
          }
          continue;
        }
        const int8_t *const first_weight = k + y0 * kernel_w + x0;
        ROLLED for (; count > 0; --count, at += step, o += out_step) {
          const int8_t *weight = first_weight;
          int32_t a = bias;
          ROLLED for (int ky = y0; ky < y1; ++ky, weight += kernel_w) {
            const int8_t *x = row[ky] + at;
            ROLLED for (int i = 0; i < x1 - x0; ++i, x += beside) a += (*x - zero) * weight[i];
          }
          *o = finished(a, &channel, right, lowest, highest);
        }
      }
    }
  }
}
"""
