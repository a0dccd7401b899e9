"""A small task and networks of two sizes for the tests of distillation."""

import numpy as np
from torch import nn

from edgelab.data.dataset import Dataset, Split


def toy(items=400, classes=3, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((items, 1, 8, 8)).astype(np.float32)
    y = np.digitize(x[:, 0, :4].mean(axis=(1, 2)), [-0.08, 0.08]).astype(np.int64) % classes
    half = np.where(x[:, 0, 4:].mean(axis=(1, 2)) > 0, "bright", "dark")
    parts = [Split(x[a:b], y[a:b], {"light": half[a:b]}) for a, b in ((0, 200), (200, 300), (300, 400))]
    return Dataset("toy", *parts, ("a", "b", "c")[:classes], "made here", "Apache-2.0", "none", "none")


class Small(nn.Sequential):
    def __init__(self, width=4, classes=3):
        super().__init__()
        self.add_module("conv", nn.Conv2d(1, width, 3, padding=1))
        self.add_module("relu", nn.ReLU())
        self.add_module("pool", nn.AdaptiveAvgPool2d(2))
        self.add_module("flatten", nn.Flatten())
        self.add_module("head", nn.Linear(4 * width, classes))
