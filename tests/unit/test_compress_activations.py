"""A ReLU or Clip beside other readers of its input is part of the quantized network, in both formats."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgelab.compress.ptq import quantize_static

ACTIVATIONS = {
    "relu": ([helper.make_node("Relu", ["c"], ["a"])], {}),
    "clip": ([helper.make_node("Clip", ["c", "", "high"], ["a"])], {"high": np.array(0.3, np.float32)}),
    "relu then clip": (
        [helper.make_node("Relu", ["c"], ["r"]), helper.make_node("Clip", ["r", "", "high"], ["a"])],
        {"high": np.array(0.3, np.float32)},
    ),
}


def run(path, x):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_counts_where_its_input_has_other_readers(tmp_path, activation, shared, form):
    rng = np.random.default_rng(3)
    nodes, constants = ACTIVATIONS[activation]
    constants = {**constants, "w": rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), *nodes]
    nodes += [helper.make_node("Add", ["a", "c"], ["s"])] if shared else []
    nodes += [helper.make_node("GlobalAveragePool", ["s" if shared else "a"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 8, 1, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    source = tmp_path / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), source)
    x = rng.normal(0, 1, (32, 3, 8, 8)).astype(np.float32)
    made = quantize_static(source, tmp_path / "int8.onnx", x, format=form).path
    right = run(source, x)
    assert np.abs(run(made, x) - right).max() < 0.15 * right.std()
