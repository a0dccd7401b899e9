"""Weights as indices into a short list of values, or as integers with a scale for each block, in numpy.

These are the two ideas behind Core ML's compressed constants.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FLOAT16_BYTES = 2


def lloyd_step(values: ArrayLike, centres: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """One round of Lloyd's algorithm: every value joins its nearest centre, every centre moves to its members' mean.

    A centre without members stays where it is; between two centres at the same distance the first one wins.

    Parameters
    ----------
    values
        Shape (n,).
    centres
        Shape (k,).

    Returns
    -------
    tuple
        The new centres, shape (k,), and the index of each value's centre before the move, shape (n,).

    Notes
    -----
    S. P. Lloyd, Least squares quantization in PCM (1982), doi:10.1109/TIT.1982.1056489.

    Examples
    --------
    >>> centres, indices = lloyd_step([0.0, 1.0, 5.0], [0.0, 4.0])
    >>> centres.tolist(), indices.tolist()
    ([0.5, 5.0], [0, 0, 1])
    """
    x, old = np.asarray(values, float), np.asarray(centres, float)
    indices = np.abs(x[:, None] - old[None]).argmin(axis=1)
    new = np.array([x[indices == i].mean() if (indices == i).any() else old[i] for i in range(len(old))])
    return new, indices


def palette_bytes(count: int, bits: int, groups: int = 1) -> int:
    """Bytes of a tensor of ``count`` weights as indices of ``bits`` bits, and of its palettes in float16.

    Indices are packed without gaps, and the last byte is filled up.

    Examples
    --------
    >>> palette_bytes(1000, 4)
    532
    """
    return math.ceil(count * bits / 8) + groups * (1 << bits) * _FLOAT16_BYTES


def block_scales(weight: ArrayLike, bits: int, block: int) -> NDArray[np.float64]:
    """Symmetric scales of a matrix (out, in), one for each ``block`` neighbouring inputs of each output.

    The scale is the largest magnitude of the block over the largest integer, 2**(bits - 1) - 1.

    Examples
    --------
    >>> block_scales([[1.0, -2.0, 7.0, 0.0]], 4, 2).round(3).tolist()
    [[0.286, 1.0]]
    """
    blocks = np.abs(np.asarray(weight, float)).reshape(len(np.asarray(weight)), -1, block)
    scales: NDArray[np.float64] = blocks.max(axis=2) / (2 ** (bits - 1) - 1)
    return scales
