"""What a learner has solved and tried, one small file a lab under ``runs/progress/``.

A file that cannot be read is left alone and reported; it is never replaced by an empty one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelab.course import paths
from edgelab.errors import BadFile
from edgelab.files import read_json, write_json


@dataclass
class Effort:
    """What a learner did on one exercise: failing tries, hints seen, and whether it was ever solved."""

    tries: int = 0
    hints: int = 0
    solved: bool = False


@dataclass
class Best:
    """A learner's best attempt at a challenge: whether it met the targets, how far it is off, and its figures."""

    met: bool
    excess: float
    figures: dict[str, str]


@dataclass
class Progress:
    """A learner's progress in one lab, by exercise and challenge."""

    lab: str
    exercises: dict[str, Effort] = field(default_factory=dict)
    challenges: dict[str, Best] = field(default_factory=dict)

    def note(self, exercise: str, *, passed: bool, hints: int) -> Effort:
        """Count one real try; a failing one uncovers the next of ``hints`` hints."""
        effort = self.exercises.setdefault(exercise, Effort())
        effort.tries += 1
        if passed:
            effort.solved = True
        else:
            effort.hints = min(effort.hints + 1, hints)
        return effort

    def note_challenge(self, challenge: str, *, met: bool, excess: float, figures: dict[str, str]) -> dict[str, str] | None:
        """Keep an attempt if it is the best so far; the figures of an earlier one where that was better."""
        best = self.challenges.get(challenge)
        if best is None or excess <= best.excess:
            self.challenges[challenge] = Best(met, excess, dict(figures))
            return None
        return best.figures

    def to_dict(self) -> dict[str, Any]:
        """The progress as JSON-ready data."""
        efforts = {name: vars(effort).copy() for name, effort in self.exercises.items()}
        best = {name: vars(found).copy() for name, found in self.challenges.items()}
        return {"lab": self.lab, "exercises": efforts, "challenges": best}


def location(lab: str) -> Path:
    """The progress file of a lab."""
    return paths.runs() / "progress" / f"{lab}.json"


def keeps_score() -> bool:
    """Whether this process counts tries: not while a solution runs, and not with ``EDGELAB_PROGRESS=off``.

    Jupyter tells a kernel its notebook's path in ``JPY_SESSION_NAME``.
    """
    if os.environ.get("EDGELAB_PROGRESS", "").casefold() == "off":
        return False
    return "solutions" not in Path(os.environ.get("JPY_SESSION_NAME", "")).parts


def load(lab: str) -> Progress:
    """The progress in a lab; without a file, an empty one.

    Raises
    ------
    BadFile
        If there is a file that is not a progress file.
    """
    path = location(lab)
    if not path.exists():
        return Progress(lab)
    data = read_json(path)
    try:
        efforts = {
            str(name): Effort(int(kept["tries"]), int(kept["hints"]), bool(kept["solved"]))
            for name, kept in data["exercises"].items()
        }
        return Progress(lab, efforts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadFile(
            f"{paths.shown(path)} is not a progress file; delete it to start this lab's count anew."
        ) from error


def save(progress: Progress) -> None:
    """Write the progress file, whole or not at all."""
    write_json(location(progress.lab), progress.to_dict())
