"""The learner's copy of a lab: what he edits is never a file that an update of the clone writes.

`edgelab open LAB` works on a copy in ``my/`` beside the labs, which git ignores. Where the clone is read-only or
somebody else's, the copy lies in ``edgelab/my/`` in the learner's home; ``EDGELAB_RUNS`` moves it below that folder.
A copy of an older lab is brought up to date with the answers kept, and nothing is thrown away: what a copy held before
an update or a reset stays beside it under another name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from edgelab.course import build, paths, progress
from edgelab.course.labs import Lab
from edgelab.course.source import read_notebook
from edgelab.errors import BadFile, LabError
from edgelab.files import locked, write_text

FOLDER = "my"
HOME_FOLDER = "edgelab"
What = Literal["made", "kept", "updated", "reset"]


@dataclass(frozen=True)
class Copied:
    """The learner's copy: where it is, what was done, where the earlier one went, and the answers that were kept.

    ``left`` names cells of the learner's own that an update did not take over; they are in ``before``.
    """

    lab: str
    path: Path
    what: What
    before: Path | None = None
    answers: tuple[str, ...] = ()
    left: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: lab, path, what, before, answers, left."""
        return {**vars(self), "path": str(self.path), "before": self.before and str(self.before)}

    def __str__(self) -> str:
        where = paths.shown(self.path)
        before = f" The one before is {paths.shown(self.before)}." if self.before else ""
        if self.what == "made":
            return f"Your copy of the lab is {where}."
        if self.what == "reset":
            return f"{where} is as new, and your tries at it are forgotten.{before}"
        if self.what == "updated":
            kept = f"your answers to {', '.join(self.answers)} are in it" if self.answers else "it held no answers"
            lost = f"; {self.left} cells that you added or changed are in the old one alone" if self.left else ""
            return f"The lab has a newer version: {where} was brought up to date, and {kept}{lost}.{before}"
        return f"Your copy of the lab is {where}, as you left it."


def folder() -> Path:
    """Where the learner's copies lie: below ``EDGELAB_RUNS``, else beside the labs, else in the learner's home."""
    if os.environ.get("EDGELAB_RUNS"):
        return paths.runs() / FOLDER
    return (paths.home() if is_own(paths.home()) else Path.home() / HOME_FOLDER) / FOLDER


def place(lab: Lab) -> Path:
    """Where the learner's copy of a lab is, or would be."""
    return folder() / f"{lab.stem}.ipynb"


def learners(lab: Lab) -> Path:
    """The notebook in which the learner works: his copy, or the one in ``labs/`` where there is none."""
    mine = place(lab)
    return mine if mine.exists() else lab.notebook


def ready(lab: Lab) -> Copied:
    """The learner's copy, made if there is none, and brought up to date if the lab has changed since.

    Raises
    ------
    LabError
        If the copy is not a notebook any more.
    BadFile
        If it cannot be written; nothing was changed then.
    """
    path = place(lab)
    paths.ready(path.parent)
    with locked(path):
        if not path.exists():
            write_text(path, _text(lab))
            return Copied(lab.slug, path, "made")
        old = read_notebook(path)
        if _built(old) == _built(build.learner(lab)):
            return Copied(lab.slug, path, "kept")
        return _update(lab, path, old)


def reset(lab: Lab, *, keep_progress: bool = False) -> Copied:
    """A fresh copy of a lab; the one before stays beside it. Tries, hints and solved exercises are forgotten.

    Parameters
    ----------
    lab
        The lab.
    keep_progress
        Keep the count of tries and what was solved.

    Raises
    ------
    BadFile
        If the copy cannot be written; the earlier one is still there.
    """
    path = place(lab)
    paths.ready(path.parent)
    with locked(path):
        before = _put_aside(path) if path.exists() else None
        write_text(path, _text(lab))
    if not keep_progress:
        counted = progress.location(lab.slug)
        if counted.exists():
            _put_aside(counted)
            counted.unlink()
    return Copied(lab.slug, path, "reset", before)


def _update(lab: Lab, path: Path, old: Any) -> Copied:
    """The lab's new notebook with what the learner wrote into exercises, challenges and parameters."""
    new = build.learner(lab)
    shipped = _shipped(old)
    theirs = {tag: cell for cell in old["cells"] for tag in _answer_tags(cell)}
    answers = []
    for cell in new["cells"]:
        for tag in _answer_tags(cell):
            mine = theirs.get(tag)
            if mine is not None and mine["source"] != cell["source"] and not _is_shipped(mine, shipped):
                cell["source"] = mine["source"]
                answers.append(tag.split(":", 1)[-1])
    taken = {cell["source"] for cell in new["cells"]}
    own = [cell for cell in old["cells"] if cell["cell_type"] == "code" and not _is_shipped(cell, shipped)]
    left = [cell for cell in own if cell["source"].strip() and cell["source"] not in taken]
    before = _put_aside(path)
    write_text(path, build.dumps(new))
    return Copied(lab.slug, path, "updated", before, tuple(answers), len(left))


def _answer_tags(cell: Any) -> list[str]:
    """The tags of a cell that the learner is meant to fill in."""
    tags = cell["metadata"].get("tags", ())
    return [tag for tag in tags if tag == "parameters" or tag.startswith(("exercise:", "challenge:"))]


def _shipped(old: Any) -> Mapping[str, str]:
    """Fingerprints of the cells as they were shipped, by cell id; empty for a notebook that does not say."""
    kept = old["metadata"].get("edgelab", {}).get("cells", {})
    return kept if isinstance(kept, Mapping) else {}


def _is_shipped(cell: Any, shipped: Mapping[str, str]) -> bool:
    return shipped.get(cell.get("id", "")) == build.fingerprint(cell["source"])


def _put_aside(path: Path) -> Path:
    """A copy of a file beside it, named by the time; the file itself stays."""
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
    for number in range(100):
        aside = path.with_name(f"{path.stem}.{stamp}{f'-{number}' if number else ''}{path.suffix}")
        if not aside.exists():
            try:
                shutil.copy2(path, aside)
            except OSError as error:
                raise BadFile(f"{path} could not be kept as {aside.name} ({error.strerror or error}).") from error
            return aside
    raise BadFile(f"There are too many copies of {path} from this second.")


def _text(lab: Lab) -> str:
    return build.dumps(build.learner(lab))


def _built(notebook: Any) -> str:
    facts = notebook["metadata"].get("edgelab", {})
    if "built" not in facts:
        raise LabError("The notebook does not say which lab it was built from.")
    return str(facts["built"])


def is_own(clone: Path) -> bool:
    """Whether a clone is this user's own and can be written to."""
    shared = hasattr(os, "geteuid") and clone.stat().st_uid != os.geteuid() != 0
    return not shared and os.access(clone, os.W_OK)
