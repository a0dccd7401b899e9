"""How much of a model runs on an Ethos-U accelerator, as its compiler vela says.

Vela compiles what the accelerator can do into one custom operator and leaves the rest to the processor. It ends with
status 0 either way: whoever does not read its log learns of a fallback from the device's latency. The figures are
vela's own estimates for one of its system configurations, so they are modelled, never measured.
"""

from __future__ import annotations

import csv
import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from edgelab.engines.child import exit_reason, last_line
from edgelab.errors import BadFile, BadInput, EngineCrash, MissingFramework
from edgelab.mcu.compiled import compiled_for
from edgelab.mcu.model import Model, read_model
from edgelab.reading import Cell, Reading, Table

CONFIGURATIONS = (
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
)
"""The accelerators as vela names them; the last number is multiply-accumulates a cycle."""

_TIMEOUT_SECONDS = 180.0
_KIB = 1024


@dataclass(frozen=True)
class Fallback:
    """An operator that stays on the processor: its name in the schema, the tensor it makes, and vela's reason."""

    index: int
    operator: str
    output: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The fallback as JSON-ready data."""
        return {"operator": self.operator, "output": self.output, "reason": self.reason}


@dataclass(frozen=True)
class AcceleratorReport:
    """What vela made of a model for one accelerator.

    ``npu_operators`` and ``cpu_operators`` are counted after vela's rewriting: it may fuse operators or split one.
    ``cycles`` are those of the accelerator alone, ``file_bytes`` the size of the compiled model, whose weights vela
    compresses. ``exit_status`` is vela's own: 0 also where operators fell back.
    """

    file: str
    accelerator: str
    by: str
    system: str
    clock_mhz: float
    npu_operators: int
    cpu_operators: int
    fallbacks: tuple[Fallback, ...]
    sram_bytes: int
    dram_bytes: int
    flash_bytes: int
    file_bytes: int
    cycles: int
    macs: int
    exit_status: int

    @property
    def npu_share(self) -> float:
        """The share of operators that the accelerator runs, 0 to 1."""
        return self.npu_operators / max(1, self.npu_operators + self.cpu_operators)

    @property
    def inference_time(self) -> Reading:
        """The time of what runs on the accelerator, at vela's clock; what falls back comes on top."""
        by = f"{self.by}, {self.accelerator}, {self.system}"
        return Reading(self.cycles / self.clock_mhz / 1000, "ms", "modelled", by)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return {
            "file": self.file,
            "accelerator": self.accelerator,
            "system": self.system,
            "clock_mhz": self.clock_mhz,
            "npu_operators": self.npu_operators,
            "cpu_operators": self.cpu_operators,
            "fallbacks": [entry.to_dict() for entry in self.fallbacks],
            "sram_bytes": self.sram_bytes,
            "dram_bytes": self.dram_bytes,
            "flash_bytes": self.flash_bytes,
            "file_bytes": self.file_bytes,
            "cycles": self.cycles,
            "macs": self.macs,
            "inference_time": self.inference_time.to_dict(),
            "exit_status": self.exit_status,
        }

    def table(self) -> Table:
        """The counts and figures, one row each."""
        rows: list[tuple[Cell, ...]] = [
            ("operators on the accelerator", self.npu_operators),
            ("operators on the processor", self.cpu_operators),
            ("SRAM, bytes", self.sram_bytes),
            ("DRAM, bytes", self.dram_bytes),
            ("flash, bytes", self.flash_bytes),
            ("compiled model, bytes", self.file_bytes),
            ("cycles of the accelerator", self.cycles),
            ("time on the accelerator", str(self.inference_time)),
            ("vela's exit status", self.exit_status),
        ]
        named = "; ".join(f"{entry.operator} ({entry.output}): {entry.reason}" for entry in self.fallbacks)
        note = f"Modelled by {self.by}, {self.system}." + (f" On the processor: {named}." if named else "")
        return Table(f"{Path(self.file).name} on {self.accelerator}", ("what", "figure"), rows, note)

    def __str__(self) -> str:
        return self.table().text()

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def ethos_coverage(
    model: Model | str | os.PathLike[str],
    accelerator: str = "ethos-u55-128",
    *,
    arena_bytes: int | None = None,
    timeout: float = _TIMEOUT_SECONDS,
) -> AcceleratorReport:
    """Compile a model for an Ethos-U with vela, in a child process, and say what runs where.

    Parameters
    ----------
    model
        The model, or the path of its .tflite file.
    accelerator
        One of `CONFIGURATIONS`.
    arena_bytes
        SRAM for activations that vela should keep to while it optimises for speed; None for its own choice.
    timeout
        Seconds that vela may take.

    Raises
    ------
    BadInput
        If there is no such accelerator.
    BadFile
        If the file is missing, damaged or foreign, or vela refuses it.
    EngineCrash
        If vela died or did not end in time.
    MissingFramework
        If ethos-u-vela is not installed.
    """
    if accelerator not in CONFIGURATIONS:
        raise BadInput(f"There is no accelerator '{accelerator}'; vela knows {', '.join(CONFIGURATIONS)}.")
    if arena_bytes is not None and arena_bytes < 1:
        raise BadInput(f"arena_bytes must be at least 1, not {arena_bytes}.")
    model = model if isinstance(model, Model) else read_model(model)
    if compiled_for(model):
        raise BadFile(f"{model.path} was compiled by vela already; give the .tflite file from which it was made.")
    settings = ["--accelerator-config", accelerator]
    if arena_bytes is not None:
        settings += ["--arena-cache-size", str(arena_bytes)]
    by = _version()
    with tempfile.TemporaryDirectory(prefix="edgelab-vela-") as folder:
        (Path(folder) / "model.tflite").write_bytes(model.content)
        status, log = _run(Path(folder), model.path, settings, timeout)
        summaries = list(Path(folder).glob("out/*_summary_*.csv"))
        layers = list(Path(folder).glob("out/*_per-layer.csv"))
        compiled = list(Path(folder).glob("out/*_vela.tflite"))
        if [len(found) for found in (summaries, layers, compiled)] != [1, 1, 1]:
            raise BadFile(f"{model.path}: vela wrote no summary for it; it last said: {last_line(log)}.")
        summary, per_layer = _rows(summaries[0])[0], _rows(layers[0])
        file_bytes = compiled[0].stat().st_size
    try:
        return _report(model, accelerator, by, (status, log, file_bytes), summary, per_layer)
    except (KeyError, ValueError) as error:
        raise EngineCrash(
            f"The summary of {by} for {model.path} is not as this version of edgelab knows it ({error})."
        ) from None


