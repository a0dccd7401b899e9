"""The steps of federated averaging one at a time, on weights by name: to be read, and held against a learner's own.

`edgelab.federated.simulation` does the same on vectors, for many clients at once.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgelab.data.dataset import Split
from edgelab.errors import BadInput
from edgelab.federated.client import Batches, ClientConfig, Weights
from edgelab.federated.partition import Partition
from edgelab.federated.schedule import schedule_round

Floats = NDArray[np.float32]
Train = Callable[[Weights, int], Weights]
"""From the weights that a round begins with and a client's number to the client's new weights."""


def average(models: Sequence[Weights], sizes: Sequence[int]) -> dict[str, torch.Tensor]:
    """The mean of the models by name, each weighted by its client's number of items.

    Raises
    ------
    BadInput
        If there is no model, not one size each, no item at all, or a model has other names than the first.

    Examples
    --------
    >>> average([{"w": torch.tensor([1.0])}, {"w": torch.tensor([4.0])}], [2, 1])["w"].tolist()
    [2.0]
    """
    if not models or len(models) != len(sizes):
        raise BadInput(f"{len(models)} models and {len(sizes)} sizes: there must be a model, and one size each.")
    total = sum(sizes)
    if not total > 0:
        raise BadInput("The clients have no items, so their models have no weights in a mean.")
    if any(set(model) != set(models[0]) for model in models):
        raise BadInput("All models of an average need the same names.")
    return {
        name: torch.stack([model[name] * (size / total) for model, size in zip(models, sizes, strict=True)]).sum(dim=0)
        for name in models[0]
    }


def one_round(weights: Weights, chosen: Sequence[int], train: Train, sizes: Sequence[int]) -> dict[str, torch.Tensor]:
    """A round of FedAvg: each chosen client trains from the same weights, and their models are averaged by size.

    ``sizes`` are those of all clients.
    """
    return average([train(weights, client) for client in chosen], [sizes[client] for client in chosen])


def keeping_round(
    weights: Weights, local: MutableSequence[Weights], chosen: Sequence[int], train: Train, sizes: Sequence[int]
) -> dict[str, torch.Tensor]:
    """The same for a server that keeps the last model of every client in ``local``, which is changed in place."""
    for client in chosen:
        local[client] = train(weights, client)
    return average([local[client] for client in chosen], [sizes[client] for client in chosen])


def top_k(update: Floats, kept: Floats, share: float) -> tuple[Floats, Floats]:
    """What a client sends of an update (P,) and what it kept back before (P,), and what it now keeps back.

    The share of the values that are largest in magnitude is sent, at least one; the rest stays for the next round.

    Examples
    --------
    >>> sent, kept = top_k(np.array([0.5, -2, 0.1, 1]), np.zeros(4), 0.5)
    >>> sent.tolist(), kept.tolist()
    ([0.0, -2.0, 0.0, 1.0], [0.5, 0.0, 0.1, 0.0])
    """
    whole = update + kept
    largest = np.argsort(-np.abs(whole))[: max(1, round(share * len(whole)))]
    sent = np.zeros_like(whole)
    sent[largest] = whole[largest]
    return sent, whole - sent


def batches_of(
    split: Split, partition: Partition, client: int, config: ClientConfig, seed: int = 0, number: int = 0
) -> Batches:
    """What a client trains on in round ``number``, in the order in which `simulate` has it, too."""
    index, mask = schedule_round(partition, [client], config, seed, number).batches([0])
    return Batches(*map(torch.from_numpy, (split.x[index[0]], split.y[index[0]], mask[0])))
