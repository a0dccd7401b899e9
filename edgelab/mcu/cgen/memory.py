"""Where every tensor lies: lifetimes, tensors that share their bytes, scratch memory, and the plan of the arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgelab.mcu.cgen.lowering import Alias, Binary, Step, Table
from edgelab.mcu.model import Model
from edgelab.mcu.plans import Buffer, Heuristic, plan_buffers

ALIGNMENT = 16


@dataclass(frozen=True)
class Layout:
    """Offsets in the arena of tensors and of the steps' scratch memory."""

    tensors: Mapping[int, int]
    scratch: Mapping[int, int]
    arena_bytes: int


def layout(
    model: Model,
    steps: Sequence[Step],
    scratch: Mapping[int, int],
    in_place: frozenset[int],
    heuristic: Heuristic = "greedy",
) -> Layout:
    """Plan the arena.

    Parameters
    ----------
    scratch
        Bytes of scratch memory by step.
    in_place
        Steps whose output may lie where their first input lay, if that is not needed afterwards.
    heuristic
        As `edgelab.mcu.plans.plan_buffers` takes it.
    """
    first, last = lifetimes(model, steps)
    owner = {index: index for index in first}

    def root(index: int) -> int:
        while owner[index] != index:
            index = owner[index]
        return index

    def merge(a: int, b: int) -> None:
        a, b = root(a), root(b)
        owner[b] = a
        first[a], last[a] = min(first[a], first[b]), max(last[a], last[b])

    for position, step in enumerate(steps):
        if not step.inputs:
            continue
        source, target = step.inputs[0], step.outputs[0]
        dies = last[root(source)] <= position
        same = model.tensors[source].size_bytes == model.tensors[target].size_bytes
        if isinstance(step, Alias) or (step.index in in_place and dies and same):
            merge(source, target)
    roots = [index for index in first if root(index) == index]
    positions = {step.index: position for position, step in enumerate(steps)}
    buffers = [Buffer(f"tensor {i}", model.tensors[i].size_bytes, first[i], last[i]) for i in roots]
    buffers += [Buffer(f"scratch {i}", size, positions[i], positions[i]) for i, size in scratch.items()]
    made = plan_buffers(buffers, heuristic, alignment=ALIGNMENT)
    return Layout(
        {index: made.offsets[f"tensor {root(index)}"] for index in first},
        {i: made.offsets[f"scratch {i}"] for i in scratch},
        made.size_bytes,
    )


def lifetimes(model: Model, steps: Sequence[Step]) -> tuple[dict[int, int], dict[int, int]]:
    """The first and the last step that needs each tensor in the arena."""
    first: dict[int, int] = dict.fromkeys(model.inputs, 0)
    last: dict[int, int] = dict.fromkeys(model.inputs, 0)
    for position, step in enumerate(steps):
        for index in (*step.inputs, *step.outputs):
            first.setdefault(index, position)
            last[index] = position
    for index in model.outputs:
        first.setdefault(index, 0)
        last[index] = len(steps)
    return first, last


def live_bytes(model: Model, steps: Sequence[Step], position: int) -> int:
    """Bytes of all tensors that are alive while a step runs, what they share counted once for each."""
    first, last = lifetimes(model, steps)
    return sum(_up(model.tensors[i].size_bytes) for i in first if first[i] <= position <= last[i])


def in_place_steps(model: Model, steps: Sequence[Step]) -> frozenset[int]:
    """Steps that read each input byte before they write the output byte that lies there."""
    found = set()
    for step in steps:
        if isinstance(step, Table) or (
            isinstance(step, Binary)
            and step.inputs
            and isinstance(step.operands[0], int)
            and model.tensors[step.operands[0]].shape == step.shape
        ):
            found.add(step.index)
    return frozenset(found)


def _up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
