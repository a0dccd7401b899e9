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
# A trained network stores 32-bit numbers. Most of those bits carry nothing that the answer needs. Stored in 8 bits the network is smaller; it may
# be faster, and it may be ruined. This lab shows which of these you get, and how to know before your users do.
#
# ## What you will be able to do
#
# - build the **affine mapping** between real numbers and integers, and predict its error;
# - choose a range by **calibration**, and see when the choice matters;
# - quantize a network with ONNX Runtime, and find out **why** it lost accuracy;
# - say which **layers** are sensitive and which **people or cases** pay for the loss;
# - find out whether an INT8 model is **faster or slower** than its float32 original, and read the reason in a profile.
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
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from edgelab import Reading, Table, data, nets, record, ui
from edgelab.compress import affine, backends, calibration, ptq, weights
from edgelab.convert.onnx import export
from edgelab.course import begin, by_side, check, claim, finding, listed, side_of
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
# Each bit halves the step, and half the noise is <span class="given" title="20 times the decimal logarithm of 2">6.02 dB</span> less. The
# height of a curve is another matter: values that fill their range use the bits, values with rare outliers waste them. Compare the three.

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
at_8_bits = [curve[1][6] for curve in list(curves.values())[1:]]
wasted = (at_8_bits[0] - at_8_bits[1]) / slope
figure = ui.lines(
    curves,
    title=f"Each bit buys {slope:.1f} dB; the outlier is worth {wasted:.1f} bits at 8 bits",
    x="bits",
    y="SQNR in dB",
)
ui.show(
    figure,
    alt="Lines of SQNR over bits, one for each of three tensors.",
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
    title=f"Points lost: {loss_tensor.value:.2f} with one scale for each tensor, {loss_channel.value:.2f} with one for each channel",
    y="points of accuracy lost",
)
ui.show(
    figure,
    alt="Two bars with intervals: accuracy lost with one weight scale per tensor and with one per channel.",
)

# %%
guess_tensor.against(loss_tensor)


# %% tags=["finding:scales"]
def finding_scales(tensor, channel):
    costs = {
        "above": "loses {} against float32",
        "below": "gains accuracy against float32, a loss of {}",
        "unclear": "loses no more than the noise, {}",
    }
    one, each = by_side(tensor, 0, **costs), by_side(channel, 0, **costs)
    return (
        f"With one scale for each weight tensor the network {one}; "
        f"with one for each channel it {each}."
    )


finding(finding_scales, loss_tensor, loss_channel)


# %% [markdown]
# The intervals come from comparing the two networks on the **same** test images, item by item. That is much sharper than
# comparing two accuracies.
#
# ### Where does one scale hurt?
#
# Look at the weights after batch normalisation is folded into them, as every runtime does. In a depthwise layer each channel has a kernel of
# its own. If one channel's weights are far larger than the others', then one scale for all leaves the others a handful of steps.

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
by_method, found = {}, {}
for name, method in methods.items():
    found[name] = ptq.collect_ranges(float32.path, samples, method=method)
    _, hits, _ = quantized(f"method-{method}", per_channel=True, ranges=found[name])
    by_method[name] = record(
        f"loss.method.{method}", quality.difference(right["float32"], hits).loss
    )

# %% [markdown]
# Which method costs most, and is it the clipping? Take the tensor where that method keeps the smallest part of the range that min-max saw, set this one
# range back to min-max, and measure again.

# %%
costly = max(by_method, key=lambda name: by_method[name].value)
kept = {
    tensor: (end - start) / (high - low)
    for (tensor, (low, high)), (start, end) in zip(
        ranges.ranges.items(), found[costly].ranges.values(), strict=True
    )
}
narrowest = min(kept, key=kept.get)
mixed = found[costly].ranges | {narrowest: ranges.ranges[narrowest]}
_, hits, _ = quantized(
    "widened", per_channel=True, ranges=replace(found[costly], ranges=mixed)
)
widened = record("loss.method.widened", quality.difference(right["float32"], hits).loss)


# %% tags=["finding:methods"]
def finding_methods(losses, costly, tensor, kept, widened):
    loss = losses[costly]
    if side_of(loss, 0) != "above":
        return "No method costs accuracy that this test set can tell from nothing."
    text = f"The method {costly} costs most: {loss.figure()}."
    if kept > 0.95:
        return f"{text} It keeps nearly the whole range, so clipping is not why."
    text += f" In `{tensor}` it keeps {kept:.0%} of the range and clips the rest."
    mended = side_of(widened, loss.low) == "below"
    why = "the clipping did it" if mended else "that is not the whole reason"
    return f"{text} With this range as in min-max: {widened.figure()}; {why}."


