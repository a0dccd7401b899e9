"""Reference networks, small enough to train on a laptop while somebody watches.

Every one takes float32 inputs, channels first, and gives logits (N, classes).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn

from edgelab.errors import BadInput
from edgelab.nets import vision

Activation = Literal["relu", "relu6"]


def mlp(in_features: int, classes: int, hidden: Sequence[int] = (64, 32)) -> nn.Sequential:
    """A multilayer perceptron; inputs of any shape are flattened to ``in_features`` values.

    Examples
    --------
    >>> mlp(64, 10)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    _positive(in_features=in_features, classes=classes)
    sizes = [in_features, *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], classes))


def dscnn(classes: int = 10, in_channels: int = 3, width: int = 24, activation: Activation = "relu6") -> nn.Sequential:
    """A depthwise-separable CNN for small images, after MobileNet (Howard et al. 2017), with batch norm.

    A standard 3x3 stem, five separable blocks that halve the image twice and double the channels twice, global
    average pooling and a linear head. 24,000 parameters and 3.2 million MACs at width 24.

    Examples
    --------
    >>> dscnn()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    _positive(classes=classes, in_channels=in_channels, width=width)
    plan = [(width, 2 * width, 2), (2 * width, 2 * width, 1), (2 * width, 2 * width, 1)]
    plan += [(2 * width, 4 * width, 2), (4 * width, 4 * width, 1)]
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=_conv(in_channels, width, 3, activation=activation))
    for number, (c_in, c_out, stride) in enumerate(plan, 1):
        layers[f"depthwise{number}"] = _conv(c_in, c_in, 3, stride, groups=c_in, activation=activation)
        layers[f"pointwise{number}"] = _conv(c_in, c_out, 1, activation=activation)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["head"] = nn.Linear(plan[-1][1], classes)
    return nn.Sequential(layers)


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(c_in, c_out, 3, stride, activation="relu")
        self.second = _conv(c_out, c_out, 3, activation=None)
        same = stride == 1 and c_in == c_out
        self.shortcut = nn.Identity() if same else _conv(c_in, c_out, 1, stride, activation=None)
        self.activation = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, c_in, H, W) to (N, c_out, H / stride, W / stride)."""
        result: torch.Tensor = self.activation(self.second(self.first(x)) + self.shortcut(x))
        return result


def resnet(classes: int = 10, in_channels: int = 3, width: int = 16) -> nn.Sequential:
    """A small residual CNN: a stem and three residual blocks. About 78,000 parameters at width 16.

    Examples
    --------
    >>> resnet()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    _positive(classes=classes, in_channels=in_channels, width=width)
    return nn.Sequential(
        OrderedDict(
            stem=_conv(in_channels, width, 3, activation="relu"),
            block1=Residual(width, width, 1),
            block2=Residual(width, 2 * width, 2),
            block3=Residual(2 * width, 4 * width, 2),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            head=nn.Linear(4 * width, classes),
        )
    )


def cnn1d(classes: int, in_channels: int = 1, width: int = 16) -> nn.Sequential:
    """A 1-D CNN for signals (N, C, T): a wide first kernel (Zhang et al. 2017, WDCNN), then three short ones.

    Examples
    --------
    >>> cnn1d(5)(torch.zeros(2, 1, 1024)).shape
    torch.Size([2, 5])
    """
    _positive(classes=classes, in_channels=in_channels, width=width)
    plan = [
        (in_channels, width, 64, 8),
        (width, 2 * width, 5, 2),
        (2 * width, 2 * width, 5, 2),
        (2 * width, 4 * width, 3, 2),
    ]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (c_in, c_out, kernel, stride) in enumerate(plan, 1):
        layers[f"conv{number}"] = nn.Sequential(
            OrderedDict(
                conv=nn.Conv1d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False),
                norm=nn.BatchNorm1d(c_out),
                activation=nn.ReLU(),
            )
        )
    layers["pool"] = nn.AdaptiveAvgPool1d(1)
    layers["flatten"] = nn.Flatten()
    layers["head"] = nn.Linear(plan[-1][1], classes)
    return nn.Sequential(layers)


def mobilenet_v3_small(classes: int = 1000, seed: int = 0) -> nn.Module:
    """MobileNetV3-Small of torchvision (Howard et al. 2019) with seeded random weights: nothing is downloaded.

    2.54 million parameters and 56.5 million MACs on a 224x224 image at 1,000 classes. Batch norm takes its statistics
    from seeded noise, so that the values inside have the size that they have in a trained network. The global random
    state is kept.
    """
    _positive(classes=classes)
    models: Any = vision.torchvision().models
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Module = models.mobilenet_v3_small(weights=None, num_classes=classes)
        norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
        usual = [layer.momentum for layer in norms]
        for layer in norms:
            layer.momentum = None  # a plain average, here of the one batch
        with torch.no_grad():
            net.train()(torch.randn(16, 3, 96, 96))
        for layer, momentum in zip(norms, usual, strict=True):
            layer.momentum = momentum
    return net


def _conv(
    c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, *, activation: Activation | None
) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        norm=nn.BatchNorm2d(c_out),
    )
    if activation is not None:
        layers["activation"] = nn.ReLU6() if activation == "relu6" else nn.ReLU()
    return nn.Sequential(layers)


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise BadInput(f"{name}={size}: a network needs at least one.")
