"""Golden data in .npz files: x as float32, y, optionally group. Files from outside are hostile."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadFile, BadInput
from edgelab.files import writing

_LARGEST_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Arrays:
    """Inputs (N, ...) float32, channels first; labels (N,) int64; optionally a group label for each item."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    group: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        if self.x.ndim < 2 or len(self.x) == 0:
            raise BadInput(f"x must hold at least one item of at least one value; its shape is {self.x.shape}.")
        if self.x.dtype != np.float32:
            raise BadInput(f"x must be float32, not {self.x.dtype}; convert it and scale it as the model was trained.")
        if not np.isfinite(self.x).all():
            bad = int(np.flatnonzero(~np.isfinite(self.x).reshape(len(self.x), -1).all(axis=1))[0])
            raise BadInput(f"x holds NaN or infinity, first in item {bad}.")
        if self.y.shape != (len(self.x),) or self.y.dtype.kind not in "iu":
            raise BadInput(f"y must be {len(self.x)} integers, one for each item; it is {self.y.dtype} {self.y.shape}.")
        if self.y.min() < 0:
            raise BadInput(f"y holds the label {int(self.y.min())}; classes count from 0.")
        if self.group is not None and self.group.shape != (len(self.x),):
            raise BadInput(f"group must be {len(self.x)} labels, one for each item; its shape is {self.group.shape}.")


def load_arrays(path: str | os.PathLike[str]) -> Arrays:
    """Read x, y and, if there is one, group from an .npz file.

    Raises
    ------
    BadFile
        If it is missing, is no .npz, is truncated, needs unpickling, or lacks x or y.
    BadInput
        If shapes or types do not fit, or x is not finite.
    """
    file = Path(path)
    if file.is_dir():
        raise BadFile(f"{file} is a folder; name an .npz file with x and y.")
    if not file.is_file():
        raise BadFile(f"{file} does not exist; check the path.")
    found: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size <= _LARGEST_BYTES:
            with np.load(file, allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in ("x", "y", "group") if key in arrays.files}
                names = arrays.files
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError, NotImplementedError, MemoryError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise BadFile(f"{file} is not a readable .npz of plain arrays ({' '.join(reason.split())[:160]}).") from None
    except Exception as error:  # zlib.error and whatever a damaged header provokes  # noqa: BLE001
        raise BadFile(f"{file} is damaged ({type(error).__name__}); write it again.") from None
    if size > _LARGEST_BYTES:
        limit = f"{_LARGEST_BYTES / 2**30:.0f} GB"
        raise BadFile(f"{file} unpacks to {size / 2**30:.0f} GB, more than the {limit} read here.")
    missing = [key for key in ("x", "y") if key not in found]
    if missing:
        held = ", ".join(" ".join(name.split()) for name in names)[:160] or "nothing"
        raise BadFile(f"{file} lacks {' and '.join(missing)}; it holds {held}.")
    x, y = found["x"], found["y"]
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):  # what numpy makes of an entry of no array
        raise BadFile(f"{file} holds something other than arrays in x or y.")
    try:
        group = None if "group" not in found else _labels(found["group"])
        x = x.astype(np.float32, copy=False) if x.dtype == np.dtype(np.float32).newbyteorder() else x
        return Arrays(x, y.astype(np.int64) if y.dtype.kind in "iu" else y, group)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None


def save_arrays(path: str | os.PathLike[str], x: ArrayLike, y: ArrayLike, group: ArrayLike | None = None) -> Path:
    """Write x, y and group as `load_arrays` reads them, whole or not at all."""
    arrays = Arrays(np.asarray(x), np.asarray(y), None if group is None else _labels(group))
    parts: dict[str, Any] = {"x": arrays.x, "y": arrays.y}
    if arrays.group is not None:
        parts["group"] = arrays.group
    with writing(path) as stream:
        np.savez(stream, **parts)
    return Path(path)


def _labels(group: ArrayLike) -> NDArray[np.str_]:
    labels = np.asarray(group)
    if labels.dtype.kind not in "biufUS" or (labels.dtype.kind == "f" and not np.isfinite(labels).all()):
        raise BadInput("group must be text or numbers, a label for each item, without NaN.")
    try:
        return labels.astype(str)
    except UnicodeDecodeError:
        raise BadInput("group holds bytes that are no text; store text (dtype U) or whole numbers.") from None
