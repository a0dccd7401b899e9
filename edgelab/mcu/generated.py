"""What the C that `edgelab.mcu.firmware` writes for a core needs of it: flash and RAM, modelled from the sources."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgelab.emulator.machine import CORES
from edgelab.errors import BadInput
from edgelab.mcu.cgen import Sources, generate
from edgelab.mcu.firmware import Kernels, kernels_for
from edgelab.mcu.model import Model

STACK_BYTES = 2048
"""For the stack: the deepest of the 16 emulated networks with CMSIS-NN took 1,276 bytes; interrupts come on top."""
DEFAULT_CORE = "cortex-m4"
_AROUND_BYTES = 700
_CONSTANT = re.compile(r"^static const [^;=]*= \{[^}]*\};$", re.MULTILINE)
_INSTRUCTION = re.compile(r'^\s*"[^":]+\\n"', re.MULTILINE)


@dataclass(frozen=True)
class Generated:
    """What edgelab's C generator needs for the model on one core, modelled; ``reason`` says why it cannot take it.

    ``ram_bytes`` are activations, state and stack; ``least_ram_bytes`` the same when RAM is minimised. ``kernels`` are
    those that `edgelab.mcu.firmware.build_firmware` writes for the core.
    """

    flash_bytes: int
    ram_bytes: int
    least_ram_bytes: int
    reason: str = ""
    kernels: str = "dsp"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready data; the sizes are null where the generator cannot take the model."""
        able = not self.reason
        return {
            "kernels": self.kernels,
            "flash_bytes": self.flash_bytes if able else None,
            "ram_bytes": self.ram_bytes if able else None,
            "least_ram_bytes": self.least_ram_bytes if able else None,
            "reason": self.reason or None,
        }


def generator_for(model: Model) -> Callable[[str], Generated]:
    """A function that sizes the model's C for a core; C that serves several is generated once.

    Parameters
    ----------
    model
        The model.

    Returns
    -------
    callable
        Takes a core's name, as a device states it. One that `edgelab.mcu.firmware` does not build for gets portable
        kernels.
    """

    @functools.cache
    def sized(kernels: Kernels) -> Generated:
        try:
            sources, least = (generate(model, kernels=kernels, minimise=goal) for goal in ("time", "ram"))
        except BadInput as error:
            return Generated(0, 0, 0, str(error), kernels)
        ram_bytes, least_bytes = (made.arena_bytes + made.state_bytes + STACK_BYTES for made in (sources, least))
        flash_bytes = sources.weights_bytes + code_bytes(sources)
        return Generated(flash_bytes, ram_bytes, min(ram_bytes, least_bytes), kernels=kernels)

    return lambda core: sized(kernels_for(CORES[core]) if core in CORES else "portable")


def code_bytes(sources: Sources) -> int:
    """Bytes of machine code, start-up and memory functions included, modelled from the text of generated C."""
    text = _CONSTANT.sub("", next(text for name, text in sources.files.items() if name.endswith(".c")))
    body = text[text.index("arena[") :]
    instructions = len(_INSTRUCTION.findall(body))
    lines = sum(1 for line in body.splitlines() if line.strip() and not line.lstrip().startswith(("#", "/*", '"')))
    return round(_AROUND_BYTES + 3.0 * instructions + 12.0 * lines)
