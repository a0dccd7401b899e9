# ---
# jupyter:
#   edgelab:
#     title: "Distillation: what a large network can pass on"
#     minutes: 120
#     memory_gb: 3
#     requires: [torch, onnxruntime]
#     form: 2
#     claims: [D1, D2, D3, D4]
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
# # 04 Distillation: what a large network can pass on
#
# A small network fits the device and makes more mistakes than a large one. **Can the large one teach the small one, and what exactly does it pass on that the labels
# do not say?** You write the losses of distillation, one after another, train a student with them, mend a published training loop that teaches nothing, look into the attention of a small transformer and take heads
# out of it, and find out how much each loss is worth when everything is counted: also what the teacher saw and the student did not.
#
# You need: to know what a softmax and a cross-entropy are. No network, no GPU. The cells run in about a minute; with the exercises it is an afternoon.
# What takes longer than that was trained ahead, with several seeds each; such figures say with how many, when and on which machine.

# %% tags=["parameters"]
seed = 0
threads = 1
temperature = 4.0
alpha = 0.9  # share of the soft targets in the loss
wrong = 0.4  # share of the labels that are wrong in the live experiment
items = 2000  # training images of the live experiment
epochs = 6
runs = 60  # timed inferences of each contender
my_data = ""  # bring your own: an .npz file with x (float32, channels first), y, group
my_teacher = ""  # bring your own: an .onnx file that takes x and gives logits

# %% tags=["setup", "folded"]
import copy
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from IPython.display import display

from edgelab import Reading, Table, data, nets, record, ui
from edgelab.slim import distill as plain
from edgelab.slim.distill_training import ask
from edgelab.compress.ptq import quantize_dynamic
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
from edgelab.data.logs import decode
from edgelab.engines import open_engine
from edgelab.measure import latency, quality
from edgelab.nets import text
from edgelab.ahead import distill_figures, distill_text
from edgelab.toolbox import TeacherFile, distill
from edgelab.ahead.distill_readings import FEATURES, MadeAhead

begin("distillation")
torch.set_num_threads(threads)
folder = TemporaryDirectory()
work = Path(folder.name)

# %% tags=["folded"]
ui.pipeline(
    [
        ("images", "with or without labels"),
        ("teacher", "large, already trained"),
        ("soft targets", "kept, one row an image"),
        ("student", "small, learns from both"),
        ("file", "what the device runs"),
    ],
    "From a teacher to a student",
    marked=["soft targets"],
)

# %% [markdown]
# The task: road signs of 32 x 32 pixels in ten classes, the teacher a network that has seen all training images with their labels. The student is the same kind of
# network with fewer channels.

# %% tags=["setup"]
signs = data.signs(seed=seed)
teacher = nets.load("signs_dscnn")
train = signs.train.take(np.arange(items))
images = torch.from_numpy(train.x).to(memory_format=torch.channels_last)
labels = torch.from_numpy(train.y)

# %%
untrained = distill_figures.new_student(seed)
Table(
    "Who teaches whom",
    ("network", "parameters", "multiply-accumulates of one image"),
    [
        (name, nets.count_parameters(net), nets.count_macs(net, (3, 32, 32)).macs)
        for name, net in {"teacher": teacher, "student": untrained}.items()
    ],
)

# %% [markdown]
# The teacher is asked once: its logits for every training image are kept in a table, one row an image. While the student learns, the teacher does not run at all. That is
# right as long as the images stay as they are. Where a batch is augmented, the teacher has to see the same augmented batch.

# %% tags=["setup"]
teacher_logits = ask(teacher, train.x).logits
test_logits = ask(teacher, signs.test.x).logits
teacher_right = test_logits.numpy().argmax(axis=1) == signs.test.y

# %%
record(
    "accuracy.teacher", quality.accuracy_reading(teacher_right, "PyTorch, the teacher")
)

# %% [markdown]
# ## Predict
#
# Commit before you look. In the live experiment many training labels are wrong, and the student trains once with the labels alone and once with the teacher's soft targets.

# %%
guess_gain = ui.predict(
    "How many points of accuracy does the student gain from the soft targets?",
    unit="points",
    low=-5.0,
    high=40.0,
)
guess_gain

# %%
guess_same = ui.predict(
    "On how many percent of the test images does the student then answer as its teacher does?",
    unit="%",
    low=20.0,
    high=100.0,
)
guess_same

# %% [markdown]
# ## From scratch
#
# ### What does the teacher say besides its answer?
#
# A label says "speed 30" and nothing else. A trained network says more: "speed 30; it could be an 80, and it is certainly no stop sign". That "more" is small in the probabilities,
# because a softmax makes the largest logit win. A **temperature** $T$ brings it back. Three logits by hand: 4, 2 and 0.


# %%
def by_hand(t):
    powers = np.exp(np.array([4.0, 2.0, 0.0]) / t)
    first, second, third = powers / powers.sum()
    row = {"T": t, "4 / T": 4 / t, "first": first, "second": second, "third": third}
    return row | {"second over third": second / third}


ui.worked_table(
    [by_hand(t) for t in (1.0, 2.0, 4.0, 20.0)], "One row, four temperatures"
)

# %% [markdown]
# $$ p_i = \frac{e^{z_i / T}}{\sum_j e^{z_j / T}} $$
#
# At $T = 1$ this is the usual softmax; the higher $T$, the closer the probabilities come to each other, and their **order** never changes. One detail decides whether your
# function survives real logits: $e^{1000}$ is infinite in every float. Subtracting the largest logit from all of them changes no probability and keeps every exponent at or below 0.


# %% tags=["exercise:soft_targets"]
def my_soft_targets(logits, temperature=1.0):
    """Probabilities (N, classes) of a tensor of logits (N, classes) at a temperature."""
    # TODO: the formula above, without torch's softmax; large logits must survive.
    ### BEGIN SOLUTION
    z = logits / temperature
    powers = torch.exp(z - z.max(dim=1, keepdim=True).values)
    return powers / powers.sum(dim=1, keepdim=True)
    ### END SOLUTION


# %% [markdown] tags=["hints:soft_targets"]
# 1. Divide first. Then the sum in the formula runs over the classes of one item, which is dimension 1; `keepdim=True` keeps it divisible.
# 2. `z.max(dim=1, keepdim=True).values` is the largest logit of each item. Subtract it before `torch.exp`.
# 3. `powers = torch.exp(z - z.max(dim=1, keepdim=True).values)`, then `powers / powers.sum(dim=1, keepdim=True)`.


# %% tags=["check:soft_targets", "hidden"]
@checks("soft_targets")
def _(c, soft_targets):
    for t in (3.0, 1.0, 0.5):
        z = torch.from_numpy(c.rng.normal(0, 3, (5, 4)))
        got = soft_targets(z.clone(), t)
        c.equal(
            got,
            torch.softmax(z / t, dim=1),
            tested=f"five rows of logits at temperature {t:g}",
            mistakes={
                "the temperature is ignored": torch.softmax(z, dim=1),
                "the logits were multiplied by the temperature: divide": torch.softmax(
                    z * t, dim=1
                ),
                "the probabilities were divided by the temperature: divide the logits": torch.softmax(
                    z, dim=1
                )
                / t,
                "the sum runs over the items: it runs over the classes, dimension 1": torch.softmax(
                    z / t, dim=0
                ),
                "the sum runs over everything: each item has probabilities of its own": torch.softmax(
                    (z / t).ravel(), dim=0
                ).reshape(z.shape),
                "these are logarithms of probabilities": torch.log_softmax(
                    z / t, dim=1
                ),
                "these are the powers: divide them by their sum": torch.exp(z / t),
            },
        )
        c.that(
            isinstance(got, torch.Tensor),
            tested="that a tensor comes back, so that gradients can flow",
            found=type(got).__name__,
            mistake="stay with tensors: numpy ends the gradient",
        )
    leaf = torch.from_numpy(c.rng.normal(0, 3, (5, 4))).requires_grad_()
    c.that(
        soft_targets(leaf, 2.0).requires_grad,
        tested="that the gradient reaches the logits",
        found="probabilities without a gradient",
        mistake="leave the logits attached: no detach(), no no_grad()",
    )
    large = torch.tensor([[1000.0, 998.0, 0.0], [-900.0, -901.0, -905.0]]).double()
    found = soft_targets(large.clone(), 1.0)
    c.that(
        torch.isfinite(found).all(),
        tested="logits of 1000 and of -900",
        found=found,
        mistake="the exponential of a large logit is infinite, and all are 0 where every logit is far below 0: subtract the largest of each item first",
    )
    c.close(
        found,
        torch.softmax(large, dim=1),
        1e-9,
        tested="the probabilities of logits of 1000 and of -900",
    )


# %% tags=["check:soft_targets"]
soft_targets = check("soft_targets", my_soft_targets, plain.soft_targets)

# %% [markdown]
# Your function on real images: those of the test set on which the teacher is right, and least sure. Each card shows the label, which says one word, and the teacher's soft targets.

# %%
softened = soft_targets(test_logits, temperature).numpy()
unsure = np.flatnonzero(teacher_right)
unsure = unsure[np.argsort(softened[unsure].max(axis=1))[:: len(unsure) // 60][:6]]
title = f"What the teacher knows that the label does not, T = {temperature:g}"
shown = signs.test.take(unsure)
display(
    ui.soft_targets(shown.x, softened[unsure], shown.y, signs.class_names, title=title)
)
whose("soft_targets")

# %% [markdown]
# The mean over all images of a class shows what the network has found out about the **classes**: which ones resemble each other. No label holds that. This is what Hinton called *dark
# knowledge*.

# %%
by_class = np.array(
    [softened[signs.test.y == k].mean(axis=0) for k in range(signs.classes)]
)
names = list(signs.class_names)
off = by_class - np.diag(np.diag(by_class))
row, column = np.unravel_index(off.argmax(), off.shape)

# %% tags=["folded"]
title = f"Most alike to the teacher: {names[row]} looks like {names[column]}"
figure = ui.heatmap(
    by_class,
    title,
    "class that the teacher gives it to",
    "class of the image",
    x_labels=names,
    y_labels=names,
    unit="mean soft target",
)
ui.show(figure, alt=f"Ten by ten mean soft targets. {title}.")

# %% [markdown]
# **Before you go on.** At which temperature does the table hold the most? At 1 it is nearly the labels again, at 100 all of its numbers are the same.
#
# <details><summary>Discussion</summary>
#
# Neither end teaches anything beyond the label. In between, the small logits get a say. A student that is much smaller than its teacher cannot follow every fine difference, and a lower
# temperature, which leaves the very small ones out, then often does as well. It is a dial, and it is set on validation data.
#
# </details>
#
# ### How far is the student from its teacher?
#
# Two rows of probabilities: $p$ of the teacher, $q$ of the student. The **Kullback-Leibler divergence** counts, in nats, what it costs to believe $q$ where $p$ is true. Two classes by hand:


# %%
def divergence(p, q):
    parts = [a * np.log(a / b) for a, b in zip(p, q)]
    words = {"teacher": f"{p[0]:g}, {p[1]:g}", "student": f"{q[0]:g}, {q[1]:g}"}
    return words | {"first": parts[0], "second": parts[1], "sum": sum(parts)}


pairs = [((0.8, 0.2), (0.8, 0.2)), ((0.8, 0.2), (0.5, 0.5)), ((0.5, 0.5), (0.8, 0.2))]
ui.worked_table(
    [divergence(p, q) for p, q in pairs], "Divergence from teacher to student"
)

# %% [markdown]
# It is 0 where both agree, never below, and **not the same in both directions**. The loss takes both at temperature $T$ and multiplies by $T^2$:
#
# $$ L_{\mathrm{KD}} = T^2 \cdot \frac{1}{N} \sum_{n} \sum_i p_{ni} \log \frac{p_{ni}}{q_{ni}}, \qquad \frac{\partial L_{\mathrm{KD}}}{\partial z_{ni}} = \frac{T}{N}\,(q_{ni} - p_{ni}) $$
#
# Why $T^2$? The gradient of the divergence alone is $(q - p)/T$, and for a high $T$ the difference $q - p$ shrinks like $1/T$ as well. Together they fall like $1/T^2$. Without
# the factor, turning up the temperature would turn the teacher off, and nothing would say so. The mean runs over the **items**, not over the classes.


# %% tags=["exercise:kd_loss"]
def my_kd_loss(student, teacher, temperature):
    """The loss above of two tensors of logits (N, classes); no gradient for the teacher."""
    # TODO: both at the temperature, teacher to student, summed over classes, mean over items.
    ### BEGIN SOLUTION
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher.detach() / temperature, dim=1)
    each = (log_p.exp() * (log_p - log_q)).sum(dim=1)
    return temperature**2 * each.mean()
    ### END SOLUTION


# %% [markdown] tags=["hints:kd_loss"]
# 1. You need p, log p and log q. `F.log_softmax(z / T, dim=1)` gives logarithms that stay finite; its exponential is the probability.
# 2. The sum over the classes comes before the mean over the items. `teacher.detach()` keeps the gradient away from the teacher.
# 3. `temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1).mean()`


# %% tags=["check:kd_loss", "hidden"]
@checks("kd_loss")
def _(c, kd_loss):
    def right(z, t, temperature, t_teacher=None, power=2):
        a = torch.log_softmax(z / temperature, dim=1)
        b = torch.log_softmax(t / (t_teacher or temperature), dim=1)
        return temperature**power * (b.exp() * (b - a)).sum(dim=1).mean()

    for temperature in (3.0, 1.5):
        z, t = (torch.from_numpy(c.rng.normal(0, 2, (6, 5))) for _ in range(2))
        a = torch.log_softmax(z / temperature, dim=1)
        b = torch.log_softmax(t / temperature, dim=1)
        whole = right(z, t, temperature)
        leaf, theirs = z.clone().requires_grad_(), t.clone().requires_grad_()
        got = kd_loss(leaf, theirs, temperature)
        c.close(
            got,
            whole.item(),
            1e-9,
            tested=f"the loss at temperature {temperature:g}",
            mistakes={
                "the factor T squared is missing": whole.item() / temperature**2,
                "the factor is T squared, and only T was taken": whole.item()
                / temperature,
                "the direction is wrong: the teacher's probabilities weigh the logarithms": right(
                    t, z, temperature
                ).item(),
                "the mean runs over the classes, too: sum over the classes, then mean over the items": whole.item()
                / 5,
                "this is the sum over the items: take the mean": whole.item() * 6,
                "the temperature is ignored": right(z, t, 1.0).item(),
                "the temperature is ignored, but for the factor": right(
                    z, t, 1.0
                ).item()
                * temperature**2,
                "only the student was softened: the teacher needs the same temperature": right(
                    z, t, temperature, 1.0
                ).item(),
                "only the teacher was softened: the student needs the same temperature": right(
                    z * temperature, t, temperature
                ).item(),
                "the softmax runs over the items: it runs over the classes, dimension 1": right(
                    z.T, t.T, temperature
                ).item()
                * 5
                / 6,
                "both directions were averaged: the loss goes from teacher to student": (
                    right(z, t, temperature) + right(t, z, temperature)
                ).item()
                / 2,
                "this is the cross-entropy with the soft targets: subtract the teacher's own, or a perfect student still has a loss": -(
                    temperature**2
                )
                * (b.exp() * a).sum(dim=1).mean().item(),
                "the sign is wrong: a divergence is never below 0": -whole.item(),
                "this is a squared difference of probabilities, not a divergence": (
                    temperature**2 * (a.exp() - b.exp()).pow(2).sum(dim=1).mean()
                ).item(),
                "the student's probability was taken for its logarithm: torch's kl_div wants log-probabilities first": (
                    temperature**2 * (b.exp() * (b - a.exp())).sum(dim=1).mean()
                ).item(),
            },
        )
        c.that(
            isinstance(got, torch.Tensor) and got.requires_grad,
            tested="that the gradient reaches the student",
            found="a loss without a gradient",
            mistake="detach the teacher alone, and stay with tensors",
        )
        got.backward()
        c.close(
            leaf.grad,
            temperature * (a.exp() - b.exp()) / 6,
            1e-7,
            tested="the gradient of the student's logits, T (q - p) / N",
        )
        c.that(
            theirs.grad is None or not theirs.grad.any(),
            tested="that no gradient reaches the teacher",
            found="a gradient in the teacher's logits",
            mistake="the teacher is not detached: it would learn to agree with the student",
        )
    sure = torch.tensor([[2000.0, 0.0, -500.0]]).double()
    far = kd_loss(sure.flip(1).clone(), sure.clone(), 1.0)
    c.that(
        torch.isfinite(torch.as_tensor(far)).all(),
        tested="a very sure teacher and a student that is as sure of something else",
        found=far,
        mistake="the logarithm of a probability that was rounded to 0 is infinite: take F.log_softmax of the logits",
    )
    c.close(
        far,
        2500.0,
        1e-6,
        tested="how large the loss of these two is",
        mistakes={
            f"a tiny number ({tiny:g}) inside the logarithm cuts the loss off, and its gradient with it: take F.log_softmax of the logits": -np.log(
                tiny
            )
            for tiny in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16)
        },
    )


