"""Sources of a conversion as data: what a hostile .pt2 or .keras file may hold, and that none of it gets through."""

import json
import sys
import zipfile

import pytest

from edgelab.errors import BadFile
from edgelab.models.keras_file import check_keras, is_keras
from edgelab.models.pt2 import clean_copy, is_pt2

SPEC = json.dumps([1, {"type": "builtins.tuple", "context": "null", "children_spec": []}])
WEIGHTS = {"config": {"l.weight": {"path_name": "weight_0", "is_param": True, "use_pickle": False, "tensor_meta": {}}}}


def program(target="torch.ops.aten.linear.default", **changed):
    node = {"name": "linear", "target": target, "inputs": [], "outputs": [], "metadata": {"stack_trace": 'File "x"'}}
    size = {"as_expr": {"expr_str": "2*Symbol('s31', positive=True, integer=True)", "hint": None}}
    graph = {"nodes": [node], "inputs": [{"as_tensor": {"name": "x"}}], "tensor_values": {"x": {"sizes": [size]}}}
    calls = [{"fqn": "", "signature": {"in_spec": SPEC, "out_spec": SPEC, "forward_arg_names": ["x"]}}]
    made = {"graph_module": {"graph": graph, "module_call_graph": calls}, "range_constraints": {"s31": {}}}
    return {**made, "guards_code": ["__import__('os').abort()"], **changed}


def write(path, parts=None, *, model=None, **more):
    kept = {
        "archive_format": "pt2",
        "archive_version": "0",
        "byteorder": "little",
        "models/model.json": json.dumps(model or program()),
        "data/weights/model_weights_config.json": json.dumps(WEIGHTS),
        "data/weights/weight_0": b"\0" * 16,
        "data/constants/model_constants_config.json": '{"config": {}}',
        ".data/version": "3",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**kept, **(parts or {}), **more}.items():
            archive.writestr(f"net/{name}", content)
    return path


def with_node(**changed):
    made = program()
    made["graph_module"]["graph"]["nodes"][0].update(changed)
    return made


