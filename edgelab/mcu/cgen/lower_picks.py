"""Lowering of the operators that choose where each value comes from: resizing, mirrored borders, slices, blocks."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from edgelab.errors import BadInput
from edgelab.mcu.cgen import fixed
from edgelab.mcu.cgen.lowering import Copy, Lower, Move, Step, agree, constant, needed, quantization, strides_of, where
from edgelab.mcu.model import Model, Operator, Tensor


@dataclass(frozen=True)
class Pick(Step):
    """``out[i, j, ...] = in[places[0][i] + places[1][j] + ...]``, places in elements of the flat input."""

    places: tuple[tuple[int, ...], ...]


def _tensors(model: Model, op: Operator) -> tuple[Tensor, Tensor]:
    """The input and the output, of int8 both; their integers are moved as they are."""
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    quantization(model, op, source)
    quantization(model, op, target)
    return source, target


def _pick(op: Operator, source: Tensor, target: Tensor, indices: list[list[int]]) -> Step:
    """``indices`` of the input along each of its axes, for each value of the output."""
    agree(math.prod(map(len, indices)) == target.elements and len(indices) == len(source.shape), "shapes")
    for chosen, size in zip(indices, source.shape, strict=True):
        agree(all(0 <= i < size for i in chosen), "indices")
    strides = strides_of(source.shape)
    places = tuple(tuple(i * stride for i in chosen) for chosen, stride in zip(indices, strides, strict=True))
    return Pick(op.index, op.code, (source.index,), (target.index,), places)


def _axes(model: Model, op: Operator, source: Tensor) -> set[int]:
    return {int(axis) % len(source.shape) for axis in constant(model, op, 1).ravel()}


def _nearest(model: Model, op: Operator) -> Step:
    source, target = _tensors(model, op)
    agree(len(source.shape) == len(target.shape) == 4, "ranks")
    align, half = bool(op.options.get("align_corners", False)), bool(op.options.get("half_pixel_centers", False))
    rows, columns = (_nearest_of(source.shape[a], target.shape[a], align, half) for a in (1, 2))
    return _pick(op, source, target, [[*range(source.shape[0])], rows, columns, [*range(source.shape[3])]])


def _nearest_of(size: int, out: int, align: bool, half: bool) -> list[int]:
    """The nearest of ``size`` values for each of ``out``, in float32 as the interpreter finds it."""
    one = np.float32(1.0)
    align = align and out > 1
    scale = np.float32(size - 1) / np.float32(out - 1) if align else np.float32(size) / np.float32(out)
    at = [float((np.float32(i) + (one / 2 if half else 0 * one)) * scale) for i in range(out)]
    return [max(0, min(fixed.rounded(x) if align else math.floor(x), size - 1)) for x in at]


def _slice(model: Model, op: Operator) -> Step:
    source, target = _tensors(model, op)
    begin, size = (constant(model, op, position).ravel().tolist() for position in (1, 2))
    whole = [n - b if s == -1 else s for n, b, s in zip(source.shape, begin, size, strict=True)]
    return _pick(op, source, target, [[*range(b, b + s)] for b, s in zip(begin, whole, strict=True)])


def _mirror_pad(model: Model, op: Operator) -> Step:
    source, target = _tensors(model, op)
    amounts = constant(model, op, 1).reshape(-1, 2).tolist()
    once = 1 if op.options.get("mode", "REFLECT") == "SYMMETRIC" else 0  # Whether the border itself is repeated.
    indices = []
    for size, (before, after) in zip(source.shape, amounts, strict=True):
        agree(0 <= before < size + once and 0 <= after < size + once, "amounts")
        mirrored = [-i - once if i < 0 else i for i in range(-before, size + after)]
        indices.append([2 * size - 2 + once - i if i >= size else i for i in mirrored])
    return _pick(op, source, target, indices)


def _reverse(model: Model, op: Operator) -> Step:
    source, target = _tensors(model, op)
    axes = _axes(model, op, source)
    return _pick(op, source, target, [[*range(n)][:: -1 if a in axes else 1] for a, n in enumerate(source.shape)])


def _broadcast(model: Model, op: Operator) -> Step:
    source, target = _tensors(model, op)
    full = (1,) * (len(target.shape) - len(source.shape)) + source.shape
    strides = strides_of(full)
    agree(all(n in (1, out) for n, out in zip(full, target.shape, strict=True)), "shapes")
    places = (
        tuple(i * stride if n > 1 else 0 for i in range(out))
        for n, stride, out in zip(full, strides, target.shape, strict=True)
    )
    return Pick(op.index, op.code, (source.index,), (target.index,), tuple(places))


def _gather(model: Model, op: Operator) -> Step:
    source, target = _tensors(model, op)
    agree(op.options.get("batch_dims", 0) == 0, "batches of indices")
    axis = op.options.get("axis", 0) % len(source.shape)
    indices = [[*range(n)] for n in source.shape]
    indices[axis] = [int(i) for i in constant(model, op, 1).ravel()]
    return _pick(op, source, target, indices)


def _blocks(model: Model, op: Operator) -> Step:
    """SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND: one copy for each place in a block, clipped at the borders."""
    source, target = _tensors(model, op)
    block = [int(n) for n in constant(model, op, 1).ravel()]
    amounts = constant(model, op, 2).reshape(-1, 2).tolist()
    apart = op.code == "SPACE_TO_BATCH_ND"
    if apart and any(map(any, amounts)):
        raise BadInput(
            f"{where(model, op)} pads, for which the interpreter's kernel takes no value that the model gives it; pad "
            "with PAD before it, or convert anew with a current converter, which dilates the convolution itself."
        )
    picture, batches = (source, target) if apart else (target, source)
    n, spatial = picture.shape[0], len(block)
    agree(min(block) > 0 and batches.shape[0] == n * math.prod(block), "blocks")
    agree(picture.shape[1 + spatial :] == batches.shape[1 + spatial :], "shapes")
    wide, deep = strides_of(picture.shape), strides_of(batches.shape)
    copies = []
    for number, offsets in enumerate(itertools.product(*map(range, block))):
        shape, in_picture, in_batches, covered = [n], 0, number * n * deep[0], True
        for a, (offset, by, (before, _)) in enumerate(zip(offsets, block, amounts, strict=True), 1):
            # The values at batches[i] stand in the picture at i * by + offset - before.
            first = max(0, -(-(before - offset) // by))
            count = min(batches.shape[a], -(-(picture.shape[a] + before - offset) // by)) - first
            shape.append(count)
            in_picture += (first * by + offset - before) * wide[a]
            in_batches += first * deep[a]
            covered = covered and count > 0
        if covered:
            full = (*shape, *picture.shape[1 + spatial :])
            steps = (wide[0], *(w * b for w, b in zip(wide[1:], block, strict=False)), *wide[1 + spatial :])
            one, other = (in_picture, steps), (in_batches, deep)
            (a0, a1), (b0, b1) = (one, other) if apart else (other, one)
            copies.append(Copy(source.index, target.index, full, a0, a1, b0, b1))
    return Move(op.index, op.code, (source.index,), (target.index,), tuple(copies), target.elements)


PICKS: dict[str, Lower] = {
    "RESIZE_NEAREST_NEIGHBOR": _nearest,
    "SLICE": _slice,
    "MIRROR_PAD": _mirror_pad,
    "REVERSE_V2": _reverse,
    "BROADCAST_TO": _broadcast,
    "GATHER": _gather,
    "SPACE_TO_BATCH_ND": _blocks,
    "BATCH_TO_SPACE_ND": _blocks,
}
