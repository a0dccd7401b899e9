"""Plain C99 for LSTM layers: one function for all of them, a structure of numbers for each.

A unit's four gates are computed together and its new value is written straight to the output, where the next time step
reads it: beside the states that last from one inference to the next no memory is needed.
"""

from __future__ import annotations

import numpy as np

from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.fixed import Multiplier
from edgelab.mcu.cgen.lower_lstm import Lstm


def lstm(p: Program, step: Lstm) -> None:
    """Weights tap by tap, of the four gates one behind the other."""
    p.helper("lstm_sums", SUMS)
    both = np.concatenate([step.weights, step.recurrent], axis=2)
    layer(p, step, p.constant("int8_t", both.swapaxes(1, 2), f"weights_{step.index:02d}"))


def layer(p: Program, step: Lstm, weights: str) -> None:
    """Add a layer's structure, its call, and what all LSTM layers share but for ``lstm_sums``, which reads weights."""
    p.helper("lstm", LSTM)
    bias = p.constant("int32_t", step.bias, f"bias_{step.index:02d}")
    sigmoid = p.constant("uint16_t", step.sigmoid, "sigmoid")
    scales = (*step.from_input, *step.from_hidden, step.keep, step.add, step.out)
    next_batch, next_step = (1, step.batch) if step.time_major else (step.time, 1)
    sizes = (step.batch, step.time, step.features, step.units, next_batch, next_step, step.zero_hidden)
    cell = (-step.clip, min(step.clip, 2**15 - 1), max(step.tanh_shift, 0), max(-step.tanh_shift, 0))
    fields = f"{weights}, {bias}, {sigmoid}, {{{', '.join(map(_fields, scales))}}}, "
    name = p.structure("lstm", f"lstm_{step.index:02d}", fields + ", ".join(map(str, (*sizes, *cell))))
    p.function(
        step.function,
        f"lstm(&{name}, {p.addresses[step.inputs[0]]}, {p.addresses[step.outputs[0]]}, "
        f"{p.addresses[step.hidden.tensor]}, {p.addresses[step.cell.tensor]});",
        small=True,
    )


def _fields(m: Multiplier) -> str:
    return f"{{{m.value}, {max(m.shift, 0)}, {max(-m.shift, 0)}}}"


SUMS = """
/* Add to four sums the products of n values, the zero point taken off, with the weights of each; where these end. */
static const int8_t *lstm_sums(int32_t *sum, const int8_t *restrict k, const int8_t *restrict x, int n, int32_t zero) {
  int32_t a = sum[0], b = sum[1], c = sum[2], d = sum[3];
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
LSTM = """
/* A layer of LSTM units. Weights are by unit, input or hidden value, and gate: input, forget, cell, output. The scales
   are of the four sums over the input, of the four over the hidden values, and of the products for the cell (what is
   kept, what is added) and for the output. */
struct lstm {
  const int8_t *weights;
  const int32_t *bias;
  const uint16_t *sigmoid;
  struct { int32_t factor; int16_t left, right; } scale[11];
  int32_t batch, time, features, units, next_batch, next_step, zero_hidden, low, high, left, right;
};
static int32_t lstm_scaled(const struct lstm *l, int32_t x, int i, int32_t low, int32_t high) {
  return clamp(scaled(x, l->scale[i].factor, l->scale[i].left, l->scale[i].right), low, high);
}
/* Between entries of the table, with 24 * 2^bits for each 1 of the argument: 0 to 1 as 0 to 2^(16 + bits). */
static int32_t lstm_between(const uint16_t *table, uint32_t x, int bits) {
  const uint32_t i = x >> bits, part = x & ((1u << bits) - 1u);
  const uint32_t here = table[i < 255 ? i : 255], next = table[i < 255 ? i + 1 : 255];
  return (int32_t)((here << bits) + part * (next - here));
}
static int32_t lstm_sigmoid(const uint16_t *table, int32_t x) {
  const int32_t y = lstm_between(table, x < 0 ? 0u - (uint32_t)x : (uint32_t)x, 9);
  return (x >= 0 ? y + 512 : (1 << 25) - y + 511) >> 10;
}
static int32_t lstm_tanh(const uint16_t *table, int32_t x) {
  const int32_t y = lstm_between(table, x < 0 ? 0u - (uint32_t)x : (uint32_t)x, 8) - (1 << 23);
  return (x >= 0 ? y + 128 : 127 - y) >> 8;
}
LAYER void lstm(const struct lstm *l, const int8_t *in, int8_t *out, int8_t *hidden, int16_t *cell) {
  for (int n = 0; n < l->batch; ++n, hidden += l->units, cell += l->units) {
    const int8_t *h = hidden;
    for (int t = 0; t < l->time; ++t) {
      const int at = n * l->next_batch + t * l->next_step;
      int8_t *o = out + at * l->units;
      const int8_t *k = l->weights;
      for (int u = 0; u < l->units; ++u) {
        const int32_t *b = l->bias + 4 * u;
        int32_t sum[4] = {b[0], b[1], b[2], b[3]}, gate[4] = {0, 0, 0, 0};
        k = lstm_sums(sum, k, in + at * l->features, l->features, 0);
        k = lstm_sums(gate, k, h, l->units, l->zero_hidden);
        for (int i = 0; i < 4; ++i) {
          const int32_t v = lstm_scaled(l, sum[i], i, -32768, 32767) + lstm_scaled(l, gate[i], 4 + i, -32768, 32767);
          const int32_t y = 3 * clamp(v, -32768, 32767);
          gate[i] = i == 2 ? lstm_tanh(l->sigmoid, y) : lstm_sigmoid(l->sigmoid, y);
        }
        int32_t c = lstm_scaled(l, gate[1] * cell[u], 8, -32768, 32767);
        c = clamp(c + lstm_scaled(l, gate[0] * gate[2], 9, -32768, 32767), l->low, l->high);
        cell[u] = (int16_t)c;
        c = lstm_tanh(l->sigmoid, (c * (3 << l->left) + ((1 << l->right) >> 1)) >> l->right);
        c = lstm_scaled(l, c * gate[3], 10, -128 - l->zero_hidden, 127 - l->zero_hidden);
        o[u] = (int8_t)(c + l->zero_hidden);
      }
      h = o;
    }
    for (int u = 0; u < l->units; ++u) hidden[u] = h[u];
  }
}
"""

__all__ = ["layer", "lstm"]
