"""Searching for a network: the space, its costs, the searches, the predictor, the proxies, and what was made ahead."""

import itertools
import json

import numpy as np
import pytest
import torch
from scipy import stats as reference

from edgelab import data, nets
from edgelab.errors import BadFile, BadInput
from edgelab.toolbox import search_figures as figures
from edgelab.toolbox import search_latency as latency
from edgelab.toolbox import search_plain as plain
from edgelab.toolbox import search_proxies as proxies
from edgelab.toolbox import search_ranks as ranks
from edgelab.toolbox import search_space as space
from edgelab.toolbox.search_costs import cost_of, fits
from edgelab.toolbox.search_readings import MadeAhead
from edgelab.toolbox.search_space import Architecture

SMALL = Architecture(2, 8, 12, 24, 1, 1)
EVERY = space.all_architectures()


@pytest.mark.parametrize("arch", [EVERY[0], EVERY[-1], SMALL, space.hand_scaled(5)])
def test_macs_are_those_that_pytorch_counts(arch):
    net = space.build(arch, 7, 2)
    assert space.macs(arch, 7, 2, 30) == nets.count_macs(net, (2, 30, 30)).macs


def test_the_hand_scaled_network_is_the_one_of_the_other_labs():
    ours, theirs = space.build(space.hand_scaled(6)), nets.dscnn(width=6)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [(n, p.shape) for n, p in theirs.named_parameters()]
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_a_network_has_the_weights_of_its_seed_and_the_global_state_is_kept():
    before = torch.get_rng_state()
    one, two = space.build(SMALL, seed=3), space.build(SMALL, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_name_is_read_back_and_a_bad_one_is_one_sentence():
    assert all(space.parse(arch.key) == arch for arch in EVERY)
    for bad in ("", "1-2", "a-b-c-d-e-f", "1-8-12-24-1-0"):
        with pytest.raises(BadInput, match="architecture"):
            space.parse(bad)
    with pytest.raises(BadInput, match="stem=0"):
        space.build(Architecture(1, 0, 12, 24, 1, 1))
    with pytest.raises(BadInput, match="six numbers"):
        space.build((1, 2))
    with pytest.raises(BadInput, match="in this order"):
        space.all_architectures({"stem": (1,)})


def test_costs_are_those_of_the_real_file_and_do_not_hang_on_the_weights():
    signs = data.signs(seed=0)
    one = cost_of(SMALL, signs.train.x[:8])
    other = cost_of(SMALL, signs.train.x[8:16], net=space.build(SMALL, seed=9).eval())
    assert one == other
    assert one.parameters == nets.count_parameters(space.build(SMALL))
    assert one.file_bytes > one.parameters
    assert one.to_dict().items() <= json.loads(figures.FILE.read_text())["table"][SMALL.key].items()
    with pytest.raises(BadInput, match="Square images"):
        cost_of(SMALL, signs.train.x[:8, :, :16])


def test_what_fits_and_what_is_unknown():
    assert fits({"a": 1}, {})
    assert fits({"a": 1.0, "b": 9}, {"a": 1.0})
    assert not fits({"a": 1.1}, {"a": 1.0})
    assert not fits({}, {"a": 1.0})


def test_a_mutation_is_one_of_the_neighbours_and_all_are_reached():
    rng = np.random.default_rng(0)
    found = {plain.mutate(SMALL, rng) for _ in range(400)}
    assert len(found) == sum(len(values) - 1 for values in space.CHOICES.values())
    assert all(sum(a != b for a, b in zip(child, SMALL, strict=True)) == 1 for child in found)
    assert found <= set(EVERY)
    with pytest.raises(BadInput, match="nothing can change"):
        plain.mutate(SMALL, rng, {"stem": (8,)})


def same_arch(arch, rng):
    return arch


def test_the_oldest_dies_and_the_best_of_the_tournament_has_the_child():
    members = [plain.Member(arch, value) for arch, value in zip(EVERY[::40], (60.0, 70.0, 40.0, 50.0), strict=True)]
    child, rest = plain.evolution_step(members, np.random.default_rng(0), 4, same_arch)
    assert (child, rest) == (members[1].arch, members[1:])
    many = [plain.evolution_step(members, np.random.default_rng(s), 2, same_arch)[0] for s in range(600)]
    assert many.count(members[1].arch) / 600 == pytest.approx(0.5, abs=0.07)
    assert members[2].arch not in many
    with pytest.raises(BadInput, match="sample=5"):
        plain.evolution_step(members, np.random.default_rng(0), 5)


def test_both_searches_evaluate_as_many_different_networks_of_the_space():
    inside = [arch for arch in EVERY if arch.stem == 8]
    for seed in range(5):
        asked = plain.evolve(inside, lambda arch: float(arch.last), 20, np.random.default_rng(seed))
        drawn = plain.random_search(inside, 20, np.random.default_rng(seed))
        for found in (asked, drawn):
            assert len(found) == len(set(found)) == 20
            assert set(found) <= set(inside)
    assert plain.evolve(inside, lambda a: 1.0, 20, np.random.default_rng(1)) == plain.evolve(
        inside, lambda a: 1.0, 20, np.random.default_rng(1)
    )
    with pytest.raises(BadInput, match="architectures is wanted"):
        plain.evolve(inside, lambda a: 1.0, 4, np.random.default_rng(0))
    with pytest.raises(BadInput, match="the space has"):
        plain.random_search(inside, 1000, np.random.default_rng(0))


def places(arch):
    """How far the choices of an architecture stand in their lists, added up: one best network, no local ones."""
    return float(sum(values.index(v) for values, v in zip(space.CHOICES.values(), arch, strict=True)))


def test_evolution_beats_chance_where_good_networks_are_neighbours():
    draw = np.random.default_rng
    best = [max(map(places, plain.evolve(EVERY, places, 20, draw(s), population=5, sample=4))) for s in range(60)]
    assert np.mean(best) > plain.expected_best([places(a) for a in EVERY], 20) + 0.3


@pytest.mark.parametrize(("size", "n"), [(6, 1), (6, 3), (6, 6), (9, 4)])
def test_the_expected_best_is_the_mean_over_all_draws(size, n):
    values = np.random.default_rng(size).uniform(0, 9, size)
    truth = np.mean([max(draw) for draw in itertools.combinations(values, n)])
    assert plain.expected_best(values, n) == pytest.approx(truth)
    with pytest.raises(BadInput, match="n=0"):
        plain.expected_best(values, 0)


def test_a_fair_best_is_chosen_on_validation_among_different_networks():
    validation, test = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 9.0}, {"a": 8.0, "b": 5.0, "c": 7.0, "d": 6.0}
    assert plain.fair_best(["a", "a", "b", "b", "c", "d"], 3, validation, test) == 5.0


