"""Which layers of plain C99 have a function of their own, and which are lean: they share one, or theirs is small.

A function of its own has literal bounds and is fast; flash beyond the constants has a limit. Where the functions of all
layers do not fit, those that gain most by theirs for the flash that it takes keep it. The bytes are estimates: what the
compiler made of the networks of the tests for a Cortex-M4, towards their larger ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelab.mcu.cgen import portable_values, portable_window
from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.lowering import (
    Alias,
    Binary,
    Convolution,
    FromFloat,
    Mean,
    Move,
    Pool,
    Softmax,
    Step,
    Table,
    ToFloat,
)
from edgelab.mcu.cgen.portable import UNROLLED_TAPS
from edgelab.mcu.cgen.portable_moves import collapsed
from edgelab.mcu.model import Model

Estimate = tuple[int, int, int]

_BUDGET_BYTES = 23700
"""Flash beyond the constants that code and tables may take, with a reserve for what the estimates miss."""
_FRAME_BYTES = 420
"""Vectors, start-up code, and what leads to the layers."""
_CALL_BYTES = 4
_STREAM_BYTES = 1100
_PREPARE_BYTES = 320
_SHARED_BYTES = {"convolution": 1520, "depthwise": 1260, "binary": 440}
"""Of the functions that layers share."""
_WRAPPER_BYTES = 12


@dataclass(frozen=True)
class Choice:
    """Indices of steps."""

    shared: frozenset[int] = frozenset()
    small: frozenset[int] = frozenset()
    """Steps whose own functions are compiled for size."""


@dataclass(frozen=True)
class _Ways:
    """What a step takes in flash, and what its own function saves in instructions, all of it about."""

    step: Step
    shared: str | None
    """The kind of function that it may share."""
    lean: int
    own: int
    gain: int

    @property
    def more(self) -> int:
        """Bytes by which its own function is larger."""
        return self.own - self.lean


def fits(step: Step) -> bool:
    """Whether a shared function takes the step."""
    return _shared(step) is not None


def layer(p: Program, step: Step) -> None:
    """Add a layer that shares its function."""
    if isinstance(step, Convolution):
        portable_window.convolution(p, step)
    elif isinstance(step, Binary):
        portable_values.binary(p, step)


def chosen(steps: Sequence[Step], model: Model, *, streams: bool = False) -> Choice:
    """The layers without a fast function of their own; none where flash has room for all functions.

    Parameters
    ----------
    model
        Where the steps come from: flash may be larger than its constants by 24 KB.
    streams
        Whether layers may run row by row, which takes code, too.
    """
    ways = [_ways(step) for step in steps if not isinstance(step, Alias)]
    room = _room([way.step for way in ways], model) - _CALL_BYTES * len(ways)
    room -= _STREAM_BYTES if streams else 0
    if sum(way.own for way in ways) <= room:
        return Choice()
    kinds = {way.shared for way in ways if way.shared}
    own = {way.step.index for way in ways if way.more <= 0}
    for kind in kinds:
        users = [way for way in ways if way.shared == kind]
        if sum(way.more for way in users) <= _SHARED_BYTES[str(kind)]:
            own |= {way.step.index for way in users}
        else:
            room -= _SHARED_BYTES[str(kind)]
    if any(way.shared in ("convolution", "depthwise") and way.step.index not in own for way in ways):
        room -= _PREPARE_BYTES
    room -= sum(way.own if way.step.index in own else way.lean for way in ways)
    for way in sorted(ways, key=lambda way: -way.gain / max(way.more, 1)):
        if way.step.index not in own and way.gain > 0 and way.more <= room:
            room -= way.more
            own.add(way.step.index)
    lean = [way for way in ways if way.step.index not in own]
    return Choice(
        frozenset(way.step.index for way in lean if way.shared),
        frozenset(way.step.index for way in lean if not way.shared),
    )


def _room(steps: Sequence[Step], model: Model) -> int:
    """Flash beside weights and tables, those that layers have in common once."""
    operators = {op.index: op for op in model.operators}
    constants = {tensor.index: tensor.size_bytes for tensor in model.tensors if tensor.data is not None}
    found: dict[bytes, int] = {}
    room = _BUDGET_BYTES - _FRAME_BYTES + sum(constants.values())
    for step in steps:
        if isinstance(step, Convolution):
            found[step.weights.astype(np.int8).tobytes()] = step.weights.size
        elif isinstance(step, Binary):
            found |= {v.astype(np.int8).tobytes(): v.size for v in step.operands if not isinstance(v, int)}
        elif isinstance(step, Table):
            found[step.table.astype(np.int8).tobytes()] = step.table.size
        elif isinstance(step, Softmax):
            found[step.exponentials.astype(np.int32).tobytes()] = 4 * step.exponentials.size
        elif isinstance(step, FromFloat | ToFloat):
            room -= 1024
        elif type(step) not in _OTHERS:  # Its constants stay about as large as they are.
            room -= sum(constants.get(i, 0) for i in set(operators[step.index].inputs))
    return room - sum(found.values())


def _shared(step: Step) -> str | None:
    if isinstance(step, Convolution) and portable_window.packed(step):
        return "depthwise" if step.depthwise else "convolution"
    return "binary" if isinstance(step, Binary) and portable_values.fits(step) else None


def estimate(step: Step) -> Estimate:
    """Bytes of a step's code where it is lean and where it is not, and the instructions that the latter saves."""
    found = _ways(step)
    return found.lean, found.own, found.gain


