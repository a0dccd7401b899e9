"""A real FFT and a logarithm in the integers of a small processor, computed in numpy bit for bit as the C has them.

`edgelab.mcu.frontend` says how the arithmetic works; `edgelab.mcu.frontend_c` writes the same as C.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput

Ints = NDArray[np.int64]

LOG_STEPS = 256
"""Steps of a feature's integer to one doubling of energy."""
_ONE = 1 << 14
# Below these, what a butterfly makes of values stays inside 16 bits without a shift, or with one: 1 + sqrt(2) times.
NO_SHIFT, ONE_SHIFT = 13_500, 27_000


def cosines(n: int) -> NDArray[np.int16]:
    """cos(2 pi i / n) for i from 0 to 3n/4 - 1 with 14 fractional bits: sines are cosines a quarter later."""
    table: NDArray[np.float64] = np.cos(2 * np.pi * np.arange(3 * n // 4) / n)
    return np.asarray(np.rint(_ONE * table), np.int16)


def real_fft(x: Ints) -> tuple[Ints, Ints, Ints]:
    """The FFT of windowed rows (N, n) in the device's integers.

    Parameters
    ----------
    x
        Values within 17 bits, int64 (N, n), n a power of two; a Hann window is applied, the mean taken off.

    Returns
    -------
    re, im
        int64 (N, n / 2), bins 0 to n/2 - 1; bin 0 is not computed and 0.
    exponent
        int64 (N,): the value is ``(re + i im) / 2 * 2 ** exponent``.

    Raises
    ------
    BadInput
        If the rows are no integers, or their length is no power of two from 16 to 4,096.
    """
    if x.ndim != 2 or x.dtype.kind != "i" or not len(x) or x.shape[1] not in (16 << k for k in range(9)):
        raise BadInput(
            f"real_fft() takes integers (N, n), n a power of two from 16 to 4,096, not {x.dtype} of {x.shape}."
        )
    re, im, shift = _windowed(x)
    m = len(re)
    table = cosines(2 * m).astype(np.int64)
    half = 1
    while half < m:
        re, im, moved = _stage(re, im, half, table)
        shift += moved
        half *= 2
    k = np.arange(1, m)
    er, ei = re[k] + re[m - k], im[k] - im[m - k]
    odd_r, odd_i = im[k] + im[m - k], re[m - k] - re[k]
    c, d = table[k, None], table[k + m // 2, None]
    out_r = er + ((odd_r * c - odd_i * d + _ONE // 2) >> 14)
    out_i = ei + ((odd_r * d + odd_i * c + _ONE // 2) >> 14)
    zero = np.zeros((1, len(x)), np.int64)
    return np.vstack([zero, out_r]).T, np.vstack([zero, out_i]).T, shift


def _windowed(x: Ints) -> tuple[Ints, Ints, Ints]:
    """Bit-reversed complex values (n / 2, N) of half the length, and the exponent that brings them back.

    Row by row they lie in columns from here on: each step then works on N values that lie side by side.
    """
    n = x.shape[1]
    mean = (x.sum(axis=1, keepdims=True) + n // 2) >> (n.bit_length() - 1)
    x = x - mean
    bits = np.frexp(np.abs(x).max(axis=1, keepdims=True).astype(float))[1].astype(np.int64)
    gain = np.minimum(15 - bits, 14)
    index = np.arange(n)
    window = _ONE - cosines(n).astype(np.int64)[np.where(index < 3 * n // 4, index, n - index)]
    y = (x * window + (1 << (14 - gain))) >> (15 - gain)
    order = _bit_reversed(n // 2)
    columns = np.ascontiguousarray(y.T)
    return columns[2 * order], columns[2 * order + 1], -gain[:, 0]


def _bit_reversed(m: int) -> Ints:
    order = np.zeros(1, np.int64)
    while len(order) < m:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def _stage(re: Ints, im: Ints, half: int, table: Ints) -> tuple[Ints, Ints, Ints]:
    """One stage of butterflies, and by how many bits each row was shifted to the right."""
    m, rows = re.shape
    peak = np.maximum(re ^ (re >> 63), im ^ (im >> 63)).max(axis=0)
    shift = (peak >= NO_SHIFT).astype(np.int64) + (peak >= ONE_SHIFT)
    right = 14 + shift
    k = np.arange(half) * (m // half)
    c, d = table[k, None], table[k + m // 2, None]
    a_r, b_r = (re.reshape(-1, 2, half, rows)[:, i] for i in (0, 1))
    a_i, b_i = (im.reshape(-1, 2, half, rows)[:, i] for i in (0, 1))
    t_r, t_i = b_r * c - b_i * d, b_r * d + b_i * c
    rounding = np.int64(1) << (right - 1)
    made = [
        np.stack([(a * _ONE + t + rounding) >> right, (a * _ONE - t + rounding) >> right], axis=1).reshape(m, rows)
        for a, t in ((a_r, t_r), (a_i, t_i))
    ]
    return made[0], made[1], shift


def log2(energy: Ints) -> Ints:
    """The logarithm to base 2 with 8 fractional bits, linear between powers of two; of 0 as of 1."""
    value = np.maximum(energy, 1)
    power = np.zeros_like(value)
    for bits in (32, 16, 8, 4, 2, 1):
        above = value >> bits > 0
        value = np.where(above, value >> bits, value)
        power += bits * above
    value = np.maximum(energy, 1)
    mantissa = np.where(power >= 8, value >> np.maximum(power - 8, 0), value << np.maximum(8 - power, 0))
    level: Ints = power * LOG_STEPS + mantissa - LOG_STEPS
    return level
