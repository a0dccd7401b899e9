"""The smallest arena in which TFLM runs a model, found by trying: each size from the start, in a child process."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from edgelab.engines import hosted
from edgelab.engines.tflm import ARENA_ALIGNMENT, TITLE, TFLMEngine, aligned
from edgelab.errors import BadFile, BadInput, EngineCrash, ModelRefused

UNSTEADY = "answers the same input differently"
"""What a refusal says of a model whose answers depend on what happens to lie in the arena."""
_LUCKY_BYTES = 64
"""How far above a size that works a search looks for one that does not."""
_MOST_LUCKY_BYTES = 2048


@dataclass(frozen=True)
class ArenaSearch:
    """The smallest arena with which the interpreter gives the answers that it gives with ample room.

    ``attempts`` holds each size that was tried with what came of it: ``"works"``, ``"refused"``, ``"crashed"`` or
    ``"other answers"``.
    """

    min_workable: int
    attempts: tuple[tuple[int, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """The search as JSON-ready data."""
        return {"min_workable": self.min_workable, "attempts": [list(entry) for entry in self.attempts]}

    def __str__(self) -> str:
        return f"{self.min_workable:,} bytes after {len(self.attempts)} attempts, measured"


def arena_search(path: str | os.PathLike[str], *, timeout: float = hosted.DEFAULT_TIMEOUT_SECONDS) -> ArenaSearch:
    """Find by bisection the smallest arena with which the real interpreter works, in steps of 16 bytes.

    An arena works when the interpreter loads the model and answers as it does with ample room. What it uses after
    loading (`TFLMEngine.allocations`) may not suffice, because planning needs room of its own. Each attempt runs in a
    child process, and one that crashes is an attempt that failed. Larger arenas work as well: a size that works by
    luck, where a kernel's buffers happen to lie over what is not read again, is not taken for the smallest.

    Raises
    ------
    BadFile, EngineCrash
        If the interpreter does not run the model in any arena: `ModelRefused` if it refuses it with ample room, too.
    MissingFramework
        If tflite-micro is not installed.
    """
    with ArenaTrials(path, timeout=timeout) as trials:
        high = aligned(trials.used_bytes)
        low = 0  # a size in steps of 16 that does not work

        def works(size: int) -> bool:
            return trials(size) == "works"

        while not works(high):
            if high >= trials.ample_bytes:  # the room in which it has just worked
                raise _no_arena(path, trials.attempts)
            low, high = high, min(2 * high, trials.ample_bytes)
        if not low:
            # The interpreter dies in the smallest arenas, which costs a child each: come down from above in steps.
            step = max(ARENA_ALIGNMENT, aligned(high // 8))
            while high - step > 0 and works(high - step):
                high -= step
            low = max(0, high - step)
        while high - low > ARENA_ALIGNMENT:
            middle = aligned((low + high) // 2)
            low, high = (low, middle) if works(middle) else (middle, high)
        above, smallest = high, high
        while above < high + _LUCKY_BYTES:
            above += ARENA_ALIGNMENT
            high = high if works(above) else above + ARENA_ALIGNMENT
            if high > smallest + _MOST_LUCKY_BYTES:  # no size is the last that does not work
                raise _no_arena(path, trials.attempts)
        return ArenaSearch(high, tuple(trials.attempts))


class ArenaTrials:
    """Load and run a model in arenas of any size, each time from the start, in a child process that may die of it.

    Call it with a size in bytes: ``"works"`` (it answers as it does with ample room), ``"refused"``, ``"crashed"`` or
    ``"other answers"``. ``attempts`` holds what was tried, ``ample_bytes`` the ample room, ``used_bytes`` what the
    interpreter says to use of it.

    Parameters
    ----------
    path
        The .tflite file.
    timeout
        Seconds after which an attempt counts as crashed.

    Raises
    ------
    BadFile, MissingFramework
        If the interpreter does not run the model with ample room, or is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = hosted.DEFAULT_TIMEOUT_SECONDS) -> None:
        self.attempts: list[tuple[int, str]] = []
        self._path, self._timeout = path, timeout
        self._engine = TFLMEngine(path, timeout=timeout)
        try:
            opened, self._expected = self._engine.raw.call("try_arena", "trying an arena for", arena_bytes=None)
            self.ample_bytes = int(opened["arena_bytes"])
            self.used_bytes = self._engine.allocations().total
        except BaseException:
            self.close()
            raise

    def __call__(self, arena_bytes: int) -> str:
        """What becomes of an arena of that size.

        Raises
        ------
        BadInput
            If the size is no whole number of bytes from 0.
        """
        size = _whole_bytes(arena_bytes)
        self.attempts.append((size, self._outcome(size)))
        return self.attempts[-1][1]

    def _outcome(self, size: int) -> str:
        try:
            answer, outputs = self._engine.raw.call(
                "try_arena", f"trying an arena of {size} bytes for", arena_bytes=size
            )
        except EngineCrash:
            self._engine.close()
            self._engine = TFLMEngine(self._path, timeout=self._timeout)
            return "crashed"
        if not answer["works"]:
            return "refused"
        same = all(a.tobytes() == b.tobytes() for a, b in zip(outputs, self._expected, strict=True))
        return "works" if same else "other answers"

    def close(self) -> None:
        """End the child process."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _whole_bytes(size: Any) -> int:
    number = isinstance(size, numbers.Real) and not isinstance(size, bool)
    if not number or not float(size).is_integer() or size < 0:
        raise BadInput(f"An arena of {size!r} bytes cannot be tried: its size is a whole number from 0, such as 4096.")
    return int(size)


def _no_arena(path: str | os.PathLike[str], attempts: Sequence[tuple[int, str]]) -> BadFile:
    size, outcome = attempts[-1]
    if any(outcome == "other answers" for _, outcome in attempts):
        return ModelRefused(
            f"{TITLE} runs {path} and {UNSTEADY} from one arena to the next, so no size can be called enough: a kernel "
            "reads memory that nothing has set."
        )
    return BadFile(f"{TITLE} ran {path} in an arena of {size:,} bytes, and the second time it was {outcome} there.")
