"""From the operators of a model to steps with every number worked out: what the emitters of C turn into loops.

Each step carries shapes, integer weights, biases and fixed-point multipliers exactly as TensorFlow Lite Micro prepares
them; nothing about C is known here. Dense layers become 1x1 convolutions over a row of pixels, functions of one int8
value become tables of 256 results, and everything that only moves data becomes copies with strides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.mcu.cgen import fixed
from edgelab.mcu.cgen.fixed import Multiplier, quantize_multiplier
from edgelab.mcu.model import Model, Operator, Quantization, Tensor

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """A window that moves over a picture of ``(batch, height, width, channels)``."""

    batch: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    """Rows above and columns left of the picture that the first window reaches."""

    @property
    def pad_after(self) -> tuple[int, int]:
        """Rows below and columns right of the picture that the last window reaches; below zero: not reached."""
        (kh, kw), (sh, sw), (dh, dw), (ph, pw) = self.kernel, self.stride, self.dilation, self.pad
        bottom = (self.out_height - 1) * sh + (kh - 1) * dh + 1 - ph - self.height
        return bottom, (self.out_width - 1) * sw + (kw - 1) * dw + 1 - pw - self.width

    @property
    def padded(self) -> bool:
        """Whether some window reaches over the picture's edge."""
        return max(*self.pad, *self.pad_after) > 0


@dataclass(frozen=True)
class State:
    """A tensor that lasts from one inference to the next, full of ``zero`` in the beginning; ``name``: of several."""

    tensor: int
    name: str
    dtype: str
    zero: int


@dataclass(frozen=True)
class Step:
    """One operator, lowered; ``inputs`` and ``outputs`` are the tensors that live in the arena."""

    index: int
    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int = field(default=0, kw_only=True)
    shared: bool = field(default=False, kw_only=True)
    """Whether flash is so short that the step has no DSP kernels of its own."""

    @property
    def function(self) -> str:
        """The name of its C function."""
        return f"layer_{self.index:02d}_{self.code.lower()}"

    @property
    def states(self) -> tuple[State, ...]:
        """What it remembers."""
        return ()


@dataclass(frozen=True)
class Convolution(Step):
    """``out = clamp(zero_out + M_c * (bias_c + sum of w * (x - zero_in)))``.

    Weights are (out, height, width, in), of a depthwise one (height, width, out).
    """

    window: Window
    weights: Ints
    bias: Ints
    multipliers: tuple[Multiplier, ...]
    zero_in: int
    zero_out: int
    low: int
    high: int
    depthwise: bool = False
    scales: tuple[float, ...] = ()
    """Of the weights, one a channel; empty where the multipliers do not follow from them alone."""
    ratio: Fraction = Fraction(0)
    """The input's scale over the output's."""
    terse: bool = False
    """Whether flash is short: parameters are packed, loops shorter."""


@dataclass(frozen=True)
class Pool(Step):
    """Average or largest value of each window, channel by channel."""

    window: Window
    average: bool
    low: int
    high: int


@dataclass(frozen=True)
class Mean(Step):
    """Mean over axes: ``outer`` and ``reduced`` are (size, stride) pairs over the input, in elements."""

    outer: tuple[tuple[int, int], ...]
    reduced: tuple[tuple[int, int], ...]
    count: int
    zero_in: int
    zero_out: int
    multiplier: Multiplier


@dataclass(frozen=True)
class Binary(Step):
    """ADD, SUB or MUL of two operands that may be constants and may be broadcast along axes (stride 0)."""

    shape: tuple[int, ...]
    operands: tuple[int | Ints, int | Ints]
    strides: tuple[tuple[int, ...], tuple[int, ...]]
    zeros: tuple[int, int, int]
    multipliers: tuple[Multiplier, Multiplier, Multiplier]
    low: int
    high: int


@dataclass(frozen=True)
class Table(Step):
    """``out[i] = table[in[i] + 128]``."""

    table: Ints
    elements: int


@dataclass(frozen=True)
class Copy:
    """Elements moved from one tensor to another, over ``shape`` with strides and offsets in elements."""

    source: int
    target: int
    shape: tuple[int, ...]
    source_offset: int
    source_strides: tuple[int, ...]
    target_offset: int
    target_strides: tuple[int, ...]


@dataclass(frozen=True)
class Move(Step):
    """Copies, after the outputs were filled with ``fill`` where it is given."""

    copies: tuple[Copy, ...]
    elements: int
    """Of the output that is filled."""
    fill: int | None = None


@dataclass(frozen=True)
class Alias(Step):
    """The output holds the input's bytes in the same order: no code at all."""


@dataclass(frozen=True)
class Softmax(Step):
    """Rows of ``depth`` values; ``exponentials[d]`` is exp of a value that lies ``d`` below its row's largest."""

    rows: int
    depth: int
    exponentials: Ints


@dataclass(frozen=True)
class FromFloat(Step):
    """Quantize float32: the result is how many of the 255 ascending ``thresholds`` (float bits) are reached, - 128."""

    thresholds: NDArray[np.float32]
    elements: int


@dataclass(frozen=True)
class ToFloat(Step):
    """Dequantize: a table of the 256 float32 results."""

    table: NDArray[np.float32]
    elements: int


@dataclass(frozen=True)
class Svdf(Step):
    """A dense layer into a memory of past results, and weights over that memory."""

    batch: int
    features: int
    units: int
    rank: int
    memory: int
    state: State
    feature_weights: Ints
    feature_bias: Ints
    time_weights: Ints
    bias: Ints
    first: Multiplier
    second: Multiplier
    zero_out: int

    @property
    def states(self) -> tuple[State, ...]:
        """The memory of past results."""
        return (self.state,)


