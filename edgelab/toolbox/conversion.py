"""`convert`: a trained network from a file of its framework to a file of a runtime, held against its source.

The source is loaded and converted in a child process. What was written is opened in its own runtime and given the same
inputs as the source; it takes its place only if its answers are the source's.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab import golden
from edgelab.compress.modelfile import file_bytes
from edgelab.engines.base import TensorInfo
from edgelab.engines.child import Child
from edgelab.errors import BadFile, BadInput
from edgelab.feeding.arrays import Arrays, load_arrays
from edgelab.feeding.matching import Fed, first_logits, match_inputs
from edgelab.files import expanded, refuse_to_replace, writing
from edgelab.golden.file import Golden, Layers, model_hash, write_golden
from edgelab.golden.report import Checked, in_decibels
from edgelab.models import mlpackage
from edgelab.models.formats import existing_file, model_format
from edgelab.models.keras_file import check_keras, is_keras
from edgelab.models.pt2 import clean_copy, is_pt2
from edgelab.toolbox.limits import Limits

PathLike = str | os.PathLike[str]
Target = Literal["onnx", "tflite", "coreml"]
SUFFIXES: Mapping[str, str] = {"onnx": ".onnx", "tflite": ".tflite", "coreml": ".mlpackage"}
SEEDED_ITEMS = 32
CHECKED_ITEMS = 512
TIMEOUT_SECONDS = 1200.0


@dataclass(frozen=True)
class Conversion:
    """A file that was converted, and how it compares with its source.

    ``kept`` says whether it stands at ``path``; ``reasons`` say why not. ``checked_on`` is the data file, or empty
    where the inputs were drawn from a seed; ``calibrated_on`` counts the items that gave an int8 file its ranges.
    """

    source: Mapping[str, Any]
    path: Path
    to: Target
    precision: str
    bytes: int
    items: int
    checked_on: str
    calibrated_on: int
    limits: Limits
    checked: Checked
    reasons: tuple[str, ...]
    matched: tuple[Mapping[str, Any], ...]

    @property
    def kept(self) -> bool:
        """Whether the file kept the limits and stands at its path."""
        return not self.reasons

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: see docs/json.md."""
        verdict = self.checked.to_dict()
        same = ("runtime", "accuracy", "loss", "agreement", "kl", "sqnr_db", "max_deviation", "outputs", "advice")
        return {
            "model": str(self.path),
            "source": dict(self.source),
            "to": self.to,
            "precision": self.precision,
            "bytes": self.bytes,
            "sha256": self.checked.sha256,
            "items": self.items,
            "checked_on": self.checked_on or None,
            "calibrated_on": self.calibrated_on or None,
            "limits": self.limits.to_dict(),
            "kept": self.kept,
            "reasons": list(self.reasons),
            "matched": [*(dict(m) for m in self.matched), *verdict["matched"]],
            **{key: verdict[key] for key in same},
        }

    def sentences(self) -> list[str]:
        """What was done and found, a sentence each."""
        source, checked = self.source, self.checked
        said = []
        if self.kept:
            said.append(
                f"{self.path} holds {source['file']} as {self.to} in {self.precision}: {self.bytes:,} bytes, where the "
                f"source has {source['bytes']:,}."
            )
        given = (
            f"{self.items:,} items of {self.checked_on}"
            if self.checked_on
            else (f"{self.items} inputs drawn from a seed, for no --data was given")
        )
        figures = []
        if checked.agreement is not None:
            figures.append(f"the same top answer for {checked.agreement.figure()}")
        if checked.loss is not None:
            figures.append(f"{checked.loss.loss.figure()} of accuracy lost")
        figures.append(f"SQNR {in_decibels(checked.sqnr_db)}")
        said.append(f"Checked in {checked.runtime} against {source['runtime']} on {given}: {', '.join(figures)}.")
        if self.calibrated_on:
            said.append(f"The ranges of its activations come from {self.calibrated_on} of these items.")
        elif self.precision == "int8 weights":
            said.append("The weights alone are int8; they needed no calibration.")
        both = [(source["file"], m) for m in self.matched] + [(self.path.name, m.to_dict()) for m in checked.matched]
        said += [f"{file}, {match['kind']}: {text}." for file, match in both for text in match["did"]]
        said += list(checked.advice) if self.reasons else []
        return said

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def _repr_markdown_(self) -> str:
        return "\n".join(f"- {text}" for text in (*self.sentences(), *self.reasons))


