# ---
# jupyter:
#   edgelab:
#     title: "Start: from a network to a measured answer"
#     minutes: 40
#     memory_gb: 2
#     requires: [torch, onnxruntime]
#     claims: [M1, M2, M3, M4, M5, M6, S1, S2, S3]
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
# # 00 Start: from a network to a measured answer
#
# Somebody hands you a network and a device, and asks: does it fit, and is it fast enough? This lab takes you from
# that question to an answer that you can defend. You export a real network, run it on two runtimes, and find out
# how easily a stopwatch lies.
#
# ## What you will be able to do
#
# - write down the **edge budget** of a task: time, memory and storage, and test a network against it;
# - count the multiply-accumulate operations (**MACs**) and parameters of a convolution, and say what a
#   depthwise-separable one saves;
# - **export** a PyTorch network to ONNX and prove that the file computes the same;
# - **measure latency** so that somebody else gets the same answer: warm-up, interleaved runs, percentiles with
#   intervals, threads, batches;
# - read a **profile** and say where the time goes.
#
# You need: Python, a laptop, no network and no GPU. The cells take about a minute to run; reading, predicting and
# the five exercises take about forty.

# %% tags=["parameters"]
seed = 0
image_size = 128  # pixels a side; MobileNetV3-Small was designed for 224
runs = 100  # timed inferences of each contender, at every batch size
tail_runs = 400  # where the p99 is wanted: fewer than 368 cannot tell it
threads = 1
my_model = ""  # bring your own: the path of an .onnx or .tflite file

# %% tags=["setup"]
import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from scipy.stats import binom

from edgelab import Reading, Table, nets, record, ui
from edgelab.convert.onnx import export
from edgelab.course import begin, by_side, check, claim, finding, side_of
from edgelab.engines import open_engine
from edgelab.engines.torch import TorchEngine
from edgelab.measure import inspect_model, latency
from edgelab.measure.bench import bench

begin("start")
generator = np.random.default_rng(seed)
folder = TemporaryDirectory()

# %% [markdown]
# ### The edge budget
#
# A server answers when it can. A device answers **by a deadline**, within the memory that is soldered to it. Write
# the limits down before you choose a network, because they decide which measurements matter. Below is the budget of
# a camera that counts people in every tenth frame. Each row is a limit that you can test.

# %%
budget = {
    "deadline_ms": 100.0,
    "storage_bytes": 12_000_000,
    "memory_bytes": 256_000_000,
}
Table(
    "The budget of a people-counting camera",
    ("limit", "value", "what it is tested against"),
    [
        (
            "deadline",
            f"{budget['deadline_ms']:.0f} ms",
            "the 99th percentile of the latency, not the mean",
        ),
        (
            "storage",
            f"{budget['storage_bytes'] / 1e6:.0f} MB",
            "the size of the model file",
        ),
        (
            "memory",
            f"{budget['memory_bytes'] / 1e6:.0f} MB",
            "what the process takes at its peak",
        ),
    ],
)

# %% [markdown]
# ## Predict
#
# The network is **MobileNetV3-Small**, made for phones. You will run it in PyTorch, which most people train with, and
# in ONNX Runtime, which many people deploy with. Commit to your guesses first. A wrong guess that you remember
# teaches more than a right figure that you read.

# %%
guess_speed_up = ui.predict(
    "How many times faster than PyTorch is ONNX Runtime on one image, on one CPU thread?",
    unit="x",
    low=0.5,
    high=10.0,
)
guess_speed_up

# %%
guess_first = ui.predict(
    "How many times slower than usual is the very first inference after loading?",
    unit="x",
    low=1.0,
    high=20.0,
)
guess_first

# %% [markdown]
# ## From scratch
#
# ### Counting before running
#
# A convolution with a `k` x `k` kernel, `c_in` input channels and `c_out` output channels does `k * k * c_in`
# multiply-accumulates for every output value. A **depthwise-separable** convolution splits the work in two: a
# depthwise step that looks at one channel at a time, and a pointwise (1 x 1) step that mixes the channels. The ratio of
# the two counts is what the field quotes as "8 to 9 times fewer operations". Look for where that is true.


# %%
def standard_macs(height, width, c_in, c_out, kernel):
    """Multiply-accumulates of a standard convolution with stride 1 that keeps the image size."""
    return height * width * c_out * kernel * kernel * c_in


def separable_macs(height, width, c_in, c_out, kernel):
    """The same for a depthwise step followed by a pointwise one."""
    depthwise = height * width * c_in * kernel * kernel
    pointwise = height * width * c_in * c_out
    return depthwise + pointwise


# %%
channels = np.array([8, 16, 32, 64, 128, 256, 512, 1024])
saving = {
    f"{k} x {k} kernel": (
        channels,
        [
            standard_macs(1, 1, c, c, k) / separable_macs(1, 1, c, c, k)
            for c in channels
        ],
    )
    for k in (3, 5)
}
figure = ui.lines(
    saving,
    title="The saving grows with the channels, up to the area of the kernel",
    x="channels in and out",
    y="times fewer operations",
    log_x=True,
)
ui.show(
    figure,
    alt="Two rising curves of saved operations over channels: "
    "the 3 x 3 kernel levels off towards 9, the 5 x 5 one towards 25.",
)

# %% [markdown]
# ### A stopwatch from scratch
#
# Timing looks easy: take the time, run, take the time again. Watch what one stopwatch says about one small network,
# and look at the first runs and at the slowest ones.


# %%
def stopwatch(action, runs):
    """Milliseconds of each of `runs` calls of `action`, in order."""
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        action()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return np.array(times)


small = nets.dscnn(classes=10).eval()
example = torch.from_numpy(generator.standard_normal((1, 3, 32, 32), dtype=np.float32))
torch.set_num_threads(threads)
with torch.inference_mode():
    times = stopwatch(lambda: small(example), 620)
figure = ui.lines(
    {"one inference": (np.arange(1, len(times) + 1), times)},
    title=f"Run 1 took {times[0] / np.median(times):.1f} times the median; "
    f"the slowest later run {times[20:].max() / np.median(times):.1f} times",
    x="run",
    y="milliseconds",
    log_y=True,
    markers=False,
)
ui.show(
    figure,
    alt="Time of each run in order, on a logarithmic axis.",
)


# %% tags=["finding:stopwatch"]
def finding_stopwatch(first, slowest):
    text = f"The first run took {first:.1f} times the median"
    text += ", so a mean would count starting up, too" if first >= 1.5 else ""
    text += f"; of the later runs the slowest took {slowest:.1f} times the median"
    if slowest < 1.5:
        return f"{text}: a quiet machine."
    return f"{text}: something else had the processor, a cache or the clock."


