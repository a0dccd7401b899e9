"""Generated code on the emulated core: the interpreter's answers, and never more than the vendor's library takes."""

import pytest

from edgelab.emulator.elf import read_elf, sizes_of
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.cgen import generate
from edgelab.mcu.model import read_model
from tests.mcu_layers import Net
from tests.mcu_networks import NETWORKS

from .cgen_home import (
    FIGURES,
    MODELS,
    SAMPLE,
    asked_for,
    covering,
    emulated_job,
    emulated_jobs,
    needs_interpreter,
    oracle,
    run,
    sampled,
    wrong,
)

pytestmark = needs_interpreter
SUPPORTED = list(NETWORKS)
OWN_KERNELS = [name for name in SUPPORTED if name.startswith(("conv", "depthwise", "dense", "two", "multiplier"))]
LARGE = ("dscnn_49x10", "logits_only", "mobilenet_64_rgb", "mobilenet_avgpool", "resnet8_24", "resnet_wide")


each_model = pytest.mark.parametrize("name", sampled(MODELS, SAMPLE))


def measured(names, folder, **settings):
    jobs = [emulated_job(oracle(name), folder, **settings) for name in names]
    return {name: job | found for name, job, found in zip(names, jobs, run(jobs), strict=True)}


@pytest.fixture(scope="module")
def dsp(request, tmp_path_factory):
    return measured(asked_for(request), tmp_path_factory.mktemp("dsp"), kernels="dsp")


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    for name in SUPPORTED:
        (folder / f"{name}.tflite").write_bytes(NETWORKS[name]())
    return folder


@each_model
def test_dsp_kernels_are_bit_exact(dsp, name):
    assert dsp[name]["wrong"] == 0


@each_model
def test_dsp_kernels_take_fewer_instructions_than_cmsis_nn(dsp, name):
    assert dsp[name]["instructions"] < FIGURES[name]["cortex_m4_cmsis_nn"]["instructions"] / 2


@each_model
def test_memory_stays_below_the_interpreters(dsp, name):
    vendor = FIGURES[name]["cortex_m4_cmsis_nn"]
    assert dsp[name]["ram"] + dsp[name]["stack"] < vendor["used"] + vendor["stack"]


@pytest.fixture(scope="module")
def least_ram(request, tmp_path_factory):
    return measured(asked_for(request), tmp_path_factory.mktemp("ram"), kernels="dsp", minimise="ram")


@each_model
def test_least_ram_is_bit_exact(least_ram, dsp, name):
    assert least_ram[name]["wrong"] == 0
    assert least_ram[name]["arena"] <= dsp[name]["arena"]


@each_model
@pytest.mark.parametrize("minimise", ["time", "ram"])
def test_flash_is_the_weights_and_little_more(least_ram, dsp, name, minimise):
    constants = sum(t.size_bytes for t in read_model(oracle(name)).tensors if t.data is not None)
    found = dsp if minimise == "time" else least_ram
    assert found[name]["flash"] <= constants + 24 * 1024


@pytest.mark.parametrize("name", sampled(["mobilenet_64_rgb", "mobilenet_avgpool"], ["mobilenet_avgpool"]))
@pytest.mark.parametrize("kernels", ["dsp", "portable"])
def test_mobilenets_take_at_most_60_percent_of_the_greedy_plan(least_ram, name, kernels):
    model = read_model(oracle(name))
    greedy = plan_arena(model, "cortex-m-cmsis-nn").head
    assert generate(model, kernels=kernels, minimise="ram").arena_bytes <= 0.55 * greedy
    assert least_ram[name]["ram"] + least_ram[name]["stack"] <= 0.6 * greedy
    assert least_ram[name]["instructions"] < FIGURES[name]["cortex_m4_cmsis_nn"]["instructions"] / 2


@pytest.mark.parametrize("name", sampled(LARGE, [name for name in LARGE if name in SAMPLE]))
def test_portable_kernels_take_at_most_ten_instructions_a_product(tmp_path, name):
    job = emulated_job(oracle(name), tmp_path, rows=3)
    (found,) = run([job])
    assert found["wrong"] == 0
    assert found["instructions"] <= 10 * job["macs"]
    vendor = FIGURES[name]["cortex_m4_cmsis_nn"]
    assert found["ram"] + found["stack"] < vendor["used"] + vendor["stack"]


ON_CORES = [
    ("cortex-m4", "dsp", "time", "own kernels"),
    ("cortex-m4", "dsp", "ram", "covering"),
    ("cortex-m7", "dsp", "time", "every 12th"),
    ("cortex-m33", "dsp", "time", "every 12th"),
    ("cortex-m0plus", "portable", "time", "every 12th"),
]


