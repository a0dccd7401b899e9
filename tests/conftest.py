"""For all tests: interrupts, the full matrices on request, and the CPU seconds that each file and each lab takes."""

import json
import os
import signal
from collections import defaultdict
from pathlib import Path

import psutil
import pytest

# A shell starts a job in the background with interrupts ignored, and every child would inherit that; some tests send
# interrupts to children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CPU_FILE = "EDGELAB_TEST_CPU"  # `edgelab test` names a file here, and sums up what its parts wrote into it
_SPENT = pytest.StashKey[float]()
_FOUND = pytest.StashKey[dict]()
_AT_START = pytest.StashKey[float]()


def cpu_seconds() -> float:
    """User and system seconds of this process and of all its descendants, the ended ones among them."""
    total = sum(os.times()[:4])
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:  # it has just ended; whoever waited for it has its seconds
            continue
        total += times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
    return total


def part_of(item) -> str:
    """The file of a test below the project, and the lab that it is about after a blank, if it is about one."""
    path = item.path.relative_to(item.config.rootpath).as_posix()
    about = getattr(item, "callspec", None)
    lab = next((about.params[name] for name in ("case", "lab") if about and name in about.params), None)
    slug = lab.stem.partition("_")[2] if isinstance(lab, Path) else getattr(getattr(lab, "lab", None), "slug", "")
    return f"{path} {slug}".rstrip()


def pytest_configure(config):
    config.stash[_AT_START] = cpu_seconds()
    config.stash[_FOUND] = defaultdict(float)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.config.stash.setdefault(_SPENT, cpu_seconds())
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "teardown":
        now = cpu_seconds()
        report.user_properties = [*report.user_properties, ("cpu", (part_of(item), now - item.config.stash[_SPENT]))]
        item.config.stash[_SPENT] = now
    return report


def pytest_runtest_logreport(report):
    _collected.extend(value for name, value in report.user_properties if name == "cpu")


_collected: list = []


def pytest_sessionfinish(session):
    """In the process that has all reports: what the tests took by file and lab, and what stands in no test."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    found = config.stash[_FOUND]
    for part, seconds in _collected:
        found[part] += seconds
    found["collecting"] = max(0.0, cpu_seconds() - config.stash[_AT_START] - sum(found.values()))
    target = os.environ.get(CPU_FILE)
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
