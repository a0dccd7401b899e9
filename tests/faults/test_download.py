"""Downloads from a server on this machine that behaves, breaks off, changes its mind, lies, or is not there."""

import contextlib
import gzip
import hashlib
import http.server
import io
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from edgelab.data import cifar10, transfer
from edgelab.data.archives import gunzip, members
from edgelab.data.download import RemoteFile, data_folder, fetch, parse_checksum
from edgelab.errors import BadFile, BadInput, DownloadFailed

CONTENT = np.random.default_rng(0).bytes(1_500_000)
SIZE = len(CONTENT)
PATH = "toy/thing.bin"


def sha256(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    files: dict = field(default_factory=lambda: {f"/{PATH}": CONTENT})
    etag: str | None = '"one"'
    cuts: list = field(default_factory=list)
    """Bytes of the body after which the connection is closed, for each request in turn; None for never."""
    statuses: list = field(default_factory=list)
    """A status to answer in place of the file, for each request in turn; None for the file."""
    ranges: bool = True
    if_range: bool = True
    """Whether the condition If-Range is heeded."""
    shift: int = 0
    """By how much an answered range begins too late."""
    kind: str = "application/octet-stream"
    length: bool = True
    delay_s: float = 0
    asked: list = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        do: Behaviour = self.server.behaviour
        do.asked.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        status = do.statuses.pop(0) if do.statuses else None
        body = do.files.get(self.path)
        if status is not None or body is None:
            self.send_error(status or 404)
            return
        start, wanted = 0, self.headers.get("Range")
        same = not do.if_range or self.headers.get("If-Range", do.etag) == do.etag
        if wanted and do.ranges and same:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            start += do.shift
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if do.etag:
            self.send_header("ETag", do.etag)
        self.send_header("Content-Type", do.kind)
        if do.length:
            self.send_header("Content-Length", str(len(body) - start))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        time.sleep(do.delay_s)
        cut = do.cuts.pop(0) if do.cuts else None
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[start:] if cut is None else body[start : start + cut])
        if cut is not None or not do.length:
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "_WAIT_S", 0.001)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.behaviour = Behaviour()
        running.base = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def toy(server, size=SIZE, checksum=None):
    return RemoteFile(PATH, (f"{server.base}/{PATH}",), checksum or sha256(CONTENT), size)


def left_in(folder):
    """What lies there, but for the lock."""
    return sorted(p.name for p in (folder / "toy").iterdir() if not p.name.endswith(".lock"))


