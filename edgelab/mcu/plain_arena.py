"""The arena in a few plain functions: what lab `mcu` has its learner write, for those whose own is not ready yet.

They are written to be read, and give what `edgelab.mcu.arena` and `edgelab.engines.tflm` give in other ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgelab.mcu.plans import Buffer, plan_buffers

Operator = tuple[Sequence[str], Sequence[str]]


class Chip(Protocol):
    """The memories of a device, in bytes; ``sram_bytes`` is the largest piece."""

    @property
    def flash_bytes(self) -> int:
        """Bytes of flash."""

    @property
    def sram_bytes(self) -> int:
        """Bytes of SRAM in one piece."""


def lifetimes(
    operators: Sequence[Operator], inputs: Iterable[str], outputs: Iterable[str]
) -> dict[str, tuple[int, int]]:
    """The first and the last step of every tensor that needs memory.

    Parameters
    ----------
    operators
        (names read, names written) of each; number i, from 0, runs at step i + 1.
    inputs
        The network's inputs, which are there from step 0.
    outputs
        Its outputs, which live to the last step.

    Examples
    --------
    >>> lifetimes([(["image", "weights"], ["a"]), (["a"], ["score"])], ["image"], ["score"])
    {'image': (0, 1), 'a': (1, 2), 'score': (2, 2)}
    """
    first = dict.fromkeys(inputs, 0)
    last = dict(first)
    for step, (read, written) in enumerate(operators, start=1):
        last.update({name: step for name in read if name in first})
        for name in written:
            first[name] = last[name] = step
    last.update(dict.fromkeys(outputs, len(operators)))
    return {name: (first[name], last[name]) for name in first}


def alive_bytes(lives: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]) -> list[int]:
    """Bytes that are alive at each step.

    Examples
    --------
    >>> alive_bytes({"image": (0, 1), "a": (1, 2)}, {"image": 80, "a": 48})
    [80, 128, 48]
    """
    steps = 1 + max((last for _, last in lives.values()), default=-1)
    return [sum(sizes[n] for n, (first, last) in lives.items() if first <= t <= last) for t in range(steps)]


def first_gap(size: int, taken: Iterable[tuple[int, int]]) -> int:
    """The lowest address at which ``size`` bytes touch none of the taken ranges (start, end); ``end`` itself is free.

    Examples
    --------
    >>> first_gap(16, [(80, 128), (0, 64)]), first_gap(32, [(80, 128), (0, 64)])
    (64, 128)
    """
    free = 0
    for start, end in sorted(taken):
        if start - free >= size:
            break
        free = max(free, end)
    return free


def place(buffers: Sequence[Buffer]) -> dict[str, int]:
    """The address of each buffer by the rule of TFLM's planner; sizes are multiples of 16.

    Examples
    --------
    >>> place([Buffer("a", 64, 0, 1), Buffer("b", 16, 1, 2), Buffer("c", 48, 2, 3)])
    {'a': 0, 'b': 64, 'c': 0}
    """
    return plan_buffers(buffers).offsets


def tail_bytes(requests: Iterable[tuple[int, int]], arena_bytes: int) -> int:
    """Bytes above the lowest of the records (size, alignment), placed in turn from the arena's end downwards.

    Examples
    --------
    >>> tail_bytes([(12, 8), (3, 1), (16, 16)], 96)
    48
    """
    address = arena_bytes
    for size, alignment in requests:
        address = (address - size) // alignment * alignment
    return arena_bytes - address


def smallest_arena(works: Callable[[int], Any], enough: int, step: int = 16) -> int:
    """The smallest multiple of ``step`` that works, by bisection between 0 and ``enough``, which works.

    Examples
    --------
    >>> smallest_arena(lambda size: size >= 1000, 4096)
    1008
    """
    low, high = 0, enough // step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle * step) else (middle, high)
    return high * step


def classify(board: Any, model: Any, x: NDArray[np.float32]) -> NDArray[np.int64] | None:
    """The class of each input on a board, or None where the network does not start; see lab `mcu` for the board."""
    needed = board.arena_for(model)
    if needed > board.free_bytes:
        return None
    interpreter = board.interpreter(model, needed)
    if interpreter.allocate_tensors() != "OK" or interpreter.invoke(x) != "OK":
        return None
    classes: NDArray[np.int64] = np.argmax(interpreter.output(), axis=1)
    return classes


def broken(flash_bytes: int, arena_bytes: int, stack_bytes: int, chip: Chip, headroom: float = 0.2) -> list[str]:
    """What a network breaks on a chip: ``"flash"``, ``"SRAM"``, both, or nothing.

    Examples
    --------
    >>> from edgelab.mcu.devices import find_device
    >>> broken(150_000, 60_000, 2048, find_device("nrf52832"))
    ['SRAM']
    """
    needs = {
        "flash": flash_bytes > chip.flash_bytes,
        "SRAM": arena_bytes + stack_bytes > (1 - headroom) * chip.sram_bytes,
    }
    return [name for name, fails in needs.items() if fails]
