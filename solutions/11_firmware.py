# ---
# jupyter:
#   edgelab:
#     title: "Firmware: from a model file to machine code that you can trust"
#     minutes: 75
#     memory_gb: 2
#     requires: [torch, ai_edge_litert, unicorn, ziglang]
#     claims: [U6, U8, S5]
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
# # 11 Firmware: from a model file to machine code that you can trust
#
# You have an int8 model file, and a chip that has no operating system, no files and no Python. This lab takes you all the way: from the file to C, from
# C to machine code for a Cortex-M, and from a sensor's samples to an answer. At each step you prove that the answer is still the same. Not
# close: **the same bytes**.
#
# You need no board. The compiler comes as a Python package, and the machine code runs on an **emulated core**: a program that executes each instruction of a
# Cortex-M as the chip would. It tells you the answers, the instructions and the memory exactly. It cannot tell time; where this lab states
# milliseconds, they are **modelled** and carry a band.
#
# ## What you will be able to do
#
# - multiply by a real number with **integers only**, rounded exactly as TensorFlow Lite Micro (TFLM) does;
# - put a model on a chip in two ways: as a **C array** for an interpreter, and as **generated C** without one;
# - compile it, run it on an emulated core, and **prove** that it is bit-exact;
# - say what **SIMD** instructions gain over plain loops, and what a firmware takes of **flash, RAM and stack**;
# - build the chain from **sensor to answer**, with an FFT in integers;
# - turn instructions into milliseconds, and a **duty cycle** into battery life, without fooling yourself.
#
# You need: lab `quantization`; lab `mcu` helps. The cells take about half a minute to run; with the exercises plan an hour and a quarter.

# %% tags=["parameters"]
seed = 0
device = "stm32l476rg"  # of edgelab.mcu.devices: a Cortex-M4, M7 or M33 with its power
epochs = 12
counts_a_g = 4096  # steps of the accelerometer to 1 g: 16 bits for 8 g each way
my_model = ""  # bring your own: the path of an int8 .tflite file

# %% tags=["setup"]
import math
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import torch
from IPython.display import Markdown

from edgelab import Reading, Table, data, nets, record, ui
from edgelab.convert.tflite import export_int8
from edgelab.course import begin, check, claim, finding, listed
from edgelab.emulator import elf
from edgelab.engines import open_engine
from edgelab.engines.tflm import TFLMEngine
from edgelab.errors import BadInput, MissingFramework
from edgelab.mcu import arena, cgen, devices, emulator, fit, handmade, tflm_app, timing
from edgelab.mcu.compiler import compile_firmware
from edgelab.mcu.custom import Buffer, build_custom, embedded
from edgelab.mcu.firmware import build_firmware
from edgelab.mcu.frontend import FrontEnd, Spectrum, band_edges, real_fft, to_counts
from edgelab.mcu.model import read_model

begin("firmware")

# %% tags=["setup"]
chip = devices.find_device(device)
if not (chip.active_mw and chip.sleep_mw):
    raise BadInput(f"No power is quoted for {device}; choose another device.")
folder = TemporaryDirectory()
work = Path(folder.name)

# %% [markdown]
# The task: a sensor on a machine listens to a bearing and says what is wrong with it: nothing, a damaged outer race, inner race or ball, or an unbalanced shaft.
# The sensor delivers 16-bit integers, 8,192 a second. A **front end** turns a window of 1,024 samples into 64 features (energies in bands of two spectra; you open it
# later), and a small network turns the features into five scores. The front end works in integers, on the device and here alike, so the network is
# trained on the very numbers that it will get.

# %%
machines = data.vibration(seed=seed)
front_end = FrontEnd(
    1024,
    (Spectrum(band_edges(1, 512, 16)), Spectrum(tuple(range(1, 52)), envelope=True)),
)
samples = {
    part: to_counts(split.x[:, 0], counts_a_g)
    for part, split in machines.splits.items()
}
features = {part: front_end.features(counts) for part, counts in samples.items()}

# %%
mean, spread = features["train"].mean(axis=0), features["train"].std(axis=0)
standard = {
    part: replace(split, x=(features[part] - mean) / spread)
    for part, split in machines.splits.items()
}
torch.manual_seed(seed)
net = nets.mlp(front_end.size, len(machines.class_names), hidden=(32, 16))
history = nets.train(net, replace(machines, **standard), epochs=epochs, progress=False)
validation = record(
    "float32.validation",
    Reading(
        100 * max(history.validation_accuracy), "%", "measured", "PyTorch, best epoch"
    ),
)

# %% [markdown]
# Training likes features of mean 0 and spread 1. The device should not have to compute that, so the two go into the weights of the first layer, where they
# cost nothing. Then the network becomes an int8 `.tflite` file, with 400 windows to calibrate.

# %%
with torch.no_grad():
    first = net[1]
    first.bias -= first.weight @ torch.from_numpy(mean / spread)
    first.weight /= torch.from_numpy(spread)
exported = export_int8(net, features["train"][:400], work / "bearing.tflite")
model = read_model(exported.path)
rows = front_end.quantized(
    samples["test"], exported.input_scale, exported.input_zero_point
)
exported

# %% [markdown]
# ## Predict
#
# Commit before you look.

# %%
guess_simd = ui.predict(
    "Plain C loops against kernels that use the core's SIMD instructions: how many times fewer instructions do the latter take on a convolutional network?",
    unit="x",
    low=1,
    high=60,
)
guess_simd

# %%
guess_share = ui.predict(
    "From 1,024 samples to the answer: what share of all instructions is the neural network?",
    unit="%",
    low=0,
    high=100,
)
guess_share

# %%
guess_life = ui.predict(
    "The chip computes for 10 ms in every second and sleeps otherwise. How long do two AA cells last?",
    unit="years",
    low=0,
    high=20,
)
guess_life

# %% [markdown]
# ## From scratch
#
# ### A real number as two integers
#
# A layer sums products of 8-bit numbers in 32 bits. To hand the sum on as 8 bits it multiplies by a **real factor**: scale of the input times scale of
# the weights, over the scale of the output. This step is called **requantization**. Small chips often have no floating point, so the factor becomes two integers: a
# **mantissa** of 31 bits and a **shift**. `factor = mantissa / 2^31 * 2^shift`. Look at the last column: what is lost.


# %%
def as_multiplier(real):
    """(mantissa, shift) of a positive real factor: mantissa / 2**31 * 2**shift."""
    # real = fraction * 2**shift, and the fraction is from 0.5 up to 1
    fraction, shift = math.frexp(real)
    return round(fraction * 2**31), shift


def dense_layers(model):
    """What each dense layer of the file computes with."""
    for op in model.operators:
        x, w, b, y = (model.tensors[i] for i in (*op.inputs, *op.outputs))
        # TFLM multiplies these two scales in float32 and divides in float64.
        product = np.float32(x.quantization.scale) * np.float32(w.quantization.scale)
        relu = op.options["fused_activation_function"] == "RELU"
        yield SimpleNamespace(
            weights=w.array().astype(np.int64),
            bias=b.array().astype(np.int64),
            zero_in=x.quantization.zero_point,
            zero_out=y.quantization.zero_point,
            factor=float(product) / y.quantization.scale,
            low=max(-128, y.quantization.zero_point) if relu else -128,
        )


layers = list(dense_layers(model))

# %%
table = []
for number, layer in enumerate(layers):
    mantissa, shift = as_multiplier(layer.factor)
    error = abs(mantissa / 2**31 * 2.0**shift / layer.factor - 1)
    table.append((number, f"{layer.factor:.9f}", mantissa, shift, f"{error:.0e}"))
Table(
    "Three real factors as integers",
    ("layer", "factor", "mantissa", "shift", "relative error"),
    table,
)

# %% [markdown]
# ### Two roundings
#
# The product of a 32-bit sum and a 31-bit mantissa has up to 63 bits. The **doubling high multiply** keeps the upper half, rounded. The **rounding shift** divides by
# the power of two that is left, rounded again, and here a half goes **away from zero**: -2.5 becomes -3. Both are defined to the last bit (by the library
# gemmlowp, 2016), because different kernels must give the same answer. With them, a whole network fits into five lines.


# %%
def high_multiply(a, mantissa):
    """a * mantissa / 2**31 to the nearest integer."""
    return (a * mantissa + (1 << 30)) >> 31


def rounding_shift(x, bits):
    """x / 2**bits to the nearest integer, halves away from zero."""
    return (x + ((1 << bits) >> 1) - ((x < 0) & (bits > 0))) >> bits


def requantize(sums, factor):
    mantissa, shift = as_multiplier(factor)
    return rounding_shift(
        high_multiply(sums << max(shift, 0), mantissa), max(-shift, 0)
    )


def integer_network(rows, requantize):
    """int8 outputs (N, classes) for int8 rows (N, features), in whole numbers only."""
    x = rows.astype(np.int64)
    for layer in layers:
        sums = (x - layer.zero_in) @ layer.weights.T + layer.bias
        x = requantize(sums, layer.factor) + layer.zero_out
        x = np.clip(x, layer.low, 127)
    return x.astype(np.int8)


# %% [markdown]
# Is it right? The judge is the real interpreter, TFLM, on all test windows. Where TFLM does not exist for your operating system, the generated C judges,
# which the project's tests hold against TFLM. Compare **bytes**, not classes: a wrong rounding changes a byte long before it changes a class.


# %%
def oracle(path, arrays):
    """Raw outputs of the real interpreter for raw inputs, and what computed them."""
    try:
        with TFLMEngine(path) as engine:
            return engine.invoke_raw(arrays)[0], engine.name
    except MissingFramework:
        stand_in = build_firmware(path, work / "stand-in", kernels="portable")
        with open_engine(stand_in.path) as engine:
            return engine.invoke_raw(arrays)[0], engine.name


