"""`quantize` from end to end on small networks: what it writes, what it says of it, and what it refuses."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgelab.compress import quantize_static
from edgelab.compress.ptq import quantize_dynamic
from edgelab.convert.onnx import export
from edgelab.engines import open_engine
from edgelab.errors import BadFile, BadInput
from edgelab.feeding.arrays import Arrays
from edgelab.measure import save_arrays
from edgelab.toolbox import quantize, what_ran
from edgelab.toolbox.quantizing import halves, kept_in_float


def pictures(count=120, seed=0):
    """Squares that are bright on the left or on the right: neighbours resemble each other."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    x = rng.normal(0, 0.2, (count, 3, 8, 8)).astype(np.float32)
    x[y == 0, :, :, :4] += 1
    x[y == 1, :, :, 4:] += 1
    return x, y


def net(activation=nn.ReLU, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3), activation(), nn.Conv2d(8, 8, 3, groups=8), activation(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(128, 2)).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize")
    x, y = pictures()
    network = net()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(20):
        loss = nn.functional.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(y))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    export(network.eval(), torch.from_numpy(x[:2]), folder / "net.onnx")
    save_arrays(folder / "data.npz", x, y, np.where(np.arange(120) % 2, "day", "night"))
    return folder


def test_an_int8_file_and_what_is_said_of_it(files, tmp_path):
    made = quantize(files / "net.onnx", tmp_path / "q.onnx", data=files / "data.npz", progress=False)
    said = made.to_dict()
    assert set(said) == {
        "out", "bits", "per_channel", "steps", "bytes", "accuracy", "divergence", "ran", "warnings"
    }  # fmt: skip
    assert (said["bits"], said["per_channel"]) == (8, True)
    assert said["accuracy"]["loss"]["value"] == 0
    assert {g["name"] for g in said["accuracy"]["by_group"]} == {"day", "night"}
    assert said["divergence"]["items"] == 60
    assert said["bytes"]["quantized"] == (tmp_path / "q.onnx").stat().st_size
    layers = [one for one in said["ran"] if one["operator"] in ("QLinearConv", "QGemm")]
    assert len(layers) == 3
    assert all(one["fused"] and one["type"] == "uint8" for one in layers)
    assert [w for w in said["warnings"] if "ran in float" in w] == []
    assert any(step["taken"] for step in said["steps"])
    with open_engine(tmp_path / "q.onnx") as one, open_engine(files / "net.onnx") as other:
        x, _ = pictures(20, seed=1)
        assert (one.predict(x).argmax(1) == other.predict(x).argmax(1)).all()


def test_the_reported_half_is_not_the_one_that_was_chosen_by(files):
    x, y = pictures()
    choose, report = halves(Arrays(x, y))
    assert not set(choose) & set(report)
    assert abs(int((y[choose] == 0).sum()) - int((y[report] == 0).sum())) <= 1


def test_four_bits_say_that_they_are_computed_in_float(files, tmp_path):
    made = quantize(files / "net.onnx", tmp_path / "q.onnx", data=files / "data.npz", precision="int4", progress=False)
    assert any("unpacks and computes in float32" in text for text in made.warnings)
    kinds = {c.data_type for c in onnx.load(tmp_path / "q.onnx").graph.initializer}
    assert onnx.TensorProto.INT4 in kinds
    assert all(one.type == "float32" for one in made.ran.in_float())
    assert len(made.ran.in_float()) == 3


@pytest.mark.parametrize("listed", [False, True])
def test_layers_that_stay_in_float(files, tmp_path, listed):
    names = [node.name for node in onnx.load(files / "net.onnx").graph.node]
    head = names[-1]
    wanted = "Gemm"
    if listed:
        (tmp_path / "exclude.txt").write_text(f"{head}\n\nno_such_node\n", encoding="utf-8")
        wanted = f"@{tmp_path / 'exclude.txt'}"
    settings = {"data": files / "data.npz", "keep_float": wanted, "progress": False}
    made = quantize(files / "net.onnx", tmp_path / "q.onnx", **settings)
    assert f"{head} (Gemm) ran in float32: it was kept in float." in made.warnings
    assert any("names no_such_node, which is no node" in text for text in made.warnings) is listed
    with pytest.raises(BadFile, match="is there already"):
        quantize(files / "net.onnx", tmp_path / "q.onnx", **settings)


