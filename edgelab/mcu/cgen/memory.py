"""Where everything lies: lifetimes, tensors that share their bytes, rings of rows, scratch memory, the arena's plan.

Two tensors may share memory although one is computed from the other: an operator that reads ahead of what it writes may
write into its input's memory. How far the input has to lie behind the output (`lag`) follows from the order in which an
operator's tiles read and write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgelab.mcu.cgen.lowering import Alias, Step
from edgelab.mcu.model import Model
from edgelab.mcu.plans import Buffer, Heuristic, plan_buffers

ALIGNMENT = 16


@dataclass(frozen=True)
class Group:
    """Steps that run as one: a single one, or a chain that runs row by row.

    ``rings`` are the bytes of the tensors between a chain's steps, of which only some rows exist at a time. ``lag`` is
    how many bytes the first input has to lie behind the output if they share memory; None where they must not.
    """

    steps: tuple[Step, ...]
    scratch: int = 0
    rings: Mapping[int, int] = field(default_factory=dict)
    lag: int | None = None

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensors that it reads from outside."""
        return tuple(i for step in self.steps for i in step.inputs if i not in self.rings)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Tensors that it leaves behind."""
        return tuple(i for step in self.steps for i in step.outputs if i not in self.rings)


@dataclass(frozen=True)
class Layout:
    """Offsets in the arena: of tensors, of each group's scratch memory; the total."""

    tensors: Mapping[int, int]
    scratch: Mapping[int, int]
    arena_bytes: int


@dataclass
class _Block:
    """Tensors at fixed distances from each other."""

    offsets: dict[int, int]
    low: int
    high: int
    first: int
    last: int


def layout(
    model: Model,
    groups: Sequence[Group],
    *,
    shared: frozenset[int] | None = None,
    heuristic: Heuristic = "greedy",
) -> Layout:
    """Plan the arena.

    Parameters
    ----------
    shared
        Positions of the groups whose output shall take over their input's memory where that is possible; None: all.
    heuristic
        As `edgelab.mcu.plans.plan_buffers` takes it.
    """
    blocks = _blocks(model, groups, shared)
    buffers = [Buffer(f"block {i}", b.high - b.low, b.first, b.last) for i, b in enumerate(blocks)]
    for position, group in enumerate(groups):
        buffers += [Buffer(f"ring {i}", size, position, position) for i, size in group.rings.items()]
        if group.scratch:
            buffers.append(Buffer(f"scratch {position}", group.scratch, position, position))
    made = plan_buffers(buffers, heuristic, alignment=ALIGNMENT)
    at = made.offsets
    tensors = {
        index: at[f"block {i}"] + offset - b.low for i, b in enumerate(blocks) for index, offset in b.offsets.items()
    }
    tensors |= {index: at[f"ring {index}"] for group in groups for index in group.rings}
    scratch = {position: at[f"scratch {position}"] for position, group in enumerate(groups) if group.scratch}
    return Layout(tensors, scratch, made.size_bytes)


def _blocks(model: Model, groups: Sequence[Group], shared: frozenset[int] | None) -> list[_Block]:
    first, last = lifetimes(model, groups)
    of = {i: _Block({i: 0}, 0, up(model.tensors[i].size_bytes), first[i], last[i]) for i in first}
    for position, group in enumerate(groups):
        if group.lag is None or not group.inputs or (shared is not None and position not in shared):
            continue
        source, target = group.inputs[0], group.outputs[0]
        alias = isinstance(group.steps[0], Alias)
        a, b = of[source], of[target]
        if a is b or (not alias and a.last > position):
            continue
        # The output's place in the input's block: the input lies `lag` bytes behind it.
        shift = a.offsets[source] - up(group.lag) - b.offsets[target]
        for index, offset in b.offsets.items():
            a.offsets[index] = offset + shift
            of[index] = a
        a.low, a.high = min(a.low, b.low + shift), max(a.high, b.high + shift)
        a.first, a.last = min(a.first, b.first), max(a.last, b.last)
    return list({id(block): block for block in of.values()}.values())


def lifetimes(model: Model, groups: Sequence[Group]) -> tuple[dict[int, int], dict[int, int]]:
    """The first and the last group that needs each tensor that stands in the arena whole."""
    first: dict[int, int] = dict.fromkeys(model.inputs, 0)
    last: dict[int, int] = dict.fromkeys(model.inputs, 0)
    for position, group in enumerate(groups):
        for index in (*group.inputs, *group.outputs):
            first.setdefault(index, position)
            last[index] = position
    for index in model.outputs:
        first.setdefault(index, 0)
        last[index] = len(groups)
    return first, last


def live_bytes(model: Model, groups: Sequence[Group], position: int) -> int:
    """Bytes of all tensors that are alive while a group runs, scratch memory apart."""
    first, last = lifetimes(model, groups)
    whole = sum(up(model.tensors[i].size_bytes) for i in first if first[i] <= position <= last[i])
    return whole + sum(groups[position].rings.values())


def smallest(model: Model, groups: Sequence[Group]) -> frozenset[int]:
    """Which groups' outputs should take over their input's memory: each choice that shrinks the plan stays."""
    candidates = [i for i, group in enumerate(groups) if group.lag is not None]
    needed = frozenset(i for i in candidates if isinstance(groups[i].steps[0], Alias))
    best = min((frozenset(candidates), needed), key=lambda s: layout(model, groups, shared=s).arena_bytes)
    size = layout(model, groups, shared=best).arena_bytes
    for i in candidates:
        if i in needed:
            continue
        changed = best ^ {i}
        trial = layout(model, groups, shared=changed).arena_bytes
        if trial < size:
            best, size = changed, trial
    return best


def up(size: int) -> int:
    """A size in whole units of the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT
