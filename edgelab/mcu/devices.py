"""The devices that a model may have to fit on: memory, clock, power and where each figure was read.

The figures stand in ``devices.toml``; this module reads them and refuses a table that is wrong.
"""

from __future__ import annotations

import difflib
import functools
import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded, refuse_pointer
from edgelab.reading import Cell, Reading, Table

Kind = Literal["microcontroller", "computer", "phone"]
_TABLE = Path(__file__).with_name("devices.toml")
_ETHOS = "ethos-u"
FIGURES = (
    "clock_mhz",
    "flash_bytes",
    "sram_bytes",
    "sram_total_bytes",
    "core",
    "accelerator",
    "active_mw",
    "sleep_mw",
)
_SHORT = ("clock", "flash", "SRAM", "all SRAM", "core", "accelerator", "active power", "sleep power")


@dataclass(frozen=True)
class Device:
    """One target; figures as published, ``source`` says where to look them up, ``read`` where each of them was read.

    ``sram_bytes`` is the largest contiguous region that one array can take (a tensor arena is one array),
    ``sram_total_bytes`` all of it. ``active_mw`` and ``sleep_mw`` are None where no figure was found; their notes say
    clock, voltage and mode. ``active_part`` names what draws ``active_mw`` where that is neither the processor nor the
    whole board; no energy is estimated from it. ``accelerator`` is vela's name of an Ethos-U configuration, another
    one's name, or empty.
    ``read`` names document and table, or file, by figure (`FIGURES`); a figure that is not in it was not read again.
    """

    name: str
    title: str
    vendor: str
    kind: Kind
    core: str
    clock_mhz: int
    flash_bytes: int
    sram_bytes: int
    sram_total_bytes: int
    source: str
    cores: int = 1
    memory_note: str = ""
    accelerator: str = ""
    active_mw: float | None = None
    active_note: str = ""
    active_part: str = ""
    sleep_mw: float | None = None
    sleep_note: str = ""
    url: str = ""
    read: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise BadInput(f"The device '{self.name}' {problem}.")

    @property
    def ethos(self) -> str:
        """The Ethos-U configuration as vela names it; empty without one."""
        return self.accelerator if self.accelerator.startswith(_ETHOS) else ""

    @property
    def given(self) -> tuple[str, ...]:
        """The figures that the table has of it, by their names in `FIGURES`."""
        return tuple(key for key in FIGURES if getattr(self, key) not in (None, ""))

    @property
    def unread(self) -> tuple[str, ...]:
        """The figures among those given that were not read again in a source."""
        return tuple(key for key in self.given if key not in self.read)

    @property
    def active_power(self) -> Reading | None:
        """The power while it computes, as quoted."""
        return _power(self, "active")

    @property
    def sleep_power(self) -> Reading | None:
        """The power while it waits, as quoted."""
        return _power(self, "sleep")

    def to_dict(self) -> dict[str, Any]:
        """The device as JSON-ready data, with the keys of this class."""
        return {**asdict(self), "read": dict(self.read)}


@dataclass(frozen=True)
class DeviceTable:
    """All devices, in the order of the table."""

    devices: tuple[Device, ...]

    def __iter__(self) -> Iterator[Device]:
        return iter(self.devices)

    def __len__(self) -> int:
        return len(self.devices)

    def to_dict(self) -> dict[str, Any]:
        """The devices as JSON-ready data."""
        return {"devices": [device.to_dict() for device in self.devices]}

    def table(self) -> Table:
        """One row a device."""
        rows: list[tuple[Cell, ...]] = [
            (
                device.name,
                device.core,
                device.clock_mhz,
                device.flash_bytes // 1024,
                device.sram_bytes // 1024,
                device.accelerator,
                device.active_mw,
                device.sleep_mw,
                ", ".join(_SHORT[FIGURES.index(key)] for key in device.unread),
            )
            for device in self.devices
        ]
        columns = ("device", "core", "MHz", "flash KiB", "SRAM KiB", "accelerator", "active mW", "sleep mW", "not read")
        given = sum(len(device.given) for device in self.devices)
        unread = sum(len(device.unread) for device in self.devices)
        note = (
            f"Quoted: {given - unread} of {given} figures were read in the place that devices.toml names for each; "
            "those in the last column were not read again. SRAM is the largest contiguous region. Power is under the "
            "conditions that active_note and sleep_note of a device state."
        )
        return Table("Devices", columns, rows, note)

    def __str__(self) -> str:
        return self.table().text()

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


@functools.cache
def all_devices() -> DeviceTable:
    """The devices that come with edgelab.

    Examples
    --------
    >>> len(all_devices()) >= 28
    True
    """
    return read_devices(_TABLE)


