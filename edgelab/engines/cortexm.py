"""Firmware for a Cortex-M behind the engine protocol: its machine code on an emulated core, in a child process.

The answers, the instruction counts and the sizes are those of the real code. Time is not: an emulator keeps none, so
`CortexMEngine.time` refuses, and `edgelab.mcu.timing` models it from the counts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgelab.emulator.elf import Sizes
from edgelab.emulator.machine import find_core
from edgelab.emulator.thumb import Mix
from edgelab.emulator.trace import LayerCount, Trace
from edgelab.engines import borders, feeds, hosted
from edgelab.engines.base import OperatorTime, TensorInfo, Timing
from edgelab.errors import BadInput

TITLE = "The emulated Cortex-M"
_ROWS_A_CALL = 32


class CortexMEngine(hosted.HostedEngine):
    """Firmware (.elf) that `edgelab firmware` made, on the emulated core that it was built for.

    Inputs are given channels first and go in channels last where the model takes them so, quantized with the model's
    own scale and zero point; outputs come back dequantized.

    Parameters
    ----------
    path
        The firmware.
    threads
        1: a microcontroller has one core.
    core
        Emulate this core instead of the one that the firmware names.
    layout
        As the other engines take it.
    output
        The name of the output that holds the logits; else the first one.
    native
        False: count blocks in Python even where the counter in C works.
    max_seconds
        Seconds of emulation that one inference may take.
    timeout
        Seconds that one call of the child may take.
    fresh
        True: the child is a process from scratch, so that its load time and memory on this machine can be measured.

    Attributes
    ----------
    core, kernels
        What the firmware was built for and with.
    sizes
        What it occupies, by section.

    Raises
    ------
    BadFile
        If the file is missing, damaged, or not firmware that edgelab made.
    BadInput
        If ``threads`` is not 1 or the core is unknown.
    EngineCrash
        If the firmware faults while it starts.
    MissingFramework
        If unicorn is not installed.
    """

    why_untimed = (
        "An emulated core keeps no time: its wall-clock would be that of this machine. `edgelab firmware` counts "
        "instructions exactly and models cycles from them with a range (CortexMEngine.trace, edgelab.mcu.timing)"
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 1,
        *,
        core: str | None = None,
        layout: borders.Layout = "auto",
        output: str | None = None,
        native: bool | None = None,
        max_seconds: float = 60.0,
        timeout: float = hosted.DEFAULT_TIMEOUT_SECONDS,
        fresh: bool = False,
    ) -> None:
        if threads != 1:
            raise BadInput(f"threads must be 1, not {threads!r}: a microcontroller has one core.")
        if core is not None:
            find_core(core)
        if not max_seconds > 0:
            raise BadInput(f"max_seconds must be a positive number, not {max_seconds}.")
        options: dict[str, Any] = {"fresh": fresh, "core": core, "native": native, "max_seconds": max_seconds}
        super().__init__(
            f"{__name__}_host", TITLE, path, timeout, threads=1, layout=layout, output=output, batch=None, **options
        )
        about, _ = self._child.call("firmware", "describing")
        self.core: str = about["core"]
        self.kernels: str = about["kernels"]
        self.sizes = Sizes(**about["sizes"])
        self._layers: list[dict[str, Any]] = about["layers"]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name for every input by name, as `HostedEngine.run`; every row is one inference.

        Raises
        ------
        BadInput, EngineCrash
            As `HostedEngine.run` and `predict`.
        """
        arrays = feeds.in_order(inputs, self.input_names, str(self.path))
        counts = {len(array) if array.ndim else 0 for array in arrays}
        rows = counts.pop() if len(counts) == 1 and all(info.shape[:1] == (1,) for info in self.inputs) else 0
        starts = range(0, rows, _ROWS_A_CALL) if rows > _ROWS_A_CALL else range(1)
        each = _ROWS_A_CALL if rows > _ROWS_A_CALL else None
        parts = []
        for at in starts:
            cut = inputs if each is None else {name: array[at : at + each] for name, array in inputs.items()}
            parts.append(super().run(cut))
        return {name: np.concatenate([part[name] for part in parts]) if each else parts[0][name] for name in parts[0]}

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, classes) for inputs (N, ...), float32, channels first; every row is one inference on the core.

        Raises
        ------
        BadInput
            If ``x`` has the wrong type, rank or shape, or holds NaN.
        EngineCrash
            If the firmware faults; the sentence names the address, the function and the layer.
        """
        borders.check_input(x)
        parts = [super(CortexMEngine, self).predict(x[at : at + _ROWS_A_CALL]) for at in range(0, len(x), _ROWS_A_CALL)]
        return np.concatenate(parts)

    def invoke_raw(self, inputs: Sequence[NDArray[Any]], *, reset_each: bool = False) -> list[NDArray[Any]]:
        """Run rows of raw element values, without quantization.

        Parameters
        ----------
        inputs
            For each input of the model an array (N, ...) of the input's own element type.
        reset_each
            Switch the core off and on before each row: a model with state forgets.

        Returns
        -------
        list of ndarray
            For each output an array (N, ...) of the output's element type.

        Raises
        ------
        BadInput
            If the number of arrays, an element type or a shape is not the model's.
        EngineCrash
            If the firmware faults.
        """
        rows = self._rows(inputs)
        count = len(rows[0])
        parts = []
        for at in range(0, count, _ROWS_A_CALL):
            cut = [array[at : at + _ROWS_A_CALL] for array in rows]
            parts.append(self._child.call("invoke", f"running {count} inputs through", cut, reset_each=reset_each)[1])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def trace(self, inputs: NDArray[np.float32] | Sequence[NDArray[Any]]) -> Trace:
        """Count every instruction of one inference.

        Parameters
        ----------
        inputs
            One item as `predict` takes it, or a list of raw arrays as `invoke_raw` takes it; the first row is run.

        Raises
        ------
        BadInput, EngineCrash
            As `predict` and `invoke_raw`.
        """
        if isinstance(inputs, np.ndarray):
            borders.check_input(inputs)
            answer, _ = self._child.call("trace_floats", "tracing", [inputs[:1]])
        else:
            rows = [array[:1] for array in self._rows(inputs)]
            answer, _ = self._child.call("trace_raw", "tracing", rows)
        return self._trace_of(answer)

    def invoke_and_trace(self, inputs: Sequence[NDArray[Any]]) -> tuple[list[NDArray[Any]], Trace]:
        """Run rows as `invoke_raw` and count every instruction of the first, in one pass.

        Raises
        ------
        BadInput, EngineCrash
            As `invoke_raw`.
        """
        rows = self._rows(inputs)
        answer, first = self._child.call("trace_raw", "running the first input through", [row[:1] for row in rows])
        parts = [first]
        if len(rows[0]) > 1:
            parts.append(self.invoke_raw([row[1:] for row in rows]))
        return [np.concatenate(column) for column in zip(*parts, strict=True)], self._trace_of(answer)

    def stack_peak_bytes(self) -> int:
        """The deepest that any inference so far has used the stack, in bytes."""
        return int(self._child.call("stack", "asking for the stack of")[0]["stack_bytes"])

    def time(self, x: Any, runs: int, warmup: int = 0) -> Timing:  # noqa: ARG002
        """Refuse: an emulator's wall-clock is no device's latency.

        Raises
        ------
        BadInput
            Always; the sentence points to what can be had.
        """
        self._refuse()

    def profile(self, x: Any, runs: int) -> Sequence[OperatorTime]:  # noqa: ARG002
        """Refuse, as `time`; `trace` counts instructions by layer.

        Raises
        ------
        BadInput
            Always.
        """
        self._refuse()

    def _trace_of(self, answer: Mapping[str, Any]) -> Trace:
        layers = tuple(
            LayerCount(entry["function"], entry["operator"], entry["macs"], Mix(**mix))
            for entry, mix in zip(self._layers, answer["layers"], strict=True)
        )
        by = f"{self.name}, one inference"
        return Trace(self.core, self.kernels, by, layers, Mix(**answer["outside"]), answer["stack_bytes"])

    def _refuse(self) -> NoReturn:
        raise BadInput(f"{self.path} cannot be timed. {self.why_untimed}.")

    def _rows(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Each input as (N, elements), checked."""
        if len(inputs) != len(self.inputs):
            names = ", ".join(f"'{info.name}'" for info in self.inputs)
            raise BadInput(f"{self.path} takes {len(self.inputs)} inputs ({names}), not {len(inputs)}.")
        rows = [as_rows(array, info, str(self.path)) for array, info in zip(inputs, self.inputs, strict=True)]
        if len({len(array) for array in rows}) != 1:
            counts = ", ".join(str(len(array)) for array in rows)
            raise BadInput(f"The inputs for {self.path} have different numbers of rows: {counts}.")
        return rows


