"""A PyTorch network, or a program that `torch.export` made of it, as a file of each format.

`to_onnx`, `to_tflite` and `to_coreml` take the same arguments in the same order. Nothing is checked against the network
here; `edgelab.toolbox.convert` does that before a file is kept.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgelab.convert import litert, litert_quantize
from edgelab.convert.programs import input_values, on_copies, output_dtypes, program, refusal, single
from edgelab.errors import BadInput
from edgelab.files import expanded, write_bytes
from edgelab.models import mlpackage
from edgelab.quiet import first_line, natively_silenced

if TYPE_CHECKING:
    import torch

    from edgelab.convert.programs import Example, Network

Precision = Literal["float32", "float16"]
OPSET = 18
MAX_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Converted:
    """A file that was written: its format, its bytes, the type of its weights, and the seconds that it took."""

    path: Path
    format: str
    bytes: int
    precision: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {**vars(self), "path": str(self.path)}

    def _repr_markdown_(self) -> str:
        return f"`{self.path.name}`: {self.bytes:,} bytes, {self.precision} ({self.seconds:.2f} s)"


def to_onnx(
    net: Network, example: Example, path: str | os.PathLike[str], *, precision: Precision = "float32"
) -> Converted:
    """Write a network as one ONNX file by PyTorch's newer exporter, opset 18; the batch stays open where it is.

    Parameters
    ----------
    net
        A network, which is exported in evaluation mode, or an exported program.
    example
        One batch as the network takes it, channels first, or a sequence of several inputs.
    path
        The file; it is whole or absent.
    precision
        The type of weights and sums. Inputs and outputs stay float32.

    Raises
    ------
    BadInput
        If the network does not take the example, or holds an operator that ONNX lacks; the sentence names its place.
    BadFile
        If the file cannot be written.
    """
    import torch

    from edgelab.convert.onnx import halved, without_sources

    started = _started(precision)
    exported = program(net, example, dynamic_batch=True)
    names = [name for name, _ in input_values(exported)]
    outputs = _output_names(exported)
    try:
        with natively_silenced(), torch.no_grad():
            made = torch.onnx.export(
                exported,
                (),
                dynamo=True,
                opset_version=OPSET,
                input_names=names,
                output_names=outputs,
                external_data=False,
                verbose=False,
            )
            model = made.model_proto  # type: ignore[union-attr]
            without_sources(model)
            if precision == "float16":
                model = halved(model)
    except Exception as error:
        raise refusal(exported, error, "ONNX") from error
    if model.ByteSize() > MAX_BYTES:
        raise BadInput("The network is larger than the 2 GB that one ONNX file can hold.")
    write_bytes(path, model.SerializeToString())
    return _converted(path, "onnx", precision, started)


def to_tflite(
    net: Network, example: Example, path: str | os.PathLike[str], *, precision: Precision = "float32"
) -> Converted:
    """Write a network as a .tflite file by litert-torch, with a batch of 1 and images channels last.

    Parameters
    ----------
    net, example, path
        As in `to_onnx`.
    precision
        The type of the weights. With float16 the runtime computes in float32 or float16, as it likes.

    Raises
    ------
    BadInput
        As in `to_onnx`.
    BadFile
        If the file cannot be written.
    MissingFramework
        If litert-torch is not installed.
    """
    started = _started(precision)
    content = litert.float32_bytes(net, example)
    if precision == "float16":
        content = litert_quantize.float16_bytes(content)
    write_bytes(path, content)
    return _converted(path, "tflite", precision, started)


def to_coreml(
    net: Network, example: Example, path: str | os.PathLike[str], *, precision: Precision = "float32"
) -> Converted:
    """Write a network as a Core ML package (ML Program, iOS 18) by coremltools, with a batch of 1.

    Parameters
    ----------
    net, example, path
        As in `to_onnx`; the path ends in .mlpackage.
    precision
        The type of weights and sums; Core ML's own default is float16. Inputs and outputs are float32.

    Raises
    ------
    BadInput
        As in `to_onnx`.
    BadFile
        If the package cannot be written.
    MissingFramework
        If coremltools is not installed.
    """
    started = _started(precision)
    model = coreml_program(net, example, precision=precision)
    save_coreml(model, path)
    return _converted(path, "coreml", precision, started)


def coreml_program(net: Network, example: Example, *, precision: Precision = "float32") -> Any:
    """Coremltools' own object of `to_coreml`, not yet saved."""
    import torch

    ct = mlpackage.coremltools()
    exported = single(net, example)
    if exported.run_decompositions({}).graph_signature.user_inputs_to_mutate:  # Core ML's inputs cannot be written to
        exported = single(on_copies(net), example)
    inputs = [
        ct.TensorType(name=name, shape=tuple(value.shape), dtype=np.int32 if value.dtype in _integers() else np.float32)
        for name, value in input_values(exported)
    ]
    # without a type a float output of a float16 program is float16
    kinds = output_dtypes(exported)
    outputs = [
        ct.TensorType(name=name, **({"dtype": np.float32} if kind is not None and kind.is_floating_point else {}))
        for name, kind in zip(_output_names(exported), kinds, strict=True)
    ]
    try:
        with natively_silenced(), torch.no_grad():
            return ct.convert(
                exported.run_decompositions({}),
                inputs=inputs,
                outputs=outputs,
                convert_to="mlprogram",
                minimum_deployment_target=ct.target.iOS18,
                compute_precision=getattr(ct.precision, precision.upper()),
                skip_model_load=True,
            )
    except Exception as error:
        raise refusal(exported, error, "Core ML") from error


def coreml_int8(model: Any) -> Any:
    """Coremltools' object with its weights in int8, a scale for each output channel."""
    mlpackage.coremltools()
    from coremltools.optimize import coreml as weights_of

    config = weights_of.OptimizationConfig(
        global_config=weights_of.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    )
    try:
        with natively_silenced():
            return weights_of.linear_quantize_weights(model, config)
    except Exception as error:
        raise BadInput(f"coremltools does not quantize the weights: {first_line(error)}.") from error


def save_coreml(model: Any, path: str | os.PathLike[str]) -> Path:
    """Save coremltools' object as a package, whole or not at all."""
    with mlpackage.writing_package(path) as temporary, natively_silenced():
        model.save(str(temporary))
    return expanded(path)


def _integers() -> frozenset[Any]:
    import torch

    return frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool})


def _output_names(exported: torch.export.ExportedProgram) -> list[str]:
    count = len(exported.graph_signature.user_outputs)
    taken = {name for name, _ in input_values(exported)}
    stem = "output" if not any(name.startswith("output") for name in taken) else "result"
    return [stem if i == 0 else f"{stem}_{i}" for i in range(count)]


def _started(precision: str) -> float:
    if precision not in ("float32", "float16"):
        raise BadInput(f"precision={precision!r} is not one of 'float32', 'float16'.")
    return time.perf_counter()


def _converted(path: str | os.PathLike[str], kind: str, precision: str, started: float) -> Converted:
    return Converted(expanded(path), kind, mlpackage.folder_bytes(path), precision, time.perf_counter() - started)
