"""Which operators of a .tflite file Google's Edge TPU takes, by the list that Coral publishes.

Quoted, not tried: the compiler alone decides, and it knows limits of shapes and fused activations that the list
states in words. Source: https://coral.ai/docs/edgetpu/models-intro/#supported-operations
"""

from __future__ import annotations

import os

from edgelab.measure.inspect import inspect_model
from edgelab.reading import Table

SOURCE = "https://coral.ai/docs/edgetpu/models-intro/#supported-operations"
SUPPORTED = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "EXPAND_DIMS",
        "FULLY_CONNECTED", "L2_NORMALIZATION", "LOGISTIC", "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "MAXIMUM",
        "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "PACK", "PAD", "PRELU", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN",
        "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE",
        "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SQUARED_DIFFERENCE", "SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "TANH",
        "TRANSPOSE", "TRANSPOSE_CONV",
    }
)  # fmt: skip
"""The published list, by the names that TensorFlow Lite's schema has for its operators."""
_INTEGERS = frozenset({"int8", "uint8"})


def edge_tpu_coverage(path: str | os.PathLike[str]) -> Table:
    """A row for each kind of operator: how many, on the list or not, and in integers or not.

    The Edge TPU takes files alone that are quantized to 8 bits throughout, so an operator in float32 stays on the CPU,
    and so does all that comes after the first operator that it does not take.

    Raises
    ------
    BadFile
        If the file is no sound .tflite file.
    """
    report = inspect_model(path)
    kinds: dict[str, list[bool]] = {}
    for layer in report.layers:
        kinds.setdefault(layer.type, []).append(layer.dtype in _INTEGERS)
    rows = [
        (kind, len(whole), "yes" if kind in SUPPORTED else "no", "yes" if all(whole) else "no")
        for kind, whole in kinds.items()
    ]
    taken = sum(len(whole) for kind, whole in kinds.items() if kind in SUPPORTED and all(whole))
    title = f"{taken} of {len(report.layers)} operators are on the Edge TPU's list and in 8-bit integers"
    note = f"Quoted: Coral, the list of supported operations, {SOURCE}. The operators are those of the file."
    return Table(title, ("operator", "how many", "on the list", "in integers"), rows, note)
