"""One file over HTTP into a part file, resumed as often as the line breaks, and moved into place when it is right."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile, DownloadFailed
from edgelab.files import read_json, write_json

TIMEOUT_S = 30.0
ATTEMPTS = 3
"""How many attempts in a row may fail without a byte of progress."""
_WAIT_S = 0.5
_CHUNK_BYTES = 256 * 1024
_MARGIN_BYTES = 16 * 1024 * 1024
_GREATEST_BYTES = 16 * 1024**3
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class _Transient(Exception):
    """Worth another attempt."""


class _Offline(_Transient):
    """No connection at all."""


class _Gone(Exception):
    """Not worth another attempt at this address."""


class Download:
    """One file's download: attempts, the part file, and what is known about the source's file."""

    def __init__(
        self, name: str, addresses: tuple[str, ...], target: Path, expected: tuple[str, str], size: int | None
    ) -> None:
        self.name, self.addresses, self.target, self.expected, self.size = name, list(addresses), target, expected, size
        self.part = target.with_name(target.name + ".part")
        self.about = target.with_name(target.name + ".part.json")
        self.resumed = False

    def run(self) -> None:
        """Fetch, check, move into place."""
        while True:
            self._complete()
            actual = digest(self.part, self.expected[0])
            if actual == self.expected[1]:
                break
            self._discard()
            if not self.resumed:
                raise DownloadFailed(
                    f"{self.name} from {self.addresses[0]} has the {self.expected[0]} checksum {actual} and not "
                    f"{self.expected[1]}, so it was discarded; try again, or state its checksum if the source has "
                    "changed it."
                )
            self.resumed = False  # the pieces did not belong together: once more, from the start
        self.part.replace(self.target)
        self.about.unlink(missing_ok=True)

    def _complete(self) -> None:
        failures, last, offline = 0, "", False
        while self.addresses and failures < ATTEMPTS:
            address, before = self.addresses[0], self._have()
            try:
                self._transfer(address)
            except _Gone as reason:
                last, offline = f"{address}: {reason}", False
                self.addresses.pop(0)
                continue
            except _Transient as reason:
                last, offline = f"{address}: {reason}", isinstance(reason, _Offline)
                failures = 0 if self._have() > before else failures + 1
                self.addresses.append(self.addresses.pop(0))
                if failures < ATTEMPTS:
                    time.sleep(_WAIT_S * 2**failures)
                continue
            return
        kept = f"{self._have():,} bytes are kept for a resume; " if self._have() else ""
        advice = "connect to the network and run this again" if offline else "try again later or from a mirror="
        raise DownloadFailed(
            f"{self.name} could not be downloaded ({last}); {kept}{advice}, or put the file at {self.target} by hand."
        )

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def _known(self) -> dict[str, Any]:
        """What the source said about the file whose beginning is in the part file; empty if that is not known."""
        try:
            known = read_json(self.about)
        except BadFile:
            return {}
        return known if isinstance(known, dict) else {}

    def _transfer(self, address: str) -> None:
        # What another address has is resumed too: the size must agree, and the checksum of the whole decides.
        known = self._known()
        start = self._have() if known else 0
        validator = known.get("validator") if known.get("address") == address else None
        if start and start == known.get("total"):
            self.resumed = True
            return
        headers = {"User-Agent": "edgelab", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if validator:
                headers["If-Range"] = validator
        request = urllib.request.Request(address, headers=headers)  # noqa: S310 - the scheme was checked
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                self._receive(response, address, start, known.get("total"), validator)
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                self._discard()
                raise _Transient("the file there is shorter than what was fetched before") from None
            kind = _Transient if error.code in _TRANSIENT else _Gone
            raise kind(f"the server answered {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise _Offline(f"no connection: {getattr(error.reason, 'strerror', None) or error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Transient(f"the connection broke: {error or type(error).__name__}") from None

    def _receive(
        self, response: Any, address: str, start: int, expected_total: int | None, expected_validator: str | None
    ) -> None:
        length = response.headers.get("Content-Length", "")
        validator = _validator(response.headers)
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            total = _range_total(response.headers.get("Content-Range", ""), start)
            changed = expected_validator and validator != expected_validator
            if total is None or total != (expected_total or total) or changed:
                self._discard()
                raise _Transient("the file there has changed since the download began")
            self.resumed = self.resumed or start > 0
        else:
            start, total = 0, int(length) if length.isdecimal() else None
            if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
                raise _Gone("a web page came in place of the file, as a login page of the network does")
        if self.size is not None and total not in (None, self.size):
            raise _Gone(f"the file there has {total:,} bytes, and {self.size:,} are published")
        total = total or self.size
        self._room_for((total or 0) - start)
        if start == 0:
            self.part.unlink(missing_ok=True)
            with _writing_to(self.target):
                write_json(self.about, {"address": address, "validator": validator, "total": total})
        got = start + self._store(response, start, total)
        if total is not None and got < total:
            raise _Transient(f"the connection closed after {got:,} of {total:,} bytes")

    def _store(self, response: Any, start: int, total: int | None) -> int:
        from tqdm.auto import tqdm

        got, limit = 0, total or _GREATEST_BYTES
        with _writing_to(self.target), self.part.open("ab") as out:
            bar = tqdm(desc=self.name, initial=start, total=total, unit="B", unit_scale=True, unit_divisor=1024)
            with contextlib.closing(bar):
                while start + got <= limit and (chunk := _read(response)):
                    got += len(chunk)
                    out.write(chunk)
                    bar.update(len(chunk))
            out.flush()
            os.fsync(out.fileno())
        if start + got > limit:
            self._discard()
            raise _Gone(f"more than {limit:,} bytes came")
        return got

    def _room_for(self, needed: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        if needed > free - _MARGIN_BYTES:
            raise DownloadFailed(
                f"{self.name} needs {needed:,} bytes and the disk of {self.target.parent} has {free:,} free; "
                "make room, or set EDGELAB_DATA to a folder on another disk."
            )


@contextlib.contextmanager
def _writing_to(target: Path) -> Iterator[None]:
    """Tell trouble with the disk from trouble with the network: both are an OSError."""
    try:
        yield
    except (OSError, BadFile) as error:
        cause = error.__cause__ if isinstance(error, BadFile) else error
        full = getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full" if full else getattr(cause, "strerror", None) or str(error)
        raise DownloadFailed(
            f"{target.name} could not be stored in {target.parent} ({reason}); make room, or set EDGELAB_DATA to a "
            "folder on another disk."
        ) from error


def digest(path: Path, algorithm: str) -> str:
    """The hexadecimal checksum of a file; `BadFile` if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror or error}).") from error


def _read(response: Any) -> bytes:
    try:
        chunk: bytes = response.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _Transient(f"the connection broke: {error or type(error).__name__}") from None
    return chunk


def _validator(headers: Any) -> str:
    """What names this very version of a file: a strong ETag, else its date; empty if the server says neither."""
    etag: str = headers.get("ETag", "")
    date: str = headers.get("Last-Modified", "")
    return etag if etag.startswith('"') else date


def _range_total(content_range: str, start: int) -> int | None:
    """The whole file's size if the range that came begins at ``start``, else None."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", content_range.strip())
    return int(match[2]) if match and int(match[1]) == start else None
