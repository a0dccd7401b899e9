"""Post-training quantization of ONNX files with ONNX Runtime's own quantizer.

Every function reads a float .onnx file and writes a quantized one, whole or not at all. What the tool wants done
first (shapes inferred, batch norm folded into convolutions, temporary files) is done inside. The ranges of the
activations come from ``calibration``: of ONNX Runtime's own calibrators the entropy one does not search at its
defaults, there is none for the mean squared error, and all run the network anew for every variant.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgelab.compress import external, preparation
from edgelab.compress.activations import activations, clipped, mask_inputs
from edgelab.compress.calibration import METHODS, Range, range_minmax
from edgelab.compress.coverage import coverage
from edgelab.compress.modelfile import PathLike, Quantized, keep, prepared, read, reason, session
from edgelab.errors import BadInput
from edgelab.quiet import silenced

IntegerType: TypeAlias = Literal["int8", "uint8", "int16", "uint16", "int4"]
Method: TypeAlias = "str | Callable[[NDArray[np.float32]], Range]"
CalibrationSet: TypeAlias = "NDArray[Any] | Mapping[str, NDArray[Any]]"


@dataclass(frozen=True)
class TensorRanges:
    """The real range of every activation of one network over one calibration set.

    ``ranges`` maps the tensor's name in the prepared network to ``(low, high)``, in the order of the network; a
    tensor that goes into a ReLU alone is left out, because the quantizer merges the two. ``samples`` is the size of
    the calibration set. ``masked`` names the tensors that hold minus infinity, or a number that stands for it, where
    a mask was added: no range spans both it and the other values, so they stay in float32.
    """

    method: str
    samples: int
    ranges: Mapping[str, Range]
    seconds: float
    masked: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The ranges as JSON-ready data."""
        return {**vars(self), "ranges": {name: list(ends) for name, ends in self.ranges.items()}}

    def _repr_markdown_(self) -> str:
        rows = [f"| `{name}` | {low:.4g} | {high:.4g} |" for name, (low, high) in self.ranges.items()]
        head = f"**{len(rows)} tensors, {self.method} over {self.samples} samples**"
        return "\n".join([head, "", "| tensor | low | high |", "|---|---:|---:|", *rows])


def collect_ranges(model_path: PathLike, calibration_x: CalibrationSet, method: Method = "minmax") -> TensorRanges:
    """Run a float network over a calibration set and take the range of every activation.

    Parameters
    ----------
    model_path
        The float .onnx file.
    calibration_x
        Inputs (N, ...) as the network takes them; of several inputs an array for each by name.
    method
        ``"minmax"``, ``"percentile"`` (99.99), ``"entropy"``, ``"mse"``, or a function from values to
        ``(low, high)``.

    Raises
    ------
    BadInput
        If the method is unknown, or the network does not take ``calibration_x`` or computes NaN or infinity on it.
    BadFile
        If the file is not a float ONNX model.
    """
    started = time.perf_counter()
    chosen = method if callable(method) else METHODS.get(method)
    if chosen is None:
        raise BadInput(f"method={method!r} is not one of {', '.join(METHODS)}, or a function of the values.")
    name = getattr(method, "__name__", "own") if callable(method) else method
    ranges: dict[str, Range] = {}
    masked: dict[str, None] = {}
    with prepared(model_path) as ready:
        model = read(ready)
        candidates = preparation.behind(model, preparation.mask_constants(model) | mask_inputs(calibration_x))
        for tensor, values in activations(model, calibration_x, whole=chosen is not range_minmax):
            if tensor in masked or (tensor in candidates and preparation.is_masked(values)):
                masked[tensor] = None
                continue
            if not values.size:  # an axis of no length
                continue
            try:
                low, high = chosen(values)
            except BadInput as error:
                raise BadInput(f"Tensor {tensor!r} has no range: {error}") from error
            known = ranges.get(tensor, (low, high))
            ranges[tensor] = (min(float(low), known[0]), max(float(high), known[1]))
    ranges = {tensor: ends for tensor, ends in ranges.items() if tensor not in masked}
    first = next(iter(calibration_x.values())) if isinstance(calibration_x, Mapping) else calibration_x
    return TensorRanges(name, len(first), ranges, time.perf_counter() - started, tuple(masked))


