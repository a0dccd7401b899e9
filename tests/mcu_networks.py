"""Int8 networks for the microcontroller room: every operator, odd shapes, extreme quantization, whole small nets.

``NETWORKS[name]()`` gives the bytes of a .tflite file, the same in every run; ``STATEFUL`` names those that remember
earlier inferences.
"""

import dataclasses
import functools

import numpy as np

from .mcu_layers import Net

NETWORKS = {}
STATEFUL = set()


def network(*cases, stateful=False):
    """Register a function that adds layers to a `Net` and returns its outputs; a case is (suffix, arguments)."""

    def register(build):
        for suffix, arguments in cases or (("", {}),):
            name = f"{build.__name__}{'_' if suffix else ''}{suffix}"
            NETWORKS[name] = functools.cache(functools.partial(_bytes, name, build, arguments))
            if stateful:
                STATEFUL.add(name)
        return build

    return register


def _bytes(name, build, arguments):
    net = Net(name)
    outputs = build(net, **arguments)
    return net.done(*(outputs if isinstance(outputs, list | tuple) else [outputs]))


@network(
    ("1x1", {"shape": (5, 7, 3), "channels": 4, "kernel": 1}),
    ("3x3_same", {"shape": (6, 5, 1), "channels": 5, "activation": "RELU"}),
    ("3x3_valid_stride2", {"shape": (9, 8, 2), "channels": 7, "stride": 2, "padding": "VALID"}),
    ("3x3_same_stride3", {"shape": (10, 7, 5), "channels": 3, "stride": 3, "activation": "RELU6"}),
    ("5x1", {"shape": (12, 3, 7), "channels": 2, "kernel": (5, 1), "stride": (2, 1)}),
    ("dilated", {"shape": (9, 11, 3), "channels": 4, "dilation": (2, 3)}),
    ("dilated_valid", {"shape": (11, 9, 2), "channels": 8, "dilation": 2, "padding": "VALID", "activation": "RELU"}),
    ("per_tensor", {"shape": (6, 6, 4), "channels": 6, "per_channel": False}),
    ("even_kernel", {"shape": (7, 9, 3), "channels": 5, "kernel": (4, 2), "stride": (1, 2)}),
    ("kernel_larger_than_input", {"shape": (2, 3, 4), "channels": 4, "kernel": 5}),
    ("one_channel", {"shape": (8, 8, 1), "channels": 1, "kernel": 3, "activation": "RELU"}),
    ("channels_16_to_32", {"shape": (5, 5, 16), "channels": 32, "activation": "RELU"}),
    ("1x1_stride2", {"shape": (7, 5, 8), "channels": 12, "kernel": 1, "stride": 2}),
    ("spread_scales", {"shape": (5, 5, 3), "channels": 9, "spread": 1e4}),
)
def conv(net, shape, channels, **settings):
    return net.conv(net.input(1, *shape, zero_point=-7), channels, **settings)


@network(("without_bias", {}))
def conv_operands(net):
    return net.conv(net.input(1, 5, 5, 3), 4, bias=False)


@network(("2", {}))
def conv_batch(net):
    return net.conv(net.input(2, 6, 5, 3, zero_point=11), 4, stride=2, activation="RELU")


@network(
    ("3x3", {"channels": 8}),
    ("3x3_stride2", {"channels": 17, "stride": 2, "activation": "RELU6"}),
    ("one_channel_times_3", {"channels": 1, "multiplier": 3}),
    ("multiplier_2", {"channels": 3, "multiplier": 2, "padding": "VALID"}),
    ("multiplier_3_stride2", {"channels": 4, "multiplier": 3, "stride": 2, "activation": "RELU"}),
    ("dilated", {"channels": 4, "dilation": 2}),
    ("5x3_valid", {"channels": 3, "kernel": (5, 3), "padding": "VALID", "stride": (2, 1)}),
    ("1x7", {"channels": 8, "kernel": (1, 7)}),
    ("per_tensor", {"channels": 4, "per_channel": False, "activation": "RELU"}),
)
def depthwise(net, channels, **settings):
    return net.depthwise(net.input(1, 9, 10, channels, zero_point=5), **settings)


@network(
    ("plain", {"units": 10}),
    ("relu_per_channel", {"units": 7, "per_channel": True, "activation": "RELU", "spread": 50.0}),
    ("without_bias", {"units": 5, "bias": False, "activation": "RELU6"}),
    ("odd", {"units": 1, "shape": (1, 19)}),
    ("keep_num_dims", {"units": 6, "shape": (1, 4, 11), "keep_num_dims": True}),
    ("batch_3", {"units": 4, "shape": (3, 13), "per_channel": True}),
    ("of_4d_input", {"units": 9, "shape": (1, 3, 2, 5)}),
)
def dense(net, units, shape=(1, 24), **settings):
    return net.dense(net.input(*shape, zero_point=-128), units, **settings)


