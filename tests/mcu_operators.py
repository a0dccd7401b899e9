"""One small network for each operator that the networks of `tests.mcu_networks` leave out: for the arena's table."""

import numpy as np

from edgelab.models.tflite_writer import TfliteWriter

SHAPE = (1, 2, 1, 6)
PADS = [[0, 0], [1, 1], [0, 0], [0, 0]]
OPERATORS = {}


def operator(code, inputs=1, shape=SHAPE, dtype="int8", *constants, feed="int8", given=SHAPE, name="", **options):
    """Register a network of one operator: inputs, then constants; (shape, ...) of several outputs as a list."""
    OPERATORS[name or code.lower()] = lambda: _bytes(code, inputs, shape, dtype, constants, feed, given, options)


def _bytes(code, inputs, shape, dtype, constants, feed, given, options):
    writer = TfliteWriter(code)
    scale = None if feed != "int8" else 0.05
    named = [writer.input(f"x{i}", given, scale, dtype=feed) for i in range(inputs)]
    for value in constants:
        array = np.asarray(value)
        quantized = array.dtype == np.int8
        named.append(writer.constant(array, [0.05] if quantized else None))
    if code == "TRANSPOSE_CONV":  # the output's shape, the filter, the input, the bias
        named = [named[1], named[2], named[0], named[3]]
    if code == "FILL":
        named.reverse()
    shapes = shape if isinstance(shape, list) else [shape]
    out = {"L2_NORMALIZATION": 1 / 128, "LOG_SOFTMAX": 16 / 256}.get(code, 0.05)
    zero = 127 if code == "LOG_SOFTMAX" else 0
    results = [writer.activation(s, out if dtype == "int8" else None, zero, dtype=dtype) for s in shapes]
    writer.add(code, named, results, options=options)
    # A layer with data and buffers of its own shows when, not only how much, the operator allocates.
    x, y = writer.input("other", (1, 3, 3, 3), 0.05), writer.activation((1, 3, 3, 5), 0.05, 0)
    filters, bias = writer.constant(weights(5, 1, 1, 3), [0.05] * 5), writer.constant(np.zeros(5, np.int32))
    writer.add("CONV_2D", [x, filters, bias], [y], options={"padding": "VALID", "stride_h": 1, "stride_w": 1})
    writer.output(*results, y)
    return writer.to_bytes()


def ints(*values):
    return np.array(values, np.int32)


def weights(*shape):
    return np.ones(shape, np.int8)


for name in ("ABS", "ELU", "L2_NORMALIZATION", "LOG_SOFTMAX", "ZEROS_LIKE"):
    operator(name)
for name in ("CEIL", "COS", "EXP", "FLOOR", "NEG", "ROUND", "SIN", "SQUARE"):
    operator(name, dtype="float32", feed="float32")
for name in ("FLOOR_DIV", "FLOOR_MOD"):
    operator(name, 2, dtype="float32", feed="float32")
for name in ("MAXIMUM", "MINIMUM", "DIV", "SQUARED_DIFFERENCE"):
    operator(name, 2)
for name in ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"):
    operator(name, 2, dtype="bool")
for name in ("LOGICAL_AND", "LOGICAL_OR"):
    operator(name, 2, dtype="bool", feed="bool")
