"""A trained INT8 network keeps its accuracy in ONNX Runtime and LiteRT, and becomes firmware bit for bit."""

import numpy as np
import pytest

from edgelab import data, nets
from edgelab.convert.tflite import export_int8
from edgelab.engines import open_engine
from edgelab.engines.tflm import TFLMEngine
from edgelab.mcu.firmware import build_firmware
from edgelab.qat import ahead as qat_ahead
from edgelab.qat.onnx_file import write_onnx
from edgelab.qat.prepare import finished

SIGNS = data.signs(seed=0)


def percent(logits):
    return 100 * float((logits.argmax(axis=1) == SIGNS.test.y).mean())


@pytest.fixture(scope="module")
def trained():
    return qat_ahead.restored(8)


@pytest.fixture(scope="module")
def tflite(trained, tmp_path_factory):
    plain, ranges = finished(trained, rounded=False)
    return export_int8(plain, SIGNS.train.x[:64], tmp_path_factory.mktemp("qat") / "qat.tflite", ranges=ranges)


def test_simulated_and_real_accuracy_agree_within_three_tenths(trained, tflite, tmp_path):
    simulated = percent(nets.predict_logits(trained, SIGNS.test.x))
    onnx = write_onnx(trained, SIGNS.test.x[:16], tmp_path / "qat.onnx").path
    for path in (onnx, tflite.path):
        with open_engine(path, threads=1) as engine:
            assert abs(percent(engine.predict(SIGNS.test.x)) - simulated) <= 0.3


def test_it_becomes_firmware_bit_for_bit(tflite, tmp_path):
    steps = np.rint(np.moveaxis(SIGNS.test.x[:6], 1, -1) / tflite.input_scale) + tflite.input_zero_point
    x = np.clip(steps, -128, 127).astype(np.int8)
    np.save(tmp_path / "x.npy", x)
    firmware = build_firmware(tflite.path, tmp_path / "out", run=tmp_path / "x.npy")
    with TFLMEngine(tflite.path) as reference:
        (wanted,) = reference.invoke_raw([x])
    np.testing.assert_array_equal(np.load(firmware.outputs), wanted)
    assert len(np.unique(wanted.argmax(axis=1))) > 1
