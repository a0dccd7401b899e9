"""PyTorch network to ONNX file, checked in ONNX Runtime before it is kept.

PyTorch has two exporters. The tracing one takes 0.05 s for a small network and writes the plain operators that
quantizers know; the newer one takes seconds, but follows control flow that tracing cannot see. `export` traces,
and turns to the newer one where tracing fails or warns that the result may depend on the example.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelab.convert.programs import own_tensor
from edgelab.errors import BadInput
from edgelab.files import expanded, write_bytes
from edgelab.quiet import first_line, silenced

if TYPE_CHECKING:
    import torch

MIN_OPSET, TRACED_MAX_OPSET, MAX_OPSET = 11, 20, 23
NEWER_MIN_OPSET = 18
MAX_BYTES = 2**31 - 1  # a protobuf message ends here; larger networks need external data, which is never left behind


@dataclass(frozen=True)
class OnnxExport:
    """What `export` wrote and how closely it follows the network.

    ``max_abs_error`` is the largest difference of any output on the checked inputs; ``seconds`` the time of export
    and check together; ``exporter`` is ``"traced"`` or ``"dynamo"``.
    """

    path: Path
    bytes: int
    max_abs_error: float
    opset: int
    exporter: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {**vars(self), "path": str(self.path)}

    def _repr_markdown_(self) -> str:
        return (
            f"`{self.path.name}`: {self.bytes:,} bytes, opset {self.opset}, within {self.max_abs_error:.1e} of the "
            f"network, *measured* in ONNX Runtime ({self.exporter} in {self.seconds:.2f} s)"
        )


def export(
    net: torch.nn.Module,
    example: torch.Tensor | NDArray[Any] | Sequence[torch.Tensor],
    path: str | os.PathLike[str],
    *,
    dynamic_batch: bool = True,
    opset: int = 18,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> OnnxExport:
    """Write ``net`` in evaluation mode as one ONNX file, and check the file against the network.

    The check runs both on ``example`` and on random inputs of its kind (batches of 1 and 3 as well if the batch is
    dynamic). Inputs are named ``input`` (``input_1``, ...), outputs ``logits`` (``logits_1``, ...).

    Parameters
    ----------
    net
        The network; its training mode is as before afterwards.
    example
        One batch as the network takes it, batch first, or a sequence of several inputs.
    path
        The .onnx file; it is whole or absent, and holds all weights.
    dynamic_batch
        Leave the batch size open. False keeps the example's.
    opset
        Version of the ONNX operator set.
    tolerance
        Largest difference allowed, as a share of the largest output; for float16 at least four of its steps.
    seed
        Of the random inputs.

    Raises
    ------
    BadInput
        If the network does not take the example, cannot be exported, or the file computes something else.
    BadFile
        If the file cannot be written.
    """
    import torch

    started = time.perf_counter()
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise BadInput(f"opset={opset} is not one of {MIN_OPSET} to {MAX_OPSET}.")
    given = example if isinstance(example, tuple | list) else (example,)
    inputs = tuple(own_tensor(x) for x in given)
    if not inputs or any(x.ndim == 0 or x.numel() == 0 for x in inputs):
        raise BadInput("The example needs at least one element in each input, batch first.")
    if not all(torch.isfinite(x).all() for x in inputs):
        raise BadInput("The example holds NaN or infinity; no check could pass on it.")
    if dynamic_batch and all(len(x) == 1 for x in inputs):
        inputs = tuple(torch.cat([x, x]) for x in inputs)  # a batch of 1 would be taken for a constant
    with _evaluating(net), torch.no_grad():
        overwrites = _overwrites(net, inputs)
        content, exporter = _export_any(net, inputs, dynamic_batch, opset)
        settings: dict[str, Any] = {"dynamic_batch": dynamic_batch, "tolerance": tolerance, "seed": seed}
        try:
            error = _check(net, inputs, content, **settings)
        except BadInput as refusal:
            if not overwrites or exporter != "traced" or opset < NEWER_MIN_OPSET:
                raise
            # Tracing loses what a network writes into a view of its input; the newer exporter follows it.
            try:
                content, exporter = _export_any(net, inputs, dynamic_batch, opset, traced=False)
                error = _check(net, inputs, content, **settings)
            except BadInput:
                raise refusal from None
    write_bytes(path, content)
    return OnnxExport(expanded(path), len(content), error, opset, exporter, time.perf_counter() - started)


def halved(model: Any) -> Any:
    """An ONNX model with its weights and sums in float16; its inputs and outputs stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)


