"""Names written in the figure, in place of a legend: at the right end of each line, and beside each point.

Where two would overlap they are pushed apart, or stand on another side of their point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgelab.reading import format_numbers
from edgelab.ui.palette import COLOURS
from edgelab.ui.series import Numbers
from edgelab.ui.theme import HEIGHT

Array: TypeAlias = "NDArray[np.float64]"

_LINE_PIXELS = 17.0
_PLOT_PIXELS = HEIGHT - 102.0  # the margins of a figure with a title of one line; each further line adds its height
_PLOT_WIDTH_PIXELS = 560.0  # of a figure in the column of a notebook
_LETTER_PIXELS = 7.0
_SIDES = {  # where a name may stand: the corner of its box nearest to the point, in halves of the box, x and y
    "top center": (0, 1),
    "bottom center": (0, -1),
    "middle right": (1, 0),
    "middle left": (-1, 0),
    "top right": (1, 1),
    "top left": (-1, 1),
    "bottom right": (1, -1),
    "bottom left": (-1, -1),
}
_MARKER_PIXELS = 9.0
_MOST_NAMES = 60
_CUT = 3
_MARGIN_PIXELS = 20.0
_EDGES = np.array([_PLOT_WIDTH_PIXELS, _PLOT_PIXELS])
_GLYPHS = ("●", "■", "◆", "▲", "✕", "✚", "★")


def span(values: Sequence[Array], log: bool, air: float) -> tuple[float, float]:
    """The ends of an axis, of the exponent if ``log``, with ``air`` times their distance around the values."""
    known = np.concatenate([v[np.isfinite(v)] for v in values])
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    if log:
        low, high = math.log10(low), math.log10(high)
    room = air * (high - low) or (0.2 if log else 0.1 * abs(high) or 1.0)
    return low - room, high + room


def end_labels(
    series: Mapping[str, tuple[Numbers, Numbers]], log_x: bool, log_y: bool, heights: tuple[float, float]
) -> list[dict[str, Any]]:
    """Annotations, one a series, beside its last point; ``heights`` are the ends of the y axis as of `span`."""
    ends = {label: _end(xs, ys) for label, (xs, ys) in series.items()}
    scale = math.log10 if log_y else float
    low, high = heights
    wanted = {label: (scale(y) - low) / (high - low) * _PLOT_PIXELS for label, (_, y) in ends.items()}
    placed = spread(wanted)
    labels = []
    for i, (label, (x, y)) in enumerate(ends.items()):
        glyph = f"<span style='color:{COLOURS[i % len(COLOURS)]}'>{_GLYPHS[i % len(_GLYPHS)]}</span>"
        labels.append(
            {
                "name": "end",  # an exported page puts a legend in its place on a narrow screen
                "x": math.log10(x) if log_x else x,  # plotly places annotations on a log axis by the exponent
                "y": scale(y),
                "text": f"{glyph} {label}",
                "showarrow": False,
                "xanchor": "left",
                "yanchor": "middle",
                "xshift": 10,
                "yshift": placed[label] - wanted[label],
                "align": "left",
            }
        )
    return labels


def point_labels(
    series: Mapping[str, tuple[Numbers, Numbers]], names: Mapping[str, Sequence[str]], log_x: bool, log_y: bool
) -> dict[str, list[str]]:
    """The side of each named point that its name stands on, as plotly calls it: above it, or where most is free.

    Of more than 60 names all stand above: no side is free.

    Examples
    --------
    >>> from edgelab.ui.series import pairs
    >>> point_labels(pairs({"a": ([1, 1.05, 9], [1, 1.6, 9])}), {"a": ["one", "two", "three"]}, False, False)
    {'a': ['bottom center', 'top center', 'top center']}
    """
    across = [xs.values for xs, _ in series.values()]
    up = [ys.values for _, ys in series.values()]
    x, y = _pixels(across, log_x, _PLOT_WIDTH_PIXELS), _pixels(up, log_y, _PLOT_PIXELS)
    points = np.stack([np.concatenate(x), np.concatenate(y)], axis=1)
    crowd = sum(len(texts) for texts in names.values()) > _MOST_NAMES
    taken: list[Array] = []  # boxes of names: left, bottom, right, top
    found: dict[str, list[str]] = {}
    at = 0
    for label, (xs, _) in series.items():
        for name in names.get(label, ()):
            boxes = {side: _box(points[at], name, *halves) for side, halves in _SIDES.items()}
            others = np.delete(points, at, 0)
            side = "top center" if crowd else min(boxes, key=lambda s: _covers(boxes[s], others, taken))
            found.setdefault(label, []).append(side)
            taken.append(boxes[side])
            at += 1
        at += 0 if names.get(label) else len(xs.values)
    return found


def _pixels(values: Sequence[Array], log: bool, length: float) -> list[Array]:
    low, high = span(values, log, 0.05)
    with np.errstate(divide="ignore", invalid="ignore"):
        return [((np.log10(v) if log else v) - low) / (high - low) * length for v in values]


def _box(point: Array, name: str, across: int, up: int) -> Array:
    width, height = _LETTER_PIXELS * len(name), _LINE_PIXELS
    middle = point + np.array([across * width, up * height]) / 2 + _MARKER_PIXELS / 2 * np.array([across, up])
    half = np.array([width, height]) / 2
    return np.concatenate([middle - half, middle + half])


def _covers(box: Array, points: Array, taken: Sequence[Array]) -> int:
    """How many points and names a name would lie on; beyond the edge of the figure it would be cut, which is worse."""
    cut = bool((box[:2] < -_MARGIN_PIXELS).any() or (box[2:] > _EDGES + _MARGIN_PIXELS).any())
    grown = box + _MARKER_PIXELS / 2 * np.array([-1, -1, 1, 1])
    on = int(((points > grown[:2]) & (points < grown[2:])).all(axis=1).sum())
    over = sum(bool((box[:2] < other[2:]).all() and (box[2:] > other[:2]).all()) for other in taken)
    return on + over + _CUT * cut


def bar_labels(found: Numbers, *, horizontal: bool, log: bool) -> list[dict[str, Any]]:
    """Annotations with each bar's value, beyond the bar and its interval."""
    labels = []
    largest = max(found.values, key=abs)
    for index, value in enumerate(found.values):
        up = value >= 0
        arm = found.above if up else found.below
        end = value + (0.0 if arm is None else arm[index]) * (1 if up else -1)
        end = math.log10(end) if log else float(end)
        beyond: dict[str, Any] = (
            {"x": end, "y": index, "xanchor": "left" if up else "right", "xshift": 5 if up else -5}
            if horizontal
            else {"x": index, "y": end, "yanchor": "bottom" if up else "top", "yshift": 2 if up else -2}
        )
        text = format_numbers([value] if log else [value, largest])[0]  # one number of digits on a linear axis
        labels.append({**beyond, "text": text, "showarrow": False})
    return labels