@network(
    ("average_valid", {"kind": "AVERAGE", "kernel": 2}),
    ("average_same_3x3", {"kind": "AVERAGE", "kernel": 3, "padding": "SAME"}),
    ("average_odd_stride1", {"kind": "AVERAGE", "kernel": (5, 2), "stride": (1, 3), "activation": "RELU"}),
    ("average_global", {"kind": "AVERAGE", "kernel": (7, 9), "stride": 1}),
    ("max_valid", {"kind": "MAX", "kernel": 2}),
    ("max_same_3x3", {"kind": "MAX", "kernel": 3, "padding": "SAME", "activation": "RELU6"}),
    ("max_1x4", {"kind": "MAX", "kernel": (1, 4), "stride": (1, 2)}),
)
def pool(net, kind, **settings):
    return net.pool(net.input(1, 7, 9, 3, zero_point=-9), kind, **settings)


@network(
    ("global", {}),
    ("global_keep_dims", {"keep_dims": True}),
    ("rescaled", {"scale": 0.004, "zero_point": -31}),
    ("over_channels", {"axes": (3,)}),
    ("over_width_keep_dims", {"axes": (2,), "keep_dims": True, "scale": 0.011}),
    ("of_negative_axes", {"axes": (-2, -3), "scale": 0.006}),
)
def mean(net, axes=(1, 2), **settings):
    return net.mean(net.input(1, 6, 5, 7, zero_point=-20), axes, **settings)


@network(("over_one_axis_of_3d", {}))
def mean_other(net):
    return net.mean(net.input(1, 9, 4, zero_point=3), (1,), scale=0.009, zero_point=8)


@network(
    ("add", {"code": "ADD"}),
    ("add_relu", {"code": "ADD", "activation": "RELU"}),
    ("sub", {"code": "SUB"}),
    ("sub_relu6", {"code": "SUB", "activation": "RELU6"}),
    ("mul", {"code": "MUL"}),
    ("mul_relu", {"code": "MUL", "activation": "RELU"}),
    ("add_scales_apart", {"code": "ADD", "scales": (0.5, 0.002)}),
    ("sub_scales_apart", {"code": "SUB", "scales": (0.003, 0.21)}),
    ("add_channels", {"code": "ADD", "second": (1, 1, 1, 6)}),
    ("sub_channels_first", {"code": "SUB", "first": (1, 1, 1, 6)}),
    ("mul_channels", {"code": "MUL", "second": (1, 1, 1, 6)}),
    ("mul_scalar", {"code": "MUL", "second": (1, 1, 1, 1)}),
    ("add_rows_and_columns", {"code": "ADD", "first": (1, 4, 1, 6), "second": (1, 1, 5, 1)}),
)
def two(net, code, scales=(0.02, 0.031), first=(1, 4, 5, 6), second=(1, 4, 5, 6), **settings):
    a, b = net.input(*first, scale=scales[0], zero_point=-4), net.input(*second, scale=scales[1], zero_point=17)
    return net.binary(code, a, b, **settings)


@network(
    ("add_right", {"code": "ADD", "shape": (1, 3, 4, 5)}),
    ("sub_left_channels", {"code": "SUB", "shape": (5,), "left": True}),
    ("mul_right_channels", {"code": "MUL", "shape": (5,)}),
    ("mul_left_scalar", {"code": "MUL", "shape": (), "left": True}),
    ("sub_right_scalar", {"code": "SUB", "shape": (1,)}),
)
def constant(net, code, shape, left=False):
    x, c = net.input(1, 3, 4, 5, zero_point=30), net.tensor(*shape, scale=0.013, zero_point=-60)
    return net.binary(code, c, x) if left else net.binary(code, x, c)


@network(
    ("channels_of_2", {"sizes": [(4, 5, 3), (4, 5, 6)], "axis": 3}),
    ("rows_of_3", {"sizes": [(1, 5, 2), (4, 5, 2), (2, 5, 2)], "axis": 1}),
    ("columns_of_4", {"sizes": [(3, 1, 4), (3, 2, 4), (3, 3, 4), (3, 1, 4)], "axis": 2}),
    ("of_negative_axis", {"sizes": [(2, 2, 1), (2, 2, 7)], "axis": -1}),
)
def concat(net, sizes, axis):
    return net.concat([net.input(1, *size, scale=0.05, zero_point=2) for size in sizes], axis)


@network(
    ("image", {"shape": (1, 3, 4, 2), "amounts": [[0, 0], [1, 2], [0, 1], [0, 0]]}),
    ("channels", {"shape": (1, 2, 3, 5), "amounts": [[0, 0], [0, 0], [2, 0], [1, 3]]}),
    ("2d", {"shape": (1, 6), "amounts": [[0, 0], [2, 3]]}),
)
def pad(net, shape, amounts):
    return net.pad(net.input(*shape, zero_point=-77), amounts)


@network(("", {}))
def reshape_and_squeeze(net):
    x = net.conv(net.input(1, 4, 6, 2), 3, activation="RELU")
    x = net.reshape(x, 1, 1, 24, 3)
    x = net.squeeze(net.conv(x, 4, (1, 3)), [1])
    return net.dense(net.reshape(x, 1, 96, by_tensor=False), 5)


