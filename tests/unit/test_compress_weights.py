"""Weight-only quantization in PyTorch: folding changes nothing, bits change what they should."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgelab.compress.affine import fake_quantize, per_channel, sqnr_db
from edgelab.compress.weights import (
    channel_spread,
    dead_channels,
    fake_quantize_weights,
    fold_batch_norm,
    sensitivity,
)
from edgelab.errors import BadInput
from edgelab.nets.inspection import weighted_layers


def trained_like(net, x):
    """Give every batch norm statistics that differ from channel to channel."""
    net.train()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
        for _ in range(30):
            net(x)
    return net.eval()


def cnn(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU6()),
        nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    return trained_like(net, torch.randn(16, 3, 12, 12))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.before, self.linear = nn.BatchNorm2d(3), nn.Linear(8, 4)

    def forward(self, x):
        y = torch.relu(self.norm(self.conv(self.before(x))) + x)
        return self.linear(y)


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else x


X = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 3, 12, 12)).astype(np.float32))


def run(net, x=X):
    with torch.no_grad():
        return net(x).numpy()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_folding_changes_no_output(seed):
    net = cnn(seed)
    folded = fold_batch_norm(net)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    np.testing.assert_allclose(run(folded), run(net), rtol=1e-4, atol=1e-4)


def test_folding_leaves_the_network_and_what_it_cannot_fold():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 8, 8)
    net = trained_like(Residual(), x)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    folded = fold_batch_norm(net.train())
    assert net.training
    assert not folded.training
    assert [name for name, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)] == ["before"]
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    np.testing.assert_allclose(run(folded, x), run(net.eval(), x), atol=1e-5)


def test_a_network_without_batch_norm_stays_itself():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    x = torch.randn(2, 4)
    np.testing.assert_array_equal(run(fold_batch_norm(net), x), run(net, x))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("by_channel", [True, False])
def test_weights_hold_only_what_the_bits_can_represent(bits, by_channel):
    quantized = fake_quantize_weights(cnn(), bits, by_channel)
    for layer in weighted_layers(quantized).values():
        rows = layer.weight.detach().numpy().reshape(len(layer.weight), -1)
        for row in rows if by_channel else [rows]:
            assert len(np.unique(row)) <= 2**bits - 1


def test_it_is_the_affine_mapping_of_the_folded_weights():
    net = cnn()
    folded, quantized = weighted_layers(fold_batch_norm(net)), weighted_layers(fake_quantize_weights(net, 5))
    for name, layer in folded.items():
        weight = layer.weight.detach().numpy()
        np.testing.assert_array_equal(
            quantized[name].weight.detach().numpy(), fake_quantize(weight, per_channel(weight, 0, 5))
        )
        torch.testing.assert_close(quantized[name].bias, layer.bias, rtol=0, atol=0)


def test_a_transposed_convolution_has_its_channels_on_axis_1():
    net = nn.ConvTranspose2d(3, 4, 3)
    weight = net.weight.detach().numpy()
    found = fake_quantize_weights(nn.Sequential(net), 3).get_submodule("0").weight.detach().numpy()
    np.testing.assert_array_equal(found, fake_quantize(weight, per_channel(weight, 1, 3)))


def test_more_bits_and_more_scales_lose_less():
    net = cnn()
    reference = run(net)
    loss = {
        (bits, by): sqnr_db(reference, run(fake_quantize_weights(net, bits, by)))
        for bits in (2, 4, 8)
        for by in (True, False)
    }
    assert loss[8, True] > loss[4, True] > loss[2, True]
    assert loss[8, True] > loss[8, False]
    assert loss[8, True] > 35


def test_one_width_for_each_named_layer():
    net = cnn()
    folded, mixed = weighted_layers(fold_batch_norm(net)), weighted_layers(fake_quantize_weights(net, {"5": 2}))
    for name, layer in folded.items():
        assert torch.equal(layer.weight, mixed[name].weight) == (name != "5")


def test_sensitivity_finds_the_layer_that_was_made_sensitive():
    net = cnn()
    with torch.no_grad():
        net[1][1].weight[0] *= 200  # one channel of the depthwise layer sets the scale of all
        net[1][1].bias[0] -= 1000  # and is cut off by ReLU6, so that it carries nothing
    reference = run(net)

    def evaluate(candidate):
        return min(sqnr_db(reference, run(candidate)), 100.0)

    found = sensitivity(net, evaluate, bits=4)
    assert found.baseline == 100
    assert [layer.layer for layer in found.layers] == ["0.0", "1.0", "2.0", "5"]
    assert [layer.kind for layer in found.layers] == ["conv2d", "depthwise", "pointwise", "linear"]
    assert found.ranked[0].layer == "1.0"
    assert sum(layer.weights for layer in found.layers) == 3 * 8 * 9 + 8 * 9 + 8 * 16 + 16 * 5
    alone = run(fake_quantize_weights(net, {"2.0": 4}, by_channel=False))
    assert found.layers[2].score == pytest.approx(sqnr_db(reference, alone))
    assert "depthwise" in found._repr_markdown_()
    assert found.to_dict()["layers"][0]["layer"] == "0.0"
    assert "by channel" in sensitivity(net, evaluate, 4, by_channel=True)._repr_markdown_()


def test_the_spread_names_the_layer_and_what_is_left_of_its_steps():
    net = cnn()
    even = channel_spread(net).layers[1]
    with torch.no_grad():
        net[1][1].weight[0] *= 1000
    spread = channel_spread(net)
    assert spread.worst.layer == "1.0"
    assert spread.worst.ratio > 20 * even.ratio
    assert spread.worst.steps == pytest.approx(127 / spread.worst.ratio)
    weight = fold_batch_norm(net).get_submodule("1.0").weight.detach().numpy()
    assert spread.worst.largest == np.abs(weight).max()
    assert "1.0" in spread._repr_markdown_()
    assert len(spread.to_dict()["layers"]) == 4
    zero = nn.Linear(2, 3)
    nn.init.zeros_(zero.weight)
    assert channel_spread(nn.Sequential(zero)).worst.ratio == 1


def test_a_dead_channel_sets_the_scale_until_it_is_silenced():
    net = cnn()
    assert dead_channels(net) == {}
    with torch.no_grad():
        net[1][1].running_var[3] = 1e-9
        net[1][0].weight[3] *= 0.1
        net[1][1].weight[3] = 1
        net[1][0].bias[3] = net[1][1].running_mean[3] = 0
    (found,) = dead_channels(net).items()
    assert found[0] == "1.1"
    assert found[1].tolist() == [3]
    before = channel_spread(net).layers[1].ratio
    with torch.no_grad():
        net[1][1].weight[3] = 0
    assert channel_spread(net).layers[1].ratio < before / 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fake_quantize_weights(cnn(), 1), "bits=1"),
        (lambda: fake_quantize_weights(cnn(), 9), "bits=9"),
        (lambda: fake_quantize_weights(cnn(), {"head": 4}), "no layer 'head'; the layers are 0.0, 1.0, 2.0, 5"),
        (lambda: fake_quantize_weights(nn.ReLU()), "no convolution"),
        (lambda: channel_spread(nn.ReLU()), "no convolution"),
        (lambda: fold_batch_norm(Branch()), "cannot be traced"),
        (lambda: sensitivity(cnn(), lambda _: 0.0, bits=0), "bits=0"),
    ],
)
def test_what_cannot_be_quantized_is_named(call, says):
    with pytest.raises(BadInput, match=says):
        call()


def test_a_weight_that_is_not_a_number_is_named():
    net = cnn()
    nn.init.constant_(net[5].weight, float("nan"))
    with pytest.raises(BadInput, match="Layer '5' holds NaN"):
        fake_quantize_weights(net)
