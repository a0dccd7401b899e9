"""`Engine.run`: arrays by name in and out of every runtime, and what it says about wrong ones."""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgelab.engines import Engine, open_engine
from edgelab.engines.tflm import TFLMEngine
from edgelab.engines.torch import TorchEngine
from edgelab.errors import BadFile, BadInput, EngineCrash

DATA = Path(__file__).parents[1] / "data"
CASES = DATA / "cases"
TWO = CASES / "ids_mask.tflite"
IMAGE = DATA / "mcu_oracle" / "dscnn_28_gray.tflite"
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(50, 8)).astype(np.float32)
WEIGHT = RNG.normal(size=(8, 3)).astype(np.float32)
IDS = RNG.integers(0, 50, (5, 6))
MASK = (RNG.random((5, 6)) > 0.4).astype(np.float32)
POOLED = (TABLE[IDS] * MASK[..., None]).mean(axis=1)
LOGITS = POOLED @ WEIGHT


def save(path, nodes, inputs, outputs, weights=()):
    tensors = [numpy_helper.from_array(value, name) for name, value in dict(weights).items()]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def two_inputs(path, batch):
    """Ids (int64) and a mask (float32) to logits, the class (int64) and the pooled embedding."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"]),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["embedded", "wide"], ["masked"]),
        helper.make_node("ReduceMean", ["masked"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["pooled", "weight"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["class"], axis=1, keepdims=0),
    ]
    return save(
        path,
        nodes,
        [("ids", TensorProto.INT64, [batch, 6]), ("mask", TensorProto.FLOAT, [batch, 6])],
        [
            ("logits", TensorProto.FLOAT, [batch, 3]),
            ("class", TensorProto.INT64, [batch]),
            ("pooled", TensorProto.FLOAT, [batch, 8]),
        ],
        {"table": TABLE, "weight": WEIGHT, "last": np.array([-1])},
    )


@pytest.fixture(scope="module", params=["N", 1, 2])
def two(request, tmp_path_factory):
    path = two_inputs(tmp_path_factory.mktemp("two") / "two.onnx", request.param)
    with open_engine(path) as engine:
        yield engine


def sentence(engine, inputs, *words):
    with pytest.raises(BadInput) as caught:
        engine.run(inputs)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    for word in words:
        assert word in said, said
    return said


def test_two_inputs_of_two_types_and_three_outputs(two):
    assert isinstance(two, Engine)
    assert two.input_names == ("ids", "mask")
    found = two.run({"mask": MASK, "ids": IDS})
    assert list(found) == ["logits", "class", "pooled"]
    np.testing.assert_allclose(found["logits"], LOGITS, atol=1e-5)
    np.testing.assert_allclose(found["pooled"], POOLED, atol=1e-5)
    assert found["class"].dtype == np.int64
    assert found["class"].tolist() == LOGITS.argmax(axis=1).tolist()


def test_what_does_not_fit_is_one_sentence(two):
    sentence(two, {"ids": IDS}, "'mask' is missing", "'ids', 'mask'")
    sentence(two, {"ids": IDS, "masks": MASK}, "no input 'masks'", "'ids', 'mask'")
    sentence(two, {"ids": IDS, "mask": MASK.astype(np.float64)}, "'mask'", "takes float32, not float64")
    sentence(two, {"ids": IDS.astype(np.int32), "mask": MASK}, "'ids'", "takes int64, not int32")
    sentence(two, {"ids": IDS.astype(np.float32), "mask": MASK}, "'ids'", "takes int64, not float32")
    sentence(two, {"ids": IDS, "mask": MASK[:, :5]}, "'mask'", "6)", "not (5, 5)")
    sentence(two, {"ids": IDS, "mask": MASK[0]}, "'mask'", "not (6,)")
    sentence(two, {"ids": IDS.tolist(), "mask": MASK}, "'ids' must be a numpy array, not list")
    sentence(two, [IDS, MASK], "a mapping of input names to arrays, not list")
    sentence(two, {"ids": IDS.astype(object), "mask": MASK}, "numbers or text, not object")
    np.testing.assert_allclose(two.run({"ids": IDS, "mask": MASK})["logits"], LOGITS, atol=1e-5)


def test_inputs_of_different_counts_are_one_sentence(tmp_path):
    with open_engine(two_inputs(tmp_path / "one.onnx", 1)) as engine:
        sentence(engine, {"ids": IDS, "mask": MASK[:3]}, "different numbers of items", "5 for 'ids'", "3 for 'mask'")
    with open_engine(two_inputs(tmp_path / "open.onnx", "N")) as engine:
        sentence(engine, {"ids": IDS, "mask": MASK[:3]}, "could not run")


def test_a_mask_may_be_minus_infinity(two):
    found = two.run({"ids": IDS, "mask": np.full_like(MASK, -np.inf)})
    assert not np.isfinite(found["logits"]).any()


def test_an_input_of_the_models_own_size_goes_into_every_call(tmp_path):
    nodes = [helper.make_node("Mul", ["x", "gain"], ["y"]), helper.make_node("ReduceSum", ["y"], ["total"], keepdims=0)]
    path = save(
        tmp_path / "gain.onnx",
        nodes,
        [("x", TensorProto.FLOAT, [2, 4]), ("gain", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT, [2, 4])],
    )
    x, gain = RNG.normal(size=(5, 4)).astype(np.float32), np.array([3], np.float32)
    with open_engine(path) as engine:
        np.testing.assert_allclose(engine.run({"x": x, "gain": gain})["y"], 3 * x, rtol=1e-6)
    path = save(
        tmp_path / "total.onnx",
        nodes,
        [("x", TensorProto.FLOAT, [2, 4]), ("gain", TensorProto.FLOAT, [1])],
        [("total", TensorProto.FLOAT, [])],
    )
    with open_engine(path) as engine:
        assert engine.run({"x": x[:2], "gain": gain})["total"] == pytest.approx(3 * x[:2].sum(), rel=1e-5)
        sentence(engine, {"x": x, "gain": gain}, "2 items at a time", "'total'")


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.BOOL, np.bool_),
        (TensorProto.UINT8, np.uint8),
        (TensorProto.INT16, np.int16),
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.DOUBLE, np.float64),
        (TensorProto.UINT64, np.uint64),
        (TensorProto.STRING, np.str_),
    ],
)
def test_every_element_type_goes_through(tmp_path, kind, dtype):
    path = save(
        tmp_path / "same.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", kind, ["N", 2])],
        [("y", kind, ["N", 2])],
    )
    x = np.array([["ä", "wörd"], ["", "b"]]) if dtype is np.str_ else np.array([[0, 1], [1, 0], [1, 1]], dtype)
    with open_engine(path) as engine:
        y = engine.run({"x": x})["y"]
        assert y.tolist() == x.tolist()
        assert y.dtype.kind == x.dtype.kind
        sentence(engine, {"x": x.astype("complex64") if dtype is not np.str_ else np.zeros((1, 2))}, "'x'")


def test_a_type_that_numpy_lacks_and_an_output_that_is_no_tensor():
    with open_engine(CASES / "bf16.onnx") as engine:
        (name,) = engine.input_names
        (y,) = engine.run({name: np.zeros((1, 8), np.float32)}).values()
        assert not y.any()
        sentence(engine, {name: np.zeros((1, 4), np.float32)}, "takes the shape (N, 8)")
    with open_engine(CASES / "seqout.onnx") as engine:
        feed = {i.name: np.zeros([n or 1 for n in i.shape], i.dtype) for i in engine.inputs}
        sentence(engine, feed, "no array of numbers or text but list")


def test_a_sequence_of_any_length():
    with open_engine(CASES / "ids_mask.onnx") as engine:
        whole = engine.run({"ids": IDS, "mask": MASK.astype(np.int64)})["logits"]
        one = engine.run({"ids": IDS[:1, :3], "mask": np.ones((1, 3), np.int64)})["logits"]
    assert whole.shape == (5, 2)
    assert one.shape == (1, 2)


@pytest.mark.parametrize("runtime", [open_engine, TFLMEngine])
def test_two_inputs_in_litert_and_tflm(runtime):
    if runtime is TFLMEngine:
        pytest.importorskip("tflite_micro")
    with runtime(TWO) as engine:
        feed = dict(zip(engine.input_names, (IDS.astype(np.int32), MASK), strict=True))
        found = engine.run(feed)
        assert sorted(y.shape for y in found.values()) == [(5, 3), (5, 8)]
        ids, mask = feed
        short = engine.run({"ids": feed[ids], "mask": feed[mask]})
        np.testing.assert_array_equal(next(iter(short.values())), next(iter(found.values())))
        alone = engine.run({ids: feed[ids][2:3], mask: feed[mask][2:3]})
        for name, rows in found.items():
            np.testing.assert_array_equal(alone[name], rows[2:3])
        sentence(engine, {ids: feed[ids]}, f"'{mask}' is missing")
        sentence(engine, {**feed, "other": MASK}, "no input 'other'")
        sentence(engine, {**feed, ids: IDS}, "takes int32, not int64")
        sentence(engine, {**feed, mask: MASK[:, :2]}, "not (5, 2)")


def test_litert_and_tflm_agree_on_two_inputs():
    pytest.importorskip("tflite_micro")
    answers = []
    for runtime in (open_engine, TFLMEngine):
        with runtime(TWO) as engine:
            feed = dict(zip(engine.input_names, (IDS.astype(np.int32), MASK), strict=True))
            answers.append(list(engine.run(feed).values()))
    for a, b in zip(*answers, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("runtime", [open_engine, TFLMEngine])
def test_an_integer_model_takes_floats_channels_first_or_its_own_integers(runtime):
    if runtime is TFLMEngine:
        pytest.importorskip("tflite_micro")
    x = RNG.normal(size=(3, 1, 28, 28)).astype(np.float32)
    with runtime(IMAGE) as engine:
        info = engine.inputs[0]
        (y,) = engine.run({info.name: x}).values()
        np.testing.assert_array_equal(y, engine.predict(x))
        q = np.clip(np.rint(x / np.float32(info.scale)) + info.zero_point, -128, 127).astype(np.int8)
        (raw,) = engine.run({info.name: q.transpose(0, 2, 3, 1)}).values()
        np.testing.assert_array_equal(raw, y)
        sentence(engine, {info.name: x.astype(np.uint8)}, "takes int8 (or float32, which the engine quantizes)")
        sentence(engine, {info.name: np.full_like(x, np.nan)}, "NaN or infinity")


def test_predict_after_run_of_another_size():
    with open_engine(CASES / "mcu" / "tflm867_dynamic_slice.tflite") as engine:
        shapes = {i.name: tuple(n or 1 for n in i.shape) for i in engine.inputs}
        assert len(engine.run({name: np.ones(shape, np.float32) for name, shape in shapes.items()})) == 1
    with open_engine(DATA / "mcu_oracle" / "tabular_mlp.tflite") as engine:
        x = RNG.normal(size=(7, *engine.inputs[0].shape[1:])).astype(np.float32)
        before = engine.predict(x)
        (y,) = engine.run({engine.input_names[0]: x}).values()
        np.testing.assert_array_equal(y, before)
        np.testing.assert_array_equal(engine.predict(x), before)


class Answer(NamedTuple):
    total: torch.Tensor
    most: torch.Tensor


class Two(torch.nn.Module):
    def forward(self, ids, mask, gain=None):
        total = (ids * mask).sum(1)
        return Answer(total if gain is None else total * gain, ids.argmax(1))


def test_a_module_by_the_names_of_forward():
    with TorchEngine(Two()) as engine:
        assert isinstance(engine, Engine)
        assert engine.input_names == ("ids", "mask")
        found = engine.run({"ids": IDS, "mask": MASK})
        np.testing.assert_allclose(found["total"], (IDS * MASK).sum(1), rtol=1e-5)
        assert found["most"].tolist() == IDS.argmax(1).tolist()
        twice = engine.run({"ids": IDS, "mask": MASK, "gain": np.float32(2).reshape(1)})
        np.testing.assert_allclose(twice["total"], 2 * found["total"], rtol=1e-5)
        sentence(engine, {"ids": IDS}, "'mask' is missing")
        sentence(engine, {"ids": IDS, "mask": MASK, "other": MASK}, "no input 'other'")
        sentence(engine, {"ids": IDS, "mask": MASK[:, :4]}, "module Two does not take", "mask: float32 (5, 4)")
    with TorchEngine(torch.nn.Linear(6, 2)) as engine:
        assert set(engine.run({engine.input_names[0]: MASK})) == {"output"}


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_child_that_dies_is_one_sentence(tmp_path):
    shutil.copy(TWO, tmp_path / "m.tflite")
    with open_engine(tmp_path / "m.tflite") as engine:
        os.kill(engine.raw.pid, signal.SIGKILL)
        with pytest.raises(EngineCrash) as caught:
            engine.run({"ids": IDS.astype(np.int32), "mask": MASK})
        assert "\n" not in str(caught.value)
        assert "SIGKILL" in str(caught.value)
    with pytest.raises(BadFile):
        open_engine(tmp_path / "absent.onnx")
