"""Layers row by row: chains in which only the rows exist that a later layer still needs.

A chain may hold side branches: a residual block's input stays in its ring until the ADD has read it. A step makes a row
when one of its readers lacks it, and of several such steps the last goes first, so that rows are read as soon as they
can be. The chain is played through once here: a ring has as many rows as were alive at a time. No row is computed
twice. The idea is that of line buffers in image pipelines; patch-based inference (Lin et al. 2021, MCUNetV2) does it
with tiles and recomputes their seams.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgelab.mcu.cgen.ctext import Place, plus
from edgelab.mcu.cgen.lowering import Binary, Convolution, Pool, Step, Table, Window, strides_of
from edgelab.mcu.cgen.memory import up
from edgelab.mcu.model import Model


@dataclass(frozen=True)
class Stream:
    """Steps that run row by row, each on what those before it made or on whole tensors from outside.

    ``windows`` are the steps' own; an operator that takes values one by one has a window of one pixel.
    """

    steps: tuple[Step, ...]
    windows: tuple[Window, ...]

    @classmethod
    def of(cls, model: Model, steps: Sequence[Step]) -> Stream:
        """The chain of these steps."""
        return cls(tuple(steps), tuple(window_of(model, step) for step in steps))

    @property
    def function(self) -> str:
        """The name of the C function that runs it."""
        return f"rows_{self.steps[0].index:02d}_to_{self.steps[-1].index:02d}"

    @functools.cached_property
    def _makers(self) -> dict[int, int]:
        """Which step makes each tensor inside of the chain."""
        return {step.outputs[0]: i for i, step in enumerate(self.steps)}

    @functools.cached_property
    def _sources(self) -> list[tuple[int, ...]]:
        """For each step, those of the chain on whose rows it works."""
        made = self._makers
        return [tuple(dict.fromkeys(made[t] for t in step.inputs if t in made)) for step in self.steps]

    @functools.cached_property
    def _readers(self) -> list[list[int]]:
        """For each step, those of the chain that work on its rows."""
        every = range(len(self.steps))
        return [[j for j in every if i in self._sources[j]] for i in every]

    def _schedule(self) -> Iterator[tuple[int, list[int]]]:
        """Step after step that makes a row, with the rows that each step has made before."""
        order = [(i, self._sources[i], self._readers[i]) for i in reversed(range(len(self.steps)))]
        made = [0] * len(self.steps)
        needed = [_needed(w, 0) for w in self.windows]  # rows of its input, for each step's next row
        while made[-1] < self.windows[-1].out_height:
            for i, sources, readers in order:
                lacking = not readers or any(made[i] < needed[j] for j in readers)
                if lacking and all(made[j] >= needed[i] for j in sources):
                    break
            yield i, made
            made[i] += 1
            needed[i] = _needed(self.windows[i], made[i])

    @functools.cached_property
    def _played(self) -> tuple[list[int], int]:
        """Rows of each step's output that are alive at a time; how far the first input lies behind the output."""
        most, behind, last = [1] * len(self.steps), 0, len(self.steps) - 1
        row_out = _row_bytes(self.windows[-1])[1]
        first = [j for j, step in enumerate(self.steps) if self.steps[0].inputs[0] in step.inputs]
        for i, made in self._schedule():
            if i < last:
                oldest = min(_first(self.windows[j], made[j]) for j in self._readers[i])
                most[i] = max(most[i], made[i] + 1 - max(oldest, 0))
                continue
            for j in first:
                w, row = self.windows[j], made[j] + (j == last)
                if row < w.out_height:
                    behind = max(behind, (made[last] + 1) * row_out - max(_first(w, row), 0) * _row_bytes(w)[0])
        return [min(rows, w.out_height) for rows, w in zip(most, self.windows, strict=True)], behind

    def rings(self) -> dict[int, int]:
        """Bytes of each tensor between the steps."""
        inner = list(zip(self.steps, self.windows, self._played[0], strict=True))[:-1]
        return {step.outputs[0]: up(rows * _row_bytes(w)[1]) for step, w, rows in inner}

    def places(self, addresses: Mapping[int, str]) -> dict[int, tuple[Place, ...]]:
        """Where the rows of each step's inputs and, last, of its output lie."""
        found = {}
        last = len(self.steps) - 1
        for i, (step, w) in enumerate(zip(self.steps, self.windows, strict=True)):
            source, target = _row_bytes(w)
            rings = [self._played[0][self._makers[t]] if t in self._makers else None for t in step.inputs]
            places = [Place(addresses[t], source, ring) for t, ring in zip(step.inputs, rings, strict=True)]
            found[step.index] = (
                *places,
                Place(addresses[step.outputs[0]], target, None if i == last else self._played[0][i]),
            )
        return found

    def lag(self) -> int:
        """How far the first input has to lie behind the output if they share memory."""
        return self._played[1]

    def text(self) -> str:
        """C that runs the chain: the last step that has its rows makes one."""
        last = len(self.steps) - 1
        counters = ", ".join(f"r{i} = 0" for i in range(last + 1))
        branches = [self._branch(i) for i in range(last, -1, -1)]
        choice = "\nelse ".join(branches)
        return f"int {counters};\nwhile (r{last} < {self.windows[-1].out_height}) {{\n{choice}\n}}"

    def _branch(self, i: int) -> str:
        ready = " && ".join(self._has(j, i) for j in self._sources[i])
        lacking = " || ".join("!" + self._has(i, j) for j in self._readers[i])
        if self._plain:  # Where the next step cannot go on, it lacks a row of this one.
            lacking = ""
        elif " || " in lacking:
            lacking = f"({lacking})"
        condition = " && ".join(part for part in (lacking, ready) if part)
        return f"{f'if ({condition}) ' if i and condition else ''}{self.steps[i].function}(r{i}++);"

    @property
    def _plain(self) -> bool:
        """Whether each step works on the one before it alone."""
        return all(self._sources[i] == (i - 1,) for i in range(1, len(self.steps)))

    def _has(self, i: int, j: int) -> str:
        """A C expression: step ``i`` has made the rows that the next row of step ``j`` needs."""
        w = self.windows[j]
        times = "" if w.stride[0] == 1 else f" * {w.stride[0]}"
        enough = f"r{i} >= r{j}{times}{plus(_needed_beyond(w))}"
        never = self._plain and w.pad_after[0] <= 0  # the window reaches beyond the picture
        return f"({enough})" if never else f"(r{i} == {w.height} || {enough})"


