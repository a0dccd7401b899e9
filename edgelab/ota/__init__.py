"""Updates over the air: releases that a device can trust, rollouts that stop a bad one, and fleets to try them on.

Names load when they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "LogHistogram": "histogram",
}
__all__ = [
    "LogHistogram",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
