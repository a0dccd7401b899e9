"""Convolutions and dense layers with DSP instructions: inputs spread to 16 bits in scratch memory, then `dsp_dot`.

The input's zero point is folded into the bias, so that bytes are multiplied as they are; what a window covers beyond
the picture's edge is filled with the zero point. Weights are spread to 16 bits where they are used often enough to pay
for it, two channels at a time, once for a tile of output pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgelab.mcu.cgen import dsp_asm, portable
from edgelab.mcu.cgen import packed as packing
from edgelab.mcu.cgen.ctext import Program, plus
from edgelab.mcu.cgen.dsp_asm import Taps
from edgelab.mcu.cgen.dsp_dot import Blocks, short_words
from edgelab.mcu.cgen.dsp_dot import rows as rows_of
from edgelab.mcu.cgen.dsp_pack import (
    Geometry,
    as_bytes,
    fits,
    geometry,
    input_bytes,
    lag,
    packed_scales,
    packed_words,
    runs_of,
    scale_of,
    scratch_bytes,
    stream_rows,
    taps_of,
    tile_rows,
    x_step_of,
)
from edgelab.mcu.cgen.dsp_scale import Scale
from edgelab.mcu.cgen.lowering import Convolution, Ints

__all__ = ["convolution", "fits", "lag", "scratch_bytes", "stream_rows", "tile_rows"]

_ARGUMENTS = "const int16_t *x, const int32_t *w, int8_t *o, int8_t *end"


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
    w, taps = step.window, taps_of(step)
    runs = runs_of(step, taps)[:, 0]
    body = f"int16_t *const x = (int16_t *){p.scratches[step.index]};\n"
    body += _spread(p, step, "x", p.addresses[step.inputs[0]], w.channels)
    if w.channels % 4:
        p.helper("fill", dsp_asm.HELPERS["fill"])
        body = body + f"fill(x + {w.channels}, {taps.values - w.channels}, 0);\n"
    out = p.addresses[step.outputs[0]]
    short = not scale.uniform and scale.base() is not None and bool((np.abs(bias) < 2**23).all())
    full = w.out_channels // 4 * 4
    for first, last in ((0, full), (full, w.out_channels)):
        size = min(last - first, 4)
        if not size:
            continue
        words: list[int] = []
        for c in range(first, last, size):
            words += [] if short else bias[c : c + size].tolist()
            for group in range(taps.groups):
                for channel in range(c, c + size):
                    words.append(_word(as_bytes(runs[channel, 4 * group : 4 * group + 4].tolist())))
            for channel in range(c, c + (1 if scale.uniform else size)):
                words += short_words(scale, channel, int(bias[channel])) if short else scale.words(channel)
        table = p.constant("int32_t", words, f"weights_{step.index:02d}_{first}")
        kernel = _kernel(p, f"dot_{step.index:02d}_row{size}", rows_of(size, taps.groups, scale, short=short))
        body += f"{kernel}(x, {table}, {out} + {first}, {out} + {last});\n"
    p.function(step.function, body, small=True)


def _word(values: Sequence[int]) -> int:
    return int.from_bytes(np.asarray(values, np.int8).tobytes(), "little", signed=True)


def _spread(p: Program, step: Convolution, to: str, source: str, count: int | str) -> str:
    name = "spread_in_order" if geometry(step.window).in_order else "spread"
    p.helper(name, dsp_asm.HELPERS[name])
    return f"{name}({to}, {source}, {count});\n"


def _tiled(p: Program, step: Convolution, scale: Scale, bias: Ints, rows: int) -> None:
    w, g = step.window, geometry(step.window)
    p.helper("spread", dsp_asm.HELPERS["spread"])
    source, target = portable.places(p, step, w)
    taps, last_taps = taps_of(step), taps_of(step, whole=True)
    runs = runs_of(step, taps)
    pairs = w.out_channels // 2
    packed = [as_bytes(packed_words(runs[c : c + 2], taps)) for c in range(0, 2 * pairs, 2)]
    across = _X(step, scale, g, rows)
    inner = ""
    if pairs:
        widen = _widen(p, step, scale, bias, range(2 * pairs), packed, "c")
        inner += f"for (int c = 0; c < {pairs}; ++c) {{\n{widen}{across.calls(p, taps, 2, '2 * c')}}}\n"
    if w.out_channels % 2:
        c = w.out_channels - 1
        bytes_ = as_bytes(packed_words(runs_of(step, last_taps)[c:], last_taps))
        widen = _widen(p, step, scale, bias, range(c, c + 1), [bytes_], "0")
        inner += f"{widen}{across.calls(p, last_taps, 1, str(c))}"
    scratch = p.scratches[step.index]
    head = (
        f"int16_t *const x = (int16_t *){scratch};\n"
        f"int32_t *const w = (int32_t *)(void *)({scratch} + {input_bytes(step, rows)});\n"
    )
    if g.flat and step.index in p.streams:
        body = _flat_row(p, step, inner, source.row(f"oy * {w.stride[0]}"), target.row("oy"))
    elif g.flat:
        body = _flat_tiles(p, step, rows, inner, source.row("0"), target.row("0"))
    else:
        body = _window_tiles(p, step, rows, inner)
    p.function(step.function, head + body, "int oy" if step.index in p.streams else "void", small=True)


def _widen(
    p: Program, step: Convolution, scale: Scale, bias: Ints, channels: range, packed: list[list[int]], at: str
) -> str:
    """C that makes a kernel's words of one or two ``channels`` at a time, those number ``at``."""
    count, prefix = len(channels) // len(packed), "" if len(packed) > 1 or len(channels) == 2 else "last_"
    weights = p.constant("int8_t", np.array(packed), f"{prefix}weights_{step.index:02d}", align=4)
    short = packed_scales(step, scale, bias, channels)
    if short is None:
        table = [
            word
            for c in range(channels.start, channels.stop, count)
            for own in (range(c, c + count),)
            for word in (*(int(bias[i]) for i in own), *(word for i in own for word in scale.words(i)))
        ]
        scales = p.constant("int32_t", table, f"{prefix}scales_{step.index:02d}")
        p.helper("widen", _WIDEN)
        words = f"{weights} + {at} * {len(packed[0])}, {scales} + {at} * {len(table) // len(packed)}"
        return f"widen(w, {words}, {len(packed[0])}, {count}, {count * len(scale.words(0))});\n"
    packing.helper(p)
    p.helper("widen_packed", _WIDEN_PACKED)
    scales = p.constant("uint16_t", short.words, f"{prefix}scales_{step.index:02d}")
    fields = f"{weights}, {scales}, {short.high}u, {short.low}u, {scale.base()}, {len(packed[0])}, "
    name = p.structure(
        "packed_weights", f"{prefix}layer_{step.index:02d}", f"{fields}{short.shift}, {int(scale.linear)}"
    )
    return f"widen_packed(w, &{name}, {at}, {count});\n"


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
        x_step = x_step_of(w, g)

        def kernel(pixels: int) -> str:
            lines = Blocks(pixels, channels, taps, x_step, w.out_channels, self.scale).lines()
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
        text = f"int8_t *const oc = {{row}} + {channel};\n"
        text += f"const int16_t *const xr = x + r * {w.stride[0] * g.pitch // 2};\n"
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
    head = f"const int8_t *const in = {source};\nint8_t *const o = {target};\nconst int n = {w.out_width};\n"
    return f"{head}{spread}{inner}"


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
static __attribute__((noinline)) void widen(int32_t *to, const int8_t *from, const int32_t *table, int bytes,
                                            int biases, int parameters) {
  for (int i = 0; i < biases; ++i) *to++ = *table++;
  spread((int16_t *)(void *)to, from, bytes);
  to += bytes / 2;
  for (int i = 0; i < parameters; ++i) *to++ = *table++;
}
"""
_WIDEN_PACKED = """
/* The same from six bytes a channel; the rest follows from these. */
struct packed_weights {
  const int8_t *weights;
  const uint16_t *scales;
  uint32_t high, low;
  int32_t base;
  int32_t bytes;
  uint8_t shift, linear;
};
LAYER void widen_packed(int32_t *to, const struct packed_weights *l, int block, int channels) {
  int32_t *tail = to + channels + l->bytes / 2;
  spread((int16_t *)(void *)(to + channels), l->weights + block * l->bytes, l->bytes);
  for (int c = 0; c < channels; ++c) {
    int32_t channel[3];
    unpacked(channel, l->scales + (block * channels + c) * 3, l->high, l->low);
    const int shift = l->shift + channel[2];
    *to++ = channel[0];
    *tail++ = channel[1];
    *tail++ = l->base + (1 << (shift - 2));
    *tail++ = shift;
    if (l->linear) *tail++ = -(1 << (shift - 1));
  }
}
"""
