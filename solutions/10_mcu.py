# ---
# jupyter:
#   edgelab:
#     title: "Microcontrollers: will it fit?"
#     minutes: 100
#     memory_gb: 2
#     requires: [torch, ai_edge_litert, ethosu]
#     form: 2
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
# yours runs out. So the question comes before everything else: **does this network fit on that chip?** Most people try sizes until the program
# starts. At the end of this lab you own eight short functions that compute the answer from the model file, and you hold them against the real
# interpreter, to the byte.
#
# You need: lab `quantization`, or to know what an int8 network is. No network, no GPU and no board. The cells run in about half a minute; with
# the exercises plan an hour and three quarters.

# %% tags=["parameters"]
seed = 0
calibration_items = 100
device = "nrf52832"  # the chip of the story; edgelab.mcu.devices lists all names
headroom = 0.2  # the share of SRAM that stays free
my_model = ""  # bring your own: the path of an int8 .tflite file

# %% tags=["setup", "folded"]
import copy
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from IPython.display import display

from edgelab import Reading, Table, data, nets, record, ui
from edgelab.convert.tflite import export_int8
from edgelab.course import (
    Target,
    begin,
    challenge,
    check,
    claim,
    finding,
    listed,
    whose,
)
from edgelab.engines import open_engine

# %% tags=["setup", "folded"]
from edgelab.engines.tflm import TFLMEngine
from edgelab.engines.tflm_arena import ArenaTrials, arena_search
from edgelab.errors import BadFile, EngineCrash, MissingFramework
from edgelab.measure import quality
from edgelab.mcu import plain_arena as plain
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.devices import all_devices, find_device
from edgelab.mcu.estimate import instructions, macs, operator_macs
from edgelab.mcu.fit import INTERPRETER_CODE_BYTES, STACK_BYTES, fit
from edgelab.mcu.layout import build as build_of
from edgelab.mcu.model import read_model
from edgelab.mcu.operators import check_operators
from edgelab.mcu.plans import Buffer, Placed, Plan
from edgelab.models.tflite_writer import TfliteWriter

begin("mcu")
generator = np.random.default_rng(seed)
folder = TemporaryDirectory()
work = Path(folder.name)
HOST, CORE = "x86_64-wheel", "cortex-m-cmsis-nn"  # this computer; a Cortex-M4 or larger

# %% [markdown]
# A chip has two memories. **Flash** keeps its content without power. It holds the program and the weights, and the program only reads it. **SRAM** is
# the working memory: it holds everything that changes. Compare the first row with the last ones. (A KiB is
# <span class="given" title="definition">1,024 bytes</span>.)

