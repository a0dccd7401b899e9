"""Operators of a Core ML program that move values, reduce axes or resize, in PyTorch; see `coreml_operators`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from edgelab.engines.coreml_operators import OPERATORS, Operator, Tensor, number, operator, whole_numbers

# Reductions


def _power_sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return x.square().sum(axes, keepdim=keep)


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, Operator] = {
    "reduce_l1_norm": lambda x, a, k: x.abs().sum(a, keepdim=k),
    "reduce_l2_norm": lambda x, a, k: _power_sum(x, a, k).sqrt(),
    "reduce_log_sum": lambda x, a, k: x.sum(a, keepdim=k).log(),
    "reduce_log_sum_exp": lambda x, a, k: torch.logsumexp(x, a, keepdim=k),
    "reduce_max": lambda x, a, k: x.amax(a, keepdim=k),
    "reduce_mean": lambda x, a, k: x.mean(a, keepdim=k),
    "reduce_min": lambda x, a, k: x.amin(a, keepdim=k),
    "reduce_prod": _product,
    "reduce_sum": lambda x, a, k: x.sum(a, keepdim=k, dtype=x.dtype),
    "reduce_sum_square": _power_sum,
}


def _reduction(function: Operator) -> Operator:
    def reduce(x: Tensor, axes: Any = None, keep_dims: Any = False) -> Tensor:
        over = tuple(range(x.ndim)) if axes is None else tuple(whole_numbers(axes))
        result: Tensor = function(x, over, bool(keep_dims))
        return result

    return reduce


for _name, _function in _REDUCTIONS.items():
    OPERATORS[_name] = _reduction(_function)


@operator()
def reduce_argmax(x: Tensor, axis: Any = -1, keep_dims: Any = False, output_dtype: str = "int32") -> Tensor:
    """Place of the largest value along an axis."""
    del output_dtype
    return x.argmax(int(number(axis)), keepdim=bool(keep_dims)).int()


@operator()
def reduce_argmin(x: Tensor, axis: Any = -1, keep_dims: Any = False, output_dtype: str = "int32") -> Tensor:
    """Place of the smallest value along an axis."""
    del output_dtype
    return x.argmin(int(number(axis)), keepdim=bool(keep_dims)).int()


@operator()
def cumsum(x: Tensor, axis: Any = 0, exclusive: Any = False, reverse: Any = False) -> Tensor:
    """Running sums along an axis."""
    place = int(number(axis))
    y = x.flip(place) if reverse else x
    total = y.cumsum(place)
    total = total - y if exclusive else total
    return (total.flip(place) if reverse else total).to(x.dtype)


@operator()
def topk(
    x: Tensor,
    k: Any = 1,
    axis: Any = -1,
    ascending: Any = False,
    sort: Any = True,
    return_indices: Any = True,
    output_indices_dtype: str = "int32",
) -> tuple[Tensor, ...]:
    """The k largest (or smallest) values along an axis, and their places."""
    del output_indices_dtype
    found = torch.topk(x, int(number(k)), int(number(axis)), largest=not ascending, sorted=bool(sort))
    return (found.values, found.indices.int()) if return_indices else (found.values,)


# Shape and place


@operator()
def reshape(x: Tensor, shape: Any) -> Tensor:
    """The same values in another shape; 0 keeps an axis, -1 takes the rest."""
    sizes = whole_numbers(shape)
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(sizes)])


@operator()
def transpose(x: Tensor, perm: Any) -> Tensor:
    """Axes in another order."""
    return x.permute(whole_numbers(perm))


@operator()
def expand_dims(x: Tensor, axes: Any) -> Tensor:
    """New axes of size 1 at the named places of the result."""
    places = whole_numbers(axes)
    rank = x.ndim + len(places)
    for place in sorted(p % rank for p in places):
        x = x.unsqueeze(place)
    return x


@operator()
def squeeze(x: Tensor, axes: Any = None) -> Tensor:
    """Without the named axes of size 1, or all of them."""
    places = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else whole_numbers(axes)
    for place in sorted((p % x.ndim for p in places), reverse=True):
        x = x.squeeze(place)
    return x


@operator()
def flatten2d(x: Tensor, axis: Any = 1) -> Tensor:
    """Two axes: what stands before ``axis``, and the rest."""
    first = x.shape[: int(number(axis))].numel()
    return x.reshape(first, -1)


@operator()
def concat(values: Sequence[Tensor], axis: Any, interleave: Any = False) -> Tensor:
    """Tensors one behind the other along an axis, or dealt in turn."""
    place = int(number(axis))
    parts = [torch.as_tensor(v) for v in values]
    parts = [v.reshape(1) if v.ndim == 0 else v for v in parts]  # sizes of which a shape is put together
    if not interleave:
        return torch.cat(parts, place)
    stacked = torch.stack(parts, (place % parts[0].ndim) + 1)
    return stacked.flatten(place % parts[0].ndim, (place % parts[0].ndim) + 1)


@operator()
def stack(values: Sequence[Tensor], axis: Any) -> Tensor:
    """Tensors along a new axis."""
    return torch.stack([torch.as_tensor(v) for v in values], int(number(axis)))


@operator()
def split(x: Tensor, num_splits: Any = None, split_sizes: Any = None, axis: Any = 0) -> tuple[Tensor, ...]:
    """Parts along an axis, equal or of given sizes."""
    place = int(number(axis))
    if split_sizes is not None:
        return tuple(torch.split(x, whole_numbers(split_sizes), place))
    return tuple(torch.tensor_split(x, int(number(num_splits)), place))


@operator()
def slice_by_index(
    x: Tensor,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Tensor:
    """X[begin:end:stride] on each axis; a mask opens an end, or takes one place and drops the axis."""
    none = [0] * x.ndim
    steps = [1] * x.ndim if stride is None else whole_numbers(stride)
    starts, ends = whole_numbers(begin), whole_numbers(end)
    free, open_ended = (none if m is None else whole_numbers(m) for m in (begin_mask, end_mask))
    single = none if squeeze_mask is None else whole_numbers(squeeze_mask)
    for axis, size in enumerate(x.shape):
        if single[axis]:
            x = x.narrow(axis, starts[axis] % size, 1)
            continue
        chosen = slice(None if free[axis] else starts[axis], None if open_ended[axis] else ends[axis], steps[axis])
        places = range(*chosen.indices(size))
        if steps[axis] == 1:
            x = x.narrow(axis, places.start if places else 0, len(places))
        else:
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64))
    for axis in reversed([i for i, drop in enumerate(single) if drop]):
        x = x.squeeze(axis)
    return x


@operator()
def slice_by_size(x: Tensor, begin: Any, size: Any) -> Tensor:
    """A block of a given size; -1 reaches to the end."""
    for axis, (start, length) in enumerate(zip(whole_numbers(begin), whole_numbers(size), strict=True)):
        x = x.narrow(axis, start, x.shape[axis] - start if length == -1 else length)
    return x


@operator()
def gather(x: Tensor, indices: Tensor, axis: Any = 0, batch_dims: Any = 0, validate_indices: Any = False) -> Tensor:
    """Entries of an axis by their places."""
    del validate_indices
    if int(number(batch_dims)):
        raise NotImplementedError("gather with batch_dims")
    place = int(number(axis)) % max(x.ndim, 1)
    places = torch.as_tensor(indices).long()
    places = torch.where(places < 0, places + x.shape[place], places)
    picked = x.index_select(place, places.reshape(-1))
    return picked.reshape([*x.shape[:place], *places.shape, *x.shape[place + 1 :]])


@operator()
def gather_along_axis(x: Tensor, indices: Tensor, axis: Any = 0, validate_indices: Any = False) -> Tensor:
    """Entries of an axis by a place for each result."""
    del validate_indices
    place = int(number(axis))
    return torch.gather(x, place, indices.long() % x.shape[place])


@operator()
def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: Any = 0,
    mode: str = "add",
    validate_indices: Any = False,
) -> Tensor:
    """Data with entries of an axis replaced, or added to, at the named places."""
    del validate_indices
    if mode not in ("add", "update"):
        raise NotImplementedError(f"scatter in the mode {mode}")
    place = int(number(axis)) % data.ndim
    places = indices.reshape(-1).long() % data.shape[place]
    parts = updates.reshape(*data.shape[:place], len(places), *data.shape[place + 1 :])
    return data.index_add(place, places, parts) if mode == "add" else data.index_copy(place, places, parts)


@operator()
def pad(x: Tensor, pad: Any, mode: str = "constant", constant_val: Any = 0.0) -> Tensor:
    """Values before and after the last axes: a constant, the mirror image or the edge."""
    sides = whole_numbers(pad)
    pairs = [(sides[i], sides[i + 1]) for i in range(0, len(sides), 2)]
    if mode == "constant":
        return functional.pad(x, [n for pair in reversed(pairs) for n in pair], value=number(constant_val))
    for axis, (before, after) in enumerate(pairs, x.ndim - len(pairs)):
        n = x.shape[axis]
        places = torch.arange(-before, n + after)
        if mode == "reflect":
            places = (n - 1 - (places.abs() - (n - 1)).abs()) if n > 1 else places * 0
        x = x.index_select(axis, places.clamp(0, n - 1))
    return x


@operator()
def crop(x: Tensor, crop_height: Any, crop_width: Any) -> Tensor:
    """Rows and columns cut off at both ends of the last two axes."""
    (top, bottom), (left, right) = whole_numbers(crop_height), whole_numbers(crop_width)
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@operator()
def tile(x: Tensor, reps: Any) -> Tensor:
    """Copies along each axis."""
    return x.tile(whole_numbers(reps))


@operator()
def reverse(x: Tensor, axes: Any = None) -> Tensor:
    """Axes back to front."""
    return x.flip(list(range(x.ndim)) if axes is None else whole_numbers(axes))


@operator()
def fill(shape: Any, value: Any = 0.0) -> Tensor:
    """One value everywhere."""
    given = torch.as_tensor(value)
    return torch.full(whole_numbers(shape), given.item(), dtype=given.dtype)


@operator()
def fill_like(ref_tensor: Tensor, value: Any = 0.0) -> Tensor:
    """One value in the shape of another tensor."""
    given = torch.as_tensor(value)
    return torch.full(ref_tensor.shape, given.item(), dtype=given.dtype)


@operator("shape")
def shape_of(x: Tensor) -> Tensor:
    """The sizes of the axes."""
    return torch.tensor(x.shape, dtype=torch.int32)


@operator()
def range_1d(end: Any, start: Any, step: Any) -> Tensor:
    """Start, start + step, ... below end."""
    kind = torch.as_tensor(end).dtype
    return torch.arange(number(start), number(end), number(step)).to(kind)


@operator()
def one_hot(indices: Tensor, one_hot_vector_size: Any, axis: Any = -1, on_value: Any = 1, off_value: Any = 0) -> Tensor:
    """One value at the named place and another elsewhere."""
    size = int(number(one_hot_vector_size))
    hit = (indices.unsqueeze(-1) == torch.arange(size)).movedim(-1, int(number(axis)))
    return torch.where(hit, torch.as_tensor(on_value), torch.as_tensor(off_value))


@operator()
def band_part(x: Tensor, lower: Any = -1, upper: Any = -1) -> Tensor:
    """A band around the diagonal; -1 keeps a side whole."""
    rows, columns = torch.arange(x.shape[-2])[:, None], torch.arange(x.shape[-1])[None]
    low, high = int(number(lower)), int(number(upper))
    keep = torch.ones(x.shape[-2:], dtype=torch.bool)
    keep = keep & (rows - columns <= low) if low >= 0 else keep
    keep = keep & (columns - rows <= high) if high >= 0 else keep
    return torch.where(keep, x, torch.zeros_like(x))


@operator()
def pixel_shuffle(x: Tensor, upscale_factor: Any) -> Tensor:
    """Channels into blocks of pixels."""
    return functional.pixel_shuffle(x, int(number(upscale_factor)))


@operator()
def pixel_unshuffle(x: Tensor, downscale_factor: Any) -> Tensor:
    """Blocks of pixels into channels."""
    return functional.pixel_unshuffle(x, int(number(downscale_factor)))


# Resizing


@operator()
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: Any = 1, scale_factor_width: Any = 1) -> Tensor:
    """Each pixel repeated."""
    return _grown(x, scale_factor_height, scale_factor_width, "nearest", None)


@operator()
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: Any = 1,
    scale_factor_width: Any = 1,
    align_corners: Any = True,
    half_pixel_centers: Any = None,
) -> Tensor:
    """Pixels in between by linear interpolation."""
    if half_pixel_centers is not None and bool(half_pixel_centers) == bool(align_corners):
        raise NotImplementedError("upsample_bilinear without half_pixel_centers")
    return _grown(x, scale_factor_height, scale_factor_width, "bilinear", bool(align_corners))


def _grown(x: Tensor, height: Any, width: Any, mode: str, corners: bool | None) -> Tensor:
    size = [int(x.shape[-2] * number(height)), int(x.shape[-1] * number(width))]
    return functional.interpolate(x, size, mode=mode, align_corners=corners)


@operator()
def resize_nearest_neighbor(x: Tensor, target_size_height: Any, target_size_width: Any) -> Tensor:
    """The image in another size, each pixel the nearest one."""
    return functional.interpolate(x, [int(number(target_size_height)), int(number(target_size_width))], mode="nearest")
