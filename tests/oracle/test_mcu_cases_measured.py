"""Files that people bring, against the interpreter: 16-bit activations, control flow, open batches, compiled files."""

import subprocess
import sys

import flatbuffers
import pytest

from edgelab import cli
from edgelab.engines import tflm, tflm_arena
from edgelab.engines.tflm import TFLMEngine
from edgelab.engines.tflm_arena import arena_search
from edgelab.errors import BadFile, BadInput, ModelRefused
from edgelab.mcu import fit as fitting
from edgelab.mcu import kernels
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.cgen import generate
from edgelab.mcu.compiled import UNKNOWN, compiled_for
from edgelab.mcu.devices import all_devices
from edgelab.mcu.firmware import build_firmware
from edgelab.mcu.fit import STACK_BYTES, fit
from edgelab.mcu.generated import generator_for
from edgelab.mcu.model import read_model
from tests.mcu_networks import NETWORKS
from tests.unit.test_mcu_cases import CASES, COMPUTER, MICRO, needs_interpreter

from .cgen_home import oracle, sampled

SIZED = (
    *("tflm344_int16x8", "transposed_int16x8", "if_two_subgraphs", "while_loop", "while_of_a_gru"),
    *("hard_swish_gelu", "tflm438_1629_tcn_dilated"),
)


def case(name):
    return CASES / f"{name}.tflite"


@needs_interpreter
@pytest.mark.parametrize("name", SIZED)
def test_the_plan_is_the_interpreters_to_the_byte(name):
    planned = plan_arena(read_model(case(name)), "x86_64-wheel")
    with TFLMEngine(case(name)) as engine:
        measured = engine.allocations()
    found = (planned.head, planned.tail, planned.min_workable)
    assert found == (measured.head, measured.tail, arena_search(case(name)).min_workable)
    assert planned.unknown == ()


@needs_interpreter
def test_graphs_that_nobody_calls_are_sized_too(tmp_path):
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(NETWORKS["dense_plain"](), 0))
    model.subgraphs = [*model.subgraphs, *model.subgraphs]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "two.tflite"
    path.write_bytes(bytes(builder.Output()))
    planned = plan_arena(read_model(path), "x86_64-wheel")
    with TFLMEngine(path) as engine:
        measured = engine.allocations()
    assert (planned.head, planned.tail) == (measured.head, measured.tail)


@needs_interpreter
@pytest.mark.parametrize(("name", "what"), [("if_two_subgraphs", "IF"), ("while_loop", "WHILE")])
def test_control_flow_is_sized_and_its_time_is_not(name, what, capsys):
    report = fit(case(name), MICRO, accelerators=False)
    (entry,) = report.devices
    assert entry.fits
    assert entry.cost.latency is None
    assert what in entry.cost.note
    assert {check.operator for check in report.operators.checks} >= {what}
    assert len(report.operators.checks) > 1, "the operators of the branches count"
    assert (report.macs is None) == (what == "WHILE")
    assert report.generated.reason
    assert cli.main(["fit", str(case(name)), "--device", MICRO]) == 0
    assert "multiply-accumulates" in capsys.readouterr().out


@needs_interpreter
def test_what_was_measured_marks_the_verdict(monkeypatch):
    """Without its tables of 16 bits the model of SOFTMAX is the old one, 2,080 bytes short."""
    whole = fit(case("tflm344_int16x8"), MICRO, accelerators=False)
    assert not any("marks the verdict" in note for note in whole.notes)
    monkeypatch.delitem(kernels._PERSISTENT, "SOFTMAX")
    report = fit(case("tflm344_int16x8"), MICRO, accelerators=False)
    (note,) = [note for note in report.notes if "marks the verdict" in note]
    assert "5,712 bytes here, and 3,632 were modelled" in note
    unmeasured = fit(case("tflm344_int16x8"), MICRO, accelerators=False, measured=False)
    assert report.devices[0].arena_bytes == unmeasured.devices[0].arena_bytes + 2080
    assert abs(report.devices[0].arena_bytes - whole.devices[0].arena_bytes) <= 16


@needs_interpreter
@pytest.mark.parametrize(
    "name", ["tflm438_1629_tcn_dilated", "dilated_open_batch", "tflm2319_dilated_depthwise", "dilated_int16x8"]
)
def test_shapes_that_do_not_multiply_out_are_named_with_the_cure(name):
    micro, computer = fit(case(name), [MICRO, COMPUTER], accelerators=False).devices
    assert not micro.fits
    assert computer.fits
    assert "fixed batch" in micro.change
    assert any("do not multiply out" in reason or "memory that it never sets" in reason for reason in micro.reasons)
    with pytest.raises(BadInput) as caught:
        generate(read_model(case(name)))
    assert "fixed batch" in str(caught.value) or "int16" in str(caught.value)


@needs_interpreter
def test_a_search_for_the_arena_ends_where_answers_differ(monkeypatch):
    """It tries no more room than that in which the model has just run, and says what is true."""
    real = tflm.Host.try_arena

    def unsteady(self, arena_bytes):
        answer, outputs = real(self, arena_bytes)
        return answer, [output + (arena_bytes is not None) for output in outputs]

    monkeypatch.setattr(tflm.Host, "try_arena", unsteady)
    with pytest.raises((ModelRefused, BadFile)) as caught:
        _search_in_process(case("conv_int8"))
    assert "in no arena" not in str(caught.value)
    assert tflm_arena.UNSTEADY in str(caught.value)


