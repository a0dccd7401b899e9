"""A .tflite model as plain data: tensors, operators, options and metadata, checked while they are read.

Everything in this room that looks into a model file looks through `read_model`.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadFile, BadInput
from edgelab.models.flatbuffer import BITS, FlatReader, enum_names, sound
from edgelab.models.formats import existing_file, model_format
from edgelab.reading import Table

# Options whose number is a value of an enumeration of the schema.
_ENUMS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "kernel_type": "LSTMKernelType",
    "combiner": "CombinerType",
    "mode": "MirrorPadMode",
    "reduce_function": "ReduceWindowFunction",
    "algorithm": "RngAlgorithm",
    **dict.fromkeys(
        (
            "quantized_bias_type",
            "in_data_type",
            "out_data_type",
            "output_type",
            "out_type",
            "idx_out_type",
            "key_dtype",
            "value_dtype",
        ),
        "TensorType",
    ),
}
_N = TypeVar("_N", int, float)
_OFFLINE_PLAN = "OfflineMemoryAllocation"
_MOST_STEPS = 100_000
_DEEPEST = 32
# Operators that decide which graphs run, and their options that name those.
_CONTROL_FLOW = {
    "IF": ("then_subgraph_index", "else_subgraph_index"),
    "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
}


@dataclass(frozen=True)
class Quantization:
    """How integers stand for real numbers: ``real = scale * (q - zero_point)``.

    ``scales`` are the file's float32 values, exact as Python floats, one a tensor or one a channel along ``axis``.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int

    @property
    def per_channel(self) -> bool:
        """Whether there is a scale a channel."""
        return len(self.scales) > 1

    @property
    def scale(self) -> float:
        """The single scale.

        Raises
        ------
        BadInput
            If there is one a channel.
        """
        return _single(self.scales, "scales")

    @property
    def zero_point(self) -> int:
        """The single zero point; 0 where the file states none."""
        return _single(self.zero_points, "zero points") if self.zero_points else 0


@dataclass(frozen=True)
class Tensor:
    """One tensor of the graph; ``dtype`` is numpy's name, ``data`` None where it is not a constant."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None
    data: bytes | None = field(repr=False)
    variable: bool

    @property
    def elements(self) -> int:
        """How many elements it has; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """The bytes of all elements; 0 for types without a size (strings, resources)."""
        return math.ceil(self.elements * BITS.get(self.dtype.upper(), 0) / 8)

    def array(self) -> NDArray[Any]:
        """The constant as a read-only array of its shape.

        Raises
        ------
        BadInput
            If the tensor is no constant, is stored sparsely, or has a type that numpy does not know.
        """
        if self.data is None:
            raise BadInput(f"The tensor '{self.name}' is computed by the model and holds no constant.")
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            dtype = None
        # another package may have taught numpy a type of half bytes, of which it stores one a byte
        if dtype is None or 8 * dtype.itemsize != BITS.get(self.dtype.upper()):
            raise BadInput(f"The tensor '{self.name}' is of type {self.dtype}, which numpy does not know.")
        if len(self.data) < self.size_bytes:
            raise BadInput(f"The tensor '{self.name}' is stored sparsely; only dense constants can be read.")
        return np.frombuffer(self.data, dtype, self.elements).reshape(self.shape)


