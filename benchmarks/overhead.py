"""What `edgelab bench` adds to a bare loop: its median time over that of `bare_loop.py` on the same file.

Each loop runs in a process of its own, the two take turns in short blocks on one core, and the whole is repeated with
fresh processes, because where a process happens to lie in memory moves its times by a few percent for as long as it
lives. The ratio is the median over the pairs of processes. Target: at most 1.01.
Usage: ``python benchmarks/overhead.py [--pairs N] [--runs N] [--json]``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab import Reading, Table, nets
from edgelab.convert.onnx import export
from edgelab.engines import open_engine
from edgelab.engines.borders import arrange, arrangement, to_type
from edgelab.measure import stats
from edgelab.measure.machine import Watch, machine, on_core, quietest_core

BLOCK = 20
WARM_UP = 50
TARGET = 1.01
BARE_LOOP = Path(__file__).with_name("bare_loop.py")
INT8_MODEL = Path(__file__).parents[1] / "tests" / "data" / "mcu_oracle" / "dscnn_28_gray.tflite"


@contextlib.contextmanager
def bare_loop(runtime: str, path: Path, x: NDArray[Any], folder: Path) -> Iterator[tuple[int, Callable[[int], Any]]]:
    """A process with the bare loop: its id, and a call that gives the seconds of so many runs."""
    np.save(folder / "x.npy", x)
    command = [sys.executable, str(BARE_LOOP), runtime, str(path), str(folder / "x.npy")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **pipes) as process:

        def times(runs: int) -> NDArray[np.float64]:
            process.stdin.write(f"{runs}\n")
            process.stdin.flush()
            return np.array(json.loads(process.stdout.readline())) / 1e9

        yield process.pid, times
        process.stdin.close()


def pair(path: Path, x: NDArray[np.float32], runs: int, folder: Path) -> tuple[float, float, str]:
    """Median time of edgelab over the bare loop's, the bare median in seconds, and the runtime, in fresh processes."""
    with open_engine(path, threads=1) as engine:
        info = engine.inputs[0]
        onnx = path.suffix == ".onnx"
        prefer = "channels_first" if onnx else "channels_last"
        order = arrangement(x.shape, info.shape, layout="auto", prefer=prefer, file=str(path))
        own = to_type(arrange(x, info.shape, order), info, file=str(path))
        with bare_loop("onnxruntime" if onnx else "litert", path, own, folder) as (pid, bare):
            core = quietest_core()
            turns = {"edgelab": (engine.raw.pid, lambda n: engine.time(x, n, 1).seconds), "bare": (pid, bare)}
            times: dict[str, list[NDArray[np.float64]]] = {name: [] for name in turns}
            for number in range(-1, -(-runs // BLOCK)):
                for name in sorted(turns, reverse=bool(number % 2)):
                    child, call = turns[name]
                    with on_core(core, child):
                        found = call(BLOCK if number >= 0 else WARM_UP)
                    if number >= 0:
                        times[name].append(found)
            ours, theirs = np.median(times["edgelab"]), np.median(times["bare"])
            return float(ours / theirs), float(theirs), engine.name


def contest(path: Path, x: NDArray[np.float32], runs: int, pairs: int, folder: Path) -> Reading:
    """The ratio over several pairs of processes, with its interval."""
    found = [pair(path, x, runs, folder) for _ in range(pairs)]
    bare = 1e6 * float(np.median([seconds for _, seconds, _ in found]))
    by = f"{found[0][2]}, {pairs} pairs of processes, {runs} runs each, in turn; bare p50 {bare:.3g} us"
    return Reading(*_arguments(stats.percentile_interval([ratio for ratio, _, _ in found], 50), by))


def _arguments(found: stats.OpenInterval, by: str) -> tuple[Any, ...]:
    return found[0], "x", "measured", by, found[1], found[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    draw = np.random.default_rng(0)
    networks = {
        "mlp": (nets.mlp(64, 10), (1, 64)),
        "dscnn": (nets.dscnn(), (1, 3, 32, 32)),
        "mobilenet": (nets.mobilenet_v3_small(), (1, 3, 160, 160)),
    }
    watch = Watch()
    readings = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {INT8_MODEL: (1, 1, 28, 28)}
        for label, (net, shape) in networks.items():
            files[export(net, np.zeros(shape, np.float32), folder / f"{label}.onnx").path] = shape
        for path, shape in files.items():
            x = draw.standard_normal(shape, dtype=np.float32)
            readings[Path(path).name] = contest(Path(path), x, arguments.runs, arguments.pairs, folder)
    note = f"{machine().cpu}, {machine().cores} cores. {watch.complaint()}".strip()
    if arguments.json:
        figures = {name: reading.to_dict() for name, reading in readings.items()}
        print(json.dumps({"machine": machine().to_dict(), "target": TARGET, "ratios": figures, "note": note}, indent=1))
    else:
        rows = [(name, r.figure(), r.value <= TARGET, r.by) for name, r in readings.items()]
        columns = ("model", "ratio", f"at most {TARGET}", "measured by")
        print(Table("edgelab's loop over a bare loop", columns, rows, note))
    return 0


if __name__ == "__main__":
    sys.exit(main())
