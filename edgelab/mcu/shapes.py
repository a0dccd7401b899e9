"""Shapes that a file states and its operators contradict: a micro runtime computes with the stored ones, and wrongly.

A converter that leaves the batch open writes 1 in its place, also where an operator makes more of it. A runtime that
resizes tensors finds the true sizes when it runs; TensorFlow Lite Micro takes the shapes as they are stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from edgelab.mcu.model import Model, Operator, Tensor

Shape = tuple[int, ...]
FIXED_BATCH = "convert again from a function or SavedModel with a fixed batch of 1, which keeps dilation in CONV_2D"
"""How to be rid of SPACE_TO_BATCH_ND around a convolution."""
_FROM_OPEN_BATCH = frozenset(
    {*("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")}
)


def contradiction(model: Model, operator: Operator) -> tuple[str, str]:
    """What an operator's stored shapes contradict, and what to do, as clauses; empty where nothing is known of any."""
    rule = _RULES.get(operator.code)
    if rule is None or operator.custom or not operator.outputs:
        return "", ""
    operands = [model.tensors[i] if i >= 0 else None for i in operator.inputs]
    stored = model.tensors[operator.outputs[0]].shape
    try:
        true = rule(operator, operands, stored)
    except _Indivisible as error:
        true, says = (), str(error)
    else:
        if true is None or true == stored:
            return "", ""
        says = f"the file stores its result as {_show(stored)}, and of its operands it makes {_show(true)}"
    mend = FIXED_BATCH if operator.code in _FROM_OPEN_BATCH else "convert it again with fixed shapes"
    return f"its shapes do not multiply out: {says}, so the interpreter computes something else", mend


class _Indivisible(Exception):
    """An operand that cannot be taken apart in this way."""


def _constant(operands: list[Tensor | None], place: int) -> list[int] | None:
    tensor = operands[place] if place < len(operands) else None
    if tensor is None or tensor.data is None or tensor.dtype not in ("int32", "int64"):
        return None
    return [int(value) for value in np.ravel(tensor.array())]


def _blocks(operator: Operator, operands: list[Tensor | None], stored: Shape) -> Shape | None:
    """SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND: the batch takes up, or gives back, the elements of a block."""
    del stored
    block, edges = _constant(operands, 1), _constant(operands, 2)
    given = operands[0].shape if operands and operands[0] is not None else ()
    if not block or edges is None or len(edges) != 2 * len(block) or len(given) <= len(block) or min(block) < 1:
        return None
    spatial, rest = given[1 : 1 + len(block)], given[1 + len(block) :]
    around = [edges[2 * k] + edges[2 * k + 1] for k in range(len(block))]
    if operator.code == "SPACE_TO_BATCH_ND":
        padded = [size + more for size, more in zip(spatial, around, strict=True)]
        sides = [-(-size // by) for size, by in zip(padded, block, strict=True)]
        return (given[0] * math.prod(block), *sides, *rest)
    sides = [size * by - less for size, by, less in zip(spatial, block, around, strict=True)]
    if given[0] % math.prod(block):
        raise _Indivisible(
            f"the file stores its operand as {_show(given)}, and a batch of {given[0]} does not hold "
            f"{math.prod(block)} parts of each item"
        )
    return (given[0] // math.prod(block), *sides, *rest)


def _same_batch(operator: Operator, operands: list[Tensor | None], stored: Shape) -> Shape | None:
    """Windows slide over each item of a batch."""
    del operator
    given = operands[0].shape if operands and operands[0] is not None else ()
    return (given[0], *stored[1:]) if len(given) == len(stored) == 4 else None


def _turned(operator: Operator, operands: list[Tensor | None], stored: Shape) -> Shape | None:
    """TRANSPOSE."""
    del operator, stored
    order = _constant(operands, 1)
    given = operands[0].shape if operands and operands[0] is not None else ()
    if order is None or sorted(order) != list(range(len(given))):
        return None
    return tuple(given[axis] for axis in order)


def _depth(operator: Operator, operands: list[Tensor | None], stored: Shape) -> Shape | None:
    """SPACE_TO_DEPTH and DEPTH_TO_SPACE."""
    del stored
    given = operands[0].shape if operands and operands[0] is not None else ()
    by = int(operator.options.get("block_size", 0))
    if len(given) != 4 or by < 1:
        return None
    n, height, width, channels = given
    if operator.code == "SPACE_TO_DEPTH":
        return (n, height // by, width // by, channels * by * by)
    return (n, height * by, width * by, channels // (by * by))


def _show(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a scalar"


_RULES: Mapping[str, Callable[[Operator, list[Tensor | None], Shape], Shape | None]] = {
    "SPACE_TO_BATCH_ND": _blocks,
    "BATCH_TO_SPACE_ND": _blocks,
    "CONV_2D": _same_batch,
    "DEPTHWISE_CONV_2D": _same_batch,
    "AVERAGE_POOL_2D": _same_batch,
    "MAX_POOL_2D": _same_batch,
    "TRANSPOSE": _turned,
    "SPACE_TO_DEPTH": _depth,
    "DEPTH_TO_SPACE": _depth,
}
