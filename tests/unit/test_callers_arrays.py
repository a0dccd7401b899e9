"""Networks that work in place are valid, and what the caller gave to be run is the caller's afterwards."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from edgelab.compress.backends import available, quantize_for_backend
from edgelab.convert.exported import to_coreml, to_onnx
from edgelab.convert.onnx import export
from edgelab.convert.tflite import export_int8
from edgelab.engines.torch import TorchEngine
from edgelab.errors import BadInput

X = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)


class Net(nn.Module):
    def __init__(self, before):
        super().__init__()
        torch.manual_seed(0)
        self.before, self.head = before, nn.Linear(8, 3)
        self.register_buffer("seen", torch.zeros(8))

    def forward(self, x):
        return self.head(self.before(self, x))


def normalise(_, x):
    x -= 0.5
    x /= 0.25
    return x


def zero_a_column(_, x):
    x[:, 0] = 0
    return x


def clamp(_, x):
    return x.clamp_(-0.5, 0.5)


def scale_a_view(_, x):
    y = x[:, :4]
    y *= 2
    return x


def scale_a_reshaped_view(_, x):
    y = x.view(-1, 2, 4)
    y[:, 0].add_(1)
    return x


def count(net, x):
    net.seen += 1
    return x.sub_(1)


def replace_the_count(net, x):
    net.seen = net.seen + 1
    return x * 2


IN_PLACE = [normalise, zero_a_column, clamp, scale_a_view, scale_a_reshaped_view, count, replace_the_count]


@pytest.mark.parametrize(
    ("before", "kind"),
    [(normalise, torch.from_numpy), *((before, None) for before in IN_PLACE)],
    ids=lambda f: getattr(f, "__name__", "numpy"),
)
def test_export_leaves_the_example_and_the_network(before, kind, tmp_path):
    net, example = Net(before).eval(), X.copy()
    expected = net(torch.tensor(X)).detach().numpy()
    net.seen.zero_()
    done = export(net, kind(example) if kind else example, tmp_path / "net.onnx")
    np.testing.assert_array_equal(example, X)
    assert not net.seen.any()
    session = ort.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": X})[0], expected, atol=1e-5)


def test_an_example_that_cannot_be_written(tmp_path, recwarn):
    example = X[::-1]
    example.flags.writeable = False
    export(Net(normalise), example, tmp_path / "net.onnx")
    assert not recwarn.list


def test_several_inputs(tmp_path):
    class Two(nn.Module):
        def forward(self, a, b):
            a += b
            b.mul_(2)
            return a @ b.mT

    a, b = torch.tensor(X), torch.tensor(X[::-1].copy())
    export(Two(), [a, b], tmp_path / "net.onnx", dynamic_batch=False)
    np.testing.assert_array_equal(a, X)
    np.testing.assert_array_equal(b, X[::-1])


def test_a_network_that_is_really_random_is_still_refused(tmp_path):
    def noise(_, x):
        x += torch.rand_like(x)
        return x

    with pytest.raises(BadInput, match="random"):
        export(Net(noise), X, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_a_network_in_float16(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).half()
    done = export(net, np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float16), tmp_path / "half.onnx")
    assert done.max_abs_error < 0.01


def test_engines_and_quantizers_leave_the_inputs():
    given = X.copy()
    engine = TorchEngine(Net(normalise))
    expected = engine.predict(X.copy())
    engine.predict(given)
    engine.time(given, 3, 1)
    np.testing.assert_array_equal(given, X)
    np.testing.assert_array_equal(engine.predict(given), expected)
    quantize_for_backend(Net(clamp), given, available()[0])
    np.testing.assert_array_equal(given, X)


def test_the_export_to_int8_leaves_the_calibration_set(tmp_path):
    pictures = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    given = pictures.copy()
    net = nn.Sequential(
        nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 3)
    )
    export_int8(net.eval(), given, tmp_path / "net.tflite")
    np.testing.assert_array_equal(given, pictures)


@pytest.mark.parametrize("write", [export, to_onnx])
def test_an_array_of_another_machine_is_taken_and_another_type_is_said(write, tmp_path):
    net, swapped = Net(normalise), X.astype(">f4")
    write(net, swapped, tmp_path / "net.onnx")
    np.testing.assert_array_equal(swapped, X)
    session = ort.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    expected = net.eval()(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: X})[0], expected, atol=1e-5)
    for wrong in (X.astype(np.float64), X.astype(np.float16), np.array(["a"] * 6)):
        with pytest.raises(BadInput, match=r"does not take an input of shape|no array of numbers"):
            write(net, wrong, tmp_path / "wrong.onnx")
    assert not (tmp_path / "wrong.onnx").exists()


def test_core_ml_takes_a_network_that_writes_into_its_input(tmp_path):
    pytest.importorskip("coremltools")
    example = X.copy()
    made = to_coreml(Net(normalise), example, tmp_path / "net.mlpackage")
    np.testing.assert_array_equal(example, X)
    assert made.bytes
