"""The figures of distillation made ahead: means and differences, and what the shipped file says was held."""

import json

import numpy as np
import pytest
from scipy import stats as reference

from edgelab.ahead import distill_figures as figures
from edgelab.ahead.distill_readings import MadeAhead
from edgelab.errors import BadFile, BadInput


def made(values, tasks=("signs", "vibration")):
    runs = {
        f"{task}, all labels | {method} | {seed}": {"test": value}
        for task in tasks
        for method, row in values.items()
        for seed, value in enumerate(row)
    }
    content = {"date": "2026-11-29", "machine": "a laptop", "runs": runs}
    return MadeAhead({**content, "teachers": {task: {"test": 92.0} for task in tasks}})


HARD, SOFT = [70.0, 72.0, 71.0, 69.0, 73.0], [75.0, 75.5, 76.0, 75.2, 77.0]


def test_a_gain_is_the_paired_t_interval():
    found = made({"hard": HARD, "soft": SOFT}).gain("signs, all labels", "soft")
    gaps = np.subtract(SOFT, HARD)
    low, high = reference.t.interval(0.95, 4, gaps.mean(), reference.sem(gaps))
    assert (found.value, found.low, found.high) == pytest.approx((gaps.mean(), low, high))
    assert found.made_on == ("2026-11-29", "a laptop")
    assert "5 seeds" in found.by


def test_only_seeds_in_common_are_compared_and_few_are_in_doubt():
    found = made({"hard": HARD[:2], "soft": SOFT})
    assert found.gain("signs, all labels", "soft").doubt.startswith("2 seeds cannot tell")
    with pytest.raises(BadInput, match="no run of 'none'"):
        found.accuracy("signs, all labels", "none")
    with pytest.raises(BadInput, match="no seed in common"):
        found.gain("signs, all labels", "soft", "none")


def content(gain=5.0, feature=2.0, pruned=70.0):
    soft = [value + gain for value in HARD]
    rows = {"hard": HARD, "soft": soft, "pruned teacher": [pruned] * 5}
    return made({**rows, **{f"soft + {n}": [v + feature for v in soft] for n in ("hint", "attention", "relations")}})


@pytest.mark.parametrize(
    ("settings", "held"),
    [
        ({}, {"D1": False, "D2": True, "D3": True, "D4": True}),
        ({"gain": 0.0}, {"D1": False, "D2": False, "D3": True, "D4": False}),
        ({"gain": 1.0}, {"D1": False, "D2": False, "D3": True, "D4": True}),  # within the seed noise
        ({"gain": 21.0, "feature": -1.0}, {"D1": True, "D2": True, "D3": False, "D4": True}),
    ],
)
def test_what_was_held(settings, held):
    found = content(**settings).held()
    assert {claim: set(parts.values()) for claim, parts in found.items()} == {c: {v} for c, v in held.items()}
    assert set(found["D3"]) == {"hint", "attention", "relations"}


def test_the_shipped_figures_are_whole_and_their_held_is_what_they_say():
    shipped = MadeAhead.load(figures.FILE)
    assert set(shipped.content["runs"]) <= {run.key for run in figures.plan()}
    for run in figures.plan():  # the pruned signs are the last in the plan: their reading says how few seeds it has
        there = len(shipped.seeds(f"{run.task}, {run.condition}", run.method))
        assert there == 5 or run.condition == "wrong labels" or (run.task, run.method) == ("signs", figures.PRUNED)
    assert shipped.content["held"] == shipped.held()
    assert shipped.content["recipe"] == json.loads(json.dumps(figures._empty()["recipe"]))
    assert {run["parameters"] for run in shipped.content["runs"].values()} == {7522, 1865}
    assert shipped.times_smaller("vibration").value == pytest.approx(15461 / 1865)


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(BadFile, match="does not hold figures of distillation"):
        MadeAhead.load(tmp_path / "other.json")
