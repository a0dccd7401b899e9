"""Golden data sets: the figures, where a file leaves its reference, what is matched, and the file itself."""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgelab import cli, golden
from edgelab.compress.ptq import quantize_static
from edgelab.engines import open_engine
from edgelab.errors import BadFile, BadInput
from edgelab.feeding.arrays import Arrays, save_arrays
from edgelab.feeding.matching import match_inputs, match_outputs, pair
from edgelab.golden import dataset
from edgelab.golden.file import model_hash, read_golden
from edgelab.golden.layers import SAMPLES, onnx_tensors, sampled, walk
from edgelab.measure.compare import compare

from .test_engines_run import CASES, IDS, LOGITS, MASK, POOLED, TABLE, WEIGHT, save, two_inputs

FLOAT, INT8 = CASES / "same_float.tflite", CASES / "same_int8.tflite"
RNG = np.random.default_rng(1)
X = RNG.normal(size=(60, 3, 8, 8)).astype(np.float32)
CLASSES = 7
# Of the depthwise layer one channel is large and never used, for its input is always 0: one scale for the whole tensor
# is ruined by it.
LARGE = np.array([40, 1, 1.3, 0.9, 1.1, 0.8]).reshape(6, 1, 1, 1)
WEIGHTS = {
    "stem_w": RNG.normal(size=(6, 3, 3, 3), scale=0.3).astype(np.float32),
    "stem_b": np.array([-50, 0.1, -0.1, 0.2, 0, 0.1], np.float32),
    "depth_w": (RNG.normal(size=(6, 1, 3, 3)) * LARGE).astype(np.float32),
    "point_w": RNG.normal(size=(8, 6, 1, 1)).astype(np.float32),
    "head_w": RNG.normal(size=(CLASSES, 8)).astype(np.float32),
    "head_b": np.zeros(CLASSES, np.float32),
}


