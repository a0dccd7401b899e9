"""Lowering of the operators that compute: convolutions, dense layers, pools, arithmetic, activations, SVDF."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgelab.errors import BadInput
from edgelab.mcu.cgen import fixed
from edgelab.mcu.cgen.fixed import Multiplier, quantize_multiplier
from edgelab.mcu.cgen.lowering import (
    Binary,
    Convolution,
    FromFloat,
    Ints,
    Lower,
    Mean,
    Pool,
    Softmax,
    Step,
    Svdf,
    Table,
    ToFloat,
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


def _bias(model: Model, op: Operator, position: int, channels: int) -> Ints:
    tensor = operand(model, op, position)
    if tensor is None:
        return np.zeros(channels, np.int64)
    if tensor.dtype != "int32":
        raise BadInput(f"{where(model, op)} has a bias of type {tensor.dtype}; int8 kernels take int32, quantize anew.")
    return constant(model, op, position).reshape(channels)


def _weights(model: Model, op: Operator, position: int) -> tuple[Ints, tuple[float, ...]]:
    tensor = needed(model, op, position)
    q = quantization(model, op, tensor)
    if any(q.zero_points):
        raise BadInput(f"{where(model, op)} has asymmetric weights; int8 weights have the zero point 0, quantize anew.")
    return constant(model, op, position), q.scales


def _convolution(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    q_in, q_out = quantization(model, op, source), quantization(model, op, target)
    weights, scales = _weights(model, op, 1)
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
        _bias(model, op, 2, channels),
        tuple(real_scale(q_in.scale, scale, over=q_out.scale) for scale in scales),
        q_in.zero_point,
        q_out.zero_point,
        low,
        high,
        depthwise,
        macs=shape.batch * shape.out_height * shape.out_width * channels * taps * (1 if depthwise else shape.channels),
    )


def _dense(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    q_in, q_out = quantization(model, op, source), quantization(model, op, target)
    weights, scales = _weights(model, op, 1)
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
        _bias(model, op, 2, units),
        multipliers,
        q_in.zero_point,
        q_out.zero_point,
        low,
        high,
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


def _mean(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    q_in, q_out = quantization(model, op, source), quantization(model, op, target)
    axes = {int(axis) % len(source.shape) for axis in constant(model, op, 1).ravel()}
    sizes = list(zip(source.shape, strides_of(source.shape), strict=True))
    reduced = tuple(sizes[axis] for axis in sorted(axes))
    count = math.prod(size for size, _ in reduced)
    agree(target.elements * count == source.elements, "its output's size")
    real = real_scale(q_in.scale, over=q_out.scale)
    shift = min(count.bit_length() - 1, 32, 31 + real.shift)
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
        Multiplier((real.value << shift) // count, real.shift - shift),
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
        (_value(left), _value(right)),
        (_broadcast(left.shape, shape), _broadcast(right.shape, shape)),
        (a.zero_point, b.zero_point, q_out.zero_point),
        multipliers,
        low,
        high,
    )


def _value(tensor: Tensor) -> int | Ints:
    return tensor.index if tensor.data is None else tensor.array().astype(np.int64).ravel()


def _broadcast(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    full = (1,) * (len(target) - len(shape)) + shape
    agree(len(full) == len(target), "ranks")
    agree(all(size in (1, out) for size, out in zip(full, target, strict=True)), "shapes")
    return tuple(stride if size == out else 0 for size, stride, out in zip(full, strides_of(full), target, strict=True))


def _table(function: Callable[[Operator, float, int, float, int], Callable[[int], int]]) -> Lower:
    """Lower a function of one int8 value by trying all 256 of them."""

    def lower(model: Model, op: Operator) -> Step:
        source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
        agree(source.elements == target.elements, "sizes")
        a, b = quantization(model, op, source), quantization(model, op, target)
        result = function(op, a.scale, a.zero_point, b.scale, b.zero_point)
        table = np.array([min(max(result(x), -128), 127) for x in range(-128, 128)])
        return Table(op.index, op.code, (source.index,), (target.index,), table, source.elements)

    return lower


def _relu(op: Operator, scale: float, zero: int, out_scale: float, out_zero: int) -> Callable[[int], int]:  # noqa: ARG001
    ratio = real_scale(scale, over=out_scale)
    return lambda x: max(out_zero + ratio.apply(x - zero), out_zero)


def _relu6(op: Operator, scale: float, zero: int, out_scale: float, out_zero: int) -> Callable[[int], int]:  # noqa: ARG001
    six = min(zero + fixed.rounded(float(np.float32(6.0) / np.float32(scale))), 127)
    return lambda x: min(max(x, zero), six)


def _leaky(op: Operator, scale: float, zero: int, out_scale: float, out_zero: int) -> Callable[[int], int]:
    alpha = np.float32(op.options["alpha"])
    slope = real_scale(scale, float(alpha), over=out_scale)
    identity = real_scale(scale, over=out_scale)
    return lambda x: out_zero + (identity if x >= zero else slope).apply(x - zero)


def _sigmoid(op: Operator, scale: float, zero: int, out_scale: float, out_zero: int) -> Callable[[int], int]:  # noqa: ARG001
    mantissa, shift = math.frexp(scale * 2**27)
    multiplier = Multiplier(fixed.rounded(mantissa * 2**31), shift)
    radius = fixed.input_radius(4, shift)
    hyperbolic = op.code == "TANH"

    def result(x: int) -> int:
        x -= zero
        if abs(x) >= radius:
            return -128 if x < 0 else 127
        raw = multiplier.apply(x)
        if hyperbolic:
            return fixed.rounding_divide(fixed.tanh(raw, 4), 24)
        return fixed.rounding_divide(fixed.logistic(raw, 4), 23) - 128

    return result


def _int16(x: int) -> int:
    return min(max(x, -(2**15)), 2**15 - 1)


def _high_multiply16(a: int, b: int) -> int:
    return 2**15 - 1 if a == b == -(2**15) else (a * b + 2**14) >> 15


def _hard_swish(op: Operator, scale: float, zero: int, out_scale: float, out_zero: int) -> Callable[[int], int]:  # noqa: ARG001
    """The interpreter's 16-bit way: x on a finer scale, times (x + 3) / 6 held in [0, 1]."""
    fine = np.float32(scale) / np.float32(128.0)
    to_out = quantize_multiplier(float(fine / np.float32(out_scale)))
    to_three = quantize_multiplier(float(fine / np.float32(3.0 / 32768.0)))
    half = 2**15  # A 32-bit multiplier is kept in 16 bits, rounded.
    out16, three16 = (min((m.value + half) >> 16, 2**15 - 1) for m in (to_out, to_three))

    def result(x: int) -> int:
        value = (x - zero) * 128
        value = (value + 2**15) % 2**16 - 2**15
        on_out = _high_multiply16(value, out16)
        gate = value
        if to_three.shift > 0:
            gate = _int16(gate << (to_three.shift - 1))
        gate = _high_multiply16(gate, three16)
        if to_three.shift > 0:
            gate = _int16(gate << 1)
        if to_three.shift < 0:
            gate = fixed.rounding_divide(gate, -to_three.shift)
        gate = (gate + 2**15) >> 1
        product = gate * on_out
        high = abs(product) >> 15
        return out_zero + fixed.rounding_divide(high if product >= 0 else -high, -to_out.shift)

    return result


