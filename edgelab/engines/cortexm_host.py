"""The child's side of the emulated Cortex-M: one core with firmware, fed row by row."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.emulator.elf import read_elf, sizes_of
from edgelab.emulator.machine import Counted, Machine, find_core
from edgelab.engines import borders, hosted
from edgelab.engines.base import TensorInfo
from edgelab.errors import BadFile, BadInput, EngineCrash

FORMAT = 1
"""Version of the description in the section ``.edgelab``."""
_MAX_ELEMENTS = 2**24
_MAX_BLOCKS = 2**34
_COUNTING_SECONDS = 100.0  # counting in Python slows the emulation down by some hundred times
_DTYPES = ("int8", "uint8", "int16", "int32", "float32", "bool")


class Host(hosted.Host):
    """The child's side of `CortexMEngine`."""

    prefer: borders.Layout = "channels_last"

    def __init__(
        self, path: str, *, threads: int, core: str | None, native: bool | None, max_seconds: float, **common: Any
    ) -> None:
        super().__init__(path, **common)
        start = time.perf_counter()
        elf = read_elf(path)
        self._about = description_of(elf.metadata, path)
        self._core = find_core(core or self._about["core"])
        self._seconds = max_seconds
        self._sizes = sizes_of(elf)
        self.inputs = self._about["inputs"]
        self.outputs = self._about["outputs"]
        layers = [entry["function"] for entry in self._about["layers"]]
        self._prefix = self._about["prefix"]
        self._machine = Machine(elf, self._core, layers, entry=f"{self._prefix}_invoke", native=native)
        self._dirty = False
        self._stack = 0
        self._at = [
            [self._call(name, number) for number, _ in enumerate(infos)]
            for name, infos in ((f"{self._prefix}_input", self.inputs), (f"{self._prefix}_output", self.outputs))
        ]
        self.load_seconds = time.perf_counter() - start
        kernels = self._about["kernels"]
        self.name = f"emulated {self._core.title} ({self._machine.version}, {kernels} kernels, {threads} core)"

    def firmware(self) -> hosted.Answer:
        """Answer ``firmware``: what it was built for, its layers and sizes."""
        about = {key: self._about[key] for key in ("kernels", "layers")}
        return {**about, "core": self._core.name, "sizes": asdict(self._sizes)}, []

    def run(self, feed: NDArray[Any]) -> NDArray[Any]:
        """One inference."""
        self._infer([feed])
        return self._output(self.output_index())

    def call(self, feeds: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """One inference with every input and every output."""
        self._infer(feeds)
        return [self._output(index) for index in range(len(self.outputs))]

    def timed_call(self, feed: NDArray[Any]) -> Callable[[], object]:
        """Nothing here is timed; the parent refuses before it asks."""
        raise BadInput(f"{self.path} cannot be timed ({len(feed)} items): an emulated core keeps no time.")

    def invoke(self, *rows: NDArray[Any], reset_each: bool) -> hosted.Answer:
        """Answer ``invoke``: raw rows in, raw rows out."""
        found: list[list[NDArray[Any]]] = []
        for row in zip(*rows, strict=True):
            self._dirty |= reset_each
            self._infer(list(row))
            found.append([self._output(i) for i in range(len(self.outputs))])
        return {}, self._stacked(found)

    def trace_floats(self, x: NDArray[np.float32]) -> hosted.Answer:
        """Answer ``trace_floats``."""
        return self.trace_raw(self.prepare(x, whole=False)[0])

    def trace_raw(self, *rows: NDArray[Any]) -> hosted.Answer:
        """Answer ``trace_raw``: one inference with every instruction counted, and its outputs."""
        counted = self._infer(list(rows), trace=True)
        if counted is None:
            raise BadInput(f"{self.path} was not traced.")
        layers = [mix.to_dict() for mix in counted.layers]
        answers = self._stacked([[self._output(i) for i in range(len(self.outputs))]])
        return {"layers": layers, "outside": counted.outside.to_dict(), **self.stack()[0]}, answers

    def stack(self) -> hosted.Answer:
        """Answer ``stack``."""
        self._stack = max(self._stack, self._machine.stack_peak_bytes())
        return {"stack_bytes": self._stack}, []

    def _infer(
        self, feeds: list[NDArray[Any]], *, trace: bool = False, seconds: float = _COUNTING_SECONDS
    ) -> Counted | None:
        if self._dirty:
            self.stack()
            self._machine.reset()
            self._dirty = False
        self._feed(feeds)
        try:
            if trace:
                return self._traced(seconds)
            self._machine.call(f"{self._prefix}_invoke", doing="running one inference", seconds=self._seconds)
        except EngineCrash as first:
            self._dirty = True
            if trace:
                raise
            raise self._with_layer(feeds, first) from None
        return None

    def _with_layer(self, feeds: list[NDArray[Any]], first: EngineCrash) -> EngineCrash:
        """The same inference once more and counted, which names the layer; what was found first if that takes long."""
        endless = self._machine.late
        try:
            self._infer(feeds, trace=True, seconds=self._seconds if endless else _COUNTING_SECONDS)
        except EngineCrash as second:
            return first if self._machine.late and not endless else second
        return first

    def _traced(self, seconds: float) -> Counted:
        return self._machine.traced_call(
            f"{self._prefix}_invoke", doing="running one inference", seconds=seconds, max_blocks=_MAX_BLOCKS
        )

    def _feed(self, feeds: list[NDArray[Any]]) -> None:
        for number, (feed, address) in enumerate(zip(feeds, self._at[0], strict=True)):
            self._machine.write(address, np.ascontiguousarray(feed).tobytes(), f"input {number}")

    def _stacked(self, found: list[list[NDArray[Any]]]) -> list[NDArray[Any]]:
        """For each output the answers (N, ...) of N inferences."""
        outputs = []
        for column, info in zip(zip(*found, strict=True), self.outputs, strict=True):
            shape = tuple(int(n or 1) for n in info.shape)
            item = shape[1:] if shape and shape[0] == 1 else shape
            outputs.append(np.stack(column).reshape(len(column), *item))
        return outputs

    def _output(self, number: int) -> NDArray[Any]:
        info = self.outputs[number]
        shape = tuple(int(n or 1) for n in info.shape)
        size = math.prod(shape) * np.dtype(info.dtype).itemsize
        content = self._machine.read(self._at[1][number], size, f"output {number}")
        return np.frombuffer(content, np.dtype(info.dtype)).reshape(shape)

    def _call(self, name: str, number: int) -> int:
        return self._machine.call(
            name, number, doing=f"asking for {name.removeprefix(f'{self._prefix}_')} {number}", seconds=self._seconds
        )


def description_of(metadata: Any, path: str) -> dict[str, Any]:
    """The description that the firmware carries, checked.

    Raises
    ------
    BadFile
        If it carries none, or one that is not sound.
    """
    if not metadata:
        raise BadFile(
            f"{path} is an ARM ELF file that does not say which model it runs; build it from the folder that "
            "`edgelab firmware` writes."
        )
    if metadata.get("edgelab") != FORMAT:
        raise BadFile(f"{path} was made by another version of edgelab; run `edgelab firmware` again.")
    try:
        layers = [
            {"function": str(entry["function"]), "operator": str(entry["operator"]), "macs": int(entry["macs"])}
            for entry in metadata["layers"]
        ]
        about = {
            "core": str(metadata["core"]),
            "kernels": str(metadata["kernels"]),
            "prefix": str(metadata.get("prefix", "edgelab")),
            "layers": layers,
            "inputs": [_info(entry) for entry in metadata["inputs"]],
            "outputs": [_info(entry) for entry in metadata["outputs"]],
        }
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(f"{path} describes its model in a damaged way ({error}); build it again.") from None
    if not about["inputs"] or not about["outputs"]:
        raise BadFile(f"{path} names no input or no output; build it again.")
    return about


def _info(entry: dict[str, Any]) -> TensorInfo:
    shape = tuple(int(n) for n in entry["shape"])
    scale, zero_point = entry["scale"], entry["zero_point"]
    if entry["dtype"] not in _DTYPES or min(shape, default=1) < 1 or math.prod(shape) > _MAX_ELEMENTS:
        raise ValueError(f"'{entry['name']}' of {entry['dtype']} and shape {shape}")
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"the scale of '{entry['name']}' is {scale}")
    return TensorInfo(
        str(entry["name"]),
        shape,
        str(entry["dtype"]),
        None if scale is None else float(scale),
        None if zero_point is None else int(zero_point),
    )
