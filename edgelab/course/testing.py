"""Run every test: what they need is looked for first, and added where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

from edgelab.course import browser, paths
from edgelab.course.browser import apt_install
from edgelab.course.session import installed
from edgelab.errors import MissingFramework

# Two processes for what measures nothing, the longest files first, so that neither waits long for the other at the end;
# then, alone on the machine, the labs' runs, which measure and have a limit to keep.
_PARTS = (
    (
        *("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
        *("tests/browser", "tests/labs/test_unsolved.py", "tests/labs/test_mistakes.py"),
        *("tests/unit", "tests/faults", "edgelab"),
    ),
    ("tests/labs/test_run.py",),
)
_INTERRUPTED = 2
# Programs, Debian's packages of them, and what needs them. The compiler is 51 MB to fetch and 450 MB on disk: without
# it nothing would build the written project as its reader does.
_WITNESSES = (
    ("qemu-system-arm", "qemu-system-arm", "the second witness of the firmware"),
    ("arm-none-eabi-gcc", "gcc-arm-none-eabi", "the firmware's Makefile"),
    ("make", "make", "the firmware's Makefile"),
)


def run_tests(arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Run pytest on the whole project in two parts, or once on what ``arguments`` choose.

    Parameters
    ----------
    arguments
        For pytest, as they are.
    say
        Takes each sentence about what was found, installed or left out.

    Returns
    -------
    int
        pytest's own exit status, of two parts the first that is not 0.

    Raises
    ------
    MissingFramework
        If pytest is not installed.
    NoBrowser
        If there is no browser and none can be installed, where the environment says ``CI=true``; elsewhere the
        browser tests are left out, and ``say`` hears it.
    """
    if not installed("pytest"):
        raise MissingFramework("pytest is not installed; run `uv sync --inexact --group dev`, then this again.")
    environment = dict(os.environ)
    extra: list[str] = []
    try:
        found = browser.find()
        if found is None:
            say("There is no browser for the browser tests yet; installing chromium with apt-get ...")
            found = browser.install()
        environment["EDGELAB_CHROMIUM"] = str(found)
        say(f"The browser tests use {found}.")
    except browser.NoBrowser as error:
        if os.environ.get("CI", "").casefold() in ("1", "true"):
            raise
        say(f"{error} The browser tests are left out.")
        extra = ["-m", "not browser"]
    for program, package, purpose in _WITNESSES:
        if not shutil.which(program):
            say(f"There is no {program} for {purpose}; installing it with apt-get ...")
            refused = apt_install(package)
            say(f"{refused}; its tests are left out." if refused else f"{program} was installed.")
    environment.setdefault("OMP_NUM_THREADS", "1")
    status = 0
    for part in [arguments] if arguments else _PARTS:
        command = [sys.executable, "-m", "pytest", *extra, *part]
        done = subprocess.run(command, cwd=paths.home(), env=environment, check=False).returncode
        if done < 0 or done == _INTERRUPTED:
            return done
        status = status or done
    return status
