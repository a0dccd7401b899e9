"""Damaged model files, by the hundred: a reader reports or refuses, an engine opens or refuses; nothing else.

The readers and the runtimes' hosts run in children, as they do for a user; one child takes many files, and one that
dies is replaced and counted. What hypothesis finds is put into this file as an example.
"""

import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgelab.engines import open_engine
from edgelab.engines.child import Child
from edgelab.errors import BadFile, BadInput, EngineCrash
from edgelab.measure.inspect import inspect_model

MODELS = Path(__file__).parents[1] / "data" / "mcu_oracle"
SECONDS = 10.0
MEMORY = 2 * 2**30

# A host of the worker that hands files to the code under test and says what came of it.
FUZZ_HOST = """
import importlib, json, time
from pathlib import Path
import numpy as np
from edgelab.models.formats import model_format
from edgelab.engines.hosted import peak_memory_bytes
from edgelab.errors import BadFile, BadInput

class Host:
    def __init__(self, path):
        self.file = Path(path)

    def describe(self):
        return {}

    def read(self, content):
        return self._outcome(content, self._read)

    def run(self, content):
        return self._outcome(content, self._run)

    def _outcome(self, content, work):
        self.file.write_bytes(content.tobytes())
        start = time.perf_counter()
        try:
            said, outcome = work(model_format(self.file)), "done"
        except BadFile as error:
            said, outcome = str(error), "BadFile"
        except BadInput as error:
            said, outcome = str(error), "BadInput"
        took = time.perf_counter() - start
        return {"outcome": outcome, "said": said, "seconds": took, "peak": peak_memory_bytes()}, []

    def _read(self, kind):
        facts = importlib.import_module(f"edgelab.models.{kind}_file").read(str(self.file))
        json.dumps(facts, allow_nan=False)
        return f"{len(facts['layers'])} operators"

    def _run(self, kind):
        module = importlib.import_module(f"edgelab.engines.{'onnxruntime' if kind == 'onnx' else 'litert'}")
        option = {"graph_optimization": True} if kind == "onnx" else {"xnnpack": True}
        host = module.Host(str(self.file), threads=1, batch=None, layout="auto", output=None, **option)
        json.dumps(host.describe())
        sizes = [n or 1 for n in host.inputs[0].shape] if host.inputs else [1, 1]
        if np.prod(sizes, dtype=float) > 1e7:
            return "too large to feed"
        if kind == "tflite" and len(sizes) > 2:
            sizes = [sizes[0], sizes[-1], *sizes[1:-1]]
        host.predict(np.ones(sizes, np.float32))
        return "ran"
"""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Sound files to damage: two TensorFlow Lite ones, a quantized and a branching ONNX one."""
    folder = tmp_path_factory.mktemp("seeds")
    return {
        "dense.tflite": (MODELS / "tabular_mlp.tflite").read_bytes(),
        "conv.tflite": (MODELS / "squeeze_excite.tflite").read_bytes(),
        "qdq.onnx": _qdq(folder / "qdq.onnx"),
        "branch.onnx": _branch(folder / "branch.onnx"),
    }


def _save(path, nodes, weights, shape, answer):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, answer)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path.read_bytes()


def _qdq(path):
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        node("DequantizeLinear", ["xq", "s", "z"], ["xf"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
        node("Conv", ["xf", "wf"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Reshape", ["r", "flat"], ["f"]),
        node("Gemm", ["f", "g", "b"], ["y"], transB=1),
    ]
    rng = np.random.default_rng(0)
    weights = {
        "s": np.float32(0.1),
        "z": np.uint8(128),
        "w": rng.integers(-127, 127, (4, 2, 3, 3)).astype(np.int8),
        "ws": np.full(4, 0.01, np.float32),
        "wz": np.zeros(4, np.int8),
        "flat": np.array([-1, 4 * 36], np.int64),
        "g": rng.normal(size=(3, 4 * 36)).astype(np.float32),
        "b": np.zeros(3, np.float32),
    }
    return _save(path, nodes, weights, (2, 6, 6), ["N", 3])


def _branch(path):
    def branch(name):
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        weight = numpy_helper.from_array(np.ones((4, 4), np.float32), f"{name}_w")
        return helper.make_graph(
            [helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_y"])], name, [], [out], [weight]
        )

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero"], ["yes"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
    ]
    return _save(path, nodes, {"zero": np.float32(0)}, (4,), ["N", 4])


class Children:
    """A child with the fuzz host that is replaced when it dies."""

    def __init__(self, folder):
        self.folder = folder
        self.deaths = []
        self.child = None

    def outcome(self, how, content):
        if self.child is None:
            self.child = Child("fuzz_host", "The fuzzed code", self.folder / "m", timeout=SECONDS, memory_bytes=MEMORY)
            self.child.call("open", "opening", path=str(self.folder / "damaged"))
        try:
            answer, _ = self.child.call(how, "reading", [np.frombuffer(content, np.uint8)])
        except EngineCrash as error:
            if self.child.alive:  # an exception that nobody foresaw
                raise
            self.child.close()
            self.child = None
            self.deaths.append(str(error))
            return {"outcome": "death", "said": str(error), "seconds": 0.0, "peak": 0}
        return answer


@pytest.fixture
def children(tmp_path, monkeypatch):
    (tmp_path / "fuzz_host.py").write_text(FUZZ_HOST)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Children(tmp_path)
    yield made
    if made.child is not None:
        made.child.close()


INTERESTING = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00\x00\x00\x00", b"\x01\x00\x00\x00")


def damage(content, draw):
    """One of five kinds of damage: a cut, flipped bits, a striking number, a copied or a lost piece."""
    content = bytearray(content)
    place = draw.randrange(len(content))
    kind = draw.randrange(5)
    if kind == 0:
        del content[place:]
    elif kind == 1:
        for _ in range(draw.randrange(1, 10)):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind == 2:
        content[place : place + 4] = draw.choice(INTERESTING)
    elif kind == 3:
        size, source = draw.randrange(1, 64), draw.randrange(len(content))
        content[place : place + size] = content[source : source + size]
    else:
        del content[place : place + draw.randrange(1, 64)]
    return bytes(content)


def sound(answer, path="damaged"):
    assert "\n" not in answer["said"]
    assert answer["seconds"] < SECONDS
    assert answer["peak"] < 1e9
    if answer["outcome"] == "BadFile":
        assert path in answer["said"]
        assert len(answer["said"]) < 700


posix = pytest.mark.skipif(sys.platform == "win32", reason="the host counts its memory with a POSIX call")


@posix
@pytest.mark.parametrize("name", ["dense.tflite", "conv.tflite", "qdq.onnx", "branch.onnx"])
def test_readers_report_or_refuse(children, seeds, name):
    draw = random.Random(name)
    outcomes = set()
    assert children.outcome("read", seeds[name])["outcome"] == "done"
    for _ in range(1000):
        answer = children.outcome("read", damage(seeds[name], draw))
        sound(answer)
        outcomes.add(answer["outcome"])
    assert outcomes == {"done", "BadFile"}
    assert children.deaths == []


@posix
@pytest.mark.parametrize("name", ["dense.tflite", "conv.tflite", "qdq.onnx", "branch.onnx"])
def test_engines_open_or_refuse(children, seeds, name):
    draw = random.Random(name + "!")
    outcomes = set()
    assert children.outcome("run", seeds[name])["said"] == "ran"
    for _ in range(300):
        answer = children.outcome("run", damage(seeds[name], draw))
        sound(answer)
        outcomes.add(answer["outcome"])
    assert {"done", "BadFile"} <= outcomes <= {"done", "BadFile", "BadInput", "death"}
    assert len(children.deaths) <= 3  # a runtime may die or hang; that is what the child is for


@st.composite
def edits(draw):
    """A few bytes set anywhere in the first kilobytes, where the structure is, or at the end, where roots are."""
    pairs = st.tuples(st.integers(0, 3000), st.integers(0, 255))
    return draw(st.lists(pairs, min_size=1, max_size=6)), draw(st.booleans()), draw(st.integers(0, 200))


@posix
@pytest.mark.parametrize("name", ["dense.tflite", "qdq.onnx"])
def test_readers_hold_against_hypothesis(children, seeds, name):
    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(edits())
    def hold(edit):
        places, from_end, lost = edit
        content = bytearray(seeds[name])
        for place, value in places:
            at = place % len(content)
            content[len(content) - 1 - at if from_end else at] = value
        answer = children.outcome("read", bytes(content[: len(content) - lost]))
        sound(answer)
        assert answer["outcome"] in ("done", "BadFile")

    hold()
    assert children.deaths == []


@pytest.mark.parametrize("name", ["conv.tflite", "qdq.onnx"])
def test_the_doors_of_the_package_let_nothing_else_through(tmp_path, seeds, name):
    """A few damaged files by the public way, each in children of its own."""
    draw = random.Random(name)
    path = tmp_path / name
    for _ in range(6):
        path.write_bytes(damage(seeds[name], draw))
        start = time.monotonic()
        for use in (_inspect, _open):
            said = _refusal(use, path)
            assert said is None or (str(path) in said and "\n" not in said)
        assert time.monotonic() - start < 60


def _inspect(path):
    json.dumps(inspect_model(path).to_dict(), allow_nan=False)


def _open(path):
    with open_engine(path, timeout=SECONDS) as engine:
        engine.predict(np.ones((1, 2, 6, 6), np.float32))


def _refusal(use, path):
    try:
        use(path)
    except (BadFile, BadInput, EngineCrash) as error:
        return str(error)
    return None
