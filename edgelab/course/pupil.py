"""The process in which a learner's answer runs when it is graded: it knows nothing of the checks.

It runs the setup cells once. For each exercise it then makes a copy of itself (on Windows it handles one exercise and
ends), binds what other exercises give, runs the learner's cell, and calls the answer when the judge asks for it.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Mapping
from typing import Any

from edgelab.course import paths, session
from edgelab.course.attempt import SETUP_SECONDS, run_cell, run_exercise
from edgelab.course.checks import is_packages
from edgelab.course.values import Unsendable
from edgelab.course.wire import Ended, Link

FORKS = hasattr(os, "fork")


def main() -> None:
    """Answer the judge on standard input and output. What cells print goes to standard error."""
    room: dict[str, Any] = {"__name__": "__main__"}
    link = Link(os.dup(0), os.dup(1), room)
    os.dup2(2, 1)
    request = link.receive()
    for text in request["setup"]:
        trouble = run_cell(text, room, "setup", SETUP_SECONDS)
        if trouble:
            link.send({"op": "broken", "text": trouble})
            return
    link.send({"op": "ready"})
    while True:
        exercise = link.receive()
        if exercise["op"] != "exercise":  # the end of one that ended by itself
            continue
        child = os.fork() if FORKS else 0
        if child == 0:
            _attempt(link, exercise)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        link.send({"op": "ended", "text": f"it ended its whole process ({_status(status)})"})


def _status(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit status {code}"


def _attempt(link: Link, exercise: Mapping[str, Any]) -> None:
    """Run one exercise and serve its answer until the judge is done."""
    room: dict[str, Any] = link.room  # type: ignore[assignment]
    seconds = float(exercise["seconds"])
    link.send({"op": "started", "pid": os.getpid()})
    if exercise["inside"]:
        session.current().cells()  # read while that is allowed
        _keep_shut()
        found = run_exercise(exercise, room, seconds, others=exercise["others"])
        link.send({"op": "grade", "status": found.status, "message": found.message})
        return
    _keep_shut()
    _bind_others(exercise["others"], room, seconds)
    trouble = run_cell(exercise["cell"], room, f"exercise {exercise['id']}", seconds)
    if trouble:
        link.send({"op": "trouble", "text": trouble})
        return
    caught: list[tuple[Any, Any]] = []

    def check(_identity: str, answer: Any, fallback: Any = None) -> Any:
        caught.append((answer, fallback))
        return answer

    room["check"] = check
    asked = run_cell(exercise["check"], room, f"check {exercise['id']}", seconds)
    if not caught:
        link.send({"op": "uncalled", "text": asked})
        return
    answer, fallback = caught[0]
    try:
        value = link.encode(answer)
    except Unsendable as error:
        link.send({"op": "unsendable", "text": str(error)})
        return
    link.send({"op": "answer", "value": value, "packages": is_packages(answer, fallback)})
    while True:
        message = link.receive()
        if message["op"] != "call":
            return
        link.answer(message)


def _bind_others(others: list[Mapping[str, Any]], room: dict[str, Any], seconds: float) -> None:
    """Bind the names of the other exercises to what edgelab has for them."""
    room["check"] = lambda _identity, answer, fallback=None: answer if fallback is None else fallback
    for other in others:
        for part in ("cell", "check"):
            run_cell(other[part], room, f"exercise {other['id']}", seconds)


def _keep_shut() -> None:
    """Keep the lab sources, which hold the solutions, from being opened in this process from now on.

    It keeps honest work honest and is no sandbox: a notebook runs with all rights of who grades it.
    """
    folder = os.path.realpath(paths.sources()) + os.sep

    def guard(event: str, arguments: tuple[Any, ...]) -> None:
        name = arguments[0] if event == "open" else None
        if isinstance(name, str | bytes | os.PathLike) and os.path.realpath(os.fsdecode(name)).startswith(folder):
            raise PermissionError("the solutions stay shut while a notebook is graded")

    sys.addaudithook(guard)


if __name__ == "__main__":
    builtins.input = lambda *_: ""  # standard input is the judge's
    try:
        main()
    except Ended:
        sys.exit(0)
