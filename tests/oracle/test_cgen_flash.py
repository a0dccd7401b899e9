"""Flash of generated code is the constants and little more, however many layers and channels a network has."""

import pytest

from edgelab.emulator.elf import read_elf, sizes_of
from edgelab.mcu.model import read_model
from tests.mcu_layers import Net

from .cgen_home import emulated_job, needs_interpreter, run, sampled

pytestmark = needs_interpreter
SPREAD = 24.0
"""Channels of a trained network differ that much in size."""


def squeezed(net, x, channels):
    """Squeeze and excite: channels times what their means say."""
    y = net.mean(x, keep_dims=True)
    y = net.conv(net.conv(y, max(channels // 4, 3), 1, activation="RELU"), channels, 1)
    return net.binary("MUL", x, net.unary("LOGISTIC", y))


def inverted(net, x, wide, channels, kernel=3, stride=1, *, swish=False, squeeze=False):
    """A block of MobileNetV2, or of V3."""
    relu = "NONE" if swish else "RELU6"
    y = net.conv(x, wide, 1, activation=relu, spread=SPREAD)
    y = net.unary("HARD_SWISH", y) if swish else y
    y = net.depthwise(y, 1, kernel, stride, activation=relu, spread=SPREAD)
    y = net.unary("HARD_SWISH", y) if swish else y
    y = net.conv(squeezed(net, y, wide) if squeeze else y, channels, 1, spread=SPREAD)
    return net.binary("ADD", x, y) if x.shape == y.shape else y


def mobilenet_v2(net):
    """MobileNetV2 0.35 with all its 7,000 channels."""
    x = net.conv(net.input(1, 32, 32, 3, zero_point=-1), 16, 3, 2, activation="RELU6", spread=SPREAD)
    x = net.conv(net.depthwise(x, activation="RELU6", spread=SPREAD), 8, 1, spread=SPREAD)
    for channels, count, stride in ((8, 2, 2), (16, 3, 2), (24, 4, 2), (32, 3, 1), (56, 3, 2), (112, 1, 1)):
        for i in range(count):
            x = inverted(net, x, 6 * x.shape[3], channels, 3, stride if i == 0 else 1)
    x = net.conv(x, 1280, 1, activation="RELU6", spread=SPREAD)
    return net.unary("SOFTMAX", net.dense(net.mean(x), 10))


def mobilenet_v3(net):
    """Windows of 5 by 5, squeeze and excite, hard swish."""
    x = net.conv(net.input(1, 32, 32, 3), 16, 3, 2, spread=SPREAD)
    x = net.unary("HARD_SWISH", x)
    x = squeezed(net, net.depthwise(x, 1, 3, 2, activation="RELU", spread=SPREAD), 16)
    x = inverted(net, net.conv(x, 8, 1, spread=SPREAD), 40, 16, 3, 2)
    for wide, channels, stride in ((48, 24, 2), (120, 24, 1), (120, 24, 1), (60, 32, 1), (72, 32, 1), (144, 48, 2)):
        x = inverted(net, x, wide, channels, 5, stride, swish=True, squeeze=True)
    x = net.unary("HARD_SWISH", net.conv(x, 288, 1, spread=SPREAD))
    return net.unary("SOFTMAX", net.dense(net.mean(x), 5))


def residual(net):
    """Thirty sums of tensors that differ in scale."""
    x = net.conv(net.input(1, 12, 12, 3), 8, 3, activation="RELU")
    for _ in range(30):
        x = net.binary("ADD", x, net.conv(x, 8, 3, activation="RELU", spread=4.0))
    return net.dense(net.mean(x), 4)


def dense_blocks(net):
    """Every layer sees all before it: concatenations of many tensors."""
    x = net.conv(net.input(1, 12, 12, 3), 8, 3, zero_point=0, scale=0.05)
    for _ in range(24):
        y = net.conv(x, 16, 1, activation="RELU", spread=4.0)
        x = net.concat([x, net.conv(y, 4, 3, scale=0.05, zero_point=0)], 3)
    return net.dense(net.mean(x), 4)


def gated(net):
    """A gated recurrent unit, step by step."""
    x = net.input(1, 10, 6)
    state = None
    for row in net.unpack(x, 1):
        inner = [net.dense(row, 12, per_channel=True) for _ in range(3)]
        if state is None:
            state = net.unary("TANH", inner[2])
            continue
        update, reset = (
            net.unary("LOGISTIC", net.binary("ADD", y, net.dense(state, 12, per_channel=True))) for y in inner[:2]
        )
        new = net.binary("MUL", reset, net.dense(state, 12, per_channel=True))
        new = net.unary("TANH", net.binary("ADD", inner[2], new))
        more = net.binary("MUL", update, net.binary("SUB", state, new))
        state = net.binary("ADD", new, more, scale=1 / 100, zero_point=0)
    return net.unary("SOFTMAX", net.dense(state, 4))


NETWORKS = (mobilenet_v2, mobilenet_v3, residual, dense_blocks, gated)
LARGE = [(network, minimise) for minimise in ("time", "ram") for network in NETWORKS]
EACH_ONCE = [(mobilenet_v2, "time"), (mobilenet_v3, "ram"), (residual, "time"), (dense_blocks, "time"), (gated, "ram")]


@pytest.mark.parametrize(("network", "minimise"), sampled(LARGE, EACH_ONCE))
def test_flash_of_large_networks_is_the_constants_and_little_more(network, minimise, tmp_path):
    net = Net(network.__name__)
    path = tmp_path / f"{network.__name__}.tflite"
    path.write_bytes(net.done(network(net)))
    model = read_model(path)
    constants = sum(t.size_bytes for t in model.tensors if t.data is not None)
    job = emulated_job(path, tmp_path, rows=4, kernels="portable", minimise=minimise)
    (found,) = run([job])
    assert found["wrong"] == 0
    assert sizes_of(read_elf(job["code"])).flash_bytes == found["flash"] <= constants + 24 * 1024
