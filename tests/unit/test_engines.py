"""The ONNX Runtime engine, the choice of an engine, and what they say about bad files and bad input."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from edgelab import nets
from edgelab.convert.onnx import export
from edgelab.engines import Engine, model_format, open_engine
from edgelab.engines.litert import LiteRTEngine
from edgelab.engines.onnxruntime import OnnxRuntimeEngine, _operators
from edgelab.errors import BadFile, BadInput, MissingFramework
from edgelab.measure import latency

MODELS = Path(__file__).parents[1] / "data" / "mcu_oracle"


def conv_net(path, module, *, batch="N", input_shape=(3, 16, 16), transpose=False):
    """Conv, Relu, global mean and a linear layer with the weights of a PyTorch module, as an .onnx file."""
    conv, linear = module[0], module[4]
    tensors = {"cw": conv.weight, "cb": conv.bias, "lw": linear.weight, "lb": linear.bias}
    weights = [numpy_helper.from_array(t.detach().numpy(), name) for name, t in tensors.items()]
    nodes = [
        helper.make_node("Conv", ["i", "cw", "cb"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="mean"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "lw", "lb"], ["y"], name="linear", transB=1),
    ]
    first = helper.make_node("Transpose", ["x"], ["i"], perm=[0, 3, 1, 2]) if transpose else None
    first = first or helper.make_node("Identity", ["x"], ["i"])
    graph = helper.make_graph(
        [first, *nodes],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *input_shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 5),
    ]
    return torch.nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(6, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def wanted(module, x):
    with torch.inference_mode():
        return module(torch.from_numpy(x)).numpy()


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory, module):
    return conv_net(tmp_path_factory.mktemp("onnx") / "net.onnx", module)


@pytest.fixture(scope="module")
def engine(onnx_file):
    with open_engine(onnx_file) as engine:
        yield engine


def test_predicts_what_the_network_says(engine, x, wanted):
    y = engine.predict(x)
    assert y.dtype == np.float32
    assert y.shape == (6, 5)
    np.testing.assert_allclose(y, wanted, atol=1e-5)


def test_states_name_inputs_and_outputs(engine):
    assert isinstance(engine, Engine)
    assert engine.name.startswith("ONNX Runtime 1.")
    assert [(i.name, i.shape, i.dtype) for i in engine.inputs] == [("x", (None, 3, 16, 16), "float32")]
    assert [(o.name, o.shape, o.dtype) for o in engine.outputs] == [("y", (None, 5), "float32")]
    assert engine.raw.alive


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_fixed_batch_is_fed_in_its_own_size_and_the_last_is_filled_up(tmp_path, module, x, wanted, batch):
    with open_engine(conv_net(tmp_path / "fixed.onnx", module, batch=batch)) as engine:
        np.testing.assert_allclose(engine.predict(x[:5]), wanted[:5], atol=1e-5)
        assert engine.calls_per_run(x[:5]) == -(-5 // batch)
        assert len(engine.time(x[:5], runs=3).seconds) == 3


def test_an_open_batch_can_be_cut(onnx_file, x, wanted):
    with open_engine(onnx_file, batch=4) as engine:
        np.testing.assert_allclose(engine.predict(x), wanted, atol=1e-5)
        assert engine.calls_per_run(x) == 1  # a timed run takes the batch whole


def test_channels_last_models_get_channels_last(tmp_path, module, x, wanted):
    path = conv_net(tmp_path / "nhwc.onnx", module, input_shape=(16, 16, 3), transpose=True)
    with open_engine(path) as engine:
        np.testing.assert_allclose(engine.predict(x), wanted, atol=1e-5)


def test_layout_decides_where_both_orders_fit(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "same",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 3, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, tmp_path / "same.onnx")
    x = np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3)
    with open_engine(tmp_path / "same.onnx") as engine:
        np.testing.assert_array_equal(engine.predict(x), x)
    with open_engine(tmp_path / "same.onnx", layout="channels_last") as engine:
        np.testing.assert_array_equal(engine.predict(x), np.moveaxis(x, 1, -1))


def test_times_in_small_blocks_and_measures_the_first_inference(onnx_file, x):
    with open_engine(onnx_file) as engine:
        assert engine.load_seconds > 0
        first = engine.time(x[:1], runs=1).seconds
        block = engine.time(x[:1], runs=10, warmup=2).seconds
        assert first.shape == (1,)
        assert block.shape == (10,)
        assert (block > 0).all()
        assert block.dtype == np.float64


def test_a_changed_array_is_sent_again(engine, x):
    mutable = x[:1].copy()
    engine.time(mutable, runs=1)
    mutable[:] = 7
    engine.time(mutable, runs=1)
    assert (engine._sent == 7).all()


def test_counts_the_memory_of_the_child(engine):
    assert 10e6 < engine.base_memory_bytes < engine.peak_memory_bytes() < 2e9


def test_profile_gives_each_operator_its_time_and_type(onnx_file, x):
    with open_engine(onnx_file, graph_optimization=False) as engine:
        operators = engine.profile(x, runs=4)
    assert [o.name for o in operators if o.type != "Identity"] == ["conv", "relu", "mean", "flatten", "linear"]
    assert {o.ran_in for o in operators} == {"float32"}
    assert all(o.runs == 4 and o.median_ms >= 0 for o in operators)
    assert operators[1].type in ("Conv", "Relu")


def test_the_profile_agrees_with_the_race(tmp_path):
    torch.manual_seed(0)
    net, x = nets.dscnn(classes=10).eval(), np.random.default_rng(0).normal(size=(1, 3, 96, 96)).astype(np.float32)
    with open_engine(export(net, x, tmp_path / "net.onnx").path) as engine:
        raced = latency.measure_latency({"net": engine}, x, runs=80).readings["net"]["p50"]
        operators = engine.profile(x, runs=80)
    profiled = sum(o.median_ms for o in operators)
    clock = 0.003 * len(operators)  # the profiler reads its clock twice for each operator, in whole microseconds
    assert 0.85 * raced.low <= profiled <= 1.15 * raced.high + clock


def test_one_disturbed_run_does_not_move_the_profile():
    events = []
    for run in range(5):
        start = 1000.0 * run
        events.append({"name": "model_run", "ts": start, "dur": 900.0})
        for place, (name, microseconds) in enumerate({"conv": 300.0, "flatten": 2.0}.items()):
            late = 90_000.0 if (run, name) == (3, "flatten") else 0.0
            args = {"node_index": str(place), "op_name": name, "input_type_shape": [{"float": [1]}]}
            event = {"cat": "Node", "name": f"{name}_kernel_time", "ts": start + 10 + place, "args": args}
            events.append({**event, "dur": microseconds + late})
    found = _operators(events, runs=4, skipped=1, expected=5, path="net.onnx")
    assert {o.name: o.median_ms for o in found} == {"conv": pytest.approx(0.3), "flatten": pytest.approx(0.002)}


class _Reader(CalibrationDataReader):
    def __init__(self, x):
        self._rows = iter([{"x": row[None]} for row in x])

    def get_next(self):
        return next(self._rows, None)


@pytest.mark.parametrize(
    ("form", "product"), [(QuantFormat.QDQ, "QLinearConv"), (QuantFormat.QOperator, "QLinearConv")]
)
def test_profile_shows_what_really_ran_in_8_bits(tmp_path, onnx_file, x, form, product):
    path = tmp_path / "int8.onnx"
    quantize_static(onnx_file, path, _Reader(x), form, activation_type=QuantType.QUInt8)
    with open_engine(path) as engine:
        ran = {o.type: o.ran_in for o in engine.profile(x, runs=3)}
    assert ran[product] in ("uint8", "int8")
    assert ran["QuantizeLinear"] == "float32"
    with open_engine(path, graph_optimization=False) as engine:
        ran = {o.type: o.ran_in for o in engine.profile(x, runs=3)}
    if form is QuantFormat.QDQ:  # unfused, the convolution runs in float
        assert ran["Conv"] == "float32"


@pytest.mark.parametrize(("level", "ran_in"), [(0, "float32"), (4, "int8")])
def test_profile_tells_integer_from_float_products_of_4_bit_weights(tmp_path, level, ran_in):
    weight = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 32])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    quantizer = MatMulNBitsQuantizer(model, block_size=32, is_symmetric=True, accuracy_level=level)
    quantizer.process()
    quantizer.model.save_model_to_file(str(tmp_path / "int4.onnx"))
    with open_engine(tmp_path / "int4.onnx") as engine:
        (product,) = engine.profile(np.ones((1, 64), np.float32), runs=2)
    assert (product.type, product.ran_in) == ("MatMulNBits", ran_in)


def test_profile_leaves_no_file_behind(tmp_path, monkeypatch, onnx_file, x):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with open_engine(onnx_file) as engine:
        engine.profile(x, runs=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x[:, :2], r"expects an input of shape \(N, 3, 16, 16\), and x has shape \(6, 2, 16, 16\)"),
        (lambda x: x[0], r"expects an input of shape \(N, 3, 16, 16\), and x has shape \(3, 16, 16\)"),
        (lambda x: x[:, :, :8], r"\(N, 3, 16, 16\), and x has shape \(6, 3, 8, 16\)"),
        (lambda x: x.astype(np.float64), "must be float32, not float64"),
        (lambda x: np.where(x > 0, np.float32("nan"), x), "NaN or infinite"),
        (lambda x: x[:0], "at least one item"),
        (lambda x: x.tolist(), "numpy array of float32, not list"),
    ],
)
def test_bad_input_is_one_sentence_and_the_engine_goes_on(engine, x, wanted, change, expected):
    for call in (engine.predict, lambda bad: engine.time(bad, 1), lambda bad: engine.profile(bad, 1)):
        with pytest.raises(BadInput, match=expected):
            call(change(x))
    np.testing.assert_allclose(engine.predict(x), wanted, atol=1e-5)


@pytest.mark.parametrize(("runs", "warmup"), [(0, 0), (-1, 0), (1, -1)])
def test_bad_run_counts(engine, x, runs, warmup):
    with pytest.raises(BadInput, match="runs must be at least 1"):
        engine.time(x, runs, warmup)


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, 1000])
def test_bad_thread_counts(onnx_file, threads):
    with pytest.raises(BadInput, match="threads must be a whole number"):
        open_engine(onnx_file, threads=threads)


def test_unknown_options_and_outputs(onnx_file):
    with pytest.raises(BadInput, match="does not take this option"):
        open_engine(onnx_file, xnnpack=False)
    with pytest.raises(BadInput, match="has no output 'logits'; it has y"):
        open_engine(onnx_file, output="logits")
    with pytest.raises(BadInput, match="timeout must be a positive number"):
        open_engine(onnx_file, timeout=0)


def test_a_closed_engine_says_so(onnx_file, x):
    engine = open_engine(onnx_file)
    engine.close()
    engine.close()
    with pytest.raises(BadInput, match="is closed; open the model again"):
        engine.predict(x)
    assert not engine.raw.alive


def _contents(onnx_file):
    whole, tflite = onnx_file.read_bytes(), (MODELS / "tabular_mlp.tflite").read_bytes()
    return {
        "empty": (b"", "is empty"),
        "text": (b"this is not a model at all, but text\n", "neither an ONNX nor a TensorFlow Lite model"),
        "zip": (b"PK\x03\x04" + bytes(100), "a zip archive"),
        "pickle": (b"\x80\x02}q\x00.", "a pickle"),
        "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
        "half onnx": (whole[: len(whole) // 2], "truncated or damaged"),
        "half tflite": (tflite[: len(tflite) // 2], "LiteRT cannot load|truncated|damaged"),
        "tflite head": (b"\x1c\0\0\0TFL3" + bytes(8), "cannot load"),
    }


@pytest.mark.parametrize("case", ["empty", "text", "zip", "pickle", "hdf5", "half onnx", "half tflite", "tflite head"])
def test_bad_files_are_one_sentence_with_the_name(tmp_path, onnx_file, case):
    content, expected = _contents(onnx_file)[case]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=expected) as error:
        open_engine(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(BadFile, match="does not exist"):
        open_engine(tmp_path / "nothing.onnx")
    with pytest.raises(BadFile, match="is a folder"):
        open_engine(tmp_path)


def test_content_decides_not_the_suffix(tmp_path, onnx_file):
    renamed = tmp_path / "actually_tflite.onnx"
    renamed.write_bytes((MODELS / "tabular_mlp.tflite").read_bytes())
    assert model_format(renamed) == "tflite"
    with open_engine(renamed) as engine:
        assert isinstance(engine, LiteRTEngine)
    renamed.write_bytes(onnx_file.read_bytes())
    with open_engine(renamed) as engine:
        assert isinstance(engine, OnnxRuntimeEngine)


def test_a_model_of_an_unknown_operator_is_a_bad_file(tmp_path, onnx_file):
    model = onnx.load(onnx_file)
    model.graph.node[2].op_type = "Relumax"
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(BadFile, match="Relumax"):
        open_engine(tmp_path / "odd.onnx")


def test_a_model_of_two_inputs_is_refused_when_it_is_fed(tmp_path):
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("a", "b", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "two", info[:2], info[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, tmp_path / "two.onnx")
    with open_engine(tmp_path / "two.onnx") as engine:
        assert [i.name for i in engine.inputs] == ["a", "b"]
        with pytest.raises(BadInput, match=r"has 2 inputs \(a, b\)"):
            engine.predict(np.zeros((1, 4), np.float32))


def test_integer_inputs_without_a_scale_take_whole_numbers_only(tmp_path):
    info = [helper.make_tensor_value_info("x", TensorProto.INT64, ["N", 4])]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])]
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    model = helper.make_model(helper.make_graph([node], "cast", info, out), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, tmp_path / "cast.onnx")
    with open_engine(tmp_path / "cast.onnx") as engine:
        whole = np.array([[1, 2, 3, -4]], np.float32)
        np.testing.assert_array_equal(engine.predict(whole), whole)
        with pytest.raises(BadInput, match="whole numbers of type int64"):
            engine.predict(whole / 2)


@pytest.mark.parametrize("package", ["onnxruntime", "ai_edge_litert"])
def test_a_missing_framework_names_the_command(tmp_path, monkeypatch, onnx_file, package):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f"raise ImportError('No module named {package}')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = onnx_file if package == "onnxruntime" else MODELS / "tabular_mlp.tflite"
    with pytest.raises(MissingFramework, match=f"uv pip install {package.replace('_', '-')}"):
        open_engine(path)


def test_a_library_of_the_current_folder_is_not_imported(tmp_path, monkeypatch, onnx_file, x):
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit('the wrong one')\n")
    monkeypatch.chdir(tmp_path)
    with open_engine(onnx_file) as engine:
        assert engine.predict(x).shape == (6, 5)


def test_engines_of_the_same_file_live_side_by_side(onnx_file, x, wanted):
    with open_engine(onnx_file) as one, open_engine(onnx_file, threads=2) as two:
        assert one.raw.pid != two.raw.pid
        np.testing.assert_allclose(one.predict(x), wanted, atol=1e-5)
        np.testing.assert_allclose(two.predict(x), wanted, atol=1e-5)
        one.close()
        np.testing.assert_allclose(two.predict(x), wanted, atol=1e-5)


def test_what_holds_other_operators_is_profiled_without_them(tmp_path):
    """The runtime's profiler counts the operators inside of If twice: by themselves and as time of the If."""
    size = 256
    weight = numpy_helper.from_array(np.ones((size, size), np.float32), "w")
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], [name], name=f"product_{name}")],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["y"], name="choice", **branches),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, size])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, [weight]),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 18)],
    )
    onnx.save(model, tmp_path / "if.onnx")
    with open_engine(tmp_path / "if.onnx") as engine:
        found = {o.type: o for o in engine.profile(np.ones((size, size), np.float32), runs=4)}
    assert found["If"].median_ms < 0.5 * found["MatMul"].median_ms
    assert found["If"].ran_in == "float32"