def find_device(name: str) -> Device:
    """The device of this name, upper or lower case.

    Raises
    ------
    BadInput
        If there is none; the sentence names near matches.

    Examples
    --------
    >>> find_device("nRF52840").core
    'cortex-m4'
    """
    known = {device.name: device for device in all_devices()}
    wanted = str(name).strip().lower()
    if wanted in known:
        return known[wanted]
    near = [other for other in known if wanted and wanted in other]
    near += [other for other in difflib.get_close_matches(wanted, known, n=3, cutoff=0.5) if other not in near]
    hint = f"did you mean {' or '.join(near[:3])}?" if near else f"known are {', '.join(known)}."
    raise BadInput(f"There is no device '{name}'; {hint}")


def read_devices(path: str | os.PathLike[str]) -> DeviceTable:
    """Read a table of devices: TOML with one ``[[device]]`` each, with the keys of `Device` and no others.

    Raises
    ------
    BadFile
        If it is missing, is not TOML, or an entry lacks a key, has an unknown one, a wrong type, a figure out of
        range, a power without its conditions, or the name of another.
    """
    try:
        refuse_pointer(path)
        content = tomllib.loads(expanded(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadFile(f"{path} is not a readable table of devices ({error}).") from None
    entries = content.get("device")
    if set(content) != {"device"} or not isinstance(entries, list) or not entries:
        raise BadFile(f"{path} is no table of devices: it holds [[device]] entries and nothing else.")
    devices: dict[str, Device] = {}
    for number, entry in enumerate(entries, 1):
        try:
            device = _device(entry)
        except (BadInput, TypeError) as error:
            raise BadFile(f"{path}, entry {number}: {str(error).rstrip('.')}.") from None
        if device.name in devices:
            raise BadFile(f"{path}, entry {number}: there is another device '{device.name}'.")
        devices[device.name] = device
    return DeviceTable(tuple(devices.values()))


def _device(entry: Any) -> Device:
    if not isinstance(entry, Mapping):
        raise BadInput("it is not a table.")
    known = {field.name for field in fields(Device)}
    unknown = sorted(set(entry) - known)
    if unknown:
        raise BadInput(f"it has the unknown key '{unknown[0]}'.")
    power = ("active_mw", "active_note", "active_part", "sleep_mw", "sleep_note")
    missing = sorted(known - {"cores", "memory_note", "accelerator", *power, "url", "read"} - set(entry))
    if missing:
        raise BadInput(f"it lacks the key '{missing[0]}'.")
    return Device(**entry)


def _problems(device: Device) -> Iterator[str]:
    """What is wrong with a device, as the end of a sentence; the first is what is reported."""
    yield from _text_problems(device)
    for key in ("clock_mhz", "flash_bytes", "sram_bytes", "sram_total_bytes", "cores"):
        value = getattr(device, key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            yield f"has the {key} {value!r}, which is no positive whole number"
    if device.sram_bytes > device.sram_total_bytes:
        yield "has a region of SRAM larger than its whole SRAM"
    for key in ("active", "sleep"):
        value = getattr(device, f"{key}_mw")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value) and value > 0):
            yield f"has the {key}_mw {value!r}, which is no positive number"
        if (value is None) != (not getattr(device, f"{key}_note")):
            yield f"needs {key}_mw and {key}_note together, or neither"
    if device.active_part and device.active_mw is None:
        yield "has an active_part and no active_mw"
    yield from _reading_problems(device)


def _reading_problems(device: Device) -> Iterator[str]:
    read: Any = device.read
    if not isinstance(read, Mapping):
        yield f"has a read that is no table of {', '.join(FIGURES)}"
        return
    for key, place in read.items():
        if key not in FIGURES:
            yield f"says where '{key}' was read, which is none of {', '.join(FIGURES)}"
        elif key not in device.given:
            yield f"says where {key} was read and has no {key}"
        if not isinstance(place, str) or not place.strip():
            yield f"does not say where {key} was read"


def _text_problems(device: Device) -> Iterator[str]:
    for key in ("name", "title", "vendor", "core", "source"):
        if not isinstance(getattr(device, key), str) or not getattr(device, key):
            yield f"has a {key} that is no text"
    for key in ("memory_note", "accelerator", "active_note", "active_part", "sleep_note", "url"):
        if not isinstance(getattr(device, key), str):
            yield f"has a {key} that is no text"
    if device.name != device.name.lower() or not device.name.replace("-", "").replace(".", "").isalnum():
        yield "has a name with other characters than lower-case letters, digits, dots and hyphens"
    if device.kind not in get_args(Kind):
        yield f"is of the unknown kind '{device.kind}'"
    if device.url and not device.url.startswith("https://"):
        yield "has a url that does not start with https://"


def _power(device: Device, state: Literal["active", "sleep"]) -> Reading | None:
    value: float | None = getattr(device, f"{state}_mw")
    place = device.read.get(f"{state}_mw") or f"{device.source}, not read again"
    by = f"{place}: {getattr(device, f'{state}_note')}"
    return None if value is None else Reading(float(value), "mW", "quoted", by)
