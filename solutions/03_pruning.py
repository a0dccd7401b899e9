# ---
# jupyter:
#   edgelab:
#     title: "Pruning: zeros that weigh nothing, and filters that are gone"
#     minutes: 80
#     memory_gb: 3
#     requires: [torch, onnxruntime]
#     optional:
#       torch_pruning: the comparison with torch-pruning
#     form: 2
#     claims: [P1, P2, P3, P4, P5]
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
# # 03 Pruning: zeros that weigh nothing, and filters that are gone
#
# Most weights of a trained network are small, and many can become zero without harm. **But does a network with zeros get smaller, or faster?** You
# prune one in two ways: weight by weight, and filter by filter. You count what each way really saves in bytes and in time, you look for a lottery ticket,
# and you mend a function that says "structured" and is not.
#
# You need: lab `start`, or to know what an ONNX file is. Lab `quantization` is not needed. No network, no GPU. The cells run in about a minute; with
# the exercises plan an hour and a half.

# %% tags=["parameters"]
seed = 0
threads = 1
runs = 120  # timed inferences of each contender
steps = 120  # training steps after pruning
my_checkpoint = ""  # bring your own: a safetensors file for the network of this lab

# %% tags=["setup", "folded"]
import copy
import gzip
import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from IPython.display import display

from edgelab import Reading, Table, data, nets, record, ui
from edgelab.slim import prune, prune_ahead, prune_packed, prune_plain, prune_train
from edgelab.slim.prune_audit import audit
from edgelab.slim.prune_filters import narrowed
from edgelab.convert.onnx import export
from edgelab.course import (
    Target,
    begin,
    by_side,
    challenge,
    check,
    claim,
    finding,
    listed,
    whose,
)

# %% tags=["setup", "folded"]
from edgelab.engines import open_engine
from edgelab.measure import latency, quality
from edgelab.toolbox import prune as prune_network
from edgelab.toolbox import what_ran

begin("pruning")
torch.set_num_threads(threads)
generator = np.random.default_rng(seed)
folder = TemporaryDirectory()
work = Path(folder.name)

# %% [markdown]
# The task of lab 01: road signs of 32 x 32 pixels in ten classes. The network is **depthwise-separable**: a 3x3 filter looks at one channel alone, and a 1x1
# filter mixes the channels. Keep the picture in mind. It decides what can be removed together.

# %% tags=["setup"]
signs = data.signs(seed=seed)
network = nets.load("signs_dscnn")

# %% tags=["folded"]
display(ui.convolution("depthwise", in_channels=32))
ui.convolution("pointwise", in_channels=32, out_channels=64)

# %%
right = {"dense": nets.predict_logits(network, signs.test.x).argmax(1) == signs.test.y}
record("dense.accuracy", quality.accuracy_reading(right["dense"], "PyTorch, dense"))

# %% [markdown]
# ## Predict
#
# Commit before you look. Each guess meets its figure further down.

# %%
guess_speed = ui.predict(
    "Of each ten weights, eight are set to zero. How many times as fast is the ONNX file?",
    unit="x",
    low=0.5,
    high=6.0,
)
guess_speed

# %%
guess_macs = ui.predict(
    "Half of the filters of every layer are removed. How much of the work is gone?",
    unit="%",
    low=0.0,
    high=100.0,
)
guess_macs

# %% [markdown]
# ## From scratch
#
# ### Which weights does nobody miss?
#
# The oldest rule is still a good one: the weights of smallest **magnitude** go. Six weights, and a sparsity of 0.5: three of them become zero, those nearest
# to zero on either side. The sign does not count.

# %%
six = np.array([0.9, -0.1, 0.05, -0.6, 0.3, -0.2])
places = np.argsort(np.argsort(np.abs(six)))
rows = [
    {
        "weight": w,
        "magnitude": abs(w),
        "rank": int(r) + 1,
        "stays": "yes" if r >= 3 else "no",
    }
    for w, r in zip(six, places)
]
ui.worked_table(rows, "Six weights, half of them go")

# %% [markdown]
# A **mask** says which weights stay. With $n$ weights and a sparsity $s$, exactly $k$ of them go:
#
# $$ k = \mathrm{round}(s\,n), \qquad m_i = \begin{cases} 0 & \text{if } |w_i| \text{ is among the } k \text{ smallest} \\ 1 & \text{else} \end{cases} $$
#
# A threshold looks simpler, but weights of equal magnitude then go together or not at all, and the number is no longer exact. Ranks have no such trouble.


# %% tags=["exercise:mask"]
def my_magnitude_mask(weight, sparsity):
    """A boolean array of the shape of `weight`: True where a weight stays."""
    # TODO: the round(sparsity * size) weights of smallest magnitude go, whatever the shape.
    ### BEGIN SOLUTION
    weight = np.asarray(weight)
    order = np.argsort(np.abs(weight), axis=None, kind="stable")
    mask = np.ones(weight.size, dtype=bool)
    mask[order[: round(sparsity * weight.size)]] = False
    return mask.reshape(weight.shape)
    ### END SOLUTION


# %% [markdown] tags=["hints:mask"]
# 1. The magnitude is `np.abs(weight)`. Which of numpy's functions gives the order of all values, from the smallest to the largest?
# 2. `np.argsort(np.abs(weight), axis=None)` gives the places in the flattened array. Begin with a mask of all True and set the first `round(sparsity * weight.size)` of these places to False.
# 3. `mask = np.ones(weight.size, bool)`, `mask[order[:k]] = False`, and `mask.reshape(weight.shape)` at the end.


# %% tags=["check:mask", "hidden"]
@checks("mask")
def _(c, magnitude_mask):
    def ranked(values, k):
        mask = np.ones(values.size, dtype=bool)
        mask[np.argsort(values, axis=None, kind="stable")[:k]] = False
        return mask.reshape(values.shape)

    for shape, sparsity in [((40,), 0.3), ((5, 4, 3, 3), 0.8), ((12, 9), 0.55)]:
        # Whole multiples of a step, all different, so that no magnitude is a close call.
        size = int(np.prod(shape))
        magnitudes = c.rng.permutation(np.arange(1, size + 1) ** 2).reshape(shape) / 64
        w = magnitudes * c.rng.choice([-1.0, 1.0], shape)
        k = round(sparsity * size)
        got = magnitude_mask(w.copy(), sparsity)
        c.that(
            got is not None and np.shape(got) == shape,
            tested="the shape of the mask",
            found=f"{np.shape(got)}, where the weight has {shape}",
            mistake="the mask must have the shape of the weight",
        )
        kind = str(getattr(got, "dtype", type(got).__name__))
        c.that(
            "bool" in kind,
            tested="the type of the mask",
            found=f"{kind}; a mask of True and False is wanted",
            mistake="these are weights, or zeros and ones: return booleans",
        )
        whole = np.abs(w) > sparsity * np.abs(w).max()
        c.equal(
            np.asarray(got),
            ranked(np.abs(w), k),
            tested=f"a weight of shape {shape} at a sparsity of {sparsity}",
            mistakes={
                "the mask is upside down: True stands for a weight that stays": ~ranked(
                    np.abs(w), k
                ),
                "the largest weights went: the smallest have to go": ranked(
                    -np.abs(w), k
                ),
                "the sign counts here: take the magnitude, not the value": ranked(w, k),
                "the sparsity is the share that goes, not the share that stays": ranked(
                    np.abs(w), size - k
                ),
                "the threshold is a share of the largest weight: the sparsity counts weights": whole,
                "each row was pruned for itself: the number counts over all weights": np.array(
                    [ranked(np.abs(row), round(sparsity * row.size)) for row in w]
                ).reshape(shape)
                if w.ndim > 1
                else np.nan,
            },
        )
    same = np.full(20, 0.25)
    c.equal(
        int(np.asarray(magnitude_mask(same.copy(), 0.4)).sum()),
        12,
        tested="how many of 20 equal weights stay at a sparsity of 0.4",
        mistakes={
            "equal weights went together: a threshold cannot tell them apart, ranks can": 0,
            "equal weights stayed together: a threshold cannot tell them apart, ranks can": 20,
        },
    )
    c.equal(
        int(np.asarray(magnitude_mask(np.linspace(0.1, 1, 11), 0.25)).sum()),
        8,
        tested="the number of weights that go: 2.75, to the nearest",
        mistakes={"the number was cut off, not rounded": 9},
    )
    c.that(
        bool(np.asarray(magnitude_mask(np.linspace(0.1, 1, 9), 0.0)).all()),
        tested="a sparsity of 0",
        found="a weight that goes",
        mistake="with a sparsity of 0 every weight stays; a slice like order[-0:] takes them all",
    )


# %% tags=["check:mask"]
magnitude_mask = check("mask", my_magnitude_mask, prune.magnitude_mask)

# %% [markdown]
# Not every layer bears it equally. Here your mask prunes **one layer at a time**, without any training, and the network answers 200 validation images.
# Which layer breaks first? Think of how many weights it has, and of what it sees.

# %%
few = signs.validation.subset(200, seed=seed)


def evaluate(net):
    return 100 * float((nets.predict_logits(net, few.x).argmax(1) == few.y).mean())


sensitive = prune.sensitivity(network, evaluate, (0.5, 0.8, 0.9), mask=magnitude_mask)

# %% tags=["folded"]
figure = ui.heatmap(
    np.array(list(sensitive.scores.values())),
    title=f"{sensitive.worst} suffers most, {sensitive.best} least (no layer pruned: {sensitive.baseline:.0f} %)",
    x="sparsity of this layer alone",
    y="layer",
    x_labels=[f"{100 * s:.0f} %" for s in sensitive.sparsities],
    y_labels=list(sensitive.scores),
    unit="% right",
    digits=0,
)
ui.show(
    figure,
    alt=f"Accuracy with one layer pruned, by layer and sparsity; lowest for {sensitive.worst}.",
)
whose("mask")

