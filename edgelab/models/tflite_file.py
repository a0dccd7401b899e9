"""What a TensorFlow Lite file holds, read from its flatbuffer without running it.

It runs in a child process (`edgelab.measure.inspect`); `edgelab.models.flatbuffer` does the checked reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.models import tflite_shapes
from edgelab.models.facts import facts, granularity
from edgelab.models.flatbuffer import FlatReader, sound

# Operands that are weights and bias, and what one output element of the operator costs in multiply-accumulates.
_WEIGHTED = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "CONV_3D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
    "BATCH_MATMUL": (1, 2),
}
_PASS_ON = frozenset({"DENSIFY", "DEQUANTIZE", "QUANTIZE", "CAST", "RESHAPE", "TRANSPOSE"})
_QUANTIZED = frozenset({"int8", "uint8", "int16", "int4", "uint4", "int2"})
_HALVES = frozenset({"float16", "bfloat16"})
_STORED_SMALL = _QUANTIZED | _HALVES
_NOT_WEIGHTS = frozenset({"INT32", "INT64", "UINT32", "UINT64", "BOOL", "STRING", "RESOURCE", "VARIANT"})


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: tuple[int | None, ...]
    type: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    stored_bytes: int
    converted: tuple[int, ...] = ()
    """The sizes that the converter wrote, 1 for most that are open."""
    seen: tuple[int | None, ...] = ()
    """The sizes that an input with open axes was converted with; none where they are the converter's 1."""

    @property
    def dtype(self) -> str:
        return self.type.lower()

    @property
    def elements(self) -> int | None:
        sizes = [n for n in self.shape if n is not None]
        return math.prod(sizes) if len(sizes) == len(self.shape) else None


@dataclass(frozen=True)
class _Weight:
    tensor: _Tensor
    operator: str
    """The operator whose weights they are; empty for a bias and for the constants of other operators."""

    @property
    def per_channel(self) -> bool | None:
        """Whether the weights have a scale a channel; None where they are not quantized or have one channel."""
        scales = self.tensor.scales
        if not self.operator or not scales or self.tensor.dtype not in _QUANTIZED:
            return None
        channels = self.tensor.shape[-1 if self.operator == "DEPTHWISE_CONV_2D" else 0] if self.tensor.shape else 1
        return None if channels == 1 else len(scales) > 1


class Host:
    """The child's side of `edgelab.measure.inspect.inspect_model` for .tflite files."""

    def __init__(self, path: str, shapes: Mapping[str, Sequence[int | None]] | None = None) -> None:
        self._path = path
        self._shapes = shapes or {}

    def describe(self) -> dict[str, Any]:
        """The facts of the file as JSON-ready data."""
        return read(self._path, self._shapes)


def read(path: str, shapes: Mapping[str, Sequence[int | None]] | None = None) -> dict[str, Any]:
    """The facts of a .tflite file; see `edgelab.models.facts.facts`.

    ``shapes`` are sizes for the open axes of inputs by name; where none stays open, LiteRT works out the other
    tensors' (it prepares the graph and runs nothing).

    Raises
    ------
    BadFile
        If the file is damaged: something lies outside of it, refers to what is not there, or is absurdly large.
    MissingFramework
        If ai-edge-litert, which brings the schema, is not installed.
    """
    content = Path(path).read_bytes()
    with sound(path):
        return _facts(FlatReader(path, content), shapes or {})


def _facts(reader: FlatReader, given: Mapping[str, Sequence[int | None]]) -> dict[str, Any]:
    model = reader.model
    codes = [_code(reader, code) for code in reader.each(model.OperatorCodes, model.OperatorCodesLength())]
    buffers = [reader.stored_bytes(buffer) for buffer in reader.each(model.Buffers, model.BuffersLength())]
    graphs = reader.graphs()
    layers: list[dict[str, Any]] = []
    weights: list[_Weight] = []
    activations: set[str] = set()
    tables: list[list[_Tensor]] = []
    for number, graph in enumerate(graphs):
        tensors = [_tensor(reader, t, buffers) for t in reader.each(graph.Tensors, graph.TensorsLength())]
        tables.append(tensors)
        operators = [
            (codes[o.OpcodeIndex()], *reader.operands(o, len(tensors)))
            for o in reader.each(graph.Operators, graph.OperatorsLength())
        ]
        sizes = (
            _sizes(str(reader.path), tensors, reader.borders(graph, len(tensors))[0], given) if number == 0 else None
        )
        layers += _layers(operators, tensors, weights, sizes)
        activations |= {
            tensors[i].dtype
            for kind, inputs, outputs in operators
            for i in ([*inputs[:1], *outputs] if kind in _WEIGHTED else [])
            if i >= 0
        }
    inputs, outputs = reader.borders(graphs[0], len(tables[0]))
    return facts(
        format="tflite",
        producer=reader.text(model.Description()) or "unknown",
        version={"schema": int(model.Version())},
        inputs=[_info(tables[0][i]) for i in inputs],
        outputs=[_info(tables[0][i]) for i in outputs],
        quantization=_quantization(layers, weights, activations),
        layers=layers,
        weight_bytes=_weight_bytes(weights),
        external_bytes=0,
        hints={tables[0][i].name: list(tables[0][i].seen) for i in inputs if any(tables[0][i].seen)},
    )


