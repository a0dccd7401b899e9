"""QEMU as a second witness: the same firmware file gives the same bytes there as on the emulated core."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgelab.engines import open_engine
from edgelab.errors import BadInput, EngineCrash, MissingFramework
from edgelab.mcu import qemu
from edgelab.mcu.cgen import generate
from edgelab.mcu.compiler import compile_firmware
from edgelab.mcu.firmware import describe
from edgelab.mcu.model import read_model
from edgelab.mcu.project import project_files

MODELS = Path(__file__).parents[1] / "data" / "mcu_oracle"
NO_QEMU = shutil.which(qemu.PROGRAM) is None
witness = pytest.mark.skipif(NO_QEMU, reason=f"{qemu.PROGRAM} is not installed: there is no second witness here")
CASES = [
    ("cortex-m4", "portable", "dscnn_28_gray"),
    ("cortex-m4", "dsp", "dscnn_49x10"),
    ("cortex-m4", "dsp", "odd_shapes"),
    ("cortex-m4", "dsp", "squeeze_excite"),
    ("cortex-m7", "dsp", "branches_concat_pad"),
    ("cortex-m33", "dsp", "dscnn_28_gray"),
    ("cortex-m33", "portable", "leaky_tanh"),
    ("cortex-m0plus", "portable", "conv1d_vibration"),
    ("cortex-m0plus", "portable", "tabular_mlp"),
]


def build(path, core, kernels, name):
    model = read_model(MODELS / f"{name}.tflite")
    sources = generate(model, kernels=kernels)
    known = qemu.find_core(core)
    files = project_files(describe(model, sources, known), known, stack_bytes=2048)
    return compile_firmware({**sources.files, **files}, known, path)


@witness
@pytest.mark.parametrize(("core", "kernels", "name"), CASES)
def test_qemu_gives_the_same_bytes(tmp_path, core, kernels, name):
    file = build(tmp_path / "m.elf", core, kernels, name)
    with open_engine(file) as engine:
        shapes = [info.shape[1:] for info in engine.inputs]
        rng = np.random.default_rng(0)
        rows = [rng.integers(-128, 128, (6, *shape)).astype(np.int8) for shape in shapes]
        ours = engine.invoke_raw(rows)
    theirs = qemu.run_in_qemu(file, rows)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert len(np.unique(ours[0])) > 1, "the rows give different answers"


@witness
def test_firmware_that_faults_does_not_hang_the_witness(tmp_path):
    model = read_model(MODELS / "tabular_mlp.tflite")
    sources = generate(model)
    core = qemu.find_core("cortex-m4")
    files = {**sources.files, **project_files(describe(model, sources, core), core, stack_bytes=2048)}
    files["model.c"] = files["model.c"].replace(
        "void edgelab_invoke(void) {", "void edgelab_invoke(void) {\n  for (;;) {}"
    )
    file = compile_firmware(files, core, tmp_path / "m.elf")
    with pytest.raises(EngineCrash, match="may never end"):
        qemu.run_in_qemu(file, [np.zeros((1, 13), np.int8)], timeout=2)
    with pytest.raises(BadInput, match="takes rows of int8"):
        qemu.run_in_qemu(file, [np.zeros((1, 14), np.int8)])


def test_without_qemu_the_sentence_says_how_to_add_it(monkeypatch):
    monkeypatch.setattr(qemu.shutil, "which", lambda _name: None)
    with pytest.raises(MissingFramework, match="apt-get install qemu-system-arm"):
        qemu.qemu_program()
