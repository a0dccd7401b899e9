# ---
# jupyter:
#   edgelab:
#     title: "TFLite: one network, four files, and a bug that stays silent"
#     minutes: 75
#     memory_gb: 3
#     requires: [tensorflow, ai_edge_litert, torch]
#     optional:
#       litert_torch: the same network from PyTorch
#     form: 2
#     claims: [T1, T2, Q13, Q16]
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
# # 08 TFLite: one network, four files, and a bug that stays silent
#
# You train a small classifier in Keras and turn it into four files: float32, float16, dynamic range, and full int8. **Which one do you ship, and how do
# you know that it still sees what it should?** On the way you read a model file byte by byte, round weights to 16 bits, find the scale of an input, and mend
# a function that has told many people that "quantization ruins accuracy".
#
# You need: lab `quantization`, or to know what a scale and a zero point are. No network, no GPU, no board. The cells run in about a minute; with the
# exercises plan an hour and a quarter. The file format is called TensorFlow Lite, `.tflite`; its runtime is now called **LiteRT**.

# %% tags=["parameters"]
seed = 0
threads = 1
runs = 200  # timed inferences of each contender
epochs = 6
representative_items = 200
limit_ms = 50
pi_ms = 0.0  # ms an image that you measured on a Raspberry Pi 4
my_model = ""  # bring your own: a .tflite file
my_data = ""  # bring your own: an .npz file with x (float32, channels first) and y

# %% tags=["setup", "folded"]
import math
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from IPython.display import display

from edgelab import Reading, Table, data, record, ui
from edgelab.convert import by_hand
from edgelab.convert import keras as from_keras
from edgelab.convert.by_hand import number
from edgelab.convert.litert import Beside
from edgelab.course import Target, begin, by_side, challenge, check, claim, finding
from edgelab.course import listed, side_of, whose
from edgelab.course.session import installed
from edgelab.engines import open_engine
from edgelab.engines.litert_loading import loading
from edgelab.measure import inspect_model, latency, load_arrays, quality
from edgelab.measure.edge_tpu import edge_tpu_coverage
from edgelab.quiet import natively_silenced

begin("tflite")
folder = TemporaryDirectory()
work = Path(folder.name)
files = {}

# %% tags=["folded"]
ui.pipeline(
    [
        ("Keras", "trained here"),
        ("converter", "one call, few options"),
        (".tflite", "a flatbuffer"),
        ("LiteRT", "interpreter"),
        ("kernels", "XNNPACK or built-in"),
    ],
    "From a trained network to what runs",
    marked=[".tflite"],
)

# %% [markdown]
# The task: five road signs out of the ten of lab `quantization`, 32 x 32 pixels. One of them, the animals, is rare in training, as some things are in
# the field. Keras and LiteRT want channels **last**; the data come with channels first.

# %% tags=["setup"]
signs = data.signs(seed=seed)
chosen = [
    signs.class_names.index(n)
    for n in ("stop", "yield", "warning", "animals", "crossing")
]
names = [signs.class_names[c] for c in chosen]


def of_chosen(split):
    mine = np.isin(split.y, chosen)
    return split.x[mine], np.searchsorted(chosen, split.y[mine])


(train_x, train_y), (val_x, val_y) = of_chosen(signs.train), of_chosen(signs.validation)
test_x, test_y = of_chosen(signs.test)


def channels_last(x):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


# %%
ui.images_by(test_x, test_y, names)

# %% [markdown]
# The network: three convolutions with batch normalisation, and one dense layer. Its last layer gives **logits**; the softmax is left to whoever wants probabilities.

# %%
beside = (
    Beside() if installed("litert_torch") else None
)  # needed further down; it loads while you train
tf = from_keras.tensorflow(threads=threads, seed=seed)
layers = tf.keras.layers


def block(filters, size, stride):
    convolution = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)
    return [convolution, layers.BatchNormalization(momentum=0.9), layers.ReLU()]


def build(width):
    parts = [tf.keras.Input((32, 32, 3)), *block(width, 5, 2), layers.MaxPool2D()]
    parts += [*block(2 * width, 3, 1), *block(4 * width, 3, 1), layers.MaxPool2D()]
    return tf.keras.Sequential([*parts, layers.Flatten(), layers.Dense(len(names))])


# %% [markdown]
# Training takes seconds. The seed is fixed and the operations are deterministic, so that you can repeat what you find.


# %%
def train(network, rounds, **weights):
    steps = rounds * math.ceil(len(train_x) / 64)
    rate = tf.keras.optimizers.schedules.CosineDecay(5e-3, steps)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    adam = tf.keras.optimizers.Adam(rate)
    network.compile(
        adam, loss, jit_compile=False
    )  # compiling takes longer than it saves
    pixels = channels_last(train_x)
    network.fit(pixels, train_y, batch_size=64, epochs=rounds, verbose=0, **weights)
    return network


network = train(build(width=12), epochs)

# %%
keras_right = network.predict(channels_last(test_x), verbose=0).argmax(axis=1) == test_y
record(
    "keras.accuracy",
    quality.accuracy_reading(keras_right, f"Keras {tf.keras.__version__}"),
)

# %% [markdown]
# The same network in PyTorch, with the same weights. PyTorch keeps a kernel as (out, in, height, width) and images channels first, so the rows of the dense layer count in another order; and
# "same" at a stride of 2 pads one more at the end. Its converter, litert-torch, needs a while, and writes much: it loads in a process of its own since the training began, gets the network here, and is asked for its files further down.


