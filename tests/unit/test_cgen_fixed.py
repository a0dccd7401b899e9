"""Fixed-point arithmetic of the generator: against real functions, and its short forms against the long ones."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelab.mcu.cgen import channels, dsp_sum, fixed
from edgelab.mcu.cgen.dsp_scale import fitted_scale, make_scale
from edgelab.mcu.cgen.fixed import quantize_multiplier
from edgelab.mcu.cgen.lowering import Binary


@pytest.mark.parametrize("x", np.linspace(-15.9, 0, 200))
def test_exponential(x):
    raw = round(x * 2**26)
    assert fixed.exp_of_negative(raw, 5) / 2**31 == pytest.approx(math.exp(raw / 2**26), abs=2e-7)


@pytest.mark.parametrize("x", np.linspace(-7.9, 7.9, 199))
def test_logistic_and_tanh(x):
    raw = round(x * 2**27)
    assert fixed.logistic(raw, 4) / 2**31 == pytest.approx(1 / (1 + math.exp(-raw / 2**27)), abs=1e-6)
    assert fixed.tanh(raw, 4) / 2**31 == pytest.approx(math.tanh(raw / 2**27), abs=1e-6)


@given(st.floats(1e-9, 1e4))
def test_a_multiplier_is_its_factor(real):
    m = fixed.quantize_multiplier(real)
    assert m.value / 2**31 * 2.0**m.shift == pytest.approx(real, rel=1e-9)
    assert 2**30 <= m.value < 2**31


@pytest.mark.parametrize(("x", "exponent", "nearest"), [(5, 1, 3), (-5, 1, -3), (6, 2, 2), (-6, 2, -2), (-7, 0, -7)])
def test_ties_go_away_from_zero(x, exponent, nearest):
    assert fixed.rounding_divide(x, exponent) == nearest


@given(
    st.lists(st.floats(1e-4, 3.9), min_size=1, max_size=6),
    st.integers(1, 2**17),
    st.integers(-128, 127),
    st.data(),
)
def test_short_requantization_is_the_long_one(factors, bound, zero, data):
    multipliers = [fixed.quantize_multiplier(f) for f in factors]
    low = data.draw(st.sampled_from([-128, max(zero, -128), -60]))
    scale = make_scale(multipliers, np.full(len(factors), bound), zero, low, 127)
    if scale is None:
        return
    for channel, m in enumerate(multipliers):
        exact = [k for i in range(-3, 4) for k in (i, round(i / factors[channel]), round((i + 0.5) / factors[channel]))]
        drawn = data.draw(st.lists(st.integers(-bound, bound), min_size=3, max_size=9))
        for a in [x for x in (*exact, *drawn, -bound, bound) if abs(x) <= bound]:
            assert scale.apply(channel, a) == min(max(m.apply(a) + zero, low), 127), (a, m)


def test_ties_of_negative_sums_are_exact():
    half = fixed.Multiplier(2**30, -3)  # 1/16
    scale = make_scale([half], np.array([4096]), 5, -128, 127)
    for a in range(-4096, 4097):
        assert scale.apply(0, a) == min(max(half.apply(a) + 5, -128), 127)


def test_sums_without_room_are_refused():
    wide = [fixed.quantize_multiplier(0.9), fixed.quantize_multiplier(1e-6)]
    assert make_scale(wide, np.full(2, 2**20), 0, -128, 127) is None


@given(st.floats(0.001, 0.2), st.integers(0, 12), st.integers(-(2**18), 2**18), st.integers(-128, 60))
def test_multipliers_far_apart_are_exact_or_refused(factor, halvings, bias, zero):
    """Beside a usual channel one of a far smaller multiplier, whose sums are its bias and little more."""
    multipliers = [fixed.quantize_multiplier(f) for f in (factor, factor / 2**halvings)]
    lowest, highest = np.array([-(2**17), (bias << halvings) - 900]), np.array([2**17, (bias << halvings) + 900])
    scale = fitted_scale(multipliers, lowest, highest, zero, -128, 127)
    if scale is None:
        return
    for channel, m in enumerate(multipliers):
        for a in range(lowest[channel], highest[channel] + 1, 1 if channel else 97):
            assert scale.apply(channel, a) == min(max(m.apply(int(a)) + zero, -128), 127), (a, m)


def test_a_channel_that_hardly_counts_does_not_keep_the_others_from_short_requantization():
    usual, tiny = fixed.Multiplier(1500000000, -6), fixed.Multiplier(1312519058, -22)
    lowest, highest = np.array([-(2**19), -53069315]), np.array([2**19, -52445585])
    assert make_scale([usual, tiny], np.array([2**19, 53069315]), -128, -128, 127) is None
    scale = fitted_scale([usual, tiny], lowest, highest, -128, -128, 127)
    assert scale.apply(1, -53000000) == -128
    for a in range(-(2**19), 2**19, 41):
        assert scale.apply(0, a) == min(max(usual.apply(a) - 128, -128), 127)


def binary(code, a, b, out, zeros):
    twice = 2 * max(a, b)
    multipliers = tuple(fixed.quantize_multiplier(x) for x in (a / twice, b / twice, twice / (2**20 * out)))
    return Binary(0, code, (), (), (1,), (0, 0), ((1,), (1,)), zeros, multipliers, -128, 127)


@pytest.mark.parametrize("seed", range(12))
def test_sums_as_one_linear_form_are_exact(seed):
    rng = np.random.default_rng(seed)
    a, b = (float(s) for s in 2.0 ** rng.uniform(-7, -3, 2))
    step = binary(("ADD", "SUB")[seed % 2], a, b, float(np.hypot(a, b)), tuple(rng.integers(-128, 128, 3).tolist()))
    found = dsp_sum.linear(step)
    assert found is not None
    for _ in range(300):
        x, y = (int(v) for v in rng.integers(-128, 128, 2))
        one, two = (m.apply((v - z) << 20) for m, v, z in zip(step.multipliers, (x, y), step.zeros, strict=False))
        exact = step.multipliers[2].apply(one + two if step.code == "ADD" else one - two) + step.zeros[2]
        assert found.apply(np.int64(x), np.int64(y)) == min(max(exact, -128), 127)


def test_a_sum_that_no_linear_form_gives_is_left_alone():
    rng = np.random.default_rng(1)
    a, b, out = (float(s) for s in 2.0 ** rng.uniform(-7, -3, 3))
    assert dsp_sum.linear(binary("SUB", a, b, out, tuple(rng.integers(-128, 128, 3).tolist()))) is None


@pytest.mark.parametrize(("scales", "same"), [(True, False), (False, False), (False, True)])
def test_channels_in_few_bits_come_out_whole(scales, same):
    rng = np.random.default_rng(7)
    sizes = (np.exp(rng.standard_normal(37) * 2) * 1e-3).astype(np.float32).tolist()
    ratio = Fraction(0.0235) / Fraction(0.0817)
    found = [quantize_multiplier(0.0235 * size / 0.0817) for size in sizes]
    factors = [found[0].value] * len(found) if same else [m.value for m in found]
    shifts = [12 + m.shift for m in found]
    biases = [0, -1, 1, 2**20, -(2**20), *rng.integers(-(2**17), 2**17, 32).tolist()]
    made = channels.pack(sizes if scales else [], ratio, biases, factors, shifts)
    assert made.fraction_bits == (0 if same else 23 if scales else 30)
    assert [made.unpacked(c) for c in range(37)] == list(zip(biases, factors, shifts, strict=True))
    assert channels.pack(sizes, ratio, [2**32, *biases[1:]], factors, shifts) is None
