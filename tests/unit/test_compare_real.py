"""`compare` on what teams have: time-major networks, no labels, no data, several inputs; limits for their CI."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgelab import cli
from edgelab.errors import BadInput, EngineLate
from edgelab.feeding.arrays import Arrays
from edgelab.feeding.options import FeedOptions
from edgelab.measure import compared_times
from edgelab.measure.compare import compare
from edgelab.measure.gates import at_most, passed
from edgelab.quiet import silenced
from edgelab.reading import Reading

CASES = Path(__file__).parents[1] / "data" / "cases"
X = np.random.default_rng(0).normal(size=(60, 12, 8)).astype(np.float32)


class Recurrent(nn.Module):
    """An LSTM that takes its batch first or second, and a layer for the last moment or for each."""

    def __init__(self, batch_first, every=False):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = nn.LSTM(8, 32, batch_first=batch_first), nn.Linear(32, 4)
        self.batch_first, self.every = batch_first, every
        for parameter in self.parameters():
            parameter.data *= 3

    def forward(self, x):
        y, _ = self.layer(x)
        return self.head(y if self.every else y[:, -1] if self.batch_first else y[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("recurrent")

    def write(name, net, shape, axes):
        with silenced():
            settings = {"dynamo": False, "input_names": ["x"], "output_names": ["y"], "dynamic_axes": axes}
            torch.onnx.export(net.eval(), (torch.zeros(shape),), made / name, **settings)

    write("first.onnx", Recurrent(True), (2, 12, 8), {"x": {0: "b", 1: "t"}, "y": {0: "b"}})
    write("second.onnx", Recurrent(False), (12, 2, 8), {"x": {0: "t", 1: "b"}, "y": {0: "b"}})
    write("one.onnx", Recurrent(False), (12, 1, 8), {})
    write("pair.onnx", Recurrent(False), (12, 2, 8), {})
    write("first_every.onnx", Recurrent(True, True), (2, 12, 8), {"x": {0: "b", 1: "t"}, "y": {0: "b", 1: "t"}})
    write("second_every.onnx", Recurrent(False, True), (12, 2, 8), {"x": {0: "t", 1: "b"}, "y": {0: "t", 1: "b"}})
    return made


@pytest.mark.parametrize("other", ["second", "one", "pair"])
@pytest.mark.parametrize("items", [60, 12])  # as many as there are moments: the shapes alone tell nothing then
def test_the_axis_of_the_items_is_found_by_running(folder, other, items):
    with torch.no_grad():
        y = Recurrent(True)(torch.from_numpy(X[:items])).argmax(1).numpy()
    for reference, model in (("first", other), (other, "first")):
        found = compare(folder / f"{reference}.onnx", folder / f"{model}.onnx", Arrays(X[:items], y), runs=8).to_dict()
        assert found["reference"]["accuracy"]["value"] == found["models"][0]["accuracy"]["value"] == 100
        assert found["models"][0]["agreement"]["value"] == 100
        assert found["models"][0]["max_abs"] < 1e-4
        if other == "second":
            assert "second.onnx: the items were given on axis 1" in found["note"]


def test_outputs_whose_items_stand_on_another_axis(folder):
    found = compare(folder / "first_every.onnx", folder / "second_every.onnx", Arrays(X), runs=8).to_dict()
    assert found["models"][0]["outputs"][0]["max_abs"] < 1e-4
    assert found["models"][0]["agreement"]["value"] == 100


def test_without_data_the_inputs_are_random_and_said_so(folder):
    feed = FeedOptions.parse(["x:1x12x8"])
    report = compare(folder / "first.onnx", [folder / "second.onnx", folder / "one.onnx"], feed=feed, runs=8)
    found = report.to_dict()
    assert found["data"]["random"]
    assert found["data"]["file"] is None
    assert all(model["agreement"]["value"] == 100 for model in found["models"])
    assert "RANDOM INPUTS" in str(report)
    with pytest.raises(BadInput, match="max_loss needs labels"):
        compare(folder / "first.onnx", folder / "second.onnx", feed=feed, max_loss=1)
    with pytest.raises(BadInput, match=r"leaves axis 1 .* open; give the size with --shape"):
        compare(folder / "first.onnx", folder / "first.onnx")


@pytest.mark.parametrize("reference", ["one", "pair"])
def test_a_reference_of_fixed_size_gives_its_steps_to_one_of_open_size(folder, reference):
    """Its first axis holds the steps of a sequence and not a batch: nobody gives it one step and calls that equal."""
    others = [folder / "second.onnx", *([folder / "first.onnx"] if reference == "one" else [])]
    found = compare(folder / f"{reference}.onnx", others, runs=8).to_dict()
    assert [model["outputs"][0]["max_abs"] < 1e-5 for model in found["models"]] == [True] * len(others)
    assert all(model["agreement"] is None or model["agreement"]["value"] == 100 for model in found["models"])


@pytest.mark.parametrize(
    ("case", "shapes"),
    [
        ("06_dynamic_hw.onnx", ["1x3x32x32"]),
        ("06b_dynamic_hw.tflite", ["1x32x32x3"]),
        ("ids_mask.onnx", ["ids:1x12", "mask:1x12"]),
        ("norank.onnx", ["2x8"]),
        ("bf16.onnx", []),
        ("string_in2d.onnx", []),
        ("ext_ok.onnx", []),
        ("zerodim.onnx", []),
    ],
)
def test_a_case_is_equal_to_itself(case, shapes):
    found = compare(CASES / case, CASES / case, feed=FeedOptions.parse(shapes), runs=8).to_dict()
    assert all(output["max_abs"] in (0, None) for output in found["models"][0]["outputs"])


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [((1.2, 3.0), "failed"), ((0.5, 3.0), "cannot tell"), ((-1.0, 0.9), "passed"), (None, "cannot tell")],
)
def test_a_gate_is_judged_by_its_whole_interval(ends, verdict):
    low, high = ends or (None, None)
    gate = at_most("max_loss", 1.0, Reading(0.9, "points", "measured", "a test", low, high), "of accuracy lost")
    assert gate.verdict == verdict
    assert passed([gate]) == (verdict != "failed")
    assert passed([gate], strict=True) == (verdict == "passed")
    assert at_most("max_loss", 1.0, None, "lost", "nothing is known.").verdict == "cannot tell"


@pytest.fixture
def labelled(folder, tmp_path):
    with torch.no_grad():
        y = Recurrent(True)(torch.from_numpy(X)).argmax(1).numpy()
    np.savez(tmp_path / "d.npz", x=X, y=y)
    np.savez(tmp_path / "other.npz", x=X, y=(y + 1) % 4)
    return tmp_path


def call(capsys, *words):
    status = cli.main([*map(str, words), "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else err


def test_limits_in_a_teams_ci(folder, labelled, capsys):
    files = ("compare", folder / "first.onnx", folder / "second.onnx", "--data", labelled / "d.npz", "--runs", 16)
    status, found = call(capsys, *files)
    assert (status, found["passed"], found["models"][0]["gates"]) == (0, None, [])
    status, found = call(capsys, *files, "--max-loss", 50, "--max-slowdown", 100000)
    assert (status, found["passed"]) == (0, True)
    assert [gate["verdict"] for gate in found["models"][0]["gates"]] == ["passed", "passed"]
    status, found = call(capsys, *files, "--max-loss", 0)
    assert (status, found["models"][0]["gates"][0]["verdict"]) == (0, "cannot tell")
    status, found = call(capsys, *files, "--max-loss", 0, "--strict")
    assert (status, found["passed"], found["gates"]["strict"]) == (1, False, True)
    status, found = call(capsys, *files, "--max-slowdown", -99.99)
    assert (status, found["models"][0]["gates"][0]["verdict"]) == (1, "failed")
    assert cli.main([*map(str, files), "--max-loss", "nan"]) == 2


def test_a_failed_timing_costs_nothing_that_is_known(folder, labelled, monkeypatch, capsys):
    def late(*_, **__):
        raise EngineLate("The runtime gave no answer in time.")

    monkeypatch.setattr(compared_times, "measure_latency", late)
    files = ("compare", folder / "first.onnx", folder / "second.onnx", "--data", labelled / "d.npz")
    status, found = call(capsys, *files, "--max-loss", 50, "--max-slowdown", 10)
    assert status == 0
    assert found["models"][0]["accuracy"]["value"] == 100
    assert found["models"][0]["p50_ms"] is None
    assert "gave no answer in time" in found["note"]
    assert [gate["verdict"] for gate in found["models"][0]["gates"]] == ["passed", "cannot tell"]
    assert call(capsys, *files, "--max-slowdown", 10, "--strict")[0] == 1