wanted, judge = oracle(exported.path, [rows])
same = (integer_network(rows, requantize) == wanted).all(axis=1)
by = f"numpy against {judge}, {len(rows):,} rows in all"
scratch = record("scratch.rows_equal", Reading(int(same.sum()), "rows", "measured", by))


# %% tags=["finding:scratch"]
def finding_scratch(equal, total, judge):
    if equal.value == total:
        return f"All {total:,} windows give the same bytes as {judge}."
    return f"{total - equal.value:,} of {total:,} windows differ from {judge}: look for a rounding that is not TFLM's."


finding(finding_scratch, scratch, len(rows), judge)

# %% [markdown]
# ### Does the rounding matter?
#
# Five ways to multiply by the same factor, all of which look harmless. The bars count the windows for which at least one of the five output bytes differs from
# TFLM. Look for the variant that a test with ten inputs would most likely let pass.


# %%
def half_up(sums, factor):
    mantissa, shift = as_multiplier(factor)
    return (high_multiply(sums, mantissa) + (1 << -shift >> 1)) >> -shift


def truncated(sums, factor):
    mantissa, shift = as_multiplier(factor)
    return high_multiply(sums, mantissa) >> -shift


variants = {
    "as TFLM": requantize,
    "half up in the shift": half_up,
    "one rounding": lambda sums, factor: np.floor(sums * factor + 0.5).astype(np.int64),
    "float32": lambda sums, factor: np.rint(
        sums.astype(np.float32) * np.float32(factor)
    ).astype(np.int64),
    "cut off": truncated,
}
answers = {name: integer_network(rows, way) for name, way in variants.items()}
differ = {name: int((a != wanted).any(axis=1).sum()) for name, a in answers.items()}
classes = {
    name: int((a.argmax(axis=1) != wanted.argmax(axis=1)).sum())
    for name, a in answers.items()
}
for name, count in differ.items():
    by = f"numpy against {judge}, {len(rows):,} rows; the class differs in {classes[name]}"
    record(f"differ.{name}", Reading(count, "rows", "measured", by))

# %%
figure = ui.bars(
    list(differ),
    list(differ.values()),
    title=f"Five ways of rounding against {judge}, {len(rows):,} windows",
    y="windows with a byte that differs",
)
ui.show(
    figure,
    alt="Bars of windows whose output bytes differ from the interpreter's, for five ways of rounding.",
)


# %% tags=["finding:rounding"]
def finding_rounding(differ, total, inputs):
    exact = [name for name, count in differ.items() if not count]
    wrong = {name: count for name, count in differ.items() if count}
    text = f"No byte differs with {listed([repr(n) for n in exact])}." if exact else ""
    if not wrong:
        return f"{text} These windows cannot tell the ways apart."
    subtle = min(wrong, key=wrong.get)
    passes = 100 * (1 - wrong[subtle] / total) ** inputs
    return (
        f"{text} The hardest to find is {subtle!r}: {wrong[subtle]:,} of {total:,} windows. "
        f"A test with {inputs} windows lets it pass in {passes:.0f} of 100 cases."
    ).strip()


finding(finding_rounding, differ, len(rows), 10)

# %% [markdown]
# ## The real tool
#
# ### The classic way: a C array and an interpreter
#
# A chip without a file system gets the model file as an array of bytes, compiled into the program (`xxd -i` makes one, too). An **interpreter** reads it at run time,
# places the tensors in an **arena** (one block of RAM), and calls a kernel for each operator. The array is `const`, so that it stays in flash, and aligned,
# because the interpreter reads whole words from it. You also tell it which operators to link, and how large the arena is.

# %%
planned = arena.plan_arena(model, "cortex-m-cmsis-nn").min_workable
classic = tflm_app.tflm_files(model, planned)
array = classic["model_data.cc"].splitlines()
told = re.compile(r"kArenaBytes =|uint8_t arena|using Resolver|resolver\.Add")
application = [line for line in classic["main.cc"].splitlines() if told.search(line)]
shown = [*array[2:6], "    /* ... */", "", *application]
Markdown("```c\n" + "\n".join(shown) + "\n```")

# %% [markdown]
# ### Without an interpreter: generated C
#
# The shapes, the addresses and the multipliers never change once the model is trained. So a generator can write them into the program. Below is the real
# output for layer 1, the second one. Read it beside the table above, and find:
#
# - `weights_01`: the weights, in the order in which the loop reads them, four output channels at a time;
# - `bias_01`: the bias, **minus the input's zero point times the sum of the weights**. You subtracted `zero_in` from each input; here it is done once, before the program runs;
# - `scaled(a0, mantissa, 0, shift)`: your two roundings, with the mantissa and the shift of layer 1 (a shift to the right is negative in the table);
# - `arena + ...`: an address that a planner chose before the program was compiled. There is no heap and nothing to initialise.


# %%
def c_function(source, name):
    """The text of one function of generated C, its long lines broken at the semicolons."""
    start = re.search(rf"^.*\b{name}\(.*\)\s*{{", source, re.M).start()
    text = source[start : source.index("\n}\n", start) + 2]
    lines = []
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        if len(line) > 80:  # several statements: one a line, but not inside for (...)
            inner = indent + "  " * line.endswith(" }")
            line = line.replace(") { ", f") {{\n{inner}").replace(
                "; }", f";\n{indent}}}"
            )
            line = re.sub(r"; (?![^(\n]*\))", f";\n{inner}", line)
        lines.append(line)
    return "```c\n" + "\n".join(lines) + "\n```"


sources = cgen.generate(model, kernels="portable")
Markdown(c_function(sources.files["model.c"], sources.layers[1]))

# %% [markdown]
# ### Compile it, run it, prove it
#
# `build_firmware` generates the C, compiles it for the core of your device, and loads the machine code into the emulator. **Portable** kernels are plain C. **DSP**
# kernels use instructions that handle two 16-bit numbers at once: `SXTB16` unpacks <span class="given" title="Arm's instruction set">two bytes</span>, `SMLAD` does two multiplications and two additions. All test windows go
# through both. The only acceptable number of differences is zero.

# %%
firmware = {
    kernels: build_firmware(
        exported.path, work / f"bearing-{kernels}", core=chip.core, kernels=kernels
    )
    for kernels in ("portable", "dsp")
}
exact = {}
for kernels, built in firmware.items():
    with open_engine(built.path) as engine:
        (emulated,) = engine.invoke_raw([rows])
        by = f"{engine.name} against {judge}, {len(rows):,} rows in all"
    equal = int((emulated == wanted).all(axis=1).sum())
    reading = Reading(equal, "rows", "emulated", by)
    exact[kernels] = record(f"{kernels}.rows_equal", reading)


# %% tags=["finding:exact"]
def finding_exact(equal, total):
    off = {n: total - r.value for n, r in equal.items() if r.value != total}
    if not off:
        return f"Bit-exact: {listed(list(equal))} kernels give the interpreter's bytes in all {total:,} windows."
    each = [f"{n} kernels differ in {count:,}" for n, count in off.items()]
    return f"Not bit-exact: of {total:,} windows, {listed(each)}. Nothing below may be trusted."


finding(finding_exact, exact, len(rows))

# %% [markdown]
# The emulator counts each instruction and knows to which layer it belongs. A **MAC** (multiply-accumulate) is one multiplication and the addition of its product to a sum; the
# last column says how many instructions each MAC costs, with everything around it.

# %%
firmware["dsp"].run.trace

# %% [markdown]
# ### What it occupies
#
# The linker sorts a program into **sections**: `.text` is code, `.rodata` constants, `.bss` memory that starts as zero, `.data` variables that start as something else. Code
# and constants lie in flash, `.bss` in RAM. `.data` counts **twice**: it lives in RAM, and its first values wait in flash. The second row shows what one
# forgotten `const` does to the weights of the first layer.

# %%
files = {
    path.name: path.read_text() for path in firmware["portable"].folder.glob("*.[ch]")
}
files["model.c"] = files["model.c"].replace(
    "static const int8_t weights_00", "int8_t weights_00"
)
careless = compile_firmware(files, chip.core, work / "careless.elf")
sections = {
    "as generated": firmware["portable"].run.sizes,
    "one const forgotten": elf.sizes_of(elf.read_elf(careless)),
    "DSP kernels": firmware["dsp"].run.sizes,
}
for name, sizes in sections.items():
    by = "the linker's sections"
    record(f"flash.{name}", Reading(sizes.flash_bytes, "bytes", "measured", by))
    record(f"ram.{name}", Reading(sizes.ram_bytes, "bytes", "measured", by))
Table(
    "Bytes by section",
    ("firmware", ".text", ".rodata", ".data", ".bss", "flash", "RAM"),
    [
        (name, s.text, s.rodata, s.data, s.bss, s.flash_bytes, s.ram_bytes)
        for name, s in sections.items()
    ],
    f"Measured from the ELF files, stack apart: its peak was {firmware['dsp'].run.stack_bytes} bytes (emulated). "
    f"The interpreter's arena alone would take {firmware['dsp'].tflm_arena_bytes:,} bytes of RAM (planned).",
)


# %% tags=["finding:sections"]
def finding_sections(ram, careless_ram, arena):
    more = careless_ram - ram
    text = (
        f"One forgotten `const` takes {more:,} bytes more RAM."
        if more
        else "The forgotten `const` costs no RAM here."
    )
    than = "less" if ram < arena else "no less"
    return f"{text} The generated firmware needs {ram:,} bytes of RAM besides the stack, {than} than the {arena:,} of the interpreter's arena."


finding(
    finding_sections,
    sections["as generated"].ram_bytes,
    sections["one const forgotten"].ram_bytes,
    firmware["dsp"].tflm_arena_bytes,
)

