"""What inspect finds in model files, held against PyTorch, the runtimes and arithmetic; and hostile files."""

import json
import struct
import warnings
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from edgelab.errors import BadFile
from edgelab.measure.inspect import inspect_model

MODELS = Path(__file__).parents[1] / "data" / "mcu_oracle"


class Net(torch.nn.Module):
    """Strided, dilated, grouped, depthwise and transposed convolutions, a signal convolution, matrix products."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        conv = torch.nn.Conv2d
        self.layers = torch.nn.Sequential(
            conv(3, 8, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            conv(8, 8, 3, padding=2, dilation=2, groups=8),
            conv(8, 12, 1, bias=False),
            conv(12, 12, (5, 1), padding=(2, 0), groups=3),
            torch.nn.ConvTranspose2d(12, 6, 4, stride=2, padding=1, groups=2),
        )
        self.signal = torch.nn.Conv1d(6, 10, 3)
        self.head = torch.nn.Linear(10, 7)

    def forward(self, x):
        x = self.layers(x).mean(3)
        return self.head(self.signal(x).mean(2))


def counted_by_hooks(module, x):
    """Multiply-accumulates from the definition of each layer, by what really flows through it."""
    total = 0

    def note(layer, given, out):
        nonlocal total
        if isinstance(layer, torch.nn.Linear):
            total += out.numel() * layer.in_features
        elif isinstance(layer, torch.nn.ConvTranspose2d):
            total += given[0].numel() * layer.weight[0].numel()
        else:
            total += out.numel() * layer.weight[0].numel()

    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    handles = [m.register_forward_hook(note) for m in module.modules() if isinstance(m, kinds)]
    module(x)
    for handle in handles:
        handle.remove()
    return total


@pytest.fixture(scope="module")
def net():
    return Net().eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory, net):
    path = tmp_path_factory.mktemp("inspect") / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.randn(2, 3, 16, 16),),
            path,
            dynamo=True,
            external_data=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    return path


class Rows(CalibrationDataReader):
    def __init__(self):
        self._rows = iter(np.random.default_rng(0).normal(size=(4, 1, 3, 16, 16)).astype(np.float32))

    def get_next(self):
        row = next(self._rows, None)
        return None if row is None else {"x": row}


def test_an_exported_network_has_its_parameters_and_macs(net, exported):
    report = inspect_model(exported)
    assert report.format == "onnx"
    assert report.producer.startswith("pytorch 2.")
    assert report.version["opset"]["ai.onnx"] >= 18
    assert report.parameters == sum(p.numel() for p in net.parameters())
    assert report.macs == counted_by_hooks(net, torch.randn(1, 3, 16, 16))
    assert report.bytes == exported.stat().st_size
    assert report.weight_bytes == {"float32": 4 * report.parameters}
    assert report.quantization.kind == "none"
    assert [(i.name, i.shape, i.dtype) for i in report.inputs] == [("x", (None, 3, 16, 16), "float32")]
    assert [(o.name, o.shape) for o in report.outputs] == [("y", (None, 7))]


def test_the_exporters_agree(tmp_path, net, exported):
    pytest.importorskip("onnxscript")
    path = tmp_path / "legacy.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.randn(1, 3, 16, 16),), path, dynamo=False, opset_version=17)
    one, two = inspect_model(exported), inspect_model(path)
    assert (one.parameters, one.macs) == (two.parameters, two.macs)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_static_quantization_is_recognised_and_counts_the_same(tmp_path, net, exported, form, per_channel):
    path = tmp_path / "int8.onnx"
    settings = {"per_channel": per_channel, "activation_type": QuantType.QUInt8}
    # The transposed convolution stays in float: ONNX Runtime's quantizer takes no grouped one per channel.
    quantize_static(exported, path, Rows(), form, op_types_to_quantize=["Conv", "Gemm", "MatMul"], **settings)
    before, after = inspect_model(exported), inspect_model(path)
    found = after.quantization
    assert (found.kind, found.scheme) == ("static", "QDQ" if form is QuantFormat.QDQ else "QOperator")
    assert found.granularity == ("per_channel" if per_channel else "per_tensor")
    assert (found.weights, found.activations) == (("int8",), ("uint8",))
    assert after.parameters == before.parameters
    assert after.macs == before.macs
    assert (found.quantized_operators, found.weighted_operators) == (6, 7)
    layers = [*(net.layers[i] for i in (0, 2, 3, 4)), net.signal, net.head]
    assert after.weight_bytes["int8"] == sum(layer.weight.numel() for layer in layers)
    assert "per channel" in after.table().note or not per_channel


def test_dynamic_quantization_is_recognised(tmp_path, exported):
    plain = onnx.load(exported)
    del plain.graph.value_info[:]  # or the quantizer trips over the exporter's shapes
    onnx.save(plain, tmp_path / "plain.onnx")
    settings = {"op_types_to_quantize": ["Conv", "Gemm", "MatMul"]}
    quantize_dynamic(tmp_path / "plain.onnx", tmp_path / "dynamic.onnx", **settings)
    before, after = inspect_model(exported), inspect_model(tmp_path / "dynamic.onnx")
    assert after.quantization.kind == "dynamic"
    assert after.quantization.granularity == "per_tensor"
    assert after.macs == before.macs
    assert after.parameters == before.parameters


def test_four_bit_weights_are_recognised(tmp_path):
    weight = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    path = save(tmp_path / "float.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight}, 64, 48)
    quantizer = MatMulNBitsQuantizer(onnx.load(path), block_size=32, is_symmetric=True, bits=4)
    quantizer.process()
    quantizer.model.save_model_to_file(str(tmp_path / "int4.onnx"))
    report = inspect_model(tmp_path / "int4.onnx")
    found = report.quantization
    assert (found.kind, found.scheme, found.granularity) == ("weights_only", "MatMulNBits", "per_block")
    assert found.weights == ("uint4",)
    assert (report.parameters, report.macs) == (64 * 48, 64 * 48)
    assert report.weight_bytes == {"uint4": 64 * 48 // 2}


def save(path, nodes, weights, given, answer, **model):
    """A small .onnx file of one input (N, given) and one output (N, answer)."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", given])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", answer])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], **model)
    made.ir_version = 9
    onnx.save(made, path)
    return path


