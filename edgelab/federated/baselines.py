"""What federated learning is held against: one model of all items in one place, and one of each client's own.

Both see an item as often as the federated rounds do, from the same initial weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import nn

from edgelab.data.dataset import Split
from edgelab.federated.client import ClientConfig, Weights, client_round, initial_weights
from edgelab.federated.engines import flatten, run_clients, unflatten
from edgelab.federated.partition import Partition, iid
from edgelab.federated.schedule import schedule_round
from edgelab.federated.simulation import FederatedRun, simulate


def centralised(
    net: nn.Module,
    split: Split,
    config: ClientConfig,
    passes: int,
    seed: int = 0,
    evaluate_on: Split | None = None,
) -> FederatedRun:
    """Train a multilayer perceptron on all items in one place: one client, a pass over them in each round."""
    config = replace(config, epochs=1, proximal=0.0)
    return simulate(
        net,
        split,
        iid(split, 1, seed),
        rounds=passes,
        config=config,
        engine="numpy",
        evaluate_on=evaluate_on,
        seed=seed,
    )


def local_only(
    net: nn.Module, split: Split, partition: Partition, config: ClientConfig, passes: int, seed: int = 0
) -> list[Weights]:
    """The weights of every client that trains a multilayer perceptron on its own items alone."""
    config = replace(config, epochs=passes, proximal=0.0)
    weights = initial_weights(net)
    plan = schedule_round(partition, np.arange(partition.clients), config, seed)
    found = run_clients(split, plan, weights, config, client_round(net), engine="numpy", net=net)
    return [unflatten(flatten(weights) + update, weights) for update in found.updates]
