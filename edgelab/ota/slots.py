"""Two places for a model, so that a new one is written where nothing runs, and the pointer to the one that does.

A slot holds a model, its manifest, the signed list that names the manifest, and golden inputs. The pointer is one file
that is replaced by `write_file`: it names the slot that was committed, and the one on trial with the boots it has left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from edgelab.ota.deltas import sha256
from edgelab.ota.manifest import Manifest, Refused
from edgelab.ota.storage import Storage, read_file, write_file
from edgelab.ota.trust import Trust

STATE = "state.json"
SLOTS = ("a", "b")
DOWNLOADS = "download"
MANIFEST, SIGNED, GOLDEN, ACCEPTED = "manifest.json", "targets.json", "golden.npz", "accepted.json"
MOST_ROLLED_BACK = 256


@dataclass(frozen=True)
class Trial:
    """A release that has to show itself: its slot, its number, how often it may still be started, and if it was."""

    slot: str
    release: int
    boots_left: int
    started: bool = False

    def start(self) -> Trial:
        """The same with one start less."""
        return Trial(self.slot, self.release, self.boots_left - 1, started=True)

    def stop(self) -> Trial:
        """The same after a start that ended as it should, without a judgement."""
        return replace(self, started=False)


@dataclass(frozen=True)
class State:
    """What a device knows of itself after a restart.

    Attributes
    ----------
    active
        The slot of the committed release; None before the first one.
    committed
        The highest release that was committed: the device takes none below it.
    trial
        The release on trial, if one is.
    rolled_back
        Releases that failed here and are never run again.
    seen
        The latest moment that this device knows has passed, from signed files and its clock, as ISO text.
    contact
        The day on which the server was last reached, as ISO text; "" before that.
    unjudged
        A release that could not be judged for want of time, and how often; (0, 0) if there is none.
    """

    active: str | None = None
    committed: int = 0
    trial: Trial | None = None
    rolled_back: tuple[int, ...] = ()
    seen: str = ""
    contact: str = ""
    unjudged: tuple[int, int] = (0, 0)

    def refusing(self, release: int) -> State:
        """The same with a release that is never to run again, and nothing on trial."""
        listed = tuple(sorted({*self.rolled_back, release}))[-MOST_ROLLED_BACK:]
        return replace(self, trial=None, rolled_back=listed, unjudged=(0, 0))

    def free_slot(self) -> str:
        """The slot in which nothing runs."""
        return SLOTS[0] if self.active != SLOTS[0] else SLOTS[1]

    def save(self, storage: Storage) -> None:
        """Write the pointer: one atomic replacement."""
        write_file(storage, STATE, json.dumps(asdict(self)).encode())


def load_state(storage: Storage) -> State | None:
    """The pointer; None where it is missing or is not sound."""
    content = read_file(storage, STATE)
    if content is None:
        return None
    try:
        found = json.loads(content)
        trial = None if found["trial"] is None else Trial(**found["trial"])
        gone, (late, times) = (tuple(int(n) for n in found["rolled_back"]), found.get("unjudged", (0, 0)))
        state = State(**{**found, "trial": trial, "rolled_back": gone, "unjudged": (int(late), int(times))})
        sound = state.active in (*SLOTS, None) and isinstance(state.committed, int)
        sound = sound and (trial is None or (trial.slot in SLOTS and isinstance(trial.boots_left, int)))
        sound = sound and (not state.seen or datetime.fromisoformat(state.seen).tzinfo is not None)
        sound = sound and (not state.contact or bool(date.fromisoformat(state.contact)))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return state if sound else None


@dataclass(frozen=True)
class Installed:
    """A verified model in a slot."""

    slot: str
    manifest: Manifest
    model: str

    @property
    def release(self) -> int:
        """Its number."""
        return self.manifest.release


def folder(slot: str) -> str:
    """The folder of a slot."""
    return f"slots/{slot}"


def prepare(storage: Storage) -> None:
    """Make a device's folders."""
    for name in ("slots", *(folder(slot) for slot in SLOTS), DOWNLOADS):
        storage.make_folder(name)
    storage.fsync_folder("")
    storage.fsync_folder("slots")


