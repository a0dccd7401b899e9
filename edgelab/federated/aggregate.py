"""How a server makes one model of many: the mean of the updates by size, and the guard before it.

A rule takes the global weights (parameters,), the updates (K, parameters) and the sizes (K,), and returns the new
weights; so other rules (a server with momentum, a median) have their place beside `federated_average`.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput

Floats = NDArray[np.float32]
NORM_LIMIT = 1e3
"""An update longer than this is refused: what a client of a small network learns in a round has a norm of about 1."""


class Aggregate(Protocol):
    """A rule by which a server joins updates."""

    def __call__(self, weights: Floats, updates: Floats, sizes: NDArray[np.int64], /) -> Floats:
        """The new weights, (parameters,)."""
        ...


def federated_average(weights: Floats, updates: Floats, sizes: NDArray[np.int64]) -> Floats:
    """FedAvg: the weights plus the mean update, each client weighted by its number of items.

    Parameters
    ----------
    weights, updates, sizes
        (parameters,), (K, parameters), (K,).

    Raises
    ------
    BadInput
        If the shapes do not agree, a client has no items, or an update holds a NaN or an infinite value.

    Notes
    -----
    McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017.

    Examples
    --------
    >>> federated_average(np.zeros(1, "float32"), np.array([[1.0], [4.0]], "float32"), np.array([2, 1])).tolist()
    [2.0]
    """
    updates, sizes = np.asarray(updates), np.asarray(sizes)
    if updates.ndim != 2 or updates.shape[1:] != weights.shape or sizes.shape != updates.shape[:1] or not len(sizes):
        raise BadInput(
            f"Updates of shape {updates.shape} with {sizes.size} sizes do not fit {len(weights)} weights; there must "
            "be one row and one size a client."
        )
    empty = ~(sizes > 0)
    if empty.any():
        raise BadInput(f"The client in row {int(empty.argmax())} has no items, so its update has no weight.")
    faulty = ~np.isfinite(updates).all(axis=1)
    if faulty.any():
        raise BadInput(f"The update in row {int(faulty.argmax())} holds a NaN or an infinite value; leave it out.")
    share = (sizes / sizes.sum()).astype(np.float32)
    mean: Floats = weights + share @ updates.astype(np.float32, copy=False)
    return mean


def refusals(updates: Floats, norm_limit: float = NORM_LIMIT) -> dict[int, str]:
    """The rows of updates (K, parameters) that a server must not use, each with the reason.

    Raises
    ------
    BadInput
        If ``norm_limit`` is not above 0.

    Examples
    --------
    >>> refusals(np.array([[0.1], [np.nan], [1e30]], "float32"))
    {1: 'NaN or infinite', 2: 'norm 1e+30 above 1000'}
    """
    if not (math.isfinite(norm_limit) and norm_limit > 0):
        raise BadInput(f"norm_limit={norm_limit} must be above 0.")
    found: dict[int, str] = {}
    finite = np.array([np.isfinite(update).all() for update in updates], bool)
    norms = np.linalg.norm(np.where(finite[:, None], updates, 0).astype(np.float64), axis=1)
    for row in np.flatnonzero(~finite | (norms > norm_limit)):
        found[int(row)] = f"norm {norms[row]:.3g} above {norm_limit:g}" if finite[row] else "NaN or infinite"
    return found
