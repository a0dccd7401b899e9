"""Layers of int8 networks with seeded random weights, sized so that outputs use their range and seldom saturate.

A `Value` carries the root mean square of the real numbers that it stands for; each layer draws weights that bring its
output to a wanted one and puts the output's range at three of them.
"""

import dataclasses
import zlib

import numpy as np

from edgelab.convert.tflite_writer import TfliteWriter

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
        sizes = np.geomspace(1.0, 1 / spread, channels)
        w *= sizes.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        others = tuple(i for i in range(len(shape)) if i != axis)
        peak = np.abs(w).max(axis=others) if per_channel else np.abs(w).max(keepdims=True).ravel()
        scales = (peak / 127).astype(np.float32)
        along = scales.reshape([-1 if i == axis and per_channel else 1 for i in range(len(shape))])
        q = np.clip(np.round(w / along), -127, 127).astype(np.int8)
        bias_scales = (np.float32(x.scale) * scales).astype(np.float32)
        bias = self.rng.standard_normal(channels) * sizes * sigma * 0.4
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

    def tensor(self, *shape, scale=1 / 64, zero_point=0):
        """A constant operand."""
        q = self.rng.integers(-128, 128, shape).astype(np.int8)
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

    def squeeze(self, x, axes):
        shape = [n for i, n in enumerate(x.shape) if i not in axes]
        return self._op("SQUEEZE", [x.index], shape, _same(x), {"squeeze_dims": list(axes)})

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
        outputs = [self.writer.activation(shape, x.scale, x.zero_point) for _ in range(parts)]
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

    def dequantize(self, x):
        index = self.writer.operator("DEQUANTIZE", [x.index], x.shape, dtype="float32")
        return Value(index, tuple(x.shape))

    def _op(self, code, operands, shape, out, options):
        shape = tuple(int(n) for n in shape)
        index = self.writer.operator(code, operands, shape, out["scale"], out["zero_point"], options=options)
        return Value(index, shape, out["scale"], out["zero_point"], out["rms"])


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