# %% [markdown]
# ### Naive against SIMD
#
# How much does the processor's SIMD gain? (SIMD: single instruction, multiple data.) That needs a network with real work: the one that reads road signs, with
# standard, depthwise and pointwise (1 x 1) convolutions. First write the kernel that everybody writes first. One function serves all kinds of layers: `seen` is the
# number of input channels that one output channel sees. It is correct, readable and general. Note `finish`: those are your two roundings in C.

# %%
NAIVE = r"""#include "layer.h"
static int8_t finish(int32_t sum, int32_t mantissa, int shift, const Layer *l) {
  int32_t v = (int32_t)(((int64_t)sum * mantissa + (1 << 30)) >> 31);
  v = (v + ((1 << shift) >> 1) - (v < 0 && shift > 0)) >> shift;
  v += l->zero_out;
  return v < l->low ? l->low : v > l->high ? l->high : v;
}
void conv(const Layer *l, const int8_t *x, int8_t *y) {
  for (int oy = 0; oy < l->out_height; oy++)
    for (int ox = 0; ox < l->out_width; ox++)
      for (int o = 0; o < l->out_channels; o++) {
        int32_t sum = l->bias[o];
        for (int ky = 0; ky < l->kernel_height; ky++)
          for (int kx = 0; kx < l->kernel_width; kx++) {
            int iy = oy * l->stride - l->pad_top + ky, ix = ox * l->stride - l->pad_left + kx;
            if (iy < 0 || iy >= l->height || ix < 0 || ix >= l->width) continue;
            for (int i = 0; i < l->seen; i++) {
              int channel = l->seen < l->channels ? o : i;
              int tap = (o * l->kernel_height + ky) * l->kernel_width + kx;
              sum += (x[(iy * l->width + ix) * l->channels + channel] - l->zero_in)
                     * l->weights[tap * l->seen + i];
            }
          }
        y[(oy * l->out_width + ox) * l->out_channels + o]
            = finish(sum, l->mantissa[o], l->shift[o], l);
      }
}"""

# %% [markdown]
# `build_handmade` reads the layers and their tables from the model file and puts your kernel in the middle. All three firmwares get the same three pictures. All three
# must give the interpreter's bytes; otherwise a comparison of speed means nothing.

# %%
signs = data.signs(500, 500, 500, seed=seed)
reader = nets.load("signs_dscnn")
reader.pool = torch.nn.AvgPool2d(8)  # the global mean, as a plain average
signs_file = export_int8(reader, signs.train.x[:100], work / "signs.tflite")
pictures = np.moveaxis(signs.test.x[:3], 1, -1) / np.float32(signs_file.input_scale)
pictures = np.rint(pictures) + signs_file.input_zero_point
pictures = np.clip(pictures, -128, 127).astype(np.int8)

# %%
programs = {
    "naive": handmade.build_handmade(
        read_model(signs_file.path), NAIVE, work / "naive.elf", chip.core
    )
}
for kernels in ("portable", "dsp"):
    programs[kernels] = build_firmware(
        signs_file.path, work / f"signs-{kernels}", core=chip.core, kernels=kernels
    ).path
runs = {
    name: emulator.run_firmware(path, [pictures]) for name, path in programs.items()
}
right, _ = oracle(signs_file.path, [pictures])
for name, run in runs.items():
    equal = int((run.outputs[0] == right).all(axis=1).sum())
    record(
        f"signs.{name}.equal",
        Reading(equal, "rows", "emulated", f"{run.by} against {judge}"),
    )
    record(f"signs.{name}.instructions", run.trace.reading())


# %%
def kind_of(layer):
    if "depthwise" in layer.layer:
        return "depthwise 3 x 3"
    if "conv_2d" in layer.layer:
        return "standard 3 x 3" if "layer_00" in layer.layer else "pointwise 1 x 1"
    return "dense" if layer.macs else ""


def a_mac(trace, kind):
    """Instructions for each multiply-accumulate of one kind of layer."""
    chosen = [layer for layer in trace.layers if kind_of(layer) == kind]
    return sum(x.instructions for x in chosen) / sum(x.macs for x in chosen)


kinds = ["standard 3 x 3", "depthwise 3 x 3", "pointwise 1 x 1", "dense"]
count = {name: run.trace.instructions for name, run in runs.items()}
by_hand, by_simd = count["naive"] / count["portable"], count["portable"] / count["dsp"]

# %%
fewer = {
    name: [
        Reading(
            a_mac(runs["naive"].trace, kind) / a_mac(runs[name].trace, kind),
            "x",
            "emulated",
            f"{kind}, instructions for each multiply-accumulate",
        )
        for kind in kinds
    ]
    for name in ("portable", "dsp")
}
figure = ui.grouped_bars(
    kinds,
    fewer,
    title=f"Whole network: {by_hand:.1f} times fewer instructions by good C, {by_simd:.1f} times fewer again by SIMD",
    y="times fewer instructions than naive loops",
)
ui.show(
    figure,
    alt="Bars of how many times fewer instructions than naive loops portable and DSP kernels take, by kind of layer.",
)

# %% [markdown]
# Two different things hide in one number. The generator of the **portable** C knows the shapes: no index is computed twice, no border is checked
# inside, four channels share each input that was loaded. **SIMD** is the second. Whoever compares SIMD with naive loops counts both. Instructions are not yet time: a load
# takes longer than an addition. The last column of the table below weighs them with a cost for each kind of instruction (modelled).


# %% tags=["finding:simd"]
def finding_simd(by_hand, by_simd):
    both = by_hand * by_simd
    text = f"SIMD kernels take {both:.1f} times fewer instructions than naive loops: "
    text += f"a factor of {by_hand:.1f} from C that knows its shapes, {by_simd:.1f} from SIMD. "
    if min(by_hand, by_simd) <= 1:
        return text + "Only one of the two is a gain here."
    larger = "the better C" if by_hand > by_simd else "SIMD"
    return text + f"The larger part is {larger}."


finding(finding_simd, by_hand, by_simd)

# %% [markdown]
# And in cycles, with the model's costs:

# %%
simd_gain = record(
    "naive_over_dsp",
    Reading(
        count["naive"] / count["dsp"],
        "x",
        "emulated",
        f"the instructions of one picture on an emulated {chip.core}",
    ),
)

# %%
costs = {
    name: timing.costs_of(chip.core).cycles(r.trace.mix) for name, r in runs.items()
}
in_cycles = record(
    "naive_over_dsp.cycles",
    Reading(
        costs["naive"] / costs["dsp"],
        "x",
        "modelled",
        "a fixed cost for each kind of instruction",
    ),
)

# %%
Table(
    "One picture",
    (
        "kernels",
        "instructions, emulated",
        "a MAC",
        "times fewer",
        "cycles, modelled",
        "times fewer",
    ),
    [
        (
            name,
            count[name],
            count[name] / run.trace.macs,
            count["naive"] / count[name],
            round(costs[name]),
            costs["naive"] / costs[name],
        )
        for name, run in runs.items()
    ],
)

# %%
guess_simd.against(simd_gain)

# %% [markdown]
# ### From samples to a spectrum, in integers
#
# Now the other end of the chain: the sensor. A damaged bearing knocks, and each knock makes the housing ring. The ringing is a band of high frequencies; the **rhythm** of
# the knocks tells which part is damaged, and it hides in the **envelope**: in how loud the ringing is. A cheap envelope is the absolute difference of neighbouring samples. The
# front end makes a spectrum of both. Look for the line in the second curve.

# %%
outer = np.flatnonzero(machines.test.y == machines.class_names.index("outer race"))
window = samples["test"][outer[3]].astype(np.int64)[None]
spectra = {}
for name, signal in {
    "samples": window,
    "envelope": np.abs(np.diff(window, prepend=window[:, :1])),
}.items():
    real, imaginary, exponent = real_fft(signal)
    size = np.hypot(real, imaginary)[0, 2:] * 2.0 ** (exponent[0] - 1)
    spectra[name] = (np.arange(2, 512) * 8, 20 * np.log10(size / size.max() + 1e-4))
hertz, level = spectra["envelope"]
line = int(hertz[np.argmax(np.where(hertz < 400, level, -99))])
ringing = int(hertz[200:][np.argmax(spectra["samples"][1][200:])])
figure = ui.lines(
    spectra,
    title=f"The housing rings near {ringing:,} Hz; the envelope tells that it is struck {line} times a second",
    x="frequency (Hz)",
    y="dB (0: the largest line)",
    log_x=True,
    markers=False,
)
ui.show(
    figure,
    alt="Two spectra of one window with a damaged outer race: of the samples and of their envelope.",
)

# %% [markdown]
# The FFT (fast Fourier transform) is built from one operation, the **butterfly**: `a + w b` and `a - w b`, where `w` is a point of the unit circle. In 16 bits the result can
# overflow: it can be up to <span class="given" title="1 plus the root of 2">2.4 times as large</span> as its inputs. The simple remedy halves the values in each of the nine stages, and a quiet signal is soon nothing but
# rounding. **Block floating point** looks at the largest value first and shifts only when it must. This is the C that the device runs:

# %%
front_files = front_end.c_files(exported.input_scale, exported.input_zero_point)
Markdown(c_function(front_files["frontend.c"], "frontend_fft"))

# %% [markdown]
# How good is it? Below, both ways against numpy's floating point FFT, for a tone from very quiet to full scale. **SNR** is the power of the spectrum over the power of the error.


