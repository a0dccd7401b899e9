"""The C of `edgelab.mcu.frontend.FrontEnd`: tables, three functions that do the work, and one that calls them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgelab.mcu import fixed_fft

if TYPE_CHECKING:
    from edgelab.mcu.cgen.fixed import Multiplier
    from edgelab.mcu.frontend import FrontEnd

_VALUES_A_LINE = 16


def files(front_end: FrontEnd, factor: Multiplier, zero_point: int, name: str) -> dict[str, str]:
    """``NAME.c`` and ``NAME.h``: ``factor`` is `edgelab.mcu.frontend.rescaling` of the network's input."""
    n = front_end.samples
    values = {
        "NAME": name,
        "SAMPLES": n,
        "POWER": n.bit_length() - 1,
        "FEATURES": front_end.size,
        "MULTIPLIER": factor.value,
        "LEFT": max(factor.shift, 0),
        "RIGHT": max(-factor.shift, 0),
        "ZERO": zero_point,
        "NONE": fixed_fft.NO_SHIFT,
        "SINGLE": fixed_fft.ONE_SHIFT,
        "COSINES": _array(fixed_fft.cosines(n).tolist()),
        "EDGES": "\n".join(
            f"static const int16_t edges_{i}[{len(s.edges)}] = {{\n{_array(s.edges)}\n}};"
            for i, s in enumerate(front_end.spectra)
        ),
        "RUNS": "\n".join(_run(front_end, name, i) for i in range(len(front_end.spectra))),
    }
    return {f"{name}.c": _filled(_SOURCE, values), f"{name}.h": _filled(_HEADER, values)}


def _filled(text: str, values: dict[str, object]) -> str:
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def _run(front_end: FrontEnd, name: str, number: int) -> str:
    spectrum = front_end.spectra[number]
    at = sum(s.bands for s in front_end.spectra[:number])
    return (
        f"    exponent = {name}_window(samples, {int(spectrum.envelope)});\n"
        f"    exponent += {name}_fft();\n"
        f"    {name}_bands(edges_{number}, {spectrum.bands}, exponent, features + {at});"
    )


def _array(values: Iterable[int]) -> str:
    numbers = [str(v) for v in values]
    return "\n".join(
        f"    {', '.join(numbers[at : at + _VALUES_A_LINE])}," for at in range(0, len(numbers), _VALUES_A_LINE)
    )


_HEADER = """/* Generated: samples of a sensor to the features of a network. */
#ifndef @NAME@_H
#define @NAME@_H

#include <stdint.h>

#define @NAME@_SAMPLES @SAMPLES@
#define @NAME@_FEATURES @FEATURES@

#ifdef __cplusplus
extern "C" {
#endif

/* @SAMPLES@ samples in, @FEATURES@ features out, quantized for the network's input. */
void @NAME@_run(const int16_t *samples, int8_t *features);

#ifdef __cplusplus
}
#endif

#endif
"""

