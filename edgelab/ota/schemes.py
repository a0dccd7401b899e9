"""Ways to replace a model that devices use in earnest, from the plainest to one that holds, to be cut side by side.

Each is two functions on a `Storage`: one installs a release, one says which bytes a restart would run. `published` is
an updater as articles print it, with its faults. `brick_count` cuts the power after every operation of any of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgelab.ota.deltas import sha256
from edgelab.ota.flash import Flash
from edgelab.ota.powercut import Judge, PowerCuts, Verdict, cut_everywhere
from edgelab.ota.storage import Storage, read_file, write_file

MODEL, BACKUP, MANIFEST, POINTER = "model.onnx", "model.backup", "manifest.json", "pointer"
CRASHES = b"CRASHES"
WRONG = b"WRONG"
"""Marks in a stand-in for a model: one fails any smoke test, only expected outputs show the other to be wrong."""

Install = Callable[[Storage, int, bytes], None]
"""Replaces the model by a release: storage, its number, its bytes."""
Start = Callable[[Storage], bytes | None]
"""The bytes that a restart would run, or None."""


@dataclass(frozen=True)
class Scheme:
    """A way to replace a model."""

    name: str
    install: Install
    start: Start


def start_model(storage: Storage) -> bytes | None:
    """Run whatever is called ``model.onnx``."""
    return read_file(storage, MODEL)


def overwrite(storage: Storage, _release: int, content: bytes) -> None:
    """Write over the model that is there."""
    storage.create(MODEL)
    storage.write(MODEL, 0, content)


def rename_unsynced(storage: Storage, _release: int, content: bytes) -> None:
    """A temporary file and a rename, without any fsync."""
    storage.create("new")
    storage.write("new", 0, content)
    storage.rename("new", MODEL)


def rename_synced(storage: Storage, _release: int, content: bytes) -> None:
    """Temporary file, fsync, rename, fsync of the folder."""
    write_file(storage, MODEL, content)


def slots_unsynced(storage: Storage, release: int, content: bytes) -> None:
    """Two slots; the pointer is written with care, the slot is not synced before it."""
    slot = _free(storage)
    storage.create(slot)
    storage.write(slot, 0, content)
    write_file(storage, POINTER, json.dumps({"slot": slot, "release": release}).encode())


def slots_synced(storage: Storage, release: int, content: bytes) -> None:
    """Two slots; the slot is durable before the pointer names it."""
    slot = _free(storage)
    storage.create(slot)
    storage.write(slot, 0, content)
    storage.fsync(slot)
    storage.fsync_folder("")
    write_file(storage, POINTER, json.dumps({"slot": slot, "release": release}).encode())


def slots_tested(storage: Storage, release: int, content: bytes) -> None:
    """Two slots; the slot is durable, and its model has answered golden inputs, before the pointer names it."""
    slot = _free(storage)
    storage.create(slot)
    storage.write(slot, 0, content)
    storage.fsync(slot)
    storage.fsync_folder("")
    if golden_test(storage.read(slot)):
        write_file(storage, POINTER, json.dumps({"slot": slot, "release": release}).encode())


def start_slot(storage: Storage) -> bytes | None:
    """Run what the pointer names."""
    slot = _named(storage)
    return None if slot is None else read_file(storage, slot)


def published(storage: Storage, release: int, content: bytes) -> None:
    """An updater as articles print it.

    The model that works is moved away before the new one was tried; the new one is copied into place without temporary
    file, fsync or rename; version and hash go into a second file; the smoke test feeds zeros and looks at no answer.
    The roll-back removes before it renames, and lowers the version, so that the next update takes the bad release again
    and overwrites the backup. Nothing is signed, locked or pruned.
    """
    if storage.size(MODEL) is not None:
        storage.unlink(BACKUP)
        storage.rename(MODEL, BACKUP)
    storage.create(MODEL)
    storage.write(MODEL, 0, content)
    storage.create(MANIFEST)
    storage.write(MANIFEST, 0, json.dumps({"version": release, "sha256": sha256(content)}).encode())
    if not smoke_test_on_zeros(content):
        storage.unlink(MODEL)
        storage.rename(BACKUP, MODEL)
        storage.create(MANIFEST)
        storage.write(MANIFEST, 0, json.dumps({"version": release - 1}).encode())


def smoke_test_on_zeros(content: bytes) -> bool:
    """Whether the model runs at all; what it answers is not looked at."""
    return CRASHES not in content


def golden_test(content: bytes) -> bool:
    """Whether the model runs, and answers golden inputs as its publisher's did."""
    return CRASHES not in content and WRONG not in content