def test_weight_only_qdq(tmp_path):
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    weights = {"q": np.ones((4, 3), np.int8), "s": np.ones(3, np.float32), "z": np.zeros(3, np.int8)}
    report = inspect_model(save(tmp_path / "w8.onnx", nodes, weights, 4, 3))
    found = report.quantization
    assert (found.kind, found.scheme, found.granularity, found.weights) == (
        "weights_only",
        "QDQ",
        "per_channel",
        ("int8",),
    )
    assert (report.parameters, report.macs) == (12, 12)


def test_branches_are_counted(tmp_path):
    def branch(name, factor):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        weight = numpy_helper.from_array(np.full((4, 4), factor, np.float32), f"{name}_w")
        return helper.make_graph(
            [helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_out"])], name, [], [out], [weight]
        )

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch("a", 1.0), else_branch=branch("b", 2.0)),
    ]
    report = inspect_model(save(tmp_path / "if.onnx", nodes, {"zero": np.float32(0)}, 4, 4))
    assert {row["type"]: row["count"] for row in report.operators()}["MatMul"] == 2
    assert report.macs is None  # one of the two runs, and only a run tells which
    assert [layer.inside for layer in report.layers] == ["", "", "", "If", "If"]
    assert "2 inside of If are counted once" in str(report)


def test_open_sizes_leave_macs_unknown(tmp_path):
    weight = np.ones((2, 3, 3, 3), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "open",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "open.onnx")
    report = inspect_model(tmp_path / "open.onnx")
    assert report.macs is None
    assert report.parameters == 54
    assert report.to_dict()["macs"] is None
    assert report.inputs[0].shape == (None, 3, None, None)


