"""A fleet of unlike devices in NumPy: heat, throttling, links, batteries, the day, latencies and crashes.

Everything that comes out is **modelled**: formulas with stated inputs (`edgelab.ota.hardware`), no measurement. A tick
moves all devices of a block at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.ota.hardware import KINDS, Fault, Hardware, World
from edgelab.ota.histogram import BINS, CEILING_MS, FLOOR_MS, LogHistogram
from edgelab.reading import Table

Floats = NDArray[np.float32]
BLOCK = 16_384
"""Devices that a tick moves at once: their numbers stay in a processor's cache."""
_BINS_PER_NAT = BINS / math.log(CEILING_MS / FLOOR_MS)


SLOWER = 0.5
"""A device counts as slower when an inference takes 1.65 times (e to the 0.5) what is usual for it."""
CHARGED_BELOW, CHARGED_IN_H = -0.7, 3.0
"""A battery is charged while the day's sine is below the first, and is full after so many hours."""


@dataclass(frozen=True, eq=False)
class Fleet:
    """Devices sorted by kind, each (devices,) float32: air around, log of its own slowness, load, time zone."""

    kinds: tuple[Hardware, ...]
    counts: tuple[int, ...]
    ambient_c: Floats = field(repr=False)
    log_slow: Floats = field(repr=False)
    load: Floats = field(repr=False)
    zone_h: Floats = field(repr=False)

    def __len__(self) -> int:
        return sum(self.counts)

    def blocks(self) -> Iterator[tuple[Hardware, slice]]:
        """Devices of one kind, at most `BLOCK` at a time."""
        start = 0
        for kind, count in zip(self.kinds, self.counts, strict=True):
            for first in range(start, start + count, BLOCK):
                yield kind, slice(first, min(first + BLOCK, start + count))
            start += count


def draw_devices(devices: int, seed: int = 0, kinds: Sequence[Hardware] = KINDS) -> Fleet:
    """A fleet: places from cold to hot, chips from fast to slow, load from light to heavy, six time zones.

    Raises
    ------
    BadInput
        If there are fewer devices than kinds, or the shares do not add up to 1.

    Examples
    --------
    >>> draw_devices(10).counts
    (5, 3, 2)
    """
    if devices < len(kinds) or abs(sum(kind.share for kind in kinds) - 1) > 1e-6:
        raise BadInput("A fleet needs a device of each kind, and shares that add up to 1.")
    ends = np.round(devices * np.cumsum([kind.share for kind in kinds])).astype(int)
    counts = np.diff(ends, prepend=0)
    rng = np.random.default_rng([seed, 11])

    def normal() -> Floats:
        return rng.standard_normal(devices, np.float32)

    return Fleet(
        tuple(kinds),
        tuple(int(count) for count in counts),
        22 + 7 * normal(),
        np.float32(0.1) * normal(),
        np.clip(np.float32(0.45) * np.exp(np.float32(0.4) * normal()), 0.01, 0.95).astype(np.float32),
        np.floor(6 * rng.random(devices, np.float32)),
    )


