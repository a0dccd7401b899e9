"""CIFAR-10: 60,000 colour photographs, 32x32, from its binary version (the other one would have to be unpickled)."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgelab.data.archives import members
from edgelab.data.dataset import Dataset
from edgelab.data.download import RemoteFile, fetch
from edgelab.data.fashion import published_images
from edgelab.data.splitting import stratified_order
from edgelab.errors import BadFile

# MD5 as the authors' page states it.
FILE = RemoteFile(
    "cifar10/cifar-10-binary.tar.gz",
    (
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz",
    ),
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
    170_052_171,
)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_BATCHES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32
_VALIDATION_SHARE = 0.1
_MOST_BYTES = 256 * 1024 * 1024
_MOST_MEMBER_BYTES = 64 * 1024 * 1024


def cifar10(
    seed: int = 0,
    *,
    mirror: str | None = None,
    checksum: str | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Dataset:
    """CIFAR-10: 45,000 training, 5,000 validation and 10,000 test photographs of ten kinds of things.

    The first call downloads 170 MB to the cache folder; later calls need no network. In memory it is 740 MB.

    Parameters
    ----------
    seed
        Which of the published 50,000 training photographs become the validation split.
    mirror, checksum, folder
        See `edgelab.data.download.fetch`.

    Returns
    -------
    Dataset
        x (N, 3, 32, 32), red, green, blue, from 0 to 1. Group: ``brightness`` (dark, medium, bright), thirds of the
        training photographs of the same class by mean value. See ``datasets/cifar10.md``.

    Raises
    ------
    DownloadFailed
        If the file cannot be had.
    BadFile
        If it is not what its name says.

    Notes
    -----
    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """
    path = fetch(FILE, mirror, checksum, folder)
    images, labels = {}, {}
    batches = read_batches(path)
    for part, names in _BATCHES.items():
        records = np.concatenate([batches[name] for name in names])
        labels[part] = records[:, 0].astype(np.int64)
        images[part] = records[:, 1:].reshape(-1, *_SHAPE)
    order = stratified_order(labels["train"], np.random.default_rng(seed))
    cut = round(_VALIDATION_SHARE * len(order))
    return published_images(
        images,
        labels,
        validation=order[:cut],
        train=order[cut:],
        name="cifar10",
        class_names=CLASSES,
        source="A. Krizhevsky, V. Nair and G. Hinton, University of Toronto",
        licence="not stated by its authors; see the card",
        card="datasets/cifar10.md",
    )


def read_batches(path: Path) -> dict[str, NDArray[np.uint8]]:
    """The records of each batch file by name: a label and 1,024 red, green and blue values each, (N, 3073).

    Raises
    ------
    BadFile
        If the archive is not CIFAR-10's binary version.
    """
    wanted = {name for names in _BATCHES.values() for name in names}
    batches = {}
    for member, content in members(
        path, lambda name: PurePosixPath(name).name in wanted, _MOST_BYTES, _MOST_MEMBER_BYTES
    ):
        name = PurePosixPath(member).name
        if not content or len(content) % _RECORD_BYTES:
            raise BadFile(f"{path} holds {name} of {len(content):,} bytes, no multiple of {_RECORD_BYTES}; delete it.")
        batches[name] = np.frombuffer(content, np.uint8).reshape(-1, _RECORD_BYTES)
        if batches[name][:, 0].max() >= len(CLASSES):
            raise BadFile(f"{path} holds {name} with the label {batches[name][:, 0].max()}, above 9; delete it.")
    if missing := sorted(wanted - set(batches)):
        raise BadFile(f"{path} lacks {', '.join(missing)}; it must be the binary version of CIFAR-10; delete it.")
    return batches
