"""Where buffers go in one block of memory: TFLM's greedy plan, better ones, and the bound that none can beat.

A buffer is alive from its first to its last step; two that are alive at one step may not share an address. To find
the smallest block is NP-hard (it is dynamic storage allocation), so planners order the buffers by some rule and put
each into the first gap that holds it. `plan_buffers` offers TFLM's rule and the best of several with a local search
(the rules are those of Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgelab.errors import BadInput
from edgelab.reading import Table

Heuristic = Literal["greedy", "best"]
# Placing n buffers takes about n * n steps; a plan is searched for with this many of them, about a second.
_SEARCH_STEPS = 3_000_000
_SEARCH_ROUNDS = 3_000
_MOST_BUFFERS = 5_000


@dataclass(frozen=True)
class Buffer:
    """A piece of memory that is needed from step ``first`` to step ``last``, both included.

    ``offset`` fixes its address. ``may_share_with`` names buffers whose address it may take over although both are
    alive at one step, because the operator of that step reads an element before it writes the one of the same place;
    only a plan of the heuristic ``"best"`` makes use of it.
    """

    name: str
    size_bytes: int
    first: int
    last: int
    offset: int | None = None
    may_share_with: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placed:
    """A buffer at its address; ``size_bytes`` is rounded up to the plan's alignment."""

    name: str
    offset: int
    size_bytes: int
    first: int
    last: int
    shares_with: str = ""
    """The buffer whose memory it takes over in place; empty where it has its own."""

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.offset + self.size_bytes


@dataclass(frozen=True)
class Plan:
    """Buffers with their addresses, in the order in which they were given.

    ``heuristic`` names the rule that placed them; ``lower_bound`` is the largest sum of bytes alive at one step (with
    buffers that share their memory counted once), below which no plan of these buffers can go.
    """

    buffers: tuple[Placed, ...]
    heuristic: str
    lower_bound: int

    @property
    def size_bytes(self) -> int:
        """The size of the block that holds all buffers."""
        return max((b.end for b in self.buffers), default=0)

    @property
    def offsets(self) -> dict[str, int]:
        """The address of each buffer by its name."""
        return {b.name: b.offset for b in self.buffers}

    @property
    def steps(self) -> int:
        """One more than the last step."""
        return max((b.last for b in self.buffers), default=-1) + 1

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        keys = ("name", "offset", "size_bytes", "first", "last", "shares_with")
        return {
            "heuristic": self.heuristic,
            "size_bytes": self.size_bytes,
            "lower_bound": self.lower_bound,
            "buffers": [{key: getattr(b, key) for key in keys} for b in self.buffers],
        }

    def table(self) -> Table:
        """One row a buffer, by address."""
        rows = [
            (b.name, b.offset, b.size_bytes, b.first, b.last, b.shares_with)
            for b in sorted(self.buffers, key=lambda b: (b.offset, b.first))
        ]
        title = f"{self.size_bytes:,} bytes ({self.heuristic}); no plan takes less than {self.lower_bound:,}"
        return Table(title, ("buffer", "offset", "bytes", "first step", "last step", "in place of"), rows)

    def __str__(self) -> str:
        return self.table().text()

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def plan_buffers(
    buffers: Sequence[Buffer], heuristic: Heuristic = "greedy", *, alignment: int = 16, seed: int = 0
) -> Plan:
    """Give each buffer an address.

    Parameters
    ----------
    buffers
        The buffers; names are unique. Those with an ``offset`` stay where it says.
    heuristic
        ``"greedy"``: TFLM's planner, the same addresses as its own. ``"best"``: the smallest plan of several orders and
        a local search, with memory taken over in place where the buffers allow it.
    alignment
        Addresses and sizes are multiples of it, in bytes; 16 in TFLM.
    seed
        Of the local search.

    Raises
    ------
    BadInput
        If a name occurs twice, a buffer's figures make no sense, or there are more than 5,000.

    Examples
    --------
    >>> chain = [Buffer("a", 64, 0, 1), Buffer("b", 16, 1, 2), Buffer("c", 48, 2, 3)]
    >>> plan_buffers(chain).offsets
    {'a': 0, 'b': 64, 'c': 0}
    >>> plan_buffers(chain).size_bytes
    80
    """
    if heuristic not in ("greedy", "best"):
        raise BadInput(f"heuristic={heuristic!r} is not one of 'greedy', 'best'.")
    given = _checked(buffers, alignment)
    blocks = [_Block((i,), _up(b.size_bytes, alignment), b.first, b.last, b.offset) for i, b in enumerate(given)]
    if heuristic == "greedy":
        return _plan(given, blocks, _place(blocks, _by_size(blocks)), "greedy by size", alignment)
    candidates = [blocks]
    if any(b.may_share_with for b in given):
        candidates.append(_merged(given, blocks))
    plans = []
    for kept in candidates:
        offsets, name = _search(kept, random.Random(seed))
        plans.append(_plan(given, kept, offsets, name + (", in place" if kept is not blocks else ""), alignment))
    return min(plans, key=lambda plan: plan.size_bytes)