def network(path, *, weights=None, last=False, names=("x", "y"), batch="N", softmax=False):
    """A small depthwise-separable network; ``last`` takes channels last."""
    x, y = names
    nodes = [helper.make_node("Transpose", [x], ["image"], perm=[0, 3, 1, 2], name="turn")] if last else []
    start = "image" if last else x
    nodes += [
        helper.make_node("Conv", [start, "stem_w", "stem_b"], ["stem_c"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["stem_c"], ["stem_r"], name="stem_relu"),
        helper.make_node("Conv", ["stem_r", "depth_w"], ["depth_c"], name="depth", pads=[1, 1, 1, 1], group=6),
        helper.make_node("Conv", ["depth_c", "point_w"], ["point_c"], name="point"),
        helper.make_node("Relu", ["point_c"], ["point_r"], name="point_relu"),
        helper.make_node("GlobalAveragePool", ["point_r"], ["mean_p"], name="mean"),
        helper.make_node("Flatten", ["mean_p"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "head_w", "head_b"], ["scores" if softmax else y], name="head", transB=1),
    ]
    nodes += [helper.make_node("Softmax", ["scores"], [y], name="softmax", axis=1)] if softmax else []
    shape = [batch, 8, 8, 3] if last else [batch, 3, 8, 8]
    return save(
        path,
        nodes,
        [(x, TensorProto.FLOAT, shape)],
        [(y, TensorProto.FLOAT, [batch, CLASSES])],
        weights or WEIGHTS,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The network, its labels (a tenth of them wrong), a golden file, and its quantized variants."""
    place = tmp_path_factory.mktemp("golden")
    network(place / "float.onnx")
    with open_engine(place / "float.onnx") as engine:
        logits = engine.predict(X)
    y = logits.argmax(axis=1)
    y[::10] = (y[::10] + 1) % CLASSES
    save_arrays(place / "data.npz", X, y, np.where(np.arange(60) % 3, "day", "night"))
    golden.make(place / "float.onnx", place / "data.npz", place / "g.golden")
    quantize_static(place / "float.onnx", place / "good.onnx", X)
    quantize_static(place / "float.onnx", place / "poor.onnx", X, per_channel=False)
    quantize_static(place / "float.onnx", place / "older.onnx", X, per_channel=False, format="qoperator")
    return place


def one(place, name, **settings):
    return golden.check(place / "g.golden", place / name, **settings).models[0]


def test_the_figures_are_those_of_the_engines(folder):
    answers = []
    for name in ("float.onnx", "poor.onnx"):
        with open_engine(folder / name) as engine:
            answers.append(engine.predict(X).astype(np.float64))
    a, b = answers
    y = np.load(folder / "data.npz")["y"]
    found = one(folder, "poor.onnx")
    assert found.result.accuracy.value == pytest.approx(100 * (b.argmax(1) == y).mean())
    ranks = (b > b[np.arange(60), y][:, None]).sum(axis=1)
    assert found.result.top_5.value == pytest.approx(100 * (ranks < 5).mean())
    assert found.agreement.value == pytest.approx(100 * (a.argmax(1) == b.argmax(1)).mean())
    assert found.loss.loss.value == pytest.approx(100 * ((a.argmax(1) == y).mean() - (b.argmax(1) == y).mean()))
    p, q = (np.exp(v) / np.exp(v).sum(axis=1, keepdims=True) for v in (a, b))
    assert found.kl == pytest.approx(float((p * np.log(p / q)).sum(axis=1).mean()), rel=1e-3)
    assert found.sqnr_db == pytest.approx(10 * math.log10((a**2).sum() / ((a - b) ** 2).sum()), rel=1e-4)
    assert found.max_deviation == pytest.approx(np.abs(a - b).max(), rel=1e-4)


def test_outputs_whose_names_a_converter_made_up_are_told_apart_by_their_values():
    first, second = RNG.normal(size=(2, 5, 20, 10)).astype(np.float32)
    reference = {"Identity": first, "Identity_1": second}
    found = {"StatefulPartitionedCall_1:1": first + 1e-4, "Identity": second, "Identity_1": second[:, :4]}
    (one, is_first), (two, is_second) = match_outputs(reference, found, "net.tflite")
    assert (one.model, two.model) == ("StatefulPartitionedCall_1:1", "Identity")
    assert "as the values say" in one.did[0]
    np.testing.assert_allclose(is_first, first, atol=1e-3)
    assert is_second is not None
    named = {"onset": first, "note": second}  # names that an author gave are kept, whatever the values
    assert [m.model for m, _ in match_outputs(named, {"onset": second, "note": first}, "swapped.onnx")] == [
        "onset",
        "note",
    ]


def test_the_reference_itself_passes_and_is_named(folder):
    found = one(folder, "float.onnx", max_loss=0, min_sqnr=100)
    assert found.passed
    assert found.to_dict()["sqnr_db"] is None
    assert found.max_deviation == 0
    assert found.first_divergence is None
    assert found.exclude == ()
    assert any("the reference itself" in text for text in found.advice)


def test_the_first_layer_that_diverges_is_the_one_that_was_changed(folder, tmp_path):
    changes = {"stem": "stem_c", "depth": "depth_c", "point": "point_c", "head": "y"}
    paths = []
    for changed in changes:
        weights = {**WEIGHTS, f"{changed}_w": WEIGHTS[f"{changed}_w"] + np.float32(1)}
        paths.append(network(tmp_path / f"{changed}.onnx", weights=weights))
    report = golden.check(folder / "g.golden", paths)
    for found, (changed, tensor) in zip(report.models, changes.items(), strict=True):
        assert found.first_divergence.tensor.node == changed
        assert found.first_divergence.tensor.name == tensor
        assert found.first_divergence.sqnr_db < 20


def test_the_exclusion_list_is_read_by_the_quantizer_and_helps(folder, tmp_path):
    listed = tmp_path / "exclude.txt"
    words = ["golden", "check", str(folder / "g.golden"), str(folder / "poor.onnx"), "--min-sqnr", "25"]
    assert cli.main([*words, "--exclude-out", str(listed)]) == 1
    nodes = listed.read_text().splitlines()
    assert "depth" in nodes
    better = quantize_static(folder / "float.onnx", tmp_path / "b.onnx", X, per_channel=False, exclude=nodes)
    poor, mended = golden.check(folder / "g.golden", [folder / "poor.onnx", better.path]).models
    assert mended.sqnr_db > poor.sqnr_db + 3
    assert cli.main([*words, "--exclude-out", str(listed)]) == 2, "it replaces nothing"
    assert cli.main([*words, "--exclude-out", str(listed), "--overwrite"]) == 1


def test_the_older_form_of_quantized_files_names_its_nodes_too(folder):
    found = one(folder, "older.onnx", min_sqnr=25)
    assert found.first_divergence is not None
    assert "depth" in found.exclude


def test_gates(folder):
    assert one(folder, "good.onnx", max_loss=5).passed
    found = one(folder, "good.onnx", min_sqnr=90)
    assert not found.passed
    assert found.reasons == (f"The SQNR of 'y' is {found.sqnr_db:.1f} dB, and 90 dB are asked for.",)
    poor = one(folder, "poor.onnx", max_loss=-200.0)
    assert "are allowed" in poor.reasons[0]
    report = golden.check(folder / "g.golden", [folder / "good.onnx", folder / "float.onnx"], min_sqnr=90)
    assert [m.passed for m in report.models] == [False, True]
    assert not report.passed
    assert "90 dB" in str(report)
    page = report._repr_markdown_()
    assert "good.onnx" in page
    heads = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| model")]
    assert sorted(name for head in heads for name in head) == sorted(["model", *report.table().columns])
    assert max(map(len, heads)) <= 6  # a notebook's page is narrow


def test_names_layouts_and_a_fixed_batch_are_matched_and_said(folder, tmp_path):
    other = network(tmp_path / "other.onnx", last=True, names=("picture", "answer"), batch=4)
    found = golden.check(folder / "g.golden", other, min_sqnr=90).models[0]
    assert found.passed
    image, answer = found.matched
    assert (image.golden, image.model) == ("x", "picture")
    assert any("from the first axis to the last" in text for text in image.did)
    assert (answer.golden, answer.model) == ("y", "answer")
    back = tmp_path / "back.golden"
    golden.make(other, folder / "data.npz", back)
    assert golden.check(back, folder / "float.onnx", min_sqnr=90).models[0].passed
    save_arrays(tmp_path / "last.npz", X.transpose(0, 2, 3, 1))
    golden.make(other, tmp_path / "last.npz", tmp_path / "last.golden")
    found = golden.check(tmp_path / "last.golden", folder / "float.onnx", min_sqnr=90).models[0]
    assert found.passed
    assert any("from the last axis to the first" in text for text in found.matched[0].did)


def test_probabilities_are_compared_as_such(folder, tmp_path):
    network(tmp_path / "p.onnx", softmax=True)
    golden.make(tmp_path / "p.onnx", folder / "data.npz", tmp_path / "p.golden")
    with open_engine(tmp_path / "p.onnx") as engine:
        p = engine.predict(X).astype(np.float64)
    weights = {**WEIGHTS, "head_b": np.linspace(0, 2, CLASSES).astype(np.float32)}
    other = network(tmp_path / "q.onnx", softmax=True, weights=weights)
    with open_engine(other) as engine:
        q = engine.predict(X).astype(np.float64)
    found = golden.check(tmp_path / "p.golden", other).models[0]
    assert found.kl == pytest.approx(float((p * np.log(p / q)).sum(axis=1).mean()), rel=1e-2)


def narrow(path):
    """The network of two inputs with int32 ids, other names, and its outputs in another order."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Unsqueeze", ["attention", "last"], ["wide"]),
        helper.make_node("Mul", ["embedded", "wide"], ["masked"]),
        helper.make_node("ReduceMean", ["masked"], ["vector"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["vector", "weight"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best64"], axis=1, keepdims=0),
        helper.make_node("Cast", ["best64"], ["best"], to=TensorProto.INT32),
    ]
    return save(
        path,
        nodes,
        [("attention", TensorProto.FLOAT, [1, 6]), ("input_ids", TensorProto.INT32, [1, 6])],
        [
            ("vector", TensorProto.FLOAT, [1, 8]),
            ("best", TensorProto.INT32, [1]),
            ("scores", TensorProto.FLOAT, [1, 3]),
        ],
        {"table": TABLE, "weight": WEIGHT, "last": np.array([-1])},
    )


def test_several_inputs_and_outputs_of_other_names_and_integer_types(tmp_path):
    made = two_inputs(tmp_path / "two.onnx", "N")
    save_arrays(tmp_path / "d.npz", {"ids": IDS, "mask": MASK}, LOGITS.argmax(axis=1))
    kept = golden.make(made, tmp_path / "d.npz", tmp_path / "g.golden").golden
    assert kept.logits == "logits"
    np.testing.assert_allclose(kept.outputs["pooled"], POOLED, atol=1e-5)
    found = golden.check(tmp_path / "g.golden", narrow(tmp_path / "n.onnx"), min_sqnr=80).models[0]
    assert found.passed
    matched = {m.golden: (m.model, m.did) for m in found.matched}
    assert {name: model for name, (model, _) in matched.items()} == {
        "ids": "input_ids",
        "mask": "attention",
        "logits": "scores",
        "class": "best",
        "pooled": "vector",
    }
    assert "converted from int64 to int32" in matched["ids"][1]
    assert "int32 compared with int64" in matched["class"][1]
    assert {o.name: o.equal for o in found.outputs}["class"] == 100
    assert found.result.accuracy.value == 100


def test_tensorflow_lite_by_its_tensors_and_its_integers(tmp_path):
    x = RNG.normal(size=(20, 2, 12, 12)).astype(np.float32)
    save_arrays(tmp_path / "d.npz", x)
    kept = golden.make(FLOAT, tmp_path / "d.npz", tmp_path / "f.golden").golden
    assert len(kept.layers.values) == 5
    same, small = golden.check(tmp_path / "f.golden", [FLOAT, INT8], min_sqnr=60).models
    assert same.passed
    assert not small.passed
    assert 30 < small.sqnr_db < 50
    assert small.first_divergence.tensor.operator == "CONV_2D"
    assert "first" in small.first_divergence.tensor.name
    assert any("quantized to int8 with the file's own scale" in text for text in small.matched[0].did)
    assert all("denylisted_nodes" in text for text in small.advice if "float" in text)
    with open_engine(INT8) as engine:
        scale, zero = engine.inputs[0].scale, engine.inputs[0].zero_point
    q = np.clip(np.rint(x / np.float32(scale)) + zero, -128, 127).astype(np.int8)
    golden.make(INT8, Arrays(q), tmp_path / "q.golden")
    again, floating = golden.check(tmp_path / "q.golden", [INT8, FLOAT], min_sqnr=30).models
    assert again.max_deviation == 0
    assert floating.passed


def test_layers_are_compared_within_one_format_only(folder):
    report = golden.check(folder / "g.golden", folder / "good.onnx").models[0]
    assert report.layers_note == ""
    kept = read_golden(folder / "g.golden")
    assert "layers have other names" in walk(FLOAT, "tflite", (), kept.data.inputs, kept.layers).note
    assert kept.layers.items == 8
    assert set(kept.layers.values) == {"stem_c", "stem_r", "depth_c", "point_c", "point_r", "mean_p", "flat", "y"}


def test_samples_are_spread_and_the_same_for_one_size():
    value = np.arange(3 * SAMPLES, dtype=np.float32)
    found = sampled(value.reshape(3, -1))
    assert len(np.unique(found)) == SAMPLES
    assert np.array_equal(found, sampled(value))
    counts = np.histogram(found, bins=16)[0]
    assert counts.min() > 0.8 * counts.max()
    assert np.array_equal(sampled(value[:10]), value[:10])


def test_a_sequence_between_nodes_is_left_out(tmp_path):
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "x"], ["pair"], name="sequence"),
        helper.make_node("ConcatFromSequence", ["pair"], ["y"], name="join", axis=1),
    ]
    path = save(tmp_path / "s.onnx", nodes, [("x", TensorProto.FLOAT, ["N", 3])], [("y", TensorProto.FLOAT, ["N", 6])])
    assert [t.name for t in onnx_tensors(onnx.load(path))] == ["y"]
    golden.make(path, Arrays(X[:4, 0, 0, :3]), tmp_path / "g.golden")
    assert golden.check(tmp_path / "g.golden", path).passed


