"""Files that are whole or absent: every file edgelab leaves behind is written here."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from edgelab.errors import BadFile


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path that somebody gave, with ``~`` as the home folder.

    Examples
    --------
    >>> expanded("~/models").is_absolute(), expanded("models").as_posix()
    (True, 'models')
    """
    return Path(os.path.expanduser(os.fspath(path)))  # noqa: PTH111 - Path.expanduser raises for "~nobody"


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` and move it there when the block ends without an error.

    The bytes are flushed to disk before the rename, so a full disk or a killed process leaves the
    previous file, or none, and never half of one.

    Raises
    ------
    BadFile
        If the file cannot be written (no space, no permission, no such folder).

    Examples
    --------
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "answer.txt"
    >>> with writing(target) as stream:
    ...     _ = stream.write(b"42")
    >>> target.read_text()
    '42'
    """
    target = expanded(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadFile(f"{target} could not be written ({reason}); nothing was changed.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write ``content`` to ``path``, whole or not at all; see `writing`."""
    with writing(path) as stream:
        stream.write(content)
    return expanded(path)


def write_text(path: str | os.PathLike[str], content: str) -> Path:
    """Write ``content`` as UTF-8 with Unix line ends to ``path``, whole or not at all; see `writing`."""
    return write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Write ``content`` as indented JSON to ``path``, whole or not at all; see `writing`."""
    return write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], seconds: float = 10.0) -> Iterator[None]:
    """Keep other processes that ask for the same lock out while ``path`` is read, changed and written.

    Raises
    ------
    BadFile
        If the lock, a file beside ``path``, cannot be made or is not given within ``seconds``.
    """
    import filelock

    target = expanded(path)
    lock = filelock.FileLock(target.with_name(f".{target.name}.lock"), timeout=seconds)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise BadFile(f"{target} was held by another process for {seconds:g} s; nothing was changed.") from error
    except (OSError, NotImplementedError) as error:
        raise BadFile(f"{target} could not be locked ({error}); nothing was changed.") from error
    try:
        yield
    finally:
        lock.release()


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises
    ------
    BadFile
        If it is missing or is not JSON.
    """
    try:
        refuse_pointer(path)
        return json.loads(expanded(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadFile(f"{path} is not readable JSON ({error}).") from error


def is_pointer(path: str | os.PathLike[str]) -> bool:
    """Whether a file is what Git LFS leaves in place of a large one."""
    with expanded(path).open("rb") as stream:
        return stream.read(len(_LFS_POINTER)) == _LFS_POINTER


def refuse_pointer(path: str | os.PathLike[str]) -> None:
    """Raise if a file is what Git LFS leaves in place of a large one.

    Raises
    ------
    BadFile
        If it is (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md), with the way to the file itself.
    """
    if is_pointer(path):
        raise BadFile(
            f"{path} is a Git LFS pointer, not the file itself; fetch that with `git lfs pull` in its repository, or "
            "download it from its page."
        )


def refuse_bomb(path: str | os.PathLike[str], entries: Sequence[zipfile.ZipInfo], most_bytes: int) -> None:
    """Raise if what is in a zip archive would fill memory or disk when it is unpacked.

    Deflate cannot give more than the size that an entry states, for Python stops there; bzip2 and LZMA unpack what they
    are given at once, and no tool whose files are read here uses them.

    Raises
    ------
    BadFile
        If the entries state more than ``most_bytes`` together, or gigabytes out of next to nothing, or are packed by
        another method.
    """
    stated = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if stated > most_bytes or (stated > _ONE_GB and stated > _MOST_RATIO * packed):
        raise BadFile(
            f"{path} unpacks to {stated:,} bytes ({stated / 2**30:.1f} GB), more than is read here; use a part of it."
        )
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise BadFile(
            f"{path} is packed in a way that can unpack without end (bzip2, LZMA); pack it again with deflate."
        )


_ONE_GB, _MOST_RATIO = 2**30, 100
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def refuse_to_replace(target: Path, *, overwrite: bool, inputs: Sequence[Path] = (), folder: bool = False) -> None:
    """Hold the rule of every ``-o``: what is there is replaced only if that was asked for, and never what is read.

    Parameters
    ----------
    target
        The file to write, or with ``folder`` the folder, which may be there if it is empty.
    overwrite
        Whether it was asked for.
    inputs
        What is read. A folder that holds one of them is not replaced either.
    folder
        Whether a folder is written.

    Raises
    ------
    BadFile
        If something is there that must stay or is of the other kind, or its folder cannot be written: known before
        the work whose result would be lost.
    """
    try:
        _refuse_unsafe(target, overwrite=overwrite, inputs=inputs, folder=folder)
    except OSError as error:  # a name too long, a folder that cannot be looked into
        raise BadFile(f"{target} could not be written ({error.strerror or error}); nothing was changed.") from None
    _refuse_unwritable(target)


def _refuse_unsafe(target: Path, *, overwrite: bool, inputs: Sequence[Path], folder: bool) -> None:
    if any(target == file or (target.exists() and file.exists() and target.samefile(file)) for file in inputs):
        raise BadFile(f"{target} is one of the files that are read; name another one to write.")
    if not folder:
        if target.is_dir():
            raise BadFile(f"{target} is a folder; name a file.")
        if (target.exists() or target.is_symlink()) and not overwrite:
            raise BadFile(f"{target} is there already; name another file, or replace it with --overwrite.")
        return
    if target.exists() and not target.is_dir():
        raise BadFile(f"{target} is a file; name a folder.")
    held = target.is_dir() and any(target.iterdir())
    if held and any(file.resolve().is_relative_to(target.resolve()) for file in inputs):
        raise BadFile(f"{target} holds one of the files that are read; name another folder to write.")
    if held and not overwrite:
        raise BadFile(f"{target} is there already; name another folder, or replace it with --overwrite.")


def _refuse_unwritable(target: Path) -> None:
    """Raise if no file can be made where ``target`` is to be, or where its missing folders would be made."""
    folder = target.parent
    try:
        while not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadFile(f"{target} could not be written ({reason}: {folder}); nothing was changed.") from None
