"""What happens to devices, publishers and servers in practice: short time, full disks, half publications."""

import json
import os
import socket
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from edgelab.errors import BadFile, BadInput
from edgelab.ota import agent, download, health, publisher, rollout
from edgelab.ota.device import MOST_UNJUDGED, Device
from edgelab.ota.flash import Flash
from edgelab.ota.health import Ran, smoke_test
from edgelab.ota.manifest import Refused
from edgelab.ota.publisher import Publisher, initialise
from edgelab.ota.release import golden_for
from edgelab.ota.server import serving
from edgelab.ota.slots import load_state
from edgelab.ota.storage import DiskStorage
from edgelab.ota.trust import Unreachable
from edgelab.ota.turns import answers

from .ota_home import SETTINGS, START, Home, model_bytes, stub
from .test_ota_commands import write_model


@pytest.fixture
def home(tmp_path):
    made = Home.make(tmp_path)
    made.publish(model_bytes(1))
    return made


def posted(transport):
    return [data for path, data in transport.posted if path == "report"]


class Busy:
    """A runtime on a busy machine: in its first runs of a number of golden runs there is no time to judge."""

    def __init__(self, late, when=1):
        self.left, self.when = late, when

    def __call__(self, storage, installed, times):
        if installed.release == 2 and times == self.when and self.left:
            self.left -= 1
            raise Refused("not judged", "Release 2 gave no answer within 30 s.")
        return stub(storage, installed, times)


def test_a_release_that_could_not_be_judged_is_tried_again(home):
    flash = Flash(home.installed()[0])
    home.publish(model_bytes(2))
    busy = Busy(2)
    for _ in range(2):
        outcome = home.device(flash, runner=busy).update(home.transport())
        assert (outcome.running, outcome.action, outcome.rolled_back) == (1, "refused", ())
        assert "tried again at a later look" in outcome.reason
    outcome = home.device(flash, runner=busy).update(home.transport())
    assert (outcome.running, outcome.action, outcome.bytes) == (2, "updated", 0)


def test_a_release_that_is_never_judged_is_given_up(home):
    flash = Flash(home.installed()[0])
    home.publish(model_bytes(2))
    for number in range(1, MOST_UNJUDGED + 3):
        outcome = home.device(flash, runner=Busy(1)).update(home.transport())
        assert (outcome.running, outcome.rolled_back) == (1, (2,) if number >= MOST_UNJUDGED else ())
    home.publish(model_bytes(3))
    assert home.device(flash).update(home.transport()).running == 3


def test_a_trial_that_could_not_be_judged_goes_on_at_the_next_look(home):
    flash = Flash(home.installed()[0])
    home.publish(model_bytes(2))
    busy = Busy(1, when=SETTINGS.trial_runs)
    transport = home.transport()
    outcome = home.device(flash, runner=busy).update(transport)
    assert (outcome.running, outcome.rolled_back) == (1, ())
    outcome = home.device(flash, runner=busy).update(transport)
    assert (outcome.running, outcome.action) == (2, "updated")
    assert [report["crashes"] for report in posted(transport)] == [0, 0]


def test_starts_of_a_trial_that_come_to_no_end_are_reported_as_crashes(home):
    flash = Flash(home.installed()[0])
    home.publish(model_bytes(2))

    def dies(storage, installed, times):
        if times == SETTINGS.trial_runs:
            raise KeyboardInterrupt
        return stub(storage, installed, times)

    with pytest.raises(KeyboardInterrupt):
        home.device(flash, runner=dies).update(home.transport())
    transport = home.transport()
    assert home.device(flash).update(transport).running == 2
    assert posted(transport)[0]["crashes"] == 1


def test_a_child_that_dies_counts_as_a_crash_until_a_report_arrives(home):
    def dies(*_):
        raise Refused("smoke test", "It died.", crashes=1)

    class Deaf(type(home.transport())):
        def post(self, path, data):
            if path == "report":
                raise Unreachable("No answer.")
            return super().post(path, data)

    flash = Flash(home.installed()[0])
    home.publish(model_bytes(2))
    device, transport = home.device(flash, runner=dies), home.transport()
    device.update(Deaf(home.repository))
    for _ in range(2):
        device.update(transport)
    assert [report["crashes"] for report in posted(transport)] == [1, 0]
    assert posted(transport)[0]["rolled_back"] == [2]


