"""The affine mapping against the runtimes that define it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgelab.compress.affine import (
    Affine,
    affine_parameters,
    dequantize,
    fake_quantize,
    per_channel,
    quantize,
    sqnr_db,
)
from edgelab.errors import BadInput

finite = st.floats(-1e6, 1e6, width=32)
tensors = arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=6), elements=finite)
ranges = st.tuples(finite, finite).map(sorted)


def operator(name, x, affine):
    """Run one ONNX operator in ONNX Runtime."""
    import onnx
    import onnxruntime as ort

    ort.set_default_logger_severity(3)
    kind = onnx.helper.np_dtype_to_tensor_dtype(affine.dtype)
    real = onnx.TensorProto.FLOAT
    source, target = (real, kind) if name == "QuantizeLinear" else (kind, real)
    attributes = {} if affine.axis is None else {"axis": affine.axis}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(name, ["x", "scale", "zero"], ["y"], **attributes)],
        "one",
        [onnx.helper.make_tensor_value_info("x", source, x.shape)],
        [onnx.helper.make_tensor_value_info("y", target, x.shape)],
        [
            onnx.numpy_helper.from_array(affine.scale, "scale"),
            onnx.numpy_helper.from_array(affine.zero_point.astype(affine.dtype), "zero"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@settings(max_examples=60, deadline=None)
@given(tensors, ranges, st.sampled_from([8, 16]), st.booleans(), st.booleans())
def test_a_tensor_maps_bit_for_bit_as_onnx_runtime_maps_it(x, ends, bits, symmetric, signed):
    affine = affine_parameters(*ends, bits, symmetric, signed)
    q = quantize(x, affine)
    np.testing.assert_array_equal(q, operator("QuantizeLinear", x, affine))
    real = dequantize(q, affine)
    np.testing.assert_array_equal(real.view(np.int32), operator("DequantizeLinear", q, affine).view(np.int32))


@settings(max_examples=40, deadline=None)
@given(tensors, st.data(), st.booleans(), st.booleans())
def test_channels_map_bit_for_bit_as_onnx_runtime_maps_them(x, data, symmetric, signed):
    axis = data.draw(st.integers(0, x.ndim - 1))
    affine = per_channel(x, axis, 8, symmetric, signed)
    q = quantize(x, affine)
    np.testing.assert_array_equal(q, operator("QuantizeLinear", x, affine))
    real = dequantize(q, affine)
    np.testing.assert_array_equal(real.view(np.int32), operator("DequantizeLinear", q, affine).view(np.int32))


def test_every_half_way_point_rounds_to_even_as_in_onnx_runtime():
    steps = np.arange(-300, 300, dtype=np.float32) + np.float32(0.5)
    for zero_point in (-3, 0, 4):
        affine = Affine(0.25, zero_point)
        np.testing.assert_array_equal(
            quantize(steps * 0.25, affine), operator("QuantizeLinear", steps * np.float32(0.25), affine)
        )
    assert quantize([0.5, 1.5, 2.5, -0.5, -1.5], Affine(1.0, 0)).tolist() == [0, 2, 2, 0, -2]


@settings(max_examples=80, deadline=None)
@given(tensors, ranges, st.integers(2, 8), st.booleans())
def test_fake_quantization_agrees_with_pytorch(x, ends, bits, signed):
    import torch

    affine = affine_parameters(*ends, bits, False, signed)
    theirs = torch.fake_quantize_per_tensor_affine(
        torch.from_numpy(x), float(affine.scale), int(affine.zero_point), affine.qmin, affine.qmax
    ).numpy()
    ours = fake_quantize(x, affine)
    # PyTorch multiplies by 1/scale where ONNX divides: one step apart is possible, on a rounding boundary alone.
    steps = np.float64(x) / np.float64(affine.scale)
    boundary = np.abs(np.abs(steps - np.trunc(steps)) - 0.5) <= 1e-6 * np.maximum(np.abs(steps), 1)
    np.testing.assert_array_equal(ours[~boundary], theirs[~boundary])
    assert (np.abs(np.float64(ours) - theirs) <= 1.001 * float(affine.scale)).all()


@settings(max_examples=50, deadline=None)
@given(tensors, st.integers(-10, 10), st.integers(-100, 100))
def test_fake_quantization_is_pytorchs_bit_for_bit_at_power_of_two_scales(x, exponent, zero_point):
    import torch

    affine = Affine(2.0**exponent, zero_point)
    theirs = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), float(affine.scale), zero_point, -128, 127)
    np.testing.assert_array_equal(fake_quantize(x, affine), theirs.numpy())


@settings(max_examples=100, deadline=None)
@given(ranges, st.sampled_from([(True, True), (False, False), (True, False)]))
def test_parameters_are_those_of_onnx_runtimes_quantizer(ends, kind):
    from onnxruntime.quantization.quant_utils import compute_scale_zp, get_qmin_qmax_for_qType

    signed, symmetric = kind
    import onnx

    which = onnx.TensorProto.INT8 if signed else onnx.TensorProto.UINT8
    qmin, qmax = get_qmin_qmax_for_qType(which, symmetric=symmetric)
    zero_point, scale = compute_scale_zp(np.float32(ends[0]), np.float32(ends[1]), qmin, qmax, symmetric)
    affine = affine_parameters(np.float32(ends[0]), np.float32(ends[1]), 8, symmetric, signed)
    assert affine.scale == np.float32(scale)
    assert affine.zero_point == int(zero_point)


@settings(max_examples=150, deadline=None)
@given(ranges, st.integers(2, 16), st.booleans(), st.booleans())
def test_zero_is_exact_and_the_range_is_covered_to_half_a_step(ends, bits, symmetric, signed):
    affine = affine_parameters(*ends, bits, symmetric, signed)
    assert fake_quantize([0.0], affine)[0] == 0.0
    low, high = np.float32(min(ends[0], 0)), np.float32(max(ends[1], 0))
    x = np.linspace(low, high, 101, dtype=np.float32)
    error = np.abs(np.float64(fake_quantize(x, affine)) - x)
    # The zero point is rounded, so one end of an asymmetric range may lie up to half a step outside.
    limit = 0.5 if symmetric else 1.0
    assert error.max() <= (limit + 1e-3) * float(affine.scale)


def test_one_bit_more_adds_about_six_decibels():
    x = np.random.default_rng(0).uniform(-1, 1, 20_000)
    ratios = [sqnr_db(x, fake_quantize(x, affine_parameters(-1, 1, bits))) for bits in range(5, 12)]
    np.testing.assert_allclose(np.diff(ratios), 6.02, atol=0.25)


def test_channels_lose_no_more_than_the_whole_tensor():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3, 3, 3)) * np.exp2(rng.uniform(-3, 3, (8, 1, 1, 1)))
    whole = affine_parameters(x.min(), x.max(), symmetric=True)
    assert sqnr_db(x, fake_quantize(x, per_channel(x, 0))) > sqnr_db(x, fake_quantize(x, whole)) + 3
    assert per_channel(x, -4).axis == 0


@pytest.mark.parametrize(("low", "high"), [(0, 0), (5, 5), (-5, -5), (2, 3), (-3, -2), (1e-45, 1e-44)])
def test_degenerate_ranges_still_hold_zero(low, high):
    for symmetric in (False, True):
        for signed in (False, True):
            affine = affine_parameters(low, high, 8, symmetric, signed)
            assert np.isfinite(affine.scale)
            assert affine.scale > 0
            assert fake_quantize([0.0], affine).tolist() == [0.0]
            assert abs(fake_quantize([high], affine)[0] - high) <= affine.scale


def test_an_overflowing_division_saturates():
    assert quantize([3e38, -3e38], Affine(1e-30, 0)).tolist() == [127, -128]


def test_representable_ends_and_description():
    affine = affine_parameters(-1, 1, bits=4, symmetric=True)
    assert (affine.qmin, affine.qmax, affine.dtype) == (-8, 7, np.int8)
    assert affine.high == pytest.approx(1.0)
    assert affine.low == pytest.approx(-8 / 7)
    assert "int4" in affine._repr_markdown_()
    assert "2 channels" in per_channel([[1.0], [2.0]], 0)._repr_markdown_()
    assert affine.to_dict()["bits"] == 4


@pytest.mark.parametrize(
    "call",
    [
        lambda: affine_parameters(np.nan, 1),
        lambda: affine_parameters(0, np.inf),
        lambda: affine_parameters(1, 0),
        lambda: affine_parameters(0, 1, bits=1),
        lambda: affine_parameters(0, 1, bits=17),
        lambda: affine_parameters(0, 1, bits=8.5),
        lambda: affine_parameters(0, 1, bits=True),
        lambda: quantize([np.nan], Affine(1.0, 0)),
        lambda: quantize([np.inf], Affine(1.0, 0)),
        lambda: quantize([1e300], Affine(1.0, 0)),
        lambda: quantize(["a"], Affine(1.0, 0)),
        lambda: quantize([1.0, 2.0, 3.0], Affine([1.0, 1.0], [0, 0], axis=0)),
        lambda: dequantize([1, 2, 3], Affine([1.0, 1.0], [0, 0], axis=0)),
        lambda: Affine(0.0, 0),
        lambda: Affine(np.nan, 0),
        lambda: Affine(1.0, 128),
        lambda: Affine(1.0, 0.5),
        lambda: Affine([1.0, 1.0], [0, 0]),
        lambda: Affine([1.0, 1.0], [0], axis=0),
        lambda: per_channel([[1.0]], 2),
        lambda: per_channel([], 0),
        lambda: per_channel([np.nan], 0),
        lambda: sqnr_db([0.0], [0.0]),
        lambda: sqnr_db([1.0], [[1.0], [1.0]]),
        lambda: sqnr_db([1.0], [np.nan]),
    ],
)
def test_what_cannot_be_mapped_is_named(call):
    with pytest.raises(BadInput, match=r"^[A-Z0-9b].*\.$"):
        call()


def test_nothing_lost_is_infinite():
    assert sqnr_db([1.0], [1.0]) == float("inf")
