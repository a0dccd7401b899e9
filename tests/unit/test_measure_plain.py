"""The measurer's tools as plain functions: they agree with the package's finer ones, on clocks that the test turns."""

import itertools
import os
import time

import numpy as np
import psutil
import pytest

from edgelab import nets
from edgelab.errors import BadInput
from edgelab.measure import plain, stats
from edgelab.measure.machine import disturbed
from edgelab.ui.pictures import convolution_count

RNG = np.random.default_rng(3)


class World:
    """A clock in nanoseconds that only actions move."""

    def __init__(self):
        self.now, self.log = 10**9, []

    def clock(self):
        return self.now

    def action(self, name, ms, first=0.0):
        def act():
            extra = first if not self.log or self.log[-1] != name else 0.0
            self.now += round(1e6 * (ms + extra))
            self.log.append(name)

        return act


@pytest.mark.parametrize(("c_in", "c_out", "kernel"), [(2, 3, 3), (8, 8, 5), (1, 7, 1)])
def test_the_count_is_that_of_the_two_pictures(c_in, c_out, kernel):
    depthwise = convolution_count("depthwise", c_in, c_in, kernel, 6, 5).macs
    pointwise = convolution_count("pointwise", c_in, c_out, 1, 6, 5).macs
    assert plain.separable_macs(6, 5, c_in, c_out, kernel) == depthwise + pointwise


def test_the_count_is_that_of_the_network():
    layers = nets.count_macs(nets.dscnn(classes=10).eval(), (3, 32, 32)).layers
    pairs = [(d, p) for d, p in itertools.pairwise(layers) if d.kind == "depthwise"]
    assert pairs
    for depthwise, pointwise in pairs:
        places = pointwise.macs // (pointwise.in_channels * pointwise.out_channels)
        counted = plain.separable_macs(1, places, depthwise.in_channels, pointwise.out_channels)
        assert counted == depthwise.macs + pointwise.macs


def test_the_stopwatch_leaves_the_warm_up_out():
    world = World()
    assert plain.stopwatch(world.action("a", 2.0, first=50.0), 3, 1, world.clock).tolist() == [2.0, 2.0, 2.0]
    assert len(world.log) == 4


@pytest.mark.parametrize(("n", "q"), [(10, 50), (72, 95), (368, 99), (1000, 99), (60, 10)])
def test_the_interval_holds_the_packages_narrower_one(n, q):
    values = RNG.gamma(3.0, 1.0, n)
    value, low, high = plain.percentile_interval(values, q)
    theirs = stats.percentile_interval(values, q)
    assert value == theirs[0]
    assert low <= theirs[1] + 1e-12
    assert high >= theirs[2] - 1e-12


@pytest.mark.parametrize("q", [50, 95, 99])
def test_both_tell_from_the_same_number_of_runs_on(q):
    fewest = stats.fewest_values(q)
    assert plain.percentile_interval(np.arange(fewest - 1.0), q)[1:] == (None, None)
    assert None not in plain.percentile_interval(np.arange(float(fewest)), q)
    with pytest.raises(BadInput):
        plain.percentile_interval([], q)


def test_contenders_take_turns_and_the_change_is_not_timed():
    world = World()
    contenders = {"a": world.action("a", 1.0, first=9.0), "b": world.action("b", 2.0, first=9.0)}
    times = plain.race(contenders, 3, 2, world.clock)
    assert world.log == [*"aaabbb"] * 3
    assert times["a"].tolist() == [[1.0, 1.0]] * 3
    assert times["b"].tolist() == [[2.0, 2.0]] * 3
    assert plain.speed_up(times["b"], times["a"]) == 2.0
    assert plain.verdict(times["a"], times["b"]) == "a"
    assert plain.verdict(times["a"], times["a"]) == "noise"
    assert plain.benchmark(contenders, world.clock) == {"a": 1.0, "b": 2.0}


def test_the_budget_is_held_against_the_interval():
    budget = {"deadline_ms": 10.0, "storage_bytes": 100, "memory_bytes": 100}
    fast, slow = np.full(400, 9.0), np.full(400, 11.0)
    assert plain.against_budget(fast, 100, 80, budget) == {"deadline": "kept", "storage": "kept", "memory": "kept"}
    words = plain.against_budget(slow, 101, 81, budget)
    assert words == {"deadline": "broken", "storage": "broken", "memory": "broken"}
    assert plain.against_budget(fast[:100], 1, 1, budget)["deadline"] == "cannot tell"


def test_other_programs_come_and_leave_nothing_behind():
    known = psutil.Process().children()  # of tests that ran before in this process
    with disturbed(0.05, 0.0):
        others = [child for child in psutil.Process().children() if child not in known]
        assert len(others) == (os.cpu_count() or 1)
        before = sum(child.cpu_times().user for child in others)
        end = time.monotonic() + 30
        while sum(child.cpu_times().user for child in others) == before and time.monotonic() < end:
            time.sleep(0.05)
        assert sum(child.cpu_times().user for child in others) > before
    assert not any(child.is_running() for child in others)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plain.separable_macs(4, 4, 2, 3, stride=0), "a stride of 1 or more"),
        (lambda: plain.stopwatch(print, 0), "at least one run"),
        (lambda: plain.stopwatch(print, 3, -1), "no negative warm-up"),
        (lambda: plain.percentile_interval([], 50), "at least one time"),
        (lambda: plain.percentile_interval([1.0, float("nan")], 50), "nan or infinite"),
        (lambda: plain.percentile_interval([[1.0, 2.0]], 50), "(runs,)"),
        (lambda: plain.percentile_interval(["soon"], 50), "numbers of milliseconds"),
        (lambda: plain.percentile_interval([1.0], 120), "from 0 to 100"),
        (lambda: plain.race({}, 3, 2), "one contender"),
        (lambda: plain.race({"A": print}, 0, 2), "one round"),
        (lambda: plain.speed_up([], [1.0]), "at least one time"),
        (lambda: plain.speed_up([1.0], [0.0]), "above 0"),
        (lambda: plain.verdict([[1.0, 2.0]], [[2.0, 3.0]]), "two or more, not 1 and 1"),
        (lambda: plain.verdict([1.0, 2.0], [2.0, 3.0]), "(blocks, runs)"),
        (lambda: plain.verdict([[1.0], [2.0], [3.0]], [[1.0], [2.0]]), "not 3 and 2"),
        (lambda: plain.verdict([[1.0], [2.0, 3.0]], [[1.0], [2.0]]), "rows of the same length"),
        (lambda: plain.against_budget([1.0], 1, 1, {"deadline_ms": 3.0}), "lacks storage_bytes, memory_bytes"),
    ],
)
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises(BadInput) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
