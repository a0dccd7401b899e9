"""PyTorch network to int8 TensorFlow Lite file, in the open: calibrated, quantized, written and checked here.

Activations get the smallest and largest value of the calibration data, weights of convolutions a scale per output
channel, biases 32 bits at the product of the two scales: the scheme of TensorFlow's converter
(https://ai.google.dev/edge/litert/models/quantization_spec), without TensorFlow.
"""

from __future__ import annotations

import copy
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelab.convert.tflite_graph import Graph, Step, lower, trace
from edgelab.convert.tflite_writer import TfliteWriter
from edgelab.errors import BadInput
from edgelab.files import write_bytes
from edgelab.quiet import first_line, silenced

if TYPE_CHECKING:
    import torch

CALIBRATION_BATCH = 64
CHECKED_ITEMS = 32
MAX_MEAN_STEPS = 4.0
BIAS_LIMIT = 2**30
FIXED = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
KEEPING = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D", "RELU6", "RESHAPE"})  # the kernels do not rescale


@dataclass(frozen=True)
class Exported:
    """What `export_int8` wrote and how closely it follows the network.

    ``agreement_percent`` is the share of checked calibration items for which network and file name the same class,
    ``sqnr_db`` the power of the network's outputs over that of the difference; ``mean_steps`` tells how many integer
    steps the file's outputs are from those of the network computed with the same rounded weights and activations.
    """

    path: Path
    bytes: int
    operators: tuple[str, ...]
    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int
    agreement_percent: float
    sqnr_db: float
    mean_steps: float
    checked: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {**vars(self), "path": str(self.path), "operators": list(self.operators)}

    def __str__(self) -> str:
        return (
            f"{self.path.name}: {self.bytes:,} bytes, {len(self.operators)} int8 operators, the network's class on "
            f"{self.agreement_percent:.0f} % of {self.checked} items, SQNR {self.sqnr_db:.1f} dB (measured in LiteRT)"
        )

    def _repr_markdown_(self) -> str:
        return (
            f"`{self.path.name}`: {self.bytes:,} bytes, {len(self.operators)} int8 operators, the network's class on "
            f"{self.agreement_percent:.0f} % of {self.checked} items, SQNR {self.sqnr_db:.1f} dB, *measured* in "
            f"LiteRT ({self.seconds:.2f} s)"
        )


@dataclass(frozen=True)
class _Quant:
    scale: float
    zero_point: int

    def fake(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, -128, 127)


def export_int8(
    module: torch.nn.Module,
    calibration_x: NDArray[np.float32],
    path: str | os.PathLike[str],
    *,
    per_channel: bool = True,
    input_range: tuple[float, float] | None = None,
    softmax: bool = False,
) -> Exported:
    """Write ``module`` as an int8 .tflite file with int8 input and output, a batch of 1 and channels last.

    Convolutions, dense layers, batch norm, ReLU, ReLU6, Hardtanh, LeakyReLU, Hardswish, sigmoid, tanh, average and max
    pooling, global averages, sums, products and flattening are known.

    Parameters
    ----------
    module
        The float network; it stays as it is.
    calibration_x
        float32 inputs like those in use: (N, C, H, W), (N, C, T) or (N, F). A hundred are enough for most networks.
    path
        The .tflite file; it is whole or absent.
    per_channel
        A scale per output channel for convolutions; False: one per layer. Dense layers always have one.
    input_range
        Ends of the input's range where calibration data do not reach them, else what the data span.
    softmax
        Add a softmax, so that the outputs are probabilities.

    Raises
    ------
    BadInput
        If a layer has no int8 counterpart, if the network does not take the calibration data or gives NaN on them,
        or if the written file does not compute what was quantized.
    BadFile
        If the file cannot be written.
    MissingFramework
        If ai-edge-litert is not installed.

    Examples
    --------
    >>> import tempfile, numpy as np, torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    >>> made = export_int8(net, x, tempfile.mkdtemp() + "/net.tflite")
    >>> made.operators
    ('FULLY_CONNECTED', 'FULLY_CONNECTED')
    """
    import torch

    started = time.perf_counter()
    x = _checked(calibration_x)
    traced = trace(module)
    if softmax:
        traced = trace(torch.nn.Sequential(traced, torch.nn.Softmax(dim=1)))
    shapes, ranges = _calibrate(traced, x)
    graph = lower(traced, shapes)
    made = _Quantizer(graph, ranges, per_channel, input_range)
    content = made.write()
    count = min(len(x), CHECKED_ITEMS)
    items = x[np.linspace(0, len(x) - 1, count).astype(int)]
    simulated, floating = made.simulate(items), _run(traced, items)
    found = _run_file(content, items, graph, made)
    steps = float(np.abs(found - simulated).mean() / made.output.scale)
    if not steps <= MAX_MEAN_STEPS:
        raise BadInput(
            f"The converted {type(module).__name__} differs from the network computed with the same rounded numbers "
            f"by {steps:.1f} steps on average; nothing was written."
        )
    same = 100 * float((found.argmax(1) == floating.argmax(1)).mean())
    noise = float(np.square(found - floating).sum())
    sqnr = 10 * float(np.log10(max(float(np.square(floating).sum()), 1e-30) / max(noise, 1e-30)))
    write_bytes(path, content)
    return Exported(
        path=Path(path),
        bytes=len(content),
        operators=tuple(made.codes),
        input_scale=made.input.scale,
        input_zero_point=made.input.zero_point,
        output_scale=made.output.scale,
        output_zero_point=made.output.zero_point,
        agreement_percent=same,
        sqnr_db=sqnr,
        mean_steps=steps,
        checked=count,
        seconds=time.perf_counter() - started,
    )