# %% tags=["folded"]
examples = [device, "nrf52840", "esp32-s3", "raspberry-pi-4", "pixel-8"]
rows = []
for entry in map(find_device, dict.fromkeys(examples)):
    kib = (entry.flash_bytes // 1024, entry.sram_bytes // 1024)
    rows.append((entry.title, entry.core, entry.clock_mhz, *kib))
Table(
    "What a chip has, and what computers and phones have",
    ("device", "core", "MHz", "flash or storage, KiB", "SRAM or memory, KiB"),
    rows,
    "Quoted; all_devices() says what was not read again in a source.",
)

# %% [markdown]
# Four networks were trained in other labs: two that read road signs, one that listens to the
# vibration of a machine, one that reads digits. `signs_dscnn` is **depthwise-separable**: each 3x3 filter looks at one channel, and 1x1 filters mix the channels.
# `signs_resnet` is **residual**: shortcuts lead around some of its layers. Each becomes a `.tflite` file with int8 weights and activations. The last column says how well
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

# %% tags=["folded"]
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
# On the chip an **interpreter** runs such a file: a program that reads the list of **operators** (the layers of the network, in the order in which they
# run) and executes one after the other. It is called TensorFlow Lite for Microcontrollers, **TFLM**. It works in one block of SRAM, the **arena**, which
# your program hands over as an array when it starts. This is the SRAM of the chip with one of the networks in it. The **head** of the arena holds the
# results that one operator leaves for the next, the **tail** the interpreter's own notes, and the **stack** the local variables of functions. In the
# next steps you compute each of these parts.

# %% tags=["folded"]
arenas = {n: {t: plan_arena(m, t) for t in (HOST, CORE)} for n, m in models.items()}
on_core = {name: by_target[CORE] for name, by_target in arenas.items()}
chip = find_device(device)
shown = on_core["signs_resnet"]
top = max(chip.sram_bytes, shown.total + STACK_BYTES)
ui.memory_ribbon(
    [
        (0, shown.head, "head of the arena", "taken"),
        (shown.head, shown.total, "tail", "tail"),
        (top - STACK_BYTES, top, "stack", "scratch"),
    ],
    top,
    f"SRAM of {chip.title} with signs_resnet: head, tail, and the stack at the end",
)

# %% [markdown]
# ## Predict
#
# Commit before you look. Each guess meets its figure further down.

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
# ### Who is alive when?
#
# Weights stay in flash. What needs SRAM are the **tensors** that the network makes while it runs: the input, and the result of each operator. A result is
# needed from the step that writes it to the last step that reads it. After that its memory can serve somebody else.
#
# Take a network of five tensors and four operators. The image is there at step 0. Step 1 reads the image and writes `a`, step 2 reads `a` and writes
# `b`, step 3 reads `b` and writes `c`. Step 4 joins `c` with `a` (a shortcut) and writes `score`. So `a` has to stay until step 4, although `b` was made from it
# long before. The numbers are bytes.

# %%
five_sizes = {"image": 80, "a": 48, "b": 32, "c": 64, "score": 16}
by_hand = {"image": (0, 1), "a": (1, 4), "b": (2, 3), "c": (3, 4), "score": (4, 4)}
steps_of_five = ("writes a", "writes b", "writes c", "joins")
ui.tensor_lives(by_hand, five_sizes, operators=steps_of_five, sums=False)

# %% [markdown]
# With $W(x)$ the step that writes tensor $x$ and $R(x)$ the steps that read it, its life goes from
#
# $$ f_x = W(x) \quad \text{to} \quad l_x = \max\big(\{f_x\} \cup R(x)\big). $$
#
# The inputs are written at step 0. Operator number $i$, counted from 0, runs at step $i + 1$. Outputs have to live to the last step, because your program
# reads them afterwards. Weights are read, too, but no operator writes them: they stay in flash.

# %% tags=["setup"]
five = [
    (["image", "w1"], ["a"]),  # (names read, names written); w1 is a weight
    (["a", "w2"], ["b"]),
    (["b", "w3"], ["c"]),
    (["c", "a"], ["score"]),
]


# %% tags=["exercise:lifetimes"]
def my_lifetimes(operators, inputs, outputs):
    """{name: (first step, last step)} of every tensor that needs memory.

    `operators` is a list of (names read, names written), such as `five` above. A name
    that is neither an input nor written by an operator is a weight: leave it out.
    """
    # TODO: walk through the operators in order; which steps move the end of a life?
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
        (["a", "early"], ["sum"]),
        (["sum", "image"], ["late"]),
        (["late"], ["x", "unread"]),
    ]
    cases = [
        (skip, ["image", "unused"], ["early", "sum"], "a shortcut and two outputs"),
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
        right = reference(*given)
        lost = [n for n in right if n not in got]
        c.that(
            not lost or set(got) == set(reference(*given, unread=True)),
            tested="that every tensor has a life",
            found=f"no life for {', '.join(lost)}",
            mistake="inputs, outputs and all results in between need memory",
        )
        end = len(operators)
        heads = [([n for n in r if n in right][:1], w) for r, w in operators]
        c.equal(
            got,
            right,
            tested=tested,
            mistakes={
                "weights are in it: they stay in flash": (
                    reference(*given, weights=True)
                ),
                "every tensor lives to the last step: a life ends with its last reader": (
                    {n: (f, end) for n, (f, _) in right.items()}
                ),
                "the inputs live to the last step: theirs, too, end with the last reader": (
                    {n: (f, end if n in inputs else e) for n, (f, e) in right.items()}
                ),
                "only the first of the names that an operator reads was seen": (
                    reference(heads, inputs, outputs)
                ),
                "only the last of the outputs lives to the last step: all do": (
                    reference(operators, inputs, outputs[-1:])
                ),
                "a life begins at the step that writes, not one later": (
                    {
                        n: (f, e)
                        if n in inputs
                        else (f + 1, e if n in outputs else max(f + 1, e))
                        for n, (f, e) in right.items()
                    }
                ),
                "these are all steps of a life: the first and the last are asked for": (
                    {n: list(range(f, e + 1)) for n, (f, e) in right.items()}
                ),
                "weights are in it from step 0: they stay in flash": (
                    {
                        **{
                            n: (0, s)
                            for s, (r, _) in enumerate(operators, 1)
                            for n in r
                        },
                        **right,
                    }
                ),
                "the outputs live one step too short: the last step is the number of operators": (
                    reference(*given, end=-1)
                ),
                "the outputs live one step too long: the last step is the number of operators": (
                    reference(*given, end=1)
                ),
                "first and last are exchanged": (
                    {n: (e, f) for n, (f, e) in right.items()}
                ),
                "only the last step is there: the first is asked for, too": (
                    {n: e for n, (f, e) in right.items()}
                ),
                "only the first of the names that an operator writes was seen": (
                    reference([(r, w[:1]) for r, w in operators], inputs, outputs)
                ),
                "a result that nobody reads lives at its own step alone": (
                    {n: (f, max(e, f + 1)) for n, (f, e) in right.items()}
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
lifetimes = check("lifetimes", my_lifetimes, plain.lifetimes)

# %% [markdown]
# Now a real network, the residual one. The cell hands its operators to the function of the line above. The number before a
# name is the tensor's place in the file. Look for the tensors with long lives: who reads them last?


# %% tags=["setup"]
def up16(size):
    """Sizes and addresses in the arena are multiples of 16."""
    return -(-size // 16) * 16


def graph_of(model):
    """(operators, inputs, outputs) of a model, by the names of its tensors."""
    names = {t.index: f"{t.index} {t.name}" for t in model.tensors}

    def of(indices):
        return [names[i] for i in indices if i >= 0]

    operators = [(of(op.inputs), of(op.outputs)) for op in model.operators]
    return operators, of(model.inputs), of(model.outputs)


def sizes_of(model):
    return {f"{t.index} {t.name}": up16(t.size_bytes) for t in model.tensors}


# %% tags=["folded"]
lives = lifetimes(*graph_of(models["signs_resnet"]))
longest = max(lives, key=lambda n: lives[n][1] - lives[n][0])
ui.tensor_lives(
    lives,
    sizes_of(models["signs_resnet"]),
    sums=False,
    title=f"signs_resnet: {longest} lives longest, "
    f"steps {lives[longest][0]} to {lives[longest][1]}",
).show()
whose("lifetimes")

# %% [markdown]
# **Before you go on.** The residual network has shortcuts, the depthwise-separable one has none. What does a shortcut cost on a microcontroller?
#
# <details><summary>Discussion</summary>
#
# Memory over time. The tensor at the start of a shortcut must wait until the end of it, while the tensors in between come and go beside it. A chain needs
# only the tensor that is read and the one that is written. That is why networks for microcontrollers often do without shortcuts, or keep them where tensors
# are small.
#
# </details>
#
# ### How little can it be?
#
# Add up who is alive at each step of the five tensors. At step 3 these are `a`, `b` and `c`, so $48 + 32 + 64 = 144$. No arrangement, however clever, can need less than the
# largest of these sums.

# %%
ui.tensor_lives(by_hand, five_sizes, operators=steps_of_five)

# %% [markdown]
# With $s_x$ the size of tensor $x$, the bytes alive at step $t$ and the **lower bound** $L$ are
#
# $$ B_t = \sum_{x:\; f_x \le t \le l_x} s_x, \qquad L = \max_t B_t. $$


# %% tags=["exercise:alive"]
def my_alive(lives, sizes):
    """Bytes alive at each step, a list from step 0 to the last one.

    `lives` is {name: (first, last)}, `sizes` is {name: bytes} and may hold more names.
    """
    # TODO: the sum above, for each step.
    ### BEGIN SOLUTION
    sums = [0] * (1 + max(last for _, last in lives.values()))
    for name, (first, last) in lives.items():
        for step in range(first, last + 1):
            sums[step] += sizes[name]
    return sums
    ### END SOLUTION


# %% [markdown] tags=["hints:alive"]
# 1. How many steps are there, if the last one has the number 4?
# 2. Start with a list of zeros, one longer than the largest `last`. Each tensor adds its size from `first` to `last`, both included.
# 3. `for step in range(first, last + 1): sums[step] += sizes[name]`, for each name in `lives`.


# %% tags=["check:alive", "hidden"]
@checks("alive")
def _(c, alive):
    def sums(lives, sizes, ends=0, starts=0, skip=False):
        steps = 1 + max(last for _, last in lives.values())
        found = [0] * steps
        for name, (first, last) in lives.items():
            for step in range(first + starts, min(last + 1 + ends, steps)):
                found[step] += sizes[name]
        return found

    def drawn():
        """Lives in any order, a step at which nobody lives, and sizes of more names than live."""
        lives = {}
        for i in range(int(c.rng.integers(5, 9))):
            first = int(c.rng.integers(0, 7))
            first += 4 * (first > 2)  # nobody lives at some steps between
            last = first + int(c.rng.integers(0, 2 + (first > 6)))
            lives[f"t{i}"] = (first, min(last, 3) if first < 3 else last)
        names = [*lives, "weights"]
        return lives, {n: 16 * int(c.rng.integers(1, 40)) for n in names}

    cases = [
        (
            {"image": (0, 1), "a": (1, 4), "b": (2, 3), "c": (3, 4), "score": (4, 4)},
            {"image": 80, "a": 48, "b": 32, "c": 64, "score": 16, "w1": 999},
            "the five tensors",
        ),
        ({"a": (0, 0)}, {"a": 16}, "a single tensor"),
        (
            {"late": (3, 5), "early": (0, 1), "top": (1, 3)},
            {"early": 32, "top": 64, "late": 16},
            "tensors in another order",
        ),
        (*drawn(), "lives drawn at random"),
        (*drawn(), "other lives drawn at random"),
    ]
    for lives, sizes, tested in cases:
        right = sums(lives, sizes)
        steps = len(right)
        got = alive(lives, sizes)
        if isinstance(got, dict):
            got = [got.get(t, 0) for t in range(steps)]
        c.equal(
            np.asarray(got) if np.ndim(got) == 1 else got,
            np.asarray(right),
            tested=tested,
            mistakes={
                "the last step of a life was left out: it belongs to it": np.array(
                    sums(lives, sizes, ends=-1)
                ),
                "each tensor lives one step too long": np.array(
                    sums(lives, sizes, ends=1)
                ),
                "the first step of a life was left out: it belongs to it": np.array(
                    sums(lives, sizes, starts=1)
                ),
                "this is how many tensors are alive, not how many bytes": np.array(
                    sums(lives, dict.fromkeys(sizes, 1))
                ),
                "the list is one step too short: step 0 counts, too": np.array(
                    right[:-1]
                ),
                "the list is one step too long": np.array([*right, 0]),
                "this is the largest tensor of each step, not the sum": np.array(
                    [
                        max(
                            (sizes[n] for n, (f, e) in lives.items() if f <= t <= e),
                            default=0,
                        )
                        for t in range(steps)
                    ]
                ),
                "only what is written at a step was added: what is still needed counts, too": np.array(
                    [
                        sum(sizes[n] for n, (f, _) in lives.items() if f == t)
                        for t in range(steps)
                    ]
                ),
                "this is the lower bound: all steps are asked for": max(right),
                "this is the sum over all tensors: they are not all alive at once": sum(
                    sizes[n] for n in lives
                ),
                "nothing was given back: at its last step a tensor ends": np.array(
                    [
                        sum(sizes[n] for n, (f, _) in lives.items() if f <= t)
                        for t in range(steps)
                    ]
                ),
                "step 0 is missing: the inputs are alive there": np.array(right[1:]),
                "there are as many steps as tensors in it: go on to the largest `last`": np.array(
                    (right + [0] * len(lives))[: len(lives)]
                ),
                "it ends with the last tensor of the dict: go on to the largest `last`": np.array(
                    right[: 1 + list(lives.values())[-1][1]]
                ),
                "steps at which nobody is alive are missing: they have 0 bytes": np.array(
                    [n for n in right if n]
                ),
                "this is the largest sum so far: what is given back is free again": (
                    np.maximum.accumulate(right)
                ),
                "the sums were added up over the steps: each step has a sum of its own": (
                    np.cumsum(right)
                ),
                "a life begins at its first step, not at step 0": np.array(
                    [
                        sum(sizes[n] for n, (_, e) in lives.items() if t <= e)
                        for t in range(steps)
                    ]
                ),
                "only the first and the last step of a life were added: those between count, too": np.array(
                    [
                        sum(sizes[n] for n, life in lives.items() if t in life)
                        for t in range(steps)
                    ]
                ),
                "only the first tensor was added: is there a return inside of the loop?": np.array(
                    [
                        sizes[n] * (f <= t <= e)
                        for n, (f, e) in list(lives.items())[:1]
                        for t in range(steps)
                    ]
                ),
                "a size was put in place of the sum, not added to it": np.array(
                    [
                        (
                            [0]
                            + [sizes[n] for n, (f, e) in lives.items() if f <= t <= e]
                        )[-1]
                        for t in range(steps)
                    ]
                ),
                "names that are not in `lives` were added": np.array(right)
                + sum(size for n, size in sizes.items() if n not in lives),
            },
        )


# %% tags=["check:alive"]
alive = check("alive", my_alive, plain.alive_bytes)

# %% [markdown]
# The same for a real network. Some operators also ask for **scratch buffers**, memory that they need only while they run; the package knows which. `buffers_of` puts
# both together: your lives of the tensors, and the scratch. Look at the operator that runs at the peak.


# %% tags=["setup"]
def buffers_of(model, target):
    """What the planner has to place: tensors by your lifetimes, then scratch buffers."""
    lives, sizes = lifetimes(*graph_of(model)), sizes_of(model)
    tensors = [Buffer(n, sizes[n], *lives[n]) for n in sizes if n in lives]
    scratch = [
        Buffer(b.name, b.size_bytes, b.first, b.last)
        for b in plan_arena(model, target).plan.buffers
        if b.name.startswith("scratch")
    ]
    return tensors + scratch


def bound_of(buffers):
    """(bytes alive at each step, the lower bound)"""
    lives = {b.name: (b.first, b.last) for b in buffers}
    sums = alive(lives, {b.name: b.size_bytes for b in buffers})
    return sums, max(sums)


# %%
needed = {name: buffers_of(model, HOST) for name, model in models.items()}
sums, bound = bound_of(needed["signs_dscnn"])
peak = int(np.argmax(sums))
operator = models["signs_dscnn"].operators[peak - 1]

# %% tags=["folded"]
figure = ui.stairs(
    {"alive": (np.arange(len(sums)), np.asarray(sums))},
    title=f"signs_dscnn: most memory is needed at step {peak}, {operator.code}: "
    f"{sums[peak]:,} bytes",
    x="step",
    y="bytes alive",
)
ui.show(figure, alt="A staircase of the bytes alive. " + figure.layout.title.text)
whose("lifetimes", "alive")

# %% [markdown]
# **Before you go on.** Is the peak a `PAD`? What does that operator do here, and who needs it?
#
# <details><summary>Discussion</summary>
#
# It is a trap of conversion. With stride 2 PyTorch pads an image on both sides, TensorFlow Lite's `SAME` only at the end. So the converter adds an
# operator that copies the image into a slightly larger one, and for that moment both copies are alive. Where you design the network, give the stride
# to the first layer, whose input is small, or pad as the runtime does. The challenge of this lab comes back to it.
#
# </details>
#
# ### Into which gap?
#
# The **planner** gives each tensor an address. Two that are alive at the same step may not overlap; two that never meet may share. Say `image` and `c` have their
# places at address 0, and `a` the addresses from 80 to 128. Now `score` comes, with a size of 16. It meets `c` and `a`, but never the image.
# Between `c`, which ends at 64, and `a` lie just 16. They are enough.

# %%
ui.memory_ribbon(
    [(0, 64, "c", "taken"), (64, 80, "score", "chosen"), (80, 128, "a", "taken")],
    160,
    "Step 4: the first gap that is large enough begins at 64",
)

# %% [markdown]
# The rule of TFLM is **first fit**: the lowest address $p$ at which a buffer of size $s$ touches none of the ranges $[u, v)$ that are taken by others who are alive then.
#
# $$ p = \min\{\, p \ge 0 \;:\; p + s \le u \;\text{ or }\; p \ge v \;\;\text{for each taken } [u, v) \,\} $$


# %% tags=["exercise:first_gap"]
def my_first_gap(size, taken):
    """The lowest address for `size` bytes that touches none of the ranges in `taken`.

    `taken` is a list of (start, end), in any order; they may overlap each other, and
    `end` itself is free. The memory starts at 0 and has no end.
    """
    # TODO: where does the free space begin, and when is it wide enough?
    ### BEGIN SOLUTION
    free = 0
    for start, end in sorted(taken):
        if start - free >= size:
            break
        free = max(free, end)
    return free
    ### END SOLUTION


# %% [markdown] tags=["hints:first_gap"]
# 1. Sort the ranges by start. A gap lies between the highest end so far (0 at the beginning) and the next start.
# 2. Ranges may overlap, so the free space begins at the **largest** end so far: `free = max(free, end)`. A gap of exactly `size` bytes is large enough.
# 3. `for start, end in sorted(taken):` stop if `start - free >= size`, else `free = max(free, end)`. The answer is `free`.


# %% tags=["check:first_gap", "hidden"]
@checks("first_gap")
def _(c, first_gap):
    def walk(size, taken, key=None, ordered=True, longest=True, strict=False, low=0):
        free = low
        for start, end in sorted(taken, key=key) if ordered else taken:
            if start - free > size or (start - free == size and not strict):
                break
            free = max(free, end) if longest else end
        return free

    def summed(size, taken):
        free = 0
        for start, end in sorted(taken):
            if start - free >= size:
                break
            free += end - start
        return free

    def picked(size, taken, better):
        best, free = None, 0
        for start, end in sorted(taken):
            gap = start - free
            if gap >= size and (best is None or better(gap, best[0])):
                best = (gap, free)
            free = max(free, end)
        return free if best is None else best[1]

    def upper_end(size, taken):
        start = walk(size, taken)
        behind = [s for s, _ in taken if s >= start + size]
        return min(behind) - size if behind else start

    def memory():
        """Ranges in any order, some range inside of another one, and a size to place."""
        taken, gaps, free = [], [], 0
        for gap in 16 * c.rng.integers(0, 9, int(c.rng.integers(4, 8))):
            start = free + int(gap)
            free = start + 16 * int(c.rng.integers(2, 7))
            gaps.append(int(gap))
            taken.append((start, free))
            if c.rng.random() < 0.4:
                taken.append((start + 16, free - int(c.rng.integers(0, 16))))
        size = max(16, int(c.rng.choice(gaps)) - int(c.rng.choice([0, 0, 8])))
        odd = int(c.rng.integers(1, 16))  # no end is a multiple of 16
        taken = [(start + odd, end + odd) for start, end in taken]
        return size, [taken[i] for i in c.rng.permutation(len(taken))]

    cases = [
        (16, [(0, 64), (112, 128), (160, 192)], "two gaps that are large enough"),
        (16, [(80, 128), (0, 64)], "a gap of just the right size"),
        (32, [(80, 128), (0, 64)], "a gap that is too small"),
        (
            *(48, [(64, 128), (208, 256), (352, 400), (448, 500)]),
            "a gap at the very start",
        ),
        (48, [(0, 96), (192, 240), (288, 384)], "a wide gap before a tight one"),
        (48, [(320, 384), (0, 96), (192, 256), (160, 176)], "ranges out of order"),
        (48, [(0, 256), (32, 64), (312, 320), (400, 480)], "ranges that overlap"),
        (64, [(0, 400), (32, 64), (128, 160)], "ranges inside of a long one"),
        (512, [(64, 128), (160, 256)], "a buffer that is larger than every gap"),
        (32, [(0, 64), (64, 128), (128, 160)], "ranges without a gap"),
        (16, [], "an empty memory"),
        (24, [(0, 36), (60, 72)], "ends that 16 does not divide"),
        *((*memory(), "ranges drawn at random") for _ in range(6)),
    ]
    for size, taken, tested in cases:
        args = (size, taken)
        right = walk(*args)
        got = first_gap(size, list(taken))
        c.that(
            np.ndim(got) == 0,
            tested=tested,
            found=f"{repr(got)[:80]}; return one address",
            mistake="an address is a number: where the buffer starts",
        )
        c.equal(
            got,
            right,
            tested=tested,
            mistakes={
                "no gap is large enough, and then the buffer goes behind the last range, not to 0": (
                    right if right < max((e for _, e in taken), default=0) else 0
                ),
                "this is the tightest gap; TFLM takes the first that is large enough": (
                    picked(*args, lambda new, old: new < old)
                ),
                "the sizes of the ranges were added up: free space begins where a range ends": (
                    summed(*args)
                ),
                "the address was rounded up to 16: sizes and ranges come rounded, if they are to be": (
                    -(-right // 16) * 16
                ),
                "this is the largest gap; TFLM takes the first that is large enough": (
                    picked(*args, lambda new, old: new > old)
                ),
                "this is the last gap that is large enough": (
                    picked(*args, lambda new, old: True)
                ),
                "the largest end so far was forgotten; ranges may overlap: the free space begins at the largest end so far": (
                    walk(*args, longest=False)
                ),
                "the gap was refused, but a gap of exactly that size is large enough": (
                    walk(*args, strict=True)
                ),
                "the gaps were not looked at: this is the address behind the last range": (
                    max((e for _, e in taken), default=0)
                ),
                "this is where the buffer ends: its address is where it starts": (
                    right + size
                ),
                "this is where the gap ends: the buffer goes to where it starts": (
                    min((s for s, _ in taken if s >= right + size), default=-1)
                ),
                "the end of a range is free already: the buffer may start there": (
                    right + 1
                ),
                "this is the first free byte, whether or not the buffer fits there": (
                    next(
                        a
                        for a in range(10_000)
                        if not any(s <= a < e for s, e in taken)
                    )
                ),
                "the ranges were sorted by their end; a gap ends where the next range starts": (
                    walk(*args, key=lambda r: r[1])
                ),
            },
            remember={
                "the ranges come in any order: sort them": (walk(*args, ordered=False)),
                "the memory before the first range is a gap, too": (
                    walk(*args, low=min((s for s, _ in taken), default=0))
                ),
                "the buffer lies at the lower end of its gap": (upper_end(*args)),
                "it is free of one of the ranges: it must be free of each": next(
                    (
                        p
                        for p in sorted([0, *(e for _, e in taken)])
                        if any(p + size <= s or p >= e for s, e in taken)
                    ),
                    0,
                ),
            },
        )


# %% tags=["check:first_gap"]
first_gap = check("first_gap", my_first_gap, plain.first_gap)

# %% [markdown]
# Step 4 of the five tensors, for buffers of other sizes than 16. Move the slider: from which size on is the gap too small?


# %%
def find_gap(size):
    taken = [(0, 64), (80, 128)]
    place = first_gap(size, taken)
    ranges = [(0, 64, "c", "taken"), (80, 128, "a", "taken")]
    if all(place + size <= u or place >= v for u, v in taken):
        ranges.append((place, place + size, "yours", "chosen"))
    return ui.memory_ribbon(ranges, 208, f"{size} bytes go to address {place}")


ui.Panel(
    find_gap,
    title="The first gap",
    alt="A small memory with two ranges taken, and where a buffer goes.",
    size=ui.slider(4, 64, 4, value=24, label="bytes to place"),
)

# %% tags=["folded"]
whose("first_gap")

# %% [markdown]
# **Before you go on.** Why may `taken` hold ranges that overlap each other?
#
# <details><summary>Discussion</summary>
#
# A tensor with a long life meets many others, and those need not meet each other. Two that are never alive together may share addresses. For the tensor that
# meets both, the ranges that are taken then overlap.
#
# </details>
#
# ### Who goes first?
#
# To find the best arrangement is a hard problem (NP-hard), so TFLM uses a simple order: the **largest** first, each into its first gap. Of two equally large ones the
# later goes first. By hand: `image` (80) to 0. `c` (64) never meets it, so it goes to 0, too. `a` (48) meets both, so it goes behind
# the image, to 80. `b` (32) meets `a` and `c`; the gap between them is too small, so it goes to 128. `score` you know. That makes $160$, and the lower bound was $144$.

# %%
addresses_by_hand = {"image": 0, "c": 0, "a": 80, "b": 128, "score": 64}
ui.memory_map(five_sizes, by_hand, addresses_by_hand, bound=144)

# %% [markdown]
# Two buffers $x$ and $y$ **meet** if their lives share a step:
#
# $$ f_x \le l_y \quad \text{and} \quad f_y \le l_x. $$


# %% tags=["exercise:place"]
def my_place(buffers):
    """{name: address} by TFLM's rule: the largest first, each into its first gap.

    A buffer has a `name`, `size_bytes`, and the steps `first` and `last` of its life.
    Of two equally large ones the later in the list goes first.
    """
    # TODO: sort, then call first_gap with the ranges of those that each one meets.
    ### BEGIN SOLUTION
    address, done = {}, []
    for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = first_gap(b.size_bytes, taken)
        done.append(b)
    return address
    ### END SOLUTION


# %% [markdown] tags=["hints:place"]
# 1. Python's sort keeps the order of equal ones. What must you do to the list first, so that the later of two equal ones comes first?
# 2. For each buffer, collect the ranges (address, address + size) of those that are placed already **and** meet it. Then `first_gap` answers.
# 3. `for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):` build `taken` from the placed ones with `o.first <= b.last and b.first <= o.last`; `address[b.name] = first_gap(b.size_bytes, taken)`.


# %% tags=["check:place", "hidden"]
@checks("place", seconds=5)
def _(c, place):
    def fit_first(size, taken):
        free = 0
        for start, end in sorted(taken):
            if start - free >= size:
                break
            free = max(free, end)
        return free

    def tightest(size, taken):
        best, free = None, 0
        for start, end in sorted(taken):
            gap = start - free
            if gap >= size and (best is None or gap < best[0]):
                best = (gap, free)
            free = max(free, end)
        return free if best is None else best[1]

    def meet(a, b):
        return a.first <= b.last and b.first <= a.last

    def by(buffers, order=None, meets=meet, gap=fit_first, stable=True, ranges=None):
        found, done = {}, []
        ranges = ranges or (lambda address, size: (address, address + size))
        order = order or (lambda b: -b.size_bytes)
        for b in sorted(reversed(buffers) if stable else buffers, key=order):
            taken = [ranges(found[o.name], o.size_bytes) for o in done if meets(o, b)]
            found[b.name] = gap(b.size_bytes, taken)
            done.append(b)
        return found

    def sized(buffers):
        found, done = {}, []
        for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
            taken = [
                (found[o.name], found[o.name] + b.size_bytes)
                for o in done
                if meet(o, b)
            ]
            found[b.name] = fit_first(b.size_bytes, taken)
            done.append(b)
        return found

    def drawn():
        """Buffers of a network with shortcuts: some of one size, some of equal lives."""
        buffers, step = [], 0
        for i in range(int(c.rng.integers(8, 13))):
            step += int(c.rng.integers(0, 2))
            size = 12 * int(c.rng.choice([1, 2, 3, 4, 4, 6, 6, 9]))
            buffers.append(
                Buffer(f"t{i}", size, step, step + int(c.rng.integers(0, 4)))
            )
        return buffers

    five = [("image", 80, 0, 1), ("a", 48, 1, 4), ("b", 32, 2, 3), ("c", 64, 3, 4)]
    five = [Buffer(*entry) for entry in [*five, ("score", 16, 4, 4)]]
    equal = [Buffer(n, 32, 0, 1) for n in "abc"]
    touch = [("x", 64, 0, 1), ("y", 48, 2, 3), ("z", 32, 1, 2)]  # x and y never meet
    inside = [
        ("low", 96, 0, 9),
        ("mid", 32, 2, 3),
        ("long", 48, 0, 9),
        ("in", 16, 5, 5),
    ]
    cases = [
        (five, "the five tensors"),
        (equal, "three of the same size"),
        ([Buffer(*e) for e in touch], "one that ends as another begins"),
        ([Buffer(*e) for e in inside], "lives inside of others"),
        *((drawn(), "buffers drawn at random") for _ in range(5)),
    ]
    for buffers, tested in cases:
        got = place(list(buffers))
        c.that(
            isinstance(got, dict),
            tested="the answer",
            found=f"{repr(got)[:80]}; return a dict of names and addresses",
        )
        running, end = {}, 0
        for b in sorted(reversed(buffers), key=lambda b: -b.size_bytes):
            running[b.name] = end
            end += b.size_bytes
        c.equal(
            got,
            by(buffers),
            tested=tested,
            mistakes={
                "of two equally large ones the later goes first": by(
                    buffers, stable=False
                ),
                "the smallest went first": by(buffers, lambda b: b.size_bytes),
                "they were placed in the order of the list or of their first steps, not by size": by(
                    buffers, lambda b: 0, stable=False
                ),
                "they were placed from the end of the list, not by size": by(
                    buffers, lambda b: 0
                ),
                "they were placed by their first steps, not by size": by(
                    buffers, lambda b: b.first, stable=False
                ),
                "nobody shares: only those that meet in time are in the way": running,
                "everybody is in the way: only those that meet in time are": by(
                    buffers, meets=lambda a, b: True
                ),
                "nobody is in the way: those that meet in time may not overlap": dict.fromkeys(
                    got, 0
                ),
                "two that share just one step meet, too": by(
                    buffers, meets=lambda a, b: a.first < b.last and b.first < a.last
                ),
                "only those that begin while the other lives were seen: they also meet if the other begins later": by(
                    buffers, meets=lambda a, b: a.first <= b.first <= a.last
                ),
                "only the other half was seen: they also meet if this one begins later": by(
                    buffers, meets=lambda a, b: b.first <= a.first <= b.last
                ),
                "a range is (start, end), and this was (start, size)": by(
                    buffers, ranges=lambda a, n: (a, n)
                ),
                "they were placed by the length of their lives, not by size": by(
                    buffers, lambda b: b.first - b.last, stable=False
                ),
                "the tightest gap was taken; TFLM takes the first": by(
                    buffers, gap=tightest
                ),
                "they were placed by size times length of life, not by size": by(
                    buffers, lambda b: -b.size_bytes * (b.last - b.first + 1)
                ),
                "the other's range was given the size of this one": sized(buffers),
                "each one lies in its own way: it is in the list before it has its place": by(
                    buffers, gap=lambda n, taken: fit_first(n, [*taken, (0, n)])
                ),
                "the addresses were rounded up to 16: sizes come rounded, if they are to be": by(
                    buffers, gap=lambda n, taken: -(-fit_first(n, taken) // 16) * 16
                ),
                "these are ranges: an address is one number": {
                    n: (a, a) for n, a in by(buffers).items()
                },
                "these are ranges of start and end: the start is asked for": {
                    b.name: (by(buffers)[b.name], by(buffers)[b.name] + b.size_bytes)
                    for b in buffers
                },
                "the keys are buffers: their names are asked for": {
                    b: by(buffers)[b.name] for b in buffers
                },
                "these are the ends: an address is where a buffer starts": {
                    b.name: by(buffers)[b.name] + b.size_bytes for b in buffers
                },
                "no gap was used: it went behind the highest of those that it meets": by(
                    buffers,
                    gap=lambda size, taken: max((e for _, e in taken), default=0),
                ),
            },
        )


# %% tags=["check:place"]
place = check("place", my_place, plain.place)


# %% [markdown]
# Your plan of the five tensors, then of the residual network. In the second figure each bar is a buffer: its width is its life, its height its place. Hover over a bar
# for its name. White space under the dashed line is memory that nobody needs at that step.

# %% tags=["folded"]
five_lives = lifetimes(five, ["image"], ["score"])
small = [Buffer(name, five_sizes[name], *five_lives[name]) for name in five_sizes]
ui.memory_map(five_sizes, five_lives, place(small), bound=bound_of(small)[1]).show()
whose("lifetimes", "alive", "first_gap", "place")


# %% tags=["setup"]
def as_plan(buffers, address, rule="my plan"):
    """A plan that the package can draw."""
    boxes = [
        Placed(b.name, address[b.name], b.size_bytes, b.first, b.last)
        for b in buffers
        if b.name in address
    ]
    return Plan(tuple(boxes), rule, bound_of(buffers)[1])


# %%
plans = {name: as_plan(b, place(b)) for name, b in needed.items()}
figure = ui.lifetime_figure(plans["signs_resnet"])
ui.show(figure, alt=ui.lifetime_words(plans["signs_resnet"]))
whose("lifetimes", "alive", "place")

# %% [markdown]
# **Before you go on.** The plan of the five tensors takes 16 more than the lower bound. Find a better one by hand. Which rule would have found it?
#
# <details><summary>Discussion</summary>
#
# Give `a` the bottom, since it lives longest: `a` at 0, `image` and `c` at 48, `b` and `score` at 112. The top is then 144. The order "longest life first" finds
# it, but on another network it may lose. The panel under Explore lets you try orders.
#
# </details>
#
# ### What stays?
#
# The planned part is one end of the arena, the **head**. The other end, the **tail**, holds what stays as long as the network is loaded: a
# small record for each tensor and operator, and for each channel of a layer the multiplier that brings its sums back to 8 bits
# (**requantization**; lab `firmware` builds it). The tail grows down from the top of the arena.
#
# Each record begins at an address that its **alignment** divides: a processor reads a 4-byte number faster from an address that is a multiple of 4, and some
# cannot read it from another one at all. What alignment skips is lost. Four records by hand, in an arena that ends at 96:

# %%
records = [(12, 8), (3, 1), (16, 16), (8, 4)]
wanted = [96 - 12, 80 - 3, 77 - 16, 48 - 8]  # the end of the free part, less the size
rounded = [80, 77, 48, 40]
ui.worked_table(
    [
        {"size": s, "alignment": a, "end - size": w, "rounded down": r}
        for (s, a), w, r in zip(records, wanted, rounded)
    ],
    "Four records from 96 downwards: the tail takes 96 - 40 = 56",
)

# %% [markdown]
# With $p_0$ the end of the arena, record $k$ of size $s_k$ and alignment $a_k$ begins at
#
# $$ p_k = a_k \left\lfloor \frac{p_{k-1} - s_k}{a_k} \right\rfloor, \qquad \text{and the tail takes } p_0 - p_n. $$


# %% tags=["exercise:tail"]
def my_tail_bytes(requests, arena_bytes):
    """Bytes of the tail after all `requests`, a list of (size, alignment).

    The arena goes from 0 to `arena_bytes`; each request is placed as high as possible
    below the one before, at an address that its alignment divides.
    """
    # TODO: the formula above, request by request.
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
        *((*records(), "records drawn at random") for _ in range(4)),
    ]
    told = {(tuple(r), a): tested for r, a, tested in cases}

    def down(requests, arena, step=lambda a, s, al: (a - s) // al * al):
        address = arena
        for size, alignment in requests:
            address = step(address, size, alignment)
        return arena - address

    def total(requests, arena, step):
        used = 0
        for size, alignment in requests:
            used = step(used, size, alignment)
        return used

    def once(requests, arena):
        most = max([a for _, a in requests], default=1)
        return arena - (arena - sum(s for s, _ in requests)) // most * most

    c.each(
        lambda requests, arena: tail_bytes(list(requests), arena),
        list(told),
        down,
        tested=lambda requests, arena: told[requests, arena],
        mistakes={
            "the alignment is ignored": lambda r, n: sum(s for s, _ in r),
            "the sizes were rounded up, but it is the address that must be divisible": lambda r, n: (
                sum(up(s, a) for s, a in r)
            ),
            "the bytes so far were rounded up, but it is the address that must be divisible": lambda r, n: (
                total(r, n, lambda used, s, a: up(used + s, a))
            ),
            "the address was rounded first; round after you subtract: the record begins at the lower end": lambda r, n: (
                down(r, n, lambda top, s, a: top // a * a - s)
            ),
            "the address was rounded up, into the record above": lambda r, n: down(
                r, n, lambda top, s, a: up(top - s, a)
            ),
            "the address was rounded to the nearest: it may only go down": lambda r, n: (
                down(r, n, lambda top, s, a: round((top - s) / a) * a)
            ),
            "this is a tail that grows up from 0": lambda r, n: total(
                r, n, lambda used, s, a: up(used, a) + s
            ),
            "this is the address, not the bytes above it": lambda r, n: n - down(r, n),
            "the requests were taken from behind: they come in their order": lambda r, n: (
                down(r[::-1], n)
            ),
            "the requests were sorted: they come in their order": lambda r, n: down(
                sorted(r, reverse=True), n
            ),
            "the address was rounded only once, at the end": once,
            "the sign is wrong: these are bytes below the end": lambda r, n: (
                -down(r, n)
            ),
            "size and alignment were exchanged: a request is (size, alignment)": lambda r, n: (
                down(r, n, lambda top, s, a: (top - a) // s * s)
            ),
            "every address was rounded to 16: each record has an alignment of its own": lambda r, n: (
                down(r, n, lambda top, s, a: (top - s) // 16 * 16)
            ),
            "only the first request was placed: is there a return inside of the loop?": lambda r, n: (
                down(r[:1], n)
            ),
            "the quotient is not an address: multiply it by the alignment again": lambda r, n: (
                down(r, n, lambda top, s, a: (top - s) // a)
            ),
            "a small record was made as large as its alignment: round the address down": lambda r, n: (
                sum(max(s, a) for s, a in r)
            ),
            "a whole alignment was added to each record: only what is left over is lost": lambda r, n: (
                down(r, n, lambda top, s, a: (top - s) // a * a - a)
            ),
            "size and alignment were both subtracted: only what is left over is lost": lambda r, n: (
                sum(s + a for s, a in r)
            ),
            "this is what is left over, not the address: subtract it": lambda r, n: (
                down(r, n, lambda top, s, a: (top - s) % a)
            ),
            "what is left over was added: the address may only go down": lambda r, n: (
                down(r, n, lambda top, s, a: top - s + (top - s) % a)
            ),
            "only the last request was placed: go on below the one before": lambda r, n: (
                down(r[-1:], n)
            ),
            "the sizes were not subtracted": lambda r, n: down(
                r, n, lambda top, s, a: top // a * a
            ),
            "these are the lost bytes alone: the records count, too": lambda r, n: (
                down(r, n) - sum(s for s, _ in r)
            ),
            "every address was rounded to the largest alignment: each record has its own": lambda r, n: (
                down([(s, max(b for _, b in r)) for s, _ in r], n)
            ),
            "every address was rounded to 4: each record has an alignment of its own": lambda r, n: (
                down([(s, 4) for s, _ in r], n)
            ),
            "every address was rounded to 8: each record has an alignment of its own": lambda r, n: (
                down([(s, 8) for s, _ in r], n)
            ),
            "the size was rounded down: subtract it, then round the address": lambda r, n: (
                down(r, n, lambda top, s, a: top - s // a * a)
            ),
            "the end of the arena was rounded first: it is what it is": lambda r, n: (
                down(r, n // 16 * 16)
            ),
            "these are the addresses: the bytes of the whole tail are asked for": lambda r, n: (
                [n - down(r[: k + 1], n) for k in range(len(r))]
            ),
        },
    )
    c.equal(tail_bytes([], 512), 0, tested="no request")


# %% tags=["check:tail"]
tail_bytes = check("tail", my_tail_bytes, plain.tail_bytes)

# %% [markdown]
# The small tail with your function, record by record, and then the real one. The package lists the records of TFLM for a Cortex-M4 (the processor of many
# microcontrollers, with addresses of 32 bits), your function adds them up. Each bar is what one kind of record adds. A **kernel** is the code of one operator.

# %% tags=["folded"]
ends = [96 - tail_bytes(records[:n], 96) for n in range(len(records) + 1)]
boxes = [(low, low + size, "", "tail") for low, (size, _) in zip(ends[1:], records)]
boxes += [
    (low + size, high, "", "lost")
    for high, low, (size, _) in zip(ends, ends[1:], records)
    if low + size < high
]
title = f"Your tail of four records: {96 - ends[-1]} bytes, the lost ones dashed"
sound = all(low + size <= high for high, low, (size, _) in zip(ends, ends[1:], records))
if sound:
    ui.memory_ribbon(boxes, 96, title).show()
whose("tail")


# %% tags=["setup"]
def records_of(arena):
    """(size, alignment) of each record of a tail, in the order of TFLM."""
    return [(item.size_bytes, item.align_bytes) for item in arena.items]


def tail_kinds(arena):
    """{what records are for: bytes that they add to the tail}, by your function."""
    kinds = ("the interpreter", "tensors", "operators", "buffers of kernels")
    found, before = dict.fromkeys(kinds, 0), 0
    for number, item in enumerate(arena.items, 1):
        words = {"tensor": 1, "operator": 2, "kernels' data": 2, "buffers of": 3}
        kind = kinds[next((i for w, i in words.items() if w in item.kind), 0)]
        after = tail_bytes(records_of(arena)[:number], 2**20)
        found[kind] += after - before
        before = after
    return found


# %% tags=["folded"]
kinds = {n: tail_kinds(arena) for n, arena in on_core.items()}
most = max(kinds["signs_dscnn"], key=kinds["signs_dscnn"].get)
figure = ui.grouped_bars(
    list(kinds),
    {k: [found[k] for found in kinds.values()] for k in kinds["signs_dscnn"]},
    title=f"Tails on a Cortex-M4; signs_dscnn: most for {most}",
    y="bytes of the tail",
)
ui.show(figure, alt="Bars by network and kind of record. " + figure.layout.title.text)
whose("tail")

# %% [markdown]
# **Before you go on.** Which part of the tail grows with the width of a network, and which with its depth?
#
# <details><summary>Discussion</summary>
#
# The buffers of the kernels hold two 32-bit numbers for each output channel, so they grow with the width. The records of tensors, operators and options come once for
# each tensor or operator, so they grow with the depth. A network of very few numbers still pays for its records.
#
# </details>
#
# ### How small may the arena be?
#
# You can compute the arena, and you can also ask the real interpreter: give it an arena of some size, load the network, run it, see whether the answers are those that it
# gives with ample room. An attempt takes time, so halve the interval between what works and what does not (**bisection**). By hand, in steps of 1,
# where 8 works and the smallest size that works is 6:

# %%
ui.halving([(4, False), (6, True), (5, False)], enough=8)

# %% [markdown]
# Each attempt halves what is open, so between 0 and $E$ in steps of $g$ the number of attempts is about
#
# $$ n \approx \log_2 \frac{E}{g}. $$
#
# For a megabyte in steps of 16 that is $\log_2 65536 = 16$, and not $65536$.


# %% tags=["exercise:smallest_arena"]
def my_smallest_arena(works, enough, step=16):
    """The smallest multiple of `step` for which `works(bytes)` is true.

    `enough` is a multiple of `step` that works; 0 does not. Whatever is larger than a
    size that works, works, too.
    """
    # TODO: keep a size that does not work and one that does; when are you done?
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

    def early(found, least, enough, step):
        """What is found, where it is a size that a halving passes on its way."""
        low, high, passed = 0, enough // step, []
        while high - low > 1:
            middle = (low + high) // 2
            works = middle * step >= least
            low, high = (low, middle) if works else (middle, high)
            passed.append(high * step)
        return found if found in passed and found not in (least, enough) else -1

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
        odd = [size for size in asked if size % step]
        c.that(
            not odd or found == least * step,
            tested="that every size tried is a multiple of the step",
            found=f"an attempt with {odd[0] if odd else 0} bytes",
            mistake="halve the number of steps, not the number of bytes",
        )
        c.equal(
            found,
            least,
            tested=f"an arena of {least:,} bytes, looked for below {enough:,} in steps of {step}",
            mistakes={
                "these are both ends of the interval: the size that works is asked for": (
                    (least - step, least)
                ),
                "this is the last size that does not work": least - step,
                "this is one step too much": least + step,
                "this is what halving finds; go on between it and its half": halved,
                "halving was not followed by a search upwards": halved // 2,
                "the answer is in steps, not in bytes": least // step,
                "the last size that does not work, and in steps": least // step - 1,
                "the argument step is ignored: it is not always 16": -(-least // 16)
                * 16,
                "nothing was searched, or what works became the lower end: this is where the search starts": enough,
                "`works` takes bytes: it was asked about the number of steps": least
                * step,
                "one byte less does not work, but it is no multiple of the step": least
                - 1,
                "the search ended too early: go on until the sizes are neighbours": early(
                    found, least, enough, step
                ),
            },
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
smallest_arena = check("smallest_arena", my_smallest_arena, plain.smallest_arena)

# %% [markdown]
# Now with the real TFLM, which also runs on this computer (on Linux with an x86-64 processor; elsewhere the lab says so and shows the computed figures alone).
# Each attempt starts it anew, in a process of its own, because an arena that is much too small can crash it.


# %% tags=["setup"]
def real_arena(path):
    """What the real interpreter placed in its arena; None where it does not run."""
    try:
        with TFLMEngine(path) as engine:
            return engine.allocations()
    except MissingFramework:
        return None


def search_on_tflm(model):
    """(the smallest arena, attempts) by your bisection on the real interpreter."""
    with ArenaTrials(model.path) as outcome:
        enough = 2 * up16(outcome.used_bytes)
        least = smallest_arena(lambda size: outcome(size) == "works", enough)
        return least, [(size, said == "works") for size, said in outcome.attempts]


# %%
real = {name: real_arena(model.path) for name, model in models.items()}
tflm_here = all(real.values())
mine = {name: search_on_tflm(m) for name, m in models.items()} if tflm_here else {}

# %% tags=["folded"]
if tflm_here:
    used, (least, tried) = real["digits_mlp"].total, mine["digits_mlp"]
    ui.halving(
        tried,
        2 * up16(used),
        title=f"digits_mlp says that it uses {used:,} bytes, and needs {least:,} to start",
    ).show()
whose("smallest_arena")

# %% [markdown]
# **Before you go on.** The usual advice is: start with a large arena, load the network, read `arena_used_bytes()`, and set the arena to that. What happens to `digits_mlp`?
#
# <details><summary>Discussion</summary>
#
# Where the title above names more than is used, it does not start with that size. While the interpreter prepares, it keeps lists in the very same arena; they are gone
# when you ask what is used. In a small network the lists can need more room than the results that later take their place. A table under "The real tool" adds them up.
#
# </details>
#
# ### What if nobody asks?
#
# Here is how many examples start a network, in C++. It promises the scores of an inference:
#
# ```cpp
# constexpr int kArenaSize = 6 * 1024;        // "should be enough"
# alignas(16) uint8_t arena[kArenaSize];
# MicroInterpreter interpreter(model, resolver, arena, kArenaSize);
# interpreter.AllocateTensors();
# interpreter.Invoke();
# int8_t* scores = interpreter.output(0)->data.int8;
# ```
#
# On its author's network it works. `Board` below makes the same calls in Python, and the real interpreter answers them: `allocate_tensors()` and `invoke()` return `OK`
# or `ERROR`. If they fail, nothing writes the scores, and `output()` shows what lay in that memory. On a chip that can be anything; here it is zeros.

# %% tags=["setup"]
OK, ERROR = "OK", "ERROR"


class Interpreter:
    """TFLM's calls, answered by the real interpreter in an arena of that size."""

    def __init__(self, path, arena_bytes, free_bytes):
        self.path, self.arena_bytes, self.free_bytes = path, arena_bytes, free_bytes
        self.engine, self.scores = None, np.zeros((1, 10))

    def allocate_tensors(self):
        if self.arena_bytes > self.free_bytes:  # such a program does not even link
            return ERROR
        try:
            self.engine = TFLMEngine(self.path, arena_bytes=self.arena_bytes)
        except (BadFile, EngineCrash):  # on a chip a crash is a reset
            return ERROR
        return OK

    def invoke(self, x):
        self.scores = np.zeros((len(x), 10))
        if self.engine is None:
            return ERROR
        with self.engine as engine:
            self.scores = engine.predict(x)
        return OK

    def output(self):
        return self.scores


# %% tags=["setup"]
class Board:
    """A board with so much memory free; the arena of a model is computed from its file."""

    def __init__(self, free_bytes):
        self.free_bytes = free_bytes

    def interpreter(self, model, arena_bytes):
        return Interpreter(model.path, arena_bytes, self.free_bytes)

    def arena_for(self, model):
        return plan_arena(model, HOST).min_workable


def published(board, model, x):
    """The code above, in Python."""
    interpreter = board.interpreter(model, 6 * 1024)
    interpreter.allocate_tensors()
    interpreter.invoke(x)
    return interpreter.output().argmax(axis=1)


# %% [markdown]
# Let it run on the four networks, and look at what it answers. A machine monitor that says `normal` for ever is not a small mistake.

# %% tags=["setup", "folded"]
board = Board(find_device(device).sram_bytes)


def tried_on(way):
    """{network: the classes that `way` names for some test items, or None}"""
    found = {}
    for name, model in models.items():
        found[name] = way(board, model, sets[name.split("_")[0]].test.x[:20])
    return found


def said_of(name, found):
    """(what was answered, how many of the items that is right for)"""
    if found is None:
        return "does not start, and says so", ""
    part = sets[name.split("_")[0]]
    right = int((np.asarray(found) == part.test.y[: len(found)]).sum())
    each = set(np.asarray(found).tolist())
    words = f"{len(each)} classes"
    if len(each) == 1:
        words = f"always `{part.class_names[each.pop()]}`"
    return words, f"{right} of {len(found)}"


# %% tags=["folded"]
as_published = tried_on(published) if tflm_here else {}
if tflm_here:
    pages = [
        {
            "network": n,
            "arena, needed": arenas[n][HOST].min_workable,
            "answers": said_of(n, found)[0].replace("`", ""),
            "right": said_of(n, found)[1],
        }
        for n, found in as_published.items()
    ]
    ui.worked_table(pages, f"With an arena of {6 * 1024:,} bytes, as published").show()

# %% [markdown]
# What the arena $A$ must have is the larger of two needs: head $H$ and tail $T$ together once it runs, and the lists $P$ while it plans.
#
# $$ A \;\ge\; \max(H + T,\; P) $$
#
# The package sums that up from the file, and `board.arena_for(model)` tells it. **Mend the code**, so that it is right on every board: with other networks than the
# author's, with too little memory, and with a network that the interpreter refuses. A board that cannot answer must say so.


# %% tags=["exercise:classify"]
def my_classify(board, model, x):
    """The class of each input in `x`, or None where this board cannot run the model."""
    # TODO: mend this. Where does 6 * 1024 come from, and who looks at the statuses?
    ### BEGIN SOLUTION
    interpreter = board.interpreter(model, board.arena_for(model))
    if interpreter.allocate_tensors() != OK or interpreter.invoke(x) != OK:
        return None
    return interpreter.output().argmax(axis=1)
    ### GIVEN
    # interpreter = board.interpreter(model, 6 * 1024)
    # interpreter.allocate_tensors()
    # interpreter.invoke(x)
    # return interpreter.output().argmax(axis=1)
    ### END SOLUTION


# %% [markdown] tags=["hints:classify"]
# 1. Two things are wrong: a number that fits one network, and two answers that nobody reads.
# 2. `board.arena_for(model)` in place of the number. Both calls return `OK` or `ERROR`; after an `ERROR` the scores are not scores.
# 3. `if interpreter.allocate_tensors() != OK or interpreter.invoke(x) != OK: return None`, and only then the scores.


# %% tags=["check:classify", "hidden"]
@checks("classify")
def _(c, classify):
    from types import SimpleNamespace

    OK, ERROR = "OK", "ERROR"

    class FakeInterpreter:
        """Refuses too small arenas; what was not written shows the last inference of somebody else."""

        def __init__(self, model, arena, board):
            self.model, self.arena, self.board = model, arena, board
            self.started, self.memory = False, None
            board.asked.append(arena)

        def allocate_tensors(self):
            m = self.model
            self.board.allocated += 1
            self.started = m.needs <= self.arena <= self.board.free_bytes
            self.started = self.started and not m.refused
            self.board.started = self.started
            return OK if self.started else ERROR

        def invoke(self, x):
            self.board.invoked.append(np.shape(x))
            old = np.eye(7)[np.full(len(x), 6)]
            self.memory = old
            if not self.started or np.shape(x)[1:] != (4,):
                return ERROR
            self.memory = np.eye(7)[np.asarray(x, float).argmax(axis=1)]
            return OK

        def arena_used_bytes(self):
            return self.model.used

        def output(self):
            return self.memory if self.memory is not None else np.eye(7)[[6]]

    class FakeBoard:
        def __init__(self, free_bytes):
            self.free_bytes, self.asked, self.allocated = free_bytes, [], 0
            self.started, self.invoked = False, []

        def interpreter(self, model, arena_bytes):
            return FakeInterpreter(model, arena_bytes, self)

        def arena_for(self, model):
            return model.needs

    def network(needs, used=0, refused=False):
        return SimpleNamespace(
            path=Path("x.tflite"),
            needs=needs,
            used=used or needs,
            refused=refused,
            content=b"",
        )

    def items(width=4):
        return c.rng.permuted(np.tile(np.arange(width, dtype=float), (5, 1)), axis=1)

    drawn = 16 * int(c.rng.integers(500, 900))
    cases = [
        (1936, 1600, 4096, False, 4, "a small network on a board with enough memory"),
        (1936, 1600, 1936, False, 4, "a board that has just what the network needs"),
        (drawn, 0, 65536, False, 4, "a network that needs more than 6 KiB"),
        (65600, 0, 65536, False, 4, "a network that needs more than the board has"),
        (2048, 0, 65536, True, 4, "a network that the interpreter refuses"),
        (2048, 0, 65536, False, 5, "an input that the network does not take"),
    ]
    for needs, used, free, refused, width, tested in cases:
        x = items(width)
        starts = needs <= free and not refused and width == 4
        fake = FakeBoard(free)
        got = classify(fake, network(needs, used, refused), x.copy())
        stale = np.full(len(x), 6)
        if not starts:
            why = (
                "the status of invoke() was not looked at"
                if width != 4
                else "the status of allocate_tensors() was not looked at, and what came after it went on"
            )
            odd = got is not None and np.shape(got) == np.shape(stale)
            c.that(
                got is None,
                tested=tested,
                found=f"{np.asarray(got).tolist() if got is not None else got}; None is wanted, since nothing was computed",
                mistake=f"{why}: this is what lay in the memory"
                if odd and (np.asarray(got) == 6).all()
                else "return None where the board cannot answer",
            )
            continue
        right = x.argmax(axis=1)
        c.that(
            got is not None,
            tested=tested,
            found="None, and the network runs there",
            mistake="no interpreter was asked for: the board was given up too early"
            if not fake.asked
            else "the tensors were never allocated: that comes before invoke()"
            if not fake.allocated
            else "invoke() takes all inputs at once, not one of them"
            if fake.started and fake.invoked and fake.invoked[-1] != x.shape
            else "allocate_tensors() returned OK, and None came all the same: what is compared with what?"
            if fake.started
            else "the arena is a size that was guessed, or one that the interpreter says to use afterwards: take what the file needs",
        )
        c.that(
            bool(fake.invoked),
            tested=tested,
            found=f"{np.asarray(got).tolist()}, and invoke() was not called",
            mistake="nothing was computed: with `and` Python asks the second call only if the first failed",
        )
        scores = np.eye(7)[right]
        c.equal(
            np.asarray(got),
            right,
            tested=tested,
            mistakes={
                "these are the largest scores, not their places: argmax": scores.max(1),
                "this is the best input of each class: argmax needs axis=1": (
                    scores.argmax(axis=0)
                ),
                "the arena was too small, and nobody looked at the status: this is what lay in the memory": stale,
                "these are the scores: the class of each input is asked for": np.eye(7)[
                    right
                ],
                "this is one number for all inputs: argmax needs axis=1": np.asarray(
                    int(np.eye(7)[right].argmax())
                ),
                "this is the class of the first input alone": np.asarray(right[0]),
            },
        )


# %% tags=["check:classify"]
classify = check("classify", my_classify, plain.classify)

# %% [markdown]
# The mended code on the same board. Where the real interpreter needs more than the chip has, it now says so.

# %%
as_mended = tried_on(classify) if tflm_here else {}
if tflm_here:
    rows = [
        (n, *said_of(n, as_published[n]), *said_of(n, as_mended[n])) for n in models
    ]
    columns = ("network", "published: answers", "right", "mended: answers", "right")
    display(Table("The same networks on the same board", columns, rows))
whose("classify")


# %% tags=["finding:start"]
def finding_start(stuck, silent, mended):
    if not stuck:
        return "TFLM does not run on this machine, so nothing here was started."
    text = f"As published, {silent} of {stuck} networks answer without having run. "
    if mended:
        return text + f"Mended, {mended} still do."
    return text + "Mended, each either runs or says that it cannot."


def unfounded(found, mended):
    """How many answer although the real interpreter did not start in that arena."""
    size = {n: arenas[n][HOST].min_workable for n in models}
    limit = board.free_bytes if mended else 6 * 1024
    return sum(size[n] > limit and answer is not None for n, answer in found.items())


if tflm_here:
    counts = (
        len(models),
        unfounded(as_published, False),
        unfounded(as_mended, True),
    )
else:
    counts = (0, 0, 0)
finding(finding_start, *counts)

# %% [markdown]
# **Before you go on.** Why does the author of such an example never see the fault?
#
# <details><summary>Discussion</summary>
#
# The size was found by trial on the author's network, and there every call succeeds. The fault needs another network, a retrained one that is a little wider, or a newer
# version of the interpreter whose records are larger. A status that nobody reads turns a refusal, which is easy to mend, into wrong answers in the field.
#
# </details>
#
# ### Does it fit on the chip?
#
# Flash takes the file and the interpreter's code. SRAM takes the arena and the stack, and a share of it should stay free (**headroom**): for what your program adds, and for a
# network that grows. The arena is **one** array: it has to lie in one piece of SRAM, and many chips have several. Two small chips by hand, for a network that needs 150 of flash
# and 40 of SRAM with its stack, with a fifth to stay free (in KiB):

# %% tags=["folded"]
two_chips = [("X", 256, 48), ("Y", 128, 64)]
ui.worked_table(
    [
        {
            "chip": name,
            "flash": flash,
            "needs": 150,
            "largest SRAM": sram,
            "may be used": 0.8 * sram,
            "needs ": 40,
            "broken": ", ".join(
                word
                for word, fails in (("flash", flash < 150), ("SRAM", 0.8 * sram < 40))
                if fails
            ),
        }
        for name, flash, sram in two_chips
    ],
    "Two chips: X has too little SRAM once a fifth stays free, Y too little flash",
)

# %% [markdown]
# With arena $A$, stack $K$ and headroom $h$, a network fits if
#
# $$ F \le F_{\text{chip}} \qquad \text{and} \qquad A + K \le (1 - h)\, R_{\text{chip}}. $$
#
# Your function lists what is broken, so that whoever reads it knows all of it.


# %% tags=["exercise:broken"]
def my_broken(flash_bytes, arena_bytes, stack_bytes, chip, headroom=0.2):
    """What a network breaks on a chip: "flash", "SRAM", both in this order, or [].

    `chip` has `flash_bytes`, `sram_bytes` (the largest piece) and `sram_total_bytes`.
    Flash needs no headroom. What fits exactly, fits.
    """
    # TODO: two comparisons, and a name for each that fails.
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
            *(50, 48, 2, 0.2, [], "half of the largest piece"),
            {"headroom is what stays free, not what may be used": ["SRAM"]},
            {},
        ),
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
            {"flash needs no headroom, and the arena is no part of it": ["flash"]},
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
            not isinstance(got, (str, dict, set, bool, type(None))),
            tested="the answer",
            found=f"{got!r}; return a list of names, in this order",
        )
        got = list(got)
        words = {"flash": "flash", "sram": "SRAM", "ram": "SRAM"}
        named = [words.get(str(word).lower(), word) for word in got]
        c.that(
            got == named,
            tested="the names",
            found=f'{got}; the names are "flash" and "SRAM"',
        )
        every = {
            "flash and SRAM are exchanged": [
                {"flash": "SRAM", "SRAM": "flash"}[word] for word in right
            ]
            if len(right) == 1
            else right + ["?"],
            "these are the limits that hold: name those that are broken": [
                word for word in ("flash", "SRAM") if word not in right
            ],
        }
        c.equal(
            got,
            right,
            tested=tested,
            mistakes={**mistakes, **every},
            remember=remember,
        )
    c.equal(
        list(broken(1000, 85_000 * grow, 1000, chip)),
        ["SRAM"],
        tested="headroom left out, which means 0.2",
        mistakes={"the default of headroom was changed": []},
    )


# %% tags=["check:broken"]
broken = check("broken", my_broken, plain.broken)

# %% [markdown]
# Which microcontrollers can take `signs_dscnn`? Those above and to the right of the network's point can. (A chip beyond the ends of the axes has more of both.)


# %% tags=["setup"]
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
chips = [d for d in all_devices() if d.kind == "microcontroller"]
flash = len(models["signs_dscnn"].content) + INTERPRETER_CODE_BYTES
arena = on_core["signs_dscnn"].min_workable
breaks = [list(broken(flash, arena, STACK_BYTES, d, headroom)) for d in chips]
fitting = [not found for found in breaks]

# %% tags=["folded"]
figure = map_of_devices(
    chips,
    fitting,
    flash,
    arena + STACK_BYTES,
    headroom,
    f"signs_dscnn fits on {sum(fitting)} of {len(chips)} microcontrollers",
)
ui.show(
    figure,
    alt="Devices by flash and usable SRAM; the network's needs as a point. Too small: "
    + ", ".join(d.name for d, fits in zip(chips, fitting) if not fits),
)
whose("broken")

# %% [markdown]
# **Before you go on.** Your function looks at the largest piece of SRAM. Which devices would seem to fit if you looked at all of their SRAM?
#
# <details><summary>Discussion</summary>
#
# Chips with SRAM in several pieces at different addresses: compare `sram_bytes` and `sram_total_bytes` in `all_devices()`. An array cannot
# lie half in one piece and half in another. The other pieces serve for the stack, for audio or for images, if you tell the linker so.
#
# </details>
#
# %% [markdown]
# ## The real tool
#
# ### Your bytes and TFLM's
#
# You have a planner and a tail. The real interpreter says what it placed: its head and its tail. Compare them, byte by byte.

# %%
host = {name: arenas[name][HOST] for name in models}
your_tails = {n: tail_bytes(records_of(a), 2**20) for n, a in host.items()}
rows = []
for name, plan in plans.items():
    found = real[name] if tflm_here else None
    head, tail = (found.head, found.tail) if found else (None, None)
    off = None if head is None else plan.size_bytes - head
    rows.append((name, plan.size_bytes, head, off, your_tails[name], tail))

# %% tags=["folded"]
Table(
    "Your arena and TFLM's, in bytes, on this computer",
    ("network", "your head", "TFLM's head", "off by", "your tail", "TFLM's tail"),
    rows,
    "TFLM's figures are measured."
    if tflm_here
    else "TFLM does not run on this machine: the computed figures stand alone.",
)

# %% [markdown]
# The first reading is the largest difference of the heads, the second that of the tails.

# %%
differences = {row[0]: row[3] for row in rows}
tail_differences = {row[0]: row[4] - row[5] if tflm_here else None for row in rows}
if tflm_here:
    by = f"head of TFLM against the planner above, {len(rows)} networks"
    off = max(abs(d) for d in differences.values())
    record("planner.largest_difference", Reading(off, "bytes", "measured", by))
    by = f"tail of TFLM against the sum above, {len(rows)} networks"
    off = max(abs(d) for d in tail_differences.values())
    record("tail.largest_difference", Reading(off, "bytes", "measured", by))
whose("lifetimes", "place", "tail")


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


finding(finding_planner, differences)


# %% tags=["finding:tail"]
def finding_tail(differences):
    if None in differences.values():
        return "TFLM does not run on this machine, so nothing here judges the tail."
    off = {name: d for name, d in differences.items() if d}
    if not off:
        return (
            f"On each of the {len(differences)} networks the tail above has "
            "as many bytes as TFLM's, to the byte."
        )
    largest = max(off.values(), key=abs)
    return f"Not TFLM's tail on {listed(list(off))}: up to {largest:+,} bytes."


finding(finding_tail, tail_differences)

# %% [markdown]
# Now the whole arena on the chip, over time: your head with its tensors and its **scratch buffers** (hatched), and your tail above it, which is there at every step. Choose a network. For
# which is the tail more than a detail?

# %%
core_plans = {}
for name, model in models.items():
    buffers = buffers_of(model, CORE)
    core_plans[name] = as_plan(buffers, place(buffers))


def whole_arena(network):
    plan, tail = core_plans[network], tail_kinds(on_core[network])
    head, rest = plan.size_bytes, sum(tail.values())
    title = (
        f"{network}: head {head:,} bytes, tail {rest:,} bytes, "
        f"{100 * rest / (head + rest):.0f}% of the arena"
    )
    return ui.arena_figure(plan, tail, title=title)


ui.Panel(
    whole_arena,
    title="Head, scratch and tail",
    alt="A map of the arena over steps and addresses, the tail on top.",
    network=ui.choice(list(models), value="vibration_cnn1d", label="network"),
)

# %% tags=["folded"]
ratio = on_core["signs_dscnn"].total / weight_bytes["signs_dscnn"]
by = "arena on a Cortex-M4 over bytes of the weights"
guess_arena.against(record("arena_to_weights", Reading(ratio, "x", "modelled", by)))
whose("lifetimes", "alive", "place", "tail")

# %% [markdown]
# On a Cortex-M pointers are half as long as on your computer, so the tail is smaller there.

# %% tags=["folded"]
host_tails, core_tails = ([a[t].tail for a in arenas.values()] for t in (HOST, CORE))
more = [100 * (h / c - 1) for h, c in zip(host_tails, core_tails)]
share = [100 * a[CORE].tail / a[CORE].total for a in arenas.values()]
figure = ui.grouped_bars(
    list(models),
    {
        "this computer": [Reading(n, "bytes", "modelled", HOST) for n in host_tails],
        "Cortex-M4": [Reading(n, "bytes", "modelled", CORE) for n in core_tails],
    },
    title=f"The chip's tail is {min(share):.0f} to {max(share):.0f} percent of its "
    f"arena; here it is {min(more):.0f} to {max(more):.0f} percent larger",
    y="bytes of the tail",
)
ui.show(figure, alt="Bars of the tail of each network. " + figure.layout.title.text)

# %% [markdown]
# ### Used, needed, computed
#
# The package's `arena_search` does what your bisection does, with one precaution more: it looks a little above the size that it found, because a size below the true one
# can work by luck, where two buffers overlap and nobody notices. Compare what the interpreter says that it uses with what it needs.

# %%
searches = {}
if tflm_here:
    searches = {name: arena_search(model.path) for name, model in models.items()}
rows = []
for name in models:
    modelled, found = arenas[name][HOST], searches.get(name)
    said, needs = (real[name].total, found.min_workable) if found else (None, None)
    yours = mine[name][0] if found else None
    sums = (modelled.min_workable, modelled.limited_by)
    rows.append((name, said, yours, needs, *sums))

# %% tags=["folded"]
Table(
    "Used, needed, computed: the interpreter on this computer, in bytes",
    ("network", "used", "your bisection", "arena_search", "computed", "set by"),
    rows,
    "The first three are measured."
    if tflm_here
    else "TFLM does not run on this machine: no measured figures.",
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
# Where the last column says *planning*, the lists decide that the interpreter keeps while it prepares: a note for each scratch buffer that an operator may ask for, one for each
# tensor, and one for each buffer that is to be placed. For `digits_mlp`, added up from the sizes of TFLM's records:

# %% tags=["folded"]
sizes = build_of(HOST)
mlp = models["digits_mlp"]
notes = sizes.request.size * sizes.requests_in_reserve + sizes.pointer
infos = sizes.allocation_info.size * len(mlp.tensors)
lists = sizes.planner_bytes_per_buffer * len(needed["digits_mlp"])
ends = ("input and output tensors",)
before = sum(n for k, n in arenas["digits_mlp"][HOST].kinds().items() if k not in ends)
ui.worked_table(
    [
        {"what is there while it plans": "room for requests", "bytes": notes},
        {"what is there while it plans": "a note for each tensor", "bytes": infos},
        {"what is there while it plans": "a note for each buffer", "bytes": lists},
        {"what is there while it plans": "the tail so far", "bytes": before},
        {
            "what is there while it plans": "sum",
            "bytes": notes + infos + lists + before,
        },
        {
            "what is there while it plans": "with what alignment adds",
            "bytes": arenas["digits_mlp"][HOST].min_workable,
        },
    ],
    f"digits_mlp: the plan itself and its tail take {host['digits_mlp'].total:,} bytes",
)

# %%
if tflm_here:
    needs, used = searches["digits_mlp"].min_workable, real["digits_mlp"].total
    way = ("measured", "bisection of TFLM on this computer")
else:
    needs, used = host["digits_mlp"].min_workable, host["digits_mlp"].total
    way = ("modelled", "plan_arena for the x86-64 interpreter")
margin = record("digits.needed_over_used", Reading(100 * (needs / used - 1), "%", *way))
guess_margin.against(margin)

# %% [markdown]
# The same on the chip, with CMSIS-NN, Arm's fast kernels. You cannot run the search there without a board, but the sizes of TFLM's records on a 32-bit processor are known, and the
# sum follows. (This package holds its sums against TFLM that was built for a Cortex-M4 and run on an emulated one.) These are the
# numbers to put into your firmware.

# %% tags=["folded"]
for name, arena in on_core.items():
    by = f"{arena.by}; limited by {arena.limited_by}"
    reading = Reading(arena.min_workable, "bytes", "modelled", by)
    record(f"arena.cortex_m.{name}", reading)

# %% [markdown]
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


# %% tags=["folded"]
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
ui.show(figure, alt="Bars for each network. " + figure.layout.title.text)

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
# First fit by size is quick, not best. The package also tries other orders and exchanges buffers in a search. And it knows a trick that TFLM does not use: an
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

# %% tags=["folded"]
Table(
    "Bytes of the head on a Cortex-M4: TFLM's plan, and the best one found",
    ("network", "TFLM's", "lower bound", "best", "lower bound in place"),
    rows,
)

# %% [markdown]
# What each of the three ways saves: no `PAD`, another order, writing in place.

# %%
heads = {row[0]: row[1] for row in rows}
best_heads = {row[0]: row[3] for row in rows}


def less(name, smaller, larger, by):
    """Record how many percent one size is below another."""
    saved = Reading(100 * (1 - smaller / larger), "%", "modelled", by)
    return record(name, saved)


# %% tags=["folded"]
less("saved.no_pad", heads["relu6"], heads["signs_dscnn"], "relu6 and signs_dscnn")
less("saved.order", best_heads["signs_resnet"], heads["signs_resnet"], "best order")
saved = less(
    "saved.in_place", best_heads["hard_swish"], heads["hard_swish"], "in place"
)

# %% [markdown]
# ### Which devices remain, and what would help?
#
# `fit` does what your `broken` does for every device of its table, and adds a reason and the smallest change that would help. `device` in the parameters cell is the
# chip of this story; the table adds the others that fail. Do both agree on who fails?

# %%
quick = {"accelerators": False, "measured": False}
report = fit(models["signs_dscnn"], headroom=headroom, **quick)
micros = [d for d in report.devices if d.device.kind == "microcontroller"]
left = record(
    "devices.signs_dscnn",
    Reading(sum(d.fits for d in micros), "devices", "modelled", "edgelab.mcu.fit"),
)

# %% tags=["folded"]
own_word = dict(zip((d.name for d in chips), breaks, strict=True))
story = next(d for d in report.devices if d.device.name == find_device(device).name)
failing = [d for d in micros if not d.fits and d is not story]
Table(
    f"signs_dscnn with {headroom:.0%} of the SRAM free",
    ("device", "fits", "your function", "SRAM free", "why not", "change"),
    [
        (
            d.device.name,
            d.fits,
            ", ".join(own_word.get(d.device.name, [])) or "nothing broken",
            f"{d.headroom:.1%}",
            *(d.reasons[:1] or ("",)),
            d.change,
        )
        for d in [story, *failing]
    ],
    "Modelled; a negative share is what is missing.",
)

# %% [markdown]
# Before you train a smaller network: do the copies of the `PAD`s decide? `relu6` is the same network without them.

# %%
pads = {"signs_dscnn": story}
pads["relu6"] = fit(tried["relu6"], device, headroom, **quick).devices[0]
Table(
    f"With and without PAD on {story.device.name}",
    ("network", "arena and stack, bytes", "SRAM free", "fits"),
    [(n, d.ram_bytes, f"{d.headroom:.1%}", d.fits) for n, d in pads.items()],
    f"{headroom:.0%} of {story.device.sram_bytes:,} bytes must stay free. Modelled.",
)


# %% tags=["finding:pads"]
def finding_pads(device, with_pads, without):
    fits = {True: "fits", False: "does not fit"}
    text = f"On {device} the network {fits[with_pads]} with its PADs and "
    text += f"{fits[without]} without them: "
    if with_pads == without:
        return f"{text}they do not decide."
    return f"{text}the copies that they make decide."


finding(finding_pads, story.device.name, story.fits, pads["relu6"].fits)

# %% [markdown]
# Does it also answer in time? Nobody can say to the millisecond without the board: on the same chip the slowest published software takes
# <span class="given" title="published results of MLPerf Tiny">six times as long</span> as the fastest. So the estimate has a wide band, and says so.

# %%
timed = [d for d in report.devices if d.device.name in {story.device.name, *examples}]
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
padless = tried["relu6"]
trap = build("normalised", 32, dscnn(32), normalise=True)
boards = {
    name: fit(model, "corstone-300", measured=False).devices[0]
    for name, model in {"without": padless, "with": trap}.items()
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
# **The planner at work.** Choose a network, an order and a gap, and move the slider: each step places one more buffer.
# At its right end all are placed.
#
# - Which order ends closest to the dashed line on `signs_resnet`? Is it the best on the others, too? (`a chain of five` is made of five tensors by hand, each read by the next operator.)
# - Does the tightest gap help, in place of the first?
# - Where does TFLM's rule waste space on `signs_resnet`, and between which lives?
#
# <details><summary>Discussion</summary>
#
# The sentence under the panel counts. An order that wins on many networks can lose on the next one, as on the chain: each of its tensors lives two steps but the last, which is
# the largest and comes when the gaps are cut up. So the planner of a compiler tries several orders and keeps the best. The tightest gap leaves wide gaps whole for large buffers; that helps only if a large one still
# comes, and with the largest first none does. White space under the line lies where a shortcut keeps one tensor in the middle of the memory while large ones come and go on both sides.
#
# </details>


# %%
orders = {
    "largest first": lambda b: -b.size_bytes,
    "first used first": lambda b: (b.first, -b.size_bytes),
    "longest life first": lambda b: (b.first - b.last, -b.size_bytes),
    "smallest first": lambda b: b.size_bytes,
}


def tightest_gap(size, taken):
    """The smallest gap that is large enough, in place of the first."""
    best, free = (math.inf, 0), 0
    for start, end in sorted(taken):
        if size <= start - free < best[0]:
            best = (start - free, free)
        free = max(free, end)
    return best[1] if best[0] < math.inf else free


# %%
def place_by(buffers, order, gap):
    address, done = {}, []
    for b in sorted(reversed(buffers), key=orders[order]):
        meets = [o for o in done if o.first <= b.last and b.first <= o.last]
        taken = [(address[o.name], address[o.name] + o.size_bytes) for o in meets]
        address[b.name] = gap(b.size_bytes, taken)
        done.append(b)
    return address


on_chip_buffers = {n: buffers_of(m, CORE) for n, m in tried.items()}
chain_sizes = [16, 16, 32, 16, 96]
on_chip_buffers["a chain of five"] = [
    Buffer("abcde"[i], size, i, min(i + 1, 4)) for i, size in enumerate(chain_sizes)
]
tallest = {
    name: max(as_plan(b, place_by(b, rule, first_gap)).size_bytes for rule in orders)
    for name, b in on_chip_buffers.items()
}


# %%
def planner(network, order, tight, placed):
    buffers = on_chip_buffers[network]
    address = place_by(buffers, order, tightest_gap if tight else first_gap)
    plan = as_plan(buffers, dict(list(address.items())[:placed]), order)
    return ui.lifetime_figure(
        plan,
        title=f"{min(placed, len(buffers))} of {len(buffers)} buffers, {order}: "
        f"{plan.size_bytes:,} bytes; no plan needs fewer than {plan.lower_bound:,}",
        xaxis_range=[-0.6, max(b.last for b in buffers) + 0.6],
        yaxis_range=[0, 1.05 * tallest[network]],
    )


ui.Panel(
    planner,
    title="The planner at work",
    alt="A map of the arena: bars over steps and addresses, with the lower bound.",
    network=ui.choice(list(on_chip_buffers), value="signs_resnet", label="network"),
    order=ui.choice(list(orders), label="order"),
    tight=ui.toggle(False, label="the tightest gap"),
    placed=ui.slider(1, 30, 1, value=12, label="buffers placed"),
)


# %% tags=["finding:orders"]
def finding_orders(bytes_of):
    names = list(next(iter(bytes_of.values())))
    least = {n: min(sizes[n] for sizes in bytes_of.values()) for n in names}
    wins = {
        rule: sum(sizes[n] == least[n] for n in names)
        for rule, sizes in bytes_of.items()
    }
    counts = listed([f"{rule} on {won}" for rule, won in wins.items()])
    text = f"Of {len(names)} networks, each with the first gap, the fewest bytes: {counts}. "
    if len(names) in wins.values():
        return text + "Here one order is never beaten."
    return text + "No order is the best on all of them."


finding(
    finding_orders,
    {
        rule: {
            name: as_plan(b, place_by(b, rule, first_gap)).size_bytes
            for name, b in on_chip_buffers.items()
        }
        for rule in orders
    },
)

# %% [markdown]
# **The network as dials.** Side of the image, width of the network, and the share of SRAM that you keep free. Start where few devices remain.
#
# - What helps more against a lack of SRAM: half the side, or half the width?
# - And against a lack of flash?
#
# <details><summary>Discussion</summary>
#
# Activations are side times side times width: half the side leaves a quarter of the head, half the width a half of it. The weights of 1x1 convolutions are width times
# width and do not know the side: half the width leaves about a quarter of them, half the side leaves all. So know which of the two memories you lack. And an image of half the side
# has to be recognised, which the panel does not show.
#
# </details>


# %%
def dial(side, width, free):
    model = build("dial", side, dscnn(width))
    arena = plan_arena(model, CORE).min_workable
    flash = len(model.content) + INTERPRETER_CODE_BYTES
    fitting = [not broken(flash, arena, STACK_BYTES, d, free / 100) for d in chips]
    title = (
        f"Arena {arena / 1024:,.1f} KiB, flash {flash / 1024:,.0f} KiB: "
        f"{sum(fitting)} of {len(chips)} microcontrollers remain"
    )
    ram = arena + STACK_BYTES
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
    "operations": by_layer(standard, operator_macs) / by_layer(padless, operator_macs),
    "instructions (modelled)": by_layer(standard, instructions)
    / by_layer(padless, instructions),
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
# ## Challenge
#
# The signs network shall run on an `nrf52832`. The radio needs <span class="given" title="the task">a quarter</span> of its
# <span class="given" title="data sheet">65,536 bytes</span> of SRAM, so arena and stack may take
# <span class="given" title="the task">49,152 bytes</span>. Change the network so that it meets this and loses at most
# <span class="given" title="the task">1 point</span> of accuracy on the validation images. There is no need to train.
#
# You may change `network.stem.stride`, or shrink the image: that saves more than enough, and loses far too much. Where is the peak, and which of the things that are
# alive there carry an answer? What does `SAME` do with another kernel size, and which zeros could you add to a kernel that change no answer? Of how many
# channels does the tensor at the peak consist, and do all of them matter?


# %% tags=["challenge:shrink", "hidden"]
def reference():
    """4x4 kernels with a row and a column of zeros need no PAD; four stem channels of least effect go."""
    small = copy.deepcopy(nets.load("signs_dscnn"))
    for name in ("depthwise1", "depthwise4"):
        conv = small.get_submodule(name).conv
        grown = torch.nn.functional.pad(conv.weight.detach(), (0, 1, 0, 1))
        conv.weight, conv.kernel_size = torch.nn.Parameter(grown), (4, 4)
    stem, depth, point = small.stem, small.depthwise1, small.pointwise1
    with torch.no_grad():
        seen = depth(stem(torch.from_numpy(sets["signs"].train.x[:100])))
        columns = point.conv.weight[:, :, 0, 0]
        effect = seen.std(dim=(0, 2, 3)) * columns.norm(dim=0)
        order = torch.argsort(effect)
        gone, kept = order[:4], torch.sort(order[4:]).values
        point.norm.running_mean -= columns[:, gone] @ seen.mean(dim=(0, 2, 3))[gone]
        for block in (stem, depth):
            block.conv.weight = torch.nn.Parameter(block.conv.weight[kept])
            block.conv.out_channels = len(kept)
            norm = block.norm
            norm.num_features = len(kept)
            norm.weight = torch.nn.Parameter(norm.weight[kept])
            norm.bias = torch.nn.Parameter(norm.bias[kept])
            norm.running_mean = norm.running_mean[kept]
            norm.running_var = norm.running_var[kept]
        depth.conv.in_channels = depth.conv.groups = len(kept)
        point.conv.weight = torch.nn.Parameter(point.conv.weight[:, kept])
        point.conv.in_channels = len(kept)
    return small


# %% tags=["challenge:shrink"]
# `your_network`: a PyTorch module that takes (N, 3, 32, 32) and gives (N, 10)
### BEGIN SOLUTION
your_network = reference()
### GIVEN
# your_network = None
# # print(nets.load("signs_dscnn")) shows its parts: change a copy of them
### END SOLUTION

# %% [markdown]
# An attempt is exported, sized by `fit` for the chip, started in TFLM, and run on all validation images in LiteRT, which is faster here than TFLM (their kernels may differ by a step of rounding).


# %%
def right_on(path):
    """Which of the validation images the file gets right, in LiteRT."""
    part = sets["signs"].validation
    with open_engine(path, fresh=False) as engine:
        batches = [engine.predict(part.x[i : i + 50]) for i in range(0, 500, 50)]
    return np.concatenate(batches).argmax(axis=1) == part.y


def measured(network):
    part = sets["signs"].train.x[:calibration_items]
    attempts = len(list(work.glob("attempt*.tflite")))
    file = export_int8(network, part, work / f"attempt{attempts}.tflite").path
    needs = fit(read_model(file), "nrf52832", 0.25, **quick).devices[0].ram_bytes
    if tflm_here:
        TFLMEngine(file).close()  # raises if the interpreter refuses the network
    by = "arena and stack on a Cortex-M4, edgelab.mcu.fit"
    lost = quality.difference(before_right, right_on(file)).loss
    return {"SRAM": Reading(needs, "bytes", "modelled", by), "loss": lost}


before_right = right_on(models["signs_dscnn"].path)
challenge(
    "shrink",
    your_network,
    measured,
    Target("SRAM", at_most=49_152, unit="bytes"),
    Target("loss", at_most=1.0, unit="points"),
)

# %% [markdown]
# ## Bring your own
#
# Put the path of your own `.tflite` file into `my_model` in the parameters cell and run from there; `headroom` and `device` hold for it, too. Until
# you do, these cells look at the vibration network. In a terminal: `uv run edgelab fit MODEL.tflite --device NAME`, or
# `uv run edgelab run mcu -p my_model FILE`.

# %%
vibration = models["vibration_cnn1d"].path
own_model = read_model(Path(my_model).expanduser() if my_model else vibration)
own = fit(own_model, headroom=headroom, accelerators=False, compiled=False)
own.arena_table()

# %%
own.operators

# %% [markdown]
# Its arena on a Cortex-M4, and the devices on which it would be tightest.

# %% tags=["folded"]
on_chip = plan_arena(own_model, CORE)
figure = ui.arena_figure(on_chip.plan, on_chip.kinds())
ui.show(figure, alt=figure.layout.meta["alt"])

# %% tags=["folded"]
asked = find_device(device).name
near = sorted(own.devices, key=lambda d: (d.device.name != asked, d.headroom))[:8]
Table(
    f"{own_model.path.name} on {asked} and on the tightest devices",
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
# ## What you found
#
# Made from the readings of this run, on this machine.


# %% tags=["finding:recap_bytes"]
def finding_recap_bytes(heads, tails, lists):
    if None in (*heads.values(), *tails.values()):
        return "Your head and tail were not held against TFLM, which does not run here."
    off = sum(map(bool, heads.values())) + sum(map(bool, tails.values()))
    text = f"Of {len(heads)} heads and {len(tails)} tails, "
    text += f"{off} differ from TFLM's. " if off else "each is TFLM's to the byte. "
    if not lists:
        return text + "The arena in use was enough to start every network."
    more = "more than they use" if len(lists) > 1 else "more than it uses"
    return (
        text + f"To start, {listed(lists)} need{'' if len(lists) > 1 else 's'} {more}."
    )


starved = [
    n
    for n in models
    if (searches.get(n) or arenas[n][HOST]).min_workable
    > (real[n].total if tflm_here else arenas[n][HOST].total)
]
finding(finding_recap_bytes, differences, tail_differences, starved)


# %% tags=["finding:recap_fit"]
def finding_recap_fit(fits, of, device, with_pads, without):
    text = f"`signs_dscnn` fits on {fits} of {of} microcontrollers. "
    if with_pads == without:
        takes = "takes it" if with_pads else "does not take it"
        return f"{text}`{device}` {takes}, with its PADs or without them."
    one, other = ("with", "without") if with_pads else ("without", "with")
    return f"{text}`{device}` takes it {one} its PADs, but not {other} them."


finding(
    finding_recap_fit,
    int(left.value),
    len(micros),
    story.device.name,
    story.fits,
    pads["relu6"].fits,
)

# %% [markdown]
# And what holds on every machine:
#
# - **Flash** holds the file and the code, **SRAM** the arena and the stack. A file is more than its weights: scales and graph cost, too.
# - The least memory is the largest sum of tensors **alive at one step**, not the largest tensor. Look at which operator runs at that step.
# - The arena can be **computed** from the file. If you search for it, search for the smallest one that works; what the interpreter uses afterwards can be too little.
# - Read every **status**. A program that goes on after a refusal gives answers that nobody computed.
# - Activations grow with the **area** of the input, weights with the **width** squared. Know which of the two memories you lack.
# - Check the **operators** before you train. A missing one shows itself at start-up on the device, and a fallback from the accelerator only in its speed.
#
# **Next:** the C code. Generate the network as a program without an interpreter, compile it for a Cortex-M and run that machine code here.
#
# ## Sources
#
# - David et al., *TensorFlow Lite Micro: Embedded Machine Learning on TinyML Systems*, 2021: [arXiv:2010.08678](https://arxiv.org/abs/2010.08678) (the arena, its
#   two ends, the planner).
# - Pisarchyk and Lee, *Efficient Memory Management for Deep Neural Net Inference*, 2020: [arXiv:2001.03288](https://arxiv.org/abs/2001.03288) (the largest first,
#   the lower bound, other orders).
# - TensorFlow Lite for Microcontrollers, [memory management](https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/docs/memory_management.md).
# - Banbury et al., *MLPerf Tiny Benchmark*, 2021: [arXiv:2106.07597](https://arxiv.org/abs/2106.07597) (times on boards).
# - Howard et al., *MobileNets*, 2017: [arXiv:1704.04861](https://arxiv.org/abs/1704.04861) (depthwise-separable networks).
# - Arm, [Vela compiler](https://pypi.org/project/ethos-u-vela/) (what the accelerator takes). What `edgelab.mcu.devices` names for each device.