def quantize_static(
    model_path: PathLike,
    out_path: PathLike,
    calibration_x: CalibrationSet | None = None,
    *,
    ranges: TensorRanges | None = None,
    method: Method = "minmax",
    per_channel: bool = True,
    activation: IntegerType = "uint8",
    weight: IntegerType = "int8",
    exclude: Sequence[str] = (),
    format: Literal["qdq", "qoperator"] = "qdq",  # noqa: A002  (the runtime's own word)
    reduce_range: bool = False,
) -> Quantized:
    """Quantize weights and activations; the scales of the activations are fixed by a calibration set.

    Parameters
    ----------
    model_path, out_path
        The float .onnx file, and the file to write.
    calibration_x
        As in `collect_ranges`; not needed with ``ranges``.
    ranges
        What `collect_ranges` found for the same file, when many variants share one calibration.
    method
        As in `collect_ranges`.
    per_channel
        One weight scale for each output channel instead of one for the whole tensor.
    activation, weight
        Integer types. ``uint8`` with ``int8`` has the fastest kernels on x86, ``int8`` with ``int8`` on Arm;
        4 and 16 bits are stored as such, but ONNX Runtime computes them in float32 on a CPU.
    exclude
        Names of nodes that stay in float32.
    format
        ``"qdq"``: pairs of QuantizeLinear and DequantizeLinear, which the runtime fuses. ``"qoperator"``: the older
        form, integer operators in the file.
    reduce_range
        Use 7 bits for weights: x86 processors without VNNI saturate when they add two 8-bit products.

    Raises
    ------
    BadInput
        If an argument does not fit the network.
    BadFile
        If the file is not a float ONNX model, or the result cannot be written.
    """
    from onnxruntime import quantization as tools
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    started = time.perf_counter()
    if format not in ("qdq", "qoperator"):
        raise BadInput(f"format={format!r} is not 'qdq' or 'qoperator'.")
    if ranges is None:
        if calibration_x is None:
            raise BadInput("Static quantization needs a calibration set, or ranges that were collected from one.")
        ranges = collect_ranges(model_path, calibration_x, method)
    notes: list[str] = []
    with prepared(model_path, notes) as ready:
        model = read(ready)
        graph = model.graph
        nodes = {node.name for node in graph.node}
        if unknown := sorted(set(exclude) - nodes):
            raise BadInput(f"exclude names no node {unknown[0]!r}; the nodes are {', '.join(sorted(nodes)[:50])}.")
        known = {output for node in graph.node for output in node.output} | {i.name for i in graph.input}
        if not set(ranges.ranges) <= known:
            raise BadInput(f"The ranges were collected from another network than {Path(model_path).name}.")
        if per_channel and preparation.opset(model) < preparation.OPSET:
            raise BadInput(
                f"{model_path} is of opset {preparation.opset(model)}, which has no scale for each channel and could "
                f"not be raised to {preparation.OPSET}; export it again, or pass per_channel=False."
            )
        floats = [*exclude, *preparation.touching(model, preparation.mask_constants(model) | set(ranges.masked))]
        cache = ready.with_name("ranges.json")
        behind = {name: ranges.ranges[output] for name, output in clipped(model).items() if output in ranges.ranges}
        ends = {**ranges.ranges, **behind}
        data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ends.items()}
        if format == "qoperator":
            floats += _kept_activations(model)
            preparation.shield_selections(model)
            external.save(model, ready)
        tools.save_tensors_data(TensorsData(CalibrationMethod.MinMax, data), cache)
        result = _make(
            ready,
            tools.quantize_static,
            calibration_cache_path=cache,
            quant_format=tools.QuantFormat.QDQ if format == "qdq" else tools.QuantFormat.QOperator,
            per_channel=per_channel,
            reduce_range=reduce_range,
            activation_type=_quant_type(activation),
            weight_type=_quant_type(weight),
            nodes_to_exclude=floats,
        )
    covered = coverage(result, "static", exclude=exclude, masked=floats)
    settings = {
        "method": ranges.method,
        "samples": ranges.samples,
        "per_channel": per_channel,
        "activation": activation,
        "weight": weight,
        "exclude": list(exclude),
        "format": format,
        "reduce_range": reduce_range,
    }
    seconds = time.perf_counter() - started
    return keep(model_path, out_path, result, "static", settings, seconds, covered=covered, notes=notes)


