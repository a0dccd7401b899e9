"""Dealing items out: orders that keep the classes in proportion, the three splits, and groups by thirds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput

Labels = NDArray[np.int64]


def rank_in_class(y: Labels) -> Labels:
    """For each item, how many of its class stand before it.

    Examples
    --------
    >>> rank_in_class(np.array([0, 1, 0, 0, 1])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(y, kind="stable")
    counts = np.bincount(y)
    rank = np.empty(len(y), np.int64)
    rank[order] = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def stratified_order(y: Labels, rng: np.random.Generator) -> Labels:
    """A random order of the items in which every stretch holds the classes in about their overall proportion.

    Examples
    --------
    >>> y = np.repeat([0, 1], [6, 3])
    >>> order = stratified_order(y, np.random.default_rng(0))
    >>> np.bincount(y[order[:3]]).tolist(), np.bincount(y[order[3:6]]).tolist()
    ([2, 1], [2, 1])
    """
    order = rng.permutation(len(y))
    shuffled = y[order]
    # A class's k-th item of c stands at (k + 1/2) / c of the way.
    place = (rank_in_class(shuffled) + 0.5) / np.bincount(shuffled)[shuffled]
    return order[np.argsort(place, kind="stable")]


def three_way(y: Labels, validation: float, test: float, seed: int) -> dict[str, Labels]:
    """Positions of the training, validation and test items, stratified; each class is in each split.

    Parameters
    ----------
    y
        Labels (N,).
    validation, test
        Shares of the items, each above 0 and together below 1.
    seed
        Which items go where.

    Raises
    ------
    BadInput
        If a share is not possible or a class has fewer than three items.

    Examples
    --------
    >>> parts = three_way(np.repeat([0, 1], 10), validation=0.2, test=0.3, seed=0)
    >>> [len(index) for index in parts.values()]
    [10, 4, 6]
    """
    check_shares(validation, test)
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Labels]] = {"train": [], "validation": [], "test": []}
    for label in np.unique(y):
        mine = rng.permutation(np.flatnonzero(y == label))
        if len(mine) < 3:
            raise BadInput(f"Class {label} has {len(mine)} items; at least 3 are needed, one for each split.")
        for_test = min(max(1, round(test * len(mine))), len(mine) - 2)
        for_validation = min(max(1, round(validation * len(mine))), len(mine) - for_test - 1)
        cuts = np.split(mine, [for_test, for_test + for_validation])
        for part, index in zip(("test", "validation", "train"), cuts, strict=True):
            parts[part].append(index)
    return {part: rng.permutation(np.concatenate(index)) for part, index in parts.items()}


def check_shares(validation: float, test: float) -> None:
    """Raise `BadInput` unless both shares are above 0 and leave something to train on."""
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise BadInput(f"Shares of {validation} for validation and {test} for test leave no room; use 0.15 and 0.2.")


def thirds(values: NDArray[np.floating], y: Labels, train: Labels, names: tuple[str, str, str]) -> NDArray[np.str_]:
    """Which third of the training items of its own class each item lies in, by a value measured on it.

    Comparing within the class keeps the group from being the class under another name: an 8 has more ink than a 1.

    Parameters
    ----------
    values, y
        A value and a label for each item, (N,).
    train
        Positions of the training items, which set the limits.
    names
        What to call the lower, the middle and the upper third.

    Examples
    --------
    >>> thirds(np.arange(6.0), np.zeros(6, int), np.arange(6), ("low", "mid", "high")).tolist()
    ['low', 'low', 'mid', 'mid', 'high', 'high']
    """
    labels = np.empty(len(y), dtype=f"<U{max(map(len, names))}")
    for label in np.unique(y):
        cuts = np.quantile(values[train][y[train] == label], [1 / 3, 2 / 3])
        mine = y == label
        labels[mine] = np.array(names)[np.searchsorted(cuts, values[mine], side="right")]
    return labels
