"""Counts how often each basic block of an emulated core ran, by layer, and how often it ended in a taken branch.

unicorn calls a function at the start of every block. In Python such a call takes about 2 microseconds, so the same few
lines also stand in C: compiled once with the packaged compiler, kept in the user's cache folder, and left
aside where that does not work. Both give the same counts; a test holds them against each other.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelab.emulator.zig import tool_cache, zig_cc, zig_version
from edgelab.errors import EdgelabError

NO_LAYER = -1
"""The layer of what runs outside every layer function."""
_PLAIN, _LEAVE = -1, -2

C_SOURCE = r"""
typedef unsigned long long u64;
typedef unsigned int u32;
typedef struct {
    u64 *counts, *taken;     /* [layer + 1][slot] */
    u32 *sizes;              /* [slot], bytes of the block that begins there */
    const int *marks;        /* [slot]: a layer begins here, -2 it is left here, -1 neither */
    u64 blocks, limit, outside, uneven;
    u64 previous_end, previous;
    u64 base, slots;
    int current;
    int (*stop)(void *);
} state;

#if defined(_WIN32)
__declspec(dllexport)
#endif
void edgelab_block(void *engine, u64 address, u32 size, void *user) {
    state *s = (state *)user;
    u64 slot = (address - s->base) >> 1, place;
    if (s->previous_end && address != s->previous_end) s->taken[s->previous]++;
    if (++s->blocks > s->limit) { s->stop(engine); return; }
    if (slot >= s->slots) { s->outside++; s->previous_end = 0; return; }
    if (s->marks[slot] >= 0) s->current = s->marks[slot] + 1;
    else if (s->marks[slot] == -2) s->current = 0;
    place = (u64)s->current * s->slots + slot;
    s->counts[place]++;
    if (s->sizes[slot] && s->sizes[slot] != size) s->uneven++;
    s->sizes[slot] = size;
    s->previous = place;
    s->previous_end = address + size;
}
"""


class _State(ctypes.Structure):
    _fields_ = (
        ("counts", ctypes.c_void_p),
        ("taken", ctypes.c_void_p),
        ("sizes", ctypes.c_void_p),
        ("marks", ctypes.c_void_p),
        ("blocks", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("outside", ctypes.c_uint64),
        ("uneven", ctypes.c_uint64),
        ("previous_end", ctypes.c_uint64),
        ("previous", ctypes.c_uint64),
        ("base", ctypes.c_uint64),
        ("slots", ctypes.c_uint64),
        ("current", ctypes.c_int),
        ("stop", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Block:
    """One basic block of code: how often it ran on behalf of ``layer``, and how often a branch at its end was taken."""

    layer: int
    address: int
    size: int
    count: int
    taken: int


class BlockCounter:
    """Counts blocks between ``base`` and ``end``.

    Parameters
    ----------
    base, end
        Addresses of the code.
    layers
        How many layers there are.
    entries
        The address at which each layer's function begins. What it calls counts for the layer too.
    leaving
        Start and end of the code in which no layer runs: the function that calls the layers.
    native
        None: in C where that works. False: in Python.
    """

    def __init__(
        self,
        base: int,
        end: int,
        layers: int,
        entries: Mapping[int, int],
        leaving: tuple[int, int],
        *,
        native: bool | None = None,
    ) -> None:
        self._slots = max((end - base + 1) // 2, 1)
        self._base = base
        marks = np.full(self._slots, _PLAIN, np.int32)
        marks[(leaving[0] - base) // 2 : (leaving[1] - base) // 2] = _LEAVE
        for address, layer in entries.items():
            marks[(address - base) // 2] = layer
        self._marks = marks
        self._layers = layers
        self._library = None if native is False else native_library()
        self.native = self._library is not None
        self._handle: Any = None
        self.reset(0)

    def reset(self, limit: int) -> None:
        """Forget all counts; ``limit`` is the most blocks that may run from now on."""
        # Zeros take memory only where they are written to.
        self._counts = np.zeros((self._layers + 1, self._slots), np.uint64)
        self._taken = np.zeros_like(self._counts)
        self._sizes = np.zeros(self._slots, np.uint32)
        self._state = _State(
            counts=self._counts.ctypes.data,
            taken=self._taken.ctypes.data,
            sizes=self._sizes.ctypes.data,
            marks=self._marks.ctypes.data,
            limit=limit,
            base=self._base,
            slots=self._slots,
        )

    @contextlib.contextmanager
    def counting(self, uc: Any) -> Iterator[None]:
        """Count what ``uc`` runs inside the block."""
        from unicorn import unicorn_const

        uc.ctl_flush_tb()  # code translated before has no call of the hook in it
        if self._library is None:
            handle = uc.hook_add(unicorn_const.UC_HOOK_BLOCK, self._in_python)
            try:
                yield
            finally:
                uc.hook_del(handle)
        else:
            with self._hooked(uc, self._library):
                yield
        uc.ctl_flush_tb()

    @property
    def exhausted(self) -> bool:
        """Whether the limit was reached."""
        return bool(self._state.blocks > self._state.limit)

    @property
    def current_layer(self) -> int:
        """The layer that ran last, or `NO_LAYER`."""
        return int(self._state.current) - 1

    @property
    def sound(self) -> bool:
        """Whether every block lay in the known code and had one size."""
        return not (self._state.outside or self._state.uneven)

    def blocks(self) -> list[Block]:
        """Every block that ran, by layer."""
        rows, slots = np.nonzero(self._counts)
        return [
            Block(
                layer=int(row) - 1,
                address=self._base + 2 * int(slot),
                size=int(self._sizes[slot]),
                count=int(self._counts[row, slot]),
                taken=int(self._taken[row, slot]),
            )
            for row, slot in zip(rows, slots, strict=True)
        ]

    def _in_python(self, uc: Any, address: int, size: int, _data: object) -> None:
        state = self._state
        if state.previous_end and address != state.previous_end:
            self._taken[state.previous // self._slots, state.previous % self._slots] += np.uint64(1)
        state.blocks += 1
        if state.blocks > state.limit:
            uc.emu_stop()
            return
        slot = (address - self._base) >> 1
        if not 0 <= slot < self._slots:
            state.outside += 1
            state.previous_end = 0
            return
        mark = int(self._marks[slot])
        if mark >= 0:
            state.current = mark + 1
        elif mark == _LEAVE:
            state.current = 0
        self._counts[state.current, slot] += np.uint64(1)
        if self._sizes[slot] and self._sizes[slot] != size:
            state.uneven += 1
        self._sizes[slot] = size
        state.previous = state.current * self._slots + slot
        state.previous_end = address + size

    @contextlib.contextmanager
    def _hooked(self, uc: Any, library: ctypes.CDLL) -> Iterator[None]:
        from unicorn import unicorn_const
        from unicorn.unicorn_py3.unicorn import uclib  # the binding's own handle of the library

        self._state.stop = ctypes.cast(uclib.uc_emu_stop, ctypes.c_void_p).value
        hook = ctypes.c_size_t()
        function = ctypes.cast(library.edgelab_block, ctypes.c_void_p)
        add = ctypes.CFUNCTYPE(
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.POINTER(ctypes.c_size_t),
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_uint64,
            ctypes.c_uint64,
        )(ctypes.cast(uclib.uc_hook_add, ctypes.c_void_p).value or 0)
        remove = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)(
            ctypes.cast(uclib.uc_hook_del, ctypes.c_void_p).value or 0
        )
        engine = uc._uch  # noqa: SLF001 - the engine's handle has no public name
        state = ctypes.cast(ctypes.pointer(self._state), ctypes.c_void_p)
        if add(engine, ctypes.byref(hook), unicorn_const.UC_HOOK_BLOCK, function, state, 1, 0):
            raise RuntimeError("unicorn refused the block hook")
        try:
            yield
        finally:
            remove(engine, hook)


_LIBRARY: list[ctypes.CDLL | None] = []


def native_library() -> ctypes.CDLL | None:
    """The counter in C for this machine, made on first use; None where it cannot be made or used."""
    if not _LIBRARY:
        _LIBRARY.append(_load_library())
    return _LIBRARY[0]


def _load_library() -> ctypes.CDLL | None:
    if os.environ.get("EDGELAB_NATIVE_COUNTER") == "off":
        return None
    try:
        from unicorn.unicorn_py3.unicorn import uclib

        if not uclib.uc_hook_add:
            return None
        key = hashlib.sha256(f"{C_SOURCE} {zig_version()} {platform.platform()} {platform.machine()}".encode())
        suffix = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
        file = tool_cache() / f"counter-{key.hexdigest()[:20]}{suffix}"
        if not file.is_file():
            _build(file)
        library = ctypes.CDLL(str(file))
        usable = bool(library.edgelab_block)
    except (OSError, EdgelabError, ImportError, AttributeError):
        return None
    return library if usable else None


def _build(file: Path) -> None:
    from edgelab.files import write_bytes

    with tempfile.TemporaryDirectory(prefix="edgelab-counter-") as name:
        folder = Path(name)
        (folder / "counter.c").write_text(C_SOURCE, encoding="utf-8")
        built = f"counter{file.suffix}"
        position = [] if sys.platform == "win32" else ["-fPIC"]
        zig_cc(
            ["-shared", "-O2", "-g0", "-nostdlib", "-fno-sanitize=all", *position, "-o", built, "counter.c"],
            folder,
        )
        write_bytes(file, (folder / built).read_bytes())
