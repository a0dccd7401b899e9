"""A staged rollout: one file that says who gets a release, and what its reports have said so far.

A server asks `Rollout.offer` for each device, hands every report to `take_report`, and so moves the rollout on: from
wave to wave, or back. Commands (`start`, `pause`, `resume`, `abort`) only edit the file. Whether a device belongs to a
wave hangs on its name alone, so that the waves are random samples of the fleet and stay the same after a restart, and
the devices outside the wave are the control group: same hour, same weather, previous release.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgelab import files
from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded
from edgelab.ota.evidence import Follow, decide
from edgelab.ota.gates import Decision
from edgelab.ota.reports import Report
from edgelab.reading import Table

FILE = "rollout.json"
STATUSES = ("running", "paused", "done", "stopped", "aborted")
SILENT_H = 168.0
"""Hours without a report after which a wave waits for a device no longer."""
_HOUR, _DAY = 3600.0, 86400.0
_FORMAT = 1


def place_percent(rollout: str, device: str) -> float:
    """Where a device stands in a rollout, from 0 to 100: the same each time, and unrelated from rollout to rollout.

    A wave of 10 percent holds the devices below 10.

    Examples
    --------
    >>> place_percent("r5", "door-7") == place_percent("r5", "door-7") != place_percent("r6", "door-7")
    True
    """
    digest = hashlib.sha256(f"{rollout}/{device}".encode()).digest()
    return 100 * int.from_bytes(digest[:7], "big") / 2**56


@dataclass(frozen=True)
class Offer:
    """What a device gets: the counter of a release, or None where it keeps what it has, and why.

    ``required`` is the lowest release that is still served, ``end_of_life`` when the one that it runs will not be.
    """

    release: int | None
    why: str
    required: int = 0
    end_of_life: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data; ``end_of_life`` in seconds since 1970."""
        return asdict(self)


