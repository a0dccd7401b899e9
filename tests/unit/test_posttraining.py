"""Steps after training, each against a closed form or a count by hand."""

import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgelab.compress.modelfile import prepared, read
from edgelab.convert.onnx import export
from edgelab.errors import BadInput
from edgelab.posttraining import channels, clips, dead, equalisation, graph, rounding, storage
from edgelab.posttraining.bias import correct_biases
from edgelab.posttraining.judge import Judge, Score, judge_of, score
from edgelab.posttraining.noise import looks_unreal
from edgelab.posttraining.ranges import with_range
from edgelab.posttraining.search import search_static
from edgelab.posttraining.static import Static, ranges_of
from edgelab.posttraining.statistics import channel_statistics
from edgelab.posttraining.weight_search import search_weights

X = np.random.default_rng(0).normal(size=(48, 3, 10, 10)).astype(np.float32)


class Shortcut(nn.Module):
    """Depthwise and pointwise layers on a shortcut, with a gate as squeeze-and-excitation has it."""

    def __init__(self, activation, *, gated=False):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), activation())
        self.wide = nn.Sequential(nn.Conv2d(8, 16, 1), activation())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), activation())
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1), nn.Sigmoid()
        )
        self.gated = gated
        self.narrow = nn.Conv2d(16, 8, 1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))

    def forward(self, x):
        x = self.stem(x)
        y = self.depthwise(self.wide(x))
        if self.gated:
            y = y * self.gate(y)
        return self.head(x + self.narrow(y))


def model_of(net, tmp_path, x=X):
    path = export(net.eval(), torch.from_numpy(x[:2]), tmp_path / "net.onnx").path
    with prepared(path) as ready:
        return read(ready)


def shortcut(tmp_path, activation=nn.ReLU, **settings):
    torch.manual_seed(0)
    return model_of(Shortcut(activation, **settings), tmp_path)


def answers(model, x=X):
    model = onnx.load_from_string(model) if isinstance(model, bytes) else model
    name, output = graph_input(model), model.graph.output[0].name
    return np.concatenate([batch[0] for batch in graph.run(model, {name: x}, [output])])


def graph_input(model):
    return model.graph.input[0].name


def feeds(model, x=X):
    return {graph_input(model): x}


def rescaled(model, seed=1, width=2.5):
    """The same function with every channel that can be scaled, scaled by 2^U(-width, width), by hand."""
    rng, known = np.random.default_rng(seed), graph.values(model)
    for group in channels.channel_groups(model):
        scale = 2.0 ** rng.uniform(-width, width, channels.width_out(group.producers[0], known))
        for layer in group.producers:
            weight = known[layer.weight]
            known[layer.weight] = weight / scale.reshape(-1, *[1] * (weight.ndim - 1))
            known[layer.bias] = known[layer.bias] / scale
        for layer in group.consumers:
            weight = known[layer.weight]
            if layer.groups > 1:
                known[layer.weight] = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            else:
                repeated = np.repeat(scale, weight.shape[1] // len(scale))
                known[layer.weight] = weight * repeated.reshape(1, -1, *[1] * (weight.ndim - 2))
    floats = {name: array.astype(np.float32) for name, array in known.items() if array.dtype.kind == "f"}
    return graph.with_values(model, floats)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.PReLU])
@pytest.mark.parametrize("gated", [False, True])
def test_equalisation_leaves_the_function_unchanged(tmp_path, activation, gated):
    model = rescaled(shortcut(tmp_path, activation, gated=gated))
    before = model.SerializeToString()
    made = equalisation.equalise(model)
    assert model.SerializeToString() == before
    np.testing.assert_allclose(answers(made.model), answers(model), atol=2e-5)
    # the stem with the shortcut and the last convolution is one group; the wide layer and the depthwise one another two
    assert len(made.scales) == (4 if gated else 3)
    assert made.spread[1] < made.spread[0] / 3


