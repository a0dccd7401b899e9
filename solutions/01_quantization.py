# ---
# jupyter:
#   edgelab:
#     title: "Quantization: eight bits, and what they cost"
#     minutes: 90
#     memory_gb: 3
#     requires: [torch, onnxruntime]
#     form: 2
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
# A trained network stores 32-bit numbers, and most of those bits carry nothing that the answer needs. **Can you store this network in 8 bits
# and keep its answers?** At the end of this lab you own a quantizer: seven short functions of yours that turn a float network into integers. You
# hold its bytes against those of ONNX Runtime, and you find out who pays when it goes wrong.
#
# You need: lab `start`, or to know what an ONNX file and a percentile are. No network, no GPU. The cells run in about a minute; with the
# exercises plan an hour and a half.

# %% tags=["parameters"]
seed = 0
threads = 1
runs = 120  # timed inferences of each contender
calibration_items = 200
my_data = ""  # bring your own: an .npz file with x (float32, channels first), y, group
my_model = ""  # bring your own: a float32 .onnx file that takes x

# %% tags=["setup", "folded"]
import copy
import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from IPython.display import display

from edgelab import Reading, Table, data, nets, record, ui
from edgelab.compress import affine, backends, plain, ptq, weights
from edgelab.compress.simulate import simulate, tensor_values
from edgelab.compress.stored import stored_integers
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
    side_of,
    whose,
)

# %% tags=["setup", "folded"]
from edgelab.engines import open_engine
from edgelab.engines.torch import TorchEngine
from edgelab.measure import inspect_model, latency, load_arrays, quality, save_arrays
from edgelab.measure.compare import compare
from edgelab.toolbox import what_ran

begin("quantization")
torch.set_num_threads(threads)
generator = np.random.default_rng(seed)
folder = TemporaryDirectory()
work = Path(folder.name)

# %% [markdown]
# The path from a trained network to an integer one has four stations. You build each of them by hand.

# %% tags=["folded"]
ui.calibration_flow()

# %% [markdown]
# The task: road signs of 32 x 32 pixels in ten classes, drawn by a program. Light, distance and dirt vary from image to image, and one class is
# rare in training, as some things are in the field. Here is what the network has to read, by the light it was seen in.

# %% tags=["setup"]
signs = data.signs(seed=seed)
network = nets.load("signs_dscnn")

# %%
ui.images_by(
    signs.test.x, signs.test.y, signs.class_names, signs.test.groups["lighting"]
)

# %% [markdown]
# The network is **depthwise-separable**: each 3x3 filter looks at one channel alone, and a 1x1 filter mixes the channels. Phones and
# microcontrollers run such networks because they need few multiplications. Keep the picture in mind: it returns when accuracy gets lost.

# %% tags=["folded"]
display(ui.convolution("depthwise", in_channels=32))
ui.convolution("pointwise", in_channels=32, out_channels=64)

# %% [markdown]
# How good is it in float32? Every loss in this lab is counted against this figure, on the same 2,000 test images.

# %%
float32 = export(network, signs.test.x[:1], work / "float32.onnx")
with open_engine(float32.path, threads=threads) as engine:
    float_logits = engine.predict(signs.test.x)
right = {"float32": float_logits.argmax(axis=1) == signs.test.y}
record(
    "float32.accuracy",
    quality.accuracy_reading(right["float32"], "ONNX Runtime, float32"),
)

# %% [markdown]
# ## Predict
#
# Commit before you look. Each guess meets its figure further down.

# %%
guess_loss = ui.predict(
    "All weights and activations in 8 bits, one scale for each weight tensor:"
    " how many points of accuracy are lost?",
    unit="points",
    low=0.0,
    high=30.0,
)
guess_loss

# %%
guess_speed = ui.predict(
    "How many times as fast is the 8-bit network on this CPU?",
    unit="x",
    low=0.2,
    high=5.0,
)
guess_speed

# %% [markdown]
# ## From scratch
#
# ### Which integer stands for 0.7?
#
# Take nine activations of a small patch. The smallest is 0.0 and the largest 2.4. With four bits you have 16 integers, so 15
# steps between them. One step is 2.4 / 15 = 0.16 wide. Then 0.7 lies 4.375 steps from zero, so the integer 4 stands for it, and
# coming back you get 0.64. The error is less than half a step. It always is, as long as the value lies inside the range.

# %%
patch = np.array([[0.0, 0.7, 1.1], [0.3, 2.4, 1.9], [0.2, 0.9, 1.5]])
ui.range_to_integers(patch, scale=0.16, zero_point=0, bits=4)

# %% [markdown]
# Two numbers describe the whole mapping. The **scale** $s$ is the width of a step, in the unit of the values. The **zero point** $z$ is the integer
# that stands for exactly 0.0. An integer $q$ of $b$ bits then stands for the real number
#
# $$ x \approx s\,(q - z), \qquad s = \frac{x_{\max} - x_{\min}}{2^b - 1}, \qquad z = \mathrm{round}\!\left(\frac{-x_{\min}}{s}\right). $$
#
# Zero must have an integer of its own: padding and ReLU put out exact zeros, and there are many of them. So a range that does not hold zero is
# widened until it does, before anything else.


# %% tags=["exercise:affine"]
def my_scale_and_zero_point(low, high, bits=8):
    """(scale, zero_point): the mapping from [low, high] to the integers 0 .. 2**bits - 1."""
    # TODO: the range has to hold 0. A range of width 0 may take any scale above 0.
    ### BEGIN SOLUTION
    low, high = min(low, 0.0), max(high, 0.0)
    steps = 2**bits - 1
    scale = (high - low) / steps if high > low else 1.0
    return scale, int(np.rint(-low / scale))
    ### END SOLUTION


# %% [markdown] tags=["hints:affine"]
# 1. Sixteen integers have fifteen steps between them. Which two numbers must the range hold whatever the data?
# 2. Widen first: `low = min(low, 0)`, `high = max(high, 0)`. The zero point is how many steps `low` is away from zero, rounded to an integer.
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
scale_and_zero_point = check(
    "affine", my_scale_and_zero_point, plain.scale_and_zero_point
)

# %% [markdown]
# Now the real values: what the first layer of the network puts out for 64 images. The staircase is drawn with the mapping of the line above; the
# grey shape behind it says how many values lie where.

# %%
layer = nets.activations(network, signs.train.x[:64])["stem"]
values = generator.choice(layer.ravel(), 20_000, replace=False)
scale, zero_point = scale_and_zero_point(values.min(), values.max(), bits=4)
figure = ui.staircase(values, scale, zero_point, bits=4)
ui.show(figure, alt="Staircase over the activations: " + figure.layout.title.text)
whose("affine")

# %% [markdown]
# **Before you go on.** One broken sensor adds a single value of 50. What happens to the step, and to all the other values?
#
# <details><summary>Discussion</summary>
#
# The step becomes as wide as 50 / 15, more than 3. Nearly all activations of this layer lie below that, so they become 0 or 1: one outlier
# took the bits of everybody else. That is why the choice of the range gets a step of its own below.
#
# </details>
#
# ### What happens between two integers, and outside the range?
#
# Between two integers a value is **rounded** to the nearer one. Outside, it **saturates**: it takes the nearest end. Five values by hand, with a
# scale of 0.16 and a zero point of 3:


# %%
def by_hand(x):
    steps = x / 0.16
    near = int(np.rint(steps))
    kept = min(max(near + 3, 0), 15)
    return {
        "value": x,
        "steps": steps,
        "rounded": near,
        "plus 3": near + 3,
        "kept": kept,
    }


five_values = (-0.9, -0.2, 0.08, 0.7, 9.0)
ui.worked_table([by_hand(x) for x in five_values], "Five values, four bits")

# %% [markdown]
# $$ q = \mathrm{clip}\!\left(\mathrm{round}\!\left(\frac{x}{s}\right) + z,\; 0,\; 2^b - 1\right) $$
#
# Two details decide whether your bytes will be those of a runtime. A value exactly between two integers goes to the **even** one, as `np.rint`
# does. And the zero point is added **after** rounding: with an odd zero point the order changes which neighbour is even.


# %% tags=["exercise:quantize"]
def my_quantize(values, scale, zero_point, bits=8):
    """`values` as unsigned integers of at most 8 bits, an array of np.uint8."""
    # TODO: the formula above; the conversion of the type comes last.
    ### BEGIN SOLUTION
    integers = np.rint(np.asarray(values) / scale) + zero_point
    return np.clip(integers, 0, 2**bits - 1).astype(np.uint8)
    ### END SOLUTION


# %% [markdown] tags=["hints:quantize"]
# 1. The order matters: divide, round, add the zero point, clip, convert.
# 2. `np.rint` rounds half to even as the runtimes do. `astype` alone cuts off and wraps around.
# 3. `np.clip(np.rint(np.asarray(values) / scale) + zero_point, 0, 2**bits - 1).astype(np.uint8)`


