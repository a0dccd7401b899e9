"""The golden file: fixed inputs, labels, a reference's outputs and samples of its layers, in one .npz without pickle.

Beside the arrays lies a JSON header: the reference's name and hash, what each array is, and a checksum of them all, so
that a file that was changed is told from one that was kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import files_of
from edgelab.errors import BadFile, BadInput
from edgelab.feeding.arrays import Arrays, open_archive
from edgelab.files import writing
from edgelab.models.mlpackage import folder_hash, is_mlpackage

VERSION = 1
_HEADER = "header"
_MOST_HEADER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Layers:
    """Samples of a reference's tensors for the first ``items`` items: ``values[name]`` is (items, samples) float32.

    ``note`` says why there are none.
    """

    format: str
    items: int
    values: Mapping[str, NDArray[np.float32]]
    note: str = ""


@dataclass(frozen=True)
class Golden:
    """Fixed inputs with the outputs of a reference.

    Attributes
    ----------
    model
        The reference: ``file`` (its name), ``sha256``, ``bytes``, ``format``, ``runtime``.
    data
        The inputs, labels and groups.
    orders
        For each input the order of axes in which the reference takes it.
    outputs
        The reference's outputs by name, each (N, ...).
    logits
        The output that holds the logits (N, classes); None if there is none.
    layers
        Samples of the reference's tensors.
    matched
        What was done to give the data to the reference, as `Match.to_dict` has it.
    """

    model: Mapping[str, Any]
    data: Arrays
    orders: Mapping[str, str]
    outputs: Mapping[str, NDArray[Any]]
    logits: str | None
    layers: Layers
    matched: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def model_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a model file, and of the files beside it that hold its weights, in hexadecimal.

    Of a .mlpackage it is `edgelab.models.folder_hash`, without the identifiers that each saving draws anew.

    Raises
    ------
    BadFile
        If a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if is_mlpackage(path):
            return folder_hash(path)
        for file in files_of(path):
            with file.open("rb") as stream:
                while part := stream.read(2**20):
                    digest.update(part)
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror or error}).") from None
    return digest.hexdigest()


def write_golden(path: str | os.PathLike[str], golden: Golden) -> Path:
    """Write a golden file, whole or not at all.

    Raises
    ------
    BadFile
        If it cannot be written; what was there stays.
    """
    inputs, outputs, layers = golden.data.inputs, golden.outputs, golden.layers
    arrays: dict[str, NDArray[Any]] = {f"input_{i}": a for i, a in enumerate(inputs.values())}
    arrays |= {f"output_{i}": a for i, a in enumerate(outputs.values())}
    arrays |= {f"layer_{i}": a for i, a in enumerate(layers.values.values())}
    arrays |= {key: a for key in ("y", "group") if (a := getattr(golden.data, key)) is not None}
    header = {
        "edgelab_golden": VERSION,
        "model": dict(golden.model),
        "items": len(golden.data),
        "inputs": [{"name": name, "order": golden.orders[name]} for name in inputs],
        "outputs": list(outputs),
        "logits": golden.logits,
        "layers": {
            "format": layers.format,
            "items": layers.items,
            "names": list(layers.values),
            "note": layers.note,
        },
        "matched": [dict(entry) for entry in golden.matched],
        "sha256": _checksum(arrays),
    }
    text = np.frombuffer(json.dumps(header, ensure_ascii=True).encode("ascii"), np.uint8)
    with writing(path) as stream:
        np.savez(stream, **{_HEADER: text}, **arrays)  # type: ignore[arg-type]
    return Path(path)


def read_golden(path: str | os.PathLike[str]) -> Golden:
    """Read what `write_golden` wrote.

    Raises
    ------
    BadFile
        If the file is missing, is no golden file, is damaged, or was changed.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise BadFile(f"{file} {what}; name a file that `edgelab golden make` wrote.")
    with open_archive(file) as archive:
        if _HEADER not in archive.files:
            raise BadFile(f"{file} holds no header of a golden file; make one with `edgelab golden make`.")
        text = archive[_HEADER]
        arrays = {key: archive[key] for key in archive.files if key != _HEADER}
    try:
        sound = text.dtype == np.uint8 and text.ndim == 1 and text.size <= _MOST_HEADER_BYTES
        header = json.loads(text.tobytes() if sound else b"")
        version = header["edgelab_golden"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadFile(f"{file} has a damaged header; make it again with `edgelab golden make`.") from None
    if version != VERSION:
        raise BadFile(f"{file} is a golden file of version {version!r}, and {VERSION} is read here; make it again.")
    if not all(isinstance(a, np.ndarray) for a in arrays.values()) or header.get("sha256") != _checksum(arrays):
        raise BadFile(f"{file} was changed or damaged since it was made: its checksum differs; make it again.")
    try:
        return _from(header, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, BadInput) as error:
        reason = " ".join(str(error).split())[:120]
        raise BadFile(f"{file} is no sound golden file ({reason}); make it again with `edgelab golden make`.") from None


def _from(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Golden:
    inputs = {str(e["name"]): arrays[f"input_{i}"] for i, e in enumerate(header["inputs"])}
    outputs = {str(name): arrays[f"output_{i}"] for i, name in enumerate(header["outputs"])}
    stated = header["layers"]
    values = {str(name): arrays[f"layer_{i}"] for i, name in enumerate(stated["names"])}
    items = int(header["items"])
    if any(len(a) != items for a in (*inputs.values(), *outputs.values())):
        raise ValueError("an array has another number of items than the header states")
    model = {key: header["model"][key] for key in ("file", "sha256", "bytes", "format", "runtime")}
    logits = header["logits"]
    if logits is not None and logits not in outputs:
        raise ValueError("the logits are none of the outputs")
    return Golden(
        model,
        Arrays.by_name(inputs, arrays.get("y"), arrays.get("group")),
        {str(e["name"]): str(e["order"]) for e in header["inputs"]},
        outputs,
        logits,
        Layers(str(stated["format"]), int(stated["items"]), values, str(stated["note"])),
        header["matched"],
    )


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key} {array.dtype.str} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
