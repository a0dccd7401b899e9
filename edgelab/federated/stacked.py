"""A client's round of a multilayer perceptron for many clients at once, in NumPy alone.

The weights of all clients stand in one array a layer, and one batched matrix product does a layer of all of them. It
is `edgelab.federated.client.client_round` written out, and tests hold the two to each other.
"""

from __future__ import annotations

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
    start = [np.ascontiguousarray(value.detach().numpy()) for value in weights.values()]
    now = [np.broadcast_to(value, (clients, *value.shape)).copy() for value in start]
    x = x.reshape(clients, steps, batch, -1)
    total = np.zeros(clients, np.float32)
    rows, columns = np.arange(clients)[:, None], np.arange(batch)[None]
    for number in range(steps):
        inputs = [x[:, number]]
        for layer in range(0, len(now), 2):
            out = inputs[-1] @ now[layer].transpose(0, 2, 1) + now[layer + 1][:, None]
            inputs.append(np.maximum(out, 0) if layer < len(now) - 2 else out)
        logits = inputs.pop()
        shifted = logits - logits.max(axis=-1, keepdims=True)
        raised = np.exp(shifted)
        sums = raised.sum(axis=-1, keepdims=True)
        held = mask[:, number]
        count = np.maximum(held.sum(axis=-1), 1)
        losses = np.log(sums[..., 0]) - shifted[rows, columns, y[:, number]]
        total += (losses * held).sum(axis=-1)
        back = raised / sums
        back[rows, columns, y[:, number]] -= 1
        back *= (held / count[:, None])[..., None]
        rate = np.float32(config.learning_rate) * held.any(axis=-1).astype(np.float32)
        for layer in range(len(now) - 2, -1, -2):
            gradients = back.transpose(0, 2, 1) @ inputs[layer // 2], back.sum(axis=1)
            if layer:
                back = (back @ now[layer]) * (inputs[layer // 2] > 0)
            for place, gradient in zip((layer, layer + 1), gradients, strict=True):
                if config.proximal:
                    gradient = gradient + np.float32(config.proximal) * (now[place] - start[place])  # noqa: PLW2901
                now[place] -= rate.reshape(-1, *[1] * (gradient.ndim - 1)) * gradient
    flat = np.concatenate([value.reshape(clients, -1) for value in now], axis=1)
    return flat, {"loss": total / np.maximum(mask.sum(axis=(1, 2)), 1)}
