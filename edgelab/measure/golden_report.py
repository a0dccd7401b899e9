"""What a file makes of a golden data set: the figures, the limits that it has to keep, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import file_bytes
from edgelab.errors import BadInput
from edgelab.measure import quality
from edgelab.measure.golden_file import Golden, model_hash
from edgelab.measure.golden_layers import THRESHOLD_DB, LayerError, Walk, decibels
from edgelab.measure.matching import Match
from edgelab.reading import Reading, Table

DEFAULT_MAX_LOSS = 1.0
DEFAULT_MIN_AGREEMENT = 99.0
_TINY = 1e-12
_CHANCE = 2.0  # times the agreement of guessing, below which the input was misunderstood rather than rounded


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
            if value is not None and not math.isfinite(value):
                raise BadInput(f"{name} must be a number, not {value}.")
        labelled = golden.data.y is not None
        if max_loss is not None and not labelled:
            raise BadInput(
                f"{file} holds no labels, so that no loss of accuracy can be told; make it with y in the data, or limit "
                "the SQNR."
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
    """One output against the reference's: SQNR in dB (infinite where equal), largest deviation, percent of equal items."""

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
        """The lowest of the outputs, in dB; infinite where all are equal."""
        return min(output.sqnr_db for output in self.outputs)

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
        rows = []
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
                    _decibels(m.sqnr_db),
                    f"{m.max_deviation:.3g}",
                    "" if m.first_divergence is None else m.first_divergence.tensor.node,
                )
            )
        columns = ("model", "passes", "right", "top 5", "points lost", "same answer", "KL (nats)", "SQNR")
        columns += ("largest deviation", "first layer that diverges")
        limits = {
            "at most {:g} points lost": self.gates.max_loss,
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
        return "\n\n".join([self.table()._repr_markdown_(), *(f"- {text}" for text in self._sentences())])

    def __str__(self) -> str:
        return "\n\n".join(filter(None, [str(self.table()), "\n".join(self._sentences())]))


def judge(
    path: Path,
    runtime: str,
    golden: Golden,
    gates: Gates,
    inputs: Sequence[Match],
    outputs: Sequence[tuple[Match, NDArray[Any] | None]],
    layers: Walk,
) -> Checked:
    """The figures of one file, whether it keeps the limits, and what to do if it does not.

    Raises
    ------
    BadInput
        If the output that holds the reference's logits has no counterpart.
    """
    values = {match.golden: value for match, value in outputs if value is not None}
    if golden.logits is not None and golden.logits not in values:
        shape = golden.outputs[golden.logits].shape
        raise BadInput(f"{path} has no output like the reference's '{golden.logits}' of shape {shape}.")
    errors = tuple(
        _error(match, golden.outputs[match.golden], value) for match, value in outputs if value is not None
    )
    broken = [name for name, value in values.items() if value.dtype.kind == "f" and not np.isfinite(value).all()]
    result = loss = agreement = kl = None
    if golden.logits is not None and golden.logits not in broken:
        shape = (len(golden.data), -1)
        before = golden.outputs[golden.logits].astype(np.float32).reshape(shape)
        after = values[golden.logits].astype(np.float32).reshape(shape)
        apart = quality.divergence(_log_of_shares(before), _log_of_shares(after))
        agreement, kl = apart.agreement, apart.kl
        if golden.data.y is not None:
            groups = None if golden.data.group is None else {"group": golden.data.group}
            result = quality.evaluate(after, None, golden.data.y, groups)
            loss = quality.difference(quality.evaluate(before, None, golden.data.y).correct, result.correct)
    reasons = [f"The output '{name}' holds NaN or infinity." for name in broken]
    reasons += _missed(gates, loss, errors, agreement)
    first = layers.first_below(gates.layer_db)
    exclude = tuple(layers.to_exclude()) if first is not None or reasons else ()
    advice = _advice(golden, reasons, agreement, first, exclude, layers, path)
    return Checked(
        file=str(path),
        runtime=runtime,
        bytes=file_bytes(path),
        sha256=model_hash(path),
        result=result,
        loss=loss,
        agreement=agreement,
        kl=kl,
        outputs=errors,
        first_divergence=first,
        layers_note=layers.note,
        matched=(*inputs, *(match for match, _ in outputs)),
        exclude=exclude,
        reasons=tuple(reasons),
        advice=tuple(advice),
    )


def _error(match: Match, reference: NDArray[Any], value: NDArray[Any]) -> OutputError:
    if reference.dtype.kind in "US":
        same = (reference == value).reshape(len(reference), -1).all(axis=1)
        different = -math.inf if not same.all() else math.inf
        return OutputError(match.golden, str(match.model), different, float(not same.all()), 100 * float(same.mean()))
    a, b = reference.astype(np.float64), value.astype(np.float64)
    with np.errstate(all="ignore"):
        apart = np.where(a == b, 0.0, np.abs(a - b))
        sqnr = decibels(float(np.sum(a**2)), float(np.sum(apart**2)))
        largest = float(apart.max())
    same = (apart == 0).reshape(len(a), -1).all(axis=1)
    return OutputError(match.golden, str(match.model), sqnr, largest, 100 * float(same.mean()))


def _missed(
    gates: Gates, loss: quality.Loss | None, errors: Sequence[OutputError], agreement: Reading | None
) -> list[str]:
    missed = []
    if gates.max_loss is not None and loss is not None and loss.loss.value > gates.max_loss:
        missed.append(f"It loses {loss.loss.figure()} of accuracy, and {gates.max_loss:g} are allowed.")
    if gates.min_sqnr_db is not None:
        missed += [
            f"The SQNR of '{error.name}' is {_decibels(error.sqnr_db)}, and {gates.min_sqnr_db:g} dB are asked for."
            for error in errors
            if error.sqnr_db < gates.min_sqnr_db
        ]
    if gates.min_agreement is not None and agreement is not None and agreement.value < gates.min_agreement:
        missed.append(f"It gives the same top answer for {agreement.figure()}, and {gates.min_agreement:g} % are asked for.")
    return missed


def _advice(
    golden: Golden,
    reasons: Sequence[str],
    agreement: Reading | None,
    first: LayerError | None,
    exclude: Sequence[str],
    layers: Walk,
    path: Path,
) -> list[str]:
    advice = []
    classes = golden.outputs[golden.logits].size // len(golden.data) if golden.logits else 0
    if agreement is not None and agreement.value < min(50.0, _CHANCE * 100 / max(1, classes)):
        advice.append(
            "Its answers agree with the reference's hardly more often than by chance: look at the scaling and the order "
            "of axes of the input before anything else."
        )
    if first is not None:
        advice.append(
            f"The first layer below the limit is {first.tensor.node or first.tensor.name} ({first.tensor.operator}) with "
            f"{_decibels(first.sqnr_db)}."
        )
    if exclude:
        advice.append(
            f"Most of the error comes in at {', '.join(exclude)}: keep {'it' if len(exclude) == 1 else 'them'} in float "
            "(`quantize_static(exclude=...)`), and check again."
        )
    if reasons and layers.note:
        advice.append(f"No layer is named. {layers.note}")
    if model_hash(path) == golden.model["sha256"]:
        advice.append("It is the reference itself, byte for byte.")
    return advice


def _log_of_shares(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits as they are; probabilities as their logarithms, so that a softmax gives them back."""
    if values.min() < 0 or values.max() > 1 or not np.allclose(values.sum(axis=1), 1, atol=1e-2):
        return values
    return np.log(np.maximum(values, _TINY)).astype(np.float32)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _decibels(value: float) -> str:
    if math.isinf(value):
        return "equal" if value > 0 else "no value"
    return f"{value:.1f} dB"
