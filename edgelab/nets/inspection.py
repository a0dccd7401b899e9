"""What a network is made of: parameters, MACs layer by layer, and the activations it makes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from edgelab.errors import BadInput
from edgelab.reading import Table

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


@dataclass(frozen=True)
class LayerCost:
    """One layer: name, channels, area of its kernel, MACs of one item, parameters.

    ``kind`` is standard, pointwise, depthwise, grouped or linear.
    """

    name: str
    kind: str
    in_channels: int
    out_channels: int
    kernel_area: int
    macs: int
    parameters: int


@dataclass(frozen=True)
class NetworkCost:
    """Multiply-accumulates and parameters of a network, for one item."""

    layers: tuple[LayerCost, ...]

    @property
    def macs(self) -> int:
        """The sum over convolutions and linear layers; what the rest costs is left out, as the papers do."""
        return sum(layer.macs for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"macs": self.macs, "layers": [asdict(layer) for layer in self.layers]}

    def _repr_markdown_(self) -> str:
        rows = [(c.name, c.kind, c.in_channels, c.out_channels, c.macs, c.parameters) for c in self.layers]
        columns = ("layer", "kind", "in", "out", "MACs", "parameters")
        return Table(f"{self.macs:,} MACs", columns, rows, "Counted from the shapes.")._repr_markdown_()


def count_parameters(net: nn.Module) -> int:
    """Trainable values of a network.

    Examples
    --------
    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(p.numel() for p in net.parameters())


def count_macs(net: nn.Module, input_shape: Sequence[int]) -> NetworkCost:
    """Multiply-accumulates of convolutions and linear layers for one item of ``input_shape`` (without the batch).

    Raises
    ------
    BadInput
        If the network does not take that shape.

    Examples
    --------
    >>> count_macs(nn.Conv2d(3, 8, 3, padding=1), (3, 4, 4)).macs
    3456
    """
    costs: list[LayerCost] = []

    def note(name: str) -> Any:
        def hook(layer: Any, _: Any, output: torch.Tensor) -> None:
            costs.append(_cost(name, layer, output))

        return hook

    hooks = [
        m.register_forward_hook(note(n)) for n, m in net.named_modules() if isinstance(m, (*_CONVOLUTIONS, nn.Linear))
    ]
    try:
        with evaluating(net):
            net(torch.zeros(1, *input_shape))
    except RuntimeError as error:
        raise BadInput(f"The network does not take inputs of shape {tuple(input_shape)}: {_line(error)}.") from None
    finally:
        for hook in hooks:
            hook.remove()
    return NetworkCost(tuple(costs))


def activations(net: nn.Module, x: ArrayLike) -> dict[str, NDArray[np.float32]]:
    """What each direct child of a sequential network puts out for inputs ``x`` (N, ...), by name."""
    outputs: dict[str, NDArray[np.float32]] = {}
    with evaluating(net):
        value = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        for name, child in net.named_children():
            value = child(value)
            outputs[name] = value.numpy().copy()
    return outputs


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and the previous mode afterwards."""
    was_training = net.training
    net.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        net.train(was_training)


def _cost(name: str, layer: Any, output: torch.Tensor) -> LayerCost:
    parameters = count_parameters(layer)
    if isinstance(layer, nn.Linear):
        macs = output.numel() // output.shape[0] * layer.in_features
        return LayerCost(name, "linear", layer.in_features, layer.out_features, 1, macs, parameters)
    area = int(np.prod(layer.kernel_size))
    macs = output[0].numel() * area * layer.in_channels // layer.groups
    if layer.groups == 1:
        kind = "pointwise" if area == 1 else "standard"
    else:
        kind = "depthwise" if layer.groups == layer.in_channels else "grouped"
    return LayerCost(name, kind, layer.in_channels, layer.out_channels, area, macs, parameters)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160].rstrip(".")


def weighted_layers(net: nn.Module) -> dict[str, Any]:
    """The layers that are quantized or pruned, by name: convolutions and linear layers."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
    return {name: module for name, module in net.named_modules() if isinstance(module, kinds)}


def layer_kind(layer: Any) -> str:
    """What sort of layer it is: depthwise, pointwise, or the name of its class in small letters."""
    groups = getattr(layer, "groups", 1)
    if groups > 1 and groups == getattr(layer, "in_channels", 0):
        return "depthwise"
    if getattr(layer, "kernel_size", None) and set(layer.kernel_size) == {1}:
        return "pointwise"
    return type(layer).__name__.lower()
