"""What opening a .tflite file costs, on a file that is large enough to tell."""

import sys

import numpy as np
import pytest

from edgelab.engines.litert_loading import loading
from edgelab.errors import BadFile
from edgelab.models.tflite_writer import TfliteWriter

BYTES = 8 * 2**20


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    weights = np.random.default_rng(0).normal(size=(1024, 2048)).astype(np.float32)
    writer = TfliteWriter("one dense layer")
    given = writer.input("x", (1, 2048), dtype="float32")
    kernel = writer.constant(weights, name="kernel")
    writer.output(writer.operator("FULLY_CONNECTED", [given, kernel, None], (1, 1024), dtype="float32"))
    path = tmp_path_factory.mktemp("large") / "dense.tflite"
    return writer.write(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells copies from mapped pages")
def test_by_path_the_file_is_mapped_and_from_bytes_it_is_copied(large):
    by_path, from_bytes = loading(large, xnnpack=False), loading(large, xnnpack=False, from_bytes=True)
    assert by_path.mapped is True
    assert from_bytes.mapped is False
    assert by_path.open_copied < BYTES / 10
    assert BYTES * 0.9 < from_bytes.open_copied < BYTES * 1.2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells copies from mapped pages")
def test_xnnpack_packs_the_weights_anew(large):
    assert loading(large, xnnpack=False).ready_copied < BYTES / 10
    assert loading(large).ready_copied > BYTES / 2


def test_times_are_there_everywhere(large):
    found = loading(large)
    assert found.open_ms > 0
    assert found.ready_ms > 0


def test_what_is_no_model_is_one_sentence(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"\x18\x00\x00\x00TFL3" + b"\xff" * 64)
    with pytest.raises(BadFile, match=r"There is no file"):
        loading(tmp_path / "none.tflite")
    (tmp_path / "text.tflite").write_text("no model at all, but some text that is long enough")
    with pytest.raises(BadFile, match=r"cannot load .*text\.tflite: .*\.$"):
        loading(tmp_path / "text.tflite")