class Life:
    """The state of every device, and how a tick changes it.

    Parameters
    ----------
    fleet, world
        Who, and where.
    fault
        Of the new release; `new` says who runs it.
    seed
        Of all that is drawn.

    Attributes
    ----------
    new
        Who runs the new release, (devices,) bool.
    temperature_c, charge, memory_mb
        Of each device, (devices,) float32; the charge from 0 to 1.
    throttled, online
        (devices,) bool.
    latencies
        Of the previous and of the new release, (2, 256) counts, one inference a device and tick.
    had
        Bits of the first events each device had: 1 crashed, 2 became slower, 4 answered wrong.
    """

    def __init__(self, fleet: Fleet, fault: Fault | None = None, world: World | None = None, seed: int = 0) -> None:
        self.fleet, self.fault, self.world = fleet, fault or Fault(), world or World()
        if self.fault.wrong_on and self.fault.wrong_on not in {kind.name for kind in fleet.kinds}:
            raise BadInput(f"There is no hardware {self.fault.wrong_on!r} in this fleet.")
        n = len(fleet)
        self.new = np.zeros(n, bool)
        self.temperature_c = fleet.ambient_c.copy()
        self.charge = np.ones(n, np.float32)
        self.memory_mb = np.repeat(np.array([kind.memory_mb for kind in fleet.kinds], np.float32), fleet.counts)
        self.throttled, self.online = np.zeros(n, bool), np.ones(n, bool)
        self.had = np.zeros(n, np.uint8)
        self.latencies = np.zeros((2, BINS), np.int64)
        self.crashes = np.zeros(2, np.int64)
        self._rng = np.random.default_rng([seed, 13])

    def hour(self, clock_h: float, tick_s: float) -> NDArray[np.float64]:
        """Move every device on by an hour; returns (3 measures, 4): new, old, and their device-hours at risk.

        Counted are devices that were online at the full hour, on both sides: those that can take a release are those,
        too, and a control group with dead batteries in it would be no control group.
        """
        ticks = max(1, round(3600 / tick_s))
        counted = np.zeros((3, 4))
        for kind, part in self.fleet.blocks():
            before = self.had[part].copy()
            new, heard = self.new[part].copy(), self.online[part].copy()
            for tick in range(ticks):
                self._tick(kind, part, clock_h + tick / ticks, 3600 / ticks)
            fresh = self.had[part] & ~before
            for measure in range(3):
                bit = np.uint8(1 << measure)
                risk, event = heard & ((before & bit) == 0), heard & ((fresh & bit) != 0)
                at_risk, events = int((risk & new).sum()), int((event & new).sum())
                counted[measure] += (events, int(event.sum()) - events, at_risk, int(risk.sum()) - at_risk)
        return counted

    def _tick(self, kind: Hardware, part: slice, clock_h: float, seconds: float) -> None:
        world, fault, fleet, f32 = self.world, self.fault, self.fleet, np.float32
        rng, new = self._rng, self.new[part]
        size = new.size
        # Load and the day: sine of the local hour, once a time zone and not once a device.
        zone = fleet.zone_h[part].astype(np.intp)
        swing = np.sin(2 * np.pi * (clock_h + np.arange(6) - 9) / 24).astype(f32)[zone]
        load = fleet.load[part] * (1 + f32(world.day) * swing)
        np.minimum(load, 1, out=load)
        alive = self.charge[part] > 0 if kind.battery_wh else None
        if alive is not None:
            load *= alive
        # Heat: one exact step of a resistance and a capacity, power constant within the tick.
        hot = self.throttled[part]
        power = f32(kind.idle_w) + f32(kind.busy_w - kind.idle_w) * load * np.where(
            hot, f32(1 / kind.throttled), f32(1)
        )
        heat = self.temperature_c[part]
        target = fleet.ambient_c[part] + f32(world.day_c) * swing + f32(kind.kelvin_per_watt) * power
        heat += (target - heat) * f32(-math.expm1(-seconds / (kind.kelvin_per_watt * kind.joule_per_kelvin)))
        np.copyto(hot, (heat >= f32(kind.throttle_c)) | (hot & (heat > f32(kind.resume_c))))
        # One inference: logarithms add up, and a bin is a place on the logarithmic axis.
        slow = rng.standard_normal(size, f32)
        slow *= f32(world.noise)
        slow += hot * f32(math.log(kind.throttled))
        if fault.slowdown != 1:
            slow += new * f32(math.log(fault.slowdown))
        place = (slow + fleet.log_slow[part] + f32(math.log(kind.latency_ms / FLOOR_MS))) * f32(_BINS_PER_NAT)
        bins = np.clip(place, 0, BINS - 1).astype(np.int16)
        bins += np.int16(BINS) * new
        counted = np.bincount(bins if alive is None else bins[alive], minlength=2 * BINS)
        self.latencies += counted.reshape(2, BINS)
        self._link(kind, part, seconds, power, swing)
        # Rare events: a crash at one end of the draw, a bad hour of answers at the other.
        chance = rng.random(size, f32)
        rate = f32(world.crash_h * seconds / 3600) * (1 + f32(world.day) * swing)
        dies = chance < (rate if fault.crashes == 1 else rate * np.where(new, f32(fault.crashes), f32(1)))
        if fault.leak_mb_h:
            memory = self.memory_mb[part]
            memory -= new * f32(fault.leak_mb_h * seconds / 3600)
            dies |= memory <= 0
        bad = np.full(size, world.wrong_h * seconds / 3600, f32)
        if fault.wrong_on == kind.name:
            bad[new] = 1 - (1 - fault.wrong) ** (seconds / 3600)
        happened = [dies, slow > f32(SLOWER), chance > 1 - bad]
        if alive is not None:
            dies &= alive
            happened = [event & alive for event in happened]
        for bit, event in enumerate(happened):
            self.had[part] |= event.view(np.uint8) << np.uint8(bit)
        if fault.leak_mb_h:
            memory[dies] = f32(kind.memory_mb)
        deaths = int(np.count_nonzero(dies & new))
        self.crashes += (int(np.count_nonzero(dies)) - deaths, deaths)

    def _link(self, kind: Hardware, part: slice, seconds: float, power: Floats, swing: Floats) -> None:
        """Links go and return; batteries empty by day and are charged, in about three hours, by night."""
        hours, f32 = seconds / 3600, np.float32
        chance, link = self._rng.random(power.size, f32), self.online[part]
        rates = self.world.drop_h, self.world.return_h  # two states in continuous time, exact over any tick
        gone, back = (f32(rate * -math.expm1(-sum(rates) * hours) / sum(rates)) for rate in rates)
        np.copyto(link, np.where(link, chance >= gone, chance < back))
        if kind.battery_wh:
            charge = self.charge[part]
            charge -= power * f32(hours / kind.battery_wh)
            charge += (swing < f32(CHARGED_BELOW)) * f32(hours / CHARGED_IN_H)
            np.clip(charge, 0, 1, out=charge)
            link &= charge > 0


