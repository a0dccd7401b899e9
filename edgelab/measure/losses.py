"""Who loses when a network changes: accuracy before and after on the same items, overall and by group.

Item by item is much sharper than the difference of two accuracies. Who looks at many groups finds one that lost: p
values and intervals count the looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.measure import stats
from edgelab.measure.times import Verdict
from edgelab.reading import Reading, Table

FEWEST_ITEMS = 30
"""A group with fewer items than this is reported, but nobody is called the loser on its account."""


@dataclass(frozen=True)
class Loss:
    """Accuracy lost between two networks on the same items, in percentage points, with a verdict."""

    loss: Reading
    p_value: float
    verdict: Verdict
    grouping: str = ""
    name: str = "all"
    items: int = 0

    @property
    def tells(self) -> bool:
        """Whether the group is large enough to tell anything."""
        return self.items >= FEWEST_ITEMS

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: grouping, name, items, loss, p_value, verdict."""
        return {
            "grouping": self.grouping,
            "name": self.name,
            "items": self.items,
            "loss": self.loss.to_dict(),
            "p_value": self.p_value,
            "verdict": self.verdict.text,
        }

    def _repr_markdown_(self) -> str:
        return self.verdict._repr_markdown_()


def difference(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Loss:
    """Points of accuracy lost from ``before`` to ``after``: which items each gets right, boolean (N,), same items.

    Positive is a loss. The interval is of the paired difference; the verdict asks the exact McNemar test at 5 percent.
    """
    return _loss(before, after, stats.mcnemar_p(before, after))


@dataclass(frozen=True)
class GroupLosses:
    """Who loses: a `Loss` for each group, p values adjusted for their number (Holm)."""

    overall: Loss
    groups: tuple[Loss, ...]

    @property
    def worst(self) -> Loss:
        """The group of at least `FEWEST_ITEMS` items that loses most."""
        large = [group for group in self.groups if group.tells]
        if not large:
            raise BadInput(f"No group has the {FEWEST_ITEMS} items that it takes to tell.")
        return max(large, key=lambda group: group.loss.value)

    def table(self) -> Table:
        """A row for each group, the largest loss first."""
        rows = [
            (g.grouping, g.name, g.items, g.loss.figure(), _says(g))
            for g in (self.overall, *sorted(self.groups, key=lambda g: -g.loss.value))
        ]
        note = "Measured on the same items before and after; p values adjusted for the number of groups."
        return Table("Who loses most", ("by", "group", "items", "accuracy lost", "beyond the noise"), rows, note)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: overall, groups."""
        return {"overall": self.overall.to_dict(), "groups": [g.to_dict() for g in self.groups]}

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def group_differences(
    before: NDArray[np.bool_], after: NDArray[np.bool_], groups: Mapping[str, ArrayLike]
) -> GroupLosses:
    """Points lost in each group, from which items are right before and after (boolean (N,)) and each item's labels."""
    _check_correct(before, after)
    parts = members_of(groups, len(before))
    if not parts:
        raise BadInput("There are no groups to compare.")
    adjusted = stats.holm([stats.mcnemar_p(before[m], after[m]) for _, _, m in parts])
    losses = tuple(
        _loss(before[m], after[m], p, grouping, name) for (grouping, name, m), p in zip(parts, adjusted, strict=True)
    )
    return GroupLosses(difference(before, after), losses)


def loss_gap(larger: Reading, smaller: Reading) -> Reading:
    """The difference of two losses in points, its interval from both, taken as independent."""
    value = larger.value - smaller.value
    sides = [
        ((a if a is not None else r.value) - r.value) ** 2
        for r, a in ((larger, larger.low), (smaller, smaller.high), (larger, larger.high), (smaller, smaller.low))
    ]
    by = f"difference of two losses: {larger.by}; {smaller.by}"
    low, high = value - sum(sides[:2]) ** 0.5, value + sum(sides[2:]) ** 0.5
    doubt = " ".join(filter(None, dict.fromkeys((larger.doubt, smaller.doubt))))
    return Reading(value, "points", larger.how, by, low, high, doubt=doubt)


def loss_contrast(
    before: NDArray[np.bool_], after: NDArray[np.bool_], rare: NDArray[np.bool_], looks: int = 1
) -> Reading:
    """Points that the rare items lose more than all others, from which items are right before and after.

    The two sets hold different items, so their losses are independent and the interval of the difference follows
    from both. Rare and common are named before anybody looks: the group that happens to lose most always loses more
    than the mean, whatever there is to see.

    Parameters
    ----------
    before, after
        Which items each network gets right, boolean (N,), the same items.
    rare
        Which items are of rare classes, or of the small subgroup in question, boolean (N,).
    looks
        How many such comparisons are made. The interval is wide enough for all of them together (Bonferroni).

    Returns
    -------
    Reading
        In points; above 0 if the rare ones lose more. In doubt with fewer than `FEWEST_ITEMS` on one side.

    Raises
    ------
    BadInput
        If the arrays do not fit each other, one side is empty, or ``looks`` is below 1.
    """
    _check_correct(before, after)
    _check_correct(before, rare)
    fewer = int(min(rare.sum(), (~rare).sum()))
    if fewer == 0 or looks < 1:
        raise BadInput("Rare and common items are wanted, at least one of each, and at least one look.")
    confidence = 1 - (1 - stats.CONFIDENCE) / looks

    def loss(members: NDArray[np.bool_]) -> Reading:
        value, low, high = (100 * v for v in stats.paired_difference(before[members], after[members], confidence))
        return Reading(value, "points", "measured", f"{members.sum():,} items, each before and after", low, high)

    gap = loss_gap(loss(rare), loss(~rare))
    doubt = "" if fewer >= FEWEST_ITEMS else f"{fewer} items on one side cannot tell: it takes {FEWEST_ITEMS}."
    return replace(gap, by=f"{gap.by}; interval for {looks} looks" if looks > 1 else gap.by, doubt=doubt)


def members_of(groups: Mapping[str, ArrayLike] | None, items: int) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """For each group its grouping, its name and which of the items belong to it (N,)."""
    parts = []
    if groups is not None and not isinstance(groups, Mapping):
        raise BadInput("groups must be a mapping: for each grouping, such as 'lighting', a label for each item.")
    for grouping, labels in (groups or {}).items():
        array = np.asarray(labels)
        if array.shape != (items,):
            raise BadInput(f"The group '{grouping}' has the shape {array.shape} for {items} items.")
        array = array.astype(str)
        parts += [(grouping, str(name), np.asarray(array == name)) for name in np.unique(array)]
    return parts


def _check_correct(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> None:
    for array in (before, after):
        if not isinstance(array, np.ndarray) or array.dtype != bool or array.ndim != 1 or array.shape != before.shape:
            raise BadInput("Two boolean arrays (N,) of one length are wanted: which items each network gets right.")


def _loss(before: NDArray[np.bool_], after: NDArray[np.bool_], p: float, grouping: str = "", name: str = "all") -> Loss:
    value, low, high = (100 * v for v in stats.paired_difference(before, after))
    reading = Reading(value, "points", "measured", f"{len(before):,} items, each before and after", low, high)
    # the exact test, and an interval that does not contradict it
    different = p < 1 - stats.CONFIDENCE and not low <= 0 <= high
    if different:
        moved = f"{'Loses' if value > 0 else 'Gains'} {abs(value):.1f} points"
        text = f"{moved} ({low:.1f} to {high:.1f}), more than the noise."
    else:
        several = " once the number of groups is counted" if grouping and not low <= 0 <= high else ""
        text = f"No difference beyond the noise{several} ({value:+.1f} points lost, {low:.1f} to {high:.1f})."
    return Loss(reading, p, Verdict(text, different, reading), grouping, name, len(before))


def _says(loss: Loss) -> str:
    if not loss.tells:
        return "too few items to tell"
    return "yes" if loss.verdict.different else "no"
