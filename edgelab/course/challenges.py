"""A challenge: an open task with targets that pull apart, judged by what was measured.

There is no stub and no single answer: whatever meets the targets on the real runtime counts. The best attempt is kept
with the learner's progress. What edgelab's own solution reaches is measured too, once an attempt has met the targets.
"""

from __future__ import annotations

import builtins
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelab.course import boxes, progress, session
from edgelab.errors import BadInput, EdgelabError
from edgelab.reading import Reading, kernel_shell

CHALLENGE_MIME = "application/vnd.edgelab.challenge+json"
Measure = Callable[[Any], Mapping[str, Reading]]


@dataclass(frozen=True)
class Target:
    """One condition: the reading ``name`` is at most, or at least, a figure in ``unit``.

    ``further`` says that of attempts which meet everything the one that lies further beyond this bound is the better.

    Examples
    --------
    >>> str(Target("file", at_most=70_000, unit="bytes"))
    'file at most 70,000 bytes'
    """

    name: str
    unit: str
    at_most: float = math.inf
    at_least: float = -math.inf
    further: bool = False

    def __post_init__(self) -> None:
        if math.isfinite(self.at_most) == math.isfinite(self.at_least):
            raise BadInput(f"The target '{self.name}' needs either at_most or at_least.")

    def __str__(self) -> str:
        word, bound = ("at most", self.at_most) if math.isfinite(self.at_most) else ("at least", self.at_least)
        return f"{self.name} {word} {bound:,.12g} {self.unit}".rstrip()

    def met(self, reading: Reading) -> bool:
        """Whether the figure itself lies on the wanted side; its interval is shown beside it."""
        return bool(self.at_least <= reading.value <= self.at_most)

    def excess(self, reading: Reading) -> float:
        """How far the figure lies beyond the bound, as a share of the bound; 0 where the target is met."""
        bound = self.at_most if math.isfinite(self.at_most) else self.at_least
        return 0.0 if self.met(reading) else abs(reading.value - bound) / max(abs(bound), 1e-9)

    def margin(self, reading: Reading) -> float:
        """How far the figure lies on the good side of the bound, as a share of it, where further is better; else 0."""
        bound = self.at_most if math.isfinite(self.at_most) else self.at_least
        far = self.further and self.met(reading)
        return abs(reading.value - bound) / max(abs(bound), 1e-9) if far else 0.0


@dataclass(frozen=True)
class ChallengeResult:
    """What became of an attempt: ``status`` is ``"met"``, ``"not met"`` or ``"open"`` (there is none yet)."""

    id: str
    status: str
    targets: tuple[Target, ...]
    readings: Mapping[str, Reading]
    message: str
    notes: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether every target is met."""
        return self.status == "met"

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data: id, met, message, readings."""
        readings = {name: reading.to_dict() for name, reading in self.readings.items()}
        return {"id": self.id, "met": self.met, "message": self.message, "readings": readings}

    def box(self) -> boxes.Box:
        """The result as a notebook shows it."""
        looks: Mapping[str, tuple[boxes.Colour, str]] = {
            "met": ("success", "Challenge met"),
            "not met": ("warning", "Challenge: not yet"),
            "open": ("info", "Challenge"),
        }
        colour, head = looks[self.status]
        return boxes.Box(colour, head, (self.message, *self.notes))


def challenge(identity: str, attempt: Any, measure: Measure, *targets: Target) -> None:
    """Measure an attempt at a challenge, show what it reached, and keep the best one with the progress.

    Parameters
    ----------
    identity
        The challenge's ID: the cell of the attempt carries the tag ``challenge:ID``.
    attempt
        What the learner made, in whatever form ``measure`` takes; None shows the targets alone.
    measure
        From an attempt to one reading for each target, by name. It must take seconds, not minutes.
    targets
        The conditions, all of which have to be met.
    """
    result = judge(identity, attempt, measure, targets)
    boxes.show(result.box(), CHALLENGE_MIME, result.to_dict())


