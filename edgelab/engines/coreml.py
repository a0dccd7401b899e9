"""Core ML packages (.mlpackage) behind the engine protocol: Core ML itself on macOS, edgelab's evaluator elsewhere.

The evaluator answers what the network answers, within the last digits; it says nothing about speed, so off macOS
nothing is timed.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from edgelab.engines import borders, coreml_program, hosted
from edgelab.engines.base import OperatorTime, TensorInfo, Timing
from edgelab.engines.coreml_program import Port, Program, read_program
from edgelab.errors import BadInput
from edgelab.models import mlpackage
from edgelab.quiet import first_line, silenced

ComputeUnits = Literal["all", "cpu", "cpu+gpu", "cpu+ane"]
_UNITS = {"all": "ALL", "cpu": "CPU_ONLY", "cpu+gpu": "CPU_AND_GPU", "cpu+ane": "CPU_AND_NE"}
_PIXEL = 255.0


class CoreMLEngine:
    """A Core ML package.

    Parameters
    ----------
    path
        The .mlpackage folder.
    threads
        Threads of the evaluator; Core ML on macOS chooses its own.
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
        As the program states them.
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
        units: ComputeUnits = "all",
        batch: int | None = None,
        evaluator: bool = False,
    ) -> None:
        self.threads = hosted.check_threads(threads)
        hosted.check_batch(batch)
        if units not in _UNITS:
            raise BadInput(f"units={units!r} is not one of {', '.join(map(repr, _UNITS))}.")
        self.path = Path(path)
        self.program: Program = read_program(path)
        self._native = sys.platform == "darwin" and not evaluator
        self._units = units
        self.name = f"Core ML, macOS {platform.mac_ver()[0]}, {units}" if self._native else coreml_program.NAME
        self._model = self._load() if self._native else None
        self.inputs = tuple(_info(port) for port in self.program.inputs)
        self.outputs = tuple(_info(port) for port in self.program.outputs)

    @property
    def raw(self) -> Any:
        """Core ML's model on macOS, else the program that the evaluator runs."""
        return self._model if self._native else self.program

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names that `run` takes, in the program's order."""
        return tuple(port.name for port in self.program.inputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name for every input by name; images as red, green and blue pixels from 0 to 255.

        Raises
        ------
        BadInput
            If an input is missing, unknown, or of another shape.
        """
        if self._native:
            return self._predicted(inputs)
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return self.program.run(inputs)
        finally:
            torch.set_num_threads(before)

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, classes) for inputs (N, ...), float32, channels first, as the data set's card scales them.

        An image input takes 8-bit pixels, so x must lie between 0 and 1 and is multiplied by 255 and rounded.

        Raises
        ------
        BadInput
            If x does not fit, or the program has several inputs.
        """
        borders.check_input(x)
        if len(self.program.inputs) != 1:
            raise BadInput(f"{self.path} has {len(self.program.inputs)} inputs; give all of them to run by name.")
        found = self.run({self.program.inputs[0].name: self._prepared(x)})
        logits = next((found[p.name] for p in self.program.outputs if p.dtype.startswith("float")), None)
        if logits is None or len(logits) != len(x):
            raise BadInput(f"{self.path} does not answer {len(x)} inputs with one row of numbers each.")
        return np.asarray(logits, np.float32)

    def time(self, x: NDArray[np.float32], runs: int, warmup: int = 0) -> Timing:
        """Times of single predictions in Core ML, in seconds, on macOS alone.

        Raises
        ------
        BadInput
            Elsewhere: the evaluator's times would say nothing about Core ML.
        """
        hosted.check_runs(runs, warmup)
        self._only_native("timed")
        feeds = self._foreign({self.program.inputs[0].name: self._prepared(borders.check_input(x))}, 0)
        assert self._model is not None
        seconds = np.empty(warmup + runs)
        for i in range(warmup + runs):
            start = time.perf_counter()
            self._model.predict(feeds)
            seconds[i] = time.perf_counter() - start
        return Timing(seconds[warmup:])

    def calls_per_run(self, x: NDArray[np.float32]) -> int:
        """How many calls ``x`` takes: one for each item."""
        return len(borders.check_input(x))

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

    def _prepared(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        port = self.program.inputs[0]
        x = borders.arrange(x, port.shape, "channels_first") if _item(port.shape) == _item(x.shape) else x
        if not port.image:
            return x
        if x.min() < 0 or x.max() > 1:
            raise BadInput(
                f"{self.path} takes an image of 8-bit pixels, so x must lie between 0 and 1, not {x.min():g} to "
                f"{x.max():g}; for other values give pixels from 0 to 255 to run."
            )
        return np.asarray(np.rint(x * np.float32(_PIXEL)), np.float32)

    def _only_native(self, what: str) -> None:
        if not self._native:
            raise BadInput(f"{self.path} can be {what} on macOS alone; here edgelab's evaluator runs it, not Core ML.")

    # On macOS

    def _load(self) -> Any:
        ct = mlpackage.coremltools()
        units = getattr(ct.ComputeUnit, _UNITS[self._units])
        with silenced():
            return ct.models.MLModel(str(self.path), compute_units=units)

    def _predicted(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        assert self._model is not None
        count = max(len(x) for x in inputs.values())
        rows: list[dict[str, Any]] = []
        for i in range(count):
            try:
                rows.append(self._model.predict(self._foreign(inputs, i)))
            except Exception as error:  # noqa: BLE001 - Core ML's errors come as RuntimeError or as its own
                raise BadInput(f"Core ML could not run {self.path}: {first_line(error)}.") from None
        answer: dict[str, NDArray[Any]] = {}
        for port in self.program.outputs:
            values = [row[port.name] for row in rows]
            if isinstance(values[0], dict):  # a classifier's shares, by label
                values = [[[value[label] for label in self.program.labels]] for value in values]
            answer[port.name] = np.concatenate([np.atleast_1d(np.asarray(value)) for value in values])
        return answer

    def _foreign(self, inputs: Mapping[str, NDArray[Any]], i: int) -> dict[str, Any]:
        """Item ``i`` as Core ML's Python interface takes it: images as PIL objects."""
        from PIL import Image

        feeds: dict[str, Any] = {}
        for port in self.program.inputs:
            item = np.asarray(inputs[port.name][i : i + 1])
            if port.image:
                pixels = np.moveaxis(item[0], 0, -1).astype(np.uint8)
                feeds[port.name] = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            else:
                feeds[port.name] = item
        return feeds


def _item(shape: Sequence[int | None]) -> list[int | None]:
    return [n for n in shape[1:] if n != 1]


def _info(port: Port) -> TensorInfo:
    return TensorInfo(port.name, port.shape, port.dtype)
