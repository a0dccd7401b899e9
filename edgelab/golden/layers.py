"""Layer by layer: where a file leaves its reference, by the names of tensors that both have.

Within one format only. Of an ONNX file every tensor between its nodes becomes an output of a temporary model; LiteRT
keeps every tensor when it is asked to; of a Core ML package edgelab's evaluator shows them, on macOS as well. What is
compared is a sample of each tensor's values, the same places in both.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.compress.modelfile import read
from edgelab.engines.coreml import CoreMLEngine
from edgelab.engines.coreml_program import Reference
from edgelab.engines.litert import LiteRTEngine
from edgelab.engines.onnxruntime import OnnxRuntimeEngine
from edgelab.errors import BadFile, BadInput, EdgelabError
from edgelab.feeding.matching import Fed
from edgelab.golden.file import Layers

ITEMS = 8
"""Items of which layers are kept."""
SAMPLES = 4096
"""Values that are kept of a tensor and item."""
THRESHOLD_DB = 20.0
"""Below this SQNR a layer counts as diverged, where no other limit is asked for: errors of a tenth of the signal."""
_GOLDEN_RATIO = 0.6180339887498949
_SHARE_EXPLAINED = 0.8
_MOST_EXCLUDED = 10
_BEHIND = "_DequantizeLinear_Output"
_BEFORE = "_QuantizeLinear_Input"
_INTEGER = "_quantized"
_NO_TENSOR = ("Sequence", "Optional", "SplitToSequence")
_MARKS = frozenset({"QuantizeLinear", "DequantizeLinear"})


_Engine = OnnxRuntimeEngine | LiteRTEngine | CoreMLEngine


@dataclass(frozen=True)
class Tensor:
    """A tensor between operators: its name in the reference, where to read it, and the operator that makes it.

    ``inputs`` are the names of what the operator reads, and ``quantized`` says whether it computes in integers. An
    integer tensor has the ``scale`` and ``zero_point`` that turn it into the values that it stands for; it is
    ``clipped`` if it cannot hold a negative value, because a ReLU behind the operator was merged into it.
    """

    name: str
    read_from: str
    node: str
    operator: str
    inputs: tuple[str, ...] = ()
    quantized: bool = False
    scale: float | None = None
    zero_point: int = 0
    clipped: bool = False


@dataclass(frozen=True)
class LayerError:
    """SQNR of one tensor against the reference's, in dB; infinite where they are equal."""

    tensor: Tensor
    sqnr_db: float

    @property
    def noise(self) -> float:
        """Power of the errors over that of the signal."""
        return 0.0 if math.isinf(self.sqnr_db) and self.sqnr_db > 0 else 10 ** (-self.sqnr_db / 10)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: tensor, node, operator, sqnr_db."""
        t = self.tensor
        return {"tensor": t.name, "node": t.node, "operator": t.operator, "sqnr_db": self.sqnr_db}


@dataclass(frozen=True)
class Walk:
    """The layers of a file against the reference's, as they run; ``note`` says why there are none."""

    errors: tuple[LayerError, ...] = field(default_factory=tuple)
    note: str = ""

    def first_below(self, threshold_db: float) -> LayerError | None:
        """The first layer whose SQNR is below a limit in dB."""
        return next((error for error in self.errors if error.sqnr_db < threshold_db), None)

    def to_exclude(self) -> list[str]:
        """Nodes that bring in most of the noise, the worst first: what a quantizer should leave in float.

        A node's own noise is what its output has beyond the noisiest of its inputs. Those that together bring in four
        fifths of all of it are named, ten at most.
        """
        noise = {error.tensor.name: error.noise for error in self.errors}
        own: dict[str, float] = {}
        for error in self.errors:
            if error.tensor.quantized and error.tensor.node:
                came = max((noise.get(name, 0.0) for name in error.tensor.inputs), default=0.0)
                own[error.tensor.node] = max(own.get(error.tensor.node, 0.0), error.noise - came)
        named: list[str] = []
        total, sum_of = sum(own.values()), 0.0
        for node, brought in sorted(own.items(), key=lambda entry: -entry[1]):
            if not brought or sum_of >= _SHARE_EXPLAINED * total or len(named) == _MOST_EXCLUDED:
                break
            named.append(node)
            sum_of += brought
        return named


