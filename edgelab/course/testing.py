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

# Two processes for what measures nothing; then, one after the other, the labs, which have a limit to keep.
_PARTS = (
    ("-n", "2", "--dist", "loadfile", "tests/unit", "tests/faults", "edgelab"),
    ("tests/labs", "tests/browser"),
)
_INTERRUPTED = 2
_WITNESS = "qemu-system-arm"  # the program and Debian's package have one name


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
    if not shutil.which(_WITNESS):
        say(f"There is no {_WITNESS} for the second witness of the firmware; installing it with apt-get ...")
        refused = apt_install(_WITNESS)
        say(f"{refused}; its tests are left out." if refused else f"{_WITNESS} was installed.")
    environment.setdefault("OMP_NUM_THREADS", "1")
    status = 0
    for part in [arguments] if arguments else _PARTS:
        command = [sys.executable, "-m", "pytest", *extra, *part]
        done = subprocess.run(command, cwd=paths.home(), env=environment, check=False).returncode
        if done < 0 or done == _INTERRUPTED:
            return done
        status = status or done
    return status
