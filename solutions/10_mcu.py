# ---
# jupyter:
#   edgelab:
#     title: "Microcontrollers: will it fit?"
#     minutes: 60
#     memory_gb: 2
#     requires: [torch, ai_edge_litert, ethosu]
#     claims: [U1, U2, U3, U4, U5, U7, M6, S4, S6]
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
# # 10 Microcontrollers: will it fit?
#
# A microcontroller is a whole computer on one chip: a processor, some memory, nothing else. It has no operating system that lends more memory when
# yours runs out. So the question comes before everything else: **does this network fit on that chip?** Most people answer it by trying
# sizes until the program starts. In this lab you compute the answer from the model file, to the byte, and see why it is what it is.
#
# ## What you will be able to do
#
# - name what eats the two memories of a chip: **flash** and **SRAM**;
# - read the **lifetimes** of a network's tensors, and the least memory that they need;
# - write the **planner** that gives each tensor its address, and hold it against the real interpreter;
# - find the smallest memory that **really** works, and say why the interpreter's own figure is too small;
# - choose a **device**, and say what to change where a network does not fit;
# - find an **operator** that the device does not have, before you deploy.
#
# You need: lab `quantization`, or to know what an int8 network is. No network, no GPU and no board. The cells take half a minute to run; with the
# exercises plan an hour.

# %% tags=["parameters"]
seed = 0
calibration_items = 100
device = "nrf52832"  # the chip of the story; edgelab.mcu.devices lists all names
headroom = 0.2  # the share of SRAM that stays free
my_model = ""  # bring your own: the path of an int8 .tflite file

# %% tags=["setup"]
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from edgelab import Reading, Table, data, nets, record, ui
from edgelab.convert.tflite import export_int8
from edgelab.models.tflite_writer import TfliteWriter
from edgelab.course import begin, check, claim, finding, listed
from edgelab.engines import open_engine
from edgelab.engines.tflm import TFLMEngine, arena_search
from edgelab.errors import BadFile, MissingFramework
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.devices import all_devices, find_device
from edgelab.mcu.estimate import instructions, macs, operator_macs
from edgelab.mcu.fit import INTERPRETER_CODE_BYTES, STACK_BYTES, fit
from edgelab.mcu.model import read_model
from edgelab.mcu.operators import check_operators
from edgelab.mcu.plans import Placed, Plan

begin("mcu")
generator = np.random.default_rng(seed)
folder = TemporaryDirectory()
work = Path(folder.name)
HOST, CORE = "x86_64-wheel", "cortex-m-cmsis-nn"  # this computer; a Cortex-M4 or larger

# %% [markdown]
# ### Two memories
#
# **Flash** keeps its content without power. It holds the program and the weights, and the program only reads it. **SRAM** is the working memory: it
# holds everything that changes. A chip has several times more flash than SRAM. Compare the first row with the last ones.