def sampled(value: NDArray[Any]) -> NDArray[np.float32]:
    """At most `SAMPLES` values of a tensor, spread evenly over it; the same places for tensors of one size."""
    flat = np.asarray(value, np.float32).reshape(-1)
    if flat.size <= SAMPLES:
        return flat
    step = max(1, round(_GOLDEN_RATIO * flat.size))
    while math.gcd(step, flat.size) != 1:
        step += 1
    return np.asarray(flat[(np.arange(SAMPLES, dtype=np.int64) * step) % flat.size])


def keep_layers(path: Path, kind: str, fed: Sequence[Fed], arrays: Mapping[str, NDArray[Any]]) -> Layers:
    """Samples of a reference's tensors for the first items."""
    rows: dict[str, list[NDArray[np.float32]]] = {}
    items = min(ITEMS, len(next(iter(arrays.values()))))
    try:
        with _probe(path, kind) as probe:
            for item in range(items):
                for tensor, value in probe.read(_feed(fed, arrays, item)):
                    rows.setdefault(tensor.name, []).append(sampled(value))
    except EdgelabError as error:
        return Layers(kind, 0, {}, str(error))
    whole = {name: found for name, found in rows.items() if len({r.shape for r in found}) == 1 and len(found) == items}
    return Layers(kind, items, {name: np.stack(found) for name, found in whole.items()})


def walk(path: Path, kind: str, fed: Sequence[Fed], arrays: Mapping[str, NDArray[Any]], layers: Layers) -> Walk:
    """Hold a file's tensors against the samples of a reference's, on the same items."""
    if layers.note:
        return Walk(note=layers.note)
    if layers.format != kind:
        return Walk(note=f"The reference is {layers.format} and {path.name} is {kind}: layers have other names there.")
    power: dict[str, list[float]] = {}
    found: dict[str, Tensor] = {}
    try:
        with _probe(path, kind) as probe:
            for item in range(layers.items):
                for tensor, value in probe.read(_feed(fed, arrays, item)):
                    kept = layers.values.get(tensor.name)
                    values = sampled(value)
                    if kept is None or kept[item].shape != values.shape:
                        continue
                    reference = np.maximum(kept[item], 0 if tensor.clipped else -np.inf).astype(np.float64)
                    noise = float(np.sum((values.astype(np.float64) - reference) ** 2))
                    sums = power.setdefault(tensor.name, [0.0, 0.0])
                    sums[0] += float(np.sum(reference**2))
                    sums[1] += noise
                    found[tensor.name] = tensor
    except EdgelabError as error:
        return Walk(note=str(error))
    errors = [LayerError(found[name], decibels(signal, noise)) for name, (signal, noise) in power.items()]
    if not errors:
        return Walk(note=f"No tensor between the layers of {path.name} has a name and a size of the reference's.")
    return Walk(tuple(errors))


def decibels(signal: float, noise: float) -> float:
    """Ratio of two powers in dB; infinite without noise, and the lowest where the noise is not finite.

    Examples
    --------
    >>> decibels(100.0, 1.0)
    20.0
    """
    if noise == 0:
        return math.inf
    if not math.isfinite(noise) or signal == 0:
        return -math.inf
    return 10 * math.log10(signal / noise)


class _Probe:
    """Reads the tensors between the operators of a file, for one item at a time."""

    def __init__(self, engine: _Engine, tensors: Sequence[Tensor] = ()) -> None:
        self._engine = engine
        self._tensors = tensors

    def read(self, feed: dict[str, NDArray[Any]]) -> Iterator[tuple[Tensor, NDArray[Any]]]:
        """Each tensor of floating values with what it holds, in the order of the run."""
        if isinstance(self._engine, LiteRTEngine):
            full = _filled(feed, self._engine)
            for name, operator, reads, value in self._engine.tensors(full):
                if value.dtype.kind == "f" and operator not in ("QUANTIZE", "DEQUANTIZE"):
                    yield Tensor(name, name, name, operator, reads, quantized=True), value
            return
        if isinstance(self._engine, CoreMLEngine):
            packed = {constant.name for constant in self._engine.program.compressed}
            for step, value in self._engine.tensors(_filled(feed, self._engine)):
                reads = tuple(v.name for v in step.arguments.values() if isinstance(v, Reference))
                name = step.outputs[0]
                if value.dtype.kind == "f":
                    yield Tensor(name, name, name, step.type, reads, bool(packed & {*reads})), value
            return
        answers = self._engine.run(_filled(feed, self._engine))
        batch = max((info.shape[0] or 1 for info in self._engine.inputs if info.shape), default=1)
        for tensor in self._tensors:
            y = answers[tensor.read_from]
            if tensor.scale is not None:
                y = (y.astype(np.float32) - np.float32(tensor.zero_point)) * np.float32(tensor.scale)
            if y.dtype.kind == "f":
                yield tensor, y[:1] if batch > 1 and y.shape[:1] == (batch,) else y


