"""Several models in one image: names with a prefix, one arena for two, in C and in C++, on the host and on a core."""

import ctypes
import itertools
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from edgelab.cli import main
from edgelab.emulator.elf import read_elf
from edgelab.emulator.machine import Machine, find_core
from edgelab.emulator.zig import zig_cc, zig_program
from edgelab.engines import open_engine
from edgelab.engines.tflm import TFLMEngine
from edgelab.errors import BadInput
from edgelab.mcu import qemu
from edgelab.mcu.cgen import generate
from edgelab.mcu.cgen.naming import checked_prefix, named
from edgelab.mcu.compiler import FLAGS, SCRIPT, linker_script, support_file
from edgelab.mcu.firmware import build_firmware, describe
from edgelab.mcu.model import read_model
from edgelab.mcu.project import quantization_header
from tests.mcu_networks import NETWORKS

from .cgen_home import needs_interpreter, oracle

FIRST, SECOND = "dscnn_28_gray", "leaky_tanh"
PREFIXES = ("alpha", "Beta_2")
# Both models in turn, twice over, with one arena; what goes in and comes out is the program's own memory.
APPLICATION = """
#include "alpha.h"
#include "Beta_2.h"
#include "alpha_quantization.h"
#include "Beta_2_quantization.h"

#ifdef __cplusplus
extern "C" {
#endif
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#ifdef ALPHA_ARENA
uint8_t one_arena[LARGER(ALPHA_ARENA_BYTES, BETA_2_ARENA_BYTES)] __attribute__((aligned(16)));
#endif
int8_t alpha_x[ALPHA_INPUT_0_BYTES], alpha_y[ALPHA_OUTPUT_0_BYTES];
int8_t beta_x[BETA_2_INPUT_0_BYTES], beta_y[BETA_2_OUTPUT_0_BYTES];
int both(void);
int both(void)
{
    int i, turn;
    for (turn = 0; turn < 2; turn++) {
        for (i = 0; i < ALPHA_INPUT_0_BYTES; i++)
            alpha_input(0)[i] = alpha_x[i];
        alpha_invoke();
        for (i = 0; i < ALPHA_OUTPUT_0_BYTES; i++)
            alpha_y[i] = alpha_output(0)[i];
        for (i = 0; i < BETA_2_INPUT_0_BYTES; i++)
            Beta_2_input(0)[i] = beta_x[i];
        Beta_2_invoke();
        for (i = 0; i < BETA_2_OUTPUT_0_BYTES; i++)
            beta_y[i] = Beta_2_output(0)[i];
    }
    return alpha_quantize_0(0.0f) == ALPHA_INPUT_0_ZERO_POINT && Beta_2_dequantize_0(0) < 1e9f;
}
#ifdef __cplusplus
}
#endif
#if defined(__cplusplus) && !__STDC_HOSTED__
extern "C" /* or a compiler for bare machines gives it the name of any C++ function */
#endif
int main(void)
{
    return both();
}
"""
SHARED = ("-DALPHA_ARENA=one_arena", "-DBETA_2_ARENA=one_arena")


def sources_of(ways):
    """The C of both models, each with kernels of its own, and the headers around it."""
    files = {}
    for name, prefix, (kernels, minimise) in zip((FIRST, SECOND), PREFIXES, ways, strict=True):
        model = read_model(oracle(name))
        made = generate(model, kernels=kernels, minimise=minimise, prefix=prefix)
        about = describe(model, made, find_core("cortex-m4"), prefix)
        header = named({"quantization.h": quantization_header(about)}, prefix)
        assert not set(files) & {*made.files, *header}
        files |= {**made.files, **header}
    return files


@pytest.fixture(scope="module")
def wanted():
    """Rows for both models, and what the interpreter makes of them."""
    rng, found = np.random.default_rng(0), []
    for name in (FIRST, SECOND):
        with TFLMEngine(oracle(name)) as engine:
            (info,) = engine.inputs
            x = rng.integers(-128, 128, (4, *info.shape[1:])).astype(np.int8)
            found.append((x, engine.invoke_raw([x])[0]))
    return found


def write(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text)


@needs_interpreter
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("language", ["c", "cpp"])
def test_two_models_in_one_program_of_this_machine(tmp_path, wanted, language, shared):
    if sys.platform != "linux":
        pytest.skip("the flags of a linker for ELF")
    write(tmp_path, {**sources_of([("portable", "time"), ("portable", "ram")]), f"app.{language}": APPLICATION})
    arena = SHARED if shared else ()
    strict = ["-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-fno-sanitize=all", *arena, "-c"]
    for prefix in PREFIXES:
        said = zig_cc(["-std=c99", *strict, f"{prefix}.c", "-o", f"{prefix}.o"], tmp_path)
        assert not said, said
    said = compiled(tmp_path, language, [*strict, f"app.{language}", "-o", "app.o"])
    assert not said, said
    objects = [*(f"{prefix}.o" for prefix in PREFIXES), "app.o"]
    said = zig_cc(["-shared", "-nostdlib", "-fno-sanitize=all", "-Wl,-z,defs", *objects, "-o", "app.so"], tmp_path)
    assert not said, said
    library = ctypes.CDLL(str(tmp_path / "app.so"))
    for row in range(4):
        for kind, (x, _) in zip(("alpha", "beta"), wanted, strict=True):
            ctypes.memmove(
                ctypes.addressof(ctypes.c_int8.in_dll(library, f"{kind}_x")), x[row].tobytes(), x[row].nbytes
            )
        assert library.both() == 1
        for kind, (_, y) in zip(("alpha", "beta"), wanted, strict=True):
            found = ctypes.string_at(ctypes.addressof(ctypes.c_int8.in_dll(library, f"{kind}_y")), y[row].nbytes)
            assert found == y[row].tobytes(), kind


