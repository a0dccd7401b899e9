"""Structured pruning: the narrow network computes what the whole one computes without those channels."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from edgelab import nets
from edgelab.errors import BadInput
from edgelab.slim.prune_audit import audit
from edgelab.slim.prune_filters import choose, importance, narrowed, planned_macs, remove, silence
from edgelab.slim.prune_groups import dependencies


def seeded(make):
    torch.manual_seed(0)
    net = make().eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 1.5)
    return net


class Odd(nn.Module):
    """A concatenation, a shared layer, squeeze and excitation, a flattened image."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.shared = nn.Conv2d(10, 10, 1)
        self.squeeze, self.excite = nn.Conv2d(10, 3, 1), nn.Conv2d(3, 10, 1)
        self.head = nn.Sequential(nn.Linear(10 * 16, 12), nn.ReLU(), nn.Linear(12, 5))

    def forward(self, x):
        both = torch.cat([torch.relu(self.left(x)), self.right(x)], dim=1)
        twice = self.shared(torch.relu(self.shared(both)))
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(twice.mean((2, 3), keepdim=True)))))
        pooled = nn.functional.adaptive_avg_pool2d(twice * scale, 4)
        return self.head(pooled.view(pooled.size(0), -1))


NETWORKS = {
    "signs_dscnn": (lambda: nets.load("signs_dscnn"), (3, 32, 32)),
    "signs_resnet": (lambda: nets.load("signs_resnet"), (3, 32, 32)),
    "vibration_cnn1d": (lambda: nets.load("vibration_cnn1d"), (1, 1024)),
    "digits_mlp": (lambda: nets.load("digits_mlp"), (1, 8, 8)),
    "mobilenet_v2": (lambda: seeded(lambda: torchvision.models.mobilenet_v2(weights=None)), (3, 64, 64)),
    "resnet18": (lambda: seeded(lambda: torchvision.models.resnet18(weights=None)), (3, 64, 64)),
    "odd": (lambda: seeded(Odd), (3, 8, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("ratio", [0.5])
def test_the_narrow_network_computes_what_the_masked_one_does(name, ratio):
    make, shape = NETWORKS[name]
    net = make()
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    narrow, plan = narrowed(net, x, ratio, criterion="random")
    with torch.no_grad():
        whole, masked, found = net(x), silence(net, plan)(x), narrow(x)
    size = float(masked.abs().max())
    assert float((found - masked).abs().max()) < 1e-4 * size
    assert float((whole - masked).abs().max()) > 1e-3 * size  # the channels did matter
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    cost = nets.count_macs(net, shape)
    assert planned_macs(cost, plan) == pytest.approx(nets.count_macs(narrow, shape).macs, rel=1e-3)
    assert nets.count_macs(narrow, shape).macs < 0.45 * cost.macs
    assert nets.count_parameters(narrow) < nets.count_parameters(net)


@pytest.mark.parametrize("name", ["signs_dscnn", "signs_resnet"])
def test_filters_set_to_zero_are_what_was_removed(name):
    """The usual meaning of a masked network: its filters, and the batch norm behind them, are zero."""
    net = NETWORKS[name][0]()
    x = torch.randn(2, 3, 32, 32)
    narrow, plan = narrowed(net, x, 0.4)
    for layer in plan.found.layers.values():
        gone = np.setdiff1d(np.arange(len(layer.outputs)), plan.kept_outputs(layer.name))
        module = net.get_submodule(layer.name)
        for tensor in (module.weight, module.bias):
            if tensor is not None:
                tensor.data[gone] = 0
        if layer.kind == "norm":
            module.running_mean[gone] = 0
    with torch.no_grad():
        assert torch.allclose(net(x), narrow(x), atol=1e-4)


def test_the_groups_of_a_residual_network_run_through_its_shortcuts():
    found = dependencies(nets.load("signs_resnet"), torch.zeros(1, 3, 32, 32))
    makers = [set(group.makers) for group in found.groups]
    assert {"stem.conv", "block1.second.conv"} in makers  # an identity shortcut ties what it adds
    assert {"block2.second.conv", "block2.shortcut.conv"} in makers
    assert found.kept == {"head": "it makes the outputs of the network"}


def test_a_depthwise_layer_follows_the_layer_before():
    net = nets.load("signs_dscnn")
    narrow, plan = narrowed(net, torch.zeros(1, 3, 32, 32), 0.5)
    layer = narrow.depthwise1.conv
    assert (layer.in_channels, layer.out_channels, layer.groups, len(layer.weight)) == (16, 16, 16, 16)
    assert narrow.depthwise1.norm.num_features == 16
    kept = plan.kept_outputs("stem.conv")
    assert torch.equal(layer.weight, net.depthwise1.conv.weight[kept])
    assert all("depthwise" not in name for group in plan.found.groups for name in group.makers)


def test_importance_is_the_norm_of_a_filter_and_the_scale_of_its_norm():
    net = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    found = dependencies(net, torch.zeros(1, 2, 4, 4))
    (group,) = found.groups
    scores = importance(net, found, "l1")
    norms = net[0].weight.detach().abs().sum((1, 2, 3)).numpy()
    assert np.allclose([scores[int(n)] for n in group.classes], norms / norms.mean())
    net[1].weight.data = torch.tensor([1.0, -3.0, 0.5, 2.0])
    scores = importance(net, found, "bn_scale")
    plan = choose(found, scores, 0.5)
    assert plan.kept_outputs("0").tolist() == [1, 3]
    assert remove(net, plan)[3].weight.shape == (2, 2, 1, 1)
    gradients = {"0": torch.zeros(4, 2, 1, 1), "3": torch.zeros(2, 4, 1, 1)}
    gradients["0"][2] = 5.0
    assert choose(found, importance(net, found, "taylor", gradients), 0.75).kept_outputs("0").tolist() == [2]


def test_a_budget_is_met_and_widths_are_multiples():
    net = nets.load("signs_dscnn")
    whole = nets.count_macs(net, (3, 32, 32)).macs
    for scope in ("group", "global"):
        narrow, plan = narrowed(net, torch.zeros(1, 3, 32, 32), macs=whole / 2, round_to=4, scope=scope)
        assert 0.4 * whole < nets.count_macs(narrow, (3, 32, 32)).macs <= whole / 2
        assert all(len(plan.kept_outputs(g.name)) % 4 == 0 for g in plan.found.groups)


class Twofold(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x, y):
        return self.conv(x) + self.conv(y)


def test_what_was_not_pruned_is_said_aloud():
    net = nets.load("signs_resnet")
    narrow, plan = narrowed(net, torch.zeros(1, 3, 32, 32), 0.1, round_to=8, keep=("block3.first.conv",))
    assert plan.notes["stem.conv"] == "1 of its 12 filters should go, and 4 went"
    assert plan.notes["block2.first.conv"] == "2 of its 24 filters should go, but round_to=8 keeps all"
    assert plan.notes["block3.first.conv"] == "it was named in `keep`"
    found = audit(net, narrow, (3, 32, 32), {**plan.found.kept, **plan.notes})
    assert found.not_pruned["head"] == "it makes the outputs of the network"
    assert "block2.first.conv" in found.sentence()
    assert "stem.conv" not in found.not_pruned
    assert next(n for n in found.layers if n.layer == "stem.conv").why == ""  # it lost filters, so no excuse is due


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (lambda net, x: narrowed(net, x, 1.0), "some filter must stay"),
        (narrowed, "either ratio or macs"),
        (lambda net, x: narrowed(net, x, macs=10), "this is the least"),
        (lambda net, x: narrowed(net, x, 0.5, keep=("nose",)), "no layer 'nose'"),
        (lambda net, x: narrowed(net, x, 0.5, round_to=0), "round_to=0"),
        (lambda net, x: narrowed(net, x, 0.5, criterion="size"), "criterion='size'"),
        (lambda net, x: narrowed(net, x, 0.5, criterion="taylor"), "gradient of layer 'stem.conv'"),
        (lambda net, x: narrowed(net, x[:, :2], 0.5), "does not take inputs of shape"),
        (lambda net, x: narrowed(Twofold(), x, 0.5), "takes several inputs"),
        (lambda net, x: narrowed(nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)), x, 0.5), "'1' stays because"),
        (lambda net, x: narrowed(nets.load("digits_mlp"), torch.zeros(1, 1, 8, 8), 0.5, criterion="bn_scale"), "'1'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(do, says):
    with pytest.raises(BadInput, match=says):
        do(nets.load("signs_dscnn"), torch.zeros(1, 3, 32, 32))


def test_layers_that_are_not_understood_are_kept_and_named():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.grouped = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=2)
            self.last, self.narrow, self.end = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x):
            half = torch.chunk(self.grouped(self.first(x)), 2, dim=1)[0]
            return self.end(self.narrow(self.last(half)))

    net = Branch()
    narrow, plan = narrowed(net, torch.zeros(1, 3, 4, 4), 0.5)
    assert "2 groups" in plan.found.kept["grouped"]
    assert "'grouped'" in plan.found.kept["first"]
    assert narrow.narrow.out_channels == 3
    assert narrow.first.out_channels == 8
    x = torch.randn(2, 3, 4, 4)
    assert torch.allclose(narrow(x), silence(net, plan)(x), atol=1e-6)

    class Decides(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(BadInput, match="Decides cannot be traced"):
        narrowed(Decides(), torch.zeros(1, 3, 4, 4), 0.5)