def judge(identity: str, attempt: Any, measure: Measure, targets: tuple[Target, ...]) -> ChallengeResult:
    """What `challenge` shows, without showing it. Raises nothing that an attempt raises.

    Raises
    ------
    BadInput
        If ``measure`` does not give a reading in the right unit for each target.
    """
    wanted = "; ".join(str(target) for target in targets)
    if attempt is None:
        return ChallengeResult(
            identity, "open", targets, {}, f"The targets: {wanted}. Give your attempt and run this cell."
        )
    try:
        readings = dict(measure(attempt))
    except Exception as error:  # noqa: BLE001  an attempt may fail in any way
        said = " ".join(str(error).split())[:300] or type(error).__name__
        return ChallengeResult(identity, "not met", targets, {}, f"Your attempt could not be measured: {said}")
    for target in targets:
        reading = readings.get(target.name)
        if not isinstance(reading, Reading) or reading.unit != target.unit:
            raise BadInput(f"The challenge '{identity}' needs a reading '{target.name}' in {target.unit}.")
    said = "; ".join(
        f"{target}: {readings[target.name].figure()}, {'met' if target.met(readings[target.name]) else 'not met'}"
        for target in targets
    )
    met = all(target.met(readings[target.name]) for target in targets)
    notes = [*_keep(identity, met=met, readings=readings, targets=targets)]
    if met:
        notes += _reference(identity, measure, targets)
    return ChallengeResult(identity, "met" if met else "not met", targets, readings, f"{said}.", tuple(notes))


def _keep(identity: str, *, met: bool, readings: Mapping[str, Reading], targets: tuple[Target, ...]) -> list[str]:
    """Note the attempt in the learner's progress; what to say about it."""
    if not progress.keeps_score():
        return []
    try:
        figures = {target.name: readings[target.name].figure() for target in targets}
        excess = sum(target.excess(readings[target.name]) for target in targets)
        if met:  # the further beyond its bound, the further below 0
            excess = -sum(target.margin(readings[target.name]) for target in targets)
        with progress.changing(session.current().lab.slug) as kept:
            best = kept.note_challenge(identity, met=met, excess=excess, figures=figures)
    except EdgelabError as error:
        return [f"Your attempt was not kept: {error}"]
    if best is None:
        return []
    return ["Your best so far: " + ", ".join(f"{name} {figure}" for name, figure in best.items()) + "."]


def _reference(identity: str, measure: Measure, targets: tuple[Target, ...]) -> list[str]:
    """What edgelab's own solution reaches on this machine: the lab's hidden cell makes it, ``measure`` measures it.

    In the solution's own notebook the hidden cell has run already, and the attempt is what it made.
    """
    try:
        opened = session.current()
        cells = [cell for cell in opened.cells() if cell.tagged("challenge") == identity and "hidden" in cell.tags]
    except EdgelabError:
        return []
    shell = kernel_shell()
    names = dict(shell.user_ns) if shell is not None else {}
    room: dict[str, Any] = {
        **names,
        "np": np,
        "__name__": "edgelab_challenge",
    }
    for cell in cells:
        try:
            builtins.exec(compile(cell.text, f"<challenge {identity}>", "exec"), room)  # noqa: S102  the lab's own source
            if _same_code(room["reference"], names.get("reference")):
                return ["This notebook holds edgelab's own solution, which is not measured a second time."]
            found = measure(room["reference"]())
        except Exception as error:  # noqa: BLE001  the learner's notebook may lack what the solution needs
            return [f"edgelab's own solution could not be measured here ({' '.join(str(error).split())[:160]})."]
        reached = ", ".join(f"{target.name} {found[target.name].figure()}" for target in targets)
        return [f"edgelab's own solution reaches, measured here: {reached}."]
    return []


def _same_code(one: Any, other: Any) -> bool:
    """Whether two functions came from the same text."""
    codes = [getattr(function, "__code__", None) for function in (one, other)]
    return None not in codes and _told(codes[0]) == _told(codes[1])


def _told(code: Any) -> tuple[Any, ...]:
    """What a function does, wherever it stands."""
    constants = [_told(value) if isinstance(value, types.CodeType) else repr(value) for value in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, *constants
