"""Decisions on compressed networks, each a short function: floor, front, order, losers, readiness, device, first wave.

The lab `capstone` has them written by hand; these stand in until then, and give its made-ahead figures as readings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.compress import affine
from edgelab.errors import BadInput
from edgelab.measure import stats
from edgelab.measure.seeds import half_width, mean_over_seeds
from edgelab.nets import ahead
from edgelab.reading import Reading

Model = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def against_floor(right: int, items: int, floor: float) -> str:
    """``"reached"``, ``"missed"`` or ``"cannot tell"``: on which side of a floor (a share) Wilson's interval lies.

    Examples
    --------
    >>> against_floor(90, 100, 0.8), against_floor(90, 100, 0.95), against_floor(90, 100, 0.88)
    ('reached', 'missed', 'cannot tell')
    """
    if not (items >= 1 and 0 <= right <= items):
        raise BadInput(f"{right} right of {items} items is no share: 0 to all of at least one item can be right.")
    _, low, high = stats.wilson_interval(right, items)
    if low >= floor:
        return "reached"
    return "missed" if high < floor else "cannot tell"


def front(rows: Mapping[str, Sequence[float]]) -> list[str]:
    """The rows that no other row dominates: none is at least as good everywhere and better somewhere. Lower is better.

    Examples
    --------
    >>> front({"a": (1, 5), "b": (2, 2), "c": (3, 3)})
    ['a', 'b']
    """
    if len({len(row) for row in rows.values()}) > 1 or any(math.isnan(v) for row in rows.values() for v in row):
        raise BadInput("Rows are compared number by number: each needs as many as the others, and none that is NaN.")

    def beats(one: Sequence[float], other: Sequence[float]) -> bool:
        pairs = list(zip(one, other, strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    return [name for name, row in rows.items() if not any(beats(other, row) for other in rows.values())]


def best_orders(results: Mapping[str, Sequence[float]]) -> list[str]:
    """The order of the highest mean, then those that seeds cannot tell from it, the best first.

    The differences to the best are taken seed by seed; an order is told from it where their 95 percent interval by
    Student's t lies above 0.

    Examples
    --------
    >>> best_orders({"D P Q": [90, 91, 92], "P D Q": [89, 92, 90], "D Q P": [40, 42, 41]})
    ['D P Q', 'P D Q']
    """
    lengths = {len(values) for values in results.values()}
    if len(lengths) != 1 or min(lengths) < 2 or not np.isfinite(list(results.values())).all():
        raise BadInput("Orders are compared seed by seed: each needs a finite figure of the same two seeds or more.")
    ranked = sorted(results, key=lambda name: -float(np.mean(results[name])))
    best = np.asarray(results[ranked[0]], dtype=np.float64)
    kept = ranked[:1]
    for name in ranked[1:]:
        differences = best - np.asarray(results[name], dtype=np.float64)
        if differences.mean() - half_width(differences) <= 0:
            kept.append(name)
    return kept


def mean_cosine(reference: ArrayLike, other: ArrayLike) -> float:
    """The mean over items of the cosine between two rows of outputs (N, classes).

    Examples
    --------
    >>> round(mean_cosine([[1.0, 0.0], [1.0, 1.0]], [[2.0, 0.0], [1.0, 0.0]]), 3)
    0.854
    """
    a, b = _outputs(reference, other)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1) / np.maximum(lengths, 1e-30)))


def ready(reference: Model, candidate: Model, images: NDArray[np.float32], labels: ArrayLike, most: float) -> bool:
    """Whether a candidate surely loses at most ``most`` points: the upper end of the paired interval is within."""
    truth = np.asarray(labels)
    if len(truth) != len(images) or len(truth) == 0:
        raise BadInput(f"There are {len(images)} images and {len(truth)} labels: each image needs a label.")
    before, after = (model(images).argmax(axis=1) == truth for model in (reference, candidate))
    return 100 * stats.paired_difference(before, after)[2] <= most


def _outputs(reference: ArrayLike, other: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two arrays of outputs (N, classes) of the same shape."""
    a, b = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.size == 0:
        raise BadInput(f"Outputs are compared row by row, (items, classes) twice; these are {a.shape} and {b.shape}.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise BadInput("Some outputs are NaN or infinite, so that they cannot be compared.")
    return a, b


def choose_device(rows: Sequence[Mapping[str, Any]], deadline_ms: float) -> str | None:
    """The device that fits, keeps the deadline at the slow end of its band, and takes least energy; None if none does.

    Each row has ``device``, ``fits``, ``slow_ms`` (the upper end of the modelled time) and ``energy_mj``; None where it
    is not known, which keeps no deadline and saves no energy.
    """
    able = [
        row
        for row in rows
        if row["fits"] and row["slow_ms"] is not None and row["energy_mj"] is not None and row["slow_ms"] <= deadline_ms
    ]
    return min(able, key=lambda row: row["energy_mj"])["device"] if able else None


def sqnr_db(reference: ArrayLike, other: ArrayLike) -> float:
    """Power of a reference's outputs over that of the differences, in dB; infinite where they are equal.

    Examples
    --------
    >>> round(sqnr_db([[3.0, 4.0]], [[3.0, 3.5]]), 6)
    20.0
    """
    return affine.sqnr_db(*_outputs(reference, other))


def first_wave(devices: int, rate: float, hours: float, confidence: float = 0.95) -> float:
    """The smallest share of a fleet, in percent, in which a fault shows at least once with this confidence.

    Parameters
    ----------
    devices
        Of the whole fleet.
    rate
        Faults of one device in an hour.
    hours
        In the wave.

    Examples
    --------
    >>> round(first_wave(10_000, 0.001, 24), 2)
    1.25
    """
    if not (devices >= 1 and 0 < rate < 1 and hours > 0 and 0 < confidence < 1):
        raise BadInput(
            f"A first wave needs a fleet, hours, and a rate and a confidence between 0 and 1; "
            f"given {devices} devices, {rate:g} an hour, {hours:g} h, {confidence:g}."
        )
    needed = math.log(1 - confidence) / math.log(1 - rate) / hours
    return min(100.0, 100 * math.ceil(needed) / devices)


@dataclass(frozen=True)
class MadeAhead:
    """The orders that were tried ahead, as readings.

    Examples
    --------
    >>> made = {"date": "2026-11-29", "machine": "a board"}
    >>> runs = [{"order": "D Q", "seed": seed, "test": 90.0 + seed, **made} for seed in range(3)]
    >>> MadeAhead({"runs": runs, "held": []}).accuracy("D Q").value
    91.0
    """

    content: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path) -> MadeAhead:
        """Read the file; BadFile if it is none."""
        return cls(ahead.read(path, "the capstone", ("runs", "held", "recipe")))

    @property
    def orders(self) -> list[str]:
        """The orders, as they were planned."""
        return list(dict.fromkeys(run["order"] for run in self.content["runs"]))

    def results(self, key: str = "test") -> dict[str, list[float]]:
        """For each order a figure of each seed, in the order of the seeds."""
        return {order: [run[key] for run in self._runs(order)] for order in self.orders}

    def accuracy(self, order: str) -> Reading:
        """Mean accuracy of the int8 files in percent, with the interval of the seeds."""
        runs = self._runs(order)
        return self._reading([run["test"] for run in runs], "%", f"{len(runs)} seeds, {order}")

    def gain(self, order: str, over: str) -> Reading:
        """Points by which an order is better than another, seed by seed."""
        ours = {run["seed"]: run["test"] for run in self._runs(order)}
        theirs = {run["seed"]: run["test"] for run in self._runs(over)}
        common = sorted(ours.keys() & theirs.keys())
        return self._reading(
            [ours[seed] - theirs[seed] for seed in common], "points", f"{len(common)} seeds, {order} minus {over}"
        )

    def _runs(self, order: str) -> list[dict[str, Any]]:
        runs = sorted(ahead.selected(self.content["runs"], order=order), key=lambda run: run["seed"])
        if not runs:
            raise BadInput(f"There is no run of '{order}' among the figures made ahead.")
        return runs

    def _reading(self, values: Sequence[float], unit: str, by: str) -> Reading:
        return mean_over_seeds(values, unit, by, ahead.made_on(self.content["runs"]))


@dataclass(frozen=True)
class Quoted:
    """What an article says of one technique: sizes and speeds as factors (low, high), points lost at most."""

    source: str
    technique: str
    smaller: tuple[float, float] | None
    faster: tuple[float, float] | None


ELHAKKI = "https://ossamaelhakki.com/en/blog/model-compression-quantization-pruning"
POLYGLOT = "https://polyglotsoft.dev/en/blog/ai-model-optimization-guide"
MACHINEFI = "https://machinefi.com/learn/model-optimization-edge-deployment"
QUOTED = (
    Quoted("Elhakki", "quantization (INT8)", (4.0, 4.0), (2.0, 2.0)),
    Quoted("Elhakki", "pruning of 30 %", (1.4, 1.4), None),
    Quoted("PolyglotSoft", "quantization (INT8)", (4.0, 4.0), (2.0, 3.0)),
    Quoted("PolyglotSoft", "pruning", (1 / 0.5, 1 / 0.2), None),
    Quoted("MachineFi", "all three, done well", (4.0, 10.0), (4.0, 10.0)),
)
"""Facts of three articles, read in November 2026: "reduce model size by 50-80%" is 2 to 5 times."""
