"""Architectures that people put on microcontrollers, built small with Keras and converted as they convert them.

Run as a program with a folder and names, it writes one .tflite file for each. Weights are random; the statistics of
batch normalization are spread, so that folded weights and biases look trained.
"""

import os
import sys
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "TF_ENABLE_ONEDNN_OPTS": "0"}

import keras
import numpy as np
import tensorflow as tf
from keras import layers

MODELS = {}
PER_TENSOR = {"keyword_cnn"}
FLOAT_BORDERS = {"residual"}
OLD_QUANTIZER = {"detector"}


def model(build):
    """Register a function that takes no argument and returns inputs and outputs."""
    MODELS[build.__name__] = build
    return build


def conv(x, channels, kernel=1, stride=1, activation="relu", padding="same", **settings):
    x = layers.Conv2D(channels, kernel, stride, padding, use_bias=False, **settings)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


def depthwise(x, kernel=3, stride=1, activation="relu", **settings):
    x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, **settings)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


def classes(x, count):
    return layers.Dense(count, activation="softmax")(layers.GlobalAveragePooling2D()(x))


@model
def keyword_cnn():
    i = keras.Input((25, 10, 1), 1)
    x = conv(i, 16, (10, 4), 2)
    for _ in range(2):
        x = conv(depthwise(x), 16)
    return i, classes(x, 6)


@model
def visual_wake_word():
    i = keras.Input((24, 24, 3), 1)
    x = conv(i, 8, 3, 2)
    for channels, stride in ((8, 1), (16, 2), (16, 1), (24, 2)):
        x = conv(depthwise(x, 3, stride), channels)
    x = layers.Flatten()(layers.AveragePooling2D(3)(x))
    return i, layers.Dense(2, activation="softmax")(x)


@model
def residual():
    i = keras.Input((12, 12, 3), 1)
    x = conv(i, 8, 3)
    for channels, stride in ((8, 1), (12, 2)):
        y = conv(conv(x, channels, 3, stride), channels, 3, activation=None)
        x = x if stride == 1 else layers.Conv2D(channels, 1, stride, "same")(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    return i, classes(x, 5)


@model
def anomaly():
    i = keras.Input((64,), 1)
    x = i
    for units in (32, 32, 4, 32):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(units)(x)))
    return i, layers.Dense(64)(x)


@model
def inverted_residuals():
    i = keras.Input((20, 20, 3), 1)
    x = conv(i, 8, 3, 2, "relu6")
    for channels, kernel, stride in ((8, 3, 1), (12, 5, 2), (12, 7, 1)):
        y = depthwise(conv(x, 3 * x.shape[-1], activation="relu6"), kernel, stride, "relu6")
        y = conv(y, channels, activation=None)
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    return i, classes(x, 4)


@model
def squeeze_and_excite():
    i = keras.Input((16, 16, 3), 1)
    x = conv(i, 12, 3, 2, "hard_swish")
    x = depthwise(x, 5, 1, "hard_swish")
    gate = layers.Conv2D(4, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, layers.Conv2D(12, 1, activation="hard_sigmoid")(gate)])
    x = conv(x, 10, activation="swish")
    return i, classes(x, 4)


@model
def dense_blocks():
    i = keras.Input((13, 11, 2), 1)
    x = conv(i, 5, 3)
    for _ in range(3):
        x = layers.Concatenate()([x, conv(conv(x, 7), 3, 3, dilation_rate=2)])
    x = layers.MaxPool2D(3, 2, "same")(x)
    return i, layers.Dense(4)(layers.GlobalMaxPooling2D()(x))


@model
def shuffled_groups():
    i = keras.Input((10, 10, 3), 1)
    x = conv(i, 8, 3, 2)
    for _ in range(2):
        rest, y = x[..., :4], conv(depthwise(conv(x[..., 4:], 4), activation=None), 4)
        x = layers.Reshape((5, 5, 2, 4))(layers.Concatenate()([rest, y]))
        x = layers.Reshape((5, 5, 8))(layers.Permute((1, 2, 4, 3))(x))
    return i, classes(x, 3)


@model
def temporal():
    i = keras.Input((40, 5), 1)
    x = i
    for rate in (1, 2, 4):
        gate = layers.Conv1D(6, 3, dilation_rate=rate, padding="causal", activation="sigmoid")(x)
        y = layers.Conv1D(6, 3, dilation_rate=rate, padding="causal", activation="tanh")(x)
        x = layers.Add()([layers.Conv1D(6, 1)(x), layers.Multiply()([y, gate])])
    return i, [layers.Dense(3)(x[:, -1, :]), layers.GlobalAveragePooling1D()(x)]