def _search_in_process(path):
    """`arena_search` with its child's side in this process."""
    from unittest import mock

    class Raw:
        def __init__(self):
            options = {"threads": 1, "arena_bytes": None, "layout": "auto", "batch": None, "output": None}
            self.host = tflm.Host(str(path), **options)

        def call(self, name, _doing, **options):
            return getattr(self.host, name)(**options)

    class Engine:
        def __init__(self, *_args, **_options):
            self.raw = Raw()

        def allocations(self):
            answer, _ = self.raw.host.allocations()
            return tflm.Allocations(answer["head"], answer["tail"], answer["total"], ())

        def close(self):
            pass

    with mock.patch.object(tflm_arena, "TFLMEngine", Engine):
        return arena_search(path)


def test_an_operator_that_was_left_in_float_is_named(capsys, tmp_path):
    assert cli.main(["firmware", str(case("hard_swish_gelu")), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "ELU" in said
    assert "left in float by the converter" in said
    assert "quantize the model" not in said
    (remark,) = [r for r in fitting.check_operators(read_model(case("hard_swish_gelu"))).remarks if "float32" in r]
    assert "ELU" in remark
    assert "full-integer" not in remark


def vela(folder, accelerator, name="conv_int8"):
    """A network compiled by vela."""
    command = [sys.executable, "-P", "-m", "ethosu.vela", str(case(name)), "--output-dir", str(folder)]
    subprocess.run([*command, "--accelerator-config", accelerator], check=True, capture_output=True, timeout=180)
    return folder / f"{name}_vela.tflite"


ACCELERATORS = (
    *("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512"),
    *("ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048"),
)


@pytest.mark.parametrize("accelerator", sampled(ACCELERATORS, ("ethos-u55-64", "ethos-u55-256", "ethos-u85-512")))
def test_a_compiled_file_runs_where_its_accelerator_is(tmp_path, accelerator, capsys):
    path = vela(tmp_path, accelerator)
    assert compiled_for(read_model(path)) == accelerator
    report = fit(path)
    for entry in report.devices:
        assert entry.fits == (entry.device.ethos == accelerator), entry.device.name
        if not entry.fits:
            assert f"vela compiled it for {accelerator}" in entry.reasons[0]
            assert "no kernel" not in " ".join(entry.reasons)
        assert entry.cost.latency is None
    assert any(entry.fits for entry in report.devices) == any(d.ethos == accelerator for d in all_devices())
    assert any(f"no {accelerator}" in note for note in report.notes)
    assert "was compiled by vela" in report.generated.reason
    assert cli.main(["firmware", str(path), "-o", str(tmp_path / "out")]) == 2
    assert "from which vela made it" in capsys.readouterr().err
    assert report.lower_bound <= min(arena.head for arena in report.arena)


def test_a_compiled_file_needs_the_sram_that_it_was_compiled_for(tmp_path):
    from dataclasses import replace

    from edgelab.mcu.devices import find_device

    path = vela(tmp_path, "ethos-u55-256")
    device = find_device("alif-e7")
    small = replace(device, name="little", sram_bytes=10_000, sram_total_bytes=10_000)
    fits, lacks = fit(path, [device, small]).devices
    assert fits.fits
    assert "SRAM" in lacks.reasons[0]
    assert "--arena-cache-size" in lacks.change


def test_a_command_stream_that_names_nothing_is_told(tmp_path):
    path = vela(tmp_path, "ethos-u55-128")
    path.write_bytes(path.read_bytes().replace(b"COP1", b"COP9"))
    assert compiled_for(read_model(path)) == UNKNOWN
    (entry,) = fit(path, "corstone-300").devices
    assert not entry.fits
    assert "does not name" in entry.reasons[0]


@pytest.mark.parametrize(("core", "name"), [("cortex-m4", "dscnn_28_gray"), ("cortex-m0plus", "leaky_tanh")])
@pytest.mark.parametrize("minimise", ["time", "ram"])
def test_the_sizes_of_generated_code_are_those_of_the_firmware(tmp_path, core, name, minimise):
    made = build_firmware(oracle(name), tmp_path / "out", core=core, minimise=minimise)
    sized = generator_for(read_model(oracle(name)), compiled=True)(core)
    assert (sized.how, sized.kernels) == ("measured", made.kernels)
    if minimise == "time":
        assert sized.flash_bytes == made.run.sizes.flash_bytes
        assert sized.ram_bytes == made.run.sizes.ram_bytes + STACK_BYTES
    else:
        assert sized.least_ram_bytes <= made.run.sizes.ram_bytes + STACK_BYTES
        if sized.least_ram_bytes == made.run.sizes.ram_bytes + STACK_BYTES:
            assert sized.least_flash_bytes == made.run.sizes.flash_bytes


@pytest.mark.parametrize(
    "name", sampled(("autoencoder", "dscnn_28_gray", "resnet8_24", "leaky_tanh"), ("dscnn_28_gray", "leaky_tanh"))
)
@pytest.mark.parametrize(("core", "within"), [("cortex-m4", 0.15), ("cortex-m0plus", 0.45)])
def test_the_modelled_sizes_are_near_the_compiled_ones(name, core, within):
    model = read_model(oracle(name))
    modelled, compiled = (generator_for(model, compiled=way)(core) for way in (False, True))
    assert (modelled.how, modelled.kernels) == ("modelled", compiled.kernels)
    assert modelled.flash_bytes == pytest.approx(compiled.flash_bytes, rel=within)
    assert modelled.ram_bytes == pytest.approx(compiled.ram_bytes, abs=64)


def test_a_core_without_firmware_gets_portable_kernels():
    sized = generator_for(read_model(oracle("leaky_tanh")), compiled=True)
    assert (sized("xtensa-lx6").kernels, sized("xtensa-lx6").how) == ("portable", "modelled")
    assert sized("cortex-m4").kernels == "dsp"
    assert sized("cortex-m0plus").kernels == "portable"