def test_what_is_refused_leaves_nothing_behind(files, tmp_path):
    x, y = pictures()
    noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    out, source = tmp_path / "q.onnx", files / "net.onnx"
    with pytest.raises(BadInput, match="never from noise"):
        quantize(source, out)
    with pytest.raises(BadInput, match="noise: independent of each other"):
        quantize(source, out, data=Arrays(noise))
    with pytest.raises(BadInput, match="noise: independent of each other"):
        quantize(source, out, data=Arrays(noise, y))
    with pytest.raises(BadInput, match="nothing but 1"):
        quantize(source, out, data=Arrays(np.ones_like(x)))
    with pytest.raises(BadInput, match="holds 4 items; at least 8"):
        quantize(source, out, data=Arrays(x[:4]))
    with pytest.raises(BadInput, match=r"matches no node; the nodes are"):
        quantize(source, out, data=Arrays(x), keep_float="layer9", progress=False)
    with pytest.raises(BadInput, match="not a regular expression"):
        quantize(source, out, data=Arrays(x), keep_float="(", progress=False)
    with pytest.raises(BadFile, match=r"nothing.txt cannot be read"):
        quantize(source, out, data=Arrays(x), keep_float="@nothing.txt", progress=False)
    with pytest.raises(BadInput, match=r"needs a name that ends in .onnx"):
        quantize(source, tmp_path / "q.tflite", data=Arrays(x))
    with pytest.raises(BadFile, match="one of the files that are read"):
        quantize(source, source, data=Arrays(x), overwrite=True)
    quantized = quantize_static(source, tmp_path / "done.onnx", x).path
    with pytest.raises(BadFile, match="quantized already"):
        quantize(quantized, out, data=Arrays(x), progress=False)
    assert not out.exists()


def test_an_interrupt_leaves_nothing_behind(files, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgelab.posttraining.search.correct_biases", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quantize(files / "net.onnx", tmp_path / "q.onnx", data=files / "data.npz", progress=False)
    assert not list(tmp_path.iterdir())


def test_an_operator_that_is_not_fused_is_named(tmp_path):
    x, _ = pictures()
    path = export(net(nn.Hardswish), torch.from_numpy(x[:2]), tmp_path / "net.onnx").path
    ran = what_ran(quantize_static(path, tmp_path / "q.onnx", x).path)
    assert any(text.startswith("HardSigmoid was not fused") for text in ran.warnings())
    assert not ran.in_float()
    assert {o.operator for o in ran.operators if o.fused} >= {"QLinearConv"}
    assert "HardSigmoid" in ran.unfused()
    whole = what_ran(path)
    assert (len(ran.in_integers()), len(whole.in_integers())) == (len(whole.in_float()), 0)
    assert not whole.unfused()


def test_what_comes_out_of_dynamic_quantization_is_known_to_be_integers(tmp_path):
    path = export(net(), torch.rand(2, 3, 8, 8), tmp_path / "net.onnx").path
    ran = {one.operator: one.type for one in what_ran(quantize_dynamic(path, tmp_path / "q.onnx").path).operators}
    assert ran["ConvInteger"] == "uint8"
    assert ran["DynamicQuantizeLinear"] == "float32"


class Two(nn.Module):
    """Two inputs by name, and an answer that is no class."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.head = nn.Linear(6, 8), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, left, right):
        return self.head(torch.relu(self.one(left)) + torch.relu(self.two(right)))


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_several_inputs_by_name(tmp_path, precision):
    rng = np.random.default_rng(0)
    level = rng.normal(size=(80, 1))
    left = (level + 0.1 * rng.normal(size=(80, 6))).astype(np.float32)
    right = (level + 0.1 * rng.normal(size=(80, 4))).astype(np.float32)
    torch.onnx.export(
        Two().eval(), (torch.from_numpy(left[:2]), torch.from_numpy(right[:2])), tmp_path / "two.onnx",
        input_names=["left", "right"], dynamic_axes={"left": {0: "n"}, "right": {0: "n"}}, dynamo=False,
    )  # fmt: skip
    save_arrays(tmp_path / "d.npz", {"right": right, "left": left})
    made = quantize(
        tmp_path / "two.onnx", tmp_path / "q.onnx", data=tmp_path / "d.npz", precision=precision, progress=False
    )
    assert made.accuracy is None
    assert made.divergence.sqnr_db > 20


def test_names_of_nodes_are_looked_up(files):
    model = onnx.load(files / "net.onnx")
    names = [node.name for node in model.graph.node]
    assert kept_in_float(model, "Conv$") == (tuple(n for n in names if n.endswith("Conv")), [])
    assert kept_in_float(model, None) == ((), [])


class Transposed(nn.Module):
    """A transposed convolution with groups, whose channels ONNX Runtime's quantizer cannot tell apart."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.wide = nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 2, 2, groups=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.relu(self.wide(torch.relu(self.one(x)))).mean((2, 3)))


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_layer_that_cannot_be_quantized_stays_in_float_and_is_named(tmp_path, precision):
    x, _ = pictures(40)
    path = export(Transposed().eval(), torch.from_numpy(x[:2]), tmp_path / "net.onnx").path
    made = quantize(path, tmp_path / "q.onnx", data=Arrays(x), precision=precision, progress=False)
    assert made.divergence.sqnr_db > 25
    assert any("(ConvTranspose) ran in float32" in text for text in made.warnings)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_network_without_layers_is_refused_by_its_own_reason(tmp_path, precision):
    """One operator and no weight: no tensor is read by a layer, and nothing can be rounded."""
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"], "only")]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", [x], [y]), opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, tmp_path / "relu.onnx")
    with pytest.raises(BadInput, match=r"no convolution.*linear") as refusal:
        quantize(
            tmp_path / "relu.onnx", tmp_path / "q.onnx", data=Arrays(pictures()[0]), precision=precision, progress=False
        )
    assert "edgelab-" not in str(refusal.value)  # no temporary file is named
    assert not (tmp_path / "q.onnx").exists()
