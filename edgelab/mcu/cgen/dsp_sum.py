"""ADD and SUB of two whole tensors in six instructions an element, exact.

What the interpreter computes from two bytes through three fixed-point multipliers is, over all 65,536 pairs of bytes,
very nearly ``(a * P + b * Q + C) >> s``. Integers P, Q and C for which it is the same everywhere are searched for;
where rounding leaves none, the plain code stays.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelab.mcu.cgen import portable_moves
from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.dsp_asm import naked
from edgelab.mcu.cgen.fixed import Multiplier
from edgelab.mcu.cgen.lowering import Binary, strides_of

_UNROLLED = 8
_NEIGHBOURS = 3
_BYTES = np.arange(-128, 128, dtype=np.int64)


@dataclass(frozen=True)
class Linear:
    """``ssat8((a * first + b * second + add) >> shift)``."""

    first: int
    second: int
    add: int
    shift: int

    def apply(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the instructions compute."""
        return np.asarray(np.clip((a * self.first + b * self.second + self.add) >> self.shift, -128, 127), np.int64)


def fits(step: Binary) -> bool:
    """Whether the step is the sum of two tensors of one shape that a `Linear` gives exactly."""
    whole = all(s == strides_of(step.shape) for s in step.strides)
    narrow = (step.low, step.high) != (-128, 127)
    return step.code in ("ADD", "SUB") and whole and not narrow and linear(step) is not None


def reference(step: Binary) -> NDArray[np.int64]:
    """The result for all pairs of bytes, before the activation cuts it: rows by the first operand."""

    def scaled(x: NDArray[np.int64], m: Multiplier) -> NDArray[np.int64]:
        left, right = max(m.shift, 0), max(-m.shift, 0)
        v = np.asarray(((x << left) * m.value + 2**30) >> 31, np.int64)
        return v if right == 0 else np.asarray((v + (1 << (right - 1)) - (v < 0)) >> right, np.int64)

    one = scaled((_BYTES - step.zeros[0]) << 20, step.multipliers[0])
    two = scaled((_BYTES - step.zeros[1]) << 20, step.multipliers[1])
    raw = one[:, None] + two[None, :] if step.code == "ADD" else one[:, None] - two[None, :]
    return scaled(raw, step.multipliers[2]) + step.zeros[2]


def linear(step: Binary) -> Linear | None:
    """The integers that give the step's results for all pairs of bytes, if there are any."""
    return _search(step.code, step.zeros, step.multipliers)


@functools.lru_cache(maxsize=256)
def _search(
    code: str, zeros: tuple[int, int, int], multipliers: tuple[Multiplier, Multiplier, Multiplier]
) -> Linear | None:
    step = Binary(0, code, (), (), (1,), (0, 0), ((1,), (1,)), zeros, multipliers, -128, 127)
    wanted = np.clip(reference(step), -128, 127)
    first, second, last = (m.value / 2**31 * 2.0**m.shift for m in multipliers)
    slopes = first * 2**20 * last, (second if code == "ADD" else -second) * 2**20 * last
    largest = max(abs(slopes[0]) + abs(slopes[1]), 1e-9) * 128 + 384
    shift = min(int(np.floor(np.log2(2**31 / largest))), 30)
    if shift < 8:
        return None
    centre = [round(s * 2**shift) for s in slopes]
    low = np.where(wanted > -128, wanted << shift, -(2**62))
    high = np.where(wanted < 127, ((wanted + 1) << shift) - 1, 2**62)
    steps = sorted(range(-_NEIGHBOURS, _NEIGHBOURS + 1), key=abs)
    for p in steps:
        for q in steps:
            a, b = centre[0] + p, centre[1] + q
            product = _BYTES[:, None] * a + _BYTES[None, :] * b
            least, most = int((low - product).max()), int((high - product).min())
            if least <= most:
                add = (least + most) // 2
                if np.abs(product + add).max() < 2**31 and abs(add) < 2**31:
                    return Linear(a, b, add, shift)
    return None


def binary(p: Program, step: Binary) -> None:
    """Add the layer's function."""
    found = linear(step)
    if found is None:
        raise AssertionError(step.function)
    addresses, target, elements, argument = portable_moves.rows(p, step, int(np.prod(step.shape)))
    if step.shared:
        _shared(p, step, found, elements)
        return
    lines = _kernel(found, elements)
    kernel = p.shared(
        f"sum_{step.index:02d}",
        lambda name: naked(name, lines, "const int8_t *a, const int8_t *b, int8_t *out"),
        "\n".join(lines),
    )
    a, b = portable_moves.operands(p, step, addresses)
    p.function(step.function, f"{kernel}({a}, {b}, {target});", argument, small=True)


def _shared(p: Program, step: Binary, found: Linear, elements: int) -> None:
    """A structure and a call; of a row, the structure is made when it is its turn."""
    p.helper("sums", f"{_STRUCTURE}{naked('sums', SUMS, 'const struct sums *s')}")
    addresses, out, count, argument = portable_moves.rows(p, step, elements)
    a, b = portable_moves.operands(p, step, addresses)
    fields = f"{a}, {b}, {out}, {out} + {count}, {found.first}, {found.second}, {found.add}, {found.shift}"
    if step.index in p.streams:
        p.function(step.function, f"const struct sums s = {{{fields}}};\nsums(&s);", argument, small=True)
        return
    p.function(step.function, f"sums(&{p.structure('sums', f'layer_{step.index:02d}', fields)});", small=True)


_STRUCTURE = """
/* A sum of two tensors: (a * first + b * second + add) >> shift, cut to a byte. */
struct sums {
  const int8_t *a, *b;
  int8_t *out, *end;
  int32_t first, second, add, shift;
};
"""
_ONE = [
    *["ldrsb r8, [r0], #1", "ldrsb r9, [r1], #1", "mla r8, r8, r4, r6", "mla r8, r9, r5, r8"],
    *["asr r8, r8, r7", "ssat r8, #8, r8", "strb r8, [r2], #1"],
]
SUMS = [
    *["push {r4-r9, lr}", "ldm r0, {r0-r7}", "sub r8, r3, r2", "lsrs r8, r8, #1", "bcs 2f"],
    *["1:", *_ONE, "2:", *_ONE, "cmp r2, r3", "bne 1b", "pop {r4-r9, pc}"],
]


def _kernel(linear: Linear, elements: int) -> list[str]:
    def constant(register: str, value: int) -> list[str]:
        value &= 0xFFFFFFFF
        return [f"movw {register}, #{value & 0xFFFF}", f"movt {register}, #{value >> 16}"]

    def sums(count: int) -> list[str]:
        out = []
        for _ in range(count):
            out += ["ldrsb r7, [r0], #1", "ldrsb r12, [r1], #1", "mla r7, r7, r4, r6", "mla r7, r12, r5, r7"]
            out += [f"ssat r7, #8, r7, asr #{linear.shift}", "strb r7, [r2], #1"]
        return out

    blocks, rest = divmod(elements, _UNROLLED)
    lines = ["push {r4-r7, lr}", *constant("r4", linear.first), *constant("r5", linear.second)]
    lines += constant("r6", linear.add)
    if blocks:
        lines += [*constant("r3", blocks), "1:", *sums(_UNROLLED), "subs r3, r3, #1", "bne 1b"]
    return [*lines, *sums(rest), "pop {r4-r7, pc}"]
