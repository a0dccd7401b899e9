"""Averages that one liar cannot move far, and what a liar does: the median, the trimmed mean, a bound on length.

Each of them looks at single updates. Under secure aggregation there are none to look at; see `secure_rounds`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.federated.aggregate import Aggregate, federated_average

Floats = NDArray[np.float32]
Sizes = NDArray[np.int64]


def median(weights: Floats, updates: Floats, sizes: Sizes) -> Floats:  # noqa: ARG001  the rule of a server
    """The weights plus, for each parameter, the median of the updates; every client counts once.

    Notes
    -----
    D. Yin, Y. Chen, K. Ramchandran and P. Bartlett, Byzantine-Robust Distributed Learning, ICML 2018.

    Examples
    --------
    >>> median(np.zeros(1, "float32"), np.array([[1.0], [2.0], [99.0]], "float32"), np.ones(3, int)).tolist()
    [2.0]
    """
    _rows(updates)
    found: Floats = (weights + np.median(updates, axis=0)).astype(np.float32)
    return found


@dataclass(frozen=True)
class TrimmedMean:
    """For each parameter the mean of what is left after the lowest and the highest ``share`` of the updates are gone.

    Raises
    ------
    BadInput
        If the share is not from 0 to below a half.

    Examples
    --------
    >>> TrimmedMean(0.25)(np.zeros(1), np.array([[1.0], [2.0], [4.0], [99.0]], "float32"), np.ones(4, int)).tolist()
    [3.0]
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.share < 0.5:
            raise BadInput(f"share={self.share} at each end leaves nothing; use 0 to below 0.5.")

    def __call__(self, weights: Floats, updates: Floats, sizes: Sizes) -> Floats:  # noqa: ARG002
        """The new weights (parameters,)."""
        _rows(updates)
        cut = int(np.ceil(self.share * len(updates)))
        cut = min(cut, (len(updates) - 1) // 2)
        middle = np.sort(updates, axis=0)[cut : len(updates) - cut]
        found: Floats = (weights + middle.mean(axis=0)).astype(np.float32)
        return found


@dataclass(frozen=True)
class NormBound:
    """Another rule after every update was shortened to at most ``limit``: direction kept, loudness lost.

    Z. Sun, P. Kairouz, A. T. Suresh and H. B. McMahan, Can You Really Backdoor Federated Learning?, 2019.
    """

    limit: float
    rule: Aggregate = federated_average

    def __call__(self, weights: Floats, updates: Floats, sizes: Sizes) -> Floats:
        """The new weights (parameters,)."""
        from edgelab.privacy.training import clip_rows

        return self.rule(weights, clip_rows(updates, self.limit), sizes)


def flip_and_scale(update: Floats, factor: float) -> Floats:
    """What a loud liar sends: its update turned round, times ``factor``."""
    return (-factor * update).astype(np.float32)


def _rows(updates: Floats) -> None:
    if updates.ndim != 2 or not len(updates):
        raise BadInput(f"Updates are rows (clients, parameters), not of shape {updates.shape}.")
    if not np.isfinite(updates).all():
        raise BadInput("An update holds a NaN or an infinite value; leave it out.")
