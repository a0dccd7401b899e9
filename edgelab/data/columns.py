"""Columns of a table that say when or where a row was written, not what was measured: row numbers and clocks.

A network that is given one learns the order of the file. The rules are few and err on the side of keeping a column:
what is left out is always said, and ``drop=`` decides instead of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["index", "clock"]

_FEWEST = 10
"""Fewer rows than this prove nothing by their values."""
_MOSTLY = 0.9
"""The share of steps forward in a clock, which may begin anew with each recording."""
_INDEX_NAMES = {
    "index",
    "idx",
    "id",
    "row",
    "rowid",
    "rownum",
    "sample",
    "sampleid",
    "seq",
    "sequence",
    "counter",
    "nr",
}
_INDEX_NAMES |= {"no", "num", "number", "frame", "frameid", "recordid", "uid", "uuid", "entry", "#"}
_SURE_CLOCK_NAMES = {"timestamp", "datetime", "epoch", "unixtime", "utc"}
_CLOCK_WORDS = _SURE_CLOCK_NAMES | {"time", "t", "ts", "date", "clock", "s", "sec", "secs", "second", "seconds", "ms"}
_CLOCK_WORDS |= {"msec", "millis", "millisecond", "milliseconds", "us", "usec", "micros", "microseconds", "ns", "nanos"}
_CLOCK_WORDS |= {"nanoseconds", "elapsed", "uptime", "tick", "ticks", "stamp", "minute", "minutes", "min", "hours"}
_EPOCH = (9.46e8, 4.1e9)  # the years 2000 to 2099, in seconds since 1970
_DAY = r"(?:\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4}|\d{1,2}[ -][A-Za-z]{3,9}[ ,-]+\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4})"
_HOUR = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,:]\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?"
_ZONE = r"(?: ?(?:Z|UTC|GMT|[A-Z]{3,4}|[+-]\d{2}:?\d{2}))?"
_TEXT_CLOCK = re.compile(
    rf"(?:(?:[A-Za-z]{{3,9}},? )?{_DAY}(?:,?[ T]+{_HOUR}{_ZONE})?|{_HOUR}{_ZONE}|\d{{8}}T\d{{4,6}}Z?"
    rf"|-?\d+ days?(?:,? [+-]?{_HOUR})?|[A-Z][a-z]{{2}} [A-Z][a-z]{{2}} [ \d]\d {_HOUR}{_ZONE} \d{{4}})"
)


def is_unnamed(name: str) -> bool:
    """Whether a column has the name that pandas gives its index, or none.

    Examples
    --------
    >>> is_unnamed("Unnamed: 0"), is_unnamed(""), is_unnamed("ax")
    (True, True, False)
    """
    return not name or re.fullmatch(r"unnamed: ?\d+(?:_level_\d+|\.\d+)*|level_\d+", name, re.IGNORECASE) is not None


def is_text_clock(cell: str) -> bool:
    """Whether a cell is a date, a time of day or a span of time in words.

    Examples
    --------
    >>> [is_text_clock(cell) for cell in ("2024-01-05T12:00:00.5Z", "05.01.2024 12:00", "12:00:01", "12.5", "ok")]
    [True, True, True, False, False]
    """
    return _TEXT_CLOCK.fullmatch(cell.strip()) is not None


def numbered_series(names: Sequence[str]) -> frozenset[str]:
    """The names that are one word with a number each, three or more of a word: the samples of a window.

    Examples
    --------
    >>> sorted(numbered_series(["time", "t0", "t1", "t2"]))
    ['t0', 't1', 't2']
    """
    stems = {name: match[1] for name in names if (match := re.fullmatch(r"(\D*?)[ _.-]?\d+", name))}
    counts = Counter(stems.values())
    return frozenset(name for name, stem in stems.items() if counts[stem] >= 3 and not is_unnamed(name))


def judge(name: str, values: NDArray[np.float64], *, in_series: bool = False) -> Kind | None:
    """What a column of numbers is beside a measurement: the index of the rows, their clock, or neither.

    Parameters
    ----------
    name
        Its name.
    values
        Its values (N,), finite, in double precision: a clock of today has ten digits before the point.
    in_series
        Whether it is one of a numbered series, which are judged by their names alone.

    Examples
    --------
    >>> rows = np.arange(100.0)
    >>> judge("a", rows), judge("b", 1.7e9 + rows / 50), judge("time_s", rows**2), judge("c", np.sin(rows))
    ('index', 'clock', 'clock', None)
    """
    if len(values) < 2:
        return "index" if is_unnamed(name) else None
    steps = np.diff(values)
    forward = float((steps >= 0).mean()) if (steps != 0).any() else 0.0
    whole = bool((values == np.round(values)).all())
    if _numbers_rows(name, values, steps, whole=whole, forward=forward, in_series=in_series):
        return "index"
    return "clock" if not in_series and _tells_time(name, values, steps, forward) else None


def _numbers_rows(
    name: str,
    values: NDArray[np.float64],
    steps: NDArray[np.float64],
    *,
    whole: bool,
    forward: float,
    in_series: bool,
) -> bool:
    if is_unnamed(name):
        return whole or forward > _MOSTLY
    if in_series or not whole or (words := _words(name)) & _SURE_CLOCK_NAMES:
        return False
    different = len(np.unique(values)) == len(values)
    if _is_index_name(name):  # they tell rows apart, or count on, perhaps anew for each recording
        return different or float((steps == 1).mean()) > 0.8
    consecutive = different and np.ptp(values) == len(values) - 1
    return bool(len(values) >= _FEWEST and consecutive and not (words & _CLOCK_WORDS and forward > _MOSTLY))


def _tells_time(name: str, values: NDArray[np.float64], steps: NDArray[np.float64], forward: float) -> bool:
    words = _words(name)
    if forward and words & _SURE_CLOCK_NAMES:
        return True
    if forward > _MOSTLY and words & _CLOCK_WORDS and values[-1] != values[0]:
        return True
    if len(values) < _FEWEST:
        return False
    in_order = forward > _MOSTLY or len(np.unique(values)) == len(values)  # or rows that were shuffled
    if in_order and _in_epoch(values):
        return True
    return len(values) >= 2 * _FEWEST and (_even(steps) or _counts_round(values, steps))


def _words(name: str) -> set[str]:
    """The words of a name: of ``sampleTime_ms`` sample, time, ms."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = {word.lower() for word in re.split(r"[^A-Za-z]+", spaced) if word}
    return words | {name.strip().lower()}


