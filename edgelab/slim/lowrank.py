"""Low-rank factorisation: one layer becomes two thin ones whose product is the nearest of its rank.

A linear layer is cut by its singular value decomposition (Eckart and Young 1936). A convolution with a k x k kernel is
cut into a k x 1 and a 1 x k convolution by the same decomposition of its reshaped kernel (Jaderberg, Vedaldi and
Zisserman 2014, "Speeding up Convolutional Neural Networks with Low Rank Expansions"). Whether that saves anything
depends on the rank: `break_even` says where it begins to.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab.errors import BadInput
from edgelab.reading import Table

Factorable: TypeAlias = nn.Linear | nn.Conv2d
_CONVOLUTION_AXES = 2


@dataclass(frozen=True)
class Cut:
    """What factorising one layer did: its rank of at most ``full_rank``, its weights before and after, its error.

    ``error`` is the Frobenius norm of what was cut off over that of the layer's weights, 0 to 1. ``reason`` says why a
    layer was left as it is; its rank is then ``full_rank``.
    """

    layer: str
    rank: int
    full_rank: int
    weights_before: int
    weights_after: int
    error: float
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return vars(self) | {}


@dataclass(frozen=True)
class Factorised:
    """A network with thin layers in place of some of its layers, and what was done to each."""

    network: nn.Module
    cuts: tuple[Cut, ...]

    def to_dict(self) -> dict[str, Any]:
        """The cuts as JSON-ready data."""
        return {"cuts": [cut.to_dict() for cut in self.cuts]}

    def table(self) -> Table:
        """A row for each layer that was looked at."""
        rows = [
            (c.layer, c.rank, c.full_rank, c.weights_before, c.weights_after, c.error, c.reason or "cut")
            for c in self.cuts
        ]
        columns = ("layer", "rank", "of", "weights before", "after", "error", "what was done")
        return Table("Layers and their ranks", columns, rows)

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def matrix_of(layer: Factorable) -> torch.Tensor:
    """The matrix whose rank counts: of a linear layer its weights (out, in), of a convolution (in * kh, out * kw).

    Raises
    ------
    BadInput
        If the layer is neither, or a grouped convolution, whose groups are matrices of their own.

    Examples
    --------
    >>> tuple(matrix_of(nn.Conv2d(3, 8, (5, 1))).shape)
    (15, 8)
    """
    if isinstance(layer, nn.Linear):
        return layer.weight.detach()
    if not isinstance(layer, nn.Conv2d):
        raise BadInput(f"{type(layer).__name__} is neither a linear layer nor a convolution of two dimensions.")
    if layer.groups != 1:
        raise BadInput(f"A convolution of {layer.groups} groups is thin already: each group is a matrix of its own.")
    out, into, height, width = layer.weight.shape
    return layer.weight.detach().permute(1, 2, 0, 3).reshape(into * height, out * width)


def singular_values(layer: Factorable) -> NDArray[np.float64]:
    """The singular values of a layer's matrix, the largest first.

    Examples
    --------
    >>> layer = nn.Linear(2, 2, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    >>> singular_values(layer).tolist()
    [4.0, 3.0]
    """
    return np.asarray(torch.linalg.svdvals(matrix_of(layer).double()).numpy(), dtype=np.float64)


def rank_for_energy(values: NDArray[np.float64], share: float) -> int:
    """The smallest rank that keeps at least ``share`` (above 0, at most 1) of the sum of squared singular values.

    Raises
    ------
    BadInput
        If the share is outside its range, or there are no finite values.

    Examples
    --------
    >>> rank_for_energy(np.array([4.0, 3.0, 0.0]), 0.64), rank_for_energy(np.array([4.0, 3.0, 0.0]), 0.65)
    (1, 2)
    """
    if not 0 < share <= 1:
        raise BadInput(f"share={share} has to be above 0 and at most 1.")
    squares = np.sort(np.asarray(values, dtype=np.float64))[::-1] ** 2
    if squares.size == 0 or not np.isfinite(squares).all():
        raise BadInput("The singular values have to be finite numbers, at least one.")
    total = squares.sum()
    if total == 0:
        return 1
    kept = np.cumsum(squares) / total
    return int(np.searchsorted(kept, share - 1e-12) + 1)


def weights_at(layer: Factorable, rank: int) -> int:
    """Weights, biases left out, of the two layers of this rank that stand for ``layer``.

    Examples
    --------
    >>> weights_at(nn.Linear(100, 50), 10), weights_at(nn.Conv2d(8, 16, 3), 4)
    (1500, 288)
    """
    rows, columns = matrix_of(layer).shape
    return rank * (rows + columns)


def break_even(layer: Factorable) -> int:
    """The largest rank at which the two layers have fewer weights than the one; 0 where there is none.

    Examples
    --------
    >>> break_even(nn.Linear(100, 50)), break_even(nn.Conv2d(3, 8, 1))
    (33, 2)
    """
    rows, columns = matrix_of(layer).shape
    return (rows * columns - 1) // (rows + columns)


def factorise_layer(layer: Factorable, rank: int) -> nn.Sequential:
    """Two layers whose product is the best approximation of ``layer`` of this rank.

    Of a linear layer: ``Linear(in, rank)`` without bias, then ``Linear(rank, out)``. Of a convolution: a kernel of
    kh x 1 to ``rank`` channels, then one of 1 x kw; stride, padding and dilation are split between them. The square
    roots of the singular values go to both sides, which keeps the scales of the two alike.

    Raises
    ------
    BadInput
        If the rank is below 1 or above that of the matrix, or the layer cannot be cut (see `matrix_of`).
    """
    matrix = matrix_of(layer)
    highest = min(matrix.shape)
    if not 1 <= rank <= highest:
        raise BadInput(f"rank={rank} has to be from 1 to {highest}, the rank of the layer's matrix.")
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    root = values[:rank].sqrt()
    left, right = (left[:, :rank] * root).to(matrix.dtype), (root[:, None] * right[:rank]).to(matrix.dtype)
    if isinstance(layer, nn.Linear):
        first: Factorable = nn.Linear(layer.in_features, rank, bias=False)
        second: Factorable = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
        weights = right, left
    else:
        first, second = _thin(layer, rank)
        out, into, height, width = layer.weight.shape
        weights = (
            left.reshape(into, height, rank).permute(2, 0, 1)[..., None],
            right.reshape(rank, out, width).permute(1, 0, 2)[:, :, None],
        )
    made = nn.Sequential(first, second).to(matrix.device, matrix.dtype)
    made.train(layer.training)
    with torch.no_grad():
        for part, values_of in ((first, weights[0]), (second, weights[1])):
            part.weight.copy_(values_of)
        if layer.bias is not None and second.bias is not None:
            second.bias.copy_(layer.bias)
    return made


def _thin(layer: nn.Conv2d, rank: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """A kh x 1 and a 1 x kw convolution, empty, that together move over the image as ``layer`` does."""
    if isinstance(layer.padding, str):
        first_padding: Any = layer.padding
        second_padding: Any = layer.padding
    else:
        first_padding, second_padding = (layer.padding[0], 0), (0, layer.padding[1])
    first = nn.Conv2d(
        layer.in_channels,
        rank,
        (layer.kernel_size[0], 1),
        stride=(layer.stride[0], 1),
        padding=first_padding,
        dilation=(layer.dilation[0], 1),
        bias=False,
        padding_mode=layer.padding_mode,
    )
    second = nn.Conv2d(
        rank,
        layer.out_channels,
        (1, layer.kernel_size[1]),
        stride=(1, layer.stride[1]),
        padding=second_padding,
        dilation=(1, layer.dilation[1]),
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
    )
    return first, second


def factorised(network: nn.Module, ranks: Mapping[str, int] | float) -> Factorised:
    """A copy of a network with thin layers.

    Parameters
    ----------
    network
        It stays as it is.
    ranks
        ``{layer: rank}``, or a share of energy above 0 and at most 1: then every layer gets the smallest rank that
        keeps this share, and one whose rank would save no weights stays as it is, which is said.

    Raises
    ------
    BadInput
        If a named layer is not there or cannot be cut, a rank is outside its range, or no layer could be cut at all.

    Examples
    --------
    >>> made = factorised(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)), {"0": 8})
    >>> [(cut.layer, cut.rank, cut.weights_before, cut.weights_after) for cut in made.cuts]
    [('0', 8, 4096, 1024)]
    """
    made = copy.deepcopy(network)
    modules = dict(made.named_modules())
    by_name = isinstance(ranks, Mapping)
    wanted = list(ranks) if isinstance(ranks, Mapping) else _layers(modules)
    if not wanted:
        raise BadInput("The network has no linear layer and no convolution that could be factorised.")
    cuts = []
    for name in wanted:
        layer = modules.get(name)
        if layer is None:
            raise BadInput(f"The network has no layer '{name}'.")
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise BadInput(f"Layer '{name}' is {type(layer).__name__}; linear layers and convolutions can be cut.")
        values = singular_values(layer)
        rank = int(ranks[name]) if isinstance(ranks, Mapping) else rank_for_energy(values, ranks)
        before, after = layer.weight.numel(), weights_at(layer, rank)
        if not by_name and after >= before:
            reason = f"rank {rank} would take {after:,} weights; it saves some up to rank {break_even(layer)}"
            cuts.append(Cut(name, len(values), len(values), before, before, 0.0, reason))
            continue
        if not name:
            made = factorise_layer(layer, rank)
        else:
            parent, _, own = name.rpartition(".")
            setattr(modules[parent], own, factorise_layer(layer, rank))
        error = math.sqrt(float((values[rank:] ** 2).sum()) / max(float((values**2).sum()), 1e-300))
        cuts.append(Cut(name, rank, len(values), before, after, error))
    return Factorised(made, tuple(cuts))


def _layers(modules: Mapping[str, nn.Module]) -> list[str]:
    """The names of the layers that can be cut, grouped convolutions left out."""
    return [
        name
        for name, module in modules.items()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    ]
