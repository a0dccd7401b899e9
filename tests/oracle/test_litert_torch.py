"""PyTorch networks through litert-torch: what the file answers, and the transposes that the layout costs."""

import numpy as np
import pytest
import torch
from torch import nn

from edgelab.convert.litert import Beside
from edgelab.course.session import installed
from edgelab.engines import open_engine
from edgelab.errors import BadInput
from edgelab.measure.inspect import inspect_model

if not installed("litert_torch"):
    pytest.skip("litert_torch is not installed here", allow_module_level=True)


def transposes(path):
    return sum(layer.type == "TRANSPOSE" for layer in inspect_model(path).layers)


def test_both_layouts_answer_as_pytorch_does(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 4)).eval()
    x = np.random.default_rng(0).random((5, 3, 12, 12), np.float32)
    beside = Beside().start(net, torch.from_numpy(x[:1]), tmp_path / "first.tflite", tmp_path / "last.tflite")
    first, last = beside.files()
    assert beside.files() == (first, last)
    with torch.no_grad():
        wanted = net(torch.from_numpy(x)).numpy()
    for path, shape in ((first, (1, 3, 12, 12)), (last, (1, 12, 12, 3))):
        with open_engine(path) as engine:
            assert engine.inputs[0].shape == shape
            np.testing.assert_allclose(engine.predict(x), wanted, atol=1e-5)
    assert transposes(first) > transposes(last)


def test_what_cannot_be_exported_costs_a_sentence(tmp_path):
    class Loop(nn.Module):
        def forward(self, x):
            while x.sum() > 1:
                x = x / 2
            return x

    beside = Beside()
    with pytest.raises(BadInput, match="Loop cannot be exported"):
        beside.start(Loop(), torch.ones(1, 3), tmp_path / "a.tflite", tmp_path / "b.tflite")
    with pytest.raises(BadInput, match="Loop cannot be exported"):
        beside.files()
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    with beside.start(net, torch.ones(1, 3), tmp_path / "a.tflite", tmp_path / "b.tflite"):
        process = beside._process
        beside.start(net, torch.zeros(1, 3), tmp_path / "c.tflite", tmp_path / "d.tflite")
        assert process.poll() is not None  # the second network takes the place of the first
        assert beside._process.poll() is None


def test_a_process_without_a_network_says_so_and_ends():
    with Beside() as beside, pytest.raises(BadInput, match="call start"):
        beside.files()
    assert beside._process.poll() is not None
