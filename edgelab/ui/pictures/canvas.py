"""A sheet to draw on: lines, arrows, boxes, text and grids of numbers as SVG, coloured by names of the palette.

Nothing here has a colour of its own. Every shape carries classes such as ``f-blue`` (fill) and ``s-line`` (stroke),
which the picture's style sheet ties to the palette's CSS variables.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from edgelab.ui.palette import TOKENS

WIDTH = 720
"""Units across a picture; text of 15 units is well legible where a picture is 600 pixels wide."""
SIZE = 15
_GLYPH = 0.56  # mean width of a character, as a share of the size of the text


class Canvas:
    """A sheet of ``width`` by ``height`` units; the origin is at the top left."""

    def __init__(self, height: float, width: float = WIDTH) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    @property
    def body(self) -> str:
        """What was drawn, as SVG without its frame."""
        return "".join(self._parts)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = SIZE,
        colour: str = "ink",
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """One line of text; ``y`` is its base line, ``anchor`` is start, middle or end."""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" text-anchor="{anchor}"{weight} '
            f'class="f-{_known(colour)}">{html.escape(words)}</text>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, *, colour: str = "line", width: float = 1.5, dash: str = ""
    ) -> None:
        """A straight line; ``dash`` as SVG has it: ``"4 3"``."""
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" stroke-width="{_n(width)}"{dashes} '
            f'class="s-{_known(colour)}"/>'
        )

    def arrow(
        self, x1: float, y1: float, x2: float, y2: float, *, colour: str = "quiet", width: float = 1.5, head: float = 8
    ) -> None:
        """A line with a head at its second end."""
        length = math.hypot(x2 - x1, y2 - y1) or 1.0
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        bx, by = x2 - head * ux, y2 - head * uy
        self.line(x1, y1, bx, by, colour=colour, width=width)
        half = head * 0.45
        self.polygon([(x2, y2), (bx - half * uy, by + half * ux), (bx + half * uy, by - half * ux)], fill=colour)

    def polygon(self, points: Sequence[tuple[float, float]], *, fill: str, stroke: str = "") -> None:
        """A closed shape."""
        edge = f" s-{_known(stroke)}" if stroke else ""
        corners = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self._parts.append(f'<polygon points="{corners}" class="f-{_known(fill)}{edge}"/>')

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "soft",
        stroke: str = "line",
        line: float = 1.2,
        corner: float = 4,
        dash: str = "",
    ) -> None:
        """A rectangle; an empty ``stroke`` leaves the edge out."""
        edge = f" s-{_known(stroke)}" if stroke else ""
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="{_n(corner)}" '
            f'stroke-width="{_n(line)}"{dashes} class="f-{_known(fill)}{edge}"/>'
        )

    def dot(self, x: float, y: float, *, radius: float = 4.5, colour: str = "blue") -> None:
        """A filled circle."""
        self._parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" class="f-{_known(colour)}"/>')

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        title: str,
        lines: Sequence[str] = (),
        *,
        fill: str = "soft",
        stroke: str = "line",
    ) -> None:
        """A box with a bold title and quiet lines under it, centred."""
        self.rect(x, y, width, height, fill=fill, stroke=stroke, corner=8, line=1.5)
        heads = wrap(title, width - 16, SIZE)
        small = [part for line in lines for part in wrap(line, width - 14, SIZE - 2)]
        top = y + (height - 18 * len(heads) - 17 * len(small) - (4 if small else 0)) / 2 + 14
        for i, head in enumerate(heads):
            self.text(x + width / 2, top + 18 * i, head, anchor="middle", bold=True)
        for i, line in enumerate(small):
            y_line = top + 18 * len(heads) + 4 + 17 * i - 1
            self.text(x + width / 2, y_line, line, size=SIZE - 2, colour="ink", anchor="middle")

    def grid(
        self,
        x: float,
        y: float,
        rows: Sequence[Sequence[str]],
        *,
        cell: tuple[float, float] = (52, 30),
        marked: tuple[int, int] | None = None,
        fill: str = "blue-soft",
    ) -> None:
        """A grid of short texts; the marked cell (row, column) has a heavy edge and another colour."""
        wide, high = cell
        for i, row in enumerate(rows):
            for j, words in enumerate(row):
                here = marked == (i, j)
                self.rect(
                    x + j * wide,
                    y + i * high,
                    wide,
                    high,
                    fill="orange-soft" if here else fill,
                    stroke="orange" if here else "line",
                    line=2.4 if here else 1.2,
                    corner=0,
                )
                self.text(x + (j + 0.5) * wide, y + (i + 0.5) * high + 5, words, anchor="middle", bold=here)


def scale_of(low: float, high: float, left: float, right: float) -> Callable[[float], float]:
    """The map from numbers between ``low`` and ``high`` to places between ``left`` and ``right``."""
    span = (high - low) or 1.0
    return lambda value: left + (value - low) / span * (right - left)


def text_width(words: str, size: float = SIZE) -> float:
    """About how many units a text takes."""
    return _GLYPH * size * len(words)


def wrap(words: str, width: float, size: float = SIZE) -> list[str]:
    """``words`` on as many lines as it takes to stay within ``width``; a word that is longer stays whole.

    Examples
    --------
    >>> wrap("ranges of all activations", 100)
    ['ranges of', 'all', 'activations']
    """
    lines: list[str] = []
    for word in words.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def short(value: float, digits: int = 3) -> str:
    """A number for a drawing: at most ``digits`` significant digits, a true minus sign, no trailing zeros.

    Examples
    --------
    >>> short(0.16), short(-2.0), short(1234567), short(0.0)
    ('0.16', '−2', '1,234,567', '0')
    """
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}" if decimals < 8 else f"{value:.{digits - 1}e}"
    if "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def _known(colour: str) -> str:
    if colour not in TOKENS["light"]:
        raise KeyError(f"'{colour}' is no colour of the palette")
    return colour


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
