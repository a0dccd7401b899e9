"""Core ML packages through inspect, bench, compare and golden: one folder that stands for one file."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from torch import nn

from edgelab import cli, golden
from edgelab.compress.modelfile import file_bytes
from edgelab.convert import coreml as convert
from edgelab.convert import onnx as to_onnx
from edgelab.course.session import installed
from edgelab.engines import coreml, open_engine
from edgelab.errors import BadFile, BadInput
from edgelab.feeding.arrays import Arrays, save_arrays
from edgelab.feeding.matching import match_inputs
from edgelab.golden.file import model_hash
from edgelab.measure.bench import bench
from edgelab.measure.compare import compare
from edgelab.measure.inspect import inspect_model, report_of
from edgelab.models import coreml_file, folder_bytes, mlpackage

if not installed("coremltools"):
    pytest.skip("coremltools is not installed here", allow_module_level=True)


off_macos = pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is here")
NAMES = ["bicycle", "bus", "car", "lorry"]
X = np.random.default_rng(0).random((24, 3, 12, 12), np.float32)


class Net(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, groups=2)]
        super().__init__(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))


def read(path):
    """What `inspect_model` says, without the child process, whose import of coremltools takes seconds."""
    return report_of(path, folder_bytes(path), coreml_file.read(str(path)))


def config(kind, **settings):
    co = mlpackage.coremltools().optimize.coreml
    return co.OptimizationConfig(global_config=getattr(co, kind)(weight_threshold=0, **settings))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One network as .onnx, as packages with a tensor and an image, plain and compressed, and data for it."""
    folder = tmp_path_factory.mktemp("mlpackage")
    net = Net().eval()
    to_onnx.export(net, X[:1], folder / "net.onnx")
    convert.export(net, X[:1], folder / "net.mlpackage")
    image = convert.program(net, X[:1], image=True, class_names=NAMES)
    image.author, image.short_description = "somebody", "four classes"
    convert.save(image, folder / "image.mlpackage")
    co = mlpackage.coremltools().optimize.coreml
    linear = {"mode": "linear_symmetric"}
    with convert.silenced():
        pruned = co.prune_weights(image, config("OpMagnitudePrunerConfig", target_sparsity=0.5))
        palette = config("OpPalettizerConfig", nbits=4, mode="kmeans")
        blocks = config("OpLinearQuantizerConfig", dtype="int4", granularity="per_block", block_size=4, **linear)
        made = {
            "palette": co.palettize_weights(image, palette),
            "int8": co.linear_quantize_weights(image, config("OpLinearQuantizerConfig", **linear)),
            "int4": co.linear_quantize_weights(image, blocks),
            "sparse": pruned,
            "joint": co.palettize_weights(pruned, palette, joint_compression=True),
        }
    for name, model in made.items():
        convert.save(model, folder / f"{name}.mlpackage")
    with open_engine(folder / "net.onnx") as engine:
        labels = engine.predict(X).argmax(axis=1)
    save_arrays(folder / "data.npz", X, labels)
    return folder


def test_a_folder_is_one_file(place):
    package = place / "net.mlpackage"
    total = sum(f.stat().st_size for f in package.rglob("*") if f.is_file())
    assert file_bytes(package) == folder_bytes(package) == read(package).bytes == total > 4096
    copy = mlpackage.copy_package(package, place / "copy.mlpackage")
    assert model_hash(copy) == model_hash(package) != model_hash(place / "image.mlpackage")


def test_inspect_tells_what_a_package_holds(place):
    report = inspect_model(place / "image.mlpackage")
    (port,), (label, shares) = report.inputs, report.outputs
    assert (port.name, port.shape, port.dtype, port.image) == ("image", (1, 3, 12, 12), "uint8", "RGB")
    assert port.scale == pytest.approx(1 / 255)
    assert (label.dtype, shares.shape) == ("string", (1, 4))
    assert report.labels == tuple(NAMES)
    assert report.metadata["author"] == "somebody"
    assert report.producer == f"coremltools {mlpackage.coremltools().__version__}"
    convolutions = 8 * 10 * 10 * 27 + 16 * 8 * 8 * 36
    assert report.macs == convolutions + 16 * 4
    folded = sum(p.numel() for name, p in Net().named_parameters() if not name.startswith("1."))
    assert report.parameters == folded + 1  # and the scale of the pixels
    assert report.weight_bytes == {"float16": 2 * folded, "float32": 4}
    counts = {row["type"]: row["count"] for row in report.operators()}
    assert (counts["conv"], counts["linear"]) == (2, 1)
    assert "image 1x3x12x12 image RGB of uint8" in str(report)
    assert "Class names: bicycle, bus, car, lorry." in str(report)
    assert json.dumps(report.to_dict())


