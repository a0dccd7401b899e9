"""Try many answers to the exercises of a lab in one process, with its setup cells run once.

Reads ``{"setup": [code], "seeds": [number], "exercises": [{"id", "stub", "check", "attempts": [code]}]}`` from standard
input; the first attempt of each exercise is the solution. Writes ``{id: [[{"status", "message"} per seed]]}`` to
standard output.
"""

import json
import os
import sys

from edgelab.course import session
from edgelab.course.checker import Outcome, TimedOut, examine, time_limit
from edgelab.course.checks import find_body

SECONDS = 60.0


def run(text, room, name):
    """Run a cell; what it raised as a sentence, or nothing."""
    try:
        with time_limit(5 * SECONDS):
            exec(compile(text, f"<{name}>", "exec"), room)  # noqa: S102  cells of the lab and planted answers
    except (Exception, SystemExit, TimedOut) as error:  # noqa: BLE001  a planted answer may raise anything
        return f"{type(error).__name__}: {error}"
    return ""


def answer_of(exercise, code, room):
    """What the exercise's check cell hands to `check` once the cell holds ``code``."""
    given = []

    def check(_identity, answer, fallback=None):
        given.append(answer)
        return answer

    trouble = run(code, room, exercise["id"])
    room["check"] = check
    trouble = trouble or run(exercise["check"], room, f"check {exercise['id']}")
    return trouble, given[0] if given else None


def judge(exercise, code, room, seed) -> Outcome:
    trouble, answer = answer_of(exercise, code, room)
    if trouble:
        return Outcome("open" if trouble.startswith("NotImplementedError") else "failed", trouble)
    registered = find_body(session.current(), exercise["id"], room)
    seconds = min(registered.seconds, SECONDS)
    return examine(registered.body, answer, seconds=seconds, mutates=registered.mutates, seed=seed)


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    room = {"__name__": "__main__"}
    for text in request["setup"]:
        trouble = run(text, room, "setup")
        if trouble:
            sys.exit(f"A setup cell does not run: {trouble}")
    found = {}
    for exercise in request["exercises"]:
        found[exercise["id"]] = [
            [vars(judge(exercise, code, dict(room), seed)) for seed in request["seeds"]]
            for code in exercise["attempts"]
        ]
        answer_of(exercise, exercise["attempts"][0], room)  # later ones may use it
    json.dump(found, out)
    out.flush()


if __name__ == "__main__":
    main()
