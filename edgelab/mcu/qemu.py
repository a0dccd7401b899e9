"""A second witness: the same firmware file in QEMU, an emulator with another team's models of boards and cores.

It is driven over QEMU's debugger port (the GDB remote serial protocol) on a pipe: a breakpoint at ``main``, memory
written and read, functions called. Nothing in the firmware knows of it.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgelab.emulator.elf import read_elf
from edgelab.emulator.machine import find_core
from edgelab.engines.cortexm import as_rows
from edgelab.engines.cortexm_host import description_of
from edgelab.errors import BadInput, EngineCrash, MissingFramework

PROGRAM = "qemu-system-arm"
BOARDS = {
    "cortex-m0plus": "microbit",  # a Cortex-M0 with 256 KB of flash and 16 KB of RAM
    "cortex-m4": "mps2-an386",
    "cortex-m7": "mps2-an500",
    "cortex-m33": "mps2-an505",
}
_QUIET = ("-display", "none", "-monitor", "none", "-serial", "none")
_CHUNK_BYTES = 1024
_LR, _PC = 14, 15


def qemu_program() -> str:
    """The emulator's program.

    Raises
    ------
    MissingFramework
        If it is not installed.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise MissingFramework(f"{PROGRAM} is not installed; add it with: apt-get install qemu-system-arm")
    return found


def run_in_qemu(path: str, inputs: Sequence[NDArray[Any]], *, timeout: float = 120.0) -> list[NDArray[Any]]:
    """Run rows of raw element values through firmware (.elf) on QEMU's board of its core.

    Parameters
    ----------
    path
        Firmware that `edgelab.mcu.firmware` made.
    inputs
        For each input an array (rows, ...) of the input's element type.
    timeout
        Seconds for all of it.

    Returns
    -------
    list of ndarray
        For each output an array (rows, ...), as `edgelab.engines.cortexm.CortexMEngine.invoke_raw` gives it.

    Raises
    ------
    BadFile
        If the file is not such firmware.
    BadInput
        If the arrays do not fit.
    EngineCrash
        If QEMU dies, or the firmware does not come to its end in time.
    MissingFramework
        If QEMU is not installed.
    """
    elf = read_elf(path)
    about = description_of(elf.metadata, str(path))
    if len(inputs) != len(about["inputs"]):
        raise BadInput(f"{path} takes {len(about['inputs'])} inputs, not {len(inputs)}.")
    rows = [as_rows(array, info, str(path)) for array, info in zip(inputs, about["inputs"], strict=True)]
    main, invoke = elf.symbol("main").address, elf.symbol(f"{about['prefix']}_invoke").address
    with _Debugged(Path(path), BOARDS[find_core(about["core"]).name], timeout) as core:
        core.stop_at(main)
        places = [
            [
                core.call(elf.symbol(f"{about['prefix']}_{kind}").address, number, back=main)
                for number in range(len(about[f"{kind}s"]))
            ]
            for kind in ("input", "output")
        ]
        found: list[list[NDArray[Any]]] = []
        for row in zip(*rows, strict=True):
            for place, values in zip(places[0], row, strict=True):
                core.write(place, values.tobytes())
            core.call(invoke, 0, back=main)
            answers = []
            for place, info in zip(places[1], about["outputs"], strict=True):
                dtype = np.dtype(info.dtype)
                shape = tuple(int(n or 1) for n in info.shape)
                content = core.read(place, math.prod(shape) * dtype.itemsize)
                answers.append(np.frombuffer(content, dtype).reshape(shape[1:] if shape[:1] == (1,) else shape))
            found.append(answers)
    return [np.stack(column) for column in zip(*found, strict=True)]


class _Debugged:
    """QEMU with a core that waits at its reset, and the debugger's end of the pipe."""

    def __init__(self, path: Path, board: str, timeout: float) -> None:
        self._path = path
        self._process = subprocess.Popen(
            [qemu_program(), "-M", board, "-kernel", str(path), *_QUIET, "-S", "-gdb", "stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._timer = threading.Timer(timeout, self._process.kill)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        self._ask("QStartNoAckMode", acknowledge=True)
        self._ask("qXfer:features:read:target.xml:0,ffb")  # single registers are only offered to who asked this
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def stop_at(self, address: int) -> None:
        """Set a breakpoint and run from reset until it is reached."""
        self._expect("OK", f"Z1,{address:x},2")
        self._go()

    def call(self, function: int, argument: int, *, back: int) -> int:
        """Call a function whose return address is the breakpoint; its r0."""
        for register, value in ((0, argument), (_LR, back | 1), (_PC, function)):
            self._expect("OK", f"P{register:x}={value.to_bytes(4, 'little').hex()}")
        self._go()
        return int.from_bytes(bytes.fromhex(self._ask("p0")), "little")

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory."""
        parts = [
            bytes.fromhex(self._ask(f"m{address + at:x},{min(_CHUNK_BYTES, size - at):x}"))
            for at in range(0, size, _CHUNK_BYTES)
        ]
        return b"".join(parts)

    def write(self, address: int, content: bytes) -> None:
        """Write bytes to memory."""
        for at in range(0, len(content), _CHUNK_BYTES):
            part = content[at : at + _CHUNK_BYTES]
            self._expect("OK", f"M{address + at:x},{len(part):x}:{part.hex()}")

    def _go(self) -> None:
        reply = self._ask("c")
        if not reply.startswith(("T05", "S05")):
            raise EngineCrash(f"{self._path} did not come to its breakpoint in QEMU (it said {reply[:40]!r}).")

    def _expect(self, wanted: str, command: str) -> None:
        reply = self._ask(command)
        if reply != wanted:
            raise EngineCrash(f"QEMU refused '{command[:20]}' for {self._path} (it said {reply[:40]!r}).")

    def _ask(self, command: str, *, acknowledge: bool = False) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise EngineCrash("QEMU's pipes are closed.")
        try:
            stdin.write(f"${command}#{sum(command.encode()) % 256:02x}".encode())
            stdin.flush()
            while (byte := stdout.read(1)) not in (b"$", b""):
                pass
            text = bytearray()
            while byte and (byte := stdout.read(1)) not in (b"#", b""):
                text += byte
            stdout.read(2)
            if acknowledge:
                stdin.write(b"+")
                stdin.flush()
        except OSError:
            byte = b""
        if not byte:
            raise EngineCrash(f"QEMU ended or was stopped while it ran {self._path}; the firmware may never end.")
        return text.decode("ascii", "replace")
