"""Channels that give the same result whatever the input.

Training leaves channels without weights behind, and a converter gives them scales so small that their multipliers lie
2**-20 and more below the others'. Their result is a constant; with a multiplier like the others' and a bias that comes
to that constant they no longer stand in the way of the fast kernels, nor of packed parameters.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgelab.mcu.cgen.fixed import Multiplier
from edgelab.mcu.cgen.lowering import Convolution, Ints, Step

_NEIGHBOURS = 2


def sums(step: Convolution) -> tuple[Ints, Ints]:
    """The lowest and the highest sum that each channel can have."""
    axes = (0, 1) if step.depthwise else (1, 2, 3)
    products = np.stack([step.weights * (127 - step.zero_in), step.weights * (-128 - step.zero_in)])
    lowest = step.bias + products.min(axis=0).sum(axis=axes)
    return lowest, step.bias + products.max(axis=0).sum(axis=axes)


def settled(step: Step) -> Step:
    """The same step; of channels that are constant and out of line, multipliers in line and no weights."""
    if not isinstance(step, Convolution):
        return step
    lowest, highest = sums(step)
    if max(np.abs(lowest).max(), np.abs(highest).max()) >= 2**31:
        return step
    multipliers = step.multipliers
    results = [(_result(step, m, a), _result(step, m, b)) for m, a, b in zip(multipliers, lowest, highest, strict=True)]
    moving = [c for c, (first, last) in enumerate(results) if first != last]
    if not moving:
        return step
    like = sorted(moving, key=lambda c: multipliers[c].shift)[len(moving) // 2]
    least = min(multipliers[c].shift for c in moving)
    biases = {}
    for c, (first, last) in enumerate(results):
        if first == last and (multipliers[c].shift < least or multipliers[c].value == 0):
            found = _bias(step, multipliers[like], first)
            if found is not None:
                biases[c] = found
    if not biases:
        return step
    weights, bias = step.weights.copy(), step.bias.copy()
    for c, value in biases.items():
        weights[(..., c) if step.depthwise else c] = 0
        bias[c] = value
    return replace(
        step,
        weights=weights,
        bias=bias,
        multipliers=tuple(multipliers[like] if c in biases else m for c, m in enumerate(multipliers)),
        scales=tuple(step.scales[like] if c in biases else s for c, s in enumerate(step.scales)),
    )


def _result(step: Convolution, m: Multiplier, a: int) -> int:
    return min(max(m.apply(int(a)) + step.zero_out, step.low), step.high)


def _bias(step: Convolution, m: Multiplier, result: int) -> int | None:
    """A sum that comes to this result."""
    centre = round((result - step.zero_out) / (m.value * 2.0 ** (m.shift - 31)))
    near = (centre + i for i in sorted(range(-_NEIGHBOURS, _NEIGHBOURS + 1), key=abs))
    return next((a for a in near if abs(a) < 2**31 and _result(step, m, a) == result), None)
