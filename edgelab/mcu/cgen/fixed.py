"""Fixed-point arithmetic of TensorFlow Lite Micro, in exact Python integers.

The generator computes multipliers and tables with it at generation time, so that the C code holds only integers. The
functions follow the published definition of gemmlowp's fixed point (Jacob et al. 2018, arXiv:1712.05877): every product
is rounded to 31 fractional bits, then divided by a power of two with ties away from zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

INT32_MAX = 2**31 - 1
INT32_MIN = -(2**31)


@dataclass(frozen=True)
class Multiplier:
    """A real factor as ``value / 2**31 * 2**shift``, ``value`` in [2**30, 2**31) or 0."""

    value: int
    shift: int

    def apply(self, x: int) -> int:
        """``x`` times the factor, rounded twice as the interpreter does.

        >>> Multiplier(2**30, -2).apply(20)
        3
        """
        left, right = max(self.shift, 0), max(-self.shift, 0)
        return rounding_divide(doubling_high_multiply(wrapped(x << left), self.value), right)


def quantize_multiplier(real: float) -> Multiplier:
    """The nearest `Multiplier` of a positive real factor.

    >>> quantize_multiplier(0.75)
    Multiplier(value=1610612736, shift=0)
    """
    if real == 0.0:
        return Multiplier(0, 0)
    mantissa, shift = math.frexp(real)
    value = rounded(mantissa * 2**31)
    if value == 2**31:
        value, shift = value // 2, shift + 1
    return Multiplier(0, 0) if shift < -31 else Multiplier(value, shift)


def rounded(x: float) -> int:
    """The nearest integer, ties away from zero (C's ``round``)."""
    whole = math.floor(abs(x))
    whole += abs(x) - whole >= 0.5
    return whole if x >= 0 else -whole


def wrapped(x: int) -> int:
    """The value that 32 bits keep of ``x``."""
    return (x + 2**31) % 2**32 - 2**31


def saturated(x: int) -> int:
    """``x`` held inside 32 bits."""
    return min(max(x, INT32_MIN), INT32_MAX)


def doubling_high_multiply(a: int, b: int) -> int:
    """``a * b / 2**31`` to the nearest, the one overflow saturated."""
    return INT32_MAX if a == b == INT32_MIN else (a * b + 2**30) >> 31


def rounding_divide(x: int, exponent: int) -> int:
    """``x / 2**exponent`` to the nearest, ties away from zero."""
    if exponent == 0:
        return x
    return (x + (1 << (exponent - 1)) - (x < 0)) >> exponent


def times_power_of_two(x: int, exponent: int) -> int:
    """``x * 2**exponent``: saturated to the left, rounded to the right."""
    return saturated(x << exponent) if exponent >= 0 else rounding_divide(x, -exponent)


def input_radius(integer_bits: int, left_shift: int, total_bits: int = 31) -> int:
    """The largest input whose rescaled value still fits ``integer_bits``."""
    largest = float((2**integer_bits - 1) << (total_bits - integer_bits))
    return math.floor(largest / 2.0**left_shift)


# exp(-2**k) for the bits that a remainder can have, k from -2 (a quarter) to 4, as fractions of 2**31.
_EXP_OF_POWERS = tuple(round(math.exp(-(2.0**k)) * 2**31) for k in range(-2, 5))
_EXP_MINUS_EIGHTH = round(math.exp(-1 / 8) * 2**31)
_ONE_THIRD = round(2**31 / 3)
_48_OVER_17 = round(48 / 17 * 2**29)
_MINUS_32_OVER_17 = round(-32 / 17 * 2**29)


def exp_of_negative(x: int, integer_bits: int) -> int:
    """``exp`` of ``x <= 0`` given with ``integer_bits`` integer bits; the result has none.

    >>> round(exp_of_negative(-(1 << 26), 5) / 2**31, 5), round(math.exp(-1), 5)
    (0.36788, 0.36788)
    """
    if x == 0:
        return INT32_MAX
    quarter = 1 << (31 - integer_bits - 2)
    modulo = (x & (quarter - 1)) - quarter
    result = _exp_of_last_quarter(times_power_of_two(modulo, integer_bits))
    remainder = wrapped(modulo - x)
    for k, factor in zip(range(-2, 5), _EXP_OF_POWERS, strict=True):
        if k < integer_bits and remainder >> (31 - integer_bits + k) & 1:
            result = doubling_high_multiply(result, factor)
    return result


def _exp_of_last_quarter(a: int) -> int:
    """``exp`` on [-1/4, 0) by its Taylor polynomial of degree 4 about -1/8."""
    x = a + 2**28
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4 = rounding_divide(doubling_high_multiply(x2, x2), 2)
    tail = rounding_divide(doubling_high_multiply(x4 + x3, _ONE_THIRD) + x2, 1)
    return _EXP_MINUS_EIGHTH + doubling_high_multiply(_EXP_MINUS_EIGHTH, x + tail)


def _newton(a: int) -> int:
    """Half of ``1 / ((1 + a) / 2)`` for ``a`` in [0, 1], two integer bits, by three Newton steps."""
    half_denominator = (a + INT32_MAX + 1) // 2
    x = _48_OVER_17 + doubling_high_multiply(half_denominator, _MINUS_32_OVER_17)
    for _ in range(3):
        one_minus = 2**29 - doubling_high_multiply(half_denominator, x)
        x += times_power_of_two(doubling_high_multiply(x, one_minus), 2)
    return x


def one_over_one_plus(a: int) -> int:
    """``1 / (1 + a)`` for ``a`` in [0, 1], no integer bits."""
    return times_power_of_two(_newton(a), 1)


def logistic(x: int, integer_bits: int) -> int:
    """The logistic function of a fixed-point number; the result has no integer bits."""
    if x == 0:
        return 2**30
    positive = one_over_one_plus(exp_of_negative(-abs(x), integer_bits))
    return positive if x > 0 else INT32_MAX - positive


def tanh(x: int, integer_bits: int) -> int:
    """The hyperbolic tangent of a fixed-point number; the result has no integer bits."""
    if x == 0:
        return 0
    e = exp_of_negative(-abs(x), integer_bits + 1)
    positive = times_power_of_two(_newton(e) - 2**29, 2)
    return positive if x > 0 else -positive


def inverse_square_root(x: int) -> Multiplier:
    """``1 / sqrt(x)`` of an integer from 1 up, by five Newton steps with three integer bits.

    >>> m = inverse_square_root(16)
    >>> round(m.value / 2**31 * 2**m.shift, 6)
    0.25
    """
    if x == 1:
        return Multiplier(INT32_MAX, 0)
    pairs = (32 - x.bit_length() - 1) // 2 - 1  # x comes to lie from 2**27 up to 2**29.
    half = rounding_divide((x << 2 * pairs) >> 1, 1)
    root, one_and_a_half = 2**28, 2**28 + 2**27
    for _ in range(5):
        cube = doubling_high_multiply(doubling_high_multiply(root, root), root)
        cube = times_power_of_two(cube, 6)
        raised = doubling_high_multiply(one_and_a_half, root) - doubling_high_multiply(half, cube)
        root = times_power_of_two(raised, 3)
    value, shift = doubling_high_multiply(root, _HALF_SQRT_2), 11 - pairs
    return Multiplier(value << max(-shift, 0), -max(shift, 0))


_HALF_SQRT_2 = round(math.sqrt(0.5) * 2**31)
