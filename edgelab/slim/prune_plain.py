"""The steps of pruning as a reader writes them by hand, on numpy arrays: what lab 03 has its learner build.

The rest of the package works on networks; these stand in for a function that a learner has not written yet.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from edgelab.errors import BadInput
from edgelab.slim.prune import magnitude_mask
from edgelab.slim.prune_packed import bitmask_bytes

Block: TypeAlias = "dict[str, NDArray[Any]]"
NORM = ("weight", "bias", "running_mean", "running_var")
BLOCK = {
    "conv": "stem.conv", "norm": "stem.norm", "depthwise": "depthwise1.conv", "depthwise_norm": "depthwise1.norm",
    "pointwise": "pointwise1.conv", "pointwise_norm": "pointwise1.norm",
}  # fmt: skip
"""The layers of `block_of` and their names in a depthwise-separable network of `edgelab.nets`."""


def packed_bytes(weight: ArrayLike) -> int:
    """Bytes of a bit for each weight, in whole bytes, and four for each that is not zero.

    Examples
    --------
    >>> packed_bytes([[0.0, 2.5, 0.0], [0.0, 0.0, -1.0]])
    9
    """
    values = np.asarray(weight)
    return bitmask_bytes(values.size, int(np.count_nonzero(values)))


def rewind(early: Mapping[str, NDArray[Any]], trained: Mapping[str, NDArray[Any]], sparsity: float) -> Block:
    """A lottery ticket: the early weights, zero where the trained ones of the same layer are the smallest.

    Examples
    --------
    >>> rewind({"a": np.array([1.0, 2.0])}, {"a": np.array([0.9, -0.1])}, 0.5)["a"].tolist()
    [1.0, 0.0]
    """
    return {name: values * magnitude_mask(trained[name], sparsity) for name, values in early.items()}


def filter_mask(weight: ArrayLike, share: float) -> NDArray[np.bool_]:
    """Which weights stay when the ``round(share * filters)`` filters of smallest L1 norm go as a whole.

    Examples
    --------
    >>> filter_mask([[1.0, 1.0], [9.0, -9.0]], 0.5).tolist()
    [[False, False], [True, True]]
    """
    values = np.asarray(weight)
    norms = np.abs(values).reshape(len(values), -1).sum(axis=1)
    mask = np.ones(values.shape, dtype=bool)
    mask[np.argsort(norms, kind="stable")[: round(share * len(values))]] = False
    return mask


def narrow(block: Mapping[str, NDArray[Any]], keep: ArrayLike) -> Block:
    """A block of `block_of` with the filters ``keep`` of its first convolution alone, and all that hangs on them."""
    kept = np.asarray(keep, dtype=np.int64)
    return {
        **block,
        "conv": block["conv"][kept],
        "norm": block["norm"][:, kept],
        "depthwise": block["depthwise"][kept],
        "depthwise_norm": block["depthwise_norm"][:, kept],
        "pointwise": block["pointwise"][:, kept],
    }


def block_of(net: nn.Module) -> Block:
    """The weights of the first block of a depthwise-separable network.

    ``conv`` (filters, in, 3, 3), ``depthwise`` (filters, 1, 3, 3), ``pointwise`` (out, filters, 1, 1), and of each
    batch norm an array (4, channels): scale, shift, mean, variance.
    """
    found: Block = {}
    for key, name in BLOCK.items():
        layer: Any = net.get_submodule(name)
        tensors = [getattr(layer, part) for part in NORM] if key.endswith("norm") else [layer.weight]
        values = [tensor.detach().numpy().copy() for tensor in tensors]
        found[key] = np.stack(values) if key.endswith("norm") else values[0]
    return found


def with_block(net: nn.Module, block: Mapping[str, ArrayLike]) -> nn.Module:
    """A copy of ``net`` with the arrays of ``block`` in place of its own, as wide as they are.

    Raises
    ------
    BadInput
        If the shapes of the arrays do not fit together.
    """
    changed = copy.deepcopy(net)
    arrays = {key: torch.tensor(np.asarray(value), dtype=torch.float32) for key, value in block.items()}
    width = len(arrays["conv"])
    for key, name in BLOCK.items():
        layer: Any = changed.get_submodule(name)
        value = arrays[key]
        if key.endswith("norm"):
            layer.num_features = value.shape[1]
            layer.weight, layer.bias = nn.Parameter(value[0]), nn.Parameter(value[1])
            layer.running_mean, layer.running_var = value[2], value[3]
        else:
            layer.weight = nn.Parameter(value)
            layer.out_channels, layer.groups = len(value), width if key == "depthwise" else 1
            layer.in_channels = value.shape[1] * layer.groups
    if not len(arrays["depthwise"]) == arrays["pointwise"].shape[1] == arrays["norm"].shape[1] == width:
        raise BadInput("The parts of the block do not fit together: all must have as many channels as `conv` filters.")
    return changed
