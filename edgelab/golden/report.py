"""What a file makes of a golden data set: the figures, the limits that it has to keep, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.errors import BadInput
from edgelab.feeding.matching import Match
from edgelab.golden.file import Golden
from edgelab.golden.layers import THRESHOLD_DB, LayerError
from edgelab.measure import quality
from edgelab.measure.gates import check_limit
from edgelab.reading import Reading, Table

DEFAULT_MAX_LOSS = 1.0
DEFAULT_MIN_AGREEMENT = 99.0


@dataclass(frozen=True)
class Gates:
    """The limits that a file has to keep: points of accuracy, dB of every output, percent of the same top answers."""

    max_loss: float | None
    min_sqnr_db: float | None
    min_agreement: float | None

    @classmethod
    def of(cls, max_loss: float | None, min_sqnr: float | None, golden: Golden, file: str) -> Gates:
        """What was asked for, or else what fits the golden data set.

        Raises
        ------
        BadInput
            If a limit is no number, or a loss is asked for and there are no labels.
        """
        for name, value in (("max_loss", max_loss), ("min_sqnr", min_sqnr)):
            check_limit(name, value)
        labelled = golden.data.y is not None
        if max_loss is not None and not labelled:
            raise BadInput(
                f"{file} holds no labels, so that no loss of accuracy can be told; make it with y in the data, or "
                "limit the SQNR."
            )
        if max_loss is not None or min_sqnr is not None:
            return cls(max_loss, min_sqnr, None)
        if labelled:
            return cls(DEFAULT_MAX_LOSS, None, None)
        return cls(None, None, DEFAULT_MIN_AGREEMENT) if golden.logits else cls(None, THRESHOLD_DB, None)

    @property
    def layer_db(self) -> float:
        """The SQNR below which a layer counts as diverged."""
        return THRESHOLD_DB if self.min_sqnr_db is None else self.min_sqnr_db

    def to_dict(self) -> dict[str, float | None]:
        """As JSON-ready data."""
        return dict(vars(self))


@dataclass(frozen=True)
class OutputError:
    """One output: SQNR in dB (infinite where equal, NaN of integers), largest deviation, percent of equal items."""

    name: str
    model: str
    sqnr_db: float
    max_deviation: float
    equal: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data; no value where it is not finite."""
        return {key: _finite(value) if isinstance(value, float) else value for key, value in vars(self).items()}


