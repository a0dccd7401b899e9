"""A learner's own signals in a CSV file as a data set: a window in each row, or a sample in each row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelab.data.assemble import MOST_BYTES, TEST, VALIDATION, Labels, assemble, split_items
from edgelab.data.dataset import Dataset
from edgelab.data.labels import text_labels
from edgelab.data.splitting import check_shares, three_way
from edgelab.data.table import read_table
from edgelab.errors import BadInput
from edgelab.files import expanded


def from_csv(
    path: str | os.PathLike[str],
    label: str = "label",
    *,
    drop: str | Sequence[str] | None = None,
    window: int | None = None,
    hop: int | None = None,
    group: str | None = None,
    recording: str | None = None,
    validation: float = VALIDATION,
    test: float = TEST,
    seed: int = 0,
    delimiter: str | None = None,
) -> Dataset:
    """Signals from one CSV file with a header line.

    Two forms. Without ``window`` each row is one window: its columns, but for those named below, are the samples in
    order, and x is (N, 1, T). With ``window`` each row is one sample in time and each remaining column a channel
    (``ax, ay, az``): the file is cut into windows of ``window`` rows every ``hop`` rows, and x is (N, C, window).
    A window never reaches across a change of label, recording or group; what is left over at its end is dropped.

    Windows of one recording resemble each other, so they must not lie on both sides of a split. With
    ``recording`` each recording goes into one split as a whole. Without it a window in each row is dealt out by
    chance, and a stretch of samples of one label is cut in time: its beginning is training, then comes validation,
    and its end is test, with no window across a cut.

    Parameters
    ----------
    path
        The file, UTF-8; fields separated by comma, semicolon or tab, decimals by a point.
    label
        The column of the class, whole numbers or text.
    drop
        Columns to leave out. Without it those are left out that number the rows (pandas' unnamed one, 0 to N - 1) or
        tell the time (a clock that runs through the file, seconds since 1970, dates), for a network would learn the
        order of the file from them; the data set's notes and a `DataWarning` name them. With it these columns go and
        no others: ``drop=()`` keeps all. An unnamed column is ``""``.
    window, hop
        Rows of a window and rows from one window's start to the next, by default half a window.
    group
        The column of the group for audits (a sensor, a machine).
    recording
        The column that says which rows were recorded together (a session, a person, a run).
    validation, test, seed
        Shares of the items, and which go where.
    delimiter
        The separator, where it is not the one that occurs most often in the header line.

    Returns
    -------
    Dataset
        Values as in the file. Groups: ``group`` and ``recording`` under their columns' names, or else ``level``,
        thirds of the training windows of the same class by root mean square.

    Raises
    ------
    BadFile
        If a row has another number of fields than the header, a field is not a finite number, or a label is
        missing or "nan"; the message says in which row.
    BadInput
        If a column is not there, or there is a single class or too little of one.
    """
    if window is None and hop is not None:
        raise BadInput("hop= is for samples in rows; state window= as well.")
    step = hop if hop is not None else max(1, (window or 2) // 2)
    if window is not None and (window < 2 or step < 1):
        raise BadInput(
            f"window={window} and hop={step} cannot be cut; use a window of 2 rows or more and a hop of 1 or more."
        )
    if delimiter is not None and len(delimiter) != 1:
        raise BadInput(f"delimiter={delimiter!r} is not one character.")
    check_shares(validation, test)
    file = expanded(path)
    left_out = None if drop is None else [drop] if isinstance(drop, str) else list(drop)
    table = read_table(file, label, [name for name in (group, recording) if name], left_out, delimiter)
    names, y, mapped = text_labels(table.texts[label], f"The column '{label}' of {file}")
    if len(names) < 2:
        raise BadInput(f"{file} holds a single class ('{names[0]}'); a classifier needs at least two.")
    by_name = {name: np.array(table.texts[name]) for name in dict.fromkeys((group, recording)) if name}
    values = table.values
    if window is None:
        x = values[:, None]
        parts = _deal_rows(y, names, by_name.get(recording or ""), file, validation, test, seed)
    else:
        runs = _runs([y, *by_name.values()])
        owner = _owner(runs, y, by_name.get(recording or ""), file, validation, test, seed)
        starts, parts = _cut(runs, owner, window, step, validation, test)
        if not len(starts):
            raise BadInput(f"{file} has no stretch of {window} rows with one label; choose a shorter window.")
        if len(starts) * window * values.shape[1] * 4 > MOST_BYTES:
            raise BadInput(f"{len(starts):,} windows of {file} do not fit into memory; choose a longer hop.")
        x = np.stack([values[start : start + window].T for start in starts])
        y, by_name = y[starts], {name: labels[starts] for name, labels in by_name.items()}
    for part, index in parts.items():
        if missing := sorted(set(range(len(names))) - set(y[index].tolist())):
            raise BadInput(
                f"Class '{names[missing[0]]}' of {file} has no {part} window; record more of it, choose a shorter "
                "window, or another seed."
            )
    return assemble(x, y, names, by_name, parts, file, "as in the file", [*table.notes, mapped])


def _deal_rows(
    y: Labels,
    names: Sequence[str],
    recordings: NDArray[np.str_] | None,
    file: Path,
    validation: float,
    test: float,
    seed: int,
) -> dict[str, Labels]:
    """The splits where each row is one window."""
    if recordings is None:
        return split_items(y, names, file, validation, test, seed)
    owner = _deal_recordings(y, recordings, file, validation, test, seed)
    return {part: np.flatnonzero(owner == part) for part in ("train", "validation", "test")}


def _deal_recordings(
    y: Labels, recordings: NDArray[np.str_], file: Path, validation: float, test: float, seed: int
) -> NDArray[np.str_]:
    """For each row the split of its recording, stratified by class where each recording has a single one."""
    names, first, which = np.unique(recordings, return_index=True, return_inverse=True)
    single = np.array_equal(y, y[first][which])
    of_recording = y[first] if single else np.zeros(len(names), np.int64)
    if np.bincount(of_recording)[np.unique(of_recording)].min() < 3:
        each = "of each class " if single else ""
        raise BadInput(
            f"{file} needs at least 3 recordings {each}to fill three splits; leave recording= out, or record more."
        )
    owner = np.empty(len(names), "<U10")
    for part, index in three_way(of_recording, validation, test, seed).items():
        owner[index] = part
    return owner[which]


@dataclass(frozen=True)
class _Run:
    """Rows ``start`` to ``stop`` with one label, one recording and one group."""

    start: int
    stop: int


def _runs(columns: Sequence[NDArray[np.int64] | NDArray[np.str_]]) -> list[_Run]:
    changes = np.zeros(len(columns[0]), bool)
    for values in columns:
        changes[1:] |= values[1:] != values[:-1]
    edges = [0, *np.flatnonzero(changes).tolist(), len(changes)]
    return [_Run(a, b) for a, b in pairwise(edges) if b > a]


def _owner(
    runs: Sequence[_Run],
    y: Labels,
    recordings: NDArray[np.str_] | None,
    file: Path,
    validation: float,
    test: float,
    seed: int,
) -> list[str | None]:
    """The split of each run; None for one that is to be cut in time."""
    if recordings is None:
        return [None] * len(runs)
    owner = _deal_recordings(y, recordings, file, validation, test, seed)
    return [str(owner[run.start]) for run in runs]


def _cut(
    runs: Sequence[_Run], owner: Sequence[str | None], window: int, hop: int, validation: float, test: float
) -> tuple[Labels, dict[str, Labels]]:
    """First rows of all windows, and their positions by split."""
    starts: list[int] = []
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for run, part in zip(runs, owner, strict=True):
        rows = run.stop - run.start
        ends = [run.stop - round(rows * (validation + test)), run.stop - round(rows * test), run.stop]
        pieces = [(part, run.start, run.stop)] if part else list(zip(parts, [run.start, *ends], ends, strict=False))
        for name, start, stop in pieces:
            first_rows = range(start, stop - window + 1, hop)
            parts[name].extend(range(len(starts), len(starts) + len(first_rows)))
            starts.extend(first_rows)
    return np.array(starts, np.int64), {name: np.array(index, np.int64) for name, index in parts.items()}
