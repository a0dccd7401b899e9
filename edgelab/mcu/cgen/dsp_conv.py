"""Convolutions and dense layers with DSP instructions: inputs spread to 16 bits in scratch memory, then `dsp_asm`'s loops.

The input's zero point is folded into the bias, so that bytes are multiplied as they are; what a window covers beyond the
picture's edge is filled with the zero point. Weights are spread to 16 bits where they are used often enough to pay for
it, two channels at a time, once for a tile of output pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelab.mcu.cgen import dsp_asm, portable
from edgelab.mcu.cgen.ctext import Program, plus
from edgelab.mcu.cgen.dsp_asm import Taps
from edgelab.mcu.cgen.dsp_scale import Scale, make_scale
from edgelab.mcu.cgen.lowering import Convolution, Ints, Window

_SLACK = 16
_WANTED_PIXELS = 48
"""Output pixels of a tile beyond which spreading the weights once more no longer shows."""
_MAX_OFFSET = 4095
_ARGUMENTS = "const int16_t *x, const int32_t *w, int8_t *o, int8_t *end"


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
    """One output pixel: no use in spreading the weights ahead."""


def geometry(w: Window) -> Geometry:
    """The geometry of a window."""
    in_order = w.channels % 4 != 0
    if w.kernel == (1, 1) and not w.padded:
        single = w.out_height * w.out_width * w.batch == 1
        values = -(-w.channels // 4) * 4 if single else -(-w.channels // 2) * 2
        return Geometry(True, 2 * values, 1, in_order, single)
    columns = (w.out_width - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1
    return Geometry(False, -(-columns * w.channels // 2) * 4, columns, in_order, False)


def scratch_bytes(step: Convolution, rows: int) -> int:
    """Scratch memory for tiles of ``rows`` output rows (pixels of a flat one)."""
    return _input_bytes(step, rows) + _weight_bytes(step)


def _input_bytes(step: Convolution, rows: int) -> int:
    w, g = step.window, geometry(step.window)
    tall = rows if g.flat else (rows - 1) * w.stride[0] + (w.kernel[0] - 1) * w.dilation[0] + 1
    return -(-(tall * g.pitch + _SLACK) // 16) * 16


def _weight_bytes(step: Convolution) -> int:
    if geometry(step.window).single:
        return 0
    taps = _taps(step, whole=True)
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


def scale_of(step: Convolution) -> Scale | None:
    """The layer's scale parameters, None where sums have no room for them."""
    axes = (1, 2, 3) if not step.depthwise else (0, 1)
    products = np.stack([step.weights * (127 - step.zero_in), step.weights * (-128 - step.zero_in)])
    highest = step.bias + products.max(axis=0).sum(axis=axes)
    lowest = step.bias + products.min(axis=0).sum(axis=axes)
    folded = step.bias - step.zero_in * step.weights.sum(axis=axes)
    bound = np.maximum(np.abs(highest), np.abs(lowest))
    if max(np.abs(folded).max(), bound.max()) >= 2**31:
        return None
    return make_scale(step.multipliers, bound, step.zero_out, step.low, step.high)


def fits(step: Convolution) -> bool:
    """Whether these kernels take the layer: sums have room, distances fit the instructions."""
    w, g = step.window, geometry(step.window)
    if w.batch > 1 or w.out_channels + 1 > _MAX_OFFSET or scale_of(step) is None:
        return False
    return _x_step(w, g) + 4 <= _MAX_OFFSET and w.channels * max(w.kernel) < 2**14


def _x_step(w: Window, g: Geometry) -> int:
    return g.pitch if g.flat else 2 * w.stride[1] * w.channels


def _taps(step: Convolution, *, whole: bool = False) -> Taps:
    w, g = step.window, geometry(step.window)
    (kh, kw), (dh, dw), c = w.kernel, w.dilation, w.channels
    if g.flat:
        return Taps.of((0,), c, whole=whole or g.single)
    if dw == 1 or kw == 1:
        return Taps.of([ky * dh * g.pitch for ky in range(kh)], kw * c, whole=whole)
    offsets = [ky * dh * g.pitch + kx * dw * c * 2 for ky in range(kh) for kx in range(kw)]
    return Taps.of(offsets, c, whole=whole)