def lower_bound(buffers: Sequence[Buffer | Placed]) -> int:
    """The largest sum of bytes alive at one step.

    Examples
    --------
    >>> lower_bound([Buffer("a", 64, 0, 1), Buffer("b", 16, 1, 2), Buffer("c", 48, 2, 3)])
    80
    """
    changes: dict[int, int] = {}
    for b in buffers:
        changes[b.first] = changes.get(b.first, 0) + b.size_bytes
        changes[b.last + 1] = changes.get(b.last + 1, 0) - b.size_bytes
    alive, most = 0, 0
    for step in sorted(changes):
        alive += changes[step]
        most = max(most, alive)
    return most


@dataclass(frozen=True)
class _Block:
    """Buffers at one address: a buffer of its own, or a chain of those that take it over in place."""

    members: tuple[int, ...]
    size: int
    first: int
    last: int
    offset: int | None

    @property
    def steps(self) -> int:
        return self.last - self.first + 1

    def meets(self, other: _Block) -> bool:
        return self.first <= other.last and other.first <= self.last


def _checked(buffers: Sequence[Buffer], alignment: int) -> list[Buffer]:
    if alignment < 1:
        raise BadInput(f"alignment must be at least 1 byte, not {alignment}.")
    if len(buffers) > _MOST_BUFFERS:
        raise BadInput(f"A plan takes up to {_MOST_BUFFERS} buffers, not {len(buffers)}; split the network.")
    names = {b.name for b in buffers}
    if len(names) < len(buffers):
        raise BadInput("Buffers of a plan need names of their own; one occurs twice.")
    for b in buffers:
        if b.size_bytes < 0 or b.last < b.first or (b.offset is not None and b.offset < 0):
            raise BadInput(f"The buffer '{b.name}' has a size or an address below zero, or ends before it starts.")
        if not names.issuperset(b.may_share_with):
            raise BadInput(f"The buffer '{b.name}' may share with one that is not in the plan.")
    return list(buffers)


def _place(blocks: Sequence[_Block], order: Sequence[int], *, best_fit: bool = False) -> list[int]:
    """Offsets of the blocks, each put in turn into the first gap (or the tightest) between those it meets in time."""
    offsets = [0] * len(blocks)
    placed: list[tuple[int, int, _Block]] = []
    for index in order:
        block = blocks[index]
        if block.offset is not None:
            offset = block.offset
        else:
            offset, end, tightest = 0, 0, None
            for low, high, other in placed:
                if not block.meets(other):
                    continue
                if low - end >= block.size:
                    if not best_fit:
                        break
                    if tightest is None or low - end < tightest[0]:
                        tightest = (low - end, end)
                end = max(end, high)
            offset = end if tightest is None else tightest[1]
        offsets[index] = offset
        bisect.insort(placed, (offset, offset + block.size, block), key=lambda entry: entry[0])
    return offsets


def _by_size(blocks: Sequence[_Block]) -> list[int]:
    """TFLM's order: fixed addresses first, then by size, the later of two equal ones first."""
    fixed = [i for i, b in enumerate(blocks) if b.offset is not None]
    free = [i for i, b in reversed(list(enumerate(blocks))) if b.offset is None]
    return fixed + sorted(free, key=lambda i: -blocks[i].size)