@pytest.mark.parametrize("name", ["conv1d_vibration", "dscnn_28_gray", "squeeze_excite", "tabular_mlp"])
def test_tflite_figures_agree_with_the_interpreter(name):
    path = MODELS / f"{name}.tflite"
    interpreter = litert.Interpreter(
        str(path), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    shapes = {t["index"]: [int(n) for n in t["shape"]] for t in interpreter.get_tensor_details()}
    macs = 0
    for operator in interpreter._get_ops_details():
        kind, (out, *_) = operator["op_name"], operator["outputs"]
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            weight = shapes[int(operator["inputs"][1])]
            macs += int(np.prod(shapes[int(out)])) * int(np.prod(weight[1:] if "DEPTH" not in kind else weight[1:3]))
    report = inspect_model(path)
    assert report.macs == macs
    assert [layer.type for layer in report.layers] == [o["op_name"] for o in interpreter._get_ops_details()]
    found = report.quantization
    assert (found.kind, found.scheme, found.granularity) == ("static", "TFLite", "per_channel")
    assert (found.weights, found.activations) == (("int8",), ("int8",))
    assert found.quantized_operators == found.weighted_operators
    (given,) = interpreter.get_input_details()
    assert (report.inputs[0].scale, report.inputs[0].zero_point) == pytest.approx(given["quantization"])
    assert report.inputs[0].shape == tuple(given["shape"])
    assert report.version == {"schema": 3}
    assert report.bytes == path.stat().st_size


def test_to_dict_is_stable_and_json(exported):
    for path in (exported, MODELS / "squeeze_excite.tflite"):
        report = inspect_model(path).to_dict()
        assert json.loads(json.dumps(report, allow_nan=False)) == report
        assert list(report) == [
            *("file", "format", "producer", "version", "bytes", "inputs", "outputs", "quantization"),
            *("operators", "parameters", "macs", "weight_bytes", "layers", "metadata", "labels"),
            *("hints", "sizes"),
        ]
        assert set(report["inputs"][0]) == {"name", "shape", "dtype", "scale", "zero_point", "image", "axes", "ranked"}
        assert set(report["operators"][0]) == {"type", "count", "macs", "parameters"}
        assert report["macs"] == sum(row["macs"] for row in report["operators"])
        assert report["parameters"] == sum(row["parameters"] for row in report["operators"])
        assert report["file"] == str(path)


def test_tables_for_people():
    report = inspect_model(MODELS / "dscnn_28_gray.tflite")
    text = report.table().text()
    assert text.startswith("dscnn_28_gray.tflite: TensorFlow Lite, 9,760 bytes")
    assert "DEPTHWISE_CONV_2D" in text
    assert "1x28x28x1 int8" in text
    assert "| total | 8 | 85,776 | 1,328 |" in report._repr_markdown_()
    assert len(report.layer_table().rows) == 8


def external(path, location, *, offset=0, length=48):
    """A model whose weights are said to be in another file."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    save(path, nodes, {"w": np.ones((4, 3), np.float32)}, 4, 3)
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": str(offset), "length": str(length)}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_weights_beside_the_model_are_counted(tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(48))
    path = external(tmp_path / "net.onnx", "weights.bin")
    report = inspect_model(path)
    assert report.bytes == path.stat().st_size + 48
    assert (report.parameters, report.macs) == (12, 12)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "link.bin", "", "C:\\secret", "."]
)
def test_external_weights_outside_of_the_folder_are_refused(tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(bytes(100))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(BadFile, match="outside of its folder") as error:
        inspect_model(external(folder / "net.onnx", location))
    assert "do not use this file" in str(error.value)


@pytest.mark.parametrize(
    ("location", "settings", "expected"),
    [
        ("missing.bin", {}, "which is not beside it"),
        ("weights.bin", {"length": 49}, "beyond the end"),
        ("weights.bin", {"offset": 10**30}, "beyond the end"),
        ("weights.bin", {"offset": -5}, "beyond the end"),
    ],
)
def test_external_weights_that_are_not_there(tmp_path, location, settings, expected):
    (tmp_path / "weights.bin").write_bytes(bytes(48))
    with pytest.raises(BadFile, match=expected):
        inspect_model(external(tmp_path / "net.onnx", location, **settings))


def test_absurd_sizes_are_damage(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = save(tmp_path / "net.onnx", nodes, {"w": np.ones((4, 3), np.float32)}, 4, 3)
    for dims in ([2**40, 2**40], [-4, 3], [400, 300]):
        model = onnx.load(path)
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        (tmp_path / "absurd.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(BadFile, match="damaged"):
            inspect_model(tmp_path / "absurd.onnx")


def test_graphs_inside_of_graphs_without_end(tmp_path):
    def field(number, content):
        length, size = b"", len(content)
        while True:
            length += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
            size >>= 7
            if not size:
                return bytes([number << 3 | 2]) + length + content

    graph = b""
    for _ in range(20_000):  # a graph in an attribute of a node of a graph ...
        graph = field(1, field(5, field(6, graph)))
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x08\x09" + field(7, graph) + field(8, b"\x10\x11"))
    with pytest.raises(BadFile):
        inspect_model(path)


def test_parts_that_refer_to_each_other_without_end(tmp_path):
    """20,000 operators that share one list of 20,000 inputs: a small file, 400 million references."""
    builder = flatbuffers.Builder(0)
    many = 20_000
    schema.OperatorStartInputsVector(builder, many)
    for _ in range(many):
        builder.PrependInt32(0)
    inputs = builder.EndVector()
    schema.OperatorStart(builder)
    schema.OperatorAddInputs(builder, inputs)
    operator = schema.OperatorEnd(builder)
    schema.SubGraphStartOperatorsVector(builder, many)
    for _ in range(many):
        builder.PrependUOffsetTRelative(operator)
    operators = builder.EndVector()
    schema.TensorStart(builder)
    tensor = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, 1)
    builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    schema.SubGraphAddOperators(builder, operators)
    graph = schema.SubGraphEnd(builder)
    schema.OperatorCodeStart(builder)
    code = schema.OperatorCodeEnd(builder)
    vectors = []
    for start, item in ((schema.ModelStartSubgraphsVector, graph), (schema.ModelStartOperatorCodesVector, code)):
        start(builder, 1)
        builder.PrependUOffsetTRelative(item)
        vectors.append(builder.EndVector())
    schema.BufferStart(builder)
    buffer = schema.BufferEnd(builder)
    schema.ModelStartBuffersVector(builder, 1)
    builder.PrependUOffsetTRelative(buffer)
    buffers = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, vectors[0])
    schema.ModelAddOperatorCodes(builder, vectors[1])
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = tmp_path / "loop.tflite"
    path.write_bytes(bytes(builder.Output()))
    assert path.stat().st_size < 200_000
    with pytest.raises(BadFile, match="refer to each other without end"):
        inspect_model(path)


def test_a_list_longer_than_the_file(tmp_path):
    content = bytearray((MODELS / "tabular_mlp.tflite").read_bytes())
    model = schema.Model.GetRootAs(content, 0)
    place = model._tab.Vector(model._tab.Offset(8)) - 4  # the length of the list of graphs
    struct.pack_into("<I", content, place, 2**31)
    (tmp_path / "long.tflite").write_bytes(content)
    with pytest.raises(BadFile, match="2147483648 entries does not fit"):
        inspect_model(tmp_path / "long.tflite")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
def test_truncated_files(tmp_path, exported, share):
    for path in (exported, MODELS / "dscnn_28_gray.tflite"):
        content = path.read_bytes()
        cut = tmp_path / path.name
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(BadFile) as error:
            inspect_model(cut)
        assert str(cut) in str(error.value)
        assert "\n" not in str(error.value)


def test_foreign_and_missing_files(tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    for name, expected in (
        ("text.onnx", "neither an ONNX nor"),
        ("nothing.onnx", "does not exist"),
        ("", "is a folder"),
    ):
        with pytest.raises(BadFile, match=expected):
            inspect_model(tmp_path / name)
