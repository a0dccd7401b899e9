"""A builder of TensorFlow Lite files: tensors and operators in, one flatbuffer out, without TensorFlow.

It writes what it is told and checks only that the parts refer to each other. Constants start at multiples of 16
bytes in the file, as TensorFlow Lite for Microcontrollers reads them in place.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.files import write_bytes
from edgelab.models.tflite_tables import (
    Operator,
    Tensor,
    aligned_buffer,
    code_table,
    operator_table,
    options_table,
    schema,
    tensor_table,
)

SCHEMA_VERSION = 3
OFFLINE_PLAN = "OfflineMemoryAllocation"
OFFLINE_PLAN_VERSION = 1

# Operator versions for int8 as TensorFlow's converter sets them; every other one, and float, is version 1.
_INT8_VERSIONS = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "SVDF"), 3),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "SUM", "ADD", "SUB", "MUL"), 2),
    **dict.fromkeys(("CONCATENATION", "PAD", "PADV2", "TRANSPOSE", "STRIDED_SLICE", "SPLIT", "DEQUANTIZE"), 2),
    **dict.fromkeys(("SOFTMAX", "LOGISTIC", "TANH", "RELU", "RELU6", "MAXIMUM", "MINIMUM", "PACK"), 2),
    "FULLY_CONNECTED": 4,
}


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
        self._tensors: list[Tensor] = []
        self._operators: list[Operator] = []
        self._inputs: list[int] = []
        self._outputs: list[int] = []
        self._metadata: dict[str, bytes] = {}
        self._plan: dict[int, int] = {}
        self._initial: dict[str, Tensor] = {}

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

    def resource(self, name: str, initial: ArrayLike, scale: float | None = None, zero_point: int = 0) -> int:
        """A resource variable, to which READ_VARIABLE and ASSIGN_VARIABLE refer by the tensor returned.

        Parameters
        ----------
        name
            Its shared name; no other variable of the model has it.
        initial
            Its value in the first inference, which a graph of its own assigns (CALL_ONCE).
        """
        data = np.asarray(initial)
        zero_points = () if scale is None else (zero_point,)
        scales = () if scale is None else (float(np.float32(scale)),)
        self._initial[name] = Tensor(f"{name}_initial", data.shape, data.dtype.name, scales, zero_points, 0, data)
        found = self.activation((), dtype="resource", name=name)
        self.add("VAR_HANDLE", [], [found], options={"container": "", "shared_name": name})
        return found

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
        options_table(code, options or {})
        if version is None:
            version = self._version(code, named, options or {})
        self._operators.append(Operator(code, version, named, list(outputs), list(intermediates), dict(options or {})))

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
        s = schema()
        buffers: list[Any] = [s.BufferT()]
        graphs = [(self._tensors, self._operators, self._inputs, self._outputs, "main")]
        if self._initial:
            once = Operator("CALL_ONCE", 1, [], [], [], {"init_subgraph_index": 1})
            graphs = [
                (self._tensors, [once, *self._operators], self._inputs, self._outputs, "main"),
                (*_assigning(self._initial), [], [], "once"),
            ]
        kinds = sorted({(op.code, op.version) for _, operators, *_ in graphs for op in operators})
        tables = []
        for tensors, operators, inputs, outputs, name in graphs:
            made = []
            for tensor in tensors:
                made.append(tensor_table(tensor, len(buffers) if tensor.data is not None else 0))
                if tensor.data is not None:
                    buffers.append(aligned_buffer()(tensor.data.tobytes()))
            steps = [operator_table(op, kinds.index((op.code, op.version))) for op in operators]
            tables.append(s.SubGraphT(tensors=made, inputs=inputs, outputs=outputs, operators=steps, name=name))
        named, metadata = dict(self._metadata), []
        if self._plan:  # version, subgraph, count, then an offset for every tensor, -1 where the runtime plans it
            count = sum(len(table.tensors) for table in tables)
            plan = [self._plan.get(i, -1) for i in range(count)]
            named[OFFLINE_PLAN] = np.asarray([OFFLINE_PLAN_VERSION, 0, count, *plan], dtype="<i4").tobytes()
        for title, content in named.items():
            metadata.append(s.MetadataT(name=title, buffer=len(buffers)))
            buffers.append(aligned_buffer()(content))
        model = s.ModelT(
            version=SCHEMA_VERSION,
            operatorCodes=[code_table(code, version) for code, version in kinds],
            subgraphs=tables,
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
        if not hasattr(schema().TensorType, dtype.upper()):
            raise BadInput(f"A .tflite file holds no tensor of type {dtype}.")
        index = len(self._tensors)
        title = name or (f"constant_{index}" if data is not None else f"tensor_{index}")
        zero_points = (int(zero_point),) * len(values)
        self._tensors.append(Tensor(title, sizes, dtype, values, zero_points, axis, data, variable))
        return index

    def _version(self, code: str, inputs: Sequence[int], options: Mapping[str, Any]) -> int:
        data = inputs[1] if code == "SPLIT" else inputs[0] if inputs else -1
        if data < 0 or self._tensors[data].dtype != "int8":
            return 1
        if code == "FULLY_CONNECTED" and (len(inputs) == 2 or options.get("keep_num_dims")):
            return 6 if len(inputs) == 2 else 5
        return _INT8_VERSIONS.get(code, 1)


def _assigning(initial: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Operator]]:
    """The graph that gives resource variables their first values."""
    tensors: list[Tensor] = []
    operators: list[Operator] = []
    for name, value in initial.items():
        handle = len(tensors)
        tensors += [Tensor(name, (), "resource", (), (), 0), value]
        operators.append(Operator("VAR_HANDLE", 1, [], [handle], [], {"container": "", "shared_name": name}))
        operators.append(Operator("ASSIGN_VARIABLE", 1, [handle, handle + 1], [], []))
    return tensors, operators
