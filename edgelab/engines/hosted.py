"""Both sides of an engine whose runtime lives in a child process.

`HostedEngine` stands in the caller's process, checks inputs and passes them on; `Host` stands in the child,
lays them out, runs them and times the runtime's own call. A runtime adds the few methods that differ.
"""

from __future__ import annotations

import abc
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import borders, feeds
from edgelab.engines.base import OperatorTime, TensorInfo, Timing
from edgelab.engines.child import Child, last_line
from edgelab.errors import BadInput, EdgelabError
from edgelab.models.formats import existing_file

DEFAULT_TIMEOUT_SECONDS = 120.0
# What an engine feeds at once where the model leaves the batch open: fast, and small enough for any memory.
DEFAULT_BATCH = 256

# How much of the timeout a series of timed runs is given at a time.
_TIMING_SHARE = 0.25

Answer = tuple[dict[str, Any], list[NDArray[Any]]]
Kept = NDArray[Any] | list[NDArray[Any]]
"""What one call of the runtime takes: one batch, or an array for each input."""


class HostedEngine:
    """An engine whose native runtime runs in a child process.

    Attributes
    ----------
    name
        Runtime and version: ``"ONNX Runtime 1.31.1"``.
    inputs, outputs
        What the model file states.
    path
        The model file.
    threads
        Threads of the runtime.
    """

    def __init__(
        self,
        module: str,
        title: str,
        path: str | os.PathLike[str],
        timeout: float,
        *,
        fresh: bool = True,
        **options: Any,
    ) -> None:
        if not timeout > 0:
            raise BadInput(f"timeout must be a positive number of seconds, not {timeout}.")
        self.path: Path = existing_file(path)
        self.threads: int = options["threads"]
        self._title = title
        self._sent: NDArray[np.float32] | feeds.Named | None = None
        self._seconds = 0.0  # the slowest run of the last series with the inputs that were sent; 0 for unknown
        self._child = Child(module, title, self.path, timeout=timeout, fresh=fresh)
        try:
            about, _ = self._child.call("open", "opening", path=str(self.path), **options)
        except BaseException:
            self._child.close()
            raise
        self.name: str = about["name"]
        self.inputs: tuple[TensorInfo, ...] = tuple(_tensor_info(entry) for entry in about["inputs"])
        self.outputs: tuple[TensorInfo, ...] = tuple(_tensor_info(entry) for entry in about["outputs"])
        self._fresh = fresh
        self._load_seconds: float = about["load_seconds"]
        self._base_memory_bytes: int = about["base_memory_bytes"]

    @property
    def load_seconds(self) -> float:
        """What the child needed to make the session: reading the file, optimising the graph, allocating.

        Raises
        ------
        BadInput
            If the child was no process from scratch, which alone can be measured: here and for the memory.
        """
        self._check_fresh()
        return self._load_seconds

    @property
    def base_memory_bytes(self) -> int:
        """The child's peak resident set with the runtime imported and no model loaded."""
        self._check_fresh()
        return self._base_memory_bytes

    def _check_fresh(self) -> None:
        if not self._fresh:
            raise BadInput(
                f"{self._title} with {self.path} runs in a copy of a process, whose load time and memory say nothing; "
                "open the model with fresh=True to measure them."
            )

    @property
    def raw(self) -> Child:
        """The child process's handle."""
        return self._child

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names that `run` takes, in the model's order."""
        return tuple(info.name for info in self.inputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name for every input by name.

        Where the model leaves the batch open, this is one call of the runtime with the arrays as they are; where it
        fixes the batch, as many calls as the items need.

        Parameters
        ----------
        inputs
            For each of ``inputs`` an array of its element type and shape. A quantized input that states its scale
            takes float32 as well, and images and signals may come channels first where the model wants them last.

        Returns
        -------
        dict
            For each of ``outputs`` an array; quantized ones dequantized to float32, others in the runtime's type.

        Raises
        ------
        BadInput
            If a name, an element type or a shape is not the model's, or an input is missing.
        EngineCrash
            If the runtime died or did not answer in time.
        """
        arrays = feeds.in_order(inputs, self.input_names, str(self.path))
        _, outputs = self._child.call("run_named", "running inputs through", arrays)
        return {info.name: y for info, y in zip(self.outputs, outputs, strict=True)}

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, classes) for inputs (N, ...), float32, channels first.

        A model of a fixed batch is fed in batches of its own size, the last one filled up; one that leaves
        the batch open in batches of at most ``batch`` items.

        Raises
        ------
        BadInput
            If ``x`` has the wrong type, rank or shape, or holds NaN.
        EngineCrash
            If the runtime died or did not answer in time.
        """
        borders.check_input(x)
        _, (y,) = self._child.call("predict", f"running {len(x)} inputs through", [x])
        return np.asarray(y, dtype=np.float32)

    def time(self, x: NDArray[np.float32] | feeds.Named, runs: int, warmup: int = 0) -> Timing:
        """Run ``x`` as one batch ``warmup + runs`` times and return the times of the last ``runs``, in seconds.

        The clock stands in the child around the runtime's own call; the garbage collector is off
        meanwhile. ``x`` is sent and prepared once for consecutive calls, so short blocks that alternate
        between engines cost little. Where the model's fixed batch is smaller than ``x``, one run is
        as many calls as ``x`` needs (`calls_per_run`).
        """
        check_runs(runs, warmup)
        self._send(x)
        parts = []
        while warmup + runs > 0:
            # The timeout is for one call of the runtime, not for a series: a slow model is asked for a few at a time.
            room = _TIMING_SHARE * self._child.timeout / self._seconds if self._seconds else float("inf")
            most = max(1, int(min(room, warmup + runs)))
            discarded = min(warmup, most)
            timed = min(runs, most - discarded)
            _, (nanoseconds,) = self._child.call("time", "timing", runs=timed, warmup=discarded)
            parts.append(nanoseconds.astype(np.float64) / 1e9)
            if timed:
                self._seconds = float(parts[-1].max())
            warmup, runs = warmup - discarded, runs - timed
        return Timing(np.concatenate(parts))

    def calls_per_run(self, x: NDArray[np.float32] | feeds.Named) -> int:
        """How many calls of the runtime one timed run of ``x`` takes: 1 where the model takes the batch whole."""
        return self._send(x)

    def profile(self, x: NDArray[np.float32] | feeds.Named, runs: int) -> Sequence[OperatorTime]:
        """Per-operator times for the batch ``x``; the class says how they are obtained."""
        check_runs(runs, 0)
        self._send(x)
        answer, _ = self._child.call("profile", "profiling", runs=runs)
        return tuple(OperatorTime(**entry) for entry in answer["operators"])

    def peak_memory_bytes(self) -> int:
        """The child's peak resident set so far; `base_memory_bytes` is its value before the model was loaded."""
        self._check_fresh()
        answer, _ = self._child.call("memory", "asking for the memory of")
        return int(answer["peak_memory_bytes"])

    def close(self) -> None:
        """End the child process."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.path}>"

    def _send(self, x: NDArray[np.float32] | feeds.Named) -> int:
        if isinstance(x, feeds.Named):
            if self._sent is not x:
                arrays = feeds.in_order(x.arrays, self.input_names, str(self.path))
                self._sent, self._seconds = None, 0.0
                answer, _ = self._child.call("keep_named", "preparing inputs for", arrays, states=dict(x.states))
                self._calls, self._sent = int(answer["calls"]), x
            return self._calls
        borders.check_input(x)
        known = self._sent if isinstance(self._sent, np.ndarray) else None
        if known is None or known.shape != x.shape or not np.array_equal(known, x):
            self._sent, self._seconds = None, 0.0
            answer, _ = self._child.call("keep", f"preparing {len(x)} inputs for", [x])
            self._calls = int(answer["calls"])
            self._sent = x.copy()
        return self._calls


class Host(abc.ABC):
    """The child's side: one session of one runtime.

    A subclass sets ``name``, ``inputs``, ``outputs`` and ``load_seconds`` when it is made.
    """

    prefer: borders.Layout
    name: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    load_seconds: float

    def __init__(self, path: str, *, layout: borders.Layout, batch: int | None, output: str | None) -> None:
        self.path = path
        self.layout: borders.Layout = layout
        self.batch = batch
        self.output_name = output
        self.base_memory_bytes = peak_memory_bytes()
        self._kept: list[Kept] = []
        self._states: dict[int, int] = {}  # an input that each run takes from an output of the one before

    @abc.abstractmethod
    def run(self, feed: NDArray[Any]) -> NDArray[Any]:
        """One call of the runtime with one prepared batch; the chosen output as the runtime gives it."""

    @abc.abstractmethod
    def call(self, feeds: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """One call of the runtime with an array for each input; every output as the runtime gives it."""

    @abc.abstractmethod
    def timed_call(self, feed: NDArray[Any]) -> Callable[[], object]:
        """The runtime's own call on ``feed``, ready to be timed."""

    def timed_named(self, feeds: list[NDArray[Any]]) -> Callable[[], object]:
        """The runtime's own call on an array for each input, ready to be timed; states go from run to run."""
        arrays = list(feeds)

        def call() -> None:
            outputs = self.call(arrays)
            for place, output in self._states.items():
                arrays[place] = outputs[output]

        return call

    def said(self, error: Exception) -> str:
        """What an error of the runtime says, on one line."""
        return last_line(str(error))

    def operator_times(self, feeds: list[Kept], runs: int) -> list[OperatorTime]:
        """Per-operator times of ``feeds``, the mean of ``runs``; a host that times no operators says so."""
        raise BadInput(f"{self.name} gives no times of single operators for {len(feeds)} batches and {runs} runs.")

    def batch_size(self, count: int, *, whole: bool) -> int:
        """How many items one call takes: the model's own batch, or up to ``count`` where it is open."""
        fixed = self.inputs[0].shape[0] if self.inputs[0].shape else None
        if fixed:
            return fixed
        return count if whole else min(count, self.batch or DEFAULT_BATCH)

    def output_index(self) -> int:
        """The output that holds the logits: the one asked for, else the first of a floating or quantized type."""
        names = [info.name for info in self.outputs]
        if self.output_name is not None:
            if self.output_name not in names:
                raise BadInput(f"{self.path} has no output '{self.output_name}'; it has {', '.join(names)}.")
            return names.index(self.output_name)
        usable = [i for i, info in enumerate(self.outputs) if info.dtype.startswith("float") or info.scale]
        return usable[0] if usable else 0

    def describe(self) -> dict[str, Any]:
        """What the parent shows of the session."""
        return {
            "name": self.name,
            "inputs": [asdict(info) for info in self.inputs],
            "outputs": [asdict(info) for info in self.outputs],
            "load_seconds": self.load_seconds,
            "base_memory_bytes": self.base_memory_bytes,
        }

    def prepare(self, x: NDArray[np.float32], *, whole: bool) -> list[NDArray[Any]]:
        """``x`` as the batches that the model takes: laid out, typed, cut."""
        if len(self.inputs) != 1:
            names = ", ".join(info.name for info in self.inputs) or "none"
            raise BadInput(f"{self.path} has {len(self.inputs)} inputs ({names}), and an engine feeds exactly one.")
        info = self.inputs[0]
        order = borders.arrangement(x.shape, info.shape, layout=self.layout, prefer=self.prefer, file=self.path)
        feed = borders.to_type(borders.arrange(x, info.shape, order), info, file=self.path)
        return borders.batches(feed, self.batch_size(len(feed), whole=whole))

    def run_named(self, *arrays: NDArray[Any]) -> Answer:
        """Answer ``run_named``: an array for each input in their order, an array for each output."""
        settings: dict[str, Any] = {"layout": self.layout, "prefer": self.prefer, "file": self.path}
        fitted = [feeds.fitted(array, info, **settings) for array, info in zip(arrays, self.inputs, strict=True)]
        parts = feeds.calls(fitted, self.inputs, self.path)
        outputs = [self.call(part) for part in parts]
        cut = [i for i, part in enumerate(parts[0]) if part is not fitted[i]]
        sizes = (len(parts[0][cut[0]]), len(fitted[cut[0]])) if cut else (0, 0)
        return {}, feeds.joined(outputs, self.outputs, sizes, self.path)

    def predict(self, x: NDArray[np.float32]) -> Answer:
        """Answer ``predict``."""
        info = self.outputs[self.output_index()]
        rows = []
        for feed in self.prepare(x, whole=False):
            y = borders.to_float(self.run(feed), info)
            if len(feed) == 1 and (y.ndim == 0 or y.shape[0] != 1):
                y = y[np.newaxis]
            if y.shape[0] != len(feed):
                raise BadInput(
                    f"{self.path} answers {len(feed)} inputs with an output of shape {y.shape}, not one row each; "
                    "choose another with output=..."
                )
            rows.append(y)
        return {}, [np.concatenate(rows)[: len(x)]]

    def keep(self, x: NDArray[np.float32]) -> Answer:
        """Answer ``keep``: prepare ``x`` for the calls of ``time`` and ``profile`` that follow."""
        self._kept, self._states = [*self.prepare(x, whole=True)], {}
        return {"calls": len(self._kept)}, []

    def keep_named(self, *arrays: NDArray[Any], states: dict[str, str]) -> Answer:
        """Answer ``keep_named``: as ``keep``, with an array for each input in the file's own order of axes."""
        given: dict[str, Any] = {"layout": "channels_first", "prefer": "channels_first", "file": self.path}
        fitted = [feeds.fitted(array, info, **given) for array, info in zip(arrays, self.inputs, strict=True)]
        self._kept = [*feeds.calls(fitted, self.inputs, self.path)]
        inputs, outputs = ([info.name for info in infos] for infos in (self.inputs, self.outputs))
        self._states = {inputs.index(name): outputs.index(output) for name, output in states.items()}
        return {"calls": len(self._kept)}, []

    def time(self, runs: int, warmup: int) -> Answer:
        """Answer ``time``: nanoseconds of each run."""
        calls = [self.timed_named(feed) if isinstance(feed, list) else self.timed_call(feed) for feed in self._kept]
        times = np.empty(warmup + runs, np.int64)
        clock = time.perf_counter_ns
        collecting = gc.isenabled()
        gc.disable()
        try:
            if len(calls) == 1:
                call = calls[0]
                for i in range(warmup + runs):
                    start = clock()
                    call()
                    times[i] = clock() - start
            else:
                for i in range(warmup + runs):
                    start = clock()
                    for call in calls:
                        call()
                    times[i] = clock() - start
        except EdgelabError:
            raise
        except Exception as error:  # noqa: BLE001 - runtimes raise classes of their own that share no base
            raise BadInput(f"{self.name} could not run {self.path}: {self.said(error)}.") from None
        finally:
            if collecting:
                gc.enable()
        return {}, [times[warmup:]]

    def profile(self, runs: int) -> Answer:
        """Answer ``profile``."""
        return {"operators": [asdict(entry) for entry in self.operator_times(self._kept, runs)]}, []

    def memory(self) -> Answer:
        """Answer ``memory``."""
        return {"peak_memory_bytes": peak_memory_bytes()}, []


def peak_memory_bytes() -> int:
    """The peak resident set of this process so far, in bytes, as its operating system counts it."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, the others kibibytes


def check_runs(runs: int, warmup: int) -> None:
    """Raise `BadInput` unless ``runs`` is at least 1 and ``warmup`` at least 0."""
    if runs < 1 or warmup < 0:
        raise BadInput(f"runs must be at least 1 and warmup at least 0, not {runs} and {warmup}.")


def check_threads(threads: int) -> int:
    """``threads`` if it is a number of threads.

    Raises
    ------
    BadInput
        If it is below 1 or above 256.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 256:
        raise BadInput(f"threads must be a whole number from 1 to 256, not {threads!r}.")
    return threads


def check_batch(batch: int | None) -> int | None:
    """``batch`` if it is None or at least 1; raises `BadInput` otherwise."""
    if batch is not None and batch < 1:
        raise BadInput(f"batch must be at least 1, not {batch}.")
    return batch


def _tensor_info(entry: dict[str, Any]) -> TensorInfo:
    return TensorInfo(**{**entry, "shape": tuple(entry["shape"]), "axes": tuple(entry["axes"])})
