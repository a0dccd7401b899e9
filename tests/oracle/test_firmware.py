"""Firmware in a folder: what is written, what it answers, what it refuses; and time modelled from its counts."""

import json
import math
import os
import re
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgelab.cli import main
from edgelab.emulator.elf import read_elf
from edgelab.emulator.machine import Machine, find_core
from edgelab.emulator.thumb import Mix
from edgelab.engines import open_engine
from edgelab.errors import BadFile, BadInput
from edgelab.mcu import firmware, timing
from edgelab.mcu.compiler import compile_firmware
from edgelab.mcu.emulator import load_rows
from edgelab.mcu.firmware import MARKER, build_firmware
from edgelab.mcu.model import read_model
from edgelab.mcu.tflm_app import resolver_method, tflm_files
from tests.mcu_networks import NETWORKS

MODELS = Path(__file__).parents[1] / "data" / "mcu_oracle"
DOCS = Path(__file__).parents[2] / "docs" / "json.md"
KEYWORD = MODELS / "dscnn_49x10.tflite"
SMALL = MODELS / "tabular_mlp.tflite"
FILES = {
    "Makefile", "README.md", "description.c", "edgelab.json", "firmware.elf", "firmware.ld", "main.c", "model.c",
    "model.h", "quantization.h", "runtime.c", "startup.c", "tflm/main.cc", "tflm/model_data.cc", "tflm/model_data.h",
}  # fmt: skip


