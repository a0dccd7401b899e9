"""Quantizers on files that others wrote: old operator sets, the newer exporter, masks, weights in a file beside."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgelab.compress import modelfile, preparation
from edgelab.compress.affine import sqnr_db
from edgelab.compress.ptq import collect_ranges, quantize_dynamic, quantize_static
from edgelab.compress.weight_only import quantize_weights
from edgelab.errors import BadFile, BadInput
from edgelab.quiet import silenced

CASES = Path(__file__).parents[1] / "data" / "cases"
DRAW = np.random.default_rng(0)
PICTURES = DRAW.normal(size=(16, 3, 12, 12)).astype(np.float32)
SEQUENCES = DRAW.normal(size=(24, 12, 16)).astype(np.float32)


def run(path, x):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    return session.run(None, feed)[0]


def quantizers(path, x, out):
    yield "static", lambda: quantize_static(path, out, x)
    yield "static, one scale", lambda: quantize_static(path, out, x, per_channel=False)
    yield "dynamic", lambda: quantize_dynamic(path, out)
    yield "weights", lambda: quantize_weights(path, out, bits=8)
    yield "weights in 4 bits", lambda: quantize_weights(path, out, bits=4)


def assert_all_quantize(path, x, tmp_path, least_db=20.0):
    """Every quantizer writes a file with 8-bit weights that computes nearly what the float file does."""
    expected, out = run(path, x), tmp_path / "quantized.onnx"
    for name, quantize in quantizers(path, x, out):
        done = quantize()
        assert {"int8", "int4", "uint8"} & set(done.weight_bytes), name
        found = run(out, x)
        wanted = least_db if "4 bits" not in name else 5.0
        assert sqnr_db(expected, found) > wanted, name


class Function(nn.Module):
    def __init__(self, compute, *layers):
        super().__init__()
        self.compute, self.layers = compute, nn.ModuleList(layers)

    def forward(self, x):
        return self.compute(self.layers, x)


def traced(net, x, path, opset, **settings):
    torch.manual_seed(0)
    with silenced():
        torch.onnx.export(
            net.eval(),
            (torch.from_numpy(x[:2]),),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
            **settings,
        )
    return path


def newer(net, x, path, **settings):
    with silenced():
        shapes = ({0: torch.export.Dim("batch")},)
        example = (torch.from_numpy(x[:2]),)
        torch.onnx.export(net.eval(), example, path, dynamo=True, dynamic_shapes=shapes, verbose=False, **settings)
    return path


@pytest.mark.parametrize(
    ("case", "x"),
    [
        ("01_torch_default_exporter_mean", PICTURES),
        ("02_opset12_cnn", PICTURES),
        ("03_ir3_opset7_conv_bn", DRAW.normal(size=(8, 3, 16, 16)).astype(np.float32)),
        ("11_causal_mask_minus_inf", SEQUENCES),
        ("ext_ok", DRAW.normal(size=(32, 8)).astype(np.float32)),
    ],
)
def test_files_that_users_reported(case, x, tmp_path):
    for file in CASES.glob(f"{case.split('.')[0]}.*"):
        shutil.copy(file, tmp_path)
    path = tmp_path / f"{case}.onnx"
    if onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1:
        expected = np.concatenate([run(path, x[i : i + 1]) for i in range(len(x))])
        out = tmp_path / "out.onnx"
        for name, quantize in quantizers(path, x, out):
            quantize()
            found = np.concatenate([run(out, x[i : i + 1]) for i in range(len(x))])
            assert sqnr_db(expected, found) > (5 if "4 bits" in name else 20), name
    else:
        assert_all_quantize(path, x, tmp_path)


OLD = {
    "batch norm": nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    ),
    "dropout": nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 3)),
    "softmax": Function(lambda m, x: torch.softmax(m[0](x), 1).mean((2, 3)), nn.Conv2d(3, 8, 3)),
    "squeeze": Function(
        lambda m, x: m[1](m[0](x).mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1)).unsqueeze(1),
        nn.Conv2d(3, 8, 3),
        nn.Linear(8, 4),
    ),
    "pad": Function(lambda m, x: m[0](nn.functional.pad(x, (1, 2, 1, 2), "reflect")).mean((2, 3)), nn.Conv2d(3, 8, 3)),
    "clip": Function(lambda m, x: m[0](x).clamp(-0.5, 0.7).mean((2, 3)), nn.Conv2d(3, 8, 3)),
}


@pytest.mark.parametrize("kind", OLD)
@pytest.mark.parametrize("opset", [7, 9, 12])
def test_old_operator_sets_are_raised_and_compute_the_same(kind, opset, tmp_path):
    path = traced(OLD[kind], PICTURES, tmp_path / "old.onnx", opset, keep_initializers_as_inputs=opset < 9)
    model = onnx.load(path)
    model.ir_version = 3 if opset < 9 else model.ir_version
    onnx.save(model, path)
    with modelfile.prepared(path) as ready:
        assert preparation.opset(onnx.load(ready)) == 13
        np.testing.assert_allclose(run(ready, PICTURES), run(path, PICTURES), atol=1e-5)
    assert_all_quantize(path, PICTURES, tmp_path)


def resampling(operator, opset, mode, scale, constant_node=False):
    """A convolution and a resampling of an old operator set, written by hand: no exporter of today writes it."""
    scales = np.float32([1, 1, scale, scale])
    weight = numpy_helper.from_array(np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32), "w")
    held = [weight, numpy_helper.from_array(scales, "scales")]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"])]
    if opset < 9:
        nodes.append(helper.make_node(operator, ["c"], ["y"], mode=mode, scales=scales.tolist()))
        held = held[:1]
    else:
        nodes.append(helper.make_node(operator, ["c", "scales"], ["y"], mode=mode))
    if constant_node:
        nodes.insert(0, helper.make_node("Constant", [], ["scales"], value=held.pop()))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    return helper.make_model(graph, ir_version=4, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("operator", "opset", "scale", "constant_node"),
    [
        ("Upsample", 7, 3.0, False),
        ("Upsample", 9, 1.5, False),
        ("Resize", 10, 2.0, False),
        ("Resize", 10, 0.7, False),
        ("Resize", 10, 0.5, True),
    ],
)
def test_resampling_keeps_its_old_grid(mode, operator, opset, scale, constant_node, tmp_path):
    path = tmp_path / "old.onnx"
    onnx.save(resampling(operator, opset, mode, scale, constant_node), path)
    with modelfile.prepared(path) as ready:
        np.testing.assert_allclose(run(ready, PICTURES), run(path, PICTURES), atol=1e-5)
    quantize_static(path, tmp_path / "q.onnx", PICTURES)
    assert sqnr_db(run(path, PICTURES), run(tmp_path / "q.onnx", PICTURES)) > 20


def test_what_cannot_be_raised_says_so_and_quantizes_with_one_scale(tmp_path):
    weights = {"w": (8, 8), "m": (8, 5)}
    held = [numpy_helper.from_array(DRAW.normal(size=s).astype(np.float32), n) for n, s in weights.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["c"]),
        helper.make_node("FusedMatMul", ["c", "m"], ["y"], domain="com.microsoft", alpha=0.5),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])
    sets = [helper.make_opsetid("", 12), helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "fused.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y], held), ir_version=6, opset_imports=sets), path)
    rows = DRAW.normal(size=(32, 8)).astype(np.float32)
    with pytest.raises(BadInput, match=r"fused\.onnx is of opset 12.*per_channel=False"):
        quantize_static(path, tmp_path / "q.onnx", rows)
    quantize_static(path, tmp_path / "q.onnx", rows, per_channel=False)
    assert sqnr_db(run(path, rows), run(tmp_path / "q.onnx", rows)) > 20


class Attention(nn.Module):
    """One head of causal attention whose mask is written in one of the ways that people write it."""

    def __init__(self, mask):
        super().__init__()
        torch.manual_seed(0)
        self.mask, self.inner, self.head = mask, nn.Linear(16, 48), nn.Linear(16, 3)
        self.register_buffer("seen", torch.tril(torch.ones(12, 12)).bool())

    def forward(self, x):
        q, k, v = self.inner(x).chunk(3, -1)
        scores = 3 * q @ k.transpose(1, 2)
        return self.head(torch.softmax(MASKS[self.mask](scores, self.seen), -1) @ v + x).mean(1)


MASKS = {
    "filled with -inf": lambda s, seen: s.masked_fill(~seen, float("-inf")),
    "a triangle of -inf": lambda s, _: s + torch.full((12, 12), float("-inf")).triu(1),
    "the lowest number": lambda s, seen: torch.where(seen, s, torch.finfo(torch.float32).min),
    "-1e9 times a mask": lambda s, seen: s + (~seen).float() * -1e9,
    "BERT's -10000": lambda s, seen: s + (1 - seen.float()) * -10000.0,
}


@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_is_no_broken_weight_and_takes_no_precision(mask, tmp_path):
    path = traced(Attention(mask), SEQUENCES, tmp_path / "masked.onnx", 18)
    assert_all_quantize(path, SEQUENCES, tmp_path, least_db=25)
    quantize_static(path, tmp_path / "q.onnx", SEQUENCES, format="qoperator", method="mse")
    assert sqnr_db(run(path, SEQUENCES), run(tmp_path / "q.onnx", SEQUENCES)) > 25
    ranges = collect_ranges(path, SEQUENCES)
    assert ranges.masked
    assert not set(ranges.masked) & set(ranges.ranges)


def test_only_what_the_mask_touches_stays_in_float(tmp_path):
    plain = traced(Function(lambda m, x: m[0](x).mean(1), nn.Linear(16, 3)), SEQUENCES, tmp_path / "plain.onnx", 18)
    assert collect_ranges(plain, SEQUENCES).masked == ()
    path = traced(Attention("filled with -inf"), SEQUENCES, tmp_path / "masked.onnx", 18)
    quantize_static(path, tmp_path / "q.onnx", SEQUENCES)
    graph = onnx.load(tmp_path / "q.onnx").graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    assert len(products) == 4
    assert all(made_by[name] == "DequantizeLinear" for node in products for name in node.input[:2])


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("layer", [0, 1, 4])
def test_a_broken_weight_is_still_named(value, layer, tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3))
    with torch.no_grad():
        net[layer].weight.view(-1)[1] = value
    path = traced(net, PICTURES, tmp_path / "broken.onnx", 12)
    for name, quantize in quantizers(path, PICTURES, tmp_path / "q.onnx"):
        with pytest.raises(BadFile, match=r"broken\.onnx holds NaN or infinity in its weight"):
            quantize()
        assert not (tmp_path / "q.onnx").exists(), name


def test_the_newer_exporter_with_its_weights_in_a_file_beside(tmp_path):
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), Function(lambda _, x: x.mean((2, 3))), nn.Linear(16, 5)
    )
    path = newer(net, PICTURES, tmp_path / "net.onnx")
    beside = tmp_path / "net.onnx.data"
    assert beside.is_file()
    assert_all_quantize(path, PICTURES, tmp_path)
    done = quantize_static(path, tmp_path / "q.onnx", PICTURES)
    assert done.float_bytes == path.stat().st_size + beside.stat().st_size


def test_no_message_names_a_temporary_file(tmp_path):
    node = helper.make_node("MyOp", ["x"], ["y"], domain="my.domain")
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in "xy"]
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    path = tmp_path / "custom.onnx"
    onnx.save(helper.make_model(helper.make_graph([node], "g", infos[:1], infos[1:]), opset_imports=sets), path)
    for _, quantize in quantizers(path, np.zeros((4, 8), np.float32), tmp_path / "q.onnx"):
        with pytest.raises((BadFile, BadInput)) as caught:
            quantize()
        assert "edgelab-" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    path = CASES / "13_git_lfs_pointer.onnx"
    for _, quantize in quantizers(path, PICTURES, tmp_path / "q.onnx"):
        with pytest.raises(BadFile, match=r"13_git_lfs_pointer\.onnx is a Git LFS pointer.*git lfs pull"):
            quantize()
