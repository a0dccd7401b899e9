"""Plain C99 for everything that is no window: arithmetic, tables, means, softmax, float borders, copies, SVDF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelab.mcu.cgen.ctext import Program, clamp, plus
from edgelab.mcu.cgen.fixed import Multiplier
from edgelab.mcu.cgen.lowering import Binary, FromFloat, Mean, Move, Softmax, Svdf, Table, ToFloat, strides_of
from edgelab.mcu.cgen.portable import requantization

SOFTMAX_HELPER = """
/* 1 / (1 + a) for a in [0, 1], 31 fractional bits, by three Newton steps as in gemmlowp. */
static int32_t high_product(int32_t a, int32_t b) { return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31); }
static int32_t shifted_left(int32_t x, int bits) {
  const int32_t top = 2147483647 >> bits;
  return x > top ? 2147483647 : x < -top - 1 ? -2147483647 - 1 : (int32_t)((uint32_t)x << bits);
}
static int32_t one_over_one_plus(int32_t a) {
  const int32_t half = (int32_t)(((int64_t)a + 2147483647 + 1) / 2);
  int32_t x = 1515870810 + high_product(half, -1010580540);
  for (int i = 0; i < 3; ++i) x += shifted_left(high_product(x, (1 << 29) - high_product(half, x)), 2);
  return shifted_left(x, 1);
}
"""


def scaled(x: str, m: Multiplier) -> str:
    """A C expression: ``x`` times a multiplier."""
    return f"scaled({x}, {m.value}, {max(m.shift, 0)}, {max(-m.shift, 0)})"


def table(p: Program, step: Table) -> None:
    """Any function of one int8 value."""
    name = p.constant("int8_t", np.roll(step.table, 128), f"table_{step.index:02d}")
    (source,), target, elements, argument = rows(p, step, step.elements)
    p.function(
        step.function,
        f"const uint8_t *in = (const uint8_t *){source};\nint8_t *out = {target};\n"
        f"for (int i = 0; i < {elements}; ++i) out[i] = {name}[in[i]];",
        argument,
    )


def rows(p: Program, step: Binary | Table, elements: int) -> tuple[tuple[str, ...], str, int, str]:
    """Of a step that takes values one by one: addresses of its inputs and its output, elements, the C argument."""
    if step.index not in p.streams:
        return tuple(p.addresses[i] for i in step.inputs), p.addresses[step.outputs[0]], elements, "void"
    *sources, target = p.streams[step.index]
    return tuple(place.row("oy") for place in sources), target.row("oy"), target.row_bytes, "int oy"


def collapsed(shape: Sequence[int], *strides: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """Merge neighbouring axes that one stride can walk, and drop axes of one element."""
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        own = [s[axis] for s in strides]
        if sizes and all(s[-1] == o * size for s, o in zip(steps, own, strict=True)):
            sizes[-1] *= size
            for s, o in zip(steps, own, strict=True):
                s[-1] = o
        else:
            sizes.append(size)
            for s, o in zip(steps, own, strict=True):
                s.append(o)
    if not sizes:
        return [1], [[1] for _ in strides]
    return sizes, steps


def nested(sizes: Sequence[int], body: str) -> str:
    """Loops ``i0``, ``i1``, ... around a body."""
    heads = "".join(f"for (int i{axis} = 0; i{axis} < {size}; ++i{axis}) {{\n" for axis, size in enumerate(sizes))
    return f"{heads}{body}\n{'}' * len(sizes)}"


def at(strides: Sequence[int]) -> str:
    """The index that the loops of `nested` stand at."""
    terms = [f"i{axis}" if s == 1 else f"i{axis} * {s}" for axis, s in enumerate(strides) if s]
    return " + ".join(terms) or "0"


def operands(p: Program, step: Binary, addresses: Sequence[str]) -> tuple[str, str]:
    """The addresses of both operands of an arithmetic step, given those of its inputs."""
    known = dict(zip(step.inputs, addresses, strict=True))
    first, second = (
        known[value] if isinstance(value, int) else p.constant("int8_t", value, f"operand_{step.index:02d}_{which}")
        for value, which in zip(step.operands, "ab", strict=True)
    )
    return first, second


def binary(p: Program, step: Binary) -> None:
    """ADD, SUB and MUL, with broadcasting."""
    from_axis = 2 if step.index in p.streams else 0  # a row of a picture
    strides = (s[from_axis:] for s in (*step.strides, strides_of(step.shape)))
    sizes, (left, right, out) = collapsed(step.shape[from_axis:], *strides)
    addresses, target, _, argument = rows(p, step, 0)
    a, b = operands(p, step, addresses)
    x, y = f"a[{at(left)}]{plus(-step.zeros[0])}", f"b[{at(right)}]{plus(-step.zeros[1])}"
    first, second, last = step.multipliers
    if step.code == "MUL":
        value = f"({x}) * ({y})"
    else:
        sign = "+" if step.code == "ADD" else "-"
        value = f"{scaled(f'(({x}) * (1 << 20))', first)} {sign} {scaled(f'(({y}) * (1 << 20))', second)}"
    result = clamp(scaled("v", last) + plus(step.zeros[2]), step.low, step.high)
    p.function(
        step.function,
        f"const int8_t *a = {a};\nconst int8_t *b = {b};\nint8_t *out = {target};\n"
        + nested(sizes, f"const int32_t v = {value};\nout[{at(out)}] = (int8_t){result};"),
        argument,
    )


def mean(p: Program, step: Mean) -> None:
    """MEAN over any axes."""
    inner = "".join(f"for (int r{i} = 0; r{i} < {size}; ++r{i}) " for i, (size, _) in enumerate(step.reduced))
    index = " + ".join(
        [f"i{i} * {stride}" for i, (_, stride) in enumerate(step.outer)]
        + [f"r{i} * {stride}" for i, (_, stride) in enumerate(step.reduced)]
    )
    result = clamp(scaled("a", step.multiplier) + plus(step.zero_out), -128, 127)
    body = f"int32_t a = {-step.zero_in * step.count};\n{inner}a += in[{index or '0'}];\n*out++ = (int8_t){result};"
    p.function(
        step.function,
        f"const int8_t *restrict in = {p.addresses[step.inputs[0]]};\n"
        f"int8_t *restrict out = {p.addresses[step.outputs[0]]};\n" + nested([size for size, _ in step.outer], body),
    )


def softmax(p: Program, step: Softmax) -> None:
    """SOFTMAX over the last axis; the exponentials come from a table of the differences that matter."""
    p.helper("softmax", SOFTMAX_HELPER)
    name = p.constant("int32_t", step.exponentials, f"exponentials_{step.index:02d}")
    lowest = len(step.exponentials) - 1
    p.function(
        step.function,
        f"const int8_t *in = {p.addresses[step.inputs[0]]};\nint8_t *out = {p.addresses[step.outputs[0]]};\n"
        f"for (int r = 0; r < {step.rows}; ++r, in += {step.depth}, out += {step.depth}) {{\n"
        f"int top = -128;\nfor (int c = 0; c < {step.depth}; ++c) top = in[c] > top ? in[c] : top;\n"
        "int32_t sum = 0;\n"
        f"for (int c = 0; c < {step.depth}; ++c) {{\nconst int d = top - in[c];\n"
        f"if (d <= {lowest}) sum += (({name}[d] >> 11) + 1) >> 1;\n}}\n"
        "int headroom = 0;\nfor (uint32_t s = (uint32_t)sum; !(s & 0x80000000u); s <<= 1) ++headroom;\n"
        "const int32_t scale = one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - 0x80000000u));\n"
        "const int right = 12 - headroom + 31 - 8;\n"
        f"for (int c = 0; c < {step.depth}; ++c) {{\nconst int d = top - in[c];\nint32_t v = 0;\n"
        f"if (d <= {lowest}) {{\nv = high_product(scale, {name}[d]);\n"
        "v = (v >> right) + ((v & ((1 << right) - 1)) > ((1 << right) - 1) >> 1);\n}\n"
        "out[c] = (int8_t)(v > 255 ? 127 : v - 128);\n}\n}",
        small=True,
    )


def from_float(p: Program, step: FromFloat) -> None:
    """QUANTIZE of float32 without any floating-point instruction: a search among the 255 thresholds."""
    bits = step.thresholds.view(np.int32)
    order = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    name = p.constant("int32_t", order, f"thresholds_{step.index:02d}")
    p.function(
        step.function,
        f"const word *in = (const word *){p.addresses[step.inputs[0]]};\n"
        f"int8_t *out = {p.addresses[step.outputs[0]]};\n"
        f"for (int i = 0; i < {step.elements}; ++i) {{\n"
        "/* The bits of a float, seen as an integer, ascend with it once those of negative ones are turned round. */\n"
        "const int32_t x = in[i] ^ (in[i] >> 31 & 0x7fffffff);\nint n = 0;\n"
        f"for (int half = 128; half; half >>= 1) n += x >= {name}[n + half - 1] ? half : 0;\n"
        "out[i] = (int8_t)(n - 128);\n}",
    )


def to_float(p: Program, step: ToFloat) -> None:
    """DEQUANTIZE: the bits of the 256 possible results."""
    name = p.constant("uint32_t", np.roll(step.table, 128).view(np.uint32), f"floats_{step.index:02d}")
    p.function(
        step.function,
        f"const uint8_t *in = (const uint8_t *){p.addresses[step.inputs[0]]};\n"
        f"word *out = (word *){p.addresses[step.outputs[0]]};\n"
        f"for (int i = 0; i < {step.elements}; ++i) out[i] = (int32_t){name}[in[i]];",
    )


def move(p: Program, step: Move) -> None:
    """Copies with strides: CONCATENATION, PAD, TRANSPOSE, STRIDED_SLICE, SPLIT."""
    text = ""
    if step.fill is not None:
        text = f"for (int i = 0; i < {step.elements}; ++i) {p.addresses[step.outputs[0]]}[i] = {step.fill};\n"
    for copy in step.copies:
        sizes, (source, target) = collapsed(copy.shape, copy.source_strides, copy.target_strides)
        text += (
            f"{{\nconst int8_t *restrict in = {p.addresses[copy.source]}{plus(copy.source_offset)};\n"
            f"int8_t *restrict out = {p.addresses[copy.target]}{plus(copy.target_offset)};\n"
            + nested(sizes, f"out[{at(target)}] = in[{at(source)}];")
            + "\n}\n"
        )
    p.function(step.function, text)


def svdf(p: Program, step: Svdf) -> None:
    """SVDF: shift the memory, add the newest features, weigh the memory."""
    filters = step.units * step.rank
    ctype = f"{step.state.dtype}_t"
    features = p.constant("int8_t", step.feature_weights, f"weights_{step.index:02d}")
    sums = p.constant("int32_t", step.feature_bias, f"feature_bias_{step.index:02d}")
    time = p.constant(ctype, step.time_weights, f"time_{step.index:02d}")
    bias = p.constant("int32_t", step.bias, f"bias_{step.index:02d}")
    limit = 2 ** (15 if step.state.dtype == "int16" else 7)
    newest = clamp(scaled("a", step.first) + plus(step.state.zero), -limit, limit - 1)
    result = clamp(scaled("a", step.second) + plus(step.zero_out), -128, 127)
    total = step.batch * filters * step.memory
    p.function(
        step.function,
        f"const int8_t *restrict in = {p.addresses[step.inputs[0]]};\n"
        f"int8_t *restrict out = {p.addresses[step.outputs[0]]};\n"
        f"{ctype} *restrict state = ({ctype} *){p.addresses[step.state.tensor]};\n"
        f"for (int i = 0; i < {total - 1}; ++i) state[i] = state[i + 1];\n"
        f"for (int n = 0; n < {step.batch}; ++n, in += {step.features}) {{\n"
        f"const int8_t *restrict k = {features};\n"
        f"for (int f = 0; f < {filters}; ++f) {{\nint32_t a = {sums}[f];\n"
        f"for (int i = 0; i < {step.features}; ++i) a += in[i] * *k++;\n"
        f"state[(n * {filters} + f) * {step.memory} + {step.memory - 1}] = ({ctype}){newest};\n}}\n"
        f"const {ctype} *restrict s = state + n * {filters * step.memory};\nconst {ctype} *restrict t = {time};\n"
        f"for (int u = 0; u < {step.units}; ++u) {{\nint32_t a = {bias}[u];\n"
        f"for (int i = 0; i < {step.rank * step.memory}; ++i) a += *t++ * (*s++{plus(-step.state.zero)});\n"
        f"*out++ = (int8_t){result};\n}}\n}}",
    )


__all__ = ["binary", "from_float", "mean", "move", "requantization", "softmax", "svdf", "table", "to_float"]
