"""The affine mapping between real numbers and small integers.

``real = scale * (quantized - zero_point)``: the equation of every integer runtime. What is computed here is,
bit for bit, what the ONNX operators QuantizeLinear and DequantizeLinear compute.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (CVPR 2018); ONNX operator specification, QuantizeLinear and DequantizeLinear, opset 21.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput

MIN_BITS, MAX_BITS = 2, 16


@dataclass(frozen=True, eq=False)
class Affine:
    """Scale and zero point of one tensor, or of each channel along ``axis``.

    Parameters
    ----------
    scale
        Size of one step, float32, greater than 0: a number, or one per channel.
    zero_point
        The integer that stands for 0.0, of the same shape as ``scale``.
    bits
        Width of the integers, 2 to 16.
    signed
        Two's complement (-128 to 127 for 8 bits) or unsigned (0 to 255).
    axis
        The channel axis where scale and zero point are one per channel, else None.

    Raises
    ------
    BadInput
        If the parameters do not describe a mapping.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    bits: int = 8
    signed: bool = True
    axis: int | None = None

    def __post_init__(self) -> None:
        _check_bits(self.bits)
        scale = np.asarray(self.scale, dtype=np.float32)
        zero_point = np.asarray(self.zero_point)
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise BadInput(f"A scale is finite and greater than 0, not {self.scale}.")
        if scale.shape != zero_point.shape or scale.ndim != (0 if self.axis is None else 1):
            raise BadInput(
                f"Scale of shape {scale.shape} and zero point of shape {zero_point.shape} with axis={self.axis} do "
                "not fit; give one number each, or one vector each and the channel axis."
            )
        if not ((zero_point >= self.qmin) & (zero_point <= self.qmax)).all():
            raise BadInput(f"The zero point {self.zero_point} lies outside {self.qmin} to {self.qmax}.")
        if not (zero_point == np.floor(zero_point)).all():
            raise BadInput(f"The zero point {self.zero_point} is not a whole number.")
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point.astype(np.int64))

    @property
    def qmin(self) -> int:
        """Smallest integer of the type."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def qmax(self) -> int:
        """Largest integer of the type."""
        return (1 << (self.bits - 1 if self.signed else self.bits)) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type that holds the integers: 8 or 16 bits wide."""
        width = 8 if self.bits <= 8 else 16
        return np.dtype(f"{'' if self.signed else 'u'}int{width}")

    @property
    def low(self) -> NDArray[np.float32]:
        """Smallest real number that can be represented."""
        return (np.float32(self.qmin) - self.zero_point.astype(np.float32)) * self.scale

    @property
    def high(self) -> NDArray[np.float32]:
        """Largest real number that can be represented."""
        return (np.float32(self.qmax) - self.zero_point.astype(np.float32)) * self.scale

    def to_dict(self) -> dict[str, Any]:
        """The mapping as JSON-ready data."""
        return {
            "scale": self.scale.tolist(),
            "zero_point": self.zero_point.tolist(),
            "bits": self.bits,
            "signed": self.signed,
            "axis": self.axis,
        }

    def _repr_markdown_(self) -> str:
        kind = f"{'int' if self.signed else 'uint'}{self.bits}"
        if self.axis is not None:
            low, high = float(self.scale.min()), float(self.scale.max())
            return f"{kind}, {self.scale.size} channels along axis {self.axis}, scales {low:.3g} to {high:.3g}"
        return (
            f"{kind}, scale {float(self.scale):.4g}, zero point {int(self.zero_point)}, "
            f"represents {float(self.low):.4g} to {float(self.high):.4g}"
        )


def affine_parameters(
    low: ArrayLike,
    high: ArrayLike,
    bits: int = 8,
    symmetric: bool = False,
    signed: bool = True,
    *,
    axis: int | None = None,
) -> Affine:
    """Scale and zero point that cover the real range ``low`` to ``high``.

    The range is widened to include 0, so that 0.0 (padding, ReLU) is represented exactly. A range that is 0 alone
    gets scale 1 and zero point 0.

    Parameters
    ----------
    low, high
        Ends of the range: numbers, or vectors with one element per channel together with ``axis``.
    bits, signed
        The integer type.
    symmetric
        Put the zero point in the middle and use as many steps below as above (-127 to 127 for 8 signed bits):
        the rule for weights, because the zero point then drops out of the inner loop.
    axis
        The channel axis that vectors belong to.

    Raises
    ------
    BadInput
        If an end is NaN or infinite, if ``low`` is above ``high``, or if ``bits`` is not 2 to 16.

    Examples
    --------
    >>> affine = affine_parameters(-1.0, 3.0, signed=False)
    >>> int(affine.zero_point), round(float(affine.scale), 5)
    (64, 0.01569)
    """
    _check_bits(bits)
    lows, highs = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
        raise BadInput(f"A range has finite ends; got low={lows}, high={highs}.")
    if (lows > highs).any():
        raise BadInput(f"A range runs upwards; low={lows} is above high={highs}.")
    lows, highs = np.minimum(lows, 0.0), np.maximum(highs, 0.0)
    qmin = -(1 << (bits - 1)) if signed else 0
    qmax = (1 << (bits - 1 if signed else bits)) - 1
    steps = (1 << (bits - 1)) - 1
    if symmetric:
        scale = np.maximum(-lows, highs) / steps
        zero_point = np.full(scale.shape, qmax - steps, dtype=np.int64)
    else:
        scale = (highs - lows) / (qmax - qmin)
        safe = np.where(scale > 0, scale, 1.0)
        zero_point = np.rint(qmin - lows / safe).astype(np.int64)
    tiny = scale < np.finfo(np.float32).tiny  # below this a float32 loses its precision, and then becomes 0
    scale = np.where(tiny, 1.0, scale)
    zero_point = np.where(tiny, qmax - steps if symmetric else 0, zero_point)
    return Affine(scale.astype(np.float32), zero_point, bits, signed, axis)


