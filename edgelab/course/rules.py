"""What a lab's source must hold, each broken rule as one sentence.

The order of sections, the tags and the parts of an exercise are the same in every lab, so that a learner
who knows one knows them all, and a check that cannot run is found before a learner meets it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from edgelab.course import form, prose
from edgelab.course.labs import Lab
from edgelab.course.owners import bound_name, has_fallback, learners_name
from edgelab.course.source import BEGIN, END, GIVEN, Cell, Exercise, exercises, parse_hint, split_hints, stub
from edgelab.errors import LabError

LONGEST_CELL = 30
HINTS = 3
_TAG = re.compile(r"parameters|setup|hidden|folded|(exercise|check|hints|finding|challenge):[a-z][a-z0-9_]*")


def problems(lab: Lab, cells: list[Cell]) -> list[str]:
    """Every rule that a lab breaks, one sentence each; an empty list is a good lab."""
    found = [*_head(lab, cells), *_tags(cells), *form.problems(lab, cells), *_lengths(cells), *_claims(lab, cells)]
    found += _predictions(cells)
    found += [sentence for cell in cells if cell.tagged("exercise") for sentence in _exercise(cells, cell)]
    found += [*_orphans(cells), *prose.problems(cells)]
    found += [sentence for exercise in _complete(cells) for sentence in _carries(exercise)]
    return [f"{lab.source.name}: {sentence}" for sentence in found]


def _head(lab: Lab, cells: list[Cell]) -> Iterator[str]:
    first = cells[0] if cells else Cell("code", "")
    if first.kind != "markdown" or not first.text.startswith(f"# {lab.id} "):
        yield f"The first cell must be markdown that starts with `# {lab.id} ` and the title."
    dials = [i for i, cell in enumerate(cells) if "parameters" in cell.tags]
    if len(dials) != 1:
        yield f"There must be exactly one cell tagged `parameters`, and there are {len(dials)}."
    setups = [i for i, cell in enumerate(cells) if "setup" in cell.tags]
    if dials and setups and setups[0] < dials[0]:
        yield "The `parameters` cell must stand before the first `setup` cell."
    begun = [name for i in setups for name in cells[i].calls("begin")]
    if begun != [lab.slug]:
        yield f'One `setup` cell must call begin("{lab.slug}") once.'


def _tags(cells: list[Cell]) -> Iterator[str]:
    for number, cell in enumerate(cells, 1):
        if cell.kind not in ("code", "markdown"):
            yield f"Cell {number} is a {cell.kind} cell; use code or markdown."
        for tag in cell.tags:
            if _TAG.fullmatch(tag) is None:
                yield f"Cell {number} has the unknown tag `{tag}`."


def _lengths(cells: list[Cell]) -> Iterator[str]:
    for number, cell in enumerate(cells, 1):
        lines = [line for line in cell.text.splitlines() if line.strip() not in (BEGIN, END, GIVEN)]
        if cell.kind == "code" and not cell.hidden and len(lines) > LONGEST_CELL:
            yield f"Code cell {number} has {len(lines)} lines, more than {LONGEST_CELL}; split it."


def _claims(lab: Lab, cells: list[Cell]) -> Iterator[str]:
    tested = {name for cell in cells for name in cell.calls("claim")}
    for name in sorted(set(lab.claims) - tested):
        yield f'The header promises the claim {name}, but no cell calls claim("{name}", ...).'
    for name in sorted(tested - set(lab.claims)):
        yield f"A cell tests the claim {name}, which the header's `claims` does not list."


def _predictions(cells: list[Cell]) -> Iterator[str]:
    """Every prediction is held against what was found, further down."""
    asked: dict[str, int] = {}
    for number, cell in enumerate(cells, 1):
        tree = cell.tree()
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "against":
                asked.pop(getattr(node.func.value, "id", ""), None)
        for node in tree.body if tree is not None else ():
            if _is_predict(getattr(node, "value", None)):
                targets = node.targets if isinstance(node, ast.Assign) else []
                if len(targets) == 1 and isinstance(targets[0], ast.Name):
                    asked[targets[0].id] = number
                else:
                    yield f"The prediction in cell {number} needs a name, to be held against what was found."
    for name, number in asked.items():
        yield f"The prediction `{name}` of cell {number} is never resolved; call `{name}.against(...)` further down."


def _is_predict(node: ast.AST | None) -> bool:
    """Whether this is a call of ``predict`` or ``ui.predict``; an engine's ``predict`` is something else."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("predict", "ui.predict")


