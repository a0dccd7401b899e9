# ---
# jupyter:
#   edgelab:
#     title: "Privacy: what an update gives away, and what hides it"
#     minutes: 100
#     memory_gb: 2
#     requires: [torch]
#     form: 2
#     claims: [F3, F4, F5]
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
# # 13 Privacy: what an update gives away, and what hides it
#
# In federated learning the data stay on the device, and only updates travel. **Is that private, and what does it cost to make it so?** You turn a gradient back into the picture
# that made it. Then you build what stops that, one idea after another: clipping and noise with a price in epsilon, a sum whose parts nobody sees, and an average that one liar cannot
# move. Last you find out why the second of these makes the third impossible.
#
# You need: to know what a gradient is. Lab 12 helps and is not needed. The cells run in under a minute; with the exercises plan an hour and a half. What takes longer was trained
# ahead, with several seeds; such figures say when and on which machine.

# %% tags=["parameters"]
seed = 0
threads = 1
digits_inverted = 100  # test digits whose gradients are turned back
epsilon_live = 2.0  # the budget of the training that runs here
clients = 12  # of the secure sum
rounds = 10  # of federated learning with a liar in it
my_data = ""  # bring your own: an .npz file with x (float32), y
my_epsilon = 4.0

# %% tags=["setup", "folded"]
import math
import random
import secrets
import time
import warnings
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from scipy.special import gammaln, logsumexp
from torch import nn
from tqdm.auto import tqdm

from IPython.display import display

from edgelab import Reading, Table, data, federated, nets, privacy, record, ui
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
from edgelab.federated.engines import flatten, run_clients, unflatten
from edgelab.federated.evaluate import network_with
from edgelab.federated.schedule import schedule_round
from edgelab.measure import quality
from edgelab.privacy import accountant, figures, inversion, membership, plain, robust
from edgelab.privacy import masks as package_masks
from edgelab.privacy import shamir, training

begin("privacy")
torch.set_num_threads(threads)

# %% tags=["folded"]
ui.pipeline(
    [
        ("client", "trains on its own items"),
        ("clip and noise", "bounds what one item says"),
        ("mask", "hides the update in a sum"),
        ("server", "sees the sum alone"),
        ("model", "goes back to all"),
    ],
    "Two walls between a client and the server",
    marked=["clip and noise", "mask"],
)

# %% [markdown]
# The data: handwritten digits of 8 x 8 pixels, from 0 (white) to 1 (ink). The network: one hidden layer.

# %% tags=["setup"]
digits = data.digits(seed=seed)
net = figures.new_network(seed)
start = federated.initial_weights(net)
ahead = figures.Ahead()

# %%
Table(
    "What stands on each side",
    ("part", "size"),
    [
        ("training digits", len(digits.train.y)),
        ("weights of the network", nets.count_parameters(net)),
        ("numbers in one digit", int(np.prod(digits.input_shape))),
    ],
)

# %% [markdown]
# ## Predict
#
# Commit before you look.

# %%
guess_inverted = ui.predict(
    "A client sends the gradient of one digit. How many percent can be restored?",
    unit="%",
    low=0.0,
    high=100.0,
)
guess_inverted

# %%
guess_cost = ui.predict(
    "How many points of accuracy does a strict privacy budget (epsilon 1) cost here?",
    unit="points",
    low=0.0,
    high=90.0,
)
guess_cost

# %% [markdown]
# ## From scratch
#
# ### What does a gradient say about the picture?
#
# A linear layer computes $z = W x + b$. Its gradients come from the chain rule: with $g_i = \partial L / \partial z_i$ it is $\partial L / \partial W_{ij} = g_i x_j$ and
# $\partial L / \partial b_i = g_i$. By hand: a layer with two outputs, an input of three numbers, $x = (0.5, 0, 1)$, and $g = (2, -4)$ from the layers above.

# %% tags=["folded"]
x_hand, g_hand = np.array([0.5, 0.0, 1.0]), np.array([2.0, -4.0])
ui.worked_table(
    [
        {
            "row i": i + 1,
            "dL/db": g_hand[i],
            **{f"dL/dW, {j + 1}": g_hand[i] * x_hand[j] for j in range(3)},
            "row over dL/db": ", ".join(
                f"{v:g}" for v in g_hand[i] * x_hand / g_hand[i]
            ),
        }
        for i in range(2)
    ],
    "The gradient of one item",
)

# %% [markdown]
# $$ x_j = \frac{\partial L / \partial W_{ij}}{\partial L / \partial b_i} \quad \text{for every row } i \text{ with } \frac{\partial L}{\partial b_i} \neq 0 $$
#
# No search and no network: a division. A row whose bias has the gradient 0 says nothing (a ReLU that was off); of the others take the one whose gradient is largest in magnitude, where
# rounding hurts least.


# %% tags=["exercise:invert"]
def my_invert(weight_gradient, bias_gradient):
    """The input (in,) of a layer from the gradients (out, in) and (out,) of one item."""
    # TODO: choose the row, divide.
    ### BEGIN SOLUTION
    row = np.abs(bias_gradient).argmax()
    return weight_gradient[row] / bias_gradient[row]
    ### END SOLUTION


# %% [markdown] tags=["hints:invert"]
# 1. Every row of the weights' gradient is the input times one number, and the bias' gradient of that row is that number.
# 2. `np.abs(bias_gradient).argmax()` is the row that is safest to divide by: a large negative one is as good as a large positive one.
# 3. `weight_gradient[row] / bias_gradient[row]`
# 4. (for: the largest value was taken, not the largest magnitude) A gradient of -3 is safer to divide by than one of 1: `np.abs` comes before `argmax`.


# %% tags=["check:invert", "hidden"]
@checks("invert")
def _(c, invert):
    for many, few in ((4, 6), (6, 3)):
        x = c.rng.uniform(0.1, 1, few)
        g = c.rng.uniform(0.5, 1, many)
        g[0], g[1], g[2] = 0.0, -3.0, 1e-3
        w = np.outer(g, x)
        w[2] += 1e-5 * c.rng.choice([-1, 1], few)
        with np.errstate(all="ignore"):
            first, mean = w[0] / g[0], (w / g[:, None]).mean(axis=0)
            summed, largest = w.sum(axis=0) / g.sum(), w[g.argmax()] / g.argmax()
        c.close(
            invert(w, g),
            x,
            1e-9,
            tested=f"a layer of {many} outputs and {few} inputs, one row of zeros and one near 0",
            mistakes={
                "the first row was taken, and its bias has the gradient 0": first,
                "the mean over all rows was taken, and one of them divides by 0": mean,
                "the sums were divided: small rows carry rounding, take one row": summed,
                "the row was not divided by its bias' gradient": w[1],
                "divided by the number of the row, not by its gradient": w[1] / 1,
                "the largest value was taken, not the largest magnitude": w[g.argmax()]
                / g[g.argmax()],
                "the smallest gradient was taken: there rounding hurts most": w[2]
                / g[2],
                "the sign got lost: divide by the gradient, not by its magnitude": w[1]
                / abs(g[1]),
                "the division is upside down": g[1] / w[1],
                "a column was taken: the input stands in a row": w[:, 1] / g[1],
                "the weights' largest entry chose the row and column: return the whole row": largest,
            },
        )
    exact = c.rng.uniform(0.1, 1, 5)
    for sign in (1, -1):
        g = sign * np.array([0.25, -2.0, 0.5])
        noisy = np.outer(g, exact)
        noisy[0] += 0.01
        noisy[2] += 0.01
        low = noisy[g.argmin()] / g.min()
        c.close(
            invert(noisy, g),
            exact,
            1e-9,
            tested=f"that a gradient of {g[1]:g} is used as the largest magnitude",
            mistakes={
                "the largest value was taken, not the largest magnitude": noisy[
                    g.argmax()
                ]
                / g.max(),
                "the lowest value was taken, not the largest magnitude": low,
                "the first row whose gradient is not 0 was taken, not the largest": noisy[
                    0
                ]
                / g[0],
                "the middle of all rows was taken: one row is least disturbed": np.median(
                    noisy / g[:, None], axis=0
                ),
            },
        )


# %% tags=["check:invert"]
invert = check("invert", my_invert, inversion.invert_first_layer)

# %% [markdown]
# Now real gradients: one digit goes through the network, the client sends the gradient, your function reads the digit off it.


# %%
def gradient_of(rows, noise=0.0, clip=math.inf, rng=None):
    """The first layer's gradients of a batch of test digits, clipped as a whole, with noise."""
    x, y = torch.from_numpy(digits.test.x[rows]), torch.from_numpy(digits.test.y[rows])
    parts = inversion.item_gradient(net, x, y)
    length = math.sqrt(sum(float(p.pow(2).sum()) for p in parts))
    factor = min(1.0, clip / length)
    made = [factor * p.numpy().astype(float) for p in parts[:2]]
    if noise:
        made = [
            p + noise * (rng or np.random.default_rng(seed)).normal(size=p.shape)
            for p in made
        ]
    return made


shown = [0, 3, 5, 7, 8, 11]
restored = np.array([invert(*gradient_of([k])).reshape(1, 8, 8) for k in shown])

# %% tags=["folded"]
display(
    ui.images_by(
        np.concatenate([digits.test.x[shown], np.clip(restored, 0, 1)]),
        np.tile(np.arange(6), 2),
        [f"a {digits.test.y[k]}" for k in shown],
        np.repeat(["on the device", "from the gradient"], 6),
        title="What the client kept, and what the server makes of its gradient",
        rows=["on the device", "from the gradient"],
    )
)
whose("invert")


# %% [markdown]
# For a claim that takes more than six digits: how many of them come back with a mean error of at most <span class="given" title="the definition of restored">1 %</span> of the grey range?


# %%
def errors(size, **how):
    """Mean absolute error per pixel of what comes out for the first digit of each batch."""
    draw = np.random.default_rng(seed)
    batches = [
        [k, *draw.choice(360, size - 1, replace=False)] for k in range(digits_inverted)
    ]
    made = [invert(*gradient_of(b, rng=draw, **how)) for b in batches]
    true = digits.test.x[:digits_inverted].reshape(digits_inverted, -1)
    return np.abs(np.clip(made, 0, 1) - true).mean(axis=1)


by = f"your division on {digits_inverted} gradients of one digit each"
restored_share = record(
    "restored.single", quality.accuracy_reading(errors(1) < 0.01, by)
)
guess_inverted.against(restored_share)

# %% [markdown]
# What stops it? Three candidates: more items in the gradient, noise on it, and clipping it to a short length.

# %%
ways = {
    "one digit": {"size": 1},
    "clipped to 0.1": {"size": 1, "clip": 0.1},
    "batch of 4": {"size": 4},
    "batch of 32": {"size": 32},
    "noise 0.001": {"size": 1, "noise": 1e-3},
    "noise 0.1": {"size": 1, "noise": 0.1},
    "clipped and noisy": {"size": 1, "clip": 0.1, "noise": 0.1},
}
error_of = {name: float(errors(**how).mean()) for name, how in ways.items()}

# %% tags=["folded"]
blank = float(np.abs(digits.train.x.mean(axis=0) - digits.test.x).mean())
title = f"Error of the restored digit; the mean of all digits has {blank:.2f}"
figure = ui.bars(
    list(error_of),
    list(error_of.values()),
    title,
    "mean error per pixel",
    horizontal=True,
)
ui.show(figure, alt=f"Bars of the error by what was done to the gradient. {title}.")
whose("invert")


# %% tags=["finding:stops"]
def finding_stops(error, blank):
    useless = [f"`{name}`" for name, value in error.items() if value < 0.02]
    works = [f"`{name}`" for name, value in error.items() if value > 0.8 * blank]
    said = (
        f"The digit comes back all the same with {listed(useless)}. " if useless else ""
    )
    if not works:
        return (
            f"{said}No way leaves an error as large as that of the mean of all digits."
        )
    return (
        f"{said}About as far off as the mean of all digits, or further, is what comes out with "
        f"{listed(works)}."
    )


