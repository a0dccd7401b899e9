"""A rollout as pictures: the evidence against a release over the hours, and how much of the fleet has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from edgelab.ota.fleet_rollout import RolloutRun
from edgelab.ui.palette import INK, PATCH, QUIET, ROLES
from edgelab.ui.theme import figure_of

_LOW, _HIGH = 1e-3, 1e3


def evidence_figure(run: RolloutRun, title: str = "", **layout: Any) -> go.Figure:
    """The gate's evidence over its limit, hour by hour, with the waves; it stops where the line reaches 1.

    What lies outside a thousandth and a thousand is drawn at that edge, so that the axes stand still under a panel's
    dials.

    Parameters
    ----------
    run
        From `edgelab.ota.fleet_rollout.sketch` or `roll_out`.
    title
        The finding; without it, what happened.
    **layout
        Anything else for ``figure.update_layout``.

    Examples
    --------
    >>> from edgelab.ota.fleet_rollout import sketch
    >>> from edgelab.ota.hardware import Fault
    >>> evidence_figure(sketch(10_000, Fault(crashes=9))).layout.title.text[:7]
    'Stopped'
    """
    seen = run.hours[: run.decision.look]
    hours = [each.hour for each in seen]
    levels = np.clip([each.level for each in seen], _LOW, _HIGH)
    colour = ROLES["wrong"] if run.decision.stop else ROLES["marked"]
    line = {
        "type": "scatter",
        "x": hours,
        "y": levels,
        "mode": "lines",
        "name": "evidence",
        "line": {"color": colour, "width": 2.2},
        "hovertemplate": "hour %{x}: %{y:.3~g} of the limit<extra></extra>",
    }
    traces: list[dict[str, Any]] = [line]
    if run.decision.stop:
        marker = {"symbol": "x", "size": 13, "color": colour}
        stop = {"type": "scatter", "x": hours[-1:], "y": levels[-1:], "mode": "markers", "name": "stop"}
        traces.append({**stop, "marker": marker, "hovertemplate": "stopped at hour %{x}<extra></extra>"})
    limit = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": 1, "y1": 1}
    shapes, labels = _waves(run)
    shapes.append({**limit, "line": {"color": INK, "width": 1.5, "dash": "dash"}})
    labels.append(_label("from here on it stops", 1, "right", 0, "bottom", xref="paper"))
    return figure_of(
        traces,
        title or run.sentence().rstrip("."),
        "hours since the start",
        "evidence over the gate's limit",
        legend=False,
        more=layout,
        shapes=shapes,
        annotations=labels,
        xaxis_range=[0, run.hold_h * len(run.waves)],
        yaxis={"type": "log", "dtick": 1, "tickformat": "~g", "range": [np.log10(_LOW) - 0.1, np.log10(_HIGH) + 0.5]},
        meta={"alt": rollout_words(run)},
    )


def waves_figure(run: RolloutRun, title: str = "", **layout: Any) -> go.Figure:
    """How many percent of the fleet run the new release, hour by hour, on a logarithmic axis.

    Parameters as for `evidence_figure`.
    """
    shares = [100 * each.on_new / run.devices for each in run.hours]
    shown = [share if share > 0 else None for share in shares]
    trace = {
        "type": "scatter",
        "x": [each.hour for each in run.hours],
        "y": shown,
        "mode": "lines",
        "line": {"color": ROLES["marked"], "width": 2.2},
        "fill": "tozeroy",
        "hovertemplate": "hour %{x}: %{y:.3~g}% of the fleet<extra></extra>",
    }
    shapes, labels = _waves(run)
    if run.stopped_h is not None:
        at = {"x0": run.stopped_h, "x1": run.stopped_h, "y0": 0, "y1": 1, "yref": "paper", "type": "line"}
        shapes.append({**at, "line": {"color": ROLES["wrong"], "width": 2, "dash": "dash"}})
    lowest = min([share for share in shares if share > 0], default=0.01)
    return figure_of(
        [trace],
        title or run.sentence().rstrip("."),
        "hours since the start",
        "percent of the fleet on the new release",
        legend=False,
        more=layout,
        shapes=shapes,
        annotations=labels,
        xaxis_range=[0, run.hold_h * len(run.waves)],
        yaxis={"type": "log", "dtick": 1, "tickformat": "~g", "range": [np.log10(min(0.01, lowest)), 2.6]},
        meta={"alt": rollout_words(run)},
    )


def rollout_words(run: RolloutRun) -> str:
    """A rollout in words, for the text alternative of its figures."""
    plan = ", ".join(f"{wave:g}" for wave in run.waves)
    top = max((each.level for each in run.hours[: run.decision.look]), default=0.0)
    return (
        f"Waves of {plan} percent, each held {run.hold_h} hours, on {run.devices:,} devices; fault: {run.fault}. "
        f"The evidence reaches {min(top, 1e6):.2g} times the gate's limit. {run.sentence()}"
    )


def _waves(run: RolloutRun) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A dotted line where a wave begins, and its name at the top."""
    starts = [run.hold_h * number for number in range(len(run.waves))]
    lines = [
        {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": QUIET, "dash": "dot"}}
        for at in starts[1:]
    ]
    named = zip(run.waves, starts, strict=True)
    return lines, [_label(f"{wave:g}%", at, "left", 1, "top", yref="paper") for wave, at in named]


def _label(text: str, x: float, xanchor: str, y: float, yanchor: str, **more: Any) -> dict[str, Any]:
    place = {"text": text, "x": x, "xanchor": xanchor, "y": y, "yanchor": yanchor, "showarrow": False, **more}
    return {**place, "font": {"color": INK, "size": 13}, "bgcolor": PATCH, "opacity": 0.9}
