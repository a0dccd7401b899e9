"""Private training, robust averages, guarded secure rounds, and attacks, each against a closed form or a library."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from edgelab import data, nets
from edgelab.data.dataset import Split
from edgelab.errors import BadInput
from edgelab.federated.aggregate import federated_average
from edgelab.federated.client import ClientConfig, initial_weights
from edgelab.federated.engines import flatten
from edgelab.federated.partition import iid
from edgelab.federated.simulation import simulate
from edgelab.privacy import figures, inversion, membership, robust, secure_rounds, training
from edgelab.privacy.masks import FixedPoint
from edgelab.privacy.secure_rounds import SecureMean, guard, secure_average
from edgelab.privacy.training import PrivacyConfig, PrivateMean

RNG = np.random.default_rng(0)
NET = nets.mlp(4, 3, hidden=(5,))
SPLIT = Split(RNG.normal(0, 1, (40, 4)).astype(np.float32), RNG.integers(0, 3, 40), {})


def test_clipping_keeps_the_direction():
    rows = RNG.normal(0, 1, (6, 9)).astype(np.float32)
    rows[0] *= 1e-3
    clipped = training.clip_rows(rows, 0.7)
    assert (np.linalg.norm(clipped, axis=1) <= 0.7 * (1 + 1e-6)).all()
    assert np.array_equal(clipped[0], rows[0])
    assert (clipped * rows).sum(axis=1) == pytest.approx(
        np.linalg.norm(clipped, axis=1) * np.linalg.norm(rows, axis=1), rel=1e-5
    )
    assert (training.clip_rows(np.zeros((1, 3), np.float32), 1.0) == 0).all()
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(BadInput, match="clipping norm"):
            training.clip_rows(rows, bad)
    with pytest.raises(BadInput, match="NaN"):
        training.clip_rows(np.array([[np.nan]], np.float32), 1.0)


def test_the_mechanisms_have_the_noise_that_they_say():
    rng = np.random.default_rng(0)
    normal = training.gaussian(np.zeros(40_000), 2.0, 1.5, rng)
    assert normal.std() == pytest.approx(3.0, rel=0.02)
    double = training.laplace(np.zeros(40_000), 2.0, 0.5, rng)
    assert np.abs(double).mean() == pytest.approx(4.0, rel=0.03)  # the scale
    shares = [np.mean(training.laplace(np.full(200_000, v), 1.0, 1.0, rng) > 1.0) for v in (0.0, 1.0)]
    assert shares[1] / shares[0] <= math.e * 1.05  # the promise of epsilon 1
    with pytest.raises(BadInput, match="epsilon"):
        training.laplace(np.zeros(1), 1.0, 0.0, rng)


def test_example_gradients_are_those_of_a_loop():
    x, y = torch.from_numpy(SPLIT.x[:6]), torch.from_numpy(SPLIT.y[:6])
    found = training.example_gradients(NET)(initial_weights(NET), x, y)
    for i in range(6):
        one = inversion.item_gradient(NET, x[i : i + 1], y[i : i + 1])
        assert torch.allclose(found[i], torch.cat([g.ravel() for g in one]), atol=1e-6)


def test_private_sgd_without_noise_and_clipping_is_gradient_descent():
    config = PrivacyConfig(1e6, 0.0, 1.0, 3)
    run = training.private_sgd(NET, SPLIT, config, learning_rate=0.3, seed=0)
    copy = nets.mlp(4, 3, hidden=(5,))
    copy.load_state_dict(NET.state_dict())
    stepper = torch.optim.SGD(copy.parameters(), lr=0.3)
    for _ in range(3):
        stepper.zero_grad()
        nn.functional.cross_entropy(copy(torch.from_numpy(SPLIT.x)), torch.from_numpy(SPLIT.y)).backward()
        stepper.step()
    assert np.allclose(flatten(run.weights), flatten(initial_weights(copy)), atol=1e-6)
    assert math.isinf(run.epsilon)
    assert run.clipped == 0
    assert run.to_dict()["epsilon"] is None


def test_one_item_moves_a_private_step_by_at_most_the_clip():
    """The sensitivity: leaving one item out changes the sum by no more than the clipping norm."""
    loud = Split(SPLIT.x.copy(), SPLIT.y, {})
    loud.x[-1] *= 1e4
    less = Split(loud.x[:-1], loud.y[:-1], {})
    start = flatten(initial_weights(NET))
    quiet = PrivacyConfig(0.5, 0.0, 1.0, 1)
    whole = (flatten(training.private_sgd(NET, loud, quiet, learning_rate=1.0, seed=3).weights) - start) * 40
    expected = (flatten(training.private_sgd(NET, less, quiet, learning_rate=1.0, seed=3).weights) - start) * 39
    assert np.linalg.norm(whole - expected) <= 0.5 * 1.001


def test_the_noise_of_a_private_step_has_its_size():
    config = PrivacyConfig(0.5, 40.0, 1e-6, 1)  # nobody is sampled: noise alone
    start = flatten(initial_weights(NET))
    steps = [
        flatten(training.private_sgd(NET, SPLIT, config, learning_rate=1.0, seed=s).weights) - start for s in range(60)
    ]
    assert np.std(steps) == pytest.approx(0.5 * 40 / (1e-6 * 40), rel=0.05)
    one = [flatten(training.private_sgd(NET, SPLIT, config, seed=None).weights) for _ in range(2)]
    assert not np.array_equal(*one)


def test_private_mean_counts_everybody_once():
    updates = np.array([[3.0, 4.0], [0.3, 0.0]], np.float32)
    rule = PrivateMean(PrivacyConfig(1.0, 0.0, 0.5, 1), clients=8)
    assert rule(np.zeros(2, np.float32), updates, np.array([1000, 1])) == pytest.approx([0.9 / 4, 0.8 / 4])
    noisy = PrivateMean(PrivacyConfig(1.0, 2.0, 1.0, 1), clients=10, seed=0)
    found = noisy(np.zeros(20_000, np.float32), np.zeros((0, 20_000), np.float32), np.zeros(0, np.int64))
    assert found.std() == pytest.approx(0.2, rel=0.03)


def test_private_rounds_learn_without_noise():
    digits = data.digits(seed=0)
    net, holders = figures.new_network(0), iid(digits.train, 40)
    config = PrivacyConfig(1.0, 0.0, 0.5, 15)
    run = training.private_rounds(net, digits.train, holders, config, ClientConfig(0.3, 2, None), seed=0)
    right = nets.predict_logits(figures.network_with(net, run.weights), digits.test.x).argmax(1) == digits.test.y
    assert right.mean() > 0.7
    assert run.level == "client"


def test_private_sgd_is_opacus():
    """The same items, clipping and no noise: the steps of Opacus' optimizer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer

        copy = nets.mlp(4, 3, hidden=(5,))
        copy.load_state_dict(NET.state_dict())
        wrapped = GradSampleModule(copy)
        stepper = DPOptimizer(
            torch.optim.SGD(wrapped.parameters(), lr=0.3),
            noise_multiplier=0.0,
            max_grad_norm=0.4,
            expected_batch_size=40,
        )
        for _ in range(2):
            stepper.zero_grad()
            nn.functional.cross_entropy(wrapped(torch.from_numpy(SPLIT.x)), torch.from_numpy(SPLIT.y)).backward()
            stepper.step()
    run = training.private_sgd(NET, SPLIT, PrivacyConfig(0.4, 0.0, 1.0, 2), learning_rate=0.3, seed=0)
    theirs = np.concatenate([p.detach().numpy().ravel() for p in copy.parameters()])
    assert np.allclose(flatten(run.weights), theirs, atol=1e-5)


