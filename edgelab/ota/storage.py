"""One small layer for every write, fsync, rename and unlink of a device, so that power can be cut after each of them.

`DiskStorage` is a folder; `edgelab.ota.powercut.Flash` is the same in memory, with what a power cut may do to it. Names
are relative, with ``/`` between folder and file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_SCRATCH = "scratch-"
_LOCK = "lock"


class Storage(Protocol):
    """What a device needs of its flash or disk. Nothing is durable before the fsync that is about it."""

    def read(self, name: str) -> bytes:
        """The content of a file; FileNotFoundError if there is none."""

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None if there is none."""

    def names(self, folder: str) -> list[str]:
        """The files in a folder, by their names in it, sorted; none of a folder that is missing."""

    def make_folder(self, folder: str) -> None:
        """Make a folder; durable once its parent was synced."""

    def create(self, name: str) -> None:
        """Make an empty file, or empty the one that is there."""

    def write(self, name: str, offset: int, content: bytes) -> None:
        """Write into a file; durable once the file was synced, page by page and in any order before that."""

    def fsync(self, name: str) -> None:
        """Make a file's content durable; not the entry in its folder."""

    def fsync_folder(self, folder: str) -> None:
        """Make a folder's entries durable: files that were made, renamed and unlinked. ``""`` is the top."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of what has it."""

    def unlink(self, name: str) -> None:
        """Remove a file."""

    def free_bytes(self) -> int:
        """Room that is left."""

    def note(self, event: str, value: int) -> None:
        """Say what has just become true; a power-cut harness keeps it, a disk does not."""

    def path(self, name: str) -> Path:
        """Where a runtime finds a file."""

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes out; BadFile if one is in already."""

    def scratch(self) -> AbstractContextManager[Path]:
        """A folder for what need not outlive this process, and is never read after a restart."""


def write_file(storage: Storage, name: str, content: bytes) -> None:
    """Replace a file: whole or not at all, and durable when this returns.

    A temporary file, its fsync, the rename, and the fsync of the folder. Leave out one of the four and a power cut
    finds it; the temporary file has one name, so that there is never more than one.
    """
    temporary = f"{name}.part"
    storage.create(temporary)
    storage.write(temporary, 0, content)
    storage.fsync(temporary)
    storage.rename(temporary, name)
    storage.fsync_folder(folder_of(name))


def read_file(storage: Storage, name: str) -> bytes | None:
    """The content of a file, or None if there is none."""
    try:
        return storage.read(name)
    except FileNotFoundError:
        return None


def folder_of(name: str) -> str:
    """The folder that a name stands in.

    Examples
    --------
    >>> folder_of("slots/a/model.onnx"), folder_of("state.json")
    ('slots/a', '')
    """
    return name.rpartition("/")[0]


def checked_name(name: str) -> str:
    """The name again.

    Raises
    ------
    BadInput
        If it leaves the folder, or is one on some system: an absolute path, ``..``, a drive, a backslash.

    Examples
    --------
    >>> checked_name("slots/a/model.onnx")
    'slots/a/model.onnx'
    >>> checked_name("../root.json")
    Traceback (most recent call last):
    ...
    edgelab.errors.BadInput: The name '../root.json' leaves its folder.
    """
    parts = name.split("/")
    if not name or any(p in ("", ".", "..") for p in parts) or any(c in name for c in '\\:\0*?"<>|') or len(name) > 400:
        raise BadInput(f"The name {name!r} leaves its folder.")
    return name


def _fsync_folder(folder: Path) -> None:
    if sys.platform == "win32":  # a folder has no handle to sync there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DiskStorage:
    """A folder of a real file system.

    Raises
    ------
    BadFile
        If the folder cannot be made.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = expanded(root)
        try:
            if not self.root.is_dir():
                self.root.mkdir(parents=True, exist_ok=True)
                _fsync_folder(self.root.absolute().parent)
        except OSError as error:
            raise BadFile(f"{self.root} cannot be made a device's folder ({error.strerror or error}).") from None

    def path(self, name: str) -> Path:
        """See `Storage`.

        Raises
        ------
        BadFile
            If a link leads out of the device's folder: what is written or removed there is not its own.
        """
        target = self.root / checked_name(name) if name else self.root
        if "/" in name and not target.parent.resolve().is_relative_to(self.root.resolve()):
            raise BadFile(f"{target.parent} leads out of the device's folder by a link; put a folder in its place.")
        return target

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        return self.path(name).read_bytes()

    def size(self, name: str) -> int | None:
        """See `Storage`."""
        with contextlib.suppress(FileNotFoundError):
            return self.path(name).stat().st_size
        return None

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        where = self.path(f"{folder}/x").parent if folder else self.root
        return sorted(entry.name for entry in where.iterdir() if entry.is_file()) if where.is_dir() else []

    def make_folder(self, folder: str) -> None:
        """See `Storage`."""
        self.path(folder).mkdir(parents=True, exist_ok=True)

    def create(self, name: str) -> None:
        """See `Storage`."""
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_LINK, 0o666)
        os.close(descriptor)

    def write(self, name: str, offset: int, content: bytes) -> None:
        """See `Storage`."""
        with self.path(name).open("r+b") as stream:
            stream.seek(offset)
            stream.write(content)

    def fsync(self, name: str) -> None:
        """See `Storage`."""
        with self.path(name).open("r+b") as stream:
            os.fsync(stream.fileno())

    def fsync_folder(self, folder: str) -> None:
        """See `Storage`."""
        _fsync_folder(self.path(folder))

    def rename(self, old: str, new: str) -> None:
        """See `Storage`."""
        self.path(old).replace(self.path(new))

    def unlink(self, name: str) -> None:
        """See `Storage`."""
        self.path(name).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """See `Storage`."""
        return shutil.disk_usage(self.root).free

    def note(self, event: str, value: int) -> None:
        """See `Storage`."""

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """See `Storage`."""
        import filelock

        lock = filelock.FileLock(self.root / _LOCK, timeout=0.2)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise BadFile(f"{self.root} is in use by another process of this device; nothing was changed.") from None
        except OSError as error:
            raise BadFile(f"{self.root} cannot be locked ({error.strerror or error}).") from None
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """See `Storage`. What a killed process left is removed here, which is why it is called under the lock."""
        for left in self.root.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self.root, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
