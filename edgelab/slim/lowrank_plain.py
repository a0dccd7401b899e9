"""The steps of low-rank factorisation as a reader writes them by hand: what lab 05 has its learner build.

The rest of the package works on networks; these stand in for a function that a learner has not written yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as f

from edgelab.errors import BadInput
from edgelab.slim.lowrank import factorise_layer


def thin_factors(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two thin matrices (out, rank) and (rank, in) whose product is the nearest of its rank to ``matrix`` (out, in).

    After Eckart and Young 1936; each side takes the square root of the singular values.

    Raises
    ------
    BadInput
        If the rank is below 1 or above the smaller side.

    Examples
    --------
    >>> left, right = thin_factors(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), 1)
    >>> (left @ right).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """
    if not 1 <= rank <= min(matrix.shape):
        raise BadInput(f"rank={rank} has to be from 1 to {min(matrix.shape)}, the smaller side of the matrix.")
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root + 0.0, root[:, None] * v[:rank] + 0.0


def cut_error(values: torch.Tensor, rank: int) -> float:
    """What is lost when all but ``rank`` singular values go: the norm of the rest over that of all, 0 to 1.

    Examples
    --------
    >>> cut_error(torch.tensor([4.0, 3.0, 0.0]), 1)
    0.6
    """
    squares = values.double() ** 2
    return float((squares[rank:].sum() / squares.sum()).sqrt())


def break_even_rank(rows: int, columns: int) -> int:
    """The largest rank at which two thin matrices hold fewer numbers than the one of ``rows`` x ``columns``.

    Examples
    --------
    >>> break_even_rank(100, 50), break_even_rank(4, 4)
    (33, 1)
    """
    return (rows * columns - 1) // (rows + columns)


def energy_rank(values: torch.Tensor, share: float) -> int:
    """The smallest rank that keeps at least ``share`` of the sum of the squared singular values, the largest first.

    Examples
    --------
    >>> energy_rank(torch.tensor([4.0, 3.0, 0.0]), 0.5), energy_rank(torch.tensor([4.0, 3.0, 0.0]), 0.7)
    (1, 2)
    """
    kept = torch.cumsum(values.double() ** 2, 0)
    return int((kept < share * kept[-1] * (1 - 1e-12)).sum()) + 1


def thin_linear(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Two linear layers in place of one, the bias in the second."""
    return factorise_layer(layer, rank)


def thin_convolution(layer: nn.Conv2d, rank: int) -> nn.Sequential:
    """A k x 1 convolution and a 1 x k convolution in place of one, the bias in the second."""
    return factorise_layer(layer, rank)


def rank_in_time(ranks: Sequence[int], time_of: Callable[[int], float], budget: float) -> int:
    """The largest of the sorted ``ranks`` whose time is within the budget, found by halving; 0 if none is.

    ``time_of`` measures one rank, which takes long: it is asked about as rarely as halving allows.

    Examples
    --------
    >>> rank_in_time([4, 8, 16, 32], lambda rank: rank / 10, 2.0)
    16
    """
    low, high = 0, len(ranks)  # all before low fit, none from high on does
    while low < high:
        middle = (low + high) // 2
        if time_of(ranks[middle]) <= budget:
            low = middle + 1
        else:
            high = middle
    return ranks[low - 1] if low else 0


def lora(
    x: torch.Tensor,
    layer: nn.Linear,
    down: torch.Tensor,
    up: torch.Tensor,
    alpha: float,
) -> torch.Tensor:
    """The answer of a frozen layer and of its correction: ``down`` (rank, in), ``up`` (out, rank).

    After Hu et al. 2021: the correction counts ``alpha / rank`` times.
    """
    frozen = f.linear(x, layer.weight.detach(), None if layer.bias is None else layer.bias.detach())
    return frozen + alpha / down.shape[0] * (x @ down.T) @ up.T


def merged_weight(weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, alpha: float) -> torch.Tensor:
    """The weights (out, in) of a plain layer that answers as ``weight`` and the correction together do.

    Examples
    --------
    >>> merged_weight(torch.ones(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0]]), alpha=3.0).tolist()
    [[7.0, 1.0]]
    """
    return weight + alpha / down.shape[0] * up @ down
