"""What a learner has solved so far: the exercises of their notebook, checked in a process of their own.

Only the setup cells, and of each exercise its cell and its check, are run. So an answer that leans on something else in
the notebook is found, and nobody waits for the rest of the lab. An answer that never ends or takes the process
down costs that exercise and no other.
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

from edgelab.course import paths
from edgelab.course.labs import Lab, find
from edgelab.course.source import Cell, exercises, read_cells, stub
from edgelab.errors import EngineCrash, LabError

SETUP_SECONDS = 300.0
_SPARE_SECONDS = 10.0
_MARK = "\x1eedgelab "
"""Starts a line of the child's own, among whatever else is printed."""


@dataclass(frozen=True)
class Grade:
    """One exercise: ``status`` is ``"passed"``, ``"failed"`` or ``"open"``; ``hints`` are those uncovered so far."""

    id: str
    status: str
    message: str
    hints: tuple[str, ...] = ()

    @property
    def hint(self) -> str | None:
        """The hint that was uncovered last, or None."""
        return self.hints[-1] if self.hints else None

    def to_dict(self) -> dict[str, Any]:
        """The exercise as JSON-ready data: id, passed, status, message, hint, hints."""
        return {
            "id": self.id,
            "passed": self.status == "passed",
            "status": self.status,
            "message": self.message,
            "hint": self.hint,
            "hints": list(self.hints),
        }


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
    path = lab.notebook if notebook is None else Path(notebook)
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
    """What the child needs: the setup, and for each exercise the learner's cell and the lab's own visible check."""
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
        stubbed = stub(exercise.cell.text)
        parts.append({"id": identity, "cell": "\n\n".join(answers), "stub": stubbed, "check": exercise.check.text})
    return {"lab": lab.slug, "setup": _setup(cells) or _setup(source), "exercises": parts}


def _setup(cells: list[Cell]) -> list[str]:
    return [cell.text for cell in cells if cell.kind == "code" and {"parameters", "setup"} & set(cell.tags)]


def _one_child(request: dict[str, Any], environment: dict[str, str], folder: Path) -> Iterator[Grade]:
    """Grades as a child process finds them; it is killed at the first exercise that does not end."""
    lines: queue.Queue[str | None] = queue.Queue()
    with subprocess.Popen(
        [sys.executable, "-m", "edgelab.course.grade"],
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
            child.kill()


def _listen(lines: queue.Queue[str | None], request: dict[str, Any], words: list[str]) -> Iterator[Grade]:
    current, limit = "", SETUP_SECONDS
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
                current, limit = event["id"], request["seconds"] + _SPARE_SECONDS
            case "grade":
                yield Grade(event["id"], event["status"], event["message"], tuple(event["hints"]))
            case "broken":
                raise LabError(event["message"])
            case "end":
                return


def _lost(lab: str, exercise: str, how: str) -> Grade:
    """The grade of an exercise that took its process with it; before the first one, the setup is to blame."""
    if not exercise:
        raise LabError(f"The setup cells of '{lab}' could not be run: {how}.")
    return Grade(exercise, "failed", f"Your code was stopped: {how}.")


def _pump(stream: Any, put: Any) -> None:
    for line in stream:
        put(line)
    put(None)


def _child() -> None:
    """Answer one request on standard input with events on standard output. What cells print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)

    def tell(event: str, **facts: Any) -> None:
        out.write(f"{_MARK}{json.dumps({'event': event, **facts})}\n")
        out.flush()

    import jupytext  # noqa: F401  checks read the lab's source by it: on a busy machine seconds, which no exercise owes

    room: dict[str, Any] = {"__name__": "__main__"}
    for text in request["setup"]:
        trouble = _run(text, room, "setup", SETUP_SECONDS)
        if trouble:
            tell("broken", message=f"A setup cell of '{request['lab']}' does not run: {trouble}")
            return
    for exercise in request["exercises"]:
        if exercise["id"] in request["done"]:
            # tried in an earlier child, which did not survive it: go on with what the lab falls back on
            _run_exercise({**exercise, "cell": exercise["stub"]}, room, request["seconds"])
            continue
        tell("start", id=exercise["id"])
        tell("grade", **vars(_run_exercise(exercise, room, request["seconds"])))
    tell("end")


def _run_exercise(exercise: dict[str, Any], room: dict[str, Any], seconds: float) -> Grade:
    from edgelab.course.checks import run_check

    results: list[Grade] = []

    def check(identity: str, answer: Any, fallback: Any = None) -> Any:
        found = run_check(identity, answer, fallback, namespace=room, seconds=seconds, code=exercise["cell"])
        results.append(Grade(identity, found.status, found.message, found.hints))
        return answer if found.passed or fallback is None else fallback

    trouble = _run(exercise["cell"], room, f"exercise {exercise['id']}", seconds)
    if trouble:  # so that later exercises get what the lab falls back on
        _run(exercise["stub"], room, f"exercise {exercise['id']}", seconds)
    before = room.get("check")
    room["check"] = check
    asked = _run(exercise["check"], room, f"check {exercise['id']}", seconds + _SPARE_SECONDS / 2)
    room["check"] = before
    if trouble:
        status = "open" if trouble.startswith("NotImplementedError") else "failed"
        return Grade(exercise["id"], status, f"Your cell raised {trouble}")
    if not results:
        return Grade(exercise["id"], "failed", f"The check could not be called: {asked}")
    return results[0]


def _run(text: str, room: dict[str, Any], name: str, seconds: float) -> str:
    """Run a cell; what it raised as a sentence, or nothing."""
    from edgelab.course.checker import TimedOut, time_limit

    try:
        with time_limit(seconds):
            exec(compile(text, f"<{name}>", "exec"), room)  # noqa: S102  the learner's own code, in its own process
    except TimedOut:
        return f"no result within {seconds:g} s. Likely mistake: a loop that never ends."
    except (Exception, SystemExit) as error:  # noqa: BLE001  a cell may raise anything
        said = f"{error.msg} in line {error.lineno}" if isinstance(error, SyntaxError) else " ".join(str(error).split())
        return f"{type(error).__name__}: {said[:300]}."
    return ""


if __name__ == "__main__":
    _child()