# %%
def halving_fft(z):
    """A radix-2 FFT of complex integers that halves and rounds in every stage."""
    n = len(z)
    order = [int(f"{i:0{n.bit_length() - 1}b}"[::-1], 2) for i in range(n)]
    z, half = z[order], 1
    while half < n:
        w = np.exp(-1j * np.pi * np.arange(half) / half)
        a, b = z.reshape(-1, 2, half).transpose(1, 0, 2)
        z = np.stack([a + w * b, a - w * b], axis=1).reshape(-1) / 2
        z, half = np.rint(z.real) + 1j * np.rint(z.imag), 2 * half
    return z


def snr_db(right, found):
    return 10 * np.log10(
        np.sum(np.abs(right) ** 2) / np.sum(np.abs(right - found) ** 2)
    )


# %%
time_axis = np.arange(1024)
hann = 0.5 - 0.5 * np.cos(2 * np.pi * time_axis / 1024)
amplitudes = np.unique(np.geomspace(10, 32000, 12).astype(int))
ways = {"block floating point": [], "halved in every stage": []}
for amplitude in amplitudes:
    tone = np.rint(amplitude * np.sin(0.61 * time_axis)).astype(np.int64)
    real, imaginary, exponent = real_fft(tone[None])
    right = np.fft.fft((tone - tone.mean()) * hann)[2:512]
    found = (real + 1j * imaginary)[0, 2:] * 2.0 ** (exponent[0] - 1)
    ways["block floating point"].append(snr_db(right, found))
    halved = halving_fft(np.rint(tone * hann)) * 1024
    ways["halved in every stage"].append(snr_db(right, halved[2:512]))

# %%
ours, simple = (np.array(curve) for curve in ways.values())
snr = record(
    "fft.snr",
    Reading(
        float(ours.min()),
        "dB",
        "measured",
        "the lowest over all amplitudes, against numpy.fft",
    ),
)
figure = ui.lines(
    {name: (amplitudes, curve) for name, curve in ways.items()},
    title=f"A quiet tone keeps {ours[0]:.0f} dB with block floating point, {simple[0]:.0f} dB with halving",
    x="amplitude of the tone, of 32,767",
    y="SNR in dB",
    log_x=True,
)
ui.show(
    figure,
    alt="SNR of two 16-bit FFTs over the amplitude of a tone.",
)

# %% [markdown]
# ### From sensor to answer
#
# Front end and network become one firmware: samples in, five scores out. All test windows run on the emulated core. Two checks: the bytes must equal those of the interpreter on
# features from Python, and the accuracy must be worth the effort. One of the four sensors, the magnet, was never seen in training.

# %%
sources = cgen.generate(model, kernels="dsp")
chain = build_custom(
    {**front_files, **embedded(sources.files, "network")},
    work / "chain.elf",
    inputs=[Buffer("samples", (1024,), "int16")],
    outputs=[
        Buffer(
            "scores", (5,), "int8", exported.output_scale, exported.output_zero_point
        )
    ],
    calls=[
        "frontend_run(samples, network_input(0));",
        "network_invoke();",
        "for (int i = 0; i < 5; i++) scores[i] = network_output(0)[i];",
    ],
    layers=[*front_end.c_functions(), *sources.layers],
    core=chip.core,
)
device_run = emulator.run_firmware(chain, [samples["test"]])
same = (device_run.outputs[0] == wanted).all(axis=1)
by = f"the whole chain against {judge}, {len(same):,} rows in all"
whole = record("chain.rows_equal", Reading(int(same.sum()), "rows", "emulated", by))

# %%
standard_logits = nets.predict_logits(net, features["test"])
hits = {
    "float32 network": standard_logits.argmax(axis=1) == machines.test.y,
    "the device": device_run.outputs[0].argmax(axis=1) == machines.test.y,
}
sensors = machines.test.groups["sensor"]
correct = {}
for name, right in hits.items():
    how = "emulated" if name == "the device" else "measured"
    by = f"{'the emulated core' if how == 'emulated' else 'PyTorch'}, {len(right):,} test windows"
    reading = Reading(100 * float(right.mean()), "%", how, by)
    correct[name] = record(f"accuracy.{name}", reading)
Table(
    "Percent right, by sensor",
    ("sensor", *hits),
    [
        (name, *(100 * float(right[sensors == name].mean()) for right in hits.values()))
        for name in np.unique(sensors)
    ],
)


# %% tags=["finding:chain"]
def finding_chain(equal, total, network, device, sensors):
    text = (
        f"All {total:,} windows give the interpreter's bytes."
        if equal.value == total
        else ""
    )
    text = (
        text or f"Not bit-exact: {total - equal.value:,} of {total:,} windows differ."
    )
    worst = min(sensors, key=sensors.get)
    lost = network.value - device.value
    change = f"{lost:.1f} points fewer than" if lost > 0 else "no fewer than"
    return (
        f"{text} The device has {device.value:.1f} % right, {change} the float32 network. "
        f"The sensor on which it is right least often is {worst}: {sensors[worst]:.1f} %."
    )


finding(
    finding_chain,
    whole,
    len(same),
    *correct.values(),
    {
        n: 100 * float(hits["the device"][sensors == n].mean())
        for n in np.unique(sensors)
    },
)

# %%
trace = device_run.trace
parts = {layer.layer: layer.instructions for layer in trace.layers}
network_part = sum(parts[name] for name in sources.layers)
steps = {
    "mean, envelope, window": parts["frontend_window"],
    "two FFTs": parts["frontend_fft"],
    "bands, logarithms": parts["frontend_bands"],
    "neural network": network_part,
}
share = record(
    "network.share",
    Reading(100 * network_part / trace.instructions, "%", "emulated", trace.by),
)
figure = ui.bars(
    list(steps),
    [Reading(n, "instructions", "emulated", trace.by) for n in steps.values()],
    title=f"The network is {share.value:.1f} percent of the work, the FFTs {100 * steps['two FFTs'] / trace.instructions:.0f} percent",
    y="instructions from samples to answer",
)
ui.show(
    figure,
    alt="Bars of instructions by step from samples to answer.",
)

# %%
guess_share.against(share)

# %% [markdown]
# ### Milliseconds, with a band
#
# The emulator counts; it keeps no time. The model gives each kind of instruction a fixed number of cycles. It knows nothing of flash that is slower than the core, and
# the band says how far published measurements of real boards lie from it. Quote the band, never the middle alone.

# %%
cost = timing.estimate(
    trace.mix, chip.core, chip.clock_mhz, active_mw=chip.active_mw, by="the whole chain"
)
record("chain.ms", cost.latency_ms)
cost

# %% [markdown]
# ### Duty cycle and battery life
#
# The **duty cycle** is the share of time that the chip is awake. Sleep takes microamperes, computing milliamperes; so the average is what counts. Three
# things are often left out of the sum: the **sleep current**, the **sensor and radio**, and the **self-discharge** of the battery, which empties itself in the drawer, too.


# %%
def volts(note):
    """The voltage that a data sheet states power at; the note beside the figure names it."""
    return float(re.search(r"([\d.]+) V\b", note)[1])


active_ma = chip.active_mw / volts(chip.active_note)
sleep_ua = 1000 * chip.sleep_mw / volts(chip.sleep_note)
batteries = {  # mAh and percent of it that is lost in a year
    "CR2032 coin cell": (235, 1),  # Energizer's data sheet and handbook
    "two AA cells in series": (3000, 3),  # Energizer E91 at 25 mA; handbook
}


def average_ua(interval_s, awake_ms, active_ma, sleep_ua):
    """Average current in microamperes of a chip that wakes once in each interval."""
    duty = awake_ms / 1000 / interval_s
    return 1000 * active_ma * duty + sleep_ua * (1 - duty)


def years(capacity_mah, current_ua, leak_percent):
    """Years until the battery is empty; it leaks the same share of its capacity each year."""
    leak_ua = 1000 * capacity_mah * leak_percent / 100 / (365.25 * 24)
    return 1000 * capacity_mah / (current_ua + leak_ua) / (365.25 * 24)


# %%
Table(
    f"{chip.title}, quoted",
    ("state", "power", "current at the stated voltage"),
    [
        ("awake", f"{chip.active_mw:g} mW", f"{active_ma:.2f} mA"),
        ("asleep", f"{1000 * chip.sleep_mw:g} uW", f"{sleep_ua:.2f} uA"),
    ],
    f"Awake: {chip.active_power.by}. Asleep: {chip.sleep_power.by}.",
)


# %% tags=["finding:awake"]
def finding_awake(active_ma, sleep_ua):
    ratio = 1000 * active_ma / sleep_ua
    ms = 1000 / ratio
    return (
        f"Awake, the chip takes {ratio:,.0f} times the current of sleep. Awake for {ms:.2g} ms in each "
        "second, it spends as much on computing as on sleeping; from there on computing decides."
    )


finding(finding_awake, active_ma, sleep_ua)

# %% [markdown]
# The claim of the field: "10 ms awake in each second, a duty cycle of one percent, and years on a battery". Which battery? And what happens when the sensor has to listen for
# <span class="given" title="1,024 samples at 8,192 a second">125 ms</span> to fill its window, and a radio sends each answer? The sensor here takes 150 uA while it measures (ADXL356 data sheet; one that is fast enough for this task takes more)
# and is switched off in between, the radio <span class="given" title="nRF52840 product specification">4.8 mA for 1.2 ms</span> (nRF52840 at 0 dBm, one advertisement on three channels). Compare the claim with the time of your chain above.

# %%
interval_s, awake_ms = 1.0, 10.0
chip_ua = average_ua(interval_s, awake_ms, active_ma, sleep_ua)
sensor_ua = 150 * 0.125 / interval_s
radio_ua = 4800 * 0.0012 / interval_s
loads = {
    "computing and sleeping": chip_ua,
    "with the sensor": chip_ua + sensor_ua,
    "with sensor and radio": chip_ua + sensor_ua + radio_ua,
}
lives = {
    name: [
        Reading(years(capacity, ua, leak), "years", "modelled", f"{ua:.1f} uA, {name}")
        for ua in loads.values()
    ]
    for name, (capacity, leak) in batteries.items()
}

