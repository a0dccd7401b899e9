"""The text part of the lab `distillation`, made ahead: a transformer that sorts device logs teaches a smaller one.

``python -m edgelab.ahead.distill_text`` makes what is missing: the teacher, the teacher with ever fewer heads, and
five students of each kind: with all labels and with few, with hard labels, soft targets, and windows that only the
teacher has answered. The file is written after each run, the networks beside it.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgelab import data, nets
from edgelab.ahead.distill_figures import HARD
from edgelab.ahead.distill_readings import UNLABELLED, MadeAhead
from edgelab.convert.onnx import export
from edgelab.data.dataset import Dataset
from edgelab.data.logs import LENGTH, vocabulary
from edgelab.files import read_json, write_json
from edgelab.nets import ahead
from edgelab.nets.ahead import keep_weights
from edgelab.nets.checkpoints import accuracy, read_weights
from edgelab.nets.text import TextClassifier, head_importance, prune_heads
from edgelab.slim.distill_training import Answers, Recipe, ask, teach

FILE = Path(__file__).parent / "made" / "distillation_text.json"
TASK = "device logs"
SEEDS = (0, 1, 2, 3, 4)
LABELLED = 1000
"""Windows whose label the student sees where labels are few; the teacher saw all 4,000."""
TEACHER: dict[str, Any] = {"epochs": 5, "learning_rate": 3e-3, "weight_decay": 0.01, "batch_size": 32, "threads": 1}
TRAIN_ON: dict[str, Any] = {**TEACHER, "epochs": 1, "learning_rate": 1e-3}
"""After each head that was taken out."""
HEADS_LEFT = 4
"""The teacher with so many heads, trained on, is kept beside the file."""
STUDENT: dict[str, Any] = {"learning_rate": 5e-3, "weight_decay": 0.01, "batch_size": 32, "threads": 1}
SOFT = Recipe(temperature=2.0, alpha=0.9)
PARTS: tuple[tuple[str, str, Recipe, int], ...] = (
    ("few labels", "hard", HARD, 16),
    ("few labels", "soft", SOFT, 16),
    ("all labels", "hard", HARD, 4),
    ("all labels", "soft", SOFT, 4),
    ("few labels", UNLABELLED, SOFT, 4),
)
"""Condition, method, recipe and epochs: as many steps for 1,000 windows, sixteen times, as for 4,000, four times."""
KEPT = ("all labels", "soft", SEEDS[0])
"""The student whose weights are kept beside the file."""


def new_teacher(seed: int = 0) -> TextClassifier:
    """Two blocks of four heads, 48 wide."""
    return _new(seed, width=48, depth=2, heads=4)


def new_student(seed: int = 0) -> TextClassifier:
    """One block of two heads, 24 wide."""
    return _new(100 + seed, width=24, depth=1, heads=2)


def networks(folder: Path | None = None) -> dict[str, TextClassifier]:
    """The networks that were trained ahead: the teacher, a student, and the teacher with half of its heads."""
    where = folder or FILE.parent
    steps = read_json(where / FILE.name)["fewer_heads"]["trained on"]
    left = next(step["kept"] for step in steps if step["heads"] == HEADS_LEFT)
    halved = prune_heads(new_teacher(), {int(block): heads for block, heads in left.items()})
    made = {"teacher": new_teacher(), "student": new_student(), "heads": halved}
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
    weights = path.parent / "distillation_text_teacher.safetensors"
    teacher = new_teacher()

    def keep(key: str, result: dict[str, Any]) -> None:
        content["runs"][key] = result
        content.update(ahead.here())
        write_json(path, content)
        if say is not None:
            say(key, result)

    if not content["teachers"]:
        nets.train(teacher, dataset, **TEACHER, seed=0, progress=False)
        keep_weights(teacher, weights)
        content["teachers"][TASK] = {**_result(teacher, dataset), "labels": len(dataset.train)}
    read_weights(teacher, weights)
    if "fewer_heads" not in content:
        content["fewer_heads"] = _fewer_heads(teacher, dataset, path.parent)
        write_json(path, content)
    answers = ask(teacher, dataset.train.x)
    theirs = ask(teacher, dataset.test.x).logits.numpy().argmax(axis=1)
    for (condition, method, recipe, epochs), seed in itertools.product(PARTS, SEEDS):
        key = f"{TASK}, {condition} | {method} | {seed}"
        if key in content["runs"] or time.monotonic() - started > seconds:
            continue
        began = time.process_time()
        seen, mask, theirs_seen = seen_by(dataset, answers, condition, method, seed)
        student, training = new_student(seed), {**STUDENT, "epochs": epochs, "seed": seed, "progress": False}
        teach(teacher, student, seen, recipe, labelled=mask, answers=theirs_seen, **training)
        if (condition, method, seed) == KEPT:
            keep_weights(student, path.parent / "distillation_text_student.safetensors")
        keep(key, {**_result(student, dataset, theirs), "cpu_seconds": round(time.process_time() - began, 1)})
    if complete(content):
        content["held"] = MadeAhead(content).held_by_task()
        write_json(path, content)
    return content


def seen_by(
    dataset: Dataset, answers: Answers, condition: str, method: str, seed: int
) -> tuple[Dataset, NDArray[np.bool_] | None, Answers]:
    """What a student sees: the windows, which of them have a label (None: all), and the teacher's answers to them."""
    items = len(dataset.train)
    few = np.sort(np.random.default_rng(seed).permutation(items)[:LABELLED])
    if condition == "all labels":
        return dataset, None, answers
    if method == UNLABELLED:
        return dataset, np.isin(np.arange(items), few), answers
    return replace(dataset, train=dataset.train.take(few)), None, Answers(answers.logits[few], {})


