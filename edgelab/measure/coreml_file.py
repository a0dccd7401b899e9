"""What a Core ML package holds, read from its program without running it or loading its weights.

It runs in a child process (`edgelab.measure.inspect`). The program is a protobuf message of MIL operators
(https://apple.github.io/coremltools/mlmodel/Format/MIL.html); `edgelab.measure.coreml_weights` follows its constants.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile
from edgelab.measure.coreml_weights import Constants, shape_of, type_of
from edgelab.measure.facts import MAX_ELEMENTS, clipped, facts, shown
from edgelab.models import mlpackage

_WEIGHTED = {"conv": "weight", "conv_transpose": "weight", "linear": "weight", "matmul": "y", "einsum": "values"}
_NO_LAYERS = frozenset({"const", "classify"})
_PRODUCER = "com.github.apple.coremltools.version"
_PIXEL = 255.0
_TEXTS = {"author": "author", "license": "license", "version": "versionString", "description": "shortDescription"}

_Shape = tuple[int | None, ...]


class Host:
    """The child's side of `edgelab.measure.inspect.inspect_model` for .mlpackage folders."""

    def __init__(self, path: str) -> None:
        self._path = path

    def describe(self) -> dict[str, Any]:
        """The facts of the package as JSON-ready data."""
        return read(self._path)


def read(path: str) -> dict[str, Any]:
    """The facts of a Core ML package; see `edgelab.measure.facts.facts`.

    Raises
    ------
    BadFile
        If the package is damaged, states something absurd, holds no ML Program, or several functions.
    MissingFramework
        If coremltools is not installed.
    """
    mlpackage.coremltools(bare=True)
    spec = mlpackage.read_spec(path)
    block = mlpackage.main_block(spec, Path(path))
    weights = mlpackage.model_file(Path(path)).parent / "weights"
    try:
        return _Reader(path, spec, block, weights).facts()
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadFile(f"{path} is damaged: its parts do not hold together ({clipped(str(error))}).") from None