@network(
    ("softmax", {"code": "SOFTMAX", "shape": (1, 10)}),
    ("softmax_small_scale", {"code": "SOFTMAX", "shape": (3, 7), "input_scale": 0.004}),
    ("softmax_large_scale", {"code": "SOFTMAX", "shape": (1, 4, 12), "input_scale": 0.3}),
    ("softmax_beta", {"code": "SOFTMAX", "shape": (1, 9), "beta": 0.4}),
    ("logistic", {"code": "LOGISTIC", "input_scale": 0.05}),
    ("logistic_small_scale", {"code": "LOGISTIC", "input_scale": 0.007}),
    ("tanh", {"code": "TANH", "input_scale": 0.025}),
    ("tanh_large_scale", {"code": "TANH", "input_scale": 0.11}),
    ("hard_swish", {"code": "HARD_SWISH", "input_scale": 0.05, "scale": 0.026, "zero_point": -113}),
    ("hard_swish_small_scale", {"code": "HARD_SWISH", "input_scale": 0.011, "scale": 0.013, "zero_point": -40}),
    ("relu", {"code": "RELU", "scale": 0.03, "zero_point": -128}),
    ("relu_same_scale", {"code": "RELU"}),
    ("relu6", {"code": "RELU6", "input_scale": 0.07}),
    ("leaky_relu", {"code": "LEAKY_RELU", "alpha": 0.1, "scale": 0.05, "zero_point": -90}),
    ("leaky_relu_steep", {"code": "LEAKY_RELU", "alpha": 1.7, "scale": 0.14, "zero_point": 4}),
)
def unary(net, code, shape=(1, 5, 4, 3), input_scale=0.06, **settings):
    return net.unary(code, net.input(*shape, scale=input_scale, zero_point=9), **settings)


@network(("", {"scale": 1 / 255, "zero_point": 0}), ("other_scales", {"scale": 0.02, "zero_point": 131}))
def bytes_in_and_out(net, scale, zero_point):
    x = net.quantize(net.input(1, 6, 6, 2, scale=scale, zero_point=zero_point, dtype="uint8"), scale, zero_point - 128)
    y = net.conv(x, 3, activation="RELU")
    return net.quantize_to_bytes(y, y.scale * (1 if zero_point == 0 else 0.7), y.zero_point + 128)


@network(("", {}))
def float_in_and_out(net):
    x = net.quantize(net.input(1, 6, 6, 2, dtype="float32"), 0.03, 6)
    return net.dequantize(net.conv(x, 3, activation="RELU"))


@network(
    ("narrower", {"scale": 0.01, "zero_point": 40}),
    ("wider", {"scale": 0.2, "zero_point": -128}),
    ("same_scale_other_zero", {"scale": 0.05, "zero_point": -1}),
)
def requantize(net, scale, zero_point):
    return net.quantize(net.input(1, 5, 9, scale=0.05, zero_point=-3), scale, zero_point)


@network(
    ("2d", {"shape": (5, 7), "order": (1, 0)}),
    ("3d", {"shape": (1, 4, 6), "order": (0, 2, 1)}),
    ("nchw_to_nhwc", {"shape": (1, 3, 4, 5), "order": (0, 2, 3, 1)}),
    ("4d", {"shape": (2, 3, 4, 5), "order": (3, 1, 0, 2)}),
)
def transpose(net, shape, order):
    return net.transpose(net.input(*shape, zero_point=1), order)


@network(
    ("plain", {"begin": (0, 1, 2, 0), "end": (1, 5, 6, 2), "strides": (1, 1, 1, 1)}),
    ("strides", {"begin": (0, 0, 1, 0), "end": (1, 6, 7, 3), "strides": (1, 2, 3, 2)}),
    ("masks", {"begin": (9, 1, 9, 0), "end": (9, 9, 4, 9), "strides": (1,) * 4, "begin_mask": 5, "end_mask": 11}),
    ("backwards", {"begin": (0, 5, 6, 2), "end": (1, 0, 0, 0), "strides": (1, -2, -1, -1)}),
    ("shrink", {"begin": (0, 2, 0, 0), "end": (1, 3, 7, 3), "strides": (1,) * 4, "shrink_axis_mask": 2}),
)
def strided_slice(net, **settings):
    return net.slice(net.input(1, 6, 7, 3, zero_point=-2), **settings)


@network(
    ("channels", {"axis": 3, "parts": 3}),
    ("rows", {"axis": 1, "parts": 2}),
)
def split(net, axis, parts):
    return net.split(net.input(1, 4, 5, 6, zero_point=12), axis, parts)


@network(
    ("over_picture", {"axes": (1, 2)}),
    ("over_channels", {"axes": (3,), "keep_dims": True}),
    ("over_all_but_columns", {"axes": (0, 1)}),
)
def largest(net, **settings):
    return net.largest(net.input(1, 5, 6, 7, zero_point=-9), **settings)