@dataclass(frozen=True)
class Operator:
    """One operator: its name in the schema (``"CONV_2D"``; a custom one its own name), operands and options.

    Operands are indices of tensors, -1 for an optional input that is left out. ``options`` are named as in the
    schema, in snake case, enumerations by name: ``stride_h``, ``padding`` (``"SAME"``), ``fused_activation_function``
    (``"RELU6"``). A custom operator's are its raw bytes under ``"custom_options"``.
    """

    index: int
    code: str
    custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Subgraph:
    """A graph that an operator of another one runs; ``once``: CALL_ONCE runs it, in the first inference alone.

    Its operators are numbered on from those of the graph before, its tensors stand behind those in the model's.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...] = field(repr=False)
    once: bool


@dataclass(frozen=True)
class Model:
    """A .tflite model: ``operators`` are those of its main graph.

    A model that keeps state in resource variables has further graphs, which CALL_ONCE runs to give the variables their
    values, and so has one with control flow: IF runs one of two, WHILE two again and again. ``subgraphs`` are those;
    ``tensors`` holds the tensors of all graphs.

    ``offline_offsets`` are those of the metadata ``OfflineMemoryAllocation``, one a tensor, -1 where the
    interpreter places it; None where the file has none.
    """

    path: Path
    content: bytes = field(repr=False)
    tensors: tuple[Tensor, ...] = field(repr=False)
    operators: tuple[Operator, ...] = field(repr=False)
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str
    offline_offsets: tuple[int, ...] | None = field(repr=False)
    metadata: Mapping[str, bytes] = field(repr=False)
    subgraphs: tuple[Subgraph, ...] = ()

    @property
    def graphs(self) -> int:
        """How many graphs it has."""
        return 1 + len(self.subgraphs)

    @property
    def all_operators(self) -> tuple[Operator, ...]:
        """The operators of all graphs; each stands at its index."""
        return (*self.operators, *(op for graph in self.subgraphs for op in graph.operators))

    @property
    def running(self) -> tuple[Operator, ...]:
        """The operators of all graphs that an inference may run, those apart that run once."""
        return (*self.operators, *(op for graph in self.subgraphs if not graph.once for op in graph.operators))

    @property
    def control_flow(self) -> str:
        """The first operator that decides what runs, ``"IF"`` or ``"WHILE"``; empty where each one runs once."""
        return next((op.code for op in self.running if op.code in _CONTROL_FLOW), "")

    def called(self, operator: Operator) -> tuple[Subgraph, ...]:
        """The graphs that an operator runs and that need memory for it, in the order of the interpreter's plan.

        A graph that CALL_ONCE runs needs none where it only hands constants to variables.
        """
        if operator.code == "CALL_ONCE":
            graph = self.subgraphs[operator.options["init_subgraph_index"] - 1]
            return (graph,) if any(self.tensors[i].size_bytes for op in graph.operators for i in op.outputs) else ()
        return tuple(self.subgraphs[operator.options[key] - 1] for key in _CONTROL_FLOW.get(operator.code, ()))

    @property
    def variables(self) -> dict[int, str]:
        """The shared names of resource variables, by the tensors that VAR_HANDLE makes."""
        handles = [op for op in self.all_operators if op.code == "VAR_HANDLE" and op.outputs]
        return {op.outputs[0]: str(op.options.get("shared_name", "")) for op in handles}

    def table(self) -> Table:
        """The operators with their outputs, one row each."""
        rows = [
            (op.index, op.code, out.name, "x".join(map(str, out.shape)), out.dtype, out.size_bytes)
            for op in self.operators
            for out in [self.tensors[i] for i in op.outputs[:1]]
        ]
        columns = ("step", "operator", "output", "shape", "type", "bytes")
        return Table(f"{self.path.name}: {len(self.operators)} operators, {len(self.tensors)} tensors", columns, rows)

    def __str__(self) -> str:
        return self.table().text()

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def read_model(path: str | os.PathLike[str]) -> Model:
    """Read a .tflite file without running it.

    Parameters
    ----------
    path
        The file. Its content decides, not its suffix; nothing in it is trusted.

    Raises
    ------
    BadFile
        If it is missing, truncated, damaged, of another format, or holds graphs that run one another in a circle.
    MissingFramework
        If ai-edge-litert, which brings the schema, is not installed.
    """
    file = existing_file(path)
    if model_format(file) != "tflite":
        raise BadFile(f"{file} is not a TensorFlow Lite model; convert it to .tflite first.")
    content = file.read_bytes()
    with sound(file):
        return _read(file, content)


def _read(file: Path, content: bytes) -> Model:
    reader = FlatReader(file, content)
    model = reader.model
    graphs = reader.graphs()
    codes = [
        (*reader.code(code), int(code.Version()))
        for code in reader.each(model.OperatorCodes, model.OperatorCodesLength())
    ]
    buffers = [reader.stored(b, content) for b in reader.each(model.Buffers, model.BuffersLength())]
    tensors: list[Tensor] = []
    operators: list[list[Operator]] = []
    edges: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for part in graphs:
        first, number = len(tensors), sum(map(len, operators))
        tensors += [
            _tensor(reader, i, t, buffers)
            for i, t in enumerate(reader.each(part.Tensors, part.TensorsLength()), start=first)
        ]
        own = enumerate(reader.each(part.Operators, part.OperatorsLength()), start=number)
        operators.append([_operator(reader, i, o, codes, len(tensors) - first, first) for i, o in own])
        inside, outside = reader.borders(part, len(tensors) - first)
        edges.append((tuple(first + i for i in inside), tuple(first + i for i in outside)))
    once = _calls(reader, operators)
    metadata = {
        reader.text(entry.Name()): buffers[entry.Buffer()] or b""
        for entry in reader.each(model.Metadata, model.MetadataLength())
    }
    return Model(
        path=file,
        content=content,
        tensors=tuple(tensors),
        operators=tuple(operators[0]),
        inputs=edges[0][0],
        outputs=edges[0][1],
        description=reader.text(model.Description()),
        offline_offsets=_offline(reader, metadata.get(_OFFLINE_PLAN), len(tensors)),
        metadata=metadata,
        subgraphs=tuple(
            Subgraph(*edges[number], tuple(operators[number]), number in once) for number in range(1, len(graphs))
        ),
    )


def _calls(reader: FlatReader, operators: Sequence[Sequence[Operator]]) -> set[int]:
    """Check that graphs run others that are there, and none itself; the numbers of those that CALL_ONCE runs."""
    once: set[int] = set()
    called: list[list[int]] = [[] for _ in operators]
    for number, part in enumerate(operators):
        for op in part:
            for key in (*_CONTROL_FLOW.get(op.code, ()), *(("init_subgraph_index",) if op.code == "CALL_ONCE" else ())):
                other = op.options.get(key)
                if not isinstance(other, int) or not 0 < other < len(operators):
                    raise reader.damaged(f"the operator {op.index}, {op.code}, runs a graph that is not there")
                called[number].append(other)
                once |= {other} if op.code == "CALL_ONCE" else set()
    steps: dict[int, tuple[int, int]] = {}  # of each graph with those that it runs: how many, and how deep
    while len(steps) < len(called):
        ends = [number for number, others in enumerate(called) if number not in steps and steps.keys() >= set(others)]
        if not ends:
            raise reader.damaged("its graphs run one another in a circle")
        for number in ends:
            inner = [steps[other] for other in called[number]]
            steps[number] = (
                len(operators[number]) + 1 + sum(count for count, _ in inner),
                1 + max((depth for _, depth in inner), default=0),
            )
    if max(count for count, _ in steps.values()) > _MOST_STEPS or max(deep for _, deep in steps.values()) > _DEEPEST:
        raise reader.damaged("its graphs run one another more often or deeper than a microcontroller could")
    return once


def _tensor(reader: FlatReader, index: int, tensor: Any, buffers: Sequence[bytes | None]) -> Tensor:
    kind = reader.element_type(tensor)
    name = reader.text(tensor.Name())
    shape = reader.shape(tensor)
    if min(shape, default=1) < 0:
        raise reader.damaged(f"the tensor '{name}' has a dimension below zero")
    stored = tensor.Quantization()
    quantization = None
    if stored is not None and stored.ScaleLength():
        scales, zero_points = reader.scales(stored)
        # Converters leave the axis of a depthwise layer's weights, 3, at its bias. TFLM does not read it there.
        axis = 0 if len(shape) == 1 else int(stored.QuantizedDimension())
        quantization = Quantization(scales, zero_points, axis)
        if len(zero_points) not in (0, 1, len(scales)) or (len(scales) > 1 and not 0 <= quantization.axis < len(shape)):
            raise reader.damaged(f"the quantization of the tensor '{name}' does not fit its shape")
    data = buffers[tensor.Buffer()] if tensor.Buffer() else None
    made = Tensor(index, name, tuple(shape), kind.lower(), quantization, data, bool(tensor.IsVariable()))
    if data is not None and tensor.Sparsity() is None:
        reader.needs(name, kind, made.elements, len(data))
    return made


def _operator(
    reader: FlatReader, index: int, operator: Any, codes: Sequence[tuple[str, bool, int]], tensors: int, first: int
) -> Operator:
    """An operator of a graph of so many ``tensors``, which stand in the model's from ``first`` on."""
    code, custom, version = codes[operator.OpcodeIndex()]
    inputs, outputs = reader.operands(operator, tensors)
    intermediates = reader.numbers(operator.Intermediates, operator.IntermediatesLength())
    if any(not -1 <= i < tensors for i in intermediates) or min(outputs, default=0) < 0:
        raise reader.damaged(f"the operator {index}, {code}, refers to a tensor that is not there")
    if custom:
        reader.spend(operator.CustomOptionsLength(), width=1)
        raw = operator.CustomOptionsAsNumpy() if operator.CustomOptionsLength() else b""
        options: dict[str, Any] = {"custom_options": bytes(raw)}
    else:
        options = _options(reader, operator, code)
    ins, outs, between = (
        tuple(i + first if i >= 0 else -1 for i in found) for found in (inputs, outputs, intermediates)
    )
    return Operator(index, code, custom, version, ins, outs, between, options)


