"""ONNX Runtime behind the engine protocol: CPU provider, one session in a child process."""

from __future__ import annotations

import bisect
import functools
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import borders, hosted
from edgelab.engines.base import OperatorTime, TensorInfo
from edgelab.engines.child import last_line
from edgelab.engines.feeds import as_plain
from edgelab.errors import BadFile, BadInput, MissingFramework

TITLE = "ONNX Runtime"
_PROFILE_WARMUP = 3
_MESSAGE = 240
_HOLDERS = frozenset({"If", "Loop", "Scan"})
_KERNEL = "_kernel_time"
_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16
_BLOCKWISE = "MatMulNBits"
# Kernels that take float32, quantize it themselves and compute in 8 bits.
_QUANTIZES_ITS_INPUT = frozenset({"DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})


class OnnxRuntimeEngine(hosted.HostedEngine):
    """A model file (.onnx) in ONNX Runtime on the CPU.

    Parameters
    ----------
    path
        The .onnx file.
    threads
        Intra-op threads; operators run one after another.
    graph_optimization
        True: every graph optimisation (``ORT_ENABLE_ALL``, the runtime's default). False: none.
    batch
        The most items that `predict` feeds at once where the model leaves the batch open.
    layout
        ``"channels_first"`` or ``"channels_last"`` for the model's input; ``"auto"`` decides from the shapes,
        and takes channels first where both fit.
    output
        The name of the output that holds the logits; else the first output of a floating type.
    timeout
        Seconds that one call may take.
    fresh
        True: the child is a process from scratch, whose memory and load time can be measured. False: it is a copy
        of one that has imported the runtime already, which opens sooner; for who wants nothing but answers.

    Raises
    ------
    BadFile
        If the file is missing, truncated, or not a model that ONNX Runtime loads.
    EngineCrash
        If the runtime died or hung while it loaded the file.
    MissingFramework
        If onnxruntime is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 1,
        *,
        graph_optimization: bool = True,
        batch: int | None = None,
        layout: borders.Layout = "auto",
        output: str | None = None,
        timeout: float = hosted.DEFAULT_TIMEOUT_SECONDS,
        fresh: bool = True,
    ) -> None:
        super().__init__(
            __name__,
            TITLE,
            path,
            timeout,
            threads=hosted.check_threads(threads),
            graph_optimization=graph_optimization,
            batch=hosted.check_batch(batch),
            layout=layout,
            output=output,
            fresh=fresh,
        )


class Host(hosted.Host):
    """The child's side of `OnnxRuntimeEngine`."""

    prefer: borders.Layout = "channels_first"

    def __init__(self, path: str, *, threads: int, graph_optimization: bool, **common: Any) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingFramework(
                f"ONNX Runtime is not installed ({last_line(str(error))}); add it with: uv pip install onnxruntime"
            ) from None
        super().__init__(path, **common)
        onnxruntime.disable_telemetry_events()  # Windows, where the variable that edgelab sets does not count
        self._ort = onnxruntime
        self.name = f"{TITLE} {onnxruntime.__version__}"
        self._threads = threads
        self._optimize = graph_optimization
        start = time.perf_counter()
        self._session = self._open()
        self.load_seconds = time.perf_counter() - start
        try:
            self.inputs = [_info(node) for node in self._session.get_inputs()]
            self.outputs = [_info(node) for node in self._session.get_outputs()]
        except UnicodeDecodeError:
            raise BadFile(f"{path} is damaged: the name of an input or output is no text.") from None
        if not self.outputs:
            raise BadFile(f"{path} has no output.")
        self._wanted = [self.outputs[self.output_index()].name]

    def run(self, feed: NDArray[Any]) -> NDArray[Any]:
        """One `InferenceSession.run`."""
        try:
            (y,) = self._session.run(self._wanted, {self.inputs[0].name: feed})
        except Exception as error:  # noqa: BLE001 - the runtime raises classes of its own that share no base
            raise BadInput(f"{TITLE} could not run {self.path}: {one_line(error)}.") from None
        if not isinstance(y, np.ndarray) or y.dtype.kind not in "fiub":
            raise BadInput(
                f"{self.path}'s output '{self._wanted[0]}' is not an array of numbers; choose one with output=..."
            )
        return y

    def call(self, feeds: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """One `InferenceSession.run` with every input and every output."""
        try:
            outputs = self._session.run(None, self._by_name(feeds))
        except Exception as error:  # noqa: BLE001 - as in run
            raise BadInput(f"{TITLE} could not run {self.path}: {one_line(error)}.") from None
        return [as_plain(y, info.name, self.path) for y, info in zip(outputs, self.outputs, strict=True)]

    def timed_call(self, feed: NDArray[Any]) -> Callable[[], object]:
        """`InferenceSession.run` with a numpy feed, as a bare loop has it."""
        return functools.partial(self._session.run, self._wanted, {self.inputs[0].name: feed})

    def timed_named(self, feeds: list[NDArray[Any]]) -> Callable[[], object]:
        """`InferenceSession.run` with every input and every output."""
        arrays = self._by_name(feeds)
        if not self._states:
            return functools.partial(self._session.run, None, arrays)

        def call() -> None:
            outputs = self._session.run(None, arrays)
            for place, output in self._states.items():
                arrays[self.inputs[place].name] = outputs[output]

        return call

    def said(self, error: Exception) -> str:
        """What the runtime said, without its codes and source positions."""
        return one_line(error)

    def _by_name(self, feed: hosted.Kept) -> dict[str, Any]:
        """One call's inputs as the runtime takes them."""
        arrays = feed if isinstance(feed, list) else [feed]
        return {info.name: self._value(array, info) for info, array in zip(self.inputs, arrays, strict=True)}

    def _value(self, array: NDArray[Any], info: TensorInfo) -> Any:
        if info.dtype == "bfloat16":
            return self._ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
        return array.astype(object) if array.dtype.kind == "U" else array

    def operator_times(self, feeds: list[hosted.Kept], runs: int) -> list[OperatorTime]:
        """The times of ONNX Runtime's own profiler (whole microseconds) in a second session, warm-up left out.

        The profiler counts an operator inside of If, Loop or Scan twice, by itself and as time of what holds it; here
        each holder has its own share alone, so that the times add up.
        """
        warmup = min(runs, _PROFILE_WARMUP)
        profiled = warmup + runs
        try:
            with tempfile.TemporaryDirectory(prefix="edgelab-profile-") as folder:
                session = self._open(enable_profiling=True, profile_file_prefix=str(Path(folder, "ort")))
                for feed in [self._by_name(feed) for feed in feeds] * profiled:
                    session.run(self._wanted, feed)
                events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
                integer = self._integer_products(Path(folder, "optimized.onnx"), events)
        except (OSError, ValueError) as error:
            raise BadInput(
                f"The profiler of {TITLE} could not write its temporary file ({last_line(str(error))}); "
                "make room in the folder for temporary files."
            ) from None
        skipped = warmup * len(feeds)
        operators = _operators(events, runs=runs, skipped=skipped, expected=profiled * len(feeds), path=self.path)
        return [replace(entry, ran_in="int8") if entry.name in integer else entry for entry in operators]

    def _integer_products(self, optimized: Path, events: list[dict[str, Any]]) -> set[str]:
        """Names of the products with 4- or 8-bit block weights that quantize their input and compute in int8.

        MatMulNBits does so at accuracy level 4; below, it expands its weights and computes in float
        (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). The profile does not tell,
        the optimised graph does.
        """
        if not any(event.get("args", {}).get("op_name") == _BLOCKWISE for event in events):
            return set()
        import onnx

        self._open(optimized_model_filepath=str(optimized))
        model = onnx.load(str(optimized), load_external_data=False)
        products = [node for node in model.graph.node if node.op_type == _BLOCKWISE]
        return {n.name for n in products if any(a.name == "accuracy_level" and a.i == 4 for a in n.attribute)}

    def _open(self, **settings: Any) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        level = self._ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if self._optimize else level.ORT_DISABLE_ALL
        for name, value in settings.items():
            setattr(options, name, value)
        try:
            return self._ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - as in run
            raise BadFile(f"{TITLE} cannot load {self.path}: {one_line(error)}.") from None


def _operators(
    events: list[dict[str, Any]], *, runs: int, skipped: int, expected: int, path: str
) -> list[OperatorTime]:
    calls = sorted(float(e["ts"]) for e in events if e.get("name") == "model_run")
    if len(calls) != expected:
        raise BadInput(f"The profiler of {TITLE} lost events of {path}; ask for fewer runs than {runs}.")
    starts = calls[skipped:]
    each = len(starts) // runs  # a run of several feeds is several calls
    times: dict[tuple[str, str], NDArray[np.float64]] = {}
    details: dict[tuple[str, str], dict[str, Any]] = {}
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(_KERNEL)]
    opened: list[tuple[float, NDArray[np.float64]]] = []  # where each operator that holds others ends, and its times
    for event in sorted(kernels, key=lambda e: (float(e["ts"]), -float(e["dur"]))):
        start, took = float(event["ts"]), float(event["dur"])
        if start < starts[0]:
            continue
        key = (event["args"].get("node_index", ""), event["name"].removesuffix(_KERNEL))
        run = (bisect.bisect_right(starts, start) - 1) // each
        each_run = times.setdefault(key, np.zeros(runs))
        each_run[run] += took
        details[key] = event["args"]
        while opened and opened[-1][0] <= start:
            opened.pop()
        if opened:
            holder = opened[-1][1]
            holder[run] = max(0.0, holder[run] - took)
        if event["args"]["op_name"] in _HOLDERS:
            opened.append((start + took, each_run))
    return [
        OperatorTime(
            name=name,
            type=details[index, name]["op_name"],
            ran_in=_ran_in(details[index, name]),
            median_ms=float(np.median(microseconds)) / 1e3,
            runs=runs,
        )
        for (index, name), microseconds in times.items()
    ]


def _ran_in(details: dict[str, Any]) -> str:
    """The element type in which a kernel computed, from the real types of its inputs."""
    holds = details["op_name"] in _HOLDERS  # its first input is a condition or a number of turns
    types = [] if holds else [str(next(iter(entry))) for entry in details.get("input_type_shape", []) if entry]
    kinds = [_TYPES.get(kind, kind) for kind in types]
    if not kinds:
        outputs = [str(next(iter(entry))) for entry in details.get("output_type_shape", []) if entry]
        return _TYPES.get(outputs[0], outputs[0]) if outputs else "none"
    if details["op_name"] in _QUANTIZES_ITS_INPUT:
        return next((kind for kind in kinds if "int8" in kind), kinds[0])
    return kinds[0]


def one_line(error: BaseException) -> str:
    """What ONNX Runtime said, without its error codes, its source positions and line breaks."""
    text = " ".join(str(error).split()).split("[ONNXRuntimeError] : ")[-1]
    text = re.sub(r"^\d+ : [A-Z_]+ : ", "", text)
    text = re.sub(r"^Load model from .*? failed: ?", "", text)
    text = re.sub(r"\S*\.(?:cc|h):\d+ ", "", text)
    text = re.sub(r"^(?:[\w:<>&*]+ )*[\w:]*onnxruntime::.*?\) ", "", text)
    return (text if len(text) <= _MESSAGE else text[: _MESSAGE - 1] + "…").rstrip(". ")


_TYPES = {"float": "float32", "double": "float64"}


def _info(node: Any) -> TensorInfo:
    kind = str(node.type)
    inner = kind[len("tensor(") : -1] if kind.startswith("tensor(") else kind
    sizes = list(node.shape or ())
    shape = tuple(n if isinstance(n, int) and n >= 0 else None for n in sizes)
    axes = tuple(n if isinstance(n, str) and any(map(str.isalnum, n)) else "" for n in sizes)  # some call all of them ?
    return TensorInfo(str(node.name), shape, _TYPES.get(inner, inner), axes=axes if any(axes) else ())
