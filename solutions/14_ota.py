# ---
# jupyter:
#   edgelab:
#     title: "Updates: no device may be left without a model"
#     minutes: 110
#     memory_gb: 2
#     requires: [torch, onnxruntime]
#     form: 2
#     claims: [O1, O2, O3, O4]
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
# # 14 Updates: no device may be left without a model
#
# A device in the field gets a new model over a bad line, from a server that may lie, and somebody may pull the plug at any moment. **Which updates can brick
# it, and which cannot? And when has a whole fleet seen enough of a bad one?** You write the parts of an updater, cut its power after every operation, attack it,
# mend one that was published, and watch a real one at work in real processes. Then you write the gate that stops a bad release while few devices have it.
#
# You need: lab `start`, or to know what a hash and a percentile are. No network, no GPU. The cells run in less than a minute; with the exercises plan two
# evenings, one for a device and one for the fleet.

# %% tags=["parameters"]
seed = 0
threads = 1
fleet_devices = 100_000  # of the simulated fleet
waves = (1, 10, 100)  # percent of the fleet, wave by wave
hold_h = 48  # hours in each wave
trials = 1000  # simulated rollouts for each gate
my_old_model = ""  # bring your own: two files of one network, .onnx or .tflite
my_new_model = ""

# %% tags=["setup", "folded"]
import copy
import dataclasses
import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch

# %% tags=["setup", "folded"]
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgelab import Reading, Table, data, nets, record, ui
from edgelab.compress import quantize_static
from edgelab.convert import to_onnx
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
from edgelab.feeding.arrays import save_arrays

# %% tags=["setup", "folded"]
from edgelab.ota import plain, schemes
from edgelab.ota.agent import looks, open_device, status
from edgelab.ota.deltas import aligned, best_delta, pack, sha256
from edgelab.ota.flash import Disk, Flash, crash_states
from edgelab.ota.fleet import draw_devices, run_fleet
from edgelab.ota.fleet_rollout import GATES, roll_out, sketch
from edgelab.ota.gate_trial import Trial, try_gates
from edgelab.ota.gates import RATIOS, e_process
from edgelab.ota.hardware import Fault
from edgelab.ota.histogram import LogHistogram, bin_of, middle_ms
from edgelab.ota.proof import cut_device
from edgelab.ota.publisher import Publisher, initialise
from edgelab.ota.release import publish
from edgelab.ota.schemes import CRASHES, MODEL, WRONG, Scheme, brick_count, golden_test
from edgelab.ota.server import serving
from edgelab.ota.storage import write_file

begin("ota")
torch.set_num_threads(threads)
generator = np.random.default_rng(seed)
folder = TemporaryDirectory()
work = Path(folder.name)

# %%
stages = [
    ("publisher", "signs"),
    ("server", "hands out"),
    ("device", "verifies, tries"),
]
stages += [("free slot", "written and tried"), ("pointer", "moves last")]
stages += [("fleet", "wave by wave")]
ui.pipeline(stages, "The way of a release", marked=["device"])

# %% [markdown]
# ## Predict
#
# Commit before you look. Each guess meets its figure further down.

# %%
guess_cuts = ui.predict(
    "A file is written under another name and renamed, without any sync. "
    "At how many of 100 places may a power cut leave a device that is not well?",
    unit="of 100",
    low=0.0,
    high=100.0,
)
guess_cuts

# %%
guess_delta = ui.predict(
    "The last layer of a network is trained on. How much of the file has to be sent?",
    unit="%",
    low=0.0,
    high=100.0,
)
guess_delta

# %% [markdown]
# A new release crashes as often as the old one, no more. A gate looks at the counts every hour, and stops the rollout when the new release has crashed more than twice as often as expected so far. That
# is easy to write and sounds careful.

# %%
guess_alarms = ui.predict(
    "Of 100 rollouts of a release that is no worse, how many does this gate stop?",
    unit="%",
    low=0.0,
    high=100.0,
)
guess_alarms

# %% [markdown]
# ## From scratch
#
# ### Which bytes may run?
#
# A release comes with a **manifest** that states its number, its size and its hash, and the publisher **signs** the manifest. Here are a real key, a real
# signature, and four things that a server may send.

# %% tags=["setup"]
key = Ed25519PrivateKey.generate()
good = schemes.stand_in(2)
stated = {"release": 2, "bytes": len(good), "sha256": sha256(good)}


def signed_by(public_key, signature, manifest):
    """Whether the holder of the private key signed this manifest."""
    try:
        public_key.verify(signature, json.dumps(manifest, sort_keys=True).encode())
    except InvalidSignature:
        return False
    return True


signature = key.sign(json.dumps(stated, sort_keys=True).encode())

# %%
forged = {**stated, "release": 9}
flipped = good[:50] + bytes([good[50] ^ 1]) + good[51:]
sent = {
    "as published": (stated, good),
    "one bit of the model": (stated, flipped),
    "cut short": (stated, good[:-9]),
    "another number": (forged, good),
}
rows = [
    {
        "sent": name,
        "signature": "holds"
        if signed_by(key.public_key(), signature, m)
        else "does not",
        "bytes": len(b),
        "hash": sha256(b)[:8],
    }
    for name, (m, b) in sent.items()
]
title = f"The manifest states {stated['bytes']} bytes, hash {stated['sha256'][:8]}"
ui.worked_table(rows, title)

# %% [markdown]
# Each check answers one question. With $m$ the manifest, $x$ the bytes that arrived, $h$ the hash, and $r_0$ the release that the device committed, a release is taken if
#
# $$ \text{signature of } m \text{ holds}, \qquad |x| = m_{\text{bytes}}, \qquad h(x) = m_{\text{hash}}, \qquad m_{\text{release}} \ge r_0 $$
#
# The last one is the easiest to forget. An **old** release is signed as well, with its faults that everybody knows by now.


# %% tags=["exercise:refusal"]
def my_refusal(stated, content, committed, signed):
    """Why a release is not taken: "signature", "size", "hash" or "older"; None if all holds."""
    # TODO: ask in this order, and name the first that does not hold. `sha256` gives the hash.
    ### BEGIN SOLUTION
    if not signed:
        return "signature"
    if len(content) != stated["bytes"]:
        return "size"
    if sha256(content) != stated["sha256"]:
        return "hash"
    return "older" if stated["release"] < committed else None
    ### END SOLUTION


# %% [markdown] tags=["hints:refusal"]
# 1. Four questions, four `if`s, each with its `return`. `signed` is True where the signature holds.
# 2. `len(content) != stated["bytes"]` is the size, `sha256(content) != stated["sha256"]` the hash. What is compared with `committed`?
# 3. `if stated["release"] < committed: return "older"`, and `return None` at the end. The same release again is no older one.


