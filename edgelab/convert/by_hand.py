"""What lab `tflite` has its learner write by hand: a flatbuffer's table, float16, a mapping to int8, a guarded call.

Plain numpy, in the form that the lab asks for, so that these can stand in for the learner's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def number(content: bytes, position: int, code: str) -> int:
    """One little-endian integer of ``content`` at ``position``; ``code`` as `struct` has it ("H", "I", "i").

    Examples
    --------
    >>> number(bytes([0, 2, 1]), 1, "H")
    258
    """
    return int(struct.unpack_from("<" + code, content, position)[0])


def field_position(content: bytes, table: int, index: int) -> int | None:
    """Where the field number ``index`` of the flatbuffer table at ``table`` lies; None if the table has none.

    Follows the FlatBuffers binary format (https://flatbuffers.dev/internals): a table starts with the distance back to
    its vtable; that holds its own size, the table's size, and one 16-bit offset a field, 0 for a field left out.

    Examples
    --------
    >>> vtable, table = struct.pack("<4H", 8, 8, 0, 4), struct.pack("<iI", 8, 3)
    >>> field_position(vtable + table, 8, 1), field_position(vtable + table, 8, 0), field_position(vtable + table, 8, 7)
    (12, None, None)
    """
    vtable = table - number(content, table, "i")
    entry = 4 + 2 * index
    if entry >= number(content, vtable, "H"):
        return None
    offset = number(content, vtable + entry, "H")
    return table + offset if offset else None


def to_float16(values: ArrayLike) -> NDArray[np.float64]:
    """Values rounded to the nearest number of IEEE 754 binary16, half to even, as float64 of the same shape.

    Examples
    --------
    >>> to_float16([0.7, 65520.0, 1e-8])
    array([0.70019531,        inf, 0.        ])
    """
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.rint(x / step) * step
    return np.where(np.abs(near) >= 2.0**16, np.copysign(np.inf, x), near)


def int8_mapping(batches: Iterable[ArrayLike]) -> tuple[float, int]:
    """(scale, zero point) of int8 for all values of the batches, as TensorFlow's converter takes them for activations.

    Examples
    --------
    >>> scale, zero_point = int8_mapping([[0.0, 0.5], [1.0]])
    >>> round(scale * 255, 6), zero_point
    (1.0, -128)
    """
    low = high = 0.0
    for batch in batches:
        low, high = min(low, float(np.min(batch))), max(high, float(np.max(batch)))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, int(np.rint(-128 - low / scale))


def guarded_answer(interpreter: Any, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Float logits of one float image (channels last, with its batch axis) from a LiteRT interpreter of any type.

    An integer input is quantized with its own scale and zero point, an integer output dequantized with its own.
    """
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    value: NDArray[Any] = image
    if np.issubdtype(into["dtype"], np.integer):
        scale, zero_point = into["quantization"]
        ends = np.iinfo(into["dtype"])
        value = np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], value)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return np.asarray(answer, dtype=np.float32)
