"""Architectures as Keras users convert them, none of them written by edgelab: arena and generated C, bit by bit."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgelab.engines.tflm import TFLMEngine
from edgelab.engines.tflm_arena import arena_search
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.cgen import refused_operators
from edgelab.mcu.model import read_model

from .cgen_home import ROOT, emulated_jobs, native_jobs, needs_interpreter, sampled, wrong

NAMES = [
    *("keyword_cnn", "visual_wake_word", "residual", "anomaly", "inverted_residuals", "squeeze_and_excite"),
    *("dense_blocks", "shuffled_groups", "temporal", "detector", "two_inputs", "streaming", "attention"),
]
# One for each way of converting (quantized per tensor, float at its borders, the old quantizer, variables), for several
# inputs, and for operators that the generator refuses.
SAMPLE = ["keyword_cnn", "residual", "detector", "streaming", "two_inputs", "attention"]
pytestmark = [
    needs_interpreter,
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow, whose converter makes them, is missing"),
]


@pytest.fixture(scope="module", params=sampled(["sample", "all"], ["sample"]))
def models(request, tmp_path_factory):
    names = NAMES if request.param == "all" else SAMPLE
    folder = tmp_path_factory.mktemp("keras")
    builder = Path(__file__).parents[1] / "keras_models.py"
    made = subprocess.run(
        [sys.executable, str(builder), str(folder), *names],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        check=False,
        timeout=280,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return {name: folder / f"{name}.tflite" for name in names}


def test_the_arena_is_exact(models):
    wrong_arenas = {}
    for name, path in models.items():
        arena = plan_arena(read_model(path), "x86_64-wheel")
        with TFLMEngine(path) as interpreter:
            measured = interpreter.allocations()
        if (arena.head, arena.tail, arena.total, ()) != (measured.head, measured.tail, measured.total, arena.unknown):
            wrong_arenas[name] = (arena.head, arena.tail, arena.unknown, measured)
    assert wrong_arenas == {}


def test_the_smallest_arena_is_exact(models):
    for name in {"anomaly", "attention", "streaming"} & set(models):
        planned = plan_arena(read_model(models[name]), "x86_64-wheel").min_workable
        assert planned == arena_search(models[name]).min_workable, name


def test_generated_c_is_bit_exact(models, tmp_path):
    known = {name: path for name, path in models.items() if not refused_operators(read_model(path))}
    assert set(models) - set(known) <= {"attention"}
    assert wrong(known, native_jobs(known.values(), tmp_path / "native", rows=24)) == {}
    assert wrong(known, emulated_jobs(known.values(), tmp_path, rows=3, kernels="dsp")) == {}


def test_streaming_keeps_its_frames_in_place(models):
    model = read_model(models["streaming"])
    assert {"CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"} <= {op.code for op in model.operators}
    assert model.graphs == 2
