"""`operators`: which runtimes take each operator of a model file, where it runs there, and what to do about the rest.

A file is judged by the runtimes of its own format. What is measured comes from the runtime itself (it opened the file,
and its profile tells which kernels ran); what is modelled from a compiler or from rules; what is quoted from a list
that somebody publishes. A file of another format is converted first.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgelab.errors import BadFile, BadInput, EdgelabError
from edgelab.files import expanded
from edgelab.models.formats import model_format
from edgelab.reading import Cell, How, Table

if TYPE_CHECKING:
    from edgelab.mcu.model import Model

PathLike = str | os.PathLike[str]
Target = Literal["tflite", "coreml"]
ETHOS = "ethos-u55-128"
_TENSORS = re.compile(r"\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*$")
_INTEGERS = frozenset({"int8", "uint8"})


@dataclass(frozen=True)
class Verdict:
    """What a runtime does with one kind of operator.

    ``takes`` is None where it could not be found out; ``where`` names the kernels or the processor that run it;
    ``reason`` says why not, and ``mend`` what to change.
    """

    takes: bool | None
    where: str = ""
    reason: str = ""
    mend: str = ""

    @property
    def cell(self) -> str:
        """In one or two words, for a table."""
        if self.takes is None:
            return "unknown"
        return (self.where or "yes") if self.takes else "no"


@dataclass(frozen=True)
class Runtime:
    """A column: a runtime, how its verdicts were obtained, and what they rest on."""

    name: str
    obtained: How
    by: str
    remark: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"name": self.name, "obtained": self.obtained, "by": self.by, "remark": self.remark}


@dataclass(frozen=True)
class Kind:
    """One kind of operator in a file: its name, its element type, how many, and each runtime's verdict."""

    operator: str
    type: str
    count: int
    verdicts: Mapping[str, Verdict]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        runtimes = {name: vars(verdict) for name, verdict in self.verdicts.items()}
        return {"operator": self.operator, "type": self.type, "count": self.count, "runtimes": runtimes}


