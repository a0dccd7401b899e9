"""Generated C for operators that stand beside convolutions: products of matrices, functions left in float, blocks."""

import numpy as np
import pytest

from edgelab.errors import BadInput
from edgelab.mcu.cgen import generate, refused_operators
from edgelab.mcu.model import read_model
from tests.mcu_layers import Net, Value

from .cgen_home import native_jobs, needs_interpreter, wrong


@needs_interpreter
@pytest.mark.parametrize("constant", [False, True])
def test_products_of_matrices_are_bit_exact(tmp_path, constant):
    paths = []
    for number, (left, right, out, options) in enumerate(
        [
            ((2, 3, 4), (2, 4, 5), (2, 3, 5), {}),
            ((2, 3, 4), (2, 5, 4), (2, 3, 5), {"adj_y": True}),
            ((1, 2, 4, 3), (1, 2, 4, 5), (1, 2, 3, 5), {"adj_x": True}),
            ((1, 2, 3, 4), (1, 1, 4, 5), (1, 2, 3, 5), {}),
        ]
    ):
        net = Net(f"matmul_{number}")
        a = net.input(*left, zero_point=-8)
        b = net.tensor(*right, scale=0.02, zero_point=33) if constant else net.input(*right, scale=0.02, zero_point=33)
        scale = {"scale": 0.05, "zero_point": 5, "rms": 1.0}
        paths.append(tmp_path / f"matmul_{number}.tflite")
        paths[-1].write_bytes(net.done(net._op("BATCH_MATMUL", [a.index, b.index], out, scale, options)))
        assert generate(read_model(paths[-1])).macs == np.prod(out) * 4
    assert wrong(range(len(paths)), native_jobs(paths, tmp_path)) == {}


def in_float(net, x, code):
    index = net.writer.operator(code, [net.dequantize(x).index], x.shape, dtype="float32")
    return Value(index, x.shape)


@needs_interpreter
@pytest.mark.parametrize("zero_point", [-128, 3])
def test_functions_in_float_become_tables(tmp_path, zero_point):
    codes = ["NEG", "SQUARE", "EXP", "FLOOR", "CEIL", "ROUND", "SIN", "COS", *(["SQRT"] if zero_point == -128 else [])]
    net = Net("functions")
    x = net.input(1, 256, scale=0.03, zero_point=zero_point)
    outputs = [net.quantize(in_float(net, x, code), 0.02, -9) for code in codes]
    path = tmp_path / "functions.tflite"
    path.write_bytes(net.done(*outputs))
    sources = generate(read_model(path))
    assert sources.layers == tuple(f"layer_{3 * i + 2:02d}_float_{code.lower()}" for i, code in enumerate(codes))
    assert wrong(["functions"], native_jobs([path], tmp_path)) == {}


def test_a_function_without_a_result_is_told(tmp_path):
    net = Net("log")
    made = net.done(net.quantize(in_float(net, net.input(1, 8), "LOG"), 0.02, 0))
    (tmp_path / "log.tflite").write_bytes(made)
    with pytest.raises(BadInput, match=r"log\.tflite quantizes LOG of values that it has no result for"):
        generate(read_model(tmp_path / "log.tflite"))


def test_float_that_stays_float_is_told(tmp_path):
    net = Net("neg")
    (tmp_path / "neg.tflite").write_bytes(net.done(in_float(net, net.input(1, 8), "NEG")))
    assert "NEG" in refused_operators(read_model(tmp_path / "neg.tflite"))[1]


def test_blocks_with_a_border_are_told(tmp_path):
    net = Net("blocks")
    x = net.chosen("SPACE_TO_BATCH_ND", net.input(1, 5, 3), (2, 3, 3), (2,), [[0, 1]])
    (tmp_path / "blocks.tflite").write_bytes(net.done(x))
    with pytest.raises(BadInput, match=r"SPACE_TO_BATCH_ND.*pad with PAD before it"):
        generate(read_model(tmp_path / "blocks.tflite"))


def test_data_of_16_bits_is_told_where_it_is_only_moved(tmp_path):
    net = Net("wide")
    x = net.writer.input("x", (1, 8), 0.001, 0, dtype="int16")
    net.writer.output(net.writer.operator("TRANSPOSE", [x, net.integers((1, 0))], (8, 1), 0.001, 0, dtype="int16"))
    (tmp_path / "wide.tflite").write_bytes(net.writer.to_bytes())
    with pytest.raises(BadInput, match=r"TRANSPOSE.*int16.*int8"):
        generate(read_model(tmp_path / "wide.tflite"))
