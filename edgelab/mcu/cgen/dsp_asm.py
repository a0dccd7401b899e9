"""The inner loops of convolutions for Cortex-M4, M7 and M33, in assembly.

Register use of every kernel: r0 input, r1 weights, r2 output, r3 end of the output, r4-r7 sums, r8-r11 weights and then
scale parameters, r12 and lr input values. All fourteen are taken, which no compiler manages; the functions are naked.

Inputs stand in memory as 16-bit integers. Weights do too (`blocks`: two pixels by two channels, 11 instructions for 16
multiply-accumulates), or as bytes that are spread while they are used (`rows`: one pixel, four channels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgelab.mcu.cgen.dsp_scale import Scale

UNROLLED_GROUPS = 16
"""Groups of four taps that a kernel writes out at most before it becomes a loop."""


@dataclass(frozen=True)
class Taps:
    """Runs of 16-bit inputs that one output needs, one for each of ``offsets`` (bytes); all of the same length.

    A run is ``groups`` of four values, and one pair more where ``half`` is set. The last values may lie beyond what the
    window covers: their weights are 0.
    """

    offsets: tuple[int, ...]
    groups: int
    half: bool

    @classmethod
    def of(cls, offsets: Sequence[int], length: int, *, whole: bool = False) -> Taps:
        """Runs of ``length`` values; ``whole``: in groups of four only."""
        rest = length % 4
        half = rest in (1, 2) and not whole
        return cls(tuple(offsets), length // 4 + (rest > 0 and not half), half)

    @property
    def values(self) -> int:
        """Values of a run, as many as it has weights."""
        return 4 * self.groups + 2 * self.half

    @property
    def jumps(self) -> list[int]:
        """Bytes from the end of each run to the next one's start."""
        return [b - a - 2 * self.values for a, b in zip(self.offsets, self.offsets[1:], strict=False)]


def naked(name: str, lines: Sequence[str], arguments: str) -> str:
    """A C function that is nothing but these instructions."""
    text = "".join(f'    "{line}\\n"\n' for line in [".syntax unified", *lines])
    return f"static __attribute__((naked, noinline)) void {name}({arguments}) {{\n  __asm__ volatile(\n{text}  );\n}}\n"


def add_immediate(register: str, amount: int, free: str = "r12") -> list[str]:
    """Instructions that add a literal."""
    if amount == 0:
        return []
    operation = "add" if amount > 0 else "sub"
    size = abs(amount)
    if size < 4096:
        return [f"{operation}w {register}, {register}, #{size}"]
    lines = [f"movw {free}, #{size & 0xFFFF}"]
    if size >> 16:
        lines.append(f"movt {free}, #{size >> 16}")
    return [*lines, f"{operation} {register}, {register}, {free}"]


def clamped(register: str, scale: Scale) -> list[str]:
    """Instructions that hold a result inside an activation range narrower than a byte."""
    lines = []
    if scale.low > -128:
        lines += [f"cmp {register}, #{scale.low}", "it lt", f"movlt {register}, #{scale.low}"]
    if scale.high < 127:
        lines += [f"cmp {register}, #{scale.high}", "it gt", f"movgt {register}, #{scale.high}"]
    return lines


def scaled_out(register: str, scale: Scale, parameters: Sequence[str], free: str, where: str) -> list[str]:
    """Bring a sum to the output's scale and store it; ``parameters``: factor, add, shift and, if linear, negative."""
    factor, add, shift, *negative = parameters
    lines = [f"lsl {register}, {register}, {shift}"]
    if negative:
        lines += [f"and {free}, {negative[0]}, {register}, asr #31", f"add {free}, {free}, {add}"]
        add = free
    lines.append(f"smmla {register}, {register}, {factor}, {add}")
    lines.append(f"ssat {register}, #8, {register}, asr #{scale.right}")
    return [*lines, *clamped(register, scale), f"strb {register}, {where}"]


