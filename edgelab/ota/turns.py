"""Between a server and a rollout: whose turn it is, what a device's report means, and which releases there are.

Reports are not signed. Whoever can reach the server can speak for any device, and so stop a rollout; nobody can make a
device take anything by it, for what a device takes is signed.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile, BadInput
from edgelab.files import expanded
from edgelab.ota import rollout
from edgelab.ota.histogram import LogHistogram
from edgelab.ota.reports import Report
from edgelab.ota.rollout import Rollout

Answer = Callable[[dict[str, Any]], dict[str, Any]]
_HELD_BACK = {"(space)": "no space", "(hardware)": "incompatible", "(runtime)": "incompatible"}
_ROLLED_BACK = ("(rolled back)", "(smoke test)")
_MOST_LATENCIES = 10_000


def releases(repo: str | Path, model: str | None = None) -> tuple[str, list[int]]:
    """A repository's model, and the counters of its releases, rising; of one model where it holds several.

    Raises
    ------
    BadFile
        If there are none.
    BadInput
        If there are several models and none is named.
    """
    found: dict[str, set[int]] = {}
    for path in expanded(repo).glob("targets/*/*.manifest.json"):
        try:
            number = json.loads(path.read_bytes())["release"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(number, int):
            found.setdefault(path.parent.name, set()).add(number)
    if model is not None:
        found = {name: numbers for name, numbers in found.items() if name == model}
    if not found:
        raise BadFile(
            f"{repo} has no releases{'' if model is None else f' of {model}'}; `edgelab ota publish` makes one."
        )
    if len(found) > 1:
        raise BadInput(f"{repo} holds {', '.join(sorted(found))}; name one with --model.")
    name, numbers = next(iter(found.items()))
    return name, sorted(numbers)


def answers(
    repo: str | Path, clock: Callable[[], float] = time.time, keep: Answer | None = None
) -> tuple[Answer, Answer]:
    """What a server answers to a device that asks for its turn, and to one that reports.

    Without a rollout in ``repo`` every device is offered everything. Each answer reads the rollout's file, so that a
    command that edits it works at once.

    Parameters
    ----------
    clock
        Seconds since 1970.
    keep
        What else is done with each report; its answer is given where there is no rollout.

    Returns
    -------
    ``offer(asked)`` gives ``{"offer", "reason", "required", "end_of_life"}`` for ``{"device", "running", "release"}``;
    ``report(said)`` takes what a device says after each look, and gives ``{"kept"}``.
    """
    lock = threading.Lock()

    def offer(asked: dict[str, Any]) -> dict[str, Any]:
        with lock:
            if not (expanded(repo) / rollout.FILE).exists():
                return {"offer": True, "reason": "", "required": 0, "end_of_life": None}
            state = rollout.read(repo)
            if _of_another(asked, state):
                return {"offer": True, "reason": "", "required": 0, "end_of_life": None}
            device, release = str(asked["device"]), int(asked["release"])
            running = int(asked.get("running") or 0)
            if state.status in ("stopped", "aborted") and release > state.release and state.fallback is None:
                state = rollout.republished(repo, release, clock())
        return turn(state, device, running, release)

    def report(said: dict[str, Any]) -> dict[str, Any]:
        kept = {"kept": False} if keep is None else keep(said)
        with lock:
            if not (expanded(repo) / rollout.FILE).exists():
                return kept
            now, state = clock(), rollout.read(repo)
            if _of_another(said, state):
                return kept
            found = of_device(said, state, now)
            if found is not None:
                rollout.take_reports(repo, [found], now)
        return {"kept": found is not None}

    return offer, report


def _of_another(said: Mapping[str, Any], state: Rollout) -> bool:
    """Whether a device runs another model than the one that is rolled out."""
    return bool(state.model) and said.get("model", state.model) != state.model


def turn(state: Rollout, device: str, running: int, release: int) -> dict[str, Any]:
    """Whether a device that runs ``running`` may take ``release``, the repository's newest."""
    wanted = state.offer(device, running)
    if wanted.release == release:
        may, why = True, wanted.why
    elif release > state.release and state.status in ("running", "paused", "done"):
        may = False
        why = f"release {release} waits for a rollout of its own (`edgelab ota rollout`)"
    else:
        may, why = release < state.release, wanted.why
    return {"offer": may, "reason": why, "required": wanted.required, "end_of_life": wanted.end_of_life}


def of_device(said: Mapping[str, Any], state: Rollout, now: float) -> Report | None:
    """A device's own words as a `Report`; None where nothing has booted yet.

    Parameters
    ----------
    said
        ``device``, ``booted`` (a release or null), ``latency_ms`` (a list), ``action``, ``reason``, ``rolled_back``
        (releases), and if known ``crashes``, ``right`` and ``judged``.

    Raises
    ------
    BadInput
        If it is anything else.
    """
    booted, listed, reason = said.get("booted"), said.get("latency_ms", []), said.get("reason", "")
    if booted is None:
        return None
    gone = said.get("rolled_back", [])
    if not isinstance(listed, list) or len(listed) > _MOST_LATENCIES or not isinstance(reason, str):
        raise BadInput("A device's report holds a list of latencies and a sentence.")
    if not isinstance(gone, list):
        raise BadInput("A device's report lists the releases that it rolled back.")
    standing = next((word for mark, word in _HELD_BACK.items() if mark in reason), "ok")
    if state.release in gone or any(mark in reason for mark in _ROLLED_BACK):
        standing = "rolled back"
    name = said.get("device", "")
    seen = state.follow.devices.get(name, {}).get("seen") if isinstance(name, str) else None
    hours = min(24.0, (now - seen) / 3600) if isinstance(seen, float) else state.look_h
    hours = hours if math.isfinite(hours) and hours > 0 else 1 / 3600
    latency = LogHistogram.of(listed) if listed else None
    counts = {key: said.get(key, 0) for key in ("crashes", "right", "judged")}
    return Report(name, booted, hours, counts["crashes"], latency, counts["right"], counts["judged"], standing)
