"""Standard operators in place of ONNX Runtime's own, for shape inference only.

ONNX's shape inference knows the operators of the standard; quantizers and optimizers of ONNX Runtime write some
of its own (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). Where one of those
gives the same shape as a standard operator, it is replaced by that before the inference. The result is
not a model that could run.
"""

from __future__ import annotations

from typing import Any

# Its operator: the standard one of the same shape, and which inputs that one takes.
_STAND_INS: dict[str, tuple[str, tuple[int, ...]]] = {
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearSigmoid": ("Identity", (0,)),
    "QLinearLeakyRelu": ("Identity", (0,)),
    "QLinearSoftmax": ("Identity", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QGemm": ("Gemm", (0, 3)),
    "FusedGemm": ("Gemm", (0, 1)),
    "FusedConv": ("Conv", (0, 1)),
    "FusedMatMul": ("MatMul", (0, 1)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "QuantizeLinear": ("QuantizeLinear", (0, 1, 2)),
    "DequantizeLinear": ("DequantizeLinear", (0, 1, 2)),
    "Gelu": ("Identity", (0,)),
    "FastGelu": ("Identity", (0,)),
    "BiasGelu": ("Identity", (0,)),
    "QuickGelu": ("Identity", (0,)),
    "SkipLayerNormalization": ("Identity", (0,)),
}
# Attributes that belong to what was fused into the operator.
_FUSED = ("activation", "activation_params", "channels_last")


def replace(graph: Any) -> None:
    """Replace what can be replaced in one graph, in place (not inside of its branches and loops)."""
    for node in graph.node:
        if node.domain != "com.microsoft":
            continue
        kind = node.op_type
        if kind == "MatMulNBits" and node.input:
            _as_matmul(graph, node)
        elif kind == "QLinearConcat":
            _become(node, "Concat", list(node.input)[2::3])
        elif kind in _STAND_INS and not (kind == "FusedMatMul" and _transposes(node)):
            standard, places = _STAND_INS[kind]
            _become(node, standard, [node.input[place] for place in places if place < len(node.input)])


def _become(node: Any, kind: str, inputs: list[str]) -> None:
    node.op_type, node.domain = kind, ""
    del node.input[:]
    node.input.extend(inputs)
    kept = [attribute for attribute in node.attribute if attribute.name not in _FUSED]
    del node.attribute[:]
    node.attribute.extend(kept)


def _as_matmul(graph: Any, node: Any) -> None:
    """A product with a stand-in weight of (K, N), which holds a shape and no values."""
    sizes = {attribute.name: int(attribute.i) for attribute in node.attribute}
    weight = graph.initializer.add()
    weight.name = f"{node.output[0] if node.output else ''}//weight"
    weight.data_type = 1  # FLOAT
    weight.dims.extend([sizes.get("K", 0), sizes.get("N", 0)])
    _become(node, "MatMul", [node.input[0], weight.name])
    del node.attribute[:]


def _transposes(node: Any) -> bool:
    return any(a.name in ("transA", "transB", "transBatchA", "transBatchB") and a.i for a in node.attribute)
