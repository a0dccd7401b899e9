"""Times of contenders measured in turn: percentiles with intervals, ratios, and a verdict that knows the noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.measure import stats
from edgelab.reading import Reading, Table

PERCENTILES = (50, 95, 99)
SMALLEST_RELEVANT = 0.03
"""A difference in time below 3 percent is not called one: the layout of memory alone moves a loop that much
(Mytkowicz et al., *Producing Wrong Data Without Doing Anything Obviously Wrong*, 2009)."""


@dataclass(frozen=True)
class Verdict:
    """Whether a difference is larger than the noise: one sentence, and the figure it rests on."""

    text: str
    different: bool
    reading: Reading

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: text, different, reading."""
        return {"text": self.text, "different": self.different, "reading": self.reading.to_dict()}

    def _repr_markdown_(self) -> str:
        return f"{self.text} *{self.reading.how}* by {self.reading.by}."


@dataclass(frozen=True)
class LatencyReport:
    """Times of single runs of each contender, and what can be said of them.

    Attributes
    ----------
    blocks
        For each contender its times in seconds, (rounds, runs in a block): row i of all was measured in round i.
        What rounds have in common widens the intervals.
    batch
        Items in one run.
    by
        For each contender the runtime, the number of runs, the batch and the processor.
    note
        One sentence if the machine was not quiet.
    readings
        For each contender ``p50``, ``p95``, ``p99`` and ``mean`` in ms, and ``throughput`` in items/s at the median.
    """

    blocks: Mapping[str, NDArray[np.float64]]
    batch: Mapping[str, int]
    by: Mapping[str, str]
    note: str = ""
    seed: int = 0
    readings: Mapping[str, Mapping[str, Reading]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "readings", {name: self._summary(name) for name in self.blocks})

    @property
    def seconds(self) -> dict[str, NDArray[np.float64]]:
        """For each contender its times in seconds, (runs,)."""
        return {name: block.ravel() for name, block in self.blocks.items()}

    def ratio(self, numerator: str, denominator: str) -> Reading:
        """Median time of one contender over that of another, with the interval of the interleaved rounds.

        2.0: ``numerator`` takes twice as long as ``denominator``.
        """
        a, b = self._block(numerator), self._block(denominator)
        value, low, high = stats.median_ratio_interval(a, b, self.seed)
        by = f"median time of {numerator} over {denominator}; {self.by[numerator]}; {self.by[denominator]}"
        return Reading(value, "x", "measured", by, low, high)

    def speed_up(self, of: str, over: str) -> Reading:
        """How many times as fast ``of`` is as ``over``: 2.0 if it needs half the time."""
        return self.ratio(over, of)

    def tail(self, name: str, q: int = 99) -> Reading:
        """The q-th percentile over the median of one contender, with the percentile's own interval."""
        times = self._block(name)
        found = stats.percentile_interval(times / float(np.median(times)), q)
        return Reading(found[0], "x", "measured", f"p{q} over p50; {self.by[name]}", *found[1:])

    def verdict(self, a: str, b: str) -> Verdict:
        """Who is faster, if the difference is larger than the noise and than `SMALLEST_RELEVANT`."""
        ratio = self.ratio(a, b)
        if ratio.low is None or ratio.high is None:
            return Verdict(f"Too few runs to tell {a} from {b} (ratio {ratio.value:.2f}).", False, ratio)
        low, high = ratio.low, ratio.high
        if low > 1 + SMALLEST_RELEVANT:
            return Verdict(f"{b} is {ratio.value:.2f} times as fast as {a} ({low:.2f} to {high:.2f}).", True, ratio)
        if high < 1 - SMALLEST_RELEVANT:
            v, lo, hi = 1 / ratio.value, 1 / high, 1 / low
            return Verdict(f"{a} is {v:.2f} times as fast as {b} ({lo:.2f} to {hi:.2f}).", True, ratio)
        text = f"No difference between {a} and {b} beyond the noise (ratio {ratio.value:.2f}, {low:.2f} to {high:.2f})."
        return Verdict(text, False, ratio)

    def table(self) -> Table:
        """A row for each contender: percentiles and mean in ms with intervals, items in a second."""
        rows: list[tuple[str | int | float, ...]] = [
            (name, self.batch[name], *(r[key].figure() for key in ("p50", "p95", "p99", "mean")), r["throughput"].value)
            for name, r in self.readings.items()
        ]
        columns = ("contender", "batch", "p50", "p95", "p99", "mean", "items/s")
        how = "Measured: " + "; ".join(dict.fromkeys(self.by.values())) + "."
        return Table("Time of one run", columns, rows, " ".join(filter(None, [how, self.wanting(), self.note])))

    def wanting(self) -> str:
        """One sentence if there were too few runs for the interval of a percentile, else nothing."""
        fewest = min(block.size for block in self.blocks.values())
        short = [q for q in PERCENTILES if stats.fewest_values(q) > fewest]
        if not short:
            return ""
        return "Runs for an interval: " + ", ".join(f"p{q} at least {stats.fewest_values(q)}" for q in short) + "."

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: readings by contender, note."""
        figures = {name: {key: r.to_dict() for key, r in rs.items()} for name, rs in self.readings.items()}
        return {"contenders": figures, "note": self.note}

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()

    def __str__(self) -> str:
        return str(self.table())

    def _block(self, name: str) -> NDArray[np.float64]:
        if name not in self.blocks:
            raise BadInput(f"'{name}' was not measured; there are {', '.join(self.blocks)}.")
        return self.blocks[name]

    def _summary(self, name: str) -> dict[str, Reading]:
        ms = 1e3 * self.blocks[name]
        by = self.by[name]
        found = {f"p{q}": stats.percentile_interval(ms, q) for q in PERCENTILES} | {"mean": stats.mean_interval(ms)}
        summary = {key: Reading(value, "ms", "measured", by, low, high) for key, (value, low, high) in found.items()}
        value, low, high = found["p50"]
        items = 1e3 * self.batch[name]
        ends = (None, None) if low is None or high is None else (items / high, items / low)
        summary["throughput"] = Reading(items / value, "items/s", "measured", by, *ends)
        return summary
