"""How right a global model is: for everybody together, by group, and for each client on its own items."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab.data.dataset import Split
from edgelab.errors import BadInput
from edgelab.federated.client import Weights
from edgelab.federated.partition import Partition
from edgelab.measure import quality
from edgelab.nets.trainer import predict_logits
from edgelab.reading import Table

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClientsQuality:
    """Accuracy in percent of each client on its own items, (clients,), NaN where it has none; and the items."""

    accuracy: Floats
    items: NDArray[np.int64]

    @property
    def by_item(self) -> float:
        """Mean over all items, percent: large clients count more."""
        held = self.items > 0
        return float(np.average(self.accuracy[held], weights=self.items[held]))

    @property
    def by_client(self) -> float:
        """Mean over the clients, percent: each counts once."""
        return float(np.nanmean(self.accuracy))

    @property
    def tenth(self) -> float:
        """What a tenth of the clients do not reach, percent."""
        return float(np.nanpercentile(self.accuracy, 10))

    @property
    def worst_client(self) -> int:
        """The client with the lowest accuracy."""
        return int(np.nanargmin(self.accuracy))

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "accuracy": [None if np.isnan(value) else float(value) for value in self.accuracy],
            "items": self.items.tolist(),
            "by_item": self.by_item,
            "by_client": self.by_client,
            "tenth": self.tenth,
            "worst_client": self.worst_client,
        }

    def _repr_markdown_(self) -> str:
        worst = self.worst_client
        rows = [
            ("mean over items", self.by_item, int(self.items.sum())),
            ("mean over clients", self.by_client, int(self.items.sum())),
            ("a tenth of the clients is below", self.tenth, None),
            (f"worst: client {worst}", float(self.accuracy[worst]), int(self.items[worst])),
        ]
        return Table("Each client on its own items", ("of", "right (%)", "items"), rows)._repr_markdown_()


def network_with(net: nn.Module, weights: Weights) -> nn.Module:
    """A copy of the network with other weights, in evaluation mode.

    Raises
    ------
    BadInput
        If the weights are not those of such a network.
    """
    filled = copy.deepcopy(net)
    for name, value in filled.named_parameters():
        if name not in weights or weights[name].shape != value.shape:
            raise BadInput(f"The weights are of another network: it needs '{name}' of shape {tuple(value.shape)}.")
    with torch.no_grad():
        for name, value in filled.named_parameters():
            value.copy_(weights[name])
    return filled.eval()


def evaluate_groups(
    net: nn.Module, weights: Weights, split: Split, class_names: Sequence[str] | None = None
) -> quality.Quality:
    """Accuracy of the weights on a split: overall, by class and by each of its groups, with intervals."""
    logits = predict_logits(network_with(net, weights), split.x)
    return quality.evaluate(logits, None, split.y, split.groups, class_names)


def evaluate_clients(net: nn.Module, weights: Weights, split: Split, partition: Partition) -> ClientsQuality:
    """Accuracy of the weights for each client of a partition of this split, as `Partition.hold_out` makes one.

    Raises
    ------
    BadInput
        If the partition is not of this split.
    """
    if not np.array_equal(partition.labels, split.y):
        raise BadInput("The partition was not made of this split; pass the split that it was made of.")
    correct = predict_logits(network_with(net, weights), split.x).argmax(axis=1) == split.y
    accuracy = [100 * correct[index].mean() if len(index) else np.nan for index in partition.indices]
    return ClientsQuality(np.array(accuracy), partition.sizes)
