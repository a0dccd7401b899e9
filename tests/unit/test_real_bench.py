"""Files as practitioners have them are timed: open axes, several inputs, states, types; what cannot be is said why."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgelab.cli import main
from edgelab.engines import open_engine
from edgelab.engines.feeds import Named
from edgelab.engines.onnxruntime import OnnxRuntimeEngine
from edgelab.errors import BadFile, BadInput
from edgelab.feeding.options import FeedOptions
from edgelab.measure.bench import bench
from tests import open_files

CASES = Path(__file__).parents[1] / "data" / "cases"
FAMILIES = {
    "voice": (open_files.voice, ["input:1x512"], {"input": [1, 512], "sr": [], "h": [1, 1, 8], "c": [1, 1, 8]}),
    "counter": (open_files.counter, ["input:1x256"], {"input": [1, 256], "state": [2, 1, 4]}),
    "detector": (open_files.detector, ["1x3x64x48"], {"input.1": [1, 3, 64, 48]}),
    "recogniser": (open_files.recogniser, ["x:1x3x48x64"], {"x": [1, 3, 48, 64]}),
    "file_type": (open_files.file_type, ["bytes=1x300"], {"bytes": [1, 300]}),
    "music": (open_files.music, [], {"serving_default_input_2:0": [1, 4384, 1]}),
}


def timed(path, *shapes, runs=8, **options):
    return bench(path, runs, 1, feed=FeedOptions.parse(shapes, **options))


@pytest.mark.parametrize("family", FAMILIES)
def test_models_that_packages_ship_are_timed_with_at_most_a_shape(family, tmp_path):
    make, shapes, wanted = FAMILIES[family]
    report = timed(make(tmp_path / f"{family}.onnx"), *shapes)
    (row,) = report.models
    assert row.p50_ms.value > 0
    assert row.operators
    assert {entry["name"]: entry["shape"] for entry in row.feed.to_dict()["inputs"]} == wanted
    if shapes:
        with pytest.raises(BadInput, match=r"open; give the size with --shape"):
            timed(make(tmp_path / f"{family}.onnx"))


def test_states_are_zeros_and_the_rate_is_one(tmp_path):
    report = timed(open_files.voice(tmp_path / "voice.onnx"), "input:1x512")
    values = {entry["name"]: entry["values"] for entry in report.models[0].feed.to_dict()["inputs"]}
    assert values == {
        "input": "random",
        "sr": "16000, a sampling rate",
        "h": "zeros, a recurrent state",
        "c": "zeros, a recurrent state",
    }
    assert "'h' was 1x1x8: zeros, a recurrent state" in report.note


def test_a_state_goes_from_run_to_run_only_where_it_is_asked_to(tmp_path):
    path = open_files.counter(tmp_path / "counter.onnx")
    arrays = {"input": np.zeros((1, 4), np.float32), "state": np.zeros((2, 1, 4), np.float32)}
    from edgelab.engines import onnxruntime

    common = {"threads": 1, "graph_optimization": True, "layout": "auto", "batch": None, "output": None}
    host = onnxruntime.Host(str(path), **common)
    seen = []
    host._session = Watched(host._session, seen)
    for states, wanted in (({}, [0, 0, 0]), ({"state": "stateN"}, [0, 1, 2])):
        seen.clear()
        host.keep_named(*arrays.values(), states=states)
        host.time(3, 0)
        assert [float(feed["state"].max()) for feed in seen] == wanted
    report = timed(path, "input:1x4", states=["state=stateN"])
    assert report.models[0].feed.to_dict()["states"] == {"state": "stateN"}
    for wrong in ("state=output_", "nothing=stateN"):
        with pytest.raises(BadInput, match="--state"):
            timed(path, "input:1x4", states=[wrong])


class Watched:
    """A session that notes what it is fed."""

    def __init__(self, session, seen):
        self.session, self.seen = session, seen

    def run(self, wanted, feed):
        self.seen.append(dict(feed))
        return self.session.run(wanted, feed)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("06_dynamic_hw.onnx", ["x:1x3x32x48"]),
        ("06b_dynamic_hw.tflite", ["1x32x48x3"]),
        ("ids_mask.onnx", ["ids:1x9"]),
        ("ids_mask.onnx", ["ids:1x9", "mask:1x9"]),
        ("zerodim.onnx", []),
        ("norank.onnx", ["x:2x3"]),
        ("seqout.onnx", []),
        ("string_in2d.onnx", []),
        ("bf16.onnx", []),
        ("ext_ok.onnx", []),
    ],
)
def test_every_case_runs(name, shapes):
    report = timed(CASES / name, *shapes)
    (row,) = report.models
    assert row.p50_ms.value > 0
    assert not row.failed
    assert row.operators, report.note
    assert json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "06_dynamic_hw.onnx",
            r"axis 2 \('H'\) and axis 3 \('W'\) of its input 'x' .*--shape x:1x3xSIZExSIZE",
        ),
        ("06b_dynamic_hw.tflite", r"leaves axis 1 and axis 2 of its input .*--shape keras_tensor_24:1xSIZExSIZEx3"),
        (
            "ids_mask.onnx",
            r"leaves axis 1 \('S'\) of its input 'ids' .* open; give the size with --shape ids:1xSIZE",
        ),
        ("norank.onnx", r"does not say how many axes its input 'x' has.*--shape x:"),
    ],
)
def test_an_axis_that_nothing_gives_a_size_is_named_with_the_switch(name, sentence):
    with pytest.raises(BadInput, match=sentence):
        timed(CASES / name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("custom.onnx", "my.domain:MyOp.*is not a registered"), ("13_git_lfs_pointer.onnx", "Git LFS pointer")],
)
def test_what_cannot_run_is_said_truly(name, sentence):
    with pytest.raises(BadFile, match=sentence):
        timed(CASES / name)


def test_shapes_that_belong_together_are_a_row_each():
    report = timed(CASES / "ids_mask.onnx", "ids:1x8", "ids:1x32", "mask:1x8", "mask:1x32")
    assert [m.name for m in report.models] == ["ids_mask.onnx ids:1x8 mask:1x8", "ids_mask.onnx ids:1x32 mask:1x32"]
    assert len(report.verdicts) == 1
    kept = timed(CASES / "06_dynamic_hw.onnx", "1x3x8x8", "1x3x16x16", "1x3x24x24")
    assert [m.name.split()[-1] for m in kept.models] == ["1x3x8x8", "1x3x16x16", "1x3x24x24"]
    with pytest.raises(BadInput, match="k-th shapes"):
        timed(CASES / "ids_mask.onnx", "ids:1x8", "ids:1x32", "ids:1x33", "mask:1x8", "mask:1x32")


def test_a_shape_that_no_memory_holds_is_refused():
    with pytest.raises(BadInput, match="would take up to"):
        timed(CASES / "06_dynamic_hw.onnx", "1x3x900000x900000")


def test_an_input_that_is_no_array_is_named(tmp_path):
    from onnx import TensorProto, helper, save

    made = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    nodes = [helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0)]
    graph = helper.make_graph(nodes, "g", [made], [open_files.value("y", None)])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8), tmp_path / "s.onnx")
    with pytest.raises(BadInput, match=r"input 's' .* is seq\(tensor\(float\)\), which cannot be fed here"):
        timed(tmp_path / "s.onnx")


def test_a_file_of_constants_has_nothing_to_feed(tmp_path):
    from onnx import helper

    nodes = [helper.make_node("Add", ["a", "a"], ["y"])]
    path = open_files.model(tmp_path / "c.onnx", nodes, [], [open_files.value("y", [3])], {"a": np.ones(3, np.float32)})
    assert timed(path).models[0].p50_ms.value > 0


def test_a_fixed_batch_takes_as_many_calls_as_it_needs():
    model = Path(__file__).parents[1] / "data" / "mcu_oracle" / "conv1d_vibration.tflite"
    report = bench(model, 8, 1, batch=3)
    assert report.models[0].feed.batch == 3
    assert report.models[0].throughput.value == pytest.approx(3e3 / report.models[0].p50_ms.value)


def test_one_inference_that_takes_too_long_is_said_with_the_switch(monkeypatch):
    from edgelab.errors import EngineLate

    def late(self, x, runs, warmup=0):
        raise EngineLate("ONNX Runtime gave no answer within 120 s and was stopped.")

    monkeypatch.setattr(OnnxRuntimeEngine, "time", late)
    with pytest.raises(EngineLate, match="more than 120 s; give it more with --timeout"):
        bench(CASES / "ext_ok.onnx")


def test_a_tflite_file_of_open_size_predicts():
    x = np.random.default_rng(0).standard_normal((3, 3, 32, 40), dtype=np.float32)
    with open_engine(CASES / "06b_dynamic_hw.tflite") as engine:
        whole, one = engine.predict(x), engine.predict(np.ascontiguousarray(x[:1]))
        assert whole.shape == (3, 3)
        np.testing.assert_allclose(whole[:1], one, rtol=1e-5)
        assert engine.predict(np.ones((2, 3, 16, 16), np.float32)).shape == (2, 3)


def test_an_input_that_is_given_once_keeps_it(tmp_path):
    report = timed(open_files.voice(tmp_path / "voice.onnx"), "input:1x256", "input:1x512", "h:1x1x8")
    shapes = [{i["name"]: i["shape"] for i in m.feed.to_dict()["inputs"]} for m in report.models]
    assert [s["input"] for s in shapes] == [[1, 256], [1, 512]]
    assert [s["h"] for s in shapes] == [[1, 1, 8], [1, 1, 8]]


def test_another_file_lends_its_sizes_in_its_own_order_of_axes():
    report = timed([CASES / "06_dynamic_hw.onnx", CASES / "06b_dynamic_hw.tflite"], "x:1x3x32x48")
    shapes = [m.feed.to_dict()["inputs"][0]["shape"] for m in report.models]
    assert shapes == [[1, 3, 32, 48], [1, 32, 48, 3]]
    assert report.models[1].feed.to_dict()["inputs"][0]["sizes"] == "as 06_dynamic_hw.onnx has it"


@pytest.mark.parametrize(
    ("metadata", "seen"),
    [
        ({"imgsz": "[64, 96]"}, ()),
        ({"input_size": "64x96"}, ()),
        (None, [open_files.value("same", [1, 3, 64, 96])]),
    ],
)
def test_the_files_own_hints_are_taken(metadata, seen, tmp_path):
    path = open_files.detector(tmp_path / "hinted.onnx", ("batch", 3, "height", "width"), metadata, seen)
    report = timed(path)
    assert report.models[0].feed.to_dict()["inputs"][0]["shape"] == [1, 3, 64, 96]
    assert "own metadata" in report.note
    assert timed(path, "1x3x32x32").models[0].feed.to_dict()["inputs"][0]["shape"] == [1, 3, 32, 32]


def test_a_named_axis_by_its_name(tmp_path):
    path = open_files.file_type(tmp_path / "types.onnx")
    report = timed(path, dims=["length=77", "batch=3"])
    assert report.models[0].feed.to_dict()["inputs"][0]["shape"] == [3, 77]
    assert report.models[0].feed.batch == 3
    with pytest.raises(BadInput, match=r"no axis called 'width'.*'batch', 'length'"):
        timed(path, dims=["width=77"])


def test_data_by_name_is_fed(tmp_path):
    ids = np.arange(12, dtype=np.int64).reshape(3, 4)
    np.savez(tmp_path / "d.npz", ids=ids, mask=np.ones((3, 4), np.int64), y=np.zeros(3, np.int64))
    report = timed(CASES / "ids_mask.onnx", data=tmp_path / "d.npz", batch=2)
    feed = report.models[0].feed
    np.testing.assert_array_equal(feed.arrays["ids"], ids[:2])
    assert feed.how == {"ids": "from d.npz", "mask": "from d.npz"}
    assert report.settings["data"] == str(tmp_path / "d.npz")
    np.savez(tmp_path / "x.npz", x=np.ones((5, 3, 24, 24), np.float32), y=np.zeros(5, np.int64))
    for name in ("06_dynamic_hw.onnx", "06b_dynamic_hw.tflite"):
        fed = timed(CASES / name, data=tmp_path / "x.npz").models[0].feed
        assert sorted(next(iter(fed.arrays.values())).shape) == [1, 3, 24, 24]


def test_data_for_some_inputs_leaves_the_states_zeros(tmp_path):
    np.savez(tmp_path / "d.npz", input=np.ones((2, 512), np.float32))
    feed = timed(open_files.voice(tmp_path / "v.onnx"), data=tmp_path / "d.npz").models[0].feed
    assert feed.arrays["input"].shape == (1, 512)
    assert not feed.arrays["h"].any()
    assert feed.how["h"].startswith("zeros")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shape", "x:1x3x"], "does not read like"),
        (["--shape", "z:1x3x8x8"], "has no input 'z'"),
        (["--shape", "x:1x4x8x8"], "does not fit the input 'x'"),
        (["--shape", "x:3x8x8"], "does not fit the input 'x'"),
        (["--dim", "H"], "does not read like AXIS=SIZE"),
        (["--state", "x"], "does not read like INPUT=OUTPUT"),
        (["--duration", "0"], "not a number of seconds above 0"),
        (["--timeout", "-1"], "not a number of seconds above 0"),
    ],
)
def test_wrong_switches_are_a_sentence(words, said, capsys):
    try:
        status = main(["bench", str(CASES / "06_dynamic_hw.onnx"), *words])
    except SystemExit as left:
        status = left.code
    assert status == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert len(errors.strip().splitlines()) == 1


@pytest.mark.parametrize("verb", ["benchmark", "perf"])
def test_other_names_of_the_verb(verb, capsys):
    assert main([verb, str(CASES / "ext_ok.onnx"), "--runs", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["runs"] == 8


def test_runs_by_time():
    start = time.monotonic()
    report = bench(CASES / "ext_ok.onnx", warmup=2, duration=0.5)
    assert time.monotonic() - start < 30
    (row,) = report.models
    assert row.runs > 400
    assert report.settings["duration_s"] == 0.5
    both = bench(CASES / "ext_ok.onnx", 24, 2, duration=20.0)
    assert both.models[0].runs == 24


class Slow:
    """A clock for an engine that takes ``seconds`` a run without taking them."""

    def __init__(self, monkeypatch, seconds):
        self.calls, real = [], OnnxRuntimeEngine.time

        def timed(engine, x, runs, warmup=0):
            self.calls.append((warmup, runs))
            found = real(engine, x, runs, warmup)
            self.now += seconds * (runs + warmup)
            return type(found)(np.full(runs, seconds))

        self.now, start = 0.0, time.monotonic
        monkeypatch.setattr(OnnxRuntimeEngine, "time", timed)
        monkeypatch.setattr("edgelab.measure.race.time.monotonic", lambda: start() + self.now)


def test_a_slow_model_needs_no_twenty_warm_up_runs(monkeypatch):
    clock = Slow(monkeypatch, 6.0)
    report = bench(CASES / "ext_ok.onnx")
    (row,) = report.models
    assert row.warmup <= 1
    assert 2 <= row.runs <= 10
    assert clock.now < 120
    assert all(warmup == 0 for warmup, _ in clock.calls)
    assert row.p50_ms.value == pytest.approx(6000.0)


def test_the_end_of_the_time_loses_nothing(monkeypatch):
    clock = Slow(monkeypatch, 6.0)
    report = bench(CASES / "ext_ok.onnx", 400, timeout=50.0)
    (row,) = report.models
    assert 2 <= row.runs <= 8
    assert "The time given for all of it was over" in report.note
    assert clock.now < 70
    assert not report.failed
    second = bench([CASES / "ext_ok.onnx", CASES / "02_opset12_cnn.onnx"], 400, timeout=13.0)
    assert all(m.first_ms.value > 0 for m in second.models)
    assert all(m.p50_ms is None for m in second.models)
    assert "The time given for all of it was over" in second.failed


def test_a_later_contender_that_dies_at_its_first_run_leaves_the_others(monkeypatch):
    real = OnnxRuntimeEngine.time

    def dies(self, x, runs, warmup=0):
        if self.path.name.startswith("02"):
            os.kill(self.raw.pid, 9)
        return real(self, x, runs, warmup)

    monkeypatch.setattr(OnnxRuntimeEngine, "time", dies)
    files = [CASES / "ext_ok.onnx", CASES / "02_opset12_cnn.onnx", CASES / "bf16.onnx"]
    report = bench(files, 16, 1)
    assert [m.runs for m in report.models] == [16, 0, 16]
    assert "SIGKILL" in report.models[1].failed
    assert "02_opset12_cnn.onnx was not timed to the end" in report.note
    assert len(report.verdicts) == 1
    assert json.dumps(report.to_dict(), allow_nan=False)


def test_the_status_says_that_one_was_not_timed(monkeypatch, capsys):
    real = OnnxRuntimeEngine.time

    def dies(self, x, runs, warmup=0):
        if self.path.name.startswith("02"):
            os.kill(self.raw.pid, 9)
        return real(self, x, runs, warmup)

    monkeypatch.setattr(OnnxRuntimeEngine, "time", dies)
    assert main(["bench", str(CASES / "ext_ok.onnx"), str(CASES / "02_opset12_cnn.onnx"), "--runs", "8"]) == 2
    said = capsys.readouterr()
    assert "Time of one run" in said.out
    assert "SIGKILL" in said.err


def test_an_interrupt_keeps_the_rounds(monkeypatch):
    real, calls = OnnxRuntimeEngine.time, []

    def interrupted(self, x, runs, warmup=0):
        calls.append(runs)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return real(self, x, runs, warmup)

    monkeypatch.setattr(OnnxRuntimeEngine, "time", interrupted)
    report = bench(CASES / "ext_ok.onnx", 80, 2)
    assert report.models[0].runs == 40
    assert "It was interrupted after" in report.note


def test_an_unforeseen_error_of_the_profiler_loses_nothing(monkeypatch):
    def fails(self, x, runs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OnnxRuntimeEngine, "profile", fails)
    report = bench(CASES / "ext_ok.onnx", 8, 1)
    assert report.models[0].p50_ms.value > 0
    assert "No space left on device" in report.note


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are the system's own")
def test_a_disk_without_room_for_the_profile_loses_nothing():
    body = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "from edgelab.cli import main\n"
        f"sys.exit(main(['bench', {str(CASES / 'ext_ok.onnx')!r}, '--runs', '8']))\n"
    )
    run = subprocess.run([sys.executable, "-B", "-c", body], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    assert "Time of one run" in run.stdout
    assert "has no profile" in run.stdout
    assert "Traceback" not in run.stderr


def test_several_inputs_cost_what_a_bare_loop_costs():
    """Only the runtime's own call is timed, whatever is fed: the host hands it a ready dictionary."""
    arrays = {"ids": np.zeros((1, 8), np.int64), "mask": np.ones((1, 8), np.int64)}
    with open_engine(CASES / "ids_mask.onnx") as engine:
        feed = Named(arrays)
        assert engine.time(feed, 3).seconds.shape == (3,)
        assert engine.calls_per_run(feed) == 1
        with pytest.raises(BadInput, match="missing"):
            engine.time(Named({"ids": arrays["ids"]}), 1)
        with pytest.raises(BadInput, match="takes int64"):
            engine.time(Named({**arrays, "ids": arrays["ids"].astype(np.int32)}), 1)
