"""Federated learning in one process: clients that keep their items, a server that averages what they learnt.

A client's round is one pure function; `edgelab.federated.client` says which, `edgelab.federated.engines` runs it for
many clients, and `edgelab.federated.flower` runs the same one on Flower. A server's rule is a function of weights,
updates and sizes beside `edgelab.federated.aggregate.federated_average`; another way for a client to train (another
loss, a correction that it keeps in its state) is a function beside `client_round`. Names load when they are used:
PyTorch is imported then, not before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Batches": "client",
    "ClientConfig": "client",
    "FederatedRun": "simulation",
    "Float32": "messages",
    "Int8": "messages",
    "Partition": "partition",
    "TopK": "messages",
    "client_round": "client",
    "dirichlet_labels": "partition",
    "draw_fleet": "fleet",
    "evaluate_clients": "evaluate",
    "evaluate_groups": "evaluate",
    "feature_skew": "partition",
    "federated_average": "aggregate",
    "iid": "partition",
    "initial_weights": "client",
    "quantity_skew": "partition",
    "run_clients": "engines",
    "schedule_round": "schedule",
    "sensor_bias": "partition",
    "simulate": "simulation",
    "slope_of": "client",
}
__all__ = [
    "Batches",
    "ClientConfig",
    "FederatedRun",
    "Float32",
    "Int8",
    "Partition",
    "TopK",
    "client_round",
    "dirichlet_labels",
    "draw_fleet",
    "evaluate_clients",
    "evaluate_groups",
    "feature_skew",
    "federated_average",
    "iid",
    "initial_weights",
    "quantity_skew",
    "run_clients",
    "schedule_round",
    "sensor_bias",
    "simulate",
    "slope_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