def _runs(step: Convolution, taps: Taps) -> Ints:
    """Weights as (out, runs, values) in the order in which inputs stand in memory, zeros beyond."""
    runs = step.weights.reshape(step.window.out_channels, len(taps.offsets), -1)
    padded = np.zeros((*runs.shape[:2], taps.values), np.int64)
    padded[:, :, : runs.shape[2]] = runs
    if not geometry(step.window).in_order:
        padded = padded.reshape(*runs.shape[:2], -1, 4)[..., [0, 2, 1, 3]].reshape(padded.shape)
    return padded


def _packed(channels: Ints, taps: Taps) -> list[int]:
    """16-bit weights of one or two channels (channels, runs, values) as `dsp_asm.blocks` reads them."""
    values: list[int] = []
    for run in range(channels.shape[1]):
        for group in range(taps.groups):
            values += channels[:, run, 4 * group : 4 * group + 4].ravel().tolist()
        if taps.half:
            values += channels[:, run, 4 * taps.groups :].ravel().tolist()
    return values


def _bytes(values: Sequence[int]) -> list[int]:
    """Values in the order from which ``spread`` makes their own."""
    return np.asarray(values).reshape(-1, 4)[:, [0, 2, 1, 3]].ravel().tolist()  # type: ignore[no-any-return]


def convolution(p: Program, step: Convolution, rows: int) -> None:
    """Add the layer's function, with tiles of ``rows`` output rows (pixels of a flat one)."""
    scale = scale_of(step)
    if scale is None:
        raise AssertionError(step.function)
    g = geometry(step.window)
    bias = step.bias - step.zero_in * step.weights.sum(axis=(1, 2, 3))
    (_single if g.single else _tiled)(p, step, scale, bias, rows)


def _kernel(p: Program, name: str, lines: Sequence[str]) -> str:
    """A kernel function, shared by layers whose loops are the same instructions."""
    return p.shared(name, lambda own: dsp_asm.naked(own, lines, _ARGUMENTS), "\n".join(lines))


def _single(p: Program, step: Convolution, scale: Scale, bias: Ints, rows: int) -> None:  # noqa: ARG001
    w, taps = step.window, _taps(step)
    runs = _runs(step, taps)[:, 0]
    p.helper("spread", dsp_asm.HELPERS["spread"])
    body = f"int16_t *const x = (int16_t *){p.scratches[step.index]};\n{_spread(p, step, 'x', p.addresses[step.inputs[0]], w.channels)}"
    if w.channels % 4:
        p.helper("fill", dsp_asm.HELPERS["fill"])
        body = body + f"fill(x + {w.channels}, {taps.values - w.channels}, 0);\n"
    out = p.addresses[step.outputs[0]]
    full = w.out_channels // 4 * 4
    for first, last in ((0, full), (full, w.out_channels)):
        size = min(last - first, 4)
        if not size:
            continue
        words: list[int] = []
        for c in range(first, last, size):
            words += bias[c : c + size].tolist()
            for group in range(taps.groups):
                for channel in range(c, c + size):
                    words.append(_word(_bytes(runs[channel, 4 * group : 4 * group + 4].tolist())))
            for channel in range(c, c + size):
                words += scale.words(channel)
        table = p.constant("int32_t", words, f"weights_{step.index:02d}_{first}")
        kernel = _kernel(p, f"dot_{step.index:02d}_row{size}", dsp_asm.rows(size, taps.groups, scale))
        body += f"{kernel}(x, {table}, {out} + {first}, {out} + {last});\n"
    p.function(step.function, body)


def _word(values: Sequence[int]) -> int:
    return int.from_bytes(np.asarray(values, np.int8).tobytes(), "little", signed=True)


def _spread(p: Program, step: Convolution, to: str, source: str, count: int | str) -> str:
    name = "spread_in_order" if geometry(step.window).in_order else "spread"
    p.helper(name, dsp_asm.HELPERS[name])
    return f"{name}({to}, {source}, {count});\n"


