"""The measurer's tools as plain functions of numbers and callables, as a learner writes them by hand.

They take and give what stands on paper: a count, times in milliseconds, a word. `latency` and `stats` do the same with
runtimes in processes of their own, finer intervals and a watch over the machine. A lab lets its learner write each of
them, and uses these until the learner's own passes its check.

Sources: Howard et al., "MobileNets" (2017), section 3.1, for the count; Hoefler and Belli, "Scientific Benchmarking of
Parallel Computing Systems" (SC 2015), rules 5 to 8, for what is reported of times.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from edgelab.errors import BadInput

Clock = Callable[[], int]
"""Reads a time in nanoseconds."""
Times = NDArray[np.float64]
_ROUNDS, _RUNS = 20, 10
_LIMITS = ("deadline_ms", "storage_bytes", "memory_bytes")


def separable_macs(height: int, width: int, c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> int:
    """Multiply-accumulates of a depthwise-separable layer whose padding keeps the size at stride 1.

    Examples
    --------
    >>> separable_macs(4, 4, 2, 3)
    384
    """
    if min(height, width, c_in, c_out, kernel, stride) < 1:
        raise BadInput("separable_macs() needs sizes, channels, a kernel and a stride of 1 or more.")
    places = math.ceil(height / stride) * math.ceil(width / stride)
    return places * c_in * (kernel * kernel + c_out)


def stopwatch(action: Callable[[], object], runs: int, warmup: int = 0, clock: Clock = time.perf_counter_ns) -> Times:
    """Milliseconds of each of ``runs`` calls of ``action``, (runs,), after ``warmup`` calls that are not timed.

    Examples
    --------
    >>> ticks = iter([5_000_000, 7_000_000, 9_000_000, 12_000_000])
    >>> stopwatch(lambda: None, runs=2, clock=lambda: next(ticks)).tolist()
    [2.0, 3.0]
    """
    if runs < 1 or warmup < 0:
        raise BadInput(f"stopwatch() needs at least one run and no negative warm-up, not {runs} and {warmup}.")
    for _ in range(warmup):
        action()
    times = []
    for _ in range(runs):
        start = clock()
        action()
        times.append((clock() - start) / 1e6)
    return np.array(times)


def percentile_interval(times_ms: ArrayLike, q: float) -> tuple[float, float | None, float | None]:
    """The q-th percentile and two of the sorted times that bracket it with 95 percent confidence: (value, low, high).

    Both ends are None where no two times do. `edgelab.measure.stats` goes between the ranks, and is a little narrower.

    Examples
    --------
    >>> percentile_interval(range(1, 101), 50)
    (50.5, 40.0, 61.0)
    >>> percentile_interval(range(1, 101), 99)
    (99.01, None, None)
    """
    if not 0 <= q <= 100:
        raise BadInput(f"percentile_interval() takes a percentile from 0 to 100, not {q!r}.")
    ordered = np.sort(_checked(times_ms, "percentile_interval", 1))
    low, high = (int(rank) for rank in binom.ppf([0.025, 0.975], len(ordered), q / 100))
    value = float(np.percentile(ordered, q))
    if low < 1 or high + 1 > len(ordered):
        return value, None, None
    return value, float(ordered[low - 1]), float(ordered[high])


def race(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    runs: int,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, Times]:
    """Times of contenders that take turns: for each name an array (rounds, runs) in ms.

    In each round every contender runs once untimed, which pays for the change, and then ``runs`` times.
    """
    if not contenders or rounds < 1:
        raise BadInput("race() needs at least one contender and one round.")
    times: dict[str, list[Times]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, action in contenders.items():
            times[name].append(stopwatch(action, runs, 1, clock))
    return {name: np.array(blocks) for name, blocks in times.items()}


def speed_up(reference_ms: ArrayLike, candidate_ms: ArrayLike) -> float:
    """How many times as fast the candidate is, by the medians: 2.0 if it needs half the time.

    Examples
    --------
    >>> speed_up([4.0, 6.0, 90.0], [3.0, 3.0, 3.0])
    2.0
    """
    reference, candidate = (np.median(_checked(times, "speed_up", None)) for times in (reference_ms, candidate_ms))
    if candidate <= 0:
        raise BadInput("speed_up() needs a candidate whose median time is above 0.")
    return float(reference / candidate)


def verdict(a_blocks_ms: ArrayLike, b_blocks_ms: ArrayLike) -> str:
    """``"a"``, ``"b"`` or ``"noise"`` for two arrays (blocks, runs): who is faster, if the blocks can tell.

    It is noise if the mean difference of the blocks' medians lies within two standard errors of zero.

    Examples
    --------
    >>> verdict([[1.0, 1.1], [1.0, 1.2]], [[2.0, 2.1], [2.0, 2.2]])
    'a'
    """
    a, b = (_checked(blocks, "verdict", 2) for blocks in (a_blocks_ms, b_blocks_ms))
    if len(a) != len(b) or len(a) < 2:
        raise BadInput(f"verdict() needs the same number of blocks of both, two or more, not {len(a)} and {len(b)}.")
    difference = np.median(a, axis=1) - np.median(b, axis=1)
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    if abs(difference.mean()) <= 2 * error:
        return "noise"
    return "a" if difference.mean() < 0 else "b"


def benchmark(contenders: Mapping[str, Callable[[], object]], clock: Clock = time.perf_counter_ns) -> dict[str, float]:
    """The typical milliseconds of one run of each contender: the median of a race."""
    times = race(contenders, _ROUNDS, _RUNS, clock)
    return {name: float(np.median(found)) for name, found in times.items()}


def against_budget(
    times_ms: ArrayLike, file_bytes: float, peak_bytes: float, budget: Mapping[str, float]
) -> dict[str, str]:
    """For deadline, storage and memory ``"kept"``, ``"broken"`` or ``"cannot tell"``.

    The deadline is decided by the interval of the 99th percentile; 20 percent of the memory must stay free.

    Parameters
    ----------
    times_ms
        Of single runs, (runs,).
    file_bytes, peak_bytes
        Of the model file, and of the process at its peak.
    budget
        ``deadline_ms``, ``storage_bytes`` and ``memory_bytes``.
    """
    missing = [name for name in _LIMITS if name not in budget]
    if missing:
        raise BadInput(f"The budget lacks {', '.join(missing)}.")
    _, low, high = percentile_interval(times_ms, 99)
    deadline = "cannot tell"
    if high is not None and high <= budget["deadline_ms"]:
        deadline = "kept"
    elif low is not None and low > budget["deadline_ms"]:
        deadline = "broken"
    storage = "kept" if file_bytes <= budget["storage_bytes"] else "broken"
    memory = "kept" if peak_bytes <= 0.8 * budget["memory_bytes"] else "broken"
    return {"deadline": deadline, "storage": storage, "memory": memory}


def _checked(times_ms: ArrayLike, owner: str, axes: int | None) -> Times:
    """Times as an array of so many axes (any number if None), or one sentence that says why they are none."""
    try:
        times = np.asarray(times_ms, dtype=float)
    except (TypeError, ValueError):
        raise BadInput(f"{owner}() needs numbers of milliseconds, in rows of the same length.") from None
    if axes is not None and times.ndim != axes:
        raise BadInput(f"{owner}() needs times of the shape {'(blocks, runs)' if axes == 2 else '(runs,)'}.")
    if times.size == 0:
        raise BadInput(f"{owner}() needs at least one time.")
    if not np.isfinite(times).all():
        raise BadInput(f"{owner}() needs times that are numbers; some are nan or infinite.")
    return times
