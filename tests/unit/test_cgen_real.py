"""Trained networks on their test sets: the firmware gives the bytes that the interpreter gives, on every item."""

import sys

import numpy as np
import pytest

from edgelab import data, nets
from edgelab.convert.tflite import export_int8
from edgelab.engines.cortexm import CortexMEngine
from edgelab.engines.tflm import TFLMEngine
from edgelab.mcu.firmware import build_firmware

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tflite-micro has wheels for Linux on x86-64")


@pytest.mark.parametrize(
    ("name", "load", "items"),
    [("digits_mlp", data.digits, 359), ("vibration_cnn1d", data.vibration, 300), ("signs_dscnn", data.signs, 40)],
)
@pytest.mark.parametrize("kernels", ["portable", "dsp"])
def test_a_checkpoint_gives_the_same_bytes_on_real_data(name, load, items, kernels, tmp_path):
    dataset = load()
    x = dataset.test.x[:items].astype(np.float32)
    path = export_int8(nets.load(name), dataset.train.x[:100], tmp_path / f"{name}.tflite").path
    firmware = build_firmware(path, tmp_path / "firmware", kernels=kernels)
    with TFLMEngine(path) as interpreter, CortexMEngine(firmware.path) as core:
        (info,) = interpreter.inputs
        rows = np.moveaxis(x, 1, -1).reshape(len(x), *info.shape[1:]) if x.ndim > 2 else x.reshape(len(x), -1)
        raw = np.clip(np.rint(rows / info.scale) + info.zero_point, -128, 127).astype(np.int8)
        (expected,), (found,) = interpreter.invoke_raw([raw]), core.invoke_raw([raw])
        assert found.tobytes() == expected.tobytes()
        assert len(np.unique(expected.reshape(len(x), -1), axis=0)) > 1
        assert np.array_equal(interpreter.predict(x), core.predict(x))
