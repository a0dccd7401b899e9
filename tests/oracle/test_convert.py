"""`edgelab convert` with the real converters: PyTorch's ONNX exporter, litert-torch, coremltools, TensorFlow, Keras.

``benchmarks/convert.py`` holds every reference network in every format and type against its source; a sample stands
here, and what each converter refuses.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelab import cli, data, nets
from edgelab.errors import BadFile, BadInput
from edgelab.measure import save_arrays
from edgelab.measure.inspect import inspect_model
from edgelab.toolbox import convert

torch = pytest.importorskip("torch")
LITERT, COREML, KERAS = "litert_torch", "coremltools", "tensorflow"
NEEDS = {"onnx": None, "tflite": LITERT, "coreml": COREML}
SUFFIX = {"onnx": ".onnx", "tflite": ".tflite", "coreml": ".mlpackage"}


def needs(name):
    from importlib.util import find_spec

    if name and find_spec(name) is None:
        pytest.skip(f"{name} is not installed here")


def save(net, path, *inputs, batch=False):
    shapes = tuple({0: torch.export.Dim("batch")} for _ in inputs) if batch else None
    torch.export.save(torch.export.export(net.eval(), inputs, dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    """The trained network as an exported program with an open batch, and test items in a file."""
    folder = tmp_path_factory.mktemp("signs")
    net, test = nets.load("signs_dscnn"), data.load("signs").test
    path = save(net, folder / "dscnn.pt2", torch.from_numpy(test.x[:2]), batch=True)
    return path, save_arrays(folder / "signs.npz", test.x[:1000], test.y[:1000])


@pytest.mark.parametrize(
    ("to", "how", "least"),
    [
        ("onnx", "int8", 95.0),
        ("tflite", "int8", 95.0),
        pytest.param("onnx", "float32", 100.0, marks=pytest.mark.thorough),
        pytest.param("tflite", "float32", 100.0, marks=pytest.mark.thorough),
        pytest.param("coreml", "float16", 99.5, marks=pytest.mark.thorough),
        pytest.param("onnx", "float16", 99.5, marks=pytest.mark.thorough),
        pytest.param("tflite", "float16", 99.5, marks=pytest.mark.thorough),
        pytest.param("coreml", "float32", 100.0, marks=pytest.mark.thorough),
        pytest.param("coreml", "int8", 97.0, marks=pytest.mark.thorough),
    ],
)
def test_a_trained_network_keeps_its_answers(signs, tmp_path, to, how, least):
    needs(NEEDS[to])
    path, items = signs
    settings = {"int8": True} if how == "int8" else {"precision": how}
    done = convert(path, to, tmp_path / f"net{SUFFIX[to]}", data=items, **settings)
    assert done.kept, done.reasons
    assert done.checked.agreement.value >= least
    assert done.checked.loss.loss.value <= 1
    assert done.bytes == sum(f.stat().st_size for f in [done.path, *done.path.rglob("*")] if f.is_file())


def test_one_dimensional_convolutions_take_their_normalisation_over_before_they_are_rounded(tmp_path):
    needs(LITERT)
    net, test = nets.load("vibration_cnn1d"), data.load("vibration").test
    path = save(net, tmp_path / "net.pt2", torch.from_numpy(test.x[:2]), batch=True)
    items = save_arrays(tmp_path / "items.npz", test.x, test.y)
    done = convert(path, "tflite", tmp_path / "net.tflite", data=items, int8=True, items=len(test.y))
    assert done.kept, done.reasons
    assert done.checked.loss.loss.value <= 1
    assert done.checked.agreement.value >= 97
    kinds = {layer.type for layer in inspect_model(done.path).layers}
    assert not kinds & {"MUL", "ADD"}  # of a normalisation that stayed behind, each with a range of its own


@pytest.mark.parametrize("to", ["onnx", *(pytest.param(to, marks=pytest.mark.thorough) for to in ("tflite", "coreml"))])
def test_an_operator_that_a_format_lacks_is_named_with_its_place(tmp_path, to):
    needs(NEEDS[to])

    class Spectrum(torch.nn.Module):
        def forward(self, x):
            return torch.special.i1(x).sum(-1, keepdim=True)

    net = torch.nn.Sequential(torch.nn.Linear(4, 4), Spectrum())
    path = save(net, tmp_path / "net.pt2", torch.zeros(1, 4))
    with pytest.raises(BadInput) as refused:
        convert(path, to, tmp_path / f"net{SUFFIX[to]}")
    assert "aten.special_i1" in str(refused.value)
    assert "in '1'" in str(refused.value)
    assert "test_convert.py line" in str(refused.value)
    assert "use a polynomial" in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.pt2"]


def mlpackage_outputs(package):
    return [output["dtype"] for output in inspect_model(package).to_dict()["outputs"]]


def test_the_command_says_its_answer_and_nothing_else(tmp_path):
    needs(COREML)
    path = save(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()), tmp_path / "net.pt2", torch.zeros(1, 4))
    words = ["convert", str(path), "--to", "coreml", "-o", str(tmp_path / "net.mlpackage"), "--json"]
    done = subprocess.run([sys.executable, "-m", "edgelab", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    stated = mlpackage_outputs(tmp_path / "net.mlpackage")
    assert stated == ["float32"]  # the program computes in float16, and its reader need not know
    assert (found["kept"], found["precision"], found["source"]["format"]) == (True, "float16", "pt2")


def test_a_program_in_training_mode_is_refused(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5)).train()
    torch.export.save(torch.export.export(net, (torch.zeros(2, 4),)), tmp_path / "net.pt2")
    with pytest.raises(BadInput, match=r"training mode \(aten.dropout in '1'.*call net.eval\(\)"):
        convert(tmp_path / "net.pt2", "onnx", tmp_path / "net.onnx")


def test_a_hostile_pickle_runs_in_no_process(tmp_path):
    import io
    import zipfile

    path = save(torch.nn.Linear(4, 3), tmp_path / "net.pt2", torch.zeros(1, 4))
    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self):
            return Path.touch, (witness,)

    stream = io.BytesIO()
    torch.save(Payload(), stream)
    hostile = tmp_path / "hostile.pt2"
    for where in ("weight", "sample"):
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(hostile, "w") as target:
            for entry in source.infolist():
                content = source.read(entry)
                if where == "weight" and entry.filename.endswith("weights_config.json"):
                    content = content.replace(b'"use_pickle": false', b'"use_pickle": true')
                if entry.filename.endswith(("weight_0", "weight_1") if where == "weight" else "sample_inputs/model.pt"):
                    content = stream.getvalue()
                target.writestr(entry.filename, content)
        with pytest.raises(BadFile, match=r"hostile\.pt2"):
            convert(hostile, "onnx", tmp_path / "net.onnx")
        assert not witness.exists()


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    needs(KERAS)
    folder = tmp_path_factory.mktemp("keras")
    code = """
