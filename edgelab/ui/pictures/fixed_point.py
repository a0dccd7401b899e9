"""Integer arithmetic of small cores: a real factor as integers bit by bit, and two products in one instruction."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from edgelab.errors import BadInput
from edgelab.ui.pictures.canvas import Canvas, short
from edgelab.ui.pictures.picture import Picture, drawn

_MOST_BITS = 16
_CELL = 30.0
_HIGH = 26.0
_ROW = 40.0
_RIGHT = 714.0


def fixed_point_multiply(total: int, mantissa: int, bits: int, shift: int, *, title: str = "") -> Picture:
    """A sum times ``mantissa / 2**bits * 2**shift`` as two roundings on integers, bit by bit.

    Parameters
    ----------
    total
        The sum, 0 to ``2**bits - 1``.
    mantissa
        The mantissa, 1 to ``2**bits - 1``.
    bits
        Of the mantissa.
    shift
        0 or below: how far the second rounding shifts to the right.
    title
        The caption; without it, the result.

    Raises
    ------
    BadInput
        If one of them is not, or the rounded product takes more than 16 bits.

    Examples
    --------
    >>> fixed_point_multiply(13, 10, 4, -1).alt.split(". ")[-1]
    'Exactly it is 4.0625.'
    """
    whole = all(isinstance(n, int) for n in (total, mantissa, bits, shift))
    if not whole or not 0 <= total < 2**bits or not 1 <= mantissa < 2**bits or shift > 0:
        raise BadInput(
            f"fixed_point_multiply() draws a sum and a mantissa below 2**bits and a shift of at most 0, not "
            f"{total}, {mantissa} of {bits} bits and {shift}."
        )
    half, second = 1 << bits >> 1, (1 << -shift) >> 1
    product = total * mantissa
    if (product + half).bit_length() > _MOST_BITS:
        raise BadInput(f"fixed_point_multiply(): {total} times {mantissa} takes more than {_MOST_BITS} bits.")
    kept = (product + half) >> bits
    result = (kept + second) >> -shift
    exact = total * mantissa / 2**bits * 2.0**shift
    width = max((product + half).bit_length(), (kept + second).bit_length() + bits, bits + 1)
    canvas = Canvas(7 * _ROW + 40)
    cut = _RIGHT - bits * _CELL
    last = -shift
    rows = (
        ("the sum", total, None, 0, "soft"),
        ("times the mantissa", mantissa, None, 0, "soft"),
        ("their product", product, bits, 0, "soft"),
        (f"plus a half, {half:,}", product + half, bits, 0, "soft"),
        (f"upper part: over {2**bits:,}", kept, 0, bits, "blue-soft"),
    )
    for row, (name, value, split, moved, fill) in enumerate(rows):
        _number(canvas, row * _ROW + 6, name, value, width, split=split, moved=moved, fill=fill)
    y = 2 * _ROW
    canvas.line(cut, y, cut, y + 3 * _ROW - 8, colour="orange", width=2.4, dash="5 4")
    canvas.text(cut + 6, 5 * _ROW - 12, "dropped", size=13, colour="orange")
    _number(canvas, 5 * _ROW + 6, f"plus a half, {second}", kept + second, width, split=None, moved=bits, fill="soft")
    _number(
        canvas, 6 * _ROW + 6, f"shifted by {last}: the answer", result, width, split=None, moved=bits, fill="green-soft"
    )
    canvas.text(
        4, 7 * _ROW + 28,
        f"Exactly: {total:,} × {mantissa:,} / {2**bits:,} / {2**last:,} = {short(exact, 6)}. In integers: {result:,}.",
    )  # fmt: skip
    return drawn(
        canvas,
        title or f"{total:,} times {short(mantissa / 2**bits * 2.0**shift, 6)} in integers: {result:,}",
        f"{total:,} times the mantissa {mantissa:,} is {product:,}. A half of {2**bits:,} is added: "
        f"{product + half:,}. The upper part, over {2**bits:,} and rounded down, is {kept:,}: the high multiply. "
        f"For the shift of {last} to the right {second} is added, "
        f"and {kept + second:,} over {2**last:,}, rounded down, is {result:,}. "
        f"Exactly it is {short(exact, 6)}.",
    )


def _number(
    canvas: Canvas, y: float, name: str, value: int, width: int, *, split: int | None, moved: int, fill: str
) -> None:
    """One row: its name, its value, and its bits, ``moved`` places to the left of the right edge."""
    canvas.text(4, y + 18, name)
    canvas.text(_RIGHT - width * _CELL - 12, y + 18, f"{value:,}", anchor="end", bold=True)
    for place in range(max(value.bit_length(), 1)):
        lower = split is not None and place < split
        x = _RIGHT - (place + 1 + moved) * _CELL
        colour = "orange-soft" if lower else ("blue-soft" if split is not None else fill)
        canvas.rect(x, y, _CELL, _HIGH, fill=colour, corner=0)
        canvas.text(x + _CELL / 2, y + 18, str(value >> place & 1), anchor="middle", bold=not lower)


def smlad(x: Sequence[int], y: Sequence[int], total: int) -> Picture:
    """What one SMLAD instruction does: two products of 16-bit numbers from two registers, and the sum so far.

    Parameters
    ----------
    x, y
        The lower and the upper half of each register, as signed 16-bit numbers.
    total
        The sum before.

    Raises
    ------
    BadInput
        If there are not two halves each, or they do not fit 16 bits.

    Examples
    --------
    >>> smlad((3, -2), (7, 5), 100).caption
    'One SMLAD: 100 + 3 × 7 + (−2) × 5 = 111'
    """
    if len(x) != 2 or len(y) != 2 or not all(_short(v) for v in (*x, *y)):
        raise BadInput(f"smlad() draws two pairs of signed 16-bit numbers, not {tuple(x)} and {tuple(y)}.")
    low, high = x[0] * y[0], x[1] * y[1]
    result = total + low + high
    canvas = Canvas(312)
    left, wide, tall = 120.0, 230.0, 44.0
    tops = {"x": 10.0, "y": 70.0}
    for name, pair in (("x", x), ("y", y)):
        top = tops[name]
        canvas.text(4, top + 27, f"register {name}", bold=True)
        for i, (value, fill) in enumerate(((pair[1], "pink-soft"), (pair[0], "blue-soft"))):
            canvas.rect(left + i * wide, top, wide, tall, fill=fill, corner=0)
            canvas.text(left + (i + 0.5) * wide, top + 28, _signed(value), anchor="middle", bold=True, size=17)
    canvas.text(left + 2 * wide + 12, 37, "32 bits: two", size=13, colour="quiet")
    canvas.text(left + 2 * wide + 12, 55, "numbers of 16", size=13, colour="quiet")
    for i, (product, words, colour) in enumerate(
        ((high, f"{_signed(x[1])} × {_signed(y[1])}", "pink"), (low, f"{_signed(x[0])} × {_signed(y[0])}", "blue"))
    ):
        middle = left + (i + 0.5) * wide
        canvas.arrow(middle, 118, middle, 146, colour=colour, width=2)
        canvas.box(middle - 80, 148, 160, 58, _signed(product), [words], fill=f"{colour}-soft", stroke=colour)
        canvas.arrow(middle, 208, left + wide + (40 if i else -40), 240, colour=colour, width=2)
    canvas.box(4, 148, 116, 58, _signed(total), ["the sum so far"])
    canvas.arrow(120, 202, left + wide - 84, 250, width=2)
    canvas.box(left + wide - 80, 242, 160, 60, _signed(result), ["the new sum"], fill="green-soft", stroke="green")
    canvas.text(left + wide + 96, 278, "all of it in one instruction", size=13, colour="quiet")
    said = (
        f"{_signed(total)} + {_factor(x[0])} × {_factor(y[0])} + {_factor(x[1])} × {_factor(y[1])} = {_signed(result)}"
    )
    return drawn(
        canvas,
        f"One SMLAD: {said}",
        f"Register x holds {_signed(x[0])} in its lower 16 bits and {_signed(x[1])} in its upper ones, register y "
        f"{_signed(y[0])} and {_signed(y[1])}. Lower times lower is {_signed(low)}, upper times upper {_signed(high)}; "
        f"with the sum so far, {_signed(total)}, the new sum is {_signed(result)}.",
    )


def _short(value: Any) -> bool:
    return isinstance(value, Integral) and -(2**15) <= int(value) < 2**15


def _signed(value: int) -> str:
    return f"{int(value):,}".replace("-", "−")


def _factor(value: int) -> str:
    return f"({_signed(value)})" if value < 0 else _signed(value)
