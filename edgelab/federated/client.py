"""A client's round as one pure function, ``(weights, state, data, config) -> (weights, state, metrics)``.

The function reads nothing but its arguments and changes none of them, draws no random number, and takes the same steps
whatever the values are. So one and the same function runs client by client, over many clients at once by
`torch.func.vmap`, or inside an app of another framework. The order of the items is drawn outside of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad_and_value

from edgelab.errors import BadInput

Weights: TypeAlias = Mapping[str, torch.Tensor]
State: TypeAlias = Mapping[str, torch.Tensor]
Metrics: TypeAlias = Mapping[str, torch.Tensor]


class Batches(NamedTuple):
    """What a client trains on in one round, in the order of its steps; repeated where it does several epochs.

    ``x`` (steps, batch, ...) float32, ``y`` (steps, batch) int64, ``mask`` (steps, batch) float32: 1 for an item and 0
    for a filler, so a mean is ``(loss * mask).sum() / mask.sum()``.
    """

    x: torch.Tensor
    y: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class ClientConfig:
    """How a client trains.

    Parameters
    ----------
    learning_rate
        Of plain gradient descent.
    epochs
        Passes over the client's items in a round: more of them save rounds, and let clients drift apart.
    batch_size
        Items of a step; None takes all in one.
    proximal
        FedProx's mu, the pull back to the weights that the round began with; 0 is FedAvg.

    Raises
    ------
    BadInput
        If a value is out of range.
    """

    learning_rate: float = 0.1
    epochs: int = 1
    batch_size: int | None = 16
    proximal: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise BadInput(f"learning_rate={self.learning_rate} must be above 0.")
        if not all(isinstance(number, (int, np.integer)) for number in (self.epochs, self.batch_size or 1)):
            raise BadInput(f"epochs={self.epochs!r}, batch_size={self.batch_size!r}: both are whole numbers.")
        if self.epochs < 1 or (self.batch_size is not None and self.batch_size < 1):
            raise BadInput(f"epochs={self.epochs}, batch_size={self.batch_size}: a client needs at least one of each.")
        if not (math.isfinite(self.proximal) and self.proximal >= 0):
            raise BadInput(f"proximal={self.proximal} is a pull and cannot be below 0.")

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)


class ClientRound(Protocol):
    """What a learner writes."""

    def __call__(
        self, weights: Weights, state: State, data: Batches, config: ClientConfig, /
    ) -> tuple[Weights, State, Metrics]:
        """New weights, what the client keeps for its next round, and scalars to report."""
        ...


class Slope(Protocol):
    """The gradient and the value of a loss."""

    def __call__(
        self, weights: Weights, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor, /
    ) -> tuple[Weights, torch.Tensor]:
        """The gradient by the weights' names, and the mean cross-entropy of the items whose mask is 1."""
        ...


def slope_of(net: nn.Module) -> Slope:
    """The gradient of the mean cross-entropy of a batch, for any weights of the network's form.

    Parameters
    ----------
    net
        Gives the form of the function alone; its own weights are not used.

    Raises
    ------
    BadInput
        If the network keeps running averages (batch normalisation), which no gradient step makes.

    Examples
    --------
    >>> net = nn.Linear(2, 2)
    >>> batch = torch.ones(3, 2), torch.zeros(3, dtype=torch.int64), torch.ones(3)
    >>> gradient, loss = slope_of(net)(initial_weights(net), *batch)
    >>> gradient["bias"].shape, loss.shape
    (torch.Size([2]), torch.Size([]))
    """
    initial_weights(net)  # refuses what cannot be averaged

    def loss_of(weights: Weights, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits = functional_call(net, dict(weights), (x,))
        losses = nn.functional.cross_entropy(logits, y, reduction="none")
        return (losses * mask).sum() / mask.sum().clamp(min=1)

    step: Slope = grad_and_value(loss_of)
    return step


def client_round(net: nn.Module) -> ClientRound:
    """A client's round of gradient descent with cross-entropy, and with FedProx's pull where the config has one.

    Parameters
    ----------
    net
        Gives the form of the function alone; its own weights are not used.

    Raises
    ------
    BadInput
        If the network keeps running averages (batch normalisation), which no gradient step makes.

    Notes
    -----
    FedAvg: H. B. McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS
    2017. FedProx: T. Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020.

    Examples
    --------
    >>> net = nn.Linear(2, 2)
    >>> data = Batches(torch.ones(1, 3, 2), torch.zeros(1, 3, dtype=torch.int64), torch.ones(1, 3))
    >>> weights, state, metrics = client_round(net)(initial_weights(net), {}, data, ClientConfig())
    >>> sorted(weights), sorted(metrics)
    (['bias', 'weight'], ['loss'])
    """
    step = slope_of(net)

    def run(weights: Weights, state: State, data: Batches, config: ClientConfig) -> tuple[Weights, State, Metrics]:
        start, total = weights, torch.zeros(())
        for x, y, mask in zip(data.x, data.y, data.mask, strict=True):
            gradient, loss = step(weights, x, y, mask)
            rate = config.learning_rate * (mask.sum() > 0)  # a step of fillers alone moves nothing
            weights = {
                name: value - rate * (gradient[name] + config.proximal * (value - start[name]))
                for name, value in weights.items()
            }
            total = total + loss * mask.sum()
        return weights, state, {"loss": total / data.mask.sum().clamp(min=1)}

    return run


def initial_weights(net: nn.Module) -> dict[str, torch.Tensor]:
    """The network's weights by name, as tensors of their own.

    Raises
    ------
    BadInput
        If the network keeps running averages, or holds no weights of float32.
    """
    buffers = [name for name, _ in net.named_buffers()]
    if buffers:
        raise BadInput(
            f"The network keeps running averages ({buffers[0]}), which clients cannot train by gradients; use group "
            "normalisation, or fold the batch normalisation first."
        )
    weights = {name: value.detach().clone() for name, value in net.named_parameters()}
    if not weights or any(value.dtype != torch.float32 for value in weights.values()):
        raise BadInput("A federated network needs weights, all of float32.")
    return weights
