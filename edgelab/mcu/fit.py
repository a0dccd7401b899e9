"""Which devices a model fits on: flash, arena, stack, headroom, operators, time and energy, and what would help.

Two ways onto a microcontroller are held against each device: the interpreter (TensorFlow Lite for Microcontrollers,
which decides whether a model fits) and the C code that edgelab generates. Computers and phones run LiteRT.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgelab.emulator.machine import CORES
from edgelab.errors import BadFile, BadInput, EngineCrash, EngineDied, MissingFramework, ModelRefused
from edgelab.mcu.accelerator import AcceleratorReport, ethos_coverage
from edgelab.mcu.arena import Arena, plan_arena, planned_buffers
from edgelab.mcu.changes import less_flash, less_memory
from edgelab.mcu.compiled import compiled_for
from edgelab.mcu.devices import Device, all_devices, find_device
from edgelab.mcu.estimate import Estimate, estimate, macs
from edgelab.mcu.fit_report import DeviceFit, FitReport
from edgelab.mcu.generated import DEFAULT_CORE, STACK_BYTES, Generated, generator_for
from edgelab.mcu.model import Model, read_model
from edgelab.mcu.operators import OperatorReport, check_operators
from edgelab.mcu.plans import lower_bound
from edgelab.mcu.refusal import Refusal, refusal_of

HEADROOM = 0.2
"""The share of SRAM that stays free by the usual rule, for what the application itself needs."""
INTERPRETER_CODE_BYTES = 85 * 1024
"""Code of the interpreter with CMSIS-NN and five kinds of operators, from a build for the Cortex-M4."""
_KINDS_IN_THAT_BUILD = 5
_CODE_BYTES_PER_FURTHER_KIND = 4 * 1024  # an allowance: kernels take from 1 to 10 KB
# Inputs that may have any value. One of int32 may be an index, and the interpreter dies of one outside of its table.
_OF_ANY_VALUE = frozenset({"int8", "uint8", "int16", "float32", "bool"})
_PORTABLE = " --kernels portable"
_TARGETS = ("x86_64-wheel", "cortex-m-reference", "cortex-m-cmsis-nn")
_WITH_CMSIS_NN = frozenset({"cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"})


def fit(
    model: Model | str | os.PathLike[str],
    device: str | Device | Sequence[str | Device] | None = None,
    headroom: float = HEADROOM,
    *,
    accelerators: bool = True,
    measured: bool = True,
    compiled: bool = True,
) -> FitReport:
    """Hold a model against devices.

    Parameters
    ----------
    model
        The model, or the path of its .tflite file.
    device
        A device, its name, or several of them; None for all of the table.
    headroom
        The share of SRAM that has to stay free, from 0 to below 1.
    accelerators
        Compile for the Ethos-U of devices that have one (half a second each).
    measured
        Run the real interpreter, where there is one: the arena that it reports is added and marks the verdict, and a
        model that it refuses fits on no microcontroller.
    compiled
        With ``measured``: compile the C that edgelab would write for a device's core (half a second for each kind of
        core). Without, its size is modelled.

    Raises
    ------
    BadFile
        If the file is missing, damaged or foreign.
    BadInput
        If there is no such device or the headroom is no share.
    """
    if isinstance(headroom, bool) or not isinstance(headroom, int | float) or not 0 <= headroom < 1:
        raise BadInput(f"headroom={headroom!r} is no share of the SRAM; take a number from 0 to below 1, such as 0.2.")
    devices = _devices(device)
    model = model if isinstance(model, Model) else read_model(model)
    arenas = {target: plan_arena(model, target) for target in _TARGETS}
    for_accelerator = compiled_for(model)
    found, note, refusal = _measured(model, for_accelerator) if measured else ([], "", None)
    more, difference = _difference(arenas["x86_64-wheel"], found)
    generated = generator_for(model, compiled=measured and compiled)
    known = _Known(
        model=model,
        headroom=float(headroom),
        arenas=arenas,
        operators=check_operators(model),
        generated=generated,
        coverage=_coverage(model, devices, float(headroom), arenas) if accelerators and not for_accelerator else {},
        refusal=refusal,
        compiled_for=for_accelerator,
        unmodelled_bytes=more,
    )
    listed = list(arenas.values())
    notes = [
        f"{name} has needs that the arena's table does not hold, so the modelled arena may be too small."
        for name in sorted({name for a in listed for name in a.unknown})
    ]
    notes += [difference] if difference else []
    entries = tuple(_fit(known, entry) for entry in devices)
    if note and not (refusal and any(refusal.why in entry.reasons for entry in entries)):
        notes.append(note)
    return FitReport(
        file=str(model.path),
        rule=float(headroom),
        file_bytes=len(model.content),
        macs=None if for_accelerator else macs(model),
        arena=(*listed, *found),
        # Buffers whose places a compiler fixed may lie over one another.
        lower_bound=min([lower_bound(planned_buffers(model)), *(arena.head for arena in listed)]),
        operators=known.operators,
        generated=generated(DEFAULT_CORE),
        devices=entries,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Known:
    """What holds for a model on every device."""

    model: Model
    headroom: float
    arenas: dict[str, Arena]
    operators: OperatorReport
    generated: Callable[[str], Generated]
    """What the C for a core needs."""
    coverage: dict[str, AcceleratorReport | str]
    """Vela's report by device, or the sentence that says why there is none."""
    refusal: Refusal | None
    """Why the real interpreter, which was run, does not take the model."""
    compiled_for: str = ""
    """The accelerator that vela compiled it for, if it did."""
    unmodelled_bytes: int = 0
    """What the real interpreter took beyond the modelled arena."""

    def misplaced(self, device: Device) -> tuple[str, str]:
        """Why a compiled model does not run on a device, and the mend; empty where it does."""
        if not self.compiled_for or self.compiled_for == device.ethos:
            return "", ""
        there = f"{device.name} has {device.ethos}" if device.ethos else f"{device.name} has no Ethos-U"
        source = "the .tflite file from which vela made it"
        mend = f"compile {source} with --accelerator-config {device.ethos}" if device.ethos else f"take {source}"
        return f"vela compiled it for {self.compiled_for}, and {there}", mend

    def refused(self, accelerator: AcceleratorReport | None) -> Refusal | None:
        """The refusal, where it counts and nothing has told it better.

        The table of operators names those that the interpreter lacks, each with its mend; and an accelerator takes
        operators over, so that the interpreter never sees them.
        """
        if self.refusal is None or self.operators.unsupported:
            return None
        left = None if accelerator is None else {entry.operator for entry in accelerator.fallbacks}
        taken_over = left is not None and self.refusal.operator not in {"", *left}
        return None if taken_over else self.refusal


