"""What the C that `edgelab.mcu.firmware` writes for a core needs of it: flash and RAM."""

from __future__ import annotations

import contextlib
import functools
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.emulator.elf import read_elf, sizes_of
from edgelab.emulator.machine import CORES, Core
from edgelab.errors import BadInput, EngineCrash, MissingFramework
from edgelab.mcu.cgen import Sources
from edgelab.mcu.compiler import compile_firmware
from edgelab.mcu.firmware import Kernels, Minimise, kernels_for, written_files
from edgelab.mcu.model import Model
from edgelab.reading import How

STACK_BYTES = 2048
"""For the stack: the deepest of the 16 emulated networks with CMSIS-NN took 1,276 bytes; interrupts come on top."""
DEFAULT_CORE = "cortex-m4"
_CONSTANT = re.compile(r"^static const [^;=]*= \{[^}]*\};$", re.MULTILINE)
_FUNCTION = re.compile(r"^(?=(?:static|LAYER|SMALL|void|int8_t|const) )", re.MULTILINE)
_INSTRUCTION = re.compile(r'"\s*[^":\\]+\\n"')
# Bytes of machine code for each part of the text, by least squares on 55 networks compiled for the Cortex-M4.
_BYTES = {
    "dsp": {"around": 250.0, "instructions": 4.3, "lines": 4.3, "loops": 13.2, "scalings": 73.8, "calls": 6.0},
    "portable": {"around": 0.0, "instructions": 0.0, "lines": 8.0, "loops": 0.3, "scalings": 0.0, "calls": 38.2},
}


@dataclass(frozen=True)
class Generated:
    """What the C that edgelab generates for the model needs on one core; ``reason`` says why there is none.

    ``flash_bytes`` and ``ram_bytes`` (activations, state and stack) are those of code minimised for time,
    ``least_flash_bytes`` and ``least_ram_bytes`` of code minimised for RAM. ``kernels`` are those that
    `edgelab.mcu.firmware.build_firmware` writes for the core; ``how`` is ``"measured"`` where they were compiled.
    """

    flash_bytes: int
    ram_bytes: int
    least_flash_bytes: int
    least_ram_bytes: int
    kernels: Kernels = "dsp"
    how: How = "modelled"
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data; the sizes are null where the generator cannot take the model."""
        sizes = ("flash_bytes", "ram_bytes", "least_flash_bytes", "least_ram_bytes")
        able = not self.reason
        return {
            "kernels": self.kernels,
            "how": self.how if able else None,
            **{key: getattr(self, key) if able else None for key in sizes},
            "reason": self.reason or None,
        }


def generator_for(model: Model, *, compiled: bool = False) -> Callable[[str], Generated]:
    """A function that sizes the model's C for a core, by its name, as a device states it.

    Parameters
    ----------
    model
        The model.
    compiled
        Compile for the core, where edgelab builds firmware for it and a compiler is there (about half a second each);
        else the code's size is modelled from its text. A core that it builds nothing for gets portable kernels.
    """

    @functools.cache
    def sized(kernels: Kernels, core: Core | None) -> Generated:
        try:
            needs = [_needs(model, kernels, goal, core) for goal in ("time", "ram")]
        except BadInput as error:
            return Generated(0, 0, 0, 0, kernels, reason=str(error))
        (flash, ram, how), least = needs[0], min(needs, key=lambda need: need[1])
        return Generated(flash, ram, least[0], least[1], kernels, how)

    def of(core: str) -> Generated:
        known = CORES.get(core)
        return sized("portable" if known is None else kernels_for(known), known if compiled else None)

    return of


def _needs(model: Model, kernels: Kernels, minimise: Minimise, core: Core | None) -> tuple[int, int, How]:
    """Flash and RAM; without a core to compile for they are modelled."""
    sources, _, files = written_files(model, core or CORES[DEFAULT_CORE], kernels, minimise)
    ram_bytes = sources.arena_bytes + sources.state_bytes + STACK_BYTES
    if core is not None:
        with contextlib.suppress(MissingFramework, EngineCrash), tempfile.TemporaryDirectory() as folder:
            elf = compile_firmware(files, core, Path(folder) / "firmware.elf")
            sizes = sizes_of(read_elf(elf))
            return sizes.flash_bytes, sizes.ram_bytes + STACK_BYTES, "measured"
    return sources.weights_bytes + code_bytes(sources), ram_bytes, "modelled"


def code_bytes(sources: Sources) -> int:
    """Bytes of machine code, with what starts it, modelled from the text of generated C.

    Of the oracle's 16 networks whole firmware with DSP kernels came within 12 percent of it on all but one, whose
    loops the compiler unrolls; portable kernels within 40.
    """
    text = _CONSTANT.sub("", next(text for name, text in sources.files.items() if name.endswith(".c")))
    instructions = lines = loops = scalings = calls = 0
    for part in re.split(
        r"^(?=(?:static|LAYER|SMALL|void|int8_t|const) )", text[text.index("arena[") :], flags=re.MULTILINE
    ):
        assembly = len(_INSTRUCTION.findall(part))
        instructions += assembly
        if assembly:
            continue
        lines += 0 if part.startswith("SMALL") else sum(1 for line in part.splitlines() if line.strip())
        loops += len(re.findall(r"\bfor \(|\bwhile \(", part))
        scalings += part.count("scaled(")
        calls += len(re.findall(r"\w+\(", part))
    counts = {"around": 1, "instructions": instructions, "lines": lines, "loops": loops, "scalings": scalings}
    each = _BYTES[sources.kernels]
    return round(sum(each[key] * count for key, count in {**counts, "calls": calls}.items()))
