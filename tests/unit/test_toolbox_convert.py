"""`edgelab convert`, with a converter that is made up here: what is checked, what is kept, and what is said.

The real converters are run by tests/oracle/test_convert.py.
"""

import contextlib
import json

import numpy as np
import onnx
import pytest

from edgelab import cli
from edgelab.errors import BadFile, BadInput, EngineCrash
from edgelab.feeding.arrays import Arrays
from edgelab.toolbox import conversion
from edgelab.toolbox.conversion import convert
from edgelab.toolbox.limits import Limits

from .test_cli import documented, same_shape
from .test_model_sources import keras_layer, write, write_keras

WEIGHTS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


class Converter:
    """Stands for the child process: multiplies by WEIGHTS, and writes what it is told as ONNX."""

    def __init__(self, *, written=WEIGHTS, shape=(None, 4), answers=None, example=()):
        self.written, self.answers, self.calls = written, answers, []
        self.about = {"inputs": [{"name": "x", "shape": list(shape), "dtype": "float32"}], "runtime": "PyTorch 2"}
        self.about["example"] = [list(shape) for shape in example]

    def call(self, action, _doing, arrays=(), **settings):
        self.calls.append(action)
        if action == "run":
            found = arrays[0].reshape(len(arrays[0]), -1)[:, :4] @ WEIGHTS
            return {"names": ["output"]}, [found if self.answers is None else self.answers(found)]
        if isinstance(self.written, Exception):
            raise self.written
        weights = onnx.numpy_helper.from_array(self.written, "w")
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("MatMul", ["x", "w"], ["scores"])],
            "g",
            [onnx.helper.make_tensor_value_info("x", 1, ["batch", 4])],
            [onnx.helper.make_tensor_value_info("scores", 1, ["batch", 3])],
            [weights],
        )
        opsets = [onnx.helper.make_opsetid("", 17)]
        onnx.save(onnx.helper.make_model(graph, ir_version=9, opset_imports=opsets), settings["out"])
        return {"calibrated": 200 * settings["int8"]}, []


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "net.pt2")
    x = np.random.default_rng(1).standard_normal((400, 4), dtype=np.float32)
    np.savez("d.npz", x=x, y=(x @ WEIGHTS).argmax(1))
    return tmp_path


@pytest.fixture
def converter(monkeypatch):
    def use(**settings):
        made = Converter(**settings)
        monkeypatch.setattr(conversion, "_opened", lambda *_: contextlib.nullcontext((made, made.about)))
        return made

    return use


def left(home):
    return sorted(path.name for path in home.iterdir())


def test_a_file_that_answers_as_its_source_is_kept(home, converter, capfd):
    converter()
    before = left(home)
    assert cli.main(["convert", "net.pt2", "--to", "onnx", "--data", "d.npz", "-o", "out/net.onnx"]) == 0
    said = capfd.readouterr().out
    assert "holds net.pt2 as onnx in float32" in said
    assert "on 400 items of d.npz: the same top answer for 100" in said
    assert left(home) == [*before, "out"]
    assert left(home / "out") == ["net.onnx"]


def test_the_json_is_as_documented(home, converter, capfd):
    converter()
    words = ["convert", "net.pt2", "--to", "onnx", "--data", "d.npz", "--json", "-o", "net.onnx"]
    assert cli.main(words) == 0
    found, stated = json.loads(capfd.readouterr().out), documented()
    same_shape(found, stated["convert"], stated["reading"])
    assert (found["items"], found["checked_on"], found["calibrated_on"]) == (400, "d.npz", None)
    assert found["kept"] is True


