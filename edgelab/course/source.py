"""A lab's source as cells: what is tagged, what is an exercise, what a check needs of it.

The source is a jupytext percent file. These tags have a meaning; a lab uses no others:

``parameters``
    The cell with the lab's dials; papermill puts the values of ``edgelab run -p`` behind it.
``setup``
    A cell that exercises may rely on: imports, data.
``exercise:ID``
    A function for the learner to write. What stands between ``### BEGIN SOLUTION`` and ``### END SOLUTION`` is
    taken out of the learner's notebook.
``check:ID``
    With ``hidden``: a cell that registers the body of a check. Without: the visible cell that calls it.
``hints:ID``
    A markdown cell with a numbered list of three hints, the last nearly the answer. An item that starts with
    ``(for: a mistake)``, in the words of the check, is one more, for whom makes that mistake: it then comes first.
``finding:ID``
    A function of the readings, ``finding_ID``, that makes the sentence which the cell shows; its code is folded.
``challenge:ID``
    The cell of an attempt at a challenge; the learner gets what stands behind ``### GIVEN``. With ``hidden``: a cell
    that defines ``reference()``, edgelab's own attempt.
``folded``
    A code cell whose output matters and whose code does not: the learner sees it when he opens it.
``hidden``
    Not in the learner's notebook.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.course import paths
from edgelab.errors import LabError

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
GIVEN = "### GIVEN"
_FOR = re.compile(r"\(for:(?P<mistake>[^)]*(?:\([^)]*\)[^)]*)*)\)")
_HINT = re.compile(r"^\s{0,3}\d+[.)]\s+", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A cell of a lab: its kind (``"code"`` or ``"markdown"``), its text and its tags."""

    kind: str
    text: str
    tags: tuple[str, ...] = ()

    def tagged(self, prefix: str) -> str | None:
        """The ID of the tag ``prefix:ID``, if the cell has it."""
        return next((tag.split(":", 1)[1] for tag in self.tags if tag.startswith(f"{prefix}:")), None)

    @property
    def hidden(self) -> bool:
        """Whether the learner's notebook leaves the cell out."""
        return "hidden" in self.tags or self.tagged("hints") is not None

    @property
    def folded(self) -> bool:
        """Whether the learner's notebook shows what the cell puts out and folds its code."""
        return self.kind == "code" and (self.hidden or "folded" in self.tags or self.tagged("finding") is not None)

    @property
    def for_learner(self) -> str:
        """The text as the learner's notebook holds it."""
        stubbed = self.tagged("exercise") is not None or self.tagged("challenge") is not None
        return stub(self.text) if stubbed else self.text

    def calls(self, function: str) -> list[str]:
        """First arguments, where they are plain text, of the calls of ``function`` in a code cell.

        Examples
        --------
        >>> Cell("code", 'f = check("affine", f)').calls("check")
        ['affine']
        """
        tree = self.tree()
        if tree is None:
            return []
        return [
            node.args[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == function
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ]

    def tree(self) -> ast.Module | None:
        """The cell as a syntax tree, or None if it is not plain Python."""
        if self.kind != "code":
            return None
        try:
            return ast.parse(self.text)
        except SyntaxError:
            return None


@dataclass(frozen=True)
class Hint:
    """A hint; ``mistake`` is the one that it is for, in the words of the check, or nothing."""

    text: str
    mistake: str = ""

    def names(self, message: str) -> bool:
        """Whether a check's message names the mistake that this hint is for."""
        return bool(self.mistake) and plain_words(self.mistake) in plain_words(message)


@dataclass(frozen=True)
class Exercise:
    """One exercise with everything that belongs to it. ``check`` is the visible cell that calls the check."""

    id: str
    cell: Cell
    check: Cell
    hints: tuple[Hint, ...]
    title: str = ""


def read_cells(path: Path) -> list[Cell]:
    """The cells of a lab's source (``.py``) or of a notebook (``.ipynb``).

    Raises
    ------
    LabError
        If the file is missing or is not a notebook.
    """
    return cells_of(read_notebook(path))


def read_notebook(path: Path) -> Any:
    """The file as nbformat's notebook object; see `read_cells`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LabError(f"{paths.shown(path)} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{paths.shown(path)} could not be read ({error}).") from error
    if path.suffix == ".py":
        import jupytext

        return jupytext.reads(text, fmt="py:percent")
    import nbformat

    try:
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise LabError(f"{paths.shown(path)} is not a notebook ({reason[0][:120]}).") from error
    return notebook


def cells_of(notebook: Any) -> list[Cell]:
    """The cells of nbformat's notebook object."""
    return [
        Cell(cell["cell_type"], cell["source"], tuple(cell["metadata"].get("tags", ()))) for cell in notebook["cells"]
    ]


def exercises(cells: list[Cell]) -> dict[str, Exercise]:
    """The exercises of a lab's source in order, by ID.

    Raises
    ------
    LabError
        If an exercise has no visible check; `edgelab.course.rules` says everything else that may be wrong.
    """
    found = {}
    heading = ""
    called = [(cell, cell.calls("check")) for cell in cells if not cell.hidden and "check" in cell.text]
    for cell in cells:
        identity = cell.tagged("exercise")
        if identity is None:
            lines = cell.text.splitlines() if cell.kind == "markdown" else []
            heading = next((line[4:].strip() for line in reversed(lines) if line.startswith("### ")), heading)
            continue
        visible = [c for c, names in called if identity in names]
        if not visible:
            raise LabError(f"The exercise '{identity}' has no visible cell that calls check(\"{identity}\", ...).")
        found[identity] = Exercise(identity, cell, visible[0], hints(cells, identity), heading or identity)
    return found


def hints(cells: list[Cell], exercise: str) -> tuple[Hint, ...]:
    """The ladder of hints of an exercise: the items of the numbered list in its ``hints:ID`` cell."""
    for cell in cells:
        if cell.tagged("hints") == exercise:
            return tuple(parse_hint(item) for item in split_hints(cell.text))
    return ()


def parse_hint(text: str) -> Hint:
    """A hint as its list holds it.

    Examples
    --------
    >>> parse_hint("(for: the rank was rounded down) Look at `np.ceil`.")
    Hint(text='Look at `np.ceil`.', mistake='the rank was rounded down')
    >>> parse_hint("Ranks count from 1.").mistake
    ''
    """
    found = _FOR.match(text)
    return Hint(text[found.end() :].strip(), found["mistake"].strip()) if found else Hint(text)


def plain_words(text: str) -> str:
    """Text without case, code marks and line breaks, to be compared."""
    return " ".join(text.replace("`", "").casefold().split())


def split_hints(text: str) -> tuple[str, ...]:
    r"""The items of a numbered markdown list.

    Examples
    --------
    >>> split_hints("1. Look at the range.\n2. Divide it\n   by the steps.")
    ('Look at the range.', 'Divide it\nby the steps.')
    """
    return tuple("\n".join(line.strip() for line in item.strip().splitlines()) for item in _HINT.split(text)[1:])


def stub(text: str) -> str:
    r"""An exercise cell as the learner gets it: each solution replaced by ``raise NotImplementedError``.

    The ``# TODO`` lines before it stay. Where ``### GIVEN`` stands in a solution, the learner gets the lines behind it
    instead, without their comment signs: faulty code to mend, or the start of an attempt.

    Examples
    --------
    >>> print(stub('def f(x):\n    # TODO double x\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION'))
    def f(x):
        # TODO double x
        raise NotImplementedError
    >>> print(stub('### BEGIN SOLUTION\nx = 2\n### GIVEN\n# x = None\n### END SOLUTION'))
    x = None
    """
    kept: list[str] = []
    block: list[str] | None = None
    for line in text.splitlines():
        if line.strip() == BEGIN:
            block = [line]
        elif line.strip() == END and block is not None:
            kept += _replaced(block)
            block = None
        elif block is not None:
            block.append(line)
        else:
            kept.append(line)
    return "\n".join(kept)


def _replaced(block: list[str]) -> list[str]:
    """What the learner gets for one solution; ``block`` starts with its BEGIN line."""
    given = next((place for place, line in enumerate(block) if line.strip() == GIVEN), None)
    if given is None:
        return [block[0][: len(block[0]) - len(block[0].lstrip())] + "raise NotImplementedError"]
    return [re.sub(r"^(\s*)# ?", r"\1", line) for line in block[given + 1 :]]
