"""A run that is interrupted or whose kernel dies: one sentence, status 2, the last result untouched, nothing left."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "labs" / "example"
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@pytest.fixture
def home(tmp_path):
    """A home whose lab does what a test puts into its second section; with a result of an earlier run."""
    (tmp_path / "solutions").mkdir()
    shutil.copy(EXAMPLE / "solutions" / "90_example.py", tmp_path / "solutions")
    folder = tmp_path / "runs" / "example"
    folder.mkdir(parents=True)
    for ending in ("ipynb", "html", "json"):
        (folder / f"example.{ending}").write_text("before", encoding="utf-8")
    return tmp_path


def plant(home, code):
    source = home / "solutions" / "90_example.py"
    text = source.read_text(encoding="utf-8")
    lines = (
        f"# %%\nimport os, pathlib, time\npathlib.Path({str(home / 'here')!r}).write_text(str(os.getpid()))\n{code}\n"
    )
    source.write_text(
        text.replace("# %% [markdown]\n# ## From scratch", f"{lines}\n# %% [markdown]\n# ## From scratch")
    )


def start(home):
    return subprocess.Popen(
        [sys.executable, "-m", "edgelab", "run", "example", "--json"],
        env={**os.environ, "EDGELAB_HOME": str(home), "EDGELAB_RUNS": str(home / "runs")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kernel(home) -> psutil.Process:
    """Wait until the planted cell runs; its process."""
    for _ in range(600):
        if (home / "here").exists() and (home / "here").read_text(encoding="utf-8"):
            return psutil.Process(int((home / "here").read_text(encoding="utf-8")))
        time.sleep(0.1)
    pytest.fail("the planted cell was never reached")


def held(home, child, says):
    out, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert out == ""
    last = err.replace("\r", "\n").strip().splitlines()[-1]
    assert says in last
    assert "Traceback" not in err
    folder = home / "runs" / "example"
    assert sorted(path.name for path in folder.iterdir()) == ["example.html", "example.ipynb", "example.json"]
    assert {path.read_text(encoding="utf-8") for path in folder.iterdir()} == {"before"}


def gone(process):
    """Wait for a process to end; a zombie has ended."""
    for _ in range(100):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def test_a_killed_kernel(home):
    plant(home, "time.sleep(600)")
    child = start(home)
    kernel(home).kill()
    held(home, child, "The kernel of 'example' died in cell 6 of 34; nothing was written.")


@posix
def test_a_kernel_that_native_code_takes_down_leaves_its_last_words(home):
    plant(home, 'os.write(2, b"allocation failed\\n")\nos.abort()')
    held(home, start(home), "died in cell 6 of 34 (its last words: ")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run(home, number):
    plant(home, "time.sleep(600)")
    child = start(home)
    process = kernel(home)
    child.send_signal(number)
    held(home, child, "The run of 'example' was interrupted in cell 6 of 34; nothing was written.")
    assert gone(process)


@posix
def test_a_kernel_does_not_outlive_a_command_that_was_killed_outright(home):
    plant(home, "while True:\n    time.sleep(0.1)")
    child = start(home)
    process = kernel(home)
    child.kill()
    child.communicate(timeout=30)
    folder = home / "runs" / "example"
    for ending in ("ipynb", "html", "json"):
        assert (folder / f"example.{ending}").read_text(encoding="utf-8") == "before"
    assert gone(process)


def test_a_cell_that_raises_keeps_the_notebook_beside_the_last_result(home):
    plant(home, 'raise ValueError("two\\nlines")')
    child = start(home)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, "")
    assert "stopped in cell 6 of 34 (ValueError: two); the notebook up to there is" in err
    assert (home / "runs" / "example" / "example.failed.ipynb").exists()
    assert (home / "runs" / "example" / "example.json").read_text(encoding="utf-8") == "before"
