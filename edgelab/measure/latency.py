"""How fast: contenders interleaved in blocks, percentiles with intervals, and a verdict that knows the noise.

Running all of A and then all of B measures the machine's mood as well. Here the contenders take turns in short
blocks, in an order drawn anew each round, so that drift and disturbances hit all alike. The first run of a block
is thrown away: it pays for the change of contender. Contenders of one thread share one core, so that none has the
busier one to itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines.base import Engine
from edgelab.engines.feeds import Named
from edgelab.errors import BadInput, EngineCrash
from edgelab.measure import stats
from edgelab.measure.machine import Watch, machine, on_core, probe, quietest_core
from edgelab.measure.times import PERCENTILES, SMALLEST_RELEVANT, LatencyReport, Verdict, largest_to_smallest
from edgelab.reading import Reading, Table

__all__ = [
    "PERCENTILES",
    "SMALLEST_RELEVANT",
    "FirstInference",
    "LatencyReport",
    "SweepReport",
    "Verdict",
    "first_inference",
    "largest_to_smallest",
    "measure_latency",
    "sweep",
]
_FEWEST_ROUNDS = 8
_FEWEST_SWEPT_RUNS = 16
Inputs = NDArray[np.float32] | Named


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
        Runs that a contender has in a row; fewer where there would be less than eight rounds. The number of runs
        is rounded up to whole blocks.
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
    EngineCrash
        If a runtime died or timed out before two runs of each were timed; later, the rounds that were finished are
        kept and the note says so.
    """
    if not contenders:
        raise BadInput("There is nothing to measure: name at least one contender.")
    _check(runs, warmup, block)
    pairs = {name: _with_inputs(name, contender, x) for name, contender in contenders.items()}
    size = max(1, min(block, runs // _FEWEST_ROUNDS))
    sizes = dict.fromkeys(pairs, size)
    return _race(pairs, sizes, -(-runs // size), warmup, seed, progress=progress)


@dataclass(frozen=True)
class SweepReport:
    """One model at several numbers of threads and batch sizes; ``reports[batch]`` has a contender for each number."""

    reports: Mapping[int, LatencyReport]
    threads: tuple[int, ...]

    def ratio(self, threads: tuple[int, int], batch: int = 1) -> Reading:
        """Time with ``threads[0]`` threads over the time with ``threads[1]``."""
        return self._report(batch).ratio(_label(threads[0]), _label(threads[1]))

    def reading(self, threads: int, batch: int, key: str = "p50") -> Reading:
        """One figure of the sweep: p50, p95, p99, mean (ms of a run) or throughput (items/s)."""
        self._times(threads, batch)
        return self._report(batch).readings[_label(threads)][key]

    def table(self) -> Table:
        """A row for each combination: p50 of a run in ms, and of an item."""
        rows = [
            (t, b, self.reading(t, b).figure(), self.reading(t, b).value / b, self.reading(t, b, "throughput").value)
            for b in self.reports
            for t in self.threads
        ]
        first = next(iter(self.reports.values()))
        note = f"Measured: {first.by[_label(self.threads[0])]}. {first.note}"
        return Table("Threads and batches", ("threads", "batch", "p50", "ms/item", "items/s"), rows, note.strip())

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: ``sweep``, a list of {"threads", "batch", "p50_ms"}, and ``note``."""
        return {
            "sweep": [
                {"threads": t, "batch": b, "p50_ms": self.reading(t, b).to_dict()}
                for b in self.reports
                for t in self.threads
            ],
            "note": next(iter(self.reports.values())).note,
        }

    def _report(self, batch: int) -> LatencyReport:
        if batch not in self.reports:
            raise BadInput(f"Batch {batch} was not measured; there are {', '.join(map(str, self.reports))}.")
        return self.reports[batch]

    def _times(self, threads: int, batch: int) -> NDArray[np.float64]:
        if threads not in self.threads:
            raise BadInput(f"{_label(threads)} were not measured; there are {', '.join(map(str, self.threads))}.")
        return self._report(batch).blocks[_label(threads)]

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
    block: int = 10,
    seed: int = 0,
    *,
    progress: bool = False,
) -> SweepReport:
    """Time one model at each number of threads and each batch size, all combinations in turn.

    Parameters
    ----------
    make_engine
        Makes an engine of so many threads.
    x_of_batch
        Makes one batch of so many items (N, ...), float32, channels first.
    threads, batches
        The numbers to try, each combined with each.
    runs
        Timed runs at batch 1; larger batches have fewer, 16 at least.
    warmup, block, seed, progress
        As in `measure_latency`.
    """
    _check(runs, warmup, block)
    if not threads or not batches or min(batches) < 1:
        raise BadInput("A sweep needs at least one number of threads and at least one batch size of 1 or more.")
    wanted = {batch: max(_FEWEST_SWEPT_RUNS, runs // batch) for batch in batches}
    rounds = min(-(-most // max(1, min(block, most // _FEWEST_ROUNDS))) for most in wanted.values())
    with ExitStack() as stack:
        engines = {n: stack.enter_context(make_engine(n)) for n in dict.fromkeys(threads)}
        inputs = {batch: x_of_batch(batch) for batch in wanted}
        for batch, x in inputs.items():
            if len(x) != batch:
                raise BadInput(f"x_of_batch({batch}) must give {batch} items, not {len(x)}.")
        names = {f"{_label(n)}, batch {batch}": (n, batch) for batch in wanted for n in engines}
        pairs = {name: _with_inputs(name, (engines[n], inputs[batch]), None) for name, (n, batch) in names.items()}
        sizes = {name: -(-wanted[batch] // rounds) for name, (_, batch) in names.items()}
        race = _race(pairs, sizes, rounds, warmup, seed, progress=progress)

    def part(whole: Mapping[str, Any], batch: int) -> dict[str, Any]:
        return {_label(n): whole[name] for name, (n, size) in names.items() if size == batch}

    reports = {
        batch: LatencyReport(
            part(race.blocks, batch), part(race.batch, batch), part(race.by, batch), race.note, seed, race.busy
        )
        for batch in wanted
    }
    return SweepReport(reports, tuple(engines))


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
        return Table(
            "What the start costs", ("step", "time"), rows, f"Measured: {self.ratio.by}. {self.ratio.doubt}".strip()
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: load, first, steady (ms), ratio (first over steady)."""
        return {key: getattr(self, key).to_dict() for key in ("load", "first", "steady", "ratio")}

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()

    def __str__(self) -> str:
        return str(self.table())


def first_inference(
    make_engine: Callable[[], Engine], x: Inputs, inferences: int = 20, repeats: int = stats.fewest_values(50)
) -> FirstInference:
    """Load the model ``repeats`` times from the start and time its first inferences.

    Parameters
    ----------
    make_engine
        Starts the runtime anew, as the engines for model files do (a fresh process each).
    x
        One batch of inputs (N, ...), float32, channels first.
    inferences
        Of each start; the steady state is the median of the later half.
    repeats
        Fresh starts. With six or more, the medians over them have intervals.

    Raises
    ------
    BadInput
        With fewer than 4 inferences or 2 repeats.
    """
    if inferences < 4 or repeats < 2:
        raise BadInput("At least 4 inferences and 2 repeats are needed.")
    series, loads, name = [], [], ""
    watch = Watch()
    for _ in range(repeats):
        start = time.perf_counter()
        with make_engine() as engine:
            made = time.perf_counter() - start
            name = _describe(engine)
            loads.append(1e3 * float(getattr(engine, "load_seconds", made)))
            series.append(1e3 * engine.time(x, inferences).seconds)
    ms = np.array(series)
    steady = np.median(ms[:, inferences // 2 :], axis=1)
    by = f"{name}, median of {repeats} fresh starts of {inferences} inferences, batch {len(x)}, {machine().cpu}"

    busy = watch.complaint()

    def reading(values: NDArray[np.float64], unit: str) -> Reading:
        value, low, high = stats.percentile_interval(values, 50)
        doubt = "" if low is not None else f"{repeats} fresh starts cannot tell: it takes {stats.fewest_values(50)}."
        return Reading(value, unit, "measured", by, low, high, doubt=" ".join(filter(None, [doubt, busy])))

    return FirstInference(
        ms,
        reading(np.array(loads), "ms"),
        reading(ms[:, 0], "ms"),
        reading(steady, "ms"),
        reading(ms[:, 0] / steady, "x"),
    )


def _race(
    pairs: Mapping[str, tuple[Engine, Inputs]],
    sizes: Mapping[str, int],
    rounds: int,
    warmup: int,
    seed: int,
    *,
    progress: bool,
) -> LatencyReport:
    """Give each contender ``sizes[name]`` timed runs in each of ``rounds`` rounds."""
    from tqdm.auto import tqdm

    single = any(getattr(engine, "threads", None) == 1 for engine, _ in pairs.values())
    core = quietest_core() if single else None
    pids = {name: getattr(getattr(engine, "raw", None), "pid", None) for name, (engine, _) in pairs.items()}
    cores = {name: core if getattr(engine, "threads", None) == 1 else None for name, (engine, _) in pairs.items()}

    def turn(name: str, runs: int, discarded: int) -> NDArray[np.float64]:
        engine, inputs = pairs[name]
        with on_core(cores[name], pids[name]):
            return engine.time(inputs, runs, discarded).seconds

    watch = Watch({pid for name in pairs if (pid := pids[name]) is not None})
    with on_core(core):
        before = probe()
    for name in pairs if warmup else ():
        turn(name, 1, warmup - 1)
    order = np.random.default_rng(seed)
    times: dict[str, list[NDArray[np.float64]]] = {name: [] for name in pairs}
    names = list(pairs)
    cut = ""
    try:
        for _ in tqdm(range(rounds), desc="rounds", disable=not progress, leave=False):
            for index in order.permutation(len(names)):
                name = names[index]
                times[name].append(turn(name, sizes[name], 1))
    except EngineCrash as error:
        done = min(len(series) for series in times.values())
        if done * min(sizes.values()) < 2:
            raise
        cut = f"After {done} of {rounds} rounds it ended, and these are the figures of those: {error}"
        times, rounds = {name: series[:done] for name, series in times.items()}, done
    with on_core(core):
        busy = watch.complaint()
        note = " ".join(filter(None, [cut, busy or before.complaint(probe())]))
    by = {
        name: f"{_describe(engine)}{'' if cores[name] is None else ' on one core'}, {rounds * sizes[name]} runs in "
        f"{rounds} interleaved blocks after {warmup} warm-up runs, batch {len(inputs)}, {machine().cpu}"
        for name, (engine, inputs) in pairs.items()
    }
    batch = {name: len(inputs) for name, (_, inputs) in pairs.items()}
    return LatencyReport({name: np.array(series) for name, series in times.items()}, batch, by, note, seed, busy)


def _check(runs: int, warmup: int, block: int) -> None:
    if runs < 2 or warmup < 0 or block < 1:
        raise BadInput(
            f"runs={runs}, warmup={warmup}, block={block}: at least 2 runs in blocks of at least 1 are needed."
        )


def _label(threads: int) -> str:
    return f"{threads} thread" if threads == 1 else f"{threads} threads"


def _with_inputs(name: str, contender: Engine | tuple[Engine, Inputs], x: Inputs | None) -> tuple[Engine, Inputs]:
    engine, inputs = contender if isinstance(contender, tuple) else (contender, x)
    if inputs is None:
        raise BadInput(f"The contender '{name}' has no inputs: give x, or a pair of engine and inputs.")
    return engine, inputs if isinstance(inputs, Named) else np.ascontiguousarray(inputs, dtype=np.float32)


def _describe(engine: Engine) -> str:
    threads = getattr(engine, "threads", None)
    return f"{engine.name}, {_label(threads)}" if threads else engine.name
