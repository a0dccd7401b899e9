"""TensorFlow without its noise, and a Keras network as a .tflite file.

This is the module of the package that imports TensorFlow. Triton, which PyTorch brings on some systems, has to be
loaded first: a process that loads it after TensorFlow is aborted by LLVM.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgelab.errors import BadInput, MissingFramework
from edgelab.files import write_bytes
from edgelab.quiet import first_line, natively_silenced

_QUIET: Mapping[str, str] = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # of TensorFlow's C++ log: errors and worse are left
    "TF_ENABLE_ONEDNN_OPTS": "0",  # other kernels, whose last digits depend on the machine, and a notice about them
    "CUDA_VISIBLE_DEVICES": "-1",
}


def tensorflow(threads: int = 1, seed: int = 0) -> Any:
    """TensorFlow itself, loaded without a word, on the CPU, with pinned threads, seeded and deterministic.

    Parameters
    ----------
    threads
        Of one operator; operators do not run side by side. TensorFlow takes this once in a process: where it has
        computed before with another number, that one stays.
    seed
        Of Python's, numpy's and TensorFlow's random numbers.

    Raises
    ------
    BadInput
        If ``threads`` is below 1.
    MissingFramework
        If TensorFlow is not installed.
    """
    if threads < 1:
        raise BadInput(f"threads={threads}: at least 1 is needed.")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with natively_silenced():
        with contextlib.suppress(ImportError):
            importlib.import_module("triton")
        try:
            import tensorflow as tf
        except ImportError as error:
            raise MissingFramework(
                f"TensorFlow is not installed ({first_line(error)}); add it with: uv sync --group tensorflow"
            ) from None
        with contextlib.suppress(RuntimeError):  # it has computed already
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
    return tf


def save_converted(converter: Any, path: str | os.PathLike[str]) -> Path:
    """Run a ``tf.lite.TFLiteConverter`` as it is set, without its log, and write the file whole or not at all.

    Parameters
    ----------
    converter
        Any object whose ``convert()`` gives the bytes of a .tflite file.
    path
        Where to write.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    BadInput
        If the converter refuses the network or its settings, with the first line of its reason.
    BadFile
        If the file cannot be written.
    """
    try:
        with natively_silenced():
            content = converter.convert()
    except Exception as error:  # ConverterError, ValueError and what a learner's generator raises
        raise BadInput(f"TensorFlow's converter refused {Path(path).name}: {first_line(error)}.") from error
    if not isinstance(content, bytes | bytearray) or bytes(content[4:8]) != b"TFL3":
        raise BadInput(f"What was converted for {Path(path).name} is no .tflite file.")
    return write_bytes(path, bytes(content))
