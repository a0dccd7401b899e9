"""Quantizers on what teams have: caches of links, files of weights, transformers, halves, recurrent layers, trees."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgelab.compress import external, modelfile
from edgelab.compress.affine import sqnr_db
from edgelab.compress.ptq import collect_ranges, quantize_dynamic, quantize_static
from edgelab.compress.weight_only import quantize_weights
from edgelab.errors import BadFile, BadInput
from edgelab.quiet import silenced

CASES = Path(__file__).parents[1] / "data" / "cases"
DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(32, 16)).astype(np.float32)
SEQUENCES = DRAW.normal(size=(24, 12, 16)).astype(np.float32)


def run(path, feed):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def mlp(path, **settings):
    """Two linear layers, their weights in files beside."""
    draw = np.random.default_rng(1)
    held = [
        numpy_helper.from_array(draw.normal(size=s).astype(np.float32), n) for n, s in (("a", (16, 32)), ("b", (32, 4)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, **settings)
    return path


def cache_of_links(folder):
    """As a model hub keeps it: links in a snapshot to files that are called by their content."""
    made = mlp(folder / "made" / "model.onnx", location="model.onnx_data")
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "1a2b" / "onnx"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, blob in (("model.onnx", "9f"), ("model.onnx_data", "e0")):
        shutil.move(made.parent / name, blobs / blob)
        (snapshot / name).symlink_to(f"../../../blobs/{blob}")
    return snapshot / "model.onnx"


def link_to_a_model(folder):
    made = mlp(folder / "models" / "m.onnx", location="m.weights")
    (folder / "here.onnx").symlink_to(made)
    return folder / "here.onnx"


EXTERNAL = {
    "a cache of links": cache_of_links,
    "a link to the model alone": link_to_a_model,
    "a folder below": lambda f: (
        (f / "m" / "weights").mkdir(parents=True),
        mlp(f / "m" / "m.onnx", location="weights/my data.bin"),
    )[1],
    "a file for each tensor": lambda f: mlp(f / "m.onnx", all_tensors_to_one_file=False),
}
QUANTIZERS = {
    "static": lambda path, x, out: quantize_static(path, out, x),
    "qoperator": lambda path, x, out: quantize_static(path, out, x, format="qoperator"),
    "dynamic": lambda path, _, out: quantize_dynamic(path, out),
    "weights": lambda path, _, out: quantize_weights(path, out, bits=8),
    "weights in blocks": lambda path, _, out: quantize_weights(path, out, block_size=32),
}


@pytest.mark.parametrize("kind", EXTERNAL)
@pytest.mark.parametrize("large", [False, True])
def test_weights_in_other_files(kind, large, tmp_path, monkeypatch):
    path = EXTERNAL[kind](tmp_path)
    plain = mlp(tmp_path / "plain" / "p.onnx")
    expected = run(plain, {"x": ROWS})[0]
    if large:
        monkeypatch.setattr(external, "MESSAGE_BYTES", 500)
    for name, quantize in QUANTIZERS.items():
        out = tmp_path / name / "q.onnx"
        done = quantize(path, ROWS, out)
        assert done.float_bytes == sum(file.stat().st_size for file in modelfile.files_of(path)) > 2500
        assert sqnr_db(expected, run(out, {"x": ROWS})[0]) > (15 if "blocks" in name else 30)
        assert sorted(file.name for file in out.parent.iterdir()) == ["q.onnx", "q.onnx.data"][: 1 + large]
        assert done.bytes == sum(file.stat().st_size for file in out.parent.iterdir())


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: (p.parent / "w.bin").unlink(), "keeps weights in 'w.bin', which is not beside it"),
        (lambda p: (p.parent / "w.bin").write_bytes(b"\0" * 20), "w.bin is too short"),
        (lambda p: shutil.copy(CASES / "13_git_lfs_pointer.onnx", p.parent / "w.bin"), "too short|Git LFS pointer"),
    ],
)
def test_files_of_weights_that_are_missing_or_cut(spoil, says, tmp_path):
    path = mlp(tmp_path / "m.onnx", location="w.bin")
    spoil(path)
    for quantize in QUANTIZERS.values():
        with pytest.raises(BadFile, match=says):
            quantize(path, ROWS, tmp_path / "q.onnx")


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "C:\\w.bin", "a/../../w.bin", ""])
def test_weights_outside_of_the_folder_are_refused(location, tmp_path):
    path = mlp(tmp_path / "m" / "m.onnx", location="w.bin")
    shutil.copy(path.parent / "w.bin", tmp_path / "w.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for pair in tensor.external_data:
            pair.value = location if pair.key == "location" else pair.value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BadFile, match="which is not a file in its folder"):
        quantize_dynamic(path, tmp_path / "q.onnx")


def test_the_result_never_replaces_the_weights_that_it_is_made_of(tmp_path):
    path = mlp(tmp_path / "m.onnx", location="w.bin")
    before = (tmp_path / "w.bin").read_bytes()
    with pytest.raises(BadInput, match="would replace the weights"):
        quantize_dynamic(path, tmp_path / "w.bin")
    assert (tmp_path / "w.bin").read_bytes() == before


class Transformer(nn.Module):
    """An embedding, masked attention, layer norms, GELU; the head may be the embedding's own weights."""

    def __init__(self, tied):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = nn.Embedding(100, 32), nn.Embedding(16, 32)
        self.inner, self.outer = nn.Linear(32, 96), nn.Linear(32, 32)
        self.norms = nn.ModuleList([nn.LayerNorm(32), nn.LayerNorm(32)])
        self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(64, 32)
        self.head = nn.Linear(32, 100 if tied else 5, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, ids, mask):
        batch, length = ids.shape
        x = self.words(ids) + self.places(torch.arange(length))
        q, k, v = self.inner(self.norms[0](x)).reshape(batch, length, 3, 4, 8).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-1, -2) / 8**0.5).masked_fill(mask[:, None, None, :] == 0, float("-inf"))
        x = x + self.outer((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, 32))
        return self.head(x + self.narrow(nn.functional.gelu(self.wide(self.norms[1](x)))))