def test_without_labels(folder, tmp_path):
    golden.make(folder / "float.onnx", Arrays(X), tmp_path / "g.golden")
    found = golden.check(tmp_path / "g.golden", folder / "good.onnx").models[0]
    assert found.result is None
    assert found.passed == (found.agreement.value >= 99)
    with pytest.raises(BadInput, match="holds no labels"):
        golden.check(tmp_path / "g.golden", folder / "good.onnx", max_loss=1)


def test_compare_without_labels_and_with_several_inputs(folder, tmp_path):
    made, other = two_inputs(tmp_path / "two.onnx", "N"), narrow(tmp_path / "n.onnx")
    told = compare(made, other, Arrays.by_name({"ids": IDS, "mask": MASK})).to_dict()
    assert told["data"]["inputs"] == {"ids": "int64", "mask": "float32"}
    assert told["data"]["classes"] is told["models"][0]["accuracy"] is told["models"][0]["verdict"] is None
    assert told["models"][0]["p50_ms"]["value"] > 0
    labelled = compare(made, other, Arrays.by_name({"ids": IDS, "mask": MASK}, LOGITS.argmax(axis=1)))
    assert labelled.to_dict()["models"][0]["accuracy"]["value"] == 100
    plain = compare(folder / "float.onnx", folder / "good.onnx", Arrays(X), runs=20)
    assert plain.to_dict()["models"][0]["p50_ms"]["value"] > 0
    assert "Without labels" in str(plain)


