"""Firmware files: a reader of 32-bit little-endian ARM ELF, as far as emulating one needs it.

The layout is that of the ELF specification (System V ABI, chapter 4) and of "ELF for the Arm Architecture" (IHI 0044).
Every offset and size is checked against the file, so that a damaged one is a sentence.
"""

from __future__ import annotations

import bisect
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile
from edgelab.files import expanded, refuse_pointer

MAGIC = b"\x7fELF"
METADATA_SECTION = ".edgelab"
_MAX_FILE_BYTES = 256 * 2**20
_MAX_ENTRIES = 2**20
_ARM = 40
_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_SECTION = struct.Struct("<10I")
_SEGMENT = struct.Struct("<8I")
_SYMBOL = struct.Struct("<IIIBBH")
_LOAD, _SYMTAB, _NOBITS = 1, 2, 8
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4
_FUNCTION = 2


@dataclass(frozen=True)
class Section:
    """One section: where it lies at run time (``address``), its size in bytes and what it may do."""

    name: str
    address: int
    size: int
    allocated: bool
    writable: bool
    executable: bool
    nobits: bool


@dataclass(frozen=True)
class Segment:
    """Bytes that are loaded at the physical ``address`` (in flash, also what start-up code copies to RAM)."""

    address: int
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Symbol:
    """A name of the symbol table. Of a function, ``address`` is without the Thumb bit."""

    name: str
    address: int
    size: int
    function: bool