IDS = DRAW.integers(0, 100, (24, 12))
MASK = np.ones((24, 12), np.int64)
MASK[::3, 8:] = 0


def exported(net, arguments, path, names, *, newer=False):
    with silenced():
        if newer:
            shapes = [{0: torch.export.Dim("batch")} for _ in names]
            torch.onnx.export(
                net.eval(), arguments, path, dynamo=True, input_names=names, dynamic_shapes=shapes, verbose=False
            )
        else:
            axes = {name: {0: "batch"} for name in names}
            torch.onnx.export(
                net.eval(),
                arguments,
                path,
                dynamo=False,
                opset_version=17,
                input_names=names,
                dynamic_axes=axes,
                **settings,
            )
    return path


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("newer", [False, True])
def test_a_transformer(tied, newer, tmp_path):
    feed = {"ids": IDS, "mask": MASK}
    arguments = tuple(torch.from_numpy(a[:3]) for a in feed.values())
    path = exported(Transformer(tied), arguments, tmp_path / "t.onnx", ["ids", "mask"], newer=newer)
    expected, out = run(path, feed)[0], tmp_path / "q.onnx"
    for name, quantize in QUANTIZERS.items():
        done = quantize(path, feed, out)
        assert sqnr_db(expected, run(out, feed)[0]) > (14 if "blocks" in name else 28), name
        assert done.quantized["MatMul"] + done.quantized.get("Gemm", 0) >= 4, name
        assert done.left == (), name
        if name != "qoperator":
            assert done.quantized["Gather"] >= 1, name


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )


