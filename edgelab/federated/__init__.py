"""Federated learning in one process: clients that keep their items, a server that averages what they learnt.

A client's round is one pure function; `edgelab.federated.client` says which, and an app of another framework can call
the same. Names load when they are used: PyTorch is imported then, not before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Attack": "membership",
    "Batches": "client",
    "ClientConfig": "client",
    "FederatedRun": "simulation",
    "FixedPoint": "masks",
    "Float32": "messages",
    "Int8": "messages",
    "NormBound": "robust",
    "Partition": "partition",
    "PrivacyConfig": "privacy",
    "PrivateMean": "privacy",
    "Refused": "secure_client",
    "SecureMean": "secure_rounds",
    "SecureRound": "secure_rounds",
    "SecureSum": "secure_aggregation",
    "TopK": "messages",
    "TrimmedMean": "robust",
    "client_round": "client",
    "dirichlet_labels": "partition",
    "draw_fleet": "fleet",
    "evaluate_clients": "evaluate",
    "evaluate_groups": "evaluate",
    "feature_skew": "partition",
    "federated_average": "aggregate",
    "iid": "partition",
    "initial_weights": "client",
    "invert_first_layer": "inversion",
    "judge_attack": "membership",
    "median": "robust",
    "private_rounds": "privacy",
    "private_sgd": "privacy",
    "quantity_skew": "partition",
    "run_clients": "engines",
    "schedule_round": "schedule",
    "search_input": "inversion",
    "secure_average": "secure_rounds",
    "secure_sum": "secure_aggregation",
    "sensor_bias": "partition",
    "simulate": "simulation",
}
__all__ = [
    "Attack",
    "Batches",
    "ClientConfig",
    "FederatedRun",
    "FixedPoint",
    "Float32",
    "Int8",
    "NormBound",
    "Partition",
    "PrivacyConfig",
    "PrivateMean",
    "Refused",
    "SecureMean",
    "SecureRound",
    "SecureSum",
    "TopK",
    "TrimmedMean",
    "client_round",
    "dirichlet_labels",
    "draw_fleet",
    "evaluate_clients",
    "evaluate_groups",
    "feature_skew",
    "federated_average",
    "iid",
    "initial_weights",
    "invert_first_layer",
    "judge_attack",
    "median",
    "private_rounds",
    "private_sgd",
    "quantity_skew",
    "run_clients",
    "schedule_round",
    "search_input",
    "secure_average",
    "secure_sum",
    "sensor_bias",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