# %%
coin, pair = (life[0].value for life in lives.values())
by = f"{chip.name}: {active_ma:.2f} mA for 10 ms a second, {sleep_ua:.2f} uA asleep; two AA cells, from a CR2032 up"
duty = Reading(100 * awake_ms / 1000 / interval_s, "%", "modelled", "10 ms of 1,000 ms")
life = Reading(pair, "years", "modelled", by, low=min(coin, pair), high=max(coin, pair))
record("battery.duty", duty)
life = record("battery.years", life)

# %%
figure = ui.grouped_bars(
    list(loads),
    lives,
    title=f"The same duty cycle gives {coin * 12:.0f} months on a coin cell and {pair:.1f} years on two AA cells",
    y="years until empty",
)
ui.show(
    figure,
    alt="Bars of years for three loads, on a coin cell and on two AA cells.",
)

# %%
guess_life.against(life)

# %% [markdown]
# ## Explore
#
# **Rounding.** Choose a factor, a way to round, and how many bits of the mantissa you keep. The title counts the sums for which the result is not TFLM's. With which setting does "half up" differ,
# and for which sums? How many bits of mantissa do you need until nothing differs?


# %%
def rounding(way, factor, right, bits):
    mantissa, _ = as_multiplier(factor)
    kept = mantissa >> (31 - bits) << (31 - bits)
    sums = np.arange(-12 << right, (12 << right) + 1)
    exact = requantize(sums, factor * 2.0**-right)
    v = high_multiply(sums, kept)
    found = {
        "half away from zero": rounding_shift(v, right),
        "half up": (v + (1 << right >> 1)) >> right,
        "cut off": v >> right,
    }[way]
    wrong = int((found != exact).sum())
    near = np.abs(sums) <= 6 << right
    return ui.stairs(
        {"TFLM": (sums[near], exact[near]), way: (sums[near], found[near])},
        title=f"{wrong} of {len(sums):,} sums differ; with {bits} bits the mantissa is {100 * (1 - kept / mantissa):.2g} percent too small",
        x="sum of the layer",
        y="after requantization",
    )


ui.Panel(
    rounding,
    title="The roundings",
    alt="Two staircases: the result of requantization over the sum, in TFLM and with the chosen rounding.",
    way=ui.choice(["half up", "half away from zero", "cut off"], label="rounding"),
    factor=ui.slider(0.5, 0.99, 0.01, value=0.63, label="factor before the shift"),
    right=ui.slider(1, 7, 1, value=4, label="shift to the right"),
    bits=ui.slider(3, 31, 1, value=31, label="bits of the mantissa"),
)

# %% [markdown]
# **Battery life.** Where does the charge go? Start with the claim: <span class="given" title="the claim above">10 ms</span> in each second. Then make the interval longer. At which interval does computing stop to matter? What does a sleep current of 100 uA
# do (a sensor in standby, a regulator that was forgotten)? Does a twice as large battery last twice as long?


# %%
def battery(interval, awake, sleep, capacity, leak):
    duty = min(awake / 1000 / interval, 1.0)
    shares = {
        "computing": 1000 * active_ma * duty,
        "sleeping": sleep * (1 - duty),
        "self-discharge": 1000 * capacity * leak / 100 / (365.25 * 24),
    }
    total = sum(shares.values())
    lasts = 1000 * capacity / total / (365.25 * 24)
    most = max(shares, key=shares.get)
    text = f"{lasts:.1f} years" if lasts >= 1 else f"{365.25 * lasts:.0f} days"
    return ui.bars(
        list(shares),
        list(shares.values()),
        title=f"{text} on {capacity:,} mAh, {100 * duty:.3g} percent awake; {most} takes {100 * shares[most] / total:.0f} percent",
        y="average current in uA (modelled)",
    )


# %%
ui.Panel(
    battery,
    title="Battery life",
    alt="Bars of the average current that goes into computing, sleeping and self-discharge; the title gives the battery life.",
    interval=ui.slider(
        0.5, 60.0, 0.5, value=1.0, label="seconds from one wake-up to the next"
    ),
    awake=ui.slider(1, 200, 1, value=10, label="ms awake"),
    sleep=ui.slider(0.5, 100.0, 0.5, value=2.0, label="sleep current in uA"),
    capacity=ui.slider(100, 6000, 50, value=250, label="capacity in mAh"),
    leak=ui.slider(0.0, 10.0, 0.5, value=1.0, label="self-discharge, percent a year"),
)

# %% [markdown]
# ## Claims

# %%
claim(
    "U6",
    simd_gain,
    because=f"{finding_simd(by_hand, by_simd)} The size of the claim depends on how naive the naive loops are.",
)

# %%
claim(
    "U8",
    duty=duty,
    years=life,
    because=f"On a coin cell it is {12 * coin:.0f} months. The figures are quoted, the sum is ours; the sensor and the radio come on top.",
)

# %%
by = "a build for the Cortex-M4 with CMSIS-NN and five kinds of operators"
claim(
    "S5",
    record(
        "interpreter.code",
        Reading(fit.INTERPRETER_CODE_BYTES / 1000, "KB", "modelled", by),
    ),
    because="A figure of that size counts the core of the runtime without the kernels of the operators. The generated C of this lab, weights included, "
    f"takes {firmware['dsp'].run.sizes.flash_bytes / 1000:.1f} KB of flash.",
)

# %% [markdown]
# ## Exercises
#
# The functions below are what firmware stands or falls with. Each check tests yours against the definition, on cases that plausible mistakes get wrong.
#
# ### 1. A factor as two integers
#
# The lab's `as_multiplier` has a hole: a factor just below a power of two can round **up** to a mantissa of `2**31`, which does not fit 32 bits with a sign.


# %% tags=["exercise:multiplier"]
def quantize_multiplier(real):
    """(mantissa, shift) of a real factor > 0: real = mantissa / 2**31 * 2**shift, 2**30 <= mantissa < 2**31."""
    # TODO: take the factor apart with math.frexp, round the mantissa, and repair the one case that rounds up to 2**31.
    ### BEGIN SOLUTION
    fraction, shift = math.frexp(real)
    mantissa = math.floor(fraction * 2**31 + 0.5)
    if mantissa == 2**31:
        mantissa, shift = 2**30, shift + 1
    return mantissa, shift
    ### END SOLUTION


# %% [markdown] tags=["hints:multiplier"]
# 1. `math.frexp(0.75)` is `(0.75, 0)` and `math.frexp(3.0)` is `(0.75, 2)`: a fraction from 0.5 up to 1, and a power of two.
# 2. The mantissa is the fraction times `2**31`, rounded to the nearest integer. The shift is the exponent, negative for small factors.
# 3. `if mantissa == 2**31: mantissa, shift = 2**30, shift + 1` keeps the value and fits 32 bits.


# %% tags=["check:multiplier", "hidden"]
@checks("multiplier")
def _(c, quantize_multiplier):
    def drawn(low, high):
        """A factor in this range whose mantissa is no close call for any way of rounding to the nearest."""
        _, exponent = math.frexp(float(c.rng.uniform(low, high)))
        part = float(c.rng.choice([-0.3, -0.2, 0.2, 0.3]))
        return math.ldexp(
            int(c.rng.integers(2**30 + 1, 2**31 - 1)) + part, exponent - 31
        )

    def above(real):
        return math.ldexp(
            int(math.frexp(real)[0] * 2**31) + 0.3, math.frexp(real)[1] - 31
        )

    def below(real):
        return math.ldexp(
            int(math.frexp(real)[0] * 2**31) + 0.7, math.frexp(real)[1] - 31
        )

    cases = [below(0.0037131), above(0.0021), 0.75, 0.5, 1.0, 3.3, 0.0999999, 0.25]
    cases += [
        1 - 2.0**-31,
        1 - 2.0**-40,
        2 - 2.0**-36,
        0.125 - 2.0**-41,
        2.0**-9,
        117.25,
    ]
    cases += [drawn(0.0001, 0.01), drawn(0.01, 0.5), drawn(0.5, 1), drawn(1, 3000)]
    for real in cases:
        fraction, exponent = math.frexp(real)
        right = [math.floor(fraction * 2**31 + 0.5), exponent]
        if right[0] == 2**31:
            right = [2**30, exponent + 1]
        mantissa, shift = c.parts(
            quantize_multiplier(real), 2, wanted="the mantissa and the shift"
        )
        whole = c.whole(
            mantissa,
            tested=f"the type of the mantissa for {real!r}",
            mistake="the mantissa must be an integer, but it was not rounded",
        )
        c.equal(
            [whole, c.whole(shift, tested="that the shift is an integer")],
            right,
            tested=f"the factor {real!r}",
            mistakes={
                "the mantissa was left at 2**31, which does not fit 32 bits with a sign: halve it and raise the shift": [
                    2**31,
                    exponent,
                ],
                "a mantissa of 2**31 was cut to the largest integer, which loses accuracy: halve it and raise the shift": (
                    [
                        2**31 - 1,
                        exponent,
                    ]
                ),
                "a mantissa of 2**31 was halved and the shift was not raised": (
                    [
                        2**30,
                        exponent,
                    ]
                ),
                "a mantissa of 2**31 was halved, but the shift went down: raise it": (
                    [
                        2**30,
                        exponent - 1,
                    ]
                ),
                "the mantissa was cut off, not rounded": (
                    [
                        int(fraction * 2**31),
                        exponent,
                    ]
                ),
                "the mantissa was rounded up, not to the nearest": (
                    [
                        math.ceil(fraction * 2**31),
                        exponent,
                    ]
                ),
                "the mantissa came from float32, which has 24 bits of the 31": (
                    [
                        int(np.float32(fraction) * 2.0**31),
                        exponent,
                    ]
                ),
                "the sign of the shift is wrong: a factor below one half shifts to the right, which is negative": (
                    [
                        right[0],
                        -right[1],
                    ]
                ),
                "this mantissa lies in [1, 2): frexp gives a fraction in [0.5, 1)": (
                    [
                        right[0] // 2,
                        right[1] - 1,
                    ]
                ),
                "this mantissa has 30 bits after the point: multiply the fraction by 2**31": (
                    [
                        round(fraction * 2**30),
                        exponent,
                    ]
                ),
                "this mantissa has 32 bits and no room for a sign: multiply the fraction by 2**31": (
                    [
                        round(fraction * 2**32),
                        exponent,
                    ]
                ),
                "the shift was forgotten: every factor becomes one between 0.5 and 1": (
                    [
                        right[0],
                        0,
                    ]
                ),
                "the 31 of the mantissa was left in the shift": (
                    [
                        right[0],
                        right[1] - 31,
                    ]
                ),
                "these two are in the wrong order": (right[::-1]),
            },
        )


