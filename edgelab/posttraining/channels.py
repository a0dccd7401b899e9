"""Which tensors share their channels: where a channel may be scaled without changing what a network computes.

A ReLU of twice the value is twice the ReLU. So a channel may leave one layer divided by a number and enter the next
multiplied by it, through everything that is positively homogeneous and keeps channels apart: ReLU, leaky ReLU, PReLU,
pooling, padding with zeros, a product with a gate, and a sum whose two sides are scaled alike. All tensors that have to
be scaled together are one `Group`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.posttraining.graph import Layer, layers, values

HOMOGENEOUS = frozenset(
    {
        "Relu", "LeakyRelu", "PRelu", "Identity", "Dropout", "MaxPool", "AveragePool", "GlobalAveragePool",
        "GlobalMaxPool", "Abs", "Neg", "Resize", "Upsample",
    }
)  # fmt: skip
GATES = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Tanh"})


@dataclass(frozen=True)
class Limit:
    """A Clip from 0 to ``high`` (6 for a ReLU6) on the way: ``x`` is the tensor that it limits."""

    node: str
    x: str
    high: float


@dataclass
class Group:
    """Layers that give a group of tensors their channels, layers that read them, and what else knows their scale.

    ``constants`` are biases that are added on the way: name and channel axis from the end. ``tensors`` are all of the
    group; ``read`` those that a layer reads.
    """

    producers: list[Layer] = field(default_factory=list)
    consumers: list[Layer] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    tensors: list[str] = field(default_factory=list)

    @property
    def read(self) -> list[str]:
        """The tensors that layers read."""
        return list(dict.fromkeys(layer.x for layer in self.consumers))


def channel_groups(model: Any) -> list[Group]:
    """Every group of tensors whose channels may be scaled, in the order of the network.

    A group that reaches an input or output of the network, or a node of which nothing is known, is left out.
    """
    known = values(model)
    sets = _Sets()
    by_node = {layer.name: layer for layer in layers(model)}
    axis: dict[str, int] = {}  # 1: channels first, -1: last
    found: dict[str, list[Any]] = {"producers": [], "consumers": [], "constants": [], "limits": []}
    for end in (*model.graph.input, *model.graph.output):
        sets.freeze(end.name)
    for node in model.graph.node:
        for name in captured(node):
            sets.freeze(name)
        x, y = [name for name in node.input if name and name not in known], list(node.output)
        layer = by_node.get(node.name)
        if layer is not None:
            found["consumers"].append((layer.x, layer))
            found["producers"].append((layer.y, layer))
            sets.add(layer.x, layer.y)
            axis[layer.y] = 1 if layer.is_convolution else -1
            if axis.setdefault(layer.x, axis[layer.y]) != axis[layer.y]:
                sets.freeze(layer.x)
            continue
        if not x or not _passes(node, x, known, axis, sets, found):
            for name in (*x, *y):
                sets.freeze(name)
    return _groups(sets, found, known)


def _passes(
    node: Any, x: list[str], known: Mapping[str, NDArray[Any]], axis: dict[str, int], sets: _Sets, found: Any
) -> bool:
    """Take in a node that scales with its input; False for one that does not."""
    y, kind = node.output[0], node.op_type
    place = axis.get(x[0])
    if place is None or any(name for name in node.output[1:]):
        return False
    axis[y] = place
    if kind in GATES:
        sets.gates.add(y)
    if kind in ("Add", "Sub", "Mul", "Div"):
        return _combines(node, x, known, axis, sets, found)
    if kind in ("Flatten", "Reshape", "Squeeze", "ReduceMean", "ReduceMax"):
        return len(x) == 1 and _flattens(node, x[0], known, axis, sets)
    if kind == "Clip":
        return len(x) == 1 and _clip(node, x[0], known, sets, found)
    sets.join(x[0], y)
    if kind == "Pad":
        constant = known.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        return len(x) == 1 and (constant is None or not np.any(constant))
    return (
        kind in HOMOGENEOUS
        and len(x) == 1
        and (place == 1 or kind not in ("MaxPool", "AveragePool", "Resize", "Upsample"))
    )


def _combines(
    node: Any, x: list[str], known: Mapping[str, NDArray[Any]], axis: dict[str, int], sets: _Sets, found: Any
) -> bool:
    """Sums and products, of two tensors or of one and a constant."""
    y, kind = node.output[0], node.op_type
    others = [name for name in node.input if name and name in known]
    if kind in ("Mul", "Div") and len(x) == 2:
        return kind == "Mul" and _gated(x, y, axis, sets)
    for name in x:
        sets.join(name, y)
    if kind in ("Mul", "Div"):
        return bool(others) and (kind == "Mul" or node.input[0] == x[0])
    if others:
        found["constants"].append((y, others[0], axis[y]))
    return bool(others) or axis.get(x[1]) == axis[y]


def _clip(node: Any, x: str, known: Mapping[str, NDArray[Any]], sets: _Sets, found: Any) -> bool:
    ends = [float(known[n]) if n in known and known[n].size == 1 else None for n in node.input[1:]]
    if any(name and name not in known for name in node.input[1:]):
        return False
    low, high = [*ends, None, None][:2]
    sets.join(x, node.output[0])
    if low != 0 or (high is not None and high <= 0):
        return False
    if high is not None and np.isfinite(high):
        found["limits"].append((x, Limit(node.name, x, high)))
    return True


def _flattens(node: Any, x: str, known: Mapping[str, NDArray[Any]], axis: dict[str, int], sets: _Sets) -> bool:
    """Nodes that leave the channels in their order: to (N, channels x places), or without the axes of places."""
    y, options = node.output[0], {a.name: a for a in node.attribute}
    if axis[x] != 1:
        return False
    sets.join(x, y)
    if node.op_type == "Flatten":
        axis[y] = -1
        return "axis" not in options or options["axis"].i == 1
    if node.op_type == "Reshape":
        shape = known.get(node.input[1])
        axis[y] = -1
        return shape is not None and shape.size == 2 and (int(shape[0]) <= 1)
    given = known.get(node.input[1]) if len(node.input) > 1 else None
    axes = list(given.ravel()) if given is not None else list(options["axes"].ints) if "axes" in options else []
    keeps = node.op_type != "Squeeze" and ("keepdims" not in options or options["keepdims"].i == 1)
    axis[y] = 1 if keeps else -1
    # without all axes of places, (N, channels) is left: both conventions name the same axis then
    return bool(axes) and all(int(a) >= 2 or int(a) in (-1, -2) for a in axes)


def _gated(x: list[str], y: str, axis: dict[str, int], sets: _Sets) -> bool:
    """A product of two tensors, one of which is a gate that nothing scales."""
    gates = [name for name in x if name in sets.gates]
    if len(gates) != 1:
        return False
    other = x[0] if x[1] == gates[0] else x[1]
    sets.freeze(gates[0])
    sets.join(other, y)
    axis[y] = axis.get(other, 1)
    return other in axis


class _Sets:
    """Tensors that are scaled together (union-find), and those that must not be scaled."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}
        self.frozen: set[str] = set()
        self.gates: set[str] = set()

    def add(self, *names: str) -> None:
        for name in names:
            self.parent.setdefault(name, name)

    def root(self, name: str) -> str:
        self.add(name)
        while self.parent[name] != name:
            self.parent[name] = self.parent[self.parent[name]]
            name = self.parent[name]
        return name

    def join(self, one: str, other: str) -> None:
        self.parent[self.root(other)] = self.root(one)

    def freeze(self, name: str) -> None:
        self.add(name)
        self.frozen.add(name)


