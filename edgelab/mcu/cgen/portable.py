"""Plain C99 for convolutions, depthwise convolutions and pools: loops with literal bounds, four channels at a time."""

from __future__ import annotations

import numpy as np

from edgelab.mcu.cgen.ctext import Place, Program, clamp, plus
from edgelab.mcu.cgen.fixed import Multiplier
from edgelab.mcu.cgen.lowering import Convolution, Pool, Step, Window, wrapped

UNROLLED_TAPS = 25

HELPERS = {
    "clamp": """
static inline int32_t clamp(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }
""",
    "scaled": """
/* x * m / 2^31 to the nearest, then / 2^right to the nearest with ties away from zero: the two roundings of TFLM. */
static inline int32_t scaled(int32_t x, int32_t m, int left, int right) {
  const int32_t wide = (int32_t)((uint32_t)x << left);
  const int32_t v = (int32_t)(((int64_t)wide * m + (1 << 30)) >> 31);
  const int32_t mask = (int32_t)((1u << right) - 1u);
  return (v >> right) + ((v & mask) > (mask >> 1) + (v < 0));
}
""",
}
"""Functions that many layers call, by name."""


def requantization(p: Program, step: Step, multipliers: tuple[Multiplier, ...]) -> str:
    """A C expression template with ``{x}`` and ``{c}``: a channel's accumulator brought to the output's scale."""
    shifts = [m.shift for m in multipliers]
    if len(set(multipliers)) == 1:
        m = multipliers[0]
        return f"scaled({{x}}, {m.value}, {max(m.shift, 0)}, {max(-m.shift, 0)})"
    values = p.constant("int32_t", [m.value for m in multipliers], f"multipliers_{step.index:02d}")
    value = f"{values}[{{c}}]"
    if len(set(shifts)) == 1:
        return f"scaled({{x}}, {value}, {max(shifts[0], 0)}, {max(-shifts[0], 0)})"
    if max(shifts) <= 0:
        right = p.constant("int8_t", [-s for s in shifts], f"shifts_{step.index:02d}")
        return f"scaled({{x}}, {value}, 0, {right}[{{c}}])"
    left = p.constant("int8_t", [max(s, 0) for s in shifts], f"left_shifts_{step.index:02d}")
    right = p.constant("int8_t", [max(-s, 0) for s in shifts], f"right_shifts_{step.index:02d}")
    return f"scaled({{x}}, {value}, {left}[{{c}}], {right}[{{c}}])"


def places(p: Program, step: Step, w: Window) -> tuple[Place, Place]:
    """Where the rows of a step's input and output lie."""
    if step.index in p.streams:
        rows, made = p.streams[step.index]
        return rows, made
    source, target = w.width * w.channels, w.out_width * w.out_channels
    if w.batch == 1:
        return Place(p.addresses[step.inputs[0]], source), Place(p.addresses[step.outputs[0]], target)
    return Place("in", source), Place("out", target)


def over_rows(p: Program, step: Step, w: Window, body: str, *, small: bool = False) -> None:
    """Add a step's function whose ``body`` makes the output row ``oy``."""
    if step.index in p.streams:
        p.function(step.function, body, "int oy", small=small)
        return
    text = f"for (int oy = 0; oy < {w.out_height}; ++oy) {{\n{body}\n}}"
    if w.batch > 1:
        text = (
            f"for (int n = 0; n < {w.batch}; ++n) {{\n"
            f"const int8_t *const in = {p.addresses[step.inputs[0]]} + n * {w.height * w.width * w.channels};\n"
            f"int8_t *const out = {p.addresses[step.outputs[0]]} + n * {w.out_height * w.out_width * w.out_channels};\n"
            f"{text}\n}}"
        )
    p.function(step.function, text, small=small)