# %% [markdown]
# **Before you go on.** Does the number of weights decide alone? Look for a small layer that bears much, and for a large one that breaks at the right end.
#
# <details><summary>Discussion</summary>
#
# It does not. A depthwise filter has nine weights and is the only one that looks at its channel: with most of them gone, little of that channel is left. A 1x1 layer with thousands of weights can say the same thing
# in many ways. How the magnitudes are spread can matter, too: where a few weights carry the layer, the many small ones are not missed, and where all are of a size, some that count have to go.
#
# </details>
#
# ### How fast may the zeros come?
#
# All at once is a shock. The usual schedule lets the sparsity rise fast at first, when there are many weights that nobody misses, and slowly at the end, when every
# further zero hurts. Five moments of a schedule that ends at a sparsity of 0.8 after 100 steps:

# %%
moments = (0, 25, 50, 75, 100)
left = [(1 - t / 100) ** 3 for t in moments]
rows = [
    {"step": t, "share of the way": t / 100, "cubed rest": r, "sparsity": 0.8 * (1 - r)}
    for t, r in zip(moments, left)
]
ui.worked_table(rows, "From 0 to 0.8 in 100 steps")

# %% [markdown]
# With $t_0$ and $t_1$ the first and the last step of the schedule and $s_1$ its final sparsity, it is a polynomial of degree three:
#
# $$ s(t) = s_1 \left(1 - \left(1 - \frac{t - t_0}{t_1 - t_0}\right)^{3}\right) \quad\text{for } t_0 \le t \le t_1 $$
#
# Before $t_0$ it is 0, and after $t_1$ it stays at $s_1$.


# %% tags=["exercise:schedule"]
def my_sparsity_at(step, first, last, end=0.8):
    """The sparsity at `step`: 0 up to `first`, `end` from `last` on, cubic in between."""
    # TODO: the formula above; mind what happens outside the schedule.
    ### BEGIN SOLUTION
    share = min(1.0, max(0.0, (step - first) / (last - first)))
    return end * (1 - (1 - share) ** 3)
    ### END SOLUTION


# %% [markdown] tags=["hints:schedule"]
# 1. First compute which share of the way is done. What must it be before the first step, and after the last one?
# 2. `share = (step - first) / (last - first)`, held between 0 and 1 by `min` and `max`.
# 3. `return end * (1 - (1 - share) ** 3)`


# %% tags=["check:schedule", "hidden"]
@checks("schedule")
def _(c, sparsity_at):
    for _ in range(3):
        first = int(c.rng.integers(5, 40))
        last = first + int(c.rng.integers(60, 200))
        end = float(c.rng.uniform(0.55, 0.95))
        step = first + int((last - first) * c.rng.uniform(0.3, 0.6))
        share = (step - first) / (last - first)
        raw = step / last
        c.close(
            sparsity_at(step, first, last, end),
            end * (1 - (1 - share) ** 3),
            1e-9,
            tested=f"step {step} of a schedule from {first} to {last} with the end {end:.2f}",
            mistakes={
                "the cube of the share itself rises slowly first and fast at the end: it is the rest that is cubed": end
                * share**3,
                "this is a straight line: the rest has to be cubed": end * share,
                "this is a square: the degree is three": end * (1 - (1 - share) ** 2),
                "the schedule begins at `first`, not at 0": end * (1 - (1 - raw) ** 3),
                "this is the rest that is still to come: subtract it from the end": end
                * (1 - share) ** 3,
                "the argument `end` is ignored": 0.8 * (1 - (1 - share) ** 3),
                "the final sparsity is missing": 1 - (1 - share) ** 3,
            },
        )
        c.close(
            sparsity_at(last + 25, first, last, end),
            end,
            1e-9,
            tested="a step after the schedule",
            mistakes={
                "after the last step the sparsity stays: hold the share at 1": end
                * (1 - (1 - (last + 25 - first) / (last - first)) ** 3),
                "after the last step the sparsity stays; here it is back at 0": 0.0,
            },
        )
        c.close(
            sparsity_at(first - 4, first, last, end),
            0.0,
            1e-9,
            tested="a step before the schedule",
            mistakes={
                "before the first step nothing is pruned: hold the share at 0": end
                * (1 - (1 - (first - 4 - first) / (last - first)) ** 3),
            },
        )


# %% tags=["check:schedule"]
sparsity_at = check("schedule", my_sparsity_at, prune.cubic_sparsity)

# %%
ticks = np.arange(0, 121, 4)
curve = [100 * sparsity_at(int(t), 10, 100, end=0.8) for t in ticks]
straight = [100 * 0.8 * min(1, max(0, (t - 10) / 90)) for t in ticks]
half_way = 100 * sparsity_at(55, 10, 100, end=0.8)

# %% tags=["folded"]
figure = ui.lines(
    {"cubic": (ticks, curve), "straight": (ticks, straight)},
    title=f"Half-way the cubic schedule has reached {half_way:.0f} %",
    x="training step",
    y="weights that are zero, %",
)
ui.show(
    figure,
    alt=f"Two rising curves; the cubic one rises first and has {half_way:.0f} percent half-way.",
)
whose("schedule")

# %% [markdown]
# ### Why do zeros come back?
#
# Between two prunings the network trains, and a pruned weight must stay zero. Is it enough to set its **gradient** to zero? One weight by hand, with momentum. It was pruned
# just now, and the optimizer still remembers a velocity of 0.5 from before. The learning rate is 0.1, the momentum 0.9.

# %%
weight, velocity, rows = 0.0, 0.5, []
for number in (1, 2, 3):
    velocity = 0.9 * velocity + 0.0
    weight = weight - 0.1 * velocity
    rows.append(
        {"step": number, "gradient": 0.0, "velocity": velocity, "weight": weight}
    )
ui.worked_table(rows, "No gradient, and yet it moves")

# %% [markdown]
# Weight decay and the running averages of Adam do the same. So the mask $m$ comes **after** the step, on the weights themselves, whatever the optimizer did:
#
# $$ v \leftarrow \mu v + g, \qquad w \leftarrow m \odot (w - \eta\, v) $$
#
# One step has four parts: forget the old gradients, send the loss back, let the optimizer step, and mask. A layer's name is the key of its mask.


# %% tags=["exercise:masked_step"]
def my_masked_step(net, optimizer, masks, loss):
    """One training step after which every weight without a mask of True is exactly zero."""
    # TODO: zero the gradients, go back, step, and then apply the masks:
    # `masks[name]` belongs to `net.get_submodule(name).weight`.
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for name, mask in masks.items():
            net.get_submodule(name).weight.mul_(mask)
    ### END SOLUTION


# %% [markdown] tags=["hints:masked_step"]
# 1. `optimizer.zero_grad()`, `loss.backward()` and `optimizer.step()` are any training step. What is missing, and where does it belong?
# 2. The mask has to be the last word: after `optimizer.step()`. Changing a weight in place needs `with torch.no_grad():`.
# 3. `for name, mask in masks.items(): net.get_submodule(name).weight.mul_(mask)`


