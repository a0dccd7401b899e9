"""Channels that never move: a constant takes their place, and their weights, which may be the largest, become zero.

A batch norm whose channel hardly varied divides by nearly nothing. Folded, it leaves weights a hundred times as large
as those of its neighbours on a channel that carries nothing: with one scale for the tensor, they set the step of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.posttraining.graph import bias_of, layers, values, with_biases, with_values
from edgelab.posttraining.statistics import Channels

MOVES = 1e-4
"""A channel moves if its values span more than this share of what the widest channel of its tensor spans."""


@dataclass(frozen=True, eq=False)
class Stilled:
    """A model in which channels that never moved are constants, and for each layer which they are."""

    model: Any
    channels: Mapping[str, NDArray[np.int64]]


def still(model: Any, seen: Channels) -> Stilled:
    """Give output channels that were constant over a calibration set zero weights and that constant as their bias.

    A channel counts as constant behind the ReLU or Clip that follows its layer. The function is unchanged on items on
    which the channel keeps its value.

    Parameters
    ----------
    model
        A float ONNX model with batch norm folded; it stays as it is.
    seen
        What its channels hold, by `channel_statistics`.
    """
    known = values(model)
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    weights, biases, found = {}, {}, {}
    for layer in layers(model):
        if layer.y not in seen.low or layer.op_type == "MatMul":
            continue
        behind = readers.get(layer.y, [])
        merged = len(behind) == 1 and behind[0].op_type in ("Relu", "Clip") and behind[0].output[0] in seen.low
        tensor = behind[0].output[0] if merged else layer.y
        low, high = seen.low[tensor], seen.high[tensor]
        span = high - low
        dead = np.flatnonzero(span <= MOVES * float(span.max()))
        weight = known[layer.weight]
        canonical = layer.canonical(weight).copy()
        flat = canonical.reshape(-1, *canonical.shape[2:])
        dead = dead[np.abs(flat[dead]).max(axis=(1, 2), initial=0) > 0]
        if not len(dead) or len(dead) == len(flat) or len(span) != len(flat):
            continue
        flat[dead] = 0
        weights[layer.weight] = layer.stored(flat.reshape(canonical.shape), weight.shape)
        bias = bias_of(layer, known)
        bias[dead] = seen.mean[tensor][dead]
        biases[layer.name] = bias
        found[layer.name] = dead
    return Stilled(with_biases(with_values(model, weights), biases) if found else model, found)
