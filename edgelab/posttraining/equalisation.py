"""Cross-layer equalisation: channels that differ by orders of magnitude are made alike, the function unchanged.

Where one scale serves all channels of a tensor, the largest channel sets the step and a small one loses its digits.
Dividing what a layer gives to channel ``c`` by ``s[c]`` and multiplying what the next layer makes of it by ``s[c]``
changes nothing, and ``s[c] = sqrt(r_out[c] / r_in[c])`` makes both ranges their geometric mean.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019). Beyond it,
layers on a shortcut are scaled together, and a ReLU6 may stay: a channel that its limit never touched on the data is
scaled no further than up to the limit, and one that it touched not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.posttraining.channels import Group, channel_groups, width_out
from edgelab.posttraining.graph import Floats, Layer, values, with_values

ROUNDS = 60
"""A chain of layers passes its scales on from pair to pair, so several rounds are needed; more change nothing."""
SETTLED = 1e-3
"""A round whose largest scale is nearer to 1 than this ends the search."""
LARGEST = 2.0**15
"""No channel is scaled by more: float32 keeps its precision, and a bias in 32 bits its range."""
ROOM = 1.1
"""How far below a limit of a ReLU6 the largest value seen has to stay."""


@dataclass(frozen=True, eq=False)
class Equalised:
    """A model with other weights that computes the same, and the scales of every group by the name of its producer.

    ``spread`` is the largest ratio between the widest and the narrowest channel of a layer's weight, before and after.
    """

    model: Any
    scales: Mapping[str, Floats]
    spread: tuple[float, float]


def equalise(
    model: Any,
    maxima: Mapping[str, Floats] | None = None,
    *,
    by: Literal["weights", "activations"] = "weights",
) -> Equalised:
    """Equalise the channels of every group of layers that can be scaled together.

    Parameters
    ----------
    model
        A float ONNX model with batch norm folded, as `edgelab.compress.modelfile.prepared` gives it; it stays as it is.
    maxima
        The largest absolute value of each channel, by the name of the tensor, over a calibration set. Needed for
        groups with a ReLU6 or another limit, which are left alone without it, and for ``by="activations"``.
    by
        What a layer's output channels are judged by: the ranges of their weights, or what they hold on the data,
        which is the better choice where every output channel has a weight scale of its own.

    Returns
    -------
    Equalised
        The function is unchanged but for the rounding of float32; where a limit lies on the way, on the calibration
        set, and beyond it up to `ROOM`.
    """
    groups = [group for group in channel_groups(model) if not group.limits or maxima is not None]
    if by == "activations":
        groups = [group for group in groups if maxima is not None and all(name in maxima for name in group.read)]
    known = _own_biases(model, groups)
    before = _worst_spread(groups, known)
    total = {id(group): np.ones(width_out(group.producers[0], known)) for group in groups}
    seen = {name: np.asarray(array, np.float64) for name, array in (maxima or {}).items()}
    for _ in range(ROUNDS):
        largest = 1.0
        for group in groups:
            scale = group_scale(group, known, seen, by)
            scale = np.clip(scale * total[id(group)], 1 / LARGEST, LARGEST) / total[id(group)]
            total[id(group)] *= scale
            _apply(group, scale, known, seen)
            largest = max(largest, float(np.maximum(scale, 1 / scale).max()))
        if largest < 1 + SETTLED:
            break
    names = {layer.weight for group in groups for layer in (*group.producers, *group.consumers)}
    names |= {name for group in groups for name in _biases(group)}
    changed = {name: known[name].astype(np.float32) for name in names}
    scales = {group.producers[0].name: total[id(group)].astype(np.float32) for group in groups}
    return Equalised(with_values(model, changed), scales, (before, _worst_spread(groups, known)))


def group_scale(
    group: Group,
    known: Mapping[str, NDArray[Any]],
    maxima: Mapping[str, NDArray[Any]],
    by: Literal["weights", "activations"] = "weights",
) -> NDArray[np.float64]:
    """The number (channels,) that each channel of a group is to be divided by before, and multiplied by behind.

    Several producers or consumers count by the channel that is the largest of its own layer.
    """
    width = width_out(group.producers[0], known)
    if by == "weights":
        out = np.max([_relative(range_out(layer, known[layer.weight])) for layer in group.producers], axis=0)
    else:
        out = np.max([_relative(_channels(maxima[name], width)) for name in group.read], axis=0)
    into = np.max([_relative(range_in(layer, known[layer.weight], width)) for layer in group.consumers], axis=0)
    live = (out > 0) & (into > 0)  # a channel without weights on one side has nothing to share
    scale = np.ones(width)
    scale[live] = np.sqrt(out[live] / into[live])
    if group.limits:
        return _below_limits(group, scale, live, maxima, width)
    if live.any():
        scale[live] /= np.exp(np.log(scale[live]).mean())  # a factor that all share changes nothing
    return scale


def _below_limits(
    group: Group,
    scale: NDArray[np.float64],
    live: NDArray[np.bool_],
    maxima: Mapping[str, NDArray[Any]],
    width: int,
) -> NDArray[np.float64]:
    """Scales under which no value of the data meets a limit that it did not meet before, and the other way round."""
    least, touched = np.zeros(width), np.zeros(width, bool)
    for limit in group.limits:
        reached = _channels(maxima[limit.x], width) if limit.x in maxima else np.full(width, np.inf)
        touched |= reached >= limit.high
        least = np.maximum(least, ROOM * reached / limit.high)
    held = touched & live
    level = np.log(scale[held]).mean() if held.any() else np.log(scale[live]).mean() if live.any() else 0.0
    scale = np.maximum(scale / np.exp(level), np.minimum(least, 1.0))
    scale[touched | ~live] = 1.0
    return scale


def range_out(layer: Layer, weight: NDArray[Any]) -> NDArray[np.float64]:
    """The largest absolute weight of each output channel (out,).

    Examples
    --------
    >>> layer = Layer("head", "Gemm", "x", "y", "w", None, 1, transposed=False)
    >>> range_out(layer, np.array([[1.0, -3.0], [0.5, 0.0]])).tolist()
    [3.0, 0.5]
    """
    return np.asarray(np.abs(layer.canonical(weight)).max(axis=(2, 3)).ravel(), np.float64)


def range_in(layer: Layer, weight: NDArray[Any], width: int) -> NDArray[np.float64]:
    """The largest absolute weight that each of ``width`` input channels meets (width,)."""
    each = np.abs(layer.canonical(weight)).max(axis=(1, 3)).ravel()
    return np.asarray(each.reshape(width, -1).max(axis=1), np.float64)


def _apply(group: Group, scale: NDArray[np.float64], known: dict[str, NDArray[Any]], seen: dict[str, Any]) -> None:
    for layer in group.producers:
        weight = known[layer.weight]
        canonical = layer.canonical(weight)
        by_channel = scale.reshape(canonical.shape[0], canonical.shape[1], 1, 1)
        known[layer.weight] = layer.stored(canonical / by_channel, weight.shape)
    for name in _biases(group):
        bias = known[name]
        shape = [len(scale) if n == len(scale) else 1 for n in bias.shape]
        known[name] = bias / scale.reshape(shape)
    for layer in group.consumers:
        weight = known[layer.weight]
        canonical = layer.canonical(weight)
        places = canonical.shape[0] * canonical.shape[2] // len(scale)
        by_input = np.repeat(scale, places).reshape(canonical.shape[0], 1, canonical.shape[2], 1)
        known[layer.weight] = layer.stored(canonical * by_input, weight.shape)
    for name in group.tensors:
        if name in seen:
            seen[name] = seen[name] / np.repeat(scale, max(1, len(seen[name]) // len(scale)))


def _biases(group: Group) -> list[str]:
    return [*(layer.bias for layer in group.producers if layer.bias), *group.constants]


def _own_biases(model: Any, groups: list[Group]) -> dict[str, NDArray[Any]]:
    """The constants in double precision; a group with a bias that something else reads too is taken off the list."""
    known = {
        name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in values(model).items()
    }
    readers: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    for group in list(groups):
        if any(name not in known or readers[name] > 1 for name in _biases(group)):
            groups.remove(group)
    return known


def _worst_spread(groups: list[Group], known: Mapping[str, NDArray[Any]]) -> float:
    worst = 1.0
    for group in groups:
        for layer in group.producers:
            each = range_out(layer, known[layer.weight])
            if (each > 0).any():
                worst = max(worst, float(each.max() / each[each > 0].min()))
    return worst


def _relative(each: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = float(each.max())
    return np.asarray(each / largest if largest > 0 else each, np.float64)


def _channels(array: NDArray[Any], width: int) -> NDArray[np.float64]:
    """The maximum of each of ``width`` channels; a flattened tensor has several entries for each."""
    return np.asarray(np.asarray(array).reshape(width, -1).max(axis=1), np.float64)
