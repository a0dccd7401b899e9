"""A table in a CSV file: numbers, the columns of text, and what was left out of it."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelab.data.assemble import MOST_BYTES
from edgelab.data.columns import is_text_clock, is_unnamed, judge, numbered_series
from edgelab.data.labels import is_missing
from edgelab.errors import BadFile, BadInput
from edgelab.files import refuse_pointer

_DELIMITERS = ",;\t"
_BLOCK_ROWS = 4096
_LARGEST = float(np.finfo(np.float32).max)  # what is larger counts as not finite
_REASONS = {
    "index": "numbers the rows",
    "clock": "tells the time",
    "empty": "is empty",
    "text": "is an index of text",
}


@dataclass
class NumberTable:
    """The numbers of each row (N, columns), the columns of text by name, and sentences on what was left out."""

    values: NDArray[np.float32]
    texts: dict[str, list[str]]
    names: list[str]
    notes: list[str]


@dataclass
class _Reading:
    """A table while it is read.

    ``text_at`` are the columns of text, ``left_at`` those that are left out whatever stands in them, and ``numbers_at``
    the others. ``exact`` keeps in double precision what may be a clock.
    """

    file: Path
    header: list[str]
    text_at: dict[int, str]
    left_at: dict[int, str]
    numbers_at: list[int]
    texts: dict[str, list[str]]
    rows: list[list[float]] = field(default_factory=list)
    blocks: list[NDArray[np.float32]] = field(default_factory=list)
    exact: dict[int, list[NDArray[np.float64]]] = field(default_factory=dict)
    unlabelled: list[tuple[int, str, str]] = field(default_factory=list)


def read_table(
    file: Path, label: str, others: Sequence[str], drop: Sequence[str] | None, delimiter: str | None
) -> NumberTable:
    """Read a CSV file with a header line; see `edgelab.data.from_csv`.

    Parameters
    ----------
    file
        The file.
    label, others
        The columns of text; no item may lack one.
    drop
        The columns to leave out; None: those that number the rows or tell the time.
    delimiter
        The separator, or None for the one that is most frequent in the header.

    Raises
    ------
    BadFile
        If it cannot be read, or a cell is not what it must be.
    BadInput
        If a column is not there, or no column of numbers is left.
    """
    texts: dict[str, list[str]] = {name: [] for name in (label, *others)}
    reading: _Reading | None = None
    try:
        if file.stat().st_size > MOST_BYTES:
            raise BadFile(f"{file} has more than {MOST_BYTES:,} bytes; use a part of it.")
        refuse_pointer(file)
        with file.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter or max(_DELIMITERS, key=first.count), strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(file, header, texts, drop)
            for row in reader:
                if row and (len(row) > 1 or row[0].strip()):  # a line of blanks alone is none
                    reading = reading or _begun(file, header, row, texts, drop)
                    _take_row(reading, reader.line_num, row)
    except FileNotFoundError:
        raise BadFile(f"{file} does not exist.") from None
    except (csv.Error, UnicodeDecodeError, TypeError) as error:
        raise BadFile(f"{file} is not a readable CSV in UTF-8 ({error}); save it again as CSV in UTF-8.") from error
    except OSError as error:
        raise BadFile(f"{file} cannot be read ({error.strerror or error}).") from error
    if reading is None:
        raise BadFile(f"{file} has a header and no rows.")
    _close_block(reading)
    if reading.unlabelled:
        raise _unlabelled(reading)
    return _without_bookkeeping(reading, drop)


def _check_header(file: Path, header: list[str], texts: dict[str, list[str]], drop: Sequence[str] | None) -> None:
    if len(header) < 2:
        raise BadFile(f"{file} has no header line with at least two columns; its first line must name the columns.")
    some = ", ".join(name or "(unnamed)" for name in header[:8]) + (", ..." if len(header) > 8 else "")
    for name in texts:
        if header.count(name) != 1:
            count = "no column" if name not in header else "more than one column"
            raise BadInput(f"{file} has {count} '{name}'; its columns are {some}.")
    for name in drop or ():
        if name not in header:
            raise BadInput(f"{file} has no column '{name}' to drop; its columns are {some}.")
        if name in texts:
            raise BadInput(f"The column '{name}' of {file} cannot be dropped, for it is asked for as well.")
    if len(header) == len(texts):
        raise BadInput(f"{file} has no column of numbers beside {', '.join(texts)}.")


def _begun(
    file: Path, header: list[str], row: list[str], texts: dict[str, list[str]], drop: Sequence[str] | None
) -> _Reading:
    """What each column is, as far as its name and its first cell tell."""
    text_at = {header.index(name): name for name in texts}
    left_at: dict[int, str] = {}
    for position, name in enumerate(header):
        if position in text_at:
            continue
        cell = row[position].strip() if position < len(row) else ""
        if drop is not None:
            if name in drop:
                left_at[position] = ""
        elif is_text_clock(cell):
            left_at[position] = "clock"
        elif is_unnamed(name) and _number(cell) is None:
            left_at[position] = "text" if cell else "empty"
    numbers_at = [i for i in range(len(header)) if i not in text_at and i not in left_at]
    if not numbers_at:
        raise BadInput(f"{file} has no column of numbers beside {', '.join(texts)}.")
    return _Reading(file, header, text_at, left_at, numbers_at, texts)


def _take_row(reading: _Reading, line: int, row: list[str]) -> None:
    if len(row) != len(reading.header):
        raise BadFile(
            f"Line {line} of {reading.file} has {len(row)} fields and the header {len(reading.header)}; complete the "
            "line."
        )
    for position, name in reading.text_at.items():
        text = row[position].strip()
        if is_missing(text):
            reading.unlabelled.append((line, name, text))
        reading.texts[name].append(text)
    for position, kind in reading.left_at.items():
        if kind == "empty" and row[position].strip():
            raise BadFile(f"Line {line} of {reading.file} holds {row[position]!r} in a column without a name; name it.")
    try:
        numbers = [float(row[position]) for position in reading.numbers_at]
    except ValueError:
        numbers = [math.nan]
    if not max(map(abs, numbers)) <= _LARGEST or not all(map(math.isfinite, numbers)):
        raise _bad_cell(reading, line, row)
    reading.rows.append(numbers)
    if len(reading.rows) >= _BLOCK_ROWS:
        _close_block(reading)


def _close_block(reading: _Reading) -> None:
    """The rows since the last block as an array; of columns that may be a clock the doubles are kept, too."""
    if not reading.rows:
        return
    exact = np.array(reading.rows, np.float64)
    if not reading.blocks:
        reading.exact = {i: [] for i in range(exact.shape[1]) if _may_count(exact[:, i])}
    for i, kept in reading.exact.items():
        kept.append(exact[:, i].copy())
    reading.blocks.append(exact.astype(np.float32))
    reading.rows = []


def _may_count(values: NDArray[np.float64]) -> bool:
    """Whether a column's first rows leave it open that it numbers the rows or tells the time."""
    steps = np.diff(values)
    return bool(
        len(values) < 32
        or (values == np.round(values)).all()
        or (steps >= 0).mean() > 0.8
        or (steps <= 0).mean() > 0.8
        or values.min() > 9e8
    )


