"""Checks: what an exercise's answer is held against, and what the learner is told.

A lab's source registers the body of each check in a hidden cell; the learner's notebook calls `check`, which finds that
body in the source, runs it on the learner's function, and shows what was tested and what was found. It never
raises: a notebook with unsolved exercises runs from top to bottom, on edgelab's own functions.
"""

from __future__ import annotations

import builtins
import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from edgelab.course import boxes, progress, session, source
from edgelab.course.checker import Outcome, examine
from edgelab.course.session import SECONDS, Body, Registered
from edgelab.errors import EdgelabError, LabError
from edgelab.reading import kernel_shell

CHECK_MIME = "application/vnd.edgelab.check+json"


@dataclass(frozen=True)
class CheckResult:
    """One check: the exercise, what came out, and the hint that a failing try uncovered.

    ``status`` is ``"passed"``, ``"failed"`` or ``"open"`` (the stub is untouched).
    """

    id: str
    status: str
    message: str
    hint: str | None = None
    hint_number: int = 0
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the answer passed."""
        return self.status == "passed"

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON-ready data: id, passed, message."""
        return {"id": self.id, "passed": self.passed, "message": self.message}

    def box(self) -> boxes.Box:
        """The check as a notebook shows it."""
        colour, head = _LOOKS[self.status]
        lines = [self.message, *([self.note] if self.note else [])]
        folded = [(f"Hint {self.hint_number}", self.hint)] if self.hint else []
        return boxes.Box(colour, f"{head}: {self.id}", tuple(lines), tuple(folded))


_LOOKS: Mapping[str, tuple[boxes.Colour, str]] = {
    "passed": ("success", "Passed"),
    "failed": ("danger", "Not yet"),
    "open": ("info", "To do"),
}


def check(identity: str, answer: Any, fallback: Any = None) -> Any:
    """Check the answer to an exercise, show what was found, and return what the rest of the lab should use.

    Parameters
    ----------
    identity
        The exercise's ID.
    answer
        The learner's function or value.
    fallback
        edgelab's own, for the cells below, while the answer does not pass.

    Returns
    -------
    Any
        ``answer`` if it passed or there is no ``fallback``, else ``fallback``.
    """
    result = run_check(identity, answer, has_fallback=fallback is not None)
    boxes.show(result.box(), CHECK_MIME, result.to_dict())
    used = answer if result.passed or fallback is None else fallback
    _hush(used)
    return used


def run_check(
    identity: str,
    answer: Any,
    *,
    has_fallback: bool = False,
    namespace: Mapping[str, Any] | None = None,
    seconds: float = math.inf,
) -> CheckResult:
    """What `check` shows, without showing it. Raises nothing.

    ``namespace`` is what the setup cells made; without it, the notebook's or the answer's own module. ``seconds`` may
    only shorten the check's own limit.
    """
    notes = []
    ladder: tuple[str, ...] = ()
    effort = progress.Effort()
    try:
        opened = session.current()
        registered = find_body(opened, identity, _namespace(answer) if namespace is None else namespace)
        ladder = source.hints(opened.cells(), identity)
        limit = min(registered.seconds, seconds)
        outcome = examine(registered.body, answer, seconds=limit, mutates=registered.mutates)
        if outcome.status != "open" and progress.keeps_score():
            effort, trouble = _note(opened.lab.slug, identity, outcome, len(ladder))
            notes += [trouble] if trouble else []
    except EdgelabError as error:
        outcome = Outcome("failed", str(error))
    if outcome.status != "passed" and has_fallback:
        notes.append("The cells below use edgelab's own function until yours passes.")
    number = effort.hints if outcome.status == "failed" else 0
    hint = ladder[number - 1] if 0 < number <= len(ladder) else None
    return CheckResult(identity, outcome.status, outcome.message, hint, number if hint else 0, " ".join(notes))


def find_body(opened: session.Session, identity: str, namespace: Mapping[str, Any]) -> Registered:
    """The body of a check: the one that this kernel registered, else the one in the lab's source.

    The source's hidden cells run in a copy of ``namespace``, so that they see what the setup cells made and change
    nothing of it.

    Raises
    ------
    LabError
        If the lab has no such check, or its cell does not run.
    """
    if identity in opened.bodies:
        return cast("Registered", opened.bodies[identity])
    room = {**namespace, "np": np, "numpy": np, "__name__": "edgelab_checks"}
    found: dict[str, Registered] = {}

    def register(name: str, *, seconds: float = SECONDS, mutates: bool = False) -> Callable[[Body], Body]:
        def keep(body: Body) -> Body:
            found[name] = Registered(body, seconds, mutates)
            return body

        return keep

    room["checks"] = register
    for cell in opened.cells():
        if "hidden" in cell.tags and cell.kind == "code" and cell.tagged("check") in (None, identity):
            try:
                builtins.exec(compile(cell.text, f"<check {identity}>", "exec"), room)  # noqa: S102  the lab's own source
            except Exception as error:
                raise LabError(
                    f"The check '{identity}' of the lab '{opened.lab.slug}' does not run "
                    f"({type(error).__name__}: {error}); run the setup cells first."
                ) from error
    if identity not in found:
        raise LabError(f"The lab '{opened.lab.slug}' has no check '{identity}'.")
    return found[identity]


def _namespace(answer: Any) -> dict[str, Any]:
    """Where a check looks up what the setup cells made: the notebook, or the module of the answer."""
    shell = kernel_shell()
    if shell is not None:
        return dict(shell.user_ns)
    return dict(getattr(answer, "__globals__", {}))


def _hush(answer: Any) -> None:
    """Keep the notebook from printing a function's address under the box when `check` ends a cell."""
    shell = kernel_shell()
    if shell is None or isinstance(answer, type):
        return
    cell = shell.execution_count

    def display() -> None:
        if shell.execution_count != cell:
            boxes.show_markdown(f"`{answer!r}`", repr(answer))

    with contextlib.suppress(AttributeError, TypeError):  # not everything takes an attribute; then it is shown
        answer._ipython_display_ = display


def _note(lab: str, identity: str, outcome: Outcome, hints: int) -> tuple[progress.Effort, str]:
    try:
        kept = progress.load(lab)
        effort = kept.note(identity, passed=outcome.status == "passed", hints=hints)
        progress.save(kept)
    except EdgelabError as error:
        return progress.Effort(hints=1), f"Your progress was not saved: {error}"
    return effort, ""
