"""LiteRT's own per-operator times, from the profiler of its C library.

The Python package has no call for the profiler, but ships the library that has one (``libLiteRt``): the model
is compiled there with profiling on and run with the same input. The functions and the event record are those of
``litert/c/*.h`` of LiteRT 2.3 (https://github.com/google-ai-edge/LiteRT); another version may lay them out
otherwise, so the records are checked, and all of it runs in a child process of its own.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import litert
from edgelab.engines.base import OperatorTime
from edgelab.engines.hosted import Kept
from edgelab.errors import BadInput

_WARMUP = 3
_CPU = 1
_LOCK_WRITE = 1
_MAX_RANK = 8
_BUILTIN_OPERATOR, _DELEGATE_INTERNAL, _DELEGATE_OPERATOR = 2, 4, 8
_EVENT_TYPES = frozenset(1 << bit for bit in range(9))
# The first of these in a kernel's name is what XNNPACK computes in; QD8 quantizes a float input on the fly.
_XNNPACK_TYPES = {
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "QC8": "int8",
    "QS8": "int8",
    "QD8": "int8",
    "QP8": "int8",
    "S8": "int8",
    "QU8": "uint8",
    "U8": "uint8",
}

_Handle = ctypes.c_void_p
_Size = ctypes.c_size_t
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint32),
        ("dimensions", ctypes.c_int32 * _MAX_RANK),
        ("strides", ctypes.c_uint32 * _MAX_RANK),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element", ctypes.c_int32), ("layout", _Layout))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_int32),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("index", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_int32),
    )


# Tag, event type and operator index of an event: what must be the same in every run.
_Operator = tuple[str, int, int]


class Host(litert.Host):
    """The child's side of `LiteRTEngine.profile`."""

    def operator_times(self, feeds: list[Kept], runs: int) -> list[OperatorTime]:
        """The times that LiteRT's profiler recorded (whole microseconds), warm-up left out."""
        each = [feed if isinstance(feed, list) else [feed] for feed in feeds]
        shapes = [array.shape for array in each[0]]
        model = CompiledModel(self.path, shapes, threads=self._threads, xnnpack=self._xnnpack)
        for _ in range(min(runs, _WARMUP)):
            model.run(each[0])
        times: dict[tuple[int, _Operator], NDArray[np.float64]] = {}
        for run in range(runs):
            for feed in each:
                for place, (operator, microseconds) in enumerate(model.profiled_run(feed)):
                    times.setdefault((place, operator), np.zeros(runs))[run] += microseconds
        if not times or len({place for place, _ in times}) != len(times):
            raise BadInput(f"{litert.TITLE}'s profiler recorded no steady sequence of operators for {self.path}.")
        types = self._activation_types()
        names = {int(detail["index"]): str(detail["name"]) for detail in self._interpreter.get_tensor_details()}
        operators = self._interpreter._get_ops_details()  # noqa: SLF001 - the package's only list of operators
        rows = []
        for (place, (tag, kind, index)), of_runs in times.items():
            if kind == _BUILTIN_OPERATOR and index < len(operators):
                outputs = operators[index]["outputs"]
                name, ran_in = names.get(int(outputs[0]), tag), _first_type(operators[index])
            else:
                name, ran_in = f"XNNPACK operator {place}", _xnnpack_type(tag, types)
            median_ms = float(np.median(of_runs)) / 1e3
            rows.append(OperatorTime(name, tag.removeprefix("Delegate/"), ran_in, median_ms, runs))
        return rows

    def _activation_types(self) -> set[str]:
        operators = self._interpreter._get_ops_details()  # noqa: SLF001 - as above
        return {np.dtype(kind).name for operator in operators for kind in operator["result_types"]}


