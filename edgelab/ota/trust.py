"""Whom a device believes: The Update Framework's client, with its metadata kept in one file of the device's storage.

python-tuf's `Updater` works in a scratch folder; what it verified is then written by `write_file`, all roles at once,
so that no power cut leaves one role without the other. A slot keeps the signed list that it was installed under, and is
verified against it each time it is used, without a clock: expiry stops updates, not inference.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from edgelab.errors import BadFile
from edgelab.ota.manifest import Refused
from edgelab.ota.storage import Storage, read_file, write_file

TRUSTED = "trusted.json"
PINNED = "root.json"
_ROLES = ("timestamp", "snapshot", "targets")
_BASE = "repository:/"


class Unreachable(Exception):
    """The server gave no answer, or not this one."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


class Transport(Protocol):
    """How a device reaches its server."""

    def get(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a file from ``offset`` on, in parts.

        Raises
        ------
        Unreachable
            With the HTTP status, or 0 where there was no answer.
        """

    def post(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        """Send JSON and return the answer.

        Raises
        ------
        Unreachable
            With the HTTP status, or 0 where there was no answer.
        """


class Catalogue:
    """What the server offers, verified: files by path with their sizes and hashes, and the signed list itself."""

    def __init__(self, updater: Any, transport: Transport, signed: bytes) -> None:
        self._updater = updater
        self._transport = transport
        self.signed = signed

    def target(self, path: str) -> Any | None:
        """What is signed about a file: ``length`` and ``hashes``; None if nothing is."""
        return self._updater.get_targetinfo(path)

    def url(self, path: str) -> str:
        """Where its bytes are: behind the hash in its name, so that an old and a new one can stand side by side."""
        target = self.target(path)
        folder, slash, name = path.rpartition("/")
        return f"targets/{folder}{slash}{target.hashes['sha256']}.{name}" if target else ""

    def fetch(self, path: str) -> bytes:
        """A small file, whole and verified.

        Raises
        ------
        Refused
            If it is missing, longer than signed, or its hash is another one.
        Unreachable
            If the server does not give it.
        """
        target = self.target(path)
        if target is None:
            raise Refused("malformed", f"The server signs no {path}.")
        content = bytearray()
        for part in self._transport.get(self.url(path)):
            content += part
            if len(content) > target.length:
                raise Refused("oversized", f"The server sends more of {path} than the {target.length:,} bytes signed.")
        if len(content) < target.length:
            raise Refused("truncated", f"The server sends {len(content):,} of the {target.length:,} bytes of {path}.")
        if hashlib.sha256(content).hexdigest() != target.hashes.get("sha256"):
            raise Refused("tampered", f"What the server sends as {path} has another hash than the one signed.")
        return bytes(content)


class Trust:
    """The trusted metadata of a device.

    Parameters
    ----------
    storage
        The device's.
    root
        The root metadata that the device is made with; kept, and needed once only.

    Raises
    ------
    BadFile
        If there is none, it is not sound, or another one than the device has.
    """

    def __init__(self, storage: Storage, root: bytes | None = None) -> None:
        self.storage = storage
        pinned = read_file(storage, PINNED)
        if pinned is None:
            if root is None:
                raise BadFile("This device trusts no one yet; give it its publisher's root.json with --root.")
            _check_root(root)
            write_file(storage, PINNED, root)
            pinned = root
        elif root is not None and root != pinned:
            raise BadFile("This device was made with another root.json, which it does not exchange; leave out --root.")
        self.pinned = pinned
        self.kept = _read(storage)

    def refresh(self, transport: Transport, reference: datetime) -> Catalogue:
        """Fetch and verify the server's metadata; what was verified is kept, also where a later part is refused.

        Parameters
        ----------
        transport
            The way to the server.
        reference
            The time against which expiry is judged.

        Raises
        ------
        Refused
            If the server's metadata is not to be believed, with the kind of reason.
        Unreachable
            If the server gave no answer.
        """
        from tuf.api import exceptions
        from tuf.ngclient import Updater

        with self.storage.scratch() as folder:
            self._seed(folder)
            try:
                updater = Updater(str(folder), f"{_BASE}metadata/", fetcher=_fetcher(transport), bootstrap=self.pinned)
                updater._trusted_set.reference_time = reference  # noqa: SLF001 - there is no public way to a clock
                updater.refresh()
            except (exceptions.RepositoryError, exceptions.DownloadError) as error:
                raise _reason(error) from None
            finally:
                self._keep(folder)
            return Catalogue(updater, transport, self.kept["targets"].encode())

    def roots(self) -> list[bytes]:
        """The pinned root, and every later one that was verified, in order."""
        later = sorted((int(version), text.encode()) for version, text in self.kept["roots"].items())
        return [self.pinned, *(content for _, content in later if content != self.pinned)]

    def verify_target(self, signed: bytes, root_version: int, path: str, content: bytes) -> None:
        """Hold a file against a signed list of files, at use: signatures, name, length, hash; no clock.

        Parameters
        ----------
        signed
            The targets metadata.
        root_version
            The root that was in force when it was accepted.
        path, content
            The file.

        Raises
        ------
        Refused
            If any of it does not hold.
        """
        from tuf.api.exceptions import RepositoryError
        from tuf.api.metadata import Metadata, Root, Targets

        try:
            chain = [Metadata[Root].from_bytes(content) for content in self.roots()]
            trusted = chain[0]
            for following in chain[1:]:
                if trusted.signed.version >= root_version:
                    break
                trusted.signed.verify_delegate("root", following.signed_bytes, following.signatures)
                following.signed.verify_delegate("root", following.signed_bytes, following.signatures)
                trusted = following
            listed = Metadata[Targets].from_bytes(signed)
            trusted.signed.verify_delegate("targets", listed.signed_bytes, listed.signatures)
            listed.signed.targets[path].verify_length_and_hashes(content)
        except (RepositoryError, KeyError, ValueError) as error:
            raise Refused("slot", f"The signature of a stored release does not hold ({_line(error)}).") from None

    def root_version(self) -> int:
        """The version of the newest root that was verified."""
        return max([1, *(int(version) for version in self.kept["roots"])])

    def _seed(self, folder: Path) -> None:
        (folder / "root_history").mkdir()
        for version, text in self.kept["roots"].items():
            (folder / "root_history" / f"{version}.root.json").write_bytes(text.encode())
        for role in _ROLES:
            if self.kept[role]:
                (folder / f"{role}.json").write_bytes(self.kept[role].encode())

    def _keep(self, folder: Path) -> None:
        """Write what python-tuf verified, if it is new, to the device's storage."""
        found: dict[str, Any] = {"roots": {}}
        for file in sorted((folder / "root_history").glob("*.root.json")):
            found["roots"][file.name.partition(".")[0]] = file.read_bytes().decode()
        for role in _ROLES:
            file = folder / f"{role}.json"
            found[role] = file.read_bytes().decode() if file.is_file() else ""
        if found != self.kept:
            write_file(self.storage, TRUSTED, json.dumps(found).encode())
            self.kept = found


def _read(storage: Storage) -> dict[str, Any]:
    """What is kept; nothing where the file is damaged, since all of it can be fetched and verified again."""
    content = read_file(storage, TRUSTED)
    if content is not None:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            found = json.loads(content)
            roots = {str(int(version)): str(text) for version, text in found["roots"].items()}
            return {"roots": roots, **{role: str(found.get(role, "")) for role in _ROLES}}
    return {"roots": {}, **dict.fromkeys(_ROLES, "")}


def _check_root(content: bytes) -> None:
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root

    try:
        root = Metadata[Root].from_bytes(content)
        if not isinstance(root.signed, Root):
            raise BadFile("The file given as --root is metadata of another role; name the publisher's root.json.")
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    except (RepositoryError, ValueError) as error:
        raise BadFile(f"The file given as --root is no sound root metadata ({_line(error)}).") from None


def _fetcher(transport: Transport) -> Any:
    """python-tuf's way to the network, through a transport."""
    from tuf.api.exceptions import DownloadHTTPError
    from tuf.ngclient import FetcherInterface

    class Fetcher(FetcherInterface):
        def _fetch(self, url: str) -> Iterator[bytes]:
            try:
                yield from transport.get(url.removeprefix(_BASE))
            except Unreachable as error:
                if error.status:
                    raise DownloadHTTPError(str(error), error.status) from None
                raise

    return Fetcher()


def _reason(error: Exception) -> Exception:  # noqa: PLR0911 - one for each kind
    """The sentence for what python-tuf found."""
    from tuf.api import exceptions

    if isinstance(error, exceptions.ExpiredMetadataError):
        return Refused("expired", f"The server's metadata has expired ({_line(error)}).")
    if isinstance(error, exceptions.DownloadLengthMismatchError):
        return Refused("oversized", f"The server sends longer metadata than is taken ({_line(error)}).")
    if isinstance(error, exceptions.DownloadError):
        return Unreachable(f"The server does not answer ({_line(error.__cause__ or error)}).")
    if isinstance(error, exceptions.BadVersionNumberError):
        kind = "mixed" if "expected" in str(error).lower() and "rollback" not in str(error).lower() else "replayed"
        return Refused(kind, f"The server's metadata is not of the version that is due ({_line(error)}).")
    if isinstance(error, exceptions.UnsignedMetadataError):
        return Refused("wrong key", f"The server's metadata lacks the signatures of its role ({_line(error)}).")
    if isinstance(error, exceptions.LengthOrHashMismatchError):
        return Refused("mixed", f"The server's metadata does not belong together ({_line(error)}).")
    return Refused("malformed", f"The server's metadata is not sound ({_line(error)}).")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
