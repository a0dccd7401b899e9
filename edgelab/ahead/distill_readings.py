"""Readings from the figures that were made ahead: means over seeds, differences seed by seed, and what they decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.measure.seeds import mean_over_seeds, shown
from edgelab.nets import ahead
from edgelab.reading import Reading

FEATURES = ("hint", "attention", "relations")
_FEATURES = "vibration"  # the task on which the losses on features were compared
_MOST_POINTS = 3.0  # the claim D1
UNLABELLED = "soft, and items without labels"


@dataclass(frozen=True)
class MadeAhead:
    """The figures of a file that `edgelab.ahead.distill_figures` wrote.

    Examples
    --------
    >>> run = {"test": 80.0}
    >>> content = {"date": "2026-11-29", "machine": "a laptop", "runs": {f"all | soft | {s}": run for s in range(3)}}
    >>> MadeAhead(content).accuracy("all", "soft").value
    80.0
    """

    content: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path) -> MadeAhead:
        """Read a file.

        Raises
        ------
        BadFile
            If it is missing, or holds something else.
        """
        return cls(ahead.read(path, "distillation", ("runs", "date", "machine")))

    def seeds(self, condition: str, method: str) -> dict[int, dict[str, Any]]:
        """The runs of a method by seed."""
        start = f"{condition} | {method} | "
        return {int(k.removeprefix(start)): run for k, run in self.content["runs"].items() if k.startswith(start)}

    def values(self, condition: str, method: str, what: str = "test") -> NDArray[np.float64]:
        """One figure of each seed's run, in the order of the seeds."""
        runs = self.seeds(condition, method)
        if not runs:
            raise BadInput(f"There is no run of '{method}' with '{condition}' among the figures made ahead.")
        return np.array([runs[seed][what] for seed in sorted(runs)])

    def accuracy(self, condition: str, method: str, what: str = "test") -> Reading:
        """Mean accuracy in percent, its interval from the seeds."""
        found = self.values(condition, method, what)
        return self._reading(found, "%", f"{len(found)} seeds of '{method}', {condition}")

    def gain(self, condition: str, method: str, against: str = "hard", *, other: str | None = None) -> Reading:
        """Points by which a method is better than another, seed by seed, with the interval of the paired differences.

        ``other`` is the condition of the method that it is held against, where that is another one.
        """
        ours, theirs = self.seeds(condition, method), self.seeds(other or condition, against)
        common = sorted(ours.keys() & theirs.keys())
        if not common:
            raise BadInput(f"'{method}' and '{against}' have no seed in common with '{condition}'.")
        found = np.array([ours[s]["test"] - theirs[s]["test"] for s in common])
        return self._reading(found, "points", f"{len(common)} seeds, '{method}' minus '{against}', {condition}")

    def spread(self, condition: str, method: str) -> float:
        """The standard deviation over the seeds, in points: the seed noise."""
        return float(self.values(condition, method).std(ddof=1))

    def held(self) -> dict[str, dict[str, bool]]:
        """Whether each claim was shown, by task or by loss: its whole interval on the claimed side.

        D2 asks for more than the seed noise; D1 for at most 3 points behind the teacher, with 5 times fewer parameters.
        """
        tasks = list(self.content["teachers"])
        features = {name: self.gain(f"{_FEATURES}, all labels", f"soft + {name}", "soft") for name in FEATURES}
        pruned = {task: self.gain(f"{task}, all labels", "soft", "pruned teacher") for task in tasks}
        return {
            **self.held_by_task(),
            "D3": {name: shown(gain) for name, gain in features.items()},
            "D4": {task: shown(gain) for task, gain in pruned.items()},
        }

    def held_by_task(self) -> dict[str, dict[str, bool]]:
        """D1 and D2 of each task, and, where labels are few, whether each way to use the teacher was shown to gain."""
        tasks = list(self.content["teachers"])
        soft = {task: self.gain(f"{task}, all labels", "soft") for task in tasks}
        held = {
            "D1": {task: _below(self.loss_to_teacher(task), _MOST_POINTS) for task in tasks},
            "D2": {task: shown(gain) and gain.value > self.seed_noise(task) for task, gain in soft.items()},
        }
        few = [(t, m) for t in tasks for m in ("soft", UNLABELLED) if self.seeds(f"{t}, few labels", m)]
        if few:
            held["few labels"] = {f"{t}: {m}": shown(self.gain(f"{t}, few labels", m)) for t, m in few}
        return held

    def seed_noise(self, task: str) -> float:
        """Standard deviation over the seeds in points, all labels: the larger of hard labels' and soft targets'."""
        return max(self.spread(f"{task}, all labels", name) for name in ("hard", "soft"))

    def loss_to_teacher(self, task: str) -> Reading:
        """Points that the student with soft targets and all labels loses from its teacher."""
        lost = float(self.content["teachers"][task]["test"]) - self.values(f"{task}, all labels", "soft")
        return self._reading(lost, "points", f"{len(lost)} seeds on {task}, teacher minus student with soft targets")

    def times_smaller(self, task: str) -> Reading:
        """Parameters of the teacher over those of the student."""
        student = self.values(f"{task}, all labels", "soft", "parameters")[0]
        ratio = float(self.content["teachers"][task]["parameters"] / student)
        return Reading(ratio, "x", "measured", f"parameters of the two networks on {task}")

    def _reading(self, values: NDArray[np.float64], unit: str, by: str) -> Reading:
        return mean_over_seeds(values, unit, by, (self.content["date"], self.content["machine"]))


def _below(loss: Reading, bound: float) -> bool:
    return loss.high is not None and loss.high <= bound
