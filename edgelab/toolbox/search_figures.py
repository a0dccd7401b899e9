"""The figures of the lab `search` that take longer than a lab may: every network of the space, trained once.

``python -m edgelab.toolbox.search_figures`` makes what is missing and writes the file after each step; ``--anew``
starts over. After the idea of NAS-Bench-101 (Ying et al. 2019): with the table of all networks a search costs
milliseconds, so that it can be repeated with many seeds. Then the winners of five seeds of each search, and the
hand-scaled network of the same budgets, are trained with five training seeds each, by a longer recipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab import data, nets
from edgelab.data.dataset import Dataset
from edgelab.errors import BadFile
from edgelab.files import read_json, write_json
from edgelab.nets import ahead
from edgelab.nets.checkpoints import accuracy
from edgelab.toolbox.search_costs import cost_of, fits
from edgelab.toolbox.search_plain import evolve, random_search
from edgelab.toolbox.search_space import CHOICES, Architecture, all_architectures, build, hand_scaled, parse

FILE = Path(__file__).parent / "made" / "search.json"
SHORT: Mapping[str, Any] = {"items": 4000, "epochs": 3, "learning_rate": 0.01, "weight_decay": 0.02, "batch_size": 32}
"""How every network of the table is trained, once."""
LONG: Mapping[str, Any] = {"items": 8000, "epochs": 4, "learning_rate": 0.01, "weight_decay": 0.02, "batch_size": 64}
"""How the winners of the searches and the hand-scaled networks are trained."""
BUDGETS: Mapping[str, float] = {"file_bytes": 32_000, "arena_bytes": 24_000, "device_ms": 100.0}
EVALUATIONS = 24
SEARCH_SEEDS = (0, 1, 2, 3, 4)
TRAINING_SEEDS = (0, 1, 2, 3, 4)
HAND = tuple(range(4, 25))
"""Widths of the hand-scaled networks whose costs are kept; the one of 24 channels is `edgelab.nets.dscnn`."""
Say = Callable[[str, Mapping[str, Any]], None]


def train_network(arch: Architecture, dataset: Dataset, recipe: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """A network of an architecture, trained by a recipe on the first ``items`` images."""
    settings = dict(recipe)
    items = np.arange(min(settings.pop("items"), len(dataset.train)))
    net = build(arch, dataset.classes, dataset.input_shape[0], seed=1000 + seed)
    part = replace(dataset, train=dataset.train.take(items))
    nets.train(net, part, **settings, seed=seed, threads=1, progress=False)
    return net


def train_once(arch: Architecture, dataset: Dataset, recipe: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    """Train a network by a recipe; its accuracies in percent and the CPU's seconds."""
    started = time.process_time()
    net = train_network(arch, dataset, recipe, seed)
    return {
        "validation": accuracy(net, dataset, "validation"),
        "test": accuracy(net, dataset, "test"),
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def winners(table: Mapping[Architecture, Mapping[str, Any]], budgets: Mapping[str, float]) -> dict[str, list[str]]:
    """What each search brings home for each of its seeds: the best on validation among those that it evaluated."""
    inside = [arch for arch, row in table.items() if fits(row, budgets)]

    def validation(arch: Architecture) -> float:
        return float(table[arch]["validation"])

    found: dict[str, list[str]] = {"evolution": [], "random": []}
    for seed in SEARCH_SEEDS:
        evolved = evolve(inside, validation, EVALUATIONS, np.random.default_rng(seed))
        drawn = random_search(inside, EVALUATIONS, np.random.default_rng(1000 + seed))
        found["evolution"].append(max(evolved, key=validation).key)
        found["random"].append(max(drawn, key=validation).key)
    return found


def by_hand(hand: Mapping[str, Mapping[str, Any]], budgets: Mapping[str, float]) -> Architecture:
    """The widest hand-scaled network within the budgets."""
    return max((parse(key) for key, row in hand.items() if fits(row, budgets)), key=lambda arch: arch.stem)


def make(
    path: Path = FILE,
    *,
    seconds: float = float("inf"),
    anew: bool = False,
    only: Iterable[str] | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Make what is missing from the file, and write the file after each step; the content of the file.

    Parameters
    ----------
    path
        The JSON file.
    seconds
        No training starts after this many.
    anew
        Forget what is there.
    only
        Names of the architectures of the table to make; then nothing else is made. None makes everything.
    say
        Told of each training that ended.
    """
    started = time.monotonic()
    content = read_json(path) if path.is_file() and not anew else _empty()
    _same_recipe(path, content)
    dataset = data.signs(seed=0)
    wanted = [arch.key for arch in all_architectures()] if only is None else list(only)
    _costs(content, "table", wanted, dataset.train.x[:16])
    _costs(content, "hand", [hand_scaled(w).key for w in HAND] if only is None else [], dataset.train.x[:16])
    order = np.random.default_rng(0).permutation(len(wanted))  # so that a part of the table is a fair part
    for key in [wanted[i] for i in order]:
        if "validation" in content["table"][key]:
            continue
        if time.monotonic() - started > seconds:
            return content
        content["table"][key] |= train_once(parse(key), dataset, SHORT)
        _save(path, content, say, key, content["table"][key])
    if only is None:
        table = {parse(key): row for key, row in content["table"].items()}
        content["winners"] = winners(table, BUDGETS)
        content["hand_scaled"] = by_hand(content["hand"], BUDGETS).key
        won = [key for keys in content["winners"].values() for key in keys]
        unique = dict.fromkeys([content["hand_scaled"], *won])
        for seed in TRAINING_SEEDS:
            for key in unique:
                run = f"{key} | {seed}"
                if run in content["trained"]:
                    continue
                if time.monotonic() - started > seconds:
                    return content
                content["trained"][run] = train_once(parse(key), dataset, LONG, seed)
                _save(path, content, say, run, content["trained"][run])
        from edgelab.toolbox.search_readings import MadeAhead

        content["held"] = MadeAhead(content).held()
        write_json(path, content)
    return content


def _same_recipe(path: Path, content: dict[str, Any]) -> None:
    """Take over how many seeds are wanted now; trainings of two recipes are never mixed in one file."""
    recipe = content.get("recipe") if isinstance(content, dict) else None
    if not isinstance(recipe, dict):
        raise BadFile(f"{path} holds no figures of search: make them with --anew.")
    more = {"search_seeds", "training_seeds"}
    wanted = _empty()["recipe"]
    other = sorted(name for name in wanted if name not in more and recipe.get(name) != wanted[name])
    if other:
        raise BadFile(f"{path} was made by another recipe ({', '.join(other)}): make it again with --anew.")
    content["recipe"] = wanted


def _costs(content: dict[str, Any], part: str, keys: Iterable[str], calibration: NDArray[np.float32]) -> None:
    for key in keys:
        if key not in content[part]:
            content[part][key] = cost_of(parse(key), calibration).to_dict()


def _save(path: Path, content: dict[str, Any], say: Say | None, name: str, result: Mapping[str, Any]) -> None:
    content |= ahead.here()
    write_json(path, content)
    if say is not None:
        say(name, result)


def _empty() -> dict[str, Any]:
    return {
        "date": "",
        "machine": "",
        "recipe": {
            "program": "python -m edgelab.toolbox.search_figures",
            "data": "signs, seed 0",
            "choices": {name: list(values) for name, values in CHOICES.items()},
            "short": dict(SHORT),
            "long": dict(LONG),
            "budgets": dict(BUDGETS),
            "evaluations": EVALUATIONS,
            "search_seeds": list(SEARCH_SEEDS),
            "training_seeds": list(TRAINING_SEEDS),
        },
        "table": {},
        "hand": {},
        "winners": {},
        "trained": {},
        "held": {},
    }


def main() -> None:
    """The command line."""
    given = ahead.command_line("Train the networks of the lab `search` again.", FILE, seconds=True)
    torch.set_num_threads(1)

    def say(name: str, result: Mapping[str, Any]) -> None:
        print(f"{name}: {result['validation']} %, {result['cpu_seconds']} s", flush=True)

    make(given.file, seconds=given.seconds, anew=given.anew, say=say)


if __name__ == "__main__":
    main()
