"""What `quantize` gives back: the file, the steps that were tried, what it costs, who pays, and what really ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.measure import quality
from edgelab.measure.losses import GroupLosses, Loss
from edgelab.posttraining.search import Step
from edgelab.reading import Table
from edgelab.toolbox.ran import WhatRan


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of both files on the half to report on, what was lost, and who pays; None without groups."""

    before: quality.Quality
    after: quality.Quality
    loss: Loss
    by_class: GroupLosses
    by_group: GroupLosses | None

    @property
    def worst(self) -> Loss | None:
        """The group that loses most, else the class; None where none has enough items."""
        for losses in (self.by_group, self.by_class):
            if losses is not None and any(g.tells for g in losses.groups):
                return losses.worst
        return None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: float, quantized, loss, verdict, by_class, by_group, worst."""
        return {
            "float": self.before.accuracy.to_dict(),
            "quantized": self.after.accuracy.to_dict(),
            "loss": self.loss.loss.to_dict(),
            "verdict": self.loss.verdict.text,
            "by_class": [g.to_dict() for g in self.by_class.groups],
            "by_group": [] if self.by_group is None else [g.to_dict() for g in self.by_group.groups],
            "worst": None if self.worst is None else self.worst.to_dict(),
        }


@dataclass(frozen=True)
class QuantizedFile:
    """What `quantize` made: the file, the steps that were tried, what it costs, and what really ran."""

    out: Path
    bits: int
    per_channel: bool
    steps: tuple[Step, ...]
    bytes: Mapping[str, Any]
    items: Mapping[str, int]
    accuracy: Accuracy | None
    divergence: quality.Divergence
    ran: WhatRan
    warnings: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: see docs/json.md."""
        return {
            "out": str(self.out),
            "bits": self.bits,
            "per_channel": self.per_channel,
            "steps": [step.to_dict() for step in self.steps],
            "bytes": dict(self.bytes),
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "divergence": {**self.divergence.to_dict(), "items": self.items["reported"]},
            "ran": self.ran.to_dict(),
            "warnings": list(self.warnings),
        }

    def table(self) -> Table:
        """Both files side by side."""
        same = self.divergence
        sqnr = "equal" if same.sqnr_db is None else f"{same.sqnr_db:.1f} dB"
        rows: list[tuple[str, str, str]] = [("bytes", f"{self.bytes['float']:,}", f"{self.bytes['quantized']:,}")]
        if self.accuracy is not None:
            rows.append(("right", self.accuracy.before.accuracy.figure(), self.accuracy.after.accuracy.figure()))
            rows.append(("points lost", "", self.accuracy.loss.loss.figure()))
        rows += [("the same answer", "", same.agreement.figure()), ("SQNR", "", sqnr)]
        kinds = dict.fromkeys((o.operator, o.type) for o in self.ran.operators)
        counts = [
            f"{sum((o.operator, o.type) == kind for o in self.ran.operators)} {kind[0]} in {kind[1]}" for kind in kinds
        ]
        note = (
            f"Chosen on {self.items['chosen']:,} items, calibrated on {self.items['calibrated']:,} of the same half; "
            f"measured on the {self.items['reported']:,} of the other. What ran: {', '.join(counts)}."
        )
        scales = "a scale for each channel" if self.per_channel else "one scale for each tensor"
        return Table(f"{self.out}: {self.bits} bits, {scales}", ("", "float", "quantized"), rows, note)

    def steps_table(self) -> Table:
        """What was tried, and what it gave on the half to choose by."""
        rows = [
            (s.name, "taken" if s.taken else "left out", "" if s.score is None else str(s.score), s.said)
            for s in self.steps
        ]
        return Table("Steps", ("step", "", "on the half to choose by", "what it did"), rows)

    def sentences(self) -> list[str]:
        """The verdict on accuracy, who pays, and the warnings."""
        said = []
        if self.accuracy is not None:
            said.append(self.accuracy.loss.verdict.text)
            worst = self.accuracy.worst
            if worst is not None and worst.loss.value > 0:
                said.append(f"Of all {worst.grouping} shares, {worst.name} loses most: {worst.loss.figure()}.")
        return [*said, *self.warnings]

    def __str__(self) -> str:
        return "\n\n".join([str(self.table()), str(self.steps_table()), "\n".join(self.sentences())]).strip()

    def _repr_markdown_(self) -> str:
        parts = [self.table()._repr_markdown_(), self.steps_table()._repr_markdown_()]
        return "\n\n".join([*parts, *(f"- {text}" for text in self.sentences())])
