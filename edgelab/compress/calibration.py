"""Four ways to choose the real range that the integers of a tensor shall cover.

All take the values that a calibration set produced and return ``(low, high)``. What lies outside saturates: a
narrow range clips the tails, a wide one makes every step coarser. Which loss is smaller depends on the values.

Sources: Migacz, "8-bit Inference with TensorRT" (GTC 2017) for the entropy method; Krishnamoorthi, "Quantizing
deep convolutional networks for efficient inference" (arXiv 1806.08342) for the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.compress.affine import affine_parameters, fake_quantize
from edgelab.errors import BadInput

Range: TypeAlias = "tuple[float, float]"

HISTOGRAM_BINS = 2048
"""Eight bins for every step of 8 bits; the number that TensorRT, PyTorch and ONNX Runtime use."""


def range_minmax(values: ArrayLike) -> Range:
    """Smallest and largest value: nothing is clipped, one outlier widens every step.

    Parameters
    ----------
    values
        What a tensor held over the calibration set, any shape.

    Raises
    ------
    BadInput
        If ``values`` is empty or not finite.

    Examples
    --------
    >>> range_minmax([0.0, 1.0, 6.0])
    (0.0, 6.0)
    """
    array = _checked(values)
    return float(array.min()), float(array.max())


def range_percentile(values: ArrayLike, p: float = 99.99) -> Range:
    """The central ``p`` percent of the values; the rest is clipped, half of it on each side.

    Parameters
    ----------
    values
        What a tensor held over the calibration set, any shape.
    p
        Percent of the values that stay inside, above 0 and at most 100.

    Raises
    ------
    BadInput
        If ``values`` is empty or not finite, or ``p`` is out of range.

    Examples
    --------
    >>> range_percentile(list(range(101)), p=90)
    (5.0, 95.0)
    """
    if not 0 < p <= 100:
        raise BadInput(f"p={p} is not a percentage above 0 and at most 100.")
    low, high = np.percentile(_checked(values), [(100 - p) / 2, (100 + p) / 2])
    return float(low), float(high)


def range_entropy(values: ArrayLike, bits: int = 8, bins: int = HISTOGRAM_BINS) -> Range:
    """The range whose quantized histogram keeps most of the information of the values (TensorRT's method).

    The magnitudes are counted in ``bins`` bins. For each candidate threshold the histogram up to it, with the tail
    piled onto its last bin, is compared with itself quantized to ``2**(bits - 1)`` levels; the threshold with the
    smallest Kullback-Leibler divergence wins.

    Parameters
    ----------
    values
        What a tensor held over the calibration set, any shape.
    bits
        Width of the integers.
    bins
        Bins of the histogram; more than there are levels.

    Raises
    ------
    BadInput
        If ``values`` is empty or not finite, or there are too few bins.
    """
    array = _checked(values)
    levels = 1 << (bits - 1)
    if bins <= levels:
        raise BadInput(f"bins={bins} leaves no choice of threshold; {bits} bits need more than {levels}.")
    low, high = range_minmax(array)
    largest = max(-low, high)
    if largest == 0:
        return low, high
    counts = np.histogram(np.abs(array), bins, range=(0.0, largest))[0].astype(np.float64)
    counts[0] = counts[1]  # the zeros of ReLU and padding are exact in every mapping and would outweigh the rest
    candidates = np.unique(np.linspace(levels, bins, 256).astype(int))
    divergence = [_divergence(counts, end, levels) for end in candidates]
    threshold = largest * float(candidates[int(np.argmin(divergence))]) / bins
    return max(low, -threshold), min(high, threshold)


def range_mse(values: ArrayLike, bits: int = 8, symmetric: bool = False) -> Range:
    """The range with the smallest mean squared error between the values and their quantized selves.

    The ends are moved in turn, the other held: first over a coarse grid from the full range down to 1/64 of it,
    then over a fine one around the best.

    Parameters
    ----------
    values
        What a tensor held over the calibration set, any shape.
    bits
        Width of the integers; the fewer, the more is worth clipping.
    symmetric
        Search ``(-t, t)`` alone, as for weights.

    Raises
    ------
    BadInput
        If ``values`` is empty or not finite.
    """
    array = _checked(values)
    centres, counts = _histogram(array)
    low, high = range_minmax(array)
    if symmetric:
        low, high = -max(-low, high), max(-low, high)

    def error(ends: Range) -> float:
        loss = centres - fake_quantize(centres, affine_parameters(*ends, bits, symmetric))
        return float(counts @ np.square(loss))

    best = full = (low, high)
    coarse, fine = np.geomspace(1.0, 1 / 64, 48), np.linspace(0.94, 1.06, 13)
    for factors, base in ((coarse, full), (coarse, full), (fine, None), (fine, None)):
        for end in (1, 0):
            if best[end] == 0:
                continue
            ends = np.clip(factors * (base or best)[end], low, high).tolist()
            if symmetric:
                candidates = [(-abs(value), abs(value)) for value in ends]
            else:
                candidates = [(best[0], value) if end else (value, best[1]) for value in ends]
            best = min([best, *(c for c in candidates if c[0] <= c[1])], key=error)
    return best


METHODS: dict[str, Callable[[NDArray[np.float32]], Range]] = {
    "minmax": range_minmax,
    "percentile": range_percentile,
    "entropy": range_entropy,
    "mse": range_mse,
}
"""The methods by the names that ``ptq.quantize_static`` takes."""


def _divergence(counts: NDArray[np.float64], end: int, levels: int) -> float:
    """Kullback-Leibler divergence between a histogram cut at bin ``end`` and its quantized version."""
    kept = counts[:end]
    reference = kept.copy()
    reference[-1] += counts[end:].sum()
    level = np.arange(end) * levels // end
    occupied = kept > 0
    mass = np.bincount(level, kept, levels)
    cells = np.bincount(level, occupied, levels)
    quantized = np.where(occupied, (mass / np.maximum(cells, 1))[level], 0.0)
    p, q = _smoothed(reference), _smoothed(quantized)
    return float(np.sum(p * np.log(p / q)))


def _smoothed(counts: NDArray[np.float64], epsilon: float = 1e-4) -> NDArray[np.float64]:
    """A histogram as a distribution without zeros, so that its logarithm exists."""
    smooth: NDArray[np.float64] = counts + epsilon
    return smooth / float(smooth.sum())


def _histogram(array: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Few numbers that stand for many: centres of bins and how many values each holds."""
    if array.size <= HISTOGRAM_BINS or array.min() == array.max():
        return array.ravel(), np.ones(array.size)
    counts, edges = np.histogram(array, HISTOGRAM_BINS)
    filled = counts > 0
    centres = (edges[:-1] + edges[1:]) / 2
    # Padding and ReLU put many values on exactly 0, which every mapping holds: a bin's centre would not be 0.
    centres[(edges[:-1] <= 0) & (edges[1:] >= 0)] = 0.0
    return centres[filled].astype(np.float32), counts[filled].astype(np.float64)


def _checked(values: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(values, dtype=np.float32)
    if array.size == 0:
        raise BadInput("There are no values to take a range from.")
    if not np.isfinite(array).all():
        raise BadInput(f"{int((~np.isfinite(array)).sum())} of {array.size} values are NaN or infinite.")
    return array
