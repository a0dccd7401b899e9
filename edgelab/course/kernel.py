"""The kernel that executes a lab: this interpreter, no machine-wide kernel spec, its memory watched.

A kernel spec named ``python3`` may belong to another environment, so none is looked up: the kernel is started as
IPython itself would describe it for ``sys.executable``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

_EVERY_SECONDS = 0.5


@dataclass
class Watch:
    """The largest memory that a kernel and its child processes took together, sampled twice a second.

    Resident memory is summed over the processes, so that pages which they share count more than once: an upper bound.
    The kernel's own short peaks between two samples are known where the system records them (Linux).
    """

    peak_bytes: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def follow(self, pid: int) -> None:
        """Sample the tree of ``pid`` in a thread until it ends or `stop` is called."""
        threading.Thread(target=self._run, args=(pid,), daemon=True).start()

    def stop(self) -> None:
        """End the sampling."""
        self._stop.set()

    def _run(self, pid: int) -> None:
        with contextlib.suppress(psutil.Error):
            kernel = psutil.Process(pid)
            while True:
                total = kernel.memory_info().rss
                for child in kernel.children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        total += child.memory_info().rss
                self.peak_bytes = max(self.peak_bytes, total, _recorded_peak(pid))
                if self._stop.wait(_EVERY_SECONDS):
                    return


def _recorded_peak(pid: int) -> int:
    """The largest resident memory of one process so far, in bytes, where Linux tells it; else 0."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def manager_class(watch: Watch, environment: Mapping[str, str], words: IO[bytes]) -> type:
    """A kernel manager class for nbclient and papermill.

    Parameters
    ----------
    watch
        Follows the memory of the kernel that is started.
    environment
        Environment variables of the kernel beside this process's own.
    words
        A file for what the kernel's process writes to its own output and error streams: warnings of native
        libraries, and its last words if it dies.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(KernelSpecManager):  # type: ignore[misc]
        def get_kernel_spec(self, kernel_name: str) -> Any:  # noqa: ARG002
            return KernelSpec(**get_kernel_dict())

    class LabKernelManager(AsyncKernelManager):  # type: ignore[misc]
        def __init__(self, **settings: Any) -> None:
            if AsyncKernelManager.class_traits().get("transport_encryption") is not None:
                settings.setdefault("transport_encryption", "auto")
            super().__init__(kernel_spec_manager=ThisInterpreter(), **settings)

        async def _async_start_kernel(self, **settings: Any) -> None:
            settings["env"] = {**os.environ, **environment}
            settings["env"].pop("JPY_SESSION_NAME", None)
            await super()._async_start_kernel(**settings, stdout=words, stderr=words)
            watch.follow(self.provisioner.pid)

        start_kernel = _async_start_kernel

    return LabKernelManager


@contextlib.contextmanager
def quiet_loggers() -> Iterator[None]:
    """Keep papermill, nbclient and traitlets from writing about errors that edgelab reports itself."""
    import logging

    loggers = [logging.getLogger(name) for name in ("papermill", "nbclient", "traitlets", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