def quantize_dynamic(
    model_path: PathLike,
    out_path: PathLike,
    *,
    weight: IntegerType = "int8",
    operators: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Quantized:
    """Quantize the weights; the scales of the activations are computed anew for every input.

    Needs no calibration set. It pays where weights dominate (LSTM, attention, large linear layers); convolutions
    become ConvInteger, which is slow on CPUs.

    Parameters
    ----------
    model_path, out_path
        The float .onnx file, and the file to write.
    weight
        ``"int8"`` or ``"uint8"``.
    operators
        Operator types to quantize, for example ``("MatMul", "LSTM")``; by default all that the tool knows.
    exclude
        Names of nodes that stay in float32.

    Raises
    ------
    BadInput
        If an argument does not fit the network.
    BadFile
        If the file is not a float ONNX model, or the result cannot be written.
    """
    import onnx
    from onnxruntime import quantization as tools

    started = time.perf_counter()
    if weight not in ("int8", "uint8"):
        raise BadInput(f"weight={weight!r} does not run dynamically; use 'int8' or 'uint8'.")
    notes: list[str] = []
    with prepared(model_path, notes) as ready:
        model = read(ready)
        masked = preparation.touching(model, preparation.mask_constants(model))
        result = _make(
            ready,
            tools.quantize_dynamic,
            weight_type=_quant_type(weight),
            op_types_to_quantize=list(operators),
            nodes_to_exclude=[*exclude, *masked],
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "EnableSubgraph": True},
        )
    covered = coverage(result, "dynamic", exclude=exclude, masked=masked)
    settings = {"weight": weight, "operators": list(operators), "exclude": list(exclude)}
    seconds = time.perf_counter() - started
    return keep(model_path, out_path, result, "dynamic", settings, seconds, covered=covered, notes=notes)


def _kept_activations(model: Any) -> list[str]:
    """Names of each ReLU and Clip that is no single reader of its input.

    The tool's older form drops them all and trusts the range of what comes before, which is not theirs then.
    """
    merged = clipped(model)
    return [n.name for n in model.graph.node if n.op_type in ("Relu", "Clip") and merged.get(n.input[0]) != n.output[0]]


def _quant_type(name: str) -> Any:
    from onnxruntime.quantization import QuantType

    kinds = {"int8": "QInt8", "uint8": "QUInt8", "int16": "QInt16", "uint16": "QUInt16", "int4": "QInt4"}
    if name not in kinds:
        raise BadInput(f"{name!r} is not an integer type; use one of {', '.join(kinds)}.")
    return getattr(QuantType, kinds[name])


def _make(ready: Path, tool: Callable[..., None], **settings: Any) -> Any:
    """Run one of ONNX Runtime's quantizers on the prepared file; its result, which loads."""
    result = ready.with_name("quantized.onnx")
    large = ready.with_name(f"{ready.name}.data").exists()
    try:
        with silenced():
            tool(str(ready), str(result), use_external_data_format=large, **settings)
        session(result)
        return read(result)
    except Exception as error:
        raise BadInput(f"ONNX Runtime cannot quantize the network so: {reason(error)}.") from error
