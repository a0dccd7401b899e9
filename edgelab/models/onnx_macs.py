"""Multiply-accumulates of one ONNX operator by the shapes at its borders; None where they cannot be known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgelab.models.onnx_weights import CONVOLUTIONS, WEIGHTED, integer

Shape = tuple[int | None, ...]
# Operators of these multiply nothing unless they are listed below; what others do only their makers know.
_KNOWN_DOMAINS = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"}
)
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
# They multiply, and how much is not read off the shapes here.
_UNCOUNTED = frozenset(
    {
        "Attention",
        "DecoderMaskedMultiHeadAttention",
        "DeformConv",
        "DynamicQuantizeLSTM",
        "GroupQueryAttention",
        "LongformerAttention",
        "MoE",
        "MultiHeadAttention",
        "PackedAttention",
        "PackedMultiHeadAttention",
        "QAttention",
        "SparseAttention",
    }
)


def macs(node: Any, shapes: Mapping[str, Shape | None]) -> int | None:
    """Multiply-accumulates of an operator; 0 for one that multiplies no matrices, None where they cannot be known."""
    kind = str(node.op_type)
    if node.domain not in _KNOWN_DOMAINS or kind in _UNCOUNTED:
        return None
    if kind in _RECURRENT:
        return _recurrent(node, shapes)
    if kind == "Einsum":
        return _einsum(node, shapes)
    return _weighted(node, shapes) if kind in WEIGHTED else 0


def _weighted(node: Any, shapes: Mapping[str, Shape | None]) -> int | None:
    kind, inputs = node.op_type, list(node.input)
    place = WEIGHTED[kind][0]
    if not node.output or len(inputs) <= place:
        return None
    out, first, weight = (_known(shapes, name) for name in (node.output[0], inputs[0], inputs[place]))
    if kind == "ConvTranspose":
        return math.prod(first) * math.prod(weight[1:]) if first and weight else None
    if kind in CONVOLUTIONS:
        return math.prod(out) * math.prod(weight[1:]) if out is not None and weight else None
    if out is None or not first:
        return None
    if kind == "MatMulNBits":
        return math.prod(out) * integer(node, "K")
    return math.prod(out) * (first[-2] if integer(node, "transA") and len(first) > 1 else first[-1])


def _recurrent(node: Any, shapes: Mapping[str, Shape | None]) -> int | None:
    """Every moment of every item meets all weights: input (moments, items, I), W (directions, gates, I), R."""
    if len(node.input) < 3:
        return None
    x, w, r = (_known(shapes, name) for name in node.input[:3])
    return None if x is None or w is None or r is None or len(x) != 3 else x[0] * x[1] * (math.prod(w) + math.prod(r))


def _einsum(node: Any, shapes: Mapping[str, Shape | None]) -> int | None:
    """Two operands: the product of the sizes of all letters; with more the order of the products decides."""
    equation = next((a.s.decode("ascii", "replace") for a in node.attribute if a.name == "equation"), "")
    terms = equation.replace(" ", "").split("->")[0].split(",")
    if len(terms) != len(node.input) or len(terms) > 2 or "." in equation:
        return None
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        shape = _known(shapes, name)
        if shape is None or len(shape) != len(term):
            return None
        sizes |= dict(zip(term, shape, strict=True))
    return math.prod(sizes.values()) if len(terms) == 2 else 0


def _known(shapes: Mapping[str, Shape | None], name: str) -> tuple[int, ...] | None:
    shape = shapes.get(name)
    if shape is None:
        return None
    sizes = tuple(n for n in shape if n is not None)
    return sizes if len(sizes) == len(shape) else None
