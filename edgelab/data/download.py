"""Files from the network: resumed where they stopped, checked before use, whole or absent.

A file is fetched into ``NAME.part`` beside its place and moved there once its checksum is right. Nothing is
downloaded that was not asked for by a call of a data set's function.
"""

from __future__ import annotations

import os
import re
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from edgelab.data.transfer import Download, digest
from edgelab.errors import BadFile, BadInput, DownloadFailed

_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Parameters
    ----------
    path
        Its place under the cache folder and under a mirror: ``"cifar10/cifar-10-binary.tar.gz"``.
    urls
        Where it is published, tried in turn.
    checksum
        ``"md5:..."`` or ``"sha256:..."``, as published.
    size_bytes
        Its size as published; None if it is not known.
    """

    path: str
    urls: tuple[str, ...]
    checksum: str
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


def data_folder() -> Path:
    """Where downloads are kept: ``EDGELAB_DATA`` if it is set, else the user's cache folder on this platform."""
    stated = os.environ.get("EDGELAB_DATA")
    if stated:
        return Path(stated).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "edgelab"


def fetch(
    file: RemoteFile,
    mirror: str | None = None,
    checksum: str | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Path:
    """The path of a local copy whose checksum is right, downloaded if it is not there.

    Parameters
    ----------
    file
        What to fetch.
    mirror
        A base address that holds ``file.path``, used in place of the published addresses; also by the
        environment variable ``EDGELAB_MIRROR``.
    checksum
        One to use in place of the published one: ``"sha256:..."``, ``"md5:..."`` or the bare hexadecimal digits.
    folder
        The cache folder; `data_folder` if not given.

    Raises
    ------
    DownloadFailed
        If the file cannot be had; the message says where to put it by hand. What was fetched is kept and the
        next call goes on from there, unless its checksum is wrong.
    BadFile
        If the copy that is already there does not match its checksum.
    """
    expected = parse_checksum(checksum or file.checksum)
    size = None if checksum else file.size_bytes
    target = Path(folder or data_folder()).expanduser() / file.path
    if target.exists():
        return _checked(target, expected)
    base = mirror or os.environ.get("EDGELAB_MIRROR")
    addresses = (f"{base.rstrip('/')}/{file.path}",) if base else file.urls
    for address in addresses:
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise BadInput(f"{address} is not an http or https address; a mirror looks like https://host/folder.")

    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(target.with_name(f".{target.name}.lock")).acquire(poll_interval=0.1)
    except OSError as error:
        raise DownloadFailed(
            f"The folder {target.parent} cannot be written ({error.strerror or error}); set EDGELAB_DATA to one "
            "that can."
        ) from error
    with held:
        if target.exists():  # another process fetched it meanwhile
            return _checked(target, expected)
        Download(file.name, addresses, target, expected, size).run()
    return target


def parse_checksum(text: str) -> tuple[str, str]:
    """Algorithm and lower-case digits of a checksum.

    Examples
    --------
    >>> parse_checksum("D41D8CD98F00B204E9800998ECF8427E")
    ('md5', 'd41d8cd98f00b204e9800998ecf8427e')
    """
    algorithm, _, digits = text.strip().lower().rpartition(":")
    implied = _ALGORITHMS.get(len(digits))
    if implied is None or algorithm not in ("", implied) or not re.fullmatch("[0-9a-f]+", digits):
        raise BadInput(f"'{text}' is not a checksum; write md5:, sha1:, sha256: or sha512: and the hexadecimal digits.")
    return implied, digits


def _checked(path: Path, expected: tuple[str, str]) -> Path:
    if not path.is_file():
        raise BadFile(f"{path} is not a file; move it away and run this again.")
    actual = digest(path, expected[0])
    if actual != expected[1]:
        raise BadFile(
            f"{path} has the {expected[0]} checksum {actual} and not {expected[1]}; delete it to download it again."
        )
    return path
