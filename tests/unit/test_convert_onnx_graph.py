"""A file taken apart and put together again computes what it did, and ONNX and ONNX Runtime agree with every part."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from edgelab import nets
from edgelab.convert import onnx_graph, ort_files
from edgelab.convert.onnx import export
from edgelab.convert.onnx_graph import Node
from edgelab.errors import BadFile, BadInput
from edgelab.quiet import silenced


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((3, 3, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module", params=["signs_resnet", "signs_dscnn"])
def raw(request, tmp_path_factory):
    """A network's file with its batch normalisations left as nodes."""
    path = tmp_path_factory.mktemp("raw") / f"{request.param}.onnx"
    with silenced():
        torch.onnx.export(
            nets.load(request.param).eval(), (torch.rand(2, 3, 32, 32),), str(path), dynamo=False, opset_version=17,
            input_names=["input"], output_names=["logits"], do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE, dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        )  # fmt: skip
    return path


def answer(path, x):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def near(found, wanted):
    return np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_every_tensor_of_a_file_is_onnx_runtimes(raw, images):
    graph = onnx_graph.read_graph(raw)
    mine = onnx_graph.run_graph(graph.nodes, {**graph.constants, "input": images})
    theirs = ort_files.run_all(raw, images)
    assert len(theirs) >= 30
    assert all(near(mine[name], value) for name, value in theirs.items())


def test_nodes_run_in_any_order_and_a_graph_that_cannot_be_finished_is_refused(images):
    chain = [Node("Relu", ("b",), "y"), Node("Add", ("a", "x"), "b"), Node("Identity", ("x",), "a")]
    assert onnx_graph.run_graph(chain, {"x": images})["y"].max() == 2 * images.max()
    with pytest.raises(ValueError, match="nothing makes"):
        onnx_graph.run_graph([*chain, Node("Relu", ("lost",), "z")], {"x": images})


def test_folding_leaves_no_batch_normalisation_and_the_same_answers(raw, images, tmp_path):
    graph = onnx_graph.fold_all(onnx_graph.read_graph(raw))
    assert "BatchNormalization" not in {node.type for node in graph.nodes}
    path = onnx_graph.write_graph(
        tmp_path / "folded.onnx",
        graph.nodes,
        graph.constants,
        inputs={"input": ("n", 3, 32, 32)},
        outputs={"logits": ("n", 10)},
    )
    assert near(answer(path, images), answer(raw, images))
    basic = ort_files.operators(ort_files.optimized(raw, "basic", tmp_path / "basic.onnx"))
    assert basic == ort_files.operators(path)
    assert onnx_graph.fold_all(graph).nodes == graph.nodes


def test_a_convolution_that_others_read_keeps_its_batch_normalisation():
    nodes = (
        Node("Conv", ("x", "w"), "c"),
        Node("BatchNormalization", ("c", *["s"] * 4), "n"),
        Node("Add", ("c", "n"), "y"),
    )
    graph = onnx_graph.Graph(nodes, {"w": np.ones((1, 1, 1, 1)), "s": np.ones(1)}, ("x",), ("y",))
    assert [node.type for node in onnx_graph.fold_all(graph).nodes] == [node.type for node in nodes]


def test_window_sizes_are_those_of_onnxs_shape_inference(raw):
    graph = onnx_graph.read_graph(raw)
    inferred = onnx.shape_inference.infer_shapes(onnx.load(raw)).graph.value_info
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred} | {"input": [0, 3, 32, 32]}
    convolutions = [node for node in graph.nodes if node.type == "Conv"]
    assert len(convolutions) >= 9
    for node in convolutions:
        sizes = [
            onnx_graph.window_size(shapes[node.inputs[0]][2 + axis], **onnx_graph.window_of(node, axis))
            for axis in (0, 1)
        ]
        assert sizes == shapes[node.output][2:]
    with pytest.raises(BadInput, match="kernel_shape"):
        onnx_graph.window_of(Node("Relu", ("x",), "y"), 0)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads", "dilation"),
    [(7, 3, 2, (1, 1), 1), (32, 3, 1, (1, 1), 1), (10, 2, 3, (0, 1), 2), (9, 5, 4, (2, 0), 1)],
)
def test_window_sizes_are_pytorchs(size, kernel, stride, pads, dilation):
    x = torch.nn.functional.pad(torch.zeros(1, 1, size), pads)
    wanted = torch.nn.functional.conv1d(x, torch.zeros(1, 1, kernel), stride=stride, dilation=dilation).shape[-1]
    assert onnx_graph.window_size(size, kernel, stride, pads, dilation) == wanted


