"""The nursery's own side: ``python -m edgelab.engines.nursery_host DESCRIPTOR MODULE`` forks that module's children.

It imports what they need, holds no model file, and runs one thread: a fork copies no other. Each request comes with
five descriptors: the child's three streams, the one on which its exit code is told, and the folder it works in. When
nobody asks any more, it stays until its last child has ended: their exit codes are still waited for.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from edgelab.engines import worker
from edgelab.engines.nursery import DESCRIPTORS, PRELOADED, REFUSED, STATUS

_MOST_BYTES = 2**16


def serve(control: socket.socket, module: str) -> None:
    """Fork a child for each request until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # it was held back until here
    importlib.import_module(module)
    for name in PRELOADED.get(module, ()):
        with contextlib.suppress(ImportError, OSError):  # the child says what is missing
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, int] = {}
    open_for_requests = True
    while open_for_requests or children:
        waited_for = [woken, control.fileno()] if open_for_requests else [woken]
        ready, _, _ = select.select(waited_for, [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 512)
        _report_the_dead(children)
        if open_for_requests and control.fileno() in ready:
            open_for_requests = _answer(control, module, children, [woken, wake])


def _answer(control: socket.socket, module: str, children: dict[int, int], own: list[int]) -> bool:
    """Fork the child that is asked for; whether more may come."""
    request, descriptors = _received(control)
    pid = REFUSED
    if request and len(descriptors) == DESCRIPTORS and _single_threaded():
        with contextlib.suppress(OSError):  # no more processes: the parent tries it from scratch
            pid = os.fork()
        if not pid:
            _become_child(json.loads(request), descriptors, [control.fileno(), *own, *children.values()], module)
    for number, descriptor in enumerate(descriptors):
        if number == 3 and pid != REFUSED:
            children[pid] = descriptor
        else:
            os.close(descriptor)
    if request:
        with contextlib.suppress(OSError):  # nobody waits for it any more; the next look at the socket ends this
            control.send(STATUS.pack(pid))
    return bool(request)


def _single_threaded() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    except OSError:  # no /proc: nobody knows
        return False


def _report_the_dead(children: dict[int, int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        descriptor = children.pop(pid)
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(descriptor, STATUS.pack(os.waitstatus_to_exitcode(status)))
        os.close(descriptor)


def _received(control: socket.socket) -> tuple[bytes, list[int]]:
    descriptors = array.array("i")
    try:
        request, ancillary, _, _ = control.recvmsg(_MOST_BYTES, socket.CMSG_SPACE(DESCRIPTORS * descriptors.itemsize))
    except OSError:
        return b"", []
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) // descriptors.itemsize * descriptors.itemsize])
    return request, list(descriptors)


def _become_child(request: dict[str, Any], descriptors: list[int], foreign: list[int], module: str) -> NoReturn:
    """What the forked process does; it never returns to the nursery's loop."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (*foreign, descriptors[3]):
            os.close(descriptor)
        for number, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, number)  # the nursery's own three are open, so none of these is among them
            os.close(descriptor)
        os.fchdir(descriptors[4])
        os.close(descriptors[4])
        with contextlib.suppress(OSError):  # cores that are not to be had any more
            os.sched_setaffinity(0, request["cores"])
        for name, limits in request["limits"].items():
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(getattr(resource, name), tuple(limits))
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()  # else every child would draw the same numbers
        worker.main(module, int(request["memory"]))
        code = 0
    except BaseException:  # noqa: BLE001 - what it was goes to the parent, which holds the other end of the pipe
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