# %% tags=["check:multiplier"]
check("multiplier", quantize_multiplier)

# %% [markdown]
# ### 2. The saturating rounding doubling high multiply
#
# The name says it all: multiply two 32-bit integers, double the product, round it, keep the high 32 bits, and saturate. Only one pair of inputs does not fit: the smallest integer times
# itself. The other pitfall is a sum such as `-3 * 2**30`: an exact half, which here goes **up**.


# %% tags=["exercise:high_multiply"]
def saturating_high_multiply(a, b):
    """a * b / 2**31 of two 32-bit integers, to the nearest integer, halves up, held inside 32 bits."""
    # TODO: add half of 2**31 to the product, shift to the right by 31, and treat the one pair that overflows.
    ### BEGIN SOLUTION
    if a == b == -(2**31):
        return 2**31 - 1
    return (a * b + 2**30) >> 31
    ### END SOLUTION


# %% [markdown] tags=["hints:high_multiply"]
# 1. Doubling and keeping the high 32 bits of 64 is the same as dividing by `2**31`.
# 2. Rounding to the nearest is: add half of the divisor first, then shift. Python's `>>` rounds down, also for negative numbers.
# 3. `(a * b + 2**30) >> 31`, and `2**31 - 1` if both are `-2**31`.


# %% tags=["check:high_multiply", "hidden"]
@checks("high_multiply")
def _(c, saturating_high_multiply):
    low, high = -(2**31), 2**31 - 1

    def nearly(remainder):
        """Two large integers whose product leaves this remainder when it is divided by 2**31."""
        while True:
            a = 2 * int(c.rng.integers(2**28, 2**30)) + 1
            b = remainder * pow(a, -1, 2**31) % 2**31
            if b > 2**29:
                return a, b

    def int32(n):
        return (n + 2**31) % 2**32 - 2**31

    # In this order, each of the first pairs is wrong for one mistake alone.
    b = 2**30 + 2**28
    pairs = [(5, b), (3, b), (-5, b), (1, 2**30), (-3, 2**30), (-1, 2**30), (7, 2**30)]
    # The exact quotient is just below a half: a float has no digits left to see it.
    pairs += [(825415931, 1534234061), nearly(2**30 - 1), nearly(2**30 - 1)]
    pairs += [(-p, q) for p, q in [nearly(2**30 + 1), nearly(2**30)]]
    pairs += [(int(p), int(q)) for p, q in c.rng.integers(low, high, (12, 2))]
    pairs += [(low, high), (high, low), (high, high), (0, low), (low, 1), (-1, low)]
    c.each(
        saturating_high_multiply,
        pairs,
        lambda a, b: (a * b + 2**30) >> 31,
        tested=lambda a, b: f"{a:,} times {b:,}",
        mistakes={
            "a half was rounded down; here a half goes up": (
                lambda a, b: -((-a * b + 2**30) >> 31)
            ),
            "the product was cut off, not rounded: add 2**30 before the shift": (
                lambda a, b: a * b >> 31
            ),
            "the product was cut off towards zero, not rounded": (
                lambda a, b: int(a * b / 2**31)
            ),
            "the product was rounded up, not to the nearest": (
                lambda a, b: -(-a * b >> 31)
            ),
            "this keeps the high half without doubling: shift by 31, not by 32": (
                lambda a, b: (a * b + 2**31) >> 32
            ),
            "the product went through a float, whose 53 bits do not hold it: stay with integers": (
                lambda a, b: math.floor(a * b / 2**31 + 0.5)
            ),
            "the product went through 32 bits, which do not hold it": (
                lambda a, b: (int32(a * b) + 2**30) >> 31
            ),
            "the sign was lost": (lambda a, b: (abs(a * b) + 2**30) >> 31),
        },
        remember={
            "half of the divisor is 2**30": (lambda a, b: (a * b + 2**31) >> 31),
            "int() cuts towards zero; >> rounds down": (
                lambda a, b: int((a * b + 2**30) / 2**31)
            ),
            "a half goes up here, not away from zero (that is the other rounding)": (
                lambda a, b: (abs(a * b) + 2**30 >> 31) * (1 if a * b >= 0 else -1)
            ),
            "Python's round goes to the even neighbour; here a half goes up": (
                lambda a, b: round(a * b / 2**31)
            ),
        },
    )
    c.equal(
        saturating_high_multiply(low, low),
        high,
        tested="the smallest integer times itself",
        mistakes={"it wrapped around: saturate to 2**31 - 1": (low)},
        remember={
            "2**31 does not fit 32 bits with a sign: saturate to 2**31 - 1": (2**31),
            "the product is positive: saturate to 2**31 - 1, the largest integer": (
                -high
            ),
        },
    )


# %% tags=["check:high_multiply"]
check("high_multiply", saturating_high_multiply)

# %% [markdown]
# ### 3. The rounding shift
#
# Divide by a power of two, to the nearest, and a half goes **away from zero**: 2.5 becomes 3 and -2.5 becomes -3. Adding half of the divisor and shifting gives -2 for -2.5. This is the mistake that
# the first figure looks for.


# %% tags=["exercise:rounding_shift"]
def rounding_divide(x, bits):
    """x / 2**bits to the nearest integer, halves away from zero; bits may be 0."""
    # TODO: add half of 2**bits; for a negative x, one less than that; then shift. Take care of bits = 0.
    ### BEGIN SOLUTION
    if bits == 0:
        return x
    return (x + (1 << (bits - 1)) - (x < 0)) >> bits
    ### END SOLUTION


# %% [markdown] tags=["hints:rounding_shift"]
# 1. `>>` rounds down. With half of the divisor added first it rounds to the nearest, and an exact half goes up.
# 2. For negative numbers "up" is towards zero. Subtract 1 before the shift, and an exact half falls to the lower neighbour; nothing else changes.
# 3. `(x + (1 << (bits - 1)) - (x < 0)) >> bits`, and `x` itself if `bits == 0`.


# %% tags=["check:rounding_shift", "hidden"]
@checks("rounding_shift")
def _(c, rounding_divide):
    def away(x, bits):
        n = (2 * abs(x) + (1 << bits)) >> (bits + 1)
        return n if x >= 0 else -n

    def int32(n):
        return (n + 2**31) % 2**32 - 2**31

    # In this order, each of the first cases is wrong for one mistake alone.
    cases = [(3, 3), (-11, 3), (13, 3), (12, 3), (20, 3), (-20, 3), (-4, 3), (7, 1)]
    cases += [(-7, 1), (1_000_001, 9), (-1_000_192, 9), (2**31 - 1, 4), (0, 5)]
    cases += [
        (-(2**31), 4),
        (-(2**31), 31),
        (-(2**30), 31),
        (2**30, 31),
        (2**30 - 1, 31),
    ]
    for bits in c.rng.integers(1, 20, 8):
        x = int(c.rng.integers(-(2**30), 2**30))
        half = (x >> int(bits) << int(bits)) + (
            1 << int(bits) - 1
        )  # exactly between two
        cases += [(x, int(bits)), (half, int(bits)), (half - 1, int(bits))]
    c.each(
        rounding_divide,
        cases,
        away,
        tested=lambda x, bits: f"{x:,} / 2**{bits}",
        mistakes={
            "an exact half of a negative number goes away from zero, and here it went up": (
                lambda x, bits: (x + (1 << bits - 1)) >> bits
            ),
            "an exact half goes away from zero, and here it went towards it": (
                lambda x, bits: away(x - (1 if x > 0 else -1 if x < 0 else 0), bits)
            ),
            "an exact half of a positive number goes away from zero, and here it went down: one less belongs to negative numbers alone": (
                lambda x, bits: -(((1 << bits - 1) - x) >> bits)
            ),
            "the number was cut off towards zero, not rounded": (
                lambda x, bits: int(x / 2**bits)
            ),
            "the number was cut off, not rounded": (lambda x, bits: x >> bits),
            "the number was rounded up, not to the nearest": (
                lambda x, bits: -(-x >> bits)
            ),
            "half of the divisor does not fit 32 bits beside this number": (
                lambda x, bits: int32(x + (1 << bits - 1) - (x < 0)) >> bits
            ),
            "the sign was lost": (lambda x, bits: away(abs(x), bits)),
        },
        remember={
            "Python's round goes to the even neighbour; here a half goes away from zero": (
                lambda x, bits: round(x / 2**bits)
            ),
            "half of 2**bits is 2**(bits - 1)": (lambda x, bits: (x + 2**bits) >> bits),
            "the shift goes to the right": (lambda x, bits: x << bits),
        },
    )
    c.equal(
        [rounding_divide(x, 0) for x in (5, -5, 0, 2**31 - 1, -(2**31))],
        [5, -5, 0, 2**31 - 1, -(2**31)],
        tested="a shift by 0",
        mistakes={
            "with bits = 0 nothing may change; -5 became -6": [
                *(5, -6, 0, 2**31 - 1, -(2**31) - 1)
            ],
            "with bits = 0 nothing may change; 5 became 6": [
                *(6, -5, 1, 2**31, -(2**31) + 1)
            ],
        },
    )


