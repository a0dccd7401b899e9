"""Machine vibration with bearing faults, made by a physical model: offline, and hard where the real thing is hard.

A defect in a rolling bearing gives a shock each time that it is rolled over. Each shock makes the structure
ring, the load zone modulates the shocks of what turns, slip keeps their rhythm from being exact, and every
sensor sees it through its own mounting. One sensor, the magnet, is in the test split alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.data.dataset import Dataset, Split
from edgelab.errors import BadInput

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

RATE_HZ = 8192
SAMPLES = 1024
CLASSES = ("normal", "outer race", "inner race", "ball", "unbalance")


@dataclass(frozen=True)
class Bearing:
    """A rolling bearing whose outer race stands still, and its characteristic frequencies.

    The frequencies are in multiples of the shaft's (orders), from the kinematics of pure rolling: R. B. Randall
    and J. Antoni, Rolling element bearing diagnostics: a tutorial, Mechanical Systems and Signal Processing
    25 (2011), equations 1 to 4.

    Examples
    --------
    >>> [round(order, 4) for order in (BEARING.bpfo, BEARING.bpfi, BEARING.bsf, BEARING.ftf)]
    [3.5848, 5.4152, 2.3567, 0.3983]
    """

    balls: int
    ball_diameter_mm: float
    pitch_diameter_mm: float
    contact_angle_deg: float = 0.0

    @property
    def _ratio(self) -> float:
        return self.ball_diameter_mm / self.pitch_diameter_mm * math.cos(math.radians(self.contact_angle_deg))

    @property
    def ftf(self) -> float:
        """Fundamental train frequency: turns of the cage per turn of the shaft."""
        return (1 - self._ratio) / 2

    @property
    def bpfo(self) -> float:
        """Ball pass frequency, outer race."""
        return self.balls * self.ftf

    @property
    def bpfi(self) -> float:
        """Ball pass frequency, inner race."""
        return self.balls * (1 - self.ftf)

    @property
    def bsf(self) -> float:
        """Ball spin frequency; a defect on a ball strikes twice a spin, once each race."""
        return self.pitch_diameter_mm / self.ball_diameter_mm / 2 * (1 - self._ratio**2)


BEARING = Bearing(balls=9, ball_diameter_mm=7.940, pitch_diameter_mm=39.040)
"""The deep groove bearing 6205 as the Case Western Reserve University bearing data centre describes it
(ball 0.3126 inch, pitch 1.537 inch): it publishes the orders 3.5848, 5.4152, 4.7135 (twice 2.3567) and 0.39828."""

GEAR_TEETH = 23


@dataclass(frozen=True)
class Sensor:
    """Where an accelerometer sits: gain, the resonances between the bearing and it, and its noise.

    ``modes_hz`` and ``damping`` (of critical) describe the ringing after a shock; ``low_gain`` is what it passes
    of the slow forces (unbalance, gear mesh); ``noise_g`` is the standard deviation of its white noise.
    """

    name: str
    gain: float
    modes_hz: tuple[float, float]
    damping: float
    low_gain: float
    noise_g: float


SENSORS = (
    Sensor("housing", 1.00, (2150.0, 3350.0), 0.035, 1.00, 0.06),
    Sensor("pedestal", 0.75, (1750.0, 2850.0), 0.045, 1.15, 0.07),
    Sensor("motor", 0.85, (2500.0, 3600.0), 0.030, 0.85, 0.08),
    Sensor("magnet", 0.70, (1450.0, 2600.0), 0.055, 1.05, 0.10),
)
UNSEEN = "magnet"

# Share of the bearing's rated load, shaft speed in Hz.
LOADS = {"light": (0.25, 0.45), "medium": (0.45, 0.7), "heavy": (0.7, 1.0)}
SPEEDS = {"slow": (22.0, 27.0), "medium": (27.0, 33.0), "fast": (33.0, 40.0)}

_LEAD = 256
"""Samples before the window, so that the ringing of earlier shocks is in it."""
_BLOCK = 500
_SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}


@dataclass(frozen=True)
class Windows:
    """What is known about each window: class, sensor and load as numbers of the lists above, and physical values.

    ``severity`` is the size of the fault in g of the first shock at full load; ``shaft_hz`` and ``load`` floats.
    """

    condition: Indices
    sensor: Indices
    shaft_hz: Floats
    load: Floats
    severity: Floats

    def __len__(self) -> int:
        return len(self.condition)


def vibration(items: int = 6000, seed: int = 0) -> Dataset:
    """Windows of 1,024 samples (125 ms at 8,192 Hz) of machines in five conditions.

    Parameters
    ----------
    items
        Windows in all: 60 percent training, 15 validation, 25 test. At least 100.
    seed
        Which windows are drawn. The labs use 0.

    Returns
    -------
    Dataset
        x (N, 1, 1024): acceleration in g. Groups: ``sensor`` (housing, pedestal, motor, magnet),
        ``load`` (light, medium, heavy), ``speed`` (slow, medium, fast). A quarter of the test windows come
        from the magnet, which no training or validation window does. See ``datasets/vibration.md``.

    Raises
    ------
    BadInput
        If ``items`` is below 100.

    Examples
    --------
    >>> data = vibration(items=200)
    >>> data.input_shape, [len(split) for split in data.splits.values()]
    ((1, 1024), [120, 30, 50])
    """
    if items < 100:
        raise BadInput(f"vibration() makes at least 100 windows, not {items}; set items to 100 or more.")
    sizes = {part: round(share * items) for part, share in _SHARES.items()}
    sizes["train"] = items - sizes["validation"] - sizes["test"]
    splits = {part: _split(n, number, part == "test", seed) for number, (part, n) in enumerate(sizes.items())}
    return Dataset(
        name="vibration",
        **splits,
        notes=(),
        class_names=CLASSES,
        source="made by the physical model in edgelab/data/vibration.py",
        licence="Apache-2.0",
        card="datasets/vibration.md",
        scaling="acceleration in g, as the sensor reports it",
    )


def simulate(windows: Windows, rng: np.random.Generator, samples: int = SAMPLES, bearing: Bearing = BEARING) -> Floats:
    """The acceleration (N, samples) in g at `RATE_HZ` that each window's sensor reports.

    The shocks follow P. D. McFadden and J. D. Smith, Model for the vibration produced by a single point defect
    in a rolling element bearing, Journal of Sound and Vibration 96 (1984): a train of impulses, weighted by the
    load on the contact, each answered by damped vibrations; with the random slip of Randall and Antoni (2011).
    """
    n, length = len(windows), samples + _LEAD
    time = (np.arange(length) - _LEAD)[:, None] / RATE_HZ
    sensors = _sensor_values(windows.sensor)

    # The shaft's speed wanders by half a percent: revolutions as a function of time, and its inverse to first order.
    depth, rate = rng.uniform(0.001, 0.005, n), rng.uniform(0.1, 0.6, n)
    phase = rng.uniform(0, 2 * np.pi, n)

    def wander(revolutions: Floats) -> Floats:
        values: Floats = depth / (2 * np.pi * rate) * np.sin(2 * np.pi * rate * revolutions + phase)
        return values

    start = rng.uniform(0, 1, n)
    shaft = windows.shaft_hz * time
    revolutions = start + shaft + wander(shaft)

    slow = _unbalance(windows, revolutions, rng) + _gear_mesh(windows, revolutions, rng)
    signal = sensors["gain"] * sensors["low_gain"] * slow

    shocks = [
        _fault_shocks(windows, bearing, start, (-_LEAD / RATE_HZ, samples / RATE_HZ), rng),
        _stray_shocks(n, (-_LEAD / RATE_HZ, samples / RATE_HZ), rng),
    ]
    turns = np.concatenate([s[0] * windows.shaft_hz for s in shocks])
    when = (turns - wander(turns)) / windows.shaft_hz
    signal += sensors["gain"] * _ringing(when, np.concatenate([s[1] for s in shocks]), sensors, length, rng)

    white = rng.standard_normal((length, n))
    rumble = 0.5 * _lowpass(rng.standard_normal((length, n)), 0.9)
    signal += sensors["noise_g"] * (white + rumble * (0.5 + windows.load))
    return np.ascontiguousarray(signal[_LEAD:].T)


def _sensor_values(sensor: Indices) -> dict[str, Any]:
    fields = ("gain", "damping", "low_gain", "noise_g", "modes_hz")
    return {name: np.array([getattr(s, name) for s in SENSORS])[sensor] for name in fields}


def _unbalance(windows: Windows, revolutions: Floats, rng: np.random.Generator) -> Floats:
    """A force that turns with the shaft and grows with the square of its speed; every rotor has a little."""
    faulty = windows.condition == CLASSES.index("unbalance")
    rest = rng.uniform(0.03, 0.16, len(windows))
    amplitude = np.where(faulty, rest + windows.severity, rest) * (windows.shaft_hz / 30) ** 2
    second = rng.uniform(0.05, 0.3, len(windows)) * rest
    angle = rng.uniform(0, 2 * np.pi, (2, len(windows)))
    turn = 2 * np.pi * revolutions
    force: Floats = amplitude * np.sin(turn + angle[0]) + second * np.sin(2 * turn + angle[1])
    return force


def _gear_mesh(windows: Windows, revolutions: Floats, rng: np.random.Generator) -> Floats:
    """Teeth that mesh, twice as loud at full load as at none, with the shaft's modulation; in every condition."""
    n = len(windows)
    amplitude = rng.uniform(0.03, 0.12, n) * (0.5 + 0.5 * windows.load)
    depth, angle = rng.uniform(0.1, 0.4, n), rng.uniform(0, 2 * np.pi, (3, n))
    turn = 2 * np.pi * revolutions
    carrier = np.sin(GEAR_TEETH * turn + angle[0]) + 0.4 * np.sin(2 * GEAR_TEETH * turn + angle[1])
    mesh: Floats = amplitude * carrier * (1 + depth * np.sin(turn + angle[2]))
    return mesh