@dataclass(frozen=True)
class OperatorMatrix:
    """The operators of a file by kind, and the runtimes that take them.

    ``converted_from`` is the file that was asked about, where it was converted first.
    """

    file: str
    format: str
    kinds: tuple[Kind, ...]
    runtimes: tuple[Runtime, ...]
    converted_from: str = ""
    remarks: tuple[str, ...] = field(default=())

    def refused(self, runtime: str) -> tuple[Kind, ...]:
        """The kinds that a runtime does not take."""
        return tuple(kind for kind in self.kinds if kind.verdicts[runtime].takes is False)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: see docs/json.md."""
        return {
            "model": self.converted_from or self.file,
            "format": self.format,
            "converted": bool(self.converted_from),
            "operators": [kind.to_dict() for kind in self.kinds],
            "runtimes": [runtime.to_dict() for runtime in self.runtimes],
            "remarks": list(self.remarks),
        }

    def table(self) -> Table:
        """A row for each kind of operator, a column for each runtime."""
        names = [runtime.name for runtime in self.runtimes]
        rows: list[tuple[Cell, ...]] = [
            (kind.operator, kind.type, kind.count, *(kind.verdicts[name].cell for name in names)) for kind in self.kinds
        ]
        how = "; ".join(f"{r.name}: {r.obtained}, {r.by}" for r in self.runtimes)
        as_converted = f", converted to {self.format} in float32" if self.converted_from else ""
        title = f"{Path(self.converted_from or self.file).name}{as_converted}: its operators and who takes them"
        return Table(title, ("operator", "type", "count", *names), rows, f"{how}.")

    def sentences(self) -> list[str]:
        """Why operators are not taken and what to do, those of one reason together; then remarks."""
        said = []
        for runtime in self.runtimes:
            grouped: dict[tuple[str, str], dict[str, None]] = {}
            for kind in self.refused(runtime.name):
                verdict = kind.verdicts[runtime.name]
                grouped.setdefault((verdict.reason, verdict.mend), {})[kind.operator] = None
            for (reason, mend), names in grouped.items():
                said.append(f"{runtime.name}, {', '.join(names)}: {reason}{mend and f'; {mend}'}.")
            said += [runtime.remark] if runtime.remark else []
        return list(dict.fromkeys([*said, *self.remarks]))

    def __str__(self) -> str:
        return "\n".join([self.table().text(), *(f"- {text}" for text in self.sentences())])

    def _repr_markdown_(self) -> str:
        """With type and count beside the operator's name, since a notebook's page is narrow."""
        whole = self.table()
        rows = [(f"{count} {operator}, {type_}", *cells) for operator, type_, count, *cells in whole.rows]
        narrow = Table(whole.title, ("operator", *whole.columns[3:]), rows, whole.note)
        return "\n".join([narrow._repr_markdown_(), "", *(f"- {text}" for text in self.sentences())])


def operators(path: PathLike, *, convert_to: Target | None = None) -> OperatorMatrix:
    """Say which runtimes take the operators of a model file.

    Parameters
    ----------
    path
        A .tflite file (LiteRT, TensorFlow Lite Micro, the C generator, Ethos-U, Edge TPU), an .onnx file (ONNX Runtime,
        and the way to the other formats), or a .mlpackage (the rules of the Neural Engine).
    convert_to
        Convert an .onnx, .pt2 or .keras file to this format first, as `edgelab.toolbox.convert` does in float32, and
        judge the result.

    Raises
    ------
    BadFile
        If the file is missing, damaged or foreign, or the converted file does not answer as its source.
    BadInput
        If it cannot be converted.
    MissingFramework
        If a tool is not installed.
    """
    if convert_to is None:
        return _judged(path)
    from edgelab.toolbox.conversion import SUFFIXES, convert

    if convert_to not in ("tflite", "coreml"):
        raise BadInput(f"convert_to={convert_to!r} is not one of tflite, coreml.")
    with tempfile.TemporaryDirectory(prefix="edgelab-operators-") as folder:
        made = convert(path, convert_to, Path(folder, f"{expanded(path).stem}{SUFFIXES[convert_to]}"))
        if not made.kept:
            raise BadFile(" ".join(made.reasons))
        found = _judged(made.path)
    return OperatorMatrix(found.file, found.format, found.kinds, found.runtimes, str(path), found.remarks)


def _judged(path: PathLike) -> OperatorMatrix:
    kind = model_format(path)
    judges: dict[str, Callable[[PathLike], OperatorMatrix]] = {"tflite": _tflite, "onnx": _onnx, "coreml": _coreml}
    if kind not in judges:
        raise BadFile(f"{path} is firmware; give the .tflite file that it was made from.")
    return judges[kind](path)


def _tflite(path: PathLike) -> OperatorMatrix:
    from edgelab.mcu.cgen import refused_operators
    from edgelab.mcu.model import read_model
    from edgelab.mcu.operators import TABLE_VERSION, check_operators, left_in_float, operator_type
    from edgelab.measure import edge_tpu

    model = read_model(path)
    report = check_operators(model)
    checks = {(c.operator, c.type): c for c in sorted(report.checks, key=lambda c: not c.tflm, reverse=True)}
    refused = refused_operators(model)
    alone = {operator.index for operator in left_in_float(model)}
    litert, kernels = _litert(path)
    ethos, left = _ethos(model)
    groups: dict[tuple[str, str], list[int]] = {}
    for operator in model.running:
        groups.setdefault((operator.code, operator_type(model, operator)), []).append(operator.index)
    by_index = {operator.index: operator for operator in model.running}
    kinds = []
    for (code, dtype), indices in groups.items():
        check = checks[code, dtype]
        names = {model.tensors[i].name for index in indices for i in by_index[index].outputs if i >= 0}
        kinds.append(
            Kind(
                code,
                dtype,
                len(indices),
                {
                    litert.name: Verdict(None if kernels is None else True, _kernels(names, kernels)),
                    "TFLM": Verdict(check.tflm, "", check.reason, check.mend),
                    "C generator": _without_tflm(
                        _generated(indices, dtype, refused, path, len(model.operators), alone), check.tflm
                    ),
                    ethos.name: _accelerated(indices, left, listed=len(model.running) == len(model.operators)),
                    "Edge TPU": _edge_tpu(code, dtype, edge_tpu.SUPPORTED),
                },
            )
        )
    runtimes = (
        litert,
        Runtime("TFLM", "measured", f"the interpreter of {TABLE_VERSION}, asked ahead for every operator"),
        Runtime("C generator", "measured", "edgelab's own, what it lowers"),
        ethos,
        Runtime("Edge TPU", "quoted", f"Coral, {edge_tpu.SOURCE}"),
    )
    return OperatorMatrix(str(path), "tflite", tuple(kinds), runtimes, remarks=report.remarks)


def _litert(path: PathLike) -> tuple[Runtime, set[str] | None]:
    """LiteRT opens the file and runs it once; the outputs of those operators that XNNPACK left to built-in kernels."""
    from edgelab.engines.litert import LiteRTEngine

    try:
        with LiteRTEngine(path, fresh=False) as engine:
            x = np.zeros([n or 1 for n in engine.inputs[0].shape], np.float32)
            left = {row.name for row in engine.profile(x, 2) if not row.name.startswith("XNNPACK operator")}
            return Runtime("LiteRT", "measured", f"{engine.name}, one run by its profiler"), left
    except EdgelabError as error:
        return Runtime("LiteRT", "measured", "LiteRT", f"LiteRT: {error}"), None


def _kernels(outputs: set[str], left: set[str] | None) -> str:
    """Which kernels ran the operators that put out these tensors."""
    if left is None:
        return ""
    builtin = len(outputs & left)
    return "XNNPACK" if not builtin else "built-in" if builtin == len(outputs) else "XNNPACK and built-in"


def _ethos(model: Model) -> tuple[Runtime, Mapping[int, str] | None]:
    """The operators that vela leaves to the processor, each with its reason; None where vela gave no answer."""
    from edgelab.mcu.accelerator import ethos_coverage

    try:
        report = ethos_coverage(model, ETHOS)
    except EdgelabError as error:
        return Runtime("Ethos-U55", "modelled", "vela", f"Ethos-U55: {error}"), None
    left = {f.index: f.reason for f in report.fallbacks}
    if not report.npu_operators:  # of several graphs vela does not list every operator
        left = {op.index: left.get(op.index, "vela places nothing on the accelerator") for op in model.running}
    return Runtime("Ethos-U55", "modelled", f"{report.by} for {ETHOS}"), left


def _accelerated(indices: Sequence[int], left: Mapping[int, str] | None, *, listed: bool) -> Verdict:
    """``listed``: whether vela names every operator that it leaves, which it does of a single graph."""
    if left is None:
        return Verdict(None)
    reasons = [_TENSORS.sub("", left[index]).rstrip(". ") for index in indices if index in left]
    if reasons:
        return Verdict(False, "", f"on the processor, {_lowered(reasons[0])}")
    return Verdict(True if listed else None)


def _generated(
    indices: Iterable[int], dtype: str, refused: Mapping[int, str], path: PathLike, outermost: int, alone: set[int]
) -> Verdict:
    """The generator's own sentence names the tensor and the file; here it is about many operators of a kind."""
    from edgelab.mcu.operators import FULL_INTEGER

    reasons = [refused[index] for index in indices if index in refused]
    if not reasons and max(indices) >= outermost:
        return Verdict(False, "", "no C is written for what stands inside an IF or WHILE", "run the model in TFLM")
    if not reasons:
        return Verdict(True)
    if "not one the C generator knows" in reasons[0]:
        return Verdict(False, "", "no C is written for it", "replace it, or run the model in TFLM")
    if alone.intersection(indices):
        mend = "use one there that it quantizes, such as RELU or HARD_SWISH"
        return Verdict(False, "", f"the converter left it in {dtype}", mend)
    if dtype not in ("int8", "bool"):
        return Verdict(False, "", f"it computes in {dtype}", FULL_INTEGER)
    return Verdict(False, "", _lowered(reasons[0].partition(f" of {expanded(path).name} ")[2] or reasons[0]))


