"""Models that people bring to a microcontroller: files with odd tables, and files that the interpreter refuses."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import flatbuffers
import numpy as np
import pytest

from edgelab import cli
from edgelab.engines import tflm, tflm_arena
from edgelab.errors import BadFile, EngineCrash, EngineDied, ModelRefused
from edgelab.mcu import fit as fitting
from edgelab.mcu.fit import fit
from edgelab.mcu.model import read_model
from edgelab.mcu.operators import FIXED_SHAPE, FULL_INTEGER
from edgelab.mcu.refusal import refusal_of
from edgelab.models.tflite_writer import TfliteWriter
from tests.mcu_networks import NETWORKS

CASES = Path(__file__).parents[1] / "data" / "cases" / "mcu"
needs_interpreter = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="no TFLM interpreter for this machine"
)
MICRO, COMPUTER = "stm32f407vg", "raspberry-pi-4"


def with_axes(content, ranks, axis):
    """A .tflite file whose tensors of these ranks with a scale a channel name another axis for them."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for tensor in model.subgraphs[0].tensors:
        stored = tensor.quantization
        if stored is not None and stored.scale is not None and len(stored.scale) > 1 and len(tensor.shape) in ranks:
            stored.quantizedDimension = axis
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "network.tflite"
    path.write_bytes(NETWORKS["depthwise_3x3"]())
    return path


@pytest.mark.parametrize("axis", [1, 3, -1, 2**31 - 1])
def test_the_axis_of_a_bias_is_the_one_that_it_has(network, axis):
    before = read_model(network)
    network.write_bytes(with_axes(network.read_bytes(), {1}, axis))
    after = read_model(network)
    assert any(len(t.shape) == 1 and t.quantization and t.quantization.per_channel for t in before.tensors)
    assert [t.quantization for t in after.tensors] == [t.quantization for t in before.tensors]


@needs_interpreter
def test_a_model_with_the_weights_axis_at_its_bias_is_inspected_and_fitted(network, capsys):
    network.write_bytes(with_axes(network.read_bytes(), {1}, 3))
    assert cli.main(["inspect", str(network)]) == 0
    assert "DEPTHWISE_CONV_2D" in capsys.readouterr().out
    report = fit(network, "alif-e7")
    assert [(entry.fits, entry.accelerator is None) for entry in report.devices] == [(True, False)]
    assert not any("Not measured" in note for note in report.notes)


def test_the_axis_of_weights_has_to_be_there(network):
    network.write_bytes(with_axes(network.read_bytes(), {2, 4}, 4))
    with pytest.raises(BadFile, match="does not fit its shape"):
        read_model(network)


def computed_operand(code, operand, shape, out):
    """An int8 network whose operator gets an operand, int32, computed."""

    def write(path):
        writer = TfliteWriter(code)
        x = writer.input("x", (1, 2, 2, 4), 0.1)
        named = writer.input(operand, shape, dtype="int32")
        writer.output(writer.operator(code, [x, named], out, 0.1))
        return writer.write(path)

    return write


def of_type(code, dtype):
    """A network of one operator on a type that its kernel does not know."""

    def write(path):
        writer = TfliteWriter(code)
        writer.output(writer.operator(code, [writer.input("x", (1, 4), dtype=dtype)], (1, 4), dtype=dtype))
        return writer.write(path)

    return write


def half_weights(path):
    """float32 that adds a constant stored in float16."""
    writer = TfliteWriter("half")
    x = writer.input("x", (1, 4), dtype="float32")
    half = writer.constant(np.ones((1, 4), np.float16))
    wide = writer.operator("DEQUANTIZE", [half], (1, 4), dtype="float32")
    writer.output(writer.operator("ADD", [x, wide], (1, 4), dtype="float32", options={}))
    return writer.write(path)


def kept(name):
    return lambda _path: CASES / f"{name}.tflite"


REFUSED = {
    "float16": (kept("tf56546_float16"), "DEQUANTIZE does not take float16", FULL_INTEGER),
    "gru": (kept("gru_int8_unrolled"), "FILL gets its operand 'dims' computed", FIXED_SHAPE),
    "dynamic_slice": (kept("tflm867_dynamic_slice"), "STRIDED_SLICE gets its operand 'end' computed", FIXED_SHAPE),
    "half_weights": (half_weights, "DEQUANTIZE does not take float16", FULL_INTEGER),
    "pad": (computed_operand("PAD", "p", (4, 2), (1, 4, 4, 4)), "PAD gets its operand 'paddings'", FIXED_SHAPE),
    "transpose": (computed_operand("TRANSPOSE", "p", (4,), (1, 2, 2, 4)), "gets its operand 'perm'", FIXED_SHAPE),
    "relu_of_bool": (of_type("RELU", "bool"), "RELU does not take bool", FULL_INTEGER),
    "when_it_runs": (of_type("TANH", "int32"), "TANH does not take int32", FULL_INTEGER),
}


