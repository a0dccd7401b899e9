"""Which layers get DSP kernels of their own, and which share them: as many of their own as flash has room for.

A network whose layers all fit into weights plus 24 KB with kernels of their own keeps them. Otherwise the shared
functions come in, and own kernels go to the layers that gain most instructions for their bytes. What everything takes
is estimated from the kernels' texts and from sizes of compiled functions; text that layers have in common counts once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgelab.mcu.cgen import (
    arrange,
    dsp_channels,
    dsp_depthwise,
    dsp_pack,
    dsp_shared,
    dsp_shared_plane,
    dsp_sum,
    portable_shared,
)
from edgelab.mcu.cgen.dsp_dot import Blocks, rows
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
from edgelab.mcu.cgen.portable_moves import collapsed
from edgelab.mcu.model import Model

_LIMIT_BYTES = 24576 - 800
"""Beyond the model's constants, with a reserve for what the estimates miss."""
_START_BYTES = 560
_LINE_BYTES = 3.8
_SHARED_BYTES = {"convolve": 560, "scales": 280, "spread": 96, "fill": 30, "dense": 260, "planes": 560, "sums": 70}
_CALL_BYTES = 16
_STREAM_BYTES = 700
_FEW_ROUNDS = 4
_CODE = "code"
Items = dict[str, float]


def chosen(steps: Sequence[Step], model: Model, *, streams: bool = False) -> list[Step]:
    """The steps of a model, told to share their kernels where flash is short; ``streams``: they may run row by row."""
    limit = sum(tensor.size_bytes for tensor in model.tensors if tensor.data is not None) + _LIMIT_BYTES
    limit -= _unknown(steps, model) + (_STREAM_BYTES if streams else 0)
    ways = [[items(step)] for step in steps]
    if _total([way[0] for way in ways]) <= limit:
        return list(steps)
    for way, step in zip(ways, steps, strict=True):
        if fits(step):
            way.append(items(replace(step, shared=True)))
    shared = [len(way) - 1 for way in ways]
    least = _total([way[-1] for way in ways])
    offers = []
    for group in _groups(ways):
        cost = _total([way[0] if i in group else way[-1] for i, way in enumerate(ways)]) - least
        offers.append((-sum(_gain(steps[i]) for i in group) / max(cost, 16), group))
    for _, group in sorted(offers):
        trial = [0 if i in group else k for i, k in enumerate(shared)]
        if _total([way[k] for way, k in zip(ways, trial, strict=True)]) <= limit:
            shared = trial
    return [replace(step, shared=bool(k)) for step, k in zip(steps, shared, strict=True)]


def fits(step: Step) -> bool:
    """Whether shared functions take the step."""
    if isinstance(step, Convolution):
        return dsp_shared_plane.fits(step) if step.depthwise else dsp_shared.fits(step)
    return not isinstance(step, Alias)


def _unknown(steps: Sequence[Step], model: Model) -> int:
    """Constants of steps of which nothing is known here: about what they take in the model."""
    known = Convolution | Binary | Table | Softmax | FromFloat | ToFloat | Move | Mean | Pool | Alias
    others = {step.index for step in steps if not isinstance(step, known)}
    indices = {i for op in model.operators if op.index in others for i in op.inputs if i >= 0}
    return sum(model.tensors[i].size_bytes for i in indices if model.tensors[i].data is not None)


def _total(found: Sequence[Items]) -> float:
    union: Items = {}
    for one in found:
        union |= one
    return _START_BYTES + sum(union.values())


def _groups(ways: Sequence[Sequence[Items]]) -> list[list[int]]:
    """The steps that have a choice, those of the same kernels together, and each by itself."""
    alike: dict[frozenset[str], list[int]] = {}
    for i, way in enumerate(ways):
        if len(way) > 1:
            alike.setdefault(frozenset(key for key in way[0] if key.startswith(_CODE)), []).append(i)
    groups = [group for code, group in alike.items() if code and len(group) > 1]
    return groups + [[i] for i, way in enumerate(ways) if len(way) > 1]


def items(step: Step) -> Items:
    """What a step puts into flash, in bytes, by names that are the same where layers have it in common."""
    own = f"layer {step.index}"
    if isinstance(step, Alias):
        return {}
    if isinstance(step, Convolution):
        return {own: _CALL_BYTES} | (_shared(step) if step.shared else _own(step))
    lean, long, _ = portable_shared.estimate(step)
    code: Items = {own: lean if step.shared else long + _written_out(step)}
    if isinstance(step, Binary):
        code |= {_hash("operand", value): value.size for value in step.operands if not isinstance(value, int)}
        if dsp_sum.fits(step):
            code |= {own: 48, "sums": 70} if step.shared else {own: 200}
        elif step.shared and portable_shared.fits(step):
            code["binary"] = 440
    elif isinstance(step, Table):
        code[_hash("table", step.table)] = step.table.size
    elif isinstance(step, Softmax):
        code[_hash("exponentials", step.exponentials)] = 4 * step.exponentials.size
    elif isinstance(step, FromFloat | ToFloat):
        code[own] += 1024
    return code


