"""Quantization of a lowered network: ranges from data, scales for every tensor, the file, and its simulation.

The scheme is that of TensorFlow's converter: activations from the smallest to the largest value seen, weights without
zero point from -127 to 127, biases 32 bits at the product of the scales of input and weights
(https://ai.google.dev/edge/litert/models/quantization_spec).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelab.convert.tflite_graph import Graph, Step
from edgelab.errors import BadInput
from edgelab.models.tflite_writer import TfliteWriter
from edgelab.quiet import first_line

if TYPE_CHECKING:
    import torch

CALIBRATION_BATCH = 64
BIAS_LIMIT = 2**30
FIXED = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
KEEPING = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D", "RELU6", "RESHAPE"})  # the kernels do not rescale


@dataclass(frozen=True)
class Quant:
    """Scale and zero point of one int8 tensor."""

    scale: float
    zero_point: int

    def fake(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` rounded to what the integers can say."""
        import torch

        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, -128, 127)


class Quantizer:
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

        class Rounding(torch.fx.Interpreter):
            def run_node(self, n: torch.fx.Node) -> Any:
                result = super().run_node(n)
                return quants[n.name].fake(result) if n.name in quants else result

        with torch.no_grad():
            result: NDArray[np.float32] = Rounding(self._simulated).run(torch.tensor(x)).numpy()
        return result

    def _names(self) -> list[str]:
        return [f"{i}_{step.code.lower()}" for i, step in enumerate(self._graph.steps)]

    def _quant(self, step: Step, before: Quant) -> Quant:
        if step.code in FIXED:
            return Quant(*FIXED[step.code])
        return before if step.code in KEEPING else _affine(*self._ranges[step.node])

    def _pad(self, writer: TfliteWriter, step: Step, x: int, made: tuple[int, Quant], names: list[str]) -> int:
        source = step.inputs[0]
        shape = self._graph.steps[names.index(source)].shape if source else self._graph.shape
        amounts = [(0, 0), *(step.pads or ()), (0, 0)]
        padded = [n + sum(p) for n, p in zip(shape, amounts, strict=True)]
        self.codes.append("PAD")
        paddings = writer.constant(np.asarray(amounts, dtype=np.int32))
        return writer.operator("PAD", [x, paddings], padded, made[1].scale, made[1].zero_point)

    def _weights(self, writer: TfliteWriter, step: Step, before: Quant) -> list[int]:
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


def _affine(low: float, high: float) -> Quant:
    """Scale and zero point of 8 signed bits that cover the range, 0 included."""
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise BadInput(f"A range runs upwards between finite ends, not from {low} to {high}.")
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    if scale < np.finfo(np.float32).tiny:
        return Quant(1.0, 0)
    return Quant(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def calibrate(traced: Any, x: NDArray[np.float32]) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[float, float]]]:
    """Shape without the batch, and smallest and largest value, of every node that holds a tensor."""
    import torch

    shapes: dict[str, tuple[int, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}

    class Recording(torch.fx.Interpreter):
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
                recorder.run(torch.tensor(x[start : start + CALIBRATION_BATCH]))
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(
                f"The network does not take the calibration data of shape {x.shape}: {first_line(error)}."
            ) from error
    return shapes, ranges