def as_rows(array: object, info: TensorInfo, file: str) -> NDArray[Any]:
    """``array`` as (N, elements) if it is rows for the input ``info``, of its element type.

    A row has the input's shape, with or without dimensions of size 1, or is flat.

    Raises
    ------
    BadInput
        If it is not; the sentence names what is expected.

    Examples
    --------
    >>> info = TensorInfo("x", (1, 2, 2, 1), "int8")
    >>> as_rows(np.zeros((5, 2, 2), np.int8), info, "m.elf").shape
    (5, 4)
    """
    shape = tuple(int(n or 1) for n in info.shape)
    item = shape[1:] if shape and shape[0] == 1 else shape
    wanted = f"rows of {info.dtype} for '{info.name}', shape {borders.show_shape((None, *item))}"
    if not isinstance(array, np.ndarray):
        raise BadInput(f"{file} takes {wanted}, not {type(array).__name__}.")
    if array.dtype != np.dtype(info.dtype):
        raise BadInput(f"{file} takes {wanted}, not {array.dtype}; quantize with the input's scale and zero point.")
    squeezed = [n for n in array.shape[1:] if n != 1]
    fits = squeezed in ([n for n in item if n != 1], [n for n in [math.prod(item)] if n != 1])
    if array.ndim < 1 or not len(array) or not fits:
        raise BadInput(f"{file} takes {wanted}, with at least one row, not shape {array.shape}.")
    return np.ascontiguousarray(array).reshape(len(array), math.prod(item))
