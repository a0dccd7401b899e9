"""Lowering of UNIDIRECTIONAL_SEQUENCE_LSTM: int8 values and weights, a 16-bit cell, all time steps in one operator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgelab.errors import BadInput
from edgelab.mcu.cgen.fixed import Multiplier, quantize_multiplier
from edgelab.mcu.cgen.lower_layers import bias_of, weights_of
from edgelab.mcu.cgen.lowering import (
    Ints,
    Lower,
    State,
    Step,
    agree,
    needed,
    operand,
    quantization,
    real_scale,
    where,
    wrapped,
)
from edgelab.mcu.model import Model, Operator

_GATES = ("input", "forget", "cell", "output")
_GATE_SCALE, _UNIT_SCALE = 2.0**-12, 2.0**-15
"""Of the sums before the gates' functions, in 16 bits, and of what comes out of them."""
_VARIANTS = {
    "peephole weights": range(9, 12),
    "a projection": range(16, 18),
    "layer normalization": range(20, 24),
}
_HIDDEN, _CELL = 18, 19
_MOST_LEFT = 14
"""Bits by which the cell may be shifted left before its tanh, times 3, inside of 32 bits."""


@dataclass(frozen=True)
class Lstm(Step):
    """Gates ``input``, ``forget``, ``cell`` and ``output`` of each unit, in this order along every axis of four.

    With sums ``s = clamp16(M_in * (bias + sum of w * (x - zero_in))) + clamp16(M_h * sum of r * (h - zero_hidden))``,
    held in 16 bits: ``c = clamp16(keep * forget * c) + clamp16(add * input * cell)``, held in
    ``-clip .. clip``, then ``h = clamp8(zero_hidden + out * output * tanh(c))``.
    """

    batch: int
    time: int
    features: int
    units: int
    time_major: bool
    weights: Ints
    """(units, gates, features)."""
    recurrent: Ints
    """(units, gates, units)."""
    bias: Ints
    """(units, gates); what the input's zero point adds to the sums is taken off."""
    from_input: tuple[Multiplier, ...]
    from_hidden: tuple[Multiplier, ...]
    keep: Multiplier
    add: Multiplier
    out: Multiplier
    zero_hidden: int
    clip: int
    tanh_shift: int
    """The cell's bits to the left before its tanh; below zero: to the right."""
    sigmoid: Ints
    hidden: State
    cell: State

    @property
    def states(self) -> tuple[State, ...]:
        """The last output and the cell."""
        return self.hidden, self.cell


def sigmoid_table() -> Ints:
    """The interpreter's table of the logistic function, 24 entries for each 1 of its argument, in 16 bits.

    Lines between the entries stand for the function, which bends downwards: each entry is raised by half of what the
    lines beside it miss at most, a sixteenth of the second derivative.

    >>> sigmoid_table()[[0, 24, 255]].tolist(), round(65536 / (1 + math.exp(-1)))
    ([32768, 47911, 65535], 47911)
    """
    steps = 24.0
    y = 1 / (1 + np.exp(-np.arange(256) / steps))
    bend = y * (1 - y) * (2 * y - 1) / steps**2
    table = np.floor(65536 * (y + bend / 16) + 0.5).astype(np.int64)
    table[-1] = 65535
    return table


def _lstm(model: Model, op: Operator) -> Step:
    source, target = needed(model, op, 0), model.tensors[op.outputs[0]]
    q_in = quantization(model, op, source)
    quantization(model, op, target)  # The output is the state, copied: its own scale is not used.
    _known_variant(model, op)
    hidden, cell = needed(model, op, _HIDDEN), needed(model, op, _CELL)
    q_hidden = quantization(model, op, hidden)
    if not (hidden.variable and cell.variable and cell.quantization and cell.quantization.scales):
        raise BadInput(f"{where(model, op)} has no states of its own with scales; convert the model anew.")
    if cell.dtype != "int16":
        raise BadInput(
            f"{where(model, op)} has a cell of type {cell.dtype}; the int8 kernel takes int16, quantize anew."
        )
    found = [weights_of(model, op, position) for position in range(1, 9)]
    if any(len(scales) != 1 for _, scales in found):
        raise BadInput(f"{where(model, op)} has weights with a scale for each unit; its kernel takes one for all.")
    agree(len(source.shape) == len(target.shape) == 3, "ranks")
    units, features = found[0][0].shape
    major = bool(op.options.get("time_major", False))
    time, batch = source.shape[:2] if major else source.shape[1::-1]
    agree(source.shape[2] == features and target.shape == (*source.shape[:2], units), "sizes")
    agree(all(w.shape == (units, features) for w, _ in found[:4]), "sizes of weights")
    agree(all(w.shape == (units, units) for w, _ in found[4:]), "sizes of recurrent weights")
    agree(hidden.elements == cell.elements == batch * units, "sizes of states")
    weights = np.stack([w for w, _ in found[:4]], axis=1)
    bias = np.stack([bias_of(model, op, position, units) for position in range(12, 16)], axis=1)
    scale = float(cell.quantization.scale)
    wanted = float(op.options.get("cell_clip", 0.0))
    clip = min(int(wanted / scale), 2**15 - 1) if wanted > 0 else 2**15
    shift = 12 + round(math.log2(scale))
    agree(wanted >= 0 and shift <= _MOST_LEFT, "the cell's range")
    return Lstm(
        op.index,
        op.code,
        (source.index,),
        (target.index,),
        batch,
        time,
        features,
        units,
        major,
        weights,
        np.stack([w for w, _ in found[4:]], axis=1),
        wrapped(bias - q_in.zero_point * weights.sum(axis=2)),
        tuple(_gate_scale(q_in.scale, scales[0]) for _, scales in found[:4]),
        tuple(_gate_scale(q_hidden.scale, scales[0]) for _, scales in found[4:]),
        real_scale(_UNIT_SCALE, scale, over=scale),
        real_scale(_UNIT_SCALE, _UNIT_SCALE, over=scale),
        real_scale(_UNIT_SCALE, _UNIT_SCALE, over=q_hidden.scale),
        q_hidden.zero_point,
        clip,
        shift,
        sigmoid_table(),
        State(hidden.index, "hidden", "int8", q_hidden.zero_point),
        State(cell.index, "cell", "int16", 0),
        macs=batch * time * 4 * units * (features + units),
    )


def _gate_scale(scale: float, weights: float) -> Multiplier:
    """The interpreter multiplies the two scales in float32, as for dense layers."""
    return quantize_multiplier(float(np.float32(scale) * np.float32(weights)) / _GATE_SCALE)


def _known_variant(model: Model, op: Operator) -> None:
    for what, positions in _VARIANTS.items():
        if any(operand(model, op, position) is not None for position in positions):
            raise BadInput(
                f"{where(model, op)} has {what}, which the interpreter's kernel does not know; use a plain LSTM layer."
            )
    activation = op.options.get("fused_activation_function", "TANH")
    if activation != "TANH":
        raise BadInput(f"{where(model, op)} has the activation {activation}; its kernel knows TANH alone.")


RECURRENT: dict[str, Lower] = {"UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm}
