"""Convolutions as sheets of channels: what each filter reads, and how many weights and multiplications that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgelab.errors import BadInput
from edgelab.ui.pictures.canvas import WIDTH, Canvas
from edgelab.ui.pictures.picture import Picture, drawn

Kind = Literal["standard", "depthwise", "pointwise"]
_SHEET = 84.0
_DEPTH = 15.0  # between two sheets of a stack
_MOST_SHEETS = 5
_COLOURS = ("blue", "green", "pink", "orange", "quiet")


@dataclass(frozen=True)
class Count:
    """Weights and multiply-accumulates (MACs) of one convolution without its bias, stride 1, same padding."""

    weights: int
    macs: int
    weights_sum: str
    macs_sum: str


def convolution_count(kind: Kind, in_channels: int, out_channels: int, kernel: int, height: int, width: int) -> Count:
    """Count one convolution by hand.

    Examples
    --------
    >>> convolution_count("depthwise", 8, 8, 3, 16, 16).weights_sum
    '3 × 3 × 8 = 72'
    """
    places = f"{height} × {width}"
    if kind == "standard":
        weights, text = (
            kernel * kernel * in_channels * out_channels,
            f"{kernel} × {kernel} × {in_channels} × {out_channels}",
        )
    elif kind == "depthwise":
        weights, text = kernel * kernel * in_channels, f"{kernel} × {kernel} × {in_channels}"
    else:
        weights, text = in_channels * out_channels, f"1 × 1 × {in_channels} × {out_channels}"
    macs = height * width * weights
    return Count(weights, macs, f"{text} = {weights:,}", f"{places} places × {weights:,} = {macs:,}")


def convolution(
    kind: Kind,
    *,
    in_channels: int,
    out_channels: int | None = None,
    kernel: int = 3,
    height: int = 16,
    width: int = 16,
    title: str = "",
) -> Picture:
    """A convolution drawn as sheets, with its weights and multiply-accumulates counted by hand.

    Parameters
    ----------
    kind
        ``"standard"``: each filter reads all channels. ``"depthwise"``: each reads one. ``"pointwise"``: each reads
        all channels at one place.
    in_channels, out_channels
        At least 1. A depthwise convolution has as many outputs as inputs, which is what leaving it out gives.
    kernel
        Side of the filter; a pointwise convolution has 1 whatever stands here.
    height, width
        Of the feature map, with stride 1 and same padding.
    title
        The caption; without it, the kind and the number of weights.

    Raises
    ------
    BadInput
        If the kind is unknown, a size is no positive whole number, or a depthwise one has other outputs than inputs.

    Examples
    --------
    >>> picture = convolution("standard", in_channels=8, out_channels=16)
    >>> "3 × 3 × 8 × 16 = 1,152 weights" in picture.alt
    True
    """
    if kind not in get_args(Kind):
        raise BadInput(f"convolution(): kind='{kind}' is none of {', '.join(get_args(Kind))}.")
    outputs = in_channels if out_channels is None else out_channels
    kernel = 1 if kind == "pointwise" else kernel
    sizes = {"in_channels": in_channels, "out_channels": outputs, "kernel": kernel, "height": height, "width": width}
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise BadInput(f"convolution(): {name}={size!r} must be a whole number above 0.")
    if kind == "depthwise" and outputs != in_channels:
        raise BadInput(
            f"convolution(): a depthwise one has as many outputs as inputs, not {outputs} for {in_channels}."
        )
    count = convolution_count(kind, in_channels, outputs, kernel, height, width)
    shown_in, shown_out = min(in_channels, _MOST_SHEETS), min(outputs, _MOST_SHEETS)
    deepest = max(shown_in, shown_out)
    stack = _SHEET + _DEPTH * (deepest - 1)
    canvas = Canvas(stack + 124)
    x_in, x_out, y = 10.0, WIDTH - stack - 14, 30.0
    own = kind == "depthwise"
    for i in range(shown_in):  # the first sheet lies in front: drawn last
        j = shown_in - 1 - i
        colour = _COLOURS[j % len(_COLOURS)] if own else "blue"
        _sheet(canvas, x_in, y, j, deepest, colour, front=own or j == 0)
    for i in range(shown_out):
        j = shown_out - 1 - i
        _sheet(canvas, x_out, y, j, deepest, _COLOURS[j % len(_COLOURS)], front=False)
    side = min(28.0, _SHEET * kernel / max(kernel + 4, 5))
    if own:
        _own_filters(canvas, x_in, x_out, y, shown_in, deepest, kernel)
    else:
        _filters_over_all(canvas, x_in, x_out, y, shown_in, shown_out, deepest, side, kernel)
    canvas.text(x_in, 18, f"{in_channels} channels of {height} × {width}", size=14)
    canvas.text(WIDTH - 6, 18, f"{outputs} channels", size=14, anchor="end")
    middle = (x_in + stack + x_out) / 2
    filters = f"{outputs} filters of {kernel} × {kernel}" + ("" if own else f" × {in_channels}")
    canvas.text(middle, 18, filters, size=14, anchor="middle", bold=True)
    under = y + stack + 30
    reads = {
        "standard": "Each filter reads all channels and writes one.",
        "depthwise": "Each filter reads one channel and writes one.",
        "pointwise": "Each filter reads all channels at one place and writes one.",
    }[kind]
    canvas.text(10, under, reads, size=14)
    canvas.text(10, under + 28, f"weights: {count.weights_sum}", bold=True)
    canvas.text(10, under + 54, f"MACs: {count.macs_sum}", bold=True)
    caption = title or f"A {kind} convolution: {count.weights:,} weights"
    more = " (the first sheets are drawn)" if max(in_channels, outputs) > _MOST_SHEETS else ""
    return drawn(
        canvas,
        caption,
        f"{in_channels} input channels of {height} by {width} left, {outputs} output channels right{more}. "
        f"{reads} {count.weights_sum} weights; {count.macs_sum} multiply-accumulates.",
    )


def _corner(x: float, y: float, index: int, deepest: int) -> tuple[float, float]:
    """The top left corner of a sheet; sheet 0 lies in front, at the lower left."""
    return x + _DEPTH * index, y + _DEPTH * (deepest - 1 - index)


def _sheet(canvas: Canvas, x: float, y: float, index: int, deepest: int, colour: str, *, front: bool) -> None:
    left, top = _corner(x, y, index, deepest)
    fill = f"{colour}-soft" if colour != "quiet" else "soft"
    canvas.rect(left, top, _SHEET, _SHEET, fill=fill, stroke=colour, line=1.8 if front else 1.4, corner=3)


def _own_filters(canvas: Canvas, x_in: float, x_out: float, y: float, count: int, deepest: int, kernel: int) -> None:
    """One filter a channel, each in its channel's colour, on a row of its own."""
    size = 9.0
    stack = _SHEET + _DEPTH * (deepest - 1)
    high = min(44.0, stack / count)
    for j in range(count):
        colour = _COLOURS[j % len(_COLOURS)]
        at_x, at_y = _corner(x_in, y, j, deepest)
        to_x, to_y = _corner(x_out, y, j, deepest)
        middle_y = y + stack - high * (j + 0.5)
        cells = min(kernel, 5)
        cell = min(size, (high - 6) / cells)
        middle_x = (x_in + stack + x_out) / 2
        start = (at_x + _SHEET - 5, at_y + 7)
        canvas.line(*start, middle_x - cells * cell / 2 - 6, middle_y, colour=colour, width=1.5)
        canvas.dot(*start, radius=3, colour=colour)
        _filter(canvas, middle_x - cells * cell / 2, middle_y - cells * cell / 2, cells, cell, colour)
        canvas.arrow(middle_x + cells * cell / 2 + 6, middle_y, to_x + 5, to_y + 7, colour=colour, width=1.5)


