"""The smallest change that would make a model fit: what sets the peak of its memory, and how much has to go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from edgelab.mcu.arena import planned_buffers, steps_of
from edgelab.mcu.model import Model, Operator, Tensor

_STEP = 8  # sides of images and lengths of windows are proposed in multiples of it
_SMALL_STEP = 2
_WIDTH_STEP = 0.05
_SMALLEST_WIDTH = 0.1
_SMALLEST_SHARE = 1 / 16  # of the input's elements; below it a smaller input is no small change


@dataclass(frozen=True)
class Peak:
    """The step at which most bytes of activations are alive, and the operator that runs there."""

    operator: Operator
    bytes: int
    inputs_bytes: int
    """The share of the network's own inputs, which its width does not change."""

    @property
    def scales(self) -> bool:
        """Whether some of it goes with the network's width."""
        return self.bytes > self.inputs_bytes

    def __str__(self) -> str:
        return f"operator {self.operator.index}, {self.operator.code}, with {self.bytes:,} bytes alive"


def peak_of(model: Model) -> Peak | None:
    """The operator at whose step most bytes of tensors are alive; None of a model without any."""
    return max(_steps(model), key=lambda step: step.bytes, default=None)


def _steps(model: Model) -> list[Peak]:
    """The bytes alive at the first step of each operator."""
    own = {str(index) for index in model.inputs}
    steps = steps_of(model)
    alive, inputs = ([0] * (max((last for _, last in steps.values()), default=0) + 2) for _ in range(2))
    for buffer in planned_buffers(model):
        for sums in (alive, inputs) if buffer.name.split(" ", 1)[0] in own else (alive,):
            sums[buffer.first] += buffer.size_bytes
            sums[buffer.last + 1] -= buffer.size_bytes
    totals, shares = list(accumulate(alive)), list(accumulate(inputs))
    begins = [(op, steps[op.index][0]) for op in model.all_operators if op.index in steps]
    return [Peak(operator, totals[step], shares[step]) for operator, step in begins]


def less_memory(model: Model, head_bytes: int, excess_bytes: int) -> str:
    """How to get ``excess_bytes`` off a head of ``head_bytes``, as a sentence's end: a smaller input or less width.

    Activations of a convolutional network grow with the area of its input and with its width, so the share of the
    head that may stay gives both; the sizes are proposals, to be checked by another fit.
    """
    peak = peak_of(model)
    if peak is None or excess_bytes >= head_bytes:
        return "a device with more SRAM: no network of this depth leaves room for what the runtime keeps"
    if _is_float(model):
        return f"quantize it to int8, which takes about a quarter of the {head_bytes:,} bytes of its activations"
    share = (head_bytes - excess_bytes) / head_bytes
    ways = [
        way
        for way in (
            _smaller_input(model.tensors[model.inputs[0]], share) if model.inputs else "",
            _less_width(_steps(model), peak.bytes * share),
        )
        if way
    ]
    if not ways:
        return f"a smaller network: {peak} is {excess_bytes:,} bytes too much"
    return f"{', or '.join(ways)} ({peak}, about {excess_bytes:,} bytes have to go)"


def less_flash(model: Model, weights_bytes: int, excess_bytes: int) -> str:
    """How to get ``excess_bytes`` off the weights, as a sentence's end."""
    if _is_float(model):
        return f"quantize it to int8, which takes about a quarter of the {weights_bytes:,} bytes of weights"
    share = (weights_bytes - excess_bytes) / weights_bytes if weights_bytes else 0.0
    width = math.floor(math.sqrt(max(share, 0.0)) / _WIDTH_STEP + 1e-9) * _WIDTH_STEP
    if width < _SMALLEST_WIDTH:
        return f"a smaller network: its {weights_bytes:,} bytes of weights are {excess_bytes:,} too many"
    return f"width x {width:.2f} (weights grow with its square; {excess_bytes:,} of {weights_bytes:,} bytes have to go)"


def _smaller_input(tensor: Tensor, share: float) -> str:
    """The input with at most ``share`` of its area or length; empty where it has neither or little would be left."""
    shape = tensor.shape
    spatial = [n for n in shape[1:-1] if n > 1]
    if len(shape) not in (3, 4) or not spatial or share <= _SMALLEST_SHARE:
        return ""
    factor = share ** (1 / len(spatial))
    sides = [n if n <= 1 else _rounded_down(n * factor) for n in shape[1:-1]]
    if min(sides) < 1:
        return ""
    old, new = ("x".join(str(n) for n in s if n > 1) for s in (shape[1:-1], sides))
    return f"shrink the input from {old} to {new}" if new else ""


def _rounded_down(size: float) -> int:
    step = _STEP if size >= 4 * _STEP else _SMALL_STEP
    return math.floor(size / step) * step


def _less_width(steps: Sequence[Peak], may_stay: float) -> str:
    """The width at which no step has more bytes than may stay; the network's inputs keep their size."""
    widths = [(may_stay - step.inputs_bytes) / (step.bytes - step.inputs_bytes) for step in steps if step.scales]
    width = math.floor(min(widths, default=0.0) / _WIDTH_STEP + 1e-9) * _WIDTH_STEP
    return f"width x {width:.2f}" if _SMALLEST_WIDTH <= width < 1 else ""


def _is_float(model: Model) -> bool:
    return any(model.tensors[i].dtype == "float32" for op in model.operators for i in op.outputs) and not any(
        tensor.dtype == "int8" for tensor in model.tensors
    )