# %% tags=["check:kd_loss"]
kd_loss = check("kd_loss", my_kd_loss, plain.kd_loss)

# %% [markdown]
# The figure asks your function how hard it pulls at the logits of the untrained student, with the factor and with the factor taken out again.


# %%
def pull(t):
    """Mean size of the gradient at a logit of the untrained student, per item."""
    leaf = untrained_logits.clone().requires_grad_()
    kd_loss(leaf, teacher_logits[:256], float(t)).backward()
    return len(leaf) * leaf.grad.abs().mean().item()


untrained_logits = torch.from_numpy(nets.predict_logits(untrained, train.x[:256]))
heat = np.array([1, 1.5, 2, 3, 4, 6, 8, 12, 16, 20])
pulled = np.array([pull(t) for t in heat])

# %% tags=["folded"]
series = {"with T squared": (heat, pulled), "without": (heat, pulled / heat**2)}
change, bare = pulled[-1] / pulled[0], pulled[-1] / pulled[0] / heat[-1] ** 2
title = f"From T = 1 to {heat[-1]:g} the pull becomes {change:.2g} times as strong"
title += f", without the factor {bare:.2g} times"
figure = ui.lines(series, title, "temperature", "mean size of the gradient", log_y=True)
ui.show(figure, alt=f"Two curves over the temperature. {title}.")
whose("kd_loss")

# %% [markdown]
# **Before you go on.** The gradient is $T (q - p) / N$. What does it become when $T$ is very large?
#
# <details><summary>Discussion</summary>
#
# For small $z/T$ the softmax is nearly $(1 + z/T)/C$ with $C$ classes, so $q - p \approx (z - t)/(C T)$ for logits whose mean is 0, and the gradient becomes $(z - t)/(C N)$: it no longer depends on
# $T$, and distillation has turned into matching logits by least squares.
#
# </details>
#
# ### And the labels?
#
# The teacher makes mistakes too. Where a true label is at hand, it should have a say. The usual loss is a mixture with a share $\alpha$. By hand, for one image whose soft part is
# 0.6 and whose cross-entropy with the label is 1.4:

# %%
ui.worked_table(
    [
        {
            "alpha": a,
            "soft part": a * 0.6,
            "hard part": (1 - a) * 1.4,
            "loss": a * 0.6 + (1 - a) * 1.4,
        }
        for a in (0.0, 0.5, 0.9, 1.0)
    ],
    "One image, four mixtures",
)

# %% [markdown]
# $$ L = \alpha\, L_{\mathrm{KD}} + (1 - \alpha)\, L_{\mathrm{CE}}(z, y) $$
#
# The hard part $L_{\mathrm{CE}}$ takes the student's logits **as they are**, at temperature 1, because that is how the device will use them.


# %% tags=["exercise:mixed_loss"]
def my_mixed_loss(student, teacher, labels, temperature, alpha):
    """alpha of your kd_loss and 1 - alpha of the cross-entropy with the labels (N,)."""
    # TODO: two parts and their weights.
    ### BEGIN SOLUTION
    soft = kd_loss(student, teacher, temperature)
    hard = F.cross_entropy(student, labels)
    return alpha * soft + (1 - alpha) * hard
    ### END SOLUTION


# %% [markdown] tags=["hints:mixed_loss"]
# 1. `kd_loss` is the function of the step before, with the factor inside. `F.cross_entropy(logits, labels)` is the hard part.
# 2. alpha weighs the soft part. The factor T squared is in there once; do not multiply again.
# 3. `alpha * kd_loss(student, teacher, temperature) + (1 - alpha) * F.cross_entropy(student, labels)`


# %% tags=["check:mixed_loss", "hidden"]
@checks("mixed_loss")
def _(c, mixed_loss):
    for temperature, share in ((3.0, 0.7), (2.0, 0.2)):
        z, t = (torch.from_numpy(c.rng.normal(0, 2, (6, 5))) for _ in range(2))
        y = torch.from_numpy(c.rng.integers(0, 5, 6))
        soft = plain.kd_loss(z, t, temperature).item()
        hard = F.cross_entropy(z, y).item()
        warm = F.cross_entropy(z / temperature, y).item()
        leaf = z.clone().requires_grad_()
        got = mixed_loss(leaf, t.clone(), y.clone(), temperature, share)
        c.close(
            got,
            share * soft + (1 - share) * hard,
            1e-9,
            tested=f"temperature {temperature:g}, alpha {share:g}",
            mistakes={
                "the weights are the wrong way round: alpha weighs the soft targets": (
                    1 - share
                )
                * soft
                + share * hard,
                "the hard part was softened, too: it takes the logits as they are": share
                * soft
                + (1 - share) * warm,
                "the parts were added without the weight of the hard one": share * soft
                + hard,
                "the parts were added without weights": soft + hard,
                "T squared is in the loss twice": share * temperature**2 * soft
                + (1 - share) * hard,
                "the factor T squared got lost": share * soft / temperature**2
                + (1 - share) * hard,
                "the labels are missing": share * soft,
                "student and teacher were swapped in kd_loss: the student stands first": share
                * plain.kd_loss(t, z, temperature).item()
                + (1 - share) * hard,
                "kd_loss did not get the temperature": share
                * plain.kd_loss(z, t, 1.0).item()
                + (1 - share) * hard,
                "T squared stands before the hard part, too": share * soft
                + (1 - share) * temperature**2 * hard,
                "the whole sum was multiplied by T squared: the soft part alone has it, inside kd_loss": temperature
                ** 2
                * (share * soft + (1 - share) * hard),
                "F.cross_entropy takes logits, and got probabilities": share * soft
                + (1 - share) * F.cross_entropy(z.softmax(dim=1), y).item(),
                "the hard part is a sum over the items: take the mean": share * soft
                + (1 - share) * hard * 6,
                "the hard part judges the teacher: it is the student that learns": share
                * soft
                + (1 - share) * F.cross_entropy(t, y).item(),
                "the hard part compares with the teacher's answer: the label is y": share
                * soft
                + (1 - share) * F.cross_entropy(z, t.argmax(dim=1)).item(),
            },
        )
        c.that(
            isinstance(got, torch.Tensor) and got.requires_grad,
            tested="that the gradient reaches the student",
            found="a loss without a gradient",
            mistake="stay with tensors, and return the sum, not its item()",
        )
        got.backward()
        sole = {}
        for part, weight in {"both": share, "soft": 1.0, "hard": 0.0}.items():
            other = z.clone().requires_grad_()
            plain.distillation_loss(other, t, y, temperature, weight).backward()
            sole[part] = other.grad
        c.close(
            leaf.grad,
            sole["both"],
            1e-7,
            tested="the gradient at the student's logits",
            mistakes={
                "the hard part does not reach the student: it was detached": share
                * sole["soft"],
                "the soft part does not reach the student: it was detached": (1 - share)
                * sole["hard"],
            },
        )


# %% tags=["check:mixed_loss"]
mixed_loss = check("mixed_loss", my_mixed_loss, plain.distillation_loss)

# %% [markdown]
# Now the student learns, live, under a hard condition: a large share of the training labels is **wrong**, drawn at random. The same student, the same images, the same wrong labels, twice:
# with the labels alone, and with your loss. The loop is the usual one.


