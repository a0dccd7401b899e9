"""Differential privacy: clip what each one contributes, sum, add noise of a known size.

**Example level** protects a single item: `private_sgd` clips the gradient of each. **Client level** protects all that
one client holds: `PrivateMean` clips each client's update, and `private_rounds` samples clients as the accountant
assumes it. Both draw their noise from a seeded generator, so that a figure can be made again. **Whoever deploys this
needs noise that nobody can repeat**: leave the seed out, and mind that floats have gaps (Mironov, CCS 2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call, grad, vmap

from edgelab.data.dataset import Split
from edgelab.errors import BadInput
from edgelab.federated.client import ClientConfig, Weights, client_round, initial_weights
from edgelab.federated.engines import flatten, one_thread, run_clients, unflatten
from edgelab.federated.partition import Partition
from edgelab.federated.schedule import schedule_round
from edgelab.privacy import accountant

Floats = NDArray[np.float32]


def clip_rows(rows: Floats, limit: float) -> Floats:
    """Each row (K, parameters) shortened to a length of at most ``limit``, its direction kept.

    Raises
    ------
    BadInput
        If the limit is not above 0, or a row holds a NaN or an infinite value.

    Examples
    --------
    >>> clip_rows(np.array([[3.0, 4.0], [0.3, 0.4]], "float32"), 1.0).round(2).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.30000001192092896, 0.4000000059604645]]
    """
    if not (math.isfinite(limit) and limit > 0):
        raise BadInput(f"A clipping norm of {limit} must be above 0.")
    if not np.isfinite(rows).all():
        raise BadInput("A NaN or an infinite value cannot be clipped; leave its row out.")
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    found: Floats = (rows * np.minimum(1.0, limit / np.maximum(lengths, 1e-30))).astype(np.float32)
    return found


def gaussian(value: NDArray[np.float64], sensitivity: float, noise_multiplier: float, rng: np.random.Generator) -> Any:
    """A value plus normal noise of ``noise_multiplier`` times its sensitivity in Euclidean length.

    Notes
    -----
    C. Dwork and A. Roth, The Algorithmic Foundations of Differential Privacy, 2014, appendix A.
    """
    _positive(sensitivity=sensitivity, noise_multiplier=noise_multiplier)
    return value + rng.normal(0.0, noise_multiplier * sensitivity, np.shape(value))


def laplace(value: NDArray[np.float64], sensitivity: float, epsilon: float, rng: np.random.Generator) -> Any:
    """A value plus Laplace noise of scale sensitivity / epsilon; the sensitivity is a sum of absolute changes.

    Pure epsilon, no delta. Of a vector the sensitivity grows with its length, which is why gradients take the Gaussian.

    Notes
    -----
    C. Dwork, F. McSherry, K. Nissim and A. Smith, Calibrating Noise to Sensitivity, TCC 2006.
    """
    _positive(sensitivity=sensitivity, epsilon=epsilon)
    return value + rng.laplace(0.0, sensitivity / epsilon, np.shape(value))


@dataclass(frozen=True)
class PrivacyConfig:
    """How a training is made private.

    ``clip``: the largest Euclidean length of one contribution. ``noise_multiplier``: standard deviation of the noise
    in the sum, over ``clip``; 0 adds none, and gives no privacy. ``sampling_rate``: with what probability each takes
    part in a step. ``steps``: how many.

    Raises
    ------
    BadInput
        If a value is out of range.
    """

    clip: float
    noise_multiplier: float
    sampling_rate: float
    steps: int

    def __post_init__(self) -> None:
        _positive(clip=self.clip)
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier >= 0):
            raise BadInput(f"noise_multiplier={self.noise_multiplier} must be 0 or more.")
        if not 0 < self.sampling_rate <= 1 or self.steps < 1:
            raise BadInput(f"sampling_rate={self.sampling_rate}, steps={self.steps}: above 0 to 1, and at least one.")

    def epsilon(self, delta: float) -> float:
        """By Renyi differential privacy; infinite without noise."""
        if self.noise_multiplier == 0:
            return math.inf
        return accountant.epsilon(self.sampling_rate, self.noise_multiplier, self.steps, delta)


@dataclass(frozen=True, eq=False)
class PrivateRun:
    """A private training: the weights, how it was done, and what it costs.

    ``level`` is ``"example"`` or ``"client"``; ``clipped`` the share of contributions that were longer than the limit.
    """

    weights: Weights = field(repr=False)
    config: PrivacyConfig
    level: str
    epsilon: float
    delta: float
    clipped: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, without the weights."""
        cost = None if math.isinf(self.epsilon) else self.epsilon
        kept = {"level": self.level, "epsilon": cost, "delta": self.delta, "clipped": self.clipped}
        return {"config": asdict(self.config), **kept}


