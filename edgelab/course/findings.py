"""Sentences that state what a lab found, made by a function of the readings.

A cell tagged ``finding:ID`` defines ``finding_ID(...) -> str`` and shows what it says with
``finding(finding_ID, ...)``. The function sees its arguments and nothing else, so that the tests can hold its
sentences against the readings of a faster, a slower and a busier machine. The executed file keeps the sentence and
the arguments under `FINDING_MIME`; that is where such readings are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from edgelab.course import boxes
from edgelab.errors import BadInput
from edgelab.reading import Reading, emit

FINDING_MIME = "application/vnd.edgelab.finding+json"
HELPERS = ("by_side", "listed", "side_of")
"""The names of this module that a finding may use beside its arguments."""
PREFIX = "finding_"
_READING_KEYS = frozenset({"value", "unit", "how", "by"})
Side = Literal["above", "below", "cannot tell"]


def finding(state: Callable[..., str], /, *arguments: Any) -> None:
    """Show the sentence that ``state(*arguments)`` makes, and leave it in the executed file with its arguments.

    Parameters
    ----------
    state
        A function called ``finding_ID``: readings and figures in, plain text out, in which backticks mark code.
    arguments
        Readings, numbers, text, None, and lists and dicts of these. The function is called on what is recorded of
        them, so tuples and arrays reach it as lists.

    Raises
    ------
    BadInput
        If the function has another name, an argument cannot be recorded, or what it says is no text.

    Examples
    --------
    >>> def finding_speed(ratio):
    ...     return by_side(ratio, 1, above="Faster, {}.", below="Slower, {}.", unclear="It cannot be told: {}.")
    >>> finding(finding_speed, Reading(1.3, "x", "measured", "a race", low=1.2, high=1.4))  # shown in a notebook
    """
    name = getattr(state, "__name__", "")
    if not name.startswith(PREFIX) or name == PREFIX:
        raise BadInput(f"A finding's function is called finding_ID, for example finding_speed, not '{name}'.")
    recorded = [to_data(argument) for argument in arguments]
    text = state(*(from_data(data) for data in recorded))
    if not isinstance(text, str) or not text.strip():
        raise BadInput(f"{name}() must return the sentence that it states, and returned {text!r}.")
    payload = {"id": name.removeprefix(PREFIX), "text": text, "arguments": recorded}
    emit(FINDING_MIME, payload, boxes.escape(text))


def side_of(reading: Reading, bound: float) -> Side:
    """On which side of ``bound`` the whole 95 percent interval of a reading lies; without one, its value.

    A reading in doubt tells nothing, as for a claim.

    Examples
    --------
    >>> side_of(Reading(1.3, "x", "measured", "a race", low=1.2, high=1.4), 1)
    'above'
    >>> side_of(Reading(1.3, "x", "measured", "a race", low=0.9, high=1.7), 1)
    'cannot tell'
    """
    if reading.doubt:
        return "cannot tell"
    low = reading.value if reading.low is None else reading.low
    high = reading.value if reading.high is None else reading.high
    return "above" if low > bound else "below" if high < bound else "cannot tell"


def by_side(reading: Reading, bound: float, *, above: str, below: str, unclear: str) -> str:
    """The text for the side of ``bound`` on which a reading lies; its figure with the interval stands for ``{}``.

    A reading in doubt gives ``unclear``, and its figure the reason: "1.34x (1.32 to 1.36), as other programs ...".

    Examples
    --------
    >>> ratio = Reading(1.3, "x", "measured", "a race", low=1.2, high=1.4)
    >>> by_side(ratio, 1, above="faster, {}", below="slower, {}", unclear="it cannot be told")
    'faster, 1.30x (1.20 to 1.40)'
    """
    text = {"above": above, "below": below, "cannot tell": unclear}[side_of(reading, bound)]
    figure = replace(reading, doubt="").figure()  # the words around it say that it cannot tell
    if reading.doubt:
        figure += f", as {reading.doubt[0].lower()}{reading.doubt[1:].rstrip('.').replace('. ', '; ')}"
    return text.replace("{}", figure)


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence; no words give an empty text.

    Examples
    --------
    >>> listed(["day", "night", "dusk"])
    'day, night and dusk'
    """
    *first, last = words or [""]
    return f"{', '.join(first)} and {last}" if first else last


def to_data(argument: Any) -> Any:
    """An argument of a finding as JSON-ready data.

    Raises
    ------
    BadInput
        If it is of a kind that cannot be recorded.
    """
    if isinstance(argument, Reading):
        return argument.to_dict()
    if hasattr(argument, "tolist"):  # numpy's scalars and arrays
        return to_data(argument.tolist())
    if argument is None or isinstance(argument, str | bool | int | float):
        return argument
    if isinstance(argument, Mapping):  # as pairs: whoever writes a notebook sorts the keys of its data
        return {"pairs": [[to_data(key), to_data(value)] for key, value in argument.items()]}
    if isinstance(argument, Sequence):
        return [to_data(value) for value in argument]
    raise BadInput(f"A finding takes readings, numbers, text, and lists and dicts of them, not {argument!r}.")


def from_data(data: Any) -> Any:
    """The inverse of `to_data`: what a finding's function is called with."""
    if isinstance(data, dict):
        if data.keys() >= _READING_KEYS:
            return Reading.from_dict(data)
        return {from_data(key): from_data(value) for key, value in data["pairs"]}
    return [from_data(value) for value in data] if isinstance(data, list) else data
