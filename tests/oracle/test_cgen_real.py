"""Trained networks on their test sets: the firmware gives the bytes that the interpreter gives, on every item."""

import sys

import numpy as np
import pytest

from edgelab import data, nets
from edgelab.convert.tflite import export_int8
from edgelab.engines.cortexm import CortexMEngine
from edgelab.engines.tflm import TFLMEngine
from edgelab.mcu.firmware import build_firmware

from .cgen_home import sampled

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tflite-micro has wheels for Linux on x86-64")


CASES = {"digits_mlp": (data.digits, 359), "vibration_cnn1d": (data.vibration, 300), "signs_dscnn": (data.signs, 40)}


# Each network once, each kind of kernel; `edgelab test --thorough` crosses them.
CROSSED = [(name, kernels) for name in CASES for kernels in ("portable", "dsp")]
EACH_ONCE = [("digits_mlp", "portable"), ("vibration_cnn1d", "dsp"), ("signs_dscnn", "dsp")]


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory):
    """A checkpoint as an int8 model, real test data for it, and what the interpreter answers to them."""
    name, (load, items) = request.param, CASES[request.param]
    dataset = load()
    x = dataset.test.x[:items].astype(np.float32)
    folder = tmp_path_factory.mktemp(name)
    path = export_int8(nets.load(name), dataset.train.x[:100], folder / f"{name}.tflite").path
    with TFLMEngine(path) as interpreter:
        (info,) = interpreter.inputs
        rows = np.moveaxis(x, 1, -1).reshape(len(x), *info.shape[1:]) if x.ndim > 2 else x.reshape(len(x), -1)
        raw = np.clip(np.rint(rows / info.scale) + info.zero_point, -128, 127).astype(np.int8)
        (expected,) = interpreter.invoke_raw([raw])
        return path, x, raw, expected, interpreter.predict(x)


@pytest.mark.parametrize(("trained", "kernels"), sampled(CROSSED, EACH_ONCE), indirect=["trained"])
def test_a_checkpoint_gives_the_same_bytes_on_real_data(trained, kernels, tmp_path):
    path, x, raw, expected, predicted = trained
    firmware = build_firmware(path, tmp_path / "firmware", kernels=kernels)
    with CortexMEngine(firmware.path) as core:
        (found,) = core.invoke_raw([raw])
        assert found.tobytes() == expected.tobytes()
        assert len(np.unique(expected.reshape(len(x), -1), axis=0)) > 1
        assert np.array_equal(predicted, core.predict(x))
