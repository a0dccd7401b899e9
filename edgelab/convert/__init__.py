"""A network in, a model file out.

`to_onnx`, `to_tflite` and `to_coreml` take the same arguments; `edgelab.toolbox.convert` checks a file against its
source before it is kept.

Names load when they are used: a framework is imported then, not before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Converted": "exported",
    "export_int8": "tflite",
    "save_converted": "keras",
    "tensorflow": "keras",
    "to_coreml": "exported",
    "to_onnx": "exported",
    "to_tflite": "exported",
}
__all__ = [
    "Converted",
    "export_int8",
    "save_converted",
    "tensorflow",
    "to_coreml",
    "to_onnx",
    "to_tflite",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
