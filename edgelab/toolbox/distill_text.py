"""The text part of the lab `distillation`, made ahead: a transformer that sorts device logs teaches a smaller one.

``python -m edgelab.toolbox.distill_text`` makes what is missing: the teacher, five students with hard labels and five
with soft targets, and the teacher with ever fewer heads. The file is written after each run, the networks beside it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgelab import data, nets
from edgelab.compress.distill_training import Recipe, ask, teach
from edgelab.data.dataset import Dataset
from edgelab.data.logs import LENGTH, vocabulary
from edgelab.files import read_json, write_json
from edgelab.measure.machine import machine
from edgelab.nets.checkpoints import accuracy, read_weights
from edgelab.nets.text import TextClassifier, head_importance, prune_heads
from edgelab.toolbox.distill_figures import keep_network

FILE = Path(__file__).parent / "made" / "distillation_text.json"
SEEDS = (0, 1, 2, 3, 4)
LABELLED = 1000
"""Windows whose label the student sees; the teacher saw all 4,000."""
TEACHER: dict[str, Any] = {"epochs": 5, "learning_rate": 3e-3, "weight_decay": 0.01, "batch_size": 32, "threads": 1}
STUDENT: dict[str, Any] = {"epochs": 8, "learning_rate": 5e-3, "weight_decay": 0.01, "batch_size": 32, "threads": 1}
METHODS = {"hard": Recipe(alpha=0.0), "soft": Recipe(temperature=2.0, alpha=0.9)}


def new_teacher(seed: int = 0) -> TextClassifier:
    """Two blocks of four heads, 48 wide."""
    return _new(seed, width=48, depth=2, heads=4)


def new_student(seed: int = 0) -> TextClassifier:
    """One block of two heads, 24 wide."""
    return _new(100 + seed, width=24, depth=1, heads=2)


def networks(folder: Path | None = None) -> dict[str, TextClassifier]:
    """The teacher and the student of soft targets that were trained ahead."""
    where = folder or FILE.parent
    made = {"teacher": new_teacher(), "student": new_student()}
    for name, net in made.items():
        read_weights(net, where / f"distillation_text_{name}.safetensors")
    return made


def make(
    path: Path = FILE,
    *,
    seconds: float = float("inf"),
    anew: bool = False,
    say: Callable[[str, dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train what is missing from the file, and write the file after each run; see `distill_figures.make`."""
    started = time.monotonic()
    content = read_json(path) if path.is_file() and not anew else _empty()
    dataset = data.device_logs(seed=0)
    few = replace(dataset, train=dataset.train.subset(LABELLED, seed=0))
    weights = path.parent / "distillation_text_teacher.safetensors"
    teacher = new_teacher()

    def keep(key: str, result: dict[str, Any]) -> None:
        content["runs"][key] = result
        content["date"], content["machine"] = dt.datetime.now(dt.UTC).date().isoformat(), machine().cpu
        write_json(path, content)
        if say is not None:
            say(key, result)

    if "teacher" not in content["runs"]:
        nets.train(teacher, dataset, **TEACHER, seed=0, progress=False)
        keep_network(teacher, weights)
        keep("teacher", _result(teacher, dataset))
    read_weights(teacher, weights)
    if "heads" not in content["runs"]:
        keep("heads", {"steps": _fewer_heads(teacher, dataset)})
    answers = ask(teacher, few.train.x)
    for seed in SEEDS:
        for method, recipe in METHODS.items():
            key = f"device logs | {method} | {seed}"
            if key in content["runs"] or time.monotonic() - started > seconds:
                continue
            student = new_student(seed)
            teach(teacher, student, few, recipe, answers=answers, **STUDENT, seed=seed, progress=False)
            if (method, seed) == ("soft", SEEDS[0]):
                keep_network(student, path.parent / "distillation_text_student.safetensors")
            keep(key, _result(student, dataset))
    return content


def complete(content: dict[str, Any]) -> bool:
    """Whether nothing is missing."""
    keys = {f"device logs | {m} | {s}" for m in METHODS for s in SEEDS}
    return bool(keys | {"teacher", "heads"} <= content["runs"].keys())


def _new(seed: int, **shape: int) -> TextClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TextClassifier(len(vocabulary()), 6, length=LENGTH, **shape)


def _result(net: TextClassifier, dataset: Dataset) -> dict[str, Any]:
    hits = nets.predict_logits(net, dataset.test.x).argmax(axis=1) == dataset.test.y
    groups = {
        f"{name}: {label}": round(100 * float(hits[labels == label].mean()), 2)
        for name, labels in dataset.test.groups.items()
        for label in np.unique(labels)
    }
    return {
        "test": round(100 * float(hits.mean()), 2),
        "validation": accuracy(net, dataset, "validation"),
        "parameters": nets.count_parameters(net),
        "groups": groups,
    }


def _fewer_heads(teacher: TextClassifier, dataset: Dataset) -> list[dict[str, Any]]:
    """The teacher without its least important heads, one after the other, nothing trained again."""
    x, y = (torch.from_numpy(v) for v in (dataset.validation.x, dataset.validation.y))
    sizes = head_importance(teacher, x, y)
    order = sorted((size, b, h) for b, block in enumerate(sizes) for h, size in enumerate(block))
    left = {b: list(range(len(block))) for b, block in enumerate(sizes)}
    steps = [{"heads": len(order), "kept": {str(b): list(h) for b, h in left.items()}, **_result(teacher, dataset)}]
    for _, b, h in order:
        if len(left[b]) > 1:
            left[b].remove(h)
            kept = {str(k): list(v) for k, v in left.items()}
            net = prune_heads(teacher, left)
            steps.append({"heads": sum(map(len, left.values())), "kept": kept, **_result(net, dataset)})
    return steps


def _empty() -> dict[str, Any]:
    return {
        "date": "",
        "machine": "",
        "recipe": {
            "program": "python -m edgelab.toolbox.distill_text",
            "data": "edgelab.data.device_logs(seed=0)",
            "teacher": TEACHER,
            "student": STUDENT,
            "methods": {name: recipe.to_dict() for name, recipe in METHODS.items()},
            "labelled": LABELLED,
            "seeds": list(SEEDS),
        },
        "runs": {},
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the text networks of the lab `distillation` again.")
    parser.add_argument("--anew", action="store_true", help="start over")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no run after so many seconds")
    parser.add_argument("--file", type=Path, default=FILE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    make(
        given.file,
        seconds=given.seconds,
        anew=given.anew,
        say=lambda key, result: print(key, result.get("test", ""), flush=True),
    )


if __name__ == "__main__":
    main()
