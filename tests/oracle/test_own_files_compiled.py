"""What people do with a microcontroller's files, compiled: C++ around the generated C, firmware of odd tables."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelab.emulator.machine import find_core
from edgelab.emulator.zig import zig_cc, zig_program
from edgelab.engines.tflm import TFLMEngine
from edgelab.mcu.cgen import generate
from edgelab.mcu.firmware import build_firmware, describe
from edgelab.mcu.frontend import FrontEnd, Spectrum
from edgelab.mcu.model import read_model
from edgelab.mcu.project import quantization_header
from tests.mcu_layers import random_inputs
from tests.mcu_networks import NETWORKS
from tests.unit.test_mcu_cases import CASES, needs_interpreter, with_axes

ORACLE = CASES.parents[1] / "mcu_oracle"
# One library without the C++ library, which takes a minute to build and which none of this needs; every name is there.
LINKED = ["-shared", "-fPIC", "-nostdlib", "-fno-sanitize=all", "-Wl,-z,defs"]
CALL = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).main())"
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the flags of a linker for ELF")


def cpp_result(folder, application, sources):
    """What the ``main`` of a C++ program returns that is linked with generated C, compiled as C99."""
    for name, text in sources.items():
        (folder / name).write_text(text)
    (folder / "app.cpp").write_text(application)
    strict = ["-Wall", "-Wextra", "-Werror", "-fPIC", "-fno-sanitize=all", "-c"]
    objects = [f"{Path(name).stem}.o" for name in sources if name.endswith(".c")]
    for name in objects:
        said = zig_cc(["-std=c99", *strict, f"{Path(name).stem}.c", "-o", name], folder)
        assert not said, said
    zig = [str(zig_program()), "c++", *strict[:-1], *LINKED, "app.cpp", *objects, "-o", "app.so"]
    cache = {"ZIG_GLOBAL_CACHE_DIR": str(folder / ".global"), "ZIG_LOCAL_CACHE_DIR": str(folder / ".local")}
    done = subprocess.run(zig, cwd=folder, env=cache, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    called = [sys.executable, "-c", CALL, str(folder / "app.so")]
    return int(subprocess.run(called, check=True, capture_output=True, text=True, timeout=60).stdout)


@needs_linux
@needs_interpreter
def test_an_application_in_cpp_calls_the_generated_c(tmp_path):
    model = read_model(ORACLE / "sine_mlp.tflite")
    sources = generate(model)
    header = quantization_header(describe(model, sources, find_core("cortex-m4")))
    application = (CASES / "app.cpp").read_text(encoding="utf-8")
    found = cpp_result(tmp_path, application, {**sources.files, "quantization.h": header})
    q = model.tensors[model.inputs[0]].quantization
    x = np.array([[round(1.5 / q.scale) + q.zero_point]], np.int8)
    with TFLMEngine(model.path) as engine:
        assert found == engine.invoke_raw([x])[0].item()


@needs_linux
def test_cpp_calls_the_front_end(tmp_path):
    front_end = FrontEnd(16, (Spectrum((1, 2, 4, 8)),))
    application = """#include "frontend.h"
int main() {
  int16_t samples[frontend_SAMPLES];
  int8_t features[frontend_FEATURES];
  for (int i = 0; i < frontend_SAMPLES; i++) samples[i] = static_cast<int16_t>(i & 2 ? 9000 : -9000);
  frontend_run(samples, features);
  return features[2];
}
"""
    samples = np.array([[9000 if i & 2 else -9000 for i in range(16)]], np.int16)
    found = cpp_result(tmp_path, application, front_end.c_files(0.171, -103))
    assert found == front_end.quantized(samples, 0.171, -103)[0, 2]


@needs_interpreter
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_firmware_of_a_bias_with_the_axis_of_its_weights(tmp_path, core):
    content = with_axes(NETWORKS["depthwise_3x3"](), {1}, 3)
    path = tmp_path / "axis.tflite"
    path.write_bytes(content)
    rows = np.concatenate([inputs[0] for inputs in random_inputs(content, 4)])
    np.save(tmp_path / "rows.npy", rows)
    made = build_firmware(path, tmp_path / "firmware", core=core, run=tmp_path / "rows.npy")
    with TFLMEngine(path) as engine:
        assert np.load(made.outputs).tobytes() == engine.invoke_raw([rows])[0].tobytes()
