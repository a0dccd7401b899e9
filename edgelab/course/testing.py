"""Run every test: what they need is looked for first, and added where that is possible."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from edgelab.course import browser, paths
from edgelab.course.browser import apt_install
from edgelab.course.session import installed
from edgelab.errors import BadInput, MissingFramework

# Two processes for what measures nothing; a file stays in one of them, and where a test is about a lab, the file and
# the lab (tests/conftest.py makes the groups). The longest come first, so that no process waits long for the other.
_TWO = ("-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder")
_QUICK = (
    *_TWO,
    "tests/labs/test_mistakes.py",
    "tests/labs/test_rules.py",
    "tests/labs/test_findings.py",
    "tests/unit",
    "edgelab",
)
# Then, alone on the machine, the labs' runs, which measure and have a limit to keep.
_WHOLE = (
    (*_TWO, "tests/browser", "tests/labs/test_unsolved.py", *_QUICK[len(_TWO) :], "tests/oracle", "tests/faults"),
    ("tests/labs/test_run.py",),
)
CPU_FILE = "EDGELAB_TEST_CPU"
"""Names the file into which the tests write what they took, a JSON object a line: ``{"FILE [LAB]": seconds}``."""
_INTERRUPTED, _NOTHING = 2, 5
# Programs, Debian's packages of them, and what needs them. The compiler is 51 MB to fetch and 450 MB on disk: without
# it nothing would build the written project as its reader does.
_WITNESSES = (
    ("qemu-system-arm", "qemu-system-arm", "the second witness of the firmware"),
    ("arm-none-eabi-gcc", "gcc-arm-none-eabi", "the firmware's Makefile"),
    ("make", "make", "the firmware's Makefile"),
)


def run_tests(arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Run pytest on the whole project, on its quick part, or once on what ``arguments`` choose.

    Parameters
    ----------
    arguments
        ``--quick`` for unit tests, rules and planted mistakes alone, ``--thorough`` for the full matrices as well; what
        else there is goes to pytest as it is.
    say
        Takes each sentence about what was found, installed or left out, and at the end the CPU seconds of each part
        and of each lab.

    Returns
    -------
    int
        pytest's own exit status, of several parts the first that is not 0.

    Raises
    ------
    BadInput
        If both ``--quick`` and ``--thorough`` are asked for.
    MissingFramework
        If pytest is not installed.
    NoBrowser
        If there is no browser and none can be installed, where the environment says ``CI=true``; elsewhere the
        browser tests are left out, and ``say`` hears it.
    """
    if not installed("pytest"):
        raise MissingFramework("pytest is not installed; run `uv sync --inexact --group dev`, then this again.")
    rest = [word for word in arguments if word not in ("--quick", "--thorough")]
    quick, thorough = ("--quick" in arguments), ("--thorough" in arguments)
    if quick and thorough:
        raise BadInput("--quick leaves most tests out and --thorough adds more; give one of them.")
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    wanted = {"thorough": thorough, "browser": True}
    if not quick:
        wanted["browser"] = _find_browser(environment, say)
        _find_witnesses(say)
    parts: Sequence[Sequence[str]] = [_QUICK] if quick else _WHOLE if thorough or not rest else [()]
    left_out = " and ".join(f"not {marker}" for marker, stays in wanted.items() if not stays)
    with tempfile.TemporaryDirectory() as folder:
        environment[CPU_FILE] = str(Path(folder) / "cpu.jsonl")
        if environment.pop("PYTHONDONTWRITEBYTECODE", ""):
            # The tests start hundreds of processes. Nothing is written beside the sources, as was asked for, and the
            # frameworks are compiled once and not in each of them, which took more than the tests.
            environment["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "bytecode")
        commands = [[sys.executable, "-m", "pytest", "-m", left_out, *part, *rest] for part in parts]
        status = _run(commands, environment)
        if summary := _summary(Path(environment[CPU_FILE])):
            say(summary)
    return status


def _run(commands: Iterable[Sequence[str]], environment: Mapping[str, str]) -> int:
    codes = []
    for command in commands:
        codes.append(subprocess.run(command, cwd=paths.home(), env=environment, check=False).returncode)
        if codes[-1] < 0 or codes[-1] == _INTERRUPTED:
            return codes[-1]
    failed = [code for code in codes if code not in (0, _NOTHING)]
    return failed[0] if failed else min(codes)  # a choice may lie in one part alone: nothing found there is no failure


def _find_browser(environment: dict[str, str], say: Callable[[str], None]) -> bool:
    try:
        found = browser.find()
        if found is None:
            say("There is no browser for the browser tests yet; installing chromium with apt-get ...")
            found = browser.install()
    except browser.NoBrowser as error:
        if os.environ.get("CI", "").casefold() in ("1", "true"):
            raise
        say(f"{error} The browser tests are left out.")
        return False
    environment["EDGELAB_CHROMIUM"] = str(found)
    say(f"The browser tests use {found}.")
    return True


def _find_witnesses(say: Callable[[str], None]) -> None:
    for program, package, purpose in _WITNESSES:
        if not shutil.which(program):
            say(f"There is no {program} for {purpose}; installing it with apt-get ...")
            refused = apt_install(package)
            say(f"{refused}; its tests are left out." if refused else f"{program} was installed.")


def _summary(file: Path) -> str:
    """What the tests took by folder and by lab, longest first; empty where nothing was written."""
    if not file.exists():
        return ""
    parts: dict[str, float] = defaultdict(float)
    labs: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in file.read_text(encoding="utf-8").splitlines():
        for entry, seconds in json.loads(line).items():
            path, _, lab = entry.partition(" ")
            folders = path.split("/")[:-1][:2]
            parts["/".join(folders if folders[:1] == ["tests"] else folders[:1]) or path] += seconds
            if lab:
                labs[lab][Path(path).stem.removeprefix("test_").replace("labs", "browser")] += seconds
    lines = [f"CPU seconds of the tests: {sum(parts.values()):.0f}"]
    lines += [f"  {name:20} {took:7.1f}" for name, took in sorted(parts.items(), key=lambda item: -item[1])]
    if labs:
        lines.append("of them by lab:")
    for name, found in sorted(labs.items(), key=lambda item: -sum(item[1].values())):
        each = ", ".join(f"{what} {took:.1f}" for what, took in sorted(found.items(), key=lambda item: -item[1]))
        lines.append(f"  {name:20} {sum(found.values()):7.1f}  ({each})")
    return "\n".join(lines)