@pytest.mark.parametrize(
    ("name", "said", "scheme", "granularity", "weights"),
    [
        ("palette", "palette of 4 bits", "palette", "per_tensor", "uint4"),
        ("int8", "int8 per channel", "linear", "per_channel", "int8"),
        ("int4", "int4 in blocks of 4", "linear", "mixed", "int4"),  # a layer of three channels has no block of 4
        ("sparse", "sparse, 50% stored", "sparse", None, "float16"),
        ("joint", "palette of 4 bits and sparse, 50% stored", "palette and sparse", "per_tensor", "uint4"),
    ],
)
def test_inspect_tells_how_weights_are_stored(place, name, said, scheme, granularity, weights):
    report = read(place / f"{name}.mlpackage")
    assert said in [layer.compression for layer in report.layers]
    found = report.quantization
    assert (found.kind, found.scheme, found.granularity) == ("weights_only", scheme, granularity)
    assert found.weights == (weights,)
    assert report.parameters == read(place / "image.mlpackage").parameters
    assert said in str(report)


@off_macos
def test_compare_matches_a_package_with_an_onnx_file(place):
    report = compare(
        place / "net.onnx", [place / "net.mlpackage", place / "image.mlpackage"], place / "data.npz", runs=6
    )
    for found in report.to_dict()["models"]:
        assert found["agreement"]["value"] == 100
        assert found["accuracy"]["value"] == 100
        assert found["sqnr_db"] > 40
        assert found["p50_ms"] is None
        assert found["runtime"] == "edgelab's evaluator, not Core ML"
        assert found["bytes"] == folder_bytes(found["file"])
    assert "net.mlpackage was not timed. Core ML runs on macOS alone" in report.note


@off_macos
def test_bench_refuses_in_one_sentence(place, capfd):
    with pytest.raises(BadInput, match=r"net.mlpackage cannot be timed: Core ML runs on macOS alone"):
        bench([place / "net.onnx", place / "net.mlpackage"], runs=4)
    assert cli.main(["bench", str(place / "net.mlpackage")]) == 2
    out, error = capfd.readouterr()
    assert not out
    assert error.count("\n") == 1


def test_bench_times_core_ml_where_it_is(place, monkeypatch):
    class Model:
        """What coremltools gives on macOS."""

        calls = 0

        def predict(self, given):
            Model.calls += 1
            pixels = np.moveaxis(np.asarray(given["image"]), -1, 0)[None]
            found = program.run({"image": pixels})
            shares = dict(zip(program.labels, found["classLabel_probs"][0], strict=True))
            return {"classLabel": found["classLabel"][0], "classLabel_probs": shares}

    path = place / "image.mlpackage"
    wanted = coreml.CoreMLEngine(path, evaluator=True).predict(X)
    program = coreml.read_program(path)
    monkeypatch.setattr(coreml.CoreMLEngine, "_load", lambda self: Model())
    monkeypatch.setattr(coreml.sys, "platform", "darwin")
    engine = open_engine(path)
    report = bench(path, runs=4, warmup=1, batch=2)
    monkeypatch.undo()
    assert engine.why_untimed == ""
    np.testing.assert_allclose(engine.predict(X), wanted, atol=1e-3)
    assert engine.run({"image": (255 * X).astype(np.uint8)})["classLabel"].shape == (24,)
    (found,) = report.models
    assert found.p50_ms.value > 0
    assert "2 calls" in report.note
    assert "no profile" in report.note


def test_golden_files_hold_across_formats(place, tmp_path):
    made = golden.make(place / "net.onnx", place / "data.npz", tmp_path / "g.golden")
    assert made.golden.model["format"] == "onnx"
    names = ["net.mlpackage", "image.mlpackage", "palette.mlpackage"]
    report = golden.check(tmp_path / "g.golden", [place / name for name in names], max_loss=5)
    assert [model.passed for model in report.models] == [True, True, True]
    plain, image, _ = report.to_dict()["models"]
    assert plain["matched"][0]["model"] == "input"
    assert "pixels from 0 to 255 of an image" in image["matched"][0]["did"][-1]
    assert image["bytes"] == folder_bytes(place / "image.mlpackage")
    assert "layers have other names" in report.models[0].layers_note


