"""PyTorch's int8 backends: each runs, keeps its kernels to itself, and says no when it is not there."""

import numpy as np
import pytest
import torch
from torch import nn

from edgelab.compress.affine import sqnr_db
from edgelab.compress.backends import (
    RECIPES,
    BackendNetwork,
    available,
    native_and_foreign,
    quantize_for_backend,
    using,
)
from edgelab.errors import BadInput

X = np.random.default_rng(0).normal(size=(32, 3, 12, 12)).astype(np.float32)

HERE = available()[0]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=16, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    with torch.no_grad():
        for _ in range(20):
            net(torch.from_numpy(X))
    return net.eval()


def run(net, x=X):
    with torch.no_grad():
        return net(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("kernels", available())
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_meets_every_kernel_without_an_error(net, recipe, kernels):
    made = quantize_for_backend(net, X, recipe, kernels)
    assert (made.recipe, made.kernels) == (recipe, kernels)
    quality = sqnr_db(run(net), run(made))
    # fbgemm adds up in 16 bits: with a recipe that uses all 8 bits of the range it may saturate, without a word.
    assert quality > (10 if kernels == "fbgemm" and recipe not in ("fbgemm", "x86") else 25)


def test_the_native_kernels_are_the_ones_made_for_this_processor(monkeypatch):
    native, foreign = native_and_foreign()
    assert native in available()
    assert native != foreign
    for machine, wanted in (("x86_64", "fbgemm"), ("AMD64", "fbgemm"), ("arm64", "qnnpack"), ("aarch64", "qnnpack")):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        monkeypatch.setattr("edgelab.compress.backends.available", lambda: ("x86", "fbgemm", "qnnpack"))
        assert native_and_foreign()[0] == wanted
    monkeypatch.setattr("edgelab.compress.backends.available", lambda: ("qnnpack",))
    assert native_and_foreign() == ("qnnpack", None)


def test_it_really_is_an_integer_network(net):
    made = quantize_for_backend(net, X, HERE)
    layers = [type(module).__module__ for module in made.modules() if "Conv" in type(module).__name__]
    assert layers
    assert all("quantized" in layer for layer in layers)
    assert not [m for m in made.modules() if isinstance(m, nn.BatchNorm2d)]


def test_the_setting_is_back_after_everything(net):
    before = torch.backends.quantized.engine
    other = next(name for name in available() if name != before)
    made = quantize_for_backend(net, X, other)
    assert torch.backends.quantized.engine == before
    run(made)
    assert torch.backends.quantized.engine == before
    with using(other):
        assert torch.backends.quantized.engine == other
    with pytest.raises(ZeroDivisionError), using(other):
        1 / 0  # noqa: B018
    assert torch.backends.quantized.engine == before


def test_a_network_keeps_its_kernels_whatever_the_setting(net):
    made = quantize_for_backend(net, X, HERE)
    expected = run(made)
    for name in available():
        with using(name):
            np.testing.assert_array_equal(run(made), expected)


def test_the_float_network_stays_as_it_was(net):
    before = run(net)
    quantize_for_backend(net, X, HERE)
    np.testing.assert_array_equal(run(net), before)
    assert isinstance(quantize_for_backend(net.train(), X, HERE), BackendNetwork)
    assert net.training
    net.eval()


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 4)

    def forward(self, x):
        return self.linear(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((X, "cuda"), "recipe='cuda' is not one of"),
        ((X, HERE, "cuda"), "no 'cuda' kernels"),
        ((X[:0], HERE), "not a batch"),
        ((X.astype(np.float64), HERE), "not a batch"),
        ((np.full_like(X, np.nan), HERE), "not a batch"),
        ((X[:, :2], HERE), "cannot be quantized for"),
    ],
)
def test_what_cannot_be_done_is_named(net, arguments, says):
    before = torch.backends.quantized.engine
    with pytest.raises(BadInput, match=says):
        quantize_for_backend(net, *arguments)
    assert torch.backends.quantized.engine == before


def test_a_network_that_decides_by_values_cannot_be_traced():
    with pytest.raises(BadInput, match="Branch cannot be quantized"):
        quantize_for_backend(Branch(), X, HERE)


def test_nothing_is_said(net, capfd, recwarn):
    run(quantize_for_backend(net, X, HERE))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