def test_the_pareto_front_by_comparing_all_with_all():
    rng = np.random.default_rng(0)
    costs, values = rng.integers(1, 6, 40) * 1.0, rng.integers(1, 6, 40) * 1.0
    slow = [
        not any(d <= c and w >= v and (d < c or w > v) for d, w in zip(costs, values, strict=True))
        for c, v in zip(costs, values, strict=True)
    ]
    assert plain.pareto(costs, values).tolist() == slow
    with pytest.raises(BadInput, match="One cost and one value"):
        plain.pareto([1.0], [1.0, 2.0])


def test_a_predictor_finds_the_weights_and_none_below_0():
    rng = np.random.default_rng(0)
    rows, weights = rng.uniform(1, 9, (15, 4)), np.array([0.5, 0.0, 2.0, 1.0])
    np.testing.assert_allclose(latency.fit_predictor(rows, rows @ weights), weights, atol=1e-9)
    assert (latency.fit_predictor(rows, 10 - rows[:, 0]) >= 0).all()
    for bad in (([[1.0]], [0.0]), ([[np.nan]], [1.0]), ([[1.0]], [1.0, 2.0])):
        with pytest.raises(BadInput, match=r"wanted|needs"):
            latency.fit_predictor(*bad)


def test_features_add_up_to_the_macs_and_the_layers():
    for arch in EVERY[::17]:
        found = latency.features(arch)
        assert found[1:4].sum() * 1000 == pytest.approx(space.macs(arch))
        assert found[0] == len(space.layers(arch))


def test_networks_far_apart_are_all_different():
    found = latency.spread_out(EVERY, 12, np.random.default_rng(0))
    assert len(set(found)) == 12
    with pytest.raises(BadInput, match="count=0"):
        latency.spread_out(EVERY, 0, np.random.default_rng(0))