@network(("3d", {}))
def largest_of(net):
    return net.largest(net.input(1, 9, 4, zero_point=3), (1,))


@network(
    ("nearest_twice", {"size": (6, 8)}),
    ("nearest_of_any_size", {"size": (7, 3), "half_pixel_centers": True}),
    ("nearest_aligned", {"size": (5, 9), "align_corners": True}),
    ("bilinear_twice", {"code": "RESIZE_BILINEAR", "size": (6, 8), "half_pixel_centers": True}),
    ("bilinear_of_any_size", {"code": "RESIZE_BILINEAR", "size": (8, 3)}),
    ("bilinear_aligned", {"code": "RESIZE_BILINEAR", "size": (2, 11), "align_corners": True}),
)
def resized(net, size, code="RESIZE_NEAREST_NEIGHBOR", **options):
    return net.chosen(code, net.input(1, 3, 4, 5, zero_point=-9), (1, *size, 5), size, **options)


@network(
    ("same", {"activation": "RELU", "bias": False}),
    ("valid", {"kernel": (4, 3), "stride": (3, 1), "padding": "VALID", "out_zero": 11}),
    ("kernel_below_stride", {"kernel": (1, 2), "stride": (2, 3)}),
)
def deconv(net, **settings):
    return net.deconv(net.input(1, 4, 5, 6, zero_point=13), 7, **settings)


@network(
    ("slice", {"code": "SLICE", "shape": (1, 2, 4, 3), "integers": [(0, 1, 0, 2), (1, 2, -1, 3)]}),
    ("reflected", {"code": "MIRROR_PAD", "shape": (1, 6, 7, 5), "integers": [[[0, 0], [2, 1], [0, 3], [0, 0]]]}),
    (
        "mirrored",
        {"code": "MIRROR_PAD", "shape": (1, 6, 5, 8), "integers": [[[0, 0], [3, 0], [1, 0], [0, 3]]], "mode": 1},
    ),
    ("reversed", {"code": "REVERSE_V2", "shape": (1, 3, 4, 5), "integers": [(2,)]}),
    ("repeated", {"code": "BROADCAST_TO", "shape": (2, 3, 4, 5), "integers": [(2, 3, 4, 5)]}),
    ("gathered", {"code": "GATHER", "shape": (1, 3, 4, 3), "integers": [(4, 0, 1)], "axis": 3}),
)
def moved(net, code, shape, integers, **options):
    return net.chosen(code, net.input(1, 3, 4, 5, zero_point=6), shape, *integers, **options)


@network(("", {}))
def blocks_to_batches(net):
    x = net.chosen("SPACE_TO_BATCH_ND", net.input(1, 6, 6, 3), (6, 2, 3, 3), (3, 2), [[0, 0], [0, 0]])
    x = net.conv(x, 4, activation="RELU")
    return net.chosen("BATCH_TO_SPACE_ND", x, (1, 5, 4, 4), (3, 2), [[1, 0], [0, 2]])


@network(
    ("maximum", {"code": "MAXIMUM"}),
    ("minimum_of_channels", {"code": "MINIMUM", "second": (1, 1, 1, 6)}),
    ("squared_difference", {"code": "SQUARED_DIFFERENCE", "scale": 0.03, "zero_point": -128}),
    ("squared_difference_of_pixels", {"code": "SQUARED_DIFFERENCE", "second": (1, 1, 1, 6), "scale": 0.02}),
)
def pair(net, code, second=(1, 4, 5, 6), scale=None, zero_point=4):
    a = net.input(1, 4, 5, 6, scale=0.02, zero_point=-4)
    b = net.input(*second, scale=0.02 if scale is None else 0.013, zero_point=-4 if scale is None else 9)
    return net.two(code, a, b, scale=scale, zero_point=zero_point)


@network(("of_channels", {"shape": (1, 1, 6)}), ("of_all", {"shape": (4, 5, 6)}))
def prelu(net, shape):
    x, alpha = net.input(1, 4, 5, 6, zero_point=20), net.tensor(*shape, scale=0.006, zero_point=-31)
    return net.two("PRELU", x, alpha, scale=0.012, zero_point=-66)


@network(
    ("elu", {"code": "ELU", "scale": 0.02, "zero_point": -77}),
    ("abs", {"code": "ABS"}),
    ("abs_rescaled", {"code": "ABS", "scale": 0.013, "zero_point": -128}),
    ("rsqrt", {"code": "RSQRT", "scale": 0.011, "zero_point": -120, "zero_in": -128}),
)
def function(net, code, zero_in=5, **settings):
    return net.unary(code, net.input(1, 6, 7, scale=0.04, zero_point=zero_in), **settings)


@network(("", {}))
def sums(net):
    x = net.input(1, 4, 3, 8, zero_point=-3)
    rows = net._op("SUM", [x.index, net.integers((1, 2))], (1, 8), net.range(3.0), {})
    return rows, net._op("SUM", [x.index, net.integers((3,))], (1, 4, 3, 1), net.range(2.0), {"keep_dims": True})


