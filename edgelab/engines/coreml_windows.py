"""Operators of a Core ML program that slide a window: convolutions and pooling, in PyTorch; see `coreml_operators`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from edgelab.engines.coreml_operators import Operator, Tensor, number, operator, whole_numbers

_CONVOLUTIONS: dict[int, Operator] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED: dict[int, Operator] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@operator()
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Any = None,
    pad_type: str = "valid",
    pad: Any = None,
    dilations: Any = None,
    groups: Any = 1,
) -> Tensor:
    """Convolution over one to three spatial axes."""
    axes = x.ndim - 2
    steps, holes = _per_axis(strides, axes), _per_axis(dilations, axes)
    spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], holes, strict=True)]
    sides = _sides(pad_type, pad, x.shape[2:], spans, steps)
    padding: list[int] = sides[0::2]
    if sides[0::2] != sides[1::2]:
        x, padding = _padded(x, sides), [0] * axes
    result: Tensor = _CONVOLUTIONS[axes](x, weight, bias, steps, padding, holes, int(number(groups)))
    return result


@operator()
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Any = None,
    output_shape: Any = None,
    pad_type: str = "valid",
    strides: Any = None,
    dilations: Any = None,
    groups: Any = 1,
) -> Tensor:
    """The transpose of a convolution, cut as padding and output shape say."""
    axes = x.ndim - 2
    steps, holes = _per_axis(strides, axes), _per_axis(dilations, axes)
    y: Tensor = _TRANSPOSED[axes](x, weight, bias, steps, 0, 0, int(number(groups)), holes)
    sizes = list(y.shape[2:])
    if output_shape is not None:
        sizes = whole_numbers(output_shape)[-axes:]
    elif pad_type.startswith("same"):
        sizes = [n * s for n, s in zip(x.shape[2:], steps, strict=True)]
    given = whole_numbers(pad) if pad is not None and pad_type == "custom" else [0] * (2 * axes)
    if output_shape is None and pad_type == "custom":
        sizes = [full - given[2 * i] - given[2 * i + 1] for i, full in enumerate(y.shape[2:])]
    for i, size in enumerate(sizes):
        full = y.shape[2 + i]
        start = given[2 * i]
        if pad_type.startswith("same"):
            cut = max(full - size, 0)
            start = cut // 2 if pad_type == "same" else cut - cut // 2
        y = y.narrow(2 + i, start, min(size, full - start))
        if size > y.shape[2 + i]:  # an output padding that the kernel does not reach: the bias alone
            extra = functional.pad(torch.zeros_like(y), [0, 0] * (axes - 1 - i) + [0, size - y.shape[2 + i]])
            level = 0 if bias is None else bias.reshape(1, -1, *[1] * axes)
            keep = functional.pad(torch.ones_like(y), [0, 0] * (axes - 1 - i) + [0, size - y.shape[2 + i]])
            y = functional.pad(y, [0, 0] * (axes - 1 - i) + [0, size - y.shape[2 + i]]) + (1 - keep) * level + extra
    return y


# Pooling


@operator()
def max_pool(
    x: Tensor, kernel_sizes: Any, strides: Any = None, pad_type: str = "valid", pad: Any = None, ceil_mode: Any = False
) -> Tensor:
    """The largest value of each window."""
    size, steps, sides = _windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    return _pool(_padded(x, sides, -math.inf), size, steps).amax(-1)


@operator()
def avg_pool(
    x: Tensor,
    kernel_sizes: Any,
    strides: Any = None,
    pad_type: str = "valid",
    pad: Any = None,
    exclude_padding_from_average: Any = False,
    ceil_mode: Any = False,
) -> Tensor:
    """The mean of each window, with or without the padding."""
    size, steps, sides = _windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    own = _sides(pad_type, pad, x.shape[2:], size, steps)
    total = _pool(_padded(x, sides), size, steps).sum(-1)
    ones = torch.ones((1, 1, *x.shape[2:]))
    counted = ones if exclude_padding_from_average else _padded(ones, own, 1.0)
    rest = sides if exclude_padding_from_average else [a - b for a, b in zip(sides, own, strict=True)]
    return total / _pool(_padded(counted, rest), size, steps).sum(-1)


@operator()
def l2_pool(x: Tensor, kernel_sizes: Any, strides: Any = None, pad_type: str = "valid", pad: Any = None) -> Tensor:
    """The square root of the sum of squares of each window."""
    size, steps, sides = _windows(x, kernel_sizes, strides, pad_type, pad, False)
    return _pool(_padded(x, sides), size, steps).square().sum(-1).sqrt()


def _per_axis(value: Any, axes: int) -> list[int]:
    return [1] * axes if value is None else whole_numbers(value)


def _sides(pad_type: str, pad: Any, sizes: Sequence[int], spans: Sequence[int], steps: Sequence[int]) -> list[int]:
    """Padding before and after each spatial axis, in the order of the axes."""
    if pad_type == "custom":
        return whole_numbers(pad)
    if pad_type == "valid":
        return [0] * (2 * len(sizes))
    sides: list[int] = []
    for size, span, step in zip(sizes, spans, steps, strict=True):
        missing = max((math.ceil(size / step) - 1) * step + span - size, 0)
        small, large = missing // 2, missing - missing // 2
        sides += [large, small] if pad_type == "same_lower" else [small, large]
    return sides


def _padded(x: Tensor, sides: Sequence[int], value: float = 0.0) -> Tensor:
    pairs = [(sides[i], sides[i + 1]) for i in range(0, len(sides), 2)]
    flat = [n for pair in reversed(pairs) for n in pair]
    return functional.pad(x, flat, value=value) if any(flat) else x


def _windows(
    x: Tensor, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any, ceil_mode: Any
) -> tuple[list[int], list[int], list[int]]:
    """Sizes, steps and sides of a pooling; rounding up the output becomes padding at the end."""
    size = whole_numbers(kernel_sizes)
    steps = _per_axis(strides, len(size))
    sides = _sides(pad_type, pad, x.shape[2:], size, steps)
    if ceil_mode:
        for i, (n, k, s) in enumerate(zip(x.shape[2:], size, steps, strict=True)):
            before, after = sides[2 * i], sides[2 * i + 1]
            count = math.ceil((n + before + after - k) / s) + 1
            count -= (count - 1) * s >= n + before  # a window that would begin in the padding is left out
            sides[2 * i + 1] += max((count - 1) * s + k - (n + before + after), 0)
    return size, steps, sides


def _pool(x: Tensor, size: Sequence[int], steps: Sequence[int]) -> Tensor:
    """The windows of each spatial axis, flattened into a last axis."""
    for i, (k, s) in enumerate(zip(size, steps, strict=True)):
        x = x.unfold(2 + i, k, s)
    return x.flatten(-len(size))
