"""The figures of the lab `distillation` that take longer than a lab may: five seeds of each student, made ahead.

``python -m edgelab.ahead.distill_figures`` makes what is missing and writes the file after each run; ``--anew``
starts over. Every student has the same shape and the same seeds in all conditions, and takes as many steps, whether
its labels are few or many.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab import data, nets
from edgelab.ahead.distill_readings import FEATURES, UNLABELLED, MadeAhead
from edgelab.data.dataset import Dataset
from edgelab.errors import BadInput
from edgelab.files import read_json, write_json
from edgelab.nets import ahead
from edgelab.nets.ahead import keep_weights
from edgelab.nets.checkpoints import accuracy
from edgelab.slim.distill_training import Answers, Recipe, ask, teach

FILE = Path(__file__).parent / "made" / "distillation.json"
SEEDS = (0, 1, 2, 3, 4)
HARD = Recipe(alpha=0.0)
SOFT = Recipe(temperature=4.0, alpha=0.9)
MISLED = "soft, teacher saw the wrong labels"
PRUNED = "pruned teacher"


@dataclass(frozen=True)
class Task:
    """A data set with its teacher, the student's width, and how students are trained.

    ``few`` items have a label where labels are few; ``layers`` and ``embeddings`` are compared where features are.
    """

    teacher: str
    width: int
    teacher_width: int
    layer: str
    few: int
    few_epochs: int
    training: dict[str, Any]

    @property
    def recipes(self) -> dict[str, Recipe]:
        """What a student learns, by method; the weights were fixed beforehand, with another seed on the signs."""
        layers, embeddings = (self.layer, self.layer), ("flatten", "flatten")
        parts: dict[str, dict[str, Any]] = {
            "hint": {"hint": 1.0, "layers": layers},
            "attention": {"attention": 10.0, "layers": layers},
            "relations": {"distance": 5.0, "angle": 10.0, "embeddings": embeddings},
        }
        found = {"hard": HARD, "soft": SOFT}
        found |= {f"soft + {name}": replace(SOFT, **part) for name, part in parts.items()}
        together = {key: value for part in parts.values() for key, value in part.items()}
        return {**found, "all": replace(SOFT, **together)}


_SETTINGS: dict[str, Any] = {"learning_rate": 0.01, "weight_decay": 0.02, "batch_size": 64, "threads": 1}
TASKS = {
    "vibration": Task("vibration_cnn1d", 5, 16, "conv3", few=300, few_epochs=96, training={"epochs": 8, **_SETTINGS}),
    "signs": Task("signs_dscnn", 12, 32, "pointwise4", few=1000, few_epochs=32, training={"epochs": 4, **_SETTINGS}),
}
"""The students have 1,865 and 7,522 parameters, their teachers 15,461 and 41,802."""


@dataclass(frozen=True)
class Run:
    """One student to be trained: the task, the data that it sees, what it learns, its seed."""

    task: str
    condition: str
    method: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the file."""
        return f"{self.task}, {self.condition} | {self.method} | {self.seed}"


PARTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("vibration", "all labels", ("hard", "soft", *(f"soft + {name}" for name in FEATURES), "all", PRUNED)),
    ("signs", "all labels", ("hard", "soft")),
    ("vibration", "wrong labels", ("hard", "soft")),
    ("signs", "all labels", (PRUNED,)),
    ("vibration", "few labels", ("hard", "soft", UNLABELLED)),
    ("signs", "few labels", ("hard", "soft", UNLABELLED)),
)
"""What is compared: on the vibration everything, on the signs what a lab's figures can afford."""
WRONG = 0.4
"""Share of the wrong labels."""
KEPT = {
    Run("signs", "all labels", "hard", 0): "distillation_hard.safetensors",
    Run("signs", "all labels", "soft", 0): "distillation_soft.safetensors",
    Run("signs", "all labels", PRUNED, 0): "distillation_pruned.safetensors",
}
"""The runs whose weights are kept beside the file."""


