"""Quantization-aware training, held against torch's own fake quantization, autograd, and the unfolded network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgelab import data, nets
from edgelab.errors import BadInput
from edgelab.qat import rules as qat_rules
from edgelab.qat.prepare import activations, calibrate, finished, layers, prepare, set_phase
from edgelab.qat.training import Freeze, qat


def values(shape, seed=0, size=1.0):
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def digits():
    return data.digits()


@pytest.fixture
def small():
    """A network with a branch, a sum, both kinds of batch norm and a head, in evaluation mode."""
    torch.manual_seed(3)

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU6())
            self.deep = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), nn.BatchNorm2d(6))
            self.after, self.pool = nn.ReLU(), nn.MaxPool2d(2)
            self.head = nn.Linear(6 * 16, 10)

        def forward(self, x):
            x = self.stem(x)
            return self.head(torch.flatten(self.pool(self.after(self.deep(x) + x)), 1))

    net = Small().train()
    with torch.no_grad():
        for seed in range(5):
            net(values((16, 1, 8, 8), seed))
    return net.eval()


@pytest.mark.parametrize(("scale", "zero", "low", "high"), [(0.25, 0, -7, 7), (0.037, 121, 0, 255), (0.5, 2, 0, 3)])
def test_fake_quantization_is_torchs_in_value_and_gradient(scale, zero, low, high):
    x = values((400,), size=3.0)
    x = x[(x / scale - torch.round(x / scale)).abs() < 0.49].requires_grad_()  # torch multiplies, so ties differ
    ours = qat_rules.fake_quantize(x, scale, zero, low, high)
    theirs = torch.fake_quantize_per_tensor_affine(x, scale, zero, low, high)
    assert torch.allclose(ours, theirs, atol=1e-6)
    weight = values((len(x),), 1)
    gradients = [torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, theirs)]
    assert torch.equal(*gradients)
    assert 0 < (gradients[0] == 0).sum() < len(x)


def test_a_scale_for_each_channel_is_torchs():
    x = values((5, 30)).requires_grad_()
    scale = torch.tensor([0.1, 0.2, 0.4, 0.05, 1.0])
    ours = qat_rules.fake_quantize(x, scale.reshape(-1, 1), 0, -7, 7)
    theirs = torch.fake_quantize_per_channel_affine(x, scale, torch.zeros(5, dtype=torch.int32), 0, -7, 7)
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert torch.equal(*[torch.autograd.grad(y.sum(), x)[0] for y in (ours, theirs)])


def test_the_straight_through_gradient_is_autograds_of_a_clamp_inside():
    x = values((200,))
    x = x[(x.abs() < 0.7) | (x.abs() > 0.9)].requires_grad_()  # not in the half step beyond the ends
    ours = torch.autograd.grad(qat_rules.fake_quantize(x, 0.1, 0, -8, 7).sum(), x)[0]
    theirs = torch.autograd.grad(x.clamp(-0.8, 0.7).sum(), x)[0]
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", ["conv", "linear"])
def test_folding_gives_the_output_of_the_layer_and_its_batch_norm(make, bias):
    layer = nn.Conv2d(3, 5, 3, bias=bias) if make == "conv" else nn.Linear(3, 5, bias=bias)
    norm = nn.BatchNorm2d(5) if make == "conv" else nn.BatchNorm1d(5)
    norm.weight.data, norm.bias.data = values((5,), 1), values((5,), 2)
    norm.running_mean.copy_(values((5,), 3))
    norm.running_var.copy_(values((5,), 4).abs())
    x = values((2, 3, 6, 6) if make == "conv" else (4, 3), 5)
    statistics = (norm.running_mean, norm.running_var, norm.eps)
    weight, shift = qat_rules.fold(layer.weight, layer.bias, norm.weight, norm.bias, *statistics)
    folded = layer._conv_forward(x, weight, shift) if make == "conv" else functional.linear(x, weight, shift)
    assert torch.allclose(norm.eval()(layer(x)), folded, atol=1e-5)


def test_with_all_layers_in_float_the_prepared_network_is_the_network_but_for_its_activations(small):
    x = values((32, 1, 8, 8), 9)
    prepared = prepare(small, exclude=("stem.0", "deep.0", "head"))
    calibrate(prepared, x.numpy())
    with torch.no_grad():
        difference = (prepared(x) - small(x)).abs().max() / small(x).abs().max()
    assert difference < 0.05
    assert list(activations(prepared)) == ["input", "stem.2", "deep.0", "after", "head"]
    plain, ranges = finished(prepared, rounded=False)
    with torch.no_grad():
        assert torch.allclose(plain(x), small(x), atol=1e-5)
    assert len(ranges) == 5


def test_live_batch_norm_trains_like_the_float_network_where_nothing_is_rounded(small):
    x = values((16, 1, 8, 8), 4)
    prepared = prepare(small, batch_norm=True, exclude=("stem.0", "deep.0", "head"))
    calibrate(prepared, x.numpy())
    for activation in activations(prepared).values():
        activation.forward = lambda x: x
    prepared.train()
    set_phase(prepared, True, True)
    assert torch.allclose(prepared(x), small.train()(x), atol=1e-4)
    norms = [layer.norm.running_var for layer in layers(prepared).values() if layer.norm is not None]
    assert torch.allclose(norms[0], small.stem[1].running_var, atol=1e-5)


def test_frozen_statistics_and_ranges_do_not_move(small):
    prepared = prepare(small, batch_norm=True)
    calibrate(prepared, values((16, 1, 8, 8), 4).numpy())
    prepared.train()
    for moves in (False, True):
        set_phase(prepared, moves, moves)
        before = [a.known for a in activations(prepared).values()]
        means = layers(prepared)["stem.0"].norm.running_mean.clone()
        prepared(values((16, 1, 8, 8), 5, 2.0))
        assert (before != [a.known for a in activations(prepared).values()]) is moves
        assert torch.equal(means, layers(prepared)["stem.0"].norm.running_mean) is not moves


def test_training_reports_every_layer_and_leaves_the_network_alone(digits):
    net = nets.load("digits_mlp")
    kept = {k: v.clone() for k, v in net.state_dict().items()}
    steps = []
    done = qat(net, digits, {"3": 3}, steps=6, progress=False, watch=lambda step, _: steps.append(step))
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in kept.items())
    assert steps == list(range(7))
    assert [(r.layer, r.bits) for r in done.report] == [("1", 8), ("3", 3), ("5", 8)]
    assert done.in_float == ()
    assert len(done.losses) == 6
    assert done.to_dict()["layers"][1]["bits"] == 3
    assert "percent" not in done._repr_markdown_()
    largest = max(float(np.abs(np.rint(w / s)).max()) for w, _, s in [layers(done.network)["3"].stored()])
    assert largest == 3
    mixed = qat(net, digits, 4, steps=0, exclude=("3",), progress=False)
    assert mixed.in_float == ("3",)


def test_no_step_is_post_training_quantization_and_steps_help_at_two_bits(digits):
    net = nets.load("digits_mlp")
    hits = [
        (
            qat(net, digits, 2, steps=n, learning_rate=3e-3, edge_bits=None, progress=False)
            .predict(digits.test.x)
            .argmax(1)
        )
        for n in (0, 80)
    ]
    before, after = ((answers == digits.test.y).mean() for answers in hits)
    assert after > before + 0.05


def test_somebodys_own_rules_are_used(digits):
    calls = {"round": 0, "step": 0}

    def own_round(*arguments):
        calls["round"] += 1
        return qat_rules.fake_quantize(*arguments)

    def own_step(*arguments):
        calls["step"] += 1
        return qat_rules.training_step(*arguments)

    rules = qat_rules.Rules(fake_quantize=own_round)
    qat(nets.load("digits_mlp"), digits, steps=2, rules=rules, step=own_step, progress=False, freeze=Freeze(1, 0))
    assert calls["step"] == 2
    assert calls["round"] > 14


def spoilt(layer, value):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    with torch.no_grad():
        net.get_submodule(layer).weight[0, 0] = value
    return net


@pytest.mark.parametrize(
    ("make", "settings", "says"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softplus()), {}, "The layer '2' (Softplus)"),
        (lambda: nn.Sequential(nn.Flatten(1), nn.LSTM(64, 10)), {}, "The layer '1' (LSTM)"),
        (lambda: nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10)), {}, "The batch norm '0'"),
        (lambda: spoilt("3", float("nan")), {}, "Layer '3' holds NaN or infinity in its weight"),
        (lambda: spoilt("1", 0.1), {"bits": 9}, "Layer '1': bits=9 is not 2 to 8"),
        (lambda: spoilt("1", 0.1), {"bits": 1}, "Layer '1': bits=1 is not 2 to 8"),
        (lambda: spoilt("1", 0.1), {"bits": {"nowhere": 4}}, "There is no layer 'nowhere'"),
        (lambda: spoilt("1", 0.1), {"steps": -1}, "too small to train"),
        (lambda: nn.Sequential(nn.Flatten(), nn.ReLU()), {}, "no convolution and no linear layer"),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_layer(digits, make, settings, says):
    with pytest.raises(BadInput) as caught:
        qat(make().eval(), digits, **{"steps": 1, **settings}, progress=False)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def shared():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    net[3].weight = net[1].weight
    return net


class Two(nn.Module):
    def forward(self, x, y):
        return x + y


class Named(nn.Sequential):
    def forward(self, x):
        return {"logits": super().forward(x)}


@pytest.mark.parametrize(
    ("make", "settings", "says"),
    [
        (shared, {}, "'1' and '3' share one weight"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 10))),
            {},
            "'1' is computed by a parametrization",
        ),
        (lambda: Named(nn.Flatten(), nn.Linear(64, 10)), {}, "gives a dict"),
        (lambda: nets.mlp(64, 10), {"freeze": 5}, "no Freeze"),
        (lambda: nets.mlp(64, 10), {"threads": 0}, "threads=0"),
        (lambda: nets.mlp(64, 10), {"steps": 2.5}, "steps=2.5 is not a whole number"),
    ],
)
def test_unseen_structures_and_settings_get_one_sentence(digits, make, settings, says):
    with pytest.raises(BadInput, match=says):
        qat(make(), digits, **{"steps": 1, "progress": False, **settings})


def test_logits_of_a_network_with_two_inputs_are_refused_in_a_sentence(digits):
    with pytest.raises(BadInput, match="does not take inputs"):
        nets.predict_logits(Two(), digits.test.x[:2])


def test_one_class_and_nan_in_the_data_are_refused(digits):
    one = digits.train.take(np.flatnonzero(digits.train.y == 3))
    with pytest.raises(BadInput, match="hold one class alone"):
        qat(nets.load("digits_mlp"), replace(digits, train=one), steps=1, progress=False)
    prepared = prepare(nets.load("digits_mlp"))
    with pytest.raises(BadInput, match="hold NaN"):
        calibrate(prepared, np.full((2, 1, 8, 8), np.nan, np.float32))
