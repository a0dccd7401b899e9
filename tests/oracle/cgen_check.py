"""Child process of the generator's tests: runs generated code beside the TFLM interpreter and compares every byte.

Reads a JSON list of jobs from standard input, each {"model", "code", "rows", "seed", ...}; ``code`` is a shared library
of this machine (.so) or firmware for an emulated Cortex-M (.elf, then with "core" and "layers"). Writes a JSON list of
{"wrong": rows that differ, ...} to standard output.
"""

import ctypes
import json
import os
import sys

import numpy as np

from edgelab.mcu.model import read_model


class Native:
    def __init__(self, job):
        library = ctypes.CDLL(job["code"])
        self.input, self.output, self.invoke = (library[job["prefix"] + f] for f in ("input", "output", "invoke"))
        self.input.restype = self.output.restype = ctypes.c_void_p

    def write(self, i, content):
        ctypes.memmove(self.input(i), content, len(content))

    def read(self, i, size):
        return ctypes.string_at(self.output(i), size)

    def figures(self):
        return {}


class Emulated:
    def __init__(self, job):
        from edgelab.emulator.elf import read_elf, sizes_of
        from edgelab.emulator.machine import Machine, find_core

        elf = read_elf(job["code"])
        self.machine = Machine(elf, find_core(job["core"]), job["layers"])
        self.sizes = sizes_of(elf)
        self.by_layer = None
        self.prefix = job.get("prefix", "")

    def _address(self, which, i):
        return self.machine.call(f"{self.prefix or 'edgelab_'}{which}", i, doing="asking", seconds=10)

    def write(self, i, content):
        self.machine.write(self._address("input", i), content, "input")

    def read(self, i, size):
        return self.machine.read(self._address("output", i), size, "output")

    def invoke(self):
        if self.prefix:
            self.machine.call(f"{self.prefix}invoke", doing="running", seconds=100)
        elif self.by_layer is None:
            counted = self.machine.traced_call("edgelab_invoke", doing="running", seconds=100, max_blocks=10**9)
            self.by_layer = [layer.instructions for layer in (*counted.layers, counted.outside)]
        else:
            self.machine.call("edgelab_invoke", doing="running", seconds=100)

    def figures(self):
        if self.prefix:
            return {}
        return {
            "by_layer": self.by_layer,
            "instructions": sum(self.by_layer),
            "flash": self.sizes.flash_bytes,
            "ram": self.sizes.ram_bytes,
            "stack": self.machine.stack_peak_bytes(),
        }


def rows(model, count, seed):
    """All over the range, in part of it, at its ends."""
    rng = np.random.default_rng(seed)
    for row in range(count):
        inputs = []
        for index in model.inputs:
            tensor = model.tensors[index]
            if tensor.dtype == "float32":
                x = (rng.standard_normal(tensor.shape) * 2).astype(np.float32)
            else:
                low, high = (-128, 127) if row % 3 else np.sort(rng.integers(-128, 128, 2))
                x = rng.integers(low, high + 1, tensor.shape).astype(np.int8)
                if row in (1, 2):
                    x[...] = (-128, 127)[row - 1]
                x = x.view(tensor.dtype)
            inputs.append(x)
        yield inputs


def check(job):
    from tflite_micro.python.tflite_micro import runtime

    model = read_model(job["model"])
    code = (Emulated if "core" in job else Native)(job)
    interpreter = runtime.Interpreter.from_bytes(model.content, arena_size=2**20)
    wrong = 0
    for inputs in rows(model, job["rows"], job["seed"]):
        for i, x in enumerate(inputs):
            interpreter.set_input(x, i)
            code.write(i, x.tobytes())
        interpreter.invoke()
        code.invoke()
        wrong += any(
            np.asarray(interpreter.get_output(i)).tobytes() != code.read(i, model.tensors[index].size_bytes)
            for i, index in enumerate(model.outputs)
        )
    return {"wrong": wrong, **code.figures()}


if __name__ == "__main__":
    answers = os.dup(1)  # the interpreter writes to standard output, too
    os.dup2(2, 1)
    results = [check(job) for job in json.load(sys.stdin)]
    os.write(answers, json.dumps(results).encode())
