"""Cycles, milliseconds and energy modelled from instruction counts, with the band that published figures justify.

The model is a fixed cost for each kind of instruction; it knows no caches and no flash wait states. How far real boards
lie from it is read off `ANCHORS`, latencies that vendors submitted to MLPerf Tiny for the same networks: one kernel
library alone moved by a factor of two on one board between versions. So there is never a bare millisecond here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelab.emulator.machine import find_core
from edgelab.emulator.thumb import Mix
from edgelab.errors import BadInput
from edgelab.reading import Reading, Table

NETWORKS = ("keyword", "visual wake word", "image classification", "anomaly")
"""The four networks of MLPerf Tiny; the first three are convolutional."""
NETWORK_MACS = (2_660_000, 7_490_000, 12_500_000, 264_000)
_CONVOLUTIONAL = 3
CMSIS_NN_KEYWORD_INSTRUCTIONS = 7_700_000
"""Instructions of TFLM with CMSIS-NN on a keyword network of 2.66 million MACs, counted on an emulated Cortex-M4."""


@dataclass(frozen=True)
class Anchor:
    """A published result: milliseconds of the four networks on a board, and where it was stated microjoules."""

    stack: str
    board: str
    core: str
    clock_mhz: int
    latency_ms: tuple[float, float, float, float]
    energy_uj: tuple[float, float, float, float] | None = None

    def cycles(self, network: str) -> float:
        """Cycles of one inference of ``network``: the published time at the board's clock."""
        return self.latency_ms[NETWORKS.index(network)] * self.clock_mhz * 1e3


_M4, _L4R5 = "cortex-m4", "STM32L4R5ZI"
ANCHORS: Mapping[str, Anchor] = {
    "tflm": Anchor(
        "TFLM 2.3.1 with CMSIS-NN", _L4R5, _M4, 120, (181.9, 600.5, 704.3, 10.05), (7374.0, 24313.0, 29207.0, 416.0)
    ),
    "microtvm": Anchor("microTVM with CMSIS-NN", _L4R5, _M4, 120, (99.8, 300.8, 389.6, 8.6)),
    "x-cube-ai": Anchor("X-CUBE-AI 8.0", _L4R5, _M4, 120, (72.7, 221.1, 222.0, 7.58)),
    "plumerai": Anchor("Plumerai", _L4R5, _M4, 120, (47.8, 98.8, 167.8, 4.05)),
    "x-cube-ai-m7": Anchor("X-CUBE-AI 8.0", "STM32H7A3", "cortex-m7", 280, (16.4, 50.3, 54.9, 1.83)),
    "plumerai-m33": Anchor("Plumerai", "STM32U575", "cortex-m33", 160, (30.0, 59.5, 104.3, 3.67)),
}
"""Results submitted to MLPerf Tiny, closed division (https://mlcommons.org/benchmarks/inference-tiny)."""


@dataclass(frozen=True)
class Costs:
    """Cycles of each kind of instruction; ``scale`` times their sum are the cycles.

    ``transfer`` is for each further register of a multiple load or store, ``taken`` on top of a taken branch.
    """

    load: float = 2.0
    store: float = 1.0
    transfer: float = 1.0
    multiply: float = 1.0
    mac: float = 2.0
    divide: float = 7.0
    other: float = 1.0
    taken: float = 2.0
    scale: float = 1.0

    def cycles(self, mix: Mix) -> float:
        """Cycles of these instructions.

        Examples
        --------
        >>> Costs().cycles(Mix(load=2, mac=1, other=3, branch=1, taken=1))
        12.0
        """
        plain = mix.other + mix.branch
        return self.scale * (
            self.load * mix.load
            + self.store * mix.store
            + self.transfer * mix.transfers
            + self.multiply * mix.multiply
            + self.mac * mix.mac
            + self.divide * mix.divide
            + self.other * plain
            + self.taken * mix.taken
        )

    def fewest(self, mix: Mix) -> float:
        """Cycles where every load hides behind its neighbour and every multiply-accumulate takes one.

        So the Cortex-M4 does at its best (Technical Reference Manual, DDI 0439, sections 3.3.1 and 3.3.2).

        Examples
        --------
        >>> Costs().fewest(Mix(load=2, mac=1, other=3, branch=1, taken=1))
        8.0
        """
        return self.scale * (mix.instructions + mix.transfers + mix.divide + 1.0 * mix.taken)


@dataclass(frozen=True)
class Band:
    """How far a board's real cycles may lie from the modelled ones: factors below and above, and why."""

    low: float
    high: float
    why: str