finding(finding_stops, error_of, blank)

# %% [markdown]
# **Before you go on.** Clipping alone makes the whole gradient shorter. Why does the division not mind?
#
# <details><summary>Discussion</summary>
#
# Clipping multiplies every part by the same factor, and the factor cancels in the ratio. Clipping protects nobody by itself; it only makes sure that a fixed amount of noise is enough. And a
# batch is no proof either: a row of the hidden layer that is on for one item alone still gives that item away, and a server that is free to choose the weights can arrange for such rows.
#
# </details>
#
# ### How much may one item say?
#
# The promise of **differential privacy**: whether an item is there or not must hardly change what comes out. Two parts make it true. **Clip** the gradient of every item to a length of at most $C$, so that one item changes the
# sum by at most $C$. Then **add noise** that drowns a change of $C$. Three gradients of two numbers by hand, with $C = 1$:

# %% tags=["folded"]
hand = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, -2.0]])
length = np.linalg.norm(hand, axis=1)
factor = np.minimum(1, 1 / length)
ui.worked_table(
    [
        {
            "gradient": f"{g[0]:g}, {g[1]:g}",
            "length": l,
            "factor": f,
            "clipped": f"{f * g[0]:g}, {f * g[1]:g}",
        }
        for g, l, f in zip(hand, length, factor)
    ],
    "Clipping to length 1; the short one stays as it is",
)

# %% [markdown]
# $$ \tilde g = \frac{1}{B} \Big( \sum_{k} g_k \min\!\big(1, \tfrac{C}{\lVert g_k \rVert_2}\big) + \sigma\, C\, n \Big), \qquad n \sim \mathcal{N}(0, I) $$
#
# The noise is added **once, to the sum**, and its size hangs on $C$ alone, not on the items. $B$ is the **expected** batch size: each item takes part with a probability, so the real number varies, and
# dividing by it would say who was there. The same formula protects clients, when $g_k$ is the update of a whole client.


# %% tags=["exercise:noisy_mean"]
def my_noisy_mean(gradients, clip, noise_multiplier, expected, normal):
    """Gradients (K, P), one a row; `normal` (P,) is standard normal noise, drawn for you."""
    # TODO: clip each row, sum, add the noise at its size, divide by what was expected.
    ### BEGIN SOLUTION
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    short = gradients * np.minimum(1, clip / np.maximum(lengths, 1e-12))
    return (short.sum(axis=0) + noise_multiplier * clip * normal) / expected
    ### END SOLUTION


# %% [markdown] tags=["hints:noisy_mean"]
# 1. `np.linalg.norm(gradients, axis=1, keepdims=True)` is the length of every row. The factor of a row is 1 where it is short enough.
# 2. `gradients * np.minimum(1, clip / lengths)`; a row of zeros must not divide by 0. The noise has the size `noise_multiplier * clip`.
# 3. `(short.sum(axis=0) + noise_multiplier * clip * normal) / expected`
# 4. (for: the sum was clipped: clip each row before the sum) One loud item must not shorten the others: every row gets a factor of its own, with `axis=1`.


# %% tags=["check:noisy_mean", "hidden"]
@checks("noisy_mean")
def _(c, noisy_mean):
    for clip, sigma, expected in ((0.7, 1.5, 6.0), (2.0, 0.4, 3.0)):
        g = c.rng.normal(0, 1, (5, 4))
        g[0] *= 10
        g[1] *= 0.05
        n = c.rng.normal(0, 1, 4) + 0.5
        long = np.linalg.norm(g, axis=1, keepdims=True)
        short = g * np.minimum(1, clip / long)
        whole, total = short.sum(axis=0), g.sum(axis=0)
        noise = sigma * clip * n
        batch = total * min(1, clip / np.linalg.norm(total))
        c.close(
            noisy_mean(g, clip, sigma, expected, n),
            (whole + noise) / expected,
            1e-7,
            tested=f"five gradients, clip {clip:g}, noise multiplier {sigma:g}",
            mistakes={
                "the gradients were not clipped": (total + noise) / expected,
                "the sum was clipped: clip each row before the sum": (batch + noise)
                / expected,
                "every row was brought to the clipping length: a short one stays short": (
                    (g / long * clip).sum(axis=0) + noise
                )
                / expected,
                "each number was clipped by itself: the length of the row counts": (
                    np.clip(g, -clip, clip).sum(axis=0) + noise
                )
                / expected,
                "the noise was not multiplied by the clipping length": (
                    whole + sigma * n
                )
                / expected,
                "the noise multiplier is missing": (whole + clip * n) / expected,
                "there is no noise": whole / expected,
                "divided by the items that were there: that tells who was; divide by what was expected": (
                    whole + noise
                )
                / 5,
                "the noise was added after the division: it belongs to the sum": whole
                / expected
                + noise,
                "the noise was added to every row: add it once, to the sum": (
                    whole + 5 * noise
                )
                / expected,
                "this is the sum: divide it by what was expected": whole + noise,
                "the length is a sum of absolute values: take the root of the sum of squares": (
                    (
                        g * np.minimum(1, clip / np.abs(g).sum(axis=1, keepdims=True))
                    ).sum(axis=0)
                    + noise
                )
                / expected,
                "the sum runs along the rows: one number per parameter is wanted": (
                    short.sum(axis=1)
                ),
            },
        )
    zeros = noisy_mean(np.zeros((2, 3)), 1.0, 1.0, 2.0, np.array([1.0, -1.0, 0.5]))
    c.that(
        np.isfinite(np.asarray(zeros, float)).all(),
        tested="items whose gradient is 0",
        found=zeros,
        mistake="a row of zeros has the length 0: keep the divisor above 0",
    )
    c.close(
        zeros,
        np.array([0.5, -0.5, 0.25]),
        1e-7,
        tested="that they leave the noise alone",
    )
    c.close(
        noisy_mean(np.zeros((0, 3)), 2.0, 1.0, 4.0, np.array([1.0, 0.0, 2.0])),
        np.array([0.5, 0.0, 1.0]),
        1e-7,
        tested="a step in which nobody was drawn: noise all the same",
    )


# %% tags=["check:noisy_mean"]
noisy_mean = check("noisy_mean", my_noisy_mean, plain.noisy_mean)

# %% [markdown]
# A whole training with your function: **DP-SGD**. The gradient of every single item comes from `torch.func` (a `vmap` over a `grad`), and everything after it is yours.


# %%
def train_private(noise_multiplier, learning_rate, clip=1.0, rate=0.1, steps=150):
    each, now, draw = (
        training.example_gradients(net),
        flatten(start),
        np.random.default_rng(seed),
    )
    x, y = torch.from_numpy(digits.train.x), torch.from_numpy(digits.train.y)
    for _ in tqdm(range(steps), desc="private steps"):
        rows = np.flatnonzero(draw.random(len(y)) < rate)
        gradients = each(unflatten(now, start), x[rows], y[rows]).numpy()
        normal = draw.standard_normal(len(now))
        step = noisy_mean(gradients, clip, noise_multiplier, rate * len(y), normal)
        now = now - learning_rate * step
    return network_with(net, unflatten(now, start))


def right_of(model, part=digits.test):
    return nets.predict_logits(model, part.x).argmax(axis=1) == part.y


live_noise = accountant.noise_for(epsilon_live, 0.1, 150, 1e-4)
live = {
    "no noise": train_private(0.0, 2.0),
    f"epsilon {epsilon_live:g}": train_private(live_noise, 1.0),
}

# %% tags=["folded"]
live_right = {name: right_of(model) for name, model in live.items()}
values = [
    quality.accuracy_reading(hits, f"PyTorch, {name}")
    for name, hits in live_right.items()
]
title = "Accuracy: " + ", ".join(
    f"{v.value:.0f} % with {n}" for n, v in zip(live_right, values)
)
ui.show(
    ui.bars(list(live_right), values, title, "accuracy in %"),
    alt=f"Two bars. {title}.",
)
whose("noisy_mean")

# %% [markdown]
# ### What does it cost?
#
# How private is that? **Epsilon** bounds how much the odds of anything may change because one item is there: by a factor of at most $e^{\varepsilon}$, except with probability $\delta$. A small epsilon is a strong promise. An
# **accountant** adds up what all steps cost. Ours measures one step by its Rényi divergence at an order $\alpha$, where costs simply add. When an item takes part with probability $q$, for a whole order:
#
# $$ \rho(\alpha) = \frac{1}{\alpha - 1} \log \sum_{k=0}^{\alpha} \binom{\alpha}{k} (1-q)^{\alpha-k} q^k \, e^{k(k-1)/(2\sigma^2)}, \qquad
# \varepsilon = \min_\alpha \Big[ T \rho(\alpha) + \log\tfrac{\alpha - 1}{\alpha} - \tfrac{\log \delta + \log \alpha}{\alpha - 1} \Big] $$
#
# By hand, with $q = 0.5$, $\sigma = 1$ and the order 2: three terms.

# %% tags=["folded"]
terms = [math.comb(2, k) * 0.5**2 * math.exp(k * (k - 1) / 2) for k in range(3)]
ui.worked_table(
    [
        {
            "k": k,
            "binomial": math.comb(2, k),
            "power of e": math.exp(k * (k - 1) / 2),
            "term": terms[k],
            "sum so far": sum(terms[: k + 1]),
        }
        for k in range(3)
    ],
    f"Order 2: the logarithm of the sum is {math.log(sum(terms)):.3f}, and 2 - 1 divides it",
)

# %% [markdown]
# The powers overflow soon: $e^{k(k-1)/(2\sigma^2)}$ at $k = 60$ and $\sigma = 1$ has 769 digits. Stay with logarithms: `logsumexp` of the logarithms of the terms, and
# `gammaln(n + 1)` for $\log n!$.


# %% tags=["exercise:rdp_step"]
def my_rdp_step(q, sigma, order):
    """The Renyi divergence of one step: q between 0 and 1, a whole order from 2."""
    # TODO: the logarithm of every term, their logsumexp, the factor before it.
    ### BEGIN SOLUTION
    k = np.arange(order + 1)
    binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    logs = (
        binomial
        + (order - k) * np.log1p(-q)
        + k * np.log(q)
        + k * (k - 1) / (2 * sigma**2)
    )
    return logsumexp(logs) / (order - 1)
    ### END SOLUTION


# %% [markdown] tags=["hints:rdp_step"]
# 1. `k = np.arange(order + 1)`: the sum has one term more than the order. The logarithm of a product is a sum of logarithms.
# 2. `gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)` is the logarithm of the binomial coefficient.
# 3. `logsumexp(binomial + (order - k) * np.log1p(-q) + k * np.log(q) + k * (k - 1) / (2 * sigma**2)) / (order - 1)`
# 4. (for: the powers overflow: take logarithms first, then logsumexp) Never compute `np.exp(k * (k - 1) / ...)`: keep the exponent as it is and add the logarithms of the other factors.


