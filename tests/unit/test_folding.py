"""Batch normalisation that goes into the layer before it: which, which not, and that the answers stay."""

import pytest
import torch
from torch import nn

from edgelab.convert.folding import fold_batch_norm


def settled(*layers):
    """Layers in evaluation mode whose normalisations have statistics and gains of their own."""
    torch.manual_seed(3)
    net = nn.Sequential(*layers).eval()
    for norm in net.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.2, 3)
            if norm.affine:
                nn.init.uniform_(norm.weight, 0.3, 2)
                nn.init.uniform_(norm.bias, -1, 1)
    return net


def left(module):
    return sum(node.op == "call_function" and "batch_norm" in str(node.target) for node in module.graph.nodes)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Conv1d(3, 8, 5, bias=False), nn.BatchNorm1d(8)], (2, 3, 20)),
        ([nn.Conv2d(4, 8, 3, stride=2, groups=4), nn.BatchNorm2d(8, affine=False)], (2, 4, 9, 9)),
        ([nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4)], (2, 2, 5, 5, 5)),
        ([nn.ConvTranspose1d(3, 6, 4, stride=2), nn.BatchNorm1d(6)], (2, 3, 9)),
        ([nn.ConvTranspose2d(3, 6, 3), nn.BatchNorm2d(6)], (2, 3, 7, 7)),
        ([nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU()], (2, 5)),
    ],
    ids=["1-D", "grouped", "3-D", "transposed 1-D", "transposed 2-D", "dense"],
)
def test_a_layer_takes_its_normalisation_over(layers, shape):
    net, x = settled(*layers), torch.randn(shape)
    module = torch.export.export(net, (x,)).module()
    assert fold_batch_norm(module) == 1
    assert left(module) == 0
    with torch.no_grad():
        torch.testing.assert_close(module(x), net(x), atol=1e-5, rtol=1e-4)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)

    def forward(self, x):
        y = self.first(x)
        return self.norm(y) + y


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (settled(nn.BatchNorm1d(3), nn.Conv1d(3, 4, 3)), (2, 3, 9)),
        (settled(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.BatchNorm1d(4)), (2, 3, 9)),
        (settled(nn.Linear(5, 6), nn.BatchNorm1d(4)), (2, 4, 5)),
        (settled(nn.ConvTranspose1d(4, 4, 3, groups=2), nn.BatchNorm1d(4)), (2, 4, 9)),
        (Shared().eval(), (2, 3, 9)),
    ],
    ids=["nothing before it", "an activation between", "other axis", "transposed in groups", "read by another"],
)
def test_what_cannot_take_it_over_stays(net, shape):
    x = torch.randn(shape)
    module = torch.export.export(net, (x,)).module()
    assert fold_batch_norm(module) == 0
    assert left(module) == 1
    with torch.no_grad():
        torch.testing.assert_close(module(x), net(x))


def test_a_normalisation_in_training_stays():
    net = settled(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)).train()
    module = torch.export.export(net, (torch.randn(2, 3, 9),)).module()
    assert fold_batch_norm(module) == 0


def test_two_layers_of_one_weight_keep_their_own_normalisation():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.one, self.two = (
                nn.Conv1d(4, 4, 3, padding=1),
                *settled(nn.BatchNorm1d(4), nn.BatchNorm1d(4)),
            )

        def forward(self, x):
            return self.two(self.layer(self.one(self.layer(x))))

    net, x = Twice().eval(), torch.randn(2, 4, 9)
    module = torch.export.export(net, (x,)).module()
    assert fold_batch_norm(module) == 2
    with torch.no_grad():
        torch.testing.assert_close(module(x), net(x), atol=1e-5, rtol=1e-4)