def _code(reader: FlatReader, code: Any) -> str:
    name, custom = reader.code(code)
    return f"CUSTOM {name}" if custom else name


def _tensor(reader: FlatReader, tensor: Any, buffers: Sequence[int]) -> _Tensor:
    kind = reader.element_type(tensor)
    shape = _shape(reader, tensor)
    quantization = tensor.Quantization()
    scales, zero_points = reader.scales(quantization) if quantization is not None else ((), ())
    stored = buffers[tensor.Buffer()] if tensor.Buffer() else 0
    sizes = tuple(reader.shape(tensor))
    seen = tuple(n if w is not None or n > 1 else None for n, w in zip(sizes, shape, strict=True))
    told = seen if any(w is None and n is not None for n, w in zip(seen, shape, strict=True)) else ()
    made = _Tensor(reader.text(tensor.Name()), shape, kind, scales, zero_points, stored, sizes, told)
    if stored and tensor.Sparsity() is None and made.elements is not None:
        reader.needs(made.name, kind, made.elements, stored)
    return made


def _shape(reader: FlatReader, tensor: Any) -> tuple[int | None, ...]:
    """The shape as converted, with None where the signature leaves a dimension open."""
    shape = reader.shape(tensor)
    signature = reader.numbers(tensor.ShapeSignature, tensor.ShapeSignatureLength())
    if len(signature) == len(shape):
        return tuple(None if s < 0 else n for s, n in zip(signature, shape, strict=True))
    return tuple(None if n < 0 else n for n in shape)


def _layers(
    operators: Sequence[tuple[str, list[int], list[int]]],
    tensors: Sequence[_Tensor],
    weights: list[_Weight],
    sizes: Sequence[Sequence[int | None]] | None,
) -> list[dict[str, Any]]:
    """One entry an operator; constants are counted at their first reader, through casts and dequantization.

    ``sizes`` are the shapes by which multiply-accumulates are counted; None in a graph that another one calls, nobody
    knows how often.
    """
    constant = {i: i for i, tensor in enumerate(tensors) if tensor.stored_bytes}
    for kind, inputs, outputs in operators:
        if kind in _PASS_ON and inputs and outputs and inputs[0] in constant:
            constant[outputs[0]] = constant[inputs[0]]
    seen: set[int] = set()
    layers = []
    for kind, inputs, outputs in operators:
        passes = kind in _PASS_ON and bool(inputs) and inputs[0] in constant
        parameters = 0
        for place, index in enumerate([] if passes else inputs):
            source = constant.get(index)
            if source is None or source in seen:
                continue
            tensor = tensors[source]
            bias = kind in _WEIGHTED and place == _WEIGHTED[kind][1]
            if tensor.type in _NOT_WEIGHTS and not bias:
                continue
            seen.add(source)
            parameters += tensor.elements or 0
            weights.append(_Weight(tensor, kind if kind in _WEIGHTED and place == _WEIGHTED[kind][0] else ""))
        out = tensors[outputs[0]] if outputs and outputs[0] >= 0 else None
        weighted = kind in _WEIGHTED
        operand = tensors[constant.get(inputs[1], inputs[1])] if weighted and len(inputs) > 1 else None
        layers.append(
            {
                "name": out.name if out else "",
                "type": kind,
                "macs": _macs(kind, inputs, outputs, sizes) if weighted else (None if kind.startswith("CUSTOM") else 0),
                "parameters": parameters,
                "shape": list(out.shape) if out else [],
                "dtype": out.dtype if out else "none",
                "quantized": (operand.dtype in _STORED_SMALL if operand else False) if weighted else None,
                "inside": "another graph" if sizes is None else "",
            }
        )
    return layers