def _orders(blocks: Sequence[_Block]) -> Iterator[tuple[str, list[int]]]:
    """The rules: each yields the free blocks in some order, after those of a fixed address."""
    yield "greedy by size", _by_size(blocks)
    rules: list[tuple[str, Callable[[int], tuple[int, ...]]]] = [
        ("by duration", lambda i: (-blocks[i].steps, -blocks[i].size)),
        ("by area", lambda i: (-blocks[i].steps * blocks[i].size, -blocks[i].size)),
        ("by first step", lambda i: (blocks[i].first, -blocks[i].size)),
        ("by last step", lambda i: (-blocks[i].last, -blocks[i].size)),
    ]
    for name, key in rules:
        yield name, sorted(range(len(blocks)), key=lambda i, key=key: (blocks[i].offset is None, *key(i)))  # type: ignore[misc]
    alive: dict[int, list[int]] = {}
    for i, block in enumerate(blocks):
        for step in range(block.first, block.last + 1):
            alive.setdefault(step, []).append(i)
    breadth: dict[int, None] = dict.fromkeys(i for i, b in enumerate(blocks) if b.offset is not None)
    for step in sorted(alive, key=lambda s: -sum(blocks[i].size for i in alive[s])):
        breadth.update(dict.fromkeys(sorted(alive[step], key=lambda i: -blocks[i].size)))
    yield "by breadth", list(breadth)


def _search(blocks: Sequence[_Block], rng: random.Random) -> tuple[list[int], str]:
    """The best of all rules, then exchanges in its order that do not make it worse."""
    if not blocks:
        return [], "no buffers"
    tries = [
        (name + (", tightest gap" if fit else ""), order, fit, _place(blocks, order, best_fit=fit))
        for name, order in _orders(blocks)
        for fit in (False, True)
    ]
    name, order, fit, offsets = min(tries, key=lambda entry: _height(blocks, entry[3]))
    free = [i for i, index in enumerate(order) if blocks[index].offset is None]
    rounds = min(_SEARCH_ROUNDS, _SEARCH_STEPS // len(blocks) ** 2) if len(free) > 1 else 0
    bound, least, start = _bound(blocks), _height(blocks, offsets), _height(blocks, offsets)
    for _ in range(rounds):
        if least <= bound:
            break
        tried = list(order)
        one, other = rng.sample(free, 2)
        if rng.random() < 0.5:
            tried[one], tried[other] = tried[other], tried[one]
        else:
            tried.insert(other, tried.pop(one))
        moved = _place(blocks, tried, best_fit=fit)
        if _height(blocks, moved) <= least:
            least, order, offsets = _height(blocks, moved), tried, moved
    return offsets, name + (" and exchanges" if least < start else "")


def _height(blocks: Sequence[_Block], offsets: Sequence[int]) -> int:
    return max(offset + block.size for offset, block in zip(offsets, blocks, strict=True))


def _bound(blocks: Sequence[_Block]) -> int:
    return lower_bound([Placed("", 0, b.size, b.first, b.last) for b in blocks])


def _merged(buffers: Sequence[Buffer], blocks: Sequence[_Block]) -> list[_Block]:
    """Blocks in which a buffer joins the one that it may share with, where that one ends at the step it begins."""
    index = {b.name: i for i, b in enumerate(buffers)}
    home = list(range(len(buffers)))
    merged = dict(enumerate(blocks))
    for i, b in sorted(enumerate(buffers), key=lambda entry: entry[1].first):
        for name in b.may_share_with:
            target = home[index[name]]
            block = merged[target]
            if (
                target != i
                and block.last == b.first
                and blocks[i].size <= block.size
                and None is block.offset is b.offset
            ):
                merged[target] = replace(block, members=(*block.members, i), last=b.last)
                home[i] = target
                del merged[i]
                break
    return list(merged.values())


def _plan(
    buffers: Sequence[Buffer], blocks: Sequence[_Block], offsets: Sequence[int], heuristic: str, alignment: int
) -> Plan:
    placed: dict[int, Placed] = {}
    for block, offset in zip(blocks, offsets, strict=True):
        for i, before in zip(block.members, (None, *block.members), strict=False):
            b = buffers[i]
            shares = buffers[before].name if before is not None else ""
            placed[i] = Placed(b.name, offset, _up(b.size_bytes, alignment), b.first, b.last, shares)
    return Plan(tuple(placed[i] for i in range(len(buffers))), heuristic, _bound(blocks))


def _up(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
