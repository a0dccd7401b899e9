"""Figures of pruning that take longer than a lab may: made ahead, kept as JSON, made again on demand.

``python -m edgelab.slim.prune_ahead`` makes every run that the file does not hold yet and saves after each; with
``--anew`` it forgets them first. A run says what it did and when, and keeps which test items came out right, so that
any two can be compared item by item.
"""

from __future__ import annotations

import base64
import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab import data, nets
from edgelab.data.dataset import Dataset
from edgelab.errors import BadInput
from edgelab.files import write_json
from edgelab.nets import ahead, checkpoints
from edgelab.nets.ahead import Run, here, keep_weights, made_on, selected
from edgelab.reading import Reading
from edgelab.slim import prune_train
from edgelab.slim.prune import Masks
from edgelab.slim.prune_filters import narrowed

FOLDER = Path(__file__).parent / "ahead"
FILE = FOLDER / "pruning.json"
SEEDS = (0, 1, 2)
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)
TICKETS = (0.5, 0.8, 0.9, 0.95)
ROUND_STEPS = 100
LIMITS = {"signs_dscnn": 2.0, "signs_resnet": 1.5}
"""Points that structured pruning to half the MACs may cost."""
HALF: dict[str, dict[str, Any]] = {
    "signs_dscnn": {"scope": "global", "round_to": 16},
    "signs_resnet": {"scope": "global", "round_to": 8},
}
"""How filters are chosen: in multiples of what ONNX Runtime's kernels take at a time, or fewer MACs take more time."""
RECIPES: dict[str, dict[str, Any]] = {
    "signs_dscnn": {"steps": 500, "learning_rate": 1e-2},
    "signs_resnet": {"steps": 625, "learning_rate": 1e-2},
}
"""How a network is trained on after half its MACs were removed, with itself as it was as the teacher."""
SPARSE: dict[str, Any] = {"learning_rate": 5e-3, "batch_size": 32}
TICKET: dict[str, Any] = {"steps": 500, "learning_rate": 1e-2, "batch_size": 32}


def planned() -> list[Run]:
    """Every run that belongs into the file: what identifies it, without results."""
    runs: list[Run] = [{"what": "dense", "network": name, "seed": 0} for name in (*LIMITS, "digits_mlp")]
    for seed in SEEDS:
        runs += [{"what": "half", "network": name, "seed": seed} for name in LIMITS]
        for what in ("ticket dense", "ticket", "ticket control"):
            runs += [{"what": what, "network": "digits_mlp", "seed": seed, "sparsity": s} for s in TICKETS]
        for what in ("iterative", "one-shot"):
            runs += [{"what": what, "network": "digits_mlp", "seed": seed, "sparsity": s} for s in SPARSITIES]
    runs += [{"what": "torch-pruning half", "network": name, "seed": 0} for name in LIMITS]
    return runs


def read(path: Path = FILE) -> dict[str, Any]:
    """What the file holds: ``recipe``, ``runs`` and ``judged``; BadFile if it is no such file."""
    return ahead.read(path, "pruning", ("runs", "judged"))


