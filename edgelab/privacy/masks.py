"""What hides an update: numbers in fixed point, keys that two clients share, and masks drawn from them.

Sums are those of the integers modulo 2**32, where they are exact, and where a mask that is uniform hides a number
perfectly. A mask is a key stream of ChaCha20 under a key of 256 bits. Never draw one from a Mersenne Twister, whose
state 624 words give away, nor from a seed of 32 bits, which a laptop tries out in minutes.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from edgelab.errors import BadInput

Words = NDArray[np.uint32]
Floats = NDArray[np.float32]
KEY_BYTES = 32
_SLACK = 1 + 1e-6  # how far beyond the limit a number may be, for rounding before it
_NO_NONCE = bytes(16)  # each key makes one stream in its life, so counter and nonce may start at 0


class FixedPoint:
    """Numbers between ``-limit`` and ``limit`` as integers modulo 2**32, so that ``addends`` of them never overflow.

    Parameters
    ----------
    limit
        The largest magnitude of a number.
    addends
        How many numbers a sum may have.

    Raises
    ------
    BadInput
        If a value is out of range.

    Notes
    -----
    The largest sum is that of ``addends`` numbers of ``limit * (1 + 1e-6)``, each rounded up by half a step: it stays
    within 2**31 - 1. Double the clients, and a step is twice as long.

    Examples
    --------
    >>> form = FixedPoint(limit=1.0, addends=10)
    >>> words = form.encode(np.array([0.25, -1.0], "float32"))
    >>> form.decode(words + words, 2).round(6).tolist()
    [0.5, -2.0]
    """

    def __init__(self, limit: float, addends: int) -> None:
        if not 1e-30 <= limit <= 1e30 or not 1 <= addends <= 2**20:
            raise BadInput(
                f"limit={limit}, addends={addends}: a limit of 1e-30 to 1e30 and 1 to 2**20 addends are wanted."
            )
        self.limit, self.addends = float(limit), addends
        room = (2**31 - 1) / addends - 0.5  # steps of one addend, less what rounding may add
        self.scale = 2.0 ** (math.frexp(room / (limit * _SLACK))[1] - 1)
        """Steps of one; a power of two, so that scaling is exact."""

    def encode(self, values: Floats) -> Words:
        """Rounded to the nearest step, as words of the ring.

        Raises
        ------
        BadInput
            If a value is NaN or beyond the limit: nobody can see it after masking, so it must not get that far.
        """
        exact = np.asarray(values, np.float64)
        if not np.isfinite(exact).all():
            raise BadInput("The update holds a NaN or an infinite value, which no sum can carry; it was not sent.")
        largest = float(np.abs(exact).max(initial=0))
        if largest > self.limit * _SLACK:
            raise BadInput(f"The update holds {largest:.3g}, beyond the limit of {self.limit:g}; it was not sent.")
        return np.rint(exact * self.scale).astype(np.int64).astype(np.uint32)

    def integers(self, total: Words, addends: int) -> NDArray[np.int64]:
        """The signed integers in a sum of so many encoded vectors.

        Raises
        ------
        BadInput
            If there are more addends than there is room for, or a value is larger than so many addends within the
            limit can give: one of them was not within it.
        """
        if total.dtype != np.uint32 or not 1 <= addends <= self.addends:
            raise BadInput(f"A sum of {addends} addends in {total.dtype}: 1 to {self.addends} in uint32 can be read.")
        signed = total.astype(np.int32).astype(np.int64)
        most = math.ceil(addends * (self.limit * _SLACK * self.scale + 0.5))
        if len(signed) and np.abs(signed).max() > most:
            raise BadInput(
                f"The sum holds {np.abs(signed).max() / self.scale:.3g}, which {addends} updates within "
                f"{self.limit:g} cannot give; at least one of them was outside, and the sum does not say which."
            )
        return signed

    def decode(self, total: Words, addends: int) -> NDArray[np.float64]:
        """The numbers in a sum of so many encoded vectors; see `integers`."""
        return self.integers(total, addends) / self.scale


def public_bytes(key: X25519PrivateKey) -> bytes:
    """The public half of a key, 32 bytes."""
    return key.public_key().public_bytes_raw()


def agree(own: X25519PrivateKey, theirs: bytes, purpose: bytes) -> bytes:
    """A key of 32 bytes that only the two owners can make: X25519, then HKDF with SHA-256.

    Raises
    ------
    BadInput
        If the other's key is not usable.

    Notes
    -----
    RFC 7748 (X25519) and RFC 5869 (HKDF).

    Examples
    --------
    >>> one, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    >>> agree(one, public_bytes(other), b"masks") == agree(other, public_bytes(one), b"masks")
    True
    """
    try:
        secret = own.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError as error:
        raise BadInput("A public key of X25519 has 32 bytes and is not one of the few that give no secret.") from error
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(secret)


def mask(key: bytes, words: int) -> Words:
    """The mask (words,) of a key of 32 bytes: a key stream of ChaCha20.

    Raises
    ------
    BadInput
        If the key is of another length; there is no way to make a mask of a short seed.

    Notes
    -----
    RFC 8439 (ChaCha20). A key makes one mask only; the masks of another round need another key.

    Examples
    --------
    >>> mask(bytes(32), 2).tolist()  # test vector A.1 number 1 of RFC 8439: 76 b8 e0 ad a0 f1 3d 90
    [2917185654, 2419978656]
    """
    if len(key) != KEY_BYTES:
        raise BadInput(f"A mask needs a key of {KEY_BYTES} bytes, not {len(key)}: fewer can be tried out.")
    stream = Cipher(algorithms.ChaCha20(key, _NO_NONCE), mode=None).encryptor().update(bytes(4 * words))
    return np.frombuffer(stream, "<u4").astype(np.uint32, copy=False)


def pair_mask(own: X25519PrivateKey, theirs: bytes, round_id: bytes, pair: tuple[int, int], words: int) -> Words:
    """The mask (words,) of two clients in a round, the same for both.

    Its key is bound to the round **and to who the two are**. Without their numbers, a client that copies another's
    public key would have the same mask with a third one; added here and subtracted there, the two would cancel, and
    an honest mask would be gone.

    Raises
    ------
    BadInput
        If the other's key is not usable.
    """
    low, high = sorted(pair)
    return mask(agree(own, theirs, b"mask" + round_id + struct.pack("<II", low, high)), words)