# %% tags=["check:quantize", "hidden"]
@checks("quantize")
def _(c, quantize):
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
        got = quantize(x.copy(), scale, zero_point)
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
                "the values were cut off, not rounded": uint8(np.trunc(q) + zero_point),
                "the values were cut off after the shift, not rounded": uint8(
                    np.floor(q + zero_point)
                ),
                "the values were rounded up, not to the nearest": uint8(
                    np.ceil(q) + zero_point
                ),
                "the zero point was not added": uint8(np.rint(q)),
                "multiply by the scale is the way back: divide": uint8(
                    np.rint(x * scale) + zero_point
                ),
                "the zero point is subtracted; that belongs to the way back": uint8(
                    np.rint(q) - zero_point
                ),
                "the zero point counts integers: it is added after the division": uint8(
                    np.rint((x + zero_point) / scale)
                ),
                "the sign of the values was lost": uint8(
                    np.rint(np.abs(q)) + zero_point
                ),
                "values outside wrap around: clip before you convert": (
                    (np.rint(q) + zero_point).astype(np.int64).astype(np.uint8)
                ),
                "this is the range of int8; uint8 goes from 0 to 255": np.clip(
                    np.rint(q) + zero_point, -128, 127
                )
                .astype(np.int64)
                .astype(np.uint8),
                "the values were clipped before the zero point was added": (
                    np.clip(np.rint(q), 0, 255) + zero_point
                )
                .astype(np.int64)
                .astype(np.uint8),
                "the values were clipped before the zero point was added; clip last": uint8(
                    np.clip(np.rint(q), -128, 127) + zero_point
                ),
                "the largest integer is 255": np.clip(
                    np.rint(q) + zero_point, 0, 254
                ).astype(np.uint8),
                "the smallest integer is 0": np.clip(
                    np.rint(q) + zero_point, 1, 255
                ).astype(np.uint8),
            },
        )
    for far, held in [(2e3, "16 bits"), (1.2e8, "32 bits")]:
        x = far * np.array([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])
        c.equal(
            quantize(x.copy(), 0.05, 101),
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
            quantize(ties * 0.25, 0.25, zero_point),
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
    x = np.arange(-3, 20) * 0.25 + 0.05
    c.equal(
        quantize(x.copy(), 0.25, 3, 4),
        np.clip(np.rint(x / 0.25) + 3, 0, 15).astype(np.uint8),
        tested="integers of 4 bits",
        mistakes={
            "the number of bits is ignored": uint8(np.rint(x / 0.25) + 3),
            "integers of four bits end at 15, one below 2**bits": np.clip(
                np.rint(x / 0.25) + 3, 0, 16
            ).astype(np.uint8),
        },
    )


# %% tags=["check:quantize"]
quantize = check("quantize", my_quantize, plain.quantize)

# %% [markdown]
# Look at six signs on their way through fewer and fewer bits. Nothing here is a network yet: these are pixels, your mapping, and back.


# %% tags=["setup"]
def round_trip(values, low, high, bits=8):
    """Real numbers to integers and back: what the network sees after quantization."""
    scale, zero_point = scale_and_zero_point(low, high, bits)
    return plain.dequantize(
        quantize(values, scale, zero_point, bits), scale, zero_point
    )


# %%
six = signs.test.subset(6, seed=seed)
by_width = {f"{bits} bits": round_trip(six.x, 0.0, 1.0, bits) for bits in (8, 4, 3, 2)}

# %% tags=["folded"]
widths_of = np.repeat(list(by_width), len(six.x))
pixels, labels = np.concatenate(list(by_width.values())), np.tile(six.y, len(by_width))
title = "The same six signs, and what fewer bits leave of them"
display(
    ui.images_by(
        pixels, labels, signs.class_names, widths_of, rows=list(by_width), title=title
    )
)
whose("affine", "quantize")

# %% [markdown]
# ### How loud is the rounding?
#
# Rounding adds an error to every value. Engineers compare it with the signal, in **decibels**: the signal-to-quantization-noise ratio. Three
# values by hand: 1.0, 2.0 and 2.0 come back as 1.1, 1.9 and 2.0. The mean square of the values is 3.0, that of the errors 0.0067, and 3.0 over 0.0067 is
# $450$, which is $26.5$ dB.

# %%
three = [(1.0, 1.1), (2.0, 1.9), (2.0, 2.0)]
ui.worked_table(
    [
        {
            "value": x,
            "came back": y,
            "value squared": x**2,
            "error squared": (x - y) ** 2,
        }
        for x, y in three
    ],
    "Three values and their errors",
)

# %% [markdown]
# $$ \mathrm{SQNR} = 10 \log_{10} \frac{\mathrm{mean}(x^2)}{\mathrm{mean}((x - \hat{x})^2)} \;\; \text{in dB} $$
#
# <details><summary>Where does the noise come from, and what is a bit worth? A derivation in five lines</summary>
#
# The error $e$ of rounding lies between $-s/2$ and $+s/2$, and every place is equally likely when the values are spread over many steps. Its mean
# square is
#
# $$ \frac{1}{s}\int_{-s/2}^{s/2} e^2\,de = \frac{1}{s}\left[\frac{e^3}{3}\right]_{-s/2}^{s/2} = \frac{s^2}{12}. $$
#
# One bit more doubles the number of steps, so $s$ becomes $s/2$ and the noise $s^2/12$ a quarter. A quarter of the noise is
# $10 \log_{10} 4 = 6.02$ dB more, whatever the values are.
#
# </details>


# %% tags=["exercise:sqnr"]
def my_sqnr(reference, approximation):
    """Signal-to-quantization-noise ratio in dB; infinite if the two are equal."""
    # TODO: the formula above.
    ### BEGIN SOLUTION
    reference = np.asarray(reference, dtype=float)
    noise = np.mean((reference - np.asarray(approximation, dtype=float)) ** 2)
    if noise == 0:
        return math.inf
    return float(10 * np.log10(np.mean(reference**2) / noise))
    ### END SOLUTION


# %% [markdown] tags=["hints:sqnr"]
# 1. The noise is the difference of the two arrays; the power of an array is the mean of its squares.
# 2. `10 * log10(signal power / noise power)`; return `math.inf` when the noise power is 0.
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
sqnr = check("sqnr", my_sqnr, affine.sqnr_db)

# %% [markdown]
# Three sets of values, two to eight bits, your three functions. Does each bit buy the $6.02$ dB of the derivation? And what does one outlier cost?

# %%
normal = generator.standard_normal(20_000)
tensors = {
    "activations of the stem": values,
    "normal values": normal,
    "normal values, one outlier at 50": np.append(normal, 50.0),
}
widths = np.arange(2, 9)
decibels = {
    name: [sqnr(v, round_trip(v, v.min(), v.max(), int(b))) for b in widths]
    for name, v in tensors.items()
}

# %% tags=["folded"]
slopes = [float(np.polyfit(widths[2:], curve[2:], 1)[0]) for curve in decibels.values()]
slope = f"{min(slopes):.1f} to {max(slopes):.1f} dB"
figure = ui.lines(
    {name: (widths, curve) for name, curve in decibels.items()},
    title=f"Each bit buys {slope}; compare the heights of the lines",
    x="bits",
    y="SQNR in dB",
)
ui.show(
    figure,
    alt=f"Three rising lines of SQNR over bits, {slope} a bit; one is of values with an outlier.",
)
whose("affine", "quantize", "sqnr")

# %% [markdown]
# ### Which range?
#
# Weights are known, so their range is known. Activations are not: you run some samples, look at the values, and choose. This is **calibration**.
# The largest value seen is the obvious choice, and it lets one rare value set the step for all. Clip a little, and the many get a finer step while
# the few at the end are cut. Twenty values with 2 bits, so three steps: nineteen at 1.0 and one at 4.0, with the full range and with three quarters of it.

# %%
many, rare = 1.0, 4.0
rows = []
for value, count in ((many, 19), (rare, 1)):
    full, clipped = (float(round_trip(value, 0.0, high, bits=2)) for high in (4.0, 3.0))
    errors = {"0 to 4": full, "its error": (value - full) ** 2}
    errors |= {"0 to 3": clipped, "its error ": (value - clipped) ** 2}
    rows.append({"value": value, "how many": count, **errors})

# %%
means = [
    np.average([row[name] for row in rows], weights=[19, 1])
    for name in ("its error", "its error ")
]
ui.worked_table(
    rows, f"Mean squared error: {means[0]:.3f} with 0 to 4, {means[1]:.3f} with 0 to 3"
)

# %% [markdown]
# Which range is better here? The rule asks for the smallest mean squared error between the values and what comes back. Try shares $a$ of
# the full range and keep the best:
#
# $$ a^{*} = \arg\min_{a}\; \mathrm{mean}\!\left(\left(x - \hat{x}_{[a\,x_{\min},\, a\,x_{\max}]}\right)^2\right) $$


# %% tags=["exercise:calibrate"]
def my_best_range(values, bits=8, shares=plain.SHARES):
    """(low, high): the full range times the share with the least mean squared error."""
    # TODO: for each share, send the values through the integers and back; keep the best range.
    ### BEGIN SOLUTION
    low, high = values.min(), values.max()

    def error(share):
        back = round_trip(values, share * low, share * high, bits)
        return np.mean((values - back) ** 2)

    best = min(shares, key=error)
    return best * low, best * high
    ### END SOLUTION


# %% [markdown] tags=["hints:calibrate"]
# 1. `round_trip(values, low, high, bits)` from above does the way there and back for one range.
# 2. Compute one error for each share with the values themselves, not with the clipped ones, and remember which share had the least.
# 3. `best = min(shares, key=lambda a: np.mean((values - round_trip(values, a * low, a * high, bits)) ** 2))`, then `return best * low, best * high`.


# %% tags=["check:calibrate", "hidden"]
@checks("calibrate")
def _(c, best_range):
    def error(values, low, high, bits):
        scale, zero = plain.scale_and_zero_point(min(low, 0.0), max(high, 0.0), bits)
        return values - plain.dequantize(
            plain.quantize(values, scale, zero, bits), scale, zero
        )

    def chosen(values, bits, cost, shares=plain.SHARES, lower=True):
        ends = [
            (s * values.min() if lower else values.min(), s * values.max())
            for s in shares
        ]
        return min(ends, key=lambda end: cost(values, error(values, *end, bits), *end))

    def square(values, e, low, high):
        return np.mean(e**2)

    for bits, tail in [(5, 12.0), (4, 12.0), (3, 8.0)]:
        tails = [np.linspace(2, tail, 40), np.linspace(-1, -0.6 * tail, 40)]
        values = np.concatenate([c.rng.normal(0.3, 1.0, 4000), *tails])
        low, high, least = values.min(), values.max(), min(plain.SHARES)
        got = best_range(values.copy(), bits)
        c.that(
            np.shape(got) == (2,),
            tested="the answer",
            found=f"{got!r}; return the range, (low, high)",
        )
        c.close(
            [float(end) for end in got],
            [float(end) for end in chosen(values, bits, square)],
            1e-6 * tail,
            tested=f"4,080 values with long tails at {bits} bits",
            mistakes={
                "the full range won: the number of bits is ignored, the largest error was made small "
                "and not the mean square, plus and minus cancel in a mean of signed errors, or nothing was clipped": (
                    low,
                    high,
                ),
                "the smallest range won: the largest error was taken, or the values beyond the range "
                "were left out of the error": (least * low, least * high),
                "the number of bits is ignored": chosen(values, 8, square),
                "the error is absolute, not squared": chosen(
                    values, bits, lambda v, e, *ends: np.mean(np.abs(e))
                ),
                "the largest error was made small and not the mean square": chosen(
                    values, bits, lambda v, e, *ends: np.max(np.abs(e))
                ),
                "plus and minus cancel in a mean of signed errors": chosen(
                    values, bits, lambda v, e, *ends: np.abs(np.mean(e))
                ),
                "the largest error was taken": chosen(
                    values, bits, lambda *a: -square(*a)
                ),
                "only the upper end was shrunk: multiply both by the share": chosen(
                    values, bits, square, lower=False
                ),
            },
        )
    one = best_range(np.array([-1.0, 0.0, 3.0]), 8, (0.5,))
    c.close(
        [float(end) for end in one],
        [-0.5, 1.5],
        1e-9,
        tested="a single share to try",
        mistakes={"the argument `shares` is ignored": (-1.0, 3.0)},
    )


# %% tags=["check:calibrate"]
best_range = check("calibrate", my_best_range, plain.best_range)

# %% [markdown]
# The stem's activations again. The lower the curve, the less error; the marks are the ranges that `best_range` chose.

# %%
top = float(values.max())
errors = {
    f"{bits} bits": [
        np.mean((values - round_trip(values, 0.0, share * top, bits)) ** 2)
        for share in plain.SHARES
    ]
    for bits in (8, 4, 3)
}
chosen = {f"{b} bits": best_range(values, b)[1] / top for b in (8, 4, 3)}

# %% tags=["folded"]
figure = ui.lines(
    {name: (100 * np.array(plain.SHARES), curve) for name, curve in errors.items()},
    title="Best share of the range: "
    + ", ".join(f"{100 * share:.0f} % at {name}" for name, share in chosen.items()),
    x="percent of the range kept",
    y="mean squared error",
    log_y=True,
)
ui.show(
    figure,
    alt="Error over the share of the range that is kept, for 8, 4 and 3 bits. Least error at "
    + ", ".join(
        f"{100 * share:.0f} percent for {name}" for name, share in chosen.items()
    ),
)
whose("affine", "quantize", "calibrate")

# %% [markdown]
# **Before you go on.** Why is clipping worth more at 3 bits than at 8?
#
# <details><summary>Discussion</summary>
#
# Cutting costs the same at every width: it depends on the values beyond the end alone. Rounding costs $s^2/12$, which is large when there are few steps.
# With few bits, a smaller range buys more than it cuts; with many bits the rounding is already quiet, and cutting is the louder of the two.
#
# </details>
#
# ### One scale, or one for each channel?
#
# A convolution has one kernel for each output channel, and they may be of very different size. Three channels by hand: their largest
# weights are 0.1, 0.2 and 12.7. One scale for all must reach 12.7, so a step is 0.1 with 127 integers on each side: the first two channels are left with the
# integers -1, 0, 1 and -2 to 2. With a scale each, every channel uses as many as the largest does. Each has 99 weights here.

# %%
weights_of = np.array([[0.1], [0.2], [12.7]]) * np.linspace(-1, 1, 99)
ui.scale_per_channel(weights_of, bits=8)

# %% [markdown]
# Weights lie on both sides of zero, so their mapping is **symmetric**: $z = 0$, and the integers go from $-(2^{b-1} - 1)$ to $2^{b-1} - 1$. With $W_c$ the weights of
# output channel $c$:
#
# $$ s_c = \frac{\max |W_c|}{2^{b-1} - 1}, \qquad q = \mathrm{round}\!\left(\frac{W_c}{s_c}\right) $$


# %% tags=["exercise:per_channel"]
def my_quantize_per_channel(weight, bits=8):
    """`weight` (out, ...) as (integers np.int8 of the same shape, scales (out,)), symmetric."""
    # TODO: one scale for each output channel (axis 0).
    # A channel of zeros may take any scale above 0.
    ### BEGIN SOLUTION
    largest = 2 ** (bits - 1) - 1
    reach = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(reach > 0, reach, 1.0) / largest
    spread = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return np.clip(np.rint(weight / spread), -largest, largest).astype(np.int8), scale
    ### END SOLUTION


# %% [markdown] tags=["hints:per_channel"]
# 1. Flatten all but the first axis: `np.abs(weight).reshape(len(weight), -1).max(axis=1)` is one number a channel.
# 2. Eight symmetric bits go from -127 to 127. Give the scales the shape (out, 1, 1, 1), so that numpy spreads them over the kernel.
# 3. `scale = np.where(reach > 0, reach, 1) / largest`, then `np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))`, clipped, as `np.int8`.


# %% tags=["check:per_channel", "hidden"]
@checks("per_channel")
def _(c, quantize_per_channel):
    def integers_of(w, bits, axes, steps=None, signed=False):
        largest = steps or 2 ** (bits - 1) - 1
        reach = (w if signed else np.abs(w)).max(axis=axes, keepdims=True)
        s = np.where(reach > 0, reach, 1.0) / largest
        return np.clip(np.rint(w / s), -largest, largest), s

    for shape, bits in [
        ((6, 6, 3, 3), 8),
        ((8, 1, 3, 3), 4),
        ((5, 7), 8),
        ((4, 3, 5), 6),
    ]:
        # Each channel is whole steps and at most 0.4 of one, so that no rounding is a close call.
        most = 2 ** (bits - 1) - 1
        w = c.rng.integers(1 - most, most, shape) + c.rng.uniform(-0.4, 0.4, shape)
        flat = w.reshape(len(w), -1)
        flat[:, 0] = most  # the largest of its channel, and in some a negative one
        flat[::2, 0] *= -1.0
        w *= 4.0 ** c.rng.uniform(-2, 2, (shape[0],) + (1,) * (len(shape) - 1))
        inner = tuple(range(1, len(shape)))
        right, scale = integers_of(w, bits, inner)
        got = quantize_per_channel(w.copy(), bits)
        c.that(
            isinstance(got, (tuple, list)) and len(got) == 2,
            tested="the answer",
            found="something else than two things: return the integers and the scales",
        )
        integers, scales = (np.asarray(part) for part in got)
        whole = np.abs(w).max() / most
        c.that(
            scales.size != 1,
            tested="the number of scales",
            found="one",
            mistake="this is one scale for the whole tensor",
        )
        c.that(
            integers.dtype == np.int8,
            tested="the type of the integers",
            found=f"{integers.dtype}; an np.int8 array is wanted",
            mistake="these are real numbers again, or integers that were not converted",
        )
        c.equal(
            integers.astype(int),
            right.astype(int),
            tested=f"the integers of a weight of shape {shape} at {bits} bits",
            mistakes={
                "this is one scale for the whole tensor": np.rint(w / whole).astype(
                    int
                ),
                "the channels with a scale of their own are the input channels; take the output channels (axis 0)": integers_of(
                    w, bits, (0,) + tuple(range(2, len(shape)))
                )[0].astype(int),
                "a scale was made for each row of the kernel: take the maximum over everything but axis 0": integers_of(
                    w, bits, (-1,)
                )[0].astype(int),
                "symmetric integers of this width end one earlier: 127 for 8 bits": integers_of(
                    w, bits, inner, 2 ** (bits - 1)
                )[0].astype(int),
                "symmetric integers of this width end one earlier, at 127 for 8 bits": np.clip(
                    integers_of(w, bits, inner, 2 ** (bits - 1))[0],
                    None,
                    2 ** (bits - 1) - 1,
                ).astype(int),
                "the number of bits is ignored": integers_of(w, 8, inner)[0].astype(int)
                if bits != 8
                else np.nan,
                "the largest value was taken with its sign: a channel may reach further down than up": integers_of(
                    w, bits, inner, signed=True
                )[0].astype(int),
                "the integers were cut off, not rounded": np.trunc(w / scale).astype(
                    int
                ),
                "the integers were rounded down, not to the nearest": np.floor(
                    w / scale
                ).astype(int),
                "the sign of the weights was lost": np.rint(np.abs(w) / scale).astype(
                    int
                ),
                "the scale comes from the mean of the absolute values: take the largest": np.clip(
                    np.rint(w / (np.abs(w).mean(axis=inner, keepdims=True) / most)),
                    -most,
                    most,
                ).astype(int),
            },
        )
        c.that(
            scales.size == shape[0],
            tested="the number of scales",
            found=f"{scales.size}, where {shape[0]} output channels need one each",
        )
        c.close(
            scales.reshape(-1),
            scale.reshape(-1),
            1e-9,
            tested=f"the scales of a weight of shape {shape} at {bits} bits",
            mistakes={
                "these are steps per unit: turn them over": 1 / scale.reshape(-1),
                "these are the largest weights: divide by the largest integer": scale.reshape(
                    -1
                )
                * (2 ** (bits - 1) - 1),
            },
        )
    dead = np.zeros((3, 2, 3, 3))
    dead[0] = 1.0
    integers, scales = quantize_per_channel(dead.copy(), 8)
    c.that(
        np.isfinite(scales).all() and (np.asarray(scales) > 0).all(),
        tested="a weight with channels that are all zero",
        found="a scale that is no positive number",
        mistake="the largest weight of a zero channel is 0, and 0 is no scale",
    )
    c.equal(
        np.asarray(integers).astype(int),
        (127 * dead).astype(int),
        tested="a weight with channels that are all zero",
        mistakes={},
    )


# %% tags=["check:per_channel"]
quantize_per_channel = check(
    "per_channel", my_quantize_per_channel, plain.quantize_per_channel
)

# %% [markdown]
# Now the real weights, with batch normalisation folded into them as every runtime does. Each dot is one channel of one layer. How loud
# is the rounding with one scale for the layer, and how loud with a scale for each channel?

# %%
folded = weights.weighted_layers(weights.fold_batch_norm(network))
kernels = {name: layer.weight.detach().numpy() for name, layer in folded.items()}
uneven = weights.channel_spread(network).worst


def weight_round_trip(weight):
    integers, scale = quantize_per_channel(weight)
    return integers * scale.reshape(-1, *[1] * (weight.ndim - 1))


def one_scale(weight):
    return weight_round_trip(weight.reshape(1, -1)).reshape(weight.shape)


# %%
kernel = kernels[uneven.layer]
noise = {
    "one scale for the layer": one_scale(kernel),
    "one scale for each channel": weight_round_trip(kernel),
}
channel_sqnr = {
    name: np.sort([sqnr(w, b) if w.any() else np.nan for w, b in zip(kernel, back)])
    for name, back in noise.items()
}

# %% tags=["folded"]
floor = 10
coarse = int((channel_sqnr["one scale for the layer"] < floor).sum())
figure = ui.lines(
    {name: (np.arange(1, len(db) + 1), db) for name, db in channel_sqnr.items()},
    title=f"{uneven.layer}: {coarse} of {len(kernel)} channels below {floor} dB with one scale",
    x="channel, sorted",
    y="SQNR in dB",
)
ui.show(
    figure,
    alt=f"Sorted SQNR of the channels of {uneven.layer} with one scale and with one for each channel.",
)
whose("per_channel", "sqnr")

# %% [markdown]
# ### How does a chip multiply without floats?
#
# Weights and activations are integers now. Is the layer? Put both mappings into a sum of products, with $s_x, z_x$ for the inputs, $s_w$ for the weights
# ($z_w = 0$) and $s_y, z_y$ for the outputs:
#
# $$ q_y = \mathrm{clip}\!\left(\mathrm{round}\!\left(M \sum_i (q_{x,i} - z_x)\, q_{w,i}\right) + z_y\right), \qquad M = \frac{s_x s_w}{s_y} $$
#
# The sum holds integers alone, in 32 bits. One number $M$ a channel is left, and a chip without floats keeps it as an integer and a shift.
#
# <details><summary>The derivation, line by line</summary>
#
# $$ y = \sum_i x_i w_i \approx \sum_i s_x (q_{x,i} - z_x)\, s_w q_{w,i} = s_x s_w \sum_i (q_{x,i} - z_x)\, q_{w,i} $$
#
# and $y \approx s_y (q_y - z_y)$. Set both equal and solve for $q_y$. A bias $b$ joins the sum as the integer $\mathrm{round}(b / (s_x s_w))$.
#
# </details>
#
# By hand: inputs 120 and 30 with zero point 20, weights 50 and -80, $M$ = 0.01, output zero point 3.

# %%
ui.worked_table(
    [
        {"input": x, "minus 20": x - 20, "weight": w, "product": (x - 20) * w}
        for x, w in [(120, 50), (30, -80)]
    ],
    "The sum is 4,200; times 0.01 is 42; plus 3 is 45",
)


# %% tags=["exercise:integer"]
def my_integer_layer(x, zero_x, weight, bias, multiplier, zero_out):
    """uint8 outputs (items, out) of x (items, in), weight (out, in) and bias (out,)."""
    # TODO: the formula above plus the bias; the sum needs 32-bit integers.
    ### BEGIN SOLUTION
    inputs = x.astype(np.int32) - zero_x
    sums = inputs @ weight.astype(np.int32).T + bias
    return np.clip(np.rint(sums * multiplier) + zero_out, 0, 255).astype(np.uint8)
    ### END SOLUTION


# %% [markdown] tags=["hints:integer"]
# 1. 120 minus 20 fits into 8 bits, and 10 minus 20 does not: convert to `np.int32` before you subtract.
# 2. `x.astype(np.int32) - zero_x` has shape (items, in) and `weight` (out, in): `inputs @ weight.T` gives (items, out). Add the bias before you multiply.
# 3. `np.clip(np.rint(sums * multiplier) + zero_out, 0, 255).astype(np.uint8)` with `sums = inputs @ weight.astype(np.int32).T + bias`.


# %% tags=["check:integer", "hidden"]
@checks("integer")
def _(c, integer_layer):
    def layer(x, z, w, b, m, zero, *, kind=np.int32, order="right"):
        inputs = (x.astype(kind) - kind(z)).astype(kind)
        sums = (inputs.astype(np.int64) @ w.astype(np.int64).T).astype(np.int64)
        if order == "bias last":
            out = np.rint(sums * m + b) + zero
        elif order == "cut":
            out = np.trunc((sums + b) * m) + zero
        elif order == "floor half":
            out = np.floor((sums + b) * m + 0.5) + zero
        elif order == "zero first":
            out = np.rint((sums + b) * m + zero)
        elif order == "no bias":
            out = np.rint(sums * m) + zero
        elif order == "no zero":
            out = np.rint((sums + b) * m)
        else:
            out = np.rint((sums + b) * m) + zero
        if order == "wraps":
            return out.astype(np.int64).astype(np.uint8)
        if order == "signed":
            return np.clip(out, -128, 127).astype(np.int64).astype(np.uint8)
        return np.clip(out, 0, 255).astype(np.uint8)

    for many, wide, deep in [(40, 6, 5), (7, 33, 64)]:
        x = c.rng.integers(0, 256, (many, wide), dtype=np.uint8)
        w = c.rng.integers(-127, 128, (deep, wide), dtype=np.int8)
        b = c.rng.integers(-9000, 9000, deep).astype(np.int32)
        m = c.rng.uniform(0.8, 1.6, deep) / (50 * np.sqrt(wide))
        z, zero = int(c.rng.integers(90, 160)), int(c.rng.integers(40, 80)) * 2 + 1
        got = integer_layer(x.copy(), z, w.copy(), b.copy(), m.copy(), zero)
        c.that(
            getattr(got, "dtype", None) == np.uint8,
            tested="the type",
            found=f"{getattr(got, 'dtype', type(got).__name__)}; a uint8 array is wanted",
        )
        c.equal(
            got,
            layer(x, z, w, b, m, zero),
            tested=f"{many} inputs of {wide} values, {deep} outputs",
            mistakes={
                "the subtraction wrapped around in 8 bits: convert to np.int32 first": layer(
                    x, z, w, b, m, zero, kind=np.uint8
                ),
                "the zero point of the inputs was not subtracted": layer(
                    x, 0, w, b, m, zero
                ),
                "the zero point of the inputs was added": layer(x, -z, w, b, m, zero),
                "the bias joins the sum before the multiplication: it counts in steps of s_x s_w": layer(
                    x, z, w, b, m, zero, order="bias last"
                ),
                "the bias is missing": layer(x, z, w, b, m, zero, order="no bias"),
                "the result was cut off, not rounded": layer(
                    x, z, w, b, m, zero, order="cut"
                ),
                "the zero point of the outputs is missing": layer(
                    x, z, w, b, m, zero, order="no zero"
                ),
                "results outside wrap around: clip before you convert": layer(
                    x, z, w, b, m, zero, order="wraps"
                ),
                "this is the range of int8; uint8 goes from 0 to 255": layer(
                    x, z, w, b, m, zero, order="signed"
                ),
            },
        )
    x, w = np.arange(0, 40, dtype=np.uint8).reshape(-1, 1), np.array([[1]], np.int8)
    b = np.array([0], np.int32)
    c.equal(
        integer_layer(x, 20, w, b, 0.5, 101),
        layer(x, 20, w, b, 0.5, 101),
        tested="sums that lie exactly between two integers, with one multiplier for all",
        mistakes={
            "halves are rounded up; the runtimes round half to even": layer(
                x, 20, w, b, 0.5, 101, order="floor half"
            ),
            "the zero point was added before rounding: an odd one changes which neighbour is even": layer(
                x, 20, w, b, 0.5, 101, order="zero first"
            ),
        },
    )
    x = np.full((2, 600), 255, np.uint8)
    w = np.full((1, 600), 127, np.int8)
    c.equal(
        integer_layer(x, 0, w, np.array([1000], np.int32), 1e-5, 3),
        layer(x, 0, w, np.array([1000], np.int32), 1e-5, 3),
        tested="a sum that needs 32 bits",
        mistakes={},
    )


# %% tags=["check:integer"]
integer_layer = check("integer", my_integer_layer, plain.integer_layer)

# %% [markdown]
# Run a real layer in integers: `pointwise1` mixes 32 channels into 64 at every place of the picture. Its float outputs are known. How many steps
# off is the integer layer?

# %%
before, after = tensor_values(network, signs.test.x[:8]), "pointwise1.activation"
x = before["depthwise1.activation"].transpose(0, 2, 3, 1).reshape(-1, 32)
y = before[after].transpose(0, 2, 3, 1).reshape(-1, 64)
(s_x, z_x), (s_y, z_y) = (scale_and_zero_point(v.min(), v.max()) for v in (x, y))
integers, s_w = quantize_per_channel(kernels["pointwise1.conv"].reshape(64, 32))
bias = np.rint(folded["pointwise1.conv"].bias.detach().numpy() / (s_x * s_w))

# %%
q_y = integer_layer(
    quantize(x, s_x, z_x), z_x, integers, bias.astype(np.int32), s_x * s_w / s_y, z_y
)
off = q_y.astype(int) - quantize(y, s_y, z_y).astype(int)
near = 100 * float((np.abs(off) <= 1).mean())

# %% tags=["folded"]
figure = ui.histogram(
    {"integer layer minus float layer": off},
    bins=np.arange(off.min() - 0.5, off.max() + 1.5),
    title=f"{near:.1f} % of the outputs lie within one step of the float layer",
    x="steps of the output",
    y="outputs",
)
ui.show(
    figure,
    alt=f"Histogram of deviations in output steps; {near:.1f} percent lie within one step.",
)
whose("affine", "quantize", "per_channel", "integer")

# %% [markdown]
# ## The real tool
#
# ### Are your bytes those of ONNX Runtime?
#
# **Static** post-training quantization (PTQ) fixes every range in advance: float32 file in, calibration samples in, INT8 file out. ONNX Runtime's
# quantizer does it with one call. Its file holds pairs of QuantizeLinear and DequantizeLinear (**QDQ**), with every scale, zero point and integer.

# %%
samples = signs.train.subset(calibration_items, seed=seed).x
ranges = ptq.collect_ranges(float32.path, samples)


def onnx_int8(name, ranges=ranges, source=float32.path, **options):
    """Quantize and run with ONNX Runtime: (file, logits, which answers are right)."""
    file = ptq.quantize_static(source, work / f"{name}.onnx", ranges=ranges, **options)
    with open_engine(file.path, threads=threads) as engine:
        logits = engine.predict(signs.test.x)
    return file.path, logits, logits.argmax(axis=1) == signs.test.y


files, logits = {"float32": float32.path}, {"float32": float_logits}
for name, each in {"per channel": True, "per tensor": False}.items():
    files[name], logits[name], right[name] = onnx_int8(name, per_channel=each)

# %% [markdown]
# Your weights against the file's: every integer of every layer, and every scale to seven digits, which is all that float32 has. Then your mapping against
# the file's activations, from the same ranges.

# %%
file = stored_integers(files["per channel"])
rows = []
for (name, kernel), theirs in zip(kernels.items(), file.weights):
    integers, scale = quantize_per_channel(kernel)
    differ = int((integers != theirs.integers).sum())
    gap = float(np.abs(scale / theirs.scale - 1).max())
    rows.append((name, kernel.size, differ, f"{gap:.0e}"))

# %%
mapped = {name: scale_and_zero_point(*ends) for name, ends in ranges.ranges.items()}
pairs = [(mapped[a.name], a) for a in file.activations if a.name in mapped]
same = sum(
    z == a.zero_point and math.isclose(s, a.scale, rel_tol=1e-6) for (s, z), a in pairs
)

# %% tags=["folded"]
display(
    Table(
        f"{sum(row[2] for row in rows)} of {sum(row[1] for row in rows):,} integers differ; "
        f"{same} of {len(pairs)} activations have the file's scale and zero point",
        ("layer", "weights", "integers that differ", "largest gap of a scale"),
        rows,
    )
)
whose("affine", "per_channel")

# %% [markdown]
# ### Does your quantizer keep the answers?
#
# Now the whole network with your functions alone: your ranges from the calibration samples, your integers for every activation, your scales
# for every weight. The sums are simulated in float, so this takes seconds and runs anywhere. Beside it, ONNX Runtime's INT8 file on its integer
# kernels, on the same images.

# %%
mappings = {}
for name, seen in tensor_values(network, samples).items():
    few = generator.choice(seen.ravel(), min(seen.size, 20_000), replace=False)
    mappings[name] = scale_and_zero_point(*best_range(few))


def activation_round_trip(name, seen):
    scale, zero_point = mappings[name]
    return plain.dequantize(quantize(seen, scale, zero_point), scale, zero_point)


# %% [markdown]
# Twice, as the weights come: with a scale for each channel, and with one for the tensor.

# %%
shown = slice(0, 1000)
simulated = {
    "per channel": simulate(
        network, signs.test.x[shown], weight_round_trip, activation_round_trip
    ),
    "per tensor": simulate(
        network, signs.test.x[shown], one_scale, activation_round_trip
    ),
}

# %%
bars = {}
for name, found in simulated.items():
    hits = found.argmax(axis=1) == signs.test.y[shown]
    bars[f"simulated, {name}"] = quality.difference(right["float32"][shown], hits).loss
    bars[f"ONNX Runtime, {name}"] = quality.difference(
        right["float32"][shown], right[name][shown]
    ).loss

# %% tags=["folded"]
figure = ui.bars(
    list(bars),
    list(bars.values()),
    title="What 8 bits cost: this quantizer, simulated, and ONNX Runtime's integer kernels",
    y="points of accuracy lost",
)
ui.show(
    figure,
    alt="Bars with intervals of the accuracy lost: "
    + "; ".join(f"{k} {v.figure()}" for k, v in bars.items()),
)
whose("affine", "quantize", "calibrate", "per_channel")
for name, loss in bars.items():
    record(f"loss.first_1000.{name}", loss)


# %% tags=["finding:simulation"]
def finding_simulation(mine, theirs, agree):
    gap = abs(mine.value - theirs.value)
    close = "agree" if gap <= 0.5 else "differ"
    return (
        f"With one scale for each channel the simulated network loses {mine.figure()} and the integer runtime "
        f"{theirs.figure()}: the two {close} within {gap:.1f} points, and give the same answer to {agree:.1f} percent of the images."
    )


agreement = 100 * np.mean(
    simulated["per channel"].argmax(1) == logits["per channel"][shown].argmax(1)
)
finding(
    finding_simulation,
    bars["simulated, per channel"],
    bars["ONNX Runtime, per channel"],
    agreement,
)

# %% [markdown]
# On all test images, for the record. The interval of a loss comes from comparing the two networks **item by item** on the same images,
# which is much sharper than comparing two accuracies.

# %%
loss_tensor = record(
    "loss.per_tensor", quality.difference(right["float32"], right["per tensor"]).loss
)
loss_channel = record(
    "loss.per_channel", quality.difference(right["float32"], right["per channel"]).loss
)
guess_loss.against(loss_tensor)


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
# Look at the images that one scale for each tensor gets wrong, though float32 had them right.

# %%
changed = np.flatnonzero(right["float32"] & ~right["per tensor"])[:6]
ui.side_by_side(
    signs.test.x[changed],
    before=logits["float32"][changed].argmax(1),
    after=logits["per tensor"][changed].argmax(1),
    truth=signs.test.y[changed],
    names=signs.class_names,
    labels=("float32", "one scale"),
)

# %% [markdown]
# ### Why does one scale hurt this network?
#
# If the weights of one channel are far larger than those of the others, one scale for all leaves the others a handful of integers. Here are the most
# uneven layers; look at how far the first channels stand above the rest.

# %% tags=["folded"]
spread = weights.channel_spread(network)
three_layers = sorted(spread.layers, key=lambda found: -found.ratio)[:3]
reach = {
    found.layer: np.sort(
        np.abs(kernels[found.layer]).reshape(found.channels, -1).max(axis=1)
    )[::-1]
    for found in three_layers
}
figure = ui.lines(
    {
        name: (np.arange(1, len(seen) + 1), np.maximum(seen, 1e-4))
        for name, seen in reach.items()
    },
    title=f"In {spread.worst.layer} the largest channel is {spread.worst.ratio:.0f} times the median one",
    x="channel, sorted",
    y="largest absolute weight",
    log_y=True,
    markers=False,
)
ui.show(
    figure,
    alt=f"Sorted largest weights of the channels of {', '.join(reach)}, on a logarithmic axis.",
)

# %% [markdown]
# How does a channel get there? Training at a high rate can switch a channel off for good: it puts out the same value for every image, so its variance $\sigma^2$
# is nearly zero. Folding the batch normalisation multiplies the weights by $\gamma / \sqrt{\sigma^2 + \epsilon}$, and dividing by nearly nothing makes them the
# largest of the layer. The channel carries no information, and it ruins the scale of those that do.

# %%
dead = weights.dead_channels(network)
steps_left = {found.layer: found.steps for found in spread.layers}
Table(
    f"{sum(len(found) for found in dead.values())} channels have no variance left",
    ("batch norm", "such channels", "steps left for a median channel, of 127"),
    [
        (norm, len(found), steps_left[norm.replace("norm", "conv")])
        for norm, found in dead.items()
    ],
)

# %% [markdown]
# A residual network with ordinary convolutions, trained on the same images, goes through the same procedure with one scale for each tensor. Is it the
# network?

# %%
residual = export(
    nets.load("signs_resnet"), signs.test.x[:1], work / "resnet.onnx"
).path
with open_engine(residual, threads=threads) as engine:
    residual_right = engine.predict(signs.test.x).argmax(axis=1) == signs.test.y
small = ptq.collect_ranges(residual, samples)
_, _, hits = onnx_int8("resnet-int8", ranges=small, source=residual, per_channel=False)
residual_loss = record(
    "loss.residual_per_tensor", quality.difference(residual_right, hits).loss
)

# %% [markdown]
# ### A quantizer to mend
#
# Many articles quantize a network like the function below: it promises an INT8 file that was calibrated on your images. It runs without an error. It also
# makes its calibration set out of random numbers, "since only the ranges matter", and it writes the INT8 network over the float one.
# Run it as it is, read what the check found, and repair it.


# %% tags=["exercise:release"]
def my_release(float_file, int8_file, images):
    """Write `int8_file`, calibrated on `images`; leave `float_file` alone."""
    # TODO: find both faults and mend them.
    ### BEGIN SOLUTION
    return ptq.quantize_static(float_file, int8_file, images).path
    ### GIVEN
    # noise = np.random.default_rng(0).standard_normal(images.shape).astype(np.float32)
    # result = ptq.quantize_static(float_file, int8_file, noise)
    # Path(float_file).write_bytes(Path(int8_file).read_bytes())
    # return result.path
    ### END SOLUTION


# %% [markdown] tags=["hints:release"]
# 1. Two arguments say what the function may write and what it must calibrate on. Which line uses neither as it should?
# 2. Normal noise reaches from about -4 to 4, and pixels lie between 0 and 1: which ranges do the activations then get? And what does the third line write?
# 3. `ptq.quantize_static(float_file, int8_file, images)` calibrates on the images and writes the new file alone.


# %% tags=["check:release", "hidden"]
@checks("release", seconds=60)
def _(c, release):
    def scale_of_the_input(path):
        return stored_integers(path).activations[0].scale

    with TemporaryDirectory() as place:
        source = Path(export(network, signs.test.x[:1], Path(place, "float.onnx")).path)
        kept = source.read_bytes()
        with open_engine(source, threads=1) as engine:
            wanted_answers = engine.predict(0.4 * signs.validation.x[:300]).argmax(
                axis=1
            )
        for number, light in enumerate((1.0, 0.4)):
            images = (
                light
                * signs.train.x[c.rng.choice(len(signs.train.x), 64, replace=False)]
            )
            made = Path(place, f"int8-{number}.onnx")
            release(str(source), str(made), images.astype(np.float32))
            c.that(
                source.exists() and source.read_bytes() == kept,
                tested="the float file after the call",
                found="other bytes than before: the float network is lost",
                mistake="a line writes to `float_file`",
            )
            c.that(
                made.is_file(),
                tested="the INT8 file",
                found=f"nothing at the path {made.name}",
                mistake="the result was written somewhere else than to `int8_file`",
            )
            stored_types = inspect_model(made).weight_bytes
            c.that(
                "int8" in stored_types,
                tested="the file that was written",
                found=f"weights of the types {', '.join(stored_types)}, and no integer weights",
                mistake="the float network was copied",
            )
            found, wanted = scale_of_the_input(made), float(images.max()) / 255
            c.that(
                abs(found / wanted - 1) < 0.02,
                tested=f"the scale of the input, calibrated on images up to {images.max():.2f}",
                found=f"{found:.5f}, where these images need {wanted:.5f}",
                mistake="the ranges come from other values than from `images`: noise reaches where no pixel is"
                if found > 1.5 / 255
                else "the ranges come from other images than from those that were given",
            )
        ptq.quantize_static(
            source, Path(place, "right.onnx"), images.astype(np.float32)
        )
        found, wanted = (
            stored_integers(path).activations[-1].scale
            for path in (made, Path(place, "right.onnx"))
        )
        c.that(
            found / wanted > 0.7,
            tested="the scale of the answers",
            found=f"{found:.3f}, where these images need {wanted:.3f}",
            mistake="the ranges come from other values than from `images`: noise excites no class as a sign does",
        )
        with open_engine(made, threads=1) as engine:
            answers = engine.predict(0.4 * signs.validation.x[:300]).argmax(axis=1)
        c.that(
            float((answers == wanted_answers).mean()) > 0.7,
            tested="the answers of the INT8 file on 300 images",
            found=f"{100 * (answers == wanted_answers).mean():.0f} percent as the float network's",
        )


# %% tags=["check:release"]
release = check("release", my_release, ptq.quantize_static)

# %% [markdown]
# ### Which samples must the calibration set hold?
#
# Noise is an extreme case. These two happen to careful people: somebody collects "a few representative images" in one afternoon and covers five of the ten
# classes; somebody else covers all of them, but only at night. Beside them the size of the set, and the four usual methods.


# %%
def loss_of(name, **options):
    """Points lost against float32 when the ranges come from ptq.collect_ranges(**options)."""
    found = ptq.collect_ranges(float32.path, **options)
    _, _, right[name] = onnx_int8(
        name.replace(" ", "-"), ranges=found, per_channel=True
    )
    return quality.difference(right["float32"], right[name]).loss


five = signs.train.take(np.flatnonzero(signs.train.y < 5)).subset(
    calibration_items, seed=seed
)
at_night = np.flatnonzero(signs.train.groups["lighting"] == "night")
night = signs.train.take(at_night).subset(calibration_items, seed=seed)

# %%
sets = {"five classes": five.x, "night only": night.x}
sets |= {
    f"{n} samples": signs.train.subset(n, seed=seed).x for n in (5, 20, 100, 200, 1000)
}
by_set = {name: loss_of(name, calibration_x=x) for name, x in sets.items()}
methods = {
    "min-max": "minmax",
    "percentile": "percentile",
    "entropy": "entropy",
    "MSE": "mse",
}
by_method = {n: loss_of(n, calibration_x=samples, method=m) for n, m in methods.items()}

# %% tags=["folded"]
every = {**by_method, **by_set}
worst_set = max(every, key=lambda name: every[name].value)
figure = ui.bars(
    list(every),
    list(every.values()),
    title=f"The largest loss: {worst_set}, {every[worst_set].value:.1f} points against float32",
    y="points of accuracy lost",
)
ui.show(
    figure,
    alt="Bars of points lost against float32: "
    + "; ".join(f"{n} {v.figure()}" for n, v in every.items()),
)
for name, loss in every.items():
    record(f"loss.calibration.{name}", loss)

# %%
trap = record(
    "loss.five_classes",
    quality.difference(right["per channel"], right["five classes"]).loss,
)
dark = record(
    "loss.night_only",
    quality.difference(right["per channel"], right["night only"]).loss,
)
enough = record(
    "loss.200_against_1000",
    quality.difference(right["1000 samples"], right["200 samples"]).loss,
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


traps = {"five classes": by_set["five classes"], "night only": by_set["night only"]}
finding(finding_traps, loss_channel, traps)

# %% [markdown]
# What a set has to cover is the **range of the activations**, not the list of classes: images of five classes in every light may reach the same extremes as images
# of all ten, and images of the night alone do not, whatever the classes. If one of the four methods stands out above: is it the clipping? Take the tensor where that
# method keeps the smallest part of the range, set this one range back, and measure again.

# %%
costly = max(by_method, key=lambda name: by_method[name].value)
found = ptq.collect_ranges(float32.path, samples, method=methods[costly])
kept = {
    tensor: (found.ranges[tensor][1] - found.ranges[tensor][0]) / (high - low)
    for tensor, (low, high) in ranges.ranges.items()
}
narrowest = min(kept, key=kept.get)
mixed = replace(found, ranges=found.ranges | {narrowest: ranges.ranges[narrowest]})
_, _, hits = onnx_int8("widened", ranges=mixed, per_channel=True)
widened = quality.difference(right["float32"], hits).loss


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

# %% [markdown]
# ### How few bits, and in which layer?
#
# Fewer bits make every difference visible. Only the weights are rounded here; the rest stays in float32, so the accuracy is real, and no
# speed is claimed: no CPU kernel here runs a 4-bit convolution.

# %%
by_bits = {"one scale for each tensor": [], "one scale for each channel": []}
bit_widths = (8, 6, 5, 4, 3)
for label, each in zip(by_bits, (False, True)):
    for bits in bit_widths:
        rounded = weights.fake_quantize_weights(network, bits=bits, by_channel=each)
        hits = nets.predict_logits(rounded, signs.test.x).argmax(axis=1) == signs.test.y
        by_bits[label].append(100 * float(hits.mean()))

# %% tags=["folded"]
at_four = {label: found[bit_widths.index(4)] for label, found in by_bits.items()}
figure = ui.lines(
    {label: (bit_widths, found) for label, found in by_bits.items()},
    title="Right at 4 bits: "
    + ", ".join(f"{found:.0f} % with {label}" for label, found in at_four.items()),
    x="bits of a weight",
    y="percent right",
)
ui.show(
    figure,
    alt="Accuracy over the bits of a weight. "
    + "; ".join(
        f"{label} {found:.0f} percent at 4 bits" for label, found in at_four.items()
    ),
)

# %% [markdown]
# Round one layer at a time and keep the others in float32: a layer with a large loss is worth keeping in higher precision. This uses validation images, because
# it is a choice; test images are for reporting.

# %%
val = signs.validation.subset(500, seed=seed)


def validation_accuracy(net):
    return 100 * float((nets.predict_logits(net, val.x).argmax(axis=1) == val.y).mean())


sensitive = weights.sensitivity(network, validation_accuracy, bits=4).ranked

# %% tags=["folded"]
figure = ui.bars(
    [entry.layer for entry in sensitive],
    [entry.drop for entry in sensitive],
    title=f"{sensitive[0].layer} alone costs {sensitive[0].drop:.0f} points at 4 bits",
    y="points lost on validation",
)
ui.show(
    figure,
    alt=f"Bars of the points lost when a single layer is rounded to 4 bits, largest first: {sensitive[0].layer}.",
)

# %% [markdown]
# ### Is it smaller, and is it faster?
#
# Smaller is a matter of counting. Faster has to be raced: three files in turn, on one core. **QOperator** is the older form of an INT8 file, with integer
# operators in place of the QDQ pairs.

# %%
stored = {
    name: sum(inspect_model(files[name]).weight_bytes.values())
    for name in ("float32", "per channel")
}
weight_ratio = stored["float32"] / stored["per channel"]
weights_ratio = record(
    "size.weights",
    Reading(weight_ratio, "x", "measured", "bytes of weights, float32 over INT8"),
)
file_ratio = files["float32"].stat().st_size / files["per channel"].stat().st_size
size_ratio = record(
    "size.file", Reading(file_ratio, "x", "measured", "file sizes, float32 over INT8")
)


# %% tags=["finding:size"]
def finding_size(weights, file):
    text = f"The weights take {weights.figure()} less room, the file {file.figure()}"
    if file.value > 0.9 * weights.value:
        return f"{text}: the file is little else than its weights."
    return f"{text}: it also carries the graph, biases in 32 bits and the scales, which a small network notices."


finding(finding_size, weights_ratio, size_ratio)

# %%
files["QOperator, signed"] = ptq.quantize_static(
    float32.path,
    work / "qoperator.onnx",
    ranges=ranges,
    activation="int8",
    format="qoperator",
).path
raced = ("float32", "per channel", "per tensor", "QOperator, signed")
contenders = {name: open_engine(files[name], threads=threads) for name in raced}
race = latency.measure_latency(
    contenders, signs.test.x[:1], runs=runs, warmup=20, seed=seed
)
speed_up = record("speed_up.int8", race.speed_up("per channel", over="float32"))
channel_time = record("time.channel_to_tensor", race.ratio("per channel", "per tensor"))
race

# %%
guess_speed.against(speed_up)


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

# %% [markdown]
# Whatever came out: ask the runtime **what it really ran**. The profile names each operator and the type in which it ran, by its median over the runs.
# Conversions between float and integer are work that the float32 network does not have.

# %%
profiles = {name: contenders[name].profile(signs.test.x[:1], runs=40) for name in raced}


def shares(operators):
    """Microseconds in all, and the percentages of them in integers and in conversions."""
    total = sum(o.median_ms for o in operators)
    integer = sum(o.median_ms for o in operators if "int8" in o.ran_in)
    moving = sum(o.median_ms for o in operators if "QuantizeLinear" in o.type)
    return 1000 * total, 100 * integer / total, 100 * moving / total


# %% tags=["folded"]
slowest = {
    name: max(found, key=lambda o: o.median_ms) for name, found in profiles.items()
}
display(
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
        [
            (name, len(found), *shares(found), slowest[name].type)
            for name, found in profiles.items()
        ],
    )
)


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


finding(finding_profile, speed_up, *shares(profiles["per channel"])[1:])

# %% [markdown]
# ### What if there is no calibration set?
#
# **Dynamic** quantization stores INT8 weights and finds the range of each activation while it runs. It needs no samples. It is meant for large matrix
# products, so here it gets an LSTM and a pair of linear layers.


# %%
class Sequence(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(64, 256, batch_first=True)
        self.wide, self.head = torch.nn.Linear(256, 1024), torch.nn.Linear(1024, 10)

    def forward(self, x):
        return self.head(self.wide(self.lstm(x.transpose(1, 2))[0][:, -1]).relu())


# %%
torch.manual_seed(seed)
moments = generator.standard_normal((1, 64, 32), dtype=np.float32)
sequence = export(Sequence().eval(), moments, work / "lstm.onnx").path
dynamic = ptq.quantize_dynamic(sequence, work / "lstm-dynamic.onnx").path
pair = {
    "float32": open_engine(sequence, threads=threads),
    "dynamic": open_engine(dynamic, threads=threads),
}
dynamic_race = latency.measure_latency(pair, moments, runs=runs, warmup=10, seed=seed)
dynamic_race

# %%
dynamic_speed = record(
    "speed_up.dynamic_lstm", dynamic_race.speed_up("dynamic", over="float32")
)
shrink = Path(sequence).stat().st_size / Path(dynamic).stat().st_size
dynamic_size = record(
    "size.dynamic_lstm",
    Reading(shrink, "x", "measured", "file sizes, float32 over dynamic"),
)

# %% [markdown]
# A switch that is taken without a word need not do anything. ONNX Runtime's own function is asked for one scale for each channel, of this network and of the one that reads
# signs, with its convolutions. Count the scales in the files, and look at what ran.


# %%
def asked_for_channels(source, name):
    """Weights with a scale for each channel, of how many, and what ran in integers."""
    import onnx
    from onnxruntime import quantization

    kind = quantization.QuantType.QUInt8  # the only one with convolutions
    made = work / f"{name}-channels.onnx"
    quantization.quantize_dynamic(source, made, per_channel=True, weight_type=kind)
    scales = {
        i.name.removesuffix("_scale"): math.prod(i.dims)
        for i in onnx.load(made).graph.initializer
        if i.name.endswith("_scale")
    }
    found = [one.operator for one in what_ran(made).in_integers()]
    return sum(n > 1 for n in scales.values()), len(scales), found


asked = {
    "LSTM and linear layers": asked_for_channels(sequence, "lstm"),
    "signs": asked_for_channels(float32.path, "signs"),
}

# %% tags=["folded"]
Table(
    "Dynamic, asked for a scale for each channel",
    ("network", "weights", "with a scale for each channel", "what ran in integers"),
    [
        (
            name,
            of,
            per_channel,
            ", ".join(f"{found.count(k)} {k}" for k in dict.fromkeys(found)) or "none",
        )
        for name, (per_channel, of, found) in asked.items()
    ],
)


# %% tags=["finding:dynamic"]
def finding_dynamic(asked):
    said = []
    for name, (got, of, _) in asked.items():
        if got == of:
            said.append(f"{name}: all {of} weights have a scale for each channel.")
        else:
            said.append(
                f"{name}: {of - got} of {of} weights kept one scale, although a scale for each channel was asked for, and no word was said."
            )
    return " ".join(said)


finding(finding_dynamic, asked)

# %% [markdown]
# ### What if the file meets the wrong kernels?
#
# PyTorch quantizes for a **backend**: `fbgemm` and `x86` for desktops and servers, `qnnpack` for ARM phones. Nothing stops you from running one on
# the other's machine. Does anything warn you? `x86` is PyTorch's default; it picks its kernels by size, so it is raced too.

# %%
on_this_cpu = {
    name: TorchEngine(
        backends.quantize_for_backend(network, samples, name), threads=threads
    )
    for name in ("fbgemm", "x86", "qnnpack")
    if name in backends.available()
}
backend_race = latency.measure_latency(
    on_this_cpu, signs.test.x[:1], runs=runs // 2, warmup=10, seed=seed
)
backend_right = {
    name: engine.predict(signs.test.x[:500]).argmax(axis=1) == signs.test.y[:500]
    for name, engine in on_this_cpu.items()
}

# %% tags=["folded"]
backend_ratio = record(
    "backend.qnnpack_to_fbgemm", backend_race.ratio("qnnpack", "fbgemm")
)
backend_accuracy = {
    name: record(
        f"accuracy.{name}",
        quality.accuracy_reading(hits, f"PyTorch with {name} kernels"),
    )
    for name, hits in backend_right.items()
}
display(
    Table(
        "No error, no warning",
        ("backend", "right", "p50"),
        [
            (name, found.figure(), backend_race.readings[name]["p50"].figure())
            for name, found in backend_accuracy.items()
        ],
    )
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


finding(finding_backends, backend_accuracy, 100 / len(signs.class_names))

# %% [markdown]
# Compare the accuracies, not only the times. Kernels for another processor can compute something else without saying so. Known of `qnnpack` on x86
# processors in some versions of PyTorch: it mixes up the values behind a quantized ReLU6.

# %% [markdown]
# ### Who loses most?
#
# One figure for the whole test set hides who pays. Compare the two networks item by item **within** each group, and leave out groups that are too small
# to tell anything. Three groups by hand, before and after, in items that are right:

# %%
three_groups = [("day", 100, 97, 96), ("night", 50, 40, 34), ("fog", 4, 4, 2)]
ui.worked_table(
    [
        {
            "group": g,
            "items": n,
            "before": b,
            "after": a,
            "points lost": 100 * (b - a) / n,
        }
        for g, n, b, a in three_groups
    ],
    "Fog loses half of its items, and four items tell nothing",
)


# %% tags=["exercise:worst_group"]
def my_worst_group(correct_before, correct_after, groups, smallest=30):
    """(name, loss in points) of the group of `smallest` items or more that loses most."""
    # TODO: one loss for each group name that has enough items; then the largest.
    ### BEGIN SOLUTION
    losses = {}
    for name in np.unique(groups):
        members = groups == name
        if members.sum() >= smallest:
            change = correct_before[members].mean() - correct_after[members].mean()
            losses[str(name)] = 100 * float(change)
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
        *outcome(clear=(170, 24, 4, 2), dim=(40, 9, 1, 50 + n)),
        "clear",
        "a group that was nearly always right and one that seldom was",
        {
            "dim loses the larger part of what it had, but fewer points: subtract, do not divide": "dim"
        },
    )
    ask(
        *outcome(near=(20, 6, 0, 8 + n), far=(90, 9, 1, 4)),
        "near",
        "a group of some 40 items, few of them right before",
        {
            "a group counts with all its items, not only with those that were right before": "far"
        },
    )
    ask(
        *outcome(one=(400, 30, 3, 60 + n), two=(40, 50, 0, 9), three=(30, 3, 0, 0)),
        "one",
        "a limit that leaves one group",
        {"the argument `smallest` is ignored": "two"},
        smallest=400,
    )


# %% tags=["check:worst_group"]
worst_group = check("worst_group", my_worst_group, quality.worst_group)

# %% [markdown]
# Your function names the group that pays most in each grouping of the signs; the bars say how sure that is. Where an interval spans zero, the test set
# cannot tell.

# %%
pays_most = {
    grouping: worst_group(right["float32"], right["per tensor"], np.asarray(labels))
    for grouping, labels in signs.test.groups.items()
}
groups = quality.group_differences(
    right["float32"], right["per tensor"], signs.test.groups
)

# %% tags=["folded"]
figure = ui.bars(
    [f"{g.grouping}: {g.name}" for g in groups.groups],
    [g.loss for g in groups.groups],
    title="Pays most: "
    + ", ".join(f"{name} ({loss:.1f} points)" for name, loss in pays_most.values()),
    y="points of accuracy lost, per tensor",
)
ui.show(
    figure,
    alt="Bars with intervals of the points each group loses. Most: "
    + ", ".join(f"{name} {loss:.1f}" for name, loss in pays_most.values()),
)
whose("worst_group")


# %% tags=["finding:groups"]
def finding_groups(name, loss, tells, average):
    text = f"The group {name} loses most, {loss.figure()}; "
    text += f"all images together lose {average.figure()}."
    text += "" if tells else " That group alone may be chance."
    return (
        f"{text} Some group always loses most. Whether rare classes lose more than common "
        "ones is another question, which the claim Q12 asks."
    )


finding(
    finding_groups,
    groups.worst.name,
    groups.worst.loss,
    groups.worst.tells,
    loss_tensor,
)

# %% [markdown]
# ## Explore
#
# **Bits, range and clipping.** The panel maps the stem's activations with your functions. Three questions:
#
# - How much may you clip at 8 bits before the SQNR falls? And at 4?
# - At which width does clipping help more than it hurts?
# - Which part of the distribution do the last few percent of the range serve?
#
# <details><summary>Discussion</summary>
#
# At 8 bits almost any clipping hurts, since the rounding is quiet already: the best setting is at or near the full range. At 3 and 4 bits the SQNR has its top
# further left, for the reason of the step "Which range?". The last part of the range serves the few largest activations alone. They matter where the
# network uses them as evidence, so the SQNR of a tensor is a hint, and the accuracy decides.
#
# </details>


# %%
def mapped_values(bits, kept):
    low, high = values.min() * kept / 100, values.max() * kept / 100
    return ui.staircase(values, *scale_and_zero_point(low, high, bits), bits=bits)


ui.Panel(
    mapped_values,
    title="Your mapping",
    alt="A staircase that follows the diagonal over the distribution of the activations.",
    bits=ui.slider(2, 8, 1, value=4, label="bits"),
    kept=ui.slider(10, 100, 5, value=100, label="percent of the range kept"),
)

# %% [markdown]
# **Bits and answers.** Twelve signs, and a network whose weights are rounded to fewer and fewer bits. Which signs turn over first? Is it always the same light?
#
# <details><summary>Discussion</summary>
#
# The signs that turn first are those on which the float network was least sure: its two largest logits lay close together. Noise of the same size turns
# a close call and leaves a clear one. That is also why losses gather in the hard groups: dirt, glare and night leave more close calls.
#
# </details>

# %%
few_signs = signs.test.subset(12, seed=seed)
sure = nets.predict_logits(network, few_signs.x)
answers_at = {}
for bits in range(2, 9):
    for each in (False, True):
        rounded = weights.fake_quantize_weights(network, bits=bits, by_channel=each)
        answers_at[bits, each] = nets.predict_logits(rounded, few_signs.x)


def answers(bits, each):
    labels = ("float32", f"{bits} bits")
    return ui.side_by_side(
        few_signs.x,
        sure,
        answers_at[bits, each],
        few_signs.y,
        names=signs.class_names,
        labels=labels,
    )


ui.Panel(
    answers,
    title="Right and wrong, before and after",
    bits=ui.slider(2, 8, 1, value=4, label="bits"),
    each=ui.toggle(False, label="a scale for each channel"),
)

# %% [markdown]
# **One scale or many.** Choose a layer and a width, and compare the channels. In which kind of layer does the toggle matter most, and why there?
#
# <details><summary>Discussion</summary>
#
# In the depthwise layers. Each of their channels is a filter of its own over one input channel, and nothing keeps their sizes alike: batch normalisation
# evens the outputs out afterwards. In a 1x1 layer every channel mixes many inputs, and the largest weights of the channels lie closer together.
#
# </details>


# %%
def channels(layer, bits, each):
    kernel = kernels[layer].reshape(len(kernels[layer]), -1)
    integers, scale = quantize_per_channel(
        kernel if each else kernel.reshape(1, -1), bits
    )
    back = (integers * scale.reshape(-1, 1)).reshape(kernel.shape)
    noise = np.maximum(np.mean((kernel - back) ** 2, axis=1), 1e-20)
    loud = np.sort(10 * np.log10(np.mean(kernel**2, axis=1) / noise + 1e-3))
    title = f"{(loud < 10).sum()} of {len(loud)} channels below 10 dB"
    places = np.arange(1, len(loud) + 1)
    return ui.lines(
        {"channels": (places, loud)}, title, "channel, sorted", "SQNR in dB"
    )


ui.Panel(
    channels,
    title="One scale or many",
    alt="Sorted SQNR of the channels of one layer.",
    same_axes="each",
    layer=ui.choice(list(kernels), value=spread.worst.layer, label="layer"),
    bits=ui.slider(2, 8, 1, value=8, label="bits"),
    each=ui.toggle(False, label="a scale for each channel"),
)

# %% [markdown]
# ## Claims
#
# What the field says, held against what you measured. A verdict knows the interval of its reading, and may be "cannot tell".

# %%
claim("Q1", size_ratio)

# %%
claim("Q2", loss_channel)

# %%
claim("Q3", speed_up)

# %%
claim("Q4", size=dynamic_size, speed=dynamic_speed)

# %%
claim("Q5", enough)

# %%
claim("Q6", trap)

# %%
gap_channel = quality.difference(right["per channel"], right["per tensor"]).loss
claim("Q7", record("loss.tensor_minus_channel", gap_channel))

# %%
claim("Q8", backend_ratio)

# %%
gap = quality.loss_gap(loss_tensor, residual_loss)
claim("Q9", record("loss.depthwise_minus_residual", gap))

# %%
rare = signs.test.groups["rarity"] == "rare"
rare_gap = quality.loss_contrast(right["float32"], right["per tensor"], rare)
claim("Q12", record("loss.rare_minus_common", rare_gap))

# %% [markdown]
# ## Challenge
#
# An accelerator in your product takes **one scale for each weight tensor** and has room for a file of <span class="given" title="the task">70,000 bytes</span>. The
# plain per-tensor file is small enough and loses too much; one scale for each channel keeps the answers and is too large. Make a file that meets both: at most
# <span class="given" title="the task">70,000 bytes</span>, and at most <span class="given" title="the task">1 point</span> lost on the validation images, on ONNX Runtime.
#
# Everything above is allowed. What made one scale so bad for this network, and does the network need it?


# %% tags=["challenge:one_scale", "hidden"]
def reference():
    """Channels that are off carry nothing but a constant: move it into the bias, and their weights to 0."""
    cleaned = copy.deepcopy(network)
    parts = dict(cleaned.named_modules())
    with torch.no_grad():
        for name, off in weights.dead_channels(network).items():
            norm, conv = parts[name], parts[name.replace("norm", "conv")]
            shrink = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            norm.bias[off] -= (norm.running_mean * shrink)[off]
            norm.running_mean[off], conv.weight[off] = 0.0, 0.0
    file = export(cleaned, signs.test.x[:1], work / "cleaned.onnx").path
    return ptq.quantize_static(
        file, work / "one-scale.onnx", samples, per_channel=False
    ).path


# %% tags=["challenge:one_scale"]
# `your_file`: the path of an INT8 .onnx file with one scale for each tensor
### BEGIN SOLUTION
your_file = reference()
### GIVEN
# your_file = None
### END SOLUTION


# %%
def measured(path):
    with open_engine(path, threads=threads) as engine:
        hits = engine.predict(signs.validation.x).argmax(axis=1) == signs.validation.y
    size = Reading(Path(path).stat().st_size, "bytes", "measured", "size of the file")
    return {"file": size, "loss": quality.difference(val_right, hits).loss}


with open_engine(float32.path, threads=threads) as engine:
    val_right = engine.predict(signs.validation.x).argmax(axis=1) == signs.validation.y
challenge(
    "one_scale",
    your_file,
    measured,
    Target("file", at_most=70_000, unit="bytes"),
    Target("loss", at_most=1.0, unit="points"),
)

# %% [markdown]
# ## Bring your own
#
# `my_data` takes an `.npz` with `x` (float32, channels first), `y` and, if you have it, `group`; `my_model` a float32 `.onnx` that takes `x`. The first half of your
# data calibrates, the second half judges. Leave them empty and this section runs on the lab's own. Later, in a terminal:
# `uv run edgelab compare FLOAT.onnx INT8.onnx --data FILE.npz`.

# %%
model_file = Path(my_model).expanduser() if my_model else float32.path
data_file = (
    Path(my_data).expanduser()
    if my_data
    else signs.to_npz(work / "own.npz", group="occlusion")
)
own = load_arrays(data_file)
half = len(own.x) // 2
rest = None if own.group is None else own.group[half:]
held_out = save_arrays(work / "held-out.npz", own.x[half:], own.y[half:], rest)

# %%
calibrating = own.x[:half][:calibration_items]
yours = [
    ptq.quantize_static(
        model_file, work / f"own-{name}.onnx", calibrating, per_channel=each
    ).path
    for name, each in {"per-tensor": False, "per-channel": True}.items()
]
compare(model_file, yours, held_out)

# %% [markdown]
# ## What you found
#
# Made from the readings of this run, on this machine.


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


finding(finding_recap_scales, gap_channel, channel_time)


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


finding(finding_recap_samples, calibration_items, enough, dark)


# %% tags=["finding:recap_groups"]
def finding_recap_groups(loss, group, points):
    text = f"Over all test images one scale for each tensor cost {loss.figure()}"
    more = points - loss.value
    if more < 0.05:
        return f"{text}, and no group paid more than that."
    return f"{text}; the group `{group}` paid {points:.1f} points, {more:.1f} more than the top line says."


most = max(pays_most.values(), key=lambda found: found[1])
finding(finding_recap_groups, loss_tensor, *most)

# %% [markdown]
# And what holds on every machine:
#
# - $x \approx s\,(q - z)$. A bit more is a quarter of the noise; an outlier takes bits away from everybody else.
# - Ask for one weight scale for each **channel**. Its price is one number a channel in the file, and without it a depthwise network can lose a lot.
# - Calibrate with samples from the field that reach the extremes the field reaches. Which ones matters more than how many.
# - Smaller is certain, faster is not: profile what ran, in which type, on the machine that will run it.
# - Report the loss by group, with intervals, on the same items. The top line hides who pays.
#
# ## Sources
#
# - Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*, 2018:
#   [arXiv:1712.05877](https://arxiv.org/abs/1712.05877) (the affine mapping, integer-only layers).
# - Krishnamoorthi, *Quantizing deep convolutional networks for efficient inference*, 2018: [arXiv:1806.08342](https://arxiv.org/abs/1806.08342) (per channel).
# - Nagel et al., *Data-Free Quantization through Weight Equalization and Bias Correction*, 2019: [arXiv:1906.04721](https://arxiv.org/abs/1906.04721) (why
#   depthwise layers suffer).
# - Nagel et al., *A White Paper on Neural Network Quantization*, 2021: [arXiv:2106.08295](https://arxiv.org/abs/2106.08295) (ranges, rounding, the whole field).
# - Bennett, *Spectra of Quantized Signals*, 1948: [doi:10.1002/j.1538-7305.1948.tb01340.x](https://doi.org/10.1002/j.1538-7305.1948.tb01340.x) (the noise of a step).
# - Hooker et al., *Characterising Bias in Compressed Models*, 2020: [arXiv:2010.03058](https://arxiv.org/abs/2010.03058) (who loses).
# - The ONNX operators [QuantizeLinear](https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html) and
#   [DequantizeLinear](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html); ONNX Runtime,
#   [Quantize ONNX models](https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