class TestTransfer:
    def test_a_file_comes_whole_and_only_once(self, server, tmp_path):
        path = fetch(toy(server), folder=tmp_path)
        assert path == tmp_path / PATH
        assert path.read_bytes() == CONTENT
        assert fetch(toy(server), folder=tmp_path) == path
        assert len(server.behaviour.asked) == 1
        assert left_in(tmp_path) == ["thing.bin"]

    def test_an_interruption_is_resumed_where_it_stopped(self, server, tmp_path):
        server.behaviour.cuts = [600_000, 300_000]
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT
        assert server.behaviour.asked == [
            (f"/{PATH}", None, None),
            (f"/{PATH}", "bytes=600000-", '"one"'),
            (f"/{PATH}", "bytes=900000-", '"one"'),
        ]

    def test_a_later_call_goes_on_where_an_earlier_one_gave_up(self, server, tmp_path):
        server.behaviour.cuts = [600_000, 0, 0, 0]
        with pytest.raises(DownloadFailed, match="600,000 bytes are kept for a resume") as caught:
            fetch(toy(server), folder=tmp_path)
        assert str(tmp_path / PATH) in str(caught.value)
        assert left_in(tmp_path) == ["thing.bin.part", "thing.bin.part.json"]
        server.behaviour.asked.clear()
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT
        assert server.behaviour.asked == [(f"/{PATH}", "bytes=600000-", '"one"')]
        assert left_in(tmp_path) == ["thing.bin"]

    def test_a_server_that_ignores_the_range_starts_over(self, server, tmp_path):
        server.behaviour.cuts, server.behaviour.ranges = [600_000], False
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT

    def test_a_server_that_answers_another_range_is_not_believed(self, server, tmp_path):
        server.behaviour.cuts, server.behaviour.shift = [600_000], 5
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT
        assert [asked[1] for asked in server.behaviour.asked] == [None, "bytes=600000-", None]

    @pytest.mark.parametrize("etag", ['"one"', None])
    def test_a_file_that_changed_meanwhile_is_fetched_anew(self, server, tmp_path, etag):
        server.behaviour.etag, server.behaviour.cuts = etag, [600_000, 0, 0, 0]
        with pytest.raises(DownloadFailed):
            fetch(toy(server), folder=tmp_path)
        changed = CONTENT[::-1]
        server.behaviour.files = {f"/{PATH}": changed}
        server.behaviour.etag = etag and '"two"'
        # Without an ETag the resume succeeds, and the checksum shows that the pieces do not belong together.
        assert fetch(toy(server, checksum=sha256(changed)), folder=tmp_path).read_bytes() == changed

    def test_a_change_is_noticed_where_the_server_heeds_no_condition(self, server, tmp_path):
        server.behaviour.cuts = [600_000, 0, 0, 0]
        with pytest.raises(DownloadFailed):
            fetch(toy(server), folder=tmp_path)
        changed = CONTENT[::-1]
        server.behaviour = Behaviour(files={f"/{PATH}": changed}, etag='"two"', if_range=False, cuts=[100])
        assert fetch(toy(server, checksum=sha256(changed)), folder=tmp_path).read_bytes() == changed
        # The answered range was refused by its ETag, before it was read.
        part = tmp_path / "toy" / "thing.bin.part"
        assert [asked[1] for asked in server.behaviour.asked] == ["bytes=600000-", None]
        assert not part.exists()

    def test_a_file_that_became_shorter_is_fetched_anew(self, server, tmp_path):
        server.behaviour.cuts = [600_000, 0, 0, 0]
        with pytest.raises(DownloadFailed):
            fetch(toy(server), folder=tmp_path)
        server.behaviour.files, server.behaviour.etag = {f"/{PATH}": CONTENT[:5000]}, '"one"'
        assert fetch(toy(server, None, sha256(CONTENT[:5000])), folder=tmp_path).read_bytes() == CONTENT[:5000]

    def test_a_part_file_without_its_description_is_not_trusted(self, server, tmp_path):
        (tmp_path / "toy").mkdir()
        (tmp_path / "toy" / "thing.bin.part").write_bytes(b"x" * 1000)
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT
        assert [asked[1] for asked in server.behaviour.asked] == [None]
        (tmp_path / PATH).unlink()
        (tmp_path / "toy" / "thing.bin.part").write_bytes(b"x" * 1000)
        (tmp_path / "toy" / "thing.bin.part.json").write_bytes(b"{ half a JSO")
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT

    def test_a_part_file_that_is_complete_is_checked_and_used(self, server, tmp_path):
        (tmp_path / "toy").mkdir()
        (tmp_path / "toy" / "thing.bin.part").write_bytes(CONTENT)
        about = f'{{"address": "{server.base}/{PATH}", "validator": "", "total": {len(CONTENT)}}}'
        (tmp_path / "toy" / "thing.bin.part.json").write_text(about)
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT
        assert server.behaviour.asked == []

    def test_a_file_of_unknown_length_is_held_against_its_checksum(self, server, tmp_path):
        server.behaviour.length = False
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT

    def test_more_than_was_published_is_refused(self, server, tmp_path):
        server.behaviour.length = False
        with pytest.raises(DownloadFailed, match="more than 5,000 bytes came"):
            fetch(toy(server, 5000), folder=tmp_path)
        assert left_in(tmp_path) == []