def test_the_scales_are_the_square_root_of_the_ratio_of_ranges(tmp_path):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = model_of(net, tmp_path)
    made = equalisation.equalise(model)
    first, second = (layer for layer in graph.layers(made.model))
    known = graph.values(made.model)
    out, into = (
        equalisation.range_out(first, known[first.weight]),
        equalisation.range_in(second, known[second.weight], 6),
    )
    r1 = net[0].weight.detach().abs().amax(dim=(1, 2, 3)).numpy()
    r2 = net[2].weight.detach().abs().amax(dim=(0, 2, 3)).numpy()
    ratio = out / np.sqrt(r1 * r2)  # the geometric mean of both ranges, but for a factor that all channels share
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    np.testing.assert_allclose(into / np.sqrt(r1 * r2), (into / np.sqrt(r1 * r2))[0], rtol=1e-3)


def test_equalisation_undoes_a_rescaling(tmp_path):
    model = shortcut(tmp_path)
    one, other = equalisation.equalise(model), equalisation.equalise(rescaled(model))
    for a, b in zip(graph.layers(one.model), graph.layers(other.model), strict=True):
        x, y = graph.value(one.model, a.weight), graph.value(other.model, b.weight)
        np.testing.assert_allclose(x / np.abs(x).max(), y / np.abs(y).max(), atol=0.02)


def test_a_relu6_stays_and_the_function_is_unchanged_on_the_data(tmp_path):
    model = shortcut(tmp_path, nn.ReLU6)
    known = graph.values(model)
    stem = graph.layers(model)[0]
    model = graph.with_values(
        model, {stem.weight: known[stem.weight] * np.geomspace(0.01, 9, 8, dtype=np.float32)[:, None, None, None]}
    )
    seen = channel_statistics(model, feeds(model)).largest
    touched = seen[stem.y] >= 6
    assert 0 < touched.sum() < 8
    assert not equalisation.equalise(model).scales  # without data nothing is known of the limit
    made = equalisation.equalise(model, seen)
    np.testing.assert_allclose(answers(made.model), answers(model), atol=1e-4)
    assert [n.op_type for n in made.model.graph.node].count("Clip") == 3
    np.testing.assert_allclose(made.scales[stem.name][touched], 1.0)
    reached = channel_statistics(made.model, feeds(model)).largest[stem.y]
    assert (reached[~touched] <= 6).all()


def test_a_relu_in_place_of_a_relu6_and_how_often_it_was_met(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU6(), nn.Conv2d(1, 2, 1), nn.Flatten())
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[0].bias.zero_()
    x = np.arange(10, dtype=np.float32).reshape(1, 1, 2, 5).repeat(2, 0)  # 7, 8 and 9 of ten are above 6
    model = model_of(net, tmp_path, x)
    assert list(clips.touched(model, feeds(model, x)).values()) == pytest.approx([0.3])
    unlimited = clips.as_relu(model)
    assert [n.op_type for n in unlimited.model.graph.node][:2] == ["Conv", "Relu"]
    assert len(unlimited.nodes) == 1
    assert "Clip" in [n.op_type for n in model.graph.node]
    assert answers(unlimited.model, x).max() > answers(model, x).max() or answers(model, x).max() < 0


def test_a_channel_that_never_moves_becomes_a_constant(tmp_path):
    model = shortcut(tmp_path)
    stem = graph.layers(model)[0]
    weight, bias = graph.value(model, stem.weight), graph.value(model, stem.bias)
    weight[2] *= 30
    bias[2] = -1e4  # behind the ReLU this is always 0
    weight[5] *= 1e-9
    bias[5] = 0.75
    model = graph.with_values(model, {stem.weight: weight, stem.bias: bias})
    made = dead.still(model, channel_statistics(model, feeds(model)))
    assert made.channels[stem.name].tolist() == [2, 5]
    np.testing.assert_allclose(answers(made.model), answers(model), atol=1e-5)
    layer = graph.layers(made.model)[0]
    assert not graph.value(made.model, layer.weight)[[2, 5]].any()
    np.testing.assert_allclose(graph.value(made.model, layer.bias)[[2, 5]], [0, 0.75], atol=1e-6)