def _without_tflm(verdict: Verdict, taken: bool) -> Verdict:
    """A mend that does not send to TFLM what TFLM does not take either."""
    if taken or "TFLM" not in verdict.mend:
        return verdict
    return replace(verdict, mend="replace it")


def _lowered(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}".rstrip(". ")


def _edge_tpu(code: str, dtype: str, supported: frozenset[str]) -> Verdict:
    if code not in supported:
        return Verdict(False, "", "not on the list; what follows it runs on the processor, too")
    if dtype not in _INTEGERS:
        return Verdict(False, "", f"it is in {dtype}", "quantize the model to 8 bits throughout")
    return Verdict(True)


def _onnx(path: PathLike) -> OperatorMatrix:
    from edgelab.convert.onnx_torch import unknown_operators
    from edgelab.engines.onnxruntime import OnnxRuntimeEngine
    from edgelab.measure.inspect import inspect_model

    report = inspect_model(path)
    try:
        with OnnxRuntimeEngine(path, fresh=False) as engine:
            runtime, refusal = Runtime("ONNX Runtime", "measured", f"{engine.name}, which loaded the file"), ""
    except EdgelabError as error:
        runtime, refusal = Runtime("ONNX Runtime", "measured", "ONNX Runtime", str(error)), str(error)
    unknown = unknown_operators({layer.type for layer in report.layers}, report.version["opset"].get("ai.onnx", 0))
    groups: dict[tuple[str, str], int] = {}
    for layer in report.layers:
        groups[layer.type, layer.dtype] = groups.get((layer.type, layer.dtype), 0) + 1
    kinds = tuple(
        Kind(
            code,
            dtype,
            count,
            {
                runtime.name: _loaded(code, refusal),
                "to .tflite, Core ML": Verdict(code not in unknown, "", "onnx2torch has no module for it"),
            },
        )
        for (code, dtype), count in groups.items()
    )
    way = Runtime("to .tflite, Core ML", "quoted", "the operators of onnx2torch, by which `edgelab convert` goes")
    advice = "For the runtimes of phones and microcontrollers: --as tflite or --as coreml converts it first."
    return OperatorMatrix(str(path), "onnx", kinds, (runtime, way), remarks=(advice,))


