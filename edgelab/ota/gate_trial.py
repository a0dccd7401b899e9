"""Gates on trial: how often each stops a release that is no worse, and how soon one that is, over simulated rollouts.

Everything here is modelled: events are drawn, not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.ota.gates import SPRT, Bonferroni, EProcess, FixedThreshold, Gate, Looks, PeekedExact, StageEnds
from edgelab.reading import Reading, Table

Stages = tuple[tuple[float, int], ...]
STAGES: Stages = ((1.0, 48), (10.0, 48))
"""Percent of the fleet and hours of each stage."""


@dataclass(frozen=True)
class Trial:
    """One setting of simulated rollouts with a look every hour.

    Parameters
    ----------
    devices
        Of the fleet.
    rate
        Devices of the previous release that have an event in an hour, of one device, on the day's average.
    day
        How far the rate swings around its average over a day, 0 to 1.
    stages
        Percent of the fleet on the new release, and for how many hours.
    lemons
        Devices that crash in every hour, on either release, spread over both by lot.
    once
        Whether a device counts once (its first event) or in every look.

    Raises
    ------
    BadInput
        If a value is out of range.
    """

    devices: int = 10_000
    rate: float = 0.002
    day: float = 0.6
    stages: Stages = STAGES
    lemons: int = 0
    once: bool = True

    def __post_init__(self) -> None:
        if not (self.devices >= 2 and 0 < self.rate < 1 and 0 <= self.day <= 1 and 0 <= self.lemons <= self.devices):
            raise BadInput(
                "A trial needs two devices, a rate below 1, a day from 0 to 1, and no more lemons than devices."
            )
        if not self.stages or any(not 0 < share < 100 or hours < 1 for share, hours in self.stages):
            raise BadInput("Each stage of a trial needs more than 0 and less than 100 percent, and at least an hour.")

    @property
    def hours(self) -> int:
        """Looks of one rollout."""
        return sum(hours for _, hours in self.stages)

    @property
    def on_new(self) -> NDArray[np.float64]:
        """Devices on the new release at each look, (hours,)."""
        return np.concatenate([np.full(h, max(1, round(self.devices * share / 100))) for share, h in self.stages]) * 1.0

    def gates(self) -> tuple[Gate, ...]:
        """All gates, set as somebody would who knows this trial's rate and stages."""
        ends = tuple(int(end) - 1 for end in np.cumsum([hours for _, hours in self.stages]))
        fixed, peeked, planned = FixedThreshold(self.rate), PeekedExact(), Bonferroni(self.hours)
        return fixed, peeked, planned, StageEnds(ends), SPRT(), EProcess()

    def draw(self, ratio: float, replications: int, rng: np.random.Generator) -> Looks:
        """Rollouts whose new release has ``ratio`` times the events, (replications, hours)."""
        on_new = self.on_new
        on_old = self.devices - on_new
        wave = self.rate * (1 + self.day * np.sin(2 * np.pi * np.arange(self.hours) / 24))
        new = rng.poisson(np.minimum(ratio * wave, 1) * on_new, (replications, self.hours)).astype(np.float64)
        old = rng.poisson(wave * on_old, (replications, self.hours)).astype(np.float64)
        if self.lemons:
            place = rng.integers(self.devices, size=(replications, self.lemons))
            theirs = np.stack([(place < there).sum(axis=1) for there in on_new], axis=1).astype(np.float64)
            if self.once:
                old[:, 0] += self.lemons - theirs[:, 0]
                new[:, 0] += theirs[:, 0]
            else:
                new, old = new + theirs, old + self.lemons - theirs
        return Looks(np.minimum(new, on_new), np.minimum(old, on_old), on_new, on_old)