@network(("", {}))
def layer_norm(net):
    """Layer normalization as Keras models are converted: the negated mean stays in float."""
    x = net.dense(net.input(1, 6, 9, zero_point=7), 8, keep_num_dims=True)
    mean = net.mean(x, (2,), keep_dims=True)
    square = net.two("SQUARED_DIFFERENCE", x, mean, scale=0.03, zero_point=-128)
    spread = net.unary("RSQRT", net.mean(square, (2,), keep_dims=True), scale=0.02, zero_point=-128)
    spread = net.binary("MUL", spread, net.tensor(1, 1, 8, scale=0.008, zero_point=-20))
    shift = net.binary("MUL", net.negated_in_float(mean, -mean.zero_point), spread)
    return net.binary("ADD", net.binary("MUL", x, spread), shift)


@network(("", {}))
def u_net(net):
    x = net.conv(net.input(1, 12, 12, 1, zero_point=-128), 4, activation="RELU")
    y = net.conv(net.pool(x, "MAX", 2, 2), 8, activation="RELU")
    y = net.deconv(y, 4, 2, 2, "VALID", "RELU")
    y = net.quantize(y, x.scale, x.zero_point)
    y = net.conv(net.concat([x, y], 3), 4, activation="RELU")
    y = net.chosen("RESIZE_BILINEAR", y, (1, 24, 24, 4), (24, 24), half_pixel_centers=True)
    return net.unary("LOGISTIC", net.conv(y, 1, 1))


@network(("", {}))
def parts_of_any_size(net):
    return net.split_at(net.input(1, 4, 5, 9, zero_point=7), 3, (2, 3, 4))


@network(("", {}))
def unpack_and_pack(net):
    parts = net.unpack(net.input(1, 4, 6, zero_point=-3), 1)
    return parts[2], net.pack(parts[:3], 2), net.pack(parts[1:], 0)


@network(("", {}))
def depth_and_space(net):
    x = net.space_to_depth(net.input(1, 6, 4, 3, zero_point=2), 2)
    return x, net.space_to_depth(net.conv(x, 18), 3, back=True)


@network(
    ("int16_state", {"units": 5, "memory": 4}),
    ("int8_state", {"units": 4, "memory": 6, "state": "int8", "activation": "NONE"}),
    ("rank_2", {"units": 3, "memory": 8, "rank": 2, "zero_point": -128}),
    stateful=True,
)
def svdf(net, **settings):
    return net.svdf(net.input(1, 10, zero_point=4), **settings)


@network(
    ("plain", {}),
    ("odd", {"shape": (1, 7, 5), "units": 3, "hidden_zero_point": -11}),
    ("cell_clip", {"units": 4, "cell_clip": 0.7}),
    ("time_major", {"shape": (4, 2, 3), "units": 5, "time_major": True}),
    ("batch_of_2", {"shape": (2, 4, 9), "units": 7, "hidden_zero_point": 19}),
    ("narrow_cell", {"units": 6, "cell_scale": 2.0**-14, "hidden_zero_point": -128}),
    ("wide_cell", {"units": 5, "cell_scale": 2.0**-9, "cell_clip": 0.4}),
    ("cell_scale_between", {"units": 5, "cell_scale": 0.0011}),
    stateful=True,
)
def lstm(net, shape=(1, 6, 8), units=8, **settings):
    return net.lstm(net.input(*shape, zero_point=2), units, **settings)


@network(("", {}), stateful=True)
def lstm_layers(net):
    """Two layers, the second one's last step, and classes: as Keras models with LSTM layers are converted."""
    x = net.lstm(net.lstm(net.input(1, 9, 13, zero_point=-6), 12, hidden_zero_point=3), 10, hidden_zero_point=-2)
    x = net.slice(x, (0, 8, 0), (1, 9, 10), (1, 1, 1), shrink_axis_mask=2)
    return net.unary("SOFTMAX", net.dense(x, 6, sigma=8.0, scale=0.08))


@network(("", {}))
def parts_in_float(net):
    """As converters leave parts of unrolled recurrent layers: between DEQUANTIZE and QUANTIZE."""
    x = net.dequantize(net.input(1, 4, 6, zero_point=5))
    parts = [*net.split(x, 2, 3), net.slice(x, (0, 3, 5), (1, 0, 0), (1, -2, -1)), net.transpose(x, (2, 0, 1))]
    return [net.quantize(part, 0.02, -7) for part in parts]


