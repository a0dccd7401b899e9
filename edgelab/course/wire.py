"""Calls between two processes that do not trust each other: JSON in frames over two pipes.

A function is sent as a handle: who calls it on the other side, calls it here. Whatever a call changes in its arguments
is sent back, and changed there too.
"""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import json
import os
import types
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import numpy as np

from edgelab.course.values import FUNCTIONS, Codec, Unsendable

_LARGEST = 1 << 30


class Ended(BaseException):
    """The other side has gone, or what it says is no message."""


class Link:
    """Two pipes to the other process. ``room`` is where classes that a lab's cells made are looked up.

    ``pending`` counts the calls that were asked for and not answered yet.
    """

    def __init__(self, read: int, write: int, room: Mapping[str, Any]) -> None:
        self.room = room
        self.pending = 0
        self._read, self._write = read, write
        self._handles: list[Callable[..., Any]] = []
        self._codec = Codec(room, self._keep, self._remote)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message, whole."""
        content = json.dumps(message).encode()
        frame = len(content).to_bytes(8, "big") + content
        with contextlib.suppress(BrokenPipeError):  # whoever is gone is noticed when its answer is awaited
            while frame:
                frame = frame[os.write(self._write, frame) :]

    def receive(self) -> dict[str, Any]:
        """The next message.

        Raises
        ------
        Ended
            If there is none any more, or what came is none.
        """
        size = int.from_bytes(self._exactly(8), "big")
        content = self._exactly(size) if size <= _LARGEST else b""
        try:
            message = json.loads(content)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise Ended("its answer was no message")
        return message

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            got = os.read(self._read, count - len(parts))
            if not got:
                raise Ended("it ended its whole process")
            parts += got
        return bytes(parts)

    def encode(self, value: Any) -> Any:
        """A value for a message; see `edgelab.course.values.Codec`."""
        return self._codec.encode(value)

    def decode(self, data: Any) -> Any:
        """A value of a message. What is none ends the link: only a broken or hostile side sends it."""
        try:
            return self._codec.decode(data)
        except ValueError as error:
            raise Ended(f"its answer was no value ({error})") from None

    def call(self, handle: int, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call the other side's function and return its result; raise what it raised, by the name of the error."""
        self.send({"op": "call", "handle": handle, "args": self.encode([list(positional), named])})
        self.pending += 1
        message = self.receive()
        while message.get("op") == "call":
            self.answer(message)
            message = self.receive()
        if message.get("op") == "unsendable":
            raise Unsendable(str(message.get("text")))
        if message.get("op") not in ("result", "error"):
            raise Ended(str(message.get("text", "it ended its whole process")))
        self.pending -= 1
        _apply([*positional, *named.values()], self.decode(message.get("changed")))
        if message["op"] == "error":
            raise _error(str(message.get("name")), str(message.get("text")))
        return self.decode(message.get("value"))

    def answer(self, message: Mapping[str, Any]) -> None:
        """Make the call that the other side asked for, and send back what came of it."""
        positional, named = self.decode(message["args"])
        arguments = [*positional, *named.values()]
        reply: dict[str, Any]
        try:
            before = [self._text(value) for value in arguments]
            try:
                reply = {
                    "op": "result",
                    "value": self.encode(self._handles[int(message["handle"])](*positional, **named)),
                }
            except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it is, it is raised where the call was made
                reply = {"op": "error", "name": type(error).__name__, "text": str(error)[:2000]}
            changed = {place: value for place, value in enumerate(arguments) if self._text(value) != before[place]}
            self.send({**reply, "changed": self.encode(changed)})
        except Unsendable as error:
            self.send({"op": "unsendable", "text": str(error)})

    def _text(self, value: Any) -> str:
        return "" if isinstance(value, FUNCTIONS) else json.dumps(self.encode(value))

    def _keep(self, function: Callable[..., Any]) -> int:
        self._handles.append(function)
        return len(self._handles) - 1

    def _remote(self, handle: int, name: str) -> Callable[..., Any]:
        def remote(*positional: Any, **named: Any) -> Any:
            return self.call(handle, positional, named)

        remote.__name__ = remote.__qualname__ = name
        remote.__module__ = "__main__"  # it is the learner's
        return remote


def _apply(values: list[Any], changed: Mapping[int, Any]) -> None:
    """Change arguments in place as the other side changed its copies."""
    for place, new in changed.items():
        old = values[int(place)]
        with contextlib.suppress(ValueError, TypeError):  # of another shape: then it cannot be the same object
            if isinstance(old, np.ndarray):
                old[...] = new
            elif isinstance(old, list):
                old[:] = new
            elif isinstance(old, MutableMapping | set):
                old.clear()
                old.update(new)
            elif hasattr(old, "copy_"):
                old.copy_(new)
            elif dataclasses.is_dataclass(old) or isinstance(old, types.SimpleNamespace):
                for name, value in vars(new).items():
                    object.__setattr__(old, name, value)


def _error(name: str, text: str) -> Exception:
    """An error of that name, of its own class where that is a standard one."""
    known = getattr(builtins, name, None) or getattr(np.linalg, name, None)
    if isinstance(known, type) and issubclass(known, Exception):
        with contextlib.suppress(TypeError):  # one that takes more than a text
            return known(text)
    if known is SystemExit:
        return RuntimeError("it ended the program; use return, not exit()")
    made: type[Exception] = type(name if name.isidentifier() else "Error", (Exception,), {})
    return made(text)
