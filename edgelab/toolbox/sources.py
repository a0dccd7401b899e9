"""The child's side of a conversion: a source is loaded, run and converted in a process of its own.

A source is a file from outside: what it does to PyTorch, Keras or a converter, and what those print, stays in here.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadFile, BadInput
from edgelab.files import write_bytes
from edgelab.quiet import first_line

Arrays = list[NDArray[Any]]
BATCH = 32
CALIBRATION_ITEMS = 200


class Host:
    """One source, opened.

    Parameters
    ----------
    path
        The file that is loaded; of a .pt2 the clean copy.
    file
        How messages call it.
    kind
        ``"pt2"``, ``"onnx"``, ``"keras"``, or ``"keras as torch"``: the same file on Keras' PyTorch backend, for the
        formats that PyTorch's exporters write.
    """

    def __init__(self, path: str, file: str, kind: str) -> None:
        self.file = file
        kinds = {"pt2": _Program, "onnx": _Onnx, "keras": _Keras, "keras as torch": _KerasAsTorch}
        self.source: Any = kinds[kind](path, file)

    def describe(self) -> dict[str, Any]:
        """What the source takes: name, shape (None where open) and element type of each input."""
        inputs = [{"name": n, "shape": list(shape), "dtype": kind} for n, shape, kind in self.source.inputs]
        return {"inputs": inputs, "runtime": self.source.runtime, "example": self.source.example_shapes()}

    def run(self, *arrays: NDArray[Any]) -> tuple[dict[str, Any], Arrays]:
        """Every output (N, ...) for inputs (N, ...) in the source's order."""
        sizes = {shape[0] for _, shape, _ in self.source.inputs if shape and shape[0] is not None}
        step = sizes.pop() if sizes else BATCH
        count = len(arrays[0])
        parts: list[Arrays] = []
        for start in range(0, count, step):
            batch = [a[start : start + step] for a in arrays]
            rows = len(batch[0])
            if sizes or rows < step:  # a fixed batch is filled up
                batch = [np.concatenate([b, np.repeat(b[-1:], step - rows, axis=0)]) for b in batch]
            try:
                outputs: Arrays = self.source.run(batch)
            except Exception as error:
                raise BadInput(f"{self.file} does not take the inputs: {first_line(error)}.") from error
            if any(y.ndim == 0 or len(y) != step for y in outputs):
                shapes = ", ".join(str(y.shape) for y in outputs)
                raise BadInput(f"{self.file} answers {step} items with outputs of {shapes}, not with a row each.")
            parts.append([y[:rows] for y in outputs])
        found = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return {"names": ["output" if i == 0 else f"output_{i}" for i in range(len(found))]}, found

    def convert(
        self, *arrays: NDArray[Any], to: str, out: str, precision: str, int8: bool
    ) -> tuple[dict[str, Any], Arrays]:
        """Write ``out``. ``arrays`` are the items of the check, from which an int8 file is calibrated."""
        tempfile.tempdir = str(Path(out).parent)  # what a converter leaves when it is killed goes with that folder
        picked = np.unique(np.linspace(0, len(arrays[0]) - 1, CALIBRATION_ITEMS).astype(int))
        self.source.convert(to, Path(out), [a[picked] for a in arrays], precision, int8=int8)
        return {"calibrated": len(picked) if int8 and to != "coreml" else 0}, []


class _Program:
    """A program of `torch.export`."""

    def __init__(self, path: str, file: str) -> None:
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # whatever else asks for a pickle does not get it
        import torch
        from torch.export.pt2_archive._package import load_pt2

        from edgelab.convert.programs import input_shapes, refuse_training

        torch.set_num_threads(1)
        version = torch.__version__.split("+")[0]
        try:
            self.program: Any = load_pt2(path).exported_programs["model"]
        except Exception as error:
            raise BadFile(f"{file} is not read by PyTorch {version} ({first_line(error)}); export it again.") from error
        self.inputs = input_shapes(self.program)
        refuse_training(self.program, file)
        self.runtime = f"PyTorch {version}"
        self._module: Any = None

    def example_shapes(self) -> list[list[int]]:
        """The shapes with which the program was exported, if it tells them."""
        import torch

        arguments: Any = self.program.example_inputs or ((), {})
        leaves = torch.utils._pytree.tree_leaves(arguments)  # noqa: SLF001
        return [list(x.shape) for x in leaves if isinstance(x, torch.Tensor)]

    def run(self, batch: Arrays) -> Arrays:
        import torch

        if self._module is None:
            self._module = self.program.module(check_guards=False)
        with torch.no_grad():
            found = self._module(*(torch.from_numpy(np.ascontiguousarray(x)) for x in batch))
        return [y.numpy() for y in torch.utils._pytree.tree_leaves(found)]  # noqa: SLF001

    def convert(self, to: str, out: Path, items: Arrays, precision: Any, *, int8: bool) -> None:
        _from_program(self.program, to, out, items, precision, int8=int8)


