"""Model files timed side by side: load, first inference, percentiles, memory, and where the time goes.

What was timed is never lost: not to a runtime that dies later, to a profiler that fails, to a full disk, to the end
of the time that was given, nor to an interrupt. The rows that were finished are reported, and the rest says why.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from edgelab.compress.modelfile import file_bytes
from edgelab.engines import model_format, open_engine
from edgelab.engines.base import OperatorTime
from edgelab.errors import BadInput, EdgelabError, EngineCrash, EngineLate
from edgelab.feeding.options import FeedOptions
from edgelab.feeding.plan import Feed, ModelFile, plan_feeds
from edgelab.files import expanded
from edgelab.measure.bench_report import Benched, BenchReport
from edgelab.measure.compare import distinct_names, why_untimed
from edgelab.measure.machine import machine
from edgelab.measure.race import INTERRUPTED, OUT_OF_TIME, Plan, block_of, race
from edgelab.measure.times import LatencyReport
from edgelab.reading import Reading

__all__ = ["BenchReport", "Benched", "bench"]
_RUNS = 400
_BLOCK = 10
# What a model is timed at most where neither a number of runs nor a time was asked for.
_SECONDS = 40.0
_PROFILED_RUNS = 20
_FEWEST_PROFILED_RUNS = 2
_PROFILE_SECONDS = 30
_LONGEST_PROFILED_SECONDS = 10.0
_ALL_PAIRS = 4


@dataclass
class _Row:
    """A contender on its way: a file, what it is fed, and what is known of it so far."""

    name: str
    file: Path
    engine: Any = None
    feed: Feed | None = None
    inputs: Any = None
    first_seconds: float | None = None
    peak: int | None = None
    failed: str = ""
    operators: tuple[OperatorTime, ...] = ()


def bench(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    runs: int | None = None,
    warmup: int = 20,
    threads: int = 1,
    batch: int = 1,
    *,
    duration: float | None = None,
    timeout: float | None = None,
    feed: FeedOptions | None = None,
    seed: int = 0,
    progress: bool = False,
) -> BenchReport:
    """Time .onnx and .tflite files, and Core ML packages on macOS, in turn, on seeded random inputs.

    Zeros can be unfairly fast.

    Parameters
    ----------
    paths
        One model file or several; each runs in a process of its own.
    runs, warmup
        Timed runs and runs thrown away before them, for each file. 368 is the fewest that gives p99 an interval.
        Without ``runs`` and ``duration`` 400, or as many as 40 seconds of each model have time for. A slow model
        has fewer warm-up runs.
    threads, batch
        Threads of each runtime, and items in one run. A model of a fixed batch takes as many calls as the
        items need, and the note says so.
    duration
        Seconds for which each model is timed; with ``runs`` whichever ends first.
    timeout
        Seconds for all of it, and so for one run of a model; without it 120 for one run.
    feed
        Shapes, data and states of the inputs (`FeedOptions`); a row for each combination of shapes. Its batch counts.
    seed
        Of the inputs, the order in which the files run, and the bootstrap.
    progress
        Show a progress bar.

    Raises
    ------
    BadFile, BadInput, EngineCrash
        If a file cannot be read, what is fed does not fit it, or none could be run. What could be timed is reported
        with the reason why the rest was not: a runtime that died or timed out, an interrupt, a profiler that failed.
    """
    files = [expanded(p) for p in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    options = feed or FeedOptions(batch=batch)
    _check(files, options.batch, runs, warmup, duration, timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    limits = {} if timeout is None else {"timeout": timeout}
    with ExitStack() as stack:
        rows = _opened(files, options, np.random.default_rng(seed), stack, {"threads": threads, **limits})
        notes: list[str] = []
        report = None
        try:
            _first_runs(rows, deadline)
            report = _raced(rows, runs, warmup, duration, deadline, seed, progress=progress)
            for row in _alive(rows):
                notes += _remarks(row, options.batch)
                with contextlib.suppress(EngineCrash):
                    row.peak = _peak_memory(row)  # asked for before the profiler, which keeps a trace of its own
            stopped = report is not None and report.cut.startswith(INTERRUPTED)
            for row in () if stopped else _alive(rows):
                complaint = _profile(row, deadline)
                if complaint and (report is None or complaint not in report.note):
                    notes.append(f"{row.name} has no profile: {complaint}")
        except KeyboardInterrupt:
            if all(row.first_seconds is None for row in rows):
                raise
            for row in rows:
                if report is None:
                    row.failed = row.failed or "Interrupted."
        if all(row.first_seconds is None for row in rows):
            raise _first_error(rows)
        models = tuple(_benched(row, report) for row in rows)
    settings = {
        "runs": _RUNS if runs is None and duration is None else runs,
        "duration_s": duration,
        "timeout_s": timeout,
        "warmup": warmup,
        "threads": threads,
        "batch": options.batch,
        "seed": seed,
        "data": options.data,
    }
    notes += [f"{row.name} was not timed to the end: {row.failed}" for row in rows if row.failed]
    if report is not None:
        notes = [report.wanting(), *notes, report.note]
    timed = [] if report is None else list(report.blocks)
    rivals = combinations(timed, 2) if len(timed) <= _ALL_PAIRS else ((timed[0], other) for other in timed[1:])
    verdicts = () if report is None else tuple(report.verdict(a, b) for a, b in rivals)
    return BenchReport(settings, models, verdicts, " ".join(filter(None, dict.fromkeys(notes))))


def _check(
    files: Sequence[Path], batch: int, runs: int | None, warmup: int, duration: float | None, timeout: float | None
) -> None:
    if not files:
        raise BadInput("Name at least one model file.")
    if batch < 1:
        raise BadInput(f"batch={batch} is not a number of items.")
    if (runs is not None and runs < 2) or warmup < 0:
        raise BadInput(f"runs={runs}, warmup={warmup}: at least 2 runs are needed, and no warm-up is less than 0.")
    for name, seconds in (("duration", duration), ("timeout", timeout)):
        if seconds is not None and not 0 < seconds < float("inf"):
            raise BadInput(f"{name}={seconds:g} is not a number of seconds above 0.")
    for file in files:
        model_format(file)


def _opened(
    files: Sequence[Path], options: FeedOptions, draw: np.random.Generator, stack: ExitStack, settings: dict[str, Any]
) -> list[_Row]:
    """A row for each file and feed, with an engine each; one whose runtime dies while it opens says so."""
    opened: list[tuple[str, Path, Any]] = []
    failed: dict[str, str] = {}
    for name, file in zip(distinct_names(files), files, strict=True):
        try:
            engine = stack.enter_context(open_engine(file, **settings))
        except EngineCrash as error:
            if len(files) == 1:
                raise
            failed[name] = str(error)
            opened.append((name, file, None))
            continue
        if why := why_untimed(engine):
            raise BadInput(f"{name} cannot be timed: {why}.")
        opened.append((name, file, engine))
    known = {n: ModelFile.of(file, e.inputs, e.outputs) for n, file, e in opened if e is not None}
    rows = []
    for name, file, engine in opened:
        if engine is None:
            rows.append(_Row(name, file, failed=failed[name]))
            continue
        others = [other for each, other in known.items() if each != name]
        feeds = plan_feeds(known[name], options, draw, others)
        for number, feed in enumerate(feeds):
            own = engine if number == 0 else stack.enter_context(open_engine(file, **settings))
            row = _Row(f"{name} {feed.label}" if len(feeds) > 1 else name, file, own, feed, feed.given())
            rows.append(row)
    return rows


def _alive(rows: Sequence[_Row]) -> Iterator[_Row]:
    return (row for row in rows if not row.failed)


def _first_runs(rows: Sequence[_Row], deadline: float | None) -> None:
    """Time the first inference of each; one that cannot be run says why."""
    for row in _alive(rows):
        try:
            _limit(row.engine, deadline)
            row.first_seconds = float(row.engine.time(row.inputs, 1).seconds[0])
            row.peak = _peak_memory(row)
        except EdgelabError as error:
            late = isinstance(error, EngineLate)
            if late and deadline is None:
                error = EngineLate(f"One inference of {row.file} took more than 120 s; give it more with --timeout S.")
            if len(rows) == 1:
                raise error from None
            row.failed = OUT_OF_TIME if late and deadline is not None else str(error)


def _limit(engine: Any, deadline: float | None) -> None:
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise EngineCrash(OUT_OF_TIME)
        if hasattr(engine.raw, "timeout"):
            engine.raw.timeout = left


def _raced(
    rows: Sequence[_Row],
    runs: int | None,
    warmup: int,
    duration: float | None,
    deadline: float | None,
    seed: int,
    *,
    progress: bool,
) -> LatencyReport | None:
    """Time the rows in turn; who is lost on the way says why."""
    pairs = {row.name: (row.engine, row.inputs) for row in _alive(rows)}
    if not pairs:
        return None
    if runs is None and duration is None:
        runs, duration = _RUNS, _SECONDS
    known = {row.name: row.first_seconds or 0.0 for row in _alive(rows)}
    left = None if deadline is None else max(1e-3, deadline - time.monotonic()) / len(pairs)
    shortest = min([limit for limit in (duration, left) if limit is not None], default=None)
    size, rounds = block_of(runs, _BLOCK, shortest, max(1e-6, *known.values()))
    plan = Plan(dict.fromkeys(pairs, size), rounds, warmup, duration, deadline, keep_going=True, known_seconds=known)
    report = race(pairs, plan, seed, progress=progress)
    for row in rows:
        row.failed = row.failed or report.lost.get(row.name, "")
    return report


def _benched(row: _Row, report: LatencyReport | None) -> Benched:
    figures = {} if report is None else report.readings.get(row.name, {})
    once = f"{row.engine.name}, one fresh process, {machine().cpu}" if row.engine is not None else ""

    def reading(value: float | None, unit: str, by: str = once) -> Reading | None:
        return None if value is None else Reading(value, unit, "measured", by)

    return Benched(
        str(row.file),
        "" if row.engine is None else row.engine.name,
        file_bytes(row.file),
        reading(None if row.engine is None else 1e3 * float(row.engine.load_seconds), "ms"),
        reading(None if row.first_seconds is None else 1e3 * row.first_seconds, "ms"),
        figures.get("p50"),
        figures.get("p95"),
        figures.get("p99"),
        figures.get("mean"),
        figures.get("throughput"),
        reading(row.peak, "bytes", f"{once}; above the runtime without a model"),
        tuple(row.operators),
        row.name,
        0 if report is None or row.name not in report.blocks else int(report.blocks[row.name].size),
        0 if report is None else report.warmup.get(row.name, 0),
        row.feed,
        row.failed,
    )


def _first_error(rows: Sequence[_Row]) -> EdgelabError:
    return EngineCrash(next(row.failed for row in rows if row.failed))


def _peak_memory(row: _Row) -> int:
    """Bytes above the bare runtime's."""
    return int(row.engine.peak_memory_bytes() - row.engine.base_memory_bytes)


