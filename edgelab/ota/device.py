"""A device that updates its model by itself and never ends without one that works.

Each start picks a slot, verifies it, and runs it. An update is downloaded, verified, tested on golden inputs, put on
trial, and then committed or rolled back. Nothing that fails on the way touches the slot that runs.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, TypeGuard

from edgelab.ota import slots
from edgelab.ota.deltas import apply_delta, sha256
from edgelab.ota.download import SYNC_BYTES, download, part_name
from edgelab.ota.health import Ran, Runner, older, run_golden, runtime_version
from edgelab.ota.manifest import Manifest, Payload, Refused, now
from edgelab.ota.slots import Installed, State, Trial
from edgelab.ota.standing import Outcome
from edgelab.ota.storage import Storage
from edgelab.ota.trust import Catalogue, Transport, Trust, Unreachable

OFFLINE_DAYS = 30
_ROOM_BYTES = 64 * 1024
_MOST_LATENCIES = 64
MOST_UNJUDGED = 5
"""How often a release is tested again that could not be judged for want of time, before it is given up."""


@dataclass(frozen=True)
class Settings:
    """How a device behaves.

    Attributes
    ----------
    model, hardware, name
        The model that it runs, what it is, and who it is.
    trial_boots, trial_runs
        How often a release on trial may be started before it has to be committed, and how often it then runs the golden
        inputs.
    check
        Whether the golden inputs also run at a look that changes nothing, so that each report says how the release in
        use does: what a rollout compares the next one with.
    sync_bytes
        How much of a download may be lost by a power cut.
    """

    model: str = "model"
    hardware: str = platform.machine()
    name: str = platform.node() or "device"
    trial_boots: int = 3
    trial_runs: int = 3
    check: bool = False
    sync_bytes: int = SYNC_BYTES


class Device:
    """One device on its storage.

    Parameters
    ----------
    storage
        Where everything that it keeps is.
    root
        The root metadata of its publisher; needed the first time.
    settings
        How it behaves.
    runner
        Runs an installed model's golden inputs.
    health
        Looks at a release on trial; gives a sentence if it should not stay, or "".
    clock
        The time in UTC; a device without a clock gives one that is long past.
    version
        The version of the runtime for a format.

    Raises
    ------
    BadFile
        If the device trusts no one yet and ``root`` is missing or not sound.
    """

    def __init__(
        self,
        storage: Storage,
        root: bytes | None = None,
        settings: Settings | None = None,
        *,
        runner: Runner = run_golden,
        health: Callable[[Installed], str] = lambda _installed: "",
        clock: Callable[[], datetime] = now,
        version: Callable[[str], str] = runtime_version,
    ) -> None:
        self.storage = storage
        self.settings = settings or Settings()
        self.runner = runner
        self.health = health
        self.clock = clock
        self.version = version
        slots.prepare(storage)
        self.trust = Trust(storage, root)
        self._state = State()
        self._notes: list[str] = []
        self._bytes = 0
        self._ran: Ran | None = None
        self._crashes = 0  # since the last report that arrived

    def boot(self) -> Installed | None:
        """Start: pick a slot, verify it, and run it. A release on trial has one start less; one without is rolled back.

        Returns
        -------
        Installed or None
            What runs; None where nothing was ever committed.
        """
        with self.storage.locked():
            self._notes = []
            try:
                return self._boot()[0]
            except OSError:  # a start of a trial that cannot be written down would not be the last one
                return self._after_storage_failed(None)

    def update(self, transport: Transport) -> Outcome:
        """Start, look at the server, take what it offers if all of it holds, and report.

        Raises
        ------
        BadFile
            If another process works on this device.
        """
        with self.storage.locked():
            self._notes, self._bytes, self._ran = [], 0, None
            running, action, said = None, "none", ""
            try:
                running, action = self._boot()
                if self._on_trial(running):
                    running, action = self._finish_trial(running)
                if self._state.trial is None:
                    running, action, said = self._look(transport, running, action)
            except Unreachable as error:
                said = f"{error} The device goes on with what it has."
                self._say_if_long_offline()
            except Refused as error:
                said, action = f"{error} ({error.kind})", "refused"
            except OSError as error:
                said, action = f"The storage does not take it ({error.strerror or error}).", "refused"
                running = self._after_storage_failed(running)
            if self.settings.check and self._ran is None and running is not None:
                self._check(running)
            outcome = self._outcome(running, action, said)
            try:
                transport.post("report", self._report(outcome))
                self._crashes = 0
            except Unreachable as error:  # what was committed stays
                outcome = replace(outcome, reason=f"{outcome.reason} The report did not arrive: {error}")
        return outcome

    def _look(self, transport: Transport, running: Installed | None, action: str) -> tuple[Installed | None, str, str]:
        """Fetch, decide, install, try."""
        reference = self._reference()
        catalogue = self.trust.refresh(transport, reference)
        content = catalogue.fetch(slots.manifest_path(self.settings.model))
        manifest = Manifest.from_bytes(content)
        self._remember(manifest, reference)
        if running is not None and manifest.release == running.release:
            return running, action, f"Release {running.release} is the newest."
        self._decide(manifest)
        answer = self._ask(transport, manifest, running)
        if not answer.get("offer", True):
            said = str(answer.get("reason", ""))[:200] or "its turn comes later"
            return running, action, f"The server holds release {manifest.release} back: {said}."
        installed = self._install(manifest, content, catalogue, transport)
        trial = Trial(installed.slot, installed.release, self.settings.trial_boots)
        self._state = replace(self._state, trial=trial)
        self._state.save(self.storage)
        started, action = self._boot()  # what a restart does
        if self._on_trial(started):
            started, action = self._finish_trial(started)
        self._clear(manifest)
        return started, action, ""

    def _boot(self) -> tuple[Installed | None, str]:
        """Pick and verify what runs; the second word is what had to be done for it."""
        self._state = slots.state_of(self.storage, self.trust, self.settings.model)
        trial, action = self._state.trial, "none"
        if trial is not None:
            self._crashes += trial.started  # the start before this one came to no end
            held = slots.find(self.storage, self.trust, trial.slot, self.settings.model)
            if trial.boots_left > 0 and held is not None and held.release == trial.release:
                self._state = replace(self._state, trial=trial.start())
                self._state.save(self.storage)
                return held, action
            why = "is not whole" if trial.boots_left > 0 else "did not finish its trial in the starts that it had"
            self._roll_back(f"Release {trial.release} {why} and was rolled back.")
            action = "rolled back"
        running = slots.find(self.storage, self.trust, self._state.active, self.settings.model)
        if running is None and self._state.active is not None:
            other = slots.find(self.storage, self.trust, self._state.free_slot(), self.settings.model)
            if other is not None and other.release not in self._state.rolled_back:
                self._notes.append(f"The committed slot is damaged; release {other.release} of the other slot runs.")
                self._state = replace(self._state, active=other.slot)
                self._state.save(self.storage)
                return other, "recovered"
            self._notes.append("The committed slot is damaged, and the other one holds nothing to go back to.")
        return running, action

    def _on_trial(self, running: Installed | None) -> TypeGuard[Installed]:
        return running is not None and self._state.trial is not None and running.slot == self._state.trial.slot

    def _finish_trial(self, running: Installed) -> tuple[Installed | None, str]:
        """Watch the release on trial, then commit it or go back; without a judgement, go back until the next look."""
        try:
            self._ran = self.runner(self.storage, running, self.settings.trial_runs)
            complaint = self.health(running)
        except Refused as error:
            self._crashes += error.crashes
            complaint = str(error)
            if error.kind == "not judged" and self._state.trial is not None:
                self._state = replace(self._state, trial=self._state.trial.stop())
                self._state.save(self.storage)
                self._notes.append(f"{complaint} Its trial goes on at the next look.")
                return slots.find(self.storage, self.trust, self._state.active, self.settings.model), "none"
        if complaint:
            self._roll_back(f"{complaint} Release {running.release} was rolled back.")
            return slots.find(self.storage, self.trust, self._state.active, self.settings.model), "rolled back"
        committed = max(running.release, self._state.committed)
        self._state = replace(self._state, active=running.slot, committed=committed, trial=None)
        self._state.save(self.storage)
        self.storage.note("committed", running.release)
        self._notes.append(f"Release {running.release} kept its trial and was committed.")
        return running, "updated"

    def _roll_back(self, sentence: str) -> None:
        trial = self._state.trial
        if trial is not None:
            self._state = self._state.refusing(trial.release)
            self._state.save(self.storage)
            self.storage.note("rolled back", trial.release)
            self._notes.append(sentence)

    def _decide(self, manifest: Manifest) -> None:
        """Refuse what this device does not take, before anything is downloaded."""
        release, mine = manifest.release, self.settings
        if release < self._state.committed:
            raise Refused(
                "older", f"Release {release} is signed, and older than {self._state.committed}, which was committed."
            )
        if release in self._state.rolled_back:
            raise Refused("rolled back", f"Release {release} was rolled back here and is not run again.")
        if manifest.model != mine.model:
            raise Refused("mixed", f"The manifest is of {manifest.model!r}; this device runs {mine.model!r}.")
        if manifest.hardware and mine.hardware not in manifest.hardware:
            known = ", ".join(manifest.hardware)
            raise Refused("hardware", f"Release {release} is for {known[:200]}; this device is {mine.hardware}.")
        version = self.version(manifest.format)
        if not version:
            raise Refused(
                "runtime", f"This device has no runtime for {manifest.format}, which release {release} needs."
            )
        if older(version, manifest.min_runtime):
            raise Refused("runtime", f"Release {release} needs a runtime of {manifest.min_runtime}; here is {version}.")

    def _install(self, manifest: Manifest, content: bytes, catalogue: Catalogue, transport: Transport) -> Installed:
        """Download into a temporary file, unpack into the free slot, and test it there."""
        bases = {
            held.manifest.sha256: held
            for slot in slots.SLOTS
            if (held := slots.find(self.storage, self.trust, slot, self.settings.model))
        }
        model = self._model(manifest, bases, catalogue, transport)
        golden = catalogue.fetch(manifest.golden)
        if len(golden) != manifest.golden_bytes or sha256(golden) != manifest.golden_sha256:
            raise Refused("mixed", "The golden inputs are not those that the manifest names.")
        slot = self._state.free_slot()
        accepted = json.dumps({"root": self.trust.root_version()}).encode()
        files = {
            slots.MANIFEST: content,
            slots.SIGNED: catalogue.signed,
            slots.GOLDEN: golden,
            slots.ACCEPTED: accepted,
        }
        slots.fill(self.storage, slot, manifest, files, model)
        installed = slots.verify(self.storage, self.trust, slot, self.settings.model)
        try:
            self.runner(self.storage, installed, 1)
        except Refused as error:
            self._crashes += error.crashes
            raise self._failed(manifest.release, error) from None
        return installed

    def _failed(self, release: int, error: Refused) -> Refused:
        """Keep that a release failed its smoke test, or that it could not be judged; how it is refused."""
        late, times = self._state.unjudged
        times = times + 1 if late == release else 1
        if error.kind == "not judged" and times < MOST_UNJUDGED:
            self._state = replace(self._state, unjudged=(release, times))
            error = Refused("not judged", f"{error} It is tried again at a later look.")
        else:
            if error.kind == "not judged":
                error = Refused("smoke test", f"{error} That was so {times} times, and it is given up.")
            self._state = self._state.refusing(release)
        self._state.save(self.storage)
        return error

    def _check(self, running: Installed) -> None:
        """Run the golden inputs of the release in use, for the report; whatever comes of it changes nothing here."""
        try:
            self._ran = self.runner(self.storage, running, 1)
        except Refused as error:
            self._crashes += error.crashes
            self._notes.append(f"{error} It stays, and the server is told.")

    def _after_storage_failed(self, running: Installed | None) -> Installed | None:
        """What runs where a change could not be written: what the pointer on the storage says is committed."""
        try:
            self._state = slots.state_of(self.storage, self.trust, self.settings.model)
            return slots.find(self.storage, self.trust, self._state.active, self.settings.model)
        except OSError:
            return running

    def _model(
        self, manifest: Manifest, bases: dict[str, Installed], catalogue: Catalogue, transport: Transport
    ) -> bytes:
        """The model's bytes: from a slot that has them, by the smallest difference, or whole."""
        if manifest.sha256 in bases:
            return self.storage.read(bases[manifest.sha256].model)
        usable = [p for p in manifest.deltas if p.from_sha256 in bases and p.bytes < manifest.whole.bytes]
        smallest = min(usable, key=lambda p: p.bytes, default=None)
        if smallest is not None:
            try:
                return self._unpacked(smallest, manifest, bases, catalogue, transport)
            except Refused as error:
                self._notes.append(f"The difference was of no use ({error}), so the whole file was taken.")
        return self._unpacked(manifest.whole, manifest, bases, catalogue, transport)

    def _unpacked(
        self,
        payload: Payload,
        manifest: Manifest,
        bases: dict[str, Installed],
        catalogue: Catalogue,
        transport: Transport,
    ) -> bytes:
        slots.prune(self.storage, {part_name(payload)})  # first, or what an older try left could take the room for good
        free = self.storage.free_bytes() + self._reusable()
        held = min(payload.bytes, self.storage.size(f"{slots.DOWNLOADS}/{part_name(payload)}") or 0)
        needed = payload.bytes - held + manifest.bytes + manifest.golden_bytes + _ROOM_BYTES
        if needed > free:
            raise Refused("space", f"Release {manifest.release} needs {needed:,} bytes; {free:,} are free.")
        content, received = download(self.storage, transport, catalogue, payload, self.settings.sync_bytes)
        self._bytes += received
        old = self.storage.read(bases[payload.from_sha256].model) if payload.from_sha256 else b""
        model = apply_delta(payload.method, content, old, manifest.bytes)
        if sha256(model) != manifest.sha256:
            raise Refused("tampered", f"What was made of {payload.path} has another hash than the model signed.")
        return model

    def _reusable(self) -> int:
        """Bytes of the slot that is to be written anew."""
        where = slots.folder(self._state.free_slot())
        return sum(self.storage.size(f"{where}/{name}") or 0 for name in self.storage.names(where))

    def _clear(self, manifest: Manifest) -> None:
        for payload in (manifest.whole, *manifest.deltas):
            self.storage.unlink(f"{slots.DOWNLOADS}/{part_name(payload)}")

    def _ask(self, transport: Transport, manifest: Manifest, running: Installed | None) -> dict[str, Any]:
        """Whether it is this device's turn: the server can hold a release back, never make one be taken."""
        release = None if running is None else running.release
        about = {"device": self.settings.name, "hardware": self.settings.hardware, "running": release}
        try:
            return transport.post("offer", {**about, "model": manifest.model, "release": manifest.release})
        except Unreachable as error:
            if error.status == 404:
                return {}
            raise

    def _report(self, outcome: Outcome) -> dict[str, Any]:
        """What the server is told: the release that booted, not the one that was installed.

        Crashes are starts of a trial that came to no end, which a power cut may be to blame for, and child processes
        that died.
        """
        about = {"device": self.settings.name, "model": self.settings.model, "hardware": self.settings.hardware}
        ran = self._ran or Ran(())
        said = {
            "booted": outcome.running,
            "latency_ms": [round(ms, 4) for ms in ran.latencies_ms[:_MOST_LATENCIES]],
            "crashes": self._crashes,
            **({"right": ran.right, "judged": ran.judged} if ran.judged else {}),
        }
        return {**about, **said, **outcome.to_dict()}

    def _reference(self) -> datetime:
        """The time against which expiry is judged: the clock's, but never one that this device knows to be past."""
        clock = self.clock()
        if not self._state.seen:
            return clock
        seen = datetime.fromisoformat(self._state.seen)
        if clock >= seen:
            return clock
        self._notes.append(f"The clock shows {clock:%Y-%m-%d}, which is past; expiry is judged by {seen:%Y-%m-%d}.")
        return seen

    def _remember(self, manifest: Manifest, reference: datetime) -> None:
        """Keep the day of contact and the latest moment that must have passed; written at most once a day."""
        seen = max(reference, manifest.published_at).astimezone(UTC)
        if self._state.contact != seen.date().isoformat():
            self._state = replace(self._state, contact=seen.date().isoformat(), seen=seen.isoformat())
            self._state.save(self.storage)

    def _say_if_long_offline(self) -> None:
        if self._state.contact:
            days = (self._reference().date() - date.fromisoformat(self._state.contact)).days
            if days >= OFFLINE_DAYS:
                self._notes.append(f"The server was last reached {days} days ago, on {self._state.contact}.")

    def _outcome(self, running: Installed | None, action: str, said: str) -> Outcome:
        reason = " ".join(filter(None, [*self._notes, said]))
        other = None
        if running is not None:
            free = slots.SLOTS[1] if running.slot == slots.SLOTS[0] else slots.SLOTS[0]
            other = slots.find(self.storage, self.trust, free, self.settings.model)
        kept = other is not None and other.release not in self._state.rolled_back
        return Outcome(
            None if running is None else running.release,
            other.release if other is not None and kept else None,
            action,
            reason,
            self._bytes,
            self._state.rolled_back,
        )
