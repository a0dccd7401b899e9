"""What opening a .tflite file costs: time, and memory that is a copy, told apart from memory that is the file itself.

Each figure comes from a fresh process. Anonymous memory belongs to the process alone and holds copies; pages of a
mapped file are the file's, shared with whoever maps it too, and can be dropped at any time. Linux tells them apart
(``/proc/self/smaps_rollup``); elsewhere the memory is None.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelab.errors import BadFile, EngineCrash
from edgelab.files import expanded
from edgelab.quiet import first_line

_TIMEOUT_SECONDS = 60.0
_ROLLUP = Path("/proc/self/smaps_rollup")
_MAPS = Path("/proc/self/maps")


@dataclass(frozen=True)
class Loading:
    """One opening of one file.

    Attributes
    ----------
    open_ms
        Until the interpreter exists, in milliseconds.
    ready_ms
        From there until its tensors are allocated and it can run.
    open_copied, ready_copied
        Bytes of anonymous memory that were added by the opening, and from the start until it can run; None where the
        system does not say.
    mapped
        Whether the file itself is in the process's address space; None where the system does not say.
    """

    open_ms: float
    ready_ms: float
    open_copied: int | None
    ready_copied: int | None
    mapped: bool | None


def loading(path: str | os.PathLike[str], *, xnnpack: bool = True, from_bytes: bool = False) -> Loading:
    """Open a .tflite file in a fresh process and say what that took.

    Parameters
    ----------
    path
        The file.
    xnnpack
        With the XNNPACK delegate, the runtime's default, or with the built-in kernels alone.
    from_bytes
        Read the whole file and hand its bytes over, in place of the path.

    Raises
    ------
    BadFile
        If there is no such file, or LiteRT does not open it.
    EngineCrash
        If the process died or hung.
    """
    file = expanded(path).expanduser()
    if not file.is_file():
        raise BadFile(f"There is no file {path}.")
    words = [sys.executable, "-P", "-W", "ignore", "-m", __name__, str(file.resolve()), str(+xnnpack), str(+from_bytes)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EngineCrash(f"LiteRT did not open {path} within {_TIMEOUT_SECONDS:.0f} s.") from None
    if done.returncode:
        raise EngineCrash(f"The process that opened {path} ended with status {done.returncode}.")
    found = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        raise BadFile(f"LiteRT cannot load {path}: {found['error']}.")
    return Loading(**found)


def _anonymous_bytes() -> int | None:
    if not _ROLLUP.exists():
        return None
    found = re.search(r"^Anonymous:\s+(\d+) kB", _ROLLUP.read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _open(path: str, *, xnnpack: bool, from_bytes: bool) -> dict[str, Any]:
    from ai_edge_litert import interpreter as litert

    kinds = litert.OpResolverType
    resolver = kinds.BUILTIN if xnnpack else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    before = _anonymous_bytes()
    start = time.perf_counter()
    source = {"model_content": Path(path).read_bytes()} if from_bytes else {"model_path": path}
    try:
        made = litert.Interpreter(num_threads=1, experimental_op_resolver_type=resolver, **source)
        opened, there = time.perf_counter(), _anonymous_bytes()
        resumed = time.perf_counter()
        made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        return {"error": first_line(error)}
    ready, after = time.perf_counter(), _anonymous_bytes()
    return {
        "open_ms": 1e3 * (opened - start),
        "ready_ms": 1e3 * (ready - resumed),
        "open_copied": None if there is None or before is None else max(0, there - before),
        "ready_copied": None if after is None or before is None else max(0, after - before),
        "mapped": path in _MAPS.read_text(encoding="utf-8") if _MAPS.exists() else None,
    }


if __name__ == "__main__":
    print(json.dumps(_open(sys.argv[1], xnnpack=sys.argv[2] == "1", from_bytes=sys.argv[3] == "1")))
