"""Who holds what: the items of one split dealt out to clients, each item to exactly one.

The kinds are those of the field: identically distributed (IID), label skew with a Dirichlet dial, quantity skew, and
feature skew, where each client sees the world through a sensor of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.data.dataset import Split
from edgelab.errors import BadInput
from edgelab.reading import Cell, Table

Indices = NDArray[np.int64]
_MOST_ROWS = 20


@dataclass(frozen=True, eq=False)
class Partition:
    """The items of a split by client; no item goes to two of them.

    Parameters
    ----------
    indices
        For each client the positions of its items in the split, int64.
    labels
        The labels of the split, (N,).
    recipe
        The kind and its settings.

    Raises
    ------
    BadInput
        If a position is not in the split, or is dealt out twice.
    """

    indices: tuple[Indices, ...] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    recipe: Mapping[str, Any]

    def __post_init__(self) -> None:
        dealt = np.concatenate(self.indices) if self.indices else np.zeros(0, np.int64)
        if not self.indices or dealt.size == 0:
            raise BadInput("A partition needs at least one client that holds an item.")
        if dealt.min() < 0 or dealt.max() >= len(self.labels):
            raise BadInput(f"A partition of {len(self.labels)} items cannot hold a position outside of them.")
        if np.bincount(dealt).max() > 1:
            raise BadInput(f"Item {int(np.bincount(dealt).argmax())} was dealt out twice; each goes to one client.")

    @property
    def clients(self) -> int:
        """The number of clients."""
        return len(self.indices)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Items of each client, (clients,)."""
        return np.array([len(index) for index in self.indices], np.int64)

    @property
    def by_class(self) -> NDArray[np.int64]:
        """Items of each client and class, (clients, classes): the table for a heat map of who holds what."""
        classes = int(self.labels.max()) + 1
        return np.array([np.bincount(self.labels[index], minlength=classes) for index in self.indices], np.int64)

    def skew(self) -> float:
        """How far the clients' class shares are from the overall ones: mean total variation by size, 0 to 1."""
        counts = self.by_class.astype(float)
        sizes = counts.sum(axis=1)
        overall = counts.sum(axis=0) / counts.sum()
        apart = np.abs(counts / np.maximum(sizes, 1)[:, None] - overall).sum(axis=1) / 2
        return float((apart * sizes).sum() / sizes.sum())

    def hold_out(self, share: float = 0.2, seed: int = 0) -> tuple[Partition, Partition]:
        """Each client's items in two: to train on, and for its own evaluation; a client of one item trains on it.

        Raises
        ------
        BadInput
            If ``share`` is not between 0 and 1, or every client has one item only.
        """
        if not 0 < share < 1:
            raise BadInput(f"share={share} of a client's items cannot be held out; it must lie between 0 and 1.")
        if self.sizes.max() < 2:
            raise BadInput("No client has two items, so none can be held out.")
        rng = np.random.default_rng(seed)
        kept, held = [], []
        for index in self.indices:
            order = rng.permutation(index)
            count = min(math.ceil(share * len(order)), max(len(order) - 1, 0))
            held.append(np.sort(order[:count]))
            kept.append(np.sort(order[count:]))
        recipe = {**self.recipe, "held_out": share}
        return Partition(tuple(kept), self.labels, recipe), Partition(tuple(held), self.labels, recipe)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: recipe, sizes, items by client and class, skew."""
        return {
            "recipe": dict(self.recipe),
            "clients": self.clients,
            "sizes": self.sizes.tolist(),
            "by_class": self.by_class.tolist(),
            "skew": self.skew(),
        }

    def _repr_markdown_(self) -> str:
        table = self.by_class
        rows: list[list[Cell]] = [
            [client, int(counts.sum()), *map(int, counts)] for client, counts in enumerate(table[:_MOST_ROWS])
        ]
        more = self.clients - len(rows)
        note = f"Distance of the clients' class shares from the overall ones: {self.skew():.2f} of 1."
        note = f"{more} more clients are not shown. {note}" if more > 0 else note
        columns = ("client", "items", *(f"class {i}" for i in range(table.shape[1])))
        return Table("Who holds what", columns, rows, note)._repr_markdown_()


def iid(split: Split, clients: int, seed: int = 0) -> Partition:
    """Items at random, in shares as equal as can be.

    Examples
    --------
    >>> split = Split(np.zeros((7, 2), "float32"), [0, 1, 0, 1, 0, 1, 0])
    >>> iid(split, 3).sizes.tolist()
    [3, 2, 2]
    """
    _check(split, clients, 1)
    order = np.random.default_rng(seed).permutation(len(split))
    return _dealt(np.array_split(order, clients), split, {"kind": "iid", "seed": seed})


def dirichlet_labels(split: Split, clients: int, alpha: float = 0.5, seed: int = 0, min_items: int = 1) -> Partition:
    """Label skew: each class is spread over the clients in shares drawn from a Dirichlet distribution.

    Parameters
    ----------
    split
        Items of two classes or more.
    clients
        How many.
    alpha
        Large: nearly IID. 0.1: most clients see a few classes.
    seed
        Of the draw.
    min_items
        Clients with fewer get items of the largest ones; 0 lets clients be empty.

    Raises
    ------
    BadInput
        If ``alpha`` is not above 0, there is one class, or there are too few items.

    Notes
    -----
    After M. Yurochkin et al., Bayesian Nonparametric Federated Learning of Neural Networks, ICML 2019. Where others
    draw again until no client is empty, which need not end, items are moved.

    Examples
    --------
    >>> split = Split(np.zeros((200, 2), "float32"), np.arange(200) % 4)
    >>> even, uneven = (dirichlet_labels(split, 5, alpha) for alpha in (100, 0.1))
    >>> even.skew() < 0.2 < uneven.skew()
    True
    """
    _check(split, clients, min_items)
    _check_alpha(alpha)
    if len(np.unique(split.y)) < 2:
        raise BadInput("Label skew needs items of at least two classes; here all are of one.")
    rng = np.random.default_rng(seed)
    parts: list[list[Indices]] = [[] for _ in range(clients)]
    for label in np.unique(split.y):
        items = rng.permutation(np.flatnonzero(split.y == label))
        for part, piece in zip(parts, np.split(items, _cuts(rng, clients, alpha, len(items))), strict=True):
            part.append(piece)
    recipe = {"kind": "dirichlet_labels", "alpha": alpha, "seed": seed, "min_items": min_items}
    return _dealt(_fill([np.concatenate(part) for part in parts], min_items, rng), split, recipe)


def quantity_skew(split: Split, clients: int, alpha: float = 0.5, seed: int = 0, min_items: int = 1) -> Partition:
    """Classes at random, numbers of items in shares drawn from a Dirichlet distribution (small ``alpha``: uneven).

    Raises
    ------
    BadInput
        If ``alpha`` is not above 0 or there are too few items.
    """
    _check(split, clients, min_items)
    _check_alpha(alpha)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(split))
    parts = list(np.split(order, _cuts(rng, clients, alpha, len(order))))
    recipe = {"kind": "quantity_skew", "alpha": alpha, "seed": seed, "min_items": min_items}
    return _dealt(_fill(parts, min_items, rng), split, recipe)


def feature_skew(split: Split, clients: int, group: str = "sensor", seed: int = 0) -> Partition:
    """Each client holds items of one label of a group alone: one sensor, one writer's hand, one light.

    Clients are given to the labels in proportion to their items, at least one to each.

    Raises
    ------
    BadInput
        If there is no such group, or there are fewer clients than it has labels.
    """
    _check(split, clients, 1)
    if group not in split.groups:
        raise BadInput(f"There is no group '{group}' here; there is {', '.join(split.groups) or 'none'}.")
    labels, counts = np.unique(split.groups[group], return_counts=True)
    if clients < len(labels):
        raise BadInput(f"{clients} clients cannot hold one of the {len(labels)} labels of '{group}' each; take more.")
    share = np.ones(len(labels), np.int64)
    for _ in range(clients - len(labels)):
        share[np.argmax(counts / share)] += 1
    rng = np.random.default_rng(seed)
    parts: list[Indices] = []
    for label, many in zip(labels, share, strict=True):
        parts += np.array_split(rng.permutation(np.flatnonzero(split.groups[group] == label)), many)
    return _dealt(parts, split, {"kind": "feature_skew", "group": group, "seed": seed})


def sensor_bias(split: Split, partition: Partition, gain: float = 0.2, offset: float = 0.1, seed: int = 0) -> Split:
    """The split as each client's own sensor reports it: times a gain, plus an offset, both fixed for the client.

    Parameters
    ----------
    split, partition
        Inputs x (N, ...) and who holds them.
    gain
        Standard deviation of the natural logarithm of the gain.
    offset
        Standard deviation of the offset, in the unit of x.
    seed
        Of the draw.

    Raises
    ------
    BadInput
        If a deviation is below 0 or the partition is not of this split.
    """
    if len(partition.labels) != len(split) or not np.array_equal(partition.labels, split.y):
        raise BadInput("The partition was not made of this split; pass the split that it was made of.")
    if not (math.isfinite(gain) and math.isfinite(offset) and gain >= 0 and offset >= 0):
        raise BadInput(f"gain={gain} and offset={offset} are standard deviations; they cannot be below 0.")
    rng = np.random.default_rng(seed)
    gains = np.exp(gain * rng.standard_normal(partition.clients)).astype(np.float32)
    offsets = (offset * rng.standard_normal(partition.clients)).astype(np.float32)
    x = split.x.copy()
    for client, index in enumerate(partition.indices):
        x[index] = gains[client] * x[index] + offsets[client]
    return Split(x, split.y, split.groups)


def _check(split: Split, clients: int, min_items: int) -> None:
    if clients < 1 or min_items < 0:
        raise BadInput(f"clients={clients}, min_items={min_items}: there must be a client, and no fewer items than 0.")
    if len(split) < max(clients * min_items, 1):
        raise BadInput(
            f"{len(split)} items are too few for {clients} clients of at least {max(min_items, 1)}; take fewer clients."
        )


def _check_alpha(alpha: float) -> None:
    if not (math.isfinite(alpha) and alpha > 0):
        raise BadInput(f"alpha={alpha} is no Dirichlet concentration; it must be above 0, as 0.1 or 100.")


def _cuts(rng: np.random.Generator, clients: int, alpha: float, items: int) -> Indices:
    """Where ``items`` are cut into shares of a symmetric Dirichlet distribution."""
    shares = rng.dirichlet(np.full(clients, alpha))
    if not np.isfinite(shares).all() or shares.sum() <= 0:  # all gamma draws of a tiny alpha can underflow
        shares = np.eye(clients)[rng.integers(clients)]
    cuts: Indices = np.minimum(np.round(np.cumsum(shares)[:-1] * items).astype(np.int64), items)
    return cuts


def _fill(parts: Sequence[Indices], min_items: int, rng: np.random.Generator) -> list[Indices]:
    """Move random items of the largest client to each that has too few."""
    filled = [rng.permutation(part) for part in parts]
    sizes = np.array([len(part) for part in filled])
    while sizes.min() < min_items:
        poor, rich = int(sizes.argmin()), int(sizes.argmax())
        many = min(min_items - sizes[poor], sizes[rich] - min_items)
        filled[poor] = np.concatenate([filled[poor], filled[rich][:many]])
        filled[rich] = filled[rich][many:]
        sizes[poor] += many
        sizes[rich] -= many
    return filled


def _dealt(parts: Sequence[Indices], split: Split, recipe: Mapping[str, Any]) -> Partition:
    recipe = {**recipe, "clients": len(parts)}
    return Partition(tuple(np.sort(part).astype(np.int64) for part in parts), split.y, recipe)
