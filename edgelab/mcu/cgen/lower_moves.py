"""Lowering of the operators that only move data: concatenation, padding, reshapes, slices, transposes, splits."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np

from edgelab.errors import BadInput
from edgelab.mcu.cgen.lowering import (
    Alias,
    Copy,
    Lower,
    Move,
    Step,
    agree,
    constant,
    needed,
    quantization,
    strides_of,
    where,
)
from edgelab.mcu.model import Model, Operator, Tensor


def _same_scale(model: Model, op: Operator, source: Tensor, target: Tensor) -> None:
    a, b = quantization(model, op, source), quantization(model, op, target)
    if (a.scale, a.zero_point) != (b.scale, b.zero_point):
        raise BadInput(
            f"{where(model, op)} joins tensors of different scales, which no int8 kernel of the interpreter does; "
            "quantize the model so that its inputs share the output's scale."
        )


def _move(model: Model, op: Operator, copies: tuple[Copy, ...], elements: int) -> Step:
    """Copies of int8 values, or of float32 ones byte by byte: what lies between DEQUANTIZE and QUANTIZE."""
    kinds = {model.tensors[i].dtype for copy in copies for i in (copy.source, copy.target)}
    if kinds == {"float32"}:
        copies = tuple(_bytes_of(copy, 4) for copy in copies)
        elements *= 4
    else:
        for copy in copies:
            quantization(model, op, model.tensors[copy.source])
            quantization(model, op, model.tensors[copy.target])
    return Move(op.index, op.code, (copies[0].source,), op.outputs, copies, elements)


def _bytes_of(copy: Copy, size: int) -> Copy:
    """The same copy of elements of that many bytes, in bytes."""
    return replace(
        copy,
        shape=(*copy.shape, size),
        source_offset=size * copy.source_offset,
        source_strides=(*(size * stride for stride in copy.source_strides), 1),
        target_offset=size * copy.target_offset,
        target_strides=(*(size * stride for stride in copy.target_strides), 1),
    )


def _concatenation(model: Model, op: Operator) -> Step:
    target = model.tensors[op.outputs[0]]
    axis = op.options.get("axis", 0) % len(target.shape)
    if op.options.get("fused_activation_function", "NONE") != "NONE":
        raise BadInput(f"{where(model, op)} has a fused activation; put it before or after the concatenation.")
    strides, start, copies = strides_of(target.shape), 0, []
    for index in op.inputs:
        source = model.tensors[index]
        _same_scale(model, op, source, target)
        if source.data is not None:
            raise BadInput(f"{where(model, op)} joins the constant '{source.name}'; add it with PAD or ADD instead.")
        others = [i for i in range(len(target.shape)) if i != axis]
        agree(len(source.shape) == len(target.shape), "ranks")
        agree(all(source.shape[i] == target.shape[i] for i in others), "shapes")
        own = strides_of(source.shape)
        copies.append(Copy(index, target.index, source.shape, 0, own, start * strides[axis], strides))
        start += source.shape[axis]
    if start != target.shape[axis]:
        raise BadInput(f"{where(model, op)} has inputs that do not fill its output; convert the model anew.")
    return Move(op.index, op.code, tuple(dict.fromkeys(op.inputs)), (target.index,), tuple(copies), target.elements)


def _pad(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    q = quantization(model, op, target)
    amounts = constant(model, op, 1).reshape(-1, 2)
    agree(len(amounts) == len(source.shape) == len(target.shape) and int(amounts.min()) >= 0, "amounts")
    padded = [int(size + pair.sum()) for size, pair in zip(source.shape, amounts, strict=True)]
    agree(padded == list(target.shape), "its output's shape")
    fill = int(constant(model, op, 2).ravel()[0]) if len(op.inputs) > 2 and op.inputs[2] >= 0 else q.zero_point
    strides = strides_of(target.shape)
    start = sum(int(before) * stride for (before, _), stride in zip(amounts, strides, strict=True))
    copy = Copy(source.index, target.index, source.shape, 0, strides_of(source.shape), start, strides)
    return Move(op.index, op.code, (source.index,), (target.index,), (copy,), target.elements, fill)


def _alias(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    if source.size_bytes != target.size_bytes:
        raise BadInput(f"{where(model, op)} changes the number of elements; convert the model anew, for a batch of 1.")
    return Alias(op.index, op.code, (source.index,), (target.index,))


def _transpose(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    order = [int(axis) for axis in constant(model, op, 1)]
    agree(sorted(order) == list(range(len(source.shape))), "the order of axes")
    agree([source.shape[axis] for axis in order] == list(target.shape), "its output's shape")
    strides = strides_of(source.shape)
    copy = Copy(
        source.index, target.index, target.shape, 0, tuple(strides[a] for a in order), 0, strides_of(target.shape)
    )
    return _move(model, op, (copy,), target.elements)


def _strided_slice(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    begin, end, step = (constant(model, op, position).ravel().tolist() for position in (1, 2, 3))
    o = op.options
    if o.get("ellipsis_mask", 0) or o.get("new_axis_mask", 0):
        raise BadInput(f"{where(model, op)} uses an ellipsis or a new axis; write the slice with every axis in place.")
    starts, shape, strides = [], [], []
    for axis, (size, stride) in enumerate(zip(source.shape, strides_of(source.shape), strict=True)):
        by = int(step[axis])
        if o.get("shrink_axis_mask", 0) >> axis & 1:
            starts.append((begin[axis] % size) * stride)
            continue
        part = slice(
            None if o.get("begin_mask", 0) >> axis & 1 else int(begin[axis]),
            None if o.get("end_mask", 0) >> axis & 1 else int(end[axis]),
            by,
        )
        if o.get("offset", False) and part.stop is not None:
            part = slice(part.start, (part.start or 0) + part.stop, by)
        taken = range(size)[part]
        starts.append((taken.start if len(taken) else 0) * stride)
        shape.append(len(taken))
        strides.append(by * stride)
    if int(np.prod(shape)) != target.elements:
        raise BadInput(f"{where(model, op)} does not give its output's shape; convert the model anew.")
    own = tuple(shape)
    copy = Copy(source.index, target.index, own, sum(starts), tuple(strides), 0, strides_of(own))
    return _move(model, op, (copy,), target.elements)


def _split(model: Model, op: Operator) -> Step:
    source = needed(model, op, 0 if op.code == "SPLIT_V" else 1)
    axis = int(constant(model, op, 2 if op.code == "SPLIT_V" else 0).ravel()[0]) % len(source.shape)
    targets = [model.tensors[i] for i in op.outputs]
    for target in targets:
        agree(len(target.shape) == len(source.shape), "ranks")
        agree(
            all(a == b or i == axis for i, (a, b) in enumerate(zip(source.shape, target.shape, strict=True))), "shapes"
        )
    return _parts(model, op, source, axis, targets, [t.shape for t in targets])


def _unpack(model: Model, op: Operator) -> Step:
    source, targets = needed(model, op, 0), [model.tensors[i] for i in op.outputs]
    axis = op.options.get("axis", 0) % len(source.shape)
    one = (*source.shape[:axis], 1, *source.shape[axis + 1 :])
    agree(all(t.elements == math.prod(one) for t in targets), "shapes")
    return _parts(model, op, source, axis, targets, [one] * len(targets))


def _parts(
    model: Model, op: Operator, source: Tensor, axis: int, targets: list[Tensor], shapes: list[tuple[int, ...]]
) -> Step:
    """Parts of a tensor along an axis."""
    agree(sum(shape[axis] for shape in shapes) == source.shape[axis], "parts")
    strides = strides_of(source.shape)
    starts = itertools.accumulate((shape[axis] for shape in shapes), initial=0)
    copies = tuple(
        Copy(source.index, target.index, shape, start * strides[axis], strides, 0, strides_of(shape))
        for target, shape, start in zip(targets, shapes, starts, strict=False)
    )
    return _move(model, op, copies, source.elements)


def _pack(model: Model, op: Operator) -> Step:
    target, sources = model.tensors[op.outputs[0]], [needed(model, op, k) for k in range(len(op.inputs))]
    axis = op.options.get("axis", 0) % len(target.shape)
    one = (*target.shape[:axis], 1, *target.shape[axis + 1 :])
    agree(len(sources) == target.shape[axis] and all(t.elements == math.prod(one) for t in sources), "shapes")
    for source in sources:
        _same_scale(model, op, source, target)
        if source.data is not None:
            raise BadInput(f"{where(model, op)} joins the constant '{source.name}'; add it with PAD or ADD instead.")
    strides = strides_of(target.shape)
    copies = tuple(
        Copy(source.index, target.index, one, 0, strides_of(one), k * strides[axis], strides)
        for k, source in enumerate(sources)
    )
    inputs = tuple(dict.fromkeys(op.inputs))
    return Move(op.index, op.code, inputs, (target.index,), copies, target.elements)


def _depth(model: Model, op: Operator) -> Step:
    """SPACE_TO_DEPTH and DEPTH_TO_SPACE: blocks of pixels against channels."""
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    _same_scale(model, op, source, target)
    block = int(op.options["block_size"])
    picture, deep = (source, target) if op.code == "SPACE_TO_DEPTH" else (target, source)
    batch, height, width, channels = deep.shape
    pixel = channels // block**2
    agree(picture.shape == (batch, height * block, width * block, pixel) and channels == pixel * block**2, "shapes")
    # Both as (batch, row of blocks, row in the block, column of blocks, column in the block, channel).
    shape = (batch, height, block, width, block, pixel)
    in_picture = strides_of(shape)
    n, y, x, c = strides_of(deep.shape)
    in_deep = (n, y, block * pixel * c, x, pixel * c, c)
    strides = (in_picture, in_deep) if picture is source else (in_deep, in_picture)
    copy = Copy(source.index, target.index, shape, 0, strides[0], 0, strides[1])
    return Move(op.index, op.code, (source.index,), (target.index,), (copy,), target.elements)


def _variable(model: Model, op: Operator) -> Step:
    """READ_VARIABLE and ASSIGN_VARIABLE: the bytes of a tensor, from or to the memory of a variable."""
    read = op.code == "READ_VARIABLE"
    variable, tensor = needed(model, op, 0), model.tensors[op.outputs[0]] if read else needed(model, op, 1)
    agree(variable.variable and variable.size_bytes == tensor.size_bytes, "sizes")
    places = (variable.index, tensor.index) if read else (tensor.index, variable.index)
    copy = Copy(*places, (tensor.size_bytes,), 0, (1,), 0, (1,))
    borders: tuple[tuple[int, ...], tuple[int, ...]] = ((), (tensor.index,)) if read else ((tensor.index,), ())
    return Move(op.index, op.code, *borders, (copy,), tensor.size_bytes)


MOVES: dict[str, Lower] = {
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "PADV2": _pad,
    "RESHAPE": _alias,
    "SQUEEZE": _alias,
    "EXPAND_DIMS": _alias,
    "TRANSPOSE": _transpose,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "PACK": _pack,
    "UNPACK": _unpack,
    "READ_VARIABLE": _variable,
    "ASSIGN_VARIABLE": _variable,
    "SPACE_TO_DEPTH": _depth,
    "DEPTH_TO_SPACE": _depth,
}