class _Quantizer:
    """Scales for every tensor of a graph, the file that uses them, and the network computed with them."""

    def __init__(
        self, graph: Graph, ranges: dict[str, tuple[float, float]], per_channel: bool, ends: tuple[float, float] | None
    ) -> None:
        self._graph, self._ranges, self._per_channel = graph, ranges, per_channel
        start = next(node.name for node in graph.traced.graph.nodes if node.op == "placeholder")
        self.input = _affine(*(ends or ranges[start]))
        self.output = self.input
        self.codes: list[str] = []
        self._simulated = copy.deepcopy(graph.traced)
        self._quants = {start: self.input}  # by node, for the simulation

    def write(self) -> bytes:
        """The bytes of the file."""
        writer = TfliteWriter("edgelab int8")
        made = {"": (writer.input("input", self._graph.shape, self.input.scale, self.input.zero_point), self.input)}
        names = self._names()
        for name, step in zip(names, self._graph.steps, strict=True):
            operands, before = [made[i][0] for i in step.inputs], made[step.inputs[0]][1]
            quant = self._quant(step, before)
            if step.pads:
                operands[0] = self._pad(writer, step, operands[0], made[step.inputs[0]], names)
            if step.module:
                operands += self._weights(writer, step, before)
            if step.axes:
                operands.append(writer.constant(np.asarray(step.axes, dtype=np.int32)))
            index = writer.operator(
                step.code, operands, step.shape, quant.scale, quant.zero_point, options=step.options, name=name
            )
            made[name] = (index, quant)
            self.codes.append(step.code)
            self._quants[step.node] = quant
        index, self.output = made[self._graph.output]
        writer.output(index)
        return writer.to_bytes()

    def simulate(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's outputs with rounded weights, and activations rounded where the file holds them."""
        import torch

        quants = self._quants

        class Rounding(torch.fx.Interpreter):  # type: ignore[misc]
            def run_node(self, n: torch.fx.Node) -> Any:
                result = super().run_node(n)
                return quants[n.name].fake(result) if n.name in quants else result

        with torch.no_grad():
            result: NDArray[np.float32] = Rounding(self._simulated).run(torch.from_numpy(x)).numpy()
        return result

    def _names(self) -> list[str]:
        return [f"{i}_{step.code.lower()}" for i, step in enumerate(self._graph.steps)]

    def _quant(self, step: Step, before: _Quant) -> _Quant:
        if step.code in FIXED:
            return _Quant(*FIXED[step.code])
        return before if step.code in KEEPING else _affine(*self._ranges[step.node])

    def _pad(self, writer: TfliteWriter, step: Step, x: int, made: tuple[int, _Quant], names: list[str]) -> int:
        source = step.inputs[0]
        shape = self._graph.steps[names.index(source)].shape if source else self._graph.shape
        amounts = [(0, 0), *(step.pads or ()), (0, 0)]
        padded = [n + sum(p) for n, p in zip(shape, amounts, strict=True)]
        self.codes.append("PAD")
        paddings = writer.constant(np.asarray(amounts, dtype=np.int32))
        return writer.operator("PAD", [x, paddings], padded, made[1].scale, made[1].zero_point)

    def _weights(self, writer: TfliteWriter, step: Step, before: _Quant) -> list[int]:
        """The constants of a layer; their rounded values go into the simulated network."""
        import torch

        layer = self._simulated.get_submodule(step.module)
        w = layer.weight.detach().numpy().astype(np.float64)
        bias = np.zeros(len(w)) if layer.bias is None else layer.bias.detach().numpy().astype(np.float64)
        by_channel = self._per_channel and step.code != "FULLY_CONNECTED"
        peak = np.abs(w).reshape(len(w), -1).max(axis=1)
        low = np.abs(bias) / (before.scale * BIAS_LIMIT)  # so that the bias fits 32 bits beside tiny weights
        scales = np.maximum(peak / 127, low).astype(np.float32)
        if not by_channel:
            scales = scales.max(keepdims=True)
        scales = np.where(scales > np.finfo(np.float32).tiny, scales, np.float32(1 / 127))
        along = scales.reshape(-1, *[1] * (w.ndim - 1))
        q = np.clip(np.rint(w / along), -127, 127).astype(np.int8)
        bias_scales = (np.float32(before.scale) * scales).astype(np.float32)
        q_bias = np.rint(bias / bias_scales).astype(np.int32)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(q * along))
            if layer.bias is not None:
                layer.bias.copy_(torch.from_numpy(q_bias * bias_scales))
        axis = 3 if step.code == "DEPTHWISE_CONV_2D" else 0
        arranged = step.arrange(q) if step.arrange else q
        return [
            writer.constant(arranged, scales, axis, name=f"{step.module}.weight"),
            writer.constant(q_bias, bias_scales, 0, name=f"{step.module}.bias"),
        ]


