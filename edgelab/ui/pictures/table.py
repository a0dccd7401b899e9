"""A small table of worked numbers: what a reader would do by hand, row by row."""

from __future__ import annotations

import html
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from edgelab.errors import BadInput
from edgelab.ui.pictures.canvas import short
from edgelab.ui.pictures.picture import SELECTOR, Picture

MOST_ROWS = 20
_STYLE = (
    f"<style>{SELECTOR} table{{border-collapse:collapse;font-size:15px;margin:0;border:0}}"
    f"{SELECTOR} th,{SELECTOR} td{{padding:4px 14px;text-align:right;border:0;border-bottom:1px solid var(--el-grid);"
    "background:transparent;color:var(--el-ink);font-variant-numeric:tabular-nums;white-space:nowrap}"
    f"{SELECTOR} thead th{{border-bottom:2px solid var(--el-line);font-weight:600}}"
    f"{SELECTOR} .words{{text-align:left}}{SELECTOR} tr.marked td{{background:var(--el-orange-soft);font-weight:600}}"
    f"{SELECTOR} .scroll{{overflow-x:auto}}</style>"
)


def worked_table(
    rows: Sequence[Mapping[str, Any]],
    caption: str,
    *,
    marked: int | None = None,
    mark: str = "largest",
    digits: int = 3,
) -> Picture:
    """Worked numbers as a table: one row a case, one column a step of the calculation.

    Parameters
    ----------
    rows
        Each a mapping of the column's heading to a number or a text; all with the headings of the first.
    caption
        What is worked out.
    marked
        The row that stands out, from 0; it carries the word ``mark`` as well as a colour.
    mark
        The word.
    digits
        Significant digits of numbers.

    Raises
    ------
    BadInput
        If there are no rows or more than 20, headings differ, or there is no such row to mark.

    Examples
    --------
    >>> table = worked_table([{"x": 0.7, "q": 4, "back": 0.64}, {"x": 1.3, "q": 8, "back": 1.28}], "Two numbers")
    >>> table.alt
    'x 0.7, q 4, back 0.64; x 1.3, q 8, back 1.28.'
    """
    if not 1 <= len(rows) <= MOST_ROWS:
        raise BadInput(f"worked_table() shows 1 to {MOST_ROWS} rows; there are {len(rows)}.")
    headings = [str(name) for name in rows[0]]
    for i, row in enumerate(rows):
        if [str(name) for name in row] != headings or not headings:
            raise BadInput(f"worked_table(): row {i} has other headings than the first: {', '.join(map(str, row))}.")
    if marked is not None and not 0 <= marked < len(rows):
        raise BadInput(f"worked_table(): marked={marked} is none of the {len(rows)} rows.")
    words = [all(not isinstance(row[name], numbers.Real) for row in rows) for name in rows[0]]
    texts = [[_text(value, digits) for value in row.values()] for row in rows]
    head = "".join(_cell("th", name, left, ' scope="col"') for name, left in zip(headings, words, strict=True))
    body = []
    for i, line in enumerate(texts):
        cells = "".join(_cell("td", text, left) for text, left in zip(line, words, strict=True))
        extra = "" if marked is None else _cell("td", f"◀ {mark}" if i == marked else "", True)
        opening = '<tr class="marked">' if i == marked else "<tr>"
        body.append(f"{opening}{cells}{extra}</tr>")
    head += "" if marked is None else "<td></td>"
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    told = [", ".join(f"{name} {text}" for name, text in zip(headings, line, strict=True)) for line in texts]
    if marked is not None:
        told[marked] += f" ({mark})"
    return Picture(_STYLE + table, caption, f"{'; '.join(told)}.")


def _cell(tag: str, text: str, left: bool, more: str = "") -> str:
    side = ' class="words"' if left else ""
    return f"<{tag}{more}{side}>{html.escape(text)}</{tag}>"


def _text(value: Any, digits: int) -> str:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return str(value)
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}".replace("-", "−")
    return short(float(value), digits) if math.isfinite(value) else str(value)