# %% tags=["check:masked_step", "hidden"]
@checks("masked_step")
def _(c, masked_step):
    key = int(c.rng.integers(1, 10_000))

    def trained(step, decay, masked_from=2, count=6):
        """The weights after some steps, the masks in force from the third on."""
        torch.manual_seed(key)
        net = torch.nn.Sequential(
            torch.nn.Linear(6, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.ReLU(),
            torch.nn.Linear(8, 3),
        )
        x, y = torch.randn(24, 6), torch.arange(24) % 3
        masks = {}
        keys = {
            name: torch.rand(net.get_submodule(name).weight.shape) > 0.5
            for name in ("0", "3")
        }
        optimizer = torch.optim.SGD(
            net.parameters(), 0.1, momentum=0.9, weight_decay=decay
        )
        for number in range(count):
            if number == masked_from:
                masks = keys
                prune.apply_masks(net, masks)
            step(net, optimizer, masks, torch.nn.functional.cross_entropy(net(x), y))
        return net, keys

    def only_gradients(net, optimizer, masks, loss):
        optimizer.zero_grad()
        loss.backward()
        for name, mask in masks.items():
            net.get_submodule(name).weight.grad.mul_(mask)
        optimizer.step()

    def before(net, optimizer, masks, loss):
        optimizer.zero_grad()
        loss.backward()
        prune.apply_masks(net, masks)
        optimizer.step()

    def kept_gradients(net, optimizer, masks, loss):
        loss.backward()
        optimizer.step()
        prune.apply_masks(net, masks)

    def no_mask(net, optimizer, masks, loss):
        prune.masked_step(net, optimizer, {}, loss)

    def nothing(net, optimizer, masks, loss):
        prune.apply_masks(net, masks)

    def upside_down(net, optimizer, masks, loss):
        prune.masked_step(net, optimizer, {n: ~m for n, m in masks.items()}, loss)

    def norm_too(net, optimizer, masks, loss):
        prune.masked_step(net, optimizer, masks, loss)
        with torch.no_grad():
            if masks:
                net[1].weight.mul_(masks["0"].any(1))
                net[1].bias.zero_()

    def biases(net, optimizer, masks, loss):
        prune.masked_step(net, optimizer, masks, loss)
        with torch.no_grad():
            for name in masks:
                net.get_submodule(name).bias.zero_()

    def flat(net):
        return np.concatenate([p.detach().numpy().ravel() for p in net.parameters()])

    for decay in (0.0, 0.05):
        wanted = flat(trained(prune.masked_step, decay)[0])
        mine, keys = trained(masked_step, decay)
        wrong = {
            "the mask came on the gradients: momentum and weight decay move a weight whose gradient is zero": only_gradients,
            "the mask came before the optimizer's step, which then moved the weights again": before,
            "the gradients of the step before were not forgotten: call zero_grad": kept_gradients,
            "no mask was applied": no_mask,
            "no training happened: send the loss back and let the optimizer step": nothing,
            "the masks are upside down: True stands for a weight that stays": upside_down,
            "the batch norm was masked, too: its scale and shift train on": norm_too,
            "the biases were set to zero, too: the masks are for the weights": biases,
        }
        c.close(
            flat(mine),
            wanted,
            1e-5,
            tested=f"six steps with momentum and a weight decay of {decay}, masks from the third on",
            mistakes={
                says: flat(trained(step, decay)[0]) for says, step in wrong.items()
            },
        )
        for name, mask in keys.items():
            c.that(
                bool((mine.get_submodule(name).weight[~mask] == 0).all()),
                tested=f"the pruned weights of layer {name} after the last step",
                found="a weight that is not exactly zero",
                mistake="the mask has to be the last word: after the optimizer's step",
            )


# %% tags=["check:masked_step"]
masked_step = check("masked_step", my_masked_step, prune.masked_step)

# %% [markdown]
# Your three functions prune the real network now: the schedule sets the sparsity, your mask chooses, and your step trains. One threshold serves the whole network, so
# `global_masks` puts all its weights into one long row for your mask.

# %%
target, arrive = 0.8, max(1, steps // 2)  # the sparsity, and the step that reaches it
layers = prune.prunable(network)


def global_masks(net, sparsity):
    kernels = {name: net.get_submodule(name).weight.detach().numpy() for name in layers}
    row = np.concatenate([kernel.ravel() for kernel in kernels.values()])
    parts = np.split(
        magnitude_mask(row, sparsity), np.cumsum([k.size for k in kernels.values()])
    )
    return {
        n: torch.tensor(m.reshape(k.shape)) for (n, k), m in zip(kernels.items(), parts)
    }


def masks_at(step):
    if step % 10 and step != arrive:
        return None
    return global_masks(sparse, sparsity_at(step, 0, arrive, end=target))


# %%
sparse, shocked = copy.deepcopy(network), copy.deepcopy(network)
prune.apply_masks(shocked, global_masks(network, target))
done = prune_train.fine_tune(
    sparse, signs, steps=steps, schedule=masks_at, step=masked_step, seed=seed
)
for name, net in {"zeros, not trained": shocked, "zeros, trained on": sparse}.items():
    right[name] = nets.predict_logits(net, signs.test.x).argmax(1) == signs.test.y

# %% tags=["folded"]
zeros = prune.count_zeros(sparse)
found = {
    name: quality.accuracy_reading(hits, f"PyTorch, {name}")
    for name, hits in right.items()
}
figure = ui.bars(
    list(found),
    list(found.values()),
    title=f"{100 * zeros.sparsity:.0f} % zeros: {found['zeros, not trained'].value:.0f} % right, "
    f"and {found['zeros, trained on'].value:.0f} % after {steps} steps",
    y="test signs right, %",
)
ui.show(
    figure,
    alt="Accuracy: "
    + ", ".join(f"{name} {r.value:.1f} percent" for name, r in found.items()),
)
whose("mask", "schedule", "masked_step")


# %% tags=["finding:trained_on"]
def finding_trained_on(zeros, shock, loss, steps):
    return (
        f"With {zeros:.0f} % zeros and no training the network loses {shock.figure()}. "
        + by_side(
            loss,
            0,
            above=f"After {steps} steps of training it still loses {{}}.",
            below=f"After {steps} steps of training it is better than before, {{}}.",
            unclear=f"After {steps} steps of training no loss can be told, {{}}.",
        )
    )


shock_loss = quality.difference(right["dense"], right["zeros, not trained"]).loss
sparse_loss = record(
    "loss.sparse", quality.difference(right["dense"], right["zeros, trained on"]).loss
)
finding(finding_trained_on, 100 * zeros.sparsity, shock_loss, sparse_loss, steps)

# %% [markdown]
# ### What is a zero worth in bytes?
#
# In an array of float32 a zero takes its $4$ bytes, as any other number. To save them, the file has to say **where** the others are. The simplest way is a bitmask: one
# bit for each weight, and $4$ bytes for each that is not zero. Sixteen weights, five of them not zero: $2$ bytes of bits and $20$ of values in place of
# $64$.

# %%
sixteen = np.array(
    [0, 0, 0.7, 0, 0, -1.2, 0, 0, 0.4, 0, 0, 0, 0, 0.9, 0, -0.3], np.float32
)
bits = "".join("1" if w else "0" for w in sixteen)
rows = [
    {"part": "bits " + bits, "bytes": 2},
    {
        "part": f"{np.count_nonzero(sixteen)} values of four bytes",
        "bytes": 4 * np.count_nonzero(sixteen),
    },
    {"part": "the same, dense", "bytes": sixteen.nbytes},
]
ui.worked_table(rows, "Sixteen weights, packed")

# %% [markdown]
# With $n$ weights, $n_{\neq 0}$ of them not zero:
#
# $$ B = \left\lceil \frac{n}{8} \right\rceil + 4\, n_{\neq 0} \;\; \text{bytes} $$
#
# A dense array takes $4n$. Where do the two meet? $n/8 + 4 n_{\neq 0} = 4 n$ holds at $n_{\neq 0} = \frac{31}{32}\, n$: a bitmask pays as soon as more than one weight in 32 is zero.


# %% tags=["exercise:packed"]
def my_packed_bytes(weight):
    """Bytes of `weight` as a bitmask and its float32 values that are not zero."""
    # TODO: the formula above, for an array of any shape. Bits come in whole bytes.
    ### BEGIN SOLUTION
    weight = np.asarray(weight)
    return -(-weight.size // 8) + 4 * int(np.count_nonzero(weight))
    ### END SOLUTION


# %% [markdown] tags=["hints:packed"]
# 1. Which of the weights need a bit, and which of them four bytes?
# 2. `np.count_nonzero(weight)` counts over all axes. Eight bits fit into a byte, and a ninth needs another one.
# 3. `return -(-weight.size // 8) + 4 * np.count_nonzero(weight)`; the two signs round the division up.


# %% tags=["check:packed", "hidden"]
@checks("packed")
def _(c, packed_bytes):
    for shape, share in [((43,), 0.4), ((10, 3, 3, 3), 0.8), ((7, 5), 0.6)]:
        w = (c.rng.normal(size=shape) + 9.0) * c.rng.choice([-1.0, 1.0], shape)
        w = (w * (c.rng.random(shape) > share)).astype(np.float32)
        n, there = w.size, int(np.count_nonzero(w))
        c.equal(
            packed_bytes(w.copy()),
            -(-n // 8) + 4 * there,
            tested=f"an array of shape {shape} with {there} of {n} values not zero",
            mistakes={
                "the bits were cut to whole bytes: a byte that is begun is a whole byte": n
                // 8
                + 4 * there,
                "the bits are no whole bytes: round up": n / 8 + 4 * there,
                "a byte was taken for each weight: it is a bit": n + 4 * there,
                "the zeros were counted in place of the others": -(-n // 8)
                + 4 * (n - there),
                "the bits are missing: nobody could tell where the values belong": 4
                * there,
                "only the positive values were counted: a negative one is no zero either": -(
                    -n // 8
                )
                + 4 * int((w > 0).sum()),
                "this is the dense array with a bitmask on top": -(-n // 8) + 4 * n,
                "this is the dense array": 4 * n,
                "float32 takes four bytes, not eight": -(-n // 8) + 8 * there,
                "these are bits: eight of them are a byte": n + 32 * there,
                "each value takes four bytes: one is counted here": -(-n // 8) + there,
                "the length of the array counts its first axis alone": -(-len(w) // 8)
                + 4 * there,
            },
        )
    c.equal(packed_bytes(np.zeros((4, 4))), 2, tested="sixteen zeros")


# %% tags=["check:packed"]
packed_bytes = check("packed", my_packed_bytes, prune_plain.packed_bytes)

# %% [markdown]
# Your function on the real weights at more and more zeros, and beside it two other ways: the **relative index**, which stores the distance to the next value in four
# bits, and **gzip**, which knows nothing of weights and packs whatever repeats.

# %%
shares = [0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
flat = np.concatenate(
    [layer.weight.detach().numpy().ravel() for layer in layers.values()]
)
packed = {"as stored": [], "bitmask": [], "relative index": [], "gzip": []}
for share in shares:
    values = flat * magnitude_mask(flat, share)
    packed["as stored"].append(values.nbytes)
    packed["bitmask"].append(packed_bytes(values))
    packed["relative index"].append(prune_packed.relative_bytes(values))
    packed["gzip"].append(len(gzip.compress(values.tobytes(), 6)))

# %% tags=["folded"]
kilobytes = {name: [size / 1000 for size in sizes] for name, sizes in packed.items()}
last = ", ".join(f"{name} {sizes[-1]:.0f}" for name, sizes in kilobytes.items())
figure = ui.lines(
    {name: (100 * np.array(shares), sizes) for name, sizes in kilobytes.items()},
    title=f"At {100 * shares[-1]:.0f} % zeros, in KB: {last}",
    x="weights that are zero, %",
    y="KB of all weights",
)
ui.show(
    figure,
    alt=f"Bytes over sparsity for four ways to store; at the right end: {last} KB.",
)
whose("mask", "packed")

# %% [markdown]
# ### Is there a lottery ticket?
#
# Here is a strange observation. Train a network, prune it, then put the **initial** values back into the weights that are left, and train again. It often learns as well as the
# whole network did. Those weights had "won the lottery" of initialisation. Four weights by hand, with a sparsity of 0.5:

# %%
early, late = np.array([0.2, -0.5, 0.4, 0.1]), np.array([1.1, -0.1, 0.2, -0.9])
stay = magnitude_mask(late, 0.5)
rows = [
    {"at the start": a, "trained": b, "stays": "yes" if m else "no", "ticket": a * m}
    for a, b, m in zip(early, late, stay)
]
ui.worked_table(
    rows, "The mask comes from the trained weights, the values from the start"
)

# %% [markdown]
# With $w^{(0)}$ the early weights, $w^{(T)}$ the trained ones and $m(\cdot, s)$ your mask, the ticket is
#
# $$ w^{\text{ticket}} = m\!\left(w^{(T)}, s\right) \odot w^{(0)}. $$
#
# The claim has a control that is often left out: a **random ticket**, with as many weights in each layer at random places. If it trains as well, there was no lottery.


# %% tags=["exercise:rewind"]
def my_rewind(early, trained, sparsity):
    """{layer: weights of the ticket}; `early` and `trained` are {layer: array}."""
    # TODO: for each layer the mask of the trained weights, on the early ones.
    ### BEGIN SOLUTION
    return {
        name: early[name] * magnitude_mask(trained[name], sparsity) for name in early
    }
    ### END SOLUTION


# %% [markdown] tags=["hints:rewind"]
# 1. Which of the two sets of weights says what is important, and which of them gives the values?
# 2. `magnitude_mask(trained[name], sparsity)` is the mask of one layer. A mask times an array keeps the values where it is True.
# 3. `return {name: early[name] * magnitude_mask(trained[name], sparsity) for name in early}`


# %% tags=["check:rewind", "hidden"]
@checks("rewind")
def _(c, rewind):
    def distinct(shape, shift):
        size = int(np.prod(shape))
        values = (c.rng.permutation(size) + shift) / size
        return (values * c.rng.choice([-1.0, 1.0], size)).reshape(shape)

    shapes = {"first": (8, 5), "second": (3, 4, 2)}
    early = {name: distinct(shape, 1.5) for name, shape in shapes.items()}
    trained = {name: 3 * distinct(shape, 1.0) for name, shape in shapes.items()}
    small = {name: values.copy() for name, values in trained.items()}
    small["second"] = (
        small["second"] / 50
    )  # one threshold for all layers would empty it
    for weights, sparsity in [(trained, 0.5), (small, 0.4)]:

        def masked(values, source, share=sparsity):
            return {
                n: values[n] * prune.magnitude_mask(source[n], share) for n in values
            }

        row = np.concatenate([w.ravel() for w in weights.values()])
        cut = np.split(prune.magnitude_mask(row, sparsity), [weights["first"].size])
        together = {n: early[n] * m.reshape(early[n].shape) for n, m in zip(early, cut)}
        got = rewind(
            {n: v.copy() for n, v in early.items()},
            {n: v.copy() for n, v in weights.items()},
            sparsity,
        )
        c.equal(
            got,
            masked(early, weights),
            tested=f"two layers at a sparsity of {sparsity}",
            mistakes={
                "these are the trained values: a ticket is rewound to the early ones": masked(
                    weights, weights
                ),
                "the mask was made from the early weights: training says which are important": masked(
                    early, early
                ),
                "the early weights chose and the trained ones stayed: it is the other way round": masked(
                    weights, early
                ),
                "the early weights came back whole: the mask is missing": early,
                "the weights that should go are those that stayed": {
                    n: early[n] * ~prune.magnitude_mask(weights[n], sparsity)
                    for n in early
                },
                "the weights that moved least went: the magnitude after training decides": masked(
                    early, {n: weights[n] - early[n] for n in early}
                ),
                "one threshold was taken for all layers: each layer has its own": together,
                "the argument `sparsity` is ignored": masked(early, weights, 0.8),
            },
        )


# %% tags=["check:rewind"]
rewind = check("rewind", my_rewind, prune_plain.rewind)

# %% [markdown]
# Tickets take many trainings, so this one is looked for in a small network: the digits of 8 x 8 pixels and two hidden layers. It is pruned in rounds, and your `rewind` makes the
# ticket of each. The dense network, the ticket and the random ticket are then trained alike.

# %% tags=["folded"]
digits = data.digits(seed=seed)


def weights_of(net):
    return {
        n: net.get_submodule(n).weight.detach().numpy() for n in prune.prunable(net)
    }


def from_weights(net, values):
    """A copy of a network with other weights; where they are zero, they stay zero."""
    made = copy.deepcopy(net)
    for layer_name, array in values.items():
        made.get_submodule(layer_name).weight.data = torch.tensor(
            array, dtype=torch.float32
        )
    return made, {n: torch.tensor(v != 0) for n, v in values.items()}


# %%
torch.manual_seed(seed)
start = nets.mlp(64, 10)
recipe = dict(steps=400, learning_rate=1e-2, batch_size=32, seed=seed)
whole = copy.deepcopy(start)
done = prune_train.fine_tune(whole, digits, **recipe)

# %% [markdown]
# In rounds, so that each mask is made by a network that has learnt with the zeros it has so far:

# %%
ticket_share = 0.9
ticket = whole
for share in prune_train.rounds_to([ticket_share], most=0.45):
    values = rewind(weights_of(start), weights_of(ticket), share)
    ticket, kept = from_weights(start, values)
    prune_train.fine_tune(ticket, digits, kept, step=masked_step, **recipe)

# %%
shuffled = prune.random_masks(kept, seed)
control = prune.apply_masks(copy.deepcopy(start), shuffled)
done = prune_train.fine_tune(control, digits, shuffled, step=masked_step, **recipe)
tickets = {"dense": whole, "ticket": ticket, "random ticket": control}
hits = {
    n: nets.predict_logits(t, digits.test.x).argmax(1) == digits.test.y
    for n, t in tickets.items()
}

# %% tags=["folded"]
read = {
    name: quality.accuracy_reading(h, f"PyTorch, {name}") for name, h in hits.items()
}
figure = ui.bars(
    list(read),
    list(read.values()),
    title=f"{100 * ticket_share:.0f} % zeros: "
    + ", ".join(f"{name} {r.value:.1f} %" for name, r in read.items()),
    y="test digits right, %",
)
ui.show(
    figure,
    alt="Accuracy with intervals: "
    + ", ".join(f"{n} {r.value:.1f}" for n, r in read.items()),
)
whose("mask", "rewind", "masked_step")

# %% [markdown]
# One seed says little: the intervals are wide. The claim is judged further down, on runs made ahead.
#
# ### Which filters go?
#
# Zeros at scattered places help no ordinary kernel. A whole **filter** that is zero can be taken out, and the layer becomes smaller. So rank filters, not weights. Three filters of four weights, of which
# one shall go:

# %%
three = np.array([[0.9, 0.0, 0.1, 0.0], [0.4, -0.4, 0.3, 0.4], [-0.2, 0.2, 0.2, -0.1]])
rows = [
    {
        "filter": i,
        "weights": "  ".join(f"{w:.1f}" for w in f),
        "sum of magnitudes": np.abs(f).sum(),
    }
    for i, f in enumerate(three)
]
ui.worked_table(rows, "The filter with the least sum goes, whole")

# %% [markdown]
# The score of filter $i$ is its $L_1$ norm, the sum over all that belongs to it:
#
# $$ \lVert W_i \rVert_1 = \sum_{c,\,y,\,x} |W_{i,c,y,x}| $$
#
# Below stands a function as it is published under the name "structured pruning". It promises that a share of the filters goes. Run it, count the zeros and look at the file: it sets
# single weights to zero. **Mend it**, so that whole filters go and nothing else.


# %% tags=["exercise:filter_mask"]
def my_filter_mask(weight, share):
    """True where a weight stays; round(share * filters) whole filters of least L1 norm go."""
    # TODO: mend this. Which array has one score for each filter (axis 0)?
    ### BEGIN SOLUTION
    scores = np.abs(weight).reshape(len(weight), -1).sum(axis=1)
    mask = np.ones(weight.shape, dtype=bool)
    mask[np.argsort(scores)[: round(share * len(weight))]] = False
    return mask
    ### GIVEN
    # importance = np.abs(weight)
    # threshold = np.quantile(importance, share)
    # return importance > threshold
    ### END SOLUTION


# %% [markdown] tags=["hints:filter_mask"]
# 1. How many scores does the given code compare, and how many filters are there?
# 2. `np.abs(weight).reshape(len(weight), -1).sum(axis=1)` has one score for each filter. Rank these.
# 3. `mask = np.ones(weight.shape, bool)`; then `mask[np.argsort(scores)[:k]] = False` with `k = round(share * len(weight))` sets whole filters.


# %% tags=["check:filter_mask", "hidden"]
@checks("filter_mask")
def _(c, filter_mask):
    def without(scores, k, shape, axis=0):
        mask = np.ones(shape, dtype=bool)
        np.moveaxis(mask, axis, 0)[np.argsort(scores, kind="stable")[:k]] = False
        return mask

    for shape, share in [
        ((11, 6, 3, 3), 0.3),  # 3.3 filters, so three
        ((9, 1, 3, 3), 0.3),  # 2.7, so three again
        ((12, 5, 1, 1), 0.75),
    ]:
        filters = shape[0]
        sizes = c.rng.permutation(np.arange(1, filters + 1)) / 4
        w = c.rng.choice([-1.0, 1.0], shape) * c.rng.uniform(0.9, 1.1, shape)
        w = w * sizes.reshape(-1, 1, 1, 1)
        # One filter has a single large weight, which the maximum and the L2 norm overrate; the largest filter's
        # weights cancel in a plain sum.
        low, high = np.argsort(sizes)[[filters // 4, -1]]
        w[high] = np.abs(w[high])
        w[high].flat[::2] *= -1
        if w[0].size > 1:
            w[low].flat[0] = 40.0 * np.sign(w[low].flat[0])
            w[low].flat[1:] *= 0.05
        k = round(share * filters)
        flat = np.abs(w).reshape(filters, -1)
        single = np.abs(w) > np.quantile(np.abs(w), share)
        got = np.asarray(filter_mask(w.copy(), share))
        c.that(
            got.shape == w.shape and got.dtype == bool,
            tested="the mask",
            found=f"an array of shape {got.shape} and type {got.dtype}",
            mistake="the mask must be boolean and have the shape of the weight",
        )
        c.equal(
            got,
            without(flat.sum(1), k, shape),
            tested=f"{filters} filters of {flat.shape[1]} weights, a share of {share}",
            mistakes={
                "single weights went, as in the given code: score whole filters": single,
                "single weights went, the right number of them: score whole filters": prune.magnitude_mask(
                    w, share
                ),
                "the input channels were ranked: the filters are axis 0": without(
                    np.abs(w).sum((0, 2, 3)), round(share * shape[1]), shape, 1
                ),
                "the largest filters went: the smallest have to go": without(
                    -flat.sum(1), k, shape
                ),
                "the share says how many go, not how many stay": without(
                    flat.sum(1), filters - k, shape
                ),
                "the signs cancel in a plain sum: take magnitudes first": without(
                    np.abs(w.reshape(filters, -1).sum(1)), k, shape
                ),
                "the plain sum has a sign: take magnitudes first": without(
                    w.reshape(filters, -1).sum(1), k, shape
                ),
                "the mask is upside down: True stands for what stays": ~without(
                    flat.sum(1), k, shape
                ),
                "the number of filters is not rounded to the nearest: one too few went": without(
                    flat.sum(1), k - 1, shape
                ),
                "the number of filters is not rounded to the nearest: one too many went": without(
                    flat.sum(1), k + 1, shape
                ),
            },
            remember={
                "this ranks by the largest weight or the L2 norm: the sum of the magnitudes is asked for": without(
                    flat.max(1), k, shape
                ),
                "this ranks by the L2 norm or the largest weight: the sum of the magnitudes is asked for": without(
                    (flat**2).sum(1), k, shape
                ),
            },
        )


# %% tags=["check:filter_mask"]
filter_mask = check("filter_mask", my_filter_mask, prune_plain.filter_mask)

# %% [markdown]
# Both on the same layer, a half of it gone. The bars count the zeros and the filters that consist of zeros alone. Only the latter can be taken out.


# %%
def published(weight, share):
    return np.abs(weight) > np.quantile(np.abs(weight), share)


kernel = network.get_submodule("pointwise3.conv").weight.detach().numpy()
counts = {"zeros": [], "whole filters": []}
for way in (published, filter_mask):
    gone = (kernel * way(kernel, 0.5) == 0).reshape(len(kernel), -1)
    counts["zeros"].append(100 * gone.mean())
    counts["whole filters"].append(100 * gone.all(axis=1).mean())

# %% tags=["folded"]
figure = ui.grouped_bars(
    ["as published", "mended"],
    counts,
    title=f"As many zeros; whole filters: {counts['whole filters'][0]:.0f} % as published, "
    f"{counts['whole filters'][1]:.0f} % mended",
    y="% of the layer",
)
ui.show(
    figure,
    alt="Two pairs of bars: zeros, and filters of zeros, by the published function and by the mended one.",
)
whose("filter_mask")

# %% [markdown]
# ### What does a filter take with it?
#
# A filter of zeros still speaks. Behind it stands batch normalisation, which shifts: an output of 0 becomes $\beta - \gamma \mu / \sigma$, and that goes on. Three
# channels of the stem, their filters set to zero:

# %%
block = prune_plain.block_of(network)
gamma, beta, mean, variance = block["norm"][:, :3].astype(float)
rows = [
    {
        "channel": i,
        "filter gives": 0.0,
        "batch norm gives": b - g * m / np.sqrt(v + 1e-5),
    }
    for i, (g, b, m, v) in enumerate(zip(gamma, beta, mean, variance))
]
ui.worked_table(rows, "Filters of zeros, and what the next layer hears")

# %% [markdown]
# So a filter has to be **removed**, and all that hangs on it: its entries in batch normalisation, the depthwise filter that reads its channel, that one's batch normalisation, and one **column** of the 1x1
# layer behind. With $K$ the filters that stay:
#
# $$ W^{\text{conv}}_{K}, \quad \gamma, \beta, \mu, \sigma^2_{K}, \quad W^{\text{depthwise}}_{K}, \quad W^{\text{pointwise}}_{:,\,K} $$
#
# The 1x1 layer keeps all its outputs, so its own batch normalisation stays as it is. `block` holds the arrays by name: `conv` (filters, in, 3, 3), `depthwise` (filters, 1, 3, 3), `pointwise` (out, filters, 1, 1),
# and `norm`, `depthwise_norm`, `pointwise_norm` of shape (4, channels).


# %% tags=["exercise:narrow"]
def my_narrow(block, keep):
    """The block with the filters `keep` (indices) of `conv`, and all that hangs on them."""
    # TODO: six arrays; decide for each whether it shrinks, and along which axis.
    ### BEGIN SOLUTION
    return {
        "conv": block["conv"][keep],
        "norm": block["norm"][:, keep],
        "depthwise": block["depthwise"][keep],
        "depthwise_norm": block["depthwise_norm"][:, keep],
        "pointwise": block["pointwise"][:, keep],
        "pointwise_norm": block["pointwise_norm"],
    }
    ### END SOLUTION


# %% [markdown] tags=["hints:narrow"]
# 1. Go through the picture of the depthwise convolution: who reads channel 5 of the first layer, and who reads that?
# 2. A layer that **makes** the channels loses rows (axis 0), a layer that **reads** them loses columns (axis 1). The batch norms hold their channels in axis 1.
# 3. `conv[keep]`, `norm[:, keep]`, `depthwise[keep]`, `depthwise_norm[:, keep]`, `pointwise[:, keep]`, and `pointwise_norm` as it is.


# %% tags=["check:narrow", "hidden"]
@checks("narrow")
def _(c, narrow):
    n, out = (
        7,
        7,
    )  # as many outputs as filters, so that a cut along the wrong axis still has a shape
    shapes = {
        "conv": (n, 3, 3, 3),
        "norm": (4, n),
        "depthwise": (n, 1, 3, 3),
        "depthwise_norm": (4, n),
        "pointwise": (out, n, 1, 1),
        "pointwise_norm": (4, out),
    }
    block = {name: c.rng.normal(size=shape) for name, shape in shapes.items()}
    copied = {name: values.copy() for name, values in block.items()}
    keep = np.sort(c.rng.permutation(n)[:4])
    gone = np.setdiff1d(np.arange(n), keep)
    got = narrow(block, keep)
    c.that(
        isinstance(got, dict) and set(got) >= set(shapes),
        tested="the parts of the block",
        found=f"{sorted(got) if isinstance(got, dict) else type(got).__name__}; six arrays by name are wanted",
        mistake="a part is missing; return all six, also what does not shrink",
    )
    for name in (
        "conv",
        "depthwise",
        "norm",
        "depthwise_norm",
        "pointwise",
        "pointwise_norm",
    ):
        whole = copied[name]
        rows, columns = (
            whole[keep]
            if name not in ("norm", "depthwise_norm", "pointwise_norm")
            else np.nan,
            whole[:, keep] if whole.shape[1] == n else np.nan,
        )
        makes = name in ("conv", "depthwise")
        wanted = rows if makes else whole if name == "pointwise_norm" else columns
        masked = whole.copy()
        if makes:
            masked[gone] = 0
        else:
            masked[:, gone] = 0
        c.equal(
            np.asarray(got[name]),
            wanted,
            tested=f"the array `{name}`",
            mistakes={
                f"`{name}` is still whole: its channels hang on the filters that went": np.nan
                if name == "pointwise_norm"
                else whole,
                f"`{name}` lost the filters that should stay": whole[gone]
                if makes
                else np.nan
                if name == "pointwise_norm"
                else whole[:, gone],
                "`pointwise` lost rows: it reads the channels, so it loses columns (axis 1)": rows
                if name == "pointwise"
                else np.nan,
                "`pointwise_norm` was cut: the 1x1 layer keeps all its outputs": columns
                if name == "pointwise_norm"
                else np.nan,
                f"`{name}` was set to zero in part: remove the channels, so that the array shrinks": masked,
                f"the first {len(keep)} of `{name}` were kept, not those of `keep`": whole[
                    : len(keep)
                ]
                if makes
                else whole[:, : len(keep)],
            },
        )


# %% tags=["check:narrow"]
narrow = check("narrow", my_narrow, prune_plain.narrow)

# %% [markdown]
# The proof: half of the stem's filters, ranked by your `filter_mask`, taken out by your `narrow`. The narrow network must give the same answers as the whole one whose 1x1 layer no longer **listens** to these
# channels. The same but for the rounding of float sums.

# %%
stays = np.flatnonzero(filter_mask(block["conv"], 0.5).any(axis=(1, 2, 3)))
smaller = prune_plain.with_block(network, narrow(block, stays))
deaf = {**block, "pointwise": block["pointwise"].copy()}
deaf["pointwise"][:, np.setdiff1d(np.arange(len(block["conv"])), stays)] = 0
masked_logits = nets.predict_logits(prune_plain.with_block(network, deaf), few.x)
difference = np.abs(nets.predict_logits(smaller, few.x) - masked_logits).max()

# %%
costs = {
    n: nets.count_macs(net, (3, 32, 32))
    for n, net in {"whole": network, "narrow": smaller}.items()
}
by_layer = {n: [c.macs / 1000 for c in cost.layers[:4]] for n, cost in costs.items()}
names = [layer.name for layer in costs["whole"].layers[:4]]

# %% tags=["folded"]
figure = ui.grouped_bars(
    names,
    by_layer,
    title=f"One layer's filters halved, three layers cheaper; largest difference of a logit {difference:.1e}",
    y="thousand MACs",
)
ui.show(
    figure,
    alt="MACs of the first four layers before and after; the first three fall by half.",
)
whose("filter_mask", "narrow")

# %% [markdown]
# **Before you go on.** Half of the filters of **every** layer go. How much of the work of a 1x1 layer is gone, and how much of a depthwise one?
#
# <details><summary>Discussion</summary>
#
# A 1x1 layer loses half of its outputs and half of its inputs: a quarter is left. A depthwise layer has one filter a channel: a half is left. That a half of the filters is a half of the work holds only for
# depthwise layers and for the first one.
#
# </details>
#
# ## The real tool
#
# Three tools, each asked and then **looked at**. First `torch.nn.utils.prune`, which ships with PyTorch: does it choose the weights that you chose?

# %%
from torch.nn.utils import prune as torch_prune

theirs = copy.deepcopy(network)
layer = theirs.get_submodule("pointwise3.conv")
torch_prune.l1_unstructured(layer, "weight", amount=0.5)
equal = bool(
    np.array_equal(layer.weight_mask.numpy().astype(bool), magnitude_mask(kernel, 0.5))
)
state = theirs.state_dict()
twice = [name for name in state if "pointwise3" in name and "conv" in name]


# %% tags=["finding:torch_prune"]
def finding_torch_prune(equal, kept, unpruned):
    same = (
        "chose the same weights as your mask"
        if equal
        else "chose other weights than your mask"
    )
    return (
        f"`torch.nn.utils.prune` {same}. Until `prune.remove` is called it keeps {listed([f'`{n}`' for n in kept])}, "
        f"so a saved state holds more numbers, not fewer. It works on the layer that is named and says nothing of the others: "
        f"{unpruned} layers have no zero."
    )


finding(finding_torch_prune, equal, twice, len(prune.count_zeros(theirs).unpruned))

# %% [markdown]
# Now filters. `edgelab.compress` finds by itself which channels can only go together, from the graph of the network: your `narrow` for every block, through shortcuts and concatenations, too. And it says what it
# left whole and why. The stored network was narrowed to half the MACs and trained on ahead; the table counts what is really there.

# %%
half = prune_ahead.pruned("signs_dscnn")
example = torch.zeros(1, 3, 32, 32)
budget = costs["whole"].macs / 2
_, plan = narrowed(network, example, macs=budget, **prune_ahead.HALF["signs_dscnn"])
ours = audit(network, half, (3, 32, 32), plan.found.kept)
ours

# %% [markdown]
# `torch-pruning` is the tool that most people use for it. Ask it for more and more, each time with widths that are multiples of four, and look at what it **did**. The other line is edgelab's
# `narrowed`, asked the same.


# %%
def asked_of_torch_pruning(net, ratio):
    import torch_pruning as tp

    made = copy.deepcopy(net)
    head = made.get_submodule("head")
    by = tp.importance.GroupMagnitudeImportance(p=1)
    settings = dict(
        importance=by, pruning_ratio=ratio, round_to=4, ignored_layers=[head]
    )
    tp.pruner.BasePruner(made, torch.zeros(1, 3, 32, 32), **settings).step()
    return audit(network, made, (3, 32, 32))


def asked_of_edgelab(net, ratio):
    made, plan = narrowed(net, torch.zeros(1, 3, 32, 32), ratio, round_to=4)
    return audit(network, made, (3, 32, 32), {**plan.found.kept, **plan.notes})


# %%
asked = (0.5, 0.7, 0.85, 0.9, 0.95, 0.97)
tools = {"edgelab": asked_of_edgelab}
if importlib.util.find_spec("torch_pruning"):
    tools["torch-pruning"] = asked_of_torch_pruning
did = {name: [tool(network, ratio) for ratio in asked] for name, tool in tools.items()}
left_of = {
    name: [100 * a.macs[1] / a.macs[0] for a in audits] for name, audits in did.items()
}

# %% tags=["folded"]
figure = ui.lines(
    {name: ([100 * r for r in asked], shares) for name, shares in left_of.items()},
    title=f"Asked for {100 * asked[-1]:.0f} % of the filters, MACs left: "
    + ", ".join(f"{name} {shares[-1]:.0f} %" for name, shares in left_of.items()),
    x="filters that should go, %",
    y="MACs that are left, %",
)
ui.show(
    figure,
    alt="MACs left over the share asked for: "
    + ", ".join(
        f"{name} ends at {shares[-1]:.0f} percent" for name, shares in left_of.items()
    ),
)


# %% tags=["finding:peer"]
def finding_peer(asked, left, silent):
    if not left:
        return "There is no torch-pruning here (not installed), so nothing is said about it."
    most = min(range(len(left)), key=left.__getitem__)
    text = f"The tool torch-pruning leaves {left[most]:.0f} % of the MACs when it is asked for {asked[most]:.0f} % of the filters"
    if left[-1] > left[most] + 1:
        text += f", and {left[-1]:.0f} % when it is asked for {asked[-1]:.0f} %: the more is asked, the less goes"
    whole = listed([f"`{name}`" for name in silent]) or "nothing but the head"
    return f"{text}. Asked for 95 of 100, it leaves whole, without a word: {whole}."


peer = did.get("torch-pruning", [])
unsaid = [name for name in (peer[4].not_pruned if peer else {}) if name != "head"]
finding(
    finding_peer, [100 * r for r in asked], left_of.get("torch-pruning", []), unsaid
)

# %% [markdown]
# A width below half of `round_to` rounds to 0, a layer of no filters cannot be, and so the tool leaves it as it was. Count what a tool **did**; what it was asked says little.
#
# Last, the files. Three networks on ONNX Runtime: dense, your sparse one with its zeros, and the narrow one. How large is each file, how large after gzip, and how fast is it?

# %%
files = {
    name: export(net, signs.test.x[:1], work / f"{name}.onnx")
    for name, net in {"dense": network, "sparse": sparse, "half the MACs": half}.items()
}
engines = {
    name: open_engine(file.path, threads=threads) for name, file in files.items()
}
times = latency.measure_latency(engines, signs.test.x[:1], runs=runs)
right["half the MACs"] = (
    engines["half the MACs"].predict(signs.test.x).argmax(1) == signs.test.y
)

# %%
narrow_half, _ = narrowed(network, example, ratio=0.5)
done = prune_train.fine_tune(
    narrow_half, signs, steps=steps, teacher=network, learning_rate=1e-2
)
fewer = open_engine(
    export(narrow_half, signs.test.x[:1], work / "fewer.onnx").path, threads=threads
)
more_times = latency.measure_latency(
    {"dense": engines["dense"], "half the filters": fewer}, signs.test.x[:1], runs=runs
)
sparse_speed = record("speed.sparse", times.speed_up("sparse", "dense"))
half_speed = record("speed.half_macs", times.speed_up("half the MACs", "dense"))

# %%
rows = [
    (
        name,
        file.bytes,
        prune_packed.gzip_bytes(file.path),
        times.readings[name]["p50"].figure(),
        quality.accuracy_reading(
            right["zeros, trained on" if name == "sparse" else name], ""
        ).figure(),
    )
    for name, file in files.items()
]
Table(
    "Three files",
    ("network", "bytes", "bytes after gzip", "p50", "right"),
    rows,
    "Measured with ONNX Runtime.",
)


# %% tags=["finding:files"]
def finding_files(zeros, bytes_sparse, zipped, speed, narrow_bytes, narrow_speed):
    told = {"above": "It is faster, {}.", "below": "It is slower, {}."}
    unclear = "No difference in time can be told, {}."
    more = {"above": " and is faster: {}.", "below": " and is slower: {}."}
    cannot = "; whether it is faster cannot be told: {}."
    return (
        f"With {zeros:.0f} % zeros the file has {bytes_sparse:.2f} times the bytes of the dense "
        f"one, and {zipped:.2f} times its bytes after gzip. "
        + by_side(speed, 1, **told, unclear=unclear)
        + f" The narrow file has {narrow_bytes:.2f} times the bytes"
        + by_side(narrow_speed, 1, **more, unclear=cannot)
    )


share_of = {n: f.bytes / files["dense"].bytes for n, f in files.items()}
zip_share = prune_packed.gzip_bytes(files["sparse"].path) / prune_packed.gzip_bytes(
    files["dense"].path
)
finding(
    finding_files,
    100 * zeros.sparsity,
    share_of["sparse"],
    zip_share,
    sparse_speed,
    share_of["half the MACs"],
    half_speed,
)

# %% [markdown]
# What did each step remove? The audit counts MACs and zeros in the network; `what_ran` reads which operators ONNX Runtime makes of its file. Where both columns of a file are those of
# the dense one, the runtime does the same work.

# %%
done_to = {"dense": network, "sparse": sparse, "half the MACs": half}
audits = {name: audit(network, net, (3, 32, 32)) for name, net in done_to.items()}
ran = {name: what_ran(file.path).operators for name, file in files.items()}
kinds = {name: [one.operator for one in found] for name, found in ran.items()}
work_left = {name: a.macs[1] / a.macs[0] for name, a in audits.items()}
rows = [
    (
        name,
        audits[name].zeros,
        f"{100 * work_left[name]:.0f} %",
        ", ".join(f"{kinds[name].count(k)} {k}" for k in dict.fromkeys(kinds[name])),
        ", ".join(sorted({one.type for one in ran[name]})),
        ", ".join(audits[name].not_pruned) if name != "dense" else "all",
    )
    for name in files
]
Table(
    "What is left",
    ("file", "zeros", "MACs", "operators that ran", "in", "layers that lost nothing"),
    rows,
)


# %% tags=["finding:removed"]
def finding_removed(zeros, work_left, same_operators):
    text = ""
    for name, left in work_left.items():
        same = (
            "the same operators as" if same_operators[name] else "other operators than"
        )
        removed = f"removed {100 * (1 - left):.0f} % of the MACs"
        if left >= 1:
            removed = f"left {zeros[name]:,} zeros and removed no work at all"
        text += f"{name[0].upper()}{name[1:]}: the step {removed}; {same} in the dense file ran. "
    return text.strip()


finding(
    finding_removed,
    {name: a.zeros for name, a in audits.items() if name != "dense"},
    {name: left for name, left in work_left.items() if name != "dense"},
    {name: kinds[name] == kinds["dense"] for name in files if name != "dense"},
)

# %% [markdown]
# Are fewer MACs always less time? Four more networks, not trained, each with **the same half of the MACs** left. They differ in one thing: of which number their widths are multiples.

# %%
widths = {}
for multiple in (2, 4, 8, 16):
    made, _ = narrowed(network, example, macs=budget, scope="global", round_to=multiple)
    file = export(made, signs.test.x[:1], work / f"width-{multiple}.onnx")
    widths[f"multiples of {multiple}"] = open_engine(file.path, threads=threads)
raced = latency.measure_latency(
    {"dense": engines["dense"], **widths}, signs.test.x[:1], runs=runs
)

# %% tags=["folded"]
p50 = {name: raced.readings[name]["p50"] for name in ("dense", *widths)}
figure = ui.bars(
    list(p50),
    list(p50.values()),
    title="Half the MACs; median of one inference: "
    + ", ".join(f"{name} {r.value * 1000:.0f} us" for name, r in p50.items()),
    y="ms",
)
ui.show(
    figure,
    alt="Bars of time: "
    + ", ".join(f"{name} {r.value:.3f} ms" for name, r in p50.items()),
)


# %% tags=["finding:widths"]
def finding_widths(speeds):
    def told(name, speed):
        words = {
            "above": "faster, {}",
            "below": "slower, {}",
            "unclear": "not told apart, {}",
        }
        return f"with widths in {name.lower()} it is {by_side(speed, 1, **words)}"

    for name, speed in speeds.items():
        if speed.doubt:
            text = "Whether a network with half of the MACs is faster cannot be told here. With widths in"
            return f"{text} {name.lower()}: {by_side(speed, 1, above='', below='', unclear='{}')}."
    said = "; ".join(told(*pair) for pair in speeds.items())
    return f"Against the whole network, one with half of its MACs: {said}."


finding(
    finding_widths,
    {name.capitalize(): raced.speed_up(name, "dense") for name in widths},
)

# %% [markdown]
# **Before you go on.** Why can a network with half of the work be slower?
#
# <details><summary>Discussion</summary>
#
# ONNX Runtime lays the channels out in blocks that are as wide as a vector register of the processor, 8 or 16 floats. A layer whose width does not suit the block can take another path, and for depthwise layers that path can be a slow one. MACs do not tell. The stored
# network at half the MACs has widths in multiples of 16 for this reason. On another processor the number is another one: measure there.
#
# </details>
#
# Now your two predictions.

# %%
guess_speed.against(sparse_speed)

# %%
less_work = 100 * (
    1 - nets.count_macs(narrow_half, (3, 32, 32)).macs / costs["whole"].macs
)
less_macs = Reading(less_work, "%", "measured", "counted from the shapes")
guess_macs.against(record("macs.half_the_filters", less_macs))

# %% [markdown]
# And who pays? The bars ask each group on its own; a bar below 0 is a gain.

# %%
half_loss = quality.difference(right["dense"], right["half the MACs"]).loss
losses = quality.group_differences(
    right["dense"], right["half the MACs"], signs.test.groups
)

# %% tags=["folded"]
figure = ui.bars(
    [f"{g.grouping}: {g.name}" for g in losses.groups],
    [g.loss for g in losses.groups],
    title=f"Half the MACs: {half_loss.value:.1f} points on average, {losses.worst.loss.value:.1f} for {losses.worst.name}",
    y="points of accuracy lost",
)
ui.show(
    figure,
    alt=f"Bars with intervals of what each group loses; {losses.worst.name} loses most.",
)

# %% [markdown]
# Some questions take longer than a lab may: many sparsities, several seeds, one-shot against iterative. These runs were made ahead, and each figure says when and where. First, on the small network of digits: is it better to prune in rounds of
# at most a fifth of what is left, with some training in each, or all at once with as many steps of training?

# %%
ahead = prune_ahead.read()["runs"]
levels = prune_ahead.SPARSITIES


def ahead_accuracy(what, **wanted):
    found = prune_ahead.selected(ahead, what=what, **wanted)
    return (
        float(np.mean([prune_ahead.accuracy(run) for run in found]))
        if found
        else np.nan
    )


# %%
ways = {
    way: [ahead_accuracy(way, network="digits_mlp", sparsity=s) for s in levels]
    for way in ("iterative", "one-shot")
}
reached = [100 * s for s in levels]

# %% tags=["folded"]
day, where = prune_ahead.made_on(prune_ahead.selected(ahead, what="iterative"))
seeds_run = len(prune_ahead.selected(ahead, what="iterative", sparsity=0.9))
figure = ui.lines(
    {way: (reached, values) for way, values in ways.items()},
    title=f"At {reached[-1]:.0f} % zeros: iterative {ways['iterative'][-1]:.1f} %, one-shot {ways['one-shot'][-1]:.1f} % "
    f"(runs of each: {seeds_run}, {day})",
    x="weights that are zero, %",
    y="test digits right, %",
)
ui.show(
    figure,
    alt="Accuracy over sparsity, iterative and one-shot: "
    + ", ".join(
        f"{way} {values[-1]:.1f} at the right end" for way, values in ways.items()
    ),
)


# %% tags=["finding:rounds"]
def finding_rounds(low, high, gain_low, gain_high):
    def told(gain):
        return by_side(
            gain,
            0,
            above="come out better, {}",
            below="come out worse, {}",
            unclear="change nothing that can be told, {}",
        )

    return (
        f"Rounds in place of one shot {told(gain_low)} at {low:.0f} % zeros, and {told(gain_high)} at {high:.0f} %. "
        f"Measured on {gain_high.made_on[0]}, {gain_high.made_on[1]}."
    )


def ahead_gap(better, worse, sparsity, what):
    pick = [
        prune_ahead.selected(ahead, what=w, network="digits_mlp", sparsity=sparsity)
        for w in (better, worse)
    ]
    return prune_ahead.paired(*pick, what)


gains = {
    s: ahead_gap("iterative", "one-shot", s, "iterative minus one-shot") for s in levels
}
finding(finding_rounds, reached[0], reached[-1], gains[levels[0]], gains[levels[-1]])

# %% [markdown]
# The lottery ticket and its control, at four sparsities. Where do the two part?

# %%
shares_of = prune_ahead.TICKETS
kinds = {"dense": "ticket dense", "ticket": "ticket", "random ticket": "ticket control"}
curves = {
    n: [ahead_accuracy(what, sparsity=s) for s in shares_of]
    for n, what in kinds.items()
}

# %% tags=["folded"]
figure = ui.lines(
    {name: ([100 * s for s in shares_of], values) for name, values in curves.items()},
    title=f"At {100 * shares_of[-1]:.0f} % zeros: "
    + ", ".join(f"{name} {values[-1]:.1f} %" for name, values in curves.items()),
    x="weights that are zero, %",
    y="test digits right, %",
)
ui.show(
    figure,
    alt="Accuracy of the dense network, the ticket and the random ticket over sparsity.",
)


# %%
Table(
    "What the runs were made to test",
    ("statement", "mean, points", "held"),
    [
        (j["says"], round(j["mean"], 1), "yes" if j["held"] else "no")
        for j in prune_ahead.read()["judged"]
    ],
    "A difference of two ways to prune, or a loss; from the runs made ahead.",
)


# %% tags=["finding:ahead"]
def finding_ahead(judged, date, machine):
    count = sum(j["held"] for j in judged)
    return (
        f"The runs were made to test {len(judged)} statements, and {count} of them hold. "
        f"Measured until {date} on {machine}."
    )


finding(finding_ahead, prune_ahead.read()["judged"], *prune_ahead.made_on(ahead))

# %% [markdown]
# ## Explore
#
# **By layer or for all.** Choose a sparsity and see which share of each layer goes when one threshold serves the whole network. Which layers are spared, and why?
#
# <details><summary>Discussion</summary>
#
# A threshold asks for the magnitude alone. The head and the later depthwise layers have larger weights than the others, and it spares them. The stem and the first depthwise layer are as small, and it takes
# their full share: many of their weights lie near zero. What a threshold spares is not always what breaks first. Compare with the heat map of single layers.
#
# </details>


# %%
def by_layer_zeros(percent):
    masks = global_masks(network, percent / 100)
    gone = [100 * (1 - float(mask.float().mean())) for mask in masks.values()]
    most, least = max(gone), min(gone)
    title = f"{percent} % of all: {least:.0f} to {most:.0f} % of a layer"
    return ui.bars(list(masks), gone, title=title, y="zeros, %")


ui.Panel(
    by_layer_zeros,
    title="Your mask, one threshold",
    alt="Bars of the share of zeros in each layer, under one threshold for all.",
    percent=ui.slider(10, 95, 5, value=80, label="percent of all weights"),
)

# %% [markdown]
# **Sparsity and accuracy, without training.** How far can you go before the network breaks? Does it matter whether each layer gives the same share?
#
# <details><summary>Discussion</summary>
#
# There is a knee: up to there little happens, and beyond it the network falls towards guessing. Does the curve of the other threshold fall earlier? With the same share of each layer the small depthwise layers
# give as much as the large ones. Training moves the knee to the right: compare the bar `zeros, trained on` further up with the one beside it.
#
# </details>

# %%
tried = {}
for percent in range(10, 91, 20):
    for scope in ("global", "layer"):
        cut = prune.apply_masks(
            copy.deepcopy(network), prune.magnitude_masks(network, percent / 100, scope)
        )
        tried[percent, scope] = evaluate(cut)


def knee(scope):
    curve = [tried[p, scope] for p in range(10, 91, 20)]
    title = f"{curve[0]:.0f} % right at the left end, {curve[-1]:.0f} % at the right"
    return ui.lines(
        {scope: (list(range(10, 91, 20)), curve)}, title, "zeros, %", "right, %"
    )


ui.Panel(
    knee,
    title="Pruned, not trained",
    alt="Accuracy over sparsity: flat, then a steep fall.",
    same_axes="scope",
    scope=ui.choice(["global", "layer"], value="global", label="threshold"),
)

# %% [markdown]
# **Make a run again.** The runs made ahead can be made here. A run takes from a few seconds (tickets) to a minute or two (signs), and shows its progress. Does your machine find the same?
#
# <details><summary>Discussion</summary>
#
# The accuracies should agree within the noise of a test set: the same seed gives the same order of the images, but sums of floats differ a little between processors, and training enlarges that.
#
# </details>


# %%
choices = {"as stored": None}
for run in prune_ahead.planned():
    if run["seed"] == 0 and run["what"] in ("ticket control", "half", "iterative"):
        choices[" ".join(str(v) for k, v in run.items() if k != "seed")] = run


def made_again(which, report):
    wanted = choices[which] or {"what": "half"}
    stored = prune_ahead.selected(ahead, **wanted)
    shown = {f"stored, {run['network']}, seed {run['seed']}": run for run in stored}
    if choices[which]:
        again = prune_ahead.make(
            work / "again.json", anew=True, runs=[wanted], report=report
        )
        shown["made here"] = prune_ahead.selected(list(again), **wanted)[0]
    values = {name: prune_ahead.accuracy(run) for name, run in shown.items()}
    title = ", ".join(
        f"{name}: {value:.1f} %" for name, value in list(values.items())[-2:]
    )
    return ui.bars(list(values), list(values.values()), title=title, y="right, %")


# %%
ui.Panel(
    made_again,
    title="Measure again",
    alt="Bars of accuracy: stored, and made here.",
    button="Make this run",
    reports=True,
    which=ui.choice(list(choices), value="as stored", label="run"),
)

# %% [markdown]
# ## Claims
#
# What the field says, held against what was measured. A verdict knows the interval of its reading, and may be "cannot tell". P1, P4 and P5 rest on the
# small network of digits and the runs made ahead; P2 and P3 on the signs, measured here.

# %%
dense_runs = prune_ahead.selected(ahead, what="dense", network="digits_mlp")


def ahead_loss(what, **wanted):
    return prune_ahead.paired(
        dense_runs, prune_ahead.selected(ahead, what=what, **wanted), what
    )


# %%
half_zero = record("loss.half_zeros", ahead_loss("one-shot", sparsity=0.5))
most_zero = record("loss.most_zeros", ahead_loss("one-shot", sparsity=0.9))
claim("P1", half=half_zero, most=most_zero)

# %%
claim("P2", sparse_speed)

# %%
less_time = more_times.ratio("half the filters", "dense")
ends = [
    None if end is None else 100 * (1 - end) for end in (less_time.high, less_time.low)
]
time_gone = Reading(
    100 * (1 - less_time.value),
    "%",
    "measured",
    less_time.by,
    *ends,
    doubt=less_time.doubt,
)
right["half the filters"] = fewer.predict(signs.test.x).argmax(1) == signs.test.y
filter_loss = quality.difference(right["dense"], right["half the filters"]).loss
record("loss.half_the_filters", filter_loss)
claim(
    "P3",
    operations=less_macs,
    time=record("time.half_the_filters", time_gone),
    loss=filter_loss,
)

# %%
claim("P4", record("gain.iterative", gains[0.9]))

# %%
ticket_loss = record(
    "loss.ticket", ahead_gap("ticket dense", "ticket", 0.9, "dense minus ticket")
)
control_loss = record(
    "loss.control",
    ahead_gap("ticket dense", "ticket control", 0.9, "dense minus control"),
)
claim("P5", ticket=ticket_loss, control=control_loss)

# %% [markdown]
# ## Challenge
#
# A product has room for <span class="given" title="the task">half the MACs</span> of this network, that is <span class="given" title="the task">2,780,000</span> of them, and its makers ask that no light fails: on validation the **worst** of day, dusk, glare and night
# must still be right in <span class="given" title="the task">76 %</span> of the cases. The two pull apart. Make a network that meets both.
#
# Everything above is allowed: `narrowed` with another criterion, some layers kept wider (`keep`), more training, the whole network as the teacher (`fine_tune(..., teacher=network)`).


# %% tags=["challenge:half", "hidden"]
def reference():
    """Half the MACs by the L1 norm, trained on with the whole network as the teacher."""
    return prune_ahead.pruned("signs_dscnn")


# %% tags=["challenge:half"]
# `your_network`: a network that takes the signs of this lab
### BEGIN SOLUTION
your_network = reference()
### GIVEN
# your_network = None
### END SOLUTION


# %%
def measured(net):
    val = signs.validation
    hits = nets.predict_logits(net, val.x).argmax(1) == val.y
    light = val.groups["lighting"]
    worst = min(np.unique(light), key=lambda name: hits[light == name].mean())
    macs = Reading(
        nets.count_macs(net, (3, 32, 32)).macs,
        "MACs",
        "measured",
        "counted from the shapes",
    )
    by = f"validation, {worst}"
    return {
        "MACs": macs,
        "worst light": quality.accuracy_reading(hits[light == worst], by),
    }


challenge(
    "half",
    your_network,
    measured,
    Target("MACs", at_most=2_780_000, unit="MACs"),
    Target("worst light", at_least=76.0, unit="%"),
)

# %% [markdown]
# ## Bring your own
#
# `edgelab.toolbox.prune` does all of this for a network of yours: it takes a PyTorch network, your data set (`edgelab.data.own`), and what you want, and gives back the network, a report and an ONNX file. It says what it did not
# prune and why, and who pays. Here it prunes a small network of digits; put weights for this lab's network into `my_checkpoint` to prune those.

# %%
if my_checkpoint:
    from edgelab.nets.checkpoints import read_weights

    own, own_data = (
        read_weights(copy.deepcopy(network), Path(my_checkpoint).expanduser()),
        signs,
    )
else:
    own, own_data = nets.load("digits_mlp"), digits
pruned = prune_network(
    own, own_data, work / "own.onnx", macs=0.5, steps=100, runs=runs, progress=False
)
pruned.report

# %% [markdown]
# ## What you found
#
# Made from the readings of this run, on this machine.


# %% tags=["finding:recap_zeros"]
def finding_recap_zeros(zeros, loss, speed):
    return by_side(
        loss,
        0,
        above=f"{zeros:.0f} % zeros cost {{}}",
        below=f"{zeros:.0f} % zeros cost nothing, {{}}",
        unclear=f"{zeros:.0f} % zeros cost nothing that this test set can tell, {{}}",
    ) + by_side(
        speed,
        1,
        above=", and the file was faster: {}.",
        below=", and the file was slower: {}.",
        unclear=", and made the file neither faster nor slower, as far as can be told: {}.",
    )


finding(finding_recap_zeros, 100 * zeros.sparsity, sparse_loss, sparse_speed)


# %% tags=["finding:recap_filters"]
def finding_recap_filters(macs, loss, speed, group, points, beyond_noise):
    lost = by_side(
        loss,
        0,
        above="lost {}",
        below="lost nothing, {}",
        unclear="lost nothing that can be told, {}",
    )
    text = f"A network with {macs:.0f} % of the MACs {lost}, and {points:.1f} points in the group `{group}`, where it lost most"
    text += "" if beyond_noise else ", no more than the noise explains"
    more = {"above": "; it is faster: {}.", "below": "; it is slower: {}."}
    return text + by_side(
        speed, 1, **more, unclear="; whether it is faster cannot be told: {}."
    )


share_left = 100 * ours.macs[1] / ours.macs[0]
finding(
    finding_recap_filters,
    share_left,
    half_loss,
    half_speed,
    losses.worst.name,
    losses.worst.loss.value,
    losses.worst.verdict.different,
)


# %% tags=["finding:recap_ticket"]
def finding_recap_ticket(ticket, control):
    told = "The winning ticket trains {} as the dense network, {{}}"
    also = "; a random one {} as well: it loses {{}}."
    first = by_side(
        ticket,
        1,
        above=told.format("not as well"),
        below=told.format("as well"),
        unclear="Whether the winning ticket trains as well cannot be told, {}",
    )
    said = {"above": also.format("does not train"), "below": also.format("trains")}
    return first + by_side(
        control, 1, **said, unclear="; nor can it of a random one: {}."
    )


finding(finding_recap_ticket, ticket_loss, control_loss)

# %% [markdown]
# And what holds on every machine:
#
# - A zero takes as many bytes and products as any other weight, until a format packs it or a kernel skips it. gzip finds zeros; ONNX Runtime does not.
# - The mask comes after the optimizer's step. Momentum and weight decay bring zeros back.
# - Ranks give an exact number. A threshold does not, where weights are equal.
# - A filter goes with its batch norm, its depthwise filter and a column of the next layer. With a shortcut, several layers lose the same channel.
# - Fewer MACs are less time only where the widths suit the kernels. Measure on the processor that will run it.
# - With half of the filters a quarter of the products of a dense layer is left, and a half of those of a depthwise one.
# - Ask a pruner what it did **not** prune. Count, do not believe.
#
# ## Sources
#
# - Han et al., *Learning both Weights and Connections for Efficient Neural Networks*, 2015: [arXiv:1506.02626](https://arxiv.org/abs/1506.02626) (magnitude, in rounds).
# - Han et al., *Deep Compression*, 2016: [arXiv:1510.00149](https://arxiv.org/abs/1510.00149) (the relative index).
# - Zhu and Gupta, *To prune, or not to prune*, 2017: [arXiv:1710.01878](https://arxiv.org/abs/1710.01878) (the cubic schedule).
# - Frankle and Carbin, *The Lottery Ticket Hypothesis*, 2019: [arXiv:1803.03635](https://arxiv.org/abs/1803.03635) (rewinding and the random control).
# - Li et al., *Pruning Filters for Efficient ConvNets*, 2017: [arXiv:1608.08710](https://arxiv.org/abs/1608.08710) (the norm of a filter).
# - Liu et al., *Learning Efficient Convolutional Networks through Network Slimming*, 2017: [arXiv:1708.06519](https://arxiv.org/abs/1708.06519) (the scale of batch norm).
# - Fang et al., *DepGraph: Towards Any Structural Pruning*, 2023: [arXiv:2301.12900](https://arxiv.org/abs/2301.12900) (which channels go together; the tool torch-pruning).
