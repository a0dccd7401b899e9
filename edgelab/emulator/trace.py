"""Every instruction of one inference on an emulated core, by layer and by kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgelab.emulator.thumb import Mix
from edgelab.reading import Reading, Table


@dataclass(frozen=True)
class LayerCount:
    """What one layer executed in one inference: its C function, its operator, its multiply-accumulates."""

    layer: str
    operator: str
    macs: int
    mix: Mix

    @property
    def instructions(self) -> int:
        """Instructions of this layer."""
        return self.mix.instructions

    def to_dict(self) -> dict[str, Any]:
        """Layer, operator, instructions, macs and the mix of instructions."""
        return {
            "layer": self.layer,
            "operator": self.operator,
            "instructions": self.instructions,
            "macs": self.macs,
            "mix": self.mix.to_dict(),
        }


@dataclass(frozen=True)
class Trace:
    """Every instruction of one inference, counted on the emulated core, by layer; and the peak of the stack."""

    core: str
    kernels: str
    by: str
    layers: tuple[LayerCount, ...]
    outside: Mix
    stack_bytes: int

    @property
    def mix(self) -> Mix:
        """The instructions of the whole inference by kind."""
        return sum((layer.mix for layer in self.layers), self.outside)

    @property
    def instructions(self) -> int:
        """Instructions of the whole inference."""
        return self.mix.instructions

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the network needs, as its shapes tell."""
        return sum(layer.macs for layer in self.layers)

    def reading(self) -> Reading:
        """The instructions of one inference as a reading."""
        return Reading(self.instructions, "instructions", "emulated", self.by)

    def table(self) -> Table:
        """A row for each layer: instructions, share, instructions for each multiply-accumulate."""
        rows: list[tuple[str | int | float | None, ...]] = []
        for layer in self.layers:
            each = layer.instructions / layer.macs if layer.macs else None
            share = 100 * layer.instructions / max(self.instructions, 1)
            rows.append((layer.layer, layer.operator, layer.instructions, share, layer.macs, each))
        each = self.instructions / self.macs if self.macs else None
        rows.append(("whole inference", "", self.instructions, 100.0, self.macs, each))
        note = f"Emulated: {self.by}. Peak of the stack: {self.stack_bytes:,} bytes."
        return Table(
            "Instructions of one inference",
            ("layer", "operator", "instructions", "%", "MACs", "instructions a MAC"),
            rows,
            note,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: core, kernels, instructions, macs, stack_bytes, by_layer, mix."""
        return {
            "core": self.core,
            "kernels": self.kernels,
            "instructions": self.instructions,
            "macs": self.macs,
            "stack_bytes": self.stack_bytes,
            "by_layer": [layer.to_dict() for layer in self.layers],
            "mix": self.mix.to_dict(),
        }

    def __str__(self) -> str:
        return str(self.table())

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()
