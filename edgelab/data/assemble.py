"""From a learner's own items to a data set: splits, class names, and groups where none were given."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelab.data.dataset import Dataset, DataWarning, Split
from edgelab.data.splitting import thirds, three_way
from edgelab.errors import BadInput
from edgelab.quiet import without_commands

Labels = NDArray[np.int64]
Texts = NDArray[np.str_]

VALIDATION, TEST = 0.15, 0.2
MOST_BYTES = 4 * 1024**3
"""More than this is not read into memory."""
_BLOCK_ITEMS = 1024


def name_classes(labels: Sequence[str]) -> tuple[tuple[str, ...], Labels]:
    """Class names in order (as numbers if all are numbers) and each item's label.

    Examples
    --------
    >>> names, y = name_classes(["10", "9", "10"])
    >>> names, y.tolist()
    (('9', '10'), [1, 0, 1])
    """
    names = sorted(set(labels))
    if all(re.fullmatch(r"[+-]?\d+", name) for name in names):
        names.sort(key=int)
    number = {name: i for i, name in enumerate(names)}
    return tuple(names), np.array([number[label] for label in labels], np.int64)


def split_items(
    y: Labels, names: Sequence[str], where: Path, validation: float, test: float, seed: int, unit: str = "items"
) -> dict[str, Labels]:
    """Positions of the three splits, stratified by class; see `edgelab.data.splitting.three_way`.

    Raises
    ------
    BadInput
        If there is a single class, or a class has fewer than three items.
    """
    counts = np.bincount(y, minlength=len(names))
    present = np.flatnonzero(counts)
    if len(present) < 2:
        raise BadInput(f"{where} holds a single class ('{names[present[0]]}'); a classifier needs at least two.")
    fewest = present[np.argmin(counts[present])]
    if counts[fewest] < 3:
        raise BadInput(
            f"Class '{names[fewest]}' in {where} has {counts[fewest]} {unit}; at least 3 are needed, one for each "
            "split."
        )
    return three_way(y, validation, test, seed)


def stated_parts(
    stated: Texts, y: Labels, names: Sequence[str], where: Path, validation: float, test: float, seed: int
) -> dict[str, Labels]:
    """The three splits as stated; what is not stated is taken from all, or validation from train."""
    if "train" not in stated:
        return split_items(y, names, where, validation, test, seed)
    parts = {part: np.flatnonzero(stated == part) for part in ("train", "validation", "test")}
    if not len(parts["validation"]):
        train = parts["train"]
        drawn = split_items(y[train], names, where, validation, 0.5 * (1 - validation), seed, "training items")
        parts["validation"] = train[drawn["validation"]]
        parts["train"] = train[np.concatenate([drawn["train"], drawn["test"]])]
    if len(np.unique(y[parts["train"]])) < 2:
        raise BadInput(f"{where} holds a single class in its training items; a classifier needs at least two.")
    return parts


def assemble(
    x: NDArray[np.float32],
    y: Labels,
    names: Sequence[str],
    groups: Mapping[str, Texts],
    parts: Mapping[str, Labels],
    where: Path,
    scaling: str,
    notes: Sequence[str] = (),
) -> Dataset:
    """The data set; where no group is given, thirds of a value measured on each item.

    Each note on what was decided for the learner stays with the data set and comes as a `DataWarning`, too.

    The measured group is ``brightness`` (dark, medium, bright: the mean) for images and ``level`` (low, medium,
    high: the root mean square about the mean) for anything else, each within the item's class.

    Raises
    ------
    BadInput
        If a class of the validation or test items has no training item, or `Dataset` refuses the arrays.
    """
    for part in ("validation", "test"):
        unknown = np.setdiff1d(y[parts[part]], y[parts["train"]])
        if len(unknown):
            raise BadInput(f"Class '{names[unknown[0]]}' of {where} has {part} items and no training items.")
    for start in range(0, len(x), _BLOCK_ITEMS):
        finite = np.isfinite(x[start : start + _BLOCK_ITEMS]).reshape(-1, x[0].size).all(axis=1)
        if not finite.all():
            raise BadInput(
                f"{where} holds a NaN, a value beyond float32 or an infinite value in item "
                f"{start + int(np.argmin(finite))}."
            )
    if not groups:
        flat = x.reshape(len(x), -1)
        if x.ndim == 4:
            values, name, levels = flat.mean(axis=1), "brightness", ("dark", "medium", "bright")
        else:
            values, name, levels = flat.std(axis=1), "level", ("low", "medium", "high")
        groups = {name: thirds(values, y, parts["train"], levels)}
    splits = {
        part: Split(x[index], y[index], {key: values[index] for key, values in groups.items()})
        for part, index in parts.items()
    }
    for note in (said := tuple(" ".join(without_commands(note).split()) for note in notes if note)):
        warnings.warn(f"{where.name}: {note}", DataWarning, stacklevel=3)
    return Dataset(
        name=where.resolve().name,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        class_names=tuple(names),
        source=where.name,
        licence="your own",
        card="none: your own data",
        scaling=scaling,
        notes=said,
    )
