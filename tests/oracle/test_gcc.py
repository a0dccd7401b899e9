"""What `edgelab firmware` writes, built by other compilers: Arm's GNU toolchain, and this machine's gcc."""

import shutil
import subprocess

import numpy as np
import pytest

from edgelab.engines import open_engine
from edgelab.engines.tflm import TFLMEngine
from edgelab.mcu import qemu
from edgelab.mcu.cgen import generate
from edgelab.mcu.firmware import build_firmware, check_folder
from edgelab.mcu.model import read_model
from edgelab.mcu.tflm_app import resolver_method, tflm_files
from tests.mcu_networks import NETWORKS

from .cgen_home import MODELS, needs_interpreter, oracle

ARM = "arm-none-eabi-gcc"
needs_arm = pytest.mark.skipif(
    not (shutil.which(ARM) and shutil.which("make")),
    reason=f"{ARM} or make is not installed: the Makefile is not tried",
)
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed: no strict build, no sanitizers")
SUPPORTED = [name for name in NETWORKS if not name.startswith("lstm")]
CASES = [  # each core and each kind of kernels once; the other combinations are thorough
    ("cortex-m0plus", "portable", "time", "conv1d_vibration"),
    ("cortex-m4", "dsp", "ram", "mobilenet_avgpool"),
    ("cortex-m7", "dsp", "time", "branches_concat_pad"),
    ("cortex-m33", "portable", "time", "tabular_mlp"),
    *(
        pytest.param(*case, marks=pytest.mark.thorough)
        for case in [
            ("cortex-m4", "portable", "time", "squeeze_excite"),
            ("cortex-m4", "portable", "ram", "dscnn_28_gray"),
            ("cortex-m4", "dsp", "time", "dscnn_49x10"),
            ("cortex-m7", "portable", "time", "odd_shapes"),
            ("cortex-m33", "dsp", "time", "leaky_tanh"),
        ]
    ),
]
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all")
FILL = """#include <stdint.h>
static uint32_t state = 1;
static int row; /* the lowest, the highest, then any values */
static uint32_t any(void) { state ^= state << 13, state ^= state >> 17, state ^= state << 5; return state; }
void fill_int8(void *to, int size);
void fill_int8(void *to, int size) {
  for (int i = 0; i < size; i++)
    ((int8_t *)to)[i] = (int8_t)(row == 0 ? -128 : row == 1 ? 127 : (int)(any() >> 24) - 128);
}
void fill_float32(void *to, int size);
void fill_float32(void *to, int size) {
  for (int i = 0; i < size / 4; i++)
    ((float *)to)[i] = row == 0 ? -1e30f : row == 1 ? 1e30f : ((float)(any() >> 8) - 8388608.0f) / 2e6f;
}
"""