finding(finding_methods, by_method, costly, narrowest, kept[narrowest], widened)


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
    title="Points lost against float32: {:.2f} with five classes, {:.2f} with the night alone".format(
        *(loss.value for loss in traps.values())
    ),
    y="points of accuracy lost",
)
ui.show(
    figure,
    alt="Bars of accuracy lost by calibration method, by number of samples, with five classes only, and with night images only.",
)


# %% tags=["finding:traps"]
def finding_traps(all_classes, traps):
    told = {
        "above": "costs {}",
        "below": "costs nothing, {}",
        "unclear": "costs nothing that this test set can tell, {}",
    }
    sets = [f"{name}: {by_side(loss, 0, **told)}" for name, loss in traps.items()]
    return (
        f"Against float32, a sample of everything {by_side(all_classes, 0, **told)}. "
        f"The traps: {'; '.join(sets)}."
    )


finding(finding_traps, losses["per channel"].loss, traps)


# %% [markdown]
# Think of the **range of the activations**, not of the list of classes. What a calibration image does not reach is clipped later. Images of a few classes
# in every light can reach as far as images of all; images of one light may not. Ask which of the two your own collection resembles.

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
    alt="Accuracy over the bits of a weight, with one scale per tensor and with one per channel.",
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
weights_ratio = record(
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


# %% tags=["finding:size"]
def finding_size(weights, file):
    text = f"The weights take {weights.figure()} less room, the file {file.figure()}"
    if file.value > 0.9 * weights.value:
        return f"{text}: the file is little else than its weights."
    return f"{text}: it also carries the graph, biases in 32 bits and the scales, which a small network notices."


finding(finding_size, weights_ratio, size_ratio)

# %%
contenders = {
    name: open_engine(files[name], threads=threads)
    for name in ("float32", "per channel", "per tensor")
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
channel_time = record("time.channel_to_tensor", race.ratio("per channel", "per tensor"))
race

# %% [markdown]
# ### Why is my INT8 model faster, or slower?
#
# Ask the runtime **what it really ran**. The profile names each operator and the type in which it ran. Two things can eat a gain: conversions between
# float and integer, which the float32 network does not have, and operators that went on in float32. If neither takes much, the integer kernels decide.

# %%
profiles = {
    name: contenders[name].profile(signs.test.x[:1], runs=40) for name in contenders
}
rows, shares = [], {}
for name, operators in profiles.items():
    total = sum(o.median_ms for o in operators)
    integer = sum(o.median_ms for o in operators if "int8" in o.ran_in)
    moving = sum(o.median_ms for o in operators if "QuantizeLinear" in o.type)
    slowest = max(operators, key=lambda o: o.median_ms)
    most = f"{slowest.type} ({100 * slowest.median_ms / total:.0f} %)"
    shares[name] = (100 * integer / total, 100 * moving / total)
    rows.append((name, len(operators), 1000 * total, *shares[name], most))
Table(
    "What really ran, by ONNX Runtime's profile",
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


# %% tags=["finding:speed"]
def finding_speed(speed_up):
    return by_side(
        speed_up,
        1,
        above="INT8 is faster here: {} as fast as float32.",
        below="INT8 is slower here: {} as fast as float32.",
        unclear="Which of the two is faster cannot be told here: {}.",
    )


finding(finding_speed, speed_up)


# %% tags=["finding:profile"]
def finding_profile(speed_up, integer, converting):
    text = f"Conversions take {converting:.1f} % of INT8's time"
    if converting >= 10:
        return (
            f"{text}, work that float32 does not have; {integer:.0f} % ran in integers."
        )
    text += " and decide little."
    if integer < 80:
        return f"{text} Only {integer:.0f} % ran in integers, the rest in float32."
    kernels = {"above": "faster", "below": "slower"}.get(side_of(speed_up, 1))
    text += f" {integer:.0f} % ran in integer kernels"
    if kernels is None:
        return f"{text}; whether these gain anything, the race cannot tell."
    return f"{text}, which are {kernels} than the float32 ones on this processor."


finding(finding_profile, speed_up, *shares["per channel"])


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
# PyTorch quantizes for a **backend**: `fbgemm` has kernels for the x86 processors of desktops and servers, `qnnpack` for ARM phones. Nothing stops you
# from running one on the other's machine. Does anything warn you? A third one, `x86`, is what PyTorch takes if you choose nothing: it picks among two
# sets of kernels layer by layer, which can be slow on a small network, too. So the wrong backend is held against `fbgemm`, not against a slow default.

# %%
native, foreign = backends.native_and_foreign()
on_this_cpu = {
    name: TorchEngine(
        backends.quantize_for_backend(network, samples, name), threads=threads
    )
    for name in dict.fromkeys((native, "x86", foreign))
    if name in backends.available()
}
backend_race = latency.measure_latency(
    on_this_cpu, signs.test.x[:1], runs=runs, warmup=10, seed=seed
)
backend_right = {
    name: engine.predict(signs.test.x[:500]).argmax(axis=1) == signs.test.y[:500]
    for name, engine in on_this_cpu.items()
}

# %%
for other in on_this_cpu:
    if other != native:
        ratio = backend_race.ratio(other, native)
        record(f"backend.{other}_to_{native}", ratio)
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
    f"Measured on 500 test images and one CPU thread; calibrated with {len(samples)} images. {backend_race.note}".strip(),
)


# %% tags=["finding:backends"]
def finding_backends(accuracy, guessing):
    lost = [n for n, r in accuracy.items() if side_of(r, guessing) != "above"]
    if lost:
        return (
            f"No error and no warning, and with {listed(lost)} the network is no better "
            "than guessing. Whoever tests only the latency ships it."
        )
    apart = max(r.value for r in accuracy.values()) - min(
        r.value for r in accuracy.values()
    )
    return (
        f"No error and no warning; the accuracies lie {apart:.1f} points apart. "
        "Whether one is faster is another matter: look at the times."
    )


finding(
    finding_backends,
    {n: quality.accuracy_reading(hits, n) for n, hits in backend_right.items()},
    100 / len(signs.class_names),
)

# %% [markdown]
# Compare the accuracies, not only the times. Kernels for another processor can compute something else without saying so. Known of `qnnpack` on x86
# processors in some versions of PyTorch: it mixes up the values behind a quantized ReLU6.

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


# %% tags=["finding:groups"]
def finding_groups(name, loss, tells, average):
    text = f"The group {name} loses most, {loss.figure()}; "
    text += f"all images together lose {average.figure()}."
    text += "" if tells else " That group alone may be chance."
    return (
        f"{text} Some group always loses most. Whether rare classes lose more than common "
        "ones is another question, which the claim Q12 asks."
    )


finding(finding_groups, worst.name, worst.loss, worst.tells, loss_tensor)

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
poor = 10  # dB: the noise has a tenth of the signal's power


def channels(layer, bits, per_channel):
    weight = kernels[layer].reshape(len(kernels[layer]), -1)
    reach = np.abs(weight).max(axis=1, keepdims=True)
    if not per_channel:
        reach = np.full_like(reach, reach.max())
    scale = np.maximum(reach, 1e-12) / (2 ** (bits - 1) - 1)
    noise = np.mean((weight - np.rint(weight / scale) * scale) ** 2, axis=1)
    decibels = np.sort(
        10 * np.log10(np.mean(weight**2, axis=1) / np.maximum(noise, 1e-20) + 1e-3)
    )
    return ui.lines(
        {"channels": (np.arange(1, len(decibels) + 1), decibels)},
        title=f"{(decibels < poor).sum()} of {len(decibels)} channels below {poor} dB",
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
    because=finding_size(weights_ratio, size_ratio),
)

# %%
claim("Q2", loss_channel)

# %%
claim(
    "Q3",
    speed_up,
    because=finding_profile(speed_up, *shares["per channel"]),
)

# %%
claim("Q4", size=dynamic_size, speed=dynamic_speed)

# %%
claim("Q5", enough)

# %%
claim("Q6", trap)

# %%
by_scale = record(
    "loss.tensor_minus_channel",
    quality.difference(right["per channel"], right["per tensor"]).loss,
)
claim("Q7", by_scale)

# %%
if foreign is not None:  # a PyTorch for ARM has no kernels for x86
    claim("Q8", backend_race.ratio(foreign, native))

# %%
gap = quality.loss_gap(loss_tensor, residual_loss)
claim("Q9", record("loss.depthwise_minus_residual", gap))

# %%
rare = signs.test.groups["rarity"] == "rare"
gap = quality.loss_contrast(
    right["float32"], right["per tensor"], rare, looks=len(signs.test.groups)
)
claim(
    "Q12",
    record("loss.rare_minus_common", gap),
    because=f"{worst.name} happens to lose most; some group always does, so that tests nothing. "
    "Rare and common were named before.",
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
    cases = [
        (-1.0, 3.0, 8),
        (-0.37, 1.91, 8),
        (-2.0, 0.7, 4),
        (0.5, 6.0, 8),
        (-5.0, -1.0, 8),
    ]
    for low, high, bits in cases:
        lo, hi, steps = min(low, 0.0), max(high, 0.0), 2**bits - 1
        scale = (hi - lo) / steps
        zero = round(-lo / scale)
        got = scale_and_zero_point(low, high, bits)
        c.that(
            isinstance(got, tuple) and len(got) == 2,
            tested="the answer",
            found=f"{got!r}; return scale and zero point",
        )
        c.close(
            got[0],
            scale,
            1e-9 * scale,
            tested=f"the scale for [{low}, {high}] at {bits} bits",
            mistakes={
                "there is one step less than there are integers": (hi - lo)
                / (steps + 1),
                "this is the scale of a symmetric range": max(abs(lo), abs(hi))
                / (2 ** (bits - 1) - 1),
                "the range does not contain zero: widen it first": (high - low) / steps,
                "this is steps per unit: turn it over": steps / (hi - lo),
                "the number of bits is ignored": (hi - lo) / 255,
            },
        )
        c.that(
            float(got[1]).is_integer(),
            tested="that the zero point is an integer",
            found=f"{got[1]!r}; the zero point was not rounded, so a real zero has no integer of its own",
        )
        c.equal(
            int(got[1]),
            zero,
            tested=f"the zero point for [{low}, {high}] at {bits} bits",
            mistakes={
                "the zero point was cut off, not rounded": int(-lo / scale),
                "the sign is wrong: low maps to the integer 0": round(lo / scale),
                "this is the integer that stands for high": round(hi / scale),
                "this is a zero point for signed integers": zero - 2 ** (bits - 1),
            },
        )
    flat = scale_and_zero_point(0.0, 0.0, 8)
    c.that(
        np.isfinite(flat[0]) and flat[0] > 0,
        tested="a tensor of zeros",
        found=f"the scale {flat[0]!r}; it must be a positive number",
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
    draw = np.random.default_rng(2)
    scale, zero_point = 0.0371, 93
    x = np.concatenate([draw.normal(0, 2.0, 500), [0.0, 50.0, -50.0]])
    ties = (np.arange(-6, 7) + 0.5) * 0.25
    right = np.clip(np.rint(x / scale) + zero_point, 0, 255).astype(np.uint8)
    got = quantize_uint8(x.copy(), scale, zero_point)
    c.that(
        getattr(got, "dtype", None) == np.uint8,
        tested="the type",
        found=f"{getattr(got, 'dtype', type(got).__name__)}; a uint8 array is wanted",
    )
    wrapped = (np.rint(x / scale) + zero_point).astype(np.int64).astype(np.uint8)
    c.equal(
        got,
        right,
        tested="500 normal values, a zero, and two far outside",
        mistakes={
            "values outside wrap around: clip before you convert": wrapped,
            "the values were cut off, not rounded": np.clip(
                (x / scale).astype(np.int64) + zero_point, 0, 255
            ).astype(np.uint8),
            "the values were cut off after the shift, not rounded": np.clip(
                x / scale + zero_point, 0, 255
            ).astype(np.uint8),
            "the zero point was not added": np.clip(np.rint(x / scale), 0, 255).astype(
                np.uint8
            ),
            "multiply by the scale is the way back: divide": np.clip(
                np.rint(x * scale) + zero_point, 0, 255
            ).astype(np.uint8),
            "this is the range of int8; uint8 goes from 0 to 255": np.clip(
                np.rint(x / scale) + zero_point, -128, 127
            ).astype(np.uint8),
            "the zero point is subtracted; that belongs to the way back": np.clip(
                np.rint(x / scale) - zero_point, 0, 255
            ).astype(np.uint8),
        },
    )
    c.equal(
        quantize_uint8(ties, 0.25, 100),
        np.rint(ties / 0.25).astype(int).astype(np.int16) + 100,
        tested="values exactly between two steps",
        mistakes={
            "halves are rounded up; the runtimes round half to even": np.floor(
                ties / 0.25 + 0.5
            ).astype(int)
            + 100
        },
    )


# %% tags=["check:quantize"]
check("quantize", quantize_uint8)

# %% [markdown]
# ### 3. Signal to quantization noise
#
# Decibels compare **powers**: <span class="given" title="the definition of the decibel">ten times the</span> decimal logarithm of the ratio of the mean squares.


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
    draw = np.random.default_rng(4)
    x = draw.normal(1.5, 1.0, 4000)  # not centred, so that variance and power differ
    y = np.rint(x / 0.05) * 0.05 + 0.01
    error = x - y
    power = 10 * np.log10(np.mean(x**2) / np.mean(error**2))
    c.close(
        sqnr(x.copy(), y.copy()),
        power,
        1e-6,
        tested="4,000 values rounded to a grid",
        mistakes={
            "20 belongs to a ratio of amplitudes; these are powers": 2 * power,
            "the ratio is upside down": -power,
            "this is the natural logarithm": np.log(np.mean(x**2) / np.mean(error**2)),
            "ten times the natural logarithm is not a decibel": 10
            * np.log(np.mean(x**2) / np.mean(error**2)),
            "the power is the mean square, not the variance: the mean of the signal counts": 10
            * np.log10(np.var(x) / np.var(error)),
            "the power is the mean square, not the mean of the absolute values": 10
            * np.log10(np.mean(np.abs(x)) / np.mean(np.abs(error))),
            "the peak belongs to PSNR; take the mean square": 10
            * np.log10(np.max(x**2) / np.mean(error**2)),
        },
    )
    c.equal(sqnr(x, x.copy()), np.inf, tested="a perfect copy")


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
    draw = np.random.default_rng(6)

    def reference(w, bits, axes, steps=None):
        largest = steps or 2 ** (bits - 1) - 1
        reach = np.abs(w).max(axis=axes, keepdims=True)
        s = np.where(reach > 0, reach, 1.0) / largest
        return np.clip(np.rint(w / s), -largest, largest) * s

    def scale_of(size, bits, axes):
        return np.maximum(size.max(axis=axes, keepdims=True), 1e-9) / (
            2 ** (bits - 1) - 1
        )

    def signed(w, bits, axes):
        s, largest = scale_of(w, bits, axes), 2 ** (bits - 1) - 1
        return np.clip(np.rint(w / s), -largest, largest) * s

    for shape, bits in [((6, 6, 3, 3), 8), ((8, 1, 3, 3), 4), ((5, 7), 8)]:
        w = draw.normal(0, 1, shape) * 4.0 ** draw.uniform(
            -2, 2, (shape[0],) + (1,) * (len(shape) - 1)
        )
        inner = tuple(range(1, len(shape)))
        got = fake_quantize_per_channel(w.copy(), bits)
        mistakes = {
            "this is one scale for the whole tensor": reference(
                w, bits, tuple(range(len(shape)))
            ),
            "the channels with a scale of their own are the input channels; take the output channels (axis 0)": reference(
                w, bits, (0,) + tuple(range(2, len(shape)))
            ),
            "a scale was made for each row of the kernel: take the maximum over everything but axis 0": reference(
                w, bits, (-1,)
            ),
            "symmetric integers of this width end one earlier: 127 for 8 bits": reference(
                w, bits, inner, 2 ** (bits - 1)
            ),
            "the number of bits is ignored": reference(w, 8, inner)
            if bits != 8
            else np.nan,
            "these are the integers: multiply by the scale to come back": np.rint(
                w / scale_of(np.abs(w), bits, inner)
            ),
            "the largest value was taken with its sign: a channel may reach further down than up": signed(
                w, bits, inner
            ),
        }
        c.close(
            got,
            reference(w, bits, inner),
            1e-9,
            tested=f"a weight of shape {shape} at {bits} bits",
            mistakes=mistakes,
        )
    dead = np.zeros((3, 2, 3, 3))
    dead[0] = 1.0
    c.close(
        fake_quantize_per_channel(dead.copy(), 8),
        dead,
        1e-12,
        tested="a weight with channels that are all zero",
        mistakes={},
    )


# %% tags=["check:per_channel"]
check("per_channel", fake_quantize_per_channel)

# %% [markdown]
# ### 5. Who loses most?
#
# The top line says what is lost on average. Somebody lost more. Compare the two networks **item by item** within each group, and leave out
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
    draw = np.random.default_rng(8)
    groups = np.array(["day"] * 600 + ["night"] * 120 + ["fog"] * 60 + ["snow"] * 8)
    before = draw.random(788) < np.repeat([0.97, 0.80, 0.93, 1.0], [600, 120, 60, 8])
    after = before.copy()
    after[:30] = False  # day loses the most items
    after[600:606] = False  # night ends with the lowest accuracy
    after[720:735] = False  # fog loses the largest share
    after[780:784] = False  # snow is too small to tell
    order = draw.permutation(788)
    groups, before, after = groups[order], before[order], after[order]

    def loss(name):
        m = groups == name
        return 100 * (before[m].mean() - after[m].mean())

    name, points = worst_group(before.copy(), after.copy(), groups.copy())
    c.equal(
        str(name),
        "fog",
        tested="four groups of 600, 120, 60 and 8 items",
        mistakes={
            "day loses the most items but it is ten times larger: divide by the size of the group": "day",
            "night is the worst afterwards, but it was nearly as bad before: compare before and after": "night",
            "snow has 8 items, too few to tell: leave out small groups": "snow",
        },
    )
    m = groups == "fog"
    c.close(
        points,
        loss("fog"),
        1e-6,
        tested="the loss of that group in points",
        mistakes={
            "this is a fraction: points are percent": loss("fog") / 100,
            "the sign is wrong: a loss is before minus after": -loss("fog"),
            "this is the accuracy afterwards, not the loss": 100 * after[m].mean(),
            "this is a relative loss: points are a difference of percentages": 100
            * (1 - after[m].mean() / before[m].mean()),
            "divide by the size of the group, not of the test set": 100
            * (before[m].sum() - after[m].sum())
            / len(groups),
        },
    )
    same = worst_group(before, after, groups, smallest=500)
    c.equal(
        str(same[0]),
        "day",
        tested="a limit that leaves one group",
        mistakes={"the argument `smallest` is ignored": "fog"},
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
# - `real = scale * (integer - zero_point)`. One bit is worth <span class="given" title="20 times the decimal logarithm of 2">6.02 dB</span>; an outlier takes bits away from all other values.
# - Measure one weight scale for each tensor against one for each **channel**: accuracy and time.
# - Calibrate with samples that reach as far as the field does, and try a second set: the loss tells whether they do.
# - Smaller can be counted, faster has to be measured. Profile what ran, in which type, on the machine that will run it.
# - Report the loss by group, with intervals, on the same items.
#
# What your run says to each of them:


# %% tags=["finding:recap_scales"]
def finding_recap_scales(gain, time):
    return by_side(
        gain,
        0,
        above="A scale for each channel in place of one for each tensor saves {}",
        below="A scale for each channel in place of one for each tensor does harm here, {}",
        unclear="A scale for each channel saved nothing that this test set can tell, {}",
    ) + by_side(
        time,
        1,
        above=" and takes more time: {}.",
        below=" and takes less time: {}.",
        unclear="; that it takes more time was not shown: {}.",
    )


finding(finding_recap_scales, by_scale, channel_time)


# %% tags=["finding:recap_samples"]
def finding_recap_samples(items, enough, night):
    told = {
        "above": "cost {}",
        "below": "cost nothing, {}",
        "unclear": "cost nothing that this test set can tell, {}",
    }
    return (
        f"{items} calibration samples in place of many more "
        f"{by_side(enough, 0, **told)}; images of the night alone in place of all "
        f"{by_side(night, 0, **told)}."
    )


finding(finding_recap_samples, 200, enough, dark)


# %% [markdown]
# **Sources.** Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*, 2018 (the affine mapping).
# Krishnamoorthi, *Quantizing deep convolutional networks for efficient inference*, 2018 (per channel). Nagel et al., *Data-Free Quantization through Weight
# Equalization and Bias Correction*, 2019 (why depthwise layers suffer). Migacz, *8-bit Inference with TensorRT*, 2017 (entropy calibration). Hooker et al.,
# *Characterising Bias in Compressed Models*, 2020 (who loses). The ONNX operator specification, QuantizeLinear.
