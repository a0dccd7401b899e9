"""What `Engine.run` takes and gives: arrays by name, checked against what the model states, laid out, cut into calls.

Types are not guessed here: an array has the element type of its input, or is float32 where the input is quantized and
states its scale. Where a model fixes its batch, more items are more calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import borders
from edgelab.engines.base import TensorInfo
from edgelab.errors import BadInput

_TEXT = frozenset({"string", "str", "object"})


@dataclass(frozen=True, eq=False)
class Named:
    """Inputs of one run by name, in the file's own order of axes, for `Engine.time` and `Engine.profile`.

    ``states``: for each input that every run takes from the run before, the output. ``batch``: items of a run.
    """

    arrays: Mapping[str, NDArray[Any]]
    states: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1

    def __len__(self) -> int:
        return self.batch


def in_order(inputs: object, names: Sequence[str], owner: str) -> list[NDArray[Any]]:
    """The arrays of ``inputs`` in the order of ``names``; a name may be given as `plain_name` has it.

    Raises
    ------
    BadInput
        If it is no mapping of names to arrays, a name is not the model's, or one of the model's is missing.
    """
    if not isinstance(inputs, Mapping):
        raise BadInput(f"run takes a mapping of input names to arrays, not {type(inputs).__name__}.")
    known = ", ".join(f"'{name}'" for name in names) or "none"
    short = {plain_name(name): name for name in names}
    found: dict[str, NDArray[Any]] = {}
    for key, array in inputs.items():
        name = str(key) if key in names or len(short) < len(names) else short.get(str(key), str(key))
        if name not in names or name in found:
            raise BadInput(f"{owner} has no input '{name}'; its inputs are {known}.")
        if not isinstance(array, np.ndarray):
            raise BadInput(f"The input '{name}' must be a numpy array, not {type(array).__name__}.")
        if array.dtype.kind not in "fiubUS":
            raise BadInput(f"The input '{name}' must hold numbers or text, not {array.dtype}.")
        found[name] = array
    for name in names:
        if name not in found:
            raise BadInput(f"The input '{name}' is missing; {owner} takes {known}.")
    return [found[name] for name in names]


def plain_name(name: str) -> str:
    """A tensor's name without what TensorFlow's converter puts around the one that its author gave.

    Examples
    --------
    >>> plain_name("serving_default_ids:0")
    'ids'
    """
    return str(name).removeprefix("serving_default_").removesuffix(":0")


def fitted(
    array: NDArray[Any], info: TensorInfo, *, layout: borders.Layout, prefer: borders.Layout, file: str
) -> NDArray[Any]:
    """``array`` as the input ``info`` takes it: of its element type, in its order and rank.

    Raises
    ------
    BadInput
        If the element type or the shape is not the input's.
    """
    array = _typed(array, info, file)
    wanted = info.shape
    if not wanted:  # a scalar, or a rank that the model leaves open: the runtime judges
        return np.asarray(array, order="C")
    if array.ndim == 0 or (len(wanted) == 1) != (array.ndim == 1):
        raise BadInput(_shape_sentence(array, info, file))
    if array.ndim == 1:
        return np.ascontiguousarray(array)
    try:
        order = borders.arrangement(array.shape, wanted, layout=layout, prefer=prefer, file=file)
    except BadInput as error:
        if "is not one of" in str(error):
            raise
        raise BadInput(_shape_sentence(array, info, file)) from None
    return borders.arrange(array, wanted, order)


def calls(arrays: Sequence[NDArray[Any]], infos: Sequence[TensorInfo], file: str) -> list[list[NDArray[Any]]]:
    """The arrays of each call of the runtime: one call, or as many as a fixed batch takes for the items given.

    The last call is filled up with copies of the last item. An input that has the model's own size goes whole into
    each call.

    Raises
    ------
    BadInput
        If a leading dimension is neither the model's nor a number of items on which the inputs agree.
    """
    own = [info.shape[0] if info.shape else None for info in infos]
    counts = [len(array) if array.ndim else 0 for array in arrays]
    off = [i for i, size in enumerate(own) if size is not None and counts[i] != size]
    if not off:
        return [list(arrays)]
    sizes = {own[i] for i in off}
    items = {counts[i] for i in off}
    if len(sizes) != 1 or len(items) != 1 or 0 in items:
        given = ", ".join(f"{counts[i]} for '{infos[i].name}' (of {own[i]})" for i in off)
        raise BadInput(f"The inputs of {file} hold different numbers of items: {given}; give each the same number.")
    size, count = int(own[off[0]] or 1), items.pop()
    several = [i in off or (own[i] is None and counts[i] == count) for i in range(len(arrays))]
    cut = [borders.batches(a, size) if many else [] for a, many in zip(arrays, several, strict=True)]
    return [
        [cut[i][number] if several[i] else array for i, array in enumerate(arrays)]
        for number in range(-(-count // size))
    ]


def joined(
    parts: Sequence[Sequence[NDArray[Any]]], infos: Sequence[TensorInfo], sizes: tuple[int, int], file: str
) -> list[NDArray[Any]]:
    """The outputs of all calls: ``sizes`` are the items of a call and those asked for.

    Quantized outputs come as float32, others as the runtime gives them.

    Raises
    ------
    BadInput
        If there were several calls and an output has not one row for each item.
    """
    outputs = []
    for index, info in enumerate(infos):
        rows = [part[index] for part in parts]
        if len(rows) > 1:
            batch, count = sizes
            if any(row.ndim == 0 or len(row) != batch for row in rows):
                raise BadInput(
                    f"{file} takes {batch} items at a time, and its output '{info.name}' of shape {rows[0].shape} has "
                    f"not one row for each; give {batch} at a time."
                )
            value = np.concatenate(rows)[:count]
        else:
            value = rows[0]
        integer = np.dtype(value.dtype).kind in "iu"
        outputs.append(borders.to_float(value, info) if info.scale and integer else value)
    return outputs


def as_plain(value: object, name: str, file: str) -> NDArray[Any]:
    """An output of a runtime as an array of numbers or text.

    Raises
    ------
    BadInput
        If it is a sequence, a map or nothing.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        value = value.astype(str)
    if not isinstance(value, np.ndarray | np.generic) or np.asarray(value).dtype.kind not in "fiubU":
        kind = type(value).__name__
        raise BadInput(f"The output '{name}' of {file} is no array of numbers or text but {kind}; it cannot be sent.")
    return np.asarray(value)


