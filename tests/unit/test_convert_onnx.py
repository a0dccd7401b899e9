"""Export to ONNX: the file computes what the network computes, or there is no file."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgelab.convert.onnx import export
from edgelab.errors import BadFile, BadInput


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


class Sequence(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        if kind == "lstm":
            self.layer = nn.LSTM(16, 16, batch_first=True)
        else:
            self.layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        y = self.layer(self.embedding(x))
        return self.head((y[0] if isinstance(y, tuple) else y).mean(1))


class Two(nn.Module):
    def forward(self, a, b):
        return a @ b.mT, a + b


class Branch(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x - 1


class Random(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class Unknown(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x)[1]


class Fixed(nn.Module):
    def forward(self, x):
        return x.view(int(x.shape[0]), -1)


class Text(nn.Module):
    def forward(self, x):
        return f"{x}"


def run(path, *inputs):
    import onnxruntime as ort

    session = ort.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], inputs, strict=True)))


def test_the_file_computes_what_the_network_computes_at_every_batch_size(tmp_path):
    net = cnn().train()
    net[1].eval()
    done = export(net, torch.randn(1, 3, 16, 16), tmp_path / "net.onnx")
    assert net.training
    assert not net[1].training
    assert done.bytes == done.path.stat().st_size
    assert done.max_abs_error < 1e-5
    assert (done.opset, done.exporter) == (18, "traced")
    assert os.listdir(tmp_path) == ["net.onnx"]  # noqa: PTH208
    for batch in (1, 5):
        x = torch.randn(batch, 3, 16, 16)
        with torch.no_grad():
            np.testing.assert_allclose(run(done.path, x.numpy())[0], net.eval()(x).numpy(), atol=1e-5)
    assert "net.onnx" in done._repr_markdown_()
    assert done.to_dict()["path"].endswith("net.onnx")


def test_a_numpy_example_and_a_fixed_batch(tmp_path):
    import onnx

    path = export(cnn(), np.zeros((2, 3, 16, 16), np.float32), tmp_path / "net.onnx", dynamic_batch=False).path
    graph = onnx.load(path).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    assert (graph.input[0].name, graph.output[0].name) == ("input", "logits")


def test_the_newer_exporter_takes_over_above_the_tracing_ones_opset(tmp_path):
    done = export(cnn(), torch.randn(2, 3, 16, 16), tmp_path / "net.onnx", opset=21)
    assert done.exporter == "dynamo"
    assert run(done.path, np.zeros((3, 3, 16, 16), np.float32))[0].shape == (3, 4)
    assert os.listdir(tmp_path) == ["net.onnx"]  # noqa: PTH208


def test_a_file_does_not_say_where_its_sources_lie(tmp_path):
    from edgelab.convert import to_onnx

    export(cnn(), torch.randn(2, 3, 16, 16), tmp_path / "newer.onnx", opset=21)
    to_onnx(cnn(), torch.randn(2, 3, 16, 16), tmp_path / "program.onnx")
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        assert b"stack_trace" not in content, path.name
        assert str(Path(torch.__file__).parent).encode() not in content, path.name


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_networks_over_token_sequences(tmp_path, kind):
    done = export(Sequence(kind), torch.randint(0, 50, (2, 7)), tmp_path / "net.onnx")
    assert run(done.path, np.zeros((4, 7), np.int64))[0].shape == (4, 5)
    assert torch.backends.mha.get_fastpath_enabled()


def test_several_inputs_and_outputs(tmp_path):
    done = export(Two(), (torch.randn(2, 3, 4), torch.randn(2, 3, 4)), tmp_path / "net.onnx")
    a = np.ones((1, 3, 4), np.float32)
    product, total = run(done.path, a, a)
    assert product.tolist() == [[[4.0] * 3] * 3]
    assert total.tolist() == (a + a).tolist()


@pytest.mark.parametrize(
    ("net", "example", "says"),
    [
        (Branch(), torch.randn(2, 3), "decides by the value"),
        (Random(), torch.randn(2, 3), "differs from the network"),
        (Unknown(), torch.randn(2, 3, 3), "linalg_svd"),
        (Fixed(), torch.randn(2, 3, 4), "fixes the batch size"),
        (Text(), torch.randn(2, 3), "returns str"),
        (nn.Linear(3, 4), torch.randn(2, 5), "does not take an input of shape"),
        (nn.Linear(3, 4), torch.randn(2, 3, dtype=torch.float64), "does not take an input"),
        (nn.Linear(3, 4), torch.full((2, 3), float("nan")), "NaN"),
        (nn.Linear(3, 4), torch.empty(0, 3), "at least one element"),
        (nn.Linear(3, 4), (), "at least one element"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_no_file(tmp_path, net, example, says):
    with pytest.raises(BadInput, match=says) as caught:
        export(net, example, tmp_path / "net.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_network_with_nan_weights_does_not_pass_its_check(tmp_path):
    net = nn.Linear(3, 4)
    nn.init.constant_(net.weight, float("nan"))
    with pytest.raises(BadInput, match="differs"):
        export(net, torch.randn(2, 3), tmp_path / "net.onnx")


def test_beyond_the_tolerance_the_previous_file_stays(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"before")
    with pytest.raises(BadInput, match="nothing was written"):
        export(cnn(), torch.randn(2, 3, 16, 16), path, tolerance=-1)
    assert path.read_bytes() == b"before"


def test_settings_out_of_range(tmp_path):
    with pytest.raises(BadInput, match="opset=9"):
        export(cnn(), torch.randn(2, 3, 16, 16), tmp_path / "net.onnx", opset=9)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadFile, match="could not be written"):
        export(nn.Linear(3, 4), torch.randn(2, 3), tmp_path / "file" / "net.onnx")


def test_nothing_is_said_while_exporting(tmp_path, capfd, recwarn):
    export(cnn(), torch.randn(2, 3, 16, 16), tmp_path / "net.onnx")
    export(Sequence("lstm"), torch.randint(0, 50, (2, 7)), tmp_path / "lstm.onnx")
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert logging.root.manager.disable == 0


def test_the_module_itself_loads_no_framework():
    code = (
        "import sys, edgelab.convert.onnx; print(*({'torch', 'onnx', 'onnxruntime', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
