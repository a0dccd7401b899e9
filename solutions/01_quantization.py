# ---
# jupyter:
#   edgelab:
#     title: "Quantization: eight bits, and what they cost"
#     minutes: 60
#     memory_gb: 3
#     requires: [torch, onnxruntime]
#     claims: [Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8, Q9, Q12]
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 Quantization: eight bits, and what they cost
#
# A trained network stores 32-bit numbers. Most of those bits carry nothing that the answer needs. Stored in 8 bits the network is four times
# smaller and often faster, and sometimes it is ruined. This lab shows which of the three you get, and how to know before your users do.
#
# ## What you will be able to do
#
# - build the **affine mapping** between real numbers and integers, and predict its error;
# - choose a range by **calibration**, and see when the choice matters;
# - quantize a network with ONNX Runtime, and find out **why** it lost accuracy;
# - say which **layers** are sensitive and which **people or cases** pay for the loss;
# - explain why an INT8 model can be **slower** than its float32 original.
#
# You need: lab `start`, or to know what an ONNX file and a percentile are. No network, no GPU. The cells take about a minute to run; with the
# exercises plan an hour.

# %% tags=["parameters"]
seed = 0
threads = 1
runs = 120  # timed inferences of each contender
calibration_items = 200
my_data = ""  # bring your own: an .npz file with x (float32, channels first), y and optionally group
my_model = ""  # bring your own: a float32 .onnx file that takes x

# %% tags=["setup"]
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from edgelab import Reading, Table, data, nets, record, ui
from edgelab.compress import affine, backends, calibration, ptq, weights
from edgelab.convert.onnx import export
from edgelab.course import begin, check, claim
from edgelab.engines import open_engine
from edgelab.engines.torch import TorchEngine
from edgelab.measure import inspect_model, latency, load_arrays, quality, save_arrays
from edgelab.measure.compare import compare

begin("quantization")
torch.set_num_threads(threads)
generator = np.random.default_rng(seed)
folder = TemporaryDirectory()
work = Path(folder.name)

# %% [markdown]
# The task: 32 x 32 pixel road signs, ten classes, drawn by a program with light, distance and occlusion that vary. One class is rare in
# training, as some things are in the field. The network is a depthwise-separable one, the kind that phones and microcontrollers run.

# %%
signs = data.signs(seed=seed)
network = nets.load("signs_dscnn")
float32 = export(network, signs.test.x[:1], work / "float32.onnx")
with open_engine(float32.path, threads=threads) as engine:
    reference_logits = engine.predict(signs.test.x)
reference = quality.evaluate(
    reference_logits, None, signs.test.y, signs.test.groups, signs.class_names
)
record("float32.accuracy", reference.accuracy)

# %% [markdown]
# ## Predict
#
# Commit before you look.

# %%
guess_tensor = ui.predict(
    "Weights and activations in INT8, one scale for each weight tensor: how many points of accuracy are lost?",
    unit="points",
    low=0.0,
    high=30.0,
)
guess_tensor

# %%
guess_speed = ui.predict(
    "How many times as fast is the INT8 network on this CPU?",
    unit="x",
    low=0.2,
    high=5.0,
)
guess_speed

# %% [markdown]
# ## From scratch
#
# ### The affine mapping
#
# An integer `q` stands for the real number `scale * (q - zero_point)`. The **scale** is the width of a step. The **zero point** is the
# integer that stands for 0.0 exactly. Two choices make a mapping: the range that the integers cover, and whether it is **symmetric**
# about zero (the zero point is 0, which makes the arithmetic cheaper) or not (which wastes no integers on values that never occur).


# %%
def mapping(low, high, bits, symmetric):
    """(scale, zero_point, smallest integer, largest integer) that cover [low, high]."""
    smallest, largest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        return max(-low, high) / largest, 0, -largest, largest
    scale = (high - low) / (largest - smallest)
    return scale, round(smallest - low / scale), smallest, largest


def round_trip(values, low, high, bits=8, symmetric=False):
    """Real numbers to integers and back: what the network sees after quantization."""
    scale, zero_point, smallest, largest = mapping(low, high, bits, symmetric)
    q = np.clip(np.rint(values / scale) + zero_point, smallest, largest)
    return scale * (q - zero_point)


def sqnr_db(reference, approximation):
    """Signal-to-quantization-noise ratio in decibels."""
    return 10 * np.log10(
        np.mean(reference**2) / np.mean((reference - approximation) ** 2)
    )


# %% [markdown]
# Does it agree with what the runtimes do? The package holds the same mapping, tested bit for bit against ONNX Runtime's own operators. The cell
# below compares yours with it on the activations of a real layer, which you will need for the rest of this section.

# %%
layer = nets.activations(network, signs.train.x[:64])["stem"]
low, high = float(layer.min()), float(layer.max())
eight_bits = affine.affine_parameters(low, high, bits=8, symmetric=False)
theirs = affine.fake_quantize(layer, eight_bits)
largest_gap = float(np.abs(theirs - round_trip(layer, low, high)).max())
record(
    "affine.gap_to_package",
    Reading(largest_gap, "", "measured", f"{layer.size:,} activations of the stem"),
)

# %% [markdown]
# ### What a bit is worth
#
# Each bit halves the step, so the noise falls by about 6 dB for each bit. The slope is the same for every tensor. The height
# is not: values that fill their range use the bits, values with rare outliers waste them.

# %%
tensors = {
    "activations of the stem": layer.ravel(),
    "normal values": generator.standard_normal(20_000),
    "normal values, one outlier at 50": np.append(
        generator.standard_normal(20_000), 50.0
    ),
}
bits = np.arange(2, 13)
curves = {
    name: (bits, [sqnr_db(v, round_trip(v, v.min(), v.max(), int(b))) for b in bits])
    for name, v in tensors.items()
}
slope = np.polyfit(bits[2:], curves["normal values"][1][2:], 1)[0]
figure = ui.lines(
    curves,
    title=f"Each bit buys {slope:.1f} dB; an outlier takes several bits away",
    x="bits",
    y="SQNR in dB",
)
ui.show(
    figure,
    alt="Three parallel rising lines of SQNR over bits; the one with an outlier lies lowest.",
)

# %% [markdown]
# ### Calibration: which range?
#
# Activations have no fixed range. Run some samples, look at the values, and choose. The largest value seen is the obvious choice, and it lets
# one rare value set the step for all. Clipping a little makes the step finer for the rest. Two rules in the open, and two from
# the package: **min-max**, **percentile**, **MSE** (try ranges, keep the one with the least error) and **entropy** (keep the range whose histogram loses
# the least information).


# %%
def range_percentile(values, percent=99.9):
    """The range that holds `percent` of the values in the middle."""
    rest = (100 - percent) / 2
    return np.percentile(values, rest), np.percentile(values, 100 - rest)


