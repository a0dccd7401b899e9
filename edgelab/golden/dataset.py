"""Golden data sets: a reference's answers to fixed inputs in one file, and how far other files are from them.

`make` writes the file once, `check` holds any number of files of the same network against it, in whatever format,
layout and element type: how right, how far off, and where the first layer leaves the reference.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import file_bytes, files_of
from edgelab.engines import model_format, open_engine
from edgelab.engines.base import Engine
from edgelab.errors import BadFile, BadInput
from edgelab.feeding.arrays import Arrays, load_arrays
from edgelab.feeding.matching import AxisOrder, Fed, first_logits, match_inputs, match_outputs, native_order, outputs_of
from edgelab.files import expanded, refuse_to_replace, write_text
from edgelab.golden.file import Golden, model_hash, read_golden, write_golden
from edgelab.golden.judge import judge
from edgelab.golden.layers import keep_layers, walk
from edgelab.golden.report import Gates, GoldenReport

PathLike = str | os.PathLike[str]
_PATIENCE_SECONDS = 1200.0
"""What some dozens of items may take: a network that needs six seconds for each is slow, not stuck."""


@dataclass(frozen=True)
class GoldenMade:
    """A golden file that was written."""

    path: Path
    golden: Golden

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: see docs/json.md."""
        g = self.golden
        return {
            "golden": str(self.path),
            "items": len(g.data),
            "labels": g.data.y is not None,
            "reference": dict(g.model),
            "inputs": {name: str(a.dtype) for name, a in g.data.inputs.items()},
            "outputs": {name: str(a.dtype) for name, a in g.outputs.items()},
            "logits": g.logits,
            "layers": len(g.layers.values),
            "layers_note": g.layers.note,
            "matched": [dict(entry) for entry in g.matched],
        }

    def __str__(self) -> str:
        g = self.golden
        labels = "with labels" if g.data.y is not None else "without labels"
        layers = g.layers.note or f"With them are {len(g.layers.values)} layers of the first {g.layers.items} items."
        return (
            f"{self.path} holds the answers of {g.model['file']} to {len(g.data):,} items, {labels}. {layers}\n"
            f"The reference's SHA-256 is {g.model['sha256']}."
        )

    def _repr_markdown_(self) -> str:
        return str(self)


def make(model: PathLike, data: PathLike | Arrays, out: PathLike, *, overwrite: bool = False) -> GoldenMade:
    """Write a golden file: the inputs, labels and groups of ``data`` with the outputs of ``model`` and its hash.

    Parameters
    ----------
    model
        The reference, any file that an engine opens.
    data
        An .npz file, or arrays: inputs by name (``x`` for a single one), channels first; optionally y and group.
    out
        The golden file.
    overwrite
        Replace a file that is there.

    Raises
    ------
    BadFile
        If a file cannot be read, or ``out`` not be written or is there already.
    BadInput
        If the data does not fit the model, or there are labels and no output of classes that they could count.
    EngineCrash
        If the runtime dies.
    """
    path, target = expanded(model), expanded(out)
    kind = model_format(path)
    read = [*files_of(path), *([] if isinstance(data, Arrays) else [expanded(data)])]
    refuse_to_replace(target, overwrite=overwrite, inputs=read)
    with _opened(path) as engine:
        arrays = data if isinstance(data, Arrays) else load_arrays(data, engine.input_names)
        fed = match_inputs(arrays.inputs, engine.inputs, path.name, native_order(kind))
        used = {f.match.golden: _dequantized(arrays.inputs[f.match.golden], f) for f in fed}
        outputs = outputs_of(engine, fed, arrays.inputs, str(path))
        about = {
            "file": path.name,
            "sha256": model_hash(path),
            "bytes": file_bytes(path),
            "format": kind,
            "runtime": engine.name,
        }
    broken = [name for name, y in outputs.items() if y.dtype.kind == "f" and not np.isfinite(y).all()]
    if broken:
        raise BadInput(f"{path} answers with NaN or infinity in '{broken[0]}'; a reference has to be sound.")
    logits = first_logits(outputs, arrays.y)
    if arrays.y is not None and logits is None:
        shapes = ", ".join(f"'{name}' {y.dtype} {y.shape}" for name, y in outputs.items())
        raise BadInput(
            f"The labels go to {int(arrays.y.max())}, and no output of {path} has so many classes; it has {shapes}."
        )
    golden = Golden(
        about,
        Arrays.by_name(used, arrays.y, arrays.group),
        {f.match.golden: f.order for f in fed},
        outputs,
        logits,
        keep_layers(path, kind, fed, arrays.inputs),
        [f.match.to_dict() for f in fed],
    )
    return GoldenMade(write_golden(target, golden), golden)


