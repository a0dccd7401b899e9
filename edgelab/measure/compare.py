"""Models side by side with a reference on the same inputs: how right, how far off, for whom, how fast."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import file_bytes
from edgelab.engines import open_engine
from edgelab.engines.base import Engine
from edgelab.errors import BadInput
from edgelab.feeding.arrays import Arrays
from edgelab.feeding.matching import Match, first_logits, match_outputs
from edgelab.feeding.options import FeedOptions
from edgelab.files import expanded
from edgelab.measure import quality
from edgelab.measure.compared_times import ComparedTimes, compared_times
from edgelab.measure.comparison import Compared, Comparison
from edgelab.measure.gates import Gate, at_most, check_limit
from edgelab.measure.source import Source, source_of
from edgelab.reading import Reading

__all__ = ["Compared", "Comparison", "compare", "distinct_names", "why_untimed"]


def compare(
    reference: str | os.PathLike[str],
    models: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    data: str | os.PathLike[str] | Arrays | None = None,
    *,
    feed: FeedOptions | None = None,
    max_loss: float | None = None,
    max_slowdown: float | None = None,
    strict: bool = False,
    runs: int = 100,
    threads: int = 1,
    seed: int = 0,
    timeout: float | None = None,
    progress: bool = False,
) -> Comparison:
    """Hold .onnx and .tflite files and Core ML packages against a reference file on the same items.

    Where no output is (N, classes) and there are no labels, as in a network that answers for every moment of a sound,
    the first output counts, each of its rows (along the last axis) as an answer; the others are compared beside it.
    The axis on which the items stand is found by running a few (`edgelab.measure.items`).

    Parameters
    ----------
    reference, models
        Model files; with labels one output is logits (N, classes).
    data
        An .npz with inputs by name (``x``, channels first, for a single one), and y and group if there are labels, or
        the arrays. Several inputs, or other types than float32, are matched to those of each file (`match_inputs`).
        None: random inputs, on which agreement says nothing of accuracy.
    feed
        Shapes, sizes of axes and states, as for `bench`; its ``data`` counts where ``data`` is None.
    max_loss
        Points of accuracy that a model may lose; it fails where the whole interval lies above.
    max_slowdown
        Percent by which a model may take longer than the reference.
    strict
        A limit of which the interval cannot tell counts as not kept.
    runs, threads
        For the times, batch 1, interleaved; fewer runs where they would take minutes.
    seed
        Of random inputs, of the order in which the contenders run, and of the bootstrap.
    timeout
        Seconds that one call of a runtime may take.
    progress
        Show progress bars.

    Raises
    ------
    BadFile, BadInput
        If a file cannot be read or the data does not fit a model.
    EngineCrash
        If a runtime dies on a model before its answers are known. A failed timing is a sentence in the result.
    """
    if isinstance(models, str | os.PathLike):
        models = [models]
    if not models:
        raise BadInput("Name at least one model to hold against the reference.")
    for name, value in (("max_loss", max_loss), ("max_slowdown", max_slowdown)):
        check_limit(name, value)
    paths = [expanded(reference), *map(expanded, models)]
    settings: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
    with ExitStack() as stack:
        engines = [stack.enter_context(open_engine(path, threads=threads, **settings)) for path in paths]
        given = source_of(paths, engines, data, feed or FeedOptions(), seed)
        if max_loss is not None and given.y is None:
            raise BadInput("max_loss needs labels: give data with y, the class of each item.")
        sides = _sides(paths, engines, given, progress=progress)
        names = distinct_names(paths)
        times = compared_times(dict(zip(names, engines, strict=True)), given.singles(), runs, seed, progress=progress)
        compared = tuple(
            _compared(side, sides[0], times, names[0], name, given)
            for side, name in list(zip(sides, names, strict=True))[1:]
        )
    limits = {k: v for k, v in (("max_loss", max_loss), ("max_slowdown", max_slowdown)) if v is not None}
    judged = tuple(
        replace(one, gates=_gates(one, limits, times, names[0], name))
        for one, name in zip(compared, names[1:], strict=True)
    )
    notes = [*given.notes, times.note, *times.sentences()]
    return Comparison(
        given.described,
        _about(sides[0], times, names[0]),
        judged,
        " ".join(dict.fromkeys(filter(None, notes))),
        limits,
        strict,
    )


@dataclass(frozen=True)
class _Side:
    """One file's answers: those of the output that counts as rows of floats, and every output against the reference."""

    path: Path
    engine: Engine
    rows: NDArray[np.float32] | None
    result: quality.Quality | None
    outputs: tuple[dict[str, Any], ...]