def _requantize(op: Operator, scale: float, zero: int, out_scale: float, out_zero: int) -> Callable[[int], int]:  # noqa: ARG001
    ratio = real_scale(scale, over=out_scale)
    return lambda x: out_zero + ratio.apply(x - zero)


def _quantize(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    if source.dtype != "float32":
        return _table(_requantize)(model, op)
    q = quantization(model, op, target)
    agree(source.elements == target.elements, "sizes")

    def result(bits: np.ndarray) -> np.ndarray:
        value = ordered(bits).view(np.float32) / np.float32(q.scale)
        nearest = np.sign(value) * np.floor(np.abs(value).astype(np.float64) + 0.5)
        return np.asarray(np.clip(nearest + q.zero_point, -128, 127))

    # The least float that reaches each value, by bisection over all floats in order.
    wanted = np.arange(-127, 128)
    low, high = np.full(255, ordered_int(-np.inf)), np.full(255, ordered_int(np.inf))
    for _ in range(33):
        middle = (low + high) // 2
        reached = result(middle.astype(np.int32)) >= wanted
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return FromFloat(
        op.index,
        op.code,
        (source.index,),
        (target.index,),
        ordered(high.astype(np.int32)).view(np.float32),
        source.elements,
    )


def ordered(bits: np.ndarray) -> np.ndarray:
    """Bits of float32 from integers that ascend with the float (its own inverse on integers)."""
    return np.asarray(bits ^ ((bits >> 31) & 0x7FFFFFFF), np.int32)


def ordered_int(value: float) -> int:
    """The integer that stands for a float in the order of `ordered`."""
    return int(ordered(np.array([value], np.float32).view(np.int32))[0])


def _dequantize(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    q = quantization(model, op, source)
    agree(source.elements == target.elements and target.dtype == "float32", "sizes or types")
    table = ((np.arange(-128, 128) - q.zero_point) * np.float64(np.float32(q.scale))).astype(np.float32)
    return ToFloat(op.index, op.code, (source.index,), (target.index,), table, source.elements)


def _softmax(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    q = quantization(model, op, source)
    quantization(model, op, target)
    agree(source.elements == target.elements, "sizes")
    multiplier = quantize_multiplier(min(op.options["beta"] * q.scale * 2**26, 2.0**31 - 1))
    lowest = min(fixed.input_radius(5, multiplier.shift), 255)
    depth = source.shape[-1]
    raw = (
        fixed.doubling_high_multiply(fixed.wrapped(-d << multiplier.shift), multiplier.value) for d in range(lowest + 1)
    )
    table = np.array([fixed.exp_of_negative(x, 5) for x in raw])
    return Softmax(op.index, op.code, (source.index,), (target.index,), source.elements // depth, depth, table)


def _svdf(model: Model, op: Operator) -> Step:
    source, state, target = needed(model, op, 0), needed(model, op, 4), model.tensors[op.outputs[0]]
    q_in, q_out = quantization(model, op, source), quantization(model, op, target)
    weights, (w_scale, *_) = _weights(model, op, 1)
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
        state.index,
        weights,
        wrapped(-q_in.zero_point * weights.sum(axis=1)),
        constant(model, op, 2),
        _bias(model, op, 3, bias.elements),
        quantize_multiplier(float(first)),
        quantize_multiplier(float(second)),
        state.dtype,
        state.quantization.zero_point,
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
    "ADD": _binary,
    "SUB": _binary,
    "MUL": _binary,
    "RELU": _table(_relu),
    "RELU6": _table(_relu6),
    "LEAKY_RELU": _table(_leaky),
    "LOGISTIC": _table(_sigmoid),
    "TANH": _table(_sigmoid),
    "HARD_SWISH": _table(_hard_swish),
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "SOFTMAX": _softmax,
    "SVDF": _svdf,
}