def test_networks_are_measured_in_turn(tmp_path):
    signs = data.signs(seed=0)
    found = latency.measure([SMALL, EVERY[-1], SMALL], signs.test.x[:1], tmp_path, runs=16)
    assert list(found.to_dict()) == [SMALL.key, EVERY[-1].key]
    assert (found.ms > 0).all()
    assert found.reading(SMALL).value == found.ms[0]
    with pytest.raises(BadInput, match="nothing to measure"):
        latency.measure([], signs.test.x[:1], tmp_path)


def test_proxies_leave_the_network_as_it_is_and_grow_with_it():
    images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 10
    net = space.build(SMALL)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    scores = [proxies.grad_norm(net, images, labels), proxies.synflow(net, images), proxies.naswot(net, images)]
    assert np.isfinite(scores).all()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    trial = space.build(SMALL).train()
    torch.nn.functional.cross_entropy(trial(images), labels).backward()
    assert scores[0] == pytest.approx(sum(p.grad.norm().item() for p in trial.parameters()), rel=1e-5)
    wide = space.build(Architecture(2, 16, 48, 96, 1, 1))
    assert proxies.synflow(wide, images) > scores[1]


def test_naswot_counts_the_activations_that_two_images_share():
    images = torch.randn(5, 3, 8, 8)
    net = space.build(SMALL)
    codes, out = [], images
    with torch.no_grad():
        for layer in net.train().modules():
            if not list(layer.children()):
                out = layer(out)
                codes += [(out > 0).flatten(1)] if isinstance(layer, torch.nn.ReLU6) else []
    code = torch.cat(codes, dim=1)
    kernel = [[float((a == b).sum()) for b in code] for a in code]
    assert proxies.naswot(space.build(SMALL), images) == pytest.approx(np.linalg.slogdet(kernel)[1])


def test_ranks_and_their_intervals():
    truth = np.arange(30.0)
    noisy = truth + np.random.default_rng(0).normal(0, 5, 30)
    found = ranks.rank_reading(noisy, truth, "a test")
    assert found.value == pytest.approx(reference.kendalltau(noisy, truth).statistic)
    assert found.low < found.value < found.high
    gain = ranks.rank_gain(truth, noisy, truth, "a test")
    assert gain.value == pytest.approx(1 - found.value)
    assert gain.low > 0
    assert ranks.rank_reading([1, 2, 3], [1, 3, 2], "a test").doubt.startswith("3 networks cannot tell")
    assert ranks.median_gain([40.0] * 8, [10.0] * 8).value == 30.0
    with pytest.raises(BadInput, match="all the same"):
        ranks.rank_reading([1, 1], [1, 2], "a test")
    with pytest.raises(BadInput, match="of one length"):
        ranks.rank_reading([1, 2], [1, 2, 3], "a test")


def made(evolution, random, hand):
    trained = {f"e{i} | {s}": {"test": v + s} for i, v in enumerate(evolution) for s in range(3)}
    trained |= {f"r{i} | {s}": {"test": v + s} for i, v in enumerate(random) for s in range(3)}
    trained |= {f"h | {s}": {"test": hand + s} for s in range(3)}
    winners = {"evolution": [f"e{i}" for i in range(5)], "random": [f"r{i}" for i in range(5)]}
    made_by = {"date": "2026-11-29", "machine": "a laptop"}
    return MadeAhead({**made_by, "trained": trained, "winners": winners, "hand_scaled": "h"})


def test_gains_are_paired_and_decide_what_held():
    better, worse = [74.0, 75.0, 76.0, 75.5, 74.5], [70.0, 72.0, 71.0, 69.0, 71.5]
    found = made(better, worse, 66.0)
    gain = found.evolution_gain()
    gaps = np.subtract(better, worse)
    low, high = reference.t.interval(0.95, 4, gaps.mean(), reference.sem(gaps))
    assert (gain.value, gain.low, gain.high) == pytest.approx((gaps.mean(), low, high))
    assert found.search_gain().value == pytest.approx(9.0)
    assert all(found.held().values())
    assert not any(made(worse, better, 80.0).held().values())
    assert made(better, better, 66.0).held()["evolution beats random search"] is False
    assert found.accuracy("hand").value == 67.0
    with pytest.raises(BadInput, match="was not trained"):
        found.test("nothing")
    assert found.mean([1.0, 2.0], "%", "a test").doubt.startswith("2 seeds cannot tell")


