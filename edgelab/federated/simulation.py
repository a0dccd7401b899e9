"""Federated learning in one process: rounds of sampling, training at the clients, messages and aggregation.

Training and messages are real; the devices' time and availability are modelled. A client that drops out, is late, or
sends what cannot be used ends no round: the log says which client and why, and the model is made without it.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgelab.data.dataset import Split
from edgelab.errors import BadInput
from edgelab.federated.aggregate import NORM_LIMIT, Aggregate, federated_average, refusals
from edgelab.federated.client import ClientConfig, ClientRound, State, client_round, initial_weights
from edgelab.federated.engines import Engine, flatten, run_clients, unflatten
from edgelab.federated.evaluate import network_with
from edgelab.federated.fleet import Fleet, Late, draw_fleet, take_part
from edgelab.federated.messages import Compression, Float32
from edgelab.federated.partition import Partition
from edgelab.federated.schedule import schedule_round
from edgelab.nets.trainer import predict_logits
from edgelab.reading import Table

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RoundLog:
    """One round.

    ``selected`` clients began it, ``used`` ones are in the model, ``missing`` says why each other one is not.
    ``seconds`` is how long the server waited (modelled). ``loss`` is the mean training loss of the used clients by
    size; ``accuracy`` (fraction) of the model after the round, None where it was not evaluated.
    """

    number: int
    hour: float
    selected: tuple[int, ...]
    used: tuple[int, ...]
    missing: Mapping[int, str]
    down_bytes: int
    up_bytes: int
    seconds: float
    loss: float | None = None
    accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {**asdict(self), "missing": {str(client): why for client, why in self.missing.items()}}


@dataclass(frozen=True, eq=False)
class FederatedRun:
    """What a simulation leaves: the weights, the log of each round, and the settings.

    ``interrupted``: somebody stopped it, and these are the rounds that were done.
    """

    weights: Mapping[str, torch.Tensor] = field(repr=False)
    rounds: tuple[RoundLog, ...] = field(repr=False)
    settings: Mapping[str, Any]
    interrupted: bool = False

    @property
    def bytes_on_air(self) -> int:
        """Bytes of all messages in both directions."""
        return sum(log.down_bytes + log.up_bytes for log in self.rounds)

    @property
    def accuracy(self) -> tuple[float | None, ...]:
        """The fraction right after each round."""
        return tuple(log.accuracy for log in self.rounds)

    def network(self, net: nn.Module) -> nn.Module:
        """A copy of the network with the weights."""
        return network_with(net, self.weights)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, without the weights."""
        return {
            "settings": dict(self.settings),
            "rounds": [log.to_dict() for log in self.rounds],
            "bytes_on_air": self.bytes_on_air,
            "interrupted": self.interrupted,
        }

    def _repr_markdown_(self) -> str:
        rows = [
            (
                log.number,
                f"{len(log.used)} of {len(log.selected)}",
                log.loss,
                None if log.accuracy is None else f"{100 * log.accuracy:.1f} %",
                (log.down_bytes + log.up_bytes) / 1e6,
                f"client {next(iter(log.missing))}: {next(iter(log.missing.values()))}" if log.missing else "",
            )
            for log in self.rounds
        ]
        columns = ("round", "clients", "loss", "right", "on the air (MB)", "first one missing")
        note = "The devices' time is modelled."
        if self.interrupted:
            note = f"Interrupted after {len(rows)} of {self.settings['rounds']} rounds. {note}"
        return Table("Federated rounds", columns, rows, note)._repr_markdown_()