@contextlib.contextmanager
def _probe(path: Path, kind: str) -> Iterator[_Probe]:
    if kind == "tflite":
        with LiteRTEngine(path, fresh=False, layout="channels_first") as engine:
            yield _Probe(engine)
        return
    if kind == "coreml":
        with CoreMLEngine(path, layout="channels_first", evaluator=True) as program:
            yield _Probe(program)
        return
    if kind != "onnx":
        raise BadInput(f"{path.name} does not show what is between its layers: no tensor of {kind} has a name.")
    import onnx

    model = read(path)
    with contextlib.suppress(Exception):  # types that are not inferred are left to the runtime
        model = onnx.shape_inference.infer_shapes(model)
    tensors = onnx_tensors(model)
    present = {output.name for output in model.graph.output}
    for name in dict.fromkeys(tensor.read_from for tensor in tensors):
        if name not in present:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    with tempfile.TemporaryDirectory(prefix="edgelab-golden-") as folder:
        probe = Path(folder) / path.name
        try:
            onnx.save(model, probe)
        except Exception as error:  # noqa: BLE001 - a model of more than 2 GB, a full disk
            raise BadFile(f"{path} could not be written with its tensors as outputs ({error}).") from None
        with OnnxRuntimeEngine(probe, fresh=False, graph_optimization=False, layout="channels_first") as engine:
            yield _Probe(engine, tensors)


def onnx_tensors(model: Any) -> list[Tensor]:
    """The tensors between the nodes of an ONNX model, in its order, quantized ones read behind their rounding.

    A quantized file keeps a tensor's name and puts QuantizeLinear and DequantizeLinear behind it; the reference's
    name stands for the rounded values then. In the older form the operators give integers themselves, named after the
    tensor as its scale is.
    """
    import onnx

    float_types = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    types = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.output)}
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer if math.prod(c.dims) == 1}
    single = {name: value.item() for name, value in constants.items()}
    lowest = {name: np.iinfo(v.dtype.name).min for name, v in constants.items() if v.dtype.name in ("int8", "uint8")}
    makers = {output: node for node in model.graph.node for output in node.output if output}
    found = []
    for node in model.graph.node:
        if node.op_type in _MARKS or node.op_type == "Constant" or node.op_type.startswith(_NO_TENSOR):
            continue
        quantized = any(makers[i].op_type == "DequantizeLinear" for i in node.input if i in makers)
        quantized |= node.op_type.startswith("QLinear") or node.op_type in ("ConvInteger", "MatMulInteger")
        inputs = tuple(i.removesuffix(_BEHIND).removesuffix(_INTEGER) for i in node.input if i)
        for output in node.output:
            bare = output.removesuffix(_INTEGER)
            if bare != output and f"{bare}_scale" in single:
                step, zero = single[f"{bare}_scale"], single.get(f"{bare}_zero_point", 0)
                name = node.name.removesuffix("_quant")
                clipped = zero == lowest.get(f"{bare}_zero_point", 0)
                found.append(Tensor(bare, output, name, node.op_type, inputs, True, float(step), int(zero), clipped))
                continue
            # an output of the graph keeps its name behind the rounding, and the node's own output gets another one
            original = output.removesuffix(_BEFORE)
            behind = original if original != output else f"{output}{_BEHIND}"
            read_from = behind if behind in makers else output
            if output and types.get(read_from, float_types[0]) in float_types:
                name = node.name.removesuffix("_quant")
                found.append(Tensor(original, read_from, name, node.op_type, inputs, quantized))
    return found


def _feed(fed: Sequence[Fed], arrays: Mapping[str, NDArray[Any]], item: int) -> dict[str, NDArray[Any]]:
    return {f.info.name: f.apply(arrays[f.match.golden][item : item + 1]) for f in fed}


def _filled(feed: dict[str, NDArray[Any]], engine: _Engine) -> dict[str, NDArray[Any]]:
    """One item repeated to the batch that a file fixes, so that one call takes it."""
    sizes = {info.name: info.shape[0] if info.shape else None for info in engine.inputs}
    return {n: np.repeat(a, sizes[n] or 1, axis=0) if a.ndim and len(a) == 1 else a for n, a in feed.items()}