def load_zone(angle: Floats, extent: float = 0.45) -> Floats:
    """The share of the greatest contact force at ``angle`` (radians) from the middle of the load zone.

    Stribeck's distribution for ball bearings, (1 - (1 - cos angle) / (2 extent)) ** 1.5, and 0 outside the zone;
    ``extent`` is the load distribution factor, 0.5 without clearance: T. A. Harris, Rolling Bearing Analysis.
    """
    force: Floats = np.clip(1 - (1 - np.cos(angle)) / (2 * extent), 0, None) ** 1.5
    return force


def _fault_shocks(
    windows: Windows, bearing: Bearing, start: Floats, span_s: tuple[float, float], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Times (K, N) in s of a steady shaft and strengths (K, N) in g of the defect's shocks; 0 where there is none."""
    n = len(windows)
    order = np.array([0, bearing.bpfo, bearing.bpfi, 2 * bearing.bsf, 0])[windows.condition]
    fault = order > 0
    order = np.where(fault, order, 1.0)
    # Rolling is not pure: the mean rhythm is up to 1 percent off, and each interval varies by 1 percent.
    order = order * (1 + rng.uniform(-0.01, 0.01, n))
    count = int((span_s[1] - span_s[0]) * float((windows.shaft_hz * order).max()) * 1.1) + 4
    intervals = (1 + 0.01 * rng.standard_normal((count, n))) / order
    turns = span_s[0] * windows.shaft_hz + rng.uniform(-1, 0, n) / order + np.cumsum(intervals, axis=0)

    # Where the defect is when it strikes: a race's stands or turns with the shaft, a ball's goes with the cage.
    inner = load_zone(2 * np.pi * (turns + start))
    ball = load_zone(2 * np.pi * (bearing.ftf * turns + rng.uniform(0, 1, n)))
    ball = ball * np.where(np.arange(count) % 2, 0.7, 1.0)[:, None]
    zone = np.select([windows.condition == CLASSES.index(name) for name in ("inner race", "ball")], [inner, ball], 1.0)
    strength = (
        zone * windows.severity * windows.load**0.5 * np.clip(1 + 0.15 * rng.standard_normal((count, n)), 0, None)
    )
    return turns / windows.shaft_hz, np.where(fault, strength, 0.0)


def _stray_shocks(n: int, span_s: tuple[float, float], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Shocks from elsewhere in the plant, in every condition: about 12 a second, at random times."""
    count = max(1, round(24 * (span_s[1] - span_s[0])))
    when = rng.uniform(*span_s, (count, n))
    strength = rng.lognormal(math.log(0.25), 0.6, (count, n))
    return when, np.where(rng.random((count, n)) < 0.5, strength, 0.0)


def _ringing(when: Floats, strength: Floats, sensors: dict[str, Any], length: int, rng: np.random.Generator) -> Floats:
    """What shocks (K, N) at ``when`` seconds make the sensor see: two damped vibrations each, (length, N).

    A decaying vibration is a complex number that turns and shrinks by the same factor each sample, so one pass
    over time sums the answers to all shocks, and a shock between two samples enters with its exact phase.
    """
    n = when.shape[1]
    position = when * RATE_HZ + _LEAD
    first = np.ceil(position).astype(np.int64)
    inside = (first >= 0) & (first < length) & (strength > 0)
    row, column = first[inside], np.broadcast_to(np.arange(n), when.shape)[inside]
    late, weight = (first - position)[inside], strength[inside]
    total = np.zeros((length, n))
    for mode, share in enumerate((1.0, 0.6)):
        frequency = sensors["modes_hz"][:, mode] * (1 + 0.02 * rng.standard_normal(n))
        pole = 2 * np.pi * frequency / RATE_HZ * (1j - sensors["damping"] * rng.uniform(0.8, 1.25, n))
        ring = np.zeros((length, n), np.complex128)
        np.add.at(ring, (row, column), share * weight * np.exp(pole[column] * late))
        factor = np.exp(pole)
        for i in range(1, length):
            ring[i] += factor * ring[i - 1]
        total += ring.imag
    return total


def _lowpass(noise: Floats, memory: float) -> Floats:
    """First-order low-pass along time (axis 0), unit variance in, unit variance out."""
    out = noise * math.sqrt(1 - memory**2)
    for i in range(1, len(out)):
        out[i] += memory * out[i - 1]
    return out


def _draw(n: int, sensors: Sequence[int], rng: np.random.Generator) -> tuple[Windows, dict[str, NDArray[np.str_]]]:
    """Conditions and sensors in equal shares and every combination, load and speed at random."""
    cell = rng.permutation(np.resize(np.arange(len(CLASSES) * len(sensors)), n))
    condition, sensor = cell % len(CLASSES), np.asarray(sensors)[cell // len(CLASSES)]
    load_name, speed_name = (rng.choice(np.array(list(limits)), n) for limits in (LOADS, SPEEDS))
    load = rng.uniform(*np.array([LOADS[name] for name in load_name]).T)
    shaft_hz = rng.uniform(*np.array([SPEEDS[name] for name in speed_name]).T)
    # Shocks of early to advanced faults; those of inner race and ball reach the sensor through more joints.
    middle = np.array([0.0, 0.85, 1.35, 1.5, 0.3])[condition]
    severity = middle * np.exp(rng.uniform(-0.75, 0.75, n))
    names = np.array([s.name for s in SENSORS])[sensor]
    windows = Windows(condition.astype(np.int64), sensor.astype(np.int64), shaft_hz, load, severity)
    return windows, {"sensor": names, "load": load_name, "speed": speed_name}


def _split(n: int, number: int, test: bool, seed: int) -> Split:
    sensors = [i for i, sensor in enumerate(SENSORS) if test or sensor.name != UNSEEN]
    rng = np.random.Generator(np.random.PCG64([seed, number]))
    windows, groups = _draw(n, sensors, rng)
    x = np.empty((n, 1, SAMPLES), np.float32)
    for start in range(0, n, _BLOCK):
        part = slice(start, min(start + _BLOCK, n))
        fields = {k: v[part] for k, v in vars(windows).items()}
        x[part, 0] = simulate(Windows(**fields), rng)
    return Split(x, windows.condition, groups)
