"""What every data set is: three splits of float32 arrays, channels first, with a group for each test item.

Choices (a threshold, a stopping point, a calibration method) are made on ``validation``; ``test`` is for
reporting. ``groups`` say for each item under which conditions it was taken, so that an average cannot hide
whom a compressed network fails.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.data.splitting import rank_in_class, stratified_order
from edgelab.errors import BadInput
from edgelab.files import expanded, writing
from edgelab.reading import Cell, Table

_LAYOUTS = {2: "(N, F)", 3: "(N, C, T)", 4: "(N, C, H, W)"}
_BLOCK_ITEMS = 4096


class DataWarning(UserWarning):
    """Something in a learner's own data was decided for them: a column left out, labels mapped."""


@dataclass(frozen=True, eq=False)
class Split:
    """Items, their labels, and the groups they belong to.

    Parameters
    ----------
    x
        Inputs, float32, channels first: (N, C, H, W) images, (N, C, T) signals or (N, F) features. Other
        floating types are converted; integers are refused, because their scaling would be a guess.
    y
        Labels, int64, (N,), from 0.
    groups
        For each name (``"lighting"``, ``"sensor"``) one label per item; kept as text.

    Raises
    ------
    BadInput
        If the lengths differ, a value is NaN or infinite, or a type or number of dimensions does not fit.

    Examples
    --------
    >>> split = Split(np.zeros((3, 1, 8), "float32"), [0, 1, 1], {"sensor": ["a", "a", "b"]})
    >>> len(split), split.groups["sensor"].tolist()
    (3, ['a', 'a', 'b'])
    """

    x: NDArray[np.float32] = field(repr=False)
    y: NDArray[np.int64] = field(repr=False)
    groups: Mapping[str, NDArray[np.str_]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        x, y = _inputs(self.x), _labels(self.y)
        if len(x) != len(y):
            raise BadInput(f"x holds {len(x)} items and y {len(y)} labels; there must be one label per item.")
        groups = {name: _group(name, values, len(x)) for name, values in dict(self.groups).items()}
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "groups", MappingProxyType(groups))

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: ArrayLike) -> Split:
        """The items at ``index`` (positions or a mask), in that order."""
        chosen = np.asarray(index)
        return Split(self.x[chosen], self.y[chosen], {k: v[chosen] for k, v in self.groups.items()})

    def subset(self, n: int, seed: int = 0, stratified: bool = True) -> Split:
        """``n`` items drawn without replacement, in random order.

        ``stratified=True`` keeps the shares of the classes as near as rounding lets them be; otherwise the draw is
        uniform, and the shares vary as chance has it.

        Raises
        ------
        BadInput
            If ``n`` is below 1 or above the number of items.

        Examples
        --------
        >>> split = Split(np.zeros((6, 2), "float32"), [0, 0, 0, 0, 1, 1])
        >>> np.bincount(split.subset(3, seed=1).y).tolist()
        [2, 1]
        """
        if not 1 <= n <= len(self):
            raise BadInput(f"A subset of {n} items cannot be drawn from {len(self)}; ask for 1 to {len(self)}.")
        rng = np.random.default_rng(seed)
        order = stratified_order(self.y, rng) if stratified else rng.permutation(len(self))
        return self.take(order[:n])

    def to_npz(self, path: str | os.PathLike[str], group: str | None = None) -> Path:
        """Write ``x`` (float32), ``y`` (int64) and, if named, one of the groups as ``group`` (text).

        This is the form that ``edgelab compare --data`` and `edgelab.data.from_npz` read.

        Raises
        ------
        BadInput
            If there is no such group.
        BadFile
            If the file cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {"x": self.x, "y": self.y}
        if group is not None:
            if group not in self.groups:
                raise BadInput(f"There is no group '{group}' here; there is {', '.join(self.groups) or 'none'}.")
            arrays["group"] = self.groups[group]
        with writing(path) as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        return expanded(path)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits, what the labels mean, and where the data come from.

    Parameters
    ----------
    name
        What `edgelab.data.load` finds it by.
    train, validation, test
        The splits; inputs of one shape.
    class_names
        The name of label 0, 1, ...
    source
        Who made the data, or the procedure that did.
    licence
        Under which terms it may be used.
    card
        The file that describes it: ``"datasets/digits.md"``.
    scaling
        What was done to the raw values: ``"pixel / 16, so 0 to 1"``.
    notes
        What was decided for whom the data belong to: columns left out, labels mapped. A sentence each.

    Raises
    ------
    BadInput
        If a split is empty, the shapes disagree, a label has no class name, or the test split lacks a group
        that the training split has.
    """

    name: str
    train: Split = field(repr=False)
    validation: Split = field(repr=False)
    test: Split = field(repr=False)
    class_names: tuple[str, ...]
    source: str
    licence: str
    card: str
    scaling: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = tuple(str(name) for name in self.class_names)
        object.__setattr__(self, "class_names", names)
        if len(names) < 2 or len(set(names)) != len(names):
            raise BadInput(f"'{self.name}' needs at least two different class names, not {list(names)}.")
        for part, split in self.splits.items():
            if len(split) == 0:
                raise BadInput(f"The {part} split of '{self.name}' is empty.")
            if split.x.shape[1:] != self.train.x.shape[1:]:
                raise BadInput(
                    f"The {part} items of '{self.name}' have the shape {split.x.shape[1:]} and the training items "
                    f"{self.train.x.shape[1:]}; they must agree."
                )
            if split.y.max() >= len(names):
                raise BadInput(
                    f"Label {split.y.max()} in the {part} split of '{self.name}' has no name: there are {len(names)} "
                    f"class names, so labels run from 0 to {len(names) - 1}."
                )
        missing = [name for name in self.train.groups if name not in self.test.groups]
        if missing:
            raise BadInput(
                f"The test split of '{self.name}' lacks the group {', '.join(missing)} of the training split."
            )

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name: train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one item, without the batch."""
        return tuple(self.train.x.shape[1:])

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def subset(self, n: int, seed: int = 0, stratified: bool = True) -> Dataset:
        """The same data set with ``n`` training items; validation and test stay whole.

        See `Split.subset`, which also draws from any one split: ``data.train.subset(200)`` is a calibration set.
        """
        return replace(self, train=self.train.subset(n, seed, stratified))

    def golden(self, n: int = 32) -> Split:
        """``n`` fixed test items to hold two runtimes against each other, as even over the classes as can be.

        The choice takes no seed: it is the first item of each class, then the second of each, and so on.
        """
        if not 1 <= n <= len(self.test):
            raise BadInput(f"{n} golden items cannot be taken from {len(self.test)} test items of '{self.name}'.")
        return self.test.take(np.lexsort((self.test.y, rank_in_class(self.test.y)))[:n])

    def to_npz(self, path: str | os.PathLike[str], split: str = "test", group: str | None = None) -> Path:
        """Write one split as ``x``, ``y`` and optionally ``group``; see `Split.to_npz`."""
        if split not in self.splits:
            raise BadInput(f"'{split}' is not a split; use one of {', '.join(self.splits)}.")
        return self.splits[split].to_npz(path, group)

    def to_dict(self) -> dict[str, Any]:
        """The description as JSON-ready data: no items, but how many there are by split, class and group."""
        splits = {
            part: {
                "items": len(split),
                "by_class": dict(zip(self.class_names, _counts(split.y, self.classes), strict=True)),
                "by_group": {name: _by_label(values) for name, values in split.groups.items()},
            }
            for part, split in self.splits.items()
        }
        texts: dict[str, Any] = {key: getattr(self, key) for key in ("name", "source", "licence", "card", "scaling")}
        texts["notes"] = list(self.notes)
        return {**texts, "input_shape": list(self.input_shape), "class_names": list(self.class_names), "splits": splits}

    def _repr_markdown_(self) -> str:
        counts = [_counts(split.y, self.classes) for split in self.splits.values()]
        rows: list[list[Cell]] = [[name, *(part[i] for part in counts)] for i, name in enumerate(self.class_names)]
        rows.append(["all", *(len(split) for split in self.splits.values())])
        groups = "; ".join(
            f"{name}: {', '.join(labels)}"
            if len(labels := sorted(set(values.tolist()))) <= 8
            else f"{name}: {len(labels)}"
            for name, values in self.test.groups.items()
        )
        note = (
            f"Inputs {_LAYOUTS[self.train.x.ndim]} of shape {self.input_shape}, {self.scaling}. "
            f"Groups: {groups or 'none'}. Source: {self.source}. Licence: {self.licence}. Card: {self.card}."
            + "".join(f" {sentence}" for sentence in self.notes)
        )
        return Table(f"{self.name}: items per class", ("class", *self.splits), rows, note)._repr_markdown_()


def _inputs(values: ArrayLike) -> NDArray[np.float32]:
    x = np.asarray(values)
    if x.ndim not in _LAYOUTS:
        raise BadInput(f"x has the shape {x.shape}; it must be {', '.join(_LAYOUTS.values())}, channels first.")
    if not np.issubdtype(x.dtype, np.floating):
        raise BadInput(f"x is {x.dtype}; scale it and convert it to float32 first (8-bit images: x / 255).")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        x = np.ascontiguousarray(x, dtype=np.float32)
    for start in range(0, len(x), _BLOCK_ITEMS):
        finite = np.isfinite(x[start : start + _BLOCK_ITEMS])
        if not finite.all():
            item = start + int(np.argwhere(~finite)[0][0])
            raise BadInput(f"x holds a NaN or an infinite value in item {item}; remove the item or repair it.")
    return x


def _labels(values: ArrayLike) -> NDArray[np.int64]:
    y = np.asarray(values)
    if y.ndim != 1 or (y.size and not np.issubdtype(y.dtype, np.integer)):
        raise BadInput(f"y is {y.dtype} of shape {y.shape}; it must be integers of shape (N,), one label per item.")
    if y.size and y.min() < 0:
        raise BadInput(f"y holds the label {y.min()} at item {int(y.argmin())}; labels count from 0.")
    return np.ascontiguousarray(y, dtype=np.int64)


def _group(name: str, values: ArrayLike, items: int) -> NDArray[np.str_]:
    labels = np.asarray(values)
    if labels.shape != (items,):
        raise BadInput(
            f"The group '{name}' has the shape {labels.shape}; it needs one label for each of {items} items."
        )
    text = labels.astype(str)
    if "" in text:
        raise BadInput(f"The group '{name}' has no label for item {int(np.argmax(text == ''))}.")
    return text


def _counts(y: NDArray[np.int64], classes: int) -> list[int]:
    return [int(count) for count in np.bincount(y, minlength=classes)]


def _by_label(values: NDArray[np.str_]) -> dict[str, int]:
    labels, counts = np.unique(values, return_counts=True)
    return {str(label): int(count) for label, count in zip(labels, counts, strict=True)}
