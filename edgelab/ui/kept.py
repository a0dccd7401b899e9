"""Predictions that outlive a kernel: a small JSON file in the folder with the runs, question to answer.

A person's notebook keeps them. A solution that runs by itself (``EDGELAB_PROGRESS=off``) and a plain Python
process read and write nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from edgelab.errors import BadFile
from edgelab.files import read_json, write_json

NAME = "predictions.json"
_LONGEST = 1000


def place() -> Path | None:
    """The file for a running notebook's predictions, or None where none are kept.

    It lies in ``EDGELAB_RUNS``, else in ``runs/`` of the course: ``EDGELAB_HOME``, or the folder around this
    process that holds ``labs/`` and ``solutions/``.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel") or os.environ.get("EDGELAB_PROGRESS", "").casefold() == "off":
        return None
    named = os.environ.get("EDGELAB_RUNS")
    if named:
        return Path(named).expanduser() / NAME
    home = os.environ.get("EDGELAB_HOME")
    here = Path.cwd()
    for folder in [Path(home).expanduser()] if home else [here, *here.parents]:
        if (folder / "labs").is_dir() and (folder / "solutions").is_dir():
            return folder / "runs" / NAME
    return None


def recall(path: Path | None, question: str) -> float | str | None:
    """What was answered before, or None; a file that cannot be read counts as none."""
    answer = _all(path).get(question) if path is not None else None
    return answer if isinstance(answer, float | int | str) and not isinstance(answer, bool) else None


def keep(path: Path | None, question: str, answer: float | str) -> None:
    """Remember an answer beside the others.

    Raises
    ------
    BadFile
        If the file cannot be written; what it held stays.
    """
    if path is not None:
        answers = {**_all(path), question: answer}
        write_json(path, dict(list(answers.items())[-_LONGEST:]))


def _all(path: Path) -> dict[str, object]:
    with contextlib.suppress(BadFile):
        found = read_json(path)
        if isinstance(found, dict):
            return found
    return {}
