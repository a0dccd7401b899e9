"""Limits that a figure has to keep, judged by its whole interval: passed, failed, or cannot tell."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from edgelab.errors import BadInput
from edgelab.reading import Reading

Judged = Literal["passed", "failed", "cannot tell"]


@dataclass(frozen=True)
class Gate:
    """One limit and what a figure makes of it.

    ``reading`` is None where there is no figure; ``text`` says in a sentence why it is judged so.
    """

    name: str
    limit: float
    reading: Reading | None
    verdict: Judged
    text: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: name, limit, reading (with its interval), verdict, text."""
        reading = None if self.reading is None else self.reading.to_dict()
        return {"name": self.name, "limit": self.limit, "reading": reading, "verdict": self.verdict, "text": self.text}


def at_most(name: str, limit: float, reading: Reading | None, what: str, why: str = "") -> Gate:
    """Judge a figure that may be at most ``limit``, by its interval: failed only where all of it lies above.

    Parameters
    ----------
    name
        Of the limit, as the switch has it.
    limit
        In the reading's unit.
    reading
        The figure; None where there is none.
    what
        The figure in words, for the sentence: ``"points lost"``.
    why
        Why there is no figure.

    Examples
    --------
    >>> lost = Reading(2.0, "points", "measured", "a test", low=1.5, high=2.5)
    >>> at_most("max_loss", 1.0, lost, "points lost").verdict
    'failed'
    >>> at_most("max_loss", 1.8, lost, "points lost").verdict
    'cannot tell'
    """
    if reading is None:
        return Gate(name, limit, None, "cannot tell", f"Cannot tell whether {what} are at most {limit:g}: {why}")
    if reading.low is None or reading.high is None:
        text = f"Cannot tell whether {what} are at most {limit:g}: {reading.doubt or 'the figure has no interval.'}"
        return Gate(name, limit, reading, "cannot tell", text)
    doubt = f" {reading.doubt}" if reading.doubt else ""
    if reading.low > limit:
        verdict, text = "failed", f"{reading.figure()} {what}: all of the interval lies above the limit of {limit:g}."
    elif reading.high <= limit:
        verdict, text = "passed", f"{reading.figure()} {what}: all of the interval keeps the limit of {limit:g}."
    else:
        verdict, text = "cannot tell", f"{reading.figure()} {what}: the interval holds the limit of {limit:g}."
    return Gate(name, limit, reading, verdict, text + doubt)  # type: ignore[arg-type]


def passed(gates: Iterable[Gate], *, strict: bool = False) -> bool:
    """Whether no gate failed; with ``strict`` whether every one passed."""
    return all(gate.verdict == "passed" or (gate.verdict == "cannot tell" and not strict) for gate in gates)


def check_limit(name: str, value: float | None) -> None:
    """Raise BadInput unless a limit is a number or absent."""
    if value is not None and not math.isfinite(value):
        raise BadInput(f"{name} must be a number, not {value}.")
