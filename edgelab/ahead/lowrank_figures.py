"""Figures of low-rank factorisation that take longer than a lab may: made ahead, kept as JSON, made again on demand.

``python -m edgelab.ahead.lowrank_figures`` makes every run that the file does not hold yet and saves after each; with
``--anew`` it forgets them first. A run cuts the large layers of a trained network until they hold so many times fewer
weights, as it stands and trained on, and keeps which test items came out right.
"""

from __future__ import annotations

import base64
import copy
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit
from torch import nn

from edgelab import data, nets
from edgelab.ahead import distill_text
from edgelab.data.dataset import Dataset, Split
from edgelab.errors import BadInput
from edgelab.files import write_json
from edgelab.nets import ahead
from edgelab.nets.ahead import Run, here, made_on, selected
from edgelab.reading import Reading
from edgelab.slim import lowrank, prune_train

FILE = Path(__file__).parent / "made" / "lowrank.json"
SEEDS = tuple(range(10))
TIMES = (2, 3, 5, 10)
"""How many times fewer weights the large layers hold after the cut."""
CLAIMED = {2: 1.0, 5: 4.0}
"""Points that the claim L1 allows at most, by how many times fewer weights there are."""
LOOKS = 2
"""The figures were looked at with five seeds, then with ten: each interval has half of the usual doubt (Bonferroni)."""
FEATURES = 3072
HIDDEN = (512, 256)


@dataclass(frozen=True)
class Task:
    """A data set, a network trained on it, and the layers that are cut.

    ``own`` says whether each seed trains a network of its own; without it the seeds train one kept network on.
    """

    dataset: Callable[[], Dataset]
    network: Callable[[int], nn.Module]
    layers: tuple[str, ...]
    training: dict[str, Any] = field(default_factory=dict)
    trained_on: dict[str, Any] = field(default_factory=dict)
    own: bool = True
    times: tuple[int, ...] = TIMES


def trunk() -> nn.Sequential:
    """The convolutions of ``signs_resnet``, without its pool and head: images to features (N, 3072)."""
    net = nets.load("signs_resnet")
    kept = [(name, part) for name, part in net.named_children() if name not in ("pool", "flatten", "head")]
    made = nn.Sequential()
    for name, part in kept:
        made.add_module(name, part)
    made.add_module("flatten", nn.Flatten())
    return made.eval()


def features(dataset: Dataset) -> Dataset:
    """A data set of signs with the features of `trunk` in place of its images."""
    net = trunk()

    def seen(split: Split) -> Split:
        return replace(split, x=nets.predict_logits(net, split.x, batch_size=50))  # small batches stay in the cache

    return replace(dataset, train=seen(dataset.train), validation=seen(dataset.validation), test=seen(dataset.test))


def new_head(seed: int = 0) -> nn.Sequential:
    """A head as wide as those of the large networks of 2012 to 2014: two hidden linear layers, and the answer."""
    return _seeded(seed, FEATURES, 10, HIDDEN)


def spectra(dataset: Dataset) -> Dataset:
    """Vibration as the logarithms of two spectra, of the signal and of its size, each frequency standardised."""

    def of(split: Split) -> NDArray[np.float64]:
        x = split.x[:, 0] / split.x[:, 0].std(axis=1, keepdims=True)
        both = [np.abs(np.fft.rfft(each, axis=1))[:, 1:] for each in (x, np.abs(x))]
        return np.asarray(np.log1p(np.concatenate(both, axis=1)), dtype=np.float64)

    seen = of(dataset.train)
    mean, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-6

    def standardised(split: Split) -> Split:
        return replace(split, x=((of(split) - mean) / spread).astype(np.float32))

    parts = (standardised(split) for split in (dataset.train, dataset.validation, dataset.test))
    train, validation, test = parts
    return replace(dataset, train=train, validation=validation, test=test)


