"""Try many answers to the exercises of a lab in one process, with its setup cells run once.

Reads ``{"setup": [code], "exercises": [{"id", "stub", "check", "attempts": [code]}]}`` from standard input; the first
attempt of each exercise is the solution. Writes ``{id: [{"status", "message"}]}`` to standard output.
"""

import json
import os
import sys

from edgelab.course.attempt import run_cell, run_exercise

SECONDS = 60.0


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    room = {"__name__": "__main__"}
    for text in request["setup"]:
        trouble = run_cell(text, room, "setup", 300.0)
        if trouble:
            sys.exit(f"A setup cell does not run: {trouble}")
    found = {}
    for exercise in request["exercises"]:
        grades = [run_exercise({**exercise, "cell": attempt}, dict(room), SECONDS) for attempt in exercise["attempts"]]
        found[exercise["id"]] = [{"status": grade.status, "message": grade.message} for grade in grades]
        run_exercise({**exercise, "cell": exercise["attempts"][0]}, room, SECONDS)  # later ones may use it
    json.dump(found, out)
    out.flush()


if __name__ == "__main__":
    main()
