"""The arena against the interpreter: to the byte on the wheel, and on Cortex-M as it was measured for the oracle."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgelab.engines.child import Child
from edgelab.engines.tflm import TFLMEngine
from edgelab.engines.tflm_arena import arena_search
from edgelab.errors import BadInput
from edgelab.mcu.arena import plan_arena, planned_buffers
from edgelab.mcu.layout import KERNELS, TARGETS, build
from edgelab.mcu.model import read_model
from edgelab.mcu.plans import lower_bound
from tests.mcu_networks import NETWORKS
from tests.mcu_operators import OPERATORS

ORACLE = Path(__file__).parents[1] / "data" / "mcu_oracle"
FIGURES = json.loads((ORACLE / "oracle.json").read_text(encoding="utf-8"))
SEARCHED = (
    # One of each: what planning needs, what an operator's temporaries need, late buffers, scratch, many inputs, state.
    *("conv_1x1", "dense_relu_per_channel", "mean_global", "concat_of_negative_axis", "lstm_plain", "svdf_rank_2"),
    *(
        "unary_relu6",
        "offline_plan",
        "several_outputs",
        "mobilenet_v2",
        "one_gather_nd",
        "one_transpose_conv",
        "one_batch_matmul",
    ),
    *("streaming_keywords", "variable_read_after_it_was_stored"),
)
needs_tflm = pytest.mark.skipif(sys.platform != "linux", reason="tflite-micro has wheels for Linux on x86-64")

# A host of the worker that measures many models in one child: the interpreter's own figures by the name of the file.
MEASURE_HOST = """
from pathlib import Path
from edgelab.engines import tflm

class Host:
    def __init__(self, path):
        self.folder = Path(path)

    def describe(self):
        return {}

    def measure(self):
        found = {}
        for file in sorted(self.folder.glob("*.tflite")):
            options = {"threads": 1, "arena_bytes": None, "layout": "auto", "batch": None, "output": None}
            answer, _ = tflm.Host(str(file), **options).allocations()
            found[file.stem] = [answer["head"], answer["tail"], answer["total"]]
        return {"found": found}, []
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    for name, content in {**NETWORKS, **{f"one_{name}": content for name, content in OPERATORS.items()}}.items():
        (folder / f"{name}.tflite").write_bytes(content())
    return folder


@pytest.fixture(scope="module")
def measured(networks, tmp_path_factory):
    modules = tmp_path_factory.mktemp("modules")
    (modules / "measure_host.py").write_text(MEASURE_HOST, encoding="utf-8")
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(modules))
    child = Child("measure_host", "TFLM", networks, timeout=120)
    try:
        child.call("open", "opening", path=str(networks))
        answer, _ = child.call("measure", "measuring")
    finally:
        child.close()
        patch.undo()
    return answer["found"]


@pytest.mark.parametrize("name", FIGURES)
def test_cortex_m_as_measured(name):
    model = read_model(ORACLE / f"{name}.tflite")
    for target, key in (("cortex-m-reference", "cortex_m4_reference"), ("cortex-m-cmsis-nn", "cortex_m4_cmsis_nn")):
        arena, expected = plan_arena(model, target), FIGURES[name][key]
        assert (arena.head, arena.total) == (expected["head"], expected["used"])
        if expected["min_workable"] is not None:
            assert arena.min_workable == expected["min_workable"]
        assert arena.unknown == ()


@pytest.mark.parametrize("name", FIGURES)
def test_the_wheel_as_measured(name):
    arena, expected = plan_arena(read_model(ORACLE / f"{name}.tflite"), "x86_64-wheel"), FIGURES[name]["host_x86_64"]
    assert (arena.head, arena.tail, arena.total) == (expected["head"], expected["tail"], expected["total"])


