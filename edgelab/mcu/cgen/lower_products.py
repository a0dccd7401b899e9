"""Lowering of operators that spread or mix whole pictures: TRANSPOSE_CONV, RESIZE_BILINEAR, BATCH_MATMUL."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgelab.mcu.cgen.fixed import Multiplier, quantize_multiplier
from edgelab.mcu.cgen.lower_layers import bias_of, broadcast, value_of, weights_of
from edgelab.mcu.cgen.lowering import (
    Ints,
    Lower,
    Step,
    activation_range,
    agree,
    needed,
    quantization,
    real_scale,
)
from edgelab.mcu.model import Model, Operator


@dataclass(frozen=True)
class Transposed(Step):
    """A transposed convolution, seen from its output.

    The value at ``y, x`` gathers the taps ``ky, kx`` for which ``y + pad - ky`` and ``x + pad - kx`` are whole strides
    inside of the input. Weights are (out, height, width, in).
    """

    shape: tuple[int, int, int, int]
    out_shape: tuple[int, int, int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    weights: Ints
    bias: Ints
    multipliers: tuple[Multiplier, ...]
    zero_in: int
    zero_out: int
    low: int
    high: int


@dataclass(frozen=True)
class Bilinear(Step):
    """Each row and column of the output lies between two of the input, ``part`` of 1,024 from the first one."""

    shape: tuple[int, int, int, int]
    rows: tuple[tuple[int, int, int], ...]
    """(first, second, part) of each row of the output."""
    columns: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Matmul(Step):
    """``out[b, i, j]`` is the sum over k of ``left[b, i, k] * right[b, k, j]``; strides: (batch..., i or j, k)."""

    batches: tuple[int, ...]
    rows: int
    columns: int
    depth: int
    operands: tuple[int | Ints, int | Ints]
    strides: tuple[tuple[int, ...], tuple[int, ...]]
    zeros: tuple[int, int, int]
    multiplier: Multiplier


def _transposed(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 2), model.tensors[op.outputs[0]]
    q_in, q_out = quantization(model, op, source), quantization(model, op, target)
    weights, scales = weights_of(model, op, 1)
    channels, kh, kw, features = weights.shape
    n, height, width, _ = source.shape
    agree(source.shape[3] == features and target.shape[3] == channels and target.shape[0] == n, "shapes")
    agree(len(scales) in (1, channels), "scales of weights")
    stride = op.options["stride_h"], op.options["stride_w"]
    agree(min(stride) > 0, "strides")
    pad = []
    for size, out, kernel, by in zip((height, width), target.shape[1:3], (kh, kw), stride, strict=True):
        windows = -(-out // by) if op.options["padding"] == "SAME" else (out + by - kernel) // by
        agree(windows == size, "its output's size")
        pad.append(max(0, (windows - 1) * by + kernel - out) // 2)
    low, high = activation_range(op, q_out)
    return Transposed(
        op.index,
        op.code,
        (source.index,),
        (target.index,),
        (n, height, width, features),
        (n, target.shape[1], target.shape[2], channels),
        stride,
        (pad[0], pad[1]),
        weights,
        bias_of(model, op, 3, channels),
        tuple(real_scale(q_in.scale, s, over=q_out.scale) for s in scales * (channels if len(scales) == 1 else 1)),
        q_in.zero_point,
        q_out.zero_point,
        low,
        high,
        macs=source.elements * channels * kh * kw,
    )


def _bilinear(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    quantization(model, op, source)
    quantization(model, op, target)
    n, height, width, channels = source.shape
    agree(target.shape[0] == n and target.shape[3] == channels and len(target.shape) == 4, "shapes")
    rows, columns = (_between(op, source.shape[axis], target.shape[axis]) for axis in (1, 2))
    return Bilinear(op.index, op.code, (source.index,), (target.index,), (n, height, width, channels), rows, columns)


def _between(op: Operator, size: int, out: int) -> tuple[tuple[int, int, int], ...]:
    """For each of ``out`` places the two of ``size`` values that it lies between, and how far, in 1,024ths."""
    unit = 1024
    align = bool(op.options.get("align_corners", False)) and out > 1
    count, steps = (size - 1, out - 1) if align else (size, out)
    scale = (unit * count + steps // 2) // steps
    found = []
    for i in range(out):
        at = i * scale + (scale // 2 - unit // 2 if op.options.get("half_pixel_centers", False) else 0)
        first = max(math.trunc(at / unit), 0)
        second = min(math.trunc((at + unit - 1) / unit), size - 1)
        agree(second >= 0 and first < size, "sizes")
        found.append((first, second, at - unit * first))
    return tuple(found)


def _matmul(model: Model, op: Operator) -> Step:
    left, right, target = needed(model, op, 0), needed(model, op, 1), model.tensors[op.outputs[0]]
    a, b, q_out = (quantization(model, op, tensor) for tensor in (left, right, target))
    batches, (rows, columns) = target.shape[:-2], target.shape[-2:]
    own = []
    for tensor, turned, size in (
        (left, op.options.get("adj_x", False), rows),
        (right, not op.options.get("adj_y", False), columns),
    ):
        shape = tensor.shape[:-2] + (tensor.shape[:-3:-1] if turned else tensor.shape[-2:])
        agree(shape[-2] == size, "shapes")
        strides = broadcast(tensor.shape, (*batches, *tensor.shape[-2:]))
        own.append((shape[-1], strides[:-2] + (strides[:-3:-1] if turned else strides[-2:])))
    (depth, first), (other, second) = own
    agree(depth == other, "shapes")
    product = float(np.float32(a.scale) * np.float32(b.scale))
    return Matmul(
        op.index,
        op.code,
        tuple(dict.fromkeys(t.index for t in (left, right) if t.data is None)),
        (target.index,),
        batches,
        rows,
        columns,
        depth,
        (value_of(left), value_of(right)),
        (first, second),
        (a.zero_point, b.zero_point, q_out.zero_point),
        quantize_multiplier(product / q_out.scale),
        macs=target.elements * depth,
    )


PRODUCTS: dict[str, Lower] = {
    "TRANSPOSE_CONV": _transposed,
    "RESIZE_BILINEAR": _bilinear,
    "BATCH_MATMUL": _matmul,
}
