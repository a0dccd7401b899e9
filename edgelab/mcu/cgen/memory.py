"""Where everything lies: lifetimes, tensors that share their bytes, rings of rows, scratch memory, the arena's plan.

Two tensors may share memory although one is computed from the other: an operator that reads ahead of what it writes may
write into its input's memory. How far the input has to lie behind the output (`lag`) follows from the order in which an
operator's tiles read and write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgelab.mcu.cgen.lowering import Alias, Step
from edgelab.mcu.model import Model

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


@dataclass(frozen=True)
class _Piece:
    """A stretch of memory, relative to its body, from one group to another."""

    low: int
    high: int
    first: int
    last: int


@dataclass
class _Body:
    """Tensors, rings or scratch memory at fixed distances from each other."""

    pieces: dict[str, _Piece]

    @property
    def low(self) -> int:
        return min(piece.low for piece in self.pieces.values())

    @property
    def span(self) -> int:
        """Bytes from its lowest to its highest."""
        return max(piece.high for piece in self.pieces.values()) - self.low

    @property
    def area(self) -> int:
        """Bytes times groups."""
        return sum((p.high - p.low) * (p.last - p.first + 1) for p in self.pieces.values())

    @property
    def first(self) -> int:
        return min(piece.first for piece in self.pieces.values())

    @property
    def last(self) -> int:
        return max(piece.last for piece in self.pieces.values())


_ORDERS: tuple[Callable[[_Body], tuple[int, ...]], ...] = (
    lambda body: (-body.span, body.first),
    lambda body: (-body.area, body.first),
    lambda body: (body.first, -body.span),
    lambda body: (-body.last, -body.span),
)


def layout(
    model: Model, groups: Sequence[Group], *, shared: frozenset[int] | None = None, thorough: bool = False
) -> Layout:
    """Plan the arena: each body at the lowest place where none of its pieces meets another.

    Parameters
    ----------
    shared
        Positions of the groups whose output shall take over their input's memory where that is possible; None: all.
    thorough
        Try several orders and take the best, not the largest bodies first.
    """
    bodies = _bodies(model, groups, shared)
    for position, group in enumerate(groups):
        parts = {f"ring {i}": size for i, size in group.rings.items()} | {f"scratch {position}": group.scratch}
        bodies += [_Body({name: _Piece(0, size, position, position)}) for name, size in parts.items() if size]
    orders = _ORDERS if thorough else _ORDERS[:1]
    at, size = min((_placed(sorted(bodies, key=order)) for order in orders), key=lambda found: found[1])
    tensors = {int(name.split()[1]): offset for name, offset in at.items() if not name.startswith("scratch")}
    scratch = {int(name.split()[1]): offset for name, offset in at.items() if name.startswith("scratch")}
    return Layout(tensors, scratch, size)


def _placed(bodies: Sequence[_Body]) -> tuple[dict[str, int], int]:
    """The offset of each piece, and the total, if the bodies are placed in this order."""
    placed: list[tuple[int, int, int, int]] = []  # low, high, first, last
    at: dict[str, int] = {}
    for body in bodies:
        pieces = [(piece.low, piece.high, piece.first, piece.last) for piece in body.pieces.values()]
        taken = sorted(
            (other_low - high, other_high - low)
            for low, high, first, last in pieces
            for other_low, other_high, other_first, other_last in placed
            if first <= other_last and other_first <= last
        )
        origin = -min(low for low, _, _, _ in pieces)
        for low, high in taken:
            if low < origin < high:
                origin = high
        at.update((name, origin + low) for name, (low, _, _, _) in zip(body.pieces, pieces, strict=True))
        placed += [(origin + low, origin + high, first, last) for low, high, first, last in pieces]
    return at, max((high for _, high, _, _ in placed), default=0)


def _bodies(model: Model, groups: Sequence[Group], shared: frozenset[int] | None) -> list[_Body]:
    """Tensors, each with those whose memory it takes over."""
    first, last = lifetimes(model, groups)
    of = {i: _Body({f"tensor {i}": _Piece(0, up(model.tensors[i].size_bytes), first[i], last[i])}) for i in first}
    for position, group in enumerate(groups):
        if group.lag is None or not group.inputs or (shared is not None and position not in shared):
            continue
        source, target = group.inputs[0], group.outputs[0]
        alias = isinstance(group.steps[0], Alias)
        a, b = of[source], of[target]
        if a is b or (not alias and a.last > position):
            continue
        # The output's place in the input's body: the input lies `lag` bytes behind it.
        shift = a.pieces[f"tensor {source}"].low - up(group.lag) - b.pieces[f"tensor {target}"].low
        for name, piece in b.pieces.items():
            a.pieces[name] = replace(piece, low=piece.low + shift, high=piece.high + shift)
            of[int(name.split()[1])] = a
    return list({id(body): body for body in of.values()}.values())


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


def needed_bytes(model: Model, groups: Sequence[Group], *, in_place: bool = True) -> list[int]:
    """For each group, the bytes alive while it runs; ``in_place``: its output in its input's memory if that helps."""
    first, last = lifetimes(model, groups)
    sizes = {i: up(model.tensors[i].size_bytes) for i in first}
    needed = []
    for position, group in enumerate(groups):
        alive = sum(size for i, size in sizes.items() if first[i] <= position <= last[i])
        alive += sum(group.rings.values()) + group.scratch
        source = group.inputs[0] if group.inputs else None
        if in_place and group.lag is not None and source is not None and last[source] == position:
            taken, made = sizes[source], sizes[group.outputs[0]]
            alive -= max(taken + made - max(made, up(group.lag) + taken), 0)
        needed.append(alive)
    return needed


def pressing(model: Model, groups: Sequence[Group], limit: int) -> frozenset[int]:
    """The groups whose output has to take over their input's memory, if no more than ``limit`` bytes shall be alive."""
    apart = needed_bytes(model, groups, in_place=False)
    return frozenset(
        position
        for position, group in enumerate(groups)
        if group.lag is not None and (apart[position] > limit or isinstance(group.steps[0], Alias))
    )


def smallest(model: Model, groups: Sequence[Group]) -> frozenset[int]:
    """Which groups' outputs should take over their input's memory: each choice that shrinks the plan stays."""

    def size_of(shared: frozenset[int]) -> int:
        return layout(model, groups, shared=shared, thorough=True).arena_bytes

    limits = {*needed_bytes(model, groups, in_place=False), 0}
    choices = sorted({pressing(model, groups, limit) for limit in limits}, key=sorted)
    best = min(choices, key=size_of, default=frozenset())
    size = size_of(best)
    for i, group in enumerate(groups):
        if group.lag is None or isinstance(group.steps[0], Alias):
            continue
        trial = size_of(best ^ {i})
        if trial < size:
            best, size = best ^ {i}, trial
    return best


def up(size: int) -> int:
    """A size in whole units of the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT
