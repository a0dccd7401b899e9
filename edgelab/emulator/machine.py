"""One emulated Cortex-M that holds firmware: memory as the linker laid it out, calls of its functions, faults by name.

It runs in unicorn and belongs into a child process: `edgelab.engines.cortexm` puts it there. The core starts as the
hardware does: stack pointer and start address come from the vector table, and the firmware's own start-up code
copies .data and clears .bss up to ``main``. The stack lies at the bottom of RAM with nothing mapped below, so an
overflow is a fault and never silent damage.
"""

from __future__ import annotations

import contextlib
import math
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelab.emulator.counter import Block, BlockCounter
from edgelab.emulator.elf import Elf
from edgelab.emulator.thumb import Mix, instructions, mix_of, runs_on_armv6m
from edgelab.errors import BadFile, BadInput, EngineCrash, MissingFramework

PAINT = 0xA5
_PAGE = 0x1000
_MAX_REGION_BYTES = 64 * 2**20
_GUARD_BYTES = 0x10000
_SYSTEM_CONTROL_SPACE = 0xE000E000
_FIRST_SYSTEM_ADDRESS = 0xE0000000
_STARTUP_SECONDS = 20.0
_WATCH_SECONDS = 0.05


@dataclass(frozen=True)
class Core:
    """A processor core that can be compiled for and emulated.

    ``cpu`` is the compiler's name, with the FPU of single precision that such chips usually have, and ``unicorn`` the
    emulator's constant. ``flash`` and ``ram`` are the start addresses of the memory that edgelab's linker script uses:
    those of Arm's MPS2 boards (application notes AN386, AN500, AN505: secure aliases), so that QEMU runs the same file.
    """

    name: str
    title: str
    cpu: str
    unicorn: str
    fpu: bool
    dsp: bool
    flash: int = 0x00000000
    ram: int = 0x20000000


CORES: Mapping[str, Core] = {
    core.name: core
    for core in (
        Core("cortex-m0plus", "Cortex-M0+", "cortex_m0plus", "UC_CPU_ARM_CORTEX_M0", fpu=False, dsp=False),
        Core("cortex-m4", "Cortex-M4", "cortex_m4+vfp4d16sp", "UC_CPU_ARM_CORTEX_M4", fpu=True, dsp=True),
        Core("cortex-m7", "Cortex-M7", "cortex_m7+fp_armv8d16sp", "UC_CPU_ARM_CORTEX_M7", fpu=True, dsp=True),
        Core(
            "cortex-m33",
            "Cortex-M33",
            "cortex_m33+dsp+fp_armv8d16sp",
            "UC_CPU_ARM_CORTEX_M33",
            fpu=True,
            dsp=True,
            flash=0x10000000,
            ram=0x38000000,
        ),
    )
}
_SHORT = {"m0": "cortex-m0plus", "m0+": "cortex-m0plus", "m0plus": "cortex-m0plus", "cortex-m0+": "cortex-m0plus"}


def find_core(name: str) -> Core:
    """The core of this name: ``"cortex-m4"``, ``"m4"``, ``"Cortex-M0+"``.

    Raises
    ------
    BadInput
        If it is not one that can be emulated.

    Examples
    --------
    >>> find_core("M33").title
    'Cortex-M33'
    """
    key = str(name).strip().lower().replace("_", "-")
    key = _SHORT.get(key, key)
    core = CORES.get(key) or CORES.get(f"cortex-{key}")
    if core is None:
        raise BadInput(f"'{name}' is not a core that edgelab emulates; choose one of {', '.join(CORES)}.")
    return core


@dataclass(frozen=True)
class Counted:
    """What one traced call executed: the mix of instructions outside every layer, and by layer."""

    outside: Mix
    layers: tuple[Mix, ...]


class _Watchdog:
    """Stops an emulation that takes too long; one thread for all calls, because starting one takes longer than many."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self._deadline = math.inf
        self._late = threading.Event()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def over(self, seconds: float) -> Iterator[threading.Event]:
        """Watch the block; the event is set if it had to be stopped."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        self._late.clear()
        with self._lock:
            self._deadline = time.monotonic() + seconds
        try:
            yield self._late
        finally:
            with self._lock:
                self._deadline = math.inf

    def _watch(self) -> None:
        while True:
            time.sleep(_WATCH_SECONDS)
            with self._lock:
                if time.monotonic() > self._deadline:
                    self._late.set()
                    self._stop()


