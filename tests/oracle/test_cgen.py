"""Generated C: bit for bit the interpreter's answers, portable code on this machine."""

import dataclasses

import numpy as np
import pytest

from edgelab.errors import BadFile, BadInput
from edgelab.mcu.cgen import generate, portable_shared, refused_operators
from edgelab.mcu.cgen.dsp_pack import scale_of
from edgelab.mcu.cgen.registry import FAMILIES, known_operators, lower
from edgelab.mcu.cgen.settling import settled
from edgelab.mcu.model import read_model
from tests.mcu_layers import Net
from tests.mcu_networks import NETWORKS

from .cgen_home import (
    MODELS,
    compile_native,
    covering,
    emulated_jobs,
    native_jobs,
    needs_interpreter,
    oracle,
    run,
    sampled,
    wrong,
)

SUPPORTED = list(NETWORKS)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    for name, content in NETWORKS.items():
        (folder / f"{name}.tflite").write_bytes(content())
    return folder


def lean(steps, model, *, streams=False):
    """Every layer that can shares its function, and the others' are compiled for size."""
    shared = {step.index for step in steps if portable_shared.fits(step)}
    return portable_shared.Choice(frozenset(shared), frozenset(step.index for step in steps) - shared)


def saved(folder, net, *outputs):
    (folder / "net.tflite").write_bytes(net.done(*outputs))
    return folder / "net.tflite"


def test_no_operator_is_lowered_in_two_places():
    assert sum(map(len, FAMILIES)) == len(known_operators())


@needs_interpreter
def test_oracle_models_are_bit_exact(tmp_path):
    jobs = native_jobs(map(oracle, MODELS), tmp_path)
    for job, name in zip(jobs, MODELS, strict=True):
        job["rows"] = 10 if "resnet" in name else 100  # the interpreter takes 50 ms a row there
    assert wrong(MODELS, jobs) == {}


@needs_interpreter
def test_every_operator_is_bit_exact(networks, tmp_path):
    jobs = native_jobs([networks / f"{name}.tflite" for name in SUPPORTED], tmp_path, rows=100)
    assert wrong(SUPPORTED, jobs) == {}


@needs_interpreter
@pytest.mark.parametrize("which", sampled(["covering", "all"], ["covering"]))
@pytest.mark.parametrize("minimise", ["time", "ram"])
def test_functions_that_layers_share_are_bit_exact(networks, tmp_path, monkeypatch, minimise, which):
    monkeypatch.setattr(portable_shared, "chosen", lean)
    models = {name: read_model(networks / f"{name}.tflite") for name in SUPPORTED}
    texts = [generate(model, minimise=minimise).files["model.c"] for model in models.values()]
    assert sum("_rows(&window_" in text or "combine(&binary_" in text for text in texts) > len(SUPPORTED) / 3
    names = SUPPORTED if which == "all" else covering(SUPPORTED, texts)
    jobs = native_jobs([networks / f"{name}.tflite" for name in names], tmp_path, rows=40, minimise=minimise)
    assert wrong(names, jobs) == {}


def test_a_network_with_a_statement_of_its_own_is_in_the_sample():
    common = "x[3] = clamp(sum, -128);\nsum += a[i] * 0x7f;"
    texts = [common, f"{common}\ny = other(4);", common.replace("3", "12"), "sum += a[i] * 1;", "layer_03(2);"]
    assert covering("abcde", texts) == ["b", "e"]


@needs_interpreter
def test_functions_of_inputs_of_any_scale_are_bit_exact(tmp_path):
    names = [(code, scale) for code in ("LOGISTIC", "TANH", "SOFTMAX") for scale in (1e-6, 0.9, 8.0, 8.5, 31.8, 5000.0)]
    for number, (code, scale) in enumerate(names):
        net = Net("scale")
        x = net.input(1, 256, scale=scale, zero_point=6)
        (tmp_path / f"{number}.tflite").write_bytes(net.done(net.unary(code, x)))
    jobs = native_jobs([tmp_path / f"{number}.tflite" for number in range(len(names))], tmp_path / "made", rows=12)
    assert wrong(names, jobs) == {}


def dead_channels(net):
    """As training and converters leave them: no weights, a scale next to nothing, a bias that comes to anything."""
    x = net.conv(net.input(1, 9, 8, 6, zero_point=-128), 12, 1, activation="RELU")
    x = net.depthwise(net.conv(x, 20, 1, activation="RELU6"), activation="RELU")
    return net.conv(x, 8, 1)