def with_size(text):
    made = program()
    made["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0]["as_expr"]["expr_str"] = text
    return made


def with_spec(text):
    made = program()
    made["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = text
    return made


def test_a_sound_program_is_copied_without_its_guards(tmp_path):
    source = write(tmp_path / "net.pt2", {"extra/notes.txt": "mine"})
    assert is_pt2(source)
    with zipfile.ZipFile(clean_copy(source, tmp_path / "clean.pt2")) as clean:
        names = clean.namelist()
        kept = json.loads(clean.read("model/models/model.json"))
        assert clean.read("model/data/weights/weight_0") == b"\0" * 16
    assert "model/extra/notes.txt" not in names
    assert kept == program(guards_code=[])


def pickled(name="weight_0", use_pickle=True):
    return json.dumps({"config": {"l.weight": {"path_name": name, "use_pickle": use_pickle}}})


HOSTILE = {
    "a pickled weight": ({"data/weights/model_weights_config.json": pickled()}, None, "as a pickle"),
    "a pickled constant": ({"data/constants/model_constants_config.json": pickled("tensor_0")}, None, "as a pickle"),
    "a custom object": (
        {"data/constants/model_constants_config.json": pickled("custom_obj_0", use_pickle=False)},
        None,
        "as a pickle",
    ),
    "a path out of the archive": (
        {"data/weights/model_weights_config.json": pickled("../../x", use_pickle=False)},
        None,
        "as a pickle",
    ),
    "compiled code": ({"data/aotinductor/model/x.so": b"\x7fELF"}, None, "compiled code"),
    "an unknown part": ({"startup.py": "1"}, None, "'startup.py'"),
    "another version": ({"archive_format": "zip"}, None, "no exported program"),
    "a function that loads a library": (None, program("torch.ops.load_library"), "'torch.ops.load_library'"),
    "a function of PyTorch": (None, program("torch.hub.load"), "'torch.hub.load'"),
    "an operator of its own": (None, program("torch.ops.mine.run.default"), "'torch.ops.mine.run.default'"),
    "a file that is read": (None, program("torch.ops.aten.from_file.default"), "from_file"),
    "a method of Python": (None, program("_operator.methodcaller"), "'_operator.methodcaller'"),
    "an extension": (None, program("#mine:run"), "'#mine:run'"),
    "a name that is code": (None, with_node(name="x):\n import os"), "no name"),
    "a size that is code": (None, with_size("__import__('os').system('id')"), "no arithmetic"),
    "a size by an attribute": (None, with_size("Symbol('s').func"), "no arithmetic"),
    "a size by a call of a call": (None, with_size("Symbol('s')(1)"), "no arithmetic"),
    "a size by another function": (None, with_size("lambdify(s, s)"), "no arithmetic"),
    "a size with code in text": (None, with_size("Max('a.b(c)')"), "no arithmetic"),
    "a deep size": (None, with_size("-" * 3000 + "s"), "no arithmetic"),
    "a class of an argument": (
        None,
        with_spec(json.dumps([1, {"type": "os.system", "context": None, "children_spec": []}])),
        "os.system",
    ),
    "an enumeration": (
        None,
        with_spec(
            json.dumps([1, {"type": "builtins.dict", "context": '{"__enum__": true, "fqn": "antigravity:x"}'}]),
        ),
        "enumeration",
    ),
    "no program": ({"models/model.json": "["}, None, "truncated or damaged"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_could_run_code_is_refused_by_name(tmp_path, what):
    parts, model, says = HOSTILE[what]
    source = write(tmp_path / "net.pt2", parts, model=model)
    with pytest.raises(BadFile, match=r"net\.pt2") as refused:
        clean_copy(source, tmp_path / "clean.pt2")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_deep_size_is_refused_whatever_depth_python_allows(tmp_path):
    before = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(20_000)
        test_what_could_run_code_is_refused_by_name(tmp_path, "a deep size")
    finally:
        sys.setrecursionlimit(before)
    clean_copy(write(tmp_path / "layers.pt2", model=with_size("(" * 60 + "s" + "-1)//2" * 60)), tmp_path / "kept.pt2")


def test_a_program_that_is_cut_short_or_doubled_is_a_sentence(tmp_path):
    whole = write(tmp_path / "net.pt2").read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.pt2").write_bytes(whole[:size])
        with pytest.raises(BadFile, match="truncated or damaged"):
            clean_copy(tmp_path / "cut.pt2", tmp_path / "clean.pt2")
    with zipfile.ZipFile(tmp_path / "net.pt2", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("net/models/model.json", "{}")
    with pytest.raises(BadFile, match="two parts of one name"):
        clean_copy(tmp_path / "net.pt2", tmp_path / "clean.pt2")


def keras_layer(**changed):
    return {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"name": "head", "units": 3},
        "registered_name": None,
        **changed,
    }


def write_keras(path, *layers):
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "net", "layers": list(layers)},
        "registered_name": None,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"\0" * 64)
    return path


def test_a_network_of_kerass_own_layers_is_sound(tmp_path):
    path = write_keras(tmp_path / "net.keras", keras_layer())
    assert is_keras(path)
    assert not is_pt2(path)
    assert check_keras(path) == path


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (keras_layer(class_name="Lambda", config={"name": "odd"}), "the layer 'odd' of kind Lambda"),
        (keras_layer(config={"name": "a", "activation": {"class_name": "__lambda__", "config": {}}}), "__lambda__"),
        (keras_layer(class_name="TorchModuleWrapper"), "TorchModuleWrapper"),
        (keras_layer(class_name="TFSMLayer"), "TFSMLayer"),
        (keras_layer(module="os", class_name="system"), "not Keras' own"),
        (keras_layer(module=None, class_name="Mine", registered_name="my>Mine"), "not Keras' own"),
        (keras_layer(module="keras.utils", class_name="function", config="get_file"), "'get_file' of keras.utils"),
        (keras_layer(config={"layer": keras_layer(class_name="Lambda", config={"name": "deep"})}), "'deep'"),
    ],
)
def test_a_layer_that_brings_code_is_refused_by_name(tmp_path, layer, says):
    path = write_keras(tmp_path / "net.keras", keras_layer(), layer)
    with pytest.raises(BadFile, match=r"net\.keras") as refused:
        check_keras(path)
    assert says in str(refused.value)


def test_a_damaged_keras_file_is_a_sentence(tmp_path):
    whole = write_keras(tmp_path / "net.keras", keras_layer()).read_bytes()
    (tmp_path / "net.keras").write_bytes(whole.replace(b"Dense", b"Danse"))
    with pytest.raises(BadFile, match="damaged"):
        check_keras(tmp_path / "net.keras")