def convert(
    model: PathLike,
    to: Target,
    out: PathLike,
    *,
    data: PathLike | Arrays | None = None,
    int8: bool = False,
    precision: Literal["float32", "float16"] | None = None,
    overwrite: bool = False,
    items: int = CHECKED_ITEMS,
    seed: int = 0,
) -> Conversion:
    """Convert a trained network, and keep the file if it answers as its source does.

    Parameters
    ----------
    model
        A PyTorch exported program (.pt2, as `torch.export.save` writes it), a Keras file (.keras), or a float ONNX file
        (to another format, by way of onnx2torch).
    to
        ``"onnx"``, ``"tflite"`` or ``"coreml"``.
    out
        The file to write; of Core ML a folder whose name ends in .mlpackage.
    data
        An .npz file, or arrays: inputs by name (``x`` for a single one), optionally y and group. Needed for an int8
        file, whose ranges are never taken from noise; without it a float file is checked on inputs drawn from ``seed``.
    int8
        Weights and activations in int8; for Core ML the weights alone.
    precision
        Of the weights without ``int8``: float32, and float16 for Core ML, unless it is said.
    overwrite
        Replace a file that is there.
    items
        How many items of the data are used, evenly spread, at most.
    seed
        Of the inputs that are drawn.

    Raises
    ------
    BadFile
        If the source is damaged, of another kind, or holds what could run code; or ``out`` is there or
        cannot be written.
    BadInput
        If the data does not fit, a size is open that the format fixes, or the format lacks an operator.
    EngineCrash
        If a converter or a runtime dies; this process is unharmed.
    MissingFramework
        If a converter is not installed.
    """
    source, target = existing_file(model), expanded(out)
    kind = _kind(source)
    if kind == to:
        raise BadInput(f"{source} is {to} already; `edgelab quantize` makes it smaller.")
    _check_request(source, to, target, data, int8=int8, overwrite=overwrite)
    kept_as = precision or ("float16" if to == "coreml" else "float32")
    if kept_as not in ("float32", "float16"):
        raise BadInput(f"precision={precision!r} is not one of 'float32', 'float16'.")
    label = ("int8 weights" if to == "coreml" else "int8") if int8 else kept_as
    with _workspace(target) as folder:
        made = folder / target.name
        with _opened(source, kind, folder) as (child, about):
            arrays = None if data is None else _load(data, about["inputs"], items)
            arrays, fed = _inputs(about, arrays, source, to, seed)
            given = [f.apply(arrays.inputs[f.match.golden]) for f in fed]
            header, outputs = child.call("run", f"running {len(arrays)} inputs of", given)
            reference = dict(zip(header["names"], outputs, strict=True))
            _sound(source, reference)
            settings = {"to": to, "out": str(made), "precision": kept_as, "int8": int8}
            doing = f"converting to {to}"
            if kind == "keras" and to != "tflite":
                with _opened(source, "keras as torch", folder) as (other, _):
                    done, _ = other.call("convert", doing, given, **settings)
            else:
                done, _ = child.call("convert", doing, given, **settings)
        about_source = {
            "file": source.name,
            "sha256": model_hash(source),
            "bytes": file_bytes(source),
            "format": kind,
            "runtime": about["runtime"],
        }
        # what the orders of axes are judged by: PyTorch has channels first as ONNX has, Keras last as TensorFlow Lite
        native = {**about_source, "format": "tflite" if kind == "keras" else "onnx"}
        orders = {f.match.golden: f.order for f in fed}
        note = "The layers of a source are not compared."
        answers = Golden(native, arrays, orders, reference, first_logits(reference, arrays.y), Layers("", 0, {}, note))
        file = write_golden(folder / "source.golden", answers)
        report = golden.check(file, [made], min_sqnr=-1e9)
        checked = report.models[0]
        limits = Limits.of(label, labels=arrays.y is not None, items=len(arrays), classes=answers.logits is not None)
        reasons = tuple(limits.missed(checked))
        if reasons and label == "float16":
            reasons += ("Numbers may leave the range of float16; try --precision float32.",)
        size = mlpackage.folder_bytes(made)
        if not reasons:
            _keep(made, target)
    where = "" if data is None else ("the data" if isinstance(data, Arrays) else str(data))
    return Conversion(
        source=about_source,
        path=target,
        to=to,
        precision=label,
        bytes=size,
        items=len(arrays),
        checked_on=where,
        calibrated_on=int(done.get("calibrated", 0)),
        limits=limits,
        checked=checked,
        reasons=reasons,
        matched=tuple(f.match.to_dict() for f in fed),
    )


