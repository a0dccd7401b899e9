"""How edgelab starts Flower's environment, and that nothing is left of it; Flower itself runs in tests/oracle."""

import sys
import threading
import time

import numpy as np
import psutil
import pytest

from edgelab import federated as fed
from edgelab import nets
from edgelab.course import session
from edgelab.data import Split
from edgelab.errors import BadInput, EngineCrash, MissingFramework
from edgelab.federated import flower


def task():
    split = Split(np.random.default_rng(0).random((20, 3)).astype(np.float32), np.arange(20) % 2)
    return nets.mlp(3, 2, (4,)), split, fed.iid(split, 2)


def command(code):
    return [sys.executable, "-c", code]


def test_processes_of_a_run_that_takes_too_long_are_ended(tmp_path):
    """A child that starts a grandchild, which starts a session of its own."""
    sleep = "import time; time.sleep(60)"
    code = (
        f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {sleep!r}], start_new_session=True)"
        f"; open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    with pytest.raises(EngineCrash, match=r"took longer than 3 s"):
        flower._run_and_leave_nothing(command(code), tmp_path, 3)
    grandchild = int((tmp_path / "pid").read_text())
    limit = time.monotonic() + 5
    while psutil.pid_exists(grandchild) and time.monotonic() < limit:
        if psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_an_environment_that_cannot_be_had_is_one_sentence(tmp_path):
    with pytest.raises(MissingFramework, match=r"cannot be had here \(no route to host\); it takes the network once."):
        flower._run_and_leave_nothing(command("print('no route to host'); raise SystemExit(2)"), tmp_path, 30)


def test_a_simulation_that_fails_is_one_sentence(tmp_path):
    (tmp_path / "begun").touch()
    with pytest.raises(EngineCrash, match="Flower's simulation failed: ValueError: glass"):
        flower._run_and_leave_nothing(command("raise ValueError('glass')"), tmp_path, 30)


def test_without_uv_it_says_what_to_do(monkeypatch):
    net, split, partition = task()
    monkeypatch.setattr(flower.shutil, "which", lambda _name: None)
    with pytest.raises(MissingFramework, match="install uv"):
        flower.run_apart(fed.client_round(net), net, split, partition)
    with pytest.raises(BadInput, match="rounds=0"):
        flower.run_apart(fed.client_round(net), net, split, partition, rounds=0)


def test_a_function_that_cannot_be_sent_is_one_sentence(monkeypatch):
    net, split, partition = task()
    lock = threading.Lock()

    def locked(weights, state, data, config):
        with lock:
            return weights, state, {}

    monkeypatch.setattr(flower.shutil, "which", lambda _name: "/usr/bin/uv")
    with pytest.raises(BadInput, match="cannot be sent to another process"):
        flower.run_apart(locked, net, split, partition)


def test_the_module_loads_without_flower_and_says_the_command():
    assert "flwr" not in sys.modules
    assert flower.COMMAND.startswith("uv run --isolated --no-default-groups --group flower python -m")
    assert session.APART == {"flwr": flower.COMMAND}
    run = flower.FlowerRun({}, (3.0, 1.0), "1.42.0", 4)
    assert run.seconds == 4.0
    assert run.to_dict() == {"seconds_per_round": [3.0, 1.0], "version": "1.42.0", "clients": 4}
    assert "4 clients" in run._repr_markdown_()
