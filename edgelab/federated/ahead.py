"""Figures of federated learning that take several seeds, made ahead: ``python -m edgelab.federated.ahead``.

It makes what is missing and writes the file after each run; ``--anew`` starts over. Centralised training, local
training and federated averaging start at the same weights and see an item equally often.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgelab.data.dataset import Dataset
from edgelab.errors import BadInput
from edgelab.federated.baselines import centralised, local_only
from edgelab.federated.client import Weights
from edgelab.federated.evaluate import network_with
from edgelab.federated.simulation import simulate
from edgelab.federated.tasks import SETTINGS, TASKS
from edgelab.files import read_json, write_json
from edgelab.measure.machine import machine
from edgelab.measure.seeds import mean_over_seeds
from edgelab.nets.ahead import command_line, read
from edgelab.nets.trainer import predict_logits
from edgelab.reading import Reading

FILE = Path(__file__).parent / "made" / "federated.json"
SEEDS = (0, 1, 2, 3, 4)
MOST_POINTS = 1.0
"""Points behind centralised training up to which the claims F1 and F2 say "reaches"."""
METHODS = ("local", "FedAvg", "FedProx")
PROXIMAL = 0.3
DRIFT_EPOCHS = (1, 2, 5, 20)
DRIFT_PROXIMAL = (0.0, 0.3, 1.0)


@dataclass(frozen=True)
class Run:
    """One training: the task, how the items are dealt out, what trains, the seed."""

    task: str
    setting: str
    method: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the file."""
        return f"{self.task} | {self.setting} | {self.method} | {self.seed}"


def drift_method(epochs: int, proximal: float) -> str:
    """The name of a method by its local epochs and its pull."""
    return f"epochs {epochs}, mu {proximal:g}"


def plan() -> list[Run]:
    """Every run, seed by seed, so that what is there holds as many of each."""
    found: list[Run] = []
    for seed in SEEDS:
        for task, settings in SETTINGS.items():
            found.append(Run(task, "together", "centralised", seed))
            found += [Run(task, setting, method, seed) for setting in settings for method in METHODS]
        found += [
            Run("vibration", "labels", drift_method(epochs, mu), seed)
            for mu in DRIFT_PROXIMAL
            for epochs in DRIFT_EPOCHS
        ]
    return found


def train(run: Run, dataset: Dataset) -> dict[str, Any]:
    """Train one; its accuracy on the test items in percent, of all and by group.

    Raises
    ------
    BadInput
        If the method is not known.
    """
    task, started = TASKS[run.task], time.process_time()
    net = task.network(dataset, run.seed)
    if run.method == "centralised":
        alone = centralised(net, dataset.train, task.config, task.passes, run.seed)
        return _judged([alone.weights], net, dataset, started)
    partition = task.deal(dataset.train, run.setting, run.seed)
    if run.method == "local":
        ends = local_only(net, dataset.train, partition, task.config, task.passes, run.seed)
        return _judged(ends, net, dataset, started)
    config = task.config
    if run.method == "FedProx":
        config = replace(config, proximal=PROXIMAL)
    elif run.method.startswith("epochs "):
        epochs, mu = run.method.removeprefix("epochs ").split(", mu ")
        config = replace(config, epochs=int(epochs), proximal=float(mu))
    elif run.method != "FedAvg":
        raise BadInput(f"The method '{run.method}' is not known.")
    made = simulate(
        net, dataset.train, partition, rounds=task.rounds, sample=task.sample, config=config, engine="numpy",
        seed=run.seed,
    )  # fmt: skip
    return _judged([made.weights], net, dataset, started)


