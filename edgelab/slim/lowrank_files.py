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

    Whole numbers, pickled objects and matrices of zeros, such as one side of an untrained LoRA, are left out.

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
    except BadFile:
        raise
    except Exception as error:
        raise BadFile(f"{file.name} cannot be read as {kind}: {first_line(error)}.") from error
    found = {}
    for name, array in arrays.items():
        if array.ndim == 2 and min(array.shape) > 1 and np.issubdtype(array.dtype, np.floating) and array.any():
            with np.errstate(over="ignore"):
                found[name] = torch.from_numpy(np.array(array, dtype=np.float32))
            if not torch.isfinite(found[name]).all():
                raise BadFile(f"The matrix '{name}' in {file.name} holds NaN, infinity or what float32 cannot hold.")
    if not found:
        raise BadFile(f"{file.name} holds no matrix of real numbers that are not all zero.")
    return found


def _read(file: Path, kind: str) -> Mapping[str, NDArray[np.generic]]:
    if kind == ".safetensors":
        from safetensors.torch import load_file

        return {name: value.float().numpy() for name, value in load_file(file).items() if value.is_floating_point()}
    if kind == ".npz":
        stored = np.load(file, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise BadFile(f"{file.name} holds a single array without a name; write it with np.savez.")
        with stored:
            return {name: array for name in stored.files if (array := _unpickled(stored, name)) is not None}
    import onnx

    model = onnx.load(os.fspath(file))
    return {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}


def _unpickled(stored: np.lib.npyio.NpzFile, name: str) -> NDArray[np.generic] | None:
    """An array of an .npz file; nothing where it holds Python objects, which only unpickling could read."""
    try:
        return np.asarray(stored[name])
    except ValueError as error:
        if "Object arrays" in str(error):
            return None
        raise
