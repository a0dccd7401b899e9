"""From what stands in a file as labels to 0, 1, 2, ...: nothing becomes a class by accident, no mapping is silent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.data.assemble import Labels, name_classes
from edgelab.errors import BadInput

_MISSING = {"", "nan", "-nan", "+nan", "<na>", "n/a", "#n/a", "nat"}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SHOWN = 8


def is_missing(label: str) -> bool:
    """Whether a label is what tables hold where there is none.

    Examples
    --------
    >>> [is_missing(text) for text in ("nan", " ", "NA", "none", "null")]
    [True, True, True, False, False]
    """
    return label.strip().lower() in _MISSING or label.strip() == "NA"


def text_labels(labels: Sequence[str], where: str) -> tuple[tuple[str, ...], Labels, str]:
    """Class names, each item's label and a note (or nothing) from labels that are text.

    Numbers count as such: ``1`` and ``1.0`` are one class, and classes are in the order of their numbers.

    Raises
    ------
    BadInput
        If a label is missing, or all are numbers and not all of them whole.

    Examples
    --------
    >>> text_labels(["3", "1.0", "1"], "a.csv")[:2]
    (('1', '3'), array([1, 0, 0]))
    """
    kinds = sorted(set(labels))
    if empty := [kind for kind in kinds if is_missing(kind)]:
        first = next(i for i, label in enumerate(labels) if label == empty[0])
        raise BadInput(
            f"{where} has no label for item {first} ({empty[0]!r} is not a class); remove such items, label them, or "
            "name the class otherwise."
        )
    note = ""
    if all(_NUMBER.fullmatch(kind) for kind in kinds):
        values = {kind: float(kind) for kind in kinds}
        odd = next((kind for kind, value in values.items() if not value.is_integer()), None)
        if odd is not None:
            raise BadInput(
                f"{where} holds {odd}, which is a measurement and no class; give whole numbers or words as labels."
            )
        if not all(re.fullmatch(r"\d+", kind) for kind in kinds) or len(set(values.values())) < len(kinds):
            labels = [str(_whole(label)) for label in labels]
        names, y = name_classes(labels)
        note = mapping_note(names, "" if list(names) == [str(i) for i in range(len(names))] else "Labels")
        return names, y, note
    names, y = name_classes(labels)
    return names, y, note


def array_labels(
    y: NDArray[Any], class_names: Sequence[str] | None, file: Path
) -> tuple[tuple[str, ...], Labels, list[str]]:
    """Class names, each item's label and notes from the labels of an array file.

    Raises
    ------
    BadInput
        If a label is missing, not whole, of a type that is none of a label's, or there are fewer names than labels.
    """
    where = f"y in {file}"
    if y.dtype.kind in "US":
        texts, notes = _decoded(y, where)
        names, labels, note = text_labels(texts, where)
        if class_names is not None and tuple(class_names) != names:
            raise BadInput(f"{where} is text, which names its classes ({_few(names)}); leave class_names out.")
        return names, labels, [*notes, note or mapping_note(names, "Text labels")]
    if y.dtype.kind not in "iubf":
        raise BadInput(f"{where} is {y.dtype}; it must be integers, or text.")
    notes = []
    if y.dtype.kind == "f":
        y = _whole_numbers(y, where)
        notes.append("Labels are floats; all are whole, so they were taken as integers.")
    if y.dtype.kind == "b":
        notes.append("Labels are booleans: False became 0, True became 1.")
        names = tuple(class_names) if class_names is not None else ("False", "True")
        if len(names) != 2:
            raise BadInput(f"{where} is boolean, so there are two classes, and {len(names)} class names.")
        return names, y.astype(np.int64), notes
    names, labels, note = _integer_labels(y, class_names, where)
    return names, labels, [*notes, note]


def _whole_numbers(y: NDArray[Any], where: str) -> NDArray[np.int64]:
    if bad := np.flatnonzero(~np.isfinite(y)).tolist():
        raise BadInput(f"{where} has no label for item {bad[0]} ({y[bad[0]]}); remove such items or label them.")
    if odd := np.flatnonzero(y != np.round(y)).tolist():
        raise BadInput(
            f"{where} holds {y[odd[0]]} for item {odd[0]}, which is a measurement and no class; give integers or text."
        )
    if y.size and float(np.abs(y).max()) >= 2**53:
        raise BadInput(f"{where} holds {y.max()}, too large for a label; give integers from 0, or text.")
    return y.astype(np.int64)


def _integer_labels(
    y: NDArray[Any], class_names: Sequence[str] | None, where: str
) -> tuple[tuple[str, ...], Labels, str]:
    kinds, labels = np.unique(y, return_inverse=True)
    own = tuple(str(kind) for kind in kinds.tolist())
    if class_names is None:
        plain = own == tuple(str(i) for i in range(len(own)))
        return own, labels.astype(np.int64).reshape(-1), "" if plain else mapping_note(own, "Labels")
    names = tuple(class_names)
    if int(kinds[0]) >= 0 and int(kinds[-1]) < len(names):
        return names, y.astype(np.int64), ""
    if len(names) != len(kinds):
        outside = kinds[-1] if int(kinds[-1]) >= len(names) else kinds[0]
        raise BadInput(f"{where} holds the label {outside} and there are {len(names)} class names, which count from 0.")
    return names, labels.astype(np.int64).reshape(-1), mapping_note(own, "Labels")


def mapping_note(names: Sequence[str], what: str) -> str:
    """The sentence on a mapping, or nothing without ``what``.

    Examples
    --------
    >>> mapping_note(["1", "2", "3"], "Labels")
    'Labels 1, 2, 3 became 0 to 2 in this order.'
    """
    return f"{what} {_few(names)} became 0 to {len(names) - 1} in this order." if what else ""


def group_texts(values: NDArray[Any], name: str, file: Path) -> NDArray[np.str_]:
    """A group's labels as text.

    Raises
    ------
    BadInput
        If they are of a type that cannot be text.
    """
    if values.dtype.kind == "S":
        return np.array(_decoded(values, f"{name} in {file}")[0])
    if values.dtype.kind not in "iubfU":
        raise BadInput(f"{name} in {file} is {values.dtype}; it must be text or integers.")
    return values.astype(str)


def _decoded(values: NDArray[Any], where: str) -> tuple[list[str], list[str]]:
    """Text of an array of text or bytes, and a note where the bytes are no UTF-8."""
    if values.dtype.kind == "U":
        return [str(value) for value in values.tolist()], []
    try:
        return [value.decode("utf-8") for value in values.tolist()], []
    except UnicodeDecodeError:
        return [value.decode("latin-1") for value in values.tolist()], [f"{where} holds bytes, read as Latin-1."]


def _whole(label: str) -> int:
    return int(label) if re.fullmatch(r"[+-]?\d+", label) else int(float(label))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")
