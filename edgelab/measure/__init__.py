"""How fast, how right, side by side. Names load when they are used; importing this loads no framework."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "difference": "losses",
    "divergence": "quality",
    "evaluate": "quality",
    "first_inference": "latency",
    "group_differences": "losses",
    "inspect_model": "inspect",
    "loss_contrast": "losses",
    "load_arrays": "edgelab.feeding",
    "measure_latency": "latency",
    "save_arrays": "edgelab.feeding",
    "sweep": "latency",
    "top_k": "quality",
}
__all__ = [*_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    return getattr(importlib.import_module(home if "." in home else f"{__name__}.{home}"), name)
