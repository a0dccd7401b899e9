"""What goes over the air: an update as bytes, whole, in int8, or its largest values alone; and back.

A message is a header of nine bytes (kind, items of the client, parameters; little endian) and the values. The bytes of
a simulation are the lengths of such messages.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadFile, BadInput

Floats = NDArray[np.float32]
_HEADER = struct.Struct("<BII")
_BLOCK = 256


class Compression(Protocol):
    """A form of update on the air."""

    def encode(self, update: Floats, items: int) -> bytes:
        """The message that carries an update (parameters,) of a client with so many items."""
        ...

    def length(self, parameters: int) -> int:
        """The bytes of a message."""
        ...

    def lossy(self, updates: Floats) -> Floats:
        """What arrives of updates (K, parameters)."""
        ...

    @property
    def feeds_back(self) -> bool:
        """Whether a client adds what was lost to its next update."""
        ...


@dataclass(frozen=True)
class Float32:
    """Every value as it is: four bytes a parameter."""

    feeds_back: bool = False

    def encode(self, update: Floats, items: int) -> bytes:
        """The message."""
        body: bytes = np.asarray(update, "<f4").tobytes()
        return _HEADER.pack(0, items, len(update)) + body

    def length(self, parameters: int) -> int:
        """The bytes of a message."""
        return _HEADER.size + 4 * parameters

    def lossy(self, updates: Floats) -> Floats:
        """The same."""
        return updates


@dataclass(frozen=True)
class Int8:
    """Each value in a byte, symmetric, with one float32 scale for a block of 256 values.

    ``feeds_back`` keeps the rounding error at the client and adds it to the next update.
    """

    feeds_back: bool = False

    def encode(self, update: Floats, items: int) -> bytes:
        """The message."""
        scales, values = _quantize(np.asarray(update, np.float32)[None])
        body: bytes = scales[0].astype("<f4").tobytes() + values[0, : len(update)].tobytes()
        return _HEADER.pack(1, items, len(update)) + body

    def length(self, parameters: int) -> int:
        """The bytes of a message."""
        return _HEADER.size + parameters + 4 * -(-parameters // _BLOCK)

    def lossy(self, updates: Floats) -> Floats:
        """What arrives: rounded to half a step."""
        scales, values = _quantize(updates)
        return _dequantize(scales, values, updates.shape[1])


@dataclass(frozen=True)
class TopK:
    """The share of the values that are largest in magnitude, each with its place; the rest stay at 0.

    With ``feeds_back`` a client keeps what it did not send and adds it to its next update: S. U. Stich et al.,
    Sparsified SGD with Memory, NeurIPS 2018.

    Raises
    ------
    BadInput
        If ``share`` is not above 0 and at most 1.
    """

    share: float = 0.1
    feeds_back: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise BadInput(f"share={self.share} of the values cannot be sent; it must be above 0 and at most 1.")

    def kept(self, parameters: int) -> int:
        """Values in a message."""
        return min(parameters, max(1, round(self.share * parameters)))

    def encode(self, update: Floats, items: int) -> bytes:
        """The message."""
        places = np.sort(self._largest(np.asarray(update, np.float32)[None])[0])
        body: bytes = places.astype(_place_type(len(update))).tobytes() + np.asarray(update, "<f4")[places].tobytes()
        return _HEADER.pack(2, items, len(update)) + struct.pack("<I", len(places)) + body

    def length(self, parameters: int) -> int:
        """The bytes of a message."""
        return _HEADER.size + 4 + self.kept(parameters) * (4 + _place_type(parameters).itemsize)

    def lossy(self, updates: Floats) -> Floats:
        """What arrives: the largest values, and 0."""
        places = self._largest(updates)
        found = np.zeros_like(updates)
        np.put_along_axis(found, places, np.take_along_axis(updates, places, axis=1), axis=1)
        return found

    def _largest(self, updates: Floats) -> NDArray[np.int64]:
        parameters = updates.shape[1]
        kept = self.kept(parameters)
        places: NDArray[np.int64] = np.argpartition(np.abs(updates), parameters - kept, axis=1)[:, parameters - kept :]
        return places


def decode(message: bytes, parameters: int) -> tuple[Floats, int]:
    """The update (parameters,) and the client's number of items in a message.

    Raises
    ------
    BadFile
        If the message is cut, of an unknown kind, or for another number of parameters: it comes from outside.
    """
    if len(message) < _HEADER.size:
        raise BadFile(f"A message of {len(message)} bytes has no header of {_HEADER.size}.")
    kind, items, count = _HEADER.unpack_from(message)
    if count != parameters:
        raise BadFile(f"The message carries {count} parameters; the network has {parameters}.")
    body = message[_HEADER.size :]
    if kind == 0 and len(body) == 4 * count:
        return np.frombuffer(body, "<f4").astype(np.float32), items
    if kind == 1 and len(message) == Int8().length(count):
        blocks = -(-count // _BLOCK)
        values = np.zeros((1, blocks * _BLOCK), np.int8)
        values[0, :count] = np.frombuffer(body[4 * blocks :], np.int8)
        return _dequantize(np.frombuffer(body[: 4 * blocks], "<f4")[None], values, count)[0], items
    if kind == 2 and len(body) >= 4:
        (kept,) = struct.unpack_from("<I", body)
        place = _place_type(count)
        cut = 4 + kept * place.itemsize
        if len(body) == cut + 4 * kept:
            places = np.frombuffer(body[4:cut], place).astype(np.int64)
            if kept == 0 or (places[-1] < count and (np.diff(places) > 0).all()):
                found = np.zeros(count, np.float32)
                found[places] = np.frombuffer(body[cut:], "<f4")
                return found, items
    raise BadFile(f"The message of kind {kind} and {len(message)} bytes is malformed; its update was not used.")


def _place_type(parameters: int) -> np.dtype[np.unsignedinteger]:
    return np.dtype("<u2" if parameters <= 1 << 16 else "<u4")


def _quantize(updates: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """Scales (K, blocks) and integers (K, blocks * 256)."""
    clients, parameters = updates.shape
    blocks = -(-parameters // _BLOCK)
    padded = np.zeros((clients, blocks * _BLOCK), np.float32)
    padded[:, :parameters] = updates
    padded = padded.reshape(clients, blocks, _BLOCK)
    with np.errstate(invalid="ignore", over="ignore"):
        scales = np.abs(padded).max(axis=2) / np.float32(127)
        steps = np.rint(padded / np.where(scales > 0, scales, 1)[..., None])
        values = np.clip(np.nan_to_num(steps), -127, 127).astype(np.int8)
    return scales, values.reshape(clients, -1)


def _dequantize(scales: Floats, values: NDArray[np.int8], parameters: int) -> Floats:
    blocks = values.reshape(*scales.shape, _BLOCK).astype(np.float32) * scales[..., None].astype(np.float32)
    flat: Floats = blocks.reshape(len(values), -1)[:, :parameters]
    return flat
