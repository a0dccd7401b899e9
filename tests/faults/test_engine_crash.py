"""Native runtimes that crash, hang, end or shout: the parent gets one sentence and goes on; no child is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgelab.engines import open_engine
from edgelab.engines.child import Child, exit_reason
from edgelab.errors import BadFile, BadInput, EdgelabError, EngineCrash

MODELS = Path(__file__).parents[1] / "data" / "mcu_oracle"
TABULAR, IMAGE = MODELS / "tabular_mlp.tflite", MODELS / "dscnn_28_gray.tflite"
X = np.zeros((1, 13), np.float32)
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

# A host of the worker, as the runtimes' hosts are, whose methods do what broken native code does.
BROKEN_HOST = """
import ctypes, os, sys, time
import numpy as np

class Host:
    def __init__(self, path, fail=""):
        print("a runtime that greets on standard output")
        os.write(1, b"\\x00\\x01garbage from native code, written to descriptor 1\\n" * 50)
        if fail:
            raise RuntimeError(fail)

    def describe(self):
        return {"about": "a host"}

    def echo(self, array):
        os.write(1, b"noise between messages\\n")
        return {"sum": float(array.sum())}, [array * 2]

    def segfault(self):
        os.write(2, b"native: about to touch address 0\\n")
        ctypes.string_at(0)

    def abort(self):
        os.abort()

    def leave(self):
        os._exit(7)

    def hang(self):
        time.sleep(600)

    def hang_with_the_interpreter_lock(self):
        ctypes.PyDLL(None).sleep(600)

    def raise_something(self):
        raise ZeroDivisionError("one\\ntwo\\nthree")

    def eat_memory(self):
        return {}, [np.ones((2**50,), np.uint8)]

    def write_garbage(self):
        for descriptor in range(3, 20):
            try:
                os.write(descriptor, b"\\xff" * 64)
            except OSError:
                pass
        time.sleep(600)
"""


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Makes children of the broken host."""
    (tmp_path / "broken_host.py").write_text(BROKEN_HOST)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    children = []

    def make(timeout=30.0, **settings):
        child = Child("broken_host", "The broken runtime", Path("model.bin"), timeout=timeout, **settings)
        children.append(child)
        child.call("open", "opening", path="model.bin")
        return child

    yield make
    for child in children:
        child.close()


def gone(pid, seconds=10.0):
    """Whether a process ends within some seconds (a zombie has ended)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def one_sentence(error, *parts):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500
    for part in parts:
        assert part in text


def test_noise_on_standard_output_does_not_reach_the_channel(broken):
    child = broken()
    for size in (0, 1, 100_000):
        header, (doubled,) = child.call("echo", "echoing", [np.ones(size, np.float32)])
        assert header["sum"] == size
        assert (doubled == 2).all()
    assert "noise between messages" in child.stderr_tail()


@posix
def test_a_segmentation_fault_is_a_sentence_with_the_last_words(broken):
    child = broken()
    with pytest.raises(EngineCrash) as error:
        child.call("segfault", "running 3 inputs through")
    one_sentence(
        error, "The broken runtime", "SIGSEGV", "running 3 inputs through model.bin", "this process is unharmed"
    )
    with pytest.raises(EngineCrash, match="SIGSEGV"):  # and it stays dead, with the same sentence
        child.call("echo", "echoing", [np.ones(1)])
    assert broken().call("echo", "echoing", [np.ones(2)])[0] == {"sum": 2.0}


@pytest.mark.parametrize(("how", "said"), [("abort", "SIGABRT"), ("leave", "exit code 7")])
@posix
def test_other_deaths(broken, how, said):
    with pytest.raises(EngineCrash) as error:
        broken().call(how, "running")
    one_sentence(error, said)


@pytest.mark.parametrize("how", ["hang", "hang_with_the_interpreter_lock", "write_garbage"])
@posix
def test_a_hang_ends_by_time_out(broken, how):
    child = broken()
    child.timeout = 1.5  # not for its start, which takes longer on a busy machine
    start = time.monotonic()
    with pytest.raises(EngineCrash) as error:
        child.call(how, "running")
    assert time.monotonic() - start < 60
    one_sentence(error, "model.bin")
    assert "no answer within 1.5 s" in str(error.value) or "died" in str(error.value)
    assert gone(child.pid)


def test_an_unforeseen_exception_is_one_line_and_the_child_lives(broken):
    child = broken()
    with pytest.raises(EngineCrash, match="ZeroDivisionError: three") as error:
        child.call("raise_something", "running")
    one_sentence(error)
    assert child.call("echo", "echoing", [np.ones(1)])[0] == {"sum": 1.0}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps count")
def test_memory_is_limited(broken):
    child = broken(memory_bytes=2**30)
    with pytest.raises(EngineCrash, match="memory did not suffice"):
        child.call("eat_memory", "running")
    assert child.call("echo", "echoing", [np.ones(1)])[0] == {"sum": 1.0}


def test_an_exception_while_opening_leaves_no_child(broken):
    with pytest.raises(EngineCrash, match="RuntimeError: no such luck"):
        Child("broken_host", "The broken runtime", Path("m"), timeout=30).call(
            "open", "opening", path="m", fail="no such luck"
        )


def test_exit_codes_in_words():
    assert exit_reason(-9) == "SIGKILL, killed, often because memory ran out"
    assert exit_reason(-11).startswith("SIGSEGV")
    assert exit_reason(0xC0000005) == "exit code 0xc0000005, a memory access error"
    assert exit_reason(None) == "its answer was not readable"


@posix
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT] if sys.platform != "win32" else [])
def test_a_real_engine_that_is_killed_says_so_and_another_goes_on(number):
    with open_engine(TABULAR) as victim, open_engine(IMAGE) as witness:
        assert victim.predict(X).shape == (1, 5)
        os.kill(victim.raw.pid, number)
        assert gone(victim.raw.pid)
        with pytest.raises(EngineCrash) as error:
            victim.predict(X)
        one_sentence(error, "LiteRT", str(TABULAR), signal.Signals(number).name)
        assert witness.predict(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 10)
        with open_engine(TABULAR) as again:
            assert again.predict(X).shape == (1, 5)


@posix
def test_a_real_engine_that_is_killed_while_it_runs():
    with open_engine(IMAGE) as engine:
        killer = subprocess.Popen(["/bin/sh", "-c", f"sleep 1; kill -SEGV {engine.raw.pid}"])
        with pytest.raises(EngineCrash, match=r"died \(SIGSEGV.*while timing"):
            engine.time(np.zeros((1, 1, 28, 28), np.float32), runs=10**7)
        killer.wait(30)


def test_a_real_engine_that_takes_too_long_is_stopped():
    with open_engine(IMAGE) as engine:
        engine.raw.timeout = 3.0  # not for its start, which takes longer on a busy machine
        start = time.monotonic()
        with pytest.raises(EngineCrash, match="gave no answer within 3 s"):
            engine.time(np.zeros((1, 1, 28, 28), np.float32), runs=10**7)
        assert time.monotonic() - start < 30
        assert gone(engine.raw.pid)


def run_script(tmp_path, body):
    """A process that opens an engine, prints the child's id, and runs for long."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import numpy as np, sys\n"
        "from edgelab.engines import open_engine\n"
        f"engine = open_engine({str(IMAGE)!r})\n"
        "x = np.zeros((1, 1, 28, 28), np.float32)\n"
        "print(engine.raw.pid, flush=True)\n" + body
    )
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = parent.stdout.readline()
    assert line, parent.stderr.read()
    return parent, int(line)


