"""Instructions, RAM and flash of generated code on an emulated Cortex-M4, beside TFLM with CMSIS-NN kernels.

The models and the library's figures are those of ``tests/data/mcu_oracle``. Every answer is compared with the
interpreter's where that is installed. Where make and Arm's GNU compiler are, the same folders are built by their
Makefile, too. Usage: ``python benchmarks/mcu.py [MODEL ...] [--layers] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgelab import Table
from edgelab.mcu.arena import plan_arena
from edgelab.mcu.emulator import EmulatedRun, run_firmware
from edgelab.mcu.firmware import build_firmware
from edgelab.mcu.model import Model, read_model

ORACLE = Path(__file__).parents[1] / "tests" / "data" / "mcu_oracle"
WAYS = (("portable", "time"), ("dsp", "time"), ("dsp", "ram"))
ROWS = 3
COMPILERS = all(map(shutil.which, ("make", "arm-none-eabi-gcc")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names of the oracle's models; all of them if none")
    parser.add_argument("--layers", action="store_true", help="instructions of each layer, too")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = json.loads((ORACLE / "oracle.json").read_text())
    names = arguments.models or sorted(figures)
    if strange := [name for name in names if name not in figures]:
        parser.error(f"no such model: {', '.join(strange)}; there are {', '.join(sorted(figures))}")
    found = {name: measure(ORACLE / f"{name}.tflite", figures[name]["cortex_m4_cmsis_nn"]) for name in names}
    if arguments.json:
        print(json.dumps(found, indent=1))
        return int(any(not all_exact(model["ways"]) for model in found.values()))
    for title, table in tables(found).items():
        print(Table(title, *table), end="\n\n")
    if arguments.layers:
        for name, model in found.items():
            layers = model["ways"]["dsp, time"]["layers"]
            print(Table(name, ("layer", "instructions", "MACs", "each"), layers), end="\n\n")
    return int(any(not all_exact(model["ways"]) for model in found.values()))


def measure(path: Path, vendor: dict[str, Any]) -> dict[str, Any]:
    """All ways to generate one model, run on the emulated core."""
    model = read_model(path)
    rng = np.random.default_rng(0)
    shapes = [model.tensors[i].shape for i in model.inputs]
    inputs = [rng.integers(-128, 128, (ROWS, *shape[1:])).astype(np.int8) for shape in shapes]
    constants = sum(tensor.size_bytes for tensor in model.tensors if tensor.data is not None)
    greedy = plan_arena(model, "cortex-m-cmsis-nn").head
    ways = {}
    with tempfile.TemporaryDirectory(prefix="edgelab-bench-") as name:
        rows = Path(name) / "inputs.npy"
        np.save(rows, inputs[0])
        for kernels, minimise in WAYS:
            start = time.perf_counter()
            made = build_firmware(
                path, Path(name) / f"{kernels}-{minimise}", kernels=kernels, minimise=minimise, run=rows
            )
            seconds = time.perf_counter() - start
            way = figures_of(made.run, model, inputs, made.arena_bytes) | {"seconds": round(seconds, 2)}
            if COMPILERS:
                subprocess.run(["make", "-s", "build/firmware.elf"], cwd=made.folder, check=True)
                again = run_firmware(made.folder / "build" / "firmware.elf", inputs)
                gcc = figures_of(again, model, inputs, made.arena_bytes)
                way["gcc"] = {key: gcc[key] for key in ("instructions", "flash", "ram_and_stack", "bit_exact")}
            ways[f"{kernels}, {minimise}"] = way
    return {"cmsis_nn": vendor, "constants": constants, "greedy_plan": greedy, "ways": ways}


def figures_of(run: EmulatedRun, model: Model, inputs: list[np.ndarray], arena_bytes: int) -> dict[str, Any]:
    return {
        "instructions": run.trace.instructions,
        "macs": run.trace.macs,
        "flash": run.sizes.flash_bytes,
        "ram_and_stack": run.sizes.ram_bytes + run.stack_bytes,
        "arena": arena_bytes,
        "bit_exact": exact(run, model, inputs),
        "layers": [
            (
                layer.layer,
                layer.instructions,
                layer.macs,
                round(layer.instructions / layer.macs, 2) if layer.macs else "",
            )
            for layer in run.trace.layers
        ],
    }


def exact(run: EmulatedRun, model: Model, inputs: list[np.ndarray]) -> bool | None:
    """Whether every answer is the interpreter's; None where there is none."""
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError:
        return None
    interpreter = runtime.Interpreter.from_bytes(model.content, arena_size=2**20)
    for row in range(ROWS):
        for i, x in enumerate(inputs):
            interpreter.set_input(x[row].reshape(model.tensors[model.inputs[i]].shape), i)
        interpreter.invoke()
        for i, output in enumerate(run.outputs):
            if not np.array_equal(np.asarray(interpreter.get_output(i)).ravel(), np.asarray(output[row]).ravel()):
                return False
    return True


def tables(found: dict[str, dict[str, Any]]) -> dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
    speed, memory = [], []
    for name, model in found.items():
        ways, vendor = model["ways"], model["cmsis_nn"]
        dsp = ways["dsp, time"]
        counts = [way["instructions"] for way in ways.values()]
        speed.append(
            (
                name,
                dsp["macs"],
                vendor["instructions"],
                *counts,
                f"{vendor['instructions'] / dsp['instructions']:.1f}",
                f"{counts[0] / dsp['macs']:.2f}",
                f"{counts[1] / dsp['macs']:.2f}",
                {True: "yes", False: "NO", None: "not compared"}[all_exact(ways)],
            )
        )
        memory.append(
            (
                name,
                vendor["used"] + vendor["stack"],
                *(way["ram_and_stack"] for way in ways.values()),
                f"{100 * ways['dsp, ram']['arena'] / model['greedy_plan']:.0f} %",
                model["constants"],
                *(way["flash"] for way in ways.values()),
            )
        )
    ways = [f"{kernels}, {minimise}" for kernels, minimise in WAYS]
    compilers = {} if not COMPILERS else {"Arm's GNU compiler beside the packaged one": by_compiler(found, ways[:2])}
    return compilers | {
        "Instructions of one inference (emulated)": (
            ("model", "MACs", "CMSIS-NN", *ways, "times fewer", "portable/MAC", "dsp/MAC", "bit-exact"),
            speed,
        ),
        "Bytes": (
            ("model", "RAM: CMSIS-NN", *ways, "of greedy plan", "constants", *(f"flash: {way}" for way in ways)),
            memory,
        ),
    }


def by_compiler(found: dict[str, dict[str, Any]], ways: list[str]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Instructions and flash of the same C by both compilers."""
    rows = [
        (
            name,
            *(
                figure
                for way in ways
                for kind in ("instructions", "flash")
                for figure in (model["ways"][way][kind], model["ways"][way]["gcc"][kind])
            ),
        )
        for name, model in found.items()
    ]
    columns = [f"{kind}: {way}, {by}" for way in ways for kind in ("instr.", "flash") for by in ("zig", "gcc")]
    return ("model", *columns), rows


def all_exact(ways: dict[str, dict[str, Any]]) -> bool | None:
    verdicts = [way["bit_exact"] for way in ways.values()]
    verdicts += [way["gcc"]["bit_exact"] for way in ways.values() if "gcc" in way]
    return None if None in verdicts else all(verdicts)


if __name__ == "__main__":
    sys.exit(main())
