"""How the steps of a model share the arena: tiles as high as the memory beside the tensors allows, outputs in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from edgelab.mcu.arena import plan_arena
from edgelab.mcu.cgen import dsp_conv, dsp_depthwise, dsp_shared, dsp_shared_plane, memory
from edgelab.mcu.cgen.lowering import Alias, Binary, Convolution, FromFloat, Softmax, Step, Table, ToFloat
from edgelab.mcu.cgen.memory import Group, Layout
from edgelab.mcu.cgen.streams import Stream
from edgelab.mcu.model import Model

_SCRATCH_BYTES = 2048
"""What DSP kernels may add to the arena, beside an eighth of it: less than the interpreter's own structures take."""
_SPARED_STACK_BYTES = 768
"""Of the stack that the interpreter takes and generated code does not (over 1,200 bytes against some 200)."""
_LONGEST_ROW_BYTES = 2048
"""Scratch memory for one row beyond which a picture of one row is taken as a column."""


@dataclass(frozen=True)
class Arrangement:
    """What the emitters need to know: tile heights of the steps with DSP kernels, chains, addresses."""

    tiles: Mapping[int, int]
    groups: tuple[Group, ...]
    streams: tuple[Stream, ...]
    layout: Layout

    def scratches(self) -> dict[int, int]:
        """The offset of each step's scratch memory."""
        return {
            step.index: self.layout.scratch[position]
            for position, group in enumerate(self.groups)
            if group.scratch
            for step in group.steps
        }


def dsp(step: Step) -> ModuleType | None:
    """The module whose kernels take a step, if any does."""
    if not isinstance(step, Convolution):
        return None
    if step.shared:
        return dsp_shared_plane if step.depthwise else dsp_shared
    module = dsp_depthwise if step.depthwise else dsp_conv
    return module if module.fits(step) else None


def for_time(model: Model, steps: Sequence[Step], *, kernels: str) -> Arrangement:
    """Every step on its own, with tiles as high as the memory beside the tensors allows."""
    plain = [Group((step,), lag=always(model, step)) for step in steps]
    if kernels == "portable":
        return Arrangement({}, tuple(plain), (), memory.layout(model, plain))
    limit = room = _room(model, memory.layout(model, plain).arena_bytes)
    while True:
        made = _tiled(model, steps, plain, room)
        excess = made.layout.arena_bytes - limit
        if excess <= 0 or not made.tiles:
            return made
        room -= max(excess, 16)


def _room(model: Model, tensors_bytes: int) -> int:
    """Memory for tensors and tiles: no more than the interpreter takes with CMSIS-NN, and not much more than now."""
    wanted = tensors_bytes + _SCRATCH_BYTES + tensors_bytes // 8
    theirs = plan_arena(model, "cortex-m-cmsis-nn")
    return wanted if theirs.unknown else min(wanted, theirs.total + _SPARED_STACK_BYTES)


def _tiled(model: Model, steps: Sequence[Step], plain: Sequence[Group], room: int) -> Arrangement:
    tiles: dict[int, int] = {}
    groups: list[Group] = []
    for position, (step, group) in enumerate(zip(steps, plain, strict=True)):
        module = dsp(step)
        available = room - memory.live_bytes(model, plain, position)
        rows = 0 if module is None else module.tile_rows(step, available)
        if module is not None and module.scratch_bytes(step, rows) <= available:
            tiles[step.index] = rows
            lag = module.lag(step, rows)
            free = lag if lag == 0 and module in (dsp_depthwise, dsp_shared_plane) else None
            groups.append(Group((step,), module.scratch_bytes(step, rows), lag=free))
        else:  # portable kernels need no scratch memory
            groups.append(group)
    return Arrangement(tiles, tuple(groups), (), memory.layout(model, groups))


def upright(step: Step) -> Step:
    """A convolution over one long row as one over a column: the same memory, and tiles of less than the whole."""
    if not isinstance(step, Convolution):
        return step
    w = step.window
    turned = replace(
        w,
        height=w.width,
        width=w.height,
        out_height=w.out_width,
        out_width=w.out_height,
        kernel=w.kernel[::-1],
        stride=w.stride[::-1],
        dilation=w.dilation[::-1],
        pad=w.pad[::-1],
    )
    module = dsp(step)
    if w.height > 1 or w.out_height > 1 or w.kernel[0] > 1 or w.width == 1 or module is None:
        return step
    if module.scratch_bytes(step, module.tile_rows(step, 0)) <= _LONGEST_ROW_BYTES:
        return step
    axes = (0, 1) if step.depthwise else (1, 2)  # weights are (kh, kw, out), or (out, kh, kw, in)
    return replace(step, window=turned, weights=step.weights.swapaxes(*axes))


def always(model: Model, step: Step) -> int | None:
    """The lag of steps that read each byte before they write the one in its place, whatever the kernels."""
    if isinstance(step, Alias):
        return 0
    if isinstance(step, FromFloat) and step.inputs:
        return 0
    if isinstance(step, ToFloat) and step.inputs:
        return 3 * step.elements  # an element's four bytes end where the next one is read
    if isinstance(step, Table | Softmax | Binary) and step.inputs:
        same = model.tensors[step.inputs[0]].shape == model.tensors[step.outputs[0]].shape
        return 0 if same else None
    return None


__all__ = ["Arrangement", "always", "dsp", "for_time", "upright"]
