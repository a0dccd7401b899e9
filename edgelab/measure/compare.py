"""Models side by side with a reference on golden data: how right, how far off, for whom, how fast."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import file_bytes
from edgelab.engines import model_format, open_engine
from edgelab.engines.base import Engine
from edgelab.errors import BadInput
from edgelab.feeding.arrays import Arrays, load_arrays
from edgelab.feeding.matching import Match, first_logits, match_inputs, match_outputs, native_order, outputs_of
from edgelab.measure import quality
from edgelab.measure.latency import Verdict, measure_latency
from edgelab.reading import Reading, Table


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
    divergence: quality.Divergence
    p50_ms: Reading | None
    speed_up: Reading | None
    speed_verdict: Verdict | None
    """None, and so the two before, where a runtime keeps no time: firmware on an emulated core."""
    outputs: tuple[dict[str, Any], ...] = ()
    """Every output of the reference: golden, model, did (as `Match.to_dict` has them), max_abs, sqnr_db."""

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
            "agreement": self.divergence.agreement.to_dict(),
            "max_abs": self.divergence.max_abs,
            "sqnr_db": self.divergence.sqnr_db,
            "p50_ms": None if self.p50_ms is None else self.p50_ms.to_dict(),
            "speed_up": None if self.speed_up is None else self.speed_up.to_dict(),
            "speed_verdict": None if self.speed_verdict is None else self.speed_verdict.text,
            "by_class": [] if self.result is None else self.result.to_dict()["by_class"],
            "by_group": [] if self.losses is None else [g.to_dict() for g in self.losses.groups],
            "worst_group": None if worst is None else worst.to_dict(),
            "outputs": [dict(entry) for entry in self.outputs],
        }


@dataclass(frozen=True)
class Comparison:
    """A reference, the models held against it, and the data they were judged on."""

    data: dict[str, Any]
    reference: dict[str, Any]
    models: tuple[Compared, ...]
    note: str = ""

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
            sqnr = "equal" if m.divergence.sqnr_db is None else f"{m.divergence.sqnr_db:.1f} dB"
            rows.append(
                (
                    Path(m.file).name,
                    m.bytes,
                    "" if m.result is None else m.result.accuracy.figure(),
                    "" if m.loss is None else m.loss.loss.figure(),
                    m.divergence.agreement.figure(),
                    sqnr,
                    "untimed" if m.p50_ms is None else m.p50_ms.figure(),
                    "" if m.speed_up is None else m.speed_up.figure(),
                )
            )
        columns = ("model", "bytes", "right", "points lost", "same answer", "SQNR", "p50", "times as fast")
        settings = (
            f"Measured on {self.data['items']:,} items of {self.data['file']}, batch 1 for the times. {self.note}"
        )
        return Table("Compared with the reference", columns, rows, settings.strip())

    def groups(self) -> list[Table]:
        """For each model a table of its outputs if there are several, and of who loses most if there are groups."""
        several = [
            Table(
                f"Outputs of {Path(m.file).name}",
                ("output", "there", "largest difference", "SQNR", "what was done"),
                [
                    (o["golden"], o["model"] or "none", o["max_abs"], _decibels(o), "; ".join(o["did"]))
                    for o in m.outputs
                ],
            )
            for m in self.models
            if len(m.outputs) > 1
        ]
        tables = [(m, m.losses.table()) for m in self.models if m.losses is not None]
        return [*several, *(Table(f"{t.title}: {Path(m.file).name}", t.columns, t.rows, t.note) for m, t in tables)]

    def verdicts(self) -> list[str]:
        """Two sentences for each model: accuracy, and time where it was measured."""

        def said(m: Compared) -> str:
            return "Without labels nothing is known of accuracy." if m.loss is None else m.loss.verdict.text

        times = ["" if m.speed_verdict is None else f" {m.speed_verdict.text}" for m in self.models]
        return [f"{Path(m.file).name}: {said(m)}{t}" for m, t in zip(self.models, times, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """As stable JSON-ready data: data, reference, models, note.

        ``data`` is {"file", "items", "inputs", "classes", "groups"}; ``reference`` {"file", "runtime", "bytes",
        "accuracy", "p50_ms", "by_class"}; each of ``models`` {"file", "runtime", "bytes", "accuracy", "loss",
        "verdict", "agreement", "max_abs", "sqnr_db", "p50_ms", "speed_up", "speed_verdict", "by_class", "by_group",
        "worst_group", "outputs"}; accuracies in percent, losses in points (positive is a loss), all as readings.
        """
        return {
            "data": self.data,
            "reference": self.reference,
            "models": [m.to_dict() for m in self.models],
            "note": self.note,
        }

    def _repr_markdown_(self) -> str:
        parts = [self.table()._repr_markdown_(), *(f"- {v}" for v in self.verdicts())]
        return "\n\n".join([*parts, *(t._repr_markdown_() for t in self.groups())])

    def __str__(self) -> str:
        return "\n\n".join([str(self.table()), "\n".join(self.verdicts()), *map(str, self.groups())])


def compare(
    reference: str | os.PathLike[str],
    models: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    data: str | os.PathLike[str] | Arrays,
    *,
    runs: int = 100,
    threads: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> Comparison:
    """Hold .onnx and .tflite files and Core ML packages against a reference file on the same items.

    Where no output is (N, classes) and there are no labels, as in a network that answers for every moment of a sound,
    the first output counts, each of its rows (along the last axis) as an answer; the others are compared beside it.

    Parameters
    ----------
    reference, models
        Model files; with labels one output is logits (N, classes).
    data
        An .npz with inputs by name (``x``, channels first, for a single one), and y and group if there are labels, or
        the arrays. Several inputs, or other types than float32, are matched to those of each file (`match_inputs`).
    runs, threads
        For the times, batch 1, interleaved.
    seed
        Of the order in which the contenders run, and of the bootstrap.
    progress
        Show progress bars.

    Raises
    ------
    BadFile, BadInput
        If a file cannot be read or the data does not fit a model.
    EngineCrash
        If a runtime dies on a model.
    """
    if isinstance(models, str | os.PathLike):
        models = [models]
    if not models:
        raise BadInput("Name at least one model to hold against the reference.")
    paths = [Path(reference), *map(Path, models)]
    with ExitStack() as stack:
        engines = [stack.enter_context(open_engine(path, threads=threads)) for path in paths]
        arrays = data if isinstance(data, Arrays) else load_arrays(data, engines[0].input_names)
        groups = None if arrays.group is None or arrays.y is None else {"group": arrays.group}
        logits: list[NDArray[np.float32]] = []
        sides_by_side: list[tuple[dict[str, Any], ...]] = []
        main, kept = "", {}
        for engine, path in zip(engines, paths, strict=True):
            answers = _answers(engine, path, arrays, progress=progress)
            if not logits:
                kept, main = answers, _main(answers, path, arrays)
            matched = match_outputs(kept, answers, str(path)) if logits else [(None, kept[main])]
            found = next((y for match, y in matched if match is None or match.golden == main), None)
            if found is None:
                raise BadInput(f"{path} has no output like '{main}' of the reference {paths[0]}; compare one task.")
            logits.append(_rows(found, len(arrays), kept[main]))
            sides_by_side.append(tuple(_held(match, kept, y) for match, y in matched if match is not None))
        results = [_judge(out, path, arrays, groups) for out, path in zip(logits, paths, strict=True)]
        for out, path in zip(logits, paths, strict=True):
            if out.shape != logits[0].shape:
                raise BadInput(
                    f"{path} gives {out.shape[1]} classes and the reference {paths[0]} gives {logits[0].shape[1]}; "
                    "compare networks of one task."
                )
        names = distinct_names(paths)
        untimed = {n: _why_untimed(e, arrays) for n, e in zip(names, engines, strict=True)}
        timed = {n: e for n, e in zip(names, engines, strict=True) if not untimed[n]}
        race = measure_latency(timed, arrays.x[:1], runs, seed=seed, progress=progress) if timed else None
        sides = {n: (race if race is not None and n in timed else None) for n in names}
        rivals = {n: (race if names[0] in timed else None) for n, race in sides.items()}
        before = results[0]
        compared = tuple(
            Compared(
                file=str(path),
                runtime=engine.name,
                bytes=file_bytes(path),
                result=result,
                losses=quality.group_differences(before.correct, result.correct, groups)
                if groups and before is not None and result is not None
                else None,
                loss=None if before is None or result is None else quality.difference(before.correct, result.correct),
                divergence=quality.divergence(logits[0], out),
                p50_ms=None if (side := sides[name]) is None else side.readings[name]["p50"],
                speed_up=None if (rival := rivals[name]) is None else rival.speed_up(name, over=names[0]),
                speed_verdict=None if rival is None else rival.verdict(names[0], name),
                outputs=outputs,
            )
            for path, engine, result, out, name, outputs in list(
                zip(paths, engines, results, logits, names, sides_by_side, strict=True)
            )[1:]
        )
        about = {
            "file": str(paths[0]),
            "runtime": engines[0].name,
            "bytes": file_bytes(paths[0]),
            "accuracy": None if before is None else before.accuracy.to_dict(),
            "p50_ms": None if (side := sides[names[0]]) is None else side.readings[names[0]]["p50"].to_dict(),
            "by_class": [] if before is None else before.to_dict()["by_class"],
        }
    described = {
        "file": "arrays given" if isinstance(data, Arrays) else str(data),
        "items": len(arrays),
        "inputs": {name: str(array.dtype) for name, array in arrays.inputs.items()},
        "classes": None if arrays.y is None else len(np.unique(arrays.y)),
        "groups": [] if arrays.group is None else sorted(map(str, np.unique(arrays.group))),
    }
    notes = ["" if race is None else race.note]
    notes += [f"{name} was not timed. {why}." for name, why in untimed.items() if why]
    return Comparison(described, about, compared, " ".join(filter(None, notes)))


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


def _answers(engine: Engine, path: Path, arrays: Arrays, *, progress: bool) -> dict[str, NDArray[Any]]:
    """Every output of a file: by the short way for one input of floats and one output, else each input matched."""
    if _single(arrays) and len(engine.input_names) == len(engine.outputs) == 1 and len(engine.inputs[0].shape) != 1:
        return {engine.outputs[0].name: quality.predict(engine, arrays.x, progress=progress)}
    fed = match_inputs(arrays.inputs, engine.inputs, path.name, native_order(model_format(path)))
    return outputs_of(engine, fed, arrays.inputs, str(path), progress=progress)


def _main(outputs: dict[str, NDArray[Any]], path: Path, arrays: Arrays) -> str:
    """The output that is compared first: the logits, or without labels the first of floats."""
    name = first_logits(outputs, arrays.y)
    if name is None and arrays.y is None:
        name = next((key for key, y in outputs.items() if y.dtype.kind == "f" and y.ndim > 1), None)
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
    """One output against the reference's: how it was matched, the largest difference, the SQNR in dB (None: equal)."""
    entry = {key: value for key, value in match.to_dict().items() if key != "kind"}
    reference = kept[match.golden]
    if found is None or reference.dtype.kind != "f" or found.dtype.kind != "f":
        return {**entry, "max_abs": None, "sqnr_db": None}
    a = reference.astype(np.float64)
    error = np.abs(found.astype(np.float64) - a)
    power, noise = float(np.mean(a**2)), float(np.mean(error**2))
    return {
        **entry,
        "max_abs": float(error.max()),
        "sqnr_db": 10 * float(np.log10(power / noise)) if power and noise else None,
    }


def _decibels(entry: dict[str, Any]) -> str:
    if entry["max_abs"] is None:
        return "not compared"
    return "equal" if entry["sqnr_db"] is None else f"{entry['sqnr_db']:.1f} dB"


def _single(arrays: Arrays) -> bool:
    return len(arrays.inputs) == 1 and arrays.x.dtype == np.float32 and arrays.x.ndim > 1


def _why_untimed(engine: Engine, arrays: Arrays) -> str:
    if why := why_untimed(engine):
        return why
    return "" if _single(arrays) and len(engine.input_names) == 1 else "Only files with one input of floats are timed"


def _judge(logits: Any, path: Path, arrays: Arrays, groups: dict[str, Any] | None) -> quality.Quality | None:
    if arrays.y is None:
        return None
    try:
        return quality.evaluate(logits, None, arrays.y, groups)
    except BadInput as error:
        raise BadInput(f"{path} does not fit the data: {error}") from None
