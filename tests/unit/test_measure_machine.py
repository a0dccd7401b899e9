"""The machine that a measurement stands on: which of its cores is quiet."""

import psutil
import pytest

from edgelab.measure import machine


class Cores:
    """A machine of three cores: how busy each is, and how often somebody looked."""

    def __init__(self, monkeypatch):
        self.busy, self.allowed, self.looks, self.now = [90.0, 10.0, 50.0], [0, 1, 2], 0, 100.0
        monkeypatch.setattr(machine, "_quiet", [])
        monkeypatch.setattr(psutil, "cpu_percent", self.look)
        monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: self.allowed, raising=False)
        monkeypatch.setattr(machine.time, "monotonic", lambda: self.now)

    def look(self, seconds, *, percpu):
        assert seconds > 0
        assert percpu
        self.looks += 1
        return self.busy


@pytest.fixture
def cores(monkeypatch):
    return Cores(monkeypatch)


def test_the_least_busy_core_is_taken(cores):
    assert machine.quietest_core() == 1


def test_races_that_follow_each_other_are_run_on_one_core(cores):
    assert machine.quietest_core() == 1
    cores.busy, cores.now = [0.0, 90.0, 90.0], 101.5
    assert (machine.quietest_core(), cores.looks) == (1, 1)
    cores.now = 102.5
    assert (machine.quietest_core(), cores.looks) == (0, 2)


def test_a_core_that_was_taken_away_is_not_chosen_again(cores):
    assert machine.quietest_core() == 1
    cores.allowed = [0, 2]
    assert machine.quietest_core() == 2


def test_with_one_core_there_is_no_choice(cores):
    cores.allowed = [1]
    assert machine.quietest_core() is None
    assert cores.looks == 0