# %%
examples = [device, "nrf52840", "esp32-s3", "raspberry-pi-4", "pixel-8"]
rows = []
for entry in map(find_device, dict.fromkeys(examples)):
    kb = (entry.flash_bytes // 1024, entry.sram_bytes // 1024)
    rows.append((entry.title, entry.core, entry.clock_mhz, *kb))
Table(
    "What a chip has, and what computers and phones have",
    ("device", "core", "MHz", "flash or storage, KiB", "SRAM or memory, KiB"),
    rows,
    "Quoted; all_devices() says what was not read again in a source.",
)

# %% [markdown]
# ### Four networks
#
# Four networks that were trained in other labs: two that read road signs (one depthwise-separable, one residual), one that listens to the
# vibration of a machine, one that reads digits. Each becomes a `.tflite` file with int8 weights and activations. The last column says how well
# the file follows the network.

# %%
sets = {
    "signs": data.signs(500, 500, 500, seed=seed),
    "vibration": data.vibration(500, seed=seed),
    "digits": data.digits(seed=seed),
}
exported = {}
for name in ("signs_dscnn", "signs_resnet", "vibration_cnn1d", "digits_mlp"):
    samples = sets[name.split("_")[0]].train.x[:calibration_items]
    exported[name] = export_int8(nets.load(name), samples, work / f"{name}.tflite")
models = {name: read_model(result.path) for name, result in exported.items()}
Table(
    "Four trained networks as int8 files",
    ("network", "operators", "file bytes", "MACs", "same class as in float32, %"),
    [
        (n, len(m.operators), len(m.content), macs(m), exported[n].agreement_percent)
        for n, m in models.items()
    ],
    "MACs (multiply-accumulates) from the shapes; the rest measured in LiteRT.",
)

# %% [markdown]
# ## Predict
#
# The memory that the interpreter works in is one block, the **arena**. You give it to the interpreter as an array when the program starts.

# %%
weight_bytes = {
    name: sum(len(t.data) for t in model.tensors if t.data is not None)
    for name, model in models.items()
}
guess_arena = ui.predict(
    f"The weights of signs_dscnn take {weight_bytes['signs_dscnn']:,} bytes. "
    "How many times as large is its arena?",
    unit="x",
    low=0.0,
    high=5.0,
)
guess_arena

# %%
guess_margin = ui.predict(
    "After loading digits_mlp the interpreter says how much of its arena it uses. "
    "How much more must the arena have, so that the network starts at all?",
    unit="%",
    low=0.0,
    high=100.0,
)
guess_margin

# %%
stages = (
    "when the file is converted",
    "when it runs on a laptop",
    "when the device starts",
)
guess_trap = ui.predict(
    "A network holds one operator that the device's interpreter does not have. "
    "When do you find out?",
    options=stages,
)
guess_trap

# %% [markdown]
# ## From scratch
#
# ### What eats the flash
#
# A model file is more than its weights. Every channel of every layer has a bias of 32 bits, a scale (<span class="given" title="float32 in the file format">4 bytes</span>) and a zero point (<span class="given" title="int64 in the file format">8 bytes</span>), the
# scale and zero point once for its weights and once for its bias. The rest is the **graph**: shapes, names and options. Beside the
# file lies the code of the interpreter. Look at which networks pay most for what is not a weight.


# %%
def flash_parts(model):
    """Bytes of the file by what they are for."""
    parts = dict.fromkeys(("weights", "biases", "scales and zero points"), 0)
    for tensor in model.tensors:
        if tensor.data is not None:
            kind = "biases" if tensor.dtype == "int32" else "weights"
            parts[kind] += len(tensor.data)
        q = tensor.quantization
        if q is not None:
            scales, zero_points = 4 * len(q.scales), 8 * len(q.zero_points)
            parts["scales and zero points"] += scales + zero_points
    return {**parts, "graph": len(model.content) - sum(parts.values())}


parts = {name: flash_parts(model) for name, model in models.items()}
rest = {n: 100 * (1 - p["weights"] / sum(p.values())) for n, p in parts.items()}
most = max(rest, key=rest.get)
figure = ui.grouped_bars(
    list(parts),
    {kind: [p[kind] / 1024 for p in parts.values()] for kind in parts[most]},
    title=f"{rest[most]:.0f} percent of {most} is not weights; the interpreter's "
    f"code takes {INTERPRETER_CODE_BYTES / 1024:.0f} KiB more",
    y="KiB of the file",
)
ui.show(figure, alt="Bars for each network: weights, biases, scales, graph.")

# %% [markdown]
# ### Who is alive when
#
# Weights stay in flash. What the arena holds are the **activations**: the results that one operator leaves for the next. A result is needed from
# the step that writes it to the last step that reads it. After that its memory can serve somebody else. The inputs are there at step 0, and
# operator number i runs at step i + 1.
#
# The package lists what needs memory: the activations, and the **scratch buffers** (memory that one operator needs while it runs). Add up what is
# alive at each step. No arrangement can need less than the largest sum: it is the **lower bound**. Look at the operator that runs there.


# %%
def up16(size):
    """Sizes and addresses in the arena are multiples of 16."""
    return -(-size // 16) * 16


def alive(buffers):
    """Bytes alive at each step."""
    sums = np.zeros(1 + max(b.last for b in buffers), int)
    for b in buffers:
        sums[b.first : b.last + 1] += up16(b.size_bytes)
    return sums


# %%
needed = {name: plan_arena(m, HOST).plan.buffers for name, m in models.items()}
sums = alive(needed["signs_dscnn"])
peak = int(sums.argmax())
operator = models["signs_dscnn"].operators[peak - 1]
figure = ui.stairs(
    {"alive": (np.arange(len(sums)), sums)},
    title=f"Most memory is needed at step {peak}, {operator.code}: {sums[peak]:,} bytes",
    x="step",
    y="bytes alive",
)
ui.show(figure, alt="A staircase of the bytes alive at each step.")

# %% [markdown]
# If the peak is a `PAD`, you met a trap of conversion. With stride 2 PyTorch pads an image on both sides, TensorFlow Lite's `SAME` only at the end. So
# the converter adds an operator that copies the image into a slightly larger one, and for that moment both copies are alive. Where you
# design the network, give the stride to the first layer, whose input is small, or pad as the runtime does.
#
# ### A planner in fifteen lines
#
# The **planner** gives each buffer an address. Two buffers that are alive at the same step may not overlap; two that never meet may share. To
# find the best arrangement is a hard problem (NP-hard), so the interpreter uses a simple rule: take the largest buffer first, and put each into
# the **first gap** that holds it. Of two equally large ones the later goes first.


# %%
def place(buffers, order):
    """{name: address}, each in the first gap between those that it meets in time."""
    address, placed = {}, []
    for b in sorted(reversed(buffers), key=order):
        size, gap = up16(b.size_bytes), 0
        for start, end, other in sorted(placed, key=lambda p: p[0]):
            if b.first <= other.last and other.first <= b.last:  # they meet
                if start - gap >= size:
                    break
                gap = max(gap, end)
        address[b.name] = gap
        placed.append((gap, gap + size, b))
    return address


def as_plan(buffers, address, rule):
    """A plan that the package can draw, in the order of placing."""
    known = {b.name: b for b in buffers}
    boxes = []
    for name, start in address.items():
        b = known[name]
        boxes.append(Placed(name, start, up16(b.size_bytes), b.first, b.last))
    return Plan(tuple(boxes), rule, int(alive(buffers).max()))


def largest_first(b):
    return -b.size_bytes


# %% [markdown]
# The picture shows the arena over time. Each bar is a buffer: its width is its life, its height its place. Hover over a bar for its name. White
# space under the dashed line is memory that nobody needs at that step.

# %%
plans = {n: as_plan(b, place(b, largest_first), "my rule") for n, b in needed.items()}
figure = ui.lifetime_figure(plans["signs_resnet"])
ui.show(figure, alt=ui.lifetime_words(plans["signs_resnet"]))

# %% [markdown]
# Is that what a real interpreter does? **TensorFlow Lite for Microcontrollers** (TFLM) is the interpreter that runs on millions of devices, and
# it also runs on this computer (on Linux with an x86-64 processor; elsewhere the lab says so and shows the computed figures alone). It calls the part that its planner
# fills the **head** of the arena. Compare your planner with it.


# %%
def real_arena(path):
    """What the real interpreter placed in its arena; None where it does not run."""
    try:
        with TFLMEngine(path) as engine:
            return engine.allocations()
    except MissingFramework:
        return None


real = {name: real_arena(model.path) for name, model in models.items()}
tflm_here = all(real.values())
rows = []
for name, plan in plans.items():
    head = real[name].head if tflm_here else None
    off = None if head is None else plan.size_bytes - head
    above = 100 * (plan.size_bytes / plan.lower_bound - 1)
    rows.append((name, plan.lower_bound, f"{above:.1f}", plan.size_bytes, head, off))
Table(
    "Your planner and TFLM's",
    ("network", "lower bound", "% above it", "my plan", "TFLM's head", "difference"),
    rows,
    "TFLM's head is measured."
    if tflm_here
    else "TFLM does not run on this machine: the computed figures stand alone.",
)

# %%
if tflm_here:
    off = max(abs(row[-1]) for row in rows)
    by = f"head of TFLM against the planner above, {len(rows)} networks"
    record("planner.largest_difference", Reading(off, "bytes", "measured", by))


# %% tags=["finding:planner"]
def finding_planner(differences):
    if None in differences.values():
        return "TFLM does not run on this machine, so nothing here judges the planner."
    off = {name: d for name, d in differences.items() if d}
    if not off:
        return (
            f"On each of the {len(differences)} networks the planner above needs "
            "as many bytes as TFLM's head, to the byte."
        )
    largest = max(off.values(), key=abs)
    return f"Not TFLM's plan on {listed(list(off))}: up to {largest:+,} bytes."


finding(finding_planner, {row[0]: row[-1] for row in rows})

# %% [markdown]
# ## The real tool
#
# ### The tail
#
# The planned head is one end of the arena. The other end, the **tail**, holds what stays as long as the network is loaded: a
# small record for each tensor and operator, and for each channel the fixed-point multiplier that brings its sums back to 8 bits
# (**requantization**). It grows down from the top of the arena. On a Cortex-M, pointers are half as long as on your computer, so its tail is smaller.

# %%
arenas = {n: {t: plan_arena(m, t) for t in (HOST, CORE)} for n, m in models.items()}
arenas["signs_dscnn"][CORE]

# %%
host, core = ([a[t].tail for a in arenas.values()] for t in (HOST, CORE))
more = [100 * (h / c - 1) for h, c in zip(host, core)]
share = [100 * a[CORE].tail / a[CORE].total for a in arenas.values()]
figure = ui.grouped_bars(
    list(models),
    {
        "this computer": [Reading(n, "bytes", "modelled", HOST) for n in host],
        "Cortex-M4": [Reading(n, "bytes", "modelled", CORE) for n in core],
    },
    title=f"The chip's tail is {min(share):.0f} to {max(share):.0f} percent of its "
    f"arena; here it is {min(more):.0f} to {max(more):.0f} percent larger",
    y="bytes of the tail",
)
ui.show(figure, alt="Bars of the tail of each network, on this computer and on a chip.")

# %%
ratio = arenas["signs_dscnn"][CORE].total / weight_bytes["signs_dscnn"]
by = "arena on a Cortex-M4 over bytes of the weights"
guess_arena.against(record("arena_to_weights", Reading(ratio, "x", "modelled", by)))

# %% [markdown]
# ### How small may the arena be?
#
# The usual advice: start with a large arena, load the network, read `arena_used_bytes()`, and set the arena to that. Try it. `arena_search` starts
# the real interpreter again and again, in a process of its own, with an arena of the size in question. It halves the
# interval between what works and what does not (**bisection**) until one step of <span class="given" title="the alignment of TFLM's arena">16 bytes</span> is left.

# %%
searches, outcomes = {}, {}
if tflm_here:
    searches = {name: arena_search(model.path) for name, model in models.items()}
    used, found = real["digits_mlp"].total, searches["digits_mlp"]
    for number, (size, outcome) in enumerate(found.attempts, 1):
        attempts, sizes = outcomes.setdefault(outcome, ([], []))
        attempts.append(number)
        sizes.append(size)
    figure = ui.scatter(
        outcomes,
        title=f"digits_mlp uses {used:,} bytes and needs {found.min_workable:,}",
        x="attempt",
        y="arena, bytes",
    )
    ui.show(figure, alt="Sizes tried in turn, marked by whether they worked.")

# %%
rows = []
for name in models:
    modelled, found = arenas[name][HOST], searches.get(name)
    said, needs = (real[name].total, found.min_workable) if found else (None, None)
    rows.append((name, said, needs, modelled.min_workable, modelled.limited_by))
Table(
    "Used, needed, computed: the interpreter on this computer",
    ("network", "used (measured)", "needed (measured)", "computed", "what sets it"),
    rows,
    "" if tflm_here else "TFLM does not run on this machine: no measured figures.",
)


# %% tags=["finding:arena"]
def finding_arena(used, needed):
    more = [n for n in used if needed[n] > used[n]]
    if not more:
        return (
            "Every network here starts with the arena that `arena_used_bytes()` names."
        )
    each = [f"{n} needs {needed[n]:,} bytes and uses {used[n]:,}" for n in more]
    return (
        f"With the size that `arena_used_bytes()` names, {len(more)} of {len(used)} "
        f"networks would not start: {'; '.join(each)}."
    )


finding(
    finding_arena,
    {n: real[n].total if tflm_here else arenas[n][HOST].total for n in models},
    {n: (searches.get(n) or arenas[n][HOST]).min_workable for n in models},
)

# %% [markdown]
# Where the last column says *planning*, the arena must be larger than what is used afterwards. While the interpreter prepares, it keeps lists in
# the very same arena: a note for each buffer that is to be placed. They are gone when you ask what is used. The fewer bytes the activations take,
# the sooner it is the lists that decide.

# %%
if tflm_here:
    needs, used = searches["digits_mlp"].min_workable, real["digits_mlp"].total
    way = ("measured", "bisection of TFLM on this computer")
else:
    needs, used = (
        arenas["digits_mlp"][HOST].min_workable,
        arenas["digits_mlp"][HOST].total,
    )
    way = ("modelled", "plan_arena for the x86-64 interpreter")
margin = record("digits.needed_over_used", Reading(100 * (needs / used - 1), "%", *way))
guess_margin.against(margin)

# %% [markdown]
# The same on the chip. You cannot run the search there without a board, but the sizes of TFLM's records on a 32-bit processor are known, and the
# sum follows. (This package holds its sums against TFLM that was built for a Cortex-M4 and run on an emulated one.) These are the
# numbers to put into your firmware.

# %%
on_core = {name: by_target[CORE] for name, by_target in arenas.items()}
for name, arena in on_core.items():
    by = f"{arena.by}; limited by {arena.limited_by}"
    reading = Reading(arena.min_workable, "bytes", "modelled", by)
    record(f"arena.cortex_m.{name}", reading)

# %% [markdown]
# ### Networks of any size
#
# The next questions need networks of other shapes. Memory depends on shapes, not on what a network has learned, so the two functions below
# write **untrained** networks straight into a file: the sizes are real, the answers mean nothing. A layer is (channels, stride); after the first
# one each is a depthwise and a pointwise convolution, or a standard 3 x 3 one.


# %%
def weights(writer, shape, scales=1, axis=0):
    """Random int8 weights."""
    values = generator.integers(-127, 128, shape, np.int8)
    return writer.constant(values, [0.01] * scales, axis)


def convolution(writer, x, size, c_out, kernel, stride, activation, depthwise=False):
    """Add a convolution and its activation; return output and (side, channels)."""
    side, c_in = math.ceil(size[0] / stride), size[1]
    shape = (1, kernel, kernel, c_in) if depthwise else (c_out, kernel, kernel, c_in)
    w = weights(writer, shape, c_out, 3 if depthwise else 0)
    b = writer.constant(np.zeros(c_out, np.int32), [0.0005] * c_out)
    fused = activation if activation in ("RELU", "RELU6") else "NONE"
    options = {"padding": "SAME", "stride_h": stride, "stride_w": stride}
    options["fused_activation_function"] = fused
    code = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    out = (1, side, side, c_out)
    x = writer.operator(code, [x, w, b], out, 0.05, options=options)
    if fused == "NONE":  # an operator of its own
        x = writer.operator(activation, [x], out, 0.05)
    return x, (side, c_out)


# %%
def build(name, side, layers, activation="RELU6", separable=True, normalise=False):
    """Write an untrained int8 network for side x side colour images and 10 classes."""
    writer, size = TfliteWriter(), (side, 3)
    x = writer.input("image", (1, side, side, 3), 0.05)
    for number, (c_out, stride) in enumerate(layers):
        kernel, step = 3, stride
        if number and separable:
            x, size = convolution(writer, x, size, size[1], 3, stride, activation, True)
            kernel, step = 1, 1
        x, size = convolution(writer, x, size, c_out, kernel, step, activation)
        if normalise and number == 0:
            shape = (1, size[0], size[0], c_out)
            x = writer.operator("L2_NORMALIZATION", [x], shape, 1 / 128)
    axes = writer.constant(np.array([1, 2], np.int32))
    x = writer.operator(
        "MEAN", [x, axes], (1, size[1]), 0.05, options={"keep_dims": False}
    )
    w = weights(writer, (10, size[1]))
    b = writer.constant(np.zeros(10, np.int32), [0.0005])
    writer.output(writer.operator("FULLY_CONNECTED", [x, w, b], (1, 10), 0.1))
    return read_model(writer.write(work / f"{name}.tflite"))


def dscnn(width):
    """The layers of signs_dscnn at a width."""
    return [(width * c, s) for c, s in [(1, 1), (2, 2), (2, 1), (2, 1), (4, 2), (4, 1)]]


# %% [markdown]
# ### How far from the best?
#
# Greedy is quick, not best. The package also tries other orders and exchanges buffers in a search. And it knows a trick that TFLM does not use: an
# operator that works on one element at a time may write its result **in place**, over its operand. Two networks join the four: `relu6` has the
# layers of `signs_dscnn` and pads as the runtime does; `hard_swish` has an activation that is an operator of its own, where ReLU6 is part of the
# convolution. Compare each with the row that differs in one thing.

# %%
tried = {
    **models,
    "relu6": build("relu6", 32, dscnn(32)),
    "hard_swish": build("hard_swish", 32, dscnn(32), "HARD_SWISH"),
}
rows = []
for name, model in tried.items():
    greedy = plan_arena(model, CORE)
    best = plan_arena(model, CORE, heuristic="best")
    bounds = (greedy.plan.lower_bound, best.plan.lower_bound)
    rows.append((name, greedy.head, bounds[0], best.head, bounds[1]))
Table(
    "Bytes of the head on a Cortex-M4: greedy, and the best plan found",
    ("network", "greedy", "lower bound", "best", "lower bound in place"),
    rows,
)

# %%
heads = {row[0]: row[1] for row in rows}
best_heads = {row[0]: row[3] for row in rows}


def less(name, smaller, larger, by):
    """Record how many percent one size is below another."""
    saved = Reading(100 * (1 - smaller / larger), "%", "modelled", by)
    return record(name, saved)


less("saved.no_pad", heads["relu6"], heads["signs_dscnn"], "relu6 and signs_dscnn")
less("saved.order", best_heads["signs_resnet"], heads["signs_resnet"], "best order")
saved = less(
    "saved.in_place", best_heads["hard_swish"], heads["hard_swish"], "in place"
)

# %% [markdown]
# ### Which devices remain?
#
# `fit` holds a model against every device of its table: flash for the file and the interpreter, SRAM for the arena and the **stack** (where
# functions keep their local variables), and a share of SRAM that stays free. The figure shows the microcontrollers by their two memories. Those
# above and to the right of the network's point can take it. (A chip beyond the ends of the axes has more of both.)

# %%
quick = {"accelerators": False, "measured": False}
report = fit(models["signs_dscnn"], headroom=headroom, **quick)
micros = [d for d in report.devices if d.device.kind == "microcontroller"]
left = record(
    "devices.signs_dscnn",
    Reading(sum(d.fits for d in micros), "devices", "modelled", "edgelab.mcu.fit"),
)


def map_of_devices(devices, fitting, flash_bytes, ram_bytes, share, title):
    """Flash and usable SRAM of each device, and what a network needs."""
    series = {"the network needs": ([flash_bytes / 1024], [ram_bytes / 1024])}
    for word, wanted in (("fits", True), ("does not fit", False)):
        group = [d for d, f in zip(devices, fitting) if f is wanted]
        if group:
            flash = [d.flash_bytes / 1024 for d in group]
            series[word] = (flash, [(1 - share) * d.sram_bytes / 1024 for d in group])
    ends = {"xaxis_range": [1.8, 4.3], "yaxis_range": [0.5, 3.7]}  # powers of ten
    axes = {"x": "flash, KiB", "y": f"SRAM with {share:.0%} kept free, KiB"}
    roles = {"fits": "right", "does not fit": "wrong"}
    return ui.scatter(
        series, title=title, log_x=True, log_y=True, roles=roles, **axes, **ends
    )


# %%
figure = map_of_devices(
    [d.device for d in micros],
    [d.fits for d in micros],
    micros[0].flash_bytes,
    micros[0].ram_bytes,
    headroom,
    f"signs_dscnn fits on {left.value} of {len(micros)} microcontrollers",
)
ui.show(figure, alt="Devices by flash and usable SRAM; the network's needs as a point.")

# %% [markdown]
# For those that do not fit, the report names one reason and the smallest change. `device` in the parameters cell is the chip of this story; the
# table adds the others that fail.

# %%
chip = next(d for d in report.devices if d.device.name == find_device(device).name)
failing = [d for d in micros if not d.fits and d is not chip]
Table(
    f"signs_dscnn with {headroom:.0%} of the SRAM free",
    ("device", "fits", "SRAM free", "why not", "change"),
    [
        (
            d.device.name,
            d.fits,
            f"{d.headroom:.1%}",
            *(d.reasons[:1] or ("",)),
            d.change,
        )
        for d in [chip, *failing]
    ],
    "Modelled; a negative share is what is missing.",
)

# %% [markdown]
# Before you train a smaller network: do the copies of the `PAD`s decide? `relu6` is the same network without them.

# %%
pads = {"signs_dscnn": chip}
pads["relu6"] = fit(tried["relu6"], device, headroom, **quick).devices[0]
Table(
    f"With and without PAD on {chip.device.name}",
    ("network", "arena and stack, bytes", "SRAM free", "fits"),
    [(n, d.ram_bytes, f"{d.headroom:.1%}", d.fits) for n, d in pads.items()],
    f"{headroom:.0%} of {chip.device.sram_bytes:,} bytes must stay free. Modelled.",
)


# %% tags=["finding:pads"]
def finding_pads(device, with_pads, without):
    fits = {True: "fits", False: "does not fit"}
    text = f"On {device} the network {fits[with_pads]} with its PADs and "
    text += f"{fits[without]} without them: "
    if with_pads == without:
        return f"{text}they do not decide."
    return f"{text}the copies that they make decide."


finding(finding_pads, chip.device.name, chip.fits, pads["relu6"].fits)

# %% [markdown]
# Does it also answer in time? Nobody can say to the millisecond without the board: on the same chip the slowest published software takes
# <span class="given" title="published results of MLPerf Tiny">six times as long</span> as the fastest. So the estimate has a wide band, and says so.

# %%
timed = [d for d in report.devices if d.device.name in {chip.device.name, *examples}]
Table(
    "One inference of signs_dscnn",
    ("device", "MHz", "time", "energy"),
    [(d.device.name, d.device.clock_mhz, d.cost.latency, d.cost.energy) for d in timed],
)

# %% [markdown]
# ### The operator trap
#
# The arena fits, the flash fits, and the device still refuses: the interpreter on the chip has fewer **operators** than the one on your laptop. Here is
# the signs network with the activation GELU, which is common in newer networks. First the laptop's runtime, then the device's.

# %%
gelu = build("gelu", 32, dscnn(32), "GELU")
with open_engine(gelu.path) as laptop:
    answer = laptop.predict(sets["signs"].test.x[:1])
    on_laptop = f"{laptop.name}: runs, {answer.shape[1]} scores"
try:
    with TFLMEngine(gelu.path) as chip_runtime:
        on_chip = f"{chip_runtime.name}: runs"
except BadFile as error:
    on_chip = str(error).replace(str(gelu.path), gelu.path.name)
except MissingFramework:
    on_chip = "TFLM does not run on this machine"
Table(
    "The same file",
    ("where", "what happens"),
    [("laptop", on_laptop), ("device", on_chip)],
)

# %%
operators = check_operators(gelu)
operators

# %%
found_late = bool(answer.size and not operators.supported)
guess_trap.against(stages[2] if found_late else stages[1])


# %% tags=["finding:operators"]
def finding_operators(missing, on_laptop, starts):
    lacks = f"it has no {listed(missing)}" if missing else "its list lacks nothing"
    text = "The file was written without a complaint"
    text += " and it runs on this computer" if on_laptop else ""
    if starts is None:
        return f"{text}. TFLM does not run on this computer; by its list, {lacks}."
    if starts:
        return f"{text}, and the device's interpreter starts it, too."
    return f"{text}. The device's interpreter refuses it at start-up: {lacks}."


starts = ": runs" in on_chip if tflm_here else None
missing = [c.operator for c in operators.unsupported]
finding(finding_operators, missing, bool(answer.size), starts)

# %% [markdown]
# `check_operators` needs no device: it compares the file with the interpreter's list and names a replacement. Run it before you train, because a
# replacement changes the network, and the network has to be trained again. Is the replacement in the list?

# %%
mended = tried["hard_swish"]
Table(
    "GELU and its replacement",
    ("network", "operators missing", "arena on a Cortex-M4, bytes"),
    [
        (n, len(check_operators(m).unsupported), plan_arena(m, CORE).min_workable)
        for n, m in {"gelu": gelu, "hard_swish": mended}.items()
    ],
    "gelu: without what its kernel would keep, as the interpreter has no such kernel."
    if plan_arena(gelu, CORE).unknown
    else "",
)

# %% [markdown]
# What is missing, and what only has the reputation? Three small networks: **attention** (the heart of a transformer, with 64 tokens), one operator whose output size
# depends on the data (**dynamic shape**), and one that works on text (**strings**).


# %%
def attention(tokens=64, width=32):
    """Self-attention with one head: three dense layers, two products and a softmax."""
    writer = TfliteWriter()
    x = writer.input("tokens", (1, tokens, width), 0.05)
    wide, square = (1, tokens, width), (1, tokens, tokens)
    qkv = []
    for _ in range(3):
        w = weights(writer, (width, width))
        b = writer.constant(np.zeros(width, np.int32), [0.0005])
        dense = {"keep_num_dims": True}
        qkv.append(
            writer.operator("FULLY_CONNECTED", [x, w, b], wide, 0.05, options=dense)
        )
    q, k, v = qkv
    turned = {"adj_y": True}
    x = writer.operator("BATCH_MATMUL", [q, k], square, 0.1, options=turned)
    x = writer.operator("SOFTMAX", [x], square, 1 / 256, -128, options={"beta": 1.0})
    writer.output(writer.operator("BATCH_MATMUL", [x, v], wide, 0.05))
    return writer


# %%
dynamic, text = TfliteWriter(), TfliteWriter()
events = dynamic.input("events", (1, 64), dtype="bool")
dynamic.output(dynamic.operator("WHERE", [events], (64, 2), dtype="int64"))
words = text.input("text", (1,), dtype="string")
text.output(text.operator("SKIP_GRAM", [words], (1,), dtype="string"))
kinds = {"attention": attention(), "dynamic shape": dynamic, "strings": text}
rows, refused = [], 0
for name, writer in kinds.items():
    path = writer.write(work / f"{name.split()[0]}.tflite")
    missing = [c.operator for c in check_operators(path).unsupported]
    starts = not missing
    if tflm_here:
        try:
            with TFLMEngine(path):
                starts = True
        except BadFile:
            starts = False
    refused += not starts
    rows.append((name, ", ".join(missing) or "none", starts))
missing_kinds = rows
Table("Does TFLM start it?", ("network", "missing by the table", "starts"), rows)

# %% [markdown]
# ### The accelerator
#
# Some chips have an **accelerator** beside the processor: on Arm chips an Ethos-U. Its compiler is **vela**; it runs here. Vela moves what the
# accelerator can do into one operator and leaves the rest to the processor. To see a **fallback**, one normalisation is
# added after the first layer, as somebody might do because it helped the accuracy. `fit` runs vela for a device that has an Ethos-U.

# %%
plain = tried["relu6"]
trap = build("normalised", 32, dscnn(32), normalise=True)
boards = {
    name: fit(model, "corstone-300", measured=False).devices[0]
    for name, model in {"without": plain, "with": trap}.items()
}
coverage = {name: board.accelerator for name, board in boards.items()}
Table(
    "One operator that the accelerator does not have",
    ("normalisation", "accelerator", "processor", "exit status", "whole inference"),
    [
        (n, c.npu_operators, c.cpu_operators, c.exit_status, boards[n].cost.latency)
        for n, c in coverage.items()
    ],
    f"Operators and status: {coverage['with'].by}. Time: modelled for corstone-300.",
)

# %%
fallback = coverage["with"].fallbacks
slower = boards["with"].cost.latency.value / boards["without"].cost.latency.value
record(
    "accelerator.slower",
    Reading(slower, "x", "modelled", f"fit on corstone-300; {coverage['with'].by}"),
)
Table(
    "What stays on the processor",
    ("operator", "vela's reason"),
    [(f.operator, f.reason) for f in fallback],
)


# %% tags=["finding:accelerator"]
def finding_accelerator(status, left, named, slower):
    if not left:
        return "Vela took every operator: nothing is left to the processor."
    names = listed([f"`{name}`" for name in left])
    end = "reports success" if status == 0 else f"ends with status {status}"
    text = f"Vela {end} and leaves {names} to the processor. "
    text += f"Its log gives a reason for {named} of {len(left)}. "
    if slower <= 1:
        return text + "By the model that does not cost time."
    return text + f"By the model the whole inference takes {slower:.1f} times as long."


named = sum(f.reason != "no reason given" for f in fallback)
finding(
    finding_accelerator,
    coverage["with"].exit_status,
    [f.operator for f in fallback],
    named,
    slower,
)

# %% [markdown]
# An exit status and a file say little about where the operators went. Vela says it in its log, among many lines; in an automatic build nobody reads
# them. So let the build read them: fail it when the number of operators on the processor is not the one that you expect.

# %% [markdown]
# ## Explore
#
# **The planner at work.** Choose a network and the order in which buffers are placed, and move the slider: each step places one more buffer.
# At its right end all are placed. Which order ends closest to the dashed line on `signs_resnet`? Is it the best on the other networks, too?

# %%
orders = {
    "largest first": largest_first,
    "first used first": lambda b: (b.first, -b.size_bytes),
    "longest life first": lambda b: (b.first - b.last, -b.size_bytes),
    "smallest first": lambda b: b.size_bytes,
}
on_chip_buffers = {n: plan_arena(m, CORE).plan.buffers for n, m in tried.items()}
tallest = {
    name: max(as_plan(b, place(b, rule), "").size_bytes for rule in orders.values())
    for name, b in on_chip_buffers.items()
}


def planner(network, order, placed):
    buffers = on_chip_buffers[network]
    address = place(buffers, orders[order])
    some = dict(list(address.items())[:placed])
    plan = as_plan(buffers, some, order)
    return ui.lifetime_figure(
        plan,
        title=f"{min(placed, len(buffers))} of {len(buffers)} buffers, {order}: "
        f"{plan.size_bytes:,} bytes; no plan needs fewer than {plan.lower_bound:,}",
        xaxis_range=[-0.6, max(b.last for b in buffers) + 0.6],
        yaxis_range=[0, 1.05 * tallest[network]],
    )


# %%
ui.Panel(
    planner,
    title="The planner at work",
    alt="A map of the arena: bars over steps and addresses, with the lower bound.",
    network=ui.choice(list(tried), value="signs_resnet", label="network"),
    order=ui.choice(list(orders), label="order"),
    placed=ui.slider(1, 30, 1, value=6, label="buffers placed"),
)

# %% [markdown]
# **The network as dials.** Side of the image, width of the network, and the share of SRAM that you keep free. Start where few devices remain. What
# helps more against a lack of SRAM: half the side, or half the width? And against a lack of flash?

# %%
chips = [d.device for d in micros]


def dial(side, width, free):
    model = build("dial", side, dscnn(width))
    arena = plan_arena(model, CORE).min_workable
    flash, ram = len(model.content) + INTERPRETER_CODE_BYTES, arena + STACK_BYTES
    fitting = [
        flash <= d.flash_bytes and ram <= (1 - free / 100) * d.sram_bytes for d in chips
    ]
    title = (
        f"Arena {arena / 1024:,.1f} KiB, flash {flash / 1024:,.0f} KiB: "
        f"{sum(fitting)} of {len(chips)} microcontrollers remain"
    )
    return map_of_devices(chips, fitting, flash, ram, free / 100, title)


ui.Panel(
    dial,
    title="A separable network as dials",
    alt="Devices by flash and usable SRAM, and the network's needs as a point.",
    side=ui.slider(16, 96, 8, value=64, label="image side"),
    width=ui.slider(8, 48, 4, value=32, label="width"),
    free=ui.slider(0, 50, 5, value=20, label="percent of SRAM free"),
)

# %% [markdown]
# ## Claims
#
# Rules of thumb, held against the figures above. The first one needs the real interpreter.

# %%
tries = 2**18  # halve 256 KiB until it fails, then go back one step
need = arenas["signs_dscnn"][HOST].min_workable
while tries // 2 >= need:
    tries //= 2
if tflm_here:
    misses = [
        abs(arenas[n][HOST].min_workable - s.min_workable) for n, s in searches.items()
    ]
    by = f"bisection of TFLM on {len(misses)} networks against plan_arena"
    claim(
        "U1",
        record("arena.miss", Reading(max(misses), "bytes", "measured", by)),
        because=f"Halving would have reserved {tries:,} bytes for signs_dscnn, "
        f"{tries / need:.1f} times what it needs.",
    )

# %%
convolutional = ("signs_dscnn", "signs_resnet", "vibration_cnn1d")
by = "planned head on a Cortex-M4 over bytes of the weights"
ratios = [
    record(
        f"activations_to_weights.{n}",
        Reading(on_core[n].head / weight_bytes[n], "x", "modelled", f"{n}: {by}"),
    )
    for n in convolutional
]
sides = {s: build("side", s, dscnn(32)) for s in (32, 64, 96)}
weights_of = sum(len(t.data) for t in sides[32].tensors if t.data is not None)
spread = ", ".join(
    f"{plan_arena(m, CORE).head / weights_of:.1f} at {s}" for s, m in sides.items()
)
claim(
    "U2",
    *ratios,
    because="Activations grow with the area of the image and weights do not: "
    f"one separable network has a ratio of {spread} pixels a side.",
)

# %%
needed_to_planned, arena_to_largest = [], []
for name, model in models.items():
    sizes = [b.size_bytes for b in on_chip_buffers[name]]
    input_bytes = sum(model.tensors[i].size_bytes for i in model.inputs)
    rule = (max(sizes) + input_bytes + STACK_BYTES) / (1 - 0.2)
    needs = on_core[name].min_workable + STACK_BYTES
    by = f"{name}: {needs:,} bytes of arena and stack over {rule:,.0f} by the rule"
    reading = Reading(needs / rule, "x", "modelled", by)
    needed_to_planned.append(record(f"rule_of_20_percent.{name}", reading))
    arena_to_largest.append(on_core[name].min_workable / max(sizes))
claim(
    "U3",
    *needed_to_planned,
    because=f"The arenas are {min(arena_to_largest):.1f} to {max(arena_to_largest):.1f} "
    "times the largest activation: several are alive at once, and the interpreter keeps "
    "its tail. Put the arena in place of the largest activation.",
)

# %% [markdown]
# For the next claim the networks are built for real. **MobileNetV1** at a quarter of its width is what people run on microcontrollers; its file does
# not depend on the image size. The 1-D CNN is the trained one from the top; beside it the same shape with fewer channels, untrained.

# %%
v1 = [(32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
v1 += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
torch.manual_seed(seed)
mobilenet = build("mobilenet", 96, [(c // 4, s) for c, s in v1])
narrow = export_int8(
    nets.cnn1d(5, width=10),
    sets["vibration"].train.x[:calibration_items],
    work / "narrow.tflite",
)
files = {
    "MobileNetV1 0.25, untrained": mobilenet,
    "1-D CNN, width 16, trained": models["vibration_cnn1d"],
    "1-D CNN, width 10, untrained": read_model(narrow.path),
}
rows = []
for name, model in files.items():
    held = sum(len(t.data) for t in model.tensors if t.data is not None)
    whole = fit(model, "nrf52840", **quick)
    flash = (whole.devices[0].flash_bytes, whole.generated.flash_bytes)
    rows.append((name, held, len(model.content), *flash))
Table(
    "Bytes of flash",
    ("network", "weights", "file", "file and interpreter", "as generated C code"),
    rows,
    "Weights and file: measured. With code: modelled.",
)

# %%
by = "the file that was written, in units of 1,000 bytes"
size = {
    n: Reading(len(m.content) / 1000, "KB", "measured", by) for n, m in files.items()
}
first, second, third = size.values()
claim(
    "U4",
    mobilenet=record("flash.mobilenet", first),
    cnn1d=record("flash.cnn1d", second),
    because="The interpreter's code comes on top, about "
    f"{INTERPRETER_CODE_BYTES / 1000:.0f} KB. A 1-D CNN of 10 channels "
    f"takes {third.value:.1f} KB.",
)

# %%
way = ("measured", "TFLM loading each") if tflm_here else ("modelled", "TFLM's table")
claim(
    "U5",
    record("operators.refused", Reading(refused, "kinds", *way)),
    because=f"Missing: {'; '.join(f'{n}: {m}' for n, m, _ in missing_kinds)}. "
    "Attention is matrix products and a softmax.",
)

# %%
by = f"{coverage['with'].by} on a network with one normalisation"
ended_well = coverage["with"].cpu_operators * (coverage["with"].exit_status == 0)
claim(
    "U7",
    fallback=record("vela.fallback", Reading(ended_well, "operators", "measured", by)),
    said=record("vela.named", Reading(named, "operators", "measured", by)),
    because=finding_accelerator(
        coverage["with"].exit_status, [f.operator for f in fallback], named, slower
    ),
)

# %% [markdown]
# The last claim counts operations. The two networks have the same layers, once separable, once standard. A count of operations is not yet a time: a
# depthwise convolution uses each number that it loads only a few times, so it takes more instructions for each operation. The second series shows an estimate.

# %%
standard = build("standard", 32, dscnn(32), separable=False)


def by_layer(model, count):
    """A count for each layer after the first; a separable one has two operators."""
    counts = [count(model, op) for op in model.operators if "CONV" in op.code][1:]
    return np.reshape(counts, (len(dscnn(32)) - 1, -1)).sum(axis=1)


fewer = {
    "operations": by_layer(standard, operator_macs) / by_layer(plain, operator_macs),
    "instructions (modelled)": by_layer(standard, instructions)
    / by_layer(plain, instructions),
}
typical = {name: float(np.median(values)) for name, values in fewer.items()}
figure = ui.grouped_bars(
    [f"layer {i}" for i in range(2, len(dscnn(32)) + 1)],
    fewer,
    title="Separable: {:.1f} times fewer operations, {:.1f} times fewer "
    "instructions".format(*typical.values()),
    y="times fewer than a standard 3 x 3",
)
ui.show(
    figure, alt="Bars for each layer: the saving in operations and in instructions."
)

# %%
values = fewer["operations"]
saving = Reading(
    typical["operations"],
    "x",
    "modelled",
    "shapes in the two files; interval: smallest and largest layer",
    low=values.min(),
    high=values.max(),
)
claim(
    "M6",
    record("separable.saving", saving),
    because=f"The layers reach {saving.low:.1f} to {saving.high:.1f} of the nine that "
    "a 3 x 3 kernel allows; the wider a layer, the nearer.",
)

# %% [markdown]
# Two published figures need only a sum, held against the figures of this lab.

# %%
flash_needed = 1_100_000 + INTERPRETER_CODE_BYTES
by = "1.1 MB and the interpreter's code over 1 MiB"
claim(
    "S4",
    Reading(flash_needed / 2**20, "x", "modelled", by),
    because="Without any code the model alone takes "
    f"{1_100_000 / 2**20:.2f} times that flash, and the program is not in it yet.",
)

# %%
best, worst_case = 0.1 / 5, 0.1 / 15
by = "0.1 TOPS over 5 W; interval: over 15 W and over 5 W"
published = Reading(best, "TOPS/W", "modelled", by, low=worst_case, high=best)
modelled = {
    d.device.name: 2 * report.macs / (d.cost.energy.value / 1000) / 1e12
    for d in timed
    if d.cost.energy is not None
}
ours = ", ".join(f"{name} {1000 * value:.2g}" for name, value in modelled.items())
claim(
    "S6",
    published,
    because=f"The two figures differ by a factor of {10 / best:,.0f} or more. The table of "
    f"times and energies above gives, in thousandths of a TOPS/W: {ours} (modelled).",
)

# %% [markdown]
# ## Exercises
#
# Five functions that decide whether a network fits. Each check tests yours on cases that plausible mistakes get wrong.
#
# ### 1. Lifetimes
#
# The lab took the lifetimes from the package. Now read them from the list of operators yourself.


# %% tags=["exercise:lifetimes"]
def lifetimes(operators, inputs, outputs):
    """{name: (first step, last step)} of every tensor that needs memory.

    `operators` is a list of (names read, names written); operator number i, from 0,
    runs at step i + 1. The network's `inputs` are there from step 0, its `outputs`
    live to the last step. A name that is neither an input nor written by an operator
    is a weight: it stays in flash and is left out.
    """
    # TODO: start with the inputs at step 0, go through the operators in order, set the
    # first step of what is written and the last step of what is read, and let the
    # outputs live to the end.
    ### BEGIN SOLUTION
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, start=1):
        last.update({name: step for name in read if name in first})
        for name in written:
            first[name] = last[name] = step
    for name in outputs:
        last[name] = len(operators)
    return {name: (first[name], last[name]) for name in first}
    ### END SOLUTION


# %% [markdown] tags=["hints:lifetimes"]
# 1. Keep two dictionaries, `first` and `last`. `enumerate(operators, start=1)` gives step and operator.
# 2. Each reading moves `last` forward, so the latest reader wins; but only for names that are already in `first`, because the others are weights. What is written lives at least at its own step.
# 3. `for name in read: if name in first: last[name] = step`, then `for name in written: first[name] = last[name] = step`; at the end `last[name] = len(operators)` for the outputs.


# %% tags=["check:lifetimes", "hidden"]
@checks("lifetimes")
def _(c, lifetimes):
    def reference(operators, inputs, outputs, base=1, start=0, end=0, **wrong):
        first = dict.fromkeys(inputs, start)
        last = dict(first)
        readers = {}
        for step, (read, written) in enumerate(operators, base):
            for name in read:
                if wrong.get("weights"):
                    first.setdefault(name, step)
                if name in first:
                    readers.setdefault(name, []).append(step)
                    last[name] = step
            for name in written:
                first[name] = last[name] = step
        if "reader" in wrong:  # another one than the last reader ends the life
            last = {n: wrong["reader"](first[n], readers.get(n, [])) for n in first}
        for name in outputs:
            last[name] = last[name] if end is None else len(operators) + end
        if wrong.get("unread"):  # what nobody reads was forgotten
            used = {*readers, *outputs}
            first = {n: s for n, s in first.items() if n in used}
        return {name: (first[name], last[name]) for name in first}

    def network():
        """A random one: each operator reads a weight and one or two earlier tensors and writes one or two."""
        made, operators = ["image", "mask"], []
        for step in range(int(c.rng.integers(6, 10))):
            read = [str(n) for n in c.rng.choice(made, min(2, len(made)), False)]
            written = [f"t{step}"] + ([f"u{step}"] if c.rng.random() < 0.3 else [])
            operators.append(([*read, f"w{step}"], written))
            made += written
        return operators, ["image", "mask"], [operators[2][1][0], operators[-1][1][0]]

    chain = [
        (["image", "w1"], ["a"]),
        (["a", "w2"], ["b"]),
        (["b", "w3"], ["score"]),
    ]
    skip = [
        (["image", "w1"], ["a"]),
        (["a", "w2"], ["b"]),
        (["b", "w3"], ["early"]),
        (["early", "a"], ["sum"]),
        (["sum", "image"], ["late"]),
        (["late"], ["x", "unread"]),
    ]
    cases = [
        (skip, ["image", "unused"], ["early", "x"], "a shortcut and two outputs"),
        (chain, ["image"], ["score"], "a chain of three operators"),
        (*network(), "a network drawn at random"),
        (*network(), "another network drawn at random"),
    ]
    for operators, inputs, outputs, tested in cases:
        given = operators, inputs, outputs
        got = lifetimes(*given)
        c.that(
            isinstance(got, dict),
            tested="the answer",
            found=f"{repr(got)[:80]}; return a dict of names",
        )
        c.equal(
            got,
            reference(*given),
            tested=tested,
            mistakes={
                "weights are in it: they stay in flash": (
                    reference(*given, weights=True)
                ),
                "the outputs live one step too short: the last step is the number of operators": (
                    reference(*given, end=-1)
                ),
                "the outputs live one step too long: the last step is the number of operators": (
                    reference(*given, end=1)
                ),
                "the first reader ends the life, but a later operator reads it again": (
                    reference(*given, reader=lambda f, r: min(r, default=f))
                ),
                "these are first step and length: the last step is asked for": (
                    {n: (f, e - f) for n, (f, e) in reference(*given).items()}
                ),
                "these are first step and number of steps: the last step is asked for": (
                    {n: (f, e - f + 1) for n, (f, e) in reference(*given).items()}
                ),
            },
            remember={
                "operator number i runs at step i + 1, because step 0 belongs to the inputs": (
                    reference(*given, base=0)
                ),
                "operator number i runs at step i + 1; the outputs live to the last of these steps": (
                    reference(*given, base=0, end=-1)
                ),
                "the outputs must live to the last step": (reference(*given, end=None)),
                "the inputs are there from step 0": (reference(*given, start=1)),
                "a tensor lives until its last reader, not only while it is written": (
                    reference(*given, reader=lambda f, r: f)
                ),
                "the reader needs it, too: the step that reads belongs to the life": (
                    reference(*given, reader=lambda f, r: max([f] + [n - 1 for n in r]))
                ),
                "a life ends with the step that reads last, not one later": (
                    reference(*given, reader=lambda f, r: max([f] + [n + 1 for n in r]))
                ),
                "what nobody reads was written all the same, and needs memory at that step": (
                    reference(*given, unread=True)
                ),
                "what nobody reads needs memory only while it is written": (
                    reference(
                        *given,
                        reader=lambda f, r: max(r, default=len(operators)),
                    )
                ),
            },
        )


# %% tags=["check:lifetimes"]
check("lifetimes", lifetimes)

# %% [markdown]
# ### 2. The tightest gap
#
# TFLM takes the first gap that is large enough. Another rule takes the **tightest** one, which leaves large gaps whole for large buffers.


# %% tags=["exercise:tightest_gap"]
def tightest_gap(size, taken):
    """The address for a buffer of `size` bytes.

    `taken` is a list of (start, end) that the buffer must not touch, in any order; they
    may overlap each other, and `end` itself is free. Of the gaps that hold `size` bytes
    take the smallest, of equal ones the lowest. If none does, the buffer goes behind
    the last range. The memory starts at 0.
    """
    # TODO: walk through the taken ranges by start, remember where the free space
    # begins, compare each gap with the best one so far.
    ### BEGIN SOLUTION
    best, free = None, 0
    for start, end in sorted(taken):
        gap = start - free
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, free)
        free = max(free, end)
    return free if best is None else best[1]
    ### END SOLUTION


# %% [markdown] tags=["hints:tightest_gap"]
# 1. Sort the ranges by start. A gap lies between the highest end so far (0 at the beginning) and the next start.
# 2. Ranges may overlap, so the free space begins at the **largest** end so far: `free = max(free, end)`. A gap of exactly `size` bytes is large enough.
# 3. `for start, end in sorted(taken):` compare `gap = start - free` with the best so far, keep `(gap, free)` if it is smaller, then `free = max(free, end)`. After the loop return the best address, or `free`.


# %% tags=["check:tightest_gap", "hidden"]
@checks("tightest_gap")
def _(c, tightest_gap):
    def walk(
        size,
        taken,
        better,
        key=None,
        ordered=True,
        longest=True,
        strict=False,
        zero=True,
    ):
        best, free = None, 0 if zero else min((s for s, _ in taken), default=0)
        for start, end in sorted(taken, key=key) if ordered else taken:
            gap = start - free
            if (gap > size if strict else gap >= size) and (
                best is None or better(gap, best[0])
            ):
                best = (gap, free)
            free = max(free, end) if longest else end
        return free if best is None else best[1]

    def tighter(new, old):
        return new < old

    def upper_end(size, taken):
        """Where the buffer lies if it is pushed to the upper end of the tightest gap."""
        start = walk(size, taken, tighter)
        behind = [s for s, _ in taken if s >= start + size]
        return min(behind) - size if behind else start

    def memory():
        """Ranges in any order: gaps of several sizes, some range inside of another one, and a size to place."""
        taken, gaps, free = [], [], 0
        for gap in 16 * c.rng.integers(0, 9, int(c.rng.integers(4, 8))):
            start = free + int(gap)
            free = start + 16 * int(c.rng.integers(2, 7))
            gaps.append(int(gap))
            taken.append((start, free))
            if c.rng.random() < 0.4:
                taken.append((start + 16, free - int(c.rng.integers(0, 16))))
        size = max(16, int(c.rng.choice(gaps)) - int(c.rng.choice([0, 0, 8])))
        return size, [taken[i] for i in c.rng.permutation(len(taken))]

    out_of_order = [(320, 384), (0, 96), (192, 256), (160, 176)]
    overlapping = [(0, 256), (32, 64), (312, 320), (400, 480), (576, 600)]
    cases = [
        (48, [(80, 128), (192, 256), (352, 384)], "gaps of 80, 64 and 96 bytes"),
        (64, [(96, 128), (192, 256), (336, 384)], "a gap that is just large enough"),
        (48, [(64, 128), (208, 256), (352, 400)], "the tightest gap at the start"),
        (48, out_of_order, "ranges out of order"),
        (48, overlapping, "ranges that overlap"),
        (512, [(64, 128), (160, 256)], "a buffer that is larger than every gap"),
        (64, [(0, 400), (32, 64), (128, 160)], "ranges inside of a long one"),
        (16, [(32, 64), (96, 128), (160, 192)], "three gaps of the same size"),
        (32, [(0, 64), (64, 128), (128, 160)], "ranges without a gap"),
        (16, [], "an empty memory"),
        *((*memory(), "ranges drawn at random") for _ in range(6)),
    ]
    for size, taken, tested in cases:
        args = (size, taken)
        right = walk(*args, tighter)
        c.equal(
            tightest_gap(size, list(taken)),
            right,
            tested=tested,
            mistakes={
                "this is the first gap that is large enough, not the tightest": (
                    walk(*args, lambda new, old: False)
                ),
                "this is the largest gap": (walk(*args, lambda new, old: new > old)),
                "this is the last of equal gaps; of equal gaps take the lowest": (
                    walk(*args, lambda new, old: new <= old)
                ),
                "the ranges were sorted by their end; a gap ends where the next range starts": (
                    walk(*args, tighter, key=lambda r: r[1])
                ),
                "the largest end so far was forgotten; ranges may overlap: the free space begins at the largest end so far": (
                    walk(*args, tighter, longest=False)
                ),
                "the gap was refused, but a gap of exactly that size is large enough": (
                    walk(*args, tighter, strict=True)
                ),
                "the gaps were not looked at: this is the address behind the last range": (
                    max((e for _, e in taken), default=0)
                ),
                "this is where the buffer ends: its address is where it starts": (
                    right + size
                ),
            },
            remember={
                "the ranges come in any order: sort them": (
                    walk(*args, tighter, ordered=False)
                ),
                "the memory before the first range is a gap, too": (
                    walk(*args, tighter, zero=False)
                ),
                "the buffer lies at the lower end of its gap": (upper_end(*args)),
            },
        )


# %% tags=["check:tightest_gap"]
check("tightest_gap", tightest_gap)

# %% [markdown]
# ### 3. Find the smallest arena
#
# An attempt takes time, and a crash of the interpreter costs a process. Between 0 and a megabyte there are 65,536 sizes in steps of 16; a
# bisection tries about sixteen of them.


# %% tags=["exercise:smallest_arena"]
def smallest_arena(works, enough, step=16):
    """The smallest multiple of `step` for which `works(bytes)` is true.

    `enough` is a multiple of `step` that works; 0 does not. Whatever is larger than a
    size that works, works, too.
    """
    # TODO: keep two sizes, one that does not work and one that does, and halve the
    # distance until it is one step.
    ### BEGIN SOLUTION
    low, high = 0, enough // step  # in steps: low does not work, high does
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle * step) else (middle, high)
    return high * step
    ### END SOLUTION


# %% [markdown] tags=["hints:smallest_arena"]
# 1. Count in steps, not in bytes: `low = 0` does not work, `high = enough // step` does.
# 2. Try the middle. If it works, it becomes `high`, else it becomes `low`. Stop when they are neighbours.
# 3. `while high - low > 1: middle = (low + high) // 2`, then `high = middle` if `works(middle * step)` else `low = middle`; return `high * step`.


# %% tags=["check:smallest_arena", "hidden"]
@checks("smallest_arena", seconds=5)
def _(c, smallest_arena):
    def drawn(step):
        enough = int(c.rng.integers(2000, 9000))
        return step * int(c.rng.integers(enough // 9, enough)), step * enough, step

    for least, enough, step in [
        (1936, 65536, 16),
        (78480, 1 << 20, 16),
        (16, 4096, 16),
        (4096, 4096, 16),
        (4080, 4096, 16),
        (5012, 80000, 4),
        (64, 64, 64),
        drawn(16),
        drawn(4),
        drawn(100),
    ]:
        asked = []

        def works(size, least=least, asked=asked):
            asked.append(size)
            return size >= least

        found = smallest_arena(works, enough, step)
        halved = enough
        while halved // 2 >= least:
            halved //= 2
        c.equal(
            found,
            least,
            tested=f"an arena of {least:,} bytes, looked for below {enough:,} in steps of {step}",
            mistakes={
                "this is the last size that does not work": least - step,
                "this is one step too much": least + step,
                "this is what halving finds; go on between it and its half": halved,
                "halving was not followed by a search upwards": halved // 2,
                "the answer is in steps, not in bytes": least // step,
                "the last size that does not work, and in steps": least // step - 1,
                "the argument step is ignored: it is not always 16": -(-least // 16)
                * 16,
                "nothing was searched: this is where the search starts": enough,
                "one byte less does not work, but it is no multiple of the step": least
                - 1,
            },
        )
        odd = [size for size in asked if size % step]
        c.that(
            not odd,
            tested="that every size tried is a multiple of the step",
            found=f"an attempt with {odd[0] if odd else 0} bytes",
            mistake="halve the number of steps, not the number of bytes",
        )
        # Twice a bisection, so that a search that doubles first and halves then has room.
        most = 2 * math.ceil(math.log2(enough // step)) + 4
        c.that(
            len(asked) <= most,
            tested=f"that at most {most} sizes are tried",
            found=f"{len(asked)} attempts",
            mistake="a size is tried after the other: halve the interval instead",
        )


# %% tags=["check:smallest_arena"]
check("smallest_arena", smallest_arena)

# %% [markdown]
# ### 4. The tail
#
# The tail grows down from the top of the arena, and each record begins at an address that its **alignment** divides: a processor reads a
# 4-byte number faster from an address that is a multiple of 4, and some cannot read it from another one at all. What alignment skips is lost.


# %% tags=["exercise:tail"]
def tail_bytes(requests, arena_bytes):
    """Bytes of the tail after all `requests`, a list of (size, alignment).

    The arena goes from 0 to `arena_bytes`. Each request is placed as high as possible
    below the one before, at an address that its alignment divides.
    """
    # TODO: start at arena_bytes, go down by each size, and round the address down to
    # the alignment.
    ### BEGIN SOLUTION
    address = arena_bytes
    for size, alignment in requests:
        address = (address - size) // alignment * alignment
    return arena_bytes - address
    ### END SOLUTION


# %% [markdown] tags=["hints:tail"]
# 1. Keep one address, the lowest that is taken. It starts at `arena_bytes`.
# 2. Subtract the size first, then round the **address** down: `address // alignment * alignment`.
# 3. `address = (address - size) // alignment * alignment` for each request; the tail is `arena_bytes - address`.


# %% tags=["check:tail", "hidden"]
@checks("tail")
def _(c, tail_bytes):
    def up(n, a):
        return -(-n // a) * a

    def records():
        """Sizes and alignments, and an arena whose end the larger alignments do not divide."""
        count = int(c.rng.integers(4, 9))
        sizes = c.rng.integers(1, 70, count)
        alignments = c.rng.choice([1, 2, 4, 8, 16], count)
        arena = 16 * int(c.rng.integers(60, 200)) + int(c.rng.choice([2, 4, 6, 10]))
        return [(int(s), int(a)) for s, a in zip(sizes, alignments)], arena

    cases = [
        ([(12, 8), (2, 1), (20, 8)], 2002, "an arena whose end 8 does not divide"),
        ([(12, 4), (56, 16), (5, 1), (32, 4)], 1024, "records of several alignments"),
        ([(40, 16), (16, 16), (3, 1), (8, 4)], 4096, "a size that 16 does not divide"),
        ([(3, 1), (5, 1)], 77, "records that may lie anywhere"),
        ([(8, 4), (24, 8)], 32, "records that fill the arena"),
        ([], 512, "no request"),
        *((*records(), "records drawn at random") for _ in range(4)),
    ]
    for requests, arena, tested in cases:
        address, before, upwards, relative, offset = arena, arena, arena, 0, 0
        for size, alignment in requests:
            address = (address - size) // alignment * alignment
            before = before // alignment * alignment - size
            upwards = up(upwards - size, alignment)
            relative = up(relative, alignment) + size
            offset = up(offset + size, alignment)
        backwards = sideways = arena
        for size, alignment in reversed(requests):
            backwards = (backwards - size) // alignment * alignment
        for size, alignment in sorted(requests, reverse=True):
            sideways = (sideways - size) // alignment * alignment
        c.equal(
            tail_bytes(list(requests), arena),
            arena - address,
            tested=tested,
            mistakes={
                "the alignment is ignored": sum(size for size, _ in requests),
                "the sizes were rounded up, but it is the address that must be divisible": sum(
                    up(size, alignment) for size, alignment in requests
                ),
                "the bytes so far were rounded up, but it is the address that must be divisible": offset,
                "the address was rounded first; round after you subtract: the record begins at the lower end": arena
                - before,
                "the address was rounded up, into the record above": arena - upwards,
                "this is a tail that grows up from 0": relative,
                "this is the address, not the bytes above it": address,
                "the requests were taken from behind: they come in their order": arena
                - backwards,
                "the requests were sorted: they come in their order": arena - sideways,
                "the address was rounded only once, at the end": arena
                - (arena - sum(s for s, _ in requests))
                // max([a for _, a in requests], default=1)
                * max([a for _, a in requests], default=1),
                "the sign is wrong: these are bytes below the end": address - arena,
            },
        )


# %% tags=["check:tail"]
check("tail", tail_bytes)

# %% [markdown]
# ### 5. Does it fit?
#
# A list of what is broken, so that whoever reads it knows all of it. The arena is **one** array: it has to lie in one piece of SRAM, and many chips
# have several.


# %% tags=["exercise:broken"]
def broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    """What a network breaks on a chip: "flash", "SRAM", both in this order, or [].

    `chip` has `flash_bytes`, `sram_bytes` (the largest piece) and `sram_total_bytes`.
    Arena and stack share the largest piece, and the share `headroom` of it stays free.
    Flash needs no headroom. What fits exactly, fits.
    """
    # TODO: compare the flash, then arena and stack with what the headroom leaves of the
    # largest piece.
    ### BEGIN SOLUTION
    found = []
    if flash_bytes > chip.flash_bytes:
        found.append("flash")
    if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes:
        found.append("SRAM")
    return found
    ### END SOLUTION


# %% [markdown] tags=["hints:broken"]
# 1. Start with an empty list and append a name for each comparison that fails. No `elif`: both can fail.
# 2. Headroom is a share of the chip's SRAM, so `(1 - headroom) * chip.sram_bytes` is what may be used.
# 3. `if arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes: found.append("SRAM")`, and the flash without headroom before it.


# %% tags=["check:broken", "hidden"]
@checks("broken")
def _(c, broken):
    from types import SimpleNamespace

    grow = 2 ** int(c.rng.integers(0, 5))  # keeps what fits exactly there
    chip = SimpleNamespace(
        flash_bytes=262144 * grow,
        sram_bytes=100000 * grow,
        sram_total_bytes=160000 * grow,
    )
    half = "half of the SRAM to be free"
    cases = [
        (50, 10, 2, 0.2, [], "a network well within the limits", {}, {}),
        (
            *(50, 108, 2, 0.2, ["SRAM"], "more than the largest piece of SRAM"),
            {},
            {"the arena must lie in the largest piece, not in all of the SRAM": []},
        ),
        (
            *(50, 90, 2, 0.2, ["SRAM"], "92 percent of the largest piece"),
            {"the headroom is forgotten": []},
            {},
        ),
        (
            *(50, 48, 2, 0.5, [], f"exactly what is allowed, {half}"),
            {},
            {"what fits exactly, fits": ["SRAM"]},
        ),
        (
            *(50, 91, 2, 0.0, [], "no headroom wanted"),
            {"the argument headroom is ignored": ["SRAM"]},
            {},
        ),
        (
            *(50, 64, 2, 0.5, ["SRAM"], f"two thirds of the SRAM, {half}"),
            {},
            {"headroom is a share of the SRAM, not of what the network needs": []},
        ),
        (
            *(50, 35, 2, 0.7, ["SRAM"], "37 percent of the SRAM, 70 to be free"),
            {},
            {"headroom is what stays free, not what may be used": []},
        ),
        (
            *(50, 79, 2, 0.2, ["SRAM"], "an arena that fits without its stack"),
            {"the stack is forgotten": []},
            {},
        ),
        (
            *(50, 59, 25, 0.2, ["SRAM"], "a large stack beside an arena that fits"),
            {"the stack was added after the headroom: both together leave it free": []},
            {},
        ),
        (
            *(50, 70, 2, 0.2, [], "72 percent of the largest piece"),
            {},
            {"the stack shares the piece once, not twice": ["SRAM"]},
        ),
        (
            *(250, 60, 2, 0.2, [], "a flash that is nearly full"),
            {},
            {"flash needs no headroom": ["flash"]},
        ),
        (
            *(262.144, 48, 2, 0.2, [], "a flash that is full to the last byte"),
            {},
            {
                "what fits exactly, fits": ["flash"],
            },
        ),
        (
            *(270, 60, 2, 0.2, ["flash"], "a flash that is too small"),
            {"the flash was not compared": []},
            {},
        ),
        (
            *(300, 150, 2, 0.2, ["flash", "SRAM"], "both too large"),
            {
                "name both, not only the first": ["flash"],
                "name both, not only the last": ["SRAM"],
                "flash comes first": ["SRAM", "flash"],
            },
            {},
        ),
    ]
    for flash, arena, stack, headroom, right, tested, mistakes, remember in cases:
        sizes = (int(1000 * grow * n) for n in (flash, arena, stack))
        got = broken(*sizes, chip, headroom)
        c.that(
            not isinstance(got, (str, dict, bool, type(None))),
            tested="the answer",
            found=f"{got!r}; return a list of names",
        )
        c.equal(list(got), right, tested=tested, mistakes=mistakes, remember=remember)
    c.equal(
        list(broken(1000, 85_000 * grow, 1000, chip)),
        ["SRAM"],
        tested="headroom left out, which means 0.2",
    )


# %% tags=["check:broken"]
check("broken", broken)

# %% [markdown]
# ## Bring your own
#
# Put the path of your own `.tflite` file into `my_model` in the parameters cell and run from there; `headroom` and `device` hold for it, too. Until
# you do, these cells look at the vibration network. In a terminal: `uv run edgelab fit MODEL.tflite --device NAME`, or
# `uv run edgelab run mcu -p my_model FILE`.

# %%
mine = read_model(my_model or models["vibration_cnn1d"].path)
own = fit(mine, headroom=headroom, accelerators=False)
own.arena_table()

# %%
own.operators

# %%
mine_on_chip = plan_arena(mine, CORE)
ui.show(ui.lifetime_figure(mine_on_chip.plan), alt=ui.lifetime_words(mine_on_chip.plan))

# %%
asked = find_device(device).name
near = sorted(own.devices, key=lambda d: (d.device.name != asked, d.headroom))[:8]
Table(
    f"{mine.path.name} on {asked} and on the tightest devices",
    ("device", "fits", "flash bytes", "arena bytes", "SRAM free", "what to change"),
    [
        (
            d.device.name,
            d.fits,
            d.flash_bytes,
            d.arena_bytes,
            f"{d.headroom:.1%}",
            d.change,
        )
        for d in near
    ],
    f"{sum(d.fits for d in own.devices)} of {len(own.devices)} devices take it; modelled.",
)

# %% [markdown]
# ## What to remember
#
# - **Flash** holds the file and the code, **SRAM** the arena and the stack. A file is more than its weights: scales and graph cost, too.
# - The least memory is the largest sum of tensors **alive at one step**, not the largest tensor. Look at which operator runs at that step.
# - The arena can be **computed** from the file. If you search for it, search for the smallest one that works; what the interpreter uses afterwards can be too little.
# - Activations grow with the **area** of the input, weights with the **width** squared. Know which of the two memories you lack.
# - Check the **operators** before you train. A missing one shows itself at start-up on the device, and a fallback from the accelerator only in its speed.
#
# **Sources.** David et al., *TensorFlow Lite Micro: Embedded Machine Learning for TinyML Systems*, 2021 (arena, planner). Pisarchyk and Lee, *Efficient
# Memory Management for Deep Neural Net Inference*, 2020 (greedy by size, the lower bound). Banbury et al., *MLPerf Tiny Benchmark*, 2021 (times on boards).
# Howard et al., *MobileNets*, 2017. Arm, *Vela* compiler documentation. What `edgelab.mcu.devices` names for each device.
#
# **Next:** the C code. Generate the network as a program without an interpreter, compile it for a Cortex-M and run that machine code here.
