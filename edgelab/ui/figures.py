"""Figures in the house look, each from one short call: lines, staircases, scatters, histograms, heat maps.

The caller gives the finding as the title and names the axes with their units. Values may be plain numbers
or readings: a reading brings its interval as an error bar and its provenance into the hover text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.ui.labels import end_labels, point_labels, room_for, span
from edgelab.ui.palette import COLOURS, series_colours
from edgelab.ui.series import Numbers, Values, labels_of, matrix, numbers, pairs
from edgelab.ui.theme import DASHES, MARKERS, figure_of

_MOST_DIRECT_LABELS = 7
_MOST_MARKED_POINTS = 40
_MOST_PRINTED_CELLS = 150
_MOST_BINS = 2000
_FEW_DECADES = 2.6  # then 2 and 5 are labelled, too


def lines(
    series: Mapping[str, tuple[Values, Values]],
    title: str,
    x: str,
    y: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    markers: bool = True,
    **layout: Any,
) -> go.Figure:
    """Lines, each with its own colour, dash and marker, named at its right end.

    Parameters
    ----------
    series
        Label to (x, y), each of shape (n,), numbers or readings; NaN in y leaves a gap.
    title
        The finding.
    x, y
        Axis titles with units.
    log_x, log_y
        Logarithmic axes; values there must be above 0.
    markers
        Mark the points of series that have at most 40.
    **layout
        Anything else for ``figure.update_layout``.

    Examples
    --------
    >>> figure = lines({"PyTorch": ([1, 4], [2.0, 6.1])}, "Latency grows with the batch", "batch", "latency (ms)")
    >>> figure.data[0].name
    'PyTorch'
    """
    return _lines(series, title, x, y, log_x, log_y, markers, "linear", layout)


def stairs(
    series: Mapping[str, tuple[Values, Values]],
    title: str,
    x: str,
    y: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    **layout: Any,
) -> go.Figure:
    """Staircases: y holds from its x to the next one, as for a quantizer's output over its input.

    Parameters as for `lines`.

    Examples
    --------
    >>> stairs({"2 bits": ([0, 1, 2], [0, 1, 2])}, "Four levels", "x", "q").data[0].line.shape
    'hv'
    """
    return _lines(series, title, x, y, log_x, log_y, False, "hv", layout)


def scatter(
    series: Mapping[str, tuple[Values, Values]],
    title: str,
    x: str,
    y: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    names: Mapping[str, Sequence[str]] | None = None,
    roles: Mapping[str, str] | None = None,
    **layout: Any,
) -> go.Figure:
    """Points, each series with its own colour and marker.

    Parameters
    ----------
    series, title, x, y, log_x, log_y, **layout
        As for `lines`.
    names
        Label to one short text a point, printed beside it.
    roles
        Label to what its colour says, as `edgelab.ui.palette.ROLES` names it: ``{"fits": "right"}``.
    """
    checked = _positive(pairs(series), log_x, log_y)
    colours = series_colours(list(checked), roles)
    traces: list[dict[str, Any]] = []
    named = {label: [str(name) for name in (names or {}).get(label, ())] for label in checked}
    for label, (xs, _) in checked.items():
        if named[label] and len(named[label]) != len(xs.values):
            raise BadInput(f"names['{label}'] has {len(named[label])} texts for {len(xs.values)} points.")
    sides = point_labels(checked, named, log_x, log_y)
    for i, (label, (xs, ys)) in enumerate(checked.items()):
        texts = named[label]
        traces.append(
            {
                "type": "scatter",
                "x": xs.values,
                "y": ys.values,
                "name": label,
                "mode": "markers+text" if texts else "markers",
                "text": texts or None,
                "textposition": sides.get(label),
                "cliponaxis": not texts,  # a name may stand in the margin
                "marker": {"size": 9, "symbol": MARKERS[i % len(MARKERS)], "color": colours[i]},
                "error_x": xs.error,
                "error_y": ys.error,
                **_hover(label, x, y, ys, xs),
            }
        )
    return figure_of(traces, title, x, y, legend=len(checked) > 1, more=layout, **_axes(log_x, log_y))


def histogram(
    series: Mapping[str, ArrayLike] | ArrayLike,
    title: str,
    x: str,
    *,
    bins: int | Sequence[float] = 60,
    y: str = "count",
    share: bool = False,
    log_x: bool = False,
    log_y: bool = False,
    **layout: Any,
) -> go.Figure:
    """How often values fall into each bin. Counted here: the figure carries the counts, not the data.

    Parameters
    ----------
    series
        Values of any shape, or label to values.
    title
        The finding.
    x
        Axis title with the unit.
    bins
        Number of bins over the common range, or their edges, rising.
    y
        Title of the count axis.
    share
        Percent of the series instead of counts.
    log_x
        Bins of equal ratio on a logarithmic axis; values must be above 0.
    log_y
        Logarithmic count axis.
    **layout
        Anything else for ``figure.update_layout``.
    """
    named = series if isinstance(series, Mapping) else {"": series}
    if not named:
        raise BadInput("A histogram needs at least one series.")
    flat = {str(k): numbers(np.ravel(np.asarray(v)), f"'{k}'" if k else "values").values for k, v in named.items()}
    edges = _edges(np.concatenate(list(flat.values())), bins, log_x)
    traces: list[dict[str, Any]] = []
    for i, (label, values) in enumerate(flat.items()):
        counts = np.histogram(values, edges)[0].astype(float)
        if share:
            counts *= 100 / len(values)
        colour = COLOURS[i % len(COLOURS)]
        traces.append(
            {
                "type": "scatter",
                "x": edges,
                "y": np.append(counts, counts[-1]),
                "name": label,
                "mode": "lines",
                "fill": "tozeroy",
                "fillcolor": _transparent(colour, 0.3),
                "line": {"shape": "hv", "width": 1.8, "color": colour, "dash": DASHES[i % len(DASHES)]},
                "hovertemplate": f"{label} from %{{x:,.4~g}}: %{{y:,.4~g}}<extra></extra>".lstrip(),
            }
        )
    axis = "share (%)" if share and y == "count" else y
    axes = {"yaxis_rangemode": "tozero", **_axes(log_x, log_y)}
    return figure_of(traces, title, x, axis, legend=len(flat) > 1, more=layout, **axes)


def heatmap(
    z: ArrayLike,
    title: str,
    x: str,
    y: str,
    *,
    x_labels: Sequence[str] | None = None,
    y_labels: Sequence[str] | None = None,
    unit: str = "",
    centre: float | None = None,
    digits: int = 2,
    **layout: Any,
) -> go.Figure:
    """A table as colours, with each value printed where there is room.

    Parameters
    ----------
    z
        Shape (rows, columns); row 0 stands at the top; NaN is an empty cell.
    title
        The finding.
    x, y
        Axis titles of the columns and rows.
    x_labels, y_labels
        One a column, one a row; their numbers where left out.
    unit
        Title of the colour bar.
    centre
        The value that is neutral, for a scale of two hues (differences around 0).
    digits
        Significant digits of the printed values.
    **layout
        Anything else for ``figure.update_layout``.
    """
    table = matrix(z, "z")
    if not np.isfinite(table).any():
        raise BadInput("z holds no number to draw.")
    columns = labels_of(x_labels if x_labels is not None else range(table.shape[1]), table.shape[1], "columns of z")
    rows = labels_of(y_labels if y_labels is not None else range(table.shape[0]), table.shape[0], "rows of z")
    trace = {
        "type": "heatmap",
        "z": table,
        "x": columns,
        "y": rows,
        "colorscale": "Cividis" if centre is None else "RdBu",
        "reversescale": centre is not None,
        "zmid": centre,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {
            "title": {"text": unit, "side": "top", "font": {"size": 13}},
            "tickfont": {"size": 13},
            "thickness": 14,
            "outlinewidth": 0,
        },
        "hovertemplate": "%{y}, %{x}: %{z:,.4~g} " + unit + "<extra></extra>",
    }
    axes = {"xaxis_type": "category", "yaxis_type": "category", "yaxis_autorange": "reversed", "yaxis_showgrid": False}
    traces = [trace, _printed(table, columns, rows, trace, digits)] if table.size <= _MOST_PRINTED_CELLS else [trace]
    return figure_of(traces, title, x, y, legend=False, more=layout, **axes)


def _printed(
    table: NDArray[np.float64], columns: list[str], rows: list[str], heat: Mapping[str, Any], digits: int
) -> dict[str, Any]:
    """The values of a heat map as text, black or white after the brightness of the cell."""
    from plotly.colors import sample_colorscale, unlabel_rgb

    centre = heat["zmid"]
    low, high = np.nanmin(table), np.nanmax(table)
    if centre is not None:
        reach = max(high - centre, centre - low) or 1.0
        low, high = centre - reach, centre + reach
    points = [(row, column) for row, column in np.ndindex(table.shape) if np.isfinite(table[row, column])]
    places = [float((table[point] - low) / ((high - low) or 1.0)) for point in points]
    places = [1 - place for place in places] if heat["reversescale"] else places
    colours = [unlabel_rgb(colour) for colour in sample_colorscale(heat["colorscale"], places)]
    bright = [0.299 * red + 0.587 * green + 0.114 * blue > 130 for red, green, blue in colours]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [columns[column] for _, column in points],
        "y": [rows[row] for row, _ in points],
        "text": [_short(float(table[point]), digits) for point in points],
        "textfont": {"color": ["black" if light else "white" for light in bright], "size": 13},
        "hoverinfo": "skip",
    }


def _short(value: float, digits: int) -> str:
    decimals = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}" if decimals < 7 else f"{value:.{digits}g}"


def _lines(
    series: Mapping[str, tuple[Values, Values]],
    title: str,
    x: str,
    y: str,
    log_x: bool,
    log_y: bool,
    markers: bool,
    shape: str,
    layout: dict[str, Any],
) -> go.Figure:
    checked = _positive(pairs(series), log_x, log_y)
    traces: list[dict[str, Any]] = []
    for i, (label, (xs, ys)) in enumerate(checked.items()):
        marked = len(xs.values) <= _MOST_MARKED_POINTS and markers
        colour = COLOURS[i % len(COLOURS)]
        traces.append(
            {
                "type": "scatter",
                "x": xs.values,
                "y": ys.values,
                "name": label,
                "mode": "lines+markers" if marked else "lines",
                "line": {"color": colour, "width": 2.2, "dash": DASHES[i % len(DASHES)], "shape": shape},
                "marker": {"symbol": MARKERS[i % len(MARKERS)], "size": 8, "color": colour},
                "error_y": ys.error,
                **_hover(label, x, y, ys),
            }
        )
    named = len(checked) > 1
    direct = named and len(checked) <= _MOST_DIRECT_LABELS
    across = span([xs.values for xs, _ in checked.values()], log_x, 0.02)
    heights = span([end for _, ys in checked.values() for end in ys.ends], log_y, 0.06)
    more = _axes(log_x, log_y) | {"xaxis_range": across, "yaxis_range": heights}
    for axis, log, (low, high) in (("xaxis", log_x, across), ("yaxis", log_y, heights)):
        if log and high - low < _FEW_DECADES:
            more[axis] |= {"dtick": "D2"}
    if direct:
        more |= {"annotations": end_labels(checked, log_x, log_y, heights), "margin_r": room_for(checked)}
    return figure_of(traces, title, x, y, legend=named and not direct, more=layout, **more)


def _hover(label: str, x: str, y: str, ys: Numbers, xs: Numbers | None = None) -> dict[str, Any]:
    said = [b or a for a, b in zip(xs.hover if xs else [""] * len(ys.hover), ys.hover, strict=True)]
    lines_ = f"<b>{label}</b><br>{x}: %{{x:,.4~g}}<br>{y}: %{{y:,.4~g}}"
    if not any(said):
        return {"hovertemplate": f"{lines_}<extra></extra>"}
    return {"customdata": said, "hovertemplate": f"{lines_}%{{customdata}}<extra></extra>"}


def _axes(log_x: bool, log_y: bool) -> dict[str, Any]:
    log: dict[str, Any] = {"type": "log", "dtick": 1, "tickformat": "~g", "minor": {"ticks": "outside", "ticklen": 2}}
    return ({"xaxis": {**log}} if log_x else {}) | ({"yaxis": {**log}} if log_y else {})


def _positive(
    checked: dict[str, tuple[Numbers, Numbers]], log_x: bool, log_y: bool
) -> dict[str, tuple[Numbers, Numbers]]:
    for label, (xs, ys) in checked.items():
        for axis, log, found in (("x", log_x, xs), ("y", log_y, ys)):
            if log and (found.values <= 0).any():
                raise BadInput(f"{axis} of '{label}' must be above 0 on a logarithmic axis.")
    return checked


def _edges(values: NDArray[np.float64], bins: int | Sequence[float], log_x: bool) -> NDArray[np.float64]:
    if not isinstance(bins, int):
        edges = numbers(bins, "bins").values
        if len(edges) < 2 or (np.diff(edges) <= 0).any():
            raise BadInput("bins must be a number, or at least two edges that rise.")
        return edges
    if not 1 <= bins <= _MOST_BINS:
        raise BadInput(f"bins={bins} must be between 1 and {_MOST_BINS}.")
    low, high = float(values.min()), float(values.max())
    if log_x:
        if low <= 0:
            raise BadInput("Values must be above 0 on a logarithmic axis.")
        return np.geomspace(low, high if high > low else low * 2, bins + 1)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def _transparent(colour: str, share: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {share})"
