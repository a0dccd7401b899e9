"""A flash in memory, and what a power cut may leave on it.

`Flash` is a storage in memory that knows what is durable. Content that was not synced may be there or not, sector by
sector and in any order, and the last one torn; a file that was made, renamed or removed in a folder that was not synced
may be or not, also in any order. That is what POSIX allows (fsync(2), rename(2)), and more than most file systems do.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgelab.ota.storage import checked_name, folder_of

SECTOR_BYTES = 512
FREE_BYTES = 64 * 2**20
_ALL_SUBSETS = 6


@dataclass(frozen=True)
class Disk:
    """What is on the flash after a power cut: files by name, and folders."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()

    def key(self) -> str:
        """A hash of all of it."""
        digest = hashlib.sha256(repr(sorted(self.folders)).encode())
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()


@dataclass(frozen=True)
class Operation:
    """One operation on the flash: ``kind`` is create, write, fsync, fsync_folder, rename, unlink, folder or note."""

    kind: str
    name: str
    other: str = ""
    offset: int = 0
    content: bytes = b""

    def __str__(self) -> str:
        if self.kind == "write":
            return f"write {self.name}, {len(self.content)} bytes at {self.offset}"
        return f"{self.kind} {self.name}{' to ' + self.other if self.other else ''}"


class Flash:
    """A storage in memory that keeps a list of what was done to it; see `edgelab.ota.storage.Storage`.

    Examples
    --------
    >>> flash = Flash()
    >>> flash.create("model"); flash.write("model", 0, b"new")
    >>> [sorted(disk.files.items()) for disk in crash_states(Disk(), flash.log)]
    [[], [('model', b'')], [('model', b'n')], [('model', b'new')]]
    """

    def __init__(self, disk: Disk | None = None, free_bytes: int = FREE_BYTES) -> None:
        start = disk or Disk()
        self.files = {name: bytearray(content) for name, content in start.files.items()}
        self.folders = set(start.folders)
        self.log: list[Operation] = []
        self.rolled_back: frozenset[int] = frozenset()  # releases of which that was announced before the power cut
        self._free = free_bytes

    def _do(self, operation: Operation) -> None:
        self.log.append(operation)

    def _file(self, name: str) -> bytearray:
        if name not in self.files:
            raise FileNotFoundError(2, "No such file", name)
        return self.files[name]

    def read(self, name: str) -> bytes:
        """See `edgelab.ota.storage.Storage`."""
        return bytes(self._file(name))

    def size(self, name: str) -> int | None:
        """See `edgelab.ota.storage.Storage`."""
        return len(self.files[name]) if name in self.files else None

    def names(self, folder: str) -> list[str]:
        """See `edgelab.ota.storage.Storage`."""
        return sorted(name.rpartition("/")[2] for name in self.files if folder_of(name) == folder)

    def make_folder(self, folder: str) -> None:
        """See `edgelab.ota.storage.Storage`."""
        if folder not in self.folders:
            self.folders.add(checked_name(folder))
            self._do(Operation("folder", folder))

    def create(self, name: str) -> None:
        """See `edgelab.ota.storage.Storage`."""
        where = folder_of(checked_name(name))
        if where and where not in self.folders:
            raise FileNotFoundError(2, "No such folder", where)
        self.files[name] = bytearray()
        self._do(Operation("create", name))

    def write(self, name: str, offset: int, content: bytes) -> None:
        """See `edgelab.ota.storage.Storage`."""
        held = self._file(name)
        if len(held) < offset:
            held.extend(bytes(offset - len(held)))
        held[offset : offset + len(content)] = content
        self._do(Operation("write", name, offset=offset, content=bytes(content)))

    def fsync(self, name: str) -> None:
        """See `edgelab.ota.storage.Storage`."""
        self._file(name)
        self._do(Operation("fsync", name))

    def fsync_folder(self, folder: str) -> None:
        """See `edgelab.ota.storage.Storage`."""
        self._do(Operation("fsync_folder", folder))

    def rename(self, old: str, new: str) -> None:
        """See `edgelab.ota.storage.Storage`."""
        content = self._file(old)
        del self.files[old]
        self.files[checked_name(new)] = content
        self._do(Operation("rename", old, new))

    def unlink(self, name: str) -> None:
        """See `edgelab.ota.storage.Storage`."""
        if self.files.pop(name, None) is not None:
            self._do(Operation("unlink", name))

    def free_bytes(self) -> int:
        """See `edgelab.ota.storage.Storage`."""
        return self._free - sum(len(content) for content in self.files.values())

    def note(self, event: str, value: int) -> None:
        """See `edgelab.ota.storage.Storage`."""
        self._do(Operation("note", event, offset=value))

    def path(self, name: str) -> Path:
        """See `edgelab.ota.storage.Storage`. No runtime finds a file here."""
        return Path("/flash") / name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """See `edgelab.ota.storage.Storage`."""
        yield

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """See `edgelab.ota.storage.Storage`."""
        with tempfile.TemporaryDirectory(prefix="edgelab-flash-") as folder:
            yield Path(folder)

    def disk(self) -> Disk:
        """What would be there if everything were synced now."""
        return Disk({name: bytes(content) for name, content in self.files.items()}, frozenset(self.folders))


@dataclass
class _Atom:
    """One thing that a power cut may undo by itself."""

    kind: str
    folders: tuple[str, ...] = ()
    name: str = ""
    other: str = ""
    inode: int = -1
    offset: int = 0
    content: bytes = b""


