"""What a process may use: the limits of a container count, of both versions of control groups."""

import os

import pytest

from edgelab import limits


def tree(root, place, files):
    """A /proc and a /sys/fs/cgroup in which this process belongs to ``place``, with limits in ``files``."""
    proc, groups = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(place)
    groups.mkdir()
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(f"{text}\n")
    return proc, groups


V1 = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n"


@pytest.mark.parametrize(
    ("place", "files", "wanted"),
    [
        ("0::/\n", {"memory.max": 64 * 2**20}, 64 * 2**20),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": 32 * 2**20, "memory.max": "max"}, 32 * 2**20),
        ("0::/../..\n", {"memory.max": 16 * 2**20}, 16 * 2**20),
        ("0::/host/only\n", {"memory.max": 48 * 2**20}, 48 * 2**20),
        (V1, {"memory/docker/abc/memory.limit_in_bytes": 24 * 2**20}, 24 * 2**20),
        (V1, {"memory/memory.limit_in_bytes": 40 * 2**20}, 40 * 2**20),
    ],
)
def test_the_memory_of_a_container(tmp_path, place, files, wanted):
    assert limits.memory_bytes(*tree(tmp_path, place, files)) == wanted


@pytest.mark.parametrize(
    ("place", "files"),
    [
        ("0::/\n", {"memory.max": "max", "cpu.max": "max 100000"}),
        (V1, {"memory/memory.limit_in_bytes": 9223372036854771712, "cpu/cpu.cfs_quota_us": -1}),
        ("0::/\n", {"memory.max": "nonsense", "cpu.max": "0 0"}),
        ("", {}),
    ],
)
def test_without_a_limit_the_machine_counts(tmp_path, place, files):
    import psutil

    made = tree(tmp_path, place, files)
    assert limits.memory_bytes(*made) == psutil.virtual_memory().total
    assert limits.cores(*made) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("place", "files", "wanted"),
    [
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1),
        ("0::/a\n", {"a/cpu.max": "50000 100000"}, 1),
        (
            V1,
            {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": 300000, "cpu,cpuacct/docker/abc/cpu.cfs_period_us": 100000},
            3,
        ),
        (V1, {"cpu/cpu.cfs_quota_us": 100000, "cpu/cpu.cfs_period_us": 100000}, 1),
    ],
)
def test_the_cores_of_a_container(tmp_path, monkeypatch, place, files, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert limits.cores(*tree(tmp_path, place, files)) == wanted


def test_the_cores_that_a_process_may_run_on(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert limits.cores(*tree(tmp_path, "0::/\n", {"cpu.max": "max 100000"})) == 1


def test_the_machine_and_the_children_know_them(monkeypatch):
    from edgelab.engines import worker
    from edgelab.measure.machine import machine

    monkeypatch.setattr(limits, "memory_bytes", lambda: 10**9)
    monkeypatch.setattr(limits, "cores", lambda: 3)
    described = machine.__wrapped__()
    assert (described.cores, described.memory_bytes) == (3, 10**9)
    resource = pytest.importorskip("resource")
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: asked.append(limit[0]))
    worker._limit_memory(0)
    assert asked == [int(0.8 * 10**9)]
