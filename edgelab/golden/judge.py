"""The verdict on one file against a golden data set: its figures, whether it keeps the limits, and what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import file_bytes
from edgelab.errors import BadInput
from edgelab.feeding.matching import Match
from edgelab.golden.file import Golden, model_hash
from edgelab.golden.layers import LayerError, Walk, decibels
from edgelab.golden.report import Checked, Gates, OutputError, in_decibels
from edgelab.measure import quality
from edgelab.reading import Reading

_TINY = 1e-12
_EXCLUDES = {"onnx": "`quantize_static(exclude=...)`", "coreml": "`OptimizationConfig.set_op_name(name, None)`"}
_CHANCE = 2.0  # times the agreement of guessing, below which the input was misunderstood rather than rounded


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
    errors = tuple(_error(match, golden.outputs[match.golden], value) for match, value in outputs if value is not None)
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
        return OutputError(match.golden, str(match.model), math.nan, float(not same.all()), 100 * float(same.mean()))
    a, b = reference.astype(np.float64), value.astype(np.float64)
    with np.errstate(all="ignore"):
        apart = np.where(a == b, 0.0, np.abs(a - b))
        sqnr = decibels(float(np.sum(a**2)), float(np.sum(apart**2))) if reference.dtype.kind == "f" else math.nan
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
            f"The SQNR of '{error.name}' is {in_decibels(error.sqnr_db)}, and {gates.min_sqnr_db:g} dB are asked for."
            for error in errors
            if error.sqnr_db < gates.min_sqnr_db
        ]
    if gates.min_agreement is not None and agreement is not None and agreement.value < gates.min_agreement:
        missed.append(
            f"It gives the same top answer for {agreement.figure()}, and {gates.min_agreement:g} % are asked for."
        )
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
            "Its answers agree with the reference's hardly more often than by chance: look at the scaling and the "
            "order of axes of the input before anything else."
        )
    if first is not None:
        layer = f"{first.tensor.node or first.tensor.name} ({first.tensor.operator})"
        advice.append(f"The first layer below the limit is {layer} with {in_decibels(first.sqnr_db)}.")
    if exclude:
        how = _EXCLUDES.get(golden.layers.format, "the converter's `denylisted_nodes`")
        them = "it" if len(exclude) == 1 else "them"
        advice.append(
            f"Most of the error comes in at {', '.join(exclude)}: keep {them} in float ({how}), and check again."
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
