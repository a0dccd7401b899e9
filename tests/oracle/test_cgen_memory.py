"""Generated code takes less RAM than the interpreter with CMSIS-NN would, also where one row is the whole picture."""

import sys

import numpy as np
import pytest

from edgelab.engines.cortexm import CortexMEngine
from edgelab.engines.tflm import TFLMEngine
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.firmware import build_firmware
from edgelab.mcu.model import read_model
from tests.mcu_layers import Net

from .cgen_home import sampled

STACK_BYTES = 1276  # of TFLM with CMSIS-NN, tests/data/mcu_oracle/oracle.json


def long_row(net):
    x = net.conv(net.input(1, 1, 1024, 4), 16, (1, 7), (1, 2), activation="RELU")
    return net.dense(net.mean(net.conv(x, 16, (1, 5))), 3)


def long_depthwise_row(net):
    x = net.conv(net.depthwise(net.input(1, 1, 800, 8), 1, (1, 9)), 8, 1, activation="RELU")
    return net.dense(net.mean(x), 3)


def dilated(net):
    x = net.conv(net.input(1, 32, 32, 4), 8, 3, dilation=4, activation="RELU")
    return net.dense(net.mean(net.conv(x, 8, 3, dilation=2)), 3)


def picture(net):
    x = net.conv(net.input(1, 24, 24, 3), 16, 3, activation="RELU6")
    return net.dense(net.mean(net.conv(x, 16, 3, 2)), 4)


CASES = [(network, m) for m in ("time", "ram") for network in (long_row, long_depthwise_row, dilated, picture)]
EACH_ONCE = [(long_row, "ram"), (long_depthwise_row, "time"), (dilated, "ram"), (picture, "time")]


@pytest.mark.skipif(sys.platform != "linux", reason="tflite-micro has wheels for Linux on x86-64")
@pytest.mark.parametrize(("network", "minimise"), sampled(CASES, EACH_ONCE))
def test_less_ram_than_the_interpreter_and_the_same_bytes(network, minimise, tmp_path):
    net, path = Net(network.__name__), tmp_path / "net.tflite"
    path.write_bytes(net.done(network(net)))
    firmware = build_firmware(path, tmp_path / "firmware", kernels="dsp", minimise=minimise)
    entry = firmware.to_dict()
    limit = plan_arena(read_model(path), "cortex-m-cmsis-nn").total + STACK_BYTES
    assert entry["ram_bytes"] + entry["stack_bytes"] < limit
    with TFLMEngine(path) as interpreter, CortexMEngine(firmware.path) as core:
        shape = interpreter.inputs[0].shape[1:]
        raw = np.random.default_rng(0).integers(-128, 128, (20, *shape)).astype(np.int8)
        assert core.invoke_raw([raw])[0].tobytes() == interpreter.invoke_raw([raw])[0].tobytes()