def test_bias_correction_brings_every_mean_back(tmp_path):
    model = rescaled(shortcut(tmp_path))
    static, ranges = Static(per_channel=False), ranges_of(model, feeds(model), "minmax")
    corrected = correct_biases(model, lambda m: static(m, ranges), feeds(model))
    axes = {layer.y: 1 if layer.is_convolution else -1 for layer in graph.layers(model)}
    wanted = channel_statistics(model, feeds(model), axes).mean

    def off(m):
        quantized = onnx.load_from_string(static(m, ranges))
        outputs = {node.name: node.output[0] for node in quantized.graph.node}
        names = {layer.y: outputs[layer.name] for layer in graph.layers(model)}
        found = channel_statistics(quantized, feeds(model), {names[y]: axis for y, axis in axes.items()}).mean
        return max(float(np.abs(found[names[y]] - wanted[y]).max()) for y in axes)

    assert off(corrected) < 0.2 * off(model)


def test_a_lean_file_keeps_what_its_maker_put_there_and_no_line_of_the_source(tmp_path):
    model = shortcut(tmp_path)
    before = answers(model)
    model.metadata_props.add(key="names", value="cat, dog")
    model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    model.doc_string = "made at home"
    for part in (*model.graph.node, model.graph, model.graph.input[0], model.graph.initializer[0]):
        part.metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File /home/somebody/train.py")
    leaner = storage.lean(model.SerializeToString())
    assert b"somebody" not in leaner
    assert b"at home" not in leaner
    assert [(p.key, p.value) for p in onnx.load_from_string(leaner).metadata_props] == [("names", "cat, dog")]
    np.testing.assert_array_equal(answers(leaner), before)


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_range_changed_in_the_file_is_that_of_a_file_quantized_anew(tmp_path, per_channel):
    model = shortcut(tmp_path)
    static, ranges = Static(per_channel), ranges_of(model, feeds(model), "minmax")
    content = static(model, ranges)
    changed = 0
    for tensor, (low, high) in ranges.ranges.items():
        other = (0.4 * low, 0.5 * high)
        anew = static(model, replace(ranges, ranges={**ranges.ranges, tensor: other}))
        fast = with_range(content, tensor, other)
        if fast is None:  # the last layer answers with real numbers
            np.testing.assert_array_equal(answers(anew), answers(content))
            continue
        one, two = (graph.values(onnx.load_from_string(each)) for each in (anew, fast))
        for name, array in one.items():
            off = 0 if array.dtype.kind == "f" else 1  # an integer may be rounded the other way
            np.testing.assert_allclose(two[name].astype(float), array.astype(float), rtol=1e-5, atol=off)
        changed += 1
    assert changed >= 4
    assert with_range(content, "nothing", (0, 1)) is None
    assert with_range(content, tensor, (0, 0)) is None


def test_rounding_lets_errors_undo_each_other():
    # two inputs that are always equal: 0.4 + 0.4 is nearer to 1 + 0 than to 0 + 0
    inner = np.array([[[1.0, 1.0], [1.0, 1.0]]]) + 1e-3 * np.eye(2)
    integers, _ = rounding.descend(np.array([[[0.4, 0.4]]]), np.ones((1, 1, 1)), inner, 4, per_channel=False)
    assert sorted(integers.ravel().tolist()) == [0, 1]
    # independent inputs: each weight takes its nearest integer
    wanted = np.array([[[0.4, -1.6, 2.2]]])
    integers, _ = rounding.descend(wanted, np.ones((1, 1, 1)), np.eye(3)[None], 4, per_channel=False)
    np.testing.assert_array_equal(integers, np.rint(wanted))