@dataclass(frozen=True)
class Elf:
    """A firmware file as it was read."""

    path: Path
    entry: int
    sections: tuple[Section, ...]
    segments: tuple[Segment, ...]
    symbols: tuple[Symbol, ...]
    metadata: Mapping[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        functions = sorted((s for s in self.symbols if s.function), key=lambda s: s.address)
        object.__setattr__(self, "_functions", functions)
        object.__setattr__(self, "_starts", [s.address for s in functions])
        object.__setattr__(self, "_by_name", {s.name: s for s in self.symbols})

    def find(self, name: str) -> Symbol | None:
        """The symbol of this name, or None."""
        found: Symbol | None = self._by_name.get(name)  # type: ignore[attr-defined]
        return found

    def symbol(self, name: str) -> Symbol:
        """The symbol of this name; raises `BadFile` where there is none."""
        found = self.find(name)
        if found is None:
            raise BadFile(
                f"{self.path} has no symbol '{name}', so it is not firmware that edgelab can run; build it from the "
                "folder that `edgelab firmware` writes, and do not strip it."
            )
        return found

    def function_at(self, address: int) -> Symbol | None:
        """The function whose code holds ``address``."""
        starts: list[int] = self._starts  # type: ignore[attr-defined]
        functions: list[Symbol] = self._functions  # type: ignore[attr-defined]
        place = bisect.bisect_right(starts, address) - 1
        if place < 0:
            return None
        function = functions[place]
        return function if address < function.address + max(function.size, 2) else None

    def where(self, address: int) -> str:
        """An address of code for people: ``layer_2+0x1c``, or the bare number."""
        function = self.function_at(address)
        return f"0x{address:08x}" if function is None else f"{function.name}+0x{address - function.address:x}"

    def size_of(self, *names: str) -> int:
        """Bytes of the named sections together, 0 for one that is missing."""
        return sum(s.size for s in self.sections if s.name in names)


@dataclass(frozen=True)
class Sizes:
    """What firmware occupies, in bytes, by section.

    ``flash_bytes`` is code, constants, the vector table and the initial values of .data; ``ram_bytes`` is .data and
    .bss, the stack apart.
    """

    text: int
    rodata: int
    data: int
    bss: int
    stack: int
    other_flash: int

    @property
    def flash_bytes(self) -> int:
        """Bytes of flash."""
        return self.text + self.rodata + self.data + self.other_flash

    @property
    def ram_bytes(self) -> int:
        """Bytes of RAM without the stack."""
        return self.data + self.bss


def sizes_of(elf: Elf) -> Sizes:
    """Sizes by section, as the linker laid them out."""
    named = (".text", ".rodata", ".data", ".bss", ".stack")
    rest = sum(s.size for s in elf.sections if s.allocated and not s.nobits and s.name not in named)
    text, rodata, data, bss, stack = (elf.size_of(name) for name in named)
    return Sizes(text, rodata, data, bss, stack, rest)


def read_elf(path: str | os.PathLike[str]) -> Elf:
    """Read a firmware file.

    Raises
    ------
    BadFile
        If it is missing, truncated, damaged, for another processor, or not linked for a fixed address.
    """
    file = expanded(path)
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            raise BadFile(f"{file} is larger than any microcontroller's firmware; name the .elf of a microcontroller.")
        refuse_pointer(file)
        content = file.read_bytes()
    except OSError as error:
        raise BadFile(f"{file} cannot be read ({error.strerror or error}).") from None
    try:
        return _parse(file, content)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise BadFile(f"{file} is a damaged ELF file ({error}); build it again.") from None


def _parse(file: Path, content: bytes) -> Elf:
    if not content.startswith(MAGIC):
        raise BadFile(f"{file} is not an ELF file; name the .elf that a linker wrote.")
    header = _HEADER.unpack_from(content)
    ident, kind, machine, _, entry, segments_at, sections_at = header[:7]
    _, segment_size, segment_count, section_size, section_count, names_index = header[8:]
    if ident[4] != 1 or ident[5] != 1 or machine != _ARM:
        raise BadFile(f"{file} is an ELF file for another processor than a 32-bit ARM; name microcontroller firmware.")
    if kind != 2:
        raise BadFile(f"{file} is an ARM object or library, not linked firmware; link it with its linker script.")
    if segment_size != _SEGMENT.size or section_size != _SECTION.size:
        raise ValueError("its tables have entries of an unknown size")
    raw = [_SECTION.unpack_from(content, sections_at + i * section_size) for i in range(section_count)]
    names = _slice(content, raw[names_index][4], raw[names_index][5])
    sections = tuple(
        Section(
            name=_text(names, entry_name),
            address=address,
            size=size,
            allocated=bool(flags & _ALLOC),
            writable=bool(flags & _WRITE),
            executable=bool(flags & _EXECUTE),
            nobits=type_ == _NOBITS,
        )
        for entry_name, type_, flags, address, _, size, *_ in raw
    )
    segments = []
    for i in range(segment_count):
        type_, offset, _, physical, file_bytes, *_ = _SEGMENT.unpack_from(content, segments_at + i * segment_size)
        if type_ == _LOAD and file_bytes:
            segments.append(Segment(physical, _slice(content, offset, file_bytes)))
    symbols = tuple(symbol for row in raw if row[1] == _SYMTAB for symbol in _symbols(content, row, raw))
    metadata: Any = {}
    for row, section in zip(raw, sections, strict=True):
        if section.name == METADATA_SECTION and not section.nobits:
            metadata = json.loads(_slice(content, row[4], row[5]).rstrip(b"\0 ").decode("utf-8"))
    if not isinstance(metadata, dict):
        raise ValueError(f"its section {METADATA_SECTION} holds no description")  # noqa: TRY004 - of the file, not of a type
    return Elf(file, entry & ~1, sections, tuple(segments), symbols, metadata)


def _symbols(content: bytes, row: tuple[int, ...], raw: list[tuple[int, ...]]) -> Iterator[Symbol]:
    offset, size, link = row[4], row[5], row[6]
    table = _slice(content, offset, size)
    names = _slice(content, raw[link][4], raw[link][5])
    if size // _SYMBOL.size > _MAX_ENTRIES:
        raise ValueError("its symbol table is too long")
    for name_at, value, bytes_, info, _, section in _SYMBOL.iter_unpack(table[: size - size % _SYMBOL.size]):
        if not name_at or not section:
            continue
        function = info & 0xF == _FUNCTION
        name = _text(names, name_at)
        if name.startswith("$"):  # mapping symbols: $t, $d, where code and constants begin
            continue
        yield Symbol(name, value & ~1 if function else value, bytes_, function)


def _slice(content: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(content):
        raise ValueError("it ends too early")
    return content[offset : offset + size]


def _text(names: bytes, at: int) -> str:
    end = names.find(b"\0", at)
    if at >= len(names) or end < 0:
        raise ValueError("a name lies outside its table")
    return names[at:end].decode("utf-8")
