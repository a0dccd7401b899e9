"""Reading .tflite models: what the writer put in comes out, and what is asked wrongly is refused in a sentence."""

from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgelab.errors import BadFile, BadInput
from edgelab.mcu.cgen import generate
from edgelab.mcu.model import Quantization, read_model
from edgelab.models.tflite_writer import TfliteWriter
from tests.mcu_networks import NETWORKS
from tests.unit.test_mcu_cases import CASES

ORACLE = Path(__file__).parents[1] / "data" / "mcu_oracle"


def read(tmp_path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    return read_model(path)


@pytest.fixture(scope="module")
def mobilenet():
    return read_model(ORACLE / "mobilenet_avgpool.tflite")


def test_operators_and_their_options_are_named_as_in_the_schema(mobilenet):
    first = mobilenet.operators[0]
    assert (first.index, first.code, first.custom) == (0, "CONV_2D", False)
    assert first.options["stride_h"] == first.options["stride_w"] == 2
    assert first.options["padding"] == "SAME"
    assert first.options["fused_activation_function"] in ("RELU", "RELU6")
    assert first.options["dilation_h_factor"] == 1
    codes = [operator.code for operator in mobilenet.operators]
    pool = mobilenet.operators[codes.index("AVERAGE_POOL_2D")]
    assert {"filter_height", "filter_width", "stride_h", "padding"} <= set(pool.options)
    depthwise = mobilenet.operators[codes.index("DEPTHWISE_CONV_2D")]
    assert depthwise.options["depth_multiplier"] == 1
    assert mobilenet.operators[-1].options == {"beta": 1.0}


def test_tensors_carry_type_shape_quantization_and_constants(mobilenet):
    filters = mobilenet.tensors[mobilenet.operators[0].inputs[1]]
    weights = filters.array()
    assert filters.dtype == "int8"
    assert weights.shape == filters.shape
    assert weights.nbytes == filters.size_bytes
    assert not weights.flags.writeable
    assert filters.quantization.per_channel
    assert filters.quantization.axis == 0
    assert len(filters.quantization.scales) == filters.shape[0]
    assert all(np.float32(scale) == scale for scale in filters.quantization.scales)
    image = mobilenet.tensors[mobilenet.inputs[0]]
    assert image.data is None
    assert image.quantization.scale > 0
    assert -128 <= image.quantization.zero_point <= 127


def test_operands_refer_to_tensors_and_an_optional_one_is_minus_one(tmp_path):
    lstm = read(tmp_path, NETWORKS["lstm_plain"]())
    operator = lstm.operators[0]
    assert operator.code == "UNIDIRECTIONAL_SEQUENCE_LSTM"
    assert len(operator.inputs) == 24
    assert -1 in operator.inputs
    assert [lstm.tensors[i].variable for i in operator.inputs[18:20]] == [True, True]
    assert operator.options["time_major"] is False


def test_other_options(tmp_path):
    slices = read(tmp_path, NETWORKS["strided_slice_masks"]()).operators[0].options
    assert (slices["begin_mask"], slices["end_mask"]) == (5, 11)
    svdf = read(tmp_path, NETWORKS["svdf_rank_2"]()).operators[0].options
    assert (svdf["rank"], svdf["asymmetric_quantize_inputs"]) == (2, False)
    assert read(tmp_path, NETWORKS["split_rows"]()).operators[0].options == {"num_splits": 2}
    squeeze = read(tmp_path, NETWORKS["reshape_and_squeeze"]()).operators
    assert next(o.options for o in squeeze if o.code == "SQUEEZE") == {"squeeze_dims": (1,)}


def test_an_offline_plan_is_read(tmp_path):
    model = read(tmp_path, NETWORKS["offline_plan"]())
    assert len(model.offline_offsets) == len(model.tensors)
    assert max(model.offline_offsets) > 0
    assert "OfflineMemoryAllocation" in model.metadata
    assert read(tmp_path, NETWORKS["conv_1x1"]()).offline_offsets is None


def test_a_single_scale_is_not_asked_of_many():
    many = Quantization((0.5, 0.25), (0, 0), 0)
    with pytest.raises(BadInput, match="2 scales"):
        _ = many.scale
    with pytest.raises(BadInput, match="2 zero points"):
        _ = many.zero_point
    assert Quantization((0.5,), (), 0).zero_point == 0


def test_a_tensor_that_is_computed_has_no_array(mobilenet):
    with pytest.raises(BadInput, match="computed by the model"):
        mobilenet.tensors[mobilenet.inputs[0]].array()


def test_a_model_shows_its_operators(mobilenet):
    assert "DEPTHWISE_CONV_2D" in str(mobilenet)
    assert mobilenet._repr_markdown_().startswith("**mobilenet_avgpool.tflite: 10 operators")


def test_every_network_of_the_tests_is_read(tmp_path):
    for build in NETWORKS.values():
        model = read(tmp_path, build())
        assert all(not o.custom and o.options is not None for o in model.operators)


def test_other_files_are_refused(tmp_path):
    other = tmp_path / "model.tflite"
    with pytest.raises(BadFile, match="does not exist"):
        read_model(other)
    other.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(BadFile, match="zip archive"):
        read_model(other)
    content = NETWORKS["dense_plain"]()
    other.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadFile, match=r"damaged|truncated"):
        read_model(other)