def test_needed_nodes_are_those_that_onnx_extracts(raw, tmp_path):
    graph = onnx_graph.read_graph(raw)
    for wanted in (graph.nodes[10].output, graph.nodes[-2].output):
        onnx.utils.extract_model(str(raw), str(tmp_path / "part.onnx"), ["input"], [wanted])
        part = onnx.load(tmp_path / "part.onnx").graph.node
        theirs = {node.output[0] for node in part if node.op_type != "Constant"}
        assert {node.output for node in onnx_graph.needed_nodes(graph.nodes, [wanted])} == theirs


def test_a_dense_network_is_written_from_its_weights(tmp_path, images):
    rng = np.random.default_rng(1)
    layers = [(rng.normal(size=(4, 5)), rng.normal(size=5), True), (rng.normal(size=(5, 2)), rng.normal(size=2), False)]
    nodes, constants, last = onnx_graph.dense_graph(layers)
    path = onnx_graph.write_graph(
        tmp_path / "dense.onnx", nodes, constants, inputs={"input": ("n", 4)}, outputs={last: ("n", 2)}
    )
    x = rng.normal(size=(7, 4)).astype(np.float32)
    wanted = np.maximum(x @ layers[0][0] + layers[0][1], 0) @ layers[1][0] + layers[1][1]
    assert near(answer(path, x), wanted)
    with pytest.raises(BadInput, match="checker refuses"):
        onnx_graph.write_graph(
            tmp_path / "no.onnx", nodes[1:], constants, inputs={"input": ("n", 4)}, outputs={last: ("n", 2)}
        )
    assert not (tmp_path / "no.onnx").exists()


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"not a model")
    with pytest.raises(BadFile, match="not a readable"):
        onnx_graph.read_graph(tmp_path / "no.onnx")
    with pytest.raises(BadInput, match="does not load"):
        ort_files.optimized(tmp_path / "no.onnx", "all", tmp_path / "o.onnx")
    with pytest.raises(BadInput, match="level='most'"):
        ort_files.optimized(tmp_path / "no.onnx", "most", tmp_path / "o.onnx")


def test_each_level_saves_the_graph_that_runs(raw, images, tmp_path):
    made = {level: ort_files.optimized(raw, level, tmp_path / f"{level}.onnx") for level in ort_files.LEVELS}
    counts = {level: sum(ort_files.operators(path).values()) for level, path in made.items()}
    assert counts["none"] > counts["basic"] > counts["extended"]
    assert all(near(answer(path, images), answer(raw, images)) for path in made.values())


def test_every_node_ran_on_the_cpu(raw, images):
    ran = ort_files.placed(raw, images[:1])
    assert {provider for _, provider, _ in ran} == {ort_files.CPU}
    assert "Gemm" in [kind for kind, _, _ in ran]


def test_an_ort_file_runs_and_names_its_operators(raw, images, tmp_path):
    made = ort_files.to_ort(raw, tmp_path)
    assert near(answer(made.path, images), answer(raw, images))
    assert made.bytes == made.path.stat().st_size
    assert any("Gemm" in line for line in made.required)


def test_images_are_served_in_the_layout_and_on_the_provider_asked_for(tmp_path):
    net = nets.load("signs_dscnn")
    path = export(net, np.zeros((1, 3, 32, 32), np.float32), tmp_path / "net.onnx").path
    pixels = np.random.default_rng(2).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    x = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    assert near(ort_files.serve(path, pixels), answer(path, x))
    missing = ort_files.absent_provider()
    assert missing not in ort.get_available_providers()
    with pytest.raises(ort_files.ProviderMissing, match=missing):
        ort_files.serve(path, pixels, missing)
