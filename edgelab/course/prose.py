"""Rules for what a lab says in words: a result is never typed in, and a typed figure says who gives it.

A percentage, time, ratio, size or level in dB that stands in Markdown is either made by a `finding` cell, or it is
**given**: a budget, a definition, a data sheet. What is given is marked, and the mark names the source, which a reader
sees by pointing at the figure: ``<span class="given" title="the camera's budget">100 ms</span>``. A figure inside
quotation marks is somebody's claim, and code and formulas are what the reader computes with; none of these needs a
mark. Fixed text that a code cell shows beside a figure or a verdict holds no result either.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator

from edgelab.course.findings import HELPERS, PREFIX
from edgelab.course.source import Cell

LONGEST_FINDING = 16
LONGEST_GIVEN = 80
SPOKEN = ("title", "alt", "because", "note")
"""Keyword arguments of a lab's code whose text a reader meets beside a figure or a verdict."""
MODULES = ("math", "np")

_WORDS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|sixteen|twenty|thirty|forty|fifty|sixty|"
    "seventy|eighty|ninety|hundreds?|thousands?"
)
_NUMBER = rf"(?:\d+(?:,\d{{3}})*(?:\.\d+)?|(?:a )?\b(?:{_WORDS}))"
_UNITS = (
    r"\s?%",
    r"[ -](?:percent|percentage points?|points?)\b",
    r" (?:ns|us|ms|s|min|h|(?:nano|micro|milli)?seconds?|minutes?|hours?|days?|weeks?|months?|years?)\b",
    r" times (?:as|of|more|less|fewer|the|those|what|its|their|that|\w+er)\b",
    r"(?:x|-fold)\b",
    r" ?(?:[KMGT]i?B|kB|bytes?)\b",
    r" dB\b",
)
_FIGURE = re.compile(
    rf"(?<![\w.,]){_NUMBER}(?: ?(?:to|and|or|-) ?{_NUMBER})?(?:(?:{'|'.join(_UNITS)})|(?<=\d) times\b)", re.IGNORECASE
)
_GIVEN = re.compile(r"<span\s+class=\"given\"(?:\s+title=\"(?P<source>[^\"]*)\")?\s*>(?P<text>.*?)</span>", re.DOTALL)
_CODE = re.compile(r"```.*?```|<!--.*?-->|`[^`]*`|\$\$.*?\$\$|\$[^$]+\$|\]\([^)]*\)", re.DOTALL)
_QUOTED = re.compile(r"“[^”]*”|\"[^\"]*\"")


def problems(cells: list[Cell]) -> Iterator[str]:
    """Every rule about words that the cells of a lab break, one sentence each."""
    for number, cell in enumerate(cells, 1):
        if cell.kind == "markdown" and cell.tagged("hints") is None:
            yield from _markdown(number, cell.text)
        elif cell.kind == "code" and not cell.hidden:
            yield from _code(number, cell)
        if cell.tagged("finding") is not None:
            yield from _finding(cells, cell)


def typed_figures(text: str) -> list[str]:
    """The percentages, times, ratios, sizes and levels that ``text`` states without saying who gives them.

    Examples
    --------
    >>> typed_figures("It is four times smaller and loses 0.5 points.")
    ['four times smaller', '0.5 points']
    >>> typed_figures('The field says "2 to 4 times as fast"; `x[:3] * 100 %` is code.')
    []
    >>> typed_figures('It answers in <span class="given" title="the task">100 ms</span>.')
    []
    """
    text = _GIVEN.sub(lambda mark: " " if (mark["source"] or "").strip() else mark["text"], _CODE.sub(" ", text))
    plain = " ".join(re.sub(r"<[^>]*>|[*_]", "", text).split())
    return [match.group() for match in _FIGURE.finditer(_QUOTED.sub(" ", plain))]


def _markdown(number: int, text: str) -> Iterator[str]:
    for figure in typed_figures(text):
        yield (
            f'Markdown cell {number} states "{figure}": let a `finding` cell compute it, or mark what is given, as in '
            f'<span class="given" title="who gives it">{figure}</span>.'
        )
    for mark in _GIVEN.finditer(text):
        if not (mark["source"] or "").strip():
            yield f'The given "{mark["text"]}" in Markdown cell {number} needs a title="..." that says who gives it.'
        if len(mark["text"]) > LONGEST_GIVEN:
            yield (
                f'The given figure in Markdown cell {number} that starts with "{mark["text"][:30]}" holds more than '
                f"{LONGEST_GIVEN} characters; mark the figure alone."
            )


def _code(number: int, cell: Cell) -> Iterator[str]:
    for word, text in _spoken(cell):
        for figure in typed_figures(text):
            yield (
                f'The `{word}` in code cell {number} states "{figure}" in fixed words; compute it from the readings, '
                "or leave it out."
            )
    for node in ast.walk(cell.tree() or ast.Module([], [])):
        if isinstance(node, ast.keyword) and node.arg == "because" and isinstance(node.value, ast.Constant):
            yield (
                f"The `because` in code cell {number} is the same whatever was read; make it from the readings, for "
                "example with the function of a finding."
            )


def _spoken(cell: Cell) -> Iterator[tuple[str, str]]:
    """Fixed text that a code cell shows: what it passes under `SPOKEN`, and the strings of a finding."""
    tree = cell.tree()
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.keyword) and node.arg in SPOKEN:
            yield from ((str(node.arg), text) for text in _texts(node.value))
        elif isinstance(node, ast.FunctionDef) and node.name.startswith(PREFIX):
            yield from ((node.name, text) for statement in node.body for text in _texts(statement))


def _texts(node: ast.AST) -> Iterator[str]:
    """The strings below a node; an f-string is one, with a mark where it computes."""
    if isinstance(node, ast.JoinedStr):
        parts = [
            str(part.value) if isinstance(part, ast.Constant) else "\N{HORIZONTAL ELLIPSIS}" for part in node.values
        ]
        yield "".join(parts)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def _finding(cells: list[Cell], cell: Cell) -> Iterator[str]:
    identity = cell.tagged("finding")
    name = f"{PREFIX}{identity}"
    if sum(other.tagged("finding") == identity for other in cells) > 1:
        yield f"More than one cell is tagged `finding:{identity}`."
    tree = cell.tree()
    body = tree.body if tree is not None and cell.kind == "code" else []
    made = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    if not made:
        yield f"The cell tagged `finding:{identity}` must define the function {name}(...)."
        return
    shown = [
        node
        for node in ast.walk(ast.Module(body, []))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "finding"
    ]
    if not any(call.args and isinstance(call.args[0], ast.Name) and call.args[0].id == name for call in shown):
        yield f"The cell tagged `finding:{identity}` must show its sentence with finding({name}, ...)."
    lines = (made[0].end_lineno or 0) - made[0].lineno + 1
    if lines > LONGEST_FINDING:
        yield f"{name} has {lines} lines, more than {LONGEST_FINDING}; a finding is a sentence or two."
    for used in sorted(_globals(ast.unparse(made[0]))):
        yield f"{name} uses `{used}` from outside; give it as an argument, so that it can be tested on other readings."


def _globals(source: str) -> set[str]:
    """The names that a function takes from outside, but for builtins, `HELPERS` and `MODULES`."""
    import builtins

    known = {*dir(builtins), *HELPERS, *MODULES}

    def used(table: symtable.SymbolTable) -> set[str]:
        names = {s.get_name() for s in table.get_symbols() if s.is_referenced() and s.is_global()}
        return names.union(*(used(child) for child in table.get_children()))

    module = symtable.symtable(source, "finding", "exec")
    return set().union(*(used(function) for function in module.get_children())) - known
