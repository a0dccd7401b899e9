"""A float32 .tflite file in fewer bits by LiteRT's own quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from edgelab.errors import BadInput, EdgelabError, MissingFramework
from edgelab.quiet import first_line, natively_silenced

_SIGNATURE = "serving_default"


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


def _edge_quantizer() -> tuple[Any, Any, Any]:
    try:
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
    except ImportError as error:
        raise MissingFramework(
            f"ai-edge-quantizer is not installed ({first_line(error)}); add it with: uv sync --group litert"
        ) from None
    return quantizer, qtyping, algorithm_manager


def _signature_inputs(content: bytes) -> list[str]:
    """The names of the signature's inputs in the order of the file's own."""
    from ai_edge_litert import interpreter as litert

    runtime = litert.Interpreter(model_content=content)
    runner = runtime.get_signature_runner(_SIGNATURE)
    by_index = {details["index"]: name for name, details in runner.get_input_details().items()}
    return [by_index[details["index"]] for details in runtime.get_input_details()]
