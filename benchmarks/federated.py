"""Rounds a second of the three engines of `edgelab.federated`, on the same clients, measured in turn in one run.

A round is every client's training and the average; digits drawn with replacement, equal and uneven sizes. The engines
take turns, and each ratio is the median over the turns. Beside them stands ``autograd``, the loop with a round written
in PyTorch's usual way, which costs less a call than `torch.func`: ratios are to this faster loop where it runs.
Targets: over one round a second of stacked NumPy at 10,000 clients of 32 items; a small CNN by vmap at least 4 times
the loop.
Usage: ``python benchmarks/federated.py [--turns N] [--json]``.
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
from edgelab.federated import (
    Batches,
    ClientConfig,
    Partition,
    client_round,
    federated_average,
    iid,
    initial_weights,
    quantity_skew,
    run_clients,
    schedule_round,
)
from edgelab.federated.engines import flatten, one_thread, unflatten
from edgelab.measure import stats
from edgelab.measure.machine import Watch, machine

ITEMS = 32


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
    """Seconds of a round, and the weights after so many."""
    config = ClientConfig()
    like = initial_weights(task.net)
    now = flatten(like)
    plain = engine == "autograd"
    function = autograd_round(task.net) if plain else client_round(task.net)
    engine = "loop" if plain else engine
    start = time.perf_counter()
    for number in range(rounds):
        plan = schedule_round(partition, np.arange(task.clients), config, number=number)
        found = run_clients(
            split, plan, unflatten(now, like), config, function, engine=engine, net=task.net, pad_steps=True
        )
        now = federated_average(now, found.updates, partition.sizes)
    return (time.perf_counter() - start) / rounds, now


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    watch = Watch()
    with one_thread():
        found = [contest(task, arguments.turns) for task in tasks()]
    apart = max(each["apart"] for each in found)
    note = f"{machine().cpu}, {machine().cores} cores. {watch.complaint()}".strip()
    rows = []
    for each in found:
        task, ratios = each["task"], each["ratios"]
        for engine, seconds in each["seconds"].items():
            rows.append((task.name, task.clients, engine, 1 / seconds, ratios.get(engine)))
    if arguments.json:
        listed = [
            {"network": name, "clients": clients, "engine": engine, "seconds_per_round": 1 / rate,
             "ratio": None if ratio is None else ratio.to_dict()}
            for name, clients, engine, rate, ratio in rows
        ]  # fmt: skip
        print(json.dumps({"machine": machine().to_dict(), "rows": listed, "max_weight_difference": apart}, indent=1))
    else:
        shown = [(*row[:4], "" if row[4] is None else row[4].figure()) for row in rows]
        columns = ("network", "clients", "engine", "rounds a second", "over the first engine")
        print(Table("Federated rounds", columns, shown, f"Weights at most {apart:.1e} apart. {note}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