TASKS: dict[str, Task] = {
    "signs": Task(
        lambda: features(data.signs(seed=0)),
        new_head,
        ("1", "3"),
        {"epochs": 3, "learning_rate": 1e-3},
        {"steps": 60, "learning_rate": 1e-3},
    ),
    "vibration": Task(
        lambda: spectra(data.vibration(seed=0)),
        lambda seed: _seeded(seed, 1024, 5, (512, 512)),
        ("1", "3"),
        {"epochs": 4, "learning_rate": 1e-3},
        {"steps": 60, "learning_rate": 1e-3},
    ),
    "digits": Task(
        lambda: data.digits(seed=0),
        lambda seed: _seeded(seed, 64, 10, (512, 512)),
        ("1", "3"),
        {"epochs": 10, "learning_rate": 3e-3},
        {"steps": 60, "learning_rate": 1e-3},
    ),
    "text": Task(
        lambda: data.device_logs(seed=0),
        lambda _: distill_text.networks()["teacher"],
        tuple(
            f"blocks.{block}.{name}"
            for block in (0, 1)
            for name in ("attention.query", "attention.key", "attention.value", "attention.out", "layers.0", "layers.2")
        ),
        {},
        {"steps": 40, "learning_rate": 3e-4, "batch_size": 32},  # the best of 3e-4, 1e-3, 3e-3 on validation
        own=False,
    ),
    "convolutions": Task(
        lambda: data.signs(seed=0),
        lambda _: nets.load("signs_resnet"),
        tuple(f"block{block}.{name}.conv" for block in (1, 2, 3) for name in ("first", "second")),
        {},
        {"steps": 60, "learning_rate": 5e-3},
        own=False,
        times=(2, 3),
    ),
}
SEEDS_OF = {"text": (0, 1, 2), "convolutions": (0, 1, 2)}
LINEAR = ("signs", "vibration", "digits", "text")


def ranks_at(network: nn.Module, layers: tuple[str, ...], times: float) -> dict[str, int]:
    """The rank of each layer at which it holds ``times`` fewer weights, as near as whole ranks come to it from below.

    Examples
    --------
    >>> ranks_at(nn.Sequential(nn.Linear(100, 50)), ("0",), 5)
    {'0': 6}
    """
    if not times >= 1:
        raise BadInput(f"times={times} has to be 1 or more: so many times fewer weights.")
    modules = dict(network.named_modules())
    ranks = {}
    for name in layers:
        rows, columns = lowrank.matrix_of(modules[name]).shape
        ranks[name] = max(1, min(rows, columns, int(rows * columns / times / (rows + columns))))
    return ranks


def planned() -> list[Run]:
    """Every run that belongs into the file: what identifies it, without results."""
    return [
        {"task": name, "seed": seed, "times": times, "trained": trained}
        for name, task in TASKS.items()
        for seed in SEEDS_OF.get(name, SEEDS)
        for times, trained in [(1, False), *((t, kind) for t in task.times for kind in (False, True))]
    ]


def read(path: Path = FILE) -> dict[str, Any]:
    """What the file holds: ``recipe``, ``runs`` and ``held``; BadFile if it is no such file."""
    return ahead.read(path, "low-rank factorisation", ("runs", "held"))


def make(
    path: Path = FILE,
    *,
    anew: bool = False,
    runs: list[Run] | None = None,
    report: Callable[[int, int], object] | None = None,
) -> Iterator[Run]:
    """Make the runs that ``path`` lacks, one a step of the iterator, and save after each.

    Parameters
    ----------
    path
        The JSON file.
    anew
        Forget what it holds first.
    runs
        Some of those `planned`; by default all.
    report
        Called with the number of runs that are done and that of all.
    """
    known: list[Run] = [] if anew or not path.is_file() else read(path)["runs"]
    wanted = planned() if runs is None else runs

    @functools.cache
    def dataset_of(name: str) -> Dataset:
        return TASKS[name].dataset()

    @functools.lru_cache(maxsize=1)
    def dense(name: str, seed: int) -> nn.Module:
        net = TASKS[name].network(seed)
        if TASKS[name].training:
            nets.train(net, dataset_of(name), seed=seed, progress=False, threads=1, **TASKS[name].training)
        return net

    def made(run: Run) -> Iterator[Run]:
        yield _run(run, dense(run["task"], run["seed"]), dataset_of(run["task"]))

    for done, run in enumerate(ahead.complete(known, wanted, made, lambda runs: _save(path, runs)), 1):
        if report is not None:
            report(done, len(wanted))
        yield run


def accuracy(run: Run) -> float:
    """Percent of the test items that were right."""
    return 100 * float(correct(run).mean())


def correct(run: Run) -> NDArray[np.bool_]:
    """Which test items were right."""
    packed = np.frombuffer(base64.b85decode(run["right"]), np.uint8)
    return np.unpackbits(packed)[: run["items"]].astype(bool)


