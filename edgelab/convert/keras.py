"""TensorFlow without its noise, and a Keras network as a .tflite file.

This is the module of the package that imports TensorFlow. Triton, which PyTorch brings on some systems, has to be
loaded first: a process that loads it after TensorFlow is aborted by LLVM.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadFile, BadInput, MissingFramework
from edgelab.files import expanded, write_bytes
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
        raise BadInput(f"TensorFlow's converter refused {expanded(path).name}: {first_line(error)}.") from error
    if not isinstance(content, bytes | bytearray) or bytes(content[4:8]) != b"TFL3":
        raise BadInput(f"What was converted for {expanded(path).name} is no .tflite file.")
    return write_bytes(path, bytes(content))


def load(path: str | os.PathLike[str], file: str) -> tuple[Any, str]:
    """A .keras file's network, not compiled, and the version of Keras. Only for files that `check_keras` has passed.

    Raises
    ------
    BadFile
        If Keras does not read it.
    """
    tf = tensorflow()
    try:
        with natively_silenced():
            model = tf.keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise BadFile(f"{file} is not read by Keras {tf.keras.__version__} ({first_line(error)}).") from error
    return model, f"Keras {tf.keras.__version__} on TensorFlow {tf.__version__}"


def input_shapes(model: Any) -> list[tuple[str, tuple[int | None, ...], str]]:
    """Name, shape (None where a size is open) and numpy's element type of each input of a Keras network."""
    return [(str(x.name), tuple(x.shape), str(x.dtype)) for x in model.inputs]


def run(model: Any, batch: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Every output of a Keras network for a batch, in the order in which TensorFlow flattens them."""
    tf = tensorflow()
    given = [tf.constant(x) for x in batch]
    found = model(given[0] if len(given) == 1 else given, training=False)
    return [np.asarray(y) for y in tf.nest.flatten(found)]


def save_tflite(
    model: Any, items: Sequence[NDArray[Any]], path: str | os.PathLike[str], *, precision: str = "float32"
) -> Path:
    """Write a Keras network with a batch of 1 by TensorFlow's converter.

    Parameters
    ----------
    model
        The network.
    items
        The arrays of its inputs, (N, ...): they fix the sizes that the network leaves open, and an int8 file's ranges.
    path
        The file; it is whole or absent.
    precision
        ``"float32"``, ``"float16"`` (weights), or ``"int8"`` (weights, activations, inputs and outputs).

    Raises
    ------
    BadInput
        If TensorFlow Lite lacks an operator of the network; the sentence names it and its layer.
    BadFile
        If the file cannot be written.
    """
    tf = tensorflow()
    with natively_silenced():
        # Given a function of a Keras 3 network the converter leaves its weights behind; given a network it takes them
        # along. So the batch is fixed by a network around it.
        pairs = zip(items, model.inputs, strict=True)
        given = [tf.keras.Input(batch_shape=(1, *x.shape[1:]), dtype=x.dtype, name=entry.name) for x, entry in pairs]
        single = tf.keras.Model(given, model(given[0] if len(given) == 1 else given, training=False))
        converter = tf.lite.TFLiteConverter.from_keras_model(single)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: ([x[i : i + 1] for x in items] for i in range(len(items[0])))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if all(x.dtype == np.float32 for x in items):
            converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        return save_converted(converter, path)
    except BadInput as error:
        raise _named(error) from error


def _named(error: BadInput) -> BadInput:
    """A refusal of TensorFlow's converter with the operator and the layer that it names, if it does."""
    text = str(error.__cause__ or error)
    operator = re.search(
        r"'?tf\.(\w+)'? op is neither a custom op nor a flex op|failed to legalize operation 'tf\.(\w+)'", text
    )
    if operator is None:
        return error
    name = next(filter(None, operator.groups()))
    layers = re.findall(r'"([\w./]+/)?(\w+)/' + name, text)
    where = f" in '{layers[0][1]}'" if layers else ""
    return BadInput(
        f"TensorFlow Lite has no counterpart of the operator {name}{where}; replace it by simpler operators, or "
        "compute it outside the network."
    )
