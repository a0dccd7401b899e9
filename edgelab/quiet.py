"""Keep a tool's chatter from the reader: warnings, log lines and prints that say nothing about the result."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


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


def first_line(error: object, limit: int = 200) -> str:
    r"""The first line of a foreign error's text, short enough to stand inside a sentence.

    Examples
    --------
    >>> first_line(ValueError("bad shape.\nTraceback ..."))
    'bad shape'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return (text if len(text) <= limit else text[: limit - 3] + "...").rstrip(".:")
