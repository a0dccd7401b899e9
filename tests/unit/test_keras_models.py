"""Architectures as Keras users convert them, none of them written by edgelab: arena and generated C, bit by bit."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgelab.engines.tflm import TFLMEngine, arena_search
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.cgen import refused_operators
from edgelab.mcu.model import read_model

from .cgen_home import ROOT, emulated_jobs, native_jobs, needs_interpreter, wrong

NAMES = [
    *("keyword_cnn", "visual_wake_word", "residual", "anomaly", "inverted_residuals", "squeeze_and_excite"),
    *("dense_blocks", "shuffled_groups", "temporal", "detector", "two_inputs", "streaming", "attention"),
]
pytestmark = [
    needs_interpreter,
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow, whose converter makes them, is missing"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    builder = Path(__file__).parents[1] / "keras_models.py"
    made = subprocess.run(
        [sys.executable, str(builder), str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        check=False,
        timeout=280,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return {name: folder / f"{name}.tflite" for name in NAMES}


def test_the_arena_is_exact(models):
    wrong_arenas = {}
    for name, path in models.items():
        arena = plan_arena(read_model(path), "x86_64-wheel")
        with TFLMEngine(path) as interpreter:
            measured = interpreter.allocations()
        if (arena.head, arena.tail, arena.total, ()) != (measured.head, measured.tail, measured.total, arena.unknown):
            wrong_arenas[name] = (arena.head, arena.tail, arena.unknown, measured)
    assert wrong_arenas == {}


@pytest.mark.parametrize("name", ["anomaly", "attention", "streaming"])
def test_the_smallest_arena_is_exact(models, name):
    assert plan_arena(read_model(models[name]), "x86_64-wheel").min_workable == arena_search(models[name]).min_workable


def test_generated_c_is_bit_exact(models, tmp_path):
    known = {name: path for name, path in models.items() if not refused_operators(read_model(path))}
    assert set(NAMES) - set(known) <= {"attention"}
    assert wrong(known, native_jobs(known.values(), tmp_path / "native", rows=24)) == {}
    assert wrong(known, emulated_jobs(known.values(), tmp_path, rows=3, kernels="dsp")) == {}


def test_streaming_keeps_its_frames_in_place(models):
    model = read_model(models["streaming"])
    assert {"CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"} <= {op.code for op in model.operators}
    assert model.graphs == 2