@dataclass
class Rollout:
    """The state of a rollout, as its file holds it. Times are seconds since 1970.

    Parameters
    ----------
    release, previous
        Counters of the release that is rolled out, and of the one that runs.
    waves, hold_h
        Percent of the fleet, rising, and the least hours in each.
    alpha
        Chance of stopping a release that is no worse.
    booted
        The share of a wave's devices that must have booted the release before the next wave.
    support_days
        How long the previous release is served once the rollout is done: its end of life.
    fallback
        The counter under which the previous model was published **again**, once it was: devices refuse lower ones.
    model
        Whose releases; "" for those of the only model.
    """

    release: int
    previous: int
    waves: list[float]
    hold_h: float = 48.0
    alpha: float = 0.05
    look_h: float = 1.0
    booted: float = 0.5
    support_days: float = 90.0
    status: str = "running"
    wave: int = 0
    held_h: float = 0.0
    started: float = 0.0
    clock: float = 0.0
    reason: str = ""
    fallback: int | None = None
    model: str = ""
    end_of_life: dict[str, float] = field(default_factory=dict)
    follow: Follow = field(default_factory=Follow)
    history: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waves = checked_waves(self.waves)
        counters = [self.release, self.previous, self.wave, self.fallback or 0]
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in counters):
            raise BadInput("Counters of releases must be whole numbers from 0 on.")
        if self.release <= self.previous:
            raise BadInput(f"Release {self.release} must be newer than the one that runs, {self.previous}.")
        numbers = (self.hold_h, self.look_h, self.support_days, self.held_h, self.started, self.clock)
        if any(isinstance(n, bool) or not isinstance(n, int | float) or not math.isfinite(n) or n < 0 for n in numbers):
            raise BadInput("Hours, days and times of a rollout must be finite numbers, none below 0.")
        if not (0 < self.alpha < 1 and 0 <= self.booted <= 1 and self.look_h > 0):
            raise BadInput("alpha and booted of a rollout are shares between 0 and 1, and a look takes some time.")
        if self.status not in STATUSES or self.wave >= len(self.waves) or not isinstance(self.model, str):
            raise BadInput("A rollout's status or wave is unknown.")

    @property
    def name(self) -> str:
        """What devices are placed by."""
        return f"r{self.release}-{self.started:.0f}"

    def in_wave(self, device: str) -> bool:
        """Whether a device belongs to the present wave or one before."""
        return place_percent(self.name, device) < self.waves[self.wave]

    def offer(self, device: str, running: int) -> Offer:
        """What a device that runs release ``running`` is offered now.

        Raises
        ------
        BadInput
            If the device's name is none.
        """
        Report(device, running, 1.0)
        if self.status in ("stopped", "aborted"):
            release, why = self._way_back(running)
        elif self.status == "done":
            release, why = self.release, "the rollout is done"
        elif running == self.release:
            release, why = self.release, "it runs this release"
        elif self.status == "paused":
            release, why = self.previous, "the rollout is paused"
        elif self.in_wave(device):
            release, why = self.release, f"it is in wave {self.wave + 1} of {len(self.waves)}"
        else:
            release, why = self.previous, f"its wave comes later; {self.waves[self.wave]:g} percent have it now"
        return Offer(release, why, self.required(self.clock), self.end_of_life.get(str(running)))

    def _way_back(self, running: int) -> tuple[int | None, str]:
        was = f"release {self.release} was {self.status}"
        if running != self.release:
            return self.fallback or self.previous, was
        if self.fallback is None:
            return None, f"{was}; the previous model must be published again, as a newer release"
        return self.fallback, f"{was}; this is the previous model again"

    def required(self, now: float) -> int:
        """The lowest release that is still served: above every release whose end of life has come.

        A device that cannot take the new release (offline, no space, incompatible) keeps its own until then.
        """
        return max((int(release) + 1 for release, ends in self.end_of_life.items() if now >= ends), default=0)

    def take(self, report: Report, now: float) -> None:
        """Count a report that came in at ``now``; `advance` draws the conclusions."""
        arm = self._arm(report)
        counting = self.status in ("running", "paused")
        self.follow.take(report, arm if counting else None, now, baseline=report.release == self.previous)

    def advance(self, now: float) -> Decision:
        """Move the rollout on to ``now``: close the look, ask the gate, and begin the next wave when it is due."""
        passed_h = max(0.0, now - self.clock) / _HOUR
        self.clock = max(now, self.clock)
        if self.status in ("running", "paused") and self.follow.close(self.clock, self.look_h * _HOUR):
            decision = decide(self.follow, self.alpha)
            if decision.stop:
                self._end("stopped", f"{decision}", now)
                return decision
        if self.status == "running":
            self.held_h += passed_h
            if self.held_h >= self.hold_h:
                self._next_wave(now)
        return decide(self.follow, self.alpha)

    def _next_wave(self, now: float) -> None:
        heard = {name: each for name, each in self.follow.devices.items() if now - each["seen"] <= SILENT_H * _HOUR}
        able = [each for name, each in heard.items() if each["standing"] == "ok" and self.in_wave(name)]
        have = sum(each["release"] == self.release for each in able)
        if not able or have < self.booted * len(able):
            self.reason = f"waits: {have} of {len(able)} devices of wave {self.wave + 1} have booted {self.release}"
            return
        self.reason, self.held_h = "", 0.0
        if self.wave + 1 < len(self.waves):
            self.wave += 1
            self._note(now, f"wave {self.wave + 1}: {self.waves[self.wave]:g} percent")
            return
        self.status = "done"
        self.end_of_life[str(self.previous)] = now + self.support_days * _DAY
        self._note(now, f"done; release {self.previous} reaches its end of life in {self.support_days:g} days")

    def _arm(self, report: Report) -> str | None:
        """Which side of the comparison a report belongs to; a device that should have moved and has not, to none."""
        if self.in_wave(report.device):
            return "new" if report.release == self.release or report.standing == "rolled back" else None
        return "old" if report.release == self.previous else None

    def _end(self, status: str, reason: str, now: float) -> None:
        self.status, self.reason = status, reason
        self._note(now, f"{status}: {reason}" if reason else status)

    def _note(self, now: float, what: str) -> None:
        self.history.append({"at": now, "what": what})

    def standings(self, now: float) -> dict[str, list[str]]:
        """Devices by how they stand: on the release, waiting for it, held back and why, silent for a week."""
        found: dict[str, list[str]] = {}
        for device, each in sorted(self.follow.devices.items()):
            if each["release"] == self.release:
                word = "on the release"
            elif now - each["seen"] > SILENT_H * _HOUR:
                word = "silent"
            else:
                word = "on an older release" if each["standing"] == "ok" else each["standing"]
            found.setdefault(word, []).append(device)
        return found

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Any) -> Rollout:
        """Read what `to_dict` gave.

        Raises
        ------
        BadInput
            If it is anything else.
        """
        known = {each.name for each in fields(cls)} | {"format"}
        if not isinstance(data, dict) or data.get("format") != _FORMAT or set(data) != known:
            raise BadInput("This is no state of a rollout, or one of another version.")
        rest = {key: value for key, value in data.items() if key not in ("format", "follow")}
        if not isinstance(rest["history"], list) or not isinstance(rest["waves"], list):
            raise BadInput("This is no state of a rollout: history and waves must be lists.")
        try:
            return cls(**rest, follow=Follow.from_dict(data["follow"]))
        except TypeError:
            raise BadInput("This is no state of a rollout: a value is of the wrong type.") from None

    def summary(self, now: float) -> dict[str, Any]:
        """What a command answers: the plan, where it stands, the evidence, and devices by how they stand."""
        decision = decide(self.follow, self.alpha)
        keys = ("release", "previous", "waves", "hold_h", "status", "wave", "held_h", "reason", "fallback")
        plain = {key: getattr(self, key) for key in keys} | {"wave": self.wave + 1}
        counts = {word: len(devices) for word, devices in self.standings(now).items()}
        return plain | {"gate": decision.to_dict(), "devices": counts, "required": self.required(now)}

    def table(self, now: float) -> Table:
        """The rollout in a few lines."""
        decision = decide(self.follow, self.alpha)
        rows: list[tuple[str, str]] = [
            ("status", self.status + (f" ({self.reason})" if self.reason else "")),
            ("wave", f"{self.wave + 1} of {len(self.waves)}: {self.waves[self.wave]:g} %"),
            ("held", f"{self.held_h:.3g} of {self.hold_h:g} h"),
            ("evidence against it", f"{decision.evidence:.3g}; it stops at {decision.limit:.3g}"),
        ]
        rows += [(word, str(len(devices))) for word, devices in self.standings(now).items()]
        if self.status in ("stopped", "aborted") and self.fallback is None:
            rows.append(("to do", f"publish the model of release {self.previous} again, as a newer release"))
        return Table(f"Rollout of release {self.release}", ("what", "is"), rows)