class Cuts:
    """The states in which a series of operations may leave a flash, operation by operation.

    Parameters
    ----------
    start
        What is durable before the first of them.
    """

    def __init__(self, start: Disk) -> None:
        self.contents: dict[int, bytes] = dict(enumerate(start.files.values()))
        self.names: dict[str, int] = {name: i for i, name in enumerate(start.files)}
        self.durable: dict[str, int] = dict(self.names)
        self.folders: set[str] = set(start.folders)
        self.pending: list[_Atom] = []

    def do(self, operation: Operation) -> None:
        """Take one more operation."""
        kind, name = operation.kind, operation.name
        where = folder_of(name)
        if kind == "create":
            inode = self.names.get(name)
            if inode is None:
                inode = len(self.contents)
                self.contents[inode] = b""
                self.names[name] = inode
                self.pending.append(_Atom("link", (where,), name, inode=inode))
            else:
                self.pending.append(_Atom("empty", inode=inode))
        elif kind == "write":
            for start in range(0, len(operation.content), SECTOR_BYTES):
                part = operation.content[start : start + SECTOR_BYTES]
                place = operation.offset + start
                self.pending.append(_Atom("data", inode=self.names[name], offset=place, content=part))
        elif kind == "rename":
            inode = self.names.pop(name)
            self.names[operation.other] = inode
            folders = (where, folder_of(operation.other))
            self.pending.append(_Atom("rename", folders, name, operation.other, inode))
        elif kind == "unlink":
            self.pending.append(_Atom("unlink", (where,), name, inode=self.names.pop(name)))
        elif kind == "folder":
            self.pending.append(_Atom("folder", (where,), name))
        elif kind == "fsync":
            self._settle(lambda atom: not atom.folders and atom.inode == self.names[name])
        elif kind == "fsync_folder":
            self._settle(lambda atom: name in atom.folders)

    def states(self, draw: np.random.Generator | None = None, samples: int = 4, everything: int = 6) -> Iterator[Disk]:
        """The flash after a cut now.

        Up to ``everything`` things that may be lost, each subset of them survives in one state; of more, none, all,
        each alone lost, the first few, and ``samples`` drawn subsets. In one state more the last sector is torn.
        """
        count = len(self.pending)
        chosen: set[tuple[int, ...]] = set()
        if count <= everything:
            subsets: Iterator[Sequence[int]] = iter(list(itertools.product((0, 1), repeat=count)))
        else:
            ones = [1] * count
            listed = [[0] * count, ones]
            listed += [[*ones[:i], 0, *ones[i + 1 :]] for i in range(count)] if count <= 4 * everything else []
            listed += [[1] * i + [0] * (count - i) for i in range(1, count)] if count <= 4 * everything else []
            if draw is not None:
                listed += [[int(n) for n in draw.integers(0, 2, count)] for _ in range(samples)]
            subsets = iter(listed)
        data = [i for i, atom in enumerate(self.pending) if atom.kind == "data"]
        for subset in subsets:
            chosen.add(tuple(subset))
        if data:
            chosen.add(tuple(2 if i == data[-1] else 1 for i in range(count)))
        for survives in sorted(chosen):
            yield self._disk(survives)

    def _settle(self, done: Callable[[_Atom], bool]) -> None:
        for atom in [atom for atom in self.pending if done(atom)]:
            _apply(atom, self.contents, self.durable, self.folders)
        self.pending = [atom for atom in self.pending if not done(atom)]

    def _disk(self, survives: Sequence[int]) -> Disk:
        contents, names, folders = dict(self.contents), dict(self.durable), set(self.folders)
        for atom, how in zip(self.pending, survives, strict=True):
            if how:
                _apply(atom, contents, names, folders, torn=how == 2)
        there = {f for f in folders if all(parent in folders for parent in _parents(f))}
        files = {n: contents[i] for n, i in names.items() if not folder_of(n) or folder_of(n) in there}
        return Disk(files, frozenset(there))


def _apply(
    atom: _Atom, contents: dict[int, bytes], names: dict[str, int], folders: set[str], *, torn: bool = False
) -> None:
    if atom.kind == "data":
        part = atom.content[: len(atom.content) // 2] if torn else atom.content
        held = contents[atom.inode].ljust(atom.offset, b"\0")
        contents[atom.inode] = held[: atom.offset] + part + held[atom.offset + len(part) :]
    elif atom.kind == "empty":
        contents[atom.inode] = b""
    elif atom.kind == "link":
        names[atom.name] = atom.inode
    elif atom.kind == "rename":
        names[atom.other] = atom.inode
        if names.get(atom.name) == atom.inode:
            del names[atom.name]
    elif atom.kind == "unlink":
        if names.get(atom.name) == atom.inode:
            del names[atom.name]
    else:
        folders.add(atom.name)


def _parents(folder: str) -> list[str]:
    parts = folder.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def crash_states(start: Disk, log: Sequence[Operation]) -> list[Disk]:
    """All states after a cut at the end of a log, each once, in a stable order."""
    cuts = Cuts(start)
    for operation in log:
        cuts.do(operation)
    states = {disk.key(): disk for disk in cuts.states(everything=_ALL_SUBSETS)}
    return sorted(states.values(), key=lambda disk: (len(disk.files), sum(len(c) for c in disk.files.values())))
