"""A builder of TensorFlow Lite files: tensors and operators in, one flatbuffer out, without TensorFlow.

It writes what it is told and checks only that the parts refer to each other. Constants start at multiples of 16
bytes in the file, as TensorFlow Lite for Microcontrollers reads them in place.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput, MissingFramework
from edgelab.files import write_bytes

SCHEMA_VERSION = 3
ALIGNMENT = 16  # force_align of Buffer.data in the schema
OFFLINE_PLAN = "OfflineMemoryAllocation"
OFFLINE_PLAN_VERSION = 1

# Where an operator's options table is not its name in camel case.
_OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "SVDF": "SVDFOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
}
_ENUMS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "quantized_bias_type": "TensorType",
}
_NOT_ZERO = ("strideH", "strideW", "depthMultiplier")  # zero in an absent table, never in a working operator
# Operator versions for int8 as TensorFlow's converter sets them; every other one, and float, is version 1.
_INT8_VERSIONS = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "SVDF"), 3),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "SUM", "ADD", "SUB", "MUL"), 2),
    **dict.fromkeys(("CONCATENATION", "PAD", "PADV2", "TRANSPOSE", "STRIDED_SLICE", "SPLIT", "DEQUANTIZE"), 2),
    **dict.fromkeys(("SOFTMAX", "LOGISTIC", "TANH", "RELU", "RELU6", "MAXIMUM", "MINIMUM", "PACK"), 2),
    "FULLY_CONNECTED": 4,
}


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    data: NDArray[Any] | None = None
    variable: bool = False


@dataclass(frozen=True)
class _Operator:
    code: str
    version: int
    inputs: list[int]
    outputs: list[int]
    intermediates: list[int]
    options: Mapping[str, Any] = field(default_factory=dict)


class TfliteWriter:
    """Collects the tensors and operators of one graph and writes them as a .tflite file.

    Every method that makes a tensor returns its index, by which operators refer to it. Operators run in the order in
    which they were added.

    Parameters
    ----------
    description
        What the file says of itself.

    Examples
    --------
    >>> import numpy as np
    >>> writer = TfliteWriter()
    >>> x = writer.input("x", (1, 4), scale=0.1, zero_point=-3)
    >>> w = writer.constant(np.eye(2, 4, dtype=np.int8), scales=[0.5])
    >>> y = writer.operator("FULLY_CONNECTED", [x, w], (1, 2), scale=0.2, options={"keep_num_dims": False})
    >>> writer.output(y)
    >>> writer.to_bytes()[4:8]
    b'TFL3'
    """

    def __init__(self, description: str = "edgelab") -> None:
        self._description = description
        self._tensors: list[_Tensor] = []
        self._operators: list[_Operator] = []
        self._inputs: list[int] = []
        self._outputs: list[int] = []
        self._metadata: dict[str, bytes] = {}
        self._plan: dict[int, int] = {}

    def input(
        self, name: str, shape: Sequence[int], scale: float | None = None, zero_point: int = 0, *, dtype: str = "int8"
    ) -> int:
        """An input of the graph."""
        index = self.activation(shape, scale, zero_point, dtype=dtype, name=name)
        self._inputs.append(index)
        return index

    def constant(
        self,
        array: ArrayLike,
        scales: float | Sequence[float] | NDArray[Any] | None = None,
        axis: int = 0,
        *,
        zero_point: int = 0,
        name: str | None = None,
    ) -> int:
        """A tensor whose values stand in the file; its type is the array's.

        Parameters
        ----------
        array
            The values: int8, int16, int32, float32 ...
        scales
            None, one scale, or one per entry along ``axis``.
        axis
            The quantized dimension.
        """
        data = np.ascontiguousarray(array).reshape(np.shape(array))
        return self._add(name, data.shape, data.dtype.name, scales, zero_point, axis=axis, data=data)

    def variable(
        self,
        shape: Sequence[int],
        scale: float | None = None,
        zero_point: int = 0,
        *,
        dtype: str = "int8",
        name: str | None = None,
    ) -> int:
        """A tensor that keeps its values from one inference to the next: the state of an SVDF or LSTM."""
        return self._add(name, shape, dtype, scale, zero_point, variable=True)

    def activation(
        self,
        shape: Sequence[int],
        scale: float | None = None,
        zero_point: int = 0,
        *,
        dtype: str = "int8",
        name: str | None = None,
    ) -> int:
        """A tensor that an operator fills; for operators of several outputs, see `add`."""
        return self._add(name, shape, dtype, scale, zero_point)

    def operator(
        self,
        code: str,
        inputs: Sequence[int | None],
        shape: Sequence[int],
        scale: float | None = None,
        zero_point: int = 0,
        *,
        dtype: str = "int8",
        options: Mapping[str, Any] | None = None,
        intermediates: Sequence[int] = (),
        version: int | None = None,
        name: str | None = None,
    ) -> int:
        """Add an operator of one output and return that output; see `add`."""
        index = self.activation(shape, scale, zero_point, dtype=dtype, name=name)
        self.add(code, inputs, [index], options=options, intermediates=intermediates, version=version)
        return index

    def add(
        self,
        code: str,
        inputs: Sequence[int | None],
        outputs: Sequence[int],
        *,
        options: Mapping[str, Any] | None = None,
        intermediates: Sequence[int] = (),
        version: int | None = None,
    ) -> None:
        """Add an operator that fills tensors made before.

        Parameters
        ----------
        code
            The schema's name, ``"CONV_2D"``.
        inputs
            Indices of tensors; None is an optional input left out.
        outputs
            Indices of tensors.
        options
            The schema's fields in snake case, enumerations by name: ``{"padding": "SAME", "stride_h": 2}``.
            Strides and depth multiplier are 1 where they are left out, the others as the schema has them.
        intermediates
            Indices of tensors that carry the quantization inside an LSTM.
        version
            Of the operator; else the one that TensorFlow's converter gives it.

        Raises
        ------
        BadInput
            If there is no such operator, option or tensor.
        """
        named = [-1 if index is None else index for index in inputs]
        for index in (*named, *outputs, *intermediates):
            if not -1 <= index < len(self._tensors):
                raise BadInput(f"Operator {code} refers to tensor {index}; there are {len(self._tensors)} so far.")
        _options_table(code, options or {})
        if version is None:
            version = self._version(code, named, options or {})
        self._operators.append(_Operator(code, version, named, list(outputs), list(intermediates), dict(options or {})))

    def output(self, *indices: int) -> None:
        """Make tensors outputs of the graph, in this order."""
        self._outputs += indices

    def metadata(self, name: str, content: bytes) -> None:
        """Attach a named block of bytes."""
        self._metadata[name] = content

    def offline_plan(self, offsets: Mapping[int, int]) -> None:
        """Fix where tensors lie in the arena (metadata ``OfflineMemoryAllocation``).

        Parameters
        ----------
        offsets
            Offset in bytes from the start of the arena by tensor; the runtime plans the others.
        """
        self._plan = dict(offsets)

    def to_bytes(self) -> bytes:
        """The flatbuffer.

        Raises
        ------
        MissingFramework
            If ai-edge-litert, which brings the schema, is not installed.
        """
        s = _schema()
        buffers, tensors = [s.BufferT()], []
        for tensor in self._tensors:
            number = 0
            if tensor.data is not None:
                number = len(buffers)
                buffers.append(_aligned_buffer()(tensor.data.tobytes()))
            tensors.append(_tensor_table(tensor, number))
        kinds = sorted({(op.code, op.version) for op in self._operators})
        operators = [_operator_table(op, kinds.index((op.code, op.version))) for op in self._operators]
        named, metadata = dict(self._metadata), []
        if self._plan:  # version, subgraph, count, then an offset for every tensor, -1 where the runtime plans it
            plan = [self._plan.get(i, -1) for i in range(len(tensors))]
            named[OFFLINE_PLAN] = np.asarray([OFFLINE_PLAN_VERSION, 0, len(plan), *plan], dtype="<i4").tobytes()
        for name, content in named.items():
            metadata.append(s.MetadataT(name=name, buffer=len(buffers)))
            buffers.append(_aligned_buffer()(content))
        graph = s.SubGraphT(
            tensors=tensors, inputs=self._inputs, outputs=self._outputs, operators=operators, name="main"
        )
        model = s.ModelT(
            version=SCHEMA_VERSION,
            operatorCodes=[_code_table(code, version) for code, version in kinds],
            subgraphs=[graph],
            description=self._description,
            buffers=buffers,
            metadata=metadata or None,
        )
        builder = s.flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the flatbuffer, whole or not at all.

        Raises
        ------
        BadFile
            If the file cannot be written.
        """
        return write_bytes(path, self.to_bytes())

    def _add(
        self,
        name: str | None,
        shape: Sequence[int],
        dtype: str,
        scales: float | Sequence[float] | NDArray[Any] | None,
        zero_point: int,
        *,
        axis: int = 0,
        data: NDArray[Any] | None = None,
        variable: bool = False,
    ) -> int:
        sizes = tuple(int(n) for n in shape)
        values = () if scales is None else tuple(float(np.float32(s)) for s in np.ravel(np.asarray(scales)))
        if not all(math.isfinite(s) and s > 0 for s in values):
            raise BadInput(f"A scale is finite and greater than 0, not {scales}.")
        if len(values) > 1 and not (0 <= axis < len(sizes) and sizes[axis] == len(values)):
            raise BadInput(f"{len(values)} scales do not fit axis {axis} of the shape {sizes}.")
        if dtype in ("int8", "int16") and not np.iinfo(dtype).min <= zero_point <= np.iinfo(dtype).max:
            raise BadInput(f"Zero point {zero_point} is no {dtype}.")
        if not hasattr(_schema().TensorType, dtype.upper()):
            raise BadInput(f"A .tflite file holds no tensor of type {dtype}.")
        index = len(self._tensors)
        title = name or (f"constant_{index}" if data is not None else f"tensor_{index}")
        zero_points = (int(zero_point),) * len(values)
        self._tensors.append(_Tensor(title, sizes, dtype, values, zero_points, axis, data, variable))
        return index

    def _version(self, code: str, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        data = inputs[1] if code == "SPLIT" else inputs[0] if inputs else -1
        if data < 0 or self._tensors[data].dtype != "int8":
            return 1
        if code == "FULLY_CONNECTED" and (len(inputs) == 2 or options.get("keep_num_dims")):
            return 6 if len(inputs) == 2 else 5
        return _INT8_VERSIONS.get(code, 1)


@functools.cache
def _schema() -> Any:
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingFramework(
            f"The TensorFlow Lite schema is not installed ({error}); add it with: uv pip install ai-edge-litert"
        ) from None
    return schema


@functools.cache
def _aligned_buffer() -> Any:
    """The schema's buffer, but for its alignment, which the generated code of Python leaves out."""

    class AlignedBuffer(_schema().BufferT):  # type: ignore[misc]  # the schema has no types
        def __init__(self, content: bytes) -> None:
            super().__init__()
            self.content = content

        def Pack(self, builder: Any) -> int:  # noqa: N802  (the name that the generated code calls)
            s, size = _schema(), len(self.content)
            builder.StartVector(1, size, ALIGNMENT)
            builder.head -= size
            builder.Bytes[builder.head : builder.head + size] = self.content
            data = builder.EndVector()
            s.BufferStart(builder)
            s.BufferAddData(builder, data)
            return int(s.BufferEnd(builder))

    return AlignedBuffer


def _tensor_table(tensor: _Tensor, buffer: int) -> Any:
    s = _schema()
    quantization = None
    if tensor.scales:
        quantization = s.QuantizationParametersT(
            scale=np.asarray(tensor.scales, dtype=np.float32),
            zeroPoint=np.asarray(tensor.zero_points, dtype=np.int64),
            quantizedDimension=tensor.axis,
        )
    return s.TensorT(
        shape=list(tensor.shape),
        type=getattr(s.TensorType, tensor.dtype.upper()),
        buffer=buffer,
        name=tensor.name,
        quantization=quantization,
        isVariable=tensor.variable,
        hasRank=True,
    )


def _operator_table(op: _Operator, number: int) -> Any:
    table, kind = _options_table(op.code, op.options)
    return _schema().OperatorT(
        opcodeIndex=number,
        inputs=op.inputs,
        outputs=op.outputs,
        intermediates=op.intermediates or None,
        builtinOptionsType=kind,
        builtinOptions=table,
    )


def _code_table(code: str, version: int) -> Any:
    s = _schema()
    number = getattr(s.BuiltinOperator, code)
    return s.OperatorCodeT(deprecatedBuiltinCode=min(number, 127), builtinCode=number, version=version)


def _options_table(code: str, options: Mapping[str, Any]) -> tuple[Any, int]:
    """The options of an operator and their type's number; None and 0 where the schema has none for it."""
    s = _schema()
    if not isinstance(getattr(s.BuiltinOperator, code, None), int) or code == "CUSTOM":
        raise BadInput(f"TensorFlow Lite has no operator {code}.")
    name = _OPTIONS.get(code) or _camel(code.lower(), first=True) + "Options"
    if not hasattr(s.BuiltinOptions, name):
        if options:
            raise BadInput(f"Operator {code} takes no options, and {', '.join(options)} was given.")
        return None, 0
    table = getattr(s, f"{name}T")()
    for attribute in _NOT_ZERO:
        if hasattr(table, attribute):
            setattr(table, attribute, 1)
    for option, value in options.items():
        attribute = _camel(option)
        if not hasattr(table, attribute):
            raise BadInput(f"Operator {code} has no option {option}.")
        if option in _ENUMS and not isinstance(getattr(getattr(s, _ENUMS[option]), str(value), None), int):
            raise BadInput(f"Option {option} of {code} is not {value!r}.")
        number = getattr(getattr(s, _ENUMS[option]), value) if option in _ENUMS else value
        setattr(table, attribute, list(number) if isinstance(number, tuple) else number)
    return table, getattr(s.BuiltinOptions, name)


def _camel(snake: str, *, first: bool = False) -> str:
    joined = re.sub(r"_([a-z0-9])", lambda m: m.group(1).upper(), snake)
    joined = re.sub(r"(\d)([a-z])", lambda m: m.group(1) + m.group(2).upper(), joined)
    return joined[0].upper() + joined[1:] if first else joined