later = times[20:] / np.median(times)
finding(finding_stopwatch, times[0] / np.median(times), later.max())

# %% [markdown]
# Look for a floor, which is the work itself, and for spikes above it: the operating system, caches and clocks. One number cannot describe both. The **median** (p50) says what usually happens and
# the **99th percentile** (p99) what one inference in a hundred exceeds. A percentile from few runs is itself uncertain, and
# the order of the sorted runs tells how much: no assumption about the shape of the distribution is needed. How many of `n` runs
# stay below the percentile is a binomial count. Its own <span class="given" title="what leaves 95 percent between">2.5 and 97.5 percent</span> points are the ranks of two
# runs that bracket the percentile with <span class="given" title="the usual confidence">95 percent</span> confidence. If such a rank lies beyond the last run, the runs **cannot tell**.


# %%
def percentile_interval(times, q):
    """The q-th percentile, and two sorted runs that bracket it with 95 percent confidence; None where none do."""
    ordered, n = np.sort(times), len(times)
    low, high = binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    value = float(np.percentile(ordered, q))
    if low < 1 or high > n - 1:  # no run lies low enough, or high enough
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[high])


def interval_text(value, low, high):
    """An interval in words."""
    return "cannot tell" if low is None else f"{low:.2f} to {high:.2f}"


steady = times[20:]
rows = []
for n in (20, 70, 400, len(steady)):
    for q in (50, 99):
        found = percentile_interval(steady[:n], q)
        rows.append((n, f"p{q}", f"{found[0]:.2f}", interval_text(*found)))
Table(
    "What the first runs tell",
    ("runs", "percentile", "ms", "95 percent interval"),
    rows,
)

# %% [markdown]
# ## The real tool
#
# ### From PyTorch to a file
#
# **ONNX** is a file format for networks: a graph of operators and the weights. `export` traces the network, writes the file, and then
# does what a plain export leaves out: it runs file and network on the same inputs and compares. The weights here are
# random, because latency does not depend on what a network has learned.

# %%
network = nets.mobilenet_v3_small(classes=1000).eval()
images = generator.standard_normal((16, 3, image_size, image_size), dtype=np.float32)
exported = export(network, images[:1], Path(folder.name) / "mobilenet.onnx", opset=17)
exported

# %% [markdown]
# The **opset** is the version of the list of operators that the file may use: a runtime of last year knows opset 17, and refuses operators of a newer list.
# `onnx.checker` tests the file against the specification of its opset: are all operators known, are all inputs there, do the shapes agree? It
# does not test what the network computes; `export` did that.

# %%
model = onnx.load(exported.path)
onnx.checker.check_model(model, full_check=True)  # raises where the file is not valid
Table(
    "What the file says of itself",
    ("operator set", "IR version", "nodes", "weights", "checked"),
    [
        (
            model.opset_import[0].version,
            model.ir_version,
            len(model.graph.node),
            len(model.graph.initializer),
            "valid, shapes agree",
        )
    ],
)

# %%
report = inspect_model(exported.path)
record(
    "mobilenet.macs",
    Reading(report.macs, "MACs", "modelled", "shapes of the graph, one image"),
)
record(
    "mobilenet.parameters",
    Reading(report.parameters, "parameters", "modelled", "the file's weights"),
)
record("mobilenet.bytes", Reading(report.bytes, "bytes", "measured", "the file system"))
report

# %% [markdown]
# ### The first inference
#
# A runtime prepares at the first call: it chooses kernels, packs weights and reserves memory. Each repeat below starts the
# runtime in a fresh process, so that every first inference is a real first one.

# %%
first = latency.first_inference(
    lambda: open_engine(exported.path, threads=threads),
    images[:1],
    inferences=12,
    repeats=6,
)
first_ratio = record("onnxruntime.first_to_steady", first.ratio)
first

# %% [markdown]
# ### Two runtimes, fairly
#
# To compare A with B, do not run all of A and then all of B: the machine warms up, another program starts, and the
# difference is theirs. `measure_latency` runs short blocks of the contenders in turn, in random order, and drops the first run of each
# block. Then it says whether the difference is larger than the noise.

# %%
pytorch = TorchEngine(network, threads=threads)
onnxruntime = open_engine(exported.path, threads=threads)
by_batch = {}
for batch in (1, 4, 16):
    by_batch[batch] = latency.measure_latency(
        {"PyTorch": pytorch, "ONNX Runtime": onnxruntime},
        images[:batch],
        runs=runs,
        warmup=3,
        seed=seed,
    )
by_batch[1]

# %%
speed_ups = {
    batch: report.speed_up("ONNX Runtime", over="PyTorch")
    for batch, report in by_batch.items()
}
for batch, ratio in speed_ups.items():
    record(f"speed_up.batch_{batch}", ratio)
figure = ui.bars(
    [f"batch {batch}" for batch in speed_ups],
    list(speed_ups.values()),
    title=f"PyTorch's time over ONNX Runtime's: {speed_ups[1].value:.1f} on one image, "
    f"{speed_ups[16].value:.1f} on sixteen",
    y="times as fast",
)
ui.show(
    figure,
    alt="Bars of the speed-up of ONNX Runtime over PyTorch for batches of 1, 4 and 16, with intervals.",
)


# %% tags=["finding:batches"]
def finding_batches(speed_ups):
    told = {
        "above": "ONNX Runtime is faster, {}",
        "below": "PyTorch is faster, ONNX Runtime at {} of its speed",
        "unclear": "these runs cannot tell which runtime is ahead, {}",
    }
    each = [f"Batch {n}: {by_side(r, 1, **told)}." for n, r in speed_ups.items()]
    return " ".join(each)


finding(finding_batches, speed_ups)

# %%
guess_speed_up.against(speed_ups[1])

# %%
guess_first.against(first_ratio)

# %% [markdown]
# ### Threads
#
# Two threads share the work, but they also wait for each other. The more work an operator has, the less the waiting counts.
# Here the big network and the small one run with one thread and with two.

# %%
small_file = export(small, example.numpy(), Path(folder.name) / "small.onnx", opset=17)
sweeps = {
    "MobileNetV3-Small": latency.sweep(
        lambda n: open_engine(exported.path, threads=n),
        lambda b: images[:b],
        threads=(1, 2),
        batches=(1,),
        runs=runs,
    ),
    "small network": latency.sweep(
        lambda n: open_engine(small_file.path, threads=n),
        lambda b: np.repeat(example.numpy(), b, axis=0),
        threads=(1, 2),
        batches=(1,),
        runs=4 * runs,
    ),
}
two_threads = {
    name: record(f"threads_2_to_1.{name}", sweep.ratio(threads=(2, 1), batch=1))
    for name, sweep in sweeps.items()
}