class _Onnx:
    """A float ONNX file: ONNX Runtime answers for it, and PyTorch's exporters write it anew."""

    def __init__(self, path: str, file: str) -> None:
        import torch

        from edgelab.compress import modelfile, preparation
        from edgelab.convert.onnx_torch import refuse_quantized
        from edgelab.engines import onnxruntime

        torch.set_num_threads(1)
        self.file, self.model = file, preparation.modernised(modelfile.read(path))
        refuse_quantized(self.model, file)
        settings: Any = {"layout": "auto", "batch": None, "output": None}
        self.engine = onnxruntime.Host(path, threads=1, graph_optimization=True, **settings)
        self.inputs = [(info.name, info.shape, info.dtype) for info in self.engine.inputs]
        self.runtime = self.engine.name

    def example_shapes(self) -> list[list[int]]:
        return []

    def run(self, batch: Arrays) -> Arrays:
        return self.engine.call([np.ascontiguousarray(x) for x in batch])

    def convert(self, to: str, out: Path, items: Arrays, precision: Any, *, int8: bool) -> None:
        from edgelab.convert import onnx_torch, programs

        size = next((shape[0] for _, shape, _ in self.inputs if shape and shape[0] is not None), 1)
        example = [np.resize(x, (size, *x.shape[1:])) for x in items]
        fixed = onnx_torch.with_shapes(self.model, [x.shape for x in example], out.parent)
        network = onnx_torch.network_of(fixed, self.file)
        try:
            program = programs.program(network, example, dynamic_batch=False)
        except BadInput:  # shapes that are tensors: they are constants now, which a run shows and the exporter does not
            program = programs.program(onnx_torch.as_it_runs(network, example, self.file), example, dynamic_batch=False)
        _from_program(program, to, out, items, precision, int8=int8)


class _Keras:
    """A Keras network on TensorFlow."""

    def __init__(self, path: str, file: str) -> None:
        from edgelab.convert import keras

        self.model, self.runtime = keras.load(path, file)
        self.inputs = keras.input_shapes(self.model)

    def example_shapes(self) -> list[list[int]]:
        return []

    def run(self, batch: Arrays) -> Arrays:
        from edgelab.convert import keras

        return keras.run(self.model, batch)

    def convert(self, to: str, out: Path, items: Arrays, precision: str, *, int8: bool) -> None:
        from edgelab.convert import keras

        if to != "tflite":
            raise BadInput(f"Keras on TensorFlow is not converted to {to} here.")
        keras.save_tflite(self.model, items, out, precision="int8" if int8 else precision)


class _KerasAsTorch(_Program):
    """A Keras network on PyTorch, as a program."""

    def __init__(self, path: str, file: str) -> None:
        from edgelab.convert import keras_torch
        from edgelab.convert.programs import input_shapes

        self.program, self.runtime = keras_torch.load_program(path, file)
        self.inputs = input_shapes(self.program)
        self._module = None


def _from_program(program: Any, to: str, out: Path, items: Arrays, precision: Any, *, int8: bool) -> None:
    from edgelab.convert import exported, litert, litert_quantize
    from edgelab.convert.programs import input_values

    batch = _batch(program) or 1
    example = [np.resize(x, (batch, *x.shape[1:])) for x in items]
    if to == "onnx":
        target = out.with_suffix(".float.onnx") if int8 else out
        exported.to_onnx(program, example, target, precision=precision)
        if int8:
            from edgelab.compress import ptq

            whole = max(batch, len(items[0]) // batch * batch)
            names = [name for name, _ in input_values(program)]
            ptq.quantize_static(target, out, {name: x[:whole] for name, x in zip(names, items, strict=True)})
            target.unlink()
    elif to == "tflite":
        if not int8:
            exported.to_tflite(program, example, out, precision=precision)
            return
        content = litert.float32_bytes(program, example)
        moved = [np.moveaxis(x, 1, -1) if x.ndim == 4 and x.dtype.kind == "f" else x for x in items]
        starts = range(0, len(moved[0]) - batch + 1, batch)
        rows = [[np.ascontiguousarray(x[i : i + batch]) for x in moved] for i in starts]
        write_bytes(out, litert_quantize.int8_bytes(content, rows))
    else:
        model = exported.coreml_program(program, example, precision=precision)
        exported.save_coreml(exported.coreml_int8(model) if int8 else model, out)


def _batch(program: Any) -> int | None:
    """The batch that a program fixes; None where it is open."""
    from edgelab.convert.programs import input_shapes

    return next((shape[0] for _, shape, _ in input_shapes(program) if shape), None)