def _written_out(step: Step) -> int:
    """What a compiler adds where it writes out a few rounds of a loop that holds others."""
    if isinstance(step, Binary):
        axes = collapsed(step.shape, *step.strides)[0]
        return 900 if len(axes) > 2 or (len(axes) > 1 and axes[0] <= _FEW_ROUNDS) else 0
    if isinstance(step, Table):
        return 110 if step.elements <= 256 else 0
    if isinstance(step, Move):
        copies = [collapsed(c.shape, c.source_strides, c.target_strides)[0] for c in step.copies]
        short = [a for a in copies if len(a) == 2 and a[0] <= 4 * _FEW_ROUNDS and a[1] > 8 * _FEW_ROUNDS]
        return sum(600 if len(axes) > 2 else 40 for axes in copies) + 1500 * len(short)
    return 1100 if isinstance(step, Pool) and 1 < step.window.out_height <= _FEW_ROUNDS else 0


def _hash(kind: str, values: np.ndarray) -> str:
    return f"{kind} {hashlib.sha1(np.ascontiguousarray(values).tobytes(), usedforsecurity=False).hexdigest()}"


def _data(step: Convolution, size: float) -> Items:
    """The layer's constants, once for all layers that have them in common."""
    return {_hash(f"weights {step.shared} {step.multipliers[:2]} {step.zero_in}", step.weights): size}


def _code(lines: Sequence[str]) -> Items:
    return {"\n".join([_CODE, *lines]): _LINE_BYTES * len(lines)}


def _shared(step: Convolution) -> Items:
    w, scale = step.window, dsp_channels.scale_of(step)
    found = dsp_channels.channels_of(step)
    table = len(found.data) + 3 if found else 0
    helpers = ["scales", "fill"]
    if step.depthwise:
        code, structure, weights = _code(dsp_shared_plane.plane(w, scale)), 76, step.weights.size
        helpers += ["planes"]
    elif dsp_pack.geometry(w).single:
        code, structure, weights = {}, 48, -(-w.channels // 4) * 4 * w.out_channels
        helpers += ["dense", "spread"]
    else:
        weights = dsp_shared.groups(w) * 4 * w.kernel[0] * (w.out_channels + w.out_channels % 2)
        code, structure = _code(dsp_shared.dot(scale)), 72
        helpers += ["convolve", "spread"]
    own = {f"structure {step.index}": structure}
    return own | _data(step, weights + table) | code | {name: _SHARED_BYTES[name] for name in helpers}


def _own(step: Convolution) -> Items:
    w, scale, own = step.window, dsp_pack.scale_of(step), f"function {step.index}"
    module = arrange.dsp(replace(step, shared=False))
    if module is None or scale is None:
        return {own: 900 if step.depthwise else 760, **_data(step, step.weights.size + 9 * w.out_channels)}
    short = dsp_pack.packed_scales(step, scale, dsp_channels.folded(step), range(w.out_channels)) is not None
    if step.depthwise:
        stored = dsp_depthwise.stored_bytes(step)
        code = _code(dsp_depthwise.kernel_of(step)) | _code(dsp_depthwise.gather_of(w))
        return {own: 150, "fill": 30} | ({"unpack": 350} if short else {}) | code | _data(step, stored)
    each = 4 * len(scale.words(0))
    if dsp_pack.geometry(w).single:
        groups, rest = -(-w.channels // 4), w.out_channels % 4
        brief = (
            not scale.uniform and scale.base() is not None and bool((np.abs(dsp_channels.folded(step)) < 2**23).all())
        )
        table = 4 if scale.uniform else 8 if brief else 4 + each
        code = {} if w.out_channels < 4 else _code(rows(4, groups, scale, short=brief))
        code |= _code(rows(rest, groups, scale, short=brief)) if rest else {}
        return {own: 60, "spread": 96} | code | _data(step, (4 * groups + table) * w.out_channels)
    taps, g = dsp_pack.taps_of(step), dsp_pack.geometry(w)
    code = {}
    for channels in {2} | ({1} if w.out_channels % 2 else set()):
        of = taps if channels == 2 else dsp_pack.taps_of(step, whole=True)
        pixels = {2, 1} if (w.out_width if not g.flat else w.out_width * w.out_height) % 2 else {2}
        for count in pixels:
            code |= _code(Blocks(count, channels, of, dsp_pack.x_step_of(w, g), w.out_channels, scale).lines())
    weights = len(taps.offsets) * taps.values
    return (
        {own: (130 if g.flat else 220) + 28 * short, "spread": 96, "widen": 300}
        | code
        | _data(step, (weights + (6 if short else 4 + each)) * w.out_channels)
    )


def _gain(step: Step) -> float:
    """Instructions that kernels of its own save, about."""
    if isinstance(step, Binary) and dsp_sum.fits(step):
        return 2.0 * math.prod(step.shape)
    if not isinstance(step, Convolution):
        return portable_shared.estimate(step)[2]
    w = step.window
    outputs = w.out_height * w.out_width * w.out_channels
    if step.depthwise:
        return 7 * outputs + (330 + 12 * w.out_height) * w.out_channels
    groups = dsp_shared.groups(w) * w.kernel[0]
    if dsp_pack.geometry(w).single:
        return outputs * (0.5 * groups + 40)
    tiles = math.ceil(w.out_height * w.out_width / 48)
    return outputs / 4 * (24 + 1.7 * groups) + 130 * w.out_channels * tiles
