"""Lowering of the operators that compute over several values: convolutions, dense layers, pools, arithmetic, SVDF."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from edgelab.errors import BadInput
from edgelab.mcu.cgen.fixed import Multiplier, quantize_multiplier
from edgelab.mcu.cgen.lowering import (
    Binary,
    Convolution,
    Ints,
    Lower,
    Mean,
    Pool,
    State,
    Step,
    Svdf,
    Window,
    activation_range,
    agree,
    constant,
    needed,
    operand,
    quantization,
    real_scale,
    strides_of,
    where,
    window,
    wrapped,
)
from edgelab.mcu.model import Model, Operator, Tensor


def bias_of(model: Model, op: Operator, position: int, channels: int) -> Ints:
    """A bias as integers; zeros where it is left out."""
    tensor = operand(model, op, position)
    if tensor is None:
        return np.zeros(channels, np.int64)
    if tensor.dtype != "int32":
        raise BadInput(f"{where(model, op)} has a bias of type {tensor.dtype}; int8 kernels take int32, quantize anew.")
    return constant(model, op, position).reshape(channels)


def weights_of(model: Model, op: Operator, position: int) -> tuple[Ints, tuple[float, ...]]:
    """Constant weights with their scales."""
    tensor = needed(model, op, position)
    q = quantization(model, op, tensor)
    if any(q.zero_points):
        raise BadInput(f"{where(model, op)} has asymmetric weights; int8 weights have the zero point 0, quantize anew.")
    return constant(model, op, position), q.scales


def _ratio(scale_in: float, scale_out: float) -> Fraction:
    known = math.isfinite(scale_in) and math.isfinite(scale_out) and scale_out > 0
    return Fraction(scale_in) / Fraction(scale_out) if known else Fraction(0)


def _convolution(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    q_in, q_out = quantization(model, op, source), quantization(model, op, target)
    weights, scales = weights_of(model, op, 1)
    depthwise = op.code == "DEPTHWISE_CONV_2D"
    channels = target.shape[3]
    if depthwise:
        weights = weights[0]
        kernel = (weights.shape[0], weights.shape[1])
    else:
        kernel = (weights.shape[1], weights.shape[2])
        if weights.shape[3] != source.shape[3]:
            raise BadInput(f"{where(model, op)} is a grouped convolution; split it into one convolution a group.")
    agree(weights.size == kernel[0] * kernel[1] * channels * (1 if depthwise else source.shape[3]), "weights")
    agree(not depthwise or channels % source.shape[3] == 0, "channels")
    low, high = activation_range(op, q_out)
    scales = scales * channels if len(scales) == 1 else scales
    agree(len(scales) == channels, "scales of weights")
    shape = window(op, source, target, kernel)
    taps = kernel[0] * kernel[1]
    return Convolution(
        op.index,
        op.code,
        (source.index,),
        (target.index,),
        shape,
        weights,
        bias_of(model, op, 2, channels),
        tuple(real_scale(q_in.scale, scale, over=q_out.scale) for scale in scales),
        q_in.zero_point,
        q_out.zero_point,
        low,
        high,
        depthwise,
        scales,
        _ratio(q_in.scale, q_out.scale),
        macs=shape.batch * shape.out_height * shape.out_width * channels * taps * (1 if depthwise else shape.channels),
    )


def _dense(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    q_in, q_out = quantization(model, op, source), quantization(model, op, target)
    weights, scales = weights_of(model, op, 1)
    units, features = weights.shape
    rows = source.elements // features
    agree(rows * features == source.elements and rows * units == target.elements, "sizes")
    agree(len(scales) in (1, units), "scales of weights")
    if len(scales) == 1:  # The interpreter multiplies the two scales in float32 here, and only here.
        product = float(np.float32(q_in.scale) * np.float32(scales[0]))
        multipliers = (quantize_multiplier(product / q_out.scale),) * units
    else:
        multipliers = tuple(real_scale(q_in.scale, scale, over=q_out.scale) for scale in scales)
    low, high = activation_range(op, q_out)
    return Convolution(
        op.index,
        op.code,
        (source.index,),
        (target.index,),
        Window(1, 1, rows, features, 1, rows, units),
        weights.reshape(units, 1, 1, features),
        bias_of(model, op, 2, units),
        multipliers,
        q_in.zero_point,
        q_out.zero_point,
        low,
        high,
        scales=scales if len(scales) == units > 1 else (),
        ratio=_ratio(q_in.scale, q_out.scale),
        macs=rows * units * features,
    )


def _pool(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    quantization(model, op, source)
    low, high = activation_range(op, quantization(model, op, target))
    agree(source.shape[3] == target.shape[3], "channels")
    kernel = op.options["filter_height"], op.options["filter_width"]
    shape = window(op, source, target, kernel)
    return Pool(op.index, op.code, (source.index,), (target.index,), shape, op.code == "AVERAGE_POOL_2D", low, high)


def _largest(model: Model, op: Operator) -> Step:
    """REDUCE_MAX over neighbouring axes: a pool whose window is as high as the picture."""
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    a, b = quantization(model, op, source), quantization(model, op, target)
    if (a.scale, a.zero_point) != (b.scale, b.zero_point):
        raise BadInput(f"{where(model, op)} changes the scale, which its int8 kernel does not; quantize anew.")
    axes = sorted({int(axis) % len(source.shape) for axis in constant(model, op, 1).ravel()})
    if not axes or axes != list(range(axes[0], axes[-1] + 1)):
        raise BadInput(f"{where(model, op)} reduces axes that are not neighbours; reduce them one after the other.")
    before, middle, after = (
        math.prod(source.shape[part])
        for part in (slice(axes[0]), slice(axes[0], axes[-1] + 1), slice(axes[-1] + 1, None))
    )
    agree(target.elements == before * after, "shapes")
    shape = Window(before, middle, 1, after, 1, 1, after, (middle, 1))
    return Pool(op.index, op.code, (source.index,), (target.index,), shape, average=False, low=-128, high=127)


def _mean(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    q_in, q_out = quantization(model, op, source), quantization(model, op, target)
    axes = {int(axis) % len(source.shape) for axis in constant(model, op, 1).ravel()}
    sizes = list(zip(source.shape, strides_of(source.shape), strict=True))
    reduced = tuple(sizes[axis] for axis in sorted(axes))
    count = math.prod(size for size, _ in reduced)
    agree(target.elements * count == source.elements, "its output's size")
    real = real_scale(q_in.scale, over=q_out.scale)
    divisor = count if op.code == "MEAN" else 1
    shift = min(divisor.bit_length() - 1, 32, 31 + real.shift)
    return Mean(
        op.index,
        op.code,
        (source.index,),
        (target.index,),
        tuple(pair for axis, pair in enumerate(sizes) if axis not in axes),
        reduced,
        count,
        q_in.zero_point,
        q_out.zero_point,
        Multiplier((real.value << shift) // divisor, real.shift - shift),
    )


def _binary(model: Model, op: Operator) -> Step:
    left, right, target = needed(model, op, 0), needed(model, op, 1), model.tensors[op.outputs[0]]
    a, b, q_out = (quantization(model, op, tensor) for tensor in (left, right, target))
    shape = target.shape or (1,)
    low, high = activation_range(op, q_out)
    if op.code == "MUL":
        one = Multiplier(2**30, 1)
        multipliers = (one, one, real_scale(a.scale, b.scale, over=q_out.scale))
    else:
        twice = 2 * max(a.scale, b.scale)
        multipliers = (
            real_scale(a.scale, over=twice),
            real_scale(b.scale, over=twice),
            real_scale(twice, over=2**20 * q_out.scale),
        )
    return Binary(
        op.index,
        op.code,
        tuple(t.index for t in (left, right) if t.data is None),
        (target.index,),
        shape,
        (value_of(left), value_of(right)),
        (broadcast(left.shape, shape), broadcast(right.shape, shape)),
        (a.zero_point, b.zero_point, q_out.zero_point),
        multipliers,
        low,
        high,
    )


def value_of(tensor: Tensor) -> int | Ints:
    """A constant's integers, or the index of a tensor in memory."""
    return tensor.index if tensor.data is None else tensor.array().astype(np.int64).ravel()


