"""How fast: contenders interleaved in blocks, percentiles with intervals, and a verdict that knows the noise.

Running all of A and then all of B measures the machine's mood as well. Here the contenders take turns in short
blocks, in an order drawn anew each round, so that drift and disturbances hit all alike. The first run of a block
is thrown away: it pays for the change of contender.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines.base import Engine
from edgelab.errors import BadInput
from edgelab.measure import stats
from edgelab.measure.machine import machine, probe
from edgelab.reading import Reading, Table

PERCENTILES = (50, 95, 99)
SMALLEST_RELEVANT = 0.03
"""A difference in time below 3 percent is not called one: the layout of memory alone moves a loop that much
(Mytkowicz et al., *Producing Wrong Data Without Doing Anything Obviously Wrong*, 2009)."""
_FEWEST_ROUNDS = 8
Inputs = NDArray[np.float32]


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
    batch
        Items in one run.
    by
        For each contender the runtime, the number of runs, the batch and the processor.
    note
        One sentence if the machine was not quiet.
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
        """Median time of one contender over that of another, with the interval of the interleaved rounds."""
        a, b = self._block(numerator), self._block(denominator)
        value, low, high = stats.median_ratio_interval(a, b, self.seed)
        by = f"median time of {numerator} over {denominator}; {self.by[numerator]}; {self.by[denominator]}"
        return Reading(value, "x", "measured", by, low, high)

    def speed_up(self, of: str, over: str) -> Reading:
        """How many times as fast ``of`` is as ``over``: 2.0 if it needs half the time."""
        return self.ratio(over, of)

    def tail(self, name: str, q: int = 99) -> Reading:
        """The q-th percentile over the median of one contender, with the percentile's own interval."""
        times = self._block(name).ravel()
        median = float(np.median(times))
        value, low, high = (v / median for v in stats.percentile_interval(times, q))
        return Reading(value, "x", "measured", f"p{q} over p50; {self.by[name]}", low, high)

    def verdict(self, a: str, b: str) -> Verdict:
        """Who is faster, if the difference is larger than the noise and than `SMALLEST_RELEVANT`."""
        ratio = self.ratio(a, b)
        low, high = ratio.low or ratio.value, ratio.high or ratio.value
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
        return Table("Time of one run", columns, rows, " ".join(filter(None, [how, self.note])))

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
        ms = 1e3 * self.blocks[name].ravel()
        by = self.by[name]
        summary = {}
        for q in PERCENTILES:
            value, low, high = stats.percentile_interval(ms, q)
            summary[f"p{q}"] = Reading(value, "ms", "measured", by, low, high)
        mean, half = float(ms.mean()), 1.96 * float(ms.std()) / len(ms) ** 0.5
        summary["mean"] = Reading(mean, "ms", "measured", by, mean - half, mean + half)
        p50 = summary["p50"]
        per_second = [1e3 * self.batch[name] / v for v in (p50.value, p50.high or p50.value, p50.low or p50.value)]
        summary["throughput"] = Reading(per_second[0], "items/s", "measured", by, per_second[1], per_second[2])
        return summary


