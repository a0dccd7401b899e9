"""Layers row by row: a chain of windows in which only the rows exist that the next layer still needs.

Each step of a chain makes one row of its output as soon as its window has the rows it needs, so that no row is computed
twice and the tensors between the steps shrink to rings of a few rows. The idea is that of line buffers in image
pipelines; patch-based inference (Lin et al. 2021, MCUNetV2) does it with tiles and recomputes their seams.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgelab.mcu.cgen.ctext import Place, plus
from edgelab.mcu.cgen.lowering import Convolution, Pool, Step, Window
from edgelab.mcu.cgen.memory import up
from edgelab.mcu.model import Model


@dataclass(frozen=True)
class Stream:
    """Steps that run row by row, each on what the one before it made."""

    steps: tuple[Step, ...]

    @property
    def windows(self) -> tuple[Window, ...]:
        """The steps' windows."""
        return tuple(window_of(step) for step in self.steps)

    @property
    def function(self) -> str:
        """The name of the C function that runs it."""
        return f"rows_{self.steps[0].index:02d}_to_{self.steps[-1].index:02d}"

    def rings(self) -> dict[int, int]:
        """Bytes of each tensor between the steps."""
        return {
            step.outputs[0]: up(ring_rows(after) * _row_bytes(before)[1])
            for step, before, after in zip(self.steps, self.windows, self.windows[1:], strict=False)
        }

    def places(self, addresses: Mapping[int, str]) -> dict[int, tuple[Place, Place]]:
        """Where each step's input and output rows lie."""
        found = {}
        last = len(self.steps) - 1
        for i, (step, w) in enumerate(zip(self.steps, self.windows, strict=True)):
            source, target = _row_bytes(w)
            rows_in = None if i == 0 else ring_rows(w)
            rows_out = None if i == last else ring_rows(self.windows[i + 1])
            found[step.index] = (
                Place(addresses[step.inputs[0]], source, rows_in),
                Place(addresses[step.outputs[0]], target, rows_out),
            )
        return found

    def lag(self) -> int:
        """How far the input has to lie behind the output if they share memory."""
        w = self.windows[0]
        row_in, row_out = _row_bytes(w)[0], _row_bytes(self.windows[-1])[1]
        behind = 0
        for made, first_rows in enumerate(self._progress()):
            # The next row of the first step reads from here on; the row that was just made has been written.
            unread = max(first_rows * w.stride[0] - w.pad[0], 0) * row_in
            if first_rows < w.out_height:
                behind = max(behind, (made + 1) * row_out - unread)
        return behind

    def _progress(self) -> Iterator[int]:
        """After each row of the output: how many rows the first step has made."""
        for row in range(self.windows[-1].out_height):
            needed = row + 1
            for w in reversed(self.windows[1:]):
                needed = _needed(w, needed - 1)
            yield needed

    def text(self) -> str:
        """C that runs the chain: each row as soon as the rows it needs are there."""
        last = len(self.steps) - 1
        counters = "".join(f"int r{i} = 0;\n" for i in range(last))
        rows = self.windows[-1].out_height
        return f"{counters}for (int r{last} = 0; r{last} < {rows}; ++r{last}) {{\n{self._row(last)}}}"

    def _row(self, i: int) -> str:
        call = f"{self.steps[i].function}(r{i});\n"
        if i == 0:
            return call
        w = self.windows[i]
        reach = (w.kernel[0] - 1) * w.dilation[0] + 1 - w.pad[0]
        there = f"r{i - 1} < {w.height} && r{i - 1} < r{i} * {w.stride[0]}{plus(reach)}"
        return f"while ({there}) {{\n{self._row(i - 1)}++r{i - 1};\n}}\n{call}"


def window_of(step: Step) -> Window:
    """The window of a step that has one."""
    if isinstance(step, Convolution | Pool):
        return step.window
    raise AssertionError(step.function)


def ring_rows(w: Window) -> int:
    """Rows of its input that a window needs at a time."""
    return min((w.kernel[0] - 1) * w.dilation[0] + 1, w.height)


def _row_bytes(w: Window) -> tuple[int, int]:
    return w.width * w.channels, w.out_width * w.out_channels


def _needed(w: Window, row: int) -> int:
    """Rows of the input that have to be there for this row of the output."""
    reach = row * w.stride[0] - w.pad[0] + (w.kernel[0] - 1) * w.dilation[0] + 1
    return min(max(reach, 0), w.height)


def streamable(step: Step) -> bool:
    """Whether a step can make its output row by row."""
    return isinstance(step, Convolution | Pool) and step.window.batch == 1 and step.window.height > 1


def runs(model: Model, steps: Sequence[Step]) -> list[tuple[int, int]]:
    """The longest chains, as positions of their first and last step."""
    users: dict[int, int] = {}
    for step in steps:
        for index in set(step.inputs):
            users[index] = users.get(index, 0) + 1
    found: list[tuple[int, int]] = []
    start = None
    for position, step in enumerate(steps):
        linked = (
            start is not None
            and streamable(step)
            and step.inputs == steps[position - 1].outputs
            and users[step.inputs[0]] == 1
            and step.inputs[0] not in model.outputs
        )
        if linked:
            continue
        if start is not None and position - start > 1:
            found.append((start, position - 1))
        start = position if streamable(step) else None
    if start is not None and len(steps) - start > 1:
        found.append((start, len(steps) - 1))
    return found