def test_rounding_comes_near_the_best_of_all_integers():
    rng = np.random.default_rng(3)
    for _ in range(5):
        x = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
        inner, wanted = (x.T @ x / 50)[None], rng.uniform(-3, 3, (1, 1, 4))
        ones = np.ones((1, 1, 1))
        integers, _ = rounding.descend(wanted, ones, inner, 4, per_channel=False)
        found = rounding.cost(integers - wanted, inner).item()
        nearest = rounding.cost(np.rint(wanted) - wanted, inner).item()
        near = itertools.product(*[range(int(np.floor(w)) - 1, int(np.floor(w)) + 3) for w in wanted.ravel()])
        best = min(rounding.cost(np.array(q)[None, None] - wanted, inner).item() for q in near)
        assert best - 1e-12 <= found <= nearest + 1e-12
        assert found <= best + 0.7 * (nearest - best) + 1e-12


def test_the_sums_of_a_layer_predict_its_error(tmp_path):
    """The quadratic form of the patches is the measured error of the output, for a strided, padded, dilated layer."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=(1, 2), dilation=(1, 2)), nn.Flatten(), nn.Linear(100, 2))
    x = X[:16]
    model = model_of(net, tmp_path, x)
    layer = graph.layers(model)[0]
    sums = rounding.collect(model, model, {graph_input(model): x}, [layer])[layer.name]
    weight = graph.value(model, layer.weight)
    off = np.random.default_rng(0).normal(size=weight.shape).astype(np.float32)
    other = graph.with_values(model, {layer.weight: weight + off})
    one, two = (np.concatenate([b[0] for b in graph.run(m, {graph_input(m): x}, [layer.y])]) for m in (model, other))
    difference = two - one
    flat = off.reshape(1, 4, -1).astype(np.float64)
    undamped = sums.inner - np.eye(27) * (np.trace(sums.inner[0]) / 27) * (1 - 1 / (1 + rounding.DAMPING))
    predicted = rounding.cost(flat, undamped).ravel()
    np.testing.assert_allclose(predicted, difference.var(axis=(0, 2, 3)), rtol=0.15)


@pytest.mark.parametrize("per_channel", [True, False])
def test_four_bit_weights_are_stored_as_such_and_run(tmp_path, per_channel):
    model = rescaled(shortcut(tmp_path, gated=True))
    names = {layer.name: 4 for layer in graph.layers(model)}
    rounded = rounding.round_layers(model, feeds(model), names, per_channel=per_channel)
    content = storage.store(rounded.model, rounded.weights)
    np.testing.assert_allclose(answers(content), answers(rounded.model), atol=1e-5)
    kinds = {c.name: c.data_type for c in onnx.load_from_string(content).graph.initializer}
    assert sum(kind == onnx.TensorProto.INT4 for kind in kinds.values()) == len(names)
    for layer in graph.layers(rounded.model):
        each = rounded.weights[layer.name]
        assert each.integers.min() >= -8
        assert each.integers.max() <= 7
        np.testing.assert_array_equal(each.dequantized(layer), graph.value(rounded.model, layer.weight))
    plain = rounding.round_layers(model, feeds(model), names, per_channel=per_channel, adaptive=False)
    judge = judge_of(model, feeds(model))
    assert judge(rounded.model).noise < 0.5 * judge(plain.model).noise


def test_the_searches_beat_what_they_start_from(tmp_path):
    model = rescaled(shortcut(tmp_path))
    judge = judge_of(model, feeds(model, X[24:]))
    found = search_static(model, feeds(model, X[:24]), judge, per_channel=False)
    start = next(step for step in found.steps if step.name == "as it is")
    assert not start.taken
    assert found.score.noise < 0.2 * start.score.noise
    assert judge(found.content) == found.score
    head = graph.layers(model)[-1].name
    weights = search_weights(model, feeds(model, X[:24]), judge, exclude=(head,))
    assert judge(weights.content) == weights.score
    stored = onnx.load_from_string(weights.content)
    assert not any(node.op_type == "DequantizeLinear" and head in node.name for node in stored.graph.node)


def test_a_network_without_layers_to_quantize_is_refused(tmp_path):
    model = shortcut(tmp_path)
    names = [layer.name for layer in graph.layers(model)]
    with pytest.raises(BadInput, match="no convolution or linear layer"):
        search_weights(model, feeds(model), judge_of(model, feeds(model)), exclude=names)


def test_a_score_by_hand():
    reference, found = [np.array([[2.0, 0.0], [0.0, 2.0]])], [np.array([[2.0, 0.0], [2.0, 0.0]])]
    one = score(reference, found)
    assert one.agreement == 0.5
    assert one.noise == pytest.approx(8 / 8)
    p = np.exp(2) / (1 + np.exp(2))
    assert one.loss == pytest.approx((0.5 * 2 * (2 * p - 1) * 1.0) ** 0.5)
    assert score(reference, [np.full((2, 2), np.nan)]).loss == float("inf")


@pytest.mark.parametrize(("items", "agreement", "taken"), [(1000, 0.984, False), (1000, 0.987, True), (50, 0.98, True)])
def test_a_step_that_changes_more_answers_than_chance_is_not_taken(items, agreement, taken):
    judge = Judge({"x": np.zeros((items, 1))}, ("y",), (np.zeros((items, 2)),))
    before = Score(1.0, 0.99, 0.2)
    assert judge.improves(Score(0.5, agreement, 0.1), before, 0.98) is taken
    assert not judge.improves(Score(0.99, 1.0, 0.1), before, 0.98)
    assert judge.improves(Score(0.5, None, 0.1), Score(1.0, None, 0.2), 0.98)


@pytest.mark.parametrize("draw", ["normal", "uniform", "integers"])
def test_noise_is_recognised(draw):
    rng = np.random.default_rng(5)
    drawn = {"normal": rng.normal(size=(64, 3, 16, 16)), "uniform": rng.random((64, 3, 16, 16))}
    drawn["integers"] = rng.integers(0, 256, (64, 3, 16, 16)) / 255
    assert "noise" in looks_unreal(drawn[draw].astype(np.float32))


def test_real_data_is_not_taken_for_noise():
    from edgelab import data

    assert looks_unreal(data.load("digits").test.x[:200]) is None
    assert looks_unreal(data.load("vibration").test.x[:200]) is None
    assert looks_unreal(np.random.default_rng(0).integers(0, 50, (64, 16))) is None  # token numbers
    rng = np.random.default_rng(0)
    table = rng.normal(size=(300, 20)) * rng.uniform(0.1, 3, 20)  # independent columns, each of its own spread
    assert looks_unreal(table.astype(np.float32)) is None
    assert "nothing but 1" in looks_unreal(np.ones((8, 4), np.float32))
    assert "the same" in looks_unreal(np.tile(np.arange(4, dtype=np.float32), (8, 1)))


class Separable(nn.Module):
    """A depthwise-separable network whose small layers come first, as those of mobile networks do."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6()]
        layers += [nn.Conv2d(8, 64, 1), nn.ReLU6(), nn.Conv2d(64, 64, 1), nn.ReLU6()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("per_channel", [True, False])
def test_layers_that_cost_most_for_their_size_are_stored_in_8_bits(tmp_path, per_channel):
    torch.manual_seed(0)
    net = Separable()
    with torch.no_grad():
        net.head.bias -= net(torch.from_numpy(X)).mean(0)  # or every item would get the same answer
    model = model_of(net, tmp_path)
    judge = judge_of(model, feeds(model))
    found = search_weights(model, feeds(model), judge, per_channel=per_channel)
    step = next(s for s in found.steps if s.name == "8 bits where it costs most")
    assert step.taken
    more = any(s.taken for s in found.steps if s.name == "8 bits for more layers")
    four_bits = next(s for s in found.steps if s.name == "adaptive rounding")
    assert found.score.noise < 0.7 * four_bits.score.noise
    sizes = dict.fromkeys([onnx.TensorProto.INT4, onnx.TensorProto.INT8], 0)
    for constant in onnx.load_from_string(found.content).graph.initializer:
        if constant.name.endswith("_quantized"):
            sizes[constant.data_type] += int(np.prod(constant.dims))
    assert 0 < sizes[onnx.TensorProto.INT8] <= (0.2 if more else 0.1) * sum(sizes.values())
    small = graph.layers(model)[0].name
    assert small in step.said
