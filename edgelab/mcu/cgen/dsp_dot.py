"""The inner loops of convolutions and dense layers, in assembly.

Register use of every kernel: r0 input, r1 weights, r2 output, r3 end of the output, r4-r7 sums, r8-r11 weights and then
scale parameters, r12 and lr input values.

Inputs stand in memory as 16-bit integers. Weights do too (`Blocks`: two pixels by two channels, 11 instructions for 16
multiply-accumulates), or as bytes that are spread while they are used (`rows`: one pixel, four channels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgelab.mcu.cgen.dsp_asm import Taps, add_immediate, clamped, scaled_out
from edgelab.mcu.cgen.dsp_scale import Scale

UNROLLED_GROUPS = 16
"""Groups of four taps that a kernel writes out at most before it becomes a loop."""


@dataclass(frozen=True)
class Blocks:
    """A kernel that makes ``pixels`` (1, 2) by ``channels`` (1, 2) outputs at a time until the output reaches its end.

    Weights are 16-bit: biases, groups of four taps of each channel, scale parameters. ``x_step`` is the distance of
    neighbouring pixels' inputs in bytes, ``out_step`` of their outputs.
    """

    pixels: int
    channels: int
    taps: Taps
    x_step: int
    out_step: int
    scale: Scale

    @property
    def sums(self) -> list[list[str]]:
        """The registers of the sums, by pixel and channel."""
        return [[f"r{4 + 2 * p + c}" for c in range(self.channels)] for p in range(self.pixels)]

    @property
    def looped(self) -> bool:
        """Whether the taps are too many to be written out."""
        return self.taps.groups * len(self.taps.offsets) > UNROLLED_GROUPS

    def lines(self) -> list[str]:
        """The instructions."""
        # In memory while loops need the registers: [sp] a counter of runs, [sp, #4] the end of the output.
        lines = ["push {r2, r3, r4-r11, lr}" if self.looped else "push {r4-r11, lr}", "1:"]
        lines.append("ldrd r4, r5, [r1], #8" if self.channels == 2 else "ldr r4, [r1], #4")
        lines += self._all_runs()
        lines += self._finish()
        lines += add_immediate("r0", self.pixels * self.x_step - self._used())
        lines += add_immediate("r1", -self._read())
        lines += add_immediate("r2", self.pixels * self.out_step)
        lines += ["ldr r12, [sp, #4]", "cmp r2, r12"] if self.looped else ["cmp r2, r3"]
        return [*lines, "bne 1b", "pop {r2, r3, r4-r11, pc}" if self.looped else "pop {r4-r11, pc}"]

    def _all_runs(self) -> list[str]:
        taps, lines = self.taps, []
        if not self.looped:
            for i in range(len(taps.offsets)):
                lines += self._run(first=i == 0)
                lines += add_immediate("r0", taps.jumps[i]) if i + 1 < len(taps.offsets) else []
            return lines
        lines = [f"mov {a}, {b}" for row in self.sums[1:] for a, b in zip(row, self.sums[0], strict=True)]
        if not self._alike():
            for jump in [*taps.jumps, 0]:
                lines += [*self._run(), *add_immediate("r0", jump)]
            return lines
        nested = taps.groups > UNROLLED_GROUPS
        lines += [f"mov r3, #{len(taps.offsets)}", "2:", *(["str r3, [sp]"] if nested else [])]
        lines += [*self._run(), *add_immediate("r0", taps.jumps[0])]
        return [*lines, *(["ldr r3, [sp]"] if nested else []), "subs r3, r3, #1", "bne 2b"]

    def _alike(self) -> bool:
        """Whether all runs are equally far apart, so that one can be looped over."""
        return len(set(self.taps.jumps)) == 1

    def _used(self) -> int:
        """How far the input's address has gone."""
        taps = self.taps
        used = taps.offsets[-1] - taps.offsets[0] + 2 * taps.values
        return used + taps.jumps[0] if self.looped and self._alike() else used

    def _read(self) -> int:
        """How far the weights' address has gone."""
        taps = 2 * len(self.taps.offsets) * self.taps.values
        stepped = self.scale.linear or self.channels == 1
        return self.channels * (4 + taps + (4 * len(self.scale.words(0)) if stepped else 0))

    def _run(self, *, first: bool = False) -> list[str]:
        """One run of taps; ``first``: the sums of the first pixel are the biases of all."""
        lines, rest = [], self.taps.groups
        if self.taps.groups > UNROLLED_GROUPS:
            unroll = unrolled(self.taps.groups)
            times, rest = divmod(self.taps.groups, unroll)
            lines += [f"mov r3, #{times}", "3:"]
            for _ in range(unroll):
                lines += self._group()
            lines += ["subs r3, r3, #1", "bne 3b"]
        for i in range(rest):
            lines += self._group(first=first and i == 0)
        return lines + (self._group(half=True, first=first and not rest) if self.taps.half else [])

    def _group(self, *, half: bool = False, first: bool = False) -> list[str]:
        words = 1 if half else 2
        count = words * self.channels
        weights = [f"r{8 + i}" for i in range(count)]
        load = {1: "ldr r8, [r1], #4", 2: "ldrd r8, r9, [r1], #8", 4: "ldm r1!, {r8-r11}"}
        lines = [load[count]]
        for p in reversed(range(self.pixels)):
            lines += _load_inputs(p, p * self.x_step, words)
            for word, x in enumerate(("r12", "lr")[:words]):
                for c, a in enumerate(self.sums[p]):
                    start = self.sums[0][c] if first and word == 0 else a
                    lines.append(f"smlad {a}, {x}, {weights[c * words + word]}, {start}")
        return lines

    def _finish(self) -> list[str]:
        scale, lines = self.scale, []
        if not scale.linear and self.channels == 2:
            lines = ["ldm r1, {r8-r12, lr}"]
            parameters = [("r8", "r9", "r10"), ("r11", "r12", "lr")]
            for p, row in enumerate(self.sums):
                for c, a in enumerate(row):
                    lines += scaled_out(a, scale, parameters[c], "", f"[r2, #{p * self.out_step + c}]")
            return lines
        names = ("r8", "r9", "r10", "r11")[: len(scale.words(0))]
        for c in range(self.channels):
            lines.append(f"ldm r1!, {{r8-{names[-1]}}}")
            for p, row in enumerate(self.sums):
                lines += scaled_out(row[c], scale, names, "r12", f"[r2, #{p * self.out_step + c}]")
        return lines


