"""What goes into a model file: arrays from .npz files, matched to its inputs; shapes and values where none are given.

Names load when they are used; importing this loads no framework.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Arrays": "arrays",
    "Feed": "plan",
    "FeedOptions": "options",
    "ModelFile": "plan",
    "load_arrays": "arrays",
    "match_inputs": "matching",
    "match_outputs": "matching",
    "plan_feeds": "plan",
    "read_facts": "facts",
    "save_arrays": "arrays",
}
__all__ = [*_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
