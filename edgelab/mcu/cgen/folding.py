"""Operators on whole numbers that are the same in every inference, computed while the C is made.

A converter that is given a model of unknown batch size writes the shape of a reshape as a calculation (SHAPE,
STRIDED_SLICE, PACK), although every shape in the file is known. No C is needed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.mcu.model import Model, Operator, Tensor

_DTYPES = ("int32", "int64")
_MOST_ELEMENTS = 64
"""Shapes and indices are short; a longer constant is data, and stays what it is."""


def folded(model: Model) -> Model:
    """The model with every operator on shapes and indices replaced by its result, a constant.

    Parameters
    ----------
    model
        As `edgelab.mcu.model.read_model` gives it.

    Returns
    -------
    Model
        The same model where there is nothing to fold. Tensors and operators keep their indices. What gives an output
        of the model stays, and so does what cannot be computed: the generator names it.
    """
    tensors = list(model.tensors)
    kept = []
    for op in model.operators:
        results = None if set(op.outputs) & set(model.outputs) else _results(op, tensors)
        if results is None:
            kept.append(op)
            continue
        for index, value in zip(op.outputs, results, strict=True):
            tensors[index] = replace(tensors[index], data=value.astype(tensors[index].dtype).tobytes())
    return model if len(kept) == len(model.operators) else replace(model, tensors=tuple(tensors), operators=tuple(kept))


def _results(op: Operator, tensors: list[Tensor]) -> list[NDArray[Any]] | None:
    """What an operator gives in every inference; None where that depends on the input, or is not known here."""
    outputs = [tensors[i] for i in op.outputs]
    if op.custom or op.code not in _FOLDS or op.options.get("fused_activation_function", "NONE") != "NONE":
        return None
    if any(t.dtype not in _DTYPES or t.elements > _MOST_ELEMENTS for t in outputs):
        return None
    operands = [tensors[i] for i in op.inputs if i >= 0]
    if op.code == "SHAPE":
        values = [np.array(t.shape, np.int64) for t in operands]
    elif any(t.data is None or t.dtype not in _DTYPES for t in operands):
        return None
    else:
        values = [t.array() for t in operands]
    try:
        found = _FOLDS[op.code](op.options, *values)
    except (IndexError, KeyError, TypeError, ValueError):
        return None  # operands that do not fit together: the generator says so
    found = found if isinstance(found, list) else [found]
    fits = len(found) == len(outputs) and all(v.size == t.elements for v, t in zip(found, outputs, strict=True))
    return found if fits else None


def _strided_slice(
    options: Mapping[str, Any], x: NDArray[Any], begin: NDArray[Any], end: NDArray[Any], step: NDArray[Any]
) -> NDArray[Any]:
    if options.get("ellipsis_mask", 0) or options.get("new_axis_mask", 0) or options.get("offset", False):
        raise ValueError
    parts: list[Any] = []
    for axis, (first, last, by) in enumerate(zip(begin.tolist(), end.tolist(), step.tolist(), strict=True)):
        if options.get("shrink_axis_mask", 0) >> axis & 1:
            parts.append(first)
            continue
        open_first, open_last = (options.get(f"{name}_mask", 0) >> axis & 1 for name in ("begin", "end"))
        parts.append(slice(None if open_first else first, None if open_last else last, by))
    return np.asarray(x[tuple(parts)])


def _reduced(function: Callable[..., Any]) -> Callable[..., NDArray[Any]]:
    def reduce(options: Mapping[str, Any], x: NDArray[Any], axes: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(function(x, axis=tuple(axes.ravel().tolist()), keepdims=bool(options.get("keep_dims"))))

    return reduce


_FOLDS: Mapping[str, Callable[..., NDArray[Any] | list[NDArray[Any]]]] = {
    "SHAPE": lambda _, x: x,
    "STRIDED_SLICE": _strided_slice,
    "PACK": lambda o, *parts: np.stack(parts, int(o.get("axis", 0))),
    "CONCATENATION": lambda o, *parts: np.concatenate(parts, int(o.get("axis", 0))),
    "GATHER": lambda o, x, places: np.take(x, places, int(o.get("axis", 0))),
    "RESHAPE": lambda _, x, *__: x,
    "SQUEEZE": lambda _, x: x,
    "EXPAND_DIMS": lambda _, x, __: x,
    "CAST": lambda _, x: x,
    "ADD": lambda _, a, b: a + b,
    "SUB": lambda _, a, b: a - b,
    "MUL": lambda _, a, b: a * b,
    "REDUCE_PROD": _reduced(np.prod),
    "SUM": _reduced(np.sum),
}
