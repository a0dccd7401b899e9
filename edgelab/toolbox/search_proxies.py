"""Zero-cost proxies: figures of an untrained network that are meant to rank networks by the accuracy they will have."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from edgelab.errors import BadInput

if TYPE_CHECKING:
    import torch
    from torch import nn


def grad_norm(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The sum over all parameters of the norm of their gradient, for the cross-entropy of one batch.

    As in Abdelfattah et al. 2021, *Zero-Cost Proxies for Lightweight NAS*. Batch normalisation takes the statistics of
    the batch, as in training. The network stays as it is.
    """
    import torch
    from torch.nn import functional

    if len(images) < 2 or len(images) != len(labels):
        raise BadInput(f"Two or more images and a label of each are wanted, not {len(images)} and {len(labels)}.")
    trial = copy.deepcopy(net).train()
    loss = functional.cross_entropy(trial(images), labels)
    torch.autograd.backward(loss)
    return sum(float(p.grad.norm()) for p in trial.parameters() if p.grad is not None)


def synflow(net: nn.Module, images: torch.Tensor) -> float:
    """The logarithm of SynFlow (Tanaka et al. 2020): the sum of each parameter times its gradient.

    All parameters are made positive and the network sees an image of ones: no data is looked at but for its shape.
    """
    import torch

    if not len(images):
        raise BadInput("SynFlow takes the shape from an image, and there is none.")
    trial = copy.deepcopy(net).double().eval()
    with torch.no_grad():
        for value in trial.state_dict().values():
            value.abs_()
    ones = torch.ones_like(images[:1]).double()
    for layer in trial.modules():  # an activation that saturates would cut the flow
        if isinstance(layer, torch.nn.ReLU6):
            layer.max_val = float("inf")
    trial(ones).sum().backward()
    total = sum(float((p * p.grad).sum().detach()) for p in trial.parameters() if p.grad is not None)
    return float(torch.log(torch.tensor(total).double() + 1e-300))


def naswot(net: nn.Module, images: torch.Tensor) -> float:
    """The logarithm of the determinant of how alike the images' activation patterns are (Mellor et al. 2021).

    The more differently the activations of a batch switch on and off, the larger it is.
    """
    import torch

    if len(images) < 2:
        raise BadInput(f"How alike images are takes two or more, not {len(images)}.")
    trial = copy.deepcopy(net).train()
    codes: list[torch.Tensor] = []  # 0 or 1, so that float32 counts exactly up to 2**24 activations
    hooks = [
        layer.register_forward_hook(lambda _m, _i, out: codes.append((out > 0).flatten(1).float()))
        for layer in trial.modules()
        if isinstance(layer, torch.nn.ReLU | torch.nn.ReLU6)
    ]
    with torch.no_grad():
        trial(images)
    for hook in hooks:
        hook.remove()
    kernel = torch.zeros(len(images), len(images)).double()
    for code in codes:  # both on, or both off
        on = code.sum(dim=1).double()
        kernel += 2 * (code @ code.T).double() + code.shape[1] - on[:, None] - on
    return float(torch.linalg.slogdet(kernel).logabsdet)