def _typed(array: NDArray[Any], info: TensorInfo, file: str) -> NDArray[Any]:
    if info.dtype in _TEXT:
        if array.dtype.kind in "US":
            return array.astype(str)
    elif array.dtype.kind in "fiub" and array.dtype.name == info.dtype:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    elif info.dtype == "bfloat16" and array.dtype == np.float32:  # its upper half, rounded, as numpy has no such type
        return ((np.ascontiguousarray(array).view(np.uint32) + 0x8000) >> 16).astype(np.uint16)
    elif info.scale and array.dtype == np.float32:
        if not np.isfinite(array).all():
            raise BadInput(f"The input '{info.name}' of {file} is quantized, and what was given holds NaN or infinity.")
        return borders.to_type(array.astype(np.float32, copy=False), info, file=file)
    try:
        np.dtype("str" if info.dtype in _TEXT else info.dtype)
    except TypeError:
        raise BadInput(
            f"The input '{info.name}' of {file} takes {info.dtype}, a type that numpy does not have."
        ) from None
    also = " (or float32, which the engine quantizes)" if info.scale else ""
    raise BadInput(
        f"The input '{info.name}' of {file} takes {info.dtype}{also}, not {array.dtype}; convert it with "
        f"astype('{'str' if info.dtype in _TEXT else info.dtype}') if that is what is meant."
    )


def _shape_sentence(array: NDArray[Any], info: TensorInfo, file: str) -> str:
    wanted = borders.show_shape(info.shape)
    return f"The input '{info.name}' of {file} takes the shape {wanted}, channels first or last, not {array.shape}."
