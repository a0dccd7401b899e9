"""ONNX files on their way into and out of a quantizer: read, prepared, run, written whole.

A quantizer wants shapes inferred and batch norm folded into the convolution before it, or it quantizes a network
that nobody will run; `prepared` does that in a temporary folder. `keep` writes the result and says what it weighs.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgelab.compress import preparation
from edgelab.errors import BadFile, BadInput
from edgelab.files import refuse_pointer, write_bytes
from edgelab.models import mlpackage
from edgelab.quiet import first_line, silenced

PathLike: TypeAlias = "str | os.PathLike[str]"

MEMORY_BYTES = 256 * 2**20
"""How many bytes of activations are held at a time; a network with more is run once for each part."""
BATCH = 16
"""Samples at a time; small enough that the allocator reuses what it has."""


@dataclass(frozen=True)
class Quantized:
    """A quantized file.

    ``bytes`` is the whole file, ``float_bytes`` the file it came from, ``weight_bytes`` what its constants (weights,
    biases, scales, zero points) take by element type, ``seconds`` the time it took.
    """

    path: Path
    kind: str
    bytes: int
    float_bytes: int
    weight_bytes: Mapping[str, int]
    seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {**vars(self), "path": str(self.path)}

    def _repr_markdown_(self) -> str:
        kinds = ", ".join(f"{kind} {size:,}" for kind, size in sorted(self.weight_bytes.items()))
        return (
            f"`{self.path.name}` ({self.kind}): {self.bytes:,} bytes against {self.float_bytes:,}, "
            f"{self.float_bytes / self.bytes:.2f}x smaller; its constants in bytes: {kinds}"
        )


@contextlib.contextmanager
def prepared(model_path: PathLike) -> Iterator[Path]:
    """A copy of a float model in a temporary folder with shapes inferred, constants and batch norm folded.

    Raises
    ------
    BadFile
        If the file is missing, is not ONNX, is quantized already, or holds weights that are not finite.
    """
    import onnx
    from onnxruntime.quantization import quant_pre_process

    model = read(model_path)
    if any(node.op_type in QUANTIZED_OPERATORS for node in model.graph.node):
        raise BadFile(f"{model_path} is quantized already; start from the float file.")
    _check_weights(model_path, model)
    with tempfile.TemporaryDirectory(prefix="edgelab-") as folder:
        path, source = Path(folder) / "prepared.onnx", Path(folder) / "source.onnx"
        try:
            with silenced():
                onnx.save(preparation.modernised(model), source)
                # By path: from a model in memory the tool takes the constants out, and misses the values of axes then.
                # Symbolic shapes would cost three seconds (sympy) and serve only operators that are not quantized.
                quant_pre_process(str(source), str(path), skip_symbolic_shape=True)
            ready = read(path)
        except Exception as error:
            raise BadFile(f"{model_path} cannot be prepared for quantization: {first_line(error)}.") from error
        source.unlink()
        _check_weights(model_path, ready)
        for mend in (preparation.unshare_weights, preparation.name_nodes, preparation.forget_shapes_of_constants):
            if mend(ready):
                onnx.save(ready, path)
        yield path


def _check_weights(model_path: PathLike, model: Any) -> None:
    if broken := preparation.broken_weight(model):
        raise BadFile(f"{model_path} holds NaN or infinity in its weight {broken!r}.")


QUANTIZED_OPERATORS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulNBits"}
)


def read(model_path: PathLike) -> Any:
    """The model of an .onnx file, its structure checked.

    Raises
    ------
    BadFile
        If the file is missing, truncated, or not an ONNX model.
    """
    import onnx

    if not Path(model_path).is_file():
        raise BadFile(f"{model_path} does not exist.")
    refuse_pointer(model_path)
    try:
        model = onnx.load(os.fspath(model_path))
        onnx.checker.check_model(model)
    except Exception as error:
        raise BadFile(f"{model_path} is not a readable ONNX file ({first_line(error)}).") from error
    if not model.graph.node or not model.graph.input:
        raise BadFile(f"{model_path} holds no network.")
    return model


def file_bytes(model_path: PathLike) -> int:
    """What a model takes on disk: the file, those beside an .onnx file that hold its weights, all of a .mlpackage.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny.onnx"
    >>> _ = path.write_bytes(b"not external")
    >>> file_bytes(path)
    12
    """
    return sum(int(file.stat().st_size) for file in files_of(model_path))


def files_of(model_path: PathLike) -> list[Path]:
    """The files that make up a model: the file itself, of an .onnx file also those beside it that hold its weights.

    A Core ML package (.mlpackage) is a folder: the files in it, without links.
    """
    path = Path(model_path)
    if path.is_dir():
        return mlpackage.files_of(path)
    if b"location" not in path.read_bytes():  # the key that external data stand under
        return [path]
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    try:
        model = onnx.load(os.fspath(path), load_external_data=False)
    except Exception:  # noqa: BLE001 - another format in which the word happens to stand
        return [path]
    names = {str(ExternalDataInfo(t).location) for t in model.graph.initializer if uses_external_data(t)}
    return [path, *(file for name in sorted(names) if (file := path.parent / name).is_file())]


def session(content: bytes | str, optimised: Path | None = None) -> Any:
    """An ONNX Runtime session on one thread; the graph that it makes of the model is written to ``optimised``."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def clipped(model: Any) -> dict[str, str]:
    """Tensors that go into a ReLU or Clip and nowhere else, each with the tensor that comes out.

    The quantizer merges the pair into one: the range that counts is the one behind the activation.
    """
    uses = Counter(name for node in model.graph.node for name in node.input)
    outputs = {node.name for node in model.graph.output}
    merged = [node for node in model.graph.node if node.op_type in ("Clip", "Relu")]
    return {n.input[0]: n.output[0] for n in merged if uses[n.input[0]] == 1 and n.input[0] not in outputs}


