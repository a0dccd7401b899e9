"""What the tests of updates share: a repository of tiny models, a device on a flash in memory, a stubbed runtime.

The runtime is stubbed in the harness of power cuts alone, where thousands of starts are judged: a model file is then
any bytes, and one that holds ``BAD`` fails on trial. The tests of the commands run the real one.
"""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from edgelab.ota.deltas import sha256
from edgelab.ota.device import Device, Settings
from edgelab.ota.download import FolderTransport
from edgelab.ota.flash import Flash
from edgelab.ota.health import Ran
from edgelab.ota.manifest import Refused
from edgelab.ota.powercut import Verdict
from edgelab.ota.publisher import Publisher, initialise

START = datetime(2026, 6, 1, tzinfo=UTC)
SETTINGS = Settings(name="tested", hardware="bench", trial_boots=3, trial_runs=2, sync_bytes=600)


def stub(storage, installed, times):
    """A runtime: a model that holds BAD fails on trial, one that holds BROKEN fails its smoke test, too."""
    content = storage.read(installed.model)
    if b"BROKEN" in content or (b"BAD" in content and times == SETTINGS.trial_runs):
        raise Refused("smoke test", "It answers otherwise than at its publisher.")
    return Ran((1.0,) * times)


def model_bytes(seed, size=1700, marks=b""):
    """A model file of noise, of which a later one of the same seed and other marks differs in a few bytes."""
    content = np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()
    return content[: 600 - len(marks)] + marks + content[600:]


@dataclass
class Home:
    """A repository with its publisher, its root, and which release each model file is."""

    publisher: Publisher
    root: bytes
    releases: dict[str, int]

    @classmethod
    def make(cls, folder: Path):
        initialise(folder / "repo", folder / "keys", at=START)
        publisher = Publisher(folder / "repo", folder / "keys")
        return cls(publisher, (folder / "repo" / "root.json").read_bytes(), {})

    @property
    def repository(self):
        return self.publisher.repository

    def publish(self, content, days=0, **settings):
        moment = START + timedelta(days=days)
        made = self.publisher.publish(content, b"golden inputs", kind="onnx", at=moment, **settings).manifest
        self.releases[sha256(content)] = made.release
        return made

    def transport(self):
        return FolderTransport(self.repository, part_bytes=512)

    def device(self, flash=None, **settings):
        return Device(
            flash or Flash(),
            self.root,
            SETTINGS,
            **{"runner": stub, "clock": lambda: START + timedelta(days=1), "version": lambda _: "1.0", **settings},
        )

    def installed(self):
        """The disk of a device that took what stands in the repository now."""
        flash = Flash()
        outcome = self.device(flash).update(self.transport())
        return flash.disk(), outcome

    def judge(self, expected, following):
        """A judge of starts.

        A valid model not older than committed runs; the interrupted update then ends with ``expected`` running, unless
        its release has used up its starts; and so does the update to the newest release of the home ``following``.
        """

        def judged(flash, committed):
            try:
                running = self.device(flash).boot()
            except Exception as error:  # noqa: BLE001 - whatever it is, the device does not start
                return Verdict("does not start", f"{type(error).__name__}: {error}")
            if fault := self.fault(flash, running, committed):
                return fault
            try:
                outcome = self.device(flash).update(self.transport())
                if outcome.running != expected and not ((outcome.running or 0) == committed and outcome.rolled_back):
                    return Verdict("does not update", str(outcome))
                outcome = self.device(flash).update(following.transport())
            except Exception as error:  # noqa: BLE001
                return Verdict("does not update", f"{type(error).__name__}: {error}")
            newest = max(following.releases.values())
            return Verdict("") if outcome.running == newest else Verdict("does not update", str(outcome))

        return judged

    def fault(self, flash, running, committed):
        """What is wrong with what runs, or None."""
        if running is None:
            return Verdict("has no model") if committed else None
        if self.releases.get(sha256(flash.read(running.model))) != running.release:
            return Verdict("runs a model that was never released")
        if running.release in flash.rolled_back:
            return Verdict("runs a release that it rolled back")
        if running.release < committed:
            return Verdict("runs an older release than committed", f"{running.release} of {committed}")
        return None

    def copy(self, folder: Path):
        """The same repository once more, to go on from."""
        shutil.copytree(self.repository, folder / "repo")
        shutil.copytree(self.publisher.keys, folder / "keys")
        return Home(Publisher(folder / "repo", folder / "keys"), self.root, dict(self.releases))