@pytest.mark.parametrize(
    "bad", [(0.0, 1.0, 0.1, 1), (1.0, -1.0, 0.1, 1), (1.0, 1.0, 0.0, 1), (1.0, 1.0, 1.1, 1), (1.0, 1.0, 0.1, 0)]
)
def test_a_private_training_needs_sound_settings(bad):
    with pytest.raises(BadInput):
        PrivacyConfig(*bad)


def test_robust_averages():
    updates = RNG.normal(1.0, 0.1, (9, 30)).astype(np.float32)
    poisoned = updates.copy()
    poisoned[4] = robust.flip_and_scale(updates[4], 100.0)
    zero, ones = np.zeros(30, np.float32), np.ones(9, np.int64)
    assert np.array_equal(robust.median(zero, updates, ones), np.median(updates, axis=0).astype(np.float32))
    assert federated_average(zero, poisoned, ones).mean() < -5
    for rule in (robust.median, robust.TrimmedMean(0.2)):
        assert rule(zero, poisoned, ones).mean() == pytest.approx(1.0, abs=0.1)
    bound = robust.NormBound(float(np.linalg.norm(updates, axis=1).max()))
    assert bound(zero, poisoned, ones).mean() > 0.6
    assert robust.TrimmedMean(0.0)(zero, updates, ones) == pytest.approx(updates.mean(axis=0), abs=1e-6)
    with pytest.raises(BadInput):
        robust.TrimmedMean(0.5)
    with pytest.raises(BadInput, match="NaN"):
        robust.median(zero, np.full((3, 30), np.nan, np.float32), ones)