def test_without_data_the_inputs_are_drawn_and_it_is_said(home, converter):
    converter()
    done = convert("net.pt2", "onnx", "net.onnx")
    assert done.kept
    assert "32 inputs drawn from a seed, for no --data was given" in str(done)
    assert done.to_dict()["checked_on"] is None


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_file_that_answers_otherwise_is_not_kept_and_has_status_1(home, converter, capfd, flags):
    converter(written=WEIGHTS + np.float32(0.01))
    (home / "net.onnx").write_bytes(b"mine")
    before = left(home)
    words = ["convert", "net.pt2", "--to", "onnx", "--data", "d.npz", "-o", "net.onnx", "--overwrite", *flags]
    assert cli.main(words) == 1
    out, err = capfd.readouterr()
    assert "SQNR of 'output' against the source is" in err
    assert "60 dB are asked for; the file was not kept" in err
    assert err.count("\n") == 1
    if flags:
        assert json.loads(out)["kept"] is False
    else:
        assert "holds net.pt2" not in out
    assert left(home) == before
    assert (home / "net.onnx").read_bytes() == b"mine"


def test_an_int8_file_is_judged_by_what_it_gets_right(home, converter):
    converter(written=WEIGHTS + np.float32(0.001))
    done = convert("net.pt2", "onnx", "net.onnx", data="d.npz", int8=True)
    assert done.kept
    assert (done.precision, done.calibrated_on) == ("int8", 200)
    assert "The ranges of its activations come from 200 of these items" in str(done)
    converter(written=WEIGHTS[:, ::-1].copy())
    lost = convert("net.pt2", "onnx", "other.onnx", data="d.npz", int8=True)
    assert "of accuracy, and 1 are allowed" in lost.reasons[0]
    assert not (home / "other.onnx").exists()


def test_a_float16_file_that_fails_names_the_way_out(home, converter):
    converter(written=-WEIGHTS)
    done = convert("net.pt2", "onnx", "net.onnx", data="d.npz", precision="float16")
    assert "30 dB are asked for" in done.reasons[0]
    assert "try --precision float32" in done.reasons[-1]


def test_a_small_data_set_may_lose_three_items():
    assert Limits.of("int8", labels=True, items=60, classes=True).max_loss == 5
    assert Limits.of("int8", labels=True, items=1000, classes=True).max_loss == 1
    assert Limits.of("int8", labels=False, items=1000, classes=True).min_agreement == 90
    assert Limits.of("int8", labels=False, items=1000, classes=False).min_sqnr_db == 10


@pytest.mark.parametrize(
    "error", [BadInput("ONNX has no counterpart of the operator aten.fft."), EngineCrash("died"), KeyboardInterrupt()]
)
def test_a_failing_conversion_leaves_nothing(home, converter, error):
    made = converter()
    before = left(home)
    made.written = error if isinstance(error, Exception) else made.written
    if isinstance(error, KeyboardInterrupt):
        made.call = lambda *_, **__: (_ for _ in ()).throw(error)
    with pytest.raises(type(error)):
        convert("net.pt2", "onnx", "net.onnx")
    assert left(home) == before


def test_nothing_is_replaced_without_being_asked(home, converter):
    made = converter()
    (home / "net.onnx").write_bytes(b"mine")
    with pytest.raises(BadFile, match="is there already"):
        convert("net.pt2", "onnx", "net.onnx")
    assert made.calls == []
    assert convert("net.pt2", "onnx", "net.onnx", overwrite=True).kept
    assert onnx.load("net.onnx").graph.node
    (home / "full.mlpackage").mkdir()
    (home / "full.mlpackage" / "notes.txt").write_text("mine")
    with pytest.raises(BadFile, match="is there already"):
        convert("net.pt2", "coreml", "full.mlpackage")
    with pytest.raises(BadFile, match="a folder, and no Core ML package"):
        convert("net.pt2", "coreml", "full.mlpackage", overwrite=True)
    with pytest.raises(BadFile, match="is one of the files that are read"):
        convert("net.pt2", "onnx", "d.onnx", data=(home / "d.npz").rename("d.onnx"), overwrite=True)


