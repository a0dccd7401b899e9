"""What ONNX Runtime really executes of a file, read from the graph that it optimises for itself.

A file that says int8 need not run in int8: a pair of QuantizeLinear and DequantizeLinear is merged into the operator
between them only where there is a kernel for it. What is left over runs in float32, and takes longer than the float
file did.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.compress.modelfile import session
from edgelab.errors import BadFile
from edgelab.files import expanded
from edgelab.quiet import first_line

LAYERS = frozenset(
    {"Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "LSTM", "GRU", "RNN"}
)  # fmt: skip
NBITS = "MatMulNBits"
HEAVY = LAYERS | {NBITS}
_MOVES = frozenset({"Shape", "Size", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Gather", "Concat", "Slice", "Expand"})
_INTEGER = frozenset({"ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QGemm"})
_INTEGER |= {"MatMulIntegerToFloat", "QAttention", "QEmbedLayerNormalization"}
_INTEGER_LAYERS = _INTEGER | {"QLinearConv", "QLinearMatMul", NBITS}
_PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})
_KINDS = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool"}
_KINDS |= {10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16", 21: "uint4", 22: "int4"}
_RESULTS = dict.fromkeys(("Shape", "Size", "ArgMax", "ArgMin", "NonZero"), "int64")
_RESULTS |= dict.fromkeys(("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Not", "And", "Or"), "bool")
_RESULTS |= dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLSTM", NBITS), "float32")
_RESULTS |= dict.fromkeys(("ConvInteger", "MatMulInteger"), "int32")
_OF_TEXT = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Ran:
    """One operator as it runs: its kind, the element type it computes in, the node of the file that it stands for.

    ``fused`` says whether it works on 8-bit integers itself, without conversions around it.
    """

    operator: str
    type: str
    where: str
    fused: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: operator, type, where, fused."""
        return dict(vars(self))


@dataclass(frozen=True)
class WhatRan:
    """The operators of a file as they run, in order, and the widths of the weights that are unpacked for them.

    ``pairs`` counts conversions of activations to and from integers; ``weighted`` names the layers with weights.
    """

    operators: tuple[Ran, ...]
    unpacked: Mapping[str, str]
    pairs: int
    weighted: frozenset[str] = frozenset()

    def in_float(self) -> tuple[Ran, ...]:
        """The layers with weights that compute in floating point."""
        return tuple(
            o for o in self.operators if o.where in self.weighted and o.operator in HEAVY and o.type.startswith("float")
        )

    def in_integers(self) -> tuple[Ran, ...]:
        """The convolutions, matrix products and recurrent layers that compute on integers."""
        return tuple(o for o in self.operators if o.fused and o.operator in _INTEGER_LAYERS)

    def unfused(self) -> dict[str, list[str]]:
        """What runs in floating point between conversions to and from integers: the nodes of each kind of operator."""
        by_kind: dict[str, list[str]] = {}
        for one in self.operators:
            layer = one.operator in HEAVY and one.where in self.weighted
            if self.pairs and one.type.startswith("float") and not layer and one.operator not in _PAIR | _MOVES:
                by_kind.setdefault(one.operator, []).append(one.where)
        return by_kind

    def warnings(self, kept: Collection[str] = ()) -> list[str]:
        """A sentence for each layer that ran in float, each kind of operator that was not fused, and unpacked weights.

        ``kept`` are nodes that were meant to stay in float.
        """
        said = []
        floats = self.in_float()
        for width in sorted(set(self.unpacked.values())):
            named = [o.where for o in floats if self.unpacked.get(o.where) == width]
            if named:
                said.append(
                    f"{_count(named, 'layer')} {'holds' if len(named) == 1 else 'hold'} weights of {width} that ONNX "
                    f"Runtime unpacks and computes in float32: the file is smaller, and not faster ({_list(named)})."
                )
        for one in floats:
            if one.where in self.unpacked:
                continue
            why = "it was kept in float" if one.where in kept else _why(one.operator)
            said.append(f"{one.where} ({one.operator}) ran in {one.type}: {why}.")
        for kind, named in self.unfused().items():
            said.append(
                f"{kind} was not fused and ran in float32 between conversions to and from integers "
                f"({_count(named, 'time')}: {_list(named)})."
            )
        return said

    def to_dict(self) -> list[dict[str, Any]]:
        """As JSON-ready data: a list with operator, type, where, fused of each."""
        return [one.to_dict() for one in self.operators]


