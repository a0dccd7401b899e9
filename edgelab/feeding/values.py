"""Values for inputs that no data is given for: random, or what an input's name stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines.base import TensorInfo
from edgelab.engines.feeds import plain_name
from edgelab.errors import BadInput

RANDOM = "random"
SAMPLE_RATE = 16_000
_STATE = re.compile(
    r"(h|c|h_?[n0]|c_?[n0]|(.*_)?(hidden|cell|states?|cache|carry|memory)(_?(in|h|c|h_in|c_in|input|\d+))?|past[_.].*)",
    re.IGNORECASE,
)
_RATE = re.compile(r"(sr|rate|sample_?rate|sampling_?rate)", re.IGNORECASE)
_LENGTH = re.compile(r".*len(gth)?s?", re.IGNORECASE)
_MASK = re.compile(r".*mask", re.IGNORECASE)
# Types that numpy does not have: float32 is given, and the engine rounds.
_ROUNDED = frozenset({"bfloat16"})
_TEXT = frozenset({"string", "str", "object"})


def numpy_type(info: TensorInfo) -> np.dtype[Any] | None:
    """Numpy's type for an input's, or None where numpy has none."""
    try:
        if info.dtype in _ROUNDED:  # numpy has it once ml_dtypes is imported, and the engines do not take it
            return None
        found = np.dtype(str) if info.dtype in _TEXT else np.dtype(info.dtype)
    except TypeError:
        return None
    return found if found.kind in "fiubU" else None  # others come from extensions such as ml_dtypes


def is_state(info: TensorInfo, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> bool:
    """Whether an input is a recurrent state: it is called so, is not alone, and an output could be its next value.

    Examples
    --------
    >>> x, h = TensorInfo("x", (1, 512), "float32"), TensorInfo("h", (2, None, 64), "float32")
    >>> is_state(h, (x, h), (TensorInfo("hn", (2, None, 64), "float32"),))
    True
    """
    if len(inputs) < 2 or not _STATE.fullmatch(plain_name(info.name)):
        return False
    return any(out.dtype == info.dtype and (not out.shape or len(out.shape) == len(info.shape)) for out in outputs)


def values(
    info: TensorInfo, shape: tuple[int, ...], draw: np.random.Generator, *, longest: int, recurrent: bool, file: str
) -> tuple[NDArray[Any], str]:
    """An array of ``shape`` in an input's element type (float32 where it is quantized), and where its values are from.

    Zeros for a recurrent state, 16000 for a sampling rate, ``longest`` for a length, ones for a mask; else random:
    normal values for floats, 0 to 1 for an image, 0 to 255 for bytes without a scale, and 0 or 1 for other whole
    numbers without a scale, which are valid indices of any table.

    Raises
    ------
    BadInput
        If there are no values of the input's type, for example of a sequence or a map.
    """
    dtype = numpy_type(info)
    if dtype is None and info.dtype not in _ROUNDED:
        raise BadInput(
            f"The input '{info.name}' of {file} is {info.dtype}, which cannot be fed here: an array is wanted."
        )
    name, whole = plain_name(info.name), dtype is not None and dtype.kind in "iu" and not info.scale
    if info.scale or dtype is None:
        dtype = np.dtype(np.float32)
    meant = {
        recurrent and dtype.kind != "U": (0, "zeros, a recurrent state"),
        whole and len(shape) < 2 and bool(_LENGTH.fullmatch(name)): (longest, f"{longest}, a length"),
        whole and len(shape) < 2 and bool(_RATE.fullmatch(name)): (SAMPLE_RATE, f"{SAMPLE_RATE}, a sampling rate"),
        (whole or dtype.kind == "b") and bool(_MASK.fullmatch(name)): (1, "ones, a mask"),
        dtype.kind == "U": ("a", "the text 'a'"),
    }
    if True in meant:
        return np.full(shape, meant[True][0], "<U1" if dtype.kind == "U" else dtype), meant[True][1]
    if info.image and info.scale:
        array: NDArray[Any] = draw.random(shape, dtype=np.float32)
    elif dtype.kind == "f":
        array = draw.standard_normal(shape, dtype=np.float32)
    else:
        array = draw.integers(0, 256 if dtype == np.uint8 else 2, shape)
    return np.asarray(array, dtype=dtype), RANDOM


def orders(shape: Sequence[int | None]) -> list[tuple[int | None, ...]]:
    """A shape as it is, with its channels moved to the end, and moved to the front."""
    sizes = tuple(shape)
    if len(sizes) < 3:
        return [sizes]
    return [sizes, (sizes[0], *sizes[2:], sizes[1]), (sizes[0], sizes[-1], *sizes[1:-1])]
