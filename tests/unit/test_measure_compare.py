"""`bench` and `compare` on real files, their figures held against what the engines say one by one."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgelab import data, nets
from edgelab.compress import ptq
from edgelab.convert.onnx import export
from edgelab.engines import open_engine
from edgelab.errors import BadInput
from edgelab.feeding.arrays import Arrays, load_arrays, save_arrays
from edgelab.measure.bench import bench
from edgelab.measure.compare import compare, distinct_names

TFLITE = Path(__file__).parents[1] / "data" / "mcu_oracle" / "tabular_mlp.tflite"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The digits network as float32 and INT8 ONNX, and its test set as .npz."""
    folder = tmp_path_factory.mktemp("compare")
    digits = data.digits()
    network = nets.load("digits_mlp")
    x = digits.test.x.astype(np.float32)
    made = export(network, x[:1], folder / "float32.onnx").path
    int8 = ptq.quantize_static(made, folder / "int8.onnx", digits.train.x[:100]).path
    group = np.where(np.arange(len(x)) % 2, "odd", "even")
    return made, int8, save_arrays(folder / "test.npz", x, digits.test.y, group)


def test_compare_says_what_the_engines_say(files):
    made, int8, npz = files
    report = compare(made, [int8], npz, runs=20)
    arrays = load_arrays(npz)
    answers = []
    for path in (made, int8):
        with open_engine(path) as engine:
            answers.append(engine.predict(arrays.x))
    found = report.to_dict()
    right = [100 * float((logits.argmax(axis=1) == arrays.y).mean()) for logits in answers]
    assert found["reference"]["accuracy"]["value"] == pytest.approx(right[0])
    (model,) = found["models"]
    assert model["accuracy"]["value"] == pytest.approx(right[1])
    assert model["max_abs"] == pytest.approx(float(np.abs(answers[0] - answers[1]).max()), rel=1e-4)
    agreement = 100 * float((answers[0].argmax(axis=1) == answers[1].argmax(axis=1)).mean())
    assert model["agreement"]["value"] == pytest.approx(agreement)
    assert {entry["name"] for entry in model["by_group"]} == {"odd", "even"}
    assert json.dumps(found)
    assert "int8.onnx" in str(report)
    assert "int8.onnx" in report._repr_markdown_()


def test_a_copy_of_the_reference_is_no_different(files, tmp_path):
    made, _, npz = files
    copy = tmp_path / "float32.onnx"
    copy.write_bytes(made.read_bytes())
    (model,) = compare(made, copy, npz, runs=40).to_dict()["models"]
    assert model["max_abs"] == 0
    assert model["sqnr_db"] is None
    assert model["agreement"]["value"] == 100


def test_networks_of_two_tasks_are_not_compared(files):
    made, _, npz = files
    with pytest.raises(BadInput, match="tabular_mlp"):
        compare(made, [TFLITE], npz)
    with pytest.raises(BadInput, match="at least one model"):
        compare(made, [], npz)


def test_labels_beyond_the_classes_are_refused(files):
    made, int8, npz = files
    arrays = load_arrays(npz)
    with pytest.raises(BadInput, match="classes"):
        compare(made, [int8], Arrays(arrays.x, arrays.y + 5))


def test_bench_of_two_formats(files):
    made, _, _ = files
    report = bench([made, TFLITE], runs=40, warmup=2)
    found = report.to_dict()
    assert [Path(m["file"]).name for m in found["models"]] == ["float32.onnx", "tabular_mlp.tflite"]
    for model in found["models"]:
        assert 0 < model["p50_ms"]["value"] <= model["p95_ms"]["value"] <= model["p99_ms"]["value"]
        assert model["first_ms"]["value"] > 0
        assert model["operators"]
    assert len(found["verdicts"]) == 1
    assert json.dumps(found)
    assert "tabular_mlp.tflite" in str(report)


def test_bench_refuses_what_cannot_be_measured(files):
    made, _, _ = files
    for settings in ({"runs": 1}, {"warmup": -1}, {"batch": 0}, {"threads": 0}):
        with pytest.raises(BadInput):
            bench([made], **settings)
    with pytest.raises(BadInput):
        bench([])


def test_names_tell_files_apart():
    paths = [Path("a/x/m.onnx"), Path("b/x/m.onnx"), Path("c/n.onnx")]
    assert len(set(distinct_names(paths))) == 3
