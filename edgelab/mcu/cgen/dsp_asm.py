"""Assembly for Cortex-M4, M7 and M33: what the kernels of all layers share.

The functions are naked, nothing but their instructions: the loops use all fourteen registers, which no compiler
manages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgelab.mcu.cgen.dsp_scale import Scale


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
