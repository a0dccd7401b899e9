"""Bars: one a label, or one a series in each group. What was not measured is hatched and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from numpy.typing import ArrayLike

from edgelab.errors import BadInput
from edgelab.reading import Reading
from edgelab.ui.labels import bar_labels
from edgelab.ui.palette import INK, ROLES, series_colours
from edgelab.ui.series import labels_of, numbers
from edgelab.ui.theme import HEIGHT, PATTERNS, PROVENANCE_PATTERNS, figure_of

_MOST_UPRIGHT_BARS = 9
_ROW_PIXELS = 30


def bars(
    labels: Sequence[str],
    values: Sequence[Reading | float] | ArrayLike,
    title: str,
    y: str,
    *,
    x: str = "",
    horizontal: bool | None = None,
    log_y: bool = False,
    highlight: str | None = None,
    **layout: Any,
) -> go.Figure:
    """One bar a label, with its value printed and its interval as an error bar.

    Parameters
    ----------
    labels
        One a bar.
    values
        Numbers or readings, shape (n,). Bars of readings that were not measured are hatched and say the word.
    title
        The finding.
    y
        Title of the value axis with its unit.
    x
        Title of the label axis.
    horizontal
        Bars from left to right, the first at the top; without it, where the labels are many or long.
    log_y
        Logarithmic value axis.
    highlight
        The label whose bar stands out; the others turn grey.
    **layout
        Anything else for ``figure.update_layout``.

    Examples
    --------
    >>> modelled = Reading(12.0, "ms", "modelled", "MACs / peak MACs per second")
    >>> bars(["board"], [modelled], "Twelve milliseconds on the board", "latency (ms)").data[0].marker.pattern.shape
    ('/',)
    """
    found = numbers(values, "values")
    labels = labels_of(labels, len(found.values), "values")
    if highlight is not None and highlight not in labels:
        raise BadInput(f"highlight='{highlight}' is not one of the labels: {', '.join(labels)}.")
    if log_y and (found.values <= 0).any():
        raise BadInput("values must be above 0 on a logarithmic axis.")
    if horizontal is None:
        horizontal = len(labels) > _MOST_UPRIGHT_BARS or (len(labels) > 3 and max(map(len, labels)) > 16)
    base, quiet = ROLES["marked"], ROLES["neutral"]
    colours = [base if highlight in (None, label) else quiet for label in labels]
    ticks = [f"{t}<br>({h})" if h not in ("", "measured") else t for t, h in zip(labels, found.how, strict=True)]
    along, across = ("x", "y") if horizontal else ("y", "x")
    room = max(found.values.max(), 0) - min(found.values.min(), 0)
    trace = {
        "type": "bar",
        along: found.values,
        across: ticks,
        f"error_{along}": found.error and {**found.error, "color": INK},
        "orientation": "h" if horizontal else "v",
        "marker": {
            "color": colours,
            "pattern": {"shape": [PROVENANCE_PATTERNS.get(h, "") for h in found.how], "solidity": 0.3},
        },
        "textposition": "none",
        "customdata": found.hover,
        "hovertemplate": f"%{{{across}}}: %{{{along}:,.4~g}}%{{customdata}}<extra></extra>",
    }
    more: dict[str, Any] = {f"{along}axis_type": "log"} if log_y else {}
    more["annotations"] = bar_labels(found, horizontal=horizontal, log=log_y)
    if not log_y:
        above, below = found.ends[0].max(), found.ends[1].min()
        span = max(above, 0) - min(below, 0)  # with the intervals, behind whose ends the figures stand
        aside = max(0.2 * room, 0.1 * span) if horizontal else 0.12 * room
        more[f"{along}axis_range"] = [
            min(below, 0) - (aside if below < 0 else 0),
            max(above, 0) + (0.16 if horizontal else 0.12) * (room or 1) * (above > 0 or room == 0),
        ]
        more[f"{along}axis_zeroline"] = bool(below < 0)
    if horizontal:
        more |= {"yaxis_autorange": "reversed", "yaxis_showgrid": False, "xaxis_showgrid": True}
        more["height"] = max(HEIGHT, 130 + _ROW_PIXELS * len(labels))
        return figure_of([trace], title, y, x, legend=False, more=layout, **more)
    return figure_of([trace], title, x, y, legend=False, more=layout, **more)


def grouped_bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Reading | float] | ArrayLike],
    title: str,
    y: str,
    *,
    x: str = "",
    log_y: bool = False,
    roles: Mapping[str, str] | None = None,
    **layout: Any,
) -> go.Figure:
    """For each group one bar a series, side by side; NaN leaves a bar out.

    Parameters
    ----------
    groups
        The groups along the axis, for example batch sizes or classes.
    series
        Label to one value a group, numbers or readings. A series that was not measured says so in its name.
    title, y, x, log_y, **layout
        As for `bars`.
    roles
        Label to what its colour says, as for `edgelab.ui.scatter`.
    """
    if not isinstance(series, Mapping) or not series:
        raise BadInput("A figure needs at least one series, given as {label: values}.")
    colours = series_colours([str(label) for label in series], roles)
    traces: list[dict[str, Any]] = []
    for i, (label, values) in enumerate(series.items()):
        found = numbers(values, f"'{label}'", gaps=True)
        ticks = labels_of(groups, len(found.values), f"'{label}'")
        if log_y and (found.values <= 0).any():
            raise BadInput(f"'{label}' must be above 0 on a logarithmic axis.")
        ways = sorted({h for h in found.how if h not in ("", "measured")})
        traces.append(
            {
                "type": "bar",
                "x": ticks,
                "y": found.values,
                "name": f"{label} ({', '.join(ways)})" if ways else str(label),
                "error_y": found.error and {**found.error, "color": INK},
                "marker": {
                    "color": colours[i],
                    "pattern": {"shape": PATTERNS[i % len(PATTERNS)], "solidity": 0.25},
                },
                "customdata": found.hover,
                "hovertemplate": f"{label}, %{{x}}: %{{y:,.4~g}}%{{customdata}}<extra></extra>",
            }
        )
    axes = {"xaxis_type": "category", "bargroupgap": 0.08, **({"yaxis_type": "log"} if log_y else {})}
    return figure_of(traces, title, x, y, legend=len(traces) > 1, more=layout, **axes)