class TestRefusals:
    def test_a_wrong_checksum_is_never_used(self, server, tmp_path):
        with pytest.raises(DownloadFailed, match="discarded") as caught:
            fetch(toy(server, checksum="md5:" + "0" * 32), folder=tmp_path)
        assert hashlib.md5(CONTENT).hexdigest() in str(caught.value)  # noqa: S324
        assert left_in(tmp_path) == []

    def test_a_stated_checksum_takes_the_place_of_the_published_one(self, server, tmp_path):
        file = toy(server, size=7, checksum="md5:" + "0" * 32)
        assert fetch(file, checksum=sha256(CONTENT), folder=tmp_path).read_bytes() == CONTENT
        with pytest.raises(BadInput, match="not a checksum"):
            fetch(file, checksum="sha256:12", folder=tmp_path)

    def test_a_file_put_there_by_hand_is_checked(self, server, tmp_path):
        (tmp_path / "toy").mkdir()
        (tmp_path / PATH).write_bytes(CONTENT)
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT
        (tmp_path / PATH).write_bytes(CONTENT[:-1])
        with pytest.raises(BadFile, match="delete it to download it again"):
            fetch(toy(server), folder=tmp_path)
        assert (tmp_path / PATH).exists()
        assert server.behaviour.asked == []

    def test_not_found_is_said_once_and_not_tried_again(self, server, tmp_path):
        server.behaviour.files = {}
        with pytest.raises(DownloadFailed, match="404") as caught:
            fetch(toy(server), folder=tmp_path)
        assert f"put the file at {tmp_path / PATH} by hand" in str(caught.value)
        assert "connect to the network" not in str(caught.value)
        assert len(server.behaviour.asked) == 1

    def test_a_busy_server_is_asked_again(self, server, tmp_path):
        server.behaviour.statuses = [503, 429]
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT
        server.behaviour.statuses = [500, 500, 500]
        (tmp_path / PATH).unlink()
        with pytest.raises(DownloadFailed, match="500"):
            fetch(toy(server), folder=tmp_path)

    def test_the_next_address_is_tried(self, server, tmp_path):
        file = RemoteFile(PATH, (f"{server.base}/gone", f"{server.base}/{PATH}"), sha256(CONTENT), len(CONTENT))
        assert fetch(file, folder=tmp_path).read_bytes() == CONTENT

    def test_a_web_page_in_place_of_the_file(self, server, tmp_path):
        server.behaviour.files = {f"/{PATH}": b"<html>Please log in</html>"}
        server.behaviour.kind = "text/html; charset=utf-8"
        with pytest.raises(DownloadFailed, match="a web page came"):
            fetch(toy(server), folder=tmp_path)
        assert left_in(tmp_path) == []

    def test_a_web_page_does_not_destroy_what_was_fetched(self, server, tmp_path):
        server.behaviour.cuts = [600_000, 0, 0, 0]
        with pytest.raises(DownloadFailed):
            fetch(toy(server), folder=tmp_path)
        page = Behaviour(files={f"/{PATH}": b"<html></html>"}, kind="text/html", ranges=False)
        before, server.behaviour = server.behaviour, page
        with pytest.raises(DownloadFailed, match="600,000 bytes are kept"):
            fetch(toy(server), folder=tmp_path)
        server.behaviour = before
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT
        assert before.asked[-1][1] == "bytes=600000-"

    def test_a_file_of_another_size_is_refused_before_it_is_fetched(self, server, tmp_path):
        with pytest.raises(DownloadFailed, match="1,500,000 bytes, and 77 are published"):
            fetch(toy(server, 77), folder=tmp_path)
        assert left_in(tmp_path) == []

    @pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://host/x", "host/x", ""])
    def test_only_the_web_is_asked(self, address, tmp_path):
        with pytest.raises(BadInput, match="http or https"):
            fetch(RemoteFile(PATH, (address,), sha256(b"")), folder=tmp_path)


class TestOffline:
    def closed_port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def test_no_connection_says_what_to_do(self, server, tmp_path):
        mirror = f"http://127.0.0.1:{self.closed_port()}"
        with pytest.raises(DownloadFailed, match="connect to the network and run this again") as caught:
            fetch(toy(server), mirror=mirror, folder=tmp_path)
        message = str(caught.value)
        assert f"or put the file at {tmp_path / PATH} by hand" in message
        assert "\n" not in message
        assert left_in(tmp_path) == []

    def test_a_server_that_says_nothing_is_given_up(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr(transfer, "TIMEOUT_S", 0.1)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            with pytest.raises(DownloadFailed, match="timed out"):
                fetch(toy(server), mirror=f"http://127.0.0.1:{silent.getsockname()[1]}", folder=tmp_path)

    def test_a_server_that_stops_in_the_middle_is_resumed(self, server, tmp_path, monkeypatch):
        # The connection stays open and silent: the time-out ends it.
        monkeypatch.setattr(transfer, "TIMEOUT_S", 0.3)
        server.behaviour.delay_s = 1.0
        threading.Timer(0.4, lambda: setattr(server.behaviour, "delay_s", 0)).start()
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT

    def test_what_is_not_http_is_given_up(self, server, tmp_path):
        def answer(listening):
            for _ in range(transfer.ATTEMPTS):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"\x00\xff what?\r\n\r\n")

        with socket.socket() as odd:
            odd.bind(("127.0.0.1", 0))
            odd.listen()
            thread = threading.Thread(target=answer, args=(odd,))
            thread.start()
            with pytest.raises(DownloadFailed, match="the connection broke"):
                fetch(toy(server), mirror=f"http://127.0.0.1:{odd.getsockname()[1]}", folder=tmp_path)
            thread.join()