@dataclass(frozen=True, eq=False)
class FleetRun:
    """Some hours of a fleet. Modelled."""

    devices: int
    hours: float
    ticks: int
    latency: LogHistogram
    throttled: float
    online: float
    crashes: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        percentiles = {f"p{q}_ms": self.latency.percentile(q) for q in (50, 95, 99)}
        shares = {"throttled": self.throttled, "online": self.online}
        return (
            {"devices": self.devices, "hours": self.hours, "how": "modelled", "crashes": self.crashes}
            | percentiles
            | shares
        )

    def _repr_markdown_(self) -> str:
        rows = [(key.replace("_", " "), value) for key, value in self.to_dict().items()]
        return Table("A fleet, modelled", ("what", "is"), rows)._repr_markdown_()


def run_fleet(
    fleet: Fleet,
    hours: int = 24,
    tick_s: float = 300.0,
    seed: int = 0,
    fault: Fault | None = None,
    world: World | None = None,
) -> FleetRun:
    """Let a fleet live, all of it on one release: with ``fault`` on a bad one.

    Raises
    ------
    BadInput
        If the hours or the tick make no sense.

    Examples
    --------
    >>> run_fleet(draw_devices(100), hours=2).latency.total
    2400
    """
    if hours < 1 or not 1 <= tick_s <= 3600:
        raise BadInput("A fleet lives for at least an hour, in ticks of 1 to 3600 seconds.")
    life = Life(fleet, fault, world, seed)
    life.new[:] = fault is not None
    throttled = online = 0.0
    for hour in range(hours):
        life.hour(hour, tick_s)
        throttled += float(life.throttled.mean()) / hours
        online += float(life.online.mean()) / hours
    latency = LogHistogram(life.latencies.sum(axis=0))
    ticks = hours * max(1, round(3600 / tick_s)) * len(fleet)
    return FleetRun(len(fleet), hours, ticks, latency, throttled, online, int(life.crashes.sum()))
