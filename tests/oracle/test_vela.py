"""Coverage by the Ethos-U compiler: its own figures, and fallbacks that it does not make an error."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelab.errors import BadFile, BadInput, EngineCrash
from edgelab.mcu.accelerator import CONFIGURATIONS, ethos_coverage
from edgelab.mcu.model import read_model
from edgelab.models.tflite_writer import TfliteWriter

ORACLE = Path(__file__).parents[1] / "data" / "mcu_oracle"
SAME = {"padding": "SAME", "stride_h": 1, "stride_w": 1}


def sandwich(middle, *, dtype="int8"):
    """Two convolutions with one operator between them."""
    writer = TfliteWriter()
    scale = 0.1 if dtype == "int8" else None
    kernel = writer.constant(np.ones((8, 3, 3, 8), dtype), [0.5] * 8 if scale else None)
    bias = writer.constant(np.zeros(8, "int32" if scale else dtype), [0.05] * 8 if scale else None)
    x = writer.input("x", (1, 16, 16, 8), scale, dtype=dtype)
    shape = (1, 16, 16, 8)
    y = writer.operator("CONV_2D", [x, kernel, bias], shape, scale, dtype=dtype, options=SAME, name="first")
    z = writer.operator(middle, [y], shape, 1 / 128 if scale else None, dtype=dtype, name="middle")
    writer.output(writer.operator("CONV_2D", [z, kernel, bias], shape, scale, dtype=dtype, options=SAME, name="last"))
    return writer


@pytest.fixture(scope="module")
def trap(tmp_path_factory):
    return sandwich("L2_NORMALIZATION").write(tmp_path_factory.mktemp("vela") / "trap model.tflite")


@pytest.mark.parametrize("accelerator", ["ethos-u55-32", "ethos-u55-256", "ethos-u65-256", "ethos-u85-256"])
def test_an_unsupported_operator_falls_back_without_an_error(trap, accelerator):
    report = ethos_coverage(trap, accelerator)
    assert report.exit_status == 0
    assert (report.npu_operators, report.cpu_operators) == (2, 1)
    (fallback,) = report.fallbacks
    assert (fallback.operator, fallback.output, fallback.index) == ("L2_NORMALIZATION", "middle", 1)
    assert "Unsupported" in fallback.reason
    assert report.macs == 2 * 16 * 16 * 8 * 72
    assert report.npu_share == pytest.approx(2 / 3)
    assert "L2_NORMALIZATION" in str(report)


def test_the_figures_are_velas_own_and_modelled(trap):
    report = ethos_coverage(trap, "ethos-u55-128")
    time = report.inference_time
    assert time.how == "modelled"
    assert time.by.startswith("vela ")
    assert "ethos-u55-128" in time.by
    assert time.value == pytest.approx(report.cycles / 500e6 * 1e3)
    assert 4000 < report.sram_bytes < 8000
    assert report.to_dict()["fallbacks"][0]["operator"] == "L2_NORMALIZATION"


def test_a_larger_accelerator_takes_fewer_cycles():
    path = ORACLE / "resnet8_24.tflite"
    small, large = (ethos_coverage(path, name) for name in ("ethos-u55-32", "ethos-u55-256"))
    assert small.cpu_operators == large.cpu_operators == 0
    assert small.fallbacks == ()
    assert large.cycles < small.cycles / 2
    assert small.npu_share == 1


def test_a_smaller_arena_is_kept_to(tmp_path):
    writer = TfliteWriter()
    at, deep = writer.input("x", (1, 64, 64, 4), 0.1), 4
    for channels in (32, 32):
        kernel = writer.constant(np.ones((channels, 3, 3, deep), np.int8), [0.5] * channels)
        bias = writer.constant(np.zeros(channels, np.int32), [0.05] * channels)
        at = writer.operator("CONV_2D", [at, kernel, bias], (1, 64, 64, channels), 0.1, options=SAME)
        deep = channels
    writer.output(at)
    path = writer.write(tmp_path / "wide.tflite")
    free, kept = ethos_coverage(path), ethos_coverage(path, arena_bytes=180_000)
    assert kept.sram_bytes <= 180_000 < free.sram_bytes
    assert 0 < kept.file_bytes < path.stat().st_size
    with pytest.raises(BadInput, match="arena_bytes"):
        ethos_coverage(path, arena_bytes=0)


def test_a_float_model_stays_on_the_processor(tmp_path):
    path = sandwich("L2_NORMALIZATION", dtype="float32").write(tmp_path / "float.tflite")
    report = ethos_coverage(path)
    assert report.npu_operators == 0
    assert len(report.fallbacks) == report.cpu_operators == len(read_model(path).operators)
    assert report.cycles == 0


def test_an_unknown_accelerator_is_a_sentence(trap):
    with pytest.raises(BadInput, match="ethos-u55-32"):
        ethos_coverage(trap, "ethos-u99")
    assert len(CONFIGURATIONS) == len(set(CONFIGURATIONS))


def test_a_corrupt_file_never_reaches_vela(tmp_path):
    content = (ORACLE / "sine_mlp.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(content[:1000])
    with pytest.raises(BadFile, match=r"cut\.tflite"):
        ethos_coverage(tmp_path / "cut.tflite")


def test_a_compiler_that_hangs_is_stopped(trap):
    with pytest.raises(EngineCrash, match=r"within 0\.01 s.*trap model"):
        ethos_coverage(trap, timeout=0.01)


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("import os; os.abort()", EngineCrash, "SIGABRT"),
        ("import sys; sys.exit('Error: nothing of this can be compiled')", BadFile, "nothing of this"),
        ("pass", BadFile, "no summary"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals have other names")
def test_a_compiler_that_fails_is_a_sentence(trap, monkeypatch, code, error, says):
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _command, **settings: run([sys.executable, "-c", code], **settings))
    with pytest.raises(error, match=says) as caught:
        ethos_coverage(trap)
    assert "trap model.tflite" in str(caught.value)
