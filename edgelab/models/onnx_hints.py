"""What an ONNX file says of the sizes of inputs that leave axes open.

Exporters write the size of images into the metadata (``imgsz`` of Ultralytics), and shapes that were seen while a
network was traced may stand in ``value_info``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_SIZE_KEYS = ("imgsz", "img_size", "image_size", "input_size", "input_shape")
_CHANNELS = (1, 3, 4)
# Operators whose first output has the shape of their first input.
_SAME_SHAPE = frozenset(
    {"Cast", "Identity", "QuantizeLinear", "Relu", "Clip", "Sub", "Div", "Mul", "Add", "Neg", "Sqrt"}
)
_LARGEST = 2**20


def hints(model: Any, inputs: Sequence[Mapping[str, Any]]) -> dict[str, list[int | None]]:
    """Shapes by input name for those with open axes, None where nothing is said."""
    metadata = {entry.key.lower(): entry.value for entry in model.metadata_props}
    seen = {value.name: value.type.tensor_type.shape for value in model.graph.value_info}
    found: dict[str, list[int | None]] = {}
    for info in inputs:
        shape = list(info["shape"])
        if None not in shape:
            continue
        traced = _traced(model, str(info["name"]), seen, shape)
        size = traced or _from_metadata(metadata, shape)
        if size:
            found[str(info["name"])] = size
    return found


def _traced(model: Any, name: str, seen: Mapping[str, Any], shape: list[int | None]) -> list[int | None]:
    for node in model.graph.node:
        if node.op_type in _SAME_SHAPE and node.input and node.input[0] == name and node.output[0] in seen:
            sizes = [d.dim_value if d.dim_value > 0 else None for d in seen[node.output[0]].dim]
            if len(sizes) == len(shape) and any(n is not None and w is None for n, w in zip(sizes, shape, strict=True)):
                return [n if w is None else w for n, w in zip(sizes, shape, strict=True)]
    return []


def _from_metadata(metadata: Mapping[str, str], shape: list[int | None]) -> list[int | None]:
    """The size of an image in an input (N, C, H, W) or (N, H, W, C)."""
    if len(shape) != 4:
        return []
    last = shape[3] in _CHANNELS and shape[1] not in _CHANNELS
    for key in _SIZE_KEYS:
        text = metadata.get(key, "")
        numbers = [int(n) for n in re.findall(r"\d{1,7}", text)] if len(text) < 100 else []
        if len(numbers) == 1:
            numbers *= 2
        if len(numbers) in (3, 4):
            numbers = numbers[-3:-1] if numbers[-1] in _CHANNELS else numbers[-2:]
        if len(numbers) == 2 and all(0 < n <= _LARGEST for n in numbers):
            high, wide = numbers
            image = [shape[0], high, wide, shape[3]] if last else [shape[0], shape[1], high, wide]
            if all(w is None or w == n for n, w in zip(image, shape, strict=True)):
                return image
    return []
