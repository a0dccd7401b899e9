"""What a comparison says: models beside a reference, their figures, the limits that they keep, tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelab.measure import quality
from edgelab.measure.gates import Gate, passed
from edgelab.measure.times import Verdict
from edgelab.reading import Reading, Table

RANDOM = "RANDOM INPUTS: nobody gave data, so agreement and differences are those on noise, and no accuracy is known."


@dataclass(frozen=True)
class Compared:
    """One model against the reference."""

    file: str
    runtime: str
    bytes: int
    result: quality.Quality | None
    losses: quality.GroupLosses | None
    loss: quality.Loss | None
    """None, and so the two before, where the data has no labels."""
    divergence: quality.Divergence | None
    """None where no output is of finite floats."""
    p50_ms: Reading | None
    speed_up: Reading | None
    speed_verdict: Verdict | None
    """None, and so the two before, where a runtime keeps no time: firmware on an emulated core."""
    outputs: tuple[dict[str, Any], ...] = ()
    """Every output of the reference: golden, model, did (as `Match.to_dict` has them), agreement, max_abs, sqnr_db."""
    gates: tuple[Gate, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """See `Comparison.to_dict`."""
        worst = None if self.losses is None or not any(g.tells for g in self.losses.groups) else self.losses.worst
        return {
            "file": self.file,
            "runtime": self.runtime,
            "bytes": self.bytes,
            "accuracy": None if self.result is None else self.result.accuracy.to_dict(),
            "loss": None if self.loss is None else self.loss.loss.to_dict(),
            "verdict": None if self.loss is None else self.loss.verdict.text,
            "agreement": None if self.divergence is None else self.divergence.agreement.to_dict(),
            "max_abs": None if self.divergence is None else self.divergence.max_abs,
            "sqnr_db": None if self.divergence is None else self.divergence.sqnr_db,
            "p50_ms": None if self.p50_ms is None else self.p50_ms.to_dict(),
            "speed_up": None if self.speed_up is None else self.speed_up.to_dict(),
            "speed_verdict": None if self.speed_verdict is None else self.speed_verdict.text,
            "by_class": [] if self.result is None else self.result.to_dict()["by_class"],
            "by_group": [] if self.losses is None else [g.to_dict() for g in self.losses.groups],
            "worst_group": None if worst is None else worst.to_dict(),
            "outputs": [
                {**entry, "agreement": entry["agreement"] and entry["agreement"].to_dict()} for entry in self.outputs
            ],
            "gates": [gate.to_dict() for gate in self.gates],
        }


@dataclass(frozen=True)
class Comparison:
    """A reference, the models held against it, and the data they were judged on."""

    data: dict[str, Any]
    reference: dict[str, Any]
    models: tuple[Compared, ...]
    note: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    strict: bool = False

    @property
    def passed(self) -> bool | None:
        """Whether every limit was kept, as far as the intervals tell (``strict``: told for sure); None without any."""
        gates = [gate for model in self.models for gate in model.gates]
        return passed(gates, strict=self.strict) if gates else None

    def table(self) -> Table:
        """A row for each model: size, accuracy, what it lost, how far its answers are, how fast it is."""
        rows: list[tuple[str | int | float | None, ...]] = [
            (
                Path(self.reference["file"]).name,
                self.reference["bytes"],
                "" if (right := self.reference["accuracy"]) is None else Reading.from_dict(right).figure(),
                "reference",
                "",
                "",
                "untimed" if (p50 := self.reference["p50_ms"]) is None else Reading.from_dict(p50).figure(),
                "",
            )
        ]
        for m in self.models:
            sqnr = ""
            if m.divergence is not None:
                sqnr = "equal" if m.divergence.sqnr_db is None else f"{m.divergence.sqnr_db:.1f} dB"
            rows.append(
                (
                    Path(m.file).name,
                    m.bytes,
                    "" if m.result is None else m.result.accuracy.figure(),
                    "" if m.loss is None else m.loss.loss.figure(),
                    "" if m.divergence is None else m.divergence.agreement.figure(),
                    sqnr,
                    "untimed" if m.p50_ms is None else m.p50_ms.figure(),
                    "" if m.speed_up is None else m.speed_up.figure(),
                )
            )
        columns = ("model", "bytes", "right", "points lost", "same answer", "SQNR", "p50", "times as fast")
        where = f"{self.data['items']:,} items of {self.data['file']}"
        if self.data["random"]:
            where = f"{self.data['items']:,} draws of random inputs"
        settings = f"Measured on {where}, batch 1 for the times. {self.note}"
        settings = f"{RANDOM} {settings}" if self.data["random"] else settings
        return Table("Compared with the reference", columns, rows, settings.strip())

    def groups(self) -> list[Table]:
        """For each model a table of its outputs if there are several, and of who loses most if there are groups."""
        several = [
            Table(
                f"Outputs of {Path(m.file).name}",
                ("output", "there", "same answer", "largest difference", "SQNR", "what was done"),
                [
                    (
                        o["golden"],
                        o["model"] or "none",
                        "" if o["agreement"] is None else o["agreement"].figure(),
                        o["max_abs"],
                        _decibels(o),
                        "; ".join(o["did"]),
                    )
                    for o in m.outputs
                ],
            )
            for m in self.models
            if len(m.outputs) > 1 or m.divergence is None
        ]
        tables = [(m, m.losses.table()) for m in self.models if m.losses is not None]
        return [*several, *(Table(f"{t.title}: {Path(m.file).name}", t.columns, t.rows, t.note) for m, t in tables)]

    def verdicts(self) -> list[str]:
        """For each model what is known of accuracy and time, and a sentence for each limit."""

        def said(m: Compared) -> str:
            return "Without labels nothing is known of accuracy." if m.loss is None else m.loss.verdict.text

        found = []
        for m in self.models:
            name, time = Path(m.file).name, "" if m.speed_verdict is None else f" {m.speed_verdict.text}"
            found.append(f"{name}: {said(m)}{time}")
            found += [f"{name}, {gate.name}: {gate.verdict}. {gate.text}" for gate in m.gates]
        return found

    def to_dict(self) -> dict[str, Any]:
        """As stable JSON-ready data: data, reference, models, gates, passed, note (docs/json.md).

        Accuracies are in percent, losses in points (positive is a loss), all as readings.
        """
        return {
            "data": self.data,
            "reference": self.reference,
            "models": [m.to_dict() for m in self.models],
            "gates": {**{key: self.limits.get(key) for key in ("max_loss", "max_slowdown")}, "strict": self.strict},
            "passed": self.passed,
            "note": self.note,
        }

    def _repr_markdown_(self) -> str:
        parts = [self.table()._repr_markdown_(), *(f"- {v}" for v in self.verdicts())]
        return "\n\n".join([*parts, *(t._repr_markdown_() for t in self.groups())])

    def __str__(self) -> str:
        return "\n\n".join([str(self.table()), "\n".join(self.verdicts()), *map(str, self.groups())])


def _decibels(entry: dict[str, Any]) -> str:
    if entry["max_abs"] is None:
        return "" if entry["agreement"] is not None else "not compared"
    return "equal" if entry["sqnr_db"] is None else f"{entry['sqnr_db']:.1f} dB"
