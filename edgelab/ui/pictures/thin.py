"""A matrix and the two thin ones whose product stands for it, drawn to scale."""

from __future__ import annotations

from edgelab.errors import BadInput
from edgelab.ui.pictures.canvas import WIDTH, Canvas
from edgelab.ui.pictures.picture import Picture, drawn

_LONGEST = 200.0
_THINNEST = 5.0


def thin_product(rows: int, columns: int, rank: int, *, title: str = "") -> Picture:
    """A matrix of ``rows`` x ``columns`` beside its two thin factors, all to one scale, with their counts of numbers.

    Raises
    ------
    BadInput
        If a side is below 1, or the rank is not between 1 and the smaller side.

    Examples
    --------
    >>> thin_product(8, 12, 2).alt
    'One matrix of 8 x 12 holds 96 numbers; 8 x 2 and 2 x 12 hold 40.'
    """
    if min(rows, columns) < 1 or not 1 <= rank <= min(rows, columns):
        raise BadInput(f"thin_product(): rank={rank} has to be from 1 to the smaller side of {rows} x {columns}.")
    unit = _LONGEST / max(rows, columns)
    high, wide, thin = (max(_THINNEST, n * unit) for n in (rows, columns, rank))
    top = 34.0
    canvas = Canvas(top + max(high, thin) + 40)
    middle = top + high / 2
    x = 20.0
    canvas.rect(x, top, wide, high, fill="blue-soft", stroke="blue", corner=2)
    canvas.text(max(x + wide / 2, 70), top - 12, f"{rows:,} x {columns:,}", anchor="middle", size=14)
    canvas.text(x, top + high + 26, f"{rows * columns:,} numbers", bold=True, size=14)
    x = 300.0
    canvas.text(x - 42, middle + 7, "≈", size=24, bold=True)
    canvas.rect(x, top, thin, high, fill="orange-soft", stroke="orange", corner=2)
    canvas.text(x + thin / 2, top - 12, f"{rows:,} x {rank:,}", anchor="middle", size=14)
    x = min(x + thin + 90, WIDTH - wide - 20)
    canvas.text(x - 40, middle + 7, "·", size=28, bold=True)
    canvas.rect(x, middle - thin / 2, wide, thin, fill="green-soft", stroke="green", corner=2)
    canvas.text(x + wide / 2, middle - thin / 2 - 12, f"{rank:,} x {columns:,}", anchor="middle", size=14)
    after = rank * (rows + columns)
    canvas.text(300, top + high + 26, f"{after:,} numbers together", bold=True, size=14)
    return drawn(
        canvas,
        title or f"One matrix of {rows * columns:,} numbers, or two of {after:,} together",
        f"One matrix of {rows:,} x {columns:,} holds {rows * columns:,} numbers; "
        f"{rows:,} x {rank:,} and {rank:,} x {columns:,} hold {after:,}.",
    )