def _sides(paths: Sequence[Path], engines: Sequence[Engine], given: Source, *, progress: bool) -> list[_Side]:
    groups = None if given.group is None or given.y is None else {"group": given.group}
    sides: list[_Side] = []
    kept: dict[str, NDArray[Any]] = {}
    main: str | None = None
    for number, (engine, path) in enumerate(zip(engines, paths, strict=True)):
        found = given.answers(number, progress=progress)
        if not kept:
            kept, main = found, _main(found, path, given)
        matched = match_outputs(kept, found, str(path)) if sides else [(None, kept.get(main or ""))]
        value = next((y for match, y in matched if match is None or match.golden == main), None)
        if main is not None and value is None:
            raise BadInput(f"{path} has no output like '{main}' of the reference {paths[0]}; compare one task.")
        rows = None if main is None or value is None else _rows(value, given.items, kept[main])
        if rows is not None and sides and sides[0].rows is not None and rows.shape != sides[0].rows.shape:
            raise BadInput(
                f"{path} gives {rows.shape[1]} classes and the reference {paths[0]} gives {sides[0].rows.shape[1]}; "
                "compare networks of one task."
            )
        entries = tuple(_held(match, kept, y) for match, y in matched if match is not None)
        sides.append(_Side(path, engine, rows, _judge(rows, path, given.y, groups), entries))
    return sides


def _compared(side: _Side, first: _Side, times: ComparedTimes, reference: str, name: str, given: Source) -> Compared:
    groups = None if given.group is None else {"group": given.group}
    before, result = first.result, side.result
    both = before is not None and result is not None
    report = times.report if reference in times.timed and name in times.timed else None
    finite = first.rows is not None and side.rows is not None and np.isfinite(first.rows).all()
    return Compared(
        file=str(side.path),
        runtime=side.engine.name,
        bytes=file_bytes(side.path),
        result=result,
        losses=quality.group_differences(before.correct, result.correct, groups)
        if groups and before is not None and result is not None
        else None,
        loss=quality.difference(before.correct, result.correct)
        if both and before is not None and result is not None
        else None,
        divergence=quality.divergence(first.rows, side.rows)
        if finite and first.rows is not None and side.rows is not None and np.isfinite(side.rows).all()
        else None,
        p50_ms=times.p50(name),
        speed_up=None if report is None else report.speed_up(name, over=reference),
        speed_verdict=None if report is None else report.verdict(reference, name),
        outputs=side.outputs,
    )


def _about(first: _Side, times: ComparedTimes, name: str) -> dict[str, Any]:
    p50 = times.p50(name)
    return {
        "file": str(first.path),
        "runtime": first.engine.name,
        "bytes": file_bytes(first.path),
        "accuracy": None if first.result is None else first.result.accuracy.to_dict(),
        "p50_ms": None if p50 is None else p50.to_dict(),
        "by_class": [] if first.result is None else first.result.to_dict()["by_class"],
    }


def _gates(
    one: Compared, limits: Mapping[str, float], times: ComparedTimes, reference: str, name: str
) -> tuple[Gate, ...]:
    found = []
    if "max_loss" in limits:
        loss = None if one.loss is None else one.loss.loss
        found.append(at_most("max_loss", limits["max_loss"], loss, "of accuracy lost", "no accuracy is known."))
    if "max_slowdown" in limits:
        slowdown = times.slowdown(name, reference)
        why = times.why(name) or times.why(reference) or "the times are not known."
        found.append(at_most("max_slowdown", limits["max_slowdown"], slowdown, "longer than the reference", why))
    return tuple(found)


