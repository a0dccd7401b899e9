"""What a gradient gives away: the input that made it, read off the first layer or searched for.

These are attacks on updates that a server sees. They say what an update is worth protecting for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call

from edgelab.errors import BadInput
from edgelab.federated.client import initial_weights

Floats = NDArray[np.float32]


def invert_first_layer(weight_gradient: Floats, bias_gradient: Floats) -> Floats:
    """The input of a linear layer from the gradients of its weights (out, in) and of its bias (out,).

    For one item the gradient of row i is its bias' gradient times the input; the row whose bias has the largest
    gradient is divided by it. Of a batch, the result is a mean of its inputs with unknown weights.

    Raises
    ------
    BadInput
        If the shapes do not fit, or every bias has the gradient 0: then nothing came through.

    Notes
    -----
    L. T. Phong et al., Privacy-Preserving Deep Learning via Additively Homomorphic Encryption, IEEE TIFS 2018.

    Examples
    --------
    >>> invert_first_layer(np.array([[2.0, 4.0], [0.0, 0.0]]), np.array([2.0, 0.0])).tolist()
    [1.0, 2.0]
    """
    weight, bias = np.asarray(weight_gradient), np.asarray(bias_gradient)
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise BadInput(f"Gradients of shapes {weight.shape} and {bias.shape} are not those of one linear layer.")
    row = int(np.abs(bias).argmax())
    if bias[row] == 0 or not np.isfinite(bias[row]):
        raise BadInput("Every bias has the gradient 0, or one is not finite: nothing of the input came through.")
    found: Floats = weight[row] / bias[row]
    return found


def revealed_label(last_bias_gradient: Floats) -> int:
    """The label of a single item: the one class whose bias in the last layer has a gradient below 0.

    Notes
    -----
    B. Zhao, K. R. Mopuri and H. Bilen, iDLG: Improved Deep Leakage from Gradients, arXiv:2001.02610.

    Examples
    --------
    >>> revealed_label(np.array([0.2, -0.7, 0.5]))
    1
    """
    return int(np.argmin(last_bias_gradient))


@dataclass(frozen=True, eq=False)
class Inversion:
    """A search for the input: ``image`` of the input's shape, the label, and the distance of gradients by step."""

    image: Floats = field(repr=False)
    label: int
    losses: tuple[float, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"label": self.label, "losses": list(self.losses), "image": self.image.tolist()}


def item_gradient(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    """The gradient of the mean cross-entropy of a batch at the network's weights, one tensor a parameter."""
    weights = {name: value.requires_grad_() for name, value in initial_weights(net).items()}
    loss = nn.functional.cross_entropy(functional_call(net, weights, (x,)), y)
    return [value.detach() for value in torch.autograd.grad(loss, list(weights.values()))]


def search_input(
    net: nn.Module, gradient: list[torch.Tensor], shape: tuple[int, ...], *, steps: int = 60, seed: int = 0
) -> Inversion:
    """Search the input (1, *shape) whose gradient is nearest to a given one, by L-BFGS from noise.

    Parameters
    ----------
    net
        A network that is smooth (sigmoid, tanh or GELU in place of ReLU), with a bias in its last layer.
    gradient
        What the client sent, one tensor a parameter.
    shape
        Of the input.
    steps
        Of L-BFGS.
    seed
        Of the noise where it starts.

    Raises
    ------
    BadInput
        If the gradient is not of this network.

    Notes
    -----
    L. Zhu, Z. Liu and S. Han, Deep Leakage from Gradients, NeurIPS 2019; the label is read off as in iDLG.
    """
    weights = {name: value.requires_grad_() for name, value in initial_weights(net).items()}
    if [value.shape for value in weights.values()] != [value.shape for value in gradient]:
        raise BadInput("The gradient is not of this network: its parameters have other shapes.")
    label = revealed_label(gradient[-1].numpy())
    y = torch.tensor([label])
    start = np.random.default_rng(seed).normal(0.5, 0.25, (1, *shape))
    guess = torch.from_numpy(start.astype(np.float32)).requires_grad_()
    optimiser = torch.optim.LBFGS([guess], lr=1.0, max_iter=4, line_search_fn="strong_wolfe")

    def distance() -> torch.Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(functional_call(net, weights, (guess,)), y)
        found = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        apart = torch.stack([(a - b).pow(2).sum() for a, b in zip(found, gradient, strict=True)]).sum()
        guess.grad = torch.autograd.grad(1e3 * apart, guess)[0]
        return 1e3 * apart.detach()

    losses = tuple(float(optimiser.step(distance)) for _ in range(steps))  # type: ignore[no-untyped-call]
    return Inversion(guess.detach().numpy()[0], label, losses)
