"""4- and 8-bit weights as they stand in a file: integers, scales, and a DequantizeLinear in front of each layer.

Two integers of 4 bits share a byte (INT4 of ONNX's operator set 21). ONNX Runtime unpacks them at every inference and
computes in float32 on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelab.errors import BadInput
from edgelab.posttraining.graph import layers, without_unused
from edgelab.posttraining.rounding import Rounded
from edgelab.quiet import first_line, silenced

OPSET = 21
"""The first operator set with 4-bit integers."""
EXPORTERS = ("pkg.", "onnx.", "namespace")
"""How the keys begin under which exporters and quantizers leave notes."""


def store(model: Any, weights: Mapping[str, Rounded]) -> bytes:
    """The model with the weights of layers, by the name of their node, stored as integers.

    Raises
    ------
    BadInput
        If ONNX cannot bring the model to the operator set that has 4-bit integers.
    """
    import ml_dtypes
    import onnx

    raised = _raised(model)
    graph = raised.graph
    by_name = {layer.name: layer for layer in layers(raised)}
    added, constants = [], []
    for node in graph.node:
        rounded = weights.get(node.name)
        if rounded is None:
            continue
        layer = by_name[node.name]
        name = layer.weight
        integers: Any = rounded.integers.astype(ml_dtypes.int4) if rounded.bits <= 4 else rounded.integers
        constants.append(onnx.numpy_helper.from_array(integers, f"{name}_quantized"))
        constants.append(onnx.numpy_helper.from_array(np.asarray(rounded.scale, np.float32), f"{name}_scale"))
        axis = {} if rounded.scale.ndim == 0 else {"axis": layer.output_axis}
        inputs, outputs = [f"{name}_quantized", f"{name}_scale"], [f"{name}_dequantized"]
        added.append(onnx.helper.make_node("DequantizeLinear", inputs, outputs, f"{node.name}_weight", **axis))
        node.input[1] = outputs[0]
    nodes = [*added, *(onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    content: bytes = without_unused(raised).SerializeToString()
    return content


def lean(content: bytes) -> bytes:
    """The model without what no runtime reads: notes of shapes inside, comments, operator sets that no node is of."""
    import onnx

    model = onnx.load_from_string(content)
    used = {"" if node.domain == "ai.onnx" else node.domain for node in model.graph.node}
    if model.functions or any(a.HasField("g") or a.graphs for node in model.graph.node for a in node.attribute):
        return content
    kept = [o for o in model.opset_import if o.domain in used or o.domain in ("", "ai.onnx")]
    kept = [onnx.OperatorSetIdProto.FromString(o.SerializeToString()) for o in kept]
    del model.opset_import[:], model.graph.value_info[:]
    model.opset_import.extend(kept)
    graph = model.graph
    own = [(entry.key, entry.value) for entry in model.metadata_props if not entry.key.startswith(EXPORTERS)]
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("doc_string")
        if "metadata_props" in part.DESCRIPTOR.fields_by_name:  # each node's line of the source, for example
            part.ClearField("metadata_props")
    for key, value in own:  # class names and the like, which whoever made the file put there
        model.metadata_props.add(key=key, value=value)
    leaner: bytes = model.SerializeToString()
    return leaner


def _raised(model: Any) -> Any:
    """A copy at operator set 21 or above, with the operator sets that it uses alone."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    used = {"" if node.domain == "ai.onnx" else node.domain for node in copy.graph.node}
    kept = [o for o in copy.opset_import if o.domain in used or o.domain in ("", "ai.onnx")]
    kept = [onnx.OperatorSetIdProto.FromString(o.SerializeToString()) for o in kept]
    del copy.opset_import[:]
    copy.opset_import.extend(kept)
    if any(o.domain in ("", "ai.onnx") and o.version >= OPSET for o in copy.opset_import):
        return copy
    try:
        with silenced():
            raised = onnx.version_converter.convert_version(copy, OPSET)
    except Exception as error:
        raise BadInput(
            f"The network cannot be brought to ONNX's operator set {OPSET}, the first with 4-bit integers "
            f"({first_line(error)}); export it at that set."
        ) from error
    raised.ir_version = max(raised.ir_version, 10)
    return raised
