"""What is in a model file: inputs, outputs, quantization, operators, parameters, multiply-accumulates, bytes.

Nothing is run. The file is read in a child process with limits on time and memory, so that a hostile one costs
a sentence and no more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgelab.engines.base import TensorInfo
from edgelab.feeding.facts import TITLES, read_facts
from edgelab.reading import Cell, Table

_SHOWN_LABELS = 5
_KINDS = {
    "none": "none",
    "static": "weights and activations",
    "dynamic": "weights; activations while it runs",
    "weights_only": "weights only",
}


@dataclass(frozen=True)
class Layer:
    """One operator of the graph.

    ``macs`` multiply-accumulates of one inference, None where the file does not determine a shape;
    ``parameters`` the constants that it is the first to read; ``shape`` and ``dtype`` of its first output;
    ``quantized`` whether its weights are quantized, None for an operator that has none.
    """

    name: str
    type: str
    macs: int | None
    parameters: int
    shape: tuple[int | None, ...]
    dtype: str
    quantized: bool | None
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

    @property
    def parameters(self) -> int:
        """Elements of all weights, biases and other constants that the operators compute with."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one inference, an open batch counted as 1.

        Convolutions (transposed ones, too), fully connected layers and matrix products count, by the shapes of
        their outputs and weights; recurrent layers, attention in one operator, and element-wise arithmetic
        do not. None if the shape of one that counts is not known.
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
        "layers": [{"name", "type", "macs", "parameters", "shape", "dtype", "quantized", "compression"}]}``.
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
        }

    def table(self) -> Table:
        """Operators by type, with the whole of the file in the note."""
        rows: list[tuple[Cell, ...]] = [
            (row["type"], row["count"], row["macs"], row["parameters"]) for row in self.operators()
        ]
        rows.append(("total", len(self.layers), self.macs, self.parameters))
        producer = self.producer.rstrip(".")
        return Table(
            f"{Path(self.file).name}: {TITLES[self.format]}, {self.bytes:,} bytes",
            ("operator", "count", "multiply-accumulates", "parameters"),
            rows,
            f"Read from the file, nothing was run; written by {producer}. {self._interface()} "
            f"Quantization: {self._quantized()}. {self._about()}"
            "Multiply-accumulates by the shapes, an open batch counted as 1.",
        )

    def layer_table(self) -> Table:
        """One row an operator, in the order of the graph."""
        rows: list[tuple[Cell, ...]] = [
            (layer.name, layer.type, _shape(layer.shape), layer.dtype, layer.macs, layer.parameters)
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
        inputs, outputs = (", ".join(map(_port, ports)) for ports in (self.inputs, self.outputs))
        return f"In: {inputs or 'nothing'}; out: {outputs or 'nothing'}."

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


def inspect_model(path: str | os.PathLike[str]) -> ModelReport:
    """Read what is in a model file (.onnx or .tflite) or Core ML package (.mlpackage), without running it.

    Parameters
    ----------
    path
        The model file; its content decides what it is, not its suffix.

    Raises
    ------
    BadFile
        If the file is missing, empty, truncated, damaged or foreign, if it refers to weights outside of
        its folder, or if reading it takes more than 60 s or an unreasonable amount of memory.
    MissingFramework
        If the library that reads the format is not installed.
    """
    size, facts = read_facts(path)
    return report_of(path, size, facts)


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
    return f"{info.name} {_shape(info.shape)} {kind}"


def _shape(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if n is None else str(n) for n in shape) or "scalar"
