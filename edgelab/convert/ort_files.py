"""What ONNX Runtime makes of a file: the graph that it really runs, the ORT format, and which node ran where.

For files that this course wrote: the runtime works in this process, so that a lab can show its objects.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelab.errors import BadInput, EdgelabError
from edgelab.files import expanded, write_bytes
from edgelab.quiet import first_line, silenced

LEVELS: Mapping[str, str] = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
"""ONNX Runtime's levels of graph optimisation by a short name; ``"all"`` is its default."""
CPU = "CPUExecutionProvider"
_ERRORS_ONLY = 3


class ProviderMissing(EdgelabError, RuntimeError):
    """The runtime did not take the execution provider that was asked for."""


@dataclass(frozen=True)
class OrtFile:
    """A file in ONNX Runtime's own format and what a runtime must hold to run it.

    ``required`` are the lines of the reduced operator list: domain, version, operators.
    """

    path: Path
    bytes: int
    required: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {"path": str(self.path), "bytes": self.bytes, "required": list(self.required)}

    def _repr_markdown_(self) -> str:
        lines = "\n".join(self.required)
        return f"`{self.path.name}`: {self.bytes:,} bytes. Its reduced operator list:\n\n```\n{lines}\n```"


def optimized(path: str | os.PathLike[str], level: str, out: str | os.PathLike[str]) -> Path:
    """Save the graph as ONNX Runtime runs it at a level of `LEVELS`.

    Raises
    ------
    BadInput
        If there is no such level, or the runtime does not load the file.
    """
    import onnxruntime as ort

    if level not in LEVELS:
        raise BadInput(f"level='{level}' is not one of {', '.join(LEVELS)}.")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "optimized.onnx")
        options = _options()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[level])
        options.optimized_model_filepath = str(made)
        try:
            ort.InferenceSession(os.fspath(path), options, providers=[CPU])
        except Exception as error:
            raise BadInput(f"ONNX Runtime does not load {path} ({first_line(error)}).") from error
        write_bytes(out, made.read_bytes())
    return expanded(out)


def operators(path: str | os.PathLike[str]) -> Counter[str]:
    """How many nodes of each type a file holds; types outside of ONNX's own set carry the name of theirs."""
    import onnx

    def name(node: Any) -> str:
        return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)

    return Counter(name(node) for node in onnx.load(os.fspath(path)).graph.node)


def run_all(path: str | os.PathLike[str], x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Every tensor that the nodes of a file make of ``x``, from ONNX Runtime with no graph optimisation."""
    import onnx
    import onnxruntime as ort

    model = onnx.load(os.fspath(path))
    known = {value.name for value in model.graph.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    made = [name for node in model.graph.node for name in node.output[:1] if not set(node.input) <= constants]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in known)
    options = _options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=[CPU])
    return dict(zip(made, session.run(made, {session.get_inputs()[0].name: x}), strict=True))


def run_file(
    path: str | os.PathLike[str], x: NDArray[np.float32], *, optimise: bool = True, batch: int = 200
) -> NDArray[Any]:
    """The first output of a file for all of ``x``, in batches: memory grows with the largest tensor of a batch.

    ``optimise=False`` runs the nodes as they stand in the file.
    """
    import onnxruntime as ort

    options = _options()
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(os.fspath(path), options, providers=[CPU])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[i : i + batch]})[0] for i in range(0, len(x), batch)])


def placed(path: str | os.PathLike[str], x: NDArray[np.float32]) -> list[tuple[str, str, float]]:
    """Which node ran where, from the profile of one inference, in its order: (type, provider, microseconds)."""
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        options = _options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = ort.InferenceSession(os.fspath(path), options, providers=[CPU])
        feed = {session.get_inputs()[0].name: x}
        for _ in range(3):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    last = ran[-len(ran) // 3 :]
    return [(e["args"]["op_name"], e["args"]["provider"], float(e["dur"])) for e in last]


def to_ort(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> OrtFile:
    """Convert an .onnx file to the ORT format, and list the operators and types that a reduced runtime must hold.

    Raises
    ------
    BadInput
        If ONNX Runtime's converter fails.
    """
    source = expanded(path)
    target = expanded(folder) / f"{source.stem}.ort"
    with tempfile.TemporaryDirectory() as made, silenced():
        try:
            from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

            convert_onnx_models_to_ort(
                source,
                output_dir=Path(made),
                optimization_styles=[OptimizationStyle.Fixed],
                enable_type_reduction=True,
            )
            config = next(Path(made).glob("*.config")).read_text(encoding="utf-8")
            content = next(Path(made).glob("*.ort")).read_bytes()
        except Exception as error:
            raise BadInput(f"{source.name} cannot be converted to the ORT format ({first_line(error)}).") from error
    write_bytes(target, content)
    lines = tuple(line for line in config.splitlines() if line.strip() and not line.startswith("#"))
    return OrtFile(target, len(content), lines)


def serve(path: str | os.PathLike[str], images: NDArray[np.uint8], provider: str = CPU) -> NDArray[np.float32]:
    """Logits of images (N, H, W, C) of bytes, from a file that takes float32 (N, C, H, W) between 0 and 1.

    Raises
    ------
    ProviderMissing
        If the runtime did not take ``provider``: it would fall back to another one with a warning and no error.
    """
    import onnxruntime as ort

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = ort.InferenceSession(os.fspath(path), _options(), providers=[provider])
    got = session.get_providers()
    if got[0] != provider:
        raise ProviderMissing(f"{provider} was asked for, and the session runs on {got[0]}.")
    x = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
    logits: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: x})[0]
    return logits


def absent_provider() -> str:
    """The name of an execution provider that ONNX Runtime knows and that is not in this build."""
    import onnxruntime as ort

    here = ort.get_available_providers()
    wanted: Sequence[str] = ("CUDAExecutionProvider", *ort.get_all_providers())
    return next(name for name in wanted if name not in here)


def _options() -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, _ERRORS_ONLY
    return options
