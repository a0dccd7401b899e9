"""What is in files as practitioners have them: open axes, control flow, own operators, names that give orders."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgelab.cli import main
from edgelab.errors import BadFile, BadInput
from edgelab.feeding.options import FeedOptions
from edgelab.measure.bench import bench
from edgelab.measure.inspect import inspect_model
from edgelab.quiet import without_commands
from edgelab.reading import Table
from tests import open_files

CASES = Path(__file__).parents[1] / "data" / "cases"
ORDERS = {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))} | set("\u202e\u2066\u200f\u2028\ufeff")


def sized(path, *shapes, dims=()):
    return inspect_model(path, FeedOptions.parse(shapes, dims))


@pytest.mark.parametrize(
    ("name", "shape", "macs"),
    [
        # 4 kernels of 3 x 5 x 5 at each place without a border, and nothing behind the average
        ("06_dynamic_hw.onnx", "1x3x32x32", 28 * 28 * 4 * 3 * 5 * 5),
        # 4 kernels of 3 x 3 x 3 without a border, then 4 x 3 for the classes
        ("06b_dynamic_hw.tflite", "1x32x32x3", 30 * 30 * 4 * 3 * 3 * 3 + 12),
    ],
)
def test_open_axes_leave_macs_unknown_until_a_shape_is_given(name, shape, macs):
    report = inspect_model(CASES / name)
    assert report.macs is None
    assert "unknown" in report.table().text()
    assert "--shape" in report.table().note
    assert report.to_dict()["macs"] is None
    found = sized(CASES / name, shape)
    assert found.macs == macs
    assert f"as {shape}" in found.table().note
    with pytest.raises(BadInput, match="one shape"):
        sized(CASES / name, shape, shape)


def test_a_named_axis_gives_the_size():
    assert sized(CASES / "06_dynamic_hw.onnx", dims=["H=32", "W=32"]).macs == 28 * 28 * 4 * 3 * 5 * 5
    with pytest.raises(BadInput, match="no axis called 'Z'"):
        sized(CASES / "06_dynamic_hw.onnx", dims=["Z=32"])


def test_a_hint_of_the_file_counts(tmp_path):
    path = open_files.detector(tmp_path / "d.onnx", ("batch", 3, "h", "w"), {"imgsz": "[64, 96]"})
    report = inspect_model(path)
    assert report.hints == {"input.1": (None, 3, 64, 96)}
    assert report.macs == 32 * 48 * 4 * 27
    assert report.to_dict()["sizes"] == {"input.1": [1, 3, 64, 96]}


def test_operators_in_a_body_are_counted_and_how_often_they_run_is_not_known():
    report = inspect_model(CASES / "08_loop_profile_overflow.onnx")
    assert {layer.type: layer.inside for layer in report.layers} == {"Loop": "", "MatMul": "Loop", "Identity": "Loop"}
    assert report.macs is None
    assert report.parameters == 64
    assert "2 inside of Loop" in report.table().note


def test_a_branch_without_products_leaves_the_rest_known(tmp_path):
    path = open_files.voice(tmp_path / "voice.onnx")
    report = sized(path, "input:1x512")
    assert sum(layer.inside == "If" for layer in report.layers) == 2
    # every moment meets the weights of four gates: 1 input and 8 states, 8 units
    assert report.macs == 512 * (32 * 1 + 32 * 8)
    assert report.sizes["h"] == (1, 1, 8)


@pytest.mark.parametrize("family", [open_files.recogniser, open_files.file_type, open_files.music, open_files.counter])
def test_files_that_packages_ship(family, tmp_path):
    report = inspect_model(family(tmp_path / "m.onnx"))
    assert report.layers
    assert json.dumps(report.to_dict(), allow_nan=False)
    assert "Traceback" not in str(report)


def test_a_product_by_letters_is_counted(tmp_path):
    nodes = [helper.make_node("Einsum", ["x", "w"], ["y"], equation="bij,jk->bik")]
    inputs = [open_files.value("x", ["N", 5, 7])]
    made = open_files.model(
        tmp_path / "e.onnx", nodes, inputs, [open_files.value("y", None)], {"w": np.ones((7, 3), np.float32)}
    )
    assert inspect_model(made).macs == 5 * 7 * 3


def test_what_an_operator_of_its_makers_multiplies_is_not_known():
    report = inspect_model(CASES / "custom.onnx")
    assert report.macs is None
    assert report.layers[0].shape is None
    assert "unknown" in str(report)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("norank.onnx", "x of any rank float32"),
        ("zerodim.onnx", "x ?x0 float32"),
        ("seqout.onnx", "out: s sequence"),
        ("string_in2d.onnx", "x ?x1 string"),
        ("bf16.onnx", "x ?x8 bfloat16"),
        ("ids_mask.onnx", "ids ?x? int64 (open: N, S), mask ?x? int64"),
    ],
)
def test_inputs_and_outputs_are_stated_truly(name, words):
    assert words in inspect_model(CASES / name).table().note


def test_whole_bytes():
    whole = sum((CASES / f"ext_ok.{suffix}").stat().st_size for suffix in ("onnx", "bin"))
    assert inspect_model(CASES / "ext_ok.onnx").bytes == whole
    with pytest.raises(BadFile, match="Git LFS"):
        inspect_model(CASES / "13_git_lfs_pointer.onnx")


EVIL = "a\x1b]0;PWNED\x07\x1b[31m\u202ered\u2066\r\nnext\x9b2J|<b>"


@pytest.fixture
def evil(tmp_path):
    """A file whose names, producer, domain and metadata give orders to a terminal."""
    nodes = [helper.make_node("Relu", ["x"], [EVIL], name=EVIL), helper.make_node("Identity", [EVIL], ["y"])]
    shape = [open_files.value("x", [EVIL, 8]), open_files.value("y", [None, 8])]
    graph = helper.make_graph(nodes, EVIL, shape[:1], shape[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name=EVIL)
    helper.set_model_props(made, {EVIL: EVIL})
    path = tmp_path / "evil.onnx"
    onnx.save(made, path)
    return path


@pytest.mark.parametrize("verb", ["inspect", "bench"])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_text_from_a_file_gives_a_terminal_no_orders(evil, verb, form, capsys):
    assert main([verb, str(evil), *form, *(["--runs", "8"] if verb == "bench" else [])]) == 0
    said = capsys.readouterr()
    assert not set(said.out) & ORDERS
    assert "PWNED" not in said.out or form


@pytest.mark.parametrize("words", [["--shape", f"{EVIL}:1x8"], ["--dim", f"{EVIL}z=3"], ["--state", f"{EVIL}=y"]])
def test_errors_give_a_terminal_no_orders(evil, words, capsys):
    assert main(["bench", str(evil), *words]) == 2
    said = capsys.readouterr()
    assert said.err
    assert not set(said.err) - {"\n"} & ORDERS
    with pytest.raises(BadInput) as caught:
        bench(evil, feed=FeedOptions.parse([f"{EVIL}:1x8"]))
    assert not set(str(caught.value)) & ORDERS


def test_markdown_and_tables_are_whole(evil):
    report = inspect_model(evil)
    for text in (report._repr_markdown_(), report.table().text(), report.layer_table()._repr_markdown_()):
        assert not set(text) & ORDERS
    rows = report.layer_table()._repr_markdown_().splitlines()
    bars = {row.replace("\\|", "").count("|") for row in rows if row.startswith("|")}
    assert len(bars) == 1, rows
    table = Table("t\x1b[2J", ("a\u202eb",), [("x\x1b]0;P\x07\ny",)], "n\x9b2J")
    assert not set(table.text() + table._repr_markdown_()) & ORDERS
    assert len(table.text().splitlines()) == 4


def test_clean_text_keeps_what_is_text():
    assert without_commands("Grüße, 日本語 \u05e9\n\tx") == "Grüße, 日本語 \u05e9\n\tx"
    assert without_commands("abc\u202etxt.exe\u2069") == "abctxt.exe"


def test_a_recurrent_layer_of_open_length_is_not_known(tmp_path):
    assert inspect_model(open_files.voice(tmp_path / "voice.onnx")).macs is None


def test_attention_in_one_operator_is_not_known(tmp_path):
    node = helper.make_node("MultiHeadAttention", ["x", "x", "x"], ["y"], domain="com.microsoft", num_heads=2)
    graph = helper.make_graph([node], "g", [open_files.value("x", [1, 4, 8])], [open_files.value("y", [1, 4, 8])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "a.onnx")
    assert inspect_model(tmp_path / "a.onnx").macs is None


def test_external_weights_inside_of_a_branch_are_counted(tmp_path):
    def branch(name):
        weight = numpy_helper.from_array(np.ones((4, 4), np.float32), f"{name}_w")
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, text in {"location": f"{name}.bin", "offset": "0", "length": "64"}.items():
            weight.external_data.add(key=key, value=text)
        (tmp_path / f"{name}.bin").write_bytes(bytes(64))
        node = helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_y"])
        return helper.make_graph([node], name, [], [open_files.value(f"{name}_y", None)], [weight])

    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("b"))]
    inputs = [open_files.value("x", [1, 4]), open_files.value("c", [], TensorProto.BOOL)]
    path = open_files.model(tmp_path / "m.onnx", nodes, inputs, [open_files.value("y", None)])
    report = inspect_model(path)
    assert report.bytes == path.stat().st_size + 128
    assert report.parameters == 32
    assert report.macs is None


def test_the_links_of_a_model_cache_are_followed(tmp_path):
    """A hub keeps links in a snapshot to files that are called by their content."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 16]) for n in "xy")
    weight = numpy_helper.from_array(np.ones((16, 16), np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    settings = {"save_as_external_data": True, "size_threshold": 0}
    onnx.save(model, tmp_path / "model.onnx", location="model.onnx_data", **settings)
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1a2b" / "onnx"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    whole = 0
    for name, blob in (("model.onnx", "9f"), ("model.onnx_data", "e0")):
        whole += (tmp_path / name).stat().st_size
        (tmp_path / name).rename(blobs / blob)
        (snapshot / name).symlink_to(f"../../../blobs/{blob}")
    report = inspect_model(snapshot / "model.onnx")
    assert (report.bytes, report.macs) == (whole, 256)
    (row,) = bench([snapshot / "model.onnx"], runs=8).models
    assert row.bytes == whole
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(2000))
    (snapshot / "model.onnx_data").unlink()
    (snapshot / "model.onnx_data").symlink_to(secret)
    with pytest.raises(BadFile, match="outside of its folder"):
        inspect_model(snapshot / "model.onnx")


def test_weights_that_are_cut_and_joined_before_their_operator_are_counted(tmp_path):
    """As exporters order the gates of recurrent layers anew: Slice and Concat of one constant."""
    info = helper.make_tensor_value_info
    weight = numpy_helper.from_array(np.ones((4, 24), np.float32), "w")
    numbers = {"a": [0], "m": [12], "e": [24], "axis": [1]}
    held = [weight, *(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in numbers.items())]
    nodes = [
        helper.make_node("Slice", ["w", "a", "m", "axis"], ["first"]),
        helper.make_node("Slice", ["w", "m", "e", "axis"], ["second"]),
        helper.make_node("Concat", ["second", "first"], ["other"], axis=1),
        helper.make_node("MatMul", ["x", "other"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.FLOAT, ["N", 4])], [info("y", TensorProto.FLOAT, ["N", 24])], held
    )
    path = tmp_path / "gates.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), path)
    report = inspect_model(path)
    assert [layer.parameters for layer in report.layers] == [0, 0, 0, 96]
    assert (report.parameters, report.macs, report.weight_bytes) == (96, 96, {"float32": 384})


def test_an_open_number_of_steps_is_no_batch_of_one(tmp_path):
    """A time-major layer without an open batch: its steps, first among the axes, are open."""
    info, hidden = helper.make_tensor_value_info, 6
    shapes = {"w": (1, 3 * hidden, 5), "r": (1, 3 * hidden, hidden)}
    held = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    node = helper.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=hidden)
    inputs = [info("x", TensorProto.FLOAT, ["time", "batch", 5])]
    graph = helper.make_graph([node], "g", inputs, [info("y", TensorProto.FLOAT, None)], held)
    path = tmp_path / "steps.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), path)
    report = inspect_model(path)
    assert report.macs is None
    assert "'x' with --shape" in report.table().note
    assert sized(path, dims=["time=8"]).macs == 8 * 3 * hidden * (5 + hidden)


def test_float16_weights_are_said_of_the_operators_that_hold_them():
    report = inspect_model(CASES / "mcu" / "tf56546_float16.tflite")
    assert (report.quantization.kind, report.quantization.weights) == ("weights_only", ("float16",))
    assert report.quantization.quantized_operators == report.quantization.weighted_operators == 2
    assert "in 2 of 2 operators" in report.table().note