@needs_interpreter
@pytest.mark.parametrize("case", REFUSED)
def test_what_the_interpreter_refuses_fits_on_no_microcontroller(tmp_path, case):
    write, why, change = REFUSED[case]
    path = write(tmp_path / "refused.tflite")
    report = fit(path, [MICRO, COMPUTER], accelerators=False)
    micro, computer = report.devices
    assert not micro.fits
    assert [reason for reason in micro.reasons if "refuses this file" in reason] == [micro.reasons[0]]
    assert why in micro.reasons[0]
    assert change in micro.change
    assert computer.fits  # it runs LiteRT, which nobody asked here
    assert not any("Not measured" in note for note in report.notes), "said once"
    (unasked,) = fit(path, MICRO, accelerators=False, measured=False).devices
    assert unasked.fits, "the table of operators alone does not know"


@needs_interpreter
def test_every_microcontroller_gets_the_refusal():
    report = fit(CASES / "tflm867_dynamic_slice.tflite", accelerators=False)
    verdicts = {entry.device.name: entry.fits for entry in report.devices if entry.device.kind == "microcontroller"}
    assert len(verdicts) > 20
    assert not any(verdicts.values())
    rows = report.table().rows
    assert sum("refuses this file" in row[7] for row in rows) == len(verdicts)


@needs_interpreter
def test_an_index_may_be_anything_that_lies_in_its_table(tmp_path):
    writer = TfliteWriter("embedding")
    table = writer.constant(np.ones((7, 4), np.int8), [0.1])
    writer.output(writer.operator("GATHER", [table, writer.input("i", (1, 3), dtype="int32")], (1, 3, 4), 0.1))
    report = fit(writer.write(tmp_path / "embedding.tflite"), MICRO, accelerators=False)
    assert report.devices[0].fits
    assert report.arena[-1].how == "measured"


def test_a_death_of_the_interpreter_decides_where_no_index_can_cause_it(tmp_path, monkeypatch):
    def dies(path, **_):
        raise EngineDied(f"TFLM died (SIGSEGV) while trying an arena for {path}; this process is unharmed.")

    def hangs(path, **_):
        raise EngineCrash(
            f"TFLM gave no answer within 60 s while trying an arena for {path}; this process is unharmed."
        )

    def network(dtype):
        writer = TfliteWriter("add")
        x = writer.input("x", (1, 4), 0.1 if dtype == "int8" else None, dtype=dtype)
        writer.output(writer.operator("ADD", [x, x], (1, 4), 0.1 if dtype == "int8" else None, dtype=dtype, options={}))
        return writer.write(tmp_path / f"{dtype}.tflite")

    class Engine:
        name = "TFLM"

        def __init__(self, _path):
            pass

        def allocations(self):
            return tflm.Allocations(1, 1, 2, ())

        def close(self):
            pass

    monkeypatch.setattr(tflm, "TFLMEngine", Engine)
    for search, dtype, decides in ((dies, "int8", True), (dies, "int32", False), (hangs, "int8", False)):
        monkeypatch.setattr(tflm_arena, "arena_search", search)
        report = fit(network(dtype), MICRO, accelerators=False)
        assert report.devices[0].fits is not decides
        assert any("Not measured" in note for note in report.notes) is not decides


def test_an_accelerator_takes_the_refused_operator_over(network):
    model = read_model(network)
    refusal = refusal_of(model, ModelRefused(f"TFLM cannot load {network}: PACK (operator 7): words."))
    known = fitting._Known(model, 0.2, {}, fitting.check_operators(model), None, {}, refusal)

    def report(*left):
        return SimpleNamespace(fallbacks=[SimpleNamespace(operator=code) for code in left])

    assert known.refused(None) is refusal
    assert known.refused(report("ADD", "PACK")) is refusal
    assert known.refused(report("ADD")) is None


@pytest.mark.parametrize(
    ("said", "operator", "words", "mend"),
    [
        ("Didn't find op for builtin opcode 'X'", "", "refuses this file: Didn't find op", "leave out or replace"),
        ("CONV_2D (operator 0): Hybrid models are not supported", "CONV_2D", "does not take what it gets", "leave out"),
        (
            "DEPTHWISE_CONV_2D (operator 0): Type X not supported",
            "DEPTHWISE_CONV_2D",
            "take int8 with int32",
            "full-int",
        ),
        ("SUB (operator 9): a.size != b.size", "SUB", "SUB does not take what it gets (a.size != b.size)", "leave out"),
    ],
)
def test_a_refusal_is_put_in_words(network, said, operator, words, mend):
    refusal = refusal_of(read_model(network), ModelRefused(f"TFLM cannot load {network}: {said}."))
    assert refusal.operator == operator
    assert words in refusal.why
    assert mend in refusal.mend


def test_a_variable_that_nothing_sets_is_no_weight():
    """A converter that is handed one function of a network leaves the weights behind as variables without values."""
    report = fit(CASES / "unset_variables.tflite", [MICRO, COMPUTER], measured=False)
    micro, _ = report.devices
    assert any("READ_VARIABLE: it reads a variable that nothing in the file sets" in why for why in micro.reasons)
    assert "convert the Keras model or SavedModel" in micro.change