@posix
def test_an_interrupt_leaves_no_orphan_and_the_parent_goes_on(tmp_path):
    body = (
        "from edgelab.errors import EngineCrash\n"
        "try:\n    engine.time(x, runs=10**8)\n"
        "except KeyboardInterrupt:\n    pass\n"
        "try:\n    engine.predict(x)\n"
        "except EngineCrash as error:\n    print(error)\n"
        "print(open_engine(engine.path).predict(x).shape)\n"
    )
    parent, child = run_script(tmp_path, body)
    time.sleep(1.0)
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=60)
    assert parent.returncode == 0, err
    assert "was interrupted while timing and has ended; open the model again." in out
    assert "(1, 10)" in out
    assert gone(child)


@posix
@pytest.mark.parametrize("body", ["engine.time(x, runs=10**8)\n", "import time; time.sleep(600)\n"])
def test_a_killed_parent_takes_its_child_along(tmp_path, body):
    parent, child = run_script(tmp_path, body)
    time.sleep(0.5)
    parent.kill()
    parent.communicate(timeout=30)
    assert gone(child)


@pytest.mark.parametrize(
    "body", ["", "sys.exit(3)\n", "del engine\nimport time; print('dropped', flush=True); time.sleep(600)\n"]
)
def test_an_ended_parent_and_a_dropped_engine_take_the_child_along(tmp_path, body):
    parent, child = run_script(tmp_path, body)
    if body.startswith("del"):
        assert parent.stdout.readline().strip() == "dropped"
        assert gone(child)
        parent.kill()
    parent.communicate(timeout=30)
    assert gone(child)


@pytest.mark.skipif(sys.platform != "linux", reason="uses the shell's file size limit")
def test_a_full_disk_ends_a_profile_with_a_sentence(tmp_path):
    """The runtime's profiler writes a temporary file; here its folder takes none."""
    model = _onnx(tmp_path / "net.onnx")
    script = (
        "import numpy as np, tempfile\n"
        "from edgelab.engines import open_engine\n"
        "from edgelab.errors import EdgelabError\n"
        f"engine = open_engine({str(model)!r})\n"
        "x = np.zeros((1, 4), np.float32)\n"
        "try:\n    engine.profile(x, 2)\n"
        "except EdgelabError as error:\n    print(type(error).__name__, error)\n"
        "print(engine.predict(x).shape)\n"
    )
    folder = tmp_path / "limited"
    folder.mkdir()
    limited = f'ulimit -f 0; exec {sys.executable} -c "$SCRIPT"'
    done = subprocess.run(
        ["/bin/sh", "-c", limited],
        env={**os.environ, "SCRIPT": script, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "(1, 4)" in done.stdout, done.stderr
    assert "BadInput The profiler of ONNX Runtime could not write its temporary file" in done.stdout


def _onnx(path):
    import onnx
    from onnx import TensorProto, helper

    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def test_many_engines_one_after_another_leave_nothing(tmp_path):
    before = psutil.Process().num_fds() if hasattr(psutil.Process(), "num_fds") else 0
    path = _onnx(tmp_path / "net.onnx")
    for _ in range(5):
        with open_engine(path) as engine:
            engine.predict(np.zeros((1, 4), np.float32))
    for _ in range(3):
        with pytest.raises((BadFile, BadInput)):
            open_engine(path, output="nothing")
    after = psutil.Process().num_fds() if hasattr(psutil.Process(), "num_fds") else 0
    assert after <= before + 2
    assert issubclass(EngineCrash, EdgelabError)