def test_golden_files_of_a_package_name_the_layer_that_diverges(place, tmp_path):
    data = Arrays(np.rint(255 * X).astype(np.uint8), np.zeros(24, np.int64))
    made = golden.make(place / "image.mlpackage", data, tmp_path / "g.golden")
    assert made.golden.layers.values, made.golden.layers.note
    (found,) = golden.check(
        tmp_path / "g.golden", place / "palette.mlpackage", min_sqnr=60, reference=place / "image.mlpackage"
    ).models
    assert not found.passed
    assert found.first_divergence.tensor.operator == "conv"
    assert found.first_divergence.tensor.node in found.exclude
    assert any("set_op_name" in text for text in found.advice)
    (onnx,) = golden.check(tmp_path / "g.golden", place / "net.onnx").models
    assert onnx.agreement.value == 100
    (same,) = golden.check(tmp_path / "g.golden", place / "image.mlpackage").models
    assert any("the reference itself" in text for text in same.advice)


def test_an_image_is_never_fed_in_silence(place):
    with open_engine(place / "image.mlpackage") as engine:
        whole = np.rint(255 * X)
        as_bytes = engine.run({"image": whole.astype(np.uint8)})["classLabel_probs"]
        as_shares = engine.run({"image": (whole / 255).astype(np.float32)})["classLabel_probs"]
        np.testing.assert_allclose(as_bytes, as_shares)
        with pytest.raises(BadInput, match="must lie between 0 and 1, not 0 to 255"):
            engine.run({"image": whole.astype(np.float32)})
        (fed,) = match_inputs({"x": whole.astype(np.float32)}, engine.inputs, "image.mlpackage")
        assert fed.dtype == np.uint8
        with pytest.raises(BadInput, match="not made of such values"):
            match_inputs({"x": X - 0.5}, engine.inputs, "image.mlpackage")


def build(path, inputs, function, *, half=False):
    """A package of a PyTorch function with the named inputs; ``half`` for float16 at its borders."""
    ct = mlpackage.coremltools()
    kind = np.float16 if half else np.float32
    given = [ct.TensorType(name=name, shape=shape, dtype=kind) for name, shape in inputs.items()]
    examples = [torch.rand([getattr(n, "default", n) for n in _first(shape)]) for shape in inputs.values()]

    class Wrapped(nn.Module):
        def forward(self, *x):
            return function(*x)

    with convert.silenced():
        traced = torch.jit.trace(Wrapped(), tuple(examples))
        model = ct.convert(
            traced,
            inputs=given,
            outputs=[ct.TensorType(dtype=kind)] if half else None,
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
        )
    return convert.save(model, path).path


def _first(shape):
    return shape.default if hasattr(shape, "default") else shape


@pytest.mark.parametrize("shape", [(16,), (1, 16), (1, 4, 6), (1, 2, 4, 6), (1, 2, 2, 4, 6)])
def test_arrays_of_every_rank_go_in_and_out(shape, tmp_path):
    path = build(tmp_path / "net.mlpackage", {"signal": shape}, lambda x: x.exp() + 1)
    item = shape if len(shape) == 1 else shape[1:]
    x = np.random.default_rng(1).random((3, *item), np.float32)
    made = golden.make(path, Arrays(x), tmp_path / "g.golden")
    (found,) = made.golden.outputs.values()
    np.testing.assert_allclose(found.reshape(x.shape), np.exp(x) + 1, rtol=1e-5)
    assert read(path).inputs[0].shape == shape
    if len(shape) == 1:
        assert "one item at a time" in made.golden.matched[0]["did"][-1]
    assert golden.check(tmp_path / "g.golden", path, min_sqnr=100).passed


def test_float16_borders_take_float32_and_say_so(tmp_path):
    path = build(tmp_path / "half.mlpackage", {"x": (1, 16)}, lambda x: x * 2, half=True)
    x = np.random.default_rng(1).random((3, 16), np.float32)
    with open_engine(path) as engine:
        assert (engine.inputs[0].dtype, engine.outputs[0].dtype) == ("float16", "float16")
        np.testing.assert_allclose(engine.predict(x), 2 * x, rtol=1e-3)
    made = golden.make(path, Arrays(x), tmp_path / "g.golden")
    assert made.golden.matched[0]["did"] == ["converted from float32 to float16"]
    assert read(path).inputs[0].dtype == "float16"


