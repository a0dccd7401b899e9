"""Contenders in turn: warm-up, rounds of short blocks in random order, within a number of runs, a time and a deadline.

What was timed is never thrown away: where a contender dies, time runs out, or somebody interrupts, the finished rounds
stand, and the race says what ended it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgelab.engines.base import Engine
from edgelab.engines.feeds import Named
from edgelab.errors import EngineCrash, EngineLate
from edgelab.measure.machine import Watch, machine, on_core, probe, quietest_core
from edgelab.measure.times import LatencyReport

FEWEST_ROUNDS = 8
INTERRUPTED = "It was interrupted"
OUT_OF_TIME = "The time given for all of it was over."
Inputs = NDArray[np.float32] | Named
_ROUNDS_BY_TIME = 60
_MOST_BLOCK = 100
_MOST_ROUNDS = 2000
_WARMUP_SHARE = 0.1
_WARMUP_SECONDS = 10.0
# A run that takes this long does not feel that another contender ran before it.
_SLOW_SECONDS = 0.25
_LEAST_TIMEOUT_SECONDS = 0.01


class OutOfTime(EngineCrash):
    """The time that was given for all of it is over."""


@dataclass(frozen=True)
class Plan:
    """How long the contenders race.

    Attributes
    ----------
    sizes
        Runs of each contender in a block.
    rounds
        How many blocks each has at most.
    warmup
        Runs thrown away before them, fewer where they would take more than ten seconds, or a tenth of ``seconds``.
    seconds
        Seconds that each contender is timed, after which no further round begins; None for no such limit.
    deadline
        The reading of `time.monotonic` at which all ends; None for no such limit.
    keep_going
        True: a contender that is lost is named in the report, and the others race on; an interrupt ends the race and
        keeps its rounds. False: both are raised unless two runs of each were timed, interrupts always.
    known_seconds
        What one run of a contender took before, to plan the warm-up with.
    """

    sizes: Mapping[str, int]
    rounds: int
    warmup: int
    seconds: float | None = None
    deadline: float | None = None
    keep_going: bool = False
    known_seconds: Mapping[str, float] = field(default_factory=dict)


def block_of(runs: int | None, block: int, seconds: float | None, slowest: float) -> tuple[int, int]:
    """Runs in a block, and the most rounds, for so many runs of each, so many seconds of each, or whichever ends first.

    Examples
    --------
    >>> block_of(400, 10, None, 0.001), block_of(None, 10, 6.0, 0.001), block_of(None, 10, 30.0, 6.0)
    ((10, 40), (100, 2000), (1, 2000))
    """
    fitting = _MOST_BLOCK if seconds is None else max(1, min(_MOST_BLOCK, int(seconds / _ROUNDS_BY_TIME / slowest)))
    if runs is None:
        return fitting, _MOST_ROUNDS
    size = max(1, min(block, runs // FEWEST_ROUNDS, fitting))
    return size, -(-runs // size)


def race(pairs: Mapping[str, tuple[Engine, Inputs]], plan: Plan, seed: int, *, progress: bool) -> LatencyReport:
    """Give each contender its block in each round; see `Plan`."""
    return _Race(pairs, plan, seed, progress=progress).report()


class _Race:
    def __init__(self, pairs: Mapping[str, tuple[Engine, Inputs]], plan: Plan, seed: int, *, progress: bool) -> None:
        self.pairs, self.plan, self.seed, self.progress = dict(pairs), plan, seed, progress
        single = any(getattr(engine, "threads", None) == 1 for engine, _ in pairs.values())
        self.core = quietest_core() if single else None
        self.pids = {name: getattr(getattr(engine, "raw", None), "pid", None) for name, (engine, _) in pairs.items()}
        self.cores = {n: self.core if getattr(e, "threads", None) == 1 else None for n, (e, _) in pairs.items()}
        self.times: dict[str, list[NDArray[np.float64]]] = {name: [] for name in pairs}
        self.warm = dict.fromkeys(pairs, plan.warmup)
        self.fast = dict.fromkeys(pairs, True)
        self.lost: dict[str, str] = {}
        self.cut = ""

    def report(self) -> LatencyReport:
        watch = Watch({pid for pid in self.pids.values() if pid is not None})
        with on_core(self.core):
            before = probe()
        self._run()
        done = min((len(series) for series in self.times.values()), default=0)
        with on_core(self.core):
            busy = watch.complaint()
            note = " ".join(filter(None, [self.cut, busy or before.complaint(probe())]))
        blocks = {name: np.array(series[:done]) for name, series in self.times.items()}
        by = {name: self._by(name, done) for name in blocks}
        batch = {name: len(self.pairs[name][1]) for name in blocks}
        return LatencyReport(blocks, batch, by, note, self.seed, busy, self.lost, self.cut, self.warm)

    def _run(self) -> None:
        try:
            for name in list(self.pairs) if self.plan.warmup else ():
                try:
                    self._warm_up(name)
                except EngineCrash as error:
                    if not self._lose(name, error):
                        return
            self._rounds()
        except KeyboardInterrupt:
            if not self.plan.keep_going:
                raise
            self._end("Interrupted.", INTERRUPTED)

    def _warm_up(self, name: str) -> None:
        """One run, and then as many more as there is time for."""
        plan = self.plan
        room = _WARMUP_SECONDS if plan.seconds is None else min(_WARMUP_SECONDS, _WARMUP_SHARE * plan.seconds)
        known = plan.known_seconds.get(name, 0.0)
        if known > room:  # what came before was one
            self.warm[name], self.fast[name] = 0, False
            return
        if known * plan.warmup <= room:
            self._turn(name, 1, plan.warmup - 1)
            return
        took = float(self._turn(name, 1, 0)[0])
        more = max(0, min(plan.warmup - 1, int((room - took) / max(took, 1e-9))))
        if more:
            self._turn(name, 1, more - 1)
        self.warm[name], self.fast[name] = 1 + more, took < _SLOW_SECONDS

    def _rounds(self) -> None:
        from tqdm.auto import tqdm

        order = np.random.default_rng(self.seed)
        names = list(self.times)
        start = time.monotonic()
        for number in tqdm(range(self.plan.rounds), desc="rounds", disable=not self.progress, leave=False):
            limit = self.plan.seconds
            if limit is not None and number > 1 and time.monotonic() - start > limit * len(names):
                break
            for index in order.permutation(len(names)):
                name = names[index]
                try:
                    if name in self.times:
                        self.times[name].append(self._turn(name, self.plan.sizes[name], int(self.fast[name])))
                except EngineCrash as error:
                    if not self._lose(name, error):
                        return
            names = list(self.times)
            if not names:
                return

    def _turn(self, name: str, runs: int, discarded: int) -> NDArray[np.float64]:
        engine, inputs = self.pairs[name]
        if self.plan.deadline is not None:
            left = self.plan.deadline - time.monotonic()
            if left <= 0:
                raise OutOfTime(OUT_OF_TIME)
            if hasattr(getattr(engine, "raw", None), "timeout"):
                engine.raw.timeout = max(left, _LEAST_TIMEOUT_SECONDS)
        try:
            with on_core(self.cores[name], self.pids[name]):
                return engine.time(inputs, runs, discarded).seconds
        except EngineLate:
            if self.plan.deadline is None or time.monotonic() < self.plan.deadline - _LEAST_TIMEOUT_SECONDS:
                raise
            raise OutOfTime(OUT_OF_TIME) from None

    def _lose(self, name: str, error: EngineCrash) -> bool:
        """Note what a contender ended with, and whether the others go on: where it leaves no times, they do."""
        done = min((len(series) for series in self.times.values()), default=0)
        if done * min(self.plan.sizes.values()) >= 2:
            self._end(str(error), f"After {self._planned()} it ended")
            return False
        if not self.plan.keep_going:
            raise error
        if isinstance(error, OutOfTime):
            self._end(str(error), "It ended")
            return False
        self.lost[name] = str(error)
        del self.times[name]
        return True

    def _end(self, why: str, what: str) -> None:
        """Keep the rounds that all of them finished; who has fewer than two runs has no figures."""
        done = min((len(series) for series in self.times.values()), default=0)
        kept = done * min(self.plan.sizes.values()) >= 2
        if kept and why == "Interrupted.":
            self.cut = f"{what} after {self._planned()}, and these are the figures of those."
        elif kept:
            self.cut = f"{what}, and these are the figures of those: {why}"
        else:
            self.cut = why
            self.lost.update(dict.fromkeys(self.times, why))
            self.times.clear()

    def _planned(self) -> str:
        done = min((len(series) for series in self.times.values()), default=0)
        return f"{done} rounds" if self.plan.seconds is not None else f"{done} of {self.plan.rounds} rounds"

    def _by(self, name: str, rounds: int) -> str:
        engine, inputs = self.pairs[name]
        runs = rounds * self.plan.sizes[name]
        where = "" if self.cores[name] is None else " on one core"
        return (
            f"{describe(engine)}{where}, {runs} runs in {rounds} interleaved blocks after {self.warm[name]} warm-up "
            f"runs, batch {len(inputs)}, {machine().cpu}"
        )


def label(threads: int) -> str:
    """So many threads in words."""
    return f"{threads} thread" if threads == 1 else f"{threads} threads"


def describe(engine: Engine) -> str:
    """An engine and its threads, as a reading's ``by`` has them."""
    threads = getattr(engine, "threads", None)
    return f"{engine.name}, {label(threads)}" if threads else engine.name
