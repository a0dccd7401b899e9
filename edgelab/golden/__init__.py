"""Golden data sets: a reference's answers to fixed inputs, kept in a file, and other files of the network held to them.

``make`` writes one, ``check`` judges model files of any format by it and finds the first layer that diverges. Names
load when they are used; importing this loads no framework.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Golden": "file",
    "GoldenMade": "dataset",
    "GoldenReport": "report",
    "check": "dataset",
    "make": "dataset",
    "read_golden": "file",
}
__all__ = [
    "Golden",
    "GoldenMade",
    "GoldenReport",
    "check",
    "make",
    "read_golden",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