def blocks(pixels: int, channels: int, taps: Taps, x_step: int, out_step: int, scale: Scale, advance: int) -> list[str]:
    """Instructions for ``pixels`` (1, 2) by ``channels`` (1, 2) outputs at a time until the output reaches its end.

    Weights are 16-bit: biases, groups of four taps of each channel, scale parameters. ``x_step`` is the distance of
    neighbouring pixels' inputs in bytes, ``out_step`` of their outputs; ``advance`` how far to go for the next block.
    """
    sums = [[f"r{4 + 2 * p + c}" for c in range(channels)] for p in range(pixels)]
    runs = len(taps.offsets)
    looped = taps.groups * runs > UNROLLED_GROUPS
    alike = len(set(taps.jumps)) == 1
    # In memory while loops need the registers: [sp] a counter of runs, [sp, #4] the end of the output.
    lines = ["push {r2, r3, r4-r11, lr}" if looped else "push {r4-r11, lr}", "1:"]
    lines.append("ldrd r4, r5, [r1], #8" if channels == 2 else "ldr r4, [r1], #4")
    state = _First(True)

    def group(half: bool = False) -> list[str]:
        if channels == 2:
            weights = ["r8", "r9"] if half else ["r8", "r9", "r10", "r11"]
            out = ["ldrd r8, r9, [r1], #8" if half else "ldm r1!, {r8-r11}"]
        else:
            weights = ["r8"] if half else ["r8", "r9"]
            out = ["ldr r8, [r1], #4" if half else "ldrd r8, r9, [r1], #8"]
        words = 1 if half else 2
        for p in reversed(range(pixels)):
            step = 4 * words if p == 0 else 0
            out += _load_inputs(p, p * x_step, words, step)
            for word, x in enumerate(("r12", "lr")[:words]):
                for c in range(channels):
                    a = sums[p][c]
                    start = sums[0][c] if state.first and word == 0 else a
                    out.append(f"smlad {a}, {x}, {weights[c * words + word]}, {start}")
        state.first = False
        return out

    if looped:
        lines += [f"mov {a}, {b}" for row in sums[1:] for a, b in zip(row, sums[0], strict=True)]
        state.first = False
    used = taps.offsets[-1] - taps.offsets[0] + 2 * taps.values

    def one_run() -> list[str]:
        out, rest = [], taps.groups
        if taps.groups > UNROLLED_GROUPS:
            unroll = _unroll(taps.groups)
            times, rest = divmod(taps.groups, unroll)
            out += [f"mov r3, #{times}", "3:"]
            for _ in range(unroll):
                out += group()
            out += ["subs r3, r3, #1", "bne 3b"]
        for _ in range(rest):
            out += group()
        return out + (group(half=True) if taps.half else [])

    if looped and alike:  # one run written out, looped over
        lines += [f"mov r3, #{runs}", "2:"]
        nested = taps.groups > UNROLLED_GROUPS
        lines += ["str r3, [sp]"] if nested else []
        lines += [*one_run(), *add_immediate("r0", taps.jumps[0])]
        lines += ["ldr r3, [sp]"] if nested else []
        lines += ["subs r3, r3, #1", "bne 2b"]
        used += taps.jumps[0]
    else:
        for run in range(runs):
            lines += one_run()
            lines += add_immediate("r0", taps.jumps[run]) if run + 1 < runs else []
    lines += _finish(sums, scale, out_step)
    lines += add_immediate("r0", advance * x_step - used)
    parameters = 4 * len(scale.words(0)) * channels
    back = channels * 4 + channels * 2 * runs * taps.values + (parameters if scale.linear or channels == 1 else 0)
    lines += add_immediate("r1", -back)
    lines += add_immediate("r2", advance * out_step)
    lines += ["ldr r12, [sp, #4]", "cmp r2, r12"] if looped else ["cmp r2, r3"]
    lines += ["bne 1b", "pop {r2, r3, r4-r11, pc}" if looped else "pop {r4-r11, pc}"]
    return lines


@dataclass
class _First:
    first: bool


def _unroll(groups: int) -> int:
    for candidate in (10, 9, 8, 7, 6, 5):
        if groups % candidate == 0:
            return candidate
    return 8


def _load_inputs(pixel: int, offset: int, words: int, step: int) -> list[str]:
    """Load a pixel's next one or two pairs; a word may stand at an odd halfword, a pair of words may not."""
    if words == 1:
        return ["ldr r12, [r0], #4" if pixel == 0 else f"ldr r12, [r0, #{offset}]"]
    if pixel == 0:
        return [f"ldrd r12, lr, [r0], #{step}"]
    if offset % 4 or offset > 1020:
        return [f"ldr r12, [r0, #{offset}]", f"ldr lr, [r0, #{offset + 4}]"]
    return [f"ldrd r12, lr, [r0, #{offset}]"]