@network(
    ("conv_above_1", {"code": "CONV_2D", "shape": (1, 4, 5, 2), "low": -1, "high": 1, "multiplier": 1.37}),
    ("conv_above_16", {"code": "CONV_2D", "shape": (1, 3, 3, 2), "low": -1, "high": 1, "multiplier": 17.3, "steps": 6}),
    ("dense_above_1", {"code": "FULLY_CONNECTED", "shape": (1, 3), "low": -1, "high": 1, "multiplier": 1.8}),
    ("dense_of_1", {"code": "FULLY_CONNECTED", "shape": (1, 3), "low": -1, "high": 1, "multiplier": 1.0}),
    (
        "dense_of_small",
        {"code": "FULLY_CONNECTED", "shape": (1, 600), "low": 100, "high": 127, "multiplier": 3e-5, "bias": 2 * 10**6},
    ),
    (
        "conv_of_small",
        {"code": "CONV_2D", "shape": (1, 2, 3, 800), "low": 90, "high": 127, "multiplier": 2e-5, "bias": 10**6},
    ),
    (
        "dense_of_large_bias",
        {
            "code": "FULLY_CONNECTED",
            "shape": (1, 40),
            "low": 60,
            "high": 127,
            "multiplier": 2.0**-11,
            "bias": 2 * 10**5,
        },
    ),
    (
        "dense_low_zero",
        {
            "code": "FULLY_CONNECTED",
            "shape": (1, 9),
            "low": -40,
            "high": 40,
            "multiplier": 0.006,
            "zero": -128,
            "zero_point": 127,
            "bias": 9000,
        },
    ),
    (
        "conv_high_zero",
        {
            "code": "CONV_2D",
            "shape": (1, 5, 2, 5),
            "low": -30,
            "high": 30,
            "multiplier": 0.009,
            "zero": 127,
            "zero_point": -128,
            "bias": 9000,
        },
    ),
)
def multiplier(net, code, shape, low, high, multiplier, zero=0, steps=None, **settings):
    """The multiplier that follows the sums, and zero points, at their ends."""
    x = net.input(*shape, scale=0.05, zero_point=zero)
    if steps:  # few different integers, or all that follows saturates
        x = net.quantize(x, 0.05 * 256 / steps, 0)
    return net.multiplied(code, x, 4, low, high, multiplier, **settings)


@network(("", {}))
def mul_above_one(net):
    x = net.quantize(net.input(1, 4, 3, 5, scale=0.05), 1.6, 3)
    return net.binary("MUL", x, net.tensor(5, scale=0.5, zero_point=-2, spread=3), scale=0.31, zero_point=9)


@network(
    ("same_zero_at_low_end", {"zero_point": -128}),
    ("same_zero_at_high_end", {"zero_point": 127}),
)
def padded_with(net, zero_point):
    x = net.input(1, 5, 6, 3, scale=0.02, zero_point=zero_point)
    x = net.conv(x, 4, 3, zero_point=zero_point)
    return net.depthwise(net.pool(x, "AVERAGE", 3, 2, "SAME"), 1, 3)


@network(("", {}))
def relu_n1_to_1(net):
    return net.conv(net.input(1, 4, 4, 3), 5, activation="RELU_N1_TO_1")


@network(("", {}))
def several_inputs(net):
    image, vector, gate = net.input(1, 6, 6, 2), net.input(1, 9, zero_point=-128), net.input(1, 8, scale=0.01)
    features = net.mean(net.conv(image, 8, 3, 2, activation="RELU"), scale=0.008, zero_point=-120)
    return net.dense(net.binary("MUL", net.binary("ADD", features, net.dense(vector, 8)), gate), 4)


@network(("", {}))
def several_outputs(net):
    x = net.conv(net.input(1, 8, 8, 3), 6, 3, 2, activation="RELU")
    classes = net.unary("SOFTMAX", net.dense(x, 5))
    box = net.unary("LOGISTIC", net.dense(x, 4))
    return classes, x, net.binary("ADD", net.conv(x, 6, 1), x), box


@network(("", {}))
def output_of_input(net):
    """The same tensor is input of two operators, and outputs of different life spans overlap."""
    x = net.input(1, 5, 5, 4)
    return net.binary("MUL", x, x), net.concat([x, x], 3)


@network(("", {}))
def residual_identity(net):
    x = net.conv(net.input(1, 8, 8, 3), 6, activation="RELU")
    y = net.conv(net.conv(x, 6, activation="RELU"), 6)
    return net.binary("ADD", x, y, "RELU")


@network(("", {}))
def residual_projection_and_chain(net):
    x = net.conv(net.input(1, 9, 9, 2), 4, activation="RELU")
    for channels, stride in ((4, 1), (6, 2), (9, 2)):
        y = net.conv(net.conv(x, channels, 3, stride, activation="RELU"), channels)
        shortcut = x if stride == 1 and channels == x.shape[3] else net.conv(x, channels, 1, stride)
        x = net.binary("ADD", y, shortcut, "RELU")
    return net.dense(net.mean(x), 4)


@network(("", {}))
def branches(net):
    x = net.conv(net.input(1, 10, 9, 3), 5, activation="RELU6")
    a = net.pool(x, "MAX", 3, 2, "SAME")
    b = net.conv(net.pad(x, [[0, 0], [1, 0], [0, 1], [0, 0]]), 5, 3, 2, "VALID", scale=a.scale, zero_point=a.zero_point)
    b = net.pad(b, [[0, 0], [a.shape[1] - b.shape[1], 0], [a.shape[2] - b.shape[2], 0], [0, 0]])
    first, second = net.split(net.concat([a, b, a], 3), 3, 3)[1:]
    return net.dense(net.transpose(net.binary("SUB", first, second), (0, 3, 1, 2)), 6)


