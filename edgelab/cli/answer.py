"""What the command line says: text or JSON to standard output, one sentence about what went wrong to standard error."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TextIO

from edgelab.errors import EdgelabError
from edgelab.quiet import without_commands

FAILED = 1
BROKEN = 2
Verb = Callable[[argparse.Namespace], int]
Add = Callable[..., argparse.ArgumentParser]
"""Adds a verb: its name, its function, its text."""


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one sentence."""

    def error(self, message: str) -> NoReturn:
        """Say it, and leave."""
        complain(f"{self.prog}: {message}; `{self.prog} --help` shows what it takes.")
        raise SystemExit(BROKEN)


@contextlib.contextmanager
def answering(*, json_too: bool) -> Iterator[Callable[[Any, object], None]]:
    """Give a function that prints the answer as text or JSON.

    With JSON, whatever else a library prints to standard output meanwhile, in this process or in native code, goes to
    standard error.
    """
    if not json_too:
        yield lambda _data, text: say(str(text))
        return
    sys.stdout.flush()
    answers: list[str] = []
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield lambda data, _text: answers.append(as_json(data))
    finally:
        os.dup2(own, 1)
        os.close(own)
    for text in answers:
        say(text)


def as_json(data: Any) -> str:
    """The data as JSON, sorted, with null in place of what JSON has no number for."""
    return json.dumps(_finite(data), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)


def _finite(data: Any) -> Any:
    """The data with null in place of what JSON has no number for."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def say(text: str) -> None:
    """Print an answer to standard output."""
    try:
        _print(text, sys.stdout)
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk: what took minutes to find goes where it can still be read
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _print(text, sys.stderr)
        reason = error.strerror or str(error)
        raise EdgelabError(f"Standard output could not be written ({reason}); the whole answer stands above.") from None


def complain(text: str) -> int:
    """Print what went wrong as one sentence to standard error, and return the exit status for it."""
    _print(" ".join(text.split()), sys.stderr)
    return BROKEN


def _print(text: str, stream: TextIO) -> None:
    text = without_commands(text)
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:  # a terminal with few characters
        encoding = stream.encoding or "ascii"
        print(text.encode(encoding, errors="replace").decode(encoding), file=stream, flush=True)


def whole(text: str) -> int:
    """Read a whole number that may be 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def count(text: str) -> int:
    """Read a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return number


whole.__name__ = count.__name__ = "whole number"  # argparse names the type in its error
