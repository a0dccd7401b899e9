"""TensorFlow Lite files without TensorFlow: what the writer writes, the test networks, and int8 export."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgelab.convert import tflite_graph
from edgelab.convert.tflite import export_int8
from edgelab.engines import open_engine
from edgelab.errors import BadFile, BadInput
from edgelab.models.tflite_writer import TfliteWriter
from tests.mcu_layers import Net
from tests.mcu_networks import NETWORKS, STATEFUL

ROOT = Path(__file__).parents[2]
needs_tflm = pytest.mark.skipif(find_spec("tflite_micro") is None, reason="tflite-micro has no wheel here")


def parsed(content):
    from ai_edge_litert import schema_py_generated as schema

    return schema, schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def small(writer=None):
    writer = writer or TfliteWriter("test")
    x = writer.input("x", (1, 5, 5, 3), 0.02, -5)
    w = writer.constant(np.ones((4, 3, 3, 3), np.int8), [0.1, 0.2, 0.3, 0.4], 0)
    b = writer.constant(np.arange(4, dtype=np.int32), [0.002, 0.004, 0.006, 0.008])
    options = {"padding": "SAME", "stride_h": 2, "stride_w": 3, "fused_activation_function": "RELU6"}
    return writer, writer.operator("CONV_2D", [x, w, b], (1, 3, 2, 4), 0.05, 7, options=options, name="y")


def test_what_is_written_is_what_the_schema_reads():
    writer, y = small()
    writer.output(y)
    writer.metadata("note", b"hello")
    writer.offline_plan({y: 64})
    schema, model = parsed(writer.to_bytes())
    graph, op = model.subgraphs[0], model.subgraphs[0].operators[0]
    assert [t.name for t in graph.tensors] == [b"x", b"constant_1", b"constant_2", b"y"]
    assert graph.tensors[0].quantization.zeroPoint.tolist() == [-5]
    assert graph.tensors[1].quantization.scale.tolist() == [np.float32(s) for s in (0.1, 0.2, 0.3, 0.4)]
    assert (list(op.inputs), list(op.outputs)) == ([0, 1, 2], [3])
    assert (op.builtinOptions.strideH, op.builtinOptions.strideW, op.builtinOptions.dilationHFactor) == (2, 3, 1)
    assert op.builtinOptions.padding == schema.Padding.SAME
    assert op.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU6
    code = model.operatorCodes[op.opcodeIndex]
    assert (code.builtinCode, code.deprecatedBuiltinCode, code.version) == (3, 3, 3)
    stored = {m.name: bytes(model.buffers[m.buffer].data) for m in model.metadata}
    assert stored[b"note"] == b"hello"
    assert np.frombuffer(stored[b"OfflineMemoryAllocation"], "<i4").tolist() == [1, 0, 4, -1, -1, -1, 64]


def test_constants_lie_at_multiples_of_16():
    schema, _ = parsed(NETWORKS["resnet"]())
    model = schema.Model.GetRootAs(NETWORKS["resnet"](), 0)
    blocks = [model.Buffers(i)._tab for i in range(model.BuffersLength())]
    starts = [tab.Vector(tab.Offset(4)) for tab in blocks if tab.Offset(4)]
    assert len(starts) > 20
    assert not [start for start in starts if start % 16]


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda w, y: w.operator("CONV_4D", [y], (1,)), "no operator CONV_4D"),
        (lambda w, y: w.operator("SOFTMAX", [y], (1,), options={"gamma": 1}), "no option gamma"),
        (lambda w, y: w.operator("CONV_2D", [y], (1,), options={"padding": "FULL"}), "not 'FULL'"),
        (lambda w, y: w.operator("LOGISTIC", [y], (1,), options={"beta": 1}), "takes no options"),
        (lambda w, y: w.operator("RELU", [99], (1,)), "refers to tensor 99"),
        (lambda w, y: w.constant(np.ones((3, 2), np.int8), [0.1, 0.2], 0), "do not fit axis 0"),
        (lambda w, y: w.constant(np.ones(3, np.int8), [0.0]), "greater than 0"),
        (lambda w, y: w.input("x", (1, 2), 0.1, 128), "Zero point 128"),
        (lambda w, y: w.input("x", (1, 2), dtype="decimal"), "no tensor of type decimal"),
    ],
)
def test_a_mistake_is_one_sentence(mistake, says):
    with pytest.raises(BadInput, match=says) as error:
        mistake(*small())
    assert "\n" not in str(error.value)


def test_the_networks_cover_the_operators_and_are_the_same_every_time():
    wanted = {
        *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "ADD", "SUB"),
        *("MUL", "CONCATENATION", "PAD", "RESHAPE", "SQUEEZE", "SOFTMAX", "LOGISTIC", "TANH", "HARD_SWISH", "RELU"),
        *("RELU6", "LEAKY_RELU", "QUANTIZE", "DEQUANTIZE", "TRANSPOSE", "STRIDED_SLICE", "SPLIT", "SVDF"),
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
    }
    found = set()
    for build in NETWORKS.values():
        schema, model = parsed(build())
        names = {n: name for name, n in vars(schema.BuiltinOperator).items() if isinstance(n, int) and name[0] != "_"}
        found |= {names[code.builtinCode] for code in model.operatorCodes}
    assert len(NETWORKS) >= 48
    assert found >= wanted
    assert set(NETWORKS) > STATEFUL
    for name in ("mobilenet", "lstm_plain"):
        assert NETWORKS[name].__wrapped__() == NETWORKS[name]()


CHILD = """
import json, sys
import numpy as np
from tests.mcu_layers import random_inputs
from tests.mcu_networks import NETWORKS
from tflite_micro.python.tflite_micro import runtime
facts = {}
for name, build in NETWORKS.items():
    net = runtime.Interpreter.from_bytes(build(), arena_size=200_000)
    seen = []
    for row in random_inputs(build(), 8):
        for i, x in enumerate(row):
            net.set_input(x, i)
        net.invoke()
        seen.append(net.get_output(0).astype(float))
    moves = np.std(seen, axis=0) > 0
    ends = np.isin(seen, (-128, 127)).mean()
    facts[name] = [float(moves.mean()), float(ends)]
