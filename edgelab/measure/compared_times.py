"""The times of compared files, such that nothing that goes wrong with them costs what is known already."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgelab.engines.base import Engine
from edgelab.errors import EdgelabError
from edgelab.measure.latency import LatencyReport, measure_latency
from edgelab.reading import Reading

BUDGET_SECONDS = 60.0
"""What the timed runs of all contenders may take together."""
_WARMUP = 20
_FEWEST = 8


@dataclass(frozen=True)
class ComparedTimes:
    """The report of those that were timed, and why others were not."""

    report: LatencyReport | None
    untimed: Mapping[str, str] = field(default_factory=dict)

    @property
    def timed(self) -> tuple[str, ...]:
        """The names of those that were timed."""
        return () if self.report is None else tuple(self.report.blocks)

    @property
    def note(self) -> str:
        """What the report says of the machine."""
        return "" if self.report is None else self.report.note

    def why(self, name: str) -> str:
        """Why one was not timed, as a sentence; empty if it was."""
        return self.untimed.get(name, "")

    def sentences(self) -> list[str]:
        """Why some were not timed."""
        return [f"{name} was not timed. {why}" for name, why in self.untimed.items()]

    def p50(self, name: str) -> Reading | None:
        """The median time of a run in ms."""
        return self.report.readings[name]["p50"] if self.report is not None and name in self.timed else None

    def slowdown(self, name: str, reference: str) -> Reading | None:
        """By how many percent the median time of one is above the reference's, negative where it is faster."""
        if self.report is None or name not in self.timed or reference not in self.timed:
            return None
        ratio = self.report.ratio(name, reference)
        low = None if ratio.low is None else 100 * (ratio.low - 1)
        high = None if ratio.high is None else 100 * (ratio.high - 1)
        return replace(ratio, value=100 * (ratio.value - 1), unit="%", low=low, high=high)


def compared_times(
    engines: Mapping[str, Engine], feeds: Mapping[int, Any], runs: int, seed: int, *, progress: bool = False
) -> ComparedTimes:
    """Time files in turn, each with its own first item; one that fails is left out and named.

    Parameters
    ----------
    engines
        By name, in the order of ``feeds``.
    feeds
        What each is fed with, by its place.
    runs
        Timed runs of each, fewer where they would take longer than `BUDGET_SECONDS`.
    seed, progress
        As in `measure_latency`.
    """
    untimed: dict[str, str] = {}
    pairs: dict[str, tuple[Engine, Any]] = {}
    seconds = 0.0
    for number, (name, engine) in enumerate(engines.items()):
        if why := str(getattr(engine, "why_untimed", "")):
            untimed[name] = f"{why}."
            continue
        try:
            feed = feeds[number]
            engine.time(feed, 1)
            started = time.perf_counter()
            engine.time(feed, 1)
            seconds += time.perf_counter() - started
            pairs[name] = (engine, feed)
        except EdgelabError as error:
            untimed[name] = str(error)
    if not pairs:
        return ComparedTimes(None, untimed)
    affordable = int(BUDGET_SECONDS / max(seconds, 1e-9))
    count = max(2, min(runs, affordable))
    warmup = max(0, min(_WARMUP, affordable // 4))
    try:
        report = measure_latency(pairs, None, count, warmup, seed=seed, progress=progress)
    except EdgelabError as error:
        return ComparedTimes(None, {**untimed, **dict.fromkeys(pairs, str(error))})
    if count < min(runs, _FEWEST):
        fewer = f"Runs are slow here: {count} of each were timed."
        report = replace(report, note=" ".join(filter(None, [report.note, fewer])))
    return ComparedTimes(report, untimed)
