"""The staircase of a quantizer over the distribution of the values that it maps, and clips."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.ui.palette import COLOURS, QUIET, ROLES
from edgelab.ui.theme import figure_of

_BINS = 80
_HISTOGRAM_SHARE = 0.45  # of the height of the plot


def staircase(
    values: ArrayLike,
    scale: float,
    zero_point: int,
    bits: int,
    *,
    signed: bool = False,
    title: str = "",
    x: str = "value before",
    y: str = "value after the round trip",
    **layout: Any,
) -> go.Figure:
    """What comes back of each value after ``scale * (clip(round(x / scale) + zero_point) - zero_point)``.

    The distribution of the values stands behind, hatched in the colour of what is wrong where they are clipped. The
    axes depend on the values alone: under sliders for scale, zero point and bits they stand still.

    Parameters
    ----------
    values
        Real values of any shape, at least one.
    scale
        The step, in the unit of the values; above 0.
    zero_point
        The integer that stands for 0.
    bits
        1 to 16; integers from 0 to ``2**bits - 1``, or from ``-2**(bits - 1)`` if ``signed``.
    title
        The finding; without it, the share that is clipped and the ratio of signal to noise (SQNR).
    x, y
        Axis titles with units.
    **layout
        Anything else for ``figure.update_layout``.

    Raises
    ------
    BadInput
        If a value is not finite or the settings make no mapping.

    Examples
    --------
    >>> figure = staircase([0.0, 0.7, 1.3, 2.4], scale=0.16, zero_point=0, bits=4)
    >>> figure.layout.title.text
    'Nothing is clipped; SQNR 33.0 dB'
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    if not flat.size or not np.isfinite(flat).all():
        raise BadInput("staircase() needs at least one value, and all of them finite.")
    if not 1 <= bits <= 16 or not (math.isfinite(scale) and scale > 0):
        raise BadInput(f"staircase(): bits={bits} must be between 1 and 16 and scale={scale} above 0.")
    lowest = -(2 ** (bits - 1)) if signed else 0
    highest = lowest + 2**bits - 1
    wanted = np.rint(flat / scale) + zero_point
    integers = np.clip(wanted, lowest, highest)
    clipped = wanted != integers
    noise = float(np.mean((flat - scale * (integers - zero_point)) ** 2))
    low, high = min(float(flat.min()), 0.0), max(float(flat.max()), 0.0)
    room = 0.04 * ((high - low) or 1.0)
    ends = [low - room, high + room]
    edges = np.linspace(ends[0], ends[1], _BINS + 1)
    inside, outside = (np.histogram(flat[part], edges)[0] * 100 / flat.size for part in (~clipped, clipped))
    traces = [_counts(edges, inside, "kept"), *([_counts(edges, outside, "clipped")] if clipped.any() else [])]
    steps = np.arange(lowest, highest + 1) - zero_point
    turns = scale * (steps[1:] - 0.5)
    kept = (turns > ends[0]) & (turns < ends[1])
    at = np.concatenate([[ends[0]], turns[kept], [ends[1]]])
    first = np.clip(np.rint(ends[0] / scale) + zero_point, lowest, highest) - zero_point
    after = scale * np.concatenate([[first], steps[1:][kept]])
    traces += [
        {
            "type": "scatter",
            "name": "before",
            "mode": "lines",
            "x": ends,
            "y": ends,
            "yaxis": "y2",
            "line": {"color": QUIET, "width": 1.5, "dash": "dash"},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "name": "after",
            "mode": "lines",
            "x": at,
            "y": np.append(after, after[-1]),
            "yaxis": "y2",
            "line": {"color": COLOURS[0], "width": 2.4, "shape": "hv"},
            "hovertemplate": f"{x} from %{{x:,.4~g}}: %{{y:,.4~g}}<extra></extra>",
        },
    ]
    return figure_of(
        traces,
        title or _finding(flat, clipped, noise),
        x,
        "",
        legend=True,
        more=layout,
        xaxis_range=ends,
        barmode="overlay",
        bargap=0,
        yaxis={"range": [0, max(float((inside + outside).max()), 1e-9) / _HISTOGRAM_SHARE], "visible": False},
        yaxis2={"overlaying": "y", "side": "left", "tickmode": "auto", "range": ends, "title": {"text": y}},
    )


def _counts(edges: NDArray[np.float64], share: NDArray[np.float64], name: str) -> dict[str, Any]:
    lost = name == "clipped"
    return {
        "type": "bar",
        "name": f"values, {name}",
        "x": (edges[:-1] + edges[1:]) / 2,
        "y": share,
        "width": float(edges[1] - edges[0]),
        "marker": {
            "color": ROLES["wrong" if lost else "neutral"],
            "opacity": 0.85 if lost else 0.45,
            "line": {"width": 0},
            "pattern": {"shape": "/" if lost else "", "solidity": 0.5},
        },
        "hovertemplate": f"%{{y:.3~g}} % of the values, {name}<extra></extra>",
    }


def _finding(flat: NDArray[np.float64], clipped: NDArray[np.bool_], noise: float) -> str:
    share = 100 * float(clipped.mean())
    lost = "Nothing is clipped" if not share else f"{share:.2g}% of the values are clipped"
    signal = float(np.mean(flat**2))
    if not noise or not signal:
        return f"{lost}; {'no noise' if not noise else 'no signal'}"
    return f"{lost}; SQNR {10 * math.log10(signal / noise):.1f} dB"