operator("LOGICAL_NOT", dtype="bool", feed="bool")
operator("ADD_N", 3)
operator("ARG_MAX", 1, (1, 2, 1), "int32", ints(3), output_type=2)
operator("ARG_MIN", 1, (1, 2, 1), "int32", ints(3), output_type=2)
operator("BATCH_MATMUL", 1, (1, 2, 4), "int8", weights(1, 6, 4), given=(1, 2, 6))
operator("BATCH_MATMUL", 2, (3, 2, 2), given=(3, 2, 6), adj_y=True, name="batch_matmul_adj_y")
operator("BATCH_MATMUL", 2, (3, 2, 6, 6), given=(3, 2, 2, 6), adj_x=True, name="batch_matmul_adj_x")
operator("BATCH_MATMUL", 2, (2, 6, 6), "int8", given=(2, 6, 6), adj_x=True, adj_y=True, name="batch_matmul_adj_both")
operator("BATCH_MATMUL", 2, (5, 5), "float32", feed="float32", given=(5, 5), name="batch_matmul_float")
operator("BATCH_TO_SPACE_ND", 1, (1, 4, 6, 3), "int8", ints(2, 2), np.zeros((2, 2), np.int32), given=(4, 2, 3, 3))
operator("BROADCAST_ARGS", 2, (4,), "int32", feed="int32", given=(4,))
operator("BROADCAST_TO", 1, SHAPE, "int8", ints(*SHAPE), given=(1, 1, 1, 6))
operator("CAST", dtype="float32", in_data_type=9, out_data_type=0)
operator("CUMSUM", 1, SHAPE, "int8", np.int32(1))
operator("DEPTH_TO_SPACE", 1, (1, 4, 6, 3), given=(1, 2, 3, 12), block_size=2)
operator("DYNAMIC_UPDATE_SLICE", 1, SHAPE, "int8", np.ones((1, 1, 1, 3), np.int8), ints(0, 1, 0, 2))
operator("EXPAND_DIMS", 1, (1, 1, 6), "int8", ints(1), given=(1, 6))
operator("FILL", 1, (1, 4), "int8", ints(1, 4), given=())
operator("GATHER", 1, (1, 2, 1, 2), "int8", ints(0, 2), axis=3)
operator("GATHER_ND", 1, (2, 6), "int8", np.array([[1], [2]], np.int32), given=(4, 6))
operator("GATHER", 1, (1, 2), "int8", ints(0, 2), given=(1, 6), axis=1, name="gather_of_2d")
operator("L2_POOL_2D", 1, SHAPE, "float32", feed="float32", padding="VALID", filter_height=1, filter_width=1)
operator("MIRROR_PAD", 1, (1, 4, 1, 6), "int8", np.array(PADS, np.int32), mode=0)
operator("PACK", 3, (1, 3, 6), given=(1, 6), values_count=3, axis=1)
operator("PADV2", 1, (1, 4, 1, 6), "int8", np.array(PADS, np.int32), np.int8(3))
operator("PRELU", 1, SHAPE, "int8", weights(1, 1, 6))
operator("REDUCE_ALL", 1, (1, 6), "bool", ints(1, 2), feed="bool", keep_dims=False)
for name in ("SUM", "REDUCE_MAX", "REDUCE_MIN"):
    operator(name, 1, (1, 6), "int8", ints(1, 2))
for name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
    operator(name, 1, (1, 4, 2, 6), "int8", ints(4, 2))
operator("REVERSE_V2", 1, SHAPE, "int8", ints(1))
operator("SHAPE", 1, (4,), "int32", out_type=2)
operator("SLICE", 1, (1, 1, 1, 6), "int8", ints(0, 1, 0, 0), ints(1, 1, 1, 6))
operator("SPACE_TO_BATCH_ND", 1, (4, 2, 3, 3), "int8", ints(2, 2), np.zeros((2, 2), np.int32), given=(1, 4, 6, 3))
operator("SPACE_TO_DEPTH", 1, (1, 2, 3, 12), given=(1, 4, 6, 3), block_size=2)
operator("SPLIT_V", 1, [(1, 2, 1, 2), (1, 2, 1, 4)], "int8", ints(2, 4), np.int32(3), num_splits=2)
operator(
    *("TRANSPOSE_CONV", 1, (1, 8, 10, 5), "int8", ints(1, 8, 10, 5), weights(5, 3, 3, 6), np.zeros(5, np.int32)),
    given=(1, 4, 5, 6),
    padding="SAME",
    stride_h=2,
    stride_w=2,
)
operator("UNPACK", 1, [(1, 1, 6)] * 2, given=(1, 2, 6), num=2, axis=1)
