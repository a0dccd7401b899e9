"""The figures of pruning that were made ahead: whole, said as they are, and the networks that go with them."""

import json

import numpy as np
import pytest
import torch

from edgelab import data, nets
from edgelab.errors import BadFile
from edgelab.nets import ahead
from edgelab.slim import prune_ahead
from edgelab.slim.prune_audit import audit
from edgelab.slim.prune_filters import narrowed

STORED = prune_ahead.read()
RUNS = STORED["runs"]


def test_every_run_is_a_planned_one_with_its_date_and_machine_and_none_is_there_twice():
    planned = prune_ahead.planned()
    for run in RUNS:
        assert any(ahead.same(wanted, run) for wanted in planned), run
        assert run["date"] >= "2026-11-01"
        assert run["machine"]
        assert 0 <= prune_ahead.accuracy(run) <= 100
    assert all(sum(ahead.same(wanted, run) for run in RUNS) <= 1 for wanted in planned)


def test_what_the_lab_shows_is_there():
    for name in prune_ahead.LIMITS:
        assert prune_ahead.selected(RUNS, what="half", network=name)
    for sparsity in (0.5, 0.9):
        assert prune_ahead.selected(RUNS, what="iterative", sparsity=sparsity)
        assert prune_ahead.selected(RUNS, what="one-shot", sparsity=sparsity)
    for sparsity in prune_ahead.TICKETS:
        assert prune_ahead.selected(RUNS, what="ticket control", sparsity=sparsity)


def test_what_is_said_to_hold_holds_in_the_runs():
    assert STORED["judged"] == json.loads(json.dumps(prune_ahead.judge(RUNS)))
    for sentence in STORED["judged"]:
        assert isinstance(sentence["held"], bool)
        if "within" in sentence["says"]:
            limit = float(sentence["says"].split("within ")[1].split()[0])
            assert sentence["held"] == (sentence["mean"] <= limit)
        else:
            assert sentence["held"] <= (sentence["mean"] > 0)


@pytest.mark.parametrize("name", prune_ahead.LIMITS)
def test_half_the_macs_are_gone_and_the_stored_network_is_as_right_as_is_said(name):
    whole, half = nets.load(name), prune_ahead.pruned(name)
    found = audit(whole, half, (3, 32, 32))
    assert 0.45 * found.macs[0] < found.macs[1] <= 0.5 * found.macs[0]
    assert set(found.not_pruned) <= {"head", *(n for n, _ in whole.named_modules() if "depthwise" in n)}
    (run,) = prune_ahead.selected(RUNS, what="half", network=name, seed=0)
    test = data.signs(seed=0).test
    right = nets.predict_logits(half, test.x).argmax(axis=1) == test.y
    assert abs(100 * right.mean() - prune_ahead.accuracy(run)) < 0.3


def test_the_paired_interval_is_of_the_items(tmp_path):
    rng = np.random.default_rng(0)
    before = [prune_ahead._run({"what": "a", "seed": 0}, nets.load("digits_mlp"), data.digits(seed=0))]
    reading = prune_ahead.paired(before, before * 3, "nothing changed")
    assert (reading.value, reading.low, reading.high) == (0.0, 0.0, 0.0)
    assert reading.made_on == prune_ahead.made_on(before)
    net = nets.load("digits_mlp")
    net.get_submodule("1").weight.data += torch.tensor(rng.normal(0, 0.3, (64, 64)), dtype=torch.float32)
    after = [prune_ahead._run({"what": "b", "seed": 0}, net, data.digits(seed=0))]
    reading = prune_ahead.paired(before, after, "noise")
    lost = 100 * (prune_ahead.correct(before).astype(int) - prune_ahead.correct(after).astype(int))
    assert reading.value == pytest.approx(lost.mean())
    assert reading.high - reading.value == pytest.approx(1.96 * lost.std(ddof=1) / len(lost) ** 0.5)


def test_runs_are_kept_one_by_one_and_not_made_twice(tmp_path):
    path = tmp_path / "ahead.json"
    wanted = [{"what": "dense", "network": "signs_dscnn", "seed": 0}]
    assert len(list(prune_ahead.make(path, runs=wanted))) == 1
    assert list(prune_ahead.make(path, runs=wanted)) == []
    kept = prune_ahead.read(path)
    assert prune_ahead.accuracy(kept["runs"][0]) == pytest.approx(92.45, abs=0.2)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(BadFile, match="make them again"):
        prune_ahead.read(path)


def test_a_peer_that_leaves_layers_whole_without_a_word_is_found_out():
    """Asked for 95 % with widths of four, torch-pruning rounds 1.6 filters to none and then leaves all 32."""
    tp = pytest.importorskip("torch_pruning")
    before, net = nets.load("signs_dscnn"), nets.load("signs_dscnn")
    settings = {"pruning_ratio": 0.95, "round_to": 4, "ignored_layers": [net.get_submodule("head")]}
    by = tp.importance.GroupMagnitudeImportance(p=1)
    tp.pruner.BasePruner(net, torch.zeros(1, 3, 32, 32), importance=by, **settings).step()
    found = audit(before, net, (3, 32, 32))
    assert "stem.conv" in found.not_pruned
    assert "`stem.conv`" in found.sentence()
    assert found.macs[1] > 0.6 * found.macs[0]
    narrow, _ = narrowed(before, torch.zeros(1, 3, 32, 32), 0.95, round_to=4)
    assert set(audit(before, narrow, (3, 32, 32)).not_pruned) == {"head"}


@pytest.mark.parametrize("what", ["one-shot", "iterative", "ticket control"])
def test_the_steps_that_are_told_end_at_the_total(what, tmp_path, monkeypatch):
    monkeypatch.setattr(prune_ahead, "ROUND_STEPS", 2)
    monkeypatch.setitem(prune_ahead.TICKET, "steps", 2)
    wanted = next(run for run in prune_ahead.planned() if run["what"] == what)
    told = []
    list(prune_ahead.make(tmp_path / "a.json", anew=True, runs=[wanted], report=lambda *v: told.append(v)))
    total = prune_ahead.steps_of(wanted)
    assert told == [(done, total) for done in range(1, total + 1)]
