"""LSTM layers for Cortex-M4, M7 and M33: two multiply-accumulates an instruction, four values of four gates at once."""

from __future__ import annotations

import numpy as np

from edgelab.mcu.cgen import portable_lstm
from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.lower_lstm import Lstm
from edgelab.mcu.cgen.lowering import Ints


def lstm(p: Program, step: Lstm) -> None:
    """Weights in groups of four taps, of one gate behind the other; what is left over tap by tap."""
    p.helper("lstm_sums", _SUMS)
    both = np.concatenate([_grouped(step.weights), _grouped(step.recurrent)], axis=1)
    portable_lstm.layer(p, step, p.constant("int8_t", both, f"weights_{step.index:02d}", align=4))


def _grouped(weights: Ints) -> Ints:
    """(units, gates, taps) in the order in which they are used, flat for each unit."""
    units, gates, taps = weights.shape
    whole = taps // 4 * 4
    groups = weights[:, :, :whole].reshape(units, gates, whole // 4, 4).swapaxes(1, 2)
    rest = weights[:, :, whole:].swapaxes(1, 2)
    return np.concatenate([groups.reshape(units, -1), rest.reshape(units, -1)], axis=1)


_SUMS = """
struct unaligned { int32_t v; } __attribute__((packed, may_alias));
/* Bytes 0 and 2 of a word, or 1 and 3, as two numbers of 16 bits; and added to two of them. */
static inline int32_t even(int32_t x) {
  int32_t y;
  __asm__("sxtb16 %0, %1" : "=r"(y) : "r"(x));
  return y;
}
static inline int32_t odd(int32_t x) {
  int32_t y;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(y) : "r"(x));
  return y;
}
static inline int32_t even_and(int32_t a, int32_t x) {
  int32_t y;
  __asm__("sxtab16 %0, %1, %2" : "=r"(y) : "r"(a), "r"(x));
  return y;
}
static inline int32_t odd_and(int32_t a, int32_t x) {
  int32_t y;
  __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(y) : "r"(a), "r"(x));
  return y;
}
static inline int32_t twice(int32_t a, int32_t b, int32_t sum) {
  __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}
/* Add to four sums the products of n values, the zero point taken off, with the weights of each; where these end. */
static const int8_t *lstm_sums(int32_t *sum, const int8_t *restrict k, const int8_t *restrict x, int n, int32_t zero) {
  int32_t a = sum[0], b = sum[1], c = sum[2], d = sum[3];
  const int32_t offset = (int32_t)((uint32_t)-zero << 16 | ((uint32_t)-zero & 0xffffu));
  for (; n >= 4; n -= 4, x += 4, k += 16) {
    const int32_t v = ((const struct unaligned *)x)->v;
    const int32_t u = even_and(offset, v), w = odd_and(offset, v);
    const word *g = (const word *)k;
    a = twice(odd(g[0]), w, twice(even(g[0]), u, a));
    b = twice(odd(g[1]), w, twice(even(g[1]), u, b));
    c = twice(odd(g[2]), w, twice(even(g[2]), u, c));
    d = twice(odd(g[3]), w, twice(even(g[3]), u, d));
  }
  for (; n > 0; --n, k += 4) {
    const int32_t v = *x++ - zero;
    a += v * k[0];
    b += v * k[1];
    c += v * k[2];
    d += v * k[3];
  }
  sum[0] = a, sum[1] = b, sum[2] = c, sum[3] = d;
  return k;
}
"""

__all__ = ["lstm"]
