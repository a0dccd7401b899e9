"""Children by fork: each dies alone, as its parent reads it; without a nursery they start from scratch."""

import concurrent.futures
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest

from edgelab.engines import nursery, nursery_host, open_engine
from edgelab.engines.child import Child
from edgelab.engines.tflm import TFLMEngine
from edgelab.errors import BadInput, EngineDied, MissingFramework
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


@pytest.fixture(autouse=True)
def no_memory_of_failures():
    """One test's lost nurseries count for no other."""
    yield
    nursery._failures.clear()


def copy_of(path, **options):
    """An engine in a forked child."""
    return open_engine(path, fresh=False, **options)


def nursery_of(engine):
    """The process that forked the engine's child."""
    found = psutil.Process(engine._child.pid).parent()
    assert found.pid != os.getpid()
    return found


def open_descriptors(pid="self"):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def ended(pid):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_children_of_one_runtime_share_a_nursery_and_die_alone(model):
    with copy_of(model) as first, copy_of(model) as second:
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
    with copy_of(model) as engine:
        child = psutil.Process(engine._child.pid)
        assert Path(child.cwd()) == tmp_path
        assert psutil.Process(child.ppid()).environ()["EDGELAB_TRIED"] == "yes"
        assert child.cpu_affinity() == sorted(os.sched_getaffinity(0))


def test_a_nursery_that_is_killed_takes_its_children_along_and_the_next_opens(model):
    with copy_of(model) as engine:
        lost = nursery_of(engine)
        lost.kill()
        deadline = time.monotonic() + 10
        while engine._child.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not engine._child.alive
        with pytest.raises(EngineDied, match="SIGKILL"):
            engine.predict(X)
    with copy_of(model) as engine:
        assert engine.predict(X) == pytest.approx(0.5)
        assert nursery_of(engine).pid != lost.pid


def test_an_open_engine_outlives_its_nursery_being_replaced(model, monkeypatch):
    with copy_of(model) as before:
        old = nursery_of(before)
        monkeypatch.setenv("EDGELAB_TRIED", "yes")
        with copy_of(model) as after:
            assert nursery_of(after).pid != old.pid
            assert before._child.alive
            assert before.predict(X) == pytest.approx(0.5)
            assert after.predict(X) == pytest.approx(0.5)
            pid = before._child.pid
            os.kill(pid, signal.SIGSEGV)
            with pytest.raises(EngineDied, match="SIGSEGV"):  # it is still told how its child ended
                before.predict(X)
            assert after.predict(X) == pytest.approx(0.5)
    assert ended(pid)
    assert ended(old.pid)


def test_engines_of_many_threads_have_children_of_their_own(model):
    def use(_):
        with copy_of(model) as engine:
            assert engine.predict(X) == pytest.approx(0.5)
            return engine._child.pid

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        pids = list(threads.map(use, range(40)))
    assert len(set(pids)) == 40
    assert all(map(ended, pids))


def forked(action):
    """What ``action`` says in a fork of this process, as multiprocessing makes it."""
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            said = action()
        except BaseException as error:  # noqa: BLE001 - told to the test
            said = f"{type(error).__name__}: {error}"
        os.write(writes, str(said).encode())
        gc.collect()
        os._exit(0)
    os.close(writes)
    os.waitpid(pid, 0)
    with os.fdopen(reads) as stream:
        return stream.read()


