"""Quantization of trained networks: the affine mapping, calibration, and the real quantizers.

Each module stands alone and imports only the framework it is about: ``affine`` and ``calibration`` need numpy,
``ptq`` ONNX Runtime, ``weights`` and ``backends`` PyTorch. Training with the rounding on is `edgelab.qat`; networks
with fewer weights, by pruning and distillation, are made in `edgelab.slim`.

Names load when they are used: a framework is imported then, not before.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Quantized": "modelfile",
    "collect_ranges": "ptq",
    "fake_quantize": "affine",
    "fake_quantize_weights": "weights",
    "fold_batch_norm": "weights",
    "per_channel": "affine",
    "quantize_dynamic": "ptq",
    "quantize_for_backend": "backends",
    "quantize_static": "ptq",
    "quantize_weights": "weight_only",
    "sqnr_db": "affine",
    "stored_integers": "stored",
}
__all__ = [
    "Quantized",
    "collect_ranges",
    "fake_quantize",
    "fake_quantize_weights",
    "fold_batch_norm",
    "per_channel",
    "quantize_dynamic",
    "quantize_for_backend",
    "quantize_static",
    "quantize_weights",
    "sqnr_db",
    "stored_integers",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
