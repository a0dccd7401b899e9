"""Which labs run on this machine, what is missing for the others, and the command that adds it.

No framework is imported: whether one is there is read from the installation.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any

import edgelab
from edgelab.course import browser, paths
from edgelab.course.labs import Lab, all_labs
from edgelab.course.session import GROUPS, add_command, installed, left_out, made_by_uv, version
from edgelab.errors import BadInput
from edgelab.measure.machine import Machine, machine
from edgelab.reading import Table

FRAMEWORKS = ("torch", "torchvision", "onnxruntime", "ai_edge_litert", "tensorflow", "coremltools")
PYTHONS = ((3, 11), (3, 13))
_SPARE_DISK_GB = 1.0


@dataclass(frozen=True)
class LabHealth:
    """Whether a lab runs here; if not, the reasons, each a sentence with what to do; and what it leaves out."""

    lab: Lab
    reasons: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        """Nothing stands in the lab's way."""
        return not self.reasons


@dataclass(frozen=True)
class Health:
    """What `edgelab doctor` found. ``versions`` maps a framework to its version, or None where it is missing."""

    machine: Machine
    disk_free_bytes: int
    browser: str | None
    versions: dict[str, str | None]
    labs: tuple[LabHealth, ...]
    warnings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Every lab runs here."""
        return all(entry.runs for entry in self.labs)

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON-ready data; see docs/json.md."""
        add = {name: None if self.versions[name] else add_command(name) for name in self.versions}
        return {
            "ok": self.ok,
            "edgelab": edgelab.__version__,
            "python": self.machine.python,
            "cpu": self.machine.cpu,
            "cores": self.machine.cores,
            "memory_bytes": self.machine.memory_bytes,
            "disk_free_bytes": self.disk_free_bytes,
            "system": self.machine.system,
            "browser": self.browser,
            "frameworks": [{"name": n, "version": v, "add": add[n]} for n, v in self.versions.items()],
            "labs": [
                {
                    "id": e.lab.id,
                    "slug": e.lab.slug,
                    "runs": e.runs,
                    "reasons": list(e.reasons),
                    "left_out": list(e.left_out),
                }
                for e in self.labs
            ],
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        here = self.machine
        frameworks = Table(
            "",
            ("framework", "version", "to add it"),
            [(name, found or "missing", None if found else add_command(name)) for name, found in self.versions.items()],
        )
        labs = Table(
            "",
            ("lab", "title", "minutes", "runs here"),
            [
                (e.lab.slug, e.lab.title, e.lab.minutes, " ".join(["yes"] * e.runs + [*e.reasons, *e.left_out]))
                for e in self.labs
            ],
        )
        memory, disk = here.memory_bytes / 2**30, self.disk_free_bytes / 2**30
        facts = [
            f"edgelab {edgelab.__version__}, Python {here.python}, {here.system}",
            f"{here.cpu}, {here.cores} cores, {memory:.1f} GB of memory, {disk:.1f} GB of disk free",
            f"browser for the tests: {self.browser or 'none; ' + browser.HOW}",
        ]
        parts = ["\n".join(facts), frameworks.text(), labs.text(), *self.warnings]
        return "\n\n".join(parts)


def examine() -> Health:
    """Look at this machine and this environment.

    Raises
    ------
    LabError
        If the labs cannot be found or read.
    """
    labs = all_labs()
    here = machine()
    names = dict.fromkeys([*FRAMEWORKS, *(name for lab in labs for name in (*lab.requires, *lab.optional))])
    versions = {name: version(name) if installed(name) else None for name in names}
    free = shutil.disk_usage(paths.home()).free
    entries = tuple(LabHealth(lab, _reasons(lab, versions, here), tuple(left_out(lab))) for lab in labs)
    return Health(here, free, _browser(), versions, entries, tuple(_warnings(here, free)))


def _reasons(lab: Lab, versions: dict[str, str | None], here: Machine) -> tuple[str, ...]:
    reasons = [f"needs {name}: {add_command(name)}." for name in lab.requires if not versions[name]]
    if here.memory_bytes < lab.memory_gb * 2**30:
        reasons.append(f"needs {lab.memory_gb:g} GB of memory; there are {here.memory_bytes / 2**30:.1f}.")
    return tuple(reasons)


def _warnings(here: Machine, free: int) -> list[str]:
    found = []
    light = made_by_uv() and not any(installed(name) for name in GROUPS)
    if light and os.environ.get("UV_NO_DEFAULT_GROUPS", "").casefold() not in ("1", "true"):
        found.append(
            "This is the light environment, and the next `uv run` would add the rest to it: set UV_NO_DEFAULT_GROUPS=1 "
            "to keep it light."
        )
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        found.append(f"Python {here.python} is untested; use 3.11 to 3.13.")
    if free < _SPARE_DISK_GB * 2**30:
        found.append(f"Less than {_SPARE_DISK_GB:g} GB of disk is free; runs and downloads may fail.")
    return found


def _browser() -> str | None:
    try:
        found = browser.find()
    except BadInput:
        return None
    return None if found is None else str(found)
