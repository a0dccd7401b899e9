"""A bench that is interrupted, killed in part, or out of time reports what it has timed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

CASES = Path(__file__).parents[1] / "data" / "cases"
LOOP, SMALL, OTHER = (CASES / name for name in ("08_loop_profile_overflow.onnx", "ext_ok.onnx", "02_opset12_cnn.onnx"))
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


def started(*words):
    command = [sys.executable, "-m", "edgelab", "bench", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rounds_under_way(process, wanted=4):
    """Read the progress bar until so many rounds are finished."""
    seen = ""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        seen += process.stderr.read(1)
        if any(f"| {number}/" in seen for number in range(wanted, wanted + 40)):
            return
        if process.poll() is not None:
            break
    pytest.fail(f"no rounds began: {seen}")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_reports_the_rounds_that_were_finished(name):
    with started(LOOP, "--runs", "400", "--warmup", "0", "--json") as process:
        rounds_under_way(process)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
    (row,) = json.loads(out)["models"]
    assert row["p50_ms"]["value"] > 0
    assert row["runs"] >= 4
    assert "It was interrupted after" in json.loads(out)["note"]
    assert "Traceback" not in err


def test_a_runtime_that_is_killed_takes_no_other_along():
    with started(LOOP, SMALL, "--runs", "400", "--warmup", "0", "--json") as process:
        rounds_under_way(process)
        victim = max(psutil.Process(process.pid).children(recursive=True), key=lambda child: child.cpu_times().user)
        victim.kill()
        out, err = process.communicate(timeout=60)
    report = json.loads(out)
    assert all(row["p50_ms"]["value"] > 0 for row in report["models"])
    assert "SIGKILL" in report["note"]
    assert "Traceback" not in err


def test_the_time_is_kept_and_what_was_timed_with_it():
    start = time.monotonic()
    with started(LOOP, OTHER, "--runs", "100000", "--timeout", "12", "--json") as process:
        out, err = process.communicate(timeout=90)
    assert time.monotonic() - start < 60
    report = json.loads(out)
    assert all(row["p50_ms"]["value"] > 0 for row in report["models"]), report["note"]
    assert "The time given for all of it was over" in report["note"]
    assert "Traceback" not in err
