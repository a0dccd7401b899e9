"""The form of a lab, measured: pace, pictures, formulas, links, and where the first exercise stands.

Every lab keeps these rules. The figures of all labs stand in one table, which `edgelab build` prints.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from edgelab.course.labs import Lab
from edgelab.course.source import Cell
from edgelab.reading import Table

SECTIONS = (
    "Predict",
    "From scratch",
    "The real tool",
    "Explore",
    "Claims",
    "Challenge",
    "Bring your own",
    "What you found",
    "Sources",
)
LONGEST_MEDIAN = 8
LONGEST_ROW = 3
WIDEST_LINE = 96
LATEST_EXERCISE = 1 / 3
FEWEST_LINKS = 3
QUIET_SECTIONS = ("Claims",)
"""Sections whose code cells each show a verdict, so that several may stand in a row."""
PICTURES = (
    "calibration_flow", "convolution", "fixed_point_multiply", "halving", "images_by", "memory_map", "memory_ribbon",
    "pipeline", "range_to_integers", "scale_per_channel", "side_by_side", "smlad", "soft_targets", "tensor_lives",
    "thin_product", "turns", "worked_table",
)  # fmt: skip
"""What `edgelab.ui` draws of an idea, by the name of the function."""
_PICTURE = re.compile(rf"\bui\.({'|'.join(PICTURES)})\(")
_SHOWS = re.compile(
    rf"{_PICTURE.pattern}|\b(ui\.(show|Panel)|Table|display|whose|finding|claim|challenge|check)\(|\.against\("
)
_FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$\n]+\$", re.DOTALL)
_LINK = re.compile(r"\]\(https?://")


@dataclass(frozen=True)
class Form:
    """What was measured of one lab's source, as its learner sees it.

    ``first_exercise`` is a share of the visible cells, ``median_lines`` that of the code cells whose source is open,
    ``longest_row`` the most code cells in a row without words or a figure, ``widest_line`` in characters.
    """

    lab: str
    form: int
    cells: int
    exercises: int
    first_exercise: float
    median_lines: float
    longest_row: int
    pictures: int
    formulas: int
    links: int
    steps: int
    bare_steps: tuple[str, ...]
    widest_line: int

    def row(self) -> tuple[str | int | float, ...]:
        """The figures as a row of `table`."""
        first = f"{100 * self.first_exercise:.0f} %"
        return (
            self.lab, self.form, self.cells, self.exercises, first, self.median_lines, self.longest_row,
            self.pictures, self.formulas, self.links, f"{self.steps - len(self.bare_steps)} of {self.steps}",
        )  # fmt: skip


def measure(lab: Lab, cells: list[Cell]) -> Form:
    """Measure a lab's form from the cells of its source."""
    seen = [cell for cell in cells if not cell.hidden]
    places = [place for place, cell in enumerate(seen) if cell.tagged("exercise")]
    text = "\n".join(cell.text for cell in seen if cell.kind == "markdown")
    code = [cell for cell in seen if cell.kind == "code"]
    lines = [_lines(cell) for cell in code if not cell.folded]
    steps = list(_steps(seen))
    return Form(
        lab=lab.slug,
        form=lab.form,
        cells=len(seen),
        exercises=len(places),
        first_exercise=places[0] / len(seen) if places else 1.0,
        median_lines=statistics.median(lines) if lines else 0,
        longest_row=max((len(row) for row in _rows(seen)), default=0),
        pictures=sum(len(_PICTURE.findall(cell.text)) for cell in code),
        formulas=len(_FORMULA.findall(text)),
        links=len(_LINK.findall(text)),
        steps=len(steps),
        bare_steps=tuple(f"{title} ({', '.join(lacks)})" for title, lacks in steps if lacks),
        widest_line=max((len(line) for cell in code if not cell.folded for line in cell.text.splitlines()), default=0),
    )


def table(forms: list[Form]) -> Table:
    """The form of all labs."""
    columns = (
        "lab", "form", "cells", "exercises", "first at", "median lines", "code in a row", "pictures", "formulas",
        "links", "whole steps",
    )  # fmt: skip
    return Table("The form of the labs", columns, [form.row() for form in forms])


