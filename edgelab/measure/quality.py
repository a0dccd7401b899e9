"""How right: accuracy by class and by group, divergence from a reference, and who loses when a network changes.

Every accuracy carries its interval, and two networks are compared item by item on the same items, which is much
sharper than comparing two accuracies. Choices belong on validation data; test data is for reporting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.engines.base import Engine
from edgelab.errors import BadInput
from edgelab.measure import stats
from edgelab.measure.losses import (
    FEWEST_ITEMS,
    GroupLosses,
    Loss,
    difference,
    group_differences,
    loss_contrast,
    loss_gap,
    members_of,
)
from edgelab.reading import Reading, Table

__all__ = [
    "FEWEST_ITEMS",
    "Divergence",
    "GroupLosses",
    "Loss",
    "Quality",
    "Share",
    "accuracy_reading",
    "check_logits",
    "difference",
    "divergence",
    "evaluate",
    "group_differences",
    "loss_contrast",
    "loss_gap",
    "predict",
    "top_k",
]
_ITEMS_AT_ONCE = 256


@dataclass(frozen=True)
class Share:
    """Accuracy in percent of one class or group."""

    grouping: str
    name: str
    items: int
    accuracy: Reading


@dataclass(frozen=True)
class Quality:
    """Accuracy of one network: overall, by class and by group, in percent, and which items are right (N,).

    ``top_5`` is the percentage of items whose class is among the five highest logits; None with five classes or fewer.
    """

    accuracy: Reading
    by_class: tuple[Share, ...]
    by_group: tuple[Share, ...]
    correct: NDArray[np.bool_]
    top_5: Reading | None = None

    @property
    def worst_group(self) -> Share | None:
        """The group of at least `FEWEST_ITEMS` items with the lowest accuracy, if there is one."""
        large = [share for share in self.by_group if share.items >= FEWEST_ITEMS]
        return min(large, key=lambda share: share.accuracy.value, default=None)

    def table(self) -> Table:
        """Overall, then each class, then each group."""
        rows = [("all", "", len(self.correct), self.accuracy.figure())]
        rows += [] if self.top_5 is None else [("all", "in the top 5", len(self.correct), self.top_5.figure())]
        rows += [(s.grouping, s.name, s.items, s.accuracy.figure()) for s in (*self.by_class, *self.by_group)]
        return Table("Accuracy", ("by", "name", "items", "right"), rows, f"Measured: {self.accuracy.by}.")

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: accuracy, top_5, by_class, by_group."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "top_5": None if self.top_5 is None else self.top_5.to_dict(),
            "by_class": [_share(s) for s in self.by_class],
            "by_group": [_share(s) for s in self.by_group],
        }

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def evaluate(
    engine_or_logits: Engine | NDArray[np.float32],
    x: ArrayLike | None,
    y: ArrayLike,
    groups: Mapping[str, ArrayLike] | None = None,
    class_names: Sequence[str] | None = None,
    *,
    progress: bool = False,
) -> Quality:
    """Accuracy of an engine on ``x``, or of logits that it gave.

    Parameters
    ----------
    engine_or_logits
        An engine, or its logits (N, classes).
    x
        Inputs (N, ...), float32, channels first; None if logits are given.
    y
        Labels (N,), integers from 0.
    groups
        For each grouping a label for each item.
    class_names
        A name for each class.
    progress
        Show a progress bar while the engine runs.

    Raises
    ------
    BadInput
        If shapes do not agree, labels are not classes of the network, or logits are not finite.
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.size == 0:
        raise BadInput(f"Labels must be integers (N,), one for each item, not of shape {labels.shape}.")
    if isinstance(engine_or_logits, np.ndarray):
        logits, by = engine_or_logits, "logits given"
    else:
        if x is None:
            raise BadInput("An engine needs inputs x.")
        logits, by = predict(engine_or_logits, np.asarray(x), progress=progress), engine_or_logits.name
    check_logits(logits, len(labels))
    classes = logits.shape[1]
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        found = f"{labels.dtype}" if labels.dtype.kind not in "iu" else f"from {labels.min()} to {labels.max()}"
        raise BadInput(
            f"The network has {classes} classes: labels must be integers from 0 to {classes - 1}, not {found}."
        )
    correct = np.asarray(logits.argmax(axis=1) == labels)
    names = [str(n) for n in class_names] if class_names is not None else [str(c) for c in range(classes)]
    if len(names) != classes:
        raise BadInput(f"There are {len(names)} class names for the {classes} classes of the network.")
    by_class = tuple(
        Share("class", names[c], int((labels == c).sum()), accuracy_reading(correct[labels == c], by))
        for c in np.unique(labels)
    )
    by_group = tuple(
        Share(grouping, str(name), int(members.sum()), accuracy_reading(correct[members], by))
        for grouping, name, members in members_of(groups, len(labels))
    )
    top_5 = top_k(logits, labels, 5, by=by) if classes > 5 else None
    return Quality(accuracy_reading(correct, by), by_class, by_group, correct, top_5)


