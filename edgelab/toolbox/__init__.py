"""What takes several rooms at once: a team's own network in, a smaller network, a report and a file out.

Names load when they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"TeacherFile": "distilling", "distill": "distilling"}
__all__ = [*_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
