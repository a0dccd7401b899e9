"""What a layer multiplies its weights with: the patches of its input, some of them drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.posttraining.graph import Layer

ROWS = 512
"""Patches of one batch, at most; a calibration set of some hundred items gives thousands."""


@dataclass
class Patches:
    """Which patches of a layer's input (N, ...) are taken, the same for every array of one shape.

    ``item`` and ``corner`` are each patch's place, ``reach`` the distances of its taps from the corner, ``pads`` what
    is added before and behind.
    """

    layer: Layer
    node: Any
    weight_shape: tuple[int, ...]
    shape: tuple[int, ...]
    rng: np.random.Generator
    item: NDArray[np.intp] = field(init=False)
    corner: NDArray[np.intp] = field(init=False)
    reach: NDArray[np.intp] = field(init=False)
    pads: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.layer.is_convolution:
            rows = int(np.prod(self.shape[:-1]))
            self.item = self.rng.permutation(rows)[:ROWS]
            return
        kernel = self.weight_shape[2:]
        sizes = self.shape[2:]
        options = {a.name: a for a in self.node.attribute}

        def numbers(name: str, default: int) -> tuple[int, ...]:
            return tuple(options[name].ints) if name in options else (default,) * len(kernel)

        strides, dilations = numbers("strides", 1), numbers("dilations", 1)
        extent = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
        how = options["auto_pad"].s.decode() if "auto_pad" in options else "NOTSET"
        if how in ("SAME_UPPER", "SAME_LOWER"):
            total = [max(0, (-(-n // s) - 1) * s + e - n) for n, s, e in zip(sizes, strides, extent, strict=True)]
            less = [t // 2 for t in total]
            more = [t - half for t, half in zip(total, less, strict=True)]
            self.pads = tuple(zip(less, more, strict=True) if how == "SAME_UPPER" else zip(more, less, strict=True))
        else:
            given = tuple(options["pads"].ints) if "pads" in options else (0,) * 2 * len(kernel)
            self.pads = tuple(zip(given[: len(kernel)], given[len(kernel) :], strict=True))
        places = [(n + a + b - e) // s + 1 for n, (a, b), e, s in zip(sizes, self.pads, extent, strides, strict=True)]
        count = self.shape[0] * int(np.prod(places))
        drawn = self.rng.permutation(count)[:ROWS]
        self.item, rest = np.divmod(drawn, int(np.prod(places)))
        self.corner = np.stack(np.unravel_index(rest, places), axis=1) * np.array(strides)
        taps = np.stack(np.unravel_index(np.arange(int(np.prod(kernel))), kernel), axis=1)
        self.reach = taps * np.array(dilations)


def can_be_sampled(layer: Layer, node: Any, weight_shape: tuple[int, ...], most: int) -> bool:
    """Whether the patches of a layer can be taken here, and a row has at most so many inputs."""
    if layer.op_type == "ConvTranspose":
        return False
    inputs = weight_shape[0] if layer.transposed else int(np.prod(weight_shape[1:]))
    return inputs <= most and node.op_type in ("Conv", "Gemm", "MatMul")


def patches_of(array: NDArray[Any], places: Patches) -> NDArray[np.float64]:
    """The patches as (groups, rows, in / groups x kernel), in the order of the canonical weight.

    Examples
    --------
    >>> import onnx
    >>> node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[2])
    >>> layer = Layer("conv", "Conv", "x", "y", "w", None, 1, transposed=False)
    >>> places = Patches(layer, node, (1, 1, 2), (1, 1, 3), np.random.default_rng(0))
    >>> sorted(patches_of(np.array([[[1.0, 2.0, 3.0]]]), places)[0].tolist())
    [[1.0, 2.0], [2.0, 3.0]]
    """
    if not places.layer.is_convolution:
        rows = array.reshape(-1, array.shape[-1])[places.item]
        return rows[None].astype(np.float64)
    padded = np.pad(array, ((0, 0), (0, 0), *places.pads))
    at = places.corner[:, None, :] + places.reach[None, :, :]  # (rows, taps, axes)
    index = tuple(np.moveaxis(at, -1, 0))
    taken = padded[(places.item[:, None], slice(None), *index)]  # (rows, taps, channels)
    groups = places.layer.groups
    rows, taps, channels = taken.shape
    split = taken.reshape(rows, taps, groups, channels // groups)
    return split.transpose(2, 0, 3, 1).reshape(groups, rows, -1).astype(np.float64)
