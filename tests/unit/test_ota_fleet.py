"""The simulated fleet: closed forms of its parts, faults that show, and settings that make no sense."""

import numpy as np
import pytest

from edgelab.errors import BadInput
from edgelab.ota.fleet import BLOCK, Fleet, Life, draw_devices, run_fleet
from edgelab.ota.hardware import KINDS, Fault, Hardware, World, link_availability, throttle_duty, warm_up_c

STEADY = World(day=0.0, day_c=0.0)


def alike(kind, count=1, ambient=25.0, load=0.5):
    row = np.ones(count, np.float32)
    return Fleet((kind,), (count,), ambient * row, 0 * row, load * row, 0 * row)


@pytest.mark.parametrize("tick_s", [60.0, 300.0, 3600.0])
def test_heat_follows_its_exponential_whatever_the_tick(tick_s):
    kind = Hardware("board", 1.0, 10.0, 1.5, 5.0, throttle_c=200.0)
    life = Life(alike(kind), world=STEADY)
    watt = 1.5 + 3.5 * 0.5
    for hour in range(1):
        life.hour(hour, tick_s)
    assert life.temperature_c[0] == pytest.approx(warm_up_c(kind, 25.0, watt, 3600), abs=0.01)


@pytest.mark.parametrize("load", [0.2, 0.85, 0.9, 1.0])
def test_the_throttled_share_is_that_of_two_exponentials(load):
    kind = Hardware("board", 1.0, 10.0, 1.0, 8.0, throttle_c=80.0, resume_c=70.0, joule_per_kelvin=200.0)
    life = Life(alike(kind, ambient=25.0, load=load), world=STEADY)
    seen = []
    for hour in range(30):
        for tick in range(720):
            life._tick(kind, slice(0, 1), hour + tick / 720, 5.0)
            seen.append(bool(life.throttled[0]))
    assert np.mean(seen[2000:]) == pytest.approx(throttle_duty(kind, 25.0, load), abs=0.02)


def test_a_device_that_never_cools_is_always_slow():
    kind = Hardware("oven", 1.0, 10.0, 10.0, 12.0)
    assert throttle_duty(kind, 25.0, 1.0) == 1.0


def test_links_are_there_as_often_as_gilbert_and_elliott_say():
    kind = Hardware("board", 1.0, 10.0, 1.0, 5.0)
    life, seen = Life(alike(kind, 2000), world=STEADY), []
    for hour in range(60):
        life.hour(hour, 1200.0)
        seen.append(life.online.mean())
    assert np.mean(seen[10:]) == pytest.approx(link_availability(STEADY), abs=0.005)


def test_crashes_come_at_their_rate_and_a_device_counts_once():
    life = Life(draw_devices(20_000), world=World(crash_h=0.02))
    counted = sum(life.hour(hour, 1800.0) for hour in range(24))
    crashed = int((life.had & 1).astype(bool).sum())
    assert 0.85 * crashed < counted[0, 1] <= crashed < life.crashes.sum()  # some were offline and are not counted
    assert life.crashes.sum() == pytest.approx(0.02 * 24 * 20_000, rel=0.06)
    assert counted[0, 0] == counted[0, 2] == 0


@pytest.mark.parametrize(
    ("fault", "measure"),
    [(Fault(crashes=8), 0), (Fault(slowdown=1.5), 1), (Fault(wrong_on="camera"), 2), (Fault(leak_mb_h=60.0), 0)],
)
def test_a_fault_shows_on_the_new_release_alone(fault, measure):
    life = Life(draw_devices(20_000), fault, seed=1)
    life.new[np.random.default_rng(0).random(20_000) < 0.5] = True
    new, old, at_new, at_old = sum(life.hour(hour, 1800.0) for hour in range(10))[measure]
    assert new / at_new > 2 * old / at_old
    quiet = Life(draw_devices(20_000), Fault(), seed=1)
    quiet.new[:] = life.new
    new, old, at_new, at_old = sum(quiet.hour(hour, 1800.0) for hour in range(10))[measure]
    assert abs(new - (new + old) * at_new / (at_new + at_old)) < 2.5 * np.sqrt(new + old)  # five standard deviations


def test_a_slower_release_moves_its_own_histogram():
    life = Life(draw_devices(5000), Fault(slowdown=2.0))
    life.new[::2] = True
    life.hour(0, 600.0)
    middle = np.argmax(np.cumsum(life.latencies, axis=1) >= life.latencies.sum(axis=1, keepdims=True) / 2, axis=1)
    assert middle[1] - middle[0] == pytest.approx(np.log(2) / np.log(1e4) * 256, abs=3)
    assert life.latencies.sum() == 5000 * 6


def test_blocks_hold_one_kind_each_and_everybody_once():
    fleet = draw_devices(3 * BLOCK)
    parts = list(fleet.blocks())
    assert max(part.stop for _, part in parts) == len(fleet)
    assert sum(part.stop - part.start for _, part in parts) == len(fleet)
    assert all(part.stop - part.start <= BLOCK for _, part in parts)


def test_the_same_seed_gives_the_same_fleet_and_life():
    first, second = (run_fleet(draw_devices(300, 4), 3, 1200.0, seed=4).to_dict() for _ in range(2))
    assert first == second
    assert first["how"] == "modelled"
    assert run_fleet(draw_devices(300, 4), 3, 1200.0, seed=5).to_dict() != first
    assert "modelled" in run_fleet(draw_devices(300), 1)._repr_markdown_()


@pytest.mark.parametrize(
    "make",
    [
        lambda: draw_devices(2),
        lambda: draw_devices(100, kinds=KINDS[:2]),
        lambda: run_fleet(draw_devices(10), hours=0),
        lambda: run_fleet(draw_devices(10), tick_s=0),
        lambda: run_fleet(draw_devices(10), tick_s=7200),
        lambda: Fault(crashes=-1),
        lambda: Fault(slowdown=0),
        lambda: Fault(wrong=2),
        lambda: Fault(leak_mb_h=float("nan")),
        lambda: Life(draw_devices(10), Fault(wrong_on="toaster")),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(BadInput):
        make()


def test_a_fault_says_what_it_is():
    assert str(Fault()) == "no fault"
    assert str(Fault(crashes=2, wrong_on="camera")) == "2 times the crashes, wrong on each camera"