@pytest.mark.parametrize(
    ("golden_names", "model_names", "suits", "wanted"),
    [
        (["a", "b"], ["b", "a"], {}, [("a", "a"), ("b", "b")]),
        (["ids", "mask"], ["serving_default_mask:0", "serving_default_ids:0"], {}, [("ids", 1), ("mask", 0)]),
        (["a", "b"], ["x", "z"], {("a", "z"), ("b", "x"), ("b", "z")}, [("a", "z"), ("b", "x")]),
        (["a", "b"], ["x", "z"], "all", [("a", "x"), ("b", "z")]),
        (["a", "b"], ["x"], {("b", "x")}, [("b", "x")]),
    ],
)
def test_pairs(golden_names, model_names, suits, wanted):
    found = pair(golden_names, model_names, lambda g, m: suits == "all" or (g, m) in suits)
    right = {(g, model_names[m] if isinstance(m, int) else m) for g, m in wanted}
    assert {(g, m) for g, m, _ in found} == right
    assert all("order" in how for _, _, how in found) == (suits == "all")


def test_what_cannot_be_matched_is_a_sentence(folder, tmp_path):
    kept = read_golden(folder / "g.golden")
    for other, words in (
        (two_inputs(tmp_path / "two.onnx", "N"), "nothing for the input 'ids' of int64|does not fit"),
        (FLOAT, "does not fit same_float"),
    ):
        with pytest.raises(BadInput, match=words):
            golden.check(folder / "g.golden", other)
    with pytest.raises(BadInput, match="networks of one task"):
        match_outputs(kept.outputs, {"y": np.zeros((60, 3), np.float32)}, "m")
    with open_engine(two_inputs(tmp_path / "t.onnx", "N")) as engine, pytest.raises(BadInput, match="such values"):
        match_inputs({"ids": MASK + 0.5, "mask": MASK}, engine.inputs, "m")


