"""One post-training quantizer of others, run in an environment of its own by `compression.py`; nothing of edgelab.

``python compression_peers.py TOOL float.onnx|float.tflite arrays.npz OUT`` calibrates on ``calibration`` of the arrays
and writes either the tool's file, or, where the tool only simulates, its answers to ``report`` as OUT.npy.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np


def nncf_onnx(model: str, calibration: np.ndarray, _: np.ndarray, out: Path, *, per_tensor: bool = False) -> None:
    import nncf
    import onnx

    network = onnx.load(model)
    name = network.graph.input[0].name
    data = nncf.Dataset([{name: item[None]} for item in calibration])
    extra = {}
    if per_tensor:
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters

        one = QuantizationParameters(per_channel=False)
        extra["advanced_parameters"] = AdvancedQuantizationParameters(
            activations_quantization_params=one, weights_quantization_params=one
        )
    quantized = nncf.quantize(network, data, subset_size=len(calibration), **extra)
    onnx.save(quantized, out.with_suffix(".onnx"))


def aimet(
    model: str,
    calibration: np.ndarray,
    report: np.ndarray,
    out: Path,
    *,
    equalise: bool,
    per_channel: bool,
    bits: int = 8,
    adaround: bool = False,
) -> None:
    import json
    import tempfile

    import onnx
    from aimet_onnx.cross_layer_equalization import equalize_model
    from aimet_onnx.quantsim import QuantizationSimModel

    network = onnx.load(model)
    if equalise:
        equalize_model(network)
    name = network.graph.input[0].name
    batches = [{name: calibration[i : i + 20]} for i in range(0, len(calibration), 20)]
    config = {
        "defaults": {
            "ops": {"is_output_quantized": "True"},
            "params": {"is_quantized": "True", "is_symmetric": "True"},
            "strict_symmetric": "False",
            "per_channel_quantization": str(per_channel),
        },
        "params": {"bias": {"is_quantized": "False"}},
        "op_type": {},
        "supergroups": [{"op_list": ["Conv", "Relu"]}, {"op_list": ["Conv", "Clip"]}, {"op_list": ["Gemm", "Relu"]}],
        "model_input": {"is_input_quantized": "True"},
        "model_output": {},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump(config, file)
    kinds = {"param_type": f"int{bits}", "activation_type": "int8" if bits == 8 else "float16"}
    sim = QuantizationSimModel(network, config_file=file.name, **kinds)
    if adaround:
        from aimet_onnx import apply_adaround

        apply_adaround(sim, batches, num_iterations=500)
    sim.compute_encodings(batches)
    parts = [sim.session.run(None, {name: report[i : i + 20]})[0] for i in range(0, len(report), 20)]
    np.save(out.with_suffix(".npy"), np.concatenate(parts))


def litert(model: str, calibration: np.ndarray, _: np.ndarray, out: Path, *, bits: int = 8) -> None:
    from litert_quantizer import quantizer, recipe

    made = quantizer.Quantizer(model)
    if bits == 8:
        made.load_quantization_recipe(recipe.static_wi8_ai8())
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model)
        key = next(iter(interpreter.get_signature_list()))
        name = interpreter.get_signature_list()[key]["inputs"][0]
        last = interpreter.get_input_details()[0]["shape"][-1] == calibration.shape[1]
        items = calibration.transpose(0, 2, 3, 1) if last else calibration
        seen = made.calibrate({key: [{name: np.ascontiguousarray(item[None])} for item in items]})
        content = made.quantize(seen).quantized_model
    else:
        made.load_quantization_recipe(recipe.weight_only_wi4_afp32())
        content = made.quantize().quantized_model
    out.with_suffix(".tflite").write_bytes(bytes(content))


def tensorflow_int8(model: str, calibration: np.ndarray, _: np.ndarray, out: Path, *, per_tensor: bool = False) -> None:
    """TFLite's converter on the same weights: the chain of convolutions is rebuilt in TensorFlow, with its padding."""
    import onnx
    import tensorflow as tf

    network = onnx.load(model)
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in network.graph.initializer}
    pad = [[0, 0], [0, 0], [0, 0], [0, 0]]

    def convolution(node: Any, x: Any) -> Any:
        options = {a.name: a for a in node.attribute}
        weight, bias = constants[node.input[1]], constants[node.input[2]]
        stride, pads = options["strides"].ints[0], options["pads"].ints
        if any(pads):
            x = tf.pad(x, [pad[0], [pads[0], pads[2]], [pads[1], pads[3]], pad[3]])
        if options["group"].i > 1:
            return tf.nn.depthwise_conv2d(x, weight.transpose(2, 3, 0, 1), [1, stride, stride, 1], "VALID") + bias
        return tf.nn.conv2d(x, weight.transpose(2, 3, 1, 0), stride, "VALID") + bias

    makers = {
        "Constant": lambda _, x: x,
        "Conv": convolution,
        "Clip": lambda _, x: tf.nn.relu6(x),
        "Relu": lambda _, x: tf.nn.relu(x),
        "GlobalAveragePool": lambda _, x: tf.reduce_mean(x, [1, 2], keepdims=True),
        "Flatten": lambda _, x: tf.reshape(x, [1, -1]),
        "Gemm": lambda node, x: tf.matmul(x, constants[node.input[1]].T) + constants[node.input[2]],
    }

    def forward(x: Any) -> Any:
        for node in network.graph.node:
            x = makers[node.op_type](node, x)
        return x

    items = calibration.transpose(0, 2, 3, 1)
    function = tf.function(forward, input_signature=[tf.TensorSpec([1, *items.shape[1:]], tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([item[None]] for item in items)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    setattr(converter, "_experimental_disable_per_channel", per_tensor)  # noqa: B010 - the only switch there is
    out.with_suffix(".tflite").write_bytes(converter.convert())


TOOLS = {
    "nncf": nncf_onnx,
    "nncf-per-tensor": lambda *a: nncf_onnx(*a, per_tensor=True),
    "aimet-per-tensor": lambda *a: aimet(*a, equalise=False, per_channel=False),
    "aimet-cle-per-tensor": lambda *a: aimet(*a, equalise=True, per_channel=False),
    "aimet-cle-per-channel": lambda *a: aimet(*a, equalise=True, per_channel=True),
    "aimet-cle-4": lambda *a: aimet(*a, equalise=True, per_channel=True, bits=4),
    "aimet-cle-adaround-4": lambda *a: aimet(*a, equalise=True, per_channel=True, bits=4, adaround=True),
    "litert-quantizer": litert,
    "litert-quantizer-4": lambda *a: litert(*a, bits=4),
    "tflite": tensorflow_int8,
    "tflite-per-tensor": lambda *a: tensorflow_int8(*a, per_tensor=True),
}

if __name__ == "__main__":
    tool, source, arrays, target = sys.argv[1:]
    with np.load(arrays) as held:
        TOOLS[tool](source, held["calibration"], held["report"], Path(target))
