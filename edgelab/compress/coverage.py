"""What a quantizer did with each operator of a network that has weights, and why it left some in float32.

A quantizer passes over what it does not know without a word: recurrent layers, the bodies of If and Loop, weights that
are computed. The result is read, not the tool's intention: an operator counts as quantized where it takes integers, or
what a DequantizeLinear makes of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from edgelab.compress import external

Tool = Literal["static", "dynamic", "weights"]
INTEGER_OPERATORS = {
    "QLinearConv": "Conv",
    "ConvInteger": "Conv",
    "QGemm": "Gemm",
    "QLinearMatMul": "MatMul",
    "MatMulInteger": "MatMul",
    "MatMulNBits": "MatMul",
    "DynamicQuantizeLSTM": "LSTM",
    "QAttention": "Attention",
    "QEmbedLayerNormalization": "EmbedLayerNormalization",
}
"""Operators that compute with integers, and what they were in float."""
WEIGHT_PLACES = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "Gather": (0,),
    "Attention": (1,),
    "Einsum": (0, 1),
}
"""Operators with weights, and at which of their inputs these stand."""
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
LEARNED = ("Tree", "SVM", "Linear", "GaussianProcess", "KNN")
"""How operators of ONNX-ML begin whose parameters are attributes."""
_PASSED_OVER = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_MOVES = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Identity", "Pad", "Reshape", "Shape", "Size", "Slice", "Split"}
    | {"SplitToSequence", "Squeeze", "Tile", "Transpose", "Unsqueeze", "ZipMap"}
)
"""Operators that compute nothing."""


@dataclass(frozen=True)
class Left:
    """An operator whose weights stayed in float32: the node's name, its type, and why."""

    name: str
    type: str
    why: str

    def to_dict(self) -> dict[str, str]:
        """As JSON-ready data."""
        return dict(vars(self))


@dataclass(frozen=True)
class Coverage:
    """How many operators of each type were quantized, and which with weights were not."""

    quantized: dict[str, int]
    left: tuple[Left, ...]

    def why_nothing(self, tool: Tool, model: Any) -> str:
        """Why nothing was quantized, as a sentence without its subject."""
        if self.left:
            reasons = dict.fromkeys(f"{left.type} '{left.name}': {left.why}" for left in self.left)
            more = f", and {len(reasons) - 3} more" if len(reasons) > 3 else ""
            return f"{'; '.join(list(reasons)[:3])}{more}"
        types = Counter(node.op_type for _, node in nodes_of(model.graph))
        held = ", ".join(f"{count} {kind}" for kind, count in types.most_common(4))
        if learned := next((kind for kind in types if kind.startswith(LEARNED)), ""):
            return f"{learned} holds its parameters as attributes, which no quantizer of ONNX Runtime reads"
        lacks = "no convolution, linear or recurrent layer with constant weights"
        return f"it holds {lacks}{'' if tool != 'static' else ', and no activation that the tool rounds'} ({held})"


def coverage(result: Any, tool: Tool, *, exclude: Collection[str] = (), masked: Collection[str] = ()) -> Coverage:
    """Read what was quantized from the result of a tool.

    Parameters
    ----------
    result
        The quantized model.
    tool
        Which one made it.
    exclude, masked
        Names of nodes that stay in float32 because the caller wished so, or because a mask stands at them.
    """
    quantized: Counter[str] = Counter()
    left: list[Left] = []
    floats, wiring = _float_weights(result), _Wiring(result)
    for path, node in nodes_of(result.graph):
        if node.op_type in INTEGER_OPERATORS or node.op_type.startswith("QLinear"):
            quantized[INTEGER_OPERATORS.get(node.op_type, node.op_type.removeprefix("QLinear"))] += 1
        elif node.op_type not in _PASSED_OVER:
            places = WEIGHT_PLACES.get(node.op_type, ())
            held = [node.input[p] for p in places if p < len(node.input) and node.input[p] in floats]
            if held:
                left.append(Left(node.name, node.op_type, _why(node, path, tool, exclude, masked)))
            elif wiring.takes_integers(node, tool):
                quantized[node.op_type] += 1
    return Coverage(dict(sorted(quantized.items())), tuple(left))


class _Wiring:
    """Which node makes a tensor and which take it."""

    def __init__(self, model: Any) -> None:
        self.constants = {tensor.name for tensor in external.tensors(model)}
        self.made_by = {output: node for _, node in nodes_of(model.graph) for output in node.output}
        self.taken_by: dict[str, set[str]] = {}
        for _, node in nodes_of(model.graph):
            for name in node.input:
                self.taken_by.setdefault(name, set()).add(node.op_type)

    def takes_integers(self, node: Any, tool: Tool) -> bool:
        """Whether it takes what a DequantizeLinear makes of integers; an embedding may take the integers themselves."""
        makers = [self.made_by.get(name) for name in node.input]
        dequantized = [maker for maker in makers if maker is not None and maker.op_type == "DequantizeLinear"]
        if node.op_type == "Gather":
            if makers[0] is None:
                return node.input[0] in self.constants and "DequantizeLinear" in self.taken_by.get(node.output[0], ())
            return any(maker.input[0] in self.constants for maker in dequantized)
        if node.op_type in _MOVES or (tool != "static" and node.op_type not in WEIGHT_PLACES):
            return False
        return bool(dequantized)


def nodes_of(graph: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every node with the types of the operators inside which it stands."""
    for node in graph.node:
        yield path, node
        for attribute in node.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from nodes_of(inner, (*path, node.op_type))


def _float_weights(model: Any) -> set[str]:
    """Names of the constants of floats with at least two axes."""
    import onnx

    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
    found = {t.name for t in external.tensors(model) if t.data_type in kinds and len(t.dims) > 1}
    for _, node in nodes_of(model.graph):
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value" and attribute.t.data_type in kinds and len(attribute.t.dims) > 1:
                found.add(node.output[0])
    return found


def _why(node: Any, path: tuple[str, ...], tool: Tool, exclude: Collection[str], masked: Collection[str]) -> str:
    kind = node.op_type
    lstm = "quantize_dynamic computes LSTM in 8 bits, " if kind == "LSTM" else ""
    transposed = "quantize_static computes it in 8 bits, " if kind == "ConvTranspose" else ""
    stored = "quantize_weights stores its weights as integers"
    reasons = (
        (node.name in exclude, "it was excluded"),
        (node.name in masked, "a mask of minus infinity stands at it, and no range spans that"),
        (
            bool(path) and tool == "static",
            f"it stands inside {path[-1] if path else ''}, which the static tool does not enter; {stored}",
        ),
        (tool == "static" and kind in RECURRENT, f"the static tool knows no recurrent layer; {lstm}{stored}"),
        (
            tool == "dynamic" and kind in ("GRU", "RNN", "ConvTranspose"),
            f"the dynamic tool does not know it; {transposed}{stored}",
        ),
        (kind in ("Einsum", "Attention"), "the tool does not know this operator"),
        (tool == "weights", "its weights are not those of one layer along one axis"),
    )
    if tool == "static" and kind == "ConvTranspose":
        return "format='qoperator' has no form of it, and 'qdq' has"
    passed_over = "the tool passed over it: its weights or its input are of a kind or rank that it does not take"
    return next((reason for holds, reason in reasons if holds), passed_over)
