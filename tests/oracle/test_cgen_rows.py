"""Chains that run row by row: side branches, rings, outputs in their inputs' memory, and what they save."""

import random

import pytest

from edgelab.mcu.arena import plan_arena
from edgelab.mcu.cgen import generate
from edgelab.mcu.model import read_model
from tests.mcu_layers import Net

from .cgen_home import emulated_jobs, native_jobs, needs_interpreter, oracle, sampled, wrong


def bottleneck(net, x, channels, times, stride=1, activation="RELU6"):
    y = net.conv(x, x.shape[3] * times, 1, activation=activation)
    y = net.conv(net.depthwise(y, stride=stride, activation=activation), channels, 1)
    return net.binary("ADD", x, y) if x.shape == y.shape else y


def inverted_residuals(net):
    x = net.conv(net.input(1, 29, 27, 3, zero_point=7), 8, 3, 2, activation="RELU6")
    for channels, stride in ((8, 1), (8, 1), (12, 2), (12, 1)):
        x = bottleneck(net, x, channels, 4, stride)
    return x


def shortcuts_with_a_stride(net):
    x = net.conv(net.input(1, 24, 21, 3, zero_point=-9), 6, activation="RELU")
    for channels, stride in ((6, 1), (12, 2), (12, 1), (20, 2)):
        y = net.conv(net.conv(x, channels, 3, stride, activation="RELU"), channels)
        z = x if stride == 1 else net.conv(x, channels, 1, stride)
        x = net.binary("ADD", z, y, activation="RELU")
    return x


def branches_inside_of_branches(net):
    x = net.conv(net.input(1, 18, 20, 4, zero_point=3), 8, 3, padding="VALID")
    y = net.conv(x, 8, 5, dilation=1, activation="RELU")
    z = net.binary("MUL", net.conv(y, 8, 3), net.unary("LOGISTIC", x))
    z = net.binary("SUB", net.depthwise(z, kernel=(5, 3)), y)
    return net.binary("ADD", net.pool(net.binary("ADD", z, x), "MAX", 3, 1, padding="SAME"), x)


def a_second_input(net):
    a, b = net.input(1, 20, 16, 4), net.input(1, 20, 16, 4, zero_point=40)
    y = net.conv(net.conv(a, 24, 1, activation="RELU6"), 4, 3)
    return net.binary("ADD", net.conv(net.binary("ADD", y, b), 16, 3), net.conv(a, 16, 1))


def functions_between(net):
    x = net.conv(net.input(1, 22, 18, 3), 12, 3)
    y = net.depthwise(net.unary("HARD_SWISH", x), activation="NONE")
    return net.binary("ADD", net.unary("LEAKY_RELU", net.conv(y, 12, 1), alpha=0.1), x)


def at_random(seed):
    def network(net):
        draw = random.Random(seed)
        size = draw.randint(7, 26), draw.randint(3, 18)
        known = [net.input(1, *size, draw.choice((1, 3, 4, 6)), zero_point=draw.randint(-99, 99))]
        for _ in range(draw.randint(4, 10)):
            x = known[-1] if draw.random() < 0.8 else draw.choice(known[-4:])
            kind = draw.choice(("conv", "conv", "depthwise", "pointwise", "pool", "unary", "binary", "binary"))
            stride = draw.choice((1, 1, 1, 2)) if min(x.shape[1:3]) > 4 else 1
            relu, padding = draw.choice(("NONE", "RELU", "RELU6")), "SAME"
            if min(x.shape[1:3]) > 6 and draw.random() < 0.25:
                padding = "VALID"
            kernel = draw.choice((3, 3, (3, 5), (5, 3), 2, (1, 3)))
            if kind == "conv":
                dilation = 2 if stride == 1 and padding == "SAME" and draw.random() < 0.2 else 1
                settings = {"padding": padding, "dilation": dilation, "activation": relu}
                x = net.conv(x, draw.choice((4, 6, 8, 12)), kernel, stride, **settings)
            elif kind == "depthwise":
                x = net.depthwise(x, kernel=kernel, stride=stride, padding=padding, activation=relu)
            elif kind == "pointwise":
                x = net.conv(x, draw.choice((4, 6, 8, 16)), 1, stride, activation=relu)
            elif kind == "pool":
                x = net.pool(x, draw.choice(("MAX", "AVERAGE")), draw.choice((2, 3)), stride, padding="SAME")
            elif kind == "unary":
                x = net.unary(draw.choice(("LOGISTIC", "HARD_SWISH", "RELU6")), x)
            else:
                alike = [t for t in known if t.shape == x.shape and t is not x]
                code = draw.choice(("ADD", "ADD", "SUB", "MUL"))
                x = net.binary(code, x, draw.choice(alike)) if alike else net.conv(x, 8, 1)
            known.append(x)
        return known[-1]

    network.__name__ = f"at_random_{seed}"
    return network


BY_HAND = [inverted_residuals, shortcuts_with_a_stride, branches_inside_of_branches, a_second_input, functions_between]
RANDOM = [at_random(seed) for seed in range(20)]


def saved(folder, networks):
    paths = []
    for network in networks:
        net = Net(network.__name__)
        paths.append(folder / f"{network.__name__}.tflite")
        paths[-1].write_bytes(net.done(network(net)))
    return paths


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("rows"), BY_HAND + RANDOM)


def chains(path, kernels):
    return generate(read_model(path), kernels=kernels, minimise="ram").files["model.c"].count(" rows_")


@needs_interpreter
@pytest.mark.parametrize("seeds", sampled([8, len(RANDOM)], [8]))
def test_row_by_row_is_bit_exact(paths, tmp_path, seeds):
    chosen = paths[: len(BY_HAND) + seeds]
    jobs = native_jobs(chosen, tmp_path, rows=30, minimise="ram")
    assert wrong(range(len(chosen)), jobs) == {}
    assert sum(chains(path, "portable") > 0 for path in chosen) > len(chosen) / 2


@needs_interpreter
def test_row_by_row_is_bit_exact_with_the_dsp_kernels(paths, tmp_path):
    chosen = paths[: len(BY_HAND) + 7]
    jobs = emulated_jobs(chosen, tmp_path, kernels="dsp", minimise="ram", rows=3)
    assert wrong(range(len(chosen)), jobs) == {}
    assert sum(chains(path, "dsp") > 0 for path in chosen) > len(chosen) / 3


@pytest.mark.parametrize(("kernels", "most"), [("portable", 0.4), ("dsp", 0.55)])
@pytest.mark.parametrize("name", ["resnet8_24", "resnet_wide"])
def test_a_residual_network_takes_half_of_the_greedy_plan(name, kernels, most):
    model = read_model(oracle(name))
    greedy = plan_arena(model, "cortex-m-cmsis-nn").head
    assert generate(model, kernels=kernels, minimise="ram").arena_bytes <= most * greedy


@pytest.mark.parametrize("kernels", ["portable", "dsp"])
def test_less_memory_is_never_more(paths, kernels):
    for path in paths:
        model = read_model(path)
        least, usual = (generate(model, kernels=kernels, minimise=m).arena_bytes for m in ("ram", "time"))
        assert least <= usual, path.stem
