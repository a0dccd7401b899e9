"""The real device under the harness of power cuts: its own code from download to commit, with a stubbed runtime.

A model is a stand-in here, whose marks decide what golden inputs say of it; everything else is what a device runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgelab.ota.deltas import sha256
from edgelab.ota.device import Device, Settings
from edgelab.ota.download import FolderTransport
from edgelab.ota.flash import Flash
from edgelab.ota.health import Ran
from edgelab.ota.manifest import Refused, now
from edgelab.ota.powercut import Judge, PowerCuts, Verdict, cut_everywhere
from edgelab.ota.publisher import Publisher, initialise
from edgelab.ota.schemes import golden_test, stand_in
from edgelab.ota.slots import Installed
from edgelab.ota.storage import Storage

_SETTINGS = Settings(name="proof", hardware="bench", sync_bytes=600)


def cut_device(*, mark: bytes = b"", seed: int = 0, samples: int = 1, everything: int = 3) -> PowerCuts:
    """Cut the power of a real device after every operation of an update from release 1 to 2.

    After each cut the device has to start with a whole, verified release that is not older than the committed one, and
    the update has to end: with release 2, or with release 1 where release 2 is a bad one.

    Parameters
    ----------
    mark
        What is wrong with release 2; see `edgelab.ota.schemes.brick_count`.
    seed, samples, everything
        Which states are tried where there are many; see `edgelab.ota.flash.Cuts.states`.

    Examples
    --------
    >>> len(cut_device(samples=0, everything=1).bricks)
    0
    """
    with tempfile.TemporaryDirectory(prefix="edgelab-proof-") as folder:
        repository = Path(folder) / "repository"
        initialise(repository, Path(folder) / "keys")
        publisher = Publisher(repository, Path(folder) / "keys")
        root = (repository / "root.json").read_bytes()
        transport = FolderTransport(repository, part_bytes=512)
        models = {1: stand_in(1), 2: stand_in(2, mark=mark)}

        def device(flash: Flash) -> Device:
            return Device(flash, root, _SETTINGS, runner=_runner, clock=now, version=lambda _format: "1")

        flash = Flash()
        for content in models.values():
            publisher.publish(content, b"golden inputs", kind="onnx")
            start, flash = flash.disk(), Flash(flash.disk())
            device(flash).update(transport)
        judge = _judge(device, transport, models, 1 if mark else 2)
        draw = np.random.default_rng(seed)
        return cut_everywhere(start, flash.log, judge, committed=1, draw=draw, samples=samples, everything=everything)


def _runner(storage: Storage, installed: Installed, times: int) -> Ran:
    if not golden_test(storage.read(installed.model)):
        raise Refused("smoke test", "It does not answer golden inputs as its publisher's did.")
    return Ran((1.0,) * times)


def _judge(
    device: Callable[[Flash], Device], transport: FolderTransport, models: dict[int, bytes], expected: int
) -> Judge:
    hashes = {sha256(content): number for number, content in models.items()}

    def judged(flash: Flash, committed: int) -> Verdict:
        try:
            running = device(flash).boot()
            if running is None:
                return Verdict("has no model")
            if hashes.get(sha256(flash.read(running.model))) != running.release:
                return Verdict("runs a broken model")
            if running.release in flash.rolled_back:
                return Verdict("runs a release that it rolled back")
            if running.release < committed:
                return Verdict("runs an older release than was announced")
            outcome = device(flash).update(transport)
        except Exception as error:  # noqa: BLE001 - whatever it is, the device does not start
            return Verdict("does not start", f"{type(error).__name__}: {error}")
        return Verdict("") if outcome.running == expected else Verdict("does not update", str(outcome))

    return judged