def problems(lab: Lab, cells: list[Cell]) -> Iterator[str]:
    """Every rule of the form that a lab breaks, one sentence each."""
    found = measure(lab, cells)
    yield from _order(cells)
    if found.first_exercise > LATEST_EXERCISE:
        yield f"The first exercise stands at {100 * found.first_exercise:.0f} % of the cells, behind the first third."
    if found.median_lines > LONGEST_MEDIAN:
        yield f"The median code cell has {found.median_lines:g} lines; split or fold those over {LONGEST_MEDIAN}."
    if found.longest_row > LONGEST_ROW:
        yield f"There are {found.longest_row} code cells in a row without words or a figure; {LONGEST_ROW} is the most."
    if found.widest_line > WIDEST_LINE:
        yield f"A code line has {found.widest_line} characters; over {WIDEST_LINE} it scrolls on a small screen."
    if found.links < FEWEST_LINKS:
        yield f"The sources carry {found.links} links; give at least {FEWEST_LINKS} (DOI, arXiv, specification)."
    for step in found.bare_steps:
        yield f"The step under `From scratch` lacks something: {step}."
    yield from _questions(cells)
    if not any(cell.tagged("challenge") for cell in cells):
        yield 'There is no challenge: a cell tagged `challenge:ID` and a cell that calls challenge("ID", ...).'


def _order(cells: list[Cell]) -> Iterator[str]:
    headings = [heading for cell in cells for heading in _headings(cell, "## ")]
    places = [(headings.index(section), section) for section in SECTIONS if section in headings]
    for section in SECTIONS:
        if section not in headings:
            yield f"There is no section with the heading `## {section}`."
    for (before, first), (after, second) in pairwise(places):
        if after < before:
            yield f"The section `{second}` must come after `{first}`."


def _steps(seen: list[Cell]) -> Iterator[tuple[str, list[str]]]:
    """Each ``###`` under From scratch, and what it lacks: a picture, a formula, an exercise, whose function drew."""
    inside, title, parts = False, "", list[Cell]()
    steps: list[tuple[str, list[Cell]]] = []
    for cell in seen:
        for line in cell.text.splitlines() if cell.kind == "markdown" else ():
            if line.startswith("## "):
                inside = line == "## From scratch"
            elif line.startswith("### ") and inside:
                title, parts = line.removeprefix("### "), []
                steps.append((title, parts))
        if inside and steps:
            steps[-1][1].append(cell)
    for title, parts in steps:
        text = "\n".join(cell.text for cell in parts)
        has = {
            "no picture or worked numbers": _PICTURE.search(text) is not None,
            "no formula": _FORMULA.search(text) is not None,
            "no exercise": any(cell.tagged("exercise") for cell in parts),
            "no figure that says whose function made it": "whose(" in text,
        }
        yield title, [lack for lack, there in has.items() if not there]


def _questions(cells: list[Cell]) -> Iterator[str]:
    section = ""
    for cell in cells:
        if cell.kind != "markdown" or cell.hidden:
            continue
        section = next(iter(_headings(cell, "## ")), section)
        text = re.sub(r"<details>.*?</details>", "", cell.text, flags=re.DOTALL)
        if section == "Explore" and "?" in text and "<details>" not in cell.text:
            yield f'A question under `Explore` has no folded discussion: "{text.strip().splitlines()[-1][:60]}".'


def _rows(seen: list[Cell]) -> Iterator[list[Cell]]:
    row: list[Cell] = []
    quiet = False
    for cell in seen:
        if cell.kind == "markdown":
            quiet = next((heading in QUIET_SECTIONS for heading in _headings(cell, "## ")), quiet)
        if cell.kind == "code" and not quiet and not {"parameters", "setup"} & set(cell.tags):
            row.append(cell)
            if not _SHOWS.search(cell.text):
                continue
        yield row
        row = []
    yield row


def _headings(cell: Cell, mark: str) -> list[str]:
    if cell.kind != "markdown":
        return []
    return [line.removeprefix(mark).strip() for line in cell.text.splitlines() if line.startswith(mark)]


def _lines(cell: Cell) -> int:
    return sum(1 for line in cell.for_learner.splitlines() if line.strip())
