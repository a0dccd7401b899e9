"""What takes several rooms at once: a team's own network in; a smaller one or another format, a report and a file out.

Names load when they are used; importing this loads no framework.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Conversion": "conversion",
    "TeacherFile": "distilling",
    "convert": "conversion",
    "distill": "distilling",
    "prune": "pruning",
    "quantize": "quantizing",
    "quantize_aware": "aware",
    "what_ran": "ran",
}
__all__ = ["Conversion", "TeacherFile", "convert", "distill", "prune", "quantize", "quantize_aware", "what_ran"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
