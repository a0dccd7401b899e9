"""Small files of the kinds that published packages ship: recurrent states, open images, lengths and widths."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def value(name, shape, kind=FLOAT):
    """A stated input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def model(path, nodes, inputs, outputs, constants=(), metadata=None, seen=()):
    """Write a graph with constants by name."""
    made = [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(constants).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, made, value_info=list(seen))
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    if metadata:
        helper.set_model_props(whole, metadata)
    save(whole, path)
    return path


def voice(path):
    """Voice activity: sound of open length, the states of an LSTM, and the sampling rate as a scalar."""
    draw = np.random.default_rng(0)
    branch = helper.make_graph([helper.make_node("Identity", ["input"], ["a"])], "t", [], [value("a", None)])
    other = helper.make_graph([helper.make_node("Neg", ["input"], ["b"])], "e", [], [value("b", None)])
    nodes = [
        helper.make_node("Equal", ["sr", "k16"], ["is16"]),
        helper.make_node("If", ["is16"], ["z"], then_branch=branch, else_branch=other),
        helper.make_node("Transpose", ["z"], ["zt"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["zt", "two"], ["seq"]),
        helper.make_node("LSTM", ["seq", "W", "R", "", "", "h", "c"], ["Y", "hn", "cn"], hidden_size=8),
        helper.make_node("ReduceMean", ["hn"], ["output"], axes=[0, 2], keepdims=0),
    ]
    inputs = [value("input", ["batch", "samples"]), value("sr", [], INT64)]
    inputs += [value(name, [1, "batch", 8]) for name in ("h", "c")]
    constants = {
        "k16": np.int64(16000),
        "two": np.array([2]),
        "W": draw.standard_normal((1, 32, 1), dtype=np.float32),
        "R": draw.standard_normal((1, 32, 8), dtype=np.float32),
    }
    outputs = [value("output", None), value("hn", [1, "batch", 8]), value("cn", [1, "batch", 8])]
    return model(path, nodes, inputs, outputs, constants)


def counter(path):
    """A state of an unnamed batch that each run adds one to: what is fed back can be seen."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Add", ["state", "one"], ["stateN"]),
        helper.make_node("ReduceMax", ["stateN"], ["high"], keepdims=0),
        helper.make_node("Add", ["m", "high"], ["output"]),
    ]
    inputs = [value("input", [None, None]), value("state", [2, None, 4])]
    outputs = [value("output", [None, 1]), value("stateN", [None, None, None])]
    return model(path, nodes, inputs, outputs, {"one": np.float32(1)})


def detector(path, axes=("?", 3, "?", "?"), metadata=None, seen=()):
    """A detector of open height and width whose exporter calls all of its axes ``?``."""
    weight = np.random.default_rng(1).standard_normal((4, 3, 3, 3), dtype=np.float32)
    nodes = [
        helper.make_node("Identity", ["input.1"], ["same"]),
        helper.make_node("Conv", ["same", "w"], ["f"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["t", "flat"], ["scores"]),
    ]
    constants = {"w": weight, "flat": np.array([0, -1, 4])}
    outputs = [value("scores", None)]
    return model(path, nodes, [value("input.1", list(axes))], outputs, constants, metadata, seen)


def recogniser(path):
    """A recogniser of words: images 48 high of open width."""
    weight = np.random.default_rng(2).standard_normal((6, 3, 48, 4), dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["f"], kernel_shape=[48, 4], strides=[1, 4]),
        helper.make_node("Squeeze", ["f", "two"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Softmax", ["t"], ["y"], axis=2),
    ]
    inputs = [value("x", ["DynamicDimension.0", 3, 48, "DynamicDimension.1"])]
    return model(path, nodes, inputs, [value("y", None)], {"w": weight, "two": np.array([2])})


def file_type(path):
    """A classifier of files: whole numbers of open length."""
    draw = np.random.default_rng(3)
    nodes = [
        helper.make_node("Gather", ["table", "bytes"], ["e"]),
        helper.make_node("ReduceMax", ["e"], ["m"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["target_label"]),
    ]
    constants = {
        "table": draw.standard_normal((257, 8), dtype=np.float32),
        "w": draw.standard_normal((8, 5), dtype=np.float32),
    }
    inputs = [value("bytes", ["batch", "length"], TensorProto.INT32)]
    return model(path, nodes, inputs, [value("target_label", ["batch", 5])], constants)


def music(path):
    """Transcription of music: a fixed window of time, and several outputs."""
    weight = np.random.default_rng(4).standard_normal((8, 1, 64), dtype=np.float32)
    nodes = [
        helper.make_node("Transpose", ["serving_default_input_2:0"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["t", "w"], ["c"], kernel_shape=[64], strides=[32]),
        helper.make_node("Sigmoid", ["c"], ["note"]),
        helper.make_node("Tanh", ["c"], ["onset"]),
    ]
    inputs = [value("serving_default_input_2:0", ["unk__520", 4384, 1])]
    return model(path, nodes, inputs, [value("note", None), value("onset", None)], {"w": weight})
