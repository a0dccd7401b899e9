"""ONNX files whose weights alone are small integers: 2 to 8 bits, computed in float32.

The file shrinks, the activations keep their precision, and no calibration set is needed. Each weight gets a
DequantizeLinear, which ONNX Runtime executes at every inference on a CPU before it multiplies in float32: space is
saved, time is lost. Only MatMulNBits (``block_size``) multiplies with the packed weights themselves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from edgelab.compress.affine import affine_parameters, quantize
from edgelab.compress.affine import per_channel as channel_parameters
from edgelab.compress.coverage import WEIGHT_PLACES, coverage, nodes_of
from edgelab.compress.modelfile import PathLike, Quantized, keep, prepared, read, reason, running
from edgelab.compress.preparation import opset
from edgelab.errors import BadInput
from edgelab.quiet import silenced

OPSET = 21
"""The first ONNX operator set with 4-bit integers."""
BLOCK_SIZES = (16, 32, 64, 128, 256)


def quantize_weights(
    model_path: PathLike,
    out_path: PathLike,
    *,
    bits: int = 4,
    per_channel: bool = True,
    block_size: int | None = None,
    exclude: Sequence[str] = (),
) -> Quantized:
    """Store the weights of convolutions, linear and recurrent layers and embeddings as symmetric integers.

    Parameters
    ----------
    model_path, out_path
        The float .onnx file, and the file to write.
    bits
        2 to 8; up to 4 are packed two to a byte.
    per_channel
        One scale for each output channel instead of one for the whole tensor.
    block_size
        16, 32, 64, 128 or 256: linear layers become MatMulNBits with a scale for every so many weights; 4 bits only.
    exclude
        Names of nodes that stay in float32.

    Raises
    ------
    BadInput
        If an argument does not fit the network.
    BadFile
        If the file is not a float ONNX model, or the result cannot be written.
    """
    started = time.perf_counter()
    if not 2 <= bits <= 8:
        raise BadInput(f"bits={bits} is not 2 to 8.")
    if block_size is not None and (block_size not in BLOCK_SIZES or bits != 4):
        raise BadInput(
            f"block_size={block_size} with {bits} bits: MatMulNBits takes 4 bits in blocks of {BLOCK_SIZES}."
        )
    notes: list[str] = []
    with prepared(model_path, notes) as ready:
        model = read(ready)
        names = {node.name for _, node in nodes_of(model.graph)}
        if unknown := sorted(set(exclude) - names):
            raise BadInput(f"exclude names no node {unknown[0]!r}; the nodes are {', '.join(sorted(names)[:50])}.")
        try:
            with silenced():
                if block_size is not None:
                    model = _matmul_nbits(model, block_size, exclude)
                model = _dequantize_linear(model, bits, per_channel, exclude)
            with running(model):
                pass
        except Exception as error:
            raise BadInput(f"The weights cannot be quantized so: {reason(error)}.") from error
    settings = {"bits": bits, "per_channel": per_channel, "block_size": block_size, "exclude": list(exclude)}
    covered, seconds = coverage(model, "weights", exclude=exclude), time.perf_counter() - started
    return keep(model_path, out_path, model, "weights", settings, seconds, covered=covered, notes=notes)


def _matmul_nbits(model: Any, block_size: int, exclude: Sequence[str]) -> Any:
    """Linear layers as MatMulNBits with 4-bit weights and 8-bit activations, by ONNX Runtime's own tool."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    from onnxruntime.quantization.onnx_model import ONNXModel

    graph = ONNXModel(model)
    graph.replace_gemm_with_matmul()  # PyTorch's Linear is exported as Gemm, which the tool passes over
    tool = MatMulNBitsQuantizer(
        graph.model,
        block_size=block_size,
        is_symmetric=True,
        accuracy_level=4,  # compute in int8; at the default the weights are unpacked to float32
        nodes_to_exclude=list(exclude),
    )
    tool.process()
    return tool.model.model


def _dequantize_linear(model: Any, bits: int, by_channel: bool, exclude: Sequence[str]) -> Any:
    """Replace each float weight by an integer constant with a DequantizeLinear behind it, inside If and Loop, too."""
    import onnx

    graphs = list(_graphs(model.graph))
    found = [(node, place) for _, node in nodes_of(model.graph) if node.name not in exclude for place in _places(node)]
    owner = {constant.name: graph for graph in graphs for constant in graph.initializer}
    constants = {constant.name: constant for graph in graphs for constant in graph.initializer}
    weights = [(node, place) for node, place in found if _is_weight(constants.get(node.input[place]))]
    if bits <= 4 and weights and opset(model) < OPSET:
        raised = onnx.version_converter.convert_version(model, OPSET)
        return _dequantize_linear(raised, bits, by_channel, exclude)
    replaced: dict[str, str] = {}
    for node, place in weights:
        name = node.input[place]
        if name not in replaced:
            replaced[name] = f"{name}_dequantized"
            weight = onnx.numpy_helper.to_array(constants[name])
            axis = _output_axis(node, place, weight) if by_channel else None
            _store(owner[name], name, weight, bits, axis)
        node.input[place] = replaced[name]
    used = {name for _, node in nodes_of(model.graph) for name in node.input}
    used |= {value.name for graph in graphs for value in graph.output}
    for graph in graphs:
        kept = [constant for constant in graph.initializer if constant.name in used or constant.name not in replaced]
        del graph.initializer[:]
        graph.initializer.extend(kept)
    return model


def _store(graph: Any, name: str, weight: NDArray[Any], bits: int, axis: int | None) -> None:
    """Add a weight's integers and scales to a graph, and the node that makes floats of them."""
    import ml_dtypes
    import onnx

    if axis is None:
        affine = affine_parameters(weight.min(), weight.max(), bits, symmetric=True)
    else:
        affine = channel_parameters(weight, axis, bits)
    integers: NDArray[Any] = quantize(weight, affine)
    packed = integers.astype(ml_dtypes.int4) if bits <= 4 else integers
    graph.initializer.append(onnx.numpy_helper.from_array(packed, f"{name}_quantized"))
    graph.initializer.append(onnx.numpy_helper.from_array(affine.scale, f"{name}_scale"))
    inputs, attributes = [f"{name}_quantized", f"{name}_scale"], {} if axis is None else {"axis": axis}
    graph.node.insert(
        0,
        onnx.helper.make_node(
            "DequantizeLinear", inputs, [f"{name}_dequantized"], f"{name}_DequantizeLinear", **attributes
        ),
    )


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _graphs(inner)


def _places(node: Any) -> Iterator[int]:
    """At which inputs of a node a weight may stand."""
    for place in WEIGHT_PLACES.get(node.op_type, ()) if node.op_type not in _UNKNOWN else ():
        if place < len(node.input) and node.input[place]:
            yield place


def _is_weight(constant: Any) -> bool:
    import onnx

    return constant is not None and constant.data_type == onnx.TensorProto.FLOAT and len(constant.dims) > 1


_UNKNOWN = frozenset({"Einsum", "Attention"})


def _output_axis(node: Any, place: int, weight: NDArray[Any]) -> int:
    """The axis of the output channels in the weight of an operator; of an embedding that of its rows."""
    if node.op_type == "Gemm":
        transposed = any(a.name == ("transB" if place else "transA") and a.i for a in node.attribute)
        return int(transposed) ^ place
    if node.op_type == "MatMul":
        return weight.ndim - 1 if place else weight.ndim - 2
    return 0 if node.op_type in ("Conv", "Gather") else 1
