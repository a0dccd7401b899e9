"""The smallest arena: outputs over their inputs, chains that run row by row where that helps, then tiles as fit.

Which stretches of a model become chains is searched for: the one that shrinks the arena most, then the next, until none
helps; then their ends are moved, and neighbours joined, as long as that shrinks it further.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from edgelab.mcu.cgen import memory
from edgelab.mcu.cgen.arrange import Arrangement, always, dsp
from edgelab.mcu.cgen.lowering import Step
from edgelab.mcu.cgen.memory import Group
from edgelab.mcu.cgen.streams import Stream, chained, runs
from edgelab.mcu.model import Model

Chain = tuple[int, int]
"""Positions of a chain's first and last step."""
_LONGEST_CHAIN = 18
_MOST_CHAINS = 6
_REACH = 3
"""Steps by which an end of a chain is moved at a time, at most."""


def for_ram(model: Model, steps: Sequence[Step], *, kernels: str) -> Arrangement:
    """The smallest arena that the search finds, by either measure of a choice of chains."""
    search = _Search(model, steps, kernels)
    choices = [search.chains(search.planned_bytes), search.chains(search.peak_bytes)]
    found: list[tuple[int, int, list[Chain]]] = []
    for chains in choices if choices[0] != choices[1] else choices[:1]:
        groups = search.groups(chains, search.smallest)
        shared = memory.smallest(model, groups)
        found.append((memory.layout(model, groups, shared=shared, thorough=True).arena_bytes, len(found), chains))
    return search.arrangement(min(found)[2])


