"""What TFLM's native code says on standard error, caught, and its complaint in one line."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator

OF_THE_ARENA = re.compile(r"Failed to (allocate|resize)|Too many buffers")
"""In what the interpreter says: its arena was too small."""


def reason_of(said: str) -> str:
    """The first thing that the interpreter complained of, on one line, without positions in its C++ sources.

    Where the interpreter names the operator at which it stopped, and not for want of memory, that stands before it.
    """
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    text = re.sub(r"^\S+\.(cc|h)(:\d+)?\s+", "", lines[0]) if lines else ""
    stopped = re.search(r"^Node (\S+) \(number (\d+)f?\) failed", "\n".join(lines), re.MULTILINE)
    if stopped and not text.startswith("Node ") and not OF_THE_ARENA.search(text):
        text = f"{stopped[1]} (operator {stopped[2]}): {text}"
    return (text if len(text) <= 240 else text[:239] + "…").rstrip(". ")


@contextlib.contextmanager
def caught_stderr() -> Iterator[Callable[[], str]]:
    """Catch what native code writes to standard error; the function given reads it so far."""
    with tempfile.TemporaryFile() as caught:
        kept = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:

            def said() -> str:
                caught.seek(0)
                return caught.read().decode("utf-8", "replace")

            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
