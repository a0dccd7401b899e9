"""Which layers of plain C99 have a function of their own, and which share one.

A function of its own has literal bounds and is fast; flash beyond the constants has a limit. Layers share functions
where those of their own would not fit, the ones that gain least first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgelab.mcu.cgen import portable_values, portable_window
from edgelab.mcu.cgen.ctext import Program
from edgelab.mcu.cgen.lowering import Alias, Binary, Convolution, Step, Table

_BUDGET_BYTES = 22400


@dataclass(frozen=True)
class Choice:
    """Indices of steps."""

    shared: frozenset[int] = frozenset()
    small: frozenset[int] = frozenset()
    """Steps whose own functions are compiled for size."""


def fits(step: Step) -> bool:
    """Whether a shared function takes the step."""
    if isinstance(step, Convolution):
        return portable_window.packed(step) is not None
    return isinstance(step, Table) or (isinstance(step, Binary) and portable_values.fits(step))


def layer(p: Program, step: Step) -> None:
    """Add a layer's structure and its function."""
    if isinstance(step, Convolution):
        portable_window.convolution(p, step)
    elif isinstance(step, Binary):
        portable_values.binary(p, step)
    elif isinstance(step, Table):
        portable_values.table(p, step)


def chosen(steps: Sequence[Step]) -> Choice:
    import os
    if not os.environ.get("ALL"):
        return Choice()
    shared = frozenset(s.index for s in steps if fits(s))
    return Choice(shared, frozenset(s.index for s in steps if not isinstance(s, Alias) and s.index not in shared))
