"""The devices behind the clients: how fast each is, when it can be reached, and how often it drops out.

All of it is modelled: seeded draws and stated formulas, no measurement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput
from edgelab.federated.client import ClientConfig

Floats = NDArray[np.float64]
Late = Literal["drop", "partial"]


@dataclass(frozen=True, eq=False)
class Fleet:
    """One device a client.

    Parameters
    ----------
    items_per_second
        Training items that each device does in a second, (clients,).
    bytes_per_second
        Of its link, (clients,).
    window_start_h
        The hour of the day (0 to 24) at which it comes within reach, as a telephone put on its charger, (clients,).
    window_h
        Hours a day within reach; 24: always.
    drop_out
        Probability that a device that began a round is not heard of again in it.

    Raises
    ------
    BadInput
        If lengths differ or a value is out of range.
    """

    items_per_second: Floats = field(repr=False)
    bytes_per_second: Floats = field(repr=False)
    window_start_h: Floats = field(repr=False)
    window_h: float = 24.0
    drop_out: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.items_per_second) == len(self.bytes_per_second) == len(self.window_start_h) > 0:
            raise BadInput("A fleet needs one speed, one link and one hour for each of its devices.")
        if not (np.min(self.items_per_second) > 0 and np.min(self.bytes_per_second) > 0):
            raise BadInput("The speed and the link of every device must be above 0.")
        if not (0 < self.window_h <= 24 and 0 <= self.drop_out <= 1):
            raise BadInput(
                f"window_h={self.window_h} must be above 0 and at most 24, drop_out={self.drop_out} between 0 and 1."
            )

    def __len__(self) -> int:
        return len(self.items_per_second)

    def available(self, hour: float) -> NDArray[np.bool_]:
        """Which devices can be reached at an hour of any day, (clients,).

        Examples
        --------
        >>> night = Fleet(np.ones(2), np.ones(2), np.array([22.0, 10.0]), window_h=8)
        >>> night.available(25).tolist(), night.available(12).tolist()
        ([True, False], [False, True])
        """
        found: NDArray[np.bool_] = (hour - self.window_start_h) % 24 < self.window_h
        return found

    def seconds(self, clients: NDArray[np.int64], items: Floats, down: int, up: int) -> tuple[Floats, Floats]:
        """Seconds on the air and seconds of training, each (K,), for so many items and bytes."""
        air = (down + up) / self.bytes_per_second[clients]
        return air, items / self.items_per_second[clients]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: medians and settings."""
        return {
            "devices": len(self),
            "median_items_per_second": float(np.median(self.items_per_second)),
            "median_bytes_per_second": float(np.median(self.bytes_per_second)),
            "window_h": self.window_h,
            "drop_out": self.drop_out,
        }


@dataclass(frozen=True, eq=False)
class Attendance:
    """Who trains in a round: ``active`` clients (K,), the share of the work each does (K,), and why others do not.

    ``seconds`` is how long the server waits.
    """

    active: NDArray[np.int64]
    work: Floats
    missing: dict[int, str]
    seconds: float


def take_part(
    fleet: Fleet,
    selected: NDArray[np.int64],
    gone: NDArray[np.bool_],
    sizes: NDArray[np.int64],
    config: ClientConfig,
    message_bytes: tuple[int, int],
    deadline_s: float | None,
    late: Late,
) -> Attendance:
    """Drop-outs and stragglers of a round.

    Parameters
    ----------
    selected, gone
        Clients that begin, and which of them drop out, both (S,).
    sizes
        Items of every client, (clients,).
    config
        Epochs and batch size.
    message_bytes
        Of the model on its way down and of an update on its way up.
    deadline_s, late
        See `edgelab.federated.simulation.simulate`.
    """
    missing = {int(client): "dropped out" for client in selected[gone]}
    active = selected[~gone]
    items = config.epochs * sizes[active].astype(float)
    air, training = fleet.seconds(active, items, *message_bytes)
    if deadline_s is None:
        return Attendance(active, np.ones(len(active)), missing, float(np.max(air + training, initial=0)))
    work = np.clip((deadline_s - air) / training, 0, 1) if late == "partial" else np.ones(len(active))
    batch = sizes[active] if config.batch_size is None else np.minimum(config.batch_size, sizes[active])
    slow = (work * items < batch) | (air + training * work > deadline_s * (1 + 1e-9))
    for client, seconds in zip(active[slow], (air + training)[slow], strict=True):
        missing[int(client)] = f"late: {seconds:.3g} s of {deadline_s:g} s"
    waited = deadline_s if missing else float(np.max(air + training * work, initial=0))
    return Attendance(active[~slow], work[~slow], missing, waited)


def draw_fleet(
    clients: int,
    seed: int = 0,
    *,
    items_per_second: float = 500.0,
    bytes_per_second: float = 50_000.0,
    spread: float = 0.0,
    window_h: float = 24.0,
    evening_h: float = 22.0,
    zones_h: float = 4.0,
    drop_out: float = 0.0,
) -> Fleet:
    """A fleet with speeds and links spread log-normally around their medians.

    Parameters
    ----------
    clients, seed
        How many, and of the draw.
    items_per_second, bytes_per_second
        Medians.
    spread
        Standard deviation of the natural logarithm of both: 1 makes one device in six slower than a third of the
        median. Speed and link are drawn apart.
    window_h, evening_h, zones_h
        Hours within reach each day, around which hour that begins, and the standard deviation of it in hours.
    drop_out
        See `Fleet`.

    Raises
    ------
    BadInput
        If a value is out of range.

    Examples
    --------
    >>> len(draw_fleet(5, spread=1))
    5
    """
    if clients < 1 or not (math.isfinite(spread) and spread >= 0 and zones_h >= 0):
        raise BadInput(f"clients={clients}, spread={spread}, zones_h={zones_h}: there must be a client, no spread < 0.")
    rng = np.random.default_rng([seed, 3])
    return Fleet(
        items_per_second * np.exp(spread * rng.standard_normal(clients)),
        bytes_per_second * np.exp(spread * rng.standard_normal(clients)),
        (evening_h + zones_h * rng.standard_normal(clients)) % 24,
        window_h,
        drop_out,
    )
