"""PyTorch's own optimizers without its compiler.

The methods of `torch.optim.Optimizer` are wrapped for `torch.compile`: the first call of any of them imports the
compiler, which takes about as long as importing PyTorch itself. Nothing here is compiled. So these two take the very
methods that PyTorch wrapped, which compute the same bits; where a version of PyTorch wraps nothing, they are its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch


class _Direct:
    """The methods that a step of training takes, called directly."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in `torch.optim.Optimizer`."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As in `torch.optim.Optimizer`."""
        inspect.unwrap(torch.optim.Optimizer.zero_grad)(self, set_to_none)


class AdamW(_Direct, torch.optim.AdamW):
    """`torch.optim.AdamW`."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, as in `torch.optim.AdamW`."""
        return inspect.unwrap(torch.optim.AdamW.step)(self, closure)


class SGD(_Direct, torch.optim.SGD):
    """`torch.optim.SGD`."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, as in `torch.optim.SGD`."""
        return inspect.unwrap(torch.optim.SGD.step)(self, closure)


def adamw(parameters: Iterable[torch.nn.Parameter], rate: float, decay: float = 0.0) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) on ``parameters``.

    Parameters
    ----------
    parameters
        What it changes.
    rate
        The learning rate.
    decay
        The weight decay, which does not depend on the gradient.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> stepper = adamw([weight], rate=0.25)
    >>> weight.sum().backward()
    >>> stepper.step()
    >>> round(float(weight.detach()), 4)
    0.75
    """
    return AdamW(parameters, lr=rate, weight_decay=decay)


def sgd(
    parameters: Iterable[torch.nn.Parameter],
    rate: float,
    *,
    momentum: float = 0.0,
    decay: float = 0.0,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent on ``parameters``, as `torch.optim.SGD` takes its settings.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> stepper = sgd([weight], rate=0.25)
    >>> (3 * weight.sum()).backward()
    >>> stepper.step()
    >>> float(weight.detach())
    0.25
    """
    return SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay, nesterov=nesterov)
