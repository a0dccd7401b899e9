"""DSP kernels that layers share: the interpreter's answers, and flash of networks of many layers."""

import pytest

from edgelab.mcu.cgen import dsp_choice, generate
from edgelab.mcu.model import read_model
from tests.mcu_layers import Net
from tests.mcu_networks import NETWORKS

from .cgen_home import MODELS, SAMPLE, emulated_job, emulated_jobs, needs_interpreter, oracle, run, sampled, wrong

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
    jobs = emulated_jobs(
        [tmp_path / f"{name}.tflite" for name in names], tmp_path, rows=5, kernels="dsp", minimise=minimise
    )
    assert wrong(names, jobs) == {}


@pytest.mark.parametrize("which", sampled(["sample", "all"], ["sample"]))
@pytest.mark.parametrize("minimise", ["time", "ram"])
def test_shared_kernels_are_bit_exact_in_whole_networks(all_shared, tmp_path, minimise, which):
    names = MODELS if which == "all" else SAMPLE
    jobs = emulated_jobs([oracle(name) for name in names], tmp_path, rows=4, kernels="dsp", minimise=minimise)
    assert wrong(names, jobs) == {}
    text = generate(read_model(oracle("mobilenet_64_rgb")), kernels="dsp", minimise=minimise).files["model.c"]
    assert "convolve(" in text
    assert "depthwise_planes(" in text


@pytest.mark.parametrize("minimise", ["time", "ram"])
@pytest.mark.parametrize("limit", [0, -(2**30)])
def test_a_window_that_skips_most_of_a_picture_is_bit_exact(monkeypatch, tmp_path, minimise, limit):
    """One pixel comes out, of rows that are made one by one."""
    monkeypatch.setattr(dsp_choice, "_LIMIT_BYTES", dsp_choice._LIMIT_BYTES + limit)
    net, path = Net("skipping"), tmp_path / "net.tflite"
    x = net.conv(net.conv(net.input(1, 8, 8, 3), 24, activation="RELU"), 32)
    path.write_bytes(net.done(net.conv(x, 6, 1, 8)))
    assert run([emulated_job(path, tmp_path, kernels="dsp", minimise=minimise)])[0]["wrong"] == 0