def _fit(known: _Known, device: Device) -> DeviceFit:
    micro = device.kind == "microcontroller"
    covered = known.coverage.get(device.name)
    accelerator = covered if isinstance(covered, AcceleratorReport) else None
    notes = [covered] if isinstance(covered, str) else []
    target = "cortex-m-cmsis-nn" if device.core in _WITH_CMSIS_NN else "cortex-m-reference"
    arena = known.arenas[target]
    arena_bytes = (arena.min_workable or arena.total) + known.unmodelled_bytes
    file_bytes = len(known.model.content)
    if accelerator is not None and accelerator.npu_operators:
        arena_bytes = max(arena_bytes, accelerator.sram_bytes + arena.tail)
        file_bytes = accelerator.file_bytes
        notes += [
            f"{device.name}: {device.ethos} leaves {entry.operator} to the processor."
            for entry in accelerator.fallbacks
        ]
    flash_bytes = file_bytes + (_interpreter_code(known.operators) if micro else 0)
    usable = _usable(device, known.headroom)
    generated = known.generated(device.core)
    generated_fits = micro and not generated.reason and generated.least_ram_bytes <= usable
    least = generated.ram_bytes > usable
    generated_flash = generated.least_flash_bytes if least else generated.flash_bytes
    generated_fits = generated_fits and generated_flash <= device.flash_bytes
    refused = known.refused(accelerator) if micro else None
    needs = (flash_bytes, arena_bytes, usable)
    reasons, change = _reasons(known, device, needs, refused, generated_fits=generated_fits)
    return DeviceFit(
        device=device,
        runtime="TensorFlow Lite for Microcontrollers" if micro else "LiteRT",
        flash_bytes=flash_bytes,
        arena_target=target,
        arena_bytes=arena_bytes,
        stack_bytes=STACK_BYTES,
        reasons=tuple(reasons),
        change=change,
        cost=_cost(known, device, accelerator),
        generated=generated,
        generated_fits=generated_fits,
        accelerator=accelerator,
        notes=tuple(notes),
    )


def _reasons(
    known: _Known, device: Device, needs: tuple[int, int, int], refused: Refusal | None, *, generated_fits: bool
) -> tuple[list[str], str]:
    """Why a model does not fit, what decides first, and the smallest change for that."""
    flash_bytes, arena_bytes, usable = needs
    found: list[tuple[str, str]] = []
    misplaced = known.misplaced(device)
    if misplaced[0]:
        found.append(misplaced)
    if device.kind == "microcontroller":
        found += [(f"{check.operator}: {check.reason}", check.mend) for check in known.operators.unsupported]
    if refused is not None:
        found.append((refused.why, refused.mend))
    ram_bytes = arena_bytes + STACK_BYTES
    generated = known.generated(device.core)
    if ram_bytes > usable:
        why = (
            f"an arena of {arena_bytes:,} bytes and a stack of {STACK_BYTES:,} are more than the {usable:,} of "
            f"{device.sram_bytes:,} bytes of SRAM that {known.headroom:.0%} headroom leaves"
        )
        head = max(arena.head for arena in known.arenas.values())
        less = f"compile it again with less memory (vela's --arena-cache-size, {ram_bytes - usable:,} bytes less)"
        found.append((why, less if known.compiled_for else less_memory(known.model, head, ram_bytes - usable)))
    if flash_bytes > device.flash_bytes:
        why = f"model and runtime take {flash_bytes:,} bytes of flash, and there are {device.flash_bytes:,}"
        weights = sum(len(t.data) for t in known.model.tensors if t.data is not None)
        found.append((why, less_flash(known.model, weights, flash_bytes - device.flash_bytes)))
    if not found:
        return [], ""
    change = "; and ".join(dict.fromkeys(mend for _, mend in found))
    if generated_fits:
        core = "" if device.core == DEFAULT_CORE else f" --core {device.core}" if device.core in CORES else _PORTABLE
        option, flash_bytes, ram_bytes = "", generated.flash_bytes, generated.ram_bytes
        if generated.ram_bytes > usable:
            option, flash_bytes, ram_bytes = " --minimise ram", generated.least_flash_bytes, generated.least_ram_bytes
        change = (
            f"generate C in place of the interpreter (edgelab firmware{core}{option}): about "
            f"{flash_bytes:,} bytes of flash and {ram_bytes:,} of RAM"
        )
    return [why for why, _ in found], change


