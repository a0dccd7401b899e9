"""Keras on TensorFlow, imported without its start-up noise, and after triton: loaded second, that aborts a process.

The one place of this room that imports TensorFlow. It takes seconds, so it is imported when somebody asks.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from edgelab.errors import MissingFramework
from edgelab.quiet import natively_silenced


def keras() -> Any:
    """The module ``keras``, with TensorFlow behind it.

    Raises
    ------
    MissingFramework
        If TensorFlow is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with natively_silenced():
        with contextlib.suppress(ImportError):
            import triton  # noqa: F401  # before TensorFlow: both register LLVM's options, and the second aborts
        try:
            import keras as found
            import tensorflow as tf
        except ImportError as error:
            raise MissingFramework(
                f"Keras with TensorFlow is not installed ({error}); add it with: uv sync --group tensorflow"
            ) from None
        tf.constant(0.0)  # the first tensor makes it write about the processor
    return found
