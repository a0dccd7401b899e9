"""The search: which steps bring a quantized network nearest to the float one, each tried and measured.

Every candidate is quantized and run, and judged by its divergence on items that no step has seen as a result. A step
that does not help is left out, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelab.compress.ptq import TensorRanges
from edgelab.posttraining.bias import correct_biases
from edgelab.posttraining.clips import as_relu, touched
from edgelab.posttraining.dead import still
from edgelab.posttraining.equalisation import equalise
from edgelab.posttraining.graph import Feeds, layers
from edgelab.posttraining.judge import Judge, Score
from edgelab.posttraining.ranges import WORTH, choose_ranges
from edgelab.posttraining.rounding import round_layers
from edgelab.posttraining.static import Static, most_sensitive, ranges_of
from edgelab.posttraining.statistics import channel_statistics

METHODS = ("minmax", "mse", "percentile")
PART = 256
"""Items to choose by where a choice is made for every tensor or layer."""
TOLERATED = 0.01
"""Layers are kept in float only where more than this share of the answers changed."""
HELPS = 0.6
"""A layer is kept in float only if the divergence falls below this share of what it was."""
MOST_IN_FLOAT = 3
ROUNDED = frozenset({"Conv", "Gemm", "MatMul"})
DEEPEST = 80
"""Networks with more tensors than this are not searched tensor by tensor."""

Progress = Callable[[str, Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Step:
    """One step that was tried: its name, whether it was taken, what it did in a sentence, the divergence with it."""

    name: str
    taken: bool
    said: str
    score: Score | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data: step, taken, said, loss, agreement, noise."""
        score = None if self.score is None else vars(self.score)
        return {"step": self.name, "taken": self.taken, "said": self.said, "divergence": score}


@dataclass(frozen=True, eq=False)
class Found:
    """What a search chose: the quantized model, the float model it was made from, the steps, and the nodes in float."""

    content: bytes
    model: Any
    steps: tuple[Step, ...]
    kept_float: tuple[str, ...]
    score: Score


@dataclass(frozen=True, eq=False)
class Variant:
    """A float model that computes what the given one does, and how it was made."""

    name: str
    said: str
    model: Any


def variants(model: Any, feeds: Feeds, *, per_channel: bool) -> list[Variant]:
    """The model as it is, and what stilled channels, equalisation and a ReLU for a ReLU6 make of it."""
    seen = channel_statistics(model, feeds)
    found = [Variant("as it is", "The weights as they are.", model)]
    base, before = model, ""
    stilled = still(model, seen)
    if stilled.channels:
        number = sum(map(len, stilled.channels.values()))
        plural = "channel never moves" if number == 1 else "channels never move"
        before = f"{number} {plural} on the calibration set and became constant (in {', '.join(stilled.channels)}). "
        base = stilled.model
        found.append(Variant("still channels", before.strip(), base))
        seen = channel_statistics(base, feeds)

    def equalised(name: str, of: Any, said: str, by: Any = "weights") -> None:
        made = equalise(of, seen.largest, by=by)
        if made.scales:
            wide, narrow = made.spread
            spread = f"The widest channel of a layer is at most {narrow:.3g} times the narrowest, not {wide:.3g}."
            found.append(Variant(name, f"{before}{said} {spread}", made.model))

    unlimited = as_relu(base)
    kept = " Every ReLU6 stays: channels are scaled up to its limit." if unlimited.nodes else ""
    equalised(
        "cross-layer equalisation", base, f"Channels of neighbouring layers were equalised by their weights.{kept}"
    )
    if per_channel:
        text = f"Channels of neighbouring layers were equalised by what they hold.{kept}"
        equalised("equalisation by activations", base, text, "activations")
    if unlimited.nodes:
        met = max(touched(base, feeds).values())
        seen = channel_statistics(unlimited.model, feeds)
        said = (
            f"{len(unlimited.nodes)} ReLU6 became ReLU, which changes the function where the limit was met (at most "
            f"{100 * met:.2g} % of the values of a layer), and channels were equalised by their weights."
        )
        equalised("ReLU for ReLU6, equalisation", unlimited.model, said)
    return found


