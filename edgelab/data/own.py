"""A learner's own images, one folder for each class, as a data set. Nothing is skipped silently."""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.data.assemble import MOST_BYTES, TEST, VALIDATION, assemble, name_classes, stated_parts
from edgelab.data.dataset import Dataset
from edgelab.errors import BadFile, BadInput

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}
_SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
_MOST_PIXELS = 64_000_000

Fit = Literal["crop", "pad", "stretch"]


def from_folder(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] = 32,
    *,
    channels: Literal[1, 3] = 3,
    fit: Fit = "crop",
    validation: float = VALIDATION,
    test: float = TEST,
    seed: int = 0,
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
    group
        The group of a file, from its path: ``lambda file: file.stem.split("_")[0]``. Without it the group is
        ``brightness``, thirds of the training images of the same class.

    Returns
    -------
    Dataset
        x (N, channels, height, width) from 0 to 1.

    Raises
    ------
    BadFile
        If a file is not a readable image of at most 64 million pixels; the message names it. Files whose
        names begin with a dot, ``Thumbs.db`` and ``desktop.ini`` are the system's and not read.
    BadInput
        If there are no classes, a single one, or too few images in one.
    """
    root = Path(path)
    height, width = (size, size) if isinstance(size, int) else size
    if (
        not (1 <= height <= 4096 and 1 <= width <= 4096)
        or channels not in (1, 3)
        or fit not in ("crop", "pad", "stretch")
    ):
        raise BadInput(f"size={size}, channels={channels}, fit={fit!r} cannot be made; see the help of from_folder().")
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
    for row, (_, _, file) in zip(x, tqdm(files, desc=root.name, unit=" images", delay=1), strict=True):
        row[:] = _read_image(file, (width, height), channels, fit)
    groups = {} if group is None else {"group": np.array([str(group(file)) for _, _, file in files])}
    return assemble(x, y, names, groups, parts, root, "8-bit value / 255, so 0 to 1")


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
                    raise BadInput(f"{file} is a folder inside a class; images must lie directly in {child}.")
                found = True
                yield part, child.name, file
    if not found:
        raise BadInput(f"{root} holds no images in class folders; it must look like {root.name}/CLASS/image.png.")


def _visible(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.iterdir()) if not f.name.startswith(".") and f.name.lower() not in _SYSTEM_FILES]


def _read_image(file: Path, size: tuple[int, int], channels: int, fit: Fit) -> NDArray[np.float32]:
    """One image (C, H, W) from 0 to 1."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Any = Image.open(file, formats=_FORMATS)
        with image:
            if image.width * image.height > _MOST_PIXELS:
                raise BadFile(
                    f"{file} has {image.width} x {image.height} pixels, more than {_MOST_PIXELS:,}; shrink it."
                )
            if getattr(image, "n_frames", 1) > 1:
                raise BadFile(f"{file} holds {image.n_frames} pictures; save the one you mean as a PNG.")
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
            elif image.mode in ("I", "F"):
                raise BadFile(f"{file} holds 32-bit values, whose range is not known; save it with 8 or 16 bits.")
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            image = image.convert("RGB" if channels == 3 else "L")
            if fit == "stretch":
                image = image.resize(size, Image.Resampling.BILINEAR)
            else:
                image = (ImageOps.fit if fit == "crop" else ImageOps.pad)(image, size, Image.Resampling.BILINEAR)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadFile(f"{file} unpacks to far more pixels than an image of a data set has; remove it.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, zlib.error, MemoryError) as error:
        raise BadFile(f"{file} is not a readable image ({error}); repair it or move it away.") from error
    pixels = np.asarray(image, np.float32).reshape(size[1], size[0], channels) / np.float32(255)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
