"""The lab that this kernel runs: which one it is, on which versions and which machine."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path

from edgelab.course import boxes, paths
from edgelab.course.labs import Lab, find
from edgelab.course.progress import keeps_score
from edgelab.course.source import Cell, read_cells
from edgelab.errors import BadFile, LabError, MissingFramework
from edgelab.measure.machine import machine
from edgelab.reading import kernel_shell

DISTRIBUTIONS = {
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "ai_edge_litert": ("ai-edge-litert",),
    "ethosu": ("ethos-u-vela",),
    "sklearn": ("scikit-learn",),
}
"""Distributions of frameworks that are imported under another name."""
GROUPS = {"tensorflow": "tensorflow", "coremltools": "coreml"}
"""Dependency groups of frameworks outside the light environment."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Session:
    """One lab in one kernel. ``bodies`` holds checks that a cell of this kernel registered by itself."""

    lab: Lab
    bodies: dict[str, object] = field(default_factory=dict)
    _cells: list[Cell] = field(default_factory=list)
    _read_at: float = -1.0

    def cells(self) -> list[Cell]:
        """The cells of the lab's source, read again when the file changed."""
        changed = self.lab.source.stat().st_mtime
        if changed != self._read_at:
            self._cells, self._read_at = read_cells(self.lab.source), changed
        return self._cells


_current: list[Session] = []


def begin(lab: str, *, threads: int = 1) -> None:
    """Open a lab: the first call of every lab, in a `setup` cell.

    Shows what the figures below will depend on (versions, processor, cores), and pins the threads of the numerical
    libraries, because two threads on a busy machine can be many times slower than one.

    Parameters
    ----------
    lab
        The lab's name, for example ``"quantization"``.
    threads
        Threads of PyTorch and numpy, unless ``OMP_NUM_THREADS`` says otherwise. Engines take their own setting.

    Raises
    ------
    LabError
        If there is no such lab.
    MissingFramework
        If a framework that the lab requires is not installed; the message says how to add it.
    """
    found = find(lab)
    missing = [name for name in found.requires if not installed(name)]
    if missing:
        raise MissingFramework(
            f"The lab '{lab}' needs {', '.join(missing)}: run `{add_command(missing[0])}`, then restart the kernel."
        )
    _current[:] = [Session(found)]
    shell = kernel_shell()
    if shell is not None:  # a solution's notebook carries the checks' bodies, which are registered with this
        from edgelab.course.checks import checks

        shell.user_ns.setdefault("checks", checks)
    _pin(threads)
    _say_if_nothing_can_be_kept()
    facts = [
        f"edgelab {version('edgelab')}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in found.requires),
        machine().cpu,
        f"{machine().cores} cores",
    ]
    boxes.show_markdown(f"**{found.title}** · " + " · ".join(facts), " | ".join([found.title, *facts]))


def current() -> Session:
    """The open lab.

    Raises
    ------
    LabError
        If no lab was opened in this process.
    """
    if not _current:
        raise LabError("No lab is open here: run the setup cell at the top, the one that calls begin(), first.")
    return _current[0]


def installed(name: str) -> bool:
    """Whether a framework can be imported here, without importing it."""
    with contextlib.suppress(ImportError, ValueError):
        return importlib.util.find_spec(name) is not None
    return False


def version(name: str) -> str:
    """The installed version of a framework by its import name, or ``"?"``."""
    for distribution in DISTRIBUTIONS.get(name, (name,)):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return "?"


def add_command(name: str) -> str:
    """The command that adds a missing framework to this environment."""
    if made_by_uv():
        group = GROUPS.get(name)
        return f"uv sync --inexact --group {group}" if group else "uv sync --inexact"
    return f"python -m pip install {DISTRIBUTIONS.get(name, (name,))[0]}"


def made_by_uv() -> bool:
    """Whether uv made this environment, as `uv run` does."""
    with contextlib.suppress(OSError):
        return "\nuv = " in "\n" + (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    return False


def _say_if_nothing_can_be_kept() -> None:
    """In a learner's kernel, whose progress and predictions go to the folder with the runs."""
    if kernel_shell() is None or not keeps_score():
        return
    try:
        paths.ready(paths.runs())
    except BadFile as error:
        boxes.show_markdown(f"**Your progress and predictions will not be kept:** {error}", str(error))


def _pin(threads: int) -> None:
    for variable in _THREAD_VARIABLES:
        os.environ.setdefault(variable, str(threads))
    wanted = os.environ["OMP_NUM_THREADS"]
    count = int(wanted) if wanted.isdigit() and int(wanted) > 0 else threads
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    with contextlib.suppress(ImportError):
        import threadpoolctl

        threadpoolctl.threadpool_limits(count)