def call(*command, folder):
    """Run a compiler, or what it made; the exit status and every word that was said."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    return done.returncode, done.stdout


@needs_arm
@needs_interpreter
@pytest.mark.parametrize(("core", "kernels", "minimise", "name"), CASES)
def test_the_makefile_builds_the_same_answers(tmp_path, core, kernels, minimise, name):
    made = build_firmware(oracle(name), tmp_path / "out", core=core, kernels=kernels, minimise=minimise)
    assert call("make", "-s", "build/firmware.elf", folder=made.folder) == (0, ""), "no warning, no error"
    check_folder(made.folder)  # what make leaves is no change of the learner's
    built = made.folder / "build" / "firmware.elf"
    with TFLMEngine(oracle(name)) as interpreter:
        rng = np.random.default_rng(0)
        x = [rng.integers(-128, 128, (6, *info.shape[1:])).astype(np.int8) for info in interpreter.inputs]
        wanted = [array.tobytes() for array in interpreter.invoke_raw(x)]
    for path in (built, made.path):
        with open_engine(path) as engine:
            assert [array.tobytes() for array in engine.invoke_raw(x)] == wanted, path
    if shutil.which(qemu.PROGRAM):
        assert [array.tobytes() for array in qemu.run_in_qemu(built, x)] == wanted
    assert len(set(wanted[0])) > 1, "the rows give different answers"


@needs_arm
@pytest.mark.parametrize(("core", "kernels", "minimise"), [("m0plus", "portable", "time"), ("m4", "dsp", "ram")])
def test_arms_compiler_has_no_warning_about_any_operator(tmp_path, core, kernels, minimise):
    units = written(tmp_path, SUPPORTED[::4], kernels=kernels, minimise=minimise)
    flags = ("-mthumb", f"-mcpu=cortex-{core}", "-O1", "-std=gnu99", "-ffreestanding", "-Wall", "-Wextra", "-Werror")
    assert call(ARM, *flags, "-c", *units, folder=tmp_path) == (0, "")


def written(folder, names, **settings):
    """Generate C for networks, each with names of its own for its functions; the files to compile."""
    units = []
    for name in names:
        path = folder / f"{name}.tflite"
        path.write_bytes(oracle(name).read_bytes() if name in MODELS else NETWORKS[name]())
        (folder / name).mkdir()
        for file, text in generate(read_model(path), **settings).files.items():
            (folder / name / file).write_text(text)
        renamed = "".join(f"#define edgelab_{f} {name}_{f}\n" for f in ("input", "output", "invoke"))
        (folder / f"{name}.c").write_text(f'{renamed}#include "{name}/model.c"\n')
        units.append(f"{name}.c")
    return units


def run_all(folder, names, flags, rows):
    """Compile generated code with a main program that runs all of it, and run that."""
    calls, declared = "", ""
    for name in names:
        model = read_model(folder / f"{name}.tflite")
        declared += f"void {name}_invoke(void); int8_t *{name}_input(int i); const int8_t *{name}_output(int i);\n"
        for i, tensor in enumerate(model.tensors[t] for t in model.inputs):
            kind = tensor.dtype.removeprefix("u")  # All bytes are filled; what they mean is the model's.
            calls += f"    fill_{kind}({name}_input({i}), {tensor.size_bytes});\n"
        calls += f"    {name}_invoke();\n"
        for i, tensor in enumerate(model.tensors[t] for t in model.outputs):
            calls += f"    sum += {name}_output({i})[{tensor.size_bytes - 1}];\n"
    main = f"int main(void) {{\n  int sum = 0;\n  for (; row < {rows}; row++) {{\n{calls}  }}\n  return sum & 0;\n}}\n"
    (folder / "main.c").write_text(FILL + declared + main)
    units = [*(f"{name}.c" for name in names), "main.c"]
    assert call("gcc", *flags, *units, "-o", "all", folder=folder) == (0, "")
    return call("./all", folder=folder)


# In the place of TFLM's headers, which are not here: what the application uses of them, so that a compiler can read its
# C++. It proves syntax and types, not that the library has these names.
LIBRARY = """#pragma once
#include <cstdint>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
#define TF_LITE_ENSURE_STATUS(a) do { const TfLiteStatus s = (a); if (s != kTfLiteOk) return s; } while (0)
#define TFLITE_SCHEMA_VERSION 3
void MicroPrintf(const char* format, ...);
union TfLitePtrUnion { std::int8_t* int8; float* f; };
struct TfLiteTensor { TfLitePtrUnion data; };
namespace tflite {
struct Model { unsigned version() const; };
const Model* GetModel(const void* content);
void InitializeTarget();
struct MicroOpResolver {};
template <unsigned count> struct MicroMutableOpResolver : MicroOpResolver {
ADDERS};
struct MicroInterpreter {
  MicroInterpreter(const Model*, const MicroOpResolver&, std::uint8_t* arena, std::size_t size);
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteTensor* input(std::size_t index);
  TfLiteTensor* output(std::size_t index);
};
}
"""
HEADERS = ("micro/micro_interpreter", "micro/micro_log", "micro/micro_mutable_op_resolver", "micro/system_setup")


@pytest.mark.skipif(not shutil.which("g++"), reason="g++ is not installed: the C++ of the classic way is not tried")
@pytest.mark.parametrize("name", ["dscnn_49x10", "branches_concat_pad"])
def test_the_application_for_tflm_is_cpp(tmp_path, name):
    model = read_model(oracle(name))
    files = tflm_files(model, 4096)
    for header in (*HEADERS, "schema/schema_generated"):
        path = tmp_path / "tensorflow" / "lite" / f"{header}.h"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('#include "../../../library.h"\n')
    methods = sorted({f"  TfLiteStatus {resolver_method(op.code)}();\n" for op in model.operators})
    (tmp_path / "library.h").write_text(LIBRARY.replace("ADDERS", "".join(methods)))
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    flags = ("-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I.")
    for unit in ("main.cc", "model_data.cc"):
        assert call("g++", *flags, unit, folder=tmp_path) == (0, "")
    (tmp_path / "library.h").write_text(LIBRARY.replace("ADDERS", "".join(methods[1:])))
    assert "has no member named" in call("g++", *flags, "main.cc", folder=tmp_path)[1]


@needs_gcc
@pytest.mark.parametrize("minimise", ["time", "ram"])
def test_portable_code_is_strict_c99_without_undefined_behaviour(tmp_path, minimise):
    """The sanitizers see what leaves an array; what strays inside the one arena is for the comparisons to find."""
    names = [*SUPPORTED[minimise == "ram" :: 4], *MODELS[minimise == "ram" :: 4]]
    written(tmp_path, names, minimise=minimise)
    assert run_all(tmp_path, names, (*STRICT, "-O0", *SANITIZERS), rows=6) == (0, "")


@needs_gcc
@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("static uint8_t arena[48]", "static uint8_t arena[40]", "global-buffer-overflow"),
        ("(int64_t)wide * m", "wide * m", "signed integer overflow"),
    ],
)
def test_the_sanitizers_notice_what_is_wrong(tmp_path, before, after, words):
    written(tmp_path, ["tabular_mlp"])
    source = tmp_path / "tabular_mlp" / "model.c"
    text = source.read_text()
    assert before in text
    source.write_text(text.replace(before, after))
    status, said = run_all(tmp_path, ["tabular_mlp"], ("-O0", *SANITIZERS), rows=3)
    assert status != 0
    assert words in said
