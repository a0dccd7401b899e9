"""TensorFlow Lite Micro as an engine: raw integers in and out, its arena's figures, and its refusals in a sentence."""

import sys
from pathlib import Path

import numpy as np
import pytest

from edgelab.engines import Engine
from edgelab.engines.tflm import ARENA_ALIGNMENT, TFLMEngine
from edgelab.engines.tflm_arena import ArenaTrials, arena_search
from edgelab.errors import BadFile, BadInput, EngineCrash, MissingFramework
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.model import read_model
from edgelab.models.tflite_writer import TfliteWriter
from tests.mcu_networks import NETWORKS

ORACLE = Path(__file__).parents[1] / "data" / "mcu_oracle"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tflite-micro has wheels for Linux on x86-64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tflm")


def network(folder, name):
    path = folder / f"{name}.tflite"
    path.write_bytes(NETWORKS[name]())
    return path


@pytest.fixture(scope="module")
def images():
    with TFLMEngine(ORACLE / "dscnn_28_gray.tflite") as engine:
        yield engine


def rows(engine, count=4, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(-128, 128, (count, *info.shape[1:]), np.int8) for info in engine.inputs]


def test_it_is_an_engine(images):
    assert isinstance(images, Engine)
    assert images.name.startswith("TFLM 0.")
    assert images.inputs[0].shape == (1, 28, 28, 1)
    assert images.inputs[0].dtype == "int8"
    assert images.inputs[0].scale > 0
    assert images.outputs[0].shape == (1, 10)


def test_predictions_are_the_dequantized_answers_to_quantized_inputs(images):
    x = np.random.default_rng(1).normal(size=(5, 1, 28, 28)).astype(np.float32)
    info, out = images.inputs[0], images.outputs[0]
    q = np.clip(np.rint(x / np.float32(info.scale)) + info.zero_point, -128, 127).astype(np.int8)
    raw = images.invoke_raw([np.moveaxis(q, 1, -1)])[0]
    expected = (raw.astype(np.float32) - out.zero_point) * np.float32(out.scale)
    assert np.array_equal(images.predict(x), expected)
    assert len(np.unique(raw)) > 5


def test_many_rows_in_one_call_are_the_single_ones(images):
    inputs = rows(images)
    together = images.invoke_raw(inputs)[0]
    assert together.shape == (4, 10)
    assert together.dtype == np.int8
    alone = [images.invoke_raw([inputs[0][i : i + 1]])[0][0] for i in range(4)]
    assert np.array_equal(together, alone)


def test_rows_may_be_flat(images):
    inputs = rows(images)
    assert np.array_equal(images.invoke_raw([inputs[0].reshape(4, -1)])[0], images.invoke_raw(inputs)[0])


def test_several_inputs_and_several_outputs(folder):
    with TFLMEngine(network(folder, "several_inputs")) as engine:
        inputs = rows(engine)
        assert len(inputs) > 1
        first = engine.invoke_raw(inputs)
        assert not np.array_equal(first[0], engine.invoke_raw([inputs[0], *rows(engine, seed=1)[1:]])[0])
    with TFLMEngine(network(folder, "several_outputs")) as engine:
        found = engine.invoke_raw(rows(engine))
        assert len(found) == len(engine.outputs) > 1
        assert all(y.shape == (4, *info.shape[1:]) for y, info in zip(found, engine.outputs, strict=True))


def test_float_inputs_and_outputs(folder):
    with TFLMEngine(network(folder, "float_in_and_out")) as engine:
        x = np.random.default_rng(0).normal(size=(3, 6, 6, 2)).astype(np.float32)
        assert engine.invoke_raw([x])[0].dtype == np.float32


def test_a_network_that_remembers_is_reset_before_each_call_or_each_row(folder):
    with TFLMEngine(network(folder, "svdf_int16_state")) as engine:
        inputs = [np.repeat(rows(engine, 1)[0], 4, axis=0)]
        remembered, again = engine.invoke_raw(inputs)[0], engine.invoke_raw(inputs)[0]
        forgotten = engine.invoke_raw(inputs, reset_each=True)[0]
    assert np.array_equal(remembered, again)
    assert not np.array_equal(remembered[0], remembered[-1])
    assert np.array_equal(forgotten, np.repeat(remembered[:1], 4, axis=0))


def test_times_are_positive(images):
    seconds = images.time(np.zeros((1, 1, 28, 28), np.float32), runs=3, warmup=1).seconds
    assert seconds.shape == (3,)
    assert (seconds > 0).all()
    with pytest.raises(BadInput, match="no times of single operators"):
        images.profile(np.zeros((1, 1, 28, 28), np.float32), runs=1)


