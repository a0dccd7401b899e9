"""From a range of real numbers to integers: what becomes of each number of a small patch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.ui.pictures.canvas import WIDTH, Canvas, scale_of, short, text_width
from edgelab.ui.pictures.picture import Picture, drawn
from edgelab.ui.series import numbers

MOST_VALUES = 25
MOST_BITS = 8
_LEFT, _RIGHT = 44.0, WIDTH - 44.0
_LABEL_ROWS = 4


def range_to_integers(
    values: ArrayLike, scale: float, zero_point: int = 0, bits: int = 8, *, signed: bool = False, title: str = ""
) -> Picture:
    """A patch of real values over the integers they become, with the largest error marked.

    Drawn as the affine mapping has it: ``q = clip(round(x / scale) + zero_point)``, and back ``scale * (q -
    zero_point)``; halves are rounded to even, as in ONNX.

    Parameters
    ----------
    values
        One row or a small table of real numbers, at most 25.
    scale
        The step between two neighbouring integers, in the unit of ``values``; above 0.
    zero_point
        The integer that stands for 0.
    bits
        1 to 8; the integers run from 0 to ``2**bits - 1``, or from ``-2**(bits - 1)`` if ``signed``.
    title
        The caption; without it, the scale, the number of bits and the largest error.

    Raises
    ------
    BadInput
        If there are no values or too many, or the settings make no mapping.

    Examples
    --------
    >>> picture = range_to_integers([[0.0, 0.7], [1.3, 2.4]], scale=0.16, bits=4)
    >>> "0.7 becomes 4" in picture.alt
    True
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64)) if np.ndim(values) <= 2 else None
    if table is None or not 1 <= table.size <= MOST_VALUES:
        raise BadInput(f"range_to_integers() draws a row or a table of 1 to {MOST_VALUES} numbers.")
    flat = numbers(table.ravel(), "values").values
    if not 1 <= bits <= MOST_BITS:
        raise BadInput(f"range_to_integers(): bits={bits} must be between 1 and {MOST_BITS}.")
    if not (np.isfinite(scale) and scale > 0):
        raise BadInput(f"range_to_integers(): scale={scale} must be above 0.")
    lowest = -(2 ** (bits - 1)) if signed else 0
    highest = lowest + 2**bits - 1
    if not lowest <= zero_point <= highest:
        raise BadInput(f"range_to_integers(): zero_point={zero_point} is not one of {lowest} to {highest}.")
    wanted = np.rint(flat / scale).astype(np.int64) + zero_point
    integers = np.clip(wanted, lowest, highest)
    back = (scale * (integers - zero_point)).astype(np.float64)
    worst = int(np.argmax(np.abs(flat - back)))
    clipped = wanted != integers

    texts = [[short(v) for v in row] for row in table]
    row, column = (int(n) for n in np.unravel_index(worst, table.shape))
    ends = scale * (np.array([lowest, highest]) - zero_point)
    low, high = min(float(flat.min()), ends[0]), max(float(flat.max()), ends[1])
    place = scale_of(low, high, _LEFT, _RIGHT)
    labels = _label_rows(flat, place)
    grid_high = 30.0 * len(table) if len(table) > 2 else 30.0 * len(table) + (46 if len(table) == 1 else 18)
    line_y = grid_high + 64 + 20 * max(labels.values())
    cells_y = line_y + 92
    canvas = Canvas(cells_y + 76)
    wide = min(56.0, (WIDTH - (330 if len(table) > 1 else 20)) / table.shape[1])
    canvas.grid(8, 4, texts, cell=(wide, 30), marked=(row, column))
    path = " → ".join(short(float(n)) for n in (flat[worst], integers[worst], back[worst]))
    facts = [
        f"scale {short(scale)}, zero point {short(zero_point)}, integers {short(lowest)} to {short(highest)}",
        f"largest error {short(float(abs(flat[worst] - back[worst])))}: {path}",
    ]
    x, y = (8 + wide * table.shape[1] + 24, 26.0) if len(table) > 1 else (8.0, 56.0)
    canvas.text(x, y, facts[0])
    canvas.text(x, y + 24, facts[1], colour="orange", bold=True)

    canvas.line(_LEFT - 14, line_y, _RIGHT + 14, line_y, colour="ink", width=2)
    canvas.text(_LEFT - 14, line_y - 16 - 20 * max(labels.values()) - 18, "real numbers", colour="quiet", size=13)
    _labels(canvas, flat, labels, place, line_y, worst)
    step = place(low + scale) - place(low)
    _cells(canvas, range(lowest, highest + 1), zero_point, scale, place, cells_y, step, set(integers.tolist()))
    for i in sorted(range(len(flat)), key=lambda i: i == worst):
        x, to = place(float(flat[i])), place(float(back[i]))
        colour = "orange" if i == worst else "blue"
        canvas.arrow(x, line_y + 7, to, cells_y - 3, colour=colour, width=2.8 if i == worst else 1.6)
        canvas.dot(x, line_y, colour=colour, radius=6 if i == worst else 4.5)
    _error(canvas, place(float(flat[worst])), place(float(back[worst])), line_y, cells_y)
    caption = title or (
        f"{2**bits} integers, {short(scale)} apart: the largest error is {short(abs(flat[worst] - back[worst]))}"
    )
    return drawn(canvas, caption, _words(flat, integers, back, worst, clipped, scale))


