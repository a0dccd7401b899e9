"""`edgelab open` leaves no server and no kernel behind, however it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "labs" / "example"
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@pytest.fixture
def command(tmp_path):
    """`edgelab open` on a lab; what it started is ended by its id after the test."""
    for folder in ("solutions", "labs"):
        shutil.copytree(EXAMPLE / folder, tmp_path / "home" / folder)
    places = {"EDGELAB_HOME": "home", "EDGELAB_RUNS": "runs", "JUPYTER_CONFIG_DIR": "config", "IPYTHONDIR": "ipython"}
    child = subprocess.Popen(
        [sys.executable, "-m", "edgelab", "open", "example", "--no-browser", "--port", "9450"],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **{name: str(tmp_path / at) for name, at in places.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield child
    for process in descendants(child):
        process.kill()
    child.kill()
    child.communicate(timeout=30)


def descendants(child):
    try:
        return psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def serving(child):
    """Wait for the address and start a kernel; the server's process and the kernel's."""
    said = [child.stdout.readline()]  # first where the learner's copy is
    while said[-1] and "serves at http" not in said[-1]:
        said.append(child.stdout.readline())
    assert said[-1], said
    line = said[-1]
    address = urlsplit(line.split()[-1])
    request = urllib.request.Request(
        f"http://{address.netloc}/api/kernels",
        data=b"{}",
        headers={"Authorization": f"token {parse_qs(address.query)['token'][0]}"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        assert json.load(answer)["id"]
    (server,) = psutil.Process(child.pid).children()
    for _ in range(100):
        kernels = [process for process in server.children() if "ipykernel" in words(process)]
        if kernels:
            return server, kernels[0]
        time.sleep(0.1)
    pytest.fail("the kernel never came")


def words(process):
    """A process's command, empty where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie, too
        return ""


def lives(process):
    """Whether a process runs; it may end between two questions."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def left(processes, seconds=30):
    """The processes that have not ended after that time; one that nobody waits for has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = [process for process in processes if lives(process)]
        if not alive:
            return []
        time.sleep(0.1)
    names = [words(process)[:80] for process in alive]
    for process in alive:
        process.kill()
    return names


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("kill", id="killed outright"),
        pytest.param("SIGHUP", id="hung up", marks=posix),
        pytest.param("SIGTERM", id="asked to end", marks=posix),
    ],
)
def test_no_server_and_no_kernel_is_left(command, end):
    started = serving(command)
    command.kill() if end == "kill" else command.send_signal(getattr(signal, end))
    assert left(started) == []


def test_no_server_is_left_of_a_command_that_was_killed_while_it_started(command):
    for _ in range(600):
        started = descendants(command)
        if started:
            break
        time.sleep(0.05)
    command.kill()
    assert started
    assert left(started) == []