def test_the_interval_of_a_gain_counts_the_noise_of_the_trainings_too():
    found = made([74.0, 75.0, 76.0, 75.5, 74.5], [70.0, 71.0, 72.0, 71.5, 70.5], 66.0)
    assert found.held()["evolution beats random search"]
    for i in range(5):  # in one of three trainings random search is far ahead
        found.content["trained"][f"r{i} | 2"]["test"] += 30.0
    gain = found.evolution_gain()
    assert gain.value == pytest.approx(4.0 - 10.0)
    assert gain.low < gain.value - 20 < gain.value + 20 < gain.high
    assert "3 training seeds each" in gain.by


def test_a_foreign_or_unfinished_file_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    with pytest.raises(BadFile, match="does not hold figures of search"):
        MadeAhead.load(path)
    with pytest.raises(BadFile, match="no figures of search"):
        figures.make(path, only=[])
    path.write_text('{"table": ')
    with pytest.raises(BadFile):
        MadeAhead.load(path)
    content = json.loads(figures.FILE.read_text())
    path.write_text(json.dumps(content | {"held": {}}))
    with pytest.raises(BadFile, match="not whole"):
        MadeAhead.load(path)
    other = content["recipe"] | {"short": {"epochs": 1}}
    path.write_text(json.dumps(content | {"recipe": other}))
    with pytest.raises(BadFile, match=r"another recipe \(short\)"):
        figures.make(path, only=[])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plain.block_macs(8, 8, 16, 0), "stride from 1 on"),
        (lambda: plain.fair_best([], 3, {}, {}), "one network or more"),
        (lambda: plain.fair_best(["a"], 0, {"a": 1.0}, {"a": 1.0}), "one network or more"),
        (lambda: plain.fair_best(["a"], 1, {"a": 1.0}, {}), "no accuracies of 'a'"),
        (lambda: plain.expected_best([1.0, np.nan], 1), "finite values"),
        (lambda: plain.pareto([1.0, np.nan], [1.0, 2.0]), "is NaN"),
        (lambda: plain.rank_correlation([1.0], [1.0, 2.0]), "of one length"),
        (lambda: plain.evolve(EVERY, places, 8, np.random.default_rng(0), sample=0), "1 <= sample=0"),
        (lambda: proxies.grad_norm(space.build(SMALL), torch.zeros(2, 3, 32, 32), torch.zeros(3).long()), "a label"),
        (lambda: proxies.naswot(space.build(SMALL), torch.zeros(1, 3, 32, 32)), "two or more"),
        (lambda: proxies.synflow(space.build(SMALL), torch.zeros(0, 3, 32, 32)), "there is none"),
        (lambda: cost_of(SMALL, np.full((2, 3, 32, 32), np.nan, np.float32)), "finite values"),
        (lambda: latency.relative_errors([1.0], [0.0]), "above 0"),
        (lambda: latency.measure([SMALL], np.zeros((2, 3, 32, 32), np.float32), None), "One image"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(BadInput, match=words) as told:
        call()
    assert str(told.value).count(". ") == 0


def test_the_shipped_figures_are_whole_and_say_what_was_held():
    ahead = MadeAhead.load(figures.FILE)
    content, table = ahead.content, ahead.table
    assert set(table) == set(EVERY)
    assert content["held"] == ahead.held()
    assert content["winners"] == figures.winners(table, figures.BUDGETS)
    assert content["hand_scaled"] == figures.by_hand(content["hand"], figures.BUDGETS).key
    for key in [content["hand_scaled"], *content["winners"]["evolution"], *content["winners"]["random"]]:
        assert all(f"{key} | {seed}" in content["trained"] for seed in content["recipe"]["training_seeds"])
    assert content["recipe"]["short"] == dict(figures.SHORT)
    assert content["recipe"]["long"] == dict(figures.LONG)


def test_what_is_there_is_not_trained_again(tmp_path, monkeypatch):
    calls = []

    def train(arch, dataset, recipe, seed=0):
        calls.append(arch.key)
        return {"validation": 50.0, "test": 50.0, "cpu_seconds": 0.0}

    monkeypatch.setattr(figures, "train_once", train)
    path, keys = tmp_path / "search.json", [SMALL.key, EVERY[0].key]
    figures.make(path, only=keys[:1])
    figures.make(path, only=keys)
    assert calls == keys
    figures.make(path, only=keys, anew=True, seconds=-1)
    assert len(calls) == 2
