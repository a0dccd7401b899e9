"""The house look of every figure: colours, dashes, markers, patterns, on the paper of the page.

No meaning hangs on colour alone: each series also has its own dash, marker and pattern. The colours and what they
mean stand in `edgelab.ui.palette`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from edgelab.errors import BadInput
from edgelab.ui.palette import COLOURS, GRID, INK, PAPER, QUIET

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star")
PATTERNS = ("", "/", ".", "x", "-", "|", "+")
PROVENANCE_PATTERNS = {"measured": "", "emulated": ".", "modelled": "/", "quoted": "-"}
"""How a bar is filled: only what was measured is solid."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
HEIGHT = 400
CONFIG: dict[str, Any] = {"displaylogo": False, "responsive": True, "displayModeBar": False}
"""What plotly.js is told beside the figure: no toolbar; drag to zoom, double-click to see all again."""

_TITLE_CHARACTERS = 70
_X_CHARACTERS = 80
_Y_CHARACTERS = 42
_AXIS = {
    "gridcolor": GRID,
    "linecolor": QUIET,
    "zerolinecolor": GRID,
    "zerolinewidth": 1,
    "showline": True,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": QUIET,
    "tickfont": {"size": 13, "color": QUIET},
    "title": {"font": {"size": 14, "color": INK}, "standoff": 10},
    "automargin": True,
    "exponentformat": "power",
    "minexponent": 6,
    "separatethousands": True,
}
TEMPLATE: dict[str, Any] = {
    "layout": {
        "autotypenumbers": "strict",
        "colorway": list(COLOURS),
        "font": {"family": FONT, "size": 14, "color": INK},
        "title": {
            "x": 0,
            "xanchor": "left",
            "xref": "container",
            "y": 1,
            "yanchor": "top",
            "yref": "container",
            "pad": {"t": 14, "l": 14},
            "font": {"size": 16, "weight": 600},
        },
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "hoverlabel": {"font": {"size": 13}, "align": "left"},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom", "font": {"size": 13}},
        "xaxis": {**_AXIS, "showgrid": False},
        "yaxis": _AXIS,
        "bargap": 0.35,
        "annotationdefaults": {"font": {"size": 13, "color": INK}},
    }
}


def figure_of(
    traces: Sequence[Mapping[str, Any]],
    title: str,
    x: str,
    y: str,
    *,
    legend: bool,
    more: Mapping[str, Any] | None = None,
    **layout: Any,
) -> go.Figure:
    """A figure in the house look, from traces given as dictionaries.

    Built in one go: each ``update_layout`` afterwards takes plotly longer than everything here together, and a
    panel draws at every move of a slider.

    Parameters
    ----------
    traces
        As plotly's JSON describes them.
    title
        The finding, in one sentence.
    x, y
        Axis titles with units.
    legend
        Whether there is one.
    more
        What the caller of a constructor adds with ``update_layout``.
    **layout
        Anything else in the layout, with plotly's underscores for what lies deeper.

    Raises
    ------
    BadInput
        If there is no title.
    """
    shared = _shared(title, legend=legend)
    axes = {"xaxis_title_text": _wrapped(x, _X_CHARACTERS), "yaxis_title_text": _wrapped(y, _Y_CHARACTERS)}
    figure = go.Figure(
        data=list(traces), layout={"template": TEMPLATE, "showlegend": legend, **shared, **axes, **layout}
    )
    return figure.update_layout(**more) if more else figure


def house(figure: go.Figure, title: str, x: str | None = None, y: str | None = None, **layout: Any) -> go.Figure:
    """Dress any plotly figure in the house template.

    Parameters
    ----------
    figure
        The figure; it is changed and returned.
    title
        The finding, in one sentence.
    x, y
        Axis titles with units; None leaves the axis as it is.
    **layout
        Anything else for ``figure.update_layout``.

    Raises
    ------
    BadInput
        If there is no title.
    """
    named = {} if x is None else {"xaxis_title_text": _wrapped(x, _X_CHARACTERS)}
    named |= {} if y is None else {"yaxis_title_text": _wrapped(y, _Y_CHARACTERS)}
    shared = _shared(title, legend=has_legend(figure))
    return figure.update_layout(**{"template": TEMPLATE, **shared, **named, **layout})


def _shared(title: str, *, legend: bool) -> dict[str, Any]:
    if not isinstance(title, str) or not title.strip():
        raise BadInput("A figure needs a title that states what it shows; title is empty.")
    lines = _wrapped(title, _TITLE_CHARACTERS).split("<br>")
    return {
        "title_text": "<br>".join(lines),
        "title_pad_t": 14 + 10 * (len(lines) - 1),  # plotly lifts a title of several lines
        "margin": {"t": 24 + 22 * len(lines) + (28 if legend else 0), "l": 64, "r": 24, "b": 56},
        "height": HEIGHT + 22 * (len(lines) - 1),
    }


def _wrapped(text: str, characters: int) -> str:
    return "<br>".join(textwrap.wrap(text, characters, break_long_words=False))


def has_legend(figure: go.Figure) -> bool:
    """Whether plotly will draw a legend."""
    wanted: bool | None = figure.layout.showlegend
    if wanted is not None:
        return wanted
    return sum(trace.showlegend is not False for trace in figure.data) > 1


def plain_title(figure: Mapping[str, Any]) -> str:
    """The title of a figure given as plotly JSON, on one line and without markup."""
    title = figure.get("layout", {}).get("title", {})
    text = title.get("text", "") if isinstance(title, Mapping) else str(title or "")
    return " ".join(str(text).replace("<br>", " ").replace("<b>", "").replace("</b>", "").split())
