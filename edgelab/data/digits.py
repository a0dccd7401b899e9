"""Handwritten digits: 1,797 real 8x8 images that scikit-learn ships, so nothing is downloaded.

The images carry no record of how they were written, so the groups are measured on the image itself: how
thick the stroke is and which way the digit leans, each against other training images of the same digit.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelab.data.dataset import Dataset, Split
from edgelab.data.splitting import stratified_order, thirds

_VALIDATION, _TEST = 180, 360
_LEVELS = 16
"""The published images hold 0 to 16: how many of the 4x4 binary pixels of a cell are set."""

_THIRDS: Mapping[str, tuple[str, str, str]] = {
    "stroke": ("thin", "medium", "thick"),
    "slant": ("left", "upright", "right"),
}


def digits(seed: int = 0) -> Dataset:
    """The handwritten digits of scikit-learn in fixed stratified splits: 1,257 training, 180 validation, 360 test.

    Parameters
    ----------
    seed
        Which items go to which split. The labs use 0.

    Returns
    -------
    Dataset
        x (N, 1, 8, 8) from 0 to 1. Groups: ``stroke`` (thin, medium, thick) and ``slant`` (left, upright,
        right), thirds of the training images of the same digit; see ``datasets/digits.md``.

    Notes
    -----
    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository
    (1998), doi:10.24432/C50P49; scikit-learn holds its test part.

    Examples
    --------
    >>> data = digits()
    >>> data.input_shape, [len(split) for split in data.splits.values()]
    ((1, 8, 8), [1257, 180, 360])
    """
    images, y = _published()
    images = images / np.float32(_LEVELS)
    order = stratified_order(y, np.random.default_rng(seed))
    parts = dict(zip(("test", "validation", "train"), np.split(order, [_TEST, _TEST + _VALIDATION]), strict=True))
    measures = {"stroke": ink(images), "slant": slant(images)}
    groups = {name: thirds(value, y, parts["train"], _THIRDS[name]) for name, value in measures.items()}
    splits = {
        part: Split(images[index, None], y[index], {name: labels[index] for name, labels in groups.items()})
        for part, index in parts.items()
    }
    return Dataset(
        name="digits",
        **splits,
        notes=(),
        class_names=tuple(str(digit) for digit in range(10)),
        source="E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, as scikit-learn ships it",
        licence="CC BY 4.0",
        card="datasets/digits.md",
        scaling="count of set pixels / 16, so 0 to 1",
    )


def ink(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean of each image (N, H, W): for one and the same digit a measure of how thick the stroke is."""
    mean: NDArray[np.float64] = images.mean(axis=(1, 2), dtype=np.float64)
    return mean


def slant(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far the ink of each image (N, H, W) moves to the right per pixel upwards: a leaning 1 is positive.

    It is the slope of the regression of column on height, from the image's second moments.

    Examples
    --------
    >>> stroke = np.eye(8, dtype=np.float32)[None, ::-1]
    >>> round(float(slant(stroke)[0]), 3)
    1.0
    """
    height, width = images.shape[1:]
    weight = images / np.maximum(images.sum(axis=(1, 2), keepdims=True), 1e-9)
    up, right = np.meshgrid(-np.arange(height), np.arange(width), indexing="ij")
    up_centred = up - (weight * up).sum(axis=(1, 2), keepdims=True)
    right_centred = right - (weight * right).sum(axis=(1, 2), keepdims=True)
    covariance = (weight * up_centred * right_centred).sum(axis=(1, 2))
    variance = (weight * up_centred**2).sum(axis=(1, 2))
    slope: NDArray[np.float64] = covariance / np.maximum(variance, 1e-9)
    return slope


def _published() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The images (N, 8, 8) from 0 to 16 and their classes, from scikit-learn's file.

    The package itself, a second to import, is only asked where the file does not lie where it always lay.
    """
    package = importlib.util.find_spec("sklearn")
    for place in (package and package.submodule_search_locations) or ():
        file = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            table = np.loadtxt(io.BytesIO(gzip.decompress(file.read_bytes())), np.float32, delimiter=",")
            return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return np.asarray(bundle.images, np.float32), np.asarray(bundle.target, np.int64)
