"""Small reference networks in PyTorch, one trainer, and trained checkpoints with the recipe of each.

Names load when they are used: PyTorch is imported then, not before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "activations": "inspection",
    "available": "checkpoints",
    "cnn1d": "networks",
    "count_macs": "inspection",
    "count_parameters": "inspection",
    "dscnn": "networks",
    "load": "checkpoints",
    "make": "checkpoints",
    "mlp": "networks",
    "mobilenet_v3_small": "networks",
    "predict_logits": "trainer",
    "resnet": "networks",
    "train": "trainer",
}
__all__ = [
    "activations",
    "available",
    "cnn1d",
    "count_macs",
    "count_parameters",
    "dscnn",
    "load",
    "make",
    "mlp",
    "mobilenet_v3_small",
    "predict_logits",
    "resnet",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
