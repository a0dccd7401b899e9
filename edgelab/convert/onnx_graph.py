"""An ONNX file taken apart: its nodes and constants as plain data, run, shortened and written again.

What lab `onnx` builds by hand, in edgelab's own words: a node is run once its inputs are there, batch normalisation is
folded into the convolution before it, and what no output needs is left out. One output a node is kept, the first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.convert.onnx_kernels import KERNELS
from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded, write_bytes

Array = NDArray[Any]
Fold = Callable[..., tuple[Array, Array]]
_OPSET, _IR = 17, 8
_WINDOW = ("kernel_shape", "strides", "pads", "dilations")


@dataclass(frozen=True)
class Node:
    """One operator of a graph: its type, the names of the tensors that it reads, and of the one that it makes."""

    type: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    name: str = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """A file's nodes in its order, its constants by name, and the names of what goes in and comes out."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_graph(path: str | os.PathLike[str]) -> Graph:
    """The graph of an .onnx file that this course wrote; files from outside go through `inspect_model`.

    Raises
    ------
    BadFile
        If the file is no ONNX model.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(os.fspath(path)).graph
    except Exception as error:
        raise BadFile(f"{path} is not a readable ONNX model.") from error
    constants = {tensor.name: np.array(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            constants[node.output[0]] = np.array(numpy_helper.to_array(attributes["value"]))
            continue
        nodes.append(Node(node.op_type, tuple(node.input), node.output[0], attributes, node.name))
    inputs = tuple(value.name for value in graph.input if value.name not in constants)
    return Graph(tuple(nodes), constants, inputs, tuple(value.name for value in graph.output))


def run_graph(
    nodes: Sequence[Node], tensors: Mapping[str, Array], kernels: Mapping[str, Callable[..., Array]] = KERNELS
) -> dict[str, Array]:
    """Every tensor of a graph: a node runs as soon as all of its inputs are there.

    Parameters
    ----------
    nodes
        In any order.
    tensors
        Inputs and constants by name. They stay as they are.
    kernels
        What each type of node computes, ``kernels[type](*inputs, **attributes)``.

    Raises
    ------
    ValueError
        If some nodes wait for tensors that nothing makes.

    Examples
    --------
    >>> double = Node("Add", ("x", "x"), "y")
    >>> float(run_graph([double], {"x": np.array(3.0)})["y"])
    6.0
    """
    known, waiting = dict(tensors), list(nodes)
    while waiting:
        ready = [node for node in waiting if all(name in known for name in node.inputs)]
        if not ready:
            raise ValueError(f"{len(waiting)} nodes wait for a tensor that nothing makes")
        for node in ready:
            known[node.output] = kernels[node.type](*(known[name] for name in node.inputs), **node.attributes)
        waiting = [node for node in waiting if node not in ready]
    return known


def window_size(size: int, kernel: int, stride: int = 1, pads: tuple[int, int] = (0, 0), dilation: int = 1) -> int:
    """How many places a window finds along one axis: ``floor((size + pads - dilation (kernel - 1) - 1) / stride) + 1``.

    Examples
    --------
    >>> window_size(7, 3, stride=2, pads=(1, 1))
    4
    """
    return (size + sum(pads) - dilation * (kernel - 1) - 1) // stride + 1


def window_of(node: Node, axis: int) -> dict[str, Any]:
    """The keyword arguments of `window_size` for one axis (0 is the height) of a convolution or a pooling."""
    kernel, strides, pads, dilations = (node.attributes.get(name) for name in _WINDOW)
    if kernel is None:
        raise BadInput(f"The node '{node.name}' of type {node.type} states no kernel_shape.")
    ends = (0, 0) if pads is None else (pads[axis], pads[axis + len(kernel)])
    return {
        "kernel": kernel[axis],
        "stride": 1 if strides is None else strides[axis],
        "pads": ends,
        "dilation": 1 if dilations is None else dilations[axis],
    }


def fold_batch_norm(
    weight: Array, bias: Array, gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float
) -> tuple[Array, Array]:
    """Weight (out, ...) and bias (out,) of the convolution that does what convolution and batch normalisation did.

    ``gamma``, ``beta``, ``mean`` and ``variance`` have the shape (out,). Source: Jacob et al. 2018, section 3.2.

    Examples
    --------
    >>> one = [np.array([float(v)]) for v in (2, 1, 3, 1, 5, 4)]
    >>> weight, bias = fold_batch_norm(*one, epsilon=0.0)
    >>> float(weight[0]), float(bias[0])
    (3.0, -5.0)
    """
    factor = gamma / np.sqrt(variance + epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * factor + beta


def fold_all(graph: Graph, fold: Fold = fold_batch_norm) -> Graph:
    """The graph with its constant nodes computed ahead and each batch normalisation behind a convolution folded in."""
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.inputs and all(name in constants for name in node.inputs):
            constants[node.output] = run_graph([node], constants)[node.output]
        else:
            nodes.append(node)
    readers = [name for node in nodes for name in node.inputs] + list(graph.outputs)
    made_by = {node.output: node for node in nodes}
    for norm in [node for node in nodes if node.type == "BatchNormalization"]:
        conv = made_by.get(norm.inputs[0])
        if conv is None or conv.type != "Conv" or readers.count(conv.output) != 1:
            continue
        weight = constants[conv.inputs[1]]
        bias = constants[conv.inputs[2]] if len(conv.inputs) > 2 else np.zeros(len(weight), weight.dtype)
        four = [constants[name] for name in norm.inputs[1:]]
        folded = fold(weight, bias, *four, norm.attributes.get("epsilon", 1e-5))
        names = (f"{conv.output}.weight", f"{conv.output}.bias")
        constants.update(zip(names, (np.asarray(part, np.float32) for part in folded), strict=True))
        nodes[nodes.index(conv)] = replace(conv, inputs=(conv.inputs[0], *names), output=norm.output)
        nodes.remove(norm)
    used = {name for node in nodes for name in node.inputs}
    kept = {name: value for name, value in constants.items() if name in used}
    return replace(graph, nodes=tuple(nodes), constants=kept)


def needed_nodes(nodes: Sequence[Node], outputs: Collection[str]) -> list[Node]:
    """The nodes that the named tensors depend on, in the order in which they were given.

    Examples
    --------
    >>> chain = [Node("Relu", ("x",), "a"), Node("Relu", ("a",), "b"), Node("Relu", ("a",), "c")]
    >>> [node.output for node in needed_nodes(chain, ["c"])]
    ['a', 'c']
    """
    wanted, kept = set(outputs), set[str]()
    while True:
        found = {node.output for node in nodes if node.output in wanted} - kept
        if not found:
            return [node for node in nodes if node.output in kept]
        kept |= found
        wanted |= {name for node in nodes if node.output in found for name in node.inputs}


def dense_graph(layers: Sequence[tuple[Array, Array, bool]]) -> tuple[list[Node], dict[str, Array], str]:
    """Nodes, constants and the name of the output of a network of dense layers whose input is called ``input``.

    ``layers`` holds (weight (in, out), bias (out,), whether a ReLU follows).

    Examples
    --------
    >>> nodes, constants, last = dense_graph([(np.eye(2), np.zeros(2), True)])
    >>> [node.type for node in nodes], last
    (['Gemm', 'Relu'], 'relu0')
    """
    nodes, constants, last = list[Node](), dict[str, Array](), "input"
    for i, (weight, bias, relu) in enumerate(layers):
        constants[f"weight{i}"], constants[f"bias{i}"] = weight, bias
        nodes.append(Node("Gemm", (last, f"weight{i}", f"bias{i}"), f"dense{i}"))
        last = f"dense{i}"
        if relu:
            nodes.append(Node("Relu", (last,), f"relu{i}"))
            last = f"relu{i}"
    return nodes, constants, last


def write_graph(
    path: str | os.PathLike[str],
    nodes: Sequence[Node],
    constants: Mapping[str, Array],
    *,
    inputs: Mapping[str, tuple[int | str, ...]],
    outputs: Mapping[str, tuple[int | str, ...]],
) -> Path:
    """Write nodes and constants as an .onnx file of opset 17, checked by ONNX before it is kept.

    Constants of a floating type are stored as float32, but for float16; ``inputs`` and ``outputs`` give
    the shape of each float32 input and output, a name standing for an open dimension.

    Raises
    ------
    BadInput
        If ONNX's checker refuses the graph.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def stored(value: Array) -> Array:
        kept = np.asarray(value)
        return kept.astype(np.float32) if kept.dtype == np.float64 else kept

    graph = helper.make_graph(
        [helper.make_node(n.type, list(n.inputs), [n.output], name=n.name, **n.attributes) for n in nodes],
        "edgelab",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(stored(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, producer_name="edgelab", ir_version=_IR, opset_imports=[helper.make_opsetid("", _OPSET)]
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"ONNX's checker refuses the graph: {reason}.") from error
    write_bytes(path, model.SerializeToString())
    return expanded(path)