def measure_latency(
    contenders: Mapping[str, Engine | tuple[Engine, Inputs]],
    x: Inputs | None = None,
    runs: int = 200,
    warmup: int = 20,
    block: int = 10,
    seed: int = 0,
    *,
    progress: bool = False,
) -> LatencyReport:
    """Time the contenders in turn.

    Parameters
    ----------
    contenders
        An engine for each name, or an engine with inputs of its own.
    x
        One batch of inputs (N, ...), float32, channels first, for the engines that bring none.
    runs, warmup
        Timed runs and runs thrown away before them, for each contender.
    block
        Runs that a contender has in a row; fewer where there would be less than eight rounds.
    seed
        Of the order of the contenders in a round, and of the bootstrap.
    progress
        Show a progress bar.

    Returns
    -------
    LatencyReport
        Times in seconds, readings in ms.

    Raises
    ------
    BadInput
        Without contenders or inputs, or with fewer than 2 runs.
    """
    from tqdm.auto import tqdm

    if not contenders:
        raise BadInput("There is nothing to measure: name at least one contender.")
    if runs < 2 or warmup < 0 or block < 1:
        raise BadInput(
            f"runs={runs}, warmup={warmup}, block={block}: at least 2 runs in blocks of at least 1 are needed."
        )
    pairs = {name: _with_inputs(name, contender, x) for name, contender in contenders.items()}
    size = max(1, min(block, runs // _FEWEST_ROUNDS))
    rounds = -(-runs // size)
    before = probe()
    for engine, inputs in pairs.values():
        if warmup:
            engine.time(inputs, 1, warmup - 1)
    order = np.random.default_rng(seed)
    times: dict[str, list[NDArray[np.float64]]] = {name: [] for name in pairs}
    names = list(pairs)
    for _ in tqdm(range(rounds), desc="rounds", disable=not progress, leave=False):
        for index in order.permutation(len(names)):
            engine, inputs = pairs[names[index]]
            times[names[index]].append(engine.time(inputs, size, 1).seconds)
    note = before.complaint(probe())
    by = {
        name: f"{_describe(engine)}, {rounds * size} runs in {rounds} interleaved blocks after {warmup} warm-up runs, "
        f"batch {len(inputs)}, {machine().cpu}"
        for name, (engine, inputs) in pairs.items()
    }
    batch = {name: len(inputs) for name, (_, inputs) in pairs.items()}
    return LatencyReport({name: np.array(series) for name, series in times.items()}, batch, by, note, seed)


@dataclass(frozen=True)
class SweepReport:
    """One model at several numbers of threads and batch sizes; ``reports[batch]`` has a contender for each number."""

    reports: Mapping[int, LatencyReport]
    threads: tuple[int, ...]

    def ratio(self, threads: tuple[int, int], batch: int = 1) -> Reading:
        """Time with ``threads[0]`` threads over the time with ``threads[1]``."""
        return self.reports[batch].ratio(_label(threads[0]), _label(threads[1]))

    def reading(self, threads: int, batch: int, key: str = "p50") -> Reading:
        """One figure of the sweep: p50, p95, p99, mean (ms of a run) or throughput (items/s)."""
        return self.reports[batch].readings[_label(threads)][key]

    def table(self) -> Table:
        """A row for each combination: p50 of a run in ms, and of an item."""
        rows = [
            (t, b, self.reading(t, b).figure(), self.reading(t, b).value / b, self.reading(t, b, "throughput").value)
            for b in self.reports
            for t in self.threads
        ]
        note = next(iter(self.reports.values())).by[_label(self.threads[0])]
        return Table(
            "Threads and batches", ("threads", "batch", "p50", "ms/item", "items/s"), rows, f"Measured: {note}."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: a list of threads, batch, p50."""
        return {
            "sweep": [
                {"threads": t, "batch": b, "p50_ms": self.reading(t, b).to_dict()}
                for b in self.reports
                for t in self.threads
            ]
        }

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()

    def __str__(self) -> str:
        return str(self.table())


def sweep(
    make_engine: Callable[[int], Engine],
    x_of_batch: Callable[[int], Inputs],
    threads: Sequence[int] = (1, 2),
    batches: Sequence[int] = (1, 4, 16),
    runs: int = 100,
    warmup: int = 10,
    seed: int = 0,
) -> SweepReport:
    """Time one model at each number of threads and each batch size; engines are made by ``make_engine(threads)``."""
    with ExitStack() as stack:
        engines = {_label(n): stack.enter_context(make_engine(n)) for n in threads}
        reports = {
            batch: measure_latency(engines, x_of_batch(batch), max(16, runs // batch), warmup, seed=seed)
            for batch in batches
        }
    return SweepReport(reports, tuple(threads))


@dataclass(frozen=True)
class FirstInference:
    """What the start costs: load time, the first inferences of fresh processes, and the steady state.

    ``ms`` holds (repeats, inferences) times in milliseconds.
    """

    ms: NDArray[np.float64]
    load: Reading
    first: Reading
    steady: Reading
    ratio: Reading

    def table(self) -> Table:
        """Load, first, second and steady inference."""
        second = float(np.median(self.ms[:, 1]))
        rows = [
            ("load the model", self.load.figure()),
            ("first inference", self.first.figure()),
            ("second inference", f"{second:.3g} ms"),
            ("steady state", self.steady.figure()),
            ("first over steady", self.ratio.figure()),
        ]
        return Table("What the start costs", ("step", "time"), rows, f"Measured: {self.ratio.by}.")

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {key: getattr(self, key).to_dict() for key in ("load", "first", "steady", "ratio")}

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()

    def __str__(self) -> str:
        return str(self.table())


def first_inference(
    make_engine: Callable[[], Engine], x: Inputs, inferences: int = 20, repeats: int = 6
) -> FirstInference:
    """Load the model ``repeats`` times from the start and time its first inferences.

    ``make_engine`` must start the runtime anew, as the engines for model files do (a fresh process each). The
    ratio's interval is the range of the repeats: with six it covers the median with 97 percent.
    """
    if inferences < 4 or repeats < 2:
        raise BadInput("At least 4 inferences and 2 repeats are needed.")
    series, loads, name = [], [], ""
    for _ in range(repeats):
        with make_engine() as engine:
            name = engine.name
            loads.append(1e3 * float(getattr(engine, "load_seconds", 0.0)))
            series.append(1e3 * engine.time(x, inferences).seconds)
    ms = np.array(series)
    steady = np.median(ms[:, inferences // 2 :], axis=1)
    by = f"{name}, median of {repeats} fresh starts of {inferences} inferences, batch {len(x)}, {machine().cpu}"

    def reading(values: NDArray[np.float64], unit: str) -> Reading:
        middle = float(statistics.median(values.tolist()))
        return Reading(middle, unit, "measured", by, float(values.min()), float(values.max()))

    return FirstInference(
        ms,
        reading(np.array(loads), "ms"),
        reading(ms[:, 0], "ms"),
        reading(steady, "ms"),
        reading(ms[:, 0] / steady, "x"),
    )


def _label(threads: int) -> str:
    return f"{threads} thread" if threads == 1 else f"{threads} threads"


def _with_inputs(name: str, contender: Engine | tuple[Engine, Inputs], x: Inputs | None) -> tuple[Engine, Inputs]:
    engine, inputs = contender if isinstance(contender, tuple) else (contender, x)
    if inputs is None:
        raise BadInput(f"The contender '{name}' has no inputs: give x, or a pair of engine and inputs.")
    return engine, np.ascontiguousarray(inputs, dtype=np.float32)


def _describe(engine: Engine) -> str:
    threads = getattr(engine, "threads", None)
    return f"{engine.name}, {_label(threads)}" if threads else engine.name