def complete(content: dict[str, Any]) -> bool:
    """Whether nothing is missing."""
    keys = {f"{TASK}, {condition} | {method} | {seed}" for condition, method, _, _ in PARTS for seed in SEEDS}
    return bool(keys <= content["runs"].keys())


def _new(seed: int, **shape: int) -> TextClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TextClassifier(len(vocabulary()), 6, length=LENGTH, **shape)


def _result(net: TextClassifier, dataset: Dataset, teacher: NDArray[np.int64] | None = None) -> dict[str, Any]:
    answers = nets.predict_logits(net, dataset.test.x).argmax(axis=1)
    hits = answers == dataset.test.y
    groups = {
        f"{name}: {label}": round(100 * float(hits[labels == label].mean()), 2)
        for name, labels in dataset.test.groups.items()
        for label in np.unique(labels)
    }
    same = {} if teacher is None else {"agreement": round(100 * float((answers == teacher).mean()), 2)}
    return {
        "test": round(100 * float(hits.mean()), 2),
        **same,
        "validation": accuracy(net, dataset, "validation"),
        "parameters": nets.count_parameters(net),
        "groups": groups,
    }


def _fewer_heads(teacher: TextClassifier, dataset: Dataset, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The teacher without its least important heads, one after the other: as it stands, and trained on after each."""
    x, y = (torch.from_numpy(v) for v in (dataset.validation.x, dataset.validation.y))
    sizes = head_importance(teacher, x, y)
    order = sorted((size, b, h) for b, block in enumerate(sizes) for h, size in enumerate(block))
    left = {b: list(range(len(block))) for b, block in enumerate(sizes)}
    trained = teacher
    steps = {"as it stands": [_with_heads(teacher, left, dataset)], "trained on": [_with_heads(teacher, left, dataset)]}
    for _, b, h in order:
        if len(left[b]) == 1:
            continue
        place = left[b].index(h)
        left[b].remove(h)
        steps["as it stands"].append(_with_heads(prune_heads(teacher, left), left, dataset))
        rest = [i for i in range(len(left[b]) + 1) if i != place]
        trained = prune_heads(trained, {b: rest})
        nets.train(trained, dataset, **TRAIN_ON, seed=h, progress=False)
        steps["trained on"].append(_with_heads(trained, left, dataset))
        if sum(map(len, left.values())) == HEADS_LEFT:
            keep_weights(trained, folder / "distillation_text_heads.safetensors")
    return steps


def _with_heads(net: TextClassifier, left: dict[int, list[int]], dataset: Dataset) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        size = export(net, dataset.test.x[:1], Path(folder) / "net.onnx").bytes
    kept = {str(block): list(heads) for block, heads in left.items()}
    return {"heads": sum(map(len, left.values())), "kept": kept, "bytes": size, **_result(net, dataset)}


def _empty() -> dict[str, Any]:
    return {
        "date": "",
        "machine": "",
        "recipe": {
            "program": "python -m edgelab.ahead.distill_text",
            "data": "edgelab.data.device_logs(seed=0)",
            "teacher": TEACHER,
            "trained_on": TRAIN_ON,
            "student": STUDENT,
            "parts": [
                {"condition": condition, "method": method, "epochs": epochs, **recipe.to_dict()}
                for condition, method, recipe, epochs in PARTS
            ],
            "labelled": LABELLED,
            "seeds": list(SEEDS),
        },
        "teachers": {},
        "runs": {},
    }


def main() -> None:
    """The command line."""
    given = ahead.command_line("Train the text networks of the lab `distillation` again.", FILE, seconds=True)
    torch.set_num_threads(1)
    make(
        given.file,
        seconds=given.seconds,
        anew=given.anew,
        say=lambda key, result: print(f"{key}: {result['test']} %, {result['cpu_seconds']} s", flush=True),
    )


if __name__ == "__main__":
    main()
