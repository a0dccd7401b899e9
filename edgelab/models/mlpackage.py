"""A Core ML package (.mlpackage): a folder that stands for one file. Its size, its hash, copies of it, its checks.

Core ML keeps a network as a folder: ``Manifest.json``, ``Data/com.apple.CoreML/model.mlmodel`` (the program, a
protobuf message) and ``Data/com.apple.CoreML/weights/weight.bin`` (the constants, in Apple's blob format). What the
file system says about the folder itself (4,096 bytes, say) is the size of a directory entry.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile, BadInput, MissingFramework
from edgelab.files import expanded, refuse_pointer
from edgelab.quiet import first_line, silenced

_BLOB_SENTINEL = 0xDEADBEEF  # BlobMetadata of Apple's MIL blob storage, version 2
_BLOB_HEADER = 64
_OTHERS = ("torch", "sklearn", "xgboost", "libsvm")
INSTALL = "uv sync --group coreml"


def coremltools(*, bare: bool = False) -> Any:
    """The module coremltools, imported without TensorFlow and without its chatter.

    It imports every framework that it finds; TensorFlow alone costs as much as the rest and is not needed to
    convert PyTorch networks, so it is hidden during the import if nobody has loaded it. ``bare`` hides PyTorch and
    scikit-learn as well, for a process that reads packages and converts nothing: a tenth of the memory.

    Raises
    ------
    MissingFramework
        If coremltools is not installed.
    """
    if "coremltools" in sys.modules:
        return sys.modules["coremltools"]
    hidden = [name for name in ("tensorflow", *(_OTHERS if bare else ())) if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # the way to make an import fail
    try:
        with silenced():
            import coremltools as module
    except ImportError as error:
        raise MissingFramework(f"coremltools is not installed ({first_line(error)}); add it with: {INSTALL}") from None
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
    return module


def is_mlpackage(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is a folder with the manifest of a Core ML package."""
    manifest = expanded(path) / "Manifest.json"
    with contextlib.suppress(OSError, ValueError):
        return "rootModelIdentifier" in json.loads(manifest.read_text(encoding="utf-8"))
    return False


def files_of(path: str | os.PathLike[str]) -> list[Path]:
    """The files of a package in the order of their names.

    Raises
    ------
    BadFile
        If it is not a folder, or holds links, which could lead anywhere.
    """
    folder = expanded(path)
    if not folder.is_dir():
        raise BadFile(f"{folder} is not a folder; a Core ML package is one, with a name that ends in .mlpackage.")
    entries = sorted(folder.rglob("*"))
    links = [entry for entry in entries if entry.is_symlink()]
    if links:
        raise BadFile(f"{folder} holds a link ({links[0].name}); a Core ML package holds files alone, get it again.")
    return [entry for entry in entries if entry.is_file()]


def folder_bytes(path: str | os.PathLike[str]) -> int:
    """Bytes of all files of a package (or of a plain file): what a download carries, before any compression.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name, size in {"a": 3, "b": 4}.items():
    ...     _ = (folder / name).write_bytes(bytes(size))
    >>> folder_bytes(folder)
    7
    """
    file = expanded(path)
    return file.stat().st_size if file.is_file() else sum(part.stat().st_size for part in files_of(file))


