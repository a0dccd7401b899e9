"""Keep a tool's chatter from the reader: warnings, log lines and prints that say nothing about the result."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator

# ECMA-48: a control sequence (colours, cursor), an operating system command (the window's title), a short escape.
_TERMINAL_COMMAND = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|\x9b[0-?]*[@-~]"
)
# Control characters, and those that turn the direction of text, hide, or break a line (Unicode TR 9 and TR 36).
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@contextlib.contextmanager
def silenced() -> Iterator[list[warnings.WarningMessage]]:
    """Catch warnings, log lines below critical and prints inside the block; yields the list of warnings.

    Errors pass through. What a native library writes by itself is not caught.

    Examples
    --------
    >>> with silenced() as caught:
    ...     print("chatter")
    ...     warnings.warn("deprecated", DeprecationWarning)
    >>> len(caught)
    1
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            yield caught
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def natively_silenced() -> Iterator[list[warnings.WarningMessage]]:
    """As `silenced`, and what native libraries write to the process's output and error by themselves is dropped, too.

    For an import or a first call in this process: the descriptors are the process's, so what other threads write
    meanwhile is lost as well. Python's own streams are flushed before and after, so that nothing of theirs is late.

    Examples
    --------
    >>> with natively_silenced():
    ...     _ = os.write(2, b"chatter of a library")
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor, _ in kept:
            os.dup2(nowhere, descriptor)
        with silenced() as caught:
            yield caught
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for descriptor, copy in kept:
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)


def first_line(error: object, limit: int = 200) -> str:
    r"""The first line of a foreign error's text, short and clean enough to stand inside a sentence.

    Colours and other commands to a terminal are left out, wherever they come from.

    Examples
    --------
    >>> first_line(ValueError("\x1b[96mbad shape.\x1b[0m\nTraceback ..."))
    'bad shape'
    """
    lines = [line.strip() for line in without_commands(str(error)).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return (text if len(text) <= limit else text[: limit - 3] + "...").rstrip(".:")


def without_commands(text: str) -> str:
    r"""The text without what a terminal would obey: names in a file from outside may hold such commands.

    Line ends and tabs stay.

    Examples
    --------
    >>> without_commands("evil\x1b[2J name\x07")
    'evil name'
    """
    return _CONTROL.sub("", _TERMINAL_COMMAND.sub("", text))