def listing(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def keyword(tmp_path_factory):
    folder = tmp_path_factory.mktemp("firmware")
    x = np.random.default_rng(0).integers(-128, 128, (7, 49, 10, 1)).astype(np.int8)
    np.save(folder / "x.npy", x)
    return build_firmware(KEYWORD, folder / "out", run=folder / "x.npy"), x


def test_the_folder_holds_a_whole_project(keyword):
    made, x = keyword
    assert listing(made.folder) == FILES | {"outputs.npy"}
    assert [p.name for p in made.folder.parent.iterdir() if p.name.startswith(".")] == []
    y = np.load(made.outputs)
    assert y.dtype == np.int8
    assert y.shape == (7, 12)
    with open_engine(made.path) as engine:
        np.testing.assert_array_equal(engine.invoke_raw([x])[0], y)
        assert engine.kernels == made.kernels == "dsp"
    told = json.loads((made.folder / MARKER).read_text(encoding="utf-8"))
    assert told["model"] == "dscnn_49x10.tflite"
    assert "dsp kernels" in str(made)


def test_uint8_inputs_and_outputs_stay_uint8(tmp_path):
    (tmp_path / "bytes.tflite").write_bytes(NETWORKS["bytes_in_and_out_other_scales"]())
    np.save(tmp_path / "x.npy", np.random.default_rng(2).integers(0, 256, (5, 6, 6, 2)).astype(np.uint8))
    made = build_firmware(tmp_path / "bytes.tflite", tmp_path / "out", run=tmp_path / "x.npy")
    y = np.load(made.outputs)
    assert y.dtype == np.uint8
    assert len(np.unique(y)) > 10
    header = (tmp_path / "out" / "quantization.h").read_text(encoding="utf-8")
    assert "uint8_t edgelab_quantize_0(float real)" in header
    assert "#define EDGELAB_INPUT_0_ZERO_POINT (131)" in (tmp_path / "out" / "model.h").read_text(encoding="utf-8")
    with pytest.raises(BadInput, match="uint8"):
        load_rows_of(made, np.zeros((5, 6, 6, 2), np.int8), tmp_path)


def load_rows_of(made, rows, folder):
    np.save(folder / "wrong.npy", rows)
    with open_engine(made.path) as engine:
        return load_rows(folder / "wrong.npy", engine.inputs, "m")


@pytest.mark.parametrize("kernels", ["portable", "dsp"])
def test_outputs_are_those_of_the_interpreter(tmp_path, kernels):
    """Where the interpreter has no wheel, that the answers differ from row to row is all that can be said."""
    x = np.random.default_rng(1).integers(-128, 128, (20, 13)).astype(np.int8)
    np.save(tmp_path / "x.npy", x)
    y = np.load(build_firmware(SMALL, tmp_path / "out", kernels=kernels, run=tmp_path / "x.npy").outputs)
    assert y.shape == (20, *y.shape[1:])
    if find_spec("tflite_micro") is None:
        assert len(np.unique(y, axis=0)) > 1
        return
    from edgelab.engines.tflm import TFLMEngine

    with TFLMEngine(SMALL) as engine:
        np.testing.assert_array_equal(y, engine.invoke_raw([x])[0])


def test_the_figures_are_those_of_the_file(keyword):
    made, _ = keyword
    told = made.to_dict()
    sections = {s.name: s.size for s in read_elf(made.path).sections}
    assert told["ram_bytes"] == sections[".data"] + sections[".bss"]
    assert told["flash_bytes"] == sum(sections[n] for n in (".text", ".rodata", ".data", ".vectors"))
    assert told["instructions"] >= sum(layer["instructions"] for layer in told["by_layer"]) > 1_000_000
    assert told["macs"] == sum(layer["macs"] for layer in told["by_layer"]) == 1_422_576
    assert [layer["operator"] for layer in told["by_layer"]][:2] == ["CONV_2D", "DEPTHWISE_CONV_2D"]
    assert 0 < told["stack_bytes"] < 2048
    assert told["tflm_arena_bytes"] == json.loads((MODELS / "oracle.json").read_text())["dscnn_49x10"][
        "cortex_m4_cmsis_nn"]["min_workable"]  # fmt: skip
    assert told["arena_bytes"] <= told["ram_bytes"]
    readings = made.run.readings()
    assert {k: r.how for k, r in readings.items()} == {
        "instructions": "emulated", "flash": "measured", "ram": "measured", "stack": "emulated",
    }  # fmt: skip
    assert told["cycles"]["how"] == "modelled"
    assert told["cycles"]["low"] < told["cycles"]["value"] < told["cycles"]["high"]


def test_the_classic_way_carries_the_model_its_operators_and_its_arena(keyword):
    made, _ = keyword
    data = (made.folder / "tflm" / "model_data.cc").read_text(encoding="utf-8")
    assert "alignas(16) const unsigned char g_model[" in data
    content = bytes(int(b, 16) for b in re.findall(r"0x([0-9a-f]{2})", data))
    assert content == KEYWORD.read_bytes()
    application = (made.folder / "tflm" / "main.cc").read_text(encoding="utf-8")
    assert f"kArenaBytes = {made.tflm_arena_bytes};" in application
    added = re.findall(r"resolver\.(Add\w+)\(\)", application)
    assert added == ["AddConv2D", "AddDepthwiseConv2D", "AddMean", "AddFullyConnected", "AddSoftmax"]
    assert "MicroMutableOpResolver<5>" in application


def test_the_classic_way_makes_room_for_variables(tmp_path):
    (tmp_path / "streaming.tflite").write_bytes(NETWORKS["streaming_keywords"]())
    application = tflm_files(read_model(tmp_path / "streaming.tflite"), 4096)["main.cc"]
    assert "MicroResourceVariables::Create(allocator, 4);" in application
    assert "interpreter(model, resolver, allocator, variables);" in application
    assert {"AddCallOnce", "AddVarHandle", "AddReadVariable", "AddAssignVariable"} <= set(
        re.findall(r"resolver\.(Add\w+)\(\)", application)
    )


def test_names_of_the_resolver():
    for code, name in (
        ("LOGISTIC", "AddLogistic"), ("PADV2", "AddPadV2"), ("L2_NORMALIZATION", "AddL2Normalization"),
        ("RESIZE_NEAREST_NEIGHBOR", "AddResizeNearestNeighbor"), ("SVDF", "AddSvdf"), ("RELU6", "AddRelu6"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "AddUnidirectionalSequenceLSTM"), ("MAX_POOL_2D", "AddMaxPool2D"),
        ("BATCH_MATMUL", "AddBatchMatMul"), ("CUMSUM", "AddCumSum"), ("CIRCULAR_BUFFER", "AddCircularBuffer"),
    ):  # fmt: skip
        assert resolver_method(code) == name


def test_the_makefile_names_every_source(keyword):
    made, _ = keyword
    text = (made.folder / "Makefile").read_text(encoding="utf-8")
    for source in sorted(p.name for p in made.folder.glob("*.c")):
        assert source in text
    assert "-mcpu=cortex-m4" in text


def test_the_quantization_header_computes_as_the_engine_does(keyword, tmp_path):
    made, _ = keyword
    files = {
        name: (made.folder / name).read_text(encoding="utf-8") for name in ("model.c", "model.h", "quantization.h")
    }
    files["main.c"] = """
#include "quantization.h"
volatile float real;
volatile int32_t integer;
__attribute__((noinline)) void in(void) { integer = edgelab_quantize_0(real); }
__attribute__((noinline)) void out(void) { real = edgelab_dequantize_0((int8_t)integer); }
int main(void) { edgelab_invoke(); in(); out(); return edgelab_output(0)[0] + edgelab_input(0)[0]; }
"""
    elf = read_elf(compile_firmware(files, "cortex-m4", tmp_path / "m.elf"))
    machine = Machine(elf, find_core("cortex-m4"), [])
    real, integer = elf.symbol("real").address, elf.symbol("integer").address
    with open_engine(made.path) as engine:
        given, answer = engine.inputs[0], engine.outputs[0]
    rng = np.random.default_rng(0)
    values = [*rng.normal(scale=100 * given.scale, size=60), 0.0, 1e30, -1e30, math.inf, -math.inf]
    for value in np.array(values, np.float32):
        machine.write(real, struct.pack("<f", value), "real")
        machine.call("in", doing="testing", seconds=5)
        (found,) = struct.unpack("<i", machine.read(integer, 4, "integer"))
        assert found == np.clip(np.rint(value / np.float32(given.scale)) + given.zero_point, -128, 127)
    machine.write(real, struct.pack("<f", math.nan), "real")
    machine.call("in", doing="testing", seconds=5)
    assert struct.unpack("<i", machine.read(integer, 4, "integer")) == (-128,)
    for value in (-128, -1, 0, 127):
        machine.write(integer, struct.pack("<i", value), "integer")
        machine.call("out", doing="testing", seconds=5)
        (found,) = struct.unpack("<f", machine.read(real, 4, "real"))
        assert found == np.float32(answer.scale) * np.float32(value - answer.zero_point)


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m7", "cortex-m33"])
def test_every_core(tmp_path, core):
    made = build_firmware(SMALL, tmp_path / "out", core=core)
    assert made.outputs is None
    assert made.core == core
    assert made.kernels == ("portable" if core == "cortex-m0plus" else "dsp")
    assert made.run.trace.instructions > 500


def test_several_inputs_and_outputs(tmp_path):
    (tmp_path / "two.tflite").write_bytes(NETWORKS["several_inputs"]())
    made = build_firmware(tmp_path / "two.tflite", tmp_path / "out")
    with open_engine(made.path) as engine:
        infos = engine.inputs
        rng = np.random.default_rng(0)
        rows = {i.name: rng.integers(-128, 128, (3, *i.shape[1:])).astype(np.int8) for i in infos}
        expected = engine.invoke_raw(list(rows.values()))
    np.savez(tmp_path / "x.npz", **rows)
    again = build_firmware(tmp_path / "two.tflite", tmp_path / "out", run=tmp_path / "x.npz")
    np.testing.assert_array_equal(np.load(again.outputs), expected[0])
    np.save(tmp_path / "x.npy", next(iter(rows.values())))
    with pytest.raises(BadInput, match=r"give .* as an \.npz with these names"):
        load_rows(tmp_path / "x.npy", infos, "m")
    np.savez(tmp_path / "wrong.npz", a=np.zeros(3))
    with pytest.raises(BadInput, match="name the arrays so"):
        load_rows(tmp_path / "wrong.npz", infos, "m")
    names = list(rows)
    np.savez(tmp_path / "uneven.npz", **{**rows, names[0]: rows[names[0]][:2]})
    with pytest.raises(BadInput, match="different numbers of rows"):
        load_rows(tmp_path / "uneven.npz", infos, "m")

    (tmp_path / "fan.tflite").write_bytes(NETWORKS["several_outputs"]())
    first = build_firmware(tmp_path / "fan.tflite", tmp_path / "fan")
    with open_engine(first.path) as engine:
        x = rng.integers(-128, 128, (3, *engine.inputs[0].shape[1:])).astype(np.int8)
        expected = dict(zip([o.name for o in engine.outputs], engine.invoke_raw([x]), strict=True))
    np.save(tmp_path / "fan.npy", x)
    made = build_firmware(tmp_path / "fan.tflite", tmp_path / "fan", run=tmp_path / "fan.npy")
    with np.load(made.folder / "outputs.npz") as found:
        assert set(found.files) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)


