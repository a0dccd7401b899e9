"""TensorFlow Lite Micro behind the engine protocol: the interpreter of the tflite-micro package in a child process.

It is the real runtime of microcontrollers with its reference kernels, built for this machine: its answers are what
firmware has to reproduce bit for bit, and it says what it placed in its arena.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import borders, hosted
from edgelab.engines.base import TensorInfo
from edgelab.engines.child import last_line
from edgelab.engines.tflm_words import OF_THE_ARENA, caught_stderr, reason_of
from edgelab.errors import BadFile, BadInput, EdgelabError, MissingFramework, ModelRefused

TITLE = "TFLM"
ARENA_ALIGNMENT = 16
"""TFLM aligns its arena to 16 bytes (kBufferAlignment), so sizes are counted in steps of it."""
MAX_ARENA_BYTES = 2**30
_NOT_INSTALLED = (
    "The TFLM interpreter is not installed ({}); tflite-micro has wheels for Linux on x86-64: "
    "uv pip install --prerelease=allow tflite-micro, elsewhere the modelled figures stand alone."
)
# Needs for a scratch list and for planning come on top of what stays; this is a start that seldom fails.
_SPARE_BYTES = 2**16


@dataclass(frozen=True)
class Allocations:
    """What the interpreter placed in its arena, in bytes, as `print_allocations` states it."""

    head: int
    tail: int
    total: int
    parts: tuple[tuple[str, int], ...]
    """The recorded kinds of the tail with their sizes; what is not recorded has no entry."""

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready data."""
        return {"head": self.head, "tail": self.tail, "total": self.total, "parts": dict(self.parts)}


