"""Claims of the field put to the test: a verdict is computed from readings, never typed in.

How a reading decides. One in doubt (too few runs for its interval, a machine kept busy by others: `Reading.doubt`)
decides nothing: "cannot tell". Of the others the 95 percent interval decides the question that the claim asks; a
reading without an interval and without a doubt counts as exact (a count, a file's size).

A claim with a direction (faster, smaller, worse) asks on which side of a bound the quantity lies, the bound itself
not being on the claimed side. The whole interval on the claimed side shows the direction; the whole interval on the
other side, or at the bound, is "not here"; an interval that spans the bound is "cannot tell". Where the direction is
shown, the size is judged by the figure itself: the claim "held" if that lies in the claimed range, both ends
included, and is "partly" held if it does not; the sentence says where the interval reaches further.

A claim of a size alone has no direction that could hold without it, so there is no "partly": it held where the whole
interval lies in the range, is "not here" where the whole interval lies outside, and "cannot tell" across an end.

Of several readings the claim held if it held for each, is "not here" if it is so for each, and is "partly" else. A
reading that cannot tell leaves the verdict to the others only where it could not change it.

A reading that was measured ahead of time (`Reading.made_on`) decides as any other. A quoted one decides nothing.
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgelab.course import boxes
from edgelab.errors import BadInput
from edgelab.reading import Reading, format_numbers, kernel_shell

CLAIM_MIME = "application/vnd.edgelab.claim+json"
VerdictWord = Literal["held", "partly", "not here", "arithmetic", "modelled", "cannot tell"]
_COLOURS: Mapping[str, boxes.Colour] = {
    "held": "success",
    "partly": "warning",
    "not here": "info",  # a good result where it is true, not a failure
    "arithmetic": "info",
    "modelled": "info",
    "cannot tell": "neutral",
}


@dataclass(frozen=True)
class Quantity:
    """What a claim is tested by: its unit, its direction's side if it has one, the range of its size."""

    name: str
    what: str
    unit: str
    above: float = -math.inf
    below: float = math.inf
    low: float = -math.inf
    high: float = math.inf

    @property
    def directed(self) -> bool:
        """Whether the claim has a direction, which can hold where its size does not."""
        return math.isfinite(self.above) or math.isfinite(self.below)

    def range_text(self) -> str:
        """The claimed size in words."""
        unit = {"x": " times"}.get(self.unit, f" {self.unit}".rstrip())
        if self.low == self.high:
            return f"{self.low:g}{unit}"
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"{self.low:g} to {self.high:g}{unit}"
        if math.isfinite(self.low):
            return f"{self.low:g}{unit} or more"
        if math.isfinite(self.high):
            return f"{self.high:g}{unit} or less"
        return f"more than {self.above:g}{unit}" if math.isfinite(self.above) else f"less than {self.below:g}{unit}"


@dataclass(frozen=True)
class Claim:
    """A rule of thumb of the field and how it is tested; ``kind`` as ``claims.toml`` explains it."""

    id: str
    text: str
    labs: tuple[str, ...]
    kind: str
    quantities: Mapping[str, Quantity]


