"""A learner's own images, one folder for each class, as a data set. Nothing is skipped silently."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.data.assemble import MOST_BYTES, TEST, VALIDATION, assemble, name_classes, stated_parts
from edgelab.data.dataset import Dataset
from edgelab.data.pictures import DEPTHS, Fit, levels_of, read_picture
from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded

_SUFFIXES = {".png", ".jpg", ".jpeg", ".mpo", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm", ".pbm"}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}
_SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}


def from_folder(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] = 32,
    *,
    channels: Literal[1, 3] = 3,
    fit: Fit = "crop",
    validation: float = VALIDATION,
    test: float = TEST,
    seed: int = 0,
    bits: int | None = None,
    group: Callable[[Path], str] | None = None,
) -> Dataset:
    """Images in one folder per class.

    Parameters
    ----------
    path
        A folder that holds ``CLASS/image`` or ``train/CLASS/image``, ``test/CLASS/image`` and perhaps
        ``validation/CLASS/image`` (also ``val``, ``valid``); without one, validation is taken out of train.
    size
        Height and width that every image is brought to, in pixels.
    channels
        3 for red, green, blue; 1 for grey. What is transparent is laid on white.
    fit
        ``"crop"`` cuts the middle out, ``"pad"`` adds black borders, ``"stretch"`` changes the proportions.
    validation, test
        Shares of the items where the folder does not state the splits; stratified by class.
    seed
        Which items go where.
    bits
        Significant bits of images that have more than 8: 10, 12, 14, 16. Without it the fewest that hold the largest
        value of all of them, and a note says which: a file of 16 bits often holds the 12 of a sensor.
    group
        The group of a file, from its path: ``lambda file: file.stem.split("_")[0]``. Without it the group is
        ``brightness``, thirds of the training images of the same class.

    Returns
    -------
    Dataset
        x (N, channels, height, width) from 0 to 1. An image is turned as its EXIF data say; of a camera's file with
        previews the picture itself is taken; what was passed over stands in the notes.

    Raises
    ------
    BadFile
        If a file is not a readable image of at most 64 million pixels; the message names it. Files whose
        names begin with a dot, ``Thumbs.db`` and ``desktop.ini`` are the system's and not read.
    BadInput
        If there are no classes, a single one, or too few images in one.
    """
    root = expanded(path)
    height, width = (size, size) if isinstance(size, int) else size
    if (
        not (1 <= height <= 4096 and 1 <= width <= 4096)
        or channels not in (1, 3)
        or fit not in ("crop", "pad", "stretch")
    ):
        raise BadInput(f"size={size}, channels={channels}, fit={fit!r} cannot be made; see the help of from_folder().")
    if bits is not None and bits not in DEPTHS:
        raise BadInput(f"bits={bits} is not one of {', '.join(map(str, DEPTHS))}.")
    if not root.is_dir():
        raise BadInput(f"{root} is not a folder; name one that holds a folder of images for each class.")
    files = list(_image_files(root))
    names, y = name_classes([label for _, label, _ in files])
    needed = len(files) * channels * height * width * 4
    if needed > MOST_BYTES:
        raise BadInput(
            f"{len(files):,} images of size {size} take {needed / 2**30:.1f} GB of memory; choose a smaller size."
        )
    stated = np.array([part for part, _, _ in files])
    parts = stated_parts(stated, y, names, root, validation, test, seed)

    from tqdm.auto import tqdm

    x = np.empty((len(files), channels, height, width), np.float32)
    deep: dict[int, int] = {}  # of which images the values are the file's own numbers, and the largest of each
    remarks: dict[str, list[Path]] = {}
    for i, (_, _, file) in enumerate(tqdm(files, desc=root.name, unit=" images", delay=1)):
        picture = read_picture(file, (width, height), channels, fit)
        x[i] = picture.values
        if picture.highest is not None:
            deep[i] = picture.highest
        for remark in picture.remarks:
            remarks.setdefault(remark, []).append(file)
    scaling, notes = _scale_deep(x, deep, [file for _, _, file in files], bits)
    notes += [f"{_counted(which)} {remark}." for remark, which in remarks.items()]
    groups = {} if group is None else {"group": np.array([str(group(file)) for _, _, file in files])}
    return assemble(x, y, names, groups, parts, root, scaling, notes)


def _scale_deep(
    x: NDArray[np.float32], deep: Mapping[int, int], files: Sequence[Path], bits: int | None
) -> tuple[str, list[str]]:
    """Scale the images of more than 8 bits in place, all by one range; what the scaling is, and what is to be said."""
    eight = "8-bit value / 255, so 0 to 1"
    if not deep:
        return eight, []
    brightest = max(deep, key=deep.__getitem__)
    depth = levels_of(deep[brightest], bits)
    if deep[brightest] >= 2**depth:
        raise BadInput(f"{files[brightest]} holds the value {deep[brightest]:,}, too large for bits={bits}.")
    full = 2**depth - 1
    for i in deep:
        x[i] /= np.float32(full)
    np.clip(x, 0, 1, out=x)
    scaling = f"{depth}-bit value / {full}, so 0 to 1" + ("" if len(deep) == len(files) else f"; others: {eight}")
    if bits is not None or depth == 16:
        return scaling, []
    which = _counted([files[i] for i in deep])
    taken = f"so they were taken as {depth}-bit (value / {full}); bits= says otherwise"
    return scaling, [f"{which} go up to {deep[brightest]:,} in 16 bits, {taken}."]


def _counted(files: Sequence[Path]) -> str:
    return f"{len(files):,} of the images ({files[0].name}{', ...' if len(files) > 1 else ''})"


def _image_files(root: Path) -> Iterator[tuple[str, str, Path]]:
    """(split or "all", class, file) of every image, sorted."""
    folders = [child for child in sorted(root.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    by_split = {_SPLIT_FOLDERS[f.name.lower()]: f for f in folders if f.name.lower() in _SPLIT_FOLDERS}
    if {"train", "test"} <= set(by_split):
        if strays := [f.name for f in folders if f not in by_split.values()]:
            raise BadInput(f"{root} holds {', '.join(strays)} beside its split folders; move it away.")
        sources = [(str(part), by_split[part]) for part in ("train", "validation", "test") if part in by_split]
    else:
        sources = [("all", root)]
    found = False
    for part, folder in sources:
        for child in _visible(folder):
            if child.is_file() and child.suffix.lower() in _SUFFIXES:
                raise BadInput(f"{child} lies beside the class folders and belongs to no class; move it into one.")
            if not child.is_dir():
                continue
            for file in _visible(child):
                if not file.is_file():
                    raise _no_file(file)
                found = True
                yield part, child.name, file
    if not found:
        raise BadInput(f"{root} holds no images in class folders; it must look like {root.name}/CLASS/image.png.")


def _no_file(file: Path) -> BadFile | BadInput:
    if file.is_dir():
        return BadInput(f"{file} is a folder inside a class; images must lie directly in {file.parent}.")
    kind = "a link to a file that is not there" if file.is_symlink() else "no regular file"
    return BadFile(f"{file} is {kind}; move it away.")


def _visible(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.iterdir()) if not f.name.startswith(".") and f.name.lower() not in _SYSTEM_FILES]
