"""The integers and scales that a quantized ONNX file holds, to hold somebody's own against them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import PathLike, read
from edgelab.errors import BadFile


@dataclass(frozen=True, eq=False)
class StoredWeight:
    """One weight of the file: its name, the integers as stored, scales and zero points (one, or one a channel)."""

    name: str
    integers: NDArray[Any]
    scale: NDArray[np.float32]
    zero_point: NDArray[Any]


@dataclass(frozen=True)
class StoredActivation:
    """One activation of the file: the tensor's name, its scale and its zero point."""

    name: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Stored:
    """What a QDQ file holds in integers; biases (32 bits) are left out."""

    weights: tuple[StoredWeight, ...]
    activations: tuple[StoredActivation, ...]


def stored_integers(path: PathLike) -> Stored:
    """Read the quantized weights and the activations' scales out of a QDQ file.

    Weights come in the order of the layers that use them.

    Raises
    ------
    BadFile
        If the file is not an ONNX model, or holds no pairs of QuantizeLinear and DequantizeLinear.
    """
    from onnx import numpy_helper

    graph = read(path).graph
    constants = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    users = {name: place for place, node in enumerate(graph.node) for name in node.input}
    weights: list[tuple[int, StoredWeight]] = []
    activations: list[StoredActivation] = []
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[1] not in constants:
            continue
        scale = np.asarray(constants[node.input[1]], dtype=np.float32)
        zero_point = constants[node.input[2]] if len(node.input) > 2 else np.zeros(scale.shape, np.uint8)
        if node.op_type == "QuantizeLinear" and scale.ndim == 0:
            activations.append(StoredActivation(node.input[0], float(scale), int(zero_point)))
        elif node.input[0] in constants and constants[node.input[0]].dtype.itemsize == 1:
            weight = StoredWeight(node.input[0], constants[node.input[0]], scale, zero_point)
            weights.append((users.get(node.output[0], 0), weight))
    if not weights and not activations:
        raise BadFile(f"{path} holds no quantized tensors in QDQ form.")
    return Stored(tuple(weight for _, weight in sorted(weights, key=lambda w: w[0])), tuple(activations))