def without_sources(model: Any) -> None:
    """Take out of an ONNX model what the newer exporter writes into it: lines of source, and where these files lie."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
            for attribute in node.attribute:
                graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
        for value in graph.value_info:
            del value.metadata_props[:]


def _export_any(
    net: torch.nn.Module, inputs: tuple[torch.Tensor, ...], dynamic_batch: bool, opset: int, *, traced: bool = True
) -> tuple[bytes, str]:
    """The bytes of the file, and which exporter made them."""
    reasons: list[str] = []
    if traced and opset <= TRACED_MAX_OPSET:
        try:
            return _traced(net, inputs, dynamic_batch, opset), "traced"
        except Exception as error:  # noqa: BLE001  (an exporter may raise anything)
            reasons.append(first_line(error))
    if opset >= NEWER_MIN_OPSET:
        try:
            return _newer(net, inputs, dynamic_batch, opset), "dynamo"
        except Exception as error:  # noqa: BLE001
            reasons.append(first_line(error))
    raise BadInput(
        f"{type(net).__name__} cannot be exported to ONNX opset {opset}: {reasons[0]}. Replace that operation, "
        "or compute it outside the network."
    )


def _traced(net: torch.nn.Module, inputs: tuple[torch.Tensor, ...], dynamic_batch: bool, opset: int) -> bytes:
    import torch

    names, out_names = _names("input", len(inputs)), _names("logits", len(_run(net, inputs)))
    axes = {name: {0: "batch"} for name in (*names, *out_names)} if dynamic_batch else None
    stream = io.BytesIO()
    with silenced() as caught:
        torch.onnx.export(
            net,
            _copies(inputs),
            stream,  # type: ignore[arg-type]  # the tracing exporter writes to streams, its type does not say so
            dynamo=False,
            opset_version=opset,
            input_names=names,
            output_names=out_names,
            dynamic_axes=axes,
        )
    own = str(Path(torch.__file__).parent)  # PyTorch's own layers branch on shapes; the check holds them
    for warning in caught:
        if warning.category.__name__ == "TracerWarning" and not warning.filename.startswith(own):
            place = f"{Path(warning.filename).name} line {warning.lineno}"
            raise BadInput(f"it decides by the value of a tensor ({place}), which a file cannot follow")
    return stream.getvalue()


def _newer(net: torch.nn.Module, inputs: tuple[torch.Tensor, ...], dynamic_batch: bool, opset: int) -> bytes:
    import onnx
    import torch

    shapes = tuple({0: torch.export.Dim("batch")} for _ in inputs) if dynamic_batch else None
    names, out_names = _names("input", len(inputs)), _names("logits", len(_run(net, inputs)))
    with tempfile.TemporaryDirectory() as folder, silenced():
        file = Path(folder) / "net.onnx"
        torch.onnx.export(
            net,
            _copies(inputs),
            file,
            dynamo=True,
            opset_version=opset,
            input_names=names,
            output_names=out_names,
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
        )
        model = onnx.load(str(file))
    if model.ByteSize() > MAX_BYTES:
        raise BadInput("it is larger than the 2 GB that one ONNX file can hold")
    without_sources(model)
    content: bytes = model.SerializeToString()
    return content


def _check(
    net: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    content: bytes,
    *,
    dynamic_batch: bool,
    tolerance: float,
    seed: int,
) -> float:
    """Run network and file side by side; the largest difference of any output."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadInput(f"ONNX Runtime does not load the exported network: {first_line(error)}.") from error
    rng, worst = np.random.default_rng(seed), 0.0
    dynamic = not any(isinstance(node.shape[0], int) for node in session.get_inputs())
    if dynamic_batch and not dynamic:
        raise BadInput(f"{type(net).__name__} fixes the batch size; export it with dynamic_batch=False.")
    sizes = [len(inputs[0]), *((1, 3) if dynamic else ())]
    batches = [inputs, *(tuple(_random_like(x, size, rng) for x in inputs) for size in sizes)]
    accepted = {node.name for node in session.get_inputs()}
    for batch in batches:
        expected = [y.numpy() for y in _run(net, batch)]
        named = zip(_names("input", len(batch)), batch, strict=True)
        try:
            found = session.run(None, {name: x.numpy() for name, x in named if name in accepted})
        except Exception as error:
            raise BadInput(
                f"The exported network fails on a batch of {len(batch[0])} ({first_line(error)}); "
                "export it with dynamic_batch=False."
            ) from error
        for ours, theirs in zip(expected, found, strict=True):
            difference = np.abs(ours.astype(np.float64) - theirs).max() if ours.shape == theirs.shape else np.inf
            worst = max(worst, float(difference))
            peak = max(1e-6, float(np.abs(ours).max()))
            coarse = 4 * float(np.finfo(np.float16).eps) if ours.dtype == np.float16 else 0.0
            if not difference <= max(tolerance, coarse) * peak:  # NaN fails as well
                raise BadInput(
                    f"The exported file differs from the network by {difference:.2g} on a batch of {len(batch[0])}, "
                    f"more than the tolerance of {tolerance:g}; nothing was written. Look for an operation that is "
                    "random or that depends on the batch."
                )
    return worst


