"""Operators of a Core ML program on lists, windows, blocks and integers, in PyTorch; see `coreml_operators`.

Networks from TensorFlow hold the steps of a recurrent layer in lists; here a list is a tensor whose first axis counts
its entries.
"""

from __future__ import annotations

from typing import Any

import torch

from edgelab.engines.coreml_operators import Tensor, number, operator, whole_numbers

_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15)}


@operator()
def make_list(elem_shape: Any = None, init_length: Any = 1, dynamic_length: Any = True, dtype: str = "fp32") -> Tensor:
    """A list of zeros."""
    del dynamic_length
    sizes = [] if elem_shape is None else [int(number(n)) for n in _entries(elem_shape)]
    kind = {"int32": torch.int32, "bool": torch.bool}.get(dtype, torch.float32)
    return torch.zeros([int(number(init_length)), *sizes], dtype=kind)


@operator()
def list_length(ls: Tensor) -> Tensor:
    """How many entries a list has."""
    return torch.tensor(len(ls), dtype=torch.int32)


@operator()
def list_read(ls: Tensor, index: Any) -> Tensor:
    """One entry."""
    return ls.select(0, int(number(index)))


@operator()
def list_write(ls: Tensor, index: Any, value: Tensor) -> Tensor:
    """The list with one entry replaced, or with entries more where the place lies behind its end."""
    place = int(number(index))
    ls = _grown(ls, place + 1, value)
    return torch.cat([ls[:place], value.unsqueeze(0).to(ls.dtype), ls[place + 1 :]])


@operator()
def list_gather(ls: Tensor, indices: Any) -> Tensor:
    """Entries in the order of their places."""
    return ls.index_select(0, torch.tensor(whole_numbers(indices)))


@operator()
def list_scatter(ls: Tensor, indices: Any, value: Tensor) -> Tensor:
    """The list with entries replaced at the named places."""
    places = whole_numbers(indices)
    ls = _grown(ls, max(places, default=-1) + 1, value[0])
    rows = list(ls.unbind(0))
    for place, row in zip(places, value.unbind(0), strict=True):
        rows[place] = row.to(ls.dtype)
    return torch.stack(rows)


@operator()
def sliding_windows(x: Tensor, axis: Any, size: Any, stride: Any = 1) -> Tensor:
    """Windows along an axis: that axis counts them, and the next one holds their values."""
    place = int(number(axis)) % x.ndim
    return x.unfold(place, int(number(size)), int(number(stride))).movedim(-1, place + 1)


@operator()
def clamped_relu(x: Tensor, alpha: Any, beta: Any) -> Tensor:
    """X (alpha x below 0), at most beta."""
    return torch.where(x >= 0, x, number(alpha) * x).clamp(max=number(beta))


@operator()
def argsort(x: Tensor, axis: Any = -1, ascending: Any = False) -> Tensor:
    """Places of the values in their order."""
    return torch.argsort(x, dim=int(number(axis)), descending=not bool(ascending), stable=True).int()


@operator()
def gather_nd(x: Tensor, indices: Tensor, batch_dims: Any = 0, validate_indices: Any = False) -> Tensor:
    """Entries by places of several axes, which stand along the last axis of the indices."""
    del validate_indices
    if int(number(batch_dims)):
        raise NotImplementedError("gather_nd with batch_dims")
    depth = indices.shape[-1]
    places = [p % n for p, n in zip(indices.long().unbind(-1), x.shape[:depth], strict=True)]
    return x[tuple(places)]


@operator()
def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: Any = False
) -> Tensor:
    """Data with entries replaced, or added to, at places of several axes."""
    del validate_indices
    if mode not in ("add", "update"):
        raise NotImplementedError(f"scatter_nd in the mode {mode}")
    places = [p % n for p, n in zip(indices.long().unbind(-1), data.shape, strict=False)]
    return data.index_put(tuple(places), updates, accumulate=mode == "add")


@operator()
def depth_to_space(x: Tensor, block_size: Any) -> Tensor:
    """Channels into blocks of pixels, the place in the block before the channel."""
    b, (n, c, h, w) = int(number(block_size)), x.shape
    return x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


@operator()
def space_to_depth(x: Tensor, block_size: Any) -> Tensor:
    """Blocks of pixels into channels, the place in the block before the channel."""
    b, (n, c, h, w) = int(number(block_size)), x.shape
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


@operator()
def reshape_like(x: Tensor, ref_tensors: Any, begins: Any, ends: Any, end_masks: Any) -> Tensor:
    """The same values in a shape put together from parts of other shapes."""
    sizes: list[int] = []
    masks = [bool(m) for m in torch.as_tensor(end_masks).reshape(-1).tolist()]
    for ref, begin, end, to_the_end in zip(ref_tensors, whole_numbers(begins), whole_numbers(ends), masks, strict=True):
        sizes += list(ref.shape[begin:] if to_the_end else ref.shape[begin:end])
    return x.reshape(sizes)


@operator()
def quantize(input: Tensor, scale: Any, zero_point: Any = None, axis: Any = None, output_dtype: str = "int8") -> Tensor:  # noqa: A002 - the specification's name
    """Round(x / scale) + zero point, held in the range of the integers."""
    step, zero = _per_axis(scale, input, axis), 0 if zero_point is None else _per_axis(zero_point, input, axis)
    low, high = _RANGES[output_dtype]
    return torch.clamp(torch.round(input / step) + zero, low, high).int()


@operator()
def dequantize(input: Tensor, scale: Any, zero_point: Any = None, axis: Any = None) -> Tensor:  # noqa: A002 - as above
    """(q - zero point) times scale."""
    zero = 0 if zero_point is None else _per_axis(zero_point, input, axis)
    return (input.float() - zero) * _per_axis(scale, input, axis)


def _per_axis(value: Any, x: Tensor, axis: Any) -> Tensor:
    given = torch.as_tensor(value).float()
    if given.numel() == 1 or axis is None:
        return given.reshape(())
    shape = [1] * x.ndim
    shape[int(number(axis))] = -1
    return given.reshape(shape)


def _entries(shape: Any) -> list[Any]:
    return list(shape) if isinstance(shape, list | tuple) else torch.as_tensor(shape).reshape(-1).tolist()


def _grown(ls: Tensor, length: int, like: Tensor) -> Tensor:
    """The list with at least so many entries; an empty list takes the shape of its first entry."""
    if ls.shape[1:] != like.shape:
        ls = torch.zeros((len(ls), *like.shape), dtype=like.dtype)
    missing = length - len(ls)
    return torch.cat([ls, torch.zeros((missing, *ls.shape[1:]), dtype=ls.dtype)]) if missing > 0 else ls
