"""Depthwise convolutions with DSP instructions: one channel's plane at a time, two neighbouring outputs at once.

A channel is gathered into scratch memory as 16-bit integers with the zero point around it, so that a 32-bit load brings
two neighbours of a row. SMLAD then takes two taps at once; where the two outputs need a value from the other half of a
word, SMLABB and its like pick it. Weights of windows up to 3x3 stay in registers for the whole plane. They are stored
shifted to the left, which saves the shift that requantization wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelab.mcu.cgen import dsp_asm, portable
from edgelab.mcu.cgen import packed as packing
from edgelab.mcu.cgen.ctext import Program, plus
from edgelab.mcu.cgen.dsp_asm import add_immediate, naked
from edgelab.mcu.cgen.dsp_pack import packed_scales, scale_of
from edgelab.mcu.cgen.dsp_scale import Scale
from edgelab.mcu.cgen.lowering import Convolution, Ints, Window

_RESIDENT = 6
_COLUMNS_UNROLLED = {False: 8, True: 3}
_MANY_CHANNELS = 32
_GATHER_UNROLLED = 32
_ARGUMENTS = "const int16_t *x, const int32_t *w, int8_t *o, int rows"


def fits(step: Convolution) -> bool:
    """Whether these kernels take the layer."""
    w = step.window
    if w.batch > 1 or w.dilation != (1, 1) or scale_of(step) is None:
        return False
    reach = (w.kernel[0] - 1) * pitch(w) + 4 * (w.stride[1] + w.kernel[1])
    return len(words_of(w)) <= _RESIDENT and reach < 1000 and 2 * w.out_channels < 4000 and w.channels < 2000


def scratch_bytes(step: Convolution, rows: int) -> int:
    """Scratch memory for a channel's inputs of ``rows`` output rows, and for its parameters where they are unpacked."""
    return input_bytes(step, rows) + (64 if _terse(step) else 0)


