"""Times of contenders measured in turn: percentiles with intervals, ratios, and a verdict that knows the noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

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
    busy
        One sentence if others kept the machine busy meanwhile: every reading carries it as its doubt.
    lost
        Contenders without times, and why.
    cut
        What ended it before all rounds were run, else nothing.
    warmup
        Runs before the timed ones, thrown away.
    readings
        For each contender ``p50``, ``p95``, ``p99`` and ``mean`` in ms, and ``throughput`` in items/s at the median.
    """

    blocks: Mapping[str, NDArray[np.float64]]
    batch: Mapping[str, int]
    by: Mapping[str, str]
    note: str = ""
    seed: int = 0
    busy: str = ""
    lost: Mapping[str, str] = field(default_factory=dict)
    cut: str = ""
    warmup: Mapping[str, int] = field(default_factory=dict)
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
        doubt = self._doubt("" if low is not None else too_few_rounds(len(a)))
        return Reading(value, "x", "measured", by, low, high, doubt=doubt)

    def speed_up(self, of: str, over: str) -> Reading:
        """How many times as fast ``of`` is as ``over``: 2.0 if it needs half the time."""
        return self.ratio(over, of)

    def tail(self, name: str, q: int = 99) -> Reading:
        """The q-th percentile over the median of one contender, with the percentile's own interval."""
        times = self._block(name)
        value, low, high = stats.percentile_interval(times / float(np.median(times)), q)
        doubt = self._doubt(stats.why_open(times, q))
        return Reading(value, "x", "measured", f"p{q} over p50; {self.by[name]}", low, high, doubt=doubt)

    def verdict(self, a: str, b: str) -> Verdict:
        """Who is faster, if the difference is larger than the noise and than `SMALLEST_RELEVANT`."""
        ratio = self.ratio(a, b)
        if ratio.low is None or ratio.high is None:
            return Verdict(f"Cannot tell {a} from {b} (ratio {ratio.value:.2f}): too few runs.", False, ratio)
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
        """Why a percentile of some contender cannot be told, in one sentence each, else nothing."""
        doubts = [stats.why_open(block, q) for block in self.blocks.values() for q in PERCENTILES]
        return " ".join(dict.fromkeys(filter(None, doubts)))

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

    def _doubt(self, doubt: str) -> str:
        return " ".join(filter(None, [doubt, self.busy]))

    def _summary(self, name: str) -> dict[str, Reading]:
        ms = 1e3 * self.blocks[name]
        by, items = self.by[name], 1e3 * self.batch[name]
        summary = {}
        for q in PERCENTILES:
            value, low, high = stats.percentile_interval(ms, q)
            doubt = self._doubt(stats.why_open(ms, q))
            summary[f"p{q}"] = Reading(value, "ms", "measured", by, low, high, doubt=doubt)
        value, low, high = stats.mean_interval(ms)
        doubt = self._doubt("" if low is not None else too_few_rounds(len(ms)))
        summary["mean"] = Reading(value, "ms", "measured", by, low, high, doubt=doubt)
        p50 = summary["p50"]
        low, high = (None, None) if p50.low is None or p50.high is None else (items / p50.high, items / p50.low)
        summary["throughput"] = Reading(items / p50.value, "items/s", "measured", by, low, high, doubt=p50.doubt)
        return summary


def too_few_rounds(rounds: int) -> str:
    """The doubt of a figure that has no interval because there were too few rounds."""
    return f"{rounds} {'round cannot' if rounds == 1 else 'rounds cannot'} tell: it takes {stats.FEWEST_ROUNDS}."


def largest_to_smallest(ratios: Sequence[Reading]) -> Reading:
    """The largest of several ratios that were measured apart over the smallest, with an interval.

    The two were picked because they lie far apart, so that the quotient is above 1 whatever there is to see. Its
    interval is therefore wide enough for every pair at once (Bonferroni), and may reach below 1: it cannot tell then.
    The two intervals are combined on the scale of the logarithm (Zou and Donner 2008).
    """
    if len(ratios) < 2 or any(ratio.value <= 0 or (ratio.low or 1) <= 0 for ratio in ratios):
        raise BadInput("At least two ratios above 0 are wanted.")
    most, least = max(ratios, key=lambda r: r.value), min(ratios, key=lambda r: r.value)
    value, doubt = most.value / least.value, next((r.doubt for r in ratios if r.doubt), "")
    by = f"largest over smallest of {len(ratios)}; {most.by}; {least.by}"
    if most.low is None or most.high is None or least.low is None or least.high is None:
        return Reading(value, most.unit, most.how, by, doubt=doubt)
    pairs = len(ratios) * (len(ratios) - 1) // 2
    wider = float(ndtri(1 - (1 - stats.CONFIDENCE) / 2 / pairs) / ndtri(0.5 + stats.CONFIDENCE / 2))
    down = wider * math.hypot(math.log(most.value / most.low), math.log(least.high / least.value))
    up = wider * math.hypot(math.log(most.high / most.value), math.log(least.value / least.low))
    return Reading(value, most.unit, most.how, by, value * math.exp(-down), value * math.exp(up), doubt=doubt)
