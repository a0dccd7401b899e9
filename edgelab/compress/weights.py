"""Weight-only quantization of PyTorch networks, and why it hurts where it hurts.

The integers are only pretended: every weight is replaced by the real number that its integer stands for, so any
network can be tried at any width from 2 to 8 bits in milliseconds. Batch norm is folded into the convolutions first,
as every runtime does, because the folded weights are those that get quantized. No bias is quantized.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.affine import affine_parameters, fake_quantize, per_channel
from edgelab.errors import BadInput
from edgelab.nets.inspection import layer_kind, weighted_layers
from edgelab.quiet import first_line
from edgelab.reading import Table

if TYPE_CHECKING:
    from torch import nn


def fold_batch_norm(net: nn.Module) -> nn.Module:
    """A copy of ``net`` in evaluation mode with each batch norm folded into the convolution or linear layer before it.

    A batch norm that follows no such layer stays as it is.

    Raises
    ------
    BadInput
        If the network's forward pass cannot be traced (it decides by values).
    """
    from torch.fx.experimental.optimization import fuse

    try:
        folded = fuse(copy.deepcopy(net).eval())
    except Exception as error:
        raise BadInput(f"{type(net).__name__} cannot be traced to fold its batch norm: {first_line(error)}.") from error
    return folded.eval()


def fake_quantize_weights(net: nn.Module, bits: int | Mapping[str, int] = 8, by_channel: bool = True) -> nn.Module:
    """A copy of ``net`` with folded batch norm whose weights hold only what ``bits`` can represent.

    Parameters
    ----------
    net
        The float network; it stays as it is.
    bits
        2 to 8 for all layers, or one width for each named layer; layers that are not named stay in float.
    by_channel
        One symmetric scale for each output channel instead of one for the whole layer.

    Raises
    ------
    BadInput
        If a layer does not exist, a width is out of range, or a weight is not finite.
    """
    folded = fold_batch_norm(net)
    layers = weighted_layers(folded)
    if not layers:
        raise BadInput(f"{type(net).__name__} has no convolution and no linear layer.")
    widths = dict(bits) if isinstance(bits, Mapping) else dict.fromkeys(layers, bits)
    if unknown := sorted(set(widths) - set(layers)):
        raise BadInput(f"There is no layer {unknown[0]!r}; the layers are {', '.join(layers)}.")
    for name, width in widths.items():
        _quantize_layer(name, layers[name], width, by_channel)
    return folded


@dataclass(frozen=True)
class LayerSensitivity:
    """What quantizing one layer alone does: ``score`` with it, ``drop`` against the float network."""

    layer: str
    kind: str
    weights: int
    score: float
    drop: float


@dataclass(frozen=True)
class Sensitivity:
    """Each layer's sensitivity, in the order of the network; ``baseline`` is the float network's score."""

    baseline: float
    bits: int
    by_channel: bool
    layers: tuple[LayerSensitivity, ...]

    @property
    def ranked(self) -> tuple[LayerSensitivity, ...]:
        """The layers from the largest drop to the smallest."""
        return tuple(sorted(self.layers, key=lambda layer: -layer.drop))

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {**vars(self), "layers": [vars(layer) for layer in self.layers]}

    def _repr_markdown_(self) -> str:
        rows = [(layer.layer, layer.kind, layer.weights, layer.score, layer.drop) for layer in self.layers]
        scales = "by channel" if self.by_channel else "per tensor"
        title = f"One layer at a time at {self.bits} bits, {scales}; all in float: {self.baseline:.4g}"
        return Table(title, ("layer", "kind", "weights", "score", "drop"), rows)._repr_markdown_()


def sensitivity(
    net: nn.Module, evaluate: Callable[[nn.Module], float], bits: int = 4, by_channel: bool = False
) -> Sensitivity:
    """Quantize the weights of one layer at a time and evaluate the network.

    Parameters
    ----------
    net
        The float network; it stays as it is.
    evaluate
        Network to score, higher is better: accuracy on a validation set. It is called once for each layer and once
        for the float network.
    bits, by_channel
        As in `fake_quantize_weights`.

    Raises
    ------
    BadInput
        If a width is out of range or a weight is not finite.
    """
    folded = fold_batch_norm(net)
    baseline = float(evaluate(folded))
    found = []
    for name, layer in weighted_layers(folded).items():
        kept = layer.weight.detach().clone()
        _quantize_layer(name, layer, bits, by_channel)
        score = float(evaluate(folded))
        layer.weight.data.copy_(kept)
        found.append(LayerSensitivity(name, layer_kind(layer), kept.numel(), score, baseline - score))
    return Sensitivity(baseline, bits, by_channel, tuple(found))


@dataclass(frozen=True)
class LayerSpread:
    """How unequal the output channels of one layer are after folding.

    ``largest`` and ``median`` are of the channels' largest absolute weights, ``ratio`` is one over the other, and
    ``steps`` is how many of the 127 steps on each side a median channel keeps when one scale serves the whole layer.
    """

    layer: str
    kind: str
    channels: int
    largest: float
    median: float
    ratio: float
    steps: float


@dataclass(frozen=True)
class ChannelSpread:
    """The spread of every layer, in the order of the network."""

    layers: tuple[LayerSpread, ...]

    @property
    def worst(self) -> LayerSpread:
        """The layer with the largest ratio: where one scale for all channels costs most."""
        return max(self.layers, key=lambda layer: layer.ratio)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {"layers": [vars(layer) for layer in self.layers]}

    def _repr_markdown_(self) -> str:
        columns = ("layer", "kind", "channels", "largest", "median", "ratio", "steps left")
        rows = [tuple(vars(layer).values()) for layer in self.layers]
        return Table("Largest weight of each output channel, after folding", columns, rows)._repr_markdown_()


def channel_spread(net: nn.Module) -> ChannelSpread:
    """Diagnose why one scale for a whole layer fails: the largest against the median channel, after folding.

    Raises
    ------
    BadInput
        If the network has no layer with weights.
    """
    rows = []
    for name, layer in weighted_layers(fold_batch_norm(net)).items():
        largest = _channel_maxima(layer)
        top, median = float(largest.max()), float(np.median(largest))
        ratio = top / median if median > 0 else float("inf") if top > 0 else 1.0
        rows.append(LayerSpread(name, layer_kind(layer), largest.size, top, median, ratio, 127 / ratio))
    if not rows:
        raise BadInput(f"{type(net).__name__} has no convolution and no linear layer.")
    return ChannelSpread(tuple(rows))


def dead_channels(net: nn.Module) -> dict[str, NDArray[np.int64]]:
    """Channels whose variance before a batch norm is smaller than its epsilon, by the name of the batch norm.

    Such a channel carries nothing, but folding divides its weights by the square root of epsilon, which makes them
    the largest of the layer: they set the scale of all the others.
    """
    from torch import nn

    found = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and module.running_var is not None:
            dead = np.flatnonzero(module.running_var.detach().numpy() < module.eps)
            if dead.size:
                found[name] = dead
    return found


def _quantize_layer(name: str, layer: Any, bits: int, by_channel: bool) -> None:
    import torch

    if isinstance(bits, bool) or not 2 <= bits <= 8:
        raise BadInput(f"bits={bits} for layer {name!r} is not 2 to 8.")
    weight = layer.weight.detach().numpy()
    if not np.isfinite(weight).all():
        raise BadInput(f"Layer {name!r} holds NaN or infinity in its weights.")
    if by_channel:
        affine = per_channel(weight, _output_axis(layer), bits)
    else:
        affine = affine_parameters(weight.min(), weight.max(), bits, symmetric=True)
    layer.weight.data.copy_(torch.from_numpy(fake_quantize(weight, affine)))


def _channel_maxima(layer: Any) -> NDArray[np.float32]:
    weight = np.moveaxis(np.abs(layer.weight.detach().numpy()), _output_axis(layer), 0)
    maxima: NDArray[np.float32] = weight.reshape(len(weight), -1).max(axis=1)
    return maxima


def _output_axis(layer: Any) -> int:
    return 1 if type(layer).__name__.startswith("ConvTranspose") else 0
