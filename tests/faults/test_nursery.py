"""Children by fork: each dies alone, as its parent reads it; without a nursery they start from scratch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgelab.engines import nursery, open_engine
from edgelab.engines.tflm import TFLMEngine
from edgelab.errors import EngineDied, MissingFramework
from edgelab.models.tflite_writer import TfliteWriter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
X = np.zeros((1, 4), np.float32)


@pytest.fixture
def model(tmp_path):
    """A file of one operator."""
    writer = TfliteWriter()
    x = writer.input("x", (1, 4))
    writer.output(writer.operator("LOGISTIC", [x], (1, 4), 1 / 256, -128))
    return writer.write(tmp_path / "model.tflite")


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def ended(pid):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_children_of_one_runtime_share_a_nursery_and_die_alone(model):
    with open_engine(model) as first, open_engine(model) as second:
        parents = {psutil.Process(engine._child.pid).ppid() for engine in (first, second)}
        assert len(parents) == 1
        assert parents != {os.getpid()}
        os.kill(first._child.pid, signal.SIGKILL)
        with pytest.raises(EngineDied, match="SIGKILL"):
            first.predict(X)
        assert second.predict(X) == pytest.approx(0.5)
        pid = second._child.pid
    assert ended(pid)


def test_a_child_sees_this_folder_and_these_variables(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGELAB_TRIED", "yes")
    with open_engine(model) as engine:
        child = psutil.Process(engine._child.pid)
        assert Path(child.cwd()) == tmp_path
        assert psutil.Process(child.ppid()).environ()["EDGELAB_TRIED"] == "yes"
        assert child.cpu_affinity() == sorted(os.sched_getaffinity(0))


def test_a_nursery_that_is_killed_takes_its_children_along_and_the_next_start_from_scratch(model):
    try:
        with open_engine(model) as engine:
            os.kill(psutil.Process(engine._child.pid).ppid(), signal.SIGKILL)
            deadline = time.monotonic() + 10
            while engine._child.alive and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not engine._child.alive
            with pytest.raises(EngineDied):
                engine.predict(X)
        with open_engine(model) as engine:
            assert engine.predict(X) == pytest.approx(0.5)
            assert psutil.Process(engine._child.pid).ppid() == os.getpid()
    finally:
        nursery._nurseries.pop("edgelab.engines.litert", None)


def test_it_can_be_switched_off(model, monkeypatch):
    monkeypatch.setenv("EDGELAB_NURSERY", "off")
    with open_engine(model) as engine:
        assert psutil.Process(engine._child.pid).ppid() == os.getpid()


def test_the_nursery_ends_with_its_process(model):
    code = f"""if True:
        import os, psutil
        from edgelab.engines import open_engine
        engine = open_engine({str(model)!r})
        print(engine._child.pid, psutil.Process(engine._child.pid).ppid(), flush=True)
        os._exit(0)
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for pid in map(int, said.stdout.split()):
        assert ended(pid)


def test_many_children_leave_no_descriptors(model):
    try:
        TFLMEngine(model).close()
    except MissingFramework as error:
        pytest.skip(str(error))
    before = open_descriptors()
    for _ in range(20):
        TFLMEngine(model).close()
    deadline = time.monotonic() + 5
    while open_descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_descriptors() <= before
