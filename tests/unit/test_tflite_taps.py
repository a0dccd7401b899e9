"""Inner tensors of a .tflite file as its outputs: the same network, seen from inside."""

from pathlib import Path

import numpy as np
import pytest

from edgelab.engines import open_engine
from edgelab.errors import BadInput, EdgelabError
from edgelab.mcu import read_model
from edgelab.models.tflite_taps import with_outputs

MODEL = Path(__file__).parents[1] / "data" / "mcu_oracle" / "tabular_mlp.tflite"


def test_the_layers_come_out_and_the_last_is_what_it_was(tmp_path):
    pytest.importorskip("tflite_micro")
    from edgelab.engines.tflm import TFLMEngine

    model = read_model(MODEL)
    inside = [op.outputs[0] for op in model.operators]
    path = with_outputs(MODEL, inside, tmp_path / "tapped.tflite")
    tapped = read_model(path)
    assert list(tapped.outputs) == inside
    assert [op.code for op in tapped.operators] == [op.code for op in model.operators]
    with open_engine(MODEL) as engine:
        shape = engine.inputs[0].shape
    rows = np.random.default_rng(0).integers(-128, 128, (20, *shape[1:])).astype(np.int8)
    with TFLMEngine(MODEL) as engine:
        wanted = engine.invoke_raw([rows])[0]
    with TFLMEngine(path) as engine:
        found = engine.invoke_raw([rows])
    assert len(found) == len(inside)
    np.testing.assert_array_equal(found[-1], wanted)


@pytest.mark.parametrize("tensors", [[], [0], [9999], [-1]])
def test_tensors_that_no_operator_computes_are_refused(tmp_path, tensors):
    with pytest.raises(BadInput, match="with_outputs"):
        with_outputs(MODEL, tensors, tmp_path / "out.tflite")
    assert not (tmp_path / "out.tflite").exists()


def test_what_is_no_model_is_a_sentence(tmp_path):
    (tmp_path / "no.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 60)
    (tmp_path / "no.onnx").write_bytes(b"nothing of the kind")
    for name in ("no.tflite", "no.onnx"):
        with pytest.raises(EdgelabError):
            with_outputs(tmp_path / name, [1], tmp_path / "out.tflite")
