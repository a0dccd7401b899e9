"""Layers of int8 networks with seeded random weights, sized so that outputs use their range and seldom saturate.

A `Value` carries the root mean square of the real numbers that it stands for; each layer draws weights that bring its
output to a wanted one and puts the output's range at three of them.
"""

import dataclasses
import zlib

import numpy as np

from edgelab.models.tflite_writer import TfliteWriter

SIGMAS = 3.0


@dataclasses.dataclass(frozen=True)
class Value:
    index: int
    shape: tuple
    scale: float | None = None
    zero_point: int = 0
    rms: float = 1.0

    @property
    def like(self):
        return {"scale": self.scale, "zero_point": self.zero_point}


class Net:
    """A `TfliteWriter` that knows layers; every method takes and returns `Value`."""

    def __init__(self, name):
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.writer = TfliteWriter(name)
        self.inputs = 0

    def done(self, *outputs):
        self.writer.output(*(y.index for y in outputs))
        return self.writer.to_bytes()

    def input(self, *shape, scale=None, zero_point=0, dtype="int8"):
        """Uniform random integers will be fed: their root mean square about the zero point."""
        self.inputs += 1
        name = f"input_{self.inputs}"
        if dtype == "float32":
            return Value(self.writer.input(name, shape, dtype=dtype), shape)
        if dtype == "uint8":
            return Value(self.writer.input(name, shape, scale, zero_point, dtype=dtype), shape, scale, zero_point)
        scale = 1 / 64 if scale is None else scale
        rms = scale * np.sqrt(np.mean((np.arange(-128, 128) - zero_point) ** 2.0))
        return Value(self.writer.input(name, shape, scale, zero_point), shape, scale, zero_point, rms)

    def range(self, rms, activation="NONE", scale=None, zero_point=None):
        """Scale, zero point and rms of an output whose values before the activation have this rms."""
        if activation == "NONE":
            low, high = -SIGMAS * rms, SIGMAS * rms
        else:
            low, high, rms = 0.0, {"RELU6": 6.0, "RELU_N1_TO_1": 1.0}.get(activation, SIGMAS * rms), rms / 2**0.5
            low = -1.0 if activation == "RELU_N1_TO_1" else 0.0
        own = (high - low) / 255
        zero = int(np.clip(np.round(-128 - low / own), -128, 127))
        return {
            "scale": float(np.float32(own if scale is None else scale)),
            "zero_point": zero if zero_point is None else zero_point,
            "rms": min(rms, 6.0),
        }

    def weights(self, shape, axis, x, fan_in, sigma, per_channel, spread=1.0, gain=None):
        """Quantized weights and bias that take ``x`` to ``sigma``; channels differ by up to ``spread`` in size."""
        channels = shape[axis]
        size = (sigma / (x.rms * np.sqrt(fan_in))) if gain is None else gain
        w = self.rng.standard_normal(shape) * size
        others = tuple(i for i in range(len(shape)) if i != axis)
        if fan_in > 9:  # what all inputs share would drown what they differ in, layer by layer
            w -= w.mean(axis=others, keepdims=True)
        sizes = np.geomspace(1.0, 1 / spread, channels)
        w *= sizes.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        peak = np.abs(w).max(axis=others) if per_channel else np.abs(w).max(keepdims=True).ravel()
        scales = (peak / 127).astype(np.float32)
        along = scales.reshape([-1 if i == axis and per_channel else 1 for i in range(len(shape))])
        q = np.clip(np.round(w / along), -127, 127).astype(np.int8)
        bias_scales = (np.float32(x.scale) * scales).astype(np.float32)
        bias = self.rng.standard_normal(channels) * sizes * sigma * 0.2
        b = np.clip(np.round(bias / bias_scales), -(2**31), 2**31 - 1).astype(np.int32)
        return self.writer.constant(q, scales, axis), self.writer.constant(b, bias_scales, 0)

    def conv(
        self,
        x,
        channels,
        kernel=3,
        stride=1,
        padding="SAME",
        dilation=1,
        activation="NONE",
        *,
        per_channel=True,
        bias=True,
        sigma=None,
        spread=1.0,
        scale=None,
        zero_point=None,
    ):
        (kh, kw), (sh, sw), (dh, dw) = _pair(kernel), _pair(stride), _pair(dilation)
        n, h, w, c = x.shape
        sigma = sigma or (3.0 if activation == "RELU6" else 1.0)
        k, b = self.weights((channels, kh, kw, c), 0, x, kh * kw * c, sigma, per_channel, spread)
        shape = (n, _out(h, kh, sh, dh, padding), _out(w, kw, sw, dw, padding), channels)
        options = _window(padding, sh, sw, activation) | {"dilation_h_factor": dh, "dilation_w_factor": dw}
        operands = [x.index, k, b] if bias else [x.index, k]
        return self._op("CONV_2D", operands, shape, self.range(sigma, activation, scale, zero_point), options)

    def depthwise(
        self,
        x,
        multiplier=1,
        kernel=3,
        stride=1,
        padding="SAME",
        dilation=1,
        activation="NONE",
        *,
        per_channel=True,
        sigma=None,
        spread=1.0,
        scale=None,
        zero_point=None,
    ):
        (kh, kw), (sh, sw), (dh, dw) = _pair(kernel), _pair(stride), _pair(dilation)
        n, h, w, c = x.shape
        sigma = sigma or (3.0 if activation == "RELU6" else 1.0)
        k, b = self.weights((1, kh, kw, c * multiplier), 3, x, kh * kw, sigma, per_channel, spread)
        shape = (n, _out(h, kh, sh, dh, padding), _out(w, kw, sw, dw, padding), c * multiplier)
        options = _window(padding, sh, sw, activation)
        options |= {"dilation_h_factor": dh, "dilation_w_factor": dw, "depth_multiplier": multiplier}
        return self._op(
            "DEPTHWISE_CONV_2D", [x.index, k, b], shape, self.range(sigma, activation, scale, zero_point), options
        )

    def dense(
        self,
        x,
        units,
        activation="NONE",
        *,
        per_channel=False,
        bias=True,
        keep_num_dims=False,
        sigma=None,
        spread=1.0,
        scale=None,
        zero_point=None,
    ):
        features = x.shape[-1] if keep_num_dims else int(np.prod(x.shape[1:]))
        sigma = sigma or (3.0 if activation == "RELU6" else 1.0)
        k, b = self.weights((units, features), 0, x, features, sigma, per_channel, spread)
        shape = (*x.shape[:-1], units) if keep_num_dims else (x.shape[0], units)
        options = {"fused_activation_function": activation, "keep_num_dims": keep_num_dims}
        operands = [x.index, k, b] if bias else [x.index, k]
        return self._op("FULLY_CONNECTED", operands, shape, self.range(sigma, activation, scale, zero_point), options)

    def pool(self, x, kind, kernel=2, stride=2, padding="VALID", activation="NONE"):
        (kh, kw), (sh, sw) = _pair(kernel), _pair(stride)
        n, h, w, c = x.shape
        shape = (n, _out(h, kh, sh, 1, padding), _out(w, kw, sw, 1, padding), c)
        options = _window(padding, sh, sw, activation) | {"filter_height": kh, "filter_width": kw}
        return self._op(f"{kind}_POOL_2D", [x.index], shape, x.like | {"rms": x.rms}, options)

    def mean(self, x, axes=(1, 2), *, keep_dims=False, scale=None, zero_point=None):
        positive = [a % len(x.shape) for a in axes]
        kept = [1 if i in positive else n for i, n in enumerate(x.shape)]
        shape = tuple(kept if keep_dims else (n for i, n in enumerate(x.shape) if i not in positive))
        count = np.prod([x.shape[a] for a in positive])
        like = {"scale": scale or x.scale, "zero_point": x.zero_point if zero_point is None else zero_point}
        like["rms"] = max(x.rms / np.sqrt(count), like["scale"] * 4)
        return self._op("MEAN", [x.index, self.integers(axes)], shape, like, {"keep_dims": keep_dims})

    def binary(self, code, a, b, activation="NONE", *, scale=None, zero_point=None):
        rms = a.rms * b.rms if code == "MUL" else float(np.hypot(a.rms, b.rms))
        out = self.range(rms, activation, scale, zero_point)
        shape = np.broadcast_shapes(a.shape, b.shape)
        return self._op(code, [a.index, b.index], shape, out, {"fused_activation_function": activation})

    def tensor(self, *shape, scale=1 / 64, zero_point=0, spread=None):
        """A constant operand; ``spread`` keeps its integers that near to the zero point."""
        low, high = (-128, 127) if spread is None else (zero_point - spread, zero_point + spread)
        q = self.rng.integers(low, high + 1, shape).astype(np.int8)
        rms = scale * np.sqrt(np.mean((q.astype(float) - zero_point) ** 2))
        return Value(self.writer.constant(q, scale, zero_point=zero_point), shape, scale, zero_point, max(rms, scale))

    def integers(self, values):
        return self.writer.constant(np.asarray(values, dtype=np.int32))

    def concat(self, values, axis):
        shape = list(values[0].shape)
        shape[axis] = sum(v.shape[axis] for v in values)
        options = {"axis": axis, "fused_activation_function": "NONE"}
        return self._op("CONCATENATION", [v.index for v in values], shape, _same(values[0]), options)

    def pad(self, x, amounts):
        shape = [n + sum(p) for n, p in zip(x.shape, amounts, strict=True)]
        return self._op("PAD", [x.index, self.integers(amounts)], shape, _same(x), {})

    def reshape(self, x, *shape, by_tensor=True):
        operands = [x.index, self.integers(shape)] if by_tensor else [x.index]
        return self._op("RESHAPE", operands, shape, _same(x), {"new_shape": list(shape)})

    def flatten_of_any_batch(self, x):
        """Flatten as converters write it for a model whose batch size is open: the shape is calculated."""
        w, one, elements = self.writer, self.integers([1]), int(np.prod(x.shape[1:]))
        shape, batch, both = (w.activation(s, None, 0, dtype="int32") for s in ((4,), (), (2,)))
        w.add("SHAPE", [x.index], [shape], options={"out_type": 2})
        w.add("STRIDED_SLICE", [shape, self.integers([0]), one, one], [batch], options={"shrink_axis_mask": 1})
        w.add("PACK", [batch, w.constant(np.int32(elements))], [both], options={"values_count": 2, "axis": 0})
        return self._op("RESHAPE", [x.index, both], (x.shape[0], elements), _same(x), {})

    def squeeze(self, x, axes):
        shape = [n for i, n in enumerate(x.shape) if i not in axes]
        return self._op("SQUEEZE", [x.index], shape, _same(x), {"squeeze_dims": list(axes)})

    def largest(self, x, axes, keep_dims=False):
        shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keep_dims or i not in axes]
        return self._op("REDUCE_MAX", [x.index, self.integers(axes)], shape, _same(x), {"keep_dims": keep_dims})

    def space_to_depth(self, x, block, back=False):
        n, height, width, channels = x.shape
        shape = (n, height // block, width // block, channels * block**2)
        if back:
            shape = (n, height * block, width * block, channels // block**2)
        code = "DEPTH_TO_SPACE" if back else "SPACE_TO_DEPTH"
        return self._op(code, [x.index], shape, _same(x), {"block_size": block})

    def space_to_batch(self, x, block, edges, back=False):
        """Every ``block``-th pixel as a picture of its own, after padding by ``edges``; and back, before cropping."""
        sizes = zip(x.shape[1:], block, edges, strict=False)
        changed = [n * b - sum(e) if back else (n + sum(e)) // b for n, b, e in sizes]
        count = int(np.prod(block))
        batch = x.shape[0] // count if back else x.shape[0] * count
        shape = (batch, *changed, *x.shape[len(block) + 1 :])
        code = "BATCH_TO_SPACE_ND" if back else "SPACE_TO_BATCH_ND"
        return self._op(code, [x.index, self.integers(block), self.integers(edges)], shape, _same(x), {})

    def pack(self, values, axis):
        shape = (*values[0].shape[:axis], len(values), *values[0].shape[axis:])
        options = {"values_count": len(values), "axis": axis}
        return self._op("PACK", [v.index for v in values], shape, _same(values[0]), options)

    def unpack(self, x, axis):
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        found = [self.writer.activation(shape, x.scale, x.zero_point) for _ in range(x.shape[axis])]
        self.writer.add("UNPACK", [x.index], found, options={"num": len(found), "axis": axis})
        return [Value(i, shape, x.scale, x.zero_point, x.rms) for i in found]

    def split_at(self, x, axis, sizes):
        shapes = [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sizes]
        found = [self.writer.activation(shape, x.scale, x.zero_point) for shape in shapes]
        operands = [x.index, self.integers(sizes), self.writer.constant(np.int32(axis))]
        self.writer.add("SPLIT_V", operands, found, options={"num_splits": len(sizes)})
        return [Value(i, s, x.scale, x.zero_point, x.rms) for i, s in zip(found, shapes, strict=True)]

    def transpose(self, x, order):
        shape = [x.shape[i] for i in order]
        return self._op("TRANSPOSE", [x.index, self.integers(order)], shape, _same(x), {})

    def slice(self, x, begin, end, strides, **masks):
        full = [
            slice(
                None if masks.get("begin_mask", 0) >> i & 1 else b, None if masks.get("end_mask", 0) >> i & 1 else e, s
            )
            for i, (b, e, s) in enumerate(zip(begin, end, strides, strict=True))
        ]
        shrink = masks.get("shrink_axis_mask", 0)
        full = [b if shrink >> i & 1 else part for i, (part, b) in enumerate(zip(full, begin, strict=True))]
        shape = np.empty(x.shape, bool)[tuple(full)].shape
        operands = [x.index, *map(self.integers, (begin, end, strides))]
        return self._op("STRIDED_SLICE", operands, shape, _same(x), masks)

    def split(self, x, axis, parts):
        shape = list(x.shape)
        shape[axis] //= parts
        dtype = "float32" if x.scale is None else "int8"
        outputs = [self.writer.activation(shape, x.scale, x.zero_point, dtype=dtype) for _ in range(parts)]
        self.writer.add(
            "SPLIT", [self.writer.constant(np.int32(axis)), x.index], outputs, options={"num_splits": parts}
        )
        return [Value(i, tuple(shape), x.scale, x.zero_point, x.rms) for i in outputs]

    def unary(self, code, x, *, scale=None, zero_point=None, **options):
        """SOFTMAX, LOGISTIC and TANH have outputs of fixed scale; RELU6 keeps its input's; the others' is free."""
        fixed = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
        if code in fixed:
            scale, zero_point = fixed[code]
        out = {
            "scale": x.scale if scale is None else scale,
            "zero_point": x.zero_point if zero_point is None else zero_point,
            "rms": 0.5 if code in fixed else x.rms,
        }
        return self._op(code, [x.index], x.shape, out, {"beta": 1.0} | options if code == "SOFTMAX" else options)

    def quantize(self, x, scale, zero_point):
        rms = 1.0 if x.scale is None else x.rms
        return self._op("QUANTIZE", [x.index], x.shape, {"scale": scale, "zero_point": zero_point, "rms": rms}, {})

    def quantize_to_bytes(self, x, scale, zero_point):
        """The output that a converter leaves who was asked for uint8."""
        index = self.writer.operator("QUANTIZE", [x.index], x.shape, scale, zero_point, dtype="uint8")
        return Value(index, tuple(x.shape), scale, zero_point)

    def dequantize(self, x):
        index = self.writer.operator("DEQUANTIZE", [x.index], x.shape, dtype="float32")
        return Value(index, tuple(x.shape))

    def svdf(self, x, units, memory, rank=1, *, state="int16", activation="RELU", zero_point=None):
        """A dense layer over features whose outputs of the last ``memory`` steps are weighted over time."""
        filters, top = units * rank, {"int16": 2**15, "int8": 2**7}[state]
        k, _ = self.weights((filters, x.shape[1]), 0, x, x.shape[1], 1.0, per_channel=False)
        state_scale = SIGMAS / top
        w = self.rng.standard_normal((filters, memory)) / np.sqrt(memory * rank)
        w_scale = float(np.float32(np.abs(w).max() / (top - 1)))
        time = self.writer.constant(np.round(w / w_scale).astype(state), w_scale)
        scale = float(np.float32(state_scale) * np.float32(w_scale))
        bias = self.writer.constant(np.round(self.rng.standard_normal(units) * 0.3 / scale).astype(np.int32), scale)
        memory_state = self.writer.variable((x.shape[0], memory * filters), state_scale, dtype=state)
        options = {"rank": rank, "fused_activation_function": activation}
        out = self.range(1.0, activation, zero_point=zero_point)
        return self._op("SVDF", [x.index, k, time, bias, memory_state], (x.shape[0], units), out, options)

    def lstm(self, x, units, *, hidden_zero_point=0, cell_clip=0.0, time_major=False, cell_scale=2.0**-11):
        """All the time steps of one LSTM; int8 with an int16 cell state, as TensorFlow's converter quantizes it."""
        (time, batch) = x.shape[:2] if time_major else x.shape[1::-1]
        features, scale = x.shape[2], 1 / 128
        inner, recurrent, bias = [], [], []
        for _ in range(4):
            k, b = self.weights((units, features), 0, x, features, 1.0, per_channel=False)
            inner.append(k)
            bias.append(b)
            hidden = Value(-1, (), scale, hidden_zero_point, 0.4)
            recurrent.append(self.weights((units, units), 0, hidden, units, 1.0, per_channel=False)[0])
        states = [
            self.writer.variable((batch, units), scale, hidden_zero_point),
            self.writer.variable((batch, units), cell_scale, dtype="int16"),
        ]
        operands = [x.index, *inner, *recurrent, *[None] * 3, *bias, None, None, *states, *[None] * 4]
        options = {"fused_activation_function": "TANH", "cell_clip": cell_clip, "time_major": time_major}
        shape = (time, batch, units) if time_major else (batch, time, units)
        out = {"scale": scale, "zero_point": hidden_zero_point, "rms": 0.4}
        return self._op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, shape, out, options)

    def deconv(self, x, channels, kernel=3, stride=2, padding="SAME", activation="NONE", *, bias=True, out_zero=None):
        """A transposed convolution; its first operand is the output's shape."""
        (kh, kw), (sh, sw) = _pair(kernel), _pair(stride)
        n, h, w, features = x.shape
        rows, columns = (h * sh, w * sw) if padding == "SAME" else ((h - 1) * sh + kh, (w - 1) * sw + kw)
        taps = max(1, kh * kw * features // (sh * sw))
        k, b = self.weights((channels, kh, kw, features), 0, x, taps, 1.0, per_channel=True)
        shape = (n, rows, columns, channels)
        operands = [self.integers(shape), k, x.index, *([b] if bias else [])]
        out = self.range(1.0, activation, zero_point=out_zero)
        return self._op("TRANSPOSE_CONV", operands, shape, out, _window(padding, sh, sw, activation))

    def chosen(self, code, x, shape, *integers, **options):
        """An operator that moves int8 values as they are, with operands of integers."""
        return self._op(code, [x.index, *map(self.integers, integers)], shape, _same(x), options)

    def two(self, code, a, b, *, scale=None, zero_point=None, **options):
        """A function of two values that may be of different scales."""
        out = _same(a) if scale is None else {"scale": scale, "zero_point": zero_point, "rms": 1.0}
        return self._op(code, [a.index, b.index], np.broadcast_shapes(a.shape, b.shape), out, options)

    def negated_in_float(self, x, zero_point):
        """As converters leave the negated mean of a normalization."""
        index = self.writer.operator("NEG", [self.dequantize(x).index], x.shape, dtype="float32")
        return self.quantize(Value(index, x.shape), x.scale, zero_point)

    def variable(self, name, like, *, initial=None):
        """A resource variable with the shape and scale of ``like``, first at its zero point, and its value."""
        first = np.full(like.shape, like.zero_point, np.int8) if initial is None else initial
        handle = self.writer.resource(name, first, like.scale, like.zero_point)
        return handle, self._op("READ_VARIABLE", [handle], like.shape, _same(like), {})

    def assign(self, handle, value):
        self.writer.add("ASSIGN_VARIABLE", [handle, value.index], [])

    def ring(self, x, name, steps, *, initial=None, assign=True):
        """The last ``steps`` rows of earlier inferences before those of ``x``; the newest stay for the next one."""
        n, rows, width, channels = x.shape
        like = dataclasses.replace(x, shape=(n, steps, width, channels))
        handle, old = self.variable(name, like, initial=initial)
        joined = self.concat([old, x], 1)
        newest = self.slice(joined, (0, rows, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1), begin_mask=13, end_mask=15)
        if assign:
            self.assign(handle, newest)
        return joined if assign else (joined, handle, newest)

    def multiplied(self, code, x, units, low, high, multiplier, *, bias=0, zero_point=0):
        """A layer of integer weights from ``low`` to ``high`` whose sums are multiplied by exactly ``multiplier``."""
        features = x.shape[-1]
        shape = {"CONV_2D": (units, 1, 1, features), "FULLY_CONNECTED": (units, features)}[code]
        scale, w_scale = 0.01, float(np.float32(multiplier * 0.01 / x.scale))
        k = self.writer.constant(self.rng.integers(low, high + 1, shape).astype(np.int8), w_scale)
        integers = self.rng.integers(-bias, bias + 1, units).astype(np.int32)
        b = self.writer.constant(integers, float(np.float32(x.scale) * np.float32(w_scale)))
        options = {"padding": "VALID"} if code == "CONV_2D" else {}
        out = {"scale": scale, "zero_point": zero_point, "rms": 1.0}
        return self._op(code, [x.index, k, b], (*x.shape[:-1], units), out, options)

    def _op(self, code, operands, shape, out, options):
        shape = tuple(int(n) for n in shape)
        dtype = "float32" if out["scale"] is None else "int8"
        index = self.writer.operator(
            code, operands, shape, out["scale"], out["zero_point"], options=options, dtype=dtype
        )
        return Value(index, shape, out["scale"], out["zero_point"], out["rms"])


def random_inputs(content, count, seed=0):
    """Rows for each input of a .tflite file: a list of ``count`` lists of arrays.

    Noise over the whole range, then noise of any size about any level, smooth waves, and the ends of the range.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    tensors = [graph.Tensors(graph.Inputs(i)) for i in range(graph.InputsLength())]
    rng = np.random.default_rng(seed)
    return [
        [_row(rng, tuple(t.ShapeAsNumpy()) if t.ShapeLength() else (), _DTYPES[t.Type()], k) for t in tensors]
        for k in range(count)
    ]


_DTYPES = {0: np.float32, 3: np.uint8, 9: np.int8}


def _row(rng, shape, dtype, k):
    if k % 4 == 0:
        real = rng.uniform(-1, 1, shape)
    elif k % 4 == 1:
        real = rng.uniform(-1, 1) + rng.uniform(0, 1) * rng.standard_normal(shape)
    elif k % 4 == 2:
        size = int(np.prod(shape))
        real = np.sin(np.arange(size) * rng.uniform(0, 2) + rng.uniform(0, 6)).reshape(shape) * rng.uniform(0, 1.5)
    else:
        real = rng.choice([-1.1, 1.1], shape) if rng.random() < 0.7 else np.full(shape, rng.choice([-1.1, 1.1]))
    if dtype == np.float32:
        return (real * 2).astype(np.float32)
    return np.clip(np.round(real * 128), -128, 127).astype(np.int8).view(dtype)


def _same(x):
    return x.like | {"rms": x.rms}


def _pair(value):
    return (value, value) if isinstance(value, int) else value


def _out(size, kernel, stride, dilation, padding):
    return -(-size // stride) if padding == "SAME" else (size - (kernel - 1) * dilation - 1) // stride + 1


def _window(padding, stride_h, stride_w, activation):
    return {
        "padding": padding,
        "stride_h": stride_h,
        "stride_w": stride_w,
        "fused_activation_function": activation,
    }
