"""An ONNX graph made ready for a quantizer: old forms raised, broken weights named, masks found.

A quantizer takes much for granted: the operator set of a scale for each channel (13), constants that are not inputs
as well (IR version 4), names of nodes, weights of a layer's own. And a range that spans a mask of minus infinity has
no scale: what a mask touches stays in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 13
"""The first operator set whose QuantizeLinear knows a scale for each channel."""
LOWEST_IR = 4
"""The first IR version in which a constant need not be an input of the graph as well."""
MASKED_BELOW = -1e4
"""Scores are masked by minus infinity, by the lowest number of a type, or by -10,000 as in BERT."""
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
LIMITS = frozenset({"Clip", "Min", "Max"})
NORMALISATIONS = frozenset(
    {"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"}
)


def modernised(model: Any) -> Any:
    """The model without constants among its inputs, with every node named, at operator set 13 where it was older.

    An old model that ONNX's converter cannot raise keeps its operator set; see `opset`.
    """
    import onnx

    graph = model.graph
    constants = {constant.name for constant in graph.initializer}
    inputs = [node for node in graph.input if node.name not in constants]
    if len(inputs) < len(graph.input):
        del graph.input[:]
        graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, LOWEST_IR)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    version = opset(model)
    if version < OPSET:
        raised = onnx.ModelProto()
        raised.CopyFrom(model)
        try:
            raised = onnx.version_converter.convert_version(raised, OPSET)
            if version < 11:
                _keep_old_sampling(raised)
            raised.ir_version = max(raised.ir_version, onnx.helper.find_min_ir_version_for(raised.opset_import))
            onnx.checker.check_model(raised)
            model = raised
        except Exception:  # noqa: BLE001  (native code, which may raise anything; what needs 13 says so)
            raised.Clear()
    name_nodes(model)
    return model


def _keep_old_sampling(model: Any) -> None:
    """Say of each Resize how it sampled before operator set 11: the converter leaves the new default, half a pixel off.

    ONNX Runtime rounds down where such an operator enlarges, and up where it shrinks.
    """
    import onnx

    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                constants[node.output[0]] = attribute.t
    for node in model.graph.node:
        if node.op_type == "Resize":
            scales = constants.get(node.input[2]) if len(node.input) > 2 else None
            shrinks = scales is not None and (onnx.numpy_helper.to_array(scales) < 1).any()
            new = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil" if shrinks else "floor"}
            kept = [attribute for attribute in node.attribute if attribute.name not in new]
            del node.attribute[:]
            node.attribute.extend([*kept, *(onnx.helper.make_attribute(*entry) for entry in new.items())])


def opset(model: Any) -> int:
    """The version of ONNX's own operators that a model uses."""
    return max((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def state_opset(model: Any) -> bool:
    """Name the operator set of ONNX's own once; whether it was named twice, or not at all, as by other exporters."""
    import onnx

    own = [o for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if len(own) == 1:
        return False
    others = [o for o in model.opset_import if o.domain not in ("", "ai.onnx")]
    stated = onnx.helper.make_opsetid("", max((o.version for o in own), default=OPSET))
    del model.opset_import[:]
    model.opset_import.extend([stated, *others])
    return True


def name_nodes(model: Any) -> bool:
    """Give every node without a name, or with another's, a name of its own; whether there was one."""
    taken = {node.name for node in model.graph.node}
    seen: set[str] = set()
    renamed = False
    for i, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            stem = f"{node.name or node.op_type}_{i}"
            node.name = next(name for n in range(len(taken) + 2) if (name := f"{stem}_{n}" if n else stem) not in taken)
            taken.add(node.name)
            renamed = True
        seen.add(node.name)
    return renamed


def unshare_weights(model: Any) -> bool:
    """Give every layer that shares its weights with another a copy of its own; whether there was one.

    ONNX Runtime's quantizer transposes the weights of a linear layer in place, and a second layer that uses them
    computes nonsense from then on.
    """
    constants = {constant.name: constant for constant in model.graph.initializer}
    seen: set[str] = set()
    shared = False
    for i, node in enumerate(model.graph.node):
        for position, name in enumerate(node.input):
            if name in constants and name in seen and len(constants[name].dims) > 1:
                copy = model.graph.initializer.add()
                copy.CopyFrom(constants[name])
                copy.name = node.input[position] = f"{name}_copy{i}_{position}"
                shared = True
            seen.add(name)
    return shared


def shield_selections(model: Any) -> None:
    """Put an Identity before each Where: the older quantizer forgets to turn its inputs into floats again.

    The runtime removes it when it loads the file.
    """
    import onnx

    nodes = []
    for node in model.graph.node:
        for position, name in enumerate(node.input) if node.op_type == "Where" else ():
            node.input[position] = f"{node.name}_input{position}"
            nodes.append(onnx.helper.make_node("Identity", [name], [node.input[position]], f"{node.name}_{position}"))
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def forget_shapes_of_constants(model: Any) -> bool:
    """Drop the shapes that PyTorch's newer exporter notes for constants; whether there was one.

    A quantizer that transposes a weight leaves the note as it was, and the file contradicts itself.
    """
    constants = {constant.name for constant in model.graph.initializer}
    kept = [value for value in model.graph.value_info if value.name not in constants]
    stale = len(kept) < len(model.graph.value_info)
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    return stale


def broken_weight(model: Any) -> str | None:
    """The name of a float constant that holds NaN, or of a weight that holds infinity; None where all is well.

    Infinity elsewhere is a mask or the open end of a Clip.
    """
    weights = {
        name for node in model.graph.node if node.op_type in PRODUCTS | NORMALISATIONS for name in node.input if name
    }
    for name, values in _floats(model):
        if np.isnan(values).any() or (name in weights and not np.isfinite(values).all()):
            return name
    return None


def mask_constants(model: Any) -> set[str]:
    """Constants that hold infinity or a number that stands for it, and are neither weights nor limits."""
    others = {name for node in model.graph.node if node.op_type in PRODUCTS | LIMITS for name in node.input}
    return {name for name, values in _floats(model) if name not in others and is_masked(values)}


def is_masked(values: NDArray[Any]) -> bool:
    """Whether some values are infinite, or so low that they stand for minus infinity, and none is NaN."""
    if not values.size or np.isnan(values).any():
        return False
    return bool(np.isinf(values).any() or values.min() <= MASKED_BELOW)


def behind(model: Any, names: Iterable[str]) -> set[str]:
    """All tensors that are computed from the named ones, the named ones included."""
    found = set(names)
    for node in model.graph.node:  # in the order of execution
        if found.intersection(node.input):
            found.update(name for name in node.output if name)
    return found


def touching(model: Any, names: Iterable[str]) -> list[str]:
    """The nodes that read or write one of the named tensors."""
    wanted = set(names)
    return [node.name for node in model.graph.node if wanted.intersection([*node.input, *node.output])]


def _floats(model: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and values of each float constant, of the nodes that make one, too."""
    import onnx

    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
    tensors = [(constant.name, constant) for constant in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type in ("Constant", "ConstantOfShape") and node.output:
            tensors += [(node.output[0], a.t) for a in node.attribute if a.name == "value" and a.HasField("t")]
            tensors += [
                (node.output[0], onnx.numpy_helper.from_array(np.array([*a.floats, a.f], np.float32)))
                for a in node.attribute
                if a.name in ("value_float", "value_floats")
            ]
    for name, tensor in tensors:
        if tensor.data_type in kinds:
            yield name, onnx.numpy_helper.to_array(tensor)
