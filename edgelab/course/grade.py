"""What a learner has solved so far: the exercises of their notebook, each checked in a process of its own.

Only the setup cells, and of each exercise its cell and its check, are run. So an answer that leans on something else in
the notebook is found, and nobody waits for the rest of the lab. For what an exercise uses of others it gets edgelab's
own functions. An answer that never ends, takes its process down or changes the libraries costs that exercise and no
other.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgelab.course import copies, paths
from edgelab.course.attempt import SETUP_SECONDS, Grade
from edgelab.course.labs import Lab, find
from edgelab.course.owners import has_fallback
from edgelab.course.source import Cell, exercises, read_cells, stub
from edgelab.errors import EngineCrash, LabError
from edgelab.files import expanded

_SPARE_SECONDS = 10.0
_MARK = "\x1eedgelab "  # as in `edgelab.course.judge`, which loads what this process does not need


@dataclass(frozen=True)
class GradeReport:
    """What is solved in one notebook of one lab."""

    lab: str
    notebook: Path
    grades: tuple[Grade, ...]

    @property
    def solved(self) -> int:
        """How many exercises passed."""
        return sum(grade.status == "passed" for grade in self.grades)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data: lab, notebook, solved, exercises, checks."""
        return {
            "lab": self.lab,
            "notebook": str(self.notebook),
            "solved": self.solved,
            "exercises": len(self.grades),
            "checks": [grade.to_dict() for grade in self.grades],
        }

    def __str__(self) -> str:
        words = {"passed": "passed", "failed": "not yet", "open": "to do"}
        lines = [f"{self.lab}: {self.solved} of {len(self.grades)} exercises solved"]
        for grade in self.grades:
            lines.append(f"  {words[grade.status]:8}{grade.id}: {grade.message}")
            lines += [f"          Hint: {line}" for line in (grade.hint or "").splitlines()]
        return "\n".join(lines)


def grade(name: str, notebook: Path | None = None, *, seconds: float = 30.0) -> GradeReport:
    """Check the exercises in a learner's notebook.

    Parameters
    ----------
    name
        The lab, as `edgelab.course.labs.find` takes it.
    notebook
        Somebody's notebook of that lab; without it the one in ``labs/``, whose tries are counted.
    seconds
        Time for each exercise, its check included. One that takes longer is stopped and counts as failed.

    Raises
    ------
    LabError
        If the notebook is missing, is not a notebook, lacks an exercise's cell, or its setup cells fail.
    """
    lab = find(name)
    path = copies.learners(lab) if notebook is None else expanded(notebook)
    request = _request(lab, path)
    request["seconds"] = seconds
    environment = {**os.environ, "EDGELAB_HOME": str(paths.home()), "PYTHONIOENCODING": "utf-8"}
    if notebook is not None:
        environment["EDGELAB_PROGRESS"] = "off"
    environment.pop("JPY_SESSION_NAME", None)
    grades: dict[str, Grade] = {}
    wanted = [exercise["id"] for exercise in request["exercises"]]
    while len(grades) < len(wanted):
        request["done"] = list(grades)
        before = len(grades)
        for found in _one_child(request, environment, path.resolve().parent):
            grades[found.id] = found
        if len(grades) == before:
            raise EngineCrash(f"The check of '{lab.slug}' ended without an answer; try `edgelab doctor`.")
    return GradeReport(lab.slug, path, tuple(grades[identity] for identity in wanted))


def _request(lab: Lab, path: Path) -> dict[str, Any]:
    """What the judge needs: the setups, and for each exercise the learner's cell and what the lab has for it."""
    source = read_cells(lab.source)
    cells = read_cells(path)
    parts = []
    for identity, exercise in exercises(source).items():
        answers = [cell.text for cell in cells if cell.kind == "code" and cell.tagged("exercise") == identity]
        if not answers:
            raise LabError(
                f"{paths.shown(path)} has no code cell tagged `exercise:{identity}` any more; "
                f"take it from a fresh notebook: `edgelab build {lab.slug} --force` writes one over yours."
            )
        parts.append(
            {
                "id": identity,
                "cell": "\n\n".join(answers),
                "stub": stub(exercise.cell.text),
                "check": exercise.check.text,
                "solution": exercise.cell.text,
                "fallback": has_fallback(exercise),
            }
        )
    dials = [cell.text for cell in source if "parameters" in cell.tags]
    own = _setup(cells, "parameters") + dials + _setup(cells, "setup")  # a grade is given on the lab's own parameters
    setup = dials + _setup(source, "setup")
    return {
        "lab": lab.slug,
        "cells": [[cell.kind, cell.text, list(cell.tags)] for cell in source],
        "setup": setup,
        "pupil_setup": own if _setup(cells, "setup") else setup,
        "exercises": parts,
    }


def _setup(cells: list[Cell], tag: str) -> list[str]:
    return [cell.text for cell in cells if cell.kind == "code" and tag in cell.tags]


def _one_child(request: dict[str, Any], environment: dict[str, str], folder: Path) -> Iterator[Grade]:
    """Grades as a child process finds them; it is killed at the first exercise that does not end."""
    lines: queue.Queue[str | None] = queue.Queue()
    with subprocess.Popen(
        [sys.executable, "-m", "edgelab.course.judge"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as child:
        words: list[str] = []
        readers = [threading.Thread(target=_pump, args=(child.stdout, lines.put), daemon=True)]
        readers.append(threading.Thread(target=_pump, args=(child.stderr, words.append), daemon=True))
        for reader in readers:
            reader.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                assert child.stdin is not None
                child.stdin.write(json.dumps(request))
                child.stdin.close()
            yield from _listen(lines, request, words)
        finally:
            _kill(child.pid)


def _listen(lines: queue.Queue[str | None], request: dict[str, Any], words: list[str]) -> Iterator[Grade]:
    current, limit = "", 2 * SETUP_SECONDS
    while True:
        try:
            line = lines.get(timeout=limit)
        except queue.Empty:
            yield _lost(
                request["lab"], current, f"no result within {limit:g} s. Likely mistake: a loop that never ends"
            )
            return
        if line is None:
            last = next((word.strip() for word in reversed(words) if word and word.strip()), "no last words")
            yield _lost(request["lab"], current, f"it ended its whole process ({last[:200]})")
            return
        event = json.loads(line.removeprefix(_MARK)) if line.startswith(_MARK) else {}
        match event.get("event"):
            case "start":
                current, limit = event["id"], 4 * request["seconds"] + _SPARE_SECONDS
            case "grade":
                yield Grade(event["id"], event["status"], event["message"], tuple(event["hints"]), event["compared"])
            case "broken":
                raise LabError(event["message"])
            case "end":
                return


def _lost(lab: str, exercise: str, how: str) -> Grade:
    """The grade of an exercise that took its process with it; before the first one, the setup is to blame."""
    if not exercise:
        raise LabError(f"The setup cells of '{lab}' could not be run: {how}.")
    return Grade(exercise, "failed", f"Your code was stopped: {how}.")


def _kill(pid: int) -> None:
    """End a process and those that it started."""
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (*parent.children(recursive=True), parent):
            with contextlib.suppress(psutil.Error):
                process.kill()


def _pump(stream: Any, put: Any) -> None:
    for line in stream:
        put(line)
    put(None)
