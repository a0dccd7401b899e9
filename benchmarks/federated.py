"""Rounds a second of `edgelab.federated` beside Flower's simulation, and of its engines, in turn in one run.

Beside Flower: digits, a perceptron of two layers, 32 items a client drawn with replacement, the same seeds, so the same
weights; Flower in an environment of its own (the first round, with the start-up, does not count). Ours alone at more.

A round is every client's training and the average; digits drawn with replacement, equal and uneven sizes. The engines
take turns, and each ratio is the median over the turns. Beside them stands ``autograd``, the loop with a round written
in PyTorch's usual way, which costs less a call than `torch.func`: ratios are to this faster loop where it runs.
Targets: at least 200 times Flower's rounds at 100 clients, weights within 1e-5; over one round a second of stacked
NumPy at 10,000 clients of 32 items; a small CNN by vmap at least 4 times the loop.
Usage: ``python benchmarks/federated.py [--turns N] [--without-flower] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from edgelab import Reading, Table, nets
from edgelab.data import Split, digits
from edgelab.errors import MissingFramework
from edgelab.federated import (
    Batches,
    ClientConfig,
    Partition,
    client_round,
    federated_average,
    flower,
    iid,
    initial_weights,
    quantity_skew,
    run_clients,
    schedule_round,
)
from edgelab.federated.engines import flatten, one_thread, unflatten
from edgelab.federated.evaluate import network_with
from edgelab.measure import stats
from edgelab.measure.machine import Watch, machine

ITEMS = 32
ROUNDS = 5
CONFIG = ClientConfig(learning_rate=0.5)
MOST_FOR_FLOWER = 100
OUR_TURNS = 5
"""Before and after Flower each: a round of ours is a few milliseconds, which one other program's slice doubles."""


@dataclass(frozen=True)
class Task:
    """A network, its clients, and the engines that are held against each other."""

    name: str
    net: nn.Module
    clients: int
    uneven: bool
    engines: tuple[str, ...]


def cnn() -> nn.Sequential:
    """A small CNN for 8x8 images, without running averages."""
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10))


def autograd_round(net: nn.Module) -> Any:
    """The same round with `torch.autograd`, which vmap cannot batch."""

    def run(weights: Any, state: Any, data: Batches, config: ClientConfig) -> Any:
        for x, y, mask in zip(data.x, data.y, data.mask, strict=True):
            leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
            losses = nn.functional.cross_entropy(functional_call(net, leaves, (x,)), y, reduction="none")
            loss = (losses * mask).sum() / mask.sum().clamp(min=1)
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            with torch.no_grad():
                steps = zip(leaves.items(), gradients, strict=True)
                weights = {name: value - config.learning_rate * gradient for (name, value), gradient in steps}
        return weights, state, {}

    return run


def tasks() -> list[Task]:
    torch.manual_seed(0)
    perceptron, every = nets.mlp(64, 10, (32,)), ("autograd", "loop", "vmap", "numpy")
    return [
        Task("perceptron", perceptron, 100, False, every),
        Task("perceptron, 4 to 400 items", perceptron, 100, True, every),
        Task("perceptron", perceptron, 1_000, False, every),
        Task("perceptron", perceptron, 10_000, False, ("vmap", "numpy")),
        Task("cnn", cnn(), 100, False, ("autograd", "loop", "vmap")),
    ]


def deal(task: Task) -> tuple[Split, Partition]:
    """Items with replacement: 32 a client, or uneven ones."""
    train = digits().train
    split = train.take(np.random.default_rng(0).integers(0, len(train), task.clients * ITEMS))
    return split, quantity_skew(split, task.clients, 0.7, min_items=4) if task.uneven else iid(split, task.clients)


def seconds_per_round(
    task: Task, split: Split, partition: Partition, engine: str, rounds: int
) -> tuple[float, np.ndarray]:
    """Seconds of a round, the median of them, and the weights after so many."""
    laps = []
    like = initial_weights(task.net)
    now = flatten(like)
    plain = engine == "autograd"
    function = autograd_round(task.net) if plain else client_round(task.net)
    engine = "loop" if plain else engine
    for number in range(rounds):
        start = time.perf_counter()
        plan = schedule_round(partition, np.arange(task.clients), CONFIG, number=number)
        found = run_clients(
            split, plan, unflatten(now, like), CONFIG, function, engine=engine, net=task.net, pad_steps=True
        )
        now = federated_average(now, found.updates, partition.sizes)
        laps.append(time.perf_counter() - start)
    return float(np.median(laps)), now


