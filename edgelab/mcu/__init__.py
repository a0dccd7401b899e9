"""Microcontrollers without a board: what a model needs of one, and its code on an emulated core.

The verdict on devices is `edgelab.mcu.fit.fit`: a module and its function share that name.

Names load when they are used: a framework is imported then, not before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Device": "devices",
    "Model": "model",
    "all_devices": "devices",
    "build_firmware": "firmware",
    "check_operators": "operators",
    "compile_firmware": "compiler",
    "find_device": "devices",
    "plan_arena": "arena",
    "plan_buffers": "plans",
    "quantization_header": "project",
    "read_model": "model",
    "run_firmware": "emulator",
}
__all__ = [
    "Device",
    "Model",
    "all_devices",
    "build_firmware",
    "check_operators",
    "compile_firmware",
    "find_device",
    "plan_arena",
    "plan_buffers",
    "quantization_header",
    "read_model",
    "run_firmware",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