def convolution(p: Program, step: Convolution) -> None:
    """CONV_2D and FULLY_CONNECTED."""
    w = step.window
    (kh, kw), (sh, sw), (ph, pw) = w.kernel, w.stride, w.pad
    taps = kh * kw * w.channels
    bias, offset = step.bias, -step.zero_in
    if not w.padded:  # Every tap meets a pixel: the zero point's share of the sum is a constant.
        bias = wrapped(bias - step.zero_in * step.weights.reshape(w.out_channels, -1).sum(axis=1))
        offset = 0
    groups = [(c, min(4, w.out_channels - c)) for c in range(0, w.out_channels, 4)]
    flat = step.weights.reshape(w.out_channels, taps)
    packed = np.concatenate([flat[c : c + n].T.ravel() for c, n in groups])
    weights = p.constant("int8_t", packed, f"weights_{step.index:02d}")
    biases = p.constant("int32_t", bias, f"bias_{step.index:02d}")
    scale = requantization(p, step, step.multipliers)
    source, target = places(p, step, w)

    def group(n: int) -> str:
        sums = ", ".join(f"a{i} = {biases}[c + {i}]" for i in range(n))
        products = " ".join(f"a{i} += v * k[{i}];" for i in range(n))
        dots = _dots(w, source, f"const int32_t v = *x++{plus(offset)}; {products} k += {n};", n)
        scaled = [scale.format(x=f"a{i}", c=f"c + {i}") + plus(step.zero_out) for i in range(n)]
        results = " ".join(f"o[c + {i}] = (int8_t){clamp(v, step.low, step.high)};" for i, v in enumerate(scaled))
        return f"int32_t {sums};\n{dots}\nw += {taps * n};\n{results}"

    full, rest = divmod(w.out_channels, 4)
    text = ""
    if full:
        text += f"for (; c < {full * 4}; c += 4) {{\n{group(4)}\n}}\n"
    if rest:
        text += f"{{\n{group(rest)}\n}}\n"
    body = (
        f"const int iy0 = oy * {sh}{plus(-ph)};\nint8_t *restrict o = {target.row('oy')};\n"
        f"for (int ox = 0; ox < {w.out_width}; ++ox, o += {w.out_channels}) {{\n"
        f"const int ix0 = ox * {sw}{plus(-pw)};\n{_columns(w)}"
        f"const int8_t *restrict w = {weights};\nint c = 0;\n{text}}}"
    )
    over_rows(p, step, w, body)


def _columns(w: Window) -> str:
    """The part of the window's row that lies inside of the picture."""
    kw = w.kernel[1]
    if w.dilation[1] > 1 or (w.pad[1] <= 0 and w.pad_after[1] <= 0):
        return ""
    return f"const int kx0 = ix0 < 0 ? -ix0 : 0;\nconst int kx1 = ix0 > {w.width - kw} ? {w.width} - ix0 : {kw};\n"


def _dots(w: Window, source: Place, products: str, n: int) -> str:
    """Loops over the window's taps inside of the picture, around the products of one input value."""
    (kh, kw), (dh, dw), c = w.kernel, w.dilation, w.channels
    below = w.pad[0] > 0 or w.pad_after[0] > 0
    beside = w.pad[1] > 0 or w.pad_after[1] > 0
    check_row = f"if ((unsigned)iy >= {w.height}u) continue;\n" if below else ""
    if dw > 1:
        check_column = f"if ((unsigned)ix >= {w.width}u) continue;\n" if beside else ""
        inner = (
            f"for (int kx = 0; kx < {kw}; ++kx) {{\nconst int ix = ix0 + kx * {dw};\n{check_column}"
            f"const int8_t *restrict x = row + ix * {c};\nconst int8_t *restrict k = w + (ky * {kw} + kx) * {c * n};\n"
            f"for (int i = 0; i < {c}; ++i) {{ {products} }}\n}}"
        )
    elif beside:
        inner = (
            f"const int8_t *restrict x = row + (ix0 + kx0) * {c};\n"
            f"const int8_t *restrict k = w + (ky * {kw} + kx0) * {c * n};\n"
            f"for (int i = (kx1 - kx0) * {c}; i > 0; --i) {{ {products} }}"
        )
    else:
        inner = (
            f"const int8_t *restrict x = row + ix0 * {c};\nconst int8_t *restrict k = w + ky * {kw * c * n};\n"
            f"for (int i = 0; i < {kw * c}; ++i) {{ {products} }}"
        )
    iy = "iy0 + ky" if dh == 1 else f"iy0 + ky * {dh}"
    unused = "(void)iy;\n" if source.ring == 1 and not below else ""
    return (
        f"for (int ky = 0; ky < {kh}; ++ky) {{\nconst int iy = {iy};\n{check_row}{unused}"
        f"const int8_t *const row = {source.row('iy')};\n{inner}\n}}"
    )


