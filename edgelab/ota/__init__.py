"""Updates over the air: releases that are signed, devices that cannot be left without a model that works.

`Publisher` signs, `make_server` hands out, `Device` installs, tries, and commits or rolls back. `Flash` and
`cut_everywhere` cut its power after every operation. Names load when they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Card": "manifest",
    "Device": "device",
    "DiskStorage": "storage",
    "Flash": "flash",
    "Manifest": "manifest",
    "Publisher": "publisher",
    "Refused": "manifest",
    "apply_delta": "deltas",
    "best_delta": "deltas",
    "cut_everywhere": "powercut",
    "initialise": "publisher",
    "make_server": "server",
    "open_device": "agent",
    "publish": "release",
    "serving": "server",
    "status": "agent",
    "write_file": "storage",
}
__all__ = [
    "Card",
    "Device",
    "DiskStorage",
    "Flash",
    "Manifest",
    "Publisher",
    "Refused",
    "apply_delta",
    "best_delta",
    "cut_everywhere",
    "initialise",
    "make_server",
    "open_device",
    "publish",
    "serving",
    "status",
    "write_file",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
