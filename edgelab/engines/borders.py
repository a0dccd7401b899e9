"""Arrays at the border of an engine: checked, laid out, quantized, cut into batches.

Outside, an input is float32 and channels first: (N, C, H, W) for images, (N, C, T) for signals, (N, F) for
tables. Inside, a model may want channels last, other element types, or a batch of a fixed size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.engines.base import TensorInfo
from edgelab.errors import BadInput

Layout = Literal["auto", "channels_first", "channels_last"]


def check_input(x: object, *, name: str = "x") -> NDArray[np.float32]:
    """``x`` if it is a finite float32 array with at least one item and two dimensions.

    Raises
    ------
    BadInput
        If it is not.
    """
    if not isinstance(x, np.ndarray):
        raise BadInput(
            f"{name} must be a numpy array of float32, not {type(x).__name__}; use numpy.asarray(..., 'float32')."
        )
    if x.dtype != np.float32:
        raise BadInput(
            f"{name} must be float32, not {x.dtype}; scale it as the data set's card says and use astype('float32')."
        )
    if x.ndim < 2 or x.size == 0:
        raise BadInput(f"{name} must hold at least one item with the batch first, (N, ...), not shape {x.shape}.")
    if not np.isfinite(x).all():
        raise BadInput(f"{name} holds NaN or infinite values; remove or replace them first.")
    return x


def arrangement(
    shape: Sequence[int], wanted: Sequence[int | None], *, layout: Layout, prefer: Layout, file: str
) -> Literal["channels_first", "channels_last"]:
    """How an input of ``shape`` (channels first) goes into a model that wants ``wanted``.

    The batch comes first on both sides and is left out of the comparison, and so are dimensions of size 1:
    (N, 1, 28, 28) fits a model of (1, 28, 28). Where both orders fit, ``prefer`` rules: channels last for
    TensorFlow Lite, whose convolutions take no other, and channels first for ONNX.

    Raises
    ------
    BadInput
        If neither order fits; the sentence names the expected and the given shape.
    """
    if layout not in ("auto", "channels_first", "channels_last"):
        raise BadInput(f"layout={layout!r} is not one of 'auto', 'channels_first', 'channels_last'.")
    item = list(shape[1:])
    first = fits(item, wanted[1:])
    last = fits([*item[1:], *item[:1]], wanted[1:])
    if layout != "auto":
        first, last = first and layout == "channels_first", last and layout == "channels_last"
    if first and last:
        return "channels_last" if prefer == "channels_last" else "channels_first"
    if first or last:
        return "channels_first" if first else "channels_last"
    inside = f" (layout='{layout}')" if layout != "auto" else ""
    raise BadInput(
        f"{file} expects an input of shape {show_shape(wanted)}{inside}, and x has shape {tuple(shape)}; "
        "give it channels first, (N, C, H, W), (N, C, T) or (N, F), in the model's size."
    )


def arrange(
    x: NDArray[np.float32], wanted: Sequence[int | None], order: Literal["channels_first", "channels_last"]
) -> NDArray[np.float32]:
    """``x`` in the model's order and rank, contiguous."""
    if order == "channels_last":
        x = np.moveaxis(x, 1, -1)
    if x.ndim != len(wanted):
        sizes = iter([n for n in x.shape[1:] if n != 1])
        x = x.reshape(x.shape[0], *[1 if n == 1 else next(sizes, 1) for n in wanted[1:]])
    return np.ascontiguousarray(x)


def to_type(x: NDArray[np.float32], info: TensorInfo, *, file: str) -> NDArray[Any]:
    """``x`` in the element type of the model's input: quantized where the input is.

    q = round(x / scale) + zero_point, clipped to the type's range (the affine mapping of
    https://ai.google.dev/edge/litert/models/quantization_spec).

    Raises
    ------
    BadInput
        If the model wants integers without saying their scale, and x is not made of whole numbers in range.
    """
    dtype = np.dtype(info.dtype) if info.dtype != "bool" else np.dtype(bool)
    if dtype.kind == "f":
        return x.astype(dtype, copy=False)
    if dtype.kind not in "iub":
        raise BadInput(f"{file} wants an input of type {info.dtype}, which an engine cannot make from float32.")
    limits = None if dtype.kind == "b" else np.iinfo(dtype.name)
    low, high = (0, 1) if limits is None else (int(limits.min), int(limits.max))
    if info.scale:
        steps = np.rint(x / np.float32(info.scale)) + (info.zero_point or 0)
        return np.asarray(np.clip(steps, low, high), dtype=dtype)
    if not np.array_equal(x, np.rint(x)) or x.min() < low or x.max() > high:
        raise BadInput(
            f"{file} wants whole numbers of type {info.dtype} and states no scale for its input; "
            f"x runs from {x.min():g} to {x.max():g}."
        )
    return x.astype(dtype)


def to_float(y: NDArray[Any], info: TensorInfo) -> NDArray[np.float32]:
    """An output as float32: dequantized where the model states a scale."""
    if info.scale:
        return (y.astype(np.float32) - np.float32(info.zero_point or 0)) * np.float32(info.scale)
    return np.asarray(y, dtype=np.float32)


def batches(x: NDArray[Any], size: int) -> list[NDArray[Any]]:
    """``x`` cut into batches of exactly ``size`` items; the last is filled up with copies of its last item."""
    count = math.ceil(len(x) / size)
    missing = count * size - len(x)
    if missing:
        x = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)])
    return [x[i * size : (i + 1) * size] for i in range(count)]


def show_shape(shape: Sequence[int | None]) -> str:
    """A shape for people: ``(N, 3, 32, 32)``."""
    sizes = ["?" if n is None else str(n) for n in shape]
    if shape and shape[0] is None:
        sizes[0] = "N"
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def fits(item: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether an item's shape is the one wanted; open dimensions fit any, and other ranks fit but for dimensions of 1.

    Examples
    --------
    >>> fits((1, 28, 28), (28, None)), fits((1, 28, 28), (28, None, 1))
    (True, False)
    """
    if len(item) == len(wanted):
        return all(w is None or w == n for n, w in zip(item, wanted, strict=True))
    given = [n for n in item if n != 1]
    open_or_large = [w for w in wanted if w != 1]
    return len(given) == len(open_or_large) and all(
        w is None or w == n for n, w in zip(given, open_or_large, strict=True)
    )