# %% tags=["check:rdp_step", "hidden"]
@checks("rdp_step")
def _(c, rdp_step):
    def logs(
        q,
        s,
        a,
        last=0,
        power=lambda k: k * (k - 1),
        width=lambda s: 2 * s * s,
        binomial=1,
    ):
        k = np.arange(a + 1 - last)
        choose = gammaln(a + 1) - gammaln(k + 1) - gammaln(a - k + 1)
        return (
            binomial * choose
            + (a - k) * np.log1p(-q)
            + k * np.log(q)
            + power(k) / width(s)
        )

    def right(q, s, a):
        return logsumexp(logs(q, s, a)) / (a - 1)

    cases = [(0.1, 1.0, 2), (0.02, 0.8, 5)]
    cases += [
        (float(c.rng.uniform(0.05, 0.4)), float(c.rng.uniform(0.7, 3)), int(a))
        for a in (3, 12)
    ]
    c.each(
        rdp_step,
        cases,
        right,
        tested=lambda q, s, a: f"q {q:.2g}, sigma {s:.2g}, order {a}",
        mistakes={
            "the sum was not divided by the order minus 1": lambda q, s, a: logsumexp(
                logs(q, s, a)
            ),
            "the sum was divided by the order: by the order minus 1": lambda q, s, a: (
                logsumexp(logs(q, s, a)) / a
            ),
            "the last term is missing: k runs to the order itself": lambda q, s, a: (
                logsumexp(logs(q, s, a, last=1)) / (a - 1)
            ),
            "the binomial coefficient is missing": lambda q, s, a: (
                logsumexp(logs(q, s, a, binomial=0)) / (a - 1)
            ),
            "the exponent is k (k - 1), not k squared": lambda q, s, a: (
                logsumexp(logs(q, s, a, power=lambda k: k * k)) / (a - 1)
            ),
            "sigma is not squared": lambda q, s, a: (
                logsumexp(logs(q, s, a, width=lambda s: 2 * s)) / (a - 1)
            ),
            "the factor 2 before sigma squared is missing": lambda q, s, a: (
                logsumexp(logs(q, s, a, width=lambda s: s * s)) / (a - 1)
            ),
            "q and 1 - q were swapped": lambda q, s, a: right(1 - q, s, a),
            "the sampling is missing: this is the cost when everybody takes part": lambda q, s, a: (
                a / (2 * s * s)
            ),
            "this is the sum without its logarithm": lambda q, s, a: (
                np.exp(logsumexp(logs(q, s, a))) / (a - 1)
            ),
        },
    )
    far = float(rdp_step(0.1, 0.6, 80))
    c.that(
        np.isfinite(far),
        tested="order 80 with little noise",
        found=far,
        mistake="the powers overflow: take logarithms first, then logsumexp",
    )
    c.close(far, right(0.1, 0.6, 80), 1e-6, tested="its value")


# %% tags=["check:rdp_step"]
rdp_step = check("rdp_step", my_rdp_step, plain.rdp_step)

# %%
orders = np.arange(2, 64)
one_step = np.array([rdp_step(0.1, live_noise, int(a)) for a in orders])
told = [accountant.epsilon_of(t * one_step, 1e-4, orders) for t in (1, 15, 150, 1500)]
curves = {
    f"{t} steps": (
        orders,
        t * one_step
        + np.log1p(-1 / orders)
        - (np.log(1e-4) + np.log(orders)) / (orders - 1),
    )
    for t in (15, 150, 1500)
}
curves = {name: (a, np.maximum(e, 1e-3)) for name, (a, e) in curves.items()}

# %% tags=["folded"]
title = "Epsilon by order: the lowest point counts, " + ", ".join(
    f"{e:.2f} after {t} steps" for t, (e, _) in zip((15, 150, 1500), told[1:])
)
figure = ui.lines(curves, title, "order", "epsilon", log_y=True, markers=False)
ui.show(figure, alt=f"Three curves over the order, each with a lowest point. {title}.")
whose("rdp_step")

# %% [markdown]
# **Before you go on.** Look at the three minima: epsilon grows more slowly than the number of steps. Why?
#
# <details><summary>Discussion</summary>
#
# The divergence does grow in proportion. But the second part, which pays for $\delta$, is paid once and falls with the order: more steps move the best order down. For many steps epsilon grows like the root of their number.
#
# </details>
#
# **Gaussian or Laplace?** The older mechanism adds Laplace noise and needs no $\delta$. Its noise hangs on the sum of absolute values, not on the Euclidean length. For one count the two are close; for a gradient
# they are not, because in many dimensions the sum of absolute values may be larger by the root of their number.

# %% tags=["folded"]
parameters = nets.count_parameters(net)
sigma_one = accountant.noise_for(1.0, 1.0, 1, 1e-5)
Table(
    "Noise per number (standard deviation) for epsilon 1, change of length 1",
    ("what is released", "Laplace", "Gaussian, delta 0.00001"),
    [
        ("one count", math.sqrt(2), sigma_one),
        (f"a gradient of {parameters:,} numbers", math.sqrt(2 * parameters), sigma_one),
    ],
    "Computed from the definitions, nothing is measured here.",
)

# %% [markdown]
# ### Was she in the training data?
#
# A model may give its items away without any gradient: it is surer of what it has seen. An attacker who has an item and the model asks: was this one in the training data? He **scores** items, the
# higher the surer that they were members. How good the scores are, whatever the threshold, is the **area under the curve**: how often a member scores above another item. A coin has 0.5. By hand, two members and two others:

# %% tags=["folded"]
pairs = [(m, o) for m in (3.0, 1.0) for o in (1.0, 0.0)]
wins = [1.0 if m > o else 0.5 if m == o else 0.0 for m, o in pairs]
ui.worked_table(
    [
        {
            "member": m,
            "other": o,
            "the member is above": w,
            "mean so far": float(np.mean(wins[: i + 1])),
        }
        for i, ((m, o), w) in enumerate(zip(pairs, wins))
    ],
    "Every member against every other item; a tie counts half",
)

# %% [markdown]
# $$ \mathrm{AUC} = \frac{1}{M N} \sum_{i=1}^{M} \sum_{j=1}^{N} \Big( [s_i > t_j] + \tfrac12 [s_i = t_j] \Big) $$


# %% tags=["exercise:auc"]
def my_auc(members, others):
    """Scores (M,) of members and (N,) of other items: how often a member is above."""
    # TODO: every member against every other one; a tie counts half.
    ### BEGIN SOLUTION
    above = members[:, None] > others[None]
    tied = members[:, None] == others[None]
    return above.mean() + tied.mean() / 2
    ### END SOLUTION


# %% [markdown] tags=["hints:auc"]
# 1. `members[:, None]` and `others[None]` compare every one with every other one: the result has the shape (M, N).
# 2. The mean of a table of truths is the share of those that are true. Ties are where both are equal.
# 3. `(members[:, None] > others[None]).mean() + (members[:, None] == others[None]).mean() / 2`
# 4. (for: ties are not counted: each counts half) Scores are often equal, for example where a model is sure of everything. Add half of `(members[:, None] == others[None]).mean()`.


# %% tags=["check:auc", "hidden"]
@checks("auc")
def _(c, auc):
    for m, n in ((17, 13), (12, 19)):
        a, b = c.rng.normal(0.8, 1, m).round(1), c.rng.normal(0, 1, n).round(1)
        b[:2], a[:3] = 0.5, 0.5
        table, tie = a[:, None] > b[None], a[:, None] == b[None]
        short = min(m, n)
        c.close(
            auc(a, b),
            float(table.mean() + tie.mean() / 2),
            1e-9,
            tested=f"{m} members and {n} others with ties",
            mistakes={
                "ties are not counted: each counts half": float(table.mean()),
                "a tie counts half, not whole": float(table.mean() + tie.mean()),
                "the others' wins were counted: the member has to be above": float(
                    (~table & ~tie).mean() + tie.mean() / 2
                ),
                "this is a count: divide by the number of pairs": float(
                    table.sum() + tie.sum() / 2
                ),
                "each member met one other item only: compare all pairs": float(
                    (a[:short] > b[:short]).mean() + (a[:short] == b[:short]).mean() / 2
                ),
                "compared with the mean of the others: compare with every one": float(
                    (a > b.mean()).mean()
                ),
                "this is a difference of means: count who is above": float(
                    a.mean() - b.mean()
                ),
                "divided by the members alone": float(
                    (table.sum() + tie.sum() / 2) / m
                ),
                "this is the advantage over a coin, twice the area minus 1": float(
                    2 * (table.mean() + tie.mean() / 2) - 1
                ),
            },
        )
    c.close(
        auc(np.array([1.0, 1.0]), np.array([1.0])),
        0.5,
        1e-9,
        tested="scores that are all the same",
    )


# %% tags=["check:auc"]
auc = check("auc", my_auc, plain.auc)

# %% [markdown]
# The target: a network that has learnt 200 digits by heart. The simplest attack scores by **confidence**, the log-odds of the right class.

# %%
by_heart, inside = figures.train_attacked(digits, None, seed)
pool = digits.train.take(np.arange(2 * figures.MEMBERS))
sure = membership.confidence(nets.predict_logits(by_heart, pool.x), pool.y)

# %% tags=["folded"]
title = (
    f"A member is surer in {100 * auc(sure[inside], sure[~inside]):.0f} of 100 pairs"
)
figure = ui.histogram(
    {"members": sure[inside], "others": sure[~inside]},
    title,
    "confidence (log-odds)",
    bins=30,
)
ui.show(figure, alt=f"Two histograms that overlap. {title}.")
whose("auc")

# %% [markdown]
# A better attacker has **shadow models**: he trains networks like this one, with and without the item, and asks which of the two the target looks like (a likelihood ratio, LiRA). For that, 16 networks were trained ahead, on
# eight random halves of the same pool and on the eight other halves. Each is attacked with the 14 that are not of its own pair, so that every item is in half of the shadows. They were trained in three ways: learnt by heart, and with DP-SGD at two budgets. Your function judges them.


# %%
def attacks(epsilon):
    """The area for each of the networks, by confidence and by likelihood ratio."""
    sure, inside = ahead.attacked(epsilon)
    found = {"confidence": [], "likelihood ratio": []}
    for k in range(len(sure)):
        rest = np.arange(len(sure)) // 2 != k // 2  # without itself and its other half
        ratio = membership.likelihood_ratio(sure[k], sure[rest], inside[rest])
        for name, score in (("confidence", sure[k]), ("likelihood ratio", ratio)):
            found[name].append(100 * float(auc(score[inside[k]], score[~inside[k]])))
    return {name: np.array(values) for name, values in found.items()}


budgets = {"learnt by heart": None, "epsilon 8": 8.0, "epsilon 1": 1.0}
areas = {
    name: {
        way: ahead.mean(values, "%", f"your area, {way}, {len(values)} networks")
        for way, values in attacks(epsilon).items()
    }
    for name, epsilon in budgets.items()
}

# %% tags=["folded"]
series = {
    way: [areas[name][way] for name in budgets]
    for way in ("confidence", "likelihood ratio")
}
attacked = {name: ahead.attacked_accuracy(epsilon) for name, epsilon in budgets.items()}
better = [areas[name]["likelihood ratio"].value for name in budgets]
title = f"Of 100 pairs the better attack wins {better[0]:.0f}, at epsilon 1 {better[-1]:.0f}"
title += "; a coin wins 50"
figure = ui.grouped_bars(
    list(budgets), series, title, "pairs in %", yaxis_range=[40, 80]
)
ui.show(figure, alt=f"For three trainings two bars with intervals each. {title}.")
whose("auc")


# %%
for name, way in areas.items():
    record(f"auc.{name.replace(' ', '_')}", way["likelihood ratio"])
Table(
    "What the protection costs on so few items",
    ("training on 200 digits", "accuracy on test digits", "likelihood ratio, pairs"),
    [(name, attacked[name], areas[name]["likelihood ratio"]) for name in budgets],
)


# %% tags=["finding:members"]
def finding_members(before, after, accuracy_before, accuracy_after):
    told = {
        "above": "still better than a coin, {}",
        "below": "worse than a coin, {}",
        "unclear": "no longer told from a coin, {}",
    }
    return (
        f"Against the network that learnt by heart the better attack wins {before.figure()} of the pairs. "
        f"With epsilon 1 it is {by_side(after, 50, **told)}, and the accuracy falls from "
        f"{accuracy_before.value:.0f} % to {accuracy_after.value:.0f} %: 200 items are few to hide among."
    )