class _Reader:
    def __init__(self, path: str, spec: Any, block: Any, weights: Path) -> None:
        self._path, self._spec, self._block = path, spec, block
        self._function = spec.mlProgram.functions[spec.description.defaultFunctionName or "main"]
        self._constants = Constants(weights)
        self._shapes: dict[str, _Shape] = {}
        self._labels: list[str] = []

    def facts(self) -> dict[str, Any]:
        for entry in self._function.inputs:
            self._shapes[entry.name] = self._sized(shape_of(entry.type))
        layers = [self._layer(op) for op in self._operators(self._block) if op.type not in _NO_LAYERS]
        found = self._constants
        description = self._spec.description
        made = dict(description.metadata.userDefined)
        return facts(
            format="coreml",
            producer=clipped(f"coremltools {made[_PRODUCER]}") if _PRODUCER in made else "unknown",
            version={"specification": int(self._spec.specificationVersion), "opset": clipped(self._function.opset)},
            inputs=[self._port(feature, given=True) for feature in description.input],
            outputs=[self._port(feature, given=False) for feature in description.output],
            quantization=found.quantization(layers),
            layers=layers,
            weight_bytes=found.bytes_by_type,
            external_bytes=0,
            metadata=self._metadata(made),
            labels=self._labels,
        )

    def _metadata(self, made: Mapping[str, str]) -> dict[str, str]:
        stated = self._spec.description.metadata
        texts = {name: getattr(stated, field) for name, field in _TEXTS.items()}
        return {clipped(name): clipped(text) for name, text in {**texts, **made}.items() if text}

    def _operators(self, block: Any) -> Iterator[Any]:
        """The operators that compute, in their order, those of branches and loops among them."""
        for op in block.operations:
            for out in op.outputs:
                self._shapes[out.name] = self._sized(shape_of(out.type))
            if op.type == "const" or op.type.startswith("constexpr_"):
                self._constants.enter(op)
                continue
            if op.type == "classify":
                self._labels = [clipped(str(label)) for label in self._constants.values(op, "classes")]
            yield op
            for inner in op.blocks:
                yield from self._operators(inner)

    def _layer(self, op: Any) -> dict[str, Any]:
        kind = str(op.type)
        out = op.outputs[0] if op.outputs else None
        weight = _WEIGHTED.get(kind)
        how = self._constants.weight_of(op, weight) if weight else None
        return {
            "name": clipped(out.name if out is not None else kind),
            "type": clipped(kind),
            "macs": self._macs(op) if weight else 0,
            "parameters": self._constants.count(op),
            "shape": list(self._shapes[out.name]) if out is not None else [],
            "dtype": type_of(out.type) if out is not None else "unknown",
            "quantized": None if how is None else bool(how),
            "compression": how or None,
        }

    def _macs(self, op: Any) -> int | None:
        """Multiply-accumulates of one operator; None where a shape is not known."""
        kind = op.type
        out = _known(self._shapes.get(op.outputs[0].name))
        if kind == "einsum":
            return self._einsum(op)
        first, weight = (self._operand(op, name) for name in ("x", _WEIGHTED[kind]))
        if kind == "conv_transpose":
            return math.prod(first) * math.prod(weight[1:]) if first and weight else None
        if out is None or not weight:
            return None
        if kind == "conv":
            return math.prod(out) * math.prod(weight[1:])
        if kind == "linear":
            return math.prod(out) * weight[-1]
        turned = bool((self._constants.values(op, "transpose_x") or [False])[0])
        return None if not first else math.prod(out) * first[-2 if turned and len(first) > 1 else -1]

    def _einsum(self, op: Any) -> int | None:
        equation = str((self._constants.values(op, "equation") or [""])[0])
        terms = equation.partition("->")[0].split(",")
        shapes = [_known(self._shapes.get(a.name)) for a in op.inputs["values"].arguments]
        sizes: dict[str, int] = {}
        for term, shape in zip(terms, shapes, strict=False):
            if shape is None or len(shape) != len(term):
                return None
            sizes.update(zip(term, shape, strict=True))
        return math.prod(sizes.values()) if len(terms) > 1 else 0

    def _operand(self, op: Any, name: str) -> tuple[int, ...] | None:
        if name not in op.inputs or not op.inputs[name].arguments:
            return None
        given = op.inputs[name].arguments[0]
        shape = self._sized(shape_of(given.value.type)) if given.value.ByteSize() else self._shapes.get(given.name)
        return _known(shape)

    def _sized(self, shape: _Shape) -> _Shape:
        if math.prod(n or 1 for n in shape) > MAX_ELEMENTS:
            raise BadFile(f"{self._path} is damaged: a tensor has the absurd shape {shown(shape)}.")
        return shape

    def _port(self, feature: Any, *, given: bool) -> dict[str, Any]:
        """An input or output as an application sees it: its type from the description, its shape from the program."""
        kind = feature.type.WhichOneof("Type")
        shape = self._shapes.get(feature.name)
        port = {"name": clipped(feature.name), "scale": None, "zero_point": None, "image": ""}
        if kind == "imageType":
            colour = feature.type.imageType
            layout = str(colour.ColorSpace.Name(colour.colorSpace))
            depth = 3 if layout in ("RGB", "BGR") else 1
            stated = (1, depth, int(colour.height) or None, int(colour.width) or None)
            bytes_ = given and not layout.endswith("FLOAT16")
            scaled = {"scale": 1 / _PIXEL, "zero_point": 0} if bytes_ else {}
            dtype = "float16" if layout.endswith("FLOAT16") else "uint8"
            return {**port, "shape": list(shape or stated), "dtype": dtype, **scaled, "image": layout}
        if kind == "multiArrayType":
            array = feature.type.multiArrayType
            dtype = str(array.ArrayDataType.Name(array.dataType)).lower().replace("double", "float64")
            stated_shape: Sequence[int | None] = [int(n) or None for n in array.shape]
            return {**port, "shape": list(stated_shape if shape is None else shape), "dtype": dtype}
        if kind == "dictionaryType":  # a classifier's shares
            return {**port, "shape": [1, len(self._labels) or None], "dtype": "float32"}
        return {**port, "shape": [1], "dtype": {"stringType": "string", "int64Type": "int64"}.get(kind, str(kind))}


def _known(shape: _Shape | None) -> tuple[int, ...] | None:
    if shape is None:
        return None
    sizes = tuple(n for n in shape if n is not None)
    return sizes if len(sizes) == len(shape) else None
