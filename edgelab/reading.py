"""A number with its provenance, tables of such numbers, and how a notebook leaves them behind.

A `Reading` says what was found, in which unit, how far it may be off, and how it was obtained. Nothing
modelled ever looks measured: the word stands beside the figure wherever it is shown.
"""

from __future__ import annotations

import datetime as dt
import html
import math
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeGuard, get_args

from edgelab.errors import BadInput
from edgelab.quiet import without_commands

How = Literal["measured", "emulated", "modelled", "quoted"]
READING_MIME = "application/vnd.edgelab.reading+json"


@dataclass(frozen=True)
class Reading:
    """One figure and how it was obtained.

    Parameters
    ----------
    value
        The figure, finite.
    unit
        Its unit as text: ``"ms"``, ``"points"``, ``"bytes"``, ``"x"`` for a ratio, ``""`` for a pure number.
    how
        ``"measured"``: a real runtime did it here, or where ``made_on`` says. ``"emulated"``: real machine code on
        an emulated processor. ``"modelled"``: a formula with stated inputs. ``"quoted"``: somebody published it.
    by
        What obtained it: the runtime with its version, the number of runs, the model's inputs, the source.
    low, high
        The ends of its 95 percent interval, if it has one.
    name
        Given by `record`.
    doubt
        Why it cannot tell, in one sentence or more: too few runs for its interval, a machine kept busy by others.
        Empty where nothing speaks against it. A claim is not decided by a reading in doubt.
    made_on
        Date (``"2026-10-01"``) and machine of a figure that was measured or emulated ahead of time. It keeps its word.

    Examples
    --------
    >>> print(Reading(1.234, "ms", "measured", "a stopwatch", low=1.2, high=1.3))
    1.23 ms (1.20 to 1.30), measured
    >>> print(Reading(7.1, "ms", "measured", "10 runs", doubt="The p99 of 10 runs cannot be told."))
    7.10 ms (cannot tell), measured
    >>> print(Reading(93.1, "%", "measured", "a night of training", made_on=("2026-10-01", "a laptop")))
    93.1%, measured on 2026-10-01, a laptop
    """

    value: float
    unit: str
    how: How
    by: str
    low: float | None = None
    high: float | None = None
    name: str = ""
    doubt: str = ""
    made_on: tuple[str, str] | None = None
    _shown_in: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise BadInput(f"how={self.how!r} is not a provenance; use one of {', '.join(get_args(How))}.")
        if not self.by:
            raise BadInput("A reading says by what it was obtained; `by` is empty.")
        for part in ("value", "low", "high"):
            number = getattr(self, part)
            if number is None and part != "value":
                continue
            if not math.isfinite(number):
                raise BadInput(f"A reading's {part} must be a finite number, not {number}.")
            object.__setattr__(self, part, int(number) if isinstance(number, numbers.Integral) else float(number))
        if (self.low is None) != (self.high is None):
            raise BadInput("A reading's interval needs both ends, low and high.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise BadInput(f"A reading's interval runs upwards; low={self.low} is above high={self.high}.")
        if self.made_on is not None:
            object.__setattr__(self, "made_on", _date_and_machine(self.made_on, self.how))

    @property
    def provenance(self) -> str:
        """How it was obtained, and for a figure made ahead of time when and on what: ``measured on DATE, MACHINE``."""
        return self.how if self.made_on is None else f"{self.how} on {', '.join(self.made_on)}"

    def to_dict(self) -> dict[str, Any]:
        """The reading as JSON-ready data: name, value, unit, how, by, low, high, doubt, made_on (date, machine)."""
        keys = ("name", "value", "unit", "how", "by", "low", "high", "doubt")
        made_on = None if self.made_on is None else dict(zip(("date", "machine"), self.made_on, strict=True))
        return {**{key: getattr(self, key) for key in keys}, "made_on": made_on}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reading:
        """The inverse of `to_dict`; data of before there was a doubt or a date has none."""
        made_on = data.get("made_on")
        return cls(
            value=data["value"],
            unit=data["unit"],
            how=data["how"],
            by=data["by"],
            low=data.get("low"),
            high=data.get("high"),
            name=data.get("name", ""),
            doubt=data.get("doubt", ""),
            made_on=None if made_on is None else (made_on["date"], made_on["machine"]),
        )

    def figure(self) -> str:
        """Value, unit and interval as text, without the provenance; "cannot tell" where a doubt left no interval."""
        spread = [] if self.low is None or self.high is None else [self.low, self.high]
        value, *ends = format_numbers([self.value, *spread])
        interval = f" ({ends[0]} to {ends[1]})" if ends else " (cannot tell)" if self.doubt else ""
        return f"{value}{_unit_text(self.unit)}{interval}"

    def __str__(self) -> str:
        return f"{self.figure()}, {self.provenance}"

    def _repr_markdown_(self) -> str:
        name = f"**{self.name}**: " if self.name else ""
        doubt = f". {self.doubt}" if self.doubt else ""
        return f"{name}{self.figure()}, *{self.provenance}* by {self.by}{doubt}"

    def _ipython_display_(self) -> None:
        """Show the reading, unless `record` showed it in the same cell."""
        shell = kernel_shell()
        if shell is None:
            print(self)
        elif shell.execution_count not in self._shown_in:
            _display({}, self._repr_markdown_())


Cell: TypeAlias = "str | int | float | bool | Reading | None"


@dataclass(frozen=True)
class Table:
    """Rows side by side, with the provenance of every reading in view.

    Parameters
    ----------
    title
        One line that says what is compared.
    columns
        Column headings, units included where the cells are bare numbers.
    rows
        One sequence of cells a row: text, numbers, readings or None for an empty cell.
    note
        What a reader must know to trust it (settings, versions, what was not done).

    Examples
    --------
    >>> print(Table("sizes", ("file", "bytes"), [("a.onnx", 12)]).text())
    sizes
    file    bytes
    a.onnx     12
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rows", tuple(tuple(row) for row in self.rows))
        for row in self.rows:
            if len(row) != len(self.columns):
                raise BadInput(
                    f"A row of {len(row)} cells does not fit the {len(self.columns)} columns of '{self.title}'."
                )

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON-ready data."""
        cells = [[c.to_dict() if isinstance(c, Reading) else c for c in row] for row in self.rows]
        return {"title": self.title, "columns": list(self.columns), "rows": cells, "note": self.note}

    def text(self) -> str:
        """The table for a terminal: aligned columns, numbers to the right."""
        body = [[_one_line(_cell_text(cell)) for cell in row] for row in self.rows]
        columns = [_one_line(column) for column in self.columns]
        widths = [max(len(line[i]) for line in [columns, *body]) for i in range(len(columns))]
        right = [self._is_numeric(i) for i in range(len(self.columns))]
        lines = [
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
            for line in [columns, *body]
        ]
        title, note = _one_line(self.title), without_commands(self.note)
        return "\n".join([*([title] if title else []), *lines, *([note] if note else [])])

    __str__ = text

    def _is_numeric(self, column: int) -> bool:
        cells = [row[column] for row in self.rows if row[column] is not None]
        return any(_is_number(c) for c in cells) and all(_is_number(c) or c == "unknown" for c in cells)

    def _repr_markdown_(self) -> str:
        def line(cells: Iterable[str]) -> str:
            return "| " + " | ".join(_one_line(c).replace("|", "\\|") for c in cells) + " |"

        rule = line("---:" if self._is_numeric(i) else "---" for i in range(len(self.columns)))
        body = [line(_cell_text(cell) for cell in row) for row in self.rows]
        title = [f"**{_one_line(self.title)}**", ""] if self.title else []
        note = ["", f"*{_one_line(self.note)}*"] if self.note else []
        return "\n".join([*title, line(self.columns), rule, *body, *note])


def record(name: str, reading: Reading) -> Reading:
    """Show a reading in the notebook and leave it in the executed file under `READING_MIME`.

    The readings of one cell stand in one folded block at the end of the cell, under its figure.

    Parameters
    ----------
    name
        What the tests, the claims table and a sweep find it by: ``"latency.onnx.batch_1"``.
    reading
        The reading; the one returned carries the name.

    Examples
    --------
    >>> record("size", Reading(4, "bytes", "measured", "the file system")).name
    'size'
    """
    if not name or not isinstance(reading, Reading):
        raise BadInput("record() takes a name and a Reading.")
    named = replace(reading, name=name)
    if (shell := kernel_shell()) is not None:
        from edgelab.reading_block import Recorded, leave

        leave(shell, Recorded(READING_MIME, named.to_dict(), named.figure(), named._repr_markdown_()))
        named._shown_in.append(shell.execution_count)  # noqa: SLF001 - the same module
    return named


def emit(mime: str, payload: dict[str, Any], markdown: str) -> None:
    """Display ``markdown`` in a running notebook with ``payload`` attached under ``mime``; elsewhere do nothing."""
    if kernel_shell() is not None:
        _display({mime: payload}, markdown)
        announce(mime, payload)


_listeners: list[Callable[[str, Mapping[str, Any]], None]] = []


def listen(listener: Callable[[str, Mapping[str, Any]], None]) -> None:
    """Have ``listener(mime, payload)`` called for whatever a running notebook shows with data attached.

    There is one listener: a second call takes the place of the first.
    """
    _listeners[:] = [listener]


def announce(mime: str, payload: Mapping[str, Any]) -> None:
    """Tell the listener what was shown."""
    for listener in _listeners:
        listener(mime, payload)


def kernel_shell() -> Any:
    """The running notebook's shell; None anywhere else."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if hasattr(shell, "kernel") else None


def _display(payload: dict[str, Any], markdown: str) -> None:
    from IPython.display import display

    plain = html.unescape(markdown.replace("**", "").replace("*", ""))
    display({**payload, "text/markdown": markdown, "text/plain": plain}, raw=True)


def format_numbers(values: Sequence[float]) -> list[str]:
    """Numbers as text with as many digits as the largest needs for three significant ones, and the first for one.

    Examples
    --------
    >>> format_numbers([1.234, 1.2])
    ['1.23', '1.20']
    >>> format_numbers([0.05, -0.303, 0.4029])
    ['0.050', '-0.303', '0.403']
    >>> format_numbers([12345.6])
    ['12,346']
    """
    first = float(values[0])
    largest = max(abs(float(n)) for n in values)
    if all(isinstance(n, numbers.Integral) for n in values):
        return [f"{int(n):,}" for n in values]
    magnitude = 0 if largest == 0 else math.floor(math.log10(largest))
    if magnitude < -4:
        return [f"{n:.2e}" for n in values]
    digits = max(0, 2 - magnitude)
    if first:
        digits = max(digits, -math.floor(math.log10(abs(first))))
    return [f"{n:,.{min(digits, 6)}f}" for n in values]


def _date_and_machine(made_on: Sequence[str], how: str) -> tuple[str, str]:
    try:
        date, machine = made_on
        dt.date.fromisoformat(date)
    except (TypeError, ValueError):
        raise BadInput(f"made_on={made_on!r} is not a date and a machine, as in ('2026-10-01', 'a laptop').") from None
    if not isinstance(machine, str) or not machine:
        raise BadInput(f"made_on={made_on!r} names no machine.")
    if how not in ("measured", "emulated"):
        raise BadInput(f"Only what was measured or emulated is made on a day and a machine, not what is {how}.")
    return date, machine


def _one_line(text: str) -> str:
    """Text on one line, without what a terminal would obey: a file from outside may have named it."""
    return without_commands(text).replace("\n", " ").replace("\t", " ")


def _is_number(cell: object) -> TypeGuard[float]:
    return isinstance(cell, numbers.Real) and not isinstance(cell, bool)


def _unit_text(unit: str) -> str:
    return unit if unit in ("", "%", "x") else f" {unit}"


def _cell_text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if _is_number(cell):
        return format_numbers([cell])[0] if math.isfinite(cell) else str(cell)
    return str(cell)