class TestFolder:
    def test_the_mirror_and_the_folder_come_from_the_environment(self, server, tmp_path, monkeypatch):
        monkeypatch.setenv("EDGELAB_DATA", str(tmp_path / "here"))
        monkeypatch.setenv("EDGELAB_MIRROR", server.base + "/")
        file = RemoteFile(PATH, ("https://host.invalid/thing.bin",), sha256(CONTENT))
        assert fetch(file) == tmp_path / "here" / PATH

    def test_the_cache_folder_of_each_platform(self, monkeypatch, tmp_path):
        monkeypatch.delenv("EDGELAB_DATA", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
        monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "w"))
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        found = {}
        for platform in ("linux", "win32", "darwin"):
            monkeypatch.setattr(sys, "platform", platform)
            found[platform] = data_folder()
        assert found["linux"] == tmp_path / "x" / "edgelab"
        assert found["win32"] == tmp_path / "w" / "edgelab"
        assert found["darwin"] == tmp_path / "home" / "Library" / "Caches" / "edgelab"

    def test_a_folder_that_cannot_be_made(self, server, tmp_path):
        (tmp_path / "toy").write_text("a file stands in the way")
        with pytest.raises(DownloadFailed, match="set EDGELAB_DATA"):
            fetch(toy(server), folder=tmp_path)

    def test_too_little_room_is_said_before_the_download(self, server, tmp_path, monkeypatch):
        real = transfer.shutil.disk_usage
        monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: real(path)._replace(free=1_000_000))
        with pytest.raises(DownloadFailed, match="1,000,000 free"):
            fetch(toy(server), folder=tmp_path)
        assert left_in(tmp_path) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="a limit on the size of files, as Linux has it")
    def test_a_disk_that_fills_up_keeps_what_was_fetched(self, server, tmp_path):
        script = (
            "import resource, signal, sys\n"
            "from edgelab.data.download import RemoteFile, fetch\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
            "fetch(RemoteFile(*sys.argv[1:2], (sys.argv[2],), sys.argv[3]), folder=sys.argv[4])\n"
        )
        arguments = [PATH, f"{server.base}/{PATH}", sha256(CONTENT), str(tmp_path)]
        ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
        assert "the disk is full" in ended.stderr.splitlines()[-1], ended.stderr
        assert (tmp_path / "toy" / "thing.bin.part").stat().st_size <= 400_000
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT
        assert server.behaviour.asked[-1][1] is not None


def _fetch_in_child(base, folder, size, results):
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    file = RemoteFile(PATH, (f"{base}/{PATH}",), sha256(CONTENT), size)
    results.put(sha256(fetch(file, folder=folder).read_bytes()))


class TestProcesses:
    def test_two_at_once_share_one_download(self, server, tmp_path):
        server.behaviour.delay_s = 0.5
        context = multiprocessing.get_context("spawn")
        results = context.Queue()
        arguments = (server.base, str(tmp_path), len(CONTENT), results)
        children = [context.Process(target=_fetch_in_child, args=arguments) for _ in range(2)]
        for child in children:
            child.start()
        assert [results.get(timeout=60) for _ in children] == [sha256(CONTENT)] * 2
        for child in children:
            child.join()
        assert len(server.behaviour.asked) == 1
        assert left_in(tmp_path) == ["thing.bin"]

    @pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
    def test_a_killed_process_leaves_a_part_that_the_next_one_resumes(self, server, tmp_path):
        script = (
            "import sys\n"
            "from edgelab.data.download import RemoteFile, fetch\n"
            "fetch(RemoteFile(sys.argv[1], (sys.argv[2],), sys.argv[3]), folder=sys.argv[4])\n"
        )
        # The server sends a part and then nothing, with the connection open.
        body = CONTENT[:800_000]
        held = threading.Event()

        def answer(listening):
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode()
                connection.sendall(head + body)
                held.wait(60)

        with socket.socket() as slow:
            slow.bind(("127.0.0.1", 0))
            slow.listen()
            thread = threading.Thread(target=answer, args=(slow,))
            thread.start()
            address = f"http://127.0.0.1:{slow.getsockname()[1]}/{PATH}"
            arguments = [PATH, address, sha256(CONTENT), str(tmp_path)]
            child = subprocess.Popen([sys.executable, "-c", script, *arguments], stderr=subprocess.DEVNULL)
            part = tmp_path / "toy" / "thing.bin.part"
            deadline = time.monotonic() + 60
            while not (part.exists() and part.stat().st_size > 500_000) and time.monotonic() < deadline:
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
            child.wait()
            held.set()
            thread.join()
        kept = part.stat().st_size
        assert 500_000 < kept < len(CONTENT)
        assert not (tmp_path / PATH).exists()
        assert fetch(toy(server), folder=tmp_path).read_bytes() == CONTENT
        assert server.behaviour.asked[-1][1] == f"bytes={kept}-"


