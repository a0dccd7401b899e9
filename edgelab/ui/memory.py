"""A plan of memory as a picture: each buffer a bar over the steps in which it lives and the addresses that it takes."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from edgelab.errors import BadInput
from edgelab.mcu.plans import Placed, Plan
from edgelab.ui.palette import COLOURS, INK, PATCH, ROLES
from edgelab.ui.theme import figure_of

_KINDS = {"tensor": "", "scratch buffer": "/", "written in place": "."}
_MOST_CHARACTERS = 60
_HEIGHT = 460


def lifetime_figure(plan: Plan, title: str = "", **layout: Any) -> go.Figure:
    """Lifetimes as bars over time (across) and addresses (up); hovering tells the buffer.

    Scratch buffers are hatched and buffers that took over an operand's memory dotted; the dashed line is the lower
    bound, below which no plan can go.

    Parameters
    ----------
    plan
        From `edgelab.mcu.plans.plan_buffers`, or the ``plan`` of an arena.
    title
        The finding; without it, how far the plan is above the lower bound.
    **layout
        Anything else for ``figure.update_layout``.

    Raises
    ------
    BadInput
        If the plan holds no buffer.

    Examples
    --------
    >>> from edgelab.mcu.plans import Buffer, plan_buffers
    >>> plan = plan_buffers([Buffer("a", 64, 0, 1), Buffer("b", 32, 1, 2)])
    >>> lifetime_figure(plan).layout.title.text
    '96 bytes (greedy by size), as few as the lower bound allows'
    """
    if not plan.buffers:
        raise BadInput("The plan holds no buffer to draw.")
    traces = [
        _bars(kind, [(i, b) for i, b in enumerate(plan.buffers) if _kind(b) == kind])
        for kind in _KINDS
        if any(_kind(b) == kind for b in plan.buffers)
    ]
    bound = {
        "type": "line",
        "x0": 0,
        "x1": 1,
        "xref": "paper",
        "y0": plan.lower_bound,
        "y1": plan.lower_bound,
        "line": {"color": INK, "width": 1.5, "dash": "dash"},
    }
    label = {
        "text": f"lower bound {plan.lower_bound:,} bytes",
        "x": 1,
        "xref": "paper",
        "xanchor": "right",
        "y": plan.lower_bound,
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"color": INK, "size": 13},
        "bgcolor": PATCH,
        "opacity": 0.9,
    }
    return figure_of(
        traces,
        title or _finding(plan),
        "step (0: inputs; operator i runs at i + 1)",
        "address (bytes)",
        legend=len(traces) > 1,
        more=layout,
        barmode="overlay",
        bargap=0,
        height=_HEIGHT,
        shapes=[bound],
        annotations=[label],
        xaxis_range=[min(b.first for b in plan.buffers) - 0.6, plan.steps - 0.4],
        yaxis_rangemode="tozero",
        yaxis_tickformat=",",
        meta={"alt": lifetime_words(plan)},
    )


def lifetime_words(plan: Plan) -> str:
    """The figure in words, for its text alternative.

    Examples
    --------
    >>> from edgelab.mcu.plans import Buffer, plan_buffers
    >>> lifetime_words(plan_buffers([Buffer("a", 64, 0, 1)])).split(";")[0]
    'Bars of 1 buffer over 2 steps and 64 bytes of addresses'
    """
    count = len(plan.buffers)
    if not count:
        return "The plan holds no buffer."
    largest = max(plan.buffers, key=lambda b: b.size_bytes)
    return (
        f"Bars of {count} buffer{'s' if count > 1 else ''} over {plan.steps} steps and {plan.size_bytes:,} bytes of "
        f"addresses; the largest, {largest.name}, takes {largest.size_bytes:,} bytes from address "
        f"{largest.offset:,} in steps {largest.first} to {largest.last}; the lower bound is {plan.lower_bound:,} bytes."
    )


def arena_figure(
    plan: Plan, tail: Mapping[str, int], arena_bytes: int = 0, title: str = "", **layout: Any
) -> go.Figure:
    """The whole arena over time: the head as in `lifetime_figure`, and above it the tail, which is always there.

    Parameters
    ----------
    plan
        The head: tensors, and scratch buffers (hatched).
    tail
        Bytes of the tail by what they are for, in the order in which they are allocated, the first at the very top.
    arena_bytes
        The size of the arena; without it, head and tail touch each other.
    title
        The finding; without it, what head and tail take.
    **layout
        Anything else for ``figure.update_layout``.

    Raises
    ------
    BadInput
        If the plan holds no buffer, or the arena does not hold head and tail.

    Examples
    --------
    >>> from edgelab.mcu.plans import Buffer, plan_buffers
    >>> plan = plan_buffers([Buffer("a", 64, 0, 1), Buffer("b", 32, 1, 2)])
    >>> arena_figure(plan, {"records": 48}).layout.title.text
    'Head 96 bytes, tail 48 bytes'
    """
    total = sum(tail.values())
    arena = arena_bytes or plan.size_bytes + total
    if arena < plan.size_bytes + total:
        raise BadInput(
            f"An arena of {arena:,} bytes does not hold a head of {plan.size_bytes:,} and a tail of {total:,}."
        )
    name = title or f"Head {plan.size_bytes:,} bytes, tail {total:,} bytes"
    figure = lifetime_figure(plan, name, **layout)
    first, last = min(b.first for b in plan.buffers), plan.steps - 1
    top = arena
    for number, (kind, size) in enumerate(tail.items()):
        top -= size
        figure.add_trace(
            {
                "type": "bar",
                "name": "tail",
                "legendgroup": "tail",
                "showlegend": number == 0,
                "x": [(first + last) / 2],
                "width": [last - first + 1],
                "base": [top],
                "y": [size],
                "marker": {"color": ROLES["neutral"], "opacity": 0.75, "line": {"color": INK, "width": 1}},
                "textposition": "none",
                "customdata": [
                    f"<b>tail: {html.escape(kind)}</b><br>{size:,} bytes, for as long as the network is loaded"
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )
    words = f"{lifetime_words(plan)} Above it the tail of {total:,} bytes: " + ", ".join(
        f"{kind} {size:,}" for kind, size in tail.items()
    )
    figure.update_layout(showlegend=True, yaxis_range=[0, 1.03 * arena], meta={"alt": f"{words}."})
    return figure


def _bars(kind: str, buffers: Sequence[tuple[int, Placed]]) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": kind,
        "x": [(b.first + b.last) / 2 for _, b in buffers],
        "width": [b.last - b.first + 1 for _, b in buffers],
        "base": [b.offset for _, b in buffers],
        "y": [b.size_bytes for _, b in buffers],
        "marker": {
            "color": [COLOURS[i % len(COLOURS)] for i, _ in buffers],
            "opacity": 0.85,
            "line": {"color": INK, "width": 1},
            "pattern": {"shape": _KINDS[kind], "solidity": 0.25},
        },
        "textposition": "none",
        "customdata": [_hover(b) for _, b in buffers],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _hover(b: Placed) -> str:
    name = b.name if len(b.name) <= _MOST_CHARACTERS else b.name[: _MOST_CHARACTERS - 1] + "…"
    place = f"<br>in place of {html.escape(b.shares_with)}" if b.shares_with else ""
    return (
        f"<b>{html.escape(name)}</b><br>{b.size_bytes:,} bytes at {b.offset:,} to {b.end:,}"
        f"<br>steps {b.first} to {b.last}{place}"
    )


def _kind(b: Placed) -> str:
    if b.shares_with:
        return "written in place"
    return "scratch buffer" if b.name.startswith("scratch ") else "tensor"


def _finding(plan: Plan) -> str:
    above = plan.size_bytes - plan.lower_bound
    start = f"{plan.size_bytes:,} bytes ({plan.heuristic})"
    if above <= 0:
        return f"{start}, as few as the lower bound allows"
    return f"{start}, {100 * above / plan.lower_bound:.1f}% above the lower bound"
