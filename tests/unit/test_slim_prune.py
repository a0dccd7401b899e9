"""Magnitude pruning: masks against PyTorch's own, the schedule against its closed form, zeros that stay zeros."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as theirs

from edgelab import data, nets
from edgelab.errors import BadInput
from edgelab.slim import prune, prune_packed, prune_train


@pytest.fixture(scope="module")
def digits():
    return data.digits(seed=0)


@pytest.fixture
def net():
    return nets.load("digits_mlp")


def accuracy(net, split):
    return 100 * float((nets.predict_logits(net, split.x).argmax(axis=1) == split.y).mean())


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 0.99])
def test_masks_are_those_of_pytorch(net, sparsity):
    own = prune.magnitude_masks(net, sparsity, "layer")
    whole = prune.magnitude_masks(net, sparsity, "global", empty=True)
    by_layer, all_layers = copy.deepcopy(net), copy.deepcopy(net)
    for name in own:
        theirs.l1_unstructured(by_layer.get_submodule(name), "weight", amount=sparsity)
        assert torch.equal(by_layer.get_submodule(name).weight_mask.bool(), own[name])
    parts = [(all_layers.get_submodule(name), "weight") for name in whole]
    theirs.global_unstructured(parts, pruning_method=theirs.L1Unstructured, amount=sparsity)
    for (module, _), mask in zip(parts, whole.values(), strict=True):
        assert torch.equal(module.weight_mask.bool(), mask)


def test_equal_magnitudes_still_give_the_exact_number():
    mask = prune.magnitude_mask(np.ones((4, 5)), 0.55)
    assert (~mask).sum() == 11
    assert prune.magnitude_mask(np.zeros(4), 1.0).sum() == 0


def test_the_schedule_is_the_published_polynomial():
    for step in range(-5, 130):
        share = np.clip((step - 10) / 90, 0, 1)
        expected = 0.9 + (0.2 - 0.9) * (1 - share) ** 3
        assert prune.cubic_sparsity(step, 10, 100, 0.2, 0.9) == pytest.approx(expected)
    with pytest.raises(BadInput, match="ends at step 5"):
        prune.cubic_sparsity(1, 5, 5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_pruned_weight_is_zero_after_every_step_whatever_the_optimizer_remembers(net, digits, optimizer):
    stepper = (
        torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-2)
        if optimizer == "sgd"
        else torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=1e-2)
    )
    x, y = torch.from_numpy(digits.train.x[:64]), torch.from_numpy(digits.train.y[:64])
    prune.masked_step(net, stepper, {}, nn.functional.cross_entropy(net(x), y))  # the optimizer remembers all weights
    masks = prune.magnitude_masks(net, 0.8)
    for _ in range(4):
        prune.masked_step(net, stepper, masks, nn.functional.cross_entropy(net(x), y))
        assert prune.count_zeros(net).sparsity >= 0.7999
    assert any((layer.weight[masks[name]] != 0).all() for name, layer in prune.prunable(net).items())


def test_training_on_keeps_the_zeros_and_brings_accuracy_back(net, digits):
    before = accuracy(net, digits.test)
    masks = prune.magnitude_masks(net, 0.9)
    hurt = accuracy(prune.apply_masks(copy.deepcopy(net), masks), digits.test)
    done = prune_train.fine_tune(net, digits, masks, steps=200, learning_rate=5e-3, batch_size=32)
    assert len(done.losses) == 200
    assert prune.count_zeros(net).sparsity == pytest.approx(0.9, abs=1e-3)
    assert accuracy(net, digits.test) > hurt + 5
    assert accuracy(net, digits.test) > before - 6


def test_gradual_and_iterative_arrive_at_their_sparsity(net, digits):
    other = copy.deepcopy(net)
    prune_train.gradual(net, digits, 0.8, steps=40, batch_size=32)
    assert prune.count_zeros(net).sparsity == pytest.approx(0.8, abs=1e-3)
    seen = []
    path = prune_train.rounds_to([0.5, 0.8])
    prune_train.iterative(
        other, digits, path, steps=3, batch_size=32, after_round=lambda s, n: seen.append((s, prune.count_zeros(n)))
    )
    assert [s for s, _ in seen] == list(path)
    assert all(zeros.sparsity == pytest.approx(s, abs=1e-3) for s, zeros in seen)
    left = 1 - np.array([0, *path])
    assert (left[1:] / left[:-1] >= 0.8 - 1e-9).all()


def test_a_ticket_starts_from_the_early_values_and_its_control_has_as_many_weights(digits):
    start = nets.mlp(64, 10)
    early = {k: v.clone() for k, v in start.state_dict().items()}
    begun = []

    def train(net, masks, seed):
        begun.append(({k: v.clone() for k, v in net.state_dict().items()}, masks))
        prune_train.fine_tune(net, digits, masks, steps=30, batch_size=32, seed=seed)

    found = prune_train.lottery_ticket(start, train, 0.8, rounds=2)
    assert len(begun) == 4  # dense, two rounds, the control
    for state, masks in begun[1:]:
        for name, mask in masks.items():
            assert torch.equal(state[f"{name}.weight"], early[f"{name}.weight"] * mask)
    (_, last), (_, control) = begun[2:]
    assert [int(m.sum()) for m in control.values()] == [int(m.sum()) for m in last.values()]
    assert any(not torch.equal(control[name], last[name]) for name in last)
    assert prune.count_zeros(found.winning).sparsity == pytest.approx(0.8, abs=1e-3)
    assert all(torch.equal(v, early[k]) for k, v in start.state_dict().items())


def test_sensitivity_leaves_the_network_as_it_was(net, digits):
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = prune.sensitivity(net, lambda n: accuracy(n, digits.validation), (0.5, 0.99))
    assert set(found.scores) == {"1", "3", "5"}
    assert all(after[1] < found.baseline for after in found.scores.values())
    assert found.scores[found.worst][1] == min(s[1] for s in found.scores.values())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize("shape", [(7,), (16, 3, 3, 3), (128, 64)])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95, 0.999, 1.0])
def test_packed_weights_come_back_and_take_the_bytes_of_the_formula(shape, sparsity):
    weight = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    weight *= prune.magnitude_mask(weight, sparsity)
    packed = prune_packed.pack_bitmask(weight)
    assert np.array_equal(prune_packed.unpack_bitmask(packed, shape), weight)
    assert len(packed) == prune_packed.bitmask_bytes(weight.size, np.count_nonzero(weight))
    for bits in (2, 4, 8):
        packed = prune_packed.pack_relative(weight, bits)
        assert np.array_equal(prune_packed.unpack_relative(packed, shape, bits), weight)
        assert len(packed) == prune_packed.relative_bytes(weight, bits)


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (lambda n, d: prune.magnitude_masks(n, 1.0), "some weight must stay"),
        (lambda n, d: prune.magnitude_masks(n, 0.5, "rows"), "scope='rows'"),
        (lambda n, d: prune.magnitude_masks(n, 0.5, exclude=["7"]), "no layer '7'"),
        (lambda n, d: prune.magnitude_masks(nn.ReLU(), 0.5), "ReLU has no convolution"),
        (lambda n, d: prune.apply_masks(n, {"1": torch.ones(2, 2)}), "mask of layer '1'"),
        (lambda n, d: prune_train.fine_tune(n, d, steps=0), "steps=0"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(net, digits, do, says):
    with pytest.raises(BadInput, match=says):
        do(net, digits)


def test_a_sparsity_that_empties_a_layer_and_a_weight_that_is_nan_are_named():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    net[2].weight.data *= 1e-3
    with pytest.raises(BadInput, match="no weight in layer '2'"):
        prune.magnitude_masks(net, 0.6)
    net[0].weight.data[0, 0] = float("nan")
    with pytest.raises(BadInput, match="Layer '0' holds NaN"):
        prune.magnitude_masks(net, 0.2)


def test_one_class_is_no_data(net, digits):
    from dataclasses import replace

    one = replace(digits, train=digits.train.subset(200, seed=0))
    zeros = np.flatnonzero(one.train.y == 0)
    train = type(one.train)(one.train.x[zeros], one.train.y[zeros])
    with pytest.raises(BadInput, match="one class alone"):
        prune_train.check_data(replace(one, train=train))
