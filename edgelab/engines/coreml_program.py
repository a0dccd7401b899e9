"""A saved Core ML program, read back and run operator by operator in PyTorch: edgelab's evaluator, not Core ML.

`read_program` opens a .mlpackage with coremltools' own loader and decodes its constants, compressed ones included, so
what runs is what the package holds. Core ML itself exists on Apple's systems only; the evaluator follows the
specification of each operator, computes it in float32, and rounds its result where the program says float16. Core ML
may add up in another order or width, so last digits differ.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgelab.engines import coreml_lists, coreml_operators, coreml_recurrent, coreml_shapes, coreml_windows
from edgelab.errors import BadFile, BadInput, EdgelabError, ModelRefused
from edgelab.files import expanded
from edgelab.models import mlpackage
from edgelab.quiet import first_line, silenced

assert coreml_lists
assert coreml_recurrent
assert coreml_shapes
assert coreml_windows  # they enter their operators into the table

NAME = "edgelab's evaluator, not Core ML"
_CHUNK = 128  # items that run at once where the program takes one
_KINDS = {"fp16": "float16", "fp32": "float32", "int32": "int32", "bool": "bool", "str": "str"}


@dataclass(frozen=True)
class Reference:
    """An argument that another operator puts out."""

    name: str


@dataclass(frozen=True)
class Block:
    """The body or the condition of a loop: what it takes, does and gives back, by name."""

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One operator: its type as the program names it, arguments (constants decoded), results and their types."""

    type: str
    name: str
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Port:
    """An input or output of the program; ``image`` is the colour layout of an image input, ``""`` for a tensor.

    ``choices`` are the shapes that an input with a list of them (``EnumeratedShapes``) takes.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    image: str = ""
    choices: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Compressed:
    """A constant that the package stores compressed: by which operators, from which parts, and the decoded values."""

    name: str
    how: tuple[str, ...]
    values: NDArray[Any]
    parts: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """The main function of a package."""

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    steps: tuple[Step, ...]
    constants: Mapping[str, Any] = field(repr=False)
    compressed: tuple[Compressed, ...] = ()
    labels: tuple[str, ...] = ()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name for one call, or for many items at once where the program takes one.

        Items beyond the program's own batch of 1 run as separate calls would, only faster.

        Raises
        ------
        BadInput
            If an input is missing, unknown, or of another shape.
        ModelRefused
            If the program has an operator that the evaluator does not know.
        """
        tensors = {port.name: _fed(port, feeds, self.path) for port in self.inputs}
        unknown = set(feeds) - set(tensors)
        if unknown:
            known = ", ".join(tensors)
            raise BadInput(f"{self.path} has no input named {min(unknown)!r}; it has {known}.")
        counts = {len(tensors[p.name]) for p in self.inputs if _many(p, tensors[p.name])}
        single = all(p.shape[:1] == (1,) for p in self.inputs)
        if counts and not (len(counts) == 1 and single):
            shapes = "; ".join(f"{p.name} {tuple(tensors[p.name].shape)}" for p in self.inputs)
            raise BadInput(f"{self.path} takes a batch of its own size, and was given {shapes}.")
        try:
            with torch.inference_mode():
                found = self._each(tensors, counts.pop()) if counts else self._evaluate(tensors)
        except EdgelabError:
            raise
        except (RuntimeError, ValueError, IndexError) as error:  # what PyTorch says of shapes that do not fit
            raise ModelRefused(
                f"{self.path} could not be run by edgelab's evaluator: {first_line(error)}; it may be damaged, or "
                "given in another shape than it was made for."
            ) from None
        return {p.name: _array(found[p.name], p, self.labels) for p in self.outputs if p.name in found}

    def tensors(self, feeds: Mapping[str, NDArray[Any]]) -> Iterator[tuple[Step, NDArray[Any]]]:
        """Every operator with its first result, in the order of the program, for one call.

        Raises
        ------
        BadInput, ModelRefused
            As for `run`.
        """
        values: dict[str, Any] = {**self.constants, **{p.name: _fed(p, feeds, self.path) for p in self.inputs}}
        for step in self.steps:
            with torch.inference_mode():
                self._take([step], values)
            found = values[step.outputs[0]]
            if isinstance(found, torch.Tensor):
                yield step, found.numpy()

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The decoded weight of every convolution and linear layer, by the operator's name."""
        found = {
            s.name: _resolved(s.arguments["weight"], self.constants) for s in self.steps if "weight" in s.arguments
        }
        return {name: value.numpy() for name, value in found.items()}

    def parts(self, operator: str) -> Mapping[str, NDArray[Any]]:
        """What an operator's weight is stored as: scales and integers, a table and indices, or (plain) nothing."""
        source = next(s.arguments.get("weight") for s in self.steps if s.name == operator)
        name = source.name if isinstance(source, Reference) else ""
        return next((c.parts for c in self.compressed if c.name == name), {})

    def _each(self, tensors: dict[str, torch.Tensor], count: int) -> dict[str, torch.Tensor]:
        """Every item as a call of its own, many at once by `torch.vmap`, which keeps all shapes as written."""
        items = {
            name: (x if len(x) == count else x.expand(count, *x.shape[1:])).unsqueeze(1) for name, x in tensors.items()
        }
        parts: list[dict[str, torch.Tensor]]
        try:
            together = torch.vmap(self._evaluate)
            starts = range(0, count, _CHUNK)
            parts = [together({name: x[i : i + _CHUNK] for name, x in items.items()}) for i in starts]
        except RuntimeError:  # an operator that looks at its values cannot run for many items at once
            parts = [self._evaluate({name: x[i] for name, x in items.items()}) for i in range(count)]
            return {
                name: torch.cat([part[name].reshape(part[name].shape or (1,)) for part in parts]) for name in parts[0]
            }
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return {name: x.flatten(0, 1) if x.ndim > 1 else x for name, x in joined.items()}

    def _evaluate(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        values: dict[str, Any] = {**self.constants, **tensors}
        self._take(self.steps, values)
        return {port.name: values[port.name] for port in self.outputs}

    def _take(self, steps: Sequence[Step], values: dict[str, Any]) -> None:
        """Run the operators in their order; their results join the values."""
        for step in steps:
            arguments = {name: _resolved(value, values) for name, value in step.arguments.items()}
            if step.type == "while_loop":
                results: Any = self._loop(step, arguments["loop_vars"], values)
            else:
                try:
                    results = coreml_operators.OPERATORS[step.type](**arguments)
                except (KeyError, NotImplementedError, TypeError) as error:
                    raise ModelRefused(_unknown(self.path, step.type, step.name, first_line(error))) from None
            results = results if isinstance(results, tuple) else (results,)
            for name, dtype, result in zip(step.outputs, step.dtypes, results, strict=False):
                values[name] = _rounded(result, dtype)

    def _loop(self, step: Step, variables: list[Any], values: dict[str, Any]) -> tuple[Any, ...]:
        """Run the second block as long as the first says so."""
        condition, body = step.blocks
        while True:
            inside = {**values, **dict(zip(condition.inputs, variables, strict=True))}
            self._take(condition.steps, inside)
            if not bool(inside[condition.outputs[0]]):
                return tuple(variables)
            inside = {**values, **dict(zip(body.inputs, variables, strict=True))}
            self._take(body.steps, inside)
            variables = [inside[name] for name in body.outputs]


def read_program(path: str | os.PathLike[str]) -> Program:
    """The main function of a .mlpackage with every constant decoded.

    Raises
    ------
    BadFile
        If the package is missing, incomplete or damaged, or holds no ML Program.
    ModelRefused
        If it has an operator that the evaluator does not know; the sentence names it and its place.
    MissingFramework
        If coremltools is not installed.
    """
    folder = expanded(path)
    spec = mlpackage.read_spec(folder)
    from coremltools.converters.mil.frontend.milproto import load as milproto

    weights = mlpackage.model_file(folder).parent / "weights"
    _refuse_unknown(mlpackage.main_block(spec, folder), folder, weights)
    try:
        with silenced():
            program = milproto.load(spec, spec.specificationVersion, str(weights))
    except Exception as error:  # noqa: BLE001 - a damaged program may raise anything
        raise BadFile(f"{folder} is damaged or newer than coremltools: {first_line(error)}.") from None
    return _translated(folder, spec, program.functions[spec.description.defaultFunctionName or "main"])


def _refuse_unknown(block: Any, folder: Path, weights: Path) -> None:
    """Name the first operator that the evaluator lacks, and hold each constant's place against the file."""
    for operation in block.operations:
        names = [out.name for out in operation.outputs]
        known = operation.type in ("const", "classify", "while_loop") or operation.type.startswith("constexpr_")
        if not known and operation.type not in coreml_operators.OPERATORS:
            raise ModelRefused(_unknown(folder, operation.type, names[0] if names else "?"))
        for inner in operation.blocks:
            _refuse_unknown(inner, folder, weights)
        stored = [*operation.attributes.values()]
        stored += [
            b.value for a in operation.inputs.values() for b in a.arguments if b.WhichOneof("binding") == "value"
        ]
        for value in stored:
            if value.WhichOneof("value") == "blobFileValue":
                mlpackage.check_blob(weights / Path(value.blobFileValue.fileName).name, value.blobFileValue.offset)


def _unknown(path: Path, kind: str, name: str, why: str = "") -> str:
    reason = f" as it stands there ({why})" if why else ""
    return (
        f"{path} has the operator {kind} at {name!r}, which edgelab's evaluator does not know{reason}; replace it "
        "by other operators, or run the package on macOS."
    )


def _translated(folder: Path, spec: Any, function: Any) -> Program:
    images = {f.name: _colour(f) for f in spec.description.input if f.type.WhichOneof("Type") == "imageType"}
    listed = {f.name: _choices(f) for f in spec.description.input}
    inputs = tuple(
        Port(name, _sizes(var.shape), _KINDS.get(_dtype(var), _dtype(var)), images.get(name, ""), listed.get(name, ()))
        for name, var in function.inputs.items()
    )
    constants: dict[str, Any] = {}
    compressed: list[Compressed] = []
    outputs: dict[str, Any] = {var.name: var for var in function.outputs}
    steps = _steps(function, constants, compressed)
    labels: tuple[str, ...] = ()
    renamed: dict[str, str] = {}
    for op in function.operations:
        if op.op_type == "classify":
            labels = tuple(str(label) for label in np.asarray(op.classes.val).tolist())
            renamed = {op.outputs[0].name: op.probabilities.name, op.outputs[1].name: op.probabilities.name}
    for var in outputs.values():
        if var.val is not None:
            constants[var.name] = _constant(var.val)
    for name, source in renamed.items():
        steps.append(Step("identity", name, {"x": Reference(source)}, (name,), ("fp32",)))
    ports = []
    for name, var in outputs.items():
        shape = _sizes(getattr(var, "shape", ()))
        if name in renamed:
            place = list(renamed).index(name)
            ports.append(Port(name, (1,) if place == 0 else (1, len(labels)), "str" if place == 0 else "float32"))
        else:
            ports.append(Port(name, shape, _KINDS.get(_dtype(var), _dtype(var))))
    return Program(folder, inputs, tuple(ports), tuple(steps), constants, tuple(compressed), labels)


def _steps(block: Any, constants: dict[str, Any], compressed: list[Compressed]) -> list[Step]:
    """The operators of a block; constants that are compressed, or a block's result, are entered by name."""
    steps: list[Step] = []
    for op in block.operations:
        if op.op_type in ("const", "classify"):
            continue
        if op.op_type.startswith("constexpr_"):
            used = [v for v in op.outputs if any(not c.op_type.startswith("constexpr_") for c in v.child_ops)]
            parts = {name: np.asarray(decoded(v)) for name, v in op.inputs.items() if v is not None}
            compressed += [Compressed(v.name, tuple(_chain(v)), np.asarray(decoded(v)), parts) for v in used]
            constants.update({c.name: _constant(c.values) for c in compressed[len(compressed) - len(used) :]})
            continue
        arguments = {
            name: _argument(value)
            for name, value in op.inputs.items()
            if value is not None and not name.startswith("_")  # a loop's blocks stand among its inputs
        }
        inner = []
        for inside in op.blocks:
            constants.update({var.name: _constant(var.val) for var in inside.outputs if var.val is not None})
            names = tuple(var.name for var in inside.inputs), tuple(var.name for var in inside.outputs)
            inner.append(Block(names[0], tuple(_steps(inside, constants, compressed)), names[1]))
        kinds, names_ = tuple(_dtype(var) for var in op.outputs), tuple(v.name for v in op.outputs)
        shapes = tuple(tuple(map(_size, v.shape)) for v in op.outputs)
        steps.append(Step(op.op_type, names_[0], arguments, names_, kinds, shapes, tuple(inner)))
    return steps


def decoded(var: Any) -> Any:
    """The values of a constant, also where it is stored compressed, by coremltools' own decoders."""
    if var.val is not None:
        return var.val
    op = var.op
    values = {name: None if v is None else decoded(v) for name, v in op.inputs.items()}
    if op.op_type == "constexpr_cast":
        return np.float32(values["source_val"])
    wanted = inspect.signature(type(op).decompress).parameters
    found = type(op).decompress(**{name: values.get(name) for name in wanted})
    return found[op.outputs.index(var)] if isinstance(found, tuple) else found


def _chain(var: Any) -> list[str]:
    """The compressing operators behind a constant, the last first, without their prefix."""
    own = [var.op.op_type.removeprefix("constexpr_")]
    for source in var.op.inputs.values():
        if source is not None and source.op is not None and source.op.op_type.startswith("constexpr_"):
            own += [step for step in _chain(source) if step not in own]
    return own


def _argument(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_argument(v) for v in value]
    if value.val is None:
        return Reference(value.name)
    return _constant(value.val)


def _constant(value: Any) -> Any:
    if isinstance(value, str | bool | np.bool_):
        return value if isinstance(value, str) else bool(value)
    array = np.asarray(value)
    if array.dtype.kind in "US":
        return str(array)
    if array.dtype.kind == "f":
        return torch.from_numpy(np.array(array, np.float32))
    if array.dtype.kind in "iu":
        return torch.from_numpy(np.array(array, np.int32))
    return torch.from_numpy(np.array(array, bool))


def _resolved(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Reference):
        return values[value.name]
    return [_resolved(v, values) for v in value] if isinstance(value, list) else value


def _rounded(result: torch.Tensor, dtype: str) -> torch.Tensor:
    """Float16 results are rounded to float16 (beyond 65,504 they become infinite) and kept in float32."""
    if dtype == "fp16" and result.is_floating_point():
        return result.half().float()
    return result


def _fed(port: Port, feeds: Mapping[str, NDArray[Any]], path: Path) -> torch.Tensor:
    if port.name not in feeds:
        raise BadInput(f"{path} needs the input {port.name!r}.")
    x = np.asarray(feeds[port.name])
    item = port.shape[1:]
    fits = x.ndim == len(port.shape) and all(w is None or w == n for w, n in zip(item, x.shape[1:], strict=True))
    if not fits or not x.size:
        wanted = "(" + ", ".join("?" if n is None else str(n) for n in port.shape) + ")"
        raise BadInput(f"{path} takes {port.name!r} in the shape {wanted}, and was given {x.shape}.")
    if port.choices and not any(x.shape[1:] == shape[1:] for shape in port.choices):
        shapes = ", ".join(map(str, port.choices))
        raise BadInput(f"{path} takes {port.name!r} in one of the shapes {shapes}, and was given {x.shape}.")
    x = x[:, ::-1] if port.image == "BGR" else x  # images are given as red, green, blue
    whole = port.dtype == "int32" and x.dtype.kind in "iu"
    tensor = torch.from_numpy(np.array(x, np.int32 if whole else np.float32))
    return tensor.half().float() if port.dtype == "float16" else tensor


def _many(port: Port, x: torch.Tensor) -> bool:
    return bool(port.shape) and port.shape[0] is not None and len(x) != port.shape[0]


def _array(x: torch.Tensor, port: Port, labels: Sequence[str]) -> NDArray[Any]:
    array: NDArray[Any] = torch.as_tensor(x).numpy()
    if port.dtype == "str":
        return np.asarray([labels[int(i)] for i in array.argmax(-1).reshape(-1)], dtype=str)
    return np.asarray(array, port.dtype) if port.dtype in ("float16", "int32", "bool") else array


def _dtype(var: Any) -> str:
    from coremltools.converters.mil.mil import types

    kind = getattr(var, "dtype", None)
    return types.builtin_to_string(kind) if kind is not None else "fp32"


def _size(n: Any) -> int:
    return int(n) if isinstance(n, int | np.integer) else -1


def _sizes(shape: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(None if _size(n) < 0 else _size(n) for n in shape)


def _choices(feature: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, s.shape)) for s in feature.type.multiArrayType.enumeratedShapes.shapes)


def _colour(feature: Any) -> str:
    kind = feature.type.imageType
    return str(kind.ColorSpace.Name(kind.colorSpace))
