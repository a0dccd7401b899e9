"""C of your own on the emulated core: functions and buffers in, firmware out, traced as generated code is.

What `edgelab.mcu.firmware` does for a model, this does for anything that fills one buffer and leaves its answer in
another: a kernel written by hand, a front end before a network.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelab.emulator.machine import Core, find_core
from edgelab.engines.cortexm_host import FORMAT
from edgelab.errors import BadInput
from edgelab.mcu.compiler import DEFAULT_STACK_BYTES, compile_firmware
from edgelab.mcu.project import description

_DTYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t", "float32": "float"}
HEADER = "app.h"
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Buffer:
    """A global C array through which rows go in or come out: its name, its shape, its element type as numpy names it.

    ``scale`` and ``zero_point`` say what its integers stand for, where they stand for real numbers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    scale: float | None = None
    zero_point: int | None = None

    def __post_init__(self) -> None:
        if _IDENTIFIER.fullmatch(self.name) is None:
            raise BadInput(f"'{self.name}' is no name of a C variable.")
        if self.dtype not in _DTYPES:
            raise BadInput(f"The buffer '{self.name}' has the type {self.dtype!r}; take one of {', '.join(_DTYPES)}.")
        if not self.shape or min(self.shape) < 1:
            raise BadInput(f"The buffer '{self.name}' has the shape {self.shape}; every dimension is at least 1.")

    @property
    def declaration(self) -> str:
        """The array as C declares it.

        >>> Buffer("samples", (1024,), "int16").declaration
        'int16_t samples[1024]'
        """
        return f"{_DTYPES[self.dtype]} {self.name}[{math.prod(self.shape)}]"

    def to_dict(self) -> dict[str, object]:
        """As the firmware describes it."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }


def build_custom(
    files: Mapping[str, str],
    output: str | os.PathLike[str],
    *,
    inputs: Sequence[Buffer],
    outputs: Sequence[Buffer],
    calls: Sequence[str],
    layers: Mapping[str, int] | Sequence[str] = (),
    core: Core | str = "cortex-m4",
    label: str = "custom",
    stack_bytes: int = DEFAULT_STACK_BYTES,
) -> Path:
    """Compile C of your own into firmware that `edgelab.mcu.emulator.run_firmware` and `open_engine` take.

    Parameters
    ----------
    files
        C sources and headers by file name. They may ``#include "app.h"``, which declares the buffers and the macro
        ``LAYER``: a function marked with it is never inlined, so that its instructions can be counted.
    output
        The .elf file to write.
    inputs, outputs
        The buffers; they are defined for you.
    calls
        Statements that make one run, in order, as C: ``["fft(samples, spectrum);"]``.
    layers
        Functions whose instructions are counted apart, with their multiply-accumulates if you know them.
    core
        The core.
    label
        What the firmware says its kernels are.
    stack_bytes
        Bytes for the stack.

    Raises
    ------
    BadInput
        If a name is no C name, a buffer is missing, or the C does not compile; the sentence has the first complaint.
    EngineCrash, MissingFramework
        As `edgelab.mcu.compiler.compile_firmware`.
    """
    found = find_core(core) if isinstance(core, str) else core
    if not inputs or not outputs:
        raise BadInput("Firmware takes at least one input buffer and one output buffer.")
    names = [buffer.name for buffer in (*inputs, *outputs)]
    if len(set(names)) != len(names):
        raise BadInput(f"Two buffers have the same name among {', '.join(names)}.")
    counted = dict(layers) if isinstance(layers, Mapping) else dict.fromkeys(layers, 0)
    about = {
        "edgelab": FORMAT,
        "model": label,
        "core": found.name,
        "kernels": label,
        "inputs": [buffer.to_dict() for buffer in inputs],
        "outputs": [buffer.to_dict() for buffer in outputs],
        "layers": [{"function": name, "operator": name, "macs": macs} for name, macs in counted.items()],
    }
    own = {
        HEADER: _header([*inputs, *outputs]),
        "app.c": _program(inputs, outputs, calls, [name for name in files if name.endswith(".h")]),
        "description.c": description(about),
    }
    taken = sorted(set(own) & set(files))
    if taken:
        raise BadInput(f"The file name '{taken[0]}' is taken; give yours another one.")
    return compile_firmware({**files, **own}, found, output, stack_bytes=stack_bytes)


def embedded(files: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Generated sources of a model with other names, so that they stand beside other code in one firmware.

    ``edgelab_input``, ``edgelab_output`` and ``edgelab_invoke`` become ``PREFIX_input`` and so on, the file ``model.c``
    ``PREFIX.c``; the macros of the header keep their names.

    Parameters
    ----------
    files
        ``edgelab.mcu.cgen.generate(model).files``.
    prefix
        A C name.

    Raises
    ------
    BadInput
        If the prefix is no C name, or ``edgelab`` itself.
    """
    if _IDENTIFIER.fullmatch(prefix) is None or prefix == "edgelab":
        raise BadInput(f"'{prefix}' is no prefix for C names here; take letters, such as 'network'.")
    return {
        re.sub(r"^model\.", f"{prefix}.", name): text.replace("edgelab_", f"{prefix}_").replace(
            '#include "model.h"', f'#include "{prefix}.h"'
        )
        for name, text in files.items()
    }


def _header(buffers: Sequence[Buffer]) -> str:
    lines = "\n".join(f"extern {buffer.declaration};" for buffer in buffers)
    return f"""#ifndef APP_H
#define APP_H

#include <stdint.h>

/* A function of its own in the machine code, so that its instructions can be counted. */
#define LAYER __attribute__((noinline))

{lines}

#endif
"""


def _program(inputs: Sequence[Buffer], outputs: Sequence[Buffer], calls: Sequence[str], headers: Sequence[str]) -> str:
    includes = "\n".join(f'#include "{name}"' for name in (HEADER, *headers))
    memory = "\n".join(f"{buffer.declaration} __attribute__((aligned(16)));" for buffer in (*inputs, *outputs))
    accessors = "\n".join(
        f"void *{function}(int i)\n{{\n"
        + "".join(f"    if (i == {i}) return {buffer.name};\n" for i, buffer in enumerate(buffers))
        + "    return 0;\n}\n"
        for function, buffers in (("edgelab_input", inputs), ("edgelab_output", outputs))
    )
    body = "\n".join(f"    {call}" for call in calls)
    return f"""{includes}

{memory}

{accessors}
__attribute__((noinline)) void edgelab_invoke(void)
{{
{body}
}}

int main(void)
{{
    for (;;)
        edgelab_invoke();
}}
"""
