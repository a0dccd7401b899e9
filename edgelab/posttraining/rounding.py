"""Adaptive rounding: which weights to round up and which down, so that a layer's answer stays.

Rounding each weight to its nearest integer minimises the error of the weights. What counts is the error of the layer's
output, ``|W x - W_q x_q|^2`` over real inputs, where the errors of several weights can undo each other; ``x_q`` is what
the rounded layers before it give. That is a quadratic function of the integers, one row at a time. AdaRound (Nagel et
al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020) states it and relaxes it to a smooth one
for gradient descent; here it is descended one weight at a time, each put on the best integer while the others are held,
which needs no learning rate and takes milliseconds. The mean of the output is kept by the bias, in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.posttraining.graph import (
    Feeds,
    Floats,
    Layer,
    bias_of,
    constants,
    layers,
    run,
    up_to,
    values,
    with_biases,
    with_values,
)
from edgelab.posttraining.patches import Patches, can_be_sampled, patches_of

STAGES = 24
DAMPING = 0.01
"""A share of the mean variance is added to every input: what the calibration set leaves open stays near its weight."""
SWEEPS = 20
CLIPS = tuple(np.linspace(1.0, 0.5, 21))
"""How much of a row's range its scale covers: what is worth clipping is tried."""
LARGEST_INPUTS = 2304
"""Layers with more inputs to a row are rounded to the nearest: the matrix of their products would be too large."""


@dataclass(frozen=True, eq=False)
class Rounded:
    """A weight as integers: in the layout of the file, with a scale for each output channel (out,) or one ()."""

    integers: NDArray[np.int8]
    scale: Floats
    bits: int

    def dequantized(self, layer: Layer) -> Floats:
        """The real numbers that the integers stand for."""
        canonical = layer.canonical(self.integers.astype(np.float32))
        scale = self.scale if self.scale.ndim == 0 else self.scale.reshape(*canonical.shape[:2], 1, 1)
        return np.asarray(layer.stored(canonical * scale, self.integers.shape), np.float32)


@dataclass(frozen=True, eq=False)
class RoundedModel:
    """A model whose weights hold only what integers can, its biases corrected, and the integers by layer."""

    model: Any
    weights: Mapping[str, Rounded]