def test_a_device_that_checks_itself_reports_how_its_release_does(home):
    flash = Flash(home.installed()[0])
    device = Device(
        flash,
        home.root,
        replace(SETTINGS, check=True),
        runner=lambda *_: Ran((2.0,) * 32, 28, 32),
        clock=lambda: START,
        version=lambda _: "1",
    )
    now = [0.0]
    offer, report = answers(home.repository, lambda: now[0])
    transport = home.transport()
    home.publish(model_bytes(2))
    rollout.start(home.repository, 2, 1, [1e-9, 100], now=0.0, model="model")
    transport.post = lambda path, data: {"offer": offer, "report": report}[path](json.loads(json.dumps(data)))
    assert device.update(transport).running == 1
    followed = rollout.read(home.repository).follow.devices["tested"]
    assert followed["accuracy"] == pytest.approx(28 / 32)
    assert followed["p95_ms"] == pytest.approx(2.0, rel=0.04)

    def fails(*_):
        raise Refused("smoke test", "It died.", crashes=1)

    device.runner = fails
    outcome = device.update(transport)
    assert (outcome.running, outcome.rolled_back) == (1, ())
    assert "the server is told" in outcome.reason
    assert rollout.read(home.repository).follow.devices["tested"]["had"] == ["crashed"]


def test_labels_of_golden_inputs_become_accuracy(tmp_path, monkeypatch):
    model = write_model(tmp_path / "m.onnx", 1)
    x = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    from edgelab.engines import open_engine
    from edgelab.golden.file import read_golden

    with open_engine(model) as engine:
        top = next(iter(engine.run({"x": x}).values())).argmax(1)
    top[:4] = (top[:4] + 1) % 3
    manifest = Home.make(tmp_path / "home").publish(model_bytes(1))
    for name, y, judged in (("y", top, 32), ("high", top + 7, 0), ("none", None, 0)):
        np.savez(tmp_path / f"{name}.npz", x=x, **({} if y is None else {"y": y}))
        (tmp_path / "g.npz").write_bytes(golden_for(model, data=tmp_path / f"{name}.npz"))
        assert len(read_golden(tmp_path / "g.npz").data) == (16 if y is None else 32)
        ran = smoke_test(model, tmp_path / "g.npz", manifest, 2)
        assert (ran.right, ran.judged) == (28 if judged else 0, judged)
    monkeypatch.setattr(health, "TIME_LIMIT_SECONDS", 1e-3)
    with pytest.raises(Refused, match="gave no answer within") as late:
        smoke_test(model, tmp_path / "g.npz", manifest)
    assert late.value.kind == "not judged"


class Full(Flash):
    """A flash that takes nothing more from some write on."""

    room = 10**9

    def write(self, name, offset, content):
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        self.room -= 1
        super().write(name, offset, content)


def test_a_disk_that_is_full_at_any_write_leaves_a_device_that_runs(home):
    start, _ = home.installed()
    home.publish(model_bytes(1, marks=b"BAD"))
    home.publish(model_bytes(2))
    for room in range(16):
        flash = Full(start)
        flash.room = room
        outcome = home.device(flash).update(home.transport())
        assert outcome.running in (1, 3), room
        flash.room = 0
        assert home.device(flash).boot().release in (1, 3), room
        outcome = home.device(flash).update(home.transport())
        assert outcome.running in (1, 3), room
        flash.room = 10**9
        assert home.device(flash).update(home.transport()).running == 3, room


def test_what_an_older_download_left_takes_no_room_for_good(home):
    start, _ = home.installed()
    flash = Flash(start)
    used = sum(map(len, start.files.values()))
    flash.create("download/0123.part")
    flash.write("download/0123.part", 0, bytes(300_000))
    flash._free = used + 200_000
    home.publish(model_bytes(2))
    assert home.device(flash).update(home.transport()).running == 2


@pytest.mark.parametrize("wrong", [{"seen": "yesterday"}, {"seen": "2026-01-01"}, {"contact": 3}, {"unjudged": [1]}])
def test_a_pointer_that_is_damaged_is_made_again_from_the_slots(home, wrong):
    flash = Flash(home.installed()[0])
    state = json.loads(flash.files["state.json"]) | wrong
    flash.files["state.json"] = bytearray(json.dumps(state).encode())
    assert load_state(flash) is None
    assert home.device(flash).update(home.transport()).running == 1