@needs_tflm
def test_every_network_as_the_interpreter_states_it(networks, measured):
    assert len(measured) >= 180
    wrong = {}
    for name, figures in measured.items():
        arena = plan_arena(read_model(networks / f"{name}.tflite"), "x86_64-wheel")
        if [arena.head, arena.tail, arena.total] != figures or arena.unknown:
            wrong[name] = (arena.head, arena.tail, arena.total, arena.unknown, figures)
    assert wrong == {}


@needs_tflm
@pytest.mark.parametrize("name", SEARCHED)
def test_the_smallest_arena_that_works(networks, name):
    path = networks / f"{name}.tflite"
    assert plan_arena(read_model(path), "x86_64-wheel").min_workable == arena_search(path).min_workable


@needs_tflm
@pytest.mark.parametrize("name", ["sine_mlp", "tabular_mlp", "autoencoder", "odd_shapes"])
def test_the_smallest_arena_of_oracle_models(name):
    path = ORACLE / f"{name}.tflite"
    assert plan_arena(read_model(path), "x86_64-wheel").min_workable == arena_search(path).min_workable


@needs_tflm
def test_the_modelled_minimum_gives_the_same_answers_and_less_does_not_load(networks):
    path = networks / "keyword_dscnn.tflite"
    arena = plan_arena(read_model(path), "x86_64-wheel")
    with TFLMEngine(path) as ample, TFLMEngine(path, arena_bytes=arena.min_workable) as tight:
        rows = [np.random.default_rng(0).integers(-128, 128, (5, *ample.inputs[0].shape[1:]), np.int8)]
        assert np.array_equal(ample.invoke_raw(rows)[0], tight.invoke_raw(rows)[0])
    with pytest.raises(Exception, match="TFLM"):
        TFLMEngine(path, arena_bytes=arena.min_workable - 16)


@pytest.mark.parametrize("target", TARGETS)
def test_the_tail_is_the_sum_of_its_items(target):
    model = read_model(ORACLE / "resnet8_24.tflite")
    arena = plan_arena(model, target)
    assert sum(i.size_bytes + i.padding_bytes for i in arena.items) == arena.tail == sum(arena.kinds().values())
    per_channel = [i for i in arena.items if i.kind.startswith("per-channel") and i.operator == 0]
    channels = model.tensors[model.operators[0].outputs[0]].shape[-1]
    assert [i.size_bytes for i in per_channel] == [4 * channels, 4 * channels]
    assert arena.total == arena.head + arena.tail
    assert arena.plan.size_bytes == arena.head
    assert arena.to_dict() == {
        "target": target,
        "how": "modelled",
        "head": arena.head,
        "tail": arena.tail,
        "total": arena.total,
        "min_workable": arena.min_workable,
    }
    assert f"{arena.total:,}" in str(arena)


def test_what_sets_the_minimum_is_named():
    small = plan_arena(read_model(ORACLE / "sine_mlp.tflite"), "cortex-m-reference")
    assert small.min_workable > small.total + 16
    assert small.limited_by == "planning"
    large = plan_arena(read_model(ORACLE / "mobilenet_64_rgb.tflite"), "cortex-m-reference")
    assert large.limited_by == "the plan"


def test_cmsis_nn_asks_for_scratch_that_the_reference_kernels_do_not():
    model = read_model(ORACLE / "odd_shapes.tflite")
    reference, cmsis = plan_arena(model, "cortex-m-reference"), plan_arena(model, "cortex-m-cmsis-nn")
    assert not any(b.name.startswith("scratch") for b in reference.plan.buffers)
    assert any(b.name.startswith("scratch 0 of 0 CONV_2D") for b in cmsis.plan.buffers)


def test_the_best_plan_is_smaller_on_a_mobilenet_and_shares_memory_in_place(networks):
    model = read_model(ORACLE / "mobilenet_64_rgb.tflite")
    greedy, best = (plan_arena(model, "cortex-m-cmsis-nn", heuristic=h) for h in ("greedy", "best"))
    assert best.head == best.plan.lower_bound == 24576
    assert greedy.head == 32768
    assert (greedy.tail, greedy.target) == (best.tail, best.target)
    gate = plan_arena(read_model(ORACLE / "squeeze_excite.tflite"), "cortex-m-cmsis-nn", heuristic="best")
    assert any(b.shares_with for b in gate.plan.buffers)