finding(
    finding_members,
    areas["learnt by heart"]["likelihood ratio"],
    areas["epsilon 1"]["likelihood ratio"],
    attacked["learnt by heart"],
    attacked["epsilon 1"],
)

# %% [markdown]
# ### Can the server add without seeing?
#
# Noise costs accuracy. **Secure aggregation** costs none: the server learns the sum of the updates and not a single one of them. Every two clients share a secret pad. Of the two, the one with the lower number **adds** it, the other one **subtracts**
# it. In the sum all pads are gone. By hand, three clients, numbers modulo 100, with the pads 37 (between 0 and 1), 85 (0 and 2) and 12 (1 and 2):

# %% tags=["folded"]
hand_updates = [5, 8, 2]
hand_pads = {(0, 1): 37, (0, 2): 85, (1, 2): 12}
signs = [
    [hand_pads.get((i, j), -hand_pads.get((j, i), 0)) for j in range(3)]
    for i in range(3)
]
sent = [(u + sum(row)) % 100 for u, row in zip(hand_updates, signs)]
ui.worked_table(
    [
        {
            "client": i,
            "update": hand_updates[i],
            "pads": ", ".join(f"{v:+d}" for j, v in enumerate(signs[i]) if j != i),
            "sends, mod 100": sent[i],
            "sum so far, mod 100": sum(sent[: i + 1]) % 100,
        }
        for i in range(3)
    ],
    "The last sum is 15, as 5 + 8 + 2",
)

# %% [markdown]
# $$ y_i = x_i + \sum_{j > i} p_{ij} - \sum_{j < i} p_{ij} \pmod{2^{32}}, \qquad \sum_i y_i = \sum_i x_i $$
#
# Numbers are integers (fixed point) modulo $2^{32}$, where two things hold that floats lack: sums are **exact** in any order, and a number plus a pad that is uniform is uniform itself, whatever the number was. NumPy's `uint32`
# wraps round by itself.


# %% tags=["exercise:masked"]
def my_masked(update, client, pads):
    """Update (words,) uint32 of a client; `pads` holds {other client: pad (words,) uint32}."""
    # TODO: add pads with higher numbers, subtract those with lower ones; change no argument.
    ### BEGIN SOLUTION
    hidden = update.copy()
    for other, pad in pads.items():
        hidden = hidden + pad if client < other else hidden - pad
    return hidden
    ### END SOLUTION


# %% [markdown] tags=["hints:masked"]
# 1. Start from a copy, or the caller's update is gone. Go through `pads.items()`.
# 2. Of two clients the one with the lower number adds. So this client adds where `client < other`.
# 3. `hidden = hidden + pad if client < other else hidden - pad`, beginning with `hidden = update.copy()`.
# 4. (for: the sum left the ring: stay with uint32, which wraps round) Do not convert: `uint32 + uint32` stays `uint32` and wraps round modulo 2^32.


# %% tags=["check:masked", "hidden"]
@checks("masked")
def _(c, masked):
    def words(n=6):
        return c.rng.integers(0, 2**32, n, dtype=np.uint32)

    pads = {pair: words() for pair in combinations(range(4), 2)}
    updates = [words() for _ in range(4)]
    for client in (1, 2):
        own = {j: pads[min(client, j), max(client, j)] for j in range(4) if j != client}
        u = updates[client]
        plus = [p for j, p in own.items() if j > client]
        minus = [p for j, p in own.items() if j < client]

        def whole(u, plus, minus):
            total = u.copy()
            for p in plus:
                total = total + p
            for p in minus:
                total = total - p
            return total

        got = masked(u.copy(), client, {j: p.copy() for j, p in own.items()})
        numbers = np.asarray(got)
        c.equal(
            numbers,
            whole(u, plus, minus),
            tested=f"client {client} of four",
            mistakes={
                "the pads were added and none subtracted: they do not cancel": whole(
                    u, plus + minus, []
                ),
                "the pads were subtracted and none added": whole(u, [], plus + minus),
                "the update itself is missing": whole(0 * u, plus, minus),
                "the pads are missing: this is the update in the open": u,
                "only the pads with higher numbers are there": whole(u, plus, []),
                "only the pads with lower numbers are there": whole(u, [], minus),
                "the sum left the ring: stay with uint32, which wraps round": u.astype(
                    np.int64
                )
                + sum(p.astype(np.int64) for p in plus)
                - sum(p.astype(np.int64) for p in minus),
                "this is an exclusive or: it hides, and does not cancel in a sum": np.bitwise_xor.reduce(
                    [u, *plus, *minus]
                ),
            },
            remember={
                "the pads cancel this way, too, but the whole class has to agree: the lower number adds": whole(
                    u, minus, plus
                )
            },
        )
    total = np.zeros(6, np.uint32)
    for client in range(4):
        own = {j: pads[min(client, j), max(client, j)] for j in range(4) if j != client}
        total = total + np.asarray(masked(updates[client].copy(), client, own)).astype(
            np.uint32
        )
    c.equal(
        total,
        np.sum(updates, axis=0, dtype=np.uint32),
        tested="that all pads are gone in the sum of four clients",
    )


# %% tags=["check:masked"]
masked = check("masked", my_masked, plain.masked)

# %% [markdown]
# Real updates now: each of some clients trains one round on its own digits and writes its update in fixed point. The figure shows the words that the server gets, before and after your masks.


# %%
holders = federated.iid(digits.train, clients, seed=seed)
config = federated.ClientConfig(learning_rate=0.3, epochs=3, batch_size=None)
plan = schedule_round(holders, range(clients), config, seed)
updates = run_clients(
    digits.train, plan, start, config, federated.client_round(net)
).updates
updates = training.clip_rows(updates, 1.0)
form = privacy.FixedPoint(limit=1.0, addends=clients)
rows = np.array([form.encode(update) for update in updates])

# %%
pad_of = {
    pair: np.frombuffer(secrets.token_bytes(4 * rows.shape[1]), np.uint32)
    for pair in combinations(range(clients), 2)
}
hidden = [
    masked(
        rows[i], i, {j: pad_of[min(i, j), max(i, j)] for j in range(clients) if j != i}
    )
    for i in range(clients)
]
same = bool(
    (np.sum(hidden, axis=0, dtype=np.uint32) == rows.sum(axis=0, dtype=np.uint32)).all()
)

# %% tags=["folded"]
title = f"What the server sees of client 0; the sums are {'equal to the bit' if same else 'DIFFERENT'}"
words = {"without masks": rows[0] / 2**32, "with masks": np.asarray(hidden[0]) / 2**32}
figure = ui.histogram(words, title, "word as a share of 2^32", bins=40)
ui.show(
    figure,
    alt=f"Two histograms: two peaks at the ends without masks, flat with masks. {title}.",
)
whose("masked")

# %% [markdown]
# ### What if somebody leaves?
#
# One client vanishes after the others have masked for it. Its pads stand in their words, nothing cancels them, and the sum is noise. So before masking, each client deals its secret out to its neighbours, such that any $t$ of them can restore it
# and fewer learn **nothing**. Adi Shamir's idea: the secret is the value at 0 of a polynomial of degree $t - 1$, and each neighbour gets the value at one place. By hand, modulo 17, secret 5, two of three: the line $5 + 3x$.

# %% tags=["folded"]
line = {x: (5 + 3 * x) % 17 for x in (1, 2, 3)}
ui.worked_table(
    [
        {
            "two shares": f"({a}, {line[a]}) and ({b}, {line[b]})",
            "weights at 0, mod 17": f"{b * pow(b - a, -1, 17) % 17}, {a * pow(a - b, -1, 17) % 17}",
            "value at 0": plain.join_shares({a: line[a], b: line[b]}, 17),
        }
        for a, b in combinations((1, 2, 3), 2)
    ],
    "Any two of the three shares give the secret back",
)

# %% [markdown]
# $$ s = \sum_{i} y_i \, \lambda_i \bmod p, \qquad \lambda_i = \prod_{j \neq i} \frac{x_j}{x_j - x_i} \bmod p $$
#
# Dividing modulo a prime means multiplying by the inverse: `pow(a, -1, p)`. With one share only, every secret is as likely as any other: for each there is exactly one line through that point.


# %% tags=["exercise:join_shares"]
def my_join_shares(shares, prime):
    """The value at 0 of the polynomial through {place: value}, modulo a prime."""
    # TODO: the weight of each share, times its value; sum modulo the prime.
    ### BEGIN SOLUTION
    secret = 0
    for x, y in shares.items():
        weight = 1
        for other in shares:
            if other != x:
                weight = weight * other * pow(other - x, -1, prime) % prime
        secret = (secret + y * weight) % prime
    return secret
    ### END SOLUTION


# %% [markdown] tags=["hints:join_shares"]
# 1. Two loops: over the shares, and inside over the places of all others. The weight begins at 1.
# 2. `weight = weight * other * pow(other - x, -1, prime) % prime` for each other place.
# 3. Then `secret = (secret + y * weight) % prime`, and return it after the outer loop.
# 4. (for: the difference is the wrong way round: x_j minus x_i) The weight has `other - x` below: the other place minus the share's own one.


# %% tags=["check:join_shares", "hidden"]
@checks("join_shares")
def _(c, join_shares):
    def weights(shares, p, flip=False, top=True, itself=False):
        found = {}
        for x in shares:
            w = 1
            for o in shares:
                if o != x:
                    w = (
                        w
                        * (o if top else 1)
                        * pow((x - o if flip else o - x) % p, -1, p)
                        % p
                    )
            found[x] = w
        return found

    for p, count in ((65537, 3), (10007, 4), (2**61 - 1, 2)):
        terms = [int(v) for v in c.rng.integers(1, min(p, 2**40), count)]
        places = {2: [4, 9], 3: [2, 9, 5], 4: [7, 2, 11, 5]}[count]
        shares = {x: sum(t * x**k for k, t in enumerate(terms)) % p for x in places}
        right = weights(shares, p)
        plain_sum = sum(shares[x] * right[x] for x in shares)
        with np.errstate(all="ignore"):
            floats = sum(
                y * math.prod(o / (o - x) for o in shares if o != x)
                for x, y in shares.items()
            )
        mistakes = {
            "the result was not taken modulo the prime": plain_sum,
            "the numerators are missing: the weight has x_j above": sum(
                shares[x] * w for x, w in weights(shares, p, top=False).items()
            )
            % p,
            "the shares were added without weights": sum(shares.values()) % p,
            "the values are missing: this is the sum of the weights": sum(
                right.values()
            )
            % p,
            "this is a division of floats: modulo a prime, multiply by pow(a, -1, p)": floats,
            "this is a division of floats, rounded: multiply by pow(a, -1, p)": round(
                floats
            )
            % p,
            "this is the first share, not the secret": next(iter(shares.values())),
        }
        if count % 2 == 0:
            mistakes["the difference is the wrong way round: x_j minus x_i"] = (
                sum(shares[x] * w for x, w in weights(shares, p, flip=True).items()) % p
            )
        got = join_shares(dict(shares), p)
        c.equal(got, terms[0], tested=f"{count} shares modulo {p}", mistakes=mistakes)
    c.equal(join_shares({3: 9}, 17), 9, tested="one share of one: the secret itself")
    big = 2**521 - 1
    secret = int.from_bytes(c.rng.bytes(32), "big")
    shares = {x: (secret + x * (secret * 3 + 1)) % big for x in (2, 5)}
    c.equal(
        join_shares(shares, big),
        secret,
        tested="a secret of 32 bytes modulo 2^521 - 1",
        mistakes={
            "numbers this large need Python's integers, not floats": float(secret)
        },
    )


