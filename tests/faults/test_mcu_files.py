"""Damaged .tflite files: the model's reader refuses them or gives a model that can be planned; never anything else."""

import contextlib
import random
import time

import numpy as np
import pytest

from edgelab.engines.tflm import TFLMEngine
from edgelab.errors import BadFile, BadInput, EngineCrash
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.layout import TARGETS
from edgelab.mcu.model import read_model
from tests.mcu_networks import NETWORKS

SECONDS = 5.0
INTERESTING = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00\x00\x00\x00", b"\x01\x00\x00\x00")
SEEDS = ("dense_plain", "lstm_plain", "svdf_rank_2", "strided_slice_masks", "offline_plan", "squeeze_and_excite")


def outcome(path, content):
    """``"BadFile"`` or ``"model"``; a model is also shown and planned, as whoever reads it would."""
    path.write_bytes(content)
    start = time.perf_counter()
    try:
        model = read_model(path)
    except BadFile as error:
        said = str(error)
        assert str(path) in said
        assert "\n" not in said
        assert len(said) < 700
        return "BadFile"
    finally:
        assert time.perf_counter() - start < SECONDS
    assert str(model)
    for tensor in model.tensors:
        if tensor.data is not None:
            with contextlib.suppress(BadInput):  # a type that numpy does not know
                assert tensor.array().shape == tensor.shape
    for target in TARGETS:
        arena = plan_arena(model, target)
        assert arena.min_workable >= arena.total
    return "model"


def damaged(content, draw):
    content = bytearray(content)
    place = draw.randrange(len(content))
    kind = draw.randrange(4)
    if kind == 0:
        for _ in range(draw.randrange(1, 10)):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind == 1:
        content[place : place + 4] = draw.choice(INTERESTING)
    elif kind == 2:
        size, source = draw.randrange(1, 64), draw.randrange(len(content))
        content[place : place + size] = content[source : source + size]
    else:
        del content[place : place + draw.randrange(1, 64)]
    return bytes(content)


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_models_are_refused_or_read(tmp_path, name):
    draw = random.Random(name)
    content = NETWORKS[name]()
    path = tmp_path / "damaged.tflite"
    assert outcome(path, content) == "model"
    outcomes = {outcome(path, damaged(content, draw)) for _ in range(250)}
    assert outcomes == {"BadFile", "model"}


def test_truncated_models_are_refused(tmp_path):
    content = NETWORKS["two_add"]()
    path = tmp_path / "truncated.tflite"
    found = [outcome(path, content[:size]) for size in range(1, len(content) - 16, 3)]
    assert set(found) == {"BadFile"}


def test_every_single_byte_may_be_any_other(tmp_path):
    content = bytearray(NETWORKS["unary_relu"]())
    path = tmp_path / "flipped.tflite"
    outcomes = set()
    for place in range(len(content)):
        kept = content[place]
        content[place] = kept ^ 0xFF
        outcomes.add(outcome(path, bytes(content)))
        content[place] = kept
    assert outcomes == {"BadFile", "model"}


def test_a_file_whose_parts_repeat_without_end_is_refused_at_once(tmp_path):
    """A vector of as many tables as fit, all the same one: its reader has a budget."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(NETWORKS["dense_plain"](), 0))
    builder = flatbuffers.Builder()
    big = builder.CreateByteVector(bytes(200_000))
    schema.BufferStart(builder)
    schema.BufferAddData(builder, big)
    one = schema.BufferEnd(builder)
    schema.ModelStartBuffersVector(builder, 10_000)
    for _ in range(10_000):
        builder.PrependUOffsetTRelative(one)
    buffers = builder.EndVector()
    graph = model.subgraphs[0].Pack(builder)
    schema.ModelStartSubgraphsVector(builder, 1)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    codes = [code.Pack(builder) for code in model.operatorCodes]
    schema.ModelStartOperatorCodesVector(builder, len(codes))
    for code in reversed(codes):
        builder.PrependUOffsetTRelative(code)
    listed = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddOperatorCodes(builder, listed)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = tmp_path / "repeated.tflite"
    path.write_bytes(bytes(builder.Output()))
    start = time.perf_counter()
    with pytest.raises(BadFile, match="without end"):
        read_model(path)
    assert time.perf_counter() - start < 2


def test_the_interpreter_refuses_or_runs_damaged_models(tmp_path):
    """Its native code may die of them: that is what its child process is for."""
    pytest.importorskip("tflite_micro")
    draw = random.Random(0)
    path = tmp_path / "damaged.tflite"
    content = NETWORKS["squeeze_and_excite"]()
    said = []
    for _ in range(6):
        path.write_bytes(damaged(content, draw))
        try:
            with TFLMEngine(path, timeout=20) as engine:
                engine.invoke_raw([np.zeros((1, *(n or 1 for n in i.shape)), i.dtype) for i in engine.inputs])
        except (BadFile, BadInput, EngineCrash) as error:
            said.append(str(error))
    assert all(str(path) in sentence and "\n" not in sentence for sentence in said)
