"""A ReLU6 taken as a ReLU: without its limit, channels can be scaled freely.

The function changes for values above the limit. Whether that is allowed is measured: `touched` says how often the
limit was met on the data, and whoever searches keeps the answer only if the network's outputs stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgelab.posttraining.graph import Feeds, run, values, without_unused


@dataclass(frozen=True)
class Unlimited:
    """A model in which every Clip from 0 to a number became a ReLU, and the names of those nodes."""

    model: Any
    nodes: tuple[str, ...]


def limited(model: Any) -> dict[str, tuple[str, float]]:
    """Every Clip from 0 to a finite number: its node, and the tensor that it limits with the limit."""
    known = values(model)
    found = {}
    for node in model.graph.node:
        if node.op_type != "Clip" or any(name and name not in known for name in node.input[1:]):
            continue
        ends = [float(known[name].reshape(-1)[0]) if name else None for name in node.input[1:]]
        low, high = [*ends, None, None][:2]
        if low == 0 and high is not None and np.isfinite(high) and high > 0:
            found[node.name] = (node.input[0], high)
    return found


def as_relu(model: Any) -> Unlimited:
    """Replace every Clip from 0 to a finite number by a ReLU; the model given stays as it is."""
    import onnx

    names = limited(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.name in names:
            node.op_type = "Relu"
            del node.input[1:], node.attribute[:]
    return Unlimited(without_unused(copy), tuple(names))


def touched(model: Any, feeds: Feeds) -> dict[str, float]:
    """The share of the values above the limit, from 0 to 1, for each node that `limited` names."""
    nodes = limited(model)
    tensors = [x for x, _ in nodes.values()]
    above, seen = np.zeros(len(tensors)), np.zeros(len(tensors))
    for batch in run(model, feeds, tensors) if tensors else ():
        above += [float((array > high).sum()) for array, (_, high) in zip(batch, nodes.values(), strict=True)]
        seen += [array.size for array in batch]
    return {name: float(a / n) for name, a, n in zip(nodes, above, seen, strict=True)}
