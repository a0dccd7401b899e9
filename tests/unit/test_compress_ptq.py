"""Post-training quantization of ONNX files, held against ONNX Runtime's own calls and against the float network."""

import contextlib
import io
import random
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from edgelab.compress import activations, modelfile
from edgelab.compress.affine import fake_quantize, per_channel, sqnr_db
from edgelab.compress.ptq import collect_ranges, quantize_dynamic, quantize_static
from edgelab.compress.weight_only import quantize_weights
from edgelab.convert.onnx import export
from edgelab.engines import open_engine
from edgelab.errors import BadFile, BadInput, EdgelabError
from edgelab.quiet import silenced

X = np.random.default_rng(0).normal(size=(60, 3, 12, 12)).astype(np.float32)


def cnn(activation=nn.ReLU6):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        activation(),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.BatchNorm2d(8),
        activation(),
        nn.Conv2d(8, 16, 1, bias=False),
        nn.BatchNorm2d(16),
        activation(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    with torch.no_grad():
        for _ in range(20):
            net(torch.randn(32, 3, 12, 12))
    return net.eval()


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.layer, self.head = (
            nn.Embedding(20, 32),
            nn.LSTM(32, 64, batch_first=True),
            nn.Linear(64, 5),
        )

    def forward(self, x):
        return self.head(self.layer(self.embedding(x))[0][:, -1])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export(cnn(), torch.from_numpy(X[:2]), tmp_path_factory.mktemp("model") / "net.onnx").path


@pytest.fixture(autouse=True)
def clean_temporary_folder(tmp_path, monkeypatch):
    """Whatever a quantizer unpacks is gone afterwards."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.iterdir())


def run(path, x):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def operators(path, tmp_path):
    """The operators that ONNX Runtime makes of a file."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]


class Reader:
    def __init__(self, x):
        self.batches = iter([{"input": x}])

    def get_next(self):
        return next(self.batches, None)


def onnx_runtimes_own(model, out, **settings):
    """The same quantization by ONNX Runtime's plain call."""
    from onnxruntime import quantization as tools

    with silenced(), modelfile.prepared(model) as ready:
        types = {"activation_type": tools.QuantType.QUInt8, "weight_type": tools.QuantType.QInt8}
        tools.quantize_static(str(ready), str(out), Reader(X), **types | settings)
    return out


@pytest.mark.parametrize("by_channel", [True, False])
def test_minmax_gives_the_file_that_onnx_runtimes_own_call_gives(model, tmp_path, by_channel):
    ours = quantize_static(model, tmp_path / "ours.onnx", X, per_channel=by_channel).path
    theirs = onnx_runtimes_own(model, tmp_path / "theirs.onnx", per_channel=by_channel)
    constants = [
        {c.name: onnx.numpy_helper.to_array(c) for c in onnx.load(path).graph.initializer} for path in (ours, theirs)
    ]
    assert set(constants[0]) == set(constants[1])
    for name, value in constants[0].items():
        # Their calibrator runs the graph unoptimised, so ranges agree to the last bits of a float32.
        exact = value.dtype in (np.int8, np.uint8)
        np.testing.assert_allclose(value, constants[1][name], rtol=0 if exact else 1e-5, atol=value.dtype == np.int32)
    step = float(constants[0]["logits_scale"])
    np.testing.assert_allclose(run(ours, X), run(theirs, X), atol=1.01 * step)


def test_ranges_are_those_of_onnx_runtimes_calibrator(model, tmp_path):
    from onnxruntime.quantization import create_calibrator

    ranges = collect_ranges(model, X)
    with modelfile.prepared(model) as ready:
        calibrator = create_calibrator(ready, augmented_model_path=str(tmp_path / "augmented.onnx"))
        calibrator.collect_data(Reader(X))
        theirs = calibrator.compute_data()
        merged = activations.clipped(modelfile.read(ready))
    assert len(merged) == 3
    assert set(ranges.ranges) == set(theirs.keys()) - set(merged)
    assert next(iter(ranges.ranges)) == "input"
    for name, ends in ranges.ranges.items():
        np.testing.assert_allclose(ends, np.ravel(theirs[name].range_value), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy", "mse"])
def test_every_method_gives_a_network_close_to_the_float_one(model, tmp_path, method):
    done = quantize_static(model, tmp_path / "q.onnx", X, method=method)
    assert sqnr_db(run(model, X), run(done.path, X)) > 15
    assert done.settings["method"] == method
    assert done.settings["samples"] == 60


def test_one_collection_serves_many_variants(model, tmp_path):
    ranges = collect_ranges(model, X, "mse")
    for by_channel in (True, False):
        shared = quantize_static(model, tmp_path / "a.onnx", ranges=ranges, per_channel=by_channel).path
        alone = quantize_static(model, tmp_path / "b.onnx", X, method="mse", per_channel=by_channel).path
        assert shared.read_bytes() == alone.read_bytes()


def test_a_learners_own_method(model, tmp_path):
    def tenth(values):
        return float(values.min()) / 10, float(values.max()) / 10

    ranges = collect_ranges(model, X, tenth)
    assert ranges.method == "tenth"
    whole = collect_ranges(model, X)
    assert all(ends == pytest.approx(np.array(whole.ranges[name]) / 10) for name, ends in ranges.ranges.items())
    narrow = quantize_static(model, tmp_path / "narrow.onnx", ranges=ranges).path
    wide = quantize_static(model, tmp_path / "wide.onnx", ranges=whole).path
    assert sqnr_db(run(model, X), run(narrow, X)) < sqnr_db(run(model, X), run(wide, X)) - 6


def test_little_memory_changes_nothing(model, monkeypatch):
    whole = collect_ranges(model, X, "mse").ranges
    monkeypatch.setattr(activations, "MEMORY_BYTES", 100_000)
    monkeypatch.setattr(activations, "BATCH", 7)
    parts = collect_ranges(model, X, "mse").ranges
    assert set(parts) == set(whole)
    for name, ends in parts.items():
        np.testing.assert_allclose(ends, whole[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.Hardswish])
def test_all_convolutions_and_the_linear_layer_run_in_integers(tmp_path, activation):
    path = export(cnn(activation), torch.from_numpy(X[:2]), tmp_path / "net.onnx").path
    found = operators(quantize_static(path, tmp_path / "q.onnx", X).path, tmp_path)
    assert found.count("QLinearConv") == 3
    assert found.count("QGemm") == 1
    assert "Conv" not in found


def test_batch_norm_is_folded_before_quantization(tmp_path):
    path = tmp_path / "bn.onnx"
    with silenced():
        torch.onnx.export(
            cnn(),
            (torch.from_numpy(X[:2]),),
            path,
            dynamo=False,
            opset_version=18,
            input_names=["input"],
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamic_axes={"input": {0: "batch"}},
        )
    assert sum(node.op_type == "BatchNormalization" for node in onnx.load(path).graph.node) == 3
    done = quantize_static(path, tmp_path / "q.onnx", X)
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(done.path).graph.node}
    assert sqnr_db(run(path, X), run(done.path, X)) > 20


def test_formats_and_types(model, tmp_path):
    ranges = collect_ranges(model, X)
    reference = run(model, X)

    def quality(**settings):
        return sqnr_db(reference, run(quantize_static(model, tmp_path / "q.onnx", ranges=ranges, **settings).path, X))

    eight = quality()
    assert quality(format="qoperator") == pytest.approx(eight, abs=3)
    assert quality(activation="int8") == pytest.approx(eight, abs=3)
    assert quality(activation="int16", weight="int16") > eight + 20
    assert quality(weight="int4") < eight - 6
    assert quality(reduce_range=True) < eight


def test_an_excluded_node_stays_in_float(model, tmp_path):
    names = [node.name for node in onnx.load(model).graph.node if node.op_type == "Conv"]
    done = quantize_static(model, tmp_path / "q.onnx", X, exclude=[names[0]])
    found = operators(done.path, tmp_path)
    assert found.count("QLinearConv") == 2
    assert found.count("Conv") == 1
    with pytest.raises(BadInput, match="exclude names no node 'nothing'"):
        quantize_static(model, tmp_path / "q.onnx", X, exclude=["nothing"])


def test_a_fixed_batch_is_fed_as_it_is(tmp_path):
    path = export(cnn(), torch.from_numpy(X[:4]), tmp_path / "net.onnx", dynamic_batch=False).path
    assert sqnr_db(run(path, X[:4]), run(quantize_static(path, tmp_path / "q.onnx", X).path, X[:4])) > 20
    with pytest.raises(BadInput, match="batches of 4"):
        collect_ranges(path, X[:5])


def test_sizes_are_those_of_the_file(model, tmp_path):
    done = quantize_static(model, tmp_path / "q.onnx", X)
    assert done.bytes == done.path.stat().st_size
    assert done.float_bytes == model.stat().st_size
    weights = 3 * 8 * 9 + 8 * 9 + 8 * 16 + 16 * 5
    assert weights <= done.weight_bytes["int8"] <= weights + 100
    assert sum(done.weight_bytes.values()) < done.bytes
    assert "int8" in done._repr_markdown_()
    assert done.to_dict()["path"].endswith("q.onnx")
    packed = quantize_weights(model, tmp_path / "w.onnx", bits=4)
    assert packed.weight_bytes["int4"] == weights / 2
    assert "tensor" in collect_ranges(model, X)._repr_markdown_()


@pytest.mark.parametrize("operation", [nn.Linear, nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_weights_alone_are_exactly_fake_quantized(tmp_path, operation, bits):
    torch.manual_seed(0)
    if operation is nn.Linear:
        net, x, axis = nn.Linear(12, 5), X[0, 0], 0
    else:
        net, x, axis = operation(3, 4, 3), X[:2], 0 if operation is nn.Conv2d else 1
    path = export(net, torch.from_numpy(x), tmp_path / "net.onnx").path
    done = quantize_weights(path, tmp_path / "w.onnx", bits=bits)
    weight = net.weight.detach().numpy()
    net.weight.data = torch.from_numpy(fake_quantize(weight, per_channel(weight, axis, bits)))
    with torch.no_grad():
        np.testing.assert_allclose(run(done.path, x), net(torch.from_numpy(x)).numpy(), atol=1e-5)
    assert ("int4" in done.weight_bytes) == (bits <= 4)


def test_four_bits_in_blocks_run_as_matmulnbits(tmp_path):
    torch.manual_seed(0)
    path = export(
        nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)), torch.randn(2, 64), tmp_path / "n.onnx"
    )
    x = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
    done = quantize_weights(path.path, tmp_path / "q.onnx", bits=4, block_size=32)
    assert operators(done.path, tmp_path).count("MatMulNBits") == 2
    assert sqnr_db(run(path.path, x), run(done.path, x)) > 12
    assert done.bytes < path.bytes / 2


def test_dynamic_quantization_of_a_network_over_sequences(tmp_path):
    path = export(Lstm(), torch.randint(0, 20, (2, 9)), tmp_path / "lstm.onnx").path
    x = np.random.default_rng(0).integers(0, 20, (8, 9))
    done = quantize_dynamic(path, tmp_path / "q.onnx")
    assert "DynamicQuantizeLSTM" in {node.op_type for node in onnx.load(done.path).graph.node}
    assert sqnr_db(run(path, x), run(done.path, x)) > 20
    assert done.bytes < done.float_bytes / 2
    plain = quantize_dynamic(path, tmp_path / "q.onnx", operators=["MatMul"])
    assert "LSTM" in {node.op_type for node in onnx.load(plain.path).graph.node}
    ranges = collect_ranges(path, x)
    assert ranges.samples == 8


def test_layers_that_share_their_weights_are_quantized_apart(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(24, 24)

        def forward(self, x):
            return self.linear(torch.relu(self.linear(x)))

    path = export(Tied(), torch.randn(2, 24), tmp_path / "tied.onnx").path
    graph = onnx.load(path).graph
    assert len({node.input[1] for node in graph.node if node.op_type == "Gemm"}) == 1
    x = np.random.default_rng(0).normal(size=(50, 24)).astype(np.float32)
    for make in (
        quantize_dynamic,
        lambda path, out: quantize_static(path, out, x),
        lambda path, out: quantize_weights(path, out, bits=8),
        lambda path, out: quantize_weights(path, out, bits=4, block_size=16),
    ):
        assert sqnr_db(run(path, x), run(make(path, tmp_path / "q.onnx").path, x)) > 12


CALLS = {
    "static": lambda path, out: quantize_static(path, out, X),
    "dynamic": quantize_dynamic,
    "weights": quantize_weights,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("content", [None, b"", b"no model", "half", "nan", "quantized"])
def test_a_file_that_is_no_float_model_is_named(model, tmp_path, call, content):
    path, out = tmp_path / "in.onnx", tmp_path / "out.onnx"
    whole = model.read_bytes()
    if content == "nan":
        net = cnn()
        nn.init.constant_(net[0].weight, float("nan"))
        with silenced():
            torch.onnx.export(net, (torch.from_numpy(X[:2]),), path, dynamo=False, opset_version=18)
    elif content == "quantized":
        quantize_static(model, path, X[:2])
    elif content is not None:
        path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    out.write_bytes(b"before")
    with pytest.raises(BadFile, match=r"in\.onnx.*\.$"):
        CALLS[call](path, out)
    assert out.read_bytes() == b"before"


@pytest.mark.parametrize("call", CALLS)
def test_damaged_files_end_in_a_sentence_or_a_whole_file(model, tmp_path, call):
    rng = random.Random(call)
    path, out = tmp_path / "in.onnx", tmp_path / "out.onnx"
    for _ in range(25):
        content = bytearray(model.read_bytes())
        for _ in range(rng.randrange(1, 6)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        out.unlink(missing_ok=True)
        try:
            CALLS[call](path, out)
        except EdgelabError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert not out.exists()
        else:
            onnx.load(out)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (X[:, :2], "does not take"),
        (X[0], "does not take"),
        (X[:0], "empty"),
        (np.float32(1), "empty"),
        (np.full_like(X, np.nan), "not finite"),
        (np.array(["a"]), "not finite"),
        (X.astype(np.int64), "int64"),
    ],
)
def test_a_calibration_set_that_does_not_fit_is_named(model, tmp_path, x, says):
    with pytest.raises(BadInput, match=says):
        quantize_static(model, tmp_path / "q.onnx", x)
    assert not (tmp_path / "q.onnx").exists()


def test_values_that_overflow_in_the_network_are_named(tmp_path):
    model = export(cnn(nn.ReLU), torch.from_numpy(X[:2]), tmp_path / "relu.onnx").path
    with pytest.raises(BadInput, match=r"has no range: .* NaN or infinite"):
        collect_ranges(model, np.full_like(X, 3e38))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "magic"}, "minmax, percentile, entropy, mse"),
        ({"activation": "int7"}, "not an integer type"),
        ({"activation": "int8", "weight": "uint8"}, "doesn't support data format"),
        ({"format": "tflite"}, "qdq"),
        ({"calibration_x": None}, "calibration set"),
    ],
)
def test_settings_that_do_not_exist_are_named(model, tmp_path, settings, says):
    with pytest.raises(BadInput, match=says):
        quantize_static(model, tmp_path / "q.onnx", **{"calibration_x": X[:4]} | settings)
    assert not (tmp_path / "q.onnx").exists()


