"""Runtimes behind one protocol; `open_engine` picks the one that a model file needs."""

from __future__ import annotations

import os
from typing import Any

from edgelab.engines.base import Engine, OperatorTime, TensorInfo, Timing
from edgelab.models.formats import model_format

__all__ = ["Engine", "OperatorTime", "TensorInfo", "Timing", "model_format", "open_engine"]


def open_engine(path: str | os.PathLike[str], threads: int = 1, *, fresh: bool | None = None, **options: Any) -> Engine:
    """Open a model file in its runtime.

    An .onnx file runs in ONNX Runtime, a .tflite file in LiteRT, firmware (.elf) on its emulated core, and a Core ML
    package (.mlpackage) in Core ML on macOS and in edgelab's evaluator elsewhere.
    The file's content decides, not its suffix.

    Parameters
    ----------
    path
        The model file.
    threads
        Threads of the runtime.
    fresh
        True: in a process from scratch, whose memory and load time can be measured. False: in a copy of one that has
        imported the runtime already, which opens sooner. None: a copy for emulated firmware, else from scratch.
    **options
        What the engine takes: see `edgelab.engines.onnxruntime.OnnxRuntimeEngine`,
        `edgelab.engines.litert.LiteRTEngine`, `edgelab.engines.cortexm.CortexMEngine` and
        `edgelab.engines.coreml.CoreMLEngine`.

    Raises
    ------
    BadFile
        If the file is missing, empty, truncated, foreign, or refused by the runtime.
    BadInput
        If an option is not one of the engine's.
    EngineCrash
        If the runtime died or hung while it loaded the file; this process is unharmed.
    MissingFramework
        If the runtime is not installed; the message carries the command that adds it.
    """
    from edgelab.errors import BadInput

    kind = model_format(path)
    try:
        if fresh is not None and kind != "coreml":  # whose engine has no process of its own to copy
            options["fresh"] = fresh
        if kind == "onnx":
            from edgelab.engines.onnxruntime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(path, threads, **options)
        if kind == "coreml":
            from edgelab.engines.coreml import CoreMLEngine

            return CoreMLEngine(path, threads, **options)
        if kind == "elf":
            from edgelab.engines.cortexm import CortexMEngine

            return CortexMEngine(path, threads, **options)
        from edgelab.engines.litert import LiteRTEngine

        return LiteRTEngine(path, threads, **options)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise BadInput(f"An engine for {path} does not take this option: {error}.") from None
        raise
