"""The commands of updates as real processes on the loopback address, with the real runtime, also when killed."""

import gzip
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgelab import cli
from edgelab.ota.deltas import sha256

ROOT = Path(__file__).parents[2]


def write_model(path, seed, classes=3):
    weights = np.random.default_rng(seed).standard_normal((64, classes)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["batch", 64])],
        [onnx.helper.make_tensor_value_info("y", 1, ["batch", classes])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    path.write_bytes(onnx.helper.make_model(graph, ir_version=9, opset_imports=opset).SerializeToString())
    return path


def call(*words):
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as left:
        return left.code


def process(*words, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "edgelab", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )


@contextmanager
def served(repository):
    """`edgelab ota serve` as a process; its address."""
    server = process("ota", "serve", repository, "--json")
    try:
        text = b""
        while not text.rstrip().endswith(b"}"):
            line = server.stdout.readline()
            assert line, server.stderr.read()
            text += line
        yield json.loads(text)["url"]
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0, server.stderr.read()
        server.stdout.close()
        server.stderr.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three models, data, and a repository with the first of them."""
    folder = tmp_path_factory.mktemp("made")
    for number in (1, 2, 3):
        write_model(folder / f"m{number}.onnx", number)
    x = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    np.savez(folder / "d.npz", x=x)
    repo, keys = folder / "repo", folder / "keys"
    assert call("ota", "init", repo, "--keys", keys) == 0
    words = ("--repo", repo, "--keys", keys, "--data", folder / "d.npz")
    assert call("ota", "publish", folder / "m1.onnx", *words) == 0
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(made, tmp_path / "place"))
    return tmp_path / "place"


def answer(capfd):
    out, err = capfd.readouterr()
    assert err == "" or "Traceback" not in err
    return json.loads(out)


def documented():
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    return {name: json.loads(block) for name, block in re.findall(r"```json (ota_\w+)\n(.*?)```", text, re.DOTALL)}


def same_keys(found, stated):
    assert set(found) == set(stated)
    for key, value in stated.items():
        assert found[key] is None or type(found[key]) is type(value), key
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for entry in found[key]:
                assert set(entry) == set(value[0])


def test_from_the_first_key_to_a_rolled_out_release(place, capfd):
    """All verbs in the order in which a person meets them, with the JSON that is documented."""
    said = documented()
    assert call("ota", "init", "other", "--keys", "other_keys", "--json") == 0
    same_keys(answer(capfd), said["ota_init"])
    for file in (place / "keys").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 or os.name != "posix"
    with served("repo") as url:
        look = ("ota", "device", "dev", "--url", url, "--once", "--json")
        assert call(*look, "--root", "repo/root.json") == 0
        found = answer(capfd)
        same_keys(found, said["ota_device"])
        assert (found["running"], found["action"], found["rolled_back"]) == (1, "updated", [])
        card = place / "card.json"
        card.write_text('{"target": "90 percent", "fails": "at night", "degrades": "it says so"}', encoding="utf-8")
        words = ("ota", "publish", "m2.onnx", "--repo", "repo", "--keys", "keys", "--data", "d.npz", "--card", card)
        assert call(*words, "--json") == 0
        made = answer(capfd)
        same_keys(made, said["ota_publish"])
        assert (made["release"], made["card"]["fails"]) == (2, "at night")
        assert call("ota", "refresh", "--repo", "repo", "--keys", "keys", "--json") == 0
        same_keys(answer(capfd), said["ota_refresh"])
        assert call("ota", "rotate", "targets", "--repo", "repo", "--keys", "keys", "--json") == 0
        same_keys(answer(capfd), said["ota_rotate"])
        assert call(*look) == 0
        found = answer(capfd)
        assert (found["running"], found["previous"], found["action"]) == (2, 1, "updated")
        assert 0 < found["bytes"] <= made["payloads"][0]["bytes"]
        assert call(*look) == 0
        found = answer(capfd)
        assert (found["running"], found["action"], found["bytes"]) == (2, "none", 0)
    assert call(*look) == 0
    found = answer(capfd)
    assert (found["running"], found["action"]) == (2, "none")
    assert "goes on with what it has" in found["reason"]
    assert call("ota", "status", "dev", "--json") == 0
    found = answer(capfd)
    same_keys(found, said["ota_status"])
    assert sha256(Path(found["path"]).read_bytes()) == sha256(Path("m2.onnx").read_bytes()) == found["sha256"]
    assert call("ota", "status", "dev", "--path") == 0
    assert capfd.readouterr().out == found["path"] + "\n"
    assert call("ota", "status", "dev") == 0
    assert "Fails: at night." in capfd.readouterr().out
    reports = [json.loads(line) for line in Path("repo", "reports.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [r["booted"] for r in reports] == [1, 2, 2]
    assert len(reports[0]["latency_ms"]) > 10


def test_a_model_that_answers_otherwise_here_is_rolled_back(place, capfd, monkeypatch):
    """The golden inputs' answers are those of the publisher's machine; a device on which they differ goes back."""
    from edgelab.ota import release
    from edgelab.ota.server import serving

    with serving(Path("repo")) as url:
        assert call("ota", "device", "dev", "--url", url, "--once", "--json", "--root", "repo/root.json") == 0
        capfd.readouterr()
        other = release.golden_for(Path("m3.onnx"), data=Path("d.npz"))
        monkeypatch.setattr(release, "golden_for", lambda *_: other)
        assert call("ota", "publish", "m2.onnx", "--repo", "repo", "--keys", "keys", "--data", "d.npz") == 0
        capfd.readouterr()
        for reason in ("answers otherwise than at its publisher", "was rolled back here"):
            assert call("ota", "device", "dev", "--url", url, "--once", "--json") == 0
            found = answer(capfd)
            assert (found["running"], found["action"], found["rolled_back"]) == (1, "refused", [2])
            assert reason in found["reason"]


def test_golden_files_gate_the_publication(place, capfd):
    assert call("golden", "make", "m1.onnx", "--data", "d.npz", "-o", "m1.golden") == 0
    words = ("--repo", "repo", "--keys", "keys")
    assert call("ota", "publish", "m1.onnx", *words, "--golden", "m1.golden", "--json") == 0
    capfd.readouterr()
    assert call("ota", "publish", "m2.onnx", *words, "--golden", "m1.golden", "--json") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "m2.onnx is not published" in err
    assert err.count("\n") == 1


WRONG = [
    (("init", "repo", "--keys", "more"), "repo is a repository already"),
    (("init", "new", "--keys", "new/keys"), "lies in new, which is served"),
    (("init", "new", "--keys", "keys"), "keys is not empty"),
    (("init", "."), "required: --keys"),
    (("publish", "m1.onnx", "--repo", "repo", "--keys", "keys"), "Without golden inputs no device can test"),
    (("publish", "none.onnx", "--repo", "repo", "--keys", "keys", "--data", "d.npz"), "none.onnx"),
    (("publish", "d.npz", "--repo", "repo", "--keys", "keys", "--data", "d.npz"), "d.npz is a zip archive"),
    (("publish", "keys", "--repo", "repo", "--keys", "keys", "--data", "d.npz"), "keys is a folder"),
    (("publish", "m1.onnx", "--repo", "keys", "--keys", "keys", "--data", "d.npz"), "keys is no repository"),
    (("publish", "m1.onnx", "--repo", "repo", "--keys", "repo", "--data", "d.npz"), "repo holds no key for"),
    (("publish", "m1.onnx", "--repo", "repo", "--keys", "keys", "--data", "m1.onnx"), "m1.onnx"),
    (
        ("publish", "m1.onnx", "--repo", "repo", "--keys", "keys", "--data", "d.npz", "--name", "../x"),
        "leaves its folder",
    ),
    (("refresh", "--repo", "keys", "--keys", "keys"), "keys is no repository"),
    (("refresh", "--repo", "repo", "--keys", "repo"), "repo holds no key for"),
    (("rotate", "boss", "--repo", "repo", "--keys", "keys"), "invalid choice"),
    (("serve", "keys"), "keys is no repository"),
    (("serve", "repo", "--port", "99999"), "Port 99999 cannot be had"),
    (("device", "dev", "--url", "http://127.0.0.1:9", "--once"), "dev is no device yet"),
    (("device", "dev", "--url", "ftp://x", "--root", "repo/root.json", "--once"), "ftp://x is no address"),
    (("device", "dev", "--url", "http://127.0.0.1:9", "--root", "none.json", "--once"), "none.json does not exist"),
    (("device", "dev", "--url", "http://127.0.0.1:9", "--root", "d.npz", "--once"), "no sound root"),
    (("device", "keys", "--url", "http://127.0.0.1:9", "--root", "repo/root.json", "--once"), "keys holds other files"),
    (("status", "keys"), "keys is no device"),
    (("status", "nowhere", "--path"), "nowhere is no device"),
]


@pytest.mark.parametrize(("words", "says"), WRONG, ids=[" ".join(words)[:60] for words, _ in WRONG])
def test_bad_input_is_one_sentence_and_nothing_is_left(place, capfd, words, says):
    before = sorted(str(p) for p in Path("repo").rglob("*") if not p.name.startswith("."))
    assert call("ota", *words, "--json") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1, err
    assert sorted(str(p) for p in Path("repo").rglob("*") if not p.name.startswith(".")) == before


def test_private_keys_are_not_served(place, capfd):
    for name, content in (("stray.key", b"x"), ("notes.txt", (place / "keys" / "root-1.key").read_bytes())):
        stray = place / "repo" / "targets" / name
        stray.write_bytes(content)
        assert call("ota", "serve", "repo") == 2
        assert f"repo holds private keys ({name})" in capfd.readouterr().err
        stray.unlink()


def test_a_key_that_others_can_read_is_refused(place, capfd):
    (place / "keys" / "targets-1.key").chmod(0o644)
    assert call("ota", "publish", "m2.onnx", "--repo", "repo", "--keys", "keys", "--data", "d.npz") == 2
    assert "can be read by others" in capfd.readouterr().err


def test_the_server_hands_out_nothing_else(place):
    import httpx

    from edgelab.ota.server import serving

    (place / "secret.txt").write_text("secret", encoding="utf-8")
    with serving(Path("repo")) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/root.json").status_code == 200
        for path in (
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/targets/%2e%2e/%2e%2e/secret.txt",
            "/reports.jsonl",
            "/",
        ):
            assert client.get(path).status_code == 404, path
        whole = client.get("/metadata/timestamp.json").content
        part = client.get("/metadata/timestamp.json", headers={"Range": "bytes=10-"})
        assert (part.status_code, part.content) == (206, whole[10:])
        assert client.get("/metadata/timestamp.json", headers={"Range": f"bytes={len(whole)}-"}).status_code == 416
        assert client.post("/report", content=b"[1]").status_code == 400
        assert client.post("/report", content=b"{").status_code == 400
        for path, content, status in (("/nowhere", b"{}", 404), ("/report", b"x" * 100_000, 413)):
            refused = client.post(path, content=content)  # what follows must not be sent into the connection's end
            assert (refused.status_code, refused.headers["connection"]) == (status, "close")
        assert client.post("/report", json={"device": "d"}).json() == {"kept": True}


class Flooding(BaseHTTPRequestHandler):
    """A server that answers with more than is good, and says that a file is packed."""

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.rfile.read(length)
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            for _ in range(1000):
                self.wfile.write(b"x" * 100_000)

    def do_GET(self):
        content = gzip.compress(bytes(10_000_000))
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_a_server_cannot_fill_the_memory():
    from edgelab.ota.download import HttpTransport
    from edgelab.ota.trust import Unreachable

    with ThreadingHTTPServer(("127.0.0.1", 0), Flooding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with closing(HttpTransport(f"http://127.0.0.1:{server.server_address[1]}")) as transport:
            with pytest.raises(Unreachable, match="answers without an end"):
                transport.post("report", {})
            assert sum(len(part) for part in transport.get("file")) < 100_000
        server.shutdown()
    with closing(HttpTransport("http://127.0.0.1:9")) as transport, pytest.raises(Unreachable, match="does not answer"):
        list(transport.get("file"))


def test_two_processes_of_one_device_exclude_each_other(place, capfd):
    from edgelab.ota.storage import DiskStorage

    assert call("ota", "device", "dev", "--url", "http://127.0.0.1:9", "--root", "repo/root.json", "--once") == 0
    capfd.readouterr()
    with DiskStorage("dev").locked():
        assert call("ota", "device", "dev", "--url", "http://127.0.0.1:9", "--once") == 2
        assert "dev is in use by another process" in capfd.readouterr().err
        assert call("ota", "status", "dev") == 0
    assert "nothing is installed yet" in capfd.readouterr().out
    assert call("ota", "status", "dev", "--path") == 2
    assert "dev runs nothing yet" in capfd.readouterr().err
    assert call("ota", "device", "dev", "--url", "http://127.0.0.1:9", "--once", "--hardware", "x") == 2
    assert "is a device whose hardware is" in capfd.readouterr().err


def kill_at_random(place, capfd, kills):
    """A device process is killed again and again while releases come; at each moment the model that runs is whole."""
    from edgelab.ota.server import serving

    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    known = {sha256(Path(f"m{n}.onnx").read_bytes()): n for n in (1, 2, 3)}
    with serving(Path("repo")) as url:
        assert call("ota", "device", "dev", "--url", url, "--once", "--root", "repo/root.json") == 0
        started = time.monotonic()
        assert call("ota", "device", "dev", "--url", url, "--once") == 0
        usual = 2 * (time.monotonic() - started) + 1.5
        committed = 1
        for number in range(kills):
            if number % 3 == 0:
                name = f"m{2 + number // 3 % 2}.onnx"
                assert call("ota", "publish", name, "--repo", "repo", "--keys", "keys", "--data", "d.npz") == 0
            device = process("ota", "device", "dev", "--url", url, "--every", "0.2")
            time.sleep(draw.uniform(0.4, usual))
            device.kill()
            device.wait(10)
            device.stdout.close()
            device.stderr.close()
            capfd.readouterr()
            assert call("ota", "status", "dev", "--json") == 0, f"seed {seed}"
            found = answer(capfd)
            assert known[sha256(Path(found["path"]).read_bytes())], f"seed {seed}"
            assert found["running"] >= committed, f"seed {seed}"
            committed = found["committed"]
        assert call("ota", "publish", "m1.onnx", "--repo", "repo", "--keys", "keys", "--data", "d.npz") == 0
        capfd.readouterr()
        assert call("ota", "device", "dev", "--url", url, "--once", "--json") == 0
        found = answer(capfd)
    assert found["running"] == 2 + (kills + 2) // 3, f"seed {seed}: {found}"
    assert not list(Path("dev").glob("scratch-*"))


def test_a_device_that_is_killed_at_random_moments(place, capfd):
    kill_at_random(place, capfd, kills=4)


@pytest.mark.thorough
def test_a_device_that_is_killed_many_times(place, capfd):
    kill_at_random(place, capfd, kills=60)