def test_a_fork_of_this_process_leaves_its_engines_alone_and_opens_its_own(model):
    with copy_of(model) as engine, open_engine(model, fresh=True) as scratch:
        held = [engine, scratch]

        def inherited():
            try:
                held[0].predict(X)
            finally:
                for one in held:
                    one.close()
                held.clear()

        assert "open the model again in this one" in forked(inherited)
        for one in (engine, scratch):
            assert one._child.alive
            assert one.predict(X) == pytest.approx(0.5)

        def opened():
            with copy_of(model) as own:
                return (own.predict(X) == 0.5).all(), nursery_of(own).pid

        with nursery._lock:  # a thread that holds it is not in the fork
            told = forked(opened)
        assert told.startswith(("(np.True_, ", "(True, "))
        assert int(told.split()[-1].rstrip(")")) != nursery_of(engine).pid
        with copy_of(model) as another:
            assert nursery_of(another).pid == nursery_of(engine).pid


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("group", [False, True])
def test_nothing_is_left_of_a_process_that_a_signal_ends(model, name, group):
    code = f"""if True:
        import psutil, time
        from edgelab.engines import open_engine
        engines = [open_engine({str(model)!r}, fresh=False) for _ in range(3)]
        print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 4
        (os.killpg if group else os.kill)(process.pid, signal.Signals[name])
        process.wait(20)
    assert all(map(ended, pids))


def test_a_process_that_is_killed_while_the_runtime_is_imported_leaves_nothing(model):
    code = f"""if True:
        import os, signal, subprocess, threading
        from edgelab.engines import open_engine
        made = subprocess.Popen.__init__
        def told(self, *args, **settings):
            made(self, *args, **settings)
            print(self.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        subprocess.Popen.__init__ = told
        open_engine({str(model)!r}, fresh=False)
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended(int(said.stdout))


def test_an_answer_after_its_time_is_not_the_next_childs(model, monkeypatch):
    with copy_of(model) as engine:
        slow = nursery_of(engine)
    slow.suspend()
    try:
        nursery._nurseries["edgelab.engines.litert"]._socket.settimeout(0.2)
        with copy_of(model) as engine:
            assert psutil.Process(engine._child.pid).ppid() == os.getpid()  # from scratch
        slow.resume()
        with copy_of(model) as engine:
            assert nursery_of(engine).pid != slow.pid
            assert engine.predict(X) == pytest.approx(0.5)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            slow.resume()
    assert ended(slow.pid)


def test_an_interrupt_while_the_nursery_is_asked_leaves_no_answer_behind(model):
    with copy_of(model) as engine:
        slow = nursery_of(engine)
    before = open_descriptors()
    slow.suspend()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        copy_of(model)
    slow.resume()
    assert open_descriptors() < before  # its socket
    with copy_of(model) as engine:
        assert nursery_of(engine).pid != slow.pid
        assert engine.predict(X) == pytest.approx(0.5)
    assert ended(slow.pid)


def test_an_interrupt_of_the_whole_group_spares_a_nursery_that_is_starting(model):
    code = f"""if True:
        import os, signal, subprocess
        signal.signal(signal.SIGINT, lambda *_: None)
        from edgelab.engines import open_engine
        made = subprocess.Popen.__init__
        def told(self, *args, **settings):
            made(self, *args, **settings)
            os.killpg(0, signal.SIGINT)
        subprocess.Popen.__init__ = told
        engine = open_engine({str(model)!r}, fresh=False)
        import psutil
        print(psutil.Process(engine._child.pid).ppid() != os.getpid())
    """
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, start_new_session=True
    )
    assert said.stdout.split() == ["True"], said.stderr
    assert not said.stderr


def test_a_nursery_that_never_works_is_given_up(model, monkeypatch):
    monkeypatch.setenv("EDGELAB_TRIED", "broken")
    monkeypatch.setattr(nursery.sys, "executable", "/bin/false")
    starts = []
    made = nursery._Nursery.__init__
    monkeypatch.setattr(nursery._Nursery, "__init__", lambda self, *a: (starts.append(a), made(self, *a))[1])
    environment = {**os.environ}
    for _ in range(6):
        assert nursery.start("edgelab.engines.litert", 0, environment) is None
    assert len(starts) == 3


