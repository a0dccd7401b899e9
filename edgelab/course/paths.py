"""Where a course lives: the folder with the labs, and the folder with what their runs leave behind.

The labs are files in a clone. They are found from ``EDGELAB_HOME``, else from the folder in which a command or a
kernel was started (or one above it), else beside the installed package.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgelab.errors import BadFile, LabError


def home() -> Path:
    """The folder that holds ``solutions/`` and ``labs/``.

    Raises
    ------
    LabError
        If no such folder is found, or ``EDGELAB_HOME`` names one without labs.
    """
    named = os.environ.get("EDGELAB_HOME")
    if named:
        folder = Path(named).expanduser().resolve()
        if not _holds_labs(folder):
            raise LabError(f"EDGELAB_HOME names {folder}, which holds no solutions/ folder with labs.")
        return folder
    here = Path.cwd()
    beside = Path(__file__).resolve().parents[2]
    for folder in (here, *here.parents, beside):
        if _holds_labs(folder):
            return folder
    raise LabError("No labs were found: run this inside a clone of edgelab, or set EDGELAB_HOME to one.")


def sources() -> Path:
    """The folder of the lab sources, ``solutions/``."""
    return home() / "solutions"


def notebooks() -> Path:
    """The folder of the learner's notebooks, ``labs/``."""
    return home() / "labs"


def runs() -> Path:
    """The folder for executed labs and the learner's progress: ``EDGELAB_RUNS``, else ``runs/`` beside the labs."""
    named = os.environ.get("EDGELAB_RUNS")
    return Path(named).expanduser().resolve() if named else home() / "runs"


def ready(folder: Path, cure: str = "set EDGELAB_RUNS to a folder of your own") -> Path:
    """Make a folder if it is not there, and find out that files can be written to it before anything is promised.

    Parameters
    ----------
    folder
        Where files will go.
    cure
        What a person can do if they cannot, as the end of a sentence.

    Raises
    ------
    BadFile
        If the folder cannot be made or written: a read-only clone, somebody else's, a full disk.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "runs"
    >>> ready(folder) == folder and folder.is_dir()
    True
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise BadFile(f"{folder} cannot be written ({error.strerror or error}); {cure}.") from error


def shown(path: Path) -> str:
    """A path as a person wants to read it: relative to the folder they are in, where it lies below that.

    Examples
    --------
    >>> shown(Path.cwd() / "labs")
    'labs'
    """
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)


def _holds_labs(folder: Path) -> bool:
    solutions = folder / "solutions"
    return solutions.is_dir() and any(solutions.glob("[0-9][0-9]_*.py"))
