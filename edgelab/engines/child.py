"""A child process that hosts one native runtime session, and what its death means in one sentence.

A native runtime that reads a hostile or broken model may crash, hang or eat the memory. It does so in a
process of its own: this one gets an `EngineCrash` that names the runtime, the file and what it was doing,
and goes on. Messages are a length, a JSON header and the raw bytes of arrays: nothing is unpickled.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import nursery
from edgelab.errors import (
    BadFile,
    BadInput,
    EdgelabError,
    EngineCrash,
    EngineDied,
    EngineLate,
    MissingFramework,
    ModelRefused,
)

Array = NDArray[Any]
MAX_HEADER_BYTES = 64 * 2**20
MAX_ARRAY_BYTES = 2**34
_LENGTH = struct.Struct("<I")
_STDERR_TAIL_LINES = 40
_ERRORS: dict[str, type[EdgelabError]] = {
    "file": BadFile,
    "refused": ModelRefused,
    "input": BadInput,
    "missing": MissingFramework,
    "crash": EngineCrash,
}


def send(stream: IO[bytes], header: Mapping[str, Any], arrays: Iterable[Array] = ()) -> None:
    """Write one message: length, JSON header (which lists the arrays' types and shapes), raw bytes."""
    contiguous = [np.ascontiguousarray(a).reshape(a.shape) for a in arrays]
    described = {**header, "arrays": [{"dtype": a.dtype.str, "shape": a.shape} for a in contiguous]}
    text = json.dumps(described).encode("utf-8")
    stream.write(_LENGTH.pack(len(text)) + text)
    for array in contiguous:
        if array.size:
            stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[Array]] | None:
    """Read one message; None where the other side has ended.

    Raises
    ------
    ValueError
        If the bytes are no message: the other side is broken.
    """
    prefix = _read_exactly(stream, _LENGTH.size)
    if prefix is None:
        return None
    (length,) = _LENGTH.unpack(prefix)
    if length > MAX_HEADER_BYTES:
        raise ValueError("a message's header is too long")
    text = _read_exactly(stream, length)
    if text is None:
        return None
    header = json.loads(text)
    arrays: list[Array] = []
    for entry in header.pop("arrays"):
        dtype = np.dtype(entry["dtype"])
        shape = tuple(int(n) for n in entry["shape"])
        size = dtype.itemsize * int(np.prod(shape, dtype=np.float64))
        if dtype.hasobject or min(shape, default=0) < 0 or size > MAX_ARRAY_BYTES:
            raise ValueError("a message's array is not sound")
        array = np.empty(shape, dtype)
        if array.size and not _fill(stream, array.reshape(-1).view(np.uint8)):
            return None
        arrays.append(array)
    return header, arrays