def test_a_folder_that_is_gone_is_no_obstacle(model, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    before = open_descriptors()
    with copy_of(model) as engine:
        nursery_of(engine)
        assert engine.predict(X) == pytest.approx(0.5)
    assert open_descriptors() <= before + 1  # a nursery may have been started


def test_cores_and_limits_are_those_of_now(model):
    code = f"""if True:
        import os, psutil, resource
        from edgelab.engines import open_engine
        first = open_engine({str(model)!r}, fresh=False)
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        second = open_engine({str(model)!r}, fresh=False)
        child = psutil.Process(second._child.pid)
        assert child.ppid() == psutil.Process(first._child.pid).ppid() != os.getpid()
        print(child.cpu_affinity() == [max(os.sched_getaffinity(0))])
        print(child.rlimit(psutil.RLIMIT_NOFILE), child.rlimit(psutil.RLIMIT_CORE))
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split("\n")[:2] == ["True", "(200, 200) (0, 0)"]


def test_the_limit_of_one_child_is_no_others(model):
    with copy_of(model) as other:
        small = nursery.start("edgelab.engines.litert", 2**27, nursery._nurseries["edgelab.engines.litert"].environment)
        large = psutil.Process(other._child.pid)
        deadline = time.monotonic() + 10
        while psutil.Process(small.pid).rlimit(psutil.RLIMIT_DATA)[0] != 2**27 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert psutil.Process(small.pid).rlimit(psutil.RLIMIT_DATA)[0] == 2**27
        assert large.rlimit(psutil.RLIMIT_DATA)[0] > 2**27
        assert nursery_of(other).rlimit(psutil.RLIMIT_DATA)[0] != 2**27
        small.kill()
        assert small.wait(5) == -signal.SIGKILL
        for stream in (small.stdin, small.stdout, small.stderr):
            stream.close()
        assert other.predict(X) == pytest.approx(0.5)


def test_children_draw_numbers_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "drawing_host.py").write_text(
        "import numpy.random, random\n"
        "class Host:\n"
        "    def __init__(self, **_): pass\n"
        "    def describe(self): return {'drawn': [numpy.random.random(), random.random()]}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(nursery, "PRELOADED", {**nursery.PRELOADED, "drawing_host": ()})
    drawn = []
    parents = set()
    for _ in range(3):
        child = Child("drawing_host", "Drawing", tmp_path, timeout=30, fresh=False)
        parents.add(psutil.Process(child.pid).ppid())
        drawn += child.call("open", "drawing")[0]["drawn"]
        child.close()
    assert len(parents) == 1
    assert parents != {os.getpid()}
    assert len(set(drawn)) == 6


def test_without_proc_it_forks_nothing(monkeypatch):
    monkeypatch.setattr(nursery_host.os, "listdir", lambda _: ["1"])
    assert nursery_host._single_threaded()
    monkeypatch.setattr(nursery_host.os, "listdir", lambda _: (_ for _ in ()).throw(FileNotFoundError()))
    assert not nursery_host._single_threaded()


def test_what_a_copy_cannot_tell_is_not_told(model):
    with copy_of(model) as engine, open_engine(model) as fresh:
        assert psutil.Process(fresh._child.pid).ppid() == os.getpid()
        assert 0 < fresh.base_memory_bytes < fresh.peak_memory_bytes()
        for ask in (lambda: engine.load_seconds, lambda: engine.base_memory_bytes, engine.peak_memory_bytes):
            with pytest.raises(BadInput, match="fresh=True"):
                ask()


def test_an_onnx_file_runs_in_a_copy_too(tmp_path):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Sigmoid", ["x"], ["y"])], "g", [x], [y])
    file = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), file)
    with copy_of(file) as one, copy_of(file) as other, open_engine(file) as scratch:
        assert nursery_of(one) == nursery_of(other)
        assert psutil.Process(scratch._child.pid).ppid() == os.getpid()
        np.testing.assert_array_equal(one.predict(X), scratch.predict(X))
        assert len(one.time(X, 5, 1).seconds) == 5


def test_a_package_without_a_process_takes_the_choice_as_well(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr("edgelab.engines.model_format", lambda path: "coreml")
    monkeypatch.setattr("edgelab.engines.coreml.CoreMLEngine", lambda path, threads, **options: seen.update(options))
    open_engine(tmp_path, fresh=False)
    assert seen == {}


def test_it_can_be_switched_off(model, monkeypatch):
    monkeypatch.setenv("EDGELAB_NURSERY", "off")
    with copy_of(model) as engine:
        assert psutil.Process(engine._child.pid).ppid() == os.getpid()


def test_the_nursery_ends_with_its_process(model):
    code = f"""if True:
        import os, psutil
        from edgelab.engines import open_engine
        engine = open_engine({str(model)!r}, fresh=False)
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
    with TFLMEngine(model) as engine:
        parent = nursery_of(engine).pid
    before, theirs = open_descriptors(), open_descriptors(parent)
    for _ in range(100):
        TFLMEngine(model).close()
    deadline = time.monotonic() + 5
    while (open_descriptors() > before or open_descriptors(parent) > theirs) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_descriptors() <= before
    assert open_descriptors(parent) <= theirs
    assert not psutil.Process(parent).children()
