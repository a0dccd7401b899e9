"""What this process may use: memory and cores, within the limits of its container.

A container shows the whole machine's memory and cores, and its control group says what of them it has. Both versions
of control groups are read (https://docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/memory.html): the group of the
process and all above it, the smallest of whose limits counts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_UNLIMITED_BYTES = 2**62  # what version 1 shows where there is no limit, less a page
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def memory_bytes(proc: Path = PROC, groups: Path = CGROUPS) -> int:
    """The memory that this process may use: the machine's, or what its control groups leave of it."""
    import psutil

    return min([int(psutil.virtual_memory().total), *_memory_limits(proc, groups)])


def cores(proc: Path = PROC, groups: Path = CGROUPS) -> int:
    """How many cores this process may keep busy: those that it may run on, or the share of time that it has of them.

    A share of one core and a half counts as one: two busy threads would be stopped again and again.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.floor(share + 1e-9) for share in _core_limits(proc, groups))]))


def _memory_limits(proc: Path, groups: Path) -> Iterator[int]:
    for folder in _folders(proc, groups, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _text(folder / name)
            if text.isdecimal() and 0 < int(text) < _UNLIMITED_BYTES:
                yield int(text)


def _core_limits(proc: Path, groups: Path) -> Iterator[float]:
    for folder in _folders(proc, groups, "cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)


def _folders(proc: Path, groups: Path, controller: str) -> Iterator[Path]:
    """The folder of this process's group and those above it, of version 2 and of a controller of version 1."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, place = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        mounts = [groups] if not names else [groups / names, groups / controller]
        for mount in mounts:
            inside = Path(place.lstrip("/"))
            if ".." in inside.parts:  # the group lies above what the container sees
                inside = Path()
            yield from (mount / part for part in [inside, *inside.parents] if (mount / part).is_dir())
            # a container sees its own group as the root of the mount, whatever the place is called outside
            yield mount


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
