"""The files around the generated C: main program, quantization, description, linker script, Makefile, notes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgelab.emulator.machine import Core
from edgelab.mcu.cgen import naming
from edgelab.mcu.compiler import FLAGS, SCRIPT, linker_script, support_file

_GCC_CPU = {
    "cortex-m0plus": "-mcpu=cortex-m0plus",
    "cortex-m4": "-mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16",
    "cortex-m7": "-mcpu=cortex-m7 -mfloat-abi=hard -mfpu=fpv5-sp-d16",
    "cortex-m33": "-mcpu=cortex-m33 -mfloat-abi=hard -mfpu=fpv5-sp-d16",
}
_LOWEST = {"int8": -128, "uint8": 0}
"""Integer types of inputs and outputs, and their lowest values."""


def project_files(about: Mapping[str, Any], core: Core, *, stack_bytes: int) -> dict[str, str]:
    """Everything that stands beside model.c and model.h, by file name.

    Parameters
    ----------
    about
        The description that the firmware carries.
    core
        The core that it is for.
    stack_bytes
        Bytes for the stack.
    """
    own = {
        "main.c": main_program(about),
        "quantization.h": quantization_header(about),
        "runtime.c": support_file("runtime.c"),
        SCRIPT: linker_script(core, stack_bytes=stack_bytes),
        "Makefile": makefile(core),
        "README.md": notes(about, core),
    }
    prefix = str(about.get("prefix", naming.PREFIX))
    described = "description.c" if prefix == naming.PREFIX else f"{prefix}_description.c"
    return {
        **naming.named(own, prefix),
        described: description(about),
        "startup.c": support_file("startup.c"),
    }


def description(about: Mapping[str, Any]) -> str:
    """The C file that puts the description into the section ``.edgelab``."""
    text = json.dumps(about, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    lines = "\n".join(f"    {json.dumps(text[at : at + 96])}" for at in range(0, len(text), 96))
    name = f"{about.get('prefix', naming.PREFIX)}_description"
    return f"""/* What this firmware computes, for edgelab: it lies in the file and takes no memory on the device. */
extern const char {name}[];
__attribute__((section(".edgelab"), used)) const char {name}[] =
{lines};
"""


def quantization_header(about: Mapping[str, Any]) -> str:
    """The C header that turns real numbers into the input's integers and the output's integers into real numbers."""
    parts = [
        "/* Real numbers in and out: real = scale * (integer - zero point). */",
        "#ifndef EDGELAB_QUANTIZATION_H",
        "#define EDGELAB_QUANTIZATION_H",
        "",
        '#include "model.h"',
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
    ]
    for number, entry in enumerate(about["inputs"]):
        if entry["dtype"] not in _LOWEST or entry["scale"] is None:
            continue
        ctype, low = f"{entry['dtype']}_t", _LOWEST[entry["dtype"]]
        parts += [
            f"static inline {ctype} edgelab_quantize_{number}(float real)",
            "{",
            f"    const float steps = real / EDGELAB_INPUT_{number}_SCALE;",
            f"    const int lowest = {low} - (EDGELAB_INPUT_{number}_ZERO_POINT);",
            f"    const int highest = {low + 255} - (EDGELAB_INPUT_{number}_ZERO_POINT);",
            "    if (!(steps > (float)lowest))",
            f"        return {low}; /* also for what is not a number */",
            "    if (steps >= (float)highest)",
            f"        return {low + 255};",
            f"    return ({ctype})((int)(steps + (steps < 0 ? -0.5f : 0.5f)) + (EDGELAB_INPUT_{number}_ZERO_POINT));",
            "}",
            "",
        ]
    for number, entry in enumerate(about["outputs"]):
        if entry["dtype"] not in _LOWEST or entry["scale"] is None:
            continue
        parts += [
            f"static inline float edgelab_dequantize_{number}({entry['dtype']}_t integer)",
            "{",
            f"    return EDGELAB_OUTPUT_{number}_SCALE * (float)(integer - (EDGELAB_OUTPUT_{number}_ZERO_POINT));",
            "}",
            "",
        ]
    return "\n".join([*parts, "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""])


def main_program(about: Mapping[str, Any]) -> str:
    """A main program that runs the model over and over; the places for a sensor and for what follows are marked."""
    fills = "\n".join(
        f"        for (i = 0; i < EDGELAB_INPUT_{n}_BYTES; i++)\n            edgelab_input({n})[i] = {_zero(entry)};"
        for n, entry in enumerate(about["inputs"])
    )
    reads = "\n".join(f"        result = edgelab_output({n})[0];" for n, _ in enumerate(about["outputs"]))
    return f"""/* Runs the model over and over. */
#include "model.h"
#include "quantization.h" /* edgelab_quantize_0(real), edgelab_dequantize_0(integer) */

static volatile int result; /* volatile, so that a debugger finds it */

int main(void)
{{
    for (;;) {{
        int i;

        /* Your sensor goes here. */
{fills}

        edgelab_invoke();

        /* What to do with the answer goes here. */
{reads}
    }}
}}
"""


def makefile(core: Core) -> str:
    """A Makefile for arm-none-eabi-gcc."""
    flags = " ".join(FLAGS)
    return f"""# make: build/firmware.elf and build/firmware.bin for the {core.title}, with Arm's GNU toolchain.
# DEFINES='-D EDGELAB_ARENA=my_buffer' places the model's memory as model.h says.
PREFIX ?= arm-none-eabi-
CC = $(PREFIX)gcc
CFLAGS = -mthumb {_GCC_CPU[core.name]} {flags} -ffreestanding -Wall -Wextra $(DEFINES)
SOURCES = model.c main.c description.c startup.c runtime.c
OBJECTS = $(SOURCES:%.c=build/%.o)

all: build/firmware.bin

build/firmware.bin: build/firmware.elf
\t$(PREFIX)objcopy -O binary $< $@
\t$(PREFIX)size $<

build/firmware.elf: $(OBJECTS) {SCRIPT}
\t$(CC) $(CFLAGS) -nostdlib -Wl,--gc-sections,-T,{SCRIPT} -o $@ $(OBJECTS) -lgcc

build/%.o: %.c model.h quantization.h
\t@mkdir -p build
\t$(CC) $(CFLAGS) -c -o $@ $<

clean:
\trm -rf build

.PHONY: all clean
"""


def notes(about: Mapping[str, Any], core: Core) -> str:
    """A few lines about the folder."""
    return f"""# {_plain(about["model"])} on a {core.title}

- `model.c`, `model.h`: C ({about["kernels"]} kernels), no heap, no library; called from C or C++.
  `model.h` says how to place its memory or to share it with another model. Two models in one image: `--prefix NAME`.
- `quantization.h`: real numbers to the model's integers and back. `main.c`: where your sensor goes.
- `firmware.ld`, `startup.c`, `runtime.c`, `Makefile`: put your board's memory into `firmware.ld`, then `make`.
- `firmware.elf`: built already, for the emulated core: `edgelab compare MODEL firmware.elf --data FILE.npz`.
- `tflm/`: the same model for TensorFlow Lite Micro, as a C array with an application around it.
"""


def _zero(entry: Mapping[str, Any]) -> int:
    """Zero as a byte of the input, signed."""
    return (int(entry["zero_point"] or 0) + 128) % 256 - 128 if entry["dtype"] in _LOWEST else 0


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in " ._-" else "_" for c in name)
