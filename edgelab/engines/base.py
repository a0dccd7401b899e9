"""One protocol for every runtime: arrays by name in, arrays by name out; for one input and its logits a short form.

An engine does its own layout and quantization, so that accuracy, latency and divergence are measured by
the same code whatever runs the network. Engines for model files run the native runtime in a child process:
when it crashes, the caller gets an `EngineCrash` with one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorInfo:
    """An input or output as the model file states it.

    ``shape`` holds None where a dimension is left open; ``dtype`` is numpy's name; ``scale`` and
    ``zero_point`` are set where the tensor is quantized. ``image`` is the colour layout (``"RGB"``, ``"BGR"``,
    ``"GRAYSCALE"``) of an input that Core ML takes as an image: bytes of pixels, red first whatever the layout, which
    stand for 0 to 1. ``axes`` are the names that the file gives to its axes, empty for one without; ``ranked`` is False
    where the file does not even say how many axes there are.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None
    image: str = ""
    axes: tuple[str, ...] = ()
    ranked: bool = True


@dataclass(frozen=True)
class Timing:
    """Wall-clock times of single inferences in the order in which they ran, in seconds."""

    seconds: NDArray[np.float64]


@dataclass(frozen=True)
class OperatorTime:
    """One operator of a profile.

    ``name`` and ``type`` as in the graph; ``ran_in`` is the element type in which it really ran
    (``"float32"``, ``"int8"``, ...); ``median_ms`` milliseconds of one inference, the median of ``runs``: a mean would
    follow the one run in which another program took the core.
    """

    name: str
    type: str
    ran_in: str
    median_ms: float
    runs: int


@runtime_checkable
class Engine(Protocol):
    """What every runtime offers."""

    name: str
    """Runtime and version, as a reading's ``by`` states it: ``"ONNX Runtime 1.31.1"``."""
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    @property
    def raw(self) -> Any:
        """The runtime's own object where it lives in this process, else the child process's handle."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names that `run` takes, in the model's order."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name for every input by name, each in its own element type and of any shape.

        An input that is quantized and states its scale also takes float32; an output that does comes as float32.
        Images and signals may be given channels first to a model that wants them last.
        """

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, classes) for inputs (N, ...) as the data set's card scales them, channels first.

        The short form of `run` for one input and one output.
        """

    def time(self, x: Any, runs: int, warmup: int = 0) -> Timing:
        """Run ``x`` as one batch ``warmup + runs`` times and return the times of the last ``runs``.

        ``x`` is float32 (N, ...), or `edgelab.engines.feeds.Named` for several inputs or other types.

        Only the runtime's own call is timed: input preparation and transport are not.
        """

    def profile(self, x: Any, runs: int) -> Sequence[OperatorTime]:
        """The runtime's own per-operator times for the batch ``x``."""

    def close(self) -> None:
        """End the child process, if there is one. An engine is also a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
