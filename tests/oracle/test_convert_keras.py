"""TensorFlow's start-up in a fresh process, and what a converter gives."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from edgelab.convert.keras import save_converted, tensorflow
from edgelab.errors import BadInput, MissingFramework

needs_tensorflow = pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")

TRAIN = """
import sys
from pathlib import Path
import numpy as np
from edgelab.engines import open_engine
from edgelab.convert.keras import save_converted, tensorflow
tf = tensorflow(threads=1, seed=5)
assert tf.config.threading.get_intra_op_parallelism_threads() == 1
flat = tf.keras.layers.Flatten()  # of an open batch: the graph computes its shapes while it runs
network = tf.keras.Sequential([tf.keras.Input((3, 2, 1)), flat, tf.keras.layers.Dense(4)])
converter = tf.lite.TFLiteConverter.from_keras_model(network)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([tf.ones((1, 3, 2, 1))] for _ in range(3))
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
path = save_converted(converter, Path(sys.argv[1]) / "made.tflite")
assert path.read_bytes()[4:8] == b"TFL3"
with open_engine(path) as engine:
    x = np.random.default_rng(0).random((300, 1, 3, 2), dtype=np.float32)
    alone = np.concatenate([engine.predict(x[i : i + 1]) for i in range(9)])
    assert (engine.predict(x)[:9] == alone).all() and engine.predict(x).shape == (300, 4)
print("weights", network.get_weights()[0].ravel()[:3].tolist())
"""


@needs_tensorflow
@pytest.mark.timeout(240)
def test_tensorflow_starts_and_converts_without_a_word_the_same_twice_and_litert_takes_any_batch(tmp_path):
    runs = [
        subprocess.run(
            [sys.executable, "-c", TRAIN, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
        )
        for _ in range(2)
    ]
    for run in runs:
        assert run.returncode == 0, run.stderr[-500:]
        assert run.stderr == ""
        assert run.stdout.count("\n") == 1
    assert runs[0].stdout == runs[1].stdout


class Converter:
    def __init__(self, content):
        self.content = content

    def convert(self):
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def test_what_is_converted_is_kept_whole(tmp_path):
    content = b"\x18\x00\x00\x00TFL3 and the rest"
    assert save_converted(Converter(content), tmp_path / "a.tflite").read_bytes() == content


@pytest.mark.parametrize("content", [ValueError("no such operator\nTraceback"), b"", b"\x00" * 20, "text"])
def test_a_refusal_is_one_sentence_and_leaves_no_file(content, tmp_path):
    with pytest.raises(BadInput, match=r"(refused a\.tflite: no such operator\.|is no \.tflite file\.)$"):
        save_converted(Converter(content), tmp_path / "a.tflite")
    assert not list(tmp_path.iterdir())


def test_threads_are_at_least_one():
    with pytest.raises(BadInput, match="at least 1"):
        tensorflow(threads=0)


def test_without_tensorflow_it_says_how_to_add_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingFramework, match="uv sync --group tensorflow"):
        tensorflow()
