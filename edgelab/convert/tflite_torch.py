"""A PyTorch program as a .tflite file by litert-torch, and that file in fewer bits by LiteRT's own quantizer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgelab.convert.programs import input_values, refusal, single
from edgelab.errors import BadInput, EdgelabError, MissingFramework
from edgelab.quiet import first_line, natively_silenced

if TYPE_CHECKING:
    from edgelab.convert.programs import Example, Network

_SIGNATURE = "serving_default"


def float32_bytes(net: Network, example: Example) -> bytes:
    """The bytes of the float32 .tflite file of `edgelab.convert.to_tflite`."""
    import torch

    exported = single(net, example)
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


def float16_bytes(content: bytes) -> bytes:
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


def int8_bytes(content: bytes, calibration: Sequence[Sequence[NDArray[Any]]]) -> bytes:
    """A float32 .tflite file in int8: weights per output channel, activations from the smallest value to the largest.

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
            from ai_edge_quantizer import calibrator, recipe, recipe_manager
            from ai_edge_quantizer.utils import qsv_utils

            chosen = recipe.static_wi8_ai8()
            manager = recipe_manager.RecipeManager()
            manager.load_quantization_recipe(chosen)
            # Its default is a moving average over items, which cuts the ends of a range off.
            ranges = calibrator.Calibrator(content, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
            names = _signature_inputs(content)
            ranges.calibrate({_SIGNATURE: [dict(zip(names, item, strict=True)) for item in calibration]}, manager)
            made = quantizer.Quantizer(content, chosen)
            return bytes(made.quantize(ranges.get_model_qsvs()).quantized_model)
    except EdgelabError:
        raise
    except Exception as error:
        raise BadInput(f"LiteRT's quantizer refuses the network: {first_line(error)}.") from error


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