def loss(runs: list[Run], task: str, times: float, *, trained: bool) -> Reading:
    """Points of accuracy that the cut network loses against the whole one, with the interval over the seeds.

    The interval is wide enough for 95 percent over all `LOOKS` at the figures. Where the seeds trained one network, it
    is over its test items and says so: other networks may differ.

    Raises
    ------
    BadInput
        If there is no such run.
    """
    after = {run["seed"]: run for run in selected(runs, task=task, times=times, trained=trained)}
    before = {run["seed"]: run for run in selected(runs, task=task, times=1)}
    seeds = sorted(after.keys() & before.keys())
    if not seeds:
        raise BadInput(f"There is no run of {task} with {times} times fewer weights among the figures made ahead.")
    lost = np.array([correct(before[s]).astype(float) - correct(after[s]) for s in seeds])
    what = f"{task}, {times} times fewer weights{', trained on' if trained else ''}"
    share = 1 - 0.025 / LOOKS
    settings: dict[str, Any] = {"made_on": made_on([*before.values(), *after.values()])}
    if TASKS[task].own:
        values = 100 * lost.mean(axis=1)
        by = f"{what}: {len(seeds)} networks"
        factor = float(stdtrit(len(seeds) - 1, share)) if len(seeds) > 1 else math.nan
    else:
        values = 100 * lost.mean(axis=0)
        by = f"{what}: one network, {len(seeds)} seeds, {len(values):,} items"
        factor = float(ndtri(share))
    mean = float(values.mean())
    if not math.isfinite(factor):
        return Reading(mean, "points", "measured", by, doubt="One seed cannot tell.", **settings)
    half = factor * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Reading(mean, "points", "measured", by, mean - half, mean + half, **settings)


def smaller(runs: list[Run], task: str, times: float) -> float:
    """Weights of the cut layers before, over those after."""
    run = selected(runs, task=task, times=times)[0]
    return float(run["weights_before"] / run["weights_after"])


def held(runs: list[Run]) -> dict[str, dict[str, bool]]:
    """Whether what the claim allows at most was shown to be kept, by task and by how many times fewer weights."""
    judged: dict[str, dict[str, bool]] = {}
    for task in LINEAR:
        for times, bound in CLAIMED.items():
            if selected(runs, task=task, times=times, trained=True) and selected(runs, task=task, times=1):
                high = loss(runs, task, times, trained=True).high
                judged.setdefault(task, {})[str(times)] = high is not None and high <= bound
    return judged


def cut(network: nn.Module, task: str, times: float) -> lowrank.Factorised:
    """A network of a task with so many times fewer weights in its large layers."""
    return lowrank.factorised(network, ranks_at(network, TASKS[task].layers, times))


def train_on(network: nn.Module, dataset: Dataset, task: str, seed: int) -> nn.Module:
    """The network, trained on in place with the recipe of its task."""
    prune_train.fine_tune(network, dataset, seed=seed, **TASKS[task].trained_on)
    return network


def _run(wanted: Run, whole: nn.Module, dataset: Dataset) -> Run:
    net, sizes = copy.deepcopy(whole), (1, 1)
    if wanted["times"] != 1:
        made = cut(whole, wanted["task"], wanted["times"])
        net = made.network
        sizes = sum(c.weights_before for c in made.cuts), sum(c.weights_after for c in made.cuts)
    if wanted["trained"]:
        train_on(net, dataset, wanted["task"], wanted["seed"])
    right = nets.predict_logits(net, dataset.test.x, batch_size=50).argmax(axis=1) == dataset.test.y
    return {
        **wanted,
        **here(),
        "items": len(right),
        "right": base64.b85encode(np.packbits(right).tobytes()).decode(),
        "weights_before": sizes[0],
        "weights_after": sizes[1],
        "parameters": nets.count_parameters(net),
    }


def _seeded(seed: int, into: int, classes: int, hidden: tuple[int, ...]) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Sequential = nets.mlp(into, classes, hidden)
    return net


def _save(path: Path, runs: list[Run]) -> None:
    recipe = {
        "program": "python -m edgelab.ahead.lowrank_figures",
        "tasks": {
            name: {"layers": list(task.layers), "training": task.training, "trained_on": task.trained_on}
            for name, task in TASKS.items()
        },
        "allowed": {str(times): bound for times, bound in CLAIMED.items()},
        "torch": torch.__version__.split("+")[0],
    }
    write_json(path, {"recipe": recipe, "held": held(runs), "runs": runs})


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = ahead.command_line("Train the networks of the lab `lowrank` again.", FILE)
    for finished in make(given.file, anew=given.anew):
        print(*(finished[key] for key in ("task", "seed", "times", "trained")), accuracy(finished), flush=True)
