"""ONNX files on their way into and out of a quantizer: read, prepared, run, written whole.

A quantizer wants shapes inferred and batch norm folded into the convolution before it, or it quantizes a network
that nobody will run; `prepared` does that in a temporary folder. `keep` writes the result and says what it weighs.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgelab.compress import external, preparation
from edgelab.compress.coverage import Coverage, Left
from edgelab.compress.widening import widen
from edgelab.errors import BadFile, BadInput, EdgelabError
from edgelab.files import expanded, refuse_pointer
from edgelab.models import mlpackage
from edgelab.quiet import first_line, silenced

PathLike: TypeAlias = "str | os.PathLike[str]"


@dataclass(frozen=True)
class Quantized:
    """A quantized file.

    ``bytes`` is the whole file, ``float_bytes`` the file it came from, each with the files of weights beside it;
    ``weight_bytes`` what its constants (weights, biases, scales, zero points) take by element type, ``seconds`` the
    time it took. ``quantized`` counts the operators that take integers by type, ``left`` names those whose weights
    stayed in float32, each with the reason, and ``notes`` says in sentences what else was done to the network.
    """

    path: Path
    kind: str
    bytes: int
    float_bytes: int
    weight_bytes: Mapping[str, int]
    seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    quantized: Mapping[str, int] = field(default_factory=dict)
    left: tuple[Left, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {
            **vars(self),
            "path": str(self.path),
            "left": [left.to_dict() for left in self.left],
            "notes": list(self.notes),
        }

    def said(self) -> list[str]:
        """Sentences: what was quantized, what was not and why, what else was done."""
        done = ", ".join(f"{count} {kind}" for kind, count in self.quantized.items())
        reasons: dict[tuple[str, str], list[str]] = {}
        for left in self.left:
            reasons.setdefault((left.type, left.why), []).append(left.name)
        kept = [f"{len(names)} {kind} in float32: {why}." for (kind, why), names in reasons.items()]
        return [*([f"Quantized: {done}."] if done else []), *kept, *self.notes]

    def _repr_markdown_(self) -> str:
        kinds = ", ".join(f"{kind} {size:,}" for kind, size in sorted(self.weight_bytes.items()))
        head = (
            f"`{self.path.name}` ({self.kind}): {self.bytes:,} bytes against {self.float_bytes:,}, "
            f"{self.float_bytes / self.bytes:.2f}x smaller; its constants in bytes: {kinds}"
        )
        return "\n".join([head, *(["", *(f"- {text}" for text in self.said())] if self.left or self.notes else [])])


@contextlib.contextmanager
def prepared(model_path: PathLike, notes: list[str] | None = None) -> Iterator[Path]:
    """A copy of a float model in a temporary folder with shapes inferred, constants and batch norm folded.

    Networks in float16, bfloat16 and float64 become float32; sentences that say so are added to ``notes``.

    Raises
    ------
    BadFile
        If the file is missing, is not ONNX, is quantized already, or holds weights that are not finite.
    """
    from onnxruntime.quantization import quant_pre_process

    model = read(model_path)
    if any(node.op_type in QUANTIZED_OPERATORS for node in model.graph.node):
        raise BadFile(f"{model_path} is quantized already; start from the float file.")
    _check_weights(model_path, model)
    with tempfile.TemporaryDirectory(prefix="edgelab-") as folder:
        path, source = Path(folder) / "prepared.onnx", Path(folder) / "source.onnx"
        try:
            with silenced():
                said = widen(model)
                external.save(preparation.modernised(model), source)
                large = external.is_large(model)
                del model
                # By path: from a model in memory the tool takes the constants out, and misses the values of axes then.
                # Symbolic shapes would cost three seconds (sympy) and serve only operators that are not quantized.
                quant_pre_process(
                    str(source),
                    str(path),
                    skip_symbolic_shape=True,
                    save_as_external_data=large,
                    all_tensors_to_one_file=True,
                    external_data_location="prepared.onnx.data",
                )
            ready = read(path)
        except Exception as error:
            raise BadFile(f"{model_path} cannot be prepared for quantization: {reason(error)}.") from error
        for left in Path(folder).glob("source.onnx*"):
            left.unlink()
        _check_weights(model_path, ready)
        mends = (
            preparation.unshare_weights,
            preparation.name_nodes,
            preparation.forget_shapes_of_constants,
            preparation.state_opset,
            _complete_types,
        )
        mended = [mend(ready) for mend in mends]
        if any(mended):
            external.save(ready, path)
        if notes is not None:
            notes += said
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

    path = expanded(model_path)
    if not path.is_file():
        raise BadFile(f"{model_path} does not exist.")
    refuse_pointer(model_path)
    for file in files_of(model_path):
        refuse_pointer(file)
    try:
        model = external.load(path)
        if not external.is_large(model):  # the checker takes one message
            onnx.checker.check_model(model)
    except EdgelabError:
        raise
    except Exception as error:
        if isinstance(error, onnx.checker.ValidationError) and _loads(path):
            return model  # the runtime is less strict
        raise BadFile(f"{model_path} is not a readable ONNX file ({first_line(error)}).") from error
    if not model.graph.node or not (model.graph.input or model.graph.output):
        raise BadFile(f"{model_path} holds no network.")
    return model


def _loads(path: Path) -> bool:
    try:
        session(path)
    except Exception:  # noqa: BLE001 - native code
        return False
    return True


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
    path = expanded(model_path)
    if path.is_dir():
        return mlpackage.files_of(path)
    if b"location" not in path.read_bytes():  # the key that external data stand under
        return [path]
    import onnx

    try:
        model = onnx.load(os.fspath(path), load_external_data=False)
    except Exception:  # noqa: BLE001 - another format in which the word happens to stand
        return [path]
    found = [path]
    for name in sorted(external.locations(model)):
        with contextlib.suppress(BadFile):
            found.append(external.located(path, name))
    return found


def reason(error: BaseException) -> str:
    """What a tool or the runtime said, without its codes and without the temporary file that it was said of."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", first_line(error, limit=400))
    text = re.sub(r"Load model from .*? failed: ?", "", text)
    text = re.sub(r"\S*edgelab-\S*?([\w.]+\.onnx)", r"\1", text)
    return first_line(text).rstrip(". ")