@pytest.mark.parametrize(
    ("core", "kernels", "minimise", "which"),
    sampled([*ON_CORES, *((*settings, "all") for *settings, _ in ON_CORES)], ON_CORES),
)
def test_every_operator_is_bit_exact_on_the_core(networks, tmp_path, core, kernels, minimise, which):
    names = {"own kernels": OWN_KERNELS, "every 12th": SUPPORTED[::12]}.get(which, SUPPORTED)
    if which == "covering":
        models = [read_model(networks / f"{name}.tflite") for name in names]
        settings = {"kernels": kernels, "minimise": minimise}
        names = covering(names, [generate(model, **settings).files["model.c"] for model in models])
    for part in range(0, len(names), 70):  # as many networks as the flash holds
        (tmp_path / str(part)).mkdir()
        paths = [networks / f"{name}.tflite" for name in names[part : part + 70]]
        jobs = emulated_jobs(paths, tmp_path / str(part), core=core, kernels=kernels, minimise=minimise)
        assert wrong(names[part : part + 70], jobs) == {}


@pytest.mark.parametrize("minimise", ["time", "ram"])
def test_depthwise_layers_of_many_channels_are_bit_exact(tmp_path, minimise):
    paths = []
    for number, settings in enumerate(
        [{}, {"activation": "RELU"}, {"stride": 2}, {"stride": (3, 3), "padding": "VALID"}, {"spread": 20.0}]
    ):
        net = Net(f"wide_{number}")
        x = net.depthwise(net.conv(net.input(1, 9, 7, 3, zero_point=9), 370), **settings)
        paths.append(tmp_path / f"wide_{number}.tflite")
        paths[-1].write_bytes(net.done(net.conv(x, 5, 1)))
        assert "unpack(" in generate(read_model(paths[-1]), kernels="dsp", minimise=minimise).files["model.c"]
    assert wrong(range(len(paths)), emulated_jobs(paths, tmp_path, kernels="dsp", minimise=minimise)) == {}


@pytest.mark.parametrize(("kernels", "at_most"), [("portable", 4.0), ("dsp", 2.8)])
def test_recurrent_layers_take_less_memory_than_the_interpreter(tmp_path, kernels, at_most):
    net = Net("recurrent")
    x = net.lstm(net.lstm(net.input(1, 20, 40, zero_point=-9), 64), 64, hidden_zero_point=-2)
    path = tmp_path / "recurrent.tflite"
    path.write_bytes(net.done(net.dense(net.reshape(x, 1, 20 * 64), 12)))
    model = read_model(path)
    constants = sum(t.size_bytes for t in model.tensors if t.data is not None)
    job = emulated_job(path, tmp_path, kernels=kernels)
    (found,) = run([job])
    assert found["wrong"] == 0
    assert found["ram"] + found["stack"] < plan_arena(model, "cortex-m-cmsis-nn").total
    assert found["flash"] <= constants + 8 * 1024
    assert sum(found["by_layer"][:2]) <= at_most * sum(generate(model, kernels=kernels).macs_by_layer[:2])


def many_layers(folder):
    """A network as mobile ones are: pairs of depthwise and pointwise layers, some 3,000 channels in all."""
    net = Net("many_layers")
    x = net.conv(net.input(1, 17, 15, 3, zero_point=-5), 9, stride=2, activation="RELU6")
    widths = (16, 32, 32, 62, 64, 130, 128, 128, 128, 128, 128, 160, 160)
    for i, channels in enumerate(widths):
        relu = "RELU6" if i % 3 else "NONE"
        x = net.depthwise(x, 2 if i == 1 else 1, stride=2 if i in (2, 6) else 1, activation=relu)
        y = net.conv(x, channels, 1 if i != 4 else 3, activation=relu)
        x = net.binary("ADD", x, y) if x.shape == y.shape else y
    x = net.reshape(net.pool(x, "AVERAGE", x.shape[1:3], 1), 1, x.shape[3])
    (folder / "many_layers.tflite").write_bytes(net.done(net.unary("SOFTMAX", net.dense(x, 7))))
    return folder / "many_layers.tflite"


EACH_WAY = [("portable", "time"), ("portable", "ram"), ("dsp", "time"), ("dsp", "ram")]


@pytest.mark.parametrize(("kernels", "minimise"), sampled(EACH_WAY, [("portable", "time"), ("dsp", "ram")]))
def test_flash_of_many_layers_is_the_weights_and_little_more(tmp_path, kernels, minimise):
    path = many_layers(tmp_path)
    model = read_model(path)
    constants = sum(t.size_bytes for t in model.tensors if t.data is not None)
    job = emulated_job(path, tmp_path, kernels=kernels, minimise=minimise)
    (found,) = run([job])
    assert sum(model.tensors[op.outputs[0]].shape[-1] for op in model.operators) > 2800
    assert found["wrong"] == 0
    assert found["flash"] <= constants + 24 * 1024


@each_model
@pytest.mark.parametrize("minimise", ["time", "ram"])
def test_flash_of_portable_code_is_the_weights_and_little_more(tmp_path, name, minimise):
    constants = sum(t.size_bytes for t in read_model(oracle(name)).tensors if t.data is not None)
    job = emulated_job(oracle(name), tmp_path, kernels="portable", minimise=minimise)
    assert sizes_of(read_elf(job["code"])).flash_bytes <= constants + 24 * 1024