def _profile(row: _Row, deadline: float | None) -> str:
    """Profile a row, and say why there is nothing: the timing stands without it.

    A few runs come first. They are what there is of a model whose profile takes long, or outgrows the profiler.
    """
    if (row.first_seconds or 0.0) > _LONGEST_PROFILED_SECONDS:
        return f"one run takes {row.first_seconds:.0f} s, and a profile takes several."
    start = time.perf_counter()
    few = _FEWEST_PROFILED_RUNS if (row.first_seconds or 0.0) < 1 else 1
    try:
        _limit(row.engine, deadline)
        row.operators = tuple(row.engine.profile(row.inputs, few))
        if (time.perf_counter() - start) * _PROFILED_RUNS / few < _PROFILE_SECONDS:
            with contextlib.suppress(EdgelabError):
                _limit(row.engine, deadline)
                row.operators = tuple(row.engine.profile(row.inputs, _PROFILED_RUNS))
    except (EdgelabError, OSError, ValueError, KeyError, MemoryError) as error:
        return str(error) if isinstance(error, EdgelabError) else f"{type(error).__name__}: {error}."
    return ""


def _remarks(row: _Row, batch: int) -> list[str]:
    """What a reader must know of what was fed, and of a model that takes another batch."""
    if row.feed is None:
        return []
    said = row.feed.sentences()
    remarks = [f"{row.name}: {' '.join(said)}"] if said else []
    calls = row.engine.calls_per_run(row.inputs)
    shape, own = row.feed.infos[0].shape if row.feed.infos else (), len(row.inputs)
    if calls > 1:
        remarks.append(f"{row.name} takes batches of {shape[0]}, so that one run is {calls} calls.")
    elif len(row.feed.infos) == 1 and shape and shape[0] is not None and shape[0] > own:
        remarks.append(f"{row.name} takes batches of {shape[0]} and was given {own} of use.")
    if batch not in (1, own):
        remarks.append(f"{row.name} was given {own} items a run, not {batch}: its inputs fix that.")
    return remarks
