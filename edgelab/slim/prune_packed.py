"""What zeros are worth in bytes: two packings that really pack, and gzip.

``bitmask``: one bit a weight says whether it is there, then the values that are. ``relative index``: each value with
its distance from the one before in a few bits, and a zero as a filler where the distance does not fit (Han et al.,
*Deep Compression*, 2016). A file format knows neither: ONNX and TFLite store every zero as four bytes, and a
general-purpose packer such as gzip finds them again.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgelab.errors import BadInput
from edgelab.files import expanded

Form = Literal["dense", "bitmask", "relative"]


def bitmask_bytes(weights: int, nonzero: int, value_bytes: float = 4) -> int:
    """Bytes of a bit for each weight and ``value_bytes`` for each that is not zero.

    Examples
    --------
    >>> bitmask_bytes(1000, 100), bitmask_bytes(1000, 1000)
    (525, 4125)
    """
    return -(-weights // 8) + int(np.ceil(nonzero * value_bytes))


def relative_bytes(weight: ArrayLike, index_bits: int = 4, value_bytes: float = 4) -> int:
    """Bytes of the relative index: each value, and each filler, takes ``index_bits`` and ``value_bytes``."""
    entries = len(_relative(np.asarray(weight).ravel(), index_bits)[0])
    return -(-entries * index_bits // 8) + int(np.ceil(entries * value_bytes))


def pack_bitmask(weight: ArrayLike) -> bytes:
    """The packed float32 values of an array; `unpack_bitmask` gives them back.

    Examples
    --------
    >>> len(pack_bitmask([0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.5]))
    10
    """
    values = np.asarray(weight, dtype=np.float32).ravel()
    there = values != 0
    packed: bytes = np.packbits(there).tobytes() + values[there].tobytes()
    return packed


def unpack_bitmask(packed: bytes, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The array of `pack_bitmask`."""
    size = int(np.prod(shape))
    head = -(-size // 8)
    there = np.unpackbits(np.frombuffer(packed[:head], np.uint8))[:size].astype(bool)
    values = np.zeros(size, dtype=np.float32)
    values[there] = np.frombuffer(packed[head:], np.float32)
    return values.reshape(shape)


def pack_relative(weight: ArrayLike, index_bits: int = 4) -> bytes:
    """The packed float32 values of an array by distances of ``index_bits``; `unpack_relative` gives them back."""
    gaps, values = _relative(np.asarray(weight, dtype=np.float32).ravel(), index_bits)
    bits = (gaps[:, None] >> np.arange(index_bits - 1, -1, -1)) & 1
    packed: bytes = np.packbits(bits.astype(np.uint8)).tobytes() + values.astype(np.float32).tobytes()
    return packed


def unpack_relative(packed: bytes, shape: tuple[int, ...], index_bits: int = 4) -> NDArray[np.float32]:
    """The array of `pack_relative`."""
    size = int(np.prod(shape))
    entries = 8 * len(packed) // (index_bits + 32)
    head = -(-entries * index_bits // 8)
    bits = np.unpackbits(np.frombuffer(packed[:head], np.uint8))[: entries * index_bits].reshape(entries, index_bits)
    gaps = bits @ (1 << np.arange(index_bits - 1, -1, -1))
    values = np.zeros(size, dtype=np.float32)
    values[np.cumsum(gaps + 1) - 1] = np.frombuffer(packed[head:], np.float32)
    return values.reshape(shape)


def _relative(values: NDArray[Any], index_bits: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Zeros before each entry, and the entries: the values that are not zero, and fillers where a gap is too long."""
    if not 1 <= index_bits <= 16:
        raise BadInput(f"index_bits={index_bits} is not 1 to 16.")
    longest = 2**index_bits - 1
    places = np.flatnonzero(values)
    gaps = np.diff(places, prepend=-1) - 1
    fillers = gaps // (longest + 1)
    ends = np.cumsum(fillers + 1) - 1
    out_gaps = np.full(int(ends[-1]) + 1 if len(ends) else 0, longest, dtype=np.int64)
    out_values = np.zeros(len(out_gaps), dtype=values.dtype)
    if len(ends):
        out_gaps[ends] = gaps % (longest + 1)
        out_values[ends] = values[places]
    return out_gaps, out_values


@dataclass(frozen=True)
class PackedSizes:
    """Bytes of the same weights: dense float32, bitmask, relative index."""

    weights: int
    nonzero: int
    dense: int
    bitmask: int
    relative: int

    @property
    def best(self) -> Form:
        """The smallest of the three."""
        sizes: dict[Form, int] = {"dense": self.dense, "bitmask": self.bitmask, "relative": self.relative}
        return min(sizes, key=lambda form: sizes[form])

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {**vars(self), "best": self.best}


def packed_sizes(arrays: Mapping[str, ArrayLike], index_bits: int = 4) -> PackedSizes:
    """Bytes of some weights, each packed for itself, in every form; nothing is stored."""
    flat = [np.asarray(array).ravel() for array in arrays.values()]
    count = sum(a.size for a in flat)
    nonzero = sum(int(np.count_nonzero(a)) for a in flat)
    bitmask = sum(bitmask_bytes(a.size, int(np.count_nonzero(a))) for a in flat)
    return PackedSizes(count, nonzero, 4 * count, bitmask, sum(relative_bytes(a, index_bits) for a in flat))


def gzip_bytes(path: str | Path) -> int:
    """Bytes of a file after gzip at its highest level, as a download or an update over the air would send it."""
    try:
        content = expanded(path).read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error}).") from None
    return len(gzip.compress(content, 9, mtime=0))
