"""A PyTorch network as a list of TensorFlow Lite operators, before anything is quantized.

The network is traced and its batch norm folded. TensorFlow Lite is channels last, so the steps carry how weights are
rearranged; a signal (C, T) becomes an image of one row. Activations that an operator can apply itself are fused.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.quiet import first_line

Arrange = Callable[[NDArray[Any]], NDArray[Any]]
Shape = tuple[int, ...]
Pads = tuple[tuple[int, int], tuple[int, int]]

_UNARY = {
    **dict.fromkeys(("Sigmoid", "sigmoid"), "LOGISTIC"),
    **dict.fromkeys(("Tanh", "tanh"), "TANH"),
    **dict.fromkeys(("Hardswish", "hardswish"), "HARD_SWISH"),
    "LeakyReLU": "LEAKY_RELU",
    "Softmax": "SOFTMAX",
}
FUSING = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL"})


@dataclass
class Step:
    """One operator: ``inputs`` name earlier steps, the empty name is the network's input.

    ``node`` is the traced node whose values the output holds. ``shape`` is channels last with a batch of 1; ``module``
    names the layer that owns weights and bias, ``arrange`` brings its weights, output channel first, into TensorFlow
    Lite's order; ``pads`` are zeros around height and width that a PAD before it has to add.
    """

    code: str
    node: str
    inputs: tuple[str, ...]
    shape: Shape
    options: dict[str, Any] = field(default_factory=dict)
    module: str = ""
    arrange: Arrange | None = None
    pads: Pads | None = None
    axes: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Value:
    """What a node holds: the step that made it, its channels-last shape, and the order of its flattened elements."""

    step: str
    shape: Shape
    order: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Graph:
    """The traced network with its steps; ``output`` names the step that is its output, ``shape`` the input's."""

    traced: Any
    steps: tuple[Step, ...]
    output: str
    shape: Shape


def trace(net: Any) -> Any:
    """The traced copy of ``net`` in evaluation mode with each batch norm folded into the layer before it.

    Raises
    ------
    BadInput
        If the network's forward pass cannot be traced.
    """
    from torch import nn
    from torch.fx.experimental.optimization import fuse

    module = copy.deepcopy(net)
    if type(net).__module__.startswith("torch.nn") and not isinstance(net, nn.Sequential):
        module = nn.Sequential(module)  # a single layer, which would be taken apart
    try:
        return fuse(module.eval()).eval()
    except Exception as error:
        raise BadInput(
            f"{type(net).__name__} cannot be traced ({first_line(error)}); its forward pass may not decide by values."
        ) from error


def lower(traced: Any, shapes: Mapping[str, Shape]) -> Graph:
    """Turn a traced network into steps.

    Parameters
    ----------
    traced
        As `trace` gives it.
    shapes
        The shape of each node that holds a tensor, channels first and without the batch.

    Raises
    ------
    BadInput
        If a layer has no counterpart; the sentence names it.
    """
    return _Lowering(traced, shapes).graph()


