"""Each lab as a machine runs it: the solution, network off. These measure, so nothing else runs beside them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgelab.course.source import exercises, read_cells, read_notebook

from .conftest import HARD_LIMIT_SECONDS, HERE, each_lab

MEMORY_GB = 4


def without_network(*command: str, env=None) -> subprocess.CompletedProcess:
    """Run a command with the network off; what it started is killed with it after the hard limit."""
    words = [sys.executable, str(HERE / "without_network.py"), *command]
    with subprocess.Popen(
        words, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as child:
        try:
            out, err = child.communicate(timeout=HARD_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL) if hasattr(os, "killpg") else child.kill()
            pytest.fail(f"{command} did not end within {HARD_LIMIT_SECONDS} s")
    return subprocess.CompletedProcess(words, child.returncode, out, err)


@each_lab
@pytest.mark.timeout(HARD_LIMIT_SECONDS + 60)
def test_the_solution_passes_every_check_with_the_network_off(case, tmp_path, note_time):
    env = {**os.environ, "EDGELAB_HOME": str(case.home), "EDGELAB_RUNS": str(tmp_path)}
    out = tmp_path / "out"
    done = without_network(sys.executable, "-m", "edgelab", "run", case.lab.slug, "--json", "--out", str(out), env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    run = json.loads(done.stdout)
    assert json.loads((out / f"{case.lab.slug}.json").read_text(encoding="utf-8")) == run
    assert run["ok"] is True
    peak = read_notebook(Path(run["notebook"]))["metadata"]["edgelab"]["run"]["peak_memory_bytes"] / 2**30
    assert 0 < peak < MEMORY_GB
    note_time((case.lab.slug, run["seconds"], peak))
    assert {check["id"] for check in run["checks"]} == set(exercises(read_cells(case.lab.source)))
    assert all(check["passed"] for check in run["checks"])
    assert {claim["id"] for claim in run["claims"]} == set(case.lab.claims)


PROBE = """
import json, os, socket
found = {"how": os.environ["EDGELAB_TEST_OFFLINE"]}
def attempt(name, action):
    try:
        action(); found[name] = "worked"
    except OSError as error:
        found[name] = str(error)
attempt("tcp", lambda: socket.create_connection(("192.0.2.1", 80), timeout=5))
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 53)))
attempt("name", lambda: socket.getaddrinfo("example.org", 80))
import _socket  # below what sitecustomize guards
attempt("native", lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM).connect(("192.0.2.1", 53)))
server = socket.create_server(("127.0.0.1", 0))
attempt("loopback", lambda: socket.create_connection(server.getsockname(), timeout=5))
attempt("localhost", lambda: socket.getaddrinfo("localhost", 80))
if os.path.exists("/proc/self/ns/net"):
    found["namespace"] = os.readlink("/proc/self/ns/net")
print(json.dumps(found))
"""


def test_the_network_really_is_off():
    done = without_network(sys.executable, "-c", PROBE)
    found = json.loads(done.stdout)
    for way in ("tcp", "udp", "name"):
        assert "the network is off for this test" in found[way]
    assert found["loopback"] == found["localhost"] == "worked"
    if found["how"] == "namespace":
        assert found["namespace"] != str(Path("/proc/self/ns/net").readlink())
        assert found["native"] != "worked"


def test_the_guard_on_sockets_is_off_unless_asked_for():
    command = [sys.executable, "-c", "import socket; print(socket.socket.connect.__name__)"]
    env = {**os.environ, "PYTHONPATH": str(HERE / "offline")}
    names = [
        subprocess.check_output(command, env={**env, **extra}, text=True).strip()
        for extra in ({}, {"EDGELAB_TEST_OFFLINE": "sockets"})
    ]
    assert names == ["connect", "guarded"]
