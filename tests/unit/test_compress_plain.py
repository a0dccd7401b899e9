"""The quantizer in plain functions agrees with the package's own mapping; simulated networks; what a file stores."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelab import nets
from edgelab.compress import affine, plain, ptq
from edgelab.compress.simulate import simulate, tensor_values
from edgelab.compress.stored import stored_integers
from edgelab.compress.weights import fold_batch_norm
from edgelab.convert.onnx import export
from edgelab.engines import open_engine
from edgelab.errors import BadFile, BadInput
from edgelab.nets.inspection import weighted_layers

ends = st.floats(-1e4, 1e4, allow_nan=False, width=32)


@settings(deadline=None, max_examples=80)
@given(ends, ends, st.integers(2, 8))
def test_plain_functions_are_the_packages_mapping(one, other, bits):
    low, high = sorted((one, other))
    scale, zero_point = plain.scale_and_zero_point(low, high, bits)
    theirs = affine.affine_parameters(low, high, bits, signed=False)
    values = np.linspace(low - 1, high + 1, 57)
    if high - low > 1e-3:
        assert scale == pytest.approx(float(theirs.scale), rel=1e-6)
        assert zero_point == int(theirs.zero_point)
        off = np.abs(plain.quantize(values, scale, zero_point, bits).astype(int) - affine.quantize(values, theirs))
        assert off.max() <= 1  # float64 here, float32 there: a tie may fall the other way
        assert (off > 0).mean() < 0.1


def test_a_range_of_zeros_has_a_scale():
    assert plain.scale_and_zero_point(0.0, 0.0) == (1.0, 0)


@pytest.mark.parametrize(("low", "high"), [(1.0, -1.0), (np.nan, 1.0), (-np.inf, 1.0)])
def test_no_range_is_refused(low, high):
    with pytest.raises(BadInput):
        plain.scale_and_zero_point(low, high)


def test_the_best_range_clips_an_outlier_at_few_bits_only():
    values = np.append(np.random.default_rng(0).normal(size=4000), 12.0)
    assert plain.best_range(values, 3)[1] < 6
    assert plain.best_range(values, 8)[1] > 9
    with pytest.raises(BadInput):
        plain.best_range([], 8)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small trained-like network, its float and INT8 files, and inputs."""
    torch.manual_seed(3)
    net = nets.dscnn(classes=4, in_channels=3, width=8).eval()
    x = np.random.default_rng(3).random((64, 3, 32, 32), dtype=np.float32)
    with torch.no_grad():
        net.train()
        for _ in range(4):
            net(torch.from_numpy(x))
        net.eval()
    folder = tmp_path_factory.mktemp("plain")
    float_file = export(net, x[:1], folder / "float.onnx").path
    int8 = ptq.quantize_static(float_file, folder / "int8.onnx", x).path
    return net, float_file, int8, x


def test_stored_integers_are_those_of_the_plain_quantizer(small):
    net, float_file, int8, x = small
    layers = weighted_layers(fold_batch_norm(net))
    found = stored_integers(int8)
    assert len(found.weights) == len(layers)
    for layer, stored in zip(layers.values(), found.weights, strict=True):
        integers, scale = plain.quantize_per_channel(layer.weight.detach().numpy())
        assert np.array_equal(integers, stored.integers)
        assert np.allclose(scale, stored.scale, rtol=1e-6)
    ranges = ptq.collect_ranges(float_file, x).ranges
    known = [a for a in found.activations if a.name in ranges]
    assert len(known) > 8
    for activation in known:
        scale, zero_point = plain.scale_and_zero_point(*ranges[activation.name])
        assert activation.scale == pytest.approx(scale, rel=1e-6)
        assert activation.zero_point == zero_point


def test_a_float_file_stores_no_integers(small):
    with pytest.raises(BadFile, match="no quantized tensors"):
        stored_integers(small[1])


def test_a_simulated_network_is_near_the_integer_runtime(small):
    net, float_file, int8, x = small
    mappings = {name: plain.scale_and_zero_point(v.min(), v.max()) for name, v in tensor_values(net, x).items()}

    def activation(name, values):
        return plain.dequantize(plain.quantize(values, *mappings[name]), *mappings[name])

    def weight(values):
        integers, scale = plain.quantize_per_channel(values)
        return integers * scale.reshape(-1, *[1] * (values.ndim - 1))

    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = simulate(net, x, weight, activation, batch=20)
    with open_engine(int8) as engine:
        real = engine.predict(x)
    with open_engine(float_file) as engine:
        exact = engine.predict(x)
    step = mappings["head"][0]
    assert np.abs(found - real).max() <= 3 * step
    assert np.abs(found - exact).max() > 1e-4  # it did round
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_function_that_changes_a_shape_is_named(small):
    net, _, _, x = small
    with pytest.raises(BadInput, match=r"The weight of 'stem\.conv'"):
        simulate(net, x[:2], lambda w: w.ravel(), lambda _, v: v)
    with pytest.raises(BadInput, match="The tensor 'input'"):
        simulate(net, x[:2], lambda w: w, lambda _, v: v[:1])


def test_an_untouched_simulation_is_the_network(small):
    net, float_file, _, x = small
    with open_engine(float_file) as engine:
        assert np.allclose(simulate(net, x, lambda w: w, lambda _, v: v), engine.predict(x), atol=1e-3)
