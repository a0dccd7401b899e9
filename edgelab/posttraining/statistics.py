"""What each channel of each tensor holds over a calibration set: largest, smallest, mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelab.posttraining.graph import Feeds, Floats, layers, run


@dataclass(frozen=True, eq=False)
class Channels:
    """Over a calibration set, by tensor, for each channel (C,): the smallest and largest value, and the mean."""

    low: Mapping[str, Floats]
    high: Mapping[str, Floats]
    mean: Mapping[str, Floats]

    @property
    def largest(self) -> dict[str, Floats]:
        """The largest absolute value of each channel."""
        return {name: np.maximum(-self.low[name], self.high[name]) for name in self.low}


def channel_axes(model: Any) -> dict[str, int]:
    """The axis of the channels of every tensor that a layer reads or writes, and of those behind it."""
    axes: dict[str, int] = {}
    for layer in layers(model):
        axes[layer.y] = axes[layer.x] = 1 if layer.is_convolution else -1
    same = {"Relu", "Clip", "LeakyRelu", "PRelu", "Identity", "HardSwish", "Sigmoid", "HardSigmoid", "Tanh", "Elu"}
    for node in model.graph.node:
        if node.op_type in same and node.input[0] in axes:
            axes.setdefault(node.output[0], axes[node.input[0]])
    return axes


def channel_statistics(model: Any, feeds: Feeds, axes: Mapping[str, int] | None = None) -> Channels:
    """Run a model over ``feeds`` and take smallest, largest and mean of every channel.

    Parameters
    ----------
    model
        A float ONNX model.
    feeds
        An array for each input.
    axes
        The tensors, each with the axis of its channels; those of `channel_axes` without it.
    """
    axes = channel_axes(model) if axes is None else axes
    names = list(axes)
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    total: dict[str, Any] = {}
    count = dict.fromkeys(names, 0)
    for batch in run(model, feeds, names):
        for name, array in zip(names, batch, strict=True):
            flat = np.moveaxis(array, axes[name], -1).reshape(-1, array.shape[axes[name]])
            a, b, c = flat.min(axis=0), flat.max(axis=0), flat.sum(axis=0, dtype=np.float64)
            low[name] = np.minimum(low[name], a) if name in low else a
            high[name] = np.maximum(high[name], b) if name in high else b
            total[name] = total[name] + c if name in total else c
            count[name] += len(flat)
    mean = {name: (total[name] / count[name]).astype(np.float32) for name in total}
    return Channels(low, high, mean)