def _random_like(x: torch.Tensor, size: int, rng: np.random.Generator) -> torch.Tensor:
    """Random values between the smallest and the largest of ``x``: the kind of input the example stands for."""
    import torch

    shape = (size, *x.shape[1:])
    if x.dtype == torch.bool:
        return torch.from_numpy(rng.random(shape) < 0.5)
    low, high = x.min().item(), x.max().item()
    if x.is_floating_point():
        low, high = (low, high) if high > low else (low - 1, high + 1)
        return torch.from_numpy(rng.uniform(low, high, shape)).to(x.dtype)
    return torch.from_numpy(rng.integers(int(low), int(high) + 1, shape)).to(x.dtype)


def _overwrites(net: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> bool:
    """Whether the network works in place on what it is given."""
    import torch

    copies = _copies(inputs)
    _run(net, copies, own=True)
    return not all(torch.equal(x, y) for x, y in zip(inputs, copies, strict=True))


def _run(net: torch.nn.Module, inputs: tuple[torch.Tensor, ...], *, own: bool = False) -> tuple[torch.Tensor, ...]:
    """The outputs; ``own`` inputs may be overwritten."""
    import torch

    shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
    try:
        result = net(*(inputs if own else _copies(inputs)))
    except Exception as error:
        raise BadInput(
            f"{type(net).__name__} does not take an input of shape {shapes}: {first_line(error)}."
        ) from error
    outputs = result if isinstance(result, tuple | list) else (result,)
    if not outputs or not all(isinstance(y, torch.Tensor) for y in outputs):
        raise BadInput(f"{type(net).__name__} returns {type(result).__name__}; an exported network returns tensors.")
    return tuple(outputs)


def _copies(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """What a network that works in place may overwrite."""
    return tuple(x.clone() for x in inputs)


def _names(stem: str, count: int) -> list[str]:
    return [stem if i == 0 else f"{stem}_{i}" for i in range(count)]


@contextlib.contextmanager
def _evaluating(net: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; every module's own mode and the values of all buffers after it."""
    import torch

    fast = torch.backends.mha.get_fastpath_enabled()  # a fused attention kernel, which no exporter knows
    modes = [(module, module.training, dict(module._buffers)) for module in net.modules()]  # noqa: SLF001
    values = [(buffer, buffer.detach().clone()) for buffer in net.buffers()]
    net.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode, buffers in modes:
            module.training = mode
            module._buffers.update(buffers)  # noqa: SLF001
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)
