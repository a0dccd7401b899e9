"""What a measurement was made on, and whether that machine was quiet."""

from __future__ import annotations

import functools
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

_NOISY_SPREAD = 1.5
_NOISY_DRIFT = 0.15


@dataclass(frozen=True)
class Machine:
    """Processor, logical cores, memory in bytes, operating system and Python."""

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
    import psutil

    return Machine(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        memory_bytes=int(psutil.virtual_memory().total),
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