def _affine(low: float, high: float) -> _Quant:
    """Scale and zero point of 8 signed bits that cover the range, 0 included."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    if not np.isfinite(scale) or low > high:
        raise BadInput(f"A range runs upwards between finite ends, not from {low} to {high}.")
    if scale < np.finfo(np.float32).tiny:
        return _Quant(1.0, 0)
    return _Quant(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _calibrate(
    traced: Any, x: NDArray[np.float32]
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[float, float]]]:
    """Shape without the batch, and smallest and largest value, of every node that holds a tensor."""
    import torch

    shapes: dict[str, tuple[int, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}

    class Recording(torch.fx.Interpreter):  # type: ignore[misc]
        def run_node(self, n: torch.fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, torch.Tensor) and n.op != "output" and result.ndim > 1:
                shapes[n.name] = tuple(result.shape[1:])
                low, high = float(result.min()), float(result.max())
                if not (np.isfinite(low) and np.isfinite(high)):
                    raise BadInput(f"The network's value '{n.name}' is NaN or infinite on the calibration data.")
                before = ranges.get(n.name, (low, high))
                ranges[n.name] = min(low, before[0]), max(high, before[1])
            return result

    recorder = Recording(traced)
    for start in range(0, len(x), CALIBRATION_BATCH):
        try:
            with torch.no_grad():
                recorder.run(torch.from_numpy(x[start : start + CALIBRATION_BATCH]))
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(
                f"The network does not take the calibration data of shape {x.shape}: {first_line(error)}."
            ) from error
    return shapes, ranges


def _checked(x: object) -> NDArray[np.float32]:
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or not 2 <= x.ndim <= 4 or x.size == 0:
        shown = f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise BadInput(f"calibration_x is a float32 array (N, C, H, W), (N, C, T) or (N, F), not {shown}.")
    if not np.isfinite(x).all():
        raise BadInput("calibration_x holds NaN or infinite values; remove or replace them first.")
    return np.ascontiguousarray(x)


def _run(traced: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    with torch.no_grad():
        result: NDArray[np.float32] = traced(torch.from_numpy(x)).numpy()
    return result


def _run_file(content: bytes, x: NDArray[np.float32], graph: Graph, made: _Quantizer) -> NDArray[np.float32]:
    """The outputs of the file in LiteRT's reference kernels, dequantized."""
    from ai_edge_litert import interpreter as litert

    with silenced():
        runtime = litert.Interpreter(
            model_content=content, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF, num_threads=1
        )
    runtime.allocate_tensors()
    start, end = runtime.get_input_details()[0]["index"], runtime.get_output_details()[0]["index"]
    results = []
    for item in np.moveaxis(x, 1, -1) if x.ndim > 2 else x:
        q = np.clip(np.rint(item / np.float32(made.input.scale)) + made.input.zero_point, -128, 127).astype(np.int8)
        runtime.set_tensor(start, q.reshape(graph.shape))
        runtime.invoke()
        results.append(runtime.get_tensor(end)[0].astype(np.float32))
    return (np.stack(results) - made.output.zero_point) * np.float32(made.output.scale)