def window_of(model: Model, step: Step) -> Window:
    """The window of a step that can run row by row."""
    if isinstance(step, Convolution | Pool):
        return step.window
    n, h, w, c = model.tensors[step.outputs[0]].shape
    return Window(n, h, w, c, h, w, c)


def _row_bytes(w: Window) -> tuple[int, int]:
    return w.width * w.channels, w.out_width * w.out_channels


def _first(w: Window, row: int) -> int:
    """The first row of the input that this row of the output and those after it need."""
    return row * w.stride[0] - w.pad[0]


def _needed(w: Window, row: int) -> int:
    """Rows of the input that have to be there for this row of the output."""
    return min(max(row * w.stride[0] + _needed_beyond(w), 0), w.height)


def _needed_beyond(w: Window) -> int:
    return (w.kernel[0] - 1) * w.dilation[0] + 1 - w.pad[0]


def streamable(model: Model, step: Step) -> bool:
    """Whether a step can make its output row by row."""
    if isinstance(step, Convolution | Pool):
        return step.window.batch == 1 and step.window.height > 1
    if not isinstance(step, Binary | Table) or not step.inputs:
        return False
    shape = model.tensors[step.outputs[0]].shape
    if len(shape) != 4 or shape[0] != 1 or shape[1] == 1:
        return False
    if isinstance(step, Table):
        return True
    whole = strides_of(shape)
    return step.shape == shape and all(
        strides == whole if isinstance(value, int) else strides[:2] == (0, 0)
        for value, strides in zip(step.operands, step.strides, strict=True)
    )


def runs(model: Model, steps: Sequence[Step]) -> list[tuple[int, int]]:
    """The longest stretches of steps that can run row by row, as positions of their first and last step."""
    found: list[tuple[int, int]] = []
    start = None
    for position, step in enumerate((*steps, None)):
        if step is not None and streamable(model, step):
            start = position if start is None else start
        else:
            if start is not None and position - start > 1:
                found.append((start, position - 1))
            start = None
    return found


def chained(model: Model, steps: Sequence[Step], first: int, last: int) -> bool:
    """Whether a stretch leaves only its last tensor behind, so that it can be one chain."""
    inside = {steps[i].outputs[0] for i in range(first, last)}
    if inside & {*model.outputs, *(t for step in steps[last + 1 :] for t in step.inputs)}:
        return False
    return inside <= {t for step in steps[first + 1 : last + 1] for t in step.inputs}