# %% tags=["check:join_shares"]
join_shares = check("join_shares", my_join_shares, plain.join_shares)

# %% [markdown]
# A key of <span class="given" title="X25519">32 bytes</span>, dealt to five neighbours by the package (any three restore it), joined by you. The figure asks with one, two and three of the shares, all choices of them: how many bits of the key come out right?

# %%
key = int.from_bytes(secrets.token_bytes(32), "big")
dealt = shamir.split(key, threshold=3, points=range(1, 6))


def bits_right(count):
    found = [
        join_shares({x: dealt[x] for x in some}, shamir.PRIME)
        for some in combinations(dealt, count)
    ]
    return [256 - ((value ^ key) & (2**256 - 1)).bit_count() for value in found]


agree = {
    f"{n} share{'s' * (n > 1)}": float(np.mean(bits_right(n))) for n in (1, 2, 3, 4)
}

# %% tags=["folded"]
title = f"Two shares: {agree['2 shares']:.0f} of 256 bits, as by chance; three: {agree['3 shares']:.0f}"
ui.show(
    ui.bars(list(agree), list(agree.values()), title, "bits of the key that are right"),
    alt=title,
)
whose("join_shares")

# %% [markdown]
# That is nearly the whole protocol (Bonawitz et al.): 1. keys, 2. shares, each encrypted for one neighbour, 3. masked update, 4. unmasking: the shares of those who left. One trap is left. The server may only *think* that a client left: its
# update comes late, and by then the server has restored its pads and could subtract them. So each client adds a **second mask**, of its own, whose seed is dealt out as well. Of a client that survived the neighbours give the seed,
# of one that left they give the key, and **never both**.
#
# ### A mask that is none
#
# A mask has to come out of a key: both clients draw the same one, without sending it. A well-known framework did it like this, in its older form: fold the key into 32 bits, seed a Mersenne Twister with them. It **promises** that the server sees noise, and every
# histogram says so. The symptom is that the server can try out all seeds. Here with 16 bits, so that it is soon done: the right seed is the one that turns the words back into small numbers.


# %%
def twister_mask(key, words, bits=32):
    draw = random.Random(int.from_bytes(key, "big") % 2**bits)
    return np.array([draw.getrandbits(32) for _ in range(words)], np.uint32)


def looks_small(word):
    """A weight's change in fixed point is small: near 0, or near 2^32 where it is negative."""
    return min(word, 2**32 - word) < 2**24


small = (np.arange(-8, 8) * 2**18).astype(np.int64).astype(np.uint32)
seen = small + twister_mask(secrets.token_bytes(32), 16, bits=16)

# %%
began = time.perf_counter()
for candidate in range(2**16):
    draw = random.Random(candidate)
    if all(looks_small((int(word) - draw.getrandbits(32)) % 2**32) for word in seen):
        break
tried, took = candidate + 1, time.perf_counter() - began
unhidden = seen - twister_mask(candidate.to_bytes(2, "big"), 16, bits=16)
broken = bool((unhidden == small).all())


# %% tags=["finding:broken"]
def finding_broken(tried, seconds, broken):
    if not broken:
        return "The search found no seed, so nothing was broken here."
    hours = 2**32 * seconds / tried / 3600
    return (
        f"The seed was found after {tried:,} tries, in {seconds:.2g} s, and with it every word of the update. At this "
        f"speed, in plain Python, all seeds of 32 bits take {hours:,.0f} hours of one core; a key of 256 bits takes "
        f"{2.0**224:.0e} times as long."
    )


finding(finding_broken, tried, took, broken)

# %% [markdown]
# And with a full seed? A Mersenne Twister shows its whole state in 624 words: who knows that many weights knows all the others. A mask needs a **cryptographic** generator with a key of full length, such as the key stream of ChaCha20:
#
# $$ \mathrm{mask} = \mathrm{ChaCha20}_{k}(0, 0, 0, \dots), \qquad k \in \{0, 1\}^{256} $$

# %% tags=["folded"]
ui.worked_table(
    [
        {
            "key": "16 bits",
            "keys": "2^16",
            "tries in a second": "about 2^16",
            "time": "about a second",
        },
        {
            "key": "32 bits",
            "keys": "2^32",
            "tries in a second": "about 2^16",
            "time": "hours",
        },
        {
            "key": "256 bits",
            "keys": "2^256",
            "tries in a second": "2^60, if you own all computers",
            "time": "never",
        },
    ],
    "Orders of magnitude",
)

# %% [markdown]
# Mend the function. `Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor().update(data)` encrypts bytes with a key of 32 and a nonce of 16; what comes out for zeros **is** the key stream. The nonce may be
# zeros here, as each key makes one mask in its life.


# %% tags=["exercise:draw_mask"]
def my_draw_mask(key, words):
    """The mask (words,) uint32 of a key of 32 bytes: the same one for the same key."""
    # TODO: all bits of the key must count, and no number of words may give the others away.
    ### BEGIN SOLUTION
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(4 * words)), np.uint32)
    ### GIVEN
    # draw = random.Random(int.from_bytes(key, "big") % 2**32)
    # return np.array([draw.getrandbits(32) for _ in range(words)], np.uint32)
    ### END SOLUTION


# %% [markdown] tags=["hints:draw_mask"]
# 1. `random` and `numpy.random` are for simulations. `Cipher` and `algorithms` are imported already.
# 2. A word has four bytes: encrypt `bytes(4 * words)`, which are zeros, under `algorithms.ChaCha20(key, bytes(16))`.
# 3. `np.frombuffer(Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(4 * words)), np.uint32)`
# 4. (for: this is a Mersenne Twister, whose state 624 words show: use ChaCha20) A longer seed does not help: what comes out shows the state. Change the generator, not the seed.


# %% tags=["check:draw_mask", "hidden"]
@checks("draw_mask")
def _(c, draw_mask):
    key = c.rng.bytes(32)
    first = np.asarray(draw_mask(key, 700))
    c.that(
        first.shape == (700,) and first.dtype == np.uint32,
        tested="that 700 words come out",
        found=f"the type {first.dtype} of shape {first.shape}",
        mistake="four bytes make a word: encrypt bytes(4 * words) and read them as np.uint32",
    )
    c.that(
        np.array_equal(first, np.asarray(draw_mask(key, 700))),
        tested="that the same key gives the same mask",
        found="two masks of one key",
        mistake="the two clients have to draw the same mask: all of it comes from the key",
    )
    c.that(
        np.array_equal(first[:9], np.asarray(draw_mask(key, 9))),
        tested="that a shorter mask is the beginning of a longer one",
        found="another beginning",
        mistake="the length changes the mask: draw word after word from the key",
    )
    folds = {}
    for place in (0, 5, 15, 20, 31):
        other = bytearray(key)
        other[place] ^= 1
        folds[f"byte {place}"] = bytes(other)
    folds["two bytes swapped"] = key[8:16] + key[:8] + key[16:]
    folds["the whole key turned round"] = key[::-1]
    for what, other in folds.items():
        if other == key:
            continue
        c.that(
            not np.array_equal(np.asarray(draw_mask(other, 8)), first[:8]),
            tested="that every byte of the key counts, and its place",
            found=f"the same mask for two keys that differ: {what}",
            mistake="the key is folded into fewer bits, and a seed of 32 bits can be tried out",
        )
    import hashlib
    import zlib

    halves = np.frombuffer(key, np.uint32)
    folded = {
        zlib.crc32(key),
        zlib.adler32(key),
        hash(key) % 2**32,
        int(np.bitwise_xor.reduce(halves)),
        int(halves.sum(dtype=np.uint32)),
        *(int.from_bytes(key, order) % 2**32 for order in ("big", "little")),
        *(
            int.from_bytes(hashlib.new(kind, key).digest()[:4], order)
            for kind in ("sha256", "md5", "sha1")
            for order in ("big", "little")
        ),
    }

    def numpys(seed, kind=np.random.PCG64):
        draw = np.random.Generator(kind(seed))
        return draw.integers(0, 2**32, 700, dtype=np.uint32)

    c.that(
        not any(np.array_equal(first, numpys(n)) for n in folded),
        tested="that the key is not folded into a seed of 32 bits first",
        found="the words of a generator whose seed is a checksum of the key",
        mistake="the key is folded into fewer bits, and a seed of 32 bits can be tried out",
    )
    whole = [int.from_bytes(key, order) for order in ("big", "little")]
    whole += [list(key), halves, np.frombuffer(key, np.uint64)]
    kinds = ("PCG64", "PCG64DXSM", "Philox", "SFC64", "MT19937")
    c.that(
        not any(
            np.array_equal(first, numpys(n, getattr(np.random, kind)))
            for n in whole
            for kind in kinds
        ),
        tested="that the generator is a cryptographic one",
        found="the words of one of numpy's generators",
        mistake="NumPy's generators are made for simulations: a few words give the rest away",
    )
    s = [int(v) for v in first[:624]]

    def undo(y):
        y ^= y >> 18
        y ^= (y << 15) & 0xEFC60000
        t = y
        for _ in range(5):
            t = y ^ ((t << 7) & 0x9D2C5680)
        y = t & 0xFFFFFFFF
        t = y
        for _ in range(3):
            t = y ^ (t >> 11)
        return t & 0xFFFFFFFF

    twin = random.Random()
    twin.setstate((3, (*map(undo, s), 624), None))
    c.that(
        [twin.getrandbits(32) for _ in range(76)] != [int(v) for v in first[624:]],
        tested="that 624 words do not give the others away",
        found="the words 625 to 700, computed from the 624 before them",
        mistake="this is a Mersenne Twister, whose state 624 words show: use ChaCha20",
    )
    shared = np.bincount(first.view(np.uint8), minlength=256)
    c.that(
        shared.max() < 60 and (shared > 0).sum() > 240,
        tested="that all bytes come up",
        found=f"one byte {shared.max()} times of 2,800",
        mistake="the mask repeats or has gaps: each word needs four fresh bytes of key stream",
    )
    c.that(
        len(np.unique(first)) > 690,
        tested="that no stretch repeats",
        found=f"{len(np.unique(first))} different words of 700",
        mistake="the mask repeats: each word needs four fresh bytes of key stream",
    )


# %% tags=["check:draw_mask"]
draw_mask = check("draw_mask", my_draw_mask, package_masks.mask)

# %% [markdown]
# The attack again, on your masks, with the same seeds and the same words:

# %%
again = small + draw_mask(secrets.token_bytes(32), 16)
found = [
    candidate
    for candidate in range(2**14)
    if looks_small(
        (int(again[0]) - (first := random.Random(candidate)).getrandbits(32)) % 2**32
    )
    and all(looks_small((int(w) - first.getrandbits(32)) % 2**32) for w in again[1:])
]
Table(
    "Seeds that turn the words back into small numbers",
    ("mask", "seeds found"),
    [
        ("as published, 16 bits", int(broken)),
        ("yours, 256 bits, the seeds tried", len(found)),
    ],
)

# %%
whose("draw_mask")

# %% [markdown]
# ### One client lies
#
# So far everybody was curious and honest. Now one of the clients sends its update turned round and many times as long. With numbers: five clients, one weight; the last one lies.

# %% tags=["folded"]
five = np.array([1.0, 1.2, 0.8, 1.1, -50.0])
ui.worked_table(
    [
        {"average": "mean", "of": "all five", "value": five.mean()},
        {"average": "median", "of": "the middle one", "value": float(np.median(five))},
        {
            "average": "trimmed mean, 1 cut",
            "of": "0.8, 1.0, 1.1",
            "value": np.sort(five)[1:4].mean(),
        },
        {
            "average": "mean, clipped to 1.5",
            "of": "all five",
            "value": np.clip(five, -1.5, 1.5).mean(),
        },
    ],
    "Four averages of 1.0, 1.2, 0.8, 1.1 and -50",
)

