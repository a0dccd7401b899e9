"""A traced copy of a network in which everything that an integer runtime rounds is rounded while it trains.

A runtime merges a layer, its batch norm and its activation, and stores one tensor behind the three: that tensor is
rounded, and nothing in between. The same holds for sums of two branches. Pooling by maximum, flattening and dropout
make no new values and are left alone.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn.utils import parametrize

from edgelab.errors import BadInput
from edgelab.qat.layers import QuantizedLayer, RoundedActivation
from edgelab.qat.rules import OURS, Range, Rules, largest_integer
from edgelab.quiet import first_line

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
MERGED = (nn.ReLU, nn.ReLU6)
STORED = (nn.Hardswish, nn.LeakyReLU, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
PASSING = (nn.MaxPool1d, nn.MaxPool2d, nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
MERGED_CALLS = {"relu", "relu_", "relu6"}
STORED_CALLS = {"add", "iadd", "sub", "mul", "mean", "hardswish", "adaptive_avg_pool1d", "adaptive_avg_pool2d"}
PASSING_CALLS = {"flatten", "view", "reshape", "size", "dropout", "getattr", "getitem", "contiguous"}


def prepare(
    net: nn.Module,
    bits: int | Mapping[str, int] = 8,
    *,
    per_channel: bool = True,
    edge_bits: int | None = 8,
    exclude: tuple[str, ...] = (),
    batch_norm: bool = False,
    momentum: float = 0.1,
    rules: Rules = OURS,
) -> fx.GraphModule:
    """A copy of ``net`` that computes with rounded weights and activations, ready for `calibrate` and for training.

    Parameters
    ----------
    net
        The float network of one input; it stays as it is.
    bits
        2 to 8 for the weights of all layers, or a width for each named layer (others get 8). Activations have 8.
    per_channel
        A scale for each output channel of a convolution. A linear layer has one, as TensorFlow Lite wants it.
    edge_bits
        The least width of the first and the last layer, which a low width hurts most; None: as all others.
    exclude
        Names of layers that stay in float.
    batch_norm
        Keep batch norm in training, behind each layer. Otherwise it is folded once, before training, which is faster.
    momentum
        Of the moving ranges of the activations.
    rules
        The functions that round, fold and observe.

    Raises
    ------
    BadInput
        If the network cannot be traced, a layer has no integer form, a weight is not finite, or a width is out of
        range; the sentence names the layer.
    """
    traced = _trace(net)
    _refuse_unknown(traced)
    found = list(_weighted(traced))
    names = [node.target for node, _ in found]
    if not found:
        raise BadInput(f"{type(net).__name__} has no convolution and no linear layer.")
    _refuse_shared(traced, names)
    widths = _widths(names, bits, edge_bits, exclude)
    for node, norm in found:
        _replace(traced, node, norm, widths[node.target], per_channel=per_channel, keep_norm=batch_norm, rules=rules)
    for node in [node for node in traced.graph.nodes if _is_stored(node, traced)]:
        _round(traced, node, RoundedActivation(_told(node), rules, momentum))
    traced.recompile()
    traced.delete_all_unused_submodules()
    return traced.eval()


def calibrate(prepared: nn.Module, x: NDArray[np.float32], batch: int = 64) -> None:
    """Set the ranges of the activations to the smallest and largest value over ``x`` (N, ...).

    A prepared network with these ranges and unchanged weights **is** the post-training quantized one.

    Raises
    ------
    BadInput
        If the network does not take ``x``, or ``x`` holds NaN.
    """
    x = np.asarray(x, dtype=np.float32)
    if not len(x) or not np.isfinite(x).all():
        raise BadInput("The calibration data are empty, or hold NaN or infinity.")
    for activation in activations(prepared).values():
        activation.known = None
    whole: dict[str, Range] = {}
    prepared.eval()
    for start in range(0, len(x), batch):
        for activation in activations(prepared).values():
            activation.known = None
        with torch.no_grad():
            try:
                prepared(torch.from_numpy(np.ascontiguousarray(x[start : start + batch])))
            except RuntimeError as error:
                raise BadInput(
                    f"The network does not take inputs of shape {x.shape[1:]}: {first_line(error)}."
                ) from None
        for name, activation in activations(prepared).items():
            low, high = activation.known or (0.0, 0.0)
            before = whole.get(name, (low, high))
            whole[name] = min(low, before[0]), max(high, before[1])
    for name, activation in activations(prepared).items():
        activation.known = whole[name]


def layers(prepared: nn.Module) -> dict[str, QuantizedLayer]:
    """The layers with weights of a prepared network, by name, in the order in which they stand."""
    return {m.name: m for m in prepared.modules() if isinstance(m, QuantizedLayer)}


def activations(prepared: nn.Module) -> dict[str, RoundedActivation]:
    """The rounded tensors of a prepared network, by the name of what makes them; the first is the input."""
    return {m.name: m for m in prepared.modules() if isinstance(m, RoundedActivation)}


def set_phase(prepared: nn.Module, observing: bool, updating: bool) -> None:
    """Let ranges, and the statistics of batch norm, follow the data while training, or hold them."""
    for activation in activations(prepared).values():
        activation.observing = observing
    for layer in layers(prepared).values():
        layer.updating = updating


def finished(prepared: fx.GraphModule, *, rounded: bool) -> tuple[fx.GraphModule, dict[str, Range]]:
    """A plain float network with the trained weights and batch norm folded, and the range of each of its tensors.

    Parameters
    ----------
    prepared
        After `calibrate` or training; it stays as it is.
    rounded
        Weights as their integers represent them; otherwise the float weights from which they are rounded.

    Returns
    -------
    The network, made of PyTorch's own layers alone, and ``{node of its graph: (low, high)}`` for every stored tensor.
    """
    plain = copy.deepcopy(prepared).eval()
    ranges: dict[str, Range] = {}
    for node in list(plain.graph.nodes):
        module = plain.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(module, RoundedActivation):
            source = node.all_input_nodes[0]
            ranges[source.name] = module.ends()
            node.replace_all_uses_with(source)
            plain.graph.erase_node(node)
        elif isinstance(module, QuantizedLayer):
            with torch.no_grad():
                weight, bias = module.folded()
                weight = module.rounded(weight) if rounded else weight
            layer = module.layer
            layer.weight = nn.Parameter(weight.detach().clone())
            layer.bias = nn.Parameter(bias.detach().clone())
            plain.set_submodule(node.target, layer)
    plain.recompile()
    plain.delete_all_unused_submodules()
    return plain, ranges


def _trace(net: nn.Module) -> fx.GraphModule:
    module = copy.deepcopy(net)
    if isinstance(module, LAYERS):
        module = nn.Sequential(module)  # a single layer, which tracing would take apart
    try:
        traced = fx.symbolic_trace(module.eval())
    except Exception as error:
        raise BadInput(
            f"{type(net).__name__} cannot be traced ({first_line(error)}); its forward pass may not decide by values."
        ) from error
    if sum(node.op == "placeholder" for node in traced.graph.nodes) != 1:
        raise BadInput(f"{type(net).__name__} takes several inputs; networks of one input can be trained here.")
    return traced


def _refuse_unknown(traced: fx.GraphModule) -> None:
    for node in traced.graph.nodes:
        if node.op == "call_module":
            module = traced.get_submodule(node.target)
            if isinstance(module, NORMS):
                _check_norm(node, module, traced)
            elif not isinstance(module, LAYERS + MERGED + STORED + PASSING):
                raise BadInput(f"The layer '{node.target}' ({type(module).__name__}) has no integer form here.")
            for name, values in module.named_parameters():
                if not torch.isfinite(values).all():
                    raise BadInput(f"Layer '{node.target}' holds NaN or infinity in its {name}.")
        elif _call(node) not in MERGED_CALLS | STORED_CALLS | PASSING_CALLS | {""}:
            raise BadInput(f"The operation '{node.name}' ({_call(node)}) has no integer form here.")


def _check_norm(node: fx.Node, norm: Any, traced: fx.GraphModule) -> None:
    before = node.all_input_nodes[0]
    if not _is_layer(before, traced) or len(before.users) > 1:
        raise BadInput(f"The batch norm '{node.target}' does not stand right behind a layer of its own.")
    if norm.weight is None or norm.running_var is None:
        raise BadInput(f"The batch norm '{node.target}' has no scale of its own or keeps no statistics.")
    if sum(other.target == before.target for other in traced.graph.nodes if other.op == "call_module") > 1:
        raise BadInput(f"The layer '{before.target}' is used twice and has a batch norm; give each use its own.")


def _weighted(traced: fx.GraphModule) -> Iterator[tuple[fx.Node, fx.Node | None]]:
    """Each layer with weights once, and the node of the batch norm behind it."""
    seen = set()
    for node in traced.graph.nodes:
        if not _is_layer(node, traced) or node.target in seen:
            continue
        seen.add(node.target)
        after = next(iter(node.users), None)
        is_norm = after is not None and after.op == "call_module" and isinstance(_module(after, traced), NORMS)
        yield node, after if is_norm else None


def _refuse_shared(traced: fx.GraphModule, names: list[Any]) -> None:
    owners: dict[int, str] = {}
    for name in names:
        layer: Any = traced.get_submodule(name)
        if parametrize.is_parametrized(layer):
            raise BadInput(
                f"The weight of layer '{name}' is computed by a parametrization, such as weight norm; "
                f"call torch.nn.utils.parametrize.remove_parametrizations on it first."
            )
        first = owners.setdefault(id(layer.weight), name)
        if first != name:
            raise BadInput(f"The layers '{first}' and '{name}' share one weight; give each its own.")


def _widths(
    names: list[Any], bits: int | Mapping[str, int], edge_bits: int | None, exclude: tuple[str, ...]
) -> dict[Any, int | None]:
    named = dict(bits) if isinstance(bits, Mapping) else {}
    for name in (*named, *exclude):
        if name not in names:
            raise BadInput(f"There is no layer '{name}'; the layers are {', '.join(names)}.")
    widths: dict[Any, int | None] = {}
    for name in names:
        wanted = named.get(name, 8 if isinstance(bits, Mapping) else bits)
        try:
            largest_integer(wanted)
        except BadInput as error:
            raise BadInput(f"Layer '{name}': {error}") from None
        if name in (names[0], names[-1]) and edge_bits is not None and name not in named:
            wanted = max(wanted, edge_bits)
        widths[name] = None if name in exclude else int(wanted)
    return widths


def _replace(
    traced: fx.GraphModule,
    node: fx.Node,
    norm: fx.Node | None,
    bits: int | None,
    *,
    per_channel: bool,
    keep_norm: bool,
    rules: Rules,
) -> None:
    layer = _module(node, traced)
    behind = None if norm is None else _module(norm, traced)
    made = QuantizedLayer(str(node.target), layer, behind, bits, rules, per_channel=per_channel)
    if behind is not None and not keep_norm:
        with torch.no_grad():
            weight, bias = made.folded()
        layer.weight, layer.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
        made = QuantizedLayer(str(node.target), layer, None, bits, rules, per_channel=per_channel)
    if norm is not None:
        norm.replace_all_uses_with(node)
        traced.graph.erase_node(norm)
    traced.set_submodule(str(node.target), made)


def _is_stored(node: fx.Node, traced: fx.GraphModule) -> bool:
    """Whether an integer runtime keeps what this node makes, so that it is rounded."""
    if node.op == "placeholder":
        return True
    merged: Callable[[fx.Node], bool] = lambda n: (  # noqa: E731
        isinstance(_module(n, traced), MERGED) if n.op == "call_module" else _call(n) in MERGED_CALLS
    )
    if node.op == "call_module":
        module = _module(node, traced)
        if isinstance(module, MERGED + STORED):
            return True
        if not isinstance(module, QuantizedLayer):
            return False
    elif node.op not in ("call_function", "call_method") or _call(node) not in MERGED_CALLS | STORED_CALLS:
        return False
    if node.op != "call_module" and (merged(node) or _is_size(node)):
        return merged(node)
    users = list(node.users)
    return not (len(users) == 1 and users[0].op != "output" and merged(users[0]))


def _is_size(node: fx.Node) -> bool:
    """Whether a sum or product is one of sizes, which are no tensors."""
    return not any(isinstance(n, fx.Node) and _call(n) not in ("size", "getattr", "getitem") for n in node.args)


def _round(traced: fx.GraphModule, node: fx.Node, activation: RoundedActivation) -> None:
    name = f"rounded_{node.name}"
    traced.add_submodule(name, activation)
    with traced.graph.inserting_after(node):
        made = traced.graph.call_module(name, (node,))
    node.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)


def _is_layer(node: fx.Node, traced: fx.GraphModule) -> bool:
    return node.op == "call_module" and isinstance(_module(node, traced), LAYERS)


def _module(node: fx.Node, traced: fx.GraphModule) -> Any:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _call(node: fx.Node) -> str:
    if node.op == "call_function":
        known: dict[Any, str] = {operator.add: "add", operator.iadd: "iadd", operator.sub: "sub", operator.mul: "mul"}
        return known.get(node.target) or str(getattr(node.target, "__name__", ""))
    return str(node.target) if node.op == "call_method" else "no name" if node.op == "get_attr" else ""


def _told(node: fx.Node) -> str:
    return "input" if node.op == "placeholder" else str(node.target) if node.op == "call_module" else node.name