class TFLMEngine(hosted.HostedEngine):
    """A model file (.tflite) in TensorFlow Lite Micro.

    Parameters
    ----------
    path
        The .tflite file.
    threads
        1: the interpreter has one thread.
    arena_bytes
        The arena; None for ample room.
    layout
        ``"channels_first"`` or ``"channels_last"`` for the model's input; ``"auto"`` decides from the shapes.
    output
        The name of the output that holds the logits; else the first floating or quantized one.
    timeout
        Seconds that one call may take.
    fresh
        True: the child is a process from scratch, so that its load time and memory on this machine can be measured.

    Raises
    ------
    BadFile
        If the file is missing, truncated, or the arena too small for it; `ModelRefused` if the interpreter does not
        take it, whatever the arena (an operator that it does not have, operands that a kernel does not know).
    EngineCrash
        If the interpreter hung while it loaded the file; `EngineDied` if it died.
    MissingFramework
        If tflite-micro is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 1,
        *,
        arena_bytes: int | None = None,
        layout: borders.Layout = "auto",
        output: str | None = None,
        timeout: float = hosted.DEFAULT_TIMEOUT_SECONDS,
        fresh: bool = False,
    ) -> None:
        if hosted.check_threads(threads) != 1:
            raise BadInput(f"TFLM runs on one thread; threads must be 1, not {threads}.")
        if arena_bytes is not None and not 0 < arena_bytes <= MAX_ARENA_BYTES:
            raise BadInput(f"arena_bytes must be from 1 to {MAX_ARENA_BYTES}, not {arena_bytes}.")
        super().__init__(
            __name__,
            TITLE,
            path,
            timeout,
            fresh=fresh,
            threads=1,
            arena_bytes=arena_bytes,
            batch=None,
            layout=layout,
            output=output,
        )

    def invoke_raw(self, inputs: Sequence[NDArray[Any]], *, reset_each: bool = False) -> list[NDArray[Any]]:
        """Run many inferences in one call, on the model's own integers.

        Parameters
        ----------
        inputs
            One array for each input of the model, in its element type and of shape (N, ...) for N inferences: a row
            holds as many elements as the input.
        reset_each
            Forget the state of a network that remembers before each inference; else before the first alone.

        Returns
        -------
        list
            One array for each output, (N, ...) in its element type; a leading dimension of 1 gives way to N.

        Raises
        ------
        BadInput
            If the number, type or size of the arrays is not the model's.
        EngineCrash
            If the runtime died or did not answer in time.
        """
        arrays = [np.asarray(x) for x in inputs]
        if len(arrays) != len(self.inputs):
            raise BadInput(f"{self.path} has {len(self.inputs)} inputs, and {len(arrays)} arrays were given.")
        counts = {len(x) if x.ndim else 0 for x in arrays}
        if len(counts) != 1 or 0 in counts:
            raise BadInput(f"Each input of {self.path} needs the same number of rows, at least one.")
        rows = counts.pop()
        for x, info in zip(arrays, self.inputs, strict=True):
            if x.dtype != np.dtype(info.dtype) or x.size != rows * _elements(info):
                raise BadInput(
                    f"The input '{info.name}' of {self.path} takes {info.dtype} rows of shape "
                    f"{borders.show_shape(info.shape)}, not {x.dtype} of shape {x.shape[1:]}."
                )
        _, outputs = self._child.call(
            "invoke_raw", f"running {rows} inputs through", arrays, rows=rows, reset_each=reset_each
        )
        return outputs

    def allocations(self) -> Allocations:
        """What the interpreter holds in its arena after an inference, in bytes: measured."""
        answer, _ = self._child.call("allocations", "asking for the arena of")
        parts = tuple((str(name), int(size)) for name, size in answer["parts"])
        return Allocations(answer["head"], answer["tail"], answer["total"], parts)


class Host(hosted.Host):
    """The child's side of `TFLMEngine`."""

    prefer: borders.Layout = "channels_last"

    def __init__(self, path: str, *, threads: int, arena_bytes: int | None, **common: Any) -> None:
        del threads  # the interpreter has one
        try:
            from tflite_micro.python.tflite_micro import runtime
        except (ImportError, OSError) as error:
            raise MissingFramework(_NOT_INSTALLED.format(last_line(str(error)) or "no such module")) from None
        super().__init__(path, **common)
        self._runtime = runtime
        self.name = f"{TITLE} {metadata.version('tflite-micro')}"
        self._content = Path(path).read_bytes()
        start = time.perf_counter()
        try:
            self._interpreter = self._open(arena_bytes)
        except _ArenaTooSmall as error:
            raise BadFile(str(error)) from None
        self.load_seconds = time.perf_counter() - start
        self._learn()

    def run(self, feed: NDArray[Any]) -> NDArray[Any]:
        """`set_input`, `invoke`, `get_output`."""
        self._set(self._interpreter, [feed])
        self._invoke(self._interpreter)
        return np.asarray(self._interpreter.get_output(self.output_index()))

    def call(self, feeds: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """`set_input`, `invoke`, `get_output` for every input and output."""
        self._set(self._interpreter, feeds)
        self._invoke(self._interpreter)
        return [np.array(self._interpreter.get_output(index)) for index in range(len(self.outputs))]

    def timed_call(self, feed: NDArray[Any]) -> Callable[[], object]:
        """`Interpreter.invoke` alone; the input is set once, although planning lets later tensors write over it."""
        self._set(self._interpreter, [feed])
        invoke: Callable[[], object] = self._interpreter.invoke
        return invoke

    def invoke_raw(self, *inputs: NDArray[Any], rows: int, reset_each: bool) -> hosted.Answer:
        """Answer ``invoke_raw``."""
        shapes = [tuple(n or 1 for n in info.shape) for info in self.inputs]
        feeds = [x.reshape(rows, *shape) for x, shape in zip(inputs, shapes, strict=True)]
        outputs = [np.empty((rows, *_without_batch(info)), np.dtype(info.dtype)) for info in self.outputs]
        self._interpreter.reset()
        for row in range(rows):
            if reset_each and row:
                self._interpreter.reset()
            self._set(self._interpreter, [feed[row] for feed in feeds])
            self._invoke(self._interpreter)
            for index, output in enumerate(outputs):
                output[row] = self._interpreter.get_output(index).reshape(output.shape[1:])
        return {}, outputs

    def allocations(self) -> hosted.Answer:
        """Answer ``allocations``."""
        with caught_stderr() as said:
            self._interpreter.print_allocations()
            text = said()
        figures = {name: int(size) for name, size in re.findall(r"Arena allocation (\w+) (\d+) bytes", text)}
        if not {"head", "tail", "total"} <= set(figures):
            raise BadInput(f"{self.name} does not state its allocations in the way of the versions known here.")
        parts = re.findall(r"'([^']+)' used (\d+) bytes", text)
        return {**figures, "parts": parts}, []

    def try_arena(self, arena_bytes: int | None) -> hosted.Answer:
        """Answer ``try_arena``: whether it runs in an arena (None: ample room), and its outputs for a fixed input."""
        try:
            interpreter = self._open(arena_bytes)
            rng = np.random.default_rng(0)
            self._set(interpreter, [_random(rng, info) for info in self.inputs])
            self._invoke(interpreter)
        except EdgelabError as error:
            if arena_bytes is None:
                raise ModelRefused(str(error)) from None
            return {"works": False}, []
        return {"works": True, "arena_bytes": self._opened_bytes}, [
            np.array(interpreter.get_output(i)) for i in range(len(self.outputs))
        ]

    def _open(self, arena_bytes: int | None) -> Any:
        if arena_bytes is None:
            arena_bytes = min(MAX_ARENA_BYTES, aligned(10 * len(self._content) + _SPARE_BYTES))
            while True:
                try:
                    return self._open(arena_bytes)
                except _ArenaTooSmall:
                    if arena_bytes >= MAX_ARENA_BYTES:
                        raise
                    arena_bytes = min(MAX_ARENA_BYTES, 8 * arena_bytes)
        with caught_stderr() as said:
            try:
                opened = self._runtime.Interpreter.from_bytes(self._content, arena_size=arena_bytes)
            except Exception as error:  # noqa: BLE001 - RuntimeError of C++, and what parsing a damaged file raises
                reason = reason_of(said()) or last_line(str(error)) or type(error).__name__
            else:
                self._opened_bytes = arena_bytes
                return opened
        if OF_THE_ARENA.search(reason):
            raise _ArenaTooSmall(f"{TITLE} cannot load {self.path} in an arena of {arena_bytes} bytes: {reason}.")
        raise ModelRefused(f"{TITLE} cannot load {self.path}: {reason}.")

    def _learn(self) -> None:
        from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

        graph = schema.Model.GetRootAsModel(self._content, 0).Subgraphs(0)
        self.inputs = [
            _info(self._interpreter.get_input_details(i), graph.Tensors(graph.Inputs(i)).Name())
            for i in range(graph.InputsLength())
        ]
        self.outputs = [
            _info(self._interpreter.get_output_details(i), graph.Tensors(graph.Outputs(i)).Name())
            for i in range(graph.OutputsLength())
        ]
        if not self.outputs:
            raise BadFile(f"{self.path} has no output.")

    def _set(self, interpreter: Any, feeds: Sequence[NDArray[Any]]) -> None:
        for index, feed in enumerate(feeds):
            try:
                interpreter.set_input(np.array(feed, order="C"), index)
            except (RuntimeError, ValueError) as error:
                raise BadInput(f"{TITLE} does not take this input for {self.path}: {last_line(str(error))}.") from None

    def _invoke(self, interpreter: Any) -> None:
        with caught_stderr() as said:
            try:
                interpreter.invoke()
            except RuntimeError as error:
                reason = reason_of(said()) or last_line(str(error))
                raise BadInput(f"{TITLE} could not run {self.path}: {reason}.") from None


class _ArenaTooSmall(BadFile):
    """The interpreter refused its arena."""


def _random(rng: np.random.Generator, info: TensorInfo) -> NDArray[Any]:
    shape, dtype = tuple(n or 1 for n in info.shape), np.dtype(info.dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b" or dtype.itemsize > 2:  # wide integers are indices as a rule, and have to lie in a table
        return rng.integers(0, 2, shape).astype(dtype)
    limits = np.iinfo(dtype.name)
    return np.asarray(rng.integers(limits.min, limits.max, shape, dtype.name, endpoint=True))


def _info(entry: dict[str, Any], name: bytes | None) -> TensorInfo:
    quantization = entry["quantization_parameters"]
    scales, zero_points = quantization["scales"], quantization["zero_points"]
    single = len(scales) == 1 and float(scales[0]) > 0
    return TensorInfo(
        (name or b"").decode("utf-8", "replace"),
        tuple(int(n) for n in entry["shape"]),
        np.dtype(entry["dtype"]).name,
        float(scales[0]) if single else None,
        int(zero_points[0]) if single and len(zero_points) else None,
    )


def _elements(info: TensorInfo) -> int:
    return int(np.prod([n or 1 for n in info.shape], dtype=np.int64))


def _without_batch(info: TensorInfo) -> tuple[int, ...]:
    shape = tuple(n or 1 for n in info.shape)
    return shape[1:] if shape[:1] == (1,) else shape


def aligned(size: int) -> int:
    """A size in bytes, rounded up as TFLM aligns its arena."""
    return -(-size // ARENA_ALIGNMENT) * ARENA_ALIGNMENT
