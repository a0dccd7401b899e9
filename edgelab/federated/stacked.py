"""A client's round of a multilayer perceptron for many clients at once, in NumPy alone.

The weights of all clients stand in one array a layer, and one batched matrix product does a layer of all of them. It
is `edgelab.federated.client.client_round` written out, and tests hold the two to each other.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgelab.errors import BadInput
from edgelab.federated.client import ClientConfig, Weights

Floats = NDArray[np.float32]


def layers_of(net: nn.Module) -> list[nn.Linear]:
    """The linear layers of a multilayer perceptron: linear layers with biases and a ReLU between any two.

    Raises
    ------
    BadInput
        If the network is anything else.
    """
    parts = [part for part in net.children() if not isinstance(part, nn.Flatten)]
    linear = [part for part in parts[::2] if isinstance(part, nn.Linear) and part.bias is not None]
    fits = isinstance(net, nn.Sequential) and len(parts) == 2 * len(linear) - 1
    if not fits or not all(isinstance(part, nn.ReLU) for part in parts[1::2]):
        raise BadInput("The NumPy engine does linear layers with a ReLU between them; use engine='vmap' here.")
    return linear


def stacked_round(
    weights: Weights, x: Floats, y: NDArray[np.int64], mask: Floats, config: ClientConfig
) -> tuple[Floats, dict[str, Floats]]:
    """The round of K clients from the same weights.

    Parameters
    ----------
    weights
        Matrix and bias of each layer in turn, as `edgelab.nets.mlp` has them.
    x, y, mask
        (K, steps, batch, ...), (K, steps, batch), (K, steps, batch).
    config
        Rate and pull.

    Returns
    -------
    tuple
        New weights (K, parameters), flattened, and ``{"loss": (K,)}``.
    """
    clients, steps, batch = mask.shape
    start = np.concatenate([value.detach().numpy().ravel() for value in weights.values()])
    flat = np.repeat(start[None], clients, axis=0)
    shapes = [tuple(value.shape) for value in weights.values()]
    now, began = _views(flat, shapes), _views(start[None], shapes)
    x = x.reshape(clients, steps, batch, -1)
    ones = np.ones(batch, np.float32)
    rows, columns = np.arange(clients)[:, None], np.arange(batch)[None]
    counts = mask.sum(axis=2)
    total = np.zeros(clients, np.float32)
    for number in range(steps):
        inputs = [x[:, number].transpose(0, 2, 1)]  # values of a layer: (clients, units, batch)
        for layer in range(0, len(now), 2):
            out = now[layer] @ inputs[-1]
            out += now[layer + 1][..., None]
            inputs.append(np.maximum(out, 0, out=out) if layer < len(now) - 2 else out)
        back = inputs.pop()
        back -= back.max(axis=1, keepdims=True)
        chosen = rows, y[:, number], columns
        losses = -back[chosen]
        np.exp(back, out=back)
        sums = back.sum(axis=1)
        losses += np.log(sums)
        held, count = mask[:, number], counts[:, number]
        total += (losses * held).sum(axis=1)
        share = held / np.maximum(count, 1)[:, None]
        back *= (share / sums)[:, None]
        back[chosen] -= share
        rate = np.float32(config.learning_rate) * (count > 0).astype(np.float32)
        for layer in range(len(now) - 2, -1, -2):
            gradients = back @ inputs[layer // 2].transpose(0, 2, 1), back @ ones
            if layer:
                back = now[layer].transpose(0, 2, 1) @ back
                back *= inputs[layer // 2] > 0
            for place, gradient in zip((layer, layer + 1), gradients, strict=True):
                if config.proximal:
                    gradient += np.float32(config.proximal) * (now[place] - began[place])  # noqa: PLW2901
                gradient *= rate.reshape(-1, *[1] * (gradient.ndim - 1))  # noqa: PLW2901
                now[place] -= gradient
    return flat, {"loss": total / np.maximum(counts.sum(axis=1), 1)}


def _views(flat: Floats, shapes: list[tuple[int, ...]]) -> list[Floats]:
    """Views of (K, parameters), one a matrix or bias: (K, *shape)."""
    parts = np.split(flat, np.cumsum([math.prod(shape) for shape in shapes])[:-1], axis=1)
    return [part.reshape(len(flat), *shape) for part, shape in zip(parts, shapes, strict=True)]
