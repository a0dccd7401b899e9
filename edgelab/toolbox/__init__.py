"""What takes several rooms at once: a trained network as a file of another format, checked before it is kept.

Names load when they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"Conversion": "conversion", "convert": "conversion"}
__all__ = ["Conversion", "convert"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