def _ways(step: Step) -> _Ways:
    shared = _shared(step)
    if isinstance(step, Convolution):
        lean, own = _layer_bytes(step)
        return _Ways(step, shared, lean, own, _layer_gain(step))
    if isinstance(step, Binary):
        lean = portable_values.STRUCTURE_BYTES + _WRAPPER_BYTES if shared else 110
        own, each = {"ADD": (530, 40), "SUB": (420, 40)}.get(step.code, (450, 15))
        return _Ways(step, shared, lean, own, each * math.prod(step.shape))
    lean, own, gain = _OTHERS[type(step)](step) if type(step) in _OTHERS else (400, 900, 2 * step.macs)
    return _Ways(step, None, lean, own, gain)


def _mean(step: Any) -> Estimate:
    return 110, 430, 8 * step.count * math.prod(size for size, _ in step.outer)


def _table(step: Any) -> Estimate:
    return 40, 250 if step.elements > 256 else 90, 2 * step.elements


def _move(step: Any) -> Estimate:
    axes = [len(collapsed(c.shape, c.source_strides, c.target_strides)[0]) for c in step.copies]
    if step.fill is not None:
        return 24 + 25 * axes[0], 250 if axes == [1] else 1800, 3 * step.elements
    longer = [n for c, n in zip(step.copies, axes, strict=True) if math.prod(c.shape) > 32]
    own = 25 * len(axes) + sum(150 if n == 1 else 410 for n in longer)
    return sum(20 + 25 * n for n in axes), own, 3 * step.elements


def _pool(step: Any) -> Estimate:
    w = step.window
    outputs = w.batch * w.out_height * w.out_width
    if outputs == w.batch:
        return 110, 110, 0
    return 210, 1100 if step.average else 480, 3 * math.prod(w.kernel) * outputs * w.channels


_OTHERS: Mapping[type[Step], Callable[[Any], Estimate]] = {
    Mean: _mean,
    Table: _table,
    Move: _move,
    Pool: _pool,
    Softmax: lambda _: (490, 490, 0),
    FromFloat: lambda step: (90, 140, 4 * step.elements),
    ToFloat: lambda step: (90, 140, 4 * step.elements),
}
"""Code compiled for size and for time, and the instructions saved."""


def _layer_bytes(step: Convolution) -> tuple[int, int]:
    """Lean, and with a function of its own, weights apart."""
    w = step.window
    channels, shifts, long = w.out_channels, [m.shift for m in step.multipliers], min(w.kernel) == 1
    each = 4
    if len(set(step.multipliers)) > 1:
        each += 4 + (0 if len(set(shifts)) == 1 else 1 if max(shifts) <= 0 else 2)
    if step.depthwise:
        written_out = w.kernel == (3, 3) or (w.padded and math.prod(w.kernel) <= UNROLLED_TAPS)
        code, small = 980 if written_out else 620, 320
        each += 4 if w.padded else 0
    else:
        code, small = (780 if long else 1200 if w.padded else 1900), 420
        code = code + (0, 120, 440, 380)[channels % 4] if channels >= 4 else code * 2 // 3
    packed = portable_window.packed(step)
    own = code + each * channels
    lean = portable_window.STRUCTURE_BYTES + _WRAPPER_BYTES + len(packed[1].data) if packed else small + each * channels
    return lean, own


def _layer_gain(step: Convolution) -> int:
    """Instructions that a function of its own saves, about."""
    w = step.window
    outputs = w.out_height * w.out_width
    if not step.depthwise:
        each = 0 if math.prod(w.kernel) > 1 else 10 if w.channels <= 32 else 4
        return w.out_channels * (240 + each * outputs)
    inside = 1
    for before, after, stride, count in zip(w.pad, w.pad_after, w.stride, (w.out_height, w.out_width), strict=True):
        inside *= max(count - sum(math.ceil(max(n, 0) / stride) for n in (before, after)), 0)
    each = 8 if w.kernel == (3, 3) else 4 * math.prod(w.kernel)
    return w.out_channels * (240 + each * outputs + 100 * (outputs - inside))
