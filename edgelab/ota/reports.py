"""What a device posts about itself, and how a server reads it: whatever arrives may be broken, forged or huge."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelab.errors import BadInput
from edgelab.ota.histogram import LogHistogram

MOST_BYTES = 16_384
"""The longest report: 256 counts of any size, and room."""
STANDINGS = ("ok", "no space", "incompatible", "rolled back")
"""How a device stands to the newest release offered to it; one that rolled it back will not take it again."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REQUIRED, _OPTIONAL = {"device", "release", "hours"}, {"crashes", "latency", "right", "judged", "standing"}


@dataclass(frozen=True)
class Report:
    """One device since its last report.

    Parameters
    ----------
    device
        Its name: letters, digits, dot, hyphen and underscore, at most 64.
    release
        The counter of the release that **booted**, not of one that was downloaded.
    hours
        What the report covers.
    crashes
        Of the program that runs the model.
    latency
        Of its inferences, as a histogram.
    right, judged
        Answers that were right, of those whose truth is known; none without a truth.
    standing
        One of ``ok``, ``no space``, ``incompatible``, ``rolled back``.

    Raises
    ------
    BadInput
        If a value is of the wrong type or out of range.

    Examples
    --------
    >>> Report.from_json(b'{"device": "door-7", "release": 4, "hours": 1.0, "crashes": 0}').device
    'door-7'
    """

    device: str
    release: int
    hours: float
    crashes: int = 0
    latency: LogHistogram | None = None
    right: int = 0
    judged: int = 0
    standing: str = "ok"

    def __post_init__(self) -> None:
        if not isinstance(self.device, str) or not _NAME.fullmatch(self.device):
            raise BadInput("A report names its device in at most 64 letters, digits, dots, hyphens and underscores.")
        for name in ("release", "crashes", "right", "judged"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
                raise BadInput(f"'{name}' of a report must be a whole number from 0 to 2**53.")
        if isinstance(self.hours, bool) or not isinstance(self.hours, int | float) or not math.isfinite(self.hours):
            raise BadInput("'hours' of a report must be a finite number.")
        if not 0 < self.hours <= 24 * 366:
            raise BadInput("'hours' of a report must be above 0 and at most a year.")
        if self.right > self.judged:
            raise BadInput(f"A report counts {self.right} right answers among {self.judged} that were judged.")
        if self.standing not in STANDINGS:
            raise BadInput(f"'standing' of a report must be one of {', '.join(STANDINGS)}.")

    @classmethod
    def from_json(cls, body: bytes | str) -> Report:
        """Read a request's body.

        Raises
        ------
        BadInput
            If it is too long, no JSON, or no report.
        """
        if len(body) > MOST_BYTES:
            raise BadInput(f"A report of {len(body)} bytes is too long; at most {MOST_BYTES} are read.")
        try:
            data = json.loads(body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise BadInput("A report must be JSON.") from None
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Any) -> Report:
        """Read what `to_dict` gave, from wherever it came.

        Raises
        ------
        BadInput
            If it is anything else.
        """
        if not isinstance(data, Mapping):
            raise BadInput("A report must be a JSON object.")
        missing, unknown = _REQUIRED - set(data), set(data) - _REQUIRED - _OPTIONAL
        if missing or unknown:
            word, names = ("lacks", missing) if missing else ("holds unknown", unknown)
            raise BadInput(f"A report {word} {', '.join(sorted(map(repr, names)))[:200]}.")
        latency = data.get("latency")
        return cls(**{**data, "latency": None if latency is None else LogHistogram.from_dict(latency)})

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data; what has nothing to say is left out."""
        found: dict[str, Any] = {"device": self.device, "release": self.release, "hours": self.hours}
        found |= {"crashes": self.crashes, "standing": self.standing}
        if self.latency is not None:
            found["latency"] = self.latency.to_dict()
        if self.judged:
            found |= {"right": self.right, "judged": self.judged}
        return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)
