"""The quantizer as plain functions of numbers and arrays, as a learner writes it by hand.

They take and give what stands on paper: a scale, a zero point, integers. What they compute is `affine`'s mapping; only
the form differs. A lab lets its learner write each of them, and uses these until the learner's own passes its check.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(CVPR 2018), equations 1 to 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.compress import affine
from edgelab.errors import BadInput

SHARES = tuple(np.linspace(0.2, 1.0, 33).round(3).tolist())
"""Shares of the full range that `best_range` tries."""


def scale_and_zero_point(low: float, high: float, bits: int = 8) -> tuple[float, int]:
    """Scale and zero point that map the real range to the integers 0 to ``2**bits - 1``.

    The range is widened to hold 0, and a range that is 0 alone gets a scale of 1.

    Raises
    ------
    BadInput
        If the range is not finite or runs downwards, or ``bits`` is not 2 to 16.

    Examples
    --------
    >>> scale_and_zero_point(0.0, 2.4, bits=4)
    (0.16, 0)
    """
    affine.affine_parameters(low, high, bits)  # its refusals are ours
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    steps = (1 << bits) - 1
    scale = (high - low) / steps or 1.0
    return scale, round(-low / scale)


def quantize(values: ArrayLike, scale: float, zero_point: int, bits: int = 8) -> NDArray[Any]:
    """Real numbers to the integers 0 to ``2**bits - 1``: divide, round half to even, shift, saturate.

    Returns
    -------
    uint8 up to 8 bits, else uint16, in the shape of ``values``.

    Examples
    --------
    >>> quantize([0.7, 9.0, -1.0], 0.16, 0, bits=4).tolist()
    [4, 15, 0]
    """
    integers = np.rint(np.asarray(values) / scale) + zero_point
    saturated: NDArray[Any] = np.clip(integers, 0, (1 << bits) - 1).astype(np.uint8 if bits <= 8 else np.uint16)
    return saturated


def dequantize(integers: ArrayLike, scale: float, zero_point: int) -> NDArray[np.float64]:
    """Integers back to real numbers: subtract the zero point, multiply by the scale.

    Examples
    --------
    >>> dequantize([4, 15], 0.25, 3).tolist()
    [0.25, 3.0]
    """
    return scale * (np.asarray(integers, dtype=np.float64) - zero_point)


def best_range(values: ArrayLike, bits: int = 8, shares: Sequence[float] = SHARES) -> tuple[float, float]:
    """The part of the full range whose quantized values lie nearest to the real ones.

    Both ends are multiplied by each of ``shares`` in turn; the pair with the smallest mean squared error wins.

    Parameters
    ----------
    values
        What a tensor held over the calibration set, any shape.
    bits
        Width of the integers.
    shares
        Parts of the full range to try, each above 0.

    Raises
    ------
    BadInput
        If there are no values, or no shares.

    Examples
    --------
    >>> best_range([0.0, 1.0, 2.0, 3.0], bits=2)
    (0.0, 3.0)
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not len(shares):
        raise BadInput("A range is chosen from at least one value and one share.")
    ends = [(float(share * array.min()), float(share * array.max())) for share in shares]

    def error(candidate: tuple[float, float]) -> float:
        scale, zero_point = scale_and_zero_point(min(candidate[0], 0.0), max(candidate[1], 0.0), bits)
        back = dequantize(quantize(array, scale, zero_point, bits), scale, zero_point)
        return float(np.mean((array - back) ** 2))

    return min(ends, key=error)


def quantize_per_channel(weight: ArrayLike, bits: int = 8) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric integers of a weight (out, ...) with one scale for each output channel, as ONNX Runtime stores them.

    Returns
    -------
    The integers, int8 in the shape of ``weight``, and the scales, float32 (out,). A channel of zeros has the scale
    of one whole step.

    Raises
    ------
    BadInput
        If ``weight`` has no channels or holds NaN, or ``bits`` is not 2 to 8.

    Examples
    --------
    >>> integers, scale = quantize_per_channel([[1.27, -0.01], [12.7, 0.0]])
    >>> integers.tolist(), [round(float(step), 3) for step in scale]
    ([[127, -1], [127, 0]], [0.01, 0.1])
    """
    if not 2 <= bits <= 8:
        raise BadInput(f"bits={bits} is not 2 to 8.")
    chosen = affine.per_channel(weight, 0, bits)
    return affine.quantize(weight, chosen), chosen.scale


def integer_layer(
    x: NDArray[Any],
    zero_x: int,
    weight: NDArray[Any],
    bias: NDArray[Any],
    multiplier: ArrayLike,
    zero_out: int,
) -> NDArray[np.uint8]:
    """A linear or 1x1 convolution layer whose inner loop holds integers alone.

    Parameters
    ----------
    x, zero_x
        Inputs (items, in), uint8, and their zero point.
    weight
        Integers (out, in), int8, symmetric.
    bias
        Integers (out,), int32, in steps of input scale times weight scale.
    multiplier
        Input scale times weight scale over output scale, a number or (out,).
    zero_out
        Zero point of the outputs.

    Returns
    -------
    Outputs (items, out), uint8.

    Examples
    --------
    >>> integer_layer(np.uint8([[120, 30]]), 20, np.int8([[50, -80]]), np.int32([0]), 0.01, 3).tolist()
    [[45]]
    """
    sums = (np.asarray(x, dtype=np.int32) - zero_x) @ np.asarray(weight, dtype=np.int32).T + bias
    outputs: NDArray[np.uint8] = np.clip(np.rint(sums * multiplier) + zero_out, 0, 255).astype(np.uint8)
    return outputs