def _run(folder: Path, path: Path, settings: Sequence[str], timeout: float) -> tuple[int, str]:
    command = [sys.executable, "-P", "-m", "ethosu.vela", "model.tflite", "--output-dir", "out"]
    command += [*settings, "--show-cpu-operations", "--verbose-performance"]
    try:
        run = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise EngineCrash(f"Vela gave no answer within {timeout:g} s for {path} and was stopped.") from None
    log = (run.stdout + b"\n" + run.stderr).decode("utf-8", "replace")
    if run.returncode < 0 or run.returncode > 2**16:
        raise EngineCrash(
            f"Vela died ({exit_reason(run.returncode)}) while compiling {path}; this process is unharmed."
        )
    if run.returncode:
        raise BadFile(f"{path} was refused by vela: {last_line(log)}.")
    return run.returncode, log


def _report(
    model: Model,
    accelerator: str,
    by: str,
    ended: tuple[int, str, int],
    summary: Mapping[str, str],
    layers: list[Mapping[str, str]],
) -> AcceleratorReport:
    status, log, file_bytes = ended
    npu, cpu = (_count(log, target) for target in ("NPU", "CPU"))
    return AcceleratorReport(
        file=str(model.path),
        accelerator=accelerator,
        by=by,
        system=f"system {summary['system_config']}, memory {summary['memory_mode']}",
        clock_mhz=float(summary["core_clock"]) / 1e6,
        npu_operators=npu,
        cpu_operators=cpu,
        fallbacks=_fallbacks(model, log, layers),
        sram_bytes=_bytes(summary["sram_memory_used"]),
        dram_bytes=_bytes(summary["dram_memory_used"]),
        flash_bytes=_bytes(summary["off_chip_flash_memory_used"]) + _bytes(summary["on_chip_flash_memory_used"]),
        file_bytes=file_bytes,
        cycles=round(float(summary["cycles_total"])),
        macs=round(float(summary["nn_macs"])),
        exit_status=status,
    )


def _count(log: str, target: str) -> int:
    found = re.search(rf"^{target} operators = (\d+)", log, re.MULTILINE)
    if found is None:
        raise ValueError(f"no count of {target} operators")
    return int(found.group(1))


def _fallbacks(model: Model, log: str, layers: list[Mapping[str, str]]) -> tuple[Fallback, ...]:
    """The model's operators that vela left to the processor, by the names of the tensors they make."""
    makers = {model.tensors[i].name: operator for operator in model.operators for i in operator.outputs}
    reasons: dict[str, str] = {}
    warnings = re.finditer(
        r"^Warning \(\w+ operators\) operator: \S+, ofm: '(.*)'\s*\nReason: (.*)$", log, re.MULTILINE
    )
    for warning in warnings:
        reasons.setdefault(warning.group(1), " ".join(warning.group(2).split()))
    found = []
    for layer in layers:
        if layer["Target"].strip() != "CPU":
            continue
        name = layer["Name"]
        operator = makers.get(name)
        code = operator.code if operator else layer["Original Operator"]
        index = operator.index if operator else -1
        found.append(Fallback(index, code, name, reasons.get(name, "no reason given")))
    return tuple(found)


def _rows(path: Path) -> list[Mapping[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _bytes(kibibytes: str) -> int:
    return round(float(kibibytes) * _KIB)


@functools.cache
def _version() -> str:
    try:
        return f"vela {metadata.version('ethos-u-vela')}"
    except metadata.PackageNotFoundError:
        raise MissingFramework(
            "Vela, the compiler for Ethos-U, is not installed; add it with: uv pip install ethos-u-vela"
        ) from None