def _options(reader: FlatReader, operator: Any, code: str) -> dict[str, Any]:
    """An operator's options table, field by field as the schema's accessor class lists them."""
    found: dict[str, Any] = {}
    for suffix in ("", "2"):
        union = getattr(reader.schema, f"BuiltinOptions{suffix}")
        number = getattr(operator, f"BuiltinOptions{suffix}Type")()
        kind = enum_names(union).get(number)
        if kind is None:
            raise reader.damaged(f"the operator {code} has options of the unknown kind {number}")
        table = getattr(operator, f"BuiltinOptions{suffix}")()
        if kind == "NONE" or table is None:
            continue
        accessor = getattr(reader.schema, kind)()
        accessor.Init(table.Bytes, table.Pos)
        found |= _fields(reader, accessor, code)
    return found


def _fields(reader: FlatReader, accessor: Any, code: str) -> dict[str, Any]:
    names = [name for name, member in vars(type(accessor)).items() if inspect.isfunction(member) and name != "Init"]
    vectors = {name.removesuffix("Length") for name in names if name.endswith("Length")}
    found: dict[str, Any] = {}
    for name in names:
        key = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        if name in vectors:
            if f"{name}AsNumpy" in names:  # a vector of numbers; vectors of tables belong to no operator of this room
                values = reader.numbers(getattr(accessor, name), getattr(accessor, f"{name}Length")(), width=1)
                found[key] = tuple(values)
        elif not any(name == vector + tail for vector in vectors for tail in ("Length", "AsNumpy", "IsNone")):
            found[key] = _value(reader, key, getattr(accessor, name)(), code)
    return found


def _value(reader: FlatReader, key: str, value: Any, code: str) -> Any:
    if isinstance(value, bytes):
        return reader.text(value)
    if key not in _ENUMS or not isinstance(value, int):
        return value
    name = enum_names(getattr(reader.schema, _ENUMS[key])).get(value)
    if name is None:
        raise reader.damaged(f"the operator {code} has the unknown {key.replace('_', ' ')} {value}")
    return name


def _offline(reader: FlatReader, raw: bytes | None, tensors: int) -> tuple[int, ...] | None:
    """Parse the plan that a tool left in the file: int32 version, subgraph, count, then an offset a tensor."""
    if raw is None:
        return None
    words = struct.unpack(f"<{len(raw) // 4}i", raw[: len(raw) // 4 * 4])
    if len(words) < 3 or words[2] != tensors or len(words) < 3 + tensors or min(words[3:], default=0) < -1:
        raise reader.damaged(f"its metadata {_OFFLINE_PLAN} does not hold an offset for each of the {tensors} tensors")
    return tuple(words[3 : 3 + tensors])


def _single(values: tuple[_N, ...], what: str) -> _N:
    if len(values) != 1:
        raise BadInput(f"A tensor with {len(values)} {what} has no single one; ask for each channel's.")
    return values[0]
