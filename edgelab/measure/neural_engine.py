"""Whether a Core ML program keeps the published rules for the Apple Neural Engine, operator by operator.

The rules are quoted: from Apple's documents where there are any, else from practitioners who watched what Core ML did.
Core ML decides on the device and does not say why, so this report is a model of that decision and no measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgelab.reading import Reading, Table

if TYPE_CHECKING:
    from edgelab.engines.coreml_program import Program, Step

_APPLE = "https://machinelearning.apple.com/research/neural-engine-transformers"
_SHAPES = "https://developer.apple.com/forums/thread/724930"
_TYPES = "https://apple.github.io/coremltools/docs-guides/source/typed-execution.html"
_WATCHED = "https://github.com/hollance/neural-engine/blob/master/docs/unsupported-layers.md"
_ALIGNED_BYTES = 64
_FLOAT16_BYTES = 2
_LARGEST_WINDOW = 13
_MOST_RANK = 4
_MOST_WASTE = 4.0
_COPIES = ("reshape", "transpose", "expand_dims", "squeeze", "concat", "split", "stack", "slice_by_index")
_RECURRENT = ("lstm", "gru", "rnn")

Effect = Literal["falls back", "costs"]


@dataclass(frozen=True)
class Rule:
    """One published rule: what it says, who says so, what breaking it does, and the mend."""

    name: str
    says: str
    source: str
    effect: Effect
    mend: str


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "float16",
            "The engine computes in 16 bits.",
            _TYPES,
            "falls back",
            "convert with float16 precision; fold an image's scale into the first layer",
        ),
        Rule(
            "static shapes",
            "With a range of shapes only the default shape runs on the engine; each of a list of shapes can.",
            _SHAPES,
            "falls back",
            "fix the shape, or list the shapes (EnumeratedShapes)",
        ),
        Rule(
            "batch 1",
            "Practitioners report one item at a time; no document of Apple that we found says so.",
            _WATCHED,
            "falls back",
            "convert with a batch of 1",
        ),
        Rule(
            "operators",
            "Recurrent layers, gather, dilated convolutions and large pooling windows were seen to run elsewhere.",
            _WATCHED,
            "falls back",
            "use convolutions without dilation, and pool in two steps",
        ),
        Rule("rank 4", "The best layout has 4 axes, channels first.", _APPLE, "costs", "keep (1, C, H, W) throughout"),
        Rule(
            "linear",
            "A linear layer is better a 1x1 convolution, which keeps that layout.",
            _APPLE,
            "costs",
            "replace nn.Linear by nn.Conv2d with a 1x1 kernel",
        ),
        Rule(
            "last axis",
            "The last axis is padded to 64 bytes: a last axis of 1 takes 32 times the memory in float16.",
            _APPLE,
            "costs",
            "put the longest axis last",
        ),
        Rule("copies", "Reshapes and transposes may copy memory.", _APPLE, "costs", "choose layers that need none"),
    )
}


@dataclass(frozen=True)
class Broken:
    """A rule, and the operator that breaks it."""

    rule: Rule
    operator: str
    kind: str
    found: str


@dataclass(frozen=True)
class NeuralEngineReport:
    """Which of the rules a program breaks, and where.

    ``operators`` counts all operators.
    """

    operators: int
    broken: tuple[Broken, ...]

    @property
    def stays(self) -> Reading:
        """Share of the operators that the rules leave on the engine, in percent, as a modelled reading."""
        elsewhere = {b.operator for b in self.broken if b.rule.effect == "falls back" and b.kind != "input"}
        share = 100 * (self.operators - len(elsewhere)) / max(self.operators, 1)
        return Reading(share, "%", "modelled", f"published rules over {self.operators} operators; no engine was here")

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        rows = [{"rule": b.rule.name, "operator": b.operator, "type": b.kind, "found": b.found} for b in self.broken]
        return {"operators": self.operators, "stays_percent": self.stays.value, "broken": rows}

    def table(self) -> Table:
        """One row a rule: kept, or the first operator that breaks it, how many do, and the mend."""
        rows: list[tuple[str, ...]] = []
        for rule in RULES.values():
            hits = [b for b in self.broken if b.rule is rule]
            first = f"{hits[0].kind} `{hits[0].operator}`: {hits[0].found}" if hits else "-"
            verdict = f"{rule.effect} at {len(hits)}" if hits else "kept"
            rows.append((rule.name, verdict, first, rule.mend if hits else "-", f"[quoted]({rule.source})"))
        columns = ("rule", "verdict", "first operator that breaks it", "mend", "source")
        return Table("The published rules, operator by operator (modelled: no Neural Engine here)", columns, rows)

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def padded_bytes(shape: Sequence[int]) -> int:
    """Bytes of a float16 tensor whose last axis is filled up to a multiple of 64 bytes.

    Examples
    --------
    >>> padded_bytes((1, 128, 1, 1)), padded_bytes((1, 1, 1, 128))
    (8192, 256)
    """
    row = math.ceil(shape[-1] * _FLOAT16_BYTES / _ALIGNED_BYTES) * _ALIGNED_BYTES
    return math.prod(shape[:-1]) * row


def report(program: Program) -> NeuralEngineReport:
    """Hold every operator of a program against the published rules."""
    broken = [
        Broken(RULES[name], step.name, step.type, found) for step in program.steps for name, found in _breaks(step)
    ]
    for port in program.inputs:
        if any(n is None for n in port.shape):
            shape = "x".join("?" if n is None else str(n) for n in port.shape)
            broken.insert(0, Broken(RULES["static shapes"], port.name, "input", shape))
        elif port.shape and port.shape[0] != 1:
            broken.insert(0, Broken(RULES["batch 1"], port.name, "input", f"a batch of {port.shape[0]}"))
    return NeuralEngineReport(len(program.steps), tuple(broken))


def _breaks(step: Step) -> list[tuple[str, str]]:
    """The names of the rules that an operator breaks, each with what was found."""
    shape = step.shapes[0] if step.shapes else ()
    text = "x".join("?" if n < 0 else str(n) for n in shape) or "one number"
    found: list[tuple[str, str]] = []
    if step.dtypes and step.dtypes[0] == "fp32" and step.type not in ("cast", "identity"):
        found.append(("float16", "computes in float32"))
    if any(n < 0 for n in shape):
        found.append(("static shapes", text))
    elif len(shape) == _MOST_RANK and shape[0] != 1:
        found.append(("batch 1", f"a batch of {shape[0]}"))
    reason = _elsewhere(step)
    if reason:
        found.append(("operators", reason))
    if step.type == "linear":
        found.append(("linear", text))
    elif step.type in _COPIES:
        found.append(("copies", text))
    elif shape and len(shape) != _MOST_RANK:
        found.append(("rank 4", f"{len(shape)} axes, {text}"))
    if shape and min(shape) > 0:
        times = padded_bytes(shape) / (math.prod(shape) * _FLOAT16_BYTES)
        if times > _MOST_WASTE:
            found.append(("last axis", f"{text} takes {times:.0f} times its bytes"))
    return found


def _elsewhere(step: Step) -> str:
    if step.type in _RECURRENT or step.type.startswith("gather"):
        return f"the operator {step.type}"
    if step.type == "conv" and max(_numbers(step, "dilations"), default=1) > 1:
        return "a dilated convolution"
    if step.type.endswith("_pool") and max(_numbers(step, "kernel_sizes"), default=1) > _LARGEST_WINDOW:
        return f"a window of {max(_numbers(step, 'kernel_sizes'))}"
    return ""


def _numbers(step: Step, name: str) -> list[int]:
    value = step.arguments.get(name)
    return [] if value is None or isinstance(value, str) else [int(n) for n in value.reshape(-1).tolist()]
