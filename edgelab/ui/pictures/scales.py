"""One scale for a tensor, or one for each channel: what is left of small channels under a common grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.ui.pictures.canvas import WIDTH, Canvas, scale_of, short
from edgelab.ui.pictures.picture import Picture, drawn

_ROW = 42.0
_TOP = 62.0
_COUNT = 74.0  # room for the number of integers in use


def scale_per_channel(
    weights: ArrayLike, bits: int = 4, *, channels: int = 5, layer: str = "", title: str = ""
) -> Picture:
    """A few channels of a layer under one common grid, and each under a grid of its own.

    Symmetric grids of ``2**bits - 1`` integers. Beside each channel stands how many of them its weights use, counted
    over all weights of the channel.

    Parameters
    ----------
    weights
        (out channels, ...), any number of further dimensions.
    bits
        2 to 8. Few make the picture plain: at 8 bits the grid is too fine to be drawn line by line.
    channels
        How many to draw, from the smallest range to the largest; 2 to 8.
    layer
        Its name, for the caption.
    title
        The caption; without it, how many integers the smallest drawn channel uses either way.

    Raises
    ------
    BadInput
        If there are fewer than two channels, or the settings make no picture.

    Examples
    --------
    >>> picture = scale_per_channel([[0.1, -0.05, 0.02], [7.0, -3.0, 1.0]], bits=4, channels=2)
    >>> "channel 0: 1 of 15 integers under the common scale, 3 of 15 under its own" in picture.alt
    True
    """
    table = np.asarray(weights, dtype=np.float64)
    if table.ndim < 2 or table.shape[0] < 2 or not table[0].size or not np.isfinite(table).all():
        raise BadInput("scale_per_channel() takes finite weights of at least two output channels, (channels, ...).")
    if not (2 <= bits <= 8 and 2 <= channels <= 8):
        raise BadInput(f"scale_per_channel(): bits={bits} and channels={channels} must be between 2 and 8.")
    table = table.reshape(len(table), -1)
    reach = np.abs(table).max(axis=1)
    largest = float(reach.max())
    if largest == 0:
        raise BadInput("scale_per_channel(): all weights are 0.")
    order = np.argsort(reach, kind="stable")
    drawn_channels = [int(c) for c in order[np.unique(np.linspace(0, len(order) - 1, channels).round().astype(int))]]
    top = 2 ** (bits - 1) - 1
    count = 2 * top + 1
    common = largest / top
    canvas = Canvas(_TOP + _ROW * len(drawn_channels) + 34)
    left, middle, right = 84.0, WIDTH / 2 + 20, WIDTH - 6.0
    halves = {"common": (left, middle - 24), "own": (middle + 44, right)}
    canvas.text(left, 18, f"one scale: {short(common)}", bold=True)
    canvas.text(left, 38, "the same grid for all", size=13, colour="quiet")
    canvas.text(halves["own"][0], 18, "a scale for each channel", bold=True)
    canvas.text(halves["own"][0], 38, "each channel enlarged to its own range", size=13, colour="quiet")
    used: dict[int, tuple[int, int]] = {}
    for row, channel in enumerate(drawn_channels):
        y = _TOP + _ROW * row
        canvas.text(left - 10, y + 19, f"channel {channel}", anchor="end", size=13)
        own = float(reach[channel]) / top or common
        used[channel] = (_integers(table[channel], common, top), _integers(table[channel], own, top))
        canvas.text(halves["own"][0] - 8, y + 19, f"±{short(float(reach[channel]), 2)}", anchor="end", size=13)
        for i, (half, scale) in enumerate((("common", common), ("own", own))):
            start, end = halves[half]
            width = largest if half == "common" else float(reach[channel]) or largest
            place = scale_of(-width, width, start, end - _COUNT)
            _channel(canvas, table[channel], scale, top, place(0.0), (place(width) - place(0.0)) / width, y)
            lost = i == 0 and 2 * used[channel][0] <= used[channel][1]
            counted = f"{used[channel][i]} of {count}"
            canvas.text(end - _COUNT + 8, y + 19, counted, size=13, colour="orange" if lost else "ink", bold=lost)
    y = _TOP + _ROW * len(drawn_channels) + 18
    start, end = halves["common"]
    place = scale_of(-largest, largest, start, end - _COUNT)
    for value in (-largest, 0.0, largest):
        canvas.text(place(value), y, short(value, 2), anchor="middle", size=13, colour="quiet")
    canvas.text(halves["own"][1], y, "right of each: integers in use", anchor="end", size=13, colour="quiet")
    first = drawn_channels[0]
    of = f" of {layer}" if layer else ""
    caption = title or (
        f"The smallest channel{of} uses {used[first][0]} of {count} integers under one scale, "
        f"{used[first][1]} under its own"
    )
    told = "; ".join(
        f"channel {c}: {one} of {count} integers under the common scale, {own} of {count} under its own"
        for c, (one, own) in used.items()
    )
    return drawn(
        canvas,
        caption,
        f"Ranges of {len(used)} of {len(table)} channels{of} as bars, over grid lines at {bits} bits. {told}.",
    )


def _integers(weights: NDArray[np.float64], scale: float, top: int) -> int:
    return len(np.unique(np.clip(np.rint(weights / scale), -top, top)))


def _channel(
    canvas: Canvas, weights: NDArray[np.float64], scale: float, top: int, zero: float, per_unit: float, y: float
) -> None:
    """The range of one channel as a bar, its weights as strokes in it, and the lines of the grid behind."""
    low, high = min(float(weights.min()), 0.0), max(float(weights.max()), 0.0)
    canvas.rect(
        zero + low * per_unit, y + 5, max((high - low) * per_unit, 1.5), 18, fill="blue-soft", stroke="blue", corner=2
    )
    step = scale * per_unit
    if step >= 1.6:
        for q in range(-top, top + 1):
            canvas.line(zero + q * step, y, zero + q * step, y + 28, colour="ink" if q == 0 else "line", width=1)
    else:  # too fine to be drawn line by line
        half = top * step
        canvas.rect(zero - half, y, max(2 * half, 1), 28, fill="grid", stroke="", corner=0)
        canvas.rect(
            zero + low * per_unit,
            y + 9,
            max((high - low) * per_unit, 1.5),
            10,
            fill="blue-soft",
            stroke="blue",
            corner=2,
        )
