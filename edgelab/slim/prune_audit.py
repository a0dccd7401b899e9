"""What a pruning tool did, read from the network before and the one after, whatever the tool was asked or says.

Works for any tool that keeps the names of the layers: edgelab's own, ``torch.nn.utils.prune``, torch-pruning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from edgelab.errors import BadInput
from edgelab.nets.inspection import count_macs, layer_kind, weighted_layers
from edgelab.reading import Table


@dataclass(frozen=True)
class LayerChange:
    """One layer: its channels and weights before and after, zeros after, and why it was not pruned, if it was not."""

    layer: str
    kind: str
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    weights: tuple[int, int]
    zeros: int
    macs: tuple[int, int]
    why: str = ""

    @property
    def narrowed(self) -> bool:
        """Whether it makes fewer channels than before."""
        return self.outputs[1] < self.outputs[0]

    @property
    def pruned(self) -> bool:
        """Whether it lost filters or weights of its own; columns that went with other filters do not count."""
        return self.narrowed or self.zeros > 0


@dataclass(frozen=True)
class Audit:
    """What changed in each layer, and what did not."""

    layers: tuple[LayerChange, ...]
    hidden_masks: bool = field(default=False)
    """Whether weights are still kept twice, as ``torch.nn.utils.prune`` keeps them until `remove` is called."""

    @property
    def macs(self) -> tuple[int, int]:
        """MACs of one item before and after; a zero still costs its multiplication."""
        return sum(n.macs[0] for n in self.layers), sum(n.macs[1] for n in self.layers)

    @property
    def weights(self) -> tuple[int, int]:
        """Weights of the layers before and after, zeros included."""
        return sum(n.weights[0] for n in self.layers), sum(n.weights[1] for n in self.layers)

    @property
    def zeros(self) -> int:
        """Weights that are zero after."""
        return sum(n.zeros for n in self.layers)

    @property
    def not_pruned(self) -> dict[str, str]:
        """The layers that lost nothing of their own, and why; empty text where the tool did not say."""
        return {n.layer: n.why for n in self.layers if not n.pruned}

    def sentence(self) -> str:
        """What was not pruned, said aloud."""
        left = self.not_pruned
        if not left:
            return "Every layer lost weights."
        said = [f"`{name}` ({why})" if why else f"`{name}`" for name, why in left.items()]
        before, after = self.macs
        more = f" The MACs rose from {before:,} to {after:,}." if after > before else ""
        return f"Not pruned: {', '.join(said)}.{more}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "macs": list(self.macs),
            "weights": list(self.weights),
            "zeros": self.zeros,
            "not_pruned": self.not_pruned,
            "layers": [vars(layer) for layer in self.layers],
        }

    def table(self) -> Table:
        """A row for each layer."""
        rows = [
            (
                n.layer, n.kind, f"{n.inputs[0]} → {n.inputs[1]}", f"{n.outputs[0]} → {n.outputs[1]}", n.weights[1],
                f"{100 * n.zeros / max(1, n.weights[1]):.0f} %", n.macs[1], "" if n.pruned else n.why or "not pruned",
            )
            for n in self.layers
        ]  # fmt: skip
        before, after = self.macs
        title = f"{before:,} → {after:,} MACs ({100 * after / before:.0f} %)"
        columns = ("layer", "kind", "in", "out", "weights", "zeros", "MACs", "left whole because")
        twice = " Each weight is kept twice until the masks are made permanent." if self.hidden_masks else ""
        return Table(title, columns, rows, f"Counted from the two networks.{twice}")

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def audit(
    before: nn.Module, after: nn.Module, input_shape: Sequence[int], why: Mapping[str, str] | None = None
) -> Audit:
    """Compare two networks layer by layer.

    Parameters
    ----------
    before, after
        The networks; layers are matched by name.
    input_shape
        Of one item, without the batch.
    why
        For layers that were left whole on purpose: the reason.

    Raises
    ------
    BadInput
        If a layer is missing in ``after``, or the networks do not take the shape.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    >>> audit(net, net, (4,), {"1": "it makes the outputs"}).sentence()
    'Not pruned: `1` (it makes the outputs).'
    """
    old, new = weighted_layers(before), weighted_layers(after)
    if missing := [name for name in old if name not in new]:
        raise BadInput(f"Layer '{missing[0]}' is not in the pruned network; an audit needs the same names.")
    costs = [{layer.name: layer.macs for layer in count_macs(net, input_shape).layers} for net in (before, after)]
    reasons = why or {}
    rows = []
    for name, layer in old.items():
        other = new[name]
        told = "" if len(other.weight) < len(layer.weight) else reasons.get(name, "")  # a narrowed one needs no reason
        rows.append(
            LayerChange(
                name, layer_kind(layer), (_inputs(layer), _inputs(other)), (len(layer.weight), len(other.weight)),
                (layer.weight.numel(), other.weight.numel()), int((other.weight == 0).sum()),
                (costs[0].get(name, 0), costs[1].get(name, 0)), told,
            )
        )  # fmt: skip
    twice = any(name.endswith("weight_orig") for name, _ in after.named_parameters())
    return Audit(tuple(rows), twice)


def _inputs(layer: Any) -> int:
    weight: torch.Tensor = layer.weight
    return int(weight.shape[1]) * int(getattr(layer, "groups", 1))