def tar_gz(build):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        build(tar)
    return stream.getvalue()


def add(tar, name, content=b"", kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, target
    tar.addfile(info, io.BytesIO(content))


def read_all(path, most_bytes=10_000_000, most_member_bytes=1_000_000):
    return dict(members(path, lambda _: True, most_bytes, most_member_bytes))


class TestArchives:
    def save(self, tmp_path, content):
        path = tmp_path / "thing.tar.gz"
        path.write_bytes(content)
        return path

    def test_regular_files_come_in_order(self, tmp_path):
        path = self.save(
            tmp_path, tar_gz(lambda t: (add(t, "./b/x", b"1"), add(t, "a", b"22"), add(t, "d", kind=tarfile.DIRTYPE)))
        )
        assert list(read_all(path).items()) == [("b/x", b"1"), ("a", b"22")]
        assert [p.name for p in tmp_path.iterdir()] == ["thing.tar.gz"]

    @pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..\\x", "C:x", "a/.."])
    def test_names_that_lead_out_are_refused(self, tmp_path, name):
        with pytest.raises(BadFile, match="leads out of the archive"):
            read_all(self.save(tmp_path, tar_gz(lambda t: add(t, name, b"x"))))

    @pytest.mark.parametrize(
        "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE]
    )
    def test_links_and_devices_are_refused(self, tmp_path, kind):
        with pytest.raises(BadFile, match="link or a device"):
            read_all(self.save(tmp_path, tar_gz(lambda t: add(t, "x", kind=kind, target="/etc/passwd"))))

    def test_a_bomb_is_stopped(self, tmp_path):
        bomb = self.save(tmp_path, tar_gz(lambda t: [add(t, f"x{i}", bytes(900_000)) for i in range(20)]))
        with pytest.raises(BadFile, match="unpacks to more than 10,000,000"):
            read_all(bomb)
        with pytest.raises(BadFile, match="unpacks to more than"):
            dict(members(bomb, lambda _: False, 10_000_000, 1))
        large = self.save(tmp_path, tar_gz(lambda t: add(t, "x", bytes(2_000_000))))
        with pytest.raises(BadFile, match="far more than it should"):
            read_all(large)

    def test_every_cut_and_every_flipped_byte_is_noticed_or_harmless(self, tmp_path):
        rng = np.random.default_rng(0)
        packed = tar_gz(lambda t: [add(t, f"f{i}", rng.bytes(700)) for i in range(3)])
        whole = read_all(self.save(tmp_path, packed))
        for cut in range(0, len(packed), 37):
            with pytest.raises(BadFile):
                read_all(self.save(tmp_path, packed[:cut]))
        for at in range(10, len(packed), 23):
            broken = bytearray(packed)
            broken[at] ^= 0x55
            assert self.refusal(self.save(tmp_path, bytes(broken)), whole).count("\n") == 0

    def refusal(self, path, allowed):
        """The sentence of the refusal; empty if what came is what was allowed."""
        try:
            found = read_all(path)
        except BadFile as error:
            return str(error)
        assert found == allowed
        return ""

    def test_noise_is_refused(self, tmp_path):
        for content in (b"", b"hello", gzip.compress(b"hello" * 500), gzip.compress(CONTENT[:5000])):
            path = self.save(tmp_path, content)
            assert str(path) in self.refusal(path, None)

    def test_gunzip_has_a_limit(self, tmp_path):
        path = self.save(tmp_path, gzip.compress(b"a" * 1000))
        assert gunzip(path, 1000) == b"a" * 1000
        with pytest.raises(BadFile, match="more than 999"):
            gunzip(path, 999)

    def test_a_hostile_archive_reaches_the_learner_as_a_sentence(self, server, tmp_path):
        packed = tar_gz(lambda t: add(t, "cifar-10-batches-bin/../../x", b"x"))
        server.behaviour.files = {"/cifar10/cifar-10-binary.tar.gz": packed}
        with pytest.raises(BadFile, match="leads out of the archive"):
            cifar10(mirror=server.base, checksum=sha256(packed), folder=tmp_path / "cache")
        assert [p.name for p in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("text", ["", "md5:", "sha256:" + "0" * 32, "md5:" + "g" * 32, "0" * 31])
def test_what_is_not_a_checksum(text):
    with pytest.raises(BadInput, match="not a checksum"):
        parse_checksum(text)
