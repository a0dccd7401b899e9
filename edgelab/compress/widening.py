"""Networks in float16, bfloat16 or float64 as float32, which is what quantizers read.

ONNX Runtime's tools pass over weights of any other type, or fail on the casts that the runtime puts around them. Halves
become float32 without loss. The file keeps the element types of its inputs and outputs, but for bfloat16, which
nobody can feed from numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelab.compress import external
from edgelab.compress.preparation import PRODUCTS

_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_datatype", "stash_type", "softmax_precision"})


def widen(model: Any) -> tuple[str, ...]:
    """Make a model compute in float32, in place; sentences that say what that did, none if it does already."""
    import onnx

    names = {
        onnx.TensorProto.FLOAT16: "float16",
        onnx.TensorProto.BFLOAT16: "bfloat16",
        onnx.TensorProto.DOUBLE: "float64",
    }
    found = {kind for kind in _kinds(model) if kind in names}
    if onnx.TensorProto.DOUBLE in found and onnx.TensorProto.DOUBLE not in _weight_kinds(model):
        found.discard(onnx.TensorProto.DOUBLE)  # arithmetic on shapes and times, which needs its digits
    if not found:
        return ()
    for tensor in external.tensors(model):
        if tensor.data_type in found:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    borders = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    _retype(model.graph, found)
    for function in model.functions:
        _retype_nodes(function.node, found)
    kept = found - {onnx.TensorProto.BFLOAT16}
    _cast_borders(model.graph, {name: kind for name, kind in borders.items() if kind in kept})
    said = [f"The network is {' and '.join(names[kind] for kind in sorted(found))}; it was quantized as float32."]
    if onnx.TensorProto.BFLOAT16 in borders.values():
        said.append("Inputs and outputs that were bfloat16 are float32.")
    return tuple(said)


def _kinds(model: Any) -> set[int]:
    graph = model.graph
    return {t.data_type for t in external.tensors(model)} | {
        value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)
    }


def _weight_kinds(model: Any) -> set[int]:
    weights = {name for node in model.graph.node if node.op_type in PRODUCTS for name in node.input[1:]}
    return {tensor.data_type for tensor in model.graph.initializer if tensor.name in weights}


def _retype(graph: Any, found: set[int]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        _retype_value(value.type, found)
    _retype_nodes(graph.node, found)


def _retype_value(kind: Any, found: set[int]) -> None:
    import onnx

    which = kind.WhichOneof("value")
    if which == "tensor_type" and kind.tensor_type.elem_type in found:
        kind.tensor_type.elem_type = onnx.TensorProto.FLOAT
    elif which in ("sequence_type", "optional_type"):
        _retype_value(getattr(kind, which).elem_type, found)


def _retype_nodes(nodes: Any, found: set[int]) -> None:
    import onnx

    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in found:
                attribute.i = onnx.TensorProto.FLOAT
            for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                _retype(graph, found)


def _cast_borders(graph: Any, kinds: dict[str, int]) -> None:
    """Give inputs and outputs the types they had, with a Cast behind or before each."""
    import onnx

    constants = {tensor.name for tensor in graph.initializer}
    inside: dict[str, str] = {}
    before, after = [], []
    for value in graph.input:
        if value.name in kinds and value.name not in constants:
            value.type.tensor_type.elem_type = kinds[value.name]
            inside[value.name] = f"{value.name}_as_float32"
            before.append(onnx.helper.make_node("Cast", [value.name], [inside[value.name]], to=onnx.TensorProto.FLOAT))
    for value in graph.output:
        if value.name in kinds:
            value.type.tensor_type.elem_type = kinds[value.name]
            inside[value.name] = inside.get(value.name, f"{value.name}_as_float32")
            after.append(onnx.helper.make_node("Cast", [inside[value.name]], [value.name], to=kinds[value.name]))
    nodes = list(graph.node)
    _rename(nodes, inside)
    del graph.node[:]
    graph.node.extend([*before, *nodes, *after])
    for tensor in graph.initializer:  # a constant that is an output
        tensor.name = inside.get(tensor.name, tensor.name)


def _rename(nodes: Any, names: dict[str, str]) -> None:
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        for place, name in enumerate(node.output):
            node.output[place] = names.get(name, name)
        for attribute in node.attribute:
            for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                _rename(graph.node, names)
