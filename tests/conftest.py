"""For all tests: interrupts, groups for two processes, and the CPU seconds that each file and each lab takes."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import psutil
import pytest

# A shell starts a job in the background with interrupts ignored, and every child would inherit that; some tests send
# interrupts to children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CPU_FILE = "EDGELAB_TEST_CPU"  # see edgelab/course/testing.py, which sums it up


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
    """The file of a test, and after a blank the lab that it is about, if it is about one."""
    path = item.path.relative_to(item.config.rootpath).as_posix()
    given = getattr(getattr(item, "callspec", None), "params", {})
    lab, case = given.get("lab"), given.get("case")
    slug = lab.stem.partition("_")[2] if isinstance(lab, Path) else getattr(getattr(case, "lab", None), "slug", "")
    return f"{path} {slug}".rstrip()


class CpuSeconds:
    """Counts for each test what this process and its children took since the test before, and sums that up."""

    def __init__(self):
        self.at_start = self.so_far = cpu_seconds()
        self.found = Counter()

    def pytest_collection_finish(self):
        self.so_far = cpu_seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if call.when == "teardown":
            now = cpu_seconds()
            # Where a server or a browser has ended unwaited for, its seconds are gone from the sum, and were counted.
            report.user_properties.append(("cpu", [part_of(item), max(0.0, now - self.so_far)]))
            self.so_far = now
        return report

    def pytest_runtest_logreport(self, report):
        if report.when == "teardown":
            self.found.update(dict(value for name, value in report.user_properties if name == "cpu"))

    def pytest_sessionfinish(self, session):
        target = os.environ.get(CPU_FILE)
        if target and not hasattr(session.config, "workerinput"):  # the process that has all reports, or the only one
            between = cpu_seconds() - self.at_start - self.found.total()
            with Path(target).open("a", encoding="utf-8") as file:
                file.write(json.dumps({**self.found, "collecting": max(0.0, between)}) + "\n")


def pytest_configure(config):
    config.pluginmanager.register(CpuSeconds(), "cpu_seconds")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items):
    """With ``--dist loadgroup`` a file stays in one process, and where it is about labs, each lab does."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(part_of(item)))