# %% [markdown]
# $$ \bar u_j = \frac{1}{K - 2c} \sum_{k = c + 1}^{K - c} u_{(k) j} \qquad \text{with } u_{(1) j} \le \dots \le u_{(K) j} $$
#
# The **trimmed mean** sorts each weight by itself over the clients, leaves out the $c$ lowest and the $c$ highest, and takes the mean of the rest. With the largest possible $c$ it is the median.


# %% tags=["exercise:trimmed_mean"]
def my_trimmed_mean(updates, cut):
    """Updates (K, P): for each weight the mean without the `cut` lowest and highest."""
    # TODO: sort over the clients, leave out both ends, mean.
    ### BEGIN SOLUTION
    ordered = np.sort(updates, axis=0)
    return ordered[cut : len(updates) - cut].mean(axis=0)
    ### END SOLUTION


# %% [markdown] tags=["hints:trimmed_mean"]
# 1. `np.sort(updates, axis=0)` sorts every column, which is one weight over all clients.
# 2. Keep the rows from `cut` to `len(updates) - cut`. A slice that ends at `-cut` is empty where cut is 0.
# 3. `np.sort(updates, axis=0)[cut : len(updates) - cut].mean(axis=0)`
# 4. (for: a slice that ends at -0 is empty: end it at len(updates) - cut) `updates[2:-2]` works, and `updates[0:-0]` is `updates[0:0]`. Count from the front.


# %% tags=["check:trimmed_mean", "hidden"]
@checks("trimmed_mean")
def _(c, trimmed_mean):
    for count, cut in ((7, 2), (6, 1)):
        u = c.rng.normal(0, 1, (count, 4))
        u[1] += 40
        s = np.sort(u, axis=0)
        order = np.argsort(np.linalg.norm(u, axis=1))
        near = np.argsort(np.abs(u), axis=0)
        c.close(
            trimmed_mean(u, cut),
            s[cut : count - cut].mean(axis=0),
            1e-9,
            tested=f"{count} clients, {cut} cut at each end",
            mistakes={
                "nothing was cut": u.mean(axis=0),
                "only the highest were cut: both ends": s[: count - cut].mean(axis=0),
                "only the lowest were cut: both ends": s[cut:].mean(axis=0),
                "the first and last clients were cut: sort first": u[
                    cut : count - cut
                ].mean(axis=0),
                "sorted along the weights: sort over the clients, axis 0": np.sort(
                    u, axis=1
                )[cut : count - cut].mean(axis=0),
                "whole clients were cut by their length: each weight is sorted by itself": u[
                    order[: count - cut]
                ].mean(axis=0),
                "this is the median: take the mean of what is left": np.median(
                    u, axis=0
                ),
                "the sum was divided by all clients: by those that are left": s[
                    cut : count - cut
                ].sum(axis=0)
                / count,
                "this is a sum: take the mean": s[cut : count - cut].sum(axis=0),
                "cut by magnitude: cut the lowest and the highest values": np.take_along_axis(
                    u, near, axis=0
                )[: count - 2 * cut].mean(axis=0),
                "one mean over everything: each weight has its own": np.array(
                    s[cut : count - cut].mean()
                ),
            },
        )
    u = c.rng.normal(0, 1, (5, 3))
    c.close(
        trimmed_mean(u, 0),
        u.mean(axis=0),
        1e-9,
        tested="that a cut of 0 is the mean",
        mistakes={
            "a slice that ends at -0 is empty: end it at len(updates) - cut": np.full(
                3, np.nan
            )
        },
    )
    c.close(
        trimmed_mean(u, 2),
        np.median(u, axis=0),
        1e-9,
        tested="that the largest cut is the median",
    )


# %% tags=["check:trimmed_mean"]
trimmed_mean = check("trimmed_mean", my_trimmed_mean, plain.trimmed_mean)

# %% [markdown]
# Some rounds of federated learning with a liar among the clients, under four rules.


# %%
def learn(rule, liar=True):
    """The network after some rounds; rule(updates) gives the change of the weights, or None."""
    now, function = flatten(start), federated.client_round(net)
    for number in range(rounds):
        plan = schedule_round(holders, range(clients), config, seed, number)
        sent = run_clients(
            digits.train, plan, unflatten(now, start), config, function
        ).updates
        if liar:
            sent[0] = robust.flip_and_scale(sent[0], 20.0)
        change = rule(sent)
        now = now if change is None else (now + change).astype(np.float32)
    return network_with(net, unflatten(now, start))


rules = {
    "mean": lambda sent: sent.mean(axis=0),
    "mean of clipped": lambda sent: training.clip_rows(sent, 1.0).mean(axis=0),
    "trimmed mean": lambda sent: trimmed_mean(sent, 2),
    "median": lambda sent: np.median(sent, axis=0),
}
honest_right = right_of(learn(rules["mean"], liar=False))
poisoned = {name: right_of(learn(rule)) for name, rule in rules.items()}

# %% tags=["folded"]
bars = {"mean, nobody lies": honest_right} | poisoned
values = {
    n: quality.accuracy_reading(hits, f"{rounds} rounds, {n}")
    for n, hits in bars.items()
}
title = f"One liar of {clients}: " + ", ".join(
    f"{v.value:.0f} % by {n}" for n, v in values.items() if n in rules
)
ui.show(
    ui.bars(list(values), list(values.values()), title, "accuracy in %"),
    alt=f"Five bars. {title}.",
)
whose("trimmed_mean")

# %% [markdown]
# ### And if nobody may see?
#
# Now put both together. The trimmed mean, the median and the clipping **look at single updates**. Under secure aggregation there are none to look at: what hides the honest from the server hides the liar as well. A single NaN, cast to an integer, spoils the whole sum, and
# nobody can say whose it was. What is left:
#
# - the **client** guards itself: it clips its update to a length $C$, and sends nothing that is not finite. A liar need not;
# - the **server** looks at the sum. The mean of updates of at most $C$ has at most the length $C$. A longer mean is refused as a whole, and the model stays as it was. One liar may still hide up to about $K$ times $C$ in a sum of $K$.
#
# By hand: three clients, one weight, steps of a quarter ($\mathrm{scale} = 4$), $C = 1$. A word above $2^{31}$ stands for a negative number.

# %% tags=["folded"]
ui.worked_table(
    [
        {
            "sum, as a word": str(word),
            "signed": int(np.uint32(word).astype(np.int32)),
            "over scale and clients": int(np.uint32(word).astype(np.int32)) / 4 / 3,
            "verdict": "refused"
            if abs(int(np.uint32(word).astype(np.int32)) / 12) > 1
            else "taken",
        }
        for word in (6, 2**32 - 6, 24, 2**31)
    ],
    "Four sums of three clients",
)

# %% [markdown]
# $$ \bar u = \frac{\mathrm{signed}(\mathrm{sum})}{\mathrm{scale} \cdot K}, \qquad \text{taken only if } \lVert \bar u \rVert_2 \le C $$


# %% tags=["exercise:guarded_mean"]
def my_guarded_mean(total, many, scale, limit):
    """The mean in a sum (words,) uint32 of `many` updates, or None where it is too long."""
    # TODO: signed numbers, over scale and clients; None where the length is above the limit.
    ### BEGIN SOLUTION
    mean = total.astype(np.int32) / scale / many
    return mean if np.linalg.norm(mean) <= limit * (1 + 1e-6) else None
    ### END SOLUTION


# %% [markdown] tags=["hints:guarded_mean"]
# 1. `total.astype(np.int32)` reads the same bits as signed numbers: a word near 2^32 becomes a small negative one.
# 2. Divide by the scale and by the number of clients, then compare `np.linalg.norm(mean)` with the limit; allow for rounding.
# 3. `return mean if np.linalg.norm(mean) <= limit * (1 + 1e-6) else None`
# 4. (for: the limit holds for the mean, not for the sum: divide by the clients before you compare) The sum of twelve updates of length 1 may have the length 12. Compare `np.linalg.norm(mean)`.


# %% tags=["check:guarded_mean", "hidden"]
@checks("guarded_mean")
def _(c, guarded_mean):
    scale, many = 4096.0, 5
    u = c.rng.normal(0, 1, (many, 9))
    u *= 0.18 / np.linalg.norm(u, axis=1, keepdims=True)
    u[:, 0] = -np.abs(u[:, 0])
    whole = np.rint(u * scale).astype(np.int64).sum(axis=0)
    words = whole.astype(np.uint32)
    mean = whole / scale / many
    got = guarded_mean(words.copy(), many, scale, 1.0)
    c.that(
        got is not None,
        tested="the sum of five honest updates",
        found="None",
        mistake="negative numbers stand near 2^32: read the words as signed, np.int32, before their length is taken",
    )
    c.close(
        got,
        mean,
        1e-6,
        tested="the mean of five honest updates",
        mistakes={
            "the words were not read as signed: a negative number stands near 2^32": words
            / scale
            / many,
            "the sum was not divided by the number of clients": whole / scale,
            "the scale is missing": whole / many,
            "multiplied by the scale: divide": whole * scale / many,
        },
    )
    long = np.zeros(9, np.int64)
    long[3] = int(-1.3 * scale * many)
    bad = {
        "a mean of length 1.3, where 1 is the limit": long.astype(np.uint32),
        "a sum that one client filled with the largest number": np.full(
            9, 2**31 - 1, np.uint32
        ),
        "a sum in which each number is below the limit, and the length is not": np.rint(
            np.full(9, 0.6) * scale * many
        ).astype(np.uint32),
    }
    for what, sum_ in bad.items():
        c.that(
            guarded_mean(sum_.copy(), many, scale, 1.0) is None,
            tested=what,
            found="a mean that was taken",
            mistake="the length of the whole mean counts (np.linalg.norm), not its largest or its first number, and above the limit it is None",
        )
    edge = np.zeros(9, np.int64)
    edge[0] = int(0.95 * scale * many)
    c.that(
        guarded_mean(edge.astype(np.uint32), many, scale, 1.0) is not None,
        tested="a mean just below the limit",
        found="None",
        mistake="the limit holds for the mean, not for the sum: divide by the clients before you compare",
    )
    even = np.rint(np.full(9, 0.2) * scale * many).astype(np.uint32)
    c.that(
        guarded_mean(even.copy(), many, scale, 1.0) is not None,
        tested="a mean of nine times 0.2, whose length is 0.6",
        found="None",
        mistake="the Euclidean length counts: the root of the sum of squares, not the sum of absolute values",
    )
    c.that(
        guarded_mean(long.astype(np.uint32), many, scale, 2.0) is not None,
        tested="the same mean of length 1.3 with a limit of 2",
        found="None",
        mistake="the limit is an argument: compare with it, not with 1",
    )
    c.that(
        guarded_mean(even.copy(), many, scale, 0.5) is None,
        tested="the same mean with a limit of 0.5",
        found="a mean that was taken",
        mistake="the root is missing: 0.6 is above 0.5, its square is not",
    )


# %% tags=["check:guarded_mean"]
guarded_mean = check("guarded_mean", my_guarded_mean, plain.guarded_mean)

# %% [markdown]
# The rounds once more, as the server sees them under secure aggregation: only the sum. The liar is as loud as before, in words that nobody looks at. Or it is **quiet**, and stays within the bound.


# %%
def hidden_rule(guarded, quiet):
    """Only the sum reaches the server; everybody but client 0 keeps the bound."""

    def rule(sent):
        kept = training.clip_rows(sent, 1.0)
        if not quiet:
            kept[0] = sent[0]
        words = (
            np.rint(kept.astype(float) * form.scale).astype(np.int64).astype(np.uint32)
        )
        total = words.sum(axis=0, dtype=np.uint32)
        limit = 1.0 if guarded else 1e9
        change = guarded_mean(total, clients, form.scale, limit)
        taken.append(change is not None)
        return change

    return rule