def honest(clients=8, length=60):
    updates = RNG.normal(0, 1, (clients, length)).astype(np.float32)
    return np.zeros(length, np.float32), training.clip_rows(updates, 0.9)


def test_a_secure_round_is_the_mean():
    weights, updates = honest()
    found = secure_average(weights, updates, limit=1.0, drop_outs={2: "masked", 3: "unmask"})
    alive = [0, 1, 3, 4, 5, 6, 7]
    assert found.used == tuple(alive)
    assert found.weights == pytest.approx(updates[alive].mean(axis=0), abs=1e-6)
    assert found.missing == {2: "dropped out at 'masked'"}
    assert found.refused == ""


def test_a_nan_is_withheld_by_its_own_client():
    weights, updates = honest()
    updates[1, 5] = np.nan
    found = secure_average(weights, updates, limit=1.0)
    assert "withheld: The update holds a NaN" in found.missing[1]
    assert 1 not in found.used
    assert np.isfinite(found.weights).all()
    with pytest.raises(BadInput, match="NaN"):
        guard(updates[1], 1.0)
    loud = guard(updates[0] * 1e6, 1.0)
    assert np.linalg.norm(loud) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("kind", ["enormous", "noise", "just too long"])
def test_an_unguarded_client_has_the_sum_refused(kind):
    weights, updates = honest()
    weights += 3.0
    form = FixedPoint(1.0, len(updates))
    words = {
        "enormous": np.full(60, 2**31 - 1, np.uint32),
        "noise": np.random.default_rng(1).integers(0, 2**32, 60, dtype=np.uint32),
        "just too long": np.rint(np.full(60, 1.9) * form.scale).astype(np.int64).astype(np.uint32),
    }[kind]
    found = secure_average(weights, updates, limit=1.0, unguarded={4: words})
    assert found.refused.startswith("the sum was refused")
    assert "does not say which" in found.refused
    assert np.array_equal(found.weights, weights)
    assert found.used == ()


def test_too_few_survivors_leave_the_model_alone():
    weights, updates = honest()
    found = secure_average(weights, updates, limit=1.0, drop_outs=dict.fromkeys(range(5), "masked"))
    assert "the sum was refused" in found.refused
    assert np.array_equal(found.weights, weights)
    with pytest.raises(BadInput, match="do not fit"):
        secure_average(weights[:3], updates, limit=1.0)


def test_the_log_of_a_secure_round_names_everybody_who_is_missing():
    weights, updates = honest(9)
    updates[2] = np.inf
    found = secure_average(weights, updates, limit=1.0, drop_outs={2: "keys", 3: "unmask", 4: "shares"})
    assert found.missing == {2: "dropped out at 'keys'", 4: "dropped out at 'shares'"}
    assert set(found.used) | set(found.missing) == set(range(9))
    for few in (0, 1, 2):
        lonely = secure_average(weights, updates[3 : 3 + few], limit=1.0)
        assert "at least three" in lonely.refused
        assert np.array_equal(lonely.weights, weights)
    words = np.zeros(60, np.uint32)
    for bad in ({9: words}, {1: words[:5]}, {1: words.astype(float)}):
        with pytest.raises(BadInput, match="An unguarded client"):
            secure_average(weights, updates, limit=1.0, unguarded=bad)


def test_a_client_that_the_protocol_left_behind_is_in_the_log(monkeypatch):
    def without(rows, **told):
        found = without.__wrapped__(rows, **told)
        return dataclasses.replace(found, dropped={**found.dropped, 4: "shares"})

    without.__wrapped__ = secure_rounds.secure_sum
    monkeypatch.setattr(secure_rounds, "secure_sum", without)
    weights, updates = honest()
    assert "too few neighbours left" in secure_average(weights, updates, limit=1.0).missing[4]