@network(("", {}))
def squeeze_and_excite(net):
    x = net.depthwise(net.conv(net.input(1, 8, 8, 3), 8, activation="RELU"), 1, 3, 2)
    gate = net.mean(x, keep_dims=True)
    gate = net.unary("LOGISTIC", net.conv(net.conv(gate, 3, 1, activation="RELU"), 8, 1))
    x = net.binary("MUL", x, gate)
    return net.unary("HARD_SWISH", x, scale=x.scale, zero_point=-100)


@network(("", {}))
def mobilenet(net):
    x = net.conv(net.input(1, 24, 20, 3, scale=1 / 128, zero_point=-1), 6, 3, 2, activation="RELU6")
    for channels, stride in ((8, 1), (12, 2), (12, 1), (17, 2)):
        x = net.depthwise(x, 1, 3, stride, activation="RELU6", spread=4.0)
        x = net.conv(x, channels, 1, activation="RELU6")
    x = net.pool(x, "AVERAGE", x.shape[1:3], 1)
    return net.unary("SOFTMAX", net.dense(net.reshape(x, 1, 17), 7, sigma=8.0, scale=0.08))


@network(("", {}))
def mobilenet_v2(net):
    x = net.conv(net.input(1, 16, 16, 3), 4, 3, 2, activation="RELU6")
    for channels, stride in ((4, 1), (6, 2), (6, 1)):
        y = net.conv(x, 3 * x.shape[3], 1, activation="RELU6")
        y = net.conv(net.depthwise(y, 1, 3, stride, activation="RELU6"), channels, 1)
        x = net.binary("ADD", x, y) if y.shape == x.shape else y
    return net.dense(net.mean(x), 5)


@network(("", {}))
def resnet(net):
    x = net.conv(net.input(1, 16, 16, 3), 8, activation="RELU")
    for channels, stride in ((8, 1), (12, 2), (16, 2)):
        y = net.conv(net.conv(x, channels, 3, stride, activation="RELU"), channels)
        x = net.binary("ADD", y, x if stride == 1 else net.conv(x, channels, 1, stride), "RELU")
    return net.unary("SOFTMAX", net.dense(net.reshape(net.pool(x, "AVERAGE", 4, 4), 1, 16), 10, sigma=4.0))


@network(("", {}))
def keyword_dscnn(net):
    x = net.conv(net.input(1, 25, 10, 1, zero_point=83), 16, (10, 4), (2, 2), activation="RELU")
    for _ in range(3):
        x = net.conv(net.depthwise(x, 1, 3, activation="RELU"), 16, 1, activation="RELU")
    x = net.pool(x, "AVERAGE", x.shape[1:3], x.shape[1:3])
    return net.unary("SOFTMAX", net.dense(net.reshape(x, 1, 16), 12, sigma=8.0, scale=0.08))


@network(("", {}))
def keyword_svdf(net):
    x = net.input(1, 40, zero_point=-5)
    for units in (16, 12):
        x = net.svdf(x, units, 8, 2)
    return net.unary("SOFTMAX", net.dense(x, 6))


STATEFUL.add("keyword_svdf")


@network(("", {}))
def autoencoder(net):
    x = net.input(1, 64, scale=0.03, zero_point=21)
    for units in (32, 16, 4, 16, 32):
        x = net.dense(x, units, "RELU")
    return net.dense(x, 64)


@network(("", {}))
def batch_of_any_size(net):
    x = net.conv(net.input(1, 9, 7, 3), 5, 3, 2, activation="RELU")
    return net.unary("SOFTMAX", net.dense(net.flatten_of_any_batch(x), 6, sigma=8.0, scale=0.08))


@network(("", {}))
def signal_cnn(net):
    """A 1-D CNN as converters write it: reshape to 1xN, convolutions, reshape back."""
    x = net.reshape(net.input(1, 128, 2, scale=0.02), 1, 1, 128, 2)
    for channels, kernel, stride in ((6, 16, 4), (8, 5, 2), (12, 3, 1)):
        x = net.conv(x, channels, (1, kernel), (1, stride), activation="RELU")
        x = net.pool(x, "MAX", (1, 2), (1, 2)) if stride == 2 else x
    return net.dense(net.squeeze(net.mean(x, (1, 2), keep_dims=True), [1, 2]), 4)


@network(("", {}))
def float_border_classifier(net):
    x = net.quantize(net.input(1, 12, 12, 1, dtype="float32"), 0.02, -3)
    x = net.conv(net.conv(x, 6, 3, 2, activation="RELU6"), 8, 3, 2, activation="RELU6")
    return net.dequantize(net.unary("SOFTMAX", net.dense(net.mean(x), 4)))


