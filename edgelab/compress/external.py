"""Weights that an .onnx file keeps in other files: found, read, counted, and written where one file cannot hold all.

Exporters name such a file as they like and put it beside the model or in a folder below it; there may be one for each
tensor. The cache of a model hub links both to files that are named by their content, so that the folder which counts
is the one in which the link stands. Only a model of 2 GB and more needs such a file: a protobuf message ends there.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from edgelab.errors import BadFile
from edgelab.files import refuse_pointer, write_bytes, writing

MESSAGE_BYTES = 2**31 - 2**20
"""A protobuf message ends at 2 GB; a little of that is left for the graph itself."""
BESIDE_BYTES = 1024
"""Tensors smaller than this stay in the model, as shape inference needs the values of axes and shapes."""
_ALIGNED_TO = 64


def load(path: Path) -> Any:
    """The model of an .onnx file with all its weights in memory.

    Raises
    ------
    BadFile
        If a file of weights is missing, too short, or outside of the model's folder.
    """
    import onnx

    model = onnx.load(os.fspath(path), load_external_data=False)
    opened: dict[Path, mmap.mmap] = {}
    try:
        for tensor in tensors(model):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                _fill(tensor, path, opened)
    finally:
        for content in opened.values():
            content.close()
    return model


def _fill(tensor: Any, path: Path, opened: dict[Path, mmap.mmap]) -> None:
    import onnx

    entry = {pair.key: pair.value for pair in tensor.external_data}
    file = located(path, entry.get("location", ""))
    size = file.stat().st_size
    try:
        offset = int(entry.get("offset") or 0)
        length = int(entry.get("length") or size - offset)
    except ValueError:
        raise BadFile(f"{path} does not say where in {file.name} its weight '{tensor.name}' lies.") from None
    if offset < 0 or length < 0 or offset + length > size:
        raise BadFile(f"{file} is too short for the weights of {path}; fetch it again, whole.")
    if length and file not in opened:
        refuse_pointer(file)
        with file.open("rb") as stream:
            opened[file] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    content = opened[file][offset : offset + length] if length else b""
    if len(content) < _stored_bytes(tensor):
        raise BadFile(f"{path} gives its weight '{tensor.name}' fewer bytes than its shape takes; export it again.")
    tensor.raw_data = content
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT


def _stored_bytes(tensor: Any) -> int:
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    bits = 4 if kind.name.endswith("int4") or "float4" in kind.name else 8 * kind.itemsize
    return math.ceil(math.prod(tensor.dims) * bits / 8)


def located(path: Path, location: str) -> Path:
    """The file of weights that a model names: beside the model as it was given, or beside what a link leads to.

    Raises
    ------
    BadFile
        If there is none, or the name leads out of the model's folder.
    """
    for kind in (PurePosixPath, PureWindowsPath):
        named = kind(location)
        if not location or named.is_absolute() or named.drive or ".." in named.parts:
            raise BadFile(f"{path} keeps weights in {location!r}, which is not a file in its folder.")
    for folder in folders(path):
        if (file := folder / location).is_file():
            return file
    raise BadFile(f"{path} keeps weights in '{location}', which is not beside it; put it there under this name.")


def folders(path: Path) -> list[Path]:
    """Where a model's other files may stand: the folder of each link on the way to it, as it was given first."""
    found = [path.parent]
    seen = path
    while seen.is_symlink() and len(found) < 40:
        seen = seen.parent / seen.readlink()
        found.append(seen.parent)
    return list(dict.fromkeys(found))


def locations(model: Any) -> list[str]:
    """The names of the files of weights that a model refers to, each once."""
    import onnx

    names = (
        pair.value
        for tensor in tensors(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for pair in tensor.external_data
        if pair.key == "location"
    )
    return list(dict.fromkeys(names))


def tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a model: constants of the graph and of the graphs inside it, of attributes, of functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _of_graph(graph)


def is_large(model: Any) -> bool:
    """Whether one file cannot hold the model."""
    return sum(len(tensor.raw_data) or tensor.ByteSize() for tensor in tensors(model)) > MESSAGE_BYTES


def save(model: Any, path: Path) -> list[Path]:
    """Write a model, its large weights in ``NAME.data`` beside it where one file cannot hold them; the files.

    Each file is whole or absent, and the model comes last. The model in memory stays as it is.
    """
    import onnx

    if not is_large(model):
        return [write_bytes(path, model.SerializeToString())]
    beside = path.with_name(f"{path.name}.data")
    places: dict[int, tuple[int, int]] = {}
    position = 0
    held = [t for t in model.graph.initializer if len(t.raw_data) >= BESIDE_BYTES]
    with writing(beside) as stream:
        for number, tensor in enumerate(held):
            stream.write(b"\0" * (-position % _ALIGNED_TO))
            position += -position % _ALIGNED_TO
            places[number] = (position, len(tensor.raw_data))
            stream.write(tensor.raw_data)
            position += len(tensor.raw_data)
    kept = [(tensor, tensor.raw_data) for tensor in held]
    try:
        for number, tensor in enumerate(held):
            onnx.external_data_helper.set_external_data(tensor, beside.name, *places[number])
            tensor.ClearField("raw_data")
        write_bytes(path, model.SerializeToString())
    finally:
        for tensor, content in kept:
            del tensor.external_data[:]
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.raw_data = content
    return [path, beside]


def sizes_by_type(model: Any) -> Mapping[str, int]:
    """What the constants of a model take in bytes, by element type."""
    import onnx

    found: dict[str, int] = {}
    for tensor in tensors(model):
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name
        found[kind] = found.get(kind, 0) + _stored_bytes(tensor)
    return dict(sorted(found.items()))