def simulate(
    net: nn.Module,
    split: Split,
    partition: Partition,
    *,
    rounds: int = 20,
    sample: int | None = None,
    config: ClientConfig | None = None,
    function: ClientRound | None = None,
    engine: Engine = "vmap",
    aggregate: Aggregate = federated_average,
    compression: Compression | None = None,
    fleet: Fleet | None = None,
    deadline_s: float | None = None,
    late: Late = "drop",
    hours_per_round: float = 1.0,
    norm_limit: float = NORM_LIMIT,
    evaluate_on: Split | None = None,
    states: MutableMapping[int, State] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> FederatedRun:
    """Train ``net``'s copy on clients that keep their items. Interrupted, it returns the rounds that were done.

    Parameters
    ----------
    net
        The network, whose weights the first round begins with; it is not changed.
    split, partition
        The items and who holds them; no client may be empty.
    rounds, sample
        How many, and clients of each; None takes all. Fewer take part where fewer can be reached.
    config
        How a client trains.
    function
        The learner's own round; None takes `edgelab.federated.client.client_round`.
    engine
        See `edgelab.federated.engines.run_clients`.
    aggregate
        The server's rule.
    compression
        Of updates on their way up; the model goes down in float32.
    fleet
        The devices; None: all alike, always within reach.
    deadline_s, late
        How long the server waits; who would be later is left out (``"drop"``) or stops training early and sends what
        it has (``"partial"``, as in FedProx).
    hours_per_round
        From the beginning of a round to the next, for devices that can be reached at hours of the day only.
    norm_limit
        Updates with a larger norm are not used.
    evaluate_on
        Validation items; None evaluates nothing.
    states
        What each client keeps; changed in place.
    seed
        Of the sampling, the drop-outs and the order of the items.
    progress
        Show a progress bar.

    Raises
    ------
    BadInput
        If an argument is out of range or does not fit another one.
    KeyboardInterrupt
        If it is interrupted before the first round is done.
    """
    config = config or ClientConfig()
    form = compression or Float32()
    fleet = fleet or draw_fleet(partition.clients)
    _check_fit(net, split, rounds, sample)
    _check(split, partition, fleet, rounds, sample, deadline_s, late, hours_per_round, engine, function)
    weights = initial_weights(net)
    parameters = sum(value.numel() for value in weights.values())
    down, up = Float32().length(parameters), form.length(parameters)
    own = function or client_round(net)
    kept: MutableMapping[int, State] = {} if states is None else states
    unsent: dict[int, Floats] = {}

    def one_round(number: int, now: Floats) -> tuple[Floats, RoundLog]:
        hour = number * hours_per_round
        rng = np.random.default_rng([seed, 2, number])
        reached = np.flatnonzero(fleet.available(hour))
        selected = np.sort(rng.choice(reached, min(sample or partition.clients, len(reached)), replace=False))
        gone = rng.random(len(selected)) < fleet.drop_out
        there = take_part(fleet, selected, gone, partition.sizes, config, (down, up), deadline_s, late)
        active, missing = there.active, dict(there.missing)
        loss = None
        sent = len(active)
        if sent:
            plan = schedule_round(partition, active, config, seed, number, there.work)
            begun = {int(client): kept[int(client)] for client in active if int(client) in kept}
            found = run_clients(
                split, plan, unflatten(now, weights), config, own,
                engine=engine, states=begun, net=net, pad_steps=function is None,
            )  # fmt: skip
            updates = _compressed(found.updates, active, form, unsent, norm_limit)
            bad = {**refusals(updates, norm_limit), **found.malformed}
            missing |= {int(active[row]): f"refused: {why}" for row, why in bad.items()}
            good = np.array([row for row in range(sent) if row not in bad], np.int64)
            kept.update({int(client): begun[int(client)] for client in active[good] if int(client) in begun})
            if len(good):
                sizes = partition.sizes[active[good]]
                now = _aggregated(aggregate, now, updates[good], sizes)
                if "loss" in found.metrics:
                    loss = float(np.average(found.metrics["loss"][good], weights=sizes))
            active = active[good]
        accuracy = _accuracy(net, unflatten(now, weights), evaluate_on)
        who = tuple(map(int, selected)), tuple(map(int, active)), missing
        traffic = down * len(selected), up * sent
        return now, RoundLog(number, hour, *who, *traffic, there.seconds, loss, accuracy)

    done: tuple[Floats, tuple[RoundLog, ...]] = (flatten(weights), ())
    interrupted = False
    try:
        for number in _numbers(rounds, progress):
            after, log = one_round(number, done[0])
            done = (after, (*done[1], log))  # one assignment, so that weights and log are always of the same round
    except KeyboardInterrupt:
        if not done[1]:
            raise
        interrupted = True
    settings = {
        "rounds": rounds, "sample": sample, "clients": partition.clients, "config": config.to_dict(), "engine": engine,
        "compression": repr(form), "fleet": fleet.to_dict(), "deadline_s": deadline_s, "late": late, "seed": seed,
        "hours_per_round": hours_per_round, "norm_limit": norm_limit, "partition": dict(partition.recipe),
    }  # fmt: skip
    return FederatedRun(unflatten(done[0], weights), done[1], settings, interrupted)


def _compressed(
    updates: Floats, clients: NDArray[np.int64], form: Compression, unsent: dict[int, Floats], norm_limit: float
) -> Floats:
    """What the server decodes; what was lost stays with the client where the form feeds it back."""
    if not form.feeds_back:
        return form.lossy(updates)
    whole = updates.copy()
    for row, client in enumerate(clients):
        whole[row] += unsent.get(int(client), np.float32(0))
    arrived = form.lossy(whole)
    bad = refusals(arrived, norm_limit)
    for row, client in enumerate(clients):
        if row not in bad:
            unsent[int(client)] = whole[row] - arrived[row]
    return arrived


def _aggregated(aggregate: Aggregate, now: Floats, updates: Floats, sizes: NDArray[np.int64]) -> Floats:
    found = np.asarray(aggregate(now, updates, sizes), np.float32)
    if found.shape != now.shape or not np.isfinite(found).all():
        raise BadInput(f"The server's rule must return {len(now)} finite weights; it returned shape {found.shape}.")
    return found


def _accuracy(net: nn.Module, weights: Mapping[str, torch.Tensor], split: Split | None) -> float | None:
    if split is None:
        return None
    return float((predict_logits(network_with(net, weights), split.x).argmax(axis=1) == split.y).mean())


def _numbers(rounds: int, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(range(rounds), desc="federated", unit="round", disable=not progress)


def _check(
    split: Split,
    partition: Partition,
    fleet: Fleet,
    rounds: int,
    sample: int | None,
    deadline_s: float | None,
    late: str,
    hours_per_round: float,
    engine: str,
    function: ClientRound | None,
) -> None:
    if not np.array_equal(partition.labels, split.y):
        raise BadInput("The partition was not made of this split; pass the split that it was made of.")
    if len(np.unique(split.y)) < 2:
        raise BadInput("There is nothing to learn from items of one class; a split needs at least two.")
    if partition.sizes.min() == 0:
        raise BadInput(f"Client {int(partition.sizes.argmin())} holds no items; deal out at least one to each client.")
    if len(fleet) != partition.clients:
        raise BadInput(f"The fleet has {len(fleet)} devices for {partition.clients} clients; it needs one for each.")
    if rounds < 1 or hours_per_round < 0:
        raise BadInput(f"rounds={rounds}, hours_per_round={hours_per_round}: there must be a round, and time goes on.")
    if sample is not None and not 1 <= sample <= partition.clients:
        raise BadInput(
            f"{sample} clients cannot be sampled from {partition.clients}; ask for 1 to {partition.clients}."
        )
    if deadline_s is not None and not deadline_s > 0:
        raise BadInput(f"deadline_s={deadline_s} must be above 0, or None to wait for everybody.")
    if late not in ("drop", "partial"):
        raise BadInput(f"late='{late}' is not known; use drop or partial.")
    if engine == "numpy" and function is not None:
        raise BadInput(
            "The NumPy engine runs the package's own round alone; use engine='vmap' for a function of yours."
        )


def _check_fit(net: nn.Module, split: Split, rounds: object, sample: object) -> None:
    """Counts are whole numbers; one item through the network, which must give a value for each class."""
    if not all(isinstance(number, (int, np.integer)) for number in (rounds, 0 if sample is None else sample)):
        raise BadInput(f"rounds={rounds!r}, sample={sample!r}: both are counts, so whole numbers.")
    logits = predict_logits(net, split.x[:1])
    classes = int(split.y.max()) + 1
    if logits.ndim != 2 or logits.shape[1] < classes:
        raise BadInput(f"The network gives {logits.shape[1:]} values for an item; {classes} classes need one each.")
