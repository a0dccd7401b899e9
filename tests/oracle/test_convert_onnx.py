"""`edgelab convert` from .onnx: by way of onnx2torch to .tflite and Core ML, held against ONNX Runtime's answers."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgelab import cli, data, nets
from edgelab.convert.onnx import export
from edgelab.errors import BadFile, BadInput
from edgelab.measure import save_arrays
from edgelab.toolbox import convert

torch = pytest.importorskip("torch")
pytest.importorskip("onnx2torch")
CASES = Path(__file__).parents[1] / "data" / "cases"
NEEDS = {".tflite": "litert_torch", ".mlpackage": "coremltools"}


def needs(suffix):
    from importlib.util import find_spec

    if find_spec(NEEDS[suffix]) is None:
        pytest.skip(f"{NEEDS[suffix]} is not installed here")


class Transformer(torch.nn.Module):
    """Exported, it reshapes by shapes that are tensors, and looks up whole numbers."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 16)
        self.layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.out = torch.nn.Linear(16, 4)

    def forward(self, ids):
        return self.out(self.layer(self.embedding(ids)).mean(1))


@pytest.fixture
def transformer(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "transformer.onnx"
    example = (torch.randint(0, 50, (1, 12)),)
    net = Transformer().eval()
    torch.onnx.export(net, example, path, dynamo=False, input_names=["ids:0"], opset_version=17)
    np.savez(tmp_path / "ids.npz", **{"ids:0": np.random.default_rng(0).integers(0, 50, (40, 12))})
    return path


@pytest.mark.parametrize("suffix", [".tflite", ".mlpackage"])
def test_a_transformer_answers_as_its_file(transformer, tmp_path, suffix, capfd):
    needs(suffix)
    to = "tflite" if suffix == ".tflite" else "coreml"
    words = ["convert", str(transformer), "--to", to, "--data", str(tmp_path / "ids.npz"), "--json"]
    assert cli.main([*words, "-o", str(tmp_path / f"out{suffix}")]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["source"]["runtime"].startswith("ONNX Runtime")
    assert told["agreement"]["value"] == 100.0
    assert told["sqnr_db"] > (100 if to == "tflite" else 45)


def test_a_trained_network_in_int8(tmp_path):
    needs(".tflite")
    test = data.load("signs").test
    model = export(nets.load("signs_dscnn"), test.x[:1], tmp_path / "net.onnx")
    arrays = save_arrays(tmp_path / "signs.npz", test.x[:500], test.y[:500])
    done = convert(model.path, "tflite", tmp_path / "net.tflite", data=arrays, int8=True)
    assert done.kept, done.reasons
    assert done.checked.agreement.value > 98
    assert done.bytes < 80_000


@pytest.mark.parametrize(
    "name",
    [
        "03_ir3_opset7_conv_bn",
        *(
            pytest.param(name, marks=pytest.mark.thorough)
            for name in ("01_torch_default_exporter_mean", "11_causal_mask_minus_inf", "ext_ok")
        ),
    ],
)
def test_files_of_old_and_new_exporters_are_taken(tmp_path, name):
    needs(".tflite")
    done = convert(CASES / f"{name}.onnx", "tflite", tmp_path / "out.tflite")
    assert done.kept, done.reasons
    assert done.checked.sqnr_db > 100


def simple(operator, domain="", **attributes):
    node = onnx.helper.make_node(operator, ["x"], ["y"], domain=domain, **attributes)
    tensors = [onnx.helper.make_tensor_value_info(name, 1, [2, 4]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", tensors[:1], tensors[1:])
    opsets = [onnx.helper.make_opsetid("", 17), *([onnx.helper.make_opsetid(domain, 1)] if domain else [])]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_what_has_no_way_is_named(tmp_path):
    onnx.save(simple("Hardmax"), tmp_path / "odd.onnx")
    with pytest.raises(BadInput, match=r"odd\.onnx is not taken to PyTorch: onnx2torch has no Hardmax of opset"):
        convert(tmp_path / "odd.onnx", "tflite", tmp_path / "o.tflite")
    onnx.save(simple("DynamicQuantizeLinear"), tmp_path / "int8.onnx")
    with pytest.raises((BadFile, BadInput), match=r"int8\.onnx"):
        convert(tmp_path / "int8.onnx", "tflite", tmp_path / "o.tflite")
    onnx.save(simple("Relu"), tmp_path / "relu.onnx")
    with pytest.raises(BadInput, match=r"relu\.onnx is onnx already"):
        convert(tmp_path / "relu.onnx", "onnx", tmp_path / "o.onnx")
    with pytest.raises(BadInput, match=r"leaves a size of its input 'ids' .* open"):
        convert(CASES / "ids_mask.onnx", "tflite", tmp_path / "o.tflite")
    assert not list(tmp_path.glob("o.*"))