def room_for(series: Mapping[str, Any]) -> int:
    """Right margin in pixels that holds the longest label."""
    return int(min(230, 36 + 7.4 * max(len(label) for label in series)))


def spread(wanted: Mapping[str, float], gap: float = _LINE_PIXELS) -> dict[str, float]:
    """Move heights apart until neighbours are ``gap`` apart, each group staying around its own middle.

    Examples
    --------
    >>> spread({"a": 10.0, "b": 10.0}, gap=4.0)
    {'a': 8.0, 'b': 12.0}
    """
    order = sorted(wanted, key=lambda label: wanted[label])
    groups: list[list[str]] = []
    for label in order:
        groups.append([label])
        while len(groups) > 1 and _bottom(groups[-1], wanted, gap) < _top(groups[-2], wanted, gap) + gap:
            last = groups.pop()
            groups[-1] += last
    return {
        label: _bottom(group, wanted, gap) + position * gap for group in groups for position, label in enumerate(group)
    }


def _bottom(group: list[str], wanted: Mapping[str, float], gap: float) -> float:
    return sum(wanted[label] for label in group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: list[str], wanted: Mapping[str, float], gap: float) -> float:
    return _bottom(group, wanted, gap) + gap * (len(group) - 1)


def _end(xs: Numbers, ys: Numbers) -> tuple[float, float]:
    known = np.flatnonzero(np.isfinite(ys.values))[::-1]
    last = int(known[np.argmax(xs.values[known])]) if known.size else len(ys.values) - 1
    y = float(ys.values[last])
    return float(xs.values[last]), y if math.isfinite(y) else 0.0
