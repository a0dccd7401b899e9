"""Children by fork: one process imports a runtime once, and each child is a copy of it.

Starting Python and importing a runtime takes longer than most of what a lab asks of a child. On Linux one process for
each runtime, the nursery, does both once and never sees a model file; every child is forked from it, with its own
pipes, and dies alone. Where that cannot be had, `start` says so and the caller starts a process from scratch.

A copy is not a measure of a process: its resident set lacks the pages of the libraries that its parent touched, and it
pays for each page that it writes first. What a process needs, and how long it loads, is asked of one from scratch.

The nursery ends with the process that it serves, at the end of file of the socket between the two, and after its last
child: a nursery that was replaced stays until then.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import IO

PRELOADED: Mapping[str, tuple[str, ...]] = {
    "edgelab.engines.cortexm_host": ("unicorn", "unicorn.arm_const", "unicorn.unicorn_const"),
    "edgelab.engines.litert": ("ai_edge_litert.interpreter",),
    "edgelab.engines.onnxruntime": (),  # importing the runtime itself starts a thread, which no fork would have
    "edgelab.models.onnx_file": ("onnx",),
    "edgelab.models.tflite_file": (),
    "edgelab.engines.tflm": (
        "tflite_micro.python.tflite_micro.runtime",
        "tflite_micro.tensorflow.lite.micro.python.schema_py_generated",
    ),
}
"""The modules whose hosts are forked, and what their children would import first."""
STATUS = struct.Struct("<i")
"""How an exit code, and a child's number, are told."""
REFUSED = -1
"""The number of a child that was not made."""
DESCRIPTORS = 5
"""What a request brings along: the child's three streams, the one for its exit code, and the folder it works in."""
_LIMITS = ("RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_STACK")
_PATIENCE_SECONDS = 30.0
_MOST_FAILURES = 3


class Forked:
    """A child of the nursery, with what `subprocess.Popen` has and `edgelab.engines.child.Child` needs."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes], status: IO[bytes]) -> None:
        self.pid = pid
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.returncode: int | None = None
        self._status = status
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._learn(0.0)

    def wait(self, timeout: float) -> int:
        """The exit code, once it has ended; raises `subprocess.TimeoutExpired`."""
        code = self._learn(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a forked child", timeout)
        return code

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _learn(self, seconds: float) -> int | None:
        if self._owner != os.getpid():
            return 0  # as `subprocess.Popen` has it: a fork of the owner has no say over the owner's children
        # Who waits holds the lock; another thread that only looks sees what is known so far.
        if not self._lock.acquire(timeout=seconds):
            return self.returncode
        try:
            if self.returncode is None and _readable(self._status.fileno(), seconds):
                said = self._status.read(STATUS.size) or b""
                # End of file: the nursery itself was killed, and nobody can tell how the child ended.
                self.returncode = STATUS.unpack(said)[0] if len(said) == STATUS.size else -int(signal.SIGKILL)
                if len(said) < STATUS.size:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self.pid, signal.SIGKILL)
                self._status.close()
            return self.returncode
        finally:
            self._lock.release()


class _RefusedError(OSError):
    """The nursery answered, and forks no child."""


def _accepted(answer: bytes) -> int:
    if len(answer) != STATUS.size:
        raise OSError("the nursery has ended")
    pid = int(STATUS.unpack(answer)[0])
    if pid == REFUSED:
        raise _RefusedError("the nursery forks no child")
    return pid


def _readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


class _Nursery:
    """The parent's side of one nursery."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_PATIENCE_SECONDS)
        with theirs, _interrupts_held_back():
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "edgelab.engines.nursery_host", str(theirs.fileno()), module],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # what an import prints is no business of who opens an engine
                stderr=subprocess.DEVNULL,
                env={**self.environment, "OPENBLAS_NUM_THREADS": "1"},  # NumPy shall start no thread either
                pass_fds=[theirs.fileno()],
            )
        # At the exit, later finalizers run first: its children have ended by then.
        self._finalizer = weakref.finalize(self, _let_end, self._socket, self._process, os.getpid())

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def fork(self, memory_bytes: int) -> Forked:
        """A new child; raises `OSError` where there can be none. After any other exception it is not to be used."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:

            def pipe(*, child_reads: bool) -> tuple[int, int]:
                ends = os.pipe()
                for descriptor in ends:
                    kept = ours if (descriptor == ends[1]) == child_reads else theirs
                    kept.callback(os.close, descriptor)
                return ends

            child_in, stdin = pipe(child_reads=True)
            (stdout, child_out), (stderr, child_err), (status, child_status) = (
                pipe(child_reads=False) for _ in range(3)
            )
            folder = os.open(".", os.O_PATH | os.O_DIRECTORY)  # it may have no name any more
            theirs.callback(os.close, folder)
            import resource

            request = {
                "memory": memory_bytes,
                "cores": sorted(os.sched_getaffinity(0)),
                "limits": {name: resource.getrlimit(getattr(resource, name)) for name in _LIMITS},
            }
            descriptors = [child_in, child_out, child_err, child_status, folder]
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            pid = _accepted(self._socket.recv(STATUS.size))
            ours.pop_all()
        return Forked(
            pid,
            os.fdopen(stdin, "wb"),
            os.fdopen(stdout, "rb"),
            os.fdopen(stderr, "rb"),
            os.fdopen(status, "rb", buffering=0),
        )

    def close(self) -> None:
        """Take no more of it; it ends after its last child."""
        self._finalizer()

    def forget(self) -> None:
        """Close what a fork of this process inherited, and leave the nursery to its owner."""
        self._finalizer.detach()
        self._socket.close()


def _let_end(control: socket.socket, process: subprocess.Popen[bytes], owner: int) -> None:
    control.close()
    if owner == os.getpid():
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            _retired.append(process)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """A process that starts here meets no SIGINT before it has decided on it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_nurseries: dict[str, _Nursery] = {}
_failures: collections.Counter[str] = collections.Counter()
_retired: list[subprocess.Popen[bytes]] = []
_lock = threading.Lock()


def start(module: str, memory_bytes: int, environment: Mapping[str, str]) -> Forked | None:
    """A forked child that serves ``module``, or None where it has to be started from scratch.

    Parameters
    ----------
    module, memory_bytes
        As `edgelab.engines.worker.main` takes them.
    environment
        The child's environment variables. A nursery has those that it was started with; others need a new one.
    """
    if sys.platform != "linux" or module not in PRELOADED or os.environ.get("EDGELAB_NURSERY") == "off":
        return None
    with _lock:
        if _failures[module] >= _MOST_FAILURES:
            return None  # from now on from scratch
        _retired[:] = [process for process in _retired if process.poll() is None]
        nursery = _nurseries.get(module)
        if nursery is not None and (nursery.environment != environment or not nursery.alive):
            _nurseries.pop(module).close()
            nursery = None
        try:
            if nursery is None:
                nursery = _nurseries[module] = _Nursery(module, environment)
            return nursery.fork(memory_bytes)
        except _RefusedError:
            _failures[module] += 1
            return None
        except BaseException as error:
            # Its answer may still come: nobody shall take it for the next child's.
            if module in _nurseries:
                _nurseries.pop(module).close()
            if not isinstance(error, OSError):
                raise
            _failures[module] += 1
            return None


def _forget_all() -> None:
    """In a fork of this process: the nurseries are the owner's, and a thread that is not here may hold the lock."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    for nursery in _nurseries.values():
        nursery.forget()
    _nurseries.clear()
    _failures.clear()
    _retired.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
