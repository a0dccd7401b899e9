"""The figures of the lab `distillation` that take longer than a lab may: five seeds of each student, made ahead.

``python -m edgelab.toolbox.distill_figures`` makes what is missing and writes the file after each run; ``--anew``
starts over. Every student has the same shape and the same seeds in all conditions; what is compared has as many
steps, but for the images without labels, which are more.
"""

from __future__ import annotations

import argparse
import copy
import datetime as dt
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab import data, nets
from edgelab.compress.distill_training import Answers, Recipe, ask, teach
from edgelab.data.dataset import Dataset
from edgelab.files import read_json, write_bytes, write_json
from edgelab.measure.machine import machine
from edgelab.nets.checkpoints import accuracy
from edgelab.toolbox.distill_readings import MadeAhead

FILE = Path(__file__).parent / "made" / "distillation.json"
SEEDS = (0, 1, 2, 3, 4)
WIDTH = 12
"""Of the student: `edgelab.nets.dscnn` with 7,522 parameters; the teacher `signs_dscnn` has 41,802."""
TEACHER = "signs_dscnn"
FEW = 1000
FEW_EPOCHS = 16
_LAYERS, _EMBEDDINGS = ("pointwise4", "pointwise4"), ("flatten", "flatten")
TRAINING: dict[str, Any] = {"epochs": 4, "learning_rate": 0.01, "weight_decay": 0.02, "batch_size": 64, "threads": 1}
HARD = Recipe(alpha=0.0)
SOFT = Recipe(temperature=4.0, alpha=0.9)
RECIPES = {
    "hard": HARD,
    "soft": SOFT,
    "soft + hint": replace(SOFT, hint=1.0, layers=_LAYERS),
    "soft + attention": replace(SOFT, attention=10.0, layers=_LAYERS),
    "soft + relations": replace(SOFT, distance=5.0, angle=10.0, embeddings=_EMBEDDINGS),
    "all": replace(SOFT, hint=1.0, attention=10.0, distance=5.0, angle=10.0, layers=_LAYERS, embeddings=_EMBEDDINGS),
}


@dataclass(frozen=True)
class Run:
    """One student to be trained: the data that it sees, what it learns, its seed."""

    condition: str
    method: str
    seed: int

    @property
    def key(self) -> str:
        """Its name in the file."""
        return f"{self.condition} | {self.method} | {self.seed}"


MISLED = "soft, teacher saw the wrong labels"
UNLABELLED = "soft, and images without labels"
PARTS: tuple[dict[str, tuple[str, ...]], ...] = (
    {
        "all labels": ("hard", "soft", "pruned teacher", "soft + attention", "soft + relations", "soft + hint"),
        "wrong labels 40": ("hard", "soft"),
    },
    {"few labels": ("hard", "soft", UNLABELLED)},
    {"wrong labels 40": (MISLED,)},
    {"all labels": ("all",)},
)
"""What the student sees, and what is compared there, the most important first."""
KEPT = {
    Run("all labels", "hard", 0): "distillation_hard.safetensors",
    Run("all labels", "soft", 0): "distillation_soft.safetensors",
    Run("all labels", "soft + attention", 0): "distillation_attention.safetensors",
}
"""The runs whose weights are kept beside the file."""


def plan() -> list[Run]:
    """Every run, in the order of `PARTS`, each seed by seed, so that what is there holds as many of each."""
    return [Run(c, m, seed) for part in PARTS for seed in SEEDS for c, methods in part.items() for m in methods]


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
    bench: Bench | None = None
    for run in plan() if runs is None else runs:
        if run.key in content["runs"]:
            continue
        if time.monotonic() - started > seconds:
            break
        bench = Bench() if bench is None else bench
        content["runs"][run.key] = bench.train(run, path.parent)
        content["date"], content["machine"] = dt.datetime.now(dt.UTC).date().isoformat(), machine().cpu
        if all(planned.key in content["runs"] for planned in plan()):
            content["held"] = MadeAhead(content).held()
        write_json(path, content)
        if say is not None:
            say(run, content["runs"][run.key])
    return content


