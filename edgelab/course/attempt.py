"""Run a learner's cells in a process that is there for it, and what came of them as a grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SETUP_SECONDS = 300.0


@dataclass(frozen=True)
class Grade:
    """One exercise: ``status`` is ``"passed"``, ``"failed"`` or ``"open"``; ``hints`` are those uncovered so far.

    ``compared`` says where the answer was held against the right one: ``"outside"`` the process that it ran in, or
    ``"inside"``, where it cannot be sent.
    """

    id: str
    status: str
    message: str
    hints: tuple[str, ...] = ()
    compared: str = "outside"

    @property
    def hint(self) -> str | None:
        """The hint that was uncovered last, or None."""
        return self.hints[-1] if self.hints else None

    def to_dict(self) -> dict[str, Any]:
        """The exercise as JSON-ready data: id, passed, status, message, hint, hints, compared."""
        return {
            "id": self.id,
            "passed": self.status == "passed",
            "status": self.status,
            "message": self.message,
            "hint": self.hint,
            "hints": list(self.hints),
            "compared": self.compared,
        }


def cell_raised(identity: str, trouble: str) -> Grade:
    """The grade of an exercise whose own cell did not run."""
    return Grade(
        identity, "open" if trouble.startswith("NotImplementedError") else "failed", f"Your cell raised {trouble}"
    )


def run_exercise(
    exercise: Mapping[str, Any], room: dict[str, Any], seconds: float, others: Sequence[Mapping[str, Any]] = ()
) -> Grade:
    """Run an exercise's cell and its check in this process.

    Parameters
    ----------
    exercise
        ``id``, ``cell`` (the learner's code), ``stub`` (what stands in if that does not run), ``check`` (the visible
        cell that calls the check).
    room
        What the setup cells made; the cells are run in it.
    seconds
        Time for the cell, and for the check.
    others
        Exercises to run before, unchecked.
    """
    from edgelab.course.checks import run_check

    results: list[Grade] = []

    def check(identity: str, answer: Any, fallback: Any = None) -> Any:
        if identity != exercise["id"]:
            return answer if fallback is None else fallback
        found = run_check(identity, answer, fallback, namespace=room, seconds=seconds, code=exercise["cell"])
        results.append(Grade(identity, found.status, found.message, found.hints, "inside"))
        return answer if found.passed or fallback is None else fallback

    before = room.get("check")
    room["check"] = check
    for other in others:
        run_cell(other["cell"], room, f"exercise {other['id']}", seconds)
        run_cell(other["check"], room, f"check {other['id']}", seconds)
    trouble = run_cell(exercise["cell"], room, f"exercise {exercise['id']}", seconds)
    if trouble:  # so that later exercises get what the lab falls back on
        run_cell(exercise["stub"], room, f"exercise {exercise['id']}", seconds)
    asked = run_cell(exercise["check"], room, f"check {exercise['id']}", 2 * seconds)
    room["check"] = before
    if trouble:
        return cell_raised(exercise["id"], trouble)
    if not results:
        return Grade(exercise["id"], "failed", f"The check could not be called: {asked}")
    return results[0]


def run_cell(text: str, room: dict[str, Any], name: str, seconds: float) -> str:
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