class _Lowering:
    def __init__(self, traced: Any, shapes: Mapping[str, Shape]) -> None:
        self._traced, self._shapes = traced, shapes
        self._modules: dict[str, Any] = dict(traced.named_modules())
        self._values: dict[str, _Value] = {}
        self._steps: dict[str, Step] = {}
        self._here: Any = None

    def graph(self) -> Graph:
        output, start = "", None
        for node in self._traced.graph.nodes:
            self._here = node
            if node.op == "placeholder":
                if start is not None:
                    raise BadInput("The network takes several inputs; this conversion knows networks of one.")
                start = _Value("", _channels_last(self._shapes[node.name]))
                self._values[node.name] = start
            elif node.op == "output":
                output = self._finish(node)
            elif node.name in self._shapes:  # others hold sizes, which are constants here
                self._values[node.name] = self._convert(node)
            elif node.op == "call_module":  # a layer of several results
                raise self._refused()
        if start is None or not self._steps:
            raise BadInput("The network holds no layer that computes.")
        return Graph(self._traced, tuple(self._steps.values()), output, start.shape)

    def _convert(self, node: Any) -> _Value:
        layer = self._modules.get(node.target) if node.op == "call_module" else None
        name = type(layer).__name__ if layer is not None else _function_name(node)
        activation = _activation(name, layer, node)
        if activation:
            return self._activate(node, activation)
        known: dict[str, Callable[[Any, Any], _Value]] = {
            **dict.fromkeys(("Conv1d", "Conv2d"), self._convolution),
            **dict.fromkeys(("Identity", "Dropout", "Dropout1d", "Dropout2d", "dropout", "contiguous"), self._pass),
            **dict.fromkeys(("Flatten", "flatten", "view", "reshape"), self._flatten),
            **dict.fromkeys(("AvgPool1d", "AvgPool2d", "MaxPool1d", "MaxPool2d"), self._pool),
            **dict.fromkeys(("AdaptiveAvgPool1d", "AdaptiveAvgPool2d"), self._adaptive),
            **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), self._adaptive),
            **dict.fromkeys(("add", "iadd", "sub", "mul"), self._binary),
            **dict.fromkeys(_UNARY, self._unary),
            "Linear": self._linear,
            "mean": self._mean,
        }
        if name not in known:
            raise self._refused()
        return known[name](node, layer)

    def _pass(self, node: Any, _: Any) -> _Value:
        return self._input(node)

    def _unary(self, node: Any, layer: Any) -> _Value:
        code = _UNARY[type(layer).__name__ if layer is not None else _function_name(node)]
        if code == "LEAKY_RELU":
            return self._same_shape(node, code, alpha=float(layer.negative_slope))
        if code == "SOFTMAX":
            if layer.dim not in (1, -1) or len(self._input(node).shape) != 2:
                raise self._refused("a softmax runs over the features of (N, features)")
            return self._same_shape(node, code, beta=1.0)
        return self._same_shape(node, code)

    def _convolution(self, node: Any, layer: Any) -> _Value:
        x = self._image(node)
        channels, depthwise = x.shape[3], layer.groups > 1
        if layer.padding_mode != "zeros" or (depthwise and layer.groups != channels):
            raise self._refused("only zero padding, and groups of 1 or of every channel by itself, have a counterpart")
        kernel, stride, dilation = (_pair(n) for n in (layer.kernel_size, layer.stride, layer.dilation))
        if layer.padding == "same":
            total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            before = [n // 2 for n in total]
            after = [n - b for n, b in zip(total, before, strict=True)]
        else:
            before = after = [0, 0] if layer.padding == "valid" else list(_pair(layer.padding, one=0))
        name, pads = _padding(x.shape[1:3], kernel, stride, dilation, before, after)
        options = {
            "padding": name,
            "stride_h": stride[0],
            "stride_w": stride[1],
            "dilation_h_factor": dilation[0],
            "dilation_w_factor": dilation[1],
            "fused_activation_function": "NONE",
        }
        if depthwise:
            options["depth_multiplier"] = layer.out_channels // channels
        step = Step(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            node.name,
            (x.step,),
            _channels_last(self._shapes[node.name]),
            options,
            node.target,
            _depthwise_weights if depthwise else _convolution_weights,
            pads,
        )
        return self._made(step)

    def _linear(self, node: Any, layer: Any) -> _Value:
        x = self._input(node)
        order = x.order
        if (len(x.shape) != 2 and order is None) or math.prod(x.shape) != layer.in_features:
            raise self._refused("a dense layer follows a flattened value of (N, features)")
        arrange: Arrange = (lambda w: w) if order is None else (lambda w: w[:, order])
        options = {"fused_activation_function": "NONE", "keep_num_dims": False}
        shape = (1, layer.out_features)
        return self._made(Step("FULLY_CONNECTED", node.name, (x.step,), shape, options, node.target, arrange))

    def _activate(self, node: Any, activation: str) -> _Value:
        x = self._input(node)
        before = self._steps.get(x.step)
        if (
            before
            and self._alone(node, before)
            and before.code in FUSING
            and before.options["fused_activation_function"] == "NONE"
        ):
            before.options["fused_activation_function"] = activation
            before.node = node.name
            return x
        if activation == "RELU_N1_TO_1":
            raise self._refused("it is fused into a convolution, dense layer or sum that nothing else uses")
        return self._same_shape(node, activation)

    def _alone(self, node: Any, before: Step) -> bool:
        """Whether ``node`` is all that uses what the step ``before`` made."""
        source = node.all_input_nodes[0]
        while len(source.users) == 1 and source.name != before.node:
            source = source.all_input_nodes[0]
        return len(source.users) == 1

    def _pool(self, node: Any, layer: Any) -> _Value:
        x, kind = self._image(node), "AVERAGE" if type(layer).__name__.startswith("Avg") else "MAX"
        one_d = type(layer).__name__.endswith("1d")
        kernel, stride = _pair(layer.kernel_size, row=one_d), _pair(layer.stride, row=one_d)
        pad = _pair(layer.padding, one=0, row=one_d)
        if layer.ceil_mode or getattr(layer, "divisor_override", None):
            raise self._refused("neither ceil_mode nor another divisor has a counterpart")
        if _pair(getattr(layer, "dilation", 1), row=one_d) != (1, 1):
            raise self._refused("its windows have gaps")
        counted = kind == "AVERAGE" and layer.count_include_pad  # zeros belong to the average; SAME leaves them out
        name, pads = _padding(x.shape[1:3], kernel, stride, (1, 1), pad, pad, same=not counted)
        before = self._steps.get(x.step)
        positive = before is not None and before.options.get("fused_activation_function") in ("RELU", "RELU6")
        if pads and not (counted or (kind == "MAX" and positive)):  # an added zero would be a largest value
            raise self._refused("its padding has no counterpart")
        return self._pooled(node, x, kind, kernel, stride, name, pads)

    def _adaptive(self, node: Any, _: Any) -> _Value:
        x, shape = self._image(node), _channels_last(self._shapes[node.name])
        if shape[1:3] == (1, 1):
            return self._made(Step("MEAN", node.name, (x.step,), shape, {"keep_dims": True}, axes=(1, 2)))
        if any(n % m for n, m in zip(x.shape[1:3], shape[1:3], strict=True)):
            raise self._refused(f"{x.shape[1:3]} does not divide into {shape[1:3]}")
        kernel = (x.shape[1] // shape[1], x.shape[2] // shape[2])
        return self._pooled(node, x, "AVERAGE", kernel, kernel, "VALID")

    def _pooled(
        self,
        node: Any,
        x: _Value,
        kind: str,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: str,
        pads: Pads | None = None,
    ) -> _Value:
        options = {"padding": padding, "filter_height": kernel[0], "filter_width": kernel[1]}
        options |= {"stride_h": stride[0], "stride_w": stride[1], "fused_activation_function": "NONE"}
        shape = _channels_last(self._shapes[node.name])
        return self._made(Step(f"{kind}_POOL_2D", node.name, (x.step,), shape, options, pads=pads))

    def _mean(self, node: Any, _: Any) -> _Value:
        x, before = self._image(node), self._shapes[node.all_input_nodes[0].name]
        wanted = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
        dims = {d % (len(before) + 1) for d in ([wanted] if isinstance(wanted, int) else wanted or [0])}
        if dims != set(range(2, len(before) + 1)):
            raise self._refused("the mean runs over all of height and width, or over time")
        after = self._shapes[node.name]
        shape = (1, 1, 1, x.shape[3]) if len(after) == len(before) else (1, x.shape[3])
        return self._made(Step("MEAN", node.name, (x.step,), shape, {"keep_dims": len(shape) == 4}, axes=(1, 2)))

    def _binary(self, node: Any, _: Any) -> _Value:
        code = _function_name(node).removeprefix("i").upper()
        operands = [self._values.get(getattr(n, "name", "")) for n in node.args[:2]]
        a, b = [*operands, None, None][:2]
        if a is None or b is None or node.kwargs.get("alpha", 1) != 1:
            raise self._refused("it takes two values that the network computed")
        if len(a.shape) != len(b.shape) or (a.order is None) != (b.order is None):
            raise self._refused("its two values have a different number of dimensions")
        shape = np.broadcast_shapes(a.shape, b.shape)
        step = Step(code, node.name, (a.step, b.step), shape, {"fused_activation_function": "NONE"})
        return _Value(self._made(step).step, shape, a.order)

    def _flatten(self, node: Any, _: Any) -> _Value:
        x, shape = self._input(node), self._shapes[node.name]
        if shape == self._shapes[node.all_input_nodes[0].name]:
            return x
        if len(shape) != 1 or shape[0] != math.prod(x.shape):
            raise self._refused("only flattening to (N, features) has a counterpart")
        height, width, channels = x.shape[1:]
        order = np.arange(math.prod(x.shape)).reshape(channels, height, width).transpose(1, 2, 0).ravel()
        return _Value(x.step, x.shape, order)

    def _same_shape(self, node: Any, code: str, **options: Any) -> _Value:
        x = self._input(node)
        return _Value(self._made(Step(code, node.name, (x.step,), x.shape, options)).step, x.shape, x.order)

    def _finish(self, node: Any) -> str:
        x = self._values.get(getattr(node.args[0], "name", ""))
        if x is None or (len(x.shape) != 2 and x.order is None):
            raise BadInput("The network's output is not one tensor (N, classes); this conversion knows no other.")
        if x.order is None:
            return x.step
        if (x.order != np.arange(x.order.size)).any():
            raise BadInput("The network ends with a flattened image, whose order a channels-last file does not keep.")
        shape = (1, x.order.size)
        return self._made(Step("RESHAPE", node.all_input_nodes[0].name, (x.step,), shape, {"new_shape": shape})).step

    def _made(self, step: Step) -> _Value:
        name = f"{len(self._steps)}_{step.code.lower()}"
        self._steps[name] = step
        return _Value(name, step.shape)

    def _input(self, node: Any) -> _Value:
        value = self._values.get(node.all_input_nodes[0].name) if node.all_input_nodes else None
        if value is None:
            raise self._refused()
        return value

    def _image(self, node: Any) -> _Value:
        value = self._input(node)
        if len(value.shape) != 4 or value.order is not None:
            raise self._refused("it takes an image or a signal")
        return value

    def _refused(self, why: str = "") -> BadInput:
        node = self._here
        layer = self._modules.get(node.target) if node.op == "call_module" else None
        what = f"Layer '{node.target}' ({type(layer).__name__})" if layer is not None else f"'{_function_name(node)}'"
        reason = why or "there is no int8 counterpart for it"
        return BadInput(f"{what} cannot be converted to TensorFlow Lite: {reason}; replace it, or export to ONNX.")


def _function_name(node: Any) -> str:
    if isinstance(node.target, str):
        return node.target
    names = {operator.add: "add", operator.iadd: "add", operator.sub: "sub", operator.mul: "mul"}
    return names.get(node.target) or str(getattr(node.target, "__name__", node.target))


def _activation(name: str, layer: Any, node: Any) -> str:
    """The fused activation that a layer or function is, or nothing."""
    if name in ("Hardtanh", "hardtanh"):
        ends = (layer.min_val, layer.max_val) if layer is not None else tuple(node.args[1:3])
        return {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}.get(ends, "")
    return {"ReLU": "RELU", "relu": "RELU", "relu_": "RELU", "ReLU6": "RELU6", "relu6": "RELU6"}.get(name, "")


def _channels_last(shape: Sequence[int]) -> Shape:
    """(C, H, W) as (1, H, W, C), (C, T) as (1, 1, T, C), (F,) as (1, F)."""
    if len(shape) == 1:
        return (1, shape[0])
    if len(shape) == 2:
        return (1, 1, shape[1], shape[0])
    if len(shape) == 3:
        return (1, shape[1], shape[2], shape[0])
    raise BadInput(f"A value of shape (N, {', '.join(map(str, shape))}) is no table, signal or image.")


def _pair(value: Any, *, one: int = 1, row: bool = False) -> tuple[int, int]:
    """Height and width; what is one-dimensional lies along the width."""
    if isinstance(value, tuple) and len(value) == 2:
        return int(value[0]), int(value[1])
    single = int(value[0]) if isinstance(value, tuple) else int(value)
    return (one, single) if row or isinstance(value, tuple) else (single, single)


def _padding(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    *,
    same: bool = True,
) -> tuple[str, Pads | None]:
    """``"SAME"`` or ``"VALID"``, and the zeros that have to be added first where neither says it.

    SAME puts the odd row of padding at the end, PyTorch has it on both sides; only what the windows reach is added.
    """
    fits, needed = [], []
    for axis in (0, 1):
        size, step = sizes[axis], stride[axis]
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        count = (size + before[axis] + after[axis] - reach) // step + 1
        total = max((count - 1) * step + reach - size, 0)
        needed.append((before[axis], max(total - before[axis], 0)))
        fits.append(count == -(-size // step) and before[axis] == total // 2)
    if not any(map(sum, needed)):
        return "VALID", None
    return ("SAME", None) if same and all(fits) else ("VALID", (needed[0], needed[1]))


def _convolution_weights(w: NDArray[Any]) -> NDArray[Any]:
    """(Cout, Cin, H, W) or (Cout, Cin, T) as (Cout, H, W, Cin)."""
    return np.moveaxis(w if w.ndim == 4 else w[:, :, None], 1, -1)


def _depthwise_weights(w: NDArray[Any]) -> NDArray[Any]:
    """(Cout, 1, H, W) or (Cout, 1, T) as (1, H, W, Cout)."""
    return np.moveaxis(w if w.ndim == 4 else w[:, :, None], 0, -1)