class Child:
    """A process that hosts one session of one runtime.

    Parameters
    ----------
    module
        The module whose ``Host`` the child makes: ``"edgelab.engines.onnxruntime"``.
    title
        The runtime's name for people, as it stands in error messages.
    path
        The model file.
    timeout
        Seconds that one call may take before the child is killed.
    memory_bytes
        The most that the child may allocate, where the operating system keeps count (Linux); 0 for four fifths
        of the machine's memory.
    fresh
        True: a process from scratch, as one who measures it needs. False: a copy of one that has imported the
        runtime already, where there is one (`edgelab.engines.nursery`).
    """

    def __init__(
        self, module: str, title: str, path: Path, *, timeout: float, memory_bytes: int = 0, fresh: bool = True
    ) -> None:
        self.title = title
        self.path = path
        self.timeout = timeout
        self._ended = ""
        self._closed = False
        self._lock = threading.Lock()
        self._owner = os.getpid()
        environment = _environment()
        forked = None if fresh else nursery.start(module, memory_bytes, environment)
        self._process: subprocess.Popen[bytes] | nursery.Forked = forked or subprocess.Popen(
            [sys.executable, "-P", "-m", "edgelab.engines.worker", module, str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            creationflags=_windows_flags(),
        )
        self._stderr: collections.deque[str] = collections.deque(maxlen=_STDERR_TAIL_LINES)
        self._drain = threading.Thread(target=_drain, args=(self._process.stderr, self._stderr), daemon=True)
        self._drain.start()
        # An engine that is dropped, or a process that ends, takes its child along.
        self._finalizer = weakref.finalize(self, _end, self._process, self._owner)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._process.poll() is None

    def stderr_tail(self) -> str:
        """The last lines that the child wrote to its standard error (the runtime's own noise included)."""
        return "\n".join(self._stderr)

    def call(
        self, action: str, doing: str, arrays: Sequence[Array] = (), **arguments: Any
    ) -> tuple[dict[str, Any], list[Array]]:
        """Ask the child for ``action`` and return its answer.

        Parameters
        ----------
        action
            The host's method.
        doing
            What it is for, for the sentence if the child dies: ``"running 8 inputs"``.
        arrays, arguments
            What the method takes.

        Raises
        ------
        EngineCrash
            If the child died or timed out, now or before.
        BadFile, BadInput, MissingFramework
            What the runtime in the child complained about; BadInput if it was closed before.
        """
        if self._owner != os.getpid():  # two processes at one pipe would read each other's answers
            raise BadInput(f"{self._where()} belongs to the process that opened it; open the model again in this one.")
        with self._lock:
            if self._closed:
                raise BadInput(f"{self._where()} is closed; open the model again.")
            if self._ended:
                raise EngineCrash(self._ended)
            late = threading.Event()
            watchdog = threading.Timer(self.timeout, self._give_up, (late,))
            watchdog.daemon = True
            watchdog.start()
            try:
                answer = self._exchange({"do": action, "timeout": self.timeout, **arguments}, arrays)
            except BaseException:
                # Interrupted in the middle: what the child says next answers an older question.
                self._ended = f"{self._where()} was interrupted while {doing} and has ended; open the model again."
                self._finalizer()
                raise
            finally:
                watchdog.cancel()
            if answer is None:
                self._ended = self._obituary(doing, late=late.is_set())
                raise (EngineLate if late.is_set() else EngineDied)(self._ended)
        header, replies = answer
        if "error" in header:
            kind, message = str(header["error"]), str(header["message"])
            if kind in _ERRORS:
                raise _ERRORS[kind](message)
            raise EngineCrash(
                f"{self.title} failed while {doing} {self.path} ({message}); try another file or runtime."
            )
        return header, replies

    def close(self) -> None:
        """End the child."""
        self._closed = True
        self._finalizer()

    def _exchange(
        self, request: Mapping[str, Any], arrays: Sequence[Array]
    ) -> tuple[dict[str, Any], list[Array]] | None:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            return None
        try:
            send(stdin, request, arrays)
        except OSError:
            return None
        try:
            return receive(stdout)
        except (OSError, ValueError, KeyError, TypeError):
            # Not a message: its memory is corrupt, and it counts as dead.
            return None

    def _give_up(self, late: threading.Event) -> None:
        late.set()
        self._process.kill()

    def _where(self) -> str:
        return f"{self.title} with {self.path}"

    def _obituary(self, doing: str, *, late: bool) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        code = self._process.returncode
        self._finalizer()
        self._drain.join(1.0)
        how = f"gave no answer within {self.timeout:g} s and was stopped" if late else f"died ({exit_reason(code)})"
        noise = last_line("\n".join(line for line in self._stderr if not line.startswith("INFO:")))
        said = f"; it last said: {noise}" if noise and not late else ""
        return (
            f"{self.title} {how} while {doing} {self.path}{said}; "
            "this process is unharmed, try another model file or runtime."
        )


def exit_reason(code: int | None) -> str:
    """A process's exit code in words.

    Examples
    --------
    >>> exit_reason(3)
    'exit code 3'
    """
    if code is None:
        return "its answer was not readable"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        meaning = {"SIGSEGV": ", a memory access error", "SIGKILL": ", killed, often because memory ran out"}
        return name + meaning.get(name, "")
    # Windows: the codes of an exception (STATUS_ACCESS_VIOLATION and its kin).
    windows = {0xC0000005: ", a memory access error", 0xC00000FD: ", a stack overflow", 0xC0000409: ", abort"}
    return f"exit code {code if code < 2**16 else hex(code)}{windows.get(code, '')}"


def last_line(text: str, limit: int = 200) -> str:
    """The last line of ``text`` that says something, cut to ``limit`` characters."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if len(lines[-1]) <= limit else lines[-1][: limit - 1] + "…"


def _read_exactly(stream: IO[bytes], size: int) -> bytes | None:
    buffer = bytearray(size)
    return bytes(buffer) if _fill(stream, memoryview(buffer)) else None


def _fill(stream: IO[bytes], buffer: Any) -> bool:
    view = memoryview(buffer)
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            return False
        filled += count
    return True


def _drain(stream: IO[bytes] | None, tail: collections.deque[str]) -> None:
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError), stream:
        for line in iter(lambda: stream.readline(4096), b""):
            tail.append(line.decode("utf-8", "replace").rstrip())


def _end(process: subprocess.Popen[bytes] | nursery.Forked, owner: int) -> None:
    if owner != os.getpid():  # a fork of the owner: the child is not its own, and what it buffered is not to be sent
        return
    if process.poll() is None:
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5.0)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _environment() -> dict[str, str]:
    """The environment of this process with this package importable, wherever it was imported from."""
    root = str(Path(__file__).resolve().parents[2])
    known = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, *[entry for entry in known if entry != root]])}


def _windows_flags() -> int:
    if sys.platform == "win32":
        # No console window, and a Ctrl-C meant for the parent does not reach the child.
        return subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    return 0
