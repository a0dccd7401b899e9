"""What an ONNX file holds, read from its protobuf without running it.

Shapes come from ONNX's own shape inference, which is native code: this module runs in a child process
(`edgelab.measure.inspect`). Weights in external files are counted, never loaded, and must lie beside the model.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from edgelab.errors import BadFile, MissingFramework
from edgelab.models import onnx_hints, onnx_macs, onnx_standins
from edgelab.models.facts import MAX_ELEMENTS, clipped, facts, shown
from edgelab.models.onnx_weights import BITS, Constant, Weights, quantization

# Shape inference reads the values of small integer constants (shapes, axes), never those of weights.
_KEPT_BYTES = 4096
# Links that lead to links, before they are taken for a circle.
_LINKS = 40

_NAMES = {"FLOAT": "float32", "DOUBLE": "float64"}

_Shape = tuple[int | None, ...]


class Host:
    """The child's side of `edgelab.measure.inspect.inspect_model` for .onnx files."""

    def __init__(self, path: str, shapes: Mapping[str, Sequence[int | None]] | None = None) -> None:
        self._path = path
        self._shapes = shapes or {}

    def describe(self) -> dict[str, Any]:
        """The facts of the file as JSON-ready data."""
        return read(self._path, self._shapes)


def read(path: str, shapes: Mapping[str, Sequence[int | None]] | None = None) -> dict[str, Any]:
    """The facts of an .onnx file; see `edgelab.models.facts.facts`.

    ``shapes`` are sizes for the open axes of inputs by name, None where one stays open.

    Raises
    ------
    BadFile
        If the file is damaged, states something absurd, or refers to weights outside of its folder.
    MissingFramework
        If onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingFramework(f"onnx is not installed ({error}); add it with: uv pip install onnx") from None
    content = Path(path).read_bytes()
    try:
        model = onnx.ModelProto.FromString(content)
    except (DecodeError, ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not a readable ONNX model ({clipped(str(error))}); get it again.") from None
    if not model.HasField("graph"):
        raise BadFile(f"{path} holds no graph.")
    try:
        return _Reader(path, onnx, model, shapes or {}).facts()
    except (TypeError, ValueError) as error:  # protobuf gives bytes for a text that is none
        raise BadFile(f"{path} is damaged: its parts do not hold together ({clipped(str(error))}).") from None


class _Reader:
    def __init__(self, path: str, onnx: Any, model: Any, given: Mapping[str, Sequence[int | None]]) -> None:
        self._given = given
        self._path = path
        self._onnx = onnx
        self._model = model
        self._types = {number: name for name, number in onnx.TensorProto.DataType.items()}
        self._external = 0

    def facts(self) -> dict[str, Any]:
        model = self._model
        stated_inputs, stated_outputs = self._interface()
        self._external = self._external_bytes()
        if model.functions:
            model = self._inlined(model)
        shapes, kinds = self._inferred(model)
        constants = self._constants(model)
        placed = list(_placed(model.graph))
        nodes = [node for node, _ in placed]
        weights = Weights(constants)
        layers = [self._layer(node, weights, shapes, kinds, inside) for node, inside in placed]
        return facts(
            format="onnx",
            producer=clipped(f"{model.producer_name} {model.producer_version}".strip()) or "unknown",
            version={
                "ir": int(model.ir_version),
                "opset": {clipped(o.domain) or "ai.onnx": int(o.version) for o in model.opset_import},
            },
            inputs=stated_inputs,
            outputs=stated_outputs,
            quantization=quantization(nodes, layers, weights, constants, kinds),
            layers=layers,
            weight_bytes=weights.bytes_by_type,
            external_bytes=self._external,
            hints=onnx_hints.hints(self._model, stated_inputs),
        )

    def _interface(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        graph = self._model.graph
        constants = {tensor.name for tensor in graph.initializer}
        inputs = [self._info(value) for value in graph.input if value.name not in constants]
        return inputs, [self._info(value) for value in graph.output]

    def _info(self, value: Any) -> dict[str, Any]:
        tensor = value.type.tensor_type
        shape, kind = self._shape(tensor), self._type_name(tensor.elem_type)
        if not value.type.HasField("tensor_type"):
            kind = str(value.type.WhichOneof("value") or "undefined").removesuffix("_type")
        axes = [clipped(d.dim_param) if any(map(str.isalnum, d.dim_param)) else "" for d in tensor.shape.dim]
        return {
            "name": clipped(value.name),
            "shape": list(shape or ()),
            "dtype": kind,
            "scale": None,
            "zero_point": None,
            "axes": axes if any(axes) else [],
            "ranked": shape is not None or not value.type.HasField("tensor_type"),
        }

    def _shape(self, tensor: Any) -> _Shape | None:
        if not tensor.HasField("shape"):
            return None
        # a size of 0 may be stated; negative ones stand for open axes in older files
        sizes = tuple(
            int(d.dim_value) if d.HasField("dim_value") and d.dim_value >= 0 else None for d in tensor.shape.dim
        )
        if math.prod(n or 1 for n in sizes) > MAX_ELEMENTS:
            raise BadFile(f"{self._path} is damaged: a tensor has the absurd shape {shown(sizes)}.")
        return sizes

    def _type_name(self, number: int) -> str:
        name = str(self._types.get(number, f"type {number}"))
        return _NAMES.get(name, name.lower())

    def _inlined(self, model: Any) -> Any:
        try:
            return self._onnx.inliner.inline_local_functions(model)
        except (RuntimeError, ValueError, AttributeError) as error:
            raise BadFile(f"{self._path} has functions that do not resolve ({clipped(str(error))}).") from None

    def _inferred(self, model: Any) -> tuple[dict[str, _Shape | None], dict[str, str]]:
        """Shapes and element types by tensor name, with 1 for an open batch, by ONNX's shape inference."""
        plain = self._prepared(model)
        # Without shapes the rest of the report still stands.
        with contextlib.suppress(self._onnx.shape_inference.InferenceError, RuntimeError, ValueError):
            plain = self._onnx.shape_inference.infer_shapes(plain, data_prop=True)
        shapes: dict[str, _Shape | None] = {}
        kinds: dict[str, str] = {}
        for graph in _graphs(plain.graph):
            for value in [*graph.input, *graph.value_info, *graph.output]:
                if value.type.HasField("tensor_type"):
                    shapes[value.name] = self._shape(value.type.tensor_type)
                    kinds[value.name] = self._type_name(value.type.tensor_type.elem_type)
            for tensor in graph.initializer:
                shapes[tensor.name], kinds[tensor.name] = tuple(tensor.dims), self._type_name(tensor.data_type)
        return shapes, kinds

    def _prepared(self, model: Any) -> Any:
        """A copy for shape inference: the batch set to 1, old shapes and the content of large tensors left out.

        A first axis that was given as open is no batch (the steps of a time-major file) and stays open.
        """
        plain = self._onnx.ModelProto()
        plain.CopyFrom(model)
        del plain.graph.value_info[:]
        for value in plain.graph.input:
            shape = value.type.tensor_type.shape
            self._give(value.name, value.type)
            is_length = self._given.get(clipped(value.name), (1,))[:1] == [None]
            if shape.dim and shape.dim[0].dim_value <= 0 and not _empty(shape.dim[0]) and not is_length:
                shape.dim[0].dim_value = 1
        for value in plain.graph.output:
            value.type.tensor_type.ClearField("shape")
        for tensor in _tensors(plain.graph):
            if len(tensor.raw_data) > _KEPT_BYTES:
                tensor.ClearField("raw_data")
        for graph in list(_graphs(plain.graph)):
            onnx_standins.replace(graph)
        return plain

    def _give(self, name: str, kind: Any) -> None:
        """Put the sizes that were given for an input into its open axes."""
        sizes = self._given.get(clipped(name))
        if sizes is None or not kind.HasField("tensor_type"):
            return
        tensor = kind.tensor_type
        if not tensor.HasField("shape") and None not in sizes:
            for _ in sizes:
                tensor.shape.dim.add()
        for dim, size in zip(tensor.shape.dim, sizes, strict=False):
            if size is not None and (not dim.HasField("dim_value") or dim.dim_value < 0):
                dim.dim_value = size

    def _constants(self, model: Any) -> dict[str, Constant]:
        found: dict[str, Constant] = {}
        for graph in _graphs(model.graph):
            for tensor in graph.initializer:
                found[tensor.name] = self._constant(tensor)
            for node in graph.node:
                if node.op_type == "Constant" and node.output:
                    for attribute in node.attribute:
                        if attribute.name == "value" and attribute.HasField("t"):
                            found[node.output[0]] = self._constant(attribute.t)
        return found

    def _constant(self, tensor: Any) -> Constant:
        dims = tuple(int(n) for n in tensor.dims)
        if any(n < 0 for n in dims) or math.prod(dims) > MAX_ELEMENTS:
            raise BadFile(
                f"{self._path} is damaged: the tensor '{clipped(tensor.name)}' has the absurd shape {shown(dims)}."
            )
        kind = self._types.get(tensor.data_type, "")
        if kind not in BITS:
            raise BadFile(
                f"{self._path} is damaged: the tensor '{clipped(tensor.name)}' has the unknown type {tensor.data_type}."
            )
        constant = Constant(dims, self._type_name(tensor.data_type), -(-math.prod(dims) * BITS[kind] // 8))
        if tensor.HasField("raw_data") and len(tensor.raw_data) < constant.stored_bytes:
            raise BadFile(
                f"{self._path} is damaged: the tensor '{clipped(tensor.name)}' needs {constant.stored_bytes} bytes "
                f"and {len(tensor.raw_data)} are stored."
            )
        return constant

    def _external_bytes(self) -> int:
        """Bytes of the external files that the model refers to; they must lie in its folder and be long enough.

        The folder of a link counts as well as that of the file it leads to: a model cache keeps links to files that are
        called by their content.
        """
        folders = _folders(Path(self._path))
        roots = {folder.resolve() for folder in folders}
        sizes: dict[Path, int] = {}
        for tensor in _tensors(self._model.graph):
            if tensor.data_location != self._onnx.TensorProto.EXTERNAL:
                continue
            entry = {pair.key: pair.value for pair in tensor.external_data}
            name = entry.get("location", "")
            outside = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or "\0" in name or not name
            places = [] if outside else [folder / name for folder in folders]
            file = next((place for place in places if place.is_file()), places[-1] if places else Path()).resolve()
            if outside or not any(file.is_relative_to(root) for root in roots) or file in roots:
                raise BadFile(
                    f"{self._path} refers to weights outside of its folder ('{clipped(name)}'); do not use this file."
                )
            if file not in sizes:
                if not file.is_file():
                    raise BadFile(f"{self._path} keeps its weights in '{clipped(name)}', which is not beside it.")
                sizes[file] = file.stat().st_size
            numbers = [entry.get("offset", "0"), entry.get("length", "0")]
            if not all(n.isdecimal() and len(n) < 20 for n in numbers) or sum(map(int, numbers)) > sizes[file]:
                raise BadFile(
                    f"{self._path} refers to weights beyond the end of '{clipped(name)}'; get both files again."
                )
        return sum(sizes.values())

    def _layer(
        self,
        node: Any,
        weights: Weights,
        shapes: Mapping[str, _Shape | None],
        kinds: Mapping[str, str],
        inside: str,
    ) -> dict[str, Any]:
        kind = str(node.op_type)
        parameters = weights.count(node)
        out = node.output[0] if node.output else ""
        shape = shapes.get(out)
        macs = onnx_macs.macs(node, shapes)
        return {
            "name": clipped(node.name or out),
            "type": clipped(kind),
            # how often a body runs, and which branch does, only a run tells
            "macs": None if inside and macs else macs,
            "parameters": parameters,
            "shape": None if shape is None else list(shape),
            "dtype": kinds.get(out, "unknown"),
            "quantized": weights.quantized(node),
            "inside": inside,
        }


def _folders(path: Path) -> list[Path]:
    """The folder of a model file as it was given, then those of the files that links lead to."""
    found, seen = [path.parent], path
    while seen.is_symlink() and len(found) < _LINKS:
        seen = seen.parent / seen.readlink()
        found.append(seen.parent)
    return list(dict.fromkeys(found))


def _empty(dim: Any) -> bool:
    """Whether a file states that an axis has the size 0."""
    return bool(dim.HasField("dim_value")) and dim.dim_value == 0


def _graphs(graph: Any) -> Iterator[Any]:
    """The graph and those inside of its operators (branches, loop bodies); protobuf bounds how deep they nest."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _graphs(inner)


def _placed(graph: Any, inside: str = "") -> Iterator[tuple[Any, str]]:
    """Every node with the operator whose branch or body it stands in, nothing in the graph itself."""
    for node in graph.node:
        yield node, inside
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _placed(inner, clipped(node.op_type))


def _tensors(graph: Any) -> Iterable[Any]:
    for part in _graphs(graph):
        yield from part.initializer
        for node in part.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
