"""Ranges tensor by tensor: each may be that of another method, and a quantized network is changed in place for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgelab.compress.ptq import TensorRanges
from edgelab.posttraining.graph import constants
from edgelab.posttraining.judge import Judge, Score

WORTH = 0.98
"""A range is changed only if the divergence falls below this share of what it was: less is chance."""


def choose_ranges(
    quantize: Callable[[TensorRanges], bytes],
    candidates: Mapping[str, TensorRanges],
    start: str,
    judge: Judge,
    *,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> tuple[TensorRanges, Score, dict[str, str]]:
    """Tensor by tensor, take the range of the method whose quantized network diverges least, all others held.

    The network is quantized once; from then on the scales of one tensor change in it, which is several times as fast.

    Parameters
    ----------
    quantize
        From ranges to the quantized model.
    candidates
        The ranges by each method, of one network.
    start
        The method to start from.
    judge
        Measures the divergence.
    progress
        Wraps the list of tensors.

    Returns
    -------
    tuple
        The ranges, their score, and for each tensor that changed the method.
    """
    best = candidates[start]
    content = quantize(best)
    kept = judge(content)
    changed: dict[str, str] = {}
    for tensor in progress(list(best.ranges)):
        for method, other in candidates.items():
            if tensor not in other.ranges or _alike(other.ranges[tensor], best.ranges[tensor]):
                continue
            tried = replace(best, ranges={**best.ranges, tensor: other.ranges[tensor]})
            changed_file = with_range(content, tensor, other.ranges[tensor])
            tried_file = quantize(tried) if changed_file is None else changed_file
            found = judge(tried_file)
            if found.loss < WORTH * kept.loss:
                best, kept, content = tried, found, tried_file
                changed[tensor] = method
    return replace(best, method="by layer") if changed else best, kept, changed


def with_range(content: bytes, tensor: str, ends: tuple[float, float]) -> bytes | None:
    """A quantized model in which an activation has another range; None if it holds no scale of that tensor.

    A bias is stored with the product of the scales of its layer's input and weight, so it is stored anew.

    Parameters
    ----------
    content
        A model as ONNX Runtime's quantizer makes it, activations in unsigned 8 bits.
    tensor
        The activation.
    ends
        The range; it gets to hold 0.
    """
    import onnx

    model = onnx.load_from_string(content)
    known = constants(model)
    scale, zero = known.get(f"{tensor}_scale"), known.get(f"{tensor}_zero_point")
    if scale is None or zero is None or zero.data_type != onnx.TensorProto.UINT8 or len(scale.dims):
        return None
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    if not high - low > np.finfo(np.float32).tiny:
        return None
    step = np.float32((high - low) / 255)
    ratio = float(step) / float(onnx.numpy_helper.to_array(scale))
    _store(scale, step)
    _store(zero, np.uint8(np.clip(round(-low / float(step)), 0, 255)))
    makers = {name: node for node in model.graph.node for name in node.output}
    done = set()
    for node in model.graph.node:
        inputs = [makers.get(name) for name in node.input]
        if len(inputs) < 3 or any(n is None or n.op_type != "DequantizeLinear" for n in inputs[:3]):
            continue
        source, _, bias = inputs[:3]
        assert source is not None
        assert bias is not None
        if source.input[1] != scale.name or bias.input[0] in done or not {*bias.input[:2]} <= set(known):
            continue
        done.add(bias.input[0])
        integers, unit = known[bias.input[0]], known[bias.input[1]]
        most = np.iinfo(np.int32)
        again = np.rint(onnx.numpy_helper.to_array(integers) / ratio)
        _store(integers, np.clip(again, most.min, most.max).astype(np.int32))
        _store(unit, np.asarray(onnx.numpy_helper.to_array(unit) * ratio, np.float32))
    changed: bytes = model.SerializeToString()
    return changed


def _store(constant: Any, array: Any) -> None:
    import onnx

    constant.CopyFrom(onnx.numpy_helper.from_array(np.asarray(array), constant.name))


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    span = max(one[1] - one[0], 1e-30)
    return abs(one[0] - other[0]) < 0.005 * span and abs(one[1] - other[1]) < 0.005 * span
