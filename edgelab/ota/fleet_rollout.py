"""A bad release on its way through a simulated fleet: waves, a gate that looks every hour, and the way back.

Two models, both of which say ``modelled``: `roll_out` moves every device (`edgelab.ota.fleet`), `sketch` draws the
counts that a gate would see, in milliseconds, for a panel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.ota.evidence import MEASURES, decide_on, decide_on_all
from edgelab.ota.fleet import SLOWER, Fleet, Life
from edgelab.ota.gates import SPRT, Bonferroni, Decision, EProcess, FixedThreshold, Gate, PeekedExact, StageEnds
from edgelab.ota.hardware import KINDS, Fault, World
from edgelab.ota.histogram import LogHistogram
from edgelab.ota.rollout import checked_waves, place_percent
from edgelab.reading import Reading, Table

GATES = ("e-process", "fixed threshold", "exact test, peeking", "exact, Bonferroni", "exact, at stage ends", "SPRT")


@dataclass(frozen=True)
class Hour:
    """One hour of a rollout: how many run the new release, which wave, and the gate's evidence over its limit."""

    hour: int
    on_new: int
    wave: int
    level: float


@dataclass(frozen=True, eq=False)
class RolloutRun:
    """A rollout through a simulated fleet. Modelled.

    Parameters
    ----------
    outcome
        ``stopped`` by the gate, or ``done``: the whole fleet has it.
    reached
        Devices that ever ran the new release.
    hurt
        Devices that had an event on it beyond what as many would have had on the previous one: crashes, slowness,
        wrong answers together.
    old, new
        Latencies on each release; empty in a sketch.
    """

    devices: int
    fault: Fault
    waves: tuple[float, ...]
    hold_h: int
    outcome: str
    decision: Decision
    reached: int
    hurt: float
    hours: tuple[Hour, ...] = field(repr=False)
    old: LogHistogram = field(default_factory=LogHistogram, repr=False)
    new: LogHistogram = field(default_factory=LogHistogram, repr=False)

    @property
    def stopped_h(self) -> int | None:
        """Hours from the start to the stop; None where nothing stopped it."""
        return self.decision.look if self.decision.stop else None

    @property
    def reach(self) -> Reading:
        """The share of the fleet that ever ran the release."""
        by = f"a simulated fleet of {self.devices} devices, {self.fault}, {self.decision.gate}"
        return Reading(100 * self.reached / self.devices, "%", "modelled", by)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        plain = {"how": "modelled", "devices": self.devices, "fault": str(self.fault), "waves": list(self.waves)}
        found = {"hold_h": self.hold_h, "outcome": self.outcome, "stopped_h": self.stopped_h, "reached": self.reached}
        return plain | found | {"hurt": round(self.hurt), "decision": self.decision.to_dict()}

    def sentence(self) -> str:
        """What happened."""
        if self.decision.stop:
            wave = self.hours[self.decision.look - 1].wave
            return (
                f"Stopped after {self.stopped_h} h, in wave {wave + 1} of {len(self.waves)}: {self.reached:,} of "
                f"{self.devices:,} devices had run it ({self.decision.gate})."
            )
        return (
            f"Nothing stopped it: all {self.reached:,} devices that could be reached run it after {len(self.hours)} h."
        )

    def _repr_markdown_(self) -> str:
        rows = [(key.replace("_", " "), str(value)) for key, value in self.to_dict().items() if key != "decision"]
        return Table("A rollout, modelled", ("what", "is"), rows, self.sentence())._repr_markdown_()


def gates_for(name: str, world: World, waves: Sequence[float], hold_h: int) -> dict[str, Gate]:
    """One gate a measure, set as somebody would who knows the fleet's usual rates and the plan.

    Raises
    ------
    BadInput
        If there is no gate of that name.
    """
    ends = tuple(hold_h * (n + 1) - 1 for n in range(len(waves)))
    usual = {"crashed": world.crash_h, "slower": _slower_h(world, 1.0), "wrong": world.wrong_h}
    made: dict[str, Callable[[str], Gate]] = {
        "e-process": lambda _: EProcess(),
        "fixed threshold": lambda measure: FixedThreshold(usual[measure]),
        "exact test, peeking": lambda _: PeekedExact(),
        "exact, Bonferroni": lambda _: Bonferroni(hold_h * len(waves)),
        "exact, at stage ends": lambda _: StageEnds(ends),
        "SPRT": lambda _: SPRT(),
    }
    if name not in made:
        raise BadInput(f"There is no gate {name!r}; there are {', '.join(made)}.")
    return {measure: made[name](measure) for measure in MEASURES}


