"""Calibration methods: what each promises, and what the runtimes' own calibrators find."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgelab.compress.affine import affine_parameters, fake_quantize
from edgelab.compress.calibration import (
    METHODS,
    range_entropy,
    range_minmax,
    range_mse,
    range_percentile,
)
from edgelab.errors import BadInput

rng = np.random.default_rng(0)
SAMPLES = {
    "normal": rng.normal(size=50_000),
    "laplace": rng.laplace(size=50_000),
    "relu": np.maximum(rng.normal(size=50_000), 0),
    "relu6": np.clip(3 * rng.normal(size=50_000), 0, 6),
    "student": rng.standard_t(3, 50_000),
    "lognormal": rng.lognormal(size=50_000),
    "one outlier": np.r_[rng.normal(size=50_000), 40.0],
}
SAMPLES = {name: values.astype(np.float32) for name, values in SAMPLES.items()}
values = arrays(np.float32, array_shapes(max_dims=3, max_side=8), elements=st.floats(-1e4, 1e4, width=32))


def squared_error(x, ends, bits=8, symmetric=False):
    return float(np.mean(np.square(np.float64(x) - fake_quantize(x, affine_parameters(*ends, bits, symmetric)))))


@settings(max_examples=60, deadline=None)
@given(values, st.sampled_from(sorted(METHODS)))
def test_every_range_lies_inside_the_values(x, method):
    low, high = METHODS[method](x)
    slack = 1e-6 * max(1.0, float(np.abs(x).max()))
    assert min(float(x.min()), 0) - slack <= low <= high <= max(float(x.max()), 0) + slack


@settings(max_examples=40, deadline=None)
@given(values, st.sampled_from([2, 4, 8]), st.booleans())
def test_mse_is_never_worse_than_minmax(x, bits, symmetric):
    assert squared_error(x, range_mse(x, bits, symmetric), bits, symmetric) <= squared_error(
        x, range_minmax(x), bits, symmetric
    ) * (1 + 1e-6)


@pytest.mark.parametrize("name", SAMPLES)
def test_mse_beats_the_other_methods_where_it_says_it_does(name):
    x = SAMPLES[name]
    ours = squared_error(x, range_mse(x))
    for method in ("minmax", "percentile", "entropy"):
        assert ours <= squared_error(x, METHODS[method](x)) * 1.02


@pytest.mark.parametrize("name", SAMPLES)
def test_mse_is_as_good_as_pytorchs_histogram_observer(name):
    import torch
    from torch.ao.quantization.observer import HistogramObserver

    x = SAMPLES[name]
    observer = HistogramObserver(dtype=torch.qint8, qscheme=torch.per_tensor_affine)
    observer(torch.from_numpy(x))
    scale, zero_point = observer.calculate_qparams()
    theirs = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), float(scale), int(zero_point), -128, 127)
    assert squared_error(x, range_mse(x)) <= 1.02 * float(np.mean(np.square(np.float64(x) - theirs.numpy())))


@pytest.mark.parametrize("name", ["normal", "laplace", "student"])
def test_mse_finds_what_trying_everything_finds(name):
    x = SAMPLES[name][:5000]
    largest = float(np.abs(x).max())
    best = min(squared_error(x, (-t, t), 4, True) for t in np.linspace(largest / 400, largest, 400))
    assert squared_error(x, range_mse(x, 4, symmetric=True), 4, True) <= 1.03 * best


def test_fewer_bits_clip_more():
    widths = [np.ptp(range_mse(SAMPLES["normal"], bits)) for bits in (2, 4, 6, 8)]
    assert widths == sorted(widths)


def test_minmax_is_pytorchs_minmax():
    from torch import from_numpy
    from torch.ao.quantization.observer import MinMaxObserver

    observer = MinMaxObserver()
    observer(from_numpy(SAMPLES["student"]))
    assert range_minmax(SAMPLES["student"]) == (float(observer.min_val), float(observer.max_val))


@settings(max_examples=40, deadline=None)
@given(st.floats(50, 100))
def test_percentile_keeps_its_share(p):
    x = SAMPLES["laplace"]
    low, high = range_percentile(x, p)
    assert np.mean((x >= low) & (x <= high)) == pytest.approx(p / 100, abs=1e-4)


def onnx_runtime_range(x, method, **settings):
    """The range that ONNX Runtime's own collector finds for the same values."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    options = {"symmetric": False, "num_bins": 2048, "num_quantized_bins": 128, "percentile": 99.99, "scenario": "same"}
    collector = HistogramCollector(method=method, **options | settings)
    collector.collect({"x": [x]})
    return tuple(float(end) for end in collector.compute_collection_result()["x"][:2])


@pytest.mark.parametrize("name", SAMPLES)
def test_percentile_is_onnx_runtimes_to_a_bin(name, capsys):
    x = SAMPLES[name]
    bin_width = 2 * float(np.abs(x).max()) / 2048
    theirs = onnx_runtime_range(x, "percentile", percentile=98.0)
    np.testing.assert_allclose(range_percentile(x, 98.0), theirs, atol=1.5 * bin_width)
    capsys.readouterr()


@pytest.mark.parametrize("name", ["laplace", "student", "one outlier"])
def test_entropy_finds_the_threshold_of_onnx_runtime_when_that_searches(name, capsys):
    x = np.r_[SAMPLES[name], -SAMPLES[name]]  # theirs counts signed values, ours magnitudes
    theirs = onnx_runtime_range(x, "entropy", num_bins=1024, num_quantized_bins=128)[1]
    ours = range_entropy(x, bits=7, bins=512)[1]
    assert ours == pytest.approx(theirs, rel=0.25)
    assert ours < 0.8 * np.abs(x).max()
    capsys.readouterr()


def test_onnx_runtimes_default_entropy_does_not_search(capsys):
    # Its defaults are 128 bins and 128 levels: one candidate, the full range. This is why edgelab brings its own.
    x = SAMPLES["one outlier"]
    assert onnx_runtime_range(x, "entropy", num_bins=128) == range_minmax(x)
    assert range_entropy(x)[1] < 8
    capsys.readouterr()


def test_entropy_is_not_misled_by_the_zeros_of_relu():
    x = SAMPLES["relu"]
    assert range_entropy(x)[1] > 3
    assert range_entropy(np.r_[x, np.zeros(400_000, np.float32)])[1] == pytest.approx(range_entropy(x)[1], rel=0.1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("x", [[0.0], [0.0] * 5000, [3.0], [-3.0] * 5000, [1e-30, 2e-30]])
def test_constant_and_tiny_values_have_a_range(method, x):
    low, high = METHODS[method](np.float32(x))
    affine_parameters(low, high)
    assert low == pytest.approx(min(x), rel=0.1)
    assert high == pytest.approx(max(x), rel=0.1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("x", [[], [np.nan], [1.0, np.inf]])
def test_what_has_no_range_is_refused(method, x):
    with pytest.raises(BadInput, match=r"^(There|\d).*\.$"):
        METHODS[method](np.float32(x))


def test_settings_out_of_range_are_refused():
    for p in (0, -1, 101, np.nan):
        with pytest.raises(BadInput, match="percentage"):
            range_percentile([1.0], p)
    with pytest.raises(BadInput, match="no choice"):
        range_entropy([1.0], bits=8, bins=128)