def squeezed(net, x):
    """Squeeze and excite."""
    channels = x.shape[3]
    y = net.conv(net.mean(x, keep_dims=True), max(8, channels // 4), 1, activation="RELU", spread=9.0)
    return net.binary("MUL", x, net.unary("LOGISTIC", net.conv(y, channels, 1, spread=9.0)))


def swished(net, x):
    return net.unary("HARD_SWISH", x, scale=x.scale * 0.8, zero_point=-100)


def inverted(net, x, wide, channels, kernel=3, stride=1, *, excite=False, swish=False):
    """An inverted residual: wider by a 1x1 window, depthwise, narrower, added to what came in."""
    activation = "NONE" if swish else "RELU6"
    y = net.conv(x, wide, 1, activation=activation, spread=30.0)
    y = swished(net, y) if swish else y
    y = net.depthwise(y, 1, kernel, stride, activation=activation, spread=30.0)
    y = swished(net, y) if swish else y
    y = net.conv(squeezed(net, y) if excite else y, channels, 1, spread=9.0)
    return net.binary("ADD", x, y) if x.shape == y.shape else y


def mobile_v2(net):
    """The layers of MobileNetV2 of width 0.35, on a smaller picture: some 7,000 channels."""
    x = net.conv(net.input(1, 32, 32, 3, zero_point=-1), 16, 3, 2, activation="RELU6")
    x = net.conv(net.depthwise(x, activation="RELU6", spread=30.0), 8, 1)
    stages = [(8, 2, 2), (16, 3, 2), (24, 4, 2), (32, 3, 1), (56, 3, 2), (112, 1, 1)]
    for channels, times, stride in stages:
        for i in range(times):
            x = inverted(net, x, 6 * x.shape[3], channels, 3, 1 if i else stride)
    x = net.mean(net.conv(x, 1280, 1, activation="RELU6", spread=30.0))
    return net.unary("SOFTMAX", net.dense(x, 10, per_channel=True))


def mobile_v3(net):
    """Windows of 3x3 and 5x5, squeeze and excite, hard swish."""
    x = swished(net, net.conv(net.input(1, 32, 32, 3), 16, 3, 2, spread=9.0))
    x = inverted(net, x, 16, 16, 3, 2, excite=True)
    for wide, channels, stride in ((40, 16, 1), (44, 24, 2), (96, 24, 1), (96, 24, 1), (120, 40, 1), (144, 40, 2)):
        x = inverted(net, x, wide, channels, 5, stride, excite=True, swish=True)
    x = net.mean(swished(net, net.conv(x, 240, 1)), keep_dims=True)
    return net.unary("SOFTMAX", net.dense(swished(net, net.conv(x, 256, 1)), 10, per_channel=True))


def many_sums(net):
    x = net.conv(net.input(1, 12, 12, 3), 16, activation="RELU")
    for channels in (16, 24, 40):
        for i in range(6):
            y = net.conv(net.conv(x, channels, 3, activation="RELU"), channels, (3, 1))
            x = net.conv(x, channels, 1) if i == 0 else x
            x = net.binary("ADD", x, y, "RELU" if i % 2 else "NONE")
    return net.unary("SOFTMAX", net.dense(net.mean(x), 5))


def joined(net):
    """Each layer's output beside those of all before it; then up again."""
    x = net.conv(net.input(1, 16, 16, 3), 12, 3, 2, activation="RELU")
    for stage in range(2):
        for _ in range(6):
            y = net.conv(net.conv(x, 24, 1, activation="RELU"), 8, 3, scale=x.scale, zero_point=x.zero_point)
            x = net.concat([x, y], 3)
        x = net.conv(x, 16, 1) if stage else net.pool(net.conv(x, 32, 1, activation="RELU"), "AVERAGE")
    return net.conv(net.space_to_depth(x, 2, back=True), 2, 3)


def gated(net, steps=12, units=16):
    """A gated recurrent network, step by step."""
    inputs = net.unpack(net.input(1, steps, 10), 1)
    h = net.dense(inputs[0], units)
    for x in inputs:
        gates = [net.split(net.dense(v, 3 * units, per_channel=True), 1, 3) for v in (x, h)]
        z, r = (net.unary("LOGISTIC", net.binary("ADD", *(g[i] for g in gates))) for i in (0, 1))
        new = net.unary("TANH", net.binary("ADD", gates[0][2], net.binary("MUL", r, gates[1][2])))
        h = net.binary("ADD", net.binary("MUL", z, h), net.binary("MUL", z, new))
    return net.unary("SOFTMAX", net.dense(h, 5))


LARGE = [(network, m) for m in ("time", "ram") for network in (mobile_v2, mobile_v3, many_sums, joined, gated)]
EACH_ONCE = [(mobile_v2, "ram"), (mobile_v3, "time"), (many_sums, "ram"), (joined, "ram"), (gated, "time")]


@pytest.mark.parametrize(("network", "minimise"), sampled(LARGE, EACH_ONCE))
def test_flash_of_large_networks_is_the_constants_and_little_more(tmp_path, network, minimise):
    net, path = Net(network.__name__), tmp_path / "net.tflite"
    path.write_bytes(net.done(network(net)))
    constants = sum(t.size_bytes for t in read_model(path).tensors if t.data is not None)
    job = emulated_job(path, tmp_path, rows=3, kernels="dsp", minimise=minimise)
    (found,) = run([job])
    assert found["wrong"] == 0
    assert found["flash"] <= constants + 24 * 1024
    assert found["instructions"] < 3.5 * job["macs"] + 300_000
