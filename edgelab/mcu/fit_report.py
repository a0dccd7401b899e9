"""What `edgelab.mcu.fit.fit` finds, as results that print themselves and turn into JSON-ready data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.mcu.accelerator import AcceleratorReport
from edgelab.mcu.arena import Arena
from edgelab.mcu.devices import Device
from edgelab.mcu.estimate import Estimate
from edgelab.mcu.generated import Generated
from edgelab.mcu.operators import OperatorReport
from edgelab.reading import Cell, Reading, Table

# What a fit rests on; the rest of a device's figures decide nothing here.
_USED = ("clock_mhz", "flash_bytes", "sram_bytes", "core", "accelerator", "active_mw")


@dataclass(frozen=True)
class DeviceFit:
    """How a model fits on one device.

    ``flash_bytes`` counts the model's file and the runtime's code, ``ram_bytes`` the arena and the stack;
    ``arena_target`` is the build whose plan counts. ``headroom``
    is the share of the device's usable SRAM that stays free (negative: so much is missing). ``reasons`` is empty where
    it fits; else its first entry is what decides, and ``change`` the smallest change that would make it fit.
    ``generated`` is the need of the C that edgelab writes for its core.
    """

    device: Device
    runtime: str
    flash_bytes: int
    arena_target: str
    arena_bytes: int
    stack_bytes: int
    reasons: tuple[str, ...]
    change: str
    cost: Estimate
    generated: Generated
    generated_fits: bool
    accelerator: AcceleratorReport | None
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it fits."""
        return not self.reasons

    @property
    def ram_bytes(self) -> int:
        """Arena and stack."""
        return self.arena_bytes + self.stack_bytes

    @property
    def headroom(self) -> float:
        """The share of the usable SRAM that stays free."""
        return 1 - self.ram_bytes / self.device.sram_bytes

    @property
    def unread(self) -> tuple[str, ...]:
        """The figures of the device that the fit rests on and that were not read again in a source."""
        return tuple(key for key in self.device.unread if key in _USED)

    def to_dict(self) -> dict[str, Any]:
        """The fit as JSON-ready data."""
        latency, energy = self.cost.latency, self.cost.energy
        return {
            "device": self.device.name,
            "fits": self.fits,
            "runtime": self.runtime,
            "flash_bytes": self.flash_bytes,
            "flash_available_bytes": self.device.flash_bytes,
            "arena_target": self.arena_target,
            "arena_bytes": self.arena_bytes,
            "stack_bytes": self.stack_bytes,
            "ram_bytes": self.ram_bytes,
            "ram_available_bytes": self.device.sram_bytes,
            "headroom": self.headroom,
            "reasons": list(self.reasons),
            "change": self.change or None,
            "latency": latency.to_dict() if latency else None,
            "energy": energy.to_dict() if energy else None,
            "generated": self.generated.to_dict(),
            "generated_fits": self.generated_fits,
            "accelerator": None if self.accelerator is None else self.accelerator.to_dict(),
            "unread": list(self.unread),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class FitReport:
    """A model against devices; ``arena`` holds its arena by target, the measured one last where it could be had.

    ``generated`` is the need of the C that edgelab writes for a Cortex-M4, where it writes for no other core.
    """

    file: str
    rule: float
    file_bytes: int
    macs: int | None
    arena: tuple[Arena, ...]
    lower_bound: int
    operators: OperatorReport
    generated: Generated
    devices: tuple[DeviceFit, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data; docs/json.md states its shape."""
        return {
            "file": self.file,
            "bytes": self.file_bytes,
            "macs": self.macs,
            "headroom": self.rule,
            "arena": [entry.to_dict() for entry in self.arena],
            "lower_bound": self.lower_bound,
            "operators": [check.to_dict() for check in self.operators.checks],
            "generated": self.generated.to_dict(),
            "devices": [entry.to_dict() for entry in self.devices],
            "notes": list(self.notes),
        }

    def table(self) -> Table:
        """One row a device."""
        rows: list[tuple[Cell, ...]] = [
            (
                f"{entry.device.name} ?" if entry.unread else entry.device.name,
                entry.fits,
                entry.flash_bytes,
                entry.arena_bytes,
                f"{entry.headroom:.0%}",
                _short(entry.cost.latency),
                _short(entry.cost.energy),
                entry.reasons[0] if entry.reasons else "",
                entry.change,
            )
            for entry in self.devices
        ]
        columns = ("device", "fits", "flash bytes", "arena bytes", "SRAM free", "time", "energy", "why not", "change")
        return Table(
            f"{Path(self.file).name}: {self.file_bytes:,} bytes, "
            f"{'an unknown number of' if self.macs is None else format(self.macs, ',')} multiply-accumulates",
            columns,
            rows,
            self._note(),
        )

    def _note(self) -> str:
        stacks = sorted({entry.stack_bytes for entry in self.devices})
        rule = (
            f"All figures are modelled, time and energy with their band. A model fits where {self.rule:.0%} of the "
            f"SRAM stay free beside its arena and a stack of {' or '.join(map(str, stacks))} bytes, and the flash "
            "takes its file and the runtime's code. Memories, clock and power of a device are quoted; devices.toml "
            "says where each was read."
        )
        parts = [rule, *self._unread(), *self.notes, *(note for entry in self.devices for note in entry.notes)]
        return " ".join(parts)

    def _unread(self) -> list[str]:
        """The sentence on figures that were not read again; a single device's are named."""
        marked = [entry for entry in self.devices if entry.unread]
        if not marked:
            return []
        if len(self.devices) == 1:
            return [f"Not read again in a source (marked ?): {', '.join(marked[0].unread)}."]
        count = sum(len(entry.unread) for entry in marked)
        return [f"Of the devices marked ?, {count} figures were not read again in a source: look them up."]

    def arena_table(self) -> Table:
        """The arena by target."""
        rows = [(a.target, a.how, a.head, a.tail, a.total, a.min_workable) for a in self.arena]
        note = f"No plan of its tensors is below {self.lower_bound:,} bytes."
        return Table("Arena", ("target", "how", "head", "tail", "total", "smallest that works"), rows, note)

    def __str__(self) -> str:
        return "\n\n".join([self.arena_table().text(), self.operators.table().text(), self.table().text()])

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def _short(reading: Reading | None) -> str:
    return "" if reading is None else reading.figure()
