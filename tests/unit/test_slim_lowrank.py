"""Low-rank factorisation against closed forms: Eckart-Young, exactness at full rank, LoRA merged and unmerged."""

import numpy as np
import pytest
import torch
from torch import nn

from edgelab.errors import BadInput
from edgelab.slim.lowrank import (
    break_even,
    factorise_layer,
    factorised,
    matrix_of,
    rank_for_energy,
    singular_values,
    weights_at,
)
from edgelab.slim.lowrank_adapters import Adapted, adapted, merge

CONVOLUTIONS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (5, 3), "stride": (2, 1), "padding": (2, 0)},
    {"kernel_size": 3, "padding": "same", "dilation": 2},
    {"kernel_size": (1, 4), "bias": False},
    {"kernel_size": 3, "padding": (1, 2), "padding_mode": "reflect", "stride": 3},
]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_of_full_rank_is_the_same_function(bias):
    layer = nn.Linear(12, 7, bias=bias).double()
    x = torch.randn(5, 3, 12).double()
    assert torch.allclose(factorise_layer(layer, 7)(x), layer(x), atol=1e-12)


@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
def test_a_convolution_of_full_rank_is_the_same_function(settings):
    layer = nn.Conv2d(3, 8, **settings).double()
    x = torch.randn(2, 3, 17, 15).double()
    made = factorise_layer(layer, min(matrix_of(layer).shape))
    assert made[0].kernel_size[1] == made[1].kernel_size[0] == 1
    assert torch.allclose(made(x), layer(x), atol=1e-10)


@pytest.mark.parametrize("layer", [nn.Linear(20, 9), nn.Conv2d(4, 6, 3)], ids=["linear", "convolution"])
def test_no_matrix_of_the_rank_is_nearer(layer):
    """Eckart and Young: the squared error is the sum of the squares of the singular values that were cut off."""
    matrix, values = matrix_of(layer), singular_values(layer)
    for rank in (1, 3, 5):
        made = factorise_layer(layer, rank)
        if isinstance(layer, nn.Linear):
            product = made[1].weight @ made[0].weight
        else:
            kernel = torch.einsum("orw,rih->oihw", made[1].weight[:, :, 0], made[0].weight[..., 0])
            product = kernel.permute(1, 2, 0, 3).reshape(matrix.shape)
        error = float((product - matrix).double().square().sum().detach())
        assert error == pytest.approx(float((values[rank:] ** 2).sum()), rel=1e-4)
        rng = np.random.default_rng(rank)
        rows, columns = matrix.shape
        for _ in range(20):  # the best answer in a random subspace of that rank
            basis, _ = np.linalg.qr(rng.standard_normal((columns, rank)))
            rival = matrix.numpy() - matrix.numpy() @ basis @ basis.T
            assert (rival**2).sum() >= error * (1 - 1e-6)
        assert rows > rank


def test_the_rank_by_energy_is_the_smallest_that_keeps_it():
    values = np.array([3.0, 2.0, 1.0])  # squares 9, 4, 1 of 14
    assert [rank_for_energy(values, share) for share in (0.01, 9 / 14, 0.65, 13 / 14, 0.95, 1.0)] == [1, 1, 2, 2, 3, 3]
    assert rank_for_energy(values[::-1], 0.65) == 2
    assert rank_for_energy(np.zeros(4), 0.9) == 1
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(BadInput, match="above 0 and at most 1"):
            rank_for_energy(values, share)
    with pytest.raises(BadInput, match="finite"):
        rank_for_energy(np.array([np.nan]), 0.5)


@pytest.mark.parametrize("layer", [nn.Linear(30, 20), nn.Conv2d(5, 7, 3), nn.Conv2d(3, 4, 1)])
def test_break_even_is_where_weights_are_saved_last(layer):
    rank = break_even(layer)
    assert weights_at(layer, rank) < layer.weight.numel() <= weights_at(layer, rank + 1)
    made = factorise_layer(layer, max(rank, 1))
    assert sum(part.weight.numel() for part in made) == weights_at(layer, max(rank, 1))


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=16))
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.features(x).mean((2, 3)))


def test_a_network_is_copied_and_what_saves_nothing_is_said():
    net = Small().eval()
    before = [p.clone() for p in net.parameters()]
    x = torch.randn(2, 3, 9, 9)
    made = factorised(net, 1.0)
    assert [cut.layer for cut in made.cuts] == ["features.0", "out"]
    assert all("would take" in cut.reason and cut.weights_after == cut.weights_before for cut in made.cuts)
    assert torch.equal(made.network(x), net(x))
    thin = factorised(net, {"features.0": 2})
    (cut,) = thin.cuts
    assert (cut.rank, cut.weights_after, cut.reason) == (2, 2 * (9 + 48), "")
    assert 0 < cut.error < 1
    assert isinstance(thin.network.features[0], nn.Sequential)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert len(factorised(nn.Linear(8, 8), {"": 1}).network) == 2


@pytest.mark.parametrize(
    ("network", "ranks", "says"),
    [
        (Small(), {"nothing": 1}, "no layer 'nothing'"),
        (Small(), {"features.1": 1}, "is ReLU"),
        (Small(), {"features.2": 1}, "groups is thin already"),
        (Small(), {"out": 0}, "from 1 to 3"),
        (Small(), {"out": 4}, "from 1 to 3"),
        (Small(), 0.0, "above 0 and at most 1"),
        (nn.Sequential(nn.ReLU()), 0.9, "no linear layer"),
    ],
)
def test_what_cannot_be_cut_is_one_sentence(network, ranks, says):
    with pytest.raises(BadInput, match=says):
        factorised(network, ranks)


def test_a_correction_starts_at_nothing_and_merges_without_a_change():
    net = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x, y = torch.randn(64, 10).double(), torch.randint(0, 3, (64,))
    made = adapted(net, rank=2)
    assert torch.equal(made(x), net(x))
    frozen = net[0].weight.detach().clone()
    optimizer = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], 0.05)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(made(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert torch.equal(net[0].weight, frozen)
    assert torch.equal(made[0].layer.weight, frozen)
    plain = merge(made)
    assert not any(isinstance(module, Adapted) for module in plain.modules())
    assert torch.allclose(plain(x), made(x), atol=1e-12)
    correction = plain[0].weight.detach() - frozen
    assert np.linalg.matrix_rank(correction.numpy()) == 2
    assert all(p.requires_grad for p in plain.parameters())


def test_corrections_that_cannot_be_are_one_sentence():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(BadInput, match="'1' is no linear layer"):
        adapted(net, 1, ["1"])
    with pytest.raises(BadInput, match="no linear layer"):
        adapted(nn.Sequential(nn.ReLU()), 1)
    with pytest.raises(BadInput, match="from 1 to 4"):
        adapted(net, 0)
    single = adapted(nn.Linear(4, 4), 2)
    assert isinstance(merge(single), nn.Linear)