SCHEMES = (
    Scheme("overwrite in place", overwrite, start_model),
    Scheme("as published", published, start_model),
    Scheme("rename without fsync", rename_unsynced, start_model),
    Scheme("two slots, pointer first", slots_unsynced, start_slot),
    Scheme("fsync, rename, fsync of the folder", rename_synced, start_model),
    Scheme("two slots with fsync", slots_synced, start_slot),
    Scheme("two slots with fsync and golden inputs", slots_tested, start_slot),
)


def stand_in(release: int, size: int = 1500, mark: bytes = b"") -> bytes:
    """Bytes that stand for a model: noise of its release, with a mark if it is a bad one.

    Examples
    --------
    >>> len(stand_in(1)), golden_test(stand_in(2, mark=WRONG)), smoke_test_on_zeros(stand_in(2, mark=WRONG))
    (1500, False, True)
    """
    noise = np.random.default_rng(release).integers(0, 256, size - len(mark), np.uint8).tobytes()
    return mark + noise


def brick_count(
    scheme: Scheme, *, mark: bytes = b"", seed: int = 0, samples: int = 4, everything: int = 8
) -> PowerCuts:
    """Cut the power after every operation of an update from release 1 to 2, and start from all that may be left.

    A start is well if it runs one of the two releases whole, none that is older than announced as installed, and none
    that is known to be bad once the update has ended; and if release 3 can be installed from there.

    Parameters
    ----------
    scheme
        The way to replace a model.
    mark
        What is wrong with release 2: nothing, `CRASHES`, or `WRONG`; a good updater then stays with release 1.
    seed, samples, everything
        Which of the states are tried where there are many; see `edgelab.ota.flash.Cuts.states`.
    """
    models = {1: stand_in(1), 2: stand_in(2, mark=mark), 3: stand_in(3)}
    flash = Flash()
    scheme.install(flash, 1, models[1])
    start = flash.disk()
    flash = Flash(start)
    scheme.install(flash, 2, models[2])
    flash.note("committed", 1 if mark else 2)
    return cut_everywhere(
        start,
        flash.log,
        _judge(scheme, models, bad=2 if mark else None),
        committed=0,
        draw=np.random.default_rng(seed),
        samples=samples,
        everything=everything,
    )


def _judge(scheme: Scheme, models: dict[int, bytes], bad: int | None) -> Judge:
    def judged(flash: Flash, committed: int) -> Verdict:  # noqa: PLR0911 - one for each fault
        try:
            content = scheme.start(flash)
        except Exception as error:  # noqa: BLE001 - an updater of a learner's may do anything
            return Verdict("does not start", f"{type(error).__name__}: {error}")
        if content is None:
            return Verdict("has no model")
        release = next((number for number, whole in models.items() if whole == content), None)
        if release is None:
            return Verdict("runs a broken model", f"{len(content)} bytes")
        if committed and release < committed:
            return Verdict("runs an older release than was announced")
        if committed and release == bad:
            return Verdict("runs a bad release")
        try:
            scheme.install(flash, 3, models[3])
            content = scheme.start(flash)
        except Exception as error:  # noqa: BLE001
            return Verdict("does not update", f"{type(error).__name__}: {error}")
        return Verdict("") if content == models[3] else Verdict("does not update")

    return judged


def _named(storage: Storage) -> str | None:
    content = read_file(storage, POINTER)
    try:
        return None if content is None else str(json.loads(content)["slot"])
    except (ValueError, KeyError, TypeError):
        return None


def _free(storage: Storage) -> str:
    return "slot_b" if _named(storage) == "slot_a" else "slot_a"
