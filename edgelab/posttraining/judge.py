"""How far a quantized network's answers are from those of the float network, on the half of the data to choose by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.posttraining.graph import Feeds, run

CHANCE = 0.005
"""A step that changes this share of the answers more than the network before it is not taken, however near it comes."""


@dataclass(frozen=True)
class Score:
    """The divergence of one candidate: smaller ``loss`` is nearer to the float network.

    ``loss`` is the power of the errors over that of the outputs; where the first output is (N, classes), the geometric
    mean of it and the Kullback-Leibler divergence of the softmax (nats): the latter asks for what changes answers, but
    hangs on the few items between two classes. ``agreement`` is the share of the items with the same top answer,
    None without classes; ``noise`` the power of the errors over that of the outputs.
    """

    loss: float
    agreement: float | None
    noise: float

    def __str__(self) -> str:
        same = "" if self.agreement is None else f", {100 * self.agreement:.2f} % the same answer"
        noise = "no noise" if self.noise == 0 else f"SQNR {-10 * np.log10(self.noise):.1f} dB"
        return f"{noise}{same}"


@dataclass(frozen=True, eq=False)
class Judge:
    """Items to choose by, and what the float network answers to them; made by `judge_of`."""

    feeds: Feeds
    outputs: tuple[str, ...]
    reference: tuple[NDArray[Any], ...]

    def __call__(self, model: Any) -> Score:
        """The score of a model, in memory or as bytes."""
        return score(self.reference, answers(model, self.feeds, self.outputs))

    def improves(self, found: Score, before: Score, share: float) -> bool:
        """Whether the loss fell below this share of that before, and no more answers changed than chance changes.

        Chance is `CHANCE`, or with few items one standard error of the share that had changed before.
        """
        if found.loss >= share * before.loss:
            return False
        if found.agreement is None or before.agreement is None:
            return True
        items = len(self.reference[0])
        changed = max(1 - before.agreement, 1 / items)
        fallen = before.agreement - found.agreement
        return fallen <= max(CHANCE, float(np.sqrt(changed / items))) + 1e-9

    def part(self, items: int) -> Judge:
        """A judge of the first so many items, for choices that are made often."""
        count = len(next(iter(self.feeds.values())))
        if items >= count or any(len(array) != count for array in self.reference):
            return self
        return Judge(
            {name: array[:items] for name, array in self.feeds.items()},
            self.outputs,
            tuple(array[:items] for array in self.reference),
        )


def judge_of(model: Any, feeds: Feeds) -> Judge:
    """A judge by the answers of a float model.

    Raises
    ------
    BadInput
        If the network answers with no floating-point output, or with NaN or infinity.
    """
    names = [output.name for output in model.graph.output if output.type.tensor_type.elem_type in (1, 10, 11)]
    if not names:
        raise BadInput("The network has no output of a floating type, by which a quantized one could be judged.")
    reference = answers(model, feeds, names)
    if not all(np.isfinite(array).all() for array in reference):
        raise BadInput("The float network answers with NaN or infinity on this data.")
    return Judge(feeds, tuple(names), tuple(reference))


def answers(model: Any, feeds: Feeds, outputs: Sequence[str]) -> list[NDArray[Any]]:
    """The named outputs for all items, each batch behind the other along the first axis."""
    parts = list(run(model, feeds, outputs))
    if not parts:
        raise BadInput("There are too few items for one batch of the network.")
    return [np.concatenate([np.atleast_1d(part[i]) for part in parts]) for i in range(len(outputs))]


def score(reference: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> Score:
    """Hold answers against the reference's.

    Examples
    --------
    >>> one = [np.array([[1.0, 0.0], [0.0, 2.0]])]
    >>> score(one, one)
    Score(loss=0.0, agreement=1.0, noise=0.0)
    """
    noises = []
    for a, b in zip(reference, found, strict=True):
        if a.shape != b.shape or not np.isfinite(b).all():
            return Score(float("inf"), None, float("inf"))
        power = float(np.square(a.astype(np.float64)).sum())
        error = float(np.square(a.astype(np.float64) - b).sum())
        noises.append(error / power if power else float(error > 0))
    noise = float(np.mean(noises))
    first, other = reference[0].astype(np.float64), found[0].astype(np.float64)
    if first.ndim != 2 or first.shape[1] < 2:
        return Score(noise, None, noise)
    same = float((first.argmax(axis=1) == other.argmax(axis=1)).mean())
    log_p, log_q = log_softmax(first), log_softmax(other)
    divergence = float(max(0.0, np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1))))
    return Score((divergence * noise) ** 0.5, same, noise)


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The logarithm of the softmax along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float64)