def input_bytes(step: Convolution, rows: int) -> int:
    """The part of the scratch memory that holds inputs."""
    return -(-(_tall(step.window, rows) * pitch(step.window) + 16) // 16) * 16


def _terse(step: Convolution) -> bool:
    """Whether a layer has so many channels that its parameters are stored as bytes and unpacked channel by channel.

    That costs some 60 instructions a channel, and saves 19 bytes of flash.
    """
    w, scale = step.window, scale_of(step)
    if w.out_channels < _MANY_CHANNELS or w.kernel != (3, 3) or scale is None or scale.base() is None:
        return False
    return _shifted_ahead(step, scale) and packed_scales(step, scale, _folded(step), range(w.out_channels)) is not None


def tile_rows(step: Convolution, available: int) -> int:
    """Output rows that the scratch memory at hand has room for, all of them if possible."""
    total = step.window.out_height
    return next((rows for rows in range(total, 1, -1) if scratch_bytes(step, rows) <= available), 1)


def lag(step: Convolution, rows: int) -> int:
    """How far the input has to lie behind the output if they share memory.

    A plane that is read whole may be written where it was; of a tile, every row is read again for the next channel.
    """
    w = step.window
    same = (w.height, w.width, w.channels) == (w.out_height, w.out_width, w.out_channels)
    if same and rows == w.out_height:
        return 0
    row_in, row_out = w.width * w.channels, w.out_width * w.out_channels
    starts = range(0, w.out_height, rows)
    return max(
        min(start + rows, w.out_height) * row_out - max(start * w.stride[0] - w.pad[0], 0) * row_in for start in starts
    )


def stream_rows(step: Convolution) -> int:  # noqa: ARG001 - as `dsp_conv` has it
    """The tile of a step that makes one output row at a time."""
    return 1


def pitch(w: Window) -> int:
    """Bytes from row to row: all columns of all windows, in whole words."""
    columns = (w.out_width - 1) * w.stride[1] + w.kernel[1]
    return -(-columns // 2) * 4


def _tall(w: Window, rows: int) -> int:
    return (rows - 1) * w.stride[0] + w.kernel[0]


def words_of(w: Window) -> list[tuple[int, int]]:
    """The pairs of neighbouring taps of a row that stand in registers; the second may lie beyond the window."""
    pairs: list[tuple[int, int]] = []
    kw, sw = w.kernel[1], w.stride[1]
    singles = set()
    for start in sorted({0, sw % 2}):
        if start and w.out_width == 1:
            continue
        for t in range(-start, kw, 2):
            if t >= 0 and t + 1 < kw:
                pairs.append((t, t + 1))
            else:
                singles.add(max(t, 0) if t >= 0 else 0)
    for t in sorted(singles):
        if not any(t in pair for pair in pairs):
            pairs.append((t, t + 1))
    return pairs


def depthwise(p: Program, step: Convolution, rows: int) -> None:
    """Add the layer's function, with tiles of ``rows`` output rows."""
    w = step.window
    layer = _layer_of(step)
    table = layer.parameters(step)
    parameters = _unpacked(p, step, layer, rows) if _terse(step) else _stored(p, step, table)
    lines = layer.kernel()
    kernel = p.shared(f"plane_{step.index:02d}", lambda name: naked(name, lines, _ARGUMENTS), "\n".join(lines))
    source, target = portable.places(p, step, w)
    gather_lines = gather_of(w)
    gather = p.shared(
        f"gather_{step.index:02d}",
        lambda name: naked(name, gather_lines, "int16_t *to, const int8_t *from, int rows, int zero"),
        "\n".join(gather_lines),
    )
    halves, times = pitch(w) // 2, w.out_channels // w.channels
    (kh, _), (sh, _), (ph, _) = w.kernel, w.stride, w.pad
    tall = f"(rows - 1) * {sh} + {kh}" if rows > 1 else str(kh)
    zeros = step.zero_in
    edges = ph > 0 or w.pad_after[0] > 0
    if edges:
        p.helper("fill", dsp_asm.HELPERS["fill"])
    one = "const int m = c;" if times == 1 else f"for (int m = c * {times}; m < c * {times} + {times}; ++m)"
    run = f"{one} {{\n{kernel}(x, {parameters}, {target.row('oy')} + m, rows);\n}}"
    run = run.replace("const int m = c; {", "{\nconst int m = c;")
    if step.index in p.streams:  # rows need not lie one behind the other
        take = (
            f"for (int r = top; r < bottom; ++r) {gather}(x + r * {halves}, {source.row('iy + r')} + c, 1, {zeros});\n"
        )
    else:
        take = f"{gather}(x + top * {halves}, {source.row('iy + top')} + c, bottom - top, {zeros});\n"
    border = (
        f"const int top = iy < 0 ? -iy : 0;\nconst int bottom = iy + tall > {w.height} ? {w.height} - iy : tall;\n"
        f"fill(x, top * {halves}, {zeros});\nfill(x + bottom * {halves}, (tall - bottom) * {halves}, {zeros});\n"
        if edges
        else "const int top = 0, bottom = tall;\n"
    )
    n = str(rows) if w.out_height % rows == 0 else f"oy + {rows} <= {w.out_height} ? {rows} : {w.out_height} - oy"
    tile = (
        f"const int rows = {n};\nconst int tall = {tall};\nconst int iy = oy * {sh}{plus(-ph)};\n{border}"
        f"for (int c = 0; c < {w.channels}; ++c) {{\n{take}{run}\n}}\n"
    )
    head = f"int16_t *const x = (int16_t *){p.scratches[step.index]};\n"
    if step.index in p.streams:
        p.function(step.function, head + tile, "int oy", small=True)
    elif rows == w.out_height:
        p.function(step.function, f"{head}const int oy = 0;\n{tile}", small=True)
    else:
        p.function(step.function, f"{head}for (int oy = 0; oy < {w.out_height}; oy += {rows}) {{\n{tile}}}", small=True)


def kernel_of(step: Convolution) -> list[str]:
    """The instructions of a layer's kernel."""
    return _layer_of(step).kernel()


def stored_bytes(step: Convolution) -> int:
    """Flash of a layer's weights and parameters."""
    if _terse(step):
        return (9 + 6) * step.window.out_channels
    return 4 * len(_layer_of(step).parameters(step)[0]) * step.window.out_channels


def _layer_of(step: Convolution) -> _Layer:
    scale = scale_of(step)
    if scale is None:
        raise AssertionError(step.function)
    return _Layer(step.window, scale, _shifted_ahead(step, scale), step.terse)


def _stored(p: Program, step: Convolution, table: list[list[int]]) -> str:
    """The address of channel ``m``'s parameters, all of them ready in flash."""
    weights = p.constant("int32_t", np.array(table), f"weights_{step.index:02d}")
    return f"{weights} + m * {len(table[0])}"


def _unpacked(p: Program, step: Convolution, layer: _Layer, rows: int) -> str:
    """The address of channel ``m``'s parameters, unpacked into scratch memory."""
    w, scale = step.window, layer.scale
    packing.helper(p)
    p.helper("unpack", _UNPACK)
    short = packed_scales(step, scale, _folded(step), range(w.out_channels))
    if short is None:
        raise AssertionError(step.function)
    taps = p.constant("int8_t", step.weights.reshape(9, w.out_channels).T, f"weights_{step.index:02d}")
    scales = p.constant("uint16_t", short.words, f"scales_{step.index:02d}")
    pairs = words_of(w)
    second = pairs[1][0] if len(pairs) > 1 else 0
    fields = f"{taps}, {scales}, {short.high}u, {short.low}u, {scale.base()}, {short.shift}, {second}, "
    name = p.structure("packed_plane", f"layer_{step.index:02d}", f"{fields}{int(scale.linear)}")
    return f"unpack((int32_t *)(void *)({p.scratches[step.index]} + {input_bytes(step, rows)}), &{name}, m)"


def _shifted_ahead(step: Convolution, scale: Scale) -> bool:
    """Whether 16 bits hold every weight shifted as requantization wants it."""
    shifts = np.array(scale.shifts)
    folded = _folded(step) << shifts
    return bool((np.abs(step.weights) << shifts).max() < 2**15 and np.abs(folded).max() < 2**31)


def _folded(step: Convolution) -> Ints:
    return np.asarray(step.bias - step.zero_in * step.weights.sum(axis=(0, 1)), np.int64)


@dataclass(frozen=True)
class _Layer:
    """What the kernel's instructions depend on."""

    w: Window
    scale: Scale
    shifted: bool
    terse: bool = False

    @property
    def resident(self) -> bool:
        """Whether all weights stay in registers."""
        return len(words_of(self.w)) * self.w.kernel[0] <= _RESIDENT

    def parameters(self, step: Convolution) -> list[list[int]]:
        """The words of every channel."""
        biases = _folded(step)
        return [self._parameters(step, channel, int(biases[channel])) for channel in range(self.w.out_channels)]

    def _parameters(self, step: Convolution, channel: int, bias: int) -> list[int]:
        """A channel's words: weights in pairs, then bias, factor, add, and what else is needed."""
        shift = self.scale.shifts[channel] if self.shifted else 0
        kernel = step.weights[:, :, channel] << shift
        words = []
        for row in kernel.tolist():
            for low, high in words_of(self.w):
                pair = row[low] & 0xFFFF | ((row[high] if high < len(row) else 0) & 0xFFFF) << 16
                words.append(pair - (pair >> 31 << 32))
        words += [bias << shift, self.scale.factors[channel], self.scale.adds[channel]]
        if self.scale.linear:
            words.append(self.scale.negatives[channel])
        if not self.shifted:
            words.append(self.scale.shifts[channel])
        return words

    def kernel(self) -> list[str]:
        """Instructions for ``rows`` rows of one channel."""
        w = self.w
        pairs, odd = divmod(w.out_width, 2)
        step_out, step_in = 2 * w.out_channels, 4 * w.stride[1]
        words = len(words_of(w)) * w.kernel[0]
        unroll = min(pairs, _COLUMNS_UNROLLED[self.terse])
        while unroll > 1 and (unroll * step_out > 4095 or unroll * step_in + (w.kernel[0] - 1) * pitch(w) > 900):
            unroll -= 1
        loops, rest = divmod(pairs, max(unroll, 1))
        # [sp]: rows; [sp, #4]: counter of columns
        lines = ["push {r3-r11, lr}", "sub sp, sp, #8", "str r3, [sp]"]
        if self.resident:
            lines.append(f"ldm r1!, {{r4-r{3 + words}}}")
        else:
            lines += add_immediate("r1", 4 * words)
        lines.append("1:")

        def columns(count: int) -> list[str]:
            out = []
            for i in range(count):
                out += self._outputs(2, i * step_in, i * step_out)
            return [*out, *add_immediate("r0", count * step_in), *add_immediate("r2", count * step_out)]

        if loops > 1:
            lines += [f"mov r3, #{loops}", "str r3, [sp, #4]", "2:", *columns(unroll)]
            lines += ["ldr r3, [sp, #4]", "subs r3, r3, #1", "str r3, [sp, #4]", "bne 2b"]
        elif loops:
            lines += columns(unroll)
        if rest:
            lines += columns(rest)
        if odd:
            lines += self._outputs(1, 0, 0)
        lines += add_immediate("r0", w.stride[0] * pitch(w) - pairs * step_in)
        lines += add_immediate("r2", w.out_width * w.out_channels - pairs * step_out)
        lines += ["ldr r3, [sp]", "subs r3, r3, #1", "str r3, [sp]", "bne 1b", "add sp, sp, #8", "pop {r3-r11, pc}"]
        return _merged(lines)

    def _outputs(self, count: int, x: int, o: int) -> list[str]:
        """One or two neighbouring outputs; offsets in bytes of their inputs and of themselves."""
        w = self.w
        kw, sw = w.kernel[1], w.stride[1]
        sums = ["r10", "r11"][:count]
        names = words_of(w)
        lines = ["ldr r10, [r1]"]
        fresh = {q: q > 0 for q in range(count)}
        if not self.resident:
            lines += add_immediate("r3", 0) or [f"sub r3, r1, #{4 * len(names) * w.kernel[0]}"]
        if count == 2 and sw > 1:
            lines.append("mov r11, r10")
            fresh[1] = False
        reach = ((count - 1) * sw + kw + 1) // 2
        for ky in range(w.kernel[0]):
            base = 4 if not self.resident else 4 + ky * len(names)
            if not self.resident:
                last = f"r{3 + len(names)}"
                lines.append(f"ldm r3!, {{r4-{last}}}" if len(names) > 1 else "ldr r4, [r3], #4")
            for first in range(0, reach, 2):
                at = x + ky * pitch(w) + 4 * first
                lines.append(f"ldrd r12, lr, [r0, #{at}]" if first + 1 < reach else f"ldr r12, [r0, #{at}]")
                for q in reversed(range(count)):
                    for word, register in enumerate(("r12", "lr")[: reach - first]):
                        t = 2 * (first + word) - q * sw
                        made = product(t, kw, names, base, register, sums[q], "r10" if fresh[q] else sums[q])
                        if made:
                            lines.append(made)
                            fresh[q] = False
        return lines + self._finish(sums, o)

    def _finish(self, sums: Sequence[str], o: int) -> list[str]:
        lines = []
        at = 12 + 4 * self.scale.linear
        if not self.shifted:
            lines += [f"ldr r3, [r1, #{at}]", *(f"lsl {a}, {a}, r3" for a in sums)]
        lines.append("ldrd r12, lr, [r1, #4]")
        for q, a in enumerate(sums):
            add = "lr"
            if self.scale.linear:
                lines += ["ldr r3, [r1, #12]", f"and r3, r3, {a}, asr #31", "add r3, r3, lr"]
                add = "r3"
            lines += [f"smmla {a}, {a}, r12, {add}", f"ssat {a}, #8, {a}, asr #{self.scale.right}"]
            lines += dsp_asm.clamped(a, self.scale)
            lines.append(f"strb {a}, [r2, #{o + q * self.w.out_channels}]")
        return lines


def product(t: int, kw: int, names: list[tuple[int, int]], base: int, x: str, a: str, start: str) -> str | None:
    """The instruction that multiplies the word whose halves are the taps ``t`` and ``t + 1``."""
    if t >= 0 and t + 1 < kw:
        return f"smlad {a}, {x}, r{base + names.index((t, t + 1))}, {start}"
    for tap, half in ((t, "b"), (t + 1, "t")):
        if 0 <= tap < kw:
            number = next(i for i, pair in enumerate(names) if tap in pair)
            place = "b" if names[number][0] == tap else "t"
            return f"smla{half}{place} {a}, {x}, r{base + number}, {start}"
    return None


def _merged(lines: list[str]) -> list[str]:
    """Join neighbouring additions to one register."""
    out: list[str] = []
    for line in lines:
        parts = line.split()
        if out and parts[0] in ("addw", "subw") and out[-1].split()[0] in ("addw", "subw"):
            before = out[-1].split()
            if before[1] == parts[1]:
                total = sum(int(s[3][1:]) * (1 if s[0] == "addw" else -1) for s in (before, parts))
                if abs(total) < 4096:
                    out[-1:] = add_immediate(parts[1].rstrip(","), total)
                    continue
        out.append(line)
    return out


def gather_of(w: Window) -> list[str]:
    """Instructions that take one channel's rows apart from the others: r0 to, r1 from, r2 rows, r3 zero point.

    Rows are written with their borders: eight values at a time, two to a word.
    """
    taken = min(w.width, pitch(w) // 2 - w.pad[1])
    values = [i - w.pad[1] if 0 <= i - w.pad[1] < taken else None for i in range(pitch(w) // 2)]
    lines = ["push {r4-r7, lr}", "1:"]
    at = 0
    for first in range(0, len(values), 8):
        chunk = values[first : first + 8]
        registers = []
        for i in range(0, len(chunk), 2):
            r = f"r{4 + i // 2}"
            low, high = chunk[i], chunk[i + 1]
            halves = []
            for value, free in ((low, r), (high, "r12")):
                if value is None:
                    halves.append("r3")
                    continue
                if value * w.channels - at > 4095:
                    step = value * w.channels - at
                    lines += add_immediate("r1", step, "lr")
                    at += step
                lines.append(f"ldrsb {free}, [r1, #{value * w.channels - at}]")
                halves.append(free)
            lines.append(f"pkhbt {r}, {halves[0]}, {halves[1]}, lsl #16")
            registers.append(r)
        lines.append(f"stm r0!, {{{', '.join(registers)}}}")
    lines += add_immediate("r1", w.width * w.channels - at, "lr")
    return [*lines, "subs r2, r2, #1", "bne 1b", "pop {r4-r7, pc}"]


_UNPACK = """
/* A channel's parameters for a 3x3 kernel: weights shifted and in pairs (taps 0 and 1, then 1 and 2, or 2 alone), bias,
   factor, what is added. */
struct packed_plane {
  const int8_t *weights;
  const uint16_t *scales;
  uint32_t high, low;
  int32_t base;
  uint8_t shift, second, linear;
};
LAYER const int32_t *unpack(int32_t *to, const struct packed_plane *l, int channel) {
  const int8_t *k = l->weights + channel * 9;
  int32_t *w = to + 6;
  unpacked(w, l->scales + channel * 3, l->high, l->low);
  const int shift = w[2] + l->shift, second = l->second == 1;
  w[0] *= 1 << shift;
  w[2] = l->base + (1 << (shift - 2));
  if (l->linear) w[3] = -(1 << (shift - 1));
  w = to;
  for (int row = 0; row < 3; ++row, k += 3) {
    const int32_t one = k[1] * (1 << shift), two = k[2] * (1 << shift);
    *w++ = (int32_t)((uint32_t)(k[0] * (1 << shift)) & 0xffffu) | (int32_t)((uint32_t)one << 16);
    *w++ = second ? (int32_t)((uint32_t)one & 0xffffu) | (int32_t)((uint32_t)two << 16)
                  : (int32_t)((uint32_t)two & 0xffffu);
  }
  return to;
}
"""
