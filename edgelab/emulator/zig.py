"""The C compiler that comes as a Python package (ziglang: clang and lld for every target), called without leftovers."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from edgelab.errors import EngineCrash, MissingFramework

_TIMEOUT_SECONDS = 300.0


@functools.cache
def _session() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="edgelab-zig-", ignore_cleanup_errors=True)


def session_folder() -> Path:
    """A folder of this process for the compiler's caches; it goes when the process ends.

    The compiler knows a source again by its path and content: one that lies here is compiled once.
    """
    return Path(_session().name)


@functools.cache
def zig_program() -> Path:
    """The compiler's executable.

    Raises
    ------
    MissingFramework
        If the package is not installed.
    """
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        raise MissingFramework("The C compiler is not installed; add it with: uv pip install ziglang")
    program = Path(found.origin).parent / ("zig.exe" if sys.platform == "win32" else "zig")
    if not program.is_file():
        raise MissingFramework(
            "The C compiler's package is damaged; install it again: uv pip install --reinstall ziglang"
        )
    return program


def zig_version() -> str:
    """The compiler's version, as readings name it: ``"zig cc 0.17.0"``."""
    zig_program()
    return f"zig cc {metadata.version('ziglang')}"


def tool_cache() -> Path:
    """The user's cache folder for what a compiler makes once: ``EDGELAB_CACHE``, else the platform's."""
    if named := os.environ.get("EDGELAB_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "edgelab" / "tools"


def zig_cc(arguments: Sequence[str], folder: Path, *, keep: bool = False) -> str:
    """Run ``zig cc`` in ``folder`` and return what it complained about: empty if it succeeded without a word.

    Parameters
    ----------
    arguments
        As clang takes them, with paths relative to ``folder``.
    folder
        A temporary folder. The compiler's own caches lie in `session_folder`.
    keep
        Keep what the compiler builds of its own library (seconds, some 50 MB) in `tool_cache`.

    Raises
    ------
    EngineCrash
        If the compiler dies or does not end.
    MissingFramework
        If it is not installed.
    """
    program = zig_program()
    lasting = tool_cache() / "zig" if keep else session_folder()
    environment = {
        **os.environ,
        "ZIG_GLOBAL_CACHE_DIR": str(lasting),
        "ZIG_LOCAL_CACHE_DIR": str(session_folder() / "local"),
        "LC_ALL": "C",
    }
    try:
        done = subprocess.run(
            [str(program), "cc", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineCrash(f"The C compiler did not end within {_TIMEOUT_SECONDS:g} s and was stopped.") from None
    except OSError as error:
        raise MissingFramework(f"The C compiler {program} does not start ({error.strerror or error}).") from None
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode and not said.strip():
        raise EngineCrash(f"The C compiler died without a word (exit code {done.returncode}).")
    return said if done.returncode else ""
