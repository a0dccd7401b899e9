"""Privacy: what updates give away, noise with a price, sums whose parts nobody sees, averages that a liar cannot move.

It protects and attacks what `edgelab.federated` sends. Names load when they are used: PyTorch is imported then, not
before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Attack": "membership",
    "FixedPoint": "masks",
    "NormBound": "robust",
    "PrivacyConfig": "training",
    "PrivateMean": "training",
    "Refused": "secure_client",
    "SecureMean": "secure_rounds",
    "SecureRound": "secure_rounds",
    "SecureSum": "secure_aggregation",
    "TrimmedMean": "robust",
    "invert_first_layer": "inversion",
    "judge_attack": "membership",
    "median": "robust",
    "private_rounds": "training",
    "private_sgd": "training",
    "search_input": "inversion",
    "secure_average": "secure_rounds",
    "secure_sum": "secure_aggregation",
}
__all__ = [
    "Attack",
    "FixedPoint",
    "NormBound",
    "PrivacyConfig",
    "PrivateMean",
    "Refused",
    "SecureMean",
    "SecureRound",
    "SecureSum",
    "TrimmedMean",
    "invert_first_layer",
    "judge_attack",
    "median",
    "private_rounds",
    "private_sgd",
    "search_input",
    "secure_average",
    "secure_sum",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
