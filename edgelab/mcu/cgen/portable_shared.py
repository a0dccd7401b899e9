"""Plain C99 for networks of many layers: one function for all convolutions, one for all depthwise ones.

Each layer is a structure of numbers and a call. A channel's parameters are unpacked from six bytes once for a row, or
once for the picture where a window is a single pixel; the zero point is folded into the bias, and counts as the input's
value beyond the picture's edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgelab.mcu.cgen import packed
from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.dsp_pack import packed_scales, scale_of
from edgelab.mcu.cgen.dsp_scale import Scale
from edgelab.mcu.cgen.lowering import Alias, Convolution, Ints, Step
from edgelab.mcu.cgen.packed import Packed

_MOST_ROWS = 8
_BUDGET_BYTES = 22400
"""Flash beyond the constants that code and tables may take, with a reserve for what the estimates miss."""
_SHARED_BYTES, _LAYER_BYTES, _OTHER_BYTES = 6400, 70, 700


def fits(step: Convolution) -> bool:
    """Whether flash is short and the shared functions take the layer."""
    w = step.window
    if not step.terse or w.batch > 1 or w.dilation != (1, 1):
        return False
    sized = w.kernel == (3, 3) if step.depthwise else w.kernel[0] <= _MOST_ROWS and max(w.kernel) < 2**7
    small = max(*w.stride, *map(abs, w.pad), *map(abs, w.pad_after)) < 2**7 and w.out_width * w.out_height < 2**15
    fewer = max(w.height * w.width, w.channels, w.out_channels, w.kernel[1] * w.channels) < 2**15
    if not (sized and small and fewer):
        return False
    scale = scale_of(step)
    return scale is not None and _packed(step, scale) is not None


def _folded(step: Convolution) -> Ints:
    axes = (0, 1) if step.depthwise else (1, 2, 3)
    return np.asarray(step.bias - step.zero_in * step.weights.sum(axis=axes), np.int64)


def _packed(step: Convolution, scale: Scale) -> Packed | None:
    return packed_scales(step, scale, _folded(step), range(step.window.out_channels))


def chosen(steps: Sequence[Step]) -> set[int]:
    """The layers, by index, that flash has room for in a function of their own: those that gain most by it first."""
    layers = [step for step in steps if isinstance(step, Convolution)]
    shareable = [step for step in layers if fits(step)]
    others = sum(_OTHER_BYTES for step in steps if not isinstance(step, Convolution | Alias))
    room = _BUDGET_BYTES - others - sum(_own_bytes(s) for s in layers if s not in shareable)
    if sum(map(_own_bytes, shareable)) <= room:
        return {step.index for step in shareable}
    room -= _SHARED_BYTES + sum(_LAYER_BYTES + 2 * step.window.out_channels for step in shareable)
    found = set()
    for step in sorted(shareable, key=lambda s: -_gain(s) / _own_bytes(s)):
        more = _own_bytes(step) - _LAYER_BYTES - 2 * step.window.out_channels
        if more <= room:
            room -= more
            found.add(step.index)
    return found


def _own_bytes(step: Convolution) -> int:
    """Flash of a layer with a function of its own, about."""
    uniform = len(set(step.multipliers)) == 1
    each = (0 if uniform else 5) + (4 if step.depthwise and step.window.padded else 0)
    return (1060 if step.depthwise else 860) + each * step.window.out_channels


def _gain(step: Convolution) -> int:
    """Instructions that a function of its own saves, about."""
    w = step.window
    outputs = w.out_height * w.out_width * w.out_channels
    rows = 1 if w.kernel == (1, 1) else w.out_height
    each = 15 if step.depthwise else 10 if w.channels < 16 else 4
    return outputs * each + 50 * w.out_channels * rows


def layer(p: Program, step: Convolution) -> None:
    """Add a layer's structure and its function."""
    w, scale = step.window, scale_of(step)
    short = _packed(step, scale) if scale else None
    if short is None or scale is None:
        raise AssertionError(step.function)
    p.helper("unpacked", packed.HELPER)
    p.helper("window", _WINDOW)
    if step.depthwise:
        p.helper("depthwise_rows", _DEPTHWISE)
        ordered = step.weights.reshape(9, w.out_channels).T
    else:
        p.helper("convolution_rows", _CONVOLUTION)
        flat = step.weights.reshape(w.out_channels, -1)
        ordered = np.concatenate([flat[c : c + 4].T.ravel() for c in range(0, w.out_channels, 4)])
    weights = p.constant("int8_t", ordered, f"weights_{step.index:02d}")
    scales = p.constant("uint16_t", short.words, f"scales_{step.index:02d}")
    streamed = step.index in p.streams
    height, width, out_width = w.height, w.width, w.out_width
    if not streamed and w.kernel == w.stride == (1, 1) and not w.padded:  # All pixels are one row.
        height, width, out_width = 1, math.prod((height, width)), math.prod((w.out_height, out_width))
    source, target = p.streams[step.index] if streamed else (None, None)
    ring = source.ring or 0 if source else 0
    numbers = (
        *(height, width, w.channels, out_width, w.out_channels, ring, step.zero_in),
        *(step.low, step.high, w.out_channels // w.channels if step.depthwise else 1),
        *(*w.kernel, *w.stride, *w.pad, short.shift, scale.right, int(scale.linear)),
    )
    fields = f"{weights}, {scales}, {short.high}u, {short.low}u, {scale.base()}, {', '.join(map(str, numbers))}"
    name = p.structure("window", f"window_{step.index:02d}", fields)
    rows = "depthwise_rows" if step.depthwise else "convolution_rows"
    if source and target:
        p.function(
            step.function, f"{rows}(&{name}, {source.base}, {target.row('oy')}, oy, oy + 1);", "int oy", small=True
        )
        return
    last = 1 if height == 1 != w.height else w.out_height
    addresses = f"{p.addresses[step.inputs[0]]}, {p.addresses[step.outputs[0]]}"
    p.function(step.function, f"{rows}(&{name}, {addresses}, 0, {last});", small=True)


_WINDOW = """
/* A layer whose window moves over a picture; of the input's rows, the last ring stand in memory, all of them if 0. */
struct window {
  const int8_t *weights;
  const uint16_t *scales;
  uint32_t high, low;
  int32_t base;
  int16_t height, width, channels, out_width, out_channels, ring, zero_in, lowest, highest, times;
  int8_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, shift, right, linear;
};
static inline const int8_t *row_of(const struct window *l, const int8_t *in, int iy) {
  return in + (l->ring ? iy % l->ring : iy) * l->width * l->channels;
}
/* What brings a channel's sums to the output: both roundings of TFLM and the zero point are in what is added. */
struct channel {
  int32_t bias, factor, add, negative;
  int shift;
};
static inline void prepare(struct channel *to, const struct window *l, int c) {
  int32_t words[3];
  unpacked(words, l->scales + c * 3, l->high, l->low);
  to->bias = words[0];
  to->factor = words[1];
  to->shift = words[2] + l->shift;
  to->add = l->base + (1 << (to->shift - 2));
  to->negative = l->linear ? -(1 << (to->shift - 1)) : 0;
}
static inline int8_t finished(int32_t a, const struct channel *c, int right, int32_t lowest, int32_t highest) {
  const int32_t wide = (int32_t)((uint32_t)a << c->shift);
  const int32_t v = (int32_t)((int64_t)wide * c->factor >> 32) + c->add + (wide >> 31 & c->negative);
  return (int8_t)clamp(v >> right, lowest, highest);
}
"""
_CONVOLUTION = """
/* Output rows from first to last: four channels at a time, weights in the order in which they are used. */
#define TAP(x, k) { const int32_t v = x; a0 += v * k[0]; a1 += v * k[1]; a2 += v * k[2]; a3 += v * k[3]; }
LAYER void convolution_rows(const struct window *l, const int8_t *in, int8_t *out, int first, int last) {
  const int taps = l->kernel_w * l->channels, step = l->stride_w * l->channels;
  const int right = l->right, lowest = l->lowest, highest = l->highest;
  const int8_t *row[8];
  for (int oy = first; oy < last; ++oy, out += l->out_width * l->out_channels) {
    int whole = 1;
    for (int ky = 0, iy = oy * l->stride_h - l->pad_h; ky < l->kernel_h; ++ky, ++iy) {
      row[ky] = (unsigned)iy < (unsigned)l->height ? row_of(l, in, iy) : 0;
      whole &= row[ky] != 0;
    }
    for (int c = 0; c < l->out_channels; c += 4) {
      const int n = l->out_channels - c < 4 ? l->out_channels - c : 4;
      struct channel channel[4] = {{0, 0, 0, 0, 0}};
      for (int i = 0; i < n; ++i) prepare(&channel[i], l, c + i);
      int8_t *o = out + c;
      int left = l->pad_w * l->channels;
      for (int ox = l->out_width; ox > 0; --ox, o += l->out_channels, left -= step) {
        const int before = left > 0 ? left : 0;
        const int beyond = taps - left - l->width * l->channels;
        const int after = beyond > 0 ? beyond : 0;
        const int8_t *restrict k = l->weights + c * l->kernel_h * taps;
        if (n == 4 && whole && !before && !after) {
          int32_t a0 = channel[0].bias, a1 = channel[1].bias, a2 = channel[2].bias, a3 = channel[3].bias;
          for (int ky = 0; ky < l->kernel_h; ++ky) {
            const int8_t *restrict x = row[ky] - left;
            int i = taps;
            for (; i >= 4; i -= 4, x += 4, k += 16) {
              TAP(x[0], k)
              TAP(x[1], (k + 4))
              TAP(x[2], (k + 8))
              TAP(x[3], (k + 12))
            }
            for (; i > 0; --i, ++x, k += 4) {
              TAP(x[0], k)
            }
          }
          o[0] = finished(a0, &channel[0], right, lowest, highest);
          o[1] = finished(a1, &channel[1], right, lowest, highest);
          o[2] = finished(a2, &channel[2], right, lowest, highest);
          o[3] = finished(a3, &channel[3], right, lowest, highest);
          continue;
        }
        int32_t a[4] = {channel[0].bias, channel[1].bias, channel[2].bias, channel[3].bias};
        for (int ky = 0; ky < l->kernel_h; ++ky) {
          const int8_t *x = row[ky] - left + before;
          int outside = before, inside = taps - before - after;
          if (!row[ky]) outside = taps, inside = 0;
          for (int rest = row[ky] ? after : 0;; outside = rest, inside = 0, rest = 0) {
            for (; outside > 0; --outside, k += n)
              for (int i = 0; i < n; ++i) a[i] += l->zero_in * k[i];
            for (; inside > 0; --inside, k += n, ++x)
              for (int i = 0; i < n; ++i) a[i] += *x * k[i];
            if (!rest) break;
          }
        }
        for (int i = 0; i < n; ++i) o[i] = finished(a[i], &channel[i], right, lowest, highest);
      }
    }
  }
}
"""
_DEPTHWISE = """
/* Output rows from first to last of a layer with 3x3 windows: one channel after the other. */
LAYER void depthwise_rows(const struct window *l, const int8_t *in, int8_t *out, int first, int last) {
  const int pixel = l->channels, step = l->stride_w * pixel, zero = l->zero_in;
  const int right = l->right, lowest = l->lowest, highest = l->highest;
  for (int oy = first; oy < last; ++oy, out += l->out_width * l->out_channels) {
    const int8_t *row[3];
    int whole = 1;
    for (int ky = 0, iy = oy * l->stride_h - l->pad_h; ky < 3; ++ky, ++iy) {
      row[ky] = (unsigned)iy < (unsigned)l->height ? row_of(l, in, iy) : 0;
      whole &= row[ky] != 0;
    }
    const int8_t *k = l->weights;
    for (int c = 0, m = 0, of = 0; c < l->out_channels; ++c, k += 9) {
      struct channel channel;
      prepare(&channel, l, c);
      int32_t raw = k[0] + k[1] + k[2] + k[3] + k[4] + k[5] + k[6] + k[7] + k[8];
      raw = channel.bias + zero * raw;
      int8_t *o = out + c;
      int ix = -l->pad_w, at = ix * pixel + of;
      for (int ox = 0; ox < l->out_width;) {
        if (whole && ix >= 0 && ix + 3 <= l->width) {
          int count = (l->width - 3 - ix) / l->stride_w + 1;
          if (count > l->out_width - ox) count = l->out_width - ox;
          ox += count, ix += count * l->stride_w;
          const int8_t *x = row[0] + at, *y = row[1] + at, *z = row[2] + at;
          at += count * step;
          for (; count > 0; --count, x += step, y += step, z += step, o += l->out_channels) {
            int32_t a = channel.bias;
            a += x[0] * k[0] + x[pixel] * k[1] + x[2 * pixel] * k[2];
            a += y[0] * k[3] + y[pixel] * k[4] + y[2 * pixel] * k[5];
            a += z[0] * k[6] + z[pixel] * k[7] + z[2 * pixel] * k[8];
            *o = finished(a, &channel, right, lowest, highest);
          }
          continue;
        }
        int32_t a = raw;
        const int from = ix < 0 ? -ix : 0, to = l->width - ix < 3 ? l->width - ix : 3;
        for (int ky = 0; ky < 3; ++ky) {
          if (!row[ky]) continue;
          const int8_t *x = row[ky] + at + from * pixel;
          for (int kx = from; kx < to; ++kx, x += pixel) a += (*x - zero) * k[ky * 3 + kx];
        }
        *o = finished(a, &channel, right, lowest, highest);
        ++ox, ix += l->stride_w, at += step, o += l->out_channels;
      }
      if (++m == l->times) m = 0, ++of;
    }
  }
}
"""