def unrolled(groups: int) -> int:
    """How many groups a loop's body holds."""
    return next((n for n in (10, 9, 8, 7, 6, 5) if groups % n == 0), 8)


def _load_inputs(pixel: int, offset: int, words: int) -> list[str]:
    """Load a pixel's next one or two pairs; a word may stand at an odd halfword, a pair of words may not."""
    if words == 1:
        return ["ldr r12, [r0], #4" if pixel == 0 else f"ldr r12, [r0, #{offset}]"]
    if pixel == 0:
        return ["ldrd r12, lr, [r0], #8"]
    if offset % 4 or offset > 1020:
        return [f"ldr r12, [r0, #{offset}]", f"ldr lr, [r0, #{offset + 4}]"]
    return [f"ldrd r12, lr, [r0, #{offset}]"]


def rows(channels: int, groups: int, scale: Scale, *, short: bool = False) -> list[str]:
    """Instructions for one pixel, ``channels`` (1 to 4) outputs at a time; weights are bytes.

    Weights of a block: biases, then for each group of four taps a word of each channel, then the scale parameters of
    each channel, or of all where they are the same. Of a word, the bytes 0 and 2 meet the first pair of inputs, the
    bytes 1 and 3 the second. ``short``: no biases, and the scale parameters are `short_words`.
    """
    sums = [f"r{4 + c}" for c in range(channels)]
    weights = [f"r{8 + c}" for c in range(channels)]

    def group() -> list[str]:
        out = [_load(weights), "ldrd r12, lr, [r0], #8"]
        for a, w in zip(sums, weights, strict=True):
            out += [f"sxtb16 r3, {w}", f"smlad {a}, r12, r3, {a}"]
            out += [f"sxtb16 {w}, {w}, ror #8", f"smlad {a}, lr, {w}, {a}"]
        return out

    begin = [f"mov {a}, #0" for a in sums] if short else [_load(sums)]
    lines = ["push {r2, r3, r4-r11, lr}", "1:", *begin]
    unroll = groups if groups <= 8 else unrolled(groups)
    body = [line for _ in range(unroll) for line in group()]
    if groups > 8:
        body = [f"mov r2, #{groups // unroll}", "2:", *body, "subs r2, r2, #1", "bne 2b"]
        body += [line for _ in range(groups % unroll) for line in group()]
    lines += [*body, "ldr r2, [sp]"]
    names = ("r8", "r9", "r10", "r11")[: len(scale.words(0))]
    if short:
        base = (scale.base() or 0) & 0xFFFFFFFF
        lines += [f"movw r3, #{base & 0xFFFF}", f"movt r3, #{base >> 16}", "mov r12, #1"]
        for a in sums:
            lines += ["ldrd r8, r9, [r1], #8", f"add {a}, {a}, r9, asr #8", f"lsl {a}, {a}, r9", "lsl r11, r12, r9"]
            lines.append("add r10, r3, r11, lsr #2")
            if scale.linear:
                lines += [f"and r11, r11, {a}, asr #31", "sub r10, r10, r11, lsr #1"]
            lines += [f"smmla {a}, {a}, r8, r10", f"ssat {a}, #8, {a}, asr #{scale.right}"]
            lines += [*clamped(a, scale), f"strb {a}, [r2], #1"]
    for i, a in enumerate([] if short else sums):
        if i == 0 or not scale.uniform:
            lines.append(_load(names))
        lines += scaled_out(a, scale, names, "r12", "[r2], #1")
    lines += [*add_immediate("r0", -8 * groups), "str r2, [sp]", "ldr r3, [sp, #4]", "cmp r2, r3", "bne 1b"]
    return [*lines, "pop {r2, r3, r4-r11, pc}"]


def short_words(scale: Scale, channel: int, bias: int) -> list[int]:
    """A channel's scale parameters in two words: the factor; the bias and, in the lowest eight bits, the shift."""
    return [scale.factors[channel], bias << 8 | scale.shifts[channel]]


def _load(registers: Sequence[str]) -> str:
    return f"ldm r1!, {{{registers[0]}-{registers[-1]}}}" if len(registers) > 1 else f"ldr {registers[0]}, [r1], #4"