import sys, numpy as np
from edgelab.convert.keras import tensorflow
k = tensorflow().keras
parts = [k.Input((16, 16, 3)), k.layers.Conv2D(8, 3, 2, "same"), k.layers.BatchNormalization(), k.layers.ReLU(6.0)]
parts += [k.layers.DepthwiseConv2D(3, padding="same"), k.layers.MaxPooling2D(), k.layers.Flatten(), k.layers.Dense(5)]
net = k.Sequential(parts)
net.save(sys.argv[1])
"""
    subprocess.run([sys.executable, "-c", code, str(folder / "net.keras")], check=True, capture_output=True)
    x = np.random.default_rng(0).random((64, 3, 16, 16), dtype=np.float32)
    return folder / "net.keras", save_arrays(folder / "x.npz", x)


@pytest.mark.parametrize(
    ("to", "int8"),
    [
        ("tflite", True),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (("tflite", False), ("onnx", False), ("onnx", True))
        ),
    ],
)
def test_a_keras_network_keeps_its_answers(keras_file, tmp_path, capfd, to, int8):
    path, items = keras_file
    words = ["--to", to, "--data", str(items), "-o", str(tmp_path / f"net{SUFFIX[to]}"), *(["--int8"] * int8)]
    assert cli.main(["convert", str(path), *words]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "the channels moved from the first axis to the last" in out


def test_a_keras_network_of_two_inputs_keeps_their_names_and_is_quantized(tmp_path):
    needs(KERAS)
    code = """
import sys
from edgelab.convert.keras import tensorflow
k = tensorflow().keras
picture, known = k.Input((8, 8, 3), name="picture"), k.Input((5,), name="age in years")
seen = k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(8, 3, activation="relu")(picture))
both = k.layers.Concatenate()([seen, k.layers.Dense(8, "relu")(known)])
k.Model([picture, known], k.layers.Dense(3)(both)).save(sys.argv[1])
"""
    path = tmp_path / "net.keras"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "items.npz",
        **{"picture": rng.random((64, 3, 8, 8), np.float32), "age in years": rng.random((64, 5), np.float32)},
    )
    done = convert(path, "onnx", tmp_path / "net.onnx", data=tmp_path / "items.npz", int8=True)
    assert done.kept, done.reasons
    assert done.checked.sqnr_db > 30
    assert [tensor.name for tensor in inspect_model(done.path).inputs] == ["picture", "age_in_years"]
    assert inspect_model(done.path).quantization.kind == "static"


@pytest.mark.thorough
@pytest.mark.parametrize("to", ["onnx", "tflite", "coreml"])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "efficientnet_b0"])
def test_networks_of_torchvision_are_converted(tmp_path, name, to):
    needs(NEEDS[to])
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    net = getattr(torchvision.models, name)(num_classes=10)
    path = save(net, tmp_path / f"{name}.pt2", torch.zeros(1, 3, 64, 64))
    # the activations of such untrained weights are smaller than any float16
    done = convert(path, to, tmp_path / f"net{SUFFIX[to]}", precision="float32")
    assert done.kept, done.reasons
