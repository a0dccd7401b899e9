"""A small transformer with a classification head (Vaswani et al. 2017), written so that heads can be taken out.

It takes numbers of words as float32 (N, length), as every input here is float32, and gives logits (N, classes).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as f

from edgelab.errors import BadInput

HEAD_WIDTH = 12


def attention_weights(query: torch.Tensor, key: torch.Tensor, blocked: torch.Tensor) -> torch.Tensor:
    """How much each word (..., i) looks at each word (..., j): (..., length, length), rows that sum to 1.

    Parameters
    ----------
    query, key
        (..., length, width of the head).
    blocked
        Added to the scores: 0 where a word stands, a very negative number where padding does.

    Examples
    --------
    >>> attention_weights(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0.0, -1e4]))
    tensor([[1., 0.],
            [1., 0.]])
    """
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return f.softmax(scores + blocked, dim=-1)


class Attention(nn.Module):
    """Self-attention whose heads each have their own rows in the matrices; padding is not looked at."""

    gate: torch.Tensor

    def __init__(self, width: int, heads: int, head_width: int = HEAD_WIDTH) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.query, self.key, self.value = (nn.Linear(width, heads * head_width) for _ in range(3))
        self.out = nn.Linear(heads * head_width, width)
        self.register_buffer("gate", torch.ones(heads), persistent=False)

    def forward(self, x: torch.Tensor, blocked: torch.Tensor) -> torch.Tensor:
        """(N, length, width) and where padding stands, added to the scores (N, 1, 1, length), to (N, length, width)."""

        def by_head(layer: nn.Linear) -> torch.Tensor:
            rows: torch.Tensor = layer(x)
            return rows.reshape(x.shape[0], x.shape[1], self.heads, self.head_width).transpose(1, 2)

        weights = attention_weights(by_head(self.query), by_head(self.key), blocked)
        mixed = weights @ by_head(self.value)
        result: torch.Tensor = self.out((mixed * self.gate[:, None, None]).transpose(1, 2).flatten(2))
        return result


class Block(nn.Module):
    """Attention and two linear layers, each added to what came in, each normalised before (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor, blocked: torch.Tensor) -> torch.Tensor:
        """As `Attention`."""
        x = x + self.attention(self.before_attention(x), blocked)
        result: torch.Tensor = x + self.layers(self.before_layers(x))
        return result


class TextClassifier(nn.Module):
    """Embedding and position, blocks, the mean over the words, a linear head.

    Examples
    --------
    >>> TextClassifier(100, 6)(torch.ones(2, 128)).shape
    torch.Size([2, 6])
    """

    def __init__(
        self, words: int, classes: int, *, length: int = 128, width: int = 48, depth: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        if min(words, classes - 1, length, width, depth, heads) < 1:
            raise BadInput("A text classifier needs words, two classes, and at least one of everything else.")
        self.embedding = nn.Embedding(words + 1, width, padding_idx=0)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (N, length or fewer) to logits (N, classes)."""
        there = (tokens > 0).to(self.position.dtype)
        x = self.embedding(tokens.long()) + self.position[: tokens.shape[1]]
        blocked = (there - 1)[:, None, None, :] * 1e4
        for block in self.blocks:
            x = block(x, blocked)
        mean = (self.norm(x) * there[:, :, None]).sum(dim=1) / there.sum(dim=1, keepdim=True).clamp_min(1)
        result: torch.Tensor = self.head(mean)
        return result


def head_importance(net: TextClassifier, tokens: torch.Tensor, labels: torch.Tensor) -> list[list[float]]:
    """How much the loss hangs on each head, by block: the mean size of the gradient at its gate (Michel et al. 2019).

    Parameters
    ----------
    net
        Left as it is.
    tokens, labels
        (N, length) and (N,), of the training or validation split.

    Raises
    ------
    BadInput
        If there are no items, or not as many labels.
    """
    if not len(tokens) or len(tokens) != len(labels):
        raise BadInput(f"The importance of heads needs a label for each item, and got {len(tokens)} and {len(labels)}.")
    probe = copy.deepcopy(net).eval()
    attentions = [_attention(probe, number) for number in range(len(probe.blocks))]
    counts = [attention.heads for attention in attentions]

    def loss(gates: torch.Tensor, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        for attention, gate in zip(attentions, torch.split(gates, counts), strict=True):
            attention.gate = gate
        return f.cross_entropy(probe(batch[0]), batch[1])

    batches = list(zip(torch.split(tokens, 32), torch.split(labels, 32), strict=True))
    sizes = gate_importance(loss, batches, sum(counts))
    return [[float(v) for v in part] for part in torch.split(sizes, counts)]


def gate_importance(
    loss: Callable[[torch.Tensor, Any], torch.Tensor], batches: Sequence[Any], heads: int
) -> torch.Tensor:
    """The mean size of the slope of ``loss(gates, batch)`` at open gates (heads,), over the batches.

    Examples
    --------
    >>> gate_importance(lambda gates, batch: (batch * gates).sum(), [torch.tensor([1.0, 2.0]), -torch.ones(2)], 2)
    tensor([1.0000, 1.5000])

    Raises
    ------
    BadInput
        If there is no batch.
    """
    if not len(batches):
        raise BadInput("The importance of heads needs one batch or more, and got none.")
    sizes = torch.zeros(heads)
    for batch in batches:
        gates = torch.ones(heads, requires_grad=True)
        sizes += torch.autograd.grad(loss(gates, batch), gates)[0].abs()
    return sizes / len(batches)


def prune_heads(net: TextClassifier, keep: Mapping[int, Sequence[int]]) -> TextClassifier:
    """A copy in which the block ``b`` has the heads ``keep[b]`` and no others; blocks that are not named stay.

    The matrices become smaller, so the network becomes smaller and faster, and computes what the network with the other
    heads shut would.

    Raises
    ------
    BadInput
        If there is no such block or head, or a block is to lose all of them.
    """
    pruned = copy.deepcopy(net)
    for number, heads in keep.items():
        if not 0 <= number < len(pruned.blocks):
            raise BadInput(f"There is no layer 'blocks.{number}'; the network has {len(pruned.blocks)} blocks.")
        old = _attention(pruned, number)
        wanted = sorted(set(heads))
        if not wanted or wanted[0] < 0 or wanted[-1] >= old.heads:
            raise BadInput(
                f"The layer 'blocks.{number}.attention' has the heads 0 to {old.heads - 1}, and keeps at least one; "
                f"{list(heads)} was asked for."
            )
        rows = torch.cat([torch.arange(h * old.head_width, (h + 1) * old.head_width) for h in wanted])
        new = Attention(old.out.out_features, len(wanted), old.head_width)
        with torch.no_grad():
            for name in ("query", "key", "value"):
                getattr(new, name).weight.copy_(getattr(old, name).weight[rows])
                getattr(new, name).bias.copy_(getattr(old, name).bias[rows])
            new.out.weight.copy_(old.out.weight[:, rows])
            new.out.bias.copy_(old.out.bias)
        cast("Block", pruned.blocks[number]).attention = new.train(old.training)
    return pruned


def _attention(net: TextClassifier, number: int) -> Attention:
    return cast("Block", net.blocks[number]).attention
