"""Depthwise convolutions of networks of many layers: DSP kernels shared by all layers with windows of one size.

As in `dsp_depthwise` a channel's plane is gathered into scratch memory and two neighbouring outputs are made at once,
but widths and distances are numbers in registers, weights are stored as bytes, and sums are shifted, not weights.
"""

from __future__ import annotations

from dataclasses import replace

from edgelab.mcu.cgen import dsp_asm, dsp_channels, dsp_depthwise
from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.dsp_asm import naked
from edgelab.mcu.cgen.dsp_depthwise import input_bytes, product, words_of
from edgelab.mcu.cgen.dsp_scale import Scale
from edgelab.mcu.cgen.lowering import Convolution, Window

_RESIDENT = 6
_MOST_WORDS = 4

lag, stream_rows = dsp_depthwise.lag, dsp_depthwise.stream_rows


def fits(step: Convolution) -> bool:
    """Whether the shared kernels take the layer."""
    w = step.window
    if w.batch > 1 or w.dilation != (1, 1):
        return False
    if len(_words(w)) > _MOST_WORDS or dsp_channels.channels_of(step) is None:
        return False
    small = max(*w.kernel, *w.stride, *map(abs, w.pad), w.out_channels // w.channels) < 2**7
    return small and max(w.height, w.width, w.out_height, w.out_width, w.out_channels) < 2**15 and max(w.kernel) < 16


def scratch_bytes(step: Convolution, rows: int) -> int:
    """Scratch memory for a channel's inputs of ``rows`` output rows, and for its parameters."""
    words = len(_words(step.window)) * step.window.kernel[0] + 5
    return input_bytes(step, rows) + -(-4 * words // 16) * 16


def tile_rows(step: Convolution, available: int) -> int:
    """Output rows that the scratch memory at hand has room for, all of them if possible."""
    total = step.window.out_height
    return next((rows for rows in range(total, 1, -1) if scratch_bytes(step, rows) <= available), 1)


def layer(p: Program, step: Convolution, rows: int) -> None:
    """Add a layer's structure and its function."""
    w = step.window
    (kh, kw), words = w.kernel, _words(w)
    lines = plane(w, dsp_channels.scale_of(step))
    kernel = p.shared(f"plane_{step.index:02d}", lambda own: naked(own, lines, _ARGUMENTS), "\n".join(lines))
    p.helper("fill", dsp_asm.HELPERS["fill"])
    p.helper("gather", naked("gather", GATHER, _GATHER_ARGUMENTS))
    weights = p.constant("int8_t", step.weights.reshape(kh * kw, w.out_channels).T, f"weights_{step.index:02d}")
    scales = dsp_channels.scales(p, step)
    p.helper("depthwise_planes", _PLANES)
    streamed = step.index in p.streams
    source, target = p.streams[step.index] if streamed else (None, None)
    fields = [weights, scales, source.base if source else p.addresses[step.inputs[0]]]
    fields += [target.base if target else p.addresses[step.outputs[0]], f"(int16_t *){p.scratches[step.index]}", kernel]
    starts = sum(first << 4 * i for i, (first, _) in enumerate(words))
    numbers = [w.height, w.width, w.channels, w.out_width, w.out_channels]
    numbers += [*(place.ring or 0 if place else 0 for place in (source, target)), rows, starts, len(words)]
    numbers += [kh, kw, *w.stride, *w.pad, step.zero_in]
    name = p.structure("planes", f"layer_{step.index:02d}", ", ".join([*fields, *map(str, numbers)]))
    if streamed:
        p.function(step.function, f"depthwise_planes(&{name}, oy, oy + 1);", "int oy", small=True)
    else:
        p.function(step.function, f"depthwise_planes(&{name}, 0, {w.out_height});", small=True)


def _words(w: Window) -> list[tuple[int, int]]:
    """The pairs of neighbouring taps that two outputs need, also where there is but one."""
    return words_of(replace(w, out_width=2))


def _resident(w: Window) -> bool:
    """Whether all weights stay in registers."""
    return len(_words(w)) * w.kernel[0] <= _RESIDENT


def plane(w: Window, scale: Scale) -> list[str]:
    """Instructions for rows of one channel.

    On the stack: bias, factor, add, shift, negative, columns to do, rows to do, and from 64 on columns, bytes from row
    to row of inputs, bytes between outputs, bytes from the end of a row's inputs and outputs to the next.
    """
    names, resident = _words(w), _resident(w)
    (kh, kw), sw = w.kernel, w.stride[1]
    row, distance = ("r3", "r1") if resident else ("r8", "r9")
    lines = ["push {r4-r11, lr}", "sub sp, sp, #28", "str r3, [sp, #24]"]
    if resident:
        lines.append(f"ldm r1!, {{r4-r{3 + len(names) * kh}}}" if len(names) * kh > 1 else "ldr r4, [r1], #4")
        lines += ["ldm r1, {r3, r10-r12, lr}", "stm sp, {r3, r10-r12, lr}"]
    else:
        lines += [f"add r3, r1, #{4 * len(names) * kh}", "ldm r3, {r3, r10-r12, lr}", "stm sp, {r3, r10-r12, lr}"]
    lines += [f"ldr {distance}, [sp, #68]", "1:", "ldr r12, [sp, #64]", "str r12, [sp, #20]", "2:", "ldr r10, [sp]"]
    lines += ["mov r11, r10", *([] if resident else ["mov r3, r1"])]
    reach = (sw + kw + 1) // 2
    for ky in range(kh):
        at = "r0" if ky == 0 else row
        if ky:
            lines.append(f"add {row}, {'r0' if ky == 1 else row}, {distance}")
        base = 4 + ky * len(names) if resident else 4
        if not resident:
            lines.append(f"ldm r3!, {{r4-r{3 + len(names)}}}" if len(names) > 1 else "ldr r4, [r3], #4")
        for first in range(0, reach, 2):
            pair = first + 1 < reach
            lines.append(f"ldrd r12, lr, [{at}, #{4 * first}]" if pair else f"ldr r12, [{at}, #{4 * first}]")
            for q, a in ((1, "r11"), (0, "r10")):
                for word, x in enumerate(("r12", "lr")[: reach - first]):
                    made = product(2 * (first + word) - q * sw, kw, names, base, x, a, a)
                    lines += [made] if made else []
    lines += ["ldrd r12, lr, [sp, #4]", "ldr r3, [sp, #12]", "lsl r10, r10, r3", "lsl r11, r11, r3"]
    for a in ("r10", "r11"):
        add = "lr"
        if scale.linear:
            lines += ["ldr r3, [sp, #16]", f"and r3, r3, {a}, asr #31", "add r3, r3, lr"]
            add = "r3"
        lines += [f"smmla {a}, {a}, r12, {add}", f"ssat {a}, #8, {a}, asr #{scale.right}", *dsp_asm.clamped(a, scale)]
    lines += ["ldr r12, [sp, #72]", f"add r0, r0, #{4 * sw}", "ldr r3, [sp, #20]", "strb r10, [r2]"]
    lines += ["subs r3, r3, #2", "str r3, [sp, #20]", "it pl", "strbpl r11, [r2, r12]", "add r2, r2, r12, lsl #1"]
    lines += ["bgt 2b", "ldrd r3, r12, [sp, #76]", "add r0, r0, r3", "add r2, r2, r12", "ldr r3, [sp, #24]"]
    return [*lines, "subs r3, r3, #1", "str r3, [sp, #24]", "bne 1b", "add sp, sp, #28", "pop {r4-r11, pc}"]


_ARGUMENTS = (
    "const int16_t *x, const int32_t *w, int8_t *o, int rows, int columns, int pitch, int out_step, int skip, "
    "int out_skip"
)
_GATHER_ARGUMENTS = "int16_t *to, const int8_t *from, int rows, int count, int step, int to_skip, int from_skip"
GATHER = [
    *["push {r4-r10, lr}", "ldr r4, [sp, #32]", "lsl r5, r4, #1", "add r6, r5, r4", "1:", "subs r7, r3, #4", "blt 3f"],
    *["2:", "ldrsb r8, [r1]", "ldrsb r9, [r1, r4]", "ldrsb r10, [r1, r5]", "ldrsb r12, [r1, r6]"],
    *["add r1, r1, r4, lsl #2", "strh r8, [r0], #2", "strh r9, [r0], #2", "strh r10, [r0], #2", "strh r12, [r0], #2"],
    *["subs r7, r7, #4", "bge 2b", "3:", "adds r7, r7, #4", "beq 5f"],
    *["4:", "ldrsb r8, [r1]", "add r1, r1, r4", "strh r8, [r0], #2", "subs r7, r7, #1", "bne 4b"],
    *["5:", "ldrd r8, r9, [sp, #36]", "add r0, r0, r8", "add r1, r1, r9", "subs r2, r2, #1", "bne 1b"],
    "pop {r4-r10, pc}",
]
"""Take rows of one channel apart from the others, as 16-bit integers."""
_PLANES = """
/* A depthwise layer; of the rows of its input and output the last ring stand in memory, all of them if 0. Of a row's
   weights, words hold the taps from each of starts (four bits each) and their right neighbours. */
struct planes {
  const int8_t *weights;
  struct scales scales;
  const int8_t *in;
  int8_t *out;
  int16_t *x;
  void (*plane)(const int16_t *, const int32_t *, int8_t *, int, int, int, int, int, int);
  uint16_t height, width, channels, out_width, out_channels, in_ring, out_ring, rows, starts;
  int8_t words, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, zero;
};
/* A channel's parameters: weights in pairs, bias, scale parameters. */
SMALL void pair_weights(int32_t *to, const struct planes *l, int channel) {
  const int kw = l->kernel_w;
  const int8_t *k = l->weights + channel * l->kernel_h * kw;
  for (int row = l->kernel_h; row > 0; --row, k += kw)
    for (int i = 0; i < l->words; ++i) {
      const int t = l->starts >> 4 * i & 15;
      *to++ = (int32_t)((uint32_t)k[t] & 0xffffu) | (t + 1 < kw ? (int32_t)((uint32_t)k[t + 1] << 16) : 0);
    }
  int32_t found[5];
  channel_of(found, &l->scales, channel);
  for (int i = 0; i < 5; ++i) *to++ = found[i];
}
/* Output rows from oy to last: tiles, one channel after the other. */
SMALL void depthwise_planes(const struct planes *l, int oy, int last) {
  const int c = l->channels, oc = l->out_channels, kh = l->kernel_h, sw = l->stride_w, ow = l->out_width;
  const int columns = (ow - 1) * sw + l->kernel_w, pitch = (columns + 1) & ~1;
  const int taken = l->width < columns - l->pad_w ? l->width : columns - l->pad_w;
  int32_t *const w = (int32_t *)(void *)(l->x + ((((l->rows - 1) * l->stride_h + kh) * pitch + 15) & ~7));
  for (; oy < last; oy += l->rows) {
    const int rows = last - oy < l->rows ? last - oy : l->rows;
    const int iy = oy * l->stride_h - l->pad_h, tall = (rows - 1) * l->stride_h + kh;
    const int top = iy < 0 ? -iy : 0, bottom = iy + tall > l->height ? l->height - iy : tall;
    const int together = l->in_ring ? 1 : bottom - top;
    fill(l->x, tall * pitch, l->zero);
    int8_t *o = l->out + (l->out_ring ? oy % l->out_ring : oy) * ow * oc;
    for (int m = 0, i = 0; i < c; ++i) {
      for (int r = top; r < bottom; r += together) {
        const int8_t *const in = l->in + (l->in_ring ? (iy + r) % l->in_ring : iy + r) * l->width * c;
        gather(l->x + r * pitch + l->pad_w, in + i, together, taken, c, 2 * (pitch - taken), (l->width - taken) * c);
      }
      for (; m < oc / c * (i + 1); ++m, ++o) {
        pair_weights(w, l, m);
        l->plane(l->x, w, o, rows, ow, 2 * pitch, oc, 2 * l->stride_h * pitch - (ow + 1) / 2 * 4 * sw,
                 (ow - ((ow + 1) & ~1)) * oc);
      }
    }
  }
}
"""
