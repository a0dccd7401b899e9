"""Plain C99 for transposed convolutions, bilinear resizing and products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelab.mcu.cgen.ctext import Program, clamp, plus
from edgelab.mcu.cgen.lower_products import Bilinear, Matmul, Transposed
from edgelab.mcu.cgen.portable import requantization
from edgelab.mcu.cgen.portable_moves import scaled
from edgelab.mcu.cgen.portable_picks import operand


def transposed(p: Program, step: Transposed) -> None:
    """TRANSPOSE_CONV: four channels gather their taps together, so that no sums need to stand in memory."""
    n, height, width, features = step.shape
    _, out_height, out_width, channels = step.out_shape
    _, kh, kw, _ = step.weights.shape
    (sh, sw), (ph, pw) = step.stride, step.pad
    groups = -(-channels // 4)
    padded = np.zeros((4 * groups, kh, kw, features), np.int64)
    padded[:channels] = step.weights
    ordered = padded.reshape(groups, 4, kh, kw, features).transpose(2, 3, 0, 4, 1)  # (kh, kw, groups, in, 4)
    weights = p.constant("int8_t", ordered, f"weights_{step.index:02d}")
    bias = p.constant("int32_t", step.bias, f"bias_{step.index:02d}")
    scale = requantization(p, step, step.multipliers).format(x="sum[j]", c="(c + j)")
    result = clamp(scale + plus(step.zero_out), step.low, step.high)
    p.function(
        step.function,
        f"const int8_t *restrict in = {p.addresses[step.inputs[0]]};\n"
        f"int8_t *restrict out = {p.addresses[step.outputs[0]]};\n"
        f"for (int n = 0; n < {n}; ++n, in += {height * width * features})\n"
        f"for (int oy = 0; oy < {out_height}; ++oy)\n"
        f"for (int ox = 0; ox < {out_width}; ++ox)\n"
        f"for (int c = 0; c < {channels}; c += 4) {{\n"
        "int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;\n"
        f"for (int ky = (oy + {ph}) % {sh}; ky < {kh}; ky += {sh}) {{\n"
        f"const int iy = (oy + {ph} - ky) / {sh};\n"
        f"if (oy + {ph} < ky || iy >= {height}) continue;\n"
        f"for (int kx = (ox + {pw}) % {sw}; kx < {kw}; kx += {sw}) {{\n"
        f"const int ix = (ox + {pw} - kx) / {sw};\n"
        f"if (ox + {pw} < kx || ix >= {width}) continue;\n"
        f"const int8_t *restrict x = in + (iy * {width} + ix) * {features};\n"
        f"const int8_t *restrict k = {weights} + ((ky * {kw} + kx) * {4 * groups} + c) * {features};\n"
        f"for (int i = 0; i < {features}; ++i, k += 4) {{\n"
        f"const int32_t v = x[i]{plus(-step.zero_in)};\n"
        "a0 += v * k[0];\na1 += v * k[1];\na2 += v * k[2];\na3 += v * k[3];\n}\n}\n}\n"
        "int32_t sum[4] = {a0, a1, a2, a3};\n"
        f"for (int j = 0; j < 4 && c + j < {channels}; ++j) {{\n"
        f"sum[j] += {bias}[c + j];\n*out++ = (int8_t){result};\n}}\n}}",
    )


def bilinear(p: Program, step: Bilinear) -> None:
    """RESIZE_BILINEAR: four neighbours, weighted in 1,024ths along both axes."""
    n, height, width, channels = step.shape
    rows = _places(p, step.rows, width * channels, f"rows_{step.index:02d}")
    columns = _places(p, step.columns, channels, f"columns_{step.index:02d}")
    p.function(
        step.function,
        f"const int8_t *restrict in = {p.addresses[step.inputs[0]]};\n"
        f"int8_t *restrict out = {p.addresses[step.outputs[0]]};\n"
        f"for (int n = 0; n < {n}; ++n, in += {height * width * channels})\n"
        f"for (int oy = 0; oy < {len(step.rows)}; ++oy) {{\n"
        f"const int32_t *r = {rows} + 3 * oy;\n"
        f"for (int ox = 0; ox < {len(step.columns)}; ++ox) {{\n"
        f"const int32_t *s = {columns} + 3 * ox;\n"
        "const int8_t *a = in + r[0] + s[0], *b = in + r[0] + s[1], *c = in + r[1] + s[0], *d = in + r[1] + s[1];\n"
        f"for (int i = 0; i < {channels}; ++i) {{\n"
        "const int32_t upper = a[i] * (1024 - s[2]) + b[i] * s[2], lower = c[i] * (1024 - s[2]) + d[i] * s[2];\n"
        "const int32_t v = upper * (1024 - r[2]) + lower * r[2];\n"
        "*out++ = (int8_t)((v + (v > 0 ? 524288 : -524288)) / 1048576);\n}\n}\n}",
    )


def _places(p: Program, places: Sequence[tuple[int, int, int]], stride: int, name: str) -> str:
    flat = [value for first, second, part in places for value in (first * stride, second * stride, part)]
    return p.constant("int32_t", flat, name)


def matmul(p: Program, step: Matmul) -> None:
    """BATCH_MATMUL."""
    left, right = (operand(p, step, value, which) for value, which in zip(step.operands, "ab", strict=True))
    *first, ai, ak = step.strides[0]
    *second, bj, bk = step.strides[1]
    loops = "".join(f"for (int n{i} = 0; n{i} < {size}; ++n{i})\n" for i, size in enumerate(step.batches))
    at = ["".join(f" + n{i} * {stride}" for i, stride in enumerate(own) if stride) for own in (first, second)]
    x, y = f"a[k * {ak}]{plus(-step.zeros[0])}", f"b[k * {bk}]{plus(-step.zeros[1])}"
    result = clamp(scaled("sum", step.multiplier) + plus(step.zeros[2]), -128, 127)
    p.function(
        step.function,
        f"int8_t *restrict out = {p.addresses[step.outputs[0]]};\n{loops}"
        f"for (int i = 0; i < {step.rows}; ++i)\nfor (int j = 0; j < {step.columns}; ++j) {{\n"
        f"const int8_t *restrict a = {left}{at[0]} + i * {ai};\n"
        f"const int8_t *restrict b = {right}{at[1]} + j * {bj};\n"
        f"int32_t sum = 0;\nfor (int k = 0; k < {step.depth}; ++k) sum += ({x}) * ({y});\n"
        f"*out++ = (int8_t){result};\n}}",
    )


__all__ = ["bilinear", "matmul", "transposed"]
