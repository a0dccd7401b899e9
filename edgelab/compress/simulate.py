"""An INT8 network simulated in float: what somebody's own rounding does to the answers of a network.

Weights and activations are replaced, one tensor at a time, by what the caller's functions make of them; the sums in
between stay in float32. A real integer runtime rounds at the same places, so its accuracy should be the same within
noise: hold one against the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.weights import fold_batch_norm
from edgelab.errors import BadInput
from edgelab.nets.inspection import weighted_layers

if TYPE_CHECKING:
    from torch import nn

Values = NDArray[np.float32]


def tensor_values(net: nn.Module, x: Values) -> dict[str, Values]:
    """What each tensor that an integer runtime rounds holds for inputs ``x`` (N, ...): the input, then by layer.

    These are the outputs of activation functions, pooling and the last layer; what a batch norm or a convolution puts
    out before its activation is never stored by a runtime, which merges them.
    """
    found: dict[str, Values] = {}

    def keep(name: str, values: Values) -> Values:
        found[name] = values.copy()
        return values

    _run(fold_batch_norm(net), np.asarray(x, dtype=np.float32), keep)
    return found


def simulate(
    net: nn.Module,
    x: Values,
    weight: Callable[[Values], Any],
    activation: Callable[[str, Values], Any],
    batch: int = 250,
) -> Values:
    """Logits (N, classes) of a network whose weights and activations went through the caller's functions.

    Parameters
    ----------
    net
        The float network; it stays as it is. Its batch norm is folded first, as every runtime does.
    x
        Inputs (N, ...), float32.
    weight
        From a weight (out, ...) to one of the same shape, rounded.
    activation
        From the name of a tensor, as `tensor_values` has it, and its values to values of the same shape, rounded.
    batch
        Items at a time.

    Raises
    ------
    BadInput
        If a function gives another shape, or the network cannot be traced.
    """
    import torch

    folded = fold_batch_norm(net)
    for name, layer in weighted_layers(folded).items():
        before = layer.weight.detach().numpy()
        layer.weight.data.copy_(torch.from_numpy(_like(weight(before.copy()), before, f"The weight of {name!r}")))

    def rounded(name: str, values: Values) -> Values:
        return _like(activation(name, values), values, f"The tensor {name!r}")

    parts = [_run(folded, x[start : start + batch], rounded) for start in range(0, len(x), batch)]
    return np.concatenate(parts)


def _run(folded: nn.Module, x: Values, each: Callable[[str, Values], Values]) -> Values:
    """Run the network once and pass each stored tensor through ``each``."""
    import torch

    def hook(name: str) -> Any:
        def replace(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(each(name, output.numpy()))

        return replace

    hooks = [module.register_forward_hook(hook(name)) for name, module in _stored(folded)]
    try:
        with torch.inference_mode():
            output: Values = folded(torch.from_numpy(each("input", np.ascontiguousarray(x)))).numpy()
    finally:
        for handle in hooks:
            handle.remove()
    return output


def _stored(folded: nn.Module) -> list[tuple[str, Any]]:
    from torch import nn

    kinds = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool1d)
    found = [(name, module) for name, module in folded.named_modules() if isinstance(module, kinds)]
    return found + [entry for entry in list(weighted_layers(folded).items())[-1:] if isinstance(entry[1], nn.Linear)]


def _like(after: Any, before: Values, what: str) -> Values:
    array = np.asarray(after, dtype=np.float32)
    if array.shape != before.shape:
        raise BadInput(f"{what} has the shape {before.shape}, and came back with {array.shape}.")
    return np.ascontiguousarray(array)