def _exercise(cells: list[Cell], cell: Cell) -> Iterator[str]:
    identity = cell.tagged("exercise")
    if sum(other.tagged("exercise") == identity for other in cells) > 1:
        yield f"More than one cell is tagged `exercise:{identity}`."
    lines = [line.strip() for line in cell.text.splitlines()]
    if not lines.count(BEGIN) or lines.count(BEGIN) != lines.count(END) or lines.index(BEGIN) > lines.index(END):
        yield f"The exercise '{identity}' needs its solution between `{BEGIN}` and `{END}`."
    else:
        if not any(line.startswith("# TODO") for line in lines[: lines.index(BEGIN)]):
            yield f"The exercise '{identity}' needs a `# TODO` line before `{BEGIN}` that says what to do."
        yield from _stub(str(identity), cell)
    hidden = [other for other in cells if "hidden" in other.tags and other.tagged("check") == identity]
    needs = f"The exercise '{identity}' needs"
    if not any(identity in other.calls("checks") for other in hidden):
        yield f'{needs} a `hidden` cell tagged `check:{identity}` with @checks("{identity}").'
    if not any(identity in other.calls("check") for other in cells if not other.hidden):
        yield f'{needs} a visible cell that calls check("{identity}", ...).'
    ladders = [other for other in cells if other.tagged("hints") == identity]
    ladder = [parse_hint(item) for item in split_hints(ladders[0].text)] if ladders else []
    general = sum(not hint.mistake for hint in ladder)
    if len(ladders) != 1 or ladders[0].kind != "markdown" or general != HINTS:
        yield f"{needs} one markdown cell tagged `hints:{identity}` with a numbered list of {HINTS} hints."
    for hint in ladder:
        if hint.mistake and not any(hint.names(text) for other in hidden for text in _texts(other)):
            yield f"A hint of '{identity}' is for \"{hint.mistake}\", which its check never says."


def _texts(cell: Cell) -> Iterator[str]:
    """Every text in a code cell; of one with values put in, the parts around them."""
    tree = cell.tree()
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _complete(cells: list[Cell]) -> list[Exercise]:
    try:
        return list(exercises(cells).values())
    except LabError:  # an exercise without its check, which another rule names
        return []


def _carries(exercise: Exercise) -> Iterator[str]:
    """The lab goes on with what the check returns, so that an unchecked function never feeds a figure."""
    if bound_name(exercise) == learners_name(exercise) or not has_fallback(exercise):
        yield (
            f"The check of '{exercise.id}' must stand in for the learner's function under a name of its own: "
            f'`name = check("{exercise.id}", {learners_name(exercise)}, edgelab\'s function)`.'
        )


def _stub(identity: str, cell: Cell) -> Iterator[str]:
    if cell.tree() is None:
        yield f"The exercise '{identity}' is not valid Python."
        return
    try:
        tree = ast.parse(stub(cell.text))
    except SyntaxError:
        yield f"The exercise '{identity}' is not valid Python once its solution is taken out."
        return
    if any(isinstance(node, ast.Raise) for node in tree.body):
        yield f"The solution of '{identity}' must stand inside a function, so that the unsolved notebook runs."


def _orphans(cells: list[Cell]) -> Iterator[str]:
    known = {cell.tagged("exercise") for cell in cells}
    for kind in ("check", "hints"):
        for identity in sorted({str(cell.tagged(kind)) for cell in cells if cell.tagged(kind)} - known):
            yield f"A cell is tagged `{kind}:{identity}`, but there is no exercise '{identity}'."
