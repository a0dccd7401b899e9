"""A PyTorch network, or a program that `torch.export` made of it, as a file of each format.

`to_onnx`, `to_tflite` and `to_coreml` take the same arguments in the same order. Nothing is checked against the network
here; `edgelab.toolbox.convert` does that before a file is kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.convert.programs import fixed, input_values, program, refusal, tensors
from edgelab.errors import BadInput, EdgelabError, MissingFramework
from edgelab.files import write_bytes
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
            if precision == "float16":
                model = _halved(model)
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
    content = tflite_bytes(net, example)
    if precision == "float16":
        content = tflite_float16(content)
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


def tflite_bytes(net: Network, example: Example) -> bytes:
    """The bytes of the float32 .tflite file of `to_tflite`."""
    import torch

    exported = _single(net, example)
    inputs = tuple(torch.zeros(tuple(value.shape), dtype=value.dtype) for _, value in input_values(exported))
    images = [i for i, x in enumerate(inputs) if x.ndim == 4 and x.is_floating_point()]
    try:
        with natively_silenced(), torch.no_grad():
            litert_torch = _litert_torch()
            module = exported.module(check_guards=False)
            if images:
                module = litert_torch.to_channel_last_io(module, args=images)
                inputs = tuple(x.permute(0, 2, 3, 1).contiguous() if i in images else x for i, x in enumerate(inputs))
            content = _content(litert_torch.convert(module, inputs))
    except EdgelabError:
        raise
    except Exception as error:
        raise refusal(exported, error, "TensorFlow Lite") from error
    return content


def tflite_float16(content: bytes) -> bytes:
    """A float32 .tflite file with the weights of its convolutions and dense layers in float16."""
    with natively_silenced():
        quantizer, qtyping, manager = _edge_quantizer()
        made = quantizer.Quantizer(content)
        weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=weights,
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        made.update_quantization_recipe(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=config,
            algorithm_key=manager.AlgorithmName.FLOAT_CASTING,
        )
        return bytes(made.quantize().quantized_model)


def tflite_int8(content: bytes, calibration: Sequence[Sequence[NDArray[Any]]]) -> bytes:
    """A float32 .tflite file in int8, weights per output channel and activations per tensor.

    Parameters
    ----------
    content
        The float32 file.
    calibration
        Items, each the arrays of all inputs in the file's order and layout, with a batch of 1.

    Raises
    ------
    BadInput
        If the quantizer refuses the network, with its reason.
    """
    try:
        with natively_silenced():
            quantizer, _, _ = _edge_quantizer()
            from ai_edge_quantizer import recipe

            made = quantizer.Quantizer(content, recipe.static_wi8_ai8())
            names = _signature_inputs(content)
            feeds = [dict(zip(names, item, strict=True)) for item in calibration]
            ranges = made.calibrate({_SIGNATURE: feeds})
            return bytes(made.quantize(ranges).quantized_model)
    except EdgelabError:
        raise
    except Exception as error:
        raise BadInput(f"LiteRT's quantizer refuses the network: {first_line(error)}.") from error


def coreml_program(net: Network, example: Example, *, precision: Precision = "float32") -> Any:
    """Coremltools' own object of `to_coreml`, not yet saved."""
    import torch

    ct = mlpackage.coremltools()
    exported = _single(net, example)
    inputs = [
        ct.TensorType(name=name, shape=tuple(value.shape), dtype=np.int32 if value.dtype in _integers() else np.float32)
        for name, value in input_values(exported)
    ]
    outputs = [ct.TensorType(name=name) for name in _output_names(exported)]
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
    return Path(path)


_SIGNATURE = "serving_default"


def _integers() -> frozenset[Any]:
    import torch

    return frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool})


def _single(net: Network, example: Example) -> torch.export.ExportedProgram:
    """The program with a batch of 1 where its batch is open, and every other size the example's."""
    inputs = tuple(x[:1] for x in tensors(example))
    exported = program(net, inputs, dynamic_batch=False)
    wide = any(isinstance(v.shape[0], int) and v.shape[0] != 1 for _, v in input_values(exported) if v.ndim)
    return fixed(exported, tensors(example) if wide else inputs)


def _output_names(exported: torch.export.ExportedProgram) -> list[str]:
    count = len(exported.graph_signature.user_outputs)
    taken = {name for name, _ in input_values(exported)}
    stem = "output" if not any(name.startswith("output") for name in taken) else "result"
    return [stem if i == 0 else f"{stem}_{i}" for i in range(count)]


def _halved(model: Any) -> Any:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=False)


def _litert_torch() -> Any:
    try:
        import litert_torch
    except ImportError as error:
        raise MissingFramework(
            f"litert-torch is not installed ({first_line(error)}); add it with: uv sync --group litert"
        ) from None
    return litert_torch


def _edge_quantizer() -> tuple[Any, Any, Any]:
    try:
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
    except ImportError as error:
        raise MissingFramework(
            f"ai-edge-quantizer is not installed ({first_line(error)}); add it with: uv sync --group litert"
        ) from None
    return quantizer, qtyping, algorithm_manager


def _content(made: Any) -> bytes:
    """The bytes of litert-torch's model."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.tflite"
        made.export(str(file))
        return file.read_bytes()


def _signature_inputs(content: bytes) -> list[str]:
    """The names of the signature's inputs in the order of the file's own."""
    from ai_edge_litert import interpreter as litert

    runtime = litert.Interpreter(model_content=content)
    runner = runtime.get_signature_runner(_SIGNATURE)
    by_index = {details["index"]: name for name, details in runner.get_input_details().items()}
    return [by_index[details["index"]] for details in runtime.get_input_details()]


def _started(precision: str) -> float:
    if precision not in ("float32", "float16"):
        raise BadInput(f"precision={precision!r} is not one of 'float32', 'float16'.")
    return time.perf_counter()


def _converted(path: str | os.PathLike[str], kind: str, precision: str, started: float) -> Converted:
    return Converted(Path(path), kind, mlpackage.folder_bytes(path), precision, time.perf_counter() - started)