class Machine:
    """A core with firmware in its memory.

    Parameters
    ----------
    elf
        The firmware.
    core
        The core that it was built for.
    layers
        The functions of the layers, in order; a name may stand more than once, and the first counts.
    entry
        The function that makes one inference.
    native
        As `edgelab.emulator.counter.BlockCounter` takes it.
    """

    def __init__(
        self, elf: Elf, core: Core, layers: Sequence[str], *, entry: str = "edgelab_invoke", native: bool | None = None
    ) -> None:
        try:
            import unicorn
            from unicorn import arm_const, unicorn_const
        except ImportError as error:
            raise MissingFramework(
                f"The emulator unicorn is not installed ({error}); add it with: uv pip install unicorn"
            ) from None
        self._unicorn: Any = unicorn
        self._arm: Any = arm_const
        self._const: Any = unicorn_const
        self.elf, self.core, self.layers, self.entry = elf, core, tuple(layers), entry
        self.late = False
        """Whether the last call was stopped because it took too long."""
        self.version = f"unicorn {self._unicorn.__version__}"
        self._fault: tuple[str, int] | None = None
        self._counter: BlockCounter | None = None
        self._native = native
        self._code: dict[tuple[int, int], Mix] = {}
        self.stack = (elf.symbol("_sstack").address, elf.symbol("_estack").address)
        self._return = elf.symbol("main").address
        self._map()
        self._watchdog = _Watchdog(self._uc.emu_stop)
        self.reset()

    def reset(self) -> None:
        """Load the firmware and start it as hardware does, up to ``main``."""
        for segment in self.elf.segments:
            self._uc.mem_write(segment.address, segment.content)
        low, high = self._ram
        self._uc.mem_write(low, bytes(high - low))
        vectors = self.elf.symbol("vectors").address
        stack, start = struct.unpack("<II", bytes(self._uc.mem_read(vectors, 8)))
        if not self.stack[0] < stack <= self.stack[1]:
            raise BadFile(f"{self.elf.path} starts with its stack pointer at 0x{stack:08x}, outside its stack.")
        self._run(start & ~1, stack, self._return, "starting", _STARTUP_SECONDS)
        self._uc.mem_write(self.stack[0], bytes([PAINT]) * (self.stack[1] - self.stack[0]))

    def call(self, name: str, *arguments: int, doing: str, seconds: float) -> int:
        """Call a function of the firmware with up to four whole numbers and return its register r0.

        Raises
        ------
        EngineCrash
            If the core faults or does not return within ``seconds``; the sentence names address and function.
        """
        function = self.elf.symbol(name)
        for number, value in enumerate(arguments):
            self._uc.reg_write(self._arm.UC_ARM_REG_R0 + number, value)
        self._run(function.address, self.stack[1] & ~7, self._return, doing, seconds)
        return int(self._uc.reg_read(self._arm.UC_ARM_REG_R0))

    def traced_call(self, name: str, *, doing: str, seconds: float, max_blocks: int) -> Counted:
        """Call a function and count every instruction that it executes, by layer.

        Raises
        ------
        EngineCrash
            As `call`, and if it runs more than ``max_blocks`` basic blocks; the sentence names the layer too.
        """
        counter = self._block_counter()
        counter.reset(max_blocks)
        with counter.counting(self._uc):
            self._run(self.elf.symbol(name).address, self.stack[1] & ~7, self._return, doing, seconds, counter)
        if not counter.sound:
            raise EngineCrash(f"{self._where()} ran code outside its .text while {doing}; build the firmware again.")
        total = [Mix() for _ in range(len(self.layers) + 1)]
        for block in counter.blocks():
            total[block.layer + 1] += self._mix(block)
        return Counted(total[0], tuple(total[1:]))

    def read(self, address: int, size: int, what: str) -> bytes:
        """Bytes of memory; raises `BadFile` where firmware names an address that it does not have."""
        try:
            return bytes(self._uc.mem_read(address, size))
        except self._unicorn.UcError:
            raise BadFile(f"{self.elf.path} names 0x{address:08x} as its {what}, where no memory is.") from None

    def write(self, address: int, content: bytes, what: str) -> None:
        """Write to RAM; raises `BadFile` where firmware names an address outside of it."""
        low, high = self._ram
        if not low <= address <= address + len(content) <= high:
            raise BadFile(f"{self.elf.path} names 0x{address:08x} as its {what}, which is not in its RAM.")
        self._uc.mem_write(address, content)

    def stack_peak_bytes(self) -> int:
        """The deepest that any call since the start has written to the stack."""
        content = self.read(self.stack[0], self.stack[1] - self.stack[0], "stack")
        untouched = len(content) - len(content.lstrip(bytes([PAINT])))
        return len(content) - untouched // 4 * 4

    def _map(self) -> None:
        """Flash readable and executable, RAM readable and writable, nothing else but the system control space."""
        unicorn, const = self._unicorn, self._const
        self._uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(getattr(self._arm, self.core.unicorn))
        ram = [s for s in self.elf.sections if s.allocated and (s.nobits or s.writable or s.name == ".data") and s.size]
        ends = [s.address + s.size for s in ram]
        self._ram = (self.stack[0] & -_PAGE, -(-max([*ends, self.stack[1]]) // _PAGE) * _PAGE)
        # A segment lies where it is loaded from: .data's initial values lie in flash.
        flash = (
            min((s.address for s in self.elf.segments), default=0) & -_PAGE,
            -(-max((s.address + len(s.content) for s in self.elf.segments), default=0) // _PAGE) * _PAGE,
        )
        overlap = flash[0] < self._ram[1] and self._ram[0] < flash[1]
        for low, high in (flash, self._ram):
            if not 0 <= low < high <= _FIRST_SYSTEM_ADDRESS or high - low > _MAX_REGION_BYTES or overlap:
                raise BadFile(
                    f"{self.elf.path} places its memory from 0x{low:08x} to 0x{high:08x}, which no core of this kind "
                    "has; use the linker script that `edgelab firmware` writes."
                )
        if self.stack[0] % _PAGE:
            raise BadFile(f"{self.elf.path} does not begin its RAM with the stack on a page; use edgelab's script.")
        self._uc.mem_map(flash[0], flash[1] - flash[0], const.UC_PROT_READ | const.UC_PROT_EXEC)
        self._uc.mem_map(self._ram[0], self._ram[1] - self._ram[0], const.UC_PROT_READ | const.UC_PROT_WRITE)
        self._uc.mem_map(_SYSTEM_CONTROL_SPACE, _PAGE, const.UC_PROT_READ | const.UC_PROT_WRITE)
        self._uc.hook_add(const.UC_HOOK_MEM_INVALID, self._on_invalid)
        self._uc.hook_add(const.UC_HOOK_INTR, self._on_interrupt)

    def _run(
        self,
        address: int,
        stack: int,
        until: int,
        doing: str,
        seconds: float,
        counter: BlockCounter | None = None,
    ) -> None:
        arm, uc = self._arm, self._uc
        uc.reg_write(arm.UC_ARM_REG_SP, stack)
        uc.reg_write(arm.UC_ARM_REG_LR, until | 1)
        if self.core.fpu:
            uc.reg_write(arm.UC_ARM_REG_C1_C0_2, 0xF00000)
            uc.reg_write(arm.UC_ARM_REG_FPEXC, 0x40000000)
        self._forget_fault()
        reason = ""
        with self._watchdog.over(seconds) as late:
            try:
                uc.emu_start(address | 1, until)
            except self._unicorn.UcError as error:
                reason = str(error)
        place = int(uc.reg_read(arm.UC_ARM_REG_PC))
        fault: tuple[str, int] | None = self._fault
        if fault is not None:  # set by a hook meanwhile
            reason, place = fault
        elif place == until and not reason:
            return
        elif counter is not None and counter.exhausted:
            reason = "it ran more basic blocks than it was allowed and does not seem to end"
        elif late.is_set():
            self.late = True
            reason = f"it did not end within {seconds:g} s of emulation"
        elif "INSN_INVALID" in reason or "EXCEPTION" in reason:
            reason = "an undefined instruction"
        raise EngineCrash(self._sentence(doing, reason or "it stopped without a reason", place, counter))

    def _forget_fault(self) -> None:
        self._fault, self.late = None, False

    def _sentence(self, doing: str, reason: str, place: int, counter: BlockCounter | None) -> str:
        layer = "" if counter is None or counter.current_layer < 0 else f" in layer {counter.current_layer}"
        function = self.elf.function_at(place)
        if not layer and function is not None and function.name in self.layers:
            layer = f" in layer {self.layers.index(function.name)}"
        return f"{self._where()} stopped while {doing}: {reason} at {self.elf.where(place)} (0x{place:08x}){layer}."

    def _where(self) -> str:
        return f"The emulated {self.core.title} with {self.elf.path}"

    def _on_invalid(self, uc: Any, access: int, address: int, size: int, _value: int, _data: object) -> bool:
        const = self._const
        what = {
            const.UC_MEM_READ_UNMAPPED: "a read from",
            const.UC_MEM_WRITE_UNMAPPED: "a write to",
            const.UC_MEM_FETCH_UNMAPPED: "a jump to",
            const.UC_MEM_WRITE_PROT: "a write to flash at",
            const.UC_MEM_FETCH_PROT: "a jump into data at",
            const.UC_MEM_READ_PROT: "a forbidden read from",
        }.get(access, "an access to")
        unmapped = access in (
            const.UC_MEM_READ_UNMAPPED,
            const.UC_MEM_WRITE_UNMAPPED,
            const.UC_MEM_FETCH_UNMAPPED,
        )
        place = int(uc.reg_read(self._arm.UC_ARM_REG_PC))
        address &= 0xFFFFFFFF
        if unmapped and access != const.UC_MEM_FETCH_UNMAPPED and 0 < self.stack[0] - address <= _GUARD_BYTES:
            size = self.stack[1] - self.stack[0]
            self._fault = (f"a stack overflow ({what} 0x{address:08x}, below the stack of {size:,} bytes)", place)
        else:
            none = ", where no memory is," if unmapped else ""
            self._fault = (f"{what} 0x{address:08x}{none}", place)
        return False

    def _on_interrupt(self, uc: Any, number: int, _data: object) -> None:
        place = int(uc.reg_read(self._arm.UC_ARM_REG_PC))
        names = {
            2: "a supervisor call",
            3: "a jump to an address outside code",
            4: "a forbidden data access",
            7: "a breakpoint",
        }
        self._fault = (names.get(number, f"a processor exception (number {number})"), place)
        uc.emu_stop()

    def _block_counter(self) -> BlockCounter:
        if self._counter is None:
            code = [s for s in self.elf.sections if s.executable and s.size]
            base, end = min((s.address for s in code), default=0), max((s.address + s.size for s in code), default=0)
            if end - base > _MAX_REGION_BYTES or end <= base:
                raise BadFile(f"{self.elf.path} has no code section of a sound size; build it again.")
            entries = {}
            for number, name in reversed(list(enumerate(self.layers))):
                address = self.elf.symbol(name).address
                if not base <= address < end:
                    raise BadFile(f"{self.elf.path} places its function '{name}' outside its code; build it again.")
                entries[address] = number
            invoke = self.elf.symbol(self.entry)
            leaving = (invoke.address, invoke.address + invoke.size)
            self._counter = BlockCounter(base, end, len(self.layers), entries, leaving, native=self._native)
        return self._counter

    def _mix(self, block: Block) -> Mix:
        key = (block.address, block.size)
        if key not in self._code:
            code = self.read(block.address, block.size, "code")
            if not self.core.dsp:
                strange = [pair for pair in instructions(code) if not runs_on_armv6m(*pair)]
                if strange:
                    raise EngineCrash(
                        f"{self._where()} holds an instruction that this core does not have, in "
                        f"{self.elf.where(block.address)}; build the firmware for this core."
                    )
            self._code[key] = mix_of(code)
        once = self._code[key]
        return Mix(
            **{name: value * block.count for name, value in once.to_dict().items() if name != "taken"},
            taken=block.taken,
        )