def test_lifetimes_begin_where_a_tensor_is_made_and_end_where_it_is_last_read():
    model = read_model(ORACLE / "resnet8_24.tflite")
    buffers = {int(b.name.split()[0]): b for b in planned_buffers(model)}
    add = next(o for o in model.operators if o.code == "ADD")
    assert buffers[model.inputs[0]].first == 0
    assert buffers[model.outputs[0]].last == len(model.operators)
    assert max(buffers[i].last for i in add.inputs) == add.index + 1
    assert buffers[add.outputs[0]].first == add.index + 1
    assert lower_bound(planned_buffers(model)) <= plan_arena(model, "cortex-m-reference").head


def test_variables_stay_in_the_tail_and_their_list_stands_before_the_graph(networks):
    for target, listed in (("cortex-m-reference", 12 + 4 * 20), ("x86_64-wheel", 16 + 4 * 40)):
        arena = plan_arena(read_model(networks / "streaming_keywords.tflite"), target)
        sizes = [i.size_bytes for i in arena.items if i.kind == "list of variables"]
        assert sum(sizes) == listed
        kept = {i.operator: i.size_bytes for i in arena.items if i.kind.startswith("per-channel") and i.size_bytes < 96}
        assert {2 * 20, 4 * 12, 4 * 12}.issubset(set(kept.values()))
        assert arena.unknown == ()


def test_an_operator_without_an_entry_is_named():
    model = read_model(ORACLE / "single_dense.tflite")
    strange = replace(model, operators=tuple(replace(o, code="RFFT2D") for o in model.operators))
    assert plan_arena(strange, "cortex-m-reference").unknown == ("RFFT2D",)


def test_what_was_not_measured_on_a_core_says_so(networks):
    model = read_model(networks / "lstm_plain.tflite")
    core, host = plan_arena(model, "cortex-m-cmsis-nn"), plan_arena(model, "x86_64-wheel")
    assert core.deduced == ("UNIDIRECTIONAL_SEQUENCE_LSTM",)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM are deduced" in str(core)
    assert host.deduced == ()
    oracle = {c.stem: plan_arena(read_model(c), "cortex-m-cmsis-nn").deduced for c in ORACLE.glob("*.tflite")}
    assert set(oracle.values()) == {()}


def test_another_target_is_refused():
    with pytest.raises(BadInput, match="x86_64-wheel, cortex-m-reference, cortex-m-cmsis-nn"):
        plan_arena(read_model(ORACLE / "single_dense.tflite"), "cortex-m9")


def test_struct_sizes_follow_from_their_fields():
    host, core = build("x86_64-wheel"), build("cortex-m-reference")
    published = {  # bytes on x86-64 without compression, and on a Cortex-M4
        "CONV_2D": (72, 56),
        "DEPTHWISE_CONV_2D": (72, 56),
        "FULLY_CONNECTED": (64, 48),
        "SOFTMAX": (80, 56),
        "AVERAGE_POOL_2D": (32, 32),
        "ADD": (60, 60),
        "SUB": (52, 52),
        "MEAN": (44, 44),
        "PAD": (56, 56),
    }
    assert {
        code: (host.struct(KERNELS[code].data).size, core.struct(KERNELS[code].data).size) for code in published
    } == (published)
    assert [core.struct(KERNELS[code].params).size for code in ("CONV_2D", "FULLY_CONNECTED", "ADD")] == [28, 5, 2]
    assert [core.struct(KERNELS[c].cmsis).size for c in ("CONV_2D", "FULLY_CONNECTED", "SOFTMAX", "MAX_POOL_2D")] == (
        [60, 72, 64, 36]
    )