# %% tags=["check:refusal", "hidden"]
@checks("refusal")
def _(c, refusal):
    import hashlib

    content = c.rng.integers(0, 256, int(c.rng.integers(40, 90)), np.uint8).tobytes()
    release = int(c.rng.integers(4, 90))
    right = {
        "release": release,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    flip = bytes([content[0] ^ 1]) + content[1:]
    c.equal(
        refusal(dict(right), content, release - 1, True),
        None,
        tested="a release of which all holds",
        mistakes={
            "a newer release was called older: compare the other way round": "older",
            "a signature that holds was refused: signed is True": "signature",
        },
    )
    c.equal(
        refusal(dict(right), content, release, True),
        None,
        tested="the release that the device has already",
        mistakes={"the same release is not older: the number may be equal": "older"},
    )
    for what, arguments, reason in (
        ("a manifest that nobody signed", (right, content, 1, False), "signature"),
        ("a model cut short", (right, content[:-1], 1, True), "size"),
        ("a model with one bit changed", (right, flip, 1, True), "hash"),
        (
            "a release that is signed and older",
            (right, content, release + 1, True),
            "older",
        ),
        (
            "a forged manifest of a model cut short",
            (right, content[:-1], 1, False),
            "signature",
        ),
    ):
        stated, sent, committed, signed = arguments
        c.equal(
            refusal(dict(stated), sent, committed, signed),
            reason,
            tested=what,
            mistakes={
                "this was taken, and must not be": None,
                "the hash was asked before the size, or the size not at all": "hash"
                if reason == "size"
                else np.nan,
                "the signature comes first: without it nothing else of the manifest counts": "size"
                if reason == "signature"
                else np.nan,
            },
        )


# %% tags=["check:refusal"]
refusal = check(
    "refusal",
    my_refusal,
    lambda stated, content, last, ok: plain.refusal(stated, content, last, signed=ok),
)

# %%
old = schemes.stand_in(1)
sent["signed and older"] = (
    {"release": 1, "bytes": len(old), "sha256": sha256(old)},
    old,
)
rows = []
for name, (manifest, content) in sent.items():
    holds = name == "signed and older" or signed_by(
        key.public_key(), signature, manifest
    )
    rows.append((name, refusal(manifest, content, 2, holds) or "taken"))
table = Table("A device that has committed release 2", ("sent", "answer"), rows, "")
table

# %% tags=["folded"]
whose("refusal")

# %% [markdown]
# **Before you go on.** Why does a hash from the same server not do in place of a signature?
#
# <details><summary>Discussion</summary>
#
# Whoever can change the model on the server can change the hash beside it. A hash finds an accident. A signature needs a key that the server does not have.
#
# </details>
#
# ### When is a file really there?
#
# `write` puts bytes into memory. They reach the flash later, sector by sector and in any order. A **rename** is late, too. Here a new model is written under
# another name and renamed, without any sync, and then the power goes. This is all that may be on the flash:

# %%
before = Disk({"model": b"old"})
flash = Flash(before)
flash.create("new")
flash.write("new", 0, b"new")
flash.rename("new", "model")
left = crash_states(before, flash.log)


def seen(disk, name):
    content = disk.files.get(name)
    return "no file" if content is None else f"'{content.decode()}'"


rows = [{name: seen(disk, name) for name in ("model", "new")} for disk in left]
ui.worked_table(rows, f"{len(left)} states after one power cut")

# %% [markdown]
# Some of these hold a model of no bytes: the rename arrived, and the content did not. `fsync(file)` makes the content durable, `fsync_folder(folder)` the names in it. With
# $c$ the content, $n$ the name, and $\prec$ for "is durable before", what you need is
#
# $$ c_{\text{new}} \prec n_{\text{model}} \qquad\text{and}\qquad n_{\text{model}} \prec \text{"installed"} $$
#
# The flash here is a storage with the operations `create(name)`, `write(name, offset, content)`, `fsync(name)`, `rename(old, new)` and `fsync_folder("")`.


# %% tags=["exercise:replace"]
def my_replace(storage, name, content):
    """Put content into the file `name`: a power cut leaves the old one or the new, whole."""
    # TODO: five operations. When this returns, the new file has to stay.
    ### BEGIN SOLUTION
    storage.create(name + ".part")
    storage.write(name + ".part", 0, content)
    storage.fsync(name + ".part")
    storage.rename(name + ".part", name)
    storage.fsync_folder("")
    ### END SOLUTION


# %% [markdown] tags=["hints:replace"]
# 1. Never touch the old file. Which operation puts a new file in its place at once?
# 2. Write under another name, `name + ".part"`. What has to be durable before the rename, and what after it?
# 3. `create`, `write`, `fsync(name + ".part")`, `rename(name + ".part", name)`, `fsync_folder("")`.
# 4. (for: the content was not durable before the rename) The order counts: `fsync` of the new file stands before `rename`.


# %% tags=["check:replace", "hidden"]
@checks("replace")
def _(c, replace):
    from edgelab.ota.flash import Cuts, Disk, Flash

    old = c.rng.integers(0, 256, 700, np.uint8).tobytes()
    new = c.rng.integers(0, 256, 900, np.uint8).tobytes()
    for name in ("model", "other.onnx"):
        start = Disk({name: old})
        flash = Flash(start)
        replace(flash, name, new)
        c.that(
            flash.files.get(name) == new,
            tested=f"what stands in '{name}' in the end",
            found="nothing, or another content",
            mistake="the new content has to stand under the name that was given",
        )
        cuts, found = Cuts(start), set()
        for operation in flash.log:
            cuts.do(operation)
            for disk in cuts.states(np.random.default_rng(0), 4, 8):
                have = disk.files.get(name)
                if have is None:
                    found.add("gone")
                elif have not in (old, new):
                    found.add(
                        "rename"
                        if any(o.kind == "rename" for o in flash.log)
                        else "over"
                    )
        last = {
            disk.files.get(name) == new
            for disk in cuts.states(np.random.default_rng(0), 4, 8)
        }
        c.that(
            "over" not in found,
            tested="a power cut while the file is written",
            found="a file that is neither the old one nor the new one",
            mistake="the old file was written over: write under another name, and rename",
        )
        c.that(
            "gone" not in found,
            tested="a power cut between the operations",
            found="no file of that name",
            mistake="the old file was removed before the new one had its name: rename replaces it",
        )
        c.that(
            "rename" not in found,
            tested="a power cut after the rename",
            found="the new name with a part of the content",
            mistake="the content was not durable before the rename: fsync the new file first",
        )
        c.that(
            last == {True},
            tested="a power cut after the function has returned",
            found="the old file is back",
            mistake="the rename was not durable: fsync the folder last",
        )


# %% tags=["check:replace"]
replace = check("replace", my_replace, write_file)


# %%
def install(storage, _release, content):
    replace(storage, MODEL, content)


yours = Scheme("yours", install, schemes.start_model)
tried = (*schemes.SCHEMES[:4], yours)
counts = {scheme.name: brick_count(scheme, seed=seed) for scheme in tried}
shares = [100 * report.share for report in counts.values()]

# %% tags=["folded"]
figure = ui.bars(
    list(counts),
    shares,
    title=f"Places at which a power cut may brick the device: yours {shares[-1]:.0f} %, in place {shares[0]:.0f} %",
    y="places to cut, %",
)
ui.show(figure, alt=listed([f"{n} {s:.0f} percent" for n, s in zip(counts, shares)]))
whose("replace")

# %%
unsynced = counts["rename without fsync"]
by = "every place to cut, many states"
share = Reading(100 * unsynced.share, "of 100", "measured", by)
guess_cuts.against(record("cuts.rename_unsynced", share))

# %% [markdown]
# ### Which slot does a restart run?
#
# A whole, signed model can still be a bad one. So the new one goes into a second **slot** and runs **on trial**: it may be started a few times, and
# if nobody commits it by then, the device goes back by itself. The state is written **before** each start, so that a crash counts as a start that was used up.

# %%
state, rows = {"active": "a", "trial": "b", "starts_left": 2}, []
for start in range(1, 5):
    slot, after = plain.next_start(state)
    row = {"start": start, "left": state["starts_left"], "runs": slot}
    rows.append({**row, "then on trial": after["trial"] or "-"})
    state = after
ui.worked_table(rows, "A release that crashes each time, with two starts")

# %% [markdown]
# With $k$ starts left, $t$ the slot on trial and $a$ the committed one:
#
# $$ \text{run } \begin{cases} a & \text{nothing on trial} \\ t,\quad k \leftarrow k - 1 & k \ge 1 \\ a,\quad \text{the trial ends} & k = 0 \end{cases} $$


# %% tags=["exercise:start"]
def my_next_start(state):
    """The slot to run and the new state; it has active, trial (a slot or None), starts_left."""
    # TODO: the three cases above. Return a new dict, and leave `state` as it is.
    ### BEGIN SOLUTION
    if state["trial"] is None:
        return state["active"], dict(state)
    if state["starts_left"] < 1:
        return state["active"], {**state, "trial": None}
    return state["trial"], {**state, "starts_left": state["starts_left"] - 1}
    ### END SOLUTION


# %% [markdown] tags=["hints:start"]
# 1. Three cases, three `return`s, each with a slot and a dict. Begin with the case in which nothing is on trial.
# 2. `{**state, "trial": None}` is a copy with one entry changed.
# 3. `return state["trial"], {**state, "starts_left": state["starts_left"] - 1}` if any are left, else `return state["active"], {**state, "trial": None}`.


# %% tags=["check:start", "hidden"]
@checks("start")
def _(c, next_start):
    one, two = (("a", "b"), ("b", "a"))[int(c.rng.integers(2))]
    left = int(c.rng.integers(2, 6))

    def state(trial, left):
        return {"active": one, "trial": trial, "starts_left": left}

    for what, given, slot, after in (
        ("nothing on trial", state(None, 0), one, state(None, 0)),
        ("a trial with starts left", state(two, left), two, state(two, left - 1)),
        ("a trial with one start left", state(two, 1), two, state(two, 0)),
        ("a trial without a start left", state(two, 0), one, state(None, 0)),
    ):
        kept = dict(given)
        got = next_start(given)
        c.that(
            given == kept,
            tested="the state that was given",
            found="it was changed",
            mistake="the state was changed in place: return a new dict",
        )
        found, written = c.parts(got, 2, wanted="a slot and a state")
        c.equal(
            found,
            slot,
            tested=f"the slot that runs: {what}",
            mistakes={
                "the slot on trial was not run: it may as long as starts are left": one
                if slot == two
                else np.nan,
                "the slot on trial ran once too often: at 0 the device goes back": two
                if slot == one
                else np.nan,
                "None was run: without a trial the committed slot runs": None,
            },
        )
        c.equal(
            dict(written),
            after,
            tested=f"the state that is written: {what}",
            mistakes={
                "the start was not counted: a crash would be tried for ever": kept,
                "the trial was committed by its start: only health may commit it": {
                    **kept,
                    "active": two,
                    "trial": None,
                },
                "the trial did not end: it has to be None when no start is left": {
                    **kept,
                    "starts_left": -1,
                },
            },
        )


# %% tags=["check:start"]
next_start = check("start", my_next_start, plain.next_start)


# %%
def starts_until_back(allowed):
    state, ran = {"active": "a", "trial": "b", "starts_left": allowed}, []
    while len(ran) < 12 and state["trial"]:
        slot, state = next_start(state)
        ran.append(slot)
    return len(ran)


allowed = list(range(1, 7))
until = [starts_until_back(n) for n in allowed]
figure = ui.lines(
    {"back on slot a": (allowed, until)},
    title=f"With {allowed[2]} starts allowed, start number {until[2]} runs the old model again",
    x="starts allowed",
    y="start that runs the old model",
)
ui.show(
    figure, alt="The old model runs again one start after the last that was allowed."
)

# %% tags=["folded"]
whose("start")

# %% [markdown]
# ### How little can be sent?
#
# A tuned network has the same tensors at nearly the same values. Subtract the old ones: what is left is zeros and small numbers, which pack well. The difference of two int8 numbers does not fit into int8.
# It does **modulo 256**: what leaves at one end comes in at the other, and on the way back, too.

# %%
pairs = [(10, 12), (-3, -4), (100, -100), (-128, 127)]
rows = [
    {
        "old": a,
        "new": b,
        "difference": b - a,
        "in a byte": int(plain.difference([a], [b])[0]),
    }
    for a, b in pairs
]
ui.worked_table(rows, "Four int8 weights")

# %% [markdown]
# $$ d_i = (w_i^{\text{new}} - w_i^{\text{old}}) \bmod 256, \qquad w_i^{\text{new}} = (w_i^{\text{old}} + d_i) \bmod 256 $$
#
# read as int8 again. NumPy's unsigned bytes count in this way by themselves: `view(np.uint8)` reads the same bytes as unsigned, `view(np.int8)` as signed.


# %% tags=["exercise:difference"]
def my_difference(old, new):
    """New less old, both int8 arrays of one shape, modulo 256, as int8."""
    # TODO: one line with views; nothing may be clipped.
    ### BEGIN SOLUTION
    return (new.view(np.uint8) - old.view(np.uint8)).view(np.int8)
    ### END SOLUTION


# %% [markdown] tags=["hints:difference"]
# 1. int8 minus int8 wraps around in NumPy, too, if both stay int8. The unsigned bytes say it more plainly.
# 2. `new.view(np.uint8)` are the bytes of `new`. Subtract, and read the result as int8.
# 3. `return (new.view(np.uint8) - old.view(np.uint8)).view(np.int8)`


# %% tags=["check:difference", "hidden"]
@checks("difference")
def _(c, difference):
    for shape in ((64,), (8, 3, 3)):
        old = c.rng.integers(-128, 128, shape).astype(np.int8)
        new = c.rng.integers(-128, 128, shape).astype(np.int8)
        wide = new.astype(int) - old.astype(int)
        right = ((wide + 128) % 256 - 128).astype(np.int8)
        got = difference(old.copy(), new.copy())
        c.that(
            np.asarray(got).dtype == np.int8 and np.shape(got) == shape,
            tested="type and shape",
            found=f"{np.asarray(got).dtype} {np.shape(got)}, where int8 {shape} is wanted",
            mistake="the difference has to take as many bytes as the weights: int8",
        )
        c.equal(
            np.asarray(got),
            right,
            tested=f"the difference of weights of shape {shape}",
            mistakes={
                "old and new are exchanged: the new weights come first": (
                    -right.astype(int)
                ).astype(np.int8),
                "it was clipped to -128 and 127: what leaves at one end comes in at the other": np.clip(
                    wide, -128, 127
                ).astype(np.int8),
                "the sign is lost: no absolute value": np.abs(wide)
                .astype(np.uint8)
                .view(np.int8),
                "this is the exclusive or of the bits: subtract": new ^ old,
            },
        )


# %% tags=["check:difference"]
difference = check("difference", my_difference, plain.difference)

# %% [markdown]
# Now on a real network: the signs of lab 01, its last layer trained on for a few steps, or all of it, gently. What packs better, the new weights or your difference?

# %%
signs = data.signs(train=1500, validation=500, test=500, seed=seed)
x, y = torch.from_numpy(signs.train.x), torch.from_numpy(signs.train.y)


def tuned(choose, rate, steps=10):
    net = copy.deepcopy(
        nets.load("signs_dscnn")
    ).eval()  # batch norm keeps what it knows
    stepper = torch.optim.AdamW(choose(net), lr=rate)
    for step in range(steps):
        part = slice(64 * step, 64 * step + 64)
        stepper.zero_grad()
        torch.nn.functional.cross_entropy(net(x[part]), y[part]).backward()
        stepper.step()
    return net


# %%
versions = {
    "as it was": nets.load("signs_dscnn").eval(),
    "last layer": tuned(lambda net: list(net.parameters())[-2:], 1e-3),
    "all layers": tuned(lambda net: net.parameters(), 1e-4),
}
files = {}
for number, (name, net) in enumerate(versions.items()):
    files[name] = work / f"{number}.onnx"
    to_onnx(net, signs.train.x[:1], work / "float.onnx")
    quantize_static(work / "float.onnx", files[name], signs.train.x[:200])


# %% [markdown]
# The int8 weights of each file, their difference by your function, and both packed by zstd:


# %%
def int8_weights(path):
    import onnx

    held = onnx.load(path).graph.initializer
    arrays = [onnx.numpy_helper.to_array(t).reshape(-1) for t in held]
    return np.concatenate([a for a in arrays if a.dtype == np.int8 and a.size > 64])


weights = {name: int8_weights(path) for name, path in files.items()}
base = weights["as it was"]
sizes = {}
for name in ("last layer", "all layers"):
    changed = difference(base, weights[name])
    packed = [pack(values.tobytes()) for values in (weights[name], changed)]
    sizes[name] = [100 * len(p) / base.size for p in packed]

# %% tags=["folded"]
figure = ui.grouped_bars(
    list(sizes),
    {
        "new weights": [s[0] for s in sizes.values()],
        "difference": [s[1] for s in sizes.values()],
    },
    title=f"Packed: the difference of all layers is {sizes['all layers'][1]:.1f} % of the weights",
    y="packed, % of the int8 weights",
)
ui.show(
    figure,
    alt="Packed size of the new weights and of the difference, for one layer and for all.",
)
whose("difference")

# %% [markdown]
# ### How slow is the fleet?
#
# Each device knows its own latencies; the server wants the 95th percentile of **all** inferences. It cannot have every latency, and a mean of the devices' percentiles is something else. Two devices by hand, one
# busy and fast, one slow and rarely used:

# %%
busy, rare = np.repeat(2.0, 96), np.array([40.0, 40.0, 40.0, 50.0])
together = np.concatenate([busy, rare])
ui.worked_table(
    [
        {"whose": name, "inferences": len(part), "p95 in ms": p95}
        for name, part, p95 in (
            ("busy", busy, np.percentile(busy, 95, method="inverted_cdf")),
            ("rare", rare, np.percentile(rare, 95, method="inverted_cdf")),
            (
                "all together",
                together,
                np.percentile(together, 95, method="inverted_cdf"),
            ),
        )
    ],
    f"The mean of the two percentiles is {(2 + 50) / 2:g} ms",
)

# %% [markdown]
# The way out: everybody counts in the **same bins**, each a little wider than the one before, and the server adds the counts. Sums of counts do not care who is added first, and a percentile of the sum is off by no
# more than the width of a bin. Of all $n$ inferences, the percentile $q$ stands in the first bin $b$ with
#
# $$ \sum_{i \le b} \sum_{d} c_{d,i} \;\ge\; \frac{q}{100} \, n, \qquad n = \sum_{d} \sum_i c_{d,i} $$
#
# where $c_{d,i}$ is what device $d$ counted in bin $i$.


# %% tags=["exercise:fleet_percentile"]
def my_fleet_percentile(counts, q):
    """The bin, from 0, that holds percentile q of all; counts are (devices, bins)."""
    # TODO: add the devices up, add bin after bin, find the first that reaches q percent.
    ### BEGIN SOLUTION
    up_to = counts.sum(axis=0).cumsum()
    return int(np.argmax(up_to >= q / 100 * up_to[-1]))
    ### END SOLUTION


# %% [markdown] tags=["hints:fleet_percentile"]
# 1. (for: the mean of the devices' percentiles) Add the counts of all devices first, then look for one bin.
# 2. Devices are dimension 0. After `counts.sum(axis=0)` there is one count a bin, and `cumsum()` says how many inferences lie in this bin or below.
# 3. `up_to >= q / 100 * up_to[-1]` is False, False, ..., True, True. `np.argmax` of it is the place of the first True.
# 4. `up_to = counts.sum(axis=0).cumsum()`, then `int(np.argmax(up_to >= q / 100 * up_to[-1]))`.


# %% tags=["check:fleet_percentile", "hidden"]
@checks("fleet_percentile")
def _(c, fleet_percentile):
    def first(total, q, above=np.greater_equal):
        up_to = total.cumsum()
        return int(np.argmax(above(up_to, q / 100 * up_to[-1])))

    def right(counts, q):
        return first(counts.sum(axis=0), q)

    def each(counts, q):
        return [first(row, q) for row in counts]

    cases = []
    for q in (95, 50, 99, 10, 80, 30):
        heights = np.exp(c.rng.normal(0, 1, (4, 1)) - np.linspace(-2, 2, 24) ** 2)
        counts = c.rng.poisson(30 * heights) + 0
        counts = np.stack(
            [np.roll(row, k) for row, k in zip(counts, c.rng.integers(-6, 7, 4))]
        )
        counts[:, 12] += 3
        cases.append((counts, q))
    exact = np.zeros((2, 6), np.int64)
    exact[0, 1], exact[1, 4] = 19, 1
    shape = np.shape(fleet_percentile(exact.copy(), 50))
    c.that(
        shape == (),
        tested="that the answer is one number",
        found=f"an array of the shape {shape}",
        mistake="return the number of one bin, not a row of them",
    )
    c.each(
        fleet_percentile,
        [*((counts.copy(), q) for counts, q in cases), (exact, 95)],
        right,
        tested=lambda counts, q: (
            f"percentile {q} of {len(counts)} devices in {counts.shape[1]} bins"
        ),
        mistakes={
            "a bin that holds exactly q percent is enough: >=, not >": lambda n, q: (
                first(n.sum(axis=0), q, np.greater)
            ),
            "the mean of the devices' percentiles: add the counts first": lambda n, q: (
                round(float(np.mean(each(n, q))))
            ),
            "the mean of the devices' percentiles, not rounded: add the counts first": lambda n, q: (
                float(np.mean(each(n, q)))
            ),
            "the mean of the devices' percentiles, rounded down: add the counts first": lambda n, q: (
                int(np.mean(each(n, q)))
            ),
            "the largest of the devices' percentiles: add the counts first": lambda n, q: (
                max(each(n, q))
            ),
            "only the first device was counted": lambda n, q: first(n[0], q),
            "the bin with the most counts: add bin after bin until q percent are reached": lambda n, q: (
                int(n.sum(axis=0).argmax())
            ),
            "one bin too far: the first bin that reaches q percent is the one": lambda n, q: (
                right(n, q) + 1
            ),
            "one bin too early: the bin that reaches q percent is the one": lambda n, q: (
                right(n, q) - 1
            ),
            "q percent of the bins: q percent of the inferences": lambda n, q: int(
                q / 100 * n.shape[1]
            ),
            "q is a percentage: divide it by 100": lambda n, q: 0,
            "the counts were added from the top bin down: from the lowest bin on": lambda n, q: (
                first(n.sum(axis=0)[::-1], q)
            ),
        },
    )


# %% tags=["check:fleet_percentile"]
fleet_percentile = check(
    "fleet_percentile",
    my_fleet_percentile,
    lambda counts, q: int(
        bin_of(np.array([LogHistogram(counts.sum(axis=0)).percentile(q)]))[0]
    ),
)

# %% [markdown]
# Your function on a simulated fleet: three kinds of hardware, some in the sun and throttled, each hour of a day. Each kind's own p95, the mean of the three, and the fleet's.

# %%
day = {}
simulated = draw_devices(3000, seed)
day = {}
for kind in simulated.kinds:
    size, only = round(3000 * kind.share), [dataclasses.replace(kind, share=1.0)]
    alone = draw_devices(size, seed, only)
    day[kind.name] = run_fleet(alone, hours=24, tick_s=600.0, seed=seed).latency
in_bins = np.stack([each.counts for each in day.values()])
p95 = {
    name: float(middle_ms(fleet_percentile(row[None], 95)))
    for name, row in zip(day, in_bins)
}
p95["mean of the three"] = float(np.mean(list(p95.values())))
p95["fleet"] = float(middle_ms(fleet_percentile(in_bins, 95)))

# %% tags=["folded"]
title = f"p95 of the fleet {p95['fleet']:.3g} ms; the mean of the kinds' p95 says {p95['mean of the three']:.3g} ms"
readings = [
    Reading(v, "ms", "modelled", "a simulated fleet, one day") for v in p95.values()
]
ui.show(
    ui.bars(list(p95), readings, title, "p95 in ms", x="whose"), alt=f"Bars. {title}."
)
whose("fleet_percentile")

# %% [markdown]
# ### When is a crash too many?
#
# Some devices run the new release, the others the old one, at the same time and chosen by lot: an A/B test. Say the new release has the share $s$ of the devices, and in the last hour $m$ devices crashed. If the new release is
# no worse, each crash is as if drawn by lot: with chance $s$ it hit a device with the new one. If it crashes $r$ times as often, the chance is $rs / (1 + (r - 1) s)$.
#
# Now **bet**. You start with 1 coin and bet on a worse release with rate ratio $r$. For each crash on the new release the bet multiplies your money by $r / (1 + (r - 1) s)$, and for one on the old release by $1 / (1 + (r - 1) s)$.
# The two factors are made so that a release that is no worse leaves the money, on average, as it is. By hand, a tenth of the devices, a bet on twice the crashes:


# %%
def one_hour(x, y, s=0.1, r=2.0):
    pays = r**x / (1 + (r - 1) * s) ** (x + y)
    chance = {"on the new": x, "on the old": y, "factor": pays}
    return chance


hours_by_hand = [one_hour(0, 9), one_hour(1, 9), one_hour(3, 9), one_hour(4, 8)]
running_money = np.cumprod([row["factor"] for row in hours_by_hand])
ui.worked_table(
    [
        {"hour": k + 1} | row | {"money after it": money}
        for k, (row, money) in enumerate(zip(hours_by_hand, running_money))
    ],
    "A bet on twice the crashes",
)

# %% [markdown]
# $$ E_t = \frac{1}{R} \sum_{r} \; \prod_{h \le t} \frac{r^{x_h}}{\left(1 + (r - 1)\, s_h\right)^{x_h + y_h}} $$
#
# In hour $h$ there were $x_h$ crashes on the new release and $y_h$ on the old one; $s_h$ is the share of the new one then. Nobody knows $r$, so the coin is split into $R$ bets, and the money is the **mean** over the bets. This is an
# **e-process**. That fair bets ever turn 1 coin into $1 / \alpha$ coins has at most the chance $\alpha$ (Ville, 1939), no matter how often you look. So the gate is: stop when $E_t \ge 1 / \alpha$. The day, with more crashes at noon than
# at night, cancels: both releases live through the same noon.


# %% tags=["exercise:e_process"]
def my_e_process(new, old, share, ratios):
    """Money after each hour; new, old: crashes, share: of the new release, all (hours,)."""
    # TODO: for each ratio the factors of the hours, multiplied up; then the mean over ratios.
    ### BEGIN SOLUTION
    money = []
    for r in ratios:
        factors = r**new / (1 + (r - 1) * share) ** (new + old)
        money.append(np.cumprod(factors))
    return np.mean(money, axis=0)
    ### END SOLUTION


# %% [markdown] tags=["hints:e_process"]
# 1. (for: the hours were not multiplied up) The money of an hour is the money of the hour before times the factor of this hour: `np.cumprod`.
# 2. (for: the bets were multiplied) Each bet has its own coin. They are put together at the end, with a mean over the bets.
# 3. Write a loop over `ratios`. In it, `new`, `old` and `share` are arrays of one number an hour, so the formula needs no second loop.
# 4. `factors = r**new / (1 + (r - 1) * share) ** (new + old)` are the factors of one bet.
# 5. `np.mean([np.cumprod(r**new / (1 + (r - 1) * share) ** (new + old)) for r in ratios], axis=0)`


# %% tags=["check:e_process", "hidden"]
@checks("e_process")
def _(c, e_process):
    def factors(x, y, s, r):
        return r**x / (1 + (r - 1) * s) ** (x + y)

    def right(x, y, s, ratios, of=factors):
        return np.mean([np.cumprod(of(x, y, s, r)) for r in ratios], axis=0)

    for ratios in ((2.0,), (1.5, 3.0), (1.25, 2.0, 5.0)):
        share = np.repeat(c.rng.uniform(0.05, 0.6, 2), 3)
        new = c.rng.poisson(4 * share).astype(float) + c.rng.integers(0, 2, 6)
        old = c.rng.poisson(4 * (1 - share)).astype(float) + 1.0
        got = e_process(new.copy(), old.copy(), share.copy(), ratios)
        each = [factors(new, old, share, r) for r in ratios]
        mistakes = {
            "the hours were not multiplied up: the money of an hour is that of the hour before times its factor": np.mean(
                each, axis=0
            ),
            "the hours were added up: multiply them": np.mean(
                np.cumsum(each, axis=1), axis=0
            ),
            "the exponent below counts the crashes on the old release alone: all crashes, new + old": right(
                new,
                old,
                share,
                ratios,
                lambda x, y, s, r: r**x / (1 + (r - 1) * s) ** y,
            ),
            "the exponent below counts the crashes on the new release alone: all crashes, new + old": right(
                new,
                old,
                share,
                ratios,
                lambda x, y, s, r: r**x / (1 + (r - 1) * s) ** x,
            ),
            "the exponent above counts all crashes: those on the new release alone": right(
                new,
                old,
                share,
                ratios,
                lambda x, y, s, r: r ** (x + y) / (1 + (r - 1) * s) ** (x + y),
            ),
            "the exponent above counts the crashes on the old release: the bet is against the new one": right(
                new,
                old,
                share,
                ratios,
                lambda x, y, s, r: r**y / (1 + (r - 1) * s) ** (x + y),
            ),
            "below stands 1 + r s: it is 1 + (r - 1) s": right(
                new,
                old,
                share,
                ratios,
                lambda x, y, s, r: r**x / (1 + r * s) ** (x + y),
            ),
            "the share of the old release was taken": right(
                new, old, 1 - share, ratios
            ),
            "the share was left out: a crash on the old release must cost something": right(
                new, old, share, ratios, lambda x, y, s, r: r**x
            ),
            "one share was taken for all hours: each hour has its own": right(
                new, old, np.full_like(share, share.mean()), ratios
            ),
            "the last share was taken for all hours: each hour has its own": right(
                new, old, np.full_like(share, share[-1]), ratios
            ),
            "this is the logarithm of the money": np.log(
                right(new, old, share, ratios)
            ),
            "this is the money at the end: one number an hour is wanted": right(
                new, old, share, ratios
            )[-1],
        }
        if len(ratios) > 1:
            mistakes |= {
                "the mean over the bets was taken each hour, before multiplying: each bet keeps its own coin": np.cumprod(
                    np.mean(each, axis=0)
                ),
                "the bets were multiplied: take their mean": np.prod(
                    np.cumprod(each, axis=1), axis=0
                ),
                "the bets were added up: take their mean, it is one coin that is split": np.sum(
                    np.cumprod(each, axis=1), axis=0
                ),
                "the best bet was taken afterwards: that is no bet, take the mean": np.max(
                    np.cumprod(each, axis=1), axis=0
                ),
                "the logarithms of the bets were averaged: take the mean of the money": np.exp(
                    np.mean(np.cumsum(np.log(each), axis=1), axis=0)
                ),
                "the ratios were averaged before the bet: one bet a ratio, then the mean": np.cumprod(
                    factors(new, old, share, np.mean(ratios))
                ),
                "only the first ratio was bet on": np.cumprod(each[0]),
                "only the last ratio was bet on": np.cumprod(each[-1]),
            }
        c.close(
            got,
            right(new, old, share, ratios),
            1e-9,
            tested=f"six hours, bets on {', '.join(f'{r:g}' for r in ratios)} times the crashes",
            mistakes=mistakes,
        )
    quiet = e_process(np.zeros(3), np.zeros(3), np.full(3, 0.1), (2.0, 4.0))
    c.close(
        quiet,
        np.ones(3),
        1e-9,
        tested="three hours without a crash",
        mistakes={"without a crash nothing is won and nothing lost": np.zeros(3)},
    )


# %% tags=["check:e_process"]
e_money = check(
    "e_process",
    my_e_process,
    lambda new, old, share, ratios: e_process(new, old, share, 1 - share, ratios),
)

# %% [markdown]
# Your e-process watches three rollouts of ten thousand devices, with a look every hour: one of a release that is no worse, one with twice, one with <span class="given" title="the trial's setting">five times the</span> crashes. The level line is $1 / \alpha$. More money than the highest tick is drawn there.

# %%
setting = Trial()
rng = np.random.default_rng(seed)
paths = {}
for ratio, name in (
    (1.0, "no worse"),
    (2.0, "twice the crashes"),
    (5.0, "five times"),
):
    one = setting.draw(ratio, 1, rng)
    money = e_money(one.new[0], one.old[0], one.share[0], RATIOS)
    paths[name] = (np.arange(1, setting.hours + 1), np.clip(money, 1e-3, 1e4))

# %% tags=["folded"]
found_at = {
    name: int(np.argmax(y >= 20)) + 1 for name, (_, y) in paths.items() if y.max() >= 20
}
title = "; ".join(
    f"{name}: {f'stopped after {found_at[name]} h' if name in found_at else 'goes on'}"
    for name in paths
)
at_limit = (np.arange(1, setting.hours + 1), np.full(setting.hours, 20.0))
figure = ui.lines(
    {**paths, "stops here": at_limit},
    title,
    "hours since the start",
    "money (evidence against the release)",
    log_y=True,
)
ui.show(figure, alt=f"Three curves and the limit. {title}.")
whose("e_process")

# %% [markdown]
# ### What do 50,000 updates without a failure prove?
#
# "Zero failed roll-backs in 50,000" sounds like never. But how high could the rate of failures be, and still show none? If each fails with probability $p$, then
# $n$ of them all go well with probability $(1-p)^n$.

# %%
rows = [
    {"p": p, "300 go well": (1 - p) ** 300, "3,000 go well": (1 - p) ** 3000}
    for p in (0.0001, 0.001, 0.01)
]
ui.worked_table(rows, "How likely no failure is", digits=3)

# %% [markdown]
# The highest rate that is still not unlikely, at a confidence of $\gamma = 0.95$, is the one at which no failure has a probability of 0.05:
#
# $$ (1 - p)^n = 1 - \gamma \qquad\Longrightarrow\qquad p = 1 - (1-\gamma)^{1/n} \approx \frac{3}{n} $$


# %% tags=["exercise:bound"]
def my_rate_bound(trials, confidence=0.95):
    """The highest rate of failures that `trials` without one leave possible."""
    # TODO: the exact formula, not the approximation.
    ### BEGIN SOLUTION
    return 1 - (1 - confidence) ** (1 / trials)
    ### END SOLUTION


# %% [markdown] tags=["hints:bound"]
# 1. Solve $(1-p)^n = 1-\gamma$ for $p$.
# 2. Take the n-th root of both sides: a power of `1 / trials`.
# 3. `return 1 - (1 - confidence) ** (1 / trials)`
# 4. (for: the approximation of 3 over n) Three over n is a good rule of thumb for many updates at one confidence. The formula holds for few, too.


# %% tags=["check:bound", "hidden"]
@checks("bound")
def _(c, rate_bound):
    for trials, confidence in (
        (20, 0.9),
        (int(c.rng.integers(50, 900)), 0.95),
        (50_000, 0.99),
        (1, 0.95),
    ):
        right = 1 - np.exp(np.log(1 - confidence) / trials)
        c.close(
            rate_bound(trials, confidence),
            right,
            1e-6 * right,
            tested=f"{trials} without a failure, at a confidence of {confidence}",
            mistakes={
                "this is the approximation of 3 over n: the exact formula holds for few trials, too": 3
                / trials,
                "confidence and its rest are exchanged: the probability of no failure is 1 - confidence": 1
                - confidence ** (1 / trials),
                "this is the chance of no failure, not the rate": (1 - confidence)
                ** (1 / trials),
                "a power is missing: the n-th root": (1 - confidence) / trials,
                "the chance was raised to n: take the n-th root": 1
                - (1 - confidence) ** trials,
                "this is -ln(1 - confidence) over n, an approximation for many trials": -np.log(
                    1 - confidence
                )
                / trials,
                "zero was seen; that does not make the rate zero": 0.0,
                "one failure in n is a guess: solve the formula": 1 / trials,
                "both tails were cut: one side is asked for": 1
                - ((1 - confidence) / 2) ** (1 / trials),
                "this is in percent: a share is wanted": 100 * right,
            },
        )


# %% tags=["check:bound"]
rate_bound = check("bound", my_rate_bound, plain.rate_bound)

# %%
counts_of = [10**k for k in range(1, 7)]
bounds = [1e6 * rate_bound(n) for n in counts_of]
figure = ui.lines(
    {"bound": (counts_of, bounds)},
    title=f"50,000 without a failure leave {1e6 * rate_bound(50_000):.0f} in a million",
    x="updates without a failure",
    y="failures in a million, at most",
    log_x=True,
    log_y=True,
)
ui.show(figure, alt="The bound falls as one over the number of updates.")

# %% tags=["folded"]
whose("bound")

# %% [markdown]
# <details><summary>And what does it not prove at all?</summary>
#
# The formula takes the deployments as independent and alike. Fifty thousand devices of one model that pull the same update from the same server on the same evening are closer to one deployment than to fifty thousand: a power cut at the wrong moment did not happen, so nobody knows.
# That is why the harness above cuts the power **everywhere**, and does not wait for it.
#
# </details>

# %% [markdown]
# ## The real tool
#
# `edgelab ota` is an updater of these parts: The Update Framework (python-tuf) for signatures, two slots, golden inputs in a child process, a trial, and differences. A publisher makes keys and
# signs release 1.

# %%
for name in ("repo", "keys", "kitchen", "garden", "gate"):
    shutil.rmtree(work / name, ignore_errors=True)  # a second run begins anew
save_arrays(work / "data.npz", signs.validation.x[:40])
initialise(work / "repo", work / "keys")
first = publish(
    files["as it was"], work / "repo", work / "keys", data=work / "data.npz"
)
first

# %% [markdown]
# Three devices are **real processes** here. They trust the publisher's `root.json`, and nothing that the server says.


# %%
def look(name, url):
    words = [work / name, "--url", url, "--root", work / "repo" / "root.json"]
    command = [sys.executable, "-m", "edgelab", "ota", "device", *map(str, words)]
    command += ["--once", "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def look_all(url, names=("kitchen", "garden", "gate")):
    started = {name: look(name, url) for name in names}
    said = {name: process.communicate(timeout=60) for name, process in started.items()}
    wrong = {
        name: {"reason": err.decode()} for name, (out, err) in said.items() if not out
    }
    return wrong | {name: json.loads(out) for name, (out, _) in said.items() if out}


def shown(title, answers):
    columns = ("running", "previous", "action", "bytes", "reason")
    rows = [(name, *(str(a.get(c)) for c in columns)) for name, a in answers.items()]
    return Table(title, ("device", *columns), rows, "")


# %%
with serving(work / "repo") as url:
    installed = look_all(url)
    second = publish(
        files["last layer"], work / "repo", work / "keys", data=work / "data.npz"
    )
    updated = look_all(url)
shown("Three processes, after release 2", updated)

# %% [markdown]
# How much did release 2 take? The publisher tried three ways to say the difference, and kept the smallest.

# %%
content = {name: path.read_bytes() for name, path in files.items()}


def share_sent(name):
    best = best_delta(content["as it was"], content[name], "onnx")
    share = 100 * len(best.content) / len(content[name])
    return Reading(share, "%", "measured", f"{best.method}, of the int8 file")


delta_head = record("delta.last_layer", share_sent("last layer"))
delta_all = record("delta.all_layers", share_sent("all layers"))
guess_delta.against(delta_head)

# %% [markdown]
# Now the harness meets the real updater. Its own code runs on the flash in memory, from the download to the commit; the runtime alone is a stand-in. The power is cut
# after each of its operations, with a good release, one that crashes, and one that answers wrongly:

# %%
MARKS = {"good": b"", "crashes": CRASHES, "answers wrongly": WRONG}
real = {name: cut_device(mark=mark, seed=seed) for name, mark in MARKS.items()}
rows = [(name, r.operations, r.states, len(r.bricks)) for name, r in real.items()]
columns = ("release 2", "places to cut", "states started from", "not well")
Table("The power of the real updater, cut everywhere", columns, rows, "")

# %% [markdown]
# ### Attacks
#
# Somebody has taken over the server. Each line is one thing that they try on a device that runs release 2: a bit of the list of files flipped, the lists of before, and
# then a signed old release under the newest name.

# %% tags=["folded"]
repository = work / "repo"
metadata = repository / "metadata"
tries = {}


def look_here(url):
    """A look of one of the three, in this process."""
    with closing(looks(open_device(work / "gate"), url, 1.0)) as outcomes:
        return next(outcomes).to_dict()


def attacked(name, files_changed):
    kept = {path: path.read_bytes() for path in files_changed}
    for path, content in files_changed.items():
        path.write_bytes(content)
    before = status(work / "gate").facts["running"]
    with serving(repository) as url:
        tries[name] = {**look_here(url), "before": before}
    for path, content in kept.items():
        path.write_bytes(content)


stamp = (metadata / "timestamp.json").read_bytes()
flipped_stamp = stamp[:-9] + bytes([stamp[-9] ^ 1]) + stamp[-8:]
attacked("a bit of the timestamp", {metadata / "timestamp.json": flipped_stamp})
publish(files["all layers"], repository, work / "keys", data=work / "data.npz")
with serving(repository) as url:
    look_here(url)  # takes release 3
attacked("the timestamp of before", {metadata / "timestamp.json": stamp})

# %%
(old_manifest,) = (repository / "targets" / "model").glob("*.release-1.json")
publisher = Publisher(repository, work / "keys")
publisher.sign_files({"model/manifest.json": old_manifest.read_bytes()})
attacked("release 1, signed again", {})
shown("One of the three devices, attacked", tries)


# %% tags=["finding:attacks"]
def finding_attacks(tries):
    taken = [
        name
        for name, action, before, after in tries
        if action != "refused" or after != before
    ]
    if taken:
        return f"The device did not refuse {listed(taken)}: that must not be."
    return f"{len(tries)} of {len(tries)} attempts were refused, each with its reason, and the device ran on with what it had."


answers = [(n, t["action"], t["before"], t["running"]) for n, t in tries.items()]
finding(finding_attacks, answers)

# %% [markdown]
# ### Gates on trial
#
# One rollout proves nothing about a gate. So let releases that are **no worse** pass by a thousand times, and count how often each gate cries wolf; then worse ones, and count the hours until each finds them. The other gates: a fixed threshold
# (twice the expected crashes so far), the exact test each hour as if it were the only one, the same with the level divided by the number of looks (Bonferroni), the exact test at the end of each wave only, and Wald's SPRT, made for one ratio. Each look is one more chance to be wrong: who looks every hour has to pay for it.

# %%
on_trial = try_gates(setting, replications=trials, seed=seed)
for gate, alarm in on_trial.alarms.items():
    record(f"alarms.{gate}", alarm)
guess_alarms.against(on_trial.alarms["fixed threshold"])
on_trial.table()

# %%
stopped = {}
for ratio in (1.0, 2.0, 5.0):
    drawn = setting.draw(ratio, 200, np.random.default_rng(seed + 1))
    each = zip(drawn.new, drawn.old, drawn.share)
    stopped[ratio] = sum(np.max(e_money(*one, RATIOS)) >= 20 for one in each)
rows = [(f"{ratio:g}", count) for ratio, count in stopped.items()]
columns = ("times the crashes", "stopped")
Table("Of 200 rollouts, stopped by the e-process of the exercise", columns, rows, "")


# %% tags=["finding:gates"]
def finding_gates(fixed, peeking, fair, bonferroni_h, fair_h, ends_h, worse):
    text = by_side(
        fair,
        5,
        above="The e-process stops {} of the releases that are no worse, more than it promises. ",
        below="Looked at every hour, the e-process stops {} of the releases that are no worse, below its level. ",
        unclear="The e-process stops {} of the releases that are no worse; on which side of its level cannot be told. ",
    )
    text += f"The fixed threshold stops {fixed.figure()} of them, the exact test each hour {peeking.figure()}. "
    order = "sooner" if fair_h.value < bonferroni_h.value else "no sooner"
    text += f"One with {worse} times the crashes is found after {fair_h.figure()} (median), {order} than "
    return (
        text
        + f"with Bonferroni's correction ({bonferroni_h.figure()}); at the ends of the waves, after {ends_h.figure()}."
    )


medians = {
    gate: when for (gate, ratio), (_, when) in on_trial.caught.items() if ratio == 5
}
finding(
    finding_gates,
    on_trial.alarms["fixed threshold"],
    on_trial.alarms["exact test, peeking"],
    on_trial.alarms["e-process"],
    medians["exact, Bonferroni"],
    medians["e-process"],
    medians["exact, at stage ends"],
    5,
)

# %% [markdown]
# **What exactly is counted?** Some devices have bad memory and crash every hour, whatever they run. Count **crashes**, and one such device in the first wave looks like a catastrophe. Count each **device once**, and it is one event. Twenty of ten
# thousand devices are enough:

# %%
lemons = {
    "each device once": Trial(lemons=20),
    "every crash": Trial(lemons=20, once=False),
}
counted = {
    name: try_gates(each, ratios=(), replications=trials // 2, seed=seed).alarms[
        "e-process"
    ]
    for name, each in lemons.items()
}

# %% tags=["folded"]
title = "False alarms of the e-process: " + ", ".join(
    f"{r.figure()} counting {n}" for n, r in counted.items()
)
figure = ui.bars(
    list(counted),
    list(counted.values()),
    title,
    "releases that are no worse, stopped, in %",
    x="counted",
)
ui.show(figure, alt=f"Two bars. {title}.")

# %% [markdown]
# <details><summary>Why does even an honest gate fail here?</summary>
#
# Every test has assumptions. The bet is fair if each crash falls on the new release with chance $s$, **independently of the last one**. Crashes of one device are not independent: if it is in the first wave, all of its crashes are. No level, however small,
# repairs that; counting the right thing does. The lot that chose the waves makes devices exchangeable, not crashes.
#
# </details>

# %% [markdown]
# ### A bad model in a large fleet
#
# Now device by device: heat, throttling, links that go and return, batteries, six time zones. A device takes the release when its wave has come and its link is there; when the gate stops the rollout, it goes back likewise. For real devices `edgelab ota rollout` does this: the server then offers a release to those whose turn it is. The bad release crashes <span class="given" title="the fault that is set below">five times as</span> often.

# %%
fleet = draw_devices(fleet_devices, seed)
started = perf_counter()
bad = roll_out(fleet, Fault(crashes=5.0), waves=waves, hold_h=hold_h, seed=seed)
took = perf_counter() - started
reach = record("reach.bad", bad.reach)
ui.show(ui.waves_figure(bad), alt=ui.rollout_words(bad))

# %%
ui.show(ui.evidence_figure(bad), alt=ui.rollout_words(bad))


# %% tags=["finding:fleet"]
def finding_fleet(reach, devices, stopped, hour, seconds):
    end = (
        f"The gate stopped the bad release after {hour} h, when {reach.figure()} of {devices:,} devices had run it"
        if stopped
        else f"No gate stopped the bad release: {reach.figure()} of {devices:,} devices have it"
    )
    return f"{end}; simulating it took {seconds:.2g} s. All of it is modelled: the fleet is formulas and lots, no device."


finding(
    finding_fleet,
    reach,
    fleet_devices,
    bad.stopped_h is not None,
    bad.stopped_h or 0,
    took,
)

# %% [markdown]
# ## Explore
#
# **Cut the power yourself.** Choose a scheme and a release: a good one, one that crashes, one that answers wrongly. Which scheme is safe against all three, and what do the others lack?
#
# <details><summary>Discussion</summary>
#
# A careful write keeps every file whole, and still runs a bad model. Only the scheme that tests on golden inputs before its pointer moves keeps both out. A smoke test on zeros finds the crash and not the wrong answers.
#
# </details>


# %%
def faults_of(scheme, release):
    chosen = next(s for s in schemes.SCHEMES if s.name == scheme)
    report = brick_count(chosen, mark=MARKS[release], seed=seed)
    found = report.faults() or {"no fault": 0}
    title = f"{len(report.bricks)} of {report.states} states are not well"
    return ui.bars(
        list(found), list(found.values()), title=title, y="states of the flash"
    )


ui.Panel(
    faults_of,
    title="What a power cut leaves",
    alt="Bars of the states of the flash by what is wrong with them.",
    scheme=ui.choice(
        [s.name for s in schemes.SCHEMES], value="as published", label="scheme"
    ),
    release=ui.choice(list(MARKS), value="good", label="release 2"),
)

# %% [markdown]
# **How many updates prove how much?** Choose a rate that you would accept. From how many updates on would it have shown?
#
# <details><summary>Discussion</summary>
#
# The bound falls as the number of updates grows, and no faster. A power cut at a chosen place shows in seconds what a fleet shows in years: that is why the places are all tried.
#
# </details>


# %%
def chance_of_none(rate):
    counts = np.logspace(2, 7, 60)
    chance = 100 * (1 - rate / 1e6) ** counts
    enough = next(n for n in counts if 1e6 * rate_bound(n) <= rate)
    title = f"At {rate} failures in a million, none is unlikely from {enough:,.0f} updates on"
    curve = {"none": (counts, chance)}
    return ui.lines(curve, title, "updates", "chance of no failure, %", log_x=True)


ui.Panel(
    chance_of_none,
    title="The rule of three",
    alt="The chance of no failure over the number of updates: it falls to the right.",
    rate=ui.slider(1, 200, 1, value=60, label="failures in a million"),
)

# %% [markdown]
# **Your release, your gate, your waves.** Give the release a fault and choose who watches. Which faults pass through the first wave? What does a gate at the ends of the waves cost? The last wave is everybody: who is left to compare with?
#
# <details><summary>Discussion</summary>
#
# A small difference needs many devices or many hours, whatever the gate: that is what holding a wave is for. What is wrong on one kind of hardware shows only if that hardware is in the first wave; a wave drawn by lot holds all kinds in proportion. In the last wave
# there is no control group, so the e-process stands still and can find nothing new; only a fixed threshold goes on, against a rate from before. Many teams keep a few devices back for that reason.
#
# </details>


# %%
def rolled(crashes, slower, wrong_on, gate, first, hold):
    fault = Fault(crashes=crashes, slowdown=slower, wrong_on=wrong_on)
    return sketch(fleet_devices, fault, gate, (first, 10, 100), hold, seed)


# %%
ui.Panel(
    lambda **dials: ui.evidence_figure(rolled(**dials)),
    title="A rollout, modelled",
    alt=lambda **dials: ui.rollout_words(rolled(**dials)),
    crashes=ui.slider(1.0, 5.0, 0.25, value=2.0, label="times the crashes"),
    slower=ui.slider(1.0, 1.5, 0.05, value=1.0, label="times as slow"),
    wrong_on=ui.choice(
        {"no hardware": "", "cameras": "camera", "handhelds": "handheld"},
        label="wrong on",
    ),
    gate=ui.choice(list(GATES), label="gate"),
    first=ui.slider(0.1, 5.0, 0.1, value=1.0, label="first wave in %"),
    hold=ui.slider(6, 96, 6, value=48, label="hours in a wave"),
)

# %% [markdown]
# ## Claims
#
# O1 is what was sent for one layer and for all layers. O3 is held against every place at which the power of the real updater was cut, with a good release and two bad ones.
# It counts what was tried: broken flash and a lost key are not among it. O2 is held against one simulated fleet with one fault; a smaller fault takes longer to be told.

# %%
claim("O1", layer=delta_head, all=delta_all)

# %%
claim("O2", bad=reach)

# %%
bricks = sum(len(report.bricks) for report in real.values())
by = "every place to cut, three releases"
claim("O3", record("bricks.device", Reading(float(bricks), "states", "measured", by)))

# %%
by = "no failure in 50,000, a confidence of 95 %"
most = record("bound.50000", Reading(1e6 * rate_bound(50_000), "ppm", "modelled", by))
claim("O4", most)

# %% [markdown]
# ## Challenge
#
# Here is an updater as articles print it. It promises a backup, a smoke test and a roll-back. **Mend it until no place to cut bricks the device**, with a good release, one that crashes and one that answers wrongly; and do it
# in at most <span class="given" title="the task">9</span> operations on the flash, because each costs time and wear. `golden_test(content)` says whether a model answers golden inputs as it should.
#
# Where to look: what runs between the first operation and the last? What is durable when? What does the smoke test feed, and what does it compare? What does the version say after a roll-back? Begin with the panel above: which faults does it count, and which go with which repair?


# %% tags=["challenge:mend", "hidden"]
def reference():
    """A slot that is durable and tested before the pointer moves."""
    return Scheme("mended", schemes.slots_tested, schemes.start_slot)


# %% tags=["challenge:mend"]
# `your_updater`: a Scheme(name, install, start); `start` gives what a restart would run
### BEGIN SOLUTION
your_updater = reference()
### GIVEN
# def my_update(storage, release, content):
#     if storage.size("model.onnx") is not None:
#         storage.unlink("model.backup")
#         storage.rename("model.onnx", "model.backup")
#     storage.create("model.onnx")
#     storage.write("model.onnx", 0, content)
#     manifest = {"version": release, "sha256": sha256(content)}
#     storage.create("manifest.json")
#     storage.write("manifest.json", 0, json.dumps(manifest).encode())
#     if not schemes.smoke_test_on_zeros(content):
#         storage.unlink("model.onnx")
#         storage.rename("model.backup", "model.onnx")
#         storage.create("manifest.json")
#         manifest = {"version": release - 1}
#         storage.write("manifest.json", 0, json.dumps(manifest).encode())
#
#
# your_updater = Scheme("mine", my_update, schemes.start_model)
### END SOLUTION


# %%
def measured(scheme):
    reports = [brick_count(scheme, mark=mark, seed=seed) for mark in MARKS.values()]
    bricks = float(sum(len(r.bricks) for r in reports))
    most = float(max(r.operations for r in reports) - 1)
    by = "every place to cut, three releases"
    return {
        "bricks": Reading(bricks, "states", "measured", by),
        "operations": Reading(most, "operations", "measured", by),
    }


challenge(
    "mend",
    your_updater,
    measured,
    Target("bricks", at_most=0, unit="states"),
    Target("operations", at_most=9, unit="operations"),
)

# %% [markdown]
# **A plan for your fleet.** Choose the waves and the hours in each; the last wave is everybody. A release with twice the crashes must reach few devices, on average
# over many rollouts; a good one must be offered to everybody soon. The two pull apart: a small wave hurts few and needs long to be told.


# %% tags=["challenge:rollout_plan", "hidden"]
def reference():
    """One wave that is large enough to be told, and held until it has been."""
    return (1.3, 100), 20


# %% tags=["challenge:rollout_plan"]
# `my_plan`: the waves in percent, and the hours in each, for example ((1, 10, 100), 48)
### BEGIN SOLUTION
my_plan = reference()
### GIVEN
# my_plan = None
### END SOLUTION


# %%
def measure_plan(plan):
    steps, hold = plan
    bad_runs = [
        sketch(fleet_devices, Fault(crashes=2.0), waves=steps, hold_h=hold, seed=s)
        for s in range(60)
    ]
    hurt = fmean(100 * run.reached / fleet_devices for run in bad_runs)
    by = f"60 simulated rollouts of {fleet_devices} devices"
    return {
        "reach of the bad one": Reading(hurt, "%", "modelled", by),
        "hours until everybody may have a good one": Reading(
            float(hold * (len(steps) - 1)), "h", "modelled", "the plan"
        ),
    }


challenge(
    "rollout_plan",
    my_plan,
    measure_plan,
    Target("reach of the bad one", "%", at_most=1.5),
    Target("hours until everybody may have a good one", "h", at_most=20),
)

# %% [markdown]
# ## Bring your own
#
# Name two files of one network of yours, before and after training it on, and see what an update would take. Without them, it is the network of this lab with all layers tuned.

# %%
old_file = Path(my_old_model).expanduser() if my_old_model else files["as it was"]
new_file = Path(my_new_model).expanduser() if my_new_model else files["all layers"]
kind = "tflite" if new_file.suffix == ".tflite" else "onnx"
one, two = old_file.read_bytes(), new_file.read_bytes()
ways = {"whole, packed": pack(two), "old file as dictionary": pack(two, one)}
ways["aligned"] = aligned(one, two, kind)
rows = [(n, f"{len(c):,}", f"{100 * len(c) / len(two):.1f} %") for n, c in ways.items()]
Table(f"An update of {len(two):,} bytes", ("way", "bytes", "of the file"), rows, "")

# %% [markdown]
# ## What you found
#
# Made from the readings of this run, on this machine.


# %% tags=["finding:recap"]
def finding_recap(unsynced, safe, layer, everything, bound):
    text = f"A rename without any sync may brick the device at {unsynced:.0f} of 100 places to cut; "
    text += (
        "the real updater at none. "
        if not safe
        else f"the real updater in {safe:.0f} states. "
    )
    text += f"One tuned layer took {layer:.2g} % of the file, all layers tuned gently {everything:.2g} %. "
    return (
        text
        + f"No failure in 50,000 updates leaves up to {bound:.0f} in a million possible."
    )


finding(
    finding_recap,
    100 * unsynced.share,
    bricks,
    delta_head.value,
    delta_all.value,
    most.value,
)

# %% [markdown]
# And what holds on every machine:
#
# - A hash finds accidents, a signature finds attackers, and a counter finds old releases that are signed.
# - `write` and `rename` are promises. `fsync` of the file, then the rename, then `fsync` of the folder.
# - Write where nothing runs. Move one pointer, last.
# - A start on trial is counted before it happens. Only health commits.
# - A smoke test without expected outputs finds crashes, and nothing else.
# - The result of a difference is held against its hash; where it fails, the whole file is there.
# - No failure in n bounds the rate at about 3 in n.
# - Percentiles cannot be averaged. Counts in the same bins can be added.
# - Whoever looks every hour needs a gate that allows it. Count each device once.
#
# ## Sources
#
# - *The Update Framework specification*: [theupdateframework.github.io](https://theupdateframework.github.io/specification/latest/) (roles, thresholds, expiry, and the attacks that they answer).
# - Pillai et al., *All File Systems Are Not Created Equal*, OSDI 2014: [usenix.org](https://www.usenix.org/conference/osdi14/technical-sessions/presentation/pillai) (what may be on a disk after a power cut).
# - *MCUboot design*: [docs.mcuboot.com](https://docs.mcuboot.com/design.html) (two slots, trial and revert; its simulator cuts at every flash operation).
# - Hanley and Lippman-Hand, *If Nothing Goes Wrong, Is Everything All Right?*, JAMA 1983: [doi.org/10.1001/jama.1983.03330370053031](https://doi.org/10.1001/jama.1983.03330370053031) (the rule of three).
# - Percival, *Naive differences of executable code*, 2003: [daemonology.net](https://www.daemonology.net/papers/bsdiff.pdf) (subtract, then pack).
# - [Game-theoretic statistics and safe anytime-valid inference](https://doi.org/10.1214/23-STS894) (Ramdas, Grünwald, Vovk, Shafer, 2023): e-processes, and Ville's inequality.
# - [Always Valid Inference](https://doi.org/10.1287/opre.2021.2135) (Johari, Koomen, Pekelis, Walsh, 2022): what peeking does to A/B tests, and the remedy.
# - [DDSketch](https://doi.org/10.14778/3352063.3352135) (Masson, Rim, Lee, 2019): percentiles from counts that can be added up.
