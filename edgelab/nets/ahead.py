"""Figures that take longer than a lab may: made run by run, kept as JSON, made again on demand.

A run is a dictionary: the settings that identify it, then what came of it. Whoever plans runs says how one is made and
how all are saved; what is there already is not made again, so that a program may be stopped at any time.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelab.errors import BadFile
from edgelab.files import write_bytes

if TYPE_CHECKING:
    from torch import nn

Run = dict[str, Any]
_NOTHING = object()


def read(path: Path, what: str, keys: Iterable[str]) -> dict[str, Any]:
    """The content of a file of figures, which holds at least ``keys``.

    Raises
    ------
    BadFile
        If there is no such file, or it is no JSON of this kind.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not set(keys) <= set(found):
        raise BadFile(f"{path} does not hold figures of {what}; make them again.")
    return found


def command_line(description: str, file: Path, *, seconds: bool = False) -> argparse.Namespace:
    """What a program that makes figures was asked for: ``anew``, ``file`` and, where it can stop early, ``seconds``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--anew", action="store_true", help="start over")
    parser.add_argument("--file", type=Path, default=file, help="the JSON file (%(default)s)")
    if seconds:
        parser.add_argument("--seconds", type=float, default=math.inf, help="start no run after so many seconds")
    return parser.parse_args()


def complete(
    known: list[Run],
    wanted: Iterable[Run],
    make: Callable[[Run], Iterable[Run]],
    save: Callable[[list[Run]], object],
) -> Iterator[Run]:
    """Make the wanted runs that ``known`` lacks, add each to it, save, and give it.

    Parameters
    ----------
    known
        The runs that are there; it grows.
    wanted
        What identifies each run.
    make
        Makes a run; it may give others that fell off on the way, of which those that are there are left out.
    save
        Told of all runs after each one that was made.

    Examples
    --------
    >>> runs = [{"seed": 0, "found": 5}]
    >>> make = lambda run: [{**run, "found": 7}]
    >>> list(complete(runs, [{"seed": 0}, {"seed": 1}], make, print))
    [{'seed': 0, 'found': 5}, {'seed': 1, 'found': 7}]
    [{'seed': 1, 'found': 7}]
    """
    for run in wanted:
        if any(same(run, old) for old in known):
            continue
        new = [made for made in make(run) if not any(same({key: made[key] for key in run}, old) for old in known)]
        known += new
        save(known)
        yield from new


def selected(runs: Iterable[Run], **wanted: Any) -> list[Run]:
    """The runs with these settings, for example ``what="iterative", sparsity=0.9``."""
    return [run for run in runs if same(wanted, run)]


def same(wanted: Run, run: Run) -> bool:
    """Whether a run is the wanted one: it has every setting, with that value."""
    return all(run.get(key, _NOTHING) == value for key, value in wanted.items())


def made_on(runs: Sequence[Run]) -> tuple[str, str]:
    """The latest date and the machine of some runs, as `Reading` takes them."""
    last = max(runs, key=lambda run: run["date"])
    return last["date"], last["machine"]


def here() -> dict[str, str]:
    """``date`` and ``machine`` of a run that is made now, on this machine."""
    return {"date": dt.datetime.now(dt.UTC).date().isoformat(), "machine": machine_name()}


def machine_name() -> str:
    """The processor of this machine, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return " ".join((names or [platform.processor() or platform.machine() or "an unknown machine"])[0].split())


def keep_weights(net: nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors, whole or not at all."""
    from safetensors.torch import save

    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, save({key: value.contiguous() for key, value in net.state_dict().items()}))
