"""A client of secure aggregation: what it tells, to whom, and what it refuses.

See `edgelab.privacy.secure_aggregation` for the protocol. A client keeps its state between the four steps, answers
each step once, and never gives away both the share of a client's self mask and the share of its key.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from edgelab.errors import BadInput, EdgelabError
from edgelab.privacy.masks import KEY_BYTES, Words, agree, mask, public_bytes
from edgelab.privacy.shamir import SHARE_BYTES, split

STEPS = ("keys", "shares", "masked", "unmask")
_NONCE = bytes(12)  # each key of two clients in one direction encrypts one message


class Refused(EdgelabError):
    """A step of secure aggregation that would reveal too much, or a message that is not what it claims to be."""


@dataclass(frozen=True)
class Message:
    """What a client sends to the server in one step, signed with the key under which it is enrolled."""

    round_id: bytes
    step: str
    sender: int
    body: bytes
    signature: bytes = b""

    def signed_part(self) -> bytes:
        """What the signature covers: round, step, sender and content, so that none can be used for another."""
        head = struct.pack("<BI", STEPS.index(self.step), self.sender)
        return b"edgelab secure aggregation 1" + self.round_id + head + self.body

    def verify(self, key: Ed25519PublicKey) -> None:
        """Raise `Refused` unless the holder of the key signed this."""
        try:
            key.verify(self.signature, self.signed_part())
        except InvalidSignature:
            raise Refused(f"A message in the name of client {self.sender} was not signed by it.") from None


class SecureClient:
    """One client in one round.

    Parameters
    ----------
    index
        Its number, 0 or above.
    round_id
        16 bytes that name the round.
    signing_key
        The key under which it is enrolled.
    enrolled
        The verification key of every client: the public-key infrastructure, which does not come from the server.
    threshold
        How many of its neighbours must work together to undo one of its masks.
    """

    def __init__(
        self,
        index: int,
        round_id: bytes,
        signing_key: Ed25519PrivateKey,
        enrolled: Mapping[int, Ed25519PublicKey],
        threshold: int,
    ) -> None:
        self.index, self._round, self._signing, self._enrolled = index, round_id, signing_key, enrolled
        self._threshold = threshold
        self._share_key = X25519PrivateKey.generate()
        self._mask_key = X25519PrivateKey.generate()
        self._self_seed = secrets.token_bytes(KEY_BYTES)
        self._keys: dict[int, tuple[bytes, bytes]] = {}
        self._shares: dict[int, tuple[int, int]] = {}
        self._done: list[str] = []

    def keys(self) -> Message:
        """Step 1: two public keys, one to encrypt shares for it, one to make masks with it."""
        return self._message("keys", public_bytes(self._share_key) + public_bytes(self._mask_key))

    def shares(self, neighbours: Sequence[Message]) -> Message:
        """Step 2: shares of the mask key and of the self mask's seed, each encrypted for one neighbour.

        Raises
        ------
        Refused
            If the neighbours are fewer than the threshold, or a key is not signed by whom it is said to be of.
        """
        for message in neighbours:
            if message.step != "keys" or message.round_id != self._round or len(message.body) != 2 * KEY_BYTES:
                raise Refused(f"Client {self.index} got keys of another round or step.")
            if message.sender not in self._enrolled or message.sender == self.index:
                raise Refused(f"Client {self.index} got keys of client {message.sender}, who is no neighbour of it.")
            message.verify(self._enrolled[message.sender])
            self._keys[message.sender] = message.body[:KEY_BYTES], message.body[KEY_BYTES:]
        if len(self._keys) < self._threshold or len(self._keys) != len(neighbours):
            raise Refused(
                f"Client {self.index} has {len(self._keys)} neighbours, fewer than its threshold of {self._threshold}."
            )
        points = [other + 1 for other in self._keys]
        secret = int.from_bytes(self._mask_key.private_bytes_raw(), "big")
        of_key = split(secret, self._threshold, points)
        of_seed = split(int.from_bytes(self._self_seed, "big"), self._threshold, points)
        body = b""
        for other in self._keys:
            plain = b"".join(value.to_bytes(SHARE_BYTES, "big") for value in (of_key[other + 1], of_seed[other + 1]))
            sealed = ChaCha20Poly1305(self._channel(self.index, other)).encrypt(_NONCE, plain, None)
            body += struct.pack("<I", other) + sealed
        return self._message("shares", body)

    def masked(self, words: Words, sealed: Mapping[int, bytes]) -> Message:
        """Step 3: the update plus its self mask, plus or minus one mask for each neighbour that shared.

        Parameters
        ----------
        words
            The update in fixed point.
        sealed
            The shares that neighbours encrypted for this client.

        Raises
        ------
        Refused
            If fewer neighbours than the threshold shared, or shares were changed on the way.
        """
        if len(sealed) < self._threshold or not set(sealed) <= set(self._keys):
            raise Refused(
                f"Client {self.index} has the shares of {len(sealed)} neighbours and needs {self._threshold}."
            )
        hidden = words + mask(self._self_seed, len(words))
        for other, box in sealed.items():
            try:
                plain = ChaCha20Poly1305(self._channel(other, self.index)).decrypt(_NONCE, box, None)
            except InvalidTag:
                raise Refused(f"The shares from client {other} to client {self.index} were changed.") from None
            self._shares[other] = (
                int.from_bytes(plain[:SHARE_BYTES], "big"),
                int.from_bytes(plain[SHARE_BYTES:], "big"),
            )
            pad = mask(agree(self._mask_key, self._keys[other][1], b"mask" + self._round), len(words))
            if self.index < other:
                hidden += pad
            else:
                hidden -= pad
        commitment = hashlib.sha256(self._self_seed).digest()  # by which the server knows a false share
        return self._message("masked", commitment + hidden.astype("<u4").tobytes())

    def unmask(self, survivors: Collection[int], dropped: Collection[int]) -> Message:
        """Step 4: the share of the seed of each neighbour that survived, and of the key of each that dropped out.

        Raises
        ------
        Refused
            If a client is said to be both, fewer neighbours than the threshold survived, or this was asked before:
            with both shares of one client, its update could be laid open.
        """
        alive, gone = set(survivors), set(dropped)
        if alive & gone:
            raise Refused(f"Client {min(alive & gone)} cannot have survived and dropped out; no share was given.")
        if not alive | gone <= set(self._shares):
            raise Refused(f"Client {self.index} was asked for shares that it does not hold.")
        if len(alive) < self._threshold:
            raise Refused(
                f"{len(alive)} neighbours of client {self.index} survived, fewer than its threshold of "
                f"{self._threshold}; no share was given."
            )
        body = b""
        for other in sorted(alive | gone):
            value = self._shares[other][1 if other in alive else 0]
            body += struct.pack("<IB", other, other in alive) + value.to_bytes(SHARE_BYTES, "big")
        return self._message("unmask", body)

    def _channel(self, sender: int, receiver: int) -> bytes:
        other = receiver if sender == self.index else sender
        purpose = b"shares" + self._round + struct.pack("<II", sender, receiver)
        return agree(self._share_key, self._keys[other][0], purpose)

    def _message(self, step: str, body: bytes) -> Message:
        if len(self._done) >= len(STEPS) or STEPS[len(self._done)] != step:
            raise Refused(f"Client {self.index} was asked for '{step}' out of turn; each step is answered once.")
        self._done.append(step)
        message = Message(self._round, step, self.index, body)
        return Message(self._round, step, self.index, body, self._signing.sign(message.signed_part()))


def parse_sealed(body: bytes) -> dict[int, bytes]:
    """``{receiver: sealed shares}`` of a message of step 2.

    Raises
    ------
    BadInput
        If it is malformed.
    """
    length = 4 + 2 * SHARE_BYTES + 16
    if len(body) % length:
        raise BadInput(f"A message of shares of {len(body)} bytes is malformed.")
    parts = [body[start : start + length] for start in range(0, len(body), length)]
    return {struct.unpack_from("<I", part)[0]: part[4:] for part in parts}


def parse_unmask(body: bytes) -> dict[int, tuple[bool, int]]:
    """``{client: (of the self mask, share)}`` of a message of step 4.

    Raises
    ------
    BadInput
        If it is malformed.
    """
    length = 5 + SHARE_BYTES
    if len(body) % length:
        raise BadInput(f"A message of unmasking of {len(body)} bytes is malformed.")
    found = {}
    for start in range(0, len(body), length):
        other, survived = struct.unpack_from("<IB", body, start)
        found[other] = bool(survived), int.from_bytes(body[start + 5 : start + length], "big")
    return found