@dataclass(frozen=True)
class Verdict:
    """What became of a claim here. ``reading`` is the one that decided; ``readings`` are all of them."""

    id: str
    claim: str
    verdict: VerdictWord
    reading: Reading
    readings: tuple[Reading, ...]
    why: str
    _shown_in: list[int] = field(default_factory=list, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON-ready data: id, claim, verdict, reading, readings, why."""
        return {
            "id": self.id,
            "claim": self.claim,
            "verdict": self.verdict,
            "reading": self.reading.to_dict(),
            "readings": [reading.to_dict() for reading in self.readings],
            "why": self.why,
        }

    def box(self) -> boxes.Box:
        """The verdict as a notebook shows it."""
        return boxes.Box(_COLOURS[self.verdict], f"{self.id}: {self.verdict}", (f"Claim: {self.claim}", self.why))

    def __str__(self) -> str:
        return self.box().text()

    def show(self) -> None:
        """Display the verdict in a running notebook, once a cell."""
        shell = kernel_shell()
        if shell is not None and shell.execution_count not in self._shown_in:
            self._shown_in.append(shell.execution_count)
            boxes.show(self.box(), CLAIM_MIME, self.to_dict())

    _ipython_display_ = show


@functools.cache
def all_claims() -> Mapping[str, Claim]:
    """Every claim by its ID."""
    text = Path(__file__).with_name("claims.toml").read_text(encoding="utf-8")
    return {name: _claim(name, data) for name, data in tomllib.loads(text).items()}


def claim(identity: str, /, *readings: Reading, because: str = "", **named: Reading) -> Verdict:
    """Put a claim to the test, show the verdict in the notebook and leave it in the executed file.

    Parameters
    ----------
    identity
        The claim's ID in ``claims.toml``: ``"M4"``.
    readings
        One reading, or several of the same quantity (batch sizes, networks). Units must be the claim's.
    because
        Why it came out so here, if the lab knows: network, data, host, runtime. Computed text, not typed figures.
    named
        For a claim with several quantities, one reading each by name: ``claim("Q4", size=..., speed=...)``.

    Returns
    -------
    Verdict
        With the verdict, the reading that decided, and why.

    Raises
    ------
    BadInput
        If the claim is unknown, or the readings are not what it is tested by.

    Examples
    --------
    >>> claim("M4", Reading(2.1, "x", "measured", "a stopwatch", low=2.0, high=2.2)).verdict
    'held'
    >>> claim("M4", Reading(1.02, "x", "measured", "a stopwatch", low=0.97, high=1.07)).verdict
    'cannot tell'
    """
    known = all_claims()
    if identity not in known:
        raise BadInput(f"There is no claim '{identity}'; claims.toml holds {', '.join(known)}.")
    tested = known[identity]
    pairs = _pairs(tested, readings, named)
    judged = [(*judge(tested.kind, quantity, reading), reading) for quantity, reading in pairs]
    words = [word for word, _, _ in judged]
    word = words[0] if len(set(words)) == 1 else _mixed(words)
    deciding = next((entry for entry in judged if entry[0] == word), None) or max(judged, key=lambda e: _RANK[e[0]])
    several = len(judged) > 1
    sentences = [f"{reading.name}: {why}" if several else why for _, why, reading in judged]
    why = " ".join([*sentences, *([because] if because else [])])
    verdict = Verdict(identity, tested.text, word, deciding[2], tuple(reading for _, reading in pairs), why)
    verdict.show()
    return verdict


def judge(kind: str, quantity: Quantity, reading: Reading) -> tuple[VerdictWord, str]:
    """The verdict of one reading on one quantity of a claim of ``kind``, and a sentence that says why."""
    figure, size = reading.figure(), quantity.range_text()
    if kind == "modelled" or (kind == "measured" and reading.how == "modelled"):
        return "modelled", f"A model gives {figure} for {quantity.what}; the claim says {size}."
    if reading.how == "quoted":
        raise BadInput(f"A quoted figure cannot test a claim; the reading for '{quantity.name}' was not obtained here.")
    inside = quantity.low <= reading.value <= quantity.high
    if kind == "arithmetic":
        word: VerdictWord = "held" if inside else "arithmetic"
        return word, f"The sum gives {figure} for {quantity.what}; the claim says {size}."
    start = f"{quantity.what[0].upper()}{quantity.what[1:]}: {reading}."
    if reading.doubt:
        return "cannot tell", f"{start} The claim says {size}. {reading.doubt}"
    low = reading.value if reading.low is None else reading.low
    high = reading.value if reading.high is None else reading.high
    if quantity.directed:
        return _judge_direction(quantity, low, high, start, inside=inside)
    return _judge_size(quantity, low, high, start)


def _judge_direction(
    quantity: Quantity, low: float, high: float, start: str, *, inside: bool
) -> tuple[VerdictWord, str]:
    size = quantity.range_text()
    if high <= quantity.above or low >= quantity.below:
        return "not here", f"{start} That is not {_direction(quantity)}."
    if not (quantity.above < low and high < quantity.below):
        return "cannot tell", f"{start} The interval spans the bound: it does not stay {_direction(quantity)}."
    if inside:
        beyond = low < quantity.low or high > quantity.high
        return "held", f"{start} The claim says {size}{', beyond which the interval reaches' if beyond else ''}."
    nearly = ", which the interval reaches" if low <= quantity.high and high >= quantity.low else ""
    return "partly", f"{start} The direction holds; the size does not: the claim says {size}{nearly}."


def _judge_size(quantity: Quantity, low: float, high: float, start: str) -> tuple[VerdictWord, str]:
    size = quantity.range_text()
    if quantity.low <= low and high <= quantity.high:
        return "held", f"{start} The claim says {size}."
    if high < quantity.low or low > quantity.high:
        return "not here", f"{start} The claim says {size}."
    return "cannot tell", f"{start} The claim says {size}, and the interval lies partly inside."


_RANK: Mapping[str, int] = {"held": 0, "modelled": 1, "arithmetic": 2, "partly": 3, "not here": 4, "cannot tell": 5}


def _mixed(words: list[VerdictWord]) -> VerdictWord:
    found = set(words)
    for decisive in ("modelled", "arithmetic"):
        if decisive in found and found <= {decisive, "held"}:
            return decisive
    if "cannot tell" in found and "partly" not in found and not {"held", "not here"} <= found:
        return "cannot tell"  # whatever it would have been, it could still change the verdict
    return "partly"


def _direction(quantity: Quantity) -> str:
    parts = [
        f"above {format_numbers([quantity.above])[0]}" if math.isfinite(quantity.above) else "",
        f"below {format_numbers([quantity.below])[0]}" if math.isfinite(quantity.below) else "",
    ]
    return " and ".join(part for part in parts if part)


def _pairs(
    tested: Claim, readings: tuple[Reading, ...], named: Mapping[str, Reading]
) -> list[tuple[Quantity, Reading]]:
    quantities = tested.quantities
    if readings and (named or len(quantities) > 1):
        raise BadInput(f"The claim {tested.id} takes its readings by name: {', '.join(quantities)}.")
    if not readings and set(named) != set(quantities):
        raise BadInput(
            f"The claim {tested.id} needs readings for {', '.join(quantities)}, and got {', '.join(named) or 'none'}."
        )
    only = next(iter(quantities.values()))
    pairs = [(only, r) for r in readings] or [(quantities[name], reading) for name, reading in named.items()]
    for quantity, reading in pairs:
        if not isinstance(reading, Reading):
            raise BadInput(f"The claim {tested.id} is tested by readings, and '{quantity.name}' is {reading!r}.")
        if reading.unit != quantity.unit:
            raise BadInput(
                f"The claim {tested.id} is tested in '{quantity.unit}', "
                f"and the reading for '{quantity.name}' is in '{reading.unit}'."
            )
    return [
        (quantity, reading if reading.name else replace(reading, name=quantity.name)) for quantity, reading in pairs
    ]


def _claim(name: str, data: Mapping[str, Any]) -> Claim:
    quantities = {}
    for quantity, facts in data["quantities"].items():
        low, high = facts.get("held", (-math.inf, math.inf))
        quantities[quantity] = Quantity(
            name=quantity,
            what=facts["what"],
            unit=facts["unit"],
            above=facts.get("above", -math.inf),
            below=facts.get("below", math.inf),
            low=low,
            high=high,
        )
    return Claim(name, data["text"], tuple(data["labs"]), data["kind"], quantities)