# %% tags=["finding:threads"]
def finding_threads(ratios):
    told = {
        "above": "the second thread costs time, {}",
        "below": "the second thread saves time, {}",
        "unclear": "whether the second thread helps cannot be told, {}",
    }
    each = [f"{name}: {by_side(r, 1, **told)}" for name, r in ratios.items()]
    return f"Time with two threads over the time with one. {'; '.join(each)}."


finding(finding_threads, two_threads)

# %% [markdown]
# ### Where the time goes
#
# ONNX Runtime can time every operator. Operations that look cheap on paper can be slow (they move memory), and the
# operators that you worry about can be a rounding error. Look for operators that compute next to nothing.

# %%
profile = onnxruntime.profile(images[:1], runs=20)
total = sum(operator.median_ms for operator in profile)
kinds = {
    kind: sum(o.median_ms for o in profile if o.type == kind)
    for kind in {o.type for o in profile}
}
largest = sorted(kinds, key=kinds.get, reverse=True)[:8]
figure = ui.bars(
    largest,
    [100 * kinds[kind] / total for kind in largest],
    title=f"{largest[0]} takes {100 * kinds[largest[0]] / total:.0f} percent of the time",
    y="percent of the time in operators",
)
ui.show(
    figure,
    alt="Bars of the share of time by operator type in ONNX Runtime's own profile, largest first.",
)

# %% [markdown]
# ### Does it fit the camera?
#
# Back to the budget. The deadline is tested against the p99, so one contender runs alone, often enough that its p99 can be told. A fresh
# process has the memory of one image at a time, as the camera would.


# %%
def against_budget(title, p99, size, peak):
    """Each limit of the budget, what was found, and whether it fits: decided by the interval, where there is one."""
    limits = {
        "deadline": (p99, budget["deadline_ms"]),
        "storage": (size, budget["storage_bytes"]),
        "memory, 20 percent free": (peak, 0.8 * budget["memory_bytes"]),
    }
    rows = []
    for name, (found, allowed) in limits.items():
        low, high = found.low or found.value, found.high or found.value
        word = "yes" if high <= allowed else "no" if low > allowed else "cannot tell"
        word = "cannot tell" if found.doubt and found.low is None else word
        rows.append((name, found, allowed, word))
    return Table(title, ("limit", "found", "allowed", "fits"), rows, p99.doubt)


# %%
with open_engine(exported.path, threads=threads) as fresh:
    camera = latency.measure_latency(
        {"MobileNetV3-Small": fresh}, images[:1], runs=tail_runs, seed=seed
    )
    by = f"{fresh.name}, the whole process at its peak"
    camera_peak = Reading(fresh.peak_memory_bytes(), "bytes", "measured", by)
camera_p99 = record("mobilenet.p99", camera.readings["MobileNetV3-Small"]["p99"])
camera_size = Reading(report.bytes, "bytes", "measured", "the file system")
against_budget(
    f"MobileNetV3-Small at {image_size} pixels against the camera's budget",
    camera_p99,
    camera_size,
    camera_peak,
)


# %% tags=["finding:budget"]
def finding_budget(found, allowed):
    words = {"below": "kept", "above": "broken", "cannot tell": "not decided"}
    sides = {name: side_of(found[name], allowed[name]) for name in found}
    each = [
        f"{name} {words[sides[name]]}, {r.figure()} of {allowed[name]:,.0f} {r.unit}"
        for name, r in found.items()
    ]
    text = "Whether it fits the camera cannot be told yet"
    if "above" in sides.values():
        text = "It does not fit the camera"
    elif set(sides.values()) == {"below"}:
        text = "It fits the camera, if that is no slower than this computer"
    return f"{text}: {'; '.join(each)}."


finding(
    finding_budget,
    {"deadline": camera_p99, "storage": camera_size, "memory": camera_peak},
    {
        "deadline": budget["deadline_ms"],
        "storage": budget["storage_bytes"],
        "memory": 0.8 * budget["memory_bytes"],
    },
)

# %% [markdown]
# ## Explore
#
# **How many runs are enough?** The panel draws from the times that you measured above, so it answers at once. Move the
# sliders and watch the p99: how many runs does it take until it can be told at all, and how many until its interval is narrower than <span class="given" title="the bound of this question">10 percent</span>? What
# happens to the mean when you keep the warm-up in?


