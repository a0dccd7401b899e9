"""Unstructured pruning: the weights of smallest magnitude become zero, and stay zero while the network trains on.

Han et al., *Learning both Weights and Connections for Efficient Neural Networks* (2015): magnitude; Zhu and Gupta,
*To prune, or not to prune* (2017): the cubic schedule. Nothing gets smaller by itself: a zero takes as many bytes and
multiplications as any other weight. What can be won of zeros is in `prune_packed`; what makes a network narrower is in
`prune_filters`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from edgelab.errors import BadInput
from edgelab.nets.inspection import layer_kind, weighted_layers
from edgelab.reading import Table

Masks: TypeAlias = "dict[str, torch.Tensor]"
Scope = Literal["global", "layer"]


def magnitude_mask(weight: ArrayLike, sparsity: float) -> NDArray[np.bool_]:
    """Which weights stay: all but the ``round(sparsity * size)`` of smallest magnitude.

    Among equal magnitudes the first in memory goes first, so that the number is exact.

    Examples
    --------
    >>> magnitude_mask([[0.5, -0.1], [0.2, -0.9]], 0.5).tolist()
    [[True, False], [False, True]]
    """
    values = np.asarray(weight)
    if not 0 <= sparsity <= 1:
        raise BadInput(f"sparsity={sparsity} is not a share from 0 to 1.")
    order = np.argsort(np.abs(values), axis=None, kind="stable")
    mask = np.ones(values.size, dtype=bool)
    mask[order[: round(sparsity * values.size)]] = False
    return mask.reshape(values.shape)


def cubic_sparsity(step: float, first: float, last: float, start: float = 0.0, end: float = 0.8) -> float:
    """The sparsity at ``step`` of a polynomial schedule of degree three (Zhu and Gupta 2017).

    It is ``start`` up to step ``first`` and ``end`` from step ``last`` on, and rises fast in between and then slowly:
    early there are many weights that nobody misses.

    Examples
    --------
    >>> [round(cubic_sparsity(step, 0, 100, 0.0, 0.8), 2) for step in (0, 25, 50, 75, 100)]
    [0.0, 0.46, 0.7, 0.79, 0.8]
    """
    if last <= first:
        raise BadInput(f"The schedule ends at step {last}, which is not after its first step {first}.")
    share = min(1.0, max(0.0, (step - first) / (last - first)))
    return end + (start - end) * (1 - share) ** 3


def prunable(net: nn.Module, exclude: Iterable[str] = ()) -> dict[str, Any]:
    """The layers whose weights may become zero, by name: convolutions and linear layers without ``exclude``.

    Raises
    ------
    BadInput
        If a name is no such layer, none is left, or a weight is not finite.
    """
    layers, names = weighted_layers(net), set(exclude)
    if unknown := sorted(names - set(layers)):
        raise BadInput(f"There is no layer '{unknown[0]}' with weights; the layers are {', '.join(layers)}.")
    chosen = {name: layer for name, layer in layers.items() if name not in names}
    if not chosen:
        raise BadInput(f"{type(net).__name__} has no convolution and no linear layer that may be pruned.")
    for name, layer in chosen.items():
        if not torch.isfinite(layer.weight).all():
            raise BadInput(f"Layer '{name}' holds NaN or infinity in its weights.")
    return chosen


def magnitude_masks(
    net: nn.Module, sparsity: float, scope: Scope = "global", exclude: Iterable[str] = (), *, empty: bool = False
) -> Masks:
    """A mask for each layer that leaves the largest weights.

    Parameters
    ----------
    net
        The network; it stays as it is.
    sparsity
        Share of the weights that become zero, 0 up to below 1.
    scope
        ``"layer"``: the same share of each layer. ``"global"``: one threshold for all layers.
    exclude
        Layers that stay whole.
    empty
        Allow that a layer loses all its weights, which cuts the network in two.

    Raises
    ------
    BadInput
        If the sparsity is out of range or empties a layer, or as `prunable`.
    """
    if not 0 <= sparsity < 1:
        raise BadInput(f"sparsity={sparsity:g} is not from 0 up to below 1: some weight must stay.")
    if scope not in ("global", "layer"):
        raise BadInput(f"scope='{scope}' is not known; use global or layer.")
    layers = prunable(net, exclude)
    values = {name: layer.weight.detach().cpu().numpy() for name, layer in layers.items()}
    if scope == "layer":
        found = {name: magnitude_mask(v, sparsity) for name, v in values.items()}
    else:
        flat = magnitude_mask(np.concatenate([v.ravel() for v in values.values()]), sparsity)
        ends = np.cumsum([v.size for v in values.values()])[:-1]
        parts = zip(values, np.split(flat, ends), strict=True)
        found = {name: part.reshape(values[name].shape) for name, part in parts}
    if not empty and (bare := [name for name, mask in found.items() if not mask.any()]):
        raise BadInput(
            f"A sparsity of {sparsity:g} leaves no weight in layer '{bare[0]}', so nothing gets through it; "
            f"prune less, by layer, or exclude it."
        )
    return {name: torch.from_numpy(mask) for name, mask in found.items()}


def random_masks(masks: Masks, seed: int = 0) -> Masks:
    """Masks with as many weights in each layer, at other places: the control of a lottery ticket."""
    rng = np.random.default_rng(seed)
    return {n: torch.from_numpy(rng.permutation(m.numpy().ravel()).reshape(m.shape)) for n, m in masks.items()}


def apply_masks(net: nn.Module, masks: Mapping[str, torch.Tensor]) -> nn.Module:
    """Set the weights of ``net`` to zero where the masks say so, in place; the network itself comes back.

    Raises
    ------
    BadInput
        If a mask belongs to no layer or has another shape.
    """
    layers = weighted_layers(net)
    with torch.no_grad():
        for name, mask in masks.items():
            if name not in layers or layers[name].weight.shape != mask.shape:
                raise BadInput(f"The mask of layer '{name}' does not fit the network.")
            layers[name].weight.mul_(mask)
    return net


def masked_step(
    net: nn.Module, stepper: torch.optim.Optimizer, masks: Mapping[str, torch.Tensor], loss: torch.Tensor
) -> None:
    """One step of the optimizer after which every pruned weight is zero.

    The mask has to come after the step: momentum and weight decay move a weight whose gradient is zero.
    """
    stepper.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    stepper.step()
    apply_masks(net, masks)


@dataclass(frozen=True)
class LayerZeros:
    """Weights of one layer and how many of them are zero; ``filters`` are whole output channels of zeros."""

    layer: str
    kind: str
    weights: int
    zeros: int
    channels: int
    filters: int

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return self.zeros / self.weights


@dataclass(frozen=True)
class Zeros:
    """The zeros of a network, layer by layer."""

    layers: tuple[LayerZeros, ...]

    @property
    def sparsity(self) -> float:
        """Share of zeros among the weights of all layers."""
        return sum(layer.zeros for layer in self.layers) / sum(layer.weights for layer in self.layers)

    @property
    def filters(self) -> int:
        """Whole filters of zeros."""
        return sum(layer.filters for layer in self.layers)

    @property
    def unpruned(self) -> tuple[str, ...]:
        """Layers without a single zero."""
        return tuple(layer.layer for layer in self.layers if not layer.zeros)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"sparsity": self.sparsity, "layers": [vars(layer) for layer in self.layers]}

    def _repr_markdown_(self) -> str:
        rows = [
            (n.layer, n.kind, n.weights, f"{100 * n.sparsity:.1f} %", f"{n.filters} of {n.channels}")
            for n in self.layers
        ]
        columns = ("layer", "kind", "weights", "zeros", "filters of zeros")
        left = f" No zero at all: {', '.join(self.unpruned)}." if self.unpruned else ""
        return Table(f"{100 * self.sparsity:.1f} % zeros", columns, rows, f"Counted.{left}")._repr_markdown_()


def count_zeros(net: nn.Module) -> Zeros:
    """Count the zeros of every convolution and linear layer: what a tool did, whatever it was asked.

    Examples
    --------
    >>> net = nn.Linear(2, 2)
    >>> net.weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    >>> count_zeros(net).sparsity, count_zeros(net).filters
    (0.75, 1)
    """
    rows = []
    for name, layer in weighted_layers(net).items():
        zero = (layer.weight.detach() == 0).flatten(1)
        rows.append(
            LayerZeros(name, layer_kind(layer), zero.numel(), int(zero.sum()), len(zero), int(zero.all(dim=1).sum()))
        )
    if not rows:
        raise BadInput(f"{type(net).__name__} has no convolution and no linear layer.")
    return Zeros(tuple(rows))


@dataclass(frozen=True)
class PruningSensitivity:
    """Score of the network when one layer alone is pruned: ``scores[layer]`` has an entry for each sparsity."""

    baseline: float
    sparsities: tuple[float, ...]
    scores: Mapping[str, tuple[float, ...]]

    @property
    def worst(self) -> str:
        """The layer that costs most at the highest sparsity."""
        return min(self.scores, key=lambda name: self.scores[name][-1])

    @property
    def best(self) -> str:
        """The layer that costs least at the highest sparsity."""
        return max(self.scores, key=lambda name: self.scores[name][-1])

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {**vars(self), "scores": {name: list(scores) for name, scores in self.scores.items()}}

    def _repr_markdown_(self) -> str:
        columns = ("layer", *(f"{100 * s:.0f} %" for s in self.sparsities))
        rows: list[tuple[str | float, ...]] = [(name, *scores) for name, scores in self.scores.items()]
        return Table(f"One layer pruned at a time; none: {self.baseline:.4g}", columns, rows)._repr_markdown_()


def sensitivity(
    net: nn.Module,
    evaluate: Callable[[nn.Module], float],
    sparsities: Iterable[float] = (0.5, 0.8, 0.95),
    mask: Callable[[NDArray[Any], float], NDArray[np.bool_]] = magnitude_mask,
) -> PruningSensitivity:
    """Prune one layer at a time, without training, and evaluate the network.

    Parameters
    ----------
    net
        The network; its weights are as before afterwards.
    evaluate
        Network to score, higher is better: accuracy on a validation set.
    sparsities
        What each layer is pruned to.
    mask
        Weight and sparsity to mask, `magnitude_mask` or one's own.
    """
    steps = tuple(sparsities)
    baseline = float(evaluate(net))
    scores: dict[str, tuple[float, ...]] = {}
    for name, layer in prunable(net).items():
        kept = layer.weight.detach().clone()
        found = []
        try:
            for sparsity in steps:
                chosen = torch.from_numpy(np.asarray(mask(kept.numpy(), sparsity)).astype(np.float32))
                layer.weight.data.copy_(kept * chosen)
                found.append(float(evaluate(net)))
        finally:
            layer.weight.data.copy_(kept)
        scores[name] = tuple(found)
    return PruningSensitivity(baseline, steps, scores)