sys.stdout.write(json.dumps(facts))
"""


@needs_tflm
def test_the_interpreter_accepts_every_network_and_its_outputs_move():
    run = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr[-800:]
    facts = json.loads(run.stdout.splitlines()[-1])
    assert set(facts) == set(NETWORKS)
    assert not [name for name, (moves, _) in facts.items() if moves < 0.3]
    assert not [name for name, (_, ends) in facts.items() if ends > 0.9]


class Gate(nn.Module):
    """Functions and methods instead of layers, a branch that is used twice, and sizes taken from the input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Linear(8 * 6 * 5, 3)

    def forward(self, x):
        x = self.conv(x)
        y = torch.relu(nn.functional.dropout(x, training=self.training)) + x
        gate = torch.sigmoid(self.excite(self.squeeze(y.mean((2, 3), keepdim=True)).relu()))
        y = nn.functional.hardswish(y * gate) - x
        return self.head(y.view(y.size(0), -1))


def odd_image():
    return nn.Sequential(
        nn.Conv2d(3, 6, (5, 3), (2, 1), (2, 0), dilation=(1, 2)),
        nn.ReLU6(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(6, 12, 3, groups=6),
        nn.Tanh(),
        nn.AvgPool2d(2, 2, 1),
        nn.Flatten(),
        nn.Linear(12 * 2 * 3, 5),
        nn.LeakyReLU(0.2),
    )


def odd_signal():
    return nn.Sequential(
        nn.Conv1d(2, 4, 5, padding="same"),
        nn.BatchNorm1d(4),
        nn.Hardtanh(),
        nn.MaxPool1d(2),
        nn.Conv1d(4, 8, 3, 2, 1, groups=4),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(4),
        nn.Flatten(),
        nn.Linear(32, 3),
        nn.Dropout(),
    )


@pytest.mark.parametrize(
    ("build", "shape", "settings"),
    [
        (Gate, (3, 12, 10), {}),
        (odd_image, (3, 20, 15), {}),
        (odd_signal, (2, 32), {"softmax": True}),
        (lambda: nn.Linear(6, 2), (6,), {"input_range": (-4.0, 4.0)}),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten()), (3, 8, 8), {"per_channel": False}),
    ],
)
def test_layers_mean_what_they_mean_in_pytorch(build, shape, settings, tmp_path):
    torch.manual_seed(0)
    net = build()
    x = np.random.default_rng(0).normal(size=(96, *shape)).astype(np.float32)
    training = net.training
    made = export_int8(net, x[:64], tmp_path / "net.tflite", **settings)
    assert net.training is training
    assert made.mean_steps < 1
    assert made.sqnr_db > 25
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(x[64:])).numpy()
    if settings.get("softmax"):
        expected = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    with open_engine(made.path) as engine:
        found = engine.predict(x[64:])
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    if "input_range" in settings:
        assert made.input_scale == pytest.approx(8 / 255)


