"""The two tasks that federated learning is measured on here: digits from many hands, vibration from many sensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab import data, nets
from edgelab.data.dataset import Dataset, Split
from edgelab.errors import BadInput
from edgelab.federated.client import ClientConfig
from edgelab.federated.partition import Partition, dirichlet_labels, feature_skew, iid

SETTINGS = {"digits": ("IID", "labels"), "vibration": ("IID", "labels", "sensors")}
"""How the items of each task are dealt out; ``labels`` is a Dirichlet label skew of `ALPHA`."""
ALPHA = 0.1
_MIN_ITEMS = 4
_BANDS = 64
_FLOOR_G = 1e-3


@dataclass(frozen=True)
class Task:
    """A data set, how many clients share it, and how they train. Both rates were fixed beforehand on validation."""

    name: str
    clients: int
    sample: int | None
    rounds: int
    config: ClientConfig
    hidden: tuple[int, ...] = (32,)

    @property
    def passes(self) -> int:
        """How often an item is trained on, on average: the epochs that centralised training gets."""
        return round(self.rounds * self.config.epochs * (self.sample or self.clients) / self.clients)

    def load(self) -> Dataset:
        """The data, vibration as spectra."""
        return data.digits() if self.name == "digits" else spectra(data.load("vibration"))

    def network(self, dataset: Dataset, seed: int = 0) -> nn.Module:
        """A perceptron with one hidden layer and weights of a seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net: nn.Module = nets.mlp(int(np.prod(dataset.input_shape)), dataset.classes, self.hidden)
            return net

    def deal(self, split: Split, setting: str, seed: int = 0) -> Partition:
        """Who holds what in one of `SETTINGS`."""
        if setting == "IID":
            return iid(split, self.clients, seed)
        if setting == "labels":
            return dirichlet_labels(split, self.clients, ALPHA, seed, min_items=_MIN_ITEMS)
        if setting == "sensors":
            return feature_skew(split, self.clients, "sensor", seed)
        raise BadInput(f"The setting '{setting}' is not known; use one of {', '.join(SETTINGS[self.name])}.")


TASKS = {
    "digits": Task("digits", 20, 10, 60, ClientConfig(learning_rate=0.3, epochs=2)),
    "vibration": Task("vibration", 15, None, 30, ClientConfig(learning_rate=0.05, epochs=2)),
}


def spectra(dataset: Dataset) -> Dataset:
    """Windows of vibration (N, 1, 1024) as 128 features: 64 bands of the spectrum, 64 lines of the envelope's.

    Both are logarithms, scaled by the training items. The envelope is that of what lies above 1 kHz, where a defect's
    shocks make the structure ring; its spectrum shows how often they come (R. B. Randall and J. Antoni, Rolling
    element bearing diagnostics: a tutorial, Mechanical Systems and Signal Processing 25, 2011).
    """
    found = {part: _features(split.x[:, 0]) for part, split in dataset.splits.items()}
    mean, deviation = found["train"].mean(axis=0), found["train"].std(axis=0)
    train, validation, test = (
        Split((found[part] - mean) / deviation, split.y, split.groups) for part, split in dataset.splits.items()
    )
    scaling = "logarithms of two spectra, mean 0 and deviation 1"
    return replace(dataset, train=train, validation=validation, test=test, scaling=scaling)


def _features(signals: NDArray[np.float32]) -> NDArray[np.float32]:
    samples = signals.shape[1]
    window = np.hanning(samples).astype(np.float32)
    bands = np.abs(np.fft.rfft(signals * window, axis=1))[:, 1:]
    bands = bands.reshape(len(signals), _BANDS, -1).mean(axis=2)
    analytic = np.zeros(signals.shape, np.complex64)  # of what lies above an eighth of the rate, by Hilbert's transform
    high = slice(samples // 8, samples // 2)
    analytic[:, high] = 2 * np.fft.rfft(signals, axis=1)[:, high]
    envelope = np.abs(np.fft.ifft(analytic, axis=1))
    envelope -= envelope.mean(axis=1, keepdims=True)
    lines = np.abs(np.fft.rfft(envelope * window, axis=1))[:, 1 : _BANDS + 1]
    lines /= lines.mean(axis=1, keepdims=True) + 1e-9
    return np.log(np.concatenate([bands, lines], axis=1) + _FLOOR_G).astype(np.float32)
