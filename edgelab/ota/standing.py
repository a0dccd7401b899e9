"""How a device stands: what a look came to, and what runs on it, read beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgelab.errors import EdgelabError
from edgelab.ota import slots
from edgelab.ota.slots import State
from edgelab.ota.storage import Storage
from edgelab.ota.trust import Trust


@dataclass(frozen=True)
class Outcome:
    """What one look at the server came to.

    Attributes
    ----------
    running, previous
        The release that runs, and the one in the other slot; None if there is none.
    action
        ``none``, ``updated``, ``rolled back``, ``refused`` or ``recovered``.
    reason
        A sentence or more.
    bytes
        Downloaded of the payload; metadata apart.
    rolled_back
        Releases that this device does not run again.
    """

    running: int | None
    previous: int | None
    action: str
    reason: str
    bytes: int
    rolled_back: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: see docs/json.md."""
        return {**vars(self), "rolled_back": list(self.rolled_back)}

    def __str__(self) -> str:
        runs = "Nothing is installed" if self.running is None else f"Release {self.running} runs"
        held = "" if self.previous is None else f", release {self.previous} is kept"
        return f"{self.action}: {self.reason}\n{runs}{held}; {self.bytes:,} bytes were downloaded."

    def _repr_markdown_(self) -> str:
        return str(self)


def status_of(storage: Storage, model: str) -> dict[str, Any]:
    """What runs on a device, verified, read beside a device at work and without its lock.

    Raises
    ------
    EdgelabError
        If the folder is no device's.
    """
    trust = Trust(storage)
    for _ in range(5):  # between two reads the device may have gone on
        state = slots.load_state(storage) or State()
        trial = state.trial if state.trial is not None and state.trial.started else None
        running = slots.find(storage, trust, trial.slot if trial else state.active, model)
        if running is not None or state.active is None:
            break
    if running is None and state.active is not None:
        raise EdgelabError("No slot of this device holds a whole, verified release; start the device to mend it.")
    other = None
    if running is not None:
        free = slots.SLOTS[1] if running.slot == slots.SLOTS[0] else slots.SLOTS[0]
        other = slots.find(storage, trust, free, model)
    kept = other.release if other is not None and other.release not in state.rolled_back else None
    return {
        "model": model,
        "running": None if running is None else running.release,
        "path": None if running is None else str(storage.path(running.model)),
        "sha256": None if running is None else running.manifest.sha256,
        "previous": kept,
        "trial": trial is not None,
        "committed": state.committed,
        "rolled_back": list(state.rolled_back),
        "contact": state.contact or None,
        "card": None if running is None else dict(vars(running.manifest.card)),
    }
