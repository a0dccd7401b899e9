"""Children by fork: one process imports a runtime once, and each child is a copy of it.

Starting Python and importing a runtime takes longer than most of what a lab asks of a child. On Linux one process for
each runtime, the nursery, does both once and never sees a model file; every child is forked from it, with its own
pipes, and dies alone. Where that cannot be had, `start` says so and the caller starts a process from scratch.

The nursery ends with the process that it serves: at the end of file of the socket between the two.
"""

from __future__ import annotations

import atexit
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
from collections.abc import Mapping
from typing import IO

PRELOADED: Mapping[str, tuple[str, ...]] = {
    "edgelab.engines.cortexm_host": ("unicorn", "unicorn.arm_const", "unicorn.unicorn_const"),
    "edgelab.engines.litert": ("ai_edge_litert.interpreter",),
    "edgelab.engines.onnxruntime": (),  # importing the runtime itself starts a thread, which no fork would have
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
_PATIENCE_SECONDS = 30.0


class Forked:
    """A child of the nursery, with what `subprocess.Popen` has and `edgelab.engines.child.Child` needs."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes], status: IO[bytes]) -> None:
        self.pid = pid
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.returncode: int | None = None
        self._status = status
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
        with self._lock:
            if self.returncode is None and _readable(self._status.fileno(), seconds):
                said = self._status.read(STATUS.size) or b""
                # The nursery itself is gone: it was killed, and its child with it.
                self.returncode = STATUS.unpack(said)[0] if len(said) == STATUS.size else -int(signal.SIGKILL)
                if len(said) < STATUS.size:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self.pid, signal.SIGKILL)
                self._status.close()
            return self.returncode


def _accepted(answer: bytes) -> int:
    pid = int(STATUS.unpack(answer)[0]) if len(answer) == STATUS.size else REFUSED
    if pid == REFUSED:
        raise OSError("the nursery forks no child")
    return pid


def _readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


class _Nursery:
    """The parent's side of one nursery."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.owner = os.getpid()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_PATIENCE_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "edgelab.engines.nursery_host", str(theirs.fileno()), module],
                stdin=subprocess.DEVNULL,
                env={**self.environment, "OPENBLAS_NUM_THREADS": "1"},  # NumPy shall start no thread either
                pass_fds=[theirs.fileno()],
            )

    def fork(self, memory_bytes: int) -> Forked:
        """A new child; raises `OSError` where there can be none."""
        (child_in, stdin), (stdout, child_out), (stderr, child_err), (status, child_status) = (
            os.pipe() for _ in range(4)
        )
        ours, theirs = [stdin, stdout, stderr, status], [child_in, child_out, child_err, child_status]
        request = {"memory": memory_bytes, "folder": os.getcwd(), "cores": sorted(os.sched_getaffinity(0))}  # noqa: PTH109
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], theirs)
            pid = _accepted(self._socket.recv(STATUS.size))
        except OSError:
            for descriptor in ours:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        return Forked(
            pid,
            os.fdopen(stdin, "wb"),
            os.fdopen(stdout, "rb"),
            os.fdopen(stderr, "rb"),
            os.fdopen(status, "rb", buffering=0),
        )

    def close(self) -> None:
        """Let it end; its children go on until their own pipes close."""
        self._socket.close()
        if self.owner == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)


_nurseries: dict[str, _Nursery | None] = {}
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
        nursery = _nurseries.get(module)
        if module in _nurseries and nursery is None:
            return None
        try:
            if nursery is None or nursery.owner != os.getpid() or nursery.environment != environment:
                if nursery is not None:
                    nursery.close()
                nursery = _nurseries[module] = _Nursery(module, environment)
            return nursery.fork(memory_bytes)
        except OSError:
            if nursery is not None:
                nursery.close()
            _nurseries[module] = None  # from now on from scratch
            return None


@atexit.register
def _close_all() -> None:
    for nursery in _nurseries.values():
        if nursery is not None:
            nursery.close()
