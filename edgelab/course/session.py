"""The lab that this kernel runs: which one it is, on which versions and which machine, and what passed its check."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgelab.course import boxes, paths, results
from edgelab.course.labs import Lab, find
from edgelab.course.progress import keeps_score
from edgelab.course.source import Cell, read_cells
from edgelab.errors import BadFile, LabError, MissingFramework
from edgelab.measure.machine import machine
from edgelab.reading import kernel_shell, listen

DISTRIBUTIONS = {
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "ai_edge_litert": ("ai-edge-litert",),
    "ethosu": ("ethos-u-vela",),
    "sklearn": ("scikit-learn",),
}
"""Distributions of frameworks that are imported under another name."""
GROUPS = {"tensorflow": "tensorflow", "coremltools": "coreml", "skl2onnx": "conversion"}
"""Dependency groups of frameworks outside the light environment."""
APART = {"flwr": "uv run --isolated --no-default-groups --group flower python -m edgelab.federated.flower"}
"""Frameworks that live in an environment of their own, and the command that builds it and tries it."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SECONDS = 20.0
"""When an answer counts as endless, unless its check says otherwise."""
Body = TypeVar("Body", bound=Callable[..., Any])


@dataclass(frozen=True)
class Registered:
    """A check's body with its settings, as `checks` registered it."""

    body: Callable[..., Any]
    seconds: float
    mutates: bool


@dataclass
class Session:
    """One lab in one kernel.

    ``bodies`` holds checks that a cell of this kernel registered by itself, ``checked`` the answer that each check
    last saw, ``accepted`` those of them that passed, ``provided`` what `edgelab.course.check` gave in place of others.
    """

    lab: Lab
    bodies: dict[str, Registered] = field(default_factory=dict)
    checked: dict[str, Any] = field(default_factory=dict)
    accepted: dict[str, Any] = field(default_factory=dict)
    provided: list[Any] = field(default_factory=list)
    _cells: list[Cell] = field(default_factory=list)
    _read_at: float = -1.0

    def remember(self, cells: list[Cell]) -> None:
        """Take over the cells of the lab's source from who has read them."""
        self._cells, self._read_at = cells, self.lab.source.stat().st_mtime

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
    opened = Session(found)
    if _current and _current[0].lab == found:  # the setup cell was run again: names are bound to what they were
        before = _current[0]
        opened.checked, opened.accepted, opened.provided = before.checked, before.accepted, before.provided
    first = not _current
    _current[:] = [opened]
    shell = kernel_shell()
    listen(_keep)
    if shell is not None:  # a solution's notebook carries the checks' bodies, which are registered with this
        shell.user_ns.setdefault("checks", checks)
        if first:
            gc.freeze()  # what the imports made stays: no collection need look through it again
    _pin(threads)
    _say_if_nothing_can_be_kept()
    facts = [
        f"edgelab {version('edgelab')}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in (*found.requires, *filter(installed, found.optional))),
        machine().cpu,
        f"{machine().cores} cores",
    ]
    missing = left_out(found)
    markdown = "\n\n".join([f"**{found.title}** · " + " · ".join(facts), *missing])
    boxes.show_markdown(markdown, "\n".join([" | ".join([found.title, *facts]), *missing]))


def left_out(lab: Lab) -> list[str]:
    """What a lab leaves out here for want of an optional framework, a sentence each, with the command that adds it."""
    return [
        f"In an environment of its own, {name}: {text.rstrip('.')}. `{APART[name]}` builds and tries it."
        if name in APART
        else f"Left out here, without {name}: {text.rstrip('.')}. `{add_command(name)}` adds it."
        for name, text in lab.optional.items()
        if not installed(name)
    ]


def _keep(mime: str, payload: Mapping[str, Any]) -> None:
    if _current:
        results.note(_current[0].lab.slug, mime, payload)


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


def checks(identity: str, *, seconds: float = SECONDS, mutates: bool = False) -> Callable[[Body], Body]:
    """Register the decorated function as the body of the check of an exercise.

    Parameters
    ----------
    identity
        The exercise's ID.
    seconds
        When an answer counts as endless.
    mutates
        The exercise is about changing an argument in place, so that this is no mistake.
    """

    def register(body: Body) -> Body:
        current().bodies[identity] = Registered(body, seconds, mutates)
        return body

    return register


def passed(identity: str) -> bool:
    """Whether the exercise's last check in this kernel passed, so that the lab goes on with the learner's answer.

    Raises
    ------
    LabError
        If no lab was opened in this process.
    """
    return identity in current().accepted


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
    """The command that adds a missing framework to this environment, or to one of its own."""
    if name in APART:
        return APART[name]
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