def make(
    path: Path = FILE, *, anew: bool = False, runs: list[Run] | None = None, report: prune_train.Report | None = None
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
        Called with the steps of training that are done and those of all these runs, which may turn out fewer.
    """
    known: list[Run] = [] if anew or not path.is_file() else read(path)["runs"]
    every = planned() if runs is None else runs
    total, done = sum(map(steps_of, every)), itertools.count(1)

    def tick(_: int, __: int) -> None:
        if report is not None:
            report(next(done), total)

    sets: dict[str, Dataset] = {}

    def made(wanted: Run) -> Iterator[Run]:
        kind = wanted["network"].partition("_")[0]
        if kind not in sets:
            sets[kind] = data.digits(seed=0) if kind == "digits" else data.signs(seed=0)
        return _made(wanted, sets[kind], path.parent, tick)

    yield from ahead.complete(known, every, made, lambda runs: _save(path, runs))


def steps_of(run: Run) -> int:
    """How many steps of training a run takes."""
    what = run["what"]
    if what == "dense":
        return 0
    if what in ("half", "torch-pruning half"):
        return int(RECIPES[run["network"]]["steps"])
    path = prune_train.rounds_to(SPARSITIES)
    if what == "one-shot":  # as many as the path has had by then
        return ROUND_STEPS * (path.index(run["sparsity"]) + 1)
    if what == "iterative":
        return ROUND_STEPS * len(path)
    return int(TICKET["steps"]) * (_ticket_rounds(run) + 2)  # the dense network before, the control after


def correct(runs: list[Run]) -> NDArray[np.bool_]:
    """Which test items were right, those of all these runs in a row."""
    return np.concatenate([_bits(run["right"], run["items"]) for run in runs])


def accuracy(run: Run) -> float:
    """Percent of the test items that were right."""
    return 100 * float(correct([run]).mean())


def paired(before: list[Run], after: list[Run], what: str) -> Reading:
    """Points of accuracy that runs lose against others on the same items, with a 95 percent interval.

    Runs of several seeds count as one: of each test item the mean over its seeds. The interval is over the items, so
    it says what another test set could have given, not what other seeds could have.
    """
    items = before[0]["items"]
    lost = correct(before).reshape(-1, items).mean(axis=0) - correct(after).reshape(-1, items).mean(axis=0)
    mean, half = 100 * float(lost.mean()), 196 * float(lost.std(ddof=1)) / items**0.5
    by = f"{what}: {len(after)} seed{'s' if len(after) > 1 else ''}, {items:,} items"
    return Reading(mean, "points", "measured", by, mean - half, mean + half, made_on=made_on([*before, *after]))


def points_lost(runs: list[Run], run: Run) -> float:
    """Points of test accuracy that a run lost against its dense network."""
    dense = selected(runs, what="dense", network=run["network"])[0]
    return accuracy(dense) - accuracy(run)


def judge(runs: list[Run]) -> list[dict[str, Any]]:
    """The sentences that rest on these runs, each with ``held``: whether the mean over the seeds keeps to it."""
    judged: list[dict[str, Any]] = []

    def note(says: str, values: list[float], held: bool) -> None:
        judged.append({"says": says, "seeds": len(values), "mean": round(float(np.mean(values)), 4), "held": held})

    for name, limit in LIMITS.items():
        lost = [points_lost(runs, run) for run in selected(runs, what="half", network=name)]
        if lost:
            note(f"{name} at half its MACs ends within {limit} points", lost, float(np.mean(lost)) <= limit)
    for sparsity in SPARSITIES:
        pairs = zip(
            selected(runs, what="iterative", sparsity=sparsity),
            selected(runs, what="one-shot", sparsity=sparsity),
            strict=False,
        )
        gain = [accuracy(a) - accuracy(b) for a, b in pairs]
        if gain:
            says = f"At {100 * sparsity:.0f} % zeros iterative pruning beats one-shot pruning for every seed"
            note(says, gain, min(gain) > 0)
    for sparsity in TICKETS:
        pairs = zip(
            selected(runs, what="ticket", sparsity=sparsity),
            selected(runs, what="ticket control", sparsity=sparsity),
            strict=False,
        )
        gain = [accuracy(a) - accuracy(b) for a, b in pairs]
        if gain:
            says = f"At {100 * sparsity:.0f} % zeros a winning ticket beats a random one in the mean"
            note(says, gain, float(np.mean(gain)) > 0)
    return judged


def pruned(network: str) -> nn.Module:
    """The kept network at half its MACs (seed 0), in evaluation mode.

    Raises
    ------
    BadFile
        If its file is missing or damaged.
    """
    return checkpoints.read_weights(_halved(network)[0], FOLDER / f"{network}_half.safetensors")


def _halved(network: str) -> tuple[nn.Module, nn.Module]:
    """The network at half its MACs before it is trained on, and the whole one."""
    whole = nets.load(network)
    macs = nets.count_macs(whole, (3, 32, 32)).macs / 2
    return narrowed(whole, torch.zeros(1, 3, 32, 32), macs=macs, **HALF[network])[0], whole


def _made(wanted: Run, dataset: Dataset, folder: Path, tick: prune_train.Report) -> Iterator[Run]:
    what, name, seed = wanted["what"], wanted["network"], wanted["seed"]
    whole = nets.load(name)
    if what == "dense":
        yield _run(wanted, whole, dataset)
    elif what == "half":
        narrow, _ = _halved(name)
        prune_train.fine_tune(narrow, dataset, teacher=whole, seed=seed, report=tick, **RECIPES[name])
        if seed == 0:
            keep_weights(narrow, folder / f"{name}_half.safetensors")
        yield _run(wanted, narrow, dataset)
    elif what == "torch-pruning half":
        narrow = _peer(whole, HALF[name]["round_to"])
        prune_train.fine_tune(narrow, dataset, teacher=nets.load(name), seed=seed, report=tick, **RECIPES[name])
        yield _run(wanted, narrow, dataset)
    elif what == "one-shot":
        settings = {"steps": steps_of(wanted), "seed": seed, "report": tick, **SPARSE}
        prune_train.one_shot(whole, dataset, wanted["sparsity"], **settings)
        yield _run(wanted, whole, dataset)
    elif what == "iterative":
        made: list[Run] = []

        def note(sparsity: float, net: nn.Module) -> None:
            if sparsity in SPARSITIES:
                made.append(_run({**wanted, "sparsity": sparsity}, net, dataset))

        path = prune_train.rounds_to(SPARSITIES)
        settings = {"steps": ROUND_STEPS, "seed": seed, "report": tick, **SPARSE}
        prune_train.iterative(whole, dataset, path, after_round=note, **settings)
        yield from made
    else:
        yield from _tickets(wanted, dataset, tick)


def _tickets(wanted: Run, dataset: Dataset, tick: prune_train.Report) -> Iterator[Run]:
    seed = wanted["seed"]
    start = checkpoints.build({**checkpoints.read_recipe(wanted["network"]), "training": {"seed": seed}})

    def train(net: nn.Module, masks: Masks, seed: int) -> object:
        return prune_train.fine_tune(net, dataset, masks, seed=seed, report=tick, **TICKET)

    dense = copy.deepcopy(start)
    train(dense, {}, seed)
    sparsity = wanted["sparsity"]
    rounds = _ticket_rounds(wanted)
    found = prune_train.lottery_ticket(start, train, sparsity, rounds, seed=seed, dense=dense)
    for what, net in (("ticket dense", found.dense), ("ticket", found.winning), ("ticket control", found.random)):
        yield _run({**wanted, "what": what}, net, dataset)


def _ticket_rounds(wanted: Run) -> int:
    return len(prune_train.rounds_to([wanted["sparsity"]], 0.4))


def _peer(whole: nn.Module, round_to: int) -> nn.Module:
    """The same budget of MACs by torch-pruning, at its defaults for magnitude and with the same rounding."""
    import torch_pruning as tp

    macs = nets.count_macs(whole, (3, 32, 32)).macs / 2
    for ratio in np.arange(0.1, 0.9, 0.01):
        net = copy.deepcopy(whole)
        settings = {"round_to": round_to, "ignored_layers": [net.get_submodule("head")]}
        by = tp.importance.GroupMagnitudeImportance(p=1)
        pruner = tp.pruner.BasePruner(
            net, torch.zeros(1, 3, 32, 32), importance=by, pruning_ratio=float(ratio), **settings
        )
        pruner.step()
        if nets.count_macs(net, (3, 32, 32)).macs <= macs:
            return net
    raise BadInput("torch-pruning does not reach half the MACs.")


def _run(wanted: Run, net: nn.Module, dataset: Dataset) -> Run:
    right = nets.predict_logits(net, dataset.test.x).argmax(axis=1) == dataset.test.y
    shape = dataset.test.x.shape[1:]
    return {
        **wanted,
        **here(),
        "items": len(right),
        "right": base64.b85encode(np.packbits(right).tobytes()).decode(),
        "macs": nets.count_macs(net, shape).macs,
        "parameters": nets.count_parameters(net),
    }


def _bits(text: str, items: int) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(base64.b85decode(text), np.uint8))[:items].astype(bool)


def _save(path: Path, runs: list[Run]) -> None:
    recipe = {
        "half": RECIPES, "filters": HALF, "sparse": SPARSE, "ticket": TICKET, "round_steps": ROUND_STEPS,
        "optimizer": "adamw, one cycle", "torch": torch.__version__.split("+")[0],
    }  # fmt: skip
    write_json(path, {"recipe": recipe, "judged": judge(runs), "runs": runs})


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = ahead.command_line("Prune the networks of the lab `pruning` again.", FILE)
    for finished in make(given.file, anew=given.anew):
        print(finished["what"], finished["network"], finished["seed"], finished.get("sparsity", ""), accuracy(finished))
