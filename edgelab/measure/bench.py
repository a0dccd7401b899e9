"""Model files timed side by side: load, first inference, percentiles, memory, and where the time goes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import file_bytes
from edgelab.engines import open_engine
from edgelab.engines.base import Engine, OperatorTime, TensorInfo
from edgelab.errors import BadInput, EdgelabError, EngineCrash
from edgelab.files import expanded
from edgelab.measure.compare import distinct_names, why_untimed
from edgelab.measure.latency import Verdict, measure_latency
from edgelab.measure.machine import machine
from edgelab.reading import Reading, Table

_PROFILED_RUNS = 20
_FEWEST_PROFILED_RUNS = 2
_PROFILE_SECONDS = 30
_SHOWN_OPERATORS = 5
_ALL_PAIRS = 4


@dataclass(frozen=True)
class Benched:
    """One model file: times in ms, memory above the bare runtime in bytes, its operators by time."""

    file: str
    runtime: str
    bytes: int
    load_ms: Reading
    first_ms: Reading
    p50_ms: Reading
    p95_ms: Reading
    p99_ms: Reading
    mean_ms: Reading
    throughput: Reading
    peak_memory_bytes: Reading
    operators: tuple[OperatorTime, ...]

    def to_dict(self) -> dict[str, Any]:
        """See `BenchReport.to_dict`."""
        plain = {"file": self.file, "runtime": self.runtime, "bytes": self.bytes}
        readings = {key: value.to_dict() for key, value in self.__dict__.items() if isinstance(value, Reading)}
        return {**plain, **readings, "operators": [asdict(o) for o in self.operators]}


@dataclass(frozen=True)
class BenchReport:
    """Model files measured in one run, interleaved."""

    settings: dict[str, Any]
    models: tuple[Benched, ...]
    verdicts: tuple[Verdict, ...]
    note: str = ""

    def table(self) -> Table:
        """A row for each model."""
        rows = [
            (
                Path(m.file).name,
                m.bytes,
                m.load_ms.figure(),
                m.first_ms.figure(),
                m.p50_ms.figure(),
                m.p95_ms.figure(),
                m.p99_ms.figure(),
                m.throughput.value,
                f"{m.peak_memory_bytes.value / 2**20:.1f} MB",
            )
            for m in self.models
        ]
        columns = ("model", "bytes", "load", "first", "p50", "p95", "p99", "items/s", "peak memory")
        s = self.settings
        note = (
            f"Measured: {', '.join(dict.fromkeys(m.runtime for m in self.models))}; {s['runs']} runs in interleaved "
            f"blocks after {s['warmup']} warm-up runs, threads {s['threads']}, batch {s['batch']}, random inputs, "
            f"{machine().cpu}. Peak memory is above the bare runtime's. {self.note}"
        )
        return Table("Time of one run", columns, rows, note.strip())

    def operators(self) -> list[Table]:
        """For each model its slowest operators and the type in which they really ran."""
        tables = []
        for m in self.models:
            if not m.operators:
                continue
            total = sum(o.median_ms for o in m.operators) or 1.0
            slowest = sorted(m.operators, key=lambda o: -o.median_ms)[:_SHOWN_OPERATORS]
            rows = [(o.name, o.type, o.ran_in, 1e3 * o.median_ms, 100 * o.median_ms / total) for o in slowest]
            columns = ("operator", "type", "ran in", "microseconds", "% of time")
            tables.append(Table(f"Slowest operators of {Path(m.file).name}", columns, rows, f"Profile by {m.runtime}."))
        return tables

    def to_dict(self) -> dict[str, Any]:
        """As stable JSON-ready data: settings, machine, models, verdicts, note.

        ``settings`` is {"runs", "warmup", "threads", "batch", "seed"}; ``machine`` {"cpu", "cores", "memory_bytes",
        "system", "python"}; each of ``models`` {"file", "runtime", "bytes", "load_ms", "first_ms", "p50_ms", "p95_ms",
        "p99_ms", "mean_ms", "throughput", "peak_memory_bytes", "operators"} with figures as readings and operators as
        {"name", "type", "ran_in", "median_ms", "runs"}; ``verdicts`` a list of {"text", "different", "reading"}.
        """
        return {
            "settings": self.settings,
            "machine": machine().to_dict(),
            "models": [m.to_dict() for m in self.models],
            "verdicts": [v.to_dict() for v in self.verdicts],
            "note": self.note,
        }

    def _repr_markdown_(self) -> str:
        parts = [self.table()._repr_markdown_(), *(f"- {v}" for v in self.verdicts)]
        return "\n\n".join([*parts, *(t._repr_markdown_() for t in self.operators())])

    def __str__(self) -> str:
        return "\n\n".join(
            filter(None, [str(self.table()), "\n".join(map(str, self.verdicts)), *map(str, self.operators())])
        )


def bench(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    runs: int = 400,
    warmup: int = 20,
    threads: int = 1,
    batch: int = 1,
    *,
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
    threads, batch
        Threads of each runtime, and items in one run. A model of a fixed batch takes as many calls as the
        items need, and the note says so.
    seed
        Of the inputs, the order in which the files run, and the bootstrap.
    progress
        Show a progress bar.

    Raises
    ------
    BadFile, BadInput, EngineCrash
        If a file cannot be read or run. A runtime that dies or times out in a later round, or while it is profiled,
        takes nothing away from what was measured: the note says what is missing.
    """
    files = [expanded(p) for p in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if not files:
        raise BadInput("Name at least one model file.")
    if batch < 1:
        raise BadInput(f"batch={batch} is not a number of items.")
    draw = np.random.default_rng(seed)
    names = distinct_names(files)
    with ExitStack() as stack:
        engines = {n: stack.enter_context(open_engine(f, threads=threads)) for n, f in zip(names, files, strict=True)}
        for name, engine in engines.items():
            if why := why_untimed(engine):
                raise BadInput(f"{name} cannot be timed: {why}.")
        inputs = {name: random_inputs(engine.inputs, batch, draw) for name, engine in engines.items()}
        notes = []
        first = {name: 1e3 * float(engine.time(inputs[name], 1).seconds[0]) for name, engine in engines.items()}
        peaks = {name: _peak_memory(engine, 0) for name, engine in engines.items()}
        race = measure_latency(
            {n: (e, inputs[n]) for n, e in engines.items()}, None, runs, warmup, seed=seed, progress=progress
        )
        for name, engine in engines.items():
            notes += _remarks(name, engine, inputs[name])
        # asked for before the profiler, which keeps a trace of its own
        peaks = {name: _peak_memory(engine, peaks[name]) for name, engine in engines.items()}
        profiles: dict[str, Sequence[OperatorTime]] = {}
        for name, engine in engines.items():
            profiles[name], complaint = _profile(engine, inputs[name])
            if complaint and complaint not in race.note:
                notes.append(f"{name} has no profile: {complaint}")
        models = []
        for name, file in zip(names, files, strict=True):
            engine, figures = engines[name], race.readings[name]
            once = f"{engine.name}, one fresh process, {machine().cpu}"
            models.append(
                Benched(
                    str(file),
                    engine.name,
                    file_bytes(file),
                    Reading(1e3 * float(engine.load_seconds), "ms", "measured", once),  # type: ignore[attr-defined]
                    Reading(first[name], "ms", "measured", once),
                    figures["p50"],
                    figures["p95"],
                    figures["p99"],
                    figures["mean"],
                    figures["throughput"],
                    Reading(peaks[name], "bytes", "measured", f"{once}; above the runtime without a model"),
                    tuple(profiles[name]),
                )
            )
    settings = {"runs": runs, "warmup": warmup, "threads": threads, "batch": batch, "seed": seed}
    rivals = combinations(names, 2) if len(names) <= _ALL_PAIRS else ((names[0], other) for other in names[1:])
    note = " ".join(filter(None, [race.wanting(), *notes, race.note]))
    return BenchReport(settings, tuple(models), tuple(race.verdict(a, b) for a, b in rivals), note)


def random_inputs(inputs: Sequence[TensorInfo], batch: int, draw: np.random.Generator) -> NDArray[np.float32]:
    """Random values, float32, in the shape that a model states, with ``batch`` items and open dimensions of size 1.

    Normal values; from 0 to 1 for an image; whole numbers from 0 to 255 for bytes without a scale, and 0 or 1 for
    other whole numbers without a scale, which are valid indices of any table.
    """
    if len(inputs) != 1:
        raise BadInput(
            f"The model takes {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); one is supported here."
        )
    shape = inputs[0].shape
    if not shape:
        raise BadInput(f"The model's input '{inputs[0].name}' has no dimensions.")
    size = (batch, *[n or 1 for n in shape[1:]])
    if inputs[0].image and inputs[0].scale:
        return draw.random(size, dtype=np.float32)
    if inputs[0].scale or inputs[0].dtype.startswith("float"):
        return draw.standard_normal(size, dtype=np.float32)
    return draw.integers(0, 256 if inputs[0].dtype == "uint8" else 2, size).astype(np.float32)


def _peak_memory(engine: Engine, known: int) -> int:
    """Bytes above the bare runtime's; what was ``known`` before where the runtime has died since."""
    try:
        return int(engine.peak_memory_bytes() - engine.base_memory_bytes)  # type: ignore[attr-defined]
    except EngineCrash:
        return known


def _profile(engine: Engine, x: NDArray[np.float32]) -> tuple[Sequence[OperatorTime], str]:
    """The operators, and why there are none: the timing stands without them.

    A few runs come first. They are what there is of a model whose profile takes long, or outgrows the profiler.
    """
    start = time.perf_counter()
    try:
        operators = engine.profile(x, _FEWEST_PROFILED_RUNS)
    except EdgelabError as error:
        return (), str(error)
    if (time.perf_counter() - start) * _PROFILED_RUNS / _FEWEST_PROFILED_RUNS < _PROFILE_SECONDS:
        with contextlib.suppress(EdgelabError):
            operators = engine.profile(x, _PROFILED_RUNS)
    return operators, ""


def _remarks(name: str, engine: Engine, x: NDArray[np.float32]) -> list[str]:
    """What a reader must know of a model whose input leaves something open, or is of another batch."""
    shape = engine.inputs[0].shape
    remarks = []
    opened = [str(number) for number, size in enumerate(shape) if size is None and number > 0]
    if opened:
        remarks.append(f"{name} leaves dimension {' and '.join(opened)} of its input open; 1 was taken.")
    calls = engine.calls_per_run(x)  # type: ignore[attr-defined]
    if calls > 1:
        remarks.append(f"{name} takes batches of {shape[0]}, so that one run is {calls} calls.")
    elif shape[0] is not None and shape[0] > len(x):
        remarks.append(f"{name} takes batches of {shape[0]} and was given {len(x)} of use.")
    return remarks
