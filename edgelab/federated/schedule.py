"""Which items a client meets in which step: drawn for all clients of a round at once, and cut into size buckets.

The order of a client's items hangs on the seed, the round and the items alone: not on the engine, and not on who else
takes part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.federated.client import ClientConfig
from edgelab.federated.partition import Partition

Indices = NDArray[np.int64]
BUCKET = 64
"""Clients of one batch: large enough to share the cost of a call, small enough to stay in a processor's cache."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """The items of K clients in one round.

    Parameters
    ----------
    clients
        Their numbers in the partition, (K,).
    sizes
        Their items, (K,).
    order
        Positions in the split, (epochs, items of all): each epoch in an order of its own, client after client.
    steps
        Steps that each client does, (K,): fewer than the epochs have where a straggler stops early.
    batch_size
        Items of a step; None: all of the client's.
    """

    clients: Indices
    sizes: Indices
    order: Indices
    steps: Indices
    batch_size: int | None

    @property
    def steps_per_epoch(self) -> Indices:
        """Steps of one pass, (K,)."""
        if self.batch_size is None:
            return np.ones_like(self.sizes)
        return -(-self.sizes // self.batch_size)

    def buckets(self, size: int = BUCKET, pad_steps: bool = False) -> Iterator[Indices]:
        """Rows of clients to run together, sorted by size.

        Parameters
        ----------
        size
            The most clients of a bucket.
        pad_steps
            Let clients with different numbers of steps share a bucket: the shorter ones get steps of fillers alone, in
            which the client's function must change nothing.
        """
        per_epoch = self.steps_per_epoch
        rows = np.lexsort((self.sizes, self.steps, per_epoch))
        cuts = np.zeros(len(rows), bool)
        if not pad_steps:
            cuts[1:] = (np.diff(per_epoch[rows]) != 0) | (np.diff(self.steps[rows]) != 0)
        for run in np.split(rows, np.flatnonzero(cuts)):
            yield from (run[i : i + size] for i in range(0, len(run), size))

    def batches(self, rows: Sequence[int] | Indices) -> tuple[Indices, NDArray[np.float32]]:
        """Positions in the split and mask of some clients, both (clients, steps, batch)."""
        rows = np.asarray(rows, np.int64)
        sizes, per_epoch = self.sizes[rows], self.steps_per_epoch[rows]
        longest = int(per_epoch.max())
        batch = int(sizes.max()) if self.batch_size is None else min(self.batch_size, int(sizes.max()))
        starts = np.concatenate([[0], np.cumsum(self.sizes)])[rows]
        slots = np.arange(longest * batch)
        item = starts[:, None] + np.minimum(slots, sizes[:, None] - 1)
        epochs = len(self.order)
        index = self.order[:, item].transpose(1, 0, 2).reshape(len(rows), epochs * longest, batch)
        held = np.broadcast_to(slots < sizes[:, None], (epochs, len(rows), len(slots)))
        mask = held.transpose(1, 0, 2).reshape(index.shape).astype(np.float32)
        in_epoch = np.arange(longest) < per_epoch[:, None]  # (clients, steps of an epoch)
        number = np.arange(epochs)[:, None] * per_epoch[:, None, None] + np.arange(longest)
        done = in_epoch[:, None] & (number < self.steps[rows, None, None])
        done = done.reshape(len(rows), -1)
        mask *= done[:, :, None]
        used = done.any(axis=0)
        return index[:, used], mask[:, used]


def schedule_round(
    partition: Partition,
    clients: Sequence[int] | Indices,
    config: ClientConfig,
    seed: int = 0,
    number: int = 0,
    work: NDArray[np.float64] | None = None,
) -> Schedule:
    """Draw the order of the items of ``clients`` in round ``number``.

    Parameters
    ----------
    work
        The share of the round's steps that each client does, (K,), above 0 and at most 1; at least one step is done.

    Raises
    ------
    BadInput
        If a client is unknown or has no items.
    """
    chosen = np.asarray(clients, np.int64)
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= partition.clients:
        raise BadInput(f"A round needs clients from 0 to {partition.clients - 1}, not {chosen.tolist()}.")
    sizes = np.array([len(partition.indices[client]) for client in chosen], np.int64)
    if sizes.min() == 0:
        raise BadInput(f"Client {chosen[sizes.argmin()]} holds no items; leave it out, or deal out at least one each.")
    flat = np.concatenate([partition.indices[client] for client in chosen])
    owner = np.repeat(np.arange(len(chosen)), sizes)
    rng = np.random.default_rng([seed, 1, number])
    # One key for every item of the split, so that a client's order does not hang on who else takes part.
    keys = (owner << 40 | rng.integers(1 << 40, size=len(partition.labels))[flat] for _ in range(config.epochs))
    order = np.stack([flat[np.argsort(key, kind="stable")] for key in keys])
    plan = Schedule(chosen, sizes, order, np.zeros_like(sizes), config.batch_size)
    steps = config.epochs * plan.steps_per_epoch
    if work is not None:
        if ((work <= 0) | (work > 1)).any():
            raise BadInput("The work of a client is a share of its steps, above 0 and at most 1.")
        steps = np.maximum(1, np.floor(steps * work)).astype(np.int64)
    return Schedule(chosen, sizes, order, steps, config.batch_size)
