"""Readings from the figures of the lab `search` that were made ahead: who won, by how much, and what that decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadFile, BadInput
from edgelab.measure.seeds import mean_over_seeds, shown
from edgelab.nets import ahead
from edgelab.reading import Reading
from edgelab.toolbox.search_space import Architecture, parse

_KEYS = {"table", "hand", "hand_scaled", "winners", "trained", "recipe", "date", "machine", "held"}


@dataclass(frozen=True)
class MadeAhead:
    """The figures of a file that `edgelab.toolbox.search_figures` wrote."""

    content: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path) -> MadeAhead:
        """Read a file.

        Raises
        ------
        BadFile
            If it is missing, holds something else, or was left before all trainings were done.
        """
        content = ahead.read(path, "search", _KEYS)
        if not content["held"]:
            raise BadFile(f"{path} is not whole: finish it with edgelab.toolbox.search_figures and --file.")
        return cls(content)

    @property
    def table(self) -> dict[Architecture, dict[str, Any]]:
        """Costs and accuracies of every network of the space, trained once by the short recipe."""
        return {parse(key): dict(row) for key, row in self.content["table"].items()}

    @property
    def hand(self) -> dict[Architecture, dict[str, Any]]:
        """Costs of the hand-scaled networks."""
        return {parse(key): dict(row) for key, row in self.content["hand"].items()}

    @property
    def made_on(self) -> tuple[str, str]:
        """Date and machine, as `Reading` takes them."""
        return self.content["date"], self.content["machine"]

    def test(self, key: str) -> float:
        """Mean test accuracy in percent of a network trained by the long recipe, over its training seeds."""
        return float(self._runs(key).mean())

    def accuracy(self, how: str) -> Reading:
        """Of ``evolution`` or ``random`` the mean over the search seeds, of ``hand`` that over the training seeds."""
        if how == "hand":
            key = self.content["hand_scaled"]
            runs = self._runs(key)
            return self.mean(runs, "%", f"the hand-scaled network {key}, {len(runs)} training seeds")
        found = self._tests(how)
        by = f"winners of {len(found)} searches ({how}), each trained with {found.shape[1]} seeds"
        return self.mean(found.mean(axis=1), "%", by)

    def evolution_gain(self) -> Reading:
        """Points by which evolution's winners are better than those of random search, paired by search and seed."""
        by = "search seeds, winner of evolution minus winner of random search"
        return self._gain(self._tests("evolution") - self._tests("random"), by)

    def search_gain(self, how: str = "evolution") -> Reading:
        """Points by which a search's winners are better than the hand-scaled network, paired by training seed."""
        hand = self.content["hand_scaled"]
        by = f"winners of {how} minus the hand-scaled network {hand}"
        return self._gain(self._tests(how) - self._runs(hand), by)

    def _gain(self, gaps: NDArray[np.float64], by: str) -> Reading:
        """The mean of gaps (searches, training seeds); of its two noises, searches and trainings, the larger one."""
        by = f"{len(gaps)} {by}, {gaps.shape[1]} training seeds each"
        each = [self.mean(gaps.mean(axis=axis), "points", by) for axis in (0, 1)]
        return max(each, key=lambda reading: math.inf if reading.low is None else reading.value - reading.low)

    def _tests(self, how: str) -> NDArray[np.float64]:
        """Test accuracies in percent of a search's winners, (searches, training seeds)."""
        return np.array([self._runs(key) for key in self.content["winners"][how]])

    def _runs(self, key: str) -> NDArray[np.float64]:
        """Test accuracies in percent of one network, (training seeds,), in the order of the seeds."""
        found = {
            int(name.rpartition(" | ")[2]): float(run["test"])
            for name, run in self.content["trained"].items()
            if name.startswith(f"{key} | ")
        }
        if not found:
            raise BadInput(f"The network {key} was not trained by the long recipe.")
        return np.array([found[seed] for seed in sorted(found)])

    def held(self) -> dict[str, bool]:
        """What was shown: the whole interval on the claimed side."""
        return {
            "evolution beats random search": shown(self.evolution_gain()),
            "N1": shown(self.search_gain()),
            "random search beats hand scaling": shown(self.search_gain("random")),
        }

    def mean(self, values: Sequence[float] | NDArray[np.float64], unit: str, by: str) -> Reading:
        """`edgelab.measure.seeds.mean_over_seeds` of values that rest on these figures."""
        return mean_over_seeds(values, unit, by, self.made_on)
