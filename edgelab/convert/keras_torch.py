"""A Keras network as a PyTorch program: Keras computes on PyTorch, whose exporters write ONNX and Core ML.

Keras' own way to ONNX from TensorFlow needs a converter that stands still; its PyTorch backend needs nothing more than
PyTorch. Keras takes its backend once in a process, so this is for a process of its own.
"""

from __future__ import annotations

import inspect
import keyword
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from edgelab.errors import BadFile, BadInput, MissingFramework
from edgelab.quiet import first_line, natively_silenced

if TYPE_CHECKING:
    import torch


def load_program(path: str | os.PathLike[str], file: str) -> tuple[torch.export.ExportedProgram, str]:
    """A .keras file as an exported program with an open batch, and the version of Keras.

    Only for files that `check_keras` has passed.

    Raises
    ------
    BadFile
        If Keras does not read it.
    BadInput
        If it cannot be exported, or Keras computes on another backend in this process already.
    MissingFramework
        If Keras is not installed.
    """
    keras, torch = _keras(), _torch()
    try:
        with natively_silenced():
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise BadFile(f"{file} is not read by Keras {keras.__version__} ({first_line(error)}).") from error
    model.eval()
    open_sizes = [x.name for x in model.inputs if None in x.shape[1:]]
    if open_sizes:
        raise BadInput(
            f"{file} leaves a size of its input '{open_sizes[0]}' open; build the network with a fixed input shape."
        )
    batch = 2 if all(x.shape[0] is None for x in model.inputs) else 1
    inputs = [torch.zeros((x.shape[0] or batch, *x.shape[1:]), dtype=getattr(torch, x.dtype)) for x in model.inputs]
    try:
        with natively_silenced(), torch.no_grad():
            wrapped = _positional(torch, model)
            shapes = tuple({0: torch.export.Dim.AUTO} for _ in inputs) if batch == 2 else None
            exported = torch.export.export(wrapped, tuple(inputs), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise BadInput(f"{file} cannot be exported by way of PyTorch: {first_line(error)}.") from error
    version = torch.__version__.split("+")[0]
    return exported, f"Keras {keras.__version__} on PyTorch {version}"


def _positional(torch: Any, model: Any) -> Any:
    """The network as a module that takes its inputs one by one, each under the name that it has in Keras."""

    class Positional(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, *given: Any) -> Any:
            return self.network(given[0] if len(given) == 1 else list(given), training=False)

    names: list[str] = []
    for tensor in model.inputs:
        name = re.sub(r"\W", "_", str(tensor.name))
        name = name if name.isidentifier() and not keyword.iskeyword(name) else f"input_{name}"
        names.append(name if name not in ("self", *names) else f"{name}_{len(names)}")
    # PyTorch calls the inputs of a program as the signature does
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *names)]
    Positional.forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Positional()


def _torch() -> Any:
    import torch

    torch.set_num_threads(1)
    return torch


def _keras() -> Any:
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with natively_silenced():
            import keras
    except ImportError as error:
        raise MissingFramework(
            f"Keras is not installed ({first_line(error)}); add it with: uv sync --group tensorflow"
        ) from None
    if keras.backend.backend() != "torch":
        raise BadInput("Keras computes on another backend in this process; do this in a new one.")
    return keras
