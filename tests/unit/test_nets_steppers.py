"""PyTorch's optimizers without its compiler: the same bits, and no compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from edgelab.nets import steppers


def trained(make):
    """Weights after 20 steps of a small network, with a schedule."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(9, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
    stepper = make(net.parameters())
    rates = torch.optim.lr_scheduler.OneCycleLR(stepper, 0.01, total_steps=21)
    for _ in range(20):
        stepper.zero_grad(set_to_none=True)
        net(torch.randn(8, 9)).square().sum().backward()
        stepper.step()
        rates.step()
    return [weight.detach().clone() for weight in net.parameters()]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: steppers.adamw(p, 0.01, 0.02), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.02)),
        (
            lambda p: steppers.sgd(p, 0.01, momentum=0.9, decay=0.01, nesterov=True),
            lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.01, nesterov=True),
        ),
    ],
    ids=["AdamW", "SGD"],
)
def test_a_step_has_the_bits_of_pytorchs(ours, theirs):
    # and again once PyTorch has wrapped its own classes on their first use
    for weights in (trained(ours), trained(theirs), trained(ours)):
        assert all(torch.equal(a, b) for a, b in zip(weights, trained(theirs), strict=True))


def test_training_loads_no_compiler():
    code = """if True:
        import sys, torch
        from edgelab.nets import steppers
        weight = torch.nn.Parameter(torch.ones(3))
        for stepper in (steppers.adamw([weight], 0.1), steppers.sgd([weight], 0.1)):
            stepper.zero_grad()
            weight.sum().backward()
            stepper.step()
        print("torch._dynamo" in sys.modules)
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


def test_a_closure_is_called_with_gradients():
    weight = nn.Parameter(torch.tensor([1.0]))
    stepper = steppers.sgd([weight], 0.5)

    def closure():
        stepper.zero_grad()
        with torch.enable_grad():
            loss = (weight**2).sum()
        loss.backward()
        return loss

    assert float(stepper.step(closure).detach()) == 1.0
    assert float(weight.detach()) == 0.0
