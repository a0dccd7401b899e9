"""Firmware for a Cortex-M behind the engine protocol: its machine code on an emulated core, in a child process.

The answers, the instruction counts and the sizes are those of the real code. Time is not: an emulator keeps none, so
`CortexMEngine.time` refuses, and `edgelab.mcu.timing` models it from the counts.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import borders, hosted
from edgelab.engines.base import OperatorTime, TensorInfo, Timing
from edgelab.engines.elf import Sizes, read_elf, sizes_of
from edgelab.engines.machine import Counted, Machine, find_core
from edgelab.engines.thumb import Mix
from edgelab.errors import BadFile, BadInput, EngineCrash
from edgelab.reading import Reading, Table

TITLE = "The emulated Cortex-M"
FORMAT = 1
"""Version of the description in the section ``.edgelab``."""
_ROWS_A_CALL = 32
_MAX_ELEMENTS = 2**24
_MAX_BLOCKS = 2**34
_DTYPES = ("int8", "uint8", "int16", "int32", "float32", "bool")


@dataclass(frozen=True)
class LayerCount:
    """What one layer executed in one inference: its C function, its operator, its multiply-accumulates."""

    layer: str
    operator: str
    macs: int
    mix: Mix

    @property
    def instructions(self) -> int:
        """Instructions of this layer."""
        return self.mix.instructions

    def to_dict(self) -> dict[str, Any]:
        """Layer, operator, instructions, macs and the mix of instructions."""
        return {
            "layer": self.layer,
            "operator": self.operator,
            "instructions": self.instructions,
            "macs": self.macs,
            "mix": self.mix.to_dict(),
        }


@dataclass(frozen=True)
class Trace:
    """Every instruction of one inference, counted on the emulated core, by layer; and the peak of the stack."""

    core: str
    kernels: str
    by: str
    layers: tuple[LayerCount, ...]
    outside: Mix
    stack_bytes: int

    @property
    def mix(self) -> Mix:
        """The instructions of the whole inference by kind."""
        return sum((layer.mix for layer in self.layers), self.outside)

    @property
    def instructions(self) -> int:
        """Instructions of the whole inference."""
        return self.mix.instructions

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the network needs, as its shapes tell."""
        return sum(layer.macs for layer in self.layers)

    def reading(self) -> Reading:
        """The instructions of one inference as a reading."""
        return Reading(self.instructions, "instructions", "emulated", self.by)

    def table(self) -> Table:
        """A row for each layer: instructions, share, instructions for each multiply-accumulate."""
        rows: list[tuple[str | int | float | None, ...]] = []
        for layer in self.layers:
            each = layer.instructions / layer.macs if layer.macs else None
            share = 100 * layer.instructions / max(self.instructions, 1)
            rows.append((layer.layer, layer.operator, layer.instructions, share, layer.macs, each))
        each = self.instructions / self.macs if self.macs else None
        rows.append(("whole inference", "", self.instructions, 100.0, self.macs, each))
        note = f"Emulated: {self.by}. Peak of the stack: {self.stack_bytes:,} bytes."
        return Table(
            "Instructions of one inference",
            ("layer", "operator", "instructions", "%", "MACs", "instructions a MAC"),
            rows,
            note,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: core, kernels, instructions, macs, stack_bytes, by_layer, mix."""
        return {
            "core": self.core,
            "kernels": self.kernels,
            "instructions": self.instructions,
            "macs": self.macs,
            "stack_bytes": self.stack_bytes,
            "by_layer": [layer.to_dict() for layer in self.layers],
            "mix": self.mix.to_dict(),
        }

    def __str__(self) -> str:
        return str(self.table())

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


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
        "An emulated core keeps no time: its wall-clock would be that of this machine. Instructions are counted "
        "exactly (CortexMEngine.trace), and edgelab.mcu.timing models milliseconds from them with a range"
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
    ) -> None:
        if threads != 1:
            raise BadInput(f"threads must be 1, not {threads!r}: a microcontroller has one core.")
        if core is not None:
            find_core(core)
        if not max_seconds > 0:
            raise BadInput(f"max_seconds must be a positive number, not {max_seconds}.")
        options: dict[str, Any] = {"core": core, "native": native, "max_seconds": max_seconds}
        super().__init__(__name__, TITLE, path, timeout, threads=1, layout=layout, output=output, batch=None, **options)
        about, _ = self._child.call("firmware", "describing")
        self.core: str = about["core"]
        self.kernels: str = about["kernels"]
        self.sizes = Sizes(**about["sizes"])
        self._layers: list[dict[str, Any]] = about["layers"]

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

    def invoke_raw(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run rows of raw element values, without quantization.

        Parameters
        ----------
        inputs
            For each input of the model an array (N, ...) of the input's own element type.

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
            parts.append(self._child.call("invoke", f"running {count} inputs through", cut)[1])
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
        layers = tuple(
            LayerCount(entry["function"], entry["operator"], entry["macs"], Mix(**mix))
            for entry, mix in zip(self._layers, answer["layers"], strict=True)
        )
        by = f"{self.name}, one inference"
        return Trace(self.core, self.kernels, by, layers, Mix(**answer["outside"]), answer["stack_bytes"])

    def stack_peak_bytes(self) -> int:
        """The deepest that any inference so far has used the stack, in bytes."""
        return int(self._child.call("stack", "asking for the stack of")[0]["stack_bytes"])

    def time(self, x: NDArray[np.float32], runs: int, warmup: int = 0) -> Timing:  # noqa: ARG002
        """Refuse: an emulator's wall-clock is no device's latency.

        Raises
        ------
        BadInput
            Always; the sentence points to what can be had.
        """
        self._refuse()

    def profile(self, x: NDArray[np.float32], runs: int) -> Sequence[OperatorTime]:  # noqa: ARG002
        """Refuse, as `time`; `trace` counts instructions by layer.

        Raises
        ------
        BadInput
            Always.
        """
        self._refuse()

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


class Host(hosted.Host):
    """The child's side of `CortexMEngine`."""

    prefer: borders.Layout = "channels_last"

    def __init__(
        self, path: str, *, threads: int, core: str | None, native: bool | None, max_seconds: float, **common: Any
    ) -> None:
        super().__init__(path, **common)
        start = time.perf_counter()
        elf = read_elf(path)
        self._about = _description(elf.metadata, path)
        self._core = find_core(core or self._about["core"])
        self._seconds = max_seconds
        self._sizes = sizes_of(elf)
        self.inputs = self._about["inputs"]
        self.outputs = self._about["outputs"]
        layers = [entry["function"] for entry in self._about["layers"]]
        self._machine = Machine(elf, self._core, layers, native=native)
        self._dirty = False
        self._at = [
            [self._call(name, number) for number, _ in enumerate(infos)]
            for name, infos in (("edgelab_input", self.inputs), ("edgelab_output", self.outputs))
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

    def timed_call(self, feed: NDArray[Any]) -> Callable[[], object]:
        """Nothing here is timed; the parent refuses before it asks."""
        raise BadInput(f"{self.path} cannot be timed ({len(feed)} items): an emulated core keeps no time.")

    def invoke(self, *rows: NDArray[Any]) -> hosted.Answer:
        """Answer ``invoke``: raw rows in, raw rows out."""
        found: list[list[NDArray[Any]]] = []
        for row in zip(*rows, strict=True):
            self._infer(list(row))
            found.append([self._output(i) for i in range(len(self.outputs))])
        outputs = []
        for column, info in zip(zip(*found, strict=True), self.outputs, strict=True):
            shape = tuple(int(n or 1) for n in info.shape)
            item = shape[1:] if shape and shape[0] == 1 else shape
            outputs.append(np.stack(column).reshape(len(column), *item))
        return {}, outputs

    def trace_floats(self, x: NDArray[np.float32]) -> hosted.Answer:
        """Answer ``trace_floats``."""
        return self.trace_raw(self.prepare(x, whole=False)[0])

    def trace_raw(self, *rows: NDArray[Any]) -> hosted.Answer:
        """Answer ``trace_raw``: one inference with every instruction counted."""
        counted = self._infer(list(rows), trace=True)
        if counted is None:
            raise BadInput(f"{self.path} was not traced.")
        layers = [mix.to_dict() for mix in counted.layers]
        return {"layers": layers, "outside": counted.outside.to_dict(), **self.stack()[0]}, []

    def stack(self) -> hosted.Answer:
        """Answer ``stack``."""
        return {"stack_bytes": self._machine.stack_peak_bytes()}, []

    def _infer(self, feeds: list[NDArray[Any]], *, trace: bool = False) -> Counted | None:
        if self._dirty:
            self._machine.reset()
            self._dirty = False
        self._feed(feeds)
        try:
            if trace:
                return self._traced()
            self._machine.call("edgelab_invoke", doing="running one inference", seconds=self._seconds)
        except EngineCrash:
            self._dirty = True
            if not trace:  # once more and counted, which names the layer
                self._infer(feeds, trace=True)
            raise
        return None

    def _traced(self) -> Counted:
        # Counting slows the emulation down, at worst by some hundred times.
        limits = {"seconds": max(self._seconds, 100.0), "max_blocks": _MAX_BLOCKS}
        return self._machine.traced_call("edgelab_invoke", doing="running one inference", **limits)

    def _feed(self, feeds: list[NDArray[Any]]) -> None:
        for number, (feed, address) in enumerate(zip(feeds, self._at[0], strict=True)):
            self._machine.write(address, np.ascontiguousarray(feed).tobytes(), f"input {number}")

    def _output(self, number: int) -> NDArray[Any]:
        info = self.outputs[number]
        shape = tuple(int(n or 1) for n in info.shape)
        size = math.prod(shape) * np.dtype(info.dtype).itemsize
        content = self._machine.read(self._at[1][number], size, f"output {number}")
        return np.frombuffer(content, np.dtype(info.dtype)).reshape(shape)

    def _call(self, name: str, number: int) -> int:
        return self._machine.call(name, number, doing=f"asking for {name[8:]} {number}", seconds=self._seconds)


def _description(metadata: Any, path: str) -> dict[str, Any]:
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