def _finish(sums: list[list[str]], scale: Scale, out_step: int) -> list[str]:
    channels = len(sums[0])
    if not scale.linear and channels == 2:
        lines = ["ldm r1, {r8-r12, lr}"]
        parameters = [("r8", "r9", "r10"), ("r11", "r12", "lr")]
        for p, row in enumerate(sums):
            for c, a in enumerate(row):
                lines += scaled_out(a, scale, parameters[c], "", f"[r2, #{p * out_step + c}]")
        return lines
    lines = []
    for c in range(channels):
        names = ("r8", "r9", "r10", "r11") if scale.linear else ("r8", "r9", "r10")
        lines.append(f"ldm r1!, {{r8-{names[-1]}}}")
        for p, row in enumerate(sums):
            lines += scaled_out(row[c], scale, names, "r12", f"[r2, #{p * out_step + c}]")
    return lines


def rows(channels: int, groups: int, scale: Scale) -> list[str]:
    """Instructions for one pixel, ``channels`` (1 to 4) outputs at a time; weights are bytes.

    Weights of a block: biases, then for each group of four taps a word of each channel, then scale parameters. Of a
    word, the bytes 0 and 2 meet the first pair of inputs, the bytes 1 and 3 the second.
    """
    sums = [f"r{4 + c}" for c in range(channels)]
    weights = [f"r{8 + c}" for c in range(channels)]
    several = channels > 1
    load = f"ldm r1!, {{{weights[0]}-{weights[-1]}}}" if several else "ldr r8, [r1], #4"

    def group() -> list[str]:
        out = [load, "ldrd r12, lr, [r0], #8"]
        for a, w in zip(sums, weights, strict=True):
            out += [
                f"sxtb16 r3, {w}",
                f"smlad {a}, r12, r3, {a}",
                f"sxtb16 {w}, {w}, ror #8",
                f"smlad {a}, lr, {w}, {a}",
            ]
        return out

    lines = ["push {r2, r3, r4-r11, lr}", "1:"]
    lines.append(f"ldm r1!, {{{sums[0]}-{sums[-1]}}}" if several else "ldr r4, [r1], #4")
    unroll = groups if groups <= 8 else _unroll(groups)
    if groups > 8:
        lines += [f"mov r2, #{groups // unroll}", "2:"]
    for _ in range(unroll):
        lines += group()
    if groups > 8:
        lines += ["subs r2, r2, #1", "bne 2b"]
        for _ in range(groups % unroll):
            lines += group()
    lines.append("ldr r2, [sp]")
    names = ("r8", "r9", "r10", "r11") if scale.linear else ("r8", "r9", "r10")
    for a in sums:
        lines += [f"ldm r1!, {{r8-{names[-1]}}}", *scaled_out(a, scale, names, "r12", "[r2], #1")]
    lines += [*add_immediate("r0", -8 * groups), "str r2, [sp]", "ldr r3, [sp, #4]", "cmp r2, r3", "bne 1b"]
    return [*lines, "pop {r2, r3, r4-r11, pc}"]


HELPERS = {
    # Spread bytes to 16 bits in the order 0, 2, 1, 3 of every four; count is a multiple of 4.
    "spread": naked(
        "spread",
        [
            "push {r4-r7, lr}",
            "ands r3, r2, #4",
            "beq 1f",
            "ldr r4, [r1], #4",
            "sxtb16 r5, r4, ror #8",
            "sxtb16 r4, r4",
            "strd r4, r5, [r0], #8",
            "1:",
            "bics r2, r2, #7",
            "beq 3f",
            "add r2, r1, r2",
            "2:",
            "ldrd r4, r6, [r1], #8",
            "sxtb16 r5, r4, ror #8",
            "sxtb16 r4, r4",
            "sxtb16 r7, r6, ror #8",
            "sxtb16 r6, r6",
            "stm r0!, {r4-r7}",
            "cmp r1, r2",
            "bne 2b",
            "3:",
            "pop {r4-r7, pc}",
        ],
        "int16_t *to, const int8_t *from, int count",
    ),
    # Spread bytes to 16 bits in their own order; up to three values beyond count are written.
    "spread_in_order": naked(
        "spread_in_order",
        [
            "push {r4, lr}",
            "1:",
            "ldr r3, [r1], #4",
            "sxtb16 r12, r3, ror #8",
            "sxtb16 r3, r3",
            "pkhbt r4, r3, r12, lsl #16",
            "pkhtb r3, r12, r3, asr #16",
            "str r4, [r0], #4",
            "str r3, [r0], #4",
            "subs r2, r2, #4",
            "bgt 1b",
            "pop {r4, pc}",
        ],
        "int16_t *to, const int8_t *from, int count",
    ),
    "fill": (
        "static __attribute__((noinline)) void fill(int16_t *to, int count, int value) {\n"
        "  for (; count > 0; --count) *to++ = (int16_t)value;\n}\n"
    ),
}