@dataclass(frozen=True)
class Checked:
    """One file against a golden data set; see `GoldenReport.to_dict`."""

    file: str
    runtime: str
    bytes: int
    sha256: str
    result: quality.Quality | None
    loss: quality.Loss | None
    agreement: Reading | None
    kl: float | None
    outputs: tuple[OutputError, ...]
    first_divergence: LayerError | None
    layers_note: str
    matched: tuple[Match, ...]
    exclude: tuple[str, ...]
    reasons: tuple[str, ...]
    advice: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every limit was kept."""
        return not self.reasons

    @property
    def sqnr_db(self) -> float:
        """The lowest of the outputs of floats, in dB; infinite where all are equal."""
        return min((output.sqnr_db for output in self.outputs if not math.isnan(output.sqnr_db)), default=math.inf)

    @property
    def max_deviation(self) -> float:
        """The largest of the outputs, in their own units."""
        return max(output.max_deviation for output in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """See `GoldenReport.to_dict`."""
        top5 = None if self.result is None else self.result.top_5
        return {
            "model": self.file,
            "runtime": self.runtime,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "passed": self.passed,
            "reasons": list(self.reasons),
            "accuracy": None if self.result is None else self.result.accuracy.to_dict(),
            "top5": None if top5 is None else top5.to_dict(),
            "loss": None if self.loss is None else self.loss.loss.to_dict(),
            "agreement": None if self.agreement is None else self.agreement.to_dict(),
            "kl": self.kl,
            "sqnr_db": _finite(self.sqnr_db),
            "max_deviation": _finite(self.max_deviation),
            "outputs": [output.to_dict() for output in self.outputs],
            "first_divergence": None if self.first_divergence is None else self.first_divergence.to_dict(),
            "layers_note": self.layers_note,
            "matched": [match.to_dict() for match in self.matched],
            "exclude": list(self.exclude),
            "advice": list(self.advice),
        }


@dataclass(frozen=True)
class GoldenReport:
    """Files against a golden data set."""

    golden: str
    reference: Mapping[str, Any]
    gates: Gates
    models: tuple[Checked, ...]

    @property
    def passed(self) -> bool:
        """Whether every file kept every limit."""
        return all(model.passed for model in self.models)

    def exclude(self) -> list[str]:
        """The nodes of all files that a quantizer should leave in float, each once."""
        return list(dict.fromkeys(node for model in self.models for node in model.exclude))

    def table(self) -> Table:
        """A row for each file."""
        rows: list[tuple[str, ...]] = []
        for m in self.models:
            top5 = None if m.result is None else m.result.top_5
            rows.append(
                (
                    Path(m.file).name,
                    "yes" if m.passed else "no",
                    "" if m.result is None else m.result.accuracy.figure(),
                    "" if top5 is None else top5.figure(),
                    "" if m.loss is None else m.loss.loss.figure(),
                    "" if m.agreement is None else m.agreement.figure(),
                    "" if m.kl is None else f"{m.kl:.3g}",
                    in_decibels(m.sqnr_db),
                    f"{m.max_deviation:.3g}",
                    "" if m.first_divergence is None else m.first_divergence.tensor.node,
                )
            )
        accuracy = ("model", "passes", "right", "top 5", "points lost", "same answer", "KL (nats)")
        columns = (*accuracy, "SQNR", "largest deviation", "first layer that diverges")
        lost = "at most {:g} point lost" if self.gates.max_loss == 1 else "at most {:g} points lost"
        limits = {
            lost: self.gates.max_loss,
            "SQNR of at least {:g} dB": self.gates.min_sqnr_db,
            "the same answer for at least {:g} %": self.gates.min_agreement,
        }
        asked = ", ".join(text.format(value) for text, value in limits.items() if value is not None)
        note = f"Measured on {self.reference['items']:,} items against {self.reference['file']}; asked for: {asked}."
        return Table("Against the golden data set", columns, rows, note)

    def to_dict(self) -> dict[str, Any]:
        """As stable JSON-ready data: golden, reference, gates, passed, models (docs/json.md)."""
        return {
            "golden": self.golden,
            "reference": dict(self.reference),
            "gates": self.gates.to_dict(),
            "passed": self.passed,
            "models": [model.to_dict() for model in self.models],
        }

    def _sentences(self) -> list[str]:
        said = []
        for model in self.models:
            name = Path(model.file).name
            said += [f"{name}: {text}" for text in (*model.reasons, *model.advice)]
            for match in model.matched:
                said += [f"{name}, {match.kind}: {text}." for text in match.did]
        return said

    def _repr_markdown_(self) -> str:
        """In two tables, since a notebook's page is narrow."""
        whole = self.table()
        first = ("model", "passes", "right", "points lost", "same answer", "SQNR")
        second = ("model", *(name for name in whole.columns if name not in first))
        tables = [_columns(whole, first, whole.title, whole.note), _columns(whole, second, "Beside them")]
        return "\n\n".join([*(table._repr_markdown_() for table in tables), *(f"- {t}" for t in self._sentences())])

    def __str__(self) -> str:
        return "\n\n".join(filter(None, [str(self.table()), "\n".join(self._sentences())]))


def _columns(whole: Table, names: Sequence[str], title: str, note: str = "") -> Table:
    """Some columns of a table."""
    places = [whole.columns.index(name) for name in names]
    return Table(title, names, [tuple(row[place] for place in places) for row in whole.rows], note)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def in_decibels(value: float) -> str:
    """A ratio in dB for people.

    Examples
    --------
    >>> in_decibels(20.04)
    '20.0 dB'
    """
    if math.isinf(value):
        return "equal" if value > 0 else "no value"
    return f"{value:.1f} dB"
