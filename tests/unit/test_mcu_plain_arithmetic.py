"""The arithmetic that a learner writes by hand, held against the generator's own and against exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest

from edgelab.errors import BadInput
from edgelab.mcu import plain_arithmetic as plain
from edgelab.mcu.cgen import fixed
from edgelab.mcu.frontend import real_fft, to_counts

RNG = np.random.default_rng(0)
FACTORS = [*(10.0 ** RNG.uniform(-6, 3, 200)).tolist(), 1 - 2.0**-40, 0.5, 1.0]
SUMS = [*(int(n) for n in RNG.integers(-(2**31), 2**31, 200)), 0, 1, -1, 2**31 - 1, -(2**31)]


def test_the_factors_are_the_generators():
    for real in FACTORS:
        multiplier = fixed.quantize_multiplier(real)
        assert plain.quantize_multiplier(real) == (multiplier.value, multiplier.shift)


@pytest.mark.parametrize("bits", [4, 8, 31])
def test_a_mantissa_of_few_bits_is_the_nearest(bits):
    for real in FACTORS:
        mantissa, shift = plain.quantize_multiplier(real, bits)
        assert 2 ** (bits - 1) <= mantissa < 2**bits
        assert abs(mantissa / 2**bits * 2.0**shift / real - 1) <= 2.0**-bits


def test_the_two_roundings_are_the_generators():
    for a in SUMS:
        for b in SUMS[::7]:
            assert plain.high_multiply(a, b) == fixed.doubling_high_multiply(a, b)
        for shift in range(32):
            assert plain.rounding_shift(a, shift) == fixed.rounding_divide(a, shift)


def test_a_layer_is_requantized_as_its_sums_one_by_one():
    mantissas, shifts = zip(*(plain.quantize_multiplier(f) for f in (0.0037, 0.4, 0.99, 3.3, 1e-5)), strict=True)
    sums = RNG.integers(-(2**20), 2**20, (300, 5)).astype(np.int32)
    layer = plain.requantize_layer(sums, mantissas, shifts, 7, -100, 90)
    assert layer.dtype == np.int8
    for row, found in zip(sums.tolist(), layer.tolist(), strict=True):
        assert found == [plain.requantize(s, m, e, 7, -100, 90) for s, m, e in zip(row, mantissas, shifts, strict=True)]
    exact = plain.requantize(1000, *plain.quantize_multiplier(0.0037), 0)
    assert exact == round(Fraction(1000) * Fraction(0.0037))


def test_smlad_takes_signed_halves():
    for x0, x1, y0, y1 in RNG.integers(-(2**15), 2**15, (100, 4)).tolist():
        x, y = (x1 & 0xFFFF) << 16 | x0 & 0xFFFF, (y1 & 0xFFFF) << 16 | y0 & 0xFFFF
        assert plain.smlad(x, y, -9) == x0 * y0 + x1 * y1 - 9


def test_two_arrays_are_equal_or_differ_somewhere():
    rows = RNG.integers(-128, 128, (6, 2, 2)).astype(np.int8)
    assert plain.first_difference(rows, rows.copy()) is None
    other = rows.copy()
    other[4, 1, 0] ^= 1
    assert plain.first_difference(rows, other) == 4
    for wrong in (rows[:1], rows.astype(np.int16), rows.reshape(6, 4)):
        with pytest.raises(ValueError, match="must agree"):
            plain.first_difference(rows, wrong)


def test_the_interval_empties_the_battery_at_the_goal():
    seconds = plain.shortest_interval(2.0, 235, 10, 8.0, 2.0, 1.0)
    duty = 0.01 / seconds
    used_ua = 8000 * duty + 2.0 * (1 - duty) + 2350 / plain.HOURS_A_YEAR
    assert 235_000 / used_ua / plain.HOURS_A_YEAR == pytest.approx(2.0)
    assert plain.shortest_interval(20.0, 235, 10, 8.0, 2.0, 1.0) == math.inf


@pytest.mark.parametrize("wrong", [(0.0, 31), (-1.0, 31), (math.nan, 31), (math.inf, 31), (0.5, 0), (0.5, 40)])
def test_a_factor_that_is_none(wrong):
    with pytest.raises(BadInput, match="a factor above 0"):
        plain.quantize_multiplier(*wrong)


@pytest.mark.parametrize(("mantissas", "shifts"), [([1, 2], [0, 0]), ([1, 2, 3], [0]), (1, 0)])
def test_tables_of_another_length_than_the_layer(mantissas, shifts):
    with pytest.raises(BadInput, match="one mantissa and one shift a channel"):
        plain.requantize_layer(np.zeros((2, 3), np.int32), mantissas, shifts, 0)


@pytest.mark.parametrize(
    "wrong", [(0, 235, 10, 8.0, 2.0, 1.0), (2, 235, 10, 0.001, 2.0, 1.0), (math.nan, 1, 1, 1, 1, 1)]
)
def test_a_battery_that_is_none(wrong):
    with pytest.raises(BadInput, match="more current awake than asleep"):
        plain.shortest_interval(*wrong)


@pytest.mark.parametrize("wrong", [np.zeros((1, 100), np.int64), np.zeros((1, 128)), np.zeros((0, 128), np.int64)])
def test_rows_that_have_no_spectrum(wrong):
    with pytest.raises(BadInput, match="a power of two"):
        real_fft(wrong)


def test_accelerations_that_are_none():
    for g, counts in ((np.array([[math.nan]]), 4096), (np.zeros((1, 2)), 0)):
        with pytest.raises(BadInput, match="without NaN"):
            to_counts(g, counts)