class CompiledModel:
    """A model compiled by LiteRT's C library with profiling on, for inputs of given shapes.

    Parameters
    ----------
    path
        The .tflite file.
    shapes
        The shape of each input in the file's order, batch included.
    threads, xnnpack
        As for `LiteRTEngine`.

    Raises
    ------
    BadInput
        If this version of LiteRT does not offer its profiler in this way, or does not run this shape.
    """

    def __init__(self, path: str, shapes: Sequence[Sequence[int]], *, threads: int, xnnpack: bool) -> None:
        self._path = path
        self._library = ctypes.CDLL(str(_library_file()))
        self._alive: list[Any] = []  # what the library refers to and does not own
        environment = self._made("LiteRtCreateEnvironment", 0, None)
        model = self._made("LiteRtCreateModelFromFile", environment, ctypes.c_char_p(path.encode("utf-8")))
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._add_option(options, b"runtime_options_string", "enable_profiling = true\n")
        kernels = "xnnpack" if xnnpack else "builtin"
        self._add_option(options, b"xnnpack", f'kernel_mode = "{kernels}"\nnum_threads = {threads}\n')
        self._compiled = self._made("LiteRtCreateCompiledModel", environment, model, options)
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._compiled)
        if not self._profiler:
            raise _unreachable("it was not switched on")
        signature = self._made("LiteRtGetModelSignature", model, _Size(0))
        for place, shape in enumerate(shapes):
            dimensions = (ctypes.c_int * len(shape))(*shape)
            self._call(
                "LiteRtCompiledModelResizeInputTensorNonStrict",
                *(self._compiled, _Size(0), _Size(place), dimensions, _Size(len(shape))),
            )
        buffers = [self._input_buffer(environment, signature, place, shape) for place, shape in enumerate(shapes)]
        self._inputs = (_Handle * len(buffers))(*buffers)
        self._outputs = self._output_buffers(environment, signature)

    def run(self, feeds: Sequence[NDArray[Any]]) -> None:
        """Run one prepared batch, an array for each input."""
        for buffer, array in zip(self._inputs, map(np.ascontiguousarray, feeds), strict=True):
            packed = _Size()
            self._call("LiteRtGetTensorBufferPackedSize", _Handle(buffer), ctypes.byref(packed))
            if packed.value != array.nbytes:
                raise BadInput(f"{litert.TITLE}'s profiler cannot run {self._path} with the shape {array.shape}.")
            address = _Handle()
            self._call("LiteRtLockTensorBuffer", _Handle(buffer), ctypes.byref(address), _LOCK_WRITE)
            ctypes.memmove(address, array.ctypes.data, array.nbytes)
            self._call("LiteRtUnlockTensorBuffer", _Handle(buffer))
        sizes = _Size(len(self._inputs)), _Size(len(self._outputs))
        self._call("LiteRtRunCompiledModel", self._compiled, _Size(0), sizes[0], self._inputs, sizes[1], self._outputs)

    def profiled_run(self, feed: Sequence[NDArray[Any]]) -> list[tuple[_Operator, float]]:
        """The operators of one run in their order, each with its time in microseconds."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self.run(feed)
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * max(count.value, 1))()
        if count.value > 0:
            self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        listed = list(events[: count.value])
        if any(e.type not in _EVENT_TYPES or e.source not in (0, 1, 2) or e.elapsed_us > 1e12 for e in listed):
            raise _unreachable("its records are laid out otherwise")
        delegated = any(e.type in (_DELEGATE_INTERNAL, _DELEGATE_OPERATOR) for e in listed)
        rows = []
        for event in listed:
            tag = (event.tag or b"").decode("utf-8", "replace")
            wrapper = delegated and event.type == _BUILTIN_OPERATOR and "Delegate" in tag
            if event.type in (_BUILTIN_OPERATOR, _DELEGATE_INTERNAL, _DELEGATE_OPERATOR) and not wrapper:
                rows.append(((tag, int(event.type), int(event.index)), float(event.elapsed_us)))
        return rows

    def _input_buffer(self, environment: _Handle, signature: _Handle, place: int, shape: Sequence[int]) -> int | None:
        tensor = self._made("LiteRtGetSignatureInputTensorByIndex", signature, _Size(place))
        kind = _TensorType()
        self._call("LiteRtGetRankedTensorType", tensor, ctypes.byref(kind))
        for axis, size in enumerate(shape):
            kind.layout.dimensions[axis] = size
        needs = self._made("LiteRtGetCompiledModelInputBufferRequirements", self._compiled, _Size(0), _Size(place))
        return self._buffer(environment, kind, needs)

    def _output_buffers(self, environment: _Handle, signature: _Handle) -> ctypes.Array[ctypes.c_void_p]:
        count = _Size()
        self._call("LiteRtGetNumSignatureOutputs", signature, ctypes.byref(count))
        layouts = (_Layout * count.value)()
        self._call(
            "LiteRtGetCompiledModelOutputTensorLayouts",
            *(self._compiled, _Size(0), count, layouts, ctypes.c_bool(True)),
        )
        buffers = []
        for place in range(count.value):
            tensor = self._made("LiteRtGetSignatureOutputTensorByIndex", signature, _Size(place))
            kind = _TensorType()
            self._call("LiteRtGetRankedTensorType", tensor, ctypes.byref(kind))
            kind.layout = layouts[place]
            needs = self._made("LiteRtGetCompiledModelOutputBufferRequirements", self._compiled, _Size(0), _Size(place))
            buffers.append(self._buffer(environment, kind, needs))
        return (_Handle * count.value)(*buffers)

    def _buffer(self, environment: _Handle, kind: _TensorType, needs: _Handle) -> int | None:
        function = "LiteRtCreateManagedTensorBufferFromRequirements"
        return self._made(function, environment, ctypes.byref(kind), needs).value

    def _add_option(self, options: _Handle, identifier: bytes, toml: str) -> None:
        text = ctypes.create_string_buffer(toml.encode("ascii"))
        deleter = _Deleter(lambda _: None)
        self._alive += [text, deleter]
        entry = self._made("LiteRtCreateOpaqueOptions", ctypes.c_char_p(identifier), text, deleter)
        self._call("LiteRtAddOpaqueOptions", options, entry)

    def _made(self, function: str, *arguments: Any) -> _Handle:
        handle = _Handle()
        self._call(function, *arguments, ctypes.byref(handle))
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        try:
            status = getattr(self._library, function)(*arguments)
        except AttributeError:
            raise _unreachable(f"its library has no {function}") from None
        if status != 0:
            raise _unreachable(f"{function} answered with status {status} for {self._path}")


def _library_file() -> Path:
    spec = util.find_spec("ai_edge_litert")
    folders = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    for name in ("libLiteRt.so", "libLiteRt.dylib", "libLiteRt.dll", "LiteRt.dll"):
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
    raise _unreachable("the package has no libLiteRt")


def _unreachable(reason: str) -> BadInput:
    version = metadata.version("ai-edge-litert")
    return BadInput(
        f"The profiler of {litert.TITLE} {version} is out of reach here ({reason}); time the model, "
        "or profile its ONNX version."
    )


def _first_type(operator: dict[str, Any]) -> str:
    kinds = [*operator["operand_types"], *operator["result_types"]]
    return np.dtype(kinds[0]).name if kinds else "none"


def _xnnpack_type(tag: str, activations: set[str]) -> str:
    """What an XNNPACK kernel ran in, from its name, else from the activations if they are all of one type."""
    inside = re.search(r"\(([^)]*)\)", tag)
    for token in inside.group(1).split(",") if inside else ():
        if token.strip() in _XNNPACK_TYPES:
            return _XNNPACK_TYPES[token.strip()]
    return next(iter(activations)) if len(activations) == 1 else "unknown"