cases = {
    "loud, sum taken as it is": (False, False),
    "loud, guarded": (True, False),
    "quiet, guarded": (True, True),
}
secret_right, share = {}, {}
for name, (guarded, quiet) in cases.items():
    taken = []
    secret_right[name] = right_of(learn(hidden_rule(guarded, quiet)))
    share[name] = sum(taken)

# %% tags=["folded"]
values = {
    n: quality.accuracy_reading(h, f"{rounds} rounds, {n}")
    for n, h in secret_right.items()
}
title = "Rounds whose sum was taken: " + ", ".join(
    f"{share[n]} of {rounds} ({n})" for n in cases
)
ui.show(
    ui.bars(list(values), list(values.values()), title, "accuracy in %"),
    alt=f"Three bars. {title}.",
)
whose("guarded_mean")


# %% tags=["finding:conflict"]
def finding_conflict(seen, loud, quiet, taken, rounds):
    return (
        f"With updates in view the median ends at {seen:.0f} % right. Hidden in the sum, the loud liar has "
        f"{rounds - taken} of {rounds} sums refused, and the model ends at {loud:.0f} %; the quiet one, "
        f"within the bound, is not seen at all, and the model ends at {quiet:.0f} %. A guard on the sum "
        "bounds what one round can do to the model. It does not find the liar, who can stop the training or spoil it slowly."
    )


accuracy = {
    name: 100 * float(h.mean()) for name, h in (poisoned | secret_right).items()
}
finding(
    finding_conflict,
    accuracy["median"],
    accuracy["loud, guarded"],
    accuracy["quiet, guarded"],
    share["loud, guarded"],
    rounds,
)

# %% [markdown]
# ## The real tool
#
# ### Opacus
#
# Opacus is PyTorch's library for DP-SGD. Its optimizer gets the same gradients, the same clipping length and no noise (its noise is its own); your `noisy_mean` gets a noise of 0. Both make two steps from the same weights.


# %% tags=["folded"]
def opacus_steps(count=2):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer

        model = GradSampleModule(figures.new_network(seed))
        sgd = torch.optim.SGD(model.parameters(), lr=0.5)
        stepper = DPOptimizer(
            sgd, noise_multiplier=0.0, max_grad_norm=1.0, expected_batch_size=64
        )
        for _ in range(count):
            stepper.zero_grad()
            x, y = (
                torch.from_numpy(part[:64]) for part in (digits.train.x, digits.train.y)
            )
            nn.functional.cross_entropy(model(x), y).backward()
            stepper.step()
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


# %%
now, each = flatten(start), training.example_gradients(net)
x, y = (torch.from_numpy(part[:64]) for part in (digits.train.x, digits.train.y))
for _ in range(2):
    gradients = each(unflatten(now, start), x, y).numpy()
    now = now - 0.5 * noisy_mean(gradients, 1.0, 0.0, 64, np.zeros(len(now)))
theirs = opacus_steps()
apart = record(
    "opacus.apart",
    Reading(
        float(np.abs(now - theirs).max()),
        "",
        "measured",
        "largest difference of two weights",
    ),
)

# %% [markdown]
# Then the accountants, each on 150 steps with $q = 0.1$ and $\delta = 0.0001$: yours (whole orders), edgelab's (all orders), Opacus' by the same Rényi divergence, Opacus' newer one (PRV, tighter), and the approximation by a central limit theorem (GDP).


# %%
def accountants(sigma, q=0.1, steps=150, delta=1e-4):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.accountants import PRVAccountant, RDPAccountant

        found = {}
        for name, kind in (
            ("Opacus, RDP", RDPAccountant),
            ("Opacus, PRV", PRVAccountant),
        ):
            account = kind()
            account.history = [(sigma, q, steps)]
            found[name] = float(account.get_epsilon(delta))
    mine = steps * np.array([rdp_step(q, sigma, int(a)) for a in orders])
    return {
        "yours, RDP": accountant.epsilon_of(mine, delta, orders)[0],
        "edgelab, RDP": accountant.epsilon(q, sigma, steps, delta),
        **found,
        "GDP, approximate": accountant.gdp_epsilon(q, sigma, steps, delta),
    }


noises = (0.7, 1.0, 2.0, 4.0)
told = {sigma: accountants(sigma) for sigma in noises}

# %%
Table(
    "Epsilon by accountant and noise multiplier",
    ("accountant", *(f"noise {sigma:g}" for sigma in noises)),
    [(name, *(told[sigma][name] for sigma in noises)) for name in told[noises[0]]],
)


# %% tags=["finding:accountants"]
def finding_accountants(told, apart):
    mine = max(abs(row["yours, RDP"] / row["Opacus, RDP"] - 1) for row in told.values())
    tight = sum(row["Opacus, PRV"] < row["Opacus, RDP"] for row in told.values())
    lower = sum(row["GDP, approximate"] < row["Opacus, PRV"] for row in told.values())
    return (
        f"After two steps the weights differ from Opacus' by at most {apart.value:.1g}. Your epsilon is within "
        f"{100 * mine:.2g} % of Opacus' RDP. PRV names a lower price for the same noise for {tight} of {len(told)} noises, "
        f"and it is a proof, too. GDP names less than PRV for {lower} of {len(told)}: an approximation, no bound."
    )


finding(finding_accountants, {str(k): v for k, v in told.items()}, apart)

# %% [markdown]
# ### The whole protocol
#
# The package runs all four steps among the clients, each with a signed message for each step: X25519 for the keys, HKDF, ChaCha20 for the masks, ChaCha20-Poly1305 around the shares, Shamir modulo $2^{521} - 1$. Two clients leave, one before and one after it sent its update.