# %%
def train_student(loss, labels, answers):
    """A student trained on the live images with loss(logits, teacher's logits, labels)."""
    student, order = (
        distill_figures.new_student(seed),
        torch.Generator().manual_seed(seed),
    )
    steps = epochs * -(-len(labels) // 64)
    stepper = torch.optim.AdamW(student.parameters(), lr=0.01, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(stepper, 0.01, total_steps=steps + 1)
    student.train()
    for _ in tqdm(range(epochs), desc="epochs"):
        for index in torch.randperm(len(labels), generator=order).split(64):
            stepper.zero_grad()
            loss(student(images[index]), answers[index], labels[index]).backward()
            stepper.step()
            schedule.step()
    return student.eval()


# %% [markdown]
# What is at stake is stated first: the teacher was trained on **all** labels, none of them wrong. The student sees the wrong ones. So part of what it gains is simply better labels, through the
# back door. The five seeds further down say how large that part may be: the same two losses, there also with labels that are all right.

# %%
noisy = distill_figures.with_wrong_labels(replace(signs, train=train), wrong, seed)
noisy_labels = torch.from_numpy(noisy.train.y)
students = {
    "hard labels": train_student(
        lambda z, t, y: F.cross_entropy(z, y), noisy_labels, teacher_logits
    ),
    "soft targets": train_student(
        lambda z, t, y: mixed_loss(z, t, y, temperature, alpha),
        noisy_labels,
        teacher_logits,
    ),
}

# %%
live = {name: nets.predict_logits(net, signs.test.x) for name, net in students.items()}
right = {name: z.argmax(axis=1) == signs.test.y for name, z in live.items()}
gain = record(
    "gain.live", quality.difference(right["soft targets"], right["hard labels"]).loss
)
same = record(
    "agreement.live",
    quality.divergence(test_logits.numpy(), live["soft targets"]).agreement,
)
guess_gain.against(gain)
guess_same.against(same)

# %% tags=["folded"]
accuracies = {
    name: quality.accuracy_reading(hits, f"PyTorch, {name}")
    for name, hits in right.items()
} | {"teacher": quality.accuracy_reading(teacher_right, "PyTorch, the teacher")}
title = "Accuracy: " + ", ".join(f"{r.figure()} {n}" for n, r in accuracies.items())
figure = ui.bars(
    list(accuracies),
    list(accuracies.values()),
    title,
    "accuracy in %",
    x="trained with",
)
ui.show(figure, alt=f"Three bars. {title}.")
whose("mixed_loss")


# %% tags=["finding:live"]
def finding_live(gain, share, same):
    text = by_side(
        gain,
        0,
        above="With soft targets the student is right on more images, by {}",
        below="With soft targets the student is right on fewer images, {}",
        unclear="These test images cannot tell the two students apart, {}",
    )
    return (
        f"{text}, where {100 * share:.0f} % of the labels were wrong. It answers as its teacher "
        f"does on {same.figure()} of the test images. This is one seed: two students of different "
        "seeds differ as well, which is what the five seeds further down are for."
    )


finding(finding_live, gain, wrong, same)

# %% [markdown]
# ### A loop that teaches nothing
#
# Here is the body of a distillation loop as it is published again and again. It **promises**: the loss of one batch, with the teacher as a witness who is not changed. It raises no error, the loss
# goes down, and the student learns, from its labels alone. By numbers, on one batch of the signs, what the soft part is when the student **is** its teacher, and how hard it pulls at an untrained one:


# %%
def published(student, teacher, T):
    return F.kl_div(F.softmax(student / T, dim=1), F.softmax(teacher / T, dim=1))


def logs_first(student, teacher, T):
    return F.kl_div(F.log_softmax(student / T, dim=1), F.softmax(teacher / T, dim=1))


def pulled_by(loss):
    leaf = untrained_logits.clone().requires_grad_()
    loss(leaf, teacher_logits[:256], temperature).backward()
    return len(leaf) * leaf.grad.abs().mean().item()


# %% tags=["folded"]
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch warns of reduction="mean", once
    some = teacher_logits[:256]
    faults = {
        "as published": published,
        "logarithms first": logs_first,
        "yours": kd_loss,
    }
    rows = [
        {
            "soft part": name,
            "student is the teacher": loss(some, some, temperature).item(),
            "pull at an untrained one": pulled_by(loss),
        }
        for name, loss in faults.items()
    ]
display(ui.worked_table(rows, "The soft part of one batch"))

# %% [markdown]
# A distance below zero is the first symptom. The second hides in the teacher: a network in **training mode** normalises with the statistics of the batch in front of it, and takes them over. Show
# such a teacher a few batches of the night, as the loop would:

# %%
drifted = copy.deepcopy(teacher).train()
night = torch.from_numpy(train.x[train.groups["lighting"] == "night"])
with torch.no_grad():
    for batch in night.split(64)[:8]:
        drifted(batch)
after = nets.predict_logits(drifted, signs.test.x).argmax(axis=1) == signs.test.y
drift = record("loss.teacher_drift", quality.difference(teacher_right, after).loss)


# %% tags=["finding:drift"]
def finding_drift(drift, batches):
    return by_side(
        drift,
        0,
        above=f"After {batches} batches of night images the teacher itself has lost {{}}, without one step of training.",
        below=f"After {batches} batches of night images the teacher is even better, {{}}.",
        unclear=f"After {batches} batches of night images the teacher's loss cannot be told, {{}}.",
    )


finding(finding_drift, drift, min(8, -(-len(night) // 64)))

# %% [markdown]
# What it should be: $L = \alpha\, L_{\mathrm{KD}} + (1 - \alpha)\, L_{\mathrm{CE}}$ with the teacher in evaluation mode and without gradients. `F.kl_div(input, target)` wants the **student's
# log-probabilities** first and the teacher's probabilities second; `reduction="mean"` divides by the classes as well, `"batchmean"` does not; $T^2$ nobody adds for you. Mend it, with
# `F.kl_div` or with your own functions.


# %% tags=["exercise:batch_loss"]
def my_batch_loss(student, teacher, images, labels, temperature, alpha):
    """The loss of one batch; both are networks, and the teacher stays as it is."""
    # TODO: four faults. Run the check: it says what the loss does, not how to write it.
    ### BEGIN SOLUTION
    teacher.eval()
    with torch.no_grad():
        theirs = teacher(images)
    return mixed_loss(student(images), theirs, labels, temperature, alpha)
    ### GIVEN
    # p = F.softmax(teacher(images) / temperature, dim=1)
    # q = F.softmax(student(images) / temperature, dim=1)
    # soft = F.kl_div(q, p, reduction="mean")
    # hard = F.cross_entropy(student(images), labels)
    # return alpha * soft + (1 - alpha) * hard
    ### END SOLUTION


# %% [markdown] tags=["hints:batch_loss"]
# 1. Start with the teacher: `teacher.eval()` and `torch.no_grad()`. Then look at what `F.kl_div` expects as its first argument.
# 2. `F.kl_div(F.log_softmax(z / T, dim=1), F.softmax(t / T, dim=1), reduction="batchmean")`, times T squared.
# 3. Or shorter: `mixed_loss(student(images), teacher_logits, labels, temperature, alpha)` with the teacher's logits from inside `torch.no_grad()`.


# %% tags=["check:batch_loss", "hidden"]
@checks("batch_loss", mutates=True)
def _(c, batch_loss):
    def made(width):
        return nn.Sequential(
            nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 4)
        ).double()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(c.rng.integers(1000)))
        big, small = made(12), made(5)
        x = 2 + 3 * torch.randn(20, 6).double()
        big.train()(torch.randn(50, 6).double())
    y = torch.from_numpy(c.rng.integers(0, 4, 20))
    T, share = 3.0, 0.6
    log, soft = torch.log_softmax, torch.softmax

    def value(theirs, kind):
        z = copy.deepcopy(small).train()(x)
        q, p = log(z / T, 1), soft(theirs / T, 1)
        parts = {
            "right": T * T * F.kl_div(q, p, reduction="batchmean"),
            "no T": F.kl_div(q, p, reduction="batchmean"),
            "mean": T * T * F.kl_div(q, p, reduction="sum") / q.numel(),
            "both": F.kl_div(q, p, reduction="sum") / q.numel(),
            "no log": T * T * F.kl_div(q.exp(), p, reduction="batchmean"),
            "no log, mean": T * T * F.kl_div(q.exp(), p, reduction="sum") / q.numel(),
            "given": F.kl_div(q.exp(), p, reduction="sum") / q.numel(),
            "swapped": T
            * T
            * F.kl_div(log(theirs / T, 1), soft(z / T, 1), reduction="batchmean"),
        }
        return (share * parts[kind] + (1 - share) * F.cross_entropy(z, y)).item()

    with torch.no_grad():
        calm = copy.deepcopy(big).eval()(x)
        moved = copy.deepcopy(big).train()(x)
    big.train()
    student, teacher = copy.deepcopy(small).train(), copy.deepcopy(big)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    got = batch_loss(student, teacher, x.clone(), y.clone(), T, share)
    wrongs = {
        "the first argument of F.kl_div must be log-probabilities": "no log",
        "the first argument of F.kl_div must be log-probabilities, and the mean must not run over the classes": "no log, mean",
        'reduction="mean" divides by the classes, too: take "batchmean"': "mean",
        "the factor T squared is missing": "no T",
        'the factor T squared is missing, and reduction="mean" divides by the classes, too': "both",
        "the student stands first in F.kl_div, the teacher second": "swapped",
        "nothing of the published soft part is right yet: logarithms first, batchmean, T squared": "given",
    }
    mistakes = {words: value(calm, kind) for words, kind in wrongs.items()}
    hard = F.cross_entropy(copy.deepcopy(small).train()(x), y).item()
    part = (value(calm, "right") - (1 - share) * hard) / share
    mistakes |= {
        "alpha weighs the soft part, and 1 - alpha the hard one": (1 - share) * part
        + share * hard,
        "the factor is T squared, and only T was taken": share * part / T
        + (1 - share) * hard,
        "the student is in evaluation mode: teacher.eval() is wanted, not student.eval()": plain.distillation_loss(
            copy.deepcopy(small).eval()(x), calm, y, T, share
        ).item(),
        "student and teacher were swapped: the student's logits stand first": plain.distillation_loss(
            calm, copy.deepcopy(small).train()(x), y, T, share
        ).item(),
    }
    mistakes |= {
        "the teacher is in training mode: its answers hang on who else is in the batch": value(
            moved, "right"
        )
    }
    mistakes |= {
        f"the teacher is in training mode, and {words}": value(moved, kind)
        for words, kind in wrongs.items()
    }
    c.close(
        got,
        value(calm, "right"),
        1e-8,
        tested="the loss of one batch, with a teacher that came in training mode",
        mistakes=mistakes,
    )
    c.that(
        all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items()),
        tested="that the teacher is as it was",
        found="other batch statistics in the teacher than before",
        mistake="a network in training mode takes over the statistics of every batch: teacher.eval() first",
    )
    c.that(
        isinstance(got, torch.Tensor) and got.requires_grad,
        tested="that the gradient reaches the student",
        found="a loss without a gradient",
        mistake="only the teacher stands inside torch.no_grad()",
    )
    got.backward()
    c.that(
        all(p.grad is None or not p.grad.any() for p in teacher.parameters()),
        tested="that no gradient reaches the teacher",
        found="gradients in the teacher",
        mistake="ask the teacher inside torch.no_grad(), or detach its logits",
    )
    c.that(
        student.training,
        tested="that the student is still in training mode",
        found="a student in evaluation mode",
        mistake="teacher.eval() is wanted, not student.eval()",
    )


# %% tags=["check:batch_loss"]
batch_loss = check(
    "batch_loss",
    my_batch_loss,
    lambda student, teacher, x, y, temperature, alpha: plain.distillation_loss(
        student(x), ask(teacher, x.numpy()).logits, y, temperature, alpha
    ),
)

# %% [markdown]
# The repaired loss, and the published one, over the temperature: the share of the whole gradient that comes from the teacher.


# %%
def teachers_share(loss_of, t):
    """Size of the gradient of the soft part over the sizes of both parts, in percent."""
    size = {}
    for part, weight in {"soft": 1.0, "hard": 0.0}.items():
        pupil = copy.deepcopy(untrained).train()
        loss_of(pupil, teacher, images[:64], labels[:64], t, weight).backward()
        size[part] = pupil.head.weight.grad.norm().item()
    return (
        100 * alpha * size["soft"] / (alpha * size["soft"] + (1 - alpha) * size["hard"])
    )


def published_loss(student, teacher, x, y, t, share):
    z, theirs = student(x), teacher(x).detach()
    return share * published(z, theirs, t) + (1 - share) * F.cross_entropy(z, y)


# %% tags=["folded"]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    shares = {
        "mended": (heat, [teachers_share(batch_loss, t) for t in heat]),
        "published": (heat, [teachers_share(published_loss, t) for t in heat]),
    }
last = {name: values[1][-1] for name, values in shares.items()}
title = "The teacher's share at the highest temperature: " + ", ".join(
    f"{value:.1f} % {name}" for name, value in last.items()
)
figure = ui.lines(shares, title, "temperature", "share of the gradient in %")
ui.show(figure, alt=f"Two curves. {title}.")
whose("batch_loss")

# %% [markdown]
# ### What goes on inside the teacher?
#
# So far the student hears the teacher's last word. **FitNets** lets it look over the teacher's shoulder: a layer in the middle of the student should hold what a layer in the middle of the teacher
# holds. The student has fewer channels, so a small matrix, the **regressor**, first mixes its channels into as many as the teacher has. It is trained along and thrown away afterwards. By hand, one place of a
# map: two channels of the student, 1 and 3, a regressor for three channels of the teacher.

# %%
mixer = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
wanted = np.array([1.2, 2.0, 2.6])
ui.worked_table(
    [
        {
            "teacher's channel": k + 1,
            "weights": f"{w[0]:g}, {w[1]:g}",
            "from the student": w @ [1.0, 3.0],
            "teacher": t,
            "squared difference": (w @ [1.0, 3.0] - t) ** 2,
        }
        for k, (w, t) in enumerate(zip(mixer, wanted))
    ],
    "One place of a feature map",
)

# %% [markdown]
# $$ L_{\mathrm{hint}} = \frac{1}{N C H W} \sum_{n,o,h,w} \Big( \sum_c W_{oc}\, s_{nchw} + b_o - t_{nohw} \Big)^2 $$
#
# Here $s$ are the student's features, $t$ the teacher's with $C$ channels, $W$ and $b$ the regressor, the same at every place: a 1x1 convolution. We take the mean, so that the size of the loss does not hang
# on the size of the layer.


# %% tags=["exercise:hint_loss"]
def my_hint_loss(student, teacher, weight, bias):
    """Features (N, c, H, W) and (N, C, H, W), regressor (C, c) and (C,): the mean square."""
    # TODO: mix the student's channels at every place, add the bias, compare.
    ### BEGIN SOLUTION
    mixed = torch.einsum("nchw,oc->nohw", student, weight) + bias[None, :, None, None]
    return (mixed - teacher).pow(2).mean()
    ### END SOLUTION


# %% [markdown] tags=["hints:hint_loss"]
# 1. At each place the C new channels are a matrix times the c old ones. `torch.einsum` writes that as letters.
# 2. `torch.einsum("nchw,oc->nohw", student, weight)`; the bias has one number a channel, so it needs the shape (1, C, 1, 1).
# 3. `(torch.einsum("nchw,oc->nohw", student, weight) + bias[None, :, None, None] - teacher).pow(2).mean()`


# %% tags=["check:hint_loss", "hidden"]
@checks("hint_loss")
def _(c, hint_loss):
    def normal(*shape):
        return torch.from_numpy(c.rng.normal(0, 1, shape))

    for n, few, many, side in ((3, 2, 5, 4), (2, 4, 4, 3)):
        s, t = normal(n, few, side, side), normal(n, many, side, side)
        w, b = normal(many, few), normal(many) + 0.5
        mapped = F.conv2d(s, w[:, :, None, None], b)
        bare = F.conv2d(s, w[:, :, None, None])
        square = (mapped - t).pow(2)
        leaf, shift, ours = (v.clone().requires_grad_() for v in (w, b, s))
        got = hint_loss(ours, t.clone(), leaf, shift)
        mistakes = {
            "this is the sum: take the mean over everything": square.sum().item(),
            "the sum over one item's features, mean over the items: take the mean over everything": square.sum().item()
            / n,
            "the sum over the channels: take the mean over them, too": square.mean().item()
            * many,
            "this is the length of the difference: take the mean of the squares": square.sum()
            .sqrt()
            .item(),
            "the places were averaged first: compare at every place": (mapped - t)
            .mean(dim=(2, 3))
            .pow(2)
            .mean()
            .item(),
            "the factor one half is in the paper, not in this formula": square.mean().item()
            / 2,
            "the bias of the regressor is missing": (bare - t).pow(2).mean().item(),
            "the bias was subtracted": (bare - b[None, :, None, None] - t)
            .pow(2)
            .mean()
            .item(),
            "this is the root of the mean square": square.mean().sqrt().item(),
            "these are absolute differences, not squares": (mapped - t)
            .abs()
            .mean()
            .item(),
            "the squares and the places were swapped: square after the difference, then the mean": (
                mapped - t
            )
            .mean()
            .pow(2)
            .item(),
        }
        if few == many:
            mistakes |= {
                "the regressor was transposed: its rows are the teacher's channels": (
                    F.conv2d(s, w.T[:, :, None, None], b) - t
                )
                .pow(2)
                .mean()
                .item(),
                "the regressor mixes the teacher's channels: it belongs to the student": (
                    F.conv2d(t, w[:, :, None, None], b) - s
                )
                .pow(2)
                .mean()
                .item(),
                "the regressor is not used": (s - t).pow(2).mean().item(),
            }
        c.close(
            got,
            square.mean().item(),
            1e-9,
            tested=f"{few} channels of the student against {many} of the teacher",
            mistakes=mistakes,
        )
        c.that(
            isinstance(got, torch.Tensor) and got.requires_grad,
            tested="that the regressor can learn",
            found="a loss without a gradient",
            mistake="stay with tensors",
        )
        got.backward()
        reached = {"regressor": leaf, "bias": shift, "student's features": ours}
        cut = [name for name, value in reached.items() if value.grad is None]
        c.that(
            not cut,
            tested="that regressor, bias and student all learn",
            found=f"no gradient at the {' and the '.join(cut)}",
            mistake="stay with tensors, and detach none of these",
        )


# %% tags=["check:hint_loss"]
hint_loss = check(
    "hint_loss",
    my_hint_loss,
    lambda student, teacher, weight, bias: plain.hint_loss(
        F.conv2d(student, weight[:, :, None, None], bias), teacher
    ),
)

# %% [markdown]
# How much of the teacher's inside can the student express at all? For each layer the best possible regressor is found by least squares on one half of some test images, and your function judges it on
# the other half. The unit is the variance of the teacher's features around the mean of their channel, which the bias alone can give: 1 means that the student's layer says nothing about the teacher's.


# %%
def features(net, x, layer):
    return ask(net, x, (layer,)).features[layer]


def left_over(net, layer):
    """Your hint loss with the best regressor, as a share of the teacher's variance."""
    ours, theirs = features(net, probe, layer), features(teacher, probe, layer)
    rows = [f[:60].permute(0, 2, 3, 1).flatten(0, 2) for f in (ours, theirs)]
    ones = torch.ones(len(rows[0]), 1)
    best = torch.linalg.lstsq(torch.cat([rows[0], ones], 1), rows[1]).solution.T
    loss = hint_loss(ours[60:], theirs[60:], best[:, :-1], best[:, -1])
    return loss.item() / theirs[60:].var(dim=(0, 2, 3)).mean().item()


probe = signs.test.x[:120]
layers = [f"pointwise{k}" for k in (2, 3, 4, 5)]
untold = {
    name: [left_over(net, layer) for layer in layers]
    for name, net in {"untrained": untrained, **students}.items()
}

# %% tags=["folded"]
best = min(students, key=lambda name: untold[name][-1])
title = (
    f"In the last layer the student trained with {best} says most about the teacher's"
)
figure = ui.grouped_bars(
    layers, untold, title, "share of the teacher's variance not explained", x="layer"
)
ui.show(figure, alt=f"For each layer three bars. {title}.")
whose("hint_loss")

# %% [markdown]
# ### Where should the student look?
#
# Channels are private: no two networks name them alike. Places are not. **Attention transfer** compares only **where** a layer is active: the squares of all channels are summed at each place, and the map is
# brought to length 1. No regressor is needed. By hand, a layer with two channels and three places:

# %%
two = np.array([[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
energy = (two**2).sum(axis=0)
ui.worked_table(
    [
        {
            "place": k + 1,
            "first channel": two[0, k],
            "second channel": two[1, k],
            "sum of squares": energy[k],
            "over the length": energy[k] / np.linalg.norm(energy),
        }
        for k in range(3)
    ],
    f"An attention map; its length is {np.linalg.norm(energy):.3g}",
)

# %% [markdown]
# $$ a_n = \frac{e_n}{\lVert e_n \rVert_2}, \qquad e_{n,hw} = \sum_c f_{nchw}^2, \qquad L_{\mathrm{AT}} = \frac{1}{N} \sum_n \lVert a^{\mathrm{student}}_n - a^{\mathrm{teacher}}_n \rVert_2^2 $$


# %% tags=["exercise:attention_map"]
def my_attention_map(features):
    """(N, C, H, W) to (N, H * W): the map of each item as a row of length 1."""
    # TODO: squares, the sum over the channels, one row an item, divided by its length.
    ### BEGIN SOLUTION
    energy = features.pow(2).sum(dim=1).flatten(1)
    return energy / energy.norm(dim=1, keepdim=True).clamp_min(1e-12)
    ### END SOLUTION


# %% [markdown] tags=["hints:attention_map"]
# 1. Channels are dimension 1. `flatten(1)` makes a row of everything behind the items.
# 2. The length of a row is the root of the sum of its squares: `rows.norm(dim=1, keepdim=True)`. A map of zeros must not divide by 0.
# 3. `rows = features.pow(2).sum(dim=1).flatten(1)`, then `rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)`.


# %% tags=["check:attention_map", "hidden"]
@checks("attention_map")
def _(c, attention_map):
    f = torch.from_numpy(c.rng.normal(0, 1, (3, 4, 2, 5)))
    rows = f.pow(2).sum(dim=1).flatten(1)
    found = attention_map(f.clone())
    c.close(
        found,
        rows / rows.norm(dim=1, keepdim=True),
        1e-9,
        tested="three items of four channels",
        mistakes={
            "the values were not squared": F.normalize(f.sum(dim=1).flatten(1), dim=1),
            "the sum was squared: square each channel, then sum": F.normalize(
                f.sum(dim=1).pow(2).flatten(1), dim=1
            ),
            "the largest channel was taken: sum over the channels": F.normalize(
                f.pow(2).amax(dim=1).flatten(1), dim=1
            ),
            "the rows were divided by the square of their length": rows
            / rows.pow(2).sum(dim=1, keepdim=True),
            "this is a softmax over the places: divide by the length": rows.softmax(
                dim=1
            ),
            "the channels are still there: sum over them": F.normalize(
                f.pow(2).flatten(1), dim=1
            ),
            "these are absolute values: square them": F.normalize(
                f.abs().sum(dim=1).flatten(1), dim=1
            ),
            "the root was taken: the map is the sum of the squares": F.normalize(
                rows.sqrt(), dim=1
            ),
            "the rows were divided by their sum: divide by their length, the root of the sum of squares": rows
            / rows.sum(dim=1, keepdim=True),
            "the rows were divided by their largest value: divide by their length": rows
            / rows.max(dim=1, keepdim=True).values,
            "the length is missing: divide each row by it": rows,
            "the length was taken over all items: each item has its own": rows
            / rows.norm(),
            "the sum ran over the places: it runs over the channels, dimension 1": F.normalize(
                f.pow(2).sum(dim=(2, 3)), dim=1
            ),
            "the maps still have two sides: make a row of each": (
                rows / rows.norm(dim=1, keepdim=True)
            ).reshape(3, 2, 5),
        },
    )
    leaf = (0.1 * f).requires_grad_()
    faint = attention_map(leaf if isinstance(found, torch.Tensor) else 0.1 * f)
    c.that(
        isinstance(faint, torch.Tensor) and faint.requires_grad,
        tested="that the gradient reaches the student",
        found=f"a {type(faint).__name__} without a gradient",
        mistake="stay with tensors, and detach nothing",
    )
    c.close(
        faint,
        rows / rows.norm(dim=1, keepdim=True),
        1e-4,
        tested="features ten times as small, which have the same map",
        mistakes={
            "the divisor was kept above 1 or had 1 added: a tiny number is enough, such as 1e-12": 0.01
            * rows
        },
    )
    flat = attention_map(torch.zeros(2, 3, 2, 2).double())
    c.that(
        torch.isfinite(torch.as_tensor(flat)).all(),
        tested="a layer that is silent",
        found=flat,
        mistake="a map of zeros has the length 0: keep the divisor above 0",
    )


# %% tags=["check:attention_map"]
attention_map = check("attention_map", my_attention_map, plain.attention_map)

# %% [markdown]
# Your maps of real signs. One row a network: the image, where the teacher looks, and where three networks of the student's size look that were trained ahead: with hard labels, with soft targets, and the teacher
# itself with filters taken out until it was as small.

# %%
ahead_nets = distill_figures.networks()
looked_at = signs.test.take(np.flatnonzero(teacher_right)[[0, 3, 6, 9, 12, 15]])


def drawn(net):
    maps = attention_map(features(net, looked_at.x, "pointwise4"))
    side = int(maps.shape[1] ** 0.5)
    maps = maps / maps.max(dim=1, keepdim=True).values
    maps = maps.reshape(-1, 1, side, side)
    return F.interpolate(maps, size=(32, 32)).numpy()


# %% tags=["folded"]
grey = looked_at.x.mean(axis=1, keepdims=True)
strips = {"image": grey, "teacher": drawn(teacher)}
strips |= {name: drawn(net) for name, net in ahead_nets.items()}
display(
    ui.images_by(
        np.concatenate(list(strips.values())),
        np.tile(np.arange(len(looked_at)), len(strips)),
        [f"{names[k]} {i + 1}" for i, k in enumerate(looked_at.y)],
        np.repeat(list(strips), len(looked_at)),
        title="Where the fourth block looks, bright is much",
        rows=list(strips),
    )
)
whose("attention_map")


# %%
def apart(net):
    maps = [
        attention_map(features(n, signs.test.x[:400], "pointwise4"))
        for n in (net, teacher)
    ]
    return (maps[0] - maps[1]).pow(2).sum(dim=1).mean().item()


how_far = {name: apart(net) for name, net in ahead_nets.items()}
Table(
    "Attention loss on 400 test images",
    ("student", "distance to the teacher's maps"),
    list(how_far.items()),
)

# %% [markdown]
# ### Who resembles whom?
#
# The last idea compares no single image at all. To the teacher, two images lie close together or far apart, in the space of its last features. **Relational distillation** asks the student to keep these
# distances, whatever its own space looks like: it may have fewer dimensions and another scale. The scale is taken out by dividing by the mean distance. A square by hand:

# %%
points = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [0.0, 4.0]])
gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
mean_gap = gaps.sum() / 12
ui.worked_table(
    [
        {
            "pair": f"{i + 1} and {j + 1}",
            "distance": gaps[i, j],
            "over the mean": gaps[i, j] / mean_gap,
        }
        for i in range(4)
        for j in range(i)
    ],
    f"Distances in a square; their mean is {mean_gap:.3g}",
)

# %% [markdown]
# $$ d_{ij} = \frac{\lVert e_i - e_j \rVert_2}{\mu}, \qquad \mu = \frac{1}{N (N - 1)} \sum_{i \neq j} \lVert e_i - e_j \rVert_2 $$
#
# The mean runs over pairs of **different** items. One trap waits behind the formula: the root has no slope at 0, and every item has the distance 0 to itself. A root of a plain sum of squares then gives
# a gradient of NaN, and one step later the whole student is NaN. `torch.cdist` knows that; so does a tiny number under the root.


# %% tags=["exercise:distances"]
def my_distances(embeddings):
    """(N, N) distances between the rows of (N, D), divided by their mean over i != j."""
    # TODO: the formula; the gradient has to stay finite.
    ### BEGIN SOLUTION
    squares = (embeddings[:, None] - embeddings[None]).pow(2).sum(dim=2)
    far = torch.sqrt(squares + 1e-12)
    n = len(embeddings)
    return far / (far.sum() / (n * (n - 1)))
    ### END SOLUTION


# %% [markdown] tags=["hints:distances"]
# 1. `e[:, None] - e[None]` has the shape (N, N, D): every row minus every row.
# 2. The diagonal is 0, so the sum over everything is the sum over different items; divide it by how many ordered pairs there are.
# 3. `far = torch.sqrt(squares + 1e-12)`, `far / (far.sum() / (n * (n - 1)))`.


# %% tags=["check:distances", "hidden"]
@checks("distances")
def _(c, distances):
    e = torch.from_numpy(c.rng.normal(0, 2, (6, 3)))
    far = torch.cdist(e, e, compute_mode="donot_use_mm_for_euclid_dist")
    leaf = e.clone().requires_grad_()
    got = distances(leaf)
    pairs = far.sum() / 30
    square = far.pow(2)
    c.close(
        got,
        far / pairs,
        1e-4,
        tested="six points",
        mistakes={
            "the mean was taken with the diagonal: an item and itself are no pair": far
            / far.mean(),
            "the distances were not divided by their mean": far,
            "these are squares: take the root": square / (square.sum() / 30),
            "these are squares, and the diagonal was counted: take the root": square
            / square.mean(),
            "the distances were divided by the largest one: by the mean": far
            / far.max(),
            "each row was divided by a mean of its own: one mean for the batch": far
            / (far.sum(dim=1, keepdim=True) / 5),
            "these are sums of absolute differences: take the Euclidean distance": torch.cdist(
                e, e, p=1.0
            )
            / (torch.cdist(e, e, p=1.0).sum() / 30),
            "these are cosines between the points: take distances": F.normalize(
                e, dim=1
            )
            @ F.normalize(e, dim=1).T,
            "the mean counts each pair once and the sum twice": far / (far.sum() / 15),
            "only half of the pairs are there: the table has each pair twice": far.triu(
                1
            )
            / pairs,
            "the rows were brought to length 1 first: the distances are those of the points as they are": plain.distances(
                F.normalize(e, dim=1)
            ),
            "the sum was divided by N - 1 alone: there are N (N - 1) ordered pairs": far
            / (far.sum() / 5),
        },
    )
    c.that(
        isinstance(got, torch.Tensor) and got.requires_grad,
        tested="that the gradient reaches the student",
        found="distances without a gradient",
        mistake="stay with tensors",
    )
    (got * torch.arange(36.0).reshape(6, 6)).sum().backward()
    c.that(
        torch.isfinite(leaf.grad).all(),
        tested="that the gradient is finite",
        found="NaN in the gradient",
        mistake="the root has no slope at 0, and every item has the distance 0 to itself: add a tiny number under the root",
    )
    other = e.clone().requires_grad_()
    (plain.distances(other) * torch.arange(36.0).reshape(6, 6)).sum().backward()
    loose = e.clone().requires_grad_()
    there = torch.cdist(loose, loose, compute_mode="donot_use_mm_for_euclid_dist")
    (there / pairs * torch.arange(36.0).reshape(6, 6)).sum().backward()
    c.close(
        leaf.grad,
        other.grad,
        1e-3,
        tested="the gradient at the points",
        mistakes={
            "the mean is a constant to the gradient: no item() and no detach() on it": loose.grad
        },
    )


# %% tags=["check:distances"]
distances = check("distances", my_distances, plain.distances)

# %% [markdown]
# The last features of forty test images, in the teacher and in the two live students. On the diagonal a student would keep every relation.

# %%
forty = signs.test.x[:40]
upper = np.triu_indices(40, k=1)
kept = {
    name: distances(features(net, forty, "flatten")).numpy()[upper]
    for name, net in {"teacher": teacher, **students}.items()
}
follows = {name: np.corrcoef(kept["teacher"], kept[name])[0, 1] for name in students}

# %% tags=["folded"]
title = "Correlation with the teacher's distances: " + ", ".join(
    f"{value:.2f} {name}" for name, value in follows.items()
)
figure = ui.scatter(
    {name: (kept["teacher"][::3], kept[name][::3]) for name in students},
    title,
    "distance in the teacher's space",
    "distance in the student's",
)
ui.show(figure, alt=f"Two clouds of pairs of images. {title}.")
whose("distances")

# %% [markdown]
# ### Who looks at whom?
#
# Everything so far had channels and places. Another task has words: a window of a **device's log**, and the question which of six faults came first. An error line names it, unless the window begins too
# late; the lines behind it may belong to what followed. The teacher is a small **transformer**: two blocks of four heads, and a head is a rule by which each word looks at the others. Windows differ in length, so short ones are
# filled up with **padding**, and nobody may look there. By hand, one word that looks at three words and a padding:

# %%
scores = np.array([2.0, 1.0, 0.0, 1.0])
open_to_all, blocked = np.exp(scores), np.exp(scores) * [1, 1, 1, 0]
ui.worked_table(
    [
        {
            "looks at": name,
            "score": score,
            "weight, padding open": one / open_to_all.sum(),
            "weight, padding blocked": other / blocked.sum(),
        }
        for name, score, one, other in zip(
            ("first word", "second word", "third word", "padding"),
            scores,
            open_to_all,
            blocked,
        )
    ],
    "One word, one head",
)

# %% [markdown]
# $$ A_{nij} = \frac{e^{s_{nij}}}{\sum_{k\ \mathrm{a\ word}} e^{s_{nik}}}, \qquad s_{nij} = \frac{q_{ni} \cdot k_{nj}}{\sqrt{d}}, \qquad A_{nij} = 0 \ \mathrm{where}\ j\ \mathrm{is\ padding} $$
#
# Row $i$ says how much word $i$ looks at each word $j$; its **query** $q$ and the others' **keys** $k$ have $d$ numbers each. The root keeps the scores from growing with $d$. A row sums to 1, padding or not.


# %% tags=["exercise:attention_weights"]
def my_attention_weights(query, key, there):
    """Queries, keys (N, L, d) and where words stand (N, L) as True: the weights (N, L, L)."""
    # TODO: scores, padding blocked before the softmax, softmax over whom a word looks at.
    ### BEGIN SOLUTION
    scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
    scores = scores.masked_fill(~there[:, None, :], -torch.inf)
    return scores.softmax(dim=2)
    ### END SOLUTION


# %% [markdown] tags=["hints:attention_weights"]
# 1. `query @ key.transpose(1, 2)` has the shape (N, L, L): each query with each key. `query.shape[2]` is d.
# 2. A score of minus infinity has the weight 0. `there[:, None, :]` belongs to the words that are looked at, the last dimension.
# 3. `scores.masked_fill(~there[:, None, :], -torch.inf).softmax(dim=2)`


# %% tags=["check:attention_weights", "hidden"]
@checks("attention_weights")
def _(c, attention_weights):
    for n, length, d in ((2, 5, 4), (3, 6, 9)):
        q, k = (torch.from_numpy(c.rng.normal(0, 1, (n, length, d))) for _ in range(2))
        there = torch.ones(n, length, dtype=torch.bool)
        there[0, -2:] = False
        there[1, -1:] = False
        score = q @ k.transpose(1, 2) / d**0.5
        closed = ~there[:, None, :].expand_as(score)

        def shut(values):
            return values.masked_fill(closed, -1e4).softmax(dim=2)

        leaf = q.clone().requires_grad_()
        got = attention_weights(leaf, k.clone(), there.clone())
        c.that(
            tuple(np.shape(got)) == (n, length, length),
            tested=f"the shape of the weights of {length} words",
            found=f"the shape {tuple(np.shape(got))}",
            mistake="each word looks at each word: the shape is (N, L, L)",
        )
        c.that(
            not torch.isnan(torch.as_tensor(got)[there]).any(),
            tested="that the weights of every word are numbers",
            found="NaN in the row of a word",
            mistake="NaN comes of 0 times infinity, of 0 divided by 0, and of a row in which all is blocked: set the scores of padding with masked_fill, and let the softmax divide",
        )
        c.that(
            isinstance(got, torch.Tensor) and got.requires_grad,
            tested="that the gradient reaches the queries",
            found="weights without a gradient",
            mistake="stay with tensors, and detach nothing",
        )
        every = {
            "padding is looked at: block it in the last dimension, before the softmax": score.softmax(
                dim=2
            ),
            "the mask is the wrong way round: the words are blocked, and padding is open": score.masked_fill(
                ~closed, -1e4
            ).softmax(dim=2),
            "the score of padding was set to 0, which is a score like any other: minus infinity has no weight": score.masked_fill(
                closed, 0.0
            ).softmax(dim=2),
            "the weights of padding were set to 0 after the softmax, and the rows divided by a sum over the words that look: by the sum over those that are looked at": F.normalize(
                score.softmax(dim=2).masked_fill(closed, 0.0), p=1, dim=1
            ),
            "the weights of padding were set to 0 after the softmax, and the rows no longer sum to 1: block the scores before it": score.softmax(
                dim=2
            ).masked_fill(closed, 0.0),
            "the division is missing: these are powers, and a row sums to 1": score.exp().masked_fill(
                closed, 0.0
            ),
            "these are logarithms of weights: the softmax itself is wanted": shut(
                score
            ).log(),
            "keys and queries were swapped, and padding is looked at": score.transpose(
                1, 2
            ).softmax(dim=2),
            "the queries were compared with themselves: with the keys": shut(
                q @ q.transpose(1, 2) / d**0.5
            ),
            "words that come later are blocked, too: here only padding is": shut(
                score.masked_fill(torch.ones_like(closed).triu(1), -1e4)
            ),
            "padding is blocked as in the first item: each item has its own": score.masked_fill(
                ~there[:1, None, :], -1e4
            ).softmax(dim=2),
            **{
                f"padding has the score {low:g}, which is low, and still has a weight: minus infinity has none": score.masked_fill(
                    closed, low
                ).softmax(dim=2)
                for low in (-1.0, -5.0, -10.0)
            },
            "the root of d is missing": shut(score * d**0.5),
            "the scores were divided by d: by its root": shut(score / d**0.5),
            "the scores were multiplied by the root of d: divide": shut(score * d),
            "the scores were divided by the root of the length: by that of d": shut(
                score * (d / length) ** 0.5
            ),
            "the root of d is missing, and padding is looked at": (
                score * d**0.5
            ).softmax(dim=2),
            "keys and queries were swapped: row i holds what word i looks at": shut(
                score.transpose(1, 2)
            ),
            "the softmax runs over the words that look: it runs over those that are looked at, dimension 2": score.masked_fill(
                closed, -1e4
            ).softmax(dim=1),
            "the softmax runs over the items: it runs over those that are looked at, dimension 2": score.masked_fill(
                closed, -1e4
            ).softmax(dim=0),
            "the softmax is missing: these are scores": score.masked_fill(
                closed, -torch.inf
            ),
            "the padding is asked, and looked at as well: the mask belongs to the last dimension": score.masked_fill(
                ~there[:, :, None], -1e4
            ).softmax(dim=2),
        }
        c.close(
            got[there],
            shut(score)[there],
            1e-9,
            tested=f"{length} words, of which some are padding, {d} numbers each",
            mistakes={words: value[there] for words, value in every.items()},
        )


# %% tags=["check:attention_weights"]
attention_weights = check(
    "attention_weights",
    my_attention_weights,
    lambda query, key, there: text.attention_weights(
        query, key, (there.to(query.dtype) - 1)[:, None, :] * 1e4
    ),
)

# %% [markdown]
# One window of the test set, line by line, and how much of each head's attention a line gets, with your function on the teacher's own queries and keys. The last row is the padding.

# %%
logs = data.device_logs(seed=seed)
text_nets = distill_text.networks()
text_teacher = text_nets["teacher"]
asked = [f"blocks.{b}.attention.{part}" for b in (0, 1) for part in ("query", "key")]


def looks(tokens):
    """Mean attention (8, 128) of each head to each place, over a window's words (1, 128)."""
    kept = list(ask(text_teacher, tokens, tuple(asked)).features.values())
    by_head = [f.reshape(1, -1, 4, text.HEAD_WIDTH).transpose(1, 2) for f in kept]
    there = torch.from_numpy(tokens > 0)
    weights = [
        attention_weights(by_head[b][:, h], by_head[b + 1][:, h], there)[there]
        for b in (0, 2)
        for h in range(4)
    ]
    return torch.stack([w.mean(dim=0) for w in weights])


# %%
one = logs.test.x[np.flatnonzero(logs.test.groups["start"] == "whole")[:1]]
words = np.array(decode(one[0]).split())
starts = np.flatnonzero(np.isin(words, ("info", "warn", "error")))
ends = [*starts[1:], len(words), one.shape[1]]
places = list(zip([*starts, len(words)], ends))
by_line = np.array([looks(one)[:, a:b].sum(dim=1).numpy() for a, b in places])
lines = [f"{i + 1} {' '.join(words[a : a + 4])}" for i, a in enumerate(starts)]
heads = [f"{b}.{h}" for b in (1, 2) for h in (1, 2, 3, 4)]

# %% tags=["folded"]
row, column = np.unravel_index(by_line.argmax(), by_line.shape)
cause = logs.class_names[
    logs.test.y[np.flatnonzero((logs.test.x == one).all(axis=1))[0]]
]
said = [*lines, "padding"]
title = f"First fault: {cause}. Head {heads[column]} looks most at line '{said[row]}'"
figure = ui.heatmap(
    by_line,
    title,
    "block and head",
    "line of the log",
    x_labels=heads,
    y_labels=said,
    unit="share of attention",
    height=520,
)
ui.show(figure, alt=f"Lines of a log by heads, shares of the attention. {title}.")
whose("attention_weights")

# %% [markdown]
# **Before you go on.** Why does a score of 0 not block a word?
#
# <details><summary>Discussion</summary>
#
# A softmax turns a 0 into $e^0 = 1$, before it divides: as much as any middling score. Only minus infinity becomes 0. A network that looks at padding still trains; its answers then hang on how long the other windows
# of a batch happen to be.
#
# </details>
#
# ### Which heads are needed?
#
# Give each head a **gate** $g_h$, a factor of its output: 1 is open, 0 shut. How hard the loss pulls at a gate, while all are open, says how much hangs on the head. One backward pass of a batch gives it for all heads at once.
# By hand, three heads and two batches:

# %%
slopes = np.array([[0.3, -0.3], [0.1, 0.1], [0.0, 0.02]])
ui.worked_table(
    [
        {
            "head": h + 1,
            "slope, first batch": a,
            "slope, second batch": b,
            "mean": (a + b) / 2,
            "mean of the sizes": (abs(a) + abs(b)) / 2,
        }
        for h, (a, b) in enumerate(slopes)
    ],
    "Which head may go?",
)

# %% [markdown]
# $$ I_h = \frac{1}{B} \sum_{b=1}^{B} \left| \frac{\partial L_b}{\partial g_h} \right|_{g = 1} $$
#
# The first head pulls hard in both batches, once this way and once that. Its plain mean is 0, and the plain mean would take it out first.


# %% tags=["exercise:head_importance"]
def my_head_importance(loss, batches, heads):
    """loss(gates, batch) is a batch's loss with gates (heads,): the importance (heads,)."""
    # TODO: for each batch the slope of the loss at open gates; the mean of the sizes.
    ### BEGIN SOLUTION
    sizes = torch.zeros(heads)
    for batch in batches:
        gates = torch.ones(heads, requires_grad=True)
        (slope,) = torch.autograd.grad(loss(gates, batch), gates)
        sizes += slope.abs()
    return sizes / len(batches)
    ### END SOLUTION


# %% [markdown] tags=["hints:head_importance"]
# 1. Each batch needs gates of its own: `gates = torch.ones(heads, requires_grad=True)`.
# 2. `torch.autograd.grad(loss(gates, batch), gates)` gives a tuple; its first entry has a slope for each head. Take its size before you add.
# 3. `sizes += torch.autograd.grad(loss(gates, batch), gates)[0].abs()` for each batch, and at the end `sizes / len(batches)`.


# %% tags=["check:head_importance", "hidden"]
@checks("head_importance")
def _(c, head_importance):
    for heads, count in ((4, 3), (5, 6)):
        a, b = (c.rng.normal(0, 1, (count, heads)).astype(np.float32) for _ in range(2))
        batches = list(zip(map(torch.from_numpy, a), map(torch.from_numpy, b)))

        def loss(gates, batch):
            return (batch[0] * gates + batch[1] * gates**2).sum()

        slope = a + 2 * b
        right = np.abs(slope).mean(axis=0)
        c.close(
            head_importance(loss, batches, heads),
            right,
            1e-3,
            tested=f"{heads} heads and {count} batches",
            mistakes={
                "the slopes were averaged before their size was taken, and those of opposite sign cancel": np.abs(
                    slope.mean(axis=0)
                ),
                "the sign is still there: take the size of each slope": slope.mean(
                    axis=0
                ),
                "this is the sum over the batches: take the mean": np.abs(slope).sum(
                    axis=0
                ),
                "the gates were shut: the slope is wanted where all are open, at 1": np.abs(
                    a
                ).mean(axis=0),
                "this is what a shut head costs, or the slope at gates that are half open: the slope where all are open is wanted, at 1": np.abs(
                    a + b
                ).mean(axis=0),
                "this is what a shut head costs, with its sign: the size of the slope where all are open is wanted": -(
                    a + b
                ).mean(axis=0),
                "this is what a shut head costs, averaged before its size was taken: the size of each slope where all are open is wanted": np.abs(
                    (a + b).mean(axis=0)
                ),
                "this is the root of the mean square: take the mean of the sizes": np.sqrt(
                    (slope**2).mean(axis=0)
                ),
                "these are the numbers of the heads in order: their importance is wanted": np.argsort(
                    right
                ),
                "this is one number for each batch: one for each head is wanted": np.abs(
                    slope
                ).mean(axis=1),
                "this is the mean over the heads, too: one number for each head is wanted": right.mean(),
                "the sum starts anew in every batch: set it to 0 before the loop": np.abs(
                    slope[-1]
                )
                / count,
                "it was divided by the largest: the mean of the sizes is wanted as it is": right
                / right.max(),
                "it was divided by its length: the mean of the sizes is wanted as it is": right
                / np.linalg.norm(right),
                "these are squares of the slopes: take their sizes": (slope**2).mean(
                    axis=0
                ),
                "this is the last batch alone: take the mean over all": np.abs(
                    slope[-1]
                ),
                "this is the first batch alone: take the mean over all": np.abs(
                    slope[0]
                ),
                "this is the largest of the batches: take the mean": np.abs(slope).max(
                    axis=0
                ),
                "gates.grad still holds the batches before: each batch needs gates of its own": np.abs(
                    np.cumsum(slope, axis=0)
                ).mean(axis=0),
                "it was divided by the number of heads: by that of the batches": np.abs(
                    slope
                ).sum(axis=0)
                / heads,
                "it was divided by its sum: the mean of the sizes is wanted as it is": right
                / right.sum(),
            },
        )


# %% tags=["check:head_importance"]
head_importance = check("head_importance", my_head_importance, text.gate_importance)

# %% [markdown]
# Your function on the real teacher, with batches of the validation split:

# %%
gated = copy.deepcopy(text_teacher).eval()
check_x, check_y = logs.validation.x[:320], logs.validation.y[:320]


def gated_loss(gates, batch):
    for block, part in zip(gated.blocks, gates.split(4)):
        block.attention.gate = part
    x, y = torch.from_numpy(check_x)[batch], torch.from_numpy(check_y)[batch]
    return F.cross_entropy(gated(x), y)


batches = torch.arange(len(check_x)).split(32)
importance = torch.as_tensor(head_importance(gated_loss, batches, 8)).detach().numpy()
order = np.argsort(importance)

# %% tags=["folded"]
title = f"Head {heads[order[-1]]} counts most, {heads[order[0]]} least"
figure = ui.bars(heads, importance, title, "importance", x="block and head")
ui.show(figure, alt=f"Eight bars. {title}.")

# %% [markdown]
# Now the heads go: in the order that you found, and in the opposite one, with nothing trained again. `prune_heads` **takes out** the rows of a head in the matrices of query, key and value, and its columns in the matrix
# behind them, so nothing is left of it. One head stays in each block. These two curves count a part of the validation windows, which also gave the order. The third was made ahead and counts all of them: the same teacher, trained on for one epoch after each head that went.


# %%
def pruned_to(left, order):
    """The teacher with ``left`` heads; those of ``order`` went, one stays in each block."""
    stay = {0: [0, 1, 2, 3], 1: [0, 1, 2, 3]}
    for block, head in (divmod(int(h), 4) for h in order):
        if len(stay[0]) + len(stay[1]) > left and len(stay[block]) > 1:
            stay[block].remove(head)
    return text.prune_heads(text_teacher, stay)


def still_right(net):
    return nets.predict_logits(net, check_x[:200]).argmax(axis=1) == check_y[:200]


left = [8, 6, 4, 2]
ways = {"least important first": order, "most important first": order[::-1]}
still = {
    way: [still_right(pruned_to(n, o)) for n in left] for way, o in tqdm(ways.items())
}

# %% tags=["folded"]
ahead_text = MadeAhead.load(distill_text.FILE)
trained_on = ahead_text.content["fewer_heads"]["trained on"]
curves = {
    way: (left, [100 * hits.mean() for hits in rows]) for way, rows in still.items()
}
curves["trained on after each"] = (
    [step["heads"] for step in trained_on],
    [step["validation"] for step in trained_on],
)
title = "With 4 of 8 heads: " + ", ".join(
    f"{y[list(x).index(4)]:.1f} % {way}" for way, (x, y) in curves.items()
)
figure = ui.lines(curves, title, "heads that are left", "accuracy in %, validation")
ui.show(figure, alt=f"Three curves. {title}.")
whose("head_importance")


# %% tags=["finding:order"]
def finding_order(gap, heads, before, after, date, machine):
    text = by_side(
        gap,
        0,
        above="the order by importance keeps more than the opposite one, by {}",
        below="the order by importance keeps less than the opposite one, {}",
        unclear="these windows cannot tell the order by importance from the opposite one, {}",
    )
    return (
        f"With {heads} heads, and nothing trained again, {text}. A slope at open gates sees one head "
        "at a time: of two heads that do the same, each alone seems to be worth nothing. Trained on after "
        f"each head that went, {heads} heads are right on {after:.1f} % of the validation windows, all "
        f"heads on {before:.1f} % (made ahead on {date}, {machine})."
    )


finding(
    finding_order,
    quality.difference(*(still[way][2] for way in ways)).loss,
    left[2],
    trained_on[0]["validation"],
    next(step["validation"] for step in trained_on if step["heads"] == left[2]),
    ahead_text.content["date"],
    ahead_text.content["machine"],
)

# %% [markdown]
# ## The real tool
#
# ### Your loss and PyTorch's
#
# PyTorch has the divergence, and none of the rest: `F.kl_div` with `log_target=True` and `reduction="batchmean"`, times $T^2$. Value and gradient on the real logits, side by side:


# %%
def torchs(student, teacher, t):
    log = F.log_softmax
    both = log(student / t, dim=1), log(teacher / t, dim=1)
    return t * t * F.kl_div(*both, reduction="batchmean", log_target=True)


def with_gradient(loss):
    leaf = untrained_logits.double().requires_grad_()
    value = loss(leaf, teacher_logits[:256].double(), temperature)
    value.backward()
    return value.item(), leaf.grad


(mine, slope), (theirs, their_slope) = with_gradient(kd_loss), with_gradient(torchs)


# %% tags=["finding:met"]
def finding_met(value, gradient):
    if max(value, gradient) < 1e-6:
        return "Your loss is PyTorch's, value and gradient, but for rounding."
    return (
        f"Your loss and PyTorch's differ: the value by {value:.2g} of its size, "
        f"the gradient by {gradient:.2g}."
    )


finding(
    finding_met,
    abs(mine - theirs) / abs(theirs),
    ((slope - their_slope).norm() / their_slope.norm()).item(),
)

# %% [markdown]
# ### On the runtime
#
# Teacher and student as files, on ONNX Runtime: this is what the device gets. The temperature, the regressor and the teacher's table stay behind; nothing of them is in the file.

# %%
files = {
    "teacher": export(teacher, signs.test.x[:1], work / "teacher.onnx").path,
    "student": export(students["soft targets"], signs.test.x[:1], work / "s.onnx").path,
}
with (
    open_engine(files["teacher"], threads=threads) as large,
    open_engine(files["student"], threads=threads) as small,
):
    race = latency.measure_latency(
        {"teacher": (large, signs.test.x[:1]), "student": (small, signs.test.x[:1])},
        runs=runs,
        warmup=5,
        seed=seed,
    )
    on_runtime = small.predict(signs.test.x).argmax(axis=1)

# %%
speed = record("speed.student", race.ratio("teacher", "student"))
sizes = {name: path.stat().st_size for name, path in files.items()}
unlike = int((on_runtime != live["soft targets"].argmax(axis=1)).sum())
Table(
    "What the device gets",
    ("file", "bytes", "times smaller", "answers unlike PyTorch's"),
    [
        ("teacher", sizes["teacher"], 1.0, None),
        ("student", sizes["student"], sizes["teacher"] / sizes["student"], unlike),
    ],
)


# %% tags=["finding:runtime"]
def finding_runtime(speed, smaller, parameters):
    text = f"The student's file is {smaller:.1f} times smaller, with {parameters:.1f} times fewer parameters"
    return (
        text
        + by_side(
            speed,
            1,
            above=", and it answers faster: {}.",
            below=", and it answers more slowly: {}.",
            unclear="; that it answers faster was not shown: {}.",
        )
        + (
            " A file holds the graph as well as the weights, and a small network gains less "
            "time than operations."
        )
    )


fewer = nets.count_parameters(teacher) / nets.count_parameters(untrained)
finding(finding_runtime, speed, sizes["teacher"] / sizes["student"], fewer)

# %% [markdown]
# ### A transformer on a CPU
#
# The text teacher, and four ways to something smaller: the teacher with half of its heads, trained on after each that went; its student, which has fewer of everything; and both, teacher and student, with
# **dynamic quantization**: the weights become eight-bit integers, and the activations get their scale anew with each window. All five are real files, and they take turns on ONNX Runtime.

# %%
text_files = {
    name: export(text_nets[kept], logs.test.x[:1], work / f"text_{kept}.onnx").path
    for name, kept in {
        "teacher": "teacher",
        "half of the heads": "heads",
        "student": "student",
    }.items()
}
for name in ("teacher", "student"):
    text_files[f"{name}, dynamic INT8"] = quantize_dynamic(
        text_files[name], work / f"{name}_dynamic.onnx"
    ).path

# %%
parts = np.split(logs.test.x[:1000], 20)  # all at once would take a gigabyte
truth = logs.test.y[:1000]
with ExitStack() as opened:
    engines = {
        name: opened.enter_context(open_engine(path, threads=threads))
        for name, path in text_files.items()
    }
    text_race = latency.measure_latency(
        engines, logs.test.x[:1], runs=runs, warmup=5, seed=seed
    )
    text_right = {
        name: np.concatenate([engine.predict(x) for x in parts]).argmax(axis=1) == truth
        for name, engine in engines.items()
    }

# %%
text_speed = {
    name: record(f"speed.text.{i}", text_race.ratio("teacher", name))
    for i, name in enumerate(text_files)
    if name != "teacher"
}
text_lost = {
    name: record(
        f"loss.text.{i}",
        quality.difference(text_right["teacher"], text_right[name]).loss,
    )
    for i, name in enumerate(text_files)
    if name != "teacher"
}
text_bytes = {name: path.stat().st_size for name, path in text_files.items()}
Table(
    "Text, sequences of 128, one window at a time",
    ("file", "bytes", "accuracy", "loses against the teacher", "times as fast"),
    [
        (
            name,
            text_bytes[name],
            quality.accuracy_reading(text_right[name], "ONNX Runtime, test"),
            text_lost.get(name),
            text_speed.get(name),
        )
        for name in text_files
    ],
)


# %% tags=["finding:text_student"]
def finding_text_student(speed, lost, smaller):
    text = f"The text student's file is {smaller:.1f} times smaller"
    text += by_side(
        speed,
        1,
        above=", and it answers faster: {}",
        below=", and it answers more slowly: {}",
        unclear="; that it answers faster was not shown: {}",
    )
    return text + by_side(
        lost,
        0,
        above=". Against its teacher it loses {}.",
        below=". Against its teacher it even gains, {}.",
        unclear=". That it loses against its teacher was not shown: {}.",
    )


finding(
    finding_text_student,
    text_speed["student"],
    text_lost["student"],
    text_bytes["teacher"] / text_bytes["student"],
)


# %% tags=["finding:heads"]
def finding_heads(speed, lost, heads, saved):
    told = {
        "above": ", and the teacher answers faster: {}.",
        "below": ", and the teacher answers more slowly: {}.",
        "unclear": "; that the teacher answers faster was not shown: {}.",
    }
    cost = {
        "above": "costs {}",
        "below": "even gains, {}",
        "unclear": "was not shown to cost accuracy, {}",
    }
    return (
        f"With {heads} of 8 heads the file is {saved:.0f} % smaller{by_side(speed, 1, **told)} "
        f"It {by_side(lost, 0, **cost)}. The heads hold a part of the weights only; the layers behind "
        "them stay as wide as they were."
    )


finding(
    finding_heads,
    text_speed["half of the heads"],
    text_lost["half of the heads"],
    distill_text.HEADS_LEFT,
    100 - 100 * text_bytes["half of the heads"] / text_bytes["teacher"],
)

# %% [markdown]
# What does dynamic quantization cost in accuracy? The claim Q4 is about size and speed alone: that the weights take a half to a quarter of the bytes, and that the model is faster. Lab 01 puts it to the test. What follows stands beside it as a reading, not as another
# verdict: the same tool on these two networks.


# %%
eight_bits = {name: f"{name}, dynamic INT8" for name in ("teacher", "student")}
dynamic_lost = {
    name: record(
        f"loss.dynamic.{name}",
        quality.difference(text_right[name], text_right[small]).loss,
    )
    for name, small in eight_bits.items()
}
dynamic_speed = {
    name: record(f"speed.dynamic.{name}", text_race.ratio(name, small))
    for name, small in eight_bits.items()
}


# %% tags=["finding:dynamic"]
def finding_dynamic(lost, speed, smaller):
    cost = {
        "above": "loses {}",
        "below": "gains, {}",
        "unclear": "was not shown to lose, {}",
    }
    time = {"above": "is faster, {}", "below": "is slower, {}"}
    time["unclear"] = "was not shown to change its speed, {}"
    said = [
        f"the {name} {by_side(lost[name], 0, **cost)}, has a file {smaller[name]:.1f} times smaller, "
        f"and {by_side(speed[name], 1, **time)}"
        for name in lost
    ]
    return f"With dynamic quantization {'; '.join(said)}."


finding(
    finding_dynamic,
    dynamic_lost,
    dynamic_speed,
    {name: text_bytes[name] / text_bytes[small] for name, small in eight_bits.items()},
)

# %% [markdown]
# Who gains and who pays? The two live students on the same test images, group by group. Below zero a group **gains** by the soft targets.

# %%
groups = quality.group_differences(
    right["hard labels"], right["soft targets"], signs.test.groups
)
groups


# %% tags=["finding:groups"]
def finding_groups(gains):
    best = max(gains, key=lambda g: gains[g].value)
    least = min(gains, key=lambda g: gains[g].value)
    return (
        f"The soft targets do most for the group {best}, {gains[best].figure()}, and least for "
        f"{least}, {gains[least].figure()}. A mean over all images shows neither."
    )


finding(
    finding_groups,
    {
        f"{g.grouping}: {g.name}": replace(
            g.loss, value=0 - g.loss.value, low=0 - g.loss.high, high=0 - g.loss.low
        )
        for g in groups.groups
    },
)

# %% [markdown]
# ### Five seeds, made ahead
#
# One run of one seed proves little: two students that differ in nothing but the seed differ by points. What follows was trained ahead with five seeds each; a reading that has fewer says so, and every figure says when and on which machine. Beside the signs
# and the device logs stands a third task, because it differs in what matters here: the **vibration** of a machine, five conditions of a bearing, where a much smaller student is nearly as good as its teacher anyway.

# %%
ahead = MadeAhead.load(distill_figures.FILE)
tasks = list(ahead.content["teachers"])
by_task = {**dict.fromkeys(tasks, ahead), distill_text.TASK: ahead_text}
Table(
    "Three tasks, all labels, five seeds",
    ("task", "times smaller", "teacher, %", "hard labels", "soft targets", "gain"),
    [
        (
            task,
            a.times_smaller(task).value,
            a.content["teachers"][task]["test"],
            a.accuracy(f"{task}, all labels", "hard"),
            a.accuracy(f"{task}, all labels", "soft"),
            a.gain(f"{task}, all labels", "soft"),
        )
        for task, a in by_task.items()
    ],
)


# %% tags=["finding:soft"]
def finding_soft(held, gains, noise):
    said = []
    for task, gain in gains.items():
        text = f"on the {task} soft targets "
        text += (
            "beat hard labels" if held[task] else "were not shown to beat hard labels"
        )
        said.append(
            f"{text} by more than the seed noise of {noise[task]:.1f} points, {gain.figure()}"
        )
    return f"With all labels: {'; '.join(said)}."


soft_gains = {t: a.gain(f"{t}, all labels", "soft") for t, a in by_task.items()}
finding(
    finding_soft,
    ahead.content["held"]["D2"] | ahead_text.content["held"]["D2"],
    soft_gains,
    {task: a.seed_noise(task) for task, a in by_task.items()},
)

# %% [markdown]
# What did the teachers see? All labels of their task, all of them right. A student may have fewer. Three students, then, with the labels of few items: one sees these items and their labels; one also hears what the teacher says of
# these items; and one hears the teacher on **all** items, most of which have no label. All take about as many steps.

# %%
few_gains = {
    f"{task}, {what}": a.gain(f"{task}, few labels", method)
    for task, a in by_task.items()
    for what, method in {
        "these items": "soft",
        "all items": distill_figures.UNLABELLED,
    }.items()
}
few_labels = {name: task.few for name, task in distill_figures.TASKS.items()}
few_labels[distill_text.TASK] = distill_text.LABELLED
Table(
    "Few labels, five seeds",
    ("task", "labels", "hard labels", "teacher on these items", "teacher on all"),
    [
        (
            task,
            few_labels[task],
            *[
                a.accuracy(f"{task}, few labels", method)
                for method in ("hard", "soft", distill_figures.UNLABELLED)
            ],
        )
        for task, a in by_task.items()
    ],
)


# %% tags=["finding:few"]
def finding_few(gains, labels, teachers):
    told = {
        "above": "gains {}",
        "below": "costs accuracy, {}",
        "unclear": "not shown to gain, {}",
    }
    said = [f"{name} {by_side(gain, 0, **told)}" for name, gain in gains.items()]
    saw = listed([f"{few:,} of {teachers[t]:,} ({t})" for t, few in labels.items()])
    return (
        f"With few labels, hearing the teacher on: {'; '.join(said)}. The student saw {saw} of the "
        "labels that its teacher was trained on: the rest reach it through the teacher alone."
    )


saw = {t: a.content["teachers"][t]["labels"] for t, a in by_task.items()}
finding(finding_few, few_gains, few_labels, saw)

# %% [markdown]
# Where many of the student's own labels are **wrong**, its teacher knows better, too, and the student hears of it.

# %%
noisy_gain = ahead.gain("vibration, wrong labels", "soft")
every_gain = {f"{task}, all labels": gain for task, gain in soft_gains.items()}
every_gain |= {f"{name}, few labels": gain for name, gain in few_gains.items()}
every_gain["vibration, 40 % wrong labels"] = noisy_gain
lead = max(every_gain, key=lambda name: every_gain[name].value)

# %% tags=["folded"]
title = f"Soft targets gain most here: {lead}"
figure = ui.bars(
    list(every_gain),
    list(every_gain.values()),
    title,
    "points gained",
    horizontal=True,
)
ui.show(figure, alt=f"Bars with intervals of the gain by condition. {title}.")


# %% tags=["finding:privilege"]
def finding_privilege(gain, seen, share):
    text = by_side(
        gain,
        0,
        above="With wrong labels on the vibration the soft targets gain {}",
        below="With wrong labels on the vibration the soft targets cost accuracy, {}",
        unclear="With wrong labels on the vibration no gain was shown, {}",
    )
    return (
        f"{text}. {100 * share:.0f} % of the student's {seen:,} labels were wrong; its teacher was "
        "trained on the same items with the right ones, so what it passes on are also labels that the "
        "student never had."
    )


finding(finding_privilege, noisy_gain, saw["vibration"], distill_figures.WRONG)

# %% [markdown]
# Next, the losses on features, each added to the soft targets, and their weighted sum, on the vibration:
#
# $$ L = \alpha L_{\mathrm{KD}} + (1 - \alpha) L_{\mathrm{CE}} + \beta_h L_{\mathrm{hint}} + \beta_a L_{\mathrm{AT}} + \beta_d L_{\mathrm{distance}} + \beta_w L_{\mathrm{angle}} $$
#
# The last term compares the angles between three images as the one before compares distances between two. Last in the table, another way to a small network: the teacher with filters taken out until it has exactly the student's size
# (torch-pruning chooses them), then trained on with the labels for as many epochs as the student.

# %%
methods = ["hard", "soft", *(f"soft + {name}" for name in FEATURES), "all"]
methods += [distill_figures.PRUNED]
Table(
    "Vibration, all labels, one size, five seeds",
    (
        "learns from",
        "accuracy",
        "against soft targets alone",
        "as the teacher answers, %",
    ),
    [
        (
            name,
            ahead.accuracy("vibration, all labels", name),
            None
            if name == "soft"
            else ahead.gain("vibration, all labels", name, "soft"),
            float(ahead.values("vibration, all labels", name, "agreement").mean()),
        )
        for name in methods
    ],
)


# %% tags=["finding:features"]
def finding_features(gains):
    told = {
        "above": "adds {}",
        "below": "costs, {}",
        "unclear": "was not shown to add, {}",
    }
    said = [f"{name} {by_side(gain, 0, **told)}" for name, gain in gains.items()]
    return (
        f"To soft targets alone: {'; '.join(said)}. The weights were fixed beforehand."
    )


feature_gains = {
    name: ahead.gain("vibration, all labels", f"soft + {name}", "soft")
    for name in FEATURES
}
finding(finding_features, feature_gains)

# %% [markdown]
# Do you trust figures that somebody else made? Choose a condition and a seed, and press: the two students are trained here and held against those of the table; a progress bar shows how far it is. The whole table, in a terminal:
# `uv run python -m edgelab.ahead.distill_figures --anew --file FILE`.


# %%
def again(condition, seed, report):
    """The figures made ahead; after the button was pressed, this machine's own beside them."""
    wanted = [
        distill_figures.Run("vibration", condition, m, seed) for m in ("hard", "soft")
    ]
    series = {"made ahead": [ahead.content["runs"][run.key]["test"] for run in wanted]}
    if pressed:
        report(0, len(wanted))
        made = distill_figures.make(
            work / "again.json",
            runs=wanted,
            say=lambda run, _: report(1 + wanted.index(run), len(wanted)),
        )["runs"]
        series["here"] = [made[run.key]["test"] for run in wanted]
    pressed.append(True)
    title = f"{condition}, seed {seed}: {' and '.join(series)}"
    return ui.grouped_bars(["hard", "soft"], series, title, "accuracy in %")


pressed = []
ui.Panel(
    again,
    title="Measure again",
    alt="Bars of the accuracy with hard labels and with soft targets.",
    button="Train two students",
    reports=True,
    condition=ui.choice(["all labels", "wrong labels"], label="condition"),
    seed=ui.slider(0, 4, 1, value=0, label="seed"),
)

# %% [markdown]
# ## Explore
#
# **The temperature.** Choose an image and turn the dial, with your `soft_targets` on the teacher's real logits.
#
# - From which temperature on does the second class show?
# - At which one do all images look the same?
# - Does the order of the classes ever change?
#
# <details><summary>Discussion</summary>
#
# The second class shows where the temperature comes near the distance of the two largest logits. At very high temperatures every row is flat, for every image, and the differences that are left are
# proportional to the logits. The order never changes: dividing by a positive number keeps it.
#
# </details>

# %%
faces = signs.test.take(unsure)


def at_temperature(image, t):
    row = soft_targets(test_logits[unsure[image]][None], t).numpy()
    caption = f"T = {t:g}: the highest is {row.max():.2f}"
    one = faces.take([image])
    return ui.soft_targets(
        one.x, row, one.y, signs.class_names, title=caption, most=signs.classes
    )


ui.Panel(
    at_temperature,
    title="One image, one dial",
    image=ui.slider(0, len(unsure) - 1, 1, value=0, label="image"),
    t=ui.slider(0.5, 20.0, 0.5, value=temperature, label="temperature"),
)

# %% [markdown]
# **Whom does the student follow?** Where teacher and label disagree, the student has to choose. Choose a share $\alpha$ and look at the gradient of your `mixed_loss` at the logits of one such image.
#
# - From which share on does the teacher win?
# - Is that the right way round when labels are wrong? And when the teacher is?
#
# <details><summary>Discussion</summary>
#
# With most of the weight on the soft targets the teacher's class is pulled up most. That is what saves the student from wrong labels. Where the teacher is wrong and the label right, the pull goes the wrong
# way. Nobody knows which of the two it is for a single image; over many, it depends on who errs more often, and a small set of labels that you trust tells you.
#
# </details>

# %%
quarrel = torch.nonzero(teacher_logits.argmax(dim=1) != noisy_labels).ravel()[:6]


def chosen(image, share):
    k = quarrel[image]
    leaf = torch.zeros(1, signs.classes, requires_grad=True)
    loss = mixed_loss(
        leaf, teacher_logits[k][None], noisy_labels[k][None], temperature, share
    )
    loss.backward()
    title = (
        f"Label: {names[noisy_labels[k]]}; teacher: {names[teacher_logits[k].argmax()]}"
    )
    return ui.bars(names, -leaf.grad[0].numpy(), title, "pull at the logit")


ui.Panel(
    chosen,
    title="Label against teacher",
    alt="Bars of how hard each logit is pulled up or down.",
    image=ui.slider(0, len(quarrel) - 1, 1, value=0, label="image"),
    share=ui.slider(0.0, 1.0, 0.1, value=alpha, label="alpha"),
)

# %% [markdown]
# ## Claims
#
# What the field says, held against what was measured with five seeds.

# %%
quantities = {"vibration": "vibration", "signs": "signs", distill_text.TASK: "text"}
against_teacher = {
    f"{what}_{quantities[task]}": record(f"{what}.{task}", reading)
    for task, a in by_task.items()
    for what, reading in {
        "size": a.times_smaller(task),
        "loss": a.loss_to_teacher(task),
    }.items()
}
claim("D1", **against_teacher)

# %%
claim(
    "D2",
    **{quantities[t]: record(f"gain.soft.{t}", g) for t, g in soft_gains.items()},
)

# %%
claim("D3", **{name: record(f"gain.{name}", g) for name, g in feature_gains.items()})

# %%
against_pruned = {
    task: ahead.gain(f"{task}, all labels", "soft", distill_figures.PRUNED)
    for task in tasks
}
claim(
    "D4",
    **{task: record(f"gain.pruned.{task}", g) for task, g in against_pruned.items()},
)


# %% tags=["finding:pruned"]
def finding_pruned(gains):
    told = {
        "above": "the distilled student beats the teacher pruned to its size by {}",
        "below": "the teacher pruned to the student's size is better than the distilled student, {}",
        "unclear": "between student and pruned teacher no difference was shown, {}",
    }
    said = [f"on the {task} {by_side(gain, 0, **told)}" for task, gain in gains.items()]
    text = "; ".join(said)
    return (
        f"{text[0].upper()}{text[1:]}. Both trained for as many epochs; the pruned one started from "
        "the teacher's filters, the student from nothing."
    )


finding(finding_pruned, against_pruned)

# %% [markdown]
# ## Challenge
#
# The camera has room for a file of <span class="given" title="the task">40,000 bytes</span>, and the customer asks about the worst of the four lighting conditions. Make an ONNX file that fits, that loses at most
# <span class="given" title="the task">6 points</span> against the teacher on the validation images, and that is right on at least <span class="given" title="the task">65 %</span> of the images of its worst
# lighting. A smaller file is a better one. Everything above is allowed, and `edgelab.slim` and `edgelab.compress` too: losses on features, more epochs, a width of your own, eight bits at the end.


# %% tags=["challenge:smallest", "hidden"]
def reference():
    """The teacher pruned to the student's size, trained ahead."""
    net = distill_figures.networks()[distill_figures.PRUNED]
    return export(net, signs.test.x[:1], work / "reference.onnx").path


# %% tags=["challenge:smallest"]
# `your_file`: the path of an .onnx file that takes the signs and gives ten logits
### BEGIN SOLUTION
your_file = reference()
### GIVEN
# your_file = None
### END SOLUTION


# %%
def measured(path):
    with open_engine(path, threads=threads) as engine:
        hits = engine.predict(signs.validation.x).argmax(axis=1) == signs.validation.y
    light = signs.validation.groups["lighting"]
    worst = min(set(light), key=lambda name: hits[light == name].mean())
    size = Reading(Path(path).stat().st_size, "bytes", "measured", "size of the file")
    reading = quality.accuracy_reading(hits[light == worst], f"validation, {worst}")
    loss = quality.difference(teacher_val_right, hits).loss
    return {"file": size, "loss": loss, "worst lighting": reading}


teacher_val = nets.predict_logits(teacher, signs.validation.x).argmax(axis=1)
teacher_val_right = teacher_val == signs.validation.y
challenge(
    "smallest",
    your_file,
    measured,
    Target("file", at_most=40_000, unit="bytes"),
    Target("loss", at_most=6.0, unit="points"),
    Target("worst lighting", at_least=65.0, unit="%"),
)

# %% [markdown]
# ## Bring your own
#
# `my_data` takes an `.npz` with `x` (float32, channels first), `y` and, if you have it, `group`; `my_teacher` an `.onnx` that takes `x` and gives logits. The student is made to fit the shape of your data. You get
# the student as an ONNX file, who gains and who pays, how often it answers as the teacher, and what the teacher saw that the student did not. Leave both empty and this section runs on a part of the signs.

# %%
teacher_file = Path(my_teacher).expanduser() if my_teacher else files["teacher"]
if my_data:
    own = data.from_npz(Path(my_data).expanduser())
else:
    own = replace(signs, train=train.take(np.arange(min(items, 1000))))
shape = own.input_shape
if len(shape) == 3:
    own_student = nets.dscnn(own.classes, in_channels=shape[0], width=12)
elif len(shape) == 2:
    own_student = nets.cnn1d(own.classes, in_channels=shape[0], width=6)
else:
    own_student = nets.mlp(shape[0], own.classes, hidden=(16,))

# %%
teacher_labels = None if my_teacher else saw["signs"]
with TeacherFile(teacher_file, threads) as own_teacher:
    made = distill(
        own_teacher,
        own_student,
        own,
        work / "own.onnx",
        epochs=3,
        learning_rate=0.01,
        teacher_labels=teacher_labels,
    )
made

# %% [markdown]
# ## What you found
#
# Made from the readings of this run, and from those made ahead.


# %% tags=["finding:recap"]
def finding_recap(gains, losses):
    told = {
        "above": "gained {}",
        "below": "cost accuracy, {}",
        "unclear": "were not shown to gain, {}",
    }
    said = [
        f"on the {task}, where the student is {losses[task].value:.1f} points behind its teacher, "
        f"they {by_side(gain, 0, **told)}"
        for task, gain in gains.items()
    ]
    return f"Soft targets in place of hard labels: {'; '.join(said)}."


finding(
    finding_recap,
    soft_gains,
    {task: a.loss_to_teacher(task) for task, a in by_task.items()},
)


# %% tags=["finding:recap_labels"]
def finding_recap_labels(gains):
    sides = {
        "gained with {}": [],
        "lost with {}": [],
        "was shown neither to gain nor to lose with {}": [],
    }
    above, below, unclear = (text.replace(" {}", "") for text in sides)
    told = {"above": above, "below": below, "unclear": unclear}
    for name in sorted(gains, key=lambda name: -gains[name].value):
        side = by_side(gains[name], 0, **told)
        sides[f"{side} {{}}"].append(f"{name} ({gains[name].value:.1f} points)")
    said = [text.format(listed(names)) for text, names in sides.items() if names]
    return f"By its teacher a student {'; it '.join(said)}."


finding(finding_recap_labels, every_gain)

# %% [markdown]
# And what holds on every machine:
#
# - Soft targets say how classes resemble each other. The temperature decides how loudly.
# - The loss needs $T^2$, log-probabilities of the student first, a sum over the classes, and a teacher in evaluation mode. Each fault is silent.
# - The teacher runs once for each image, before training. It costs nothing on the device.
# - Say what the teacher saw. A gain from labels that the student never had is worth having, and it is no magic.
# - One seed proves nothing. Report the gain with its interval over seeds, and by group.
#
# ## Sources
#
# - Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015: [arXiv:1503.02531](https://arxiv.org/abs/1503.02531) (temperature, $T^2$, dark knowledge).
# - Romero et al., *FitNets: Hints for Thin Deep Nets*, 2015: [arXiv:1412.6550](https://arxiv.org/abs/1412.6550) (hints, the regressor).
# - Zagoruyko and Komodakis, *Paying More Attention to Attention*, 2017: [arXiv:1612.03928](https://arxiv.org/abs/1612.03928) (attention transfer).
# - Park et al., *Relational Knowledge Distillation*, 2019: [arXiv:1904.05068](https://arxiv.org/abs/1904.05068) (distances and angles).
# - Stanton et al., *Does Knowledge Distillation Really Work?*, 2021: [arXiv:2106.05945](https://arxiv.org/abs/2106.05945) (students that do not agree with their teachers).
# - Vaswani et al., *Attention Is All You Need*, 2017: [arXiv:1706.03762](https://arxiv.org/abs/1706.03762) (the transformer, and its attention).
# - Michel, Levy and Neubig, *Are Sixteen Heads Really Better than One?*, 2019: [arXiv:1905.10650](https://arxiv.org/abs/1905.10650) (how much hangs on a head).
# - Fang et al., *DepGraph: Towards Any Structural Pruning*, 2023: [arXiv:2301.12900](https://arxiv.org/abs/2301.12900) (how the pruned teacher was made).
# - PyTorch, [KLDivLoss](https://docs.pytorch.org/docs/stable/generated/torch.nn.KLDivLoss.html) (the order of its arguments, and its reductions).
