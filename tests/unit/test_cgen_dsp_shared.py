"""DSP kernels that layers share: the interpreter's answers, and flash of networks of many layers."""

import pytest

from edgelab.engines.elf import read_elf, sizes_of
from edgelab.mcu.cgen import dsp_choice, generate
from edgelab.mcu.model import read_model
from tests.mcu_layers import Net
from tests.mcu_networks import NETWORKS

from .cgen_home import MODELS, emulated_job, emulated_jobs, needs_interpreter, oracle, run, wrong

pytestmark = needs_interpreter
KINDS = ("conv", "depthwise", "dense", "two", "multiplier", "padded", "relu", "several", "reshape", "output")


@pytest.fixture
def all_shared(monkeypatch):
    """Flash for no kernel of a layer's own."""
    monkeypatch.setattr(dsp_choice, "_LIMIT_BYTES", -(2**30))


def mixed(net, size, channels, kernel=3):
    """Odd sizes, both strides, windows larger than 3x3, several channels out of one, sums."""
    x = net.conv(net.input(1, *size, zero_point=-5), channels, kernel, 2, activation="RELU6")
    x = net.depthwise(x, 2, kernel, activation="RELU", spread=9.0)
    x = net.conv(x, channels + 1, 1)
    y = net.conv(net.depthwise(x, 1, 5), channels + 1, 1)
    x = net.depthwise(net.binary("ADD", x, y), 1, 5, 2, activation="RELU6")
    x = net.conv(net.depthwise(x, 1, (3, 5), (2, 1), "VALID"), 2 * channels, 1, 2, spread=100.0)
    x = net.conv(net.conv(x, 5, 1, activation="RELU_N1_TO_1"), 6, (2, 1), per_channel=False)
    return net.unary("SOFTMAX", net.dense(net.dense(net.mean(x), 9, activation="RELU", per_channel=True), 4))


def networks(folder):
    own = [name for name in NETWORKS if name.startswith(KINDS)]
    for name in own:
        (folder / f"{name}.tflite").write_bytes(NETWORKS[name]())
    for number, (size, channels, kernel) in enumerate(
        [((23, 21, 3), 8, 3), ((32, 18, 1), 12, (4, 5)), ((27, 40, 4), 13, 5), ((40, 29, 2), 16, (1, 3))]
    ):
        name = f"mixed_{number}"
        net = Net(name)
        (folder / f"{name}.tflite").write_bytes(net.done(mixed(net, size, channels, kernel)))
        own.append(name)
    return own


@pytest.mark.parametrize("minimise", ["time", "ram"])
def test_shared_kernels_are_bit_exact(all_shared, tmp_path, minimise):
    names = networks(tmp_path)
    jobs = emulated_jobs([tmp_path / f"{name}.tflite" for name in names], tmp_path, kernels="dsp", minimise=minimise)
    assert wrong(names, jobs) == {}


@pytest.mark.parametrize("minimise", ["time", "ram"])
def test_shared_kernels_are_bit_exact_in_whole_networks(all_shared, tmp_path, minimise):
    jobs = emulated_jobs([oracle(name) for name in MODELS], tmp_path, kernels="dsp", minimise=minimise)
    assert wrong(MODELS, jobs) == {}
    text = generate(read_model(oracle("mobilenet_64_rgb")), kernels="dsp", minimise=minimise).files["model.c"]
    assert "convolve(" in text and "depthwise_planes(" in text
