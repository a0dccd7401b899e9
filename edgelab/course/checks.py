"""Checks: what an exercise's answer is held against, and what the learner is told.

A lab's source registers the body of each check in a hidden cell; the learner's notebook calls `check`, which finds that
body in the source, runs it on the learner's function, and shows what was tested and what was found. It never
raises: a notebook with unsolved exercises runs from top to bottom, on edgelab's own functions.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import hashlib
import inspect
import linecache
import math
import textwrap
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgelab.course import boxes, progress, session, source
from edgelab.course.checker import Outcome, examine
from edgelab.course.session import SECONDS, Body, Registered
from edgelab.errors import EdgelabError, LabError
from edgelab.reading import kernel_shell

CHECK_MIME = "application/vnd.edgelab.check+json"
OWN = "This is edgelab's own function, not yours: run your exercise cell again, then this check."


@dataclass(frozen=True)
class CheckResult:
    """One check: the exercise, what came out, and the hints that failing tries uncovered so far.

    ``status`` is ``"passed"``, ``"failed"`` or ``"open"`` (the stub is untouched).
    """

    id: str
    status: str
    message: str
    hints: tuple[str, ...] = ()
    note: str = ""

    @property
    def hint(self) -> str | None:
        """The hint that was uncovered last, or None."""
        return self.hints[-1] if self.hints else None

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
        folded = [(f"Hint {number}", hint) for number, hint in enumerate(self.hints, 1)]
        return boxes.Box(colour, f"{head}: {self.id}", tuple(lines), tuple(folded))


_LOOKS: Mapping[str, tuple[boxes.Colour, str]] = {
    "passed": ("success", "Passed"),
    "failed": ("danger", "Not yet"),
    "open": ("info", "To do"),
}


def check(identity: str, answer: Any, fallback: Any = None) -> Any:
    """Check the answer to an exercise, show what was found, and return what the rest of the lab should use.

    Bind the result to another name than the learner's function has, ``f = check("f", my_f, package.f)``: then a
    function that was changed and not yet checked can never feed a figure. `whose` says under a figure whose it is.

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
    result = run_check(identity, answer, fallback)
    boxes.show(result.box(), CHECK_MIME, result.to_dict())
    used = answer if result.passed or fallback is None else fallback
    with contextlib.suppress(LabError):  # no lab is open, as the box says
        opened = session.current()
        opened.checked[identity] = answer
        opened.accepted.pop(identity, None)
        if result.passed:
            opened.accepted[identity] = answer
        elif fallback is not None and not any(used is given for given in opened.provided):
            opened.provided.append(fallback)
    _hush(used)
    return used


def is_packages(answer: Any, fallback: Any, provided: Sequence[Any] = ()) -> bool:
    """Whether a function is edgelab's: the fallback itself, what a check gave before, or one of edgelab's modules.

    Only functions can be told apart; a number is nobody's.
    """
    if not isinstance(answer, types.FunctionType | types.MethodType | types.BuiltinFunctionType | functools.partial):
        return False
    if str(getattr(answer, "__module__", "")).split(".")[0] == "edgelab":
        return True
    return any(_same_function(answer, given) for given in (fallback, *provided))


def _same_function(one: Any, other: Any) -> bool:
    if isinstance(one, functools.partial) and isinstance(other, functools.partial):
        return (one.func, one.args, one.keywords) == (other.func, other.args, other.keywords)
    return one is other or (isinstance(one, types.MethodType) and bool(one == other))


def run_check(
    identity: str,
    answer: Any,
    fallback: Any = None,
    *,
    namespace: Mapping[str, Any] | None = None,
    seconds: float = math.inf,
    code: str | None = None,
) -> CheckResult:
    """What `check` shows, without showing it. Raises nothing.

    ``namespace`` is what the setup cells made; without it, the notebook's or the answer's own module. ``seconds`` may
    only shorten the check's own limit. ``code`` is the learner's cell, where it is known: by it a rerun is told from
    a new try.
    """
    try:
        opened = session.current()
        if is_packages(answer, fallback, opened.provided):
            return CheckResult(identity, "open", OWN)
        registered = find_body(opened, identity, _namespace(answer) if namespace is None else namespace)
        limit = min(registered.seconds, seconds)
        outcome = examine(registered.body, answer, seconds=limit, mutates=registered.mutates)
    except EdgelabError as error:
        return CheckResult(identity, "failed", str(error))
    result = settle(identity, outcome, answer, code=code)
    if result.passed or fallback is None:
        return result
    return replace(result, note=f"{result.note} The cells below use edgelab's own function until yours passes.".strip())


def settle(identity: str, outcome: Outcome, answer: Any, *, code: str | None = None) -> CheckResult:
    """Count what a check found as a try, if it is one, and add the hints that are uncovered now."""
    uncovered: tuple[str, ...] = ()
    trouble = ""
    if outcome.status != "open" and progress.keeps_score():
        opened = session.current()
        ladder = source.hints(opened.cells(), identity)
        uncovered, trouble = _note(opened.lab.slug, identity, outcome, ladder, fingerprint(answer, code))
    return CheckResult(identity, outcome.status, outcome.message, uncovered, trouble)


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
        return opened.bodies[identity]
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


def fingerprint(answer: Any, code: str | None = None) -> str:
    """A short hash of an attempt: the same for the same code, whatever its comments, blanks and quotation marks.

    It is taken of the exercise's cell: ``code``, or the cell in which a function was defined.
    """
    text = code if code is not None else _cell_of(answer)
    try:
        text = ast.dump(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        text = " ".join(text.split())
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _cell_of(answer: Any) -> str:
    """The code of the cell that defined a function; of one from a file its own lines; else what it looks like."""
    compiled = getattr(answer, "__code__", None)
    entry = linecache.cache.get(getattr(compiled, "co_filename", ""))
    if entry is not None and len(entry) == 4 and entry[1] is None:  # no time of change: a notebook's cell
        return "".join(entry[2])
    with contextlib.suppress(OSError, TypeError):
        return textwrap.dedent(inspect.getsource(answer))
    return repr((compiled.co_code, compiled.co_names)) if compiled is not None else repr(answer)


def _note(
    lab: str, identity: str, outcome: Outcome, ladder: Sequence[source.Hint], attempt: str
) -> tuple[tuple[str, ...], str]:
    """Count the attempt; the hints to show, and what went wrong with the counting."""
    passed = outcome.status == "passed"
    try:
        with progress.changing(lab) as kept:
            effort = kept.effort(identity)
            effort.note(attempt, passed=passed, message=outcome.message, hints=ladder)
        places, trouble = effort.shown, ""
    except EdgelabError as error:
        first = progress.next_hint(ladder, (), outcome.message)
        places, trouble = [] if first is None else [first], f"Your progress was not saved: {error}"
    shown = () if passed else tuple(ladder[place].text for place in places if place < len(ladder))
    return shown, trouble
