"""A server for devices on this machine: a repository's signed files, turns, and reports.

It needs no trust: it holds no key, and what it changes no device takes. It can hold a release back from a device, which
is what a rollout does with it.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgelab.errors import BadFile, BadInput, EdgelabError
from edgelab.files import expanded
from edgelab.ota.keys import holds_private
from edgelab.ota.manifest import now
from edgelab.ota.publisher import refuse_private
from edgelab.ota.storage import checked_name

REPORTS = "reports.jsonl"
MOST_BODY_BYTES = 64 * 1024
MOST_DISCARDED_BYTES = 2**20
MOST_REPORTS_BYTES = 256 * 2**20
_SERVED = ("metadata/", "targets/", "root.json")
_RANGE = re.compile(r"bytes=([0-9]{1,15})-")
_LENGTH = re.compile(r"[0-9]{1,9}")
_PART_BYTES = 64 * 1024
Answer = Callable[[dict[str, Any]], dict[str, Any]]


def offer_to_all(_asked: dict[str, Any]) -> dict[str, Any]:
    """The newest release for every device that asks: no rollout."""
    return {"offer": True, "reason": ""}


def make_server(
    repository: Path, port: int = 0, *, offer: Answer = offer_to_all, report: Answer | None = None
) -> ThreadingHTTPServer:
    """A server on the loopback address; ``serve_forever`` runs it, ``shutdown`` and ``server_close`` end it.

    Parameters
    ----------
    repository
        What is served: its metadata and targets, nothing else.
    port
        Its port, or 0 for a free one.
    offer
        Says whether a device may take a release: ``{"offer": bool, "reason": str}`` for what the device says of itself.
    report
        Takes a device's report, with the time under ``"at"``; without it, reports are appended to ``reports.jsonl``.

    Raises
    ------
    BadFile
        If the folder is no repository, or holds private keys.
    BadInput
        If the port cannot be had.
    """
    folder = expanded(repository)
    if not (folder / "metadata" / "timestamp.json").is_file():
        raise BadFile(f"{folder} is no repository; make one with `edgelab ota init`.")
    refuse_private(folder)
    take = report or Reports(folder)

    class Handler(_Handler):
        served = folder
        posts: dict[str, Answer] = {"offer": offer, "report": take}  # noqa: RUF012 - read only

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that goes away is nothing to report."""
            if not isinstance(sys.exc_info()[1], OSError):
                super().handle_error(request, client_address)

    try:
        return Server(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"Port {port} cannot be had ({reason}); name another one with --port.") from None


def url_of(server: ThreadingHTTPServer) -> str:
    """A server's address."""
    return f"http://127.0.0.1:{server.server_address[1]}"


@contextlib.contextmanager
def serving(repository: Path, **settings: Any) -> Iterator[str]:
    """Serve a repository in a thread of this process while the block runs; gives the address."""
    server = make_server(repository, **settings)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield url_of(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)


class Reports:
    """Appends reports to a file, a line of JSON each."""

    def __init__(self, repository: Path) -> None:
        self.path = repository / REPORTS
        self.lock = threading.Lock()

    def __call__(self, report: dict[str, Any]) -> dict[str, Any]:
        """Keep one report."""
        line = json.dumps(report, sort_keys=True) + "\n"
        with self.lock:
            if self.path.exists() and self.path.stat().st_size > MOST_REPORTS_BYTES:
                return {"kept": False}
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(line)
        return {"kept": True}


class _Handler(BaseHTTPRequestHandler):
    served: Path
    posts: dict[str, Answer]
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True  # otherwise each answer takes 40 ms
    server_version, sys_version = "edgelab", ""

    def do_GET(self) -> None:
        """A file of the repository, from where the device has it up to."""
        path = unquote(urlsplit(self.path).path).lstrip("/")
        try:
            file = self.served / checked_name(path)
            inside = file.resolve().is_relative_to(self.served.resolve())
            if not (path.startswith(_SERVED) and inside and file.is_file()) or holds_private(file):
                raise BadInput("It is not served.")  # noqa: TRY301
            stream = file.open("rb")
        except (BadInput, OSError):
            self._answer(404, {"error": "There is no such file."})
            return
        with stream:
            size = file.stat().st_size
            asked = _RANGE.fullmatch(self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            if asked and start >= size:
                self._answer(416, {"error": "There is no more of it."})
                return
            self.send_response(206 if asked else 200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(size - start))
            self.send_header("Accept-Ranges", "bytes")
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.end_headers()
            stream.seek(start)
            with contextlib.suppress(OSError):
                while part := stream.read(_PART_BYTES):
                    self.wfile.write(part)

    def do_POST(self) -> None:
        """What a device says: its turn, its report."""
        answer = self.posts.get(urlsplit(self.path).path.lstrip("/"))
        length = self.headers.get("Content-Length", "")
        if answer is None or not _LENGTH.fullmatch(length) or int(length) > MOST_BODY_BYTES:
            if _LENGTH.fullmatch(length):  # a body that is not read can cost the client its answer
                self.rfile.read(min(int(length), MOST_DISCARDED_BYTES))
            self._answer(404 if answer is None else 413, {"error": "It is not taken."}, last=True)
            return
        try:
            data = json.loads(self.rfile.read(int(length)), parse_constant=_no_number, parse_float=_finite)
            if not isinstance(data, dict):
                raise BadInput("A device sends a JSON object.")
            found = answer({**data, "at": now().isoformat()})
        except KeyError as error:
            self._answer(400, {"error": f"What a device sends lacks {str(error)[:80]}."})
            return
        except (EdgelabError, ValueError, TypeError, RecursionError, OSError) as error:
            self._answer(400, {"error": " ".join(str(error).split())[:200]})
            return
        self._answer(200, found)

    def _answer(self, status: int, data: dict[str, Any], *, last: bool = False) -> None:
        """Answer; the ``last`` answer says that the connection ends, so that no request is sent into its end."""
        content = json.dumps(data).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if last:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing prints here."""


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number.")
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON.")