def top_k(logits: NDArray[np.float32], y: ArrayLike, k: int = 5, *, by: str = "logits given") -> Reading:
    """Percent of the items whose class is among the ``k`` highest logits, with Wilson's interval.

    Parameters
    ----------
    logits
        (N, classes).
    y
        Labels (N,), integers from 0.
    k
        1 is the accuracy: of equal logits the first class counts as the highest, as for `numpy.argmax`.
    by
        What gave the logits.

    Raises
    ------
    BadInput
        If shapes do not agree, a label is no class of the network, or k is not from 1 to the number of classes.

    Examples
    --------
    >>> top_k(np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]], np.float32), [1, 2], k=2).value
    50.0
    """
    labels = np.asarray(y)
    check_logits(logits, len(labels))
    classes = logits.shape[1]
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise BadInput(f"Labels must be integers from 0 to {classes - 1}, the classes of the network.")
    if not 1 <= k <= classes:
        raise BadInput(f"k={k} is not from 1 to {classes}, the number of classes.")
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(classes) < labels[:, None]
    ahead = (logits > own) | ((logits == own) & earlier)
    return accuracy_reading(np.asarray(ahead.sum(axis=1) < k), f"{by}, top {k}" if k > 1 else by)


def predict(engine: Engine, x: NDArray[Any], *, progress: bool = False) -> NDArray[np.float32]:
    """Logits (N, classes) of inputs (N, ...), in parts, so that the engine's time limit holds for each part."""
    from tqdm.auto import tqdm

    if x.dtype.kind not in "fiub" or x.ndim < 2 or len(x) == 0:
        raise BadInput(f"x must be numbers (N, ...), at least one item, not {x.dtype} of shape {x.shape}.")
    floats = x.astype(np.float32, copy=False)
    starts = tqdm(range(0, len(x), _ITEMS_AT_ONCE), desc=engine.name, disable=not progress, leave=False)
    return np.concatenate([engine.predict(floats[start : start + _ITEMS_AT_ONCE]) for start in starts])


def accuracy_reading(correct: NDArray[np.bool_], by: str) -> Reading:
    """Percent right with Wilson's interval."""
    value, low, high = (100 * v for v in stats.wilson_interval(int(correct.sum()), len(correct)))
    return Reading(value, "%", "measured", f"{by}, {len(correct):,} items", low, high)


@dataclass(frozen=True)
class Divergence:
    """How far logits are from a reference's, on the same items.

    Attributes
    ----------
    agreement
        Percent of the items with the same top answer.
    max_abs, mean_abs, rmse
        Of the errors, in units of the logits.
    sqnr_db
        Power of the reference's logits over that of the errors; None where there is no error.
    kl
        Kullback-Leibler divergence of the softmax from the reference's, the mean over the items in nats.
    cosine
        Cosine of the angle between the two rows of logits, the mean over the items.
    worst_item
        Index of the item with the largest error.
    """

    agreement: Reading
    max_abs: float
    mean_abs: float
    rmse: float
    sqnr_db: float | None
    kl: float
    cosine: float
    worst_item: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {**self.__dict__, "agreement": self.agreement.to_dict()}

    def table(self) -> Table:
        """A row for each figure."""
        rows: list[tuple[str, str | int]] = [
            ("same top answer", self.agreement.figure()),
            ("largest difference", f"{self.max_abs:.3g}"),
            ("root mean square", f"{self.rmse:.3g}"),
            ("SQNR", "infinite" if self.sqnr_db is None else f"{self.sqnr_db:.1f} dB"),
            ("KL divergence", f"{self.kl:.3g} nats"),
            ("cosine", f"{self.cosine:.4f}"),
            ("item with the largest difference", self.worst_item),
        ]
        note = f"Measured: {self.agreement.by}."
        return Table("Divergence from the reference", ("what", "how much"), rows, note)

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()

    def __str__(self) -> str:
        return str(self.table())


def divergence(reference_logits: NDArray[np.float32], logits: NDArray[np.float32]) -> Divergence:
    """Compare logits (N, classes) with a reference's on the same golden items.

    Raises
    ------
    BadInput
        If the shapes differ, or a value is not finite.
    """
    check_logits(reference_logits, len(reference_logits))
    check_logits(logits, len(reference_logits))
    if logits.shape != reference_logits.shape:
        raise BadInput(f"The reference gives {reference_logits.shape[1]} classes and the other {logits.shape[1]}.")
    a, b = reference_logits.astype(np.float64), logits.astype(np.float64)
    error = np.abs(a - b)
    same = a.argmax(axis=1) == b.argmax(axis=1)
    power, noise = float(np.mean(a**2)), float(np.mean(error**2))
    log_p, log_q = _log_softmax(a), _log_softmax(b)
    return Divergence(
        agreement=accuracy_reading(same, "same top answer as the reference"),
        max_abs=float(error.max()),
        mean_abs=float(error.mean()),
        rmse=noise**0.5,
        sqnr_db=None if noise == 0 or power == 0 else 10 * float(np.log10(power / noise)),
        kl=float(max(0.0, np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=1)))),
        cosine=float(np.mean(_cosine(a, b))),
        worst_item=int(error.max(axis=1).argmax()),
    )


def check_logits(logits: NDArray[np.float32], items: int) -> None:
    """Raise BadInput unless ``logits`` is a finite (items, classes) array."""
    if logits.ndim != 2 or len(logits) != items or items == 0:
        raise BadInput(f"Logits of shape {logits.shape} do not fit {items} items; (items, classes) is wanted.")
    if not np.isfinite(logits).all():
        raise BadInput("The logits hold NaN or infinity.")


def _share(share: Share) -> dict[str, Any]:
    return {"grouping": share.grouping, "name": share.name, "items": share.items, "accuracy": share.accuracy.to_dict()}


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = (a == b).all(axis=1)
    cosine = np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)
    return np.where(same, 1.0, np.clip(cosine, -1.0, 1.0))


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