def _tiled(p: Program, step: Convolution, scale: Scale, bias: Ints, rows: int) -> None:
    w, g = step.window, geometry(step.window)
    p.helper("spread", dsp_asm.HELPERS["spread"])
    p.helper("widen", _WIDEN)
    source, target = portable.places(p, step, w)
    taps, last_taps = _taps(step), _taps(step, whole=True)
    runs = _runs(step, taps)
    pairs = w.out_channels // 2
    packed = [_bytes(_packed(runs[c : c + 2], taps)) for c in range(0, 2 * pairs, 2)]
    table = [
        word
        for c in range(0, 2 * pairs, 2)
        for word in (*bias[c : c + 2].tolist(), *scale.words(c), *scale.words(c + 1))
    ]
    size = len(scale.words(0))
    across = _X(step, scale, g, rows)
    inner = ""
    if pairs:
        weights = p.constant("int8_t", np.array(packed), f"weights_{step.index:02d}", align=4)
        scales = p.constant("int32_t", table, f"scales_{step.index:02d}")
        inner += (
            f"for (int c = 0; c < {pairs}; ++c) {{\n"
            f"widen(w, {weights} + c * {len(packed[0])}, {scales} + c * {2 + 2 * size}, {len(packed[0])}, 2, {2 * size});\n"
            f"{across.calls(p, taps, 2, '2 * c')}}}\n"
        )
    if w.out_channels % 2:
        c = w.out_channels - 1
        bytes_ = _bytes(_packed(_runs(step, last_taps)[c:], last_taps))
        weights = p.constant("int8_t", bytes_, f"last_weights_{step.index:02d}", align=4)
        scales = p.constant("int32_t", [int(bias[c]), *scale.words(c)], f"last_scales_{step.index:02d}")
        inner += f"widen(w, {weights}, {scales}, {len(bytes_)}, 1, {size});\n{across.calls(p, last_taps, 1, str(c))}"
    scratch = p.scratches[step.index]
    head = (
        f"int16_t *const x = (int16_t *){scratch};\n"
        f"int32_t *const w = (int32_t *)(void *)({scratch} + {_input_bytes(step, rows)});\n"
    )
    if g.flat and step.index in p.streams:
        body = _flat_row(p, step, inner, source.row(f"oy * {w.stride[0]}"), target.row("oy"))
    elif g.flat:
        body = _flat_tiles(p, step, rows, inner, source.row("0"), target.row("0"))
    else:
        body = _window_tiles(p, step, rows, inner)
    p.function(step.function, head + body, "int oy" if step.index in p.streams else "void")


@dataclass(frozen=True)
class _X:
    """Calls of the kernels that make one or two channels of a tile."""

    step: Convolution
    scale: Scale
    g: Geometry
    rows: int

    def calls(self, p: Program, taps: Taps, channels: int, channel: str) -> str:
        """C that runs the kernels over the tile's pixels, ``n`` of a flat one, ``rows`` rows otherwise."""
        w, g = self.step.window, self.g
        x_step = _x_step(w, g)

        def kernel(pixels: int) -> str:
            lines = dsp_asm.blocks(pixels, channels, taps, x_step, w.out_channels, self.scale, pixels)
            return _kernel(p, f"dot_{self.step.index:02d}_{pixels}x{channels}", lines)

        oc = w.out_channels
        if g.flat:
            total = w.out_width if self.step.index in p.streams else w.out_height * w.out_width
            text = f"int8_t *const oc = o + {channel};\n"
            if total > 1:
                text += f"if (n > 1) {kernel(2)}(x, w, oc, oc + (n & ~1) * {oc});\n"
            if total % 2 or self.rows % 2:
                text += (
                    f"if (n & 1) {kernel(1)}(x + (n - 1) * {g.pitch // 2}, w, oc + (n - 1) * {oc}, oc + n * {oc});\n"
                )
            return f"{{\n{text}}}\n"
        even = w.out_width // 2 * 2
        text = f"int8_t *const oc = {{row}} + {channel};\nconst int16_t *const xr = x + r * {w.stride[0] * g.pitch // 2};\n"
        if even:
            text += f"{kernel(2)}(xr, w, oc, oc + {even * oc});\n"
        if w.out_width % 2:
            text += f"{kernel(1)}(xr + {even * x_step // 2}, w, oc + {even * oc}, oc + {(even + 1) * oc});\n"
        target = portable.places(p, self.step, w)[1]
        return "for (int r = 0; r < rows; ++r) {\n" + text.replace("{row}", target.row("oy + r")) + "}\n"


