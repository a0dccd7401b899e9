"""The integer arithmetic of firmware as plain functions, as a learner writes it by hand.

They take and give what stands on paper: numbers, arrays, sizes of sections. A lab lets its learner write each of them,
and uses these until the learner's own passes its check. The generator's exact twins stand in `edgelab.mcu.cgen.fixed`.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(CVPR 2018), section 2.2, and gemmlowp's fixed point, which it describes; Arm, "ARMv7-M Architecture Reference Manual"
(DDI 0403), SMLAD.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput

HOURS_A_YEAR = 365.25 * 24
IN_FLASH = (".vectors", ".text", ".rodata", ".data")
IN_RAM = (".data", ".bss", ".stack")


def quantize_multiplier(real: float, bits: int = 31) -> tuple[int, int]:
    """Mantissa and shift of a positive factor: ``real`` is about ``mantissa / 2**bits * 2**shift``.

    The mantissa lies from ``2**(bits - 1)`` up to, without it, ``2**bits``.

    Raises
    ------
    BadInput
        If the factor is not positive and finite, or ``bits`` is none of 1 to 31.

    Examples
    --------
    >>> quantize_multiplier(0.3, bits=4), quantize_multiplier(0.99, bits=4)
    ((10, -1), (8, 1))
    """
    if not (math.isfinite(real) and real > 0) or not 1 <= bits <= 31:
        raise BadInput(f"quantize_multiplier() takes a factor above 0 and 1 to 31 bits, not {real} and {bits}.")
    fraction, shift = math.frexp(real)
    mantissa = math.floor(fraction * 2**bits + 0.5)
    if mantissa == 2**bits:
        mantissa, shift = mantissa // 2, shift + 1
    return mantissa, shift


def high_multiply(a: int, mantissa: int, bits: int = 31) -> int:
    """``a * mantissa / 2**bits`` to the nearest integer, a half up, held at ``2**bits - 1``.

    Examples
    --------
    >>> high_multiply(13, 10, bits=4), high_multiply(-16, -16, bits=4)
    (8, 15)
    """
    return min((a * mantissa + (1 << bits >> 1)) >> bits, (1 << bits) - 1)


def rounding_shift(x: int, bits: int) -> int:
    """``x / 2**bits`` to the nearest integer, a half away from zero.

    Examples
    --------
    >>> [rounding_shift(x, 1) for x in (5, -5)]
    [3, -3]
    """
    return (x + ((1 << bits) >> 1) - (1 if x < 0 < bits else 0)) >> bits


def requantize(total: int, mantissa: int, shift: int, zero_point: int, low: int = -128, high: int = 127) -> int:
    """The 8-bit output for a 32-bit sum: scaled, rounded twice, moved to the zero point, held between the limits.

    Examples
    --------
    >>> requantize(200, 5 * 2**28, -3, 4)  # 200 * 0.078125 is 15.625
    20
    """
    scaled = rounding_shift(high_multiply(total << max(shift, 0), mantissa), max(-shift, 0))
    return min(max(scaled + zero_point, low), high)


def requantize_layer(
    sums: ArrayLike, mantissas: ArrayLike, shifts: ArrayLike, zero_point: int, low: int = -128, high: int = 127
) -> NDArray[np.int8]:
    """`requantize` for a whole layer: sums (N, channels), one mantissa and one shift a channel; int8 (N, channels).

    Raises
    ------
    BadInput
        If mantissas and shifts are not as many as the channels.

    Examples
    --------
    >>> requantize_layer(np.array([[200, -200]], np.int32), [5 * 2**28] * 2, [-3, -3], 4).tolist()
    [[20, -12]]
    """
    wide, shift = np.asarray(sums, np.int64), np.asarray(shifts, np.int64)
    if wide.ndim != 2 or not np.shape(mantissas) == shift.shape == wide.shape[1:]:
        raise BadInput(
            f"requantize_layer() takes sums (N, channels) with one mantissa and one shift a channel, not {wide.shape} "
            f"with {np.shape(mantissas)} and {shift.shape}."
        )
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    product = ((wide << left) * np.asarray(mantissas, np.int64) + (1 << 30)) >> 31
    rounded = (product + ((1 << right) >> 1) - ((product < 0) & (right > 0))) >> right
    limited: NDArray[np.int8] = np.clip(rounded + zero_point, low, high).astype(np.int8)
    return limited


def smlad(x: int, y: int, total: int) -> int:
    """What the instruction SMLAD adds up: ``total`` and the products of the lower and of the upper 16 bits.

    Examples
    --------
    >>> smlad((-2 & 0xFFFF) << 16 | 3, 5 << 16 | 7, 100)
    111
    """

    def halves(register: int) -> tuple[int, int]:
        lower, upper = register & 0xFFFF, register >> 16 & 0xFFFF
        return lower - (lower >> 15 << 16), upper - (upper >> 15 << 16)

    (x0, x1), (y0, y1) = halves(x), halves(y)
    return total + x0 * y0 + x1 * y1


def first_difference(found: NDArray[Any], expected: NDArray[Any]) -> int | None:
    """The first row in which two arrays (N, ...) differ in any element; None where they are equal.

    Raises
    ------
    ValueError
        If the shapes or the types of the elements differ.

    Examples
    --------
    >>> first_difference(np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 5]]))
    1
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError(
            f"{found.dtype} of shape {found.shape} against {expected.dtype} of shape {expected.shape}: shapes and "
            "types must agree."
        )
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) if differ.any() else None


def flash_and_ram(sections: Mapping[str, int]) -> tuple[int, int]:
    """Bytes of flash and of RAM that a linker's sections take on the device.

    Examples
    --------
    >>> flash_and_ram({".text": 100, ".data": 8, ".bss": 40, ".debug_info": 900})
    (108, 48)
    """
    flash = sum(sections.get(name, 0) for name in IN_FLASH)
    return flash, sum(sections.get(name, 0) for name in IN_RAM)


def shortest_interval(
    goal_years: float, capacity_mah: float, awake_ms: float, active_ma: float, sleep_ua: float, leak_percent: float
) -> float:
    """Seconds from one wake-up to the next so that a battery lasts ``goal_years``; infinite where none is enough.

    The battery loses ``leak_percent`` of its capacity each year.

    Raises
    ------
    BadInput
        If the goal is not above 0, or awake the chip does not take more than asleep.

    Examples
    --------
    >>> round(shortest_interval(2.0, 235, 10, 8.0, 2.0, 1.0), 2)
    7.18
    """
    if not goal_years > 0 or not 1000 * active_ma > sleep_ua:
        raise BadInput(
            f"shortest_interval() takes a goal above 0 years and more current awake than asleep, not {goal_years} "
            f"years, {active_ma} mA and {sleep_ua} uA."
        )
    allowed_ua = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / HOURS_A_YEAR
    if allowed_ua <= sleep_ua:
        return math.inf
    return awake_ms / 1000 * (1000 * active_ma - sleep_ua) / (allowed_ua - sleep_ua)