@model
def detector():
    i = keras.Input((24, 24, 3), 1)
    x = i
    for channels in (6, 8):
        x = layers.MaxPool2D()(layers.LeakyReLU(negative_slope=0.1)(conv(x, channels, 3, activation=None)))
    y = conv(layers.MaxPool2D()(x), 12, 3)
    heads = [layers.Reshape((-1, 7))(layers.Conv2D(14, 1)(z)) for z in (y, x)]
    found = layers.Concatenate(axis=1)(heads)
    return i, [layers.Activation("sigmoid")(found[..., :3]), found[..., 3:5], layers.Softmax()(found[..., 5:])]


@model
def two_inputs():
    a, b = keras.Input((12, 9, 1), 1), keras.Input((7,), 1)
    x = layers.GlobalAveragePooling2D()(conv(a, 9, 3, 2))
    x = layers.Concatenate()([x, layers.Dense(5, activation="relu")(b)])
    return [a, b], layers.Dense(1, activation="sigmoid")(x)


@model
def attention():
    i = keras.Input((6, 8), 1)
    q, k, v = (layers.Dense(8)(i) for _ in range(3))
    weights = layers.Softmax()(keras.ops.matmul(q, keras.ops.transpose(k, (0, 2, 1))))
    x = layers.Add()([i, keras.ops.matmul(weights, v)])
    return i, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))


def spread(made, rng):
    """Statistics and biases as training leaves them."""
    for layer in made.layers:
        if isinstance(layer, layers.BatchNormalization):
            count = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.3, 2, count) * np.where(rng.random(count) < 0.1, -1, 1))
            layer.beta.assign(rng.normal(0, 0.5, count))
            layer.moving_mean.assign(rng.normal(0, 0.5, count))
            layer.moving_variance.assign(rng.uniform(0.05, 4, count))
        elif getattr(layer, "use_bias", False) and layer.bias is not None:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))


def rows(shapes, rng):
    """A calibration set: noise of two sizes."""
    for row in range(12):
        size = 1 if row % 2 else 0.5
        yield {name: (rng.normal(0, size, shape)).astype(np.float32) for name, shape in shapes.items()}


def quantized(name, folder, rng):
    """Full-integer conversion of what was saved, with the options of this name."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"].structured_input_signature[1]
    shapes = {key: tuple(spec.shape) for key, spec in signature.items()}
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: rows(shapes, rng)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if name not in FLOAT_BORDERS:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel = name in PER_TENSOR
    converter.experimental_new_quantizer = name not in OLD_QUANTIZER
    converter._experimental_variable_quantization = name == "streaming"
    return converter.convert()


def saved(name, folder, rng):
    """Trained, as it were, and saved for a batch of 1, which keeps a dilation in its convolution."""
    keras.utils.set_random_seed(7)
    made = keras.Model(*MODELS[name]())
    spread(made, rng)
    given = [tf.TensorSpec(x.shape, tf.float32) for x in made.inputs]
    made.export(str(folder), verbose=False, input_signature=[given] if len(given) > 1 else given)


class Streaming(tf.Module):
    """Frames one by one: what earlier inferences saw is kept in variables."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(3)
        self.rings = [tf.Variable(tf.zeros(shape), trainable=False) for shape in ((1, 2, 1, 10), (1, 4, 1, 8))]
        shapes = ((3, 1, 10, 8), (5, 1, 8, 1), (1, 1, 8, 4))
        self.weights = [rng.normal(0, 0.3, shape).astype(np.float32) for shape in shapes]

    def joined(self, ring, x):
        both = tf.concat([self.rings[ring], x], axis=1)
        self.rings[ring].assign(both[:, x.shape[1] :])
        return both

    @tf.function(input_signature=[tf.TensorSpec((1, 1, 1, 10), tf.float32)])
    def __call__(self, x):
        first, across, last = self.weights
        x = tf.nn.relu(tf.nn.conv2d(self.joined(0, x), first, 1, "VALID"))
        x = tf.nn.depthwise_conv2d(self.joined(1, x), across, (1, 1, 1, 1), "VALID")
        return tf.sigmoid(tf.nn.conv2d(x, last, 1, "VALID"))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        rng = np.random.default_rng(len(name))
        if name == "streaming":
            module = Streaming()
            tf.saved_model.save(module, str(folder / name), signatures=module.__call__.get_concrete_function())
        else:
            saved(name, folder / name, rng)
        (folder / f"{name}.tflite").write_bytes(quantized(name, folder / name, rng))
