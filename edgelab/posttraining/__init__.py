"""Steps after training that bring a quantized network nearer to the float one, each a pure function on an ONNX graph.

``equalisation``, ``dead``, ``clips``, ``bias`` and ``rounding`` change a float model so that it quantizes well;
``static`` and ``storage`` write the integers; ``search`` tries the steps and keeps those that help.

Names load when they are used; importing this loads no framework.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "as_relu": "clips",
    "channel_groups": "channels",
    "channel_statistics": "statistics",
    "correct_biases": "bias",
    "equalise": "equalisation",
    "judge_of": "judge",
    "looks_unreal": "noise",
    "round_layers": "rounding",
    "search_static": "search",
    "search_weights": "weight_search",
    "still": "dead",
    "store": "storage",
}
__all__ = [*_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