def roll_out(
    fleet: Fleet,
    fault: Fault,
    gate: str = "e-process",
    waves: Sequence[float] = (1, 10, 100),
    hold_h: int = 48,
    tick_s: float = 1800.0,
    seed: int = 0,
    world: World | None = None,
    after_h: int = 6,
    progress: Callable[[int, int], None] | None = None,
) -> RolloutRun:
    """Roll a release with a fault out over every device of a simulated fleet.

    A device moves when its wave has come and its link is there at the full hour; after a stop it moves back likewise.
    In the last wave, of everybody, there is no control group left, and the gate can say nothing new.

    Parameters
    ----------
    gate
        One of `GATES`.
    after_h
        Hours that are simulated after a stop.
    progress
        Called with the hour and the hours at most.

    Raises
    ------
    BadInput
        If the waves, the hold, the tick or the gate make no sense.

    Examples
    --------
    >>> from edgelab.ota.fleet import draw_devices
    >>> roll_out(draw_devices(2000), Fault(crashes=20), hold_h=24, waves=(10, 100)).outcome
    'stopped'
    """
    plan, world = tuple(checked_waves(list(waves))), world or World()
    _checked_hold(hold_h, tick_s)
    life = Life(fleet, fault, world, seed)
    place = np.array([place_percent(f"r{seed}", str(device)) for device in range(len(fleet))], np.float32)
    gates, watch = gates_for(gate, world, plan, hold_h), _Watch()
    ever = np.zeros(len(fleet), bool)
    end = hold_h * len(plan)
    hour, stop_at = 0, end
    while hour < min(end, stop_at + after_h):
        wave = min(hour, stop_at) // hold_h
        wanted = (place < plan[wave]) if hour < stop_at else np.zeros(len(fleet), bool)
        np.copyto(life.new, wanted, where=life.online)
        ever |= life.new
        counted = life.hour(hour, tick_s)
        if hour < stop_at:
            decision = watch.look(counted, gates)
            if decision.stop:
                stop_at = hour + 1
        watch.hours.append(Hour(hour + 1, int(life.new.sum()), wave, watch.level))
        hour += 1
        if progress is not None:
            progress(hour, end)
    old, new = (LogHistogram(counts) for counts in life.latencies)
    return watch.result(len(fleet), fault, plan, hold_h, int(ever.sum()), old, new)


def sketch(
    devices: int,
    fault: Fault,
    gate: str = "e-process",
    waves: Sequence[float] = (1, 10, 100),
    hold_h: int = 48,
    seed: int = 0,
    world: World | None = None,
) -> RolloutRun:
    """The same rollout from counts alone: Poisson draws of the events of each hour, every device reachable at once.

    Raises
    ------
    BadInput
        As `roll_out`.

    Examples
    --------
    >>> sketch(100_000, Fault(crashes=5)).stopped_h < 48
    True
    """
    plan, world = tuple(checked_waves(list(waves))), world or World()
    _checked_hold(hold_h, 3600)
    if devices < 100:
        raise BadInput("A sketch needs at least 100 devices.")
    gates, watch, rng = gates_for(gate, world, plan, hold_h), _Watch(), np.random.default_rng([seed, 17])
    wrong = world.wrong_h
    if fault.wrong_on:
        share = sum(kind.share for kind in KINDS if kind.name == fault.wrong_on)
        wrong = share * fault.wrong + (1 - share) * wrong
    end = hold_h * len(plan)
    hours = np.arange(end)
    day = 1 + world.day * np.sin(2 * np.pi * (hours - 9) / 24)
    usual = np.array([world.crash_h, _slower_h(world, 1.0), world.wrong_h])
    risk = np.ones((3, 2))  # the shares that have not had an event yet, on the new release and in the control group
    before, on_new = np.zeros(2), 0
    for hour in range(end):
        wave = hour // hold_h
        on_new = round(devices * plan[wave] / 100)
        size = np.array([on_new, devices - on_new], np.float64)
        if wave and hour % hold_h == 0:  # devices of the control group join, with what has happened to them
            joined = size[0] - before[0]
            risk[:, 0] = (risk[:, 0] * before[0] + risk[:, 1] * joined) / size[0]
        before = size
        rates = np.stack([_faulty_h(fault, world, wrong, hour % hold_h), usual], axis=1)
        rates[0] *= day[hour]
        events = rng.poisson(np.minimum(rates, 1) * risk * size).astype(np.float64)
        events = np.minimum(events, np.floor(risk * size))
        counted = np.concatenate([events, np.maximum(risk * size, events)], axis=1)
        risk -= np.divide(events, size, out=np.zeros_like(events), where=size > 0)
        watch.take(counted)
        watch.hours.append(Hour(hour + 1, on_new, wave, 0.0))
    watch.decide_once(gates)
    return watch.result(devices, fault, plan, hold_h, watch.hours[-1].on_new)


