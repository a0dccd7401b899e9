"""The ideas of privacy in a few lines each, on plain arrays, as the lab writes them.

The rest of the room does the same with everything around it: keys, seeds, errors. Tests hold the two to each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgelab.privacy.accountant import rdp
from edgelab.privacy.membership import judge_attack

Floats = NDArray[np.float64]
Words = NDArray[np.uint32]


def noisy_mean(gradients: Floats, clip: float, noise_multiplier: float, expected: float, normal: Floats) -> Floats:
    """Rows (K, P) clipped to a length, summed, with noise, over the expected number.

    Examples
    --------
    >>> noisy_mean(np.array([[3.0, 4.0]]), 1.0, 2.0, 2.0, np.array([1.0, 0.0])).round(2).tolist()
    [1.3, 0.4]
    """
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    short = gradients * np.minimum(1, clip / np.maximum(lengths, 1e-12))
    found: Floats = (short.sum(axis=0) + noise_multiplier * clip * normal) / expected
    return found


def rdp_step(q: float, sigma: float, order: int) -> float:
    """The Renyi divergence of one step of the sampled Gaussian mechanism at a whole order.

    Examples
    --------
    >>> round(rdp_step(0.5, 1.0, 2), 4)  # log(0.25 + 0.5 + 0.25 e)
    0.3574
    """
    return float(rdp(q, sigma, [order])[0])


def auc(members: Floats, others: Floats) -> float:
    """How often a member scores above another item, ties half.

    Examples
    --------
    >>> auc(np.array([2.0, 1.0]), np.array([1.0, 0.0]))
    0.875
    """
    return judge_attack(members, others).auc


def masked(update: Words, client: int, pads: Mapping[int, Words]) -> Words:
    """An update modulo 2**32 plus the pads with clients of higher number, minus those with clients of lower number.

    Examples
    --------
    >>> masked(np.array([5], "uint32"), 1, {0: np.array([7], "uint32"), 2: np.array([9], "uint32")}).tolist()
    [7]
    """
    hidden = update.copy()
    for other, pad in pads.items():
        if client < other:
            hidden += pad
        else:
            hidden -= pad
    return hidden


def join_shares(shares: Mapping[int, int], prime: int) -> int:
    """The value at 0 of the polynomial through ``{place: value}`` over the integers modulo a prime.

    Examples
    --------
    >>> join_shares({1: 8, 3: 14}, 17)  # of the line 3 x + 5
    5
    """
    secret = 0
    for place, value in shares.items():
        weight = 1
        for other in shares:
            if other != place:
                weight = weight * other * pow(other - place, -1, prime) % prime
        secret = (secret + value * weight) % prime
    return secret


def trimmed_mean(updates: Floats, cut: int) -> Floats:
    """For each parameter the mean without the ``cut`` lowest and the ``cut`` highest of (K, P) updates.

    Examples
    --------
    >>> trimmed_mean(np.array([[1.0], [2.0], [4.0], [99.0]]), 1).tolist()
    [3.0]
    """
    middle: Floats = np.sort(updates, axis=0)[cut : len(updates) - cut].mean(axis=0)
    return middle


def guarded_mean(total: Words, many: int, scale: float, limit: float) -> Floats | None:
    """The mean in a sum of ``many`` updates modulo 2**32, or None where updates up to ``limit`` cannot have made it.

    Examples
    --------
    >>> guarded_mean(np.array([6, 2**32 - 6], "uint32"), 3, 4.0, 1.0).tolist()
    [0.5, -0.5]
    >>> guarded_mean(np.array([24], "uint32"), 3, 4.0, 1.0) is None
    True
    """
    mean: Floats = total.astype(np.int32).astype(np.float64) / scale / many
    return mean if np.linalg.norm(mean) <= limit * (1 + 1e-6) else None