def contest(task: Task, turns: int) -> dict[str, Any]:
    """Each engine's seconds a round, their ratios to the first, and how far the weights are apart."""
    split, partition = deal(task)
    times: dict[str, list[float]] = {engine: [] for engine in task.engines}
    ends = {}
    for turn in range(-1, turns):
        for engine in sorted(task.engines, reverse=bool(turn % 2)):
            seconds, ends[engine] = seconds_per_round(task, split, partition, engine, 1 if turn < 0 else 2)
            if turn >= 0:
                times[engine].append(seconds)
    first = task.engines[0]
    ratios = {}
    for engine in task.engines[1:]:
        each = np.array(times[first]) / np.array(times[engine])
        value, low, high = stats.percentile_interval(each, 50)[:3]
        ratios[engine] = Reading(value, "x", "measured", f"{turns} turns of two rounds against {first}", low, high)
    apart = max((float(np.abs(ends[first] - ends[engine]).max()) for engine in task.engines[1:]), default=0.0)
    medians = {engine: float(np.median(values)) for engine, values in times.items()}
    return {"task": task, "seconds": medians, "ratios": ratios, "apart": apart}


def accuracy_of(task: Task, weights: np.ndarray) -> float:
    """Fraction of the test digits that the network is right on."""
    test = digits().test
    net = network_with(task.net, unflatten(weights, initial_weights(task.net)))
    return float((nets.predict_logits(net, test.x).argmax(axis=1) == test.y).mean())


def beside_flower(clients: int, with_flower: bool) -> dict[str, Any]:
    """Ours and Flower's on the same clients: seconds a round, accuracy, and how far the weights are apart."""
    torch.manual_seed(0)
    task = Task("perceptron", nets.mlp(64, 10, (32,)), clients, False, ("numpy",))
    split, partition = deal(task)

    def ours() -> tuple[float, np.ndarray]:
        return seconds_per_round(task, split, partition, "numpy", ROUNDS)

    ours()
    turns = OUR_TURNS if with_flower else 1
    times, rows, apart = [ours()[0] for _ in range(turns)], [], 0.0
    theirs = None
    if with_flower:
        theirs = flower.run_apart(
            client_round(task.net), task.net, split, partition, rounds=ROUNDS, config=CONFIG, timeout_s=1800
        )
    for _ in range(turns):
        last, weights = ours()
        times.append(last)
    rows.append(("edgelab", clients, float(np.median(times)), accuracy_of(task, weights)))
    if theirs is not None:
        found = flatten(theirs.weights)
        apart = float(np.abs(found - weights).max())
        rows.append(
            (
                f"flower {theirs.version}",
                clients,
                float(np.median(theirs.seconds_per_round[1:])),
                accuracy_of(task, found),
            )
        )
    return {"rows": rows, "apart": apart, "ratio": rows[1][2] / rows[0][2] if theirs is not None else None}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--without-flower", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    watch, left_out, contests = Watch(), "", []
    with one_thread():
        for clients in (10, 100, 1_000, 10_000):
            wanted = clients <= MOST_FOR_FLOWER and not arguments.without_flower and not left_out
            try:
                contests.append(beside_flower(clients, wanted))
            except MissingFramework as error:
                left_out = f"Flower was left out: {error}"
                contests.append(beside_flower(clients, False))
        found = [contest(task, arguments.turns) for task in tasks()]
    apart = max(each["apart"] for each in contests)
    said = " ".join(
        f"Flower took {each['ratio']:.0f} times as long at {each['rows'][0][1]} clients."
        for each in contests
        if each["ratio"] is not None
    )
    rows = [row for each in contests for row in each["rows"]]
    engines = []
    for each in found:
        task, ratios = each["task"], each["ratios"]
        for engine, seconds in each["seconds"].items():
            engines.append((task.name, task.clients, engine, 1 / seconds, ratios.get(engine)))
    if arguments.json:
        keys = ("engine", "clients", "seconds_per_round", "accuracy")
        content = {
            "machine": machine().to_dict(),
            "rows": [dict(zip(keys, row, strict=True)) for row in rows],
            "max_weight_difference": apart,
            "times_flower": {str(each["rows"][0][1]): each["ratio"] for each in contests if each["ratio"] is not None},
            "left_out": left_out,
            "engines": [
                {"network": name, "clients": clients, "engine": engine, "seconds_per_round": 1 / rate,
                 "ratio": None if ratio is None else ratio.to_dict()}
                for name, clients, engine, rate, ratio in engines
            ],
            "engines_max_weight_difference": max(each["apart"] for each in found),
        }  # fmt: skip
        print(json.dumps(content, indent=1))
        return 0
    note = f"{machine().cpu}, {machine().cores} cores. {watch.complaint()}".strip()
    columns = ("engine", "clients", "seconds a round", f"right after {ROUNDS} rounds")
    print(Table("Beside Flower", columns, rows, f"Weights at most {apart:.1e} apart. {said} {left_out} {note}".strip()))
    shown = [(*row[:4], "" if row[4] is None else row[4].figure()) for row in engines]
    columns = ("network", "clients", "engine", "rounds a second", "over the first engine")
    far = max(each["apart"] for each in found)
    print(Table("Engines", columns, shown, f"Weights at most {far:.1e} apart."))
    return 0


if __name__ == "__main__":
    sys.exit(main())
