"""Networks with fewer weights: pruning, and distillation into a smaller network.

Pruning: ``prune`` sets weights to zero, ``prune_groups`` and ``prune_filters`` take filters out, ``prune_train`` trains
on, ``prune_packed`` counts bytes, ``prune_audit`` says what a tool did. Distillation: ``distill`` holds the losses,
``distill_training`` trains a student. `edgelab.toolbox.prune` and `edgelab.toolbox.distill` do all of it for a network
of one's own. Fewer bits are `edgelab.compress`.

Names load when they are used: PyTorch is imported then, not before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Recipe": "distill_training",
    "apply_masks": "prune",
    "ask": "distill_training",
    "adapted": "lowrank_adapters",
    "audit": "prune_audit",
    "distillation_loss": "distill",
    "fine_tune": "prune_train",
    "kd_loss": "distill",
    "magnitude_masks": "prune",
    "narrowed": "prune_filters",
    "packed_sizes": "prune_packed",
    "soft_targets": "distill",
    "teach": "distill_training",
}
__all__ = [
    "Recipe",
    "apply_masks",
    "ask",
    "audit",
    "distillation_loss",
    "fine_tune",
    "kd_loss",
    "magnitude_masks",
    "narrowed",
    "packed_sizes",
    "soft_targets",
    "teach",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
