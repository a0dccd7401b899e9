"""Which model format a file holds, judged by its content; a suffix is only a name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Literal

from edgelab.errors import BadFile
from edgelab.files import expanded, is_pointer, refuse_pointer
from edgelab.models.mlpackage import check_package, is_mlpackage

ModelFormat = Literal["onnx", "tflite", "elf", "coreml"]

# Fields of ModelProto (onnx/onnx.proto3) with their protobuf wire types: 0 varint, 2 length-delimited.
_MODEL_PROTO = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_GRAPH_FIELD = 7
_POINTER_BYTES = 1024  # a pointer is smaller by the specification of Git LFS
_CORE_ML_TYPES = range(200, 4000)  # fields of a model's type in Model.proto of Core ML, behind version and description
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive (a PyTorch checkpoint, a Keras or a Core ML package)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (a Keras model or weights)"),
    (b"\x80\x02", "a pickle (a PyTorch checkpoint)"),
    (b"\x80\x04", "a pickle"),
    (b"GGUF", "a GGUF file (llama.cpp)"),
    (b"\x93NUMPY", "a numpy array"),
    (b"ORTM", "an ORT-format model"),
)


def existing_file(path: str | os.PathLike[str]) -> Path:
    """The path of a file that is there and holds something.

    Raises
    ------
    BadFile
        If it is missing, a folder, unreadable or empty.
    """
    file = expanded(path)
    try:
        if file.is_dir():
            raise BadFile(
                f"{file} is a folder; name a model file (.onnx or .tflite) or a Core ML package (.mlpackage)."
            )
        with file.open("rb") as stream:
            if not stream.read(1):
                raise BadFile(f"{file} is empty; write or download the model again.")
        refuse_pointer(file)
        _refuse_pointer_beside(file)
    except FileNotFoundError:
        raise BadFile(f"{file} does not exist; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadFile(f"{file!s} cannot be read ({reason}).") from None
    return file


def model_format(path: str | os.PathLike[str]) -> ModelFormat:
    """The format of a model file, judged by its first bytes and its outermost structure.

    Parameters
    ----------
    path
        A model file. Nothing but its outermost fields is read.

    Raises
    ------
    BadFile
        If the file is missing, empty, truncated, or neither ONNX, TensorFlow Lite, ELF (firmware) nor a Core ML
        package.
    """
    if is_mlpackage(path):
        return "coreml"
    _refuse_folder(expanded(path))
    file = existing_file(path)
    with file.open("rb") as stream:
        start = stream.read(16)
        if start[4:8] == b"TFL3":
            return "tflite"
        if start.startswith(b"\x7fELF"):
            return "elf"
        for magic, what in _FOREIGN:
            if start.startswith(magic):
                raise BadFile(f"{file} is {what}, not an .onnx or .tflite model; export or convert the model first.")
        verdict = _scan_model_proto(stream, file.stat().st_size)
    if verdict == "core ml":
        raise BadFile(
            f"{file} is a Core ML model in one file (.mlmodel), the older format or the inside of a package; name a "
            ".mlpackage with an ML Program, or convert the model to one."
        )
    if verdict == "whole":
        return "onnx"
    if verdict == "truncated":
        raise BadFile(f"{file} begins like an ONNX model and ends too early; it is truncated or damaged, get it again.")
    raise BadFile(f"{file} is neither an ONNX nor a TensorFlow Lite model; name a file that a converter wrote.")


def _refuse_folder(path: Path) -> None:
    """One sentence for a folder that would be a Core ML model."""
    if path.is_dir() and path.suffix == ".mlpackage":
        check_package(path)
    if path.is_dir() and path.suffix == ".mlmodelc":
        raise BadFile(f"{path} is a compiled Core ML model, which only macOS reads; name the .mlpackage it came from.")


def _refuse_pointer_beside(file: Path) -> None:
    """Raise if weights that an .onnx file keeps beside itself are a Git LFS pointer: small, and named in the file."""
    if file.suffix != ".onnx":
        return
    small = (f for f in file.parent.iterdir() if f.is_file() and f != file and 0 < f.stat().st_size < _POINTER_BYTES)
    pointers = [f for f in small if is_pointer(f)]
    if not pointers:
        return
    content = file.read_bytes()
    for pointer in pointers:
        if pointer.name.encode() in content:
            refuse_pointer(pointer)


def _scan_model_proto(stream: IO[bytes], size: int) -> Literal["whole", "truncated", "foreign", "core ml"]:
    """Walk the outermost fields of a protobuf message (https://protobuf.dev/programming-guides/encoding)."""
    stream.seek(0)
    fields: set[int] = set()
    while stream.tell() < size:
        tag = _varint(stream)
        if tag is not None and tag >> 3 in _CORE_ML_TYPES and 1 in fields <= {1, 2}:
            return "core ml"
        if tag is None or _MODEL_PROTO.get(tag >> 3) != tag & 7:
            return "truncated" if _GRAPH_FIELD in fields or {1, 2} <= fields else "foreign"
        value = _varint(stream)
        if value is None:
            return "truncated" if fields else "foreign"
        if tag & 7 == 2:
            if stream.tell() + value > size:
                return "truncated" if 1 in fields or tag >> 3 == _GRAPH_FIELD else "foreign"
            stream.seek(value, os.SEEK_CUR)
        fields.add(tag >> 3)
    if _GRAPH_FIELD in fields and 1 in fields:
        return "whole"
    return "truncated" if {1, 2} <= fields else "foreign"


def _varint(stream: IO[bytes]) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