def _cost(known: _Known, device: Device, accelerator: AcceleratorReport | None) -> Estimate:
    model = known.model
    if known.compiled_for:
        return Estimate(None, None, "A compiled file does not say how long its commands take.")
    if accelerator is None or not accelerator.npu_operators:
        return estimate(model, device)
    milliseconds = accelerator.cycles / (device.clock_mhz * 1000)
    return estimate(model, device, milliseconds, [entry.index for entry in accelerator.fallbacks])


def _coverage(
    model: Model, devices: Sequence[Device], headroom: float, arenas: Mapping[str, Arena]
) -> dict[str, AcceleratorReport | str]:
    @functools.cache
    def compiled(accelerator: str, arena_bytes: int) -> AcceleratorReport | str:
        try:
            return ethos_coverage(model, accelerator, arena_bytes=arena_bytes)
        except (BadFile, EngineCrash, MissingFramework) as error:
            return f"No coverage of {accelerator}: {error}"

    kept = STACK_BYTES + max(arena.tail for arena in arenas.values())
    return {
        device.name: compiled(device.ethos, max(1, _usable(device, headroom) - kept))
        for device in devices
        if device.ethos
    }


def _usable(device: Device, headroom: float) -> int:
    return math.floor((1 - headroom) * device.sram_bytes)


def _interpreter_code(operators: OperatorReport) -> int:
    kinds = len({check.operator for check in operators.checks})
    return INTERPRETER_CODE_BYTES + _CODE_BYTES_PER_FURTHER_KIND * max(0, kinds - _KINDS_IN_THAT_BUILD)


def _difference(modelled: Arena, found: Sequence[Arena]) -> tuple[int, str]:
    """How much more than modelled the interpreter took, and a sentence where the two differ."""
    if not found:
        return 0, ""
    (measured,) = found
    planned, took = modelled.total, measured.total
    if measured.min_workable is not None and modelled.min_workable is not None:
        planned, took = modelled.min_workable, measured.min_workable
    if (modelled.total, planned) == (measured.total, took):
        return 0, ""
    more = max(0, took - planned, measured.total - modelled.total)
    counts = f"the {more:,} bytes more are added on each microcontroller" if more else "the modelled figure counts"
    return more, (
        f"The real interpreter took an arena of {took:,} bytes here, and {planned:,} were modelled: what was measured "
        f"marks the verdict, {counts}."
    )


def _measured(model: Model, for_accelerator: str) -> tuple[list[Arena], str, Refusal | None]:
    """The arena of the real interpreter on this machine, or a sentence that says why there is none, and a refusal."""
    from edgelab.engines.tflm import TFLMEngine
    from edgelab.engines.tflm_arena import arena_search

    if for_accelerator:
        return [], f"Not measured: the interpreter of this machine has no {for_accelerator}.", None
    decisive: tuple[type[Exception], ...] = (ModelRefused, EngineDied)
    allocations, name = None, ""
    try:
        with contextlib.closing(TFLMEngine(model.path)) as engine:
            allocations, name = engine.allocations(), engine.name
        if any(model.tensors[index].dtype not in _OF_ANY_VALUE for index in model.inputs):
            decisive = (ModelRefused,)
        smallest = arena_search(model.path).min_workable
    except (BadFile, BadInput, EngineCrash, MissingFramework) as error:
        if isinstance(error, decisive):
            return [], f"Not measured: {error}", refusal_of(model, error)
        if allocations is None:
            return [], f"Not measured: {error}", None
        arena = Arena("x86_64-wheel", "measured", name, allocations.head, allocations.tail, None)
        return [arena], f"Not measured, the smallest arena that works: {error}", None
    return [Arena("x86_64-wheel", "measured", name, allocations.head, allocations.tail, smallest)], "", None


def _devices(wanted: str | Device | Sequence[str | Device] | None) -> tuple[Device, ...]:
    if wanted is None:
        return tuple(all_devices())
    several = [wanted] if isinstance(wanted, str | Device) else list(wanted)
    return tuple(entry if isinstance(entry, Device) else find_device(entry) for entry in several)
