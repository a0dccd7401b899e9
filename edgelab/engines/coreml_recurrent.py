"""Recurrent operators of a Core ML program in PyTorch: rnn, lstm and gru; see `coreml_operators`.

Gates stand in the order of Apple's specification: input, forget, output, cell (lstm); reset, output, update (gru).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from edgelab.engines.coreml_operators import Tensor, number, operator

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "hard_sigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0.0, 1.0),
    "sigmoid_hard": lambda x: torch.clamp(0.2 * x + 0.5, 0.0, 1.0),
    "linear": lambda x: x,
    "relu": torch.relu,
    "scaled_tanh": lambda x: 1.7159 * torch.tanh(2 / 3 * x),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


@operator()
def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Any = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: Any = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Long short-term memory over x (steps, batch, features): outputs, last hidden state, last memory."""
    if peephole is not None or peephole_back is not None:
        raise NotImplementedError("lstm with peephole weights")
    gate, inner, outer = (_ACTIVATIONS[name] for name in (recurrent_activation, cell_activation, activation))
    limit = None if clip is None else number(clip)

    def step(mixed: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        i, f, o, z = mixed.chunk(4, -1)
        held = inner(z)
        held = held if limit is None else held.clamp(-limit, limit)
        c = gate(f) * state[1] + gate(i) * held
        return gate(o) * outer(c), c

    both = direction == "bidirectional"
    size = weight_hh.shape[1]
    runs = [_run(step, x, (initial_h[:, :size], initial_c[:, :size]), weight_ih, weight_hh, bias, direction)]
    if both:
        assert weight_ih_back is not None
        assert weight_hh_back is not None
        last = (initial_h[:, size:], initial_c[:, size:])
        runs.append(_run(step, x, last, weight_ih_back, weight_hh_back, bias_back, "reverse"))
    sequence = torch.cat([run[0] for run in runs], -1)
    h, c = (torch.cat([run[1][i] for run in runs], -1) for i in (0, 1))
    return (sequence if output_sequence else h.unsqueeze(0)), h, c


@operator()
def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Any = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: Any = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Gated recurrent unit over x (steps, batch, features): outputs and last hidden state."""
    if reset_after or input_bias is not None:
        raise NotImplementedError("gru with reset_after")
    gate, outer = _ACTIVATIONS[recurrent_activation], _ACTIVATIONS[activation]
    size = weight_hh.shape[1]
    turned = direction == "reverse"
    inputs = torch.nn.functional.linear(x.flip(0) if turned else x, weight_ih, bias)
    h, outputs = initial_h, []
    for mixed in inputs.unbind(0):
        r, o, z = mixed.chunk(3, -1)
        reset = gate(r + h @ weight_hh[:size].T)
        update = gate(z + h @ weight_hh[2 * size :].T)
        candidate = outer(o + reset * (h @ weight_hh[size : 2 * size].T))
        h = (1 - update) * candidate + update * h
        outputs.append(h)
    sequence = torch.stack(outputs[::-1] if turned else outputs)
    return (sequence if output_sequence else h.unsqueeze(0)), h


@operator()
def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Any = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """Plain recurrent layer over x (steps, batch, features): outputs and last hidden state."""
    outer = _ACTIVATIONS[activation]

    def step(mixed: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        del state
        return (outer(mixed),)

    sequence, (h,) = _run(step, x, (initial_h,), weight_ih, weight_hh, bias, direction)
    return (sequence if output_sequence else h.unsqueeze(0)), h


def _run(
    step: Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]],
    x: Tensor,
    state: tuple[Tensor, ...],
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    direction: str,
) -> tuple[Tensor, Sequence[Tensor]]:
    """All steps of one direction: the hidden states in the order of the input, and the last state."""
    turned = direction == "reverse"
    inputs = torch.nn.functional.linear(x.flip(0) if turned else x, weight_ih, bias)
    outputs = []
    for mixed in inputs.unbind(0):
        state = step(mixed + state[0] @ weight_hh.T, state)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if turned else outputs), state
