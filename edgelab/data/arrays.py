"""A learner's own arrays in an ``.npz`` file as a data set. Pickled objects are never loaded."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.data.assemble import MOST_BYTES, TEST, VALIDATION, Labels, Texts, assemble, name_classes, stated_parts
from edgelab.data.dataset import Dataset
from edgelab.errors import BadFile, BadInput

Layout = Literal["auto", "first", "last", "grey"]


def from_npz(
    path: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    *,
    layout: Layout = "auto",
    validation: float = VALIDATION,
    test: float = TEST,
    seed: int = 0,
) -> Dataset:
    """Arrays in an ``.npz`` file, as ``np.savez(path, x=x, y=y, group=group)`` writes it.

    Parameters
    ----------
    path
        A file that holds ``x``, ``y`` and perhaps ``group`` and ``client`` (whose item it is); or ``x_train``,
        ``y_train``, ``x_test``, ``y_test`` and perhaps ``x_validation``, ``y_validation``, and a ``group_...`` and a
        ``client_...`` for each.
        x is floating (kept as it is) or uint8 (divided by 255); y holds integers from 0, or text.
    class_names
        Names of the labels 0, 1, ...; the numbers themselves if not given.
    layout
        Where the channels are. ``"first"``: (N, C, H, W), (N, C, T). ``"last"``: (N, H, W, C), (N, T, C).
        ``"grey"``: (N, H, W). ``"auto"``: four dimensions have 1, 3 or 4 channels in the one place and not
        in the other, and otherwise they are first; three dimensions of uint8 are grey images, and of floats
        signals whose channels are the shorter side. What stays open is refused.
    validation, test, seed
        Shares of the items where the file does not state the splits, stratified by class, and which go where.

    Returns
    -------
    Dataset
        Without ``group``: ``brightness`` of images or ``level`` of anything else, in thirds.

    Raises
    ------
    BadFile
        If the file is not a readable ``.npz`` of plain arrays; pickled objects are never loaded.
    BadInput
        If the arrays do not fit each other or `Dataset`.
    """
    file = Path(path)
    arrays = _load_npz(file)
    stated = [part for part in ("train", "validation", "test") if f"x_{part}" in arrays]
    if "x" in arrays and "y" in arrays:
        keys = [""]
    elif "train" in stated and "test" in stated and all(f"y_{part}" in arrays for part in stated):
        keys = [f"_{part}" for part in stated]
    else:
        raise BadFile(
            f"{file} must hold x and y, or x_train, y_train, x_test and y_test; it holds "
            f"{', '.join(arrays) or 'nothing'}."
        )
    pieces = [_channels_first(arrays[f"x{key}"], layout, file) for key in keys]
    if len({piece.shape[1:] for piece in pieces}) > 1:
        raise BadInput(f"The splits in {file} hold items of different shapes: {[piece.shape for piece in pieces]}.")
    for key, piece in zip(keys, pieces, strict=True):
        if len(arrays[f"y{key}"]) != len(piece):
            raise BadInput(f"{file} holds {len(piece)} items in x{key} and {len(arrays[f'y{key}'])} labels in y{key}.")
    names, y = _npz_labels(
        np.concatenate([_column(arrays[f"y{key}"], f"y{key}", file) for key in keys]), class_names, file
    )
    groups: dict[str, Texts] = {}
    for name in ("group", "client"):
        wanted = [(f"{name}{key}", f"y{key}") for key in keys]
        if any(array in arrays for array, _ in wanted):
            if missing := [array for array, y_of in wanted if len(arrays.get(array, ())) != len(arrays[y_of])]:
                raise BadInput(f"{file} lacks a {name} for each item in {', '.join(missing)}.")
            groups[name] = np.concatenate([arrays[array].astype(str) for array, _ in wanted])
    part_of = np.concatenate([np.full(len(p), key[1:] or "all", "<U10") for key, p in zip(keys, pieces, strict=True)])
    parts = stated_parts(part_of, y, names, file, validation, test, seed)
    scaling = "8-bit value / 255, so 0 to 1" if arrays[f"x{keys[0]}"].dtype == np.uint8 else "as in the file"
    return assemble(np.concatenate(pieces), y, names, groups, parts, file, scaling)


def _load_npz(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > MOST_BYTES:
            raise BadFile(f"{file} unpacks to {unpacked:,} bytes, more than {MOST_BYTES:,}; use a part of it.")
        with np.load(file, allow_pickle=False) as bundle:
            return {name: bundle[name] for name in bundle.files}
    except FileNotFoundError:
        raise BadFile(f"{file} does not exist.") from None
    except zipfile.BadZipFile as error:
        raise BadFile(f"{file} is not an .npz file ({error}); write one with np.savez(path, x=x, y=y).") from error
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        zlib.error,
        MemoryError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise BadFile(
            f"{file} holds an array that cannot be read ({error}); pickled objects are not loaded."
        ) from error


def _channels_first(x: NDArray[Any], layout: Layout, file: Path) -> NDArray[np.float32]:
    if layout not in ("auto", "first", "last", "grey"):
        raise BadInput(f"layout={layout!r} is not known; use 'auto', 'first', 'last' or 'grey'.")
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise BadInput(f"x in {file} is {x.dtype}; it must be floating, or uint8 images.")
    if not 2 <= x.ndim <= 4 or 0 in x.shape:
        raise BadInput(
            f"x in {file} has the shape {x.shape}; it must be (N, F), (N, C, T) or (N, C, H, W), and not empty."
        )
    if layout == "auto":
        layout = _guess_layout(x, file)
    if layout == "grey":
        if x.ndim != 3:
            raise BadInput(f"x in {file} has the shape {x.shape}; layout='grey' is for (N, H, W).")
        x = x[:, None]
    elif layout == "last" and x.ndim > 2:
        x = np.moveaxis(x, -1, 1)
    if x.dtype == np.uint8:
        scaled: NDArray[np.float32] = np.divide(x, np.float32(255), dtype=np.float32)
        return scaled
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        return np.ascontiguousarray(x, np.float32)


def _guess_layout(x: NDArray[Any], file: Path) -> Layout:
    if x.ndim == 2:
        return "first"
    first, last = x.shape[1], x.shape[-1]
    if x.ndim == 3:
        if x.dtype == np.uint8:
            return "grey"
        if first != last:
            return "first" if first < last else "last"
    elif (first in (1, 3, 4)) != (last in (1, 3, 4)):
        return "first" if first in (1, 3, 4) else "last"
    elif first not in (1, 3, 4):
        return "first"
    raise BadInput(f"x in {file} has the shape {x.shape}, whose channels could be first or last; state layout=.")


def _column(y: NDArray[Any], name: str, file: Path) -> NDArray[Any]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise BadInput(f"{name} in {file} has the shape {y.shape}; it must be (N,), one label for each item.")
    return y


def _npz_labels(y: NDArray[Any], class_names: Sequence[str] | None, file: Path) -> tuple[tuple[str, ...], Labels]:
    if y.dtype.kind in "US":
        names, labels = name_classes([str(label) for label in y.astype(str)])
        if class_names is not None and tuple(class_names) != names:
            raise BadInput(f"y in {file} is text, which names its classes ({', '.join(names)}); leave class_names out.")
        return names, labels
    if not np.issubdtype(y.dtype, np.integer):
        raise BadInput(f"y in {file} is {y.dtype}; it must be integers from 0, or text.")
    if y.min() < 0:
        raise BadInput(f"y in {file} holds the label {y.min()}; labels count from 0.")
    names = (
        tuple(class_names) if class_names is not None else tuple(str(i) for i in range(min(int(y.max()), 10**5) + 1))
    )
    if y.max() >= len(names):
        raise BadInput(f"y in {file} holds the label {y.max()} and there are {len(names)} class names.")
    return names, y.astype(np.int64)