def test_labels_beyond_the_classes_and_a_reference_that_is_not_sound(folder, tmp_path):
    with pytest.raises(BadInput, match=r"no output of .* has so many classes"):
        golden.make(folder / "float.onnx", Arrays(X, np.full(60, 9)), tmp_path / "g.golden")
    network(tmp_path / "nan.onnx", weights={**WEIGHTS, "head_b": np.full(CLASSES, np.nan, np.float32)})
    with pytest.raises(BadInput, match="NaN or infinity in 'y'"):
        golden.make(tmp_path / "nan.onnx", Arrays(X), tmp_path / "g.golden")
    assert not (tmp_path / "g.golden").exists()
    found = golden.check(folder / "g.golden", tmp_path / "nan.onnx").models[0]
    assert not found.passed
    assert found.reasons[0] == "The output 'y' holds NaN or infinity."
    assert found.first_divergence.tensor.node == "head"
    json.dumps(found.to_dict(), allow_nan=True)


def test_the_hash_is_of_the_whole_model_and_is_held(folder, tmp_path):
    assert golden.check(folder / "g.golden", folder / "good.onnx", reference=folder / "float.onnx").models
    with pytest.raises(BadFile, match="made from another file than"):
        golden.check(folder / "g.golden", folder / "good.onnx", reference=folder / "good.onnx")
    model = onnx.load(folder / "float.onnx")
    big = numpy_helper.from_array(WEIGHTS["head_w"], "head_w")
    assert big.raw_data
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, location="e.bin", size_threshold=0)
    before = model_hash(tmp_path / "e.onnx")
    content = bytearray((tmp_path / "e.bin").read_bytes())
    content[-1] ^= 1
    (tmp_path / "e.bin").write_bytes(content)
    assert model_hash(tmp_path / "e.onnx") != before


