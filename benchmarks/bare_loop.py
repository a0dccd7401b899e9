"""The loop that anybody would write: load a model, run it, take the time. `overhead` holds edgelab against it.

``python bare_loop.py onnxruntime|litert MODEL INPUT.npy`` reads a number of runs a line and answers with that many
times in nanoseconds as JSON, after one run that is thrown away. It knows nothing of edgelab.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def onnxruntime_call(path: str, x: np.ndarray) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feed)


def litert_call(path: str, x: np.ndarray) -> Callable[[], Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    return interpreter.invoke


def main() -> None:
    runtime, path, inputs = sys.argv[1:]
    call = {"onnxruntime": onnxruntime_call, "litert": litert_call}[runtime](path, np.load(inputs))
    for line in sys.stdin:
        times = []
        call()
        for _ in range(int(line)):
            start = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - start)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