def _groups(sets: _Sets, found: Mapping[str, list[Any]], known: Mapping[str, NDArray[Any]]) -> list[Group]:
    groups: dict[str, Group] = {}
    frozen = {sets.root(name) for name in sets.frozen}
    for tensor in list(sets.parent):
        groups.setdefault(sets.root(tensor), Group()).tensors.append(tensor)
    for tensor, layer in found["producers"]:
        groups[sets.root(tensor)].producers.append(layer)
    for tensor, layer in found["consumers"]:
        groups[sets.root(tensor)].consumers.append(layer)
    for tensor, limit in found["limits"]:
        groups[sets.root(tensor)].limits.append(limit)
    kept = []
    for root, group in groups.items():
        if root in frozen or not group.producers or not group.consumers:
            continue
        counts = {width_out(layer, known) for layer in group.producers}
        width = counts.pop()
        if counts or any(width_in(layer, known) % width for layer in group.consumers):
            continue
        added = [(name, place) for tensor, name, place in found["constants"] if sets.root(tensor) == root]
        if all(_is_bias(known[name], place, width) for name, place in added):
            group.constants = [name for name, _ in added]
            kept.append(group)
    return kept


def captured(node: Any) -> set[str]:
    """The names that the graphs inside a node (of If, Loop, Scan) read."""
    names: set[str] = set()
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= {*inner.input, *captured(inner)}
            names |= {output.name for output in graph.output}
    return names


def _is_bias(constant: NDArray[Any], place: int, width: int) -> bool:
    """Whether a constant that is added holds one number for each channel, and nothing else."""
    if constant.size != width:
        return False
    if place == -1:
        return bool(constant.shape[-1] == width)
    return bool(constant.ndim >= 2) and constant.shape[-1] != width and width in constant.shape


def width_out(layer: Layer, known: Mapping[str, NDArray[Any]]) -> int:
    """Output channels of a layer."""
    return int(np.prod(layer.canonical(known[layer.weight]).shape[:2]))


def width_in(layer: Layer, known: Mapping[str, NDArray[Any]]) -> int:
    """Input channels of a layer."""
    shape = layer.canonical(known[layer.weight]).shape
    return int(shape[0] * shape[2])