def compiled(folder, language, arguments):
    """What the compiler said of a file of the application, with all its caches in the folder."""
    if language == "c":
        return zig_cc(["-std=c99", *arguments], folder)
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(folder / ".global"), "ZIG_LOCAL_CACHE_DIR": str(folder / ".local")}
    command = [str(zig_program()), "c++", "-std=c++17", "-fno-exceptions", "-fno-rtti", *arguments]
    done = subprocess.run(command, cwd=folder, env=caches, capture_output=True, text=True, timeout=280, check=False)
    return done.stderr if done.returncode else ""


@needs_interpreter
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("language", ["c", "cpp"])
def test_two_models_in_one_firmware(tmp_path, wanted, language, shared):
    core = find_core("cortex-m4")
    script = linker_script(core).replace("EXTERN(edgelab_input edgelab_output edgelab_invoke)", "EXTERN(both)")
    around = {SCRIPT: script, "startup.c": support_file("startup.c"), "runtime.c": support_file("runtime.c")}
    files = {**sources_of([("dsp", "time"), ("portable", "time")]), **around, f"app.{language}": APPLICATION}
    write(tmp_path, files)
    target = ["-target", "thumb-freestanding-eabihf", f"-mcpu={core.cpu}", "-g0", "-fno-sanitize=all"]
    arena = SHARED if shared else ()
    said = compiled(tmp_path, language, [*target, "-O2", *arena, "-c", f"app.{language}", "-o", "app.o"])
    assert not said, said
    units = [name for name in files if name.endswith(".c") and not name.startswith("app")]
    script_flag = "-Wl,--gc-sections,-z,max-page-size=16,-T," + SCRIPT
    link = ["-nostdlib", *target, *FLAGS, *arena, script_flag, "-o", "both.elf", *units, "app.o"]
    said = zig_cc(link, tmp_path)
    assert not said, said
    elf = read_elf(tmp_path / "both.elf")
    arenas = sum(section.size for section in elf.sections if section.name == ".bss")
    machine = Machine(elf, core, [], entry="both")
    for row in range(4):
        for kind, (x, _) in zip(("alpha", "beta"), wanted, strict=True):
            machine.write(elf.symbol(f"{kind}_x").address, x[row].tobytes(), kind)
        assert machine.call("both", doing="testing", seconds=60) == 1
        for kind, (_, y) in zip(("alpha", "beta"), wanted, strict=True):
            found = machine.read(elf.symbol(f"{kind}_y").address, y[row].nbytes, kind)
            assert found == y[row].tobytes(), kind
    sizes = [int(re.search(r"_ARENA_BYTES (\d+)", files[f"{prefix}.h"])[1]) for prefix in PREFIXES]
    held = sum(x[0].nbytes + y[0].nbytes for x, y in wanted)
    assert arenas == pytest.approx((max if shared else sum)(sizes) + held, abs=64)