def _sizes(
    path: str, tensors: Sequence[_Tensor], inputs: Sequence[int], given: Mapping[str, Sequence[int | None]]
) -> list[tuple[int | None, ...]]:
    """The shape of every tensor of the main graph, with an open batch of 1 and the sizes given for other open axes."""
    wanted = {i: tuple(given.get(tensors[i].name, tensors[i].shape)) for i in inputs}
    for i, shape in wanted.items():
        if shape[:1] == (None,) and tensors[i].name not in given:
            wanted[i] = (1, *shape[1:])
    as_converted = all(shape == tensors[i].converted for i, shape in wanted.items())
    if as_converted:
        return [tensor.converted for tensor in tensors]
    if any(shape[:1] == (None,) for shape in wanted.values()):  # a length, no batch
        return [t.shape for t in tensors]
    if any(None in shape for shape in wanted.values()):
        return [(1, *t.shape[1:]) if t.shape[:1] == (None,) else t.shape for t in tensors]
    found = tflite_shapes.resized(path, {i: [n for n in shape if n is not None] for i, shape in wanted.items()})
    return [found.get(i, tensor.shape) for i, tensor in enumerate(tensors)]


def _macs(
    kind: str, inputs: Sequence[int], outputs: Sequence[int], sizes: Sequence[Sequence[int | None]] | None
) -> int | None:
    """Multiply-accumulates of one operator; None where a shape is not known."""
    if sizes is None or not outputs or len(inputs) < 2 or min(inputs[0], inputs[1], outputs[0]) < 0:
        return None
    produced, first, second = (sizes[i] for i in (outputs[0], inputs[0], inputs[1]))
    if kind == "BATCH_MATMUL":
        return _product(produced, first[-1:]) if len(first) > 1 else None
    if kind == "FULLY_CONNECTED":
        return _product(produced, second[-1:]) if len(second) == 2 else None
    if len(second) < 4:
        return None
    if kind == "TRANSPOSE_CONV":
        return _product(sizes[inputs[2]], second[:3]) if len(inputs) > 2 and inputs[2] >= 0 else None
    taps = {"CONV_2D": second[1:], "DEPTHWISE_CONV_2D": second[1:3], "CONV_3D": second[:4]}[kind]
    return _product(produced, taps)


def _product(*parts: Sequence[int | None]) -> int | None:
    whole = [size for part in parts for size in part]
    known = [size for size in whole if size is not None]
    return math.prod(known) if len(known) == len(whole) else None


def _quantization(
    layers: Sequence[dict[str, Any]], weights: Sequence[_Weight], activations: set[str]
) -> dict[str, Any]:
    main = [weight.tensor for weight in weights if weight.operator]
    quantized = [tensor for tensor in main if tensor.dtype in _QUANTIZED and tensor.scales]
    half = [tensor for tensor in main if tensor.dtype in _HALVES]
    through_dequantize = any(layer["type"] == "DEQUANTIZE" and layer["parameters"] == 0 for layer in layers)
    integer = activations & _QUANTIZED
    if integer:
        kind = "static"
    elif quantized:
        kind = "weights_only" if through_dequantize else "dynamic"
    else:
        kind = "weights_only" if half else "none"
    weighted = [layer["quantized"] for layer in layers if layer["quantized"] is not None]
    return {
        "kind": kind,
        "scheme": "TFLite" if kind != "none" else None,
        "granularity": granularity([flag for weight in weights if (flag := weight.per_channel) is not None]),
        "weights": sorted({tensor.dtype for tensor in (quantized or half)}) if kind != "none" else [],
        "activations": sorted(integer),
        "weighted_operators": len(weighted),
        "quantized_operators": sum(weighted),
    }


def _weight_bytes(weights: Sequence[_Weight]) -> dict[str, int]:
    total: dict[str, int] = {}
    for weight in weights:
        dtype = weight.tensor.dtype
        total[dtype] = total.get(dtype, 0) + weight.tensor.stored_bytes
    return total


def _info(tensor: _Tensor) -> dict[str, Any]:
    single = len(tensor.scales) == 1
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": tensor.scales[0] if single else None,
        "zero_point": tensor.zero_points[0] if single and tensor.zero_points else None,
    }
