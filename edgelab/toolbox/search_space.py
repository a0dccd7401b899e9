"""A small space of depthwise-separable networks: six choices, every combination of them a network.

The builder is that of `edgelab.nets.dscnn` with its widths, depths and strides set free: a 3x3 stem, a middle and a
last stage of separable blocks, each of which halves the image once, global average pooling and a linear head.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from edgelab.errors import BadInput

if TYPE_CHECKING:
    from torch import nn


class Architecture(NamedTuple):
    """One network: the stem's stride and width, the widths of both stages, how many blocks each has."""

    stride: int
    stem: int
    middle: int
    last: int
    middle_blocks: int
    last_blocks: int

    @property
    def key(self) -> str:
        """Its name in files.

        Examples
        --------
        >>> Architecture(2, 8, 24, 48, 1, 2).key
        '2-8-24-48-1-2'
        """
        return "-".join(map(str, self))


CHOICES: Mapping[str, tuple[int, ...]] = {
    "stride": (1, 2),
    "stem": (8, 16),
    "middle": (12, 24, 48),
    "last": (24, 48, 96),
    "middle_blocks": (1, 3),
    "last_blocks": (1, 2),
}
"""What each field of an `Architecture` may be in the space that is searched."""


class Layer(NamedTuple):
    """One convolution or linear layer: kind, channels in and out, length of a side of its input, and its stride."""

    kind: str
    c_in: int
    c_out: int
    size: int
    stride: int


def all_architectures(choices: Mapping[str, Sequence[int]] = CHOICES) -> list[Architecture]:
    """Every combination of the choices.

    Examples
    --------
    >>> len(all_architectures())
    144
    """
    if list(choices) != list(Architecture._fields):
        raise BadInput(f"The choices of an architecture are {', '.join(Architecture._fields)}, in this order.")
    return [Architecture(*values) for values in itertools.product(*choices.values())]


def parse(key: str) -> Architecture:
    """The architecture of a name that `Architecture.key` made.

    Raises
    ------
    BadInput
        If it is no such name.

    Examples
    --------
    >>> parse("2-8-24-48-1-2").last
    48
    """
    try:
        return checked(Architecture(*map(int, key.split("-"))))
    except (TypeError, ValueError):
        raise BadInput(f"'{key}' names no architecture: six numbers are wanted, such as 2-8-24-48-1-2.") from None


def hand_scaled(width: int) -> Architecture:
    """The shape of `edgelab.nets.dscnn`, with every width in proportion: what a width multiplier gives.

    Examples
    --------
    >>> hand_scaled(24)
    Architecture(stride=1, stem=24, middle=48, last=96, middle_blocks=3, last_blocks=2)
    """
    return checked(Architecture(1, width, 2 * width, 4 * width, 3, 2))


def layers(arch: Architecture, classes: int = 10, in_channels: int = 3, size: int = 32) -> list[Layer]:
    """The layers of an architecture, from the image to the head, for square images.

    Examples
    --------
    >>> layers(Architecture(2, 8, 24, 48, 1, 1))[1]
    Layer(kind='depthwise', c_in=8, c_out=8, size=16, stride=2)
    """
    checked(arch)
    found = [Layer("standard", in_channels, arch.stem, size, arch.stride)]
    channels, side = arch.stem, -(-size // arch.stride)
    for width, blocks in ((arch.middle, arch.middle_blocks), (arch.last, arch.last_blocks)):
        for block in range(blocks):
            stride = 2 if block == 0 else 1
            found.append(Layer("depthwise", channels, channels, side, stride))
            side = -(-side // stride)
            found.append(Layer("pointwise", channels, width, side, 1))
            channels = width
    return [*found, Layer("linear", channels, classes, 1, 1)]


def layer_macs(layer: Layer) -> int:
    """Multiply-accumulates of one layer, for one image.

    Examples
    --------
    >>> layer_macs(Layer("depthwise", 8, 8, 16, 2))
    4608
    """
    side = -(-layer.size // layer.stride)
    each = {"standard": 9 * layer.c_in * layer.c_out, "depthwise": 9 * layer.c_out}
    return side * side * each.get(layer.kind, layer.c_in * layer.c_out)


def macs(arch: Architecture, classes: int = 10, in_channels: int = 3, size: int = 32) -> int:
    """Multiply-accumulates of an architecture, for one image.

    Examples
    --------
    >>> macs(Architecture(2, 8, 24, 48, 1, 1))
    94560
    """
    return sum(map(layer_macs, layers(arch, classes, in_channels, size)))


def build(arch: Architecture, classes: int = 10, in_channels: int = 3, seed: int = 0) -> nn.Sequential:
    """The untrained network of an architecture; the same weights for the same seed, the global random state is kept.

    Raises
    ------
    BadInput
        If a width, a depth or a stride is no positive number.
    """
    import torch
    from torch import nn

    checked(arch)
    found: OrderedDict[str, nn.Module] = OrderedDict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        names = {"standard": "stem", "depthwise": "depthwise", "pointwise": "pointwise"}
        for number, layer in enumerate(layers(arch, classes, in_channels)[:-1]):
            kernel = 1 if layer.kind == "pointwise" else 3
            groups = layer.c_in if layer.kind == "depthwise" else 1
            conv = nn.Conv2d(layer.c_in, layer.c_out, kernel, layer.stride, kernel // 2, groups=groups, bias=False)
            parts = OrderedDict(conv=conv, norm=nn.BatchNorm2d(layer.c_out), activation=nn.ReLU6())
            found[names[layer.kind] + (str((number + 1) // 2) if number else "")] = nn.Sequential(parts)
        found |= OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), head=nn.Linear(arch.last, classes))
    return nn.Sequential(found)


def checked(arch: Architecture) -> Architecture:
    """The architecture itself, if all of its numbers are positive and its strides can be built."""
    if not isinstance(arch, tuple) or len(arch) != len(Architecture._fields):
        raise BadInput(f"An architecture is six numbers ({', '.join(Architecture._fields)}), not {arch!r}.")
    for name, value in zip(Architecture._fields, arch, strict=True):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise BadInput(f"{name}={value!r}: an architecture needs whole numbers from 1 on.")
    return arch
