"""Labelled data in .npz files: inputs by name, `x` for a single one, optionally y and group.

Files from outside are hostile: nothing is unpickled, and what is wrong with one is a sentence.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.engines.feeds import plain_name
from edgelab.errors import BadFile, BadInput, EdgelabError
from edgelab.files import writing

_LARGEST_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Arrays:
    """Inputs (N, ...), channels first; optionally labels (N,) int64 and a group label for each item.

    ``x`` is the input of a network with one, float32 or whole numbers; ``inputs`` holds all by name, of any element
    type (`by_name` makes them), and ``x`` is then the first of them.
    """

    x: NDArray[Any]
    y: NDArray[np.int64] | None = None
    group: NDArray[np.str_] | None = None
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.inputs:
            object.__setattr__(self, "inputs", {"x": self.x})
        for name, array in self.inputs.items():
            _check_input(name, array, len(self.x) if self.x.ndim else 0)
        if self.y is not None:
            if self.y.shape != (len(self.x),) or self.y.dtype.kind not in "iu":
                found = f"{self.y.dtype} {self.y.shape}"
                raise BadInput(f"y must be {len(self.x)} integers, one for each item; it is {found}.")
            if self.y.min() < 0:
                raise BadInput(f"y holds the label {int(self.y.min())}; classes count from 0.")
        if self.group is not None and self.group.shape != (len(self.x),):
            raise BadInput(f"group must be {len(self.x)} labels, one for each item; its shape is {self.group.shape}.")

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def by_name(
        cls, inputs: Mapping[str, ArrayLike], y: ArrayLike | None = None, group: ArrayLike | None = None
    ) -> Arrays:
        """Inputs by name, each (N, ...) of its own element type.

        Raises
        ------
        BadInput
            If there is none, or shapes and types do not fit.
        """
        named = {str(name): np.asarray(array) for name, array in inputs.items()}
        if not named:
            raise BadInput("Name at least one input.")
        labels = None if y is None else np.asarray(y)
        return cls(next(iter(named.values())), labels, None if group is None else _labels(group), named)


def load_arrays(path: str | os.PathLike[str], inputs: Sequence[str] = (), apart: Collection[str] = ()) -> Arrays:
    """Read inputs and, if they are there, y and group from an .npz file.

    Parameters
    ----------
    path
        An .npz file.
    inputs
        The names of the network's inputs: entries of these names are inputs, also ``y`` and ``group``. Without them,
        or where none is there, ``x`` is the input, or else every entry but ``y`` and ``group``.
    apart
        Entries that are no items: one array for all of them, such as a sampling rate. They are left out.

    Raises
    ------
    BadFile
        If it is missing, is no .npz, is truncated, needs unpickling, or lacks inputs.
    BadInput
        If shapes or types do not fit, or an input of floats is not finite.
    """
    file = Path(path)
    chosen, found = _read(file, inputs)
    try:
        group = _labels(found["group"]) if "group" in found and "group" not in chosen else None
        y = found["y"] if "y" in found and "y" not in chosen else None
        y = y.astype(np.int64) if y is not None and y.dtype.kind in "iu" else y
        native = {key: _native(found[key]) for key in chosen if key not in apart} or {"x": np.zeros(0)}
        return Arrays(next(iter(native.values())), y, group, native)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None


def read_inputs(path: str | os.PathLike[str], inputs: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """The inputs of an .npz file by name, as `load_arrays` chooses them, of any shapes and numbers of items.

    Raises
    ------
    BadFile
        As for `load_arrays`.
    """
    chosen, found = _read(Path(path), inputs)
    return {key: _native(found[key]) for key in chosen}


def _read(file: Path, inputs: Sequence[str]) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """Which entries are inputs, and these with y and group."""
    if file.is_dir():
        raise BadFile(f"{file} is a folder; name an .npz file with x and y.")
    if not file.is_file():
        raise BadFile(f"{file} does not exist; check the path.")
    with open_archive(file) as archive:
        names = list(archive.files)
        chosen = _input_names(names, inputs)
        if not chosen:
            held = ", ".join(" ".join(name.split()) for name in names)[:160] or "nothing"
            raise BadFile(f"{file} lacks x, or inputs by their names; it holds {held}.")
        wanted = [*chosen, *(key for key in ("y", "group") if key in names and key not in chosen)]
        found = {key: archive[key] for key in wanted}
    if not all(isinstance(array, np.ndarray) for array in found.values()):  # what numpy makes of an entry of no array
        raise BadFile(f"{file} holds something other than arrays in {' or '.join(found)}.")
    return chosen, found


@contextlib.contextmanager
def open_archive(file: Path) -> Iterator[Any]:
    """An .npz file as numpy opens it, nothing unpickled; what is wrong with it becomes a sentence.

    Raises
    ------
    BadFile
        If it is no archive, is damaged, or unpacks to more than is read here.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
        _refuse_bomb(file, size)
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except EdgelabError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError, NotImplementedError, MemoryError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise BadFile(f"{file} is not a readable .npz of plain arrays ({' '.join(reason.split())[:160]}).") from None
    except Exception as error:  # noqa: BLE001 - zlib.error and whatever a damaged header provokes
        raise BadFile(f"{file} is damaged ({type(error).__name__}); write it again.") from None


