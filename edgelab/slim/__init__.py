"""Networks with fewer weights: pruning, distillation into a smaller network, and layers of low rank.

Pruning: ``prune`` sets weights to zero, ``prune_groups`` and ``prune_filters`` take filters out, ``prune_train``
trains on, ``prune_packed`` counts bytes, ``prune_audit`` says what a tool did. Distillation: ``distill`` holds the
losses, ``distill_training`` trains a student. Low rank: ``lowrank`` makes two thin layers of one,
``lowrank_adapters`` learns thin corrections (LoRA) and merges them, ``lowrank_plain`` holds the steps by hand.
`edgelab.toolbox.prune` and `edgelab.toolbox.distill` do all of it for a network of one's own. Fewer bits are
`edgelab.compress`.

Names load when they are used: PyTorch is imported then, not before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Recipe": "distill_training",
    "adapted": "lowrank_adapters",
    "apply_masks": "prune",
    "ask": "distill_training",
    "audit": "prune_audit",
    "break_even": "lowrank",
    "distillation_loss": "distill",
    "factorise_layer": "lowrank",
    "factorised": "lowrank",
    "fine_tune": "prune_train",
    "kd_loss": "distill",
    "magnitude_masks": "prune",
    "merge": "lowrank_adapters",
    "narrowed": "prune_filters",
    "packed_sizes": "prune_packed",
    "rank_for_energy": "lowrank",
    "soft_targets": "distill",
    "teach": "distill_training",
}
__all__ = [
    "Recipe",
    "adapted",
    "apply_masks",
    "ask",
    "audit",
    "break_even",
    "distillation_loss",
    "factorise_layer",
    "factorised",
    "fine_tune",
    "kd_loss",
    "magnitude_masks",
    "merge",
    "narrowed",
    "packed_sizes",
    "rank_for_energy",
    "soft_targets",
    "teach",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
