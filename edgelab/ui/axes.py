"""Axes that several figures share, so that one can be compared with the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

_AIR = 0.05


def with_common_axes(figure: go.Figure, others: Sequence[go.Figure]) -> go.Figure:
    """``figure`` with x and y axes that hold what ``others`` show as well; it is changed and returned.

    An axis of categories, and one whose values cannot be compared as numbers, stays as it is.

    Examples
    --------
    >>> low, high = (go.Figure(go.Scatter(x=[0, 1], y=[0, top])) for top in (1, 10))
    >>> with_common_axes(low, [high]).layout.yaxis.range[1] >= 10
    True
    """
    for axis in ("x", "y"):
        ranges = [_range(each, axis) for each in (figure, *others)]
        if all(ranges):
            low = min(found[0] for found in ranges if found)
            high = max(found[1] for found in ranges if found)
            if figure.layout[f"{axis}axis"].autorange == "reversed":
                continue
            figure.layout[f"{axis}axis"].range = [low, high]
    return figure


def _range(figure: go.Figure, axis: str) -> tuple[float, float] | None:
    """The ends of an axis as plotly has them: given, or those of the data; of the exponents on a logarithmic axis."""
    layout = figure.layout[f"{axis}axis"]
    if layout.range is not None:
        low, high = (float(end) for end in layout.range)
        return low, high
    values = np.array(list(_numbers(figure, axis)), dtype=np.float64)
    values = values[np.isfinite(values)]
    if layout.type == "category" or not values.size:
        return None
    if layout.type == "log":
        values = np.log10(values[values > 0])
    low, high = float(values.min()), float(values.max())
    room = _AIR * ((high - low) or 1.0)
    from_zero = layout.rangemode == "tozero" and low >= 0
    return (0.0 if from_zero else low - room), high + room


def _numbers(figure: go.Figure, axis: str) -> Iterable[Any]:
    for trace in figure.data:
        for value in trace[axis] if trace[axis] is not None else ():
            if not isinstance(value, str):
                yield value
