"""The steps of lab 05 by hand, against the functions that work on networks, and against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgelab.errors import BadInput
from edgelab.slim import lowrank
from edgelab.slim import lowrank_plain as plain
from edgelab.slim.lowrank_adapters import Adapted


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_thin_factors_reach_the_bound_of_eckart_and_young(shape):
    matrix = torch.randn(shape).double()
    values = torch.linalg.svdvals(matrix)
    for rank in range(1, min(shape) + 1):
        left, right = plain.thin_factors(matrix, rank)
        assert left.shape == (shape[0], rank)
        assert right.shape == (rank, shape[1])
        lost = float((left @ right - matrix).norm() / matrix.norm())
        assert lost == pytest.approx(plain.cut_error(values, rank), abs=1e-12)
        assert torch.allclose(left.norm(dim=0), right.norm(dim=1))  # the roots went to both sides
    for rank in (0, min(shape) + 1):
        with pytest.raises(BadInput, match="from 1 to"):
            plain.thin_factors(matrix, rank)


@pytest.mark.parametrize("size", [(100, 50), (4, 4), (6, 3), (1, 1), (512, 3072)])
def test_break_even_is_the_last_rank_that_saves(size):
    rows, columns = size
    rank = plain.break_even_rank(rows, columns)
    assert rank * (rows + columns) < rows * columns <= (rank + 1) * (rows + columns)
    assert rank == lowrank.break_even(nn.Linear(columns, rows))


def test_the_rank_by_energy_is_that_of_the_networks():
    values = np.sort(np.random.default_rng(0).uniform(0.1, 4, 40))[::-1].copy()
    for share in (0.1, 0.5, 0.9, 1.0):
        assert plain.energy_rank(torch.from_numpy(values), share) == lowrank.rank_for_energy(values, share)


@pytest.mark.parametrize("fits", [0, 1, 5, 8])
def test_the_rank_in_time_asks_as_rarely_as_halving_allows(fits):
    ranks, asked = [2, 3, 5, 8, 13, 21, 34, 55], []

    def time_of(rank):
        asked.append(rank)
        return float(rank)

    assert plain.rank_in_time(ranks, time_of, float(ranks[fits - 1]) if fits else 1.0) == (
        ranks[fits - 1] if fits else 0
    )
    assert len(asked) <= math.log2(len(ranks)) + 1


@pytest.mark.parametrize("bias", [True, False])
def test_lora_merged_equals_unmerged(bias):
    layer = nn.Linear(9, 5, bias=bias).double()
    down, up, x = (torch.randn(shape).double() for shape in ((3, 9), (5, 3), (2, 4, 9)))
    unmerged = plain.lora(x, layer, down, up, 6.0)
    merged = functional.linear(x, plain.merged_weight(layer.weight, down, up, 6.0), layer.bias)
    assert torch.allclose(merged, unmerged, atol=1e-12)
    other = Adapted(layer, 3, alpha=6.0)
    other.down.data, other.up.data = down, up
    assert torch.allclose(other(x), unmerged, atol=1e-12)


def test_thin_layers_are_those_of_the_networks():
    linear, convolution = nn.Linear(12, 7), nn.Conv2d(3, 8, 3, padding=1)
    x, image = torch.randn(5, 12), torch.randn(2, 3, 9, 9)
    assert torch.allclose(plain.thin_linear(linear, 3)(x), lowrank.factorise_layer(linear, 3)(x))
    assert torch.allclose(plain.thin_convolution(convolution, 9)(image), convolution(image), atol=1e-4)
