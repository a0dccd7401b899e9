"""Fashion-MNIST: 70,000 pictures of clothes, 28x28, in the IDX format of MNIST; downloaded when asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.data.archives import gunzip
from edgelab.data.dataset import Dataset, Split
from edgelab.data.download import RemoteFile, fetch
from edgelab.data.splitting import stratified_order, thirds
from edgelab.errors import BadFile

_BASES = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
)


def _file(name: str, md5: str, size_bytes: int) -> RemoteFile:
    return RemoteFile(f"fashion_mnist/{name}", tuple(f"{base}/{name}" for base in _BASES), f"md5:{md5}", size_bytes)


# MD5 as the README of zalandoresearch/fashion-mnist states them.
FILES = {
    "train images": _file("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
    "train labels": _file("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
    "test images": _file("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
    "test labels": _file("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5_148),
}
CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_VALIDATION_SHARE = 1 / 12
_MOST_BYTES = 64 * 1024 * 1024
_BRIGHTNESS = ("dark", "medium", "bright")


def fashion_mnist(
    seed: int = 0,
    *,
    mirror: str | None = None,
    checksums: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Fashion-MNIST: 55,000 training, 5,000 validation and 10,000 test pictures of ten kinds of clothes.

    The first call downloads 31 MB to the cache folder; later calls need no network.

    Parameters
    ----------
    seed
        Which of the published 60,000 training pictures become the validation split.
    mirror, folder
        See `edgelab.data.download.fetch`.
    checksums
        File name to checksum, in place of the published ones.

    Returns
    -------
    Dataset
        x (N, 1, 28, 28) from 0 to 1. Group: ``brightness`` (dark, medium, bright), thirds of the training pictures
        of the same class by mean value. See ``datasets/fashion_mnist.md``.

    Raises
    ------
    DownloadFailed
        If a file cannot be had.
    BadFile
        If a file is not what its name says.

    Notes
    -----
    H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, arXiv:1708.07747 (2017). The IDX format is described at
    the MNIST database of Y. LeCun, C. Cortes and C. Burges.
    """
    stated = dict(checksums or {})
    paths = {key: fetch(file, mirror, stated.get(file.name), folder) for key, file in FILES.items()}
    arrays = {key: read_idx(path, 3 if "images" in key else 1) for key, path in paths.items()}
    for part in ("train", "test"):
        pictures, marks = arrays[f"{part} images"], arrays[f"{part} labels"]
        if len(pictures) != len(marks) or not len(marks) or marks.max() >= len(CLASSES):
            raise BadFile(
                f"{paths[f'{part} labels']} does not fit {paths[f'{part} images'].name}: {len(marks)} labels for "
                f"{len(pictures)} pictures, or labels above 9; delete both."
            )
    labels = arrays["train labels"].astype(np.int64)
    order = stratified_order(labels, np.random.default_rng(seed))
    cut = round(_VALIDATION_SHARE * len(order))
    return published_images(
        {"train": arrays["train images"][:, None], "test": arrays["test images"][:, None]},
        {"train": labels, "test": arrays["test labels"].astype(np.int64)},
        validation=order[:cut],
        train=order[cut:],
        name="fashion_mnist",
        class_names=CLASSES,
        source="Zalando Research, H. Xiao, K. Rasul and R. Vollgraf, arXiv:1708.07747",
        licence="MIT",
        card="datasets/fashion_mnist.md",
    )


def published_images(
    images: Mapping[str, NDArray[np.uint8]],
    labels: Mapping[str, NDArray[np.int64]],
    *,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    **texts: Any,
) -> Dataset:
    """A data set of 8-bit images whose ``"train"`` and ``"test"`` parts are published, with brightness groups.

    Parameters
    ----------
    images, labels
        By part: uint8 (N, C, H, W) and int64 (N,).
    train, validation
        Positions in the published training part.
    texts
        The texts of `Dataset`.
    """
    brightness = {part: x.mean(axis=(1, 2, 3), dtype=np.float64) for part, x in images.items()}
    # One call for both parts, so that the test items are held against the training items' limits.
    values = np.concatenate([brightness["train"], brightness["test"]])
    groups = thirds(values, np.concatenate([labels["train"], labels["test"]]), train, _BRIGHTNESS)
    parts = {"train": ("train", train), "validation": ("train", validation)}
    parts["test"] = ("test", np.arange(len(labels["test"])))
    splits: dict[str, Any] = {}
    for name, (part, index) in parts.items():
        x = np.divide(images[part][index], np.float32(255), dtype=np.float32)
        offset = 0 if part == "train" else len(labels["train"])
        splits[name] = Split(x, labels[part][index], {"brightness": groups[index + offset]})
    return Dataset(**texts, **splits, scaling="8-bit value / 255, so 0 to 1")


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of a gzipped IDX file of unsigned bytes.

    The format: two zero bytes, 0x08 for unsigned bytes, the number of dimensions, each dimension as a big-endian
    32-bit integer, then the values.

    Raises
    ------
    BadFile
        If the file is cut off, is not IDX, or its header does not fit its length.
    """
    content = gunzip(path, _MOST_BYTES)
    if content[:4] != bytes((0, 0, 8, dimensions)):
        raise BadFile(f"{path} is not an IDX file of {dimensions}-dimensional bytes; delete it and download it again.")
    shape = np.frombuffer(content, ">u4", count=min(dimensions, (len(content) - 4) // 4), offset=4)
    start = 4 + 4 * dimensions
    if len(shape) < dimensions or len(content) - start != np.prod(shape, dtype=object):
        raise BadFile(f"{path} states the shape {shape.tolist()} and holds {max(0, len(content) - start)} values.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape.astype(np.int64))
