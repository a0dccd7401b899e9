"""What a measurement was made on, and whether that machine was quiet."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelab import limits

_NOISY_SPREAD = 1.5
_NOISY_DRIFT = 0.15
_LOOK_SECONDS = 0.1
_QUIET_SECONDS = 2.0
_quiet: list[tuple[int, float]] = []
"""The core that was found to be the quietest last, and when."""
_BUSY_SHARE = 0.25
_SHORTEST_WATCH_SECONDS = 0.2  # the system counts in hundredths of a second


@dataclass(frozen=True)
class Machine:
    """Processor, logical cores and memory in bytes that this process may use, operating system and Python."""

    cpu: str
    cores: int
    memory_bytes: int
    system: str
    python: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)


@functools.cache
def machine() -> Machine:
    """Describe the machine that runs this process."""
    return Machine(
        cpu=_cpu_name(),
        cores=limits.cores(),
        memory_bytes=limits.memory_bytes(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


@dataclass(frozen=True)
class Quiet:
    """How long a fixed piece of work took, repeatedly, in seconds."""

    median: float
    p90: float

    def complaint(self, later: Quiet) -> str:
        """One sentence if the machine was busy or changed its speed between two probes, else nothing."""
        spread = max(self.p90 / self.median, later.p90 / later.median)
        drift = later.median / self.median - 1
        if spread > _NOISY_SPREAD:
            return f"The machine was busy: a fixed piece of work took up to {spread:.1f} times its median time."
        if abs(drift) > _NOISY_DRIFT:
            return f"The machine's speed changed by {100 * -drift:+.0f} percent during the measurement."
        return ""


def probe(repeats: int = 25) -> Quiet:
    """Time a fixed piece of work of about a fifth of a millisecond ``repeats`` times."""
    work = np.linspace(0.0, 1.0, 20_000)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(10):
            np.multiply(work, 1.0001, out=work)
        times.append(time.perf_counter() - start)
    return Quiet(float(np.median(times)), float(np.percentile(times, 90)))


class Watch:
    """How much of the machine other programs took since the watch began.

    Parameters
    ----------
    pids
        The processes that belong to the measurement, besides this one and its children.
    """

    def __init__(self, pids: Iterable[int] = ()) -> None:
        self._pids = (os.getpid(), *pids)
        self._start = time.monotonic(), _busy_seconds(), self._own_seconds()

    def others(self) -> float:
        """The share of all cores that other programs, and other guests of the same host, kept busy: 0 to 1."""
        started, busy, own = self._start
        elapsed = time.monotonic() - started
        if elapsed < _SHORTEST_WATCH_SECONDS:
            return 0.0
        taken = (_busy_seconds() - busy) - (self._own_seconds() - own)
        return min(1.0, max(0.0, taken / (elapsed * (os.cpu_count() or 1))))

    def complaint(self) -> str:
        """One sentence if others took more than a quarter of the machine, else nothing."""
        share = self.others()
        return f"Other programs kept {100 * share:.0f} percent of the machine busy." if share > _BUSY_SHARE else ""

    def _own_seconds(self) -> float:
        import psutil

        pids = set(self._pids)
        with contextlib.suppress(psutil.Error):
            pids |= {child.pid for child in psutil.Process().children(recursive=True)}
        seconds = 0.0
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                spent = psutil.Process(pid).cpu_times()
                # what children took that have ended counts with their parent, where the system tells it
                ended = getattr(spent, "children_user", 0.0) + getattr(spent, "children_system", 0.0)
                seconds += spent.user + spent.system + ended
        return seconds


def _busy_seconds() -> float:
    import psutil

    spent = psutil.cpu_times()._asdict()
    # Linux counts a guest's time in user as well
    return float(sum(v for k, v in spent.items() if k not in ("idle", "iowait", "guest", "guest_nice", "dpc")))


def quietest_core() -> int | None:
    """The least busy of the cores that this process may use; None where there is one, or none can be chosen.

    One that was found a moment ago still counts: races that follow each other are run on one core.
    """
    import psutil

    try:
        allowed = psutil.Process().cpu_affinity()
    except (AttributeError, psutil.Error, OSError):  # macOS does not let a process choose
        return None
    if len(allowed) < 2:
        return None
    for core, since in _quiet:
        if core in allowed and time.monotonic() - since < _QUIET_SECONDS:
            return core
    busy = psutil.cpu_percent(_LOOK_SECONDS, percpu=True)
    found = int(min(allowed, key=lambda core: (busy[core] if core < len(busy) else 100.0, -core)))
    _quiet[:] = [(found, time.monotonic())]
    return found


@contextlib.contextmanager
def on_core(core: int | None, pid: int | None = None) -> Iterator[None]:
    """Keep the main thread of a process (None: this one) on one core meanwhile; without a core, do nothing.

    Whichever contender the scheduler leaves on the busier core looks slower: two copies of one model that each had a
    core of its own differed by up to a third here. On one core they take turns under the same conditions.
    """
    import psutil

    if core is None:
        yield
        return
    before: list[int] = []
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        process = psutil.Process(pid)
        before = process.cpu_affinity()
        process.cpu_affinity([core])
    try:
        yield
    finally:
        if before:
            with contextlib.suppress(psutil.Error, OSError, ValueError):
                process.cpu_affinity(before)


@contextlib.contextmanager
def disturbed(on_seconds: float = 0.03, off_seconds: float = 0.06) -> Iterator[None]:
    """Let other programs come and go meanwhile: one process a core, busy and idle in turn, for a minute at most.

    What a measurement does on a machine that is not quiet can be seen on purpose this way.
    """
    code = (
        "import time\n"
        "print('up', flush=True)\n"
        "end = time.perf_counter() + 60\n"
        "while time.perf_counter() < end:\n"
        f"    stop = time.perf_counter() + {on_seconds!r}\n"
        "    while time.perf_counter() < stop: pass\n"
        f"    time.sleep({off_seconds!r})\n"
    )
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(os.cpu_count() or 1):
            child = stack.enter_context(subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE))
            stack.callback(child.kill)
            started.append(child)
        for child in started:
            if child.stdout is not None:
                child.stdout.readline()  # it runs now
        yield
