"""Which channels of a network can only be removed together, found from its graph.

Removing filter 5 of a convolution takes channel 5 out of all that follows: batch norm, the depthwise filter that reads
it, one column of every layer behind. A shortcut adds channel 5 of two layers, so both lose it or none does. Here each
output channel of each layer starts as a class of its own, and a walk over the graph (torch.fx) merges those that meet:
after Fang et al., *DepGraph: Towards Any Structural Pruning* (2023), with single channels in place of whole layers, so
that concatenations and flattened images need no case of their own. What the walk does not understand is kept whole and
named, with the reason.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn import functional

from edgelab.errors import BadInput
from edgelab.quiet import first_line

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Channels = NDArray[np.int64]

_SAME_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Hardsigmoid, nn.Tanh,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.ZeroPad2d,
)  # fmt: skip
_SAME_FUNCTIONS = (
    "relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "hardswish", "sigmoid", "hardsigmoid", "tanh", "dropout",
    "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "interpolate",
)  # fmt: skip
_SAME = {
    *(getattr(functional, name) for name in _SAME_FUNCTIONS), torch.relu, torch.sigmoid, torch.tanh, torch.clamp,
    "relu", "relu_", "sigmoid", "tanh", "clamp", "contiguous",
}  # fmt: skip
_ELEMENTWISE = {
    operator.add, operator.iadd, operator.sub, operator.mul, operator.imul, operator.truediv, torch.add, torch.sub,
    torch.mul, torch.div, torch.maximum, torch.minimum, "add", "add_", "sub", "mul", "mul_", "div",
}  # fmt: skip
_CONCATENATE = {torch.cat, torch.concat}
_FLATTEN = {torch.flatten, "flatten", "view", "reshape", torch.reshape}
_MEAN = {torch.mean, "mean"}


@dataclass(frozen=True)
class Layer:
    """A layer with channels: the class of each of its outputs (out,) and of each of its inputs (in,).

    ``kind`` is conv, depthwise, linear or norm; of a depthwise layer and a norm the two are the same.
    """

    name: str
    kind: str
    outputs: Channels
    inputs: Channels


@dataclass(frozen=True)
class Group:
    """Classes of channels that run through the same layers, so that one width rules them all.

    ``classes`` are numbers of the classes; ``makers`` the layers whose filters make these channels, ``readers`` those
    that read them.
    """

    classes: Channels
    makers: tuple[str, ...]
    readers: tuple[str, ...]

    @property
    def name(self) -> str:
        """The first layer that makes the channels."""
        return self.makers[0]


@dataclass(frozen=True)
class Dependencies:
    """The channels of a network: each layer's, the groups that may be narrowed, and what is kept whole with the reason.

    ``kept`` maps the name of a layer to one sentence; its output channels stay as they are.
    """

    layers: dict[str, Layer]
    groups: tuple[Group, ...]
    kept: dict[str, str]
    classes: int = field(default=0)


def dependencies(net: nn.Module, example: torch.Tensor) -> Dependencies:
    """Find which output channels of ``net`` can only be removed together.

    Parameters
    ----------
    net
        The network; its forward pass must not decide by values (torch.fx traces it). It stays as it is.
    example
        One batch as the network takes it, channels in axis 1.

    Raises
    ------
    BadInput
        If the network cannot be traced, does not take the example, or has no layer that could be narrowed.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    >>> found = dependencies(net, torch.zeros(1, 3, 8, 8))
    >>> [(group.makers, group.readers, len(group.classes)) for group in found.groups]
    [(('0',), ('3',), 8)]
    >>> found.kept
    {'3': 'it makes the outputs of the network'}
    """
    was = {module: module.training for module in net.modules()}
    net.eval()
    try:
        traced = fx.symbolic_trace(net)
    except Exception as error:
        raise BadInput(f"{type(net).__name__} cannot be traced: {first_line(error)}.") from error
    if sum(node.op == "placeholder" for node in traced.graph.nodes) != 1:
        raise BadInput(f"{type(net).__name__} takes several inputs; networks of one input can be narrowed here.")
    walk = _Walk(traced)
    try:
        with torch.no_grad():
            walk.run(example)
    except BadInput:
        raise
    except Exception as error:
        shape = tuple(example.shape)
        raise BadInput(f"{type(net).__name__} does not take inputs of shape {shape}: {first_line(error)}.") from error
    finally:
        for module, training in was.items():
            module.training = training
    found = walk.result()
    if not found.layers:
        raise BadInput(f"{type(net).__name__} has no convolution and no linear layer that could be narrowed.")
    return found


class _Walk(fx.Interpreter):
    """Runs the traced network node by node and carries the numbers of the channels beside the values."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.parent: list[int] = []
        self.reasons: dict[int, str] = {}
        self.of: dict[fx.Node, Channels | None] = {}
        self.found: dict[str, Layer] = {}
        self.skipped: dict[str, str] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.of[n] = self._channels(n, value)
        return value

    # Classes of channels: a forest whose roots stand for the classes.

    def _new(self, count: int, why_kept: str = "") -> Channels:
        first = len(self.parent)
        self.parent += range(first, first + count)
        made = np.arange(first, first + count)
        if why_kept:
            self._keep(made, why_kept)
        return made

    def _root(self, number: int) -> int:
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def _merge(self, one: Channels, other: Channels) -> None:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            self.parent[high] = low
            if high in self.reasons:
                self.reasons.setdefault(low, self.reasons[high])

    def _keep(self, channels: Channels | None, why: str) -> None:
        for number in channels.tolist() if channels is not None else ():
            self.reasons.setdefault(self._root(number), why)

    # One node.

    def _channels(self, n: fx.Node, value: Any) -> Channels | None:
        if n.op == "placeholder":
            return self._new(value.shape[1], "it reads the inputs of the network") if _has_channels(value) else None
        given = [node for node in n.all_input_nodes if self.of.get(node) is not None]
        if n.op == "output":
            for node in given:
                self._keep(self.of[node], "it makes the outputs of the network")
            return None
        if n.op == "get_attr":
            return None
        if not _has_channels(value):
            if isinstance(value, torch.Tensor | tuple | list) and not isinstance(value, torch.Size):
                self._lose(n, given)  # a part of a tensor, or several tensors: where the channels went is not known
            return None
        known = self._known(n, value, given)
        if known is not None:
            return known
        if n.op == "call_module" and hasattr(self.submodules[str(n.target)], "weight"):
            self.skipped[str(n.target)] = _why_skipped(self.submodules[str(n.target)])
        self._lose(n, given)  # what goes in and comes out stays whole
        return self._new(value.shape[1], f"its channels come from {_called(n, self.module)}, which is not understood")

    def _lose(self, n: fx.Node, given: list[fx.Node]) -> None:
        for node in given:
            self._keep(self.of[node], f"its channels go into {_called(n, self.module)}, which is not understood")

    def _known(  # noqa: PLR0911  a return for each kind of operation
        self, n: fx.Node, value: torch.Tensor, given: list[fx.Node]
    ) -> Channels | None:
        first = self.of[given[0]] if given else None
        if first is None:
            return None
        if n.op == "call_module":
            return self._module(str(n.target), self.submodules[str(n.target)], first, value)
        same = n.target in _SAME or getattr(n.target, "__name__", "") == "stochastic_depth"  # torchvision's own
        if same and len(first) == value.shape[1]:
            return first
        if n.target in _ELEMENTWISE:
            return self._elementwise(n, value, given)
        if n.target in _CONCATENATE:
            axis = n.kwargs.get("dim", n.args[1] if len(n.args) > 1 else 0)
            parts = [self.of[node] for node in n.args[0]]  # type: ignore[union-attr,index]
            if axis == 1 and all(part is not None for part in parts):
                return np.concatenate(parts)  # type: ignore[arg-type]
            return None
        source = self.env_shape(n)
        if n.target in _MEAN and source is not None and source[1] == value.shape[1]:
            return first
        if n.target in _FLATTEN and source is not None:
            return _flattened(first, source, value)
        return None

    def env_shape(self, n: fx.Node) -> tuple[int, ...] | None:
        """The shape of what goes into a node."""
        value = self.env.get(n.args[0]) if n.args and isinstance(n.args[0], fx.Node) else None
        return tuple(value.shape) if isinstance(value, torch.Tensor) else None

    def _elementwise(self, n: fx.Node, value: torch.Tensor, given: list[fx.Node]) -> Channels | None:
        width = value.shape[1]
        for argument in n.args:
            if isinstance(argument, fx.Node) and argument not in given:
                other = self.env.get(argument)
                if isinstance(other, torch.Tensor) and other.numel() > 1:
                    return None  # a constant tensor of the network, which would have to be narrowed as well
        if any(self.env[node].ndim != value.ndim for node in given):
            return None
        wide = [self.of[node] for node in given if len(self.of[node]) == width]  # type: ignore[arg-type]
        for other in wide[1:]:
            self._merge(wide[0], other)  # type: ignore[arg-type]
        return wide[0] if wide else None

    def _module(  # noqa: PLR0911  a return for each kind of layer
        self, name: str, module: nn.Module, inputs: Channels, value: torch.Tensor
    ) -> Channels | None:
        if isinstance(module, _SAME_MODULES):
            return inputs if len(inputs) == value.shape[1] else None
        if isinstance(module, nn.Flatten):
            source = self.env_shape_of(inputs, value)
            return source if module.start_dim == 1 else None
        if isinstance(module, NORMS):
            return self._note(Layer(name, "norm", inputs, inputs))
        if isinstance(module, nn.Linear):
            if value.ndim != 2:
                return None
            return self._note(self._again(name, "linear", module.out_features, inputs))
        if isinstance(module, CONVOLUTIONS):
            if module.groups == 1:
                return self._note(self._again(name, "conv", module.out_channels, inputs))
            if module.groups == module.in_channels:
                each = module.out_channels // module.in_channels
                return self._note(Layer(name, "depthwise", np.repeat(inputs, each), inputs))
        return None

    def env_shape_of(self, inputs: Channels, value: torch.Tensor) -> Channels | None:
        """Channels of an image laid out in a row: every channel gives as many values as it has pixels."""
        return np.repeat(inputs, value.shape[1] // len(inputs)) if value.shape[1] % len(inputs) == 0 else None

    def _again(self, name: str, kind: str, outputs: int, inputs: Channels) -> Layer:
        """The layer; one that runs twice keeps its channels, and both inputs lose the same ones."""
        before = self.found.get(name)
        if before is not None:
            self._merge(before.inputs, inputs)
            return before
        return Layer(name, kind, self._new(outputs), inputs)

    def _note(self, layer: Layer) -> Channels:
        before = self.found.setdefault(layer.name, layer)
        if before is not layer:
            self._merge(before.inputs, layer.inputs)
        return layer.outputs

    def result(self) -> Dependencies:
        """The layers with the roots of their classes, the groups, and what is kept whole."""
        layers = {
            name: Layer(name, layer.kind, self._roots(layer.outputs), self._roots(layer.inputs))
            for name, layer in self.found.items()
        }
        makers: dict[int, list[str]] = defaultdict(list)
        readers: dict[int, list[str]] = defaultdict(list)
        for name, layer in layers.items():
            if layer.kind in ("conv", "linear"):
                for number in np.unique(layer.outputs).tolist():
                    makers[number].append(name)
                for number in np.unique(layer.inputs).tolist():
                    readers[number].append(name)
        reasons = {self._root(number): why for number, why in self.reasons.items()}
        members: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = defaultdict(list)
        kept = dict(self.skipped)
        for number, names in makers.items():
            if number in reasons:
                for name in names:
                    kept.setdefault(name, reasons[number])
            else:
                members[tuple(names), tuple(readers[number])].append(number)
        groups = tuple(Group(np.array(sorted(n)), made, read) for (made, read), n in members.items())
        return Dependencies(layers, groups, kept, len(self.parent))

    def _roots(self, channels: Channels) -> Channels:
        return np.array([self._root(number) for number in channels.tolist()], dtype=np.int64)


def _has_channels(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim >= 2


def _flattened(inputs: Channels, source: Sequence[int], value: torch.Tensor) -> Channels | None:
    """Channels behind a flatten or a view, if it keeps the batch and lays the rest out in a row."""
    if value.ndim != 2 or value.shape[0] != source[0] or len(inputs) != source[1]:
        return None
    return np.repeat(inputs, value.shape[1] // len(inputs))


def _why_skipped(module: nn.Module) -> str:
    if isinstance(module, CONVOLUTIONS):
        return f"it is a convolution of {module.groups} groups, which would have to lose the same number each"
    if isinstance(module, nn.Linear):
        return "it works on a sequence, whose axis 1 is not its channels"
    return f"{type(module).__name__} is not understood"


def _called(n: fx.Node, traced: nn.Module) -> str:
    if n.op == "call_module":
        return f"{type(traced.get_submodule(str(n.target))).__name__} '{n.target}'"
    return str(getattr(n.target, "__name__", n.target))