def activations(
    model: Any, x: NDArray[Any] | Mapping[str, NDArray[Any]], whole: bool = True
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Run a float model over ``x`` and yield the name and the values of each float tensor that is quantized.

    ``x`` is the array of the one input, or an array for each input by name. ``whole`` yields every tensor once with all
    its values; otherwise once for each batch, which holds less memory.

    Raises
    ------
    BadInput
        If the network does not take ``x``.
    """
    import onnx

    constants = {constant.name for constant in model.graph.initializer}
    inputs = [node for node in model.graph.input if node.name not in constants]
    names_in, skipped = [node.name for node in inputs], clipped(model)
    info = {v.name: v for v in (*model.graph.value_info, *model.graph.output, *inputs)}
    order = [*names_in, *(name for node in model.graph.node for name in node.output if name in info)]
    floats = [name for name in order if info[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    names = [name for name in floats if name not in skipped]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    present = {node.name for node in probe.graph.output}
    probe.graph.output.extend(info[name] for name in names if name not in present)
    try:
        runtime = session(probe.SerializeToString())
    except Exception as error:
        raise BadInput(f"ONNX Runtime does not run the network: {first_line(error)}.") from error
    feed = _feeds(runtime, x, names_in)
    count = len(next(iter(feed.values())))
    fixed = next((node.shape[0] for node in runtime.get_inputs() if node.shape), None)
    if isinstance(fixed, int) and count % fixed:
        raise BadInput(f"The network takes batches of {fixed}, which {count} samples do not fill.")
    step = fixed if isinstance(fixed, int) else BATCH

    def run(wanted: list[str], start: int) -> list[NDArray[np.float32]]:
        batch = {name: array[start : start + step] for name, array in feed.items()}
        try:
            found: list[NDArray[np.float32]] = runtime.run(wanted, batch)
        except Exception as error:
            raise BadInput(f"The network does not take the calibration set: {first_line(error)}.") from error
        return found

    starts = range(0, count, step)
    if not whole:
        for start in starts:
            yield from zip(names, run(names, start), strict=True)
        return
    sizes = {name: value.nbytes * len(starts) for name, value in zip(names, run(names, 0), strict=True)}
    for part in _parts(sizes, MEMORY_BYTES):
        batches = [run(part, start) for start in starts]
        for i, name in enumerate(part):
            yield name, np.concatenate([batch[i].ravel() for batch in batches])


def keep(
    model_path: PathLike, out_path: PathLike, content: bytes, kind: str, settings: dict[str, Any], seconds: float
) -> Quantized:
    """Write a quantized model, whole or not at all, and say what it weighs."""
    import onnx

    sizes: dict[str, int] = {}
    for constant in onnx.load_from_string(content).graph.initializer:
        element = onnx.helper.tensor_dtype_to_np_dtype(constant.data_type).name
        bits = 4 if element.endswith("int4") else 8 * onnx.helper.tensor_dtype_to_np_dtype(constant.data_type).itemsize
        sizes[element] = sizes.get(element, 0) + math.ceil(math.prod(constant.dims) * bits / 8)
    write_bytes(out_path, content)
    return Quantized(
        Path(out_path),
        kind,
        len(content),
        file_bytes(model_path),
        dict(sorted(sizes.items())),
        seconds,
        settings,
    )


def _feeds(runtime: Any, x: NDArray[Any] | Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The calibration set by the names of the inputs, each array in the element type that the network takes."""
    if not isinstance(x, Mapping):
        if len(names) != 1:
            raise BadInput(f"The network has the inputs {', '.join(names)}; give the calibration set by these names.")
        x = {names[0]: x}
    if set(x) != set(names):
        raise BadInput(f"The network has the inputs {', '.join(names)}, and the calibration set {', '.join(x)}.")
    types = {node.name: node.type for node in runtime.get_inputs()}
    feed = {name: _feed(types[name], x[name]) for name in names}
    if len({len(array) for array in feed.values()}) != 1:
        counts = ", ".join(f"{len(array)} of '{name}'" for name, array in feed.items())
        raise BadInput(f"The calibration set has unequal numbers of items: {counts}.")
    return feed


def _feed(wanted: str, x: NDArray[Any]) -> NDArray[Any]:
    """An array of the calibration set in the element type that an input takes."""
    array = np.asarray(x)
    if array.ndim == 0 or len(array) == 0:
        raise BadInput("The calibration set is empty.")
    if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise BadInput("The calibration set holds values that are not finite numbers.")
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
    kind = kinds.get(wanted)
    if kind is None or (array.dtype.kind == "f") != (kind is np.float32):
        raise BadInput(f"The network takes {wanted}, and the calibration set is {array.dtype}.")
    return array.astype(kind, copy=False)


def _parts(sizes: Mapping[str, int], limit: int) -> Iterator[list[str]]:
    """Names in groups whose sizes stay below the limit, but for a single one that is larger."""
    part: list[str] = []
    total = 0
    for name, size in sizes.items():
        if part and total + size > limit:
            yield part
            part, total = [], 0
        part.append(name)
        total += size
    if part:
        yield part
