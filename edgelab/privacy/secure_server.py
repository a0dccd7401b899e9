"""The server of secure aggregation: it collects four messages of each client, and learns the sum.

See `edgelab.privacy.secure_aggregation` for the protocol.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edgelab.errors import BadInput
from edgelab.privacy.masks import KEY_BYTES, Words, agree, mask, pair_mask, public_bytes
from edgelab.privacy.secure_client import ROUND_BYTES, STEPS, Message, Refused, parse_sealed, parse_unmask
from edgelab.privacy.shamir import join


class SecureServer:
    """The server in one round.

    Parameters
    ----------
    round_id
        16 bytes that name the round.
    enrolled
        The verification key of every client.
    graph
        The neighbours of each client.
    threshold
        How many neighbours it takes to undo a mask.
    fewest
        With fewer survivors there is no sum: the sum of two is no secret between them.
    words
        The length of an update.

    Raises
    ------
    BadInput
        If the name of the round has another length.
    """

    def __init__(
        self,
        round_id: bytes,
        enrolled: Mapping[int, Ed25519PublicKey],
        graph: Mapping[int, tuple[int, ...]],
        threshold: int,
        fewest: int,
        words: int,
    ) -> None:
        if len(round_id) != ROUND_BYTES:
            raise BadInput(f"A round is named by {ROUND_BYTES} bytes, not by {len(round_id)}.")
        self._round, self._enrolled, self._graph = round_id, enrolled, graph
        self._threshold, self._fewest, self._words = threshold, fewest, words
        self._got: dict[str, dict[int, Message]] = {step: {} for step in STEPS}
        self._sealed: dict[int, dict[int, bytes]] = {}
        self._closed = 0
        self._probe = X25519PrivateKey.generate()  # tells usable public keys from others
        self.bytes_up = 0

    def receive(self, message: Message) -> None:
        """Take a client's answer to the step that is open.

        Raises
        ------
        Refused
            If it is of another round or step, of a client that is not enrolled or left before, not signed by it, a
            second one, or malformed.
        """
        step, sender = message.step, message.sender
        if message.round_id != self._round or sender not in self._enrolled or sender not in self._graph:
            raise Refused(f"A message of client {sender} is not of this round.")
        message.verify(self._enrolled[sender])
        if sender in self._got[step]:
            raise Refused(f"Client {sender} answered '{step}' twice; the second answer was not used.")
        if self._closed >= len(STEPS) or step != STEPS[self._closed]:
            raise Refused(f"Client {sender} answered '{step}' when that step was not open.")
        if self._closed and sender not in self._got[STEPS[self._closed - 1]]:
            raise Refused(f"Client {sender} left this round before '{step}'.")
        self._check(message)
        self._got[step][sender] = message
        self.bytes_up += len(message.body) + len(message.signature)

    def close(self) -> None:
        """No more answers to this step: whoever is missing has dropped out."""
        self._closed += 1

    def keys_for(self, client: int) -> list[Message]:
        """The neighbours' keys, each as its owner signed it."""
        return [self._got["keys"][other] for other in self._graph[client] if other in self._got["keys"]]

    def sealed_for(self, client: int) -> dict[int, bytes]:
        """The shares that neighbours encrypted for a client."""
        boxes = {other: self._sealed[other].get(client) for other in self._graph[client] if other in self._sealed}
        return {other: box for other, box in boxes.items() if box is not None}

    def request_for(self, client: int) -> tuple[list[int], list[int]]:
        """Which of a client's neighbours survived, and which dropped out after they had shared."""
        shared = [other for other in self._graph[client] if client in self._sealed.get(other, {})]
        masked = self._got["masked"]
        return [o for o in shared if o in masked], [o for o in shared if o not in masked]

    @property
    def survivors(self) -> list[int]:
        """The clients whose updates are in the sum."""
        return sorted(self._got["masked"])

    def view(self, client: int) -> Words:
        """What the server sees of a client's update: its masked words."""
        return np.frombuffer(self._got["masked"][client].body[KEY_BYTES:], "<u4")

    def total(self) -> Words:
        """The sum of the survivors' updates, with all masks taken off.

        Raises
        ------
        Refused
            If too few clients survived, a client has too few shares left to undo its mask, or shares are false.
        """
        alive = self.survivors
        if len(alive) < self._fewest:
            raise Refused(f"{len(alive)} clients survived, fewer than {self._fewest}; no sum was made.")
        seeds: dict[int, dict[int, int]] = {}
        keys: dict[int, dict[int, int]] = {}
        for holder, message in self._got["unmask"].items():
            for other, (of_seed, share) in parse_unmask(message.body).items():
                (seeds if of_seed else keys).setdefault(other, {})[holder + 1] = share
        total = np.zeros(self._words, np.uint32)
        for client in alive:
            total += self.view(client)
            seed = self._joined(client, seeds.get(client, {}))
            if hashlib.sha256(seed).digest() != self._got["masked"][client].body[:KEY_BYTES]:
                raise Refused(f"The shares of the self mask of client {client} do not fit together; no sum was made.")
            total -= mask(seed, self._words)
        for client in sorted(set(self._sealed) - set(alive)):
            others = [other for other in self.sealed_receivers(client) if other in self._got["masked"]]
            if others:
                total += self._lone_masks(client, others, self._joined(client, keys.get(client, {})))
        return total

    def sealed_receivers(self, client: int) -> list[int]:
        """The neighbours that made a mask with this client: those who got its shares."""
        return sorted(self._sealed[client])

    def _lone_masks(self, client: int, others: list[int], secret: bytes) -> Words:
        """What is left in the sum of the masks between one who dropped out and its neighbours, to be added."""
        announced = self._got["keys"]
        key = X25519PrivateKey.from_private_bytes(secret)
        if public_bytes(key) != announced[client].body[KEY_BYTES:]:
            raise Refused(f"The shares of the key of client {client} do not fit together; no sum was made.")
        left = np.zeros(self._words, np.uint32)
        for other in others:
            pad = pair_mask(key, announced[other].body[KEY_BYTES:], self._round, (client, other), self._words)
            if client < other:
                left += pad  # the other one subtracted it
            else:
                left -= pad
        return left

    def _joined(self, client: int, shares: Mapping[int, int]) -> bytes:
        if len(shares) < self._threshold:
            raise Refused(
                f"{len(shares)} shares of client {client} are left, fewer than the threshold of {self._threshold}; no "
                "sum was made."
            )
        value = join(dict(sorted(shares.items())[: self._threshold]))
        if value >> (8 * KEY_BYTES):
            raise Refused(f"The shares of client {client} do not fit together; no sum was made.")
        return value.to_bytes(KEY_BYTES, "big")

    def _check(self, message: Message) -> None:
        try:
            trouble = self._trouble(message)
        except BadInput as error:
            trouble = str(error)
        if trouble:
            raise Refused(f"The message '{message.step}' of client {message.sender} is malformed: {trouble}")

    def _trouble(self, message: Message) -> str:
        """What is wrong with the form of a message, or nothing; shares are kept."""
        step, body, sender = message.step, message.body, message.sender
        if step == "keys":
            return self._trouble_of_keys(body)
        if step == "shares":
            sealed = parse_sealed(body)
            if set(sealed) != {message.sender for message in self.keys_for(sender)}:
                return "It does not hold one pair of shares for each neighbour, and none for others."
            self._sealed[sender] = sealed
        if step == "masked" and len(body) != KEY_BYTES + 4 * self._words:
            return f"An update of {self._words} words was expected."
        if step == "unmask":
            alive, gone = self.request_for(sender)
            asked = dict.fromkeys(alive, True) | dict.fromkeys(gone, False)
            if {other: kind for other, (kind, _) in parse_unmask(body).items()} != asked:
                return "It does not hold the shares that were asked for."
        return ""

    def _trouble_of_keys(self, body: bytes) -> str:
        if len(body) != 2 * KEY_BYTES:
            return "Two public keys have 64 bytes."
        parts = {body[:KEY_BYTES], body[KEY_BYTES:]}
        known = {half for one in self._got["keys"].values() for half in (one.body[:KEY_BYTES], one.body[KEY_BYTES:])}
        if len(parts) < 2 or parts & known:
            return "A key is there twice; each client needs two of its own."
        for part in parts:
            agree(self._probe, part, b"probe")  # raises where a key gives no secret
        return ""