# %%
def part_of(layer, side):
    """A layer of Keras in PyTorch, with its weights; ``side`` is the last image's height."""
    weights = [torch.from_numpy(value) for value in layer.get_weights()]
    kind = type(layer).__name__
    if kind == "Conv2D":
        kernel = weights[0].permute(3, 2, 0, 1).contiguous()
        convolution = torch.nn.Conv2d(
            *kernel.shape[1::-1], kernel.shape[2:], layer.strides, bias=False
        )
        convolution.weight.data = kernel
        border = kernel.shape[2] - layer.strides[0]
        sides = (border // 2, border - border // 2)
        return torch.nn.Sequential(torch.nn.ZeroPad2d(2 * sides), convolution)
    if kind == "BatchNormalization":
        norm = torch.nn.BatchNorm2d(len(weights[0]), eps=layer.epsilon)
        norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var = weights
        return norm
    if kind == "Dense":
        rows, classes = weights[0].shape
        dense = torch.nn.Linear(rows, classes)
        by_place = weights[0].reshape(side, side, -1, classes)
        dense.weight.data = by_place.permute(3, 2, 0, 1).reshape(classes, rows)
        dense.bias.data = weights[1]
        return dense
    simple = {"ReLU": torch.nn.ReLU(), "MaxPooling2D": torch.nn.MaxPool2d(2)}
    return simple.get(kind) or torch.nn.Flatten()


# %%
side = network.layers[-2].input.shape[1]
in_pytorch = torch.nn.Sequential(*[part_of(layer, side) for layer in network.layers])
if beside:
    beside.start(
        in_pytorch,
        torch.zeros(1, 3, 32, 32),
        first=work / "torch_first.tflite",
        last=work / "torch_last.tflite",
    )

# %% [markdown]
# The first file is the plain one: nothing is asked for, so every number stays a float32.

# %%
converter = tf.lite.TFLiteConverter.from_keras_model(network)
files["float32"] = from_keras.save_converted(converter, work / "float32.tflite")
content = files["float32"].read_bytes()
Table(
    "The first file",
    ("file", "bytes", "first 16 bytes"),
    [(files["float32"].name, len(content), content[:16].hex(" "))],
)

# %% [markdown]
# ## Predict
#
# Commit before you look. Each guess meets its figure further down.

# %%
guess_loss = ui.predict(
    "Full int8 in place of float32: how many points of accuracy are lost?",
    unit="points",
    low=-5.0,
    high=30.0,
)
guess_loss

# %%
guess_cast = ui.predict(
    "Somebody feeds float pixels, cast to int8, to that int8 file. How much accuracy is left?",
    unit="%",
    low=0.0,
    high=100.0,
)
guess_cast

# %% [markdown]
# ## From scratch
#
# ### Where in the file is the network?
#
# A `.tflite` file is a **flatbuffer**: no text, no archive, nothing that has to be unpacked. Whoever reads it follows **offsets**, numbers that say how many
# bytes further something lies. Here is a complete model file that is as short as it can be. It has a version, 3, and a description, "cat", and no network at all.
#
# Start at byte 0: the number 20 says that the root table starts at byte 20. Bytes 4 to 7 say `TFL3`, the format. At byte 20 the table holds the
# distance **back** to its *vtable*: 12, so the vtable starts at 20 - 12 = 8. There stand its own size, the size of the table, and then one offset for each
# field, counted from the start of the table. A 0 means that the field was left out.

# %%
cat = struct.pack("<I4s", 20, b"TFL3") + struct.pack("<6H", 12, 12, 4, 0, 0, 8)
cat += struct.pack("<iII", 12, 3, 4) + struct.pack("<I4s", 3, b"cat")
meanings = {
    0: "the root table is at 20",
    8: "size of the vtable",
    10: "size of the table",
    12: "field 0 is 4 bytes into the table",
    14: "field 1 was left out",
    16: "field 2 was left out",
    18: "field 3 is 8 bytes into the table",
    20: "the vtable is 12 bytes back",
    24: "field 0, the version",
    28: "field 3: its text is 4 bytes further",
    32: "length of the text",
}

# %% tags=["folded"]
ui.worked_table(
    [
        {
            "byte": place,
            "read as": "16 bits" if 8 <= place < 20 else "32 bits",
            "number": number(cat, place, "H" if 8 <= place < 20 else "I"),
            "what it says": words,
        }
        for place, words in meanings.items()
    ],
    f"A model file of {len(cat)} bytes, read by hand",
)

# %% [markdown]
# With $t$ the position of a table, the field number $k$ of it lies at
#
# $$ p_k = t + \mathrm{u16}\big[v + 4 + 2k\big], \qquad v = t - \mathrm{i32}\big[t\big], $$
#
# where $\mathrm{u16}[a]$ is the unsigned number of 16 bits at byte $a$. There is no such field if $\mathrm{u16}$ is 0, **or** if the vtable ends before that entry:
# files of older programs know fewer fields. `number(content, position, "H")` reads $\mathrm{u16}$, `"I"` unsigned 32 bits, `"i"` signed 32 bits.


# %% tags=["exercise:field"]
def my_field(content, table, index):
    """Position of field `index` of the table at `table`, or None if it has none."""
    # TODO: find the vtable, look whether it reaches this entry, add the offset.
    ### BEGIN SOLUTION
    vtable = table - number(content, table, "i")
    entry = 4 + 2 * index
    if entry >= number(content, vtable, "H"):
        return None
    offset = number(content, vtable + entry, "H")
    return table + offset if offset else None
    ### END SOLUTION


# %% [markdown] tags=["hints:field"]
# 1. The vtable lies before the table: subtract the signed number at `table`. Its first two entries of 16 bits are sizes, so field 0 is the third.
# 2. The vtable's own size stands at its start, in bytes. An entry at 4 + 2 * index exists only if that is below the size; an offset of 0 means left out.
# 3. `vtable = table - number(content, table, "i")`, `entry = 4 + 2 * index`, then `table + number(content, vtable + entry, "H")` after both questions.


# %% tags=["check:field", "hidden"]
@checks("field")
def _(c, field):
    def table_of(offsets, gap):
        """A table after its vtable with `gap` bytes between them: (content, position of the table)."""
        size = 4 + 2 * len(offsets)
        front = b"\x77" * 8 + struct.pack(f"<{2 + len(offsets)}H", size, 64, *offsets)
        front += b"\x05\x00" * (gap // 2)
        return front + struct.pack("<i", size + gap) + bytes(range(1, 61)), len(front)

    def wrong(**change):
        def answer(content, table, index):
            v = table - number(content, table, "i") * change.get("way", 1)
            entry = change.get("head", 4) + change.get("width", 2) * index
            if entry >= number(content, v, "H"):
                return None
            offset = number(content, v + entry, "H")
            start = v if change.get("vtable") else table
            return start + offset if offset else change.get("absent", None)

        return answer

    first = int(c.rng.integers(1, 8)) * 4
    cases = []
    for gap in (0, 6):
        content, table = table_of([first + 8, 0, first, first + 20, 4], gap)
        cases += [(content, table, index) for index in (0, 2, 3, 4)]
    c.each(
        field,
        cases,
        by_hand.field_position,
        tested=lambda content, table, index: (
            f"field {index} of a table with five fields"
        ),
        mistakes={
            "the two sizes at the start of the vtable were not skipped: field 0 is its third entry": wrong(
                head=0
            ),
            "an entry of the vtable has 16 bits: two bytes each": wrong(width=4),
            "an entry of the vtable has two bytes: the number of the field counts twice": wrong(
                width=1
            ),
            "the offset counts from the table, not from the vtable": wrong(vtable=True),
            "this is the offset alone: add the position of the table": lambda *a: (
                by_hand.field_position(*a) - a[1]
            ),
            "this is what stands in the field: return its position": lambda a, t, i: (
                number(a, by_hand.field_position(a, t, i), "I")
            ),
        },
    )
    content, table = table_of([4, 0, 8], 2)
    got = field(content, table, 1)
    c.that(
        got is None,
        tested="a field that was left out",
        found=got,
        mistake="an offset of 0 means that the field was left out: return None",
    )
    for index in (3, 4, 9):
        got = field(content, table, index)
        c.that(
            got is None,
            tested="a field that the vtable does not reach",
            found=got,
            mistake="what follows the vtable was read as an offset: compare the entry with the size of the vtable",
        )
    # A vtable that lies behind its table: the distance is negative, as flatbuffers allow.
    body = struct.pack("<i", -12) + struct.pack("<2I", 7, 9)
    content = body + struct.pack("<4H", 8, 12, 4, 8) + b"\x00" * 8
    c.equal(
        field(content, 0, 1),
        8,
        tested="a vtable behind its table",
        mistakes={},
        remember={},
    )


# %% tags=["check:field"]
field = check("field", my_field, by_hand.field_position)

# %% [markdown]
# Your function reads the real file now. The schema says that field 2 of the root holds the graphs, and field 4 the **buffers**, where the weights lie. A
# *vector* is a length and then one offset an entry.


# %% tags=["setup"]
def follow(content, position):
    return position + number(content, position, "I")


def vector(content, position):
    start = follow(content, position)
    places = range(start + 4, start + 4 + 4 * number(content, start, "I"), 4)
    return [follow(content, place) for place in places]


# %%
def weights_in(content):
    """{place of the buffer: its bytes} of every buffer that holds something."""
    root, found = follow(content, 0), {}
    for place, table in enumerate(vector(content, field(content, root, 4))):
        start = field(content, table, 0)
        if start is not None:
            start = follow(content, start)
            found[place] = content[start + 4 : start + 4 + number(content, start, "I")]
    return found


def shapes_in(content):
    """{place of the buffer: shape of the tensor that lies in it}, from the first graph."""
    graph = vector(content, field(content, follow(content, 0), 2))[0]
    found = {}
    for tensor in vector(content, field(content, graph, 0)):
        place, shape = field(content, tensor, 2), field(content, tensor, 0)
        if place is not None and shape is not None:
            start = follow(content, shape)
            sizes = struct.unpack_from(
                f"<{number(content, start, 'I')}i", content, start + 4
            )
            found[number(content, place, "I")] = "x".join(map(str, sizes)) or "scalar"
    return found


# %% tags=["folded"]
buffers, shapes = weights_in(content), shapes_in(content)
largest = sorted(buffers, key=lambda place: -len(buffers[place]))[:8]
share = 100 * sum(map(len, buffers.values())) / len(content)
title = f"{len(buffers)} buffers are {share:.1f} % of the file; the largest eight"
figure = ui.bars(
    [f"{shapes.get(place, 'other')} (buffer {place})" for place in largest],
    [len(buffers[place]) for place in largest],
    title=title,
    y="bytes",
    horizontal=True,
)
ui.show(figure, alt=f"Bars of the bytes of single buffers. {title}.")
whose("field")

# %% [markdown]
# **Before you go on.** Nothing was decoded: a weight is used where it lies in the file. What does that allow a runtime to do when it opens a large file?
#
# <details><summary>Discussion</summary>
#
# It can **map** the file into its memory: the operating system brings in the pages that are touched, and drops them when memory is short. Nothing is read in
# advance. Whether LiteRT does so, and whether it stays so once the network runs, is the claim T2 below.
#
# </details>
#
# ### What do 16 bits keep of a weight?
#
# A **float16** has 11 significant bits. So the numbers that it has lie on a ruler whose marks get wider with each power of two: between 0.5 and 1 the marks are
# $2^{-11}$ apart, between 4 and 8 they are $2^{-8}$ apart. Below $2^{-14}$ the marks stop getting finer; they stay $2^{-24}$ apart. From 65520 on there is only infinity.


# %%
def by_ruler(x):
    exponent = max(math.floor(math.log2(abs(x))), -14)
    step = 2.0 ** (exponent - 10)
    row = {"value": x, "power of two below": exponent, "step": step, "steps": x / step}
    return row | {"rounded": round(x / step) * step}


ui.worked_table(
    [by_ruler(x) for x in (0.7, 5.3, -0.1, 0.00002)],
    "Four weights on the ruler",
    digits=7,
)

# %% [markdown]
# $$ \hat{x} = d \cdot \mathrm{round}\!\left(\frac{x}{d}\right), \qquad d = 2^{\max(e,\,-14)\, -\, 10}, \qquad e = \lfloor \log_2 |x| \rfloor $$
#
# A value exactly between two marks goes to the even one. The error is at most half a step, so at most $2^{-11}$ of the value: that is why float16 weights cost next
# to nothing. `np.frexp(x)[1] - 1` is $e$, without a logarithm that could fail at a power of two.


# %% tags=["exercise:half"]
def my_half(values):
    """`values` rounded to the nearest float16, as float64; too large becomes infinity."""
    # TODO: the formula above for a whole array. Do it yourself, without np.float16.
    ### BEGIN SOLUTION
    x = np.asarray(values, dtype=np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -14)
    step = np.ldexp(1.0, exponent - 10)
    near = np.rint(x / step) * step
    return np.where(np.abs(near) >= 2.0**16, np.copysign(np.inf, x), near)
    ### END SOLUTION


# %% [markdown] tags=["hints:half"]
# 1. One step for each value: first the exponent, not below -14, then two to the power of that less 10.
# 2. `np.rint` rounds half to even. After rounding, everything from 2**16 on has no float16 and becomes infinity with the sign of the value.
# 3. `step = 2.0 ** (np.maximum(np.frexp(x)[1] - 1, -14) - 10)`, `near = np.rint(x / step) * step`, then `np.where(np.abs(near) >= 65536, np.copysign(np.inf, x), near)`.


# %% tags=["check:half", "hidden"]
@checks("half")
def _(c, half):
    def ruler(x, bits=10, floor=-14, way=np.rint, top=True):
        step = np.ldexp(1.0, np.maximum(np.frexp(x)[1] - 1, floor) - bits)
        near = way(x / step) * step
        return (
            np.where(np.abs(near) >= 2.0**16, np.copysign(np.inf, x), near)
            if top
            else near
        )

    def half_up(v):
        return np.floor(v + 0.5)

    def half_away(v):
        return np.copysign(np.floor(np.abs(v) + 0.5), v)

    x = c.rng.uniform(1, 2, 200) * 2.0 ** c.rng.integers(-9, 9, 200)
    x *= c.rng.choice([-1.0, 1.0], 200)
    c.equal(
        half(x.copy()),
        x.astype(np.float16).astype(np.float64),
        tested="200 values of many sizes",
        mistakes={
            "the values were cut off towards zero: take the nearest mark": ruler(
                x, way=np.trunc
            ),
            "the values were rounded down: take the nearest mark": ruler(
                x, way=np.floor
            ),
            "the step is twice too wide: 11 significant bits are 10 below the leading one": ruler(
                x, bits=9
            ),
            "the step is half too wide: 11 significant bits are 10 below the leading one": ruler(
                x, bits=11
            ),
            "this is bfloat16, which has 8 significant bits": ruler(x, bits=7),
            "one step for all values is what integers have; here the step grows with the value": np.rint(
                x / 2.0**-11
            )
            * 2.0**-11,
            "these are the marks' numbers: multiply by the step to come back": np.rint(
                x / np.ldexp(1.0, np.maximum(np.frexp(x)[1] - 1, -14) - 10)
            ),
            "np.frexp gives a mantissa below 1, so its exponent is one too large": np.rint(
                x / np.ldexp(1.0, np.frexp(x)[1] - 10)
            )
            * np.ldexp(1.0, np.frexp(x)[1] - 10),
        },
    )
    ties = (np.arange(1024, 1064) + 0.5) * 2.0**-10 * c.rng.choice([-1.0, 1.0], 40)
    c.equal(
        half(ties.copy()),
        ruler(ties),
        tested="values exactly between two marks",
        mistakes={
            "halves are rounded up; they go to the even mark": ruler(ties, way=half_up),
            "halves are rounded away from zero; they go to the even mark": ruler(
                ties, way=half_away
            ),
            "halves are cut off; they go to the even mark": ruler(ties, way=np.trunc),
        },
    )
    small = c.rng.uniform(-1, 1, 40) * 2.0**-15
    c.equal(
        half(small.copy()),
        ruler(small),
        tested="values below the smallest normal float16",
        mistakes={
            "the steps stop getting finer below 2**-14: the exponent is at least -14": ruler(
                small, floor=-200
            ),
            "values below 2**-14 are not lost: float16 has steps of 2**-24 there": np.zeros(
                40
            ),
        },
    )
    large = np.array([65504.0, 65519.0, 65520.0, -65520.0, 1e6, -1e9, 0.0])
    got = np.asarray(half(large.copy()), dtype=float)
    c.that(
        not (np.abs(got[2:6]) == 65504).any(),
        tested="values beyond the largest float16",
        found="the largest float16",
        mistake="too large a value becomes infinity, not the largest number",
    )
    c.equal(
        np.where(np.isinf(got), np.sign(got), 0).astype(int),
        np.array([0, 0, 1, -1, 1, -1, 0]),
        tested="which large values become infinity, with which sign",
        mistakes={
            "float16 ends at 65504: what rounds to 65536 or more is infinity": np.zeros(
                7, int
            ),
            "infinity keeps the sign of the value": np.array([0, 0, 1, 1, 1, 1, 0]),
            "65504 and what rounds to it are still numbers": np.array(
                [0, 1, 1, -1, 1, -1, 0]
            ),
        },
    )
    c.equal(got[:2], np.full(2, 65504.0), tested="the largest float16", mistakes={})
    got = half(np.zeros((2, 3), np.float32))
    c.that(
        np.shape(got) == (2, 3),
        tested="an array of two rows",
        found=f"the shape {np.shape(got)}",
        mistake="the answer keeps the shape of the values",
    )


# %% tags=["check:half"]
half = check("half", my_half, by_hand.to_float16)

# %% [markdown]
# The converter makes its float16 file with two options more. Do its bytes hold what your function makes of the float32 file's weights?

# %%
converter = tf.lite.TFLiteConverter.from_keras_model(network)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.target_spec.supported_types = [tf.float16]
files["float16"] = from_keras.save_converted(converter, work / "float16.tflite")


# %%
def weights_of(path, dtype):
    """The weights of a file by shape and order, each as a flat array; small ones left out."""
    content, found = path.read_bytes(), {}
    for place, raw in weights_in(content).items():
        shape = shapes_in(content).get(place)
        if shape and "x" in shape and len(raw) % np.dtype(dtype).itemsize == 0:
            found[shape] = np.frombuffer(raw, dtype).astype(np.float64)
    return found


full, halved = weights_of(files["float32"], "<f4"), weights_of(files["float16"], "<f2")
pairs = {
    s: (half(w), halved[s]) for s, w in full.items() if len(halved.get(s, ())) == len(w)
}

# %% tags=["folded"]
same = sum(int((mine == theirs).sum()) for mine, theirs in pairs.values())
total = sum(len(mine) for mine, _ in pairs.values())
originals = np.concatenate([full[shape] for shape in pairs])
kept = np.concatenate([mine for mine, _ in pairs.values()])
error = np.abs(kept - originals) / np.maximum(np.abs(originals), 2.0**-14)
title = f"{same:,} of {total:,} weights equal the file's; largest relative error {error.max():.2e}"
figure = ui.histogram(
    {"weights": error * 2**11}, title, "error, in units of the value times 2^-11"
)
ui.show(figure, alt=f"Histogram of the rounding error of the weights. {title}.")
whose("field", "half")

# %% [markdown]
# ### Which scale does the input get?
#
# For int8 every tensor needs a scale and a zero point. Weights are known. For the input, the activations and the output the converter runs a **representative data
# set** through the float network and keeps, for each tensor, the lowest and the highest value of all batches. Three batches by hand:

# %%
three = {"first": [0.1, 0.9], "second": [0.3, 1.2], "third": [-0.4, 0.6]}
low = high = 0.0
rows = []
for name, values in three.items():
    low, high = min(low, *values), max(high, *values)
    found = {"lowest": min(values), "highest": max(values)}
    rows.append({"batch": name, **found, "lowest so far": low, "highest so far": high})
ui.worked_table(
    rows,
    f"Scale {(high - low) / 255:.5f}, zero point {round(-128 - low * 255 / (high - low))}",
)

# %% [markdown]
# The range starts at $[0, 0]$, since zero must have an integer of its own. At the end, with the integers from -128 to 127,
#
# $$ s = \frac{x_{\max} - x_{\min}}{255}, \qquad z = \mathrm{round}\!\left(-128 - \frac{x_{\min}}{s}\right). $$


# %% tags=["exercise:mapping"]
def my_mapping(batches):
    """(scale, zero_point) of int8 for a tensor whose values come in batches."""
    # TODO: keep the lowest and the highest value of all batches, then the two formulas.
    ### BEGIN SOLUTION
    low = high = 0.0
    for batch in batches:
        low, high = min(low, np.min(batch)), max(high, np.max(batch))
    scale = (high - low) / 255 if high > low else 1.0
    return scale, int(np.rint(-128 - low / scale))
    ### END SOLUTION


# %% [markdown] tags=["hints:mapping"]
# 1. `batches` may be a generator, which can be walked through once: look at the lowest and the highest value in the same pass.
# 2. Start with `low = high = 0.0`. The zero point is the integer that stands for 0.0, and `low` gets the integer -128. A range of width 0 may take any scale above 0.
# 3. In the loop `low, high = min(low, np.min(batch)), max(high, np.max(batch))`; then `scale = (high - low) / 255` and `int(np.rint(-128 - low / scale))`.


# %% tags=["check:mapping", "hidden"]
@checks("mapping")
def _(c, mapping):
    def ends(parts, zero=True):
        values = np.concatenate([np.ravel(p) for p in parts])
        low, high = float(values.min()), float(values.max())
        return (min(low, 0.0), max(high, 0.0)) if zero else (low, high)

    def of(low, high, steps=255, lowest=-128):
        scale = (high - low) / steps
        return scale, round(lowest - low / scale)

    def made(low, high, cut, away=False):
        """Five batches in [low, high] whose zero point is no close call; the ends stand in two of them."""
        parts = [c.rng.uniform(0.6 * low, 0.6 * high, (2, 3, 4)) for _ in range(5)]
        parts[1][0, 1, 2], parts[3][1, 0, 0] = low, high
        if away:
            parts = [np.abs(p) + 0.2 * high for p in parts]
            parts[2][0, 0, 0] = high * 1.3
        return parts

    reach = float(c.rng.uniform(0.8, 4.0))
    cut = int(c.rng.integers(60, 90))
    for part, kind in ((0.7, "list"), (0.3, "generator")):
        low, high = -reach * (cut + part) / 255, reach * (255 - cut - part) / 255
        parts = made(low, high, cut)
        got = c.parts(
            mapping(list(parts) if kind == "list" else (p for p in parts)),
            2,
            wanted="scale and zero point",
        )
        scale, zero = of(low, high)
        means = [float(np.mean([f(p) for p in parts])) for f in (np.min, np.max)]
        c.close(
            got[0],
            scale,
            1e-9,
            tested=f"the scale of five batches in a {kind}",
            mistakes={
                "the range was divided by 256: 256 integers have 255 steps between them": (
                    high - low
                )
                / 256,
                "the last batch alone was used: keep the ends of all": of(
                    *ends(parts[-1:])
                )[0],
                "the first batch alone was used: keep the ends of all": of(
                    *ends(parts[:1])
                )[0],
                "the ends of the batches were averaged: keep the lowest and the highest": (
                    means[1] - means[0]
                )
                / 255,
                "this is a symmetric scale, as weights have": max(-low, high) / 127,
                "only the upper end was used: the range goes from low to high": high
                / 255,
                "this is the range: divide it by the steps": high - low,
            },
        )
        found = c.whole(
            got[1],
            tested="that the zero point is an integer",
            mistake="the zero point was not rounded",
        )
        c.equal(
            found,
            zero,
            tested=f"the zero point of five batches in a {kind}",
            mistakes={
                "the zero point was cut off, not rounded": math.trunc(
                    -128 - low / scale
                ),
                "the zero point was rounded down, not to the nearest": math.floor(
                    -128 - low / scale
                ),
                "this is a zero point of uint8: int8 starts at -128": zero + 128,
                "the sign is wrong: low gets the integer -128": round(
                    -128 + low / scale
                ),
                "int8 starts at -128, not at -127": zero + 1,
                "0 is the zero point of a symmetric range only": 0,
            },
        )
    parts = made(-reach, reach, cut, away=True)
    got = c.parts(mapping(list(parts)), 2, wanted="scale and zero point")
    c.close(
        got[0],
        of(*ends(parts))[0],
        1e-9,
        tested="values that are all above zero",
        mistakes={
            "the range does not hold zero: start with low = high = 0": of(
                *ends(parts, zero=False)
            )[0]
        },
    )
    c.equal(
        int(got[1]),
        -128,
        tested="the zero point of values that are all above zero",
        mistakes={},
    )
    scale, _ = c.parts(mapping([np.zeros(3)]), 2, wanted="scale and zero point")
    c.that(
        np.isfinite(scale) and scale > 0,
        tested="a tensor of zeros",
        found=f"the scale {float(scale)!r}",
        mistake="a range without width needs a scale all the same: any positive number",
    )


# %% tags=["check:mapping"]
mapping = check("mapping", my_mapping, by_hand.int8_mapping)

# %% [markdown]
# Now the converter does it, with real training images. It asks for a generator that yields a list of inputs, one item at a time.

# %%
generator = np.random.default_rng(seed)
drawn = generator.choice(len(train_x), representative_items, replace=False)
representative = channels_last(train_x[drawn])


def int8_converter(images, network=network):
    """A converter for a file that holds and takes 8-bit integers alone."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter


files["int8"] = from_keras.save_converted(
    int8_converter(representative), work / "int8.tflite"
)

# %% [markdown]
# Your mapping of the same images against the file's input, and your mapping of the float network's logits against the file's output.

# %%
with open_engine(files["float32"], threads=threads) as engine:
    logits = {"of images": engine.predict(np.moveaxis(representative, -1, 1))}
    random_images = generator.random(representative.shape, dtype=np.float32)
    logits["of random noise"] = engine.predict(np.moveaxis(random_images, -1, 1))
with open_engine(files["int8"], threads=threads) as engine:
    borders = {"input": engine.inputs[0], "output": engine.outputs[0]}
mine = {"input": mapping(representative), "output": mapping(logits["of images"])}

# %%
Table(
    "Your mapping and the file's",
    ("tensor", "your scale", "the file's", "your zero point", "the file's "),
    [
        (name, f"{mine[name][0]:.7g}", f"{b.scale:.7g}", mine[name][1], b.zero_point)
        for name, b in borders.items()
    ],
)

# %% tags=["folded"]
counts = np.arange(1, representative_items + 1)
growing = {
    f"logits {name}": (counts, [255 * mapping(values[:n])[0] for n in counts])
    for name, values in logits.items()
}
ends = {name: curve[-1] for name, (_, curve) in growing.items()}
title = "Range seen: " + ", ".join(
    f"{value:.1f} for {name}" for name, value in ends.items()
)
figure = ui.lines(growing, title, "representative items", "width of the range")
ui.show(
    figure, alt=f"Lines of the range that was seen over the number of items. {title}."
)
whose("mapping")

# %% [markdown]
# ### Why does the int8 file see nothing?
#
# The int8 file takes int8. Your pixels are floats from 0 to 1. Many published examples do what the line `x.astype(details["dtype"])` says: they **cast**.
# It runs. What does the network then see? Five pixels by hand, with a scale of 1/255 and a zero point of -128:


# %%
def both_ways(pixel):
    right, cast = round(pixel * 255) - 128, int(pixel)
    seen = {"quantized": right, "read as": (right + 128) / 255}
    return {"pixel": pixel, **seen, "cast": cast, "read as ": (cast + 128) / 255}


ui.worked_table(
    [both_ways(p) for p in (0.0, 0.2, 0.5, 0.9, 1.0)], "Five pixels, fed in two ways"
)

# %% [markdown]
# Every pixel below 1 becomes the integer 0, and the file reads that 0 as a medium grey. The picture is gone, and nobody says so. In one line each, for the input and the output:
#
# $$ q = \mathrm{clip}\!\left(\mathrm{round}\!\left(\frac{x}{s_{in}}\right) + z_{in},\; -128,\; 127\right), \qquad y = s_{out}\,(q_{out} - z_{out}) $$

# %% tags=["folded"]
four = channels_last(test_x[[int(np.flatnonzero(test_y == c)[0]) for c in range(4)]])
scale, zero_point = borders["input"].scale, borders["input"].zero_point
ways = {
    "as it is": four,
    "quantized": scale
    * (np.clip(np.rint(four / scale) + zero_point, -128, 127) - zero_point),
    "cast": scale * (four.astype(np.int8).astype(float) - zero_point),
}
seen = np.moveaxis(np.concatenate(list(ways.values())), -1, 1)
way = np.repeat(list(ways), len(four))
title = "What the int8 network sees"
ui.images_by(seen, np.tile(np.arange(4), len(ways)), names, way, title=title)

# %% [markdown]
# The function below is the published one. It promises the logits of an image from **any** `.tflite` file. Run it as it is, read what the check found, and mend it. The image
# has its batch axis already. `details["quantization"]` is the pair (scale, zero point); the file may be float, int8 or uint8.


# %% tags=["exercise:answer"]
def my_answer(interpreter, image):
    """Float logits of one float image, from a file of whatever type."""
    # TODO: guard both borders. What is float stays as it is.
    ### BEGIN SOLUTION
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if np.issubdtype(into["dtype"], np.integer):
        (scale, zero_point), ends = into["quantization"], np.iinfo(into["dtype"])
        steps = np.rint(image / scale) + zero_point
        image = np.clip(steps, ends.min, ends.max).astype(into["dtype"])
    interpreter.set_tensor(into["index"], image)
    interpreter.invoke()
    answer = interpreter.get_tensor(out["index"])
    if np.issubdtype(out["dtype"], np.integer):
        scale, zero_point = out["quantization"]
        answer = scale * (answer.astype(np.float32) - zero_point)
    return answer
    ### GIVEN
    # into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    # interpreter.set_tensor(into["index"], image.astype(into["dtype"]))
    # interpreter.invoke()
    # return interpreter.get_tensor(out["index"])
    ### END SOLUTION


# %% [markdown] tags=["hints:answer"]
# 1. The cast is a conversion of types, not of values. What has to happen to a pixel before it may become an int8?
# 2. Ask `np.issubdtype(details["dtype"], np.integer)` at each border. `np.iinfo(dtype)` knows the ends to clip at. On the way out, convert to float **before** you subtract.
# 3. In: `np.clip(np.rint(image / scale) + zero_point, ends.min, ends.max).astype(dtype)`. Out: `scale * (answer.astype(np.float32) - zero_point)`.


# %% tags=["check:answer", "hidden"]
@checks("answer")
def _(c, answer):
    class StandIn:
        """An interpreter whose network gives back the first inputs, in its own types."""

        def __init__(self, into, out):
            self.into, self.out, self.fed, self.ran = into, out, None, 0

        def details(self, border, index):
            dtype, scale, zero = border
            shape = np.array([1, 4, 4, 3] if index == 7 else [1, 5])
            pair = (scale, zero) if scale else (0.0, 0)
            parts = {
                "scales": np.array([scale] if scale else []),
                "zero_points": np.array([zero] if scale else []),
            }
            return [
                {
                    "name": "border",
                    "index": index,
                    "dtype": dtype,
                    "shape": shape,
                    "quantization": pair,
                    "quantization_parameters": parts,
                }
            ]

        def get_input_details(self):
            return self.details(self.into, 7)

        def get_output_details(self):
            return self.details(self.out, 11)

        def allocate_tensors(self):
            pass

        def set_tensor(self, index, value):
            if index != 7:
                raise ValueError(f"there is no input {index}")
            value = np.asarray(value)
            if value.dtype != self.into[0]:
                raise ValueError(
                    f"Cannot set tensor: Got value of type {value.dtype} but expected {np.dtype(self.into[0])}"
                )
            self.fed, self.ran = value.copy(), 0

        def invoke(self):
            self.ran += 1

        def get_tensor(self, index):
            if index != 11 or not self.ran:
                return np.zeros((1, 5), self.out[0])
            return OUTPUT[np.dtype(self.out[0])].copy()

    OUTPUT = {
        np.dtype(np.int8): np.array([[-128, -100, 3, 90, 127]], np.int8),
        np.dtype(np.uint8): np.array([[0, 20, 130, 200, 255]], np.uint8),
        np.dtype(np.float32): np.array([[-1.5, 0.25, 2.0, 0.5, 3.0]], np.float32),
    }
    scale, zero = float(c.rng.uniform(0.003, 0.0035)), -128
    steps = c.rng.integers(1, 254, 48) + c.rng.uniform(-0.4, 0.4, 48)
    steps[:6] = [-3.2, 300.3, 255.4, 256.7, 0.0, 254.6]
    image = (steps * scale).reshape(1, 4, 4, 3).astype(np.float32)
    s_out, z_out = float(c.rng.uniform(0.05, 0.2)), int(c.rng.integers(5, 40))
    for kind, zero in ((np.int8, -128), (np.int8, -13), (np.uint8, 3)):
        ends = np.iinfo(kind)
        made = StandIn((kind, scale, zero), (kind, s_out, z_out))
        got = answer(made, image.copy())
        q = image / scale
        right = np.clip(np.rint(q) + zero, ends.min, ends.max)
        cast = image.astype(kind)
        c.that(
            made.fed is not None and made.ran > 0,
            tested="that the network ran",
            found="an interpreter that was not given an input, or not invoked",
            mistake="set the input and call invoke() before you read the output",
        )
        c.equal(
            made.fed.astype(int),
            right.astype(int),
            tested=f"what reaches an input of {np.dtype(kind)}, zero point {zero}",
            mistakes={
                "the floats were cast: quantize them with the input's scale and zero point": cast.astype(
                    int
                ),
                "the zero point of the input was not added": np.clip(
                    np.rint(q), ends.min, ends.max
                ).astype(int),
                "the pixels were scaled to 0 to 255 and shifted by 128: ask the file for its scale and zero point": np.clip(
                    np.rint(image * 255) - 128, ends.min, ends.max
                ).astype(int),
                "the values were cut off, not rounded": np.clip(
                    np.trunc(q) + zero, ends.min, ends.max
                ).astype(int),
                "the values were cut off after the shift, not rounded": np.trunc(
                    np.clip(q + zero, ends.min, ends.max)
                ).astype(int),
                "the values were rounded down, not to the nearest": np.clip(
                    np.floor(q) + zero, ends.min, ends.max
                ).astype(int),
                "the values were multiplied by the scale: divide": np.clip(
                    np.rint(image * scale) + zero, ends.min, ends.max
                ).astype(int),
                "values outside wrap around: clip before you convert": (
                    np.rint(q) + zero
                )
                .astype(np.int64)
                .astype(kind)
                .astype(int),
                "uint8 goes from 0 to 255: take the ends from the input's type": np.clip(
                    np.rint(q) + zero, -128, 127
                )
                .astype(np.int64)
                .astype(kind)
                .astype(int),
            },
        )
        raw = OUTPUT[np.dtype(kind)]
        c.close(
            np.asarray(got, dtype=float),
            s_out * (raw.astype(float) - z_out),
            1e-4,
            tested=f"what comes back from an output of {np.dtype(kind)}",
            mistakes={
                "the output was not dequantized: these are integers": raw.astype(float),
                "the zero point of the output was not subtracted": s_out
                * raw.astype(float),
                "the output was dequantized with the input's scale and zero point": scale
                * (raw.astype(float) - zero),
                "the zero point was added: subtract it": s_out
                * (raw.astype(float) + z_out),
                "the subtraction wrapped around in 8 bits: convert to float first": s_out
                * (raw - np.array(z_out, kind)).astype(kind).astype(float),
                "the zero point counts integers: subtract it before you multiply": s_out
                * raw.astype(float)
                - z_out,
            },
        )
    made = StandIn((np.float32, 0.0, 0), (np.float32, 0.0, 0))
    got = answer(made, image.copy())
    c.equal(
        made.fed,
        image,
        tested="that a float file gets the floats",
        mistakes={
            "what is float stays as it is: look at the type of the border": np.rint(
                image
            )
        },
    )
    c.equal(
        np.asarray(got, dtype=np.float32),
        OUTPUT[np.dtype(np.float32)],
        tested="that a float answer stays as it is",
        mistakes={
            "a float output has no scale; it is stated as 0, so everything became 0": np.zeros(
                (1, 5), np.float32
            )
        },
    )
    made = StandIn((np.float32, 0.0, 0), (np.int8, s_out, z_out))
    c.close(
        np.asarray(answer(made, image.copy()), dtype=float),
        s_out * (OUTPUT[np.dtype(np.int8)].astype(float) - z_out),
        1e-4,
        tested="a file with a float input and an int8 output",
        mistakes={
            "each border has a type of its own: ask the output for the output's": OUTPUT[
                np.dtype(np.int8)
            ].astype(float)
        },
    )


# %% tags=["check:answer"]
answer = check("answer", my_answer, by_hand.guarded_answer)


# %% [markdown]
# The whole test set through the real interpreter: with your function, and as it was published. LiteRT's own `set_tensor` refuses floats for an int8 input; how many
# ways around that are silent?


# %% tags=["setup"]
def open_interpreter(path):
    from ai_edge_litert import interpreter as litert

    with natively_silenced():
        opened = litert.Interpreter(model_path=str(path), num_threads=threads)
        opened.allocate_tensors()
    return opened


def cast_answer(interpreter, image):
    """The published function."""
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(into["index"], image.astype(into["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(out["index"])


# %%
interpreter = open_interpreter(files["int8"])
images = channels_last(test_x)
guarded = [
    int(np.argmax(answer(interpreter, image[None]))) for image in images
] == test_y
cast = [
    int(np.argmax(cast_answer(interpreter, image[None]))) for image in images
] == test_y
by = "LiteRT, int8 file"
fed = {
    "quantized": record("int8.guarded", quality.accuracy_reading(guarded, by)),
    "cast": record(
        "int8.cast", quality.accuracy_reading(cast, f"{by}, floats cast to int8")
    ),
}

# %%
guess_cast.against(fed["cast"])

# %% tags=["folded"]
title = "Accuracy: " + ", ".join(
    f"{reading.figure()} {name}" for name, reading in fed.items()
)
figure = ui.bars(
    list(fed), list(fed.values()), title, "accuracy in %", x="how the input was fed"
)
ui.show(figure, alt=f"Two bars. {title}.")
whose("answer")

# %% [markdown]
# Three ways to hand a float array to an int8 input, tried on the real interpreter:


# %%
def by_view(interpreter, image):
    interpreter.tensor(interpreter.get_input_details()[0]["index"])()[...] = image


def by_set_tensor(interpreter, image, convert=lambda x, dtype: x):
    into = interpreter.get_input_details()[0]
    interpreter.set_tensor(into["index"], convert(image, into["dtype"]))


def by_cast(interpreter, image):
    by_set_tensor(interpreter, image, convert=lambda x, dtype: np.array(x, dtype=dtype))


# %%
said = {}
for feed in (by_set_tensor, by_cast, by_view):
    try:
        feed(interpreter, images[:1])
        said[feed.__name__] = ""
    except ValueError as error:
        said[feed.__name__] = str(error).split(".")[0]
Table(
    "Floats for an int8 input",
    ("way", "what it says"),
    [(w, s or "nothing") for w, s in said.items()],
)


# %% tags=["finding:silent"]
def finding_silent(said, guarded, cast):
    quiet = [f"`{way}`" for way, words in said.items() if not words]
    loud = [f"`{way}`" for way, words in said.items() if words]
    text = f"Without a word: {listed(quiet) or 'none'}. "
    text += f"With an error: {listed(loud) or 'none'}. "
    lost = guarded.value - cast.value
    if lost > 1:
        return f"{text}What was cast cost {lost:.1f} points, and no message said so."
    return f"{text}What was cast cost nothing here, which is luck."


finding(finding_silent, said, fed["quantized"], fed["cast"])

# %% [markdown]
# ## The real tool
#
# ### Four files side by side
#
# The fourth file is **dynamic range**: weights in int8, everything else computed in float32 or quantized while it runs. It needs no data at all. And a fifth for the argument's sake: full
# int8, calibrated on random noise, as many examples do it.

# %%
converter = tf.lite.TFLiteConverter.from_keras_model(network)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
files["dynamic range"] = from_keras.save_converted(converter, work / "dynamic.tflite")
files["int8, noise"] = from_keras.save_converted(
    int8_converter(random_images), work / "noise.tflite"
)

# %%
right = {}
for name, path in files.items():
    with open_engine(path, threads=threads) as engine:
        right[name] = engine.predict(test_x).argmax(axis=1) == test_y
losses = {
    name: record(f"loss.{name}", quality.difference(right["float32"], hits).loss)
    for name, hits in right.items()
    if name != "float32"
}

# %%
size = {name: path.stat().st_size for name, path in files.items()}
Table(
    f"Five files of one network, {len(test_y):,} test images on LiteRT",
    ("file", "bytes", "times smaller", "accuracy", "points lost", "other answers"),
    [
        (
            name,
            size[name],
            size["float32"] / size[name],
            quality.accuracy_reading(hits, "LiteRT"),
            losses.get(name),
            int((hits != right["float32"]).sum()),
        )
        for name, hits in right.items()
    ],
)

# %%
guess_loss.against(losses["int8"])


# %% tags=["finding:files"]
def finding_files(losses):
    def said(name):
        return by_side(
            losses[name],
            0,
            above=f"{name} loses {{}}",
            below=f"{name} is even better, {{}}",
            unclear=f"{name} loses nothing that this test set can tell, {{}}",
        )

    text = "; ".join(said(name) for name in losses)
    return f"{text[0].upper()}{text[1:]}."


finding(
    finding_files, {name: losses[name] for name in ("float16", "dynamic range", "int8")}
)


# %% tags=["finding:noise"]
def finding_noise(loss, images, noise):
    text = f"The logits reach over a range of {images:.1f} on images and of {noise:.1f} on noise. "
    return text + by_side(
        loss,
        0,
        above="Calibrated on noise, the file loses {} more than calibrated on images.",
        below="Calibrated on noise, the file is even better here, {}.",
        unclear="Here the noise costs nothing that this test set can tell, {}.",
    )


noise_loss = record(
    "loss.noise_minus_images",
    quality.difference(right["int8"], right["int8, noise"]).loss,
)
finding(
    finding_noise, noise_loss, ends["logits of images"], ends["logits of random noise"]
)

# %% [markdown]
# ### And from PyTorch?
#
# The PyTorch network was traced with its channels first, and LiteRT's kernels want them last: the converter turns the image inside the file, with an operator TRANSPOSE that moves every
# pixel at every inference. `litert_torch.to_channel_last_io(model, args=[0])` moves the border instead: then the input of the file has its channels last. Look at the operators, and at whether the answers stay.

# %%
of_one = {"Keras": files["float32"]}
if beside:
    traced, turned = beside.files()
    of_one |= {"PyTorch, as traced": traced, "PyTorch, channels last": turned}
rows, same, turns, inside = [], {}, {}, {}
for name, path in of_one.items():
    seen = inside[name] = inspect_model(path)
    operators = {o["type"]: o["count"] for o in seen.operators()}
    with open_engine(path, threads=threads) as engine:
        found = engine.predict(test_x).argmax(axis=1)
    same[name] = found if name == "Keras" else int((found != same["Keras"]).sum())
    turns[name] = operators.get("TRANSPOSE", 0)
    share = quality.accuracy_reading(found == test_y, "LiteRT")
    shape = "x".join("?" if n is None else str(n) for n in seen.inputs[0].shape)
    rows.append(
        (name, shape, path.stat().st_size, sum(operators.values()), turns[name], share)
    )
columns = ("file", "input", "bytes", "operators", "TRANSPOSE", "accuracy")
Table(f"One network, float32, {len(test_y):,} test images", columns, rows)


# %% tags=["finding:torch"]
def finding_torch(turns, others, items):
    if len(turns) < 3:
        return "litert-torch is not installed here, so this part was left out."
    traced, turned = turns["PyTorch, as traced"], turns["PyTorch, channels last"]
    text = f"As traced, the file turns {traced} times, "
    text += f"with its channels last {'once' if turned == 1 else f'{turned} times'}. "
    if turned:
        text += "What stays stands before the dense layer, whose rows count the channels first. "
    if not any(others.values()):
        return f"{text}Both answer as the Keras file does on all {items:,} images."
    told = listed([f"{name} on {n}" for name, n in others.items()])
    return f"{text}Other answers than the Keras file's: {told} of {items:,} images."


others = {name: n for name, n in same.items() if name != "Keras"}
finding(finding_torch, turns, others, len(test_y))

# %% [markdown]
# ### How small, and against what?
#
# The claim goes: much smaller than the training checkpoint, half of it in float16, a quarter in int8. The checkpoint holds the optimiser's two moments for each weight as
# well. What a small network cannot shrink is the rest of the file: the graph, the names, the scales.

# %%
network.save(work / "checkpoint.keras")
checkpoint = (work / "checkpoint.keras").stat().st_size
by = "file sizes"
ratio = {
    "checkpoint": Reading(checkpoint / size["float32"], "x", "measured", by),
    "half": Reading(size["float32"] / size["float16"], "x", "measured", by),
    "int8": Reading(size["float32"] / size["int8"], "x", "measured", by),
}
ratio = {name: record(f"size.{name}", reading) for name, reading in ratio.items()}


# %% tags=["finding:overhead"]
def finding_overhead(weights, bytes_of):
    rest = {name: bytes_of[name] - weights[name] for name in weights}
    shares = {name: 100 * rest[name] / bytes_of[name] for name in weights}
    return (
        f"What is no weight takes {rest['float32']:,} bytes of the float32 file, "
        f"{shares['float32']:.0f} %, and {rest['int8']:,} bytes of the int8 file, {shares['int8']:.0f} %. "
        "The larger a network, the less this counts."
    )


inside |= {"float32": inside["Keras"], "int8": inspect_model(files["int8"])}
stored = {n: sum(inside[n].weight_bytes.values()) for n in ("float32", "int8")}
finding(finding_overhead, stored, size)

# %% [markdown]
# ### What is in the int8 file, and who runs it?
#
# The operators as the file lists them. **XNNPACK** is a library of kernels that LiteRT hands the graph to by default; without it the built-in kernels run everything.
# Both ways, both types, in turn:

# %%
display(inside["int8"])

# %%
contenders = {
    f"{name}, {'XNNPACK' if on else 'built-in'}": open_engine(
        files[name], threads, xnnpack=on
    )
    for name in ("float32", "int8")
    for on in (True, False)
}
race = latency.measure_latency(contenders, test_x[:1], runs=runs, warmup=20, seed=seed)
for engine in contenders.values():
    engine.close()
race

# %%
speed = {
    "XNNPACK, float32": race.speed_up("float32, XNNPACK", over="float32, built-in"),
    "XNNPACK, int8": race.speed_up("int8, XNNPACK", over="int8, built-in"),
    "int8, XNNPACK": race.speed_up("int8, XNNPACK", over="float32, XNNPACK"),
}
speed = {name: record(f"speed_up.{name}", reading) for name, reading in speed.items()}


# %% tags=["finding:xnnpack"]
def finding_xnnpack(float32, int8, types):
    told = {
        "above": "faster, {}",
        "below": "slower, {}",
        "unclear": "neither shown to be faster nor slower, {}",
    }
    return (
        f"XNNPACK against the built-in kernels: in float32 {by_side(float32, 1, **told)}; "
        f"in int8 {by_side(int8, 1, **told)}. "
        f"With XNNPACK int8 against float32: {by_side(types, 1, **told)}."
    )


finding(finding_xnnpack, *speed.values())

# %% [markdown]
# ### Is the file mapped, or copied?
#
# "Memory-mapped: loading needs no parse and no copy." A small file tells nothing, so take a large one: MobileNet as Keras has it, with random weights, which take as much
# memory as trained ones. A fresh process opens it, by path or from bytes, with XNNPACK or without, and counts **anonymous** memory: memory that is its own, so copies.

# %%
with natively_silenced():
    large = tf.keras.applications.MobileNet(weights=None)
converter = tf.lite.TFLiteConverter.from_keras_model(large)
mobilenet = from_keras.save_converted(converter, work / "mobilenet.tflite")
large_bytes = mobilenet.stat().st_size


# %%
def shown(count):
    return "not known here" if count is None else f"{100 * count / large_bytes:.0f} %"


tried = {
    ("path", "built-in"): loading(mobilenet, xnnpack=False),
    ("path", "XNNPACK"): loading(mobilenet),
    ("bytes", "built-in"): loading(mobilenet, xnnpack=False, from_bytes=True),
    ("bytes", "XNNPACK"): loading(mobilenet, from_bytes=True),
}

# %%
Table(
    f"Opening a file of {large_bytes:,} bytes: copies, as a share of the file",
    (
        "opened by",
        "kernels",
        "copied at opening",
        "copied until it can run",
        "opening ms",
        "rest ms",
    ),
    [
        (*how, shown(t.open_copied), shown(t.ready_copied), t.open_ms, t.ready_ms)
        for how, t in tried.items()
    ],
)


# %% tags=["setup"]
def share_of_file(count, what):
    """A share of the large file; in doubt where the system tells no copies apart."""
    doubt = "This system does not tell which memory is a copy." if count is None else ""
    share = 100 * (count or 0) / large_bytes
    return Reading(
        share, "%", "measured", f"LiteRT in a fresh process, {what}", doubt=doubt
    )


# %%
copied = {
    "opening": record(
        "copied.opening",
        share_of_file(tried["path", "XNNPACK"].open_copied, "opened by path"),
    ),
    "running": record(
        "copied.running",
        share_of_file(
            tried["path", "XNNPACK"].ready_copied, "by path, until it can run"
        ),
    ),
    "built-in": record(
        "copied.built_in",
        share_of_file(
            tried["path", "built-in"].ready_copied, "by path, built-in kernels"
        ),
    ),
}


# %% tags=["finding:mapped"]
def finding_mapped(opening, running, built_in):
    if opening.doubt:
        return (
            "This system does not tell which memory is a copy; on Linux it can be seen."
        )
    text = f"Opening by path copies {opening.figure()} of the file: it is "
    text += "mapped. " if opening.value < 5 else "not just mapped. "
    if running.value > 50:
        text += f"Before the first inference XNNPACK packs the weights anew, and then {running.figure()} is a copy; "
    else:
        text += f"Until it can run, {running.figure()} is a copy; "
    return f"{text}with the built-in kernels {built_in.figure()}."


finding(finding_mapped, copied["opening"], copied["running"], copied["built-in"])

# %% [markdown]
# ### Fast enough for a Raspberry Pi 4?
#
# A camera on a Raspberry Pi 4 leaves <span class="given" title="the task">50 ms</span> for an image. There is no such board here, so this lab cannot measure it. What can be said honestly has three parts. **Quoted**: XNNPACK's authors published times of MobileNets on a
# Pi 4. **Modelled**: how your network compares with MobileNet v1 on this machine, times their figure. **Measured**: by you, if you have the board.

# %%
published = {
    "MobileNet v1": 75,
    "MobileNet v2": 44,
    "MobileNet v3 large": 41,
    "MobileNet v3 small": 14,
}
source = "XNNPACK's README, Raspberry Pi 4 (BCM2711), all cores, float32, February 2020"
quoted = {name: Reading(ms, "ms", "quoted", source) for name, ms in published.items()}
pixels = generator.random((1, 3, 224, 224), dtype=np.float32)
with (
    open_engine(files["float32"], threads) as ours,
    open_engine(mobilenet, threads) as theirs,
):
    pair = {"your network": (ours, test_x[:1]), "MobileNet v1": (theirs, pixels)}
    scale_race = latency.measure_latency(pair, runs=24, warmup=2, seed=seed)
to_mobilenet = record(
    "time.to_mobilenet", scale_race.ratio("your network", "MobileNet v1")
)


# %% [markdown]
# The model: the Pi needs for your network the same share of MobileNet's time as this machine does. The published time used all four cores. A small network may gain as
# much from four cores as MobileNet did, or nothing: the band goes from the one to the other, a factor of 4, and the figure is its middle.


# %% tags=["setup"]
def on_a_pi(ratio, published_ms, cores=4):
    """Modelled milliseconds on the board with their band."""
    low, high = (
        (ratio.value, ratio.value) if ratio.low is None else (ratio.low, ratio.high)
    )
    by = f"{published_ms} ms of MobileNet v1 (quoted) times a ratio here, 1 to {cores} cores"
    middle = ratio.value * published_ms * math.sqrt(cores)
    ends = min(low * published_ms, middle), max(high * published_ms * cores, middle)
    return Reading(middle, "ms", "modelled", by, *ends, doubt=ratio.doubt)


# %%
pi = record("pi4.your_network", on_a_pi(to_mobilenet, published["MobileNet v1"]))
Table(
    "Time an image on a Raspberry Pi 4",
    ("network", "time", f"under {limit_ms} ms"),
    [
        (
            name,
            time,
            {"below": "yes", "above": "no"}.get(side_of(time, limit_ms), "cannot tell"),
        )
        for name, time in {**quoted, "your network": pi}.items()
    ],
)

# %% [markdown]
# Have the board? Copy the file over, run `uv run edgelab bench FILE.tflite --threads 4` there, write the p50 into `pi_ms` at the top, and run this cell again.


# %% tags=["finding:board"]
def finding_board(pi_ms, model):
    if not pi_ms:
        return f"No board was measured; the model says {model.figure()}, which is no measurement."
    inside = model.low <= pi_ms <= model.high
    return (
        f"You measured {pi_ms:g} ms; the model's band, {model.low:.3g} to {model.high:.3g} ms, "
        + (
            "holds it."
            if inside
            else "does not hold it, so the model is wrong for your board."
        )
    )


finding(finding_board, pi_ms, pi)

# %% [markdown]
# ### Would an Edge TPU take it?
#
# Coral publishes a list of the operators that its Edge TPU runs, in 8-bit integers only. The first operator that is not on it, and **everything behind it**, stays on the
# CPU. Hold the int8 file against the list:

# %%
edge_tpu_coverage(files["int8"])

# %% [markdown]
# Look at the row `SHAPE`. The network was built for any number of images, so the file computes the shape for `Flatten` while it runs, in int32. A fixed batch takes these
# operators away. The converter does it from a network whose input says `batch_shape=(1, ...)`:

# %%
one_image = tf.keras.Sequential(
    [tf.keras.Input(batch_shape=(1, 32, 32, 3)), *network.layers]
)
files["int8, batch 1"] = from_keras.save_converted(
    int8_converter(representative, one_image), work / "int8-one.tflite"
)
edge_tpu_coverage(files["int8, batch 1"])

# %% [markdown]
# ## Explore
#
# **What the network sees.** Choose a scale for the input and see what a sign looks like to the int8 network, quantized and cast.
#
# - Which pixels survive the cast?
# - At which scale does the quantized sign start to suffer, and on which side?
#
# <details><summary>Discussion</summary>
#
# Only pixels of exactly 1.0 survive a cast; all others become 0. Had the training data been scaled from 0 to 255, the cast would keep half of them and wrap the others round. With a scale too
# small, bright pixels saturate: the largest integer stands for less than 1.0. With one too large, few integers are left for the range, and steps appear.
#
# </details>


# %%
def seen_by_network(scale_percent, fed):
    step = scale_percent / 100 / 255
    integers = np.clip(np.rint(four / step) - 128, -128, 127)
    if fed == "cast":
        integers = four.astype(np.int8)
    back = np.clip(np.moveaxis(step * (integers.astype(np.float32) + 128), -1, 1), 0, 1)
    return ui.images_by(back, np.arange(len(four)), names)


ui.Panel(
    seen_by_network,
    title="What the int8 network sees",
    scale_percent=ui.slider(20, 400, 20, value=100, label="scale, in percent of 1/255"),
    fed=ui.choice(["quantized", "cast"], value="quantized", label="fed"),
)

# %% [markdown]
# **Where the bytes are.** Choose a file. Which tensors shrink to a quarter, and which do not?
#
# <details><summary>Discussion</summary>
#
# Kernels shrink to a quarter. Biases do not: they are added to sums of products and stay in 32 bits. In the file with dynamic range even some kernels stay float32, because the converter leaves
# small tensors alone. Scales are no buffers; they lie in the tables of the tensors.
#
# </details>


# %%
def bytes_of(name):
    content = files[name].read_bytes()
    buffers, shapes = weights_in(content), shapes_in(content)
    places = sorted(buffers, key=lambda place: -len(buffers[place]))[:6]
    labels = [f"{shapes.get(place, 'other')} (buffer {place})" for place in places]
    title = f"{name}: {len(content):,} bytes"
    return ui.bars(
        labels, [len(buffers[p]) for p in places], title, "bytes", horizontal=True
    )


ui.Panel(
    bytes_of,
    title="Where the bytes are",
    alt="Bars of the largest buffers of one file.",
    name=ui.choice(list(files), value="float32", label="file"),
)

# %% [markdown]
# **How many items, and which?** The range of the logits, and so the output's scale, as your function finds it. How many images does it take until the range stands still? What does noise show the converter?
#
# <details><summary>Discussion</summary>
#
# The range can only grow, and it grows in jumps: one image with a very sure answer sets it. Most of it is there after a few dozen images, which is why 100 to 200 are usually asked for. Noise looks like
# no sign at all. All noise images look alike to the network, so it shows a small part of what the activations can do, and real activations are then cut off at its edge.
#
# </details>


# %%
def items_and_range(items, kind):
    values = logits[kind][:items]
    width = 255 * mapping(values)[0]
    title = f"{items} items: range {width:.1f}, one step {width / 255:.3f}"
    return ui.histogram({kind: values.ravel()}, title, "logit", bins=30)


ui.Panel(
    items_and_range,
    title="Representative items",
    alt="Histogram of the logits of the items.",
    items=ui.slider(5, 100, 5, value=20, label="items"),
    kind=ui.choice(list(logits), value="of images", label="logits"),
)

# %% [markdown]
# ## Claims
#
# What the field says, held against what you measured.

# %%
claim("T1", checkpoint=ratio["checkpoint"], half=ratio["half"], int8=ratio["int8"])

# %%
claim("T2", opening=copied["opening"], running=copied["running"])

# %%
silent = Reading(
    sum(not words for words in said.values()), "ways", "measured", "LiteRT's Python"
)
cast_loss = quality.difference(guarded, cast).loss
claim("Q13", loss=record("loss.cast", cast_loss), silent=record("ways.silent", silent))

# %%
claim("Q16", noise_loss)

# %% [markdown]
# ## Challenge
#
# The device has room for a file of <span class="given" title="the task">18,000 bytes</span>, and the road authority asks about the **worst** class: at least
# <span class="given" title="the task">35 %</span> right on the validation images, on LiteRT. A narrower network makes a smaller file and forgets the rare animals first; what helps the rare class
# costs the others. Make a `.tflite` file that meets both. `build`, `train` and `int8_converter` are yours to use; `train` takes a `class_weight`.


# %% tags=["challenge:small", "hidden"]
def reference():
    """A narrower network, trained with more weight on the rare class, in int8."""
    path = work / "reference.tflite"
    if not path.exists():
        tf.keras.utils.set_random_seed(seed)
        weight = {c: 10.0 if names[c] == "animals" else 1.0 for c in range(len(names))}
        narrow = train(build(width=8), 8, class_weight=weight)
        from_keras.save_converted(int8_converter(representative, narrow), path)
    return path


# %% tags=["challenge:small"]
# `your_file`: the path of a .tflite file that takes the signs of this lab
### BEGIN SOLUTION
your_file = reference()
### GIVEN
# your_file = None
### END SOLUTION


# %%
def measured(path):
    with open_engine(path, threads=threads) as engine:
        hits = engine.predict(val_x).argmax(axis=1) == val_y
    worst = min(range(len(names)), key=lambda c: hits[val_y == c].mean())
    by = f"LiteRT, validation, {names[worst]}"
    file = Reading(Path(path).stat().st_size, "bytes", "measured", "size of the file")
    return {
        "file": file,
        "worst class": quality.accuracy_reading(hits[val_y == worst], by),
    }


challenge(
    "small",
    your_file,
    measured,
    Target("file", at_most=18_000, unit="bytes"),
    # Seeds 0 to 9: the reference reached 58 55 61 39 55 49 58 45 48 53 %;
    # without the class weight it was 1 % at seed 3 and 12 % at seed 5
    Target("worst class", at_least=35.0, unit="%"),
)

# %% [markdown]
# ## Bring your own
#
# `my_model` takes any `.tflite` file, `my_data` an `.npz` with `x` (float32, channels first, scaled as in training) and `y`. You see what the file holds, how accurate it is when it is fed as it should be, and
# what the cast would have cost. Leave them empty and this section runs on the lab's int8 file. Later, in a terminal: `uv run edgelab inspect FILE.tflite`.

# %%
own_file = Path(my_model).expanduser() if my_model else files["int8"]
report = inspect_model(own_file)
report

# %%
own = load_arrays(Path(my_data).expanduser()) if my_data else None
own_x, own_y = (
    (test_x[:400], test_y[:400]) if own is None else (own.x[:400], own.y[:400])
)
with open_engine(own_file, threads=threads) as engine:
    own_right = engine.predict(own_x).argmax(axis=1) == own_y
rows = [("fed as it should be", quality.accuracy_reading(own_right, engine.name))]
if report.inputs[0].dtype in ("int8", "uint8"):
    whole = np.rint(own_x.astype(report.inputs[0].dtype)).astype(np.float32)
    read = report.inputs[0].scale * (whole - report.inputs[0].zero_point)
    with open_engine(own_file, threads=threads) as engine:
        cast_right = engine.predict(read.astype(np.float32)).argmax(axis=1) == own_y
    rows.append(
        (
            "cast",
            quality.accuracy_reading(cast_right, f"{engine.name}, what a cast feeds"),
        )
    )
Table(f"{own_file.name}, {len(own_y)} items", ("input", "accuracy"), rows)

# %% [markdown]
# ## What you found
#
# Made from the readings of this run, on this machine.


# %% tags=["finding:recap"]
def finding_recap(bytes_of, loss, cast, noise):
    small = min(bytes_of, key=bytes_of.get)
    lost = {"above": "loses {}", "below": "gains, {}"}
    lost = by_side(loss, 0, unclear="loses nothing that can be told, {}", **lost)
    more = {"above": "loses {} more", "below": "is even better, {}"}
    more = by_side(noise, 0, unclear="was not shown to lose more, {}", **more)
    return (
        f"The smallest file is `{small}`, {bytes_of[small]:,} bytes; full int8 {lost}; "
        f"calibrated on noise it {more}. Fed with cast floats it is right on {cast.figure()} "
        "of the images, and says nothing."
    )


four_files = {n: size[n] for n in ("float32", "float16", "dynamic range", "int8")}
finding(finding_recap, four_files, losses["int8"], fed["cast"], noise_loss)


# %% tags=["finding:pi"]
def finding_pi(model, quoted, limit):
    under = [name for name, reading in quoted.items() if reading.value < limit]
    text = f"On a Raspberry Pi 4, by published figures, less than {limit} ms is what {listed(under)} take; "
    if not under:
        text = f"On a Raspberry Pi 4, by published figures, none of the MobileNets stays under {limit} ms; "
    return text + by_side(
        model,
        limit,
        below="for your network a model says {}, which lies below it throughout.",
        above="for your network a model says {}, which lies above it.",
        unclear="for your network a model says {}, which does not decide it.",
    )


finding(finding_pi, pi, quoted, limit_ms)

# %% [markdown]
# And what holds on every machine:
#
# - A flatbuffer is read by following offsets. What lies in the file can be used where it lies, until a kernel library wants it packed differently.
# - float16 halves the weights and rounds each by less than a thousandth part; int8 quarters them and needs real data.
# - An int8 input has a scale and a zero point. A cast is no conversion; guard the border, and test the guard with one real image.
# - Before you blame quantization, feed the int8 file as it should be fed.
# - A figure from another board is quoted or modelled until somebody measures it.
#
# ## Sources
#
# - The schema of the file: [tensorflow/lite/schema/schema.fbs](https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/schema/schema.fbs); FlatBuffers,
#   [internals](https://flatbuffers.dev/internals/) (tables and vtables).
# - LiteRT, [post-training quantization](https://ai.google.dev/edge/litert/models/post_training_quantization) and
#   [the 8-bit quantization specification](https://ai.google.dev/edge/litert/models/quantization_spec).
# - IEEE 754, *Standard for Floating-Point Arithmetic*, 2019: [doi:10.1109/IEEESTD.2019.8766229](https://doi.org/10.1109/IEEESTD.2019.8766229) (binary16).
# - Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*, 2018:
#   [arXiv:1712.05877](https://arxiv.org/abs/1712.05877).
# - Howard et al., *MobileNets*, 2017: [arXiv:1704.04861](https://arxiv.org/abs/1704.04861) (the network of the large file).
# - litert-torch, [README](https://github.com/google-ai-edge/litert-torch) (PyTorch to `.tflite`, and the layout of inputs).
# - XNNPACK, [README](https://github.com/google/XNNPACK#raspberry-pi) (times on Raspberry Pi boards).
# - Coral, [models on the Edge TPU](https://coral.ai/docs/edgetpu/models-intro/#supported-operations) (supported operations).