def test_a_first_start_that_was_cut_off_begins_anew_and_two_at_once_exclude_each_other(home, tmp_path):
    state, root = tmp_path / "dev", home.repository / "root.json"
    with DiskStorage(state).locked(), pytest.raises(BadFile, match="in use"):
        agent.open_device(state, root)
    (state / "slots").mkdir()
    (state / "root.json").write_bytes(root.read_bytes())
    agent.open_device(state, root, name="door")
    assert agent.status(state).facts["running"] is None


def test_a_look_while_another_process_has_the_device_does_not_end_the_loop(home, tmp_path):
    device = agent.open_device(tmp_path / "dev", home.repository / "root.json", runner=stub, version=lambda _: "1")
    looks = agent.looks(device, "http://127.0.0.1:9", 0.01)
    next(looks)
    with DiskStorage(tmp_path / "dev").locked():
        assert "in use by another process" in next(looks).reason
    assert "goes on with what it has" in next(looks).reason
    looks.close()


class Killed(Exception):
    """The publisher's process ends here."""


@pytest.mark.parametrize("what", ["publish", "targets", "root", "timestamp"])
def test_a_publication_that_is_killed_between_any_two_writes(tmp_path, monkeypatch, what):
    """Devices keep what they have or take the new one, and the next publication reaches them."""
    base = Home.make(tmp_path / "base")
    base.publish(model_bytes(1))
    start, _ = base.installed()
    write = publisher.write_bytes
    for writes in range(20):
        home = base.copy(tmp_path / f"{what}{writes}")
        left = [writes]

        def dying(path, content, left=left):
            if not left[0]:
                raise Killed
            left[0] -= 1
            return write(path, content)

        monkeypatch.setattr(publisher, "write_bytes", dying)
        try:
            home.publish(model_bytes(2)) if what == "publish" else home.publisher.rotate(what, START)
        except Killed:
            killed = True
        else:
            killed = False
        monkeypatch.setattr(publisher, "write_bytes", write)
        flash = Flash(start)
        assert home.device(flash).update(home.transport()).running in (1, 2), writes
        made = home.publish(model_bytes(3)).release
        assert home.device(flash).update(home.transport()).running == made, writes
        home.publisher.rotate("targets", START)
        made = home.publish(model_bytes(4)).release
        assert home.device(flash).update(home.transport()).running == made, writes
        if not killed:
            break
    assert not killed
    assert writes > 3


def test_a_repository_whose_making_was_killed_says_so(tmp_path, monkeypatch):
    write, left = publisher.write_bytes, [3]

    def dying(path, content):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return write(path, content)

    monkeypatch.setattr(publisher, "write_bytes", dying)
    with pytest.raises(Killed):
        initialise(tmp_path / "repo", tmp_path / "keys")
    with pytest.raises(BadFile, match="was not finished; remove it"):
        initialise(tmp_path / "repo", tmp_path / "keys")
    with pytest.raises(BadFile, match="was not finished; remove it"):
        Publisher(tmp_path / "repo", tmp_path / "keys")


@pytest.mark.parametrize(
    "limits",
    [
        {"max_latency_ms": float("nan")},
        {"max_latency_ms": float("inf")},
        {"max_latency_ms": -3.0},
        {"min_runtime": "new"},
        {"hardware": [""]},
        {"hardware": "board"},
    ],
)
def test_limits_that_no_device_keeps_are_not_signed(home, limits):
    before = sorted(p.name for p in home.repository.rglob("*"))
    with pytest.raises(BadInput):
        home.publish(model_bytes(2), **limits)
    assert sorted(p.name for p in home.repository.rglob("*")) == before


def test_a_rollout_of_one_model_leaves_the_devices_of_another_alone(home):
    home.publish(model_bytes(2))
    offer, report = answers(home.repository, lambda: 1.0)
    rollout.start(home.repository, 2, 1, [1e-9, 100], now=0.0, model="model")
    assert not offer({"device": "a", "running": 1, "release": 2, "model": "model"})["offer"]
    assert offer({"device": "b", "running": 1, "release": 7, "model": "other"})["offer"]
    report({"device": "b", "model": "other", "booted": 2, "latency_ms": [], "reason": "", "crashes": 5})
    assert rollout.read(home.repository).follow.devices == {}


def request(url, head, body=b""):
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 5) as link:
        link.settimeout(5)
        link.sendall(head + b"\r\n\r\n" + body)
        return link.recv(4096)


