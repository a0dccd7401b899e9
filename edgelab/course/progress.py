"""What a learner has solved and tried, one small file a lab under ``runs/progress/``.

A file that cannot be read is left alone and reported; it is never replaced by an empty one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelab.course import paths
from edgelab.course.source import Hint
from edgelab.errors import BadFile
from edgelab.files import locked, read_json, write_json

_KEPT = 200  # attempts that are remembered; older ones count as new when they come back


@dataclass
class Effort:
    """What a learner did on one exercise: different tries, hints seen, and whether it was ever solved.

    ``seen`` are the fingerprints of the attempts, ``shown`` the places of the uncovered hints in their list, in the
    order in which they were uncovered.
    """

    tries: int = 0
    hints: int = 0
    solved: bool = False
    seen: list[str] = field(default_factory=list, compare=False, repr=False)
    shown: list[int] = field(default_factory=list, compare=False, repr=False)

    def note(self, attempt: str, *, passed: bool, message: str = "", hints: Sequence[Hint] = ()) -> None:
        """Count one attempt, if it is new and the exercise not solved yet; a failing one uncovers the next hint.

        Parameters
        ----------
        attempt
            A fingerprint of the answer: the same for the same code.
        passed
            Whether it passed.
        message
            What the check said: a hint for the mistake that it names comes first.
        hints
            The exercise's ladder of hints.
        """
        if self.solved:
            return
        if attempt not in self.seen:
            self.seen = [*self.seen, attempt][-_KEPT:]
            self.tries += 1
            following = None if passed else next_hint(hints, self.shown, message)
            if following is not None:
                self.shown.append(following)
                self.hints = len(self.shown)
        self.solved = passed


def next_hint(hints: Sequence[Hint], shown: Sequence[int], message: str) -> int | None:
    """The place of the hint to uncover next: one for the mistake that the message names, else the next general one."""
    left = [place for place in range(len(hints)) if place not in shown]
    fitting = [place for place in left if hints[place].mistake and hints[place].names(message)]
    return next(iter([*fitting, *(place for place in left if not hints[place].mistake)]), None)


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

    def effort(self, exercise: str) -> Effort:
        """The learner's effort on an exercise, made if there is none yet."""
        return self.exercises.setdefault(exercise, Effort())

    def note_challenge(
        self, challenge: str, *, met: bool, excess: float, figures: dict[str, str]
    ) -> dict[str, str] | None:
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
        efforts = {str(name): _effort(kept) for name, kept in data["exercises"].items()}
        return Progress(lab, efforts, {str(n): _best(kept) for n, kept in data.get("challenges", {}).items()})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadFile(
            f"{paths.shown(path)} is not a progress file; delete it to start this lab's count anew."
        ) from error


def _effort(kept: dict[str, Any]) -> Effort:
    hints = int(kept["hints"])
    shown = [int(place) for place in kept.get("shown", range(hints))]
    return Effort(int(kept["tries"]), hints, bool(kept["solved"]), [str(name) for name in kept.get("seen", ())], shown)


def _best(kept: dict[str, Any]) -> Best:
    figures = {str(name): str(figure) for name, figure in kept["figures"].items()}
    return Best(bool(kept["met"]), float(kept["excess"]), figures)


@contextlib.contextmanager
def changing(lab: str) -> Iterator[Progress]:
    """The progress in a lab, to be changed: it is saved when the block ends, and two kernels cannot mix theirs up.

    Raises
    ------
    BadFile
        If the file cannot be read or written; it stays as it was.
    """
    with locked(location(lab)):
        kept = load(lab)
        yield kept
        save(kept)


def save(progress: Progress) -> None:
    """Write the progress file, whole or not at all."""
    write_json(location(progress.lab), progress.to_dict())
