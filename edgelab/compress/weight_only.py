"""ONNX files whose weights alone are small integers: 2 to 8 bits, computed in float32.

The file shrinks, the activations keep their precision, and no calibration set is needed. Each weight gets a
DequantizeLinear, which ONNX Runtime executes at every inference on a CPU before it multiplies in float32: space is
saved, time is lost. Only MatMulNBits (``block_size``) multiplies with the packed weights themselves.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.affine import affine_parameters, quantize
from edgelab.compress.affine import per_channel as channel_parameters
from edgelab.compress.modelfile import PathLike, Quantized, keep, prepared, read, session
from edgelab.errors import BadInput
from edgelab.quiet import first_line, silenced

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
    """Store the weights of convolutions and linear layers as symmetric integers.

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
    with prepared(model_path) as ready:
        model = read(ready)
        names = {node.name for node in model.graph.node}
        if unknown := sorted(set(exclude) - names):
            raise BadInput(f"exclude names no node {unknown[0]!r}; the nodes are {', '.join(sorted(names)[:50])}.")
        try:
            with silenced():
                if block_size is not None:
                    model = _matmul_nbits(model, block_size, exclude)
                content = _dequantize_linear(model, bits, per_channel, exclude)
            session(content)
        except Exception as error:
            raise BadInput(f"The weights cannot be quantized so: {first_line(error)}.") from error
    settings = {"bits": bits, "per_channel": per_channel, "block_size": block_size, "exclude": list(exclude)}
    return keep(model_path, out_path, content, "weights", settings, time.perf_counter() - started)


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


def _dequantize_linear(model: Any, bits: int, by_channel: bool, exclude: Sequence[str]) -> bytes:
    """Replace each float weight by an integer constant with a DequantizeLinear behind it."""
    import ml_dtypes
    import onnx

    if not any(o.domain in ("", "ai.onnx") and o.version >= OPSET for o in model.opset_import):
        model = onnx.version_converter.convert_version(model, OPSET)
    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    added, replaced = [], {}
    for node in graph.node:
        if node.op_type not in WEIGHTED or node.name in exclude or node.input[1] not in constants:
            continue
        weight = onnx.numpy_helper.to_array(constants[node.input[1]])
        if weight.dtype != np.float32 or weight.ndim < 2:
            continue
        name = node.input[1]
        if name not in replaced:
            replaced[name] = f"{name}_dequantized"
            axis = _output_axis(node, weight)
            affine = (
                channel_parameters(weight, axis, bits)
                if by_channel
                else affine_parameters(weight.min(), weight.max(), bits, symmetric=True)
            )
            integers: NDArray[Any] = quantize(weight, affine)
            packed = integers.astype(ml_dtypes.int4) if bits <= 4 else integers
            graph.initializer.append(onnx.numpy_helper.from_array(packed, f"{name}_quantized"))
            graph.initializer.append(onnx.numpy_helper.from_array(affine.scale, f"{name}_scale"))
            attributes = {"axis": axis} if by_channel else {}
            inputs = [f"{name}_quantized", f"{name}_scale"]
            added.append(onnx.helper.make_node("DequantizeLinear", inputs, [replaced[name]], **attributes))
        node.input[1] = replaced[name]
    if not added and not any(node.op_type == "MatMulNBits" for node in graph.node):
        raise BadInput("there is no convolution or linear layer with constant weights")
    still_used = {name for node in graph.node for name in node.input}
    kept = [constant for constant in graph.initializer if constant.name in still_used or constant.name not in replaced]
    nodes = [*added, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    content: bytes = model.SerializeToString()
    return content


WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def _output_axis(node: Any, weight: NDArray[Any]) -> int:
    """The axis of the output channels in the weight of an operator."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return 0 if transposed else 1
    return 1 if node.op_type == "ConvTranspose" else weight.ndim - 1
