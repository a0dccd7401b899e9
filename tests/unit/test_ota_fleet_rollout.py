"""Rollouts through the simulated fleet: faults stopped early, good releases let through, and the two models agree."""

import numpy as np
import pytest

from edgelab.errors import BadInput
from edgelab.ota.evidence import MEASURES, decide_on, decide_on_all
from edgelab.ota.fleet import draw_devices
from edgelab.ota.fleet_rollout import GATES, gates_for, roll_out, sketch
from edgelab.ota.gate_trial import exact_interval
from edgelab.ota.gates import EProcess
from edgelab.ota.hardware import Fault, World

FAULTS = [Fault(crashes=6), Fault(slowdown=1.5), Fault(wrong_on="camera"), Fault(leak_mb_h=40.0)]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_bad_release_stops_in_the_first_wave_in_both_models(fault):
    whole = roll_out(draw_devices(20_000), fault, hold_h=24)
    quick = sketch(20_000, fault, hold_h=24)
    for run in (whole, quick):
        assert run.outcome == "stopped"
        assert run.stopped_h <= 24
        assert run.reached <= 0.013 * 20_000
        assert run.hurt > 0
        assert "in wave 1 of 3" in run.sentence()
        assert run.reach.how == "modelled"
        assert run.to_dict()["how"] == "modelled"
        assert (
            run.hours[run.stopped_h - 1].level >= 1 > max([h.level for h in run.hours[: run.stopped_h - 1]], default=0)
        )
    assert whole.hours[-1].on_new < whole.reached / 2  # and on the way back
    assert whole.new.total < whole.old.total / 50


def test_a_good_release_reaches_everybody():
    run = roll_out(draw_devices(5000), Fault(), waves=(10, 100), hold_h=12, tick_s=3600)
    assert run.outcome == "done"
    assert run.stopped_h is None
    assert run.reached > 0.98 * 5000
    assert run.hours[-1].wave == 1
    assert "Nothing stopped it" in run._repr_markdown_()


def test_a_good_release_is_rarely_stopped_though_its_control_group_changes():
    stopped = sum(
        sketch(3000, Fault(), seed=seed, waves=(3, 30, 100), hold_h=36, world=World(crash_h=0.01)).outcome == "stopped"
        for seed in range(200)
    )
    assert exact_interval(stopped, 200)[0] < 0.05
    peeking = sum(sketch(3000, Fault(), "exact test, peeking", seed=seed).outcome == "stopped" for seed in range(60))
    assert peeking > 10


@pytest.mark.parametrize("gate", GATES)
def test_each_gate_has_a_place_in_both_models_and_a_sketch_decides_look_by_look(gate):
    run = sketch(10_000, Fault(crashes=4), gate, seed=2)
    assert run.decision.gate.startswith(gate)
    assert roll_out(draw_devices(1000), Fault(), gate, waves=(50, 100), hold_h=3, tick_s=3600).decision.gate.startswith(
        gate
    )
    gates, looks = gates_for(gate, World(), (1, 10, 100), 48), {name: [[0.0, 1.0, 10.0, 90.0]] * 3 for name in MEASURES}
    _, levels = decide_on_all(looks, gates)
    one_by_one = []
    for count in range(1, 4):
        decision = decide_on({name: rows[:count] for name, rows in looks.items()}, gates)
        one_by_one.append(decision.evidence / decision.limit)
    assert one_by_one == pytest.approx(levels)


def test_averaged_e_processes_are_one():
    looks = {"crashed": [[9, 1, 10, 90]], "slower": [[0, 5, 10, 90]], "wrong": [[0, 0, 10, 90]]}
    decision = decide_on(looks, dict.fromkeys(MEASURES, EProcess()))
    each = [EProcess().monitor().update(*rows[0]).evidence for rows in looks.values()]
    assert decision.evidence == pytest.approx(np.mean(each))
    assert decision.gate == "e-process, devices that crashed"
    assert decide_on({name: [] for name in MEASURES}, dict.fromkeys(MEASURES, EProcess())).look == 0


def test_progress_is_told():
    seen = []
    roll_out(draw_devices(100), Fault(), waves=(100,), hold_h=2, tick_s=3600, progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: sketch(10, Fault()),
        lambda: sketch(1000, Fault(), "hope"),
        lambda: sketch(1000, Fault(), hold_h=0),
        lambda: sketch(1000, Fault(), hold_h=1.5),
        lambda: sketch(1000, Fault(), waves=(5,)),
        lambda: roll_out(draw_devices(100), Fault(), tick_s=0),
        lambda: roll_out(draw_devices(100), Fault(wrong_on="toaster")),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(BadInput):
        make()