ODD = [
    b'{"device": "a", "booted": 1e999}',
    b'{"device": "a", "booted": NaN}',
    b'{"device": "a", "booted": 2, "latency_ms": [1e308, -1]}',
    b'{"device": "a", "booted": 2, "crashes": -1}',
    b'{"device": "a", "booted": 2, "right": 9, "judged": 3}',
    b'{"device": "\\ud800", "booted": 2}',
    b'{"device": ["a"], "booted": 2}',
    b'{"device": "a", "booted": ' + b"9" * 5000 + b"}",
    b'{"device": "a", "rolled_back": [[]], "booted": 2, "reason": 3}',
    b"[" * 30_000,
    b"\xff\xfe",
    b"",
]


def test_odd_requests_get_an_answer_and_the_server_lives_on(home, capfd):
    home.publish(model_bytes(2))
    offer, report = answers(home.repository)
    rollout.start(home.repository, 2, 1, [50, 100], now=0.0)
    key = next(home.publisher.keys.glob("*.key")).read_bytes()
    with serving(home.repository, offer=offer, report=report) as url:
        (home.repository / "targets" / "late.key").write_bytes(b"x")  # put there while it is served
        (home.repository / "targets" / "model" / "notes.txt").write_bytes(key)
        for name in (b"late.key", b"model/notes.txt"):
            assert b" 404 " in request(url, b"GET /targets/" + name + b" HTTP/1.0")
        for path in (b"report", b"offer"):
            for length in (b"-1", b"\xb2", b"9" * 5000, b"1e3", b"0x10"):
                assert b" 413 " in request(url, b"POST /" + path + b" HTTP/1.0\r\nContent-Length: " + length)
            for body in ODD:
                head = b"POST /" + path + b" HTTP/1.0\r\nContent-Length: " + str(len(body)).encode()
                answer = request(url, head, body)
                assert b" 400 " in answer, (path, body[:60], answer)
        host, _, port = url.removeprefix("http://").partition(":")
        for _ in range(3):  # a client that goes away at once
            link = socket.create_connection((host, int(port)), 5)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            link.sendall(b"POST /report HTTP/1.1\r\nContent-Length: 50\r\n\r\n{")
            link.close()
        assert b" 200 " in request(url, b"GET /root.json HTTP/1.0")
    assert "Traceback" not in capfd.readouterr().err
    assert rollout.read(home.repository).follow.devices == {}
    assert not Path("reports.jsonl").exists()


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links are another thing there")
def test_a_link_out_of_the_devices_folder_is_not_followed(home, tmp_path):
    root, others = home.repository / "root.json", tmp_path / "others"
    device = agent.open_device(tmp_path / "dev", root, runner=stub, version=lambda _: "1", clock=lambda: START)
    assert device.update(home.transport()).running == 1
    others.mkdir()
    (others / "kept.txt").write_text("kept")
    home.publish(model_bytes(2))
    free = tmp_path / "dev" / "slots" / "b"
    free.rmdir()
    free.symlink_to(others)
    with pytest.raises(BadFile, match="leads out of the device's folder by a link"):
        device.update(home.transport())
    free.unlink()
    (tmp_path / "dev" / "download").rmdir()
    (tmp_path / "dev" / "download").symlink_to(others)
    with pytest.raises(BadFile, match="by a link"):
        device.update(home.transport())
    assert [(file.name, file.read_text()) for file in others.iterdir()] == [("kept.txt", "kept")]
    (tmp_path / "dev" / "download").unlink()
    (tmp_path / "dev" / "state.json.part").symlink_to(others / "kept.txt")
    device.update(home.transport())
    assert (others / "kept.txt").read_text() == "kept"


class Trickling(BaseHTTPRequestHandler):
    """A server that sends a byte now and then, and never ends."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        with suppress(OSError):
            for _ in range(200):
                self.wfile.write(b"x")
                time.sleep(0.02)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_):
        pass


def test_a_server_that_sends_too_slowly_is_given_up(monkeypatch):
    monkeypatch.setattr(download, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(download, "SLOWEST_BYTES_PER_SECOND", 1000.0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Trickling) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        with closing(download.HttpTransport(f"http://127.0.0.1:{server.server_address[1]}")) as transport:
            with pytest.raises(Unreachable, match="too slow"):
                list(transport.get("file"))
            with pytest.raises(Unreachable, match="too slow"):
                transport.post("report", {})
        server.shutdown()