def test_other_settings_that_do_not_exist_are_named(model, tmp_path):
    out = tmp_path / "q.onnx"
    other = export(nn.Linear(3, 4), torch.randn(2, 3), tmp_path / "other.onnx").path
    with pytest.raises(BadInput, match="another network"):
        quantize_static(other, out, ranges=collect_ranges(model, X))
    with pytest.raises(BadInput, match="does not run dynamically"):
        quantize_dynamic(model, out, weight="int4")
    with pytest.raises(BadInput, match="bits=1"):
        quantize_weights(model, out, bits=1)
    with pytest.raises(BadInput, match="block_size=20"):
        quantize_weights(model, out, block_size=20)
    with pytest.raises(BadInput, match="exclude names no node"):
        quantize_weights(model, out, exclude=["nothing"])
    relu = export(nn.ReLU(), torch.randn(2, 3), tmp_path / "relu.onnx").path
    with pytest.raises(BadInput, match="no convolution, linear or recurrent layer"):
        quantize_weights(relu, out)
    assert not out.exists()


def test_two_inputs_want_their_names(tmp_path):
    class Two(nn.Module):
        def forward(self, a, b):
            return a + b

    path = export(Two(), (torch.randn(2, 3), torch.randn(2, 3)), tmp_path / "two.onnx").path
    with pytest.raises(BadInput, match="give the calibration set by these names"):
        collect_ranges(path, X)