def search_static(
    model: Any,
    feeds: Feeds,
    judge: Judge,
    *,
    per_channel: bool = True,
    methods: Sequence[str] = METHODS,
    exclude: Sequence[str] = (),
    progress: Progress = lambda _, items: items,
) -> Found:
    """Quantize weights and activations to 8 bits by the steps that diverge least.

    Parameters
    ----------
    model
        A float ONNX model as `edgelab.compress.modelfile.prepared` gives it.
    feeds
        The calibration set.
    judge
        By which items candidates are chosen.
    per_channel
        One weight scale for each output channel instead of one for the tensor.
    methods
        How ranges of activations may be chosen.
    exclude
        Nodes that stay in float in any case.
    progress
        Wraps what takes long, with its name.
    """
    static = Static(per_channel, tuple(exclude))
    tried: list[tuple[Score, Variant, str, TensorRanges]] = []
    chosen = variants(model, feeds, per_channel=per_channel)
    first = [method for method in methods if method in METHODS[:2]] or list(methods)
    for variant, method in progress("trying steps", [(v, m) for v in chosen for m in first]):
        ranges = ranges_of(variant.model, feeds, method)
        tried.append((judge(static(variant.model, ranges)), variant, method, ranges))
    best, variant, method, ranges = min(tried, key=lambda entry: entry[0].loss)
    steps = [
        Step(v.name, v is variant, v.said, min((s for s, other, *_ in tried if other is v), key=lambda s: s.loss))
        for v in chosen
    ]
    everything = {m: r for _, v, m, r in tried if v is variant}
    for other in progress("ranges", [name for name in methods if name not in everything]):
        everything[other] = ranges_of(variant.model, feeds, other)
        found = judge(static(variant.model, everything[other]))
        tried.append((found, variant, other, everything[other]))
        if found.loss < best.loss:
            best, method, ranges = found, other, everything[other]
    steps.append(Step(f"ranges by {method}", True, f"The ranges of the activations are those of {method}.", best))
    if len(everything) > 1 and len(ranges.ranges) <= DEEPEST:
        ranges, best = _by_layer(static, variant.model, everything, method, judge, best, steps, progress)
    current, best = _adaptive(static, variant.model, feeds, ranges, judge, best, steps, progress)
    corrected = correct_biases(
        current, lambda m: static(m, ranges), feeds, progress=lambda items: progress("bias correction", items)
    )
    found = judge(static(corrected, ranges))
    taken = judge.improves(found, best, WORTH)
    said = "The mean of each channel was brought back to that of the float network by its bias."
    steps.append(Step("bias correction", taken, said, found))
    if taken:
        current, best = corrected, found
    return _keep_sensitive(static, current, ranges, judge, best, steps, progress)


def _by_layer(
    static: Static,
    model: Any,
    everything: Mapping[str, TensorRanges],
    method: str,
    judge: Judge,
    best: Score,
    steps: list[Step],
    progress: Progress,
) -> tuple[TensorRanges, Score]:
    """Search the ranges tensor by tensor on some items, and keep the result if it holds on all."""
    ranges, _, changed = choose_ranges(
        lambda r: static(model, r), everything, method, judge.part(PART), progress=lambda i: progress("each range", i)
    )
    found = judge(static(model, ranges)) if changed else best
    taken = bool(changed) and judge.improves(found, best, WORTH)
    named = ", ".join(f"{tensor} by {how}" for tensor, how in list(changed.items())[:8])
    said = f"{len(changed)} of {len(ranges.ranges)} tensors got another range" + (f": {named}." if named else ".")
    steps.append(Step("ranges layer by layer", taken, said, found))
    return (ranges, found) if taken else (everything[method], best)


def _adaptive(
    static: Static,
    model: Any,
    feeds: Feeds,
    ranges: TensorRanges,
    judge: Judge,
    best: Score,
    steps: list[Step],
    progress: Progress,
) -> tuple[Any, Score]:
    """Round the weights so that each layer's output stays, where that helps."""
    widths = {layer.name: 8 for layer in layers(model) if layer.name not in static.exclude and layer.op_type in ROUNDED}
    rounded = round_layers(
        model, feeds, widths, per_channel=static.per_channel, pinned=True, progress=lambda i: progress("rounding", i)
    )
    found = judge(static(rounded.model, ranges))
    taken = judge.improves(found, best, WORTH)
    said = "AdaRound's objective: weights were rounded so that each layer's output stays on the calibration set."
    steps.append(Step("adaptive rounding", taken, said, found))
    return (rounded.model, found) if taken else (model, best)


def _keep_sensitive(
    static: Static,
    model: Any,
    ranges: TensorRanges,
    judge: Judge,
    best: Score,
    steps: list[Step],
    progress: Progress,
) -> Found:
    """Keep the layers in float that cost most, where much was lost and one layer is the cause."""
    part = judge.part(PART)
    names = [layer.name for layer in layers(model) if layer.name not in static.exclude]
    while (
        best.agreement is not None
        and 1 - best.agreement > TOLERATED
        and len(names) > 1
        and len([s for s in steps if s.name == "kept in float" and s.taken]) < MOST_IN_FLOAT
    ):
        kept = static
        node, _ = most_sensitive(
            lambda name: kept.but(name)(model, ranges),  # noqa: B023 - called before the loop goes on
            names,
            part,
            progress=lambda items: progress("sensitive layers", items),
        )
        found = judge(static.but(node)(model, ranges))
        helps = judge.improves(found, best, HELPS)
        steps.append(Step("kept in float", helps, f"{node} costs most of all layers, and stays in float.", found))
        if not helps:
            break
        static, best = static.but(node), found
        names.remove(node)
    return Found(static(model, ranges), model, tuple(steps), static.exclude, best)
