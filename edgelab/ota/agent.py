"""A device as a process: its folder, who it is, and its looks at the server."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded
from edgelab.ota.device import Device, Settings
from edgelab.ota.download import HttpTransport
from edgelab.ota.standing import Outcome, status_of
from edgelab.ota.storage import DiskStorage, checked_name, read_file, write_file
from edgelab.ota.trust import PINNED

IDENTITY = "device.json"
_FIRST = {"lock", "slots", "download", PINNED, f"{PINNED}.part", f"{IDENTITY}.part"}
"""What a device that lost power in its first start may have left: it starts anew."""


@dataclass(frozen=True)
class Status:
    """What runs on a device, verified."""

    state: Path
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: see docs/json.md."""
        return {"state": str(self.state), **self.facts}

    def __str__(self) -> str:
        f = self.facts
        if f["running"] is None:
            return f"{self.state}: nothing is installed yet."
        said = [
            f"{self.state} runs release {f['running']} of {f['model']}{' on trial' if f['trial'] else ''}: {f['path']}"
        ]
        said += [] if f["previous"] is None else [f"Release {f['previous']} is kept."]
        said += [f"Rolled back: {', '.join(map(str, f['rolled_back']))}."] if f["rolled_back"] else []
        said += [f"Target: {f['card']['target']}. Fails: {f['card']['fails']}. Degrades: {f['card']['degrades']}."]
        return "\n".join(said)

    def _repr_markdown_(self) -> str:
        return str(self).replace("\n", "\n\n")


def open_device(
    state: Path,
    root: Path | None = None,
    *,
    model: str | None = None,
    hardware: str | None = None,
    name: str | None = None,
    check: bool = False,
    **settings: Any,
) -> Device:
    """A device on its folder; who it is was said the first time, and holds from then on.

    Parameters
    ----------
    state
        Its folder.
    root
        The publisher's root.json; the first time.
    model, hardware, name
        What it runs and what it is; by default ``model``, this machine's processor, and the folder's name.
    **settings
        As `edgelab.ota.device.Device` takes them.

    Raises
    ------
    BadFile
        If the folder is another thing, or no root is given to a new device.
    BadInput
        If it is told to be another device than it is.
    """
    state, root = expanded(state), None if root is None else expanded(root)
    given = {"model": model, "hardware": hardware, "name": name}
    if model is not None:
        checked_name(model)
    if root is not None and not root.is_file():
        raise BadFile(f"{root} does not exist; name the publisher's root.json.")
    held = _identity(state)
    if held is None:
        if root is None:
            raise BadFile(f"{state} is no device yet; give it its publisher's root.json with --root.")
        if state.is_dir() and any(file.name not in _FIRST for file in state.iterdir()):
            raise BadFile(f"{state} holds other files; name an empty folder, or a new one.")
        usual = {"model": "model", "hardware": platform.machine() or "unknown", "name": state.resolve().name}
        held = {key: given[key] or usual[key] for key in usual}
    for key, value in given.items():
        if value is not None and value != held[key]:
            raise BadInput(f"{state} is a device whose {key} is {held[key]!r}, not {value!r}.")
    storage = DiskStorage(state)
    with storage.locked():  # or two that are made at once would write over each other
        device = Device(
            storage,
            None if root is None else root.read_bytes(),
            Settings(held["model"], held["hardware"], held["name"], check=check),
            **settings,
        )
        if read_file(storage, IDENTITY) is None:
            write_file(storage, IDENTITY, json.dumps(held).encode())
    return device


def status(state: Path) -> Status:
    """What runs on a device; it may be at work meanwhile.

    Raises
    ------
    BadFile
        If the folder is no device's.
    EdgelabError
        If no slot holds a whole, verified release.
    """
    state = expanded(state)
    held = _identity(state)
    if held is None:
        raise BadFile(f"{state} is no device; start one there with `edgelab ota device`.")
    return Status(state, status_of(DiskStorage(state), held["model"]))


def looks(device: Device, url: str, every_seconds: float) -> Generator[Outcome]:
    """Look at the server again and again; a generator that is closed lets go of the connection.

    A device that another process holds at a later look is looked at again after that time.

    Raises
    ------
    BadInput
        If the address or the time is none.
    """
    if not 0 < every_seconds < 1e7:
        raise BadInput(f"Seconds between two looks are a positive number, not {every_seconds:g}.")
    with contextlib.closing(HttpTransport(url)) as transport:
        last = device.update(transport)
        while True:
            yield last
            time.sleep(every_seconds)
            try:
                last = device.update(transport)
            except BadFile as error:  # another process of this device is at work: it will have ended
                last = replace(last, action="none", reason=str(error), bytes=0)


def _identity(state: Path) -> dict[str, str] | None:
    if not (state / IDENTITY).is_file():
        return None
    try:
        found = json.loads((state / IDENTITY).read_bytes())
        return {key: str(found[key]) for key in ("model", "hardware", "name")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{state} does not say which device it is ({' '.join(str(error).split())[:80]}).") from None
