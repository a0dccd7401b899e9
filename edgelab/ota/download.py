"""Getting bytes: over HTTP with a time limit, into a temporary file that a later try goes on with."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgelab.errors import BadInput
from edgelab.ota.deltas import sha256
from edgelab.ota.manifest import Payload, Refused
from edgelab.ota.slots import DOWNLOADS
from edgelab.ota.storage import Storage, checked_name
from edgelab.ota.trust import Catalogue, Transport, Unreachable

PART_BYTES = 64 * 1024
SYNC_BYTES = 2**20
TIMEOUT_SECONDS = 10.0
PATIENCE_SECONDS, SLOWEST_BYTES_PER_SECOND = 60.0, 50.0
"""A server that after so long has sent fewer bytes a second than this is given up: it would hold a device for days."""
_MOST_ANSWER_BYTES = 64 * 1024


class HttpTransport:
    """A server's files and its answers to JSON, over HTTP.

    Raises
    ------
    BadInput
        If the address is none of http or https.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS) -> None:
        import httpx

        if not url.startswith(("http://", "https://")):
            raise BadInput(f"{url} is no address of a server; it starts with http:// or https://.")
        self.url = url.rstrip("/") + "/"
        self._client = httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False)

    def get(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See `edgelab.ota.trust.Transport`. A server that knows no ranges is read from the start."""
        import httpx

        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={offset}-"} if offset else {})}
        try:
            with self._client.stream("GET", self.url + path, headers=headers) as answer:
                if answer.status_code == 416:
                    return
                if answer.status_code not in (200, 206):
                    raise Unreachable(f"{self.url}{path} answers {answer.status_code}.", answer.status_code)
                skip = offset if answer.status_code == 200 else 0
                for part in self._parts(answer):  # packed or not: the hash is of these bytes
                    cut, skip = part[skip:], max(0, skip - len(part))
                    if cut:
                        yield cut
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Unreachable(f"{self.url} does not answer ({str(error) or type(error).__name__}).") from None

    def post(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        """See `edgelab.ota.trust.Transport`."""
        import httpx

        content = bytearray()
        try:
            with self._client.stream("POST", self.url + path, json=data) as answer:
                if answer.status_code != 200:
                    raise Unreachable(f"{self.url}{path} answers {answer.status_code}.", answer.status_code)
                for part in self._parts(answer):
                    content += part
                    if len(content) > _MOST_ANSWER_BYTES:
                        raise Unreachable(f"{self.url}{path} answers without an end.")
            found = json.loads(content)
        except (httpx.HTTPError, OSError, ValueError, RecursionError) as error:
            raise Unreachable(f"{self.url} does not answer ({str(error) or type(error).__name__}).") from None
        return found if isinstance(found, dict) else {}

    def _parts(self, answer: Any) -> Iterator[bytes]:
        """What a server sends, as it comes, unless that is too slow."""
        started, received = time.monotonic(), 0
        for part in answer.iter_raw():
            received += len(part)
            waited = time.monotonic() - started
            if waited > PATIENCE_SECONDS and received < SLOWEST_BYTES_PER_SECOND * waited:
                raise Unreachable(f"{self.url} sends {received:,} bytes in {waited:.0f} s, which is too slow.")
            yield part

    def close(self) -> None:
        """End the connections."""
        self._client.close()


class FolderTransport:
    """A repository's folder read without a server; it offers every release and takes no reports."""

    def __init__(self, repository: Path, part_bytes: int = PART_BYTES) -> None:
        self.repository = repository
        self.part_bytes = part_bytes
        self.posted: list[tuple[str, dict[str, Any]]] = []

    def get(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See `edgelab.ota.trust.Transport`."""
        try:
            content = (self.repository / checked_name(path)).read_bytes()[offset:]
        except (OSError, BadInput):
            raise Unreachable(f"{path} is not there.", 404) from None
        for start in range(0, len(content), self.part_bytes):
            yield content[start : start + self.part_bytes]

    def post(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        """See `edgelab.ota.trust.Transport`."""
        self.posted.append((path, data))
        return {}


def part_name(payload: Payload) -> str:
    """The name of the temporary file of a download."""
    return f"{payload.sha256[:32]}.part"


def download(
    storage: Storage, transport: Transport, catalogue: Catalogue, payload: Payload, sync_bytes: int = SYNC_BYTES
) -> tuple[bytes, int]:
    """A payload, whole and verified, and the bytes that it took now; what an earlier try got is kept and gone on with.

    Raises
    ------
    Refused
        If it is not signed as the manifest says, too long, cut short, or another one.
    Unreachable
        If the server goes away; what came so far is kept.
    """
    target = catalogue.target(payload.path)
    if target is None or target.length != payload.bytes or target.hashes.get("sha256") != payload.sha256:
        raise Refused("mixed", f"The signed list does not have {payload.path} as the manifest does.")
    name = f"{DOWNLOADS}/{part_name(payload)}"
    held = storage.size(name)
    if held is None or held > payload.bytes:
        _start(storage, name)
        held = 0
    received = 0
    while True:
        received += _receive(storage, transport, catalogue.url(payload.path), name, held, payload, sync_bytes)
        content = storage.read(name)
        if len(content) < payload.bytes:
            raise Refused("truncated", f"{len(content):,} of the {payload.bytes:,} bytes of {payload.path} arrived.")
        if sha256(content) == payload.sha256:
            return content, received
        if not held:
            storage.unlink(name)
            raise Refused("tampered", f"What the server sends as {payload.path} has another hash than the one signed.")
        _start(storage, name)  # what was kept had been damaged, by a power cut for example: once more from the start
        held = 0


def _start(storage: Storage, name: str) -> None:
    storage.create(name)
    storage.fsync_folder(DOWNLOADS)


def _receive(
    storage: Storage, transport: Transport, url: str, name: str, held: int, payload: Payload, sync_bytes: int
) -> int:
    place, unsynced = held, 0
    try:
        for part in transport.get(url, held) if held < payload.bytes else ():
            if place + len(part) > payload.bytes:
                storage.unlink(name)
                raise Refused("oversized", f"The server sends more of {payload.path} than the bytes signed.")
            storage.write(name, place, part)
            place += len(part)
            unsynced += len(part)
            if unsynced >= sync_bytes:
                storage.fsync(name)
                unsynced = 0
    finally:
        if unsynced and storage.size(name) is not None:
            storage.fsync(name)
    return place - held
