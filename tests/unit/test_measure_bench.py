"""A timing that is finished is kept, whatever happens after it or beside it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelab.cli import main
from edgelab.engines.base import Timing
from edgelab.engines.onnxruntime import OnnxRuntimeEngine
from edgelab.errors import BadFile, BadInput, EngineCrash
from edgelab.measure import latency
from edgelab.measure.bench import bench

CASES = Path(__file__).parents[1] / "data" / "cases"
SMALL, LOOP = CASES / "ext_ok.onnx", CASES / "08_loop_profile_overflow.onnx"


@pytest.fixture
def dying(monkeypatch):
    """The child of a file named here is killed in the middle of the call of ``time`` that is named with it."""
    deaths, calls, real = {}, {}, OnnxRuntimeEngine.time

    def time(self, x, runs, warmup=0):
        name = self.path.name
        calls[name] = calls.get(name, 0) + 1
        if deaths.get(name) == calls[name]:
            os.kill(self.raw.pid, signal.SIGKILL)
        return real(self, x, runs, warmup)

    monkeypatch.setattr(OnnxRuntimeEngine, "time", time)
    return deaths


def test_a_runtime_that_dies_in_a_later_round_takes_nothing_away(dying):
    dying[SMALL.name] = 2 + 5  # the first inference, the warm-up, and then the fifth of eight rounds
    report = bench([SMALL, CASES / "02_opset12_cnn.onnx"], runs=40, warmup=2)
    assert "After 4 of 8 rounds" in report.note
    assert "SIGKILL" in report.note
    assert report.note.count("SIGKILL") == 1
    ended, other = report.models
    assert "20 runs in 4 interleaved blocks" in ended.p50_ms.by
    assert "20 runs in 4 interleaved blocks" in other.p50_ms.by
    assert ended.operators == ()
    assert other.operators
    assert ended.peak_memory_bytes.value > 0
    assert len(report.verdicts) == 1
    assert "SIGKILL" in str(report)
    assert json.dumps(report.to_dict())


def test_without_a_finished_round_the_first_inference_stands(dying):
    dying[SMALL.name] = 3
    report = bench(SMALL, runs=40, warmup=2)
    assert "SIGKILL" in report.failed
    (row,) = report.models
    assert row.first_ms.value > 0
    assert row.load_ms.value > 0
    assert row.p50_ms is None
    assert report.to_dict()["models"][0]["p50_ms"] is None
    assert "SIGKILL" in str(report)


def test_without_a_first_inference_there_is_nothing_to_keep(dying):
    dying[SMALL.name] = 1
    with pytest.raises(EngineCrash, match="SIGKILL"):
        bench(SMALL, runs=40, warmup=2)


class TimesOut:
    """An engine that stops answering at its ``last`` call."""

    name, inputs, outputs = "Clockwork 1.0", (), ()

    def __init__(self, last):
        self.left = last

    def time(self, x, runs, warmup=0):
        self.left -= 1
        if self.left < 0:
            raise EngineCrash("Clockwork gave no answer within 1 s and was stopped.")
        return Timing(np.full(runs, 0.001))


def test_all_contenders_keep_the_same_rounds():
    contenders = {"a": TimesOut(100), "b": TimesOut(4)}
    report = latency.measure_latency(contenders, np.zeros((1, 3), np.float32), runs=80, warmup=1, block=10)
    assert {block.shape for block in report.blocks.values()} == {(3, 10)}
    assert report.note.startswith("After 3 of 8 rounds")
    assert "gave no answer within 1 s" in report.note
    assert report.ratio("a", "b").value == pytest.approx(1.0)


@pytest.mark.parametrize("error", [BadInput("The profiler lost events."), EngineCrash("It died while profiling.")])
def test_a_profiler_that_fails_takes_nothing_away(monkeypatch, error):
    def profile(self, x, runs):
        raise error

    monkeypatch.setattr(OnnxRuntimeEngine, "profile", profile)
    report = bench(SMALL, runs=16, warmup=1)
    assert f"ext_ok.onnx has no profile: {error}" in report.note
    assert report.models[0].operators == ()
    assert report.models[0].p50_ms.value > 0
    assert "has no profile" in str(report)
    assert report.operators() == []


def test_no_room_for_the_profile_takes_nothing_away(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    for name in ("TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    child = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/nowhere/at/all']\n"
    (tmp_path / "sitecustomize.py").write_text(child)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = bench(SMALL, runs=16, warmup=1)
    assert "could not write its temporary file" in report.note
    assert report.models[0].p50_ms.value > 0


def test_a_profile_that_outgrows_the_profiler_is_made_of_fewer_runs(monkeypatch):
    real = OnnxRuntimeEngine.profile

    def profile(self, x, runs):
        if runs > 2:
            raise BadInput(f"The profiler lost events; ask for fewer runs than {runs}.")
        return real(self, x, runs)

    monkeypatch.setattr(OnnxRuntimeEngine, "profile", profile)
    report = bench(SMALL, runs=16, warmup=1)
    assert {operator.runs for operator in report.models[0].operators} == {2}
    assert "has no profile" not in report.note


@pytest.mark.thorough
def test_a_loop_of_thirty_thousand_rounds_has_its_times():
    report = bench(LOOP, runs=4, warmup=0)
    assert report.models[0].p50_ms.value > 0
    assert report.models[0].operators or "has no profile" in report.note


def test_the_timeout_is_for_one_run_not_for_a_series():
    x = np.zeros((1, 8), np.float32)
    with OnnxRuntimeEngine(LOOP) as engine:
        seconds = engine.time(x, 1).seconds[0]
        engine.raw.timeout = timeout = max(1.0, 8 * seconds)
        runs = int(2 * timeout / seconds)
        found = engine.time(x, runs, 3).seconds
        assert found.shape == (runs,)
        assert found.sum() > timeout, "the series was too short to try anything"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
@pytest.mark.parametrize("form", [["--json"], []])
def test_a_full_disk_sends_the_answer_elsewhere(form, tmp_path):
    for file in (SMALL, SMALL.with_suffix(".bin")):
        shutil.copy(file, tmp_path)
    command = [sys.executable, "-m", "edgelab", "bench", str(tmp_path / SMALL.name), "--runs", "16", *form]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 2
    lines = run.stderr.strip().splitlines()
    assert lines[-1].startswith("Standard output could not be written (No space left on device)")
    if form:
        answer = run.stderr[run.stderr.index("{\n") : run.stderr.rindex("}") + 1]
        assert json.loads(answer)["models"][0]["p50_ms"]["value"] > 0
    else:
        assert "Time of one run" in run.stderr
    assert "Traceback" not in run.stderr


def test_weights_in_a_file_beside_are_counted():
    beside = SMALL.with_suffix(".bin")
    assert bench(SMALL, runs=16, warmup=0).models[0].bytes == SMALL.stat().st_size + beside.stat().st_size


def test_a_pointer_of_git_lfs_is_named():
    with pytest.raises(BadFile, match=r"is a Git LFS pointer.*git lfs pull"):
        bench(CASES / "13_git_lfs_pointer.onnx")


@pytest.mark.parametrize("verb", [["inspect"], ["bench", "--runs", "4"], ["inspect", "--json"]])
def test_what_a_file_calls_things_gives_the_terminal_no_orders(verb, capsys):
    assert main([verb[0], str(CASES / "ansi.onnx"), *verb[1:]]) == 0
    said = capsys.readouterr()
    assert not set(said.out) & {chr(code) for code in (*range(9), *range(14, 32), *range(127, 160))}
    assert "--json" not in verb or json.loads(said.out)