class Bytes(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = cnn()

    def forward(self, x):
        return self.net(x.float() / 255)


PICTURES = DRAW.normal(size=(16, 3, 12, 12)).astype(np.float32)
TYPES = {
    "float16": (lambda: cnn().half(), PICTURES.astype(np.float16)),
    "float64": (lambda: cnn().double(), PICTURES.astype(np.float64)),
    "bfloat16": (lambda: cnn().bfloat16(), PICTURES),
    "uint8": (Bytes, DRAW.integers(0, 256, PICTURES.shape).astype(np.uint8)),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("newer", [False, True])
def test_other_element_types(kind, newer, tmp_path):
    make, x = TYPES[kind]
    example = torch.from_numpy(x[:2])
    path = exported(
        make(), (example.bfloat16() if kind == "bfloat16" else example,), tmp_path / "n.onnx", ["x"], newer=newer
    )
    with torch.no_grad():
        expected = (
            (Bytes() if kind == "uint8" else cnn()).eval()(torch.from_numpy(x if kind == "uint8" else PICTURES)).numpy()
        )
    for name, quantize in QUANTIZERS.items():
        done = quantize(path, x, tmp_path / "q.onnx")
        assert {"Conv"} <= set(done.quantized), name
        found = run(tmp_path / "q.onnx", {"x": x})[0]
        assert found.dtype == (np.float32 if kind in ("uint8", "bfloat16") else x.dtype)
        assert sqnr_db(expected, found.astype(np.float32)) > (20 if "blocks" in name else 30), name
        assert any(kind in note for note in done.notes) == (kind != "uint8")


def test_bfloat16_of_the_cases(tmp_path):
    x = DRAW.normal(size=(16, 8)).astype(np.float32)
    assert quantize_static(CASES / "bf16.onnx", tmp_path / "q.onnx", x).quantized == {"MatMul": 1}
    assert run(tmp_path / "q.onnx", {"x": x})[0].shape[0] == 16


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = getattr(nn, kind)(16, 24, batch_first=True), nn.Linear(24, 4)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers_are_named_with_the_tool_that_takes_them(kind, tmp_path):
    path = exported(Recurrent(kind), (torch.from_numpy(SEQUENCES[:2]),), tmp_path / "r.onnx", ["x"])
    static = quantize_static(path, tmp_path / "q.onnx", SEQUENCES)
    assert static.quantized == {"Gemm": 1}
    assert [left.type for left in static.left] == [kind]
    assert "quantize_weights" in static.left[0].why
    assert ("quantize_dynamic" in static.left[0].why) == (kind == "LSTM")
    assert f"1 {kind} in float32" in static._repr_markdown_()
    assert static.to_dict()["left"][0]["type"] == kind
    assert (quantize_dynamic(path, tmp_path / "d.onnx").quantized.get(kind) == 1) == (kind == "LSTM")
    weights = quantize_weights(path, tmp_path / "w.onnx", bits=8)
    assert weights.quantized[kind] == 1
    assert weights.bytes < path.stat().st_size / 2
    assert sqnr_db(run(path, {"x": SEQUENCES})[0], run(tmp_path / "w.onnx", {"x": SEQUENCES})[0]) > 35


def branches(path):
    """A linear layer inside If."""
    weight = DRAW.normal(size=(16, 16)).astype(np.float32)
    held = [
        numpy_helper.from_array(DRAW.normal(size=(16, 16)).astype(np.float32), "w"),
        numpy_helper.from_array(np.float32(-1e6), "z"),
    ]
    y = helper.make_tensor_value_info("t", TensorProto.FLOAT, None)
    then = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["t"], name="inside")], "t", [], [y])
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["t"])], "e", [], [y])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "z"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 16]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], held)
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_the_body_of_an_if(tmp_path):
    path = branches(tmp_path / "if.onnx")
    with pytest.raises(BadInput, match=r"Nothing in .* was quantized: MatMul 'inside': it stands inside If"):
        quantize_static(path, tmp_path / "q.onnx", ROWS)
    assert not (tmp_path / "q.onnx").exists()
    for quantize in (quantize_dynamic, lambda p, o: quantize_weights(p, o, bits=8)):
        assert quantize(path, tmp_path / "q.onnx").quantized == {"MatMul": 1}
        assert sqnr_db(run(path, {"x": ROWS})[0], run(tmp_path / "q.onnx", {"x": ROWS})[0]) > 35


