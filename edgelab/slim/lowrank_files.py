"""The weight matrices of a file of one's own: .safetensors, .npz or .onnx. Nothing in it is run, nothing unpickled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgelab.errors import BadFile
from edgelab.models import existing_file
from edgelab.quiet import first_line

KINDS = (".safetensors", ".npz", ".onnx")


def read_matrices(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Every matrix of real numbers in a file by its name, as float32 (rows, columns), both sides at least 2.

    Raises
    ------
    BadFile
        If the file is not there, is of another kind or damaged, holds no such matrix, or one that is not finite.
    """
    file = existing_file(path)
    kind = file.suffix.lower()
    if kind not in KINDS:
        raise BadFile(f"{file.name} is none of {', '.join(KINDS)}, from which weight matrices can be read.")
    try:
        arrays = _read(file, kind)
    except Exception as error:
        raise BadFile(f"{file.name} cannot be read as {kind}: {first_line(error)}.") from error
    found = {
        name: torch.from_numpy(np.array(array, dtype=np.float32))
        for name, array in arrays.items()
        if array.ndim == 2 and min(array.shape) > 1 and np.issubdtype(array.dtype, np.floating)
    }
    if not found:
        raise BadFile(f"{file.name} holds no matrix of real numbers.")
    for name, matrix in found.items():
        if not torch.isfinite(matrix).all():
            raise BadFile(f"The matrix '{name}' in {file.name} holds NaN or infinity.")
    return found


def _read(file: Path, kind: str) -> Mapping[str, NDArray[np.generic]]:
    if kind == ".safetensors":
        from safetensors.torch import load_file

        return {name: value.float().numpy() for name, value in load_file(file).items() if value.is_floating_point()}
    if kind == ".npz":
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    import onnx

    model = onnx.load(os.fspath(file))
    return {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