@needs_interpreter
def test_firmware_with_a_prefix_carries_it_in_every_name(tmp_path, wanted, capsys):
    np.save(tmp_path / "x.npy", wanted[0][0])
    words = ["firmware", str(oracle(FIRST)), "-o", str(tmp_path / "out"), "--prefix", "Alarm", "--json"]
    assert main([*words, "--run", str(tmp_path / "x.npy")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["prefix"] == "Alarm"
    folder = tmp_path / "out"
    np.testing.assert_array_equal(np.load(folder / "outputs.npy"), wanted[0][1])
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    own = {"Alarm.c", "Alarm.h", "Alarm_quantization.h", "Alarm_description.c"}
    assert own | {"tflm/Alarm_model_data.h", "tflm/Alarm_model_data.cc"} <= names
    assert not names & {"model.c", "model.h", "quantization.h", "description.c"}
    for name in names & own:
        code = re.sub(r"/\*.*?\*/|\"[^\"]*\"", "", (folder / name).read_text(), flags=re.DOTALL)
        assert not re.search(r"edgelab_|EDGELAB_|model\.", code), name
    assert "#ifndef ALARM_MODEL_H" in (folder / "Alarm.h").read_text()
    assert "#ifndef ALARM_QUANTIZATION_H" in (folder / "Alarm_quantization.h").read_text()
    makefile = (folder / "Makefile").read_text()
    assert all(name in makefile for name in names if name.endswith((".c", ".h")) and "/" not in name)
    elf = read_elf(folder / "firmware.elf")
    assert elf.symbol("Alarm_invoke").address
    with open_engine(folder / "firmware.elf") as engine:
        np.testing.assert_array_equal(engine.invoke_raw([wanted[0][0]])[0], wanted[0][1])
    if shutil.which(qemu.PROGRAM):
        (found,) = qemu.run_in_qemu(folder / "firmware.elf", [wanted[0][0]])
        np.testing.assert_array_equal(found, wanted[0][1])
    plain = build_firmware(oracle(FIRST), tmp_path / "plain")
    assert (plain.run.trace.instructions, plain.run.sizes.flash_bytes) == (told["instructions"], told["flash_bytes"])
    assert plain.prefix == "edgelab"


@pytest.mark.skipif(not (shutil.which("arm-none-eabi-gcc") and shutil.which("make")), reason="no arm-none-eabi-gcc")
def test_the_makefile_builds_it(tmp_path):
    made = build_firmware(oracle(SECOND), tmp_path / "out", prefix="second")
    done = subprocess.run(
        ["make", "-s", "build/firmware.elf"], cwd=made.folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read_elf(made.folder / "build" / "firmware.elf").symbol("second_invoke").address


@pytest.mark.parametrize(
    "prefix", ["", "1st", "a-b", "a b", "é", "a.b", "main", "stdint", "Runtime", "a" * 64, "a\n", "x;y", 7, None]
)
def test_a_prefix_that_is_no_name_is_a_sentence(tmp_path, prefix, capsys):
    with pytest.raises(BadInput, match=r"prefix="):
        checked_prefix(prefix)
    with pytest.raises(BadInput, match=r"prefix="):
        build_firmware(oracle(SECOND), tmp_path / "out", prefix=prefix)
    assert not (tmp_path / "out").exists()
    if isinstance(prefix, str):
        assert main(["firmware", str(oracle(SECOND)), "-o", str(tmp_path / "out"), "--prefix", prefix]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "prefix" in said


def test_the_arena_lies_in_the_section_that_is_asked_for(tmp_path):
    write(tmp_path, generate(read_model(oracle(SECOND)), prefix="placed").files)
    target = ["-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4", "-c", "placed.c"]
    place = 'PLACED_ARENA_ATTRIBUTE=__attribute__((section(".fast_ram")))'
    assert not zig_cc([*target, "-D", place, "-o", "there.o"], tmp_path)
    assert not zig_cc([*target, "-o", "usual.o"], tmp_path)
    assert b".fast_ram" in (tmp_path / "there.o").read_bytes()
    assert b".fast_ram" not in (tmp_path / "usual.o").read_bytes()


WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
LOOPS = ("-Waggressive-loop-optimizations",)
SAMPLE = ("dsp_conv", "mobilenet_v2", "pool_max_valid", "lstm_plain", "svdf_int16_state")


@pytest.mark.parametrize("kernels", ["portable", "dsp"])
def test_no_compiler_warns_from_c99_to_cpp17(tmp_path, kernels):
    """Of each kind of network one; the units' text is C and C++ at once."""
    paths = [tmp_path / f"{name}.tflite" for name in SAMPLE if name in NETWORKS]
    for path in paths:
        path.write_bytes(NETWORKS[path.stem]())
    units = []
    for path in [*paths, oracle(FIRST), oracle("resnet8_24")]:
        for minimise in ("time", "ram"):
            prefix = f"{path.stem}_{minimise}"
            write(tmp_path, generate(read_model(path), kernels=kernels, minimise=minimise, prefix=prefix).files)
            units.append(f"{prefix}.c")
    assert len(units) >= 8
    arm = ["arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m4" if kernels == "dsp" else "-mcpu=cortex-m0plus"]
    compilers = [(arm, "c", "c99"), (arm, "c++", "c++17")]
    compilers += [(["gcc"], "c", "c17"), (["g++"], "c++", "c++11")] if kernels == "portable" else []
    for (compiler, language, standard), unit in itertools.product(compilers, units):
        if shutil.which(compiler[0]):
            flags = ["-x", language, f"-std={standard}", "-O3", *WARNINGS, *LOOPS, "-c", unit, "-o", "unit.o"]
            done = subprocess.run([*compiler, *flags], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), (compiler, standard, unit)
    target = ["-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4", "-fno-sanitize=all"]
    for standard in ("c99", "c17"):
        said = zig_cc([*target, f"-std={standard}", "-O3", *WARNINGS, "-c", *units], tmp_path)
        assert not said, said
    assert not compiled(tmp_path, "cpp", [*target, "-x", "c++", "-O1", *WARNINGS, "-c", *units])


def test_a_warning_after_the_generated_code_is_one_again(tmp_path):
    """The code silences a warning where functions are in assembly, and there alone."""
    files = generate(read_model(oracle(FIRST)), kernels="dsp", prefix="quiet").files
    assert "diagnostic ignored" in files["quiet.c"]
    write(tmp_path, files)
    (tmp_path / "after.c").write_text(
        '#include "quiet.c"\nint after(int unused);\nint after(int unused) { return 1; }\n'
    )
    target = ["-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4"]
    assert "unused parameter 'unused'" in zig_cc([*target, *WARNINGS, "-c", "after.c"], tmp_path)
