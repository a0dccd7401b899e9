"""A model file as data: what is in it, how large it is, whether two are the same. Nothing here runs a model."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "TfliteWriter": "tflite_writer",
    "existing_file": "formats",
    "folder_bytes": "mlpackage",
    "folder_hash": "mlpackage",
    "is_mlpackage": "mlpackage",
    "model_format": "formats",
}
__all__ = ["TfliteWriter", "existing_file", "folder_bytes", "folder_hash", "is_mlpackage", "model_format"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