def deadened(content, folder):
    """The network with every third channel without weights, its scale 2**-20 of what it was or less."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    rng = np.random.default_rng(3)
    for op in graph.operators:
        weights, bias = (graph.tensors[i] for i in op.inputs[1:3])
        axis = weights.quantization.quantizedDimension
        values = model.buffers[weights.buffer].data.view(np.int8).reshape(weights.shape).copy()
        sums = model.buffers[bias.buffer].data.view(np.int32).copy()
        scales = np.asarray(weights.quantization.scale, np.float32).copy()
        dead = np.arange(0, len(scales), 3)
        np.moveaxis(values, axis, 0)[dead] = 0
        scales[dead] *= np.float32(2.0) ** -rng.integers(20, 34, len(dead)).astype(np.float32)
        sums[dead] = rng.choice([-(2**30), 2**30, 2**24, 0], len(dead)) + rng.integers(-99, 99, len(dead))
        model.buffers[weights.buffer].data = values.view(np.uint8).ravel()
        model.buffers[bias.buffer].data = sums.view(np.uint8).ravel()
        weights.quantization.scale = scales
        bias.quantization.scale = scales * graph.tensors[op.inputs[0]].quantization.scale[0]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    (folder / "dead.tflite").write_bytes(bytes(builder.Output()))
    return folder / "dead.tflite"


@needs_interpreter
def test_dead_channels_stand_in_nobodys_way(tmp_path):
    net = Net("dead_channels")
    path = deadened(net.done(dead_channels(net)), tmp_path)
    steps = lower(read_model(path))
    assert any(scale_of(step) is None for step in steps)
    assert all(scale_of(settled(step)) is not None for step in steps)
    for kernels in ("portable", "dsp"):
        (tmp_path / kernels).mkdir()
    assert wrong(["dead"], native_jobs([path], tmp_path / "portable", rows=100)) == {}
    assert wrong(["dead"], emulated_jobs([path], tmp_path / "dsp", kernels="dsp")) == {}


@needs_interpreter
def test_the_comparison_notices_one_wrong_weight(tmp_path):
    job = native_jobs([oracle("single_dense")], tmp_path)[0]
    source = tmp_path / "0" / "model.c"
    text = source.read_text()
    digit = next(i for i in range(text.index("{", text.index("weights_00[")), len(text)) if text[i].isdigit())
    source.write_text(text[:digit] + str((int(text[digit]) + 5) % 10) + text[digit + 1 :])
    compile_native(["model_0_.c"], tmp_path / "changed.so")
    assert run([{**job, "code": str(tmp_path / "changed.so")}])[0]["wrong"] > 0


def test_variables_are_read_and_written_where_they_lie(networks):
    sources = generate(read_model(networks / "streaming_keywords.tflite"))
    assert [name for name in sources.layers if "variable" in name] == []
    assert sources.state_bytes == 2 * 20 + (4 + 8 + 4) * 12
    copied = generate(read_model(networks / "running_mean.tflite"))
    assert [name.split("_", 2)[2] for name in copied.layers if "variable" in name] == [
        "read_variable",
        "assign_variable",
    ]


def test_a_variable_that_nothing_assigns_first_begins_at_its_zero_point(networks):
    model = read_model(networks / "streaming_in_the_order_of_converters.tflite")
    given = generate(model).files["model.c"]
    bare = generate(dataclasses.replace(model, subgraphs=())).files["model.c"]
    zeros = ", ".join(["3"] * 18)
    assert f"[18] ALIGNED = {{{zeros}}};" in bare
    assert zeros not in given


def test_a_variable_that_is_read_before_it_has_a_value_is_told(networks):
    model = read_model(networks / "running_mean.tflite")
    late = dataclasses.replace(model, operators=(*model.operators[1:], model.operators[0]))
    with pytest.raises(BadInput, match=r"READ_VARIABLE.*before"):
        generate(late)
    assert refused_operators(late)


def test_sources_say_what_was_made():
    sources = generate(read_model(oracle("dscnn_49x10")))
    assert sources.macs == 1_422_576
    assert len(sources.layers) == len(sources.macs_by_layer) == 12
    assert sources.layers[:2] == ("layer_00_conv_2d", "layer_01_depthwise_conv_2d")
    for name in sources.layers:
        assert f" void {name}(void) {{" in sources.files["model.c"]
    header = sources.files["model.h"]
    assert "#define EDGELAB_INPUT_0_ELEMENTS 490" in header
    assert "#define EDGELAB_OUTPUT_0_ZERO_POINT (-128)" in header
    assert sources.to_dict()["arena_bytes"] == sources.arena_bytes
    for library in ("malloc", "#include <string.h>", "#include <stdlib.h>", "#include <math.h>"):
        assert library not in sources.files["model.c"]


def test_generation_repeats_itself():
    model = read_model(oracle("mobilenet_avgpool"))
    for settings in ({}, {"kernels": "dsp"}, {"kernels": "dsp", "minimise": "ram"}):
        assert generate(model, **settings).files == generate(model, **settings).files


def test_unknown_settings_are_told():
    model = read_model(oracle("sine_mlp"))
    with pytest.raises(BadInput, match=r"portable.*dsp"):
        generate(model, kernels="avx")
    with pytest.raises(BadInput, match=r"time.*ram"):
        generate(model, minimise="flash")


def test_an_unsupported_operator_is_named_with_its_mend(tmp_path):
    net = Net("div")
    made = saved(tmp_path, net, net.two("DIV", net.input(1, 8), net.input(1, 8)))
    with pytest.raises(BadInput, match=r"Operator 0, DIV, of net\.tflite .*reciprocal"):
        generate(read_model(made))


@pytest.mark.parametrize(
    ("operand", "dtype", "said"),
    [
        (9, "int16", "peephole weights"),
        (16, "int8", "a projection"),
        (20, "int16", "layer normalization"),
        (12, "int8", "bias of type int8"),
        (3, "float32", "works in float"),
        (19, "int8", "cell of type int8"),
    ],
)
def test_an_lstm_that_the_interpreter_does_not_know_is_told(tmp_path, operand, dtype, said):
    net = Net("lstm")
    x = net.input(1, 3, 4)
    if operand == 19:
        other = net.writer.variable((1, 5), 0.01, dtype=dtype)
    else:
        other = net.writer.constant(np.ones(5 if operand in (9, 12, 20) else (5, 4), dtype), 0.01)
    write = net.writer.operator
    net.writer.operator = lambda code, inputs, *rest, **options: write(
        code, [other if i == operand else old for i, old in enumerate(inputs)], *rest, **options
    )
    made = saved(tmp_path, net, net.lstm(x, 5))
    with pytest.raises(BadInput, match=rf"UNIDIRECTIONAL_SEQUENCE_LSTM.* {said}"):
        generate(read_model(made))


def test_layers_of_lstm_share_their_function(networks):
    for kernels in ("portable", "dsp"):
        sources = generate(read_model(networks / "lstm_layers.tflite"), kernels=kernels)
        text = sources.files["model.c"]
        assert text.count("lstm(&lstm_0") == 2
        assert text.count("uint16_t sigmoid[256]") == text.count(" void lstm(const struct lstm *") == 1
        assert sources.macs_by_layer[:2] == (9 * 4 * 12 * (13 + 12), 9 * 4 * 10 * (12 + 10))
        assert sources.state_bytes == 3 * (12 + 10)
        assert sources.layers[0] == "layer_00_unidirectional_sequence_lstm"


def test_a_float_model_is_told_to_quantize(tmp_path):
    net = Net("float")
    x = net.input(1, 8, dtype="float32")
    index = net.writer.operator("TANH", [x.index], (1, 8), dtype="float32")
    made = saved(tmp_path, net, dataclasses.replace(x, index=index))
    with pytest.raises(BadInput, match=r"works in float.*quantize"):
        generate(read_model(made))


def test_16_bit_activations_are_told(tmp_path):
    net = Net("wide")
    x = net.writer.input("x", (1, 8), 0.001, 0, dtype="int16")
    index = net.writer.operator("TANH", [x], (1, 8), 2**-15, 0, dtype="int16")
    net.writer.output(index)
    (tmp_path / "net.tflite").write_bytes(net.writer.to_bytes())
    with pytest.raises(BadInput, match=r"TANH.*int16.*int8"):
        generate(read_model(tmp_path / "net.tflite"))


def test_weights_computed_by_the_model_are_told(tmp_path):
    net = Net("computed")
    a, b = net.input(1, 8), net.input(4, 8)
    bias = net.writer.constant(np.zeros(4, np.int32), 1.0, 0)
    index = net.writer.operator("FULLY_CONNECTED", [a.index, b.index, bias], (1, 4), 0.1, 0)
    made = saved(tmp_path, net, dataclasses.replace(a, index=index))
    with pytest.raises(BadInput, match=r"FULLY_CONNECTED.*constant"):
        lower(read_model(made))


def test_damaged_models_are_told_in_a_sentence(tmp_path):
    rng = np.random.default_rng(5)
    file, told, names = tmp_path / "net.tflite", [], SUPPORTED
    for _ in range(400):
        content = bytearray(NETWORKS[names[rng.integers(len(names))]]())
        for at in rng.integers(0, len(content), 2):
            content[at] = rng.choice([0, 1, 127, 128, 255, content[at] ^ 1])
        file.write_bytes(content)
        try:
            generate(read_model(file), kernels="dsp", minimise="ram")
        except (BadFile, BadInput) as error:
            told.append(str(error))
    assert len(told) > 100
    assert not [text for text in told if "\n" in text or not text.endswith(".")]
