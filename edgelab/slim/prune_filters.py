"""Structured pruning: filters that are really removed, so that the network itself becomes narrower.

Which channels have to go together comes from `prune_groups`. Here they are ranked, chosen by ratio or to a budget of
MACs, and cut out: the result is an ordinary network with smaller layers, for any runtime. Li et al., *Pruning Filters
for Efficient ConvNets* (2017): the L1 norm; Liu et al., *Network Slimming* (2017): the scale of batch norm; Molchanov
et al., *Importance Estimation for Neural Network Pruning* (2019): weight times gradient.

N:M sparsity, which zeroes weights inside filters for hardware that skips them, would be a third kind beside `prune`'s
masks and this.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab.errors import BadInput
from edgelab.nets.inspection import NetworkCost, count_macs
from edgelab.slim.prune_groups import Channels, Dependencies, dependencies

Criterion = Literal["l1", "bn_scale", "taylor", "random"]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """Which classes of channels go, out of which network.

    ``removed`` are numbers of classes in ``found``; ``notes`` one sentence for each group that lost less than was
    asked, by the name of its first layer.
    """

    found: Dependencies
    removed: frozenset[int]
    notes: Mapping[str, str]

    def kept_outputs(self, layer: str) -> Channels:
        """Indices of the output channels of a layer that stay, rising."""
        return self._kept(self.found.layers[layer].outputs)

    def kept_inputs(self, layer: str) -> Channels:
        """Indices of the input channels of a layer that stay, rising."""
        return self._kept(self.found.layers[layer].inputs)

    def _kept(self, channels: Channels) -> Channels:
        return np.flatnonzero(~np.isin(channels, list(self.removed)))


def importance(
    net: nn.Module,
    found: Dependencies,
    criterion: Criterion = "l1",
    gradients: Mapping[str, torch.Tensor] | None = None,
    seed: int = 0,
) -> dict[int, float]:
    """A score for each class of channels; the lowest go first.

    The score of a class is the mean over the layers that make it, each divided by the mean of its layer, so that
    layers of different size can be compared.

    Parameters
    ----------
    net, found
        The network and its dependencies.
    criterion
        ``"l1"``: the sum of the absolute weights of a filter. ``"bn_scale"``: the absolute scale of the batch norm
        behind it. ``"taylor"``: the absolute sum of weight times gradient, the first-order change of the loss.
        ``"random"``: the control.
    gradients
        For ``"taylor"``: the gradient of the loss for each layer's weight, by name.

    Raises
    ------
    BadInput
        If the criterion is unknown, has nothing to go by, or a weight is not finite.
    """
    rng = np.random.default_rng(seed)
    sums: dict[int, list[float]] = {}
    for name, layer in found.layers.items():
        wanted = ("norm",) if criterion == "bn_scale" else ("conv", "linear", "depthwise")
        if layer.kind not in wanted:
            continue
        scores = _scores(name, net.get_submodule(name), criterion, gradients, rng)
        scores = scores / max(float(scores.mean()), 1e-30)
        for number, score in zip(layer.outputs.tolist(), scores.tolist(), strict=True):
            sums.setdefault(number, []).append(score)
    missing = [g.name for g in found.groups if not all(int(number) in sums for number in g.classes)]
    if missing:
        raise BadInput(f"criterion='{criterion}' has nothing to go by in layer '{missing[0]}': no batch norm follows.")
    return {number: float(np.mean(scores)) for number, scores in sums.items()}


def _scores(
    name: str, module: Any, criterion: str, gradients: Mapping[str, torch.Tensor] | None, rng: np.random.Generator
) -> Scores:
    weight = module.weight.detach()
    if not torch.isfinite(weight).all():
        raise BadInput(f"Layer '{name}' holds NaN or infinity in its weights.")
    if criterion == "random":
        return rng.random(len(weight)) + 1e-3
    if criterion in ("l1", "bn_scale"):
        return np.asarray(weight.abs().flatten(1).sum(1) if weight.ndim > 1 else weight.abs(), dtype=np.float64)
    if criterion != "taylor":
        raise BadInput(f"criterion='{criterion}' is not known; use l1, bn_scale, taylor or random.")
    if gradients is None or name not in gradients:
        raise BadInput(f"criterion='taylor' needs the gradient of layer '{name}'.")
    return np.asarray((weight * gradients[name]).flatten(1).sum(1).abs(), dtype=np.float64)


def choose(
    found: Dependencies,
    scores: Mapping[int, float],
    ratio: float | Mapping[str, float],
    *,
    scope: Literal["group", "global"] = "group",
    round_to: int = 1,
    keep: tuple[str, ...] = (),
) -> Plan:
    """Choose the classes that go.

    Parameters
    ----------
    ratio
        Share of the channels to remove, 0 up to below 1; or one for each group, by the name of its first layer.
    scope
        ``"group"``: the same share of every group. ``"global"``: the lowest scores of the whole network.
    round_to
        Each width becomes a multiple of this, the nearest one, at least one of it. Kernels like multiples of 4 or 8.
    keep
        Layers whose filters all stay.

    Raises
    ------
    BadInput
        If the ratio is out of range, or a name is no layer.
    """
    highest = max(ratio.values(), default=0.0) if isinstance(ratio, Mapping) else ratio
    lowest = min(ratio.values(), default=0.0) if isinstance(ratio, Mapping) else ratio
    if not (0 <= lowest <= highest < 1):
        outside = highest if highest >= 1 else lowest
        raise BadInput(f"ratio={outside:g} is not from 0 up to below 1: some filter must stay.")
    names = (*keep, *(ratio if isinstance(ratio, Mapping) else ()))
    if unknown := [name for name in names if name not in found.layers]:
        raise BadInput(f"There is no layer '{unknown[0]}'; the layers are {', '.join(found.layers)}.")
    if round_to < 1:
        raise BadInput(f"round_to={round_to} is not 1 or more.")
    open_groups = [g for g in found.groups if not set(keep) & set(g.makers)]
    threshold = float("-inf")
    if scope == "global" and open_groups:
        pool = np.sort([scores[int(n)] for g in open_groups for n in g.classes])
        count = round(highest * len(pool))
        threshold = pool[count] if count < len(pool) else float("inf")
    removed: set[int] = set()
    notes: dict[str, str] = {}
    for group in open_groups:
        order = sorted(group.classes.tolist(), key=lambda number: scores[number])
        asked = ratio.get(group.name, 0.0) if isinstance(ratio, Mapping) else highest
        wanted = sum(scores[n] < threshold for n in order) if scope == "global" else asked * len(order)
        left = _rounded(len(order) - wanted, len(order), round_to)
        removed.update(order[: len(order) - left])
        if left == len(order) and wanted >= 0.5:
            notes[group.name] = f"{wanted:.0f} of its {len(order)} filters should go, but round_to={round_to} keeps all"
        elif abs(len(order) - left - wanted) >= 1:
            notes[group.name] = f"{wanted:.0f} of its {len(order)} filters should go, and {len(order) - left} went"
    notes.update({g.name: "it was named in `keep`" for g in found.groups if set(keep) & set(g.makers)})
    return Plan(found, frozenset(removed), notes)


def _rounded(left: float, width: int, round_to: int) -> int:
    near = int(np.floor(left / round_to + 0.5)) * round_to
    return min(width, max(near, min(round_to, width), 1))


def planned_macs(cost: NetworkCost, plan: Plan) -> int:
    """MACs of one item after the plan, computed from those before it (``cost``)."""
    total = 0
    for layer in cost.layers:
        known = plan.found.layers.get(layer.name)
        if known is None:
            total += layer.macs
            continue
        share = len(plan.kept_outputs(layer.name)) / len(known.outputs)
        if known.kind != "depthwise":
            share *= len(plan.kept_inputs(layer.name)) / len(known.inputs)
        total += round(layer.macs * share)
    return total


def choose_to_budget(
    found: Dependencies,
    scores: Mapping[int, float],
    cost: NetworkCost,
    macs: float,
    **settings: Any,
) -> Plan:
    """The smallest ratio of `choose` that brings the network to ``macs`` multiply-accumulates or fewer.

    Raises
    ------
    BadInput
        If no ratio reaches the budget.
    """
    if not macs > 0:
        raise BadInput(f"macs={macs:g} is not above 0.")
    low, high = 0.0, 0.999
    best = choose(found, scores, high, **settings)
    if planned_macs(cost, best) > macs:
        raise BadInput(
            f"Not even {planned_macs(cost, best):,} MACs are within the budget of {macs:,.0f}: with one filter left in "
            f"each layer that may be narrowed, this is the least."
        )
    for _ in range(24):
        middle = (low + high) / 2
        plan = choose(found, scores, middle, **settings)
        if planned_macs(cost, plan) <= macs:
            best, high = plan, middle
        else:
            low = middle
    return best


def remove(net: nn.Module, plan: Plan) -> nn.Module:
    """A copy of ``net`` without the channels of the plan: smaller tensors, no zeros, no masks."""
    narrow = copy.deepcopy(net)
    for name, layer in plan.found.layers.items():
        module: Any = narrow.get_submodule(name)
        outputs = torch.from_numpy(plan.kept_outputs(name))
        inputs = torch.from_numpy(plan.kept_inputs(name))
        if layer.kind == "norm":
            for tensor in ("weight", "bias", "running_mean", "running_var"):
                _cut(module, tensor, outputs)
            module.num_features = len(outputs)
            continue
        _cut(module, "weight", outputs, None if layer.kind == "depthwise" else inputs)
        _cut(module, "bias", outputs)
        if layer.kind == "linear":
            module.in_features, module.out_features = len(inputs), len(outputs)
        else:
            module.in_channels, module.out_channels = len(inputs), len(outputs)
            module.groups = len(inputs) if layer.kind == "depthwise" else 1
    return narrow


def silence(net: nn.Module, plan: Plan) -> nn.Module:
    """A copy of ``net`` of the same shape in which nothing reads the channels of the plan: their weights are zero.

    It computes what `remove` computes, at the full price; a test holds the two together.
    """
    quiet = copy.deepcopy(net)
    with torch.no_grad():
        for name, layer in plan.found.layers.items():
            if layer.kind in ("conv", "linear"):
                gone = np.setdiff1d(np.arange(len(layer.inputs)), plan.kept_inputs(name))
                quiet.get_submodule(name).weight[:, torch.from_numpy(gone)] = 0  # type: ignore[operator]
    return quiet


def narrowed(
    net: nn.Module,
    example: torch.Tensor,
    ratio: float | Mapping[str, float] | None = None,
    *,
    macs: float | None = None,
    criterion: Criterion = "l1",
    gradients: Mapping[str, torch.Tensor] | None = None,
    scope: Literal["group", "global"] = "group",
    round_to: int = 1,
    keep: tuple[str, ...] = (),
    seed: int = 0,
) -> tuple[nn.Module, Plan]:
    """Find, rank, choose and remove in one call, by ``ratio`` or to a budget of ``macs``; see the functions above.

    Raises
    ------
    BadInput
        Unless exactly one of ``ratio`` and ``macs`` is given; and as `dependencies`, `importance` and `choose`.

    Examples
    --------
    >>> from edgelab.nets import load, count_macs
    >>> net = load("signs_dscnn")
    >>> narrow, plan = narrowed(net, torch.zeros(1, 3, 32, 32), ratio=0.5)
    >>> narrow.stem.conv.out_channels, net.stem.conv.out_channels
    (16, 32)
    """
    if (ratio is None) == (macs is None):
        raise BadInput("Give either ratio or macs, what is to be removed or what may remain.")
    found = dependencies(net, example)
    if not found.groups:
        raise BadInput(f"{type(net).__name__} has no layer that could be narrowed: {_first_reason(found)}.")
    scores = importance(net, found, criterion, gradients, seed)
    settings: dict[str, Any] = {"scope": scope, "round_to": round_to, "keep": keep}
    if macs is None:
        plan = choose(found, scores, ratio if ratio is not None else 0.0, **settings)
    else:
        plan = choose_to_budget(found, scores, count_macs(net, example.shape[1:]), macs, **settings)
    return remove(net, plan).train(net.training), plan


def _first_reason(found: Dependencies) -> str:
    return next((f"'{name}' stays because {why}" for name, why in found.kept.items()), "nothing makes channels")


def _cut(module: nn.Module, name: str, rows: torch.Tensor, columns: torch.Tensor | None = None) -> None:
    """Leave these rows, and these columns, of a parameter or buffer, if the module has it."""
    tensor = getattr(module, name, None)
    if tensor is None:
        return
    kept = tensor.detach()[rows]
    kept = (kept if columns is None else kept[:, columns]).clone()
    if isinstance(tensor, nn.Parameter):
        setattr(module, name, nn.Parameter(kept, requires_grad=tensor.requires_grad))
    else:
        setattr(module, name, kept)
