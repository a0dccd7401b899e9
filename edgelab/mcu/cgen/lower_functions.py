"""Lowering of functions of one value: activations as tables, softmax, quantization at the model's borders."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgelab.mcu.cgen import fixed
from edgelab.mcu.cgen.fixed import Multiplier, quantize_multiplier
from edgelab.mcu.cgen.lowering import (
    FromFloat,
    Lower,
    Softmax,
    Step,
    Table,
    ToFloat,
    agree,
    needed,
    quantization,
    real_scale,
)
from edgelab.mcu.model import Model, Operator, Tensor


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
        if abs(x) >= radius:  # of a scale above 8 the radius is 0, and the interpreter takes 0 for a negative number
            return -128 if x <= -radius else 127
        raw = multiplier.apply(x)
        if hyperbolic:
            return fixed.rounding_divide(fixed.tanh(raw, 4), 24)
        return fixed.rounding_divide(fixed.logistic(raw, 4), 23) - 128

    return result


def _elu(op: Operator, scale: float, zero: int, out_scale: float, out_zero: int) -> Callable[[int], int]:  # noqa: ARG001
    """In float32, as the interpreter fills its own table."""
    inverse = np.float32(1) / np.float32(out_scale)

    def result(x: int) -> int:
        value = np.float32(scale) * np.float32(x - zero)
        value = np.expm1(value) if value < 0 else value
        return fixed.rounded(float(value * inverse)) + out_zero

    return result


def _abs(op: Operator, scale: float, zero: int, out_scale: float, out_zero: int) -> Callable[[int], int]:  # noqa: ARG001
    ratio = real_scale(scale, over=out_scale)
    return lambda x: out_zero + (abs(x - zero) if scale == out_scale else ratio.apply(abs(x - zero)))


def _rsqrt(op: Operator, scale: float, zero: int, out_scale: float, out_zero: int) -> Callable[[int], int]:  # noqa: ARG001
    """Of values from 0 up; below it the interpreter stops, and 0 has the largest result."""
    ratio = quantize_multiplier(1.0 / (math.sqrt(scale) * out_scale))
    fine = 20

    def result(x: int) -> int:
        if x <= zero:
            return 127
        inverse = fixed.inverse_square_root(x - zero)
        data = Multiplier(inverse.value, inverse.shift + fine).apply(1)
        return out_zero + Multiplier(ratio.value, ratio.shift - fine).apply(data)

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


def _of_bytes(op: Operator, source: Tensor, target: Tensor) -> Step:
    """QUANTIZE at the border of a model with uint8 inputs or outputs; their bytes stand in the table as int8."""
    agree(source.elements == target.elements, "sizes")
    agree({source.dtype, target.dtype} <= {"int8", "uint8"}, "types")
    a, b = source.quantization, target.quantization
    if a is None or b is None or len(a.scales) != 1 or len(b.scales) != 1 or min(a.scale, b.scale) <= 0:
        raise ValueError("a uint8 tensor without one scale")
    ratio = real_scale(a.scale, over=b.scale)
    table = []
    for byte in range(-128, 128):
        x = byte % 256 if source.dtype == "uint8" else byte
        low = 0 if target.dtype == "uint8" else -128
        result = min(max(b.zero_point + ratio.apply(x - a.zero_point), low), low + 255)
        table.append((result + 128) % 256 - 128)
    return Table(op.index, op.code, (source.index,), (target.index,), np.array(table), source.elements)


def _quantize(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    if "uint8" in (source.dtype, target.dtype):
        return _of_bytes(op, source, target)
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


FUNCTIONS: dict[str, Lower] = {
    "RELU": _table(_relu),
    "RELU6": _table(_relu6),
    "LEAKY_RELU": _table(_leaky),
    "ELU": _table(_elu),
    "ABS": _table(_abs),
    "RSQRT": _table(_rsqrt),
    "LOGISTIC": _table(_sigmoid),
    "TANH": _table(_sigmoid),
    "HARD_SWISH": _table(_hard_swish),
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "SOFTMAX": _softmax,
}