def _kind(source: Path) -> str:
    if is_pt2(source):
        return "pt2"
    if is_keras(source):
        check_keras(source)
        return "keras"
    with source.open("rb") as stream:
        start = stream.read(8)
    if start.startswith((b"\x89HDF", b"\x80")):
        hdf5 = "a Keras HDF5 file; load it in Keras, save it as .keras (model.save)"
        pickled = "a pickle, which is not opened here; export the network to .pt2 (torch.export.save)"
        raise BadFile(f"{source} is {hdf5 if start[0] == 0x89 else pickled}, and convert that.")
    if start.startswith(b"PK"):
        raise BadFile(
            f"{source} is a zip archive, but neither an exported program nor a Keras file, or is cut short; write the "
            "network with torch.export.save (.pt2) or model.save (.keras)."
        )
    try:
        found = model_format(source)
    except BadFile:
        if source.suffix == ".onnx":
            raise BadFile(f"{source} is no ONNX model, or is cut short; write or download it again.") from None
        raise BadFile(
            f"{source} is not a file that is converted here; write the network with torch.export.save (.pt2) or "
            "model.save (.keras), or give its .onnx."
        ) from None
    if found == "onnx":
        return found
    raise BadFile(
        f"{source} is converted already ({found}); start from the network: .pt2 (torch.export.save), .keras or .onnx."
    )


def _check_request(
    source: Path, to: str, target: Path, data: PathLike | Arrays | None, *, int8: bool, overwrite: bool
) -> None:
    if to not in SUFFIXES:
        raise BadInput(f"to={to!r} is not one of {', '.join(SUFFIXES)}.")
    if target.suffix != SUFFIXES[to]:
        raise BadInput(f"{target} needs a name that ends in {SUFFIXES[to]}, for it is to be {to}.")
    if int8 and data is None and to != "coreml":
        raise BadInput(
            "An int8 file takes the ranges of its activations from real inputs, never from noise; give some with "
            "--data."
        )
    read = [source, *([expanded(data)] if isinstance(data, str | os.PathLike) else [])]
    if to == "coreml" and target.is_dir():
        refuse_to_replace(target, overwrite=overwrite, inputs=read, folder=True)
        if not mlpackage.is_mlpackage(target):
            raise BadFile(f"{target} is a folder, and no Core ML package; name another one.")
    else:
        refuse_to_replace(target, overwrite=overwrite, inputs=read)


