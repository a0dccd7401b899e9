"""What `bench` found: a row for each model file and feed, verdicts between them, and their operators by time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgelab.engines.base import OperatorTime
from edgelab.feeding.plan import Feed
from edgelab.measure.latency import Verdict
from edgelab.measure.machine import machine
from edgelab.measure.race import INTERRUPTED
from edgelab.quiet import without_commands
from edgelab.reading import Reading, Table

_SHOWN_OPERATORS = 5
_FIGURES = (
    "load_ms",
    "first_ms",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "mean_ms",
    "throughput",
    "peak_memory_bytes",
)


@dataclass(frozen=True)
class Benched:
    """One model file and what it was fed: times in ms, memory above the bare runtime in bytes, operators by time."""

    file: str
    runtime: str
    bytes: int
    load_ms: Reading | None
    first_ms: Reading | None
    p50_ms: Reading | None
    p95_ms: Reading | None
    p99_ms: Reading | None
    mean_ms: Reading | None
    throughput: Reading | None
    peak_memory_bytes: Reading | None
    operators: tuple[OperatorTime, ...] = ()
    name: str = ""
    runs: int = 0
    warmup: int = 0
    feed: Feed | None = None
    failed: str = ""
    """Why figures are missing, which are None then; what was finished before stands."""

    def to_dict(self) -> dict[str, Any]:
        """See `BenchReport.to_dict`."""
        plain = {"file": self.file, "name": self.name, "runtime": self.runtime, "bytes": self.bytes}
        figures = {key: getattr(self, key) for key in _FIGURES}
        return {
            **plain,
            "runs": self.runs,
            "warmup": self.warmup,
            **{key: None if value is None else value.to_dict() for key, value in figures.items()},
            "operators": [asdict(o) for o in self.operators],
            "feed": None if self.feed is None else self.feed.to_dict(),
            "failed": self.failed,
        }


@dataclass(frozen=True)
class BenchReport:
    """Model files measured in one run, interleaved."""

    settings: dict[str, Any]
    models: tuple[Benched, ...]
    verdicts: tuple[Verdict, ...]
    note: str = ""

    @property
    def failed(self) -> str:
        """What kept a model from being timed to the end, in one sentence, else nothing."""
        why = next((m.failed for m in self.models if m.failed), "")
        return why or (f"{INTERRUPTED}; what was timed stands above." if INTERRUPTED in self.note else "")

    def table(self) -> Table:
        """A row for each model."""
        rows = [
            (
                m.name,
                m.bytes,
                *(_figure(figure) for figure in (m.load_ms, m.first_ms, m.p50_ms, m.p95_ms, m.p99_ms)),
                None if m.throughput is None else m.throughput.value,
                "" if m.peak_memory_bytes is None else f"{m.peak_memory_bytes.value / 2**20:.1f} MB",
            )
            for m in self.models
        ]
        columns = ("model", "bytes", "load", "first", "p50", "p95", "p99", "items/s", "peak memory")
        s = self.settings
        runs = " or ".join(str(n) for n in sorted({m.runs for m in self.models if m.runs})) or "no"
        warmup = " or ".join(str(n) for n in sorted({m.warmup for m in self.models if m.runs})) or "no"
        values = "data of its own" if s["data"] else "random inputs"
        note = (
            f"Measured: {', '.join(dict.fromkeys(m.runtime for m in self.models))}; {runs} runs in interleaved "
            f"blocks after {warmup} warm-up runs, threads {s['threads']}, batch {s['batch']}, {values}, "
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
            tables.append(Table(f"Slowest operators of {m.name}", columns, rows, f"Profile by {m.runtime}."))
        return tables

    def to_dict(self) -> dict[str, Any]:
        """As stable JSON-ready data: settings, machine, models, verdicts, note.

        ``settings`` is {"runs", "duration_s", "timeout_s", "warmup", "threads", "batch", "seed", "data"}; ``machine``
        {"cpu", "cores", "memory_bytes", "system", "python"}; each of ``models`` {"file", "name", "runtime", "bytes",
        "runs", "warmup", "load_ms", "first_ms", "p50_ms", "p95_ms", "p99_ms", "mean_ms", "throughput",
        "peak_memory_bytes", "operators", "feed", "failed"} with figures as readings or null and operators as {"name",
        "type", "ran_in", "median_ms", "runs"}; ``verdicts`` a list of {"text", "different", "reading"}.
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
        return without_commands("\n\n".join([*parts, *(t._repr_markdown_() for t in self.operators())]))

    def __str__(self) -> str:
        return "\n\n".join(
            filter(None, [str(self.table()), "\n".join(map(str, self.verdicts)), *map(str, self.operators())])
        )


def _figure(reading: Reading | None) -> str:
    return "" if reading is None else reading.figure()
