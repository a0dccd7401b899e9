"""Which labs there are, read from the headers of their sources.

Listing them is cheap: only the first lines of each file are read, and no notebook tool is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelab.course import paths
from edgelab.errors import LabError

FORM = 2
_STEM = re.compile(r"(?P<id>\d\d)_(?P<slug>[a-z0-9_]+)")


@dataclass(frozen=True)
class Lab:
    """One lab, as its source file describes it.

    ``minutes`` is what a learner needs, ``memory_gb`` what its kernel takes at most, ``requires`` the importable
    names of the frameworks that it runs, ``claims`` the claims that it tests. ``optional`` maps a framework without
    which the lab opens all the same to what it then leaves out. ``form`` is the version of the form that it
    is written in (`edgelab.course.form`).
    """

    id: str
    slug: str
    title: str
    minutes: int
    memory_gb: float
    requires: tuple[str, ...]
    claims: tuple[str, ...]
    source: Path
    optional: Mapping[str, str] = field(default_factory=dict, hash=False)
    form: int = FORM

    @property
    def stem(self) -> str:
        """File name without its ending: ``"01_quantization"``."""
        return self.source.stem

    @property
    def notebook(self) -> Path:
        """The learner's notebook."""
        return self.source.parent.parent / "labs" / f"{self.stem}.ipynb"

    @property
    def solution(self) -> Path:
        """The solution's notebook."""
        return self.source.with_suffix(".ipynb")

    def to_dict(self) -> dict[str, Any]:
        """The lab as JSON-ready data: id, slug, title, minutes, requires, optional, form."""
        return {
            "id": self.id,
            "slug": self.slug,
            "title": self.title,
            "minutes": self.minutes,
            "requires": list(self.requires),
            "optional": dict(self.optional),
            "form": self.form,
        }


def all_labs() -> list[Lab]:
    """Every lab, in the order of their numbers.

    Raises
    ------
    LabError
        If a source's header cannot be read, or two labs share a number or a name.
    """
    found = [read_lab(path) for path in sorted(paths.sources().glob("[0-9][0-9]_*.py"))]
    for name in ("id", "slug"):
        values = [getattr(lab, name) for lab in found]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise LabError(f"Two labs in {paths.shown(paths.sources())} are called '{twice}'; rename one.")
    return found


def find(name: str) -> Lab:
    """A lab by name, number, file stem or path: ``"quantization"``, ``"1"``, ``"labs/01_quantization.ipynb"``.

    Raises
    ------
    LabError
        If there is no such lab; the message lists those there are.
    """
    labs = all_labs()
    wanted = Path(name).stem if name.endswith((".py", ".ipynb")) else name
    for lab in labs:
        if wanted in (lab.slug, lab.id, lab.stem) or (wanted.isdigit() and int(wanted) == int(lab.id)):
            return lab
    raise LabError(f"There is no lab '{name}'; the labs are {', '.join(lab.slug for lab in labs)}.")


def read_lab(source: Path) -> Lab:
    """Read the header of a lab's source.

    Raises
    ------
    LabError
        If the file's name or header is not that of a lab.
    """
    import yaml

    name = _STEM.fullmatch(source.stem)
    if name is None:
        raise LabError(f"{source.name} is not named like a lab; call it NN_slug.py, for example 07_pruning.py.")
    try:
        header = yaml.safe_load(_header(source))
    except yaml.YAMLError as error:
        raise LabError(f"The header of {source.name} is not valid YAML ({' '.join(str(error).split())}).") from error
    facts = header.get("jupyter", {}).get("edgelab") if isinstance(header, dict) else None
    if not isinstance(facts, dict):
        raise LabError(f"{source.name} has no `edgelab:` block under `jupyter:` in its header.")
    try:
        return Lab(
            id=name["id"],
            slug=name["slug"],
            title=str(facts["title"]),
            minutes=int(facts["minutes"]),
            memory_gb=float(facts["memory_gb"]),
            requires=_texts(facts["requires"]),
            claims=_texts(facts.get("claims", [])),
            source=source,
            optional=_optional(facts.get("optional", {})),
            form=_form(facts.get("form", FORM)),
        )
    except KeyError as error:
        raise LabError(f"The header of {source.name} lacks {error.args[0]!r} in its `edgelab:` block.") from error
    except (TypeError, ValueError) as error:
        raise LabError(f"The `edgelab:` block in the header of {source.name} has a wrong type ({error}).") from error


def _optional(values: Any) -> Mapping[str, str]:
    if not isinstance(values, dict) or not all(isinstance(text, str) and text for text in values.values()):
        raise TypeError(f"optional: {values!r} does not say of each framework what is left out without it")
    return {str(name): text for name, text in values.items()}


def _form(value: Any) -> int:
    if value != FORM:
        raise ValueError(f"form: {value!r} is not {FORM}, the form of every lab")
    return int(value)


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is not a list")
    return tuple(str(value) for value in values)


def _header(source: Path) -> str:
    """The lines between the two ``# ---``, without their comment signs."""
    kept: list[str] = []
    try:
        with source.open(encoding="utf-8") as stream:
            if stream.readline().rstrip() != "# ---":
                raise LabError(f"{source.name} does not start with a `# ---` header.")
            for line in stream:
                if line.rstrip() == "# ---":
                    return "\n".join(kept)
                if not line.startswith("#"):
                    break
                kept.append(line.rstrip("\n").removeprefix("#").removeprefix(" "))
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{source} could not be read ({error}).") from error
    raise LabError(f"The header of {source.name} is not closed by a second `# ---`.")
