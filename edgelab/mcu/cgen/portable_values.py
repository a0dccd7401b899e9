"""Plain C99 that layers share: one function for all sums and products of two tensors."""

from __future__ import annotations

from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.lowering import Binary, strides_of
from edgelab.mcu.cgen.portable_moves import collapsed, operands, rows

STRUCTURE_BYTES = 36
_CODES = ("ADD", "SUB", "MUL")


def _axes(step: Binary, first: int = 0) -> tuple[list[int], list[int], list[int]] | None:
    """From the first axis on, two axes, and the strides of the operands along them; None where more are needed."""
    strides = (s[first:] for s in (*step.strides, strides_of(step.shape)))
    sizes, (left, right, _) = collapsed(step.shape[first:], *strides)
    if len(sizes) > 2 or max(sizes) >= 2**16 or max(*left, *right) >= 2**15:
        return None
    more = 2 - len(sizes)
    return [1] * more + sizes, [0] * more + left, [0] * more + right


def fits(step: Binary) -> bool:
    """Whether the shared function takes the step."""
    used = step.multipliers[2:] if step.code == "MUL" else step.multipliers
    return _axes(step) is not None and step.code in _CODES and all(-31 <= m.shift <= 0 for m in used)


def binary(p: Program, step: Binary) -> None:
    """ADD, SUB and MUL, with broadcasting along at most two axes."""
    axes = _axes(step, 2 if step.index in p.streams else 0)
    if axes is None:
        raise AssertionError(step.function)
    p.helper("binary", _BINARY)
    addresses, target, _, argument = rows(p, step, 0)
    a, b = operands(p, step, addresses)
    sizes, left, right = axes
    multipliers = step.multipliers
    numbers = (
        *(m.value for m in multipliers),
        *(f"{{{first}, {second}}}" for first, second in (sizes, left, right)),
        *(-m.shift for m in multipliers),
        *(*step.zeros, step.low, step.high, _CODES.index(step.code)),
    )
    name = p.structure("binary", f"binary_{step.index:02d}", ", ".join(map(str, numbers)))
    p.function(step.function, f"combine(&{name}, {a}, {b}, {target});", argument, small=True)


_BINARY = """
/* A sum, a difference or a product of two tensors; a stride of 0 takes one value again and again. */
struct binary {
  int32_t first, second, last;
  uint16_t sizes[2];
  int16_t steps_a[2], steps_b[2];
  int8_t right_first, right_second, right_last, zero_a, zero_b, zero_out, lowest, highest, code;
};
LAYER void combine(const struct binary *from, const int8_t *a, const int8_t *b, int8_t *out) {
  const struct binary l = *from;
  ROLLED for (int i = l.sizes[0]; i > 0; --i, a += l.steps_a[0], b += l.steps_b[0]) {
    const int8_t *p = a, *q = b;
    ROLLED for (int j = l.sizes[1]; j > 0; --j, p += l.steps_a[1], q += l.steps_b[1]) {
      const int32_t x = *p - l.zero_a, y = *q - l.zero_b;
      int32_t v = x * y;
      if (l.code < 2) {
        v = scaled(y * (1 << 20), l.second, 0, l.right_second);
        v = scaled(x * (1 << 20), l.first, 0, l.right_first) + (l.code ? -v : v);
      }
      *out++ = (int8_t)clamp(scaled(v, l.last, 0, l.right_last) + l.zero_out, l.lowest, l.highest);
    }
  }
}
"""
