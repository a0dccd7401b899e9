"""What a caller hands to a figure, as checked numbers: plain values or readings with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.reading import Reading

Values: TypeAlias = "ArrayLike | Sequence[Reading | float]"


@dataclass(frozen=True)
class Numbers:
    """One axis of a series: values (n,), the arms of their intervals (n,) or None, and a hover line each."""

    values: NDArray[np.float64]
    below: NDArray[np.float64] | None
    above: NDArray[np.float64] | None
    hover: list[str]
    how: list[str]

    @property
    def error(self) -> dict[str, Any] | None:
        """Plotly's description of the error bars, or None where no value has an interval."""
        if self.below is None or self.above is None:
            return None
        return {"type": "data", "symmetric": False, "array": self.above, "arrayminus": self.below, "thickness": 1.5}

    @property
    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The upper and the lower ends of the intervals, (n,) each; without intervals the values."""
        above = self.values if self.above is None else self.values + self.above
        below = self.values if self.below is None else self.values - self.below
        return above, below


def numbers(values: Values, what: str, *, gaps: bool = False) -> Numbers:
    """Check one sequence of plain numbers or readings.

    Parameters
    ----------
    values
        Shape (n,), n at least 1.
    what
        What they are, for the error sentence.
    gaps
        Whether NaN may stand for "nothing here"; otherwise every value must be finite.

    Raises
    ------
    BadInput
        If there is none, or one is not a finite number, or the shape is another.
    """
    listed = [values] if isinstance(values, Reading) else list(_iterate(values, what))
    if not listed:
        raise BadInput(f"{what} is empty; a figure needs at least one value.")
    readings = [v if isinstance(v, Reading) else None for v in listed]
    try:
        plain = np.array([v.value if isinstance(v, Reading) else v for v in listed], dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"{what} must be a row of numbers or readings, not {_shape(values)}.") from None
    if plain.ndim != 1:
        raise BadInput(f"{what} must be one row of numbers; it has the shape {plain.shape}.")
    allowed = ~np.isinf(plain) if gaps else np.isfinite(plain)
    if not allowed.all():
        raise BadInput(
            f"{what} holds {plain[~allowed][0]} at position {int(np.argmin(allowed))}; values must be finite."
        )
    below = above = None
    if any(r is not None and r.low is not None for r in readings):
        below = np.array([r.value - r.low if r is not None and r.low is not None else 0.0 for r in readings])
        above = np.array([r.high - r.value if r is not None and r.high is not None else 0.0 for r in readings])
        below, above = np.maximum(below, 0), np.maximum(above, 0)
    return Numbers(
        values=plain,
        below=below,
        above=above,
        hover=["" if r is None else f"<br>{r.figure()}<br>{r.provenance} by {r.by}" for r in readings],
        how=["" if r is None else r.how for r in readings],
    )


def pairs(series: Mapping[str, tuple[Values, Values]], *, gaps: bool = True) -> dict[str, tuple[Numbers, Numbers]]:
    """Check a mapping of labels to (x, y), each of shape (n,).

    Raises
    ------
    BadInput
        If it is empty, or x and y differ in length.
    """
    if not isinstance(series, Mapping) or not series:
        raise BadInput("A figure needs at least one series, given as {label: (x, y)}.")
    checked = {}
    for label, pair in series.items():
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise BadInput(f"The series '{label}' must be a pair (x, y).")
        x, y = numbers(pair[0], f"x of '{label}'"), numbers(pair[1], f"y of '{label}'", gaps=gaps)
        if len(x.values) != len(y.values):
            raise BadInput(f"The series '{label}' has {len(x.values)} x values and {len(y.values)} y values.")
        checked[str(label)] = (x, y)
    return checked


def matrix(z: ArrayLike, what: str) -> NDArray[np.float64]:
    """Check a table of numbers, shape (rows, columns); NaN stands for an empty cell."""
    try:
        table = np.asarray(z, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"{what} must be a table of numbers, not {_shape(z)}.") from None
    if table.ndim != 2 or 0 in table.shape:
        raise BadInput(f"{what} must be a table of numbers (rows, columns); it has the shape {table.shape}.")
    if np.isinf(table).any():
        raise BadInput(f"{what} holds an infinite value; use NaN for an empty cell.")
    return table


def labels_of(labels: Any, count: int, what: str) -> list[str]:
    """One text for each of ``count`` values.

    Raises
    ------
    BadInput
        If there are more or fewer.
    """
    listed = [str(label) for label in labels]
    if len(listed) != count:
        raise BadInput(f"There are {len(listed)} labels for {count} {what}.")
    return listed


def _iterate(values: object, what: str) -> Sequence[Any]:
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise BadInput(f"{what} must be a row of numbers or readings, not {_shape(values)}.")
    if hasattr(values, "detach"):  # a PyTorch tensor, whose items would be tensors
        values = values.detach().cpu().numpy()
    return list(values)


def _shape(values: object) -> str:
    return f"a {type(values).__name__}"