def session(content: bytes | Path, optimised: Path | None = None) -> Any:
    """An ONNX Runtime session on one thread, of a model's bytes or of its file.

    The graph that it makes of the model is written to ``optimised``.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    source = os.fspath(content) if isinstance(content, Path) else content
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def running(model: Any) -> Iterator[Any]:
    """A session of a model in memory, through a temporary file where the model is too large for one message."""
    if not external.is_large(model):
        yield session(model.SerializeToString())
        return
    with tempfile.TemporaryDirectory(prefix="edgelab-") as folder:
        path = Path(folder) / "probe.onnx"
        external.save(model, path)
        yield session(path)


def _complete_types(model: Any) -> bool:
    """Note the element types that ONNX does not infer and the runtime does; whether there was one.

    A quantizer passes over a tensor whose type it does not know, or stops at it.
    """
    import onnx

    known = {v.name for v in (*model.graph.value_info, *model.graph.output, *model.graph.input)}
    missing = [name for node in model.graph.node for name in node.output if name and name not in known]
    if not missing:
        return False
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing)
    try:
        with running(probe) as runtime:
            types = {node.name: (node.type, node.shape) for node in runtime.get_outputs()}
    except Exception:  # noqa: BLE001 - native code; what the model lacks is said later
        return False
    found = {name: types[name][1] for name in missing if name in types and types[name][0] == "tensor(float)"}
    model.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape or None) for name, shape in found.items()
    )
    return bool(found)


def keep(
    model_path: PathLike,
    out_path: PathLike,
    model: Any,
    kind: Literal["static", "dynamic", "weights"],
    settings: dict[str, Any],
    seconds: float,
    *,
    covered: Coverage,
    notes: Sequence[str] = (),
) -> Quantized:
    """Write a quantized model, whole or not at all, and say what it weighs.

    Raises
    ------
    BadInput
        If nothing was quantized, or the file to write holds weights of the model that it comes from.
    """
    path = expanded(out_path)
    if not covered.quantized:
        raise BadInput(f"Nothing in {model_path} was quantized: {covered.why_nothing(kind, model)}.")
    sources = {file.resolve() for file in files_of(model_path)[1:]}
    if {path.resolve(), path.with_name(f"{path.name}.data").resolve()} & sources:
        raise BadInput(f"{out_path} would replace the weights of {model_path}; write to another name.")
    float_bytes = file_bytes(model_path)
    files = external.save(model, path)
    return Quantized(
        path,
        kind,
        sum(file.stat().st_size for file in files),
        float_bytes,
        external.sizes_by_type(model),
        seconds,
        settings,
        covered.quantized,
        covered.left,
        tuple(notes),
    )
