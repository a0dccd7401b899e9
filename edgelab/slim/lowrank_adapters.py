"""LoRA: a frozen layer learns a correction of low rank, which is merged into its weights afterwards.

After Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models": the layer's weights W stay, two thin
matrices B A are trained beside them, and W + (alpha / rank) B A takes their place in the end, so nothing is left to
compute.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from edgelab.errors import BadInput


class Adapted(nn.Module):
    """A frozen linear layer with a trainable correction of low rank.

    Parameters
    ----------
    layer
        The linear layer; its weights and bias get no gradient any more.
    rank
        Of the correction, from 1 to the smaller side of the weights.
    alpha
        The correction counts ``alpha / rank`` times.

    Raises
    ------
    BadInput
        If the rank is outside its range.
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float = 16.0, seed: int = 0) -> None:
        super().__init__()
        highest = min(layer.weight.shape)
        if not 1 <= rank <= highest:
            raise BadInput(f"rank={rank} has to be from 1 to {highest}, the smaller side of the layer's weights.")
        self.layer, self.scale = layer, alpha / rank
        layer.requires_grad_(requires_grad=False)
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(rank, layer.in_features, generator=generator) / rank
        self.down = nn.Parameter(start.to(layer.weight.device, layer.weight.dtype))
        self.up = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))  # so the first answer is the layer's

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's answer and the correction; ``x`` is (..., in)."""
        return self.layer(x) + self.scale * (x @ self.down.T) @ self.up.T  # type: ignore[no-any-return]

    def merged(self) -> nn.Linear:
        """A plain linear layer that answers as this one does."""
        made = copy.deepcopy(self.layer)
        with torch.no_grad():
            made.weight += self.scale * (self.up @ self.down)
        return made.requires_grad_()


def adapted(network: nn.Module, rank: int, layers: Sequence[str] | None = None, *, seed: int = 0) -> nn.Module:
    """A copy of a network whose linear layers learn corrections of low rank; all its other weights are frozen.

    Parameters
    ----------
    network
        It stays as it is.
    rank
        Of the corrections; of a layer that is smaller, its own.
    layers
        Names of linear layers; all without it.

    Raises
    ------
    BadInput
        If a layer is not there or not linear, the network has none, or the rank is below 1.

    Examples
    --------
    >>> made = adapted(nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)), rank=2, layers=["0"])
    >>> sum(p.numel() for p in made.parameters() if p.requires_grad)
    96
    """
    made = copy.deepcopy(network).requires_grad_(requires_grad=False)
    modules = dict(made.named_modules())
    wanted = [n for n, m in modules.items() if type(m) is nn.Linear] if layers is None else list(layers)
    if not wanted:
        raise BadInput("The network has no linear layer that could learn a correction.")
    for place, name in enumerate(wanted):
        layer = modules.get(name)
        if not isinstance(layer, nn.Linear):
            raise BadInput(f"'{name}' is no linear layer of the network.")
        parent, _, own = name.rpartition(".")
        correction = Adapted(layer, min(rank, *layer.weight.shape), seed=seed + place)
        if not name:
            return correction
        setattr(modules[parent], own, correction)
    return made


def merge(network: nn.Module) -> nn.Module:
    """A copy of a network in which every correction is merged into its layer."""
    made = copy.deepcopy(network)
    if isinstance(made, Adapted):
        return made.merged()
    modules = dict(made.named_modules())
    for name, module in modules.items():
        if isinstance(module, Adapted):
            parent, _, own = name.rpartition(".")
            setattr(modules[parent], own, module.merged())
    return made.requires_grad_()
