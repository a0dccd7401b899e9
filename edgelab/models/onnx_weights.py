"""The weights of an ONNX graph: which constants they are, who computes with them, how they are quantized."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelab.models.facts import granularity

# Places of weights (first) and bias among the inputs of operators that multiply and accumulate.
WEIGHTED = {
    "Conv": (1, 2),
    "FusedConv": (1, 2),
    "NhwcFusedConv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "FusedGemm": (1, 2),
    "MatMul": (1, -1),
    "FusedMatMul": (1, -1),
    "ConvInteger": (1, -1),
    "MatMulInteger": (1, -1),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3, -1),
    "QGemm": (3, 6),
    "DynamicQuantizeMatMul": (1, 4),
    "MatMulIntegerToFloat": (1, 6),
    "MatMulNBits": (1, 5),
}
CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "ConvInteger", "QLinearConv"})
_QOPERATORS = frozenset({"QLinearConv", "QLinearMatMul", "QGemm"})
_DYNAMIC = frozenset({"ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"})
_BLOCKWISE = "MatMulNBits"
# Where the scale of the weights stands among the inputs.
_WEIGHT_SCALES = {
    "QLinearConv": 4,
    "QLinearMatMul": 4,
    "QGemm": 4,
    "DynamicQuantizeMatMul": 2,
    "MatMulIntegerToFloat": 3,
}
_PASS_ON = frozenset(
    {"DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze"}
)
# What they make of constants alone is still constants: exporters cut the gates of recurrent weights and reorder them.
_REARRANGE = frozenset({"Concat", "Slice", "Split"})
# Their constants set a limit, a size or a place, and are no parameters.
_SETTINGS = frozenset({"Clip", "Resize", "Upsample", "Pad", "Dropout", "Range", "Slice", "TopK", "Expand", "OneHot"})
# Bits of an element by the name in TensorProto.DataType; text has no fixed size.
BITS = {
    "COMPLEX128": 128,
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("INT8", "UINT8", "BOOL", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 8),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT2", "UINT2"), 2),
    "STRING": 0,
}
_NOT_WEIGHTS = frozenset({"int32", "int64", "uint32", "uint64", "bool", "string"})
_QUANTIZED = frozenset({"int8", "uint8", "int16", "uint16", "int4", "uint4", "int2", "uint2"})


@dataclass(frozen=True)
class Constant:
    """A tensor stored in the file: its shape, element type and size."""

    dims: tuple[int, ...]
    dtype: str
    stored_bytes: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)


class Weights:
    """Follows constants through casts and dequantization to the operators that compute with them.

    The nodes have to be given to `count` in the order of the graph.
    """

    def __init__(self, constants: Mapping[str, Constant]) -> None:
        self._constants = constants
        self._sources: dict[str, tuple[str, ...]] = {name: (name,) for name in constants}
        self._scale: dict[str, tuple[str, bool]] = {}
        self._dynamic_scales: set[str] = set()
        self._seen: set[str] = set()
        self.bytes_by_type: dict[str, int] = {}
        self.main_types: set[str] = set()
        self.per_channel: list[bool] = []
        self.blocks = False

    def count(self, node: Any) -> int:
        """The parameters that ``node`` is the first to read."""
        kind, inputs = str(node.op_type), list(node.input)
        if kind in _PASS_ON and inputs and inputs[0] in self._sources:
            self._pass_on(node)
            return 0
        if kind in _REARRANGE and inputs and all(name in self._sources for name in inputs if name):
            data = inputs if kind == "Concat" else inputs[:1]
            held = tuple(dict.fromkeys(source for name in data for source in self._sources.get(name, ())))
            self._sources.update(dict.fromkeys(node.output, held))
            return 0
        if kind == "DynamicQuantizeLinear":
            self._dynamic_scales.update(node.output[1:2])
        if kind == "Mul" and any(name in self._dynamic_scales for name in inputs):
            # The scale of an input that is quantized while it runs, times the scale of the weights.
            constants = [self._constants[name] for name in inputs if name in self._constants]
            self.per_channel += [constant.elements > 1 for constant in constants]
            return 0
        return sum(self._parameters(node, place) for place in _places(kind, len(inputs)))

    def quantized(self, node: Any) -> bool | None:
        """Whether an operator with weights has quantized ones; None for an operator that has none."""
        kind = node.op_type
        if kind not in WEIGHTED:
            return None
        if kind in _QOPERATORS or kind in _DYNAMIC or kind == _BLOCKWISE:
            return True
        sources = self._sources.get(node.input[1], ()) if len(node.input) > 1 else ()
        return any(self._constants[source].dtype in _QUANTIZED for source in sources)

    def _pass_on(self, node: Any) -> None:
        given = node.input[0]
        for name in node.output[:1]:
            self._sources[name] = self._sources[given]
            if node.op_type == "DequantizeLinear" and len(node.input) > 1:
                self._scale[name] = (node.input[1], integer(node, "block_size") > 0)
            elif given in self._scale:
                self._scale[name] = self._scale[given]

    def _parameters(self, node: Any, place: int) -> int:
        return sum(self._part(node, place, source) for source in self._sources.get(node.input[place], ()))

    def _part(self, node: Any, place: int, source: str) -> int:
        kind, name = str(node.op_type), node.input[place]
        if source in self._seen:
            return 0
        constant = self._constants[source]
        main = kind in WEIGHTED and place == WEIGHTED[kind][0]
        bias = kind in WEIGHTED and place == WEIGHTED[kind][1]
        if constant.dtype in _NOT_WEIGHTS and not bias:
            return 0
        self._seen.add(source)
        dtype, elements = constant.dtype, constant.elements
        if kind == _BLOCKWISE and main:
            dtype, elements = f"uint{integer(node, 'bits', 4)}", integer(node, "K") * integer(node, "N")
        self.bytes_by_type[dtype] = self.bytes_by_type.get(dtype, 0) + constant.stored_bytes
        if main:
            self.main_types.add(dtype)
            self._note_scale(node, name)
        return elements

    def _note_scale(self, node: Any, weight: str) -> None:
        kind = node.op_type
        scale, block = self._scale.get(weight, ("", kind == _BLOCKWISE))
        if kind in _WEIGHT_SCALES and len(node.input) > _WEIGHT_SCALES[kind]:
            scale = node.input[_WEIGHT_SCALES[kind]]
        self.blocks |= block
        sources = self._sources.get(scale, ())
        if sources and not block:
            self.per_channel.append(sum(self._constants[source].elements for source in sources) > 1)


def quantization(
    nodes: Sequence[Any],
    layers: Sequence[Mapping[str, Any]],
    weights: Weights,
    constants: Mapping[str, Constant],
    kinds: Mapping[str, str],
) -> dict[str, Any]:
    """How the graph is quantized, as `edgelab.measure.inspect.Quantization` states it."""
    present = {node.op_type for node in nodes}
    activations = {
        kinds.get(node.output[0], "unknown")
        for node in nodes
        if node.op_type == "QuantizeLinear" and node.output and node.input and node.input[0] not in constants
    }
    if "DynamicQuantizeLinear" in present or present & {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"}:
        activations.add("uint8")
    found = weights.main_types & _QUANTIZED
    scheme: str | None
    if present & _QOPERATORS:
        kind, scheme = "static", "QOperator"
    elif present & _DYNAMIC:
        kind, scheme = "dynamic", "QOperator"
    elif "DequantizeLinear" in present and activations:
        kind, scheme = "static", "QDQ"
    elif _BLOCKWISE in present:
        kind, scheme, activations = "weights_only", _BLOCKWISE, set()
    elif "DequantizeLinear" in present and found:
        kind, scheme, activations = "weights_only", "QDQ", set()
    else:
        kind, scheme, activations, found = "none", None, set(), set()
    weighted = [layer["quantized"] for layer in layers if layer["quantized"] is not None]
    shared = "per_block" if weights.blocks and not weights.per_channel else granularity(weights.per_channel)
    return {
        "kind": kind,
        "scheme": scheme,
        "granularity": shared if kind != "none" else None,
        "weights": sorted(found),
        "activations": sorted(activations),
        "weighted_operators": len(weighted),
        "quantized_operators": sum(weighted),
    }


def integer(node: Any, name: str, default: int = 0) -> int:
    """An integer attribute of a node."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _places(kind: str, count: int) -> Sequence[int]:
    """Which inputs of an operator may hold parameters."""
    if kind in _QOPERATORS or kind in _DYNAMIC or kind == _BLOCKWISE:
        return [place for place in WEIGHTED[kind] if 0 <= place < count]
    no_parameters = kind in _SETTINGS or kind in _PASS_ON or kind.startswith(("QLinear", "DynamicQuantize"))
    return [] if no_parameters else range(count)