def test_allocations_are_those_of_the_oracle(images):
    found = images.allocations()
    assert (found.head, found.tail, found.total) == (4704, 3280, 7984)
    assert dict(found.parts)["TfLiteEvalTensor data"] == 24 * 21
    assert found.to_dict()["total"] == 7984


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: [x, x], "has 1 inputs, and 2 arrays"),
        (lambda x: [x.astype(np.uint8)], "takes int8 rows"),
        (lambda x: [x[:, :, :-1]], r"shape \(1, 28, 28, 1\)"),
        (lambda x: [x[:0]], "at least one"),
        (lambda _: [np.int8(1)], "at least one"),
    ],
)
def test_wrong_rows_are_refused(images, wrong, message):
    with pytest.raises(BadInput, match=message):
        images.invoke_raw(wrong(rows(images)[0]))


def test_inputs_of_different_numbers_of_rows_are_refused(folder):
    with TFLMEngine(network(folder, "two_add")) as engine:
        one, other = rows(engine)
        with pytest.raises(BadInput, match="same number of rows"):
            engine.invoke_raw([one, other[:2]])


def test_too_small_an_arena_is_refused_with_the_reason():
    with pytest.raises(BadFile, match="in an arena of 3200 bytes: Failed to allocate"):
        TFLMEngine(ORACLE / "dscnn_28_gray.tflite", arena_bytes=3200)


def test_an_arena_in_which_it_dies_costs_a_child_alone():
    with pytest.raises(EngineCrash, match="unharmed"):
        TFLMEngine(ORACLE / "dscnn_28_gray.tflite", arena_bytes=64)


def test_an_operator_that_it_does_not_have_is_named(folder):
    writer = TfliteWriter("strange")
    writer.output(writer.operator("UNIQUE", [writer.input("x", (1, 4), 0.5)], (1, 4), 0.5))
    path = writer.write(folder / "strange.tflite")
    with pytest.raises(BadFile, match=r"strange\.tflite: Didn't find op for builtin opcode 'UNIQUE'"):
        TFLMEngine(path)


@pytest.mark.parametrize("settings", [{"threads": 2}, {"arena_bytes": 0}, {"arena_bytes": 2**31}, {"timeout": 0}])
def test_settings_are_checked(settings):
    with pytest.raises(BadInput):
        TFLMEngine(ORACLE / "sine_mlp.tflite", **settings)


def test_without_the_package_the_platforms_are_named(tmp_path, monkeypatch):
    (tmp_path / "tflite_micro").mkdir()
    (tmp_path / "tflite_micro" / "__init__.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MissingFramework, match="wheels for Linux on x86-64"):
        TFLMEngine(ORACLE / "sine_mlp.tflite")


def test_the_search_ends_between_what_works_and_what_does_not():
    found = arena_search(ORACLE / "single_dense.tflite")
    outcomes = dict(found.attempts)
    assert outcomes[found.min_workable] == "works"
    assert outcomes.get(found.min_workable - ARENA_ALIGNMENT, "refused") != "works"
    assert all((size >= found.min_workable) == (said == "works") for size, said in outcomes.items())
    assert found.to_dict()["min_workable"] == found.min_workable
    assert "measured" in str(found)


def test_a_size_that_works_by_luck_is_not_the_smallest(tmp_path):
    writer = TfliteWriter("luck")
    x = writer.input("x", (3, 5, 7), 0.05)
    y = writer.constant(np.ones((3, 7, 6), np.int8), 0.05)
    writer.output(writer.operator("BATCH_MATMUL", [x, y], (3, 5, 6), 0.1))
    path = writer.write(tmp_path / "luck.tflite")
    found = arena_search(path)
    outcomes = dict(found.attempts)
    below = found.min_workable - 2 * ARENA_ALIGNMENT
    assert outcomes[below] == "works"  # on each side of it is a size that does not
    assert outcomes[below + ARENA_ALIGNMENT] != "works"
    assert found.min_workable == plan_arena(read_model(path), "x86_64-wheel").min_workable


def test_the_search_of_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(b"\x20\0\0\0TFL3" + bytes(40))
    with pytest.raises((BadFile, EngineCrash), match=r"x\.tflite"):
        arena_search(path)


def test_an_arena_of_no_size_is_refused_and_others_go_on():
    with ArenaTrials(ORACLE / "tabular_mlp.tflite") as trials:
        for size in (-16, 16.5, float("nan"), float("inf"), "4096", None, True):
            with pytest.raises(BadInput, match="cannot be tried"):
                trials(size)
        assert trials.attempts == []
        assert trials(float(trials.ample_bytes)) == "works"
