"""Under a figure: whose functions drew it, the learner's or edgelab's.

Told from what the notebook's names are bound to now, so that it stays true after a failed check, an edited exercise
or a setup cell that was run again.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from edgelab.course import boxes, session
from edgelab.course.source import Exercise, exercises
from edgelab.errors import LabError
from edgelab.reading import kernel_shell

WHOSE_MIME = "application/vnd.edgelab.whose+json"


@dataclass(frozen=True)
class Whose:
    """Names of functions: the learner's that passed, edgelab's, and the learner's that did not pass.

    ``unproven`` functions of the learner's did make the figure: their check gives nothing in their place, or it was not
    run. ``edited`` ones did not: they were changed after their last check.
    """

    yours: tuple[str, ...]
    package: tuple[str, ...]
    unproven: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    _shown_in: list[int] = field(default_factory=list, repr=False, compare=False)

    def __str__(self) -> str:
        owners = (("your", self.yours), ("edgelab's", self.package), ("your unproven", self.unproven))
        sentence = f"Drawn with {_join([f'{owner} {_join(_code(names))}' for owner, names in owners if names])}"
        if self.package:
            one = len(self.package) == 1
            sentence += f"; yours will replace {'it once its check passes' if one else 'them once their checks pass'}"
        if self.unproven or self.edited:
            sentence += f". Run the check of {_join(_code((*self.unproven, *self.edited)))} after each change"
        return f"{sentence}."

    def to_dict(self) -> dict[str, Any]:
        """The callout as JSON-ready data: yours, package, unproven, edited."""
        return {key: list(getattr(self, key)) for key in ("yours", "package", "unproven", "edited")}

    def show(self) -> None:
        """Display the callout in a running notebook, once a cell."""
        shell = kernel_shell()
        if shell is None or shell.execution_count in self._shown_in:
            return
        from IPython.display import display

        self._shown_in.append(shell.execution_count)
        bundle = {WHOSE_MIME: self.to_dict(), "text/markdown": f"*{boxes.escape(str(self))}*", "text/plain": str(self)}
        display(bundle, raw=True)

    _ipython_display_ = show


def whose(*names: str) -> Whose:
    """Say under a figure whose functions it was made with, in one quiet line.

    Parameters
    ----------
    names
        Exercises, by their ID or by the name to which their check's result is bound.

    Returns
    -------
    Whose
        What it said. In a notebook it is shown at once.

    Raises
    ------
    LabError
        If no lab is open, no name is given, or the lab has no such exercise.
    """
    opened = session.current()
    found = exercises(opened.cells())
    by_name = {bound_name(exercise): exercise for exercise in found.values()}
    if not names:
        raise LabError("whose() takes the exercises that a figure was made with, and got none.")
    kinds: dict[str, list[str]] = {"yours": [], "package": [], "unproven": [], "edited": []}
    for name in names:
        exercise = found.get(name) or by_name.get(name)
        if exercise is None:
            raise LabError(f"The lab '{opened.lab.slug}' has no exercise '{name}'; it has {', '.join(found)}.")
        used, own = bound_name(exercise), learners_name(exercise)
        kinds[_owner(opened, exercise.id, used)].append(used)
        if own != used and _is_edited(opened, exercise.id, own):
            kinds["edited"].append(own)
    once = {kind: tuple(dict.fromkeys(several)) for kind, several in kinds.items()}
    said = Whose(once["yours"], once["package"], once["unproven"], once["edited"])
    said.show()
    return said


def _owner(opened: session.Session, identity: str, name: str) -> str:
    """Whose function the notebook's ``name`` is bound to; in a plain process, whose the check returned."""
    accepted = identity in opened.accepted
    shell = kernel_shell()
    if shell is None or name not in shell.user_ns:
        return "yours" if accepted else "package"
    bound = shell.user_ns[name]
    if accepted and bound is opened.accepted[identity]:
        return "yours"
    return "package" if any(bound is given for given in opened.provided) else "unproven"


def _is_edited(opened: session.Session, identity: str, name: str) -> bool:
    shell = kernel_shell()
    if shell is None or name not in shell.user_ns or identity not in opened.checked:
        return False
    return shell.user_ns[name] is not opened.checked[identity]


def bound_name(exercise: Exercise) -> str:
    """The name that the lab goes on with: what the visible check is assigned to, else the learner's own."""
    tree = exercise.check.tree()
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.Assign) and is_check(node.value, exercise.id):
            target = node.targets[0]
            if isinstance(target, ast.Name):
                return target.id
    return learners_name(exercise)


def learners_name(exercise: Exercise) -> str:
    """The name of the learner's function: what the visible check is called with, else the exercise's ID."""
    tree = exercise.check.tree()
    for node in ast.walk(tree) if tree is not None else ():
        if is_check(node, exercise.id) and isinstance(node, ast.Call) and len(node.args) > 1:
            answer = node.args[1]
            if isinstance(answer, ast.Name):
                return answer.id
    return exercise.id


def has_fallback(exercise: Exercise) -> bool:
    """Whether the visible check names a function of edgelab's for the lab to go on with."""
    tree = exercise.check.tree()
    calls = [node for node in ast.walk(tree) if is_check(node, exercise.id)] if tree is not None else []
    return any(len(call.args) + len(call.keywords) == 3 for call in calls if isinstance(call, ast.Call))


def is_check(node: ast.AST, identity: str) -> bool:
    """Whether this is the call of an exercise's check."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "check"
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value == identity
    )


def _code(names: tuple[str, ...]) -> list[str]:
    return [f"`{name}`" for name in names]


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