def round_layers(
    model: Any,
    feeds: Feeds,
    bits: Mapping[str, int],
    *,
    per_channel: bool = True,
    adaptive: bool = True,
    pinned: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> RoundedModel:
    """Round the weights of layers, each on what the rounded layers before it give.

    Parameters
    ----------
    model
        A float ONNX model with batch norm folded; it stays as it is.
    feeds
        The calibration set.
    bits
        The width for each layer to round, by the name of its node.
    per_channel
        One scale for each output channel instead of one for the layer.
    adaptive
        False rounds to the nearest integers of the scale that covers the largest weight, and keeps the biases.
    pinned
        The scale covers the largest weight, which stays: a quantizer that takes its scale from the largest weight finds
        the same integers.
    progress
        Wraps the list of stages.
    """
    chosen = [layer for layer in layers(model) if layer.name in bits]
    known = values(model)
    current, found = model, dict[str, Rounded]()
    size = max(1, math.ceil(len(chosen) / STAGES))
    for start in progress(range(0, len(chosen), size)):
        stage = chosen[start : start + size]
        seen = collect(model, current, feeds, stage) if adaptive else {}
        changed, biases = {}, {}
        for layer in stage:
            weight = known[layer.weight]
            sums = seen.get(layer.name)
            flat = _rows(layer.canonical(weight))
            integers, scale = _integers(flat, sums, bits[layer.name], per_channel=per_channel, pinned=pinned)
            rounded = integers * scale
            stored = layer.stored(integers.reshape(layer.canonical(weight).shape), weight.shape).astype(np.int8)
            scales = np.asarray(scale.ravel() if per_channel else scale.ravel()[0], np.float32)
            found[layer.name] = Rounded(stored, scales, bits[layer.name])
            changed[layer.weight] = found[layer.name].dequantized(layer)
            if sums is not None and layer.op_type != "MatMul":
                biases[layer.name] = bias_of(layer, known) + sums.bias_shift(flat, rounded)
        current = with_values(current, changed)
        current = with_biases(current, biases) if biases else current
    return RoundedModel(current, found)


def _integers(
    weight: NDArray[np.float64], sums: Sums | None, bits: int, *, per_channel: bool, pinned: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Integers and scale of one weight (groups, rows, n): the nearest, or those that ``sums`` of its inputs ask for."""
    scale = nearest_scale(weight, bits, per_channel=per_channel)
    nearest = _nearest(weight, scale, bits)
    if sums is None:
        return nearest, scale
    wanted = sums.best_weights(weight)
    if pinned:
        held = np.where(np.abs(nearest) == 2 ** (bits - 1) - 1, nearest, np.nan)
        return descend(wanted, scale, sums.inner, bits, per_channel=per_channel, held=held)
    scale = best_scale(weight, sums.inner, bits, per_channel=per_channel)
    return descend(wanted, scale, sums.inner, bits, per_channel=per_channel)


@dataclass(eq=False)
class Sums:
    """What a layer's inputs give when they are summed up over a calibration set, for each group of channels.

    ``inner`` (groups, n, n) is the covariance of the inputs that the rounded network gives, damped; ``cross`` that of
    the float network's inputs with them; ``mean`` and ``mean_rounded`` (groups, n) are their means.
    """

    inner: NDArray[np.float64]
    cross: NDArray[np.float64]
    mean: NDArray[np.float64]
    mean_rounded: NDArray[np.float64]

    def best_weights(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """The real weights (groups, rows, n) that give, on the rounded inputs, what the float ones give on theirs."""
        n = weight.shape[-1]
        damping = np.trace(self.inner, axis1=1, axis2=2)[:, None, None] / n * DAMPING
        target = weight @ self.cross + weight * damping
        best: NDArray[np.float64] = np.linalg.solve(self.inner + damping * np.eye(n), target.swapaxes(1, 2))
        return best.swapaxes(1, 2)

    def bias_shift(self, weight: NDArray[np.float64], rounded: NDArray[np.float64]) -> Floats:
        """What to add to the bias (out,) so that the mean of each output stays."""
        before = np.einsum("gon,gn->go", weight, self.mean)
        after = np.einsum("gon,gn->go", rounded, self.mean_rounded)
        return np.asarray((before - after).ravel(), np.float32)


def collect(model: Any, rounded: Any, feeds: Feeds, stage: Iterable[Layer]) -> dict[str, Sums]:
    """Sum up the inputs of layers in the float model and in the one that is rounded so far, on the same items."""
    nodes = {node.name: node for node in model.graph.node}
    sizes = {name: tuple(constant.dims) for name, constant in constants(model).items()}
    able = [layer for layer in stage if can_be_sampled(layer, nodes[layer.name], sizes[layer.weight], LARGEST_INPUTS)]
    if not able:
        return {}
    names = list(dict.fromkeys(layer.x for layer in able))
    totals: dict[str, list[Any]] = {}
    rng = np.random.default_rng(0)
    floats = run(up_to(model, names), feeds, names)
    if rounded is model:  # nothing is rounded yet: one run serves both
        pairs: Iterable[Any] = ((batch, batch) for batch in floats)
    else:
        pairs = zip(floats, run(up_to(rounded, names), feeds, names), strict=True)
    for one, other in pairs:
        for layer in able:
            at = names.index(layer.x)
            places = Patches(layer, nodes[layer.name], sizes[layer.weight], one[at].shape, rng)
            x = patches_of(one[at], places)
            x_q = x if one is other else patches_of(other[at], places)
            entry = [x_q.swapaxes(1, 2) @ x_q, x.swapaxes(1, 2) @ x_q, x.sum(axis=1), x_q.sum(axis=1), x.shape[1]]
            kept = totals.get(layer.name)
            totals[layer.name] = entry if kept is None else [a + b for a, b in zip(kept, entry, strict=True)]
    found = {}
    for name, (*sums, count) in totals.items():
        inner, cross, mean, mean_q = (each / count for each in sums)
        inner -= mean_q[:, :, None] * mean_q[:, None, :]
        cross -= mean[:, :, None] * mean_q[:, None, :]
        size = inner.shape[-1]
        damping = np.maximum(np.trace(inner, axis1=1, axis2=2) / size * DAMPING, 1e-12)
        found[name] = Sums(inner + damping[:, None, None] * np.eye(size), cross, mean, mean_q)
    return found


def nearest_scale(weight: NDArray[np.float64], bits: int, *, per_channel: bool) -> NDArray[np.float64]:
    """The scale (groups, rows, 1) that covers the largest weight of each row, or of all.

    Examples
    --------
    >>> nearest_scale(np.array([[[7.0, -3.5]]]), 4, per_channel=True).tolist()
    [[[1.0]]]
    """
    largest = np.abs(weight).max(axis=-1, keepdims=True)
    if not per_channel:
        largest = np.full_like(largest, largest.max())
    return np.asarray(np.where(largest > 0, largest, 1.0) / (2 ** (bits - 1) - 1), np.float64)


def best_scale(
    weight: NDArray[np.float64], inner: NDArray[np.float64], bits: int, *, per_channel: bool
) -> NDArray[np.float64]:
    """The scale whose nearest integers cost least at the output, of those that clip some of the range."""
    widest = nearest_scale(weight, bits, per_channel=per_channel)
    errors = []
    for clip in CLIPS:
        lost = _nearest(weight, widest * clip, bits) * (widest * clip) - weight
        error = cost(lost, inner)
        errors.append(error if per_channel else np.full_like(error, error.sum()))
    best = np.argmin(errors, axis=0)
    return np.asarray(widest * np.asarray(CLIPS)[best][..., None], np.float64)


def cost(lost: NDArray[np.float64], inner: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean squared error of the output (groups, rows) when weights are off by ``lost`` (groups, rows, n).

    Examples
    --------
    >>> cost(np.array([[[1.0, -1.0]]]), np.array([[[1.0, 0.5], [0.5, 1.0]]])).tolist()
    [[1.0]]
    """
    return np.asarray(np.einsum("gon,gon->go", lost @ inner, lost))


def descend(
    wanted: NDArray[np.float64],
    scale: NDArray[np.float64],
    inner: NDArray[np.float64],
    bits: int,
    *,
    per_channel: bool = True,
    held: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Integers for the wanted weights (groups, rows, n), one coordinate after the other put on its best value.

    The scale of each row is fitted to its integers in between, unless some are ``held``: integers that stay, NaN where
    they may move; they are the outermost then. Returns integers and scale.
    """
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    integers = _nearest(wanted, scale, bits)
    if held is not None:
        low = -high
        integers = np.where(np.isnan(held), np.clip(integers, low, high), held)
    diagonal = np.maximum(np.einsum("gnn->gn", inner), 1e-30)
    for sweep in range(SWEEPS):
        gradient = (integers * scale - wanted) @ inner
        moved = False
        for k in np.argsort(-diagonal.mean(axis=0)):
            target = integers[..., k] * scale[..., 0] - gradient[..., k] / diagonal[:, None, k]
            new = np.clip(np.rint(target / scale[..., 0]), low, high)
            if held is not None:
                new = np.where(np.isnan(held[..., k]), new, held[..., k])
            step = (new - integers[..., k]) * scale[..., 0]
            if step.any():
                moved = True
                gradient += step[..., None] * inner[:, None, k, :]
                integers[..., k] = new
        if not moved:
            break
        if per_channel and held is None and sweep < SWEEPS - 1:
            fitted = np.einsum("gon,gon->go", integers @ inner, wanted)
            power = np.einsum("gon,gon->go", integers @ inner, integers)
            ratio = np.divide(fitted, power, out=scale[..., 0].copy(), where=power > 0)
            scale = np.where(ratio > 0, ratio, scale[..., 0])[..., None]
    return integers, scale


def _nearest(weight: NDArray[np.float64], scale: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    high = 2 ** (bits - 1) - 1
    return np.clip(np.rint(weight / scale), -high - 1, high)


def _rows(canonical: NDArray[Any]) -> NDArray[np.float64]:
    """(groups, out / groups, in / groups x kernel) in double precision."""
    return canonical.reshape(*canonical.shape[:2], -1).astype(np.float64)