def per_channel(values: ArrayLike, axis: int, bits: int = 8, symmetric: bool = True, signed: bool = True) -> Affine:
    """The mapping that gives every channel of ``values`` along ``axis`` its own range, minimum to maximum.

    Parameters
    ----------
    values
        Real numbers, for example convolution weights (out, in, height, width) with ``axis=0``.
    axis
        The channel axis.
    bits, symmetric, signed
        As in `affine_parameters`.

    Raises
    ------
    BadInput
        If ``values`` is empty, is not finite, or has no such axis.

    Examples
    --------
    >>> per_channel([[1.0, -127.0], [0.5, 12.7]], axis=0).scale.tolist()
    [1.0, 0.10000000149011612]
    """
    array = _real(values)
    if array.size == 0 or not -array.ndim <= axis < array.ndim:
        raise BadInput(f"Values of shape {array.shape} have no channel axis {axis}.")
    axis %= array.ndim
    others = tuple(i for i in range(array.ndim) if i != axis)
    return affine_parameters(array.min(others), array.max(others), bits, symmetric, signed, axis=axis)


def quantize(values: ArrayLike, affine: Affine) -> NDArray[Any]:
    """Real numbers to integers: divide, round half to even, add the zero point, saturate.

    Returns
    -------
    Integers of ``affine.dtype`` in the shape of ``values``.

    Raises
    ------
    BadInput
        If ``values`` holds NaN or infinity, or does not have the mapping's channels.

    Examples
    --------
    >>> quantize([-1.0, 0.0, 0.25, 99.0], Affine(0.5, 0)).tolist()
    [-2, 0, 0, 127]
    """
    array = _real(values)
    scale, zero_point = _aligned(affine, array)
    with np.errstate(over="ignore"):  # an overflow saturates, as in the operator
        steps = np.rint(array / scale) + zero_point
    saturated: NDArray[Any] = np.clip(steps, affine.qmin, affine.qmax).astype(affine.dtype)
    return saturated


def dequantize(quantized: ArrayLike, affine: Affine) -> NDArray[np.float32]:
    """Integers back to real numbers: subtract the zero point, multiply by the scale.

    Raises
    ------
    BadInput
        If ``quantized`` does not have the mapping's channels.

    Examples
    --------
    >>> dequantize([-2, 0, 127], Affine(0.5, 0)).tolist()
    [-1.0, 0.0, 63.5]
    """
    array = np.asarray(quantized, dtype=np.float32)
    scale, zero_point = _aligned(affine, array)
    return np.asarray((array - zero_point) * scale, dtype=np.float32)


def fake_quantize(values: ArrayLike, affine: Affine) -> NDArray[np.float32]:
    """Real numbers as the integers would represent them: `quantize`, then `dequantize`.

    Examples
    --------
    >>> fake_quantize([0.1, 0.6], Affine(0.5, 0)).tolist()
    [0.0, 0.5]
    """
    return dequantize(quantize(values, affine), affine)


def sqnr_db(reference: ArrayLike, approximation: ArrayLike) -> float:
    """Signal to quantization noise ratio in decibels: 10 log10 of signal power over error power.

    Every bit more halves the step and adds about 6.02 dB. Infinite if nothing was lost.

    Raises
    ------
    BadInput
        If the shapes differ, a value is not finite, or the reference is zero everywhere.

    Examples
    --------
    >>> round(sqnr_db([1.0, 1.0], [1.1, 0.9]), 2)
    20.0
    """
    signal = _real(reference).astype(np.float64)
    noise = signal - _real(approximation)
    if noise.shape != signal.shape:
        raise BadInput(f"Reference {signal.shape} and approximation differ in shape.")
    power, error = float(np.square(signal).sum()), float(np.square(noise).sum())
    if power == 0:
        raise BadInput("The reference is zero everywhere, so it has no signal to compare noise with.")
    return float("inf") if error == 0 else 10 * float(np.log10(power / error))


def _check_bits(bits: int) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not MIN_BITS <= bits <= MAX_BITS:
        raise BadInput(f"bits={bits!r} is not a whole number from {MIN_BITS} to {MAX_BITS}.")


def _real(values: ArrayLike) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(values).astype(np.float32)
    except (TypeError, ValueError):
        raise BadInput("The values are not an array of numbers.") from None
    if not np.isfinite(array).all():
        raise BadInput(
            f"{int((~np.isfinite(array)).sum())} of {array.size} values are NaN or infinite in float32; "
            "remove them before quantizing."
        )
    return array


def _aligned(affine: Affine, array: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and zero point, shaped so that they line up with the channels of ``array``."""
    zero_point = affine.zero_point.astype(np.float32)
    if affine.axis is None:
        return affine.scale, zero_point
    if not -array.ndim <= affine.axis < array.ndim or array.shape[affine.axis] != affine.scale.size:
        raise BadInput(
            f"Values of shape {array.shape} do not have the mapping's {affine.scale.size} channels along "
            f"axis {affine.axis}."
        )
    shape = [1] * array.ndim
    shape[affine.axis] = -1
    return affine.scale.reshape(shape), zero_point.reshape(shape)