# %% tags=["check:rounding_shift"]
check("rounding_shift", rounding_divide)

# %% [markdown]
# ### 4. Is it bit-exact?
#
# Write the comparison that you would put into a test. It says **where** two outputs differ first, because "False" helps nobody. It must not call outputs equal that are only close, or that have another shape or type:
# numpy is happy to compare one row with a thousand.


# %% tags=["exercise:first_difference"]
def first_difference(found, expected):
    """The number of the first row in which two arrays (N, ...) differ in any element; None if they are equal.

    Raises ValueError if the shapes or the types of the elements differ.
    """
    # TODO: refuse other shapes and types, compare every element exactly, and find the first row with a difference.
    ### BEGIN SOLUTION
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError("other shapes or types")
    differ = (found != expected).reshape(len(found), -1).any(axis=1)
    return int(differ.argmax()) if differ.any() else None
    ### END SOLUTION


# %% [markdown] tags=["hints:first_difference"]
# 1. Start with the refusal: `if found.shape != expected.shape or found.dtype != expected.dtype: raise ValueError(...)`.
# 2. `(found != expected).reshape(len(found), -1).any(axis=1)` is one boolean a row, for arrays of any rank.
# 3. `differ.argmax()` is the first True, but it is 0 also where there is none: return `None` unless `differ.any()`.


# %% tags=["check:first_difference", "hidden"]
@checks("first_difference")
def _(c, first_difference):
    right = c.rng.integers(-128, 128, (50, 3, 4)).astype(np.int8)
    right[:, 0, 0] = 127  # the largest, everywhere: classes do not tell
    c.equal(
        first_difference(right.copy(), right.copy()),
        None,
        tested="two equal arrays",
        remember={
            "argmax of nothing is 0: return None where no row differs": (0),
            "None says that nothing differs, not the number of rows": (50),
            "None says that nothing differs, not -1": (-1),
            "None says that nothing differs, not False": (False),
        },
    )
    row = int(c.rng.integers(20, 39))
    wrong = right.copy()
    wrong[row, 2, 1] -= 1 if wrong[row, 2, 1] > -128 else -1
    wrong[40] = -1 - wrong[40]
    c.equal(
        first_difference(wrong.copy(), right.copy()),
        row,
        tested=f"a difference of one step in row {row} and many in row 40",
        mistakes={
            "a difference of one step was overlooked: compare exactly, without a tolerance": (
                40
            ),
            "the difference was overlooked": (None),
            "this is the place in the flat array: rows are wanted": (
                int(np.flatnonzero((wrong != right).ravel())[0])
            ),
            "this counts the rows that differ": (2),
            "this says that they differ, not where": (True),
            "this is the first row that agrees": (0),
        },
        remember={"rows are counted from 0": (row + 1)},
    )
    wrong = right.copy()
    wrong[9, 1, 1:3], right[9, 1, 1:3] = (11, 12), (12, 11)
    c.equal(
        first_difference(wrong.copy(), right.copy()),
        9,
        tested="two elements of row 9 exchanged",
        mistakes={
            "the difference was overlooked: compare each element, not sums or sorted values": None
        },
    )
    wrong = right.copy()
    wrong[0, 1, 1] ^= 1
    c.equal(
        first_difference(wrong.copy(), right.copy()),
        0,
        tested="a difference in the first row",
        mistakes={"row 0 was taken for 'no difference': 0 is not None": None},
    )
    wrong = right.copy()
    wrong[49, 2, 3] ^= 1
    c.equal(
        first_difference(wrong.copy(), right.copy()),
        49,
        tested="a difference in the very last element",
        mistakes={"the last element was not compared": None},
    )
    line = c.rng.integers(-9, 9, 30).astype(np.int16)
    other = line.copy()
    other[17] += 1
    other[23] -= 4
    c.equal(
        first_difference(line.copy(), other),
        17,
        tested="arrays with one axis",
        mistakes={"a difference of one step was overlooked": 23},
    )
    deep = c.rng.normal(0, 1, (6, 2, 3, 4)).astype(np.float32)
    other = deep.copy()
    other[4, 1, 2, 0] = np.nextafter(deep[4, 1, 2, 0], np.float32(9))
    c.equal(
        first_difference(deep.copy(), other),
        4,
        tested="float32 arrays with four axes, one of them different in the last bit",
        mistakes={
            "a difference in the last bit was overlooked: compare exactly, without a tolerance": None
        },
    )
    for found, expected, tested in [
        (right[:1], right, "one row against fifty"),
        (right, right[:1], "fifty rows against one"),
        (right[:, :, :1], right, "rows of three against rows of twelve"),
        (right[:49], right, "49 rows against fifty"),
        (right.reshape(50, 12), right, "the same elements in rows of another shape"),
    ]:
        c.raises(
            ValueError,
            first_difference,
            found.copy(),
            expected.copy(),
            tested=tested,
            remember="numpy repeats the single row or column: compare the shapes first",
        )
    for kind in (np.float32, np.int16, np.uint8):
        c.raises(
            ValueError,
            first_difference,
            right.astype(kind),
            right.copy(),
            tested=f"{np.dtype(kind)} against int8",
            remember="other types are other bytes: compare dtype, too",
        )


# %% tags=["check:first_difference"]
check("first_difference", first_difference)

# %% [markdown]
# ### 5. Flash and RAM from sections
#
# A linker lists sections by name and size. Some take flash, some RAM, one both, and some neither: notes for the debugger stay in the file on your computer.


# %% tags=["exercise:budget"]
def flash_and_ram(sections):
    """(flash, RAM) in bytes of a dict of section sizes.

    .vectors, .text, .rodata: program and constants. .data: variables with first values. .bss and .stack: memory without.
    Everything else stays in the file.
    """
    # TODO: sum what the device stores without power, and what it needs while it runs.
    ### BEGIN SOLUTION
    size = {name: sections.get(name, 0) for name in sections}
    both = size.get(".data", 0)
    flash = sum(size.get(name, 0) for name in (".vectors", ".text", ".rodata")) + both
    ram = sum(size.get(name, 0) for name in (".bss", ".stack")) + both
    return flash, ram
    ### END SOLUTION


# %% [markdown] tags=["hints:budget"]
# 1. Ask of each section two questions: must its content survive without power, and does it change while the program runs?
# 2. `.data` answers yes to both. `.debug_info` and the like answer no to both: name what counts rather than what does not.
# 3. `flash = .vectors + .text + .rodata + .data` and `ram = .data + .bss + .stack`, with `sections.get(name, 0)`.


# %% tags=["check:budget", "hidden"]
@checks("budget")
def _(c, flash_and_ram):
    known = (".vectors", ".text", ".rodata", ".data", ".bss", ".stack")
    notes = (".debug_info", ".symtab", ".stack_sizes", ".ARM.attributes", ".debug_line")

    def firmware(names):
        sizes = c.rng.choice(np.arange(40, 9000), len(names), replace=False)
        return {str(n): int(size) for n, size in zip(c.rng.permutation(names), sizes)}

    for sections in (
        firmware(known),
        firmware((*known, *notes[:3])),
        firmware((".text", ".rodata", ".bss", notes[3], notes[4])),
        firmware((".text", ".data", ".stack")),
    ):
        s = {name: sections.get(name, 0) for name in known}
        code = s[".vectors"] + s[".text"] + s[".rodata"]
        flash, ram = code + s[".data"], s[".data"] + s[".bss"] + s[".stack"]
        every = sum(sections.values())
        rest = every - sum(s.values())
        c.equal(
            c.parts(flash_and_ram(dict(sections)), 2, wanted="flash and RAM"),
            [flash, ram],
            tested=f"a firmware with {len(sections)} sections",
            mistakes={
                "the stack was forgotten: it is RAM": ([flash, ram - s[".stack"]]),
                ".stack_sizes is a note for the debugger, no stack: compare whole names": (
                    [flash, ram + sections.get(".stack_sizes", -1)]
                ),
                ".bss was forgotten: it is RAM": ([flash, ram - s[".bss"]]),
                "the vector table was forgotten: it is the start of flash": (
                    [
                        flash - s[".vectors"],
                        ram,
                    ]
                ),
                "the constants were forgotten: .rodata lies in flash": (
                    [
                        flash - s[".rodata"],
                        ram,
                    ]
                ),
                "these two are in the wrong order": ([ram, flash]),
                "these are KiB: bytes are wanted": ([flash / 1024, ram / 1024]),
            },
            remember={
                ".data counts twice: its first values lie in flash, too": ([code, ram]),
                ".data counts twice: it lives in RAM, too": ([flash, ram - s[".data"]]),
                ".data lies in flash once": ([flash + s[".data"], ram]),
                ".bss starts as zero, so nothing of it lies in flash": (
                    [
                        flash + s[".bss"],
                        ram,
                    ]
                ),
                "the stack has no content to keep, so nothing of it lies in flash": (
                    [
                        flash + s[".stack"],
                        ram,
                    ]
                ),
                "the program runs from flash and takes no RAM": (
                    [
                        flash,
                        ram + s[".text"],
                    ]
                ),
                "constants are read from flash and take no RAM": (
                    [
                        flash,
                        ram + s[".rodata"],
                    ]
                ),
                "notes for the debugger stay in the file on your computer": (
                    [
                        flash + rest,
                        ram,
                    ]
                ),
                "notes for the debugger stay in the file, and in no RAM": (
                    [
                        flash,
                        ram + rest,
                    ]
                ),
            },
        )


