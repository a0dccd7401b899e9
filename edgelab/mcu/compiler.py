"""Firmware out of C: compiled and linked for one Cortex-M with the packaged compiler, without leftovers."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from edgelab.emulator.machine import Core, find_core
from edgelab.emulator.zig import session_folder, zig_cc
from edgelab.errors import BadInput, EngineCrash
from edgelab.files import write_bytes, write_text

DEFAULT_STACK_BYTES = 4096
SCRIPT = "firmware.ld"
FLAGS = (
    "-O3",
    "-std=gnu99",
    "-ffp-contract=off",  # a fused multiply-add would round once where TFLM rounds twice
    "-fomit-frame-pointer",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",  # so that the linker drops what nobody calls
)
_ZIG_FLAGS = ("-g0", "-fno-stack-protector", "-fno-sanitize=all", "-ffile-compilation-dir=.")
_MEMORY_KIB = 4096
_SUPPORT = ("startup.c", "runtime.c")


def support_file(name: str) -> str:
    """A C file that firmware needs beside the model: ``"startup.c"``, ``"runtime.c"``."""
    return (resources.files("edgelab.mcu") / "support" / name).read_text(encoding="utf-8")


def linker_script(core: Core | str, *, stack_bytes: int = DEFAULT_STACK_BYTES) -> str:
    """The linker script for edgelab's firmware on ``core``.

    Parameters
    ----------
    core
        The core; its addresses are those of the board that QEMU and `edgelab.emulator.machine` know.
    stack_bytes
        Bytes for the stack, a multiple of 8, at least 256.

    Raises
    ------
    BadInput
        If the core is unknown or the stack is not of a sound size.
    """
    core = find_core(core) if isinstance(core, str) else core
    if stack_bytes < 256 or stack_bytes % 8 or stack_bytes > 2**20:
        raise BadInput(f"stack_bytes must be a multiple of 8 from 256 to {2**20:,}, not {stack_bytes}.")
    return f"""/* Memory of the emulated {core.title}; put the addresses and sizes of your own board here. */
MEMORY
{{
    FLASH (rx) :
        ORIGIN = 0x{core.flash:08x},
        LENGTH = {_MEMORY_KIB}K
    RAM (rwx) :
        ORIGIN = 0x{core.ram:08x},
        LENGTH = {_MEMORY_KIB}K
}}
ENTRY(_start)
EXTERN(edgelab_input edgelab_output edgelab_invoke)
SECTIONS
{{
    .vectors : {{ KEEP(*(.vectors)) }} > FLASH
    .text : ALIGN(4) {{ *(.text .text.*) }} > FLASH
    .rodata : ALIGN(16) {{ *(.rodata .rodata.*) }} > FLASH
    /* The stack comes first: it grows down, and an overflow leaves the RAM and faults instead of damaging data. */
    .stack (NOLOAD) :
    {{
        _sstack = .;
        . = . + {stack_bytes};
        _estack = .;
    }} > RAM
    .data : ALIGN(16)
    {{
        _sdata = .;
        *(.data .data.*)
        . = ALIGN(4);
        _edata = .;
    }} > RAM AT > FLASH
    _sidata = LOADADDR(.data);
    .bss (NOLOAD) : ALIGN(16)
    {{
        _sbss = .;
        *(.bss .bss.* COMMON)
        . = ALIGN(4);
        _ebss = .;
    }} > RAM
    /* What the firmware computes, for edgelab; it takes no memory on the device. */
    .edgelab 0 (INFO) : {{ KEEP(*(.edgelab)) }}
    /DISCARD/ : {{ *(.ARM.exidx*) *(.ARM.extab*) }}
}}
"""


def compile_firmware(
    files: Mapping[str, str],
    core: Core | str,
    output: str | os.PathLike[str],
    *,
    stack_bytes: int = DEFAULT_STACK_BYTES,
) -> Path:
    """Compile and link C sources to firmware (.elf).

    Parameters
    ----------
    files
        Contents by file name: the .c files are compiled, headers lie beside them. They define ``main`` and
        what it calls; start-up code, memory functions and, unless given, the linker script are added.
    core
        ``"cortex-m4"`` or another of `edgelab.emulator.machine.CORES`.
    output
        The file to write, whole or not at all.
    stack_bytes
        For the linker script.

    Raises
    ------
    BadInput
        If the core is unknown, or the compiler rejects a source; the sentence carries its first complaint.
    EngineCrash
        If the compiler dies.
    MissingFramework
        If ziglang is not installed.
    """
    core = find_core(core) if isinstance(core, str) else core
    sources = {
        SCRIPT: linker_script(core, stack_bytes=stack_bytes),
        **{name: support_file(name) for name in _SUPPORT},
        **files,
    }
    with tempfile.TemporaryDirectory(prefix="edgelab-compile-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for file, content in sources.items():
            if Path(file).name != file:
                raise BadInput(f"'{file}' is not the plain name of a source file.")
            (folder / file).write_text(content, encoding="utf-8", newline="\n")
        units = [_unit(file, content) for file, content in sources.items() if file.endswith(".c")]
        # "hf": floats in the FPU's registers, where there is one.
        target = ["-target", f"thumb-freestanding-eabi{'hf' if core.fpu else ''}", f"-mcpu={core.cpu}"]
        arguments = [
            *target,
            *FLAGS,
            *_ZIG_FLAGS,
            "-Wl,--gc-sections,-z,max-page-size=16,-T," + SCRIPT,
            "-o",
            "firmware.elf",
            *units,
        ]
        said = zig_cc(["-nostdlib", *arguments], folder)
        if re.search(r"undefined symbol: __", said):
            # Floating point on a core without an FPU: the compiler's own library has it, and takes seconds once.
            said = zig_cc(arguments, folder, keep=True)
        if said:
            raise BadInput(f"The C sources do not compile for {core.title}: {first_complaint(said)}.")
        built = folder / "firmware.elf"
        if not built.is_file():
            raise EngineCrash("The C compiler ended without an error and without a file; try again.")
        return write_bytes(output, built.read_bytes())


def _unit(name: str, content: str) -> str:
    """A source as the compiler is given it: edgelab's own lie where they are compiled once in a process."""
    if name not in _SUPPORT or content != support_file(name):
        return name
    own = session_folder() / name
    if not own.is_file():
        write_text(own, content)
    return str(own)


def first_complaint(said: str) -> str:
    r"""The first line of a compiler's output that tells an error, on one line.

    Examples
    --------
    >>> first_complaint("note: x\nmodel.c:3:5: error: use of undeclared identifier 'y'\n 3 | y\n")
    "model.c:3:5: use of undeclared identifier 'y'"
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = next((line for line in lines if re.search(r"\berror\b", line)), lines[-1] if lines else "no reason given")
    text = re.sub(r"\b(fatal )?error: ", "", telling).removeprefix("ld.lld: ")
    return (text if len(text) <= 240 else text[:239] + "…").rstrip(". ")
