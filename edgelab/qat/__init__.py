"""Quantization-aware training: a network learns with its rounding on, and its integers go into a real file.

``rules`` are the functions that a learner writes (rounding with its gradient, folding, observing, freezing, the
training step), ``prepare`` puts them into a network, ``training`` trains it, ``onnx_file`` writes its integers down,
``torch_tools`` drives PyTorch's own tools beside them.

Names load when they are used: a framework is imported then, not before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Freeze": "training",
    "QatFile": "onnx_file",
    "Rules": "rules",
    "Trained": "training",
    "calibrate": "prepare",
    "qat": "training",
    "write_onnx": "onnx_file",
}
__all__ = [
    "Freeze",
    "QatFile",
    "Rules",
    "Trained",
    "calibrate",
    "qat",
    "write_onnx",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