def with_options(content, **targets):
    """A file whose operators of control flow run other graphs: ``{"then": 1}`` sets ``thenSubgraphIndex``."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for graph in model.subgraphs:
        for operator in graph.operators:
            for key, number in targets.items():
                if hasattr(operator.builtinOptions, f"{key}SubgraphIndex"):
                    setattr(operator.builtinOptions, f"{key}SubgraphIndex", number)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_the_graphs_of_control_flow_are_read():
    model = read_model(CASES / "if_two_subgraphs.tflite")
    assert model.graphs == 3
    assert model.control_flow == "IF"
    (decides,) = [op for op in model.operators if op.code == "IF"]
    then, other = model.called(decides)
    assert sorted([then.inputs, other.inputs]) == [graph.inputs for graph in model.subgraphs]
    assert not then.once
    assert [op.index for op in model.all_operators] == list(range(len(model.all_operators)))
    assert model.running == model.all_operators
    assert all(i < len(model.tensors) for graph in model.subgraphs for i in (*graph.inputs, *graph.outputs))


@pytest.mark.parametrize(("target", "words"), [(7, "not there"), (-1, "not there"), (0, "not there")])
def test_control_flow_into_nothing_is_damage(tmp_path, target, words):
    with pytest.raises(BadFile, match=words):
        read(tmp_path, with_options((CASES / "if_two_subgraphs.tflite").read_bytes(), then=target))


def test_graphs_that_run_each_other_are_damage(tmp_path):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs((CASES / "if_two_subgraphs.tflite").read_bytes(), 0))
    decides = [op for op in model.subgraphs[0].operators if hasattr(op.builtinOptions, "thenSubgraphIndex")]
    model.subgraphs[1].operators = [*model.subgraphs[1].operators, *decides]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(BadFile, match=r"circle|not there|another"):
        read(tmp_path, bytes(builder.Output()))


def test_a_graph_that_gives_variables_their_values_is_read(tmp_path):
    model = read(tmp_path, NETWORKS["streaming_keywords"]())
    assert model.graphs == 2
    assert [op.code for op in model.subgraphs[0].operators] == ["VAR_HANDLE", "ASSIGN_VARIABLE"] * 4
    assert [op.index for op in model.subgraphs[0].operators] == list(
        range(len(model.operators), len(model.operators) + 8)
    )
    assert set(model.variables.values()) == {"first", "ring_0", "ring_1", "last"}
    assert len(model.variables) == 8  # a handle in each graph
    values = [model.tensors[op.inputs[1]] for op in model.subgraphs[0].operators if op.code == "ASSIGN_VARIABLE"]
    assert [t.shape for t in values] == [(1, 2, 1, 20), (1, 4, 1, 12), (1, 8, 1, 12), (1, 4, 1, 12)]
    assert (values[0].array() == -10).all()


def test_a_first_value_that_is_computed_is_read_and_not_generated(tmp_path):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(NETWORKS["running_mean"](), 0))
    assigned = model.subgraphs[1].tensors[1]
    assigned.buffer = 0  # no constant any more
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    model = read(tmp_path, bytes(builder.Output()))
    with pytest.raises(BadInput, match="computes the first value"):
        generate(model)


def test_an_int4_constant_is_measured_in_half_bytes(tmp_path):
    writer = TfliteWriter("half")
    x = writer.input("x", (1, 4), 0.5, 0)
    writer.output(x)
    model = read(tmp_path, writer.to_bytes())
    tensor = model.tensors[0]
    assert tensor.size_bytes == 4
    assert replace(tensor, dtype="int4", shape=(3,)).size_bytes == 2
    with pytest.raises(BadInput, match="numpy does not know"):
        replace(tensor, dtype="int4", data=b"12").array()
