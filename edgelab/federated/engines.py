"""The round of all chosen clients by one of three engines: one by one, batched by vmap, or stacked in NumPy.

Every engine gives the same updates within float tolerance; ``loop`` is the one to read and to trust. All of them use
one thread: with more, a loaded machine falls to a hundredth of its speed on such small networks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab.data.dataset import Split
from edgelab.errors import BadInput
from edgelab.federated.client import Batches, ClientConfig, ClientRound, State, Weights
from edgelab.federated.schedule import BUCKET, Schedule
from edgelab.federated.stacked import layers_of, stacked_round

Engine = Literal["loop", "vmap", "numpy"]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RoundResult:
    """What K clients send back.

    ``updates`` (K, parameters) float32: new weights minus those they began with, flattened in the order of the
    network's parameters. ``metrics``: each (K,). ``malformed``: rows of clients that sent no such update, with the
    reason; theirs is NaN.
    """

    updates: Floats
    metrics: Mapping[str, Floats]
    malformed: Mapping[int, str] = field(default_factory=dict)


def flatten(weights: Weights) -> Floats:
    """Weights as one vector (parameters,), in their order."""
    return np.concatenate([value.detach().numpy().ravel() for value in weights.values()])


def unflatten(vector: Floats, like: Weights) -> dict[str, torch.Tensor]:
    """A vector (parameters,) as weights of the names and shapes of ``like``."""
    cuts = np.cumsum([value.numel() for value in like.values()])[:-1]
    parts = np.split(np.asarray(vector, np.float32), cuts)
    return {
        name: torch.from_numpy(part.reshape(value.shape).copy())
        for (name, value), part in zip(like.items(), parts, strict=True)
    }


def run_clients(
    split: Split,
    schedule: Schedule,
    weights: Weights,
    config: ClientConfig,
    function: ClientRound,
    *,
    engine: Engine = "vmap",
    states: MutableMapping[int, State] | None = None,
    net: nn.Module | None = None,
    bucket: int = BUCKET,
    pad_steps: bool = False,
) -> RoundResult:
    """Run a round of every client in the schedule, all from the same weights.

    Parameters
    ----------
    split, schedule
        The items, and who meets which when.
    weights, config, function
        Arguments of the client's function, and the function.
    engine
        ``"loop"``: one by one. ``"vmap"``: buckets of clients by `torch.func.vmap`. ``"numpy"``: stacked matrices, for
        a multilayer perceptron and the package's own function alone.
    states
        What each client keeps between rounds; changed in place. A client that is not in it starts with ``{}``.
    net
        The network, which the NumPy engine needs.
    bucket, pad_steps
        See `Schedule.buckets`.

    Raises
    ------
    BadInput
        If the engine is unknown or does not do this network, or the function does not return weights like those it
        got. Client by client (``"loop"``) one that fails is named in the result, and this is raised, as is whatever the
        function raises, where every client fails.
    """
    if engine not in get_args(Engine):
        raise BadInput(f"engine='{engine}' is not known; use one of {', '.join(get_args(Engine))}.")
    kept: MutableMapping[int, State] = {} if states is None else states
    begin = flatten(weights)
    updates = np.empty((len(schedule.clients), len(begin)), np.float32)
    metrics: dict[str, Floats] = {}
    malformed: dict[int, str] = {}
    if engine == "numpy":
        if net is None:
            raise BadInput("The NumPy engine needs the network; pass it as net=.")
        layers_of(net)
    buckets = schedule.buckets(1 if engine == "loop" else bucket, pad_steps or engine == "numpy")
    with one_thread():
        for rows in buckets:
            index, mask = schedule.batches(rows)
            if engine == "numpy":
                found, values = stacked_round(weights, split.x.take(index, axis=0), split.y[index], mask, config)
                updates[rows] = np.subtract(found, begin, out=found)
            else:
                data = Batches(*map(torch.from_numpy, (split.x[index], split.y[index], mask)))
                clients = schedule.clients[rows]
                old = [kept.get(int(client), {}) for client in clients]
                try:
                    new, state, said = _called(engine, function, weights, old, data, config)
                    updates[rows] = _rows(new, weights, len(rows)) - begin
                except Exception as error:  # a client's function may fail in any way, and ends no round of others
                    malformed[int(rows[0])] = f"malformed, {type(error).__name__}: {' '.join(str(error).split())[:120]}"
                    updates[rows] = np.nan
                    if engine != "loop" or len(malformed) == len(updates):
                        raise
                    continue
                values = {name: value.detach().numpy() for name, value in said.items()}
                for i, client in enumerate(clients):
                    kept[int(client)] = {name: value[i].detach() for name, value in state.items()}
            for name, value in values.items():
                metrics.setdefault(name, np.full(len(updates), np.nan, np.float32))[rows] = value
    return RoundResult(updates, metrics, malformed)


def _called(
    engine: Engine, function: ClientRound, weights: Weights, states: list[State], data: Batches, config: ClientConfig
) -> tuple[Weights, State, Mapping[str, torch.Tensor]]:
    """What the clients return, each value with a first dimension of the clients."""
    if engine == "vmap":
        return _batched(function, weights, states, data, config)
    new, state, said = function(weights, states[0], Batches(*(part[0] for part in data)), config)
    one, kept, told = ({name: value[None] for name, value in part.items()} for part in (new, state, said))
    return one, kept, told


def _batched(
    function: ClientRound, weights: Weights, states: list[State], data: Batches, config: ClientConfig
) -> tuple[Weights, State, Mapping[str, torch.Tensor]]:
    if len({frozenset(state) for state in states}) > 1:
        raise BadInput("Clients of one round keep different things; give each an initial state of the same names.")
    stack = {name: torch.stack([state[name] for state in states]) for name in states[0]}

    def one(state: State, x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor) -> tuple[Weights, State, State]:
        return function(weights, state, Batches(x, y, mask), config)

    result: tuple[Weights, State, State] = torch.func.vmap(one)(stack, *data)
    return result


def _rows(new: Weights, like: Weights, clients: int) -> Floats:
    if set(new) != set(like) or any(new[name].shape[1:] != like[name].shape for name in like):
        raise BadInput("The client's function must return weights of the names and shapes that it got.")
    return np.concatenate([new[name].detach().reshape(clients, -1).numpy() for name in like], axis=1)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for PyTorch meanwhile; the caller's number comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
