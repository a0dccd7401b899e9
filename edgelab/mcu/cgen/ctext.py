"""The C text under construction: constants, functions and the names of things in memory."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RANGES = {
    "int8_t": (-(2**7), 2**7),
    "int16_t": (-(2**15), 2**15),
    "int32_t": (-(2**31), 2**31),
    "uint32_t": (0, 2**32),
    "uint16_t": (0, 2**16),
    "uint8_t": (0, 2**8),
}
_BYTES = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "uint32_t": 4, "uint16_t": 2, "uint8_t": 1}
_LEAST = -(2**31)
"""C has no literal for it."""


@dataclass(frozen=True)
class Place:
    """Where the rows of a picture lie: all of them, or the last ``ring`` of them one behind the other."""

    base: str
    row_bytes: int
    ring: int | None = None

    def row(self, index: str) -> str:
        """A C expression for the address of a row."""
        if self.ring == 1:
            return self.base
        at = f"({index})" if self.ring is None else f"(({index}) % {self.ring})"
        return f"({self.base} + {at} * {self.row_bytes})"


@dataclass
class Program:
    """Constants, functions and addresses of one generated model."""

    addresses: Mapping[int, str]
    """Of each tensor in memory: a C expression of type ``int8_t *``."""
    scratches: Mapping[int, str] = field(default_factory=dict)
    """Of each step's scratch memory, aligned to 16: a C expression of type ``uint8_t *``."""
    streams: Mapping[int, tuple[Place, ...]] = field(default_factory=dict)
    """Steps that run row by row: where the rows of their inputs and, last, of their output lie."""
    constants: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    constant_bytes: int = 0
    helpers: dict[str, str] = field(default_factory=dict)
    terse: frozenset[str] = frozenset()
    """Functions that are compiled for size."""
    _shared: dict[str, str] = field(default_factory=dict)
    _known: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def constant(self, ctype: str, values: NDArray[Any] | Iterable[int], name: str, *, align: int = 0) -> str:
        """Declare a constant array once; the name of the one with these values."""
        array = np.asarray(values).ravel()
        numbers = array.tolist() if array.dtype.kind in "iu" else [int(v) for v in array.tolist()]
        low, high = _RANGES[ctype]
        if numbers and not low <= min(numbers) <= max(numbers) < high:
            raise AssertionError(f"{name} does not fit {ctype}")
        text = repr(numbers)[1:-1]
        key = (f"{ctype} {align}", text.encode())
        if key in self._known:
            return self._known[key]
        if numbers and min(numbers) == _LEAST:
            text = ", ".join(map(_literal, numbers))
        body = filled(text, 118)
        aligned = f" __attribute__((aligned({align})))" if align else ""
        self.constants.append(f"static const {ctype} {name}[{len(numbers)}]{aligned} = {{\n{body}\n}};\n")
        self.constant_bytes += _BYTES[ctype] * len(numbers)
        self._known[key] = name
        return name

    def structure(self, kind: str, name: str, fields: str) -> str:
        """Declare a constant structure; its name."""
        self.constants.append(f"static const struct {kind} {name} = {{{fields}}};\n")
        return name

    def helper(self, name: str, text: str) -> None:
        """Add a helper function once."""
        self.helpers.setdefault(name, text)

    def shared(self, name: str, make: Callable[[str], str], key: str) -> str:
        """Add a helper function whose text may serve several layers; the name of the one with this key."""
        if key not in self._shared:
            self._shared[key] = name
            self.helpers[name] = make(name)
        return self._shared[key]

    def function(self, name: str, body: str, argument: str = "void", *, small: bool = False) -> None:
        """Add a layer's function; ``small``: it only calls others, and is compiled for size."""
        small = small or name in self.terse
        if argument == "int oy" and not re.search(r"\boy\b", body):  # a ring of one row on either side
            body = f"(void)oy;\n{body}"
        self.functions.append(
            f"{'SMALL' if small else 'LAYER'} void {name}({argument}) {{\n{textwrap.indent(body.strip(), '  ')}\n}}\n"
        )


def filled(text: str, width: int) -> str:
    r"""``text`` with as many words a line as fit in ``width``; a longer word keeps a line of its own.

    What `textwrap.fill` gives for words with one space in between, in a hundredth of the time.

    Examples
    --------
    >>> filled("12, 3, -400, 5", 8)
    '12, 3,\n-400, 5'
    """
    lines, start = [], 0
    while len(text) - start > width:
        cut = text.rfind(" ", start, start + width + 1)
        if cut < 0:
            cut = text.find(" ", start)
        if cut < 0:
            break
        lines.append(text[start:cut])
        start = cut + 1
    return "\n".join([*lines, text[start:]])


def _literal(number: int) -> str:
    return "-2147483647 - 1" if number == _LEAST else str(number)


def clamp(value: str, low: int, high: int) -> str:
    """A C expression that holds ``value`` inside a range."""
    return f"clamp({value}, {low}, {high})"


def plus(number: int) -> str:
    """`` + 3``, `` - 3`` or nothing."""
    return "" if number == 0 else f" {'+' if number > 0 else '-'} {abs(number)}"
