"""From reports to looks: which devices are still counted on each side, and what happened to them since the last look.

A device is counted once in a rollout and measure, by its first event, whichever release it runs then. Who has had its
event is out of the count on both sides, so that under a release that changes nothing each look is a fair lot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.ota.gates import Decision, EProcess, Gate, Looks, Monitor
from edgelab.ota.reports import STANDINGS, Report

MEASURES = ("crashed", "slower", "wrong")
WORDS = {"crashed": "crashed", "slower": "became slower", "wrong": "answer wrong"}
SLOWER = 1.15
"""A device became slower when its p95 is so many times that of its first report; two bins of the histogram are 1.07."""
WORSE = 0.05
"""A device answers worse when its accuracy is so much below that of its first report with known truths."""
FIRST_H, LEAST_H = 24.0, 1 / 3600
"""The most hours that a device's first report counts for, and the least that any does."""
MOST_DEVICES = 200_000
"""Names that a server remembers, so that forged ones do not fill its memory."""
FEWEST = 20
"""Inferences, or answers with known truth, below which a report says nothing on them."""


@dataclass
class Follow:
    """What a server remembers of each device, and all looks so far.

    Parameters
    ----------
    devices
        By name: release, time and standing of its last report, its baseline, and the events it has had.
    looks
        Of each measure the closed looks, each new, old, new exposure, old exposure.
    now
        Of each measure the look that is open.
    opened
        When it was opened, in seconds since 1970.
    """

    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    looks: dict[str, list[list[float]]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    now: dict[str, list[float]] = field(default_factory=lambda: {name: [0.0] * 4 for name in MEASURES})
    opened: float = 0.0

    def take(self, report: Report, arm: str | None, at: float, *, baseline: bool) -> None:
        """Count a report on one side (``new``, ``old``), or on none where it is only remembered.

        ``baseline`` says whether it may set what the device is compared with. A report counts for no more hours than
        passed since the one before, whatever it says.

        Raises
        ------
        BadInput
            If it is one device more than a server remembers.
        """
        if report.device not in self.devices and len(self.devices) >= MOST_DEVICES:
            raise BadInput(f"There are reports of {MOST_DEVICES} devices already; those of others are not taken.")
        device = self.devices.setdefault(report.device, {"p95_ms": None, "accuracy": None, "had": []})
        hours = min(report.hours, max(0.0, at - device["seen"]) / 3600 if "seen" in device else FIRST_H)
        device |= {"release": report.release, "seen": at, "standing": report.standing}
        for measure, event in _events(report, device, baseline=baseline).items():
            if measure in device["had"]:
                continue
            if arm is not None:
                side = ("new", "old").index(arm)
                self.now[measure][side] += event
                self.now[measure][side + 2] += max(hours, LEAST_H)
            if event:
                device["had"].append(measure)

    def close(self, at: float, seconds: float) -> bool:
        """Close the open look if it has been open for so many seconds and holds something."""
        if at - self.opened < seconds or not any(any(look) for look in self.now.values()):
            return False
        for measure in MEASURES:
            self.looks[measure].append(self.now[measure])
            self.now[measure] = [0.0] * 4
        self.opened = at
        return True

    def again(self) -> Follow:
        """For the next rollout: the devices and their baselines, without events and looks."""
        return Follow({name: {**each, "had": []} for name, each in self.devices.items()})

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Follow:
        """Read what `to_dict` gave.

        Raises
        ------
        BadInput
            If it is anything else.
        """
        try:
            found = cls(**data)
            if set(data) != {"devices", "looks", "now", "opened"}:
                raise BadInput("This is no state of a rollout: its reports are incomplete.")
            if set(found.looks) != set(MEASURES) or set(found.now) != set(MEASURES) or not math.isfinite(found.opened):
                raise BadInput("This is no state of a rollout: its looks are incomplete.")
            for measure in MEASURES:
                for look in [*found.looks[measure], found.now[measure]]:
                    Looks(*([value] for value in look))  # type: ignore[arg-type]
            for device in found.devices.values():
                if set(device) != {"p95_ms", "accuracy", "had", "release", "seen", "standing"}:
                    raise BadInput("This is no state of a rollout: a device is incomplete.")
                if device["standing"] not in STANDINGS or not set(device["had"]) <= set(MEASURES):
                    raise BadInput("This is no state of a rollout: a device is in an unknown state.")
        except (TypeError, AttributeError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput("This is no state of a rollout: its reports are damaged.") from None
        return found


def decide(follow: Follow, alpha: float) -> Decision:
    """One decision on all measures: the mean of their e-processes is an e-process, and stops at 1 / ``alpha``.

    Nothing is lost by looking at three measures, and no level is divided by hand.
    """
    return decide_on(follow.looks, dict.fromkeys(MEASURES, EProcess(alpha)))


def decide_on(looks: Mapping[str, Sequence[Sequence[float]]], gates: Mapping[str, Gate]) -> Decision:
    """One decision from the looks of each measure, with one gate a measure.

    E-processes are averaged. With gates of another kind it stops when any of them does, as products do.
    """
    if not len(looks[next(iter(gates))]):
        return Monitor(next(iter(gates.values()))).decide()
    return decide_on_all(looks, gates)[0]


def decide_on_all(
    looks: Mapping[str, Sequence[Sequence[float]]], gates: Mapping[str, Gate]
) -> tuple[Decision, NDArray[np.float64]]:
    """The decision, and after each look the evidence over its limit, (looks,); at least one look."""
    paths = {name: gate.evidence(Looks(*np.array(looks[name]).T)) / gate.limit for name, gate in gates.items()}
    listed = list(paths.values())
    fair = all(isinstance(gate, EProcess) for gate in gates.values())
    level = np.mean(listed, axis=0) if fair else np.max(listed, axis=0)
    over = level >= 1
    first = int(over.argmax()) if over.any() else level.size - 1
    loudest = max(paths, key=lambda name: paths[name][first])
    limit = gates[loudest].limit
    words = f"{gates[loudest].name}, devices that {WORDS[loudest]}"
    return Decision(bool(over.any()), float(level[first] * limit), limit, first + 1, words), level


def _events(report: Report, device: dict[str, Any], *, baseline: bool) -> dict[str, bool]:
    """What a report can say, and whether it says so; the first one that can sets the baseline, and says nothing."""
    found = {"crashed": report.crashes > 0 or report.standing == "rolled back"}
    if report.latency is not None and report.latency.total >= FEWEST:
        p95 = report.latency.percentile(95)
        if device["p95_ms"] is not None:
            found["slower"] = p95 > SLOWER * device["p95_ms"]
        elif baseline:
            device["p95_ms"] = p95
    if report.judged >= FEWEST:
        accuracy = report.right / report.judged
        if device["accuracy"] is not None:
            found["wrong"] = accuracy < device["accuracy"] - WORSE
        elif baseline:
            device["accuracy"] = accuracy
    return found
