"""LiteRT (formerly TensorFlow Lite) behind the engine protocol: one interpreter on the CPU in a child process."""

from __future__ import annotations

import functools
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import borders, feeds, hosted
from edgelab.engines.base import OperatorTime, TensorInfo
from edgelab.engines.child import last_line
from edgelab.errors import BadFile, BadInput, MissingFramework

TITLE = "LiteRT"


class LiteRTEngine(hosted.HostedEngine):
    """A model file (.tflite) in LiteRT on the CPU.

    Inputs are given channels first and go in channels last where the model takes them so; an integer model's
    input is quantized with its own scale and zero point, its output dequantized.

    Parameters
    ----------
    path
        The .tflite file.
    threads
        Threads of the interpreter.
    xnnpack
        True: the XNNPACK delegate takes the operators that it knows (the runtime's default).
        False: the built-in optimised kernels run all of them.
    batch
        Resize the model's input to this batch where the model lets it; else the model's own batch is fed,
        or up to 256 items where the model leaves it open.
    layout
        ``"channels_first"`` or ``"channels_last"`` for the model's input; ``"auto"`` decides from the shapes,
        and takes channels last where both fit.
    output
        The name of the output that holds the logits; else the first floating or quantized one.
    timeout
        Seconds that one call may take.
    fresh
        True: the child is a process from scratch, whose memory and load time can be measured. False: it is a copy
        of one that has imported the runtime already, which opens sooner; for who wants nothing but answers.

    Raises
    ------
    BadFile
        If the file is missing, truncated, or not a model that LiteRT loads.
    EngineCrash
        If the runtime died or hung while it loaded the file.
    MissingFramework
        If ai-edge-litert is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 1,
        *,
        xnnpack: bool = True,
        batch: int | None = None,
        layout: borders.Layout = "auto",
        output: str | None = None,
        timeout: float = hosted.DEFAULT_TIMEOUT_SECONDS,
        fresh: bool = True,
    ) -> None:
        settings: dict[str, Any] = {
            "threads": hosted.check_threads(threads),
            "xnnpack": xnnpack,
            "batch": hosted.check_batch(batch),
            "layout": layout,
            "output": output,
        }
        self._profiled = functools.partial(
            hosted.HostedEngine, f"{__name__}_profiler", f"{TITLE}'s profiler", path, timeout, **settings
        )
        super().__init__(__name__, TITLE, path, timeout, fresh=fresh, **settings)

    def tensors(self, inputs: Mapping[str, NDArray[Any]]) -> list[tuple[str, str, tuple[str, ...], NDArray[Any]]]:
        """What each operator gives for one call: the tensor's name, the operator, what it reads, and the value.

        In the order in which the operators run.

        A second interpreter that keeps every tensor runs the built-in kernels, since a delegate hides what is inside
        of it. Quantized tensors come dequantized, as float32.

        Raises
        ------
        BadInput
            If an input does not fit, or this version of LiteRT does not keep tensors.
        """
        arrays = feeds.in_order(inputs, self.input_names, str(self.path))
        answer, values = self._child.call("tensors", "looking into", arrays)
        told = zip(answer["tensors"], values, strict=True)
        return [(name, kind, tuple(reads), value) for (name, kind, reads), value in told]

    def profile(self, x: NDArray[np.float32] | feeds.Named, runs: int) -> Sequence[OperatorTime]:
        """Per-operator times for the batch ``x`` from LiteRT's own profiler, which counts whole microseconds.

        The model is compiled a second time with profiling on, in a child process of its own. What XNNPACK
        runs carries XNNPACK's kernel names (one model operator may be several kernels, or share one).

        Raises
        ------
        BadInput
            If this version of LiteRT does not offer its profiler in this way.
        """
        with self._profiled() as second:
            return second.profile(x, runs)


class Host(hosted.Host):
    """The child's side of `LiteRTEngine`."""

    prefer: borders.Layout = "channels_last"

    def __init__(self, path: str, *, threads: int, xnnpack: bool, **common: Any) -> None:
        try:
            from ai_edge_litert import interpreter as litert
        except ImportError as error:
            raise MissingFramework(
                f"LiteRT is not installed ({last_line(str(error))}); add it with: uv pip install ai-edge-litert"
            ) from None
        super().__init__(path, **common)
        self._litert = litert
        self.name = f"{TITLE} {metadata.version('ai-edge-litert')}"
        self._threads = threads
        self._xnnpack = xnnpack
        start = time.perf_counter()
        self._interpreter = self._open()
        self.load_seconds = time.perf_counter() - start
        self._batch_now = 0
        self._keeping: Any = None
        self._learn()

    def batch_size(self, count: int, *, whole: bool) -> int:
        """As `hosted.Host.batch_size`; a fixed batch gives way where it is asked to and the graph lets it."""
        if not self.inputs or not self.inputs[0].shape:
            raise BadInput(f"{self.path}'s input has no dimensions, so it takes no batch.")
        own = self.inputs[0].shape[0]
        size = count if whole else min(count, self.batch or own or hosted.DEFAULT_BATCH)
        if not own and None in self.inputs[0].shape[1:]:  # all is resized with the input
            return size
        if own and not whole and not self.batch:
            return own
        return size if self._resized(size) else (own or size)

    def run(self, feed: NDArray[Any]) -> NDArray[Any]:
        """`set_tensor`, `invoke`, `get_tensor`."""
        self._fill(feed)
        try:
            self._interpreter.invoke()
            return np.asarray(self._interpreter.get_tensor(self._outputs[self.output_index()]["index"]))
        except (RuntimeError, ValueError) as error:
            raise BadInput(f"{TITLE} could not run {self.path}: {one_line(error)}.") from None

    def call(self, feeds: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """`set_tensor` for every input, `invoke`, `get_tensor` for every output; open dimensions take the arrays'."""
        self._fill_all(self._interpreter, feeds)
        try:
            self._interpreter.invoke()
            return [np.asarray(self._interpreter.get_tensor(entry["index"])) for entry in self._outputs]
        except (RuntimeError, ValueError) as error:
            raise BadInput(f"{TITLE} could not run {self.path}: {one_line(error)}.") from None

    def timed_call(self, feed: NDArray[Any]) -> Callable[[], object]:
        """`Interpreter.invoke` alone; the input is set once, the runtime does not write over it."""
        if len(self._kept) == 1:
            self._fill(feed)
            invoke: Callable[[], object] = self._interpreter.invoke
            return invoke

        def call() -> None:
            self._interpreter.set_tensor(self._inputs[0]["index"], feed)
            self._interpreter.invoke()

        return call

    def timed_named(self, feeds: list[NDArray[Any]]) -> Callable[[], object]:
        """`Interpreter.invoke` alone, and what goes from output to input; with several calls the inputs, too."""
        self._fill_all(self._interpreter, feeds)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        interpreter, several = self._interpreter, len(self._kept) > 1
        pairs = [(inputs[place]["index"], outputs[output]["index"]) for place, output in self._states.items()]
        if not several and not pairs:
            invoke: Callable[[], object] = interpreter.invoke
            return invoke

        def call() -> None:
            for entry, feed in zip(inputs, feeds, strict=True) if several else ():
                interpreter.set_tensor(entry["index"], feed)
            interpreter.invoke()
            for place, output in pairs:
                interpreter.set_tensor(place, interpreter.get_tensor(output))

        return call

    def said(self, error: Exception) -> str:
        """What the runtime said, without positions in its sources."""
        return one_line(error)

    def tensors(self, *arrays: NDArray[Any]) -> hosted.Answer:
        """Answer ``tensors``."""
        if self._keeping is None:
            without = self._litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            try:
                self._keeping = self._open(
                    experimental_op_resolver_type=without, experimental_preserve_all_tensors=True
                )
                self._operators = self._keeping._get_ops_details()  # noqa: SLF001 - the only list of operators
            except (TypeError, AttributeError):
                raise BadInput(f"{self.name} does not keep the tensors between its operators.") from None
        interpreter = self._keeping
        settings: dict[str, Any] = {"layout": self.layout, "prefer": self.prefer, "file": self.path}
        fitted = [feeds.fitted(array, info, **settings) for array, info in zip(arrays, self.inputs, strict=True)]
        self._fill_all(interpreter, fitted)
        known = {int(entry["index"]): entry for entry in interpreter.get_tensor_details()}
        named: list[tuple[str, str, list[str]]] = []
        values: list[NDArray[Any]] = []
        try:
            interpreter.invoke()
            for operator in self._operators:
                reads = [str(known[int(i)]["name"]) for i in operator["inputs"] if int(i) in known]
                for index in map(int, operator["outputs"]):
                    if index in known:
                        info = _info(known[index])
                        value = np.asarray(interpreter.get_tensor(index))
                        values.append(borders.to_float(value, info) if info.scale else value)
                        named.append((info.name, str(operator["op_name"]), reads))
        except (RuntimeError, ValueError) as error:
            raise BadInput(f"{TITLE} could not look into {self.path}: {one_line(error)}.") from None
        return {"tensors": named}, values

    def _open(self, **settings: Any) -> Any:
        kinds = self._litert.OpResolverType
        resolver = kinds.BUILTIN if self._xnnpack else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        settings = {"experimental_op_resolver_type": resolver, **settings}
        if "model_content" not in settings:
            settings["model_path"] = self.path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                interpreter = self._litert.Interpreter(num_threads=self._threads, **settings)
                self._allocated = not any(_leaves_open(entry) for entry in interpreter.get_input_details())
                if (
                    self._allocated
                ):  # the converter's sizes for what is open, mostly 1, may be none that the graph takes
                    interpreter.allocate_tensors()
            except Exception as error:  # noqa: BLE001 - ValueError, RuntimeError and what pybind makes of C++ exceptions
                raise BadFile(f"{TITLE} cannot load {self.path}: {one_line(error)}.") from None
        return interpreter

    def _learn(self) -> None:
        try:
            self._inputs = self._interpreter.get_input_details()
            self._outputs = self._interpreter.get_output_details()
        except (UnicodeDecodeError, ValueError) as error:
            raise BadFile(
                f"{self.path} is damaged: its inputs and outputs are not readable ({one_line(error)})."
            ) from None
        if not self._outputs:
            raise BadFile(f"{self.path} has no output.")
        self.inputs = [_info(entry) for entry in self._inputs]
        self.outputs = [_info(entry) for entry in self._outputs]
        self._batch_now = int(self._inputs[0]["shape"][0]) if self._inputs and len(self._inputs[0]["shape"]) else 0

    def _resized(self, size: int) -> bool:
        """Resize the input's batch; where the graph does not let it, restore the model and say so."""
        if size == self._batch_now:
            return True
        index, shape = self._inputs[0]["index"], [int(n) for n in self._inputs[0]["shape"]]
        try:
            self._interpreter.resize_tensor_input(index, [size, *shape[1:]])
            self._interpreter.allocate_tensors()
            done = all(_follows(entry, size) for entry in self._interpreter.get_output_details())
        except (RuntimeError, ValueError):
            done = False
        if done:
            self._batch_now = size
            return True
        self._interpreter = self._open()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self._batch_now = int(self._inputs[0]["shape"][0])
        return False

    def _fill_all(self, interpreter: Any, feeds: list[NDArray[Any]]) -> None:
        entries = interpreter.get_input_details()
        try:
            resized = [(e, f) for e, f in zip(entries, feeds, strict=True) if tuple(e["shape"]) != f.shape]
            for entry, feed in resized:
                interpreter.resize_tensor_input(entry["index"], list(feed.shape))
            if resized or not self._allocated:
                self._batch_now = 0  # whatever predict had, it resizes anew
                interpreter.allocate_tensors()
                self._allocated = True
            for entry, feed in zip(entries, feeds, strict=True):
                interpreter.set_tensor(entry["index"], feed)
        except (RuntimeError, ValueError) as error:
            shapes = ", ".join(str(feed.shape) for feed in feeds)
            raise BadInput(f"{TITLE} does not take {shapes} for {self.path}: {one_line(error)}.") from None

    def _fill(self, feed: NDArray[Any]) -> None:
        if None in self.inputs[0].shape[1:]:
            self._fill_all(self._interpreter, [feed])
            return
        if len(feed) != self._batch_now and not self._resized(len(feed)):
            raise BadInput(f"{self.path} cannot be resized to a batch of {len(feed)}.")
        try:
            self._interpreter.set_tensor(self._inputs[0]["index"], feed)
        except (RuntimeError, ValueError) as error:
            raise BadInput(f"{TITLE} does not take this input for {self.path}: {one_line(error)}.") from None


def one_line(error: BaseException) -> str:
    """What LiteRT said, on one line, without positions in its C++ sources."""
    words = [word for word in str(error).split() if not re.search(r"\.(cc|h)(:|$)", word)]
    text = re.sub(r"(?<=\S)(?=Node number \d)", "; ", " ".join(words))
    return (text if len(text) <= 240 else text[:239] + "…").rstrip(". ")


def _follows(output: dict[str, Any], size: int) -> bool:
    """Whether an output has this batch. Where the graph computes shapes while it runs, it is known only afterwards."""
    if len(output["shape"]) and output["shape"][0] == size:
        return True
    signature = output.get("shape_signature")
    return signature is not None and len(signature) > 0 and int(signature[0]) < 0


def _leaves_open(entry: dict[str, Any]) -> bool:
    """Whether an input has an open axis besides the first."""
    signature = entry.get("shape_signature")
    return signature is not None and any(int(n) < 0 for n in signature[1:])


def _info(entry: dict[str, Any]) -> TensorInfo:
    signature = entry.get("shape_signature")
    sizes = signature if signature is not None and len(signature) == len(entry["shape"]) else entry["shape"]
    quantization = entry["quantization_parameters"]
    scales, zero_points = quantization["scales"], quantization["zero_points"]
    single = len(scales) == 1
    return TensorInfo(
        str(entry["name"]),
        tuple(int(n) if n > 0 else None for n in sizes),
        np.dtype(entry["dtype"]).name,
        float(scales[0]) if single else None,
        int(zero_points[0]) if single and len(zero_points) else None,
    )