def test_make_from_the_command_line(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["golden", "make", str(folder / "float.onnx"), "--data", str(folder / "data.npz"), "-o", "g.golden"]
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["labels"] is True
    assert told["items"] == 60
    assert told["reference"]["sha256"] == model_hash(folder / "float.onnx")
    first = Path("g.golden").read_bytes()
    assert cli.main(words) == 2
    assert "--overwrite" in capfd.readouterr().err
    assert Path("g.golden").read_bytes() == first
    assert cli.main([*words, "--overwrite"]) == 0
    assert "SHA-256" in capfd.readouterr().out
    assert cli.main([*words[:-1], str(folder / "float.onnx"), "--overwrite"]) == 2
    assert "one of the files that are read" in capfd.readouterr().err
    assert cli.main(["golden", "check", "g.golden", str(folder / "good.onnx"), "--max-loss", "5", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["golden"] == "g.golden"
    assert told["models"][0]["passed"] is True


def test_numpy_reads_a_golden_file_without_pickle(folder):
    with np.load(folder / "g.golden", allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        assert np.array_equal(arrays["input_0"], X)
    assert header["model"]["file"] == "float.onnx"
    assert str(folder) not in json.dumps(header)


def test_a_slow_network_is_waited_for(folder, monkeypatch):
    waits = []

    def opened(path, **settings):
        waits.append(settings.get("timeout"))
        return open_engine(path, **settings)

    monkeypatch.setattr(dataset, "open_engine", opened)
    golden.make(folder / "float.onnx", folder / "data.npz", folder / "slow.golden")
    golden.check(folder / "slow.golden", folder / "good.onnx", max_loss=5)
    assert len(waits) == 2
    assert min(waits) >= 32 * 30  # seconds: a part of 32 items that need half a minute each
