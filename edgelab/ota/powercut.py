"""Cutting the power after every operation of an update, and starting a device from everything that may be left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelab.errors import BadInput
from edgelab.ota.flash import Cuts, Disk, Flash, Operation

_ALL_SUBSETS = 6


@dataclass(frozen=True)
class Verdict:
    """What became of a device after a power cut: ``fault`` is "" where all is well, else a few words."""

    fault: str
    detail: str = ""


Judge = Callable[[Flash, int], Verdict]
"""Starts a device from a flash and judges it; the number is the release that was committed before the cut."""


@dataclass(frozen=True)
class Brick:
    """A cut after which a device was not as it must be."""

    cut: int
    operation: str
    verdict: Verdict
    disk: Disk


@dataclass(frozen=True)
class PowerCuts:
    """What became of a scheme when its power was cut after every operation.

    Attributes
    ----------
    operations
        How many places to cut there are.
    states
        How many different states of the flash were started from.
    bad_cuts
        How many of the places have at least one state that is not well.
    bricks
        Those states.
    """

    operations: int
    states: int
    bad_cuts: int
    bricks: tuple[Brick, ...]

    @property
    def share(self) -> float:
        """The share of the places to cut after which a device may not be well."""
        return self.bad_cuts / self.operations if self.operations else 0.0

    def faults(self) -> dict[str, int]:
        """How many states have each fault."""
        found: dict[str, int] = {}
        for brick in self.bricks:
            found[brick.verdict.fault] = found.get(brick.verdict.fault, 0) + 1
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "operations": self.operations,
            "states": self.states,
            "bad_cuts": self.bad_cuts,
            "share": self.share,
            "faults": self.faults(),
        }

    def _repr_markdown_(self) -> str:
        said = (
            f"{self.operations} places to cut, {self.states} states of the flash, {len(self.bricks)} of them not well"
        )
        return said + "".join(f"; {count} {fault}" for fault, count in self.faults().items())


def cut_everywhere(
    start: Disk,
    log: Sequence[Operation],
    judge: Judge,
    *,
    committed: int,
    draw: np.random.Generator | None = None,
    samples: int = 4,
    everything: int = _ALL_SUBSETS,
) -> PowerCuts:
    """Cut the power after every operation of a log, and start a device from every state that may be left.

    Parameters
    ----------
    start
        What is durable before the first operation.
    log
        What was done, as `Flash` keeps it.
    judge
        Starts a device and judges it.
    committed
        The release that was committed before; a note ``committed`` in the log raises it, and is a place to cut, too:
        what was announced has to last. So has a note ``rolled back``: it is in ``rolled_back`` of the judge's flash.
    draw, samples, everything
        See `Cuts.states`.

    Raises
    ------
    BadInput
        If there is nothing to cut.
    """
    if not log:
        raise BadInput("There is no operation after which the power could be cut.")
    cuts = Cuts(start)
    seen: dict[tuple[str, int, frozenset[int]], Verdict] = {}
    bricks: dict[tuple[str, int, frozenset[int]], Brick] = {}
    rolled_back: frozenset[int] = frozenset()
    bad = operations = 0
    for number, operation in enumerate(log):
        if operation.kind == "note":
            committed = operation.offset if operation.name == "committed" else committed
            rolled_back |= {operation.offset} if operation.name == "rolled back" else set()
        else:
            cuts.do(operation)
        operations += 1
        fine = True
        for disk in cuts.states(draw, samples, everything):
            key = (disk.key(), committed, rolled_back)
            if key not in seen:
                flash = Flash(disk)
                flash.rolled_back = rolled_back
                seen[key] = judge(flash, committed)
                if seen[key].fault:
                    bricks[key] = Brick(number, str(operation), seen[key], disk)
            fine = fine and not seen[key].fault
        bad += not fine
    return PowerCuts(operations, len(seen), bad, tuple(bricks.values()))