@dataclass(frozen=True)
class Trials:
    """What each gate did.

    Parameters
    ----------
    alarms
        Of each gate, the percentage of rollouts that it stopped although the release was no worse.
    caught
        Of each gate and rate ratio, the percentage stopped, and the median hours to the stop of those.
    """

    setting: Trial
    replications: int
    alarms: dict[str, Reading]
    caught: dict[tuple[str, float], tuple[Reading, Reading | None]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        rows = [
            {
                "gate": gate,
                "ratio": ratio,
                "stopped": share.to_dict(),
                "hours": None if when is None else when.to_dict(),
            }
            for (gate, ratio), (share, when) in self.caught.items()
        ]
        alarms = {gate: reading.to_dict() for gate, reading in self.alarms.items()}
        return {"replications": self.replications, "devices": self.setting.devices, "alarms": alarms, "caught": rows}

    def table(self) -> Table:
        """One row a gate."""
        ratios = sorted({ratio for _, ratio in self.caught})
        columns = ["gate", "false alarms"]
        for ratio in ratios:
            columns += [f"{ratio:g} times the events: stopped", "after, median"]
        rows = []
        for gate, alarm in self.alarms.items():
            row: list[str] = [gate, alarm.figure()]
            for ratio in ratios:
                share, when = self.caught[gate, ratio]
                row += [share.figure(), "never" if when is None else f"{when.value:g} h"]
            rows.append(tuple(row))
        stages = ", then ".join(f"{share:g} % for {hours} h" for share, hours in self.setting.stages)
        note = f"Modelled: {self.replications} rollouts each, {self.setting.devices} devices, {stages}, a look an hour."
        return Table("Gates on trial", tuple(columns), rows, note)

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def try_gates(
    setting: Trial | None = None,
    ratios: Sequence[float] = (2.0, 5.0),
    replications: int = 4000,
    seed: int = 0,
    gates: Sequence[Gate] | None = None,
    batch: int = 1000,
) -> Trials:
    """Run rollouts of a release that is no worse, and of worse ones, past each gate.

    Parameters
    ----------
    ratios
        How many times the events of the previous release the worse ones have.
    batch
        Rollouts that are drawn at once: it bounds the memory.

    Raises
    ------
    BadInput
        If there is no replication or a ratio is not above 1.

    Examples
    --------
    >>> found = try_gates(replications=200)
    >>> found.alarms["fixed threshold"].value > 5 > found.alarms["e-process"].value
    True
    """
    setting = Trial() if setting is None else setting
    if replications < 1 or any(not (math.isfinite(ratio) and ratio > 1) for ratio in ratios):
        raise BadInput("A trial of gates needs replications, and ratios above 1.")
    chosen = setting.gates() if gates is None else tuple(gates)
    stops: dict[tuple[str, float], list[NDArray[np.int64]]] = {}
    rng = np.random.default_rng([seed, 7])
    for ratio in (1.0, *ratios):
        for start in range(0, replications, batch):
            looks = setting.draw(ratio, min(batch, replications - start), rng)
            for gate in chosen:
                stops.setdefault((gate.name, ratio), []).append(gate.first_stop(looks))
    alarms, caught = {}, {}
    for (name, ratio), parts in stops.items():
        first = np.concatenate(parts)
        share = _share(first >= 0, f"{name}, {ratio:g} times the events")
        if ratio == 1:
            alarms[name] = share
        else:
            hours = first[first >= 0] + 1
            by = f"{len(hours)} simulated rollouts stopped by {name}"
            caught[name, ratio] = (share, Reading(float(np.median(hours)), "h", "modelled", by) if len(hours) else None)
    return Trials(setting, replications, alarms, caught)


def _share(stopped: NDArray[np.bool_], by: str) -> Reading:
    """A percentage with its exact binomial interval (Clopper and Pearson, 1934)."""
    low, high = (100 * end for end in exact_interval(int(stopped.sum()), stopped.size))
    by = f"{stopped.size} simulated rollouts past {by}"
    return Reading(100 * float(stopped.mean()), "%", "modelled", by, low, high)


def exact_interval(events: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a chance behind ``events`` in ``trials`` (Clopper and Pearson, 1934); both ends from 0 to 1.

    Raises
    ------
    BadInput
        If the numbers do not fit together.

    Examples
    --------
    >>> low, high = exact_interval(0, 50_000)
    >>> low, float(f"{high:.2g}")
    (0.0, 7.4e-05)
    """
    from scipy.special import betaincinv

    if not 0 <= events <= trials or trials < 1 or not 0 < confidence < 1:
        raise BadInput(f"{events} events in {trials} trials at a confidence of {confidence} make no interval.")
    tail = (1 - confidence) / 2
    low = 0.0 if events == 0 else float(betaincinv(events, trials - events + 1, tail))
    high = 1.0 if events == trials else float(betaincinv(events + 1, trials - events, 1 - tail))
    return low, high


def rate_bound(events: int, trials: int, confidence: float = 0.95) -> float:
    """The largest rate that ``events`` in ``trials`` do not contradict, one-sided: of 0 events about 3 / trials.

    Examples
    --------
    >>> float(f"{rate_bound(0, 50_000):.3g}")
    5.99e-05
    """
    return exact_interval(events, trials, 2 * confidence - 1)[1]