# %% tags=["check:budget"]
check("budget", flash_and_ram)

# %% [markdown]
# ### 6. From battery life to interval
#
# Turn the sum around, as a product owner does: the device has to last for some years. How often may it wake up? Sleep current and self-discharge take their share first. If they alone empty the battery too early, no interval
# helps.


# %% tags=["exercise:interval"]
def shortest_interval(
    goal_years, capacity_mah, awake_ms, active_ma, sleep_ua, leak_percent
):
    """Seconds from one wake-up to the next so that the battery lasts `goal_years`; math.inf if none does.

    The battery loses `leak_percent` of its capacity each year. A year has 365.25 days.
    """
    # TODO: the average current that the goal allows, minus the leak; solve
    # allowed = active * duty + sleep * (1 - duty) for the duty cycle; then the interval.
    ### BEGIN SOLUTION
    hours = 365.25 * 24
    allowed_ua = 1000 * capacity_mah * (1 / goal_years - leak_percent / 100) / hours
    if allowed_ua <= sleep_ua:
        return math.inf
    duty = (allowed_ua - sleep_ua) / (1000 * active_ma - sleep_ua)
    return awake_ms / 1000 / duty
    ### END SOLUTION


# %% [markdown] tags=["hints:interval"]
# 1. A battery of C mAh that must last Y years of 8,766 hours allows an average of C / (8766 Y) mA. Bring everything to microamperes.
# 2. Subtract the leak, `1000 * capacity_mah * leak_percent / 100 / 8766`. What is left must cover sleep and work: `sleep + duty * (active - sleep)`.
# 3. `duty = (allowed - sleep_ua) / (1000 * active_ma - sleep_ua)` and the interval is `awake_ms / 1000 / duty`; infinite if `allowed <= sleep_ua`.


# %% tags=["check:interval", "hidden"]
@checks("interval")
def _(c, shortest_interval):
    def solve(goal, mah, awake, active, sleep, leak, hours=8766.0):
        allowed = 1000 * mah * (1 / goal - leak / 100) / hours
        return awake / 1000 * (1000 * active - sleep) / (allowed - sleep)

    def drawn():
        """A device whose sleep takes between a tenth and a half of what the goal allows."""
        goal, leak = c.rng.uniform(0.7, 6.0), c.rng.uniform(0.5, 4.0)
        mah, active = c.rng.uniform(150, 4000), c.rng.uniform(4.0, 40.0)
        allowed = 1000 * mah * (1 / goal - leak / 100) / 8766
        sleep = min(c.rng.uniform(0.1, 0.5) * allowed, 30 * active)
        values = goal, mah, c.rng.uniform(3.0, 400.0), active, sleep, leak
        return tuple(float(f"{value:.3g}") for value in values)

    cases = [
        (2.0, 235, 10, 8.0, 2.0, 1.0),
        (5.0, 3000, 40, 3.2, 9.0, 3.0),
        (1.0, 1000, 250, 30.0, 60.0, 2.0),
        *(drawn() for _ in range(5)),
    ]
    for goal, mah, awake, active, sleep, leak in cases:
        right = solve(goal, mah, awake, active, sleep, leak)
        duty = awake / 1000 / right
        c.equal(
            shortest_interval(goal, mah, awake, active, sleep, leak),
            right,
            tested=f"{goal:g} years on {mah:g} mAh, {awake:g} ms at {active:g} mA, {sleep:g} uA asleep, {leak:g} percent a year",
            mistakes={
                "the sleep current was left out": (
                    solve(goal, mah, awake, active, 0.0, leak)
                ),
                "the sleep current was left out of what is allowed": (
                    awake
                    / 1000
                    * (1000 * active - sleep)
                    / (1000 * mah * (1 / goal - leak / 100) / 8766)
                ),
                "the self-discharge was left out": (
                    solve(goal, mah, awake, active, sleep, 0.0)
                ),
                "the self-discharge was added: it takes from what is allowed": (
                    solve(goal, mah, awake, active, sleep, -leak)
                ),
                "this is in milliseconds: the interval is wanted in seconds": (
                    1000 * right
                ),
                "this is in minutes: the interval is wanted in seconds": (right / 60),
                "the sleep current was added to the active one: the current rises by active - sleep": (
                    right * (1000 * active + sleep) / (1000 * active - sleep)
                ),
                "this is the duty cycle: the interval is awake time over duty cycle": (
                    duty
                ),
                "this is the sleep alone: the interval goes from one wake-up to the next": (
                    right - awake / 1000
                ),
                "this is how often it wakes up, not the time between": (1 / right),
            },
            remember={
                "while it is awake it does not sleep: the current rises by active - sleep": (
                    right * 1000 * active / (1000 * active - sleep)
                ),
                "percent are hundredths: divide the leak by 100": (
                    max(solve(goal, mah, awake, active, sleep, 100 * leak), 0.0)
                    or math.inf
                ),
                "the leak is a share of the capacity each year, not of what is left over all years": (
                    solve(goal, mah * (1 - leak / 100), awake, active, sleep, 0.0)
                ),
                "the leak takes its share each year, not once": (
                    1e-3
                    * awake
                    * (1000 * active - sleep)
                    / (1000 * mah * (1 - leak / 100) / goal / 8766 - sleep)
                ),
                "the active current is in mA, the sleep current in uA": (
                    solve(goal, mah, awake, active / 1000, sleep, leak)
                ),
                "a year has 365.25 days here": (
                    solve(goal, mah, awake, active, sleep, leak, 8760.0)
                ),
            },
        )
    for goal, sleep, leak, why in [
        (10.0, 5.0, 1.0, "a sleep current that is too high"),
        (20.0, 0.1, 6.0, "a leak that is too high"),
        (9.0, float(c.rng.uniform(4.0, 90.0)), 0.0, "a sleep current drawn at random"),
    ]:
        got = shortest_interval(goal, 235, 10, 8.0, sleep, leak)
        negative = isinstance(got, (int, float, np.number)) and got < 0
        c.equal(
            got,
            math.inf,
            tested=why,
            mistakes={
                "a negative interval means that sleep and leak alone empty the battery: return math.inf": (
                    got if negative else -1.0
                ),
                "the sign was taken away, but sleep and leak alone empty the battery: return math.inf": (
                    -solve(goal, 235, 10, 8.0, sleep, leak)
                ),
                "the sleep current alone was compared: the leak takes its share, too": (
                    solve(goal, 235, 10, 8.0, sleep, 0.0)
                ),
            },
            remember={
                "no interval is long enough, so return math.inf, not 0": (0.0),
                "no interval is long enough, which is math.inf and not None": (None),
            },
        )


# %% tags=["check:interval"]
check("interval", shortest_interval)

# %% [markdown]
# ## Bring your own
#
# `my_model` takes the path of an int8 `.tflite` file. It becomes firmware for the core of `device`, runs on 20 random inputs, and is compared with the interpreter, byte for byte. If the generator lacks one of your operators,
# a sentence says which. Without a file, this section runs on the lab's own. In a terminal: `uv run edgelab firmware MODEL.tflite -o FOLDER --core cortex-m4`; the folder has a `Makefile` for your board.

# %%
own_file = Path(my_model) if my_model else exported.path
own = build_firmware(own_file, work / "own", core=chip.core)
draw = np.random.default_rng(seed)


def random_rows(info, count=20):
    shape = (count, *(n or 1 for n in info.shape[1:]))
    if info.dtype == "float32":
        return draw.standard_normal(shape).astype(np.float32)
    limits = np.iinfo(info.dtype)
    return draw.integers(limits.min, limits.max + 1, shape).astype(info.dtype)


with open_engine(own.path) as engine:
    own_rows = [random_rows(info) for info in engine.inputs]
    on_core = engine.invoke_raw(own_rows)[0]
expected, own_judge = oracle(own_file, own_rows)
equal = (on_core == expected).reshape(len(on_core), -1).all(axis=1)
by = f"the emulated core against {own_judge}, {len(equal)} rows in all"
record("own.rows_equal", Reading(int(equal.sum()), "rows", "emulated", by))
own

# %% [markdown]
# ## What to remember
#
# - A real factor is a mantissa and a shift. Two roundings, defined to the last bit, make integer networks the same everywhere.
# - Compare bytes, on real data, and many of them. A wrong rounding can show in very few inputs.
# - The interpreter with a C array is easy to update. Generated C needs no arena for the interpreter's own structures.
# - Good C and SIMD are two gains in one number. Ask what the baseline was.
# - Look at the whole chain. The network can be the smallest part of it.
# - `.data` counts twice. `const` keeps weights out of RAM.
# - Instructions are counted, milliseconds are modelled, power is quoted. Say which.
# - Battery life is decided by the duty cycle, the sleep current, the self-discharge and the sensor, in an order that you find out by doing the sum.
#
# **Sources.** Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*, 2018 (the integer arithmetic). David et al., *TensorFlow Lite Micro*, 2021 (interpreter and arena).
# Lai, Suda, Chandra, *CMSIS-NN: Efficient Neural Network Kernels for Arm Cortex-M CPUs*, 2018 (SIMD kernels). Mitchell, *Computer Multiplication and Division Using Binary Logarithms*, 1962 (the logarithm of the front end).
# Randall and Antoni, *Rolling element bearing diagnostics: a tutorial*, 2011 (the envelope). Energizer, data sheets CR2032 and E91 with the handbooks for lithium coin and alkaline cells; Analog Devices, data sheet ADXL356; Nordic Semiconductor,
# nRF52840 product specification. `edgelab.mcu.devices` says where the figures of each chip were read.