def test_weights_of_no_size_beside_a_bias(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        net[0].weight[0], net[0].bias[0] = 0, 1.5
        net[0].weight[1] *= 1e-12
        net[0].weight[2], net[0].bias[2] = 0, 0
    x = np.random.default_rng(0).normal(size=(32, 2, 4, 4)).astype(np.float32)
    made = export_int8(net, x, tmp_path / "net.tflite")
    with open_engine(made.path) as engine:
        assert np.abs(engine.predict(x)[:, 0] - 1.5).max() < 0.02


class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Scaled(nn.Module):
    def forward(self, x):
        return x * 2.0


@pytest.mark.parametrize(
    ("net", "shape", "says"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), (3, 8, 8), r"Layer '1' \(GroupNorm\)"),
        (nn.Sequential(nn.Conv2d(4, 4, 1, groups=2)), (4, 2, 2), "groups of 1"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), (3, 8, 8), "ends with a flattened image"),
        (nn.Sequential(nn.Conv2d(3, 4, 8)), (3, 8, 8), "not one tensor"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, 2, 1), nn.Flatten()), (1, 8, 8), "padding has no"),
        (nn.Sequential(nn.Linear(5, 4)), (3, 8, 8), "does not take the calibration data"),
        (nn.Sequential(nn.Identity()), (5,), "no layer that computes"),
        (nn.LSTM(5, 4), (5, 5), r"\(LSTM\)"),
        (Branch(), (5,), "cannot be traced"),
        (Scaled(), (5,), "'mul' cannot be converted"),
    ],
)
def test_what_has_no_counterpart_is_named(net, shape, says, tmp_path):
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    with pytest.raises(BadInput, match=says) as error:
        export_int8(net, x, tmp_path / "net.tflite")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", ["x", np.zeros((4, 5)), np.zeros((0, 5), np.float32), np.full((4, 5), np.nan, "f4")])
def test_calibration_data_are_checked(bad, tmp_path):
    with pytest.raises(BadInput, match="calibration_x"):
        export_int8(nn.Linear(5, 2), bad, tmp_path / "net.tflite")


def test_ranges_run_upwards_and_values_stay_finite(tmp_path):
    x = np.ones((4, 5), np.float32)
    with pytest.raises(BadInput, match="runs upwards"):
        export_int8(nn.Linear(5, 2), x, tmp_path / "net.tflite", input_range=(4.0, -4.0))
    broken = nn.Linear(5, 2)
    with torch.no_grad():
        broken.weight[0, 0] = torch.nan
    with pytest.raises(BadInput, match="NaN"):
        export_int8(broken, x, tmp_path / "net.tflite")
    with pytest.raises(BadFile):
        export_int8(nn.Linear(5, 2), x, "/proc/nowhere/net.tflite")


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("_convolution_weights", lambda w: np.moveaxis(w, 1, -1).transpose(0, 2, 1, 3)),
        ("_convolution_weights", lambda w: np.moveaxis(w, 1, -1)[:, ::-1, ::-1]),
        ("_depthwise_weights", lambda w: np.moveaxis(w, 0, -1)[..., ::-1]),
    ],
)
def test_the_check_rejects_a_file_that_computes_something_else(name, mistake, monkeypatch, tmp_path):
    monkeypatch.setattr(tflite_graph, name, mistake)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(4 * 4 * 4, 3)
    )
    x = np.random.default_rng(0).normal(size=(32, 3, 8, 8)).astype(np.float32)
    with pytest.raises(BadInput, match="nothing was written"):
        export_int8(net, x, tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())


def test_the_result_speaks(tmp_path):
    x = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    made = export_int8(nn.Linear(6, 2), x, tmp_path / "net.tflite")
    assert json.loads(json.dumps(made.to_dict()))["operators"] == ["FULLY_CONNECTED"]
    assert "measured" in made._repr_markdown_()
    assert "net.tflite" in str(made)


def test_a_net_is_built_with_its_own_name_as_seed():
    first, second = Net("a"), Net("b")
    for net in (first, second):
        net.writer.output(net.conv(net.input(1, 4, 4, 2), 3).index)
    assert first.writer.to_bytes() != second.writer.to_bytes()