def test_a_simulation_learns_from_sums_alone():
    digits = data.digits(seed=0)
    rule = SecureMean(limit=2.0)
    config = ClientConfig(0.3, 2, None)
    settings = {"rounds": 6, "sample": 8, "config": config, "evaluate_on": digits.validation}
    run = simulate(figures.new_network(0), digits.train, iid(digits.train, 12), aggregate=rule, **settings)
    assert run.accuracy[-1] > run.accuracy[0]
    assert [len(one.used) for one in rule.rounds] == [8] * 6
    lonely = SecureMean(limit=2.0)
    few = simulate(
        figures.new_network(0), digits.train, iid(digits.train, 12), aggregate=lonely, **{**settings, "sample": 2}
    )
    assert "at least three" in lonely.rounds[0].refused
    assert np.array_equal(flatten(few.weights), flatten(initial_weights(figures.new_network(0))))


def test_the_first_layer_gives_its_input_away():
    net = nets.mlp(16, 3, hidden=(12,))
    x, y = torch.rand(1, 16), torch.tensor([2])
    gradient = inversion.item_gradient(net, x, y)
    assert inversion.invert_first_layer(gradient[0].numpy(), gradient[1].numpy()) == pytest.approx(
        x[0].numpy(), abs=1e-4
    )
    assert inversion.revealed_label(gradient[-1].numpy()) == 2
    with pytest.raises(BadInput, match="nothing of the input"):
        inversion.invert_first_layer(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(BadInput, match="one linear layer"):
        inversion.invert_first_layer(np.zeros((2, 3)), np.zeros(3))


def test_a_search_finds_the_input_of_a_smooth_network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.Sigmoid(), nn.Linear(24, 4))
    x, y = torch.rand(1, 1, 4, 4), torch.tensor([1])
    found = inversion.search_input(net, inversion.item_gradient(net, x, y), (1, 4, 4), steps=40)
    assert found.label == 1
    assert np.abs(found.image - x[0].numpy()).mean() < 0.02
    assert found.losses[-1] < found.losses[0] * 1e-3
    with pytest.raises(BadInput, match="not of this network"):
        inversion.search_input(net, inversion.item_gradient(NET, torch.rand(1, 4), torch.tensor([0])), (1, 4, 4))


def test_an_attack_is_judged_as_scikit_learn_does():
    inside, outside = RNG.normal(0.7, 1, 90).round(1), RNG.normal(0, 1, 70).round(1)
    found = membership.judge_attack(inside, outside)
    truth = np.r_[np.ones(90), np.zeros(70)]
    assert found.auc == pytest.approx(roc_auc_score(truth, np.r_[inside, outside]))
    cuts = np.unique(np.r_[inside, outside])
    assert found.advantage == pytest.approx(max((inside >= c).mean() - (outside >= c).mean() for c in cuts))
    assert found.low < found.auc < found.high
    assert membership.judge_attack([1.0, 2.0], [1.0, 2.0]).auc == 0.5
    assert membership.judge_attack([3.0], [1.0]).advantage == 1.0
    assert found.reading("x").value == pytest.approx(100 * found.auc)
    for bad in ([], [np.nan]):
        with pytest.raises(BadInput):
            membership.judge_attack(bad, [1.0])


def test_confidence_is_the_log_odds_of_the_right_class():
    logits = RNG.normal(0, 2, (5, 4)).astype(np.float32)
    y = np.array([0, 3, 1, 2, 0])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = p[np.arange(5), y]
    assert membership.confidence(logits, y) == pytest.approx(np.log(right / (1 - right)), rel=1e-4)


def test_likelihood_ratio_finds_members_that_a_threshold_does_not():
    """Items of very different difficulty: the confidence says who is easy, the ratio who was there."""
    rng = np.random.default_rng(0)
    easy = rng.normal(0, 10, 300)
    inside = rng.random((21, 300)) < 0.5
    sure = easy + 2.0 * inside + rng.normal(0, 1, inside.shape)
    score = membership.likelihood_ratio(sure[0], sure[1:], inside[1:])
    ratio = membership.judge_attack(score[inside[0]], score[~inside[0]])
    threshold = membership.judge_attack(sure[0][inside[0]], sure[0][~inside[0]])
    assert ratio.auc > 0.85
    assert threshold.auc < 0.65
    with pytest.raises(BadInput, match="two shadow models"):
        membership.likelihood_ratio(sure[0], sure[1:2], inside[1:2])
