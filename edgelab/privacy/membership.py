"""Was this item in the training data? An attacker's answer, and how often it is right.

The attack by a threshold needs the model's loss on an item. The one by likelihood ratio also has shadow models that
were trained with and without the item, and asks which of the two the loss looks like.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.reading import Reading

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Attack:
    """How well members are told from others.

    ``auc``: how often a member scores above another item (0.5 is a coin), with its 95 percent interval. ``advantage``:
    true minus false alarms at the threshold that is best for the attacker. ``tpr_at_1_percent``: members found where
    one in a hundred of the others may be called one.
    """

    auc: float
    low: float
    high: float
    advantage: float
    tpr_at_1_percent: float
    members: int
    others: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)

    def reading(self, by: str) -> Reading:
        """The area under the curve in percent, with its interval."""
        return Reading(100 * self.auc, "%", "measured", by, low=100 * self.low, high=100 * self.high)


def judge_attack(member_scores: ArrayLike, other_scores: ArrayLike) -> Attack:
    """Judge an attack by its scores: the higher, the surer that the item was a member.

    Raises
    ------
    BadInput
        If there are no scores of one kind, or they are not finite.

    Notes
    -----
    The interval of the area is that of J. A. Hanley and B. J. McNeil, Radiology 143 (1982).

    Examples
    --------
    >>> judge_attack([3.0, 2.0, 2.0], [1.0, 2.0]).auc
    0.8333333333333334
    """
    a, b = np.ravel(np.asarray(member_scores, float)), np.ravel(np.asarray(other_scores, float))
    if not len(a) or not len(b) or not np.isfinite(a).all() or not np.isfinite(b).all():
        raise BadInput("An attack is judged by finite scores of members and of others, at least one of each.")
    order = np.sort(b)
    below, upto = np.searchsorted(order, a, "left"), np.searchsorted(order, a, "right")
    auc = float((below + upto).mean() / (2 * len(b)))
    spread = _spread(auc, len(a), len(b))
    cuts = np.unique(np.concatenate([a, b]))
    true = 1 - np.searchsorted(np.sort(a), cuts, "left") / len(a)
    false = 1 - np.searchsorted(order, cuts, "left") / len(b)
    few = true[false <= 0.01]
    found = float(few.max()) if len(few) else 0.0
    low, high = max(0.0, auc - 1.96 * spread), min(1.0, auc + 1.96 * spread)
    return Attack(auc, low, high, float(max((true - false).max(), 0.0)), found, len(a), len(b))


def confidence(logits: NDArray[np.float32], y: NDArray[np.int64]) -> Floats:
    """log(p / (1 - p)) of the right class, (N,): a loss turned round, and nearly normal over models."""
    z = np.asarray(logits, np.float64)
    rows = np.arange(len(y))
    others = z.copy()
    others[rows, y] = -np.inf
    top = others.max(axis=1)
    found: Floats = z[rows, y] - top - np.log(np.exp(others - top[:, None]).sum(axis=1))
    return found


def likelihood_ratio(target: Floats, shadows: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Scores (N,) by the ratio of two normal distributions that shadow models give for each item.

    Parameters
    ----------
    target
        The attacked model's confidence on each item, (N,).
    shadows
        That of each shadow model, (models, N).
    inside
        Which items each of them was trained on, (models, N).

    Raises
    ------
    BadInput
        If an item was in, or out of, fewer than two shadow models.

    Notes
    -----
    N. Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022; one variance for all items,
    as they advise for few shadow models.
    """
    with_it, without = inside.sum(axis=0), (~inside).sum(axis=0)
    if min(with_it.min(), without.min()) < 2:
        raise BadInput("Every item must be in at least two shadow models and out of at least two.")
    mean_in = np.where(inside, shadows, 0).sum(axis=0) / with_it
    mean_out = np.where(inside, 0, shadows).sum(axis=0) / without
    spread_in = math.sqrt(float(((shadows - mean_in)[inside] ** 2).mean())) + 1e-9
    spread_out = math.sqrt(float(((shadows - mean_out)[~inside] ** 2).mean())) + 1e-9
    found: Floats = (target - mean_out) ** 2 / (2 * spread_out**2) - (target - mean_in) ** 2 / (2 * spread_in**2)
    return found


def _spread(auc: float, members: int, others: int) -> float:
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    more = (members - 1) * (one - auc**2) + (others - 1) * (two - auc**2)
    return math.sqrt(max(0.0, (auc * (1 - auc) + more) / (members * others)))