def check(
    golden: PathLike,
    models: PathLike | Sequence[PathLike],
    *,
    max_loss: float | None = None,
    min_sqnr: float | None = None,
    reference: PathLike | None = None,
    exclude_out: PathLike | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> GoldenReport:
    """Hold model files against a golden file.

    Parameters
    ----------
    golden
        What `make` wrote.
    models
        Files of the same network, of any format.
    max_loss
        Percentage points of accuracy that a file may lose.
    min_sqnr
        The lowest SQNR of any output, in dB; a layer below it counts as diverged. Without either limit a file may lose
        one point; where there are no labels, it has to give the same top answer for 99 percent of the items.
    reference
        The reference itself, which is held against the hash in the golden file.
    exclude_out
        Write the nodes that a quantizer should leave in float to this file, one a line.
    overwrite
        Replace that file if it is there.
    progress
        Show progress bars.

    Raises
    ------
    BadFile
        If a file cannot be read, is damaged, or ``reference`` is another file than the one the golden file is of.
    BadInput
        If a model does not fit the golden file, or ``max_loss`` is asked for and there are no labels.
    EngineCrash
        If a runtime dies on a model.
    """
    paths = [expanded(models)] if isinstance(models, str | os.PathLike) else [expanded(path) for path in models]
    if not paths:
        raise BadInput("Name at least one model to check.")
    listed = None if exclude_out is None else expanded(exclude_out)
    if listed is not None:
        read = [file for path in paths if path.exists() for file in files_of(path)]
        read += [expanded(file) for file in (golden, reference) if file is not None]
        refuse_to_replace(listed, overwrite=overwrite, inputs=read)
    kept = read_golden(golden)
    gates = Gates.of(max_loss, min_sqnr, kept, str(golden))
    if reference is not None and model_hash(reference) != kept.model["sha256"]:
        raise BadFile(
            f"{golden} was made from another file than {reference}: its hash is not that of {kept.model['file']}."
        )
    checked = []
    for path in paths:
        kind = model_format(path)
        with _opened(path) as engine:
            fed = match_inputs(kept.data.inputs, engine.inputs, path.name, _orders(kept, kind))
            found = outputs_of(engine, fed, kept.data.inputs, str(path), progress=progress)
            title = engine.name
        matched = match_outputs(kept.outputs, found, path.name)
        layers = walk(path, kind, fed, kept.data.inputs, kept.layers)
        checked.append(judge(path, title, kept, gates, [f.match for f in fed], matched, layers))
    about = {**kept.model, "items": len(kept.data), "labels": kept.data.y is not None}
    report = GoldenReport(str(golden), about, gates, tuple(checked))
    if listed is not None:
        write_text(listed, "".join(f"{node}\n" for node in report.exclude()))
    return report


def _opened(path: PathLike) -> Engine:
    patience: dict[str, Any] = {} if model_format(path) == "coreml" else {"timeout": _PATIENCE_SECONDS}
    return open_engine(path, fresh=False, layout="channels_first", **patience)


def _orders(golden: Golden, kind: str) -> Mapping[str, AxisOrder]:
    """For each input the order to prefer: the reference's, or the one that its format and this one's make likely."""
    same = native_order(golden.model["format"]) == native_order(kind)
    to_last: dict[str, AxisOrder] = {"as given": "first to last", "last to first": "as given"}
    to_first: dict[str, AxisOrder] = {"first to last": "as given", "as given": "last to first"}
    turned = to_last if native_order(kind) == "first to last" else to_first
    known: dict[str, AxisOrder] = {"as given": "as given", "first to last": "first to last"}
    known["last to first"] = "last to first"
    return {
        name: known.get(order, "as given") if same else turned.get(order, "as given")
        for name, order in golden.orders.items()
    }


def _dequantized(array: NDArray[Any], fed: Fed) -> NDArray[Any]:
    """Raw integers of a quantized input as the values that they stand for, so that any file can take them."""
    info = fed.info
    if not info.scale or array.dtype.name != info.dtype:
        return array
    return (array.astype(np.float32) - np.float32(info.zero_point or 0)) * np.float32(info.scale)
