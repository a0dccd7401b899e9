"""PyTorch network to int8 TensorFlow Lite file, in the open: calibrated, quantized, written and checked here.

Activations get the smallest and largest value of the calibration data, weights of convolutions a scale per output
channel, biases 32 bits at the product of the two scales: the scheme of TensorFlow's converter
(https://ai.google.dev/edge/litert/models/quantization_spec), without TensorFlow.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelab.convert.tflite_graph import Graph, lower, trace
from edgelab.convert.tflite_quantize import Quantizer, calibrate
from edgelab.errors import BadInput
from edgelab.files import expanded, write_bytes
from edgelab.quiet import first_line, silenced

if TYPE_CHECKING:
    import torch

CHECKED_ITEMS = 32
MAX_MEAN_STEPS = 4.0


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


def export_int8(
    module: torch.nn.Module,
    calibration_x: NDArray[np.float32],
    path: str | os.PathLike[str],
    *,
    per_channel: bool = True,
    input_range: tuple[float, float] | None = None,
    softmax: bool = False,
    ranges: Mapping[str, tuple[float, float]] | None = None,
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
    ranges
        Ends of the range of some tensors, by the node of the traced network that makes them, where training has fixed
        them; the others take theirs from the calibration data.

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
    shapes, spans = calibrate(traced, x)
    if unknown := sorted(set(ranges or {}) - set(spans)):
        raise BadInput(f"ranges names no tensor {unknown[0]!r}; the tensors are {', '.join(spans)}.")
    graph = lower(traced, shapes)
    made = Quantizer(graph, {**spans, **(ranges or {})}, per_channel, input_range)
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
        path=expanded(path),
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
        result: NDArray[np.float32] = traced(torch.tensor(x)).numpy()
    return result


def _run_file(content: bytes, x: NDArray[np.float32], graph: Graph, made: Quantizer) -> NDArray[np.float32]:
    """The outputs of the file in LiteRT's reference kernels, dequantized."""
    from ai_edge_litert import interpreter as litert

    kernels = litert.OpResolverType.BUILTIN_REF
    try:
        with silenced():
            runtime = litert.Interpreter(model_content=content, experimental_op_resolver_type=kernels, num_threads=1)
        runtime.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise BadInput(f"LiteRT does not load the converted network: {first_line(error)}.") from error
    start, end = runtime.get_input_details()[0]["index"], runtime.get_output_details()[0]["index"]
    results = []
    for item in np.moveaxis(x, 1, -1) if x.ndim > 2 else x:
        q = np.clip(np.rint(item / np.float32(made.input.scale)) + made.input.zero_point, -128, 127).astype(np.int8)
        runtime.set_tensor(start, q.reshape(graph.shape))
        runtime.invoke()
        results.append(runtime.get_tensor(end)[0].astype(np.float32))
    return (np.stack(results) - made.output.zero_point) * np.float32(made.output.scale)
