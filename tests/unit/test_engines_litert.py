"""The LiteRT engine: quantization at the border, layouts, batches, delegates, and LiteRT's own profiler."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert

from edgelab.engines import Engine, open_engine
from edgelab.engines.litert import LiteRTEngine
from edgelab.errors import BadInput

MODELS = Path(__file__).parents[1] / "data" / "mcu_oracle"
NAMES = ("conv1d_vibration", "dscnn_28_gray", "squeeze_excite", "tabular_mlp")
SHAPES = {
    "conv1d_vibration": (1, 256),
    "dscnn_28_gray": (1, 28, 28),
    "squeeze_excite": (8, 12, 12),
    "tabular_mlp": (13,),
}


def inputs(name, count=5):
    return np.random.default_rng(1).normal(size=(count, *SHAPES[name])).astype(np.float32)


def by_hand(name, x):
    """What the interpreter gives for channels-last, hand-quantized inputs, one at a time."""
    interpreter = litert.Interpreter(str(MODELS / f"{name}.tflite"))
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = given["quantization"]
    out_scale, out_zero_point = answer["quantization"]
    rows = []
    for row in x:
        item = np.moveaxis(row, 0, -1) if row.ndim > 1 else row
        quantized = np.clip(np.round(item / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], quantized[None])
        interpreter.invoke()
        rows.append((interpreter.get_tensor(answer["index"])[0].astype(np.float32) - out_zero_point) * out_scale)
    return np.array(rows, np.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("xnnpack", [True, False])
def test_quantizes_transposes_and_dequantizes(name, xnnpack):
    x = inputs(name)
    with open_engine(MODELS / f"{name}.tflite", xnnpack=xnnpack) as engine:
        assert isinstance(engine, LiteRTEngine)
        assert isinstance(engine, Engine)
        assert engine.name.startswith("LiteRT 2.")
        y = engine.predict(x)
        step = engine.outputs[0].scale
    assert y.dtype == np.float32
    # The two kernel families may round a tie differently: one step of the output.
    np.testing.assert_allclose(y, by_hand(name, x), atol=0 if xnnpack else 1.01 * step)


def test_states_its_quantized_input():
    with open_engine(MODELS / "dscnn_28_gray.tflite") as engine:
        (given,) = engine.inputs
    assert (given.shape, given.dtype, given.zero_point) == ((1, 28, 28, 1), "int8", -4)
    assert given.scale == pytest.approx(0.036180686)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_resized_where_the_graph_lets_it_and_gives_the_same(name):
    x = inputs(name, 6)
    with open_engine(MODELS / f"{name}.tflite") as one, open_engine(MODELS / f"{name}.tflite", batch=4) as four:
        np.testing.assert_array_equal(one.predict(x), four.predict(x))
        # Its reshapes hold the batch of one: the file cannot be resized, six inputs are six calls.
        assert four.calls_per_run(x) == (6 if name == "conv1d_vibration" else 1)
        assert len(four.time(x, runs=2).seconds) == 2
        np.testing.assert_array_equal(one.predict(x), four.predict(x))


def test_dimensions_of_one_do_not_matter():
    x = inputs("conv1d_vibration")
    with open_engine(MODELS / "conv1d_vibration.tflite") as engine:
        np.testing.assert_array_equal(engine.predict(x), engine.predict(x[:, :, :, None]))


def test_bad_input_names_both_shapes():
    both = r"input of shape \(1, 28, 28, 1\), and x has shape \(2, 1, 28, 27\)"
    with open_engine(MODELS / "dscnn_28_gray.tflite") as engine, pytest.raises(BadInput, match=both):
        engine.predict(np.zeros((2, 1, 28, 27), np.float32))


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("channels_first", r"\(1, 12, 12, 8\) \(layout='channels_first'\)"),
        ("rows", "layout='rows' is not one of"),
    ],
)
def test_a_layout_that_does_not_fit(layout, expected):
    path = MODELS / "squeeze_excite.tflite"
    with open_engine(path, layout=layout) as engine, pytest.raises(BadInput, match=expected):
        engine.predict(inputs("squeeze_excite"))


def test_values_beyond_the_range_saturate():
    with open_engine(MODELS / "tabular_mlp.tflite") as engine:
        y = engine.predict(np.array([[1e30] * 13, [-1e30] * 13], np.float32))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("name", NAMES)
def test_profile_of_the_builtin_kernels_lists_the_operators_of_the_file(name):
    interpreter = litert.Interpreter(
        str(MODELS / f"{name}.tflite"),
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    wanted = [operator["op_name"] for operator in interpreter._get_ops_details()]
    with open_engine(MODELS / f"{name}.tflite", xnnpack=False) as engine:
        operators = engine.profile(inputs(name, 2), runs=3)
        assert engine.predict(inputs(name)).shape[0] == 5  # the engine itself was not touched
    assert [o.type for o in operators] == wanted
    assert {o.ran_in for o in operators} == {"int8"}
    assert all(o.runs == 3 and o.median_ms >= 0 for o in operators)
    assert sum(o.median_ms for o in operators) > 0


def test_profile_names_the_kernels_of_xnnpack():
    with open_engine(MODELS / "dscnn_28_gray.tflite") as engine:
        operators = engine.profile(inputs("dscnn_28_gray", 8), runs=3)
    kernels = [o for o in operators if o.name.startswith("XNNPACK")]
    assert [o.type for o in kernels if "DWConv" in o.type]
    assert {o.ran_in for o in kernels} == {"int8"}
    assert not any("Delegate" in o.type for o in operators)


@pytest.fixture(scope="session")
def float_model(tmp_path_factory):
    """A float model with an open batch, converted by TensorFlow in a process of its own."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    folder = tmp_path_factory.mktemp("tflite")
    script = f"""
import json, numpy as np, tensorflow as tf
tf.keras.utils.set_random_seed(0)
layers = tf.keras.layers
model = tf.keras.Sequential([
    layers.Input((8, 8, 8)), layers.Conv2D(16, 3, padding="same", activation="relu", bias_initializer="ones"),
    layers.GlobalAveragePooling2D(), layers.Dense(4, bias_initializer="ones")])
x = np.random.default_rng(0).normal(size=(3, 8, 8, 8)).astype("float32")
convert = tf.lite.TFLiteConverter.from_keras_model(model).convert
open({str(folder / "float.tflite")!r}, "wb").write(convert())
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
open({str(folder / "dynamic.tflite")!r}, "wb").write(converter.convert())
converter.target_spec.supported_types = [tf.float16]
open({str(folder / "half.tflite")!r}, "wb").write(converter.convert())
np.savez({str(folder / "wanted.npz")!r}, x=x, y=model(x).numpy())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_a_float_model_of_an_open_batch(float_model):
    arrays = np.load(float_model / "wanted.npz")
    x = np.ascontiguousarray(np.moveaxis(arrays["x"], -1, 1))
    with open_engine(float_model / "float.tflite", layout="channels_last") as engine:
        assert engine.inputs[0].shape == (None, 8, 8, 8)
        assert engine.inputs[0].dtype == "float32"
        np.testing.assert_allclose(engine.predict(x), arrays["y"], atol=1e-4)
        assert engine.calls_per_run(x) == 1
        operators = engine.profile(x, runs=2)
    assert {o.ran_in for o in operators} == {"float32"}
    assert any("Convolution" in o.type for o in operators)
    with open_engine(float_model / "float.tflite") as engine:  # 8x8x8 fits both orders: channels last is the rule
        np.testing.assert_allclose(engine.predict(x), arrays["y"], atol=1e-4)
    with open_engine(float_model / "float.tflite", layout="channels_first") as engine:
        assert np.abs(engine.predict(x) - arrays["y"]).max() > 1e-3


def test_reports_of_float_dynamic_and_half_precision_files(float_model):
    from edgelab.measure.inspect import inspect_model

    found = {name: inspect_model(float_model / f"{name}.tflite") for name in ("float", "dynamic", "half")}
    parameters = 16 * 8 * 9 + 16 + 16 * 4 + 4
    macs = 8 * 8 * 16 * 8 * 9 + 16 * 4
    for report in found.values():
        assert (report.parameters, report.macs) == (parameters, macs)
        assert report.inputs[0].shape == (None, 8, 8, 8)
        json.dumps(report.to_dict(), allow_nan=False)
    assert found["float"].quantization.kind == "none"
    assert found["float"].weight_bytes == {"float32": 4 * parameters}
    assert found["half"].quantization.kind == "weights_only"
    assert found["half"].weight_bytes == {"float16": 2 * parameters}
    dynamic = found["dynamic"].quantization
    assert (dynamic.kind, dynamic.granularity, dynamic.weights) == ("dynamic", "per_channel", ("int8",))
    assert (dynamic.quantized_operators, dynamic.weighted_operators) == (1, 2)  # tiny tensors stay in float