class _Search:
    """Groups of steps, remembered, and the arena that they take."""

    def __init__(self, model: Model, steps: Sequence[Step], kernels: str) -> None:
        self.model, self.steps = model, steps
        self.modules = [dsp(step) if kernels == "dsp" else None for step in steps]
        self.smallest = {i: m.tile_rows(steps[i], 0) for i, m in enumerate(self.modules) if m is not None}
        self._groups: dict[tuple[int, int], Group] = {}
        self._chained: dict[Chain, Group] = {}
        self._streams: dict[Chain, Stream] = {}
        self._row_scratch: dict[int, int] = {}

    def chains(self, measure: Callable[[Sequence[Chain]], int]) -> list[Chain]:
        """The chains, in their order, for which a measure of the arena is smallest."""
        chains: list[Chain] = []
        size = measure(chains)
        while True:
            for choices in (self._longer(chains), self._moved(chains)):
                sized = ((measure(c), sum(b - a for a, b in c), sorted(c)) for c in choices)
                best = min(sized, default=(size, 0, chains))
                if best[0] < size:
                    size, _, chains = best
                    break
            else:
                return chains

    def arrangement(self, chains: Sequence[Chain]) -> Arrangement:
        """The arena with these chains, and tiles as high as it allows."""
        shared = memory.smallest(self.model, self.groups(chains, self.smallest))
        tiles = self._higher(chains, shared)
        groups = self.groups(chains, tiles)
        made = memory.layout(self.model, groups, shared=shared, thorough=True)
        streams = tuple(self._stream(chain) for chain in chains)
        heights = {self.steps[position].index: rows for position, rows in tiles.items()}
        for position in (i for a, b in chains for i in range(a, b + 1)):
            if (module := self.modules[position]) is not None:
                heights[self.steps[position].index] = module.stream_rows(self.steps[position])
        return Arrangement(heights, tuple(groups), streams, made)

    def _longer(self, chains: list[Chain]) -> Iterator[list[Chain]]:
        """With one more chain, over the step at which most memory is alive."""
        groups = self.groups(chains, self.smallest)
        if not groups or len(chains) >= _MOST_CHAINS:
            return
        alive = memory.needed_bytes(self.model, groups)
        peak = self.steps.index(groups[alive.index(max(alive))].steps[0])
        for low, high in runs(self.model, self.steps):
            for a in range(low, min(high, peak + 2)):
                for b in range(max(a, peak - 2) + 1, min(high, a + _LONGEST_CHAIN) + 1):
                    if self._free(chains, (a, b)):
                        yield [*chains, (a, b)]

    def _moved(self, chains: list[Chain]) -> Iterator[list[Chain]]:
        """With an end moved, a chain left out, or two joined."""
        reach = range(-_REACH, _REACH + 1)
        inside = [set(range(low, high + 1)) for low, high in runs(self.model, self.steps)]
        for i, (a, b) in enumerate(chains):
            others = chains[:i] + chains[i + 1 :]
            yield others
            ends = [(a + x, b + y) for x, y in itertools.product(reach, reach)]
            ends += [(min(a, c), max(b, d)) for c, d in others]
            for first, last in ends:
                rest = [(c, d) for c, d in others if not (first <= c and d <= last)]
                steps = set(range(first, last + 1))
                possible = 0 < last - first <= 2 * _LONGEST_CHAIN and any(steps <= run for run in inside)
                if possible and self._free(rest, (first, last)):
                    yield [*rest, (first, last)]

    def _free(self, chains: Sequence[Chain], chain: Chain) -> bool:
        """Whether a stretch can be a chain beside these."""
        clear = all(chain[1] < a or b < chain[0] for a, b in chains)
        return clear and chained(self.model, self.steps, *chain)

    def _higher(self, chains: Sequence[Chain], shared: frozenset[int]) -> dict[int, int]:
        """Tiles of the steps outside of chains as high as they go without a larger arena."""

        def size_of(tiles: Mapping[int, int]) -> int:
            groups = self.groups(chains, tiles)
            return memory.layout(self.model, groups, shared=shared, thorough=True).arena_bytes

        tiles = dict(self.smallest)
        size = size_of(tiles)
        inside = {i for a, b in chains for i in range(a, b + 1)}
        for position, module in enumerate(self.modules):
            if module is None or position in inside:
                continue
            step = self.steps[position]
            wanted = module.tile_rows(step, 2**30)
            while wanted > self.smallest[position]:
                trial = {**tiles, position: wanted}
                if size_of(trial) <= size:
                    tiles = trial
                    break
                wanted = module.tile_rows(step, module.scratch_bytes(step, wanted) * 3 // 4)
        return tiles

    def planned_bytes(self, chains: Sequence[Chain]) -> int:
        """The arena with those outputs in place that have to be for the least that is alive at a time."""
        groups = self.groups(chains, self.smallest)
        shared = memory.pressing(self.model, groups, max(memory.needed_bytes(self.model, groups), default=0))
        return memory.layout(self.model, groups, shared=shared).arena_bytes

    def peak_bytes(self, chains: Sequence[Chain]) -> int:
        """The most that is alive at a time, each step's output in place where that takes less for itself."""
        groups = self.groups(chains, self.smallest)
        return max(memory.needed_bytes(self.model, groups), default=0)

    def groups(self, chains: Sequence[Chain], tiles: Mapping[int, int]) -> list[Group]:
        """All steps, those of a chain as one."""
        found, position, ends = [], 0, dict(chains)
        while position < len(self.steps):
            last = ends.get(position, position)
            found.append(
                self._alone(position, tiles.get(position, 0))
                if last == position
                else self._row_by_row((position, last))
            )
            position = last + 1
        return found

    def _alone(self, position: int, rows: int) -> Group:
        step, module = self.steps[position], self.modules[position]
        if module is None:
            return Group((step,), lag=always(self.model, step))
        if (position, rows) not in self._groups:
            self._groups[position, rows] = Group((step,), module.scratch_bytes(step, rows), lag=module.lag(step, rows))
        return self._groups[position, rows]

    def _row_by_row(self, chain: Chain) -> Group:
        if chain not in self._chained:
            stream = self._stream(chain)
            scratch = max((self._scratch(i) for i in range(chain[0], chain[1] + 1)), default=0)
            self._chained[chain] = Group(stream.steps, scratch, stream.rings(), stream.lag())
        return self._chained[chain]

    def _scratch(self, position: int) -> int:
        """Scratch memory of a step that makes one row at a time."""
        if position not in self._row_scratch:
            step, module = self.steps[position], self.modules[position]
            self._row_scratch[position] = 0 if module is None else module.scratch_bytes(step, module.stream_rows(step))
        return self._row_scratch[position]

    def _stream(self, chain: Chain) -> Stream:
        """The chain's steps and how their rows follow each other."""
        if chain not in self._streams:
            self._streams[chain] = Stream.of(self.model, self.steps[chain[0] : chain[1] + 1])
        return self._streams[chain]