@dataclass(frozen=True)
class Estimate:
    """What one inference costs on a core, modelled."""

    core: str
    clock_mhz: float
    cycles: Reading
    latency_ms: Reading
    energy_mj: Reading | None
    band: Band

    def table(self) -> Table:
        """A row for each figure."""
        rows = [("cycles", self.cycles), ("time", self.latency_ms)]
        if self.energy_mj is not None:
            rows.append(("energy", self.energy_mj))
        return Table(
            f"One inference on a {find_core(self.core).title} at {self.clock_mhz:g} MHz",
            ("what", "modelled"),
            [(name, str(reading)) for name, reading in rows],
            f"Real boards lie between {self.band.low:.2f} and {self.band.high:.2f} times the modelled value: "
            f"{self.band.why}.",
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: core, clock_mhz and the readings cycles, latency_ms, energy_mj."""
        return {
            "core": self.core,
            "clock_mhz": self.clock_mhz,
            "cycles": self.cycles.to_dict(),
            "latency_ms": self.latency_ms.to_dict(),
            "energy_mj": None if self.energy_mj is None else self.energy_mj.to_dict(),
        }

    def __str__(self) -> str:
        return str(self.table())

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def costs_of(core: str) -> Costs:
    """The cost table of a core.

    Cortex-M4: the static costs above. Cortex-M7 (dual issue) and Cortex-M33: the same table times the cycles that one
    software stack needed on that core for each cycle on the Cortex-M4, the geometric mean over the three
    convolutional networks of `ANCHORS`. Cortex-M0+: two cycles for each load and store and for a taken branch in all,
    and a multiplier of one cycle (Cortex-M0+ Technical Reference Manual, DDI 0484, table 3-1).

    Raises
    ------
    BadInput
        If the core is unknown.
    """
    name = find_core(core).name
    if name == "cortex-m0plus":
        return Costs(store=2.0, taken=1.0)
    ratios = _ratios(name)
    return Costs(scale=math.prod(ratios) ** (1 / len(ratios)) if ratios else 1.0)


def band_of(core: str) -> Band:
    """The band for a core, computed from `ANCHORS`.

    Above: how much slower one kernel library (CMSIS-NN) in an older version ran on one board, at worst over the four
    networks. Below: the 15 percent within which the static costs gave microTVM's published figures. A core whose
    costs come from a ratio of published figures adds that ratio's spread; one without any figure adds a quarter.
    `estimate` goes further down for code whose loads and multiply-accumulates may pair better than CMSIS-NN's
    (`Costs.fewest`).

    Raises
    ------
    BadInput
        If the core is unknown.
    """
    name = find_core(core).name
    old, new = ANCHORS["tflm"], ANCHORS["microtvm"]
    high = max(old.cycles(network) / new.cycles(network) for network in NETWORKS)
    low = 1 - 0.15
    if name == _M4:
        return Band(low, high, "one kernel library moved so far between versions on one board, in MLPerf Tiny")
    ratios = _ratios(name)
    if not ratios:
        return Band(low / 1.25, high * 1.25, "no published figure for this core, a quarter wider than for Cortex-M4")
    mean = math.prod(ratios) ** (1 / len(ratios))
    return Band(
        low * min(ratios) / mean,
        high * max(ratios) / mean,
        "as for Cortex-M4, and the spread of one software stack's published figures on both cores",
    )


def estimate(mix: Mix, core: str, clock_mhz: float, *, active_mw: float | None = None, by: str = "") -> Estimate:
    """Model cycles, milliseconds and energy of what was counted.

    Parameters
    ----------
    mix
        Instructions by kind: ``trace.mix`` of `edgelab.engines.cortexm.CortexMEngine.trace`.
    core
        ``"cortex-m4"`` or another core that edgelab emulates.
    clock_mhz
        The clock in MHz.
    active_mw
        Power while it computes, in milliwatts. Without it the energy of a Cortex-M4 is that of the published
        board (`nanojoules_per_cycle`), and of other cores there is none.
    by
        What was counted, for the readings.

    Raises
    ------
    BadInput
        If the core is unknown, or the clock or the power are not positive numbers.

    Examples
    --------
    >>> e = estimate(Mix(other=1_200_000), "cortex-m4", 120)
    >>> print(e.latency_ms)
    10.0 ms (8.5 to 20.0), modelled
    """
    if not (math.isfinite(clock_mhz) and clock_mhz > 0):
        raise BadInput(f"clock_mhz must be a positive number of MHz, not {clock_mhz}.")
    if active_mw is not None and not (math.isfinite(active_mw) and active_mw > 0):
        raise BadInput(f"active_mw must be a positive number of milliwatts, not {active_mw}.")
    known, costs = find_core(core), costs_of(core)
    cycles = costs.cycles(mix)
    band = band_of(core)
    if cycles and (best := costs.fewest(mix) / cycles) < band.low:
        band = Band(best, band.high, f"{band.why}; below, loads and multiply-accumulates that pair perfectly")
    source = f"static costs of the {known.title} on {by or f'{mix.instructions:,} counted instructions'}"

    def reading(value: float, unit: str, note: str = "") -> Reading:
        return Reading(value, unit, "modelled", source + note, low=value * band.low, high=value * band.high)

    latency_ms = cycles / (clock_mhz * 1e3)
    energy = None
    if active_mw is not None:
        energy = reading(latency_ms * active_mw / 1e3, "mJ", f", {active_mw:g} mW while it computes")
    elif known.name == _M4:
        board = ANCHORS["tflm"].board
        energy = reading(cycles * nanojoules_per_cycle() / 1e6, "mJ", f", energy of a cycle as published for {board}")
    return Estimate(
        known.name,
        clock_mhz,
        reading(cycles, "cycles"),
        reading(latency_ms, "ms", f" at {clock_mhz:g} MHz"),
        energy,
        band,
    )


def nanojoules_per_cycle() -> float:
    """Energy of a cycle of the published Cortex-M4 board, in nanojoules: the mean over its four networks.

    Examples
    --------
    >>> round(nanojoules_per_cycle(), 2)
    0.34
    """
    anchor = ANCHORS["tflm"]
    energies = anchor.energy_uj or (0.0,)
    each = [uj * 1e3 / anchor.cycles(network) for uj, network in zip(energies, NETWORKS, strict=True)]
    return sum(each) / len(each)


def _ratios(core: str) -> list[float]:
    """Cycles on ``core`` for each cycle on the Cortex-M4, of one stack, on the convolutional networks."""
    other = next((anchor for anchor in ANCHORS.values() if anchor.core == core != _M4), None)
    if other is None:
        return []
    same = next(a for a in ANCHORS.values() if a.core == _M4 and a.stack == other.stack)
    return [other.cycles(network) / same.cycles(network) for network in NETWORKS[:_CONVOLUTIONAL]]