def _loaded(code: str, refusal: str) -> Verdict:
    """What ONNX Runtime does with an operator of a file that it loaded, or refused with this sentence."""
    if not refusal:
        return Verdict(True, "CPU")
    named = re.search(rf"\b{re.escape(code)}\b", refusal) is not None
    return Verdict(False, "", "it is what the runtime refuses the file for") if named else Verdict(None)


def _coreml(path: PathLike) -> OperatorMatrix:
    from edgelab.engines.coreml_program import read_program
    from edgelab.measure import neural_engine

    program = read_program(path)
    report = neural_engine.report(program)
    reasons = {b.operator: (b.found, b.rule.mend) for b in report.broken if b.rule.effect == "falls back"}
    whole = next((b for b in report.broken if b.kind == "input" and b.rule.effect == "falls back"), None)
    groups: dict[tuple[str, str], list[str]] = {}
    for step in program.steps:
        dtype = step.dtypes[0] if step.dtypes else "none"
        groups.setdefault((step.type, dtype), []).append(step.name)
    name = "Neural Engine"
    kinds = []
    for (code, dtype), steps in groups.items():
        found = [reasons[step] for step in steps if step in reasons]
        verdict = Verdict(False, "", *found[0]) if found else Verdict(True)
        kinds.append(Kind(code, dtype, len(steps), {name: verdict}))
    remark = f"The input '{whole.operator}' ({whole.found}): {whole.rule.says}" if whole else ""
    runtime = Runtime(name, "modelled", "published rules for Core ML; no engine was here", remark)
    return OperatorMatrix(str(path), "coreml", tuple(kinds), (runtime,))