def test_the_command_line(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((2, 13), np.int8))
    out = tmp_path / "out"
    words = [
        "firmware",
        str(SMALL),
        "-o",
        str(out),
        "--core",
        "m4",
        "--kernels",
        "portable",
        "--run",
        str(tmp_path / "x.npy"),
    ]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    stated = json.loads(re.search(r"```json firmware\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[1])
    assert set(told) == set(stated)
    assert set(told["by_layer"][0]) == set(stated["by_layer"][0])
    assert told["core"] == "cortex-m4"
    assert told["kernels"] == "portable"
    assert Path(told["outputs"]) == out / "outputs.npy"
    assert np.load(told["outputs"]).shape[0] == 2
    assert main(words) == 2
    assert "is there already; name another folder, or replace it with --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    said = capsys.readouterr().out
    assert "emulated" in said
    assert "modelled" in said


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 13)), "int8.*not float64"),
        (np.zeros((2, 12), np.int8), r"shape \(N, 13\)"),
        (np.zeros((0, 13), np.int8), "at least one row"),
        (np.array(3, np.int8), "at least one row"),
    ],
)
def test_rows_that_do_not_fit_leave_nothing(tmp_path, capsys, array, words):
    np.save(tmp_path / "x.npy", array)
    assert main(["firmware", str(SMALL), "-o", str(tmp_path / "out"), "--run", str(tmp_path / "x.npy")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(words, captured.err)
    assert captured.err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_files_that_are_no_rows(tmp_path):
    infos = firmware.border_infos([{"name": "x", "shape": [1, 13], "dtype": "int8", "scale": 1.0, "zero_point": 0}])
    for name, content in (
        ("a.npy", b""),
        ("b.npy", b"nonsense"),
        ("c.npz", b"PK\x03\x04rest"),
        ("d.npy", b"\x80\x04K\x01."),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadFile, match="not a readable") as caught:
            load_rows(tmp_path / name, infos, "m")
        assert "\n" not in str(caught.value)
    np.save(tmp_path / "o.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(BadFile, match="not a readable"):
        load_rows(tmp_path / "o.npy", infos, "m")
    with pytest.raises(BadFile, match="does not exist"):
        load_rows(tmp_path / "none.npy", infos, "m")


def test_a_folder_of_other_things_is_never_touched(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    build_firmware(SMALL, out)  # an empty one is taken
    build_firmware(SMALL, out)  # and one that was written here
    assert listing(out) == FILES
    (out / "main.c").write_text("/* mine */", encoding="utf-8")
    (out / "sensor.c").write_text("/* mine */", encoding="utf-8")
    with pytest.raises(BadFile, match=r"holds your changes \(main\.c, sensor\.c\)"):
        build_firmware(SMALL, out)
    assert (out / "main.c").read_text(encoding="utf-8") == "/* mine */"
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(BadFile, match="holds other files"):
        build_firmware(SMALL, other)
    with pytest.raises(BadFile, match="is a file"):
        build_firmware(SMALL, other / "thesis.txt")
    assert listing(other) == {"thesis.txt"}
    (other / MARKER).write_text("[]", encoding="utf-8")
    with pytest.raises(BadFile, match="is damaged"):
        build_firmware(SMALL, other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "out"]


def test_what_cannot_be_built_is_a_sentence_and_leaves_nothing(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(SMALL.read_bytes()[:900])
    for model, settings, error, words in (
        (tmp_path / "broken.tflite", {}, BadFile, "broken"),
        (SMALL, {"core": "cortex-m55"}, BadInput, "choose one of"),
        (SMALL, {"core": "m0+", "kernels": "dsp"}, BadInput, "no DSP instructions"),
        (SMALL, {"stack_bytes": 4}, BadInput, "stack_bytes"),
        (SMALL, {"minimise": "money"}, BadInput, "money"),
    ):
        with pytest.raises(error, match=words):
            build_firmware(model, tmp_path / "out", **settings)
    assert [p.name for p in tmp_path.iterdir()] == ["broken.tflite"]


def test_the_keyword_network_takes_less_than_five_seconds(tmp_path):
    """Of processor time, its children's included: what others do on this machine does not count."""
    times = []
    for attempt in range(2):
        start = sum(os.times()[:4])
        build_firmware(KEYWORD, tmp_path / f"out{attempt}", kernels="portable")
        times.append(sum(os.times()[:4]) - start)
    assert min(times) < 5, times


def test_costs_are_sums_of_kinds():
    mix = Mix(load=10, store=5, multiply=3, mac=4, divide=1, branch=6, other=20, transfers=7, taken=2)
    assert timing.costs_of("cortex-m4").cycles(mix) == 20 + 5 + 3 + 8 + 7 + 6 + 20 + 7 + 4
    assert timing.costs_of("cortex-m0plus").cycles(mix) == 20 + 10 + 3 + 8 + 7 + 6 + 20 + 7 + 2
    assert timing.costs_of("cortex-m7").cycles(mix) < timing.costs_of("cortex-m33").cycles(mix) < 80


def test_the_model_lies_on_the_published_figures(keyword, tmp_path):
    """CMSIS-NN's counted instructions, at the cycles of an instruction in comparable C, against microTVM's time."""
    portable = build_firmware(KEYWORD, tmp_path / "out", kernels="portable").run.trace.mix
    each = timing.costs_of("cortex-m4").cycles(portable) / portable.instructions
    modelled = each * timing.CMSIS_NN_KEYWORD_INSTRUCTIONS
    published = timing.ANCHORS["microtvm"].cycles("keyword")
    assert modelled == pytest.approx(published, rel=0.15)
    # and the older version of the same library lies inside the band
    band = timing.band_of("cortex-m4")
    assert band.low * modelled < timing.ANCHORS["tflm"].cycles("keyword") < band.high * modelled
    # our own code: cycles a MAC within the published stacks on that core
    made, _ = keyword
    estimate = timing.estimate(made.run.trace.mix, "cortex-m4", 120)
    macs = made.run.trace.macs
    rates = [a.cycles("keyword") / timing.NETWORK_MACS[0] for a in timing.ANCHORS.values() if a.core == "cortex-m4"]
    assert estimate.cycles.low / macs < max(rates)
    assert estimate.cycles.high / macs > min(rates)


@pytest.mark.parametrize(("core", "key"), [("cortex-m7", "x-cube-ai-m7"), ("cortex-m33", "plumerai-m33")])
def test_other_cores_keep_the_published_ratio(core, key):
    there = timing.ANCHORS[key]
    here = next(a for a in timing.ANCHORS.values() if a.core == "cortex-m4" and a.stack == there.stack)
    band, scale = timing.band_of(core), timing.costs_of(core).scale
    for network in timing.NETWORKS[:3]:
        ratio = there.cycles(network) / (here.cycles(network) * scale)
        assert band.low / 0.85 <= ratio * 1.0001
        assert ratio <= band.high / timing.band_of("cortex-m4").high * 1.0001
        assert 0.9 < ratio < 1.1, "the three networks agree on the core"


def test_energy_and_its_provenance():
    mix = Mix(other=12_000_000)
    told = timing.estimate(mix, "m4", 120)
    assert told.latency_ms.value == pytest.approx(100)
    assert told.energy_mj.value == pytest.approx(100 * 7.374 / 181.9, rel=0.03)
    assert timing.estimate(mix, "m7", 120).energy_mj is None
    stated = timing.estimate(mix, "m7", 120, active_mw=50)
    assert stated.energy_mj.value == pytest.approx(stated.latency_ms.value * 50 / 1000)
    for reading in (told.cycles, told.latency_ms, told.energy_mj, stated.energy_mj):
        assert reading.how == "modelled"
        assert reading.low < reading.value < reading.high
    assert "Real boards lie between" in str(told)
    assert told.to_dict()["energy_mj"]["unit"] == "mJ"
    for settings in ({"clock_mhz": 0}, {"clock_mhz": math.nan}, {"clock_mhz": 1, "active_mw": -1}):
        with pytest.raises(BadInput, match="positive"):
            timing.estimate(mix, "m4", **settings)
