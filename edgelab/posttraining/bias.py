"""Bias correction: rounding moves the mean of a channel, and the bias takes it back.

Round a weight up and the channel gives a little more on every item. That share of the error is a constant, and a
constant costs nothing to undo. Measured here, not derived: the mean of each channel in the float network against the
mean in the quantized one, layer by layer, so that each layer sees those before it corrected.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.2
and appendix D (empirical).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from edgelab.posttraining.graph import Feeds, Floats, Layer, bias_of, layers, up_to, values, with_biases
from edgelab.posttraining.statistics import channel_statistics

STAGES = 24
"""A deeper network is corrected in so many stages, several layers at a time."""


def correct_biases(
    model: Any,
    quantize: Callable[[Any], bytes],
    feeds: Feeds,
    *,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Any:
    """A copy of a float model whose biases make up for what ``quantize`` does to the mean of each channel.

    Parameters
    ----------
    model
        The float ONNX model that gets quantized, named nodes, batch norm folded; it stays as it is.
    quantize
        Gives the quantized model as bytes; its layers keep the names of their nodes.
    feeds
        The calibration set.
    progress
        Wraps the list of stages.
    """
    import onnx

    axes = {layer.y: 1 if layer.is_convolution else -1 for layer in layers(model)}
    wanted = channel_statistics(model, feeds, axes).mean
    chosen = [layer for layer in layers(model) if layer.op_type != "MatMul"]
    size = max(1, math.ceil(len(chosen) / STAGES))
    corrected = model
    for start in progress(range(0, len(chosen), size)):
        stage = chosen[start : start + size]
        quantized = onnx.load_from_string(quantize(corrected))
        outputs = {node.name: node.output[0] for node in quantized.graph.node}
        present = {layer.name: layer for layer in stage if layer.name in outputs}
        wished = {outputs[name]: axes[layer.y] for name, layer in present.items()}
        means = channel_statistics(up_to(quantized, list(wished)), feeds, wished).mean
        known = values(corrected)
        biases = {
            name: bias_of(layer, known) + shift(wanted[layer.y], means[outputs[name]], layer, known)
            for name, layer in present.items()
        }
        corrected = with_biases(corrected, biases)
    return corrected


def shift(wanted: Floats, found: Floats, layer: Layer, known: dict[str, Any]) -> Floats:
    """What to add to a bias so that a channel's mean is the wanted one again (out,)."""
    difference = np.asarray(wanted - found, np.float32)
    weight = layer.canonical(known[layer.weight])
    live = np.abs(weight).reshape(len(difference), -1).max(axis=1) > 0
    return np.where(live & np.isfinite(difference), difference, np.float32(0))