# %%
def mark(name, at, height):
    """A line in a histogram with its name, as plotly wants them."""
    line = {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper"}
    label = {"x": at, "y": height, "yref": "paper", "text": name, "showarrow": False}
    dash = {"dash": "dash" if name == "p99" else "solid", "width": 1.5}
    return {**line, "line": dash}, {**label, "xanchor": "left", "xshift": 4}


# %%
def tail(runs, dropped):
    kept = times[dropped : dropped + runs]
    found = {q: percentile_interval(kept, q) for q in (50, 99)}
    lines, labels = zip(
        *(mark(f"p{q}", found[q][0], 1.0 - 0.12 * (q > 50)) for q in found)
    )
    told = [f"p{q} {f[0]:.2f} ms ({interval_text(*f)})" for q, f in found.items()]
    return ui.histogram(
        {"runs": kept},
        title=f"{', '.join(told)}, mean {kept.mean():.2f} ms",
        x="milliseconds",
        shapes=lines,
        annotations=labels,
    )


ui.Panel(
    tail,
    title="How many runs are enough?",
    alt="Histogram of the measured times with lines at p50 and p99; its title gives p50, p99 and mean, with intervals or cannot tell.",
    runs=ui.slider(10, 600, 10, value=30, label="runs kept"),
    dropped=ui.slider(0, 20, 1, value=0, label="warm-up runs dropped"),
)

# %% [markdown]
# **The budget as dials.** A convolutional layer costs time (its MACs) and memory (its input and output). Halving the image
# side divides both by four; halving the channels divides the work of the pointwise step by four, and the memory by two.


# %%
def layer_cost(side, channels, kernel):
    standard = standard_macs(side, side, channels, channels, kernel) / 1e6
    separable = separable_macs(side, side, channels, channels, kernel) / 1e6
    activations = 2 * side * side * channels  # int8: one byte a value, input and output
    return ui.bars(
        ["standard", "separable"],
        [standard, separable],
        title=f"{standard / separable:.1f} times fewer operations; "
        f"{activations / 1024:,.0f} KB of int8 activations",
        y="million MACs",
    )


ui.Panel(
    layer_cost,
    title="One convolutional layer",
    alt="Two bars: million MACs of a standard and of a depthwise-separable layer; "
    "the title gives the ratio and the memory.",
    side=ui.slider(4, 112, 4, value=32, label="image side"),
    channels=ui.slider(8, 256, 8, value=64, label="channels"),
    kernel=ui.slider(3, 7, 2, value=3, label="kernel"),
)

# %% [markdown]
# ## Claims
#
# Rules of thumb that people repeat, held against what this machine just did. The verdict is computed from the readings. "Not here" is
# a good result when it is true.

# %%
claim("M1", first_ratio)

# %%
tail_ratio = camera.tail("MobileNetV3-Small")
claim("M2", record("onnxruntime.p99_to_p50", tail_ratio))

# %%
claim(
    "M3",
    two_threads["small network"],
    because=finding_threads(two_threads),
)

# %%
claim("M4", speed_ups[1])

# %%
spread = latency.largest_to_smallest(list(speed_ups.values()))
claim("M5", record("speed_up.spread", spread))

# %%
layers = [
    layer
    for layer in nets.count_macs(small, (3, 32, 32)).layers
    if layer.kind == "depthwise"
]
savings = [1 / (1 / layer.out_channels + 1 / 9) for layer in layers]
by = f"MAC formula for the {len(savings)} separable layers of the small network; interval: smallest and largest layer"
saved = Reading(
    float(np.median(savings)), "x", "modelled", by, low=min(savings), high=max(savings)
)
claim("M6", record("separable.saving", saved))

# %% [markdown]
# Some figures that people repeat need no measurement, only a sum. Each one below stands beside a figure of this lab.

# %%
by = "parameters of the file above, 4 bytes each"
in_float32 = record(
    "mobilenet.float32", Reading(4 * report.parameters / 1e6, "MB", "modelled", by)
)
claim(
    "S1",
    in_float32,
    because=f"The file that you exported has {report.bytes / 1e6:.1f} MB.",
)

# %%
each = report.bytes / report.parameters
claim(
    "S2",
    Reading(4 * 25e6 / 1e6, "MB", "modelled", "25 million parameters, 4 bytes each"),
    because=f"Your file takes {each:.2f} bytes a parameter, graph included; the claim takes {500 / 25:.0f}.",
)

# %%
camera_rate = camera.readings["MobileNetV3-Small"]["throughput"]
claim(
    "S3",
    Reading(1000 / 3.2, "items/s", "modelled", "1,000 ms over 3.2 ms"),
    because=f"At its median time this lab's network makes {camera_rate.figure()} here. "
    f"Twelve a second leave a device idle for {100 - 12 * 3.2 / 10:.0f} percent of the time, or the claim's time is not the whole work.",
)

# %% [markdown]
# ## Exercises
#
# Five functions that you will use for the rest of your time with edge AI. Write each one where it says `TODO`, run the cell, and run
# the check under it. A check tells what it tested and what it found. If it does not pass, you get a hint; a further try gives a further
# hint.
#
# ### 1. Count a separable layer
#
# The stride makes the output smaller than the input. Both steps work on the **output** size.


# %% tags=["exercise:separable"]
def separable_layer_macs(height, width, c_in, c_out, kernel=3, stride=1):
    """MACs of a depthwise-separable layer on a (height, width) input whose padding keeps the size at stride 1."""
    # TODO: find the output height and width (rounded up), then add the MACs of the depthwise step
    # (one kernel for each input channel) and of the pointwise step (1 x 1, all channels to all).
    ### BEGIN SOLUTION
    out_height, out_width = math.ceil(height / stride), math.ceil(width / stride)
    depthwise = out_height * out_width * c_in * kernel * kernel
    pointwise = out_height * out_width * c_in * c_out
    return depthwise + pointwise
    ### END SOLUTION


# %% [markdown] tags=["hints:separable"]
# 1. Count the values of each step's output first. The depthwise step puts out `c_in` channels, the pointwise step `c_out`.
# 2. A depthwise output value needs `kernel * kernel` multiply-accumulates, a pointwise one needs `c_in`.
# 3. With `h = ceil(height / stride)` and `w = ceil(width / stride)` the sum is `h * w * c_in * (kernel * kernel + c_out)`.


# %% tags=["check:separable", "hidden"]
@checks("separable")
def _(c, separable_layer_macs):
    def macs(h, w, i, o, k):
        return h * w * i * (k * k + o)

    def int32(n):
        return (n + 2**31) % 2**32 - 2**31

    k, (i, o) = (
        5,
        (
            int(n)
            for n in c.rng.choice([11, 13, 17, 19, 23, 29, 31, 37], 2, replace=False)
        ),
    )
    a, b = (int(n) for n in c.rng.choice(np.arange(4, 12), 2, replace=False))
    for h, w, k, s in [
        (32, 32, 3, 1),
        (a + 3, b + 9, 5, 1),
        (2 * a + 3, 2 * b + 5, 5, 2),
        (2 * a + 6, 2 * b, 3, 2),  # the stride divides both
        (3 * a + 1, 3 * b + 2, 7, 3),
        (3 * a + 2, 3 * b + 1, 3, 3),
        (4 * a + 1, 4 * b + 2, 5, 4),
        (612, 508, 3, 1),
    ]:
        i, o = o, i  # more channels out than in, and the other way round
        if h == 612:
            i, o = 512, 1024  # more than 32 bits hold
        oh, ow = -(-h // s), -(-w // s)
        right = macs(oh, ow, i, o, k)
        c.equal(
            separable_layer_macs(h, w, i, o, k, s),
            right,
            tested=f"{h} x {w} input, {i} to {o} channels, kernel {k}, stride {s}",
            mistakes={
                "this is a standard convolution: the depthwise step does not mix channels": (
                    oh * ow * o * k * k * i
                ),
                "the pointwise step is missing": (oh * ow * i * k * k),
                "the depthwise step is missing": (oh * ow * i * o),
                "the stride is ignored: count the values that are put out": (
                    macs(h, w, i, o, k)
                ),
                "the stride shortens one side only": (
                    macs(oh, w, i, o, k) if oh != h else macs(h, ow, i, o, k)
                ),
                "the pointwise step works on the input size, but the depthwise one left the output size": (
                    oh * ow * i * k * k + h * w * i * o
                ),
                "there is one row and one column too many where the stride divides the size": (
                    macs(h // s + 1, w // s + 1, i, o, k)
                ),
                "the kernel ran without padding, which makes the image smaller": (
                    macs((h - k) // s + 1, (w - k) // s + 1, i, o, k)
                ),
                "the size of the kernel is ignored: it is not always 3": (
                    macs(oh, ow, i, o, 3)
                ),
                "k appears once: the kernel has k * k values": (oh * ow * i * (k + o)),
                "these are two operations for each MAC": (2 * right),
                "the count does not fit 32 bits: it wrapped around": (int32(right)),
            },
            remember={
                "the depthwise step runs once for each input channel, not for each pair of channels": (
                    oh * ow * i * o * (k * k + 1)
                ),
                "the depthwise step has as many channels as the input, not as the output": (
                    oh * ow * o * (k * k + i)
                ),
                "the two steps follow each other: add their MACs, do not multiply them": (
                    oh * ow * i * k * k * oh * ow * i * o
                ),
                "the depthwise step is strided, too: it computes only what is put out": (
                    h * w * i * k * k + oh * ow * i * o
                ),
                "biases are additions, no multiply-accumulates": (
                    right + oh * ow * (i + o)
                ),
                "sizes that the stride does not divide round up": (
                    macs(h // s, w // s, i, o, k)
                ),
                "sizes that the stride does not divide round up, not to the nearest": (
                    macs(round(h / s), round(w / s), i, o, k)
                ),
                "sizes that the stride does not divide round up; the nearest may be below": (
                    macs(int(h / s + 0.5), int(w / s + 0.5), i, o, k)
                ),
                "each size is rounded up by itself, not the product of the sizes": (
                    math.ceil(h * w / s**2) * i * (k * k + o)
                ),
                "the output has a whole number of rows": (
                    h / s * (w / s) * i * (k * k + o)
                ),
            },
        )
    c.equal(
        separable_layer_macs(9, 11, 5, 7),
        macs(9, 11, 5, 7, 3),
        tested="kernel and stride left out, which means 3 and 1",
    )


# %% tags=["check:separable"]
check("separable", separable_layer_macs)

# %% [markdown]
# ### 2. Summarise a series of times
#
# A report that others can use has the typical case and the tail, without the warm-up.


# %% tags=["exercise:summary"]
def summarise(times_ms, warmup=10):
    """A dict with the keys "p50", "p95" and "p99" of the times after the first `warmup` runs."""
    # TODO: leave out the first `warmup` values, then take the three percentiles with np.percentile.
    # Raise ValueError if no value is left.
    ### BEGIN SOLUTION
    steady = np.asarray(times_ms)[warmup:]
    if steady.size == 0:
        raise ValueError("no run is left after the warm-up")
    return {f"p{q}": float(np.percentile(steady, q)) for q in (50, 95, 99)}
    ### END SOLUTION


# %% [markdown] tags=["hints:summary"]
# 1. Slicing leaves out the start of an array: `times[warmup:]`. Do not sort before you slice.
# 2. `np.percentile` wants percent, from 0 to 100, not fractions.
# 3. `steady = np.asarray(times_ms)[warmup:]`, an error if `steady.size == 0`, then `float(np.percentile(steady, q))` for 50, 95 and 99.


# %% tags=["check:summary", "hidden"]
@checks("summary")
def _(c, summarise):
    def series(runs, warmup):
        times = c.rng.gamma(4.0, 2.0, runs)
        times[:warmup] += 400.0  # a warm-up that no percentile of the rest comes near
        times[warmup : warmup + 2] += 60.0  # the first ones that count are slow
        return times

    def take(answer, wanted, tested, mistakes):
        c.that(
            isinstance(answer, dict) and set(answer) >= {"p50", "p95", "p99"},
            tested="the keys",
            found=f"{repr(answer)[:80]}; return a dict with p50, p95 and p99",
        )
        for q in (50, 95, 99):
            c.equal(
                answer[f"p{q}"],
                float(np.percentile(wanted, q)),
                tested=f"p{q} of {tested}",
                mistakes={name: wrong(q) for name, wrong in mistakes.items()},
            )

    for runs, warmup in [(229, 10), (161, 25), (84, 3)]:
        times = series(runs, warmup)
        kept = times[warmup:]
        take(
            summarise(times.copy(), warmup=warmup),
            kept,
            f"{runs} runs, {warmup} of them warm-up",
            {
                "the warm-up runs are still in": lambda q: np.percentile(times, q),
                "the argument warmup is ignored: it is not always 10": lambda q: (
                    np.percentile(times[10:], q)
                ),
                "one warm-up run is still in": lambda q: np.percentile(
                    times[warmup - 1 :], q
                ),
                "one run too many was left out": lambda q: np.percentile(
                    times[warmup + 1 :], q
                ),
                "np.percentile takes percent, not a fraction": lambda q: np.percentile(
                    kept, q / 100
                ),
                "this is the mean": lambda q: kept.mean(),
                "this is the median for every key": lambda q: np.median(kept),
                "this is another percentile than the key says": lambda q: np.percentile(
                    kept, {95: 90, 99: 98}.get(q, q)
                ),
                "this is the largest value, not a percentile": lambda q: kept.max(),
                "the percentiles were counted from the slow end": lambda q: (
                    np.percentile(kept, 100 - q)
                ),
                "the runs were sorted before the warm-up was dropped, so the fastest ones went": lambda q: (
                    np.percentile(np.sort(times)[warmup:], q)
                ),
                "the last runs were dropped in place of the first": lambda q: (
                    np.percentile(times[:-warmup], q)
                ),
                "this is the nearest run below; np.percentile takes what lies between two runs": lambda q: (
                    np.percentile(kept, q, method="lower")
                ),
                "this is the nearest run above; np.percentile takes what lies between two runs": lambda q: (
                    np.percentile(kept, q, method="higher")
                ),
                "this is the nearest run; np.percentile takes what lies between two runs": lambda q: (
                    np.percentile(kept, q, method="nearest")
                ),
                "this is a run by its rank; np.percentile takes what lies between two runs": lambda q: (
                    np.percentile(kept, q, method="inverted_cdf")
                ),
            },
        )
    times = series(140, 0)
    take(
        summarise(times.copy(), warmup=0),
        times,
        "140 runs without warm-up",
        {
            "without warm-up no run is left out, neither first nor last": lambda q: (
                np.percentile(times[1:], q)
            ),
            "the argument warmup is ignored: with 0 nothing is left out": lambda q: (
                np.percentile(times[10:], q)
            ),
        },
    )
    times = series(60, 10)
    take(
        summarise(times.copy()),
        times[10:],
        "60 runs, with warmup left out, which means 10",
        {"the warm-up runs are still in": lambda q: np.percentile(times, q)},
    )
    one = summarise(times[:11].copy(), warmup=10)
    take(one, times[10:11], "11 runs, 10 of them warm-up", {})
    for runs in (10, 7, 0):
        c.raises(
            ValueError,
            summarise,
            times[:runs].copy(),
            10,
            tested=f"a series of {runs} runs where 10 are warm-up",
            mistake="raise a ValueError whenever no run is left, also if there are fewer runs than warm-up",
        )


# %% tags=["check:summary"]
check("summary", summarise)

# %% [markdown]
# ### 3. A speed-up
#
# "A is twice as fast as B" is a ratio of what? Means follow the worst outlier. Take the medians.


# %% tags=["exercise:speed_up"]
def speed_up(reference_ms, candidate_ms):
    """How many times as fast the candidate is: 2.0 if it needs half the time of the reference."""
    # TODO: divide the medians, the right way round.
    ### BEGIN SOLUTION
    return float(np.median(reference_ms) / np.median(candidate_ms))
    ### END SOLUTION


# %% [markdown] tags=["hints:speed_up"]
# 1. If the candidate is faster, its time is smaller and the answer is above 1.
# 2. Divide one median by the other; do not take the median of the run-by-run ratios, because the runs are not pairs.
# 3. `np.median(reference_ms) / np.median(candidate_ms)`


# %% tags=["check:speed_up", "hidden"]
@checks("speed_up")
def _(c, speed_up):
    def upper(x):
        return np.sort(x)[len(x) // 2]

    def lower(x):
        return np.sort(x)[(len(x) - 1) // 2]

    for n, m, faster in [(101, 101, 0.6), (46, 46, 0.5), (33, 20, 1.7), (8, 15, 0.7)]:
        reference = c.rng.gamma(9.0, 1.1, n)
        candidate = c.rng.gamma(9.0, 1.1 * faster, m)
        for x in (reference, candidate):  # the two runs in the middle lie apart
            middle = np.argsort(x)[len(x) // 2 :]
            x[middle] += 1.0
        top = np.argmax(reference)
        reference[[top, n // 2]] = reference[[n // 2, top]]
        reference[n // 2] += 900.0
        right = float(np.median(reference) / np.median(candidate))
        k = min(n, m)
        ratios = reference[:k] / candidate[:k]
        c.equal(
            speed_up(reference.copy(), candidate.copy()),
            right,
            tested=f"series of {n} and {m} runs, one of them with an outlier",
            mistakes={
                "the ratio is upside down": (1 / right),
                "these are means: one outlier moved the answer": (
                    reference.mean() / candidate.mean()
                ),
                "these are sums, which follow the outlier": (
                    reference.sum() / candidate.sum()
                ),
                "this is a difference, not a ratio": (
                    np.median(reference) - np.median(candidate)
                ),
                "this is the median of run-by-run ratios, but the runs are not pairs": (
                    np.median(ratios)
                ),
                "this is the mean of run-by-run ratios, but the runs are not pairs": (
                    ratios.mean()
                ),
                "these are the slowest runs": (reference.max() / candidate.max()),
                "one of the two is a mean": (reference.mean() / np.median(candidate)),
                "one of the two is a mean, the other a median": (
                    np.median(reference) / candidate.mean()
                ),
                "this is the gain in percent": (100 * (right - 1)),
                "this is a percentage, not the ratio": (100 * right),
                "this is the gain, not the ratio: equal times give 1": (right - 1),
                "this is the share of the time that is saved": (1 - 1 / right),
                "the middle of the series was taken before it was sorted": (
                    reference[n // 2] / candidate[m // 2]
                ),
                "the ratio was rounded": (round(right, 2)),
            },
            remember={
                "the fastest runs say what is possible, not what is typical": (
                    reference.min() / candidate.min()
                ),
                "the median of an even number of runs is the mean of the two in the middle": (
                    upper(reference) / upper(candidate)
                ),
                "the median of an even number of runs is the mean of the two in the middle, not the lower": (
                    lower(reference) / lower(candidate)
                ),
            },
        )
    c.equal(
        speed_up(np.full(2, 3.0), np.full(3, 3.0)),
        1.0,
        tested="equal times in series of different length",
    )


# %% tags=["check:speed_up"]
check("speed_up", speed_up)

# %% [markdown]
# ### 4. Faster, or just noise?
#
# Two series were measured in interleaved blocks: block 1 of A, block 1 of B, block 2 of A, and so on. What the machine did
# during a block hit both. So compare **block by block**, and ask how sure the average difference is.


# %% tags=["exercise:verdict"]
def verdict(a_blocks_ms, b_blocks_ms):
    """ "a", "b" or "noise" for two arrays (blocks, runs): who is faster, if the blocks can tell.

    Take the median of each block, the differences a - b of the blocks, and their mean with its standard error.
    It is noise if the mean is within two standard errors of zero.
    """
    # TODO: medians along axis 1, differences, mean, standard error (ddof=1, divided by the root of the number of blocks).
    ### BEGIN SOLUTION
    difference = np.median(a_blocks_ms, axis=1) - np.median(b_blocks_ms, axis=1)
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    if abs(difference.mean()) <= 2 * error:
        return "noise"
    return "a" if difference.mean() < 0 else "b"
    ### END SOLUTION


# %% [markdown] tags=["hints:verdict"]
# 1. `np.median(blocks, axis=1)` gives one value a block. Subtract block from block before you average.
# 2. The standard error of a mean of n values is their standard deviation (`ddof=1`) divided by the square root of n.
# 3. With `d = np.median(a, axis=1) - np.median(b, axis=1)` it is noise if `abs(d.mean()) <= 2 * d.std(ddof=1) / sqrt(len(d))`; a negative mean says that a is faster.


# %% tags=["check:verdict", "hidden"]
@checks("verdict")
def _(c, verdict):
    draw = c.rng
    level, unit = float(draw.integers(8, 64)), 2.0 ** int(draw.integers(-3, 2))

    def shaped(pattern, t):
        """Differences with this pattern whose mean is t standard errors (ddof=1) from zero."""
        z = np.asarray(pattern, float) - np.mean(pattern)
        z = draw.permutation(z / z.std(ddof=1))
        return unit * (z + t / math.sqrt(len(z)))

    def spread(medians, runs=9, width=0.2):
        """(blocks, runs) whose medians are these; with an even number of runs, halfway between the two in the middle."""
        steps = np.linspace(-1.0, 1.0, runs) if runs > 1 else np.zeros(1)
        if runs % 2:
            steps[runs // 2] = 0.0
        return np.array([m + unit * width * draw.permutation(steps) for m in medians])

    def ask(a, b, right, tested, mistakes, remember=()):
        """Both ways round, so that neither name is favoured."""
        other = {"a": "b", "b": "a", "noise": "noise"}
        for swap in draw.permutation([False, True]):
            c.equal(
                verdict(*((b, a) if swap else (a, b))),
                other[right] if swap else right,
                tested=tested,
                mistakes={t: other[w] if swap else w for t, w in mistakes.items()},
                remember={
                    t: other[w] if swap else w for t, w in dict(remember).items()
                },
            )

    ramp = np.linspace(-1.0, 1.0, 16)
    wide = np.sin(7.0 * np.arange(16))
    drift = level + unit * np.linspace(0.0, 1.5, 16)  # it hits both alike

    d = shaped(wide, -6.0)
    ask(
        spread(drift + d / 2),
        spread(drift - d / 2),
        "a",
        "a clear difference on a machine that gets slower",
        {},
        {
            "the smaller time is the faster one": "b",
            "the standard error is the standard deviation divided by the root of the number of blocks": "noise",
        },
    )
    a, b = spread(drift + d / 2), spread(drift - d / 2)
    a[::3, 0] += 500.0 * unit
    ask(
        a,
        b,
        "a",
        "the faster one with a spike in some blocks",
        {
            "spikes moved the answer: take the median of each block, not the mean": "b",
            "spikes hid the difference: take the median of each block, not the mean": "noise",
        },
    )
    d = shaped(ramp, 0.8)
    ask(
        spread(drift + d, 1),
        spread(drift, 1),
        "noise",
        "two series without a difference",
        {},
        {
            "a mean is never exactly zero: compare it with two standard errors": "b",
            "a mean is never exactly zero; compare it with two standard errors": "a",
        },
    )
    d = shaped(wide, 1.4)
    ask(
        spread(drift + d, 1),
        spread(drift, 1),
        "noise",
        "a difference of 1.4 standard errors",
        {},
        {"two standard errors are asked for, not one": "b"},
    )
    d = shaped([-1.3, -1.0, -0.2, 0.4, 1.0, 1.1], 1.3)
    ask(
        spread(level + d, 9, 0.02),
        spread(np.full(6, level), 9, 0.02),
        "noise",
        "few blocks of many runs that differ from block to block",
        {},
        {
            "the runs of one block share its luck: a block counts once, by its median over axis 1": "b"
        },
    )
    # Where a is slow, b is fast: the difference varies more than its two sides seem to.
    p = np.array([-1.25, -0.4, 0.35, 1.3])
    r = np.array([0.7, -1.2, -0.4, 0.9])
    r = r - r.mean() - p * ((r - r.mean()) @ p) / (p @ p)
    p, r = p / p.std(ddof=1), r / r.std(ddof=1)
    q = 0.78 * p + math.sqrt(1 - 0.78**2) * r
    order = draw.permutation(4)
    a = level + unit * (p + 2.2 * math.sqrt(0.5))[order]
    ask(
        spread(a, 1),
        spread(level - unit * q[order], 1),
        "noise",
        "four pairs of blocks, one slow where the other is fast",
        {},
        {
            "the blocks are pairs: subtract before you average, or the blocks look surer than they are": "b"
        },
    )
    d = shaped([-1.2, -0.5, 0.6, 1.1], 1.85)
    ask(
        spread(level + d, 1),
        spread(np.full(4, level), 1),
        "noise",
        "a difference of 1.85 standard errors in four blocks",
        {
            "four differences look too sure of themselves without `ddof=1` in the standard deviation": "b"
        },
    )
    d = unit * draw.permutation(np.r_[np.zeros(9), np.full(7, 6.0)] + 0.05 * ramp)
    ask(
        spread(level + d, 5, 0.02),
        spread(np.full(16, level), 5, 0.02),
        "b",
        "seven of sixteen blocks that are much slower",
        {
            "this is the median of the differences: take their mean, which these blocks count in": "noise"
        },
    )
    d = unit * draw.permutation(np.r_[np.full(9, 2.0), np.full(7, -2.6)] + 0.05 * ramp)
    ask(
        spread(level + d, 5, 0.02),
        spread(np.full(16, level), 5, 0.02),
        "noise",
        "nine blocks that are slower and seven that are faster",
        {
            "this is the median of the differences or a count of blocks: take the mean": "b"
        },
    )
    d = shaped(np.sin(5.0 * np.arange(40)), 2.5)
    ask(
        spread(level + d, 3),
        spread(np.full(40, level), 3),
        "b",
        "a difference of 2.5 standard errors in forty blocks",
        {},
        {"two standard errors are asked for, not three": "noise"},
    )
    d = shaped(ramp, 0.5)
    ask(
        spread(drift + d, 2, 3.0),
        spread(drift, 2, 0.1),
        "noise",
        "blocks of two runs, which lie further apart in one series",
        {},
        {
            "the median of two runs is their mean, not the slower one": "b",
            "the median of two runs is their mean, not the faster one": "a",
        },
    )
    d = shaped(np.sin(5.0 * np.arange(100)), 2.004)
    ask(
        spread(level + d, 1),
        spread(np.full(100, level), 1),
        "b",
        "a difference of 2.004 standard errors in a hundred blocks",
        {},
        {
            "divide by the root of the number of blocks, not by that of one less: `ddof=1` took care of it": "noise"
        },
    )
    d = shaped(wide, -6.0)[:, None]
    high = level + 12.0 * unit
    ask(
        high + d / 2 + unit * np.array([0.0, 8.0, 9.0, -9.0, -8.0]),
        high - d / 2 + unit * np.array([-9.0, -8.0, 0.0, 8.0, 9.0]),
        "a",
        "runs that are no pairs",
        {},
        {"the runs of a block are no pairs: take each median before you subtract": "b"},
    )
    ask(
        np.full((8, 3), level),
        np.full((8, 3), level + unit),
        "a",
        "the same difference in each block",
        {},
        {
            "a standard error of zero leaves no doubt: only a mean of zero is noise": "noise"
        },
    )
    ask(
        level + unit * np.array([[3.0], [1.0]]),
        np.full((2, 1), level),
        "noise",
        "a mean of exactly two standard errors",
        {},
        {"within two standard errors means that exactly two are noise, too": "b"},
    )


# %% tags=["check:verdict"]
check("verdict", verdict)

# %% [markdown]
# ### 5. Does it fit?
#
# A budget is a list of limits. Name **every** limit that is broken, not only the first, so that whoever reads it knows how far away
# the network is.


# %% tags=["exercise:fits"]
def broken_limits(times_ms, model_bytes, peak_memory_bytes, limits):
    """The names of the broken limits, in the order deadline, storage, memory; an empty list if it fits.

    `limits` has the keys "deadline_ms", "storage_bytes" and "memory_bytes". The deadline is kept if the 99th
    percentile of the times is at most the deadline; 20 percent of the memory must stay free.
    """
    # TODO: test the three limits and collect the names "deadline", "storage" and "memory".
    ### BEGIN SOLUTION
    broken = []
    if np.percentile(times_ms, 99) > limits["deadline_ms"]:
        broken.append("deadline")
    if model_bytes > limits["storage_bytes"]:
        broken.append("storage")
    if peak_memory_bytes > 0.8 * limits["memory_bytes"]:
        broken.append("memory")
    return broken
    ### END SOLUTION


# %% [markdown] tags=["hints:fits"]
# 1. Start with an empty list and append a name for each limit that is broken. No `elif`: several can be broken at once.
# 2. For the deadline use `np.percentile(times_ms, 99)`. "20 percent must stay free" leaves 80 percent to use.
# 3. The memory is broken if `peak_memory_bytes > 0.8 * limits["memory_bytes"]`; a value right at a limit still fits.


# %% tags=["check:fits", "hidden"]
@checks("fits")
def _(c, broken_limits):
    grow = 2.0 ** int(c.rng.integers(-2, 6))  # keeps what is exactly at a limit there
    deadline = 50.0 * grow
    limits = {
        "deadline_ms": deadline,
        "storage_bytes": int(1000 * 2 ** c.rng.integers(0, 9)),
        "memory_bytes": int(2000 * 2 ** c.rng.integers(0, 9)),
    }
    store, memory = limits["storage_bytes"], limits["memory_bytes"]
    calm = deadline * c.rng.uniform(0.3, 0.5, 200)

    def late(runs, times=calm):
        slow = times.copy()
        slow[c.rng.choice(len(times), runs, replace=False)] = 1.8 * deadline
        return slow

    def at(share, whole):
        return int(share * whole)

    p99 = "the answer does not see them: use the p99"
    cases = [
        (calm, 0.7, 0.15, [], "a network well within all limits", {}, {}),
        (
            *(late(6), 0.7, 0.15, ["deadline"], "3 percent of the runs late"),
            {f"three runs in a hundred are late and {p99}": []},
            {},
        ),
        (
            *(late(3), 0.7, 0.15, ["deadline"], "3 runs in 200 late"),
            {f"three runs in two hundred are late and {p99}, not the p98": []},
            {},
        ),
        (
            *(late(1), 0.7, 0.15, [], "one run in 200 late"),
            {
                "one late run in 200 is above the 99th percentile: do not use the maximum": [
                    "deadline"
                ]
            },
            {},
        ),
        (
            *(calm, 0.7, 0.82, ["memory"], "82 percent of the memory used"),
            {},
            {
                "20 percent of the memory must stay free, which is more than 20 percent of what the network takes": []
            },
        ),
        (
            *(calm, 0.7, 0.93, ["memory"], "93 percent of the memory used"),
            {},
            {"20 percent of the memory must stay free": []},
        ),
        (
            *(calm, 0.7, 0.79, [], "79 percent of the memory used"),
            {},
            {"20 percent stay free, so 80 percent may be used": ["memory"]},
        ),
        (
            *(calm, 0.95, 0.15, [], "95 percent of the storage used"),
            {},
            {"only the memory keeps 20 percent free": ["storage"]},
        ),
        (
            *(calm, 1.25, 0.15, ["storage"], "a file larger than the storage"),
            {"the storage was not tested": []},
            {},
        ),
        (
            *(np.full(200, deadline), 0.7, 0.15, [], "a p99 exactly at the deadline"),
            {},
            {"a value right at its limit still fits": ["deadline"]},
        ),
        (
            *(calm, 1.0, 0.15, [], "a file exactly as large as the storage"),
            {},
            {"a value right at its limit still fits": ["storage"]},
        ),
        (
            *(calm, 0.7, 0.8, [], "exactly 80 percent of the memory used"),
            {},
            {"a value right at its limit still fits": ["memory"]},
        ),
        (
            *(
                late(9),
                5.0,
                2.5,
                ["deadline", "storage", "memory"],
                "everything broken",
            ),
            {
                "name every broken limit, not only the first": ["deadline"],
                "the names belong into the order deadline, storage, memory": [
                    "memory",
                    "storage",
                    "deadline",
                ],
            },
            {},
        ),
        (
            *(late(9), 0.5, 2.5, ["deadline", "memory"], "two of three broken"),
            {"name every broken limit, not only the first": ["deadline"]},
            {},
        ),
        (
            *(
                calm,
                5.0,
                2.5,
                ["storage", "memory"],
                "two of three broken, not the first",
            ),
            {"name every broken limit, not only the first": ["storage"]},
            {},
        ),
    ]
    for times, storage, peak, right, tested, mistakes, remember in cases:
        sizes = at(storage, store), at(peak, memory)
        got = broken_limits(times.copy(), *sizes, dict(limits))
        c.that(
            not isinstance(got, (str, dict, bool, type(None))),
            tested="the answer",
            found=f"{got!r}; return a list of names",
        )
        c.equal(list(got), right, tested=tested, mistakes=mistakes, remember=remember)


# %% tags=["check:fits"]
check("fits", broken_limits)

# %% [markdown]
# ## Bring your own
#
# Put the path of your own `.onnx` or `.tflite` file into `my_model` in the parameters cell and run from there, or do the same from a
# terminal: `uv run edgelab run start -p my_model FILE`. Until you do, this cell measures the small network. The same
# figures come from `uv run edgelab bench FILE` and `uv run edgelab inspect FILE` without a notebook.

# %%
mine = Path(my_model) if my_model else small_file.path
own = bench(mine, runs=tail_runs, warmup=10, threads=threads)
own

# %%
against_budget(
    f"{mine.name} against the camera's budget",
    own.models[0].p99_ms,
    Reading(mine.stat().st_size, "bytes", "measured", "the file system"),
    own.models[0].peak_memory_bytes,
)

# %% [markdown]
# ## What to remember
#
# - Write the budget first: a deadline is tested against the p99, memory against the peak with room to spare.
# - Counting MACs is quick and says what a network **asks** of a device. Only a measurement says what it **gets**.
# - Warm up, interleave, repeat; report percentiles with intervals, and say how, on what, and with which versions.
# - A speed-up belongs to a batch size, a number of threads and a machine. Quote them together.
# - The profile decides what to optimise, not the paper.
#
# **Sources.** Howard et al., *Searching for MobileNetV3*, 2019 (the network). Howard et al., *MobileNets*, 2017 (the depthwise-separable
# layer). Hoefler and Belli, *Scientific Benchmarking of Parallel Computing Systems*, 2015 (reporting times with intervals).
# The ONNX specification, onnx.ai.
#
# **Next:** `01_quantization`, where a network gets smaller by a number that you will count, and you find out what that costs.
