"""`view`: a model file as a graph in the browser, drawn by Netron from its own pages, with nothing sent anywhere.

Netron's server offers every file beside the model, its page reports its use and asks who you are, and after half a year
it draws nothing before it is updated. So its pages are served from here: with the files of the model alone, on
loopback, and under a policy by which the browser connects to this server and no other.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import util
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from edgelab.compress.modelfile import files_of
from edgelab.errors import BadInput, MissingFramework
from edgelab.files import expanded, refuse_pointer
from edgelab.models import existing_file, is_mlpackage

_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; worker-src 'self' blob:; frame-src 'none'; form-action 'none'; base-uri 'none'"
)
_DATA = "/data/"


def make_viewer(model: str | Path, port: int = 0) -> ThreadingHTTPServer:
    """A server on the loopback address that shows a model file; ``serve_forever`` runs it.

    Parameters
    ----------
    model
        Any file that Netron draws: .onnx (with the files of its weights), .tflite, .pt2, .keras, .mlpackage and more.
    port
        Its port, or 0 for a free one.

    Raises
    ------
    BadFile
        If the file is missing or empty.
    BadInput
        If the port cannot be had.
    MissingFramework
        If netron is not installed.
    """
    path = expanded(model) if is_mlpackage(model) else existing_file(model)
    if path.is_file():
        refuse_pointer(path)
    found = util.find_spec("netron")
    pages = list(found.submodule_search_locations or ()) if found else []
    if not pages:
        raise MissingFramework("Netron, which draws the graph, is not installed; add it with: uv pip install netron")
    root = path if path.is_dir() else path.parent
    files = {file.relative_to(root).as_posix(): file for file in files_of(path) if file.is_relative_to(root)}
    shown = _shown(path, files)

    class Handler(_Handler):
        served, name, title = files, shown, path.name

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=pages[0])

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    try:
        return Server(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"Port {port} cannot be had ({reason}); name another one with --port.") from None


@contextlib.contextmanager
def viewing(model: str | Path, port: int = 0) -> Iterator[str]:
    """Serve the graph of a model in a thread of this process while the block runs; gives the address."""
    server = make_viewer(model, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)


def _shown(path: Path, files: Mapping[str, Path]) -> str:
    """The file that the page opens: the model, of a package the one with its program."""
    return path.name if path.is_file() else next(name for name in files if name.endswith(".mlmodel"))


class _Handler(SimpleHTTPRequestHandler):
    served: Mapping[str, Path]
    name: str
    title: str
    server_version, sys_version = "edgelab", ""

    def do_GET(self) -> None:
        """Netron's page, one of its scripts, or a file of the model."""
        port = int(self.server.server_port)  # type: ignore[attr-defined]
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):  # another site's name for it
            self.send_error(403, "This server answers to its own address alone.")
            return
        path = unquote(urlsplit(self.path).path)
        if path in ("/", "/index.html"):
            self._send(self._page(), "text/html; charset=utf-8")
        elif path.startswith(_DATA):
            file = self.served.get(path.removeprefix(_DATA))
            try:
                content = None if file is None else file.read_bytes()
            except OSError:
                content = None
            if content is None:
                self.send_error(404)
            else:
                self._send(content, "application/octet-stream")
        elif "." in path.rpartition("/")[2] and not path.endswith((".py", ".pyc")):
            super().do_GET()
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        """As `do_GET`, without the content."""
        self.do_GET()

    def _page(self) -> bytes:
        text = (Path(self.directory) / "index.html").read_text(encoding="utf-8")
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        told = {"type": "Python", "version": "0.0.0", "date": now, "file": _DATA + quote(self.name), "name": self.title}
        escaped = {key: value.replace("&", "&amp;").replace('"', "&quot;") for key, value in told.items()}
        lines = "\n".join(f'<meta name="{key}" content="{value}">' for key, value in escaped.items())
        text = re.sub(r'<meta name="(?:version|date)" content="[^"]*">\n?', "", text)
        return text.replace("<title>", f"{lines}\n<title>", 1).encode()

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(content)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Set-Cookie", "consent=0; SameSite=Strict")  # Netron asks for it, and it is not needed
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing prints here."""
