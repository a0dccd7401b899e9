"""A network that was trained with rounding, as an ONNX file that holds integers (QDQ form), checked before it is kept.

Weights are stored as int8, or packed as int4 where 4 bits are enough, biases as int32 at the product of the two
scales, and every stored activation goes through a pair of QuantizeLinear and DequantizeLinear with the trained range.
ONNX Runtime fuses the pairs of an 8-bit file into integer kernels. It has none for int4 convolutions: those weights are
expanded to float32 when the file is loaded.

Format: ONNX operators QuantizeLinear and DequantizeLinear, opset 13 for 8 bits, 21 for 4
(https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html).
"""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from edgelab.compress.modelfile import PathLike, session
from edgelab.errors import BadInput
from edgelab.files import expanded, write_bytes
from edgelab.qat.layers import ACTIVATION_STEPS
from edgelab.qat.prepare import activations, finished, layers
from edgelab.qat.rules import to_integers
from edgelab.quiet import first_line, silenced

OPSET, PACKED_OPSET = 17, 21
MAX_MEAN_STEPS = 4.0
KEEPS_SCALE = {"Flatten", "MaxPool", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Transpose"}
Integers = Callable[..., tuple[Any, Any]]


@dataclass(frozen=True)
class QatFile:
    """What `write_onnx` wrote.

    ``bits`` is the width of each stored weight by layer (None: float32), ``mean_steps`` how many integer steps the
    file's outputs differ from the simulated network's on average, over ``checked`` items in ONNX Runtime.
    """

    path: Path
    bytes: int
    bits: dict[str, int | None]
    mean_steps: float
    checked: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {**vars(self), "path": str(self.path)}

    def _repr_markdown_(self) -> str:
        kinds = sorted({f"{width} bits" if width else "float32" for width in self.bits.values()})
        return (
            f"`{self.path.name}`: {self.bytes:,} bytes, weights of {' and '.join(kinds)}, within "
            f"{self.mean_steps:.2f} steps of the simulated network on {self.checked} items, *measured* in ONNX Runtime"
        )


def write_onnx(
    network: fx.GraphModule,
    items: NDArray[np.float32],
    path: PathLike,
    *,
    integers: Integers = to_integers,
    pack: bool = True,
) -> QatFile:
    """Write a prepared and calibrated or trained network with its integers.

    Parameters
    ----------
    network
        As `edgelab.qat.training.qat` gives it (``.network``), or `prepare` and `calibrate`.
    items
        Some inputs (N, ...), float32, on which the file is held against the network.
    path
        The .onnx file; it is whole or absent.
    integers
        Somebody's own function in place of `to_integers`.
    pack
        Store weights of 4 bits and fewer two in a byte. False: one in a byte, which runs on integer kernels.

    Raises
    ------
    BadInput
        If the network cannot be exported, or the file does not compute what the network simulates.
    """
    import onnx

    started = time.perf_counter()
    items = np.ascontiguousarray(items, dtype=np.float32)
    if len(items) < 1 or not np.isfinite(items).all():
        raise BadInput("The items to check the file with are empty, or hold NaN or infinity.")
    model = onnx.load_from_string(_exported(_paired(network), torch.from_numpy(items[:2])))
    found = layers(network)
    packed = pack and any(layer.bits is not None and layer.bits <= 4 for layer in found.values())
    if packed:
        model = onnx.version_converter.convert_version(model, PACKED_OPSET)
        model.ir_version = max(model.ir_version, 10)
    _store(model, found, integers, pack=pack)
    content: bytes = model.SerializeToString()
    try:
        runtime = session(content)
        logits = np.concatenate([runtime.run(None, {"input": item[None]})[0] for item in items])
    except Exception as error:
        raise BadInput(f"ONNX Runtime does not run the written network: {first_line(error)}.") from error
    with torch.no_grad():
        simulated = network.eval()(torch.from_numpy(items)).numpy()
    scale = list(activations(network).values())[-1].mapping()[0]
    steps = float(np.abs(logits - simulated).mean() / scale)
    if not steps <= MAX_MEAN_STEPS:
        raise BadInput(
            f"The written file differs from the network it stores by {steps:.1f} steps on average; nothing was kept."
        )
    write_bytes(path, content)
    widths = {name: layer.bits for name, layer in found.items()}
    return QatFile(expanded(path), len(content), widths, steps, len(items), time.perf_counter() - started)


class _Pair(nn.Module):
    """What the exporter turns into QuantizeLinear and DequantizeLinear of uint8."""

    def __init__(self, scale: float, zero_point: int) -> None:
        super().__init__()
        self.scale, self.zero_point = scale, zero_point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` rounded."""
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, 0, ACTIVATION_STEPS)


def _paired(network: fx.GraphModule) -> fx.GraphModule:
    """The plain float network with a pair behind each stored tensor, without activations that saturation replaces."""
    known = {name: activation.mapping() for name, activation in activations(network).items()}
    tops = {name: activation.ends() for name, activation in activations(network).items()}
    plain, ranges = finished(network, rounded=False)
    nodes = {node.name: node for node in plain.graph.nodes}
    for name in ranges:
        node = nodes[name]
        told = "input" if node.op == "placeholder" else str(node.target) if node.op == "call_module" else node.name
        module = f"pair_{name}"
        plain.add_submodule(module, _Pair(*known[told]))
        with plain.graph.inserting_after(node):
            made = plain.graph.call_module(module, (node,))
        node.replace_all_uses_with(made, delete_user_cb=lambda user, made=made: user is not made)
        if node.op == "call_module" and _is_saturation(plain.get_submodule(str(node.target)), *tops[told]):
            node.replace_all_uses_with(node.all_input_nodes[0])
            plain.graph.erase_node(node)
    for node in [
        n for n in plain.graph.nodes if _flattens(n, plain)
    ]:  # a matrix product is fused with a pair right before it
        source = node.all_input_nodes[0]
        if source.name.startswith("pair_"):
            with plain.graph.inserting_after(node):
                made = plain.graph.call_module(source.target, (node,))
            node.replace_all_uses_with(made, delete_user_cb=lambda user, made=made: user is not made)
    plain.recompile()
    return plain


def _flattens(node: fx.Node, plain: fx.GraphModule) -> bool:
    if node.op == "call_module":
        return isinstance(plain.get_submodule(str(node.target)), nn.Flatten)
    return node.op == "call_function" and node.target is torch.flatten


def _is_saturation(layer: nn.Module, low: float, high: float) -> bool:
    """Whether the integers' ends cut what this activation cuts."""
    return low == 0.0 and (isinstance(layer, nn.ReLU) or (isinstance(layer, nn.ReLU6) and high <= 6.0))


def _exported(plain: fx.GraphModule, example: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    try:
        with silenced(), torch.no_grad():
            torch.onnx.export(
                copy.deepcopy(plain).eval(),
                (torch.cat([example, example])[:2],),
                stream,  # type: ignore[arg-type]  # the tracing exporter writes to streams, its type does not say so
                dynamo=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["logits"],
                dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            )
    except Exception as error:
        raise BadInput(f"The network cannot be exported to ONNX: {first_line(error)}.") from error
    return stream.getvalue()


def _store(model: Any, found: dict[str, Any], integers: Integers, *, pack: bool) -> None:
    """Replace each float weight and bias by its integers and the scale that they count in."""
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {initializer.name: initializer for initializer in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
    makers = {output: node for node in graph.node for output in node.output}
    new_nodes, new_constants, replaced = [], [], set()
    for node in graph.node:
        name = next((n for n in found if len(node.input) > 1 and node.input[1] == f"{n}.weight"), None)
        if name is None or found[name].bits is None:
            continue
        layer, source = found[name], _scale_of(node.input[0], makers)
        weight, bias, scale_w = layer.stored()
        scale_x = float(numpy_helper.to_array(constants[source])) if source else None
        q_weight, q_bias = integers(weight, bias, scale_x or 1.0, scale_w, layer.bits)
        if f"{name}.weight" not in replaced:
            new_constants.append(_integer_tensor(f"{name}.weight_q", q_weight, packed=pack and layer.bits <= 4))
            new_constants.append(_zeros_like(new_constants[-1], f"{name}.weight_zero", scale_w))
            pair = _dequantize(name, "weight", scale_w, new_constants)
            pair.input.append(f"{name}.weight_zero")  # its fused kernels of matrix products ask for one
            new_nodes.append(pair)
            replaced.add(f"{name}.weight")
        node.input[1] = f"{name}.weight_dq"
        if scale_x is not None and len(node.input) > 2 and node.input[2] == f"{name}.bias":
            steps = (np.float32(scale_x) * scale_w).astype(np.float32)
            steps = np.broadcast_to(steps, len(bias)).copy() if len(scale_w) > 1 else steps
            new_constants.append(numpy_helper.from_array(np.asarray(q_bias, np.int32), f"{name}.bias_q"))
            new_nodes.append(_dequantize(name, "bias", steps, new_constants))
            node.input[2] = f"{name}.bias_dq"
            replaced.add(f"{name}.bias")
    kept = [initializer for initializer in graph.initializer if initializer.name not in replaced]
    nodes = list(graph.node)
    del graph.initializer[:], graph.node[:], graph.value_info[:]
    graph.initializer.extend([*kept, *new_constants])
    graph.node.extend([*new_nodes, *nodes])
    model.producer_name = "edgelab"
    helper.set_model_props(model, {})


def _scale_of(tensor: str, makers: dict[str, Any]) -> str | None:
    """The name of the scale in which a tensor is stored, through what only moves values; None if it is float."""
    maker = makers.get(tensor)
    while maker is not None and maker.op_type in KEEPS_SCALE:
        maker = makers.get(maker.input[0])
    return str(maker.input[1]) if maker is not None and maker.op_type == "DequantizeLinear" else None


def _dequantize(name: str, part: str, scale: NDArray[np.float32], constants: list[Any]) -> Any:
    from onnx import helper, numpy_helper

    one = len(scale) == 1
    value = np.asarray(scale[0], np.float32) if one else scale.astype(np.float32)
    constants.append(numpy_helper.from_array(value, f"{name}.{part}_scale"))
    settings = {} if one else {"axis": 0}
    inputs = [f"{name}.{part}_q", f"{name}.{part}_scale"]
    return helper.make_node("DequantizeLinear", inputs, [f"{name}.{part}_dq"], f"{name}.{part}_dq", **settings)


def _zeros_like(tensor: Any, name: str, scale: NDArray[np.float32]) -> Any:
    from onnx import TensorProto, helper

    shape = () if len(scale) == 1 else scale.shape
    size = max(1, (len(scale) + 1) // 2) if tensor.data_type == TensorProto.INT4 else len(scale)
    return helper.make_tensor(name, tensor.data_type, shape, bytes(size), raw=True)


def _integer_tensor(name: str, values: NDArray[np.int8], *, packed: bool) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    q = np.ascontiguousarray(values, dtype=np.int8)
    if not packed:
        return numpy_helper.from_array(q, name)
    flat = q.reshape(-1).astype(np.uint8) & 0x0F
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    pairs = (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8)
    return helper.make_tensor(name, TensorProto.INT4, q.shape, pairs.tobytes(), raw=True)
