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

import numpy as np
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from edgelab.errors import BadInput, EdgelabError
from edgelab.privacy.masks import KEY_BYTES, Words, agree, mask, pair_mask, public_bytes
from edgelab.privacy.shamir import PRIME, SHARE_BYTES, split

STEPS = ("keys", "shares", "masked", "unmask")
ROUND_BYTES = 16
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
        if self.step not in STEPS:
            raise Refused(f"Client {self.sender} sent a message of a step '{self.step}', which does not exist.")
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
        16 bytes that name the round, drawn anew for each: a client must not take part in two rounds of one name, as
        what neighbours signed in the first would hold in the second.
    signing_key
        The key under which it is enrolled.
    enrolled
        The verification key of every client: the public-key infrastructure, which does not come from the server.
    threshold
        How many of its neighbours must work together to undo one of its masks; more than half of them.

    Raises
    ------
    BadInput
        If the name of the round has another length, or the client's number does not fit.
    """

    def __init__(
        self,
        index: int,
        round_id: bytes,
        signing_key: Ed25519PrivateKey,
        enrolled: Mapping[int, Ed25519PublicKey],
        threshold: int,
    ) -> None:
        if len(round_id) != ROUND_BYTES or not 0 <= index < 2**32 - 1:
            raise BadInput(f"Client {index} of a round of {len(round_id)} bytes: 0 or above, and {ROUND_BYTES} bytes.")
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
            If the neighbours are fewer than the threshold, or so many that it is half of them, or a key is not usable,
            not signed by whom it is said to be of, or another one's.
        """
        self._in_turn("shares")
        keys: dict[int, tuple[bytes, bytes]] = {}
        seen = {public_bytes(self._share_key), public_bytes(self._mask_key)}
        for message in neighbours:
            if message.step != "keys" or message.round_id != self._round or len(message.body) != 2 * KEY_BYTES:
                raise Refused(f"Client {self.index} got keys of another round or step.")
            if message.sender not in self._enrolled or message.sender == self.index:
                raise Refused(f"Client {self.index} got keys of client {message.sender}, who is no neighbour of it.")
            if message.sender in keys:
                raise Refused(f"Client {self.index} got keys of client {message.sender} twice.")
            message.verify(self._enrolled[message.sender])
            pair = message.body[:KEY_BYTES], message.body[KEY_BYTES:]
            if pair[0] == pair[1] or seen & set(pair):
                raise Refused(f"A key of client {message.sender} is there twice: each client needs two of its own.")
            keys[message.sender] = pair
            seen |= set(pair)
        if len(keys) < self._threshold:
            raise Refused(
                f"Client {self.index} has {len(keys)} neighbours, fewer than its threshold of {self._threshold}."
            )
        if 2 * self._threshold <= len(keys):
            raise Refused(
                f"A threshold of {self._threshold} is no more than half of the {len(keys)} neighbours of client "
                f"{self.index}: one half could give away its seed, and the other one its key."
            )
        self._keys = keys
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
            The update in fixed point, (words,) uint32.
        sealed
            The shares that neighbours encrypted for this client.

        Raises
        ------
        Refused
            If fewer neighbours than the threshold shared, or shares were changed on the way or are malformed.
        BadInput
            If the update is not in fixed point.
        """
        self._in_turn("masked")
        if words.dtype != np.uint32 or words.ndim != 1:
            raise BadInput(f"An update in fixed point is a row of uint32, not {words.dtype} of shape {words.shape}.")
        if len(sealed) < self._threshold or not set(sealed) <= set(self._keys):
            raise Refused(
                f"Client {self.index} has the shares of {len(sealed)} neighbours and needs {self._threshold}."
            )
        shares: dict[int, tuple[int, int]] = {}
        hidden = words + mask(self._self_seed, len(words))
        for other, box in sealed.items():
            try:
                plain = ChaCha20Poly1305(self._channel(other, self.index)).decrypt(_NONCE, box, None)
            except InvalidTag:
                raise Refused(f"The shares from client {other} to client {self.index} were changed.") from None
            parts = int.from_bytes(plain[:SHARE_BYTES], "big"), int.from_bytes(plain[SHARE_BYTES:], "big")
            if len(plain) != 2 * SHARE_BYTES or max(parts) >= PRIME:
                raise Refused(f"The shares from client {other} to client {self.index} are malformed.")
            shares[other] = parts
            try:
                pad = pair_mask(self._mask_key, self._keys[other][1], self._round, (self.index, other), len(words))
            except BadInput as error:
                raise Refused(f"The keys of client {other} are not usable: {error}") from None
            if self.index < other:
                hidden += pad
            else:
                hidden -= pad
        self._shares = shares
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
        self._in_turn("unmask")
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
        try:
            return agree(self._share_key, self._keys[other][0], purpose)
        except BadInput as error:
            raise Refused(f"The keys of client {other} are not usable: {error}") from None

    def _in_turn(self, step: str) -> None:
        """Refuse a step out of turn before anything that a client remembers is touched."""
        if len(self._done) >= len(STEPS) or STEPS[len(self._done)] != step:
            raise Refused(f"Client {self.index} was asked for '{step}' out of turn; each step is answered once.")

    def _message(self, step: str, body: bytes) -> Message:
        self._in_turn(step)
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
    found = {struct.unpack_from("<I", part)[0]: part[4:] for part in parts}
    if len(found) != len(parts):
        raise BadInput("A message of shares names a client twice.")
    return found


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
    found: dict[int, tuple[bool, int]] = {}
    for start in range(0, len(body), length):
        other, survived = struct.unpack_from("<IB", body, start)
        share = int.from_bytes(body[start + 5 : start + length], "big")
        if other in found or survived > 1 or share >= PRIME:
            raise BadInput("A message of unmasking names a client twice, or holds what is no share.")
        found[other] = bool(survived), share
    return found