@network(("", {}))
def offline_plan(net):
    """Two tensors at fixed addresses (metadata OfflineMemoryAllocation), the others planned by the runtime."""
    x = net.input(1, 6, 6, 4)
    y = net.conv(x, 8, activation="RELU")
    z = net.depthwise(y, 1, 3, 2, activation="RELU")
    net.writer.offline_plan({x.index: 512, y.index: 0})
    return net.dense(z, 3)


@network(
    ("2d", {"shape": (1, 8, 9, 3), "block": (2, 3), "edges": ((1, 2), (0, 1))}),
    ("batch_of_2", {"shape": (2, 6, 4, 2), "block": (3, 1), "edges": ((4, 0), (1, 0))}),
    ("1d", {"shape": (1, 12, 4), "block": (4,), "edges": ((3, 2),)}),
    ("uncropped", {"shape": (1, 4, 6, 2), "block": (2, 2), "edges": ((0, 0), (0, 0))}),
)
def batches(net, shape, block, edges):
    """The parts themselves, and what comes back of them with the edges cropped."""
    parts = net.space_to_batch(net.input(*shape, zero_point=-9), block, [(0, 0)] * len(block))
    back = net.space_to_batch(parts, block, edges, back=True)
    return net.unary("RELU", parts), back


@network(("", {}))
def dilated_as_converters_write_it(net):
    """A convolution over time with a dilation of 4, computed on four sequences of every fourth step."""
    parts = net.space_to_batch(net.input(1, 20, 5, zero_point=6), (4,), ((0, 0),))
    y = net.conv(net.reshape(parts, 4, 1, 5, 5), 6, (1, 3), 1, "VALID", activation="RELU")
    back = net.space_to_batch(net.reshape(y, 4, 3, 6), (4,), ((0, 2),), back=True)
    return net.dense(net.reshape(back, 1, 10 * 6), 3)


@network(("", {}), stateful=True)
def streaming_keywords(net):
    """Three new frames an inference, and rings of earlier ones before every layer over time."""
    x = net.ring(net.input(1, 3, 1, 20, scale=0.03, zero_point=-10), "first", 2)
    x = net.conv(x, 12, (3, 1), 1, "VALID", activation="RELU")
    for k, steps in enumerate((4, 8)):
        x = net.ring(x, f"ring_{k}", steps)
        x = net.depthwise(x, 1, (steps + 1, 1), 1, "VALID")
        x = net.conv(x, 12, 1, activation="RELU")
    x = net.ring(x, "last", 4)
    return net.unary("LOGISTIC", net.dense(net.reshape(x, 1, 12 * x.shape[1]), 1))


@network(("", {}), stateful=True)
def streaming_in_the_order_of_converters(net):
    """What is remembered is stored at the end, and begins at other values than the zero point."""
    x = net.input(1, 2, 1, 6, zero_point=3)
    first = net.rng.integers(-128, 128, (1, 3, 1, 6)).astype("int8")
    joined, handle, newest = net.ring(x, "ring", 3, initial=first, assign=False)
    y = net.conv(joined, 5, (5, 1), 1, "VALID", activation="RELU")
    again, other, newer = net.ring(y, "other", 2, assign=False)
    z = net.dense(net.reshape(again, 1, 15), 4)
    net.assign(other, newer)
    net.assign(handle, newest)
    return z


@network(("", {}), stateful=True)
def running_mean(net):
    """A variable that is read by arithmetic, given out, and stored by arithmetic: its bytes have to be copied."""
    x = net.input(1, 4, 5)
    handle, mean = net.variable("mean", x)
    half = net.tensor(1, 1, 1, scale=0.5 / 127)
    total = net.binary("ADD", mean, net.binary("MUL", x, half), scale=x.scale, zero_point=x.zero_point)
    net.assign(handle, total)
    return net.binary("SUB", x, mean), mean


@network(("", {}), stateful=True)
def variable_read_after_it_was_stored(net):
    """Two reads and two stores of one variable, and one through a reshape."""
    x = net.input(1, 2, 3, 4)
    handle, old = net.variable("twice", x)
    joined = net.concat([old, x], 1)
    middle = net.slice(joined, (0, 1, 0, 0), (1, 3, 3, 4), (1, 1, 1, 1))
    net.assign(handle, middle)
    new = net._op("READ_VARIABLE", [handle], x.shape, {**x.like, "rms": x.rms}, {})
    both = net.concat([new, joined], 1)
    flat = net.reshape(net.slice(both, (0, 4, 0, 0), (1, 6, 3, 4), (1, 1, 1, 1)), 1, 2, 3, 4)
    net.assign(handle, flat)
    return both, net.dense(joined, 3)


@network(("", {}), stateful=True)
def float_variable(net):
    """What a converter writes that does not quantize variables: float32 in memory, int8 in the layers."""
    x = net.input(1, 6)
    handle = net.writer.resource("kept", np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 6))
    index = net.writer.operator("READ_VARIABLE", [handle], (1, 6), dtype="float32")
    old = net.quantize(dataclasses.replace(net.dequantize(x), index=index), x.scale, x.zero_point)
    y = net.binary("ADD", old, x)
    net.assign(handle, net.dequantize(y))
    return net.dense(y, 3)
