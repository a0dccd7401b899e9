"""Plain C99 for values chosen by place, and for functions of two values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from edgelab.mcu.cgen.ctext import Program, clamp, plus
from edgelab.mcu.cgen.lower_pairs import Pair
from edgelab.mcu.cgen.lower_picks import Pick
from edgelab.mcu.cgen.lowering import Ints, Step, strides_of
from edgelab.mcu.cgen.portable_moves import at, collapsed, nested, scaled


def pick(p: Program, step: Pick) -> None:
    """Loops over the output; places that follow no stride come from a table."""
    base, sizes = 0, list[int]()
    terms: list[str] = []
    for places in _joined(step.places):
        base += places[0]
        if len(places) == 1:
            continue
        apart = {b - a for a, b in itertools.pairwise(places)}
        name = f"i{len(sizes)}"
        if len(apart) == 1:
            terms.append(f"{name} * {apart.pop()}")
        else:
            moved = [place - places[0] for place in places]
            narrow = 0 <= min(moved) <= max(moved) < 2**16
            table = p.constant("uint16_t" if narrow else "int32_t", moved, f"places_{step.index:02d}_{len(sizes)}")
            terms.append(f"{table}[{name}]")
        sizes.append(len(places))
    place = " + ".join([str(base), *terms]) if base else " + ".join(terms) or "0"
    p.function(
        step.function,
        f"const int8_t *in = {p.addresses[step.inputs[0]]};\nint8_t *out = {p.addresses[step.outputs[0]]};\n"
        + nested(sizes or [1], f"*out++ = in[{place}];"),
    )


def _joined(axes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Neighbouring axes that one stride can walk as one."""
    joined: list[tuple[int, ...]] = []
    for places in axes:
        if joined and len(joined[-1]) > 1 and len(places) > 1:
            both = tuple(a + b for a in joined[-1] for b in places)
            if len({b - a for a, b in itertools.pairwise(both)}) == 1:
                joined[-1] = both
                continue
        joined.append(places)
    return joined


def operand(p: Program, step: Step, value: int | Ints, which: str) -> str:
    """The address of an operand, in memory or constant."""
    if isinstance(value, int):
        return p.addresses[value]
    return p.constant("int8_t", value, f"operand_{step.index:02d}_{which}")


def pair(p: Program, step: Pair) -> None:
    """A function of two values, with broadcasting."""
    sizes, (left, right, out) = collapsed(step.shape, *step.strides, strides_of(step.shape))
    a, b = (operand(p, step, value, which) for value, which in zip(step.operands, "ab", strict=True))
    x, y, zero = f"a[{at(left)}]", f"b[{at(right)}]", plus(step.zeros[2])
    x0, y0 = f"({x}{plus(-step.zeros[0])})", f"({y}{plus(-step.zeros[1])})"
    if step.code in {"MAXIMUM", "MINIMUM"}:
        sign = ">" if step.code == "MAXIMUM" else "<"
        lines = f"const int8_t x = {x}, y = {y};\nconst int8_t v = x {sign} y ? x : y;\n"
    elif step.code == "PRELU":
        above, below = (scaled(value, m) for value, m in zip(("x", f"x * {y0}"), step.multipliers, strict=True))
        lines = (
            f"const int32_t x = {x0};\nconst int32_t v = {clamp(f'(x >= 0 ? {above} : {below}){zero}', -128, 127)};\n"
        )
    else:
        first, second, last = step.multipliers
        lines = f"const int32_t d = {scaled(f'{x0} * 128', first)} - {scaled(f'{y0} * 128', second)};\n"
        lines += f"const int32_t v = {clamp(scaled('d * d', last) + zero, -128, 127)};\n"
    p.function(
        step.function,
        f"const int8_t *a = {a};\nconst int8_t *b = {b};\nint8_t *out = {p.addresses[step.outputs[0]]};\n"
        + nested(sizes, f"{lines}out[{at(out)}] = (int8_t)v;"),
    )


__all__ = ["operand", "pair", "pick"]