def _is_index_name(name: str) -> bool:
    plain = re.sub(r"[\s_.-]+", "", name).lower()
    of_rows = r"(?:row|sample|frame|seq|record|item)(?:id|idx|index|no|nr|num|number)"
    return plain in _INDEX_NAMES or re.fullmatch(of_rows, plain) is not None


def _in_epoch(values: NDArray[np.float64]) -> bool:
    low, high = float(values.min()), float(values.max())
    return any(_EPOCH[0] * unit <= low and high <= _EPOCH[1] * unit for unit in (1.0, 1e3, 1e6, 1e9))


def _even(steps: NDArray[np.float64]) -> bool:
    """Whether values go on in one direction in steps of about one size, as no measurement does."""
    if not ((steps > 0).all() or (steps < 0).all()):
        return False
    low, middle, high = np.quantile(np.abs(steps), [0.05, 0.5, 0.95])
    return bool(high <= 1.6 * middle and low >= 0.4 * middle)


def _counts_round(values: NDArray[np.float64], steps: NDArray[np.float64]) -> bool:
    """Whether values go on in even steps as a counter of 16 or 32 bits does that has run over."""
    if values.min() < 0 or (values != np.round(values)).any():
        return False
    span = next((float(2**bits) for bits in (16, 32) if values.max() < 2**bits), None)
    return span is not None and bool(values.max() >= span / 2 and (steps < 0).any() and _even(steps % span))