def _label_rows(flat: NDArray[np.float64], place: Callable[[float], float]) -> dict[int, int]:
    """For each value whose label has room the row over the line in which it stands, 0 the nearest."""
    ends = [-1e9] * _LABEL_ROWS
    rows: dict[int, int] = {}
    seen: set[str] = set()
    for i in np.argsort(flat):
        words = short(float(flat[i]))
        x, half = place(float(flat[i])), text_width(words, 14) / 2 + 4
        row = next((r for r, end in enumerate(ends) if x - half > end), None)
        if row is not None and words not in seen:  # without room, the value still stands in the grid
            ends[row] = x + half
            rows[int(i)] = row
        seen.add(words)
    return rows


def _labels(
    canvas: Canvas,
    flat: NDArray[np.float64],
    rows: dict[int, int],
    place: Callable[[float], float],
    line_y: float,
    worst: int,
) -> None:
    for i, row in rows.items():
        x, y = place(float(flat[i])), line_y - 13 - 20 * row
        if row:
            canvas.line(x, y + 4, x, line_y - 6, colour="grid", width=1.2)
        colour = "orange" if i == worst else "ink"
        canvas.text(x, y, short(float(flat[i])), anchor="middle", size=14, colour=colour, bold=i == worst)


def _cells(
    canvas: Canvas,
    integers: Sequence[int],
    zero_point: int,
    scale: float,
    place: Callable[[float], float],
    y: float,
    step: float,
    used: set[int],
) -> None:
    """The integers as boxes at the places they stand for; where there is room each has its number and its value."""
    wide = min(step - 3, 34) if step > 8 else max(step - 0.6, 0.8)
    every = 2 ** int(np.ceil(np.log2(max(1.0, 60 / step))))
    ends: dict[int, float] = {}
    for q in integers:
        x = place(scale * (q - zero_point))
        on = q in used
        canvas.rect(
            x - wide / 2,
            y,
            wide,
            28,
            fill="blue-soft" if on else "soft",
            stroke=("blue" if on else "line") if step > 8 else ("blue" if on else ""),
            line=2 if on else 1,
            corner=3 if step > 8 else 0,
        )
        inside = step >= 22
        if inside or q in (integers[0], integers[-1], zero_point) or (q % every == 0 and integers[-1] - q > every / 2):
            canvas.text(x, y + (19 if inside else 44), short(q), anchor="middle", size=14, bold=on and inside)
        ends[q] = x
    if step >= 22:
        last = -1e9
        for q in sorted(used):
            words = short(scale * (q - zero_point))
            half = text_width(words, 13) / 2 + 2
            if ends[q] - half > last:
                canvas.text(ends[q], y + 46, words, anchor="middle", size=13, colour="quiet")
                last = ends[q] + half
    canvas.text(_LEFT - 14, y + 68, "integers, and the real number each stands for", size=13, colour="quiet")


def _error(canvas: Canvas, x: float, to: float, line_y: float, cells_y: float) -> None:
    """How far what comes back lies from the value, as a bar over the integers."""
    if abs(to - x) >= 1:
        canvas.line(x, line_y + 8, x, cells_y - 7, colour="orange", width=1.2, dash="3 3")
        canvas.line(x, cells_y - 9, to, cells_y - 9, colour="orange", width=3.5)


def _words(
    flat: NDArray[np.float64],
    integers: NDArray[np.int64],
    back: NDArray[np.float64],
    worst: int,
    clipped: NDArray[np.bool_],
    scale: float,
) -> str:
    parts = []
    known: set[float] = set()
    for value, q, real in zip(flat, integers, back, strict=True):
        if float(value) not in known:
            known.add(float(value))
            parts.append(f"{short(value)} becomes {short(float(q))} and comes back as {short(real)}")
    far = abs(flat[worst] - back[worst])
    beyond = int(clipped.sum())
    lost = (
        "1 value lies beyond the range and is clipped" if beyond == 1 else f"{beyond} values lie beyond and are clipped"
    )
    return (
        f"A number line with {len(flat)} real values above the integers, one every {short(scale)}. "
        f"{'; '.join(parts)}. The largest error is {short(far)}, of {short(flat[worst])}"
        f"{f'; {lost}' if beyond else ''}."
    )