class Bench:
    """The data and the teachers, which all runs share."""

    def __init__(self, dataset: Dataset | None = None) -> None:
        self.dataset = data.signs(seed=0) if dataset is None else dataset
        self.teacher = nets.load(TEACHER)
        self.answers = ask(self.teacher, self.dataset.train.x, ("pointwise4", "flatten"), half=True)
        self.test_logits = nets.predict_logits(self.teacher, self.dataset.test.x)
        self.misled: tuple[nn.Module, Answers] | None = None

    def train(self, run: Run, keep: Path | None = None) -> dict[str, Any]:
        """Train one student; its accuracies in percent, its agreement with the teacher, its accuracy by group.

        ``keep`` is the folder for the weights of those in `KEPT`.
        """
        started = time.process_time()
        dataset, labelled, training = self.seen(run)
        if run.method == "pruned teacher":
            student, recipe = prune_to_size(self.teacher, width=WIDTH, dataset=dataset), HARD
        else:
            student, recipe = new_student(run.seed), RECIPES.get(run.method, SOFT)
        teacher, answers = self.teacher, self.answers
        if run.method == MISLED:
            teacher, answers = self._misled(dataset)
        if len(dataset.train) != len(answers.logits):
            answers = ask(teacher, dataset.train.x)
        teach(teacher, student, dataset, recipe, labelled=labelled, answers=answers, progress=False, **training)
        if keep is not None and run in KEPT:
            keep_network(student, keep / KEPT[run])
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
        training = {**TRAINING, "seed": run.seed}
        if run.condition == "few labels":
            if run.method == UNLABELLED:
                mask = np.zeros(len(self.dataset.train), dtype=bool)
                mask[few_items(self.dataset, run.seed)] = True
                return self.dataset, mask, training
            few = replace(self.dataset, train=self.dataset.train.take(few_items(self.dataset, run.seed)))
            return few, None, {**training, "epochs": FEW_EPOCHS}
        if run.condition.startswith("wrong labels"):
            share = int(run.condition.split()[-1]) / 100
            draw = 0 if run.method == MISLED else run.seed  # its students see the labels that it saw
            return with_wrong_labels(self.dataset, share, draw), None, training
        return self.dataset, None, training

    def _misled(self, dataset: Dataset) -> tuple[nn.Module, Answers]:
        """A teacher of the same shape, trained on one draw of the wrong labels; its students see the same draw."""
        if self.misled is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                net = nets.dscnn(dataset.classes, width=32)
            nets.train(net, dataset, **{**TRAINING, "seed": 0}, progress=False)
            self.misled = net, ask(net, dataset.train.x)
        return self.misled


def networks(folder: Path | None = None) -> dict[str, nn.Module]:
    """The students of one seed whose weights were kept, by what they learnt from."""
    from edgelab.nets.checkpoints import read_weights

    return {
        run.method: read_weights(new_student(run.seed), (folder or FILE.parent) / name) for run, name in KEPT.items()
    }


def keep_network(net: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors, whole or not at all."""
    from safetensors.torch import save

    write_bytes(path, save({key: value.contiguous() for key, value in net.state_dict().items()}))


def new_student(seed: int, width: int = WIDTH, classes: int = 10) -> nn.Module:
    """An untrained student; the same weights for the same seed, the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 + seed)
        return nets.dscnn(classes, width=width)


def few_items(dataset: Dataset, seed: int) -> NDArray[np.int64]:
    """The positions of the items whose label the student may see."""
    return np.sort(np.random.default_rng(seed).permutation(len(dataset.train))[:FEW])


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


def prune_to_size(teacher: nn.Module, width: int, dataset: Dataset) -> nn.Module:
    """The teacher with the filters of least magnitude taken out, until each layer is as wide as the student's.

    torch-pruning finds which channels of which layers hang together (Fang et al. 2023, DepGraph).
    """
    import torch_pruning  # type: ignore[import-untyped]

    net = copy.deepcopy(teacher).eval()
    example = torch.zeros(1, *dataset.input_shape)
    ratio = 1 - width / net.get_submodule("stem.conv").out_channels  # type: ignore[operator]
    pruner = torch_pruning.pruner.MagnitudePruner(
        net,
        example,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=[net.get_submodule("head")],
    )
    pruner.step()
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    return net


def _empty() -> dict[str, Any]:
    dataset = data.signs(seed=0)
    teacher = nets.load(TEACHER)
    return {
        "date": "",
        "machine": "",
        "recipe": {
            "program": "python -m edgelab.toolbox.distill_figures",
            "data": "edgelab.data.signs(seed=0)",
            "student": f"edgelab.nets.dscnn(width={WIDTH})",
            "training": TRAINING,
            "methods": {name: recipe.to_dict() for name, recipe in RECIPES.items()},
            "few_labels": FEW,
            "few_epochs": FEW_EPOCHS,
            "seeds": list(SEEDS),
        },
        "teacher": {
            "name": TEACHER,
            "parameters": nets.count_parameters(teacher),
            "test": accuracy(teacher, dataset, "test"),
            "validation": accuracy(teacher, dataset, "validation"),
            "labels": len(dataset.train),
        },
        "runs": {},
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the students of the lab `distillation` again.")
    parser.add_argument("--anew", action="store_true", help="start over")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no run after so many seconds")
    parser.add_argument("--file", type=Path, default=FILE)
    given = parser.parse_args()
    torch.set_num_threads(1)

    def say(run: Run, result: dict[str, Any]) -> None:
        print(f"{run.key}: {result['test']} %, {result['cpu_seconds']} s", flush=True)

    make(given.file, seconds=given.seconds, anew=given.anew, say=say)


if __name__ == "__main__":
    main()
