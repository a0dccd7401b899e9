"""The tables of the TensorFlow Lite schema, filled through the object interface that ai-edge-litert brings."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput, MissingFramework

ALIGNMENT = 16  # force_align of Buffer.data in the schema
# Where an operator's options table is not its name in camel case.
_OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_ALL": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "SVDF": "SVDFOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "L2_NORMALIZATION": "L2NormOptions",
}
_ENUMS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "quantized_bias_type": "TensorType",
}
_NOT_ZERO = ("strideH", "strideW", "depthMultiplier")  # zero in an absent table, never in a working operator


@dataclass(frozen=True)
class Tensor:
    """A tensor to be written; ``data`` where it is a constant."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    data: NDArray[Any] | None = None
    variable: bool = False


@dataclass(frozen=True)
class Operator:
    """An operator to be written; operands are indices of tensors, -1 one left out."""

    code: str
    version: int
    inputs: list[int]
    outputs: list[int]
    intermediates: list[int]
    options: Mapping[str, Any] = field(default_factory=dict)


@functools.cache
def schema() -> Any:
    """The generated module of the TensorFlow Lite schema."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingFramework(
            f"The TensorFlow Lite schema is not installed ({error}); add it with: uv pip install ai-edge-litert"
        ) from None
    return schema_py_generated


@functools.cache
def aligned_buffer() -> Any:
    """The schema's buffer, but for its alignment, which the generated code of Python leaves out."""

    class AlignedBuffer(schema().BufferT):  # type: ignore[misc]  # the schema has no types
        def __init__(self, content: bytes) -> None:
            super().__init__()
            self.content = content

        def Pack(self, builder: Any) -> int:  # noqa: N802  (the name that the generated code calls)
            s, size = schema(), len(self.content)
            builder.StartVector(1, size, ALIGNMENT)
            builder.head -= size
            builder.Bytes[builder.head : builder.head + size] = self.content
            data = builder.EndVector()
            s.BufferStart(builder)
            s.BufferAddData(builder, data)
            return int(s.BufferEnd(builder))

    return AlignedBuffer


def tensor_table(tensor: Tensor, buffer: int) -> Any:
    """A tensor as the schema's table; ``buffer`` is the number of its data, 0 for none."""
    s = schema()
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


def operator_table(op: Operator, number: int) -> Any:
    """An operator as the schema's table; ``number`` is that of its code."""
    table, kind = options_table(op.code, op.options)
    return schema().OperatorT(
        opcodeIndex=number,
        inputs=op.inputs,
        outputs=op.outputs,
        intermediates=op.intermediates or None,
        builtinOptionsType=kind,
        builtinOptions=table,
    )


def code_table(code: str, version: int) -> Any:
    """An operator's code and version as the schema's table."""
    s = schema()
    number = getattr(s.BuiltinOperator, code)
    return s.OperatorCodeT(deprecatedBuiltinCode=min(number, 127), builtinCode=number, version=version)


def options_table(code: str, options: Mapping[str, Any]) -> tuple[Any, int]:
    """The options of an operator and their type's number; None and 0 where the schema has none for it."""
    s = schema()
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
