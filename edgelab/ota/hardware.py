"""What a simulated fleet is made of: kinds of hardware, the world they live in, what can be wrong with a release.

The heat, the throttling and the links have closed forms, `warm_up_c`, `throttle_duty` and `link_availability`, to which
tests hold the simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgelab.errors import BadInput


@dataclass(frozen=True)
class Hardware:
    """One kind of device. The values are this model's inputs, of the size that data sheets state for such boards.

    Parameters
    ----------
    share
        Of the fleet.
    latency_ms
        Median of an inference when cool.
    idle_w, busy_w
        Power without work, and when it never rests.
    kelvin_per_watt, joule_per_kelvin
        Thermal resistance to the air around and heat capacity, of the board in its case.
    throttle_c, resume_c
        Where it slows down, and where it is fast again.
    throttled
        How many times an inference takes when slowed down; power falls by the same factor.
    memory_mb
        Free memory after a start.
    battery_wh
        0: it has none.
    """

    name: str
    share: float
    latency_ms: float
    idle_w: float
    busy_w: float
    kelvin_per_watt: float = 8.0
    joule_per_kelvin: float = 90.0
    throttle_c: float = 80.0
    resume_c: float = 75.0
    throttled: float = 2.0
    memory_mb: float = 512.0
    battery_wh: float = 0.0


KINDS = (
    Hardware("gateway", 0.5, 6.0, 1.5, 5.0),
    Hardware("camera", 0.3, 18.0, 1.0, 6.5, kelvin_per_watt=10.0, memory_mb=128.0),
    Hardware("handheld", 0.2, 35.0, 0.3, 2.5, kelvin_per_watt=14.0, throttle_c=45.0, resume_c=42.0, battery_wh=24.0),
)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a release, against the one before; without arguments nothing is.

    Parameters
    ----------
    crashes, slowdown
        How many times as often it crashes, and as long an inference takes.
    wrong_on, wrong
        A kind of hardware on which so large a share of the devices answers badly each hour.
    leak_mb_h
        Memory that is lost each hour, until the program dies of it and starts anew.

    Raises
    ------
    BadInput
        If a value is out of range.
    """

    crashes: float = 1.0
    slowdown: float = 1.0
    wrong_on: str = ""
    wrong: float = 0.2
    leak_mb_h: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.crashes, self.slowdown, self.wrong, self.leak_mb_h)
        if not all(math.isfinite(n) and n >= 0 for n in numbers) or self.slowdown == 0 or self.wrong > 1:
            raise BadInput("A fault needs finite factors from 0 on, a slowdown above 0, and a share of wrong up to 1.")

    def __str__(self) -> str:
        words = [f"{self.crashes:g} times the crashes"] if self.crashes != 1 else []
        words += [f"{self.slowdown:g} times as slow"] if self.slowdown != 1 else []
        words += [f"wrong on each {self.wrong_on}"] if self.wrong_on else []
        words += [f"loses {self.leak_mb_h:g} MB an hour"] if self.leak_mb_h else []
        return ", ".join(words) or "no fault"


@dataclass(frozen=True)
class World:
    """What all devices live in.

    Parameters
    ----------
    crash_h, wrong_h
        Chance of a first crash, and of an hour of bad answers, in one hour of one device on the previous release.
    noise
        Standard deviation of the natural logarithm of a latency.
    drop_h, return_h
        Gilbert-Elliott link: how often in an hour one that is there goes, and one that is gone returns.
    day
        Swing of the load over a day, 0 to 1; crashes follow the load.
    day_c
        Swing of the temperature over a day, in kelvin.
    """

    crash_h: float = 0.002
    wrong_h: float = 0.001
    noise: float = 0.15
    drop_h: float = 0.1
    return_h: float = 2.0
    day: float = 0.6
    day_c: float = 6.0


def warm_up_c(kind: Hardware, ambient_c: float, watt: float, seconds: float) -> float:
    """Temperature after so many seconds at constant power, from ambient: T + P R (1 - exp(-t / RC)).

    Examples
    --------
    >>> round(warm_up_c(KINDS[0], 20, 5, 720), 1)
    45.3
    """
    time_constant = kind.kelvin_per_watt * kind.joule_per_kelvin
    return ambient_c - watt * kind.kelvin_per_watt * math.expm1(-seconds / time_constant)


def throttle_duty(kind: Hardware, ambient_c: float, load: float) -> float:
    """Share of the time that a device at constant load is slowed down: 0, 1, or by how it heats and cools in between.

    Fast, it heats from where it resumes to where it throttles; slow, it cools back; each time is the logarithm of an
    exponential's two ends.
    """
    fast = ambient_c + kind.kelvin_per_watt * (kind.idle_w + (kind.busy_w - kind.idle_w) * load)
    slow = ambient_c + kind.kelvin_per_watt * (kind.idle_w + (kind.busy_w - kind.idle_w) * load / kind.throttled)
    if fast <= kind.throttle_c:
        return 0.0
    if slow >= kind.resume_c:
        return 1.0
    heating = math.log((fast - kind.resume_c) / (fast - kind.throttle_c))
    cooling = math.log((kind.throttle_c - slow) / (kind.resume_c - slow))
    return cooling / (heating + cooling)


def link_availability(world: World) -> float:
    """Share of the time that a Gilbert-Elliott link is there: rate of return over both rates.

    Examples
    --------
    >>> round(link_availability(World()), 3)
    0.952
    """
    return world.return_h / (world.return_h + world.drop_h)