def what_ran(path: str | os.PathLike[str]) -> WhatRan:
    """Read from ONNX Runtime's optimised graph which operators of an .onnx file run, and in which type.

    Raises
    ------
    BadFile
        If ONNX Runtime does not load the file.
    """
    import onnx

    with tempfile.TemporaryDirectory(prefix="edgelab-") as folder:
        optimised = Path(folder, "optimised.onnx")
        try:
            runtime = session(expanded(path), optimised)
            model = onnx.load(str(optimised))
        except Exception as error:
            raise BadFile(f"ONNX Runtime cannot load {path}: {first_line(error)}.") from error
    types = {node.name: _of_text(node.type) for node in runtime.get_inputs()}
    return _read(model, types, [node.name for node in onnx.load(os.fspath(path), load_external_data=False).graph.node])


def _read(model: Any, types: dict[str, str], names: Sequence[str]) -> WhatRan:
    graph = model.graph
    types |= {constant.name: _KINDS.get(constant.data_type, "none") for constant in graph.initializer}
    constants = {constant.name for constant in graph.initializer}
    unpacked_from: dict[str, str] = {}
    ran, unpacked, pairs = [], {}, 0
    known, weighted = set(names), set[str]()
    for node in graph.node:
        inputs = [name for name in node.input if name]
        kind = next((types[name] for name in inputs if name in types), "none")
        options = {a.name: a for a in node.attribute}
        where = _where(node, known)
        if node.op_type in HEAVY and len(inputs) > 1 and (inputs[1] in constants or inputs[1] in unpacked_from):
            weighted.add(where)
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            unpacked_from[node.output[0]] = types[node.input[0]]
        elif node.op_type in _PAIR:
            pairs += 1
        fused = node.op_type in _INTEGER or (kind in ("int8", "uint8") and node.op_type not in _PAIR)
        if node.op_type == NBITS:
            bits = options["bits"].i if "bits" in options else 4
            fused = "accuracy_level" in options and options["accuracy_level"].i == 4
            if not fused:
                unpacked[where] = f"{bits} bits"
            kind = "int8" if fused else kind
        elif node.op_type in LAYERS and len(inputs) > 1 and inputs[1] in unpacked_from:
            unpacked[where] = f"{_bits(unpacked_from[inputs[1]])} bits"
        ran.append(Ran(node.op_type, kind, where, fused))
        for place, name in enumerate(node.output):
            types[name] = _result(node, kind, types, options)
            if node.op_type == "DynamicQuantizeLinear":  # the numbers, their scale, their zero point
                types[name] = ("uint8", "float32", "uint8")[place]
    return WhatRan(tuple(ran), unpacked, pairs, frozenset(weighted))


def _where(node: Any, known: Collection[str]) -> str:
    """The node of the file that an optimised node stands for; its own name where none is found."""
    if node.name in known:
        return str(node.name)
    best = max((name for name in known if name and node.name.startswith(name)), key=len, default="")
    return best or str(node.name or node.output[0])


def _result(node: Any, kind: str, types: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """The element type of what a node puts out; that of its first input, where nothing else is known."""
    found = _RESULTS.get(node.op_type, kind)
    if node.op_type == "DequantizeLinear":
        found = types.get(node.input[1], "float32")
    elif node.op_type == "QuantizeLinear":
        found = types.get(node.input[2], "uint8") if len(node.input) > 2 else "uint8"
    elif node.op_type == "Cast":
        found = _KINDS.get(options["to"].i, "none")
    elif node.op_type == "Where":
        found = types.get(node.input[1], kind)
    elif node.op_type == "QGemm" and len(node.input) < 8:  # no scale for its output: it gives real numbers
        found = "float32"
    return found


def _of_text(kind: str) -> str:
    inner = kind[len("tensor(") : -1] if kind.startswith("tensor(") else kind
    return _OF_TEXT.get(inner, inner)


def _bits(kind: str) -> int:
    return int("".join(c for c in kind if c.isdigit()) or 32)


def _why(operator: str) -> str:
    if operator in ("ConvTranspose", "LSTM", "GRU", "RNN"):
        return f"ONNX Runtime has no 8-bit kernel for {operator} on a CPU"
    return "its quantization was not merged into it"


def _count(named: Sequence[str], what: str) -> str:
    return f"{len(named)} {what}{'' if len(named) == 1 else 's'}"


def _list(named: Sequence[str], most: int = 12) -> str:
    rest = len(named) - most
    return ", ".join(named[:most]) + (f" and {rest} more" if rest > 0 else "")