# %% tags=["folded"]
gone = {2: "masked", 5: "unmask"}
secure = privacy.secure_sum(rows, drop_outs=gone)
alive = [client for client in range(clients) if client != 2]
exact = bool((secure.total == rows[alive].sum(axis=0, dtype=np.uint32)).all())
mean_hidden = guarded_mean(secure.total, len(alive), form.scale, 1.0)
Table(
    "A round of secure aggregation",
    ("what", "value"),
    [
        ("clients in the sum", len(secure.survivors)),
        ("left before its update", "client 2"),
        ("left after its update, which counts", "client 5"),
        ("sum equal to the bit", exact),
        (
            "largest distance to the mean in float",
            float(np.abs(mean_hidden - updates[alive].mean(axis=0)).max()),
        ),
        ("bytes sent by a client", secure.bytes_up // clients),
        ("bytes of its update in float32", 4 * rows.shape[1]),
    ],
)

# %% [markdown]
# Who does not keep to the rules is refused. Each line is a real message, or a real request, in a round of its own:


# %% tags=["folded"]
def refusal(trick):
    try:
        trick()
    except privacy.Refused as error:
        return str(error)
    return "NOT REFUSED"


most_gone = {client: "masked" for client in range(clients // 2 + 1)}
nobody_unmasks = {client: "unmask" for client in range(clients // 2 + 1)}
round_ = privacy.secure_average(np.zeros(rows.shape[1], np.float32), updates, limit=1.0)
noise_words = {0: np.frombuffer(secrets.token_bytes(4 * rows.shape[1]), np.uint32)}
spoilt = privacy.secure_average(
    np.zeros(rows.shape[1], np.float32), updates, limit=1.0, unguarded=noise_words
)
nan = updates.copy()
nan[3, 7] = np.nan
withheld = privacy.secure_average(np.zeros(rows.shape[1], np.float32), nan, limit=1.0)

# %% tags=["folded"]
Table(
    "What the log says",
    ("what happened", "what the log says"),
    [
        (
            "most clients left before their update",
            refusal(lambda: privacy.secure_sum(rows, drop_outs=most_gone)),
        ),
        (
            "most clients left before unmasking",
            refusal(lambda: privacy.secure_sum(rows, drop_outs=nobody_unmasks)),
        ),
        ("client 0 sent noise", spoilt.refused),
        ("client 3 has a NaN in its update", f"client 3: {withheld.missing[3]}"),
        ("nothing", f"{len(round_.used)} clients in the sum"),
    ],
)

# %% [markdown]
# Is what the server sees noise? Over several rounds both halves of each masked update are tested: do its bytes come up equally often (chi-square)? Of true noise one test in a hundred fails at the level of <span class="given" title="the level of the test">1 %</span>. The updates themselves, unmasked, are the control.


# %%
def rejected(words):
    """Whether the bytes of these words are told from uniform ones, at a level of 0.01."""
    counts = np.bincount(np.ascontiguousarray(words).view(np.uint8), minlength=256)
    wanted = counts.sum() / 256
    square = ((counts - wanted) ** 2 / wanted).sum()
    return bool(square > 310.457)  # chi-square, 255 degrees of freedom


views, exact_rounds = [], []
for number in tqdm(range(20), desc="secure rounds"):
    leaving = {number % clients: "masked", (number + 3) % clients: "unmask"}
    one = privacy.secure_sum(rows, neighbours=8, drop_outs=leaving)
    staying = [client for client in range(clients) if client != number % clients]
    exact_rounds.append(
        bool((one.total == rows[staying].sum(axis=0, dtype=np.uint32)).all())
    )
    halves = [half for words in one.view.values() for half in np.array_split(words, 2)]
    views += [rejected(half) for half in halves]

# %% tags=["folded"]
told_apart = record(
    "secure.told_apart",
    quality.accuracy_reading(np.array(views), "chi-square of masked updates"),
)
exact_share = record(
    "secure.exact",
    Reading(
        100 * float(np.mean(exact_rounds)),
        "%",
        "measured",
        f"{len(exact_rounds)} rounds, two drop-outs each",
    ),
)
open_apart = record(
    "secure.control",
    quality.accuracy_reading(
        np.array([rejected(r) for r in rows]), "the same of the updates"
    ),
)


# %% tags=["finding:noise"]
def finding_noise(told_apart, control, exact):
    return (
        f"Of the masked updates {told_apart.figure()} are told from noise, at a level where noise itself fails one test "
        f"in a hundred; of the updates in the open {control.figure()}. The sum was right to the bit in "
        f"{exact.figure()} of the rounds, with two clients leaving in each."
    )


finding(finding_noise, told_apart, open_apart, exact_share)

# %% [markdown]
# ## Explore
#
# **The inversion.** Turn up the batch and the noise, with your `invert`.
#
# - At which batch size do you no longer recognise the first digit?
# - Which needs less: noise on the gradient, or more items?
#
# <details><summary>Discussion</summary>
#
# With two or three items the mixture is still readable, with ten it is a smear. Noise works at once when it is as large as the gradient of a single weight, whatever the batch. Averages of batches hide by luck, noise hides by measure.
#
# </details>


# %%
def inverted(item, size, noise):
    batch = [item, *range(item + 20, item + 19 + size)]
    found = invert(*gradient_of(batch, noise=noise)).reshape(1, 1, 8, 8)
    pair = np.concatenate([digits.test.x[[item]], np.clip(found, 0, 1)])
    names = [f"a {digits.test.y[item]}"]
    label = ["on the device", "from the gradient"]
    return ui.images_by(
        pair,
        [0, 0],
        names,
        label,
        title=f"Batch of {size}, noise {noise:g}",
        rows=label,
    )


ui.Panel(
    inverted,
    title="One gradient",
    item=ui.slider(0, 30, 1, value=3, label="item"),
    size=ui.slider(1, 32, 1, value=1, label="items in the batch"),
    noise=ui.choice([0.0, 1e-3, 1e-2, 0.1], label="noise"),
)

# %% [markdown]
# **The budget.** How the price grows with the steps, for a noise and a sampling rate of your choice.
#
# - What does half the sampling rate do, with the same noise?
# - Where is the gap between RDP and GDP widest?
#
# <details><summary>Discussion</summary>
#
# Fewer chances to take part make every step cheaper, much more than in proportion where the noise is large: that is amplification by sampling. GDP is far below where steps are few and the sampling rate is small, where its limit theorem has not set in yet: there it promises a privacy that nobody proved. For very large budgets it may even lie above. It is an approximation, and no bound.
#
# </details>


# %%
def priced(sigma, q):
    steps = np.array([10, 30, 100, 300, 1000])
    one = accountant.rdp(q, sigma)
    rdp = [accountant.epsilon_of(t * one, 1e-4)[0] for t in steps]
    gdp = [max(accountant.gdp_epsilon(q, sigma, int(t), 1e-4), 1e-3) for t in steps]
    title = f"Epsilon of 1,000 steps: {rdp[-1]:.2f} by RDP, {gdp[-1]:.2f} by GDP"
    return ui.lines(
        {"RDP": (steps, rdp), "GDP (no bound)": (steps, gdp)},
        title,
        "steps",
        "epsilon",
        log_x=True,
        log_y=True,
    )


ui.Panel(
    priced,
    title="What steps cost",
    alt="Two curves of epsilon over the steps, by RDP and by GDP.",
    sigma=ui.slider(0.7, 5.0, 0.1, value=1.5, label="noise multiplier"),
    q=ui.choice([0.01, 0.05, 0.1, 0.2], value=0.1, label="sampling rate"),
)

# %% [markdown]
# **The dial.** Five budgets, two levels, five seeds, trained ahead. At the level of **examples** one digit is protected; at the level of **clients** all digits of one of 100 clients. For each budget one setting was chosen on the validation digits.

# %%
levels = {"example": "one digit", "client": "one client of 100"}
dial = {
    level: [ahead.loss(level, epsilon) for epsilon in figures.EPSILONS]
    for level in levels
}
series = {
    f"protects {levels[level]}": (figures.EPSILONS, values)
    for level, values in dial.items()
}

# %% tags=["folded"]
title = "Points lost at epsilon 1: " + ", ".join(
    f"{ahead.loss(level, 1.0).value:.1f} ({name})" for level, name in levels.items()
)
figure = ui.lines(series, title, "epsilon", "points of accuracy lost", log_x=True)
ui.show(figure, alt=f"Two falling curves with intervals. {title}.")


# %% tags=["finding:dial"]
def finding_dial(losses, limit):
    def cheapest(rows):
        fits = []
        for epsilon in sorted(rows, key=float, reverse=True):
            if rows[epsilon].high > limit:
                break
            fits.append(float(epsilon))
        return f"from epsilon {fits[-1]:g} on" if fits else "not at the largest budget"

    said = [f"to protect {name}, {cheapest(rows)}" for name, rows in losses.items()]
    return f"At most {limit:g} points lost, with the whole interval: {'; '.join(said)}."


table = {
    levels[level]: {str(e): r for e, r in zip(figures.EPSILONS, rows_)}
    for level, rows_ in dial.items()
}
finding(finding_dial, table, 5.0)

# %% [markdown]
# - Both curves have the same epsilon. Is the promise the same?
# - The setting was chosen on validation data. What does that cost?
#
# <details><summary>Discussion</summary>
#
# No. At the level of examples a client who holds a hundred digits is protected a hundred times worse than one digit. What is a person in your data? That decides the level. And every look at private data costs: the choice of a setting was not accounted for here, as in most papers. Choose on public data, or pay for it.
#
# </details>
#
# Do you trust figures that somebody else made? Choose a budget and a seed and press: the network is trained here, and held against the one of the table. The whole table, in a terminal: `uv run python -m edgelab.privacy.figures --anew --file FILE`.


# %% tags=["folded"]
def again_here(level, epsilon, number):
    """The run made ahead; after the button was pressed, this machine's own beside it."""
    run = ahead.run(level, epsilon, number)
    series = {"made ahead": [100 * run["right"] / run["items"]]}
    if pressed:
        model = figures.train_dial(digits, level, epsilon, number, run["setting"])
        series["here"] = [100 * float(right_of(model).mean())]
    pressed.append(True)
    title = f"{level} level, epsilon {epsilon:g}, seed {number}: {' and '.join(series)}"
    return ui.grouped_bars(["accuracy"], series, title, "accuracy in %")


pressed = []
ui.Panel(
    again_here,
    title="Measure again",
    alt="Bars of the accuracy made ahead and here.",
    button="Train",
    level=ui.choice(["example", "client"], label="level"),
    epsilon=ui.choice(list(figures.EPSILONS), value=2.0, label="epsilon"),
    number=ui.slider(0, 4, 1, value=0, label="seed"),
)

# %% [markdown]
# ## Claims

# %%
claim("F3", restored_share)

# %%
costs = {
    f"{level}_{epsilon:g}": record(
        f"cost.{level}.epsilon_{epsilon:g}", ahead.loss(level, epsilon)
    )
    for level in levels
    for epsilon in figures.EPSILONS
    if epsilon >= 1
}
guess_cost.against(costs["example_1"])
claim("F4", *costs.values())

# %%
claim("F5", exact=exact_share, noise=told_apart)

# %% [markdown]
# ## Challenge
#
# A hospital asks for a budget of <span class="given" title="the task">epsilon 1.5</span> at $\delta = 0.0001$ for each digit, and for at least <span class="given" title="the task">86 %</span> right on the validation digits, as the mean of three seeds. Less noise
# is more accurate and costs more; so do more steps. Choose the clipping length, the noise, the sampling rate, the steps and the learning rate.


# %% tags=["challenge:budget", "hidden"]
def reference():
    return {
        "clip": 1.0,
        "rate": 0.2,
        "steps": 100,
        "learning_rate": 1.0,
        "noise_multiplier": 5.2,
    }


# %% tags=["challenge:budget"]
# `your_settings`: clip, rate (0 to 1), steps, learning_rate, noise_multiplier
### BEGIN SOLUTION
your_settings = reference()
### GIVEN
# your_settings = None
### END SOLUTION


# %% tags=["folded"]
def measured(told):
    config = privacy.PrivacyConfig(
        told["clip"], told["noise_multiplier"], told["rate"], int(told["steps"])
    )
    hits = []
    for number in range(3):
        first = figures.new_network(number)
        run = privacy.private_sgd(
            first,
            digits.train,
            config,
            learning_rate=told["learning_rate"],
            delta=1e-4,
            seed=number,
        )
        hits.append(right_of(network_with(first, run.weights), digits.validation))
    return {
        "epsilon": Reading(
            run.epsilon, "", "modelled", "edgelab's RDP accountant, delta 0.0001"
        ),
        "accuracy": quality.accuracy_reading(
            np.concatenate(hits), "validation, three seeds"
        ),
    }


# %%
challenge(
    "budget",
    your_settings,
    measured,
    Target("epsilon", at_most=1.5, unit=""),
    Target("accuracy", at_least=86.0, unit="%"),
)

# %% [markdown]
# ## Bring your own
#
# `my_data` takes an `.npz` with `x` (float32) and `y`; `my_epsilon` the budget. You get a network learnt with and without privacy, what the privacy cost, and how well members are told from others before and after. Leave it empty and a part of the digits is used.

# %%
own = data.from_npz(Path(my_data).expanduser()) if my_data else digits
part = own.train.take(np.arange(min(len(own.train.y), 600)))
features = int(np.prod(part.x.shape[1:]))
torch.manual_seed(seed)
own_net = nets.mlp(features, own.classes, hidden=(32,))
delta = 1 / (10 * len(part.y))
noise = accountant.noise_for(my_epsilon, 0.1, 150, delta)
budget = privacy.PrivacyConfig(1.0, noise, 0.1, 150)
run = privacy.private_sgd(own_net, part, budget, learning_rate=1.0, seed=seed)
own_models = {
    f"epsilon {run.epsilon:.1f}": network_with(own_net, run.weights),
    "no privacy": figures.train_plain(own_net, part.x, part.y),
}


# %% tags=["folded"]
def own_row(name, model):
    def scores(part):
        return membership.confidence(nets.predict_logits(model, part.x), part.y)

    attack = privacy.judge_attack(scores(part), scores(own.test))
    return (
        name,
        quality.accuracy_reading(right_of(model, own.test), name),
        attack.reading("confidence, members against test items"),
    )


Table(
    "Your data, with and without privacy",
    ("training", "accuracy on test items", "pairs in which a member scores higher"),
    [own_row(name, model) for name, model in own_models.items()],
    f"delta {delta:.2g}, {len(part.y):,} training items.",
)

# %% [markdown]
# ## What you found
#
# Made from the readings of this run, and from those made ahead.


# %% tags=["finding:recap"]
def finding_recap(restored, before, after, strict, loose):
    return (
        f"A gradient of one digit gave it back in {restored.figure()} of the cases. Membership was guessed in "
        f"{before.figure()} of the pairs, with epsilon 1 in {after.figure()}. At the level of examples epsilon 1 cost "
        f"{strict.figure()}, epsilon 8 {loose.figure()}."
    )


finding(
    finding_recap,
    restored_share,
    areas["learnt by heart"]["likelihood ratio"],
    areas["epsilon 1"]["likelihood ratio"],
    costs["example_1"],
    costs["example_8"],
)

# %% [markdown]
# And what holds on every machine:
#
# - "The data stay on the device" is a description, not a protection. The gradient is the data in another form.
# - Clipping alone protects nobody; it makes a known amount of noise enough. Say at which level, with which delta, and by which accountant.
# - Secure aggregation hides the parts and not the sum; noise hides the parts in the sum. They answer different questions, and serious systems use both.
# - The protocol here trusts the server to follow its steps. A server that invents clients, or tells each of them something else, needs more: enrolled keys, and clients who compare.
# - A mask is as strong as its key. No Mersenne Twister, no seed of 32 bits, never the same key twice.
# - What hides updates hides a liar. Guards move to the client, where a liar is at home, and to the sum, where nobody can be named.
#
# ## Sources
#
# - Zhu, Liu and Han, *Deep Leakage from Gradients*, 2019: [arXiv:1906.08935](https://arxiv.org/abs/1906.08935); Zhao, Mopuri and Bilen, *iDLG*, 2020: [arXiv:2001.02610](https://arxiv.org/abs/2001.02610) (searching for the input where there is no linear first layer; `edgelab.privacy.search_input`).
# - Abadi et al., *Deep Learning with Differential Privacy*, 2016: [arXiv:1607.00133](https://arxiv.org/abs/1607.00133) (DP-SGD).
# - McMahan et al., *Learning Differentially Private Recurrent Language Models*, 2018: [arXiv:1710.06963](https://arxiv.org/abs/1710.06963) (the level of clients).
# - Mironov, Talwar and Zhang, *Rényi Differential Privacy of the Sampled Gaussian Mechanism*, 2019: [arXiv:1908.10530](https://arxiv.org/abs/1908.10530) (the formula of the accountant).
# - Carlini et al., *Membership Inference Attacks From First Principles*, 2022: [arXiv:2112.03570](https://arxiv.org/abs/2112.03570) (LiRA).
# - Bonawitz et al., *Practical Secure Aggregation for Privacy-Preserving Machine Learning*, 2017: [eprint 2017/281](https://eprint.iacr.org/2017/281); Bell et al., 2020: [eprint 2020/704](https://eprint.iacr.org/2020/704) (neighbours in place of everybody).
# - Yin et al., *Byzantine-Robust Distributed Learning*, 2018: [arXiv:1803.01498](https://arxiv.org/abs/1803.01498) (median and trimmed mean).
# - [Opacus](https://opacus.ai/), and the cryptography package's [ChaCha20](https://cryptography.io/en/latest/hazmat/primitives/symmetric-encryption/).