_SOURCE = """/* Generated: samples of a sensor to the features of a network. C99, no heap, no library, integers only.
   A right shift of a negative number keeps its sign, as on every compiler for this kind of processor. */
#include "@NAME@.h"

#if defined(__GNUC__)
#define PART static __attribute__((noinline)) /* of its own, so that a profiler can tell the parts apart */
#else
#define PART static
#endif

/* cos(2 pi i / @SAMPLES@) with 14 fractional bits; -sin is the same table a quarter later. */
static const int16_t cosine[3 * @SAMPLES@ / 4] = {
@COSINES@
};

/* Bands: bins of the spectrum from each edge up to the next one. */
@EDGES@

static int16_t work[@SAMPLES@]; /* @SAMPLES@ / 2 complex numbers */

/* A sample, or its absolute difference to the one before. */
static inline int32_t signal_at(const int16_t *x, int i, int envelope)
{
    const int32_t d = envelope ? x[i] - x[i > 0 ? i - 1 : 0] : x[i];
    return envelope && d < 0 ? -d : d;
}

/* Mean off, Hann window on, as large as 16 bits take; even and odd samples become real and imaginary parts, in
   bit-reversed order. Returns the exponent: value * 2^exponent is the signal. */
PART int @NAME@_window(const int16_t *x, int envelope)
{
    int32_t sum = 0, peak = 0, mean;
    int gain = 15, place = 0;
    for (int i = 0; i < @SAMPLES@; i++)
        sum += signal_at(x, i, envelope);
    mean = (sum + @SAMPLES@ / 2) >> @POWER@;
    for (int i = 0; i < @SAMPLES@; i++) {
        const int32_t d = signal_at(x, i, envelope) - mean, size = d < 0 ? -d : d;
        peak = size > peak ? size : peak;
    }
    for (; peak > 0; peak >>= 1)
        gain--;
    gain = gain > 14 ? 14 : gain;
    for (int i = 0; i < @SAMPLES@; i += 2) {
        for (int k = i; k < i + 2; k++) {
            const int32_t hann = 16384 - cosine[k < 3 * @SAMPLES@ / 4 ? k : @SAMPLES@ - k]; /* 15 fractional bits */
            const int32_t product = (signal_at(x, k, envelope) - mean) * hann;
            work[2 * place + (k & 1)] = (int16_t)((product + (1 << (14 - gain))) >> (15 - gain));
        }
        int bit = @SAMPLES@ / 4; /* the next number with its bits in reverse: add one at the top, carry downwards */
        for (; place & bit; bit >>= 1)
            place ^= bit;
        place |= bit;
    }
    return -gain;
}

static inline int32_t larger(int32_t peak, int32_t v)
{
    v ^= v >> 31;
    return v > peak ? v : peak;
}

/* Radix-2 FFT in place. A stage whose values could outgrow 16 bits shifts them right; returns the sum of the shifts. */
PART int @NAME@_fft(void)
{
    int32_t peak = 0;
    int shifts = 0;
    for (int i = 0; i < @SAMPLES@; i++)
        peak = larger(peak, work[i]);
    for (int half = 1, step = @SAMPLES@ / 2; half < @SAMPLES@ / 2; half *= 2, step /= 2) {
        const int shift = (peak >= @NONE@) + (peak >= @SINGLE@), right = 14 + shift;
        const int32_t rounding = 1 << (right - 1);
        shifts += shift;
        peak = 0;
        for (int k = 0; k < half; k++) {
            const int32_t c = cosine[k * step], d = cosine[k * step + @SAMPLES@ / 4];
            int16_t *a = work + 2 * k, *b = a + 2 * half;
            for (; a < work + @SAMPLES@; a += 4 * half, b += 4 * half) {
                const int32_t ar = a[0] * 16384 + rounding, ai = a[1] * 16384 + rounding;
                const int32_t tr = b[0] * c - b[1] * d, ti = b[0] * d + b[1] * c;
                const int32_t r0 = (ar + tr) >> right, i0 = (ai + ti) >> right;
                const int32_t r1 = (ar - tr) >> right, i1 = (ai - ti) >> right;
                a[0] = (int16_t)r0, a[1] = (int16_t)i0, b[0] = (int16_t)r1, b[1] = (int16_t)i1;
                peak = larger(larger(larger(larger(peak, r0), i0), r1), i1);
            }
        }
    }
    return shifts;
}

/* log2 with 8 fractional bits, linear between powers of two. */
static int32_t log2_of(uint64_t v)
{
    int32_t power = 8;
    if (v == 0)
        return 0;
    for (; v >> 32; v >>= 16) /* at least 17 bits are left, of which 9 count */
        power += 16;
    uint32_t small = (uint32_t)v;
    for (; small >= 512; small >>= 1)
        power++;
    for (; small < 256; small <<= 1)
        power--;
    return power * 256 + (int32_t)small - 256;
}

/* The energy of each band as a quantized logarithm. The spectrum of the real signal is taken apart bin by bin. */
PART void @NAME@_bands(const int16_t *edges, int bands, int exponent, int8_t *features)
{
    for (int band = 0; band < bands; band++) {
        uint64_t energy = 0;
        for (int k = edges[band]; k < edges[band + 1]; k++) {
            const int16_t *z = work + 2 * k, *y = work + @SAMPLES@ - 2 * k;
            const int32_t c = cosine[k], d = cosine[k + @SAMPLES@ / 4];
            const int32_t odd_r = z[1] + y[1], odd_i = y[0] - z[0];
            const int32_t re = z[0] + y[0] + ((odd_r * c - odd_i * d + 8192) >> 14);
            const int32_t im = z[1] - y[1] + ((odd_r * d + odd_i * c + 8192) >> 14);
            energy += (uint64_t)((int64_t)re * re) + (uint64_t)((int64_t)im * im);
        }
        const int32_t level = log2_of(energy) + 512 * (exponent - 1);
        /* level / (256 * scale) as in a layer: a multiplier with 31 fractional bits and a shift, rounded twice. */
        const int32_t wide = (int32_t)((uint32_t)level << @LEFT@);
        const int32_t high = (int32_t)(((int64_t)wide * @MULTIPLIER@ + (1 << 30)) >> 31);
        const int32_t rounded = (high + ((1 << @RIGHT@) >> 1) - (@RIGHT@ > 0 && high < 0)) >> @RIGHT@;
        const int32_t q = rounded + @ZERO@;
        features[band] = (int8_t)(q < -128 ? -128 : q > 127 ? 127 : q);
    }
}

void @NAME@_run(const int16_t *samples, int8_t *features)
{
    int exponent;
@RUNS@
}
"""