SENTENCES = [
    ({"int8": True}, {}, "never from noise; give some with --data"),
    ({"out": "net.tflite"}, {}, "needs a name that ends in .onnx"),
    ({"to": "gguf"}, {}, "is not one of onnx, tflite, coreml"),
    ({"precision": "int4"}, {}, "is not one of 'float32', 'float16'"),
    ({}, {"shape": (None, 3, None, None)}, "leaves a size of its input 'x' (any, 3, any, any) open, which onnx fixes"),
    ({}, {"answers": lambda y: y * np.float32(np.nan)}, "answers with NaN or infinity in 'output'"),
    ({"data": "d.npz"}, {"shape": (None, 5)}, "of shape (400, 4) does not fit net.pt2, which takes"),
    ({"data": Arrays(np.zeros((9, 7, 7, 3), np.float32))}, {"shape": (1, 4, 7, 7)}, "does not fit net.pt2"),
    ({"model": "no.pt2"}, {}, "does not exist"),
    ({"model": "d.npz"}, {}, "neither an exported program nor a Keras file"),
    ({"model": "text.pt2"}, {}, "is not a file that is converted here"),
    ({"model": "cut.onnx", "to": "tflite", "out": "net.tflite"}, {}, "is no ONNX model, or is cut short"),
    ({"model": "pickle.pt"}, {}, "is a pickle, which is not opened here; export the network to .pt2"),
    ({"model": "old.h5"}, {}, "a Keras HDF5 file; load it in Keras, save it as .keras"),
    ({"model": "lambda.keras"}, {}, "the layer 'odd' of kind Lambda"),
]


@pytest.mark.parametrize(("asked", "source", "says"), SENTENCES, ids=[says for _, _, says in SENTENCES])
def test_what_cannot_be_done_is_one_sentence(home, converter, asked, source, says):
    converter(**source)
    (home / "text.pt2").write_text("no model", encoding="utf-8")
    (home / "cut.onnx").write_bytes(b"\x08\x08\x12\x07pytorch:\xff\xff")
    (home / "pickle.pt").write_bytes(b"\x80\x02}q\x00.")
    (home / "old.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    write_keras(home / "lambda.keras", keras_layer(class_name="Lambda", config={"name": "odd"}))
    before = left(home)
    settings = {"model": "net.pt2", "to": "onnx", "out": "net.onnx", **asked}
    with pytest.raises((BadInput, BadFile)) as refused:
        convert(**settings)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert left(home) == before


@pytest.mark.parametrize("given", [None, Arrays(np.zeros((8, 3), np.float32))], ids=["drawn", "data"])
@pytest.mark.parametrize(
    ("shape", "dtype", "says"),
    [
        ((None, 3), "string", "takes text for its input 'x'; only networks of numbers"),
        ((None, 3), "bfloat16", "takes bfloat16 for its input 'x', which tflite files do not hold; export the network"),
        ((), "float32", "states no axes for its input 'x'; give --data, or export the network with the sizes"),
    ],
)
def test_an_input_that_no_conversion_takes_is_refused_before_anything_runs(tmp_path, given, shape, dtype, says):
    about = {"inputs": [{"name": "x", "shape": shape, "dtype": dtype}], "runtime": "ONNX Runtime", "example": []}
    if given is not None and not shape:
        assert conversion._inputs(about, given, tmp_path / "net.onnx", "tflite", 0)[0] is given
        return
    with pytest.raises(BadInput) as refused:
        conversion._inputs(about, given, tmp_path / "net.onnx", "tflite", 0)
    assert says in str(refused.value)
    assert str(tmp_path / "net.onnx") in str(refused.value)


def test_an_open_size_is_the_examples_for_onnx_and_the_datas_for_all(home, converter):
    converter(shape=(None, None), example=[(2, 4)])
    assert convert("net.pt2", "onnx", "net.onnx").kept
    with pytest.raises(BadInput, match="which tflite fixes; give --data"):
        convert("net.pt2", "tflite", "net.tflite")
    assert convert("net.pt2", "onnx", "given.onnx", data="d.npz").kept


def test_data_with_channels_last_is_turned_and_it_is_said(home, converter):
    converter(shape=(None, 4, 1, 1), written=BadInput("as far as this"))
    items = np.random.default_rng(0).standard_normal((8, 1, 1, 4)).astype(np.float32)
    with pytest.raises(BadInput, match="as far as this"):
        convert("net.pt2", "onnx", "net.onnx", data=Arrays(items))
