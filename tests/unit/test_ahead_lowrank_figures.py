"""Figures of low rank made ahead: how runs are made and kept, what they are judged by, and what the file holds."""

import base64
import json

import numpy as np
import pytest
import torch
from scipy import stats as reference
from torch import nn

from edgelab import data
from edgelab.ahead import lowrank_figures as figures
from edgelab.errors import BadFile, BadInput
from edgelab.slim import lowrank


def run(task, seed, times, right, *, trained=False):
    packed = base64.b85encode(np.packbits(np.asarray(right, bool)).tobytes()).decode()
    identity = {"task": task, "seed": seed, "times": times, "trained": trained}
    return {**identity, "items": len(right), "right": packed, "date": "2026-11-29", "machine": "a laptop"}


def hits(share, items=200):
    return np.arange(items) < share * items


def test_the_ranks_hold_so_many_times_fewer_weights():
    net = figures.new_head()
    for times in figures.TIMES:
        made = figures.cut(net, "signs", times)
        before, after = (sum(getattr(c, f"weights_{side}") for c in made.cuts) for side in ("before", "after"))
        assert times <= before / after < 1.1 * times
    assert figures.ranks_at(nn.Sequential(nn.Linear(2, 2)), ("0",), 100) == {"0": 1}
    with pytest.raises(BadInput, match="1 or more"):
        figures.ranks_at(net, ("1",), 0.5)


def test_a_loss_of_several_networks_is_the_paired_t_interval_of_two_looks():
    whole, thin = [0.9, 0.92, 0.91, 0.89, 0.93], [0.88, 0.91, 0.85, 0.88, 0.9]
    runs = [run("signs", s, 1, hits(v)) for s, v in enumerate(whole)]
    runs += [run("signs", s, 5, hits(v), trained=True) for s, v in enumerate(thin)]
    found = figures.loss(runs, "signs", 5, trained=True)
    gaps = 100 * np.subtract(whole, thin)
    low, high = reference.t.interval(1 - 0.05 / 2, 4, gaps.mean(), reference.sem(gaps))  # two looks
    assert (found.value, found.low, found.high) == pytest.approx((gaps.mean(), low, high))
    assert found.made_on == ("2026-11-29", "a laptop")
    assert figures.loss(runs[:1] + runs[5:6], "signs", 5, trained=True).doubt == "One seed cannot tell."
    with pytest.raises(BadInput, match="no run of signs with 3 times"):
        figures.loss(runs, "signs", 3, trained=True)


def test_one_network_of_several_seeds_has_the_interval_of_its_items():
    runs = [run("text", s, 1, hits(0.9)) for s in range(3)]
    runs += [run("text", s, 2, hits(0.8), trained=True) for s in range(3)]
    found = figures.loss(runs, "text", 2, trained=True)
    gaps = 100 * (hits(0.9).astype(float) - hits(0.8))
    assert found.value == pytest.approx(10.0)
    assert found.high - found.value == pytest.approx(reference.norm.ppf(1 - 0.025 / 2) * gaps.std(ddof=1) / 200**0.5)
    assert "one network" in found.by


@pytest.mark.parametrize(("thin", "held"), [(0.9, True), (0.85, False)])
def test_a_bound_is_held_where_the_whole_interval_keeps_to_it(thin, held):
    runs = [run("signs", s, 1, hits(0.9)) for s in range(5)]
    runs += [run("signs", s, 5, hits(thin + 0.001 * s), trained=True) for s in range(5)]
    assert figures.held(runs) == {"signs": {"5": held}}


def test_a_run_is_made_once_and_kept(tmp_path, monkeypatch):
    small = data.digits(seed=0)
    task = figures.Task(lambda: small, figures.TASKS["digits"].network, ("1", "3"), {"epochs": 1}, {"steps": 2})
    monkeypatch.setitem(figures.TASKS, "digits", task)
    wanted = [r for r in figures.planned() if r["task"] == "digits" and r["seed"] == 0 and r["times"] in (1, 10)]
    file, told = tmp_path / "figures.json", []
    made = list(figures.make(file, runs=wanted, report=lambda done, whole: told.append((done, whole))))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [r["trained"] for r in made] == [False, False, True]
    assert made[1]["weights_before"] > 9 * made[1]["weights_after"]
    assert all(0 <= figures.accuracy(r) <= 100 for r in made)
    assert list(figures.make(file, runs=wanted)) == []
    with pytest.raises(BadFile, match="does not hold figures of low-rank"):
        figures.read(tmp_path / "none.json")


def test_the_shipped_file_is_whole_and_what_it_holds_follows_from_its_runs():
    content = figures.read()
    identity = ("task", "seed", "times", "trained")
    assert sorted(str([r[k] for k in identity]) for r in content["runs"]) == sorted(
        str([r[k] for k in identity]) for r in figures.planned()
    )
    assert content["held"] == json.loads(json.dumps(figures.held(content["runs"])))
    assert content["recipe"]["tasks"].keys() == figures.TASKS.keys()
    for entry in content["runs"]:
        assert entry["date"]
        assert entry["machine"]


def test_the_trunk_gives_the_features_that_the_head_takes():
    image = torch.zeros(1, 3, 32, 32)
    assert figures.trunk()(image).shape == (1, figures.FEATURES)
    assert figures.new_head()(figures.trunk()(image)).shape == (1, 10)
    same = [figures.new_head(3)[1].weight for _ in range(2)]
    assert torch.equal(*same)
    assert lowrank.break_even(figures.new_head()[1]) == 438


def test_the_spectra_are_standardised_on_the_training_items():
    whole = data.vibration(seed=0)
    found = figures.spectra(whole)
    assert found.train.x.shape == (len(whole.train), 1024)
    assert np.abs(found.train.x.mean(axis=0)).max() < 1e-3
    assert found.test.y.tolist() == whole.test.y.tolist()