@contextmanager
def _workspace(target: Path) -> Iterator[Path]:
    """A folder among the system's temporary ones, gone afterwards; a run that is killed leaves nothing by the target.

    That a file can be written beside the target has been tried; its folder is made when there is something to put in.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="edgelab-convert-", ignore_cleanup_errors=True)
    except OSError as error:
        raise BadFile(f"{target} could not be written ({error.strerror or error}); nothing was changed.") from error
    with folder as name:
        yield Path(name)


@contextmanager
def _opened(source: Path, kind: str, folder: Path) -> Iterator[tuple[Child, dict[str, Any]]]:
    """The source in a child process, and what it says of itself."""
    path = clean_copy(source, folder / "clean.pt2") if kind == "pt2" else source
    title = {"pt2": "PyTorch", "onnx": "ONNX Runtime"}.get(kind, "Keras")
    child = Child("edgelab.toolbox.sources", title, source, timeout=TIMEOUT_SECONDS)
    try:
        about, _ = child.call("open", "loading", path=str(path), file=str(source), kind=kind)
        yield child, about
    finally:
        child.close()


def _load(data: PathLike | Arrays, inputs: Sequence[Mapping[str, Any]], items: int) -> Arrays:
    arrays = data if isinstance(data, Arrays) else load_arrays(data, [str(i["name"]) for i in inputs])
    if items < 1:
        raise BadInput(f"items={items}: at least 1 is needed.")
    picked = np.unique(np.linspace(0, len(arrays) - 1, items).astype(int))
    return Arrays.by_name(
        {name: a[picked] for name, a in arrays.inputs.items()},
        None if arrays.y is None else arrays.y[picked],
        None if arrays.group is None else arrays.group[picked],
    )


def _inputs(
    about: Mapping[str, Any], arrays: Arrays | None, source: Path, to: str, seed: int
) -> tuple[Arrays, tuple[Fed, ...]]:
    """The inputs of the check, and how they go into the source."""
    infos = [TensorInfo(str(i["name"]), tuple(i["shape"]), str(i["dtype"])) for i in about["inputs"]]
    for info in infos:
        if info.dtype == "string":
            raise BadInput(f"{source} takes text for its input '{info.name}'; only networks of numbers are converted.")
        if info.dtype == "bfloat16":
            raise BadInput(
                f"{source} takes bfloat16 for its input '{info.name}', which {to} files do not hold; export the "
                "network with inputs of float32."
            )
        if arrays is None and not info.shape:
            raise BadInput(
                f"{source} states no axes for its input '{info.name}'; give --data, or export the network "
                "with the sizes of its inputs, the batch first."
            )
    if arrays is None:
        arrays = Arrays.by_name(_drawn(infos, about["example"], source, to, seed))
    prefer: Any = "first to last" if "Keras" in about["runtime"] else "as given"
    return arrays, match_inputs(arrays.inputs, infos, source.name, prefer)


def _drawn(
    infos: Sequence[TensorInfo], example: Sequence[Sequence[int]], source: Path, to: str, seed: int
) -> dict[str, NDArray[Any]]:
    """Inputs drawn from a seed: of floats the normal distribution, of whole numbers 0 and 1."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, NDArray[Any]] = {}
    for position, info in enumerate(infos):
        sizes = list(info.shape[1:])
        if None in sizes:
            known = example[position] if len(example) == len(infos) else None
            if to != "onnx" or known is None:
                stated = ", ".join("any" if n is None else str(n) for n in info.shape)
                raise BadInput(
                    f"{source} leaves a size of its input '{info.name}' ({stated}) open, which {to} fixes; give --data "
                    "of the size that you want, or export the network with it."
                )
            sizes = list(known[1:])
        shape = (SEEDED_ITEMS, *(int(n) for n in sizes if n is not None))
        floats = info.dtype.startswith("float")
        values = rng.standard_normal(shape) if floats else rng.integers(0, 2, shape)
        drawn[info.name] = values.astype(np.float32 if floats else info.dtype)
    return drawn


def _sound(source: Path, reference: Mapping[str, NDArray[Any]]) -> None:
    for name, values in reference.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise BadInput(
                f"{source} answers with NaN or infinity in '{name}'; a source has to be sound on these inputs."
            )


def _keep(made: Path, target: Path) -> None:
    """Put what was checked into its place, whole or not at all."""
    if made.is_dir():
        mlpackage.copy_package(made, target)
        return
    with made.open("rb") as stream, writing(target) as out:
        shutil.copyfileobj(stream, out)