def save_arrays(
    path: str | os.PathLike[str],
    x: ArrayLike | Mapping[str, ArrayLike],
    y: ArrayLike | None = None,
    group: ArrayLike | None = None,
) -> Path:
    """Write inputs (``x``, or several by name), y and group as `load_arrays` reads them, whole or not at all."""
    arrays = Arrays.by_name(x if isinstance(x, Mapping) else {"x": x}, y, group)
    parts: dict[str, Any] = dict(arrays.inputs)
    for key, value in (("y", arrays.y), ("group", arrays.group)):
        if value is not None:
            if key in parts:
                raise BadInput(f"An input is called '{key}' like the labels; leave them out or rename it.")
            parts[key] = value
    with writing(path) as stream:
        np.savez(stream, **parts)
    return Path(path)


def _input_names(held: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Which entries are inputs, given the network's names."""
    short = {plain_name(name) for name in wanted} | set(wanted)
    by_name = [key for key in held if key in short]
    if by_name:
        return by_name
    return ["x"] if "x" in held else [key for key in held if key not in ("y", "group")]


def _refuse_bomb(file: Path, size: int) -> None:
    if size > _LARGEST_BYTES:
        limit = f"{_LARGEST_BYTES / 2**30:.0f} GB"
        raise BadFile(f"{file} unpacks to {size / 2**30:.0f} GB, more than the {limit} read here.")


def _native(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_input(name: str, array: NDArray[Any], items: int) -> None:
    # a vector is an item of one value each where the input has a name of its own, and a slip where it is x
    if array.ndim < (2 if name == "x" else 1) or len(array) == 0:
        raise BadInput(f"{name} must hold at least one item of at least one value; its shape is {array.shape}.")
    if len(array) != items:
        raise BadInput(f"{name} holds {len(array)} items and the first input {items}; give each input the same number.")
    if array.dtype.kind not in "fiubUS" or (name == "x" and array.dtype.kind == "f" and array.dtype != np.float32):
        raise BadInput(f"{name} must be float32, not {array.dtype}; convert it and scale it as the model was trained.")
    if array.dtype.kind == "f" and np.isnan(array).any() | (name == "x" and not np.isfinite(array).all()):
        bad = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
        raise BadInput(f"{name} holds NaN or infinity, first in item {bad}.")


def _labels(group: ArrayLike) -> NDArray[np.str_]:
    labels = np.asarray(group)
    if labels.dtype.kind not in "biufUS" or (labels.dtype.kind == "f" and not np.isfinite(labels).all()):
        raise BadInput("group must be text or numbers, a label for each item, without NaN.")
    try:
        return labels.astype(str)
    except UnicodeDecodeError:
        raise BadInput("group holds bytes that are no text; store text (dtype U) or whole numbers.") from None