def example_gradients(net: nn.Module) -> Callable[[Weights, torch.Tensor, torch.Tensor], torch.Tensor]:
    """A function of (weights, x (B, ...), y (B,)) that gives the gradient of every item by itself, (B, parameters)."""

    def loss_of(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(functional_call(net, dict(weights), (x[None],)), y[None])

    each = vmap(grad(loss_of), in_dims=(None, 0, 0))

    def run(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        found = each(weights, x, y)
        return torch.cat([value.reshape(len(x), -1) for value in found.values()], dim=1)

    return run


def private_sgd(
    net: nn.Module,
    split: Split,
    config: PrivacyConfig,
    *,
    learning_rate: float = 0.5,
    momentum: float = 0.0,
    delta: float | None = None,
    seed: int | None = None,
) -> PrivateRun:
    """DP-SGD: of each sampled item the gradient, clipped; their sum plus noise, over the expected batch.

    Parameters
    ----------
    net
        Its weights are where it starts; it is not changed.
    split
        The items, each of which is protected.
    config
        Clipping, noise, sampling, steps.
    learning_rate, momentum
        Of gradient descent, after the noise, which costs no privacy.
    delta
        None: one over ten times the number of items.
    seed
        Of sampling and noise; None: nobody can repeat it.

    Notes
    -----
    M. Abadi et al., Deep Learning with Differential Privacy, CCS 2016.
    """
    x, y = torch.from_numpy(split.x), torch.from_numpy(split.y)
    start = initial_weights(net)
    now = torch.from_numpy(flatten(start))
    gradients, speed = example_gradients(net), torch.zeros_like(now)
    rng = np.random.default_rng(seed)
    expected = config.sampling_rate * len(y)
    scale, seen, long = config.noise_multiplier * config.clip, 0, 0
    with one_thread():
        for _ in range(config.steps):
            rows = np.flatnonzero(rng.random(len(y)) < config.sampling_rate)
            total = torch.zeros_like(now)
            if len(rows):
                each = gradients(unflatten(now.numpy(), start), x[rows], y[rows])
                lengths = each.norm(dim=1)
                seen, long = seen + len(rows), long + int((lengths > config.clip).sum())
                total = (config.clip / lengths.clamp(min=config.clip)) @ each
            noise = torch.from_numpy(rng.standard_normal(len(now)).astype(np.float32))
            speed = momentum * speed + (total + scale * noise) / expected
            now = now - learning_rate * speed
    d = 1 / (10 * len(y)) if delta is None else delta
    return PrivateRun(unflatten(now.numpy(), start), config, "example", config.epsilon(d), d, long / max(seen, 1))


class PrivateMean:
    """A server's rule: clip each update, sum, add noise, divide by the expected number of clients.

    Every client counts once, whatever it holds: a weight by size would let a large client stand out. It is private
    with the rounds that `private_rounds` draws; the accountant knows no other sampling.

    Parameters
    ----------
    config
        Clipping, noise, sampling, rounds.
    clients
        How many there are; the divisor is their number times the sampling rate, whoever really took part.
    seed
        Of the noise; None: nobody can repeat it.

    Notes
    -----
    H. B. McMahan et al., Learning Differentially Private Recurrent Language Models, ICLR 2018.

    Examples
    --------
    >>> rule = PrivateMean(PrivacyConfig(1.0, 0.0, 1.0, 1), clients=2)
    >>> rule(np.zeros(1, "float32"), np.array([[8.0], [0.5]], "float32"), np.array([1, 1])).tolist()
    [0.75]
    """

    def __init__(self, config: PrivacyConfig, clients: int, seed: int | None = None) -> None:
        self.config, self.expected = config, config.sampling_rate * clients
        self._rng = np.random.default_rng(seed)

    def __call__(self, weights: Floats, updates: Floats, sizes: NDArray[np.int64]) -> Floats:  # noqa: ARG002
        """The new weights (parameters,)."""
        total = clip_rows(updates, self.config.clip).sum(axis=0, dtype=np.float64)
        total = total + self._rng.normal(0, self.config.noise_multiplier * self.config.clip, total.shape)
        found: Floats = (weights + total / self.expected).astype(np.float32)
        return found


def private_rounds(
    net: nn.Module,
    split: Split,
    partition: Partition,
    config: PrivacyConfig,
    client: ClientConfig | None = None,
    *,
    delta: float | None = None,
    seed: int | None = None,
) -> PrivateRun:
    """DP-FedAvg: in each round every client takes part with the sampling rate, independently of the others.

    Parameters
    ----------
    net, split, partition
        As for `edgelab.federated.simulate`.
    config
        Clipping, noise, sampling, rounds.
    client
        How a client trains.
    delta
        None: one over ten times the number of clients.
    seed
        Of sampling, noise and the order of items; None: nobody can repeat it.
    """
    own, start = client or ClientConfig(), initial_weights(net)
    draw = np.random.default_rng(seed)
    order = int(draw.integers(2**31))
    rule = PrivateMean(config, partition.clients, int(draw.integers(2**63)) if seed is not None else None)
    now, function, seen, long = flatten(start), client_round(net), 0, 0
    for number in range(config.steps):
        active = np.flatnonzero(draw.random(partition.clients) < config.sampling_rate)
        updates, sizes = np.zeros((0, len(now)), np.float32), partition.sizes[active]
        if len(active):
            plan = schedule_round(partition, active, own, order, number)
            updates = run_clients(split, plan, unflatten(now, start), own, function, pad_steps=True).updates
            seen, long = seen + len(active), long + int((np.linalg.norm(updates, axis=1) > config.clip).sum())
        now = rule(now, updates, sizes)
    d = 1 / (10 * partition.clients) if delta is None else delta
    return PrivateRun(unflatten(now, start), config, "client", config.epsilon(d), d, long / max(seen, 1))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise BadInput(f"{name}={value} must be above 0.")
