"""The child's side: ``python -m edgelab.engines.worker MODULE MEMORY`` makes that module's ``Host`` and serves it.

Nothing that a native library prints can corrupt the channel: before anything else is imported, the two
pipes move to descriptors of their own, and standard output becomes standard error. The process ends when
its parent does: a thread of its own reads the requests and leaves at end of file, even while the
runtime is busy.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import queue
import signal
import sys
import threading
from typing import IO, Any

# How much longer than the parent the child waits before it ends itself.
_GRACE_SECONDS = 10.0


def main(module: str, memory_bytes: int) -> None:
    """Serve requests to the ``Host`` of ``module`` until the parent closes the pipe.

    The first request makes the host, and ``Host.describe`` answers it; each later one calls the host's method of
    its name with the arrays and arguments that came along. ``memory_bytes`` is the most that this process may
    allocate, 0 for four fifths of what its machine or container has.
    """
    requests_stream, answers = _private_channel()
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    _limit_memory(memory_bytes)

    from edgelab.engines.child import last_line, receive, send
    from edgelab.errors import BadFile, BadInput, EngineCrash, MissingFramework, ModelRefused

    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            try:
                message = receive(requests_stream)
            except (OSError, ValueError):
                message = None
            if message is None:
                os._exit(0)
            requests.put(message)

    threading.Thread(target=listen, daemon=True).start()
    host: Any = None
    while True:
        header, arrays = requests.get()
        action = header.pop("do")
        # A C thread ends this process where native code hangs with the interpreter lock held and the parent is gone.
        faulthandler.dump_traceback_later(header.pop("timeout") + _GRACE_SECONDS, exit=True)
        try:
            if action == "open":
                host = importlib.import_module(module).Host(**header)
                answer, replies = host.describe(), []
            else:
                answer, replies = getattr(host, action)(*arrays, **header)
        except (BadFile, BadInput, EngineCrash, MissingFramework) as error:
            kinds = {BadFile: "file", BadInput: "input", EngineCrash: "crash", MissingFramework: "missing"}
            kind = {**kinds, ModelRefused: "refused"}[type(error)]
            answer, replies = {"error": kind, "message": str(error)}, []
        except MemoryError:
            answer, replies = {"error": "memory", "message": f"The memory did not suffice for '{action}'."}, []
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent gets a sentence
            answer, replies = {"error": "unforeseen", "message": f"{type(error).__name__}: {last_line(str(error))}"}, []
        finally:
            faulthandler.cancel_dump_traceback_later()
        send(answers, answer, replies)


def _private_channel() -> tuple[IO[bytes], IO[bytes]]:
    incoming, outgoing = os.dup(0), os.dup(1)
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (incoming, outgoing):
            msvcrt.setmode(descriptor, os.O_BINARY)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device, not a path
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return os.fdopen(incoming, "rb"), os.fdopen(outgoing, "wb")


def _limit_memory(memory_bytes: int) -> None:
    """Let an absurd allocation fail in this process instead of pushing the machine into its swap."""
    try:
        import resource
    except ImportError:
        return
    from edgelab import limits

    most = int(limits.memory_bytes() * 0.8)
    limit = min(memory_bytes or most, most)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
