"""What the operators of a small network compute, one function a type, as the ONNX specification states them.

float32 arrays in and out. Convolution and pooling are PyTorch's; the rest is numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput

Array = NDArray[Any]


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    **_: Any,
) -> Array:
    """Two-dimensional convolution of x (N, C, H, W) with weight (out, C / group, h, w)."""
    import torch
    from torch.nn import functional

    top, left, bottom, right = pads
    padded = functional.pad(torch.from_numpy(np.ascontiguousarray(x)), (left, right, top, bottom))
    b = None if bias is None else torch.from_numpy(np.ascontiguousarray(bias))
    w = torch.from_numpy(np.ascontiguousarray(weight))
    y = functional.conv2d(padded, w, b, tuple(strides), dilation=tuple(dilations), groups=group)
    found: Array = y.numpy()
    return found


def batch_normalization(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float = 1e-5, **_: Any
) -> Array:
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` for each channel (axis 1)."""
    spread = (1, -1, *[1] * (x.ndim - 2))
    scale = (gamma / np.sqrt(variance + np.float32(epsilon))).reshape(spread)
    found: Array = ((x - mean.reshape(spread)) * scale + beta.reshape(spread)).astype(x.dtype)
    return found


def gemm(
    a: Array,
    b: Array,
    c: Array | float = 0.0,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Array:
    """``alpha * a @ b + beta * c``, with a or b transposed where the attribute says so."""
    found: Array = alpha * ((a.T if transA else a) @ (b.T if transB else b)) + beta * np.asarray(c)
    return found


def flatten(x: Array, *, axis: int = 1) -> Array:
    """Two axes: all before ``axis``, and all from it on."""
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def reshape(x: Array, shape: Array, *, allowzero: int = 0) -> Array:
    """The values in another shape; 0 keeps an axis unless ``allowzero``, -1 is what is left."""
    wanted = [x.shape[i] if n == 0 and not allowzero else int(n) for i, n in enumerate(shape)]
    return x.reshape(wanted)


def reduce_mean(x: Array, axes: Array | None = None, *, keepdims: int = 1, **_: Any) -> Array:
    """The mean over some axes."""
    over = None if axes is None else tuple(int(n) for n in axes)
    return np.asarray(np.mean(x, axis=over, keepdims=bool(keepdims)), x.dtype)


def clip(x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """Values between ``low`` and ``high``."""
    return np.clip(x, low, high) if low is not None or high is not None else x


def cast(x: Array, *, to: int, **_: Any) -> Array:
    """The values in another element type, by ONNX's number of it."""
    types = {1: np.float32, 6: np.int32, 7: np.int64, 10: np.float16, 11: np.float64}
    if to not in types:
        raise BadInput(f"Cast to ONNX's type {to} is not one of {', '.join(map(str, types))}.")
    return x.astype(types[to])


KERNELS: Mapping[str, Callable[..., Array]] = {
    "Add": lambda a, b: a + b,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Conv": conv,
    "Flatten": flatten,
    "Gemm": gemm,
    "GlobalAveragePool": lambda x: np.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True),
    "Identity": lambda x: x,
    "MatMul": lambda a, b: a @ b,
    "Mul": lambda a, b: a * b,
    "ReduceMean": reduce_mean,
    "Relu": lambda x: np.maximum(x, 0),
    "Reshape": reshape,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
"""What each type of node computes: ``KERNELS[type](*inputs, **attributes)``."""