def _filters_over_all(
    canvas: Canvas,
    x_in: float,
    x_out: float,
    y: float,
    inputs: int,
    outputs: int,
    deepest: int,
    side: float,
    kernel: int,
) -> None:
    """A column through all channels, and one filter an output that reads it."""
    stack = _SHEET + _DEPTH * (deepest - 1)
    side = 12.0 if kernel == 1 else side
    for j in range(inputs - 1, -1, -1):
        left, top = _corner(x_in, y, j, deepest)
        canvas.rect(
            left + _SHEET - side - 8, top + 8, side, side, fill="orange-soft", stroke="orange", line=2, corner=0
        )
    front = _corner(x_in, y, 0, deepest)
    back = _corner(x_in, y, inputs - 1, deepest)
    start = (
        (front[0] + back[0]) / 2 + _SHEET - 8 + 4,
        (front[1] + back[1]) / 2 + 8 + side / 2,
    )
    high = min(44.0, stack / outputs)
    middle_x = (x_in + stack + x_out) / 2
    cells = min(kernel, 5)
    for j in range(outputs):
        colour = _COLOURS[j % len(_COLOURS)]
        to_x, to_y = _corner(x_out, y, j, deepest)
        middle_y = y + stack - high * (j + 0.5)
        cell = min(9.0, (high - 12) / cells) if kernel > 1 else 10.0
        layers = min(inputs, 3)
        width = cells * cell + 4 * (layers - 1)
        canvas.line(*start, middle_x - width / 2 - 6, middle_y, colour="orange", width=1.3)
        for layer in range(layers - 1, -1, -1):  # the depth of the filter, at most three sheets of it
            _filter(
                canvas,
                middle_x - width / 2 + 4 * layer,
                middle_y - cells * cell / 2 - 4 * layer + 4,
                cells,
                cell,
                colour,
            )
        canvas.arrow(middle_x + width / 2 + 8, middle_y, to_x + 5, to_y + 7, colour=colour, width=1.5)


def _filter(canvas: Canvas, x: float, y: float, cells: int, cell: float, colour: str) -> None:
    fill = f"{colour}-soft" if colour != "quiet" else "soft"
    for row in range(cells):
        for column in range(cells):
            canvas.rect(x + column * cell, y + row * cell, cell, cell, fill=fill, stroke=colour, line=1.1, corner=0)
