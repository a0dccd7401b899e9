"""Batch normalisation folded into the layer before it, in a graph of `torch.export`.

In evaluation mode a normalisation is a product and a sum for each channel, which a convolution or a dense layer can
take over. A converter does this for images; where it writes a 1-D convolution as reshapes around a 2-D one, product and
sum stay behind as operators of their own, each with a rounding of its own once the file is int8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
_LAYERS = frozenset({"conv1d", "conv2d", "conv3d", "linear", *_TRANSPOSED})


def fold_batch_norm(module: torch.fx.GraphModule) -> int:
    """Fold each batch normalisation whose input is a layer's, and nobody else's; how many were folded.

    The layer's weight becomes ``w * g / sqrt(v + eps)`` by output channel, its bias ``(b - m) * g / sqrt(v + eps) + h``
    (Jacob et al., arXiv 1712.05877, section 3.2), with gain g, shift h, mean m and variance v.

    Parameters
    ----------
    module
        What ``ExportedProgram.module()`` gives; it is changed.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3, bias=False), torch.nn.BatchNorm1d(3)).eval()
    >>> module = torch.export.export(net, (torch.ones(1, 2, 8),)).module()
    >>> fold_batch_norm(module), torch.allclose(module(torch.ones(1, 2, 8)), net(torch.ones(1, 2, 8)), atol=1e-6)
    (1, True)
    """
    folded = 0
    for node in list(module.graph.nodes):
        if _kind(node) == "batch_norm" and not node.args[5] and _fold(module, node):
            folded += 1
    if folded:
        module.graph.eliminate_dead_code()
        module.recompile()
    return folded


def _fold(module: torch.fx.GraphModule, norm: torch.fx.Node) -> bool:
    import torch

    layer, gain, shift, mean, variance = norm.args[:5]
    if not isinstance(layer, torch.fx.Node) or _kind(layer) not in _LAYERS or len(layer.users) != 1:
        return False
    if _kind(layer) == "linear" and len(layer.meta["val"].shape) != 2:  # its channels are not the last axis there
        return False
    transposed = _kind(layer) in _TRANSPOSED
    if transposed and len(layer.args) > 6 and layer.args[6] != 1:  # groups, whose weights lie in another order
        return False
    named = [layer.args[1], layer.args[2] if len(layer.args) > 2 else None, gain, shift, mean, variance]
    found = [_constant(module, value) for value in named]
    if any(value is None and name is not None for name, value in zip(named, found, strict=True)):
        return False  # a weight that the network computes
    w, b, g, h, m, v = found
    if w is None or m is None or v is None:
        return False
    scale = (1.0 if g is None else g) / torch.sqrt(v + float(str(norm.args[7])))
    sizes = [1] * w.ndim
    sizes[1 if transposed else 0] = -1
    folded = {
        "weight": w * scale.reshape(sizes),
        "bias": ((0.0 if b is None else b) - m) * scale + (0.0 if h is None else h),
    }
    nodes = []
    with module.graph.inserting_before(layer):
        for part, value in folded.items():
            name = f"_folded_{norm.name}_{part}"
            module.register_buffer(name, value.detach())
            node = module.graph.get_attr(name)
            node.meta["val"] = value.detach()
            nodes.append(node)
    layer.args = (layer.args[0], *nodes, *layer.args[3:])
    norm.replace_all_uses_with(layer)
    return True


def _kind(node: torch.fx.Node) -> str:
    """The name of an ATen operator without its overload; empty for another node."""
    parts = str(node.target).split(".")
    return parts[1] if node.op == "call_function" and parts[0] == "aten" else ""


def _constant(module: torch.fx.GraphModule, node: Any) -> torch.Tensor | None:
    import torch

    if not isinstance(node, torch.fx.Node) or node.op != "get_attr":
        return None
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value if isinstance(value, torch.Tensor) else None
