"""Flows: boxes and arrows from one stage to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgelab.errors import BadInput
from edgelab.ui.pictures.canvas import SIZE, WIDTH, Canvas, short, wrap
from edgelab.ui.pictures.picture import Picture, drawn

_PER_ROW = 4
_GAP = 34.0
_MOST_STAGES = 12
_MOST_RANGES = 4
_LONGEST = 26


def pipeline(stages: Sequence[str | tuple[str, str]], title: str, *, marked: Sequence[str] = ()) -> Picture:
    """The stages from a network to what runs, as boxes from left to right, four in a row.

    Parameters
    ----------
    stages
        Two or more: a name, or a name and what happens there (sizes, versions, formats).
    title
        The caption.
    marked
        Names of stages that stand out: where this lesson is.

    Raises
    ------
    BadInput
        If there are fewer than two stages or more than twelve, or a marked one is not among them.

    Examples
    --------
    >>> pipeline([("PyTorch", "float32"), ("ONNX", "opset 17")], "From PyTorch to a file").alt
    'Stages in order: PyTorch (float32), then ONNX (opset 17).'
    """
    named = [(stage, "") if isinstance(stage, str) else (str(stage[0]), str(stage[1])) for stage in stages]
    if not 2 <= len(named) <= _MOST_STAGES:
        raise BadInput(f"pipeline() draws 2 to {_MOST_STAGES} stages; there are {len(named)}.")
    strangers = [name for name in marked if name not in [stage for stage, _ in named]]
    if strangers:
        raise BadInput(f"pipeline(): '{strangers[0]}' is marked and is none of the stages.")
    per_row = min(_PER_ROW, len(named)) if len(named) != 5 else 3
    wide = (WIDTH - 8 - _GAP * (per_row - 1)) / per_row
    high = max(
        24 + 18 * len(wrap(name, wide - 16)) + 17 * len(wrap(note, wide - 14, SIZE - 2)) + (6 if note else 0)
        for name, note in named
    )
    rows = -(-len(named) // per_row)
    canvas = Canvas(rows * high + (rows - 1) * 40 + 8)
    for i, (name, note) in enumerate(named):
        row, column = divmod(i, per_row)
        x, y = 4 + column * (wide + _GAP), 4 + row * (high + 40)
        on = name in marked
        canvas.box(
            x, y, wide, high, name, [note] if note else [], fill="blue-soft" if on else "soft",
            stroke="blue" if on else "line",
        )  # fmt: skip
        if i + 1 == len(named):
            continue
        if column + 1 < per_row:
            canvas.arrow(x + wide + 4, y + high / 2, x + wide + _GAP - 4, y + high / 2, width=2)
        else:
            middle = y + high + 20
            canvas.line(x + wide / 2, y + high + 4, x + wide / 2, middle, colour="quiet", width=2)
            canvas.line(x + wide / 2, middle, 4 + wide / 2, middle, colour="quiet", width=2)
            canvas.arrow(4 + wide / 2, middle, 4 + wide / 2, y + high + 36, width=2)
    told = ", then ".join(f"{name} ({note})" if note else name for name, note in named)
    here = f" Marked: {', '.join(marked)}." if marked else ""
    return drawn(canvas, title, f"Stages in order: {told}.{here}")


def calibration_flow(
    *,
    network: str = "float32 network",
    samples: int | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    bits: int = 8,
    title: str = "Calibration: from a float network to an integer one",
) -> Picture:
    """How static quantization finds its scales: a float network, representative data, ranges, scales, integers.

    Parameters
    ----------
    network
        The name of the float network.
    samples
        How many items calibrate it.
    ranges
        Layer to the (lowest, highest) activation that the data showed; the first four are drawn with the scale and
        the zero point that follow from them, in unsigned integers of ``bits`` bits. A range is widened to hold 0.
    bits
        Of the integer network, 2 to 8.
    title
        The caption.

    Raises
    ------
    BadInput
        If a range runs downwards or is empty, or the bits are none of 2 to 8.

    Examples
    --------
    >>> picture = calibration_flow(samples=200, ranges={"stem": (0.0, 2.55)})
    >>> "stem: scale 0.01, zero point 0" in picture.alt
    True
    """
    if not 2 <= bits <= 8:
        raise BadInput(f"calibration_flow(): bits={bits} must be between 2 and 8.")
    found, scales, told = [], [], []
    for layer, (low, high) in list((ranges or {}).items())[:_MOST_RANGES]:
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise BadInput(f"calibration_flow(): the range of '{layer}' must run upwards; it is {low} to {high}.")
        low_0, high_0 = min(low, 0.0), max(high, 0.0)
        scale = (high_0 - low_0) / (2**bits - 1)
        name = layer if len(layer) <= _LONGEST else f"{layer[: _LONGEST - 1]}…"
        zero = short(round(-low_0 / scale))
        found.append(f"{name}: {short(low)} to {short(high)}")
        scales.append(f"{name}: {short(scale)} and {zero}")
        told.append(f"{layer}: scale {short(scale)}, zero point {zero}")
    data = f"{samples:,} representative samples" if samples is not None else "representative samples"
    left, right, wide = 4.0, 376.0, 340.0
    lower = 66 + 19.0 * max(len(found), 1)
    canvas = Canvas(144 + lower + 50 + 74 + 6)
    canvas.box(left, 4, wide, 78, network, ["real weights, real activations"])
    canvas.box(right, 4, wide, 78, data, ["what the network will meet, not noise"], fill="green-soft", stroke="green")
    top = 144.0
    canvas.arrow(left + wide / 2, 86, left + wide / 2, top - 4, width=2)
    canvas.line(right + wide / 2, 86, right + wide / 2, 112, colour="green", width=2)
    canvas.line(right + wide / 2, 112, left + wide / 2 + 40, 112, colour="green", width=2)
    canvas.arrow(left + wide / 2 + 40, 112, left + wide / 2 + 40, top - 4, colour="green", width=2)
    canvas.text(left + wide / 2 + 52, 134, "run through, watched", size=13, colour="quiet")
    canvas.box(left, top, wide, lower, "ranges of the activations", found or ["lowest and highest of each layer"])
    steps = scales or [f"(high − low) / {2**bits - 1}, and the integer for 0"]
    canvas.arrow(left + wide + 4, top + lower / 2, right - 4, top + lower / 2, width=2)
    canvas.box(right, top, wide, lower, "scales and zero points", steps, fill="blue-soft", stroke="blue")
    under = top + lower + 50
    canvas.arrow(right + wide / 2, top + lower + 4, right + wide / 2, under - 4, width=2)
    canvas.box(
        right, under, wide, 74, f"INT{bits} network", [f"integers of {bits} bits and their scales"],
        fill="blue-soft", stroke="blue",
    )  # fmt: skip
    canvas.line(left + 40, 86, left + 40, top - 4, colour="quiet", width=2, dash="5 4")
    canvas.line(left + 40, top + lower + 4, left + 40, under + 37, colour="quiet", width=2, dash="5 4")
    canvas.arrow(left + 40, under + 37, right - 4, under + 37, width=2)
    canvas.text(left + 54, under + 30, "weights: their ranges are known", size=13, colour="quiet")
    seen = f" Ranges: {'; '.join(found)}. {'; '.join(told)}." if found else ""
    return drawn(
        canvas,
        title,
        f"{data[0].upper()}{data[1:]} run through the {network}; the lowest and highest activation of each layer give "
        f"a range, the range gives a scale and a zero point, and with these the weights and activations become "
        f"integers of {bits} bits.{seen}",
    )
