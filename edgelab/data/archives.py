"""Archives from outside, read without trusting them: nothing is written to disk, and nothing may grow without end."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from edgelab.errors import BadFile

_BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError)
_DRAIN_BYTES = 1024 * 1024


def gunzip(path: Path, most_bytes: int) -> bytes:
    """The content of a gzip file of at most ``most_bytes`` unpacked bytes.

    Raises
    ------
    BadFile
        If it is not gzip, is cut off, fails its own checksum, or unpacks to more.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read(most_bytes + 1)
    except _BROKEN as error:
        raise _broken(path, error) from error
    if len(content) > most_bytes:
        raise BadFile(f"{path} unpacks to more than {most_bytes:,} bytes, so it is not the published file; delete it.")
    return content


def members(
    path: Path, wanted: Callable[[str], bool], most_bytes: int, most_member_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """The regular files of a ``.tar.gz`` as (name, content), in the archive's order, in one pass.

    Parameters
    ----------
    path
        The archive.
    wanted
        Which names to hand out; the content of the others is skipped.
    most_bytes, most_member_bytes
        Greatest size of the whole when unpacked, and of one wanted member.

    Raises
    ------
    BadFile
        If the archive is not one, is cut off or corrupt, holds a link, a device or a name that leads out of
        the archive, or is larger than allowed.
    """
    try:
        with gzip.open(path) as packed:
            stream: Any = _Limited(packed, most_bytes, path)
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = _safe_name(path, member)
                    if not member.isfile() or not wanted(name):
                        continue
                    if member.size > most_member_bytes:
                        raise BadFile(
                            f"{path} holds {name} of {member.size:,} bytes, far more than it should; delete it."
                        )
                    content = archive.extractfile(member)
                    data = content.read() if content is not None else b""
                    if len(data) != member.size:
                        raise EOFError(f"{name} is cut off")
                    yield name, data
            # The checksum of the whole stands at its end, behind what tarfile reads.
            while stream.read(_DRAIN_BYTES):
                pass
    except _BROKEN as error:
        raise _broken(path, error) from error


def _safe_name(path: Path, member: tarfile.TarInfo) -> str:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name:
        raise BadFile(
            f"{path} holds the name {member.name!r}, which leads out of the archive; it was not read further."
        )
    if not (member.isfile() or member.isdir()):
        raise BadFile(f"{path} holds {member.name!r}, which is a link or a device; it was not read further.")
    return str(name)


def _broken(path: Path, error: BaseException) -> BadFile:
    return BadFile(f"{path} is cut off or corrupt ({error or type(error).__name__}); delete it and download it again.")


class _Limited:
    """A stream that ends with an error once it has given more than it may."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, most_bytes: int, path: Path) -> None:
        self._stream, self._left, self._path, self._most = stream, most_bytes, path, most_bytes

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size if 0 <= size <= self._left else self._left + 1)
        self._left -= len(chunk)
        if self._left < 0:
            raise BadFile(f"{self._path} unpacks to more than {self._most:,} bytes, so it is not the published file.")
        return chunk