def range_mse(values, bits=8, steps=60):
    """Shrink the full range step by step and keep what gives the smallest mean squared error."""
    low, high = values.min(), values.max()
    shrunk = [(low * k / steps, high * k / steps) for k in range(steps // 5, steps + 1)]
    return min(
        shrunk, key=lambda r: np.mean((values - round_trip(values, *r, bits)) ** 2)
    )


# %%
values = layer.ravel()
rows = []
for bits_used in (8, 4):
    ranges = {
        "min-max": (values.min(), values.max()),
        "percentile 99.9": range_percentile(values),
        "MSE": range_mse(values, bits_used),
        "entropy": calibration.range_entropy(values, bits=bits_used),
    }
    for name, (low, high) in ranges.items():
        decibels = sqnr_db(values, round_trip(values, low, high, bits_used))
        rows.append((bits_used, name, f"{low:.2f} to {high:.2f}", f"{decibels:.1f} dB"))
Table(
    "Four ways to choose the range of the stem's activations",
    ("bits", "method", "range", "SQNR"),
    rows,
)

# %% [markdown]
# ## The real tool
#
# ### Post-training quantization with ONNX Runtime
#
# **Static** post-training quantization (PTQ) fixes every range in advance. It needs the float32 file and some calibration samples, taken from
# the training data. The ranges are collected once and used for every variant below.

# %%
samples = signs.train.subset(calibration_items, seed=seed).x
ranges = ptq.collect_ranges(float32.path, samples)


def quantized(name, ranges=ranges, **options):
    """Quantize the float32 file, run the result on the test set, and return (file, which answers are right, logits)."""
    result = ptq.quantize_static(
        float32.path, work / f"{name}.onnx", ranges=ranges, **options
    )
    with open_engine(result.path, threads=threads) as engine:
        logits = engine.predict(signs.test.x)
    return result.path, logits.argmax(axis=1) == signs.test.y, logits


right = {"float32": reference_logits.argmax(axis=1) == signs.test.y}
files, logits = {"float32": float32.path}, {"float32": reference_logits}
for name, per_channel in {"per tensor": False, "per channel": True}.items():
    files[name], right[name], logits[name] = quantized(name, per_channel=per_channel)
losses = {
    name: quality.difference(right["float32"], right[name])
    for name in ("per tensor", "per channel")
}
loss_tensor = record("loss.per_tensor", losses["per tensor"].loss)
loss_channel = record("loss.per_channel", losses["per channel"].loss)

# %%
accuracy = {name: 100 * float(hits.mean()) for name, hits in right.items()}
figure = ui.bars(
    list(losses),
    [loss_tensor, loss_channel],
    title=f"One scale for each tensor costs {loss_tensor.value:.1f} points, one for each channel {loss_channel.value:.1f}",
    y="points of accuracy lost",
)
ui.show(
    figure,
    alt="Two bars with intervals: accuracy lost with one weight scale per tensor and with one per channel.",
)

# %%
guess_tensor.against(loss_tensor)

# %% [markdown]
# The intervals come from comparing the two networks on the **same** test images, item by item. That is much sharper than
# comparing two accuracies.
#
# ### Why does it hurt?
#
# Look at the weights after batch normalisation is folded into them, as every runtime does. In a depthwise layer each channel has a kernel of
# its own. If one channel's weights are a hundred times those of the others, then one scale for all leaves the others a handful of steps.

# %%
spread = weights.channel_spread(network)
worst_layer = spread.worst
folded = weights.weighted_layers(weights.fold_batch_norm(network))
kernels = {name: layer.weight.detach().numpy() for name, layer in folded.items()}
uneven = sorted(spread.layers, key=lambda layer: -layer.ratio)[:3]
reach = {
    u.layer: np.sort(np.abs(kernels[u.layer]).reshape(u.channels, -1).max(axis=1))[::-1]
    for u in uneven
}
figure = ui.lines(
    {
        name: (np.arange(1, len(values) + 1), np.maximum(values, 1e-4))
        for name, values in reach.items()
    },
    title=f"In {worst_layer.layer} the largest channel is {worst_layer.ratio:.0f} times the median one",
    x="channel, sorted",
    y="largest absolute weight",
    log_y=True,
    markers=False,
)
ui.show(
    figure,
    alt="Sorted largest weights of each channel for the three most uneven layers, on a logarithmic axis.",
)

# %% [markdown]
# How does a channel get there? Training at a high rate can switch a channel off for good: it puts out the same value for every image, so its
# variance is zero. Batch normalisation divides by the root of that variance, and folding turns "divide by nearly nothing" into the
# largest weights of the layer. The channel carries no information, and it ruins the scale of those that do. The cell below finds these channels.

# %%
dead = weights.dead_channels(network)
steps = {u.layer: u.steps for u in spread.layers}
Table(
    "Channels with no variance left",
    ("batch norm", "channels", "steps left for a median channel, of 127"),
    [
        (norm, len(found), steps[norm.replace("norm", "conv")])
        for norm, found in dead.items()
    ],
)

# %% [markdown]
# ### Which method, how many samples, which samples?
#
# Four ways to calibrate, then the size of the calibration set, then two **traps**, as happen when somebody collects "a few representative images"
# in one afternoon: a set that covers only five of the ten classes, and one that covers all of them, but only at night.

# %%
methods = {
    "min-max": "minmax",
    "percentile": "percentile",
    "entropy": "entropy",
    "MSE": "mse",
}
by_method = {}
for name, method in methods.items():
    _, hits, _ = quantized(
        f"method-{method}",
        per_channel=True,
        ranges=ptq.collect_ranges(float32.path, samples, method=method),
    )
    by_method[name] = record(
        f"loss.method.{method}", quality.difference(right["float32"], hits).loss
    )

# %%
by_size = {}
for size in (5, 20, 100, 200, 1000):
    some = ptq.collect_ranges(float32.path, signs.train.subset(size, seed=seed).x)
    _, hits, _ = quantized(f"size-{size}", per_channel=True, ranges=some)
    right[f"{size} samples"] = hits
    by_size[size] = record(
        f"loss.samples_{size}", quality.difference(right["float32"], hits).loss
    )
enough = record(
    "loss.200_against_1000_samples",
    quality.difference(right["1000 samples"], right["200 samples"]).loss,
)

# %%
five = signs.train.take(np.flatnonzero(signs.train.y < 5)).subset(
    calibration_items, seed=seed
)
_, hits, _ = quantized(
    "five-classes", per_channel=True, ranges=ptq.collect_ranges(float32.path, five.x)
)
right["five classes"] = hits
trap = record("loss.five_classes", quality.difference(right["per channel"], hits).loss)

at_night = np.flatnonzero(signs.train.groups["lighting"] == "night")
night = signs.train.take(at_night).subset(calibration_items, seed=seed)
_, hits, _ = quantized(
    "night-only", per_channel=True, ranges=ptq.collect_ranges(float32.path, night.x)
)
right["night only"] = hits
dark = record("loss.night_only", quality.difference(right["per channel"], hits).loss)

# %%
traps = {
    name: quality.difference(right["float32"], right[name]).loss
    for name in ("five classes", "night only")
}
every_loss = by_method | {f"{n} samples": v for n, v in by_size.items()} | traps
figure = ui.bars(
    list(every_loss),
    list(every_loss.values()),
    title=f"Five classes cost {trap.value:.1f} points, images of the night alone {dark.value:.1f}",
    y="points of accuracy lost",
)
ui.show(
    figure,
    alt="Bars of accuracy lost by calibration method, by number of samples, with five classes only, and with night images only.",
)

# %% [markdown]
# What a calibration set has to cover is the **range of the activations**, not the list of classes. Images of five classes in every light
# may reach the same extremes as images of all ten. Images of one light do not, whatever the classes: everything brighter is clipped.
# Compare the last two bars before you decide which of the two your own collection resembles.

# %% [markdown]
# ### Four bits
#
# Fewer bits make the problem visible. Only the weights are rounded here; the network runs in float32, so accuracy is real and speed is not
# tested. (No CPU kernel runs a 4-bit convolution.)

# %%
by_bits = {"one scale per tensor": [], "one scale per channel": []}
widths = (8, 6, 5, 4, 3)
for label, per_channel in zip(by_bits, (False, True)):
    for width in widths:
        rounded = weights.fake_quantize_weights(
            network, bits=width, by_channel=per_channel
        )
        hits = nets.predict_logits(rounded, signs.test.x).argmax(axis=1) == signs.test.y
        loss = record(
            f"loss.weights_{width}bit.{'channel' if per_channel else 'tensor'}",
            quality.difference(right["float32"], hits).loss,
        )
        by_bits[label].append(100 * float(hits.mean()))
figure = ui.lines(
    {label: (widths, values) for label, values in by_bits.items()},
    title=f"At 4 bits: {by_bits['one scale per tensor'][3]:.0f} percent right per tensor, {by_bits['one scale per channel'][3]:.0f} per channel",
    x="bits of a weight",
    y="percent right",
)
ui.show(
    figure,
    alt="Accuracy over the bits of a weight; the per-tensor line falls first and deepest.",
)

# %% [markdown]
# ### Which layers are sensitive?
#
# Round one layer at a time and keep the rest in float32. A layer with a large loss is worth keeping in higher precision; the rest can go lower. This
# uses validation images, because it is a choice: test images are for reporting.

# %%
val = signs.validation.subset(500, seed=seed)


def validation_accuracy(net):
    return 100 * float((nets.predict_logits(net, val.x).argmax(axis=1) == val.y).mean())


sensitive = weights.sensitivity(
    network, validation_accuracy, bits=4, by_channel=False
).ranked
figure = ui.bars(
    [entry.layer for entry in sensitive],
    [entry.drop for entry in sensitive],
    title=f"{sensitive[0].layer} alone costs {sensitive[0].drop:.0f} points at 4 bits",
    y="points lost on validation",
)
ui.show(
    figure,
    alt="Bars of the accuracy lost when a single layer is rounded to 4 bits per tensor, largest first.",
)

# %% [markdown]
# ### Is it the network?
#
# The same procedure on a residual network with ordinary convolutions, trained on the same images.

# %%
residual = nets.load("signs_resnet")
residual_file = export(residual, signs.test.x[:1], work / "resnet.onnx")
with open_engine(residual_file.path, threads=threads) as engine:
    residual_right = engine.predict(signs.test.x).argmax(axis=1) == signs.test.y
small = ptq.quantize_static(
    residual_file.path, work / "resnet8.onnx", samples, per_channel=False
)
with open_engine(small.path, threads=threads) as engine:
    residual_loss = quality.difference(
        residual_right, engine.predict(signs.test.x).argmax(axis=1) == signs.test.y
    ).loss
record("loss.residual_per_tensor", residual_loss)

# %% [markdown]
# ### Smaller, but faster?

# %%
stored = {
    name: sum(inspect_model(files[name]).weight_bytes.values())
    for name in ("float32", "per channel")
}
ratio = stored["float32"] / stored["per channel"]
record(
    "size.weights",
    Reading(
        ratio, "x", "measured", "bytes of the weights in the file, float32 over INT8"
    ),
)
ratio = files["float32"].stat().st_size / files["per channel"].stat().st_size
size_ratio = record(
    "size.file",
    Reading(ratio, "x", "measured", "file sizes on disk, float32 over INT8"),
)

# %%
contenders = {
    name: open_engine(files[name], threads=threads)
    for name in ("float32", "per channel")
}
contenders["QOperator, signed"] = open_engine(
    ptq.quantize_static(
        float32.path,
        work / "qoperator.onnx",
        ranges=ranges,
        activation="int8",
        format="qoperator",
    ).path,
    threads=threads,
)
race = latency.measure_latency(
    contenders, signs.test.x[:1], runs=runs, warmup=20, seed=seed
)
speed_up = record("speed_up.int8", race.speed_up("per channel", over="float32"))
race

# %% [markdown]
# If the INT8 network is not faster, ask the runtime **what it really ran**. The profile names each operator and the type in which it ran. Every
# conversion between float and integer is work that the float32 network does not have, and a small layer does not earn it back.

# %%
profiles = {
    name: contenders[name].profile(signs.test.x[:1], runs=40) for name in contenders
}
rows = []
for name, operators in profiles.items():
    total = sum(o.mean_ms for o in operators)
    integer = sum(o.mean_ms for o in operators if "int8" in o.ran_in)
    moving = sum(o.mean_ms for o in operators if "QuantizeLinear" in o.type)
    slowest = max(operators, key=lambda o: o.mean_ms)
    most = f"{slowest.type} ({100 * slowest.mean_ms / total:.0f} %)"
    shares = (100 * integer / total, 100 * moving / total)
    rows.append((name, len(operators), 1000 * total, *shares, most))
Table(
    "Why is my INT8 model slower? What really ran, by ONNX Runtime's profile",
    (
        "model",
        "operators",
        "microseconds",
        "% in integers",
        "% converting",
        "slowest operator",
    ),
    rows,
)

# %% [markdown]
# ### Dynamic quantization
#
# **Dynamic** quantization stores INT8 weights and finds the ranges of the activations at run time. It needs no calibration data. It is meant for large matrix
# products, so here it gets an LSTM and a pair of linear layers.


# %%
class Sequence(torch.nn.Module):
    """An LSTM over 32 steps with a linear head: large matrices, little else."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(64, 256, batch_first=True)
        self.head = torch.nn.Sequential(
            torch.nn.Linear(256, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 10)
        )

    def forward(self, x):
        return self.head(self.lstm(x.transpose(1, 2))[0][:, -1])


# %%
torch.manual_seed(seed)
steps = generator.standard_normal((1, 64, 32), dtype=np.float32)
sequence = export(Sequence().eval(), steps, work / "lstm.onnx")
dynamic = ptq.quantize_dynamic(sequence.path, work / "lstm-dynamic.onnx")
pair = {
    "float32": open_engine(sequence.path, threads=threads),
    "dynamic": open_engine(dynamic.path, threads=threads),
}
dynamic_race = latency.measure_latency(pair, steps, runs=runs, warmup=10, seed=seed)
dynamic_speed = record(
    "speed_up.dynamic_lstm", dynamic_race.speed_up("dynamic", over="float32")
)
shrink = Path(sequence.path).stat().st_size / Path(dynamic.path).stat().st_size
dynamic_size = record(
    "size.dynamic_lstm",
    Reading(shrink, "x", "measured", "file sizes on disk, float32 over dynamic"),
)

# %% [markdown]
# ### The wrong backend
#
# PyTorch quantizes for a **backend**: `x86` for desktops and servers, `qnnpack` for ARM phones. Nothing stops you from running one on the other's
# machine. Does anything warn you?

# %%
on_this_cpu = {
    name: TorchEngine(
        backends.quantize_for_backend(network, samples[:64], name), threads=threads
    )
    for name in ("x86", "qnnpack")
    if name in backends.available()
}
backend_race = latency.measure_latency(
    on_this_cpu, signs.test.x[:1], runs=runs // 2, warmup=10, seed=seed
)
backend_right = {
    name: engine.predict(signs.test.x[:500]).argmax(axis=1) == signs.test.y[:500]
    for name, engine in on_this_cpu.items()
}

# %%
backend_ratio = record("backend.qnnpack_to_x86", backend_race.ratio("qnnpack", "x86"))
Table(
    "No error, no warning",
    ("backend", "right", "p50"),
    [
        (
            name,
            record(
                f"accuracy.{name}",
                quality.accuracy_reading(hits, f"PyTorch with {name} kernels"),
            ).figure(),
            backend_race.readings[name]["p50"].figure(),
        )
        for name, hits in backend_right.items()
    ],
    "Measured on 500 test images and one CPU thread.",
)

# %% [markdown]
# Compare the two accuracies, not only the times. If one of them is no better than guessing, look at the network: on an x86 processor the `qnnpack`
# kernels of this PyTorch mix up the values behind a quantized ReLU6, and nothing says so. Whoever tests only the latency ships it.

# %% [markdown]
# ### Who loses most?
#
# One number for the whole test set hides who pays. Each group below is compared with itself, before and after. Where the interval spans zero,
# the test set cannot tell.

# %%
groups = quality.group_differences(
    right["float32"], right["per tensor"], signs.test.groups
)
groups

# %%
worst = groups.worst
record("loss.worst_group", worst.loss)
figure = ui.bars(
    [f"{g.grouping}: {g.name}" for g in groups.groups],
    [g.loss for g in groups.groups],
    title=f"{worst.name} loses {worst.loss.value:.1f} points; the average loses {loss_tensor.value:.1f}",
    y="points of accuracy lost, per tensor",
)
ui.show(
    figure,
    alt="Bars with intervals of the accuracy that each group of test images loses.",
)

# %% [markdown]
# ## Explore
#
# **Bits, symmetry, clipping.** The panel maps the stem's activations with the settings you choose. How much may you clip at 8 bits before
# the SQNR falls? And at 4? Why is symmetric a bad choice for these values, and what would you expect for weights?

# %%
sample = generator.choice(layer.ravel(), 4000, replace=False)


def staircase(bits, symmetric, clip):
    low, high = sample.min() * clip / 100, sample.max() * clip / 100
    x = np.linspace(min(sample.min(), -0.5), sample.max(), 800)
    decibels = sqnr_db(sample, round_trip(sample, low, high, bits, symmetric))
    used = len(np.unique(round_trip(sample, low, high, bits, symmetric)))
    return ui.stairs(
        {
            "after the round trip": (x, round_trip(x, low, high, bits, symmetric)),
            "before": (x, x),
        },
        title=f"SQNR {decibels:.1f} dB; {used} of {2**bits} integers are used",
        x="activation",
        y="what the network sees",
    )


ui.Panel(
    staircase,
    title="The affine mapping",
    alt="A staircase that follows the diagonal: the values after the round trip through integers over the values before.",
    bits=ui.slider(2, 8, 1, value=4, label="bits"),
    symmetric=ui.toggle(False, label="symmetric"),
    clip=ui.slider(10, 100, 5, value=100, label="percent of the range kept"),
)

# %% [markdown]
# **One scale or many.** Choose a layer and a number of bits, and compare the error of each channel.


# %%
def channels(layer, bits, per_channel):
    weight = kernels[layer].reshape(len(kernels[layer]), -1)
    reach = (
        np.abs(weight).max(axis=1, keepdims=True)
        if per_channel
        else np.full((len(weight), 1), np.abs(weight).max())
    )
    scale = np.maximum(reach, 1e-12) / (2 ** (bits - 1) - 1)
    noise = np.mean((weight - np.rint(weight / scale) * scale) ** 2, axis=1)
    decibels = np.sort(
        10 * np.log10(np.mean(weight**2, axis=1) / np.maximum(noise, 1e-20) + 1e-3)
    )
    return ui.lines(
        {"channels": (np.arange(1, len(decibels) + 1), decibels)},
        title=f"{(decibels < 10).sum()} of {len(decibels)} channels below 10 dB",
        x="channel, sorted",
        y="SQNR in dB",
    )


ui.Panel(
    channels,
    title="One scale or many",
    alt="Sorted SQNR of the channels of one layer.",
    layer=ui.choice(list(kernels), value=worst_layer.layer, label="layer"),
    bits=ui.slider(2, 8, 1, value=8, label="bits"),
    per_channel=ui.toggle(False, label="a scale for each channel"),
)

# %% [markdown]
# ## Claims

# %%
claim(
    "Q1",
    size_ratio,
    because="The weights alone shrink by nearly four; a small file also carries the graph, biases in 32 bits and the scales.",
)

# %%
claim("Q2", loss_channel)

# %%
claim(
    "Q3",
    speed_up,
    because="Small layers do not earn back the conversions; the profile above shows their share.",
)

# %%
claim("Q4", size=dynamic_size, speed=dynamic_speed)

# %%
claim("Q5", enough)

# %%
claim("Q6", trap)

# %%
claim(
    "Q7",
    record(
        "loss.tensor_minus_channel",
        quality.difference(right["per channel"], right["per tensor"]).loss,
    ),
)

# %%
claim("Q8", backend_ratio)

# %%
gap = quality.loss_gap(loss_tensor, residual_loss)
claim("Q9", record("loss.depthwise_minus_residual", gap))

# %%
claim(
    "Q12", record("loss.worst_minus_average", quality.loss_gap(worst.loss, loss_tensor))
)

# %% [markdown]
# ## Exercises
#
# You have seen every idea; now write the five functions that a quantizer is made of. Each check tests your function against the
# definition on cases that plausible mistakes get wrong.
#
# ### 1. Scale and zero point
#
# The range must contain zero, because padding and ReLU put out exact zeros and a zero must survive the round trip.


# %% tags=["exercise:affine"]
def scale_and_zero_point(low, high, bits=8):
    """(scale, zero_point) of the asymmetric mapping from [low, high] to the integers 0 .. 2**bits - 1."""
    # TODO: widen the range until it contains 0, divide it by the number of steps, and find the integer that stands for 0.
    ### BEGIN SOLUTION
    low, high = min(low, 0.0), max(high, 0.0)
    steps = 2**bits - 1
    scale = (high - low) / steps if high > low else 1.0
    zero_point = int(np.clip(np.rint(-low / scale), 0, steps))
    return scale, zero_point
    ### END SOLUTION


# %% [markdown] tags=["hints:affine"]
# 1. Eight bits have 256 values but 255 steps between them. Widen first: `low = min(low, 0)`, `high = max(high, 0)`.
# 2. The zero point is the integer that `low` is away from zero: `-low / scale`, rounded to an integer. A range of width zero needs any scale but 0.
# 3. `scale = (high - low) / (2**bits - 1)` (or 1.0 if that is 0) and `zero_point = int(np.rint(-low / scale))`.


# %% tags=["check:affine", "hidden"]
@checks("affine")
def _(c, scale_and_zero_point):
    def ranges():
        """Ranges whose zero point is no close call for any way of rounding to the nearest."""
        for bits, side, part in [
            (
                8,
                0,
                0.3,
            ),  # the zero point lies above an integer, where rounding up shows
            (8, 0, 0.7),  # and below one, where cutting off shows
            (4, 0, 0.6),
            (12, 0, 0.35),
            (8, 1, 0.0),
            (8, -1, 0.0),
        ]:
            reach = float(c.rng.uniform(0.7, 9.0))
            if side > 0:
                yield 0.1 * reach, reach, bits
            elif side < 0:
                yield -reach, -0.2 * reach, bits
            else:
                steps = 2**bits - 1
                cut = int(c.rng.integers(steps // 8, steps // 3)) + part
                yield -reach * cut / steps, reach * (1 - cut / steps), bits

    for low, high, bits in ranges():
        lo, hi, steps = min(low, 0.0), max(high, 0.0), 2**bits - 1
        scale = (hi - lo) / steps
        zero = round(-lo / scale)
        got = c.parts(
            scale_and_zero_point(low, high, bits), 2, wanted="scale and zero point"
        )
        name = f"[{low:.4g}, {high:.4g}] at {bits} bits"
        c.equal(
            got[0],
            scale,
            tested=f"the scale for {name}",
            mistakes={
                "the range was divided by the number of integers; there is one step less than there are integers": (
                    hi - lo
                )
                / (steps + 1),
                "this is the scale of a symmetric range": max(abs(lo), abs(hi))
                / (2 ** (bits - 1) - 1),
                "this is the scale of a symmetric range, and half of it": max(
                    abs(lo), abs(hi)
                )
                / steps,
                "the range does not contain zero: widen it first": (high - low) / steps,
                "only the upper end was used: the range goes from low to high": hi
                / steps,
                "the ends were added: the width is high - low": (hi + lo) / steps,
                "this is steps per unit: turn it over": steps / (hi - lo),
                "the number of bits is ignored": (hi - lo) / 255,
                "one bit was kept for the sign, but these integers have none": (hi - lo)
                / (2 ** (bits - 1) - 1),
                "the scale was rounded, too: only the zero point is an integer": round(
                    scale, 4
                ),
            },
        )
        found = c.whole(
            got[1],
            tested="that the zero point is an integer",
            mistake="the zero point was not rounded, so a real zero has no integer of its own",
        )
        c.equal(
            found,
            zero,
            tested=f"the zero point for {name}",
            mistakes={
                "the zero point was cut off, not rounded": (math.floor(-lo / scale)),
                "the zero point was rounded up, not to the nearest": (
                    math.ceil(-lo / scale)
                ),
                "the sign is wrong: low maps to the integer 0": (-zero),
                "this is the integer that stands for high": (round(hi / scale)),
                "this is a zero point for signed integers": (zero - 2 ** (bits - 1)),
                "this is the middle of the integers; only a symmetric range has its zero there": (
                    2 ** (bits - 1)
                ),
                "the zero point does not fit the type it was put into": (zero % 256),
            },
            remember={"zero is not always the lowest integer": (0)},
        )
    scale, zero = c.parts(
        scale_and_zero_point(0.0, 0.0, 8), 2, wanted="scale and zero point"
    )
    c.that(
        np.isfinite(scale) and scale > 0,
        tested="a tensor of zeros",
        found=f"the scale {float(scale)!r}",
        remember="a scale must be a positive number, also where the range has no width",
    )
    c.that(
        0 <= c.whole(zero, tested="the zero point of a tensor of zeros") <= 255,
        tested="the zero point of a tensor of zeros",
        found=zero,
        remember="the zero point is one of the integers from 0 to 255",
    )


# %% tags=["check:affine"]
check("affine", scale_and_zero_point)

# %% [markdown]
# ### 2. Quantize
#
# Values outside the range **saturate**: they take the nearest end. If they wrapped around instead, the largest activation would become the
# smallest.


# %% tags=["exercise:quantize"]
def quantize_uint8(values, scale, zero_point):
    """`values` as a uint8 array: divided, rounded half to even, shifted, saturated to 0 .. 255."""
    # TODO: divide, round with np.rint, add the zero point, clip, and only then convert the type.
    ### BEGIN SOLUTION
    integers = np.rint(np.asarray(values) / scale) + zero_point
    return np.clip(integers, 0, 255).astype(np.uint8)
    ### END SOLUTION


# %% [markdown] tags=["hints:quantize"]
# 1. The order matters: divide, round, add the zero point, clip, convert.
# 2. `np.rint` rounds half to even as the runtimes do. `astype` alone cuts off and wraps around.
# 3. `np.clip(np.rint(np.asarray(values) / scale) + zero_point, 0, 255).astype(np.uint8)`


# %% tags=["check:quantize", "hidden"]
@checks("quantize")
def _(c, quantize_uint8):
    def uint8(integers):
        return np.clip(integers, 0, 255).astype(np.uint8)

    def halves(ties, way):
        low = np.floor(ties)
        tie = ties - low == 0.5
        return np.where(tie, way(low), np.rint(ties))

    scale, zero_point = (
        float(c.rng.uniform(0.02, 0.06)),
        2 * int(c.rng.integers(40, 60)),
    )
    # No value is a close call: its distance from an integer is at most 0.4 of a step.
    steps = c.rng.integers(-2 * zero_point, 400, 500) + c.rng.uniform(-0.4, 0.4, 500)
    ends = np.array([-0.4, 0.4, 254.7, 255.3, 255.6, 256.3, -0.7, -1.2]) - zero_point
    inside = steps[(steps > 1 - zero_point) & (steps < 254 - zero_point)][:96]
    for x, tested in [
        (scale * inside, "values inside the range"),
        (
            scale * np.concatenate([steps, [0.0], ends]),
            "values in and out of the range",
        ),
    ]:
        q = x / scale
        got = quantize_uint8(x.copy(), scale, zero_point)
        c.that(
            getattr(got, "dtype", None) == np.uint8
            or "uint8" in str(getattr(got, "dtype", "")),
            tested="the type",
            found=f"{getattr(got, 'dtype', type(got).__name__)}; a uint8 array is wanted",
        )
        c.equal(
            got,
            uint8(np.rint(q) + zero_point),
            tested=tested,
            mistakes={
                "the values were cut off, not rounded": (
                    uint8(np.trunc(q) + zero_point)
                ),
                "the values were cut off after the shift, not rounded": (
                    uint8(np.floor(q + zero_point))
                ),
                "the values were rounded up, not to the nearest": (
                    uint8(np.ceil(q) + zero_point)
                ),
                "the zero point was not added": (uint8(np.rint(q))),
                "the zero point is subtracted; that belongs to the way back": (
                    uint8(np.rint(q) - zero_point)
                ),
                "the sign of the values was lost": (
                    uint8(np.rint(np.abs(q)) + zero_point)
                ),
                "values outside wrap around: clip before you convert": (
                    (np.rint(q) + zero_point).astype(np.int64).astype(np.uint8)
                ),
                "this is the range of int8; uint8 goes from 0 to 255": (
                    np.clip(np.rint(q) + zero_point, -128, 127)
                    .astype(np.int64)
                    .astype(np.uint8)
                ),
                "the values were clipped before the zero point was added": (
                    (np.clip(np.rint(q), 0, 255) + zero_point)
                    .astype(np.int64)
                    .astype(np.uint8)
                ),
                "the values were clipped before the zero point was added; clip last": (
                    uint8(np.clip(np.rint(q), -128, 127) + zero_point)
                ),
            },
            remember={
                "multiply by the scale is the way back: divide": (
                    uint8(np.rint(x * scale) + zero_point)
                ),
                "the zero point counts integers: it is added after the division": (
                    uint8(np.rint((x + zero_point) / scale))
                ),
                "the largest integer is 255": (
                    np.clip(np.rint(q) + zero_point, 0, 254).astype(np.uint8)
                ),
                "the smallest integer is 0": (
                    np.clip(np.rint(q) + zero_point, 1, 255).astype(np.uint8)
                ),
            },
        )
    for far, held in [(2e3, "16 bits"), (1.2e8, "32 bits")]:
        x = far * np.array([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])
        c.equal(
            quantize_uint8(x.copy(), 0.05, 101),
            np.where(x > 0, 255, 0).astype(np.uint8),
            tested="values very far outside, in two rows",
            mistakes={
                f"the values went through {held}, where the large ones became negative: clip first": np.zeros(
                    x.shape, np.uint8
                ),
                f"the values went through {held}, where they wrap around: clip first": np.where(
                    x > 0, 0, 255
                ).astype(np.uint8),
            },
        )
    ties = np.arange(-40, 41) + 0.5
    for zero_point in (100, 101):
        c.equal(
            quantize_uint8(ties * 0.25, 0.25, zero_point),
            uint8(np.rint(ties) + zero_point),
            tested=f"values exactly between two steps, zero point {zero_point}",
            mistakes={
                "the zero point was added before rounding: an odd one turns even neighbours into odd ones": uint8(
                    np.rint(ties + zero_point)
                ),
                "halves are rounded up; the runtimes round half to even": uint8(
                    np.floor(ties + 0.5) + zero_point
                ),
                "halves are rounded away from zero; the runtimes round half to even": uint8(
                    np.trunc(ties + np.copysign(0.5, ties)) + zero_point
                ),
                "halves are rounded down; the runtimes round half to even": uint8(
                    np.ceil(ties - 0.5) + zero_point
                ),
                "halves are rounded towards zero; the runtimes round half to even": uint8(
                    np.trunc(ties) + zero_point
                ),
                "halves go to the odd neighbour; the runtimes round half to even": uint8(
                    halves(ties, lambda low: low + (low % 2 == 0)) + zero_point
                ),
            },
        )


# %% tags=["check:quantize"]
check("quantize", quantize_uint8)

# %% [markdown]
# ### 3. Signal to quantization noise
#
# Decibels compare **powers**, so ten times the logarithm of the ratio of the mean squares.


# %% tags=["exercise:sqnr"]
def sqnr(reference, approximation):
    """Signal-to-quantization-noise ratio in dB; infinite if the two are equal."""
    # TODO: the power of the reference over the power of the error, in decibels.
    ### BEGIN SOLUTION
    reference, approximation = (
        np.asarray(reference, float),
        np.asarray(approximation, float),
    )
    noise = np.mean((reference - approximation) ** 2)
    if noise == 0:
        return math.inf
    return float(10 * np.log10(np.mean(reference**2) / noise))
    ### END SOLUTION


# %% [markdown] tags=["hints:sqnr"]
# 1. The noise is the difference of the two arrays; the power of an array is the mean of its squares.
# 2. `10 * log10(signal power / noise power)`; return `math.inf` when the noise is 0.
# 3. `noise = np.mean((reference - approximation) ** 2)`, then `10 * np.log10(np.mean(reference ** 2) / noise)`.


# %% tags=["check:sqnr", "hidden"]
@checks("sqnr")
def _(c, sqnr):
    def decibels(x, y):
        return 10 * np.log10(np.mean(x**2) / np.mean((x - y) ** 2))

    x = c.rng.normal(1.5, 1.0, 4000)  # not centred, so that variance and power differ
    step = float(c.rng.uniform(0.03, 0.08))
    grid = np.rint(x / step) * step + 0.2 * step
    rows = c.rng.normal(-0.7, 2.0, (40, 50)) * np.linspace(0.2, 3.0, 50)
    for x, y, tested in [
        (x, grid, "4,000 values rounded to a grid"),
        (
            rows,
            rows * np.linspace(0.35, 0.75, 50),
            "values that came out too small, in 40 rows",
        ),
    ]:
        power, error = decibels(x, y), x - y
        signal, noise = np.mean(x**2), np.mean(error**2)
        c.close(
            sqnr(x.copy(), y.copy()),
            power,
            1e-3,
            tested=tested,
            mistakes={
                "the ratio is upside down": (-power),
                "this is the ratio of the amplitudes: powers are mean squares": (
                    power / 2
                ),
                "this is the ratio, not yet in decibels": (signal / noise),
                "this is the natural logarithm": (np.log(signal / noise)),
                "this is the logarithm to the base 2": (10 * np.log2(signal / noise)),
                "one of the powers is a sum and the other a mean": (
                    10 * np.log10(np.sum(x**2) / noise)
                ),
            },
            remember={
                "20 belongs to a ratio of amplitudes; these are powers": (2 * power),
                "ten times the natural logarithm is not a decibel": (
                    10 * np.log(signal / noise)
                ),
                "a decibel is a tenth of a bel: ten times the logarithm": (
                    np.log10(signal / noise)
                ),
                "the power is the mean square, not the variance: the mean of the signal counts": (
                    10 * np.log10(np.var(x) / np.var(error))
                ),
                "the power of the signal is the mean square, not the variance": (
                    10 * np.log10(np.var(x) / noise)
                ),
                "the power of the noise is the mean square, not the variance: a constant error counts": (
                    10 * np.log10(signal / np.var(error))
                ),
                "the power is the mean square, not the mean of the absolute values": (
                    10 * np.log10(np.mean(np.abs(x)) / np.mean(np.abs(error)))
                ),
                "square first, then take the mean: signs cancel in a mean": (
                    10 * np.log10(np.mean(x) ** 2 / np.mean(error) ** 2)
                ),
                "the signal is the reference, not the approximation": (
                    10 * np.log10(np.mean(y**2) / noise)
                ),
                "the peak belongs to PSNR; take the mean square": (
                    10 * np.log10(np.max(x**2) / noise)
                ),
                "the mean is taken over all values, not over one axis": (
                    np.mean(
                        10 * np.log10(np.mean(x**2, axis=0) / np.mean(error**2, axis=0))
                    )
                ),
                "take the means first and then the ratio: this averages one ratio for each value": (
                    10 * np.log10(np.mean(x**2 / np.maximum(error**2, 1e-300)))
                ),
            },
        )
    c.equal(sqnr(x, x.copy()), np.inf, tested="a perfect copy")
    # Exact in float32, too: values of 1 to 5 in steps of 1/8, errors of 2**-17 that cancel.
    near = 1.0 + c.rng.integers(0, 33, 64) / 8
    signs = c.rng.permutation(np.repeat([1.0, -1.0], 32))
    c.close(
        sqnr(near.copy(), near + signs * 2.0**-17),
        decibels(near, near + signs * 2.0**-17),
        1e-3,
        tested="very small errors whose mean is 0",
        mistakes={
            "the errors cancel in their mean, but each of them is noise: only equal arrays have none": np.inf
        },
    )


# %% tags=["check:sqnr"]
check("sqnr", sqnr)

# %% [markdown]
# ### 4. One scale for each channel
#
# A weight of shape (output channels, input channels, kernel, kernel) gets one scale for each **output** channel, so that a channel with large
# weights does not coarsen the others.


# %% tags=["exercise:per_channel"]
def fake_quantize_per_channel(weight, bits=8):
    """`weight` (out, ...) after a symmetric round trip through `bits`-bit integers, one scale for each output channel."""
    # TODO: the largest absolute value of each output channel, one scale each (an all-zero channel may take any scale),
    # then round, clip to -(2**(bits-1) - 1) .. 2**(bits-1) - 1, and multiply back.
    ### BEGIN SOLUTION
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(reach > 0, reach, 1.0) / largest
    scale = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return np.clip(np.rint(weight / scale), -largest, largest) * scale
    ### END SOLUTION


# %% [markdown] tags=["hints:per_channel"]
# 1. Flatten all but the first axis: `np.abs(weight).reshape(len(weight), -1).max(axis=1)` is one number a channel.
# 2. Eight symmetric bits go from -127 to 127. Give the scales the shape (out, 1, 1, 1), so that numpy spreads them over the kernel.
# 3. `scale = (np.where(reach > 0, reach, 1) / largest).reshape(-1, *[1] * (weight.ndim - 1))`, then `np.clip(np.rint(weight / scale), -largest, largest) * scale`.


# %% tags=["check:per_channel", "hidden"]
@checks("per_channel")
def _(c, fake_quantize_per_channel):
    def most(bits):
        return 2 ** (bits - 1) - 1

    def fake(w, bits, axes, largest=0, rounding=np.rint, size=np.abs, reach=np.max):
        largest = largest or most(bits)
        r = reach(size(w), axis=axes, keepdims=True)
        s = np.where(r > 0, r, 1.0) / largest
        return np.clip(rounding(w / s), -largest, largest) * s

    for shape, bits in [
        ((6, 6, 3, 3), 8),
        ((8, 1, 3, 3), 4),
        ((5, 7), 8),
        ((4, 3, 5), 6),
    ]:
        # Each channel is whole steps and at most 0.4 of one, so that no rounding is a close call.
        inner = tuple(range(1, len(shape)))
        steps = c.rng.integers(1 - most(bits), most(bits), shape)
        w = steps + c.rng.uniform(-0.4, 0.4, shape)
        flat = w.reshape(len(w), -1)
        flat[:, 0] = most(
            bits
        )  # the largest of its channel, and in some a negative one
        flat[::2, 0] *= -1.0
        w *= 4.0 ** c.rng.uniform(-2, 2, (shape[0],) + (1,) * len(inner))
        scale = np.abs(w).max(axis=inner, keepdims=True) / most(bits)
        c.equal(
            fake_quantize_per_channel(w.copy(), bits),
            fake(w, bits, inner),
            tested=f"a weight of shape {shape} at {bits} bits",
            mistakes={
                "this is one scale for the whole tensor": (fake(w, bits, None)),
                "the channels with a scale of their own are the input channels; take the output channels (axis 0)": (
                    fake(w, bits, (0,) + tuple(range(2, len(shape))))
                ),
                "a scale was made for each row of the kernel: take the maximum over everything but axis 0": (
                    fake(w, bits, (-1,))
                ),
                "a scale was made for each place of the kernel: take the maximum over everything but axis 0": (
                    fake(w, bits, (0,))
                ),
                "a scale was made for each pair of channels: take the maximum over everything but axis 0": (
                    fake(w, bits, tuple(range(2, len(shape))) or (0,))
                ),
                "these are the steps of integers without a sign; half of them are negative": (
                    fake(w, bits, inner, 2**bits - 1)
                ),
                "the number of bits is ignored": (
                    fake(w, 8, inner) if bits != 8 else np.nan
                ),
                "these are the integers: multiply by the scale to come back": (
                    np.rint(w / scale)
                ),
                "nothing was rounded": (w),
                "the values were cut off, not rounded": (
                    fake(w, bits, inner, rounding=np.trunc)
                ),
                "the values were rounded down, not to the nearest": (
                    fake(w, bits, inner, rounding=np.floor)
                ),
                "the values were rounded up, not to the nearest": (
                    fake(w, bits, inner, rounding=np.ceil)
                ),
                "the largest value was taken with its sign: a channel may reach further down than up": (
                    np.clip(
                        np.rint(
                            w
                            / (
                                signed := np.maximum(
                                    w.max(axis=inner, keepdims=True), 1e-9
                                )
                                / most(bits)
                            )
                        ),
                        -most(bits),
                        most(bits),
                    )
                    * signed
                ),
                "this is the mean of the absolute values: the scale needs the largest": (
                    fake(w, bits, inner, reach=np.mean)
                ),
                "this is the spread of a channel: the scale needs its largest absolute value": (
                    fake(w, bits, inner, size=lambda v: v, reach=np.std)
                ),
                "this is half the width of the range, which is right only if the range is symmetric": (
                    fake(
                        w,
                        bits,
                        inner,
                        size=lambda v: v,
                        reach=lambda v, **over: (v.max(**over) - v.min(**over)) / 2,
                    )
                ),
            },
            remember={
                "symmetric integers of this width end one earlier: 127 for 8 bits": (
                    fake(w, bits, inner, 2 ** (bits - 1))
                )
            },
        )
    dead = np.zeros((3, 2, 3, 3))
    dead[0] = 1.0
    got = fake_quantize_per_channel(dead.copy(), 8)
    c.that(
        np.isfinite(got),
        tested="a weight with channels that are all zero",
        found="values that are no numbers",
        mistake="a channel of zeros was divided by its scale of 0",
    )
    c.equal(got, dead, tested="a weight with channels that are all zero")


# %% tags=["check:per_channel"]
check("per_channel", fake_quantize_per_channel)

# %% [markdown]
# ### 5. Who loses most?
#
# The top line says one point lost. Somebody lost more. Compare the two networks **item by item** within each group, and leave out
# groups that are too small to tell anything.


# %% tags=["exercise:worst_group"]
def worst_group(correct_before, correct_after, groups, smallest=30):
    """(name, loss in points) of the group of at least `smallest` items that loses most accuracy."""
    # TODO: for each group name: skip small groups, take the mean of both boolean arrays over its items,
    # and keep the largest loss, in percentage points.
    ### BEGIN SOLUTION
    losses = {}
    for name in np.unique(groups):
        members = groups == name
        if members.sum() >= smallest:
            losses[str(name)] = 100 * float(
                correct_before[members].mean() - correct_after[members].mean()
            )
    worst = max(losses, key=losses.get)
    return worst, losses[worst]
    ### END SOLUTION


# %% [markdown] tags=["hints:worst_group"]
# 1. `groups == name` selects the items of a group; the mean of booleans is an accuracy.
# 2. A loss is before minus after, times 100 for points, divided by the size of the **group**, not of the whole test set.
# 3. Build a dict `{name: 100 * (correct_before[m].mean() - correct_after[m].mean())}` for groups with `m.sum() >= smallest` and take `max(losses, key=losses.get)`.


# %% tags=["check:worst_group", "hidden"]
@checks("worst_group")
def _(c, worst_group):
    def outcome(**groups):
        """Shuffled (before, after, groups): for each group the items kept, lost, won, and wrong in both."""
        names, before, after = [], [], []
        for name, (kept, lost, won, wrong) in groups.items():
            names += [name] * (kept + lost + won + wrong)
            before += [True] * (kept + lost) + [False] * (won + wrong)
            after += [True] * kept + [False] * lost + [True] * won + [False] * wrong
        order = c.rng.permutation(len(names))
        return tuple(np.array(x)[order] for x in (before, after, names))

    def ask(before, after, groups, right, tested, mistakes, remember=(), **settings):
        def share(name):
            m = groups == name
            return before[m], after[m]

        got = worst_group(before.copy(), after.copy(), groups.copy(), **settings)
        name, points = c.parts(got, 2, wanted="the name and the loss in points")
        c.equal(name, right, tested=tested, mistakes=mistakes, remember=dict(remember))
        b, a = share(right)
        loss = 100 * (b.mean() - a.mean())
        c.equal(
            points,
            float(loss),
            tested=f"the loss of that group in points, with {tested}",
            mistakes={
                "the items that got better were left out: a loss is the accuracy before minus the accuracy after": (
                    100 * (b & ~a).mean()
                ),
                "the sign is wrong: a loss is before minus after": (-loss),
                "this is the accuracy afterwards, not the loss": (100 * a.mean()),
                "this is the accuracy before, not the loss": (100 * b.mean()),
                "this is a relative loss: points are a difference of percentages": (
                    100 * (1 - a.mean() / b.mean())
                ),
                "this is a number of items, not a share": (b.sum() - a.sum()),
                "this is the loss beyond the average of all": (
                    loss - 100 * (before.mean() - after.mean())
                ),
                "the loss was rounded": (round(loss, 1)),
            },
            remember={
                "divide by the size of the group, not of the test set": (
                    100 * (b.sum() - a.sum()) / len(groups)
                ),
                "points are percent: this is a fraction": (loss / 100),
            },
        )

    n = int(c.rng.integers(0, 9))
    ask(
        *outcome(
            day=(540 + n, 34, 4, 20),
            night=(88, 6 + n // 4, 2, 24 + n),
            fog=(40, 15, 4, 3 + n // 2),
            snow=(3, 4, 0, 1),
            dusk=(41, 18, 12, n),
        ),
        "fog",
        "five groups of about 600, 120, 65, 8 and 75 items",
        {
            "day loses the most items but it is ten times larger: divide by the size of the group": "day",
            "night is the worst afterwards, but it was nearly as bad before: compare before and after": "night",
            "snow has 8 items, too few to tell: leave out small groups": "snow",
            "dusk also won back many items: compare the two accuracies, not the items that were lost": "dusk",
        },
    )
    ask(
        *outcome(rain=(25, 5, 0, 0), sun=(200, 9, 2, n), hail=(22, 7, 0, 0)),
        "rain",
        "a group of exactly 30 items and one of 29",
        {"hail has 29 items, too few to tell: leave out small groups": "hail"},
        {"a group of exactly `smallest` items is large enough": "sun"},
    )
    ask(
        *outcome(left=(50, 2, 12, 30 + n), right=(60, 7, 1, 20), up=(70, 3, 2, 9)),
        "right",
        "a group that became better",
        {
            "left became better: a change is a loss only if the accuracy falls, so keep the sign": "left"
        },
    )
    ask(
        *outcome(small=(10, 12, 0, 2), large=(100, 7, 1, n), tiny=(1, 4, 0, 0)),
        "small",
        "a limit of 20 items",
        {"the argument `smallest` is ignored: it is not always 30": "large"},
        {"groups below `smallest` are left out": "tiny"},
        smallest=20,
    )
    ask(
        *outcome(one=(400, 30, 3, 60 + n), two=(40, 50, 0, 9), three=(30, 3, 0, 0)),
        "one",
        "a limit that leaves one group",
        {"the argument `smallest` is ignored": "two"},
        smallest=400,
    )


# %% tags=["check:worst_group"]
check("worst_group", worst_group)

# %% [markdown]
# ## Bring your own
#
# `my_data` takes an `.npz` with `x` (float32, channels first), `y` and, if you have it, `group`; `my_model` a float32 `.onnx` that takes `x`. The first half of your
# data calibrates, the second half judges. Leave them empty and this section runs on the lab's own. Later, in a terminal:
# `uv run edgelab compare FLOAT.onnx INT8.onnx --data FILE.npz`.

# %%
model_file = Path(my_model) if my_model else float32.path
data_file = (
    Path(my_data) if my_data else signs.to_npz(work / "signs.npz", group="occlusion")
)
own = load_arrays(data_file)
half = len(own.x) // 2
rest = None if own.group is None else own.group[half:]
held_out = save_arrays(work / "held-out.npz", own.x[half:], own.y[half:], rest)
yours = {
    name: ptq.quantize_static(
        model_file,
        work / f"own-{name}.onnx",
        own.x[:half][:calibration_items],
        per_channel=per_channel,
    ).path
    for name, per_channel in {"per-tensor": False, "per-channel": True}.items()
}
compare(model_file, list(yours.values()), held_out)

# %% [markdown]
# ## What to remember
#
# - `real = scale * (integer - zero_point)`. One bit is worth 6 dB; an outlier takes bits away from everybody else.
# - Ask for one weight scale per **channel**. It costs nothing at run time, and without it a depthwise network can lose a lot.
# - Calibrate with samples from the field, all classes among them. A hundred or two are usually enough; which ones matters more than how many.
# - Smaller is certain, faster is not. Profile what ran, in which type, on the machine that will run it.
# - Report the loss by group, with intervals, on the same items. Somebody always loses more than the average.
#
# **Sources.** Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*, 2018 (the affine mapping).
# Krishnamoorthi, *Quantizing deep convolutional networks for efficient inference*, 2018 (per channel). Nagel et al., *Data-Free Quantization through Weight
# Equalization and Bias Correction*, 2019 (why depthwise layers suffer). Migacz, *8-bit Inference with TensorRT*, 2017 (entropy calibration). Hooker et al.,
# *Characterising Bias in Compressed Models*, 2020 (who loses). The ONNX operator specification, QuantizeLinear.
