"""The modules of a network that is trained as it will run: layers with rounded weights, and rounded activations.

A layer keeps its float weight and rounds it anew in every pass, so that the small steps of an optimizer add up until an
integer turns over. Learned step sizes would make parameters of what `QuantizedLayer.scale` and
`RoundedActivation.mapping` compute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from edgelab.errors import BadInput
from edgelab.qat.rules import Range, Rules, largest_integer

ACTIVATION_STEPS = 255
TINY = float(np.finfo(np.float32).tiny)


class RoundedActivation(nn.Module):
    """Rounds a tensor to 8 unsigned bits over a range that follows the data until it is frozen.

    ``known`` is the range; None until a batch was observed. ``observing`` says whether it still moves while training.
    """

    def __init__(self, name: str, rules: Rules, momentum: float) -> None:
        super().__init__()
        self.name, self._rules, self._momentum = name, rules, momentum
        self.known: Range | None = None
        self.observing = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` rounded, in its shape."""
        if self.known is None or (self.training and self.observing):
            low, high = (float(end) for end in torch.aminmax(x.detach()))
            if not (np.isfinite(low) and np.isfinite(high)):
                raise BadInput(f"What the layer '{self.name}' puts out is NaN or infinite.")
            known = self._rules.moving_range(self.known, low, high, self._momentum)
            self.known = (float(known[0]), float(known[1]))
        scale, zero_point = self.mapping()
        result: torch.Tensor = self._rules.fake_quantize(x, scale, zero_point, 0, ACTIVATION_STEPS)
        return result

    def mapping(self) -> tuple[float, int]:
        """Scale and zero point of the unsigned integers, the range widened to hold 0."""
        low, high = self.ends()
        scale = float(np.float32((high - low) / ACTIVATION_STEPS))
        if scale < TINY:
            return 1.0, 0
        return scale, int(np.clip(np.rint(-low / scale), 0, ACTIVATION_STEPS))

    def ends(self) -> Range:
        """The range that the integers cover."""
        if self.known is None:
            raise BadInput(f"The range of '{self.name}' is not known yet; run the network on some data first.")
        return min(self.known[0], 0.0), max(self.known[1], 0.0)


class QuantizedLayer(nn.Module):
    """A convolution or linear layer whose weight is rounded in every pass, with the batch norm behind it, if any.

    While ``updating``, batch norm takes its statistics from each batch as in ordinary training, and the weight is
    folded with the running ones before it is rounded, since those are what the finished network will hold.
    ``bits`` of None leaves the layer in float.
    """

    def __init__(
        self, name: str, layer: Any, norm: Any, bits: int | None, rules: Rules, *, per_channel: bool = True
    ) -> None:
        super().__init__()
        self.name, self.layer, self.norm, self.bits = name, layer, norm, bits
        self.per_channel = per_channel and not isinstance(layer, nn.Linear)
        self._rules = rules
        self.updating = norm is not None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output, batch norm included."""
        weight, bias = self.folded()
        rounded = self.rounded(weight)
        if not (self.training and self.updating and self.norm is not None):
            return self._computed(x, rounded, bias)
        # The running statistics belong to the rounding alone: they are taken out again before the batch's come in.
        shrink = (self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)).detach()
        shrink = torch.where(shrink.abs() < TINY, torch.full_like(shrink, TINY), shrink)
        unscaled = rounded / shrink.reshape(-1, *[1] * (rounded.ndim - 1))
        result: torch.Tensor = self.norm(self._computed(x, unscaled, self.layer.bias))
        return result

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Float weight and bias with batch norm folded in."""
        layer, norm = self.layer, self.norm
        if norm is None:
            bias = layer.bias if layer.bias is not None else layer.weight.new_zeros(len(layer.weight))
            return layer.weight, bias
        weight, bias = self._rules.fold(
            layer.weight, layer.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps
        )
        return weight, bias

    def rounded(self, weight: torch.Tensor) -> torch.Tensor:
        """``weight`` as its integers represent it."""
        if self.bits is None:
            return weight
        most = largest_integer(self.bits)
        result: torch.Tensor = self._rules.fake_quantize(weight, self.scale(weight), 0, -most, most)
        return result

    def scale(self, weight: torch.Tensor) -> torch.Tensor:
        """Scale of each output channel, or of the whole weight, shaped to broadcast: the largest weight has a step."""
        size = weight.detach().abs()
        reach = size.reshape(len(size), -1).amax(dim=1) if self.per_channel else size.max().reshape(1)
        scale = reach / largest_integer(self.bits or 8)
        scale = torch.where(scale < TINY, torch.ones_like(scale), scale)
        return scale.reshape(-1, *[1] * (weight.ndim - 1))

    def stored(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Folded weight (out, ...), bias (out,) and scales (out,) or (1,): what a file is written from."""
        with torch.no_grad():
            weight, bias = self.folded()
            scale = self.scale(weight).reshape(-1)
        return weight.detach().numpy().copy(), bias.detach().numpy().copy(), scale.numpy().copy()

    def _computed(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if isinstance(self.layer, nn.Linear):
            return functional.linear(x, weight, bias)
        result: torch.Tensor = self.layer._conv_forward(x, weight, bias)  # noqa: SLF001  handles every padding mode
        return result
