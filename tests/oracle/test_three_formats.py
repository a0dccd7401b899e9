"""One audio network as .onnx, .tflite and .mlpackage: compared, and held against a golden file, across all three.

The network turns a waveform into a log-mel picture itself and answers for every moment (two outputs of one shape) and
for the whole clip. The converters give its inputs and outputs other names, and other types.
"""

import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from edgelab import golden
from edgelab.convert.litert import Beside
from edgelab.course.session import installed
from edgelab.engines import open_engine
from edgelab.feeding.arrays import Arrays
from edgelab.measure.compare import compare
from edgelab.measure.inspect import inspect_model
from edgelab.models import mlpackage
from edgelab.quiet import silenced

if not installed("coremltools"):
    pytest.skip("coremltools is not installed here", allow_module_level=True)
if not installed("litert_torch"):
    pytest.skip("litert_torch is not installed here", allow_module_level=True)


SAMPLES, WINDOW, BINS, MELS = 2048, 128, 65, 24


class Crnn(nn.Module):
    """Framing and Fourier transform by convolutions, mel bands, logarithm, convolutions, a recurrent layer, heads."""

    def __init__(self):
        super().__init__()
        angle = 2 * np.pi * torch.arange(BINS)[:, None] * torch.arange(WINDOW) / WINDOW
        window = torch.hann_window(WINDOW)
        self.cos, self.sin = (nn.Parameter((f(angle) * window)[:, None]) for f in (torch.cos, torch.sin))
        self.mel = nn.Parameter(torch.rand(MELS, BINS, 1) / BINS)
        self.first, self.norm = nn.Conv1d(MELS, 32, 5, padding=2), nn.BatchNorm1d(32)
        self.second = nn.Conv1d(32, 32, 3, stride=2, padding=1)
        self.recurrent, self.level = nn.GRU(32, 24, batch_first=True), nn.LayerNorm(24)
        self.onset, self.note, self.clip = nn.Linear(56, 12), nn.Linear(56, 12), nn.Linear(56, 7)

    def forward(self, x):
        x = nn.functional.pad(x, (WINDOW // 2, WINDOW // 2))
        real, imaginary = (nn.functional.conv1d(x, kernel, stride=WINDOW // 2) for kernel in (self.cos, self.sin))
        mel = torch.log(nn.functional.conv1d(real.pow(2) + imaginary.pow(2), self.mel) + 1e-3)
        mel = mel - mel.mean((1, 2), keepdim=True)
        hidden = nn.functional.max_pool1d(torch.relu(self.norm(self.first(mel))), 2)
        hidden = nn.functional.elu(self.second(hidden)).transpose(1, 2)
        hidden = torch.cat([self.level(self.recurrent(hidden)[0]), hidden], -1)
        return torch.sigmoid(self.onset(hidden)), torch.sigmoid(self.note(hidden)), self.clip(hidden.mean(1))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The network in three formats, its Core ML package also with float16 and with an open batch."""
    folder = tmp_path_factory.mktemp("audio")
    torch.manual_seed(0)
    net, example = Crnn().eval(), torch.randn(1, 1, SAMPLES)
    converting = Beside().start(net, example, folder / "net.tflite", folder / "last.tflite")
    names = {"input_names": ["audio"], "output_names": ["onset", "note", "clip"], "dynamic_axes": {"audio": {0: "n"}}}
    ct = mlpackage.coremltools()
    with silenced(), warnings.catch_warnings():
        torch.onnx.export(net, (example,), folder / "net.onnx", dynamo=False, opset_version=17, **names)
        traced = torch.jit.trace(net, example)
        variants = {
            "net": ((1, 1, SAMPLES), np.float32, "FLOAT32"),
            "half": ((1, 1, SAMPLES), np.float16, "FLOAT16"),
            "open": ((ct.RangeDim(1, 16, default=1), 1, SAMPLES), np.float32, "FLOAT32"),
        }
        for name, (shape, kind, precision) in variants.items():
            ct.convert(
                traced,
                inputs=[ct.TensorType(name="waveform", shape=shape, dtype=kind)],
                compute_precision=getattr(ct.precision, precision),
                minimum_deployment_target=ct.target.iOS17,
                skip_model_load=True,
            ).save(str(folder / f"{name}.mlpackage"))
    converting.files()
    return folder


X = np.random.default_rng(0).normal(size=(12, 1, SAMPLES)).astype(np.float32)
FILES = ["net.tflite", "last.tflite", "net.mlpackage", "half.mlpackage", "open.mlpackage"]


@pytest.mark.parametrize("reference", ["net.onnx", "net.tflite", "net.mlpackage"])
def test_compare_works_across_all_three(place, reference):
    report = compare(place / reference, [place / name for name in ("net.onnx", *FILES)], Arrays(X), runs=6)
    for found in report.to_dict()["models"]:
        lowest = 50 if "half" in found["file"] else 90
        assert found["agreement"]["value"] == 100
        assert len(found["outputs"]) == 3
        assert all(o["sqnr_db"] is None or o["sqnr_db"] > lowest for o in found["outputs"]), found["file"]
        assert all(o["model"] for o in found["outputs"])
        packed = found["file"].endswith(".mlpackage") and sys.platform != "darwin"
        assert (found["p50_ms"] is None) == packed


def test_a_golden_file_holds_across_all_three(place, tmp_path):
    golden.make(place / "net.onnx", Arrays(X), tmp_path / "g.golden")
    report = golden.check(tmp_path / "g.golden", [place / name for name in FILES], min_sqnr=50)
    assert report.passed, str(report)
    assert [len(model.outputs) for model in report.models] == [3] * len(FILES)


def test_inspect_counts_the_work_of_the_front_end_too(place):
    report = inspect_model(place / "net.mlpackage")
    frames = SAMPLES // (WINDOW // 2) + 1
    wanted = frames * (2 * BINS * WINDOW + MELS * BINS + 32 * MELS * 5) + frames // 2 // 2 * 32 * 32 * 3
    assert sum(layer.macs for layer in report.layers if layer.type == "conv") == wanted
    with open_engine(place / "open.mlpackage") as engine:
        assert engine.inputs[0].shape == (None, 1, SAMPLES)