def _flat_row(p: Program, step: Convolution, inner: str, source: str, target: str) -> str:
    """One row of pixels."""
    w, g = step.window, geometry(step.window)
    c = w.channels
    if w.stride[1] == 1 and g.pitch == 2 * c:
        spread = _spread(p, step, "x", "in", w.out_width * c)
    else:
        one = _spread(p, step, f"x + i * {g.pitch // 2}", f"in + i * {w.stride[1] * c}", c)
        spread = f"for (int i = 0; i < {w.out_width}; ++i) {one}"
    return f"const int8_t *const in = {source};\nint8_t *const o = {target};\nconst int n = {w.out_width};\n{spread}{inner}"


def _flat_tiles(p: Program, step: Convolution, rows: int, inner: str, source: str, target: str) -> str:
    """Tiles of pixels; their inputs lie side by side, or ``stride`` apart, tile by whole rows."""
    w, g = step.window, geometry(step.window)
    total = w.out_height * w.out_width
    c = w.channels
    padded = g.pitch // 2 != c
    if w.stride == (1, 1):
        spread = (
            f"for (int i = 0; i < n; ++i) {_spread(p, step, f'x + i * {g.pitch // 2}', f'in + (t + i) * {c}', c)}"
            if padded
            else _spread(p, step, "x", f"in + t * {c}", f"n * {c}")
        )
    else:
        from_pixel = f"in + (t / {w.out_width} + r) * {w.stride[0] * w.width * c} + i * {w.stride[1] * c}"
        spread = f"for (int r = 0; r < n / {w.out_width}; ++r)\nfor (int i = 0; i < {w.out_width}; ++i) " + _spread(
            p, step, f"x + (r * {w.out_width} + i) * {g.pitch // 2}", from_pixel, c
        )
    n = str(rows) if total % rows == 0 else f"t + {rows} <= {total} ? {rows} : {total} - t"
    return (
        f"const int8_t *const in = {source};\nfor (int t = 0; t < {total}; t += {rows}) {{\nconst int n = {n};\n"
        f"int8_t *const o = {target} + t * {w.out_channels};\n{spread}{inner}}}"
    )


def _window_tiles(p: Program, step: Convolution, rows: int, inner: str) -> str:
    """Tiles of output rows, over the padded input rows that they need."""
    w, g = step.window, geometry(step.window)
    (sh, _), (ph, pw), c = w.stride, w.pad, w.channels
    source = portable.places(p, step, w)[0]
    taken = min(w.width, g.columns - pw)
    right = g.columns - pw - taken
    tall = (
        f"(rows - 1) * {sh}{plus((w.kernel[0] - 1) * w.dilation[0] + 1)}"
        if rows > 1
        else str((w.kernel[0] - 1) * w.dilation[0] + 1)
    )
    row = _spread(p, step, f"d + {pw * c}", source.row("iy"), taken * c)
    if w.padded:
        p.helper("fill", dsp_asm.HELPERS["fill"])
    if right:
        row += f"fill(d + {(pw + taken) * c}, {right * c}, {step.zero_in});\n"
    if pw:
        row = f"fill(d, {pw * c}, {step.zero_in});\n{row}"
    if w.pad[0] > 0 or w.pad_after[0] > 0:
        row = f"if ((unsigned)iy >= {w.height}u) {{\nfill(d, {g.columns * c}, {step.zero_in});\n}} else {{\n{row}}}\n"
    n = str(rows) if w.out_height % rows == 0 else f"oy + {rows} <= {w.out_height} ? {rows} : {w.out_height} - oy"
    tile = (
        f"const int rows = {n};\n"
        f"for (int r = 0; r < {tall}; ++r) {{\nconst int iy = oy * {sh}{plus(-ph)} + r;\n"
        f"int16_t *const d = x + r * {g.pitch // 2};\n{row}}}\n{inner}"
    )
    if step.index in p.streams:
        return tile
    return f"for (int oy = 0; oy < {w.out_height}; oy += {rows}) {{\n{tile}}}"


_WIDEN = """
/* Weights of one or two channels for a kernel: biases, weights spread to 16 bits, scale parameters. */
static __attribute__((noinline)) void widen(int32_t *to, const int8_t *from, const int32_t *table, int bytes, int biases,
                                            int parameters) {
  for (int i = 0; i < biases; ++i) *to++ = *table++;
  spread((int16_t *)(void *)to, from, bytes);
  to += bytes / 2;
  for (int i = 0; i < parameters; ++i) *to++ = *table++;
}
"""
