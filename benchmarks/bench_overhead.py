"""What `edgelab bench` adds to a bare loop: its times over those of a loop anybody would write.

Both loops take turns on the same file in one run: the bare loop in this process, edgelab's in its child process, in
blocks of the same length, the first run of each block thrown away. Usage:
``python benchmarks/bench_overhead.py [--runs N] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab import Reading, Table, nets
from edgelab.convert.onnx import export
from edgelab.engines import open_engine
from edgelab.measure import stats
from edgelab.measure.machine import machine

BLOCK = 20


def bare_onnxruntime(path: Path, x: NDArray[np.float32]) -> Callable[[], Any]:
    """One run of an ONNX Runtime session with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feed)


def bare_litert(path: Path, x: NDArray[Any]) -> Callable[[], Any]:
    """One run of a LiteRT interpreter with one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    return interpreter.invoke


def block(run: Callable[[], Any]) -> list[float]:
    """The times of `BLOCK` runs in seconds after one that is thrown away."""
    run()
    times = []
    for _ in range(BLOCK):
        start = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - start) / 1e9)
    return times


def contest(path: Path, x: NDArray[np.float32], bare: Callable[[], Any], runs: int) -> Reading:
    """Median time of edgelab's loop over the bare loop's, with its interval."""
    ours, theirs = [], []
    with open_engine(path, threads=1) as engine:
        engine.time(x, 1, 50)
        block(bare)
        for number in range(-(-runs // BLOCK)):
            for turn in (number % 2, 1 - number % 2):
                if turn:
                    ours.append(engine.time(x, BLOCK, 1).seconds)
                else:
                    theirs.append(block(bare))
        name = engine.name
    value, low, high = stats.median_ratio_interval(ours, theirs)
    p50 = 1e6 * statistics.median(t for b in theirs for t in b)
    return Reading(value, "x", "measured", f"{name}, {len(ours) * BLOCK} runs each, bare p50 {p50:.0f} us", low, high)


def tflite_model() -> tuple[Path, NDArray[np.float32], NDArray[Any]]:
    """An int8 keyword-sized network of the project's tests, with float inputs and what they become."""
    path = Path(__file__).parents[1] / "tests" / "data" / "mcu_oracle"
    file = max(path.glob("*.tflite"), key=lambda p: p.stat().st_size)
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_path=str(file)).get_input_details()[0]
    shape, (scale, zero_point) = details["shape"], details["quantization"]
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    integers = np.clip(np.rint(x / scale) + zero_point, -128, 127).astype(np.int8)
    first = np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim > 2 else x
    return file, first, integers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    draw = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = {
            "mlp": (nets.mlp(64, 10), (1, 64)),
            "dscnn": (nets.dscnn(), (1, 3, 32, 32)),
            "mobilenet": (nets.mobilenet_v3_small(), (1, 3, 160, 160)),
        }
        for label, (net, shape) in networks.items():
            x = draw.standard_normal(shape, dtype=np.float32)
            path = export(net, x, folder / f"{label}.onnx").path
            rows.append((f"{label}.onnx", contest(path, x, bare_onnxruntime(path, x), arguments.runs)))
        path, x, integers = tflite_model()
        rows.append((path.name, contest(path, x, bare_litert(path, integers), arguments.runs)))
    if arguments.json:
        print(json.dumps({"machine": machine().to_dict(), "ratios": {n: r.to_dict() for n, r in rows}}, indent=1))
    else:
        cells = [(name, r.figure(), r.by) for name, r in rows]
        print(
            Table(
                "edgelab's loop over a bare loop (target: at most 1.01)", ("model", "ratio", "by"), cells, machine().cpu
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