def test_flexible_and_listed_shapes(tmp_path):
    ct = mlpackage.coremltools()
    listed = build(
        tmp_path / "listed.mlpackage",
        {"x": ct.EnumeratedShapes([(1, 2, 8), (1, 2, 16)], default=(1, 2, 8))},
        lambda x: x.amax(2),
    )
    ranged = build(tmp_path / "ranged.mlpackage", {"x": (ct.RangeDim(1, 8, default=1), 16)}, lambda x: x * 3)
    with open_engine(listed) as engine:
        assert engine.inputs[0].shape == (1, 2, None)
        for n in (8, 16):
            x = np.random.default_rng(n).random((3, 2, n), np.float32)
            np.testing.assert_allclose(engine.predict(x), x.max(axis=2), rtol=1e-5)
        with pytest.raises(BadInput, match=r"one of the shapes \(1, 2, 8\), \(1, 2, 16\)"):
            engine.predict(np.zeros((1, 2, 12), np.float32))
    with open_engine(ranged) as engine:
        x = np.random.default_rng(0).random((5, 16), np.float32)
        np.testing.assert_allclose(engine.predict(x), 3 * x, rtol=1e-5)


def test_a_batch_of_its_own_is_filled(tmp_path):
    path = build(tmp_path / "four.mlpackage", {"x": (4, 16)}, lambda x: x * 3)
    x = np.random.default_rng(0).random((6, 16), np.float32)
    with open_engine(path) as engine:
        np.testing.assert_allclose(engine.predict(x), 3 * x, rtol=1e-5)
        assert engine.run({"x": x}).popitem()[1].shape == (6, 16)


def broken(place, folder, name, spoil):
    package = mlpackage.copy_package(place / "net.mlpackage", folder / f"{name}.mlpackage")
    spoil(package)
    return package


def _cut(package):
    model = next(package.rglob("model.mlmodel"))
    model.write_bytes(model.read_bytes()[:900])


def _outside(package):
    weights = next(package.rglob("weight.bin"))
    weights.rename(package.parent / "elsewhere.bin")
    weights.symlink_to(package.parent / "elsewhere.bin")


def _climbs(package):
    manifest = json.loads((package / "Manifest.json").read_text())
    shutil.copy(next(package.rglob("model.mlmodel")), package.parent / "model.mlmodel")
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../model.mlmodel"
    (package / "Manifest.json").write_text(json.dumps(manifest))


def _older(package):
    spec = mlpackage.coremltools().proto.Model_pb2.Model()
    spec.specificationVersion = 4
    spec.neuralNetwork.layers.add().name = "dense"
    next(package.rglob("model.mlmodel")).write_bytes(spec.SerializeToString())


def _two(package):
    spec = mlpackage.read_spec(package)
    spec.mlProgram.functions["second"].CopyFrom(spec.mlProgram.functions["main"])
    next(package.rglob("model.mlmodel")).write_bytes(spec.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p: next(p.rglob("weight.bin")).unlink(), "weight.bin is missing"),
        (lambda p: next(p.rglob("weight.bin")).write_bytes(b""), "truncated or damaged"),
        (lambda p: (p / "Manifest.json").write_text("{"), "not a Core ML package: it has no readable Manifest.json"),
        (_cut, "damaged"),
        (_outside, "holds a link"),
        (_climbs, "is not in it"),
        (_older, "a model of type neuralNetwork, not an ML Program"),
        (_two, r"2 functions \(main, second\), and packages of one are read"),
    ],
    ids=["no weights", "empty weights", "manifest", "cut", "link", "climbs", "older", "functions"],
)
def test_what_is_no_sound_package_costs_one_sentence(place, tmp_path, spoil, sentence, capfd):
    package = broken(place, tmp_path, "bad", spoil)
    for opened in (open_engine, coreml_file.read):
        with pytest.raises(BadFile, match=sentence) as caught:
            opened(str(package))
        assert "\n" not in str(caught.value)
    assert cli.main(["compare", str(place / "net.onnx"), str(package), "--data", str(place / "data.npz")]) == 2
    out, error = capfd.readouterr()
    assert not out
    assert error.strip().count("\n") == 0


def test_a_model_in_one_file_is_named(place, tmp_path):
    package = mlpackage.copy_package(place / "net.mlpackage", tmp_path / "p.mlpackage")
    inside = shutil.copy(next(package.rglob("model.mlmodel")), tmp_path / "inside.mlmodel")
    _older(package)
    older = shutil.copy(next(package.rglob("model.mlmodel")), tmp_path / "older.mlmodel")
    for path in (inside, older):
        with pytest.raises(BadFile, match="a Core ML model in one file"):
            inspect_model(path)
    (tmp_path / "compiled.mlmodelc").mkdir()
    with pytest.raises(BadFile, match="compiled Core ML model"):
        open_engine(tmp_path / "compiled.mlmodelc")
