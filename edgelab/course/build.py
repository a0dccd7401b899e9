"""Write the learner's notebook and the solution's notebook of a lab from its one source.

The same source gives the same bytes: cell ids come from the lab and the cell's number, and nothing carries a
time stamp. A notebook in which a learner has worked is never overwritten unasked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.course import form, paths, rules
from edgelab.course.labs import Lab, all_labs, find
from edgelab.course.source import cells_of, read_cells, read_notebook
from edgelab.errors import LabError
from edgelab.files import write_text
from edgelab.reading import Table

_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@dataclass(frozen=True)
class BuildReport:
    """What a build wrote, and what it found stale or left alone because somebody worked in it."""

    labs: int
    written: tuple[Path, ...] = ()
    stale: tuple[Path, ...] = ()
    edited: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"wrote {paths.shown(path)}" for path in self.written]
        lines += [f"stale: {paths.shown(path)}; run `edgelab build`" for path in self.stale]
        lines += [
            f"kept: {paths.shown(path)} holds edits; `edgelab build --force` overwrites them" for path in self.edited
        ]
        return "\n".join([*lines, *self.problems]) or f"The notebooks of {self.labs} labs are up to date."


def build(names: list[str] | None = None, *, check: bool = False, force: bool = False) -> BuildReport:
    """Build the notebooks of the labs ``names``, or of all.

    Parameters
    ----------
    names
        Labs as `edgelab.course.labs.find` takes them.
    check
        Write nothing; report what is stale.
    force
        Overwrite notebooks that hold a learner's edits.

    Raises
    ------
    LabError
        If a lab is unknown. A lab that breaks a rule is not built; its ``problems`` are in the report.
    """
    labs = [find(name) for name in names] if names else all_labs()
    written: list[Path] = []
    stale: list[Path] = []
    edited: list[Path] = []
    problems: list[str] = []
    for lab in labs:
        source = read_notebook(lab.source)
        broken = rules.problems(lab, cells_of(source))
        problems += broken
        if broken:
            continue
        for path, notebook in ((lab.notebook, learner(lab, source)), (lab.solution, solution(lab, source))):
            text = dumps(notebook)
            if path.exists() and path.read_text(encoding="utf-8", errors="replace") == text:
                continue
            if check:
                stale.append(path)
            elif has_edits(path) and not force:
                edited.append(path)
            else:
                written.append(write_text(path, text))
    return BuildReport(len(labs), tuple(written), tuple(stale), tuple(edited), tuple(problems))


def measured(names: list[str] | None = None) -> Table:
    """The form of the labs ``names``, or of all: pace, pictures, formulas, links, place of the first exercise."""
    labs = [find(name) for name in names] if names else all_labs()
    return form.table([form.measure(lab, read_cells(lab.source)) for lab in labs])


def learner(lab: Lab, source: Any = None) -> Any:
    """The learner's notebook: solutions replaced by stubs, hidden cells and hints left out."""
    return _notebook(lab, source, for_learner=True)


def solution(lab: Lab, source: Any = None) -> Any:
    """The solution's notebook: every cell, the checks' bodies and the hints included."""
    return _notebook(lab, source, for_learner=False)


def dumps(notebook: Any) -> str:
    """A notebook as text, always the same for the same content."""
    import nbformat

    return str(nbformat.writes(notebook, indent=1, sort_keys=True)).rstrip("\n") + "\n"


def has_edits(path: Path) -> bool:
    """Whether somebody changed a built notebook's cells; outputs do not count, a file of another kind does."""
    if not path.exists():
        return False
    try:
        notebook = read_notebook(path)
    except LabError:
        return True
    built = notebook["metadata"].get("edgelab", {}).get("built")
    return bool(built != _digest(notebook["cells"]))


def _notebook(lab: Lab, source: Any, *, for_learner: bool) -> Any:
    import nbformat

    notebook = nbformat.v4.new_notebook(metadata=json.loads(json.dumps(_METADATA)))
    original = read_notebook(lab.source) if source is None else source
    for number, (cell, parts) in enumerate(zip(original["cells"], cells_of(original), strict=True)):
        if for_learner and parts.hidden:
            continue
        text = parts.for_learner if for_learner else parts.text
        metadata: dict[str, Any] = {"tags": list(parts.tags)} if parts.tags else {}
        if parts.folded:  # the reader meets what the cell puts out
            metadata["jupyter"] = {"source_hidden": True}
        new = nbformat.v4.new_code_cell if cell["cell_type"] == "code" else nbformat.v4.new_markdown_cell
        notebook["cells"].append(new(source=text, metadata=metadata, id=f"{lab.stem.replace('_', '-')}-{number:03d}"))
    shipped = {cell["id"]: fingerprint(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"}
    notebook["metadata"]["edgelab"] = {"lab": lab.slug, "built": _digest(notebook["cells"]), "cells": shipped}
    nbformat.validate(notebook)
    return notebook


def fingerprint(source: str) -> str:
    """A short digest of a cell's text: whether somebody changed what was shipped."""
    return hashlib.sha256(source.encode()).hexdigest()[:8]


def _digest(cells: list[Any]) -> str:
    content = json.dumps([[cell["cell_type"], cell["source"]] for cell in cells])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
