"""Keras comes without TensorFlow's start-up noise, and its absence is one sentence."""

import subprocess
import sys

import pytest

from edgelab.errors import MissingFramework
from edgelab.nets.keras_import import keras


def test_without_tensorflow_it_says_how_to_add_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingFramework, match="uv sync --group tensorflow"):
        keras()


def test_it_comes_quietly_after_torch():
    pytest.importorskip("tensorflow")
    code = "import torch; from edgelab.nets.keras_import import keras; print(keras().backend.backend())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("tensorflow", "")