def _without_bookkeeping(reading: _Reading, drop: Sequence[str] | None) -> NumberTable:
    """The numbers without the columns that number the rows or tell the time, and what is to be said about that."""
    values = np.concatenate(reading.blocks)
    names = [reading.header[position] for position in reading.numbers_at]
    series = numbered_series(names)
    judged = {
        i: judge(names[i], np.concatenate(kept), in_series=names[i] in series) for i, kept in reading.exact.items()
    }
    found = {i: kind for i, kind in judged.items() if kind is not None}
    kept = [i for i in range(len(names)) if i not in found]
    if drop is not None or not kept:
        why = "for there is no other" if drop is None else "for drop= does not name it"
        notes = [f"The column {_called(names[i])} {_REASONS[k]} and was kept, {why}." for i, k in found.items()]
        return NumberTable(values, reading.texts, names, notes)
    notes = [
        f"The column {_called(reading.header[i])} {_REASONS[k]} and was left out." for i, k in reading.left_at.items()
    ]
    notes += [
        f"The column {_called(names[i])} {_REASONS[k]} and was left out; drop=() keeps it." for i, k in found.items()
    ]
    return NumberTable(np.ascontiguousarray(values[:, kept]), reading.texts, [names[i] for i in kept], notes)


def _called(name: str) -> str:
    return f"'{name}'" if name else "without a name"


def _unlabelled(reading: _Reading) -> BadFile:
    line, name, text = reading.unlabelled[0]
    more = sum(other == name for _, other, _ in reading.unlabelled) - 1
    what = f" ({text!r} is not one)" if text else ""
    also = f", nor have {more:,} more lines" if more else ""
    return BadFile(f"Line {line} of {reading.file} has no {name}{what}{also}; fill it in or remove the line.")


def _bad_cell(reading: _Reading, line: int, row: list[str]) -> BadFile:
    for position in reading.numbers_at:
        number = _number(row[position])
        if number is None or not abs(number) <= _LARGEST:
            where = (
                f"Line {line} of {reading.file} holds {row[position]!r} in column '{reading.header[position]}', which"
            )
            if re.fullmatch(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*", row[position]):
                return BadFile(f"{where} has a decimal comma; save the table with a decimal point (1.5, not 1,5).")
            return BadFile(f"{where} is not a finite number; mend it, or leave the column out with drop=.")
    raise AssertionError  # one of them made the caller ask


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
