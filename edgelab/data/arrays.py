"""A learner's own arrays in an ``.npz`` file as a data set. Pickled objects are never loaded."""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.data.assemble import MOST_BYTES, TEST, VALIDATION, Texts, assemble, stated_parts
from edgelab.data.dataset import Dataset
from edgelab.data.labels import array_labels, group_texts
from edgelab.errors import BadFile, BadInput, EdgelabError
from edgelab.files import expanded, refuse_bomb, refuse_pointer
from edgelab.quiet import without_commands

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
        x is floating (kept as it is) or uint8 (divided by 255); y holds integers, text, booleans, or floats that
        are whole. Labels that are not 0 to n - 1 are mapped to these in their order; the data set's notes and a
        `DataWarning` say so, and their own names are the class names.
    class_names
        Names of the labels 0, 1, ...; the labels themselves if not given.
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
    file = expanded(path)
    with _archive(file) as members:
        keys = _keys(members, file)
        arrays = {
            name: _array(members, name, file)
            for name in (f"{stem}{key}" for stem in ("x", "y", "group", "client") for key in keys)
            if name in members
        }
    pieces = [_channels_first(arrays[f"x{key}"], layout, file) for key in keys]
    if len({piece.shape[1:] for piece in pieces}) > 1:
        raise BadInput(f"The splits in {file} hold items of different shapes: {[piece.shape for piece in pieces]}.")
    columns = {key: _column(arrays[f"y{key}"], f"y{key}", file) for key in keys}
    for key, piece in zip(keys, pieces, strict=True):
        if len(columns[key]) != len(piece):
            raise BadInput(f"{file} holds {len(piece)} items in x{key} and {len(columns[key])} labels in y{key}.")
    if len({_family(column) for column in columns.values()}) > 1:
        raise BadInput(f"The labels of the splits in {file} are of different types; give all as integers or as text.")
    names, y, notes = array_labels(np.concatenate(list(columns.values())), class_names, file)
    groups: dict[str, Texts] = {}
    for name in ("group", "client"):
        wanted = {key: arrays.get(f"{name}{key}") for key in keys}
        if any(found is not None for found in wanted.values()):
            missing = [f"{name}{k}" for k, a in wanted.items() if a is None or a.ndim == 0 or len(a) != len(columns[k])]
            if missing:
                raise BadInput(f"{file} lacks a {name} for each item in {', '.join(missing)}.")
            texts = [
                group_texts(_column(a, f"{name}{k}", file), f"{name}{k}", file)
                for k, a in wanted.items()
                if a is not None
            ]
            groups[name] = np.concatenate(texts)
    part_of = np.concatenate([np.full(len(p), key[1:] or "all", "<U10") for key, p in zip(keys, pieces, strict=True)])
    parts = stated_parts(part_of, y, names, file, validation, test, seed)
    scaling = "8-bit value / 255, so 0 to 1" if arrays[f"x{keys[0]}"].dtype == np.uint8 else "as in the file"
    return assemble(np.concatenate(pieces), y, names, groups, parts, file, scaling, notes)


def _keys(members: Mapping[str, zipfile.ZipInfo], file: Path) -> list[str]:
    """The endings of the arrays' names: nothing, or one for each split that is stated."""
    stated = [part for part in ("train", "validation", "test") if f"x_{part}" in members]
    if "x" in members and "y" in members:
        return [""]
    if "train" in stated and "test" in stated and all(f"y_{part}" in members for part in stated):
        return [f"_{part}" for part in stated]
    held = ", ".join(" ".join(without_commands(name).split()) for name in members)[:160] or "nothing"
    raise BadFile(f"{file} must hold x and y, or x_train, y_train, x_test and y_test; it holds {held}.")


class _Members(dict[str, zipfile.ZipInfo]):
    """The arrays of an archive by name, and the archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        entries = archive.infolist()
        super().__init__({entry.filename.removesuffix(".npy"): entry for entry in entries})
        self.archive = archive


@contextlib.contextmanager
def _archive(file: Path) -> Iterator[_Members]:
    """The members of an ``.npz`` file; what goes wrong inside becomes a sentence."""
    try:
        refuse_pointer(file)
        with zipfile.ZipFile(file) as archive:
            yield _Members(archive)
    except EdgelabError:
        raise
    except FileNotFoundError:
        raise BadFile(f"{file} does not exist.") from None
    except IsADirectoryError:
        raise BadFile(f"{file} is a folder, not an .npz file; name a file in it.") from None
    except zipfile.BadZipFile as error:
        raise BadFile(f"{file} is not an .npz file ({error}); write one with np.savez(path, x=x, y=y).") from error
    except Exception as error:  # a damaged archive raises what it likes: zlib.error, RuntimeError, tokenize.TokenError
        reason = " ".join(without_commands(str(error)).split())[:160] or type(error).__name__
        raise BadFile(
            f"{file} holds an array that cannot be read ({reason}); pickled objects are not loaded."
        ) from error


def _array(members: _Members, name: str, file: Path) -> NDArray[Any]:
    """One array, whose size is known, and in order, before any of it is unpacked.

    The size that the archive states, the size that the array's own header states and the size in memory (as float32)
    are held against each other and against `MOST_BYTES`.
    """
    entry = members[name]
    refuse_bomb(file, [entry], MOST_BYTES)
    with members.archive.open(entry) as stream:
        if stream.read(6) != np.lib.format.MAGIC_PREFIX:
            raise BadFile(f"{file} holds {name}, which is no array; write the file with np.savez(path, x=x, y=y).")
    with members.archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        begins = stream.tell()
    if dtype.hasobject:
        raise BadFile(
            f"{file} holds Python objects in {name}; pickled objects are not loaded, so save plain arrays, text for "
            "example with np.array(labels, dtype=str)."
        )
    count = math.prod(shape)
    stated = count * dtype.itemsize
    if (needed := max(stated, count * 4 if name.startswith("x") else 0)) > MOST_BYTES:
        raise BadFile(f"{file} unpacks to {needed:,} bytes in {name}, more than {MOST_BYTES:,}; use a part of it.")
    if stated != entry.file_size - begins:
        raise BadFile(f"{file} holds an array that cannot be read ({name} states {stated:,} bytes and has others).")
    with members.archive.open(entry) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):  # the checksum stands at the end
            raise BadFile(f"{file} holds an array that cannot be read ({name} is longer than its shape).")
    return array


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
        raise BadInput(
            f"{name} in {file} has the shape {y.shape}; it must be (N,), one label for each item"
            f"{' (one-hot: y.argmax(axis=1))' if y.ndim == 2 else ''}."
        )
    return y


def _family(y: NDArray[Any]) -> str:
    return "text" if y.dtype.kind in "US" else "number"