def depthwise(p: Program, step: Convolution) -> None:
    """DEPTHWISE_CONV_2D: inside of the picture with all taps written out, at its borders in loops."""
    w = step.window
    (kh, kw), (sh, sw), (dh, dw), (ph, pw) = w.kernel, w.stride, w.dilation, w.pad
    times = w.out_channels // w.channels
    by_channel = step.weights.reshape(kh * kw, w.out_channels).T
    weights = p.constant("int8_t", by_channel, f"weights_{step.index:02d}")
    inside_bias = wrapped(step.bias - step.zero_in * by_channel.sum(axis=1))
    scale = requantization(p, step, step.multipliers)
    source, target = places(p, step, w)
    offset = plus(-step.zero_in)
    written_out = kh * kw <= UNROLLED_TAPS

    rows = "".join(f"const int8_t *const r{ky} = {source.row(f'iy0 + {ky * dh}')};\n" for ky in range(kh))
    taps = "\n".join(
        f"a += {' + '.join(f'r{ky}[x + {kx * dw * w.channels}] * k[{ky * kw + kx}]' for kx in range(kw))};"
        for ky in range(kh)
    )
    loops = (
        f"for (int ky = 0; ky < {kh}; ++ky) {{\nconst int iy = iy0 + ky * {dh};\n"
        f"if ((unsigned)iy >= {w.height}u) continue;\nconst int8_t *const row = {source.row('iy')};\n"
        f"for (int kx = 0; kx < {kw}; ++kx) {{\nconst int ix = ix0 + kx * {dw};\n"
        f"if ((unsigned)ix >= {w.width}u) continue;\n"
        f"a += (row[ix * {w.channels} + ic]{offset}) * k[ky * {kw} + kx];\n}}\n}}"
    )

    def channels(bias: str, sums: str) -> str:
        result = clamp(scale.format(x="a", c="c") + plus(step.zero_out), step.low, step.high)
        of = "c" if times == 1 else f"c / {times}"
        return (
            f"for (int c = 0; c < {w.out_channels}; ++c, k += {kh * kw}) {{\nconst int ic = {of};\n"
            f"int32_t a = {bias}[c];\n{sums}\no[c] = (int8_t){result};\n}}"
        )

    border = (
        channels(p.constant("int32_t", step.bias, f"bias_{step.index:02d}"), loops)
        if w.padded or not written_out
        else ""
    )
    text = border
    if written_out:
        inside = p.constant("int32_t", inside_bias, f"inside_bias_{step.index:02d}")
        within = channels(inside, f"const int x = ix0 * {w.channels} + ic;\n{taps}")
        condition = (
            f"(unsigned)iy0 <= {max(w.height - (kh - 1) * dh - 1, 0)}u && "
            f"(unsigned)ix0 <= {max(w.width - (kw - 1) * dw - 1, 0)}u"
        )
        never = w.height < (kh - 1) * dh + 1 or w.width < (kw - 1) * dw + 1
        if never:
            rows = ""
        else:
            text = f"if ({condition}) {{\n{within}\n}} else {{\n{border}\n}}" if w.padded else within
    body = (
        f"const int iy0 = oy * {sh}{plus(-ph)};\n{rows if written_out else ''}"
        f"int8_t *restrict o = {target.row('oy')};\n"
        f"for (int ox = 0; ox < {w.out_width}; ++ox, o += {w.out_channels}) {{\n"
        f"const int ix0 = ox * {sw}{plus(-pw)};\nconst int8_t *restrict k = {weights};\n{text}\n}}"
    )
    over_rows(p, step, w, body)


def pool(p: Program, step: Pool) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    w = step.window
    (kh, kw), (sh, sw), (ph, pw) = w.kernel, w.stride, w.pad
    source, target = places(p, step, w)
    if step.average:
        update = f"a += row[ix * {w.channels} + c];"
        begin, result = "0", "(a > 0 ? a + count / 2 : a - count / 2) / count"
        count = "const int count = (ky1 - ky0) * (kx1 - kx0);\n" if w.padded else f"const int count = {kh * kw};\n"
    else:
        update = f"const int v = row[ix * {w.channels} + c]; a = v > a ? v : a;"
        begin, result, count = "-128", "a", ""
    ranges = []
    for axis, origin, size, kernel in (("y", "iy0", w.height, kh), ("x", "ix0", w.width, kw)):
        low = f"{origin} < 0 ? -{origin} : 0" if w.padded else "0"
        high = f"{origin} > {size - kernel} ? {size} - {origin} : {kernel}" if w.padded else str(kernel)
        ranges.append(f"const int k{axis}0 = {low}, k{axis}1 = {high};\n")
    body = (
        f"const int iy0 = oy * {sh}{plus(-ph)};\nint8_t *restrict o = {target.row('oy')};\n{ranges[0]}"
        f"for (int ox = 0; ox < {w.out_width}; ++ox, o += {w.channels}) {{\n"
        f"const int ix0 = ox * {sw}{plus(-pw)};\n{ranges[1]}{count}"
        f"for (int c = 0; c < {w.channels}; ++c) {{\nint32_t a = {begin};\n"
        f"for (int iy = iy0 + ky0; iy < iy0 + ky1; ++iy) {{\nconst int8_t *const row = {source.row('iy')};\n"
        f"for (int ix = ix0 + kx0; ix < ix0 + kx1; ++ix) {{ {update} }}\n}}\n"
        f"o[c] = (int8_t){clamp(result, step.low, step.high)};\n}}\n}}"
    )
    over_rows(p, step, w, body, small=w.out_height * w.out_width == 1)