def erase(storage: Storage, slot: str) -> None:
    """Empty a slot."""
    where = folder(slot)
    names = storage.names(where)
    for name in names:
        storage.unlink(f"{where}/{name}")
    if names:
        storage.fsync_folder(where)


def fill(storage: Storage, slot: str, manifest: Manifest, files: Mapping[str, bytes], model: bytes) -> None:
    """Write a release into a slot in which nothing runs, and make it durable before anything points to it."""
    erase(storage, slot)
    where = folder(slot)
    for name, content in {**files, model_name(manifest): model}.items():
        storage.create(f"{where}/{name}")
        storage.write(f"{where}/{name}", 0, content)
        storage.fsync(f"{where}/{name}")
    storage.fsync_folder(where)


def model_name(manifest: Manifest) -> str:
    """A model file's name in its slot, of its hash: a path that was told once never holds another model.

    Its suffix is that of its format, for runtimes that look at it.
    """
    return f"{manifest.sha256[:16]}.{manifest.format}"


def verify(storage: Storage, trust: Trust, slot: str, model: str) -> Installed:
    """Verify a slot as it stands: the signature over its manifest, and its files against the manifest.

    Raises
    ------
    Refused
        If a file is missing or anything does not hold.
    """
    where = folder(slot)
    kept = {name: read_file(storage, f"{where}/{name}") for name in (MANIFEST, SIGNED, GOLDEN, ACCEPTED)}
    content, signed, golden, accepted = kept.values()
    if content is None or signed is None or golden is None or accepted is None:
        raise Refused("slot", f"Slot {slot} holds no whole release.")
    try:
        root_version = int(json.loads(accepted)["root"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise Refused("slot", f"Slot {slot} does not say under which root it was accepted.") from None
    trust.verify_target(signed, root_version, manifest_path(model), content)
    manifest = Manifest.from_bytes(content)
    stored = read_file(storage, f"{where}/{model_name(manifest)}")
    if stored is None or len(stored) != manifest.bytes or sha256(stored) != manifest.sha256:
        raise Refused("slot", f"The model in slot {slot} is not the one that was signed.")
    if manifest.model != model or sha256(golden) != manifest.golden_sha256:
        raise Refused("slot", f"Slot {slot} holds another model or other golden inputs than were signed.")
    return Installed(slot, manifest, f"{where}/{model_name(manifest)}")


def manifest_path(model: str) -> str:
    """Where a repository keeps the manifest of a model's newest release."""
    return f"{model}/manifest.json"


def find(storage: Storage, trust: Trust, slot: str | None, model: str) -> Installed | None:
    """What a slot holds if it is whole and verified, else None."""
    if slot is None:
        return None
    try:
        return verify(storage, trust, slot, model)
    except Refused:
        return None


def state_of(storage: Storage, trust: Trust, model: str) -> State:
    """The pointer, or where it is lost what the slots themselves tell."""
    state = load_state(storage)
    if state is not None:
        return state
    found = [held for slot in SLOTS if (held := find(storage, trust, slot, model))]
    if not found or storage.size(STATE) is None:  # before the first pointer nothing was ever committed
        return State()
    newest = max(found, key=lambda held: held.release)
    return State(newest.slot, newest.release)


def prune(storage: Storage, keep: Any = ()) -> None:
    """Remove what interrupted work left: parts of downloads but for ``keep``, and temporary files."""
    for name in storage.names(DOWNLOADS):
        if name not in keep:
            storage.unlink(f"{DOWNLOADS}/{name}")
    for name in storage.names(""):
        if name.endswith(".part"):
            storage.unlink(name)
