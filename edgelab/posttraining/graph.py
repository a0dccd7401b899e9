"""Layers with weights in an ONNX graph, their weights in one form, and what tensors hold when the graph runs.

A weight comes in many layouts: (out, in / groups, ...) of a convolution, (in, out / groups, ...) of a transposed one,
(in, out) or (out, in) of a linear layer. Here all are (groups, out / groups, in / groups, kernel).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.activations import BATCH
from edgelab.compress.modelfile import running
from edgelab.errors import BadInput
from edgelab.quiet import first_line

Feeds: TypeAlias = "Mapping[str, NDArray[Any]]"
"""An array for each input of the network by its name, each (N, ...)."""
Floats: TypeAlias = "NDArray[np.float32]"

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
LINEAR = frozenset({"Gemm", "MatMul"})


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer with a constant weight.

    ``bias`` names the constant of its bias, None where it has none; ``groups`` are those of a convolution;
    ``transposed`` tells that the weight's first axis is that of the inputs.
    """

    name: str
    op_type: str
    x: str
    y: str
    weight: str
    bias: str | None
    groups: int
    transposed: bool

    @property
    def is_convolution(self) -> bool:
        """Whether its channels stand on axis 1 of its input; those of a linear layer stand on the last axis."""
        return self.op_type in CONVOLUTIONS

    @property
    def output_axis(self) -> int:
        """The axis of its output channels in the stored weight; with groups and transposed there is no such axis."""
        return 1 if self.transposed else 0

    def canonical(self, weight: NDArray[Any]) -> NDArray[Any]:
        """The stored weight as (groups, out / groups, in / groups, kernel).

        Examples
        --------
        >>> layer = Layer("head", "Gemm", "x", "y", "w", None, 1, transposed=True)
        >>> layer.canonical(np.zeros((3, 5))).shape
        (1, 5, 3, 1)
        """
        g = self.groups
        if self.transposed:
            return weight.reshape(g, weight.shape[0] // g, weight.shape[1], -1).swapaxes(1, 2)
        return weight.reshape(g, weight.shape[0] // g, weight.shape[1], -1)

    def stored(self, canonical: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        """A weight of the canonical form in the layout of the file, ``shape``."""
        weight = canonical.swapaxes(1, 2) if self.transposed else canonical
        return np.ascontiguousarray(weight).reshape(tuple(shape))


def constants(model: Any) -> dict[str, Any]:
    """The initializers of a model by name."""
    return {constant.name: constant for constant in model.graph.initializer}


def layers(model: Any) -> list[Layer]:
    """The layers whose weight is a constant of float32 that no other node reads, in the order of execution."""
    known = constants(model)
    readers: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    found = []
    for node in model.graph.node:
        if node.op_type not in CONVOLUTIONS | LINEAR or len(node.input) < 2:
            continue
        weight = known.get(node.input[1])
        if weight is None or weight.data_type != 1 or len(weight.dims) < 2 or readers[node.input[1]] > 1:
            continue
        options = {a.name: a for a in node.attribute}
        if node.op_type == "MatMul" and len(weight.dims) != 2:
            continue
        if node.op_type == "Gemm" and (_number(options, "transA") or _factors(options) != (1.0, 1.0)):
            continue
        if node.op_type == "Gemm":
            transposed = not _number(options, "transB")
        else:
            transposed = node.op_type in ("MatMul", "ConvTranspose")
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        groups = _number(options, "group") or 1
        found.append(
            Layer(node.name, node.op_type, node.input[0], node.output[0], node.input[1], bias, groups, transposed)
        )
    return found


def _number(options: Mapping[str, Any], name: str) -> int:
    return int(options[name].i) if name in options else 0


def _factors(options: Mapping[str, Any]) -> tuple[float, float]:
    alpha, beta = (float(options[name].f) if name in options else 1.0 for name in ("alpha", "beta"))
    return alpha, beta


def value(model: Any, name: str) -> Floats:
    """The values of a constant."""
    import onnx

    return np.array(onnx.numpy_helper.to_array(constants(model)[name]))


def values(model: Any) -> dict[str, NDArray[Any]]:
    """The values of every constant by name."""
    import onnx

    return {name: np.array(onnx.numpy_helper.to_array(constant)) for name, constant in constants(model).items()}


def with_values(model: Any, changed: Mapping[str, NDArray[Any]]) -> Any:
    """A copy of the model in which the named constants hold other values; a new name becomes a new constant."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = constants(copy)
    for name, array in changed.items():
        tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        if name in known:
            known[name].CopyFrom(tensor)
        else:
            copy.graph.initializer.append(tensor)
    return copy


def bias_of(layer: Layer, known: Mapping[str, NDArray[Any]]) -> Floats:
    """The bias (out,) of a layer, zeros where it has none."""
    out = int(np.prod(layer.canonical(known[layer.weight]).shape[:2]))
    if layer.bias is None or layer.bias not in known:
        return np.zeros(out, np.float32)
    return np.broadcast_to(known[layer.bias].reshape(-1).astype(np.float32), (out,)).copy()


def with_biases(model: Any, biases: Mapping[str, Floats]) -> Any:
    """A copy of the model in which layers, by the name of their node, have these biases (out,).

    A MatMul has no place for one and is passed over.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    changed = {}
    for node in copy.graph.node:
        if node.name in biases and node.op_type != "MatMul":
            name = f"{node.name}_own_bias"
            changed[name] = np.asarray(biases[node.name], np.float32)
            del node.input[2:]
            node.input.append(name)
    return without_unused(with_values(copy, changed))


def without_unused(model: Any) -> Any:
    """The model without constants that no node reads; changed in place."""
    used = {name for node in model.graph.node for name in node.input}
    used |= {output.name for output in model.graph.output}
    used |= {name for node in model.graph.node for a in node.attribute for name in _inner_names(a)}
    kept = [constant for constant in model.graph.initializer if constant.name in used]
    if len(kept) < len(model.graph.initializer):
        kept = [type(constant).FromString(constant.SerializeToString()) for constant in kept]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    return model


def up_to(model: Any, wanted: Sequence[str]) -> Any:
    """A copy of the model that computes the named tensors and nothing else."""
    import onnx

    needed, nodes = set(wanted), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
            needed.update(name for a in node.attribute for name in _inner_names(a))
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:], copy.graph.output[:]
    copy.graph.node.extend(reversed(nodes))
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(wanted))
    return without_unused(copy)


def _inner_names(attribute: Any) -> set[str]:
    names: set[str] = set()
    for graph in (attribute.g, *attribute.graphs):
        for node in graph.node:
            names |= set(node.input).union(*(_inner_names(a) for a in node.attribute), set())
        names |= {output.name for output in graph.output}
    return names


def batches(feeds: Feeds, fixed: int | None = None) -> Iterator[dict[str, NDArray[Any]]]:
    """The feeds in parts of `BATCH` items, or of the number that the network fixes."""
    step = fixed or BATCH
    count = len(next(iter(feeds.values())))
    for start in range(0, count - count % step if fixed else count, step):
        yield {name: array[start : start + step] for name, array in feeds.items()}


def run(model: Any, feeds: Feeds, wanted: Sequence[str]) -> Iterator[list[NDArray[Any]]]:
    """Run a model and give the named tensors, batch by batch.

    Parameters
    ----------
    model
        An ONNX model in memory, or its bytes.
    feeds
        An array for each input, (N, ...).
    wanted
        Tensors of the graph; those that are no outputs are made outputs for the run. Without any nothing is run.

    Raises
    ------
    BadInput
        If ONNX Runtime does not run it.
    """
    import onnx

    if not wanted:  # the runtime would take that for all outputs
        return
    probe = onnx.ModelProto()
    probe.CopyFrom(onnx.load_from_string(model) if isinstance(model, bytes) else model)
    present = {output.name for output in probe.graph.output}
    extra = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(wanted) if name not in present]
    probe.graph.output.extend(extra)
    try:
        with running(probe) as runtime:
            fixed = next((n.shape[0] for n in runtime.get_inputs() if n.shape and isinstance(n.shape[0], int)), None)
            for batch in batches(feeds, fixed):
                yield runtime.run(list(wanted), batch)
    except Exception as error:
        raise BadInput(f"ONNX Runtime does not run the network on the data: {first_line(error)}.") from error


def channels_last(array: NDArray[Any], layer: Layer) -> NDArray[Any]:
    """What a layer puts out, as (items x places, channels).

    Examples
    --------
    >>> layer = Layer("conv", "Conv", "x", "y", "w", None, 1, transposed=False)
    >>> channels_last(np.zeros((2, 5, 4, 4)), layer).shape
    (32, 5)
    """
    moved = np.moveaxis(array, 1, -1) if layer.is_convolution else array
    return moved.reshape(-1, moved.shape[-1])
