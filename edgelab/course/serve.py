"""JupyterLab on the labs: in the browser where there is a screen, as an address where there is none.

The server listens on this machine only, on the first free port, and takes the kernel of this interpreter. It ends with
the process that started it, however that ends (see `edgelab.course.lab_server`).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgelab.course import build, copies, paths
from edgelab.course.labs import Lab, all_labs, find
from edgelab.errors import LabError

_PORTS = 100
_START_SECONDS = 90.0


@dataclass(frozen=True)
class Server:
    """A JupyterLab that answers: its process and the address that opens the lab, token included."""

    process: subprocess.Popen[bytes]
    address: str
    port: int
    token: str


def open_lab(name: str | None, port: int, *, browser: bool, say: Callable[[str], None]) -> int:
    """Serve the labs and open one, until the server ends or the user interrupts.

    Parameters
    ----------
    name
        The lab; the first one without it.
    port
        The port to try first.
    browser
        Open a browser, if there is a screen.
    say
        Takes the sentences for the user.

    Returns
    -------
    int
        0 after the user's interrupt, else the server's exit status.

    Raises
    ------
    BadFile
        If the learner's work or progress could not be saved here.
    LabError
        If there is no such lab, or the server does not start.
    """
    lab = find(name) if name else all_labs()[0]
    if not os.environ.get("EDGELAB_RUNS") and not copies.is_own(paths.home()):
        os.environ["EDGELAB_RUNS"] = str(copies.folder().parent)
        say(f"{paths.home()} is not yours to write to, so your work goes to {copies.folder().parent}.")
    paths.ready(paths.runs())
    say(str(copies.ready(lab)))
    with serving(lab, port) as server:
        shown = browser and has_screen() and _open_browser(server.address)
        say(f"JupyterLab {'is open in your browser' if shown else 'serves'} at {server.address}")
        say(f"Stop it with Ctrl-C. Your work is saved in {paths.shown(copies.folder())}.")
        try:
            return server.process.wait()
        except KeyboardInterrupt:
            return 0


@contextlib.contextmanager
def serving(lab: Lab, port: int, extra: tuple[str, ...] = ()) -> Iterator[Server]:
    """A running JupyterLab that shows ``lab``; it ends with the block.

    Raises
    ------
    LabError
        If no port is free, or the server does not start; its last words are in the message.
    """
    notebook = copies.learners(lab)
    if not notebook.exists():
        build.build([lab.slug])
    free, token = free_port(port), secrets.token_urlsafe(16)
    command, environment = server_command(notebook, free, token)
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            [*command, *extra],
            env=environment,
            cwd=paths.home(),
            stdin=subprocess.PIPE,  # held open and never written to: its end tells the server that this process ended
            stdout=words,
            stderr=words,
        )
        try:
            yield Server(process, _when_ready(process, free, token, notebook, words), free, token)
        finally:
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                    process.wait(10)
                process.kill()
            if process.stdin is not None:
                process.stdin.close()


def server_command(notebook: Path, port: int, token: str) -> tuple[list[str], Mapping[str, str]]:
    """The command and the environment of a JupyterLab that shows ``notebook``, on the loopback address."""
    home = paths.home()
    root = _root(notebook)
    environment = {
        **os.environ,
        "JUPYTER_TOKEN": token,  # not on the command line, where every user of the machine can read it
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_CONFIG_PATH": os.pathsep.join(
            [str(Path(__file__).with_name("jupyter")), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
        ),
        "EDGELAB_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }
    if root != home:  # what a kernel keeps of tries and guesses goes where the copies are
        environment.setdefault("EDGELAB_RUNS", str(root))
    command = [
        *(sys.executable, "-m", "edgelab.course.lab_server", "--no-browser", "--log-level=ERROR"),
        "--ServerApp.answer_yes=True",
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{notebook.relative_to(root).as_posix()}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command, environment


def _root(notebook: Path) -> Path:
    """The folder that JupyterLab serves: the clone, or where the learner's copies are if they lie outside of it."""
    home = paths.home()
    return home if notebook.is_relative_to(home) else notebook.parent.parent


def free_port(first: int) -> int:
    """The first free port of the loopback address from ``first`` on.

    Raises
    ------
    LabError
        If a hundred in a row are taken.
    """
    for port in range(first, min(first + _PORTS, 65_536)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise LabError(f"No port from {first} on is free; choose another with --port.")


def has_screen() -> bool:
    """Whether a browser that is opened here would be seen: not over SSH, not without a display."""
    if any(os.environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT")):
        return False
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_browser(address: str) -> bool:
    import webbrowser

    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


def _when_ready(process: subprocess.Popen[bytes], port: int, token: str, notebook: Path, words: IO[bytes]) -> str:
    """Wait until the server answers with its token; the address that opens the lab."""
    asked = urllib.request.Request(  # our own server
        f"http://127.0.0.1:{port}/api/status", headers={"Authorization": f"token {token}"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            words.seek(0)
            said = words.read().decode(errors="replace").strip().splitlines() or ["it gave no reason"]
            raise LabError(f"JupyterLab did not start ({said[-1][:200]}).")
        # A caller whose own port happens to be the server's talks to itself until the server listens: no status line.
        not_yet = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
        with contextlib.suppress(*not_yet), direct.open(asked, timeout=5):
            path = notebook.relative_to(_root(notebook)).as_posix()
            return f"http://127.0.0.1:{port}/lab/tree/{path}?token={token}"
        time.sleep(0.1)
    raise LabError(f"JupyterLab did not answer within {_START_SECONDS:g} s.")
