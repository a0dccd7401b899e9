"""edgelab's evaluator of Core ML packages against PyTorch: whole networks, compressed weights, single operators."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from edgelab import nets
from edgelab.convert import coreml as convert
from edgelab.course.session import installed
from edgelab.engines import Engine, open_engine
from edgelab.engines.coreml import CoreMLEngine
from edgelab.engines.coreml_program import NAME, read_program
from edgelab.errors import BadFile, BadInput, ModelRefused
from edgelab.models import mlpackage

if not installed("coremltools"):
    pytest.skip("coremltools is not installed here", allow_module_level=True)


SHAPES = {
    "signs_dscnn": (3, 32, 32),
    "signs_resnet": (3, 32, 32),
    "digits_mlp": (1, 8, 8),
    "vibration_cnn1d": None,
}


def shape_of(name):
    if SHAPES[name]:
        return SHAPES[name]
    from edgelab import data

    return data.vibration(seed=0).input_shape


def difference(found, wanted):
    """The largest difference as a share of the largest value."""
    assert np.shape(found) == np.shape(wanted)
    return float(np.abs(np.asarray(found, np.float64) - wanted).max() / np.abs(wanted).max())


def inputs(shape, count=5, seed=0):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", list(SHAPES))
def test_edgelabs_networks_answer_as_pytorch_does(name, precision, tmp_path):
    net = nets.load(name)
    x = inputs(shape_of(name))
    made = convert.export(net, x[:1], tmp_path / "net.mlpackage", precision=precision)
    engine = CoreMLEngine(made.path)
    wanted = nets.predict_logits(net, x)
    assert difference(engine.predict(x), wanted) < (1e-5 if precision == "float32" else 1e-2)
    single = np.concatenate([engine.predict(x[i : i + 1]) for i in range(len(x))])
    assert difference(single, wanted) < 1e-2
    assert isinstance(engine, Engine)
    assert engine.name == NAME or "macOS" in engine.name


@pytest.fixture(scope="module")
def dscnn(tmp_path_factory):
    """A converted network, the network itself, and inputs."""
    net = nets.load("signs_dscnn")
    x = inputs((3, 32, 32), 4)
    return net, convert.program(net, x[:1], precision="float32"), x, tmp_path_factory.mktemp("coreml")


VARIANTS = [
    "int8",
    "int8 affine",
    "int8 blocks",
    "int4 blocks",
    "groups",
    "pruned",
    *(f"{b} bits" for b in (8, 6, 4, 2)),
]


def variants():
    ct = mlpackage.coremltools()
    co = ct.optimize.coreml

    def made(**settings):
        return co.OptimizationConfig(global_config=settings.pop("kind")(**settings))

    linear, palette = co.OpLinearQuantizerConfig, co.OpPalettizerConfig
    chosen = {
        "int8": (co.linear_quantize_weights, made(kind=linear, mode="linear_symmetric", weight_threshold=0)),
        "int8 affine": (co.linear_quantize_weights, made(kind=linear, mode="linear", weight_threshold=0)),
        "int8 blocks": (
            co.linear_quantize_weights,
            made(kind=linear, granularity="per_block", block_size=8, weight_threshold=0),
        ),
        "int4 blocks": (
            co.linear_quantize_weights,
            made(kind=linear, dtype="int4", granularity="per_block", block_size=8, weight_threshold=0),
        ),
        "groups": (
            co.palettize_weights,
            made(
                kind=palette,
                nbits=4,
                granularity="per_grouped_channel",
                group_size=8,
                mode="kmeans",
                weight_threshold=0,
            ),
        ),
        "pruned": (
            co.prune_weights,
            made(kind=co.OpMagnitudePrunerConfig, target_sparsity=0.5, weight_threshold=0),
        ),
    }
    for bits in (8, 6, 4, 2):
        chosen[f"{bits} bits"] = (
            co.palettize_weights,
            made(kind=palette, nbits=bits, mode="kmeans", weight_threshold=0),
        )
    return chosen


def from_torch(net, program):
    """The network with the decoded weights of a program in place of its own: the reference by PyTorch alone."""
    import copy

    from torch.nn.utils.fusion import fuse_conv_bn_eval

    clone = copy.deepcopy(net).eval()
    names = [n for n, m in clone.named_modules() if isinstance(m, nn.Conv2d)]
    modules = dict(clone.named_modules())
    for name in names:
        norm = name.replace("conv", "norm")
        if norm in modules and norm != name:
            clone.set_submodule(name, fuse_conv_bn_eval(modules[name], modules[norm]))
            clone.set_submodule(norm, nn.Identity())
    layers = [m for m in clone.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    steps = [s for s in program.steps if s.type in ("conv", "linear")]
    assert len(layers) == len(steps)
    changed = 0.0
    with torch.no_grad():
        for layer, step in zip(layers, steps, strict=True):
            weight = step.arguments["weight"]
            weight = weight if isinstance(weight, torch.Tensor) else program.constants[weight.name]
            changed += float((layer.weight - weight).abs().max())
            layer.weight.copy_(weight)
    return clone, changed


@pytest.mark.parametrize("name", VARIANTS)
def test_compressed_weights_are_decoded(name, dscnn):
    net, program, x, folder = dscnn
    assert list(variants()) == VARIANTS
    function, config = variants()[name]
    with convert.silenced():
        small = function(program, config)
    made = convert.save(small, folder / f"{name.replace(' ', '-')}.mlpackage")
    read = read_program(made.path)
    assert read.compressed, "nothing in this package is compressed"
    reference, changed = from_torch(net, read)
    assert changed > 1e-3
    assert difference(read.run({"input": x})["logits"], nets.predict_logits(reference, x)) < 1e-5
    levels = {"8 bits": 256, "6 bits": 64, "4 bits": 16, "2 bits": 4}
    if name in levels:
        assert all(len(np.unique(c.values)) <= levels[name] for c in read.compressed)
    if name == "pruned":
        assert np.mean([np.mean(c.values == 0) for c in read.compressed]) > 0.45


@pytest.mark.parametrize("second", ["palette", "linear"])
def test_joint_compression_is_decoded(second, dscnn):
    net, program, x, folder = dscnn
    co = mlpackage.coremltools().optimize.coreml
    chosen = variants()
    with convert.silenced():
        pruned = co.prune_weights(program, chosen["pruned"][1])
        if second == "palette":
            small = co.palettize_weights(pruned, chosen["4 bits"][1], joint_compression=True)
        else:
            small = co.linear_quantize_weights(pruned, chosen["int8"][1], joint_compression=True)
    read = read_program(convert.save(small, folder / f"joint-{second}.mlpackage").path)
    assert any(len(c.how) > 1 for c in read.compressed)
    reference, _ = from_torch(net, read)
    assert difference(read.run({"input": x})["logits"], nets.predict_logits(reference, x)) < 1e-5


def test_an_image_classifier_takes_pixels_and_answers_with_labels(dscnn):
    net, _, x, folder = dscnn
    names = [f"class {i}" for i in range(10)]
    made = convert.export(
        net, x[:1], folder / "image.mlpackage", image=True, class_names=names, metadata={"author": "somebody"}
    )
    engine = CoreMLEngine(made.path)
    pixels = np.rint(x * 255).astype(np.uint8)
    found = engine.run({"image": pixels})
    wanted = nets.predict_logits(net, pixels.astype(np.float32) / 255)
    assert difference(engine.predict(x), wanted) < 1e-2
    assert found["classLabel"].tolist() == [names[i] for i in wanted.argmax(1)]
    assert engine.program.inputs[0].image == "RGB"
    with pytest.raises(BadInput, match="between 0 and 1"):
        engine.predict(x * 2)


class Small(nn.Module):
    def __init__(self, function, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x):
        return self.function(x, *self.layers)


SIGNAL, IMAGE = (4, 24), (4, 12, 12)
CASES = {
    "conv1d": (SIGNAL, lambda x, c: c(x), [nn.Conv1d(4, 6, 5, stride=2, padding=2, dilation=2)]),
    "conv1d same": (SIGNAL, lambda x, c: c(x), [nn.Conv1d(4, 6, 4, padding="same")]),
    "conv transpose": (IMAGE, lambda x, c: c(x), [nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)]),
    "conv transpose out": (
        IMAGE,
        lambda x, c: c(x),
        [nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1)],
    ),
    "max pool": (IMAGE, lambda x, c: c(x), [nn.MaxPool2d(3, 2, 1)]),
    "max pool ceil": (IMAGE, lambda x, c: c(x), [nn.MaxPool2d(3, 2, ceil_mode=True)]),
    "avg pool": (IMAGE, lambda x, c: c(x), [nn.AvgPool2d(3, 2, 1)]),
    "avg pool bare": (IMAGE, lambda x, c: c(x), [nn.AvgPool2d(3, 2, 1, count_include_pad=False)]),
    "avg pool ceil": (IMAGE, lambda x, c: c(x), [nn.AvgPool2d(3, 2, 1, ceil_mode=True)]),
    "pool 1d": (SIGNAL, lambda x, a, b: b(a(x)), [nn.MaxPool1d(2), nn.AvgPool1d(3, 1, 1)]),
    "adaptive": (IMAGE, lambda x, c: c(x), [nn.AdaptiveAvgPool2d(3)]),
    "group norm": (IMAGE, lambda x, c: c(x), [nn.GroupNorm(2, 4)]),
    "instance norm": (IMAGE, lambda x, c: c(x), [nn.InstanceNorm2d(4, affine=True)]),
    "layer norm": (SIGNAL, lambda x, c: c(x), [nn.LayerNorm(24)]),
    "batch norm": (IMAGE, lambda x, c: c(x), [nn.BatchNorm2d(4)]),
    "local norm": (IMAGE, lambda x, c: c(x), [nn.LocalResponseNorm(3)]),
    "exp log pow": (SIGNAL, lambda x: torch.log(torch.exp(x) + 1) ** 1.7 + x.pow(2), []),
    "rsqrt": (SIGNAL, lambda x: torch.rsqrt(x + 1) + 1 / (x + 2) + torch.sqrt(x), []),
    "concat": (SIGNAL, lambda x: torch.cat([x, x * 2, x.flip(1)], 1), []),
    "stack split": (SIGNAL, lambda x: torch.stack([p.sin() for p in x.chunk(2, 1)], 1), []),
    "slices": (SIGNAL, lambda x: x[:, 1:3, ::3] - x[:, -2:, 1:24:3], []),
    "one place": (SIGNAL, lambda x: x[:, 2] + x[:, :, 3:4].squeeze(-1).sum(1, keepdim=True), []),
    "pad": (IMAGE, lambda x: nn.functional.pad(x, (1, 2, 3, 0), value=0.5), []),
    "pad reflect": (IMAGE, lambda x: nn.functional.pad(x, (1, 2, 3, 1), mode="reflect"), []),
    "pad edge": (IMAGE, lambda x: nn.functional.pad(x, (1, 2, 3, 1), mode="replicate"), []),
    "reductions": (IMAGE, lambda x: torch.cat([x.amax((2, 3)), x.amin((2, 3)), x.sum((2, 3)), x.std((2, 3))], 1), []),
    "activations": (
        SIGNAL,
        lambda x, *layers: torch.cat([layer(x - 0.5) for layer in layers], 1),
        [nn.GELU(), nn.ELU(), nn.LeakyReLU(0.2), nn.PReLU(4), nn.Hardswish(), nn.Softplus(), nn.SiLU(), nn.Mish()],
    ),
    "softmax": (SIGNAL, lambda x: x.softmax(1) + x.log_softmax(2).sigmoid(), []),
    "upsample": (IMAGE, lambda x, a: a(x), [nn.Upsample(scale_factor=2)]),
    "bilinear": (
        IMAGE,
        lambda x, a: a(x),
        [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)],
    ),
    "pixel shuffle": (IMAGE, lambda x, a: a(x), [nn.PixelShuffle(2)]),
    "where": (SIGNAL, lambda x: torch.where(x > 0.5, x, -x).clamp(-0.7, 0.9), []),
    "argmax": (SIGNAL, lambda x: x.argmax(2).float() + x.topk(3, 2).values.sum(2), []),
    "cumsum": (SIGNAL, lambda x: x.cumsum(2), []),
    "matmul": (SIGNAL, lambda x: torch.einsum("bct,bdt->bcd", x, x) @ x, []),
    "lstm": (SIGNAL, lambda x, r: r(x)[0], [nn.LSTM(24, 5, batch_first=True)]),
    "lstm both": (SIGNAL, lambda x, r: r(x)[0], [nn.LSTM(24, 5, batch_first=True, bidirectional=True)]),
    "gru": (SIGNAL, lambda x, r: r(x)[0], [nn.GRU(24, 5, num_layers=2, batch_first=True)]),
    "rnn": (SIGNAL, lambda x, r: r(x)[0], [nn.RNN(24, 5, batch_first=True)]),
    "attention": (
        SIGNAL,
        lambda x, a: torch.nn.functional.scaled_dot_product_attention(a(x), x, x),
        [nn.Linear(24, 24)],
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_operators_answer_as_pytorch_does(name, tmp_path):
    shape, function, layers = CASES[name]
    torch.manual_seed(0)
    net = Small(function, *layers).eval()
    x = inputs(shape, 3, seed=1)
    made = convert.export(net, x[:1], tmp_path / "net.mlpackage", precision="float32")
    with torch.no_grad():
        wanted = np.concatenate([net(torch.from_numpy(x[i : i + 1])).numpy() for i in range(len(x))])
    assert difference(CoreMLEngine(made.path).run({"input": x})["logits"], wanted) < 1e-4


def test_several_outputs_and_inputs_by_name(tmp_path):
    ct = mlpackage.coremltools()

    class Two(nn.Module):
        def forward(self, a, b):
            return a @ b.transpose(1, 2), a.mean(2) + b.exp().sum(2)

    a, b = inputs((3, 8), 1, 0), inputs((3, 8), 1, 1)
    with convert.silenced():
        traced = torch.jit.trace(Two(), (torch.from_numpy(a), torch.from_numpy(b)))
        model = ct.convert(
            traced,
            inputs=[ct.TensorType(n, x.shape, dtype=np.float32) for n, x in (("a", a), ("b", b))],
            outputs=[ct.TensorType(n, dtype=np.float32) for n in ("product", "sums")],
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
        )
    convert.save(model, tmp_path / "two.mlpackage")
    engine = open_engine(tmp_path / "two.mlpackage")
    assert engine.input_names == ("a", "b")
    many = {"a": inputs((3, 8), 6, 2), "b": inputs((3, 8), 6, 3)}
    found = engine.run(many)
    np.testing.assert_allclose(found["product"], many["a"] @ many["b"].transpose(0, 2, 1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["sums"], many["a"].mean(2) + np.exp(many["b"]).sum(2), rtol=1e-5, atol=1e-5)
    with pytest.raises(BadInput, match="The input 'b' is missing"):
        engine.run({"a": a})
    with pytest.raises(BadInput, match="has no input 'c'"):
        engine.run({"a": a, "b": b, "c": a})
    with pytest.raises(BadInput, match=r"takes the shape \(1, 3, 8\)"):
        engine.run({"a": a[:, :, :4], "b": b})
    with pytest.raises(BadInput, match="2 inputs"):
        engine.predict(a)


def test_an_unknown_operator_is_refused_by_name(tmp_path):
    ct = mlpackage.coremltools()
    from coremltools.converters.mil import Builder

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 4, 6))])
    def program(x):
        return Builder.non_zero(x=x, name="places")

    with convert.silenced():
        model = ct.convert(program, convert_to="mlprogram", skip_model_load=True)
    convert.save(model, tmp_path / "unknown.mlpackage")
    with pytest.raises(ModelRefused, match="operator non_zero at 'places'"):
        read_program(tmp_path / "unknown.mlpackage")


def test_float16_overflows_where_the_program_says_float16(tmp_path):
    net = Small(lambda x: (x * 300) * 300)
    x = np.full((1, 4), 1.0, np.float32)
    half = convert.export(net, x, tmp_path / "half.mlpackage")
    whole = convert.export(net, x, tmp_path / "whole.mlpackage", precision="float32")
    assert np.isinf(CoreMLEngine(half.path).predict(x)).all()
    np.testing.assert_allclose(CoreMLEngine(whole.path).predict(x), 90_000)


def test_nothing_is_timed_off_macos(dscnn):
    import sys

    _, program, x, folder = dscnn
    if sys.platform == "darwin":
        pytest.skip("Core ML is here")
    engine = CoreMLEngine(convert.save(program, folder / "timed.mlpackage").path)
    with pytest.raises(BadInput, match="on macOS alone"):
        engine.time(x[:1], 3)


def test_damaged_packages_give_a_sentence(dscnn, tmp_path):
    _, program, _, _ = dscnn
    whole = convert.save(program, tmp_path / "whole.mlpackage").path

    def copied(name):
        return mlpackage.copy_package(whole, tmp_path / f"{name}.mlpackage")

    part = copied("weights")
    weights = next(part.rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:-5000])
    with pytest.raises(BadFile, match="truncated or damaged"):
        read_program(part)
    part = copied("none")
    shutil.rmtree(next(part.rglob("weights")))
    with pytest.raises(BadFile, match="is missing, and the package"):
        read_program(part)
    part = copied("model")
    model = next(part.rglob("model.mlmodel"))
    model.write_bytes(model.read_bytes()[:900])
    with pytest.raises(BadFile, match="damaged"):
        read_program(part)
    part = copied("manifest")
    (part / "Manifest.json").write_text("{}")
    with pytest.raises(BadFile, match="not a Core ML package"):
        read_program(part)
    with pytest.raises(BadFile, match="does not exist"):
        read_program(tmp_path / "nothing.mlpackage")


def test_sizes_and_hashes_are_those_of_the_files(dscnn, tmp_path):
    _, program, _, _ = dscnn
    one = convert.save(program, tmp_path / "one.mlpackage").path
    two = convert.save(program, tmp_path / "two.mlpackage").path
    copy = mlpackage.copy_package(one, tmp_path / "copy.mlpackage")
    assert mlpackage.folder_bytes(one) == sum(f.stat().st_size for f in one.rglob("*") if f.is_file()) > 100_000
    assert mlpackage.folder_hash(one) == mlpackage.folder_hash(two) == mlpackage.folder_hash(copy)
    weights = next(copy.rglob("weight.bin"))
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(bytes(content))
    assert mlpackage.folder_hash(copy) != mlpackage.folder_hash(one)
    (copy / "link").symlink_to(one / "Manifest.json")
    with pytest.raises(BadFile, match="link"):
        mlpackage.folder_hash(copy)


TORCHVISION = {
    "mobilenet_v3_small": 64,
    "resnet18": 64,
    "efficientnet_b0": 64,
    "squeezenet1_1": 64,
    "shufflenet_v2_x0_5": 64,
    "vit": 32,
}


@pytest.mark.thorough
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", list(TORCHVISION))
def test_torchvisions_networks_answer_as_pytorch_does(name, precision, tmp_path):
    import torchvision

    torch.manual_seed(0)
    size = TORCHVISION[name]
    if name == "vit":
        net = torchvision.models.VisionTransformer(size, 8, 2, 4, 64, 128, num_classes=10)
        torch.nn.init.normal_(net.heads.head.weight, std=0.1)
    else:
        net = getattr(torchvision.models, name)(num_classes=10)
    torch.backends.mha.set_fastpath_enabled(False)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0  # statistics of random inputs, or untrained layers shrink every value below float16
    with torch.no_grad():
        net.train()(torch.from_numpy(inputs((3, size, size), 16, seed=1)))
    x = inputs((3, size, size), 2)
    made = convert.export(net.eval(), x[:1], tmp_path / "net.mlpackage", precision=precision)
    wanted = nets.predict_logits(net, x)
    allowed = 1e-2
    if precision == "float16":  # some of these lose more than that in PyTorch's own float16
        with torch.no_grad():
            allowed = max(allowed, 1.5 * difference(net.half()(torch.from_numpy(x).half()).float(), wanted))
    assert difference(CoreMLEngine(made.path).predict(x), wanted) < allowed < 0.1


@pytest.mark.thorough
def test_shufflenet_as_it_is_made_agrees_within_a_hundredth_in_float16(tmp_path):
    """Random weights without statistics of other inputs, which make PyTorch's own float16 lose five hundredths."""
    import torchvision

    torch.manual_seed(0)
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=10).eval()
    x = inputs((3, 224, 224), 2)
    made = convert.export(net, x[:1], tmp_path / "net.mlpackage", precision="float16")
    assert difference(CoreMLEngine(made.path).predict(x), nets.predict_logits(net, x)) < 1e-2
