"""Core ML packages (.mlpackage) behind the engine protocol: Core ML itself on macOS, edgelab's evaluator elsewhere.

The evaluator answers what the network answers, within the last digits; it says nothing about speed, so off macOS
nothing is timed.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import borders, coreml_program, feeds, hosted
from edgelab.engines.base import OperatorTime, TensorInfo, Timing
from edgelab.engines.coreml_program import Port, Program, Step, read_program
from edgelab.errors import BadInput
from edgelab.files import expanded
from edgelab.models import mlpackage
from edgelab.quiet import first_line, silenced

ComputeUnits = Literal["all", "cpu", "cpu+gpu", "cpu+ane"]
_UNITS = {"all": "ALL", "cpu": "CPU_ONLY", "cpu+gpu": "CPU_AND_GPU", "cpu+ane": "CPU_AND_NE"}
_PIXEL = 255.0
_BYTES = ("RGB", "BGR", "GRAYSCALE")
_UNTIMED = "Core ML runs on macOS alone; elsewhere edgelab's evaluator answers, whose times say nothing about it"


class CoreMLEngine:
    """A Core ML package.

    Parameters
    ----------
    path
        The .mlpackage folder.
    threads
        Threads of the evaluator; Core ML on macOS chooses its own.
    layout
        The order of axes of what is given: ``"channels_first"`` or ``"channels_last"``, or whichever fits.
    units
        Which processors Core ML may use on macOS: ``"all"``, ``"cpu"``, ``"cpu+gpu"`` or ``"cpu+ane"``.
    batch
        Accepted for the protocol; the program's own batch rules.
    evaluator
        True: the evaluator on macOS as well.

    Attributes
    ----------
    name
        ``"edgelab's evaluator, not Core ML"``, or ``"Core ML, macOS 15.1, cpu+ane"``.
    inputs, outputs
        As the program states them; an image as bytes whose scale is 1/255.
    why_untimed
        Why nothing is timed here, as part of a sentence; empty on macOS.
    load_seconds, base_memory_bytes
        Of Core ML on macOS: how long it took to load the package, and the peak resident set before.
    program
        What the evaluator read, with the decoded constants.

    Raises
    ------
    BadFile
        If the package is missing, incomplete or damaged.
    ModelRefused
        If the program has an operator that the evaluator does not know.
    MissingFramework
        If coremltools is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = 1,
        *,
        layout: borders.Layout = "auto",
        units: ComputeUnits = "all",
        batch: int | None = None,
        evaluator: bool = False,
    ) -> None:
        self.threads = hosted.check_threads(threads)
        hosted.check_batch(batch)
        if units not in _UNITS:
            raise BadInput(f"units={units!r} is not one of {', '.join(map(repr, _UNITS))}.")
        self.path = expanded(path)
        self.layout: borders.Layout = layout
        self.program: Program = read_program(path)
        self._native = sys.platform == "darwin" and not evaluator
        self._units = units
        self.name = f"Core ML, macOS {platform.mac_ver()[0]}, {units}" if self._native else coreml_program.NAME
        self.base_memory_bytes = hosted.peak_memory_bytes()
        start = time.perf_counter()
        self._model = self._load() if self._native else None
        self.load_seconds = time.perf_counter() - start
        self.inputs = tuple(_info(port) for port in self.program.inputs)
        self.outputs = tuple(TensorInfo(port.name, port.shape, port.dtype) for port in self.program.outputs)
        self.why_untimed = "" if self._native else _UNTIMED

    @property
    def raw(self) -> Any:
        """Core ML's model on macOS, else the program that the evaluator runs."""
        return self._model if self._native else self.program

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names that `run` takes, in the program's order."""
        return tuple(port.name for port in self.program.inputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name for every input by name, each in its own element type.

        An image is given as bytes of its pixels, red, green and blue from 0 to 255, or as float32 from 0 to 1. Items
        beyond a fixed batch are calls of their own.

        Raises
        ------
        BadInput
            If an input is missing, unknown, or of another type or shape.
        """
        arrays = feeds.in_order(inputs, self.input_names, str(self.path))
        fitted = [self._fitted(array, info) for array, info in zip(arrays, self.inputs, strict=True)]
        if not self._native and all(info.shape[:1] == (1,) for info in self.inputs):
            return self._evaluated(fitted)  # many items at once
        parts = feeds.calls(fitted, self.inputs, str(self.path))
        answers = [list((self._predicted if self._native else self._evaluated)(part).values()) for part in parts]
        cut = [i for i, part in enumerate(parts[0]) if part is not fitted[i]]
        sizes = (len(parts[0][cut[0]]), len(fitted[cut[0]])) if cut else (0, 0)
        found = feeds.joined(answers, self.outputs, sizes, str(self.path))
        return {info.name: y for info, y in zip(self.outputs, found, strict=True)}

    def tensors(self, inputs: Mapping[str, NDArray[Any]]) -> Iterator[tuple[Step, NDArray[Any]]]:
        """Every operator of the program with its first result, by the evaluator, for one call.

        Raises
        ------
        BadInput
            If an input is missing, unknown, or of another type or shape.
        """
        arrays = feeds.in_order(inputs, self.input_names, str(self.path))
        fitted = [self._fitted(array, info) for array, info in zip(arrays, self.inputs, strict=True)]
        yield from self.program.tensors(dict(zip(self.input_names, fitted, strict=True)))

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, classes) for inputs (N, ...), float32, channels first, as the data set's card scales them.

        An image input takes 8-bit pixels, so x must lie between 0 and 1 and is multiplied by 255 and rounded.

        Raises
        ------
        BadInput
            If x does not fit, or the program has several inputs.
        """
        found = self.run({self.inputs[0].name: self._typed(x)} if self._single() else {})
        logits = next((found[p.name] for p in self.program.outputs if p.dtype.startswith("float")), None)
        if logits is None or len(logits) != len(x):
            raise BadInput(f"{self.path} does not answer {len(x)} inputs with one row of numbers each.")
        return np.asarray(logits, np.float32)

    def time(self, x: NDArray[np.float32], runs: int, warmup: int = 0) -> Timing:
        """Times of single runs of the batch ``x`` in Core ML, in seconds, on macOS alone.

        Raises
        ------
        BadInput
            Elsewhere: the evaluator's times would say nothing about Core ML.
        """
        hosted.check_runs(runs, warmup)
        if self._model is None:
            raise BadInput(f"{self.path} can be timed on macOS alone; here edgelab's evaluator runs it, not Core ML.")
        given = [self._foreign(part) for part in self._parts(x)]
        seconds = np.empty(warmup + runs)
        for i in range(warmup + runs):
            start = time.perf_counter()
            for each in given:
                self._model.predict(each)
            seconds[i] = time.perf_counter() - start
        return Timing(seconds[warmup:])

    def calls_per_run(self, x: NDArray[np.float32]) -> int:
        """How many calls the batch ``x`` takes: one for each of the program's own batch."""
        return len(self._parts(x))

    def peak_memory_bytes(self) -> int:
        """The peak resident set of this process so far: Core ML runs in it and in the system's own processes."""
        return hosted.peak_memory_bytes()

    def profile(self, x: NDArray[np.float32], runs: int) -> Sequence[OperatorTime]:
        """Not offered: Core ML tells times of single operators in Xcode's Instruments only."""
        del x, runs
        raise BadInput(f"Times of single operators of {self.path} are shown by Xcode's Core ML instrument only.")

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<CoreMLEngine {self.name}: {self.path}>"

    def _single(self) -> bool:
        if len(self.inputs) != 1:
            raise BadInput(f"{self.path} has {len(self.inputs)} inputs; give all of them to run by name.")
        return True

    def _typed(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """``x``, checked, in the element type of the only input."""
        borders.check_input(x)
        info = self.inputs[0]
        return x if info.image else borders.to_type(x, info, file=str(self.path))

    def _fitted(self, array: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
        if info.image and info.scale and array.dtype == np.float32 and (array.min() < 0 or array.max() > 1):
            raise BadInput(
                f"{self.path} takes an image of 8-bit pixels, so float32 must lie between 0 and 1, not "
                f"{array.min():g} to {array.max():g}; pixels from 0 to 255 are given as uint8."
            )
        return feeds.fitted(array, info, layout=self.layout, prefer="channels_first", file=str(self.path))

    def _parts(self, x: NDArray[np.float32]) -> list[list[NDArray[Any]]]:
        self._single()
        return feeds.calls([self._fitted(self._typed(x), self.inputs[0])], self.inputs, str(self.path))

    def _evaluated(self, arrays: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return self.program.run(dict(zip(self.input_names, arrays, strict=True)))
        finally:
            torch.set_num_threads(before)

    # On macOS

    def _load(self) -> Any:
        ct = mlpackage.coremltools()
        units = getattr(ct.ComputeUnit, _UNITS[self._units])
        with silenced():
            return ct.models.MLModel(str(self.path), compute_units=units)

    def _predicted(self, arrays: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """One call of Core ML."""
        assert self._model is not None
        try:
            found = self._model.predict(self._foreign(arrays))
        except Exception as error:  # noqa: BLE001 - Core ML's errors come as RuntimeError or as its own
            raise BadInput(f"Core ML could not run {self.path}: {first_line(error)}.") from None
        answer: dict[str, NDArray[Any]] = {}
        for port in self.program.outputs:
            value = found[port.name]
            if isinstance(value, dict):  # a classifier's shares, by label
                value = np.array([[value[label] for label in self.program.labels]], np.float32)
            answer[port.name] = np.atleast_1d(np.asarray(value))
        return answer

    def _foreign(self, arrays: Sequence[NDArray[Any]]) -> dict[str, Any]:
        """One call's arrays as Core ML's Python interface takes them: images as PIL objects."""
        from PIL import Image

        given: dict[str, Any] = {}
        for info, array in zip(self.inputs, arrays, strict=True):
            if info.image and info.scale:
                pixels = np.moveaxis(array[0], 0, -1)
                given[info.name] = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            else:
                given[info.name] = array
        return given


def _info(port: Port) -> TensorInfo:
    if port.image in _BYTES:  # pixels from 0 to 255 stand for 0 to 1
        return TensorInfo(port.name, port.shape, "uint8", 1 / _PIXEL, 0, port.image)
    return TensorInfo(port.name, port.shape, port.dtype, image=port.image)
