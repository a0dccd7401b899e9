"""The six small rules of quantization-aware training, as a learner writes them by hand.

Each takes and gives tensors or plain numbers and can be replaced by somebody's own: `Rules` carries those that a
network uses while it runs. What is rounded here is rounded as ONNX's QuantizeLinear does it: divide, round half to
even, shift, saturate.

Sources: Bengio, Leonard and Courville, "Estimating or Propagating Gradients Through Stochastic Neurons" (2013), for the
straight-through estimator; Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (CVPR 2018), for folding, moving averages and the delay before ranges are fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from edgelab.errors import BadInput

Number = float | torch.Tensor
Range = tuple[float, float]


class _Rounded(torch.autograd.Function):
    """Rounds on the way there; on the way back the gradient passes where nothing saturated."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: Any, zero_point: Any, low: int, high: int) -> torch.Tensor:
        steps = torch.div(x, scale).round_()
        if not (isinstance(zero_point, int) and zero_point == 0):
            steps += zero_point
        kept = steps.clamp(low, high)
        ctx.save_for_backward(kept == steps)
        if not (isinstance(zero_point, int) and zero_point == 0):
            kept -= zero_point
        return kept.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None, None


def fake_quantize(x: torch.Tensor, scale: Number, zero_point: Number, low: int, high: int) -> torch.Tensor:
    """``x`` as the integers ``low`` to ``high`` would represent it, with the straight-through gradient.

    Rounding has a gradient of 0 almost everywhere, so nothing would ever be learnt through it. The straight-through
    estimator passes the gradient as if nothing had been rounded, and stops it where the value saturated.

    Parameters
    ----------
    x
        float32 of any shape.
    scale, zero_point
        Numbers, or tensors that broadcast against ``x`` (one for each channel).
    low, high
        Smallest and largest integer.

    Examples
    --------
    >>> x = torch.tensor([0.1, 0.6, 9.0], requires_grad=True)
    >>> y = fake_quantize(x, 0.5, 0, -4, 3)
    >>> y.tolist(), torch.autograd.grad(y.sum(), x)[0].tolist()
    ([0.0, 0.5, 1.5], [1.0, 1.0, 0.0])
    """
    result: torch.Tensor = _Rounded.apply(x, scale, zero_point, low, high)
    return result


def fold(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    gamma: torch.Tensor,
    beta: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (out, ...) and bias (out,) of a layer that does what the layer and the batch norm behind it do.

    Parameters
    ----------
    weight, bias
        Of the convolution or linear layer, output channel first; a bias of None is 0.
    gamma, beta, mean, variance, eps
        Of the batch norm, one for each output channel: ``gamma * (y - mean) / sqrt(variance + eps) + beta``.

    Examples
    --------
    >>> one = torch.ones(1)
    >>> [part.tolist() for part in fold(2 * torch.ones(1, 1), None, 3 * one, one, 4 * one, one, 0.0)]
    [[[6.0]], [-11.0]]
    """
    shrink = gamma / torch.sqrt(variance + eps)
    shift = mean if bias is None else mean - bias
    return weight * shrink.reshape(-1, *[1] * (weight.ndim - 1)), beta - shift * shrink


def moving_range(known: Range | None, low: float, high: float, momentum: float = 0.1) -> Range:
    """The running range of an activation after one more batch: an exponential moving average of both ends.

    Parameters
    ----------
    known
        The range so far; None before the first batch, which then sets it.
    low, high
        Smallest and largest value of the batch.
    momentum
        The share of the new batch, above 0 and at most 1.

    Examples
    --------
    >>> moving_range((0.0, 4.0), 0.0, 6.0, momentum=0.25)
    (0.0, 4.5)
    """
    if known is None:
        return low, high
    return known[0] + momentum * (low - known[0]), known[1] + momentum * (high - known[1])


def phase(step: int, freeze_observers: int | None, freeze_batch_norm: int | None) -> tuple[bool, bool]:
    """(observing, normalising by the batch): what still moves with the data at a step, counted from 0.

    Parameters
    ----------
    step
        The step that is about to be made.
    freeze_observers, freeze_batch_norm
        The first step at which the ranges, and the statistics of batch norm, no longer move; None: they always do.

    Examples
    --------
    >>> phase(0, 100, 50), phase(50, 100, 50), phase(100, 100, None)
    ((True, True), (True, False), (False, True))
    """
    return freeze_observers is None or step < freeze_observers, freeze_batch_norm is None or step < freeze_batch_norm


def training_step(
    network: torch.nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
) -> float:
    """One step on one batch: cross-entropy of the **rounded** network, its gradient, one move of the float weights.

    Parameters
    ----------
    network
        Gives logits (N, classes) of ``x``; it is in training mode.
    x, y
        Inputs (N, ...) float32 and classes (N,) int64.

    Returns
    -------
    The loss before the step.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = functional.cross_entropy(network(x), y)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def to_integers(
    weight: ArrayLike, bias: ArrayLike, scale_x: float, scale_w: ArrayLike, bits: int = 8
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """What a file stores of one layer: symmetric weights of ``bits`` bits, and biases of 32 bits.

    Parameters
    ----------
    weight
        (out, ...), after training, batch norm folded.
    bias
        (out,). It counts in steps of input scale times weight scale, so that it joins the integer sums as it is.
    scale_x
        Scale of the layer's inputs.
    scale_w
        One number, or one for each output channel (out,).

    Examples
    --------
    >>> integers, bias = to_integers([[0.5, -1.0]], [0.75], 0.5, [0.25], bits=4)
    >>> integers.tolist(), bias.tolist()
    ([[2, -4]], [6])
    """
    w = np.asarray(weight, dtype=np.float32)
    scales = np.asarray(scale_w, dtype=np.float32)
    most = largest_integer(bits)
    along = scales.reshape(-1, *[1] * (w.ndim - 1))
    integers = np.clip(np.rint(w / along), -most, most).astype(np.int8)
    steps = np.asarray(bias, dtype=np.float64) / (np.float64(scale_x) * scales.astype(np.float64).reshape(-1))
    limit = np.iinfo(np.int32)
    return integers, np.clip(np.rint(steps), limit.min, limit.max).astype(np.int32)


def largest_integer(bits: int) -> int:
    """The largest of the symmetric integers of a width: 127 for 8 bits, 1 for 2.

    Raises
    ------
    BadInput
        If ``bits`` is not 2 to 8.
    """
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 2 <= bits <= 8:
        raise BadInput(f"bits={bits!r} is not 2 to 8.")
    return int((1 << (bits - 1)) - 1)


@dataclass(frozen=True)
class Rules:
    """The rules that a network uses while it runs; each may be somebody's own function of the same form."""

    fake_quantize: Callable[..., Any] = fake_quantize
    fold: Callable[..., Any] = fold
    moving_range: Callable[..., Any] = moving_range
    phase: Callable[..., Any] = phase


OURS = Rules()