class _Watch:
    """The looks of a simulated rollout and what a gate makes of them."""

    def __init__(self) -> None:
        self.looks: dict[str, list[list[float]]] = {name: [] for name in MEASURES}
        self.hours: list[Hour] = []
        self.decision = Decision(stop=False, evidence=0.0, limit=1.0, look=0, gate="")

    def take(self, counted: NDArray[np.float64]) -> None:
        for name, row in zip(MEASURES, counted, strict=True):
            self.looks[name].append([float(value) for value in row])

    def decide_once(self, gates: Mapping[str, Gate]) -> None:
        """Decide on all looks as if one by one, and forget those after a stop."""
        self.decision, levels = decide_on_all(self.looks, gates)
        seen = self.decision.look
        self.looks = {name: looks[:seen] for name, looks in self.looks.items()}
        self.hours = [replace(hour, level=float(level)) for hour, level in zip(self.hours[:seen], levels, strict=False)]

    def look(self, counted: NDArray[np.float64], gates: Mapping[str, Gate]) -> Decision:
        self.take(counted)
        self.decision = decide_on(self.looks, gates)
        return self.decision

    @property
    def level(self) -> float:
        return self.decision.evidence / self.decision.limit

    def result(
        self,
        devices: int,
        fault: Fault,
        waves: tuple[float, ...],
        hold_h: int,
        reached: int,
        old: LogHistogram | None = None,
        new: LogHistogram | None = None,
    ) -> RolloutRun:
        hurt = 0.0
        for looks in self.looks.values():
            on_new, on_old, at_new, at_old = np.array(looks).T
            usual = np.divide(on_old, at_old, out=np.zeros_like(on_old), where=at_old > 0)
            hurt += float((on_new - usual * at_new)[at_old > 0].sum())
        outcome = "stopped" if self.decision.stop else "done"
        kept = (old or LogHistogram(), new or LogHistogram())
        return RolloutRun(
            devices, fault, waves, hold_h, outcome, self.decision, reached, max(0.0, hurt), tuple(self.hours), *kept
        )


def _checked_hold(hold_h: int, tick_s: float) -> None:
    if isinstance(hold_h, bool) or not isinstance(hold_h, int) or not 1 <= hold_h <= 24 * 28 or not 1 <= tick_s <= 3600:
        raise BadInput("A simulated wave is held for 1 to 672 whole hours, in ticks of 1 to 3600 seconds.")


def _slower_h(world: World, slowdown: float, ticks: int = 2) -> float:
    """Chance that one of an hour's looks at a cool device exceeds the bound: the tail of a log-normal."""
    tail = 0.5 * math.erfc((SLOWER - math.log(slowdown)) / world.noise / math.sqrt(2))
    return 1 - (1 - tail) ** ticks


def _faulty_h(fault: Fault, world: World, wrong: float, hours_on: int) -> NDArray[np.float64]:
    """Rates an hour of a device on the new release; a leak kills all devices of a kind in the hour it fills memory."""
    crashed = world.crash_h * fault.crashes
    if fault.leak_mb_h:
        for kind in KINDS:
            full = kind.memory_mb / fault.leak_mb_h
            crashed += kind.share * (int(hours_on // full) < int((hours_on + 1) // full))
    return np.array([crashed, _slower_h(world, fault.slowdown), wrong])
