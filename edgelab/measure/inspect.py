"""What is in a model file: inputs, outputs, quantization, operators, parameters, multiply-accumulates, bytes.

Nothing is run. The file is read in a child process with limits on time and memory, so that a hostile one costs
a sentence and no more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgelab.engines.base import TensorInfo
from edgelab.feeding.facts import TITLES, read_facts
from edgelab.feeding.options import FeedOptions
from edgelab.feeding.plan import ModelFile, planned_sizes
from edgelab.files import expanded
from edgelab.reading import Cell, Table

_SHOWN_LABELS = 5
_NO_ARRAYS = ("sequence", "map", "optional")
_KINDS = {
    "none": "none",
    "static": "weights and activations",
    "dynamic": "weights; activations while it runs",
    "weights_only": "weights only",
}


@dataclass(frozen=True)
class Layer:
    """One operator of the graph.

    ``macs`` multiply-accumulates of one inference, None where they cannot be known: the file leaves a shape open, the
    operator stands inside of another one, which may run it any number of times, or it is its maker's own;
    ``parameters`` the constants that it is the first to read; ``shape`` (None if unknown) and ``dtype`` of its first
    output;
    ``quantized`` whether its weights are quantized, None for an operator that has none.
    """

    name: str
    type: str
    macs: int | None
    parameters: int
    shape: tuple[int | None, ...] | None
    dtype: str
    quantized: bool | None
    inside: str = ""
    """The operator whose branch or body it stands in (``"If"``, ``"Loop"``, ``"Scan"``), or ``"another graph"``."""
    compression: str | None = None
    """How a Core ML package stores its weights: ``"palette of 4 bits"``, ``"int8 per channel"``, ``"sparse"``, ..."""


@dataclass(frozen=True)
class Quantization:
    """How a model is quantized.

    Attributes
    ----------
    kind
        ``"none"``, ``"static"`` (weights and activations), ``"dynamic"`` (weights; activations while it
        runs) or ``"weights_only"`` (computed in floating point).
    scheme
        ``"QDQ"``, ``"QOperator"`` or ``"MatMulNBits"`` for ONNX, ``"TFLite"``, for Core ML ``"linear"``, ``"palette"``,
        ``"sparse"`` and what is joined of them, or None.
    granularity
        Scales (or tables) of the weights: ``"per_tensor"``, ``"per_channel"``, ``"per_block"``, ``"per_group"``,
        ``"mixed"``, or None.
    weights, activations
        Element types of the quantized ones.
    weighted_operators, quantized_operators
        Operators with weights (convolutions, matrix products), and how many of them have quantized ones.
    """

    kind: str
    scheme: str | None
    granularity: str | None
    weights: tuple[str, ...]
    activations: tuple[str, ...]
    weighted_operators: int
    quantized_operators: int


@dataclass(frozen=True)
class ModelReport:
    """What `inspect_model` found.

    Attributes
    ----------
    file
        The path as given.
    format
        ``"onnx"``, ``"tflite"`` or ``"coreml"``.
    producer
        What wrote the file, as it says itself.
    version
        ``{"ir": 10, "opset": {"ai.onnx": 18}}``, ``{"schema": 3}`` or ``{"specification": 9, "opset": "CoreML8"}``.
    bytes
        Size of the file and of the files with external weights that it refers to; of all files of a package.
    inputs, outputs
        As stated; None for an open dimension.
    quantization
        See `Quantization`.
    layers
        The operators in their order.
    weight_bytes
        Stored bytes of the parameters by element type (scales, shapes and the like left out; of a Core ML package the
        tables, scales and masks of compressed weights are counted).
    metadata
        What a Core ML package says of itself: author, license, version, description, and its makers' entries.
    labels
        The class names that a Core ML classifier carries.
    hints
        What the file says of the sizes of inputs that leave axes open, in metadata or as the converter saw them.
    sizes
        The shapes of the inputs by which multiply-accumulates were counted; None for an axis that stayed open.
    """

    file: str
    format: str
    producer: str
    version: dict[str, Any]
    bytes: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    quantization: Quantization
    layers: tuple[Layer, ...]
    weight_bytes: dict[str, int]
    metadata: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    hints: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Elements of all weights, biases and other constants that the operators compute with."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one inference, an open batch counted as 1.

        Convolutions (transposed ones, too), fully connected and recurrent layers and matrix products count, by the
        shapes of their outputs and weights; element-wise arithmetic does not. None if those of one operator cannot be
        known: see `Layer`.
        """
        counts = [layer.macs for layer in self.layers]
        return None if None in counts else sum(n for n in counts if n is not None)

    def operators(self) -> list[dict[str, Any]]:
        """Operators by type, the most expensive first: type, count, macs, parameters."""
        grouped: dict[str, list[Layer]] = {}
        for layer in self.layers:
            grouped.setdefault(layer.type, []).append(layer)
        rows = [
            {
                "type": kind,
                "count": len(layers),
                "macs": _total(layers),
                "parameters": sum(n.parameters for n in layers),
            }
            for kind, layers in grouped.items()
        ]
        return sorted(rows, key=lambda row: (-(row["macs"] or 0), -row["parameters"], row["type"]))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data, stable from version to version.

        ``{"file", "format", "producer", "version", "bytes",
        "inputs": [{"name", "shape", "dtype", "scale", "zero_point", "image"}], "outputs": [...],
        "quantization": {"kind", "scheme", "granularity", "weights", "activations", "weighted_operators",
        "quantized_operators"}, "operators": [{"type", "count", "macs", "parameters"}], "parameters", "macs",
        "weight_bytes": {element type: bytes}, "metadata": {name: text}, "labels": [class names],
        "hints": {input: shape}, "sizes": {input: shape}, "layers": [{"name", "type", "macs", "parameters", "shape",
        "dtype", "quantized", "inside", "compression"}]}``.
        An open dimension and an unknown count are null.
        """
        return {
            "file": self.file,
            "format": self.format,
            "producer": self.producer,
            "version": self.version,
            "bytes": self.bytes,
            "inputs": [_listed(asdict(info)) for info in self.inputs],
            "outputs": [_listed(asdict(info)) for info in self.outputs],
            "quantization": _listed(asdict(self.quantization)),
            "operators": self.operators(),
            "parameters": self.parameters,
            "macs": self.macs,
            "weight_bytes": self.weight_bytes,
            "layers": [_listed(asdict(layer)) for layer in self.layers],
            "metadata": dict(self.metadata),
            "labels": list(self.labels),
            "hints": {name: list(shape) for name, shape in self.hints.items()},
            "sizes": {name: list(shape) for name, shape in self.sizes.items()},
        }

    def table(self) -> Table:
        """Operators by type, with the whole of the file in the note."""
        rows: list[tuple[Cell, ...]] = [
            (row["type"], row["count"], _known(row["macs"]), row["parameters"]) for row in self.operators()
        ]
        rows.append(("total", len(self.layers), _known(self.macs), self.parameters))
        producer = self.producer.rstrip(".")
        return Table(
            f"{Path(self.file).name}: {TITLES[self.format]}, {self.bytes:,} bytes",
            ("operator", "count", "multiply-accumulates", "parameters"),
            rows,
            f"Read from the file, nothing was run; written by {producer}. {self._interface()} "
            f"Quantization: {self._quantized()}. {self._about()}{self._counted()}",
        )

    def layer_table(self) -> Table:
        """One row an operator, in the order of the graph."""
        rows: list[tuple[Cell, ...]] = [
            (layer.name, layer.type, _shape(layer.shape), layer.dtype, _known(layer.macs), layer.parameters)
            for layer in self.layers
        ]
        columns: tuple[str, ...] = ("name", "operator", "output", "type", "multiply-accumulates", "parameters")
        if any(layer.compression for layer in self.layers):
            columns = (*columns, "weights stored as")
            rows = [(*row, layer.compression or "") for row, layer in zip(rows, self.layers, strict=True)]
        return Table(f"{Path(self.file).name}: operators", columns, rows)

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()

    def __str__(self) -> str:
        return f"{self.layer_table()}\n\n{self.table()}"

    def _interface(self) -> str:
        inputs = ", ".join(_port(info) + _open_axes(info) for info in self.inputs)
        outputs = ", ".join(map(_port, self.outputs))
        return f"In: {inputs or 'nothing'}; out: {outputs or 'nothing'}."

    def _counted(self) -> str:
        """How multiply-accumulates were counted, and why some are unknown."""
        parts = ["Multiply-accumulates by the shapes, an open batch counted as 1."]
        given = [
            f"'{info.name}' as {_shape(self.sizes[info.name])}"
            for info in self.inputs
            if info.name in self.sizes and _others(info.shape) != _others(self.sizes[info.name])
        ]
        parts += [f"Counted with {', '.join(given)}."] if given else []
        held: dict[str, int] = {}
        for layer in self.layers:
            if layer.inside:
                held[layer.inside] = held.get(layer.inside, 0) + 1
        if held:
            inside = ", ".join(f"{count} inside of {name}" for name, count in held.items())
            parts.append(f"Of the operators {inside} are counted once; how often they run, only a run tells.")
        if self.macs is None:
            opened = [info.name for info in self.inputs if None in self.sizes.get(info.name, info.shape[1:])]
            parts += [f"Give the open sizes of '{opened[0]}' with --shape to count more."] if opened else []
        return " ".join(parts)

    def _about(self) -> str:
        """Class names and texts of a Core ML package, as sentences."""
        parts = []
        if self.labels:
            more = f" and {len(self.labels) - _SHOWN_LABELS} more" if len(self.labels) > _SHOWN_LABELS else ""
            parts.append(f"Class names: {', '.join(self.labels[:_SHOWN_LABELS])}{more}.")
        texts = [f"{name} {text!r}" for name, text in self.metadata.items() if "." not in name]
        parts += [f"It says of itself: {', '.join(texts)}."] if texts else []
        return "".join(f"{part} " for part in parts)

    def _quantized(self) -> str:
        found = self.quantization
        if found.kind == "none":
            return "none"
        details = [found.scheme, found.granularity, "/".join(found.weights)]
        shared = ", ".join(detail.replace("_", " ") for detail in details if detail)
        return f"{_KINDS[found.kind]} ({shared}) in {found.quantized_operators} of {found.weighted_operators} operators"


def inspect_model(path: str | os.PathLike[str], feed: FeedOptions | None = None) -> ModelReport:
    """Read what is in a model file (.onnx or .tflite) or Core ML package (.mlpackage), without running it.

    Parameters
    ----------
    path
        The model file; its content decides what it is, not its suffix.
    feed
        Sizes for open axes (`FeedOptions`: shapes and dims), by which multiply-accumulates are counted.

    Raises
    ------
    BadFile
        If the file is missing, empty, truncated, damaged or foreign, if it refers to weights outside of
        its folder, or if reading it takes more than 60 s or an unreasonable amount of memory.
    MissingFramework
        If the library that reads the format is not installed.
    """
    size, facts = read_facts(path)
    found = report_of(path, size, facts)
    if found.format == "coreml" or not any(None in info.shape or not info.ranked for info in found.inputs):
        return found
    file = ModelFile(expanded(path), found.inputs, found.outputs, found.hints)
    sizes = planned_sizes(file, feed or FeedOptions())
    lengths = any(shape[:1] == (None,) for shape in sizes.values())  # open, and no batch
    if any(None in shape[1:] for shape in sizes.values()) and not lengths and feed is None:
        return replace(found, sizes=sizes)
    size, facts = read_facts(path, shapes={name: list(shape) for name, shape in sizes.items()})
    return replace(report_of(path, size, facts), sizes=sizes)


def report_of(path: str | os.PathLike[str], size: int, facts: Mapping[str, Any]) -> ModelReport:
    """The report on a file of ``size`` bytes from what a reader found in it (`edgelab.models.facts.facts`)."""
    return ModelReport(
        file=str(path),
        format=facts["format"],
        producer=facts["producer"],
        version=facts["version"],
        bytes=size + facts["external_bytes"],
        inputs=_infos(facts["inputs"]),
        outputs=_infos(facts["outputs"]),
        quantization=Quantization(**_tupled(facts["quantization"])),
        layers=tuple(Layer(**_tupled(entry)) for entry in facts["layers"]),
        weight_bytes=facts["weight_bytes"],
        metadata=facts["metadata"],
        labels=tuple(facts["labels"]),
        hints={name: tuple(shape) for name, shape in facts["hints"].items()},
    )


def _infos(entries: Iterable[dict[str, Any]]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(**_tupled(entry)) for entry in entries)


def _tupled(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _listed(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in entry.items()}


def _total(layers: Iterable[Layer]) -> int | None:
    counts = [layer.macs for layer in layers]
    return None if None in counts else sum(n for n in counts if n is not None)


def _port(info: TensorInfo) -> str:
    kind = f"image {info.image} of {info.dtype}" if info.image else info.dtype
    if info.dtype in _NO_ARRAYS:
        return f"{info.name} {info.dtype}"
    return f"{info.name} {_shape(info.shape) if info.ranked else 'of any rank'} {kind}"


def _open_axes(info: TensorInfo) -> str:
    names = ", ".join(dict.fromkeys(filter(None, info.axes)))
    return f" (open: {names})" if names else ""


def _shape(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "unknown"
    return "x".join("?" if n is None else str(n) for n in shape) or "scalar"


def _others(shape: tuple[int | None, ...] | None) -> tuple[int | None, ...]:
    """A shape without its first axis, which stands for the items mostly."""
    return () if shape is None else shape[1:]


def _known(count: int | None) -> int | str:
    return "unknown" if count is None else count