def broadcast(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a tensor that is repeated to a larger shape."""
    full = (1,) * (len(target) - len(shape)) + shape
    agree(len(full) == len(target), "ranks")
    agree(all(size in (1, out) for size, out in zip(full, target, strict=True)), "shapes")
    return tuple(stride if size == out else 0 for size, stride, out in zip(full, strides_of(full), target, strict=True))


def _svdf(model: Model, op: Operator) -> Step:
    source, state, target = needed(model, op, 0), needed(model, op, 4), model.tensors[op.outputs[0]]
    q_in, q_out = quantization(model, op, source), quantization(model, op, target)
    weights, (w_scale, *_) = weights_of(model, op, 1)
    time, bias = needed(model, op, 2), needed(model, op, 3)
    if not (state.variable and state.quantization and time.quantization and time.dtype == state.dtype):
        raise BadInput(f"{where(model, op)} has no state of its own with a scale; convert the model anew.")
    scale = np.float32(state.quantization.scale)
    first = np.float32(q_in.scale) * np.float32(w_scale) / scale
    second = scale * np.float32(time.quantization.scale) / np.float32(q_out.scale)
    filters, features = weights.shape
    agree(source.elements == source.shape[0] * features and time.shape[0] == filters, "sizes")
    agree(filters % op.options["rank"] == 0 and bias.elements == filters // op.options["rank"], "rank")
    agree(target.elements == source.shape[0] * bias.elements, "its output's size")
    agree(state.elements == source.shape[0] * filters * time.shape[1], "its state's size")
    rank, memory = op.options["rank"], time.shape[1]
    return Svdf(
        op.index,
        op.code,
        (source.index,),
        (target.index,),
        source.shape[0],
        features,
        filters // rank,
        rank,
        memory,
        State(state.index, "", state.dtype, state.quantization.zero_point),
        weights,
        wrapped(-q_in.zero_point * weights.sum(axis=1)),
        constant(model, op, 2),
        bias_of(model, op, 3, bias.elements),
        quantize_multiplier(float(first)),
        quantize_multiplier(float(second)),
        q_out.zero_point,
        macs=source.shape[0] * filters * (features + memory),
    )


LAYERS: dict[str, Lower] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _dense,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "SUM": _mean,
    "REDUCE_MAX": _largest,
    "ADD": _binary,
    "SUB": _binary,
    "MUL": _binary,
    "SVDF": _svdf,
}
