"""Convolutions and dense layers of networks of many layers: DSP kernels that all of them share.

A layer is a structure of numbers and a call. The kernels' loops count in registers where those of a layer of its own
(`dsp_conv`) are written out, and addresses are added up instead of standing in instructions: some tenths more
instructions, and no code of the layer's own.
"""

from __future__ import annotations

from dataclasses import replace

from edgelab.mcu.cgen import dsp_asm, dsp_channels, dsp_pack
from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.dsp_asm import Taps, naked, scaled_out
from edgelab.mcu.cgen.dsp_scale import Scale
from edgelab.mcu.cgen.lowering import Convolution, Window

_SLACK = 16
_MOST_ROWS = 2**7


def fits(step: Convolution) -> bool:
    """Whether the shared kernels take the layer."""
    w = step.window
    if not dsp_pack.fits(step) or dsp_channels.channels_of(step) is None:
        return False
    sizes = (w.height * w.width, w.out_height * w.out_width, w.channels, w.out_channels, _values(w) * 2)
    small = (*w.kernel, *w.stride, *w.dilation, *map(abs, w.pad))
    if max(sizes) >= 2**16 or max(small) >= _MOST_ROWS:
        return False
    if dsp_pack.geometry(w).single:
        return True
    wide = w.out_channels > 1 and (w.dilation[1] == 1 or w.kernel[1] == 1)
    return wide and w.stride[1] * w.channels % 2 == 0