Lower = Callable[[Model, Operator], Step]


def operand(model: Model, op: Operator, position: int) -> Tensor | None:
    """An input tensor of an operator; None where it is left out."""
    if position >= len(op.inputs) or op.inputs[position] < 0:
        return None
    return model.tensors[op.inputs[position]]


def needed(model: Model, op: Operator, position: int) -> Tensor:
    """An input tensor of an operator that has to be there."""
    found = operand(model, op, position)
    if found is None:
        raise BadInput(f"{where(model, op)} lacks its input {position}; convert the model anew.")
    return found


def constant(model: Model, op: Operator, position: int) -> Ints:
    """A constant operand as integers."""
    tensor = needed(model, op, position)
    if tensor.data is None:
        raise BadInput(
            f"{where(model, op)} computes its operand '{tensor.name}' while it runs; "
            "make it a constant of the model, the generated code is specialised to it."
        )
    if tensor.dtype.startswith("float"):
        raise BadInput(f"{where(model, op)} has its operand '{tensor.name}' in float; quantize the model to int8.")
    return tensor.array().astype(np.int64)


_WITH_WEIGHTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def where(model: Model, op: Operator) -> str:
    """The operator as an error names it."""
    return f"Operator {op.index}, {op.code}, of {model.path.name}"


def quantization(model: Model, op: Operator, tensor: Tensor) -> Quantization:
    """The quantization of an int8 operand."""
    if tensor.dtype != "int8":
        kind = "in float" if tensor.dtype.startswith("float") else f"with {tensor.dtype} values"
        layers = [o for o in model.operators if o.outputs and len(o.inputs) > 1 and o.code in _WITH_WEIGHTS]
        if kind == "in float" and any(model.tensors[o.outputs[0]].dtype == "int8" for o in layers):
            raise BadInput(
                f"{where(model, op)} was left in float by the converter ('{tensor.name}'), while the layers around it "
                "are int8: put an operator in its place that the converter quantizes, such as RELU or HARD_SWISH, and "
                "train and convert again."
            )
        raise BadInput(
            f"{where(model, op)} works {kind} ('{tensor.name}'); the generator takes full-integer int8 models: "
            "quantize the model to int8, weights and activations, with a calibration set."
        )
    if tensor.quantization is None or not tensor.quantization.scales or min(tensor.quantization.scales) <= 0:
        raise BadInput(
            f"{where(model, op)} has the int8 tensor '{tensor.name}' without a scale; convert the model anew, "
            "with quantization parameters for every tensor."
        )
    if not all(-128 <= zero <= 127 for zero in tensor.quantization.zero_points):
        raise BadInput(f"{where(model, op)} has the int8 tensor '{tensor.name}' with a zero point outside of int8.")
    return tensor.quantization


def agree(condition: bool, what: str) -> None:
    """Raise `ValueError`, which `lower` turns into its sentence, unless shapes or options fit together."""
    if not condition:
        raise ValueError(what)


def activation_range(op: Operator, q: Quantization) -> tuple[int, int]:
    """The int8 range that the fused activation leaves."""
    name = op.options.get("fused_activation_function", "NONE")
    low, high = -128, 127
    at = {v: q.zero_point + fixed.rounded(float(np.float32(v) / np.float32(q.scale))) for v in (-1.0, 0.0, 1.0, 6.0)}
    if name in {"RELU", "RELU6"}:
        low = max(low, at[0.0])
    if name == "RELU6":
        high = min(high, at[6.0])
    if name == "RELU_N1_TO_1":
        low, high = max(low, at[-1.0]), min(high, at[1.0])
    if name not in {"NONE", "RELU", "RELU6", "RELU_N1_TO_1"}:
        raise BadInput(f"The fused activation {name} has no int8 kernel; use RELU or RELU6 instead.")
    return low, high


def window(op: Operator, source: Tensor, target: Tensor, kernel: tuple[int, int]) -> Window:
    """The window of a convolution or a pool."""
    n, h, w, c = source.shape
    _, oh, ow, oc = target.shape
    o = op.options
    stride = o["stride_h"], o["stride_w"]
    dilation = o.get("dilation_h_factor", 1), o.get("dilation_w_factor", 1)
    agree(min(*stride, *dilation, *kernel) > 0, "a stride, a dilation or a window of 0")
    agree(target.shape[0] == n, "different batches of input and output")
    pad = [0, 0]
    for axis, (size, out) in enumerate(((h, oh), (w, ow))):
        wide = (kernel[axis] - 1) * dilation[axis] + 1
        same = o["padding"] == "SAME"
        agree(out == (-(-size // stride[axis]) if same else (size - wide) // stride[axis] + 1), "its output's size")
        if same:
            pad[axis] = max(0, (out - 1) * stride[axis] + wide - size) // 2
    return Window(n, h, w, c, oh, ow, oc, kernel, stride, dilation, (pad[0], pad[1]))


def real_scale(*factors: float, over: float) -> Multiplier:
    """The multiplier of a quotient of scales, in double precision."""
    product = 1.0
    for factor in factors:
        product *= factor
    return quantize_multiplier(product / over)


def strides_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def wrapped(values: Ints) -> Ints:
    """What 32 bits keep of sums, as the interpreter's own arithmetic wraps round."""
    return np.asarray((values + 2**31) % 2**32 - 2**31, np.int64)


def options(op: Operator, name: str, default: Any) -> Any:
    """An option, or its default where the file leaves the table out."""
    return op.options.get(name, default)
