"""Thumb instructions by what they cost: a classifier for ARMv6-M, ARMv7E-M and ARMv8-M mainline code.

It tells loads, stores, multiplies, multiply-accumulates, divisions and branches apart, which is what a static cycle
model needs, and nothing more. Encodings: ARMv7-M Architecture Reference Manual (DDI 0403), chapters A5 to A7.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

Kind = Literal["load", "store", "multiply", "mac", "divide", "branch", "other"]
_WIDE = 0xE800
_NO_REGISTER = 15


@dataclass(frozen=True)
class Mix:
    """How many instructions of each kind were executed.

    ``transfers`` are the registers beyond the first of multiple loads and stores (LDM, PUSH, LDRD); ``taken`` counts
    the times that execution did not go on at the next address.
    """

    load: int = 0
    store: int = 0
    multiply: int = 0
    mac: int = 0
    divide: int = 0
    branch: int = 0
    other: int = 0
    transfers: int = 0
    taken: int = 0

    @property
    def instructions(self) -> int:
        """All instructions."""
        return self.load + self.store + self.multiply + self.mac + self.divide + self.branch + self.other

    def __add__(self, other: Mix) -> Mix:
        return Mix(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def to_dict(self) -> dict[str, int]:
        """As JSON-ready data."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def instructions(code: bytes) -> Iterator[tuple[int, int | None]]:
    """The halfwords of each instruction in ``code``; the second is None for a 16-bit one.

    Raises
    ------
    ValueError
        If the code ends in the middle of an instruction.

    Examples
    --------
    >>> list(instructions(bytes.fromhex("0130 70fb02f3")))
    [(12289, None), (64368, 62210)]
    """
    halfwords = struct.unpack(f"<{len(code) // 2}H", code[: len(code) & ~1])
    place = 0
    while place < len(halfwords):
        first = halfwords[place]
        if first < _WIDE:
            yield first, None
            place += 1
            continue
        if place + 1 == len(halfwords):
            raise ValueError("the code ends in the middle of an instruction")
        yield first, halfwords[place + 1]
        place += 2


def classify(first: int, second: int | None) -> tuple[Kind, int]:
    """What kind of instruction this is, and how many registers it moves to or from memory.

    Examples
    --------
    >>> classify(0xB570, None)  # push {r4, r5, r6, lr}
    ('store', 4)
    >>> classify(0xFB20, 0x1002)  # smlad r0, r0, r2, r1
    ('mac', 0)
    """
    return _narrow(first) if second is None else _wide(first, second)


def mix_of(code: bytes) -> Mix:
    """The mix of a straight run of code, with ``taken`` at 0."""
    counts = dict.fromkeys((f.name for f in fields(Mix)), 0)
    for first, second in instructions(code):
        kind, registers = classify(first, second)
        counts[kind] += 1
        counts["transfers"] += max(registers - 1, 0)
    return Mix(**counts)


def runs_on_armv6m(first: int, second: int | None) -> bool:
    """Whether a Cortex-M0+ knows this encoding, as far as the 32-bit ones and divided branches go.

    ARMv6-M has BL, MSR, MRS and the barriers as 32-bit instructions (DDI 0419, A5.3), and no CBZ, CBNZ or IT.
    """
    if second is None:
        return first & 0xF500 != 0xB100 and not (first & 0xFF00 == 0xBF00 and first & 0xF)
    call = first & 0xF800 == 0xF000 and second & 0xD000 == 0xD000
    system = first & 0xFFE0 in (0xF380, 0xF3A0, 0xF3E0) and second & 0xD000 == 0x8000
    return call or system


def _narrow(code: int) -> tuple[Kind, int]:  # noqa: PLR0911 - a table of encodings
    top = code >> 11
    if top == 0b01001 or 0b01100 <= top <= 0b10011:  # literal pool; immediate offsets: bit 11 tells the direction
        return ("load", 1) if code & 0x0800 else ("store", 1)
    if code >> 12 == 0b0101:
        return ("load", 1) if code >> 9 & 7 >= 3 else ("store", 1)
    if code & 0xFE00 in (0xB400, 0xBC00):
        return ("load" if code & 0x0800 else "store"), (code & 0x1FF).bit_count()
    if code >> 12 == 0b1100:
        return ("load" if code & 0x0800 else "store"), (code & 0xFF).bit_count()
    if code & 0xFFC0 == 0x4340:
        return "multiply", 0
    conditional = code >> 12 == 0b1101 and code & 0x0F00 < 0x0E00
    if conditional or top == 0b11100 or code & 0xFF00 == 0x4700 or code & 0xF500 == 0xB100:
        return "branch", 0
    return "other", 0


def _wide(first: int, second: int) -> tuple[Kind, int]:  # noqa: PLR0911 - a table of encodings
    group = first >> 11 & 3
    if group == 1:
        return _wide_memory(first, second) if first & 0x0400 == 0 else _floating(first, second)
    if group == 2:
        branches = second & 0x9000 == 0x9000 or second & 0xC000 == 0xC000
        conditional = second & 0xD000 == 0x8000 and first >> 6 & 0xF < 0xE
        return ("branch", 0) if branches or conditional else ("other", 0)
    what = first >> 4 & 0x7F
    if what & 0x71 == 0:
        return "store", 1
    if what & 0x61 == 1:
        hint = second >> 12 == _NO_REGISTER and what & 0x07 != 5  # PLD and PLI
        return ("other", 0) if hint else ("load", 1)
    if what & 0x78 == 0x30:
        return ("multiply", 0) if second >> 12 == _NO_REGISTER else ("mac", 0)
    if what & 0x78 == 0x38:
        return ("divide" if what & 0xD == 0x9 else "mac" if what & 4 else "multiply"), 0
    return "other", 0


def _wide_memory(first: int, second: int) -> tuple[Kind, int]:
    if first & 0x0200:
        return "other", 0  # data processing with a shifted register
    load = bool(first & 0x10)
    if first & 0x40 == 0:
        return ("load" if load else "store"), second.bit_count()
    if first & 0xFFF0 == 0xE8D0 and second & 0xFFE0 == 0xF000:
        return "branch", 1  # TBB, TBH
    dual = bool(first & 0x0120)  # else exclusive, acquire and release forms
    return ("load" if load else "store"), 2 if dual else 1


def _floating(first: int, second: int) -> tuple[Kind, int]:
    if first & 0x0200 == 0:
        if first & 0xFFE0 == 0xEC40:
            return "other", 0  # a move between two core registers and the FPU
        single = first & 0x0120 == 0x0100
        words = (2 if second & 0x0100 else 1) if single else second & 0xFF
        return ("load" if first & 0x10 else "store"), words
    if first & 0xFF00 != 0xEE00 or second & 0x10 or second & 0x0E00 != 0x0A00:
        return "other", 0
    operation = first >> 4 & 0xB  # without the register's high bit
    if operation == 0x8:
        return "divide", 0
    return ("mac" if operation in (0, 1, 9, 0xA) else "multiply" if operation == 2 else "other"), 0
