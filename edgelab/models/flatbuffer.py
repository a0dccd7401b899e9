"""Reading a TensorFlow Lite flatbuffer that may be hostile.

The generated accessors of the schema check nothing, so this module does: every vector has to lie inside the file
and all that is visited has to fit a budget that grows with the file, or a few bytes that point at each other
could keep a reader busy for years or eat the memory.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

from edgelab.errors import BadFile, MissingFramework
from edgelab.models.facts import MAX_ELEMENTS, clipped, shown

BITS = {
    **dict.fromkeys(("FLOAT64", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT32", "INT32", "UINT32"), 32),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("INT8", "UINT8", "BOOL", "FLOAT8_E4M3FN", "FLOAT8_E5M2"), 8),
    **dict.fromkeys(("INT4", "UINT4"), 4),
    "COMPLEX128": 128,
    "INT2": 2,
}
"""Bits of one element, by the schema's name of the type; types without a size (strings, resources) are absent."""


@contextlib.contextmanager
def sound(path: object) -> Iterator[None]:
    """Turn what the accessors raise on a damaged file into a `BadFile` that names it."""
    try:
        yield
    except (struct.error, IndexError, ValueError, OverflowError, TypeError, KeyError) as error:
        raise BadFile(f"{path} is damaged: its flatbuffer does not hold together ({clipped(str(error))}).") from None


class FlatReader:
    """The root of a .tflite file and the checked ways into it; use it inside `sound`.

    Raises
    ------
    MissingFramework
        If ai-edge-litert, which brings the schema, is not installed.
    """

    def __init__(self, path: object, content: bytes) -> None:
        try:
            from ai_edge_litert import schema_py_generated as schema
        except ImportError as error:
            raise MissingFramework(
                f"The TensorFlow Lite schema is not installed ({error}); add it with: uv pip install ai-edge-litert"
            ) from None
        self.path = path
        self.size = len(content)
        self._budget = 100_000 + 4 * self.size
        self.schema: Any = schema
        self._types = enum_names(schema.TensorType)
        self._operators = enum_names(schema.BuiltinOperator)
        self.model: Any = schema.Model.GetRootAs(content, 0)

    def damaged(self, what: str) -> BadFile:
        """The error that says what is wrong with this file."""
        return BadFile(f"{self.path} is damaged: {what}.")

    def graphs(self) -> list[Any]:
        """The subgraphs, at least one."""
        found = list(self.each(self.model.Subgraphs, self.model.SubgraphsLength()))
        if not found:
            raise BadFile(f"{self.path} holds no graph.")
        return found

    def code(self, code: Any) -> tuple[str, bool]:
        """An operator's name, and whether it is a custom one."""
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = self._operators.get(number, f"BUILTIN_{number}")
        return (self.text(code.CustomCode()), True) if name == "CUSTOM" else (name, False)

    def stored_bytes(self, buffer: Any) -> int:
        """The length of a buffer's data, which lies inside the file."""
        length = int(buffer.DataLength())
        if length == 0 and _outside(buffer):  # weights behind the flatbuffer, beyond 2 GB
            if buffer.Offset() + buffer.Size() > self.size:
                raise BadFile(f"{self.path} is truncated: its weights end beyond the end of the file.")
            return int(buffer.Size())
        if length > self.size:
            raise self.damaged("a block of weights is longer than the file")
        return length

    def stored(self, buffer: Any, content: bytes) -> bytes | None:
        """A copy of a buffer's data; None where it has none."""
        length = self.stored_bytes(buffer)
        if not length:
            return None
        self.spend(length, width=1)
        if _outside(buffer) and not buffer.DataLength():
            return content[buffer.Offset() : buffer.Offset() + length]
        data = bytes(buffer.DataAsNumpy())
        if len(data) != length:
            raise self.damaged("a block of weights ends beyond the end of the file")
        return data

    def element_type(self, tensor: Any) -> str:
        """The schema's name of a tensor's element type: ``"INT8"``."""
        kind = self._types.get(tensor.Type())
        if kind is None:
            raise self.damaged(f"a tensor has the unknown element type {tensor.Type()}")
        return kind

    def shape(self, tensor: Any) -> list[int]:
        """The shape as stored; a dimension may be -1 where it was left open."""
        sizes = self.numbers(tensor.Shape, tensor.ShapeLength())
        if math.prod(max(n, 1) for n in sizes) > MAX_ELEMENTS:
            raise self.damaged(f"a tensor has the absurd shape {shown(sizes)}")
        return sizes

    def scales(self, quantization: Any) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """The scales and zero points of a tensor's quantization."""
        scales = tuple(float(n) for n in self.block(quantization.ScaleAsNumpy, quantization.ScaleLength()))
        if not all(math.isfinite(scale) for scale in scales):
            raise self.damaged("a tensor's scale is not a number")
        return scales, tuple(self.block(quantization.ZeroPointAsNumpy, quantization.ZeroPointLength(), width=8))

    def operands(self, operator: Any, tensors: int) -> tuple[list[int], list[int]]:
        """The inputs and outputs of an operator, each -1 or the index of one of ``tensors``."""
        inputs = self.numbers(operator.Inputs, operator.InputsLength())
        outputs = self.numbers(operator.Outputs, operator.OutputsLength())
        if any(not -1 <= i < tensors for i in [*inputs, *outputs]):
            raise self.damaged("an operator refers to a tensor that is not there")
        return inputs, outputs

    def borders(self, graph: Any, tensors: int) -> tuple[list[int], list[int]]:
        """The inputs and outputs of a graph."""
        inputs = self.numbers(graph.Inputs, graph.InputsLength())
        outputs = self.numbers(graph.Outputs, graph.OutputsLength())
        if any(not 0 <= i < tensors for i in [*inputs, *outputs]):
            raise self.damaged("an input or output refers to a tensor that is not there")
        return inputs, outputs

    def needs(self, name: str, kind: str, elements: int, stored: int) -> None:
        """Check that a constant's data holds all of its elements."""
        needed = elements * BITS.get(kind, 0) // 8
        if needed > stored:
            raise self.damaged(f"the tensor '{name}' needs {needed} bytes and {stored} are stored")

    def each(self, item: Callable[[int], Any], count: int) -> Iterator[Any]:
        """The tables of a vector."""
        self.spend(count, width=4)
        return (item(i) for i in range(count))

    def numbers(self, item: Callable[[int], Any], count: int, *, width: int = 4) -> list[Any]:
        """The numbers of a vector, each ``width`` bytes wide."""
        self.spend(count, width=width)
        return [item(i) for i in range(count)]

    def block(self, whole: Callable[[], Any], count: int, *, width: int = 4) -> list[Any]:
        """As `numbers`, read at once: a layer has a scale for each channel."""
        self.spend(count, width=width)
        return list(whole().tolist()) if count else []

    def text(self, raw: bytes | None) -> str:
        """A string on one line, cut where it is absurdly long."""
        if not raw:
            return ""
        self.spend(len(raw) // 64, width=1)
        return clipped(raw.decode("utf-8", "replace"))

    def spend(self, count: int, *, width: int) -> None:
        """Count ``count`` entries of ``width`` bytes against the budget."""
        if count * width > self.size:
            raise self.damaged(f"a list of {count} entries does not fit into the file")
        self._budget -= count
        if self._budget < 0:
            raise self.damaged("its parts refer to each other without end")


def enum_names(enum: Any) -> dict[int, str]:
    """The names of a generated enumeration's values."""
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def _outside(buffer: Any) -> bool:
    return bool(buffer.Size() > 0 and buffer.Offset() > 1)
