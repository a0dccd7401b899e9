"""A rollout with real devices: one in memory that stops a bad release, and one by commands and processes."""

import json
import time
from dataclasses import replace

import pytest

from edgelab.ota import rollout
from edgelab.ota.device import Device
from edgelab.ota.download import FolderTransport
from edgelab.ota.flash import Flash
from edgelab.ota.turns import answers, releases
from tests.faults.ota_home import SETTINGS, START, Home, model_bytes, stub
from tests.faults.test_ota_commands import call, documented, process, same_keys, served, write_model


class Asking(FolderTransport):
    """A server in this process, with a rollout."""

    def __init__(self, repository, offer, report):
        super().__init__(repository)
        self.answers = {"offer": offer, "report": report}

    def post(self, path, data):
        return self.answers[path](json.loads(json.dumps(data)))


def test_devices_that_roll_back_stop_the_rollout_and_the_previous_model_returns_as_a_newer_release(tmp_path):
    home, now = Home.make(tmp_path), [0.0]
    home.publish(model_bytes(1))
    transport = Asking(home.repository, *answers(home.repository, lambda: now[0]))
    names = [f"door-{n}" for n in range(40)]
    flashes = {name: Flash() for name in names}

    def look(name):
        device = Device(
            flashes[name],
            home.root,
            replace(SETTINGS, name=name),
            runner=stub,
            clock=lambda: START,
            version=lambda _: "1",
        )
        return device.update(transport)

    assert {look(name).running for name in names} == {1}
    home.publish(model_bytes(1, marks=b"BAD"))
    assert releases(home.repository) == ("model", [1, 2])
    state = rollout.start(home.repository, 2, 1, [40, 100], now=0.0, hold_h=6)
    for hour in range(1, 4):
        now[0] = hour * 3600.0
        for name in names:
            outcome = look(name)
            assert outcome.running == 1
            assert (2 in outcome.rolled_back) <= state.in_wave(name)
    now[0] += 3600
    state = rollout.take_reports(home.repository, [], now[0])
    assert state.status == "stopped"
    assert "crashed" in state.reason
    home.publish(model_bytes(1))
    assert {look(name).running for name in names} == {3}
    assert rollout.read(home.repository).fallback == 3


@pytest.fixture
def repo(tmp_path):
    import numpy as np

    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32))
    write_model(tmp_path / "m.onnx", 1)
    assert call("ota", "init", tmp_path / "repo", "--keys", tmp_path / "keys") == 0
    for _ in range(2):
        words = ("--repo", tmp_path / "repo", "--keys", tmp_path / "keys", "--data", tmp_path / "d.npz")
        assert call("ota", "publish", tmp_path / "m.onnx", *words) == 0
    return tmp_path / "repo"


def test_a_server_holds_back_until_a_rollout_reaches_a_device(repo, tmp_path, capsys):
    assert call("ota", "rollout", repo, "--waves", "0.0001,100", "--hold", "1", "--json") == 0
    capsys.readouterr()
    with served(repo) as url:
        device = process(
            "ota", "device", tmp_path / "d", "--url", url, "--root", repo / "root.json", "--once", "--json"
        )
        held = json.loads(device.communicate(timeout=120)[0])
        assert held["running"] is None
        assert "its wave comes later" in held["reason"]
        assert call("ota", "rollout", repo, "abort") == 0
        assert call("ota", "rollout", repo, "--waves", "100", "--json") == 0
        device = process("ota", "device", tmp_path / "d", "--url", url, "--once", "--json")
        taken = json.loads(device.communicate(timeout=120)[0])
    assert (taken["running"], taken["action"]) == (2, "updated")
    capsys.readouterr()
    assert call("ota", "rollout", repo, "--json") == 0
    found, stated = json.loads(capsys.readouterr().out), documented()["ota_rollout"]
    same_keys(found, {**stated, "fallback": found["fallback"]})
    assert set(found["gate"]) == set(stated["gate"])
    assert found["devices"] == {"on the release": 1}
    assert (repo / "reports.jsonl").read_text().count("\n") == 2
    assert time.time() - rollout.read(repo).clock < 600
