"""Lowering of functions of two values: MAXIMUM, MINIMUM, SQUARED_DIFFERENCE, PRELU."""

from __future__ import annotations

from dataclasses import dataclass

from edgelab.mcu.cgen.fixed import Multiplier
from edgelab.mcu.cgen.lower_layers import broadcast, value_of
from edgelab.mcu.cgen.lowering import Ints, Lower, Step, needed, quantization, real_scale
from edgelab.mcu.model import Model, Operator


@dataclass(frozen=True)
class Pair(Step):
    """A function of two operands that may be constants and may be broadcast along axes (stride 0)."""

    shape: tuple[int, ...]
    operands: tuple[int | Ints, int | Ints]
    strides: tuple[tuple[int, ...], tuple[int, ...]]
    zeros: tuple[int, int, int]
    multipliers: tuple[Multiplier, ...]
    """PRELU: of values from 0 up, of the product below; SQUARED_DIFFERENCE: of the operands, of the square."""


def _pair(model: Model, op: Operator) -> Step:
    left, right, target = needed(model, op, 0), needed(model, op, 1), model.tensors[op.outputs[0]]
    a, b, q_out = (quantization(model, op, tensor) for tensor in (left, right, target))
    multipliers: tuple[Multiplier, ...] = ()
    if op.code == "PRELU":
        multipliers = (real_scale(a.scale, over=q_out.scale), real_scale(a.scale, b.scale, over=q_out.scale))
    if op.code == "SQUARED_DIFFERENCE":
        twice = 2 * max(a.scale, b.scale)
        inner = (real_scale(a.scale, over=twice), real_scale(b.scale, over=twice))
        multipliers = (*inner, real_scale(twice, twice, over=2**14 * q_out.scale))
    shape = target.shape or (1,)
    return Pair(
        op.index,
        op.code,
        tuple(t.index for t in (left, right) if t.data is None),
        (target.index,),
        shape,
        (value_of(left), value_of(right)),
        (broadcast(left.shape, shape), broadcast(right.shape, shape)),
        (a.zero_point, b.zero_point, q_out.zero_point),
        multipliers,
    )


PAIRS: dict[str, Lower] = dict.fromkeys(("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU"), _pair)