def why_untimed(engine: Engine) -> str:
    """Why an engine's runs cannot be timed, as part of a sentence; empty if they can."""
    return str(getattr(engine, "why_untimed", ""))


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """File names; where two files have one name, with as many folders above as it takes, or numbered.

    Examples
    --------
    >>> distinct_names([Path("x/a/m.onnx"), Path("x/b/m.onnx")])
    ['a/m.onnx', 'b/m.onnx']
    >>> distinct_names([Path("m.onnx"), Path("m.onnx")])
    ['m.onnx (1)', 'm.onnx (2)']
    """
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path.name} ({number})" for number, path in enumerate(paths, 1)]


def _main(outputs: dict[str, NDArray[Any]], path: Path, given: Source) -> str | None:
    """The output that is compared first: the logits, or without labels the first of floats, if there is one."""
    name = first_logits(outputs, given.y)
    if name is None and given.y is None:
        return next((key for key, y in outputs.items() if y.dtype.kind == "f" and y.ndim > 1), None)
    if name is None:
        held = ", ".join(f"'{key}' {y.dtype} {y.shape}" for key, y in outputs.items())
        raise BadInput(f"{path} has no output of classes (N, classes) that the labels could count; it has {held}.")
    return name


def _rows(found: NDArray[Any], items: int, reference: NDArray[Any]) -> NDArray[np.float32]:
    """An output as logits: a row for each item where the reference has but one axis, else one along the last axis."""
    several = [n for n in reference.shape[1:] if n != 1]
    flat = found.astype(np.float32)
    return flat.reshape(items, -1) if len(several) < 2 else flat.reshape(-1, reference.shape[-1])


def _held(match: Match, kept: dict[str, NDArray[Any]], found: NDArray[Any] | None) -> dict[str, Any]:
    """One output against the reference's: how it was matched, and how far off it is.

    ``agreement`` is a reading in percent: of rows with the same top answer where the output may be logits, of equal
    values where it is whole numbers or text. ``max_abs`` is the largest difference, ``sqnr_db`` None where it is equal.
    """
    entry = {key: value for key, value in match.to_dict().items() if key != "kind"}
    reference = kept[match.golden]
    if found is None:
        return {**entry, "agreement": None, "max_abs": None, "sqnr_db": None}
    if reference.dtype.kind != "f" or found.dtype.kind != "f":
        same = np.asarray(reference == found).reshape(len(reference), -1).all(axis=1)
        return {**entry, "agreement": _share(same, "items with equal values"), "max_abs": None, "sqnr_db": None}
    a, b = reference.astype(np.float64), found.astype(np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    unlike = not np.array_equal(a[~both], b[~both], equal_nan=True)
    a, b = np.where(both, a, 0), np.where(both, b, 0)
    power, noise = float(np.mean(a**2)), float(np.mean((b - a) ** 2))
    return {
        **entry,
        "agreement": _top_answers(reference, found),
        "max_abs": float("inf") if unlike else float(np.abs(b - a).max(initial=0)),
        "sqnr_db": 10 * float(np.log10(power / noise)) if power and noise else None,
    }


def _top_answers(reference: NDArray[Any], found: NDArray[Any]) -> Reading | None:
    """The share of rows along the last axis with the same highest value; None where a row has but one value."""
    a, b = _rows(reference, len(reference), reference), _rows(found, len(reference), reference)
    if a.shape[1] < 2 or np.isnan(a).any() or np.isnan(b).any():
        return None
    return _share(np.asarray(a.argmax(axis=1) == b.argmax(axis=1)), "same top answer as the reference")


def _share(same: Any, what: str) -> Reading:
    return quality.accuracy_reading(np.asarray(same, dtype=bool), what)


def _judge(rows: Any, path: Path, y: NDArray[np.int64] | None, groups: dict[str, Any] | None) -> quality.Quality | None:
    if y is None:
        return None
    try:
        return quality.evaluate(rows, None, y, groups)
    except BadInput as error:
        raise BadInput(f"{path} does not fit the data: {error}") from None