def plan() -> list[Run]:
    """Every run, in the order of `PARTS`, each seed by seed, so that what is there holds as many of each."""
    return [Run(task, c, m, seed) for task, c, methods in PARTS for seed in SEEDS for m in methods]


def make(
    path: Path = FILE,
    *,
    seconds: float = float("inf"),
    anew: bool = False,
    runs: Iterable[Run] | None = None,
    say: Callable[[Run, dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train what is missing from the file, and write the file after each run; the content of the file.

    Parameters
    ----------
    path
        The JSON file.
    seconds
        No run starts after this many.
    anew
        Forget what is there.
    runs
        Which ones; None takes all of `plan`. A progress bar over them moves as they end.
    say
        Told of each run that ended.
    """
    started = time.monotonic()
    content = read_json(path) if path.is_file() and not anew else _empty()
    benches: dict[str, Bench] = {}
    for run in plan() if runs is None else runs:
        if run.key in content["runs"]:
            continue
        if time.monotonic() - started > seconds:
            break
        if run.task not in benches:
            benches[run.task] = Bench(run.task)
        content["runs"][run.key] = benches[run.task].train(run, path.parent)
        content |= ahead.here()
        with contextlib.suppress(BadInput):  # a method of which there is no run yet
            content["held"] = MadeAhead(content).held()
        write_json(path, content)
        if say is not None:
            say(run, content["runs"][run.key])
    return content


class Bench:
    """The data and the teachers, which all runs of a task share."""

    def __init__(self, task: str) -> None:
        self.task = TASKS[task]
        self.dataset = data.load(task, seed=0)
        self.teacher = nets.load(self.task.teacher)
        self.answers = ask(self.teacher, self.dataset.train.x, (self.task.layer, "flatten"), half=True)
        self.test_logits = nets.predict_logits(self.teacher, self.dataset.test.x)
        self.misled: tuple[nn.Module, Answers] | None = None

    def train(self, run: Run, keep: Path | None = None) -> dict[str, Any]:
        """Train one student; its accuracies in percent, its agreement with the teacher, its accuracy by group.

        ``keep`` is the folder for the weights of those in `KEPT`.
        """
        started = time.process_time()
        dataset, labelled, training = self.seen(run)
        teacher, answers = self._misled(dataset) if run.method == MISLED else (self.teacher, self.answers)
        if len(dataset.train) != len(answers.logits):
            answers = ask(teacher, dataset.train.x)
        recipe = self.task.recipes.get(run.method, HARD if run.method == PRUNED else SOFT)
        student = prune_to_size(run.task) if run.method == PRUNED else new_student(run.seed, run.task)
        teach(teacher, student, dataset, recipe, labelled=labelled, answers=answers, progress=False, **training)
        if keep is not None and run in KEPT:
            keep_weights(student, keep / KEPT[run])
        logits = nets.predict_logits(student, self.dataset.test.x)
        right = logits.argmax(axis=1) == self.dataset.test.y
        groups = {
            f"{name}: {label}": round(100 * float(right[labels == label].mean()), 2)
            for name, labels in self.dataset.test.groups.items()
            for label in np.unique(labels)
        }
        return {
            "test": round(100 * float(right.mean()), 2),
            "validation": accuracy(student, self.dataset, "validation"),
            "agreement": round(100 * float((logits.argmax(axis=1) == self.test_logits.argmax(axis=1)).mean()), 2),
            "parameters": nets.count_parameters(student),
            "groups": groups,
            "cpu_seconds": round(time.process_time() - started, 1),
        }

    def seen(self, run: Run) -> tuple[Dataset, NDArray[np.bool_] | None, dict[str, Any]]:
        """The data of a run, which of its items have a label, and how it is trained."""
        training = {**self.task.training, "seed": run.seed}
        if run.condition == "few labels":
            few = np.sort(np.random.default_rng(run.seed).permutation(len(self.dataset.train))[: self.task.few])
            if run.method == UNLABELLED:
                return self.dataset, np.isin(np.arange(len(self.dataset.train)), few), training
            part = replace(self.dataset, train=self.dataset.train.take(few))
            return part, None, {**training, "epochs": self.task.few_epochs}
        if run.condition == "wrong labels":
            draw = 0 if run.method == MISLED else run.seed  # its students see the labels that it saw
            return with_wrong_labels(self.dataset, WRONG, draw), None, training
        return self.dataset, None, training

    def _misled(self, dataset: Dataset) -> tuple[nn.Module, Answers]:
        """A teacher of the teacher's shape, trained on one draw of the wrong labels; its students see the same draw."""
        if self.misled is None:
            net = _network(self.dataset.name, self.task.teacher_width, 0)
            nets.train(net, dataset, **self.task.training, seed=0, progress=False)
            self.misled = net, ask(net, dataset.train.x)
        return self.misled


def networks(folder: Path | None = None) -> dict[str, nn.Module]:
    """The students of one seed whose weights were kept, by what they learnt from."""
    from edgelab.nets.checkpoints import read_weights

    where = folder or FILE.parent
    return {run.method: read_weights(new_student(run.seed, run.task), where / name) for run, name in KEPT.items()}


def new_student(seed: int, task: str = "signs") -> nn.Module:
    """An untrained student; the same weights for the same seed, the global random state is kept."""
    return _network(task, TASKS[task].width, 1000 + seed)


def _network(task: str, width: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Module = nets.dscnn(width=width) if task == "signs" else nets.cnn1d(5, width=width)
    return net


def with_wrong_labels(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """The data set with ``share`` of the training labels replaced by another class, drawn at random.

    Examples
    --------
    >>> small = data.digits()
    >>> wrong = with_wrong_labels(small, 0.4)
    >>> bool(abs((wrong.train.y != small.train.y).mean() - 0.4) < 0.001)
    True
    """
    rng = np.random.default_rng(seed)
    y = dataset.train.y.copy()
    changed = rng.permutation(len(y))[: round(share * len(y))]
    y[changed] = (y[changed] + rng.integers(1, dataset.classes, len(changed))) % dataset.classes
    return replace(dataset, train=replace(dataset.train, y=y))


def prune_to_size(task: str) -> nn.Module:
    """A task's teacher with the filters of least magnitude taken out, until each layer is as wide as the student's.

    torch-pruning finds which channels of which layers hang together (Fang et al. 2023, DepGraph).
    """
    import torch_pruning

    net: nn.Module = copy.deepcopy(nets.load(TASKS[task].teacher)).eval()
    example = torch.zeros(1, *((3, 32, 32) if task == "signs" else (1, 1024)))
    pruner = torch_pruning.pruner.MagnitudePruner(
        net,
        example,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=1 - TASKS[task].width / TASKS[task].teacher_width,
        ignored_layers=[net.get_submodule("head")],
    )
    pruner.step()
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    return net


def _empty() -> dict[str, Any]:
    return {
        "date": "",
        "machine": "",
        "recipe": {
            "program": "python -m edgelab.ahead.distill_figures",
            "seeds": list(SEEDS),
            "wrong": WRONG,
            "tasks": {
                name: {**asdict(task), "methods": {m: r.to_dict() for m, r in task.recipes.items()}}
                for name, task in TASKS.items()
            },
        },
        "teachers": {name: _stated(name, task) for name, task in TASKS.items()},
        "runs": {},
    }


def _stated(name: str, task: Task) -> dict[str, Any]:
    dataset, teacher = data.load(name, seed=0), nets.load(task.teacher)
    return {
        "name": task.teacher,
        "parameters": nets.count_parameters(teacher),
        "test": accuracy(teacher, dataset, "test"),
        "validation": accuracy(teacher, dataset, "validation"),
        "labels": len(dataset.train),
    }


def main() -> None:
    """The command line."""
    given = ahead.command_line("Train the students of the lab `distillation` again.", FILE, seconds=True)
    torch.set_num_threads(1)

    def say(run: Run, result: dict[str, Any]) -> None:
        print(f"{run.key}: {result['test']} %, {result['cpu_seconds']} s", flush=True)

    make(given.file, seconds=given.seconds, anew=given.anew, say=say)


if __name__ == "__main__":
    main()