def _columns(w: Window) -> int:
    """Pixels of a row with all that windows reach."""
    return (w.out_width - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1


def _values(w: Window) -> int:
    """Values of a row in scratch memory, in whole words."""
    return -(-_columns(w) * w.channels // 2) * 2


def _as_rows(w: Window, pixels: int) -> Window:
    """A 1x1 window over all pixels as rows of ``pixels`` of them, the last one perhaps shorter."""
    total = w.height * w.width
    return replace(w, height=-(-total // pixels), width=pixels, out_height=-(-total // pixels), out_width=pixels)


def _flat(w: Window) -> bool:
    return w.kernel == w.stride == (1, 1) and not w.padded


def _picture(step: Convolution, rows: int) -> tuple[Window, int]:
    """The window that the shared function sees, and the rows of a tile."""
    w = step.window
    return (_as_rows(w, rows), 1) if _flat(w) else (w, rows)


def groups(w: Window) -> int:
    """Groups of four taps in a row of a window."""
    return -(-w.kernel[1] * w.channels // 4)


def input_bytes(w: Window, rows: int) -> int:
    """The part of the scratch memory that holds inputs."""
    tall = (rows - 1) * w.stride[0] + (w.kernel[0] - 1) * w.dilation[0] + 1
    return -(-(tall * _values(w) * 2 + _SLACK) // 16) * 16


def scratch_bytes(step: Convolution, rows: int) -> int:
    """Scratch memory for tiles of ``rows`` output rows (pixels where the window is one)."""
    w, high = _picture(step, rows)
    if dsp_pack.geometry(step.window).single:
        return -(-(2 * w.channels + 6 + _SLACK) // 16) * 16
    weights = 8 + 16 * groups(w) * w.kernel[0] + 32
    return input_bytes(w, high) + -(-weights // 16) * 16


def tile_rows(step: Convolution, available: int) -> int:
    """The tile height for the scratch memory at hand; at least 1 row, or 2 pixels."""
    w = step.window
    total = w.out_height * (w.out_width if _flat(w) else 1)
    wanted = min(48 if _flat(w) else 1 if w.kernel == (1, 1) else -(-48 // w.out_width), total, _MOST_ROWS - 1)
    least = min(2, total) if _flat(w) else 1
    best = least
    for rows in range(least, wanted + 1):
        if scratch_bytes(step, rows) <= available:
            best = rows
    return best


def lag(step: Convolution, rows: int) -> int:
    """How far the input has to lie behind the output if they share memory: a tile is read before it is written."""
    w = step.window
    if _flat(w):
        return dsp_pack.lag(step, rows)
    row_in, row_out = w.width * w.channels, w.out_width * w.out_channels
    ends = range(rows, w.out_height, rows)
    return max([0, *(end * row_out - max(end * w.stride[0] - w.pad[0], 0) * row_in for end in ends)])


def stream_rows(step: Convolution) -> int:
    """The tile of a step that makes one output row at a time."""
    return step.window.out_width if _flat(step.window) else 1


def layer(p: Program, step: Convolution, rows: int) -> None:
    """Add a layer's structure and its function."""
    p.helper("spread", dsp_asm.HELPERS["spread"])
    p.helper("spread_in_order", dsp_asm.HELPERS["spread_in_order"])
    p.helper("fill", dsp_asm.HELPERS["fill"])
    if dsp_pack.geometry(step.window).single:
        _dense(p, step)
        return
    w, high = _picture(step, rows)
    streamed = step.index in p.streams
    if streamed:
        w, high = step.window, 1
    scale = dsp_channels.scale_of(step)
    lines = dot(scale)
    name = p.shared(f"dots_{step.index:02d}", lambda own: naked(own, lines, _DOT_ARGUMENTS), "\n".join(lines))
    fields = [
        p.constant("int8_t", _weights(step, w), f"weights_{step.index:02d}", align=4),
        dsp_channels.scales(p, step),
    ]
    p.helper("convolve", _CONVOLVE)
    source, target = p.streams[step.index] if streamed else (None, None)
    fields += [source.base if source else p.addresses[step.inputs[0]]]
    fields += [target.base if target else p.addresses[step.outputs[0]], f"(int16_t *){p.scratches[step.index]}", name]
    numbers = [step.window.out_height * step.window.out_width, w.height, w.width, w.channels]
    numbers += [w.out_width, w.out_channels, *(place.ring or 0 if place else 0 for place in (source, target))]
    numbers += [*w.kernel, *w.stride, w.dilation[0], *w.pad, high, step.zero_in]
    name = p.structure("convolution", f"layer_{step.index:02d}", ", ".join([*fields, *map(str, numbers)]))
    if streamed:
        p.function(step.function, f"convolve(&{name}, oy, oy + 1);", "int oy", small=True)
    else:
        p.function(step.function, f"convolve(&{name}, 0, {w.out_height});", small=True)


def _weights(step: Convolution, w: Window) -> list[int]:
    """Pairs of channels, each run of taps in whole groups of four; an odd number's last pair begins one earlier."""
    taps = Taps.of([0] * w.kernel[0], w.kernel[1] * w.channels, whole=True)
    runs = dsp_pack.runs_of(step, taps)
    firsts = [min(c, w.out_channels - 2) for c in range(0, w.out_channels, 2)]
    return [v for c in firsts for v in dsp_pack.as_bytes(dsp_pack.packed_words(runs[c : c + 2], taps))]


def _dense(p: Program, step: Convolution) -> None:
    w, taps = step.window, dsp_pack.taps_of(step)
    runs = dsp_pack.runs_of(step, taps)[:, 0]
    full = w.out_channels // 4 * 4
    ordered = [
        v
        for first, size in [*((c, 4) for c in range(0, full, 4)), *((c, 1) for c in range(full, w.out_channels))]
        for group in range(taps.groups)
        for channel in range(first, first + size)
        for v in dsp_pack.as_bytes(runs[channel, 4 * group : 4 * group + 4].tolist())
    ]
    weights = p.constant("int8_t", ordered, f"weights_{step.index:02d}", align=4)
    fields = [weights, dsp_channels.scales(p, step), p.addresses[step.inputs[0]], p.addresses[step.outputs[0]]]
    fields += [f"(int16_t *){p.scratches[step.index]}"]
    for count in (4, 1):
        p.helper(f"dense_{count}", naked(f"dense_{count}", dense(count), _DENSE_ARGUMENTS))
    p.helper("dense", _DENSE)
    numbers = [w.channels, w.out_channels, step.low, step.high]
    name = p.structure("dense", f"layer_{step.index:02d}", ", ".join([*fields, *map(str, numbers)]))
    p.function(step.function, f"dense(&{name});", small=True)


def dot(scale: Scale) -> list[str]:
    """Instructions for two pixels by two channels at a time, until the output reaches its end.

    On the stack: a counter of runs, the output, its end, and from 48 on the distance of the two pixels' inputs in
    bytes, runs, groups of four taps in each, bytes from a run's end to the next, bytes from the last run's end to the
    next two pixels' inputs, bytes between outputs, bytes of weights and biases that were read.
    """
    group = ["ldm r1!, {r8-r11}"]
    for x, (a, b) in (("r2", ("r6", "r7")), ("r0", ("r4", "r5"))):
        group += [f"ldrd r12, lr, [{x}], #8", f"smlad {a}, r12, r8, {a}", f"smlad {b}, r12, r10, {b}"]
        group += [f"smlad {a}, lr, r9, {a}", f"smlad {b}, lr, r11, {b}"]
    lines = ["push {r1-r11, lr}", "1:", "ldrd r10, r11, [sp, #48]", "add r2, r0, r10", "str r11, [sp]"]
    lines += ["ldrd r4, r5, [r1], #8", "mov r6, r4", "mov r7, r5", "2:", "ldr r3, [sp, #56]", "lsrs r3, r3, #1"]
    lines += ["bcc 3f", "adds r3, r3, #1", "b 4f", "3:", *group, "4:", *group, "subs r3, r3, #1", "bne 3b"]
    lines += ["ldr r3, [sp]", "subs r3, r3, #1", "beq 5f", "str r3, [sp]", "ldr r3, [sp, #60]", "add r0, r0, r3"]
    lines += ["add r2, r2, r3", "b 2b", "5:", "ldr r2, [sp, #4]", "ldr r3, [sp, #68]"]
    where = (("r6", "[r2, r3]"), ("r4", "[r2], #1")), (("r7", "[r2, r3]"), ("r5", "[r2], #-1"))
    if scale.linear:
        for pixels in where:
            lines.append("ldm r1!, {r8-r11}")
            for a, at in pixels:
                lines += scaled_out(a, scale, ("r8", "r9", "r10", "r11"), "r12", at)
    else:
        lines.append("ldm r1, {r8-r12, lr}")
        for names, pixels in zip((("r8", "r9", "r10"), ("r11", "r12", "lr")), where, strict=True):
            for a, at in pixels:
                lines += scaled_out(a, scale, names, "", at)
    lines += ["ldr r12, [sp, #64]", "add r0, r0, r12", "ldr r12, [sp, #72]", "sub r1, r1, r12"]
    lines += ["add r2, r2, r3, lsl #1", "str r2, [sp, #4]", "ldr r3, [sp, #8]", "cmp r2, r3", "bne 1b"]
    return [*lines, "pop {r1-r11, pc}"]


def dense(channels: int) -> list[str]:
    """Instructions that sum one pixel's products for one or four channels, weights as bytes."""
    sums, weights = ([f"r{first + c}" for c in range(channels)] for first in (4, 8))
    lines = ["push {r2, r4-r11, lr}", *(f"mov {a}, #0" for a in sums), "1:"]
    lines += ["ldm r1!, {r8-r11}" if channels > 1 else "ldr r8, [r1], #4", "ldrd r12, lr, [r0], #8"]
    for a, w in zip(sums, weights, strict=True):
        lines += [f"sxtb16 r2, {w}", f"smlad {a}, r12, r2, {a}", f"sxtb16 {w}, {w}, ror #8", f"smlad {a}, lr, {w}, {a}"]
    lines += ["subs r3, r3, #1", "bne 1b", "ldr r2, [sp]"]
    lines.append("stm r2, {r4-r7}" if channels > 1 else "str r4, [r2]")
    return [*lines, "pop {r2, r4-r11, pc}"]


_DOT_ARGUMENTS = (
    "const int16_t *x, const int32_t *w, int8_t *o, int8_t *end, int step, int runs, int groups, int jump, "
    "int advance, int out_step, int read"
)
_DENSE_ARGUMENTS = "const int16_t *x, const int8_t *w, int32_t *sums, int groups"
_CONVOLVE = """
/* A layer whose window moves over a picture; of the rows of its input and output the last ring stand in memory, all of
   them if 0. */
struct convolution {
  const int8_t *weights;
  struct scales scales;
  const int8_t *in;
  int8_t *out;
  int16_t *x;
  void (*dots)(const int16_t *, const int32_t *, int8_t *, int8_t *, int, int, int, int, int, int, int);
  uint16_t pixels, height, width, channels, out_width, out_channels, in_ring, out_ring;
  int8_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, pad_h, pad_w, rows, zero;
};
/* Two channels for a kernel: biases, weights spread to 16 bits, scale parameters. */
SMALL void widen_pair(int32_t *to, const struct convolution *l, const int8_t *weights, int bytes, int c) {
  int32_t channel[5];
  int32_t *tail = to + 2 + bytes / 2;
  spread((int16_t *)(void *)(to + 2), weights, bytes);
  for (int i = 0; i < 2; ++i) {
    channel_of(channel, &l->scales, c + i);
    to[i] = channel[0];
    for (int j = 1; j < 4 + (int)l->scales.linear; ++j) *tail++ = channel[j];
  }
}
/* Output rows from oy to last: tiles of inputs spread to 16 bits, then two channels at a time. */
SMALL void convolve(const struct convolution *l, int oy, int last) {
  const int c = l->channels, step = l->stride_w * c, runs = l->kernel_h, groups = (l->kernel_w * c + 3) / 4;
  const int values = (l->out_width - 1) * step + l->kernel_w * c, pitch = (values + 1) & ~1, left = l->pad_w * c;
  const int reach = (runs - 1) * l->dilation_h + 1, bytes = 8 * groups * runs, row = l->width * c;
  const int out_row = l->out_width * l->out_channels, jump = 2 * (l->dilation_h * pitch - 4 * groups);
  int32_t *const w = (int32_t *)(void *)(l->x + ((((l->rows - 1) * l->stride_h + reach) * pitch + 15) & ~7));
  for (; oy < last; oy += l->rows) {
    const int rows = last - oy < l->rows ? last - oy : l->rows;
    const int rest = l->pixels - oy * l->out_width, n = rest < l->out_width ? rest : l->out_width;
    int16_t *d = l->x;
    for (int r = 0, iy = oy * l->stride_h - l->pad_h; r < (rows - 1) * l->stride_h + reach; ++r, ++iy, d += pitch) {
      if ((unsigned)iy >= l->height) {
        fill(d, values, l->zero);
        continue;
      }
      const int taken = (row < values - left ? row : values - left) - (l->out_width - n) * c;
      fill(d, left, l->zero);
      (c % 4 ? spread_in_order : spread)(d + left, l->in + (l->in_ring ? iy % l->in_ring : iy) * row, taken);
      fill(d + left + taken, values - left - taken, l->zero);
    }
    const int8_t *weights = l->weights;
    for (int pair = 0; pair < l->out_channels; pair += 2, weights += bytes) {
      const int first = pair + 2 > l->out_channels ? pair - 1 : pair;
      int8_t *o = l->out + (l->out_ring ? oy % l->out_ring : oy) * out_row + first;
      const int16_t *x = l->x;
      widen_pair(w, l, weights, bytes, first);
      for (int r = 0; r < rows; ++r, x += l->stride_h * pitch, o += out_row) {
        const int even = n & ~1;
        /* An odd number's last pixel is made twice, at one place. */
        for (int at = 0, count = even;;) {
          const int next = count ? l->out_channels : 0;
          l->dots(x + at * step, w, o + at * l->out_channels, o + (at + count) * l->out_channels, count ? 2 * step : 0,
                  runs, groups, jump, 4 * step + jump - runs * (8 * groups + jump), next,
                  8 + 2 * bytes + (l->scales.linear ? 32 : 0));
          at += count;
          if (at == n || !count) break;
          count = 0;
        }
      }
    }
  }
}
"""
_DENSE = """
/* A dense layer over one row of inputs. */
struct dense {
  const int8_t *weights;
  struct scales scales;
  const int8_t *in;
  int8_t *out;
  int16_t *x;
  uint16_t channels, out_channels;
  int8_t lowest, highest;
};
SMALL void dense(const struct dense *l) {
  const int groups = (l->channels + 3) / 4;
  const int8_t *w = l->weights;
  (l->channels % 4 ? spread_in_order : spread)(l->x, l->in, l->channels);
  fill(l->x + l->channels, 4 * groups - l->channels, 0);
  for (int c = 0; c < l->out_channels;) {
    int32_t sums[4], channel[5];
    const int n = l->out_channels - c < 4 ? 1 : 4;
    (n == 1 ? dense_1 : dense_4)(l->x, w, sums, groups);
    w += n * 4 * groups;
    for (int i = 0; i < n; ++i, ++c) {
      channel_of(channel, &l->scales, c);
      const int32_t a = (int32_t)((uint32_t)(sums[i] + channel[0]) << channel[3]);
      const int32_t v = (int32_t)((int64_t)a * channel[1] >> 32) + channel[2] + (a >> 31 & channel[4]);
      l->out[c] = (int8_t)clamp(v >> (int)l->scales.right, l->lowest, l->highest);
    }
  }
}
"""