def folder_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 over names and contents of a package's files; the identifiers of the manifest, drawn anew, stay out."""
    total = hashlib.sha256()
    for file in files_of(path):
        if file.name != "Manifest.json":
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(f"{file.relative_to(path).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def check_package(path: str | os.PathLike[str]) -> Path:
    """The folder if it is a whole Core ML package whose constants lie inside their file.

    Raises
    ------
    BadFile
        If a part is missing, empty or cut short, or a constant points outside the file of the weights.
    """
    folder = expanded(path)
    if not folder.exists():
        raise BadFile(f"{folder} does not exist; check the path.")
    for file in files_of(folder) if folder.is_dir() else ():
        refuse_pointer(file)
    if not is_mlpackage(folder):
        raise BadFile(f"{folder} is not a Core ML package: it has no readable Manifest.json.")
    model = model_file(folder)
    if not model.stat().st_size:
        raise BadFile(f"{model} is empty; write or download the package again.")
    for file in files_of(folder):
        if file.suffix == ".bin":
            _check_blobs(file)
    return folder


def model_file(folder: Path) -> Path:
    """The file of the program inside a package.

    Raises
    ------
    BadFile
        If the manifest names none, or one that is not there or outside of the folder.
    """
    manifest = json.loads((folder / "Manifest.json").read_text(encoding="utf-8"))
    try:
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
        model: Path = (folder / "Data" / entry).resolve()
    except (KeyError, TypeError, ValueError, OSError):
        raise BadFile(f"{folder} is damaged: its Manifest.json names no model.") from None
    if not model.is_file() or folder.resolve() not in model.parents:
        raise BadFile(f"{folder} is damaged: the model that its Manifest.json names is not in it.")
    return model


def read_spec(path: str | os.PathLike[str]) -> Any:
    """The program of a package as the protobuf message that it is, its weights left where they are.

    Raises
    ------
    BadFile
        If the package is missing, incomplete or damaged, holds no ML Program, or more than one function.
    MissingFramework
        If coremltools is not installed.
    """
    folder = check_package(path)
    spec = coremltools().proto.Model_pb2.Model()
    try:
        spec.ParseFromString(model_file(folder).read_bytes())
    except Exception as error:  # noqa: BLE001 - protobuf's own errors
        raise BadFile(f"{folder} is damaged: its program is not readable ({first_line(error)}).") from None
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise BadFile(
            f"{folder} holds {f'a model of type {kind}' if kind else 'no model'}, not an ML Program; convert the "
            "network again with convert_to='mlprogram'."
        )
    names = sorted(spec.mlProgram.functions)
    if len(names) > 1:
        raise BadFile(
            f"{folder} holds {len(names)} functions ({', '.join(names)}), and packages of one are read here; save one "
            "of them as a package of its own."
        )
    return spec


def main_block(spec: Any, folder: Path) -> Any:
    """The operators of a package's function, as its protobuf message has them."""
    name = spec.description.defaultFunctionName or "main"
    if name not in spec.mlProgram.functions:
        raise BadFile(f"{folder} is damaged: it has no function {name!r}.")
    function = spec.mlProgram.functions[name]
    if function.opset not in function.block_specializations:
        raise BadFile(f"{folder} is damaged: its function has no operators.")
    return function.block_specializations[function.opset]


def check_blob(weights: Path, offset: int) -> int:
    """Bytes of the constant that begins at ``offset`` of the weights, which has to end inside them.

    Raises
    ------
    BadFile
        If not.
    """
    damaged = BadFile(f"{weights} is truncated or damaged (a constant at byte {offset:,}); get the package again.")
    if not weights.is_file():
        raise BadFile(f"{weights} is missing, and the package's model refers to it; get the package again.")
    size = weights.stat().st_size
    if offset + _BLOB_HEADER > size:
        raise damaged
    with weights.open("rb") as stream:
        stream.seek(offset)
        sentinel, _, length, start = struct.unpack("<IIQQ", stream.read(24))
    if sentinel != _BLOB_SENTINEL or start + length > size:
        raise damaged
    return int(length)


def _check_blobs(weights: Path) -> None:
    """The header of a file of weights: how many constants, and version 2 of the format."""
    with weights.open("rb") as stream:
        start = stream.read(8)
    if len(start) < 8 or struct.unpack("<II", start)[1] != 2:
        raise BadFile(f"{weights} is truncated or damaged; get the package again.")


@contextlib.contextmanager
def writing_package(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` to save a package at; it is moved there when the block ends without an error.

    Raises
    ------
    BadInput
        If the name does not end in .mlpackage.
    BadFile
        If the package cannot be written.
    """
    target = expanded(path)
    target = target.resolve() if target.is_symlink() else target  # the link stays
    if target.suffix != ".mlpackage":
        raise BadInput(f"{target} needs a name that ends in .mlpackage: Core ML knows a package by it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
            temporary = Path(folder) / target.name
            yield temporary
            old = Path(folder) / "old"
            if target.exists():
                target.rename(old)
            temporary.rename(target)
    except OSError as error:
        raise BadFile(f"{target} could not be written ({error.strerror or error}); nothing was changed.") from error


def copy_package(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
    """A copy of a package, whole or not at all."""
    check_package(source)
    with writing_package(target) as temporary:
        shutil.copytree(source, temporary)
    return expanded(target)
