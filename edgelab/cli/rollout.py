"""``edgelab ota rollout``: begin a rollout, edit its file, or show it; the server does the rest."""

from __future__ import annotations

import argparse
import time
from typing import Any

from edgelab.cli.answer import answering
from edgelab.errors import BadInput
from edgelab.files import expanded

ACTIONS = ("pause", "resume", "abort")


def add_verb(verbs: Any) -> None:
    """Add ``rollout`` to the verbs of ``edgelab ota``; ``--json`` is added with theirs."""
    text = "roll the newest release out in waves, pause, resume or abort that, or show how it stands"
    new = verbs.add_parser("rollout", help=text, description=text)
    new.set_defaults(verb=run)
    new.add_argument("repository", type=expanded, metavar="REPO", help="what `edgelab ota init` made")
    new.add_argument("action", nargs="?", choices=ACTIONS, help="without one and without --waves: show it")
    new.add_argument("--waves", type=percentages, metavar="1,10,100", help="begin: percent of the fleet, wave by wave")
    new.add_argument("--hold", type=float, metavar="HOURS", help="the least hours in each wave (48)")
    new.add_argument("--model", metavar="NAME", help="whose releases, where the repository holds several models")
    new.add_argument("--release", type=int, metavar="N", help="the release to roll out (the newest)")
    new.add_argument("--previous", type=int, metavar="N", help="the one that runs (the newest before it)")


def percentages(text: str) -> list[float]:
    """Read ``1,10,100``."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of percentages, such as 1,10,100") from None


def run(options: argparse.Namespace) -> int:
    """Do what was asked, and show the rollout."""
    from edgelab.ota import rollout

    with answering(json_too=options.json) as answer:
        now = time.time()
        if options.waves is not None:
            if options.action is not None:
                raise BadInput(f"--waves begins a rollout; {options.action} needs none.")
            found = _start(options, now)
        else:
            begins = [name for name in ("hold", "model", "release", "previous") if getattr(options, name) is not None]
            if begins:
                raise BadInput(f"--{begins[0]} begins a rollout; give --waves 1,10,100, too.")
            verbs = {"pause": rollout.pause, "resume": rollout.resume, "abort": rollout.abort}
            found = (
                verbs[options.action](options.repository, now) if options.action else rollout.read(options.repository)
            )
        answer(found.summary(now), found.table(now).text())
    return 0


def _start(options: argparse.Namespace, now: float) -> Any:
    from edgelab.ota import rollout
    from edgelab.ota.turns import releases

    release, previous = options.release, options.previous
    model, known = releases(options.repository, options.model)
    release = known[-1] if release is None else release
    older = [number for number in known if number < release]
    if previous is None and release in known and not older:
        raise BadInput(f"Release {release} is the first one; a rollout needs a previous release to compare with.")
    previous = older[-1] if previous is None and older else previous
    for number in (release, previous):
        if number not in known:
            raise BadInput(f"{options.repository} has no release {number} of {model}; it has {_few(known)}.")
    hold_h = 48.0 if options.hold is None else options.hold
    return rollout.start(options.repository, release, previous, options.waves, now, hold_h, model=model)


def _few(known: list[int]) -> str:
    return f"{known[0]} to {known[-1]}" if len(known) > 1 else str(known[0])
