"""How inputs and weights of a convolution stand in memory for the DSP kernels, and what memory a tile of it takes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelab.mcu.cgen.dsp_asm import Taps
from edgelab.mcu.cgen.dsp_scale import Scale, fitted_scale, make_scale
from edgelab.mcu.cgen.lowering import Convolution, Ints, Window
from edgelab.mcu.cgen.packed import Packed, pack
from edgelab.mcu.cgen.settling import sums

_SLACK = 16
_WANTED_PIXELS = 48
"""Output pixels of a tile beyond which spreading the weights once more no longer shows."""
_MAX_OFFSET = 4095
_COMMON_SHIFT = 15
"""Shift to the right of every layer that has the room for it."""


@dataclass(frozen=True)
class Geometry:
    """How a convolution's inputs stand in scratch memory."""

    flat: bool
    """A 1x1 window: every output pixel has its inputs for itself."""
    pitch: int
    """Bytes from a row of inputs to the next; of a flat one, from pixel to pixel."""
    columns: int
    """Pixels of a row, padding included; of a flat one, 1."""
    in_order: bool
    """Values stand in their own order, not in the order 0, 2, 1, 3 of every four."""
    single: bool
    """One pixel in and out: no use in spreading the weights ahead."""


def geometry(w: Window) -> Geometry:
    """The geometry of a window."""
    in_order = w.channels % 4 != 0
    if w.kernel == (1, 1) and not w.padded:
        single = w.height * w.width * w.batch == 1
        values = -(-w.channels // 4) * 4 if single else -(-w.channels // 2) * 2
        return Geometry(True, 2 * values, 1, in_order, single)
    columns = (w.out_width - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1
    return Geometry(False, -(-columns * w.channels // 2) * 4, columns, in_order, False)


def scratch_bytes(step: Convolution, rows: int) -> int:
    """Scratch memory for tiles of ``rows`` output rows (pixels of a flat one)."""
    return input_bytes(step, rows) + _weight_bytes(step)


def input_bytes(step: Convolution, rows: int) -> int:
    """The part of the scratch memory that holds inputs."""
    w, g = step.window, geometry(step.window)
    tall = rows if g.flat else (rows - 1) * w.stride[0] + (w.kernel[0] - 1) * w.dilation[0] + 1
    return -(-(tall * g.pitch + _SLACK) // 16) * 16


def _weight_bytes(step: Convolution) -> int:
    if geometry(step.window).single:
        return 0
    taps = taps_of(step, whole=True)
    return -(-(8 + 4 * taps.values * len(taps.offsets) + 8 * 4) // 16) * 16


def tile_rows(step: Convolution, available: int) -> int:
    """The tile height for the scratch memory at hand; at least 1 row, or 2 pixels."""
    w, g = step.window, geometry(step.window)
    if g.flat:
        total = w.out_height * w.out_width
        whole_rows = w.stride != (1, 1)
        unit = w.out_width if whole_rows else (2 if total > 1 else 1)
        wanted = min(_WANTED_PIXELS, total)
    else:
        total, unit = w.out_height, 1
        wanted = min(total, -(-_WANTED_PIXELS // w.out_width))
    best = unit
    for rows in range(unit, wanted + unit, unit):
        if scratch_bytes(step, min(rows, total)) <= available:
            best = min(rows, total)
    return min(best, total)


def lag(step: Convolution, rows: int) -> int:
    """How far the input has to lie behind the output if they share memory: a tile is read before it is written."""
    w, g = step.window, geometry(step.window)
    if g.flat and w.stride == (1, 1):
        total, taken, made = w.out_height * w.out_width, w.channels, w.out_channels
        return max([0, *(end * (made - taken) for end in range(rows, total, rows))])
    tall = rows // w.out_width if g.flat else rows
    row_in, row_out = w.width * w.channels, w.out_width * w.out_channels
    ends = range(tall, w.out_height, tall)
    return max([0, *(end * row_out - max(end * w.stride[0] - w.pad[0], 0) * row_in for end in ends)])


def stream_rows(step: Convolution) -> int:
    """The tile of a step that makes one output row at a time."""
    return step.window.out_width if geometry(step.window).flat else 1


def scale_of(step: Convolution, *, ahead: bool = True) -> Scale | None:
    """The layer's scale parameters, None where sums have no room for them.

    ``ahead``: leave room in 16 bits for a depthwise layer's weights, shifted as requantization wants its sums.
    """
    known = vars(step).setdefault("_scales", {})  # every arrangement that is tried asks for it
    if ahead not in known:
        known[ahead] = _scale_of(step, ahead=ahead)
    found: Scale | None = known[ahead]
    return found


def _scale_of(step: Convolution, *, ahead: bool) -> Scale | None:
    axes = (1, 2, 3) if not step.depthwise else (0, 1)
    lowest, highest = sums(step)
    folded = step.bias - step.zero_in * step.weights.sum(axis=axes)
    bound = np.maximum(np.abs(highest), np.abs(lowest))
    if max(np.abs(folded).max(), bound.max()) >= 2**31:
        return None
    common = make_scale(step.multipliers, bound, step.zero_out, step.low, step.high, right=_COMMON_SHIFT)
    if common is None or (ahead and step.depthwise and _beyond_16_bits(step, folded, common)):
        common = make_scale(step.multipliers, bound, step.zero_out, step.low, step.high)
    return common or fitted_scale(step.multipliers, lowest, highest, step.zero_out, step.low, step.high)


def _beyond_16_bits(step: Convolution, folded: Ints, scale: Scale) -> bool:
    """Whether some weight or bias has no room for the shift that requantization wants."""
    shifts = np.array(scale.shifts)
    return bool((np.abs(step.weights) << shifts).max() >= 2**15 or np.abs(folded << shifts).max() >= 2**31)


def packed_scales(step: Convolution, scale: Scale, bias: Ints, channels: range) -> Packed | None:
    """What `dsp_scale` and a folded bias need, in six bytes a channel where that is possible."""
    if not step.terse or scale.base() is None or not step.scales:
        return None
    biases = tuple(int(bias[c]) for c in channels)
    factors, shifts = (tuple(values[c] for c in channels) for values in (scale.factors, scale.shifts))
    return _pack(tuple(step.scales[c] for c in channels), step.ratio, biases, factors, shifts)


_pack = functools.lru_cache(maxsize=1024)(pack)


def fits(step: Convolution) -> bool:
    """Whether these kernels take the layer: sums have room, distances fit the instructions."""
    w, g = step.window, geometry(step.window)
    if w.batch > 1 or w.out_channels + 1 > _MAX_OFFSET or scale_of(step) is None:
        return False
    return x_step_of(w, g) + 4 <= _MAX_OFFSET and w.channels * max(w.kernel) < 2**14


def x_step_of(w: Window, g: Geometry) -> int:
    """Bytes from a pixel's inputs to its right neighbour's."""
    return g.pitch if g.flat else 2 * w.stride[1] * w.channels


def taps_of(step: Convolution, *, whole: bool = False) -> Taps:
    """The runs of inputs that an output needs; ``whole``: in groups of four."""
    w, g = step.window, geometry(step.window)
    (kh, kw), (dh, dw), c = w.kernel, w.dilation, w.channels
    if g.flat:
        return Taps.of((0,), c, whole=whole or g.single)
    if dw == 1 or kw == 1:
        return Taps.of([ky * dh * g.pitch for ky in range(kh)], kw * c, whole=whole)
    offsets = [ky * dh * g.pitch + kx * dw * c * 2 for ky in range(kh) for kx in range(kw)]
    return Taps.of(offsets, c, whole=whole)


def runs_of(step: Convolution, taps: Taps) -> Ints:
    """Weights as (out, runs, values) in the order in which inputs stand in memory, zeros beyond."""
    runs = step.weights.reshape(step.window.out_channels, len(taps.offsets), -1)
    padded = np.zeros((*runs.shape[:2], taps.values), np.int64)
    padded[:, :, : runs.shape[2]] = runs
    if not geometry(step.window).in_order:
        padded = padded.reshape(*runs.shape[:2], -1, 4)[..., [0, 2, 1, 3]].reshape(padded.shape)
    return padded


def packed_words(channels: Ints, taps: Taps) -> list[int]:
    """16-bit weights of one or two channels (channels, runs, values) as `dsp_dot.Blocks` reads them."""
    values: list[int] = []
    for run in range(channels.shape[1]):
        for group in range(taps.groups):
            values += channels[:, run, 4 * group : 4 * group + 4].ravel().tolist()
        if taps.half:
            values += channels[:, run, 4 * taps.groups :].ravel().tolist()
    return values


def as_bytes(values: Sequence[int]) -> list[int]:
    """Values in the order from which ``spread`` makes their own."""
    return np.asarray(values).reshape(-1, 4)[:, [0, 2, 1, 3]].ravel().tolist()