def _judged(ends: list[Weights], net: nn.Module, dataset: Dataset, started: float) -> dict[str, Any]:
    """The mean over networks of what each gets right."""
    test = dataset.test
    right = np.mean(
        [predict_logits(network_with(net, end), test.x).argmax(axis=1) == test.y for end in ends], axis=0, dtype=float
    )
    groups = {
        f"{name}: {label}": round(100 * float(right[labels == label].mean()), 2)
        for name, labels in test.groups.items()
        for label in np.unique(labels)
    }
    return {
        "test": round(100 * float(right.mean()), 3),
        "groups": groups,
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def make(
    path: Path = FILE,
    *,
    anew: bool = False,
    runs: Iterable[Run] | None = None,
    say: Callable[[Run, dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train what is missing from the file, and write the file after each run; the content of the file.

    Parameters
    ----------
    path
        The JSON file.
    anew
        Forget what is there.
    runs
        Which ones; None takes all of `plan`. A progress bar over them moves as they end.
    say
        Told of each run that ended.
    """
    content = read_json(path) if path.is_file() and not anew else _empty()
    loaded: dict[str, Dataset] = {}
    for run in plan() if runs is None else runs:
        if run.key in content["runs"]:
            continue
        if run.task not in loaded:
            loaded[run.task] = TASKS[run.task].load()
        content["runs"][run.key] = train(run, loaded[run.task])
        content["date"], content["machine"] = dt.datetime.now(dt.UTC).date().isoformat(), machine().cpu
        content["held"] = MadeAhead(content).held()
        write_json(path, content)
        if say is not None:
            say(run, content["runs"][run.key])
    return content


def _empty() -> dict[str, Any]:
    recipe = {name: {**asdict(task), "passes": task.passes} for name, task in TASKS.items()}
    return {"recipe": recipe, "proximal": PROXIMAL, "date": "", "machine": "", "held": {}, "runs": {}}


@dataclass(frozen=True)
class MadeAhead:
    """The figures of a file that `make` wrote.

    Examples
    --------
    >>> runs = {f"digits | IID | FedAvg | {seed}": {"test": 96.0} for seed in range(3)}
    >>> MadeAhead({"date": "2026-11-29", "machine": "a laptop", "runs": runs}).accuracy("digits", "IID", "FedAvg").value
    96.0
    """

    content: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path = FILE) -> MadeAhead:
        """Read a file.

        Raises
        ------
        BadFile
            If it is missing, or holds something else.
        """
        return cls(read(path, "federated learning", ("runs", "date", "machine")))

    def seeds(self, task: str, setting: str, method: str) -> dict[int, dict[str, Any]]:
        """The runs of a method by seed."""
        start = f"{task} | {setting} | {method} | "
        return {int(k.removeprefix(start)): run for k, run in self.content["runs"].items() if k.startswith(start)}

    def accuracy(self, task: str, setting: str, method: str) -> Reading:
        """Mean accuracy on the test items in percent, its interval from the seeds.

        Raises
        ------
        BadInput
            If there is no such run.
        """
        runs = self.seeds(task, setting, method)
        if not runs:
            raise BadInput(f"There is no run of '{method}' on {task}, {setting}, among the figures made ahead.")
        values = np.array([runs[seed]["test"] for seed in sorted(runs)])
        return self._reading(values, "%", f"{len(values)} seeds of {method} on {task}, {setting}")

    def gap(self, task: str, setting: str, method: str = "FedAvg", against: str = "centralised") -> Reading:
        """Points that a method is behind another, seed by seed, with the interval of the paired differences.

        Raises
        ------
        BadInput
            If the two have no seed in common.
        """
        theirs = self.seeds(task, "together" if against == "centralised" else setting, against)
        ours = self.seeds(task, setting, method)
        common = sorted(ours.keys() & theirs.keys())
        if not common:
            raise BadInput(f"'{method}' and '{against}' have no seed in common on {task}, {setting}.")
        values = np.array([theirs[seed]["test"] - ours[seed]["test"] for seed in common])
        return self._reading(values, "points", f"{len(values)} seeds on {task}, {setting}: {against} minus {method}")

    def held(self) -> dict[str, dict[str, bool]]:
        """Whether FedAvg reached centralised training, by claim and by setting: the whole interval within a point."""
        found: dict[str, dict[str, bool]] = {"F1": {}, "F2": {}}
        for task, settings in SETTINGS.items():
            for setting in settings:
                if self.seeds(task, setting, "FedAvg") and self.seeds(task, "together", "centralised"):
                    gap = self.gap(task, setting)
                    reached = gap.high is not None and gap.high <= MOST_POINTS
                    found["F1" if setting == "IID" else "F2"][f"{task}, {setting}"] = reached
        return found

    def _reading(self, values: NDArray[np.float64], unit: str, by: str) -> Reading:
        return mean_over_seeds(values, unit, by, (self.content["date"], self.content["machine"]))


def main() -> None:
    """Make what is missing, from the command line."""
    given = command_line("Train the federated networks of the lab `federated` again.", FILE)
    from tqdm.auto import tqdm

    make(given.file, anew=given.anew, runs=tqdm(plan(), unit="run"))


if __name__ == "__main__":
    main()