def checked_waves(waves: Sequence[float]) -> list[float]:
    """Percentages, rising and ending at 100.

    Raises
    ------
    BadInput
        If they are not.
    """
    numbers = all(isinstance(w, int | float) and not isinstance(w, bool) and math.isfinite(w) for w in waves)
    if not waves or not numbers or list(waves) != sorted(set(waves)) or waves[0] <= 0 or waves[-1] != 100:
        raise BadInput("Waves are rising percentages of the fleet that end at 100, for example 1,10,100.")
    return [float(w) for w in waves]


def read(repo: str | Path) -> Rollout:
    """The rollout of a repository.

    Raises
    ------
    BadFile
        If there is none, or its file is damaged.
    """
    path = expanded(repo) / FILE
    if not path.exists():
        raise BadFile(f"{repo} has no rollout; `edgelab ota rollout {repo} --waves 1,10,100` starts one.")
    try:
        return Rollout.from_dict(files.read_json(path))
    except BadInput as error:
        raise BadFile(f"{path}: {error}") from None


def start(
    repo: str | Path,
    release: int,
    previous: int,
    waves: Sequence[float],
    now: float,
    hold_h: float = 48.0,
    alpha: float = 0.05,
    look_h: float = 1.0,
    model: str = "",
) -> Rollout:
    """Begin to roll out ``release`` over ``previous``.

    Raises
    ------
    BadInput
        If another rollout is under way, or the settings make no sense.
    """
    path = expanded(repo) / FILE
    with files.locked(path):
        baseline, ends = Follow(), {}
        if path.exists():
            last = read(repo)
            if last.status in ("running", "paused"):
                raise BadInput(
                    f"Release {last.release} is being rolled out ({last.status}); abort that first: "
                    f"`edgelab ota rollout {repo} abort`."
                )
            baseline, ends = last.follow.again(), last.end_of_life
        made = Rollout(release, previous, list(waves), hold_h, alpha, look_h, started=now, clock=now, follow=baseline)
        made.end_of_life, made.follow.opened, made.model = ends, now, model
        made._note(now, f"wave 1: {made.waves[0]:g} percent")  # noqa: SLF001  its own module
        files.write_json(path, made.to_dict())
    return made


def pause(repo: str | Path, now: float) -> Rollout:
    """Offer the release to nobody else, and stop the clock; those who have it keep it, and the gate goes on."""
    return _edit(repo, now, "running", "paused")


def resume(repo: str | Path, now: float) -> Rollout:
    """Go on after a pause."""
    return _edit(repo, now, "paused", "running")


def abort(repo: str | Path, now: float) -> Rollout:
    """Stop the rollout for good, as the gate would."""
    return _edit(repo, now, "running or paused", "aborted")


def republished(repo: str | Path, release: int, now: float) -> Rollout:
    """Say that the previous model was published again as ``release``: where a stopped rollout sends its devices.

    Raises
    ------
    BadInput
        If ``release`` is not newer than the one that was rolled out.
    """
    path = expanded(repo) / FILE
    with files.locked(path):
        found = read(repo)
        if release <= found.release:
            raise BadInput(f"Release {release} is not newer than {found.release}; devices would refuse it.")
        found.fallback = release
        found._note(now, f"the previous model is release {release}")  # noqa: SLF001
        files.write_json(path, found.to_dict())
    return found


def take_reports(repo: str | Path, reports: Sequence[Report], now: float) -> Rollout:
    """Count reports and move the rollout on; without reports, move it on."""
    path = expanded(repo) / FILE
    with files.locked(path):
        found = read(repo)
        found.advance(now)
        for report in reports:
            found.take(report, now)
        found.advance(now)
        files.write_json(path, found.to_dict())
    return found


def _edit(repo: str | Path, now: float, wanted: str, status: str) -> Rollout:
    path = expanded(repo) / FILE
    with files.locked(path):
        found = read(repo)
        found.advance(now)
        if found.status not in wanted.split(" or "):
            files.write_json(path, found.to_dict())
            raise BadInput(
                f"The rollout of release {found.release} is {found.status}, not {wanted}; nothing was changed."
            )
        found._end(status, "by hand" if status == "aborted" else "", now)  # noqa: SLF001
        files.write_json(path, found.to_dict())
    return found
