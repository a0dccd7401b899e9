"""The process that judges a notebook: it runs the lab's own setup and checks, and calls the answers in another one.

Both processes run their setup cells at the same time. A check's body gets, in place of the learner's function, one that
forwards each call, so that what is compared, and with what, is known here alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from edgelab.course import session
from edgelab.course.attempt import SETUP_SECONDS, Grade, cell_raised, run_cell
from edgelab.course.checker import Outcome, Status, TimedOut, time_limit
from edgelab.course.checks import OWN, run_check, settle
from edgelab.course.source import Cell
from edgelab.course.values import Unsendable
from edgelab.course.wire import Ended, Link

MARK = "\x1eedgelab "
"""Starts a line of the judge's own, among whatever else is printed."""
_SPARE_SECONDS = 3.0
_PARTING_SECONDS = 10.0


class Pupil:
    """The process with the learner's answers; it is started anew when an answer took it down."""

    def __init__(self, request: Mapping[str, Any], room: Mapping[str, Any]) -> None:
        self._request, self._room = request, room
        self._process: subprocess.Popen[bytes] | None = None
        self._attempt = 0  # the process of the exercise at work
        self._ready = False
        self.link: Link

    def start(self) -> None:
        """Start it, without waiting for its setup."""
        environment = {**os.environ, "EDGELAB_PROGRESS": "off"}
        command = [sys.executable, "-m", "edgelab.course.pupil"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0)
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._ready = process, False
        self.link = Link(process.stdout.fileno(), process.stdin.fileno(), self._room)
        self.link.send({"setup": self._request["pupil_setup"]})

    def ready(self) -> str:
        """Wait until its setup cells ran; what went wrong with them, or nothing."""
        if self._process is None:
            self.start()
        if self._ready:
            return ""
        try:
            with time_limit(SETUP_SECONDS):
                message = self.link.receive()
        except Ended as error:
            return f"The setup cells of '{self._request['lab']}' could not be run: {error}."
        except TimedOut:
            return f"The setup cells of '{self._request['lab']}' could not be run: no result in {SETUP_SECONDS:g} s."
        if message.get("op") != "ready":
            return f"A setup cell of '{self._request['lab']}' does not run: {message.get('text')}"
        self._ready = True
        return ""

    @contextlib.contextmanager
    def attempt(self, exercise: Mapping[str, Any], *, inside: bool, seconds: float) -> Iterator[Mapping[str, Any]]:
        """Have an exercise's cell run in a process of its own; gives what became of it, and ends that process."""
        others = [_stand_in(other) for other in self._request["exercises"] if other["id"] != exercise["id"]]
        parts = {key: exercise[key] for key in ("id", "cell", "stub", "check")}
        self.link.send({**parts, "op": "exercise", "others": others, "inside": inside, "seconds": seconds})
        clean = False
        try:
            self._attempt = int(self.link.receive().get("pid", 0))
            with time_limit((3 * seconds if inside else seconds) + _SPARE_SECONDS):
                message = self.link.receive()
            yield message
            clean = self.link.pending == 0
        finally:
            if clean:
                self._end_attempt()
            else:
                self.stop()

    def _end_attempt(self) -> None:
        self.link.send({"op": "done"})
        try:
            with time_limit(_PARTING_SECONDS):
                ended = self.link.receive().get("op") == "ended"
        except (TimedOut, Ended):
            ended = False
        if not ended:  # it does not want to go, or has gone with its parent, as on Windows
            self.stop()

    def stop(self) -> None:
        """End it with the exercise at work."""
        if self._process is None:
            return
        if self._attempt and self._attempt != self._process.pid:
            with contextlib.suppress(OSError):
                os.kill(self._attempt, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process, self._attempt = None, 0


def _stand_in(other: Mapping[str, Any]) -> dict[str, Any]:
    """Another exercise, as the graded one may use it: with what the lab falls back on, else with its solution."""
    return {
        "id": other["id"],
        "check": other["check"],
        "cell": other["stub"] if other["fallback"] else other["solution"],
    }


def main() -> None:
    """Answer one request on standard input with events on standard output. What cells print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)

    def tell(event: str, **facts: Any) -> None:
        out.write(f"{MARK}{json.dumps({'event': event, **facts})}\n")
        out.flush()

    room: dict[str, Any] = {"__name__": "__main__"}
    pupil = Pupil(request, room)
    pupil.start()
    try:
        for text in request["setup"]:
            trouble = run_cell(text, room, "setup", SETUP_SECONDS)
            if trouble:
                tell("broken", message=f"The lab's own setup does not run: {trouble}")
                return
        session.current().remember([Cell(kind, text, tuple(tags)) for kind, text, tags in request["cells"]])
        for exercise in request["exercises"]:
            if exercise["id"] in request["done"]:
                continue
            trouble = pupil.ready()
            if trouble:
                tell("broken", message=trouble)
                return
            tell("start", id=exercise["id"])
            tell("grade", **vars(judge(pupil, exercise, room, request["seconds"])))
        tell("end")
    finally:
        pupil.stop()


def judge(pupil: Pupil, exercise: Mapping[str, Any], room: dict[str, Any], seconds: float) -> Grade:
    """Grade one exercise: the answer is called in its own process, and compared here wherever it can be sent."""
    identity = exercise["id"]
    try:
        try:
            with pupil.attempt(exercise, inside=False, seconds=seconds) as message:
                return _judge_outside(pupil, exercise, message, room, seconds)
        except Unsendable:
            trouble = pupil.ready()
            if trouble:
                return Grade(identity, "failed", trouble)
            with pupil.attempt(exercise, inside=True, seconds=seconds) as message:
                return _judged_inside(exercise, message)
    except TimedOut as error:
        late = f"no result within {error.args[0]:g} s. Likely mistake: a loop that never ends."
        return Grade(identity, "failed", f"Your code was stopped: {late}")
    except Ended as error:
        return Grade(identity, "failed", f"Your code was stopped: {error}.")


def _judge_outside(
    pupil: Pupil, exercise: Mapping[str, Any], message: Mapping[str, Any], room: dict[str, Any], seconds: float
) -> Grade:
    identity = exercise["id"]
    match message.get("op"):
        case "answer":
            if message["packages"]:
                return Grade(identity, "open", OWN)
            answer = pupil.link.decode(message["value"])
            found = run_check(identity, answer, namespace=room, seconds=seconds, code=exercise["cell"])
            return Grade(identity, found.status, f"{found.message} {found.note}".strip(), found.hints)
        case "trouble":
            return cell_raised(identity, str(message["text"]))
        case "uncalled":
            return Grade(identity, "failed", f"The check could not be called: {message['text']}")
        case "unsendable":
            raise Unsendable(str(message["text"]))
    raise Ended(str(message.get("text", "it ended its whole process")))


def _judged_inside(exercise: Mapping[str, Any], message: Mapping[str, Any]) -> Grade:
    if message.get("op") != "grade":
        raise Ended(str(message.get("text", "it ended its whole process")))
    words: tuple[Status, ...] = ("passed", "open")
    status: Status = next((word for word in words if word == message["status"]), "failed")
    found = settle(exercise["id"], Outcome(status, str(message["message"])), None, code=exercise["cell"])
    return Grade(exercise["id"], found.status, found.message, found.hints, "inside")


if __name__ == "__main__":
    main()