def test_nothing_is_said_while_quantizing(model, tmp_path, capfd, recwarn):
    text = io.StringIO()
    with contextlib.redirect_stderr(text):
        quantize_static(model, tmp_path / "q.onnx", X[:4], weight="int4")
        quantize_dynamic(model, tmp_path / "q.onnx")
        quantize_weights(model, tmp_path / "q.onnx", block_size=16)
    assert (text.getvalue(), *capfd.readouterr()) == ("", "", "")
    assert not recwarn.list


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """A network of two inputs, a picture and whole numbers, and 40 items of each by name."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.picture, self.table, self.head = nn.Conv2d(3, 4, 3), nn.Embedding(9, 6), nn.Linear(10, 3)

        def forward(self, picture, word):
            return self.head(torch.cat([self.picture(picture).relu().mean((2, 3)), self.table(word)], 1))

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("two") / "two.onnx"
    example = (torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))
    with silenced():
        torch.onnx.export(Two().eval(), example, path, dynamo=False, input_names=["picture", "word"])
    rng = np.random.default_rng(0)
    return path, {"picture": rng.normal(size=(40, 3, 8, 8)).astype(np.float32), "word": rng.integers(0, 9, 40)}


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_a_network_of_several_inputs_is_calibrated_by_name(of_two, tmp_path, method):
    path, items = of_two
    made = quantize_static(path, tmp_path / "q.onnx", items, method=method)
    assert made.settings["samples"] == 40
    with open_engine(path) as before, open_engine(tmp_path / "q.onnx") as after:
        wanted, found = before.run(items), after.run(items)
    for name, y in wanted.items():
        assert np.abs(found[name] - y).max() < 0.05 * np.abs(y).max()
    assert not np.array_equal(found[name], y)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda items: items["picture"], "give the calibration set by these names"),
        (lambda items: {"picture": items["picture"]}, "the inputs picture, word, and the calibration set picture"),
        (lambda items: {**items, "word": items["word"][:7]}, "unequal numbers of items: 40 of 'picture', 7 of 'word'"),
        (
            lambda items: {**items, "word": items["word"] / 2},
            r"takes tensor\(int64\) for 'word', and the calibration set is float",
        ),
    ],
    ids=["one array", "one is missing", "fewer of one", "other type"],
)
def test_a_calibration_set_of_several_inputs_that_does_not_fit_is_named(of_two, tmp_path, change, says):
    path, items = of_two
    with pytest.raises(BadInput, match=says):
        quantize_static(path, tmp_path / "q.onnx", change(items))
    assert not (tmp_path / "q.onnx").exists()
