"""The search for 4-bit weights: which steps and which rounding, each tried and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelab.errors import BadInput
from edgelab.posttraining.graph import Feeds, constants, layers
from edgelab.posttraining.judge import Judge, Score
from edgelab.posttraining.rounding import RoundedModel, round_layers
from edgelab.posttraining.search import PART, Found, Progress, Step, Variant, variants
from edgelab.posttraining.storage import store

SCREENED = 128
"""Items of the calibration set on which the variants are compared; the best is rounded anew on all."""
FINALISTS = 2
"""So many of the variants are carried to the end; what a coarse comparison puts first need not end first."""
NEAR = 1.15
"""A finalist whose loss is above so many times the best one's once both are rounded is given up."""
WIDER = 8
MOST_WIDER = {0.1: 0.003, 0.2: 0.02}
"""The share of the weights that may be stored in 8 bits where more than a share of the answers changed before."""
HELPS = 0.85


def search_weights(
    model: Any,
    feeds: Feeds,
    judge: Judge,
    *,
    bits: int = 4,
    per_channel: bool = True,
    exclude: Sequence[str] = (),
    progress: Progress = lambda _, items: items,
) -> Found:
    """Store the weights alone in ``bits`` bits by the steps that diverge least.

    Parameters
    ----------
    model, feeds, judge, per_channel, exclude, progress
        As in `edgelab.posttraining.search.search_static`.
    bits
        2 to 8.

    Raises
    ------
    BadInput
        If there is no layer to quantize.
    """
    # the channels of a transposed convolution with groups have no axis of their own, along which scales could stand
    able = [layer for layer in layers(model) if layer.groups == 1 or not layer.transposed]
    chosen = [layer for layer in able if layer.name not in exclude]
    if not chosen:
        raise BadInput("There is no convolution or linear layer with weights of its own that could be quantized.")
    wide = {layer.name: bits for layer in chosen}
    screen = {name: array[:SCREENED] for name, array in feeds.items()}
    # equalised by what channels hold is worth a try here as well: the rounding weighs inputs by it
    tried: list[tuple[Score, Variant]] = []
    for variant in progress("trying steps", variants(model, feeds, per_channel=True)):
        rounded = round_layers(variant.model, screen, wide, per_channel=per_channel)
        tried.append((judge(rounded.model), variant))
    finalists = [variant for _, variant in sorted(tried, key=lambda entry: entry[0].loss)[:FINALISTS]]
    ends = [(_round(one.model, feeds, judge, wide, per_channel, progress), one) for one in finalists]
    most = NEAR * min(end.score.loss for end, _ in ends)
    ends = [
        (_widen(one.model, feeds, judge, end, wide, per_channel, progress), one)
        for end, one in ends
        if end.score.loss <= most
    ]
    end, variant = min(ends, key=lambda pair: pair[0].score.loss)
    steps = [Step(v.name, v is variant, v.said, score) for score, v in tried]
    content = store(end.rounded.model, end.rounded.weights)
    return Found(content, variant.model, (*steps, *end.steps), tuple(exclude), judge(content))


@dataclass(frozen=True, eq=False)
class _End:
    """What became of one variant: its rounded weights, their score, and the steps to it."""

    rounded: RoundedModel
    score: Score
    steps: tuple[Step, ...]


def _round(
    model: Any, feeds: Feeds, judge: Judge, wide: Mapping[str, int], per_channel: bool, progress: Progress
) -> _End:
    """Round one variant on all items, to the nearest or adaptively."""
    nearest = round_layers(model, feeds, wide, per_channel=per_channel, adaptive=False)
    plain = judge(nearest.model)
    rounded = round_layers(
        model, feeds, wide, per_channel=per_channel, progress=lambda items: progress("rounding", items)
    )
    best = judge(rounded.model)
    adaptive = best.loss < plain.loss
    steps = [Step("rounding to the nearest", not adaptive, "Each weight took the nearest integer.", plain)]
    said = (
        "AdaRound's objective, one weight at a time: weights were rounded so that each layer's output stays on the "
        "calibration set, scales were fitted to it, and biases keep the means."
    )
    steps.append(Step("adaptive rounding", adaptive, said, best))
    if not adaptive:
        rounded, best = nearest, plain
    return _End(rounded, best, tuple(steps))


def _widen(
    model: Any,
    feeds: Feeds,
    judge: Judge,
    end: _End,
    wide: Mapping[str, int],
    per_channel: bool,
    progress: Progress,
) -> _End:
    """Store in 8 bits the layers that cost most for their size, where much was lost."""
    sizes = {name: int(np.prod(constant.dims)) for name, constant in constants(model).items()}
    weights = {layer.name: sizes[layer.weight] for layer in layers(model) if layer.name in wide}
    part = judge.part(PART)
    few = {name: array[:SCREENED] for name, array in feeds.items()}
    costs: dict[str, float] = {}
    before: set[str] = set()
    for share, tolerated in MOST_WIDER.items():
        best = end.score
        if best.agreement is None or 1 - best.agreement <= tolerated or len(wide) < 2:
            break
        room = share * sum(weights.values())
        new = [name for name, size in weights.items() if size <= room and name not in costs]
        for name in progress("sensitive layers", new):
            # alone, all others in float: among rounded ones it has been fitted to their errors, and they to its own
            alone = round_layers(model, few, {name: wide[name]}, per_channel=per_channel)
            costs[name] = part(alone.model).loss / weights[name]
        named: list[str] = []
        for name in sorted(costs, key=lambda n: -costs[n]):
            if costs[name] > 0 and sum(weights[n] for n in named) + weights[name] <= room:
                named.append(name)
        if not named or set(named) == before:
            continue
        widths = {**wide, **dict.fromkeys(named, WIDER)}
        wider = round_layers(
            model, feeds, widths, per_channel=per_channel, progress=lambda items: progress("rounding again", items)
        )
        found = judge(wider.model)
        taken = judge.improves(found, best, HELPS)
        stored = 100 * sum(weights[n] for n in named) / sum(weights.values())
        which = ", ".join(named)
        said = (
            f"The layers that cost most for their size were stored in 8 bits, {stored:.0f} % of the weights: {which}."
        )
        name = "8 bits for more layers" if before else "8 bits where it costs most"
        before = set(named)
        steps = (*end.steps, Step(name, taken, said, found))
        end = _End(wider, found, steps) if taken else _End(end.rounded, best, steps)
    return end
