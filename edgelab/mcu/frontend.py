"""From samples of a sensor to the int8 features of a network: fixed-point spectra as plain C, and their exact twin.

A `FrontEnd` turns a window of 16-bit samples into logarithms of the energy in bands of its spectrum, and, where it is
asked to, of the spectrum of its envelope: the absolute differences between neighbours, in which the rhythm of shocks
stands as a line. `FrontEnd.features` computes in numpy, bit for bit, what the C of `FrontEnd.c_files` computes on the
device, so that a network is trained on the very numbers that it will get.

The arithmetic, all in integers of 32 bits but for energies: the mean is taken off, a Hann window applied, and the
window brought to 16 bits with one shift (block floating point). A radix-2 FFT of half the length (the even samples as
real parts, the odd ones as imaginary parts) works in place; before each stage the largest value decides how far the
stage shifts to the right, so that nothing overflows and no bit is given away. Twiddle factors have 14 fractional bits,
so that 1 is exact and a butterfly is rounded once. Logarithms to base 2 have 8 fractional bits, linear between powers
of two (J. N. Mitchell, Computer multiplication and division using binary logarithms, 1962): at most 0.09 too small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.mcu.cgen.fixed import Multiplier, quantize_multiplier
from edgelab.mcu.fixed_fft import LOG_STEPS, Ints, log2, real_fft

_SHORTEST, _LONGEST = 16, 4096
_ROWS = 128


@dataclass(frozen=True)
class Spectrum:
    """Bands of one spectrum: ``edges[i]`` to ``edges[i + 1]`` (without it) in bins of the FFT.

    ``envelope``: of the absolute differences between neighbouring samples instead of the samples.
    """

    edges: tuple[int, ...]
    envelope: bool = False

    @property
    def bands(self) -> int:
        """How many bands there are."""
        return len(self.edges) - 1


@dataclass(frozen=True)
class FrontEnd:
    """Features of windows of ``samples`` 16-bit samples, a power of two from 16 to 4,096.

    Raises
    ------
    BadInput
        If the length is none of these, or the edges of a spectrum do not rise from at least 1 to at most
        ``samples / 2``.

    Examples
    --------
    >>> front_end = FrontEnd(64, (Spectrum((1, 4, 8, 32)),))
    >>> tone = np.round(8000 * np.sin(2 * np.pi * 5 * np.arange(64) / 64)).astype(np.int16)
    >>> int(front_end.features(tone[None]).argmax())  # bin 5 lies in the second band
    1
    """

    samples: int
    spectra: tuple[Spectrum, ...]

    def __post_init__(self) -> None:
        n = self.samples
        if n < _SHORTEST or n > _LONGEST or n & (n - 1):
            raise BadInput(f"samples must be a power of two from {_SHORTEST} to {_LONGEST:,}, not {n}.")
        if not self.spectra:
            raise BadInput("A front end needs at least one spectrum.")
        for spectrum in self.spectra:
            edges = spectrum.edges
            if len(edges) < 2 or edges[0] < 1 or edges[-1] > n // 2 or list(edges) != sorted(set(edges)):
                raise BadInput(f"edges must rise from at least 1 to at most {n // 2}, not {edges}.")

    @property
    def size(self) -> int:
        """Features of a window."""
        return sum(spectrum.bands for spectrum in self.spectra)

    def features(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """Base-2 logarithms of the energies in each band, (N, features), as the device has them.

        The energy is the sum of the squared absolute values of the FFT of the windowed samples.

        Parameters
        ----------
        samples
            int16 (N, samples).

        Raises
        ------
        BadInput
            If they are not.
        """
        return (self.log_energies(samples) / LOG_STEPS).astype(np.float32)

    def quantized(self, samples: NDArray[np.int16], scale: float, zero_point: int) -> NDArray[np.int8]:
        """The int8 input of a network with this scale and zero point, (N, features), as the device has it.

        Raises
        ------
        BadInput
            If the samples are not what `features` takes, or scale and zero point no sensible quantization.
        """
        m = rescaling(scale, zero_point)
        wide = self.log_energies(samples) << max(m.shift, 0)
        high = (wide * m.value + (1 << 30)) >> 31
        right = max(-m.shift, 0)
        rounded = (high + ((1 << right) >> 1) - ((high < 0) & (right > 0))) >> right
        features: NDArray[np.int8] = np.clip(rounded + zero_point, -128, 127).astype(np.int8)
        return features

    def log_energies(self, samples: NDArray[np.int16]) -> Ints:
        """The features as the integers that the device computes: `LOG_STEPS` to a doubling, int64 (N, features)."""
        if samples.dtype != np.int16 or samples.ndim != 2 or samples.shape[1] != self.samples or not len(samples):
            raise BadInput(f"The front end takes int16 (N, {self.samples}), not {samples.dtype} of {samples.shape}.")
        parts = [samples[at : at + _ROWS].astype(np.int64) for at in range(0, len(samples), _ROWS)]
        return np.concatenate([self._rows(part) for part in parts])

    def _rows(self, x: Ints) -> Ints:
        found = []
        for spectrum in self.spectra:
            signal = np.abs(np.diff(x, axis=1, prepend=x[:, :1])) if spectrum.envelope else x
            re, im, exponent = real_fft(signal)
            # Real and imaginary part twice as large as they should be: a factor of four in the energy.
            power = re * re + im * im
            energies = [power[:, low:high].sum(axis=1) for low, high in pairwise(spectrum.edges)]
            found.append(log2(np.stack(energies, axis=1)) + 2 * LOG_STEPS * (exponent - 1)[:, None])
        return np.concatenate(found, axis=1)

    def c_files(self, scale: float, zero_point: int, name: str = "frontend") -> dict[str, str]:
        """The front end as C99: ``NAME.c`` and ``NAME.h`` with ``void NAME_run(const int16_t *, int8_t *)``.

        Parameters
        ----------
        scale, zero_point
            The quantization of the network's input.
        name
            Prefix of the files and functions, a C name.

        Raises
        ------
        BadInput
            If scale and zero point are no sensible quantization, or the name is no C name.
        """
        from edgelab.mcu.frontend_c import files

        if not name.isidentifier() or not name.isascii():
            raise BadInput(f"'{name}' is no prefix for C names; take letters, such as 'frontend'.")
        return files(self, rescaling(scale, zero_point), zero_point, name)

    def names(self) -> tuple[str, ...]:
        """What each feature is: ``"samples 3-5"``, ``"envelope 14"``, with the bins of its band."""
        found = []
        for spectrum in self.spectra:
            kind = "envelope" if spectrum.envelope else "samples"
            for low, high in pairwise(spectrum.edges):
                found.append(f"{kind} {low}" if high == low + 1 else f"{kind} {low}-{high - 1}")
        return tuple(found)

    def c_functions(self, name: str = "frontend") -> tuple[str, ...]:
        """The functions of the C whose instructions are worth counting apart."""
        return tuple(f"{name}_{part}" for part in ("window", "fft", "bands"))


def band_edges(first: int, last: int, bands: int) -> tuple[int, ...]:
    """Edges of about ``bands`` bands from bin ``first`` to ``last``, of equal ratio as far as whole bins allow.

    Examples
    --------
    >>> band_edges(1, 32, 5)
    (1, 2, 4, 8, 16, 32)
    """
    if not 1 <= first < last or bands < 1:
        raise BadInput(f"band_edges({first}, {last}, {bands}): give 1 <= first < last and at least one band.")
    return tuple(np.unique(np.rint(np.geomspace(first, last, bands + 1)).astype(int)).tolist())


def rescaling(scale: float, zero_point: int) -> Multiplier:
    """The factor from a feature's integer to steps of an int8 input with this scale.

    Raises
    ------
    BadInput
        If the scale lies outside of what features need, or the zero point outside int8.
    """
    if not (math.isfinite(scale) and 1e-6 <= scale <= 1e3) or not -128 <= zero_point <= 127:
        raise BadInput(f"scale={scale} and zero_point={zero_point} are no int8 quantization of logarithms of energies.")
    return quantize_multiplier(1 / (LOG_STEPS * scale))


def to_counts(g: NDArray[Any], counts_a_g: int) -> NDArray[np.int16]:
    """What a 16-bit accelerometer of ``counts_a_g`` steps to 1 g reports: rounded, held inside 16 bits.

    Raises
    ------
    BadInput
        If an acceleration is NaN, or ``counts_a_g`` is not above 0.
    """
    steps = np.rint(np.asarray(g, np.float64) * counts_a_g)
    if not counts_a_g > 0 or np.isnan(steps).any():
        raise BadInput(f"to_counts() takes accelerations without NaN and more than 0 steps to 1 g, not {counts_a_g}.")
    return np.asarray(np.clip(steps, -32768, 32767), np.int16)