@pytest.mark.parametrize("case", ["ansi", "seqout", "string_in2d", "zerodim", "norank"])
def test_what_nothing_was_quantized_in_is_no_quantized_file(case, tmp_path):
    path, out = CASES / f"{case}.onnx", tmp_path / "q.onnx"
    for quantize in (quantize_dynamic, quantize_weights):
        with pytest.raises(BadInput, match=f"Nothing in .*{case}.* was quantized: it holds no"):
            quantize(path, out)
    shapes = {"zerodim": (4, 0), "norank": (4, 8), "seqout": (2, 4)}
    x = np.zeros(shapes.get(case, (4, 4)), np.float32)
    with pytest.raises(BadInput) as caught:
        quantize_static(path, out, x)
    assert "edgelab-" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize("zipped", [False, True])
def test_models_of_scikit_learn(zipped, tmp_path):
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = DRAW.normal(size=(200, 8)).astype(np.float32)
    y, options = (x.sum(axis=1) > 0).astype(int), None if zipped else {"zipmap": False}
    paths = {}
    for name, model in {
        "mlp": make_pipeline(StandardScaler(), MLPClassifier((32,), max_iter=60)),
        "linear": LogisticRegression(),
    }.items():
        paths[name] = tmp_path / f"{name}.onnx"
        with silenced():
            onnx.save(skl2onnx.to_onnx(model.fit(x, y), x[:1], options=options), paths[name])
    for name, quantize in QUANTIZERS.items():
        assert quantize(paths["mlp"], x, tmp_path / "q.onnx").quantized["MatMul"] == 2, name
        labels = run(tmp_path / "q.onnx", {"X": x})[0]
        assert np.mean(labels == run(paths["mlp"], {"X": x})[0]) > 0.9
        with pytest.raises(BadInput, match="LinearClassifier holds its parameters as attributes"):
            quantize(paths["linear"], x, tmp_path / "none.onnx")


class Step(nn.Module):
    """One step of a voice detector: a state, and the sampling rate as a number."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = nn.LSTMCell(16, 24), nn.Linear(24, 1)

    def forward(self, x, h, c, sr):
        h, c = self.cell(x * (sr.float() / 16000), (h, c))
        return torch.sigmoid(self.head(h)), h, c


def test_states_and_a_number_beside_the_items(tmp_path):
    zeros = np.zeros((24, 24), np.float32)
    feed = {"x": SEQUENCES[:, 0], "h": zeros, "c": zeros, "sr": np.array(16000)}
    arguments = (torch.from_numpy(feed["x"][:2]), torch.zeros(2, 24), torch.zeros(2, 24), torch.tensor(16000))
    path = tmp_path / "step.onnx"
    axes = {name: {0: "b"} for name in "xhc"}
    with silenced():
        torch.onnx.export(Step().eval(), arguments, path, dynamo=False, input_names=[*feed], dynamic_axes=axes)
    done = quantize_static(path, tmp_path / "q.onnx", feed)
    assert done.quantized["Gemm"] >= 2
    assert sqnr_db(run(path, feed)[0], run(tmp_path / "q.onnx", feed)[0]) > 30


def test_a_mask_that_is_an_input(tmp_path):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.inner = nn.Linear(16, 16)

        def forward(self, x, mask):
            y = self.inner(x)
            return torch.softmax(3 * y @ y.transpose(1, 2) + mask, -1) @ y

    mask = np.zeros((24, 12, 12), np.float32)
    mask[:, :, 6:] = -np.inf
    feed = {"x": SEQUENCES, "mask": mask}
    arguments = tuple(torch.from_numpy(array[:2]) for array in feed.values())
    path = exported(Masked(), arguments, tmp_path / "m.onnx", ["x", "mask"])
    assert "mask" in collect_ranges(path, feed).masked
    quantize_static(path, tmp_path / "q.onnx", feed)
    assert sqnr_db(run(path, feed)[0], run(tmp_path / "q.onnx", feed)[0]) > 25
    with pytest.raises(BadInput, match="not finite"):
        quantize_static(path, tmp_path / "q.onnx", {"x": SEQUENCES, "mask": np.full_like(mask, np.inf)})
